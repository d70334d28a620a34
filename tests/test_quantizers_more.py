"""The rows of TensorFlow's family, ggml, and the libraries that compress PyTorch weights, against the real things."""

import importlib.util

import numpy as np
import pytest

import bitquant as bq
import quantizer_lite as lite
from bitquant.dialects.quantizers import quantizer
from quantizer_inputs import STEPS, adversarial, tensors, zero_points
from quantizer_peers_more import GIVEN, WHOLES

WIDTH = 1024
# Numbers from whose extremes one rule or another finds a step that is a power of two, so that ties are exact; and spans
# that HQQ and NNCF do not divide by, and one that NNCF's reciprocal tunes otherwise than a quotient would.
EVEN = ([127, -127], [-127, 3], [127.5], [128, -128], [-16, 7], [7.5, -7.5], [7, -8], [15, 0], [255, 0], [0, 0.75])
OTHERS = (*EVEN, [0, 0.0001], [0, 0.00075], [0, 0.0008], [-14.424528121948242, 38.5])


def quantize(peer, x):
    """Ask ourselves what the library is asked."""
    return bq.quantize(x, peer.scheme, dialect=peer.row, bits=peer.bits, narrow=peer.narrow, axis=0)


def channels(peer, fmt):
    """Channels whose own parameters are found from them: their extremes, then whatever lies beside a boundary."""
    dtype = bq.format(fmt).dtype
    width, rows = peer.block or WIDTH, []
    for table in (*tensors(dtype), *(np.asarray(numbers, dtype) for numbers in OTHERS)):
        low, high = float(table.min()), float(table.max())
        found = quantize(peer, table.reshape(1, -1))
        step, zero_point = abs(float(found.step[0])), float(found.zero_point[0])
        extent = max(high, -low) if peer.scheme == "symmetric" else high - low
        if not np.isfinite(step) or extent < peer.least.get(fmt, 0):
            continue
        zero_point = zero_point if np.isfinite(zero_point) else 0.0
        step = max(high, -low) / peer.parts if peer.parts else step
        numbers = adversarial(step, zero_point, found.qmin, found.qmax, dtype)
        with np.errstate(invalid="ignore"):
            plain = numbers.astype(np.float64)
        numbers = np.concatenate([table, numbers[(plain >= low) & (plain <= high)]]).astype(dtype)
        ends = np.array([high, low]).astype(dtype)
        parts = (numbers[start : start + width - 2] for start in range(0, numbers.size, width - 2))
        rows += [np.concatenate([ends, np.resize(part, width - 2)]) for part in parts]
    return np.array(rows, dtype)


def same(ours, theirs):
    """Equal bits, but that zeros and NaNs are alike: a code of 0 has no sign."""
    ours, theirs = np.asarray(ours), np.asarray(theirs).reshape(np.shape(ours))
    if theirs.dtype != ours.dtype:
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    alike = (ours == theirs) | (np.isnan(ours.astype(np.float64)) & np.isnan(theirs.astype(np.float64)))
    return bool(alike.all())


def cases():
    for peer in WHOLES:
        for fmt in quantizer(peer.row).inputs:
            marks = [pytest.mark.exhaustive] if peer.slow else []
            yield pytest.param(peer, fmt, id=f"{peer}-{fmt}-{peer.module}", marks=marks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("peer", "fmt"), list(cases()))
def test_a_row_gives_what_the_library_gives(peer, fmt):
    pytest.importorskip(peer.module)
    x = channels(peer, fmt)
    codes, step, zero_point, values = peer.ask(x, **peer.options)
    ours = quantize(peer, x)
    assert x.shape[0] > 10
    assert step is None or same(ours.step.reshape(-1, 1), step)
    assert zero_point is None or same(ours.zero_point.reshape(-1, 1), zero_point)
    assert codes is None or same(ours.codes, codes)
    assert same(ours.dequantize(), values)


NO_ZERO_POINT = ("optimum_quanto", "modelopt_int8", "brevitas", "nncf_sym")


def given_cases():
    for row, module, ask, bits, options in GIVEN:
        for fmt in quantizer(row).inputs:
            yield pytest.param(row, module, ask, bits, options, fmt, id=f"{row}-{bits}-{fmt}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("row", "module", "ask", "bits", "options", "fmt"), list(given_cases()))
def test_a_row_takes_parameters_as_the_library_does(row, module, ask, bits, options, fmt):
    """Numbers beyond the codes, infinities and NaN included."""
    pytest.importorskip(module)
    dtype, narrow = bq.format(fmt).dtype, row == "brevitas"
    for step in (0.1, 0.25, 1 / 3, 0.00214854861, 3.0e-5, 300.0):
        given = np.array([step], dtype)
        for zero_point in (0,) if row in NO_ZERO_POINT else (0, 3, 5, 2**bits // 2 - 1):
            whole = bq.quantize(np.zeros(1, dtype), dialect=row, bits=bits, narrow=narrow, step=step)
            x = adversarial(float(given[0]), zero_point, whole.qmin, whole.qmax, dtype)
            ours = bq.quantize(x, dialect=row, bits=bits, narrow=narrow, step=float(given[0]), zero_point=zero_point)
            codes, values = ask(x, given, zero_point, bits, **options)
            finite = np.isfinite(values.astype(np.float64)) if values is not None else None
            with np.errstate(invalid="ignore"):
                theirs = np.asarray(codes).astype(np.float64)
            whole_numbers = np.where(np.isnan(theirs), 0, theirs)
            assert same(ours.codes, whole_numbers), (step, zero_point)
            assert values is None or same(ours.dequantize()[finite], values[finite]), (step, zero_point)


needs_litert = pytest.mark.skipif(importlib.util.find_spec("ai_edge_litert") is None, reason="LiteRT is not installed")


@needs_litert
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("kernels", lite.KERNELS)
def test_litert_kernels_quantize_and_dequantize_as_their_rows(kernels, signed):
    qmin, qmax = (-128, 127) if signed else (0, 255)
    for step in (step for step in STEPS if kernels != "xnnpack" or 2.0**-120 < step < 2.0**120):
        for zero_point in zero_points(qmin, qmax):
            x = adversarial(step, zero_point, qmin, qmax)
            x = x[: x.size // 16 * 16]  # see the next test
            ours = bq.quantize(x, dialect=kernels, signed=signed, step=step, zero_point=zero_point)
            theirs = lite.run("QUANTIZE", x, step, zero_point, ours.codes.dtype, kernels)
            assert same(ours.codes, theirs), (step, zero_point)
            theirs = lite.run("DEQUANTIZE", ours.codes, step, zero_point, ours.codes.dtype, kernels)
            assert same(ours.dequantize(), theirs), (step, zero_point)


@needs_litert
def test_litert_optimized_kernels_end_by_another_rule():
    x = np.full(11, -25.25, np.float32)
    codes = lite.run("QUANTIZE", x, 0.5, 0, np.int8, "tflite_optimized")
    values = lite.run("DEQUANTIZE", np.full(11, -128, np.int8), 0.1, 125, np.int8, "tflite_optimized")
    for name, part in (("tflite_optimized", slice(0, 8)), ("tflite", slice(8, 11))):
        assert same(bq.quantize(x, dialect=name, step=0.5).codes[part], codes[part])
        lowest = bq.quantize(np.full(11, -25.3, np.float32), dialect=name, step=0.1, zero_point=125)
        assert (lowest.codes == -128).all()
        assert same(lowest.dequantize()[part], values[part])
    assert codes[7] != codes[8]
    assert values[7] != values[8]


@needs_litert
def test_the_converter_quantizes_weights_as_tflite_weights():
    x = channels(next(peer for peer in WHOLES if peer.row == "ai_edge_quantizer"), "float32")
    codes, step, _, _ = lite.convert(x, np.linspace(-1, 1, x.shape[1], dtype=np.float32))
    ours = bq.quantize(x, "symmetric", dialect="tflite_weights", axis=0)
    assert same(ours.step, step)
    assert same(ours.codes, codes)


@needs_litert
def test_the_converter_finds_parameters_of_activations_as_tflite():
    for table in (table for table in tensors() if np.abs(table).max() < 1e30):
        _, _, step, zero_point = lite.convert(np.zeros((2, table.size), np.float32), table)
        for name in ("tflite", "tflite_optimized"):
            ours = bq.quantize(table, "asymmetric", dialect=name)
            assert same(ours.step, step)
            assert ours.zero_point == zero_point, table
