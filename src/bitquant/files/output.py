"""Files that are written whole or not at all: a temporary file in the same folder, fsync, then one rename.

# Design:
# A. A process that is killed cannot clean up. Its temporary file is left, and is removed by whoever next writes to
#    that folder: the writer of a temporary file holds a lock on it, which the system lets go of when the process ends.
# B. Between making the file and locking it, somebody may have taken it for an orphan. So after locking, the writer
#    looks whether its file is still there, and makes another if not.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bitquant.errors import BitquantError

try:
    import fcntl
except ImportError:  # not POSIX: orphans are left
    fcntl = None  # type: ignore[assignment]

__all__ = ["check_place", "replaced"]

_PREFIX, _SUFFIX = ".bitquant-", ".tmp"


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
    temporary: Path | None = None
    try:
        _remove_orphans(real.parent)
        with _temporary(real.parent) as file:
            temporary = Path(file.name)
            mode = (real if real.exists() else temporary).stat().st_mode
            yield file
            file.flush()
            os.chmod(temporary, stat.S_IMODE(mode))
            with open(temporary, "rb") as written:  # by name: a library may have written it by name
                os.fsync(written.fileno())
            check_place(path, overwrite)  # someone may have written it meanwhile
            os.replace(temporary, real)
    except BaseException as error:  # KeyboardInterrupt too: nothing is left behind
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _not_written(path, error) from error
        raise
    _sync_folder(real.parent)


def _temporary(folder: Path) -> BinaryIO:
    """A new file that others leave alone as long as it is open (Design A, B)."""
    while True:
        # A short name of its own: a name made from the target's could be longer than a folder allows. Not tempfile:
        # its files are private (0600); this one has the permissions that the umask gives.
        file = open(folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}", "x+b")  # noqa: SIM115
        if fcntl is None:
            return file
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(file.name):
            return file
        file.close()


def _remove_orphans(folder: Path) -> None:
    """Remove temporary files whose writers are no more."""
    if fcntl is None:
        return
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError), open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


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
