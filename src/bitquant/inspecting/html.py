"""A page of tensors: one file without scripts or links, histograms drawn as SVG, for light and dark screens."""

from __future__ import annotations

import math
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
body { font: 15px/1.45 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; }
h2 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .3rem 0 1rem; opacity: .8; max-width: 60rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem; text-align: right; white-space: nowrap; }
th { border-bottom: 1px solid; font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
tbody tr:hover { background: color-mix(in srgb, currentColor 8%, transparent); }
a { color: inherit; }
article { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: 1rem 0; }
article div { display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start; }
svg { fill: currentColor; display: block; }
svg rect { opacity: .65; }
.bad { color: light-dark(#b00020, #ff8a80); font-weight: 600; }
"""
_NOTE = (
    "Tensors that low precision would hurt most come first: NaN and infinities, then numbers that FP16 overflows, then "
    "the lowest signal-to-noise ratio (SQNR) of symmetric INT8 with one step for the tensor. “Rows” has one step for "
    "each index of the first dimension. σ is the standard deviation. Shares are of the finite numbers. Bars of a "
    "histogram are logarithmic."
)


def html_of(title: str, found: Sequence[TensorSummary]) -> str:
    """Return the page.

    Parameters
    ----------
    title : str
        Such as the name of the file.
    found : sequence of TensorSummary
        In the order in which they are told.

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
    heads = ("tensor", "shape", "format", "max |x|", "largest", "> 6 σ", "FP16 lost", "E4M3 lost", "INT8", "rows", "")
    rows = "".join(_row(k, one) for k, one in enumerate(found))
    numbers = sum(one.count for one in found)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>"
        f"<p>{len(found)} tensors, {numbers:,} numbers. {_NOTE}</p>\n"
        f'<div class="wide"><table><thead><tr>{"".join(f"<th>{escape(head)}</th>" for head in heads)}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>\n"
        f"{''.join(_article(k, one) for k, one in enumerate(found))}</body></html>\n"
    )


def _row(place: int, one: TensorSummary) -> str:
    lost = (one.share(name, "overflow") + one.share(name, "flushed") for name in ("float16", "float8_e4m3fn"))
    cells = (
        "×".join(map(str, one.shape)) or "scalar",
        one.format,
        number(max(-one.low, one.high)),
        f"{number(one.largest_sigma)} σ",
        _share(one.beyond[6]),
        *(_share(value) for value in lost),
        _ratio(one.int8_db),
        _ratio(one.int8_rows_db),
    )
    name = f'<a href="#t{place}">{escape(one.name)}</a>'
    tail = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f"<tr><td>{name}</td>{tail}<td>{_picture(one, *_SPARK)}</td></tr>\n"


def _article(place: int, one: TensorSummary) -> str:
    facts = [
        ("shape", "×".join(map(str, one.shape)) or "scalar"),
        ("format", one.format),
        ("zeros", f"{one.zeros:,} of {one.count:,}"),
        ("smallest, largest", f"{number(one.low)}, {number(one.high)}"),
        ("mean, σ", f"{number(one.mean)}, {number(one.std)}"),
        ("farthest from the mean", f"{number(one.largest_sigma)} σ"),
        *((f"beyond {k} σ", _share(value)) for k, value in one.beyond.items()),
        ("INT8", _ratio(one.int8_db)),
        ("INT8, a step for each row", _ratio(one.int8_rows_db)),
    ]
    if one.worst_row is not None:
        facts.append((f"worst row, {one.worst_row}, with the tensor's step", _ratio(one.worst_row_db)))
    table = "".join(f"<tr><td>{escape(what)}</td><td>{escape(value)}</td></tr>" for what, value in facts)
    losses = "".join(
        f"<tr><td>{escape(format(name).name)}</td>"
        + "".join(f"<td>{_share(one.share(name, what))}</td>" for what in ("overflow", "flushed", "inexact"))
        + "</tr>"
        for name in TARGETS
    )
    bad = ""
    if one.nan or one.infinite:
        bad = f'<p class="bad">{one.nan:,} NaN and {one.infinite:,} infinities, left out of every figure below</p>'
    low, high = (number(end) for end in one.edges)
    return (
        f'<article id="t{place}"><h2>{escape(one.name)}</h2>{bad}<div><figure style="margin:0">'
        f"{_picture(one, _WIDTH, _HEIGHT)}<figcaption>{low} to {high}</figcaption></figure>"
        f"<table><tbody>{table}</tbody></table><table><thead><tr><th>as</th><th>overflows</th><th>becomes 0</th>"
        f"<th>changes</th></tr></thead><tbody>{losses}</tbody></table></div></article>\n"
    )


def _picture(one: TensorSummary, width: int, height: int) -> str:
    """Bars of log(1 + count): one outlier can still be seen beside a million."""
    most = max(one.bins, default=0)
    step = width / len(one.bins)
    bars = "".join(
        f'<rect x="{k * step:.1f}" y="{height - tall:.1f}" width="{max(step - 0.6, 0.6):.1f}" height="{tall:.1f}"/>'
        for k, count in enumerate(one.bins)
        if (tall := height * math.log1p(count) / math.log1p(most) if count else 0.0)
    )
    label = f"histogram of {one.name}, {number(one.edges[0])} to {number(one.edges[1])}"
    return (
        f'<svg role="img" aria-label="{escape(label)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">{bars}</svg>'
    )


def _share(value: float) -> str:
    return "–" if math.isnan(value) else share(value)


def _ratio(value: float) -> str:
    return "–" if math.isnan(value) else decibels(value)
