"""LiteRT (TensorFlow Lite): models of one QUANTIZE, by the reference kernels, the optimized ones, and XNNPACK."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Case

# Whose kernels, and the name of the resolver that takes them.
_KERNELS = {"reference": "BUILTIN_REF", "optimized": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "XNNPACK": "AUTO"}
_ORDINARY = (2.0**-120, 2.0**120)
_SPECIFICATION = "LiteRT 8-bit quantization specification: real_value = (int8_value - zero_point) * scale"


def _tensor(schema: Any, name: str, kind: int, place: int, size: int) -> Any:
    found = schema.TensorT()
    found.name, found.type, found.buffer, found.shape = name, kind, place, np.array([size], np.int32)
    return found


def _model(schema: Any, size: int, code: str, step: float, zero_point: int) -> bytes:
    import flatbuffers

    numbers = _tensor(schema, "numbers", schema.TensorType.FLOAT32, 1, size)
    codes = _tensor(schema, "codes", getattr(schema.TensorType, code.upper()), 2, size)
    codes.quantization = schema.QuantizationParametersT()
    codes.quantization.scale = np.array([step], np.float32)
    codes.quantization.zeroPoint = np.array([zero_point], np.int64)
    operator, graph, kind, model = schema.OperatorT(), schema.SubGraphT(), schema.OperatorCodeT(), schema.ModelT()
    operator.inputs, operator.outputs = np.array([0], np.int32), np.array([1], np.int32)
    graph.name, graph.tensors, graph.operators = "main", [numbers, codes], [operator]
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([1], np.int32)
    kind.builtinCode = kind.deprecatedBuiltinCode = schema.BuiltinOperator.QUANTIZE
    kind.version, model.version = 1, 3
    model.operatorCodes, model.subgraphs = [kind], [graph]
    model.buffers = [schema.BufferT() for _ in range(3)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _given(kernels: str, code: str) -> Any:
    def quantize(x: Any, step: float, zero_point: int) -> Any:
        from ai_edge_litert import interpreter
        from ai_edge_litert import schema_py_generated as schema

        resolver = getattr(interpreter.OpResolverType, _KERNELS[kernels])
        model = _model(schema, x.size, code, step, zero_point)
        runner = interpreter.Interpreter(model_content=model, experimental_op_resolver_type=resolver, num_threads=1)
        runner.allocate_tensors()
        runner.set_tensor(0, x)
        runner.invoke()
        return runner.get_tensor(1).copy()

    return quantize


def _script(kernels: str, code: str) -> dict[str, str]:
    """A model of one operator, packed with the classes of LiteRT's own schema."""
    lines = (
        "import flatbuffers",
        "from ai_edge_litert import interpreter as litert, schema_py_generated as tfl",
        "",
        "def quantize(x, step, zero_point):",
        "    quantization = tfl.QuantizationParametersT(scale=[step], zeroPoint=[zero_point])",
        "    numbers = tfl.TensorT([x.size], tfl.TensorType.FLOAT32, 1)",
        f"    codes = tfl.TensorT([x.size], tfl.TensorType.{code.upper()}, 2, quantization=quantization)",
        "    operator = tfl.OperatorT(inputs=[0], outputs=[1])",
        "    graph = tfl.SubGraphT([numbers, codes], [0], [1], [operator])",
        "    operation = tfl.BuiltinOperator.QUANTIZE",
        "    kind = tfl.OperatorCodeT(operation, version=1, builtinCode=operation)",
        "    model = tfl.ModelT(3, [kind], [graph], buffers=[tfl.BufferT() for _ in range(3)])",
        "    builder = flatbuffers.Builder()",
        "    builder.Finish(model.Pack(builder), b'TFL3')",
        f"    resolver = litert.OpResolverType.{_KERNELS[kernels]}",
        "    run = litert.Interpreter(model_content=bytes(builder.Output()), experimental_op_resolver_type=resolver)",
        "    run.allocate_tensors()",
        "    run.set_tensor(0, x)",
        "    run.invoke()",
        "    return run.get_tensor(1)",
    )
    return {"setup": "\n".join(lines), "call": "quantize(x, step, zero_point)"}


def _cases() -> tuple[Case, ...]:
    """XNNPACK ends the process where the step or its inverse is no normal number: it is asked twice."""
    return tuple(
        Case(
            f"QUANTIZE to {code}, {kernels}{', 2^-120 to 2^120' if steps else ''}",
            _given(kernels, code),
            _SPECIFICATION,
            True,
            {"signed": code == "int8", "steps": steps, **_script(kernels, code)},
        )
        for kernels in _KERNELS
        for code in ("int8", "uint8")
        for steps in ((None, _ORDINARY) if kernels == "XNNPACK" else (None,))
    )


ADAPTER = Adapter("litert", "LiteRT's QUANTIZE", ("ai-edge-litert", "flatbuffers"), _cases)
