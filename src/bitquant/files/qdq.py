"""An ONNX model whose weights are ours: codes as initialisers, each with a DequantizeLinear in front of what uses it.

# Design:
# A. The node gives the weight's own name: nothing else of the graph changes.
# B. DequantizeLinear is (code − zero point) · scale in the scale's format (ONNX operators, opset 10 to 25). So the step
#    is rounded to the weight's format first and the codes are exact for it: the product is rounded once, and is what we
#    dequantize to. In the asymmetric scheme the range includes zero, so that the zero point is a code, as ONNX wants.
# C. How many bytes each tensor will take is known before its first number is read, and so is the byte at which it will
#    begin. The message is written first, with gaps, which are filled in any order.
# D. A message ends at 2 GB. What would be longer has its large initialisers in a second file, of which it says the
#    name. That name is new in each run. The second file takes its place first: until the model takes its own, the old
#    model stands, and the file that it names is as it was. What only the replaced model named is then removed.
#    A process that is killed between the two leaves a whole second file that no model names. It is not looked
#    for later: a model that was renamed would look the same.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.layouts import Layout
from bitquant.files.onnx import RAW, ONNXSource, Payload, library, tensors_of
from bitquant.files.output import replaced
from bitquant.files.protobuf import LARGEST, Wire, exchanged
from bitquant.files.recipe import Options
from bitquant.files.sink import Planned, Sink
from bitquant.files.slabs import Slab
from bitquant.files.source import Entry, Source
from bitquant.files.work import Advance, Work
from bitquant.quantize import Quantized, dequantize

__all__ = ["QDQ"]

_PARTS = ("quantized", "scale", "zero_point")
_STEPS = ("float32", "float16", "bfloat16")  # the types of DequantizeLinear's scale
# From which opset DequantizeLinear can do what (ONNX's Operators.md).
_AT_ALL, _ALONG_AXIS, _OTHER_STEPS, _GROUPS = 10, 13, 19, 21
_PAGE = 1 << 12  # of memory: tensors in a second file begin at one (ONNX's ExternalData.md), and take one at least
_COPIED = 1 << 22  # bytes at a time


class QDQ(Layout):
    """How quantized initialisers lie in a model."""

    def __init__(self, source: Source) -> None:
        assert isinstance(source, ONNXSource)
        self.source, self.onnx = source, library()
        self._inputs = {value.name for value in source.model.graph.input}

    def options(self, entry: Entry, options: Options) -> Options:
        return replace(options, step_format=entry.dtype.name, include_zero=True)

    def why_not(self, entry: Entry, options: Options) -> str:
        if entry.dtype.name not in _STEPS:
            return entry.dtype.name
        if entry.name in self._inputs:
            return "an input of the graph too"
        return "" if entry.shape else "scalar"

    def check(self, works: Mapping[str, Work], names: Mapping[str, Entry]) -> None:
        model, path = self.source.model, self.source.path
        opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
        taken = names.keys() | {name for node in model.graph.node for name in node.output}
        for name, work in works.items():
            needs = _opset(work)
            if opset < needs:
                raise BitquantError(
                    f"{path}: {name!r} needs opset {needs} and the model has {opset}: convert it with "
                    "onnx.version_converter"
                )
            for part in self.planned(work):
                if part.name in taken:
                    raise BitquantError(
                        f"{path}: {part.name!r} is a name of its own, and where a part of {name!r} goes: rename it"
                    )

    def planned(self, work: Work) -> list[Planned]:
        """The codes, the steps, which ONNX calls scale, and the zero points, of the codes' type."""
        fmt, codes, steps = work.empty.step_format, np.asarray(work.empty.codes).dtype, work.granularity.parameter_shape
        assert fmt is not None
        kinds = ((work.entry.shape, codes), (steps, fmt.array_dtype), (steps, codes))
        return [Planned(name, *kind) for name, kind in zip(_names(work), kinds, strict=True)]

    def pieces(self, work: Work, slab: Slab, item: Quantized) -> Iterator[tuple[str, NDArray[Any]]]:
        codes, scale, zero_point = self.planned(work)
        yield codes.name, np.asarray(item.codes)
        if not work.slabs.spanning or not slab.start:  # else the steps are those of the first
            yield scale.name, item.parameters.float_steps().astype(scale.dtype)
            yield zero_point.name, item.parameters.zero_points.astype(zero_point.dtype)

    def values(self, work: Work, slab: Slab, source: Source) -> NDArray[Any]:
        codes, *steps = _names(work)
        step, zero_point = (source.read(part, slab.first, slab.last) for part in steps)
        found: NDArray[Any] = dequantize(
            source.read(codes, slab.start, slab.stop).reshape(slab.shape),
            step=step,
            zero_point=zero_point,
            block_shape=slab.block,
            dtype=work.empty.step_format,
        )
        return found

    @contextmanager
    def created(
        self,
        source: Source,
        works: Mapping[str, Work],
        output: Path,
        overwrite: bool,
        beside: Mapping[Path, str] | None,
    ) -> Iterator[Sink]:
        model = self._model(works)
        self._check_model(model, output)
        message, second = self._pieces(model), None
        real = Path(os.path.realpath(output))
        if sum(map(len, message)) > LARGEST:
            second = real.with_name(f"{real.name}.{secrets.token_hex(4)}.data")
            apart = self._put_apart(model, second.name)
            message = self._pieces(model)
        if sum(map(len, message)) > LARGEST:
            raise BitquantError(
                f"{output} would be a message of more than 2 GB without its large tensors, which ONNX does not have: "
                "give a smaller model"
            )
        earlier = _seconds_of(real) - self.source.files.keys()
        with ExitStack() as stack:
            if second is not None:
                stack.enter_context(_removed_unless_named(second, real))
            file = stack.enter_context(replaced(output, overwrite, beside))
            planned = [part for work in works.values() for part in self.planned(work)]
            sink = _ModelSink(file, output, planned, {}, 0)
            sink.take(file, message)
            if second is not None:
                data = stack.enter_context(replaced(second, overwrite=False))
                sink.take(data, apart)
                sink.seconds[second.name] = Path(data.name)
            yield sink
            sink.finish()
        for path in earlier - {second}:
            with suppress(OSError):
                path.unlink()

    def keep(self, source: Source, entry: Entry, sink: Sink, advance: Advance) -> None:
        assert isinstance(sink, _ModelSink)
        left = entry.nbytes
        for count in sink.copied(entry.name):
            advance(entry.name, count)
            left -= count
        advance(entry.name, left)

    def back(self, sink: Sink) -> Source:
        assert isinstance(sink, _ModelSink)
        return ONNXSource(sink.temporary, sink.seconds)

    def _model(self, works: Mapping[str, Work]) -> Any:
        """The model that is written, with something in the place of each payload."""
        model = self.onnx.ModelProto()
        model.CopyFrom(self.source.model)
        graph, places = model.graph, self.source.places
        kept = [proto for proto in graph.initializer if proto.name not in works]
        rest = list(graph.node)
        del graph.initializer[:]
        del graph.node[:]
        graph.initializer.extend(kept)
        graph.node.extend([*(self._node(work) for work in works.values()), *rest])
        for name, proto in [
            *((proto.name, proto) for proto in graph.initializer),
            *(("", one) for one in tensors_of(model)),
        ]:
            found = self.source.payload(proto)
            if found is not None and not found.name:
                proto.raw_data = places.text(replace(found, name=name))
                proto.ClearField("data_location")
                proto.ClearField("external_data")
        for part in (part for work in works.values() for part in self.planned(work)):
            kind = self.onnx.helper.np_dtype_to_tensor_dtype(part.dtype)
            text = places.text(Payload(part.count * part.dtype.itemsize, name=part.name))
            graph.initializer.add(name=part.name, data_type=kind, dims=part.shape, raw_data=text)
        return model

    def _node(self, work: Work) -> Any:
        name, granularity, how = work.entry.name, work.granularity, {}
        if granularity.axis is not None:
            how = {"axis": granularity.axis}
        elif granularity.parameter_shape:
            axis = next(k for k, size in enumerate(granularity.block) if size > 1)
            how = {"axis": axis, "block_size": granularity.block[axis]}
        return self.onnx.helper.make_node("DequantizeLinear", _names(work), [name], f"{name}_dequantize", **how)

    def _check_model(self, model: Any, output: Path) -> None:
        """Have onnx check the model, with empty tensors in the place of large ones."""
        checked = self.onnx.ModelProto()
        checked.CopyFrom(model)
        for proto in tensors_of(checked):
            found = self.source.places.item(proto.raw_data)
            if found is not None:
                proto.raw_data = bytes(found.size if not proto.dims else 0)
                proto.dims[:1] = [0] * len(proto.dims[:1])
        try:
            self.onnx.checker.check_model(checked.SerializeToString())
        except self.onnx.checker.ValidationError as error:
            reason = (str(error).splitlines() or [""])[0][:160]
            raise BitquantError(
                f"{output} would be no valid model ({reason}): check the model that was given"
            ) from error

    def _pieces(self, model: Any) -> list[Any]:
        """The bytes of the message, and the payloads between them."""
        data, places = model.SerializeToString(), self.source.places
        wire = Wire(len(data), lambda at, count: data[at : at + count], "the model")
        found = exchanged(
            wire,
            model.DESCRIPTOR,
            RAW,
            lambda field, start, stop: places.among(data, start, stop),
            lambda start, stop: places.item(data[start:stop]),
        )
        return [data[part.start : part.stop] if isinstance(part, range) else part for part in found]

    def _put_apart(self, model: Any, file: str) -> list[Any]:
        """Say of the large initialisers that they are in a second file, and give what it is made of (Design D)."""
        found: list[Any] = []
        end = 0
        for proto in model.graph.initializer:
            payload = self.source.places.item(proto.raw_data)
            if payload is not None and payload.size >= _PAGE:
                found += [payload, bytes(-payload.size % _PAGE)]
                proto.ClearField("raw_data")
                self._say(proto, file, end, payload.size)
                end += sum(map(len, found[-2:]))
        return found

    def _say(self, proto: Any, file: str, offset: int, size: int) -> None:
        proto.data_location = self.onnx.TensorProto.EXTERNAL
        for key, value in (("location", file), ("offset", offset), ("length", size)):
            proto.external_data.add(key=key, value=str(value))


@dataclass(frozen=True)
class _Gap:
    """Where a payload goes."""

    payload: Payload
    file: BinaryIO
    offset: int


class _ModelSink(Sink):
    """The files of a model that is being written: gaps are filled in any order (Design C)."""

    interleaved = True

    def __init__(
        self, file: BinaryIO, path: Path, planned: Iterable[Planned], metadata: Mapping[str, str], room: int
    ) -> None:
        super().__init__(file, path, planned, metadata, room)
        self.seconds: dict[str, Path] = {}
        self._gaps: dict[str, list[_Gap]] = {}

    def take(self, file: BinaryIO, pieces: Iterable[Any]) -> None:
        """Write a file but for its gaps."""
        end = 0
        for piece in pieces:
            if isinstance(piece, Payload):
                self._gaps.setdefault(piece.name, []).append(_Gap(piece, file, end))
            else:
                self._put(np.frombuffer(piece, np.uint8), end, file)
            end += len(piece)
        file.truncate(end)

    def copied(self, name: str) -> Iterator[int]:
        """Fill the gaps of this name from the files of the given model; gives the bytes of each step."""
        for gap in self._gaps.pop(name, ()):
            source, done = gap.payload.file, 0
            assert source is not None
            while done < gap.payload.size:
                piece = np.empty(min(_COPIED, gap.payload.size - done), np.uint8)
                source.fill(piece, gap.payload.offset + done, f"{source.path}: {name!r}")
                self._put(piece, gap.offset + done, gap.file)
                done += piece.size
                yield piece.size

    def _write(self, tensor: Planned, start: int, piece: NDArray[Any]) -> None:
        (gap,) = self._gaps[tensor.name]
        little = piece.astype(tensor.dtype.newbyteorder("<"), copy=False)
        self._put(little.view(np.uint8), gap.offset + start * tensor.dtype.itemsize, gap.file)

    def _finish(self) -> None:
        for _ in self.copied(""):  # of tensors in nodes
            pass


def _names(work: Work) -> list[str]:
    return [f"{work.entry.name}_{part}" for part in _PARTS]


def _opset(work: Work) -> int:
    """From which opset DequantizeLinear can do this."""
    groups = bool(work.granularity.parameter_shape) and work.granularity.axis is None
    needs = _GROUPS if groups else _AT_ALL if work.granularity.axis is None else _ALONG_AXIS
    return needs if work.entry.dtype.name == "float32" else max(needs, _OTHER_STEPS)


def _seconds_of(model: Path) -> set[Path]:
    """The files that were made with a model, where it names them."""
    ours = re.compile(re.escape(model.name) + r"\.[0-9a-f]{8}\.data")
    try:
        source = ONNXSource(model)
    except BitquantError:
        return set()
    source.close()
    return {path for path in source.files if path.parent == model.parent and ours.fullmatch(path.name)}


@contextmanager
def _removed_unless_named(path: Path, model: Path) -> Iterator[None]:
    """Remove a file if the block fails, unless the model has come to its place for all that."""
    try:
        yield
    except BaseException:
        if path not in _seconds_of(model):
            path.unlink(missing_ok=True)
        raise
