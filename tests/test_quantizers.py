"""Quantizers by dialect: against the real libraries, against the formulas in rationals, and under any FPU state."""

import warnings

import numpy as np
import pytest

import bitquant as bq
from bitquant.dialects.quantizers import Quantizer, quantizer, quantizers
from quantizer_inputs import STEPS, adversarial, tensors, zero_points
from quantizer_peers import PEERS
from quantizer_peers_more import ELSEWHERE, WHOLES
from quantizer_reference import Interpreter

ROWS = {row.name: row for row in quantizers()}
FAKE = ("torch_fake_quantize", "torch_fake_quantize_per_channel")


def settings(rows):
    """Every row with each type of numbers and of codes that its peer can be asked about."""
    for name in rows:
        row = ROWS[name]
        # ONNX's reference computes in the numbers' own type, and NumPy has no arithmetic for bfloat16.
        for source in [source for source in row.inputs if (name, source) != ("onnx", "bfloat16")]:
            for bits in row.bits:
                for signed in row.signed:
                    if bits not in (2, 3, 5, 6, 7):
                        yield pytest.param(name, source, bits, signed, id=f"{name}-{source}-{bits}-{signed}")


def peer_of(name, source):
    peer = PEERS[name]
    for module in peer.modules:
        pytest.importorskip(module)
    warnings.simplefilter("ignore")  # PyTorch deprecates its quantized tensors; NumPy in ONNX's reference overflows
    return peer


def ends_of(bits, signed):
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def steps_of(source):
    fmt = bq.format(source)
    steps = [step for step in STEPS if fmt.smallest_subnormal <= step <= fmt.max]
    return [*steps, 2.0**-10, float(fmt.smallest_subnormal) * 5, 0.0078125]


def zeros_of(row, qmin, qmax):
    return [*zero_points(qmin, qmax), *((3.25, -7.5, 1000.0) if row.zero_point == "real" else ())]


def assert_alike(ours, theirs, what, inputs):
    """Equal to the bit, but NaN, whose payload is nobody's, and zero, whose sign is lost where codes are integers."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, what
    with np.errstate(all="ignore"):
        same = (ours == theirs) | ((ours != ours) & (theirs != theirs))
    bad = np.flatnonzero(~same)[:5]
    assert not bad.size, f"{what}: {[(inputs[k], ours[k], theirs[k]) for k in bad]}"


@pytest.mark.parametrize(("name", "source", "bits", "signed"), list(settings(PEERS)))
def test_codes_and_numbers_are_those_of_the_library(name, source, bits, signed):
    row, peer = ROWS[name], peer_of(name, source)
    qmin, qmax = ends_of(bits, signed)
    dtype = bq.format(source).dtype
    for k, step in enumerate(steps_of(source)):
        for zero_point in zeros_of(row, qmin, qmax)[k % 2 :: 2]:
            x = adversarial(step, zero_point, qmin, qmax, source)
            found = bq.quantize(x, dialect=name, bits=bits, signed=signed, step=step, zero_point=zero_point)
            what = f"step {step}, zero point {zero_point}"
            theirs = peer.codes(x, step, zero_point, bits, signed)
            known = slice(None) if peer.known is None else peer.known(x, step)
            ours = found.dequantize() if name in FAKE else found.codes
            assert_alike(ours[known], theirs[known], what, x[known])
            if peer.values is not None:
                codes = np.arange(qmin, qmax + 1, 1 if bits <= 8 else 251).astype(found.codes.dtype)
                numbers = adversarial(step, zero_point, qmin, qmax, source)[: codes.size]
                back = bq.quantize(numbers, dialect=name, bits=bits, signed=signed, step=step, zero_point=zero_point)
                back.codes[...] = codes
                values = peer.values(codes, step, zero_point, bits, signed, dtype)
                assert back.dequantize().dtype == values.dtype
                assert_alike(back.dequantize(), values, f"values, {what}", codes)


@pytest.mark.parametrize(("name", "source", "bits", "signed"), list(settings(PEERS)))
def test_parameters_are_those_of_the_library(name, source, bits, signed):
    row, peer = ROWS[name], peer_of(name, source)
    schemes = [scheme for scheme in ("symmetric", "asymmetric") if row.parameters(scheme)]
    if not schemes or (name.startswith("torch_") and "decomposed" not in name and source != "float32"):
        assert not schemes or source != "float32"
        return
    for scheme in schemes:
        for x in tensors(source):
            theirs = peer.parameters(x, scheme, bits, signed)
            ours = bq.quantize(x, scheme, dialect=name, bits=bits, signed=signed)
            assert_alike([ours.step, ours.zero_point], theirs, f"{scheme} of {x}", ("step", "zero point"))
            if name not in FAKE and ours.step > 0:
                codes = peer.codes(x, float(ours.step), ours.zero_point, bits, signed)
                assert_alike(ours.codes, codes, f"{scheme} codes of {x}", x)


def test_every_row_of_the_table_has_a_witness_or_none():
    """A row that says it was verified has a peer that verifies it here."""
    assert {row.name for row in quantizers() if row.witness} <= {*PEERS, *(peer.row for peer in WHOLES), *ELSEWHERE}


def facts_of(source):
    fmt = bq.format(source)
    return {"tiny": float(fmt.smallest_normal), "epsilon": float(fmt.epsilon)}


@pytest.mark.parametrize("name", ROWS)
def test_formulas_mean_what_they_mean_in_rationals(name):
    """Given parameters: boundaries, their neighbours, and what overflows, number by number."""
    row = ROWS[name]
    rng = np.random.default_rng(3)
    for source in row.inputs:
        for bits in row.bits[:2]:
            for signed in row.signed:
                qmin, qmax = ends_of(bits, signed)
                for step in (0.1, 2.0**-8, 1.5e-5, 3.0e4):
                    zero_point = int(rng.integers(qmin, qmax + 1))
                    x = adversarial(step, zero_point, qmin, qmax, source)
                    x = rng.permutation(x)[:60]
                    found = bq.quantize(x, dialect=row, bits=bits, signed=signed, step=step, zero_point=zero_point)
                    by_hand = Interpreter(row, (qmin, qmax), bits, source, facts_of(source))
                    by_hand.give(step, zero_point)
                    codes = np.array([by_hand.code(number) for number in x]).astype(found.codes.dtype)
                    assert_alike(found.codes, codes, f"{source} {bits} {step} {zero_point}", x)
                    values = [by_hand.value(int(code)) for code in codes]
                    assert_alike(found.dequantize().astype(np.float64), values, f"{source} {step} {zero_point}", codes)


@pytest.mark.parametrize("name", ROWS)
def test_parameters_mean_what_they_mean_in_rationals(name):
    row = ROWS[name]
    schemes = [scheme for scheme in ("symmetric", "asymmetric") if row.parameters(scheme)]
    for source in row.inputs:
        for scheme in schemes:
            for signed in row.signed:
                for x in tensors(source):
                    ours = bq.quantize(x, scheme, dialect=name, signed=signed)
                    bits = ours.bits
                    by_hand = Interpreter(row, (ours.qmin, ours.qmax), bits, source, facts_of(source))
                    numbers = x.astype(np.float64)
                    peak = numbers[np.abs(numbers).argmax()]
                    by_hand.find(scheme, {"low": numbers.min(), "high": numbers.max(), "peak": peak}, (bits, signed))
                    found = [float(by_hand.names[key].value) for key in ("step", "zero_point")]
                    assert_alike([ours.step, ours.zero_point], found, f"{source} {scheme} {x}", ("step", "zero point"))
                    codes = np.array([by_hand.code(number) for number in x]).astype(ours.codes.dtype)
                    assert_alike(ours.codes, codes, f"{source} {scheme}", x)


def test_blocks_of_any_shape_have_the_parameters_of_each_alone():
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((6, 70, 3)) * rng.lognormal(0, 3, (6, 70, 3))).astype(np.float32)
    for sharing, parts in (
        ({"axis": 0}, [np.s_[k] for k in range(6)]),
        ({"axis": 2}, [np.s_[:, :, k] for k in range(3)]),
        ({"axis": 1}, [np.s_[:, k] for k in range(70)]),
        ({"block_shape": (4, 32, -1)}, [np.s_[a : a + 4, b : b + 32] for a in (0, 4) for b in (0, 32, 64)]),
        ({"group_size": 2}, [np.s_[a, b, c : c + 2] for a in range(6) for b in range(70) for c in (0, 2)]),
    ):
        whole = bq.quantize(x, "asymmetric", dialect="torch", **sharing)
        for k, part in enumerate(parts):
            alone = bq.quantize(x[part], "asymmetric", dialect="torch")
            assert (whole.codes[part] == alone.codes).all()
            assert whole.step.reshape(-1)[k] == alone.step
            assert whole.zero_point.reshape(-1)[k] == alone.zero_point
            assert (whole.dequantize()[part] == alone.dequantize()).all()


def test_threads_and_strides_do_not_matter():
    x = np.random.default_rng(6).standard_normal((1500, 1501)).astype(np.float32)
    for view in (x, x.T, x[::2, ::-3], x.astype(">f4")):
        first = bq.quantize(view, dialect="torchao", axis=1)
        second = bq.quantize(view, dialect="torchao", axis=1, threads=4)
        third = bq.quantize(np.ascontiguousarray(view).astype(np.float32), dialect="torchao", axis=1)
        assert (first.codes == second.codes).all()
        assert (first.codes == third.codes).all()
        assert (first.dequantize() == second.dequantize(threads=3)).all()


STATES = [("toward_zero", "flush"), ("toward_positive", "gradual"), ("toward_negative", "flush_input")]


def facts(x, options):
    """All that may not depend on the FPU's state."""
    found = bq.quantize(x, **options)
    facts = found.codes.tobytes(), found.dequantize().tobytes(), np.asarray(found.step).tobytes()
    return *facts, np.asarray(found.zero_point).tobytes(), *(np.asarray(end).tobytes() for end in found.range)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", ROWS)
def test_nothing_depends_on_the_state_of_the_fpu(witness, name, state):
    if reason := witness.absent("mxcsr"):
        pytest.skip(reason)
    row = ROWS[name]
    for source in row.inputs:
        for scheme in [scheme for scheme in ("symmetric", "asymmetric") if row.parameters(scheme)]:
            for x in tensors(source):
                options = {"scheme": scheme, "dialect": name}
                usual = facts(x, options)
                with witness.fpu_state(*state):
                    assert usual == facts(x, options)
        for step in steps_of(source)[::3]:
            x = adversarial(step, 3, 0, 255, source)
            options = {"step": step, "zero_point": 3, "dialect": name}
            usual = facts(x, options)
            with witness.fpu_state(*state):
                disturbed = facts(x, options)
            assert usual == disturbed


def test_a_tensor_comes_back_as_a_tensor():
    torch = pytest.importorskip("torch")
    x = torch.randn(3, 5).to(torch.bfloat16)
    found = bq.quantize(x, dialect="torchao", axis=0)
    assert isinstance(found.codes, torch.Tensor)
    assert found.dequantize().dtype == torch.bfloat16


def test_an_empty_array_has_codes_where_the_step_is_given():
    empty = np.empty((0, 3), np.float32)
    assert bq.quantize(empty, dialect="onnx", step=0.5).codes.shape == (0, 3)
    assert bq.quantize(empty, dialect="onnx", step=0.5).dequantize().shape == (0, 3)
    with pytest.raises(bq.BitquantError, match="has no range"):
        bq.quantize(empty, dialect="torch")


def test_a_row_of_ones_own_is_a_dialect():
    """A row of formulas that nobody has: half up, by a scale that multiplies."""
    row = Quantizer(
        name="half_up",
        title="",
        source="",
        witness="",
        symmetric=("scale = qmax / max(-low, high)", "step = 1 / scale"),
        given=("scale = 1 / step",),
        codes="clamp(floor(x * scale + 0.5), qmin, qmax)",
        values="code / scale",
    )
    assert bq.quantize(np.float32([0.5, -0.5, 1.5, -1.5, 127]), dialect=row).codes.tolist() == [1, 0, 2, -1, 127]


def test_sixteen_bits_have_words_of_their_own():
    x = np.float32([-40000, -3, 0, 3, 1e9])
    signed = bq.quantize(x, dialect="onnx", bits=16, signed=True, step=1.0)
    unsigned = bq.quantize(x, dialect="onnx", bits=16, signed=False, step=1.0, zero_point=40000)
    assert (signed.codes.dtype, signed.codes.tolist()) == (np.int16, [-32768, -3, 0, 3, 32767])
    assert (unsigned.codes.dtype, unsigned.codes.tolist()) == (np.uint16, [0, 39997, 40000, 40003, 65535])
    assert unsigned.dequantize().tolist() == [-40000, -3, 0, 3, 25535]


REFUSED = [
    ({"dialect": "nobody"}, "no quantizer is called 'nobody'; there are torch"),
    ({"dialect": "onnx"}, "finds no asymmetric parameters: give step= and zero_point="),
    ({"dialect": "torch_float_qparams", "scheme": "symmetric"}, "choose the other scheme"),
    ({"dialect": "torch", "bits": 4}, "has no codes of int4: choose int or uint of 8 bits"),
    ({"dialect": "onnx_dynamic", "signed": True}, "has no codes of int8"),
    ({"dialect": "torch", "rounding": "toward_zero"}, "a dialect says how it rounds"),
    ({"dialect": "torch", "scale": 2.0}, "a dialect says how it rounds"),
    ({"dialect": "torch", "step": -1.0}, "step is -1: it must be positive"),
    (
        {"dialect": "torch", "step": 1.0, "zero_point": 200},
        "zero_point is 200: that of the dialect torch is an integer from -128 to 127",
    ),
    ({"dialect": "torch", "step": 1.0, "zero_point": 0.5}, "zero_point is 0.5: that of the dialect torch is"),
    ({"dialect": "torch", "zero_point": 3}, "needs the step that it belongs to"),
    ({"dialect": "torch", "step": 1.0, "range": (0, 1)}, "give no range with it"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_what_a_dialect_has_not_is_refused(options, message):
    with pytest.raises(bq.BitquantError, match=message.replace("(", r"\(")):
        bq.quantize(np.float32([1, 2]), **options)


def test_numbers_of_another_type_are_refused():
    with pytest.raises(bq.BitquantError, match="the dialect torch does not take float64: convert to float32 first"):
        bq.quantize([1.0, 2.0], dialect="torch")


def test_a_range_is_not_found_in_nan():
    x = np.float32([1, np.nan, 3])
    with pytest.raises(bq.BitquantError, match="x has NaN at index 1"):
        bq.quantize(x, dialect="torch")
    assert bq.quantize(x, dialect="torch", step=1.0).codes.tolist() == [1, 127, 3]
    for name in ("torch", "ggml_q4_0"):  # from the extremes, and from the first of largest magnitude
        finite = bq.quantize(x[::2], dialect=name)
        assert bq.quantize(x, dialect=name, nonfinite="saturate").step == finite.step


BAD = [
    ("x * x", "is no chain of operations on x"),
    ("1 / x", "is no chain of operations on x"),
    ("x if x > 0 else 0", "is no chain of operations on x"),
    ("floor(x) + nothing", "uses nothing, which is not known"),
    ("sin(x)", "is no chain of operations on x"),
    ("x +", "cannot be read"),
    ("x + [1]", "a formula cannot hold '\\[1\\]'"),
]


@pytest.mark.parametrize(("formula", "message"), BAD, ids=[formula for formula, _ in BAD])
def test_a_formula_that_is_none_is_refused(formula, message):
    row = Quantizer(name="mine", title="", source="", witness="", codes=formula, values="code")
    with pytest.raises(bq.BitquantError, match=message):
        bq.quantize(np.float32([1, 2]), dialect=row, step=1.0)


def test_names_are_found_in_any_case():
    assert quantizer("ONNX") is quantizer("onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bq.quantize(np.float32([np.inf, -np.inf, 1e30]), dialect="torch", step=1e-40).codes.tolist()


SHARES = [
    ({}, lambda row, column: 0),
    ({"axis": 0}, lambda row, column: row),
    ({"axis": 1}, lambda row, column: column),
    ({"group_size": 3}, lambda row, column: (row, column // 3)),
    ({"block_shape": (2, 2)}, lambda row, column: (row // 2, column // 2)),
]


@pytest.mark.parametrize(("shares", "channel"), SHARES)
def test_of_two_numbers_as_far_from_zero_the_first_gives_the_step(shares, channel):
    draw = np.random.default_rng(7)
    for _ in range(30):
        x = (draw.integers(-2, 3, (5, 7)) * draw.choice([1.0, -1.0], (5, 7))).astype(np.float32)
        first = {}
        for place in np.ndindex(x.shape):
            known = first.setdefault(channel(*place), x[place])
            if abs(x[place]) > abs(known):
                first[channel(*place)] = x[place]
        expected = [float(first[each]) / -8 for each in sorted(first)]
        found = np.ravel(bq.quantize(x, dialect="ggml_q4_0", **shares).step).tolist()
        assert list(map(repr, found)) == list(map(repr, expected)), shares
