"""A quantizer as its sorted thresholds: exact for any rational scale, one search per number.

The kernels take scales whose numerator and denominator fit 63 bits, which is nearly all. The few others, such as the
exact 255 / (1 + 1e-30), come here.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.quantize.parameters import Grid
from bitquant.quantize.rationals import number_at, place_at_least, places

_CHUNK = 1 << 16


def quantize_wide(
    x: NDArray[np.float64], codes: NDArray[Any], scale: Fraction, zero_point: int, grid: Grid, rounding: str
) -> None:
    """Fill `codes` with the codes of finite FP64 numbers, a chunk at a time."""
    steps = np.array([_first_place(code, scale, zero_point, rounding) for code in range(grid.low + 1, grid.high + 1)])
    for start in range(0, x.size, _CHUNK):
        chunk = x[start : start + _CHUNK]
        codes[start : start + _CHUNK] = grid.low + np.searchsorted(steps, places(chunk), side="right")


def _first_place(code: int, scale: Fraction, zero_point: int, rounding: str) -> int:
    """The place of the smallest FP64 number that is rounded to `code` or above."""
    boundary, included = _boundary(code, rounding)
    threshold = (boundary - zero_point) / scale
    place = place_at_least(threshold)
    return place if included or number_at(place) != threshold else place + 1


def _boundary(code: int, rounding: str) -> tuple[Fraction, bool]:
    """Where x · scale + zero_point begins to round to `code` or above, and whether the boundary itself does."""
    half = Fraction(2 * code - 1, 2)
    above_or_at, strictly_above = (Fraction(code), True), (Fraction(code - 1), False)
    match rounding:
        case "nearest_even":
            return half, code % 2 == 0
        case "nearest_away":
            return half, code > 0
        case "toward_zero":
            return above_or_at if code > 0 else strictly_above
        case "toward_positive":
            return strictly_above
        case "toward_negative":
            return above_or_at
        case _:
            return strictly_above if code % 2 else above_or_at
