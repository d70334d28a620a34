"""From sums to codes again: by the exact rational, by TFLite's fixed point, by FP32."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array, take
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP32, FP64
from bitquant.kernels import matmul
from bitquant.layer.product import checked_out
from bitquant.layouts import in_parts
from bitquant.quantize import quantize
from bitquant.quantize.rationals import given_numbers, nearest, nearest_float, rationals
from bitquant.rules import choose

Rule: TypeAlias = Literal["exact", "tflite", "tflite_single", "float32"]
RULES = {
    "exact": "round(sum · multiplier + zero_point), ties to even, with one rounding of the exact rational",
    "tflite": "a multiplier of 31 bits, rounded half up; then a power of two, rounded half away from zero (gemmlowp)",
    "tflite_single": "a multiplier of 31 bits and a power of two, rounded half up once (TFLITE_SINGLE_ROUNDING)",
    "float32": "the sum and its product with the multiplier rounded to FP32, then to an integer, ties to even",
}
_CHUNK = 1 << 15
_INT32 = 2**31


class FixedMultiplier(NamedTuple):
    """A real number as multiplier · 2^(shift − 31): ints, or int32 arrays with one entry per channel."""

    multiplier: Any
    shift: Any


def quantize_multiplier(real: Any) -> FixedMultiplier:
    """Return a real number as TFLite's quantized multiplier: 31 bits and a power of two.

    Parameters
    ----------
    real : float, Fraction or array_like
        Not negative, below 2^30.

    Returns
    -------
    FixedMultiplier
        The number is about ``multiplier · 2^(shift − 31)``, and 2^30 ≤ multiplier < 2^31; both are 0 for 0 and for what
        would need a shift below −31.

    Raises
    ------
    BitquantError
        For a negative number, one that is not finite, or one that needs a shift above 30.

    Notes
    -----
    ``QuantizeMultiplier`` of TFLite (``kernels/internal/quantization_util.cc``), which rounds half away from zero. It
    takes a double; a Fraction is rounded here once.

    Examples
    --------
    >>> import bitquant as bq
    >>> bq.quantize_multiplier(0.1)
    FixedMultiplier(multiplier=1717986918, shift=-3)
    >>> 1717986918 * 2.0 ** (-3 - 31)
    0.09999999997671694
    """
    values = given_numbers(real, np.size(real), "the multiplier") if np.size(real) else np.empty(0)
    if isinstance(values, list):
        multiplier, shift = np.array([_fixed(value) for value in values], np.int64).T
    else:
        multiplier, shift = _fixed_numbers(values)
    for place in np.flatnonzero(shift > 30)[:1].tolist():
        raise BitquantError(f"the multiplier {float(values[place]):g} is too large: fixed point takes less than 2^30")
    small = shift < -31
    parts = np.where(small, 0, multiplier).astype(np.int32), np.where(small, 0, shift).astype(np.int32)
    if np.ndim(real) == 0:
        return FixedMultiplier(*(int(part[0]) for part in parts))
    return FixedMultiplier(*(part.reshape(np.shape(real)) for part in parts))


def _fixed(value: Fraction) -> tuple[int, int]:
    """Multiplier and shift of a rational, rounded half away from zero."""
    if value < 0:
        raise _negative(nearest_float(value))
    if value == 0:
        return 0, 0
    # value = fraction · 2^shift with ½ ≤ fraction < 1
    shift = value.numerator.bit_length() - value.denominator.bit_length()
    shift += value >= Fraction(2) ** shift
    multiplier = int(value * Fraction(2) ** (31 - shift) + Fraction(1, 2))
    return (multiplier // 2, shift + 1) if multiplier == _INT32 else (multiplier, shift)


def _fixed_numbers(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same for FP64 numbers, from their bits; a subnormal number is far below any shift."""
    bits = values.view(np.int64)
    for value in values[(bits < 0) & (bits != np.int64(-(2**63)))][:1].tolist():
        raise _negative(value)
    field = (bits >> FP64.significand_bits) & ((1 << FP64.exponent_bits) - 1)
    significand = (bits & ((1 << FP64.significand_bits) - 1)) | (1 << FP64.significand_bits)
    # 53 bits to 31, a half up
    multiplier = (significand + (1 << 21)) >> 22
    carry = multiplier >> 31
    shift = field - FP64.bias + 1 + carry
    return np.where(field == 0, 0, multiplier >> carry), np.where(field == 0, 0, shift)


def _negative(value: float) -> BitquantError:
    return BitquantError(f"the multiplier is {value:g}: it must not be negative")


def requantize(
    acc: Any,
    multiplier: Any,
    *,
    zero_point: Any = 0,
    axis: int | None = None,
    rule: Rule = "exact",
    bits: int = 8,
    signed: bool = True,
    clamp: tuple[int, int] | None = None,
    out: Array | None = None,
    threads: int | None = 1,
) -> Any:
    """Map the sums of an integer product to codes: ``sum · multiplier + zero_point``.

    Parameters
    ----------
    acc : array_like of int32
        Sums, of any shape.
    multiplier : float, Fraction, array_like or FixedMultiplier
        Step of a · step of b / step of the result; one, or one for each index along `axis`. Positive. For the rules of
        TFLite also what `quantize_multiplier` gives, which is made of it otherwise; for float32 it is rounded to that.
    zero_point : int or array_like of int
        The code of zero in the result.
    axis : int, optional
        The axis of the channels.
    rule : {"exact", "tflite", "tflite_single", "float32"}
        ========================  ==========================================================================
        exact                     one rounding of the exact rational, ties to even, zero point inside
        tflite                    ``SaturatingRoundingDoublingHighMul``, then ``RoundingDivideByPOT`` of gemmlowp
        tflite_single             the same product with one rounding (``TFLITE_SINGLE_ROUNDING``)
        float32                   each step in FP32, nearest even: QLinearMatMul of ONNX Runtime, and XNNPACK
        ========================  ==========================================================================
    bits : int
        2 to 8.
    signed : bool
        int8 codes, or uint8.
    clamp : (low, high), optional
        Codes that results are kept between, as a fused ReLU does; default: all codes.
    out : ndarray of int8 or uint8, optional
        Where the codes go: contiguous, in the shape of `acc`.
    threads : int or None
        As for `convert`.

    Returns
    -------
    ndarray of int8 or uint8, or tensor where `acc` was one

    Raises
    ------
    BitquantError
        Sums of another type; a multiplier that is not positive, or out of range for its rule; and a sum that overflows
        int32 on its way through a rule of TFLite, which leaves that undefined.

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> acc = np.array([-1000, 5, 15, 1000], np.int32)
    >>> bq.requantize(acc, 0.1, zero_point=3)
    array([-97,   4,   5, 103], dtype=int8)
    >>> bq.requantize(acc, 0.1, zero_point=3, rule="tflite")
    array([-97,   4,   5, 103], dtype=int8)
    """
    choose("rule", rule, RULES)
    sums, give_back = take(acc)
    if sums.dtype != np.int32:
        raise BitquantError(f"acc has dtype {sums.dtype}: requantize takes sums of int32")
    if not isinstance(bits, (int, np.integer)) or not 2 <= bits <= 8:
        raise BitquantError(f"bits={bits!r} is not possible: choose from 2 to 8")
    if axis is not None and (not isinstance(axis, (int, np.integer)) or not -sums.ndim <= axis < sums.ndim):
        raise BitquantError(f"axis={axis!r} does not exist: acc has {sums.ndim} dimensions")
    low = -(2 ** (int(bits) - 1)) if signed else 0
    ends = _clamp(clamp, low, low + 2 ** int(bits) - 1)
    codes = checked_out(out, sums.shape, np.dtype(np.int8 if signed else np.uint8), (sums,))
    axis = None if axis is None else int(axis) % sums.ndim
    sums = np.ascontiguousarray(sums, np.int32).reshape(sums.shape)
    channels = 1 if axis is None else sums.shape[axis]
    points = [_integer(value) for value in rationals(zero_point, channels, "zero_point")]
    if rule == "exact":
        _exact(sums, _real(multiplier, rule), points, axis, int(bits), signed, codes, threads)
        if clamp is not None:
            np.clip(codes, *ends, out=codes)
    elif sums.size:
        inner = sums.size if axis is None else math.prod(sums.shape[axis + 1 :])
        if rule == "float32":
            factors = _singles(given_numbers(_real(multiplier, rule), channels, "the multiplier"))
            _by_floats(sums.reshape(-1), factors, points, inner, ends, codes.reshape(-1))
        else:
            fixed = multiplier if isinstance(multiplier, FixedMultiplier) else quantize_multiplier(multiplier)
            table = _table(fixed, points, channels, rule == "tflite_single")
            _by_fixed_point(sums, table, inner, ends, codes, threads)
    return give_back(codes if out is None else out)


def _clamp(clamp: Any, low: int, high: int) -> tuple[int, int]:
    if clamp is None:
        return low, high
    if not isinstance(clamp, (tuple, list)) or len(clamp) != 2 or not low <= clamp[0] <= clamp[1] <= high:
        raise BitquantError(f"clamp={clamp!r}: give a pair of codes that ascends, from {low} to {high}")
    return int(clamp[0]), int(clamp[1])


def _integer(value: Fraction) -> int:
    if value.denominator != 1 or not -_INT32 <= value < _INT32:
        raise BitquantError(f"zero_point is {nearest_float(value):g}: it must be an integer that int32 holds")
    return int(value)


def _real(multiplier: Any, rule: str) -> Any:
    if isinstance(multiplier, FixedMultiplier):
        raise BitquantError(
            f"rule {rule!r} takes the multiplier as a number: a FixedMultiplier belongs to TFLite's rules"
        )
    return multiplier


def _exact(
    sums: Array,
    multiplier: Any,
    points: list[int],
    axis: int | None,
    bits: int,
    signed: bool,
    codes: Array,
    threads: int | None,
) -> None:
    """Sums are numbers like others: the quantizer with the multiplier for its scale."""
    quantize(
        sums, "asymmetric", bits=bits, signed=signed, axis=axis, scale=multiplier, zero_point=points, out=codes,
        threads=threads,
    )  # fmt: skip


def _singles(multipliers: NDArray[np.float64] | list[Fraction]) -> NDArray[np.float64]:
    """Multipliers rounded to FP32, as FP64 numbers, which hold the small ones as normal numbers."""
    if isinstance(multipliers, list):
        rounded = [nearest(abs(value), FP32) for value in multipliers]
        values = np.array([math.inf if value is None else nearest_float(value) for value in rounded])
    else:
        values = convert(convert(multipliers, FP32), FP64)
    for given, value in zip(multipliers, values.tolist(), strict=True):
        if given <= 0 or not 0 < value < math.inf:
            raise BitquantError(f"the multiplier {float(given):g} is no positive number of float32")
    return values


def _by_floats(
    sums: Array, factors: NDArray[np.float64], points: list[int], inner: int, ends: tuple[int, int], codes: Array
) -> None:
    """FP32 by way of integers and exact FP64 products, so that no state of the FPU matters.

    A FP64 number holds the product of two FP32 numbers; what lies below the normal FP32 numbers is 0 all the same, and
    what lies above is clamped.
    """
    zero = np.array(points, np.int64)
    for start in range(0, sums.size, _CHUNK):
        stop = min(start + _CHUNK, sums.size)
        channel = (np.arange(start, stop) // inner) % factors.size if factors.size > 1 else 0
        products = convert(convert(sums[start:stop], FP32), FP64) * factors[channel]
        whole = convert(convert(products, FP32), np.int32, overflow="saturate").astype(np.int64)
        codes[start:stop] = np.clip(whole + zero[channel], *ends)


def _table(fixed: FixedMultiplier, points: list[int], channels: int, single: bool) -> NDArray[np.int64]:
    """What kernels/matmul.pyx takes for each channel."""
    multiplier, shift = (np.asarray(part, np.int64).reshape(-1) for part in fixed)
    if multiplier.size != shift.size or multiplier.size not in (1, channels):
        raise BitquantError(
            f"the multiplier has {multiplier.size} entries for {channels} channels: give one, or one for each"
        )
    for m, s in np.column_stack([multiplier, shift])[
        (multiplier < 0) | (multiplier >= _INT32) | (shift < -31) | (shift > 30)
    ][:1]:
        raise BitquantError(f"the multiplier {m} with shift {s} is out of range: 0 to 2^31 - 1, and -31 to 30")
    none = np.zeros_like(shift)
    if single:
        steps = [none, multiplier, 1 << (30 - shift), 31 - shift, none, none]
    else:
        right = np.maximum(-shift, 0)
        steps = [np.maximum(shift, 0), multiplier, none + (1 << 30), none + 31, (1 << right) >> 1, right]
    return np.ascontiguousarray([*(np.broadcast_to(step, channels) for step in steps), points], np.int64)


def _by_fixed_point(
    sums: Array, table: NDArray[np.int64], inner: int, ends: tuple[int, int], codes: Array, threads: int | None
) -> None:
    found = in_parts(
        lambda start, stop: matmul.rescale(sums, codes, table, inner, *ends, start, stop), sums.size, threads
    )
    at = next((place for place in found if place >= 0), None)
    if at is not None:
        index = ", ".join(str(int(k)) for k in np.unravel_index(at, sums.shape))
        raise BitquantError(
            f"the sum {sums.reshape(-1)[at]} at ({index}) overflows int32 under its multiplier, which TFLite leaves "
            "undefined: pass a smaller multiplier, or rule='exact'"
        )


def quantize_bias(bias: Any, a_step: Any, b_step: Any) -> NDArray[np.int32]:
    """Return a bias as int32 codes of step a_step · b_step: what is added to the sums of an integer product.

    Parameters
    ----------
    bias : array_like, shape (N,)
        Numbers, one for each column of the product.
    a_step, b_step : float, Fraction or array_like
        Units per code of the two operands (what ONNX, PyTorch and TFLite call "scale"); one, or one for each column.

    Returns
    -------
    ndarray of int32, shape (N,)
        bias / (a_step · b_step), exact and rounded once, ties to even.

    Raises
    ------
    BitquantError
        For a bias that does not fit int32, or is not finite, and for a step that is not positive.

    Examples
    --------
    >>> import bitquant as bq
    >>> bq.quantize_bias([0.5, -1.0], 0.01, [0.02, 0.03])
    array([ 2500, -3333], dtype=int32)
    """
    given, _ = take(bias)
    if given.ndim != 1:
        raise BitquantError(f"bias has shape {given.shape}: give one number for each column")
    values = rationals(given, given.size, "bias") if given.size else []
    steps = [rationals(step, len(values), name) for step, name in ((a_step, "a_step"), (b_step, "b_step"))]
    codes = []
    for k, (value, a, b) in enumerate(zip(values, *steps, strict=True)):
        if a <= 0 or b <= 0:
            raise BitquantError(f"the step of column {k} is {nearest_float(min(a, b)):g}: it must be positive")
        code = round(value / (a * b))
        if not -_INT32 <= code < _INT32:
            raise BitquantError(
                f"the bias of column {k} is {nearest_float(value):g}, {code} steps of {nearest_float(a * b):g}, which "
                "int32 does not hold: choose larger steps"
            )
        codes.append(code)
    return np.array(codes, np.int32)


__all__ = ["RULES", "FixedMultiplier", "Rule", "quantize_bias", "quantize_multiplier", "requantize"]
