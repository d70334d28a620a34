"""Held against the reference: edge codes of a pair of formats, and assertions that show what differs."""

from __future__ import annotations

import itertools
import random
from functools import cache

import numpy as np
import pytest

import bitquant as bq
import reference

NAMES = [fmt.name for fmt in bq.formats()]
PAIRS = list(itertools.product(NAMES, NAMES))
FLAG_BITS = {"invalid": 1, "overflow": 2, "underflow": 4, "inexact": 8}


def mask_of(flags):
    """Return flags as the bits of a mask."""
    return sum(FLAG_BITS[flag] for flag in flags)


def code_array(codes, fmt):
    """Codes as an array that holds them."""
    return np.array(list(codes), dtype=fmt.code_dtype)


def rules_of(target):
    """Every combination of the rules that a target allows."""
    kind = reference.FORMATS[target].kind
    return itertools.product(
        reference.ROUNDINGS,
        reference.OVERFLOWS[kind],
        reference.NANS[kind],
        reference.SUBNORMALS,
        reference.TININESSES,
    )


@cache
def edges(source, target):
    """Codes of `source` where a conversion to `target` is likeliest to go wrong, the same on every run."""
    judge, aim = reference.FORMATS[source], reference.FORMATS[target]
    draw = random.Random(f"edges {source} {target}")
    codes = {draw.randrange(1 << judge.bits) for _ in range(6)}
    if judge.kind == "integer":
        return sorted(codes | {0, 1, 2, 3, 0x40, 0x41, 0x7E, 0x7F, 0x80, 0x81, 0xC0, 0xFE, 0xFF})
    for place in (
        0,
        1,
        2,
        judge.quiet_bit,
        2 * judge.quiet_bit - 1,
        2 * judge.quiet_bit,
        judge.largest,
        judge.infinity,
    ):
        codes |= {place, judge.sign_bit | place}
    codes |= reference.nan_codes(judge)
    for value in critical(aim):
        for sign in (0, 1):
            number = reference.Number("finite", sign, value.numerator, value.denominator)
            codes.update(reference.neighbours_of(number, judge))
            codes.add(reference.convert_to_float(number, judge, "toward_zero")[0])
    return sorted(codes)


def critical(aim):
    """Positive values next to which the answer changes: rounding, tininess, underflow and overflow."""
    half = reference.Fraction(1, 2)
    if aim.kind == "integer":
        return [
            half,
            1 + half,
            2 + half,
            aim.high - half,
            aim.high + half,
            -aim.low + half,
            256 + half,
            300 + half,
        ]
    least, normal, largest = (reference.value_at(place, aim) for place in (1, 2 * aim.quiet_bit, aim.largest))
    ulp, most = least, reference.value_at(aim.infinity, aim)
    return [
        least / 2, least + ulp / 2, normal - ulp, normal - ulp / 2, normal - ulp / 4, normal + ulp / 2,
        1 + reference.spacing(1, aim) / 2, 1 + reference.spacing(1, aim) * 3 / 2,
        largest, (largest + most) / 2, most,
    ]  # fmt: skip


def is_ordinary(code, source, target):
    """Tell whether a code is normal on both sides, so that a block of such takes the kernels' short path."""
    judge, aim = reference.FORMATS[source], reference.FORMATS[target]
    number = reference.decode(code, judge)
    if number.kind != "finite" or aim.kind == "integer" or not number.numerator:
        return False
    value = abs(number.fraction)
    return reference.value_at(2 * aim.quiet_bit, aim) <= value <= reference.value_at(aim.largest, aim)


def judged(codes, source, target, **rules):
    """Return the reference's codes, its mask, and which inputs it refuses."""
    judge, aim = reference.FORMATS[source], reference.FORMATS[target]
    results, masks, refused = [], [], []
    for code in codes:
        try:
            result, flags = reference.convert(code, judge, aim, **rules)
        except reference.Refused:
            result, flags = 0, reference.NO_FLAGS
            refused.append(len(results))
        results.append(result)
        masks.append(mask_of(flags))
    return code_array(results, bq.format(target)), np.array(masks, np.uint8), refused


def assert_same_codes(ours, theirs, inputs, context):
    """Hold codes against the reference's, and show the first that differs."""
    ours = np.asarray(ours)
    ours = ours.view(theirs.dtype)
    if not np.array_equal(ours, theirs):
        at = int(np.flatnonzero(ours != theirs)[0])
        pytest.fail(f"{context}: {int(inputs[at]):#x} gives {int(ours[at]):#x}, the reference {int(theirs[at]):#x}")


def assert_refused(inputs, refused, source, target, **rules):
    """Hold the refusal against the reference's: which comes first, and how many there are of its kind."""
    kinds = [reference.decode(int(inputs[at]), reference.FORMATS[source]).kind == "nan" for at in refused]
    count = kinds.count(kinds[0])
    with pytest.raises(bq.BitquantError, match=rf" at index {refused[0]}[ :]") as caught:
        bq.convert(inputs, target, source, **rules)
    message = str(caught.value)
    assert message.startswith("x has NaN " if kinds[0] else "x has "), message
    assert (f"(the first of {count})" in message) == (count > 1), (message, count)


def assert_agrees(inputs, source, target, theirs, masks, context, **rules):
    """Hold codes, mask and counts against the reference's; the codes again without flags."""
    flags = bq.Flags(record=True)
    assert_same_codes(bq.convert(inputs, target, source, flags=flags, **rules), theirs, inputs, context)
    if not np.array_equal(flags.mask, masks):
        at = int(np.flatnonzero(flags.mask != masks)[0])
        pytest.fail(f"{context}: {int(inputs[at]):#x} raises {flags.mask[at]:04b}, the reference {masks[at]:04b}")
    for name, bit in FLAG_BITS.items():
        assert getattr(flags, name) == np.count_nonzero(masks & bit), (name, context)
    assert_same_codes(bq.convert(inputs, target, source, **rules), theirs, inputs, f"{context}, no flags")
