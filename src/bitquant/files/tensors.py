"""Open, read and write a file of named tensors; the suffix says which format, and one table says which there are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.npz import check_descriptor
from bitquant.files.output import check_place, replaced
from bitquant.files.safetensors import stored_as
from bitquant.files.sink import Planned, Sink, check_metadata, check_plan
from bitquant.files.source import Source

__all__ = ["KINDS", "check_dtype", "check_output", "create_tensors", "open_tensors", "read_tensors", "write_tensors"]


@dataclass(frozen=True)
class Kind:
    """A format of files: what it is, the classes that read and write it as "module:Class", whether it is a folder."""

    what: str
    source: str
    sink: str | None = None
    folder: bool = False


KINDS: dict[str, Kind] = {
    ".safetensors": Kind(
        "named tensors and metadata, bfloat16 and the 8-bit floats included",
        "safetensors:SafetensorsSource",
        "safetensors:SafetensorsSink",
    ),
    ".npz": Kind("named tensors and metadata; plain NumPy reads it", "npz:NpzSource", "npz:NpzSink"),
    ".npy": Kind("one tensor", "npz:NpySource", "npz:NpySink"),
    ".index.json": Kind("safetensors in several files, and the index that names them", "sharded:ShardedSource"),
    ".gguf": Kind("plain numbers, Q8_0, Q4_0 and MXFP4, as llama.cpp reads them", "gguf:GGUFSource", "gguf:GGUFSink"),
    ".onnx": Kind("the initialisers of a model", "onnx:ONNXSource"),
    **dict.fromkeys(
        (".pt", ".pth", ".bin"), Kind("a PyTorch state dict, loaded with weights_only", "torch:TorchSource")
    ),
    **dict.fromkeys(
        (".zarr", ".zarr.zip"), Kind("an array or a group of arrays in chunks", "zarr:ZarrSource", folder=True)
    ),
}


def kind_of(path: str | os.PathLike[str], written: bool = False) -> Kind:
    """The row of a file's format, or the error that lists the formats."""
    name = Path(path).name.lower()
    for suffix, kind in KINDS.items():
        if name.endswith(suffix) and (kind.sink or not written):
            return kind
    *most, last = [suffix for suffix, kind in KINDS.items() if kind.sink or not written]
    raise BitquantError(f"{path} is of no known kind: the name has to end in {', '.join(most)} or {last}")


def _class(name: str) -> Any:
    module, _, found = name.partition(":")
    return getattr(import_module(f"bitquant.files.{module}"), found)


def open_tensors(path: str | os.PathLike[str], *, as_kind: str | os.PathLike[str] | None = None) -> Source:
    """Open a file of tensors: its header is read and checked, its numbers are read when they are asked for.

    Parameters
    ----------
    path : path
        Its suffix says which format; a row of `KINDS`.
    as_kind : path, optional
        Another name, whose suffix says it instead.

    Returns
    -------
    Source
        A context manager with `tensors`, `metadata` and `read`.

    Raises
    ------
    BitquantError
        A file that is missing, unreadable, truncated, inconsistent, of another format, or that holds something other
        than numbers and text, with the tensor and the byte; pickles are never read.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from bitquant.files import open_tensors, write_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(os.path.join(folder, "w.npz"), {"w": np.float32([[1, 2], [3, 4]])})
    ...     with open_tensors(os.path.join(folder, "w.npz")) as source:
    ...         source.tensors["w"].shape, source.read("w", 1, 3)
    ((2, 2), array([2., 3.], dtype=float32))
    """
    name = path if as_kind is None else as_kind
    folders = tuple(suffix for suffix, kind in KINDS.items() if kind.folder)
    if os.path.isdir(path) and not Path(name).name.lower().endswith(folders):
        raise BitquantError(f"{path} is a folder: give a file in it")
    source: Source = _class(kind_of(name).source)(path)
    return source


@contextmanager
def create_tensors(
    path: str | os.PathLike[str],
    planned: Iterable[Planned],
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
    room: int = 0,
    beside: Mapping[Path, str] | None = None,
) -> Iterator[Sink]:
    """Write a file of tensors piece by piece, whole or not at all: an interruption leaves what was there before.

    Parameters
    ----------
    path : path
        Ends in `.safetensors`, `.npz` or `.npy` (one tensor, no metadata, NumPy's own dtypes).
    planned : iterable of Planned
        Name, shape and dtype of each tensor that will be written.
    metadata : mapping of str to str, optional
        May be changed through the sink's `metadata` until the end.
    overwrite : bool
        Replace a file that is there.
    room : int
        Bytes by which the metadata may grow; beyond that the tensors are moved, which takes time.
    beside : mapping of Path to str, optional
        Texts that describe the file: they take their places right before it does.

    Yields
    ------
    Sink
        Its `write(name, piece)` appends to a tensor. When the block ends well, the file takes its place.

    Raises
    ------
    BitquantError
        A file that exists, a place that cannot be written, a name, dtype or metadata that the format cannot hold,
        fewer or more numbers than announced.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from bitquant.files import Planned, create_tensors, read_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "w.npz")
    ...     with create_tensors(path, [Planned("w", (4,), np.dtype(np.int8))]) as sink:
    ...         sink.write("w", np.int8([1, 2]))
    ...         sink.write("w", np.int8([3, 4]))
    ...     read_tensors(path)[0]["w"]
    array([1, 2, 3, 4], dtype=int8)
    """
    made = _class(kind_of(path, written=True).sink or "")
    plan = list(planned)
    check_plan(Path(path), plan)
    check_metadata(Path(path), metadata or {})
    with replaced(path, overwrite, beside) as file:
        sink: Sink = made(file, Path(path), plan, metadata or {}, room)
        try:
            yield sink
            sink.finish()
        except BaseException:
            sink.abandon()
            raise


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
        As for `open_tensors`.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from bitquant.files import read_tensors, write_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(os.path.join(folder, "w.npz"), {"w": np.float32([1, 2])}, {"by": "me"})
    ...     read_tensors(os.path.join(folder, "w.npz"))
    ({'w': array([1., 2.], dtype=float32)}, {'by': 'me'})
    """
    try:
        with open_tensors(path) as source:
            return {name: source.array(name) for name in source.tensors}, dict(source.metadata)
    except MemoryError:
        raise BitquantError(f"{path} does not fit in memory: read a tensor at a time with open_tensors") from None


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
    for name, tensor in tensors.items():
        if not isinstance(tensor, np.ndarray):
            found = type(tensor).__name__
            raise BitquantError(f"{name!r} is a {found}, not a NumPy array: pass numpy.asarray of it")
    plan = [Planned(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()]
    with create_tensors(path, plan, metadata, overwrite) as sink:
        for name, tensor in tensors.items():
            sink.write(name, tensor)


def check_output(
    path: str | os.PathLike[str],
    overwrite: bool = False,
    source: str | os.PathLike[str] | None = None,
    several: bool = False,
) -> Path:
    """Refuse an output for tensors that cannot or should not be written, before any work is done for it.

    Parameters
    ----------
    path : path
        Where something is to be written.
    overwrite : bool
        Whether a file that is there may be replaced.
    source : path, optional
        The file that is read: it is not replaced even with `overwrite`.
    several : bool
        Whether more than one tensor goes in, or metadata: `.npy` holds neither.

    Returns
    -------
    pathlib.Path
        The file itself, where `path` is a symbolic link to it.

    Raises
    ------
    BitquantError
        For a folder in the file's place, a folder that is missing or not writable, a file that exists, and
        the source.
    """
    if kind_of(path, written=True) is KINDS[".npy"] and several:
        raise BitquantError(f"{path} can hold one tensor without metadata and no more: write .npz or .safetensors")
    return check_place(path, overwrite, source)


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
    kind = kind_of(path, written=True)
    if kind is KINDS[".npy"]:
        check_descriptor(path, dtype)
    if kind is KINDS[".safetensors"]:
        stored_as(path, dtype)
