"""A file made from another, or all files of a model: whole or not at all, and taken up again where a run was stopped.

# Design:
# A. A single file is written by way of a temporary one (output.py).
# B. Several files, of an index or loose ones, are put together in a folder of their own beside the target, named after
#    the input and what is done with it. They move to their places when all are there: what describes them first, the
#    index last. A run that was stopped leaves the folder, and the same command goes on after the last whole file.
# C. The folder of another run, of other options or another version, is never removed: it may hold the work of hours,
#    and that run may be started again. A run that is completed tells of those whose writer is gone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from bitquant._version import __version__
from bitquant.errors import BitquantError
from bitquant.files.loose import Given, check_loose, named
from bitquant.files.output import check_place, folder_called, held, left_in, made, replaced, sync_folder
from bitquant.files.quantized import KEY
from bitquant.files.sharded import INDEX, index_text
from bitquant.files.sink import Sink
from bitquant.files.source import Entry, Source
from bitquant.files.tensors import check_output
from bitquant.files.work import Advance

__all__ = ["Plan", "Result", "Run", "check_floats", "check_target", "copy", "share_out", "write_all", "write_one"]

# Calls a function with each pair of paths, wherever, and yields the first of each pair that is done.
Run: TypeAlias = Callable[[Callable[[Path, Path], None], list[tuple[Path, Path]]], Iterable[Path]]

_COPIED = 1 << 20  # numbers of a kept tensor at a time


@dataclass
class Result:
    """What became of the tensors.

    Attributes
    ----------
    rows : list of dict
        One for each tensor that was changed; of loose files, with the "file" that it is in.
    kept : dict of str to str
        The others, and why; after "FILE: " where a name is in several files.
    resumed : int
        How many files an earlier run had completed.
    left : dict of str to int
        Folders that other runs to the same place have left when they were stopped, and the bytes in each.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    resumed: int = 0
    left: dict[str, int] = field(default_factory=dict)


class Plan(ABC):
    """What is to be done with the tensors of one file."""

    source: Source

    @property
    def steps(self) -> int:
        """Bytes that are to be dealt with, each as often as it is read: once, where nothing else is said."""
        return sum(entry.nbytes for entry in self.source.tensors.values())

    @property
    @abstractmethod
    def told(self) -> list[Any]:
        """What makes two runs with the same file the same run."""

    @abstractmethod
    def write(
        self,
        output: Path,
        overwrite: bool,
        advance: Advance,
        result: Result,
        beside: Mapping[Path, str] | None = None,
    ) -> None:
        """Do it, into a file and the texts `beside` it, and add to the result what became of the tensors."""


def check_target(source: Given, output: Path, overwrite: bool, several: bool = False) -> None:
    """Refuse an output before any work is done for it; `several` as for `check_output`."""
    if isinstance(source, list):
        check_loose(source, output, several)
    elif output.name.lower().endswith(INDEX):
        check_place(output, overwrite, source)
    else:
        check_output(output, overwrite, source, several)


def check_floats(source: Given, parts: Sequence[Source]) -> None:
    """Refuse files that have no float tensor, or that hold codes."""
    for part in parts:
        if KEY in part.metadata:
            raise BitquantError(f"{part.path} holds codes, it has been quantized: give the file it was made from")
    if not any(entry.is_float for part in parts for entry in part.tensors.values()):
        raise BitquantError(f"there is no float tensor in {named(source)}: there is nothing to do, give another file")


def copy(source: Source, entry: Entry, sink: Sink, advance: Advance) -> None:
    """A tensor as it is, piece by piece."""
    for start in range(0, entry.count, _COPIED):
        stop = min(start + _COPIED, entry.count)
        sink.write(entry.name, source.read(entry.name, start, stop))
        advance(entry.name, entry.nbytes * (stop - start) // entry.count)


def write_all(
    source: Given,
    output: Path,
    plans: Sequence[Plan],
    overwrite: bool,
    start: Callable[[int], Advance],
    texts: Mapping[str, str] | None = None,
    elsewhere: Callable[[list[tuple[Plan, Path]], Advance], None] | None = None,
) -> Result:
    """Carry out the plans of a file, of an index, or of loose files; those of several `elsewhere`, if that is given.

    `texts` has what is written beside the files, by name. `elsewhere` is given plans and the places of their files, has
    `write_one` called for each, and returns when all are done.
    """
    result, texts = Result(), texts or {}
    folder = output if isinstance(source, list) else output.parent
    if not isinstance(source, list) and not output.name.lower().endswith(INDEX):
        if elsewhere is not None:
            raise BitquantError(
                f"{source} is shared out file by file: give several files and a folder, or an index and one to write"
            )
        if len(plans) > 1:
            raise BitquantError(f"{source} is an index of several files: give an output that ends in {INDEX}")
        beside = {folder / name: text for name, text in texts.items()}
        plans[0].write(output, overwrite, start(plans[0].steps), result, beside)
        return result
    if not isinstance(source, list) and not source.name.lower().endswith(INDEX):
        raise BitquantError(f"{output} is an index of several files, and {source} is one: give a file to write")
    index = {} if isinstance(source, list) else {output.name: source}
    part = folder_called(folder, _fingerprint(plans))
    names = [plan.source.path.name for plan in plans]
    for plan, name in zip(plans, names, strict=True):
        if folder.is_dir():
            check_place(folder / name, overwrite, plan.source.path)
    with made(folder), held(part):
        try:
            _put_together(part, plans, texts, index, start, result, elsewhere)
            for name in (*texts, *names, *index):
                check_place(folder / name, overwrite)  # someone may have written it meanwhile
        except BaseException as error:
            done = sum(_earlier(part, name) is not None for name in names)
            if not done:
                shutil.rmtree(part, ignore_errors=True)
            elif isinstance(error, BitquantError):
                raise BitquantError(
                    f"{error}; {done} files are whole, and the same command goes on after them"
                ) from error
            raise
        _move(part, folder, (*texts, *names, *index))
        shutil.rmtree(part, ignore_errors=True)
    result.left = left_in(folder)
    return result


def _put_together(
    folder: Path,
    plans: Sequence[Plan],
    texts: Mapping[str, str],
    index: Mapping[str, Path],
    start: Callable[[int], Advance],
    result: Result,
    elsewhere: Callable[[list[tuple[Plan, Path]], Advance], None] | None,
) -> None:
    """Write files into a folder, but for those that are there already (Design B), and what goes with them."""
    names = [plan.source.path.name for plan in plans]
    done = [_earlier(folder, name) for name in names]
    todo = [(plan, folder / name) for plan, name, old in zip(plans, names, done, strict=True) if old is None]
    advance = start(sum(plan.steps for plan, _ in todo))
    result.resumed = len(plans) - len(todo)
    if elsewhere is not None:
        elsewhere(todo, advance)
        done = [_earlier(folder, name) for name in names]
    times = Counter(tensor for plan in plans for tensor in plan.source.tensors)
    for plan, name, old in zip(plans, names, done, strict=True):
        part = write_one(plan, folder / name, advance) if old is None else old
        result.rows += part.rows if index else [{"file": name, **row} for row in part.rows]
        kept = part.kept.items()
        result.kept |= {tensor if times[tensor] == 1 else f"{name}: {tensor}": why for tensor, why in kept}
    indices = {name: index_text(path, {one: folder / one for one in names}) for name, path in index.items()}
    for name, text in (*texts.items(), *indices.items()):
        with replaced(folder / name, overwrite=True) as file:
            file.write(text.encode())


def _move(part: Path, folder: Path, names: Sequence[str]) -> None:
    """Move files that have been put together to their places, in this order."""
    for moved, name in enumerate(names):
        try:
            os.replace(part / name, folder / name)
        except OSError as error:
            raise BitquantError(
                f"{folder / name} was not written ({error.strerror}), and {moved} of {len(names)} files are in their "
                "places: run it again with overwrite=True (--force), which goes on from there"
            ) from error
    sync_folder(folder)


def share_out(run: Run, one: Callable[[Path, Path], None], todo: list[tuple[Plan, Path]], advance: Advance) -> None:
    """Have `one` called by `run` with each file and its place, under names that are the same in any folder.

    Links are not followed: the file that a link leads to may have a name that does not say what it is.
    """
    steps = {plan.source.path.absolute(): plan.steps for plan, _ in todo}
    for path in run(one, [(plan.source.path.absolute(), place.absolute()) for plan, place in todo]):
        advance(path.name, steps[path])


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


def _earlier(folder: Path, name: str) -> Result | None:
    """What an earlier run tells of a file that it completed."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((folder / f"{name}.json").read_text())
        if (folder / name).is_file():
            return Result(list(found["rows"]), dict(found["kept"]))
    return None
