"""Every kind of format to every other: the table, P3109, custom formats and codebooks, bit for bit."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitquant as bq
import reference
from judging import (
    BOOKS,
    EVERY,
    P3109,
    TABLE,
    all_codes,
    assert_agrees,
    assert_agrees_or_refuses,
    assert_same_codes,
    code_array,
    edges,
    is_ordinary,
    judge_of,
    judged,
    named,
    ours_of,
    rules_of,
)

ALL_OF_P3109 = [fmt.name for fmt in bq.formats("p3109")]
NARROW = [name for name in EVERY if judge_of(name).bits <= 16]
BYTES = [name for name in EVERY if judge_of(name).bits <= 8]
SMALL_P3109 = [name for name in ALL_OF_P3109 if judge_of(name).bits <= 8 and name not in P3109]
few = settings(max_examples=12)


def test_every_format_of_the_table_has_a_judge():
    assert set(TABLE) == set(reference.FORMATS)
    assert all(judge_of(name).bits == ours_of(name).bits for name in EVERY)


def test_all_formats_of_p3109_are_those_that_float64_holds():
    wanted = set()
    for width, signed, extended in itertools.product(range(3, 17), (True, False), (True, False)):
        for precision in range(1, width + 1 - signed):
            fmt = reference.p3109(width, precision, signed, extended)
            smallest, largest = (reference.value_at(place, fmt) for place in (1, fmt.largest))
            if smallest >= reference.Fraction(2) ** -1074 and largest < 2**1024:
                wanted.add(fmt.name)
    assert set(ALL_OF_P3109) == wanted
    assert len(ALL_OF_P3109) == len(wanted)


# --- Every pair under every rule ----------------------------------------------------------------------------


def some_rules(source, target):
    """Each rounding with each rule for overflow, the other rules drawn: among all pairs each combination comes up.

    A third of them, drawn, where a format is not of the table.
    """
    draw, judge = random.Random(f"rules {source} {target}"), judge_of(target)
    others = judge.nan_rules, reference.SUBNORMALS, reference.TININESSES
    for rounding, overflow in itertools.product(reference.ROUNDINGS, judge.overflow_rules):
        if (source in TABLE and target in TABLE) or draw.randrange(3) == 0:
            yield named((rounding, overflow, *(draw.choice(rules) for rules in others)))


@pytest.mark.parametrize("target", EVERY)
def test_every_format_to_this_one_under_every_rounding_and_overflow_rule(target):
    for source in EVERY:
        codes = edges(source, target)
        for rules in some_rules(source, target):
            context = f"{source} to {target}, {' '.join(rules.values())}"
            assert_agrees_or_refuses(codes, source, target, context, **rules)


@pytest.mark.parametrize("target", EVERY)
def test_long_runs_of_ordinary_numbers_to_this_format(target):
    """Blocks that no special number interrupts, of a length with a tail, under one rule each."""
    draw = random.Random(f"ordinary {target}")
    for source in EVERY:
        codes = [code for code in edges(source, target) if is_ordinary(code, source, target)]
        if not codes:
            continue
        rules = named(draw.choice(list(rules_of(target))))
        theirs, masks, refused = judged(codes, source, target, **rules)
        assert len(refused) in (0, len(codes)) or rules["overflow"] == "raise"
        kept = [at for at in range(len(codes)) if at not in refused]
        if kept:
            at = np.resize(kept, 1100 + draw.randrange(64))
            inputs = code_array(codes, ours_of(source))[at]
            context = f"{source} to {target}, {' '.join(rules.values())}"
            assert_agrees(inputs, source, target, theirs[at], masks[at], context, **rules)


MIXED_SOURCES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "int16",
    "int32",
    "int64",
    "nf4",
    "exmy(8, 15)",
]


@pytest.mark.parametrize("target", EVERY)
def test_the_result_of_a_number_does_not_depend_on_its_place_or_company(target):
    """Arrays of any length, all kinds of numbers in any order: blocks, lanes and tails."""
    draw = random.Random(f"mixed {target}")
    for source in MIXED_SOURCES:
        codes = edges(source, target)
        rules = named(draw.choice([rules for rules in rules_of(target) if "raise" not in rules]))
        theirs, masks, _ = judged(codes, source, target, **rules)
        inputs = code_array(codes, ours_of(source))
        for length in (draw.randrange(1, 70), draw.randrange(1000, 1600)):
            at = np.array([draw.randrange(len(codes)) for _ in range(length)])
            context = f"{length} of {source} to {target}, {' '.join(rules.values())}"
            assert_agrees(inputs[at], source, target, theirs[at], masks[at], context, **rules)


def nan_rule(target):
    """Return a rule under which a NaN is no error."""
    judge = judge_of(target)
    return next(rule for rule in judge.nan_rules if rule != "raise")


@pytest.mark.parametrize("source", [*BYTES, *SMALL_P3109])
def test_all_codes_of_a_byte_to_every_format_of_16_bits(source):
    codes = list(all_codes(judge_of(source)))
    inputs = code_array(codes, ours_of(source))
    targets = NARROW if source in BYTES else [*BYTES[::3], "float16", "bfloat16", *SMALL_P3109[::7]]
    for target in targets:
        rules = {"nan": nan_rule(target)}
        theirs, masks, _ = judged(codes, source, target, **rules)
        assert_agrees(inputs, source, target, theirs, masks, f"{source} to {target}", **rules)


@pytest.mark.parametrize("target", SMALL_P3109)
def test_float32_to_p3109_at_every_boundary(target):
    draw = random.Random(f"boundaries {target}")
    source = draw.choice(["float64", "float32", "float16", "bfloat16", "int32"])
    codes = list(reference.boundaries(judge_of(source), judge_of(target), samples=50))
    codes = draw.sample(codes, min(len(codes), 400))
    inputs = code_array(codes, ours_of(source))
    for rounding in reference.ROUNDINGS:
        rules = {"rounding": rounding, "overflow": draw.choice(("ieee", "saturate", "saturate_finite"))}
        theirs, masks, _ = judged(codes, source, target, **rules)
        assert_agrees(inputs, source, target, theirs, masks, f"{source} to {target} {rules}", **rules)


@pytest.mark.parametrize("target", EVERY)
def test_the_named_defaults_are_the_defaults(target):
    judge = judge_of(target)
    rules = {
        "rounding": "nearest_even",
        "overflow": judge.overflow_rules[0],
        "nan": judge.nan_rules[0],
        "subnormals": "gradual",
        "tininess": "after",
    }
    for source in ("float64", "float8_e4m3fn", "int32"):
        codes = edges(source, target)
        _, _, refused = judged(codes, source, target)
        inputs = np.delete(code_array(codes, ours_of(source)), refused)
        results = [bq.encode(inputs, ours_of(target), source, **given) for given in ({}, rules)]
        assert_same_codes(results[0], results[1], inputs, f"{source} to {target}")


@pytest.mark.parametrize("target", EVERY)
def test_rules_that_a_format_lacks_are_refused(target):
    judge = judge_of(target)
    for rule, every, allowed in (
        ("overflow", {"nan"}.union(*reference.OVERFLOWS.values()), judge.overflow_rules),
        ("nan", set().union(*reference.NANS.values()), judge.nan_rules),
    ):
        for value in sorted(every - set(allowed)):
            with pytest.raises(bq.BitquantError, match=f"{rule}='{value}' is not possible for ") as caught:
                bq.convert([1.0], ours_of(target), **{rule: value})
            assert all(name in str(caught.value) for name in allowed)


# --- Codes and values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NARROW)
def test_decode_gives_the_values_of_the_reference(name):
    fmt, codes = ours_of(name), all_codes(judge_of(name))
    theirs, _, _ = judged(codes, name, "float64")
    assert_same_codes(bq.decode(code_array(codes, fmt), fmt, "float64"), theirs, codes, name)


@pytest.mark.parametrize("width", range(3, 17))
def test_decode_of_p3109_gives_the_values_of_the_reference(width):
    """All codes up to a byte, and every so many of those beyond; all are walked under the marker."""
    for name in ALL_OF_P3109:
        if judge_of(name).bits == width:
            fmt, codes = ours_of(name), range(0, 1 << width, max(1, (1 << width) // 700))
            theirs, _, _ = judged(codes, name, "float64")
            assert_same_codes(bq.decode(code_array(codes, fmt), fmt, "float64"), theirs, codes, name)


@pytest.mark.parametrize("width", range(3, 9))
def test_p3109_is_constructed_as_in_gfloat(width):
    gfloat = pytest.importorskip("gfloat", reason="gfloat is not installed")
    formats, types = pytest.importorskip("gfloat.formats"), pytest.importorskip("gfloat.types")
    for precision, sign, domain in itertools.product(range(1, width + 1), "su", "ef"):
        if sign == "s" and precision == width:
            continue
        info = formats.format_info_p3109(
            width,
            precision,
            types.Signedness.Signed if sign == "s" else types.Signedness.Unsigned,
            types.Domain.Extended if domain == "e" else types.Domain.Finite,
        )
        values = bq.decode(np.arange(1 << width, dtype=np.uint8), f"binary{width}p{precision}{sign}{domain}", "float64")
        theirs = [float(gfloat.decode_float(info, code).fval) for code in range(1 << width)]
        assert np.array_equal(values, theirs, equal_nan=True)


@pytest.mark.parametrize("name", NARROW)
def test_encoding_a_decoded_code_returns_it(name):
    judge, fmt = judge_of(name), ours_of(name)
    codes = [code for code in all_codes(judge) if reference.decode(code, judge).kind != "nan"]
    inputs = code_array(codes, fmt)
    for dtype, rounding in zip(("float64", None) * 3, reference.ROUNDINGS, strict=True):
        flags = bq.Flags()
        back = bq.encode(bq.decode(inputs, fmt, dtype), fmt, rounding=rounding, flags=flags)
        assert_same_codes(back, inputs, inputs, f"{name} by way of {dtype}, {rounding}")
        assert flags == bq.Flags(), name


@pytest.mark.parametrize("width", range(3, 17))
def test_encoding_a_decoded_code_of_p3109_returns_it(width):
    for at, name in enumerate(ALL_OF_P3109):
        if judge_of(name).bits != width:
            continue
        fmt, rounding = ours_of(name), reference.ROUNDINGS[at % 6]
        codes = np.arange(1 << width, dtype=fmt.code_dtype)
        back = bq.encode(bq.decode(codes, fmt, "float64"), fmt, rounding=rounding)
        assert_same_codes(back, codes, codes, f"{name} {rounding}")  # the NaN, too, is one code


@pytest.mark.parametrize("name", [name for name in EVERY if judge_of(name).bits > 16])
def test_encoding_a_decoded_wide_code_returns_it(name):
    judge, fmt = judge_of(name), ours_of(name)
    codes = [code for code in edges(name, "float32") if reference.decode(code, judge).kind != "nan"]
    inputs = code_array(codes, fmt)
    values = bq.decode(inputs, fmt, name if name in ("int64", "uint64") else "float64")
    assert_same_codes(bq.encode(values, fmt), inputs, inputs, name)


@pytest.mark.parametrize("name", BOOKS)
def test_a_code_beyond_the_end_of_a_codebook_is_refused(name):
    fmt = ours_of(name)
    beyond = len(fmt.values)
    if beyond < 1 << (8 * fmt.code_dtype.itemsize):
        with pytest.raises(bq.BitquantError, match=f"{beyond:#x} is no code of {name}"):
            bq.decode([0, beyond], fmt)


FAR = [  # values beyond 2^53, among which float64 does not tell integers apart
    [-1.0, 0.0, 2.0**54, 1e30],
    [-(2.0**63), -(2.0**62) - 1024, -(2.0**62), -0.5, 3.0, 2.0**53 + 2, 2.0**63 - 1024, 2.0**63],
    [2.0**53, 2.0**53 + 2, 2.0**53 + 4, 2.0**60, 2.0**60 + 256, 2.0**64 - 2048],
    [2.0**62 + 1024 * k for k in range(-20, 20)],
    [0.5, 1e30],
    [-1e30, -1e20, 1e20, 1e30],
    [1e20, 1e21, 1e30],
    [-1e30, -1e20],
]
FLAG_BITS = {"invalid": 1, "overflow": 2, "underflow": 4, "inexact": 8}


@pytest.mark.parametrize("source", ["int64", "uint64"])
@pytest.mark.parametrize("values", FAR, ids=lambda values: f"{values[0]:g} to {values[-1]:g}")
def test_wide_integers_to_a_codebook_beyond_two_to_the_53(source, values):
    fmt, judge = bq.codebook(values, "far"), reference.codebook("far", [Fraction(value) for value in values])
    ends = np.iinfo(source)
    places = {0, 1, int(ends.min), int(ends.max), *(int(value) for value in values)}
    places |= {int(Fraction(low) + Fraction(high)) // 2 for low, high in pairwise(values)}
    near = sorted({place + step for place in places for step in (-2, -1, 0, 1, 2)})
    x = [place for place in near if ends.min <= place <= ends.max]
    for rounding, overflow in itertools.product(reference.ROUNDINGS, ("saturate", "raise")):
        flags = bq.Flags(record=True)
        kept, expected, masks = [], [], []
        for number in x:
            try:
                code, raised = reference.convert(number % 2**64, reference.FORMATS[source], judge, rounding, overflow)
            except reference.Refused:
                with pytest.raises(bq.BitquantError, match="reaches from"):
                    bq.encode(np.array([number], source), fmt, rounding=rounding, overflow=overflow)
            else:
                kept.append(number)
                expected.append(code)
                masks.append(sum(FLAG_BITS[flag] for flag in raised))
        array = np.array(kept, source)
        mine = bq.encode(array, fmt, rounding=rounding, overflow=overflow, flags=flags)
        assert mine.tolist() == expected, (rounding, overflow)
        assert flags.mask.tolist() == masks, (rounding, overflow)
        assert bq.encode(array, fmt, rounding=rounding, overflow=overflow).tolist() == expected


# --- Round to -----------------------------------------------------------------------------------------------

ROUND_SOURCES = [
    "float64",
    "float32",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float4_e2m1fn",
    "int16",
    "uint64",
]


@pytest.mark.parametrize("target", EVERY)
def test_round_to_is_decode_of_encode(target):
    """Where the rounded value is a number of the source's format; elsewhere it is refused."""
    aim, draw = judge_of(target), random.Random(f"round to {target}")
    for source in ROUND_SOURCES:
        judge, codes = judge_of(source), edges(source, target)
        rules = named(draw.choice(list(rules_of(target))))
        there, masks, refused = judged(codes, source, target, **rules)
        back, refused = [], set(refused)
        for at, code in enumerate(there.tolist()):
            if reference.decode(code, aim).kind == "nan" and judge.nan is None:
                refused.add(at)
                back.append(0)
                continue
            try:
                result, flags = reference.convert(
                    code, aim, judge, overflow="raise", nan="raise" if not judge.nan else None
                )
            except reference.Refused:
                result, flags = 0, reference.INEXACT
            if flags:
                refused.add(at)
            back.append(result)
        kept = np.array([at not in refused for at in range(len(codes))])
        inputs = code_array(codes, ours_of(source)).view(ours_of(source).dtype)
        for at in sorted(refused)[:2]:
            with pytest.raises(bq.BitquantError):
                bq.round_to(inputs[at : at + 1], ours_of(target), **rules)
        if not kept.any():
            continue
        flags = bq.Flags(record=True)
        result = bq.round_to(inputs[kept], ours_of(target), flags=flags, **rules)
        assert result.dtype == inputs.dtype
        context = f"{source} on the grid of {target}, {rules}"
        theirs = code_array(back, ours_of(source))[kept]
        assert_same_codes(result, theirs, inputs.view(theirs.dtype)[kept], context)
        assert np.array_equal(flags.mask, masks[kept]), context


# --- Laws ---------------------------------------------------------------------------------------------------


def numbers(judge, size=12):
    """Draw codes of numbers, infinities among them, oftener near the ends of binades and of the format."""
    anywhere = st.integers(0, judge.code_count - 1)
    near = st.builds(
        lambda place, step, sign: reference.code_at((place + step) * sign, judge),
        st.sampled_from(sorted(reference.edge_places(judge))),
        st.integers(-2, 2),
        st.sampled_from([1, -1]),
    )
    codes = st.one_of(anywhere, near).filter(lambda code: reference.decode(code, judge).kind != "nan")
    return st.lists(codes, min_size=2, max_size=size)


def encoded(codes, source, target, **rules):
    """Convert codes to codes."""
    return bq.encode(code_array(codes, ours_of(source)), ours_of(target), ours_of(source), **rules).tolist()


@pytest.mark.parametrize("target", EVERY)
@few
@given(data=st.data(), source=st.sampled_from(EVERY), rounding=st.sampled_from(reference.ROUNDINGS))
def test_conversion_is_monotone(target, data, source, rounding):
    judge, aim = judge_of(source), judge_of(target)
    codes = data.draw(numbers(judge))
    codes.sort(key=lambda code: reference.ordered(code, judge))
    results = encoded(codes, source, target, rounding=rounding, overflow="saturate")
    assert all(a <= b for a, b in pairwise(reference.ordered(code, aim) for code in results))


SIGNED = [name for name in EVERY if judge_of(name).kind == "float" and judge_of(name).signed]
MIRRORED = {"toward_positive": "toward_negative", "toward_negative": "toward_positive"}


@pytest.mark.parametrize("target", SIGNED)
@few
@given(data=st.data(), source=st.sampled_from(SIGNED), rounding=st.sampled_from(reference.ROUNDINGS))
def test_a_negated_number_gives_the_negated_result(target, data, source, rounding):
    judge, aim = judge_of(source), judge_of(target)
    codes = [code for code in data.draw(numbers(judge)) if judge.signed_zero or code & judge.ones]
    flags = bq.Flags(), bq.Flags()
    there = encoded(codes, source, target, rounding=rounding, flags=flags[0])
    negated = encoded([code ^ judge.sign_bit for code in codes], source, target,
                      rounding=MIRRORED.get(rounding, rounding), flags=flags[1])  # fmt: skip

    def place(code):
        return reference.ordered(code, aim) if reference.decode(code, aim).kind != "nan" else None

    assert [place(code) for code in negated] == [None if place(code) is None else -place(code) for code in there]
    assert flags[0] == flags[1]


@pytest.mark.parametrize("source", EVERY)
@few
@given(data=st.data(), target=st.sampled_from(EVERY))
def test_every_rounding_gives_one_of_the_two_neighbours(source, data, target):
    judge, aim = judge_of(source), judge_of(target)
    codes = data.draw(numbers(judge, 6))
    down, up = (encoded(codes, source, target, rounding=rounding, overflow="saturate")
                for rounding in ("toward_negative", "toward_positive"))  # fmt: skip
    for rounding in reference.ROUNDINGS:
        for at, code in enumerate(encoded(codes, source, target, rounding=rounding, overflow="saturate")):
            assert code in (down[at], up[at]), (hex(codes[at]), rounding)
    for low, high in zip(down, up, strict=True):
        assert reference.ordered(high, aim) - reference.ordered(low, aim) in (0, 1)


# --- Every code, under the marker ---------------------------------------------------------------------------


@pytest.mark.exhaustive
@pytest.mark.parametrize("target", EVERY)
def test_all_codes_of_16_bits_to_this_format(target):
    """Every format of up to 16 bits, every so many of its codes, in turns that cover all, under all roundings."""
    aim = judge_of(target)
    turn = EVERY.index(target)
    for source in NARROW:
        judge, fmt = judge_of(source), ours_of(source)
        rounds = itertools.product(reference.ROUNDINGS, aim.overflow_rules)
        for at, (rounding, overflow) in enumerate(rounds):
            stride = max(1, judge.code_count // 97)
            codes = list(all_codes(judge))[(24 * turn + at) % stride :: stride]
            if overflow == "raise":
                continue
            rules = {"rounding": rounding, "overflow": overflow, "nan": nan_rule(target)}
            theirs, masks, _ = judged(codes, source, target, **rules)
            context = f"{source} to {target}, {rules}"
            assert_agrees(code_array(codes, fmt), source, target, theirs, masks, context, **rules)


@pytest.mark.exhaustive
@pytest.mark.parametrize("width", range(9, 17))
def test_every_code_of_p3109_decodes_as_the_reference_says(width):
    for name in ALL_OF_P3109:
        judge, fmt = judge_of(name), ours_of(name)
        if judge.bits == width and (width < 14 or name.endswith("e")):
            values = bq.decode(np.arange(1 << width, dtype=np.uint16), fmt, "float64").view(np.uint64)
            for code, value in enumerate(values.tolist()):
                number = reference.decode(code, judge)
                if number.kind == "finite":
                    assert value == reference.convert_to_float(number, reference.FLOAT64)[0], (name, hex(code))
