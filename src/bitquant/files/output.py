"""Files that are written whole or not at all: a temporary file in the same folder, fsync, then one rename."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bitquant.errors import BitquantError

__all__ = ["SUFFIXES", "check_output", "check_place", "kind", "replaced"]

SUFFIXES: Mapping[str, str] = {
    ".safetensors": "named tensors and metadata, bfloat16 and the 8-bit floats included",
    ".npz": "named tensors and metadata; plain NumPy reads it",
    ".npy": "one tensor",
}


def kind(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a file of tensors, or refuse it."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        *most, last = SUFFIXES
        raise BitquantError(f"{path} is of no known kind: the name has to end in {', '.join(most)} or {last}")
    return suffix


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
    if kind(path) == ".npy" and several:
        raise BitquantError(f"{path} can hold one tensor without metadata and no more: write .npz or .safetensors")
    return check_place(path, overwrite, source)


def check_place(
    path: str | os.PathLike[str], overwrite: bool = False, source: str | os.PathLike[str] | None = None
) -> Path:
    """Do what `check_output` does, for a file of any kind."""
    try:
        return _checked(path, overwrite, source)
    except OSError as error:
        raise _not_written(path, error) from error


def _checked(path: str | os.PathLike[str], overwrite: bool, source: str | os.PathLike[str] | None) -> Path:
    if "\0" in os.fspath(path):
        raise BitquantError(f"{os.fspath(path)!r} is no file name: choose another output file")
    real = Path(os.path.realpath(path))
    if source is not None and real.exists() and os.path.exists(source) and os.path.samefile(real, source):
        raise BitquantError(f"{path} is the input itself: choose another output file")
    if real.is_dir():
        raise BitquantError(f"{path} is a folder: give a file name in it")
    if not real.parent.is_dir():
        raise BitquantError(f"{path} cannot be written, there is no folder {real.parent}: create it")
    if real.exists() and not overwrite:
        raise BitquantError(f"{path} exists: choose another name, or replace it with overwrite=True (--force)")
    if not os.access(real.parent, os.W_OK | os.X_OK):
        raise BitquantError(f"{path} cannot be written, {real.parent} is read-only: choose another folder")
    return real


@contextmanager
def replaced(path: str | os.PathLike[str], overwrite: bool) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of `path` if the block ends well, and vanishes otherwise."""
    real = check_place(path, overwrite)
    # A short name of its own: a name made from the file's could be longer than a folder allows.
    temporary = real.parent / f".bitquant-{secrets.token_hex(8)}.tmp"
    try:
        # Not tempfile: its files are private (0600); this one has the permissions that the umask gives.
        with open(temporary, "x+b") as file:
            mode = (real if real.exists() else temporary).stat().st_mode
            yield file
        os.chmod(temporary, stat.S_IMODE(mode))  # safetensors puts a private file in its place
        with open(temporary, "rb") as file:  # by name: a library may have written it by name
            os.fsync(file.fileno())
        check_place(path, overwrite)  # someone may have written it meanwhile
        os.replace(temporary, real)
    except BaseException as error:  # KeyboardInterrupt too: nothing is left behind
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _not_written(path, error) from error
        raise
    _sync_folder(real.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename durable where the system can; where it cannot, the file is there all the same."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _not_written(path: str | os.PathLike[str], error: Exception) -> BitquantError:
    reason = getattr(error, "strerror", None) or str(error)
    return BitquantError(f"{path} was not written ({reason}) and nothing was changed: choose another place")
