"""Formats made from a rule: P3109's, custom ones, codebooks: their names, what cannot be, and that they round right."""

from __future__ import annotations

import copy
import math
import pickle
import re
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
import reference
from judging import assert_same_codes

# --- P3109 --------------------------------------------------------------------------------------------------


def test_there_are_four_hundred_and_fifty_four_formats_of_p3109():
    """Counted by hand: those of the rule, less those of which float64 does not hold every value."""
    found = bq.formats("p3109")
    names = [fmt.name for fmt in found]
    assert len(names) == len(set(names)) == 454
    expected = []
    for width in range(3, 17):
        for sign in "su":
            for precision in range(1, width + (sign == "u")):
                for domain in "ef":
                    judge = reference.p3109(width, precision, sign == "s", domain == "e")
                    largest = reference.value_at(judge.largest, judge)
                    smallest = reference.value_at(1, judge)
                    if largest < 2**1024 and smallest >= Fraction(1, 2**1074):
                        expected.append(judge.name)
    assert names == expected
    assert all(bq.format(fmt.name) is fmt for fmt in found)


@pytest.mark.parametrize("name", ["binary8p3se", "BINARY8P3SE", "Binary8p3se", " binary8p3se", "binary8_p3-se"])
def test_names_of_p3109_are_case_insensitive(name):
    assert bq.format(name) is bq.format("binary8p3se")
    assert bq.format(name).name == "binary8p3se"


# IEEE P3109 interim report 4.0 on Binary8p3se: bias 16, one zero, NaN at 80, infinities at 7F and FF, max 49152.
# name, bits, e, m, bias, signed, infinity, NaN, max
OF_P3109 = [
    ("binary8p3se", 8, 5, 2, 16, True, 0x7F, 0x80, 49152.0),
    ("binary8p3sf", 8, 5, 2, 16, True, None, 0x80, 57344.0),
    ("binary8p3ue", 8, 6, 2, 32, False, 0xFE, 0xFF, 2.0**31 * 1.25),
    ("binary8p3uf", 8, 6, 2, 32, False, None, 0xFF, 2.0**31 * 1.5),
    ("binary8p4se", 8, 4, 3, 8, True, 0x7F, 0x80, 224.0),
    ("binary8p1uf", 8, 8, 0, 128, False, None, 0xFF, 2.0**126),
    ("binary4p4uf", 4, 1, 3, 1, False, None, 0xF, 1.75),
    ("binary3p1se", 3, 2, 0, 2, True, 0x3, 0x4, 1.0),
]


@pytest.mark.parametrize("row", OF_P3109, ids=lambda row: row[0])
def test_formats_of_p3109_have_the_fields_of_the_report(row):
    name, bits, e, m, bias, signed, infinity, nan, largest = row
    fmt = bq.format(name)
    assert (fmt.bits, fmt.exponent_bits, fmt.significand_bits, fmt.bias, fmt.signed) == (bits, e, m, bias, signed)
    assert (fmt.infinity_code, fmt.nan_code, fmt.max) == (infinity, nan, largest)
    assert (fmt.signed_zero, fmt.ties) == (False, "code")


REFUSED_OF_P3109 = [
    ("binary2p1se", "K from 3 to 16"),
    ("binary17p4se", "K from 3 to 16"),
    ("binary8p0se", "P from 1 to 7"),
    ("binary8p8se", "P from 1 to 7"),
    ("binary8p9ue", "P from 1 to 8"),
    ("binary16p1se", "beyond float64"),
    ("binary16p2uf", "beyond float64"),
    ("binary13p1ue", "beyond float64"),
]


@pytest.mark.parametrize(("name", "allowed"), REFUSED_OF_P3109)
def test_what_p3109_or_float64_has_not_is_refused_by_name(name, allowed):
    with pytest.raises(bq.BitquantError, match=allowed) as caught:
        bq.format(name)
    assert name in str(caught.value)


# --- Custom -------------------------------------------------------------------------------------------------


def custom_of(row, **changes):
    """`exmy` with every argument said."""
    options = {"bias": row.bias, "infinity": row.infinity, "nan": row.nan, "signed": row.signed} | changes
    return bq.exmy(row.exponent_bits, row.significand_bits, **options)


@pytest.mark.parametrize("row", [row for row in bq.formats() if row.is_float and row.zero], ids=lambda row: row.name)
def test_a_custom_format_that_the_table_has_is_its_row(row):
    assert custom_of(row) is row
    assert custom_of(row, signed_zero=row.signed_zero) is row
    if row is not bq.FP64:  # which has no room for it
        assert custom_of(row, bias=row.bias + 1) is not row
        other = custom_of(row, infinity=not row.infinity, nan=None if row.nan == "ieee" else row.nan)
        assert other is not row
        assert (other.exponent_bits, other.significand_bits) == (row.exponent_bits, row.significand_bits)
    if row.nan != "negative_zero":
        assert custom_of(row, bias=None, signed_zero=None) is row


# arguments, the name that is made of them
NAMED = [
    ((5, 3), {}, "exmy(5, 3)"),
    ((5, 3), {"bias": 15}, "exmy(5, 3)"),
    ((5, 3), {"bias": 12}, "exmy(5, 3, bias=12)"),
    ((5, 3), {"bias": -12}, "exmy(5, 3, bias=-12)"),
    ((5, 3), {"nan": None}, "exmy(5, 3, nan=None)"),
    ((5, 3), {"nan": None, "infinity": True}, "exmy(5, 3, infinity=True, nan=None)"),
    ((5, 3), {"nan": "all_ones", "signed": False}, "exmy(5, 3, nan='all_ones', signed=False)"),
    ((5, 3), {"signed": False}, "exmy(5, 3, signed=False)"),
    ((8, 0), {"nan": None, "bias": 0}, "exmy(8, 0, bias=0, nan=None)"),
    ((np.int64(4), np.uint8(2)), {"bias": np.int8(7), "infinity": True}, "exmy(4, 2)"),
    ((5, 3), {"nan": "negative_zero", "signed_zero": False}, "exmy(5, 3, nan='negative_zero')"),
]


@pytest.mark.parametrize(("arguments", "options", "name"), NAMED)
def test_a_custom_format_is_one_object_whose_name_makes_it_again(arguments, options, name):
    fmt = bq.exmy(*arguments, **options)
    assert fmt.name == name
    assert fmt is bq.exmy(*arguments, **options)
    assert bq.format(name) is fmt
    assert pickle.loads(pickle.dumps(fmt)) is copy.deepcopy(fmt) is fmt


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [("e5m3", (5, 3), {}), ("E5M3", (5, 3), {}), ("e5m3b12", (5, 3), {"bias": 12}), ("e5m3b-2", (5, 3), {"bias": -2}),
     ("exmy(5, 3, bias=12, nan=None)", (5, 3), {"bias": 12, "nan": None}), ("exmy(5,3)", (5, 3), {})],
)  # fmt: skip
def test_custom_formats_have_short_names(name, arguments, options):
    assert bq.format(name) is bq.exmy(*arguments, **options)


def test_the_name_of_a_row_wins_over_a_short_name():
    """e4m3 and e5m2 are rows; e8m0 is E8M0 and not what exmy would refuse."""
    assert bq.format("e5m2") is bq.E5M2
    assert bq.format("e8m0") is bq.E8M0
    assert bq.format("e5m10") is bq.FP16


BAD = [
    ((0, 40), {}, "a format has 1 to 11 exponent bits, not 0"),
    ((12, 3), {}, "a format has 1 to 11 exponent bits, not 12"),
    ((-1, 3), {}, "1 to 11 exponent bits, not -1"),
    ((8, 53), {}, "a format has 0 to 52 significand bits, not 53"),
    ((8, -1), {}, "0 to 52 significand bits, not -1"),
    ((5.0, 3), {}, "1 to 11 exponent bits, not 5.0"),
    (("5", 3), {}, "1 to 11 exponent bits, not 5"),
    ((True, 3), {}, "1 to 11 exponent bits, not True"),
    ((5, None), {}, "0 to 52 significand bits, not None"),
    ((5, 3), {"bias": 1.5}, "bias=1.5 is no integer"),
    ((5, 3), {"bias": 1073}, "with 5 exponent and 3 significand bits the bias is -993 to 1072"),
    ((5, 3), {"bias": -994}, "with 5 exponent and 3 significand bits the bias is -993 to 1072"),
    ((11, 52), {"bias": 1024}, "the bias is 1023 to 1023"),
    ((11, 52), {"bias": 1022}, "the bias is 1023 to 1023"),
    ((11, 52), {"nan": None}, "take fewer exponent bits"),
    ((5, 3), {"nan": "ieee", "infinity": False}, "nan='ieee' needs infinity; without it choose nan='all_ones'"),
    ((5, 0), {"nan": "ieee"}, "needs e ≥ 2 and m ≥ 1; choose nan='all_ones', 'negative_zero' or None"),
    ((1, 3), {"nan": "ieee"}, "needs e ≥ 2 and m ≥ 1"),
    ((5, 3), {"nan": "fnuz"}, "nan='fnuz' is not possible: choose 'ieee', 'all_ones', 'negative_zero' or None"),
    ((5, 3), {"nan": []}, "nan=[] is not possible"),
    ((5, 3), {"nan": "negative_zero", "signed": False}, "without a sign there is no −0: choose nan='all_ones' or None"),
    ((5, 3), {"signed_zero": False}, "signed_zero=False is not possible here: give its code to NaN with"),
    ((5, 3), {"nan": "negative_zero", "signed_zero": True}, "signed_zero=True is not possible here: its code is NaN"),
    ((5, 3), {"signed": False, "signed_zero": True}, "signed_zero=True is not possible here"),
    ((1, 0), {"nan": "all_ones"}, "infinity and NaN leave no normal number: give it another bit"),
    ((1, 0), {"nan": None, "infinity": True}, "infinity and NaN leave no normal number"),
    ((1, 1), {"nan": "all_ones", "infinity": True}, "infinity and NaN leave no normal number"),
]


@pytest.mark.parametrize(("arguments", "options", "message"), BAD, ids=[row[2][:60] for row in BAD])
def test_a_custom_format_that_cannot_be_is_refused_and_the_message_says_what_can(arguments, options, message):
    with pytest.raises(bq.BitquantError, match=re.escape(message)):
        bq.exmy(*arguments, **options)


@pytest.mark.parametrize("bias", [-993, 1072])
def test_the_ends_of_the_bias_are_allowed(bias):
    """Those that the message names: the last that float64 holds."""
    fmt = bq.exmy(5, 3, bias=bias)
    assert math.isfinite(fmt.max)
    assert fmt.smallest_subnormal >= 2.0**-1074
    assert fmt.smallest_subnormal == 2.0 ** (1 - bias - 3)


@pytest.mark.parametrize(
    ("e", "m", "options"),
    [(1, 1, {"nan": "all_ones"}), (1, 0, {"nan": None}), (1, 0, {"nan": "negative_zero"}), (2, 1, {}),
     (1, 2, {"nan": "all_ones", "infinity": True})],
)  # fmt: skip
def test_the_smallest_custom_formats_round_right(e, m, options):
    fmt = bq.exmy(e, m, **options)
    judge = reference.exmy(e, m, None, True, options.get("infinity", fmt.infinity), fmt.nan)
    for target, aim in ((fmt, judge), (bq.FP16, reference.FLOAT16)):
        for source, codes in ((fmt, range(2**fmt.bits)), (bq.FP16, range(0, 2**16, 7))):
            inputs = np.array(codes, source.code_dtype)
            start = judge if source is fmt else reference.FLOAT16
            rules = {} if aim.nan else {"nan": "max"}
            theirs = [reference.convert(code, start, aim, **rules)[0] for code in codes]
            ours = bq.encode(inputs, target, source, **rules)
            assert_same_codes(ours, np.array(theirs, target.code_dtype), inputs, f"{source.name} to {target.name}")


@pytest.mark.parametrize(
    "name", ["exmy(5)", "exmy(5, 3, 7)", "exmy(5, x)", "exmy(5, 3, colour=1)", "exmy(5, 3", "exmy(*a)"]
)
def test_a_name_that_does_not_read_as_a_call_of_exmy_is_refused(name):
    with pytest.raises(bq.BitquantError, match=r"cannot be read as exmy\(e, m, bias=, infinity=, nan=, signed=\)"):
        bq.format(name)


def test_a_name_runs_no_code():
    with pytest.raises(bq.BitquantError):
        bq.format("exmy(__import__('os').getpid(), 3)")


# --- Codebooks ----------------------------------------------------------------------------------------------

BAD_BOOKS = [
    ([1.0, 0.0], "value 1 (0) is not above 1: sort them"),
    ([0.0, 1.0, 1.0], "value 2 (1) is not above 1: sort them"),
    ([-0.0, 0.0], "value 1 (0) is not above 0"),
    ([0.0, math.nan], "values are finite, and value 1 is nan"),
    ([-math.inf, 0.0], "values are finite, and value 0 is -inf"),
    ([], "a codebook has 2 to 65536 values, not 0"),
    ([1.0], "a codebook has 2 to 65536 values, not 1"),
    (range(65537), "a codebook has 2 to 65536 values, not 65537"),
    (["a", "b"], "a codebook is made of numbers"),
    ([None, 1], "a codebook is made of numbers"),
    (3, "a codebook is made of numbers"),
    ([0, 10**400], "a codebook is made of numbers"),
    ([1j, 2], "a codebook is made of numbers"),
]


@pytest.mark.parametrize(("values", "message"), BAD_BOOKS, ids=[row[1] for row in BAD_BOOKS])
def test_a_codebook_that_cannot_be_is_refused(values, message):
    with pytest.raises(bq.BitquantError, match=re.escape(message)):
        bq.codebook(values)


def spread(count):
    """Ascending values on both sides of 0, unevenly spaced, none of them a float32."""
    places = np.arange(count) - count // 3
    return (np.sign(places) * np.abs(places) ** 1.5 / 7).tolist()


@pytest.mark.parametrize("count", [2, 3, 16, 32, 33, 256, 257, 65536])
def test_codes_of_a_codebook_of_any_size_are_those_that_a_search_finds(count):
    """Against numpy.searchsorted among the exact midpoints, in float64 where they are exact."""
    fmt = bq.codebook(spread(count))
    values = np.array(fmt.values)
    assert (fmt.bits, fmt.code_dtype) == ((count - 1).bit_length(), np.dtype("u1" if count <= 256 else "u2"))
    assert (fmt.finite_count, fmt.min, fmt.max) == (count, values[0], values[-1])
    draw = np.random.default_rng(count)
    x = np.concatenate([draw.uniform(values[0] - 1, values[-1] + 1, 3000), values, [-np.inf, np.inf, -1e300, 1e300]])
    above = np.clip(np.searchsorted(values, x), 0, count - 1)
    below = np.clip(np.searchsorted(values, x, side="right") - 1, 0, count - 1)
    if count < 65536:  # the plan of which takes seconds
        assert np.array_equal(bq.encode(x, fmt, rounding="toward_positive"), above)
        assert np.array_equal(bq.encode(x, fmt, rounding="toward_negative"), below)
    nearest = np.where(np.abs(values[above] - np.clip(x, values[0], values[-1])) <
                       np.abs(np.clip(x, values[0], values[-1]) - values[below]), above, below)  # fmt: skip
    sure = np.abs(values[above] + values[below] - 2 * np.clip(x, values[0], values[-1])) > 1e-9
    assert np.array_equal(bq.encode(x, fmt)[sure], nearest[sure])
    assert np.array_equal(bq.decode(np.arange(count, dtype=fmt.code_dtype), fmt), values)


@pytest.mark.parametrize("count", [2, 3, 16, 32, 33, 257])
@pytest.mark.parametrize("carrier", ["float32", "float64"])
def test_codes_of_a_codebook_are_the_references_next_to_every_threshold(count, carrier):
    steps = [float(np.float32(value)) for value in spread(count)] if carrier == "float32" else spread(count)
    fmt, judge = bq.codebook(steps), reference.codebook("judge", map(Fraction, steps))
    places = sorted({*range(min(count, 40)), *range(max(count - 40, 0), count)})[:-1]
    assert_reference_next_to_thresholds(fmt, judge, carrier, places, reference.ROUNDINGS)


BOOKS = {  # in float64: how close the values of each lie decides how its kernel finds them
    "close together": 1 + np.arange(-40, 40) * 2.0**-22,
    "neighbours": 3 + np.arange(200) * 2.0**-51,
    "far apart": np.ldexp([-1.5] * 30 + [1.5] * 30, [*range(600, -600, -40), *range(-600, 600, 40)]),
    "of two sizes": np.concatenate([np.arange(-20, 20) * 2.0**-1070, 2.0**600 + np.arange(1, 21) * 2.0**560]),
    "down to the last": np.concatenate([[-1.7e308, -1e308], np.arange(-20, 20) * 5e-324, [1e308, 1.7e308]]),
    "negative": -(np.arange(100, 0, -1) ** 3) / 16,
}


@pytest.mark.parametrize("book", BOOKS)
def test_codes_of_a_codebook_are_the_references_however_its_values_lie(book):
    fmt, judge = bq.codebook(BOOKS[book]), reference.codebook("judge", map(Fraction, BOOKS[book].tolist()))
    places = [*range(0, len(BOOKS[book]) - 1, 7), len(BOOKS[book]) - 2]
    assert_reference_next_to_thresholds(fmt, judge, "float64", places, ["nearest_even", "toward_negative"])


def assert_reference_next_to_thresholds(fmt, judge, carrier, places, roundings):
    start = reference.FORMATS[carrier]
    codes = set()
    for at in places:
        for value in (judge.values[at], (judge.values[at] + judge.values[at + 1]) / 2, judge.values[at + 1]):
            floor, _ = reference.floor_place(reference.as_number(value), start)
            codes |= {reference.code_at(floor + step, start, int(value < 0)) for step in (-1, 0, 1)}
    inputs = np.array(sorted(codes), bq.format(carrier).code_dtype)
    for rounding in roundings:
        judged = [reference.convert(int(code), start, judge, rounding) for code in inputs]
        flags = bq.Flags(record=True)
        ours = bq.encode(inputs, fmt, carrier, rounding=rounding, flags=flags)
        assert_same_codes(ours, np.array([code for code, _ in judged], fmt.code_dtype), inputs, rounding)
        assert flags.inexact == sum("inexact" in raised for _, raised in judged)
        assert flags.overflow == sum("overflow" in raised for _, raised in judged)


def test_codebooks_are_one_object_by_values_and_name():
    ternary = bq.codebook([-1, 0, 1], "ternary")
    assert bq.codebook(np.array([-1.0, -0.0, 1.0]), "ternary") is ternary
    assert bq.codebook(v for v in (-1, 0, 1)) is not ternary
    assert repr(ternary) == "<Format ternary>"
    assert repr(bq.codebook([-1, 0, 1])) == "<Format codebook(3 values)>"
    assert pickle.loads(pickle.dumps(ternary)) is copy.deepcopy(ternary) is ternary


def test_a_codebook_of_a_rows_name_stays_itself():
    other = bq.codebook([-1, 1], "nf4")
    assert pickle.loads(pickle.dumps(other)) is other is not bq.NF4
    assert pickle.loads(pickle.dumps(bq.NF4)) is bq.NF4


def test_codes_beyond_a_codebooks_own_are_refused():
    fmt = bq.codebook([-1, 0, 1], "ternary")
    fmt.check_code(2)
    with pytest.raises(bq.BitquantError, match="0x3 is no code of ternary, which has 3 values"):
        fmt.check_code(3)
    with pytest.raises(bq.BitquantError, match="0x3 is no code of ternary, which has 3 values"):
        bq.decode([0, 3], fmt)
    with pytest.raises(bq.BitquantError, match="0x3 is no code of ternary"):
        bq.convert(np.uint8([3, 1]), "float32", fmt)
