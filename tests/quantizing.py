"""Quantization held against the reference: numbers next to every boundary, and what differs shown."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
import reference

SCHEMES = ("symmetric", "asymmetric")
SOURCES = ("float64", "float32", "float16", "bfloat16", "int8", "uint8")
FLOATS = SOURCES[:4]
SMALL_FLOATS = ("float8_e4m3fn", "float8_e5m2fnuz", "float6_e2m3fn", "float4_e2m1fn")
BACK = ("float64", "float32", "tfloat32", "float16", "bfloat16", *SMALL_FLOATS)
GRIDS = [
    {"bits": bits, "signed": signed, "narrow": narrow}
    for bits, signed, narrow in itertools.product(range(2, 9), (True, False), (False, True))
]


def array_of(codes, source):
    """Numbers of a format from their codes."""
    fmt = bq.format(source)
    return np.array(list(codes), fmt.code_dtype).view(fmt.dtype)


def numbers_of(values, source):
    """Exact values as numbers of a format, rounded to nearest where it does not have them."""
    fmt = reference.FORMATS[source]
    if fmt.kind == "integer":
        return np.array([min(max(round(value), fmt.low), fmt.high) for value in values], source)
    return array_of([reference.convert_to_float(reference.as_number(value), fmt)[0] for value in values], source)


def codes_of(x):
    """The codes of an array's numbers, or the bytes of codes, as a list of integers."""
    x = np.ascontiguousarray(x).reshape(-1)
    return x.view(f"u{x.dtype.itemsize}").tolist()


def exact(x):
    """The exact values of an array's numbers, as a list of the reference's Numbers."""
    if x.dtype.kind in "iu" and x.dtype.itemsize > 1:
        return [reference.as_number(value) for value in x.reshape(-1).tolist()]
    fmt = reference.FORMATS[bq.format(x.dtype).name]
    return [reference.decode(code, fmt) for code in codes_of(x)]


def positions(x, linear):
    """Where each number lies among the codes before it is rounded: x · scale + zero_point, as two integers."""
    n, d = linear.scale.numerator, linear.scale.denominator
    found = []
    for number in exact(x):
        assert number.kind == "finite"
        value = -number.numerator if number.sign else number.numerator
        found.append((value * n + linear.zero_point * d * number.denominator, d * number.denominator))
    return found


def rounded(places, linear, rounding):
    """The codes of positions, as an array of the codes' dtype."""
    codes = [reference.round_quotient(*place, rounding) for place in places]
    return np.clip(codes, linear.qmin, linear.qmax).astype(np.int8 if linear.qmin < 0 else np.uint8)


def judge(x, linear, rounding="nearest_even"):
    """The codes of numbers of any format, in the shape of x."""
    return rounded(positions(x, linear), linear, rounding).reshape(x.shape)


def near(value, source, reach=2):
    """Numbers of a format within `reach` places of an exact value, as codes."""
    fmt = reference.FORMATS[source]
    place, inexact = reference.floor_place(reference.as_number(value), fmt)
    end = fmt.high if fmt.kind == "integer" else fmt.largest
    places = range(place - reach + inexact, place + reach + 1)
    return {reference.code_at(min(max(at, -end), end), fmt) for at in places}


def boundaries(linear, source):
    """The numbers next to all points at which a code can change, under any rounding, as an array."""
    codes = set()
    for twice in range(2 * linear.qmin - 3, 2 * linear.qmax + 4):
        codes |= near((Fraction(twice, 2) - linear.zero_point) / linear.scale, source)
    return array_of(sorted(codes), source)


def assert_same(ours, theirs, x, context):
    """Hold codes against the reference's, and show the first that differs."""
    assert ours.dtype == theirs.dtype, context
    assert ours.shape == theirs.shape, context
    if not np.array_equal(ours, theirs):
        at = int(np.flatnonzero(ours.reshape(-1) != theirs.reshape(-1))[0])
        ours, theirs, x = ours.reshape(-1)[at], theirs.reshape(-1)[at], x.reshape(-1)[at]
        pytest.fail(f"{context}: number {at}, {x!r}, gives {ours}, the reference {theirs}")


def assert_parameters(q, linear, context):
    """Hold scale, zero point and the range of codes against the reference's, exactly."""
    assert (q.exact_scale, q.zero_point, q.qmin, q.qmax) == linear, context


def assert_dequantized(q, linear, context):
    """Hold the dequantized numbers against the reference's, bit for bit, in floating formats of every width."""
    codes = np.asarray(q.codes).reshape(-1).tolist()
    for name in ("float64", "float32", "bfloat16", "float8_e4m3fn"):
        fmt = reference.FORMATS[name]
        table = {code: linear.dequantize(code, fmt) for code in set(codes)}
        ours = codes_of(q.dequantize(name))
        for code, bits in zip(codes, ours, strict=True):
            if bits != table[code]:
                pytest.fail(f"{context}: code {code} is {bits:#x} in {name}, the reference {table[code]:#x}")


def assert_agrees(x, linear, context, *, roundings=reference.ROUNDINGS, **options):
    """Quantize under each rounding; hold codes, parameters and dequantized numbers against the reference's."""
    places = positions(x, linear)
    for rounding in roundings:
        q = bq.quantize(x, rounding=rounding, **options)
        where = f"{context}, {rounding}"
        assert_parameters(q, linear, where)
        assert_same(q.codes, rounded(places, linear, rounding).reshape(x.shape), x, where)
    assert_dequantized(q, linear, context)


def within(x, low, high):
    """The numbers of an array that lie in a range, its ends added at a changing place."""
    ends = [low, high]
    inside = [number for number in x.tolist() if ends[0] <= number <= ends[1]]
    draw = random.Random(len(inside))
    for end in ends:
        inside.insert(draw.randrange(len(inside) + 1), end)
    return np.array(inside).astype(x.dtype)


def quickly(x, linear, rounding="nearest_even"):
    """Judge many numbers: by FP64 where that is far from any boundary, the others by the reference."""
    u = x.astype(np.float64) * float(linear.scale) + linear.zero_point
    with np.errstate(invalid="ignore"):
        close = np.abs(2 * u - np.rint(2 * u)) < 1e-6
    below = np.floor(u)
    match rounding:
        case "nearest_even" | "nearest_away":
            codes = np.floor(u + 0.5)
        case "toward_zero":
            codes = below + (u < 0)
        case "toward_positive":
            codes = below + 1
        case "toward_negative":
            codes = below
        case "to_odd":
            codes = below + (below % 2 == 0)
    codes = np.clip(codes, linear.qmin, linear.qmax).astype(np.int8 if linear.qmin < 0 else np.uint8)
    codes[close] = judge(x[close], linear, rounding)
    return codes
