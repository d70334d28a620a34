"""Staircases: thresholds found by bisection, against those of a reference that shares no code, and what is proved."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
from bitquant.auditing import staircase
from bitquant.errors import BitquantError

KINDS = ["float8_e4m3fn", "float8_e4m3fnuz", "float4_e2m1fn", "float8_e5m2", "int4", "nf4", "float8_e8m0fnu"]


def to_int8(x):
    """To nearest, ties to even, saturating."""
    return np.clip(np.rint(x), -128, 127).astype(np.int8)


def half_up(x):
    """Ties toward +infinity; the float32 sum is wrong just below one half."""
    return np.clip(np.floor(x + np.float32(0.5)), -128, 127).astype(np.int8)


def threshold(code):
    """The smallest float32 number that goes to an integer, ties to even: a middle, or the number after it."""
    if code == -128:
        return np.float32(-np.inf)
    middle = np.float32(Fraction(2 * code - 1, 2))
    return middle if code % 2 == 0 else np.nextafter(middle, np.float32(np.inf))


def test_thresholds_are_the_middles():
    found = staircase(to_int8, "float32", "int8")
    assert found.identical
    assert found.codes.view(np.int8).tolist() == list(range(-128, 128))
    assert found.values.tolist() == [threshold(code) for code in range(-128, 128)]
    assert found.proved[0].startswith("proved if the candidate is monotone: it is equal")
    assert found.proved[1].startswith("sampled")


def test_every_threshold_that_differs_is_told():
    found = staircase(half_up, "float32", "int8")
    assert found.monotone
    codes = [np.uint8(code).view(np.int8).item() for code, _, _ in found.differing]
    # Ties to an odd code begin one number earlier; and just below 1/2, where the sum rounds up to 1.
    assert codes == list(range(-127, 128, 2))
    _, there, here = next(row for row in found.differing if row[0] == 1)
    assert np.uint32([there, here]).view(np.float32).tolist() == [
        np.nextafter(np.float32(0.5), np.float32(1)),
        np.nextafter(np.float32(0.5), np.float32(0)),
    ]
    assert "128 thresholds differ" in str(found)


def test_thresholds_far_from_the_reference_are_bisected_to_the_last_bit():
    def shifted(x):
        return to_int8(x * np.float32(0.37) + np.float32(0.1234))

    found = staircase(shifted, "float32", "int8")
    first = found.values[1:]
    assert found.codes.size == 256
    assert np.array_equal(shifted(first), found.codes[1:].view(np.int8))
    assert np.array_equal(shifted(np.nextafter(first, np.float32(-np.inf))), found.codes[:-1].view(np.int8))


def test_what_is_not_monotone_is_said_and_nothing_proved():
    def wave(x):
        return np.where(np.abs(x) == 3, -5, to_int8(x)).astype(np.int8)

    found = staircase(wave, "float32", "int8")
    assert not found.monotone
    assert not found.identical
    assert found.violation is not None
    low, high = np.uint32(found.violation).view(np.float32)
    assert to_int8(low) > wave(high) or wave(low) > wave(high)
    assert found.proved == ("nothing is proved: the answers are not in order, so there is no staircase",)
    assert "not in order from" in str(found)


def test_a_walk_finds_what_bisection_does_not_ask():
    def spiked(x):
        code = bq.encode(x, "float8_e5m2", "float16").copy()
        code[x.view(np.uint16) == 0x3C21] = 0
        return code

    assert not staircase(spiked, "float16", "float8_e5m2", exhaustive=True).monotone
    walked = staircase(lambda x: bq.encode(x, "float8_e5m2"), "float16", "float8_e5m2", exhaustive=True)
    assert walked.proved == (
        "proved: all numbers of float16 were tried, and are in order; it is equal to the reference",
    )


@pytest.mark.parametrize("rounding", ["nearest_even", "nearest_away", "toward_zero", "toward_positive"])
@pytest.mark.parametrize(
    "target", ["float8_e4m3fn", "float8_e4m3fnuz", "float4_e2m1fn", "float8_e5m2", "int4", "nf4", "float8_e8m0fnu"]
)
def test_exact_conversions_of_every_kind_are_identical(target, rounding):
    fmt = bq.format(target)
    nan = {} if fmt.has_nan else {"nan": "max"}
    found = staircase(lambda x: bq.encode(x, target, rounding=rounding, **nan), "float32", target, rounding=rounding)
    assert found.identical, str(found)


def test_codes_that_never_occur_are_told():
    def even_only(x):
        return (to_int8(x) // 2 * 2).astype(np.int8)

    found = staircase(even_only, "float32", "int8")
    assert found.codes.size == 128
    assert any(here is None for _, _, here in found.differing)
    assert "never" in str(found)


def test_double_rounding_moves_thresholds():
    found = staircase(lambda x: x.astype(np.float32).astype(ml_dtypes.float8_e5m2), "float64", "float8_e5m2")
    assert found.monotone
    assert len(found.differing) > 200


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"target": "float32"}, "for targets of up to 16 bits"),
        ({"target": "int8", "overflow": "wrap"}, "not monotone under these rules"),
        ({"target": "int8", "source": "float64", "exhaustive": True}, "too many codes to walk"),
        ({"target": "float16"}, "the candidate is no conversion to float16: it returned dtype int8"),
    ],
)
def test_refusals_say_why(arguments, text):
    with pytest.raises(BitquantError, match=text):
        staircase(to_int8, **{"source": "float32", **arguments})
