"""A linear layer on codes: against rationals, ONNX Runtime, and the float layer of a real model."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
import layers
import reference
from bitquant.data import load_digits_model
from bitquant.quantize.granularity import Granularity
from quantizing import codes_of

RNG = np.random.default_rng(17)


def layer_of(count=6, k=20, n=5, axis=0, x_scheme="asymmetric", weight_scheme="symmetric", dtype=np.float32):
    """A small layer, quantized: x, weight, bias."""
    x = RNG.normal(0.3, 1, (count, k)).astype(dtype)
    weight = RNG.normal(0, 0.2, (n, k)).astype(dtype)
    bias = RNG.normal(0, 0.5, n).astype(dtype)
    return bq.quantize(x, x_scheme), bq.quantize(weight, weight_scheme, axis=axis), bias


def exact_sums(x, weight, bias):
    """The INT32 sums with their bias, and the step of each column, in Python's integers and rationals."""
    sums = layers.product(x.codes, weight.codes.T, x.zero_point, weight.zero_point)
    scales = weight.exact_scale if isinstance(weight.exact_scale, tuple) else [weight.exact_scale] * len(weight.codes)
    steps = [1 / (x.exact_scale * scale) for scale in scales]
    added = [0] * len(steps)
    if bias is not None:
        added = [round(Fraction(float(b)) / step) for b, step in zip(bias, steps, strict=True)]
    return [[total + b for total, b in zip(row, added, strict=True)] for row in sums], steps


LAYERS = [
    {},
    {"axis": None},
    {"x_scheme": "symmetric"},
    {"weight_scheme": "asymmetric"},
    {"weight_scheme": "asymmetric", "axis": None, "dtype": np.float64},
    {"dtype": np.float16},
    {"count": 1, "k": 1, "n": 1},
    {"count": 40, "k": 300, "n": 70},
]
RESULTS = [
    {"range": (-2, 3), "scheme": "asymmetric"},
    {"range": (-2, 2)},
    {"scale": Fraction(70, 3), "bits": 4},
    {"step": 0.0625, "zero_point": 7, "scheme": "asymmetric", "signed": False},
    {"range": (0.0, 2.5), "scheme": "asymmetric", "step_format": "float16", "narrow": True},
]


@pytest.mark.parametrize("kind", LAYERS, ids=str)
@pytest.mark.parametrize(("relu", "biased"), list(itertools.product((False, True), repeat=2)))
def test_every_number_is_rounded_once(kind, relu, biased):
    x, weight, bias = layer_of(**kind)
    bias = bias if biased else None
    sums, steps = exact_sums(x, weight, bias)
    for result in RESULTS:
        y = bq.linear(x, weight, bias, relu=relu, **result)
        floor = layers.clamped(y.zero_point, y.qmin, y.qmax) if relu else y.qmin
        for row, codes in zip(sums, y.codes.tolist(), strict=True):
            expected = [
                layers.clamped(round(total * step * y.exact_scale + y.zero_point), floor, y.qmax)
                for total, step in zip(row, steps, strict=True)
            ]
            assert codes == expected, result
        template = bq.quantize(np.zeros(1, np.float32), **result)
        assert (y.exact_scale, y.zero_point, y.range) == (template.exact_scale, template.zero_point, template.range)
        assert y.source == x.source
    for name in ("float32", "float16", "bfloat16", "float64", "float8_e4m3fn"):
        target = reference.FORMATS[name]
        found = codes_of(bq.linear(x, weight, bias, relu=relu, dtype=name))
        wanted = [
            reference.convert_to_float(reference.as_number(max(total, 0) * step if relu else total * step), target)[0]
            for row in sums
            for total, step in zip(row, steps, strict=True)
        ]
        assert found == wanted, name


def rows_of(x):
    """Each row of a matrix by itself, with its own parameters, as a one-row Quantized."""
    points = np.broadcast_to(np.asarray(x.zero_point).reshape(-1), len(x.codes)).tolist()
    return [
        bq.quantize(np.zeros((1, 1)), x.scheme, scale=scale, zero_point=None if x.scheme == "symmetric" else point)
        for scale, point in zip(x.exact_scale, points, strict=True)
    ]


@pytest.mark.parametrize("x_scheme", ["symmetric", "asymmetric"])
@pytest.mark.parametrize(("dtype", "axis"), [("float32", 0), ("float32", None), ("float64", 0), ("bfloat16", 0)])
@pytest.mark.parametrize("biased", [False, True])
def test_rows_of_their_own_scales_are_layers_of_one_row(x_scheme, dtype, axis, biased):
    """Per token: products of scales of FP64 numbers are wider than a kernel takes, those of FP32 numbers are not."""
    x = bq.convert(RNG.normal(0.3, [[0.1], [1], [40], [1e-3], [3]], (5, 20)), dtype)
    x, weight = bq.quantize(x, x_scheme, axis=0), layer_of(axis=axis)[1]
    bias = RNG.normal(0, 0.05, 5).astype(dtype) if biased else None
    wide = [(scale * weight.exact_scale[0]).numerator.bit_length() > 63 for scale in x.exact_scale] if axis == 0 else []
    assert dtype != "float64" or any(wide)
    for name in ("float32", "float16", "float64"):
        found = bq.linear(x, weight, bias, dtype=name)
        assert found.shape == (5, 5)
        for row, one in enumerate(rows_of(x)):
            one = replace(one, codes=x.codes[row : row + 1], granularity=Granularity.of((1, 20), None, None, None))
            alone = bq.linear(one, weight, bias, dtype=name)
            assert codes_of(found[row : row + 1]) == codes_of(alone), (name, row)


def test_tokens_of_several_sequences_have_scales_of_their_own():
    x = RNG.normal(0, 1, (2, 3, 20)).astype(np.float32)
    weight, bias = layer_of()[1:]
    tokens = bq.asymmetric(x, block_shape=(1, 1, -1))
    flat = bq.asymmetric(x.reshape(6, 20), axis=0)
    together, apart = bq.linear(tokens, weight, bias, relu=True), bq.linear(flat, weight, bias, relu=True)
    assert together.shape == (2, 3, 5)
    assert np.array_equal(together.reshape(6, 5), apart)
    one = bq.linear(bq.asymmetric(x[0, 0], block_shape=(-1,)), weight, bias, relu=True)
    assert np.array_equal(one, together[0, 0])
    exact = [Fraction(1, 3), Fraction(-2, 7), Fraction(0), Fraction(5), Fraction(-1, 10**30)]
    assert np.array_equal(
        bq.linear(tokens, weight, np.array(exact, object)), bq.linear(tokens, weight, [float(b) for b in exact])
    )


def test_steps_too_wide_for_a_kernel_are_exact_too():
    x = bq.quantize(
        np.array([[0.25, 1.0]]), range=(Fraction(-1, 10**30 + 57), Fraction(3**60, 7**20 * 10**12)), scheme="asymmetric"
    )
    weight = bq.quantize(np.array([[0.25, 1.0]]), scale=Fraction(10**25 + 3, 3**50))
    sums, steps = exact_sums(x, weight, None)
    assert sums[0][0] > 1000
    target = reference.FORMATS["float32"]
    assert codes_of(bq.linear(x, weight)) == [
        reference.convert_to_float(reference.as_number(sums[0][0] * steps[0]), target)[0]
    ]
    y = bq.linear(x, weight, step=float(sums[0][0] * steps[0]) / 3)
    assert y.codes.tolist() == [[3]]


@pytest.mark.parametrize("rule", ["tflite", "tflite_single", "float32"])
def test_other_rules_take_multipliers_in_their_own_precision(rule):
    x, weight, bias = layer_of(count=200, k=90, n=40)
    x, weight = (bq.quantize(q.dequantize(), q.scheme, axis=q.axis, step_format="float32") for q in (x, weight))
    y = bq.linear(x, weight, bias, rule=rule, range=(-3, 4), scheme="asymmetric", step_format="float32")
    sums, _ = exact_sums(x, weight, bias)
    x_step, y_step, steps = np.float32(x.step), np.float32(y.step), weight.step.astype(np.float32)
    assert (x_step, y_step) == (x.step, y.step)
    if rule == "float32":
        expected = [
            [layers.float32_code(t, m, y.zero_point) for t, m in zip(row, x_step * steps / y_step, strict=True)]
            for row in sums
        ]
    else:
        of = layers.tflite_code if rule == "tflite" else layers.tflite_single_code
        doubles = float(x_step) * steps.astype(np.float64) / float(y_step)
        pairs = [layers.quantized_multiplier(Fraction(real)) for real in doubles.tolist()]
        expected = [[of(t, *pair, y.zero_point) for t, pair in zip(row, pairs, strict=True)] for row in sums]
    assert y.codes.tolist() == expected


def test_a_bias_of_codes_is_taken_as_it_is():
    x, weight, bias = layer_of()
    codes = bq.quantize_bias(bias, x.step, weight.step)
    assert codes.tolist() == [
        exact_sums(x, weight, bias)[0][0][k] - exact_sums(x, weight, None)[0][0][k] for k in range(5)
    ]
    assert np.array_equal(bq.linear(x, weight, codes), bq.linear(x, weight, bias))


def test_batches_vectors_and_nothing_at_all():
    x, weight, bias = layer_of(count=6)
    whole = bq.linear(x, weight, bias)
    options = {"scale": x.exact_scale, "zero_point": x.zero_point, "scheme": "asymmetric"}
    batch = bq.quantize(x.dequantize().reshape(2, 3, 20), **options)
    assert np.array_equal(bq.linear(batch, weight, bias), whole.reshape(2, 3, 5))
    vector = bq.quantize(x.dequantize()[4], **options)
    assert np.array_equal(bq.linear(vector, weight, bias), whole[4])
    none = bq.quantize(np.empty((0, 20), np.float32), **options)
    assert bq.linear(none, weight, bias).shape == (0, 5)
    assert bq.linear(none, weight, bias, range=(-1, 1)).codes.shape == (0, 5)
    # K = 0: the bias is all there is.
    flat, thin = (
        bq.quantize(np.empty((2, 0), np.float32), step=0.5),
        bq.quantize(np.empty((3, 0), np.float32), step=0.5),
    )
    assert bq.linear(flat, thin, [1.0, 2.0, -0.25]).tolist() == [[1.0, 2.0, -0.25]] * 2


def test_tensors_come_back_as_tensors():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x, weight, bias = layer_of()
    tensor = bq.quantize(torch.from_numpy(x.dequantize()), "asymmetric", scale=x.exact_scale, zero_point=x.zero_point)
    numbers = bq.linear(tensor, weight, torch.from_numpy(bias))
    assert isinstance(numbers, torch.Tensor)
    assert np.array_equal(numbers.numpy(), bq.linear(x, weight, bias))
    y = bq.linear(tensor, weight, bias, range=(-2, 2))
    assert isinstance(y.codes, torch.Tensor)
    assert isinstance(y.dequantize(), torch.Tensor)


X, WEIGHT, BIAS = layer_of()
TOKENS = bq.symmetric(X.dequantize(), axis=0)
REFUSED = [
    (lambda: bq.linear(X.codes, WEIGHT), "x is a ndarray: quantize it first"),
    (lambda: bq.linear(X, WEIGHT.codes), "weight is a ndarray: quantize it first"),
    (lambda: bq.linear(bq.symmetric(X.dequantize(), axis=1), WEIGHT), "x has scales over which a sum has none"),
    (lambda: bq.linear(bq.symmetric(X.dequantize(), group_size=4), WEIGHT), "x has scales over which a sum has none"),
    (lambda: bq.linear(TOKENS, WEIGHT, range=(-1, 1)), "x has a scale for each row, and codes of the result one"),
    (lambda: bq.linear(TOKENS, WEIGHT, np.int32([1] * 5)), "codes of a bias have one step for all rows, and x has"),
    (lambda: bq.linear(TOKENS, WEIGHT, [0, 0, 1e9, 0, 0]), r"the bias of column 2 is 1e\+09, .* in the steps of row 0"),
    (lambda: bq.linear(TOKENS, WEIGHT, [0, np.nan, 0, 0, 0]), "bias is nan: give a finite number"),
    (lambda: bq.linear(X, bq.symmetric(WEIGHT.dequantize(), axis=1)), "weight has scales over which a sum has no"),
    (
        lambda: bq.linear(X, bq.symmetric(WEIGHT.dequantize(), group_size=4)),
        "weight has scales over which a sum has none",
    ),
    (lambda: bq.linear(X, bq.symmetric(np.ones((5, 19)))), r"shapes \(6, 20\) and \(5, 19\) do not fit"),
    (lambda: bq.linear(X, bq.symmetric(np.ones(20))), r"shapes \(6, 20\) and \(20,\) do not fit"),
    (lambda: bq.linear(X, WEIGHT, [1.0]), r"bias has shape \(1,\): give one number for each of 5 outputs"),
    (lambda: bq.linear(X, WEIGHT, [0, 0, 1e9, 0, 0]), r"the bias of column 2 is 1e\+09, .* which int32 does not hold"),
    (
        lambda: bq.linear(X, WEIGHT, np.int32([0, 2**31 - 1, 0, 0, 0])),
        r"the sum at \(\d, 1\) overflows int32 with its bias: choose larger steps",
    ),
    (lambda: bq.linear(X, WEIGHT, rule="tflite"), "codes need parameters: give range, scale or step"),
    (lambda: bq.linear(X, WEIGHT, bits=4), "codes need parameters: give range, scale or step"),
    (lambda: bq.linear(X, WEIGHT, range=(-1, 1), dtype="float32"), "dtype is for a result of real numbers"),
    (
        lambda: bq.linear(X, WEIGHT, range=(-1, 1), axis=0),
        "axis is no parameter of a layer's result: choose from scheme",
    ),
    (lambda: bq.linear(X, WEIGHT, range=(-1, 1), rounding="RTZ"), "rounding is no parameter of a layer's result"),
    (lambda: bq.linear(X, WEIGHT, dtype="int8"), "sums in units are real numbers: int8 is no floating format"),
    (lambda: bq.linear(X, WEIGHT, range=(-1, 1), rule="best"), "rule='best'"),
    (
        lambda: bq.linear(bq.quantize([1.0], step=1e-40), bq.quantize([[1.0]], step=1e-40), rule="float32", step=1),
        "a step of 9.99989e-81 is out of the range of float32: pass rule='exact'",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message[:45] for _, message in REFUSED])
def test_what_is_no_layer_is_refused(call, message):
    with pytest.raises(bq.BitquantError, match=message):
        call()


@pytest.mark.parametrize("rule", ["exact", "tflite", "tflite_single", "float32"])
def test_the_digits_are_read_as_well_in_integers(rule):
    """The whole network in INT8: three layers with ReLU between them, compared with its float outputs."""
    model = load_digits_model()
    values, q = model.images, bq.quantize(model.images, "asymmetric", range=(0, 1), step_format="float32")
    for layer in (1, 2, 3):
        weight, bias = (model.tensors[f"layer{layer}.{name}"] for name in ("weight", "bias"))
        values = values @ weight.T + bias
        if layer < 3:
            values = np.maximum(values, np.float32(0))
        q = bq.linear(
            q, bq.symmetric(weight, axis=0, step_format="float32"), bias, relu=layer < 3, rule=rule,
            scheme="asymmetric", range=(values.min(), values.max()), step_format="float32",
        )  # fmt: skip
        assert q.codes.dtype == np.int8
        assert q.error(values).sqnr_db > 37
    answers = q.codes.argmax(axis=1)
    assert np.mean(answers == model.labels) >= model.accuracy() - 0.002
    assert np.mean(answers == values.argmax(axis=1)) >= 0.998


def test_onnx_runtime_runs_the_same_network():
    """All three layers through QLinearMatMul, with no bias, which it does not have: the codes agree."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    model = load_digits_model()
    q = bq.quantize(model.images, "asymmetric", range=(0, 1), step_format="float32", signed=False)
    theirs = q.codes
    for layer in (1, 2, 3):
        weight = bq.symmetric(model.tensors[f"layer{layer}.weight"], axis=0, step_format="float32")
        y = bq.linear(
            q, weight, rule="float32", scheme="asymmetric", range=(-9, 11), step_format="float32", signed=False
        )
        theirs = layers.onnx_runtime(
            "QLinearMatMul", theirs, np.float32(q.step), np.uint8(q.zero_point), weight.codes.T.copy(),
            weight.step.astype(np.float32), np.zeros(len(weight.codes), np.int8), np.float32(y.step),
            np.uint8(y.zero_point), result="uint8",
        )  # fmt: skip
        assert np.array_equal(y.codes, theirs)
        q = y
