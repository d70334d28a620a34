"""The dialects: their rows, the lookup, and every row against the real thing where that is installed."""

from __future__ import annotations

import functools
import itertools
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import bitquant as bq
import emulators
import peers
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
    """Convert codes as a dialect does."""
    return bq.encode(codes, target, source, dialect=name, **(given or {}))


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
        whole = {int(value) for value in boundaries(target) if value < 2.0**64} | {1 << bit for bit in range(65)}
        edges = np.array([sign * (value + step) for value in whole for step in (-1, 0, 1) for sign in (1, -1)], object)
        edges = (edges % (1 << source.bits)).astype(source.code_dtype)
        return np.concatenate([edges, random_codes(draw, source, samples)])
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
    return np.concatenate([near, spread, random_codes(draw, source, samples)])


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
        "arm": emulators.Arm(),
        "riscv": emulators.RISCV(),
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


ASKED = ["x86_f16c", "x86_avx512bf16", "x86_sse2", "x86_avx512", "arm", "riscv", "cuda", "cuda_satfinite", "ocp_sat"]
ASKED += ["ocp_ovf", "onnx", "onnx_nosaturate", "onnxruntime", "onnxruntime_nosaturate", "numpy", "ml_dtypes", "torch"]


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
        choices = (options(getattr(part, rule)) or (None,) for rule in ("rounding", "nan", "subnormals"))
        for rounding, nan, subnormals in itertools.product(*choices):
            given = {"rounding": rounding, "nan": nan, "subnormals": subnormals}
            rules = rules_of(name, source, target, given)
            if rounding == "stochastic" or "raise" in rules.values() or not peer.asks(source, target, rules):
                continue
            theirs = peer.cast(source, target, codes, rules)
            assert_agrees(name, source, target, codes, rules, theirs, part.nan_codes)
            asked += 1
    if not asked:
        pytest.skip(f"{name}: nothing of it is here")


@pytest.mark.parametrize("name", [row.name for row in dialects() if any(gap.through for gap in row.gaps)])
def test_what_a_dialect_leaves_out_takes_two_conversions(name, others):
    """A gap with a format in between: the two conversions give what the real thing gives, and one does not."""
    peer = others[name]
    if reason := peer.absent():
        pytest.skip(f"{name}: {reason}")
    for gap in dialect(name).gaps:
        for start, end in itertools.product(gap.sources, gap.targets) if gap.through else ():
            source, middle, target = map(bq.format, (start, gap.through, end))
            codes = points(start, end)
            first = rules_of(name, source, middle, {}) if dialect(name).conversion(start, gap.through) else {}
            between = bq.encode(codes, middle, source, **first)
            rules = rules_of(name, middle, target, {})
            theirs = peer.cast(source, target, codes, rules)
            ours = bq.encode(between, target, middle, **rules)
            skipped = nans(target, ours) & nans(target, theirs) | exceptions(name, gap.through, end, between)
            assert np.array_equal(ours[~skipped], theirs[~skipped]), (name, start, end)
            if end != "float8_e8m0fnu":  # whose few boundaries no random number comes near
                direct = bq.encode(codes, target, source, **{**rules, "nan": rules.get("nan", "zero")})
                assert np.any(direct[~skipped] != theirs[~skipped]), (name, start, end)


# --- What the notes say -----------------------------------------------------------------------------------------------


def ask(peer, source, target, codes, **rules):
    """Ask a peer, or skip."""
    if reason := peer.absent():
        pytest.skip(reason)
    return peer.cast(bq.format(source), bq.format(target), codes, rules)


def single(values):
    """Codes of float32 numbers."""
    return np.array(values, np.float32).view(np.uint32)


@pytest.mark.parametrize(("name", "code"), [("ml_dtypes", 1), ("torch", 1), ("onnx", 1), ("onnxruntime", 0)])
def test_three_libraries_take_subnormals_for_normal_on_the_way_to_float8_e8m0fnu(name, code, others):
    """The float32 code of a number m/2^23 · 2^-126 says 2^-127 in its exponent field as float8_e8m0fnu reads it."""
    codes = np.arange(0x400001, 0x600000, 997, dtype=np.uint32)
    theirs = ask(others[name], "float32", "float8_e8m0fnu", codes, rounding="nearest_even")
    assert np.all(theirs == code)


def test_pytorch_gives_nan_by_its_place():
    torch = pytest.importorskip("torch")
    numbers = torch.full((64,), float("nan"))
    in_a_row = numbers.to(torch.bfloat16).view(torch.uint16)
    apart = torch.stack([numbers, numbers], 1)[:, 0].to(torch.bfloat16).view(torch.uint16)
    assert set(apart.tolist()) == {0x7FC0}
    assert set(in_a_row.tolist()) <= {0x7FC0, 0xFFFF}


@pytest.mark.parametrize("name", ["torch", "cuda", "cuda_satfinite"])
def test_the_sign_is_dropped_on_the_way_to_float8_e8m0fnu(name, others):
    codes = points("float32", "float8_e8m0fnu")
    codes = codes[~np.isnan(codes.view(np.float32))]
    theirs, positive = (
        ask(others[name], "float32", "float8_e8m0fnu", x, rounding="nearest_even") for x in (codes, codes & 0x7FFFFFFF)
    )
    assert np.array_equal(theirs, positive)


@pytest.mark.parametrize("source", ["float32", "float16"])
@pytest.mark.parametrize(
    ("target", "low", "high", "code"), [("float8_e4m3fn", 480, 496, 0x7E), ("float8_e5m2", 61440, 65536, 0x7F)]
)
def test_onnx_runtime_misses_overflow_in_one_interval(source, target, low, high, code, others):
    codes = points(source, target)
    theirs = ask(others["onnxruntime_nosaturate"], source, target, codes)
    ours = encode("onnx_nosaturate", source, target, codes)
    values = bq.decode(codes, source, np.float64)
    missed = (np.abs(values) >= low) & (np.abs(values) < high)
    assert np.any(missed)
    assert set(theirs[missed] & 0x7F) == {code}
    keep = ~missed & ~np.isnan(values)
    assert np.array_equal(ours[keep], theirs[keep])


def test_onnx_runtime_without_saturation_judges_the_scale_before_rounding(others):
    codes = points("float32", "float8_e8m0fnu")
    values = bq.decode(codes, bq.FP32, np.float64)
    for rounding in ("toward_positive", "toward_zero", "nearest_even"):
        theirs = ask(others["onnxruntime_nosaturate"], "float32", "float8_e8m0fnu", codes, rounding=rounding)
        ours = encode("onnxruntime", "float32", "float8_e8m0fnu", codes, {"rounding": rounding})
        outside = ~((values >= 2.0**-127) & (values <= 2.0**127))
        assert np.array_equal(theirs, np.where(outside, 0xFF, ours))


def test_numpy_keeps_signalling_nans_signalling(others):
    codes = np.array([0x7F800001, 0xFF812345, 0x7FC00000], np.uint32)
    assert ask(others["numpy"], "float32", "float16", codes).tolist() == [0x7C01, 0xFC09, 0x7E00]


def test_onnx_reference_gives_nan_where_its_table_has_the_largest_number(others):
    codes = single([np.inf])
    assert ask(others["onnx"], "float32", "float8_e8m0fnu", codes, rounding="toward_positive").tolist() == [0xFF]
    assert encode("onnx", "float32", "float8_e8m0fnu", codes).tolist() == [0xFE]


# --- ONNX's own cases -------------------------------------------------------------------------------------------------


def onnx_cases():
    """Every test case of the operators Cast and CastLike in the onnx package."""
    pytest.importorskip("onnx", reason="the cases are in the onnx package")
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    return [case for case in cases if case.name.startswith(("test_cast_", "test_castlike_"))]


def tensor(proto):
    """The format and codes of an ONNX tensor."""
    from onnx import TensorProto, numpy_helper

    names = {onnx_name: name for name, onnx_name in peers.ONNX_NAMES.items()}
    fmt = bq.format(names[TensorProto.DataType.Name(proto.data_type)])
    codes = numpy_helper.to_array(proto).view(fmt.code_dtype)
    return fmt, codes & ((1 << fmt.bits) - 1) if fmt.bits < 8 else codes


def test_every_case_of_the_onnx_operators_passes():
    """Names of formats that bitquant has not would fail in `tensor`; in onnx 1.23 there are none."""
    cases = onnx_cases()
    assert len(cases) > 100
    failed = []
    for case in cases:
        attributes = {item.name: item for node in case.model.graph.node for item in node.attribute}
        saturate = attributes["saturate"].i if "saturate" in attributes else 1
        name = "onnx" if saturate else "onnx_nosaturate"
        modes = {mode: rounding for rounding, mode in peers.ROUND_MODES.items()}
        given = {"rounding": modes[attributes["round_mode"].s.decode()]} if "round_mode" in attributes else {}
        for inputs, (expected,) in case.data_sets:
            source, codes = tensor(inputs[0])
            target, theirs = tensor(expected)
            ours = encode(name, source, target, codes, given)
            both = nans(target, ours) & nans(target, theirs)
            exact = dialect(name).conversion(source.name, target.name).nan_codes
            if not np.array_equal(ours, theirs) if exact else np.any((ours != theirs) & ~both):
                failed.append((case.name, ours.tolist(), theirs.tolist()))
    assert not failed


# --- Every number -----------------------------------------------------------------------------------------------------


@pytest.mark.exhaustive
@pytest.mark.parametrize("target", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("name", ["torch", "ml_dtypes"])
def test_every_float32_number_converts_as_the_library_does(name, target, others):
    peer, source, end = others[name], bq.FP32, bq.format(target)
    if reason := peer.absent():
        pytest.skip(f"{name}: {reason}")
    rules = rules_of(name, source, end, {})
    chunk = 1 << 24

    def differs(start):
        codes = np.arange(start, start + chunk, dtype=np.uint64).astype(np.uint32)
        ours = bq.encode(codes, end, source, **rules)
        return int(np.count_nonzero(ours != peer.cast(source, end, codes, rules)))

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(differs, range(0, 1 << 32, chunk))) == 0
