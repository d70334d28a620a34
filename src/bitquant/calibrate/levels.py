"""The levels that codes stand for, in units of the step, and the thresholds between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.convert import decode
from bitquant.errors import BitquantError
from bitquant.formats import Format
from bitquant.quantize.parameters import Grid
from bitquant.quantize.rationals import exact_numbers

_INT64 = 1 << 30  # levels up to here have squares, and sums of two squares, in int64


@dataclass(frozen=True, eq=False)
class Side:
    """The levels on one side of zero, from the one nearest to it outwards.

    `base` is the level of the numbers next to zero (on the negative side the levels' signs are turned over). Above
    threshold k a number's level is greater by `rise[k]`, its square by `square[k]`; `doubled[k]` is the threshold,
    times two.
    """

    base: int
    doubled: NDArray[Any]
    rise: NDArray[Any]
    square: NDArray[Any]
    thresholds: NDArray[np.float64]
    rises: NDArray[np.float64]
    squares: NDArray[np.float64]
    base_float: float

    @classmethod
    def of(cls, levels: NDArray[Any], unit: float) -> Side:
        """The side of positive numbers, from ascending levels."""
        doubled = levels[1:] + levels[:-1]
        first = int(np.count_nonzero(doubled <= 0))
        doubled, rise, square = doubled[first:], (levels[1:] - levels[:-1])[first:], (levels**2)[first:]
        square = square[1:] - square[:-1]
        return cls(
            int(levels[first]),
            doubled,
            rise,
            square,
            doubled.astype(np.float64) * (unit / 2),
            rise.astype(np.float64) * unit,
            square.astype(np.float64) * unit**2,
            float(int(levels[first])) * unit,
        )


@dataclass(frozen=True, eq=False)
class Levels:
    """The levels of a quantizer: what a code stands for, divided by the step.

    Attributes
    ----------
    sides : tuple of Side
        As positive numbers see the levels, and as negative ones do.
    zero_point : int
        The code of zero; 0 for a codebook.
    exponent : int
        Levels are integers times 2^exponent.
    symmetric : bool
        Whether both sides are the same.
    low, high : Fraction
        The first and the last level.
    """

    sides: tuple[Side, Side]
    zero_point: int
    exponent: int
    symmetric: bool
    low: Fraction
    high: Fraction

    @classmethod
    def of(cls, levels: Sequence[int], exponent: int, zero_point: int) -> Levels:
        """Levels from ascending integers, times 2^exponent."""
        small = max(-levels[0], levels[-1]) < _INT64
        array = np.array(levels, np.int64 if small else object)
        unit = 2.0**exponent
        positive = Side.of(array, unit)
        symmetric = bool((array == -array[::-1]).all())
        negative = positive if symmetric else Side.of(-array[::-1], unit)
        scale = Fraction(2) ** exponent
        return cls((positive, negative), zero_point, exponent, symmetric, levels[0] * scale, levels[-1] * scale)

    @property
    def nearest_zero(self) -> int:
        """The square of the level of zero, in units of 2^(2·exponent)."""
        return min(side.base**2 for side in self.sides)


@lru_cache(maxsize=1024)
def of_grid(grid: Grid, zero_point: int) -> Levels:
    """The levels of integer codes with a zero point."""
    return Levels.of(range(grid.low - zero_point, grid.high - zero_point + 1), 0, zero_point)


def united(several: Sequence[Levels]) -> Levels:
    """All levels of grids whose zero points follow each other."""
    low, high = (int(end) for end in (min(own.low for own in several), max(own.high for own in several)))
    return Levels.of(range(low, high + 1), 0, 0)


@lru_cache(maxsize=64)
def of_codebook(codebook: Format) -> Levels:
    """The levels of a codebook, or of any other format of up to 8 bits: its finite values."""
    if codebook.bits > 8:
        raise BitquantError(f"codebook={codebook.name} has {codebook.bits} bits: give a format of 8 bits at most")
    if codebook.kind == "codebook":
        numbers = np.array(codebook.values, np.float64)
    else:
        codes = np.arange(1 << codebook.bits, dtype=np.int64).astype(codebook.code_dtype)
        numbers = np.asarray(decode(codes, codebook, "float64"))
    exact = sorted(set(exact_numbers(numbers[np.isfinite(numbers)])))
    denominator = max(value.denominator for value in exact)
    return Levels.of([int(value * denominator) for value in exact], 1 - denominator.bit_length(), 0)


__all__ = ["Levels", "Side", "of_codebook", "of_grid", "united"]
