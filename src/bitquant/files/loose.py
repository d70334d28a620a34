"""What is given to be quantized or converted: a file, an index, or several files that no index joins.

Such loose files are written under their own names into one folder. Nothing says that they are parts of one model: a
tensor's name may be in two of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

from bitquant.errors import BitquantError
from bitquant.files.output import check_place
from bitquant.files.source import Source
from bitquant.files.tensors import KINDS, open_tensors

__all__ = ["Given", "check_loose", "given", "named", "opened"]

Given: TypeAlias = Path | list[Path]


def given(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Given:
    """The path of a file or an index, or those of loose files."""
    if isinstance(source, str | os.PathLike):
        return Path(source)
    paths = [Path(path) for path in source]
    if not paths:
        raise BitquantError("no file is given: give one or more")
    return paths


def named(source: Given) -> str:
    """What a message calls it."""
    if not isinstance(source, list):
        return str(source)
    return f"{source[0]} and {len(source) - 1} more" if len(source) > 1 else str(source[0])


@contextmanager
def opened(source: Given) -> Iterator[list[Source]]:
    """Open the file, the files of the index, or the loose files."""
    with ExitStack() as stack:
        sources = [
            stack.enter_context(open_tensors(path)) for path in ([source] if isinstance(source, Path) else source)
        ]
        yield [part for one in sources for part in one.parts]


def check_loose(source: list[Path], folder: Path, several: bool) -> None:
    """Refuse loose files, or a folder for them, before they are opened; `several` as for `check_output`."""
    kinds = (".safetensors", ".npz") if several else (".safetensors", ".npz", ".npy")
    if not folder.is_dir():
        if folder.exists() or folder.name.lower().endswith(tuple(KINDS)):
            raise BitquantError(
                f"{folder} is a file, or called like one, and {named(source)} go into a folder: give one"
            )
        check_place(folder)
    before: dict[str, Path] = {}
    for path in source:
        if not path.name.lower().endswith(kinds):
            raise BitquantError(
                f"{path} goes into no folder with others, where files are {', '.join(kinds)}: give it by itself, "
                "and a file to write"
            )
        if path.name in before:
            raise BitquantError(
                f"{before[path.name]} and {path} would both be {folder / path.name}: write one of them into "
                "another folder"
            )
        before[path.name] = path
