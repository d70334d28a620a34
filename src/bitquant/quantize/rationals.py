"""Rationals, the floats next to them, and the numbers of a caller taken as the rationals they are."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP64, Format


def nearest(value: Fraction, fmt: Format) -> Fraction | None:
    """The number of a format nearest to a non-negative rational, ties to even; None where it overflows."""
    code = nearest_code(value, fmt)
    return None if code > fmt.largest_code + (not fmt.zero) else number_at(code, fmt)


def nearest_code(value: Fraction, fmt: Format) -> int:
    """The code of `nearest`; where it overflows the one after the largest.

    Codes of a format without zero are one higher here. Integers alone, so that no state of the FPU matters.
    """
    count, below, divisor, shift = _divided(value, fmt)
    count += 2 * below > divisor or (2 * below == divisor and count & 1)
    return min((shift << fmt.significand_bits) + count, fmt.largest_code + (not fmt.zero) + 1)


def _divided(value: Fraction, fmt: Format) -> tuple[int, int, int, int]:
    """A non-negative rational by the ulp there: quotient, remainder, divisor, and binades above the smallest normal."""
    numerator, divisor = value.as_integer_ratio()
    if numerator == 0:
        return 0, 0, 1, 0
    exponent = numerator.bit_length() - divisor.bit_length()
    if numerator << max(-exponent, 0) < divisor << max(exponent, 0):
        exponent -= 1
    shift = max(exponent - fmt.min_exponent, 0)
    unit = shift + fmt.min_exponent - fmt.significand_bits
    numerator, divisor = numerator << max(-unit, 0), divisor << max(unit, 0)
    return *divmod(numerator, divisor), divisor, shift


def number_at(place: int, fmt: Format = FP64) -> Fraction:
    """The number at a place in a format's order; the infinities count as the next power of two."""
    exponent, fraction = divmod(abs(place), 1 << fmt.significand_bits)
    significand = fraction + (1 << fmt.significand_bits if exponent else 0)
    magnitude = Fraction(significand) * Fraction(2) ** (max(exponent, 1) - 1 + fmt.min_exponent - fmt.significand_bits)
    return -magnitude if place < 0 else magnitude


def at_least(value: Fraction) -> float:
    """The smallest FP64 number that is not below a rational."""
    number: float = _numbers_at(np.array([place_at_least(value)])).tolist()[0]
    return number


def place_at_least(value: Fraction) -> int:
    """The place of the smallest FP64 number that is not below a rational."""
    count, below, _, shift = _divided(abs(value), FP64)
    count += value > 0 and below > 0
    place = min((shift << FP64.significand_bits) + count, FP64.largest_code + (value > 0))
    return -place if value < 0 else place


def places(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """The place of each FP64 number in their order; −0 and +0 share one."""
    bits = np.ascontiguousarray(x).view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


def _numbers_at(place: NDArray[np.int64]) -> NDArray[np.float64]:
    """The FP64 numbers at places."""
    return np.where(place < 0, np.int64(-(2**63)) - place, place).view(np.float64)


def exact_numbers(array: NDArray[Any]) -> list[Fraction]:
    """Finite numbers as rationals, from their bits: an FPU may be set to take subnormal numbers for zero."""
    return [number_at(place) for place in places(convert(array.reshape(-1), FP64)).tolist()]


def rationals(values: Any, channels: int, name: str) -> list[Fraction]:
    """Numbers given by a caller, one for each channel, taken exactly."""
    if isinstance(values, Fraction):
        return [values] * channels
    array = np.asarray(values)
    if array.dtype == object:
        given = [_rational(value, name) for value in array.reshape(-1).tolist()]
    else:
        known = array.dtype.kind == "f" and array.dtype.itemsize <= 8
        if array.dtype.kind not in "iu" and not known and array.dtype.name != "bfloat16":
            raise BitquantError(f"{name} must be a number or an array of numbers, not {array.dtype}")
        for value in array.reshape(-1)[~np.isfinite(array.reshape(-1))].tolist():
            raise BitquantError(f"{name} is {value}: give a finite number")
        given = [Fraction(n) for n in array.reshape(-1).tolist()] if array.dtype.kind in "iu" else exact_numbers(array)
    if len(given) == 1:
        return given * channels
    if len(given) != channels:
        raise BitquantError(f"{name} has {len(given)} entries for {channels} channels: give one, or one for each")
    return given


def given_numbers(values: Any, channels: int, name: str) -> NDArray[np.float64] | list[Fraction]:
    """Numbers given by a caller, one for each channel: as FP64 where that holds them, else as rationals."""
    # The usual case, and a short way: a number that the FPU takes for zero goes the other.
    if isinstance(values, (float, np.float32)) and 0 < (number := float(values)) < math.inf:
        numbers = np.empty(channels)
        numbers.fill(number)
        return numbers
    if isinstance(values, float):
        values = np.float64(values)
    if isinstance(values, (np.ndarray, np.floating)) and values.dtype.kind == "f" and values.dtype.itemsize <= 8:
        numbers = convert(np.asarray(values).reshape(-1), FP64)
        if numbers.size in (1, channels) and np.isfinite(numbers).all():
            return numbers if numbers.size == channels else np.full(channels, numbers[0])
    return rationals(values, channels, name)


def _rational(value: Any, name: str) -> Fraction:
    """One number among others that a caller gave as Python objects."""
    if isinstance(value, (int, Fraction)) and not isinstance(value, bool):
        return Fraction(value)
    if isinstance(value, (float, np.number)) and not isinstance(value, np.complexfloating):
        return rationals(np.asarray(value), 1, name)[0]
    raise BitquantError(f"{name} must be numbers: {value!r} is a {type(value).__name__}")


def nearest_float(value: Fraction) -> float:
    """The FP64 nearest to a rational; infinite where it overflows."""
    code = nearest_code(abs(value), FP64) | (value < 0) << FP64.magnitude_bits
    number: float = struct.unpack("<d", struct.pack("<Q", code))[0]
    return number


__all__ = [
    "at_least",
    "exact_numbers",
    "given_numbers",
    "nearest",
    "nearest_code",
    "nearest_float",
    "number_at",
    "place_at_least",
    "places",
    "rationals",
]
