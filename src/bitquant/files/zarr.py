"""`.zarr`: an array or a group of arrays in chunks, a folder or a zip file, through the zarr library."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.source import Entry, Source

__all__ = ["ZarrSource"]


def _library() -> Any:
    try:
        import zarr
    except ImportError:
        raise BitquantError(".zarr needs the zarr library: pip install 'bitquant[zarr]'") from None
    return zarr


class ZarrSource(Source):
    """The arrays of a zarr store; those of groups are called as their path is, with slashes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        library = _library()
        if not self.path.exists():
            raise BitquantError(f"there is no file {path}: check the name")
        try:
            store = (
                library.storage.ZipStore(path, mode="r") if self.path.is_file() else library.storage.LocalStore(path)
            )
            self._store = store
            found = library.open(store=store, mode="r")
            arrays = {self.path.name.partition(".")[0]: found} if isinstance(found, library.Array) else _arrays(found)
        except Exception as error:  # zarr's own, and those of its metadata's readers
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise BitquantError(f"{path} is no readable zarr store ({reason}): copy or write it again") from error
        self.metadata = {key: value for key, value in found.attrs.items() if isinstance(value, str)}
        self._arrays = arrays
        self.tensors = {
            name: Entry(name, tuple(array.shape), _dtype(array), str(array.dtype), self.path, None, array.nbytes)
            for name, array in arrays.items()
        }

    def _read(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        numbers = np.empty(stop - start, entry.dtype)
        try:
            self._fill(self._arrays[entry.name], (), entry.shape, start, stop, numbers)
        except OSError:
            raise
        except Exception as error:  # a codec's, for a damaged chunk
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise BitquantError(f"{entry.place} is damaged ({reason}): copy it again") from error
        return numbers

    def _fill(
        self, array: Any, index: tuple[int, ...], shape: tuple[int, ...], start: int, stop: int, out: NDArray[Any]
    ) -> None:
        """Fill `out` with numbers start to stop of the part of an array that lies at `index`, in C order."""
        if start == stop:
            return
        if not shape:
            out[0] = array[index]
            return
        inner = math.prod(shape[1:])
        first, last = -(-start // inner), stop // inner  # the whole indices in between
        if first > last:  # inside one index
            row = start // inner
            self._fill(array, (*index, row), shape[1:], start - row * inner, stop - row * inner, out)
            return
        head, tail = first * inner - start, stop - last * inner
        if head:
            self._fill(array, (*index, first - 1), shape[1:], inner - head, inner, out[:head])
        if last > first:
            out[head : out.size - tail] = np.asarray(array[(*index, slice(first, last))]).reshape(-1)
        if tail:
            self._fill(array, (*index, last), shape[1:], 0, tail, out[out.size - tail :])

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()


def _arrays(group: Any, front: str = "") -> dict[str, Any]:
    """The arrays of a group and of the groups in it."""
    found = {f"{front}{name}": array for name, array in sorted(group.arrays())}
    for name, inner in sorted(group.groups()):
        found |= _arrays(inner, f"{front}{name}/")
    return found


def _dtype(array: Any) -> np.dtype[Any]:
    dtype = np.dtype(array.dtype)
    return dtype if not dtype.hasobject else np.dtype("V1")
