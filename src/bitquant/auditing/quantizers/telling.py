"""Mismatches of quantizers told in full."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from bitquant.auditing.quantizers.judging import Comparison, Judgement
from bitquant.auditing.quantizers.predict import Table
from bitquant.auditing.report import Example
from bitquant.convert import convert
from bitquant.formats import FP64, Format
from bitquant.grid import spacing

__all__ = ["examples"]


def examples(judgement: Judgement, source: Format) -> tuple[Example, ...]:
    """The first and the worst mismatch of each part that has any."""
    found = []
    for part in dict.fromkeys(each.part for each, _ in judgement.comparisons):
        there = [(each, table) for each, table in judgement.comparisons if each.part == part and each.inputs.size]
        if not there:
            continue
        first = there[0]
        gaps = [np.abs(each.received.astype(np.float64) - each.expected.astype(np.float64)) for each, _ in there]
        most = max(range(len(there)), key=lambda k: gaps[k].max())
        places = {"first": (*first, 0), "worst": (*there[most], int(gaps[most].argmax()))}
        if gaps[0][0] == gaps[most].max():
            del places["worst"]
        found += [Example(f"{label} {part}", _facts(*place, source)) for label, place in places.items()]
    return tuple(found)


def _facts(each: Comparison, table: Table, k: int, source: Format) -> dict[str, str]:
    channel = int(each.channel[k])
    step, zero = float(table.step[channel]), float(table.zero_point[channel])
    facts = {"step": f"{step!r} = {Fraction(step)}" if np.isfinite(step) else str(step), "zero point": f"{zero:g}"}
    expected, received = int(each.expected[k]), int(each.received[k])
    if each.part == "codes":
        x = _number(int(each.inputs[k]), source)
        facts = {"x": f"{x!r}, bits {int(each.inputs[k]):#0{source.code_dtype.itemsize * 2 + 2}x}", **facts}
        if np.isfinite(x) and np.isfinite(step) and step:
            place = Fraction(x) / Fraction(step) + Fraction(zero)
            facts["exact place"] = f"{place} ≈ {_short(place)}"
            facts["distance to the boundary"] = _distance(place, x, step, zero, source)
            low, high = table.ends
            exact = min(max(round(place), low), high)
            right = {expected: "the expected code", received: "the received code"}.get(exact, f"neither, it is {exact}")
            facts["correctly rounded"] = right
    else:
        low, high = (table.numbers[channel].min(), table.numbers[channel].max())
        tensor = {"tensor": f"{table.x.shape[1]} numbers from {float(low)!r} to {float(high)!r}"}
        facts = {"code": str(int(each.inputs[k])), **facts} if each.part == "values" else tensor
    return {
        **facts,
        "expected": _shown(expected, each, source),
        "received": _shown(received, each, source),
        "cause": str(each.causes[k]),
    }


def _shown(answer: int, each: Comparison, source: Format) -> str:
    if each.part == "codes":
        return str(answer)
    number = np.int64(answer).view(np.float64)
    if each.part == "zero point":
        return f"{number:g}"
    return f"{float(number)!r}"


def _short(place: Fraction) -> str:
    return f"{place.numerator / place.denominator:.17g}"


def _distance(place: Fraction, x: float, step: float, zero: float, source: Format) -> str:
    """How far x lies from the boundary between the two codes next to its place."""
    boundary = (Fraction(int(place // 1)) + Fraction(1, 2) - Fraction(zero)) * Fraction(step)
    if boundary == Fraction(x):
        return "none: it is a tie"
    unit = float(spacing(np.array([x], source.array_dtype), source)[0])
    gap = abs(Fraction(x) - boundary) / Fraction(unit)
    return f"{gap.numerator / gap.denominator:.3g} ulp of x"


def _number(code: int, source: Format) -> float:
    word = np.array([code], source.code_dtype).view(source.array_dtype)
    return float(convert(word, FP64)[0])
