"""The numbers of a format as a grid: their fields, their order, their distances and neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array, take, with_format
from bitquant.convert import encode, source_of
from bitquant.errors import BitquantError
from bitquant.formats import Format, format
from bitquant.rules import Flags, Overflow, Rounding

__all__ = ["Fields", "Neighbours", "fields", "from_fields", "neighbours", "spacing", "ulp_distance"]


class Fields(NamedTuple):
    """The bit fields of codes: sign (uint8), biased exponent (uint16), stored significand (the codes' dtype)."""

    sign: Any
    exponent: Any
    significand: Any


class Neighbours(NamedTuple):
    """The next smaller and the next larger number of a format."""

    below: Any
    above: Any


def fields(x: Any, fmt: Any = None) -> Fields:
    """Take numbers or codes apart into sign, biased exponent and stored significand.

    Parameters
    ----------
    x : array_like
        Numbers of a format's dtype, or codes of `fmt` (unsigned integers).
    fmt : Format, str or dtype, optional
        Default: the format of the dtype of `x`.

    Returns
    -------
    Fields
        Three arrays in the shape of `x`. An integer format has no exponent field: it is 0, and the significand holds
        the bits of the two's complement below the sign; a codebook's is the whole code.

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> sign, exponent, significand = bq.fields(np.float16([-1.5, 6e-8]))
    >>> sign.tolist(), exponent.tolist(), significand.tolist()
    ([1, 0], [15, 0], [512, 1])
    """
    array, give_back = take(x)
    array, origin = source_of(array, fmt)
    codes = np.asarray(array.astype(array.dtype.newbyteorder("="), copy=False)).view(origin.code_dtype)
    sign = codes >> origin.magnitude_bits & 1 if origin.signed else np.zeros_like(codes)
    exponent = codes >> origin.significand_bits & (2**origin.exponent_bits - 1)
    significand = codes & (2**origin.significand_bits - 1)
    return Fields(
        give_back(np.asarray(sign, np.uint8)),
        give_back(np.asarray(exponent, np.uint16)),
        give_back(np.asarray(significand)),
    )


def from_fields(sign: Any, exponent: Any, significand: Any, fmt: Any) -> Any:
    """Put sign, biased exponent and stored significand together to codes.

    Parameters
    ----------
    sign, exponent, significand : array_like of int
        Of shapes that broadcast against each other.
    fmt : Format, str or dtype

    Returns
    -------
    ndarray of uint8, uint16, uint32 or uint64
        The codes.

    Raises
    ------
    BitquantError
        When a field does not fit its bits.

    Examples
    --------
    >>> import bitquant as bq
    >>> hex(bq.from_fields(1, 15, 512, "float16"))
    '0xbe00'
    """
    target = format(fmt)
    widths = (int(target.signed), target.exponent_bits, target.significand_bits)
    parts = [
        _field(name, value, width, target)
        for name, value, width in zip(Fields._fields, (sign, exponent, significand), widths, strict=True)
    ]
    code = parts[0] << np.uint64(target.magnitude_bits) | parts[1] << np.uint64(target.significand_bits) | parts[2]
    return code.astype(target.code_dtype)[()]


def _field(name: str, value: Any, width: int, fmt: Format) -> NDArray[np.uint64]:
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise BitquantError(f"the {name} field is an integer, not {array.dtype}")
    if array.size and (int(array.max()) >= 2**width or int(array.min()) < 0):
        worst = int(array.max()) if int(array.max()) >= 2**width else int(array.min())
        raise BitquantError(f"{worst} does not fit the {name} field of {fmt.name}, which has {width} bits")
    return array.astype(np.uint64)


def ulp_distance(a: Any, b: Any, fmt: Any = None) -> Any:
    """Count the representable numbers from a to b.

    Parameters
    ----------
    a, b : array_like
        Numbers of the format (or codes of `fmt`), of shapes that broadcast against each other.
    fmt : Format, str or dtype, optional
        Default: the format of the dtype of `a`.

    Returns
    -------
    ndarray of uint64
        The distance in places: 0 for equal numbers and for −0 and +0; an infinity lies one beyond the largest number.
        In a codebook, the difference of the codes.

    Raises
    ------
    BitquantError
        For NaN; and for a number that `fmt` does not have, which is to be rounded first.

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> bq.ulp_distance(np.float16(1), np.float16([1.001, 1.0, -1.0]))
    array([    1,     0, 30720], dtype=uint64)
    """
    first, give_back = take(a)
    second, _ = take(b)
    target = format(fmt) if fmt is not None else with_format(first, "a")[1]
    coded = target if fmt is not None else None
    places = [
        _places(_codes(array, target, coded, name), target, name) for name, array in (("a", first), ("b", second))
    ]
    high, low = np.maximum(*places), np.minimum(*places)
    # As a ufunc: the operator would warn of the overflow that makes it right.
    return give_back(np.asarray(np.subtract(high.astype(np.uint64), low.astype(np.uint64))))


def spacing(x: Any, fmt: Any = None) -> Any:
    """Give the ulp at x: the distance between neighbouring numbers of the format there.

    Parameters
    ----------
    x : array_like
        Any real numbers, of the format or not.
    fmt : Format, str or dtype, optional
        Default: the format of the dtype of `x`.

    Returns
    -------
    ndarray of float64
        In the units of `x`, always positive; NaN for NaN and beyond the largest finite number.

    Examples
    --------
    >>> import bitquant as bq
    >>> bq.spacing([0.0, 1.0, 3000.0, 1e6], "float16")
    array([5.96046448e-08, 9.76562500e-04, 2.00000000e+00,            nan])
    """
    array, give_back = take(x)
    array, origin = source_of(array, None)
    target = origin if fmt is None else format(fmt)
    down = np.asarray(encode(array, target, origin, rounding="toward_zero", overflow="saturate", nan="max"))
    if target.is_integer:
        result = np.ones(array.shape)
    elif target.kind == "codebook":
        floor = np.asarray(encode(array, target, origin, rounding="toward_negative", nan="max"))
        gaps = np.diff(np.array(target.values))
        result = np.append(gaps, gaps[-1])[floor]
    else:
        field = np.asarray(fields(down, target).exponent).astype(np.int64)
        result = _power_of_two(np.maximum(field, int(target.zero)) - target.bias - target.significand_bits)
    outside = np.zeros(array.shape, np.bool_)
    beyond = Flags.INVALID | Flags.OVERFLOW | (0 if target.zero else Flags.UNDERFLOW)
    rounding: Rounding
    for rounding in ("toward_negative", "toward_positive"):  # a number beyond the largest overflows away from zero
        flags = Flags(record=True)
        encode(array, target, origin, rounding=rounding, overflow="saturate", nan="max", flags=flags)
        outside |= np.asarray(flags.mask) & beyond != 0
    return give_back(np.where(outside | _nan_among(array, origin), np.nan, result))


def _nan_among(array: Array, origin: Format) -> NDArray[np.bool_]:
    """Which numbers are NaN, quiet ones too."""
    if not origin.has_nan:
        return np.zeros(array.shape, np.bool_)
    return _is_nan(np.asarray(array.astype(array.dtype.newbyteorder("="), copy=False)).view(origin.code_dtype), origin)


def _power_of_two(exponent: NDArray[np.int64]) -> NDArray[np.float64]:
    """2^exponent as FP64, subnormal or not, from its bits: an FPU may be set to flush subnormal results."""
    normal = (exponent + 1023) << 52
    subnormal = np.int64(1) << np.maximum(exponent + 1074, 0)
    return np.asarray(np.where(exponent < -1022, subnormal, normal)).view(np.float64)


def neighbours(x: Any, fmt: Any = None) -> Neighbours:
    """Give the largest number of the format below x and the smallest above it, strictly.

    Parameters
    ----------
    x : array_like
        Any real numbers, of the format or not.
    fmt : Format, str or dtype, optional
        Default: the format of the dtype of `x`.

    Returns
    -------
    Neighbours
        Two arrays as `convert` gives them. For a number of the format these are IEEE 754's nextDown and nextUp
        (clause 5.3.1). At the end of an integer's range the end itself; for NaN, NaN.

    Examples
    --------
    >>> import bitquant as bq
    >>> bq.neighbours([1.0, 0.1], "float16")
    Neighbours(below=array([0.9995, 0.1   ], dtype=float16), above=array([1.001  , 0.10004], dtype=float16))
    """
    array, give_back = take(x)
    array, origin = source_of(array, None)
    target = origin if fmt is None else format(fmt)
    below, above = (_next(array, origin, target, step).view(target.array_dtype) for step in (-1, 1))
    return Neighbours(give_back(below), give_back(above))


def _next(array: Array, origin: Format, target: Format, step: int) -> NDArray[Any]:
    """The codes of the next numbers in one direction."""
    flags = Flags(record=True)
    rounding = "toward_positive" if step > 0 else "toward_negative"
    nan = _nan_among(array, origin)
    overflow: Overflow = "ieee" if target.infinity else "saturate"
    codes = np.asarray(encode(array, target, origin, rounding=rounding, overflow=overflow, flags=flags))
    exact = flags.mask == 0
    if target.infinity and not target.signed:  # which gives NaN for a negative number
        codes = np.where(_is_nan(codes, target) & ~nan, target.code_dtype.type(0), codes)
    places = np.where(nan, 0, _order(codes, target))
    end = _ends(target)[step > 0]
    moved = places + np.where(exact & ~nan & (places != end), step, 0)
    return np.where(nan | ~exact, codes, _at(moved, target, step)).astype(target.code_dtype)


def _ends(fmt: Format) -> tuple[int, int]:
    """The lowest and the highest place."""
    if fmt.is_integer:
        return int(fmt.min) - _offset(fmt), int(fmt.max) - _offset(fmt)
    high = fmt.largest_code + fmt.infinity
    return -high if fmt.signed else 0, high


def _codes(array: Array, fmt: Format, coded: Format | None, name: str) -> NDArray[Any]:
    """The codes of numbers that must be the format's own; unsigned integers are codes of `coded`, if given."""
    array, origin = source_of(array, coded if array.dtype.kind == "u" else None)
    flags = Flags()
    codes = np.asarray(encode(array, fmt, origin, flags=flags))
    if flags.inexact or flags.overflow or (fmt.is_integer and flags.invalid):
        raise BitquantError(
            f"{name} has numbers that {fmt.name} does not have: round them first, with round_to or convert"
        )
    return codes


def _is_nan(codes: NDArray[Any], fmt: Format) -> NDArray[np.bool_]:
    if not fmt.has_nan:
        return np.zeros(codes.shape, np.bool_)
    if fmt.nan == "negative_zero":
        return np.asarray(codes == fmt.nan_code)
    return np.asarray((codes & (2**fmt.magnitude_bits - 1)) > fmt.largest_code + fmt.infinity)


def _places(codes: NDArray[Any], fmt: Format, name: str) -> NDArray[np.int64]:
    nan = _is_nan(codes, fmt)
    if nan.any():
        raise BitquantError(
            f"{name} has NaN at index {int(np.flatnonzero(nan)[0])}: NaN has no place among the numbers"
        )
    return _order(codes, fmt)


def _offset(fmt: Format) -> int:
    """What is taken off an integer to make its place, which must fit int64."""
    return 2**63 if fmt.max >= 2**63 else 0


def _order(codes: NDArray[Any], fmt: Format) -> NDArray[np.int64]:
    """The place of each code in the numbers' order: 0 for zero, or for the first of a format without a sign."""
    if fmt.is_integer and fmt.signed:
        unused = 64 - fmt.bits
        return (codes.astype(np.uint64) << unused).view(np.int64) >> unused
    if fmt.is_integer:
        return (codes.astype(np.uint64) ^ np.uint64(_offset(fmt))).view(np.int64)
    magnitude = (codes & (2**fmt.magnitude_bits - 1)).astype(np.int64)
    return np.asarray(np.where(codes >> fmt.magnitude_bits & fmt.signed, -magnitude, magnitude))


def _at(places: NDArray[np.int64], fmt: Format, step: int) -> NDArray[Any]:
    """The codes at places; zero has the sign of the side it is reached from, where it has one."""
    if fmt.is_integer:
        return places.view(np.uint64) + np.uint64(_offset(fmt)) & np.uint64(2**fmt.bits - 1)
    negative = (places < 0) | ((places == 0) & (step > 0) & fmt.signed_zero)
    return np.asarray(np.abs(places).astype(np.uint64) | negative.astype(np.uint64) << np.uint64(fmt.magnitude_bits))
