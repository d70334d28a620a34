"""Every code of a source of up to 32 bits, in chunks, by one thread or several."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.auditing.candidate import Candidate
from bitquant.auditing.report import KEEP, mismatches_of
from bitquant.layouts import check_threads

__all__ = ["Walked", "walk"]

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
    progress: Callable[[int, int], None] | None,
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
    with ThreadPoolExecutor(workers) as pool:
        # A few chunks per worker at a time: results come in order, and no more than those wait.
        for first in range(0, len(starts), 16 * workers):
            some = starts[first : first + 16 * workers]
            for found in pool.map(chunk, some) if workers > 1 else map(chunk, some):
                if found is not None:
                    causes.update(found[3].tolist())
                    if held < KEEP:
                        kept.append(tuple(part[: KEEP - held] for part in found))  # type: ignore[arg-type]
                        held += kept[-1][0].size
            if progress is not None:
                progress(min(total, (first + len(some)) * step), total)
    parts = [np.concatenate(part) for part in zip(*kept, strict=True)] if kept else None
    empty = [np.empty(0, dtype) for dtype in (source.code_dtype, target.code_dtype, target.code_dtype, "U48")]
    return Walked(total, dict(causes), mismatches_of(*(parts or empty)))
