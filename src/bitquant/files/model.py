"""A file made from another, or all files of a model: whole or not at all, and taken up again where a run was stopped.

# Design:
# A. A single file is written by way of a temporary one (output.py).
# B. A model of several files is put together in a folder of its own beside the target, named after the input and what
#    is done with it. Its files move to their places when all are there, the index last. A run that was stopped leaves
#    the folder, and the same command goes on after the last file that is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from bitquant._version import __version__
from bitquant.errors import BitquantError
from bitquant.files.output import check_place, replaced
from bitquant.files.quantized import KEY
from bitquant.files.sharded import INDEX, index_text
from bitquant.files.sink import Sink
from bitquant.files.source import Entry, Source
from bitquant.files.tensors import check_output
from bitquant.files.work import Advance

__all__ = ["Elsewhere", "Plan", "Result", "check_target", "copy", "floats_of", "write_all", "write_one"]

_COPIED = 1 << 20  # numbers of a kept tensor at a time


@dataclass
class Result:
    """What became of the tensors.

    Attributes
    ----------
    rows : list of dict
        One for each tensor that was changed.
    kept : dict of str to str
        The others, and why.
    resumed : int
        How many files an earlier run had completed.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    resumed: int = 0


class Plan(ABC):
    """What is to be done with the tensors of one file."""

    source: Source

    @property
    @abstractmethod
    def steps(self) -> int:
        """Bytes that are to be dealt with, each as often as it is read."""

    @property
    @abstractmethod
    def told(self) -> list[Any]:
        """What makes two runs with the same file the same run."""

    @abstractmethod
    def write(self, output: Path, overwrite: bool, advance: Advance, result: Result) -> None:
        """Do it, into a file, and add to the result what became of the tensors."""


def check_target(source: Path, output: Path, overwrite: bool) -> None:
    """Refuse an output before any work is done for it."""
    if output.name.lower().endswith(INDEX):
        check_place(output, overwrite, source)
    else:
        check_output(output, overwrite, source)


def floats_of(source: Source) -> list[str]:
    """The names of the float tensors; a file that has none, or that holds codes, is refused."""
    if any(KEY in part.metadata for part in source.parts):
        raise BitquantError(f"{source.path} holds codes, it has been quantized: give the file it was made from")
    floats = [name for name, entry in source.tensors.items() if entry.is_float]
    if not floats:
        raise BitquantError(f"{source.path} has no float tensor: there is nothing to do, give another file")
    return floats


def copy(source: Source, entry: Entry, sink: Sink, advance: Advance) -> None:
    """A tensor as it is, piece by piece."""
    for start in range(0, entry.count, _COPIED):
        stop = min(start + _COPIED, entry.count)
        sink.write(entry.name, source.read(entry.name, start, stop))
        advance(entry.name, entry.nbytes * (stop - start) // entry.count)


Elsewhere: TypeAlias = Callable[[list[tuple[Plan, Path]], Advance], None]


def write_all(
    source: Path,
    output: Path,
    plans: Sequence[Plan],
    overwrite: bool,
    start: Callable[[int], Advance],
    elsewhere: Elsewhere | None = None,
) -> Result:
    """Carry out the plans of a file, or of the files of an index; these `elsewhere` where that is given.

    `elsewhere` is given plans and the places of their files, has `write_one` called for each, and returns when all are
    done.
    """
    result = Result()
    if elsewhere is not None and not output.name.lower().endswith(INDEX):
        raise BitquantError(f"{source} is shared out file by file: give an index of several files, and one to write")
    if not output.name.lower().endswith(INDEX):
        if len(plans) > 1:
            raise BitquantError(f"{source} is an index of several files: give an output that ends in {INDEX}")
        plans[0].write(output, overwrite, start(plans[0].steps), result)
        return result
    if not source.name.lower().endswith(INDEX):
        raise BitquantError(f"{output} is an index of several files, and {source} is one: give a file to write")
    places = [output.parent / plan.source.path.name for plan in plans]
    for place, plan in zip(places, plans, strict=True):
        check_place(place, overwrite, plan.source.path)
    folder = output.parent / f".bitquant-{_fingerprint(plans)}.part"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BitquantError(f"{folder} cannot be made ({error.strerror}): choose another place") from error
    try:
        _put_together(source, output, places, plans, folder, start, result, elsewhere)
        for place in (*places, output):
            check_place(place, overwrite)
        for place in (*places, output):  # the index last: who has it has all that it names
            os.replace(folder / place.name, place)
    except BaseException as error:
        done = sum(1 for _ in folder.glob("*.json"))
        if not done:
            shutil.rmtree(folder, ignore_errors=True)
        elif isinstance(error, BitquantError):
            raise BitquantError(f"{error}; {done} files are whole, and the same command goes on after them") from error
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return result


def _put_together(
    source: Path,
    output: Path,
    places: Sequence[Path],
    plans: Sequence[Plan],
    folder: Path,
    start: Callable[[int], Advance],
    result: Result,
    elsewhere: Elsewhere | None,
) -> None:
    """Write the files of a model into a folder, but for those that are there already (Design B)."""
    done = [_earlier(folder / f"{place.name}.json", folder / place.name) for place in places]
    advance = start(sum(plan.steps for plan, old in zip(plans, done, strict=True) if old is None))
    result.resumed = sum(old is not None for old in done)
    if elsewhere is not None:
        todo = zip(places, plans, done, strict=True)
        elsewhere([(plan, folder / place.name) for place, plan, old in todo if old is None], advance)
        done = [_earlier(folder / f"{place.name}.json", folder / place.name) for place in places]
    for place, plan, old in zip(places, plans, done, strict=True):
        part = write_one(plan, folder / place.name, advance) if old is None else old
        result.rows += part.rows
        result.kept |= part.kept
    with replaced(folder / output.name, overwrite=True) as file:
        file.write(index_text(source, {place.name: folder / place.name for place in places}).encode())


def write_one(plan: Plan, place: Path, advance: Advance) -> Result:
    """Write one of several files, and beside it what became of its tensors, for a run that goes on later."""
    part = Result()
    plan.write(place, True, advance, part)
    with replaced(place.with_name(f"{place.name}.json"), overwrite=True) as file:
        file.write(json.dumps({"rows": part.rows, "kept": part.kept}).encode())
    return part


def _fingerprint(plans: Sequence[Plan]) -> str:
    """Of the input, what is done with it, and this version: what makes two runs the same run."""
    told: list[Any] = [__version__]
    for plan in plans:
        status = os.stat(plan.source.path)
        told.append((os.path.realpath(plan.source.path), status.st_size, status.st_mtime_ns, plan.told))
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _earlier(told: Path, written: Path) -> Result | None:
    """What an earlier run tells of a file that it completed."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(told.read_text())
        if written.is_file():
            return Result(list(found["rows"]), dict(found["kept"]))
    return None
