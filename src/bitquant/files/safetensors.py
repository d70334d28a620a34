"""`.safetensors`: through the safetensors library, with bfloat16 and the 8-bit floats as ml_dtypes arrays.

# Design:
# A. The library checks the file (header, offsets, overlaps, holes, sizes) and writes it. It does not read the
#    tensors: `safetensors.numpy.load` knows no bfloat16 and `safe_open` no 8-bit float (0.8.0). With the
#    header found good, each tensor is one read of its own bytes.
# B. The library writes the memory of an array as it lies, so that a transposed array would come out
#    scrambled: every array is brought into C order here, little-endian, a scalar staying a scalar.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import BufferedReader
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError

__all__ = ["DTYPES", "read_safetensors", "write_safetensors"]

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
}


def _library() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise BitquantError(".safetensors needs the safetensors library: pip install 'bitquant[cli]'") from None
    return safetensors


def read_safetensors(
    file: BufferedReader, path: str | os.PathLike[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read every tensor and the metadata of the `.safetensors` file at `path`, open as `file`."""
    library = _library()
    try:
        with library.safe_open(os.fspath(path), framework="np") as checked:
            checked.keys()
    except library.SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing: ")
        raise BitquantError(f"{path} is no readable .safetensors file ({reason}): write it again") from error
    header_size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(header_size))
    metadata = header.pop("__metadata__", None) or {}
    tensors = {}
    for name, row in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype = DTYPES.get(row["dtype"])
        if dtype is None:
            raise BitquantError(f"{path}: {name!r} is of dtype {row['dtype']}, which is not read: leave it out")
        begin, end = row["data_offsets"]
        file.seek(8 + header_size + begin)
        tensor = np.empty(row["shape"], dtype)
        flat = tensor.reshape(-1).view(np.uint8)
        if flat.size != end - begin or file.readinto(flat.data) != flat.size:
            raise BitquantError(f"{path}: {name!r} is damaged, its bytes do not fill its shape: write it again")
        tensors[name] = tensor
    return tensors, dict(metadata)


def write_safetensors(file: BinaryIO, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata as `.safetensors`."""
    library = _library()
    known = {dtype.name for dtype in DTYPES.values()}
    ready = {}
    for name, tensor in tensors.items():
        if tensor.dtype.name not in known:
            raise BitquantError(f"{name!r} is of dtype {tensor.dtype}, which .safetensors lacks: write .npz")
        ready[name] = np.asarray(tensor, tensor.dtype.newbyteorder("<"), order="C")
    try:
        library.numpy.save_file(ready, file.name, metadata=dict(metadata) or None)
    except library.SafetensorError as error:
        raise BitquantError(f"the tensors cannot be written as .safetensors ({error}): write .npz") from error
