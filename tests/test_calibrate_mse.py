"""The exact optimum of calibration: never worse than any other step, and its certificate true."""

from __future__ import annotations

import itertools
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitquant as bq
from bitquant.calibrate import levels as levels_module
from bitquant.calibrate import search
from bitquant.calibrate.channels import Channels
from bitquant.data import load_digits_model
from calibrating import assert_certified, error, grid, local_minima, values
from quantizing import FLOATS, SMALL_FLOATS, array_of

SUBNORMAL, TINY, HUGE = 2.0**-149, 2.0**-126, 3.4e38
# Numbers, and why.
ADVERSARIAL = [
    ([0.7], "one number: many steps without error"),
    ([-3.0], "one negative number"),
    ([0.0, 0.0, 1.0], "zeros beside a number"),
    ([2.5, 2.5, 2.5, 2.5], "all equal"),
    ([1.0, -1.0, 0.5, -0.5], "symmetric: ties between zero points"),
    ([0.5, 1.5, 2.5, 3.5, -0.5, -1.5], "on the thresholds of step 1"),
    ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], "multiples of one step"),
    ([SUBNORMAL, 3 * SUBNORMAL, 7 * SUBNORMAL, -5 * SUBNORMAL], "subnormal numbers"),
    ([SUBNORMAL, TINY, 1.0, HUGE], "a huge range"),
    ([HUGE, -HUGE, HUGE / 3], "squares beyond FP32"),
    ([1.0, 1.0 + 2.0**-23, 1.0 + 2.0**-22, 0.3], "neighbouring numbers"),
    ([100.0, *[0.1] * 6], "an outlier"),
]


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("numbers", "why"), ADVERSARIAL, ids=[why for _, why in ADVERSARIAL])
def test_no_step_is_better(numbers, why, signed, bits):
    x = np.array(numbers, np.float32)
    found = bq.calibrate(x, bits=bits, signed=signed)
    levels = grid(bits, signed, narrow=signed)
    assert_certified(x, found, lambda zero_point: levels, scheme="symmetric", bits=bits, signed=signed)
    minima = local_minima(values(x), levels)
    if minima:
        assert (found.certificate.sse, found.step) == minima[0]
        runner_up = (found.certificate.runner_up_sse, found.certificate.runner_up_step)
        assert runner_up == (minima[1] if len(minima) > 1 else (None, None))
    else:
        assert found.certificate.sse == found.certificate.power


@pytest.mark.parametrize(("numbers", "why"), ADVERSARIAL, ids=[why for _, why in ADVERSARIAL])
def test_no_step_and_zero_point_are_better(numbers, why):
    x = np.array(numbers, np.float32)
    found = bq.calibrate(x, scheme="asymmetric", bits=2)
    assert_certified(x, found, lambda z: grid(2, True, False, z), scheme="asymmetric", bits=2)
    minima = sorted(
        (*minimum, abs(z), z < 0) for z in range(-2, 2) for minimum in local_minima(values(x), grid(2, True, False, z))
    )
    assert (found.certificate.sse, found.step, abs(found.zero_point), found.zero_point < 0) == minima[0]
    assert found.certificate.runner_up_sse == minima[1][0]


floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
ordinary = st.floats(-8, 8, width=16)


@given(st.lists(st.one_of(ordinary, floats32), min_size=1, max_size=6), st.integers(2, 3), st.booleans())
def test_any_numbers(numbers, bits, narrow):
    x = np.array(numbers, np.float32)
    levels = grid(bits, True, narrow)
    found = bq.calibrate(x, bits=bits, narrow=narrow)
    minima = local_minima(values(x), levels)
    assert found.certificate.sse == (minima[0][0] if minima else sum(v * v for v in values(x)))
    assert_certified(x, found, lambda zero_point: levels, scheme="symmetric", bits=bits, narrow=narrow)


@given(st.lists(ordinary, min_size=1, max_size=5), st.booleans())
def test_any_numbers_with_a_zero_point(numbers, signed):
    x = np.array(numbers, np.float32)
    low = -2 if signed else 0
    found = bq.calibrate(x, scheme="asymmetric", bits=2, signed=signed)
    least = min(
        (m[0] for z in range(low, low + 4) for m in local_minima(values(x), grid(2, signed, False, z))[:1]),
        default=sum(v * v for v in values(x)),
    )
    assert found.certificate.sse == least
    assert_certified(x, found, lambda z: grid(2, signed, False, z), scheme="asymmetric", bits=2, signed=signed)


@given(st.lists(st.tuples(ordinary, st.sampled_from([0.0, 1.0, 0.5, 3.0, 0.1, 2.0**-20])), min_size=1, max_size=5))
def test_weights_count_exactly(pairs):
    numbers, weights = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    if not weights.any():
        weights[0] = 1
    found = bq.calibrate(numbers, bits=3, weights=weights)
    minima = local_minima(values(numbers), grid(3), values(weights))
    if minima:
        assert (found.certificate.sse, found.step) == minima[0]
    assert_certified(numbers, found, lambda zero_point: grid(3), values(weights))


def test_whole_weights_are_repetitions():
    draw = np.random.default_rng(1)
    x, times = draw.normal(size=50).astype(np.float32), draw.integers(0, 5, 50)
    repeated = bq.calibrate(np.repeat(x, times))
    assert bq.calibrate(x, weights=times).certificate.sse == repeated.certificate.sse
    assert bq.calibrate(x, weights=times * np.float32(0.25)).step == repeated.step


@pytest.mark.parametrize("source", [*FLOATS, *SMALL_FLOATS, "int8", "uint8"])
def test_every_source_format(source):
    fmt = bq.format(source)
    draw = np.random.default_rng(5)
    codes = draw.integers(0, 2**fmt.bits, 40, np.uint64)
    x = array_of(codes, source)
    if not fmt.is_integer:
        wide = np.asarray(bq.convert(x, "float64"))
        x = x[np.isfinite(wide)]
        if fmt.bits > 8:  # bit patterns alone would hold nothing but tiny and huge numbers
            x = np.concatenate([x[:3], draw.normal(size=6).astype(x.dtype)])
    x = x[:9]
    for options in ({"bits": 3}, {"bits": 2, "scheme": "asymmetric"}):
        narrow = options["bits"] == 3
        found = bq.calibrate(x, **options)
        zero_points = [0] if narrow else range(-2, 2)
        minima = [m for z in zero_points for m in local_minima(values(x), grid(options["bits"], True, narrow, z))[:1]]
        assert found.certificate.sse == min(minima)[0]


@pytest.mark.parametrize("bits", [5, 6, 7, 8])
@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
def test_wide_codes_against_every_breakpoint(scheme, bits):
    x = np.random.default_rng(bits).normal(size=5).astype(np.float32)
    points = [0] if scheme == "symmetric" else [3]
    found = bq.calibrate(x, scheme=scheme, bits=bits, **({} if scheme == "symmetric" else {"zero_points": 3}))
    narrow = scheme == "symmetric"
    minima = local_minima(values(x), grid(bits, True, narrow, points[0]))
    assert (found.certificate.sse, found.step) == minima[0]
    assert (found.certificate.runner_up_sse, found.certificate.runner_up_step) == minima[1]
    assert found.certificate.breakpoints >= len(minima)


CODEBOOKS = {
    "NF4": bq.NF4,
    "IQ4_NL": bq.IQ4_NL,
    "float4_e2m1fn": bq.E2M1FN,
    "no zero": bq.codebook([-3.0, -1.0, 1.0, 2.0]),
    "lopsided": bq.codebook([-1.0, 10.0]),
    "all positive": bq.codebook([0.5, 5.0, 6.0]),
}


@pytest.mark.parametrize("name", CODEBOOKS)
def test_codebooks(name):
    codebook = CODEBOOKS[name]
    decoded = bq.decode(np.arange(2**codebook.bits if codebook.is_float else len(codebook.values)), codebook, "float64")
    levels = sorted(set(values(decoded)))
    for numbers in ([0.7, 1.9, 0.0, 5.0], [-0.3, 0.9, 2.0, -1.1, 1.0], [4.0, 4.0, 7.5], [0.3], [-3.0, 1.0]):
        x = np.array(numbers, np.float32)
        found = bq.calibrate(x, codebook=codebook)
        minima = local_minima(values(x), levels)
        assert (found.certificate.sse, found.step) == minima[0]
        assert_certified(x, found, lambda zero_point: levels)
        assert (found.low, found.high) == (levels[0] * found.step, levels[-1] * found.step)


def test_a_codebook_without_zero_has_no_best_step_for_zeros():
    with pytest.raises(bq.BitquantError, match="there is no best step"):
        bq.calibrate([0.0, 0.0], codebook=bq.codebook([1.0, 2.0]))


# --- Large numbers of numbers -------------------------------------------------------------------------------


def errors_of_steps(x, steps, low, high):
    """The squared errors of many steps in FP64, by sums over sorted numbers."""
    x = np.sort(x.astype(np.float64))
    sums = np.concatenate([[0], np.cumsum(x)])
    a, b = np.full(steps.size, low * sums[-1]), np.full(steps.size, float(low**2 * x.size))
    for code in range(low + 1, high + 1):
        at = np.searchsorted(x, (code - 0.5) * steps)
        a += sums[-1] - sums[at]
        b += (code**2 - (code - 1) ** 2) * (x.size - at)
    return (x * x).sum() - 2 * steps * a + steps**2 * b


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("name", ["layer1.weight", "layer2.weight", "layer3.weight", "layer1.bias"])
def test_no_grid_of_100000_steps_is_better_on_real_weights(name, bits):
    x = load_digits_model().tensors[name].reshape(-1)
    found = bq.calibrate(x, bits=bits)
    top = float(np.abs(x).max()) / (2 ** (bits - 1) - 1)
    steps = np.linspace(top / 100, top * 1.2, 100_000)
    least = errors_of_steps(x, steps, 1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1).min()
    assert float(found.certificate.sse) <= least * (1 + 1e-9)
    assert float(found.certificate.sse) > least * 0.9
    assert_certified(x, found, lambda zero_point: grid(bits), scheme="symmetric", bits=bits)


def test_no_zero_point_and_grid_of_steps_are_better_on_real_weights():
    x = load_digits_model().tensors["layer3.weight"].reshape(-1)
    found = bq.calibrate(x, scheme="asymmetric", bits=4)
    top = float(x.max() - x.min()) / 15
    steps = np.linspace(top / 50, top * 1.2, 20_000)
    least = min(errors_of_steps(x, steps, -8 - z, 7 - z).min() for z in range(-8, 8))
    assert float(found.certificate.sse) <= least * (1 + 1e-9)
    assert_certified(x, found, lambda z: grid(4, True, False, z), scheme="asymmetric", bits=4)


@pytest.mark.parametrize("few", [1, 64, 1 << 30])
def test_the_size_of_cells_changes_nothing(few, monkeypatch):
    x = np.random.default_rng(3).standard_t(3, 700).astype(np.float32)
    expected = bq.calibrate(x, bits=4), bq.calibrate(x, scheme="asymmetric", bits=3)
    monkeypatch.setattr(search, "_FEW", few)
    found = bq.calibrate(x, bits=4), bq.calibrate(x, scheme="asymmetric", bits=3)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.certificate.sse == theirs.certificate.sse
        assert ours.step == theirs.step
        assert ours.certificate.runner_up_step == theirs.certificate.runner_up_step


def test_the_bound_lies_below_the_error_everywhere():
    draw = np.random.default_rng(8)
    x = draw.normal(size=200).astype(np.float32)
    numbers = next(iter(Channels.of(x, None, None, None, None, "raise"))).numbers(False)
    target = levels_module.of_grid(bq.quantize(x, "asymmetric", bits=4).grid, 3)
    curve = search.Curve(numbers, target)
    for low, ratio in itertools.product(np.geomspace(1e-3, 3, 30), (1.0001, 1.01, 1.3, 4.0)):
        start, stop = curve.at(low), curve.at(low * ratio)
        least = search.bound(start, stop)
        for part in np.linspace(0, 1, 20):
            step = Fraction(low + part * (low * ratio - low)) * Fraction(2) ** numbers.shift
            power = sum(v * v for v in values(x))
            exact = (error(values(x), grid(4, True, False, 3), step) - power) / Fraction(4) ** numbers.shift
            assert least <= exact


def test_repeated_numbers_are_merged():
    draw = np.random.default_rng(4)
    x = draw.choice(draw.normal(size=40).astype(np.float32), 5000)
    x[:500] = 6
    found, wide = bq.calibrate(x), bq.calibrate(x.astype(np.float64))
    assert found.certificate == wide.certificate
    assert found.certificate.breakpoints == 127 * len(np.unique(np.abs(x[x != 0])))
    different, times = np.unique(x, return_counts=True)
    assert bq.calibrate(different, weights=times).certificate.sse == found.certificate.sse


def test_the_order_of_numbers_changes_nothing():
    x = np.random.default_rng(4).normal(size=3000).astype(np.float32)
    assert bq.calibrate(x).certificate == bq.calibrate(np.sort(x)[::-1]).certificate
    assert bq.calibrate(x).certificate == bq.calibrate(-x.reshape(3, 1000).T).certificate


def test_many_threads_find_the_same():
    x = np.random.default_rng(6).normal(size=20_000).astype(np.float32)
    found = []
    workers = [threading.Thread(target=lambda: found.append(bq.calibrate(x).certificate)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(found)) == 1


STATES = [
    ("nearest_even", "flush"),
    ("toward_zero", "gradual"),
    ("toward_positive", "flush"),
    ("toward_negative", "gradual"),
]


@pytest.mark.parametrize("state", STATES)
def test_nothing_depends_on_the_state_of_the_fpu(witness, state):
    if reason := witness.absent("mxcsr"):
        pytest.skip(reason)
    draw = np.random.default_rng(12)
    ordinary = draw.normal(size=300).astype(np.float32)
    tiny = (draw.integers(-200, 200, 60) * SUBNORMAL).astype(np.float32)
    wide = np.concatenate([tiny[:20].astype(np.float64) * 2.0**-900, ordinary[:20], [1e300, 5e-324]])
    given = [
        {"bits": 4},
        {"bits": 3, "scheme": "asymmetric"},
        {"bits": 3, "step_format": "float32"},
        {"bits": 3, "method": "std"},
        {"bits": 3, "method": "percentile", "interpolation": "linear"},
        {"bits": 3, "method": "minmax"},
    ]

    def facts():
        found = [bq.calibrate(x, **options) for x in (ordinary, tiny, wide) for options in given]
        seen = bq.Observer("histogram", bits=3).observe(wide).observe(tiny)
        found += [seen.range(), seen.range("percentile"), seen.range("std")]
        return [(tuple(one), one.step, one.zero_point, one.certificate) for one in found] + [seen.blur]

    usual = facts()
    with witness.fpu_state(*state):
        disturbed = facts()
    assert [one for one in disturbed if isinstance(one, Fraction)] == usual[-1:]
    for ours, theirs in zip(usual[:-1], disturbed[:-1], strict=True):
        assert ours[:3] == theirs[:3]
        if ours[3]:
            assert (ours[3].sse, ours[3].runner_up_sse) == (theirs[3].sse, theirs[3].runner_up_sse)


# --- Steps that a format holds ------------------------------------------------------------------------------


def places(fmt, low, high):
    """The positive numbers of a small format from low to high."""
    codes = np.arange(2 ** (fmt.bits - fmt.signed))
    numbers = [Fraction(v) for v in bq.decode(codes, fmt, "float64").tolist() if np.isfinite(v) and v > 0]
    return sorted(v for v in numbers if low <= v <= high)


@pytest.mark.parametrize("name", ["float8_e8m0fnu", "float8_e4m3fn", "float8_e5m2", "float16", "bfloat16"])
@pytest.mark.parametrize("seed", range(3))
def test_no_step_of_the_format_is_better(name, seed):
    fmt = bq.format(name)
    x = (np.random.default_rng(seed).normal(size=6) * 10.0**seed).astype(np.float32)
    levels = grid(4)
    found = bq.calibrate(x, bits=4, step_format=name)
    steps = places(fmt, Fraction(float(np.abs(x).max())) / 40, Fraction(float(np.abs(x).max())) * 2)
    least = min((error(values(x), levels, step), step) for step in steps)
    assert (found.certificate.sse, found.step) == least
    assert_certified(x, found, lambda zero_point: levels, scheme="symmetric", bits=4)
    assert bq.convert([float(found.step)], name, overflow="raise") == float(found.step)


@pytest.mark.parametrize("name", ["float32", "float64", "tfloat32"])
@pytest.mark.parametrize("bits", [3, 8])
def test_the_best_step_of_a_fine_format_is_next_to_a_minimum(name, bits):
    fmt, levels = bq.format(name), grid(bits)
    for seed in range(4):
        x = np.random.default_rng(seed).normal(size=5).astype(np.float32)
        found = bq.calibrate(x, bits=bits, step_format=name)
        # Beside each local minimum; the best of the format is one of these, or lies beside a breakpoint.
        least = min(
            error(values(x), levels, Fraction(float(near)))
            for _, step in local_minima(values(x), levels)
            for near in np.ravel([*bq.neighbours([float(step)], fmt), bq.round_to([float(step)], fmt)])
        )
        assert found.certificate.sse <= least
        assert found.certificate.sse >= bq.calibrate(x, bits=bits).certificate.sse
        assert bq.round_to([float(found.step)], fmt)[0] == float(found.step)
        assert_certified(x, found, lambda zero_point: levels, scheme="symmetric", bits=bits)


def test_steps_of_a_format_with_zero_points():
    x = np.random.default_rng(2).normal(size=6).astype(np.float32) + np.float32(0.5)
    found = bq.calibrate(x, scheme="asymmetric", bits=3, step_format="float8_e4m3fn")
    steps = places(bq.E4M3FN, Fraction(1, 30), Fraction(4))
    least = min(error(values(x), grid(3, True, False, z), step) for z in range(-4, 4) for step in steps)
    assert found.certificate.sse == least
    assert_certified(x, found, lambda z: grid(3, True, False, z), scheme="asymmetric", bits=3)


@pytest.mark.parametrize("x", [[0.0, 0.0], [-1.0, -2.0]], ids=["zeros", "no level of their sign"])
def test_where_all_steps_are_alike_the_format_still_gives_one(x):
    found = bq.calibrate(x, signed=False, step_format="float32")
    assert found.certificate.sse == found.certificate.power
    assert found.step > 0


def test_a_step_beyond_the_format_is_its_largest():
    found = bq.calibrate([1e30, -3e29], bits=4, step_format="float16")
    assert found.step == 65504
