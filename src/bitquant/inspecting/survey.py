"""What is found in two passes over a tensor's rows: exact, mergeable summaries of any part of it.

# Design:
# A. Rows are the indices of the first dimension, the output channels of a weight; a tensor of fewer than two dimensions
#    is one row. What is handed over is some whole rows, or a piece of one.
# B. The first pass counts, finds the extremes and the exact sums, and asks our own encoder what each format does to the
#    numbers. The second needs what the first found: σ for the outliers, the ranges for quantization.
# C. Counts are integers, sums are integers or rationals. So parts can be merged in any order, and on several machines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.convert import convert, encode
from bitquant.errors import BitquantError
from bitquant.formats import FP32, FP64, Format, format
from bitquant.inspecting.sums import ExactSums
from bitquant.kernels import stats
from bitquant.quantize import quantize
from bitquant.quantize.extremes import extremes
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.rationals import nearest_float, number_at, places
from bitquant.rules import Flags

__all__ = ["BINS", "SIGMAS", "TARGETS", "Loss", "Scrutiny", "Survey", "largest_inside", "root"]

TARGETS = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
SIGMAS = (3, 6)
BINS = 48


@dataclass
class Loss:
    """How many finite numbers a format does not hold as they are, each rounded to nearest, ties to even.

    Attributes
    ----------
    overflow : int
        Beyond the largest finite number after rounding (IEEE 754's flag).
    flushed : int
        Not zero before, zero after.
    inexact : int
        Changed in any way, the two above included.
    """

    overflow: int = 0
    flushed: int = 0
    inexact: int = 0

    def merge(self, other: Loss) -> Loss:
        """Add another's counts."""
        self.overflow += other.overflow
        self.flushed += other.flushed
        self.inexact += other.inexact
        return self


@dataclass
class Survey:
    """The first pass over a tensor of so many rows.

    Attributes
    ----------
    rows : int
    count, nan, infinite, zeros : int
        All numbers, and those that are NaN, infinite, zero.
    low, high : float
        Extremes of the finite numbers; infinite, the wrong way round, where there are none.
    magnitude : ndarray of float64, shape (rows,)
        The largest finite magnitude of each row.
    sums : ExactSums
    losses : dict of str to Loss
        By the name of the format.
    """

    rows: int
    count: int = 0
    nan: int = 0
    infinite: int = 0
    zeros: int = 0
    low: float = math.inf
    high: float = -math.inf
    magnitude: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    sums: ExactSums = field(default_factory=ExactSums)
    losses: dict[str, Loss] = field(default_factory=lambda: {name: Loss() for name in TARGETS})

    def __post_init__(self) -> None:
        if not self.magnitude.size:
            self.magnitude = np.zeros(self.rows)

    def see(self, part: NDArray[Any], row: int = 0) -> Survey:
        """Take in rows from `row` on, shape (rows, numbers), or a piece of one."""
        if not part.size:
            return self
        source = format(part.dtype)
        numbers: NDArray[np.float64] = convert(part, FP64)
        finite = np.isfinite(numbers)
        self.count += part.size
        flat = numbers.reshape(-1)
        if not finite.all():
            nan = int(np.isnan(numbers).sum())
            self.nan += nan
            self.infinite += part.size - int(finite.sum()) - nan
            flat = numbers[finite]
            part = without_nonfinite(part, finite)
        granularity = Granularity.of(part.shape, 0, None, None)
        low, high = extremes(part, source, granularity, False)
        mine = slice(row, row + len(part))
        self.magnitude[mine] = np.maximum(self.magnitude[mine], np.maximum(np.abs(low), np.abs(high)))
        if flat.size:
            self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        zeros = flat.size - int(np.count_nonzero(flat))
        self.zeros += zeros
        self.sums.add(flat, source.significand_bits + 1)
        kept = part.reshape(-1) if flat.size == part.size else part.reshape(-1)[finite.reshape(-1)]
        for name in TARGETS:
            target = format(name)
            if not target.contains(source):
                self.losses[name].merge(_loss(kept, target, zeros))
        return self

    def merge(self, other: Survey) -> Survey:
        """Take in what another has seen of the same tensor."""
        if self.rows != other.rows:
            raise BitquantError(f"surveys of {self.rows} and {other.rows} rows cannot be merged: take one tensor")
        for name in ("count", "nan", "infinite", "zeros"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.magnitude = np.maximum(self.magnitude, other.magnitude)
        self.sums.merge(other.sums)
        for name, loss in other.losses.items():
            self.losses[name].merge(loss)
        return self

    @property
    def finite(self) -> int:
        """How many numbers are finite."""
        return self.count - self.nan - self.infinite


class Scrutiny:
    """The second pass over a tensor whose first is complete.

    Attributes
    ----------
    beyond : list of int
        How many numbers lie farther than 3, and than 6, standard deviations from the mean.
    bins : ndarray of int64, shape (48,)
        Counts in bins of equal width from the smallest to the largest number.
    signal, noise : list of Fraction
        Of each row, Σx² and Σ(dequantized − x)² under INT8 with one step for the tensor; in units of 4^exponent.
    row_noise : list of Fraction
        The same with one step for each row.
    """

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        largest = float(survey.magnitude.max(initial=0))
        self.exponent = math.frexp(largest)[1]
        sums = survey.sums
        self._limits = [
            (-largest_inside(-sums.mean, sums.variance, k), largest_inside(sums.mean, sums.variance, k)) for k in SIGMAS
        ]
        self.beyond = [0 for _ in SIGMAS]
        self.bins = np.zeros(BINS, np.int64)
        self.signal, self.noise, self.row_noise = ([Fraction(0)] * survey.rows for _ in range(3))

    def see(self, part: NDArray[Any], row: int = 0) -> Scrutiny:
        """Take in rows from `row` on, shape (rows, numbers), or a piece of one."""
        if not part.size or not self.survey.finite:
            return self
        numbers: NDArray[np.float64] = convert(part, FP64)
        flat = numbers.reshape(-1)
        if self.survey.nan or self.survey.infinite:
            finite = np.isfinite(numbers)
            part, flat = without_nonfinite(part, finite), numbers[finite]
            numbers = np.where(finite, numbers, 0.0)
        for k, (low, high) in enumerate(self._limits):
            self.beyond[k] += int(np.count_nonzero((flat < low) | (flat > high)))
        self.bins += np.histogram(np.ldexp(flat, -self.exponent), BINS, self.ends)[0]
        self._quantize(part, numbers, row)
        return self

    def merge(self, other: Scrutiny) -> Scrutiny:
        """Take in what another, of the same survey, has seen."""
        self.beyond = [one + two for one, two in zip(self.beyond, other.beyond, strict=True)]
        self.bins = self.bins + other.bins
        for name in ("signal", "noise", "row_noise"):
            pairs = zip(getattr(self, name), getattr(other, name), strict=True)
            setattr(self, name, [one + two for one, two in pairs])
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """The first and the last edge of the bins, in units of 2^exponent: their difference does not overflow."""
        low, high = math.ldexp(self.survey.low, -self.exponent), math.ldexp(self.survey.high, -self.exponent)
        return (low, high) if low < high else (low - 0.5, low + 0.5)

    def _quantize(self, part: NDArray[Any], numbers: NDArray[np.float64], row: int) -> None:
        """Add up signal and noise of each row."""
        target = format(part.dtype)
        target = target if target.is_float and target.signed else FP32
        x = np.ldexp(numbers, -self.exponent)
        magnitude = self.survey.magnitude
        whole, mine = float(magnitude.max()), magnitude[row : row + len(part)]
        _add_squares(x, self.signal, row)
        for own, sums in ((None, self.noise), (0, self.row_noise)):
            reach = whole if own is None else mine
            found = quantize(part, axis=own, range=(-reach, reach))
            y = np.ldexp(convert(found.dequantize(target), FP64), -self.exponent)
            _add_squares(y - x, sums, row)


def _add_squares(numbers: NDArray[np.float64], sums: list[Fraction], row: int) -> None:
    """Add the sum of squares of each row; scaled, exactly, so that the largest is in range."""
    exponent = int(np.frexp(np.abs(numbers).max())[1])
    scaled, unit = np.ldexp(numbers, -exponent), Fraction(4) ** exponent
    nothing = np.zeros(numbers.shape[1])
    for k, one in enumerate(scaled):
        sums[row + k] += Fraction(stats.error_sums(nothing, one)[0]) * unit


def without_nonfinite(part: NDArray[Any], finite: NDArray[np.bool_]) -> NDArray[Any]:
    """The same with zeros for what is not finite: they add nothing to a sum or a magnitude."""
    return np.where(finite, part, part.dtype.type(0))


def largest_inside(mean: Fraction, variance: Fraction, k: int) -> float:
    """The largest FP64 number x with x − mean ≤ k · √variance, by bisection and exact comparisons."""

    def inside(x: Fraction) -> bool:
        distance = x - mean
        return distance <= 0 or distance**2 <= k * k * variance

    most = np.finfo(np.float64).max
    first, last = places(np.array([-most, most])).tolist()  # the mean is between the two
    if inside(number_at(last)):
        return float(most)
    while last - first > 1:
        middle = (first + last) // 2
        first, last = (middle, last) if inside(number_at(middle)) else (first, middle)
    return float(number_at(first))


def root(value: Fraction) -> float:
    """√value, by integers: off by less than an ulp, whatever the size of the value."""
    shift = max(0, 64 + (value.denominator.bit_length() - value.numerator.bit_length()) // 2)
    return nearest_float(Fraction(math.isqrt((value.numerator << 2 * shift) // value.denominator), 1 << shift))


def _loss(numbers: NDArray[Any], target: Format, zeros: int) -> Loss:
    flags = Flags()
    codes = encode(numbers, target, flags=flags, overflow="ieee")
    magnitudes = codes & codes.dtype.type((1 << target.magnitude_bits) - 1)
    return Loss(flags.overflow, codes.size - int(np.count_nonzero(magnitudes)) - zeros, flags.inexact)
