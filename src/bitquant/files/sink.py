"""What every kind of tensor file is written through: announced first, then fed piece by piece, whole or not at all.

# Design:
# A. A file says in its beginning what follows, so names, shapes and dtypes are announced before the first number. The
#    texts of the metadata may be known only at the end: room is left for them.
# B. Pieces of a tensor come in C order, one tensor after the other; which tensor is first does not matter.
# C. All goes to a temporary file in the same folder (output.py). It takes the place of the target when every number
#    that was announced has come, and vanishes otherwise.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError

__all__ = ["METADATA", "Planned", "Sink"]

METADATA = "__metadata__"  # what safetensors calls the metadata; no tensor may be called so


@dataclass(frozen=True)
class Planned:
    """A tensor that will be written."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def count(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)


class Sink(ABC):
    """A file of named tensors that is being written: see `bitquant.files.create_tensors`.

    Attributes
    ----------
    path : pathlib.Path
        The target; the bytes are in `temporary` until all is well.
    temporary : pathlib.Path
    metadata : dict of str to str
        May be changed until `finish`.
    interleaved : bool
        Whether pieces of several tensors may come by turns.
    """

    interleaved = False

    def __init__(
        self, file: BinaryIO, path: Path, planned: Iterable[Planned], metadata: Mapping[str, str], room: int
    ) -> None:
        self.file, self.path, self.temporary = file, path, Path(file.name)
        self.planned = {tensor.name: tensor for tensor in planned}
        self.metadata = dict(metadata)
        self.room = room
        self._done = dict.fromkeys(self.planned, 0)
        self._finished = False

    def write(self, name: str, piece: NDArray[Any]) -> None:
        """Append numbers to a tensor.

        Parameters
        ----------
        name : str
            Of a tensor that was announced.
        piece : ndarray
            The next numbers in C order, of the announced dtype; of any shape, stride and byte order.

        Raises
        ------
        BitquantError
            For more numbers than were announced, or of another dtype.
        """
        tensor = self.planned.get(name)
        if tensor is None:
            raise BitquantError(f"{self.path}: a tensor called {name!r} was not announced: add it to the plan")
        if piece.dtype.newbyteorder("=") != tensor.dtype.newbyteorder("="):
            raise BitquantError(f"{self.path}: {name!r} was announced as {tensor.dtype} and is {piece.dtype}")
        start = self._done[name]
        if start + piece.size > tensor.count:
            raise BitquantError(
                f"{self.path}: {name!r} was announced with {tensor.count} numbers and gets {start + piece.size}"
            )
        if piece.size:
            self._write(tensor, start, np.ascontiguousarray(piece).reshape(-1))
        self._done[name] = start + piece.size

    def finish(self) -> None:
        """See that everything has come, and complete the file; called at the end of the block, or before it."""
        if self._finished:
            return
        for name, tensor in self.planned.items():
            if self._done[name] != tensor.count:
                raise BitquantError(
                    f"{self.path}: of the {tensor.count} numbers of {name!r} {self._done[name]} were written: "
                    "write the others"
                )
        check_metadata(self.path, self.metadata)
        self._finish()
        self.file.flush()
        self._finished = True

    def abandon(self) -> None:
        """Let go of what depends on the file, which is about to vanish."""
        return

    def _put(self, data: NDArray[np.uint8], offset: int, file: BinaryIO | None = None) -> None:
        """Write bytes at an offset, of the file or of another one."""
        number, view = (file or self.file).fileno(), np.ascontiguousarray(data).reshape(-1).data
        while len(view):
            done = os.pwrite(number, view, offset)
            view, offset = view[done:], offset + done

    @abstractmethod
    def _write(self, tensor: Planned, start: int, piece: NDArray[Any]) -> None:
        """Write numbers of the tensor from number `start` on; contiguous, of one dimension."""

    @abstractmethod
    def _finish(self) -> None:
        """Write what a file of this kind has besides its tensors."""


def check_plan(path: Path, planned: Iterable[Planned]) -> None:
    """Refuse names and dtypes that no file holds."""
    names = set()
    for tensor in planned:
        name, shape, dtype = tensor.name, tensor.shape, tensor.dtype
        if not _is_text(name) or not name or "\0" in name or name == METADATA:
            raise BitquantError(f"{path} cannot hold a tensor called {name!r}: rename it")
        if name in names:
            raise BitquantError(f"{path} cannot hold two tensors called {name!r}: rename one")
        names.add(name)
        if dtype.hasobject or dtype.names is not None:
            raise BitquantError(f"{name!r} is of dtype {dtype}, and nothing is ever pickled: leave it out")
        if any(length < 0 for length in shape):
            raise BitquantError(f"{name!r} has the impossible shape {shape}: lengths are from 0 up")


def check_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Refuse metadata that are not texts."""
    for key, value in metadata.items():
        if not _is_text(key) or not _is_text(value):
            raise BitquantError(f"{path} cannot hold the metadata {key!r}: make key and value text")


def _is_text(x: Any) -> bool:
    """Whether x is a string that can be written as UTF-8 (no lone surrogates)."""
    try:
        return isinstance(x, str) and x.encode() is not None
    except UnicodeEncodeError:
        return False
