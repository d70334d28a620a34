"""What every kind of tensor file is read through: a list of its tensors, and the numbers of one, some at a time.

# Design:
# A. A file is never in memory as a whole. Opening it reads and checks its header; `read` fetches the numbers asked for
#    and no more. Bytes come by `pread` into memory of the caller's own: pages of a memory-mapped file would count
#    as memory of the process, and a disk that fails would be a signal instead of an error.
# B. Numbers are addressed in C order from 0 to `count`, whatever the shape: a piece may be as small as is wanted, also
#    where one row of a tensor is larger than memory.
# C. Every error names the file, the tensor and the byte.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.formats import Format, format

__all__ = ["Descriptor", "Entry", "Source"]


@dataclass(frozen=True)
class Entry:
    """A tensor as a file has it.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : numpy.dtype
        Of the numbers that `Source.read` gives.
    stored : str
        What the file itself calls the kind of its numbers ("BF16", "<f4", "Q8_0" ...).
    file : pathlib.Path
        The file that it lies in: of a sharded model, the shard.
    offset : int or None
        The byte of `file` at which it begins, where the numbers lie in one run of bytes.
    nbytes : int
        Bytes that it takes in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: str
    file: Path
    offset: int | None
    nbytes: int

    @property
    def count(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    @cached_property
    def format(self) -> Format | None:
        """The format of the numbers, or None for texts, dates, complex numbers and truth values."""
        try:
            return format(self.dtype)
        except BitquantError:
            return None

    @property
    def is_float(self) -> bool:
        """Whether they are numbers of a floating format: what is converted and quantized."""
        return self.format is not None and not self.format.is_integer

    @property
    def place(self) -> str:
        """The file and the tensor, for the beginning of an error's sentence."""
        at = "" if self.offset is None else f" (from byte {self.offset})"
        return f"{self.file}: {self.name!r}{at}"


class Source(ABC):
    """A file of named tensors, open for reading. A context manager; `read` may be called from several threads.

    Attributes
    ----------
    path : pathlib.Path
    tensors : dict of str to Entry
        In the order in which they lie in the file.
    metadata : dict of str to str
    """

    path: Path
    tensors: dict[str, Entry]
    metadata: dict[str, str]

    @property
    def parts(self) -> list[Source]:
        """The files that the tensors lie in: itself, or the shards."""
        return [self]

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Fetch numbers `start` to `stop` of a tensor, counted in C order.

        Parameters
        ----------
        name : str
        start, stop : int
            0 ≤ start ≤ stop ≤ count; default: to the end.

        Returns
        -------
        ndarray of entry.dtype, shape (stop − start,)
            Writable, and the caller's own.

        Raises
        ------
        BitquantError
            When the file ends early, cannot be read, or is found damaged.
        """
        entry = self.tensors[name]
        stop = entry.count if stop is None else stop
        if not 0 <= start <= stop <= entry.count:
            raise BitquantError(f"{entry.place} has {entry.count} numbers: {start} to {stop} are not among them")
        try:
            return self._read(entry, start, stop)
        except OSError as error:
            raise BitquantError(f"{entry.place} cannot be read ({error.strerror or error}): copy it again") from error

    def array(self, name: str) -> NDArray[Any]:
        """Fetch a whole tensor, in its shape."""
        return self.read(name).reshape(self.tensors[name].shape)

    @abstractmethod
    def _read(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        """Do what `read` says; the numbers exist."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _named(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """The tensors in the order of their offsets."""
        return dict(sorted(entries.items(), key=lambda item: item[1].offset or 0))


class Descriptor:
    """A file that is open for reading at any byte, by any thread."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.number = -1
        try:
            self.number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            if self.path.is_dir():
                raise BitquantError(f"{path} is a folder: give a file in it")
            self.size = os.fstat(self.number).st_size
        except FileNotFoundError:
            raise BitquantError(f"there is no file {path}: check the name") from None
        except (OSError, ValueError) as error:
            self.close()
            reason = getattr(error, "strerror", None) or error
            raise BitquantError(f"{path} cannot be read ({reason}): check the file and its permissions") from error

    def fill(self, buffer: NDArray[np.uint8], offset: int, place: str) -> None:
        """Fill a buffer with the bytes from `offset` on; `place` names them in the error where they are not there."""
        view, done = buffer.data, 0
        while done < len(view):
            got = os.preadv(self.number, [view[done:]], offset + done)
            if not got:
                end = offset + done
                raise BitquantError(f"{place} ends at byte {end}, {len(view) - done} bytes early: copy the file again")
            done += got

    def bytes(self, offset: int, count: int, place: str) -> bytes:
        """The `count` bytes from `offset` on."""
        buffer = np.empty(count, np.uint8)
        self.fill(buffer, offset, place)
        return buffer.tobytes()

    def close(self) -> None:
        """Let go of the file."""
        if self.number >= 0:
            os.close(self.number)
            self.number = -1

    def __enter__(self) -> Descriptor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
