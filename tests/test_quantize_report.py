"""Tables, histograms and worst numbers: each figure against exact sums, and the texts against what they must show."""

from __future__ import annotations

import math
import pickle
import re
from fractions import Fraction
from html.parser import HTMLParser

import numpy as np
import pytest

import bitquant as bq
from test_quantize_error import log10, number

RNG = np.random.default_rng(14)
NORMAL = RNG.normal(size=(6, 10, 4))
WITH_HOLES = NORMAL.copy()
WITH_HOLES[1, 2, 3], WITH_HOLES[2, 3, 1], WITH_HOLES[5] = math.nan, math.inf, -math.inf
# numbers, options of quantize, why
CASES = [
    (NORMAL, {}, "one scale"),
    (NORMAL.astype(np.float32), {"scheme": "asymmetric", "range": (-1, 0.7)}, "clipped on both sides"),
    (NORMAL, {"axis": 1, "range": (-1, 1)}, "clipped, a middle axis"),
    (NORMAL.astype(np.float16), {"axis": 2, "bits": 3}, "the last axis"),
    (NORMAL, {"group_size": 3, "bits": 4}, "groups, the last one smaller"),
    (NORMAL, {"block_shape": (4, -1, 2), "range": (-0.5, 2)}, "blocks"),
    (NORMAL * 1e300, {"axis": 0, "range": (-1e300, 1e300)}, "squares overflow"),
    (NORMAL * np.logspace(-200, 200, 6)[:, None, None], {"axis": 0, "bits": 2}, "channels of any size"),
    (NORMAL, {"axis": 0, "rounding": "toward_zero", "scale": 3}, "errors of a whole step"),
    (WITH_HOLES, {"axis": 0, "range": (-1, 1), "nonfinite": "saturate"}, "a channel with no finite number"),
    (np.round(NORMAL), {"step": 1}, "no error"),
    (np.array(2.25), {"step": 1}, "one number"),
]
IDS = [case[2] for case in CASES]


def facts(q, x):
    """Of each finite number: index, value, dequantized, whether it is outside the range, its scale's place; exactly."""
    x, back = np.asarray(x), np.asarray(q.dequantize())
    channel = q.granularity.channels_of(0, x.size).reshape(x.shape)
    ranges = q.parameters.exact_ranges
    for index in np.ndindex(x.shape):
        if math.isfinite(x[index]):
            value, place = Fraction(float(x[index])), int(channel[index])
            low, high = ranges[place]
            yield index, value, Fraction(float(back[index])), not low <= value <= high, place


def figures(rows):
    """count, mse, max_abs, sqnr_db and clipped of such facts."""
    rows = list(rows)
    if not rows:
        return 0, math.nan, math.nan, math.nan, math.nan
    noise = sum((back - value) ** 2 for _, value, back, _, _ in rows)
    signal = sum(value * value for _, value, _, _, _ in rows)
    decibels = math.inf if noise == 0 else 10 * log10(Fraction(signal) / noise) if signal else -math.inf
    most = max(abs(back - value) for _, value, back, _, _ in rows)
    return len(rows), number(noise / len(rows)), number(most), decibels, sum(row[3] for row in rows) / len(rows)


def assert_table(table, expected, shape):
    names = ("count", "mse", "max_abs", "sqnr_db", "clipped")
    for name, column in zip(names, zip(*expected, strict=True), strict=True):
        found = getattr(table, name)
        assert found.shape == shape
        wanted = np.array(column)
        assert found.reshape(-1) == pytest.approx(
            wanted, rel=1e-11, abs=1e-10 if name == "sqnr_db" else 0, nan_ok=True
        ), name


@pytest.mark.parametrize(("x", "options", "why"), CASES, ids=IDS)
def test_every_channel_has_the_figures_of_its_exact_sums(x, options, why):
    q = bq.quantize(x, **options)
    rows, error = list(facts(q, x)), q.error(x)
    table = error.channels()
    shape = q.granularity.parameter_shape or (1,)
    expected = [figures(row for row in rows if row[4] == k) for k in range(math.prod(shape))]
    assert_table(table, expected, shape)
    assert table.axis == q.axis
    for axis in range(np.ndim(x)):
        table = error.channels(axis)
        expected = [figures(row for row in rows if row[0][axis] == k) for k in range(x.shape[axis])]
        assert_table(table, expected, (x.shape[axis],))
        assert error.channels(axis - np.ndim(x)).axis == table.axis == axis
    order = [index[0] for index in table.worst_first()] if np.ndim(x) else []
    assert order == sorted(order, key=lambda k: (-table.mse[k], k))
    assert len(order) == (np.count_nonzero(table.count) if np.ndim(x) else 0)


@pytest.mark.parametrize(("x", "options", "why"), CASES, ids=IDS)
def test_clipping_and_rounding_add_up(x, options, why):
    q = bq.quantize(x, **options)
    rows, error = list(facts(q, x)), q.error(x)
    for part, mine in ((error.clipping, True), (error.rounding, False)):
        own = [row for row in rows if row[3] == mine]
        noise = sum((back - value) ** 2 for _, value, back, _, _ in own)
        assert part.count == len(own)
        assert part.mse == pytest.approx(number(Fraction(noise, len(rows))), rel=1e-12)
        assert part.max_abs == number(max((abs(back - value) for _, value, back, _, _ in own), default=0))
    assert error.clipping.mse + error.rounding.mse == pytest.approx(error.mse, rel=1e-12)
    assert error.clipped == error.clipping.count / len(rows)
    assert error.max_abs == max(error.clipping.max_abs, error.rounding.max_abs)


@pytest.mark.parametrize(("x", "options", "why"), CASES, ids=IDS)
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_the_worst_numbers_come_first(x, options, why, count):
    q = bq.quantize(x, **options)
    rows = sorted(facts(q, x), key=lambda row: (-abs(np.float64(row[2]) - np.float64(row[1])), row[0]))[:count]
    found = q.error(x).worst(count)
    assert [one.index for one in found] == [row[0] for row in rows]
    steps, codes = q.parameters.float_steps(), np.asarray(q.codes)
    for one, (index, value, back, clipped, place) in zip(found, rows, strict=True):
        assert (one.value, one.dequantized, one.clipped) == (value, back, clipped)
        assert one.code == codes[index]
        assert one.error == one.dequantized - one.value
        assert one.steps == one.error / steps[place]


@pytest.mark.parametrize(("x", "options", "why"), CASES, ids=IDS)
@pytest.mark.parametrize("unit", ["step", "number"])
def test_a_histogram_counts_every_error_once(x, options, why, unit):
    q = bq.quantize(x, **options)
    rows, error = list(facts(q, x)), q.error(x)
    steps = q.parameters.float_steps() if unit == "step" else np.ones(q.granularity.channels)
    sizes = [(np.float64(b) - np.float64(v)) / steps[place] for _, v, b, _, place in rows]
    inside = max((abs(size) for size, row in zip(sizes, rows, strict=True) if not row[3]), default=0)
    for bins in (1, 4, 15):
        found = error.histogram(bins, unit)
        reach = max(inside, 0.5) if unit == "step" else inside or 0.5
        assert (found.unit, found.edges[0], found.edges[-1], found.counts.size) == (unit, -reach, reach, bins)
        assert found.edges == pytest.approx(np.linspace(-reach, reach, bins + 1))
        assert (found.below, found.above) == (sum(s < -reach for s in sizes), sum(s > reach for s in sizes))
        for k, count in enumerate(found.counts.tolist()):
            low, high, last = found.edges[k], found.edges[k + 1], k == bins - 1
            assert count == sum(low <= size < high or (last and size == high) for size in sizes)
        assert found.counts.sum() + found.below + found.above == len(rows)


def test_pieces_add_up(monkeypatch):
    from bitquant.quantize import comparison

    x = RNG.normal(size=(37, 50))
    q = bq.quantize(x, axis=1, range=(-1, 1.5), scheme="asymmetric")
    whole = q.error(x)
    table, histogram, worst, parts = whole.channels(), whole.histogram(), whole.worst(20), whole.clipping
    monkeypatch.setattr(comparison, "_CHUNK", 64)
    again = q.error(x)
    assert again.channels().mse == pytest.approx(table.mse, rel=1e-12)
    assert np.array_equal(again.channels().count, table.count)
    assert np.array_equal(again.histogram().counts, histogram.counts)
    assert again.worst(20) == worst
    assert again.clipping.count == parts.count
    assert again.clipping.mse == pytest.approx(parts.mse, rel=1e-12)


def test_among_equal_errors_the_first_comes_first(monkeypatch):
    from bitquant.quantize import comparison

    monkeypatch.setattr(comparison, "_CHUNK", 4)
    x = np.tile([0.25, 0.0, -0.25], 10)
    found = bq.quantize(x, step=1).error(x).worst(5)
    assert [one.index for one in found] == [(0,), (2,), (3,), (5,), (6,)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda error: error.channels(3), "axis=3 does not exist: x has 3 dimensions"),
        (lambda error: error.histogram(0), "bins=0: give a number from 1 up"),
        (lambda error: error.histogram(unit="ulp"), "unit='ulp'"),
        (lambda error: error.worst(-1), "count=-1: give a number from 0 up"),
    ],
)
def test_what_is_not_there_is_refused(call, message):
    error = bq.symmetric(NORMAL).error(NORMAL)
    with pytest.raises(bq.BitquantError, match=message):
        call(error)


def test_the_figures_alone_are_what_it_is():
    """Equality, repr and hash know nothing of the arrays."""
    x = [1.0, 0.3]
    one, other = bq.symmetric(x).error(x), bq.symmetric(x).error(x)
    assert one == other
    assert hash(one) == hash(other)
    assert re.fullmatch(r"Error\(mse=\S+, max_abs=\S+, sqnr_db=\S+, clipped=\S+, cosine=\S+\)", repr(one))


def test_figures_travel_without_their_numbers():
    x = [1.0, 0.3]
    error = bq.symmetric(x).error(x)
    error.channels()
    assert error.rounding.count == 2
    for alone in (pickle.loads(pickle.dumps(error)), bq.Error(1.0, 2.0, 3.0, 0.0, 1.0)):
        assert (alone == error) == (alone.mse == error.mse)
        assert str(alone) == repr(alone)
        assert alone._repr_html_() is None
        for ask in (alone.worst, alone.channels, alone.histogram, lambda alone=alone: alone.clipping):
            with pytest.raises(bq.BitquantError, match=r"figures without their numbers: call error\(x\) for what lies"):
                ask()


EXAMPLE = np.array([[0.5, -1.0, 0.26, 8.0], [0.1, 0.2, 0.3, 0.4]])


def test_a_terminal_shows_all_of_it():
    error = bq.clipped(EXAMPLE, -1, 1, axis=0).error(EXAMPLE)
    text = str(error)
    assert text.startswith("2 × 4 numbers of float64: symmetric, 8 bits, 2 scales along axis 0\nSQNR ")
    sections = text.split("\n\n")
    assert [section.splitlines()[0] for section in sections[1:]] == ["errors in steps", "largest errors", "channels"]
    assert re.search(r"^mean squared +6\.125  \(rounding \S+, clipping 6\.125\)$", text, re.MULTILINE)
    assert re.search(r"^clipped +1 of 8 numbers, 12\.50 %$", text, re.MULTILINE)
    assert re.search(r"^0, 3 +8 +127 +1 +−7 +−889  clipped$", text, re.MULTILINE)
    assert re.search(r"^0 +4 +12\.25 +7 +1\.\d\d dB +25\.00 %$", text, re.MULTILINE)
    for section in sections[1:]:
        table = section.splitlines()[1:]
        assert len({len(line[: len(table[0])]) for line in table if len(line) >= len(table[0])}) == 1
    assert all(line == line.rstrip() for line in text.splitlines())
    assert "█" in sections[1]
    whole = str(bq.symmetric(EXAMPLE).error(EXAMPLE))
    assert "channels" not in whole
    assert "one scale" in whole


class Tags(HTMLParser):
    """Checks that tags close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_a_notebook_shows_the_same_in_the_colours_of_its_page():
    error = bq.clipped(EXAMPLE, -1, 1, axis=0).error(EXAMPLE)
    for html in (error._repr_html_(), error.channels()._repr_html_(), error.histogram()._repr_html_()):
        tags = Tags()
        tags.feed(html)
        assert tags.open == []
        assert not re.search(r"#[0-9a-f]{3,6}\b|rgb|black|white", html), (
            "a colour of its own is unreadable on some page"
        )
    tags = Tags()
    tags.feed(error._repr_html_())
    for word in (
        "SQNR",
        "errors in steps; beyond them, clipped numbers: 1 below",
        "largest errors",
        "channels",
        "0, 3",
        "−889",
    ):
        assert word in tags.text


def test_many_channels_are_cut_short():
    x = RNG.normal(size=(500, 32))
    text = str(bq.symmetric(x, axis=0).error(x))
    assert "the 5 worst of 500 channels" in text
    assert len(text.splitlines()) < 40
    assert "the 20 worst of 500 channels" in str(bq.symmetric(x, axis=0).error(x).channels())


def test_a_dialect_has_a_report_too():
    x = RNG.normal(size=(8, 16)).astype(np.float32)
    q = bq.quantize(x, dialect="onnx", step=np.float32(0.02))
    error = q.error(x)
    assert "dialect onnx" in str(error)
    assert error.clipping.mse + error.rounding.mse == pytest.approx(error.mse, rel=1e-12)
