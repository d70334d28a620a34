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

FLOATS = [fmt for fmt in bq.formats() if not fmt.is_integer]
INTEGERS = [fmt for fmt in bq.formats() if fmt.is_integer]

# IEEE 754-2019 table 3.5; NVIDIA A100 whitepaper (tfloat32); Intel BFLOAT16 hardware numerics definition.
# name, bits, w, t, bias, max, min normal, min subnormal, finite values
TABLE = [
    ("float64", 64, 11, 52, 1023, "0x1.fffffffffffffp+1023", -1022, -1074, 2 * (2047 * 2**52) - 1),
    ("float32", 32, 8, 23, 127, "0x1.fffffep+127", -126, -149, 2 * (255 * 2**23) - 1),
    ("tfloat32", 19, 8, 10, 127, "0x1.ffcp+127", -126, -136, 2 * (255 * 2**10) - 1),
    ("float16", 16, 5, 10, 15, "0x1.ffcp+15", -14, -24, 2 * (31 * 2**10) - 1),
    ("bfloat16", 16, 8, 7, 127, "0x1.fep+127", -126, -133, 2 * (255 * 2**7) - 1),
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
    ("int8", 2.10, 42.1),
    ("uint8", 2.41, 48.1),
]


def test_every_row_of_the_table_is_checked_here_and_judged_by_the_reference():
    assert [fmt.name for fmt in FLOATS] == [row[0] for row in TABLE]
    assert {fmt.name for fmt in bq.formats()} == set(reference.FORMATS)
    assert {fmt.name for fmt in bq.formats()} == {row[0] for row in DYNAMIC_RANGE}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_floating_formats_have_the_published_fields_and_ends(row):
    name, bits, w, t, bias, largest, normal, subnormal, count = row
    fmt = bq.format(name)
    assert (fmt.bits, fmt.exponent_bits, fmt.significand_bits, fmt.bias) == (bits, w, t, bias)
    assert (fmt.kind, fmt.is_integer, fmt.signed, fmt.precision) == ("float", False, True, t + 1)
    assert fmt.magnitude_bits == bits - 1
    assert fmt.max == float.fromhex(largest) == -fmt.min
    assert fmt.smallest_normal == 2.0**normal
    assert Fraction(fmt.smallest_subnormal) == Fraction(1, 2**-subnormal)
    assert fmt.epsilon == 2.0**-t
    assert fmt.finite_count == count
    assert (fmt.min_exponent, fmt.max_exponent) == (normal, math.frexp(fmt.max)[1] - 1)


@pytest.mark.parametrize("row", PRINTED, ids=lambda row: row[0])
def test_limits_read_as_the_textbooks_print_them(row):
    fmt = bq.format(row[0])
    assert (fmt.max, fmt.smallest_normal, fmt.smallest_subnormal, fmt.epsilon) == row[1:]


@pytest.mark.parametrize(
    ("name", "low", "high", "bits", "signed"), [("int8", -128, 127, 8, True), ("uint8", 0, 255, 8, False)]
)
def test_integer_formats_have_the_published_ends(name, low, high, bits, signed):
    fmt = bq.format(name)
    assert (fmt.min, fmt.max, fmt.bits, fmt.signed) == (low, high, bits, signed)
    assert (fmt.kind, fmt.is_integer, fmt.exponent_bits) == ("integer", True, 0)
    assert fmt.finite_count == 256
    assert fmt.smallest_normal == fmt.smallest_subnormal == fmt.epsilon == 1.0
    assert fmt.largest_code == high


@pytest.mark.parametrize("row", DYNAMIC_RANGE, ids=lambda row: row[0])
def test_dynamic_range_is_the_logarithm_of_largest_over_smallest(row):
    name, decades, decibels = row
    fmt = bq.format(name)
    assert fmt.decades == pytest.approx(decades, abs=0.006)
    assert fmt.decibels == pytest.approx(decibels, abs=0.06)


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda fmt: fmt.name)
def test_special_codes_decode_to_what_they_are_called(fmt):
    judge = reference.FORMATS[fmt.name]
    assert reference.decode(fmt.infinity_code, judge).kind == "infinity"
    assert reference.decode(fmt.nan_code, judge) == (
        "nan",
        0,
        1 << (fmt.significand_bits - 1),
        1 << fmt.significand_bits,
    )
    assert reference.decode(fmt.largest_code, judge).fraction == Fraction(fmt.max)
    assert fmt.largest_code + 1 == fmt.infinity_code


@pytest.mark.parametrize("fmt", [bq.FP32, bq.FP16, bq.BF16], ids=lambda fmt: fmt.name)
def test_limits_agree_with_finfo(fmt):
    info = ml_dtypes.finfo(fmt.dtype)
    assert fmt.max == float(info.max)
    assert fmt.min == float(info.min)
    assert fmt.smallest_normal == float(info.smallest_normal)
    assert fmt.smallest_subnormal == float(info.smallest_subnormal)
    assert fmt.epsilon == float(info.eps)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("float64", "u8"), ("float32", "u4"), ("tfloat32", "u4"), ("float16", "u2"), ("bfloat16", "u2"),
     ("int8", "u1"), ("uint8", "u1")],
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
]


@pytest.mark.parametrize(("name", "x", "ulp", "why"), SPACINGS)
def test_spacing_is_one_ulp(name, x, ulp, why):
    assert bq.format(name).spacing(x) == ulp, why


@pytest.mark.parametrize(
    ("name", "x"), [("float16", math.nan), ("float16", math.inf), ("float16", 65536.0), ("int8", 200.0)]
)
def test_spacing_outside_the_finite_range_is_nan(name, x):
    assert math.isnan(bq.format(name).spacing(x))


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda fmt: fmt.name)
def test_spacing_agrees_with_the_reference_at_every_binade(fmt):
    judge = reference.FORMATS[fmt.name]
    for place in sorted(reference.edge_places(judge) - {judge.infinity}):
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
    assert bq.formats() == (bq.FP64, bq.FP32, bq.TF32, bq.FP16, bq.BF16, bq.INT8, bq.UINT8)


DTYPES = [
    ("float64", np.float64),
    ("float32", np.float32),
    ("float16", np.float16),
    ("bfloat16", ml_dtypes.bfloat16),
    ("int8", np.int8),
    ("uint8", np.uint8),
]


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
        if fmt.dtype is not None:
            assert bq.format(getattr(torch, fmt.name)) is fmt


def test_a_format_is_its_own_lookup():
    assert all(bq.format(fmt) is fmt for fmt in bq.formats())


@pytest.mark.parametrize("fmt", bq.formats(), ids=lambda fmt: fmt.name)
def test_pickling_and_copying_return_the_same_row(fmt):
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
    "unknown", ["float17", "", "fp1 6x", "complex64", np.complex64, np.dtype("int64"), None, 3, [16]]
)
def test_an_unknown_format_is_refused_and_the_known_ones_are_listed(unknown):
    with pytest.raises(bq.BitquantError, match="no format is called") as caught:
        bq.format(unknown)
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
