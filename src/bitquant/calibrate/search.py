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

from bitquant.calibrate.levels import Levels, united
from bitquant.calibrate.numbers import Numbers
from bitquant.kernels.sweep import minima

MARGIN = 2.0**-46
_NARROW = 1 + 2.0**-12  # ratio of steps between which levels that do too well together are looked at apart
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


class Curves:
    """The errors of several sets of levels, apart and together.

    What no level of any of some sets can do better, none of the sets can: their levels together bound them all.
    """

    def __init__(self, numbers: Numbers, candidates: Sequence[Levels]) -> None:
        self.numbers, self.candidates = numbers, candidates
        self._made: dict[tuple[int, int], Curve] = {}

    def of(self, first: int, last: int) -> Curve:
        """The error of the levels of the candidates first to last together."""
        if (first, last) not in self._made:
            together = self.candidates[first:last]
            levels = together[0] if len(together) == 1 else united(together)
            self._made[first, last] = Curve(self.numbers, levels)
        return self._made[first, last]

    def promising(self) -> int:
        """The candidate whose levels lie about as far to both sides as the numbers do."""
        high, low = self.numbers.largest(0), self.numbers.largest(1)
        middle = [levels.high * low + levels.low * high for levels in self.candidates]
        return min(range(len(middle)), key=lambda k: abs(middle[k]))


class _Cell(NamedTuple):
    """Steps between two points, for the levels of some successive candidates together."""

    bound: float
    first: int
    last: int
    order: int
    start: Point
    stop: Point


class Search:
    """The intervals that may hold the least or the second least minimum of the error, over several sets of levels.

    Attributes
    ----------
    intervals : list of Interval
    examined : int
        Intervals that were looked at one by one.
    breakpoints : int
        Of all sets of levels.
    evaluations : int
        How often the error at a step was calculated.
    """

    def __init__(self, numbers: Numbers, candidates: Sequence[Levels]) -> None:
        self.intervals: list[Interval] = []
        self.examined = self.breakpoints = self.evaluations = 0
        self._curves = Curves(numbers, candidates)
        self._least = self._second = math.inf
        self._cells: list[_Cell] = []
        count = len(candidates)
        top = max(self._curves.of(k, k + 1).top for k in range(count))
        for k in range(count):
            highest = self._at(k, k + 1, top)
            self.breakpoints += highest.passed
            self.intervals += self._curves.of(k, k + 1).beyond(highest)
        if self.breakpoints:
            promising = self._curves.promising()
            self._explore(promising, promising + 1, top, None)
            if count > 1:
                self._explore(0, count, top, promising)
        self.intervals = [own for own in self.intervals if own.gain - own.doubt <= self._second]

    def _explore(self, first: int, last: int, top: float, done: int | None) -> None:
        """Search all steps of some candidates, one of which may have been searched already."""
        self._push(first, last, self._at(first, last, 0.0), self._at(first, last, top))
        while self._cells and self._cells[0].bound <= self._second:
            cell = heapq.heappop(self._cells)
            first, last, start, stop = cell.first, cell.last, cell.start, cell.stop
            if last - first == 1 and first == done:
                continue
            if last - first > 1 and better_divided(start, stop, self._second):
                middle = (first + last) // 2
                for one, two in ((first, middle), (middle, last)):
                    self._push(one, two, self._at(one, two, start.step), self._at(one, two, stop.step))
                continue
            curve = self._curves.of(first, last)
            few = max(_FEW, sum(side.thresholds.size for side in curve.levels.sides))
            narrow = start.step * (1 + 2.0**-40) >= stop.step
            if last - first == 1 and (stop.passed - start.passed <= few or narrow):
                self._sweep(curve, start, stop)
                continue
            between = self._at(first, last, _between(start.step, stop.step, curve.first))
            self._push(first, last, start, between)
            self._push(first, last, between, stop)

    def _sweep(self, curve: Curve, start: Point, stop: Point) -> None:
        intervals, sure = curve.sweep(start, stop)
        self.intervals += [own for own in intervals if own.gain - own.doubt <= self._second]
        self.examined += stop.passed - start.passed + 1
        for gain in sure:
            self._least, self._second = min(self._least, gain), min(self._second, max(self._least, gain))

    def _push(self, first: int, last: int, start: Point, stop: Point) -> None:
        low = bound(start, stop)
        if low <= self._second:
            heapq.heappush(self._cells, _Cell(low, first, last, self.evaluations, start, stop))

    def _at(self, first: int, last: int, step: float) -> Point:
        self.evaluations += 1
        return self._curves.of(first, last).at(step)


def better_divided(start: Point, stop: Point, second: float) -> bool:
    """Whether it is the many levels that keep a cell from being left out, rather than its width."""
    return start.step * _NARROW >= stop.step or min(start.gain, stop.gain) <= second


def _between(start: float, stop: float, first: float) -> float:
    """Where to cut a cell: in the middle, or where its ends are far apart, near the step at which all numbers fit."""
    if 4 * start >= stop:
        return (start + stop) / 2
    if 2 * start < first < stop / 2:
        return first
    return math.sqrt(start) * math.sqrt(stop) if start else stop / 16
