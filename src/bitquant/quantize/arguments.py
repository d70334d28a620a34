"""What callers say of a quantization, checked."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.errors import BitquantError
from bitquant.quantize.parameters import given_numbers, nearest_float, rationals


def codes_out(out: Array | None, array: Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Where the codes go: an array of the caller's, or a new one."""
    shape = array.shape
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise BitquantError(f"out must be a contiguous array of {dtype} and shape {shape}")
    if not out.flags.writeable:
        raise BitquantError("out is read-only: pass a writable array")
    if np.may_share_memory(out, array) and np.shares_memory(out, array):
        raise BitquantError("out overlaps x: pass another array")
    return out


def floats(values: Any, channels: int, name: str) -> NDArray[np.float64]:
    """Numbers given by a caller, one for each channel, as the nearest FP64."""
    if np.ndim(values) == 0 or np.size(values) == 1:
        return np.full(channels, _nearest(rationals(values, 1, name)))
    numbers = given_numbers(values, channels, name)
    return _nearest(numbers) if isinstance(numbers, list) else numbers


def _nearest(numbers: list[Fraction]) -> NDArray[np.float64]:
    return np.array([nearest_float(number) for number in numbers])


def pair(given_range: Any) -> tuple[Any, Any]:
    """Both ends of a range."""
    if not isinstance(given_range, (tuple, list)) or len(given_range) != 2:
        raise BitquantError(f"range={given_range!r}: give a pair, the low end and the high end")
    return given_range[0], given_range[1]


__all__ = ["codes_out", "floats", "pair"]
