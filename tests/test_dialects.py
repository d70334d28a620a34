"""The dialects: their rows, the lookup, and every row against the real thing where that is installed."""

from __future__ import annotations

import functools
import itertools
import zlib

import numpy as np
import pytest

import bitquant as bq
import peers
import witness as hardware
from bitquant.dialects import dialect, dialects, rules_of
from bitquant.dialects.row import RULES, options
from bitquant.rules import NAN, OVERFLOW, ROUNDINGS, SUBNORMALS, TININESS

NAMES = [row.name for row in dialects()]
RULE_NAMES = {
    "rounding": {*ROUNDINGS, "stochastic"},
    "overflow": set(OVERFLOW),
    "nan": set(NAN),
    "subnormals": set(SUBNORMALS),
    "tininess": set(TININESS),
}
PAIRS = [(row.name, source, target) for row in dialects() for source, target, _ in row.pairs()]
SINGLE = {"float32": np.float32, "float64": np.float64}


def encode(name, source, target, codes, given=None):
    """Convert codes under a dialect's rules."""
    source, target = bq.format(source), bq.format(target)
    return bq.encode(codes, target, source, **rules_of(name, source, target, given or {}))


def nans(fmt, codes):
    """Tell which codes of a format are NaN."""
    return np.isnan(bq.decode(codes, fmt, np.float64)) if fmt.kind == "float" else np.zeros(codes.shape, bool)


# --- What to convert --------------------------------------------------------------------------------------------------


SAMPLES = {"float32": 1 << 20, "float64": 1 << 18}


@functools.cache
def points(source, target):
    """Codes of a source next to which the answer changes, specials, and random ones; all codes up to 16 bits."""
    source, target = bq.format(source), bq.format(target)
    if source.bits <= 16:
        return np.arange(1 << source.bits).astype(source.code_dtype)
    samples = SAMPLES.get(source.name, 1 << 16)
    draw = np.random.default_rng(zlib.crc32(f"{source.name} {target.name}".encode()))
    if source.kind == "integer":
        edges = np.array([1 << bit for bit in range(source.bits)], object)
        edges = np.concatenate([edges + shift * step for shift in range(-3, 4) for step in (1, 2, 3, *(edges // 512))])
        edges = np.concatenate([edges, -edges]) % (1 << source.bits)
        return np.concatenate([edges.astype(source.code_dtype), random_codes(draw, source, samples)])
    with np.errstate(over="ignore"):
        edges = boundaries(target).astype(SINGLE[source.name])
    near = edges.view(source.code_dtype)
    near = np.concatenate([near + np.int64(step).astype(near.dtype) for step in (-2, -1, 0, 1, 2)])
    specials = [0, 1, 2, source.nan_code, source.infinity_code, source.infinity_code + 1, source.largest_code]
    specials += [source.infinity_code - 2, 2 * source.infinity_code - source.nan_code, 1 << source.significand_bits]
    specials += [(1 << source.significand_bits) - 1, (1 << source.magnitude_bits) - 1]
    specials = np.array(specials, source.code_dtype)
    near = np.concatenate([near, specials])
    near = np.concatenate([near, near ^ np.array(1 << source.magnitude_bits, near.dtype)])
    spread = draw.uniform(-(2.0**34), 2.0**34, samples // 16).astype(SINGLE[source.name]).view(source.code_dtype)
    return np.unique(np.concatenate([near, spread, random_codes(draw, source, samples)]))


def random_codes(draw, source, samples):
    """Codes of a format, each alike likely."""
    return draw.integers(0, (1 << source.bits) - 1, samples, dtype=source.code_dtype, endpoint=True)


def boundaries(target):
    """Positive numbers of a target, and those halfway between two."""
    if target.kind == "integer":
        powers = 2.0 ** np.arange(65)
        return np.concatenate([[0.5, 1.5, 2.5], *(powers + step for step in (-1, -0.5, 0, 0.5, 1))])
    codes = np.arange(target.largest_code + 1, dtype=np.uint64) if target.bits <= 16 else None
    if codes is None:
        codes = np.concatenate([np.arange(4), *(((1 << bit) + np.arange(-2, 3)) for bit in range(3, target.bits - 1))])
        codes = codes[(codes >= 0) & (codes <= target.largest_code)].astype(np.uint64)
    values = np.unique(bq.decode(codes.astype(target.code_dtype), target, np.float64))
    with np.errstate(over="ignore"):
        beyond = np.array([1.25, 1.5, 2.0]) * values[-1] if target.bits < 64 else values[-1:]
    halves = values[1:] / 2 + values[:-1] / 2
    return np.concatenate([values, halves, beyond, values[-1:] + (values[-1:] - values[-2:-1]) / 2])


# --- The rows ---------------------------------------------------------------------------------------------------------


def test_names_are_unique():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("row", dialects(), ids=NAMES)
def test_a_row_names_formats_and_rules_that_there_are(row):
    for part in (*row.conversions, *row.gaps):
        assert part.sources
        for name in (*part.sources, *part.targets):
            assert bq.format(name).name == name
    for part in row.conversions:
        for rule in RULES:
            assert set(options(getattr(part, rule))) <= RULE_NAMES[rule], (part, rule)


@pytest.mark.parametrize("row", dialects(), ids=NAMES)
def test_no_conversion_is_hidden_behind_another(row):
    for part in row.conversions:
        pairs = list(itertools.product(part.sources, part.targets))
        assert any(row.conversion(*pair) is part for pair in pairs if pair[0] != pair[1]), part
    for gap in row.gaps:
        assert not any(row.conversion(*pair) for pair in itertools.product(gap.sources, gap.targets)), gap


@pytest.mark.parametrize("row", dialects(), ids=NAMES)
def test_every_choice_that_a_row_leaves_open_can_be_made(row):
    for source, target, part in row.pairs():
        for rule in RULES:
            for choice in options(getattr(part, rule)):
                given = bq.Stochastic() if choice == "stochastic" else choice
                assert (
                    encode(row.name, source, target, np.zeros(1, bq.format(source).code_dtype), {rule: given}).size == 1
                )


# --- The lookup -------------------------------------------------------------------------------------------------------


def test_a_dialect_is_found_in_any_case():
    assert dialect("X86_F16C") is dialect("x86_f16c")


@pytest.mark.parametrize("name", ["x87", "", None, 3])
def test_an_unknown_dialect_lists_those_that_there_are(name):
    with pytest.raises(bq.BitquantError, match=r"no dialect is called .*; there are x86_f16c, .*torch"):
        rules_of(name, bq.FP32, bq.FP16, {})


def test_a_conversion_that_a_dialect_has_not_tells_what_it_has():
    with pytest.raises(
        bq.BitquantError, match=r"x86_f16c does not convert float32 to bfloat16; it converts float32 to float16"
    ):
        rules_of("x86_f16c", bq.FP32, bq.BF16, {})
    with pytest.raises(
        bq.BitquantError, match=r"does not convert int8 to uint8; it converts float32 to float16, and float16"
    ):
        rules_of("x86_f16c", bq.INT8, bq.UINT8, {})


def test_a_conversion_left_out_tells_why_and_the_way_out():
    with pytest.raises(
        bq.BitquantError, match=r"torch leaves out float64 to bfloat16: .*rounds to float32.*convert to float32 first"
    ):
        rules_of("torch", bq.FP64, bq.BF16, {})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"rounding": "toward_zero"},
            r"rounding='toward_zero' contradicts .* x86_avx512bf16, .* with rounding nearest_even",
        ),
        ({"overflow": "saturate"}, "overflow='saturate' contradicts"),
        ({"subnormals": "gradual"}, "with subnormals flush"),
        ({"rounding": bq.Stochastic()}, "contradicts"),
    ],
)
def test_a_rule_that_contradicts_a_dialect_is_refused(given, message):
    with pytest.raises(bq.BitquantError, match=message):
        rules_of("x86_avx512bf16", bq.FP32, bq.BF16, given)


def test_a_rule_that_a_dialect_leaves_open_is_taken():
    assert rules_of("x86_f16c", bq.FP32, bq.FP16, {"rounding": "RTZ"})["rounding"] == "RTZ"
    assert rules_of("x86_f16c", bq.FP32, bq.FP16, {"rounding": None, "nan": "preserve"})["rounding"] == "nearest_even"
    with pytest.raises(bq.BitquantError, match="one of nearest_even, toward_zero"):
        rules_of("x86_f16c", bq.FP32, bq.FP16, {"rounding": "to_odd"})


def test_stochastic_rounding_is_a_choice_by_its_type():
    rule = bq.Stochastic(bits=8, seed=1)
    assert rules_of("amd_fnuz", bq.FP32, bq.format("float8_e4m3fnuz"), {"rounding": rule})["rounding"] is rule


def test_a_rule_that_never_comes_up_may_be_anything():
    assert "rounding" not in rules_of("x86_f16c", bq.FP16, bq.FP32, {})
    assert rules_of("x86_f16c", bq.FP16, bq.FP32, {"rounding": "to_odd"})["rounding"] == "to_odd"


# --- The real thing ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def others(witness, tmp_path_factory):
    """Who can be asked about which dialect."""
    cpu = peers.CPU(witness)
    return {
        "x86_f16c": cpu,
        "x86_avx512bf16": cpu,
        "x86_sse2": cpu,
        "x86_avx512": cpu,
        "cuda": peers.CUDAHeaders(tmp_path_factory.mktemp("cuda"), 0),
        "cuda_satfinite": peers.CUDAHeaders(tmp_path_factory.mktemp("cuda"), 1),
        "ocp_sat": peers.GFloat(),
        "ocp_ovf": peers.GFloat(),
        "onnx": peers.ONNX(1),
        "onnx_nosaturate": peers.ONNX(0),
        "onnxruntime": peers.ONNXRuntime(1),
        "onnxruntime_nosaturate": peers.ONNXRuntime(0),
        "numpy": peers.NumPy(),
        "ml_dtypes": peers.NumPy(),
        "torch": peers.Torch(),
    }


ASKED = ["x86_f16c", "x86_avx512bf16", "x86_sse2", "x86_avx512", "cuda", "cuda_satfinite", "ocp_sat", "ocp_ovf", "onnx"]
ASKED += ["onnx_nosaturate", "onnxruntime", "onnxruntime_nosaturate", "numpy", "ml_dtypes", "torch"]


def exceptions(name, source, target, codes):
    """Tell which inputs a note of the row excepts."""
    excepted = np.zeros(codes.shape, bool)
    if target != "float8_e8m0fnu":
        return excepted
    values = bq.decode(codes, source, np.float64)
    if name in ("ml_dtypes", "torch", "onnx"):
        excepted |= one_step_too_high(values)
    if name in ("torch", "cuda", "cuda_satfinite", "onnx"):
        excepted |= np.signbit(values)
    if name == "onnx":
        excepted |= np.isinf(values) | (values < 2.0**-126)
    return excepted


def one_step_too_high(values):
    """Tell which numbers three libraries round up to 2^-126, because they take subnormals of float32 for normal."""
    return (values > 2.0**-127) & (values < 1.5 * 2.0**-127)


def assert_agrees(name, source, target, codes, rules, theirs, nan_codes):
    """Hold a dialect's codes against the real thing's."""
    ours = bq.encode(codes, target, source, **rules)
    keep = ~exceptions(name, source.name, target.name, codes)
    if not nan_codes:
        ours_nan = nans(target, ours)
        assert np.array_equal(ours_nan[keep], nans(target, theirs)[keep])
        keep &= ~ours_nan
    different = np.flatnonzero((ours != theirs) & keep)
    shown = [(hex(codes[at]), hex(ours[at]), hex(theirs[at])) for at in different[:5]]
    assert not different.size, f"{name}: {source.name} to {target.name}, {rules}: {different.size}, as {shown}"


@pytest.mark.parametrize("name", ASKED)
def test_a_dialect_converts_as_the_real_thing(name, others):
    peer = others[name]
    if reason := peer.absent():
        pytest.skip(f"{name}: {reason}")
    asked = 0
    for start, end, part in dialect(name).pairs():
        if start == end:
            continue
        source, target = bq.format(start), bq.format(end)
        codes = points(start, end)
        for rounding, subnormals in itertools.product(options(part.rounding) or (None,), options(part.subnormals)):
            rules = rules_of(name, source, target, {"rounding": rounding, "subnormals": subnormals})
            if rounding == "stochastic" or "raise" in rules.values() or not peer.asks(source, target, rules):
                continue
            theirs = peer.cast(source, target, codes, rules)
            assert_agrees(name, source, target, codes, rules, theirs, part.nan_codes)
            asked += 1
    if not asked:
        pytest.skip(f"{name}: nothing of it is here")
