"""Scales, steps, ranges and zero points that are given, found or refused; what goes in, and what comes out."""

from __future__ import annotations

import re
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
import reference
from quantizing import BACK, GRIDS, SCHEMES, assert_agrees, assert_same, boundaries, codes_of, judge, numbers_of

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
        with pytest.raises(bq.BitquantError, match=f"zero point {last - sign} does not fit an int32.*include_zero=True"):
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
    with pytest.raises(bq.BitquantError, match="^scale "):
        bq.quantize([1.0, 2.0], axis=0, scale=[Fraction(1, 3), value])


def test_a_long_double_scale_is_not_rounded_in_silence():
    third = np.longdouble(1) / 3
    if third == np.float64(third):
        pytest.skip("long double is FP64 here")
    with pytest.raises(bq.BitquantError, match="scale"):
        bq.quantize([1.0], scale=third)


# --- What goes in, and what comes out -----------------------------------------------------------------------


def test_empty_input_gives_empty_codes_where_the_parameters_are_given():
    for options in ({"step": 1}, {"scale": 2.0}, {"range": (0, 1)}, {"range": (-1, 1), "axis": 1}):
        q = bq.quantize(np.zeros((0, 3)), **options)
        assert (q.codes.shape, q.codes.dtype) == ((0, 3), np.int8)
        assert q.dequantize().shape == (0, 3)
    q = bq.quantize(np.zeros((0, 3)), step=1, axis=0)
    assert (q.exact_scale, q.zero_point.tolist(), q.scale.tolist()) == ((), [], [])


def test_out_gets_the_codes():
    x = np.float32([[1, 2], [3, -4]])
    out = np.empty((2, 2), np.int8)
    q = bq.symmetric(x, out=out)
    assert q.codes is out
    assert np.array_equal(out, bq.symmetric(x).codes)
    out = np.empty((), np.uint8)
    assert bq.quantize(3.0, step=1, signed=False, out=out).codes == out == 3


def test_an_out_that_does_not_fit_is_refused():
    x = np.ones(4, np.float32)
    read_only = np.empty(4, np.int8)
    read_only.flags.writeable = False
    for out in (np.empty(3, np.int8), np.empty((4, 1), np.int8), np.empty(4, np.uint8), np.empty(8, np.int8)[::2], [0] * 4):
        with pytest.raises(bq.BitquantError, match=r"out must be a contiguous array of int8 and shape \(4,\)"):
            bq.quantize(x, step=1, out=out)
    with pytest.raises(bq.BitquantError, match="out is read-only: pass a writable array"):
        bq.quantize(x, step=1, out=read_only)
    for x, out in ((x, x.view(np.int8)[2:6]), (out := np.zeros(4, np.int8), out)):
        with pytest.raises(bq.BitquantError, match="out overlaps x: pass another array"):
            bq.quantize(x, step=1, out=out)


BASE = np.arange(-60, 60, dtype=np.float32).reshape(2, 5, 12) / 7
LAYOUTS = {
    "strided": lambda x: np.repeat(x, 3, 2)[..., ::3],
    "reversed": lambda x: x[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "Fortran": np.asfortranarray,
    "transposed": lambda x: x.transpose(2, 0, 1).copy().transpose(1, 2, 0),
    "big-endian": lambda x: x.astype(">f4"),
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    "float64": lambda x: x.astype(np.float64),
    "list": lambda x: x.tolist(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_codes_do_not_depend_on_the_layout(layout, axis):
    theirs, ours = (bq.asymmetric(x, axis=axis) for x in (BASE, LAYOUTS[layout](BASE)))
    assert ours.exact_scale == theirs.exact_scale
    assert_same(ours.codes, theirs.codes, BASE, layout)
    assert ours.error(LAYOUTS[layout](BASE)).mse == pytest.approx(theirs.error(BASE).mse, rel=1e-5)


@pytest.mark.parametrize(
    ("x", "code"),
    [(1.5, 2), (np.float16(-1.5), -2), (3, 3), (np.uint16(7), 7), (np.array(2.5), 2), (np.array(2.5, ">f4"), 2),
     (ml_dtypes.bfloat16(0.5), 0), (-200, -127), (np.int64(2**53), 127)],
)  # fmt: skip
def test_one_number_gives_one_code(x, code):
    q = bq.quantize(x, step=1)
    assert (q.codes, q.codes.shape) == (code, ())
    assert q.dequantize() == code
    assert q.error(x).max_abs == abs(float(x) - code)


def test_integers_are_numbers():
    x = np.array([[-1000, 0], [500, 70_000]], np.int32)
    linear = reference.parameters(x.reshape(-1).tolist(), "asymmetric")
    q = bq.asymmetric(x)
    assert_same(q.codes, judge(x.astype(float), linear), x, "")
    assert q.source is bq.FP64
    assert bq.quantize(np.int8([3, -4])).dequantize().dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8"])
def test_tensors_come_back_as_tensors(dtype):
    torch = pytest.importorskip("torch")
    x = (torch.arange(-12, 12).reshape(2, 12) * 5 / (1 if dtype == "int8" else 7)).to(getattr(torch, dtype))
    same = numbers_of(x.double().numpy().reshape(-1).tolist(), dtype).reshape(2, 12)
    for axis in (None, 0, 1):
        q, theirs = bq.asymmetric(x, axis=axis), bq.asymmetric(same, axis=axis)
        assert isinstance(q.codes, torch.Tensor)
        assert q.codes.dtype == torch.int8
        assert q.exact_scale == theirs.exact_scale
        assert np.array_equal(q.codes.numpy(), theirs.codes)
        assert q.error(x) == theirs.error(same)
        for name in ("float32", "float16", "bfloat16", "float64"):
            back = q.dequantize(name)
            assert (back.dtype, back.shape) == (getattr(torch, name), x.shape)
            again = bq.dequantize(q.codes, scale=[q.exact_scale] if axis is None else list(q.exact_scale),
                                  zero_point=q.zero_point, axis=axis, dtype=name)  # fmt: skip
            assert torch.equal(back, again)
            word = torch.int16 if back.element_size() == 2 else torch.int32 if back.element_size() == 4 else torch.int64
            assert codes_of(back.view(word).numpy()) == codes_of(theirs.dequantize(name))
    assert isinstance(bq.quantize(torch.tensor(1.5), step=1).codes, torch.Tensor)


# --- Back ---------------------------------------------------------------------------------------------------

BACKS = [
    (Fraction(1), 0),
    (Fraction(10), -128),
    (Fraction(1, 3), 127),
    (Fraction(255) / (1 + Fraction(1, 10**30)), 5),  # wide
    (Fraction(2**63 - 1, 2**63 - 25), 0),  # as wide as the kernel takes
    (Fraction(2**63 + 1, 3), 0),  # one bit wider
    (Fraction(7, 3), 2**31 - 1),
    (Fraction(7, 3), -(2**31)),
    (Fraction(1, 65504), 1),  # float16 overflows
    (Fraction(127, 65520), 0),  # ... at a tie
    (Fraction(2) ** 24, 0),  # subnormal in float16
    (Fraction(2) ** 25 * 3, 0),  # ties and nothing at all in float16
    (Fraction(2) ** 150, 0),
    (1 / Fraction(2) ** 122, 0),
    (Fraction(3) * Fraction(2) ** 1072, 0),
    (Fraction(10) ** 400, 3),
    (1 / Fraction(10) ** 306, 0),
    (1 / Fraction(10) ** 400, 3),
]


@pytest.mark.parametrize(("scale", "zero_point"), BACKS, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_every_byte_is_dequantized_with_one_rounding(dtype, scale, zero_point):
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    for name in BACK:
        fmt = reference.FORMATS[name]
        theirs = [reference.dequantize(code, scale, zero_point, fmt) for code in codes.tolist()]
        for options in ({"scale": scale}, {"step": 1 / scale}):
            ours = bq.dequantize(codes, zero_point=zero_point, dtype=name, **options)
            assert codes_of(ours) == theirs, name


def test_codes_beyond_the_range_of_the_grid_are_dequantized_all_the_same():
    q = bq.symmetric([1.0, -1.0], bits=3)
    theirs = [reference.dequantize(code, Fraction(3), 0, reference.FLOAT32) for code in (-128, 127)]
    assert codes_of(bq.dequantize(np.int8([-128, 127]), scale=q.exact_scale)) == theirs


@pytest.mark.parametrize(("shape", "axis"), [((3, 4), 0), ((3, 4), 1), ((2, 3, 5), -2), ((3,), 0), ((2, 0, 3), 2)])
def test_each_channel_is_dequantized_by_its_own_parameters(shape, axis):
    codes = np.random.default_rng(3).integers(-128, 128, shape).astype(np.int8)
    channels = shape[axis]
    scales = [Fraction(3, k + 1) for k in range(channels)]
    scales[-1] = Fraction(255) / (1 + Fraction(1, 10**30))
    points = list(range(channels))
    many = np.moveaxis(bq.dequantize(codes, scale=scales, zero_point=points, axis=axis), axis, 0)
    for k, row in enumerate(np.moveaxis(codes, axis, 0)):
        alone = bq.dequantize(row, scale=scales[k], zero_point=points[k])
        assert many[k].tobytes() == alone.tobytes()
    strided = np.asfortranarray(codes)
    again = bq.dequantize(strided, scale=scales, zero_point=points, axis=axis)
    assert np.array_equal(np.moveaxis(again, axis, 0), many)


def test_many_codes_are_dequantized_alike():
    codes = np.resize(np.arange(256, dtype=np.uint8), 2**21 + 77)
    for name in BACK:
        table = bq.dequantize(codes[:256], step=0.1, zero_point=3, dtype=name)
        for threads in (1, 3):
            many = bq.dequantize(codes, step=0.1, zero_point=3, dtype=name, threads=threads)
            assert np.array_equal(many, np.resize(table, codes.size)), name


BACK_REFUSED = [
    ([1, 2], {"step": 1}, "codes are int8 or uint8, not int64"),
    (np.int8([1]), {}, "give the scale or the step that the codes were made with"),
    (np.int8([1]), {"scale": 1, "step": 1}, "scale and step are inverses"),
    (np.int8([1]), {"scale": 0}, "scale is 0: it must be positive"),
    (np.int8([1]), {"scale": 1, "zero_point": 1.5}, "zero_point is 1.5: it must be an integer"),
    (np.int8([1]), {"scale": 1, "zero_point": 2**40}, "does not fit an int32"),
    (np.int8([1]), {"scale": 1, "axis": 1}, "axis=1 does not exist"),
    (np.int8([1]), {"scale": [1, 2]}, "scale has 2 entries for 1 channels"),
    (np.int8([1]), {"scale": 1, "dtype": "int8"}, "dequantizing gives real numbers: int8 is no floating format"),
    (np.int8([1]), {"scale": 1, "threads": -1}, "threads=-1"),
]


@pytest.mark.parametrize(("codes", "options", "message"), BACK_REFUSED, ids=str)
def test_what_cannot_be_dequantized_is_refused_by_name(codes, options, message):
    with pytest.raises(bq.BitquantError, match=re.escape(message)):
        bq.dequantize(codes, **options)
