"""An ONNX model whose weights are ours: codes as initialisers, each with a DequantizeLinear in front of what uses it.

# Design:
# A. The node gives the weight's own name: nothing else of the graph changes.
# B. DequantizeLinear is (code − zero point) · scale in the scale's format (ONNX operators, opset 10 to 25). So the step
#    is rounded to the weight's format first and the codes are exact for it: the product is rounded once, and is what we
#    dequantize to. In the asymmetric scheme the range includes zero, so that the zero point is a code, as ONNX wants.
# C. A model is one message in memory, and is written whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.calibrate import calibrate
from bitquant.errors import BitquantError
from bitquant.files.model import Result, check_floats
from bitquant.files.onnx import ONNXSource, library, load_model
from bitquant.files.output import check_place, replaced
from bitquant.files.recipe import Options
from bitquant.files.source import Entry
from bitquant.files.work import Advance, Work
from bitquant.quantize import Quantized, dequantize, quantize

__all__ = ["quantize_model"]

_PARTS = ("quantized", "scale", "zero_point")
_STEPS = ("float32", "float16", "bfloat16")  # the types of DequantizeLinear's scale
# From which opset DequantizeLinear can do what (ONNX's Operators.md).
_AT_ALL, _ALONG_AXIS, _OTHER_STEPS, _GROUPS = 10, 13, 19, 21
_LARGEST = (1 << 31) - 1  # bytes of a protobuf message


def quantize_model(
    source: Path,
    output: Path,
    chosen: Callable[[str], Options | str],
    row: Callable[..., dict[str, Any]],
    *,
    overwrite: bool,
    verify: bool,
    start: Callable[[int], Advance],
) -> Result:
    """Quantize the initialisers of a model: what `quantize_file` does for `.onnx`."""
    check_place(output, overwrite, source)
    if not source.name.lower().endswith(".onnx"):
        raise BitquantError(f"{output} is made from a model: give an .onnx file instead of {source}")
    onnx, model, result = library(), load_model(source), Result()
    graph = model.graph
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    taken = {proto.name for proto in graph.initializer} | {name for node in graph.node for name in node.output}
    given = {value.name for value in graph.input}
    nodes, parts, replaced_names, checks = [], [], set(), []
    with ONNXSource(source) as opened:
        check_floats(source, [opened])
        advance = start(sum(entry.nbytes for entry in opened.tensors.values()))
        for name, entry in opened.tensors.items():
            options = chosen(name)
            why = _why_not(entry, given) or (options if isinstance(options, str) else "")
            if why or isinstance(options, str):
                result.kept[name] = why
                advance(name, entry.nbytes)
                continue
            work = Work(opened, entry, replace(options, step_format=entry.dtype.name, include_zero=True))
            _check_opset(source, name, work, opset)
            numbers = opened.array(name)
            found = _quantized(numbers, work)
            tensors = _tensors(name, found)
            for part in tensors:
                if part in taken:
                    raise BitquantError(f"{source}: {part!r} is a name of its own, and where a part of {name!r} goes")
            nodes.append(_node(onnx, name, work))
            parts += [onnx.numpy_helper.from_array(np.asarray(x, order="C"), part) for part, x in tensors.items()]
            replaced_names.add(name)
            checks.append((tensors, work, found))
            result.rows.append(row(work, found, found.error(numbers), sum(x.nbytes for x in tensors.values())))
            advance(name, entry.nbytes)
    if not nodes:
        raise BitquantError(f"no tensor of {source} is left to quantize: give other --only and --skip patterns")
    _put(onnx, model, source, nodes, parts, replaced_names)
    data = _serialized(onnx, model, output)
    if verify:
        for tensors, work, found in checks:
            _compare(onnx, data, tensors, work, found, output)
    with replaced(output, overwrite) as file:
        file.write(data)
    return result


def _why_not(entry: Entry, given: set[str]) -> str:
    if not entry.is_float or entry.dtype.name not in _STEPS:
        return entry.dtype.name
    if entry.name in given:
        return "an input of the graph too"
    return "" if entry.count and entry.shape else "empty" if entry.shape else "scalar"


def _check_opset(source: Path, name: str, work: Work, opset: int) -> None:
    groups = bool(work.granularity.parameter_shape) and work.granularity.axis is None
    needs = _GROUPS if groups else _AT_ALL if work.granularity.axis is None else _ALONG_AXIS
    if work.entry.dtype.name != "float32":
        needs = max(needs, _OTHER_STEPS)
    if opset < needs:
        raise BitquantError(
            f"{source}: {name!r} needs opset {needs} and the model has {opset}: convert it with onnx.version_converter"
        )


def _quantized(numbers: NDArray[Any], work: Work) -> Quantized:
    options, granularity = work.options, work.granularity
    block = granularity.block if granularity.parameter_shape and granularity.axis is None else None
    where: dict[str, Any] = {"axis": granularity.axis, "block_shape": block}
    limits: Any = options.range
    with work._named():
        if options.calibrate is not None:
            words: dict[str, Any] = {word: value for word, value in options.mapping.items() if word != "rounding"}
            words["method"] = options.calibrate
            limits = calibrate(numbers, **where, **words, **options.calibration)
        return quantize(numbers, range=limits, **where, **options.mapping)


def _tensors(name: str, found: Quantized) -> dict[str, NDArray[Any]]:
    """What is stored: the codes, the steps, which ONNX calls scale, and the zero points, of the codes' type."""
    assert found.step_format is not None
    codes = np.asarray(found.codes)
    arrays = (codes, np.asarray(found.step), np.asarray(found.zero_point))
    dtypes = (codes.dtype, found.step_format.array_dtype, codes.dtype)
    return {f"{name}_{part}": array.astype(dtype) for part, array, dtype in zip(_PARTS, arrays, dtypes, strict=True)}


def _node(onnx: Any, name: str, work: Work) -> Any:
    granularity, how = work.granularity, {}
    if granularity.axis is not None:
        how = {"axis": granularity.axis}
    elif granularity.parameter_shape:
        axis = next(k for k, size in enumerate(granularity.block) if size > 1)
        how = {"axis": axis, "block_size": granularity.block[axis]}
    inputs = [f"{name}_{part}" for part in _PARTS]
    return onnx.helper.make_node("DequantizeLinear", inputs, [name], f"{name}_dequantize", **how)


def _put(onnx: Any, model: Any, source: Path, nodes: list[Any], parts: list[Any], names: set[str]) -> None:
    """Exchange initialisers for codes and nodes; what lay beside the model is taken into it."""
    graph = model.graph
    kept = [proto for proto in graph.initializer if proto.name not in names]
    rest = list(graph.node)
    del graph.initializer[:]
    del graph.node[:]
    graph.initializer.extend([*kept, *parts])
    graph.node.extend([*nodes, *rest])
    onnx.external_data_helper.load_external_data_for_model(model, str(source.parent))


def _serialized(onnx: Any, model: Any, output: Path) -> bytes:
    if model.ByteSize() > _LARGEST:
        raise BitquantError(
            f"{output} would be a message of more than 2 GB, which ONNX does not have: quantize more of it"
        )
    data: bytes = model.SerializeToString()
    try:
        onnx.checker.check_model(data)
    except onnx.checker.ValidationError as error:
        reason = (str(error).splitlines() or [""])[0][:160]
        raise BitquantError(f"{output} would be no valid model ({reason}): check the model that was given") from error
    return data


def _compare(
    onnx: Any, data: bytes, tensors: dict[str, NDArray[Any]], work: Work, found: Quantized, output: Path
) -> None:
    """Dequantize what will be written, by its own steps, and compare it with what was meant, bit for bit."""
    protos = {proto.name: proto for proto in onnx.load_from_string(data).graph.initializer}
    codes, step, point = (onnx.numpy_helper.to_array(protos[name]) for name in tensors)
    granularity, target = work.granularity, work.entry.dtype
    block = granularity.block if granularity.parameter_shape and granularity.axis is None else None
    back = dequantize(codes, step=step, zero_point=point, axis=granularity.axis, block_shape=block, dtype=target)
    if np.asarray(back).tobytes() != np.asarray(found.dequantize(target)).tobytes():
        raise BitquantError(f"{output}: {work.entry.name!r} does not read back as it was written: nothing was changed")
