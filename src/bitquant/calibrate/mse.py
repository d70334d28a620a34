"""The step, and the zero point, of least squared error: the global optimum, exactly, with a certificate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from bitquant.calibrate.certificate import Certificate, certified
from bitquant.calibrate.channels import Numbered, Target
from bitquant.calibrate.exact import Minimum, Window, minima_of, power, sums_at, widened
from bitquant.calibrate.levels import Levels, of_grid
from bitquant.calibrate.numbers import Numbers
from bitquant.calibrate.representable import optimum_in
from bitquant.calibrate.search import Interval, Search
from bitquant.errors import BitquantError


def calibrated(channels: Iterable[Numbered], target: Target, *, zero_points: Any = None) -> list[Certificate]:
    """The best step of each channel, and the best zero point in the asymmetric scheme."""
    candidates = _candidates(target, zero_points)
    folded = all(levels.symmetric for levels in candidates)
    find = optimum if target.step_format is None else partial(optimum_in, fmt=target.step_format)
    return [find(channel.numbers(folded), candidates) for channel in channels]


def _candidates(target: Target, zero_points: Any) -> list[Levels]:
    """The levels among which to look: one set for each zero point."""
    grid = target.grid
    if grid is None or target.symmetric:
        if zero_points is not None:
            raise BitquantError("zero_points belongs to the asymmetric scheme: in this one the zero point is 0")
        return [target.codebook_levels if grid is None else of_grid(grid, 0)]
    if zero_points is None:
        first, last = grid.low, grid.high
    else:
        given = (zero_points, zero_points) if isinstance(zero_points, (int, np.integer)) else tuple(zero_points)
        if len(given) != 2 or not all(isinstance(point, (int, np.integer)) for point in given) or given[0] > given[1]:
            raise BitquantError(f"zero_points={zero_points!r}: give an integer, or the first and the last to look at")
        first, last = int(given[0]), int(given[1])
    return [of_grid(grid, zero_point) for zero_point in range(first, last + 1)]


def optimum(numbers: Numbers, candidates: Sequence[Levels]) -> Certificate:
    """The best step over several sets of levels."""
    total = power(numbers)
    found = Search(numbers, candidates)
    minima = _settled(numbers, found.intervals, total)
    if not minima:
        # No number is better off with a level other than zero: no level has the sign of a number, or all are zero.
        nothing = [levels for levels in candidates if not levels.nearest_zero]
        if not nothing:
            raise BitquantError("there is no best step: the smaller, the better, as no level is zero")
        minima = [Minimum(total, Fraction(1), min(nothing, key=lambda levels: abs(levels.zero_point)))]
    return certified(minima, total, found.examined, found.breakpoints)


def _settled(numbers: Numbers, intervals: Sequence[Interval], total: Fraction) -> list[Minimum]:
    """The minima that really are in these intervals; of those without error only the first few by step."""
    scale = Fraction(2) ** numbers.shift
    found: dict[tuple[Fraction, int], Minimum] = {}
    pending = sorted(intervals, key=lambda interval: interval.low)
    batch = 64
    while pending:
        flawless = sorted(minimum.step for minimum in found.values() if not minimum.error)
        if len(flawless) > 1 and Fraction(pending[0].low) * scale > flawless[1] * Fraction(1025, 1024):
            break
        windows = [
            Window(numbers, interval.levels, *widened(interval.low, interval.high)) for interval in pending[:batch]
        ]
        sums = sums_at(numbers, windows)
        for window in windows:
            for minimum in minima_of(window, sums, total):
                found[minimum.step, minimum.levels.zero_point] = minimum
        pending = pending[batch:]
        batch = 1024
    return list(found.values())


__all__ = ["calibrated", "optimum"]
