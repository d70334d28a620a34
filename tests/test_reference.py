"""The judge is judged: `reference.py` against what it is not.

Python's own `struct`, `math` and `round(Fraction)`, a search through a list of all numbers of a format,
NumPy's and ml_dtypes' casts from float32, gfloat's P3109, and tables worked out by hand.
"""

from __future__ import annotations

import math
import random
import struct
from bisect import bisect_left, bisect_right
from fractions import Fraction
from itertools import pairwise, product

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
    IQ4_NL,
    NF4,
    ROUNDINGS,
    TFLOAT32,
    UINT8,
    VARIANTS,
    Format,
    Refused,
    Stochastic,
    as_number,
    boundaries,
    code_at,
    code_range,
    codebook,
    convert,
    convert_to_float,
    decode,
    dequantize,
    exmy,
    is_subnormal,
    nan_codes,
    neighbours,
    neighbours_of,
    ordered,
    p3109,
    pack_bits,
    parameters,
    philox,
    quantize,
    random_integer,
    round_bits,
    round_quotient,
    spacing,
    ulp_distance,
    unpack_bits,
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


FLOATS = [FLOAT64, FLOAT32, TFLOAT32, FLOAT16, BFLOAT16]
SMALL = [fmt for fmt in FORMATS.values() if fmt.kind == "float" and fmt.bits <= 8]
E4M3FN, E5M2, E8M0, FP4 = (FORMATS[f"float{name}"] for name in ("8_e4m3fn", "8_e5m2", "8_e8m0fnu", "4_e2m1fn"))
P3109 = [
    p3109(k, p, signed, extended)
    for k, signed, extended in product(range(3, 9), (True, False), (True, False))
    for p in range(1, k + 1 - signed)
]
CUSTOM = [  # corners of the construction
    exmy(1, 3),  # no normal number
    exmy(3, 0, nan=None),
    exmy(3, 0, nan=None, has_infinity=False),
    exmy(4, 0, nan="negative_zero"),
    exmy(4, 2, signed=False),
    exmy(2, 4, 200, signed=False, nan=None),
    exmy(3, 3, 1060, has_infinity=False, nan="all_ones"),
    exmy(4, 3, -7, nan="all_ones"),
]


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


# name, largest, smallest normal, smallest subnormal (0: none), +infinity (0: none), how many codes are NaN
PUBLISHED = [
    ("float8_e5m2", 57344, -14, -16, 0x7C, [0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]),  # OCP OFP8 1.0, table 1
    ("float8_e4m3fn", 448, -6, -9, 0, [0x7F, 0xFF]),
    ("float8_e4m3", 240, -6, -9, 0x78, [*range(0x79, 0x80), *range(0xF9, 0x100)]),
    ("float8_e3m4", Fraction(31, 2), -2, -6, 0x70, [*range(0x71, 0x80), *range(0xF1, 0x100)]),
    ("float8_e4m3fnuz", 240, -7, -10, 0, [0x80]),  # arXiv 2206.02915
    ("float8_e5m2fnuz", 57344, -15, -17, 0, [0x80]),
    ("float8_e4m3b11fnuz", 30, -10, -13, 0, [0x80]),
    ("float6_e3m2fn", 28, -2, -4, 0, []),  # OCP MX 1.0, tables 2 to 5
    ("float6_e2m3fn", Fraction(15, 2), 0, -3, 0, []),
    ("float4_e2m1fn", 6, 0, -1, 0, []),
    ("float8_e8m0fnu", Fraction(2) ** 127, -127, None, 0, [0xFF]),
]


@pytest.mark.parametrize(("name", "largest", "normal", "subnormal", "infinity", "nans"), PUBLISHED)
def test_small_formats_have_the_published_ends_and_specials(name, largest, normal, subnormal, infinity, nans):
    fmt = FORMATS[name]
    numbers = {code: decode(code, fmt) for code in range(1 << fmt.bits)}
    finite = {code: number.fraction for code, number in numbers.items() if number.kind == "finite"}
    assert max(finite.values()) == largest == finite[fmt.largest]
    assert [code for code, number in numbers.items() if number.kind == "nan"] == nans
    infinities = [infinity, infinity | 0x80] if infinity else []
    assert [code for code, number in numbers.items() if number.kind == "infinity"] == infinities
    assert nan_codes(fmt) <= set(nans)
    subnormals = [value for code, value in finite.items() if value > 0 and is_subnormal(code, fmt)]
    assert min(subnormals, default=None) == (None if subnormal is None else Fraction(2) ** subnormal)
    assert min(value for code, value in finite.items() if value > 0 and not is_subnormal(code, fmt)) == 2**normal
    zeros = [code for code, value in finite.items() if value == 0]
    assert zeros == ([] if subnormal is None else [0] if nans == [0x80] else [0, fmt.sign_bit])


@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS.values() if fmt.kind != "codebook" and fmt.bits <= 8],
                         ids=lambda fmt: fmt.name)  # fmt: skip
def test_every_value_of_a_small_format_is_that_of_ml_dtypes(fmt):
    dtype = getattr(ml_dtypes, fmt.name, None) or np.dtype(fmt.name)
    theirs = np.arange(1 << fmt.bits, dtype=np.uint8).view(dtype).astype(np.float64).tolist()
    for code, their in enumerate(theirs):
        number = decode(code, fmt)
        if number.kind == "nan":
            assert math.isnan(their)
        elif number.kind == "infinity":
            assert their == (-math.inf if number.sign else math.inf)
        else:
            assert number.fraction == Fraction(their)
            assert fmt.kind == "integer" or number.sign == (math.copysign(1, their) < 0)


@pytest.mark.parametrize(
    ("precision", "largest"),  # P3109's largest numbers of binary8, extended
    [(1, 2**62), (2, 2**31), (3, 49152), (4, 224), (5, 15), (6, 3.875), (7, 1.96875)],
)
def test_binary8_of_p3109_ends_where_published(precision, largest):
    fmt = p3109(8, precision, signed=True, extended=True)
    assert fmt.name == f"binary8p{precision}se"
    kinds = [decode(code, fmt).kind for code in range(256)]
    assert [code for code, kind in enumerate(kinds) if kind != "finite"] == [0x7F, 0x80, 0xFF]
    assert (kinds[0x7F], kinds[0x80], kinds[0xFF]) == ("infinity", "nan", "infinity")
    assert decode(0x7E, fmt).fraction == Fraction(largest) == -decode(0xFE, fmt).fraction
    assert decode(0x40, fmt).fraction == 1  # which stands in the middle


def test_unsigned_p3109_has_its_specials_at_the_end():
    fmt = p3109(8, 3, signed=False, extended=True)
    assert (fmt.name, fmt.exponent_bits, fmt.bias) == ("binary8p3ue", 6, 32)
    assert [decode(code, fmt).kind for code in (0, 0xFD, 0xFE, 0xFF)] == ["finite", "finite", "infinity", "nan"]
    assert decode(0x80, fmt).fraction == 1
    finite = p3109(8, 3, signed=False, extended=False)
    assert decode(0xFE, finite).fraction == Fraction(2) ** 31 * Fraction(3, 2)
    assert decode(0xFF, finite).kind == "nan"


def test_the_smallest_p3109_formats_are_as_worked_out():
    values = {
        (3, 1, True, False): [0, Fraction(1, 2), 1, 2, None, Fraction(-1, 2), -1, -2],
        (3, 1, True, True): [0, Fraction(1, 2), 1, math.inf, None, Fraction(-1, 2), -1, -math.inf],
        (3, 2, True, True): [0, Fraction(1, 2), 1, math.inf, None, Fraction(-1, 2), -1, -math.inf],
        (3, 2, True, False): [0, Fraction(1, 2), 1, Fraction(3, 2), None, Fraction(-1, 2), -1, Fraction(-3, 2)],
        (3, 3, False, False): [*(Fraction(n, 4) for n in range(7)), None],
        (3, 1, False, True): [0, *(Fraction(2) ** n for n in range(-3, 2)), math.inf, None],
    }
    for row, expected in values.items():
        numbers = [decode(code, p3109(*row)) for code in range(8)]
        signed = [-math.inf if number.sign else math.inf for number in numbers]
        ours = [
            {"nan": None, "infinity": end}[number.kind] if number.kind != "finite" else number.fraction
            for number, end in zip(numbers, signed, strict=True)
        ]
        assert ours == expected, row


def as_gfloat(width: int, precision: int, signed: bool, extended: bool):
    """Make the same P3109 format with gfloat, or skip."""
    gfloat = pytest.importorskip("gfloat", reason="gfloat is not installed")
    formats = pytest.importorskip("gfloat.formats")
    types = pytest.importorskip("gfloat.types")
    signedness = types.Signedness.Signed if signed else types.Signedness.Unsigned
    domain = types.Domain.Extended if extended else types.Domain.Finite
    return gfloat, formats.format_info_p3109(width, precision, signedness, domain)


LARGER = [(10, 4), (12, 3), (12, 8), (16, 8), (16, 11), (16, 15)]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("extended", [True, False])
@pytest.mark.parametrize(("width", "precision"), [(k, p) for k in range(3, 9) for p in range(1, k + 1)] + LARGER)
def test_p3109_decodes_as_in_gfloat(width, precision, signed, extended):
    if signed and precision == width:
        return
    fmt = p3109(width, precision, signed, extended)
    gfloat, theirs = as_gfloat(width, precision, signed, extended)
    for code in range(0, 1 << width, 1 if width <= 8 else 7):
        number, their = decode(code, fmt), gfloat.decode_float(theirs, code).fval
        if number.kind == "finite":
            assert number.fraction == Fraction(float(their)), hex(code)
        else:
            assert (number.kind == "nan") == math.isnan(their), hex(code)
            assert number.kind == "nan" or (their > 0) == (number.sign == 0), hex(code)


@pytest.mark.parametrize(
    ("width", "precision", "signed"),
    [(8, 1, True), (8, 2, True), (8, 3, True), (8, 7, True), (6, 1, False), (8, 4, False), (5, 2, True), (12, 5, True)],
)
def test_p3109_rounds_as_in_gfloat(width, precision, signed):
    """From float32 alone: gfloat adds a half to 53 digits, which rounds."""
    fmt = p3109(width, precision, signed, True)
    gfloat, theirs = as_gfloat(width, precision, signed, True)
    modes = dict(zip(("TiesToEven", "TiesToAway", "TowardZero", "TowardPositive", "TowardNegative"), ROUNDINGS,
                     strict=False))  # fmt: skip
    for code in boundaries(FLOAT32, fmt, samples=0, whole=1 << 8):
        number = decode(code, FLOAT32)
        if number.kind != "finite" or (number.sign and not signed):  # which gfloat does not round
            continue
        for (name, rounding), saturate in product(modes.items(), (False, True)):
            ours, _ = convert(code, FLOAT32, fmt, rounding, "saturate" if saturate else "ieee")
            their = gfloat.round_float(theirs, as_float(code, FLOAT32), gfloat.RoundMode[name], saturate)
            expected = {math.inf: fmt.last_place, -math.inf: -fmt.last_place}.get(their)
            if expected is None:
                assert decode(ours, fmt).fraction == Fraction(float(their)), (number, rounding, saturate)
            else:
                assert ordered(ours, fmt) == expected, (number, rounding, saturate)


def test_codebooks_hold_what_is_published():
    assert [float(value) for value in NF4.values] == [float(np.float32(value)) for value in NF4.values]
    assert NF4.values[::5] == (-1, Fraction(float(np.float32(-0.18477343022823334))),
                               Fraction(float(np.float32(0.24611230194568634))), 1)  # fmt: skip
    assert (NF4.bits, NF4.values[7], IQ4_NL.bits, IQ4_NL.values[8]) == (4, 0, 4, 1)
    assert decode(15, IQ4_NL).fraction == 113
    assert codebook("three", (-1, 0, 1)).bits == 2
    with pytest.raises(ValueError):
        decode(3, codebook("three", (-1, 0, 1)))
    with pytest.raises(ValueError):
        codebook("upside down", (1, 0))


# --- Random numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # the known-answer vectors of Random123, kat_vectors, philox4x32 10
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_words(counter, key, words):
    read = [[int(word, 16) for word in text.split()] for text in (counter, key, words)]
    assert list(philox(read[0], read[1])) == read[2]


def test_an_element_takes_its_word_and_the_top_bits_of_it():
    assert [random_integer(index, 0, 32) for index in range(4)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert random_integer(1, 0, 8) == 0xE1
    assert random_integer(4, 0, 32) == philox((1, 0, 0, 0), (0, 0))[0]
    assert random_integer((5 << 34) + 3, (7 << 32) + 9, 1) == philox((0, 5, 0, 0), (9, 7))[3] >> 31


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
    """List the finite numbers of a small format with their codes, sorted, with a single zero."""
    codes = [code for code in range(1 << fmt.bits) if decode(code, fmt).kind == "finite"]
    return sorted({decode(code, fmt).fraction: code for code in reversed(codes)}.items())


def by_definition(x: Fraction, below: tuple, above: tuple, fmt: Format, rounding: str) -> tuple:
    """Choose between the rows of the two numbers around x as clause 4.3 says it."""
    smaller, larger = sorted((below, above), key=lambda row: abs(row[0]))
    odd = max(below, above, key=lambda row: row[1] % 2)
    if fmt.significand_bits == 0 and fmt.ties == "magnitude":
        odd = smaller if smaller[0] else larger  # 4.3.1: a tie of one digit goes to the larger, as if it were even
    even = below if odd == above else above
    tie = abs(below[0] - x) == abs(above[0] - x)
    nearer = min(below, above, key=lambda row: abs(row[0] - x))
    return {
        "nearest_even": even if tie else nearer,
        "nearest_away": larger if tie else nearer,
        "toward_zero": smaller,
        "toward_positive": above,
        "toward_negative": below,
        "to_odd": odd,
    }[rounding]


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16, *SMALL, *CUSTOM, *P3109[::3]], ids=lambda fmt: fmt.name)
def test_convert_agrees_with_a_search(fmt):
    """Within the range: on the two numbers around x, found in a list of all."""
    table = numbers_in_order(fmt)
    values = [value for value, _ in table]
    draw = random.Random(SEED)
    for _ in range(100 if fmt.bits <= 8 else 1500):
        at = draw.randrange(len(table) - 1)
        a, b = values[at], values[at + 1]
        x = a + (b - a) * Fraction(draw.randrange(9), 8)
        below, above = table[bisect_right(values, x) - 1], table[bisect_left(values, x)]
        for rounding in ROUNDINGS:
            value, expected = below if below == above else by_definition(x, below, above, fmt, rounding)
            if value == 0 and x < 0 and fmt.signed_zero:
                expected |= fmt.sign_bit
            code, flags = convert_to_float(as_number(x), fmt, rounding)
            assert (code, "inexact" in flags) == (expected, value != x), (x, rounding)
            assert flags <= {"inexact", "underflow"}


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


@pytest.mark.parametrize("fmt", [*FLOATS, *SMALL, *P3109[::4], NF4, IQ4_NL], ids=lambda fmt: fmt.name)
def test_widening_is_exact(fmt):
    for code in some_codes(fmt, 1000):
        number = decode(code, fmt)
        if number.kind == "finite":
            wide, flags = convert(code, fmt, FLOAT64)
            assert (Fraction(as_float(wide, FLOAT64)), flags) == (number.fraction, EXACT)
            assert convert(wide, FLOAT64, fmt) == (code, flags)


@pytest.mark.parametrize("fmt", SMALL, ids=lambda fmt: fmt.name)
def test_float32_to_small_formats_agrees_with_ml_dtypes(fmt):
    """Which rounds to nearest even, beyond the range as `ieee` does; subnormals to E8M0 are not the nearest there."""
    codes = list(boundaries(FLOAT32, fmt, samples=300))
    dtype = getattr(ml_dtypes, fmt.name)
    with np.errstate(all="ignore"):
        theirs = np.array(codes, dtype=np.uint32).view(np.float32).astype(dtype).view(np.uint8).tolist()
    for code, their in zip(codes, theirs, strict=True):
        number, mask = decode(code, FLOAT32), (1 << fmt.bits) - 1
        if number.kind == "nan":
            assert fmt.nan is None or decode(their, fmt).kind == "nan"
        elif fmt.has_zero or (number.kind == "finite" and number.fraction >= Fraction(1, 2**126)):
            assert convert(code, FLOAT32, fmt)[0] == their & mask, hex(code)


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


FNUZ, FP6 = FORMATS["float8_e4m3fnuz"], FORMATS["float6_e3m2fn"]
P1, P1_FINITE = p3109(8, 1, signed=True, extended=True), p3109(8, 1, signed=True, extended=False)
UNSIGNED, UNSIGNED_FINITE = p3109(8, 4, signed=False, extended=True), p3109(8, 4, signed=False, extended=False)
POWERS, BARE = exmy(3, 0, nan=None), exmy(3, 2, signed=False, has_infinity=False, nan=None)
NEGATIVE_ZERO = exmy(4, 2, nan="negative_zero")  # and infinity
TABLE_OF_RULES = [
    # The largest float8_e4m3fn is 448, code 7E; 480 would be 7F, the threshold is 464.
    (464.0, E4M3FN, NE, "ieee", 0x7E, INEXACT, "the tie goes to the even code, which is the largest"),
    (math.nextafter(464, 500), E4M3FN, NE, "ieee", 0x7F, OVERFLOW, "NaN stands where infinity would"),
    (-465.0, E4M3FN, NE, "ieee", 0xFF, OVERFLOW, "and keeps its sign"),
    (464.0, E4M3FN, NA, "ieee", 0x7F, OVERFLOW, "tie away"),
    (math.nextafter(480, 0), E4M3FN, TZ, "ieee", 0x7E, INEXACT, "rounds to the largest"),
    (480.0, E4M3FN, TZ, "ieee", 0x7E, OVERFLOW, "toward zero makes no infinity"),
    (449.0, E4M3FN, TP, "ieee", 0x7F, OVERFLOW, "up"),
    (-449.0, E4M3FN, TP, "ieee", 0xFE, INEXACT, "up, from below"),
    (-1000.0, E4M3FN, TP, "ieee", 0xFE, OVERFLOW, "clause 7.4 c"),
    (449.0, E4M3FN, TO, "ieee", 0x7E, OVERFLOW, "the odd code would be 480, beyond the end: the largest"),
    (465.0, E4M3FN, NE, "saturate", 0x7E, OVERFLOW, "the largest"),
    (465.0, E4M3FN, NE, "saturate_finite", 0x7E, OVERFLOW, "a finite number"),
    (465.0, E4M3FN, NE, "raise", None, EXACT, "refused"),
    (math.inf, E4M3FN, NE, "ieee", 0x7F, OVERFLOW, "infinity is an overflow where there is none"),
    (math.inf, E4M3FN, TZ, "ieee", 0x7E, OVERFLOW, "by the same rules"),
    (-math.inf, E4M3FN, NE, "saturate", 0xFE, OVERFLOW, "the lowest"),
    (-math.inf, E4M3FN, NE, "saturate_finite", 0xFF, OVERFLOW, "as ieee"),
    (math.inf, E4M3FN, NE, "raise", None, EXACT, "refused"),
    (61440.0, E5M2, NE, "ieee", 0x7C, OVERFLOW, "57344 and 65536 tie"),
    (240.0, FNUZ, NE, "ieee", 0x7F, EXACT, "the largest"),
    (-248.0, FNUZ, NE, "ieee", 0x80, OVERFLOW, "the one NaN; 240 has an odd code"),
    (-0.0, FNUZ, NE, "ieee", 0x00, EXACT, "there is no -0"),
    (-1e-9, FNUZ, NE, "ieee", 0x00, UNDERFLOW, "nor by underflow"),
    (-1e-9, FNUZ, TN, "ieee", 0x81, UNDERFLOW, "the smallest"),
    (5.0, FP4, NE, "ieee", 0x6, INEXACT, "4 and 6 tie: the even code"),
    (-6.9, FP4, NE, "ieee", 0xF, INEXACT, "nearer to 6 than to 8, which is not there"),
    (7.0, FP4, NE, "ieee", 0x7, OVERFLOW, "6 and 8 tie: 8 would be even; no infinity, no NaN: the largest"),
    (math.inf, FP4, NE, "ieee", 0x7, OVERFLOW, "infinity too"),
    (math.inf, FP4, NE, "raise", None, EXACT, "refused"),
    (-0.1, FP4, NE, "ieee", 0x8, UNDERFLOW, "-0"),
    (30.0, FP6, NE, "ieee", 0x1F, OVERFLOW, "28 and 32 tie"),
    (-math.inf, NEGATIVE_ZERO, NE, "ieee", 0x7F, EXACT, "infinity at the end, NaN in place of -0"),
    (-1e9, NEGATIVE_ZERO, NE, "ieee", 0x7F, OVERFLOW, "infinity"),
    # E8M0: 2^-127 is code 0, 1 is 7F, 2^127 is FE, NaN is FF.
    (1.5, E8M0, NE, "ieee", 0x80, INEXACT, "one digit: a tie goes to the larger number (4.3.1)"),
    (1.5, E8M0, TO, "ieee", 0x7F, INEXACT, "the digit of 1 is odd"),
    (1.4, E8M0, NE, "ieee", 0x7F, INEXACT, "nearer to 1"),
    (0.0, E8M0, NE, "ieee", 0x00, UNDERFLOW, "no zero: the smallest number"),
    (-0.0, E8M0, NE, "ieee", 0x00, UNDERFLOW, "no sign either"),
    (2.0**-128, E8M0, NE, "ieee", 0x00, UNDERFLOW, "half the smallest ties with zero"),
    (2.0**-127, E8M0, NE, "ieee", 0x00, EXACT, "the smallest"),
    (1.5 * 2.0**-128, E8M0, NE, "ieee", 0x00, INEXACT, "rounds to the smallest in one digit: not tiny"),
    (-(2.0**-128), E8M0, NE, "ieee", 0x00, UNDERFLOW, "rounds to zero, so it is not below the range"),
    (-(2.0**-128), E8M0, NA, "ieee", 0xFF, OVERFLOW, "rounds to -2^-127: below the range"),
    (-1.0, E8M0, TZ, "ieee", 0xFF, OVERFLOW, "below the range, whatever the direction"),
    (-1.0, E8M0, NE, "saturate", 0x00, OVERFLOW, "the smallest number"),
    (-math.inf, E8M0, NE, "saturate_finite", 0xFF, OVERFLOW, "as ieee"),
    (2.0**128, E8M0, NE, "saturate", 0xFE, OVERFLOW, "the largest"),
    (1.5 * 2.0**127, E8M0, NE, "ieee", 0xFF, OVERFLOW, "the tie goes up"),
    # Unsigned formats.
    (-1.0, UNSIGNED, NE, "ieee", 0xFF, OVERFLOW, "NaN"),
    (-1.0, UNSIGNED, TP, "saturate_finite", 0x00, OVERFLOW, "zero"),
    (-1.0, UNSIGNED, NE, "raise", None, EXACT, "refused"),
    (-0.0, UNSIGNED, NE, "raise", 0x00, EXACT, "zero is not below the range"),
    (-1e-9, UNSIGNED, NE, "raise", 0x00, UNDERFLOW, "nor what rounds to it"),
    (-1e-9, UNSIGNED, TN, "ieee", 0xFF, OVERFLOW, "this does not"),
    (math.inf, UNSIGNED, NE, "raise", 0xFE, EXACT, "infinity"),
    (-math.inf, UNSIGNED, NE, "ieee", 0xFF, OVERFLOW, "has no place here"),
    (-math.inf, UNSIGNED, NE, "saturate_finite", 0xFF, OVERFLOW, "as ieee"),
    (-math.inf, UNSIGNED, NE, "saturate", 0x00, OVERFLOW, "zero"),
    (1e9, UNSIGNED, NE, "ieee", 0xFE, OVERFLOW, "infinity"),
    # The rule `nan`.
    (480.0, E4M3FN, TZ, "nan", 0x7F, OVERFLOW, "whatever the direction"),
    (464.0, E4M3FN, NE, "nan", 0x7E, INEXACT, "no overflow"),
    (-math.inf, E4M3FN, NE, "nan", 0xFF, OVERFLOW, "infinity too"),
    (-1e9, FNUZ, TZ, "nan", 0x80, OVERFLOW, "the one NaN"),
    (0.0, E8M0, NE, "nan", 0xFF, OVERFLOW, "zero, which E8M0 has not"),
    (-1e-300, E8M0, NE, "nan", 0xFF, OVERFLOW, "every negative number"),
    (1e-300, E8M0, NE, "nan", 0x00, UNDERFLOW, "a positive one that rounds to zero becomes the smallest"),
    (-1e-9, UNSIGNED_FINITE, NE, "nan", 0x00, UNDERFLOW, "zero is there"),
    (-1.0, UNSIGNED_FINITE, NE, "nan", 0xFF, OVERFLOW, "below the range"),
    (1e9, UNSIGNED_FINITE, NE, "ieee", 0xFF, OVERFLOW, "NaN"),
    (-1.0, BARE, NE, "ieee", 0x00, OVERFLOW, "no NaN: zero"),
    # One digit: P3109 looks at the code, IEEE 754 at the digit. binary8p1 has 1 at code 40.
    (1.5, P1, NE, "ieee", 0x40, INEXACT, "codes 40 and 41"),
    (3.0, P1, NE, "ieee", 0x42, INEXACT, "codes 41 and 42"),
    (-3.0, P1, NE, "ieee", 0xC2, INEXACT, "the sign is no part of it"),
    (1.5, P1, NA, "ieee", 0x41, INEXACT, "away"),
    (1.2, P1, TO, "ieee", 0x41, INEXACT, "the odd code"),
    (2.2, P1, TO, "ieee", 0x41, INEXACT, "the odd code"),
    (2.0**-64, P1, NE, "ieee", 0x00, UNDERFLOW, "half the smallest, 2^-63"),
    (2.0**-90, P1, TO, "ieee", 0x01, UNDERFLOW, "zero is even"),
    (1.5 * 2.0**62, P1, NE, "ieee", 0x7E, INEXACT, "the largest has an even code"),
    (1.5 * 2.0**63, P1_FINITE, NE, "ieee", 0x80, OVERFLOW, "the largest of the finite format has an odd one; NaN"),
    (1.5, POWERS, NE, "ieee", 0x04, INEXACT, "bias 3: 1 is code 3, 2 is code 4"),
    (3.0, POWERS, NE, "ieee", 0x05, INEXACT, "to the larger again"),
    (3.0, POWERS, TO, "ieee", 0x04, INEXACT, "the digit is odd, though the code is even"),
    (12.0, POWERS, NE, "ieee", 0x07, OVERFLOW, "8 is the largest, code 6"),
    (2.0**-4, POWERS, TO, "ieee", 0x01, UNDERFLOW, "below the smallest, 2^-2"),
]


@pytest.mark.parametrize(("x", "target", "rounding", "overflow", "expected", "flags", "why"), TABLE_OF_RULES)
def test_rules_of_formats_that_differ_from_ieee_754(x, target, rounding, overflow, expected, flags, why):
    if expected is None:
        with pytest.raises(Refused):
            convert(f64(x), FLOAT64, target, rounding, overflow)
    else:
        assert convert(f64(x), FLOAT64, target, rounding, overflow) == (expected, flags), why


@pytest.mark.parametrize(
    ("code", "source", "target", "nan", "expected", "flags"),
    [
        (0xFFC12345, FLOAT32, E4M3FN, "preserve", 0xFF, EXACT),
        (0xFFC12345, FLOAT32, E4M3FN, "canonical", 0x7F, EXACT),
        (0xFF812345, FLOAT32, E4M3FN, "preserve", 0xFF, INVALID),
        (0xFFC12345, FLOAT32, FNUZ, "preserve", 0x80, EXACT),
        (0xFFC12345, FLOAT32, FNUZ, "canonical", 0x80, EXACT),
        (0xFFC12345, FLOAT32, E8M0, "preserve", 0xFF, EXACT),
        (0xFFC12345, FLOAT32, UNSIGNED, "preserve", 0xFF, EXACT),
        (0xFFE00000, FLOAT32, exmy(3, 4, signed=False), "preserve", 0x7C, EXACT),
        (0xFFC12345, FLOAT32, E8M0, "max", 0xFE, INVALID),
        (0xFFC12345, FLOAT32, E8M0, "zero", ValueError, EXACT),
        (0xFFC12345, FLOAT32, FP4, None, Refused, EXACT),
        (0xFFC12345, FLOAT32, FP4, "preserve", ValueError, EXACT),
        (0xFFC12345, FLOAT32, FP4, "zero", 0x0, INVALID),
        (0xFFC12345, FLOAT32, FP4, "negated_zero", 0x0, INVALID),
        (0x7FC12345, FLOAT32, FP4, "negated_zero", 0x8, INVALID),
        (0xFFC12345, FLOAT32, FLOAT16, "signed", 0xFE00, EXACT),
        (0xFF812345, FLOAT32, E5M2, "all_ones", 0xFF, INVALID),
        (0xFFC12345, FLOAT32, E5M2, "positive_all_ones", 0x7F, EXACT),
        (0xFFC12345, FLOAT32, E4M3FN, "signed", 0xFF, EXACT),
        (0xFFC12345, FLOAT32, E4M3FN, "positive_all_ones", 0x7F, EXACT),
        (0xFFC12345, FLOAT32, FNUZ, "all_ones", 0x80, EXACT),
        (0xFFC12345, FLOAT32, FLOAT16, "negated_zero", ValueError, EXACT),
        (0xFFC12345, FLOAT32, FP4, "max", 0x7, INVALID),
        (0xFFC12345, FLOAT32, NF4, None, Refused, EXACT),
        (0xFFC12345, FLOAT32, NF4, "zero", 0x7, INVALID),
        (0xFFC12345, FLOAT32, NF4, "max", 0xF, INVALID),
        (0xFFC12345, FLOAT32, IQ4_NL, "zero", ValueError, EXACT),
        (0xFFC12345, FLOAT32, INT8, "indefinite", 0x80, INVALID),
        (0xFFC12345, FLOAT32, UINT8, "indefinite", 0xFF, INVALID),
        (0xFF, E4M3FN, FLOAT32, None, 0xFFC00000, EXACT),
        (0x80, FNUZ, FLOAT32, None, 0x7FC00000, EXACT),
        (0xFF, E8M0, FLOAT32, None, 0x7FC00000, EXACT),
        (0x80, FNUZ, E4M3FN, None, 0x7F, EXACT),
        (0xFD, E5M2, E4M3FN, None, 0xFF, INVALID),
        (0xFD, E5M2, FLOAT16, None, 0xFF00, INVALID),
    ],
)
def test_nan_rules_of_formats_that_differ_from_ieee_754(code, source, target, nan, expected, flags):
    if isinstance(expected, type):
        with pytest.raises(expected):
            convert(code, source, target, nan=nan)
    else:
        assert convert(code, source, target, nan=nan) == (expected, flags)


@pytest.mark.parametrize(
    ("x", "target", "expected"),  # by the six roundings, then the flags
    [
        (-11.5, IQ4_NL, [7, 7, 7, 7, 6, 7, INEXACT]),
        (-16.0, IQ4_NL, [6, 6, 7, 7, 6, 7, INEXACT]),  # -22 and -10 tie
        (7.0, IQ4_NL, [8, 9, 8, 9, 8, 9, INEXACT]),  # 1 and 13 tie
        (-4.5, IQ4_NL, [8, 7, 8, 8, 7, 7, INEXACT]),  # -10 and 1 tie
        (-9.0, IQ4_NL, [7, 7, 8, 8, 7, 7, INEXACT]),
        (53.0, IQ4_NL, [12, 12, 12, 12, 12, 12, EXACT]),
        (113.1, IQ4_NL, [15, 15, 15, 15, 15, 15, OVERFLOW]),
        (-math.inf, IQ4_NL, [0, 0, 0, 0, 0, 0, OVERFLOW]),
        (-0.0, NF4, [7, 7, 7, 7, 7, 7, EXACT]),
        (0.0, codebook("pair", (-1, 1)), [0, 1, 1, 1, 0, 1, INEXACT]),  # equal magnitudes: the greater value
        (0.5, codebook("pair", (-1, 1)), [1, 1, 1, 1, 0, 1, INEXACT]),
    ],
)
def test_codebooks(x, target, expected):
    *codes, flags = expected
    assert [convert(f64(x), FLOAT64, target, rounding) for rounding in ROUNDINGS] == [(code, flags) for code in codes]
    if flags == OVERFLOW:
        with pytest.raises(Refused):
            convert(f64(x), FLOAT64, target, overflow="raise")


@pytest.mark.parametrize(
    ("code", "source", "target", "overflow", "expected", "flags"),
    [
        ((1 << 63) - 1, "int64", "float64", None, f64(2.0**63), INEXACT),
        ((1 << 64) - 1, "int64", "uint64", "wrap", (1 << 64) - 1, INVALID),
        ((1 << 64) - 1, "uint64", "int64", "indefinite", 1 << 63, INVALID),
        ((1 << 64) - 1, "int64", "uint64", "indefinite", (1 << 64) - 1, INVALID),
        (1 << 63, "int64", "int2", None, 2, INVALID),
        (3, "int2", "int4", None, 0xF, EXACT),
        (3, "uint2", "int2", "wrap", 3, INVALID),
        (f64(-(2.0**63)), "float64", "int64", "raise", 1 << 63, EXACT),
        (f64(2.0**63), "float64", "int64", "saturate", (1 << 63) - 1, INVALID),
        (f64(2.0**63), "float64", "int64", "wrap", 1 << 63, INVALID),
        (f64(1e300), "float64", "int32", "indefinite", 1 << 31, INVALID),
        (f64(-3.0), "float64", "uint4", "indefinite", 0xF, INVALID),
        (f64(-3.0), "float64", "uint4", "wrap", 0xD, INVALID),
    ],
)
def test_integers_of_any_width(code, source, target, overflow, expected, flags):
    assert convert(code, FORMATS[source], FORMATS[target], overflow=overflow) == (expected, flags)


# --- Stochastic rounding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "bits", "ups"),  # how many R of 2^N round 1 + x · 2^-10 up to 1 + 2^-10 in float16, by A, B and C
    [
        (Fraction(0), 4, (0, 0, 0)),
        (Fraction(1, 16), 4, (1, 1, 1)),
        (Fraction(1, 32), 4, (0, 1, 0)),
        (Fraction(3, 32), 4, (1, 2, 2)),
        (Fraction(31, 32), 4, (15, 16, 16)),
        (Fraction(29, 32), 4, (14, 15, 14)),
        (Fraction(1, 1024), 1, (0, 0, 0)),
        (Fraction(1, 2), 1, (1, 1, 1)),
        (Fraction(3, 4), 1, (1, 2, 2)),
        (Fraction(1, 4), 1, (0, 1, 0)),
        (Fraction(5, 8), 3, (5, 5, 5)),
    ],
)
def test_stochastic_rounding_goes_up_for_so_many_random_integers(x, bits, ups):
    for sign, variant, expected in [(s, *pair) for s in (1, -1) for pair in zip(VARIANTS, ups, strict=True)]:
        number = as_number(sign * (1 + x / 1024))
        codes = [convert_to_float(number, FLOAT16, Stochastic(bits, r, variant))[0] & 0x7FFF for r in range(1 << bits)]
        assert codes == [0x3C00] * ((1 << bits) - expected) + [0x3C01] * expected  # up iff F + R >= 2^N
        counts = [round_quotient(*(sign * (7 + x)).as_integer_ratio(), Stochastic(bits, r, variant))
                  for r in range(1 << bits)]  # fmt: skip
        assert counts == [sign * 7] * ((1 << bits) - expected) + [sign * 8] * expected


def test_stochastic_rounding_agrees_with_gfloat():
    gfloat, theirs = as_gfloat(8, 3, True, True)
    names = {"A": "StochasticFastest", "B": "StochasticFast", "C": "Stochastic"}
    fmt, draw = p3109(8, 3, signed=True, extended=True), random.Random(SEED)
    for _ in range(300):
        x = draw.choice((-1, 1)) * math.ldexp(draw.randrange(1, 256), draw.randrange(-28, -8))
        for variant, r in product(VARIANTS, (0, 1, 3, 6, 7)):
            code, _ = convert_to_float(as_number(x), fmt, Stochastic(3, r, variant))
            their = gfloat.round_float(theirs, x, gfloat.RoundMode[names[variant]], srbits=r, srnumbits=3)
            assert decode(code, fmt).fraction == Fraction(float(their)), (x, variant, r)


@pytest.mark.parametrize(
    ("x", "r", "expected", "flags", "why"),
    [  # float8_e4m3fn, N = 4, variant A: subnormal steps of 2^-9, normal from 2^-6
        (2.0**-6 - 2.0**-10, 7, 0x07, UNDERFLOW, "half a step: F = 8, not up"),
        (2.0**-6 - 2.0**-10, 8, 0x08, UNDERFLOW, "up; exact in one digit more, so tiny"),
        (2.0**-6 - 2.0**-11, 4, 0x08, UNDERFLOW, "F = 12 goes up; with one digit more F = 8 does not: tiny"),
        (2.0**-6 - 2.0**-11, 8, 0x08, INEXACT, "with one digit more it goes up too: not tiny"),
        (2.0**-6 - 2.0**-11, 3, 0x07, UNDERFLOW, "not up"),
        (470.0, 0, 0x7E, INEXACT, "22 of 32: F = 11"),
        (470.0, 5, 0x7F, OVERFLOW, "up, and over as to nearest"),
        (-1e9, 0, 0xFF, OVERFLOW, "beyond, whatever R"),
        (448.0, 15, 0x7E, EXACT, "exact"),
    ],
)
def test_stochastic_rounding_at_the_ends(x, r, expected, flags, why):
    assert convert(f64(x), FLOAT64, E4M3FN, Stochastic(4, r, "A")) == (expected, flags), why


def test_a_codebook_has_no_stochastic_rounding():
    with pytest.raises(ValueError):
        convert(f64(0.3), FLOAT64, NF4, Stochastic(8, 3))


# --- Bits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "keep", "ties", "expected", "why"),
    [
        (0x3F800FFF, 12, "even", 0x3F801000, "above the tie"),
        (0x3F800400, 12, "even", 0x3F800000, "the tie goes to even"),
        (0x3F800400, 12, "away", 0x3F800800, "or away"),
        (0x3F800C00, 12, "even", 0x3F801000, "the tie goes to even, up"),
        (0xBF800400, 12, "away", 0xBF800800, "by magnitude"),
        (0x3FFFFFFF, 4, "even", 0x40000000, "the carry goes into the exponent"),
        (0x7F7FFFFF, 7, "even", 0x7F7F0000, "never infinity: the largest with seven bits"),
        (0xFF7F8000, 7, "even", 0xFF7F0000, "the threshold"),
        (0x00000001, 22, "even", 0x00000000, "a subnormal drops the same bit"),
        (0x00000003, 22, "even", 0x00000004, "tie to even"),
        (0x007FFFFF, 1, "even", 0x00800000, "and may become normal"),
        (0x80000001, 22, "even", 0x80000000, "zero keeps its sign"),
        (0x7F800001, 1, "even", 0x7F800001, "NaN stays to the bit"),
        (0xFF800000, 1, "even", 0xFF800000, "infinity stays"),
        (0x12345678, 23, "even", 0x12345678, "all bits kept"),
        (0x3FC00000, 0, "even", 0x40000000, "1.5: exponent field 7F is odd"),
        (0x40400000, 0, "even", 0x40000000, "3: exponent field 80 is even"),
        (0x40400000, 0, "away", 0x40800000, "or away"),
        (0x00400000, 0, "even", 0x00000000, "half the smallest normal number: zero is even"),
        (0x7F7FFFFF, 0, "even", 0x7F000000, "the largest power of two"),
    ],
)
def test_round_bits(code, keep, ties, expected, why):
    assert round_bits(code, FLOAT32, keep, ties) == expected, why


def test_round_bits_is_a_conversion_to_that_many_digits():
    draw = random.Random(SEED)
    for keep, ties in product((1, 7, 10, 22), ("even", "away")):
        target = exmy(8, keep)
        for code in [draw.randrange(1 << 32) for _ in range(100)] + [0x7F7FFFFF, 0x00012345]:
            if decode(code, FLOAT32).kind == "finite":
                there, _ = convert(code, FLOAT32, target, f"nearest_{ties}", "saturate")
                assert convert(there, target, FLOAT32) == (round_bits(code, FLOAT32, keep, ties), EXACT)


def test_pack_bits_by_hand():
    assert pack_bits([0x1, 0x2, 0x3], 4) == bytes([0x21, 0x03])
    assert pack_bits([0x1, 0x2, 0x3], 4, "big") == bytes([0x12, 0x30])
    assert pack_bits([0b101, 0b001, 0b110], 3) == bytes([0b10_001_101, 0b1])
    assert pack_bits([0b101, 0b001, 0b110], 3, "big") == bytes([0b101_001_11, 0b0_0000000])
    assert pack_bits([0x123, 0x456], 12) == bytes([0x23, 0x61, 0x45])
    assert pack_bits([0x123, 0x456], 12, "big") == bytes([0x12, 0x34, 0x56])
    assert pack_bits([], 5) == b""


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8, 11, 19])
def test_pack_bits_agrees_with_numpy(bits, order):
    draw = random.Random(SEED)
    codes = [draw.randrange(1 << bits) for _ in range(37)]
    digits = [[code >> k & 1 for k in range(bits)][:: 1 if order == "little" else -1] for code in codes]
    packed = pack_bits(codes, bits, order)
    assert packed == np.packbits(np.array(digits, np.uint8).reshape(-1), bitorder=order).tobytes()
    assert unpack_bits(packed, bits, len(codes), order) == codes


# --- Subnormals ---------------------------------------------------------------------------------------------


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


LISTED = [FLOAT16, BFLOAT16, INT8, UINT8, FORMATS["int4"], *SMALL, *CUSTOM, *P3109[::5], NF4, IQ4_NL]


@pytest.mark.parametrize("fmt", LISTED, ids=lambda fmt: fmt.name)
def test_places_follow_values_without_a_gap(fmt):
    codes = [code for code in range(fmt.code_count) if decode(code, fmt).kind == "finite"]
    place_of = {decode(code, fmt).fraction: ordered(code, fmt) for code in codes}
    assert all(b - a == 1 for a, b in pairwise(place_of[value] for value in sorted(place_of)))
    assert fmt.kind == "codebook" or not fmt.has_zero or place_of[Fraction(0)] == 0
    assert all(decode(code_at(place, fmt), fmt).fraction == value for value, place in place_of.items())


@pytest.mark.parametrize("fmt", LISTED, ids=lambda fmt: fmt.name)
def test_neighbours_and_spacing_agree_with_the_list(fmt):
    codes = [code for code in range(fmt.code_count) if decode(code, fmt).kind == "finite"]
    values = sorted({decode(code, fmt).fraction for code in codes})
    ends = [-math.inf if fmt.infinity is not None and fmt.signed else values[0]]
    ends += [math.inf if fmt.infinity is not None else values[-1]]
    if fmt.kind == "integer":
        ends = [values[0], values[-1]]
    draw = random.Random(SEED)
    points = [values[0] - 1, values[-1] + 1, values[0], values[-1], *draw.sample(values, min(len(values), 200))]
    points += [(a + b) / 2 for a, b in draw.sample(list(pairwise(values)), min(len(values) - 1, 100))]
    for x in points:
        number = as_number(x)
        low, high = (decode(code, fmt) for code in neighbours_of(number, fmt))
        below, above = bisect_left(values, x) - 1, bisect_right(values, x)
        expected = values[below] if below >= 0 else ends[0]
        assert (low.fraction if low.kind == "finite" else -math.inf) == expected, x
        expected = values[above] if above < len(values) else ends[1]
        assert (high.fraction if high.kind == "finite" else math.inf) == expected, x
        if 0 <= x < values[-1] and bisect_right(values, x):
            at = bisect_right(values, x)
            assert spacing(x, fmt) == values[at] - values[at - 1], x


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
