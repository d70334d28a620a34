"""The table of formats against the tables of the standards, worked out by hand."""

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
from judging import BOOKS, CUSTOM, EVERY, P3109, judge_of, ours_of

FLOATS = [fmt for fmt in bq.formats() if fmt.kind == "float"]
INTEGERS = [fmt for fmt in bq.formats() if fmt.is_integer]

# IEEE 754-2019 table 3.5; NVIDIA A100 whitepaper (tfloat32); Intel BFLOAT16 hardware numerics definition; OCP OFP8 1.0
# and MX 1.0; LLVM APFloat (float8_e4m3, float8_e3m4, float8_e4m3b11fnuz); arXiv 2206.02915 (fnuz).
# name, bits, w, t, bias, max, min normal, min subnormal, finite values
TABLE = [
    ("float64", 64, 11, 52, 1023, "0x1.fffffffffffffp+1023", -1022, -1074, 2 * (2047 * 2**52) - 1),
    ("float32", 32, 8, 23, 127, "0x1.fffffep+127", -126, -149, 2 * (255 * 2**23) - 1),
    ("tfloat32", 19, 8, 10, 127, "0x1.ffcp+127", -126, -136, 2 * (255 * 2**10) - 1),
    ("float16", 16, 5, 10, 15, "0x1.ffcp+15", -14, -24, 2 * (31 * 2**10) - 1),
    ("bfloat16", 16, 8, 7, 127, "0x1.fep+127", -126, -133, 2 * (255 * 2**7) - 1),
    ("float8_e5m2", 8, 5, 2, 15, "0x1.cp+15", -14, -16, 247),
    ("float8_e4m3", 8, 4, 3, 7, "0x1.ep+7", -6, -9, 239),
    ("float8_e3m4", 8, 3, 4, 3, "0x1.fp+3", -2, -6, 223),
    ("float8_e4m3fn", 8, 4, 3, 7, "0x1.cp+8", -6, -9, 253),
    ("float8_e4m3fnuz", 8, 4, 3, 8, "0x1.ep+7", -7, -10, 255),
    ("float8_e5m2fnuz", 8, 5, 2, 16, "0x1.cp+15", -15, -17, 255),
    ("float8_e4m3b11fnuz", 8, 4, 3, 11, "0x1.ep+4", -10, -13, 255),
    ("float6_e3m2fn", 6, 3, 2, 3, "0x1.cp+4", -2, -4, 63),
    ("float6_e2m3fn", 6, 2, 3, 1, "0x1.ep+2", 0, -3, 63),
    ("float4_e2m1fn", 4, 2, 1, 1, "0x1.8p+2", 0, -1, 15),
    ("float8_e8m0fnu", 8, 8, 0, 127, "0x1p+127", -127, -127, 255),
]

# The same numbers as textbooks print them.
PRINTED = [
    ("float64", 1.7976931348623157e308, 2.2250738585072014e-308, 5e-324, 2.220446049250313e-16),
    ("float32", 3.4028234663852886e38, 1.1754943508222875e-38, 1.401298464324817e-45, 1.1920928955078125e-07),
    ("float16", 65504.0, 6.103515625e-05, 5.960464477539063e-08, 0.0009765625),
    ("bfloat16", 3.3895313892515355e38, 1.1754943508222875e-38, 9.183549615799121e-41, 0.0078125),
]

# name, decades, decibels to a tenth: log10(max / smallest subnormal)
DYNAMIC_RANGE = [
    ("float64", 631.56, 12631.2),
    ("float32", 83.39, 1667.7),
    ("tfloat32", 79.47, 1589.4),
    ("float16", 12.04, 240.8),
    ("bfloat16", 78.57, 1571.3),
    ("float8_e5m2", 9.57, 191.5),
    ("float8_e4m3fn", 5.36, 107.2),
    ("float4_e2m1fn", 1.08, 21.6),
    ("float8_e8m0fnu", 76.46, 1529.2),
    ("int4", 0.85, 16.9),
    ("int8", 2.10, 42.1),
    ("uint8", 2.41, 48.1),
    ("uint64", 19.27, 385.3),
    ("nf4", 1.10, 22.0),
    ("iq4_nl", 2.10, 42.1),
]


def test_every_row_of_the_table_is_checked_here_and_judged_by_the_reference():
    assert [fmt.name for fmt in FLOATS] == [row[0] for row in TABLE]
    assert {fmt.name for fmt in bq.formats()} == set(reference.FORMATS)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_floating_formats_have_the_published_fields_and_ends(row):
    name, bits, w, t, bias, largest, normal, subnormal, count = row
    fmt = bq.format(name)
    assert (fmt.bits, fmt.exponent_bits, fmt.significand_bits, fmt.bias) == (bits, w, t, bias)
    assert (fmt.kind, fmt.is_integer, fmt.signed, fmt.precision) == ("float", False, bits > w + t, t + 1)
    assert fmt.magnitude_bits == w + t
    assert fmt.max == float.fromhex(largest)
    assert fmt.min == (-fmt.max if fmt.signed else 2.0**subnormal)
    assert fmt.smallest_normal == 2.0**normal
    assert Fraction(fmt.smallest_subnormal) == Fraction(1, 2**-subnormal)
    assert fmt.epsilon == 2.0**-t
    assert fmt.finite_count == count
    assert (fmt.min_exponent, fmt.max_exponent) == (normal, math.frexp(fmt.max)[1] - 1)


@pytest.mark.parametrize("row", PRINTED, ids=lambda row: row[0])
def test_limits_read_as_the_textbooks_print_them(row):
    fmt = bq.format(row[0])
    assert (fmt.max, fmt.smallest_normal, fmt.smallest_subnormal, fmt.epsilon) == row[1:]


@pytest.mark.parametrize("bits", [2, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("signed", [True, False])
def test_integer_formats_have_the_published_ends(bits, signed):
    fmt = bq.format(f"{'' if signed else 'u'}int{bits}")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    assert (fmt.min, fmt.max, fmt.bits, fmt.signed) == (low, high, bits, signed)
    assert (fmt.kind, fmt.is_integer, fmt.exponent_bits) == ("integer", True, 0)
    assert fmt.finite_count == 2**bits
    assert fmt.smallest_normal == fmt.smallest_subnormal == fmt.epsilon == 1.0
    assert fmt.largest_code == high


@pytest.mark.parametrize("name", [*P3109, *CUSTOM])
def test_formats_made_from_a_rule_have_the_ends_of_the_reference(name):
    judge, fmt = judge_of(name), ours_of(name)
    assert (fmt.bits, fmt.exponent_bits, fmt.significand_bits) == (judge.bits, judge.exponent_bits, judge.precision - 1)
    assert (fmt.bias, fmt.signed, fmt.infinity, fmt.nan) == (judge.bias, judge.signed, judge.has_infinity, judge.nan)
    assert Fraction(fmt.max) == reference.value_at(judge.largest, judge)
    assert fmt.min == (-fmt.max if judge.signed else 0)
    assert Fraction(fmt.smallest_normal) == Fraction(2) ** judge.emin
    assert Fraction(fmt.smallest_subnormal) == reference.value_at(1, judge)
    kinds = [reference.decode(code, judge).kind for code in range(judge.code_count)] if judge.bits <= 16 else []
    assert not kinds or fmt.finite_count == kinds.count("finite") - judge.signed_zero


@pytest.mark.parametrize("name", ["nf4", "iq4_nl", *BOOKS])
def test_codebooks_have_the_values_of_the_reference(name):
    judge, fmt = judge_of(name), ours_of(name)
    assert [Fraction(value) for value in fmt.values] == list(judge.values)
    assert (fmt.kind, fmt.bits, fmt.finite_count) == ("codebook", judge.bits, len(judge.values))
    assert (fmt.min, fmt.max, fmt.largest_code) == (fmt.values[0], fmt.values[-1], len(fmt.values) - 1)


@pytest.mark.parametrize("row", DYNAMIC_RANGE, ids=lambda row: row[0])
def test_dynamic_range_is_the_logarithm_of_largest_over_smallest(row):
    name, decades, decibels = row
    fmt = bq.format(name)
    assert fmt.decades == pytest.approx(decades, abs=0.006)
    assert fmt.decibels == pytest.approx(decibels, abs=0.06)


@pytest.mark.parametrize("name", [name for name in EVERY if judge_of(name).kind == "float"])
def test_special_codes_decode_to_what_they_are_called(name):
    judge, fmt = judge_of(name), ours_of(name)
    assert fmt.infinity_code == judge.infinity
    assert fmt.nan_code == (reference.nan_code(judge, 0) if judge.nan else None)
    assert fmt.largest_code == judge.largest
    assert reference.decode(fmt.largest_code, judge).fraction == Fraction(fmt.max)
    assert fmt.signed_zero == judge.signed_zero


@pytest.mark.parametrize("fmt", [fmt for fmt in FLOATS if fmt.dtype is not None], ids=lambda fmt: fmt.name)
def test_limits_agree_with_finfo(fmt):
    info = ml_dtypes.finfo(fmt.dtype)
    assert fmt.max == float(info.max)
    assert fmt.min == float(info.min)
    assert fmt.smallest_normal == float(info.smallest_normal)
    assert fmt.smallest_subnormal == float(info.smallest_subnormal)
    assert fmt.epsilon == float(info.eps)
    assert fmt.bits == info.bits


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("float64", "u8"), ("float32", "u4"), ("tfloat32", "u4"), ("float16", "u2"), ("bfloat16", "u2"),
     ("int8", "u1"), ("uint8", "u1"), ("float8_e8m0fnu", "u1"), ("float6_e3m2fn", "u1"), ("int4", "u1"),
     ("uint2", "u1"), ("int16", "u2"), ("uint32", "u4"), ("int64", "u8"), ("nf4", "u1"),
     ("binary8p3se", "u1"), ("binary9p3se", "u2"), ("e8m15", "u4"), ("e8m31", "u8")],
)  # fmt: skip
def test_codes_lie_in_the_smallest_unsigned_word(name, dtype):
    assert bq.format(name).code_dtype == np.dtype(dtype)


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
    ("int8", 100.0, 1.0, "integers"),
    ("uint8", 0.25, 1.0, "integers"),
    ("float8_e4m3fn", 448.0, 32.0, "largest number"),
    ("float4_e2m1fn", 0.25, 0.5, "the one subnormal"),
    ("float8_e8m0fnu", 3.0, 2.0, "one digit: the binade itself"),
    ("binary8p1se", 3.0, 2.0, "one digit"),
    ("iq4_nl", 5.0, 12.0, "from 1 to 13"),
    ("iq4_nl", 1.0, 12.0, "up from a value"),
    ("iq4_nl", 113.0, 24.0, "down from the last"),
]


@pytest.mark.parametrize(("name", "x", "ulp", "why"), SPACINGS)
def test_spacing_is_one_ulp(name, x, ulp, why):
    assert bq.format(name).spacing(x) == ulp, why


@pytest.mark.parametrize(
    ("name", "x"),
    [("float16", math.nan), ("float16", math.inf), ("float16", 65536.0), ("int8", 200.0), ("float8_e4m3fn", 449.0),
     ("iq4_nl", 114.0), ("binary8p3ue", -1.0), ("float8_e8m0fnu", 0.0)],
)  # fmt: skip
def test_spacing_outside_the_finite_range_is_nan(name, x):
    assert math.isnan(bq.format(name).spacing(x))


@pytest.mark.parametrize("name", [name for name in EVERY if judge_of(name).kind == "float"])
def test_spacing_agrees_with_the_reference_at_every_binade(name):
    judge, fmt = judge_of(name), ours_of(name)
    for place in sorted(place for place in reference.edge_places(judge) if place <= judge.largest):
        value = reference.value_at(place, judge)
        assert Fraction(fmt.spacing(float(value))) == reference.spacing(value, judge), hex(place)


# --- Lookup -------------------------------------------------------------------------------------------------

LOOKUPS = [
    ("float64", "fp64 f64 double binary64 FP64 Float64 torch.float64"),
    ("float32", "fp32 f32 single float binary32 FP32 float_32 torch.float32"),
    ("tfloat32", "tf32 TF32 tensorfloat32"),
    ("float16", "fp16 f16 half binary16 FP16 float-16 torch.float16"),
    ("bfloat16", "bf16 BF16 brain BFloat16 torch.bfloat16"),
    ("int8", "i8 s8 INT8 torch.int8"),
    ("uint8", "u8 UINT8 torch.uint8"),
    ("float8_e4m3fn", "e4m3fn E4M3FN Float8_E4M3FN torch.float8_e4m3fn"),
    ("float8_e8m0fnu", "e8m0 torch.float8_e8m0fnu"),
    ("float4_e2m1fn", "fp4 FP4 e2m1fn"),
    ("int16", "i16 torch.int16"),
    ("uint64", "UINT64"),
    ("nf4", "NF4"),
    ("iq4_nl", "IQ4_NL"),
    ("binary8p3se", "Binary8p3se BINARY8P3SE"),
    ("binary16p11uf", "Binary16P11uf"),
]


@pytest.mark.parametrize(("name", "others"), LOOKUPS)
def test_formats_are_found_by_name_and_alias_in_any_case(name, others):
    fmt = bq.format(name)
    assert fmt.name == name
    for other in (*others.split(), *fmt.aliases, name.upper()):
        assert bq.format(other) is fmt, other


def test_no_two_formats_share_a_name():
    names = [name for fmt in bq.formats() for name in (fmt.name, *fmt.aliases)]
    assert len(names) == len(set(names))


def test_constants_are_the_rows():
    names = {value.name: name for name, value in vars(bq).items() if isinstance(value, bq.Format)}
    assert set(names) <= {fmt.name for fmt in bq.formats()}
    assert all(getattr(bq, names[fmt.name]) is fmt for fmt in bq.formats() if fmt.name in names)
    assert bq.formats()[:5] == (bq.FP64, bq.FP32, bq.TF32, bq.FP16, bq.BF16)


DTYPES = [
    ("float64", np.float64),
    ("float32", np.float32),
    ("float16", np.float16),
    ("bfloat16", ml_dtypes.bfloat16),
    *((f"{sign}int{bits}", getattr(np, f"{sign}int{bits}")) for bits in (8, 16, 32, 64) for sign in ("", "u")),
    *((fmt.name, getattr(ml_dtypes, fmt.name)) for fmt in bq.formats() if fmt.bits <= 8 and fmt.dtype is not None
      and hasattr(ml_dtypes, fmt.name)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), DTYPES)
def test_formats_are_found_by_dtype_and_scalar_type(name, kind):
    fmt = bq.format(name)
    assert bq.format(kind) is fmt
    assert bq.format(np.dtype(kind)) is fmt
    assert fmt.dtype == np.dtype(kind)


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
def test_formats_are_found_by_dtype_of_either_byte_order(name):
    for order in "<>=":
        assert bq.format(np.dtype(name).newbyteorder(order)) is bq.format(name), order


def test_formats_are_found_by_torch_dtype():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    for fmt in bq.formats():
        if hasattr(torch, fmt.name):
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


def test_formats_are_hashable_and_frozen():
    assert len({*bq.formats(), *bq.formats()}) == len(bq.formats())
    with pytest.raises(AttributeError):
        bq.FP16.bias = 16


def test_repr_names_the_format():
    assert repr(bq.BF16) == "<Format bfloat16>"


@pytest.mark.parametrize(
    "unknown", ["float17", "", "fp1 6x", "complex64", np.complex64, np.dtype("bool"), None, 3, [16]]
)
def test_an_unknown_format_is_refused_and_the_known_ones_are_listed(unknown):
    with pytest.raises(bq.BitquantError, match="no format is called") as caught:
        bq.format(unknown)
    assert all(fmt.name in str(caught.value) for fmt in bq.formats())


# --- Formats made from a rule -------------------------------------------------------------------------------


def test_p3109_is_found_by_its_name_and_always_the_same():
    fmt = bq.format("Binary8P3SE")
    assert fmt.name == "binary8p3se"
    assert fmt is bq.format("binary8p3se")
    assert fmt in bq.formats("p3109")


@pytest.mark.parametrize(
    "name", ["binary2p1se", "binary17p3se", "binary8p8se", "binary8p0ue", "binary8p9uf", "binary16p1se"]
)
def test_p3109_formats_that_are_not_there_are_refused_by_name(name):
    with pytest.raises(bq.BitquantError, match=name):
        bq.format(name)


def test_exmy_returns_the_row_of_the_table_where_that_is_the_same():
    assert bq.exmy(5, 10) is bq.FP16
    assert bq.exmy(8, 23) is bq.FP32
    assert bq.exmy(4, 3, nan="all_ones") is bq.format("float8_e4m3fn")
    assert bq.exmy(4, 3, bias=11, nan="negative_zero") is bq.format("float8_e4m3b11fnuz")
    assert bq.exmy(2, 1, nan=None) is bq.format("float4_e2m1fn")
    assert bq.exmy(4, 3, bias=8) is not bq.format("float8_e4m3")
    assert bq.exmy(6, 3) is bq.exmy(6, 3) is bq.format("e6m3") is bq.format(bq.exmy(6, 3).name)


@pytest.mark.parametrize("name", CUSTOM)
def test_custom_formats_are_found_by_the_name_they_print(name):
    assert bq.format(name) is ours_of(name)
    assert bq.format(name).name == name


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        ((12, 3), {}),
        ((0, 3), {}),
        ((4, 53), {}),
        ((4, -1), {}),
        ((4, 0), {}),  # ieee needs a significand
        ((1, 3), {}),  # and an exponent that is not all specials
        ((4, 3), {"infinity": False}),  # ieee has infinity
        ((4, 3), {"nan": "negative_zero", "signed": False}),
        ((4, 3), {"nan": "top"}),
        ((11, 52), {"nan": None}),  # twice the range of float64
        ((3, 3), {"bias": 1100}),
        ((3, 3), {"bias": -1030}),
        ((4, 3), {"bias": 1.5}),
        ((4.0, 3), {}),
    ],
)
def test_formats_that_cannot_be_are_refused(given, rules):
    with pytest.raises(bq.BitquantError):
        bq.exmy(*given, **rules)


@pytest.mark.parametrize(
    "values", [[], [1.0], [1.0, 1.0], [2.0, 1.0], [0.0, math.inf], [math.nan, 1.0], ["a", "b"], range(1 << 17), 3]
)
def test_codebooks_that_cannot_be_are_refused(values):
    with pytest.raises(bq.BitquantError):
        bq.codebook(values)


@pytest.mark.parametrize("fmt", bq.formats(), ids=lambda fmt: fmt.name)
def test_check_code_refuses_what_has_too_many_bits(fmt):
    fmt.check_code(0)
    fmt.check_code(2**fmt.bits - 1)
    for code in (-1, 2**fmt.bits):
        with pytest.raises(bq.BitquantError, match=f"{code:#x} is no code of {fmt.name}, which has {fmt.bits} bits"):
            fmt.check_code(code)


def test_errors_are_value_errors():
    assert issubclass(bq.BitquantError, ValueError)
