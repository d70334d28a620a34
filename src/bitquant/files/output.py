"""Files that are written whole or not at all: a temporary file in the same folder, fsync, then one rename.

# Design:
# A. A process that is killed cannot clean up. Its temporary file is left, and is removed by whoever next writes to
#    that folder: the writer of a temporary file holds a lock on it, which the system lets go of when the process ends.
# B. Between making the file and locking it, somebody may have taken it for an orphan. So after locking, the writer
#    looks whether its file is still there, and makes another if not.
# C. A folder in which several files are put together is locked in the same way, by a file in it. So two runs do not
#    write into one, and one whose writer is gone can be told from one that is being written.
# D. What describes a file takes its place right before the file does, when all that can fail has been tried: whoever
#    finds the new file finds what describes it.
# E. A disk is slow, so it is given its work while the file is being made. The system tells an error of a disk once, to
#    whoever syncs first: that thread keeps it for the end.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bitquant.errors import BitquantError

try:
    import fcntl
except ImportError:  # not POSIX: orphans are left
    fcntl = None  # type: ignore[assignment]  # to mypy the name is a module

__all__ = ["check_place", "folder_called", "held", "left_in", "made", "replaced", "sync_folder"]

_PREFIX, _SUFFIX = ".bitquant-", ".tmp"
_FOLDER, _LOCK = ".part", "lock"
_PAUSE = 0.2  # seconds between two syncs of a file that is being written


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
def replaced(
    path: str | os.PathLike[str], overwrite: bool, beside: Mapping[Path, str] | None = None
) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of `path` if the block ends well, and vanishes otherwise.

    `beside` has the texts that take their places right before it does (Design D).
    """
    real = check_place(path, overwrite)
    temporary: Path | None = None
    changed: list[Path] = []
    try:
        _remove_orphans(real.parent)
        with _temporary(real.parent) as file:
            temporary = Path(file.name)
            mode = (real if real.exists() else temporary).stat().st_mode
            with _synced_meanwhile(file.fileno()):
                yield file
            file.flush()
            os.chmod(temporary, stat.S_IMODE(mode))
            with open(temporary, "rb") as written:  # by name: a library may have written it by name
                os.fsync(written.fileno())
            check_place(path, overwrite)  # someone may have written it meanwhile
            for place, text in (beside or {}).items():
                with replaced(place, overwrite) as other:
                    other.write(text.encode())
                changed.append(place)
            os.replace(temporary, real)
    except BaseException as error:  # KeyboardInterrupt too: nothing is left behind
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _not_written(path, error, changed) from error
        raise
    sync_folder(real.parent)


@contextmanager
def _synced_meanwhile(descriptor: int) -> Iterator[None]:
    """Bring to the disk what has been written while more is made (Design E)."""
    done, failed = threading.Event(), []

    def sync() -> None:
        try:
            while not done.wait(_PAUSE):
                os.fsync(descriptor)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    for error in failed:
        raise error


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


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """See that there is a folder; one that was made for a block that fails goes again, unless something is in it."""
    missing = not folder.is_dir()
    _make(folder)
    try:
        yield
    except BaseException:
        if missing:
            with suppress(OSError):
                folder.rmdir()
        raise


def folder_called(folder: Path, name: str) -> Path:
    """Where in `folder` several files are put together by the run of this name."""
    return folder / f"{_PREFIX}{name}{_FOLDER}"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make a folder, or take up one that was left, and keep other runs out of it (Design C)."""
    try:
        with _locked(folder):
            yield
    finally:
        with suppress(OSError):  # what a network's file system keeps of an open file goes when it is closed
            folder.rmdir()


def _locked(folder: Path) -> BinaryIO:
    """The open lock of a folder."""
    while True:
        _make(folder)
        try:
            file = open(folder / _LOCK, "ab")  # noqa: SIM115
        except FileNotFoundError:  # the run that was here has just ended, and removed the folder
            continue
        except OSError as error:
            raise _not_written(folder / _LOCK, error) from error
        if fcntl is None:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise BitquantError(f"{folder} is being written by another run of this command: wait for its end") from None
        except OSError:  # a file system without locks
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(file.name)):
                return file
        file.close()


def left_in(folder: Path) -> dict[str, int]:
    """What runs that were stopped have left in `folder`: their folders, and the bytes in each."""
    found = {}
    for path in sorted(folder.glob(f"{_PREFIX}*{_FOLDER}")):
        with suppress(OSError):
            size = sum(file.stat().st_size for file in path.iterdir())
            if size and not _is_held(path / _LOCK):
                found[str(path)] = size
    return found


def _is_held(lock: Path) -> bool:
    """Whether the writer of a folder is there, as far as can be known: if in doubt, it is."""
    if fcntl is None:
        return True
    try:
        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BitquantError(f"{folder} cannot be made ({error.strerror}): choose another place") from error


def sync_folder(folder: Path) -> None:
    """Make the rename durable where the system can; where it cannot, the file is there all the same."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _not_written(path: str | os.PathLike[str], error: Exception, changed: Iterable[Path] = ()) -> BitquantError:
    reason = getattr(error, "strerror", None) or str(error)
    but = ", ".join(map(str, changed))
    what = f", but {but}, which belongs to it, was" if but else " and nothing was changed"
    return BitquantError(f"{path} was not written ({reason}){what}: choose another place")
