"""How far off a quantization is: every figure against exact sums of rationals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
import reference
from quantizing import codes_of, exact


def number(value):
    """A rational as the nearest FP64, infinite where it overflows."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def root(value):
    """The square root of a rational, to 200 binary digits."""
    shift = 400 + value.denominator.bit_length()
    return Fraction(math.isqrt((value.numerator << 2 * shift) // value.denominator), 1 << shift)


def log10(value):
    """The logarithm of a positive rational."""
    return math.log10(value.numerator) - math.log10(value.denominator)


def judged(q, x):
    """mse, max_abs, sqnr_db, clipped and cosine, from exact sums. Every dequantized number must be finite."""
    target = reference.FORMATS["float32" if q.source.is_integer else q.source.name]
    shape = np.asarray(x).shape
    scales, points = (
        [value] if q.axis is None else list(value) for value in (q.exact_scale, np.asarray(q.zero_point).tolist())
    )
    noise = signal = power = product = most = Fraction(0)
    outside = 0
    places = np.arange(np.asarray(x).size).reshape(shape)
    channel_of = np.zeros(shape, int) if q.axis is None else np.indices(shape)[q.axis]
    codes, ranges = np.asarray(q.codes).reshape(-1).tolist(), q.parameters.exact_ranges
    for at, value in zip(places.reshape(-1).tolist(), exact(np.asarray(x)), strict=True):
        if value.kind != "finite":
            continue
        channel = int(channel_of.reshape(-1)[at])
        a = value.fraction
        code = reference.dequantize(codes[at], scales[channel], points[channel], target)
        b = reference.decode(code, target).fraction
        noise, signal, power, product = noise + (b - a) ** 2, signal + a * a, power + b * b, product + a * b
        most = max(most, abs(b - a))
        outside += not ranges[channel][0] <= a <= ranges[channel][1]
    count = sum(value.kind == "finite" for value in exact(np.asarray(x)))
    ratio = signal / noise if noise else math.inf
    decibels = ratio if noise == 0 else 10 * log10(ratio) if ratio else -math.inf
    cosine = number(product / root(signal * power)) if signal and power else float(signal == power)
    return number(noise / count), number(most), decibels, outside / count, cosine


def assert_error(q, x, context):
    """Hold the five figures against the exact ones."""
    ours, theirs = q.error(x), judged(q, x)
    for name, value in zip(("mse", "max_abs", "sqnr_db", "clipped", "cosine"), theirs, strict=True):
        mine = getattr(ours, name)
        assert mine == pytest.approx(value, rel=1e-12, abs=1e-11 if name in ("sqnr_db", "cosine") else 0), (
            f"{context}: {name}"
        )


RNG = np.random.default_rng(9)
NORMAL = RNG.normal(size=300)
# numbers, options, why
CASES = [
    (NORMAL, {}, "ordinary"),
    (NORMAL.astype(np.float32), {"scheme": "asymmetric"}, "ordinary, float32"),
    (NORMAL.astype(np.float16), {"bits": 3}, "few bits, float16"),
    (NORMAL.reshape(3, 100), {"axis": 0}, "rows"),
    (NORMAL.reshape(20, 5, 3), {"axis": 1, "scheme": "asymmetric"}, "a middle axis"),
    (NORMAL.reshape(3, 100), {"axis": 1, "range": (-0.5, 0.5)}, "columns, clipped"),
    (NORMAL, {"range": (-1, 1)}, "clipped"),
    (NORMAL, {"range": (-1, 1), "signed": False}, "half of them clipped"),
    (NORMAL.astype(np.float32), {"step_format": "bfloat16"}, "a stored step"),
    (NORMAL, {"scale": 3, "rounding": "RTZ"}, "a given scale"),
    (np.int8([1, -5, 100]), {}, "integers are compared in float32"),
    (np.array([1, -5, 100_000]), {"bits": 4}, "wider integers"),
    (np.array([1.0, 1e308, -3e307]), {}, "squares overflow"),
    (np.array([1e308, 1.234e308]), {"scheme": "asymmetric"}, "large, no zero"),
    (np.array([1.7e308, -1.7e308, 1.0]), {"range": (-1e308, 1e308)}, "large and clipped"),
    (np.array([5e-324, 1e-320, -3e-321]), {}, "squares underflow"),
    (np.array([1e-200, 3e-200]), {"bits": 3}, "mse underflows"),
    (np.array([1e308, 0.5]), {"range": (-1, 1)}, "an outlier beyond any square"),
    (np.array([1e308, 0.5]), {"range": (-1e-300, 1e-300)}, "far beyond the range"),
    (np.array([1e-300, -2e-300]), {"range": (-1, 1)}, "far below the step"),
    (np.array([1.0, 1e-300]), {}, "the only error is tiny"),
    (np.float32([1e-45, 3e38]), {}, "both ends of float32"),
    (np.array([0.1, 12.7, -0.1, np.nextafter(12.7, 13), 20]), {"step": Fraction(1, 10)}, "next to the range's end"),
    (np.array([12.7, 0.3]), {"step": Fraction(1, 10)}, "12.7 lies below 127/10"),
    (np.array([1.1, 0.3]), {"step": Fraction(11, 1270)}, "1.1 lies above 11/10"),
    (np.array([0.0, 0.0]), {}, "all zero"),
    (np.array([0.0, 0.0]), {"scheme": "asymmetric", "step": 1, "zero_point": 300}, "zeros that become something"),
    (np.array([0.1, -0.1]), {"step": 1}, "something that becomes zero"),
    (np.array([2.0, -3.0, 127.0]), {"step": 1}, "no error"),
    (2.25, {"step": 1}, "one number"),
]


@pytest.mark.parametrize(("x", "options", "why"), CASES, ids=[case[2] for case in CASES])
def test_every_figure_is_that_of_exact_sums(x, options, why):
    assert_error(bq.quantize(x, **options), x, why)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_the_error_of_many_numbers_adds_up(axis):
    """More than are taken at a time."""
    x = np.random.default_rng(4).normal(size=(250, 280))
    x[3, 5] = 30
    q = bq.symmetric(x, axis=axis)
    difference = q.dequantize() - x
    error = q.error(x)
    assert error.mse == pytest.approx(float(np.mean(difference**2)), rel=1e-11)
    assert error.max_abs == np.abs(difference).max()
    assert error.sqnr_db == pytest.approx(10 * math.log10(np.sum(x**2) / np.sum(difference**2)), rel=1e-11)
    assert error.clipped == 0


def test_without_error_the_ratio_is_infinite():
    error = bq.quantize([1.0, -2.0], step=1).error([1.0, -2.0])
    assert (error.mse, error.max_abs, error.sqnr_db, error.clipped, error.cosine) == (0, 0, math.inf, 0, 1)
    zero = bq.symmetric([0.0]).error([0.0])
    assert (zero.sqnr_db, zero.cosine) == (math.inf, 1)
    lost = bq.quantize([0.1], step=1).error([0.1])
    assert (lost.sqnr_db, lost.cosine) == (0, 0)


@pytest.mark.parametrize("source", ["float16", "bfloat16", "float32", "float64"])
def test_a_dequantized_number_that_overflows_is_infinitely_far_off(source):
    """The zero point of [-max, max] rounds up to 0, and -128 steps are more than -max."""
    fmt = bq.format(source)
    x = np.array([-fmt.max, fmt.max]).astype(fmt.dtype)
    q = bq.asymmetric(x)
    assert q.codes.tolist() == [-128, 127]
    assert float(q.dequantize()[0]) == -math.inf
    error = q.error(x)
    assert (error.mse, error.max_abs, error.sqnr_db) == (math.inf, math.inf, -math.inf)


def test_error_is_told_in_the_format_of_the_originals():
    """1/3 of float16 and of float32 differ."""
    x16, x32 = np.float16([1, 1 / 3]), np.float32([1, 1 / 3])
    for x in (x16, x32):
        q = bq.symmetric(x, bits=8)
        assert_error(q, x, x.dtype)
    assert codes_of(bq.symmetric(x16).dequantize()) == [
        reference.dequantize(code, Fraction(127), 0, reference.FLOAT16) for code in (127, 42)
    ]


def test_what_is_not_finite_is_left_out_where_it_was_saturated():
    x = np.array([[1.0, math.nan, -0.3], [math.inf, 0.7, -math.inf]])
    for axis in (None, 0, 1):
        q = bq.symmetric(x, nonfinite="saturate", axis=axis, bits=4) if axis != 1 else None
        if q is not None:
            assert_error(q, x, axis)
    with pytest.raises(bq.BitquantError, match="x holds NaN or infinity: pass the finite numbers that were quantized"):
        bq.quantize([1.0, 2.0], step=1).error([1.0, math.nan])
    nothing = bq.quantize([math.nan], step=1, nonfinite="saturate")
    with pytest.raises(bq.BitquantError, match="the error of no numbers is not defined: nothing in x is finite"):
        nothing.error([math.nan])


def test_other_numbers_than_those_quantized_are_refused():
    q = bq.symmetric([[1.0, 2.0]])
    for x in ([1.0, 2.0], [[1.0], [2.0]], [[1.0, 2.0, 3.0]], 1.0):
        with pytest.raises(bq.BitquantError, match=r"x has shape .*, the codes \(1, 2\): pass what was quantized"):
            q.error(x)
    with pytest.raises(bq.BitquantError, match="the error of no numbers is not defined: x is empty"):
        bq.quantize([], step=1).error([])
