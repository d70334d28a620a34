"""ONNX models with our weights: ONNX Runtime computes with exactly our numbers, from exactly our codes."""

from __future__ import annotations

import numpy as np
import pytest

import bitquant as bq
from bitquant.errors import BitquantError
from bitquant.files import Options, open_tensors, quantize_file
from test_cli import fails, works

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(23)
W = (RNG.standard_normal((64, 24)) * np.exp(RNG.standard_normal((64, 1)))).astype(np.float32)
B = RNG.standard_normal(24).astype(np.float32)
X = RNG.standard_normal((5, 64)).astype(np.float32)


def model(path, opset=21, dtype=np.float32, external=False, extra=()):
    """X·W + B, with the weights as outputs too, so that a runtime can be asked for them."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["x", "w"], ["product"]),
            onnx.helper.make_node("Add", ["product", "b"], ["y"]),
            onnx.helper.make_node("Identity", ["w"], ["w_seen"]),
        ],
        "g",
        [value("x", kind, [None, 64])],
        [value("y", kind, [None, 24]), value("w_seen", kind, [64, 24])],
        [onnx.numpy_helper.from_array(x, name) for name, x in (("w", W.astype(dtype)), ("b", B.astype(dtype)), *extra)],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(made, path, save_as_external_data=external, location="weights", size_threshold=0)
    return path


SHIFTED = W + np.float32(100)  # a range without zero, whose own zero point would be no code


def run(path, dtype=np.float32):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X.astype(dtype)})


HOW = [
    {},
    {"axis": 0},
    {"axis": 1},
    {"axis": -1, "scheme": "asymmetric"},
    {"axis": 1, "scheme": "asymmetric", "unsigned": True},
    {"group": 16, "axis": 0},
    {"group": 8, "axis": 1, "scheme": "asymmetric"},
    {"calibrate": "mse", "axis": 1},
    {"range": (-1.0, 2.0)},
    {"bits": 4, "axis": 0},
]


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("how", HOW, ids=str)
def test_onnx_runtime_computes_with_our_numbers(tmp_path, how, external):
    path, out = model(tmp_path / "m.onnx", external=external), tmp_path / "out" / "q.onnx"
    out.parent.mkdir()
    result = quantize_file(path, out, lambda name: Options(**how) if name == "w" else "kept", verify=True)
    assert result.kept == {"b": "kept"}
    words = {"step_format": "float32", "include_zero": True, "signed": not how.get("unsigned", False)}
    words |= {name: how[name] for name in ("axis", "bits") if name in how}
    words |= {"group_size": how["group"]} if "group" in how else {}
    words |= {"scheme": how.get("scheme", "asymmetric" if "range" in how else "symmetric")}
    words |= {"range": how["range"]} if "range" in how else {}
    if "calibrate" in how:
        words["range"] = bq.calibrate(W, "mse", axis=1, step_format="float32", include_zero=True)
    expected = bq.quantize(W, **words)
    with open_tensors(out) as source:
        assert np.array_equal(source.array("w_quantized"), expected.codes)
        assert np.array_equal(source.array("w_scale"), np.asarray(expected.step))
        assert np.array_equal(source.array("w_zero_point"), np.asarray(expected.zero_point))
        assert np.array_equal(source.array("b"), B)
        assert "w" not in source.tensors
    back = expected.dequantize()
    y, seen = run(out)
    assert seen.tobytes() == back.tobytes()
    assert np.allclose(y, X @ back + B, rtol=1e-4, atol=1e-4)


def test_half_precision_weights_come_back_in_half_precision(tmp_path):
    path, out = model(tmp_path / "m.onnx", dtype=np.float16), tmp_path / "q.onnx"
    quantize_file(path, out, lambda name: Options(axis=1), verify=True)
    expected = bq.quantize(W.astype(np.float16), axis=1, step_format="float16")
    _, seen = run(out, np.float16)
    assert seen.tobytes() == expected.dequantize().tobytes()


def test_a_range_without_zero_is_widened_to_it(tmp_path):
    path, out = model(tmp_path / "m.onnx", extra=[("far", SHIFTED)]), tmp_path / "q.onnx"
    how = Options(axis=1, scheme="asymmetric")
    quantize_file(path, out, lambda name: how if name == "far" else "kept", verify=True)
    expected = bq.quantize(SHIFTED, "asymmetric", axis=1, include_zero=True, step_format="float32")
    with open_tensors(out) as source:
        assert np.array_equal(source.array("far_zero_point"), expected.zero_point)
        assert np.array_equal(source.array("far_quantized"), expected.codes)


def test_the_command_line_quantizes_models(tmp_path):
    path, out = model(tmp_path / "m.onnx"), tmp_path / "q.onnx"
    printed = works("quantize", path, "-o", out, "--axis", "1", "--only", "w", "--verify")
    assert "verified" in printed
    assert run(out)[1].tobytes() == bq.quantize(W, axis=1, step_format="float32").dequantize().tobytes()


def test_what_onnx_cannot_hold_is_refused_and_nothing_is_written(tmp_path):
    old = model(tmp_path / "old.onnx", opset=17)
    out = tmp_path / "q.onnx"
    assert "needs opset 21 and the model has 17" in fails("quantize", old, "-o", out, "--group", "8")
    half = model(tmp_path / "half.onnx", opset=17, dtype=np.float16)
    assert "needs opset 19" in fails("quantize", half, "-o", out)
    older = model(tmp_path / "older.onnx", opset=11)
    assert "needs opset 13" in fails("quantize", older, "-o", out, "--axis", "0")
    clash = model(tmp_path / "clash.onnx", extra=[("w_scale", np.ones(2, np.float32))])
    assert "'w_scale' is a name of its own" in fails("quantize", clash, "-o", out)
    assert "instead of" in fails("quantize", tmp_path / "x.npz", "-o", out)
    assert "left to quantize" in fails("quantize", old, "-o", out, "--skip", "*")
    assert not out.exists()
    works("quantize", old, "-o", out)
    assert "--force" in fails("quantize", old, "-o", out)


def test_scalars_inputs_and_other_types_are_kept(tmp_path):
    extra = [("s", np.array(2.0, np.float32)), ("d", np.ones(3)), ("i", np.arange(3))]
    path, out = model(tmp_path / "m.onnx", extra=extra), tmp_path / "q.onnx"
    result = quantize_file(path, out, lambda name: Options())
    assert result.kept == {"s": "scalar", "d": "float64", "i": "int64"}
    with pytest.raises(BitquantError, match="left to quantize"):
        quantize_file(out, tmp_path / "r.onnx", lambda name: "no")
