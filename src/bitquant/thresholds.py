"""Where a rounding changes its mind: the smallest number of a carrier that lies at a place or above it.

Places are exact: an integer times a power of two, which is what every number of a floating format is, and the middle
between two of them. Here is integer arithmetic alone, so no state of the FPU reaches it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from bitquant.formats import FP32, Format


def least_bits(carrier: Format, integer: int, unit: int, included: bool) -> int:
    """The bits of the smallest carrier number that is not below integer · 2^unit, or not at it either.

    The integer is not negative; beyond the largest number comes infinity.
    """
    bits, exact = _floor_bits(integer, unit, carrier)
    return min(bits + (not (exact and included)), carrier.infinity_code or 0)


def least_key(carrier: Format, integer: int, unit: int, included: bool) -> int:
    """The same of any sign, as a key: its place in the order of codebook.pyx (Design B). Of the zeros that is −0."""
    if integer > 0:
        return least_bits(carrier, integer, unit, included)
    if integer == 0:
        return -1 if included else 1
    bits, exact = _floor_bits(-integer, unit, carrier)
    return -1 - (bits - (exact and not included))


def least_integer(integer: int, unit: int, included: bool) -> int:
    """The smallest integer that is not below integer · 2^unit, or not at it either."""
    if unit >= 0:
        return (integer << unit) + (not included)
    below = integer >> -unit
    return below + (not (included and below << -unit == integer))


def key_of(bits: int, carrier: Format) -> int:
    """The place of carrier bits in the order of codebook.pyx."""
    magnitude = bits & ~(1 << carrier.magnitude_bits)
    return bits if bits == magnitude else -1 - magnitude


def _floor_bits(integer: int, unit: int, carrier: Format) -> tuple[int, bool]:
    """The bits of the largest carrier number that is not above a place, and whether it is there; none is the last."""
    stored, least = carrier.significand_bits, carrier.min_exponent
    exponent = max(integer.bit_length() - 1 + unit, least) if integer else least
    down = exponent - stored - unit
    kept = integer >> down if down > 0 else integer << -down
    return ((exponent - least) << stored) + kept, down <= 0 or kept << down == integer


# --- Floating formats and integers -----------------------------------------------------------------------------


def over_first(target: Format, higher: int, carrier: Format, rounding: Any) -> tuple[int, int]:
    """The carrier's bits of the smallest positive and negative magnitude that is rounded beyond the largest number."""
    code, (low, unit) = target.largest_code + higher, _size(target, target.largest_code + higher, higher)
    odd = bool(code & 1) or (target.significand_bits == 0 and target.ties != "code")
    return first_up(low, _size(target, code + 1, higher)[0], unit, odd, carrier, rounding)


def _size(target: Format, code: int, higher: int) -> tuple[int, int]:
    """The number of a magnitude, which is that much higher, as an even integer times 2^unit, with one unit for all."""
    stored = target.significand_bits
    field, fraction = code >> stored, code & ((1 << stored) - 1)
    return ((1 << stored) + fraction) << field if field else 2 * fraction, -(target.bias + higher + stored)


def limit(target: Format, ceiling: tuple[int, int]) -> int:
    """FP32's bits of the number of a ceiling; just below the higher one where there are two (narrow.pyx, Design D)."""
    number = least_bits(FP32, *_size(target, max(ceiling), 0), True)
    return number - (ceiling[0] != ceiling[1])


def tiny_end(target: Format, higher: int, carrier: Format, rounding: Any, tininess: str) -> tuple[int, int]:
    """The carrier's bits of the smallest positive and negative magnitude that is not tiny.

    After rounding that is one which becomes the smallest normal number although the exponent could be smaller.
    """
    stored, unit = target.significand_bits, -1 - (target.bias + higher + target.significand_bits)
    if tininess == "before":
        return (least_bits(carrier, 4 << stored, unit, True),) * 2
    odd = stored > 0 or target.ties != "code"
    return first_up((4 << stored) - 2, 4 << stored, unit, odd, carrier, rounding)


def first_up(low: int, high: int, unit: int, odd: bool, carrier: Format, rounding: Any) -> tuple[int, int]:
    """The carrier's bits of the smallest magnitudes that are not rounded to low · 2^unit any more but to high · 2^unit.

    The first for positive numbers, the second for negative ones. `odd` tells whether `low` is.
    """
    middle = least_bits(carrier, (low + high) // 2, unit, odd or rounding != "nearest_even")
    above, at = least_bits(carrier, low, unit, False), least_bits(carrier, high, unit, True)
    return {
        "nearest_even": (middle, middle),
        "nearest_away": (middle, middle),
        "toward_zero": (at, at),
        "toward_positive": (above, at),
        "toward_negative": (at, above),
        "to_odd": (at, at) if odd else (above, above),
    }.get(rounding if isinstance(rounding, str) else "", (0, 0))


# --- Codebooks --------------------------------------------------------------------------------------------------


def codebook_keys(values: tuple[float, ...], rounding: Any, least: Callable[[int, int, bool], int]) -> list[int]:
    """For each code of a codebook but the first, the smallest input that gets it, as `least` finds it for a place."""
    nearest = rounding in ("nearest_even", "nearest_away")
    keys = []
    for code, (low, high) in enumerate(pairwise(_as_integers(values))):
        (low_size, low_unit), (high_size, high_unit) = low, high
        even = code % 2 == 0
        unit = min(low_unit, high_unit)
        below, above = low_size << (low_unit - unit), high_size << (high_unit - unit)
        if nearest:
            included = not even if rounding == "nearest_even" else abs(above) >= abs(below)
            keys.append(least(below + above, unit - 1, included))
        elif (
            rounding == "toward_positive"
            or (rounding == "to_odd" and even)
            or (rounding == "toward_zero" and below < 0 and abs(above) <= abs(below))
        ):
            keys.append(least(low_size, low_unit, False))
        else:
            keys.append(least(high_size, high_unit, True))
    return keys


def _as_integers(values: tuple[float, ...]) -> list[tuple[int, int]]:
    """Every FP64 number as an integer times a power of two: the integer, and the exponent."""
    bits = np.array(values, np.float64).view(np.uint64)
    field = (bits >> np.uint64(52)).astype(np.int64) & 0x7FF
    size = (bits & np.uint64(2**52 - 1)).astype(np.int64) | (np.int64(1) << 52) * (field > 0)
    size = np.where(bits >> np.uint64(63), -size, size)
    return list(zip(size.tolist(), (np.maximum(field, 1) - 1075).tolist(), strict=True))
