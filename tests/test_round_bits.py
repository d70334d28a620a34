"""Bit rounding: float32 and float64 numbers with fewer significand bits, held against the reference."""

from __future__ import annotations

import random

import numpy as np
import pytest

import bitquant as bq
import reference
from judging import assert_same_codes, judge_of


def codes_to_round(name, keep):
    """Edges of the format, and numbers just around a tie of so many bits, with carries and the largest ones."""
    judge, draw = judge_of(name), random.Random(f"{name} {keep}")
    drop = judge.significand_bits - keep
    codes = {draw.randrange(1 << judge.bits) for _ in range(200)} | reference.nan_codes(judge)
    places = [*draw.sample(sorted(reference.edge_places(judge)), 60), 0, 1, judge.largest, judge.last_place]
    places += [draw.randrange(judge.largest >> drop) << drop for _ in range(60)]
    for place in places:
        for step in (0, 1 << drop >> 1, (1 << drop) - 1):
            near = [place + step + more for more in (-1, 0, 1)]
            codes |= {code | sign for code in near if 0 <= code <= judge.ones for sign in (0, judge.sign_bit)}
    return sorted(codes)


@pytest.mark.parametrize("ties", ["even", "away"])
@pytest.mark.parametrize(
    ("name", "keep"),
    [("float32", keep) for keep in range(24)] + [("float64", keep) for keep in (0, 1, 2, 10, 23, 31, 32, 50, 51, 52)],
)
def test_every_number_of_bits_gives_the_codes_of_the_reference(name, keep, ties):
    judge, codes = judge_of(name), codes_to_round(name, keep)
    x = np.array(codes, bq.format(name).code_dtype)
    theirs = np.array([reference.round_bits(code, judge, keep, ties) for code in codes], x.dtype)
    ours = bq.round_bits(x.view(name), keep, ties)
    assert ours.dtype == np.dtype(name)
    assert_same_codes(ours, theirs, codes, f"{name}, {keep} bits, ties {ties}")
    assert np.array_equal(bq.round_bits(ours, keep, ties).view(x.dtype), theirs)  # and a second time nothing happens


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_the_layout_and_the_threads_do_not_matter(name):
    x = np.random.default_rng(3).normal(size=(301, 700)).astype(name)
    expected = bq.round_bits(x, 9)
    assert np.array_equal(bq.round_bits(x.ravel(), 9, threads=2), expected.ravel())
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x.astype(x.dtype.newbyteorder())):
        assert np.array_equal(bq.round_bits(other, 9), expected)
    out = np.empty_like(x)
    assert bq.round_bits(x, 9, out=out) is out
    assert np.array_equal(out, expected)
    assert bq.round_bits(float(x[0, 0]), 9) == bq.round_bits(x.astype(float), 9)[0, 0]


def test_rounding_to_fewer_bits_is_rounding_to_a_custom_format():
    x = np.random.default_rng(4).normal(size=5000).astype(np.float32)
    for keep in (1, 7, 10, 20):
        assert np.array_equal(bq.round_bits(x, keep), bq.round_to(x, bq.exmy(8, keep)))


@pytest.mark.parametrize(
    ("x", "keep", "ties"),
    [(np.ones(2, np.float16), 3, "even"), (np.ones(2, int), 3, "even"), (np.ones(2), 53, "even"),
     (np.ones(2), -1, "even"), (np.ones(2, np.float32), 24, "even"), (np.ones(2), 3.0, "even"),
     (np.ones(2), True, "even"), (np.ones(2), 3, "odd")],
)  # fmt: skip
def test_what_bit_rounding_cannot_do_is_refused(x, keep, ties):
    with pytest.raises(bq.BitquantError):
        bq.round_bits(x, keep, ties)
