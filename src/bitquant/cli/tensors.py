"""What `convert` and `quantize` share: the float tensors of a file, and errors that name the tensor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bitquant.cli.show import Screen
from bitquant.errors import BitquantError
from bitquant.files import read_tensors
from bitquant.formats import format

Tensors = dict[str, NDArray[Any]]


def open_floats(source: Path) -> tuple[Tensors, dict[str, str], list[str]]:
    """Read a file: its tensors, its metadata, and the names of those that are floats of a known format."""
    tensors, metadata = read_tensors(source)
    if "bitquant" in metadata:
        raise BitquantError(f"{source} holds codes, it has been quantized: give the file it was made from")
    floats = [name for name, tensor in tensors.items() if float_format(tensor) is not None]
    if not floats:
        raise BitquantError(f"{source} has no float tensor: there is nothing to do, give another file")
    return tensors, metadata, floats


def float_format(tensor: NDArray[Any]) -> str | None:
    """Return the name of the floating format of a tensor, or None."""
    try:
        found = format(tensor.dtype)
    except BitquantError:
        return None
    return None if found.is_integer else found.name


@contextmanager
def named(name: str) -> Iterator[None]:
    """Say which tensor an error is about."""
    try:
        yield
    except BitquantError as error:
        raise BitquantError(f"{name!r}: {error}") from error


def kept_line(screen: Screen, kept: list[tuple[str, str]]) -> None:
    """Print which tensors were left as they are, and why."""
    if kept:
        shown = ", ".join(f"{name} ({why})" for name, why in kept[:6])
        more = f" and {len(kept) - 6} more" if len(kept) > 6 else ""
        screen.note(f"kept as they are: {shown}{more}")
