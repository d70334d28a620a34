"""`bitquant inspect`: what low precision would do to the tensors of files, what would hurt most first."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bitquant.cli.show import Part, Screen, number, print_json, size
from bitquant.cli.tensors import kept_line, progress
from bitquant.errors import BitquantError
from bitquant.files import Entry, Source, check_place, open_tensors, replaced
from bitquant.files.work import in_order
from bitquant.inspecting import TensorSummary, html_of, inspect_stream, worst_first

_HEADS = ("tensor", "shape", "format", "max |x|", "σ", "> 6σ", "FP16", "E4M3", "INT8", "rows")
_THREADS = 3  # tensors that are looked at together, each in some 60 MB
_LEAD = 3  # the columns that say what the tensor is; the others are figures
_NOTE = (
    "σ: the farthest number from the mean, in standard deviations. FP16, E4M3: the share of numbers that overflow or "
    "become zero there. INT8: signal-to-noise ratio in dB, symmetric, one step for the tensor; rows: one for each row."
)


def run(
    sources: list[Path], only: list[str], skip: list[str], top: int, html: Path | None, force: bool, as_json: bool
) -> None:
    """Look at every float tensor of the files, and tell."""
    if html is not None:
        check_place(html, force)
    found: list[TensorSummary] = []
    kept: list[tuple[str, str]] = []
    for source in sources:
        front = f"{source.name}: " if len(sources) > 1 else ""
        with open_tensors(source) as opened:
            reasons = {entry.name: why for entry in opened.tensors.values() if (why := _why_not(entry, only, skip))}
            kept += [(front + name, why) for name, why in reasons.items()]
            chosen = [entry for entry in opened.tensors.values() if entry.name not in reasons]
            with progress("inspecting") as start:
                advance = start(sum(entry.nbytes for entry in chosen))
                for entry, one in zip(chosen, _summaries(opened, front, chosen), strict=True):
                    found.append(one)
                    advance(entry.name, entry.nbytes)
    if not found:
        raise BitquantError(f"no tensor of {', '.join(map(str, sources))} is a float to look at: give another file")
    found = worst_first(found)
    if html is not None:
        title = ", ".join(source.name for source in sources)
        with replaced(html, force) as file:
            file.write(html_of(title, found, kept).encode())
    if as_json:
        left = [{"name": name, "reason": why} for name, why in kept]
        facts = [one.as_dict() for one in found]
        print_json({"inputs": [str(source) for source in sources], "tensors": facts, "kept": left})
        return
    _show(found, kept, top)
    if html is not None:
        Screen().line("written: ", (str(html), "green"))


def _summaries(source: Source, front: str, chosen: list[Entry]) -> Iterator[TensorSummary]:
    """Look at tensors, a few at a time; `front` says which file they are in, if there are several."""
    ended = threading.Event()

    def look(entry: Entry) -> TensorSummary:
        def read(start: int, stop: int) -> NDArray[Any]:
            if ended.is_set():  # by an error, or Ctrl-C: nobody waits for the other tensors
                raise CancelledError
            return source.read(entry.name, start, stop)

        return inspect_stream(front + entry.name, entry.shape, entry.dtype, read)

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            yield from in_order(pool, look, chosen)
        finally:
            ended.set()


def _why_not(entry: Entry, only: list[str], skip: list[str]) -> str:
    """Say why a tensor is not looked at; an empty text where it is."""
    if not entry.is_float:
        return entry.stored
    if only and not any(fnmatchcase(entry.name, pattern) for pattern in only):
        return "not in --only"
    return "--skip" if any(fnmatchcase(entry.name, pattern) for pattern in skip) else ""


def _show(found: list[TensorSummary], kept: list[tuple[str, str]], top: int) -> None:
    screen = Screen()
    shown = found[:top] if top else found
    screen.table(_HEADS, [_cells(one) for one in shown], lead=_LEAD)
    for one in found:
        if one.nan or one.infinite:
            screen.line((f"{one.name} has {one.nan:,} NaN and {one.infinite:,} infinities", "red"), ", left out above")
    if len(shown) < len(found):
        screen.note(f"{len(found) - len(shown)} more, less at risk: --top 0 shows all")
    kept_line(screen, kept, "not looked at")
    screen.note(_NOTE)
    numbers = sum(one.count for one in found)
    screen.line(f"{len(found)} tensors, {numbers:,} numbers")


def _cells(one: TensorSummary) -> list[Part]:
    lost = (one.share(name, "overflow") + one.share(name, "flushed") for name in ("float16", "float8_e4m3fn"))
    return [
        (one.name, "cyan"),
        size(one.shape),
        one.format,
        _figure(max(-one.low, one.high)),
        _figure(one.largest_sigma),
        _share(one.beyond[6]),
        *(_share(value) for value in lost),
        _ratio(one.int8_db),
        _ratio(one.int8_rows_db),
    ]


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else number(value)


def _share(value: float) -> Part:
    if math.isnan(value) or value == 0:
        return "–" if value else "0"
    return (f"{value:.1%}" if value >= 0.0005 else "<0.1%", "yellow" if value > 0.01 else "")


def _ratio(value: float) -> Part:
    return "–" if math.isnan(value) else (f"{value:.1f}", "red" if value < 20 else "")


__all__ = ["run"]
