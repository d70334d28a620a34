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
        if not finite and refuse:
            raise _not_finite(array, source)
    if low.max() == np.iinfo(key).max:
        at = np.unravel_index(int(low.argmax()), granularity.parameter_shape)
        what = "channel" if granularity.axis is not None else "block"
        index = int(at[0]) if len(at) == 1 else tuple(int(k) for k in at)
        where = f"{what} {index} of x" if channels > 1 else "x"
        raise BitquantError(f"nothing in {where} is finite, so it has no range: give range=, scale= or step=")
    return _numbers(low, carrier), _numbers(high, carrier)


def _numbers(keys: NDArray[Any], carrier: Format) -> NDArray[np.float64]:
    """The numbers whose bits, turned over where negative, are the keys (kernels/stats.pyx, Design A)."""
    bits = np.where(keys < 0, keys ^ np.iinfo(keys.dtype).max, keys)
    numbers: NDArray[np.float64] = convert(bits.view(carrier.array_dtype), FP64)
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
    return nonfinite_error(array, count, first)


def nonfinite_error(array: Array, count: int, first: int) -> BitquantError:
    """The error for `count` numbers that are not finite, the first at `first` in C order."""
    place = tuple(int(k) for k in np.unravel_index(first, array.shape))
    index: Any = place[0] if len(place) == 1 else place
    value = float(array[place])
    more = f" (the first of {count} that are not finite)" if count > 1 else ""
    return BitquantError(
        f"x has {'NaN' if np.isnan(value) else value} at index {index}{more}: remove it, or pass nonfinite='saturate'"
    )
