"""The step of least squared error: a search over all steps that leaves out only what is proven to be worse.

For given levels the error of a step s is f(s) = Σ w·min_u (x − s·u)² = X − 2·s·A(s) + s²·B(s), with A = Σ w·x·u and
B = Σ w·u² of the levels u nearest to x/s. Between two neighbouring breakpoints, at which a code changes, A and B are
constant, and the best step of those codes is A/B with the error X − A²/B. The best step of all is such a step of one
interval, and lies in that interval (else its own nearest codes would do better still).

What makes the search short is a bound. As s grows no level grows in magnitude, so B(s) falls; on [s0, s1] every piece
of f(s) − B(s0)·s² is then concave, and so is their minimum. Hence with t from 0 to 1

    f(s0 + t·d) ≥ (1 − t)·f(s0) + t·f(s1) − B(s0)·d²·t·(1 − t),   d = s1 − s0.

Cells of steps are halved, the most promising one first. One with few breakpoints is swept: its breakpoints are sorted
and all of its intervals looked at. Cells whose bound lies above the second best minimum found are never opened.
Everything here is floating point with a margin for its errors (kernels/sweep.pyx, Design B); what comes near the best
is decided by integers in exact.py.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bitquant.calibrate.levels import Levels
from bitquant.calibrate.numbers import Numbers
from bitquant.kernels.sweep import minima

MARGIN = 2.0**-46
_FEW = 256  # breakpoints that are rather sorted than halved


class Point(NamedTuple):
    """What is known at a step; everything scaled by powers of 2^shift."""

    step: float
    gain: (
        float  # f(s) − X: how much the error exceeds that of giving zero for all, which is below zero where it is less
    )
    a: float
    b: float
    spread: float  # Σ of the magnitudes that make up A
    passed: int  # breakpoints at or below the step


class Interval(NamedTuple):
    """Neighbouring breakpoints between which the error may have a minimum."""

    gain: float  # of the best step of its codes
    doubt: float  # how far that may be off
    low: float
    high: float
    levels: Levels


@dataclass(frozen=True, eq=False)
class Curve:
    """The error as a function of the step, for one set of levels."""

    numbers: Numbers
    levels: Levels

    def at(self, step: float) -> Point:
        """A and B at a step, and the error."""
        a = b = spread = 0.0
        passed = 0
        for numbers, side in zip(self.numbers.sides, self.levels.sides, strict=True):
            more_a, more_b, more_passed = numbers.evaluate(step, side.thresholds, side.rises, side.squares)
            base = side.base_float
            a += more_a + base * numbers.moment
            b += more_b + base * base * numbers.mass
            spread += more_a + abs(base) * numbers.moment
            passed += more_passed
        b += float(self.numbers.zeros) * self.zero_square
        return Point(step, step * (step * b - 2 * a), a, b, spread, passed)

    @property
    def zero_square(self) -> float:
        """The square of the level that zero gets."""
        return min(side.base_float**2 for side in self.levels.sides)

    @property
    def top(self) -> float:
        """A step beyond all breakpoints."""
        top = 0.0
        for numbers, side in zip(self.numbers.sides, self.levels.sides, strict=True):
            if numbers.size and side.thresholds.size:
                top = max(top, 2.0 / float(side.thresholds[0]))
        return top

    @property
    def first(self) -> float:
        """A step near which the search begins: the levels just cover the numbers, or would if those were in [1, 2)."""
        return min(1 / float(side.thresholds[-1]) for side in self.levels.sides if side.thresholds.size)

    def sweep(self, start: Point, stop: Point) -> tuple[list[Interval], list[float]]:
        """The intervals between two steps that may hold a minimum, and the errors of those that surely do."""
        found = [
            numbers.between(start.step, stop.step, side.thresholds, side.rises, side.squares)
            for numbers, side in zip(self.numbers.sides, self.levels.sides, strict=True)
        ]
        rows = np.concatenate(found, axis=1)
        rows = rows.take(np.argsort(-rows[0]), axis=1)
        best = minima(rows[0], rows[1], rows[2], stop.a, stop.b, start.step, stop.step, (stop.spread - stop.a) / 2)
        intervals = [Interval(-row[0], row[1], row[2], row[3], self.levels) for row in best.tolist()]
        sure = best[best[:, 4] > 0]
        return intervals, (sure[:, 1] - sure[:, 0]).tolist()

    def beyond(self, top: Point) -> list[Interval]:
        """The interval above all breakpoints, where the levels next to zero may have a minimum."""
        if top.a <= 0 or top.b <= 0:
            return []
        doubt = MARGIN * top.spread / top.b
        if top.a / top.b + doubt < top.step * (1 - MARGIN):
            return []
        return [Interval(-top.a * top.a / top.b, 2 * top.spread * doubt, top.step, math.inf, self.levels)]


def bound(start: Point, stop: Point) -> float:
    """A number below the error of every step between two, less the error of giving zero for all."""
    width = stop.step - start.step
    bend = start.b * width * width
    rise = stop.gain - start.gain
    at = min(max((bend - rise) / (2 * bend), 0.0), 1.0) if bend > 0 else float(rise < 0)
    lowest = start.gain + at * rise - bend * at * (1 - at)
    return lowest - margin(start, stop.step)


def margin(point: Point, step: float) -> float:
    """How far the error at a step may be off, from the sums at this one or one below."""
    return MARGIN * (2 * step * point.spread + step * step * point.b)


@dataclass
class Search:
    """What was found, and how much was looked at."""

    intervals: list[Interval]
    examined: int
    breakpoints: int
    evaluations: int


def search(numbers: Numbers, candidates: Sequence[Levels]) -> Search:
    """All intervals that may hold the least or the second least minimum of the error, over several sets of levels."""
    curves = [Curve(numbers, levels) for levels in candidates]
    cells: list[tuple[float, int, int, Point, Point]] = []
    result = Search([], 0, 0, 0)
    least, second = math.inf, math.inf
    for number, curve in enumerate(curves):
        top = curve.at(curve.top)
        result.evaluations += 2
        result.breakpoints += top.passed
        result.intervals += curve.beyond(top)
        if top.passed:
            start = curve.at(0.0)
            cells.append((bound(start, top), number, -1, start, top))
    heapq.heapify(cells)
    while cells and cells[0][0] <= second:
        _, number, _, start, stop = heapq.heappop(cells)
        curve = curves[number]
        few = 128
        if stop.passed - start.passed <= few or start.step * (1 + 2.0**-40) >= stop.step:
            intervals, sure = curve.sweep(start, stop)
            result.intervals += [interval for interval in intervals if interval.gain - interval.doubt <= second]
            result.examined += stop.passed - start.passed + 1
            for gain in sure:
                least, second = min(least, gain), min(second, max(least, gain))
            continue
        middle = curve.at(_between(start.step, stop.step, curve.first))
        result.evaluations += 1
        for one, other in ((start, middle), (middle, stop)):
            low = bound(one, other)
            if low <= second:
                heapq.heappush(cells, (low, number, result.evaluations, one, other))
    result.intervals = [interval for interval in result.intervals if interval.gain - interval.doubt <= second]
    return result


def _between(start: float, stop: float, first: float) -> float:
    """Where to cut a cell: in the middle, or where its ends are far apart, near the step at which all numbers fit."""
    if 4 * start >= stop:
        return (start + stop) / 2
    if 2 * start < first < stop / 2:
        return first
    return math.sqrt(start) * math.sqrt(stop) if start else stop / 16
