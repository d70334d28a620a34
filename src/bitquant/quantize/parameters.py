"""Scale and zero point, exact: from a range of numbers, from a scale, or from a step.

Everything here is rational arithmetic on Python integers. What a kernel gets is derived from it at the end.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP64, Format

Scheme: TypeAlias = Literal["symmetric", "asymmetric"]
SCHEMES: dict[str, str] = {
    "symmetric": "scale = qmax / max|x|, zero point 0",
    "asymmetric": "scale = (qmax - qmin) / (max - min), zero_point = round(-min * scale) + qmin",
}
_INT32 = 2**31


class Range(NamedTuple):
    """The numbers that a quantizer maps without clipping: floats, or arrays with one entry per channel."""

    low: Any
    high: Any


@dataclass(frozen=True)
class Grid:
    """The codes of a scheme: integers from low to high."""

    low: int
    high: int
    signed: bool

    @classmethod
    def of(cls, scheme: str, bits: Any, signed: bool, narrow: bool | None) -> Grid:
        """The codes of `bits` bits; `narrow` leaves the lowest one out, so that the range is symmetric."""
        if not isinstance(bits, (int, np.integer)) or not 2 <= bits <= 8:
            raise BitquantError(f"bits={bits!r} is not possible: choose from 2 to 8")
        if narrow is None:
            narrow = signed and scheme == "symmetric"
        low = -(2 ** (int(bits) - 1)) if signed else 0
        return cls(low + bool(narrow), low + 2 ** int(bits) - 1, bool(signed))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that holds the codes."""
        return np.dtype(np.int8 if self.signed else np.uint8)


@dataclass(frozen=True)
class Parameters:
    """Exact scales and zero points, one of each per channel."""

    scales: tuple[Fraction, ...]
    zero_points: tuple[int, ...]
    ranges: tuple[tuple[Fraction, Fraction], ...]

    def __post_init__(self) -> None:
        for zero_point in self.zero_points:
            if not -_INT32 <= zero_point < _INT32:
                raise BitquantError(
                    f"the zero point {zero_point} does not fit an int32: the range lies too far from zero; "
                    "pass include_zero=True, or a range that contains zero"
                )

    @classmethod
    def of_ranges(
        cls,
        lows: Sequence[Fraction],
        highs: Sequence[Fraction],
        scheme: str,
        grid: Grid,
        include_zero: bool,
        step_format: Format | None,
    ) -> Parameters:
        """The parameters that map each range onto the grid."""
        found = [
            _of_range(low, high, scheme, grid, include_zero, step_format) for low, high in zip(lows, highs, strict=True)
        ]
        return cls(*(tuple(column) for column in zip(*found, strict=True))) if found else cls((), (), ())

    @classmethod
    def of_scales(cls, scales: Sequence[Fraction], zero_points: Sequence[int], grid: Grid) -> Parameters:
        """The parameters given as they are."""
        ranges = tuple(
            ((grid.low - zero_point) / scale, (grid.high - zero_point) / scale)
            for scale, zero_point in zip(scales, zero_points, strict=True)
        )
        return cls(tuple(scales), tuple(zero_points), ranges)


def _of_range(
    low: Fraction, high: Fraction, scheme: str, grid: Grid, include_zero: bool, step_format: Format | None
) -> tuple[Fraction, int, tuple[Fraction, Fraction]]:
    """Scale, zero point and range of one channel (docs/semantics.md, Quantize)."""
    if low > high:
        raise BitquantError(
            f"the range from {nearest_float(low):g} to {nearest_float(high):g} is empty: low must not exceed high"
        )
    if low == high == 0:
        return Fraction(1), 0, (low, high)
    if scheme == "symmetric":
        high = max(-low, high)
        low = -high
        scale = grid.high / high
    else:
        if include_zero or low == high:
            low, high = min(low, Fraction(0)), max(high, Fraction(0))
        scale = (grid.high - grid.low) / (high - low)
    if step_format is not None:
        step = nearest(1 / scale, step_format)
        if step is None or step == 0:
            fate = "overflows" if step is None else "rounds to zero"
            raise BitquantError(
                f"the step {nearest_float(1 / scale):g} {fate} in {step_format.name}: "
                "choose a step_format of wider range"
            )
        scale = 1 / step
    zero_point = 0 if scheme == "symmetric" else round(-low * scale) + grid.low
    return scale, zero_point, (low, high)


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


def _rational(value: Any, name: str) -> Fraction:
    """One number among others that a caller gave as Python objects."""
    if isinstance(value, (int, Fraction)) and not isinstance(value, bool):
        return Fraction(value)
    if isinstance(value, (float, np.number)) and not isinstance(value, np.complexfloating):
        return rationals(np.asarray(value), 1, name)[0]
    raise BitquantError(f"{name} must be numbers: {value!r} is a {type(value).__name__}")


def as_numbers(values: Sequence[Fraction], per_axis: bool) -> Any:
    """Rationals as the nearest FP64: a float, or an array with one per channel."""
    numbers = [nearest_float(value) for value in values]
    return np.array(numbers, np.float64) if per_axis else numbers[0]


def nearest_float(value: Fraction) -> float:
    """The FP64 nearest to a rational; infinite where it overflows."""
    code = nearest_code(abs(value), FP64) | (value < 0) << FP64.magnitude_bits
    number: float = struct.unpack("<d", struct.pack("<Q", code))[0]
    return number


def kernel_numbers(
    parameters: Parameters, grid: Grid, rounding: str, word: int
) -> tuple[dict[str, NDArray[Any]], list[int]]:
    """What kernels/affine.pyx takes, and the channels whose rationals are too wide for it."""
    split = [_split(scale) for scale in parameters.scales]
    wide = [channel for channel, parts in enumerate(split) if parts is None]
    numerator, denominator, exponent = zip(*(parts or (1, 1, 0) for parts in split), strict=True)
    zero_point = np.array(parameters.zero_points, np.int32)
    # How far x * scale can lie from zero before it is clamped, and with it the error of the estimate: the scale is
    # off by a unit in the last place, the product by another, a half that is added by a third; in the FPU's nearest
    # mode by half of that.
    reach = (
        np.maximum(abs(grid.low - zero_point.astype(np.float64)), abs(grid.high - zero_point.astype(np.float64))) + 2
    )
    directed = not rounding.startswith("nearest")
    unit = 2.0**-23 if word == 4 else 2.0**-52
    error = reach * unit * (3.125 if directed else 2.125)
    certain = 0.5 - error
    scale = np.array([nearest_float(value) for value in parameters.scales])
    far = 100 if word == 4 else 900
    slow = (scale < 2.0**-far) | (scale > 2.0**far) | (error > 0.125)
    beyond = 1.25 if rounding in ("toward_zero", "to_odd") else 0.25
    real = np.dtype(f"f{word}")
    with np.errstate(over="ignore", under="ignore"):
        numbers: dict[str, NDArray[Any]] = {
            "numerator": np.array(numerator, np.uint64),
            "denominator": np.array(denominator, np.uint64),
            "exponent": np.array(exponent, np.int32),
            "zero_point": zero_point,
            "slow": slow.astype(np.uint8),
            "scale": np.where(slow, 0, scale).astype(real),
            "least": (grid.low - zero_point.astype(np.float64) - beyond).astype(real),
            "most": (grid.high - zero_point.astype(np.float64) + beyond).astype(real),
            "certain": np.nextafter(np.maximum(certain, 0).astype(real), real.type(-1)).clip(0),
        }
    return numbers, wide


def _split(scale: Fraction) -> tuple[int, int, int] | None:
    """A rational as numerator / denominator · 2^exponent with both below 2^63, or None."""
    up = (scale.numerator & -scale.numerator).bit_length() - 1
    down = (scale.denominator & -scale.denominator).bit_length() - 1
    numerator, denominator = scale.numerator >> up, scale.denominator >> down
    if numerator >= 1 << 63 or denominator >= 1 << 63:
        return None
    return numerator, denominator, up - down


def spread(shape: tuple[int, ...], axis: int | None) -> tuple[int, int]:
    """How channels lie in memory: number i of a C-ordered array belongs to channel (i // inner) % channels."""
    if axis is None:
        return max(math.prod(shape), 1), 1
    return max(math.prod(shape[axis + 1 :]), 1), shape[axis]
