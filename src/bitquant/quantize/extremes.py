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


def extremes(
    array: Array, source: Format, granularity: Granularity, refuse: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smallest and largest number of each channel, exactly; what is not finite is refused, or left out."""
    low, high, finite = reach(array, source, granularity)
    if refuse and not finite:
        raise _not_finite(array, source)
    check_found(low, high, granularity)
    return low, high


def reach(
    array: Array, source: Format, granularity: Granularity
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """The smallest and largest finite number of each channel, and whether all numbers are finite.

    A channel without finite numbers has infinity as the smallest and −infinity as the largest.
    """
    carrier, widen = plans.to_carrier(source)
    word = carrier.code_dtype.itemsize
    key = np.dtype(f"i{word}")
    infinity = carrier.largest_code + 1
    channels = granularity.channels
    for finite in (False, True):
        low, high = np.full(channels, np.iinfo(key).max, key), np.full(channels, np.iinfo(key).min, key)
        stats.extremes(array, widen, word, granularity.blocks, low, high, finite)
        if low.min() > ~infinity and high.max() < infinity:
            break
    low[low == np.iinfo(key).max] = infinity
    high[high == np.iinfo(key).min] = ~infinity
    return _numbers(low, carrier), _numbers(high, carrier), not finite


def joined(lows: list[NDArray[np.float64]], highs: list[NDArray[np.float64]]) -> tuple[NDArray[np.float64], ...]:
    """The smallest and the largest number of channels that were looked at piece by piece; −0 is below +0."""
    keys = ([_keys(end) for end in ends] for ends in (lows, highs))
    low, high = (end(np.stack(found), axis=0) for end, found in zip((np.min, np.max), keys, strict=True))
    return _numbers(low, FP64), _numbers(high, FP64)


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


def _numbers(keys: NDArray[Any], carrier: Format) -> NDArray[np.float64]:
    """The numbers that have the keys."""
    numbers: NDArray[np.float64] = convert(_turned(keys).view(carrier.array_dtype), FP64)
    return numbers


def _keys(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """The inverse of `_numbers`."""
    return _turned(numbers.view(np.int64))


def _turned(words: NDArray[Any]) -> NDArray[Any]:
    """Bits as keys in the order of their numbers, and back: the magnitude turned over (kernels/stats.pyx, Design A)."""
    turned: NDArray[Any] = words ^ ((words >> (words.dtype.itemsize * 8 - 1)) & np.iinfo(words.dtype).max)
    return turned


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
