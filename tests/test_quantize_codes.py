"""Quantized codes: bit for bit those of the reference, next to every boundary, in any order, number and layout."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
import reference
from quantizing import (
    FLOATS,
    GRIDS,
    SCHEMES,
    SOURCES,
    array_of,
    assert_agrees,
    assert_same,
    boundaries,
    exact,
    numbers_of,
    quickly,
    within,
)

# --- Next to every boundary ---------------------------------------------------------------------------------

# low and high, in units of the source's own edges: exact numbers, or names of numbers; and why
ORDINARY = [
    (-1, 1, "one"),
    ("-0.3", "1.7", "both signs"),
    (-128, 127, "step 1 in eight bits: ties at half-integers"),
    ("-0.1", "0.1", "the same both ways"),
]
RANGES = [
    *ORDINARY,
    (-127, 127, "step 1, symmetric"),
    (0, 255, "step 1, unsigned"),
    ("-7.96875", "7.96875", "a step that is a power of two, narrow: ties"),
    (3, "3.5", "no zero: zero point -1658"),
    (-5, "-4.5", "no zero, negative"),
    (200, "201.5", "no zero: zero point -34128, and an estimate that is worth less"),
    (100, "100.0625", "no zero: zero point -408128, next to where the FP32 estimate is given up"),
    (0, "tiny", "the smallest subnormal number is the range"),
    ("-tiny", "tiny*3", "subnormal numbers"),
    ("-normal", "normal/2", "about the smallest normal number"),
    (0, "max", "the largest number"),
    ("-max", "max", "the widest range there is"),
    ("max/2", "max", "large, no zero"),
]


def number(name, source):
    """The exact number of a format that a table means."""
    fmt = bq.format(source)
    named = {"tiny": fmt.smallest_subnormal, "normal": fmt.smallest_normal, "max": fmt.max}
    sign, word, factor = re.fullmatch(r"(-?)([a-z]+|[0-9.]+)([*/][0-9]+)?", str(name)).groups()
    value = Fraction(named.get(word, word))
    if factor:
        value = value * int(factor[1:]) if factor[0] == "*" else value / int(factor[1:])
    return Fraction(float(numbers_of([-value if sign else value], source)[0]))


def assert_boundaries(low, high, why, source, scheme, **options):
    """Numbers next to every boundary of the range they span themselves, and of the same range given."""
    least, most = number(low, source), number(high, source)
    context = f"{source} {scheme} {why} {options}"
    linear = reference.parameters([least, most], scheme, **options)
    x = boundaries(linear, source)
    assert_agrees(x, linear, f"{context}, given", scheme=scheme, range=(least, most), **options)
    assert_agrees(within(x, float(least), float(most)), linear, context, scheme=scheme, **options)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("source", SOURCES)
def test_codes_and_parameters_are_the_references_at_every_boundary_of_every_grid(source, scheme):
    for k, options in enumerate(GRIDS):
        assert_boundaries(*ORDINARY[k % len(ORDINARY)], source, scheme, **options)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("source", FLOATS)
def test_codes_and_parameters_are_the_references_at_every_boundary_of_every_range(source, scheme):
    for k, (low, high, why) in enumerate(RANGES):
        assert_boundaries(low, high, why, source, scheme, bits=8, signed=k % 3 < 2)


SMALL = [
    *("int8", "uint8", "int4", "uint2", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float6_e3m2fn"),
    *("float4_e2m1fn", "float8_e8m0fnu"),
]


@pytest.mark.parametrize("source", SMALL)
def test_every_number_of_a_small_format_gets_the_code_of_the_reference(source):
    fmt = reference.FORMATS[source]
    x = array_of([code for code in range(2**fmt.bits) if reference.decode(code, fmt).kind == "finite"], source)
    values = [number.fraction for number in exact(x)]
    for scheme, signed in itertools.product(SCHEMES, (True, False)):
        linear = reference.parameters(values, scheme, signed=signed)
        assert_agrees(x, linear, f"{source} {scheme} {signed}", scheme=scheme, signed=signed)
        q = bq.quantize(x, scheme=scheme, signed=signed)
        back = [number.fraction for number in exact(np.asarray(q.dequantize()))]  # in the format that error() takes
        worst = max(abs(there - value) for there, value in zip(back, values, strict=True))
        assert q.error(x).max_abs == pytest.approx(float(worst), rel=1e-15)


# Data whose exact scale needs more than 63 bits, which the kernels do not take.
WIDE = [
    ("float32", -(2.0**-149), 1.0),
    ("float32", -1.0, 2.0**-140),
    ("float32", -1e-45, 3e38),
    ("bfloat16", -(2.0**-133), 1.0),
    ("float64", -5e-324, 1.0),
    ("float64", -1.0, 1e-30),
    ("float64", 0.1, 1e22),
]


@pytest.mark.parametrize(("source", "low", "high"), WIDE)
def test_scales_too_wide_for_the_kernels_are_as_exact(source, low, high):
    least, most = (Fraction(float(end)) for end in numbers_of([low, high], source))
    for bits, signed in ((8, True), (8, False), (3, True)):
        linear = reference.parameters([least, most], "asymmetric", bits, signed)
        odd = [part // (part & -part) for part in linear.scale.as_integer_ratio()]
        assert max(odd).bit_length() > 63, "the case does not reach what it is for"
        x = within(boundaries(linear, source), float(least), float(most))
        roundings = reference.ROUNDINGS if bits == 8 and signed else ("nearest_even",)
        assert_agrees(
            x,
            linear,
            f"{source} {low} {high}",
            roundings=roundings,
            scheme="asymmetric",
            bits=bits,
            signed=signed,
        )


@pytest.mark.parametrize("rounding", reference.ROUNDINGS)
def test_long_arrays_of_a_wide_scale_agree(rounding):
    x = np.random.default_rng(5).normal(size=70_000).astype(np.float32)
    x[[3, 65_535, 65_536]] = -(2.0**-149), 30, 0
    x = np.abs(x) * (x != x[3]) + np.minimum(x, 0) * (x == x[3])
    linear = reference.parameters([float(x.min()), float(x.max())], "asymmetric")
    q = bq.asymmetric(x, rounding=rounding)
    assert q.exact_scale == linear.scale
    assert linear.scale.denominator.bit_length() > 63
    assert_same(q.codes, quickly(x, linear, rounding), x, rounding)


# Numbers, options, expected codes, why
NAMED = [
    ([0.5, -1.0, 0.25, 0.1], {}, [64, -127, 32, 13], "63.5 and 31.75 and 12.7"),
    ([0.0, 1.0, 2.0, 4.0], {"scheme": "asymmetric"}, [-128, -64, 0, 127], "-0.5 is a tie: to even"),
    ([0.5, 1.5, 2.5, -0.5, -1.5], {"step": 1}, [0, 2, 2, 0, -2], "ties to even"),
    ([0.5, 1.5, -0.5], {"step": 1, "rounding": "RNA"}, [1, 2, -1], "ties away"),
    ([0.5, -0.5], {"step": 1, "zero_point": 1, "scheme": "asymmetric"}, [2, 0], "the sum is rounded: 1.5, 0.5"),
    ([-2.5], {"step": 1, "zero_point": 1, "scheme": "asymmetric", "rounding": "RNA"}, [-2], "-1.5 away"),
    ([-0.5], {"step": 1, "zero_point": 1, "scheme": "asymmetric", "rounding": "RTZ"}, [0], "0.5 to zero"),
    ([0.5], {"step": 1, "zero_point": -1, "scheme": "asymmetric", "rounding": "RTZ"}, [0], "-0.5 to zero"),
    ([0.5, 1, 1.5, -0.5], {"step": 1, "rounding": "RTO"}, [1, 1, 1, -1], "odd, where inexact"),
    ([1e-300, -1e-300], {"step": 1, "rounding": "RTP"}, [1, 0], "next to nothing still goes up"),
    ([1e-300, -1e-300], {"step": 1, "rounding": "RTN"}, [0, -1], "and down"),
    ([5e-324, -5e-324], {"step": 1.7e308, "rounding": "RTO"}, [1, -1], "2^-2097 of a step"),
    ([1e308, -1e308], {"step": 5e-324}, [127, -127], "2^2097 steps"),
    ([7.0], {}, [127], "one number"),
    ([-7.0], {"scheme": "asymmetric"}, [-128], "one number: the range is widened to zero"),
    ([7.0], {"scheme": "asymmetric"}, [127], "from the other side"),
    ([3.0] * 5, {"scheme": "asymmetric", "signed": False}, [255] * 5, "all equal"),
    ([0.0, -0.0], {}, [0, 0], "all zero"),
    ([0.0, -0.0], {"scheme": "asymmetric"}, [0, 0], "all zero: zero point 0, not -128"),
    ([0.0], {"signed": False, "narrow": True}, [1], "all zero, where code 0 is left out"),
    ([-0.0, 1.0], {"scheme": "asymmetric"}, [-128, 127], "-0 is 0"),
    ([-1.0, 2.0], {"signed": False}, [0, 255], "unsigned symmetric clips what is negative"),
    ([3.0, 4.0], {"scheme": "asymmetric"}, [-128, 127], "a range without zero: zero point -893"),
    ([3.0, 4.0], {"scheme": "asymmetric", "include_zero": True}, [63, 127], "191.25 - 128"),
    ([-1.0, 0.5], {"bits": 2}, [-1, 0], "two bits: three codes"),
    ([-1.0, 0.5], {"bits": 2, "narrow": False}, [-1, 0], "the scale goes by qmax"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "options", "codes", "why"), NAMED)
def test_named_cases(x, options, codes, why):
    assert bq.quantize(x, **options).codes.tolist() == codes, why


# --- Long arrays --------------------------------------------------------------------------------------------


def drawn(source, size, seed=754):
    """Normal numbers of a format; of an integer format, any."""
    draw = np.random.default_rng(seed)
    if source.endswith("int8"):
        return draw.integers(0, 256, size, np.uint8).view(source)
    return (draw.normal(size=size) * 10).astype(bq.format(source).dtype)


@pytest.mark.parametrize(("scheme", "rounding"), [*itertools.product(SCHEMES, reference.ROUNDINGS)])
def test_300_000_random_numbers_get_the_exact_codes(scheme, rounding):
    x = drawn("float32", 300_000)
    linear = reference.parameters([float(x.min()), float(x.max())], scheme)
    q = bq.quantize(x, scheme, rounding=rounding)
    assert q.exact_scale == linear.scale
    assert_same(q.codes, quickly(x, linear, rounding), x, f"{scheme} {rounding}")


@pytest.mark.parametrize("source", ["float64", "float16", "bfloat16", "int8", "uint8"])
def test_100_000_random_numbers_of_every_format_get_the_exact_codes(source):
    x = drawn(source, 100_000)
    linear = reference.parameters([float(x.min()), float(x.max())], "asymmetric")
    assert_same(bq.asymmetric(x).codes, quickly(x, linear), x, source)


@pytest.mark.parametrize("rounding", reference.ROUNDINGS)
@pytest.mark.parametrize("source", ["float64", "float32"])
def test_long_arrays_of_ties_get_the_exact_codes(source, rounding):
    twice = np.random.default_rng(2).integers(-300, 300, 10_000)
    x = (twice / 2).astype(source)
    for zero_point in (0, 7, -4):
        linear = reference.Linear(Fraction(1), zero_point, -128, 127)
        q = bq.asymmetric(x, step=1, zero_point=zero_point, rounding=rounding)
        assert_same(q.codes, quickly(x, linear, rounding), x, f"{rounding} {zero_point}")


@pytest.mark.parametrize("size", [1, 2, 15, 17, 255, 256, 257, 511, 1023, 1024, 1025, 2047, 2049, 5000])
@pytest.mark.parametrize("source", ["float64", "float32", "float16"])
def test_the_code_of_a_number_does_not_depend_on_how_many_there_are(source, size):
    """A number in doubt stands at a changing place of its run of 256, the others are not in doubt."""
    linear = reference.Linear(Fraction(10, 3), 3, -128, 127)
    x = np.resize(numbers_of([0.7, -2.2, 11.9, -30.1, 40.0, -80.0, 1.7], source), size)
    critical = boundaries(linear, source)
    for shift in range(0, 12):
        x[(37 * shift) % size :: 97] = critical[shift::40][0]
        q = bq.asymmetric(x, scale=linear.scale, zero_point=3)
        assert_same(q.codes, quickly(x, linear), x, f"{size} {shift}")


@pytest.mark.parametrize("at", [0, 1, 255, 256, 1023, 1024, 2999])
def test_one_number_in_doubt_among_3000_that_are_not(at):
    doubts = (0.5, 1.5, -2.5, np.nextafter(0.5, 0), 126.5)
    for source, doubtful in itertools.product(("float64", "float32"), doubts):
        x = np.full(3000, 0.1875, source)
        x[at] = doubtful
        linear = reference.Linear(Fraction(1), 0, -127, 127)
        assert_same(bq.quantize(x, step=1).codes, quickly(x, linear), x, f"{source} {doubtful} at {at}")


@pytest.mark.parametrize("others", [[-383.4, 2.0], [-383.6], [1e9, -1e30, 3e17, 2.0**100], [-0.0, 3.4e38]])
def test_finite_sums_that_together_have_an_exponent_of_all_ones(others):
    """The kernel looks at a run's sums together for one that is not finite, and again where there may be one."""
    x = np.resize(np.float32([0.1875, 1.2, -17.3]), 3000)
    x[5::100] = np.resize(np.float32(others), 30)
    linear = reference.Linear(Fraction(1), 0, -127, 127)
    assert_same(bq.quantize(x, step=1).codes, quickly(x, linear), x, f"{others}")
    for bad, code in ((np.inf, 127), (-np.inf, -127), (np.nan, 0), (-np.nan, 0)):
        x[2999] = bad
        with pytest.raises(bq.BitquantError, match=r"at index 2999: "):
            bq.quantize(x, step=1)
        assert bq.quantize(x, step=1, nonfinite="saturate").codes[2999] == code


@pytest.mark.parametrize("threads", [2, 3, None])
def test_threads_change_nothing(threads):
    x = drawn("float32", 800_001)
    x[::1001] = 0.5
    alone, shared = bq.asymmetric(x), bq.asymmetric(x, threads=threads)
    assert np.array_equal(alone.codes, shared.codes)
    assert np.array_equal(alone.dequantize(), shared.dequantize(threads=threads))
    rows = x[:-1].reshape(800, 1000)
    for axis in (0, 1):
        alone, shared = bq.symmetric(rows, axis=axis), bq.symmetric(rows, axis=axis, threads=threads)
        assert np.array_equal(alone.codes, shared.codes), axis
        assert np.array_equal(alone.dequantize(), shared.dequantize(threads=threads)), axis


def test_threads_count_what_is_not_finite_together():
    x = np.zeros(800_001, np.float32)
    x[[700_000, 300_000, 800_000]] = np.nan, np.inf, np.nan
    with pytest.raises(bq.BitquantError, match=r"inf at index 300000 \(the first of 3 that are not finite\)"):
        bq.quantize(x, step=1, threads=3)


def test_arrays_larger_than_the_caches_get_the_same_codes():
    """More than 2^23 codes are written past the caches."""
    period = drawn("float32", 99_991)
    linear = reference.parameters([float(period.min()), float(period.max())], "asymmetric")
    x = np.resize(period, 2**23 + 12_347)
    theirs = np.resize(quickly(period, linear), x.size)
    for threads in (1, 2):
        q = bq.asymmetric(x, threads=threads)
        assert q.exact_scale == linear.scale
        assert_same(q.codes, theirs, x, f"{threads} threads")
    room = np.zeros(x.size + 128, np.int8)
    line = -room.ctypes.data % 64
    for start in (0, 3, 16, 32, 48):  # of a cache line: streaming stores want 16 bytes, and whole lines pay
        out = room[line + start :][: x.size]
        assert_same(bq.asymmetric(x, out=out).codes, theirs, x, f"out {start} bytes into a line")
        assert not room[: line + start].any()
        assert not room[line + start + x.size :].any()
        room[:] = 0
    rows = x[:8_400_000].reshape(-1, 1000)
    points = np.arange(1000) % 7
    q = bq.asymmetric(rows, axis=1, step=0.5, zero_point=points)
    alone = bq.asymmetric(rows[-3:], axis=1, step=0.5, zero_point=points)
    assert np.array_equal(q.codes[-3:], alone.codes)
