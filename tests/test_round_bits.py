"""Bit rounding against the reference: every number of bits, both ties, NaN to the bit, no number made infinite."""

from __future__ import annotations

import re

import numpy as np
import pytest

import bitquant as bq
import reference
from judging import assert_same_codes, code_array

WIDE = {"float32": reference.FLOAT32, "float64": reference.FLOAT64}
MORE_THAN_ONE_THREAD = (1 << 18) + 4099


def edges(judge, keep):
    """Codes at, next to and halfway between what is kept: every binade, the ends, NaNs, few digits set."""
    t = judge.significand_bits
    unit = 1 << (t - keep)
    places = set(reference.edge_places(judge)) | {judge.infinity}
    draw = np.random.default_rng(keep)
    for _ in range(40):
        base = int(draw.integers(0, judge.infinity)) // unit * unit
        places |= {base + step for step in (0, 1, unit // 2 - 1, unit // 2, unit // 2 + 1, unit - 1, unit)}
    places |= {judge.largest - step for step in (0, 1, unit // 2 - 1, unit // 2, unit // 2 + 1, unit - 1, unit)}
    places |= {1, unit // 2 - 1, unit // 2, unit // 2 + 1, unit, unit + unit // 2}
    codes = {sign | place for place in places if 0 <= place <= judge.infinity for sign in (0, judge.sign_bit)}
    return sorted(codes | reference.nan_codes(judge))


@pytest.mark.parametrize("ties", ["even", "away"])
@pytest.mark.parametrize(("name", "keep"), [(name, k) for name in WIDE for k in range(WIDE[name].significand_bits + 1)])
def test_bits_are_rounded_as_the_reference_rounds_them(name, keep, ties):
    judge, fmt = WIDE[name], bq.format(name)
    codes = edges(judge, keep)
    if judge.bits == 64:
        codes = codes[keep % 3 :: 3]
    x = code_array(codes, fmt)
    theirs = code_array([reference.round_bits(code, judge, keep, ties) for code in codes], fmt)
    ours = bq.round_bits(x.view(fmt.dtype), keep, ties)
    assert ours.dtype == fmt.dtype
    assert_same_codes(ours, theirs, x, f"{name} keep={keep} ties={ties}")
    t = judge.significand_bits
    numbers = (x & fmt.code_dtype.type(fmt.infinity_code)) != fmt.infinity_code
    assert not (ours.view(fmt.code_dtype)[numbers] & fmt.code_dtype.type((1 << (t - keep)) - 1)).any()
    assert np.array_equal(np.isfinite(ours), np.isfinite(x.view(fmt.dtype)))
    again = bq.round_bits(ours, keep, ties)
    assert again.tobytes() == ours.tobytes()


@pytest.mark.parametrize("name", WIDE)
def test_nan_infinity_and_zero_stay_to_the_bit(name):
    judge, fmt = WIDE[name], bq.format(name)
    codes = [*reference.nan_codes(judge), judge.infinity, judge.infinity | judge.sign_bit, 0, judge.sign_bit]
    x = code_array(codes, fmt).view(fmt.dtype)
    for keep in (0, 1, 7, fmt.significand_bits - 1, fmt.significand_bits):
        for ties in ("even", "away"):
            assert bq.round_bits(x, keep, ties).tobytes() == x.tobytes()


# x, keep, ties even, ties away
NAMED = [
    (1 + 2.0**-8, 7, 1.0, 1 + 2.0**-7),
    (1 + 3 * 2.0**-8, 7, 1 + 2.0**-6, 1 + 2.0**-6),
    (-(1 + 2.0**-8), 7, -1.0, -(1 + 2.0**-7)),
    (1.5, 0, 2.0, 2.0),  # the exponent field of 1 is odd
    (3.0, 0, 2.0, 4.0),  # that of 2 is even
    (1.25, 0, 1.0, 1.0),
    (1.999, 3, 2.0, 2.0),
    (0.1, 2, 0.09375, 0.09375),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("x", "keep", "even", "away"), NAMED)
def test_named_numbers(x, keep, even, away, dtype):
    x = dtype(x)
    assert bq.round_bits(x, keep) == bq.round_bits(x, keep, "even") == even
    assert bq.round_bits(x, keep, "away") == away
    assert type(bq.round_bits(x, keep)) is dtype


@pytest.mark.parametrize("keep", range(23))
def test_normal_numbers_are_rounded_as_a_format_with_so_many_bits_rounds_them(keep):
    """Where keep > 0 also by round_to, which has subnormal numbers and overflow of its own."""
    draw = np.random.default_rng(keep)
    x = draw.integers(0x00800000, 0x7F000000, 5000, np.uint32).view(np.float32)
    small = bq.exmy(8, keep, infinity=True, nan="ieee" if keep else "negative_zero", bias=127)
    if keep:
        assert np.array_equal(bq.round_bits(x, keep), bq.round_to(x, small))
    assert np.array_equal(bq.round_bits(x, keep, "away"), bq.round_to(x, small, rounding="nearest_away"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_layout_and_the_threads_change_nothing(dtype):
    draw = np.random.default_rng(1)
    x = draw.standard_normal((5, 6, 700)).astype(dtype)
    expected = bq.round_bits(x, 5)
    for other in (
        np.asfortranarray(x), np.repeat(x, 2, axis=2)[:, :, ::2], x[::-1, ::-1].copy()[::-1, ::-1],
        x.astype(x.dtype.newbyteorder(">")), x.transpose(2, 0, 1).copy().transpose(1, 2, 0),
    ):  # fmt: skip
        before = other.copy()
        result = bq.round_bits(other, 5)
        assert np.array_equal(result, expected)
        assert result.dtype == dtype
        assert np.array_equal(other, before)
    many = draw.standard_normal(MORE_THAN_ONE_THREAD).astype(dtype)
    once = bq.round_bits(many, 9)
    for threads in (2, 3, None):
        assert np.array_equal(bq.round_bits(many, 9, threads=threads), once)
        assert np.array_equal(bq.round_bits(many[::-2], 9, threads=threads), once[::-2])


@pytest.mark.parametrize("keep", [7, 23])
def test_out_is_written_and_returned_and_may_be_the_input(keep):
    x = np.linspace(-3, 3, 5000, dtype=np.float32)
    expected = bq.round_bits(x, keep)
    out = np.empty_like(x)
    assert bq.round_bits(x, keep, out=out) is out
    assert np.array_equal(out, expected)
    base = np.full((5000, 3), 9, ">f4")
    assert bq.round_bits(x, keep, out=base[:, 1]) is not None
    assert np.array_equal(base[:, 1], expected)
    assert (base[:, ::2] == 9).all()
    assert bq.round_bits(x, keep, out=x) is x
    assert np.array_equal(x, expected)


def test_scalars_lists_and_empty_arrays():
    assert type(bq.round_bits(0.1, 3)) is np.float64
    assert bq.round_bits([0.1, 0.2], 3).tolist() == [0.1015625, 0.203125]
    assert bq.round_bits(np.zeros((0, 3), np.float32), 3).shape == (0, 3)
    assert bq.round_bits(np.float32([[1.1]]), np.int8(2)).tolist() == [[1.0]]


def test_a_tensor_comes_back_as_a_tensor():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([[0.1, -2.7], [float("inf"), 0.0]], dtype=dtype)
        result = bq.round_bits(x, 4)
        assert isinstance(result, torch.Tensor)
        assert result.dtype == dtype
        assert np.array_equal(result.numpy(), bq.round_bits(x.numpy(), 4))


X = np.ones(4, np.float32)
REFUSED = [
    (lambda: bq.round_bits(X, -1), "keep=-1: float32 has significand bits to keep from 0 to 23"),
    (lambda: bq.round_bits(X, 24), "keep=24: float32 has significand bits to keep from 0 to 23"),
    (lambda: bq.round_bits(1.0, 53), "keep=53: float64 has significand bits to keep from 0 to 52"),
    (lambda: bq.round_bits(X, 3.0), "keep=3.0"),
    (lambda: bq.round_bits(X, True), "keep=True"),
    (lambda: bq.round_bits(X, "7"), "keep='7'"),
    (lambda: bq.round_bits(X, None), "keep=None"),
    (lambda: bq.round_bits(X, 3, "odd"), "ties='odd' is not possible: choose even or away"),
    (lambda: bq.round_bits(X, 23, "odd"), "ties='odd' is not possible"),
    (lambda: bq.round_bits(np.float16([1]), 3), "x has dtype float16: bit rounding keeps float32 or float64 numbers"),
    (lambda: bq.round_bits(np.int32([1]), 3), "x has dtype int32: bit rounding keeps float32 or float64 numbers"),
    (lambda: bq.round_bits([1, 2], 3), "x has dtype int64"),
    (lambda: bq.round_bits(1j, 3), "x has dtype complex128"),
    (lambda: bq.round_bits(X, 3, threads=0), "threads=0: give a number from 1 up, or None"),
    (lambda: bq.round_bits(X, 23, threads=0), "threads=0: give a number from 1 up, or None"),
    (lambda: bq.round_bits(X, 3, out=np.ones(4)), "out has shape (4,) and dtype float64; needed: (4,) and float32"),
    (lambda: bq.round_bits(X, 3, out=np.ones(3, np.float32)), "out has shape (3,)"),
    (lambda: bq.round_bits(X, 3, out=[0]), "out must be a NumPy array, not list"),
    (lambda: bq.round_bits(X[:3], 3, out=X[1:]), "out overlaps x: pass another array"),
    (lambda: bq.round_bits(X[:3], 23, out=X[1:]), "out overlaps x: pass another array"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_makes_no_sense_is_refused_by_name(call, message):
    with pytest.raises(bq.BitquantError, match=re.escape(message)):
        call()
