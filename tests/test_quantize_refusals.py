"""What a quantizer refuses or saturates: NaN and infinity, and parameters that make no sense."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
import reference

# --- NaN and infinity ---------------------------------------------------------------------------------------

NAN, INF = np.nan, np.inf

# numbers, what the error says
NONFINITE = [
    ([1, NAN, 2], "x has NaN at index 1: remove it, or pass nonfinite='saturate'"),
    ([NAN, INF, 2], "x has NaN at index 0 (the first of 2 that are not finite): "),
    ([1, 2, -INF, NAN, INF], "x has -inf at index 2 (the first of 3 that are not finite): "),
    ([[1, 2], [3, INF]], "x has inf at index (1, 1): "),
    (NAN, "x has NaN at index (): "),
]


@pytest.mark.parametrize(("x", "message"), NONFINITE, ids=str)
@pytest.mark.parametrize("source", ["float64", "float32", "float16", "bfloat16"])
def test_what_is_not_finite_is_counted_and_its_first_index_named(source, x, message):
    x = np.asarray(x, bq.format(source).dtype)
    for options in ({}, {"scheme": "asymmetric"}, {"step": 1}, {"range": (-1, 1)}):
        with pytest.raises(bq.BitquantError, match=re.escape(message)):
            bq.quantize(x, **options)
        if x.ndim:
            with pytest.raises(bq.BitquantError, match=re.escape(message)):
                bq.quantize(x, axis=0, **options)


@pytest.mark.parametrize("at", [0, 255, 256, 1023, 1024, 69_999])
def test_what_is_not_finite_is_found_at_any_place(at):
    x = np.ones(70_000, np.float32)
    x[at:] = NAN
    for options in ({}, {"step": 1}):
        count = f" .the first of {70_000 - at} that" if at < 69_999 else ":"
        with pytest.raises(bq.BitquantError, match=f"NaN at index {at}{count}"):
            bq.quantize(x, **options)


@pytest.mark.parametrize("source", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("first", [NAN, INF, -INF, -NAN, 1.0])
def test_saturate_leaves_what_is_not_finite_out_of_the_range(source, first):
    x = np.array([first, 3, NAN, INF, -INF, -1, 0.5, -NAN], bq.format(source).dtype)
    for scheme, zero_point in (("symmetric", 0), ("asymmetric", -64)):
        q = bq.quantize(x, scheme, nonfinite="saturate")
        linear = reference.parameters(x.astype(float).tolist(), scheme, nonfinite="saturate")
        assert (q.exact_scale, q.zero_point) == linear[:2]
        assert q.zero_point == zero_point
        theirs = [linear.quantize(number, nonfinite="saturate") for number in x.astype(float).tolist()]
        assert q.codes.tolist() == theirs
        columns = bq.quantize(np.tile(x, (3, 1)).T.copy(), scheme, axis=1, nonfinite="saturate")
        rows = bq.quantize(np.tile(x, (3, 1)), scheme, axis=0, nonfinite="saturate")
        for many in (columns, rows):
            assert many.exact_scale == (q.exact_scale,) * 3
        assert columns.codes[:, 2].tolist() == rows.codes[2].tolist() == theirs


def test_saturate_sends_nan_to_the_code_nearest_the_zero_point():
    x = [NAN, INF, -INF]
    for zero_point, code in ((0, 0), (-7, -7), (1000, 127), (-1000, -128), (2**31 - 1, 127)):
        q = bq.asymmetric(x, step=1, zero_point=zero_point, nonfinite="saturate")
        assert q.codes.tolist() == [code, 127, -128]
    assert bq.symmetric(x, step=1, nonfinite="saturate").codes.tolist() == [0, 127, -127]
    assert bq.symmetric(x, step=1, nonfinite="saturate", signed=False, narrow=True).codes.tolist() == [1, 255, 1]
    wide = bq.asymmetric([*x, -1e-300, 1.0], nonfinite="saturate")
    assert wide.codes.tolist() == [-128, 127, -128, -128, 127]


def test_nothing_finite_has_no_range():
    for x in ([NAN], [INF, -INF], np.full((3, 1000), NAN, np.float32)):
        with pytest.raises(bq.BitquantError, match="nothing in x is finite, so it has no range: give range=, scale="):
            bq.quantize(x, nonfinite="saturate")
    for x, axis in (([[1, 2], [NAN, INF]], 0), ([[1, NAN], [2, NAN]], 1)):
        with pytest.raises(bq.BitquantError, match="nothing in channel 1 of x is finite, so it has no range"):
            bq.quantize(x, axis=axis, nonfinite="saturate")
    assert bq.quantize([NAN, INF], step=1, nonfinite="saturate").codes.tolist() == [0, 127]


# --- Refusals -----------------------------------------------------------------------------------------------

# numbers, options, what the error says
REFUSED = [
    ([1.0], {"scheme": "affine"}, "scheme='affine' is not possible"),
    ([1.0], {"nonfinite": "ignore"}, "nonfinite='ignore' is not possible"),
    ([1.0], {"rounding": "up"}, "rounding='up' is not possible"),
    ([1.0], {"bits": 1}, "bits=1 is not possible: choose from 2 to 8"),
    ([1.0], {"bits": 9}, "bits=9 is not possible"),
    ([1.0], {"bits": 4.0}, "bits=4.0 is not possible"),
    ([1.0], {"axis": 1}, "axis=1 does not exist: x has 1 dimensions"),
    ([1.0], {"axis": -2}, "axis=-2 does not exist"),
    (1.0, {"axis": 0}, "axis=0 does not exist: x has 0 dimensions"),
    ([1.0], {"axis": "0"}, "axis='0' does not exist"),
    ([1.0], {"scale": 1, "step": 1}, "scale and step are inverses of each other"),
    ([1.0], {"scale": 0}, "scale is 0: it must be positive"),
    ([1.0], {"step": -0.5}, "step is -0.5: it must be positive"),
    ([1.0], {"step": Fraction(-(10**400))}, "step is -inf: it must be positive"),
    ([1.0], {"step": NAN}, "step is nan: give a finite number"),
    ([1.0], {"scale": INF}, "scale is inf: give a finite number"),
    ([1.0], {"scale": "1"}, "scale must be a number or an array of numbers, not <U1"),
    ([1.0], {"scale": [Fraction(1, 2), Fraction(1, 2)]}, "scale has 2 entries for 1 channels: give one, or one for"),
    ([[1.0, 2.0]] * 3, {"axis": 0, "step": [1, 2]}, "step has 2 entries for 3 channels"),
    ([1.0], {"range": ([0, 0], [1, 1])}, "low has 2 entries for 1 channels"),
    ([1.0], {"range": (NAN, 1)}, "low is nan: give a finite number"),
    ([1.0], {"range": (0, INF)}, "high is inf: give a finite number"),
    ([1.0], {"range": (2, 1)}, "the range from 2 to 1 is empty: low must not exceed high"),
    ([1.0], {"range": (Fraction(10) ** 400, 1)}, "the range from inf to 1 is empty"),
    ([1.0], {"step": 1, "range": (0, 1)}, "scale or step say everything: give no range"),
    ([1.0], {"step": 1, "step_format": "float32"}, "scale or step say everything"),
    ([1.0], {"scale": 1, "include_zero": True}, "scale or step say everything"),
    ([1.0], {"step": 1, "zero_point": 3}, "the symmetric scheme has zero point 0: choose scheme='asymmetric'"),
    ([1.0], {"zero_point": 3}, "a zero_point needs the scale or step that it belongs to"),
    ([1.0], {"step": 1, "zero_point": 0.5}, "zero_point is 0.5: it must be an integer"),
    ([1.0], {"step_format": "int8"}, "step_format=int8: a step is stored in a floating format"),
    ([1.0], {"step_format": "float7"}, "no format is called 'float7'"),
    ([1.0], {"threads": 0}, "threads=0: give a number from 1 up"),
    ([1.0], {"rounding": bq.Stochastic(8)}, "a quantizer's codes are not rounded at random"),
    ([], {}, "x is empty and has no range: give range=, scale= or step="),
    (np.zeros((3, 0)), {"axis": 0}, "x is empty and has no range"),
    ([1j], {"step": 1}, "x has dtype complex128, which holds no numbers of a known format"),
    ([True], {"step": 1}, "x has dtype bool"),
    (["1"], {"step": 1}, "x has dtype <U1"),
    ([2**60], {"step": 1}, "x holds integers beyond 2^53"),
]


@pytest.mark.parametrize(("x", "options", "message"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_makes_no_sense_is_refused_by_name(x, options, message):
    with pytest.raises(bq.BitquantError, match=re.escape(message)):
        bq.quantize(x, **options)


@pytest.mark.parametrize("value", [None, "1", np.nan, 1j])
def test_odd_parameters_among_exact_ones_are_refused(value):
    with pytest.raises(bq.BitquantError, match=r"^scale "):
        bq.quantize([1.0, 2.0], axis=0, scale=[Fraction(1, 3), value])


def test_a_long_double_scale_is_not_rounded_in_silence():
    third = np.longdouble(1) / 3
    if third == np.float64(third):
        pytest.skip("long double is FP64 here")
    with pytest.raises(bq.BitquantError, match="scale"):
        bq.quantize([1.0], scale=third)


@pytest.mark.parametrize("given", [(1,), 3.0, (1, 2, 3)])
def test_a_range_that_is_no_pair_is_refused(given):
    with pytest.raises(bq.BitquantError, match="give a pair"):
        bq.quantize([1.0, 2.0], range=given)


def test_true_is_no_axis():
    with pytest.raises(bq.BitquantError, match="axis=True does not exist"):
        bq.quantize([[1.0, 2.0]], axis=True)
