"""`.npy` and `.npz`: NumPy's own files, read without pickle, every size checked before memory is asked for.

# Design:
# A. Headers are parsed by NumPy, sizes are compared here. A header that promises more than the file has would
#    have NumPy allocate first and find out later.
# B. Names are zip entries, not keyword arguments: `numpy.savez` cannot write a tensor that is called "file".
# C. NumPy has no descriptor for bfloat16 (it would write "<V2", which nothing reads back). Such a tensor is
#    stored as its codes, unsigned integers, and `__metadata__` names its dtype: plain NumPy opens the file.
# D. Entries carry a fixed date, so that equal tensors make equal files.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError

__all__ = ["METADATA", "has_descriptor", "read_npy", "read_npz", "write_npy", "write_npz"]

METADATA = "__metadata__"  # the entry that holds the metadata: safetensors' word for it
_DTYPES = "bitquant.dtypes"  # in the metadata: JSON, tensor name to the ml_dtypes dtype of its codes
_READABLE = "biufcSUmM"  # dtype kinds that are plain bytes: no objects, no structures
_CHUNK = 1 << 24
_MOST_INFLATION = 1100  # deflate reaches 1032 to 1; a claim beyond that is a lie, and would be allocated

Tensors = dict[str, NDArray[Any]]


def read_npy(file: BinaryIO, size: int, where: str) -> NDArray[Any]:
    """Read one `.npy` file of `size` bytes; `where` names it in errors."""
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
            f"{where} is damaged, shape {shape} of {dtype} is {needed} bytes and the file has {there}: "
            "copy or write it again"
        )
    flat = np.empty(math.prod(shape), dtype)
    if needed:
        _fill(file, flat.view(np.uint8).data, where)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def write_npy(file: BinaryIO, tensor: NDArray[Any]) -> None:
    """Write one array as `.npy`."""
    if not has_descriptor(tensor.dtype):
        raise BitquantError(f".npy has no name for {tensor.dtype}: write .npz")
    np.lib.format.write_array(file, tensor, allow_pickle=False)


def read_npz(file: BinaryIO, size: int, path: str) -> tuple[Tensors, dict[str, str]]:
    """Read every array of an `.npz` file, and the metadata if there are any."""
    tensors: Tensors = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                _check_entry(entry, size, tensors, f"{path}: {name!r}")
                with archive.open(entry) as stream:
                    tensors[name] = read_npy(cast(BinaryIO, stream), entry.file_size, f"{path}: {name!r}")
    except (BitquantError, OSError):
        raise
    except Exception as error:  # the zip reader too
        reason = _first_line(error)
        raise BitquantError(f"{path} is no readable .npz file ({reason}): copy or write it again") from error
    metadata = _metadata(tensors.pop(METADATA, None), path)
    for name, dtype in _json_object(metadata.pop(_DTYPES, "{}"), path).items():
        tensors[name] = _as_dtype(tensors.get(name), dtype, f"{path}: {name!r}")
    return tensors, metadata


def write_npz(file: BinaryIO, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata as `.npz`, uncompressed."""
    coded = {name: tensor.dtype.name for name, tensor in tensors.items() if not has_descriptor(tensor.dtype)}
    notes = dict(metadata)
    if coded:
        notes[_DTYPES] = json.dumps(coded)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, tensor in tensors.items():
            if name in coded:
                tensor = tensor.view(f"u{tensor.dtype.itemsize}")
            _write_entry(archive, name, tensor)
        if notes:
            _write_entry(archive, METADATA, np.array(json.dumps(notes)))


def _check_entry(entry: zipfile.ZipInfo, size: int, earlier: Tensors, where: str) -> None:
    if not entry.filename.endswith(".npy"):
        raise BitquantError(f"{where} is no .npy entry, so this is no .npz file: write it with numpy.savez")
    if entry.filename.removesuffix(".npy") in earlier:
        raise BitquantError(f"{where} is there twice: write the file again")
    if entry.compress_size > size or entry.file_size > max(entry.compress_size, 1) * _MOST_INFLATION:
        raise BitquantError(f"{where} is damaged, it claims more bytes than the file has: copy or write it again")


def _write_entry(archive: zipfile.ZipFile, name: str, tensor: NDArray[Any]) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy")
    entry.external_attr = 0o644 << 16  # else unzip makes files that nobody may read
    with archive.open(entry, "w", force_zip64=True) as stream:
        np.lib.format.write_array(stream, tensor, allow_pickle=False)


def has_descriptor(dtype: np.dtype[Any]) -> bool:
    """Whether the dtype is NumPy's own, so that its `.npy` descriptor reads back as itself."""
    return dtype.type.__module__ == "numpy"


def _as_dtype(codes: NDArray[Any] | None, name: Any, where: str) -> NDArray[Any]:
    """Codes as the ml_dtypes dtype that the metadata name for them."""
    found = getattr(ml_dtypes, name, None) if isinstance(name, str) else None
    if not isinstance(found, type) or np.dtype(found).name != name:
        raise BitquantError(f"{where} is of dtype {name!r}, which ml_dtypes does not have: update ml_dtypes")
    dtype = np.dtype(found)
    if codes is None or codes.dtype != np.dtype(f"u{dtype.itemsize}"):
        raise BitquantError(f"{where} should be codes of {name} and is not: write it again")
    return codes.view(dtype)


def _metadata(entry: NDArray[Any] | None, path: str) -> dict[str, str]:
    if entry is None:
        return {}
    if entry.shape != () or entry.dtype.kind != "U":
        raise BitquantError(f"{path}: {METADATA!r} is no text, which is what belongs there: rename that array")
    found = _json_object(str(entry), path)
    if not all(isinstance(value, str) for value in found.values()):
        raise BitquantError(f"{path}: {METADATA!r} holds more than texts: write it again")
    return found


def _json_object(text: str, path: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = _first_line(error)
        raise BitquantError(f"{path}: {METADATA!r} is no JSON ({reason}): write the file again") from error
    if not isinstance(found, dict):
        raise BitquantError(f"{path}: {METADATA!r} is no JSON object: write the file again")
    return found


def _fill(file: BinaryIO, buffer: memoryview, where: str) -> None:
    """Read exactly the buffer's bytes, in pieces: a zip stream makes a copy of each."""
    done = 0
    while done < len(buffer):
        piece = file.read(min(_CHUNK, len(buffer) - done))
        if not piece:
            raise BitquantError(f"{where} ends {len(buffer) - done} bytes early: copy or write it again")
        buffer[done : done + len(piece)] = piece
        done += len(piece)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
