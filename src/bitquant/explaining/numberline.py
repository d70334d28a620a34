"""The number line around a result, as SVG in the text's own colour: neighbours, midpoints, the number, the interval."""

from __future__ import annotations

from fractions import Fraction
from html import escape

from bitquant.explaining.exact import Real, text_of
from bitquant.explaining.explanation import Explanation

_WIDTH, _HEIGHT = 640, 132
_LEFT, _RIGHT, _LINE = 70, 570, 74  # where the line begins and ends, and how far down it is


def number_line(e: Explanation) -> str:
    """An inline SVG; empty where the result is not finite."""
    if e.result.kind != "finite" or e.around is None:
        return ""
    here = e.result.value
    below, above = (one.real for one in e.around)
    step = next((abs(one.value - here) for one in (above, below) if one.kind == "finite" and one.value != here), None)
    if step is None:
        return ""
    low = below.value if below.kind == "finite" and below.value != here else here - step
    high = above.value if above.kind == "finite" and above.value != here else here + step
    parts = [f'<line x1="{_LEFT - 40}" y1="{_LINE}" x2="{_RIGHT + 40}" y2="{_LINE}" class="axis"/>']

    def x_of(value: Fraction) -> float:
        place = (value - low) / (high - low)
        return _LEFT + (_RIGHT - _LEFT) * float(min(max(place, Fraction(-1, 12)), Fraction(13, 12)))

    parts += _band(e, x_of)
    for value, code, real in (
        (low, e.around[0].code, below),
        (here, e.code, e.result),
        (high, e.around[1].code, above),
    ):
        held = real.kind == "finite" and real.value == value
        parts += _tick(x_of(value), real if held else None, f"0x{code:X}", value == here)
    if e.rounding is not None and e.rounding.exponent is not None:
        for a, b in ((low, here), (here, high)):
            x = x_of((a + b) / 2)
            parts.append(f'<line x1="{x:.1f}" y1="{_LINE - 7}" x2="{x:.1f}" y2="{_LINE + 7}" class="middle"/>')
            parts.append(f'<text x="{x:.1f}" y="{_LINE + 20}" class="small">half way</text>')
    parts += _marker(e, x_of, low, high)
    label = f"Number line: {e.given.text} becomes {text_of(e.result)} of {e.target.name}"
    return (
        f'<svg class="bqx-line" role="img" aria-label="{escape(label, quote=True)}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}">{"".join(parts)}</svg>'
    )


def _tick(x: float, real: Real | None, code: str, result: bool) -> list[str]:
    """A number of the format, with its value and code."""
    if real is None:
        return []
    kind = "result" if result else "tick"
    return [
        f'<line x1="{x:.1f}" y1="{_LINE - 12}" x2="{x:.1f}" y2="{_LINE + 12}" class="{kind}"/>',
        f'<text x="{x:.1f}" y="{_LINE + 34}" class="{kind}">{escape(text_of(real, 7))}</text>',
        f'<text x="{x:.1f}" y="{_LINE + 50}" class="small">{code}</text>',
    ]


def _band(e: Explanation, x_of: object) -> list[str]:
    """The numbers that become the result: a bar, its ends filled where they belong to it."""
    if e.interval is None or not callable(x_of):
        return []
    ends = []
    for real, side in ((e.interval.low, _LEFT - 40), (e.interval.high, _RIGHT + 40)):
        ends.append(float(x_of(real.value)) if real.kind == "finite" else float(side))
    parts = [
        f'<line x1="{ends[0]:.1f}" y1="{_LINE}" x2="{ends[1]:.1f}" y2="{_LINE}" class="band"/>',
    ]
    for x, real, closed in zip(
        ends, (e.interval.low, e.interval.high), (e.interval.low_closed, e.interval.high_closed), strict=True
    ):
        if real.kind == "finite":
            parts.append(f'<circle cx="{x:.1f}" cy="{_LINE}" r="5" class="{"closed" if closed else "open"}"/>')
    return parts


def _marker(e: Explanation, x_of: object, low: Fraction, high: Fraction) -> list[str]:
    """The number itself, above the line; an arrow where it lies outside."""
    real = e.given.real
    if real.kind == "nan" or not callable(x_of):
        return []
    value = real.value if real.kind == "finite" else (low if real.negative else high) * 2 - (low + high) / 2
    if real.kind == "infinity":
        value = low - (high - low) if real.negative else high + (high - low)
    outside = -1 if value < low - (high - low) / 12 else 1 if value > high + (high - low) / 12 else 0
    x = float(x_of(value))
    words = text_of(real, 9)
    y = _LINE - 16
    shape = (
        f"M{x:.1f} {y} l-6 -12 h12 z" if not outside else f"M{x + 12 * outside:.1f} {y - 6} l{-12 * outside} -6 v12 z"
    )
    anchor = "start" if x < 120 else "end" if x > _WIDTH - 120 else "middle"
    return [
        f'<path d="{shape}" class="number"/>',
        f'<text x="{x:.1f}" y="{y - 20}" class="number" style="text-anchor:{anchor}">{escape(words)}</text>',
    ]
