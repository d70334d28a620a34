"""Observers: what they keep does not depend on how the numbers come, and no count is lost."""

from __future__ import annotations

import io
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitquant as bq
from bitquant.calibrate.histogram import Histogram
from bitquant.quantize.granularity import Granularity
from calibrating import error, grid, values

BATCHES = [np.random.default_rng(k).normal(k, 2.0**k, 300).astype(np.float32) for k in range(4)]
EVERYTHING = np.concatenate(BATCHES)
KEPT = ["minmax", "histogram"]


def observed(batches, method, **options):
    observer = bq.Observer(method, **{"bits": 2} | options)
    for batch in batches:
        observer.observe(batch)
    return observer


def assert_same(one, other):
    """Hold all that two observers keep against each other."""
    mine, theirs = one.state(), other.state()
    assert mine.keys() == theirs.keys()
    for name in mine.keys() - {"batches"}:
        assert np.array_equal(mine[name], theirs[name]), name


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5], ids=str)
@pytest.mark.parametrize("method", KEPT)
def test_merging_in_any_order_equals_observing_everything(method, order):
    alone = observed([EVERYTHING], method)
    parts = [observed([BATCHES[k]], method) for k in order]
    merged = parts[0].merge(parts[1]).merge(parts[2].merge(parts[3]))  # one way to group, others by other orders
    assert_same(merged, alone)
    assert merged.range() == alone.range() == observed([BATCHES[k] for k in order], method).range()
    assert merged.batches == 4


numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=8)


@given(st.lists(numbers, min_size=1, max_size=5), st.integers(0, 20), st.integers(0, 20))
def test_histograms_of_any_numbers_add_up(batches, fine, coarse):
    everything = [number for batch in batches for number in batch]
    alone = observed([everything], "histogram", significand_bits=min(fine, coarse))
    merged = bq.Observer("histogram", bits=2, significand_bits=coarse)
    for batch in batches:
        merged.merge(bq.Observer("histogram", bits=2, significand_bits=fine).observe(batch))
    if everything:
        ours, theirs = merged._histogram, alone._histogram
        assert np.array_equal(ours.keys, theirs.keys)
        assert np.array_equal(ours.counts, theirs.counts)
        assert ours.counts.sum() == len(everything)


def test_a_bin_holds_the_numbers_between_its_ends():
    x = np.concatenate([EVERYTHING, [0.0, -0.0, 1e-310, -1e-310, 1.7e308]])
    for bits in (0, 3, 7, 12):
        histogram = Histogram.of(x, bq.FP64, Granularity.of(x.shape, None, None, None), bits)
        inner, beyond, counts = histogram.bins(0)
        assert counts.sum() == x.size
        for low, high, count in zip(inner, beyond, counts, strict=True):
            same_sign = np.signbit(x) == np.signbit(low)
            inside = same_sign & (np.abs(x) >= abs(low)) & (np.abs(x) < abs(high))
            assert inside.sum() == count
            assert np.isinf(high) or abs(high) / 4 <= abs(low) / 4 * (1 + 2.0**-bits) or abs(low) < 1e-300
        finer = histogram.coarser(0)
        assert finer.counts.sum() == x.size


@pytest.mark.parametrize("method", KEPT)
def test_any_source_format_gives_the_same(method):
    x = np.arange(-50, 51, dtype=np.float64)
    alone = observed([x], method)
    for dtype in ("float32", "float16", "int8", ">f8", "int64"):
        assert_same(observed([x.astype(dtype)], method), alone)


@pytest.mark.parametrize("method", KEPT)
def test_channels_are_observed_alone(method):
    batches = [batch[:299].reshape(13, 23) for batch in BATCHES]
    found = observed(batches, method, axis=1)
    for channel in range(23):
        alone = observed([batch[:, channel] for batch in batches], method).range()
        assert (found.range().low[channel], found.range().step[channel]) == (alone.low, alone.step)
    other = observed(batches[:2], method, axis=1).merge(observed(batches[2:], method, axis=1))
    assert_same(other, found)
    if method == "histogram":
        assert found.blur[3] == observed([batch[:, 3] for batch in batches], method).blur


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
def test_extremes_are_exact_whatever_is_kept(scheme):
    expected = bq.calibrate(EVERYTHING, "minmax", scheme=scheme)
    found = observed(BATCHES, "minmax", scheme=scheme, bits=8).range()
    assert found == expected
    assert observed(BATCHES, "histogram", scheme=scheme).range("minmax") == expected
    assert bq.quantize(EVERYTHING, scheme, range=found).exact_scale == bq.quantize(EVERYTHING, scheme).exact_scale


# --- Moving average -----------------------------------------------------------------------------------------


def test_the_moving_average_is_exact_and_rounded_once_a_batch():
    observer = bq.Observer("moving_average", averaging_constant=0.01)
    low = high = None
    for batch in BATCHES:
        observer.observe(batch)
        least, most = Fraction(float(batch.min())), Fraction(float(batch.max()))
        if low is None:
            low, high = least, most
        else:
            low = Fraction(float(low + Fraction(0.01) * (least - low)))
            high = Fraction(float(high + Fraction(0.01) * (most - high)))
        assert observer.range() == (low, high)


def test_the_moving_average_is_that_of_pytorch_but_for_its_fp32():
    torch = pytest.importorskip("torch")
    observing = pytest.importorskip("torch.ao.quantization.observer")
    theirs = observing.MovingAverageMinMaxObserver(averaging_constant=0.25)
    ours = bq.Observer("moving_average", averaging_constant=0.25)
    for batch in BATCHES:
        theirs(torch.from_numpy(batch))
        ours.observe(batch)
    assert math.isclose(ours.range().low, theirs.min_val, rel_tol=1e-6)
    assert math.isclose(ours.range().high, theirs.max_val, rel_tol=1e-6)


def test_moving_averages_do_not_merge():
    with pytest.raises(bq.BitquantError, match="moving averages depend on the order of batches"):
        observed(BATCHES, "moving_average").merge(observed(BATCHES, "moving_average"))
    reverse = observed(BATCHES[::-1], "moving_average")
    assert reverse.range() != observed(BATCHES, "moving_average").range()


# --- Ranges over a histogram --------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0, 4, 7, 12])
@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("percentile", [0, 50, 99, 99.9, 100])
def test_a_percentile_is_the_end_of_the_bin_it_lies_in(percentile, scheme, bits):
    exact = bq.calibrate(EVERYTHING, "percentile", scheme=scheme, percentile=percentile, bits=2)
    found = observed(BATCHES, "histogram", scheme=scheme, significand_bits=bits).range(
        "percentile", percentile=percentile
    )
    width = Fraction(1, 2**bits)
    if exact.low == 0 or exact.high == 0:  # a range of one number, widened
        return
    assert exact.high <= found.high <= exact.high + abs(exact.high) * width
    assert exact.low - abs(exact.low) * width <= found.low <= exact.low


@pytest.mark.parametrize("tails", ["upper", "lower"])
def test_tails_over_a_histogram(tails):
    found = observed(BATCHES, "histogram").range("percentile", percentile=95, tails=tails)
    exact = bq.calibrate(EVERYTHING, "percentile", scheme="asymmetric", percentile=95, tails=tails)
    assert (found.low == exact.low) == (tails == "upper")
    assert (found.high == exact.high) == (tails == "lower")


@pytest.mark.parametrize("significand_bits", [2, 5, 9])
@pytest.mark.parametrize("bits", [2, 4])
def test_the_error_over_a_histogram_is_bounded_by_its_blur(bits, significand_bits):
    observer = observed(BATCHES, "histogram", scheme="symmetric", bits=bits, significand_bits=significand_bits)
    found, best = observer.range("mse"), bq.calibrate(EVERYTHING, bits=bits)
    blur = math.sqrt(observer.blur)
    certified = math.sqrt(found.certificate.sse)
    true = math.sqrt(error(values(EVERYTHING), grid(bits), found.step))
    assert certified - blur <= math.sqrt(best.certificate.sse) * (1 + 1e-12)
    assert math.sqrt(best.certificate.sse) <= true * (1 + 1e-12) <= (certified + blur) * (1 + 1e-9)
    worst = sum((v * Fraction(1, 2 ** (significand_bits + 1))) ** 2 for v in values(EVERYTHING))
    assert 0 < observer.blur <= worst


def test_bins_of_one_number_each_give_the_optimum():
    x = np.arange(-30, 31, dtype=np.float32)  # 5 significand bits hold all, and their bins hold nothing else
    middles = bq.Observer("histogram", "symmetric", significand_bits=20).observe(x).range("mse")
    assert math.isclose(middles.step, bq.calibrate(x).step, rel_tol=1e-5)


@pytest.mark.parametrize("method", ["entropy", "std"])
def test_other_methods_over_a_histogram_are_near(method):
    x = np.random.default_rng(3).normal(size=5000).astype(np.float32)
    found = bq.Observer("histogram", "symmetric", significand_bits=12).observe(x).range(method)
    assert math.isclose(found.high, bq.calibrate(x, method).high, rel_tol=0.05)


# --- State --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("minmax", {}),
        ("minmax", {"axis": 0, "narrow": True, "signed": False, "step_format": "bfloat16"}),
        ("moving_average", {"averaging_constant": 0.3, "include_zero": True}),
        ("histogram", {"bits": 4, "scheme": "symmetric", "significand_bits": 3}),
        ("histogram", {"axis": 0, "nonfinite": "saturate"}),
    ],
)
def test_the_state_travels(method, options):
    batches = [batch.reshape(3, 100) for batch in BATCHES]
    for before in (observed([], method, **options), observed(batches[:2], method, **options)):
        file = io.BytesIO()
        np.savez(file, **before.state())
        after = bq.Observer.from_state(np.load(io.BytesIO(file.getvalue()), allow_pickle=False))
        assert_same(before, after)
        assert repr(after) == repr(before)
        for batch in batches[2:]:
            before.observe(batch)
            after.observe(batch)
        assert after.range() == before.range()
        assert after.range().zero_point == before.range().zero_point


# --- Refusals -----------------------------------------------------------------------------------------------


def test_what_cannot_be_is_refused():
    for options, message in (
        ({"method": "mean"}, "method='mean' is not possible"),
        ({"averaging_constant": 0}, "averaging_constant=0 is not possible"),
        ({"significand_bits": 21}, "significand_bits=21 is not possible: choose from 0 to 20"),
        ({"bits": 1}, "bits=1 is not possible"),
        ({"nonfinite": "drop"}, "nonfinite='drop' is not possible"),
    ):
        with pytest.raises(bq.BitquantError, match=message):
            bq.Observer(**options)
    observer = bq.Observer("histogram")
    with pytest.raises(bq.BitquantError, match="nothing has been observed yet"):
        observer.range()
    with pytest.raises(bq.BitquantError, match="only an observer of 'histogram' that has seen something has bins"):
        _ = observer.blur
    observer.observe([1.0, 2.0])
    with pytest.raises(bq.BitquantError, match="method='lp' is not possible"):
        observer.range("lp")
    with pytest.raises(bq.BitquantError, match="method='std' has no option percentile"):
        observer.range("std", percentile=3)
    with pytest.raises(bq.BitquantError, match="between bins there is nothing to interpolate"):
        observer.range("percentile", interpolation="linear")
    with pytest.raises(bq.BitquantError, match="an observer of 'minmax' has one range"):
        bq.Observer().observe([1.0]).range("mse")
    with pytest.raises(bq.BitquantError, match="this is no state of an observer: it lacks method"):
        bq.Observer.from_state({})


def test_observers_of_other_options_do_not_merge():
    for options, name in (({"bits": 4}, "bits"), ({"scheme": "symmetric"}, "scheme"), ({"axis": 0}, "axis")):
        with pytest.raises(bq.BitquantError, match=f"observers of different {name} cannot be merged"):
            bq.Observer().merge(bq.Observer(**options))
    one, other = (bq.Observer(axis=0).observe(np.ones((n, 2))) for n in (2, 3))
    with pytest.raises(bq.BitquantError, match=r"observers of \(2,\) and \(3,\) channels cannot be merged"):
        one.merge(other)
    with pytest.raises(bq.BitquantError, match=r"the batch has \(3,\) channels, those before had \(2,\)"):
        one.observe(np.ones((3, 2)))


@pytest.mark.parametrize("method", ["minmax", "moving_average", "histogram"])
def test_a_refused_batch_changes_nothing(method):
    observer = observed(BATCHES, method)
    before = observer.state()
    with pytest.raises(bq.BitquantError, match="x has NaN at index 1"):
        observer.observe([1e9, np.nan])
    assert_same(observer, observed(BATCHES, method))
    assert before["batches"] == observer.batches
    observer.observe([])
    assert observer.batches == 4


@pytest.mark.parametrize("method", KEPT)
def test_what_is_not_finite_is_left_out_on_request(method):
    found = observed([[1.0, np.inf, -2.0, np.nan], [0.5]], method, nonfinite="saturate")
    expected = observed([[1.0, -2.0], [0.5]], method, nonfinite="saturate")
    assert_same(found, expected)
