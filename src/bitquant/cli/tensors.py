"""What `convert` and `quantize` share: what is told while a file is written, and of the tensors that were kept."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from bitquant.cli.show import Screen
from bitquant.files import Result, Run

Start = Callable[[int], Callable[[str, int], None]]
_EVERY = 10.0  # seconds between two lines of a log


@contextmanager
def progress(what: str) -> Iterator[Start]:
    """What is given the bytes there are to deal with: a bar on standard error on a terminal, else lines in a log.

    A run that takes less than ten seconds has no lines.
    """
    if not sys.stderr.isatty():
        yield lambda total: _Log(what, total).advance
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.fields[what]}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[name]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def start(total: int) -> Callable[[str, int], None]:
            task = bar.add_task("", total=total, what=what, name="")
            return lambda name, done: bar.update(task, advance=done, name=_printable(name))

        yield start


class _Log:
    """Lines on standard error, one now and then."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.began = self.told = time.monotonic()

    def advance(self, name: str, done: int) -> None:
        self.done += done
        now = time.monotonic()
        if now - self.told < _EVERY:
            return
        self.told = now
        rate = self.done / (now - self.began)
        left = (self.total - self.done) / rate if rate else 0
        print(
            f"{self.what}: {self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB, {rate / 1e6:.0f} MB/s, "
            f"{left:.0f} s to go, at {name.encode('unicode_escape').decode()}",
            file=sys.stderr,
            flush=True,
        )


def _printable(name: str) -> str:
    """A name that moves no cursor and is no markup."""
    return name.encode("unicode_escape").decode().replace("[", "\\[")


def given(sources: list[Path], output: Path) -> Path | list[Path]:
    """One file, or several for a folder; one goes into a folder that is there, too: a pattern may match one."""
    return sources if len(sources) > 1 or output.is_dir() else sources[0]


def input_of(sources: list[Path]) -> str | list[str]:
    """What JSON says was read."""
    return str(sources[0]) if len(sources) == 1 else [str(source) for source in sources]


def workers(address: str | None) -> AbstractContextManager[Run | None]:
    """What shares several files out among the workers of a dask cluster, if there is one."""
    if address is None:
        return nullcontext()
    from bitquant.dask import on_workers

    return on_workers(address)


def labels(rows: list[dict[str, Any]]) -> list[str]:
    """What tensors are called: their names, after the file where several have the name."""
    times = Counter(row["name"] for row in rows)
    return [f"{row['file']}: {row['name']}" if times[row["name"]] > 1 else row["name"] for row in rows]


def kept_line(screen: Screen, kept: list[tuple[str, str]], what: str = "kept as they are") -> None:
    """Print which tensors were left out, and why: the first of them."""
    if kept:
        shown = ", ".join(f"{name} ({why})" for name, why in kept[:6])
        more = f" and {len(kept) - 6} more" if len(kept) > 6 else ""
        screen.note(f"{what}: {shown}{more}")


def runs_line(screen: Screen, result: Result) -> None:
    """Print what earlier runs have left: files that this one went on after, and folders of other runs."""
    if result.resumed:
        screen.line(f"{result.resumed} files were whole from an earlier run that was stopped")
    for folder, size in result.left.items():
        screen.line(
            f"{folder} is left of another run that was stopped, {size:,} bytes: start that run again, or remove it"
        )
