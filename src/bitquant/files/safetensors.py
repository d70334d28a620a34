"""`.safetensors`: read and written a piece at a time, with bfloat16, the 8-bit and the packed floats as ml_dtypes.

# Design:
# A. The header is checked here, row by row, so that an error can name the tensor and the byte; then the safetensors
#    library is asked as well. What either refuses is refused.
# B. A file that is written has its tensors as the library orders them, by falling size of their numbers and then by
#    name: so each begins at a multiple of its numbers' size, which readers that map the file count on.
# C. The header lies in front and holds the metadata, which may be known last: room for them is left, and what is not
#    needed is filled with spaces, as the format allows. Where the room is too small, the tensors are moved.
# D. Floats of 4 and 6 bits (F4, F6_E2M3, F6_E3M2) lie without gaps, the first in the lowest bits, as PyTorch's
#    `float4_e2m1fn_x2` has them; the shape counts numbers. In memory each has a byte.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.sink import METADATA, Planned, Sink
from bitquant.files.source import Descriptor, Entry, Source
from bitquant.formats import format
from bitquant.packing import pack_bits, unpack_bits

__all__ = ["DTYPES", "SafetensorsSink", "SafetensorsSource"]

# The format's dtype names (safetensors' README), as the dtypes whose bytes they are.
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(bool),
    **{f"{kind}{8 * size}": np.dtype(f"<{kind.lower()}{size}") for kind in "IU" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "C64": np.dtype("<c8"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "F6_E2M3": np.dtype(ml_dtypes.float6_e2m3fn),
    "F6_E3M2": np.dtype(ml_dtypes.float6_e3m2fn),
    "F4": np.dtype(ml_dtypes.float4_e2m1fn),
}
_NAMES = {dtype.name: name for name, dtype in DTYPES.items()}
_PACKED = {name: format(DTYPES[name]).bits for name in ("F6_E2M3", "F6_E3M2", "F4")}
_LENGTH = 8  # bytes of the header's length, in front of it
_LONGEST = 100_000_000  # bytes of a header: the library reads no more
_MOVED = 1 << 24  # bytes at a time, where tensors have to be moved


def bits_of(stored: str) -> int:
    """Bits that a number takes in the file."""
    return _PACKED.get(stored, 8 * DTYPES[stored].itemsize)


def library() -> Any:
    """The safetensors library."""
    try:
        import safetensors
    except ImportError:
        raise BitquantError(".safetensors needs the safetensors library: pip install 'bitquant[cli]'") from None
    return safetensors


class SafetensorsSource(Source):
    """A `.safetensors` file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        known = library()
        self._file = Descriptor(path)
        try:
            header, begin = _header(self._file)
            self.metadata = _metadata(header.pop(METADATA, None), self.path)
            self.tensors = self._named(
                {name: _entry(self.path, name, row, begin, self._file.size) for name, row in header.items()}
            )
            _check_cover(self.path, self.tensors, begin, self._file.size)
            try:
                with known.safe_open(os.fspath(path), framework="np") as checked:
                    checked.keys()
            except known.SafetensorError as error:
                reason = str(error).removeprefix("Error while deserializing: ")
                raise _unreadable(self.path, f"the library says: {reason}") from error
        except BaseException:
            self.close()
            raise

    def _read(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        assert entry.offset is not None
        bits = _PACKED.get(entry.stored)
        if bits is None:
            numbers = np.empty(stop - start, entry.dtype)
            self._file.fill(numbers.view(np.uint8), entry.offset + start * entry.dtype.itemsize, entry.place)
            return numbers
        first = start // 8 * 8  # eight codes of b bits begin at a byte
        packed = np.empty(-(-(stop - first) * bits // 8), np.uint8)
        self._file.fill(packed, entry.offset + first * bits // 8, entry.place)
        codes: NDArray[Any] = unpack_bits(packed, bits, stop - first)[start - first :]
        return codes.view(entry.dtype)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _header(file: Descriptor) -> tuple[dict[str, Any], int]:
    """The header's rows, and the byte at which the tensors begin."""
    path = file.path
    if file.size < _LENGTH:
        raise _unreadable(path, f"the header's length takes bytes 0 to {_LENGTH}, and the file has {file.size}")
    length = int.from_bytes(file.bytes(0, _LENGTH, f"{path}: the header"), "little")
    if length > min(_LONGEST, file.size - _LENGTH):
        most = f"the file has {file.size}" if length <= _LONGEST else f"at most {_LONGEST} are read"
        raise _unreadable(path, f"byte 0 gives the header {length} bytes, and {most}")
    text = file.bytes(_LENGTH, length, f"{path}: the header")
    try:
        header = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise _unreadable(path, f"the header from byte {_LENGTH} is no JSON: {reason}") from error
    if not isinstance(header, dict):
        raise _unreadable(path, f"the header from byte {_LENGTH} is no JSON object")
    return header, _LENGTH + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a key that comes twice, of which readers take either, is refused."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


def _metadata(found: Any, path: Path) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _unreadable(path, f"{METADATA!r} holds more than texts")
    return found


def _entry(path: Path, name: str, row: Any, begin: int, size: int) -> Entry:
    """A row of the header, each of its claims checked by itself."""
    if not isinstance(row, dict) or not {"dtype", "shape", "data_offsets"} <= row.keys():
        raise _unreadable(path, f"{name!r} has no dtype, shape and data_offsets")
    stored, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
    if not isinstance(stored, str) or stored not in DTYPES:
        raise BitquantError(f"{path}: {name!r} is of dtype {stored!r}, which is not readable here: leave it out")
    if not _lengths(shape):
        raise _unreadable(path, f"{name!r} has the impossible shape {str(shape)[:80]}")
    if not _lengths(offsets) or len(offsets) != 2:
        raise _unreadable(path, f"{name!r} has the impossible offsets {str(offsets)[:80]}")
    bits, (first, last) = math.prod(shape) * bits_of(stored), offsets
    if first > last or begin + last > size:
        raise _unreadable(
            path, f"{name!r} is to lie from byte {begin + first} to byte {begin + last}, and the file has {size}"
        )
    if bits != 8 * (last - first):
        raise _unreadable(
            path,
            f"{name!r} from byte {begin + first}: shape {str(shape)[:80]} of {stored} is {bits / 8:g} bytes, and its "
            f"offsets give it {last - first}",
        )
    return Entry(name, tuple(shape), DTYPES[stored], stored, path, begin + first, last - first)


def _lengths(found: Any) -> bool:
    return isinstance(found, list) and all(type(length) is int and length >= 0 for length in found)


def _check_cover(path: Path, tensors: Mapping[str, Entry], begin: int, size: int) -> None:
    """The tensors lie side by side: none overlaps another, and no byte is anybody's."""
    end, before = begin, "the header"
    for entry in sorted(tensors.values(), key=lambda entry: (entry.offset or 0, entry.nbytes)):
        first = entry.offset or 0
        if first != end:
            what = "overlaps" if first < end else f"leaves {first - end} bytes after"
            raise _unreadable(path, f"{entry.name!r} begins at byte {first} and {what} {before}, which ends at {end}")
        end, before = first + entry.nbytes, repr(entry.name)
    if end != size:
        raise _unreadable(path, f"{before} ends at byte {end}, and the file has {size}")


def _unreadable(path: Path, reason: str) -> BitquantError:
    return BitquantError(f"{path} is no readable .safetensors file ({reason}): copy or write it again")


class SafetensorsSink(Sink):
    """A `.safetensors` file that is being written."""

    interleaved = True

    def __init__(
        self, file: BinaryIO, path: Path, planned: Iterable[Planned], metadata: Mapping[str, str], room: int
    ) -> None:
        super().__init__(file, path, planned, metadata, room)
        library()
        rows: list[tuple[int, str, str]] = []
        for name, tensor in self.planned.items():
            stored = stored_as(path, tensor.dtype, name)
            bits = bits_of(stored)
            if tensor.count * bits % 8:
                raise BitquantError(
                    f"{path}: {name!r} has {tensor.count} numbers of {bits} bits, which do not fill whole bytes: "
                    "write .npz"
                )
            rows.append((-bits, name, stored))
        self._rows: dict[str, Any] = {}
        self._codes: dict[str, NDArray[np.uint8]] = {}  # of packed floats: those that do not fill bytes yet
        end = 0
        for bits, name, stored in sorted(rows):
            size = self.planned[name].count * -bits // 8
            self._rows[name] = {
                "dtype": stored,
                "shape": list(self.planned[name].shape),
                "data_offsets": [end, end + size],
            }
            end += size
        self._size = end
        self._begin = _LENGTH + -(-(len(self._text()) + room) // 8) * 8
        file.truncate(self._begin + end)

    def _text(self) -> bytes:
        """The header as it would be now."""
        rows = {METADATA: self.metadata, **self._rows} if self.metadata else self._rows
        return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()

    def _write(self, tensor: Planned, start: int, piece: NDArray[Any]) -> None:
        row = self._rows[tensor.name]
        begin = self._begin + row["data_offsets"][0]
        bits = _PACKED.get(row["dtype"])
        if bits is None:
            little = piece.astype(tensor.dtype.newbyteorder("<"), copy=False)
            self._put(little.view(np.uint8), begin + start * tensor.dtype.itemsize)
            return
        kept = self._codes.pop(tensor.name, np.empty(0, np.uint8))
        codes = np.concatenate([kept, piece.view(np.uint8)])
        ready = codes.size if start + piece.size == tensor.count else codes.size // 8 * 8
        self._codes[tensor.name] = codes[ready:]
        self._put(pack_bits(codes[:ready], bits), begin + (start - kept.size) * bits // 8)

    def _finish(self) -> None:
        text = self._text()
        if len(text) > _LONGEST:
            raise BitquantError(f"{self.path}: its header is longer than {_LONGEST} bytes: write several files")
        if _LENGTH + len(text) > self._begin:
            self._move(_LENGTH + -(-len(text) // 8) * 8)
        length = self._begin - _LENGTH
        self._put(np.frombuffer(length.to_bytes(_LENGTH, "little") + text.ljust(length), np.uint8), 0)

    def _move(self, begin: int) -> None:
        """Move the tensors so that they begin at another, later byte: from the last to the first."""
        with Descriptor(self.temporary) as file:
            for end in range(self._size, 0, -_MOVED):
                start = max(end - _MOVED, 0)
                piece = np.empty(end - start, np.uint8)
                file.fill(piece, self._begin + start, str(self.temporary))
                self._put(piece, begin + start)
        self._begin = begin


def stored_as(path: str | os.PathLike[str], dtype: np.dtype[Any], name: str | None = None) -> str:
    """The format's name of a dtype."""
    stored = _NAMES.get(dtype.name)
    if stored is None:
        what = "" if name is None else f": {name!r} is of dtype {dtype}"
        raise BitquantError(f"{path} has no name for {dtype}{what}: write .npz")
    return stored
