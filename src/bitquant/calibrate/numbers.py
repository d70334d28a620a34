"""The numbers of one channel as a squared error sees them: sorted magnitudes, with a weight each."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant import plans
from bitquant.arrays import Array
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP64, Format
from bitquant.kernels.sweep import Magnitudes

_RUN = 64  # so many equal numbers are kept apart
_WEIGHT_BITS = 62


@dataclass(frozen=True, eq=False)
class Numbers:
    """One channel's numbers.

    Attributes
    ----------
    sides : tuple of Magnitudes
        The positive and the negative numbers; or, where levels are symmetric and signs play no role, all and none.
    zeros : int
        The weight of the numbers that are zero.
    shift : int
        Magnitudes are given to floating point scaled by 2^-shift.
    unit : int
        Weights are integers times 2^unit.
    """

    sides: tuple[Magnitudes, Magnitudes]
    zeros: int
    shift: int
    unit: int

    @property
    def size(self) -> int:
        """How many different magnitudes are held."""
        return self.sides[0].size + self.sides[1].size

    def largest(self, side: int) -> Fraction:
        """The largest magnitude of a side, 0 where it is empty."""
        keys = self.sides[side].keys
        return magnitude(int(keys[-1]), keys.dtype.itemsize) if keys.size else Fraction(0)


def numbers_of(array: Array, source: Format, folded: bool, weights: NDArray[np.uint64] | None, unit: int) -> Numbers:
    """The finite numbers of a contiguous one-dimensional array; `folded` leaves the signs out."""
    if array.dtype.itemsize <= 2 and weights is None:
        return of_counts(counts_of(array), source, folded)
    return of_words(words_of(array, source).copy(), folded, weights, unit)


def counts_of(array: Array) -> NDArray[np.int64]:
    """How often each code of a format of up to 16 bits occurs in a contiguous array."""
    size = array.dtype.itemsize
    return np.bincount(array.view(f"u{size}"), minlength=1 << (8 * size)).astype(np.int64, copy=False)


def words_of(array: Array, source: Format) -> NDArray[Any]:
    """The numbers of a contiguous array as bits of FP32, or of FP64 where FP32 does not hold them all."""
    carrier, widen = plans.to_carrier(source)
    return (array if widen is None else convert(array, carrier, source)).view(f"u{carrier.code_dtype.itemsize}")


def of_counts(counts: NDArray[np.int64], source: Format, folded: bool) -> Numbers:
    """The finite numbers of a format of up to 16 bits whose codes occur so often."""
    present = np.flatnonzero(counts)
    codes = present.astype(f"u{source.array_dtype.itemsize}").view(source.array_dtype)
    return of_words(convert(codes, FP64, source).view(np.uint64), folded, counts[present].astype(np.uint64), 0)


def of_words(bits: NDArray[Any], folded: bool, counts: NDArray[np.uint64] | None, unit: int) -> Numbers:
    """The finite numbers with these bits, which are overwritten, and how much each counts."""
    sign = bits.dtype.type(1 << (8 * bits.dtype.itemsize - 1))
    if folded:
        bits &= ~sign
    if counts is None:
        bits.sort()
    else:
        order = np.argsort(bits, kind="stable")
        bits, counts = bits[order], counts[order]
    infinity = bits.dtype.type(0x7F800000 if bits.dtype.itemsize == 4 else 0x7FF0000000000000)
    starts = np.array([1, infinity, sign, sign + 1, sign + infinity], bits.dtype)
    at = np.searchsorted(bits, starts).tolist()
    pieces = [_merged(bits[start:stop], counts, start, stop) for start, stop in ((at[0], at[1]), (at[3], at[4]))]
    pieces[1][0][...] &= ~sign
    zeros = sum(
        stop - start if counts is None else sum(counts[start:stop].tolist())
        for start, stop in ((0, at[0]), (at[2], at[3]))
    )
    shift = max((_exponent(int(keys[-1]), keys.dtype.itemsize) for keys, _ in pieces if keys.size), default=0)
    first, second = (Magnitudes(keys, own, shift) for keys, own in pieces)
    return Numbers((first, second), zeros, shift, unit)


def magnitude(key: int, word: int) -> Fraction:
    """The number with these bits."""
    significand, exponent = parts(key, word)
    return Fraction(significand) * Fraction(2) ** exponent


def parts(key: int, word: int) -> tuple[int, int]:
    """Significand, as an integer, and exponent of the finite positive number with these bits."""
    stored, bias = (23, 150) if word == 4 else (52, 1075)
    field = key >> stored
    return (key & ((1 << stored) - 1)) | (min(field, 1) << stored), max(field, 1) - bias


def whole_weights(weights: Any, shape: tuple[int, ...]) -> tuple[NDArray[np.uint64], int]:
    """Weights as integers times a power of two, in one dimension."""
    array = np.asarray(weights)
    if array.shape != shape:
        raise BitquantError(f"weights have shape {array.shape}, x has {shape}: give one for each number")
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise BitquantError(f"weights must be floats or integers, not {array.dtype}")
    if array.dtype.kind in "iu":
        if array.size and (int(array.min()) < 0 or int(array.max()) >> _WEIGHT_BITS):
            raise BitquantError(f"weights must lie from 0 to 2^{_WEIGHT_BITS}")
        return array.reshape(-1).astype(np.uint64), 0
    bits = convert(array.reshape(-1), FP64).view(np.uint64)
    if bits.size and int(bits.max()) >= 0x7FF0000000000000 and not _is_minus_zero(bits):
        raise BitquantError("weights must be finite and not negative")
    bits = bits & np.uint64(0x7FFFFFFFFFFFFFFF)
    field = (bits >> np.uint64(52)).astype(np.int64)
    significand = (bits & np.uint64((1 << 52) - 1)) | (np.minimum(field, 1).astype(np.uint64) << np.uint64(52))
    exponent = np.maximum(field, 1) - 1075
    used = significand != 0
    if not used.any():
        raise BitquantError("all weights are zero: at least one number must count")
    # Trailing zeros are taken off, so that weights such as 1 and 1000 are close together.
    low = significand & (~significand + np.uint64(1))
    trailing = np.where(used, np.frexp(low.astype(np.float64))[1] - 1, 0)
    unit = int((exponent + trailing)[used].min())
    up = exponent - unit
    top = int((np.frexp(significand[used].astype(np.float64))[1] + up[used]).max())
    if top > _WEIGHT_BITS:
        raise BitquantError(
            f"the weights, taken exactly, span {top} bits and {_WEIGHT_BITS} are possible: round them, to float16 say"
        )
    left, right = np.maximum(up, 0).clip(max=63).astype(np.uint64), np.maximum(-up, 0).clip(max=63).astype(np.uint64)
    return np.where(used, (significand << left) >> right, 0).astype(np.uint64), unit


def _is_minus_zero(bits: NDArray[np.uint64]) -> bool:
    """Whether everything from infinity upwards in the order of the bits is −0."""
    return bool((bits[bits >= np.uint64(0x7FF0000000000000)] == np.uint64(1 << 63)).all())


def _merged(
    keys: NDArray[Any], counts: NDArray[np.uint64] | None, start: int, stop: int
) -> tuple[NDArray[Any], NDArray[np.uint64] | None]:
    """Keys without long runs of equal ones, and how much each stands for; without weights, where each is one."""
    if counts is not None:
        counts = counts[start:stop]
        if not counts.all():
            keys, counts = keys[counts != 0], counts[counts != 0]
        firsts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if keys.size else np.array([], int)
        return keys[firsts], np.add.reduceat(counts, firsts) if firsts.size else counts
    if keys.size < 2:
        return keys, None
    new = keys[1:] != keys[:-1]
    if int(np.count_nonzero(new)) >= keys.size >> 2 and not (keys[_RUN:] == keys[:-_RUN]).any():
        return keys, None
    firsts = np.flatnonzero(np.concatenate([[True], new]))
    return keys[firsts], np.diff(firsts, append=keys.size).astype(np.uint64)


def _exponent(key: int, word: int) -> int:
    """An exponent that brings the number with these bits below 2."""
    return parts(key, word)[1] + (23 if word == 4 else 52)
