"""Calibration of numbers that come in pieces: what the whole array gives, bit for bit, in bounded memory."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitquant as bq
from bitquant.calibrate import channels, percentile
from bitquant.calibrate.front import METHODS, target_of
from bitquant.calibrate.percentile import INTERPOLATIONS, TAILS
from bitquant.files import Options, load_quantized, open_tensors, quantize_file, slabs, write_tensors
from calibrating import values

RNG = np.random.default_rng(20)
DTYPES = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn"]
OPTIONS = {"entropy": {"bins": 64, "levels": 8}, "lp": {"candidates": 7}, "percentile": {"percentile": 93}}
# Numbers, and why.
NUMBERS = {
    "ordinary": RNG.standard_normal(400) * 3 + 0.5,
    "ties": RNG.integers(-3, 4, 400) / 2,
    "all equal": np.full(100, -1.5),
    "zeros of both signs": np.array([0.0, -0.0] * 20),
    "outliers": np.where(RNG.random(300) < 0.05, 200.0, 1.0) * RNG.standard_normal(300),
    "subnormal": RNG.integers(-9, 10, 200) * 2.0**-149,
    "one": np.array([0.75]),
    "pieces of nothing finite": np.concatenate([np.full(60, np.nan), RNG.standard_normal(50), np.full(70, np.inf)]),
}


def array_of(name, dtype):
    return np.asarray(bq.convert(NUMBERS[name], dtype))


def all_of(found):
    return found, found.step, found.scale, found.zero_point, found.certificate


def cut_small(monkeypatch, size):
    """Cut into pieces of an odd or another size, and let the search for a percentile gather next to nothing."""
    monkeypatch.setattr(channels, "PIECE", size)
    monkeypatch.setattr(slabs, "_NUMBERS", size + 4)
    monkeypatch.setattr(percentile, "_FEW", size // 3)


@pytest.fixture
def pieces(monkeypatch):
    cut_small(monkeypatch, 50)


@pytest.mark.parametrize(("scheme", "size"), [("symmetric", 7), ("asymmetric", 50)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_a_file_is_calibrated_as_the_array_is(tmp_path, monkeypatch, method, dtype, scheme, size):
    x = {name: array_of(name, dtype) for name in NUMBERS}
    write_tensors(tmp_path / "x.safetensors", x)
    how = OPTIONS.get(method, {})
    words = {"scheme": scheme, "bits": 4, "nonfinite": "saturate"}
    options = Options(**words, calibrate=method, calibration=how)
    expected = {name: all_of(bq.calibrate(one, method, **words, **how)) for name, one in x.items()}
    cut_small(monkeypatch, size)
    quantize_file(tmp_path / "x.safetensors", tmp_path / "q.npz", lambda name: options, verify=True, threads=2)
    items, _ = load_quantized(tmp_path / "q.npz")
    for name, one in x.items():
        in_pieces = bq.calibrate(one, method, **words, **how)
        # The norms of lp are floating-point sums, one for each piece.
        if method != "lp":
            assert all_of(in_pieces) == expected[name], name
        assert items[name].scale == in_pieces.scale, name
        assert int(items[name].zero_point) == in_pieces.zero_point, name
        whole = bq.quantize(one, range=in_pieces, **words)
        assert np.array_equal(np.asarray(items[name].codes), np.asarray(whole.codes)), name


@pytest.mark.parametrize("method", ["mse", "std", "lp"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_weights_are_cut_as_numbers_are(monkeypatch, method, dtype):
    x, weights = array_of("ordinary", dtype).reshape(4, 100), RNG.integers(0, 9, (4, 100))
    words = {"bits": 3, "weights": weights, **OPTIONS.get(method, {})}
    expected = [bq.calibrate(x, method, **words), bq.calibrate(x, method, axis=1, **words | {"weights": weights + 1})]
    monkeypatch.setattr(channels, "PIECE", 9)
    found = [bq.calibrate(x, method, **words), bq.calibrate(x, method, axis=1, **words | {"weights": weights + 1})]
    assert [all_of(one) for one in found] == [all_of(one) for one in expected]


codes = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@given(
    codes=codes,
    narrowing=st.integers(0, 60),
    share=st.fractions(0, 100, max_denominator=60),
    interpolation=st.sampled_from(list(INTERPOLATIONS)),
    tails=st.sampled_from(list(TAILS)),
    few=st.integers(0, 10),
)
def test_percentiles_found_by_counting_are_order_statistics(dtype, codes, narrowing, share, interpolation, tails, few):
    fmt = bq.format(dtype)
    # With the low bits alone many numbers begin alike, and their order shows in the last digits.
    bits = np.array([(code >> narrowing) % 2**fmt.bits for code in codes], np.uint64).astype(fmt.code_dtype)
    x = bits.view(fmt.dtype)
    ordered = sorted(values(x[np.isfinite(x)]))
    words = {"percentile": share, "interpolation": interpolation, "nonfinite": "saturate"}
    if not ordered:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels, "PIECE", 6)
        patch.setattr(percentile, "_FEW", few)
        folded = bq.calibrate(x, "percentile", **words)
        both = percentile.ranges(
            channels.Channels.of(x, None, None, None, None, "saturate"),
            target_of("asymmetric", 8, True, None, None, False, None),
            percentile=share,
            interpolation=interpolation,
            tails=tails,
        )
    inside = share / 100
    high = quantile(sorted(map(abs, ordered)), inside, interpolation)
    assert folded == (-high, high)
    out = (1 - inside) / 2 if tails == "both" else 1 - inside
    low = 0 if tails == "upper" else out
    high = 1 if tails == "lower" else 1 - out
    assert both == [(quantile(ordered, Fraction(low), interpolation), quantile(ordered, Fraction(high), interpolation))]


def quantile(ordered, share, interpolation):
    """The definitions of numpy.quantile, on rationals."""
    if interpolation == "inverted_cdf":
        return next(v for k, v in enumerate(ordered, 1) if k >= share * len(ordered))
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    match interpolation:
        case "nearest":
            return ordered[round(place)]
        case "lower":
            return low
        case "higher":
            return high
        case "midpoint":
            return (low + high) / 2
    return low + (high - low) * (place - math.floor(place))


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("method", [None, *METHODS])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_all_that_is_announced_is_dealt_with(tmp_path, pieces, dtype, method, axis):
    x = RNG.standard_normal((13, 40)).astype(dtype)
    write_tensors(tmp_path / "x.npz", {"w": x})
    options = Options(bits=4, axis=axis, calibrate=method, calibration=OPTIONS.get(method, {}))
    announced, told = [], []

    def start(steps):
        announced.append(steps)
        return lambda name, done: told.append(done)

    quantize_file(tmp_path / "x.npz", tmp_path / "q.npz", lambda name: options, start=start)
    assert [sum(told)] == announced
    assert min(told) >= 0
    walks = 1 if axis == 0 else {None: 2, "minmax": 2}.get(method, 3) if axis is None else 2
    walks += (2 if dtype == "float64" else 0) + 1 if (method, axis) == ("percentile", None) else 0
    assert announced == [walks * x.nbytes]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cut", [False, True], ids=["NaN", "cut while it is read"])
def test_an_error_names_the_tensor_once(tmp_path, pieces, method, cut):
    x = np.ones(400, np.float32)
    x[333] = 1 if cut else np.nan
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"w": x})
    with open_tensors(path) as source:
        offset = source.tensors["w"].offset

    def start(steps):
        if cut:
            os.truncate(path, offset + 40)
        return lambda name, done: None

    words = "ends at byte .* early: copy the file again" if cut else "x has NaN at index 333: remove it"
    with pytest.raises(bq.BitquantError, match=words) as found:
        quantize_file(path, tmp_path / "q.npz", lambda name: Options(calibrate=method), start=start)
    assert str(found.value).count("'w'") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"calibrate": "max"}, "method='max' is not possible"),
        ({"calibrate": "std", "calibration": {"bins": 3}}, "method='std' has no option bins"),
        ({"calibrate": "percentile", "calibration": {"percentile": 101}}, "percentile=101 is not possible"),
        ({"calibrate": "lp", "bits": 9}, "bits=9 is not possible"),
    ],
)
def test_what_no_method_can_do_is_refused_before_anything_is_read(tmp_path, options, words):
    write_tensors(tmp_path / "x.npz", {"w": np.ones(9)})
    told = []
    with pytest.raises(bq.BitquantError, match=words):
        quantize_file(
            tmp_path / "x.npz",
            tmp_path / "q.npz",
            lambda name: Options(**options),
            start=lambda steps: lambda name, done: told.append(done),
        )
    assert not told


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("kind", "size", "method", "scheme"),
    [
        ("F32", 4, "percentile", "asymmetric"),
        ("F64", 8, "percentile", "symmetric"),
        ("F32", 4, "std", "symmetric"),
        ("F32", 4, "entropy", "symmetric"),
        ("BF16", 2, "mse", "symmetric"),
    ],
)
def test_memory_does_not_grow_with_the_tensor(tmp_path, kind, size, method, scheme):
    path, nbytes = tmp_path / "x.safetensors", 400 * 10**6
    text = json.dumps({"w": {"dtype": kind, "shape": [nbytes // size], "data_offsets": [0, nbytes]}}).encode()
    block = RNG.standard_normal(10**6).astype({2: np.float16, 4: np.float32, 8: np.float64}[size])
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(nbytes // block.nbytes):
            block.tofile(file)
    program = (
        "import re, sys; from bitquant.files import Options, quantize_file; "
        "quantize_file(sys.argv[1], sys.argv[2], lambda name: Options(calibrate=sys.argv[3], scheme=sys.argv[4])); "
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path, tmp_path / "q.safetensors", method, scheme],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 150_000
