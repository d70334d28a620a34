"""Held against the reference: formats and their judges, edge codes of a pair, assertions that show what differs."""

from __future__ import annotations

import itertools
import random
import re
from bisect import bisect_left
from functools import cache

import numpy as np
import pytest

import bitquant as bq
import reference

FLAG_BITS = {"invalid": 1, "overflow": 2, "underflow": 4, "inexact": 8}

# The formats that every rule is tried on together, in test_convert.py and test_properties.py.
NAMES = ["float64", "float32", "tfloat32", "float16", "bfloat16", "int8", "uint8"]
PAIRS = list(itertools.product(NAMES, NAMES))

TABLE = [fmt.name for fmt in bq.formats()]
P3109 = [
    "binary3p1se", "binary4p4uf", "binary5p2se", "binary6p1uf", "binary8p1se", "binary8p1sf", "binary8p3sf",
    "binary8p4ue", "binary8p7se", "binary12p1se", "binary15p15ue", "binary16p5se", "binary16p11sf",
]  # fmt: skip
# e, m, bias, signed, infinity, nan
CUSTOM_ROWS = [
    (3, 0, 3, True, False, None),  # one digit, ties as IEEE 754 has them
    (3, 0, 3, False, True, None),
    (4, 0, 7, True, True, "negative_zero"),
    (4, 2, 7, False, True, "ieee"),  # unsigned
    (1, 4, 0, False, False, None),
    (2, 3, 1, True, True, None),  # infinity and no NaN
    (5, 10, 15, True, False, None),  # Arm's alternative half precision
    (5, 10, 15, True, True, "all_ones"),
    (3, 2, 200, True, True, "ieee"),  # far below 1
    (2, 4, 1024, True, False, "all_ones"),
    (2, 2, 1060, True, True, "negative_zero"),  # the subnormals of float64
    (3, 3, -1000, True, False, "negative_zero"),  # far above it
    (8, 15, 127, True, True, "ieee"),  # 24 bits
    (8, 31, 127, True, True, "ieee"),  # 40 bits
    (8, 23, 126, True, False, None),  # 32 bits, no specials
    (10, 52, 511, True, True, "negative_zero"),  # 63 bits, as many digits as float64
    (11, 51, 1023, True, True, "ieee"),
]
CUSTOM = {
    bq.exmy(e, m, bias=bias, signed=signed, infinity=infinity, nan=nan).name: reference.exmy(
        e, m, bias, signed, infinity, nan
    )
    for e, m, bias, signed, infinity, nan in CUSTOM_ROWS
}
BOOKS = {
    "pair": (-1.0, 1.0),
    "uneven": (-3.5, -0.25, 0.125, 2.0, 1e15),
    "cubes": tuple(k**3 / 7 for k in range(-150, 151)),  # more values than a byte has codes
}
EVERY = [*TABLE, *P3109, *CUSTOM, *BOOKS]

_JUDGES = reference.FORMATS | CUSTOM | {name: reference.codebook(name, BOOKS[name]) for name in BOOKS}
_BOOKS = {name: bq.codebook(values, name) for name, values in BOOKS.items()}


def ours_of(name):
    """Return bitquant's format."""
    return _BOOKS.get(name) or bq.format(name)


@cache
def judge_of(name):
    """Return the reference's format of the same name; P3109's are made from it."""
    match = re.fullmatch(r"binary(\d+)p(\d+)([su])([ef])", name)
    if match:
        return reference.p3109(int(match[1]), int(match[2]), match[3] == "s", match[4] == "e")
    return _JUDGES[name]


@cache
def mask_of(flags):
    """Return flags as the bits of a mask."""
    return sum(FLAG_BITS[flag] for flag in flags)


def code_array(codes, fmt):
    """Codes as an array that holds them."""
    return np.array(list(codes), dtype=fmt.code_dtype)


def all_codes(judge):
    """Every code of a format."""
    return range(judge.code_count)


def rules_of(target):
    """Every combination of the rules that a target allows."""
    judge = judge_of(target)
    return itertools.product(
        reference.ROUNDINGS,
        judge.overflow_rules,
        judge.nan_rules,
        reference.SUBNORMALS,
        reference.TININESSES,
    )


def named(rules):
    """Return a combination of rules as arguments."""
    return dict(zip(("rounding", "overflow", "nan", "subnormals", "tininess"), rules, strict=True))


@cache
def edges(source, target):
    """Codes of `source` where a conversion to `target` is likeliest to go wrong, the same on every run."""
    judge, aim = judge_of(source), judge_of(target)
    draw = random.Random(f"edges {source} {target}")
    codes = {draw.randrange(judge.code_count) for _ in range(6)}
    t = judge.significand_bits
    if judge.kind == "float":
        places = {0, 1, 2, 1 << t >> 1, (1 << t) - 1, 1 << t, judge.largest, judge.last_place}
    else:
        places = {0, 1, 2, 3, judge.largest, judge.largest - 1}
    for place in places:
        codes |= {reference.code_at(place, judge), reference.code_at(-place, judge, zero_sign=1)}
    codes |= reference.nan_codes(judge)
    for value in critical(aim):
        for signed in (value, -value):
            floor, _ = reference.floor_place(reference.as_number(signed), judge)
            codes.update(reference.code_at(floor + step, judge, int(signed < 0)) for step in (-1, 0, 1))
    return sorted(codes)


def critical(aim):
    """Values next to which the answer changes, or their negatives': rounding, tininess, underflow, overflow."""
    half = reference.Fraction(1, 2)
    if aim.kind == "codebook":
        middle = bisect_left(aim.values, 0)
        places = {0, 1, middle - 1, middle, middle + 1, aim.largest - 2, aim.largest - 1}
        pairs = [(aim.values[at], aim.values[at + 1]) for at in places if 0 <= at < aim.largest]
        values = [value for low, high in pairs for value in (low, (low + high) / 2, high, low / 2 + high / 4)]
        return [*values, aim.values[0] - half, aim.values[-1] + half]
    if aim.kind == "integer":
        beyond = 1 << aim.bits
        ends = [aim.high - half, aim.high + 0 * half, aim.high + half, -aim.low + half]
        return [half, 1 + half, 2 + half, *ends, beyond + half, beyond + beyond * half / 2 + half]
    least = reference.value_at(int(aim.has_zero), aim)
    normal = reference.Fraction(2) ** aim.emin
    largest, most = (reference.value_at(place, aim) for place in (aim.largest, aim.largest + 1))
    middle = reference.value_at(aim.largest // 2, aim)
    ulp = reference.spacing(middle, aim)
    return [
        least / 2, least * 3 / 2, least * 3 / 4, normal - least, normal - least / 2, normal - least / 4,
        normal + least / 2, normal * 3 / 4, middle + ulp / 2, middle + ulp * 3 / 2,
        largest, (largest + most) / 2, most,
    ]  # fmt: skip


def is_ordinary(code, source, target):
    """Tell whether a code is normal on both sides, so that a block of such takes the kernels' short path."""
    judge, aim = judge_of(source), judge_of(target)
    number = reference.decode(code, judge)
    if number.kind != "finite" or aim.kind != "float" or not number.numerator:
        return False
    value = abs(number.fraction)
    return reference.Fraction(2) ** aim.emin <= value <= reference.value_at(aim.largest, aim)


def judged(codes, source, target, **rules):
    """Return the reference's codes, its mask, and which inputs it refuses."""
    judge, aim = judge_of(source), judge_of(target)
    results, masks, refused = [], [], []
    for code in codes:
        try:
            result, flags = reference.convert(code, judge, aim, **rules)
        except reference.Refused:
            result, flags = 0, reference.NO_FLAGS
            refused.append(len(results))
        results.append(result)
        masks.append(mask_of(flags))
    return code_array(results, ours_of(target)), np.array(masks, np.uint8), refused


def assert_same_codes(ours, theirs, inputs, context):
    """Hold codes against the reference's, and show the first that differs."""
    ours = np.asarray(ours)
    ours = ours.view(theirs.dtype)
    if not np.array_equal(ours, theirs):
        at = int(np.flatnonzero(ours != theirs)[0])
        pytest.fail(f"{context}: {int(inputs[at]):#x} gives {int(ours[at]):#x}, the reference {int(theirs[at]):#x}")


def assert_refused(inputs, refused, source, target, **rules):
    """Hold the refusal against the reference's: which comes first, and how many there are of its kind."""
    judge = judge_of(source)
    kinds = [reference.decode(int(inputs[at]), judge).kind == "nan" for at in refused]
    count = kinds.count(kinds[0])
    with pytest.raises(bq.BitquantError, match=rf" at index {refused[0]}[ :]") as caught:
        bq.convert(inputs, ours_of(target), ours_of(source), **rules)
    message = str(caught.value)
    assert message.startswith("x has NaN " if kinds[0] else "x has "), message
    assert (f"(the first of {count})" in message) == (count > 1), (message, count)


def assert_agrees(inputs, source, target, theirs, masks, context, **rules):
    """Hold codes, mask and counts against the reference's; the codes again without flags."""
    source, target = ours_of(source), ours_of(target)
    flags = bq.Flags(record=True)
    assert_same_codes(bq.convert(inputs, target, source, flags=flags, **rules), theirs, inputs, context)
    if not np.array_equal(flags.mask, masks):
        at = int(np.flatnonzero(flags.mask != masks)[0])
        pytest.fail(f"{context}: {int(inputs[at]):#x} raises {flags.mask[at]:04b}, the reference {masks[at]:04b}")
    for name, bit in FLAG_BITS.items():
        assert getattr(flags, name) == np.count_nonzero(masks & bit), (name, context)
    assert_same_codes(bq.convert(inputs, target, source, **rules), theirs, inputs, f"{context}, no flags")


def assert_agrees_or_refuses(codes, source, target, context, **rules):
    """Hold a conversion of codes under rules against the reference's, the refusal included."""
    theirs, masks, refused = judged(codes, source, target, **rules)
    inputs = code_array(codes, ours_of(source))
    kept = np.ones(len(codes), bool)
    if refused:
        assert_refused(inputs, refused, source, target, **rules)
        kept[refused] = False
    assert_agrees(inputs[kept], source, target, theirs[kept], masks[kept], context, **rules)
