"""`.onnx`: the initialisers of a model's graph, in the file or in those that it names.

A model is one protobuf message; larger ones keep their numbers in files of their own ("external data").

# Design:
# A. The message may be as large as all its numbers. Large `raw_data` is left where it is (protobuf.py), and the rest,
#    which the onnx library reads, has a short text in its place. Numbers in other fields (`float_data` and the like, a
#    form for small tensors), and the two tensors that a sparse one is made of, are in memory with the rest.
# B. From then on it makes no difference where the bytes of a tensor lie: in the model, or in a file beside it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.protobuf import LARGEST, Places, Wire, exchanged
from bitquant.files.source import Descriptor, Entry, Source
from bitquant.formats import format

__all__ = ["RAW", "ONNXSource", "Payload", "library", "tensors_of"]

RAW = "onnx.TensorProto.raw_data"

_SPARSE = "onnx.SparseTensorProto"
_SMALL = 1 << 10  # bytes that stay in the message: shapes, axes, scales


def library() -> Any:
    """The onnx library."""
    try:
        import onnx
    except ImportError:
        raise BitquantError(".onnx needs the onnx library: pip install 'bitquant[onnx]'") from None
    return onnx


def tensors_of(message: Any) -> Iterator[Any]:
    """Every tensor in a message, those of nodes and of graphs in nodes too; but those that a sparse one is made of."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in (value,) if hasattr(value, "ListFields") else value:
            if item.DESCRIPTOR.full_name == "onnx.TensorProto":
                yield item
            elif item.DESCRIPTOR.full_name != _SPARSE:
                yield from tensors_of(item)


@dataclass(frozen=True)
class Payload:
    """The bytes of a tensor.

    Attributes
    ----------
    size : int
    file : Descriptor or None
        The file that they lie in, from byte `offset` on; None where they are yet to be made.
    offset : int
    name : str
        Of the tensor, where that is known.
    """

    size: int
    file: Descriptor | None = None
    offset: int = 0
    name: str = ""

    def __len__(self) -> int:
        return self.size


class ONNXSource(Source):
    """The initialisers of an ONNX model.

    Attributes
    ----------
    model : onnx.ModelProto
        Without large payloads.
    places : Places of Payload
        What stands in `model` in their places.
    files : dict of pathlib.Path to Descriptor
        The files that are open: the model, and those with external data.
    """

    def __init__(self, path: str | os.PathLike[str], moved: Mapping[str, Path] | None = None) -> None:
        """Open a model; `moved` has the paths of external data that are not in their place yet, by location."""
        self.path = Path(path)
        self._onnx = library()
        self._moved = moved or {}
        self.places: Places[Payload] = Places()
        self.files: dict[Path, Descriptor] = {}
        self.tensors = {}
        self._protos: dict[str, Any] = {}
        self._payloads: dict[str, Payload] = {}
        self._latest: tuple[str, NDArray[Any]] = "", np.empty(0)
        try:
            self.model = self._message(self._opened(self.path))
            self.metadata = {prop.key: prop.value for prop in self.model.metadata_props}
            for proto in self.model.graph.initializer:
                self._add(proto)
        except BaseException:
            self.close()
            raise

    def _opened(self, path: Path) -> Descriptor:
        if path not in self.files:
            self.files[path] = Descriptor(path)
        return self.files[path]

    def _message(self, file: Descriptor) -> Any:
        """The model without its large payloads (Design A)."""
        unreadable = f"{self.path} is no readable .onnx file"

        def fetch(offset: int, count: int) -> bytes:
            return file.bytes(offset, count, str(self.path))

        def enter(field: Any, start: int, stop: int) -> bool:
            sparse = field.message_type is not None and field.message_type.full_name == _SPARSE
            return stop - start >= _SMALL and not sparse

        def exchange(start: int, stop: int) -> bytes:
            return self.places.text(Payload(stop - start, file, start))

        pieces = exchanged(
            Wire(file.size, fetch, unreadable),
            self._onnx.ModelProto.DESCRIPTOR,
            RAW,
            enter,
            exchange,
        )
        if sum(map(len, pieces)) > LARGEST:
            raise BitquantError(f"{unreadable} (it is of more than 2 GB, without its tensors): copy or write it again")
        try:
            parts: Any = (fetch(part.start, len(part)) if isinstance(part, range) else part for part in pieces)
            model = self._onnx.load_from_string(b"".join(parts))
        except Exception as error:  # protobuf's own
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise BitquantError(f"{unreadable} ({reason}): copy or write it again") from error
        if not model.ir_version or not model.HasField("graph"):
            raise BitquantError(f"{unreadable} (it has no graph): copy or write it again")
        return model

    def _add(self, proto: Any) -> None:
        name = proto.name
        if not isinstance(name, str):  # protobuf leaves bytes that are no UTF-8 as they are
            raise BitquantError(f"{self.path} has an initialiser called {name!r}, which is no text: write it again")
        if name in self.tensors:
            raise BitquantError(f"{self.path}: there are two initialisers called {name!r}: write the model again")
        stored, dtype, shape = self._kind(proto)
        found = self.payload(proto)
        self._protos[name] = proto
        if found is None or found.file is None or dtype == np.dtype(object) or proto.HasField("segment"):
            self.tensors[name] = Entry(name, shape, dtype, stored, self.path, None, proto.ByteSize())
        else:
            self._payloads[name] = found
            self.tensors[name] = Entry(name, shape, dtype, stored, found.file.path, found.offset, found.size)

    def _kind(self, proto: Any) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
        """What the numbers of a tensor are called, and are; and its shape."""
        place, stored, shape = f"{self.path}: {proto.name!r}", str(proto.data_type), tuple(proto.dims)
        try:
            stored = self._onnx.TensorProto.DataType.Name(proto.data_type)
            dtype = np.dtype(self._onnx.helper.tensor_dtype_to_np_dtype(proto.data_type))
        except (KeyError, ValueError):
            raise BitquantError(f"{place} is of the unknown type {stored}: update onnx") from None
        if any(length < 0 for length in shape):
            raise BitquantError(f"{place} has the impossible shape {shape}: write the model again")
        return stored, dtype, shape

    def payload(self, proto: Any) -> Payload | None:
        """Where the bytes of a tensor are, if they are not in `model`."""
        external = proto.data_location == self._onnx.TensorProto.EXTERNAL
        if not external and self.places.item(proto.raw_data) is None:
            return None
        _, dtype, shape = self._kind(proto)
        needed = -(-math.prod(shape) * _bits(dtype) // 8)
        found = self._external(proto, needed) if external else self.places.item(proto.raw_data)
        assert found is not None
        assert found.file is not None
        size = found.file.size
        if found.offset < 0 or found.offset + found.size > size or (found.size != needed and dtype != np.dtype(object)):
            raise BitquantError(
                f"{found.file.path}: {proto.name!r} (from byte {found.offset}) of shape {shape} is {needed} bytes, the "
                f"model says {found.size} and the file has {size}: copy or write it again"
            )
        return found

    def _external(self, proto: Any, needed: int) -> Payload:
        """What a tensor says of its external data."""
        place = f"{self.path}: {proto.name!r}"
        said = {item.key: item.value for item in proto.external_data}
        where = said.get("location", "")
        try:
            file = self._moved.get(where) or (self.path.parent / where).resolve()
            offset, size = int(said.get("offset", 0)), int(said.get("length", needed))
        except (ValueError, TypeError, OSError, RuntimeError):  # of numbers, and of names that no file can have
            raise BitquantError(f"{place} has no readable offset, length and location: write the model again") from None
        if not where or not (where in self._moved or self.path.parent.resolve() in file.parents):
            raise BitquantError(f"{place} is to lie in {where!r}, outside of the model's folder: move it there")
        return Payload(size, self._opened(file), offset)

    def _read(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        found, bits = self._payloads.get(entry.name), _bits(entry.dtype)
        if found is None:
            return self._whole(entry).reshape(-1)[start:stop].copy()
        assert found.file is not None
        if bits == 8 * entry.dtype.itemsize:
            numbers = np.empty(stop - start, entry.dtype)
            found.file.fill(numbers.view(np.uint8), found.offset + start * entry.dtype.itemsize, entry.place)
            return numbers
        first = start // 8 * 8  # eight codes of b bits begin at a byte
        data = found.file.bytes(found.offset + first * bits // 8, -(-(stop - first) * bits // 8), entry.place)
        kind = self._protos[entry.name].data_type
        piece = self._onnx.TensorProto(data_type=kind, dims=[stop - first], raw_data=data)
        return np.array(self._onnx.numpy_helper.to_array(piece)[start - first :])

    def _whole(self, entry: Entry) -> NDArray[Any]:
        """A tensor that is in `model`, as the library gives it; the latest one is kept."""
        name, latest = self._latest
        if name == entry.name:
            return latest
        try:
            found: NDArray[Any] = self._onnx.numpy_helper.to_array(self._protos[entry.name], str(self.path.parent))
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise BitquantError(f"{entry.place} is damaged ({reason}): write the model again") from error
        if found.shape != entry.shape:
            raise BitquantError(f"{entry.place} is damaged, its numbers do not fill its shape: write the model again")
        self._latest = entry.name, found
        return found

    def close(self) -> None:
        """Let go of the files."""
        for file in self.files.values():
            file.close()


def _bits(dtype: np.dtype[Any]) -> int:
    """Of a number in a file: small ones share bytes there."""
    return 8 * dtype.itemsize if dtype.type.__module__ == "numpy" else format(dtype).bits
