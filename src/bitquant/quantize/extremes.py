"""The range of an array, from its numbers: exact, and with an eye on NaN and infinity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant import plans
from bitquant.arrays import Array
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP64, Format
from bitquant.kernels import stats
from bitquant.quantize.granularity import Granularity


class Reach:
    """The smallest and the largest finite number of each channel, found piece by piece; −0 is below +0.

    Attributes
    ----------
    finite : bool
        Whether all numbers are.
    """

    def __init__(self, carrier: Format, low: NDArray[Any], high: NDArray[Any], finite: bool) -> None:
        self._carrier, self._low, self._high, self.finite = carrier, low, high, finite

    @classmethod
    def of(cls, array: Array, source: Format, granularity: Granularity) -> Reach:
        """The reach of a contiguous array."""
        carrier, widen = plans.to_carrier(source)
        word, infinity = carrier.code_dtype.itemsize, carrier.largest_code + 1
        low, high = (np.empty(granularity.channels, f"i{word}") for _ in range(2))
        for finite in (True, False):
            low.fill(_most(low))
            high.fill(~_most(high))
            stats.extremes(array, widen, word, granularity.blocks, low, high, not finite)
            if low.min() > ~infinity and high.max() < infinity:
                break
        return cls(carrier, low, high, finite)

    def joined(self, other: Reach) -> Reach:
        """The reach of two pieces of the same channels."""
        low, high = np.minimum(self._low, other._low), np.maximum(self._high, other._high)
        return Reach(self._carrier, low, high, self.finite and other.finite)

    def numbers(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both ends; of a channel without finite numbers they are infinity and −infinity."""
        infinity = self._carrier.largest_code + 1
        low = np.where(self._low == _most(self._low), infinity, self._low)
        high = np.where(self._high == ~_most(self._high), ~infinity, self._high)
        return _numbers(low, self._carrier), _numbers(high, self._carrier)


def extremes(
    array: Array, source: Format, granularity: Granularity, refuse: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smallest and largest number of each channel, exactly; what is not finite is refused, or left out."""
    reach = Reach.of(array, source, granularity)
    if refuse and not reach.finite:
        raise _not_finite(array, source)
    low, high = reach.numbers()
    check_found(low, high, granularity)
    return low, high


def check_found(lows: NDArray[np.float64], highs: NDArray[np.float64], granularity: Granularity) -> None:
    """Refuse channels in which nothing is finite."""
    none = lows.view(np.int64) == FP64.largest_code + 1
    if none.any():
        at = np.unravel_index(int(none.argmax()), granularity.parameter_shape)
        channels = granularity.channels
        what = "channel" if granularity.axis is not None else "block"
        index = int(at[0]) if len(at) == 1 else tuple(int(k) for k in at)
        where = f"{what} {index} of x" if channels > 1 else "x"
        raise BitquantError(f"nothing in {where} is finite, so it has no range: give range=, scale= or step=")


def _most(keys: NDArray[Any]) -> int:
    """The largest key there can be."""
    return (1 << (8 * keys.itemsize - 1)) - 1


def _numbers(keys: NDArray[Any], carrier: Format) -> NDArray[np.float64]:
    """The numbers that have the keys: the magnitude turned back (kernels/stats.pyx, Design A)."""
    words = keys ^ ((keys >> (8 * keys.itemsize - 1)) & _most(keys))
    numbers: NDArray[np.float64] = convert(words.view(carrier.array_dtype), FP64)
    return numbers


def _not_finite(array: Array, source: Format) -> BitquantError:
    """The error for NaN and infinity: how many, and where the first is."""
    count, first = 0, -1
    flat = array.reshape(-1)
    for start in range(0, array.size, 1 << 16):
        bad = np.flatnonzero(~np.isfinite(convert(flat[start : start + (1 << 16)], FP64, source)))
        if bad.size and first < 0:
            first = start + int(bad[0])
        count += bad.size
    return nonfinite_error(array.shape, float(flat[first]), count, first)


def nonfinite_error(shape: tuple[int, ...], value: float, count: int, first: int) -> BitquantError:
    """The error for `count` numbers of an array that are not finite, the first, `value`, at `first` in C order."""
    place = tuple(int(k) for k in np.unravel_index(first, shape))
    index: Any = place[0] if len(place) == 1 else place
    more = f" (the first of {count} that are not finite)" if count > 1 else ""
    return BitquantError(
        f"x has {'NaN' if np.isnan(value) else value} at index {index}{more}: remove it, or pass nonfinite='saturate'"
    )
