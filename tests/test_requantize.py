"""From sums to codes: every rule against a second transcription of its definition, and the libraries that follow it."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
import layers
from witness import FLUSHES, ROUNDING_CONTROL

RULES = ("exact", "tflite", "tflite_single", "float32")
REALS = [
    0.1, 0.5, 0.25, 1 / 3, 1.0, 1.5, 3.0, 0.99999999999, 2.0**-31, 2.0**-32 * 1.25, 2.0**-33, 2.0**-40, 1e-9, 127.5,
    2.0**29, 0.00012345, float(np.float32(0.0173)), 1 - 2.0**-32, 1 - 2.0**-33, 5e-324,
]  # fmt: skip


def sums_near(multiplier, zero_point, draw):
    """Sums next to every boundary between codes that lies in int32, small ones, ends, and some anywhere."""
    found = {
        0,
        1,
        -1,
        2,
        -2,
        3,
        -3,
        2**31 - 1,
        -(2**31),
        2**31 - 2,
        -(2**31) + 1,
        2**24 + 1,
        -(2**24) - 3,
        2**30,
        2**25 + 2,
    }
    for code in range(-130, 130):
        place = (Fraction(2 * (code - zero_point) + 1, 2)) / multiplier
        found.update(int(place) + k for k in (-2, -1, 0, 1, 2))
    found.update(draw.randrange(-(2**31), 2**31) >> draw.randrange(32) for _ in range(200))
    return [total for total in found if -(2**31) <= total < 2**31]


def expected_code(rule, total, multiplier, zero_point):
    if rule == "exact":
        return layers.exact_code(total, Fraction(multiplier), zero_point)
    if rule == "float32":
        return layers.float32_code(total, multiplier, zero_point)
    of = layers.tflite_code if rule == "tflite" else layers.tflite_single_code
    return of(total, *layers.quantized_multiplier(Fraction(multiplier)), zero_point)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("zero_point", [0, 3, -128, 127])
def test_every_code_is_that_of_the_definition(rule, zero_point):
    draw = random.Random(11)
    for multiplier in [real for real in REALS if rule != "float32" or real > 2.0**-149]:
        totals = sums_near(Fraction(multiplier), zero_point, draw)
        pairs = [(total, expected_code(rule, total, multiplier, zero_point)) for total in totals]
        kept = [(total, code) for total, code in pairs if code is not None]
        sums = np.array([total for total, _ in kept], np.int32)
        found = bq.requantize(sums, multiplier, zero_point=zero_point, rule=rule)
        assert found.dtype == np.int8
        for (total, code), ours in zip(kept, found.tolist(), strict=True):
            assert ours == code, f"{rule}, {total} · {multiplier!r} + {zero_point}"
        for total in [total for total, code in pairs if code is None][:3]:
            with pytest.raises(
                bq.BitquantError, match=rf"the sum {total} at \(0\) overflows int32 under its multiplier"
            ):
                bq.requantize(np.int32([total]), multiplier, zero_point=zero_point, rule=rule)


def test_sums_beyond_24_bits_are_rounded_to_float32_first():
    """A million of them against the CPU's own FP32, which shows in a few codes."""
    sums = np.random.default_rng(2).integers(-(2**31), 2**31, 1_000_000).astype(np.int32)
    multiplier = np.float32(4.7e-8)
    expected = np.rint(sums.astype(np.float32) * multiplier)
    assert np.array_equal(bq.requantize(sums, multiplier, rule="float32"), expected)
    assert not np.array_equal(np.rint((sums * np.float64(multiplier)).astype(np.float32)), expected)


def test_a_tie_is_where_the_rules_part():
    """Halves: to even with the zero point inside, away, up; and 95/64, which two roundings send to 2."""
    sums = np.int32([32, 96, -32, -96, 95, -95])
    given = {rule: bq.requantize(sums, Fraction(1, 64), zero_point=1, rule=rule).tolist() for rule in RULES}
    assert given == {
        "exact": [2, 2, 0, 0, 2, 0],
        "float32": [1, 3, 1, -1, 2, 0],
        "tflite": [2, 3, 0, -1, 3, 0],
        "tflite_single": [2, 3, 1, 0, 2, 0],
    }


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_each_channel_has_its_own_multiplier_and_zero_point(rule, axis):
    draw = np.random.default_rng(5)
    sums = draw.integers(-(2**20), 2**20, (5, 7, 300), np.int32)
    channels = sums.shape[axis]
    multipliers, points = draw.uniform(1e-5, 3e-4, channels), draw.integers(-20, 20, channels)
    found = bq.requantize(sums, multipliers, zero_point=points, axis=axis, rule=rule)
    for channel in range(channels):
        own = np.take(sums, channel, axis)
        expected = bq.requantize(own, multipliers[channel], zero_point=int(points[channel]), rule=rule)
        assert np.array_equal(np.take(found, channel, axis), expected)
        codes = [
            expected_code(rule, total, multipliers[channel], int(points[channel]))
            for total in own.reshape(-1)[:40].tolist()
        ]
        assert expected.reshape(-1)[:40].tolist() == codes
    assert np.array_equal(bq.requantize(sums, multipliers, zero_point=points, axis=axis, rule=rule, threads=3), found)
    turned = np.moveaxis(sums, 0, 2)
    again = bq.requantize(turned, multipliers, zero_point=points, axis=(axis % 3 - 1) % 3, rule=rule)
    assert np.array_equal(np.moveaxis(again, 2, 0), found)


@pytest.mark.parametrize("rule", RULES)
def test_bits_sign_and_clamp_bound_the_codes(rule):
    sums = np.arange(-400, 400, dtype=np.int32)
    whole = np.arange(-400, 400)
    for bits, signed in itertools.product((2, 4, 7, 8), (True, False)):
        low = -(2 ** (bits - 1)) if signed else 0
        found = bq.requantize(sums, 1.0, bits=bits, signed=signed, rule=rule, zero_point=1)
        assert found.dtype == (np.int8 if signed else np.uint8)
        assert np.array_equal(found, np.clip(whole + 1, low, low + 2**bits - 1))
    found = bq.requantize(sums, 1.0, clamp=(-3, 9), rule=rule)
    assert np.array_equal(found, np.clip(whole, -3, 9))


@pytest.mark.parametrize("rule", RULES)
def test_zero_points_outside_the_codes_count_too(rule):
    sums = np.int32([10_000, 10_001, 9_900, 2**30 - 1, -(2**30)])
    assert bq.requantize(sums, 1.0, zero_point=-10_000, rule=rule).tolist() == [0, 1, -100, 127, -128]


@pytest.mark.parametrize("rounding", list(ROUNDING_CONTROL))
@pytest.mark.parametrize("flush", list(FLUSHES))
def test_no_state_of_the_fpu_changes_a_code(witness, rounding, flush):
    if witness.absent("mxcsr"):
        pytest.skip(witness.absent("mxcsr"))
    draw = np.random.default_rng(8)
    sums = (draw.integers(-(2**31), 2**31, 3000) >> draw.integers(0, 20, 3000)).astype(np.int32)
    cases = [(0.1, None), (1e-5, None), (float(np.float32(1e-40)), None), (draw.uniform(1e-6, 1e-2, 3000), 0)]
    for rule, (multiplier, axis) in itertools.product(RULES, cases):
        expected = bq.requantize(sums, multiplier, axis=axis, rule=rule)
        with witness.fpu_state(rounding, flush):
            found = bq.requantize(sums, multiplier, axis=axis, rule=rule)
        assert np.array_equal(found, expected), rule


@pytest.mark.parametrize("real", REALS)
def test_a_quantized_multiplier_is_the_number_to_31_bits(real):
    expected = layers.quantized_multiplier(Fraction(real))
    assert bq.quantize_multiplier(real) == expected
    assert bq.quantize_multiplier(Fraction(real)) == expected
    many = bq.quantize_multiplier(np.array([[real, 1.0]]))
    assert many.multiplier.dtype == many.shift.dtype == np.int32
    assert (many.multiplier.tolist(), many.shift.tolist()) == ([[expected[0], 2**30]], [[expected[1], 1]])


def test_a_quantized_multiplier_rounds_half_away():
    half = Fraction(2**31 - 1, 2**31)
    assert bq.quantize_multiplier(half) == (2**31 - 1, 0)
    assert bq.quantize_multiplier(half + Fraction(1, 2**32)) == (2**30, 1)
    assert bq.quantize_multiplier(half + Fraction(1, 2**32) - Fraction(1, 2**80)) == (2**31 - 1, 0)
    assert bq.quantize_multiplier(float(half + Fraction(1, 2**32))) == (2**30, 1)
    assert bq.quantize_multiplier(0) == bq.quantize_multiplier(0.0) == bq.quantize_multiplier(-0.0) == (0, 0)
    draw = random.Random(3)
    values = [draw.random() * 2.0 ** draw.randrange(-40, 29) for _ in range(2000)]
    found = bq.quantize_multiplier(np.array(values))
    assert list(zip(found.multiplier.tolist(), found.shift.tolist(), strict=True)) == [
        layers.quantized_multiplier(Fraction(value)) for value in values
    ]
    empty = bq.quantize_multiplier(np.empty(0))
    assert empty.multiplier.shape == empty.shift.shape == (0,)


def test_a_fixed_multiplier_is_taken_as_it_is():
    sums = np.arange(-300, 300, dtype=np.int32)
    for rule, of in (("tflite", layers.tflite_code), ("tflite_single", layers.tflite_single_code)):
        for multiplier, shift in ((2**30, 0), (2**31 - 1, -3), (12345, 5), (0, 0), (1, -31), (2**31 - 1, 20)):
            found = bq.requantize(sums, bq.FixedMultiplier(multiplier, shift), rule=rule, zero_point=-2)
            assert found.tolist() == [of(total, multiplier, shift, -2) for total in sums.tolist()]
    found = bq.requantize(sums.reshape(2, 300), bq.FixedMultiplier([2**30, 2**30], [1, 0]), axis=0, rule="tflite")
    assert found[0].tolist() == np.clip(sums[:300], -128, 127).tolist()


def test_a_bias_is_rounded_once():
    bias, steps = [0.5, -1.0, 2.5, -2.5, 0.0], [0.02, 0.03, 1.0, 1.0, 1e-9]
    found = bq.quantize_bias(bias, 0.01, steps)
    assert found.dtype == np.int32
    assert found.tolist() == [
        round(Fraction(b) / (Fraction(0.01) * Fraction(s))) for b, s in zip(bias, steps, strict=True)
    ]
    assert bq.quantize_bias([2.5, 3.5, -0.5], 1, 1).tolist() == [2, 4, 0]
    assert bq.quantize_bias([2**31 - 1, -(2**31)], 1, 1).tolist() == [2**31 - 1, -(2**31)]
    assert bq.quantize_bias(np.float16([0.5]), Fraction(1, 3), 1).tolist() == [2]
    assert bq.quantize_bias([], 1, 1).shape == (0,)


SUMS = np.int32([1, 2, 3])
REFUSED = [
    (lambda: bq.requantize([1, 2], 1.0), "acc has dtype int64: requantize takes sums of int32"),
    (lambda: bq.requantize(SUMS, 0.0), "scale is 0: it must be positive"),
    (lambda: bq.requantize(SUMS, -1.0, rule="tflite"), "the multiplier is -1: it must not be negative"),
    (lambda: bq.requantize(SUMS, Fraction(-1), rule="tflite"), "the multiplier is -1: it must not be negative"),
    (lambda: bq.requantize(SUMS, -1.0, rule="float32"), "the multiplier -1 is no positive number of float32"),
    (lambda: bq.requantize(SUMS, 1e-50, rule="float32"), "the multiplier 1e-50 is no positive number of float32"),
    (lambda: bq.requantize(SUMS, 1e50, rule="float32"), r"the multiplier 1e\+50 is no positive number of float32"),
    (lambda: bq.requantize(SUMS, 2.0**30, rule="tflite"), r"the multiplier 1.07374e\+09 is too large"),
    (lambda: bq.requantize(SUMS, Fraction(2**31), rule="tflite"), r"the multiplier 2.14748e\+09 is too large"),
    (lambda: bq.requantize(SUMS, bq.FixedMultiplier(-1, 0), rule="tflite"), "the multiplier -1 with shift 0 is out of"),
    (lambda: bq.requantize(SUMS, bq.FixedMultiplier(1, 31), rule="tflite"), "the multiplier 1 with shift 31 is out of"),
    (
        lambda: bq.requantize(SUMS, bq.FixedMultiplier(1, -32), rule="tflite"),
        "the multiplier 1 with shift -32 is out of",
    ),
    (lambda: bq.requantize(SUMS, bq.FixedMultiplier([1, 1], 0), rule="tflite"), "the multiplier has 2 entries for 1"),
    (lambda: bq.requantize(SUMS, bq.FixedMultiplier(1, 0)), "rule 'exact' takes the multiplier as a number"),
    (lambda: bq.requantize(SUMS, [1.0, 2.0], axis=0), "scale has 2 entries for 3 channels"),
    (lambda: bq.requantize(SUMS, 1.0, zero_point=0.5), "zero_point is 0.5: it must be an integer that int32 holds"),
    (
        lambda: bq.requantize(SUMS, 1.0, zero_point=2**31),
        r"zero_point is 2.14748e\+09: it must be an integer that int32",
    ),
    (lambda: bq.requantize(SUMS, float("nan"), rule="tflite"), "the multiplier is nan: give a finite number"),
    (lambda: bq.requantize(SUMS, 1.0, axis=1), "axis=1 does not exist: acc has 1 dimensions"),
    (lambda: bq.requantize(SUMS, 1.0, bits=9), "bits=9 is not possible: choose from 2 to 8"),
    (
        lambda: bq.requantize(SUMS, 1.0, clamp=(5, 4)),
        r"clamp=\(5, 4\): give a pair of codes that ascends, from -128 to",
    ),
    (lambda: bq.requantize(SUMS, 1.0, rule="nearest"), "rule='nearest'"),
    (lambda: bq.requantize(SUMS, 1.0, out=np.empty(3, np.uint8)), "out must be a contiguous array of int8"),
    (lambda: bq.quantize_bias([[1.0]], 1, 1), r"bias has shape \(1, 1\): give one number for each column"),
    (lambda: bq.quantize_bias([1.0, 3.0], 1, [1, 0]), "the step of column 1 is 0: it must be positive"),
    (
        lambda: bq.quantize_bias([0.0, 2.0**31], 1, 1),
        r"the bias of column 1 is 2.14748e\+09, 2147483648 steps of 1, which",
    ),
    (lambda: bq.quantize_bias([float("nan")], 1, 1), "bias is nan: give a finite number"),
    (lambda: bq.quantize_bias([1.0], [1, 2], 1), "a_step has 2 entries for 1 channels"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_no_rule_defines_is_refused(call, message):
    with pytest.raises(bq.BitquantError, match=message):
        call()


def test_the_first_sum_that_overflows_is_named():
    sums = np.zeros((3, 400), np.int32)
    sums[1, 7] = sums[2, 0] = 2**30
    message = r"the sum 1073741824 at \(1, 7\) overflows int32 under its multiplier, which TFLite leaves undefined"
    for rule, (multiplier, axis), threads in itertools.product(
        ("tflite", "tflite_single"), ((3.0, None), (np.full(400, 3.0), 1), (np.full(3, 3.0), 0)), (1, 2)
    ):
        with pytest.raises(bq.BitquantError, match=message):
            bq.requantize(sums, multiplier, axis=axis, rule=rule, threads=threads)


@pytest.mark.parametrize("rule", RULES)
def test_empty_and_single_sums(rule):
    assert bq.requantize(np.empty((0, 3), np.int32), 0.1, rule=rule).shape == (0, 3)
    assert bq.requantize(np.empty((0, 3), np.int32), [0.1, 0.2, 0.3], axis=1, rule=rule).shape == (0, 3)
    one = bq.requantize(np.int32(25), 0.1, rule=rule)
    assert (one, one.shape) == (expected_code(rule, 25, 0.1, 0), ())
    out = np.empty(3, np.int8)
    assert bq.requantize(SUMS, 1.0, rule=rule, out=out) is out
    assert out.tolist() == [1, 2, 3]


@pytest.mark.parametrize(("left", "right"), [("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8")])
@pytest.mark.parametrize("per_column", [False, True])
def test_onnx_runtime_requantizes_by_rule_float32(left, right, per_column):
    """QLinearMatMul bit for bit, with multipliers that are random, and powers of two, which make ties."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    draw = np.random.default_rng(21)
    for case in range(12):
        m, k, n = draw.integers(1, 90, 3)
        a = draw.integers(*(np.iinfo(left).min, np.iinfo(left).max + 1), (m, k)).astype(left)
        b = draw.integers(*(np.iinfo(right).min, np.iinfo(right).max + 1), (k, n)).astype(right)
        p, q, point = (
            draw.integers(0, 100, size).astype(dtype)
            for dtype, size in ((left, ()), (right, n if per_column else ()), (left, ()))
        )
        columns = n if per_column else ()
        a_step, b_step, y_step = (draw.uniform(1e-3, 1e-1, size).astype(np.float32) for size in ((), columns, ()))
        y_step = np.float32(y_step * 30)
        if case % 3 == 0:
            a_step, b_step, y_step = (
                np.float32(0.5),
                np.full(columns, 0.25, np.float32),
                np.float32(2.0 ** draw.integers(3, 9)),
            )
        theirs = layers.onnx_runtime(
            "QLinearMatMul", a, np.float32(a_step), p, b, np.asarray(b_step), q, np.float32(y_step), point, result=left
        )
        sums = bq.integer_matmul(a, b, a_zero_point=p, b_zero_point=q)
        multiplier = np.float32(np.float32(a_step) * b_step) / np.float32(y_step)
        ours = bq.requantize(
            sums, multiplier, zero_point=point, axis=1 if per_column else None, signed=left == "int8", rule="float32"
        )
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("reference", "rule"), [(True, "tflite"), (False, "float32")])
def test_litert_requantizes_by_its_rule(reference, rule, per_channel):
    """The reference kernel of CONV_2D by "tflite", XNNPACK by "float32": with multipliers at random, and 1/64."""
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    draw = np.random.default_rng(4)
    for case in range(4):
        count, k, n = 200, int(draw.integers(1, 150)), 32
        x = draw.integers(-128, 128, (count, k)).astype(np.int8)
        weight = draw.integers(-127, 128, (n, k)).astype(np.int8)
        bias = draw.integers(-9000, 9000, n).astype(np.int32)
        x_step, y_step = np.float32(draw.uniform(1e-3, 1e-1)), np.float32(1)
        steps = draw.uniform(1e-3, 1e-1, n if per_channel else ()).astype(np.float32)
        y_step = np.float32(x_step * np.mean(steps) * np.sqrt(k) * 100)
        if case == 3:
            x_step, steps, y_step = np.float32(1), np.ones_like(steps), np.float32(64)
        x_point, y_point = int(draw.integers(-128, 128)), int(draw.integers(-20, 20))
        theirs = layers.litert_convolution(x, weight, bias, x_step, x_point, steps, y_step, y_point, reference)
        sums = bq.integer_matmul(x, weight.T, a_zero_point=x_point) + bias
        multiplier = np.float64(x_step) * steps.astype(np.float64) / np.float64(y_step)
        if rule == "float32":
            multiplier = np.float32(x_step * steps) / y_step
        axis = 1 if per_channel else None
        assert np.array_equal(bq.requantize(sums, multiplier, zero_point=y_point, axis=axis, rule=rule), theirs)
