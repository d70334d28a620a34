"""Assertions for tests of conversions and quantizers, whose messages show bits and causes.

With pytest, the fixtures of `bitquant.pytest_plugin` do the same and keep the verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bitquant.arrays import Array, take
from bitquant.auditing import AuditReport, audit, audit_quantizer
from bitquant.auditing.causes import places_of
from bitquant.auditing.outcomes import is_nan
from bitquant.auditing.telling import bits, exact, example_of, said
from bitquant.convert import source_of
from bitquant.errors import BitquantError
from bitquant.formats import Format, format

__all__ = ["assert_codes_equal", "assert_conversion", "assert_matches_dialect", "assert_quantizer"]

_SHOWN = 3  # differences that a message tells


def assert_codes_equal(
    actual: Any, expected: Any, fmt: Any, *, any_nan: bool = False, inputs: Any = None, source: Any = None
) -> None:
    """Assert that two arrays hold the same codes of a format, bit by bit.

    Parameters
    ----------
    actual, expected : array_like
        Of the format's dtype, or of its codes; of the same shape.
    fmt : Format, str or dtype
    any_nan : bool
        Whether every NaN equals every other.
    inputs : array_like, optional
        What the codes came from, of the same shape: a message then shows its exact value and its neighbours.
    source : Format, str or dtype, optional
        The format of `inputs`, where its dtype does not say.

    Raises
    ------
    AssertionError
        With the number of differences, and the first ones: place, codes with their fields, values, distance in ulps.
    BitquantError
        For arrays that hold no codes of the format.

    Examples
    --------
    >>> import numpy as np
    >>> from bitquant.testing import assert_codes_equal
    >>> assert_codes_equal(np.float16([1.0, 2.0]), np.uint16([0x3C00, 0x4000]), "float16")
    >>> assert_codes_equal(np.float16([1.0, 2.0]), np.float16([1.0, 2.002]), "float16")
    Traceback (most recent call last):
    AssertionError: 1 of 2 codes of float16 differ
      at index 1: 0x4000 (0|10000|0000000000) = 2, expected 0x4001 (0|10000|0000000001) = 1025/512 ≈ 2.00195312: 1 ulp
    """
    target = format(fmt)
    one, other = (_codes(array, target, name) for array, name in ((actual, "actual"), (expected, "expected")))
    if one.shape != other.shape:
        raise AssertionError(f"actual has shape {one.shape}, expected {other.shape}")
    unlike = one != other
    if any_nan:
        unlike &= ~(is_nan(one, target) & is_nan(other, target))
    places = np.argwhere(unlike)
    if not len(places):
        return
    lines = [f"{len(places):,} of {one.size:,} codes of {target.name} differ"]
    for place in places[:_SHOWN].tolist():
        index = tuple(place)
        shown = index[0] if len(index) == 1 else index
        pair = int(one[index]), int(other[index])
        texts = [f"{bits(code, target)} = {said(exact(code, target))}" for code in pair]
        lines.append(f"  at index {shown}: {texts[0]}, expected {texts[1]}{_apart(one[index], other[index], target)}")
        lines += _story(index, pair, inputs, source, target)
    if len(places) > _SHOWN:
        lines.append(f"  and {len(places) - _SHOWN:,} more")
    raise AssertionError("\n".join(lines))


def _codes(array: Any, fmt: Format, name: str) -> Array:
    taken = take(array)[0]
    if taken.dtype.kind in "iu" and taken.dtype != fmt.dtype and (not taken.size or int(taken.min()) >= 0):
        taken = taken.astype(np.uint64)
    try:
        taken = source_of(taken, fmt)[0]
    except BitquantError as error:
        raise BitquantError(f"{name}: {error}") from error
    return np.ascontiguousarray(taken.astype(taken.dtype.newbyteorder("="), copy=False)).view(fmt.code_dtype)


def _apart(one: Any, other: Any, fmt: Format) -> str:
    pair = np.array([one, other], fmt.code_dtype)
    if is_nan(pair, fmt).any():
        return ""
    low, high = sorted(int(place) for place in places_of(pair, fmt))
    distance = high - low
    return f": {distance:,} {'place' if fmt.is_integer or fmt.kind == 'codebook' else 'ulp'}{'s' * (distance > 1)}"


def _story(index: tuple[int, ...], pair: tuple[int, int], inputs: Any, source: Any, target: Format) -> list[str]:
    """What the input says, where it is known."""
    if inputs is None:
        return []
    array, origin = source_of(take(inputs)[0], None if source is None else format(source))
    code = int(np.ascontiguousarray(array[index]).reshape(1).view(origin.code_dtype)[0])
    row = {"input": code, "expected": pair[1], "received": pair[0], "cause": ""}
    facts = example_of("", row, origin, target).facts
    return [
        f"    {name}: {facts[name]}" for name in ("input", "value", "lies between", "to the middle") if name in facts
    ]


def assert_conversion(
    candidate: Callable[[Any], Any], source: Any = "float32", target: Any = "float16", *arguments: Any, **options: Any
) -> AuditReport:
    """Assert that a conversion is identical to the reference, and return the report.

    Parameters
    ----------
    candidate, source, target, *arguments, **options
        As for `bitquant.auditing.audit`: rules or a dialect among them.

    Raises
    ------
    AssertionError
        With the whole report: rule, causes, first mismatches, reproducer.

    Examples
    --------
    >>> import numpy as np
    >>> from bitquant.testing import assert_conversion
    >>> assert_conversion(lambda x: x.astype(np.float16), "float32", "float16").identical
    True
    """
    return _identical(audit(candidate, source, target, *arguments, **options))


def assert_quantizer(candidate: Any, *arguments: Any, **options: Any) -> AuditReport:
    """Assert that a quantizer is identical to the exact one, or to the dialect ``against=``, and return the report.

    Parameters
    ----------
    candidate, *arguments, **options
        As for `bitquant.auditing.audit_quantizer`.

    Raises
    ------
    AssertionError
        With the whole report: rule, causes, first mismatches, reproducer.

    Examples
    --------
    >>> import numpy as np
    >>> from bitquant.testing import assert_quantizer
    >>> def mine(x, step, zero_point):
    ...     return np.clip(np.rint(x / np.float32(step)) + np.float32(zero_point), -128, 127).astype(np.int8)
    >>> assert_quantizer(mine, against="onnx", steps=(2**-100, 2**100)).identical
    True
    """
    return _identical(audit_quantizer(candidate, *arguments, **options))


def _identical(report: AuditReport) -> AuditReport:
    if not report.identical:
        raise AssertionError(str(report))
    return report


def assert_matches_dialect(
    candidate: Any, dialect: str, source: Any = "float32", target: Any = None, **options: Any
) -> AuditReport:
    """Assert that a conversion, or a quantizer, gives what a dialect gives, and return the report.

    Parameters
    ----------
    candidate : callable, or pair of callables
        A conversion, as for `bitquant.auditing.audit`, if there is a target; else a quantizer, as for
        `bitquant.auditing.audit_quantizer`.
    dialect : str
        By name: of docs/dialects.md for a conversion, of docs/quantizers.md for a quantizer.
    source, target : Format, str or dtype
    **options
        Of either audit.

    Raises
    ------
    AssertionError
        With the whole report.

    Examples
    --------
    >>> import ml_dtypes
    >>> import bitquant as bq
    >>> from bitquant.testing import assert_matches_dialect
    >>> cast = lambda x: x.astype(ml_dtypes.bfloat16)
    >>> assert_matches_dialect(cast, "ml_dtypes", "float32", "bfloat16").dialects[:2]
    ('onnx', 'onnx_nosaturate')
    >>> quantizer = lambda x, step, zero: bq.quantize(x, dialect="tflite", step=step, zero_point=zero).codes
    >>> assert_matches_dialect(quantizer, "tflite").identical
    True
    """
    if target is None:
        return assert_quantizer(candidate, against=dialect, source=source, **options)
    return assert_conversion(candidate, source, target, dialect=dialect, **options)
