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

from bitquant.calibrate.certificate import Certificate, certified
from bitquant.calibrate.exact import Minimum, Sums, Window, power, sums_at, widened
from bitquant.calibrate.levels import Levels
from bitquant.calibrate.numbers import Numbers, magnitude
from bitquant.calibrate.search import Curve, Point, bound, margin
from bitquant.formats import Format
from bitquant.quantize.parameters import nearest_code, nearest_float, number_at

_FEW = 4  # breakpoints that are left to integers


class _Cells:
    """The cells that are left, the most promising first, and the best that is known."""

    def __init__(self, numbers: Numbers, candidates: Sequence[Levels], fmt: Format) -> None:
        self.fmt = fmt
        self.curves = [Curve(numbers, levels) for levels in candidates]
        self.heap: list[tuple[float, int, int, int, int, Point, Point]] = []
        self.least = self.second = math.inf
        self.tried: dict[tuple[int, int], tuple[Point, float]] = {}
        self.breakpoints = 0

    def look(self, number: int, place: int) -> Point:
        """The error at a number of the format."""
        curve = self.curves[number]
        point = curve.at(_scaled(number_at(place, self.fmt), curve.numbers.shift))
        if (number, place) not in self.tried:
            doubt = margin(point, point.step)
            self.tried[number, place] = point, point.gain - doubt
            most = point.gain + doubt
            self.least, self.second = min(self.least, most), min(self.second, max(self.least, most))
        return point

    def push(self, number: int, first: int, last: int, start: Point, stop: Point) -> None:
        """Keep a cell, unless it is proven to hold nothing of interest."""
        low = bound(start, stop)
        if low <= self.second:
            heapq.heappush(self.heap, (low, number, first, last, len(self.tried), start, stop))

    def settled(self) -> Iterator[tuple[float, int, int, int, Point, Point]]:
        """Cells of few breakpoints that hold numbers of the format: bound, number of the curve, places and ends."""
        for number, curve in enumerate(self.curves):
            first, last = _span(curve, self.fmt)
            start, stop = self.look(number, first), self.look(number, last)
            self.breakpoints += stop.passed
            self.push(number, first, last, start, stop)
        while self.heap and self.heap[0][0] <= self.second:
            low, number, first, last, _, start, stop = heapq.heappop(self.heap)
            # Without any level but zero the error is the same at all steps.
            if last - first < 2 or not start.b:
                continue
            if stop.passed - start.passed <= _FEW:
                if stop.b and stop.a > 0:  # so that what is certainly no better is left out soon
                    lowest = Fraction(stop.a / stop.b) * Fraction(2) ** self.curves[number].numbers.shift
                    self.look(number, min(max(_floor(lowest, self.fmt), first), last))
                yield low, number, first, last, start, stop
                continue
            place = (first + last) // 2
            middle = self.look(number, place)
            self.push(number, first, place, start, middle)
            self.push(number, place, last, middle, stop)


def optimum_in(numbers: Numbers, candidates: Sequence[Levels], fmt: Format) -> Certificate:
    """The best step that a floating format holds, over several sets of levels."""
    total = power(numbers)
    cells = _Cells(numbers, candidates, fmt)
    settled = list(cells.settled())
    settled += [(low, number, place, place, point, point) for (number, place), (point, low) in cells.tried.items()]
    close = [cell for cell in settled if cell[0] <= cells.second]
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
