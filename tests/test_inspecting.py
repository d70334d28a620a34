"""Summaries of tensors: exact, the same for every cut and order, and what the parts of the library say one by one."""

from __future__ import annotations

import json
import math
import random
import re
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitquant as bq
from bitquant.cli import inspect as inspect_command
from bitquant.files import Entry
from bitquant.inspecting import Scrutiny, Survey, html_of, inspect_tensor, parts, summary, worst_first
from bitquant.inspecting.sums import ExactSums
from bitquant.inspecting.survey import largest_inside, root
from test_cli import bitquant, fails, works

RNG = np.random.default_rng(3)
WEIGHTS = (RNG.standard_normal((40, 96)) * 0.02).astype(np.float32)
WEIGHTS[3, 5], WEIGHTS[7] = 4.0, WEIGHTS[7] * 30
EXTREMES = np.array([5e-324, -1.7e308, 1.7e308, 2.0**-1022, 1.0, -0.0, 3.0, 2.0**-1060], np.float64)
TENSORS = {
    "weights": WEIGHTS,
    "half": WEIGHTS.astype(np.float16),
    "brain": WEIGHTS.astype(ml_dtypes.bfloat16),
    "double": WEIGHTS.astype(np.float64) / 3,
    "tiny": WEIGHTS * np.float32(1e-42),
    "extremes": EXTREMES,
    "large": np.float32([1e5, 70000, 65519, 65520, 3.3e38, 1e-8, 449, 464, 465]),
    "zeros": np.zeros((3, 4), np.float32),
    "one": np.array(-2.5, np.float32),
}
# The smallest number that overflows, and the largest that becomes zero (IEEE 754-2019, 7.4 and 4.3.1): half of a unit
# above the largest finite number, and half of the smallest one, ties to even.
ENDS = {
    "float16": (Fraction(65520), Fraction(1, 2**25)),
    "bfloat16": ((2 - Fraction(1, 2**8)) * 2**127, Fraction(1, 2**134)),
    "float8_e4m3fn": (464 + Fraction(1, 2**60), Fraction(1, 2**10)),  # 448 has an even code
    "float8_e5m2": (Fraction(61440), Fraction(1, 2**17)),
}


def exact(x):
    return [Fraction(float(value)) for value in np.asarray(x).reshape(-1)]


@pytest.mark.parametrize("name", TENSORS)
def test_counts_range_and_moments_are_those_of_the_definition(name):
    x = exact(TENSORS[name])
    found = inspect_tensor(TENSORS[name], name)
    mean = sum(x) / len(x)
    variance = sum((value - mean) ** 2 for value in x) / len(x)
    assert (found.count, found.nan, found.infinite, found.zeros) == (len(x), 0, 0, x.count(0))
    assert (found.low, found.high) == (min(x), max(x))
    assert Fraction(found.mean) == Fraction(reference_float(mean))
    near = Fraction(found.std)
    assert Fraction(math.nextafter(found.std, 0)) ** 2 <= variance <= (near + Fraction(math.ulp(found.std))) ** 2
    for k in (3, 6):
        assert found.beyond[k] == sum((value - mean) ** 2 > k * k * variance for value in x) / len(x)
    if variance:
        farthest = max((value - mean) ** 2 for value in x) / variance
        assert found.largest_sigma == pytest.approx(math.sqrt(farthest), rel=1e-12)


def reference_float(value):
    """The nearest double, by Python's own division of integers, which is rounded once."""
    return value.numerator / value.denominator


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("target", ENDS)
def test_losses_are_those_of_the_definition(name, target):
    x, loss = exact(TENSORS[name]), inspect_tensor(TENSORS[name]).losses[target]
    most, least = ENDS[target]
    assert loss.overflow == sum(abs(value) >= most for value in x)
    assert loss.flushed == sum(0 < abs(value) <= least for value in x)
    back = bq.decode(bq.encode(TENSORS[name], target), target, "float64").reshape(-1)
    assert loss.inexact == int(np.sum(back != np.asarray(TENSORS[name], np.float64).reshape(-1)))


@pytest.mark.parametrize("name", ["weights", "half", "brain", "double", "tiny", "large", "extremes"])
def test_int8_ratios_are_those_of_quantize(name):
    x = TENSORS[name]
    found = inspect_tensor(x)
    assert found.int8_db == pytest.approx(bq.symmetric(x).error(x).sqnr_db, abs=1e-9)
    if x.ndim > 1:
        assert found.int8_rows_db == pytest.approx(bq.symmetric(x, axis=0).error(x).sqnr_db, abs=1e-9)
        rows = bq.symmetric(x).error(x).channels(axis=0).sqnr_db
        assert found.worst_row == int(np.argmin(rows))
        assert found.worst_row_db == pytest.approx(rows.min(), abs=1e-9)
    else:
        assert math.isnan(found.int8_rows_db)
        assert found.worst_row is None


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("size", [1, 7, 96, 1000])
def test_the_cut_into_pieces_changes_nothing_but_the_last_bits_of_ratios(name, size, monkeypatch):
    whole = inspect_tensor(TENSORS[name], "x")
    monkeypatch.setattr(summary, "_PART", size)
    cut = inspect_tensor(TENSORS[name], "x")
    for key, value in vars(whole).items():
        if key.endswith("_db"):
            assert getattr(cut, key) == pytest.approx(value, rel=1e-12, nan_ok=True)
        else:
            assert getattr(cut, key) == value


def test_parts_merge_in_any_order_to_the_same():
    flat = WEIGHTS.reshape(-1)
    pieces = [(row, WEIGHTS[row : row + 8]) for row in range(0, 40, 8)]
    expected = inspect_tensor(WEIGHTS, "x")
    results = set()
    for seed in range(4):
        random.Random(seed).shuffle(pieces)
        survey = Survey(40)
        for row, part in pieces:
            survey.merge(Survey(40).see(part, row))
        scrutiny = Scrutiny(survey)
        for row, part in pieces:
            scrutiny.merge(Scrutiny(survey).see(part, row))
        found = summary.TensorSummary.of("x", WEIGHTS.shape, "float32", survey, scrutiny)
        results.add(json.dumps(found.as_dict()))
    assert results == {json.dumps(expected.as_dict())}
    assert flat.size == expected.count
    with pytest.raises(bq.BitquantError, match="40 and 3 rows"):
        Survey(40).merge(Survey(3))


def test_what_is_not_finite_is_counted_and_left_out():
    x = WEIGHTS.copy()
    x[0, 0], x[1, 1], x[2] = np.nan, -np.inf, np.inf
    found = inspect_tensor(x)
    assert (found.nan, found.infinite, found.finite) == (1, 97, x.size - 98)
    rest = inspect_tensor(x[np.isfinite(x)])
    for key in ("low", "high", "mean", "std", "beyond", "losses", "zeros", "largest_sigma", "bins"):
        assert getattr(found, key) == getattr(rest, key), key
    assert found.int8_db == pytest.approx(rest.int8_db, abs=1e-9)
    nothing = inspect_tensor(np.full((2, 3), np.nan, np.float32))
    assert nothing.finite == 0
    assert math.isnan(nothing.int8_db)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40), st.integers(0, 40))
def test_sums_never_round(values, cut):
    x = np.array(values, np.float64)
    sums = ExactSums().add(x[cut:]).merge(ExactSums().add(x[:cut]))
    assert sums.mean == sum(exact(x), Fraction(0)) / max(len(values), 1)
    mean = sums.mean
    assert sums.variance == sum(((value - mean) ** 2 for value in exact(x)), Fraction(0)) / max(len(values), 1)


def test_counters_of_sums_hold_as_many_numbers_as_a_chunk_has():
    x = np.full(1 << 19, np.nextafter(2.0, 1.0))
    sums = ExactSums().add(x)
    assert sums.mean == Fraction(float(x[0]))
    assert sums.variance == 0


@given(st.fractions(), st.fractions(min_value=0), st.integers(1, 6))
def test_the_limit_of_outliers_is_the_last_number_inside(mean, variance, k):
    check_limit(mean, variance, k)


@pytest.mark.parametrize("k", [3, 6])
def test_the_limit_of_outliers_is_found_where_mean_and_deviation_cancel(k):
    third = Fraction(1, 3)
    for tiny in (Fraction(0), Fraction(1, 2**900), Fraction(-1, 2**900), Fraction(1, 2**60)):
        check_limit(-k * third + tiny, third**2, k)
        check_limit(-k * third * (1 + tiny), third**2 * 2, k)


def check_limit(mean, variance, k):
    limit = largest_inside(mean, variance, k)
    beyond = math.nextafter(limit, math.inf)
    assert Fraction(limit) <= mean or (Fraction(limit) - mean) ** 2 <= k * k * variance
    assert Fraction(beyond) > mean
    assert (Fraction(beyond) - mean) ** 2 > k * k * variance


@given(st.fractions(min_value=0), st.integers(-600, 600))
def test_roots_are_within_an_ulp(value, power):
    value *= Fraction(4) ** power
    found = root(value)
    if value:
        assert Fraction(math.nextafter(found, 0)) ** 2 <= value <= Fraction(math.nextafter(found, math.inf)) ** 2


def test_bins_count_every_number_once_between_the_extremes():
    found = inspect_tensor(WEIGHTS)
    assert sum(found.bins) == WEIGHTS.size
    assert found.edges == (WEIGHTS.min(), WEIGHTS.max())
    assert found.bins[0] > 0
    assert found.bins[-1] > 0


def test_parts_are_whole_rows_or_pieces_of_one(monkeypatch):
    monkeypatch.setattr(summary, "_PART", 10)
    flat = np.arange(60)
    cut = [(row, part.shape) for row, part in parts((15, 4), lambda start, stop: flat[start:stop])]
    assert cut == [(row, (2 if row < 14 else 1, 4)) for row in range(0, 15, 2)]
    cut = [(row, part.shape) for row, part in parts((2, 5, 5), lambda start, stop: flat[start:stop])]
    assert cut == [(0, (1, 10)), (0, (1, 10)), (0, (1, 5)), (1, (1, 10)), (1, (1, 10)), (1, (1, 5))]


def test_what_would_hurt_most_comes_first():
    names = ["zeros", "weights", "large", "half"]
    found = [inspect_tensor(TENSORS[name], name) for name in names]
    found.append(inspect_tensor(np.float32([1, np.nan]), "broken"))
    assert [one.name for one in worst_first(found)] == ["broken", "large", "weights", "half", "zeros"]


def test_integers_are_refused():
    with pytest.raises(bq.BitquantError, match=r"'ids' holds int64"):
        inspect_tensor(np.arange(3), "ids")
    with pytest.raises(bq.BitquantError, match="holds complex64"):
        inspect_tensor(np.zeros(3, np.complex64))


def test_the_page_is_whole_and_needs_nothing_else():
    name = 'a <b> & "c"'
    page = html_of("<title>", [inspect_tensor(x, name) for x in TENSORS.values()])
    assert not re.search(r"(src|href)=\"(?!#)|<script|@import|url\(", page)
    assert name not in page
    tree = ElementTree.fromstring(page.partition("\n")[2].replace('<meta charset="utf-8">', "").replace(
        '<meta name="viewport" content="width=device-width, initial-scale=1">', ""
    ))  # fmt: skip
    assert len(tree.findall(".//svg")) == 2 * len(TENSORS)
    heights = [float(bar.get("height")) for bar in tree.findall(".//rect")]
    assert all(0 < height <= 96 for height in heights)


def test_the_page_has_words_for_what_is_no_number():
    zeros, nothing = np.zeros(3, np.float32), np.float32([np.nan])
    page = html_of("a model", [inspect_tensor(zeros, "z\u202e\n"), inspect_tensor(nothing, "n")], [("ids", "<i8")])
    assert not re.search(r">−0<|>nan|nan to", page)
    assert "all are 0" in page
    assert "no finite number" in page
    assert "Not looked at: ids (&lt;i8)" in page
    assert "\u202e" not in page
    assert r">z\u202e\n</a>" in page


def test_the_page_names_every_column_and_row():
    page = html_of("a model", [inspect_tensor(x, name) for name, x in TENSORS.items()])
    tree = ElementTree.fromstring(page.partition("\n")[2].replace('<meta charset="utf-8">', "").replace(
        '<meta name="viewport" content="width=device-width, initial-scale=1">', ""
    ))  # fmt: skip
    for table in tree.findall(".//table"):
        assert all(head.get("scope") == "col" and head.text for head in table.findall("thead//th"))
        for row in table.findall("tbody/tr"):
            assert row[0].get("scope") == "row"
            assert not table.findall("thead") or len(row) == len(table.find("thead/tr"))


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, weights=WEIGHTS, large=TENSORS["large"], ids=np.arange(3), broken=np.float32([1, np.nan, 2]))
    return path


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_inspect_prints_a_table_that_fits(model, columns):
    lines = works("inspect", model, env={"COLUMNS": str(columns)}).splitlines()
    assert max(map(len, lines)) <= columns
    names = [line.split()[0] for line in lines if line.split()[0] in ("weights", "large", "broken")]
    assert names[:3] == ["broken", "large", "weights"]
    assert any("1 NaN and 0 infinities" in line for line in lines)
    assert any("ids (<i8)" in line for line in lines)


def test_no_number_is_a_dash_in_the_table(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, empty=np.zeros((0, 4), np.float32), **{f"ids{k}": np.arange(3) for k in range(9)})
    out = works("inspect", path)
    assert out.splitlines()[1].split() == ["empty", "0×4", "float32", *"–––––––"]
    assert "ids5 (<i8) and 3 more" in out


def test_long_names_are_cut_to_fit(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, **{f"model.layers.{k}.{'x' * 60}.weight": WEIGHTS for k in (1, 22)})
    lines = works("inspect", path, env={"COLUMNS": "60"}).splitlines()
    assert max(map(len, lines)) <= 60
    assert sum("xxx.weight" in line for line in lines) == 2
    assert f"model.layers.22.{'x' * 60}.weight" in works("inspect", path)


def test_inspect_gives_all_as_json(model):
    found = json.loads(works("inspect", model, "--json"))
    assert [one["name"] for one in found["tensors"]] == ["broken", "large", "weights"]
    expected = json.loads(json.dumps(inspect_tensor(WEIGHTS, "weights").as_dict()))
    assert found["tensors"][2] == expected
    assert found["kept"] == [{"name": "ids", "reason": "<i8"}]


def test_inspect_writes_a_page_once(model, tmp_path):
    page = tmp_path / "page.html"
    works("inspect", model, "--html", page)
    assert "<svg" in page.read_text()
    assert "--force" in fails("inspect", model, "--html", page)
    works("inspect", model, "--html", page, "--force")


def test_inspect_takes_several_files_and_patterns(model, tmp_path):
    other = tmp_path / "other.npy"
    np.save(other, WEIGHTS)
    found = json.loads(works("inspect", model, other, "--json", "--skip", "broken", "--only", "[wo]*"))
    assert {one["name"] for one in found["tensors"]} == {"model.npz: weights", "other.npy: other"}
    assert "--top 0" in works("inspect", model, other, "--top", "1")
    assert "give another file" in fails("inspect", model, "--only", "none")
    status, _, error = bitquant("inspect", tmp_path / "missing.npz")
    assert status == 2
    assert "missing.npz" in error


def test_an_error_in_one_tensor_does_not_wait_for_the_others():
    reads = []

    class Source:
        def read(self, name, start, stop):
            reads.append(name)
            if name == "bad" and len(reads) > 3:
                raise bq.BitquantError("damaged")
            return np.zeros(stop - start, np.float32)

    entries = [
        Entry(name, (1 << 32,), np.dtype(np.float32), "F32", Path("x"), 0, 1 << 34) for name in ("bad", "b", "c")
    ]
    with pytest.raises(bq.BitquantError, match="damaged"):
        list(inspect_command._summaries(Source(), "", entries))
    assert len(reads) < 1000  # of 24576
