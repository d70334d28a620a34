"""A page of tensors: one file without scripts or links, histograms drawn as SVG, for light and dark screens."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from bitquant.formats import format
from bitquant.inspecting.summary import TensorSummary
from bitquant.inspecting.survey import TARGETS
from bitquant.quantize.printing import decibels, number, share

__all__ = ["html_of"]

_WIDTH, _HEIGHT = 480, 96  # of a histogram, in pixels
_SPARK = (96, 20)  # of one in the table
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .3rem 0 1rem; max-width: 60rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; padding-left: 0; }
thead th { border-bottom: 1px solid; font-weight: 600; }
tbody th { font-weight: inherit; white-space: normal; }
.wide tbody th { min-width: 11rem; overflow-wrap: anywhere; }
tbody tr:hover { background: color-mix(in srgb, currentColor 8%, transparent); }
a { color: inherit; }
article { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: 1rem 0; }
article:target h2 { text-decoration: underline; }
.sides { display: flex; flex-wrap: wrap; gap: 1rem 3rem; }
.sides > div { max-width: 100%; overflow-x: auto; }
figure { margin: .5rem 0 1rem; }
figcaption { border-top: 1px solid; display: flex; justify-content: space-between; }
svg { fill: currentColor; display: block; height: auto; max-width: 100%; }
svg rect { opacity: .65; }
.bad { color: light-dark(#b00020, #ff8a80); font-weight: 600; }
.some { color: light-dark(#7a4f00, #ffca5c); font-weight: 600; }
"""
_NOTE = (
    "Tensors that low precision would hurt most come first: NaN and infinities, then numbers that FP16 overflows, then "
    "the lowest signal-to-noise ratio (SQNR) of symmetric INT8 with one step for the tensor. “Rows” has one step for "
    "each index of the first dimension. “Lost” is what overflows or becomes zero in FP16, and in FP8 E4M3 without a "
    "scale. σ is the standard deviation, “farthest” the distance of the farthest number from the mean. Shares are of "
    "the finite numbers. Heights of a histogram are logarithmic. Shares over 1 % and ratios below 20 dB stand out."
)
_HEADS = (
    "tensor", "shape", "format", "max |x|", "farthest", "> 6 σ", "FP16 lost", "E4M3 lost", "INT8", "rows", "histogram",
)  # fmt: skip
_SOME, _BAD = 0.01, 20.0  # the share and the ratio from which figures stand out


def html_of(title: str, found: Sequence[TensorSummary], left: Sequence[tuple[str, str]] = ()) -> str:
    """Return the page.

    Parameters
    ----------
    title : str
        Such as the name of the file.
    found : sequence of TensorSummary
        In the order in which they are told.
    left : sequence of (str, str)
        Tensors that were not looked at, and why.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> from bitquant.inspecting import html_of, inspect_tensor
    >>> page = html_of("a model", [inspect_tensor(np.float32([1, 2, 3]), "w")])
    >>> page.count("<svg"), "<script" in page
    (2, False)
    """
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in _HEADS)
    rows = "".join(_row(k, one) for k, one in enumerate(found))
    numbers = sum(one.count for one in found)
    kept = f"<p>Not looked at: {_text(', '.join(f'{name} ({why})' for name, why in left))}</p>\n" if left else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>\n<body><main><h1>{_text(title)}</h1>"
        f"<p>{len(found)} tensors, {numbers:,} numbers. {_NOTE}</p>\n"
        '<div class="wide" role="region" aria-label="all tensors" tabindex="0">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>\n{kept}"
        f"{''.join(_article(k, one) for k, one in enumerate(found))}</main></body></html>\n"
    )


def _row(place: int, one: TensorSummary) -> str:
    lost = (one.share(name, "overflow") + one.share(name, "flushed") for name in ("float16", "float8_e4m3fn"))
    cells = (
        _cell(_shape(one)),
        _cell(one.format),
        _cell(_number(max(abs(one.low), abs(one.high)))),
        _cell(_number(one.largest_sigma, " σ")),
        *(_cell(_share(value), "some" if value > _SOME else "") for value in (one.beyond[6], *lost)),
        *(_cell(_ratio(value), "bad" if value < _BAD else "") for value in (one.int8_db, one.int8_rows_db)),
        f"<td>{_picture(one, *_SPARK)}</td>",
    )
    broken = f' <span class="bad">{one.nan + one.infinite:,} not finite</span>' if one.nan or one.infinite else ""
    name = re.sub("([./_])", r"\1<wbr/>", _text(one.name))  # where a long one may go on in the next line
    return f'<tr><th scope="row"><a href="#t{place}">{name}</a>{broken}</th>{"".join(cells)}</tr>\n'


def _cell(words: str, style: str = "") -> str:
    return f'<td class="{style}">{escape(words)}</td>' if style else f"<td>{escape(words)}</td>"


def _article(place: int, one: TensorSummary) -> str:
    facts = [
        ("shape", _shape(one)),
        ("format", one.format),
        ("zeros", f"{one.zeros:,} of {one.count:,}"),
        ("smallest, largest", f"{_number(one.low)}, {_number(one.high)}"),
        ("mean, σ", f"{_number(one.mean)}, {_number(one.std)}"),
        ("farthest from the mean", _number(one.largest_sigma, " σ")),
        *((f"beyond {k} σ", _share(value)) for k, value in one.beyond.items()),
        ("INT8", _ratio(one.int8_db)),
        ("INT8, a step for each row", _ratio(one.int8_rows_db)),
    ]
    if one.worst_row is not None:
        facts.append((f"worst row, {one.worst_row}, with the tensor's step", _ratio(one.worst_row_db)))
    table = "".join(f'<tr><th scope="row">{escape(what)}</th>{_cell(value)}</tr>' for what, value in facts)
    losses = "".join(
        f'<tr><th scope="row">{escape(format(name).name)}</th>'
        + "".join(_cell(_share(one.share(name, what))) for what in ("overflow", "flushed", "inexact"))
        + "</tr>"
        for name in TARGETS
    )
    bad = ""
    if one.nan or one.infinite:
        bad = f'<p class="bad">{one.nan:,} NaN and {one.infinite:,} infinities, left out of every figure below</p>'
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("as", "overflows", "becomes 0", "changes"))
    return (
        f'<article id="t{place}"><h2>{_text(one.name)}</h2>{bad}<div class="sides"><div><figure>'
        f"{_picture(one, _WIDTH, _HEIGHT)}<figcaption>{_ends(one)}</figcaption></figure>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{losses}</tbody></table></div>"
        f"<div><table><tbody>{table}</tbody></table></div></div></article>\n"
    )


def _ends(one: TensorSummary) -> str:
    """What stands under a histogram."""
    if not one.finite:
        return "<span>no finite number</span>"
    if one.low == one.high:
        return f"<span>all are {number(one.low)}</span>"
    return "".join(f"<span>{number(end)}</span>" for end in one.edges)


def _picture(one: TensorSummary, width: int, height: int) -> str:
    """Bars of log(1 + count): one outlier can still be seen beside a million."""
    most = max(one.bins, default=0)
    step = width / len(one.bins)
    bars = "".join(
        f'<rect x="{k * step:.1f}" y="{height - tall:.1f}" width="{max(step - 0.6, 0.6):.1f}" height="{tall:.1f}"/>'
        for k, count in enumerate(one.bins)
        if (tall := height * math.log1p(count) / math.log1p(most) if count else 0.0)
    )
    label = f"histogram of {one.name}, {_number(one.low)} to {_number(one.high)}"
    return (
        f'<svg role="img" aria-label="{_text(label)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{bars}</svg>'
    )


def _text(words: str) -> str:
    """Text in HTML; names come from files, and what would turn or move other text is written as its escape."""
    return escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words))


def _shape(one: TensorSummary) -> str:
    return "×".join(map(str, one.shape)) or "scalar"


def _number(value: float, unit: str = "") -> str:
    return "–" if math.isnan(value) else number(value) + unit


def _share(value: float) -> str:
    return "–" if math.isnan(value) else share(value)


def _ratio(value: float) -> str:
    return "–" if math.isnan(value) else decibels(value)
