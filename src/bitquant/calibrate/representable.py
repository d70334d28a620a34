"""The best step among the numbers of a format: the step that a file can store.

The error is bounded between two steps as in search.py, and here the cells are cut at numbers of the format, until
none lies between their ends or hardly any breakpoint does. Which cells are never opened is proven by the same bound.
In the others integers decide: between two breakpoints the error is a parabola, so that the best numbers of the format
there are the neighbours of its lowest point, or of the breakpoint nearest to that.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from bitquant.calibrate.certificate import Certificate, certified
from bitquant.calibrate.exact import Minimum, Sums, Window, power, sums_at, widened
from bitquant.calibrate.levels import Levels
from bitquant.calibrate.numbers import Numbers, magnitude
from bitquant.calibrate.search import Curve, Curves, Point, better_divided, bound, margin
from bitquant.formats import Format
from bitquant.quantize.rationals import nearest_code, nearest_float, number_at

_FEW = 4  # breakpoints that are left to integers


class _Cell(NamedTuple):
    """Numbers of the format from one place to another, for the levels of some successive candidates together."""

    bound: float
    first: int
    last: int
    since: int
    until: int
    order: int
    start: Point
    stop: Point


class _Cells:
    """The cells that are left, the most promising first, and the best that is known."""

    def __init__(self, numbers: Numbers, candidates: Sequence[Levels], fmt: Format) -> None:
        self.curves = Curves(numbers, candidates)
        self.second = math.inf
        self.tried: dict[tuple[int, int], tuple[Point, float]] = {}
        self.settled: list[_Cell] = []  # those of few breakpoints that hold numbers of the format between their ends
        self._fmt, self._numbers = fmt, numbers
        self._least = math.inf
        self._heap: list[_Cell] = []
        spans = [_span(self.curves.of(k, k + 1), fmt) for k in range(len(candidates))]
        ends = min(since for since, _ in spans), max(until for _, until in spans)
        self.breakpoints = sum(self._look(k, k + 1, ends[1]).passed for k in range(len(candidates)))
        promising = self.curves.promising()
        self._explore(promising, promising + 1, *ends, None)
        if len(candidates) > 1:
            self._explore(0, len(candidates), *ends, promising)

    def _look(self, first: int, last: int, place: int) -> Point:
        """The error at a number of the format."""
        point = self.curves.of(first, last).at(_scaled(number_at(place, self._fmt), self._numbers.shift))
        if last - first == 1 and (first, place) not in self.tried:
            doubt = margin(point, point.step)
            self.tried[first, place] = point, point.gain - doubt
            most = point.gain + doubt
            self._least, self.second = min(self._least, most), min(self.second, max(self._least, most))
        return point

    def _push(self, first: int, last: int, since: int, until: int, start: Point, stop: Point) -> None:
        """Keep a cell, unless it is proven to hold nothing of interest."""
        low = bound(start, stop)
        if low <= self.second:
            heapq.heappush(self._heap, _Cell(low, first, last, since, until, len(self._heap), start, stop))

    def _explore(self, first: int, last: int, since: int, until: int, done: int | None) -> None:
        """Look at all places of some candidates, one of which may have been looked at already."""
        self._push(first, last, since, until, self._look(first, last, since), self._look(first, last, until))
        while self._heap and self._heap[0].bound <= self.second:
            cell = heapq.heappop(self._heap)
            _, first, last, since, until, _, start, stop = cell
            if last - first > 1 and (until - since < 2 or better_divided(start, stop, self.second)):
                middle = (first + last) // 2
                for one, two in ((first, middle), (middle, last)):
                    self._push(one, two, since, until, self._look(one, two, since), self._look(one, two, until))
                continue
            # Without any level but zero the error is the same at all steps.
            if last - first == 1 and (first == done or until - since < 2 or not start.b):
                continue
            if last - first == 1 and stop.passed - start.passed <= _FEW:
                if stop.b and stop.a > 0:  # so that what is certainly no better is left out soon
                    lowest = Fraction(stop.a / stop.b) * Fraction(2) ** self._numbers.shift
                    self._look(first, last, min(max(_floor(lowest, self._fmt), since), until))
                self.settled.append(cell)
                continue
            place = (since + until) // 2
            between = self._look(first, last, place)
            self._push(first, last, since, place, start, between)
            self._push(first, last, place, until, between, stop)


def optimum_in(numbers: Numbers, candidates: Sequence[Levels], fmt: Format) -> Certificate:
    """The best step that a floating format holds, over several sets of levels."""
    total = power(numbers)
    cells = _Cells(numbers, candidates, fmt)
    regions = [(cell.bound, cell.first, cell.since, cell.until, cell.start, cell.stop) for cell in cells.settled]
    regions += [(low, number, place, place, point, point) for (number, place), (point, low) in cells.tried.items()]
    close = [region for region in regions if region[0] <= cells.second]
    windows = [
        Window(numbers, candidates[number], *widened(start.step, stop.step)) for _, number, _, _, start, stop in close
    ]
    sums = sums_at(numbers, windows)
    found: dict[tuple[int, int], Minimum] = {}
    for window, (_, number, first, last, _, _) in zip(windows, close, strict=True):
        for place, error in _best(window, sums, first, last, fmt, total):
            found[number, place] = Minimum(error, number_at(place, fmt), candidates[number])
    return certified(list(found.values()), total, len(cells.tried), cells.breakpoints)


def _best(
    window: Window, sums: Sequence[Sums], first: int, last: int, fmt: Format, total: Fraction
) -> Iterator[tuple[int, Fraction]]:
    """The errors at those places of a cell among which the best two are."""
    level, unit = Fraction(2) ** window.levels.exponent, Fraction(2) ** window.numbers.unit
    for low, high, a, b in window.pieces(sums):
        least = first if low is None else max(first, _floor(low, fmt) + (number_at(_floor(low, fmt), fmt) < low))
        most = last if high is None else min(last, _floor(high, fmt))
        if least > most:
            continue
        lowest = _floor(a / b / level, fmt) if b and a > 0 else first
        from_place = min(max(lowest - 1, least), max(most - 1, least))
        for place in range(from_place, min(max(lowest + 2, from_place + 1), most) + 1):
            step = number_at(place, fmt) * level
            yield place, total + step * (step * b - 2 * a) * unit


def _scaled(step: Fraction, shift: int) -> float:
    """A step as the double that floating point calculates with; the search does not mind its rounding."""
    return min(nearest_float(step / Fraction(2) ** shift), 2.0**500)


def _floor(value: Fraction, fmt: Format) -> int:
    """The place in a format of the largest number not above a value; the smallest or largest where that is beyond."""
    place = min(max(nearest_code(value, fmt), 1), fmt.largest_code + (not fmt.zero))
    return place - 1 if place > 1 and number_at(place, fmt) > value else place


def _span(curve: Curve, fmt: Format) -> tuple[int, int]:
    """Places in a format between which the best of its steps lies.

    Below all breakpoints and above them the error is a parabola each: farther out than both that parabola's lowest
    point and the breakpoints it only grows.
    """
    unit, scale = Fraction(2) ** curve.numbers.shift, Fraction(2) ** (1 - curve.levels.exponent)
    ends = []
    for numbers, side in zip(curve.numbers.sides, curve.levels.sides, strict=True):
        if numbers.size and side.doubled.size:
            word = numbers.keys.dtype.itemsize
            ends.append(magnitude(int(numbers.keys[0]), word) * scale / int(side.doubled[-1]))
            ends.append(magnitude(int(numbers.keys[-1]), word) * scale / int(side.doubled[0]))
    points = curve.at(0.0), curve.at(curve.top)
    ends += [Fraction(point.a / point.b) * unit for point in points if point.a > 0 and point.b > 0]
    if not ends:
        ends = [Fraction(1)]
    largest = fmt.largest_code + (not fmt.zero)
    return max(_floor(min(ends) / 2, fmt) - 1, 1), min(_floor(max(ends) * 2, fmt) + 1, largest)


__all__ = ["optimum_in"]
