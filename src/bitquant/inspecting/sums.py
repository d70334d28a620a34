"""Sums of numbers and of their squares, exact, so that they do not depend on order or grouping.

# Design:
# A. A number is sign · significand · 2^exponent. Significands are cut into limbs of 18 bits; numbers of one exponent
#    share a counter for each limb, and products of limbs have one for each pair. A counter holds less than 2^53 for as
#    many numbers as a chunk has, so that NumPy's float64 `bincount` adds integers exactly, in any order and under any
#    rounding mode.
# B. Counters become one Python integer in units of the smallest FP64 number (of its square, for squares), which grows
#    without bound and never rounds. Mean and variance are rounded once, when they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["ExactSums"]

_CHUNK = 1 << 16  # numbers to a counter: (2^18 - 1)^2 · 2^16 is below 2^53
_LIMB = 18
_FIELD, _EXPONENTS = 52, 2048
_UNIT = 1074  # a number's unit is 2^-1074, a square's 2^-2148


@dataclass
class ExactSums:
    """The count, the sum and the sum of squares of finite FP64 numbers; the sums as integers in units of Design B.

    Examples
    --------
    >>> import numpy as np
    >>> one, two = ExactSums().add(np.array([1e300, 1.0])), ExactSums().add(np.array([-1e300, 2.0]))
    >>> one.merge(two).mean
    Fraction(3, 4)
    """

    count: int = 0
    total: int = 0
    squares: int = 0

    def add(self, numbers: NDArray[np.float64], significant: int = 53) -> ExactSums:
        """Take in finite numbers, none of which has more than so many significant bits."""
        flat = numbers.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            self._add(flat[start : start + _CHUNK].view(np.int64), significant)
        self.count += flat.size
        return self

    def merge(self, other: ExactSums) -> ExactSums:
        """Take in what another has seen."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        return self

    @property
    def mean(self) -> Fraction:
        """Σx / n; 0 of no numbers."""
        return Fraction(self.total, max(self.count, 1) << _UNIT)

    @property
    def variance(self) -> Fraction:
        """Σ(x − mean)² / n, of the numbers as a whole population."""
        n = max(self.count, 1)
        return Fraction(n * self.squares - self.total**2, n * n << 2 * _UNIT)

    def _add(self, bits: NDArray[np.int64], significant: int) -> None:
        exponent = (bits >> _FIELD) & (_EXPONENTS - 1)
        integer = (bits & ((1 << _FIELD) - 1)) | ((exponent > 0).astype(np.int64) << _FIELD)
        dropped = _FIELD + 1 - significant
        integer >>= dropped
        # The least bit of the significand is worth 2^(exponent - 1) units; with exponent 0 as with exponent 1.
        parts = [(integer >> at) & ((1 << _LIMB) - 1) for at in range(0, significant, _LIMB)]
        limbs = [part.astype(np.float64) for part in parts]
        sign = np.where(bits < 0, -1.0, 1.0)
        for j, one in enumerate(limbs):
            self.total += _weighed(exponent, one * sign, dropped + j * _LIMB, 1)
            for k, two in enumerate(limbs[: j + 1]):
                shift = 2 * dropped + (j + k) * _LIMB + (j != k)
                self.squares += _weighed(exponent, one * two, shift, 2)


def _weighed(exponent: NDArray[np.int64], weights: NDArray[np.float64], shift: int, power: int) -> int:
    """Σ weight · 2^(power · (exponent − 1) + shift)."""
    sums = np.bincount(exponent, weights, _EXPONENTS)
    return sum(int(sums[k]) << (power * max(k - 1, 0) + shift) for k in np.flatnonzero(sums).tolist())
