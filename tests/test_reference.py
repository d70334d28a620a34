"""The judge is judged: `reference.py` against what it is not.

Python's own `struct`, `math` and `round(Fraction)`, a search through a list of all numbers of a format,
NumPy's and ml_dtypes' casts from float32, and tables worked out by hand.
"""

from __future__ import annotations

import math
import random
import struct
from bisect import bisect_left, bisect_right
from fractions import Fraction
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest

from reference import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    FORMATS,
    INT8,
    ROUNDINGS,
    TFLOAT32,
    UINT8,
    Format,
    Refused,
    boundaries,
    code_range,
    convert,
    decode,
    dequantize,
    neighbours,
    ordered,
    parameters,
    quantize,
    round_quotient,
    spacing,
    ulp_distance,
)

SEED = 20190722  # the day IEEE 754-2019 was published
STRUCT = {"float64": ("<d", "<Q"), "float32": ("<f", "<I"), "float16": ("<e", "<H")}


def f32(text: str) -> int:
    """Return the code of a float32 number written in hexadecimal, which float32 has to hold."""
    value = float.fromhex(text)
    code = struct.unpack("<I", struct.pack("<f", value))[0]
    assert struct.unpack("<f", struct.pack("<I", code))[0] == value
    return code


def f64(value: float) -> int:
    """Return the code of a float64 number."""
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def as_float(code: int, fmt: Format) -> float:
    """Read a code with `struct`; bfloat16 and tfloat32 are the upper part of a float32."""
    if fmt in (BFLOAT16, TFLOAT32):
        code, fmt = code << (32 - fmt.bits), FLOAT32
    of_value, of_code = STRUCT[fmt.name]
    return struct.unpack(of_value, struct.pack(of_code, code))[0]


def some_codes(fmt: Format, count: int = 3000) -> list[int]:
    """Every code of a format of up to 16 bits; of a larger one a sample, the same each time."""
    if fmt.bits <= 16:
        return list(range(1 << fmt.bits))
    draw = random.Random(SEED)
    edges = [0, 1, 2, fmt.quiet_bit, 2 * fmt.quiet_bit - 1, 2 * fmt.quiet_bit, fmt.largest, fmt.infinity]
    edges += [fmt.sign_bit | code for code in edges]
    return edges + [draw.randrange(1 << fmt.bits) for _ in range(count)]


FLOATS = [fmt for fmt in FORMATS.values() if fmt.kind == "float"]


# --- Decode -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda fmt: fmt.name)
def test_decode_agrees_with_struct(fmt):
    for code in some_codes(fmt):
        number, expected = decode(code, fmt), as_float(code, fmt)
        if math.isfinite(expected):
            assert number.fraction == Fraction(expected), hex(code)
        else:
            assert number.kind == ("nan" if math.isnan(expected) else "infinity"), hex(code)
        assert number.sign == (math.copysign(1, expected) < 0), hex(code)


@pytest.mark.parametrize(("fmt", "dtype"), [(INT8, np.int8), (UINT8, np.uint8)], ids=["int8", "uint8"])
def test_decode_agrees_with_integers(fmt, dtype):
    expected = np.arange(256, dtype=np.uint8).view(dtype)
    assert [decode(code, fmt).fraction for code in range(256)] == expected.tolist()


@pytest.mark.parametrize(
    ("code", "fmt", "sign", "quiet", "payload"),
    [
        (0x7FC00000, FLOAT32, 0, True, 0),  # x86 writes the sign of this one set, Arm does not
        (0xFFC00001, FLOAT32, 1, True, 1),
        (0x7F800001, FLOAT32, 0, False, 1),
        (0x7FA00000, FLOAT32, 0, False, 0x200000),
        (0x7E00, FLOAT16, 0, True, 0),
        (0xFDFF, FLOAT16, 1, False, 0x1FF),
        (0x7FFFFFFFFFFFFFFF, FLOAT64, 0, True, 2**51 - 1),
    ],
)
def test_decode_tells_nans_apart(code, fmt, sign, quiet, payload):
    number = decode(code, fmt)
    assert (number.kind, number.sign, number.quiet, number.payload) == ("nan", sign, quiet, payload)


@pytest.mark.parametrize(
    ("fmt", "largest", "smallest_normal", "smallest"),
    [  # IEEE 754-2019 clause 3.4 worked out; bfloat16 as float32 with 8 digits
        (FLOAT64, "0x1.fffffffffffffp1023", "0x1p-1022", "0x1p-1074"),
        (FLOAT32, "0x1.fffffep127", "0x1p-126", "0x1p-149"),
        (TFLOAT32, "0x1.ffcp127", "0x1p-126", "0x1p-136"),
        (FLOAT16, "0x1.ffcp15", "0x1p-14", "0x1p-24"),
        (BFLOAT16, "0x1.fep127", "0x1p-126", "0x1p-133"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_formats_end_where_they_should(fmt, largest, smallest_normal, smallest):
    codes = fmt.largest, 1 << fmt.significand_bits, 1
    expected = [Fraction(float.fromhex(text)) for text in (largest, smallest_normal, smallest)]
    assert [decode(code, fmt).fraction for code in codes] == expected


# --- Rounding -----------------------------------------------------------------------------------------------


def test_round_quotient_agrees_with_python():
    """Python's round is nearest-even on a Fraction; floor, ceil and trunc are the directed modes."""
    for numerator in range(-40, 41):
        for denominator in range(1, 13):
            x = Fraction(numerator, denominator)
            nearest = {n for n in (math.floor(x), math.ceil(x)) if abs(n - x) <= Fraction(1, 2)}
            expected = {
                "nearest_even": round(x),
                "nearest_away": max(nearest, key=abs),
                "toward_zero": math.trunc(x),
                "toward_positive": math.ceil(x),
                "toward_negative": math.floor(x),
                "to_odd": int(x) if x.denominator == 1 else math.floor(x) | 1,
            }
            assert {mode: round_quotient(numerator, denominator, mode) for mode in ROUNDINGS} == expected, x


def numbers_in_order(fmt: Format) -> list[tuple[Fraction, int]]:
    """List the finite numbers of a small format with their magnitude codes, sorted, with a single zero."""
    positive = [(decode(code, fmt).fraction, code) for code in range(fmt.infinity)]
    return sorted([(-value, code) for value, code in positive[1:]] + positive)


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_convert_agrees_with_a_search(fmt, rounding):
    """Within the range: the definitions of clause 4.3 on the two numbers around x, found in a list of all."""
    table = numbers_in_order(fmt)
    values = [value for value, _ in table]
    draw = random.Random(SEED)
    for _ in range(1500):
        at = draw.randrange(len(table) - 1)
        a, b = values[at], values[at + 1]
        x = a + (b - a) * Fraction(draw.randrange(9), 8)  # few digits: float64 holds it
        below, above = table[bisect_right(values, x) - 1], table[bisect_left(values, x)]
        expected = {
            "nearest_even": min(below, above, key=lambda row: (abs(row[0] - x), row[1] % 2)),
            "nearest_away": min(below, above, key=lambda row: (abs(row[0] - x), -abs(row[0]))),
            "toward_zero": min(below, above, key=lambda row: abs(row[0])),
            "toward_positive": above,
            "toward_negative": below,
            "to_odd": below if below == above else max(below, above, key=lambda row: row[1] % 2),
        }[rounding]
        code, flags = convert(f64(float(x)), FLOAT64, fmt, rounding)
        assert (code & (fmt.sign_bit - 1), code & fmt.sign_bit != 0) == (expected[1], x < 0), (x, rounding)
        assert ("inexact" in flags) == (expected[0] != x)


def test_float64_to_float32_agrees_with_struct():
    """`struct` casts in C, nearest-even, and raises OverflowError for what would become infinite."""
    for code in boundaries(FLOAT64, FLOAT32, samples=500):
        x = as_float(code, FLOAT64)
        if math.isnan(x):
            continue
        try:
            expected = struct.unpack("<I", struct.pack("<f", x))[0]
        except OverflowError:
            expected = FLOAT32.infinity | (FLOAT32.sign_bit if x < 0 else 0)
        assert convert(code, FLOAT64, FLOAT32)[0] == expected, x.hex()


def test_rationals_to_float64_agree_with_float_of_fraction():
    """float(Fraction) is correctly rounded division of integers, to nearest even."""
    draw = random.Random(SEED)
    for _ in range(2000):
        q, scale = draw.randrange(-128, 128), Fraction(draw.randrange(1, 2**60), draw.randrange(1, 2**60))
        assert dequantize(q, scale, 7, FLOAT64) == f64(float((q - 7) / scale) + 0.0)


@pytest.mark.parametrize(
    ("target", "dtype"), [(FLOAT16, np.float16), (BFLOAT16, ml_dtypes.bfloat16)], ids=["float16", "bfloat16"]
)
def test_float32_to_16_bits_agrees_with_numpy_and_ml_dtypes(target, dtype):
    """From float32 alone: from float64 ml_dtypes rounds twice, by way of float32."""
    codes = list(boundaries(FLOAT32, target, samples=1500, whole=0))
    with np.errstate(all="ignore"):
        theirs = np.array(codes, dtype=np.uint32).view(np.float32).astype(dtype).view(np.uint16).tolist()
    for code, their in zip(codes, theirs, strict=True):
        if decode(code, FLOAT32).kind == "nan":
            assert decode(their, target).kind == "nan"  # payloads are each library's own affair
        else:
            assert convert(code, FLOAT32, target)[0] == their, hex(code)


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda fmt: fmt.name)
def test_widening_is_exact(fmt):
    for code in some_codes(fmt, 1000):
        number = decode(code, fmt)
        if number.kind == "finite":
            wide, flags = convert(code, fmt, FLOAT64)
            assert (as_float(wide, FLOAT64), flags) == (as_float(code, fmt), EXACT)
            assert convert(wide, FLOAT64, fmt) == (code, flags)


# --- Convert: edges by hand ---------------------------------------------------------------------------------

NE, NA, TZ, TP, TN, TO = ROUNDINGS
OVERFLOW, UNDERFLOW = {"overflow", "inexact"}, {"underflow", "inexact"}
INEXACT, INVALID, EXACT = {"inexact"}, {"invalid"}, set()


@pytest.mark.parametrize(
    ("source", "rounding", "expected", "flags", "why"),
    [
        # Halfway between 1 and 1 + 2^-10, and one float32 ulp to either side.
        ("0x1.002p0", NE, 0x3C00, INEXACT, "tie to even, down"),
        ("0x1.002p0", NA, 0x3C01, INEXACT, "tie away"),
        ("-0x1.002p0", NA, 0xBC01, INEXACT, "tie away is by magnitude"),
        ("0x1.006p0", NE, 0x3C02, INEXACT, "tie to even, up"),
        ("0x1.001ffep0", NE, 0x3C00, INEXACT, "just below the tie"),
        ("0x1.001ffep0", NA, 0x3C00, INEXACT, "just below the tie"),
        ("0x1.002002p0", NE, 0x3C01, INEXACT, "just above the tie"),
        ("0x1.002p0", TO, 0x3C01, INEXACT, "the odd neighbour above"),
        ("0x1.006p0", TO, 0x3C01, INEXACT, "the odd neighbour below"),
        ("0x1.008p0", TO, 0x3C02, EXACT, "exact stays, though even"),
        ("0x1.002p0", TP, 0x3C01, INEXACT, "up"),
        ("-0x1.002p0", TP, 0xBC00, INEXACT, "up is toward zero for a negative number"),
        ("0x1.006p0", TN, 0x3C01, INEXACT, "down"),
        ("-0x1.002p0", TN, 0xBC01, INEXACT, "down is away from zero for a negative number"),
        ("0x1.ffep0", NE, 0x4000, INEXACT, "a tie that carries into the exponent"),
        ("0x1.ffep0", TO, 0x3FFF, INEXACT, "all ones is odd, the power of two above is even"),
        # The largest finite float16 is 65504, the next would be 65536, the threshold is 65520.
        ("0x1.ffdffep15", NE, 0x7BFF, INEXACT, "65519.996: to the largest, and no overflow"),
        ("0x1.ffep15", NE, 0x7C00, OVERFLOW, "65520: the tie goes to even, which is 65536"),
        ("0x1.ffdffep15", NA, 0x7BFF, INEXACT, "65519.996"),
        ("0x1.ffep15", NA, 0x7C00, OVERFLOW, "65520"),
        ("0x1.fffffep15", TZ, 0x7BFF, INEXACT, "rounds to the largest with unbounded exponent: no overflow"),
        ("0x1p16", TZ, 0x7BFF, OVERFLOW, "65536 is beyond it"),
        ("0x1.ffc002p15", TP, 0x7C00, OVERFLOW, "just above the largest, upward"),
        ("-0x1.ffc002p15", TP, 0xFBFF, INEXACT, "just below the lowest, upward"),
        ("-0x1p16", TP, 0xFBFF, OVERFLOW, "clause 7.4 c"),
        ("-0x1.ffc002p15", TN, 0xFC00, OVERFLOW, "just below the lowest, downward"),
        ("0x1p16", TN, 0x7BFF, OVERFLOW, "clause 7.4 d"),
        ("0x1.fffffep15", TO, 0x7BFF, INEXACT, "the largest is odd, 65536 even"),
        ("0x1p16", TO, 0x7BFF, OVERFLOW, "to_odd never makes an infinity"),
        ("0x1.ffcp15", TP, 0x7BFF, EXACT, "the largest is itself"),
        # Subnormals: steps of 2^-24.
        ("0x1p-24", NE, 0x0001, EXACT, "the smallest, exact: no underflow"),
        ("0x1p-25", NE, 0x0000, UNDERFLOW, "tie between 0 and the smallest, to even"),
        ("-0x1p-25", NE, 0x8000, UNDERFLOW, "and the sign stays"),
        ("0x1p-25", NA, 0x0001, UNDERFLOW, "tie away"),
        ("0x1.000002p-25", NE, 0x0001, UNDERFLOW, "just above the tie"),
        ("0x1.8p-24", NE, 0x0002, UNDERFLOW, "tie between 1 and 2 steps, to even"),
        ("0x1.4p-23", NE, 0x0002, UNDERFLOW, "tie between 2 and 3 steps, to even"),
        ("0x1p-149", TP, 0x0001, UNDERFLOW, "the smallest float32, upward"),
        ("-0x1p-149", TP, 0x8000, UNDERFLOW, "-0 from below"),
        ("0x1p-149", TO, 0x0001, UNDERFLOW, "to_odd never makes a zero"),
        ("0x0p0", TP, 0x0000, EXACT, "zero"),
        ("-0x0p0", TP, 0x8000, EXACT, "negative zero, whatever the direction"),
    ],
)
def test_float32_to_float16_edges(source, rounding, expected, flags, why):
    assert convert(f32(source), FLOAT32, FLOAT16, rounding) == (expected, flags), why


@pytest.mark.parametrize(
    ("code", "rounding", "expected", "after", "before", "why"),
    [  # Around 2^-14, code 0x38800000. One step of 11 digits below it is 2^-25, one subnormal step 2^-24.
        (0x38800000, NE, 0x0400, EXACT, EXACT, "2^-14 itself"),
        (0x387FFFFF, NE, 0x0400, INEXACT, UNDERFLOW, "just below: 11 digits make it 2^-14"),
        (0x387FF000, NE, 0x0400, INEXACT, UNDERFLOW, "2^-14 - 2^-26: the tie of 11 digits goes to 2^-14"),
        (0x387FEFFF, NE, 0x0400, UNDERFLOW, UNDERFLOW, "just below: 11 digits stay below, not the result"),
        (0x387FE000, NE, 0x0400, UNDERFLOW, UNDERFLOW, "2^-14 - 2^-25: exact in 11 digits, a subnormal tie"),
        (0x387FDFFF, NE, 0x03FF, UNDERFLOW, UNDERFLOW, "just below that tie"),
        (0x387FC000, NE, 0x03FF, EXACT, EXACT, "the largest subnormal: exact, so no underflow"),
        (0x387FF000, NA, 0x0400, INEXACT, UNDERFLOW, "tie away"),
        (0x387FE001, TP, 0x0400, INEXACT, UNDERFLOW, "upward from above 2^-14 - 2^-25"),
        (0x387FE000, TP, 0x0400, UNDERFLOW, UNDERFLOW, "upward, but exact in 11 digits"),
        (0xB87FE001, TN, 0x8400, INEXACT, UNDERFLOW, "the mirror image"),
        (0x387FFFFF, TZ, 0x03FF, UNDERFLOW, UNDERFLOW, "toward zero stays below"),
        (0x387FFFFF, TO, 0x03FF, UNDERFLOW, UNDERFLOW, "the odd neighbour is the one below"),
    ],
)
def test_tininess_after_and_before_rounding(code, rounding, expected, after, before, why):
    assert convert(code, FLOAT32, FLOAT16, rounding, tininess="after") == (expected, after), why
    assert convert(code, FLOAT32, FLOAT16, rounding, tininess="before") == (expected, before), why


@pytest.mark.parametrize(
    ("x", "target", "expected", "why"),
    [
        ("0x1.01000001p0", BFLOAT16, 0x3F81, "above the tie by less than float32 sees"),
        ("0x1.01p0", BFLOAT16, 0x3F80, "the tie itself"),
        ("0x1.00200000001p0", FLOAT16, 0x3C01, "the same for float16"),
        ("0x1.feffffffp127", BFLOAT16, 0x7F7F, "below the overflow threshold by less than float32 sees"),
        ("0x1.ffp127", BFLOAT16, 0x7F80, "the overflow threshold"),
        ("0x1.0000000000001p-134", BFLOAT16, 0x0001, "above half the smallest subnormal"),
        ("0x1p-134", BFLOAT16, 0x0000, "half the smallest subnormal"),
        ("0x1.002p0", TFLOAT32, 0x1FC00, "tfloat32 rounds where float16 does"),
        ("0x1.00200001p0", TFLOAT32, 0x1FC01, "and once"),
    ],
)
def test_float64_rounds_once(x, target, expected, why):
    assert convert(f64(float.fromhex(x)), FLOAT64, target)[0] == expected, why


@pytest.mark.parametrize(
    ("code", "source", "target", "nan", "expected", "flags", "why"),
    [
        (0x7FC00000, FLOAT32, FLOAT16, "preserve", 0x7E00, EXACT, "quiet, no payload"),
        (0xFFC00000, FLOAT32, FLOAT16, "preserve", 0xFE00, EXACT, "the sign stays"),
        (0x7FC02000, FLOAT32, FLOAT16, "preserve", 0x7E01, EXACT, "the last payload digit that fits"),
        (0x7FC01FFF, FLOAT32, FLOAT16, "preserve", 0x7E00, EXACT, "the payload is cut, not rounded"),
        (0x7FFFFFFF, FLOAT32, FLOAT16, "preserve", 0x7FFF, EXACT, "all ones"),
        (0x7F800001, FLOAT32, FLOAT16, "preserve", 0x7E00, INVALID, "signalling, payload lost: still a NaN"),
        (0xFFA00000, FLOAT32, FLOAT16, "preserve", 0xFF00, INVALID, "signalling, quieted, payload kept"),
        (0x7D01, FLOAT16, FLOAT32, "preserve", 0x7FE02000, INVALID, "widening aligns at the top"),
        (0x7F800001, FLOAT32, FLOAT32, "preserve", 0x7FC00001, INVALID, "quieted on the way to itself too"),
        (0xFFF4000000000001, FLOAT64, BFLOAT16, "preserve", 0xFFE0, INVALID, "float64 to bfloat16"),
        (0xFFFFFFFF, FLOAT32, FLOAT16, "canonical", 0x7E00, EXACT, "sign and payload gone"),
        (0xFF800001, FLOAT32, FLOAT16, "canonical", 0x7E00, INVALID, "signalling"),
        (0xFFC00000, FLOAT32, FLOAT16, "zero", 0x0000, INVALID, "a number for a NaN; +0"),
        (0xFFC00000, FLOAT32, FLOAT16, "max", 0x7BFF, INVALID, "positive"),
        (0xFFC00000, FLOAT32, FLOAT16, "raise", None, EXACT, "refused"),
        (0xFFC00000, FLOAT32, INT8, None, None, EXACT, "integers refuse by default"),
        (0x7F800001, FLOAT32, INT8, "zero", 0x00, INVALID, "zero"),
        (0xFFC00000, FLOAT32, INT8, "max", 0x7F, INVALID, "the largest integer"),
        (0xFFC00000, FLOAT32, UINT8, "max", 0xFF, INVALID, "the largest integer"),
    ],
)
def test_nan_rules(code, source, target, nan, expected, flags, why):
    if expected is None:
        with pytest.raises(Refused):
            convert(code, source, target, nan=nan)
    else:
        assert convert(code, source, target, nan=nan) == (expected, flags), why


@pytest.mark.parametrize(
    ("code", "rounding", "overflow", "expected", "flags"),
    [  # float32 to float16
        (0x7F800000, NE, "ieee", 0x7C00, EXACT),
        (0xFF800000, TP, "ieee", 0xFC00, EXACT),  # an infinity is exact in any direction
        (0x7F800000, NE, "saturate_finite", 0x7C00, EXACT),
        (0xFF800000, NE, "saturate", 0xFBFF, OVERFLOW),
        (0x7F800000, NE, "raise", 0x7C00, EXACT),
        (0x47800000, NE, "saturate_finite", 0x7BFF, OVERFLOW),
        (0xC7800000, TN, "saturate", 0xFBFF, OVERFLOW),
        (0x477FEFFF, NE, "saturate", 0x7BFF, INEXACT),  # 65519.996 does not overflow
        (0x477FEFFF, NE, "raise", 0x7BFF, INEXACT),
        (0x477FF000, NE, "raise", None, EXACT),
        (0x47800000, TZ, "raise", None, EXACT),  # delivers no infinity, overflows all the same
    ],
)
def test_overflow_rules(code, rounding, overflow, expected, flags):
    if expected is None:
        with pytest.raises(Refused):
            convert(code, FLOAT32, FLOAT16, rounding, overflow)
    else:
        assert convert(code, FLOAT32, FLOAT16, rounding, overflow) == (expected, flags)


@pytest.mark.parametrize(
    ("code", "source", "target", "rounding", "subnormals", "expected", "flags", "why"),
    [
        (0x80000001, FLOAT32, FLOAT64, NE, "flush_input", 1 << 63, EXACT, "a subnormal becomes -0, no flag"),
        (0x00000001, FLOAT32, FLOAT16, TP, "flush_input", 0x0000, EXACT, "before rounding"),
        (0x00000001, FLOAT32, FLOAT16, TP, "flush_output", 0x0000, UNDERFLOW, "after rounding"),
        (0x00000001, FLOAT32, INT8, TP, "flush_input", 0x00, EXACT, "integers too"),
        (0x00000001, FLOAT32, INT8, TP, "flush_output", 0x01, INEXACT, "changes nothing among integers"),
        (0x33800000, FLOAT32, FLOAT16, NE, "flush_input", 0x0001, EXACT, "2^-24 is normal in float32"),
        (0xB3800000, FLOAT32, FLOAT16, NE, "flush_output", 0x8000, UNDERFLOW, "flushed, though exact before"),
        (0x387FE000, FLOAT32, FLOAT16, NE, "flush_output", 0x0400, UNDERFLOW, "rounded up to normal"),
        (0x387FDFFF, FLOAT32, FLOAT16, NE, "flush_output", 0x0000, UNDERFLOW, "just below"),
        (0x3F800000, FLOAT32, FLOAT16, NE, "flush", 0x3C00, EXACT, "normal numbers stay"),
        (0x00000000, FLOAT32, FLOAT16, NE, "flush", 0x0000, EXACT, "zero is no subnormal"),
        (0x33800000, FLOAT32, FLOAT16, NE, "flush", 0x0000, UNDERFLOW, "flush is both: of the result"),
        (0x00000001, FLOAT32, BFLOAT16, TP, "flush", 0x0000, EXACT, "flush is both: of the input, no flag"),
    ],
)
def test_subnormal_rules(code, source, target, rounding, subnormals, expected, flags, why):
    assert convert(code, source, target, rounding, subnormals=subnormals) == (expected, flags), why


@pytest.mark.parametrize(
    ("x", "target", "rounding", "overflow", "expected", "flags"),
    [
        (0.5, INT8, NE, None, 0x00, INEXACT),
        (1.5, INT8, NE, None, 0x02, INEXACT),
        (2.5, INT8, NE, None, 0x02, INEXACT),
        (2.5, INT8, NA, None, 0x03, INEXACT),
        (-2.5, INT8, NA, None, 0xFD, INEXACT),
        (-2.5, INT8, TZ, None, 0xFE, INEXACT),
        (-2.5, INT8, TP, None, 0xFE, INEXACT),
        (-2.5, INT8, TN, None, 0xFD, INEXACT),
        (-2.5, INT8, TO, None, 0xFD, INEXACT),  # -3
        (-1.5, INT8, TO, None, 0xFF, INEXACT),  # -1
        (2.0, INT8, TO, None, 0x02, EXACT),
        (-0.0, INT8, NE, None, 0x00, EXACT),
        (127.0, INT8, NE, None, 0x7F, EXACT),
        (math.nextafter(127.5, 0), INT8, NE, None, 0x7F, INEXACT),
        (127.5, INT8, NE, None, 0x7F, INVALID),  # rounds to 128, and saturates: invalid and nothing else
        (127.5, INT8, NE, "wrap", 0x80, INVALID),
        (127.5, INT8, NE, "raise", None, EXACT),
        (127.5, INT8, TZ, "raise", 0x7F, INEXACT),
        (-128.5, INT8, NE, None, 0x80, INEXACT),  # to even: -128
        (-128.5, INT8, NA, None, 0x80, INVALID),
        (-128.5, INT8, NA, "wrap", 0x7F, INVALID),  # -129
        (-129.0, INT8, NE, "saturate", 0x80, INVALID),
        (300.0, INT8, NE, "wrap", 0x2C, INVALID),
        (1e300, INT8, NE, "wrap", 0x00, INVALID),
        (math.inf, INT8, NE, "saturate", 0x7F, INVALID),
        (-math.inf, INT8, NE, "saturate", 0x80, INVALID),
        (-math.inf, INT8, NE, "wrap", 0x00, INVALID),
        (math.inf, INT8, NE, "raise", None, EXACT),
        (-0.5, UINT8, NE, None, 0x00, INEXACT),
        (-0.5, UINT8, NA, None, 0x00, INVALID),
        (-0.5, UINT8, NA, "wrap", 0xFF, INVALID),
        (255.5, UINT8, NE, None, 0xFF, INVALID),
        (254.5, UINT8, NE, None, 0xFE, INEXACT),
    ],
)
def test_float64_to_integer_edges(x, target, rounding, overflow, expected, flags):
    if expected is None:
        with pytest.raises(Refused):
            convert(f64(x), FLOAT64, target, rounding, overflow)
    else:
        assert convert(f64(x), FLOAT64, target, rounding, overflow) == (expected, flags)


def test_integers_to_floats_and_integers():
    for code in range(256):
        for source, dtype in ((INT8, np.int8), (UINT8, np.uint8)):
            value = np.uint8(code).view(dtype)
            assert convert(code, source, FLOAT16) == (int(np.float16(value).view(np.uint16)), EXACT)
            exact = value <= 127 and value >= 0
            other = UINT8 if source is INT8 else INT8
            assert convert(code, source, other, "to_odd", "wrap") == (code, EXACT if exact else INVALID)
    assert convert(0xFF, INT8, UINT8) == (0, INVALID)
    assert convert(0x80, UINT8, INT8) == (0x7F, INVALID)
    assert convert(0xFF, UINT8, BFLOAT16) == (0x437F, EXACT)  # 255 has 8 digits, as many as bfloat16
    assert convert(0x00, INT8, FLOAT16, "toward_negative") == (0x0000, EXACT)


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        (FLOAT16, {"overflow": "wrap"}),
        (INT8, {"overflow": "ieee"}),
        (INT8, {"overflow": "saturate_finite"}),
        (INT8, {"nan": "preserve"}),
        (INT8, {"nan": "canonical"}),
        (FLOAT16, {"rounding": "nearest"}),
        (FLOAT16, {"subnormals": "flush_all"}),
        (FLOAT16, {"tininess": "during"}),
    ],
)
def test_rules_that_a_target_lacks_are_errors(target, rules):
    with pytest.raises(ValueError):
        convert(0x3F800000, FLOAT32, target, **rules)


# --- Order, distance, neighbours ----------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16, INT8, UINT8], ids=lambda fmt: fmt.name)
def test_places_follow_values_without_a_gap(fmt):
    codes = [code for code in range(1 << fmt.bits) if decode(code, fmt).kind == "finite"]
    place_of = {decode(code, fmt).fraction: ordered(code, fmt) for code in codes}
    assert all(b - a == 1 for a, b in pairwise(place_of[value] for value in sorted(place_of)))
    assert place_of[Fraction(0)] == 0


@pytest.mark.parametrize(
    ("a", "b", "fmt", "distance"),
    [
        (0x8000, 0x0000, FLOAT16, 0),
        (0x8001, 0x0001, FLOAT16, 2),
        (0x7BFF, 0x7C00, FLOAT16, 1),
        (0xFC00, 0x7C00, FLOAT16, 2 * 0x7C00),
        (0x3C00, 0x4000, FLOAT16, 1024),
        (0x80, 0x7F, INT8, 255),
    ],
)
def test_ulp_distance(a, b, fmt, distance):
    assert ulp_distance(a, b, fmt) == ulp_distance(b, a, fmt) == distance


def test_ulp_distance_of_a_nan_is_an_error():
    with pytest.raises(ValueError):
        ulp_distance(0x7E00, 0, FLOAT16)


def test_spacing_agrees_with_math_ulp():
    for code in some_codes(FLOAT64):
        if decode(code, FLOAT64).kind == "finite":
            expected = Fraction(math.ulp(as_float(code, FLOAT64)))
            assert spacing(decode(code, FLOAT64).fraction, FLOAT64) == expected


def test_spacing_agrees_with_numpy():
    codes = np.arange(0x7C00, dtype=np.uint16)
    with np.errstate(all="ignore"):
        theirs = np.spacing(codes.view(np.float16)).astype(float)
    for code, their in zip(codes.tolist(), theirs.tolist(), strict=True):
        if math.isfinite(their):
            assert spacing(decode(code, FLOAT16).fraction, FLOAT16) == Fraction(their)
    assert spacing(65504, FLOAT16) == 32
    assert spacing(Fraction(1, 3), INT8) == 1


def test_neighbours_agree_with_nextafter():
    for code in some_codes(FLOAT64):
        x = as_float(code, FLOAT64)
        if not math.isnan(x):
            expected = tuple(f64(math.nextafter(x, end)) for end in (-math.inf, math.inf))
            assert neighbours(code, FLOAT64, FLOAT64) == expected, x.hex()


@pytest.mark.parametrize(
    ("code", "source", "fmt", "below", "above", "why"),
    [
        (f32("0x1p0"), FLOAT32, FLOAT16, 0x3BFF, 0x3C01, "a number of the format: strictly beside it"),
        (f32("0x1.000002p0"), FLOAT32, FLOAT16, 0x3C00, 0x3C01, "between two"),
        (f32("-0x1.000002p0"), FLOAT32, FLOAT16, 0xBC01, 0xBC00, "between two, negative"),
        (f32("0x1p-149"), FLOAT32, FLOAT16, 0x0000, 0x0001, "between zero and the smallest"),
        (f32("-0x1p-149"), FLOAT32, FLOAT16, 0x8001, 0x8000, "zero from below is -0"),
        (f32("-0x0p0"), FLOAT32, FLOAT16, 0x8001, 0x0001, "both zeros have the same neighbours"),
        (f32("0x1p100"), FLOAT32, FLOAT16, 0x7BFF, 0x7C00, "beyond the largest"),
        (f32("-0x1p100"), FLOAT32, FLOAT16, 0xFC00, 0xFBFF, "beyond the lowest"),
        (0x7F800000, FLOAT32, FLOAT16, 0x7BFF, 0x7C00, "infinity"),
        (0xFFA00000, FLOAT32, FLOAT16, 0xFF00, 0xFF00, "a NaN, quieted"),
        (f32("0x1.8p0"), FLOAT32, INT8, 0x01, 0x02, "between integers"),
        (f32("-0x1.8p0"), FLOAT32, INT8, 0xFE, 0xFF, "between negative integers"),
        (f32("0x1p-149"), FLOAT32, INT8, 0x00, 0x01, "between zero and one"),
        (f32("0x1.fcp6"), FLOAT32, INT8, 0x7E, 0x7F, "127: the end itself above"),
        (f32("-0x1p7"), FLOAT32, INT8, 0x80, 0x81, "-128: the end itself below"),
        (f32("0x1p100"), FLOAT32, INT8, 0x7F, 0x7F, "beyond the end"),
        (f32("-0x1p100"), FLOAT32, INT8, 0x80, 0x80, "beyond the end"),
        (0xFF800000, FLOAT32, INT8, 0x80, 0x80, "-infinity"),
    ],
)
def test_neighbours_across_formats(code, source, fmt, below, above, why):
    assert neighbours(code, source, fmt) == (below, above), why


# --- Boundaries ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def all_of_float16():
    """Collect the float32 codes at and around every float16 number and midpoint."""
    return set(boundaries(FLOAT32, FLOAT16, samples=0))


def test_boundaries_hold_the_edges(all_of_float16):
    wanted = [0x477FEFFF, 0x477FF000, 0x477FF001]  # the overflow threshold
    wanted += [0x387FEFFF, 0x387FF000, 0x387FE000]  # where tininess ends, and the last tie of subnormals
    wanted += [0x32FFFFFF, 0x33000000, 0x33000001]  # half the smallest subnormal
    wanted += [0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF]
    assert {sign | code for code in wanted for sign in (0, 1 << 31)} <= all_of_float16


def test_boundaries_see_every_number_and_every_midpoint(all_of_float16):
    """Each interval of float16 shows its ends, its middle, and both sides of the middle."""
    for place in range(0x7BFF):
        low, high = (decode(code, FLOAT16).fraction for code in (place, place + 1))
        middle = f32(float((low + high) / 2).hex())
        assert {f32(float(low).hex()), middle - 1, middle, middle + 1} <= all_of_float16


def test_boundaries_hold_halves_of_integers():
    codes = set(boundaries(FLOAT64, INT8))
    for twice in range(-257, 256):
        half = twice / 2
        assert {f64(math.nextafter(half, end)) for end in (-math.inf, half, math.inf)} <= codes


def test_boundaries_are_reproducible_and_whole_for_16_bits():
    assert list(boundaries(FLOAT64, FLOAT32, samples=50)) == list(boundaries(FLOAT64, FLOAT32, samples=50))
    assert list(boundaries(FLOAT16, FLOAT32)) == list(range(1 << 16))


# --- Quantize -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "bits", "signed", "narrow", "expected"),
    [
        ("symmetric", 8, True, None, (-127, 127)),
        ("symmetric", 8, True, False, (-128, 127)),
        ("asymmetric", 8, True, None, (-128, 127)),
        ("asymmetric", 8, True, True, (-127, 127)),
        ("symmetric", 8, False, None, (0, 255)),
        ("asymmetric", 8, False, True, (1, 255)),
        ("symmetric", 4, True, None, (-7, 7)),
        ("symmetric", 2, True, None, (-1, 1)),
        ("asymmetric", 1, False, None, (0, 1)),
    ],
)
def test_code_ranges(scheme, bits, signed, narrow, expected):
    assert code_range(scheme, bits, signed, narrow) == expected


@pytest.mark.parametrize(
    ("scheme", "bits", "signed", "narrow"),
    [("symmetric", 1, True, None), ("symmetric", 1, True, False), ("asymmetric", 1, False, True)],
)
def test_code_ranges_without_codes_are_errors(scheme, bits, signed, narrow):
    with pytest.raises(ValueError):
        code_range(scheme, bits, signed, narrow)


STEP_64 = Fraction(12.7 / 127)  # float64 division is itself correctly rounded
STEP_32 = Fraction(13421773, 2**27)  # the float32 next to a tenth


@pytest.mark.parametrize(
    ("values", "rules", "scale", "zero_point", "why"),
    [
        ([0.5, -2.0], {"scheme": "symmetric"}, Fraction(127, 2), 0, "127 / max|x|"),
        ([-1.0, 4.1], {"scheme": "asymmetric"}, 255 / (Fraction(4.1) + 1), -78, "round(50) - 128"),
        ([0, 255], {"scheme": "asymmetric"}, 1, -128, "codes of bytes"),
        ([-1, 509], {"scheme": "asymmetric"}, Fraction(1, 2), -128, "0.5 to even: 0"),
        ([-3, 507], {"scheme": "asymmetric"}, Fraction(1, 2), -126, "1.5 to even: 2"),
        ([1, 509], {"scheme": "asymmetric", "narrow": True}, Fraction(1, 2), -127, "-0.5 to even: 0"),
        ([100, 355], {"scheme": "asymmetric"}, 1, -228, "a range without zero: not clamped"),
        ([100, 355], {"scheme": "asymmetric", "include_zero": True}, Fraction(255, 355), -128, "widened"),
        ([-355, -100], {"scheme": "asymmetric"}, 1, 227, "not clamped above either"),
        ([3, 3], {"scheme": "asymmetric"}, 85, -128, "max = min: widened to zero"),
        ([-3], {"scheme": "asymmetric"}, 85, 127, "max = min below zero"),
        ([0, 0], {"scheme": "asymmetric"}, 1, 0, "all zeros"),
        ([0.0, -0.0], {"scheme": "symmetric"}, 1, 0, "all zeros"),
        ([9], {"scheme": "symmetric", "low": -1, "high": 2}, Fraction(127, 2), 0, "clipped: the larger end"),
        ([], {"scheme": "asymmetric", "low": 0, "high": 1}, 255, -128, "clipped: no data needed"),
        ([-2, 1], {"scheme": "symmetric", "signed": False}, Fraction(255, 2), 0, "unsigned: max|x| still"),
        ([12.7], {"scheme": "symmetric"}, Fraction(127) / Fraction(12.7), 0, "exact, not rounded"),
        ([12.7], {"scheme": "symmetric", "step_format": FLOAT64}, 1 / STEP_64, 0, "the stored step"),
        ([12.7], {"scheme": "symmetric", "step_format": FLOAT32}, 1 / STEP_32, 0, "the stored step"),
        ([0, 25.5], {"scheme": "asymmetric", "step_format": FLOAT32}, 1 / STEP_32, -128, "the stored step"),
        ([1, math.inf, math.nan], {"scheme": "symmetric", "nonfinite": "saturate"}, 127, 0, "not seen"),
    ],
)
def test_parameters(values, rules, scale, zero_point, why):
    assert parameters(values, **rules)[:2] == (scale, zero_point), why


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        ([], {}),
        ([1.0, math.nan], {}),
        ([1.0, -math.inf], {}),
        ([math.nan], {"nonfinite": "saturate"}),
        ([1e-7], {"step_format": FLOAT16}),  # 7.9e-10 is zero in float16
        ([2e7], {"step_format": FLOAT16}),  # 78431 is infinite in float16
        ([2**40, 2**40 + 1], {}),  # the zero point would be about -2^48
    ],
)
def test_parameters_refuse(values, rules):
    with pytest.raises(Refused):
        parameters(values, **({"scheme": "asymmetric"} | rules))


@pytest.mark.parametrize(
    ("value", "scale", "zero_point", "qmin", "qmax", "rounding", "expected", "why"),
    [
        (0.5, Fraction(1), 0, -127, 127, NE, 0, "tie to even"),
        (0.5, Fraction(1), 1, -127, 127, NE, 2, "the sum 1.5 decides, not 0.5"),
        (0.5, Fraction(1), -1, -127, 127, NA, -1, "the sum -0.5 goes away from zero"),
        (0.5, Fraction(1), -1, -127, 127, TZ, 0, "the sum -0.5 goes toward zero"),
        (-0.5, Fraction(1), 1, -127, 127, TO, 1, "the sum 0.5 goes to odd"),
        (0.7, Fraction(1), 0, -127, 127, TN, 0, "down"),
        (-0.7, Fraction(1), 0, -127, 127, TP, 0, "up"),
        (2.0, Fraction(127, 2), 0, -127, 127, NE, 127, "the maximum gets the end code"),
        (1e300, Fraction(1), 0, -127, 127, NE, 127, "clamped"),
        (-1e300, Fraction(1), 0, -127, 127, NE, -127, "clamped"),
        (-1, Fraction(1), 0, 0, 255, NE, 0, "unsigned: negative input clips"),
        (Fraction(1, 3), Fraction(3, 2), 0, -127, 127, NE, 0, "exact thirds make an exact tie"),
    ],
)
def test_quantize(value, scale, zero_point, qmin, qmax, rounding, expected, why):
    assert quantize(value, scale, zero_point, qmin, qmax, rounding) == expected, why


def test_quantize_agrees_with_python_on_random_data():
    draw = random.Random(SEED)
    values = [draw.gauss(0, 3) for _ in range(500)]
    linear = parameters(values, "asymmetric")
    least, most = Fraction(min(values)), Fraction(max(values))
    assert linear.scale * (most - least) == 255
    assert linear.zero_point == round(-least * linear.scale) - 128
    for value in values:
        expected = round(Fraction(value) * linear.scale + linear.zero_point)
        assert linear.quantize(value) == max(-128, min(127, expected))


@pytest.mark.parametrize(
    ("value", "zero_point", "expected"),
    [
        (math.inf, 0, 127),
        (-math.inf, 0, -128),
        (math.nan, 5, 5),
        (math.nan, 300, 127),
        (math.nan, -300, -128),
    ],
)
def test_quantize_nonfinite(value, zero_point, expected):
    assert quantize(value, Fraction(1), zero_point, -128, 127, nonfinite="saturate") == expected
    with pytest.raises(Refused):
        quantize(value, Fraction(1), zero_point, -128, 127)


@pytest.mark.parametrize(
    ("code", "scale", "zero_point", "fmt", "rounding", "expected", "why"),
    [
        (0, Fraction(127, 2), 0, FLOAT32, NE, 0x00000000, "zero is +0"),
        (-3, Fraction(3), 0, FLOAT32, TN, 0xBF800000, "-1"),
        (1, Fraction(3), 0, FLOAT16, NE, 0x3555, "a third"),
        (1, Fraction(3), 0, FLOAT16, TP, 0x3556, "a third, upward"),
        (1, Fraction(3), 0, FLOAT16, TO, 0x3555, "a third, to odd"),
        (2, Fraction(10), 1, FLOAT32, NE, 0x3DCCCCCD, "a tenth"),
        (2, Fraction(1, 2**20), 0, FLOAT16, NE, 0x7C00, "overflow is ieee"),
        (2, Fraction(1, 2**20), 0, FLOAT16, TZ, 0x7BFF, "overflow is ieee"),
        (1, Fraction(3 * 2**23), 0, FLOAT16, NE, 0x0001, "2^-23 / 3 is 0.67 of the smallest"),
    ],
)
def test_dequantize(code, scale, zero_point, fmt, rounding, expected, why):
    assert dequantize(code, scale, zero_point, fmt, rounding) == expected, why
