"""`.npy` and `.npz`: NumPy's own files, read without pickle and a piece at a time, every size checked first.

# Design:
# A. Headers are parsed by NumPy, sizes are compared here. A header that promises more than the file has would
#    have NumPy allocate first and find out later.
# B. Names are zip entries, not keyword arguments: `numpy.savez` cannot write a tensor that is called "file".
# C. NumPy has no descriptor for bfloat16 (it would write "<V2", which nothing reads back). Such a tensor is
#    stored as its codes, unsigned integers, and `__metadata__` names its dtype: plain NumPy opens the file.
# D. Entries carry a fixed date, so that equal tensors make equal files.
# E. An entry of a zip is a stream. It is kept open where the last piece ended, so that pieces in order are read once,
#    and its checksum is compared at its end; a piece from before begins the stream again.
"""

from __future__ import annotations

import json
import math
import os
import threading
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.sink import METADATA, Planned, Sink
from bitquant.files.source import Descriptor, Entry, Source

__all__ = ["NpySink", "NpySource", "NpzSink", "NpzSource", "has_descriptor"]

_DTYPES = "bitquant.dtypes"  # in the metadata: JSON, tensor name to the ml_dtypes dtype of its codes
_READABLE = "biufcSUmM"  # dtype kinds that are plain bytes: no objects, no structures
_CHUNK = 1 << 20
_MOST_INFLATION = 1100  # deflate reaches 1032 to 1; a claim beyond that is a lie, and would be allocated


class NpySource(Source):
    """A `.npy` file; its tensor is named as the file is."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.metadata = {}
        self._file = Descriptor(path)
        try:
            with open(self._file.number, "rb", closefd=False) as file:
                shape, self._fortran, dtype = _header(file, self._file.size, str(path))
                offset = file.tell()
        except BaseException:
            self.close()
            raise
        size = math.prod(shape) * dtype.itemsize
        self.tensors = {
            self.path.stem: Entry(self.path.stem, shape, dtype, dtype.str, self.path, offset, size),
        }

    def _read(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        assert entry.offset is not None
        if self._fortran and entry.count:
            # The numbers lie in another order: each piece is gathered from all over the file.
            shape = cast(Any, entry.shape)
            mapped: NDArray[Any] = np.memmap(self.path, entry.dtype, "r", entry.offset, shape, "F")
            return np.array(mapped.flat[start:stop])
        numbers = np.empty(stop - start, entry.dtype)
        if numbers.nbytes:
            offset = entry.offset + start * entry.dtype.itemsize
            self._file.fill(numbers.view(np.uint8), offset, entry.place)
        return numbers

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class NpzSource(Source):
    """An `.npz` file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = Descriptor(path)
        self._lock = threading.Lock()
        self._streams: dict[str, tuple[IO[bytes], int]] = {}  # of an entry: the stream, and the byte it is at
        self._begins: dict[str, tuple[str, int, bool]] = {}  # the zip's name, the header's bytes, order of Fortran
        self.tensors = {}
        try:
            self._open()
        except BitquantError:
            self.close()
            raise
        except Exception as error:  # the zip reader raises what it pleases
            self.close()
            raise _unreadable(self.path, error) from error

    def _open(self) -> None:
        self._archive = zipfile.ZipFile(open(self._file.number, "rb", closefd=False))  # noqa: SIM115
        for row in self._archive.infolist():
            name = row.filename.removesuffix(".npy")
            where = f"{self.path}: {name!r} (from byte {row.header_offset})"
            _check_entry(row, self._file.size, name in self.tensors, where)
            with self._archive.open(row) as stream:
                shape, fortran, dtype = _header(cast(BinaryIO, stream), row.file_size, where)
                self._begins[name] = row.filename, stream.tell(), fortran
            self.tensors[name] = Entry(
                name, shape, dtype, dtype.str, self.path, row.header_offset, math.prod(shape) * dtype.itemsize
            )
        self.metadata = self._metadata()
        for name, dtype_name in _json_object(self.metadata.pop(_DTYPES, "{}"), self.path).items():
            self.tensors[name] = _as_dtype(self.tensors.get(name), dtype_name, f"{self.path}: {name!r}")

    def _metadata(self) -> dict[str, str]:
        entry = self.tensors.pop(METADATA, None)
        if entry is None:
            return {}
        if entry.shape != () or entry.dtype.kind != "U":
            raise BitquantError(f"{self.path}: {METADATA!r} is no text, which is what belongs there: rename that array")
        found = _json_object(str(self._read(entry, 0, 1)[0]), self.path)
        if not all(isinstance(value, str) for value in found.values()):
            raise BitquantError(f"{self.path}: {METADATA!r} holds more than texts: write it again")
        return found

    def _read(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        _, _, fortran = self._begins[entry.name]
        with self._lock:
            try:
                if fortran and len(entry.shape) > 1:
                    whole = self._bytes(entry, 0, entry.count).reshape(entry.shape[::-1]).T
                    return np.array(whole.flat[start:stop])
                return self._bytes(entry, start, stop)
            except (BitquantError, OSError):
                raise
            except Exception as error:
                raise _unreadable(self.path, error) from error

    def _bytes(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        """Numbers in the order of the file, from a stream that is kept at its place (Design E)."""
        filename, begin, _ = self._begins[entry.name]
        size = entry.dtype.itemsize
        first = begin + start * size
        stream, at = self._streams.pop(entry.name, (None, 0))
        if stream is None or at > first:
            stream, at = self._archive.open(filename), 0
        while at < first:
            at += len(_some(stream, min(_CHUNK, first - at), entry.place))
        numbers = np.empty(stop - start, entry.dtype)
        view, done = numbers.view(np.uint8).data, 0
        while done < len(view):
            piece = _some(stream, min(_CHUNK, len(view) - done), entry.place)
            view[done : done + len(piece)] = piece
            done += len(piece)
        if stop < entry.count:
            self._streams[entry.name] = stream, at + done
        elif stream.read(1):  # the end is where the checksum is compared
            raise BitquantError(f"{entry.place} has more bytes than its shape says: copy or write it again")
        return numbers

    def close(self) -> None:
        """Let go of the file."""
        self._streams.clear()
        self._file.close()


def _some(stream: IO[bytes], most: int, place: str) -> bytes:
    piece = stream.read(most)
    if not piece:
        raise BitquantError(f"{place} ends early: copy or write it again")
    return piece


def _header(file: BinaryIO, size: int, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in the order of Fortran, and dtype of an `.npy` file of `size` bytes; `where` is for errors."""
    try:
        header = np.lib.format.read_magic(file)
        # Version 3.0 is 2.0 with field names in UTF-8, and nothing with fields is read here.
        versions = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        parse = versions.get(header, np.lib.format.read_array_header_2_0)
        shape, fortran, dtype = parse(file)
    except zipfile.BadZipFile:
        raise  # a wrong checksum, which is the archive's
    except Exception as error:  # the parser of a hostile header raises what it pleases
        reason = _first_line(error)
        raise BitquantError(f"{where} has no readable .npy header ({reason}): write it again") from error
    if dtype.kind == "V" and dtype.names is None and dtype.subdtype is None:
        raise BitquantError(
            f"{where} holds raw {dtype.itemsize}-byte items ({dtype.str}): so NumPy writes bfloat16 and "
            "the like; save it as .safetensors, or as .npz with bitquant.files.write_tensors"
        )
    if dtype.kind not in _READABLE or dtype.hasobject:
        raise BitquantError(f"{where} holds {dtype}, not numbers (pickles are never read): save plain arrays")
    if any(type(length) is not int or length < 0 for length in shape):
        raise BitquantError(f"{where} has the impossible shape {shape}: write it again")
    needed, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if needed != there:
        raise BitquantError(
            f"{where} is damaged, shape {shape} of {dtype} is {needed} bytes and from byte {file.tell()} on there are "
            f"{there}: copy or write it again"
        )
    return shape, fortran, dtype


def _check_entry(entry: zipfile.ZipInfo, size: int, twice: bool, where: str) -> None:
    if not entry.filename.endswith(".npy"):
        raise BitquantError(f"{where} is no .npy entry, so this is no .npz file: write it with numpy.savez")
    if twice:
        raise BitquantError(f"{where} is there twice: write the file again")
    if entry.compress_size > size or entry.file_size > max(entry.compress_size, 1) * _MOST_INFLATION:
        raise BitquantError(f"{where} is damaged, it claims more bytes than the file has: copy or write it again")


class NpySink(Sink):
    """A `.npy` file that is being written: one tensor, no metadata, NumPy's own dtypes."""

    def __init__(
        self, file: BinaryIO, path: Path, planned: Iterable[Planned], metadata: Mapping[str, str], room: int
    ) -> None:
        super().__init__(file, path, planned, metadata, room)
        if len(self.planned) != 1 or self.metadata:
            raise BitquantError(f"{path} can hold one tensor without metadata and no more: write .npz or .safetensors")
        (tensor,) = self.planned.values()
        check_descriptor(path, tensor.dtype)
        _write_header(file, tensor.dtype, tensor.shape)

    def _write(self, tensor: Planned, start: int, piece: NDArray[Any]) -> None:
        _write_numbers(self.file, piece.astype(tensor.dtype, copy=False))

    def _finish(self) -> None:
        if self.metadata:
            raise BitquantError(f"{self.path} can hold one tensor without metadata and no more: write .npz")


class NpzSink(Sink):
    """An `.npz` file that is being written, uncompressed: one tensor after the other."""

    def __init__(
        self, file: BinaryIO, path: Path, planned: Iterable[Planned], metadata: Mapping[str, str], room: int
    ) -> None:
        super().__init__(file, path, planned, metadata, room)
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._open: tuple[str, IO[bytes]] | None = None
        self._written: set[str] = set()

    def abandon(self) -> None:
        """Close the archive while its file is open: it would try that when it is collected."""
        with suppress(Exception):
            self._end()
        with suppress(Exception):
            self._archive.close()

    def _write(self, tensor: Planned, start: int, piece: NDArray[Any]) -> None:
        stream = self._stream(tensor)
        dtype = _codes_of(tensor.dtype)
        _write_numbers(stream, piece.view(dtype) if dtype.newbyteorder("=") != piece.dtype.newbyteorder("=") else piece)
        if start + piece.size == tensor.count:
            self._end()

    def _stream(self, tensor: Planned) -> IO[bytes]:
        if self._open is not None and self._open[0] == tensor.name:
            return self._open[1]
        if self._open is not None:
            raise BitquantError(f"{self.path} takes one tensor after the other: finish {self._open[0]!r} first")
        entry = zipfile.ZipInfo(f"{tensor.name}.npy")
        entry.external_attr = 0o644 << 16  # else unzip makes files that nobody may read
        stream = self._archive.open(entry, "w", force_zip64=True)
        self._open = tensor.name, stream
        self._written.add(tensor.name)
        _write_header(stream, _codes_of(tensor.dtype), tensor.shape)
        return stream

    def _end(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _finish(self) -> None:
        for tensor in self.planned.values():
            if tensor.name not in self._written:  # a tensor without numbers
                self._stream(tensor)
                self._end()
        coded = {name: t.dtype.name for name, t in self.planned.items() if not has_descriptor(t.dtype)}
        notes = self.metadata | ({_DTYPES: json.dumps(coded)} if coded else {})
        if notes:
            text = np.array(json.dumps(notes))
            stream = self._stream(Planned(METADATA, (), text.dtype))
            _write_numbers(stream, text.reshape(1))
            self._end()
        self._archive.close()


def _write_header(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """The header that NumPy would write for a tensor in C order."""
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _write_numbers(file: Any, piece: NDArray[Any]) -> None:
    data = piece.view(np.uint8) if piece.dtype.itemsize else np.empty(0, np.uint8)
    for start in range(0, data.size, _CHUNK):
        file.write(data[start : start + _CHUNK].data)


def _codes_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that an `.npz` file has for numbers of this one (Design C)."""
    return dtype if has_descriptor(dtype) else np.dtype(f"u{dtype.itemsize}")


def has_descriptor(dtype: np.dtype[Any]) -> bool:
    """Whether the dtype is NumPy's own, so that its `.npy` descriptor reads back as itself."""
    return dtype.type.__module__ == "numpy"


def check_descriptor(path: str | os.PathLike[str], dtype: np.dtype[Any]) -> None:
    """Refuse a dtype that `.npy` has no name for."""
    if not has_descriptor(dtype):
        raise BitquantError(f"{path}: .npy has no name for {dtype}: write .npz")


def _as_dtype(entry: Entry | None, name: Any, where: str) -> Entry:
    """An entry of codes as one of the ml_dtypes dtype that the metadata name for them."""
    found = getattr(ml_dtypes, name, None) if isinstance(name, str) else None
    if not isinstance(found, type) or np.dtype(found).name != name:
        raise BitquantError(f"{where} is of dtype {name!r}, which ml_dtypes does not have: update ml_dtypes")
    dtype = np.dtype(found)
    if entry is None or entry.dtype != np.dtype(f"u{dtype.itemsize}"):
        raise BitquantError(f"{where} should be codes of {name} and is not: write it again")
    return Entry(entry.name, entry.shape, dtype, name, entry.file, entry.offset, entry.nbytes)


def _json_object(text: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = _first_line(error)
        raise BitquantError(f"{path}: {METADATA!r} is no JSON ({reason}): write the file again") from error
    if not isinstance(found, dict):
        raise BitquantError(f"{path}: {METADATA!r} is no JSON object: write the file again")
    return found


def _unreadable(path: Path, error: Exception) -> BitquantError:
    return BitquantError(f"{path} is no readable .npz file ({_first_line(error)}): copy or write it again")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
