"""The last word on steps and errors, by integers.

The search (search.py) leaves a few intervals between neighbouring breakpoints. Here each is looked at again, slightly
wider, with its breakpoints as rationals and A and B as integers: which of them really is a minimum, and which is the
least.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitquant.calibrate.levels import Levels
from bitquant.calibrate.numbers import Numbers, magnitude, parts
from bitquant.kernels.sweep import Magnitudes

_WIDER = 2.0**-44


class Minimum(NamedTuple):
    """A step at which the squared error has a minimum, exactly."""

    error: Fraction  # Σ w·(x − step·level)²
    step: Fraction
    levels: Levels


class Sums:
    """Exact sums over the largest numbers of a side, prepared for some places in the order."""

    def __init__(self, magnitudes: Magnitudes, places: Iterable[NDArray[np.int64]], squares: bool = False) -> None:
        keys = magnitudes.keys
        self._word = keys.dtype.itemsize
        stored = 23 if self._word == 4 else 52
        # A run must share one exponent.
        last = int(keys[-1]) >> stored if keys.size else 0
        first = int(keys[0]) >> stored if keys.size else 0
        binades = [keys.dtype.type(field << stored) for field in range(first + 1, last + 1)]
        edges = np.searchsorted(keys, np.array(binades, keys.dtype)) if binades else np.array([], np.int64)
        ends = np.array([0, keys.size], np.int64)
        cuts = np.unique(np.concatenate([ends, edges.astype(np.int64), *places]))
        self.unit = parts(int(keys[0]), self._word)[1] if keys.size else 0
        self.mass: dict[int, int] = {keys.size: 0}
        self.moment: dict[int, int] = {keys.size: 0}
        mass = moment = square = 0
        runs = magnitudes.totals(cuts, squares)
        for start, (w, ws, wss) in zip(cuts[-2::-1].tolist(), runs[::-1], strict=True):
            up = parts(int(keys[start]), self._word)[1] - self.unit
            mass, moment, square = mass + w, moment + (ws << up), square + (wss << 2 * up)
            self.mass[start], self.moment[start] = mass, moment
        self.square = square


def power(numbers: Numbers) -> Fraction:
    """Σ w·x²."""
    total = Fraction(0)
    for magnitudes in numbers.sides:
        sums = Sums(magnitudes, (), True)
        total += sums.square * Fraction(2) ** (2 * sums.unit)
    return total * Fraction(2) ** numbers.unit


class Window:
    """The steps from one to another, as doubles that no breakpoint of interest lies near."""

    def __init__(self, numbers: Numbers, levels: Levels, low: float, high: float) -> None:
        self.numbers, self.levels = numbers, levels
        unit = Fraction(2) ** numbers.shift
        self.low, self.high = Fraction(low) * unit, None if high == np.inf else Fraction(high) * unit
        self.since = [m.counts(low, side.thresholds) for m, side in zip(numbers.sides, levels.sides, strict=True)]
        self.until = [
            m.counts(high, side.thresholds) if high < np.inf else np.full(side.thresholds.size, m.size)
            for m, side in zip(numbers.sides, levels.sides, strict=True)
        ]

    def sums_above(self, sums: Sequence[Sums]) -> tuple[int, int, int]:
        """A, its unit's exponent, and B, of the codes at the upper end; in units of levels."""
        unit = min(own.unit for own in sums)
        a = b = 0
        for own, side, counts in zip(sums, self.levels.sides, self.until, strict=True):
            moment, square = side.base * own.moment[0], side.base**2 * own.mass[0]
            for count, rise, more in zip(counts.tolist(), side.rise.tolist(), side.square.tolist(), strict=True):
                moment += rise * own.moment[count]
                square += more * own.mass[count]
            a += moment << (own.unit - unit)
            b += square
        return a, unit, b + self.numbers.zeros * self.levels.nearest_zero

    def breakpoints(self) -> list[tuple[Fraction, Fraction, int]]:
        """The breakpoints inside, descending: each with what A (in units of 1) and B gain below it."""
        found = []
        scale = Fraction(2) ** -self.levels.exponent
        for magnitudes, side, since, until in zip(
            self.numbers.sides, self.levels.sides, self.since, self.until, strict=True
        ):
            word = magnitudes.keys.dtype.itemsize
            for k in np.flatnonzero(until - since).tolist():
                for i in range(int(since[k]), int(until[k])):
                    number = magnitude(int(magnitudes.keys[i]), word)
                    weight = 1 if magnitudes.weights is None else int(magnitudes.weights[i])
                    step = 2 * number * scale / int(side.doubled[k])
                    found.append((step, weight * int(side.rise[k]) * number, weight * int(side.square[k])))
        found.sort(key=lambda row: row[0], reverse=True)
        return found

    def pieces(self, sums: Sequence[Sums]) -> list[tuple[Fraction | None, Fraction | None, Fraction, int]]:
        """The intervals inside: ends (None at the window's own), A in units of 1 · 2^exponent, and B."""
        whole, unit, b = self.sums_above(sums)
        a = whole * Fraction(2) ** unit
        pieces: list[tuple[Fraction | None, Fraction | None, Fraction, int]] = []
        high: Fraction | None = None
        for step, more_a, more_b in self.breakpoints():
            if step != high:
                pieces.append((step, high, a, b))
            a, b, high = a + more_a, b + more_b, step
        pieces.append((None, high, a, b))
        return pieces


def widened(low: float, high: float) -> tuple[float, float]:
    """Ends a little farther out than floating point can be off."""
    return low * (1 - _WIDER), high * (1 + _WIDER)


def sums_at(numbers: Numbers, windows: Sequence[Window]) -> list[Sums]:
    """The sums that windows need, in one pass over the numbers."""
    return [
        Sums(magnitudes, [window.until[side] for window in windows]) for side, magnitudes in enumerate(numbers.sides)
    ]


def minima_of(window: Window, sums: Sequence[Sums], total: Fraction) -> list[Minimum]:
    """The minima of the error inside a window; `total` is Σ w·x²."""
    exponent, unit = window.levels.exponent, Fraction(2) ** window.numbers.unit
    found = []
    for low, high, a, b in window.pieces(sums):
        if a <= 0 or not b:
            continue
        step = a / b * Fraction(2) ** -exponent
        low, high = window.low if low is None else low, window.high if high is None else high
        if low <= step and (high is None or step <= high):
            found.append(Minimum(total - a * a / b * unit, step, window.levels))
    return found


__all__ = ["Minimum", "Sums", "Window", "minima_of", "power", "sums_at", "widened"]
