"""ONNX models of one operator, for the reference implementation and for ONNX Runtime."""

from __future__ import annotations

from functools import cache
from typing import Any

from bitquant.formats import Format

# ONNX's names of formats that are not the upper case of ours.
_NAMES = {
    "float64": "DOUBLE",
    "float32": "FLOAT",
    "float8_e5m2": "FLOAT8E5M2",
    "float8_e5m2fnuz": "FLOAT8E5M2FNUZ",
    "float8_e4m3fn": "FLOAT8E4M3FN",
    "float8_e4m3fnuz": "FLOAT8E4M3FNUZ",
    "float8_e8m0fnu": "FLOAT8E8M0",
    "float6_e3m2fn": "FLOAT6E3M2",
    "float6_e2m3fn": "FLOAT6E2M3",
    "float4_e2m1fn": "FLOAT4E2M1",
}
# Opset 25 has Cast with round_mode; both packages read this version of the file format.
_OPSET, _IR = 25, 13
_HEAD = f'<ir_version: {_IR}, opset_import: ["" : {_OPSET}]>'  # in the language of ONNX's parser


def kind(name: str) -> int:
    """The number that ONNX has for a format."""
    from onnx import TensorProto

    return int(getattr(TensorProto, name_of(name)))


def script(source: Format, target: Format, saturate: int) -> str:
    """The line that makes the model of a Cast by ONNX's own parser."""
    attributes = "to = %d" + (f", saturate = {saturate}" if _saturates(target.name) else "")
    start, end = (f"{name_of(fmt.name).lower()}[N]" for fmt in (source, target))
    model = f"{_HEAD} g ({start} x) => ({end} y) {{ y = Cast <{attributes}> (x) }}"
    return f"model = onnx.parser.parse_model('{model}' % onnx.TensorProto.{name_of(target.name)})"


def quantize_script(source: str, code: str) -> str:
    """The line that makes the model of a QuantizeLinear."""
    number, whole = name_of(source).lower(), name_of(code).lower()
    return _parsed(f"({number}[N] x, {number} s, {whole} z) => ({whole}[N] y) {{ y = QuantizeLinear (x, s, z) }}")


def dynamic_script() -> str:
    """The line that makes the model of a DynamicQuantizeLinear."""
    return _parsed("(float[N] x) => (uint8[N] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear (x) }")


def _parsed(graph: str) -> str:
    return f"model = onnx.parser.parse_model('{_HEAD} g {graph}')"


def name_of(name: str) -> str:
    """The name that ONNX has for a format."""
    return _NAMES.get(name, name.upper())


def _saturates(target: str) -> bool:
    return target.startswith("float8")


@cache
def cast(source: str, target: str, saturate: int) -> bytes:
    """A model of one Cast from x to y."""
    attributes: dict[str, Any] = {"saturate": saturate} if _saturates(target) else {}
    return _model("Cast", {"x": kind(source)}, {"y": kind(target)}, to=kind(target), **attributes)


@cache
def quantize(source: str, code: str) -> bytes:
    """A model of one QuantizeLinear from x, step s and zero point z to y."""
    number = kind(source)
    return _model("QuantizeLinear", {"x": number, "s": number, "z": kind(code)}, {"y": kind(code)})


@cache
def dynamic() -> bytes:
    """A model of one DynamicQuantizeLinear from x to codes y, step s and zero point z."""
    code = kind("uint8")
    return _model("DynamicQuantizeLinear", {"x": kind("float32")}, {"y": code, "s": kind("float32"), "z": code})


def _model(operator: str, inputs: dict[str, int], outputs: dict[str, int], **attributes: Any) -> bytes:
    from onnx import helper

    node = helper.make_node(operator, list(inputs), list(outputs), **attributes)
    starts, ends = ([helper.make_tensor_value_info(*end, None) for end in part.items()] for part in (inputs, outputs))
    graph = helper.make_graph([node], "one", starts, ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    return bytes(model.SerializeToString())
