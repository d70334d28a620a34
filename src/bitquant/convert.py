"""Encode, decode, convert and round: every ordered pair of formats, one rounding, any array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from bitquant import plans
from bitquant.arrays import Array, take, with_format
from bitquant.dialects import RULES, rules_of
from bitquant.errors import BitquantError
from bitquant.formats import FP32, FP64, Format, format
from bitquant.kernels.pipeline import Pipeline
from bitquant.layouts import check_threads, run
from bitquant.permitted import nan_rules
from bitquant.rules import Flags, NaNRule, Overflow, Rounding, Stochastic, Subnormals, Tininess, choose

__all__ = ["convert", "converter", "decode", "encode", "round_bits", "round_to"]


def convert(
    x: Any,
    to: Any,
    source: Any = None,
    *,
    rounding: Rounding | Stochastic | None = None,
    overflow: Overflow | None = None,
    nan: NaNRule | None = None,
    subnormals: Subnormals | None = None,
    tininess: Tininess | None = None,
    dialect: str | None = None,
    flags: Flags | None = None,
    out: Array | None = None,
    threads: int | None = 1,
) -> Any:
    """Convert numbers to a format: the exact value of each input, rounded once.

    Parameters
    ----------
    x : array_like of any shape, stride and byte order
        NumPy, ml_dtypes, torch or other CPU arrays, scalars, Python numbers (a float is FP64) and nested lists; or
        codes of `source`.
    to : Format, str or dtype
        The target format.
    source : Format, str or dtype, optional
        The format that `x` holds. Needed where the dtype does not say it: unsigned integers of the width of `source`'s
        codes are then read as its codes.
    rounding : {"nearest_even", "nearest_away", "toward_zero", "toward_positive", "toward_negative", "to_odd"}
        Or RNE, RNA, RTZ, RTP, RTN, RTO; or a `Stochastic`. Default: "nearest_even".
    overflow : {"ieee", "saturate", "saturate_finite", "nan", "raise"}
        For an integer {"saturate", "wrap", "indefinite", "raise"}, for a codebook {"saturate", "raise"}. Default: the
        first.
    nan : {"preserve", "canonical", "signed", "all_ones", "positive_all_ones", "raise", "zero", "max"}
        For a float without NaN {"raise", "zero", "negated_zero", "max"}, for an integer
        {"raise", "zero", "max", "indefinite"}, for a codebook {"raise", "zero", "max"}. Default: the first.
    subnormals : {"gradual", "flush_input", "flush_output", "flush"}
        Default: "gradual".
    tininess : {"after", "before"}
        When *underflow* is judged. Changes flags only. Default: "after".
    dialect : str, optional
        The rules that a chip, a library or a standard follows, by name ("x86_avx512bf16", "onnx" ...; docs/dialects.md
        lists them). Rules that the dialect leaves open may be given beside it.
    flags : Flags, optional
        Collects the IEEE 754 flags. Without it nothing is counted and nothing is paid.
    out : ndarray, optional
        Where to write: of the result's shape and dtype (or its codes' dtype). Its content is unspecified after an
        error.
    threads : int or None
        How many threads may share the work; None for one on each processor. The result is the same.

    Returns
    -------
    ndarray, scalar, or array of the library that `x` came from
        In the format's own dtype (NumPy or ml_dtypes); codes where it has none (``tfloat32``: uint32).

    Raises
    ------
    BitquantError
        A refused NaN or overflow, with count and first index; an unknown format, rule or dtype; an `out` that does
        not fit.

    Notes
    -----
    IEEE 754-2019 convertFormat (clause 5.4.2), convertToIntegerExact (5.8) and convertFromInt (5.4.1).

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> bq.convert(np.array([1.0, 1e-8, 70000.0], np.float32), "float16")
    array([ 1.,  0., inf], dtype=float16)
    >>> bq.convert([0.5, 1.5, 300.0], "int8", rounding="toward_zero")
    array([  0,   1, 127], dtype=int8)
    >>> bq.encode(np.float32([1e9, np.inf]), "float8_e4m3fn")
    array([127, 127], dtype=uint8)
    >>> bq.encode(np.float32([1e9, np.inf]), "float8_e4m3fn", dialect="torch")
    array([126, 126], dtype=uint8)
    """
    target = to if type(to) is Format else format(to)
    array, give_back = take(x)
    array, origin = source_of(array, source)
    dtype = target.array_dtype
    if isinstance(out, np.ndarray) and out.dtype.newbyteorder("=") == target.code_dtype:
        dtype = target.code_dtype
    rules = _settled(dialect, origin, target, (rounding, overflow, nan, subnormals, tininess))
    pipeline = _plan(plans.conversion, origin, target, *rules, flags is not None)
    rounding = rules[0]
    random = rounding.words(array.shape) if isinstance(rounding, Stochastic) else None
    result = _run(pipeline, array, dtype, origin, target, flags, out, threads, random)
    return result if out is not None else give_back(result)


def converter(
    source: Any,
    target: Any,
    *,
    rounding: Rounding | Stochastic | None = None,
    overflow: Overflow | None = None,
    nan: NaNRule | None = None,
    subnormals: Subnormals | None = None,
    tininess: Tininess | None = None,
    dialect: str | None = None,
    flags: bool = False,
) -> Pipeline:
    """Make the compiled conversion from the codes of one format to those of another, for Cython.

    After ``cimport bitquant`` it is a ``bitquant.Pipeline``, whose two methods need no GIL: ``convert(source, target,
    n, mask)`` for arrays of codes, which returns how many numbers were refused, and ``convert_one(code)``.

    Parameters
    ----------
    source, target : Format, str or dtype
    rounding, overflow, nan, subnormals, tininess, dialect
        As for `convert`.
    flags : bool
        Whether ``convert`` can give the flags of each number.

    Returns
    -------
    Pipeline

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> codes = np.empty(2, np.uint16)
    >>> bq.converter("float32", "bfloat16").run(np.float32([1, -2]), codes)
    >>> [hex(code) for code in codes]
    ['0x3f80', '0xc000']
    """
    origin, aim = format(source), format(target)
    rules = _settled(dialect, origin, aim, (rounding, overflow, nan, subnormals, tininess))
    return _plan(plans.conversion, origin, aim, *rules, flags)


def encode(x: Any, fmt: Any, source: Any = None, *, out: Array | None = None, **rules: Any) -> Any:
    """Convert numbers to the codes of a format.

    Parameters
    ----------
    x, source, out, **rules
        As for `convert`.
    fmt : Format, str or dtype

    Returns
    -------
    ndarray of uint8, uint16, uint32 or uint64
        The codes, in the shape of `x`.

    Examples
    --------
    >>> import bitquant as bq
    >>> [hex(code) for code in bq.encode([1.0, -2.0, 0.1], "bfloat16")]
    ['0x3f80', '0xc000', '0x3dcd']
    """
    target = format(fmt)
    array, give_back = take(x)
    if out is not None:
        if not isinstance(out, np.ndarray) or out.dtype != target.code_dtype:
            raise BitquantError(f"out must be an array of {target.code_dtype}, the codes of {target.name}")
        convert(array, target, source, out=out.view(target.array_dtype), **rules)
        return out
    result = np.asarray(convert(array, target, source, **rules))
    return give_back(result.view(target.code_dtype))


def decode(codes: Any, fmt: Any, dtype: Any = None, *, out: Array | None = None, threads: int | None = 1) -> Any:
    """Convert codes to the values they stand for, exactly.

    Parameters
    ----------
    codes : array_like of unsigned integers, or of the format's own dtype
        Codes of `fmt`.
    fmt : Format, str or dtype
    dtype : dtype, optional
        float32 or float64, or any format's dtype that holds every value of `fmt`. Default: float32 where that holds
        them all, else float64.
    out, threads
        As for `convert`.

    Returns
    -------
    ndarray
        The values; NaNs keep sign and payload and become quiet.

    Raises
    ------
    BitquantError
        When `dtype` cannot hold every value of `fmt`, or a number is no code of it.

    Examples
    --------
    >>> import bitquant as bq
    >>> bq.decode([0x3C00, 0x0001, 0xFC00], "float16")
    array([1.0000000e+00, 5.9604645e-08,          -inf], dtype=float32)
    """
    origin = format(fmt)
    target = (FP32 if FP32.contains(origin) else FP64) if dtype is None else format(dtype)
    if not target.contains(origin):
        raise BitquantError(f"{target.name} does not hold every value of {origin.name}: use convert, which rounds")
    array, give_back = take(codes)
    if array.dtype != origin.dtype:
        array = _as_codes(array, origin)
    result = convert(array, target, origin, out=out, threads=threads)
    return result if out is not None else give_back(np.asarray(result))


def round_to(
    x: Any,
    fmt: Any,
    *,
    rounding: Rounding | Stochastic | None = None,
    overflow: Overflow | None = None,
    nan: NaNRule | None = None,
    subnormals: Subnormals | None = None,
    tininess: Tininess | None = None,
    dialect: str | None = None,
    flags: Flags | None = None,
    out: Array | None = None,
    threads: int | None = 1,
) -> Any:
    """Round numbers to the grid of a format and keep their dtype ("fake quantization").

    Parameters
    ----------
    x : array_like of floating point numbers or integers
    fmt : Format, str or dtype
        The format whose values the results are.
    rounding, overflow, nan, subnormals, tininess, dialect, flags, out, threads
        As for `convert`.

    Returns
    -------
    ndarray
        In the dtype of `x`.

    Raises
    ------
    BitquantError
        As for `convert`; and when a rounded value is not in the dtype of `x` (65504 in float16 rounds to 65536 in
        bfloat16).

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> bq.round_to(np.array([0.1, 3.14159, 1e6], np.float32), "float16")
    array([0.09997559, 3.140625  ,        inf], dtype=float32)
    """
    target = format(fmt)
    array, give_back = take(x)
    array, origin = source_of(array, None)
    settled = _settled(dialect, origin, target, (rounding, overflow, nan, subnormals, tininess))
    rules = (origin, target, *settled, flags is not None)
    pipeline = _plan(plans.round_trip, *rules)
    rounding = settled[0]
    random = rounding.words(array.shape) if isinstance(rounding, Stochastic) else None
    dtype = array.dtype.newbyteorder("=")
    result = _run(pipeline, array, dtype, origin, target, flags, out, threads, random, plans.conversion(*rules))
    return result if out is not None else give_back(result)


def round_bits(
    x: Any, keep: int, ties: Literal["even", "away"] = "even", *, out: Array | None = None, threads: int | None = 1
) -> Any:
    """Round float32 or float64 numbers to fewer significand bits, so that they compress ("bit rounding").

    Parameters
    ----------
    x : array_like of float32 or float64
    keep : int
        How many stored significand bits stay, from 0 to all 23 or 52; the others become zero.
    ties : {"even", "away"}
        Which of two equally near numbers is taken: with an even last kept bit (of the exponent field, where none is
        kept), or of larger magnitude.
    out, threads
        As for `convert`.

    Returns
    -------
    ndarray
        In the dtype of `x`. NaN (to the bit), infinities and zeros are unchanged. A number that would round to infinity
        becomes the largest one with so many bits instead. Subnormal numbers lose the same bits as the others.

    Raises
    ------
    BitquantError
        For another dtype, or a `keep` out of range.

    Notes
    -----
    For other roundings, and for IEEE 754's overflow, use ``round_to(x, exmy(8, keep), ...)`` (11 for float64).

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> temperature = np.array([273.1512, 280.77, np.nan, 3.4028235e38], np.float32)
    >>> bq.round_bits(temperature, 7)
    array([2.7400000e+02, 2.8000000e+02,           nan, 3.3895314e+38],
          dtype=float32)
    """
    array, give_back = take(x)
    array, fmt = with_format(array)
    if fmt not in (FP32, FP64):
        raise BitquantError(f"x has dtype {array.dtype}: bit rounding keeps float32 or float64 numbers")
    most = fmt.significand_bits
    if not isinstance(keep, (int, np.integer)) or isinstance(keep, bool) or not 0 <= keep <= most:
        raise BitquantError(f"keep={keep!r}: {fmt.name} has significand bits to keep from 0 to {most}")
    choose("ties", ties, {"even": "", "away": ""})
    check_threads(threads)
    dtype = array.dtype.newbyteorder("=")
    result = np.empty_like(array, dtype, order="K", subok=False) if out is None else _checked_out(out, array, dtype)
    if keep == most:
        result[...] = array
    else:
        run(plans.trimming(fmt, most - int(keep), ties == "away"), array, result, None, threads)
    return result if out is not None else give_back(result)


def source_of(array: Array, source: Any) -> tuple[Array, Format]:
    """The array and the format it holds."""
    if source is None:
        return with_format(array)
    origin = format(source)
    if array.dtype == origin.dtype:
        return array, origin
    if array.dtype.kind == "u":
        return _as_codes(array, origin), origin
    if origin.dtype is not None and array.dtype.newbyteorder("=") == origin.dtype:
        return array, origin
    raise BitquantError(
        f"x has dtype {array.dtype}, which is neither {origin.name} nor its codes ({origin.code_dtype}): "
        "convert x without source, or view it as codes"
    )


def _as_codes(array: Array, fmt: Format) -> Array:
    """Unsigned integers as codes of the format, in its code dtype."""
    if array.size == 0:
        return array.astype(fmt.code_dtype)
    if array.dtype.kind not in "iu":
        raise BitquantError(f"codes of {fmt.name} are unsigned integers, not {array.dtype}")
    if array.dtype.newbyteorder("=") != fmt.code_dtype or fmt.largest_code + 1 < 1 << 8 * fmt.code_dtype.itemsize:
        fmt.check_code(int(array.max()))
        fmt.check_code(int(array.min()))
        array = array.astype(fmt.code_dtype, copy=False)
    return array


def _settled(dialect: str | None, source: Format, target: Format, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Rules as given, in the order of `RULES`; or as a dialect has them, which the given ones must not contradict."""
    if dialect is None:
        return given
    named = dict(zip(RULES, given, strict=True))
    return tuple({**named, **rules_of(dialect, source, target, named)}.values())


def _plan(plan: Any, *rules: Any) -> Pipeline:
    """The kept plan; for a rule that cannot be a key (a list, say), the error that names it."""
    try:
        pipeline: Pipeline = plan(*rules)
    except TypeError:
        pipeline = plan.__wrapped__(*rules)
    return pipeline


def _run(
    pipeline: Pipeline,
    array: Array,
    dtype: np.dtype[Any],
    source: Format,
    target: Format,
    flags: Flags | None,
    out: Array | None,
    threads: int | None,
    random: Array | None,
    there: Pipeline | None = None,
) -> Array:
    """Run a pipeline over an array of any layout into a new array or `out`, and see to flags and refusals.

    `there` is the first half of a pipeline that also goes back; it tells which half refused.
    """
    check_threads(threads)
    result = _empty_like(array, dtype) if out is None else _checked_out(out, array, dtype)
    mask = None
    if flags is not None and flags.record:
        mask = flags.mask = np.empty(array.shape, np.uint8)
    counts = run(pipeline, array, result, mask, threads, random)
    if counts is not None:
        if flags is not None:
            flags.invalid += counts[0]
            flags.overflow += counts[1]
            flags.underflow += counts[2]
            flags.inexact += counts[3]
        if counts[6] >= 0:
            raise _refusal(array, counts, source, target, there)
    return result


def _empty_like(array: Array, dtype: np.dtype[Any]) -> Array:
    """A new array of the same shape and memory layout."""
    return np.empty_like(array, dtype, order="K", subok=False)


def _checked_out(out: Array, array: Array, dtype: np.dtype[Any]) -> Array:
    if not isinstance(out, np.ndarray):
        raise BitquantError(f"out must be a NumPy array, not {type(out).__name__}")
    if out.shape != array.shape or out.dtype.newbyteorder("=") != dtype:
        raise BitquantError(f"out has shape {out.shape} and dtype {out.dtype}; needed: {array.shape} and {dtype}")
    if not out.flags.writeable:
        raise BitquantError("out is read-only: pass a writable array")
    if any(stride == 0 and length > 1 for stride, length in zip(out.strides, out.shape, strict=True)):
        raise BitquantError("out holds several elements in one place (a stride of 0): pass an array of its own")
    if np.may_share_memory(out, array) and (out is not array and np.shares_memory(out, array)):
        raise BitquantError("out overlaps x: pass another array")
    return out


def _refusal(array: Array, counts: Any, source: Format, target: Format, there: Pipeline | None) -> BitquantError:
    """The error for a refused NaN or overflow: count, first index, value and the way out."""
    *_, nans, ranges, first, is_nan = counts
    place = np.unravel_index(first, array.shape)
    index: Any = int(place[0]) if array.ndim == 1 else tuple(int(k) for k in place)
    where = f" at index {index}" if array.ndim else ""
    if is_nan:
        more = f" (the first of {nans})" if nans > 1 else ""
        nan_ways = [rule for rule in ("preserve", "canonical", "zero", "max") if rule in nan_rules(target)]
        reason = "NaN is refused by nan='raise'" if target.has_nan else f"{target.name} has no NaN"
        return BitquantError(f"x has NaN{where}{more}: {reason}; pass {_choices('nan', nan_ways)}")
    element = array[place].reshape(1).view(source.code_dtype)
    value = convert(element, FP64, source)[0]
    more = f" (the first of {ranges})" if ranges > 1 else ""
    if there is not None:
        code = np.empty(1, target.code_dtype)
        refused = there.run(element, code)
        if refused is None or refused[6] < 0:
            rounded = convert(code, FP64, target)[0]
            return BitquantError(
                f"x has {value:g}{where}{more}, which {target.name} makes {rounded:g}: {source.name} does not hold "
                "that; pass x in a wider dtype, or use convert"
            )
    reach = f"{target.name} reaches from {target.min:g} to {target.max:g}"
    ways = ["saturate", "wrap"] if target.is_integer else ["ieee", "saturate", "saturate_finite"]
    ways = ["saturate"] if target.kind == "codebook" else ways
    return BitquantError(f"x has {value:g}{where}{more}: {reach}; pass {_choices('overflow', ways)}")


def _choices(name: str, ways: Sequence[str]) -> str:
    """The end of a sentence that says what may be passed."""
    *most, last = (repr(way) for way in ways)
    return f"{name}={', '.join(most)} or {last}" if most else f"{name}={last}"
