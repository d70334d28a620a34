"""ONNX's own test cases of QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear, through the dialects."""

import warnings

import numpy as np
import pytest

import bitquant as bq

OPERATORS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
SMALL = {"FLOAT8E4M3FN": "float8_e4m3fn", "FLOAT8E5M2": "float8_e5m2", "FLOAT4E2M1": "float4_e2m1fn"}


def cases():
    """Every test case of the three operators in the onnx package, by name."""
    pytest.importorskip("onnx", reason="the cases are in the onnx package")
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return {
        case.name: (case.model.graph.node[0], case.data_sets)
        for case in found
        if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in OPERATORS
    }


def tensor(proto):
    """An ONNX tensor as an array, and the name of its type in ONNX."""
    from onnx import TensorProto, helper, numpy_helper

    if isinstance(proto, np.ndarray | np.generic):
        name = TensorProto.DataType.Name(helper.np_dtype_to_tensor_dtype(np.asarray(proto).dtype))
        return np.asarray(proto), name
    return numpy_helper.to_array(proto), TensorProto.DataType.Name(proto.data_type)


def codes(array, name):
    """Integers of any width as int8, uint8, int16 or uint16; and their width."""
    bits = int(name.removeprefix("U").removeprefix("INT"))
    return array.astype(f"{'u' if name[0] == 'U' else 'i'}{1 if bits <= 8 else 2}"), bits


def sharing(attributes, numbers, step):
    """Which numbers share a step: `axis` and `block_size` of ONNX as arguments of quantize."""
    axis = attributes["axis"].i if "axis" in attributes else 1
    if "block_size" in attributes and attributes["block_size"].i:
        return {"axis": axis, "group_size": attributes["block_size"].i}
    return {"axis": axis} if step.ndim == 1 and step.size > 1 else {}


def test_every_case_with_integer_codes_passes_through_the_dialects():
    asked = 0
    for name, (node, data) in cases().items():
        attributes = {item.name: item for item in node.attribute}
        for inputs, outputs in data:
            (x, kind), *parameters = (tensor(each) for each in inputs)
            results = [tensor(each) for each in outputs]
            if node.op_type == "DynamicQuantizeLinear":
                found = bq.quantize(x, dialect="onnx_dynamic")
                assert found.codes.tolist() == results[0][0].tolist(), name
                assert np.float32(found.step) == results[1][0], name
                assert found.zero_point == results[2][0], name
                asked += 1
                continue
            step = parameters[0][0]
            zero_point = parameters[1][0].astype(np.int64) if len(parameters) > 1 and not is_small(parameters[1]) else 0
            shares = sharing(attributes, x, step)
            if node.op_type == "QuantizeLinear" and not is_small(results[0]):
                expected, bits = codes(*results[0])
                found = bq.quantize(
                    x, dialect="onnx", bits=bits, signed=expected.dtype.kind == "i", step=step, zero_point=zero_point,
                    **shares,
                )  # fmt: skip
                assert found.codes.tolist() == expected.tolist(), name
                asked += 1
            if node.op_type == "DequantizeLinear" and not is_small((x, kind)):
                numbers, bits = codes(x, kind)
                values = bq.dequantize(
                    numbers, step=step, zero_point=zero_point, dtype=step.dtype, dialect="onnx", bits=bits, **shares
                )
                assert values.dtype == results[0][0].dtype, name
                assert values.tolist() == results[0][0].tolist(), name
                asked += 1
    assert asked >= 20


def is_small(tensor):
    return tensor[1] in SMALL


def test_every_case_with_floating_codes_passes_through_division_and_conversion():
    """No codes of `Quantized`, which are integers: what is left is a division and the conversion dialect."""
    asked = 0
    for name, (node, data) in cases().items():
        for inputs, outputs in data:
            if node.op_type == "DynamicQuantizeLinear":
                continue
            (x, kind), (step, _), *_ = (tensor(each) for each in inputs)
            result, target = tensor(outputs[0])
            step = step.reshape(-1, *[1] * (x.ndim - 1)) if step.ndim else step
            if node.op_type == "QuantizeLinear" and target in SMALL:
                ours = bq.convert(x / step, SMALL[target], dialect="onnx")
                assert ours.astype(np.float32).tolist() == result.astype(np.float32).tolist(), name
                asked += 1
            if node.op_type == "DequantizeLinear" and kind in SMALL:
                assert (bq.convert(x, "float32") * step).tolist() == result.tolist(), name
                asked += 1
    assert asked >= 5
