"""ONNX Runtime on the CPU."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from bitquant.auditing.adapters import models
from bitquant.auditing.adapters.onnx import cast_cases, quantize_cases, quantize_scripts
from bitquant.auditing.adapters.row import Adapter, Candidate, Case
from bitquant.formats import Format
from bitquant.packing import unpack_bits


@cache
def session(model: bytes) -> Any:
    """A model, loaded: one thread, nothing folded."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _cast(saturate: int, source: Format, target: Format) -> Candidate:
    def cast(x: Any) -> Any:
        import onnxruntime

        loaded = session(models.cast(source.name, target.name, saturate))
        binding = loaded.io_binding()
        numbers = np.ascontiguousarray(x)
        value = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(numbers, models.kind(source.name))
        binding.bind_ortvalue_input("x", value)
        binding.bind_output("y")
        loaded.run_with_iobinding(binding)
        result = binding.get_outputs()[0]
        # NumPy has no dtype for most of these formats, so the bytes are read where they lie.
        size = -(-numbers.size * target.bits // 8)
        raw = np.frombuffer(ctypes.string_at(result.data_ptr(), size), np.uint8)
        if target.bits < 8:
            return unpack_bits(raw, target.bits, count=numbers.size)
        return raw.view(target.code_dtype)

    return cast


def _script(saturate: int, source: Format, target: Format) -> tuple[str, str]:
    """As above: NumPy has no dtype for most of these formats, so the bytes are read where they lie."""
    lines = [
        "import ctypes",
        "import onnx",
        "import onnxruntime as ort",
        "",
        models.script(source, target, saturate),
        "",
        "def cast(x):",
        "    session = ort.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])",
        "    binding = session.io_binding()",
        f"    kind = onnx.TensorProto.{models.name_of(source.name)}",
        "    value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(x, kind)",
        "    binding.bind_ortvalue_input('x', value)",
        "    binding.bind_output('y')",
        "    session.run_with_iobinding(binding)",
        "    result = binding.get_outputs()[0]",
        f"    size = x.size * {target.code_dtype.itemsize}",
        "    return np.frombuffer(ctypes.string_at(result.data_ptr(), size), np.uint8)",
    ]
    return "\n".join(lines), "cast(x)"


def _quantize(code: str) -> Candidate:
    def quantize(x: Any, step: float, zero_point: int) -> Any:
        feeds = {"x": x, "s": np.asarray(step, x.dtype), "z": np.asarray(zero_point, code)}
        return session(models.quantize(x.dtype.name, code)).run(None, feeds)[0]

    return quantize


def _dynamic(x: Any) -> Any:
    codes, step, zero_point = session(models.dynamic()).run(None, {"x": x})
    return codes, float(step), int(zero_point)


def _cases() -> tuple[Case, ...]:
    run = "ort.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider']).run(None, {})"
    scripts = quantize_scripts("import onnx\nimport onnxruntime as ort", run)
    return (*cast_cases(_cast, "onnxruntime", _script), *quantize_cases(_quantize, _dynamic, *scripts))


ADAPTER = Adapter("onnxruntime", "ONNX Runtime on the CPU", ("onnxruntime", "onnx"), _cases)
