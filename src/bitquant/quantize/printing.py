"""Errors as text in columns, and as HTML that takes the colours of its page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitquant.quantize.report import Error, ErrorHistogram, ErrorTable, WorstError

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR = 32  # characters of the longest bar
_ROWS = 5  # of each list in a whole report
_WIDTH, _HEIGHT = 640, 120  # of a histogram in HTML, in pixels
Row = Sequence[str]


def number(value: float) -> str:
    """A number in at most ten characters."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".replace("inf", "∞").replace("-", "−")
    text = f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"
    return text.replace("-", "−")


def share(value: float) -> str:
    """A share in percent; never 0 or 100 where it is not quite."""
    text = f"{100 * value:.2f}" if 0 < value < 1 else f"{100 * value:g}"
    return f"{'< 0.01' if text == '0.00' else '> 99.99' if text == '100.00' else text} %"


def decibels(value: float) -> str:
    return f"{value:.2f} dB".replace("inf", "∞").replace("-", "−")


def place(index: Sequence[int]) -> str:
    return ", ".join(str(k) for k in index) or "–"


def columns(head: Row, rows: Sequence[Row], left: int = 1) -> list[str]:
    """Rows with a head in aligned columns, the first `left` of them to the left."""
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]

    def line(row: Row) -> str:
        cells = (
            cell.ljust(w) if k < left else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return [line(row) for row in (head, *rows)]


def bar(length: float) -> str:
    """A bar of so many characters, to an eighth; never nothing for something."""
    eighths = max(round(8 * length), length > 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _summary(error: Error) -> list[tuple[str, str]]:
    clipping, rounding = error.clipping, error.rounding

    def apart(whole: float, one: float, other: float) -> str:
        return f"{number(whole)}  (rounding {number(one)}, clipping {number(other)})"

    count = clipping.count + rounding.count
    return [
        ("SQNR", decibels(error.sqnr_db)),
        ("mean squared", apart(error.mse, rounding.mse, clipping.mse)),
        ("largest", apart(error.max_abs, rounding.max_abs, clipping.max_abs)),
        ("clipped", f"{clipping.count} of {count} numbers, {share(error.clipped)}"),
        ("cosine", f"{error.cosine:.6f}"),
    ]


def _bins(histogram: ErrorHistogram) -> list[tuple[str, str, int]]:
    """Rows of a histogram: from, to, count."""
    edges = [0.0 if abs(edge) < 1e-12 * histogram.edges[-1] else edge for edge in histogram.edges.tolist()]
    rows = [
        (number(low), number(high), count)
        for low, high, count in zip(edges, edges[1:], histogram.counts.tolist(), strict=False)
    ]
    below = [("", number(edges[0]), histogram.below)] if histogram.below else []
    above = [(number(edges[-1]), "", histogram.above)] if histogram.above else []
    return below + rows + above


def _unit(histogram: ErrorHistogram) -> str:
    return "steps" if histogram.unit == "step" else "units of the numbers"


def _worst_rows(found: Sequence[WorstError]) -> tuple[Row, list[Row]]:
    rows: list[Row] = [
        (
            place(one.index),
            number(one.value),
            str(one.code).replace("-", "−"),
            number(one.dequantized),
            number(one.error),
            number(one.steps),
            "clipped" if one.clipped else "",
        )
        for one in found
    ]
    return ("index", "value", "code", "dequantized", "error", "in steps", ""), rows


def _table_rows(table: ErrorTable, most: int) -> tuple[Row, list[Row]]:
    first = "index" if table.axis is None else f"axis {table.axis}"
    rows: list[Row] = [
        (
            place(index),
            str(int(table.count[index])),
            number(float(table.mse[index])),
            number(float(table.max_abs[index])),
            decibels(float(table.sqnr_db[index])),
            share(float(table.clipped[index])),
        )
        for index in table.worst_first()[:most]
    ]
    return (first, "numbers", "mean squared", "largest", "SQNR", "clipped"), rows


def _table_title(table: ErrorTable, shown: int) -> str:
    return "channels" if shown == table.count.size else f"the {shown} worst of {table.count.size} channels"


def text_of_histogram(histogram: ErrorHistogram) -> str:
    rows = _bins(histogram)
    longest = max((count for _, _, count in rows), default=0) or 1
    lines = columns(("from", "to", "count", ""), [(low, high, str(count), "") for low, high, count in rows], left=0)
    bars = [bar(_BAR * count / longest) for _, _, count in rows]
    return "\n".join(
        [f"errors in {_unit(histogram)}", lines[0]]
        + [f"{line}  {mark}".rstrip() for line, mark in zip(lines[1:], bars, strict=True)]
    )


def text_of_table(table: ErrorTable, most: int) -> str:
    head, rows = _table_rows(table, most)
    return "\n".join([_table_title(table, len(rows)), *columns(head, rows)])


def text_of_error(error: Error) -> str:
    summary = [f"{name:<13} {value}" for name, value in _summary(error)]
    head, rows = _worst_rows(error.worst(_ROWS))
    sections = [
        [error.compared.title, *summary],
        [text_of_histogram(error.histogram(10))],
        ["largest errors", *columns(head, rows)],
    ]
    if error.compared.granularity.channels > 1:
        sections.append([text_of_table(error.channels(), _ROWS)])
    return "\n\n".join("\n".join(section) for section in sections)


# Everything takes the page's own text colour; lines and bars are that colour made faint, so that light and dark pages
# both have contrast.
_CELL = 'style="padding:1px 10px;text-align:{};background:none"'
_TABLE = '<table style="border-collapse:collapse;color:inherit;font-variant-numeric:tabular-nums">'
_HEAD = 'style="padding:1px 10px;text-align:{};background:none;border-bottom:1px solid;opacity:.75"'


def _html_rows(head: Row, rows: Sequence[Row], left: int = 1) -> str:
    def line(row: Row, style: str, tag: str) -> str:
        cells = (
            f"<{tag} {style.format('left' if k < left else 'right')}>{escape(cell)}</{tag}>"
            for k, cell in enumerate(row)
        )
        return f'<tr style="background:none">{"".join(cells)}</tr>'

    body = "".join(line(row, _CELL, "td") for row in rows)
    top = f"<thead>{line(head, _HEAD, 'th')}</thead>" if any(head) else ""
    return f"{_TABLE}{top}<tbody>{body}</tbody></table>"


def _titled(title: str, body: str) -> str:
    return f'<div style="margin:.6em 0;color:inherit"><div style="font-weight:600">{escape(title)}</div>{body}</div>'


def html_of_histogram(histogram: ErrorHistogram) -> str:
    rows = _bins(histogram)
    longest = max((count for _, _, count in rows), default=0) or 1
    bars = []
    for low, up, count in rows:
        inside = bool(low and up)
        reach = f"{low} to {up}" if inside else f"above {low}" if low else f"below {up}"
        bars.append(
            f'<div title="{reach}: {count}" style="flex:1;margin:0 1px;height:{100 * count / longest:.1f}%;'
            f'background:currentColor;opacity:{".4" if inside else ".8"}"></div>'
        )
    # Under the bins alone: the bars beyond them, where there are such, have no end to name.
    sides = [100 / len(rows) * bool(count) for count in (histogram.below, histogram.above)]
    ends = (number(float(edge)) for edge in (histogram.edges[0], 0, histogram.edges[-1]))
    labels = "".join(f"<span>{end}</span>" for end in ends)
    picture = (
        f'<div style="max-width:{_WIDTH}px"><div style="display:flex;align-items:flex-end;height:{_HEIGHT}px;'
        f'border-bottom:1px solid">{"".join(bars)}</div><div style="display:flex;justify-content:space-between;'
        f'margin:0 {sides[1]:.1f}% 0 {sides[0]:.1f}%">{labels}</div></div>'
    )
    beyond = [f"{count} {side}" for count, side in ((histogram.below, "below"), (histogram.above, "above")) if count]
    note = f"; beyond them, clipped numbers: {', '.join(beyond)}" if beyond else ""
    return _titled(f"errors in {_unit(histogram)}{note}", picture)


def html_of_table(table: ErrorTable, most: int) -> str:
    head, rows = _table_rows(table, most)
    return _titled(_table_title(table, len(rows)), _html_rows(head, rows))


def html_of_error(error: Error) -> str:
    head, rows = _worst_rows(error.worst(_ROWS))
    parts = [
        _titled(error.compared.title, _html_rows(("", ""), _summary(error), left=2)),
        html_of_histogram(error.histogram(21)),
        _titled("largest errors", _html_rows(head, rows)),
    ]
    if error.compared.granularity.channels > 1:
        parts.append(html_of_table(error.channels(), _ROWS))
    return f'<div style="color:inherit">{"".join(parts)}</div>'


__all__ = ["html_of_error", "html_of_histogram", "html_of_table", "text_of_error", "text_of_histogram", "text_of_table"]
