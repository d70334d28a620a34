"""Every code of a source of up to 32 bits, in chunks, by one thread or several."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.auditing.candidate import Candidate
from bitquant.auditing.report import KEEP, mismatches_of
from bitquant.errors import BitquantError
from bitquant.layouts import check_threads

__all__ = ["Progress", "Walked", "walk"]

# Called with how many inputs of how many are done; or True: a bar on standard error.
Progress: TypeAlias = Callable[[int, int], None] | bool | None

_CHUNK = 1 << 20  # codes of 32 bits in four megabytes


class Walked(NamedTuple):
    """What a walk found: codes tried, mismatches by cause, and the first of them."""

    tried: int
    causes: dict[str, int]
    mismatches: NDArray[Any]


def walk(
    candidate: Candidate,
    expected: Callable[[Array], Array],
    differing: Callable[[Array, Array, Array], NDArray[np.intp]],
    explained: Callable[[Array, Array, Array], NDArray[Any]],
    threads: int | None,
    progress: Progress,
) -> Walked:
    """Compare all codes: `expected` gives what is right, `differing` says where, `explained` why not."""
    check_threads(threads)
    source, target = candidate.source, candidate.target
    total = 2**source.bits
    step = min(_CHUNK, total)
    base = np.arange(step, dtype=source.code_dtype)

    def chunk(start: int) -> tuple[Array, Array, Array, NDArray[Any]] | None:
        codes = base + source.code_dtype.type(start)
        received, right = candidate(codes), expected(codes)
        if np.array_equal(received, right):
            return None
        wrong = differing(codes, right, received)
        if not wrong.size:
            return None
        codes, right, received = codes[wrong], right[wrong], received[wrong]
        return codes, right, received, explained(codes, right, received)

    causes: Counter[str] = Counter()
    kept: list[tuple[Array, Array, Array, NDArray[Any]]] = []
    held = 0
    workers = len(os.sched_getaffinity(0)) if threads is None else int(threads)
    starts = range(0, total, step)
    with _told(progress) as told, ThreadPoolExecutor(workers) as pool:
        # A few chunks per worker at a time: results come in order, and no more than those wait.
        for first in range(0, len(starts), 16 * workers):
            some = starts[first : first + 16 * workers]
            for found in pool.map(chunk, some) if workers > 1 else map(chunk, some):
                if found is not None:
                    causes.update(found[3].tolist())
                    if held < KEEP:
                        codes, right, received, why = (part[: KEEP - held] for part in found)
                        kept.append((codes, right, received, why))
                        held += codes.size
            told(min(total, (first + len(some)) * step), total)
    parts = [np.concatenate(part) for part in zip(*kept, strict=True)] if kept else None
    empty = [np.empty(0, dtype) for dtype in (source.code_dtype, target.code_dtype, target.code_dtype, "U48")]
    return Walked(total, dict(causes), mismatches_of(*(parts or empty)))


@contextmanager
def _told(progress: Progress) -> Iterator[Callable[[int, int], None]]:
    if progress is not True:
        yield progress or (lambda done, total: None)
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
    except ImportError as error:
        raise BitquantError(
            "progress=True draws a bar with rich: pip install 'bitquant[cli]', or pass a function"
        ) from error
    with Bar(BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("")
        yield lambda done, total: bar.update(task, completed=done, total=total)
