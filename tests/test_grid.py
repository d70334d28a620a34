"""Fields, distances, spacings and neighbours: those of the reference, for every format and pair of formats."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from functools import cache

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
import reference
from bitquant import grid
from judging import EVERY, TABLE, judge_of, ours_of

# Of every kind: with and without infinity, NaN, sign and zero; subnormals of float64; integers and codebooks.
SOURCES = [
    *("bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float6_e2m3fn", "float8_e8m0fnu"),
    *("int4", "uint8", "int64", "uint64"),
]
SOME = [*SOURCES, "float64", "float32", "nf4", "uneven", "binary8p3ue", "binary6p1uf", "exmy(3, 0, nan=None)"]
PAIRS = [("float64", target) for target in EVERY if target != "cubes"]
PAIRS += [("float32", target) for target in SOME]
PAIRS += [(source, target) for source in SOURCES for target in SOME if (source[-2:], target) != ("64", "uneven")]


def codes_near_edges(name):
    """All codes of a format of up to 12 bits; of the others the edges, all powers of two, NaNs, and a sample."""
    judge = judge_of(name)
    if judge.bits <= 12:
        return list(range(judge.code_count))
    draw = random.Random(name)
    places = reference.edge_places(judge) | {draw.randrange(judge.last_place) for _ in range(200)}
    if judge.kind == "codebook":
        return sorted(places)
    codes = {reference.code_at(sign * place, judge, int(sign < 0)) for place in places for sign in (1, -1)}
    return sorted(codes | reference.nan_codes(judge)) if judge.kind == "float" else sorted(codes)


def array_of(codes, name):
    """Codes in the word that holds them."""
    return np.array(codes, ours_of(name).code_dtype)


# --- Fields -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_fields_make_up_the_number_that_the_code_stands_for(name):
    fmt, judge = ours_of(name), judge_of(name)
    codes = codes_near_edges(name)
    sign, exponent, significand = bq.fields(array_of(codes, name), fmt)
    assert (sign.dtype, exponent.dtype, significand.dtype) == (np.uint8, np.uint16, fmt.code_dtype)
    for code, s, e, m in zip(codes, sign.tolist(), exponent.tolist(), significand.tolist(), strict=True):
        number = reference.decode(code, judge)
        if judge.kind == "codebook":
            assert (s, e, m) == (0, 0, code)
        elif judge.kind == "integer":
            assert (s, e) == (int(number.fraction < 0), 0)
            assert m - s * 2 ** (judge.bits - 1) == number.fraction
        elif number.kind == "finite":
            hidden = 1 << fmt.significand_bits if e or not judge.has_zero else 0
            value = (m + hidden) * Fraction(2) ** (max(e, judge.has_zero) - judge.bias - judge.significand_bits)
            assert (s, abs(number.fraction)) == (number.sign, value)
        else:
            assert s * judge.sign_bit | e << judge.significand_bits | m == code


@pytest.mark.parametrize("name", EVERY)
def test_from_fields_undoes_fields(name):
    fmt = ours_of(name)
    codes = array_of(codes_near_edges(name), name)
    back = bq.from_fields(*bq.fields(codes, fmt), fmt)
    assert back.dtype == codes.dtype
    assert np.array_equal(back, codes)
    if fmt.dtype is not None:
        assert np.array_equal(bq.from_fields(*bq.fields(codes.view(fmt.dtype)), fmt), codes)


def test_fields_broadcast_and_scalars_give_scalars():
    codes = bq.from_fields([[0], [1]], 15, [0, 512, 1023], "float16")
    assert codes.tolist() == [[0x3C00, 0x3E00, 0x3FFF], [0xBC00, 0xBE00, 0xBFFF]]
    assert bq.from_fields(1, 2047, 1, "float64") == 0xFFF0_0000_0000_0001
    sign, exponent, significand = bq.fields(-1.5)
    assert (sign, exponent, significand) == (1, 1023, 1 << 51)
    assert bq.fields(np.float16([[1], [-2]])).exponent.tolist() == [[15], [16]]
    assert bq.fields([]).sign.shape == (0,)


LAYOUTS = [
    lambda x: np.repeat(x, 2)[::2],
    lambda x: x.astype(x.dtype.newbyteorder(">")),
    lambda x: np.asfortranarray(np.stack([x, x]))[0],
    lambda x: x[::-1].copy()[::-1],
]


@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
def test_the_grid_does_not_depend_on_the_layout(layout):
    x = np.float32([1.5, -0.1, 1e-40, 3e38, 0])
    other = LAYOUTS[layout](x)
    for function in (bq.fields, bq.neighbours, lambda x: (bq.spacing(x),), lambda x: (bq.ulp_distance(x, 1.0),)):
        for ours, theirs in zip(function(other), function(x), strict=True):
            assert np.array_equal(ours, theirs)


# --- Distance -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_the_distance_counts_the_places_between(name):
    fmt, judge = ours_of(name), judge_of(name)
    codes = [code for code in codes_near_edges(name) if reference.decode(code, judge).kind != "nan"]
    draw = random.Random(name)
    other = draw.sample(codes, len(codes))
    theirs = [reference.ulp_distance(a, b, judge) for a, b in zip(codes, other, strict=True)]
    ours = bq.ulp_distance(array_of(codes, name), array_of(other, name), fmt)
    assert ours.dtype == np.uint64
    assert ours.tolist() == theirs
    assert bq.ulp_distance(array_of(other, name), array_of(codes, name), fmt).tolist() == theirs


# a, b, format, distance, why
DISTANCES = [
    (1.0, 1.0, None, 0, "the same"),
    (0.0, -0.0, None, 0, "the zeros share a place"),
    (5e-324, -5e-324, None, 2, "by way of zero"),
    (np.inf, -np.inf, "float64", 2 * 0x7FF0_0000_0000_0000, "from end to end"),
    (np.inf, np.float64(np.finfo(float).max), None, 1, "infinity lies one beyond the largest number"),
    (1.0, 1.0009765625, "float16", 1, "numbers of another dtype that the format has"),
    (np.float16(1), np.float64(2), "bfloat16", 128, "numbers of two dtypes"),
    (np.float32(1), 2.0, None, 2**23, "the format is that of a"),
    (-128, 127, "int8", 255, "integers"),
    (0, 255, "uint8", 255, "integers without sign"),
    (1, 2, None, 1, "Python integers are numbers of int64"),
    (-(2**63), 2**63 - 1, None, 2**64 - 1, "int64 from end to end"),
    (np.uint64(0), np.uint64(2**64 - 1), None, 2**64 - 1, "uint64 from end to end"),
    (np.int16(-3), np.int16(4), None, 7, "int16 is a format"),
    (np.uint16(3), np.uint16(4), None, 1, "and uint16 one of numbers"),
    (1.0, 2.0, "float8_e8m0fnu", 1, "powers of two"),
    (-6.0, 6.0, "float4_e2m1fn", 14, "from end to end, zero once"),
    (-0.0, 0.0, "float8_e4m3fnuz", 0, "where there is one zero"),
    (-np.inf, 65536.0 * 0.75, "binary8p3se", 253, "from minus infinity to the largest number"),
    (-1.0, 1.0, "nf4", 15, "the difference of the codes"),
    (np.uint8(3), np.uint8(250), None, 247, "uint8 is a format"),
    (np.uint16(0x3C00), np.uint16(0x3C01), "float16", 1, "codes"),
    (np.uint32(0x3F800), np.float32(1), "tfloat32", 0x3F800 - 0x1FC00, "a code and a number"),
]


@pytest.mark.parametrize(("a", "b", "fmt", "distance", "why"), DISTANCES)
def test_named_distances(a, b, fmt, distance, why):
    assert bq.ulp_distance(a, b, fmt) == distance, why


def test_distances_broadcast():
    a, b = np.float16([[1], [2]]), np.float16([1, 2, 4])
    assert bq.ulp_distance(a, b).tolist() == [[0, 1024, 2048], [1024, 0, 1024]]
    assert bq.ulp_distance([1.0, 2.0], 1.0, "bfloat16").tolist() == [0, 128]
    assert bq.ulp_distance([], 1.0).shape == (0,)


# --- Spacing ------------------------------------------------------------------------------------------------


def has(number, judge):
    """Tell whether a number lies in the finite range of a format."""
    if number.kind != "finite":
        return False
    if judge.kind == "integer":
        return judge.low <= number.fraction <= judge.high
    if judge.kind == "codebook":
        return judge.values[0] <= number.fraction <= judge.values[-1]
    high = reference.value_at(judge.largest, judge)
    return (-high if judge.signed else reference.value_at(0, judge)) <= number.fraction <= high


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_spacing_is_one_ulp_of_the_format(source, target):
    judge, aim = judge_of(source), judge_of(target)
    numbers = sample(source, target)
    ours = bq.spacing(array_of(numbers, source).view(ours_of(source).dtype), ours_of(target))
    assert ours.dtype == np.float64
    for code, spacing in zip(numbers, ours.tolist(), strict=True):
        number = reference.decode(code, judge)
        if has(number, aim):
            assert spacing == float(reference.spacing(number.fraction, aim)), f"{code:#x}"
        else:
            assert np.isnan(spacing), f"{code:#x}"


# number, format, spacing, why
SPACINGS = [
    (0.0, "float64", 5e-324, "zero has that of the subnormal numbers"),
    (1.0, "float16", 2.0**-10, "one"),
    (65504, "float16", 32.0, "the largest number"),
    (65504.001, "float16", np.nan, "beyond the largest number, if by less than an ulp"),
    (-65519.9, "float16", np.nan, "beyond on the other side"),
    (127, "int8", 1.0, "the end of the range"),
    (-128, "int8", 1.0, "the other end"),
    (127.5, "int8", np.nan, "beyond it"),
    (-128.5, "int8", np.nan, "below it"),
    (0.5, "uint8", 1.0, "among integers it is 1"),
    (-0.5, "uint8", np.nan, "there are none below 0"),
    (np.inf, "bfloat16", np.nan, "infinity"),
    (np.nan, "int8", np.nan, "NaN"),
    (3, None, 1.0, "a Python integer is a number of int64"),
    (448, "float8_e4m3fn", 32.0, "the largest number, in the binade of NaN"),
    (448.001, "float8_e4m3fn", np.nan, "beyond it"),
    (5, "float8_e8m0fnu", 4.0, "from 4 to 8"),
    (0, "float8_e8m0fnu", np.nan, "which has no zero"),
    (-1, "binary8p3ue", np.nan, "which has no sign"),
    (30, "iq4_nl", 13.0, "from 25 to 38"),
    (113, "iq4_nl", 24.0, "from the last value down"),
    (114, "iq4_nl", np.nan, "beyond the last value"),
]


@pytest.mark.parametrize(("x", "fmt", "spacing", "why"), SPACINGS)
def test_named_spacings(x, fmt, spacing, why):
    ours = bq.spacing(x, fmt)
    assert ours == spacing or (np.isnan(ours) and np.isnan(spacing)), why
    named = bq.format(fmt or "int64").spacing(float(x))
    assert named == spacing or (np.isnan(named) and np.isnan(spacing)), f"Format.spacing: {why}"


# --- Neighbours ---------------------------------------------------------------------------------------------


@cache
def sample(source, target, most=150):
    """Codes of a source next to the numbers of a target and halfway between them, infinities and NaNs too."""
    judge, aim = judge_of(source), judge_of(target)
    codes = list(reference.boundaries(judge, aim, samples=20, whole=1 << 6))
    edges = {reference.code_at(sign * place, judge) for place in (0, 1, 2, judge.largest) for sign in (1, -1)}
    if judge.kind == "float":
        edges |= {reference.code_at(sign * judge.last_place, judge) for sign in (1, -1)} | {judge.sign_bit}
        edges |= reference.nan_codes(judge)
    draw = random.Random(f"{source} {target}")
    return sorted(edges | set(draw.sample(codes, min(len(codes), most))))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_neighbours_are_the_references(source, target):
    judge, aim, fmt = judge_of(source), judge_of(target), ours_of(target)
    codes = sample(source, target)
    if aim.nan is None:
        codes = [code for code in codes if reference.decode(code, judge).kind != "nan"]
    x = array_of(codes, source).view(ours_of(source).dtype)
    below, above = bq.neighbours(x, fmt)
    assert below.dtype == above.dtype == fmt.array_dtype
    below, above = below.view(fmt.code_dtype).tolist(), above.view(fmt.code_dtype).tolist()
    for code, down, up in zip(codes, below, above, strict=True):
        theirs = reference.neighbours(code, judge, aim)
        assert (down, up) == theirs, f"{code:#x}: {down:#x} {up:#x}, the reference {theirs[0]:#x} {theirs[1]:#x}"


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_neighbours_agree_with_nextafter(name):
    judge = reference.FORMATS[name]
    finite = [code for code in codes_near_edges(name) if reference.decode(code, judge).kind == "finite"]
    x = array_of(finite, name).view(bq.format(name).dtype)
    with np.errstate(all="ignore"):
        below, above = (np.nextafter(x, x.dtype.type(end)) for end in (-np.inf, np.inf))
    ours = bq.neighbours(x)
    assert np.array_equal(ours.below, below)
    assert np.array_equal(ours.above, above)


def test_named_neighbours():
    assert bq.neighbours(1.0, "float16") == (1 - 2**-11, 1 + 2**-10)
    assert bq.neighbours(70_000, "float16") == (65504, np.inf)
    assert bq.neighbours(1e-9, "float16") == (0, 2**-24)
    assert bq.neighbours(2.5, "int8") == (2, 3)
    assert bq.neighbours(2, "int8") == (1, 3)
    assert bq.neighbours(300, "int8") == (127, 127)
    assert bq.neighbours(np.uint8([0, 255])).below.tolist() == [0, 254]
    assert bq.neighbours(ml_dtypes.bfloat16(1)).above == 1 + 2**-7
    assert bq.neighbours(1, "int64") == (0, 2)
    assert bq.neighbours(np.int64([-(2**63), 2**63 - 1])).above.tolist() == [-(2**63) + 1, 2**63 - 1]
    assert bq.neighbours(np.uint64([0, 2**64 - 1])).below.tolist() == [0, 2**64 - 2]
    assert bq.neighbours(500.0, "float8_e4m3fn") == (448, 448)
    assert bq.neighbours(1.0, "float8_e8m0fnu") == (0.5, 2)
    assert bq.neighbours(0.0, "float8_e8m0fnu") == (2.0**-127, 2.0**-127)
    assert bq.neighbours(0.0, "float8_e4m3fnuz") == (-(2.0**-10), 2.0**-10)
    assert bq.neighbours(2.0, "float4_e2m1fn") == (1.5, 3)
    assert bq.neighbours([0.0, 0.1, -2, 1], "nf4").below.tolist() == [6, 8, 0, 14]
    assert bq.neighbours([0.0, 0.1, -2, 1], "nf4").above.tolist() == [8, 9, 0, 15]
    assert bq.neighbours([[1.0], [2.0]], "tfloat32").above.tolist() == [[0x1FC01], [0x20001]]


# --- What goes in and what is refused -----------------------------------------------------------------------


def test_tensors_come_back_as_tensors():
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = torch.tensor([1.0, -2.5, 0.0]).to(dtype)
        below, above = bq.neighbours(x)
        assert below.dtype == above.dtype == dtype
        assert torch.equal(below < x, torch.tensor([True] * 3))
        assert torch.equal(above > x, torch.tensor([True] * 3))
        spacing = bq.spacing(x)
        assert isinstance(spacing, torch.Tensor)
        assert torch.equal((above - x).double()[2:], spacing[2:])
        assert bq.ulp_distance(x, above).tolist() == [1, 1, 1]
        assert isinstance(bq.fields(x).sign, torch.Tensor)


REFUSED = [
    (lambda: bq.ulp_distance(1.0, np.nan), "b has NaN at index 0: NaN has no place among the numbers"),
    (lambda: bq.ulp_distance(np.float16([1, 2, np.nan]), 1.0), "a has NaN at index 2"),
    (lambda: bq.ulp_distance(0.1, 1.0, "float16"), "a has numbers that float16 does not have: round them first"),
    (lambda: bq.ulp_distance(np.float16(1), 1e6), "b has numbers that float16 does not have"),
    (lambda: bq.ulp_distance(1, 0.5, "int8"), "b has numbers that int8 does not have"),
    (lambda: bq.ulp_distance(300, 1, "int8"), "a has numbers that int8 does not have"),
    (lambda: bq.ulp_distance(1, -1, "uint8"), "b has numbers that uint8 does not have"),
    (lambda: bq.ulp_distance(np.inf, 1, "int8"), "a has numbers that int8 does not have"),
    (lambda: bq.ulp_distance(np.uint32([1 << 19]), np.uint32([0]), "tfloat32"), "0x80000 is no code of tfloat32"),
    (lambda: bq.ulp_distance(1j, 1), "a has dtype complex128"),
    (lambda: bq.from_fields(2, 0, 0, "float16"), "2 does not fit the sign field of float16, which has 1 bits"),
    (lambda: bq.from_fields(0, 32, 0, "float16"), "32 does not fit the exponent field of float16, which has 5 bits"),
    (lambda: bq.from_fields(0, 0, [0, 1024], "half"), "1024 does not fit the significand field of float16"),
    (lambda: bq.from_fields(0, -1, 0, "float16"), "-1 does not fit the exponent field"),
    (lambda: bq.from_fields(1, 0, 0, "uint8"), "1 does not fit the sign field of uint8, which has 0 bits"),
    (lambda: bq.from_fields(0, 1, 0, "int8"), "1 does not fit the exponent field of int8"),
    (lambda: bq.from_fields(0, 1.0, 0, "float16"), "the exponent field is an integer, not float64"),
    (lambda: bq.fields(np.uint32([1 << 19]), "tfloat32"), "0x80000 is no code of tfloat32"),
    (lambda: bq.fields(np.float32([1]), "float16"), "x has dtype float32, which is neither float16 nor its codes"),
    (lambda: bq.fields("1"), "x has dtype <U1"),
    (lambda: bq.spacing(1.0, "float7"), "no format is called 'float7'"),
    (lambda: bq.neighbours([1.0, np.nan], "int8"), "x has NaN at index 1: int8 has no NaN"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_makes_no_sense_is_refused_by_name(call, message):
    with pytest.raises(bq.BitquantError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("state", [("nearest_even", "flush"), ("toward_positive", "flush"), ("toward_zero", "gradual")])
def test_the_grid_does_not_depend_on_the_state_of_the_fpu(witness, state):
    if reason := witness.absent("mxcsr"):
        pytest.skip(reason)
    for source, target in [*(("float64", target) for target in TABLE), ("float32", "float32"), ("float32", "float16")]:
        codes = [code for code in sample(source, target, 60) if reference.decode(code, judge_of(source)).kind != "nan"]
        x = array_of(codes, source).view(ours_of(source).dtype)

        def work(x=x, target=target):
            return [part.tobytes() for part in (bq.spacing(x, target), *bq.neighbours(x, target), *bq.fields(x))]

        usual = work()
        with witness.fpu_state(*state):
            disturbed = work()
        assert usual == disturbed, (source, target)


def test_all_names_of_the_module_are_public():
    for name in grid.__all__:
        assert getattr(bq, name, getattr(grid, name)) is getattr(grid, name)


def test_unsigned_integers_without_a_format_are_numbers_not_codes():
    assert bq.ulp_distance(np.uint16(0x3C00), np.uint16(0x4000)) == 0x400
    assert bq.ulp_distance(np.uint16(0x3C00), np.uint16(0x4000), "float16") == 0x400
    assert bq.ulp_distance(np.uint16(1), 3.0, "float16") == bq.ulp_distance(np.float16(1e-7), 3.0, "float16") + 1
    assert bq.spacing(np.uint16(0x3C00)) == 1
    assert bq.neighbours(np.uint16(0x3C00)) == (0x3BFF, 0x3C01)
