"""Calibration by every method: exact where it says so, and as others do it where it does as they do."""

from __future__ import annotations

import copy
import math
import pickle
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitquant as bq
from bitquant.calibrate import channels, lp
from bitquant.calibrate.entropy import best_edge, histogram
from bitquant.calibrate.front import METHODS
from bitquant.calibrate.numbers import numbers_of
from bitquant.calibrate.percentile import INTERPOLATIONS
from calibrating import values
from quantizing import SOURCES

RANDOM = np.random.default_rng(11).normal(size=(6, 50)).astype(np.float32)
METHOD_NAMES = list(METHODS)


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_quantize_takes_the_range_and_finds_the_same_parameters(method, scheme):
    found = bq.calibrate(RANDOM, method, scheme=scheme, bits=4)
    low, high = found
    assert (low, high) == (found.low, found.high)
    q = bq.quantize(RANDOM, scheme, bits=4, range=found)
    assert (q.exact_scale, q.zero_point) == (found.scale, found.zero_point)
    assert found.step == 1 / found.scale
    assert found.range == q.range


GRANULARITIES = [
    {"axis": 0},
    {"axis": -1},
    {"group_size": 20},
    {"axis": 0, "group_size": 4},
    {"block_shape": (4, 25)},
    {"block_shape": (4, 30)},
]


@pytest.mark.parametrize("granularity", GRANULARITIES, ids=str)
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_each_channel_is_calibrated_as_if_it_were_alone(method, granularity):
    options = {"bins": 64, "levels": 8} if method == "entropy" else {"candidates": 10} if method == "lp" else {}
    found = bq.calibrate(RANDOM, method, bits=4, **granularity, **options)
    q = bq.quantize(RANDOM, bits=4, range=found, **granularity)
    assert q.exact_scale == found.scale
    assert found.range.low.shape == q.granularity.parameter_shape
    members = q.granularity.channels_of(0, RANDOM.size)
    for channel in range(q.granularity.channels):
        alone = bq.calibrate(RANDOM.reshape(-1)[members == channel], method, bits=4, **options)
        assert (found.low[channel], found.high[channel], found.step[channel]) == (alone.low, alone.high, alone.step)
        if method == "mse":
            assert found.certificate[channel] == alone.certificate


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("method", ["minmax", "percentile", "std", "mse"])
def test_every_format_and_layout_of_the_same_numbers(method, source):
    x = np.random.default_rng(1).integers(0, 100, (7, 9)).astype(bq.format(source).dtype)
    wide = x.astype(np.float64)
    expected = bq.calibrate(wide, method, bits=4)
    for same in (x, x.T, x[::-1], np.asfortranarray(x), wide.astype(">f8")):
        assert bq.calibrate(same, method, bits=4) == expected


def test_tensors_and_lists_are_taken():
    torch = pytest.importorskip("torch")
    assert bq.calibrate(torch.tensor([1.0, -3.0]), "minmax").range == (-3, 3)
    assert bq.calibrate([[1, -3]], "minmax").range == (-3, 3)


def test_copies_are_the_same():
    for found in (bq.calibrate(RANDOM, bits=3), bq.calibrate(RANDOM, "minmax", axis=0)):
        for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
            assert other == found
            for name in ("step", "zero_point", "certificate", "method", "scheme"):
                assert getattr(other, name) == getattr(found, name)
            assert repr(other) == repr(found)


# --- Refusals -----------------------------------------------------------------------------------------------

REFUSED = [
    ({"method": "max"}, "method='max' is not possible: choose minmax, percentile"),
    ({"percentile": 3}, "method='mse' has no option percentile: its options are zero_points"),
    ({"method": "minmax", "bins": 3}, "method='minmax' has no option bins: its options are none"),
    ({"scheme": "both"}, "scheme='both' is not possible"),
    ({"bits": 9}, "bits=9 is not possible"),
    ({"method": "percentile", "percentile": 101}, "percentile=101 is not possible: give a number from 0 to 100"),
    ({"method": "percentile", "percentile": "most"}, "percentile='most' is no number"),
    ({"method": "percentile", "tails": "left"}, "tails='left' is not possible"),
    ({"method": "percentile", "interpolation": "cubic"}, "interpolation='cubic' is not possible"),
    ({"method": "percentile", "weights": [1, 1, 1]}, "method='percentile' knows no weights"),
    ({"method": "std", "deviations": 0}, "deviations=0 is not possible"),
    ({"method": "std", "centre": "median"}, "centre='median' is not possible"),
    ({"method": "entropy", "zeros": "out"}, "zeros='out' is not possible"),
    ({"method": "entropy", "bins": 0}, "bins=0 is not possible"),
    ({"method": "entropy", "bins": 64}, "levels=128 is more than bins=64"),
    ({"method": "lp", "p": -1}, "p=-1 is not possible"),
    ({"method": "lp", "candidates": 0}, "candidates=0 is not possible"),
    ({"method": "lp", "codebook": bq.NF4}, "method='lp' knows no codebook"),
    ({"zero_points": 1}, "zero_points belongs to the asymmetric scheme"),
    ({"scheme": "asymmetric", "zero_points": (2, 1)}, r"zero_points=\(2, 1\): give an integer"),
    ({"codebook": bq.NF4, "scheme": "asymmetric"}, "a codebook has neither scheme nor zero point"),
    ({"codebook": "float16"}, "codebook=float16 has 16 bits"),
    ({"step_format": "int8"}, "step_format=int8: a step is stored in a floating format"),
    ({"weights": [1, 2]}, r"weights have shape \(2,\), x has \(3,\)"),
    ({"weights": [1, -2, 3]}, "weights must lie from 0"),
    ({"weights": [1.0, -2.0, 3.0]}, "weights must be finite and not negative"),
    ({"weights": [1.0, math.inf, 3.0]}, "weights must be finite and not negative"),
    ({"weights": [1.0, 1e-30, 3.0]}, "the weights, taken exactly, span"),
    ({"weights": [0.0, -0.0, 0.0]}, "all weights are zero"),
    ({"weights": ["a", "b", "c"]}, "weights must be floats or integers"),
    ({"axis": 1}, "axis=1 does not exist"),
    ({"nonfinite": "drop"}, "nonfinite='drop' is not possible"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(bq.BitquantError, match=message):
        bq.calibrate([1.0, -2.0, 3.0], **options)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_numbers_that_are_not_finite(method):
    x = np.array([[1.0, np.inf, -2.0], [0.5, 0.25, np.nan]], np.float32)
    with pytest.raises(bq.BitquantError, match=r"x has inf at index \(0, 1\) \(the first of 2"):
        bq.calibrate(x, method)
    options = {"bins": 8, "levels": 2} if method == "entropy" else {}
    expected = bq.calibrate([1.0, -2.0, 0.5, 0.25], method, **options)
    assert bq.calibrate(x, method, nonfinite="saturate", **options) == expected
    with pytest.raises(bq.BitquantError, match="nothing in channel 1 of x is finite"):
        bq.calibrate([[1.0], [np.nan]], method, axis=0, nonfinite="saturate", **options)
    with pytest.raises(bq.BitquantError, match="x is empty and has no range to find"):
        bq.calibrate([], method)


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_zeros_get_scale_1(method, scheme):
    found = bq.calibrate(np.zeros(5, np.float32), method, scheme=scheme)
    assert (found.scale, found.zero_point) == (1, 0)
    assert not bq.quantize(np.zeros(5, np.float32), scheme, range=found).codes.any()


# --- Min-max and percentile ---------------------------------------------------------------------------------


def test_minmax_is_what_quantize_finds_by_itself():
    for scheme in ("symmetric", "asymmetric"):
        for options in ({}, {"include_zero": True}, {"step_format": "bfloat16"}):
            x = RANDOM + np.float32(5)
            found, q = bq.calibrate(x, "minmax", scheme=scheme, **options), bq.quantize(x, scheme, **options)
            assert (found.scale, found.zero_point, found.range) == (q.exact_scale, q.zero_point, q.range)


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30),
    st.sampled_from(list(INTERPOLATIONS)),
    st.sampled_from([0, 1, 10, 12.5, 25, 50, 75, 90, 99, 99.9, 100]),
)
def test_percentiles_are_those_of_numpy(numbers, interpolation, percentile):
    x = np.array(numbers, np.float32)
    share = float(percentile) / 100
    found = bq.calibrate(x, "percentile", percentile=percentile, interpolation=interpolation)
    expected = np.quantile(np.abs(x).astype(np.float64), share, method=interpolation)
    close = interpolation in ("linear", "midpoint")
    place = Fraction(str(percentile)) / 100 * (x.size - (interpolation != "inverted_cdf"))
    # numpy calculates places in floating point: where one is whole or half-way, either neighbour is its answer.
    near = {math.floor(place), math.ceil(place), math.ceil(place) - 1} if place.denominator <= 2 else set()
    allowed = [expected, *(np.sort(np.abs(x))[min(max(k, 0), x.size - 1)] for k in near)]
    assert any(math.isclose(found.high, one, rel_tol=1e-6 if close else 0) for one in allowed)
    if not close:
        assert found.high in values(np.abs(x))


@pytest.mark.parametrize(
    ("percentile", "tails", "low", "high"),
    [
        (90, "both", 6, 95),  # of 1 to 100: five at each end
        (90, "upper", 1, 90),
        (90, "lower", 10, 100),
        (100, "both", 1, 100),
        (0, "upper", 0, 1),  # one number alone: the range is widened to zero
        (99.9, "upper", 1, 100),
        (Fraction(1, 3), "upper", 0, 1),
    ],
)
def test_tails(percentile, tails, low, high):
    x = np.random.default_rng(3).permutation(np.arange(1, 101)).astype(np.float32)
    found = bq.calibrate(x, "percentile", scheme="asymmetric", percentile=percentile, tails=tails)
    if tails == "both" and percentile == 90:
        low = 5  # the least number that 5 percent do not exceed
    assert found.range == (low, high)


def test_a_percentage_is_the_decimal_it_is_written_as():
    x = np.arange(1, 1001, dtype=np.float32)
    assert bq.calibrate(x, "percentile", percentile=99.9).high == 999  # the double 99.9 is a little more than 999/1000
    assert bq.calibrate(x, "percentile").high == 999


@pytest.mark.parametrize("source", ["float64", "float32", "float16", "bfloat16"])
def test_percentiles_of_every_number_of_a_format(source):
    fmt = bq.format(source)
    codes = np.random.default_rng(2).integers(0, 2**fmt.bits, 500, np.uint64).astype(fmt.code_dtype)
    x = codes.view(fmt.dtype)
    x = x[np.isfinite(bq.convert(x, "float64"))]
    exact = sorted(abs(v) for v in values(x))
    found = bq.calibrate(x, "percentile", percentile=70)
    assert found.high == exact[math.ceil(Fraction(70, 100) * len(exact)) - 1]


# --- Standard deviations ------------------------------------------------------------------------------------


def test_standard_deviations_are_rounded_once():
    numbers = values(RANDOM)
    n = len(numbers)
    for scheme, centre in (("symmetric", "zero"), ("asymmetric", "zero"), ("asymmetric", "mean")):
        mean = sum(numbers) / n if centre == "mean" else Fraction(0)
        square = Fraction(25, 4) * (sum(v * v for v in numbers) / n - mean * mean)
        found = bq.calibrate(RANDOM, "std", scheme=scheme, deviations=2.5, centre=centre)
        width = found.high - mean
        assert found.low == mean - width
        below, above = (Fraction(math.nextafter(float(width), way)) for way in (-math.inf, math.inf))
        assert ((below + width) / 2) ** 2 <= square <= ((above + width) / 2) ** 2


def test_a_symmetric_range_covers_deviations_around_a_mean():
    found = bq.calibrate([1.0, 3.0], "std", centre="mean", deviations=1)
    assert found.range == (-3, 3)


def test_deviations_know_weights():
    x, times = RANDOM.reshape(-1)[:20], np.arange(20)
    found = bq.calibrate(x, "std", scheme="asymmetric", weights=times)
    assert found == bq.calibrate(np.repeat(x, times), "std", scheme="asymmetric")


# --- Entropy ------------------------------------------------------------------------------------------------


def reference_edge(counts, levels):
    """The rule written out bin by bin, as NVIDIA's tools have it."""
    divergences = {}
    for kept in range(levels, len(counts) + 1):
        inside = [int(n) for n in counts[:kept]]
        group = [bin_ * levels // kept for bin_ in range(kept)]
        totals, filled = Counter(), Counter()
        for bin_, n in enumerate(inside):
            totals[group[bin_]] += n
            filled[group[bin_]] += n > 0
        q = [totals[g] / filled[g] if n else 0.0 for g, n in zip(group, inside, strict=True)]
        p = [float(n) for n in inside]
        p[-1] += sum(int(n) for n in counts[kept:])
        if not sum(q) or any(a > 0 and not b for a, b in zip(p, q, strict=True)):
            continue
        p, q = [a / math.fsum(p) for a in p], [b / math.fsum(q) for b in q]
        divergences[kept] = math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)
    return divergences


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("bins", "levels"), [(32, 4), (100, 7), (64, 64)])
def test_entropy_is_the_rule_written_out(bins, levels, seed):
    draw = np.random.default_rng(seed)
    x = (draw.standard_t(3, 3000) if seed % 2 else draw.normal(size=300)).astype(np.float32)
    numbers = numbers_of(x, bq.FP32, True, None, 0)
    largest = max(abs(v) for v in values(x))
    counts = histogram(numbers, largest, bins)
    expected = np.zeros(bins, np.int64)
    for value in values(x):
        expected[min(int(abs(value) * bins / largest), bins - 1)] += 1
    assert np.array_equal(counts, expected)
    for zeros in ("counted", "as_neighbours"):
        if zeros == "as_neighbours":
            counts[0] = counts[1]
        divergences = reference_edge(counts, levels)
        kept = best_edge(counts, levels)
        assert divergences[kept] <= min(divergences.values()) * (1 + 1e-9) + 1e-15
        found = bq.calibrate(x, "entropy", bins=bins, levels=levels, zeros=zeros)
        assert found.high == largest * kept / bins


def test_entropy_counts_numbers_on_edges_exactly():
    x = np.arange(0, 13, dtype=np.float32) / 3
    counts = histogram(numbers_of(x, bq.FP32, True, None, 0), Fraction(float(x[-1])), 12)
    inside = [int(abs(v) * 12 / values(x)[-1]) for v in values(x)]
    assert counts.tolist() == np.bincount([min(k, 11) for k in inside], minlength=12).tolist()


def test_entropy_cuts_an_outlier_as_onnxruntime_does():
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    x = np.random.default_rng(5).normal(size=20_000).astype(np.float32)
    x[0] = 40
    collector = calibrate.HistogramCollector(
        method="entropy", symmetric=True, num_bins=2048, num_quantized_bins=128, percentile=99.9, scenario="same"
    )
    collector.collect({"x": [x]})
    theirs = float(collector.compute_collection_result()["x"][1])
    ours = float(bq.calibrate(x, "entropy").high)
    assert 3 < ours < 8
    assert 3 < theirs < 8


# --- lp -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1 << 20, 150])
@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_lp_takes_the_best_of_its_candidates(monkeypatch, p, piece):
    monkeypatch.setattr(channels, "PIECE", piece)
    monkeypatch.setattr(lp, "_CHUNK", min(piece, 60))
    x = np.random.default_rng(9).standard_t(2, 400).astype(np.float32)
    found = bq.calibrate(x, "lp", bits=3, p=p, candidates=20)
    weights = np.where(np.abs(x) > 3, 50, 1)
    heavy = bq.calibrate(x, "lp", bits=3, p=p, candidates=20, weights=weights)
    norms, weighted = {}, {}
    for k in range(1, 21):
        high = max(abs(v) for v in values(x)) * k / 20
        back = bq.quantize(x, bits=3, range=(-high, high)).dequantize("float64")
        norms[high] = (np.abs(x - back) ** float(p)).sum()
        weighted[high] = (weights * np.abs(x - back) ** float(p)).sum()
    assert norms[found.high] <= min(norms.values()) * (1 + 1e-12)
    assert weighted[heavy.high] <= min(weighted.values()) * (1 + 1e-12)
    assert heavy.high > found.high or p > 3


def test_lp_2_is_never_better_than_the_optimum():
    found, best = bq.calibrate(RANDOM, "lp", p=2, bits=3), bq.calibrate(RANDOM, bits=3)
    q = bq.quantize(RANDOM, bits=3, range=found)
    error = ((RANDOM - q.dequantize("float64")) ** 2).sum()
    assert float(best.certificate.sse) <= error


# --- Dynamic quantization -----------------------------------------------------------------------------------


def test_dynamic_quantization_per_token_is_an_axis():
    tokens = np.random.default_rng(7).normal(size=(5, 40)).astype(np.float32)
    q = bq.quantize(tokens, "asymmetric", axis=0)
    for row, codes, step, zero_point in zip(tokens, q.codes, q.step, q.zero_point, strict=True):
        alone = bq.quantize(row, "asymmetric")
        assert np.array_equal(codes, alone.codes)
        assert (step, zero_point) == (alone.step, alone.zero_point)
