"""Read and write a file of named tensors; the suffix says which format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.npz import METADATA, has_descriptor, read_npy, read_npz, write_npy, write_npz
from bitquant.files.output import check_output, kind, replaced
from bitquant.files.safetensors import DTYPES, read_safetensors, write_safetensors

__all__ = ["check_dtype", "read_tensors", "write_tensors"]


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read every tensor of a file.

    Parameters
    ----------
    path : path
        A `.safetensors`, `.npz` or `.npy` file. The tensor of a `.npy` file is named as the file is.

    Returns
    -------
    tensors : dict of str to ndarray
        In the file's order; bfloat16 and the 8-bit floats as ml_dtypes arrays. Each is writable.
    metadata : dict of str to str

    Raises
    ------
    BitquantError
        A file that is missing, unreadable, truncated, inconsistent, of another format, or that holds
        something other than numbers and text; pickles are never read.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from bitquant.files import read_tensors, write_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(os.path.join(folder, "w.npz"), {"w": np.float32([1, 2])}, {"by": "me"})
    ...     read_tensors(os.path.join(folder, "w.npz"))
    ({'w': array([1., 2.], dtype=float32)}, {'by': 'me'})
    """
    if os.path.isdir(path):
        raise BitquantError(f"{path} is a folder: give a file in it")
    suffix = kind(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if suffix == ".npy":
                return {Path(path).stem: read_npy(file, size, str(path))}, {}
            if suffix == ".npz":
                return read_npz(file, size, str(path))
            return read_safetensors(file, path)
    except FileNotFoundError:
        raise BitquantError(f"there is no file {path}: check the name") from None
    except OSError as error:
        reason = error.strerror or error
        raise BitquantError(f"{path} cannot be read ({reason}): check the file and its permissions") from error
    except MemoryError:
        raise BitquantError(f"{path} does not fit in memory: split it into smaller files") from None


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write tensors to a file, whole or not at all: an interruption leaves what was there before.

    Parameters
    ----------
    path : path
        Ends in `.safetensors`, `.npz` or `.npy` (one tensor, no metadata, NumPy's own dtypes).
    tensors : mapping of str to ndarray
        Of any shape, stride and byte order.
    metadata : mapping of str to str, optional
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    BitquantError
        A file that exists, a place that cannot be written, a name, dtype or metadata that the format cannot
        hold.

    Examples
    --------
    >>> import os, tempfile, numpy as np, ml_dtypes
    >>> from bitquant.files import read_tensors, write_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(os.path.join(folder, "w.npz"), {"w": np.array([1.5], ml_dtypes.bfloat16)})
    ...     read_tensors(os.path.join(folder, "w.npz"))[0]["w"].dtype
    dtype(bfloat16)
    """
    suffix = kind(path)
    notes = dict(metadata or {})
    _check_names(path, tensors)
    _check_metadata(path, notes)
    check_output(path, overwrite, several=len(tensors) != 1 or bool(notes))
    with replaced(path, overwrite) as file:
        if suffix == ".npy":
            write_npy(file, *tensors.values())
        elif suffix == ".npz":
            write_npz(file, tensors, notes)
        else:
            write_safetensors(file, tensors, notes)


def check_dtype(path: str | os.PathLike[str], dtype: np.dtype[Any]) -> None:
    """Refuse a dtype that a file of this kind has no name for, before any work is done for it.

    Parameters
    ----------
    path : path
        Where tensors are to be written; its suffix counts.
    dtype : numpy.dtype
        `.npz` holds NumPy's and those of ml_dtypes, `.npy` NumPy's alone, `.safetensors` those it has a name for.

    Raises
    ------
    BitquantError
        When there is no name; the message says which file has one.

    Examples
    --------
    >>> import ml_dtypes, numpy as np
    >>> from bitquant.files import check_dtype
    >>> check_dtype("x.npz", np.dtype(ml_dtypes.int4))
    >>> check_dtype("x.safetensors", np.dtype(ml_dtypes.int4))
    Traceback (most recent call last):
        ...
    bitquant.errors.BitquantError: x.safetensors has no name for int4: write .npz
    """
    suffix = kind(path)
    if suffix == ".npy" and not has_descriptor(dtype):
        raise BitquantError(f"{path}: .npy has no name for {dtype}: write .npz")
    if suffix == ".safetensors" and dtype.name not in {known.name for known in DTYPES.values()}:
        raise BitquantError(f"{path} has no name for {dtype}: write .npz")


def _check_names(path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]]) -> None:
    for name, tensor in tensors.items():
        if not _is_text(name) or not name or "\0" in name or name == METADATA:
            raise BitquantError(f"{path} cannot hold a tensor called {name!r}: rename it")
        if not isinstance(tensor, np.ndarray):
            kind = type(tensor).__name__
            raise BitquantError(f"{name!r} is a {kind}, not a NumPy array: pass numpy.asarray of it")
        if tensor.dtype.hasobject or tensor.dtype.names is not None:
            raise BitquantError(f"{name!r} is of dtype {tensor.dtype}, and nothing is ever pickled: leave it out")


def _check_metadata(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        if not _is_text(key) or not _is_text(value):
            raise BitquantError(f"{path} cannot hold the metadata {key!r}: make key and value text")


def _is_text(x: Any) -> bool:
    """Whether x is a string that can be written as UTF-8 (no lone surrogates)."""
    try:
        return isinstance(x, str) and x.encode() is not None
    except UnicodeEncodeError:
        return False
