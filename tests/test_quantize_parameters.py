"""Scales, steps, ranges and zero points, given, found or stored: those of the reference, exactly."""

from __future__ import annotations

from contextlib import nullcontext
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
import reference
from quantizing import GRIDS, SCHEMES, assert_agrees, assert_same, boundaries, judge

# --- Given --------------------------------------------------------------------------------------------------

X = np.float32([0.1, -2.5, 3.75, 0.0, -0.0, 100.0, -1e-40, 7.000001])
GIVEN = [3, 0.1, 1e-3, 2.0**-149, 5e-324, Fraction(1, 3), Fraction(10, 3), Fraction(2**70 + 1, 3**40), 10**25]


@pytest.mark.parametrize("given", GIVEN)
def test_a_given_scale_or_step_is_taken_exactly(given):
    for zero_point in (0, -7, 2**31 - 1):
        for scale, options in ((Fraction(given), {"scale": given}), (1 / Fraction(given), {"step": given})):
            linear = reference.Linear(scale, zero_point, -128, 127)
            q = bq.asymmetric(X, zero_point=zero_point, **options)
            assert (q.exact_scale, q.zero_point) == (scale, zero_point)
            assert_same(q.codes, judge(X, linear), X, options)


def test_scale_multiplies_and_step_is_its_inverse():
    q = bq.symmetric([4.0, -1.0])
    assert (q.scale, q.step, q.exact_scale) == (31.75, 4 / 127, Fraction(127, 4))
    q = bq.symmetric([[4.0], [3.0]], axis=0)
    assert q.exact_scale == (Fraction(127, 4), Fraction(127, 3))
    assert (q.scale.tolist(), q.step.tolist()) == ([31.75, 127 / 3], [4 / 127, 3 / 127])
    assert (q.range.low.tolist(), q.range.high.tolist()) == ([-4.0, -3.0], [4.0, 3.0])
    assert (q.zero_point.dtype, q.zero_point.tolist()) == (np.int32, [0, 0])


def test_what_was_asked_for_stands_in_the_result():
    q = bq.asymmetric(np.float16([[1, 2], [3, 4]]), bits=5, signed=False, axis=-1, rounding="RTZ", step_format="bf16")
    assert (q.scheme, q.bits, q.signed, q.axis, q.rounding) == ("asymmetric", 5, False, 1, "toward_zero")
    assert (q.qmin, q.qmax, q.step_format, q.source) == (0, 31, bq.BF16, bq.FP16)
    assert q.codes.dtype == np.uint8
    assert q.dequantize().dtype == np.float16


@pytest.mark.parametrize("options", GRIDS)
def test_codes_lie_in_the_range_of_the_grid(options):
    for scheme in SCHEMES:
        low, high = reference.code_range(scheme, **options)
        q = bq.quantize([-1e30, 1e30], scheme, range=(-1, 1), **options)
        assert (q.qmin, q.qmax) == (low, high)
        assert q.codes.tolist() == [low, high]


@pytest.mark.parametrize(
    ("scheme", "signed", "ends"),
    [("symmetric", True, (-127, 127)), ("asymmetric", True, (-128, 127)), ("symmetric", False, (0, 255)),
     ("asymmetric", False, (0, 255))],
)  # fmt: skip
def test_narrow_is_the_default_of_the_signed_symmetric_scheme_alone(scheme, signed, ends):
    q = bq.quantize([1.0, -1.0], scheme, signed=signed)
    assert (q.qmin, q.qmax) == ends


CHANNELS = np.float32([[0.3, -1.7, 2.0], [0.3, -1.7, 2.0], [0.5, 1.5, 2.5]])


@pytest.mark.parametrize(
    "options",
    [
        {"range": ([-1, -2, 0], [1, 2, 3])},
        {"range": (-2, [1, 2, 3])},
        {"range": (np.float32([-1, -2, 0]), Fraction(7, 3))},
        {"scale": [1.0, 2.5, Fraction(1, 3)]},
        {"step": np.float64([1, 0.1, 2])},
        {"step": 0.1, "zero_point": [0, 5, -5]},
        {"step": [[1.0], [0.5], [2.0]], "zero_point": np.int64([1, 2, 3])},
        {"range": (-1, 1), "step_format": "bfloat16"},
        {"range": ([3, -1, -4], [4, 0.5, -3]), "include_zero": True},
    ],
    ids=str,
)
def test_each_channel_has_its_own_given_parameters(options):
    q = bq.asymmetric(CHANNELS, axis=0, **options)
    back = q.dequantize()

    def own(value, k):
        value = np.asarray(value, object).reshape(-1)
        return value[k if value.size > 1 else 0]

    for k in range(3):
        alone = {name: own(value, k) for name, value in options.items() if name in ("scale", "step", "zero_point")}
        alone |= {name: options[name] for name in ("step_format", "include_zero") if name in options}
        if "range" in options:
            alone["range"] = tuple(own(end, k) for end in options["range"])
        row = bq.asymmetric(CHANNELS[k], **alone)
        assert (q.exact_scale[k], q.zero_point[k]) == (row.exact_scale, row.zero_point)
        assert_same(q.codes[k], row.codes, CHANNELS[k], k)
        assert back[k].tobytes() == row.dequantize().tobytes()


# low, high, scheme that is chosen
CLIPS = [
    (-1, 1, "symmetric"),
    (-1.0, np.float32(1), "symmetric"),
    (Fraction(-1, 3), Fraction(1, 3), "symmetric"),
    (-1, 2, "asymmetric"),
    (0, 1, "asymmetric"),
    (0, 0, "symmetric"),
    ([-1, -2, -3], [1, 2, 3], "symmetric"),
    ([-1, -2, -3], [1, 2, 4], "asymmetric"),
    (np.uint8(5), np.uint8(251), "asymmetric"),
    (-1, [1, 1, 1], "symmetric"),
]


@pytest.mark.parametrize(("low", "high", "scheme"), CLIPS, ids=str)
def test_clipped_chooses_the_scheme_by_its_range(low, high, scheme):
    q = bq.clipped(CHANNELS, low, high, axis=0)
    assert q.scheme == scheme
    same = bq.quantize(CHANNELS, scheme, range=(low, high), axis=0)
    assert q.exact_scale == same.exact_scale
    assert np.array_equal(q.codes, same.codes)


def test_clipped_sends_what_lies_outside_to_the_end_codes():
    x = np.float32([-100, -1.0001, -1, 1, 1.0001, 3e38])
    assert bq.clipped(x, -1, 1).codes.tolist() == [-127, -127, -127, 127, 127, 127]
    assert bq.clipped(x, -1, 1, scheme="asymmetric").codes.tolist() == [-128, -128, -128, 127, 127, 127]
    assert bq.clipped(x, -1, 3).codes.tolist() == [-128, -128, -128, 0, 0, 127]
    assert bq.clipped(x, -1, 1).range == (-1, 1)


def test_a_symmetric_range_reaches_as_far_as_its_farther_end():
    assert bq.quantize([0.5], range=(-0.25, 2)).exact_scale == Fraction(127, 2)
    assert bq.quantize([0.5], range=(-4, 2)).exact_scale == Fraction(127, 4)
    assert bq.quantize([0.5], range=(-4, -2)).range == (-4, 4)


@pytest.mark.parametrize(("low", "high"), [(3, 4), (-4, -3), (-1, 2), (5, 5), (-5, -5), (0, 0), (0, 1), (-1, 0)])
def test_include_zero_widens_the_range_first(low, high):
    for scheme in SCHEMES:
        linear = reference.parameters([low, high], scheme, include_zero=True)
        x = boundaries(linear, "float32")
        assert_agrees(x, linear, (low, high), scheme=scheme, range=(low, high), include_zero=True)
        q = bq.quantize([low, high], scheme, include_zero=True)
        assert (q.exact_scale, q.zero_point) == linear[:2]
        assert linear.qmin <= q.zero_point <= linear.qmax


# low and high of 255 steps of 1, zero point of signed codes: -low - 128, ties to even
ZERO_POINTS = [
    (-126.5, 128.5, -2),
    (-127.5, 127.5, 0),
    (-128.5, 126.5, 0),
    (-0.5, 254.5, -128),
    (-1.5, 253.5, -126),
    (2.5, 257.5, -130),
    (3.5, 258.5, -132),
    (-256.5, -1.5, 128),
    (-126.5 - 2**-45, 128.5 - 2**-45, -1),
    (-127.5 + 2**-45, 127.5 + 2**-45, -1),
]


@pytest.mark.parametrize(("low", "high", "zero_point"), ZERO_POINTS)
def test_the_zero_point_is_rounded_to_nearest_even_whatever_the_rounding_of_the_codes(low, high, zero_point):
    for rounding in reference.ROUNDINGS:
        assert bq.asymmetric([low, high], rounding=rounding).zero_point == zero_point
        unsigned = bq.asymmetric([0.0], range=(low, high), signed=False, rounding=rounding)
        assert unsigned.zero_point == zero_point + 128


# --- Zero points far out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("low", [10**3, 10**5, 8_000_000, -8_000_000, -(2**23) + 1])
def test_a_range_without_zero_has_a_far_zero_point(low):
    linear = reference.parameters([low, low + 1], "asymmetric")
    assert abs(linear.zero_point) > 250_000
    x = boundaries(linear, "float64")
    assert_agrees(x, linear, low, roundings=("nearest_even", "to_odd"), scheme="asymmetric", range=(low, low + 1))


def test_a_zero_point_beyond_int32_is_refused():
    step = Fraction(1, 255)
    for last, sign in ((-(2**31), 1), (2**31 - 1, -1)):  # of zero_point = -low / step - 128
        low = -(last + 128) * step
        q = bq.quantize([0.0], "asymmetric", range=(low, low + 1))
        assert q.zero_point == last == reference.parameters([low, low + 1], "asymmetric").zero_point
        beyond = (low + sign * step, low + sign * step + 1)
        with pytest.raises(reference.Refused):
            reference.parameters(beyond, "asymmetric")
        with pytest.raises(
            bq.BitquantError, match=f"zero point {last - sign} does not fit an int32.*include_zero=True"
        ):
            bq.quantize([0.0], "asymmetric", range=beyond)
    with pytest.raises(bq.BitquantError, match="zero point 2147483648 does not fit"):
        bq.asymmetric([0.0], step=1, zero_point=2**31)
    with pytest.raises(bq.BitquantError, match="does not fit an int32"):
        bq.asymmetric(np.array([1e30, 1e30 * (1 + 2**-50)]))


# --- The step as it is stored -------------------------------------------------------------------------------

STEP_FORMATS = ("float32", "float16", "bfloat16", "tfloat32", "float64")


@pytest.mark.parametrize("step_format", STEP_FORMATS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_codes_are_exact_for_the_step_that_is_stored(scheme, step_format):
    for low, high in ((-0.3, 1.7), (-1, 1), (-3, 100), (2, 3.1), (-1e-5, 2e-6), (0, 65000), (0, 254.5)):
        linear = reference.parameters([low, high], scheme, step_format=reference.FORMATS[step_format])
        x = boundaries(linear, "float32")
        assert_agrees(x, linear, (low, high), scheme=scheme, range=(low, high), step_format=step_format)
        q = bq.quantize([low, high], scheme, step_format=step_format)
        assert (q.exact_scale, q.zero_point) == linear[:2]
        assert Fraction(q.step) == 1 / linear.scale
        assert q.range == ((low, high) if scheme == "asymmetric" else (-max(-low, high), max(-low, high)))


def test_the_zero_point_belongs_to_the_step_that_is_stored():
    """The step is 3/255 = 0.011765, in bfloat16 0.011780: 2 / step is 170, and then 169.8."""
    stored, exact = (bq.asymmetric([-20.0, -17.0], step_format=fmt) for fmt in ("bfloat16", None))
    assert exact.zero_point == 20 * 85 - 128
    assert stored.zero_point == round(20 * stored.exact_scale) - 128 != exact.zero_point


# step_format, range, its fate: steps next to where it rounds to zero or overflows
STEPS = [
    ("float16", Fraction(255, 2**25), "rounds to zero"),
    ("float16", Fraction(255, 2**25) * Fraction(1001, 1000), None),
    ("float16", Fraction(65520) * 255, "overflows"),
    ("float16", Fraction(65519) * 255, None),
    ("bfloat16", Fraction(255, 2**134), "rounds to zero"),
    ("bfloat16", Fraction(2**128) * 255, "overflows"),
    ("float32", Fraction(255, 2**150), "rounds to zero"),
    ("float32", Fraction(255 * 3, 2**151), None),
    ("float32", Fraction(2**128) * 255, "overflows"),
    ("float32", Fraction(2**128 - 2**104) * 255, None),
    ("float32", Fraction(10) ** 400, "overflows"),
    ("float64", 1 / Fraction(10) ** 400, "rounds to zero"),
]


@pytest.mark.parametrize(("step_format", "high", "fate"), STEPS, ids=lambda value: str(value)[:20])
def test_a_step_that_its_format_cannot_hold_is_refused(step_format, high, fate):
    options = {"range": (0, high), "step_format": step_format}
    fmt = reference.FORMATS[step_format]
    if fate is None:
        linear = reference.parameters([], "asymmetric", low=0, high=high, step_format=fmt)
        assert bq.quantize([1.0], "asymmetric", **options).exact_scale == linear.scale
        return
    with pytest.raises(reference.Refused):
        reference.parameters([], "asymmetric", low=0, high=high, step_format=fmt)
    with pytest.raises(bq.BitquantError, match=f"{fate} in {step_format}: choose a step_format of wider range"):
        bq.quantize([1.0], "asymmetric", **options)


def near_ties():
    """Ranges whose zero point lies at a tie between two integers, and a unit in the last place on either side."""
    for bits, codes in ((8, 255), (4, 15), (2, 3)):
        for k in (0, 1, 2, codes // 2, codes - 1, -1, -300, 700, 2**19 - 3, 2**20 + 1, 2**30):
            low = -(2 * k + 1) / 3 * np.float64(0.75)
            high = low + codes * 2 / 3 * np.float64(0.75)  # low · scale is k + 1/2, or next to it
            for left in (np.nextafter(low, -np.inf), low, np.nextafter(low, np.inf)):
                for right in (np.nextafter(high, -np.inf), high, np.nextafter(high, np.inf)):
                    yield bits, left, right


@pytest.mark.parametrize("state", [None, ("toward_zero",), ("toward_positive", "flush"), ("toward_negative",)], ids=str)
def test_a_zero_point_next_to_a_tie_is_rounded_exactly(witness, state):
    if state is not None and (reason := witness.absent("mxcsr")):
        pytest.skip(reason)
    for bits in (8, 4, 2):
        ranges = np.array([[low, high] for own, low, high in near_ties() if own == bits])
        with nullcontext() if state is None else witness.fpu_state(*state):
            q = bq.quantize(ranges, "asymmetric", bits=bits, axis=0)
            found = np.asarray(q.zero_point).tolist()
        qmin, codes = -(2 ** (bits - 1)), 2**bits - 1
        exact = [Fraction(-low) * codes / (Fraction(high) - Fraction(low)) for low, high in ranges.tolist()]
        assert found == [round(one) + qmin for one in exact]
        assert any(one.denominator == 2 for one in exact)
