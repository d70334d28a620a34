"""`.onnx`: the initialisers of a model's graph, in the file or in those that it names.

A model is one protobuf message, which the onnx library reads whole (such a message is never larger than 2 GB); larger
models keep their weights in files of their own ("external data"), of which only the numbers asked for are read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.source import Descriptor, Entry, Source

__all__ = ["ONNXSource", "library", "load_model"]


def library() -> Any:
    """The onnx library."""
    try:
        import onnx
    except ImportError:
        raise BitquantError(".onnx needs the onnx library: pip install 'bitquant[onnx]'") from None
    return onnx


def load_model(path: str | os.PathLike[str]) -> Any:
    """The model in a file, external data left where they are."""
    onnx = library()
    Descriptor(path).close()  # for the errors of files that are not there
    try:
        model = onnx.load(os.fspath(path), load_external_data=False)
    except Exception as error:  # protobuf's own, and the system's
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise BitquantError(f"{path} is no readable .onnx file ({reason}): copy or write it again") from error
    if not model.ir_version or not model.HasField("graph"):
        raise BitquantError(f"{path} is no readable .onnx file (it has no graph): copy or write it again")
    return model


class ONNXSource(Source):
    """The initialisers of an ONNX model."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._onnx = library()
        self._files: dict[Path, Descriptor] = {}
        model = load_model(path)
        self.metadata = {prop.key: prop.value for prop in model.metadata_props}
        self._protos = {}
        self.tensors = {}
        for proto in model.graph.initializer:
            if proto.name in self.tensors:
                raise BitquantError(f"{path}: there are two initialisers called {proto.name!r}: write the model again")
            self._protos[proto.name] = proto
            self.tensors[proto.name] = self._entry(proto)

    def _entry(self, proto: Any) -> Entry:
        stored = self._onnx.TensorProto.DataType.Name(proto.data_type)
        try:
            dtype = np.dtype(self._onnx.helper.tensor_dtype_to_np_dtype(proto.data_type))
        except KeyError:
            raise BitquantError(f"{self.path}: {proto.name!r} is of the unknown type {stored}: update onnx") from None
        shape = tuple(proto.dims)
        if any(length < 0 for length in shape):
            raise BitquantError(f"{self.path}: {proto.name!r} has the impossible shape {shape}: write the model again")
        plain = Entry(proto.name, shape, dtype, stored, self.path, None, proto.ByteSize())
        if proto.data_location != self._onnx.TensorProto.EXTERNAL:
            return plain
        said = {item.key: item.value for item in proto.external_data}
        where = said.get("location", "")
        file = (self.path.parent / where).resolve()
        if not where or self.path.parent.resolve() not in file.parents:
            raise BitquantError(f"{plain.place} is to lie in {where!r}, outside of the model's folder: move it there")
        if file not in self._files:
            self._files[file] = Descriptor(file)
        try:
            offset, length = int(said.get("offset", 0)), int(said.get("length", plain.count * dtype.itemsize))
        except ValueError:
            raise BitquantError(f"{plain.place} has no readable offset and length: write the model again") from None
        packed = dtype.type.__module__ != "numpy" and stored.endswith("4")  # two to a byte
        needed = -(-plain.count // 2) if packed else plain.count * dtype.itemsize
        if offset < 0 or length != needed or offset + needed > self._files[file].size:
            raise BitquantError(
                f"{file}: {proto.name!r} (from byte {offset}) of shape {shape} is {needed} bytes, the model says "
                f"{length} and the file has {self._files[file].size}: copy or write it again"
            )
        return Entry(proto.name, shape, dtype, stored, file, offset, needed)

    def _read(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        if entry.offset is None or entry.nbytes != entry.count * entry.dtype.itemsize:
            return self._whole(entry).reshape(-1)[start:stop].copy()
        numbers = np.empty(stop - start, entry.dtype)
        size = entry.dtype.itemsize
        self._files[entry.file].fill(numbers.view(np.uint8), entry.offset + start * size, entry.place)
        return numbers

    def _whole(self, entry: Entry) -> NDArray[Any]:
        """A tensor as the library gives it: one inside the model, or one whose numbers are packed."""
        try:
            found: NDArray[Any] = self._onnx.numpy_helper.to_array(self._protos[entry.name], str(self.path.parent))
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise BitquantError(f"{entry.place} is damaged ({reason}): write the model again") from error
        if found.shape != entry.shape:
            raise BitquantError(f"{entry.place} is damaged, its numbers do not fill its shape: write the model again")
        return found

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()
