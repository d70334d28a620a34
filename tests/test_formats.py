"""The table of formats against the tables of the standards, typed in by hand."""

from __future__ import annotations

import copy
import math
import pickle
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
import reference
from judging import CUSTOM, EVERY, P3109, TABLE, judge_of, ours_of

FLOATS = [fmt for fmt in bq.formats() if fmt.is_float]
INTEGERS = [fmt for fmt in bq.formats() if fmt.is_integer]
SMALL = [name for name in EVERY if judge_of(name).bits <= 8]

# IEEE 754-2019 table 3.5; NVIDIA A100 whitepaper (tfloat32); Intel BFLOAT16 hardware numerics definition; OCP OFP8 1.0
# (e5m2, e4m3fn); OCP MX 1.0 (FP6, FP4, E8M0); LLVM's APFloat.h (e4m3, e3m4, e4m3b11fnuz); arXiv 2206.02915 (fnuz).
# name, bits, e, m, bias, max, smallest normal 2^k, smallest positive 2^k, finite values
PUBLISHED = [
    ("float64", 64, 11, 52, 1023, "0x1.fffffffffffffp+1023", -1022, -1074, 2 * (2047 * 2**52) - 1),
    ("float32", 32, 8, 23, 127, "0x1.fffffep+127", -126, -149, 2 * (255 * 2**23) - 1),
    ("tfloat32", 19, 8, 10, 127, "0x1.ffcp+127", -126, -136, 2 * (255 * 2**10) - 1),
    ("float16", 16, 5, 10, 15, "65504", -14, -24, 2 * (31 * 2**10) - 1),
    ("bfloat16", 16, 8, 7, 127, "0x1.fep+127", -126, -133, 2 * (255 * 2**7) - 1),
    ("float8_e5m2", 8, 5, 2, 15, "57344", -14, -16, 247),
    ("float8_e4m3", 8, 4, 3, 7, "240", -6, -9, 239),
    ("float8_e3m4", 8, 3, 4, 3, "15.5", -2, -6, 223),
    ("float8_e4m3fn", 8, 4, 3, 7, "448", -6, -9, 253),
    ("float8_e4m3fnuz", 8, 4, 3, 8, "240", -7, -10, 255),
    ("float8_e5m2fnuz", 8, 5, 2, 16, "57344", -15, -17, 255),
    ("float8_e4m3b11fnuz", 8, 4, 3, 11, "30", -10, -13, 255),
    ("float6_e3m2fn", 6, 3, 2, 3, "28", -2, -4, 63),
    ("float6_e2m3fn", 6, 2, 3, 1, "7.5", 0, -3, 63),
    ("float4_e2m1fn", 4, 2, 1, 1, "6", 0, -1, 15),
    ("float8_e8m0fnu", 8, 8, 0, 127, "0x1p+127", -127, -127, 255),
]

# All codes that are infinity, and all that are NaN, of the formats of 8 bits and less; of the others those of +infinity
# and of the positive NaN without payload.
SPECIAL = [
    ("float64", [0x7FF0000000000000], [0x7FF8000000000000]),
    ("float32", [0x7F800000], [0x7FC00000]),
    ("tfloat32", [0x3FC00], [0x3FE00]),
    ("float16", [0x7C00], [0x7E00]),
    ("bfloat16", [0x7F80], [0x7FC0]),
    ("float8_e5m2", [0x7C, 0xFC], [0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]),
    ("float8_e4m3", [0x78, 0xF8], [*range(0x79, 0x80), *range(0xF9, 0x100)]),
    ("float8_e3m4", [0x70, 0xF0], [*range(0x71, 0x80), *range(0xF1, 0x100)]),
    ("float8_e4m3fn", [], [0x7F, 0xFF]),
    ("float8_e4m3fnuz", [], [0x80]),
    ("float8_e5m2fnuz", [], [0x80]),
    ("float8_e4m3b11fnuz", [], [0x80]),
    ("float6_e3m2fn", [], []),
    ("float6_e2m3fn", [], []),
    ("float4_e2m1fn", [], []),
    ("float8_e8m0fnu", [], [0xFF]),
]

# name, code, value: the examples of the specifications, and what the fields say by hand.
VALUES = [
    ("float8_e5m2", 0x7B, 57344.0), ("float8_e5m2", 0x01, 2.0**-16), ("float8_e5m2", 0xC0, -2.0),
    ("float8_e4m3", 0x77, 240.0), ("float8_e4m3", 0x38, 1.0),
    ("float8_e3m4", 0x6F, 15.5), ("float8_e3m4", 0x30, 1.0), ("float8_e3m4", 0x8F, -15 / 64),
    ("float8_e4m3fn", 0x7E, 448.0), ("float8_e4m3fn", 0x08, 2.0**-6), ("float8_e4m3fn", 0x07, 0.875 * 2.0**-6),
    ("float8_e4m3fnuz", 0x7F, 240.0), ("float8_e4m3fnuz", 0x40, 1.0), ("float8_e4m3fnuz", 0x81, -(2.0**-10)),
    ("float8_e5m2fnuz", 0xFF, -57344.0), ("float8_e5m2fnuz", 0x40, 1.0),
    ("float8_e4m3b11fnuz", 0x7F, 30.0), ("float8_e4m3b11fnuz", 0x58, 1.0),
    ("float6_e3m2fn", 0x1F, 28.0), ("float6_e3m2fn", 0x0C, 1.0), ("float6_e3m2fn", 0x21, -0.0625),
    ("float6_e2m3fn", 0x1F, 7.5), ("float6_e2m3fn", 0x08, 1.0), ("float6_e2m3fn", 0x01, 0.125),
    *(("float4_e2m1fn", code, value) for code, value in enumerate([0, 0.5, 1, 1.5, 2, 3, 4, 6])),
    *(("float4_e2m1fn", 8 + code, -value) for code, value in enumerate([0.0, 0.5, 1, 1.5, 2, 3, 4, 6])),
    ("float8_e8m0fnu", 0x00, 2.0**-127), ("float8_e8m0fnu", 0x7F, 1.0), ("float8_e8m0fnu", 0xFE, 2.0**127),
    ("int2", 3, -1), ("int2", 2, -2), ("uint2", 3, 3), ("int4", 8, -8), ("int4", 7, 7), ("uint4", 15, 15),
    ("int8", 0x80, -128), ("int16", 0x8000, -32768), ("uint16", 0xFFFF, 65535), ("int32", 0xFFFFFFFF, -1),
    ("nf4", 0, -1.0), ("nf4", 1, float(np.float32(-0.6961928009986877))), ("nf4", 7, 0.0), ("nf4", 15, 1.0),
    ("nf4", 8, float(np.float32(0.07958029955625534))), ("nf4", 14, float(np.float32(0.7229568362236023))),
    ("iq4_nl", 0, -127), ("iq4_nl", 7, -10), ("iq4_nl", 8, 1), ("iq4_nl", 15, 113),
]  # fmt: skip

# The same numbers as textbooks print them.
PRINTED = [
    ("float64", 1.7976931348623157e308, 2.2250738585072014e-308, 5e-324, 2.220446049250313e-16),
    ("float32", 3.4028234663852886e38, 1.1754943508222875e-38, 1.401298464324817e-45, 1.1920928955078125e-07),
    ("float16", 65504.0, 6.103515625e-05, 5.960464477539063e-08, 0.0009765625),
    ("bfloat16", 3.3895313892515355e38, 1.1754943508222875e-38, 9.183549615799121e-41, 0.0078125),
]

# name, low, high
RANGES = [
    ("int2", -2, 1), ("uint2", 0, 3), ("int4", -8, 7), ("uint4", 0, 15), ("int8", -128, 127), ("uint8", 0, 255),
    ("int16", -32768, 32767), ("uint16", 0, 65535), ("int32", -2147483648, 2147483647), ("uint32", 0, 4294967295),
    ("int64", -9223372036854775808, 9223372036854775807), ("uint64", 0, 18446744073709551615),
]  # fmt: skip

# name, decades, decibels to a tenth: log10(max / smallest positive number)
DYNAMIC_RANGE = [
    ("float64", 631.56, 12631.2),
    ("float32", 83.39, 1667.7),
    ("tfloat32", 79.47, 1589.4),
    ("float16", 12.04, 240.8),
    ("bfloat16", 78.57, 1571.3),
    ("float8_e4m3fn", 5.36, 107.2),
    ("float4_e2m1fn", 1.08, 21.6),
    ("float8_e8m0fnu", 76.46, 1529.2),
    ("int8", 2.10, 42.1),
    ("uint8", 2.41, 48.1),
    ("int64", 18.96, 379.3),
    ("nf4", 1.10, 22.0),
    ("iq4_nl", 2.10, 42.1),
]

# name, dtype, codes' dtype
WORDS = [
    ("float64", np.float64, "u8"), ("float32", np.float32, "u4"), ("tfloat32", None, "u4"),
    ("float16", np.float16, "u2"),
    ("bfloat16", ml_dtypes.bfloat16, "u2"), ("float8_e5m2", ml_dtypes.float8_e5m2, "u1"),
    ("float8_e4m3", ml_dtypes.float8_e4m3, "u1"), ("float8_e3m4", ml_dtypes.float8_e3m4, "u1"),
    ("float8_e4m3fn", ml_dtypes.float8_e4m3fn, "u1"), ("float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz, "u1"),
    ("float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz, "u1"), ("float8_e4m3b11fnuz", ml_dtypes.float8_e4m3b11fnuz, "u1"),
    ("float6_e3m2fn", ml_dtypes.float6_e3m2fn, "u1"), ("float6_e2m3fn", ml_dtypes.float6_e2m3fn, "u1"),
    ("float4_e2m1fn", ml_dtypes.float4_e2m1fn, "u1"), ("float8_e8m0fnu", ml_dtypes.float8_e8m0fnu, "u1"),
    ("int2", ml_dtypes.int2, "u1"), ("uint2", ml_dtypes.uint2, "u1"), ("int4", ml_dtypes.int4, "u1"),
    ("uint4", ml_dtypes.uint4, "u1"), ("int8", np.int8, "u1"), ("uint8", np.uint8, "u1"), ("int16", np.int16, "u2"),
    ("uint16", np.uint16, "u2"), ("int32", np.int32, "u4"), ("uint32", np.uint32, "u4"), ("int64", np.int64, "u8"),
    ("uint64", np.uint64, "u8"), ("nf4", None, "u1"), ("iq4_nl", None, "u1"),
]  # fmt: skip


def test_every_row_of_the_table_is_checked_here_and_judged_by_the_reference():
    assert [fmt.name for fmt in FLOATS] == [row[0] for row in PUBLISHED] == [row[0] for row in SPECIAL]
    assert [fmt.name for fmt in INTEGERS] == [row[0] for row in RANGES]
    assert [row[0] for row in WORDS] == TABLE
    assert set(TABLE) == set(reference.FORMATS)


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row[0])
def test_floating_formats_have_the_published_fields_and_ends(row):
    name, bits, e, m, bias, largest, normal, smallest, count = row
    fmt = bq.format(name)
    signed = name != "float8_e8m0fnu"
    assert (fmt.bits, fmt.exponent_bits, fmt.significand_bits, fmt.bias) == (bits, e, m, bias)
    assert (fmt.kind, fmt.is_float, fmt.is_integer, fmt.signed, fmt.zero) == ("float", True, False, signed, signed)
    assert (fmt.precision, fmt.magnitude_bits) == (m + 1, bits - signed)
    assert fmt.max == (float.fromhex(largest) if "x" in largest else float(largest))
    assert fmt.min == (-fmt.max if signed else 2.0**-127)
    assert fmt.smallest_normal == 2.0**normal
    assert Fraction(fmt.smallest_subnormal) == Fraction(1, 2**-smallest)
    assert fmt.epsilon == 2.0**-m
    assert fmt.finite_count == count
    assert (fmt.min_exponent, fmt.max_exponent) == (normal, math.frexp(fmt.max)[1] - 1)
    assert (fmt.ties, fmt.values) == ("magnitude", ())
    assert fmt.source


@pytest.mark.parametrize(("name", "infinities", "nans"), SPECIAL)
def test_infinity_and_nan_have_the_published_codes(name, infinities, nans):
    fmt, judge = bq.format(name), reference.FORMATS[name]
    assert (fmt.infinity, fmt.has_nan) == (bool(infinities), bool(nans))
    assert fmt.signed_zero == (name not in ("float8_e8m0fnu",) and not name.endswith("uz"))
    if fmt.bits > 8:
        assert ([fmt.infinity_code], [fmt.nan_code]) == (infinities, nans)
    else:
        assert fmt.infinity_code == (infinities[0] if infinities else None)
        assert fmt.nan_code in (nans or [None])
        values = bq.decode(np.arange(2**fmt.bits, dtype=np.uint8), fmt)
        assert np.flatnonzero(np.isinf(values)).tolist() == infinities
        assert np.flatnonzero(np.isnan(values)).tolist() == nans
    if infinities:
        assert reference.decode(fmt.infinity_code, judge) == ("infinity", 0, 0, 1)
        assert fmt.largest_code + 1 == fmt.infinity_code
    if nans:
        number = reference.decode(fmt.nan_code, judge)
        assert (number.kind, number.sign, number.quiet, number.payload) == ("nan", 0, True, 0)
    assert reference.decode(fmt.largest_code, judge).fraction == Fraction(fmt.max)


@pytest.mark.parametrize(("name", "code", "value"), VALUES)
def test_codes_stand_for_the_published_values(name, code, value):
    fmt = bq.format(name)
    decoded = bq.decode(np.array(code, fmt.code_dtype), fmt, "float64")
    assert (decoded, math.copysign(1, decoded)) == (value, math.copysign(1, value))
    assert bq.encode(value, fmt) == code


@pytest.mark.parametrize("row", PRINTED, ids=lambda row: row[0])
def test_limits_read_as_the_textbooks_print_them(row):
    fmt = bq.format(row[0])
    assert (fmt.max, fmt.smallest_normal, fmt.smallest_subnormal, fmt.epsilon) == row[1:]


@pytest.mark.parametrize(("name", "low", "high"), RANGES)
def test_integer_formats_have_the_published_ends(name, low, high):
    fmt = bq.format(name)
    bits, signed = int(name.lstrip("uint")), name[0] == "i"
    assert (fmt.min, fmt.max, fmt.bits, fmt.signed) == (low, high, bits, signed)
    assert isinstance(fmt.max, int)
    assert isinstance(fmt.min, int)
    assert (fmt.kind, fmt.is_integer, fmt.is_float, fmt.exponent_bits) == ("integer", True, False, 0)
    assert (fmt.infinity, fmt.nan, fmt.signed_zero, fmt.nan_code, fmt.infinity_code) == (False, None, False, None, None)
    assert fmt.finite_count == 2**bits
    assert fmt.smallest_normal == fmt.smallest_subnormal == fmt.epsilon == 1.0
    assert fmt.largest_code == high
    assert fmt.precision == bits - signed


@pytest.mark.parametrize("name", ["nf4", "iq4_nl"])
def test_codebooks_have_the_published_values(name):
    fmt, judge = bq.format(name), reference.FORMATS[name]
    assert (fmt.kind, fmt.bits, fmt.signed, fmt.is_float, fmt.is_integer) == ("codebook", 4, False, False, False)
    assert tuple(map(Fraction, fmt.values)) == judge.values
    assert (fmt.min, fmt.max) == {"nf4": (-1, 1), "iq4_nl": (-127, 113)}[name]
    assert (fmt.finite_count, fmt.largest_code) == (16, 15)
    assert fmt.smallest_subnormal == {"nf4": float(np.float32(0.07958029955625534)), "iq4_nl": 1.0}[name]
    assert math.isnan(fmt.epsilon)
    assert (fmt.nan_code, fmt.infinity_code, fmt.signed_zero) == (None, None, False)


@pytest.mark.parametrize("row", DYNAMIC_RANGE, ids=lambda row: row[0])
def test_dynamic_range_is_the_logarithm_of_largest_over_smallest(row):
    name, decades, decibels = row
    fmt = bq.format(name)
    assert fmt.decades == pytest.approx(decades, abs=0.006)
    assert fmt.decibels == pytest.approx(decibels, abs=0.06)


@pytest.mark.parametrize("name", EVERY)
def test_facts_are_the_references(name):
    fmt, judge = ours_of(name), judge_of(name)
    assert (fmt.name, fmt.kind, fmt.bits, fmt.largest_code) == (name, judge.kind, judge.bits, judge.largest)
    low, high = (reference.decode(code, judge).fraction for code in (low_code(judge), judge.largest))
    assert (Fraction(fmt.min), Fraction(fmt.max)) == (low, high)
    assert fmt.signed_zero == judge.signed_zero
    if judge.kind == "float":
        assert (fmt.infinity_code, fmt.has_nan, fmt.ties) == (judge.infinity, judge.nan is not None, judge.ties)
        assert fmt.nan_code == (reference.nan_code(judge, 0) if judge.nan else None)
        smallest = reference.value_at(int(judge.has_zero), judge)
        assert (Fraction(fmt.smallest_normal), Fraction(fmt.smallest_subnormal)) == (
            Fraction(2) ** judge.emin,
            smallest,
        )


def low_code(judge):
    """The code of the lowest finite number."""
    if judge.kind == "codebook" or not judge.signed:
        return 0
    return judge.sign_bit | (judge.largest if judge.kind == "float" else 0)


def finite_values(judge):
    """All finite values of a format, each once."""
    numbers = (reference.decode(code, judge) for code in range(judge.code_count))
    return {number.fraction for number in numbers if number.kind == "finite"}


@pytest.mark.parametrize("name", [name for name in EVERY if judge_of(name).bits <= 12])
def test_finite_values_are_as_many_as_are_counted(name):
    assert ours_of(name).finite_count == len(finite_values(judge_of(name)))


@pytest.mark.parametrize("name", [name for name in EVERY if 12 < judge_of(name).bits <= 16])
def test_finite_values_of_sixteen_bits_are_as_many_as_are_counted(name):
    fmt = ours_of(name)
    values = bq.decode(np.arange(2**fmt.bits, dtype=np.uint16), fmt, "float64")
    assert fmt.finite_count == np.unique(values[np.isfinite(values)]).size


@pytest.mark.parametrize(
    "fmt", [row for row in FLOATS if row.dtype is not None and row is not bq.E8M0], ids=lambda fmt: fmt.name
)
def test_limits_agree_with_finfo(fmt):
    info = ml_dtypes.finfo(fmt.dtype)
    assert fmt.max == float(info.max)
    assert fmt.min == float(info.min)
    assert fmt.smallest_normal == float(info.smallest_normal)
    assert fmt.smallest_subnormal == float(info.smallest_subnormal)
    assert fmt.epsilon == float(info.eps)
    assert (fmt.bits, fmt.significand_bits) == (info.bits, info.nmant)


@pytest.mark.parametrize(("name", "dtype", "code"), WORDS)
def test_numbers_and_codes_have_the_dtypes_of_numpy_and_ml_dtypes(name, dtype, code):
    fmt = bq.format(name)
    assert fmt.code_dtype == np.dtype(code)
    assert fmt.dtype == (None if dtype is None else np.dtype(dtype))
    assert fmt.array_dtype == (fmt.code_dtype if dtype is None else np.dtype(dtype))
    assert dtype is None or fmt.name == np.dtype(dtype).name


# --- One format within another ------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", SMALL)
def test_a_small_format_contains_those_all_of_whose_values_it_has(outer):
    fmt, judge = ours_of(outer), judge_of(outer)
    values = finite_values(judge)
    for inner in SMALL:
        aim = judge_of(inner)
        specials = (judge.has_infinity or not aim.has_infinity) and (judge.nan is not None or aim.nan is None)
        assert fmt.contains(ours_of(inner)) == (specials and finite_values(aim) <= values), inner


# outer, those that it contains of float64, float32, bfloat16, float16, e4m3fn, int64, int32, int16, uint8, nf4
CONTAINED = [
    ("float64", "float64 float32 bfloat16 float16 float8_e4m3fn int32 int16 uint8 nf4"),
    ("float32", "float32 bfloat16 float16 float8_e4m3fn int16 uint8 nf4"),
    ("bfloat16", "bfloat16 float8_e4m3fn uint8"),
    ("float16", "float16 float8_e4m3fn uint8"),
    ("int64", "int64 int32 int16 uint8"),
    ("uint64", "uint8"),
    ("int32", "int32 int16 uint8"),
    ("int16", "int16 uint8"),
    ("float8_e5m2", ""),
]


@pytest.mark.parametrize(("outer", "inner"), CONTAINED)
def test_wide_formats_contain_what_they_should(outer, inner):
    asked = ["float64", "float32", "bfloat16", "float16", "float8_e4m3fn", "int64", "int32", "int16", "uint8", "nf4"]
    assert [name for name in asked if bq.format(outer).contains(bq.format(name))] == inner.split()


@pytest.mark.parametrize("name", EVERY)
def test_float64_contains_every_format_but_integers_of_sixty_four_bits(name):
    assert bq.FP64.contains(ours_of(name)) == (name not in ("int64", "uint64"))


# --- Spacing ------------------------------------------------------------------------------------------------

# format, x, one ulp at x, why
SPACINGS = [
    ("float16", 1.0, 2.0**-10, "epsilon at one"),
    ("float16", 2.0 - 2.0**-10, 2.0**-10, "last number of the binade"),
    ("float16", 2.0, 2.0**-9, "first number of the next"),
    ("float16", -4096.0, 4.0, "the sign does not matter"),
    ("float16", 65504.0, 32.0, "largest number"),
    ("float16", 0.0, 2.0**-24, "zero has that of the subnormals"),
    ("float16", 2.0**-24, 2.0**-24, "smallest subnormal"),
    ("float16", 2.0**-15, 2.0**-24, "subnormals are equally spaced"),
    ("float16", 2.0**-14, 2.0**-24, "smallest normal"),
    ("float16", 2.0**-13, 2.0**-23, "second normal binade"),
    ("float16", 1.0 + 2.0**-30, 2.0**-10, "x need not be a number of the format"),
    ("bfloat16", 4096.0, 32.0, "eight digits"),
    ("bfloat16", 1e-40, 2.0**-133, "subnormal"),
    ("float64", 5e-324, 5e-324, "smallest float64"),
    ("float64", 1.0, 2.0**-52, "epsilon"),
    ("tfloat32", 1.0, 2.0**-10, "ten stored bits"),
    ("float8_e4m3fn", 448.0, 32.0, "largest number, in the binade of NaN"),
    ("float4_e2m1fn", 5.0, 2.0, "between 4 and 6"),
    ("float8_e8m0fnu", 3.0, 2.0, "powers of two: from 2 to 4"),
    ("float8_e8m0fnu", 2.0**-127, 2.0**-127, "the smallest power"),
    ("int8", 100.0, 1.0, "integers"),
    ("uint8", 0.25, 1.0, "integers"),
    ("int64", 2.0**62, 1.0, "integers of any size"),
    ("iq4_nl", 30.0, 13.0, "from 25 to 38"),
    ("iq4_nl", 25.0, 13.0, "from a value up"),
    ("iq4_nl", 113.0, 24.0, "from the last value down"),
]


@pytest.mark.parametrize(("name", "x", "ulp", "why"), SPACINGS)
def test_spacing_is_one_ulp(name, x, ulp, why):
    assert bq.format(name).spacing(x) == ulp, why


@pytest.mark.parametrize(
    ("name", "x"),
    [("float16", math.nan), ("float16", math.inf), ("float16", 65536.0), ("int8", 200.0), ("uint4", -0.5),
     ("float8_e4m3fn", 449.0), ("float8_e8m0fnu", 0.0), ("float8_e8m0fnu", -1.0), ("nf4", 1.5), ("iq4_nl", -128.0)],
)  # fmt: skip
def test_spacing_outside_the_finite_range_is_nan(name, x):
    assert math.isnan(bq.format(name).spacing(x))


@pytest.mark.parametrize("name", EVERY)
def test_spacing_agrees_with_the_reference_at_every_edge(name):
    fmt, judge = ours_of(name), judge_of(name)
    places = reference.edge_places(judge) - {judge.infinity}
    if judge.kind == "integer":
        places = {place for place in places if place <= 2**53}
    for place in sorted(places):
        value = reference.value_at(place, judge)
        assert fmt.spacing(float(value)) == float(reference.spacing(value, judge)), hex(place)


# --- Lookup -------------------------------------------------------------------------------------------------

LOOKUPS = [
    ("float64", "fp64 f64 double binary64 FP64 Float64 torch.float64"),
    ("float32", "fp32 f32 single float binary32 FP32 float_32 torch.float32"),
    ("tfloat32", "tf32 TF32 tensorfloat32"),
    ("float16", "fp16 f16 half binary16 FP16 float-16 torch.float16"),
    ("bfloat16", "bf16 BF16 brain BFloat16 torch.bfloat16"),
    ("float8_e5m2", "e5m2 E5M2 float8e5m2 torch.float8_e5m2 Float8-E5M2"),
    ("float8_e4m3", "e4m3 E4M3"),
    ("float8_e3m4", "e3m4"),
    ("float8_e4m3fn", "e4m3fn E4M3FN torch.float8_e4m3fn"),
    ("float8_e4m3fnuz", "e4m3fnuz torch.float8_e4m3fnuz"),
    ("float8_e5m2fnuz", "e5m2fnuz"),
    ("float8_e4m3b11fnuz", "e4m3b11fnuz"),
    ("float6_e3m2fn", "e3m2fn fp6e3m2 FP6-E3M2 fp6_e3m2"),
    ("float6_e2m3fn", "e2m3fn fp6_e2m3"),
    ("float4_e2m1fn", "e2m1fn fp4 FP4 fp4_e2m1"),
    ("float8_e8m0fnu", "e8m0 e8m0fnu E8M0 torch.float8_e8m0fnu"),
    ("int2", "i2 s2 INT2"),
    ("uint2", "u2"),
    ("int4", "i4 s4 INT4"),
    ("uint4", "u4"),
    ("int8", "i8 s8 INT8 torch.int8"),
    ("uint8", "u8 UINT8 torch.uint8"),
    ("int16", "i16 s16 torch.int16"),
    ("uint16", "u16"),
    ("int32", "i32 s32 torch.int32"),
    ("uint32", "u32"),
    ("int64", "i64 s64 torch.int64"),
    ("uint64", "u64"),
    ("nf4", "NF4 normalfloat4"),
    ("iq4_nl", "iq4nl IQ4_NL IQ4-NL"),
]


def test_every_format_is_looked_up_below():
    assert [row[0] for row in LOOKUPS] == TABLE


@pytest.mark.parametrize(("name", "others"), LOOKUPS)
def test_formats_are_found_by_name_and_alias_in_any_case(name, others):
    fmt = bq.format(name)
    assert fmt.name == name
    for other in (*others.split(), *fmt.aliases, name.upper()):
        assert bq.format(other) is fmt, other


def test_no_two_formats_share_a_name():
    names = [name for fmt in bq.formats() for name in (fmt.name, *fmt.aliases)]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)


def test_constants_are_the_rows():
    names = (
        "FP64 FP32 TF32 FP16 BF16 E5M2 E4M3 E3M4 E4M3FN E4M3FNUZ E5M2FNUZ E4M3B11FNUZ E3M2FN E2M3FN E2M1FN E8M0 INT2 "
    )
    names += "UINT2 INT4 UINT4 INT8 UINT8 INT16 UINT16 INT32 UINT32 INT64 UINT64 NF4 IQ4_NL"
    assert bq.formats() == tuple(getattr(bq, name) for name in names.split())
    assert bq.formats("table") == bq.formats()
    assert set(names.split()) < set(bq.__all__)


@pytest.mark.parametrize("family", ["", "exmy", None, "P3109"])
def test_an_unknown_family_is_refused(family):
    with pytest.raises(bq.BitquantError, match=r"family=.* is not possible: choose table or p3109"):
        bq.formats(family)


@pytest.mark.parametrize("name", [row[0] for row in WORDS if row[1] is not None])
def test_formats_are_found_by_dtype_and_scalar_type(name):
    fmt = bq.format(name)
    assert bq.format(fmt.dtype.type) is fmt
    assert bq.format(fmt.dtype) is fmt
    assert bq.format(np.zeros(1, fmt.dtype).dtype) is fmt


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "int16", "uint32", "int64"])
def test_formats_are_found_by_dtype_of_either_byte_order(name):
    for order in "<>=":
        assert bq.format(np.dtype(name).newbyteorder(order)) is bq.format(name), order


def test_formats_are_found_by_torch_dtype():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    found = [fmt for fmt in bq.formats() if isinstance(getattr(torch, fmt.name, None), torch.dtype)]
    assert {bq.FP64, bq.BF16, bq.E4M3FN, bq.E5M2, bq.INT8, bq.INT64} <= set(found)
    for fmt in found:
        assert bq.format(getattr(torch, fmt.name)) is fmt


def test_a_format_is_its_own_lookup():
    assert all(bq.format(fmt) is fmt for fmt in bq.formats())


@pytest.mark.parametrize("name", EVERY)
def test_pickling_and_copying_return_the_same_row(name):
    fmt = ours_of(name)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(fmt, protocol)) is fmt
    assert copy.deepcopy(fmt) is fmt
    assert copy.copy(fmt) is fmt


@pytest.mark.parametrize("name", [*TABLE, *P3109, *CUSTOM])
def test_the_name_of_a_format_leads_back_to_it(name):
    fmt = ours_of(name)
    assert bq.format(fmt.name) is fmt
    assert repr(fmt) == f"<Format {name}>"


def test_formats_are_hashable_and_frozen():
    assert len({*bq.formats(), *bq.formats()}) == len(bq.formats())
    with pytest.raises(AttributeError):
        bq.FP16.bias = 16


@pytest.mark.parametrize(
    "unknown",
    ["float17", "", "fp1 6x", "complex64", np.complex64, np.dtype("bool"), None, 3, [16], "e", "e5", "m3", "e5m",
     "exmy", "binary16x", "int3", "nf5", "float8", "exmy(5, 2", "exmy()+1", "codebook(16 values)"],
)  # fmt: skip
def test_an_unknown_format_is_refused_and_the_known_ones_are_listed(unknown):
    with pytest.raises(bq.BitquantError, match=r"no format is called|cannot be read as exmy") as caught:
        bq.format(unknown)
    if "cannot be read" not in str(caught.value):
        assert all(fmt.name in str(caught.value) for fmt in bq.formats())


@pytest.mark.parametrize("fmt", bq.formats(), ids=lambda fmt: fmt.name)
def test_check_code_refuses_what_has_too_many_bits(fmt):
    fmt.check_code(0)
    fmt.check_code(2**fmt.bits - 1)
    for code in (-1, 2**fmt.bits):
        with pytest.raises(bq.BitquantError, match=f"{code:#x} is no code of {fmt.name}, which has {fmt.bits} bits"):
            fmt.check_code(code)


def test_errors_are_value_errors():
    assert issubclass(bq.BitquantError, ValueError)
