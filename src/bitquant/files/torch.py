"""`.pt`, `.pth` and `.bin`: PyTorch state dicts, loaded with `weights_only`, which runs no code of the file's.

The library maps the file, so that a tensor's numbers come from the disk when they are read. A dict in a dict gives
names with a dot between, as PyTorch's own; what is no tensor is left out, texts and numbers are metadata.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import take
from bitquant.errors import BitquantError
from bitquant.files.source import Descriptor, Entry, Source

__all__ = ["TorchSource"]

_UNREADABLE = np.dtype("V1")  # of tensors that are listed and not read


def _library() -> Any:
    try:
        import torch
    except ImportError:
        raise BitquantError("PyTorch's files need PyTorch: pip install torch") from None
    return torch


class TorchSource(Source):
    """A state dict."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        torch = _library()
        Descriptor(path).close()  # for the errors of files that are not there
        self.tensors, self.metadata, self._found = {}, {}, {}
        for name, value in _leaves(_load(torch, self.path), "", self.path):
            if not isinstance(value, torch.Tensor):
                if isinstance(value, (str, int, float)):
                    self.metadata[name] = str(value)
                continue
            if name in self.tensors:
                raise BitquantError(f"{path}: there are two tensors called {name!r}: rename one")
            stored = str(value.dtype).removeprefix("torch.")
            self._found[name] = value
            size = value.element_size()
            self.tensors[name] = Entry(
                name, tuple(value.shape), _dtype(value), stored, self.path, None, value.numel() * size
            )

    def _read(self, entry: Entry, start: int, stop: int) -> NDArray[Any]:
        tensor = self._found[entry.name]
        if entry.dtype == _UNREADABLE:
            what = f"{entry.stored}, {str(tensor.layout).removeprefix('torch.')}"
            raise BitquantError(f"{entry.place} is a tensor of {what}, which is not read: make it dense")
        # A contiguous tensor is a view of the mapped file; another one is put in order, which takes memory for it.
        flat, _ = take(tensor.reshape(-1)[start:stop])
        return flat.copy()

    def close(self) -> None:
        """Let go of the file."""
        self._found.clear()


def _load(torch: Any, path: Path) -> Any:
    """What is in the file; mapped where the file is of the kind that can be (since PyTorch 1.6)."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # whatever a hostile file makes of the loader
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise BitquantError(
            f"{path} cannot be loaded with weights_only ({reason}): save a state dict, model.state_dict()"
        ) from error


def _leaves(value: Any, name: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Names and values of a dict, and of the dicts in it."""
    if not isinstance(value, Mapping):
        yield name or path.stem, value
        return
    for key, item in value.items():
        yield from _leaves(item, f"{name}.{key}" if name else str(key), path)


def _dtype(tensor: Any) -> np.dtype[Any]:
    """What reading gives; a dtype without a format for what is not read."""
    try:
        return take(tensor.reshape(-1)[:0])[0].dtype
    except (BitquantError, RuntimeError, TypeError):
        return _UNREADABLE
