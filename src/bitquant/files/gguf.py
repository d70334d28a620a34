"""`.gguf`: plain numbers, and blocks of 32 that share a step, through the gguf library's header and our own blocks.

# Design:
# A. The library reads and writes the header. It takes whatever lies beyond the end of a file for empty arrays, and
#    walks as far as a lying length says: here every look past the end is an error.
# B. The numbers are read and written here, a piece at a time, and decoded by `bitquant.blocks`, whose Q8_0, Q4_0 and
#    MXFP4 are held against the library byte by byte. A product of a step and an element is exact in FP32.
# C. A tensor that is to be stored in blocks is fed with floats like any other: `store` says how, before the first
#    number, because the header says it too. Numbers that do not fill a block yet are kept for the next piece.
# D. GGUF lists dimensions from the one whose numbers are neighbours; here shapes are NumPy's, the other way round.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from bitquant.blocks import quantize_blocks, unpack_blocks
from bitquant.blocks.table import block_format
from bitquant.errors import BitquantError
from bitquant.files.sink import Planned, Sink
from bitquant.files.source import Descriptor, Entry, Source
from bitquant.rules import choose

__all__ = ["BLOCKS", "GGUFSink", "GGUFSource"]

# GGML's names of types (ggml.h), as what their numbers are here.
_PLAIN: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F64": np.dtype("<f8"),
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
}
BLOCKS: Mapping[str, str] = {
    "q8_0": "blocks of 32 with an FP16 step and codes of 8 bits",
    "q4_0": "blocks of 32 with an FP16 step and codes of 4 bits",
    "mxfp4": "OCP MXFP4: blocks of 32 with a power of two and E2M1 elements",
}
_UNREADABLE = np.dtype("V1")  # of types that are listed and not read
_LONGEST_NAME, _MOST_DIMENSIONS = 63, 4  # GGML_MAX_NAME and GGML_MAX_DIMS of ggml.h
_ARCHITECTURE = "general.architecture"


def _library() -> Any:
    try:
        import gguf
    except ImportError:
        raise BitquantError(".gguf needs the gguf library: pip install 'bitquant[gguf]'") from None
    return gguf


class GGUFSource(Source):
    """A `.gguf` file; numbers in blocks are read as float32, which holds them exactly."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        library = _library()
        self._file = Descriptor(path)
        try:
            try:
                reader = _reader(library, self.path)
                _check_order(reader)
                text = [library.GGUFValueType.STRING]
                self.metadata = {name: field.contents() for name, field in reader.fields.items() if field.types == text}
            except OSError:
                raise
            except Exception as error:  # what a hostile header makes of a parser
                reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
                raise BitquantError(f"{path} is no readable .gguf file ({reason}): copy or write it again") from error
            entries = [_entry(self.path, tensor, library) for tensor in reader.tensors]
            self.tensors = self._named({entry.name: entry for entry in entries})
            _check_apart(self.tensors.values(), self._file.size)
        except BaseException:
            self.close()
            raise

    def _read(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        assert entry.offset is not None
        if entry.dtype == _UNREADABLE:
            raise BitquantError(f"{entry.place} is of type {entry.stored}, which is not read: leave it out")
        if entry.stored in _PLAIN:
            numbers = np.empty(stop - start, entry.dtype)
            self._file.fill(numbers.view(np.uint8), entry.offset + start * entry.dtype.itemsize, entry.place)
            return numbers
        name = entry.stored.lower()
        size, block = _record(name), block_format(name).block
        first, last = start // block, -(-stop // block)
        data = np.empty((last - first) * size, np.uint8)
        self._file.fill(data, entry.offset + first * size, entry.place)
        blocks = unpack_blocks(data, name, ((last - first) * block,), layout="gguf")
        found: NDArray[Any] = blocks.dequantize("float32")[start - first * block : stop - first * block]
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _reader(library: Any, path: Path) -> Any:
    """The library's reader, for which what lies beyond the end is an error (Design A)."""

    class Checked(library.GGUFReader):  # type: ignore[misc]  # a base class that is known only when it is opened
        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            end = int(offset) + np.dtype(dtype).itemsize * int(count)
            if end > self.data.size:
                raise ValueError(f"something is to end at byte {end}, and the file has {self.data.size}")
            return super()._get(int(offset), dtype, count, override_order)

    return Checked(path)


def _check_order(reader: Any) -> None:
    if reader.byte_order == "S":
        raise ValueError("it is big-endian")


def _entry(path: Path, tensor: Any, library: Any) -> Entry:
    stored, shape = tensor.tensor_type.name, tuple(int(n) for n in reversed(tensor.shape.tolist()))
    block, size = library.GGML_QUANT_SIZES[tensor.tensor_type]
    dtype = _PLAIN.get(stored, np.dtype(np.float32) if stored.lower() in BLOCKS else _UNREADABLE)
    count, offset = math.prod(shape), int(tensor.data_offset)
    if count % block or (shape and shape[-1] % block) or count // block * size != int(tensor.n_bytes):
        raise BitquantError(
            f"{path}: {tensor.name!r} (from byte {offset}) has the shape {shape}, which {stored} cannot have: "
            "write it again"
        )
    return Entry(tensor.name, shape, dtype, stored, path, offset, int(tensor.n_bytes))


def _check_apart(entries: Iterable[Entry], size: int) -> None:
    """No tensor overlaps another, or ends beyond the file."""
    end, before = 0, "the header"
    for entry in entries:
        assert entry.offset is not None
        if entry.offset < end:
            raise BitquantError(f"{entry.place} overlaps {before}, which ends at byte {end}: write the file again")
        end, before = entry.offset + entry.nbytes, repr(entry.name)
        if end > size:
            raise BitquantError(f"{entry.place} is to end at byte {end}, the file has {size}: copy it again")


def _record(name: str) -> int:
    """Bytes of a block with its scale."""
    row = block_format(name)
    return row.scale.code_dtype.itemsize + row.block * row.element.bits // 8


class GGUFSink(Sink):
    """A `.gguf` file that is being written."""

    def __init__(
        self, file: BinaryIO, path: Path, planned: Iterable[Planned], metadata: Mapping[str, str], room: int
    ) -> None:
        super().__init__(file, path, planned, metadata, room)
        self._library = _library()
        self._plain = {dtype.name: name for name, dtype in _PLAIN.items()}
        self._blocks: dict[str, str] = {}
        self._offsets: dict[str, int] | None = None
        self._waiting: dict[str, NDArray[Any]] = {}
        for tensor in self.planned.values():
            if len(tensor.name.encode()) > _LONGEST_NAME:
                raise BitquantError(
                    f"{path}: {tensor.name!r} is longer than {_LONGEST_NAME} bytes: give a shorter name"
                )
            if len(tensor.shape) > _MOST_DIMENSIONS:
                raise BitquantError(f"{path}: {tensor.name!r} has more than {_MOST_DIMENSIONS} dimensions: reshape it")
            if tensor.dtype.name not in self._plain:
                raise BitquantError(f"{path} has no name for {tensor.dtype} of {tensor.name!r}: write .npz")

    def store(self, name: str, blocks: str) -> None:
        """Say that a tensor of floats is to be stored in blocks; before the first number of any.

        Parameters
        ----------
        name : str
        blocks : {"q8_0", "q4_0", "mxfp4"}
            Scales and codes are those of `bitquant.quantize_blocks`, by ggml's own rule for the first two; of float64
            numbers, by the exact one.

        Raises
        ------
        BitquantError
            For a last dimension that is no multiple of 32, and once numbers have been written.
        """
        choose("blocks", blocks, dict(BLOCKS))
        tensor = self.planned[name]
        if self._offsets is not None:
            raise BitquantError(f"{self.path}: its header is written: say how {name!r} is stored before any number")
        if not tensor.shape or tensor.shape[-1] % block_format(blocks).block:
            raise BitquantError(
                f"{self.path}: {name!r} has rows of {tensor.shape[-1:] or 1}, no multiple of the {blocks} block of 32: "
                "store it plain"
            )
        self._blocks[name] = blocks

    def stored_bytes(self, name: str) -> int:
        """Bytes that a tensor takes in the file, stored as has been said."""
        tensor, blocks = self.planned[name], self._blocks.get(name)
        if blocks is None:
            return tensor.count * tensor.dtype.itemsize
        return tensor.count // block_format(blocks).block * _record(blocks)

    def _write(self, tensor: Planned, start: int, piece: NDArray[Any]) -> None:
        offset = self._begin()[tensor.name]
        name = self._blocks.get(tensor.name)
        if name is None:
            little = piece.astype(tensor.dtype.newbyteorder("<"), copy=False)
            self._put(little.view(np.uint8), offset + start * tensor.dtype.itemsize)
            return
        kept = self._waiting.pop(tensor.name, piece[:0])
        numbers = np.concatenate([kept, piece]) if kept.size else piece
        block = block_format(name).block
        ready = numbers.size // block * block
        self._waiting[tensor.name] = numbers[ready:]
        if ready:
            # ggml's rule computes in FP32, which does not hold FP64: those are rounded once, by the exact rule.
            rule = "exact" if tensor.dtype.itemsize == 8 and name != "mxfp4" else None
            data = quantize_blocks(numbers[:ready], name, scale_rule=rule).pack("gguf")
            self._put(data, offset + start // block * _record(name))

    def _begin(self) -> dict[str, int]:
        """Write the header, once; where each tensor begins."""
        if self._offsets is not None:
            return self._offsets
        library, kinds = self._library, self._library.GGMLQuantizationType
        logging.getLogger("gguf").setLevel(logging.WARNING)
        writer = library.GGUFWriter(self.temporary, self.metadata.get(_ARCHITECTURE, "unknown"))
        sizes = {}
        for name, text in self.metadata.items():
            if name != _ARCHITECTURE and not name.startswith("GGUF."):
                writer.add_string(name, text)
        for name, tensor in self.planned.items():
            kind = kinds[self._blocks.get(name, self._plain[tensor.dtype.name]).upper()]
            sizes[name] = self.stored_bytes(name)
            writer.add_tensor_info(name, tensor.shape or (1,), np.dtype(np.float32), sizes[name], kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        align = writer.data_alignment
        writer.close()
        offset = -(-os.fstat(self.file.fileno()).st_size // align) * align
        self._offsets = {}
        for name, size in sizes.items():
            self._offsets[name] = offset
            offset += -(-size // align) * align
        self.file.truncate(offset)
        return self._offsets

    def _finish(self) -> None:
        self._begin()
