"""Arrays of any layout through a pipeline: in one run, shared among threads, or gathered a buffer at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bitquant.arrays import Array
from bitquant.errors import BitquantError
from bitquant.kernels.pipeline import Pipeline

if TYPE_CHECKING:
    from bitquant.kernels.pipeline import Counts

_THREAD_SHARE = 1 << 20  # numbers for which a further thread pays
_PAGE = 1 << 12  # threads share an array at multiples of this
_BUFFER = 1 << 14  # numbers of a strided array that are gathered at a time


def check_threads(threads: Any) -> None:
    """Raise BitquantError unless this is a number of threads, or None."""
    if threads is not None and (not isinstance(threads, (int, np.integer)) or threads < 1):
        raise BitquantError(f"threads={threads!r}: give a number from 1 up, or None for one on each processor")


def run(
    pipeline: Pipeline,
    array: Array,
    result: Array,
    mask: Array | None,
    threads: int | None,
    random: Array | None = None,
) -> Counts | None:
    """Take an array through a pipeline into another of its shape, and return what was counted.

    `random`, for stochastic rounding, holds a contiguous word for each number in C order.
    """
    plain = array.flags.c_contiguous and result.flags.c_contiguous and array.dtype.isnative and result.dtype.isnative
    if not plain:
        return _run_strided(pipeline, array, result, mask, random)
    if threads == 1:
        return pipeline.run(array, result, mask, random=random)
    parts = in_parts(lambda start, stop: pipeline.run(array, result, mask, start, stop, random), array.size, threads)
    return _added(parts)


def in_parts(work: Callable[[int, int], Any], size: int, threads: int | None) -> list[Any]:
    """Call work(start, stop) for runs that cover range(size), in as many threads as are allowed and pay."""
    check_threads(threads)
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(-(-size // int(threads)), _THREAD_SHARE)
    step = -(-share // _PAGE) * _PAGE
    if step >= size:
        return [work(0, size)]
    starts = range(0, size, step)
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and one thread is the default

    with ThreadPoolExecutor(len(starts)) as pool:
        parts = [pool.submit(work, start, min(start + step, size)) for start in starts]
    return [part.result() for part in parts]


def _run_strided(
    pipeline: Pipeline, array: Array, result: Array, mask: Array | None, random: Array | None
) -> Counts | None:
    """Gather, convert and scatter one buffer at a time, so that no layout costs a copy of the array."""
    read, write = _words(array), _words(result)
    operands = [read, write] if mask is None else [read, write, mask]
    read_only: list[Literal["readonly", "writeonly"]] = ["readonly"]
    write_only: list[Literal["readonly", "writeonly"]] = ["writeonly"]
    roles = [read_only, *([write_only] * (len(operands) - 1))]
    parts, done = [], 0
    flat = None if random is None else random.reshape(-1)
    with np.nditer(
        operands,
        ["external_loop", "buffered", "zerosize_ok", "delay_bufalloc"],
        roles,
        [word.dtype.newbyteorder("=") for word in operands],
        order="C",
        casting="equiv",
        buffersize=_BUFFER,
    ) as buffers:
        buffers.reset()
        for chunk in buffers if array.size else ():
            source, target = (np.ascontiguousarray(chunk[0]), chunk[1])
            direct = target.flags.c_contiguous
            written = target if direct else np.empty(target.shape, target.dtype)
            flags = None if mask is None else chunk[2]
            words = None if flat is None else flat[done : done + source.size]
            counts = pipeline.run(source, written, flags, random=words, index=done)
            if not direct:
                target[...] = written
            if counts is not None and counts[6] >= 0:
                counts = (*counts[:6], counts[6] + done, counts[7])
            parts.append(counts)
            done += source.size
    return _added(parts)


def _words(array: Array) -> Array:
    """The same memory as unsigned words: nditer need not know the dtype."""
    order = ">" if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and not np.little_endian) else "<"
    return array.view(f"{order}u{array.dtype.itemsize}")


def _added(parts: Sequence[Any]) -> Counts | None:
    """Counts of several runs as those of one."""
    if not parts or parts[0] is None:
        return None
    first = next((part for part in parts if part[6] >= 0), parts[0])
    invalid, overflow, underflow, inexact, nans, ranges = (sum(part[k] for part in parts) for k in range(6))
    return invalid, overflow, underflow, inexact, nans, ranges, first[6], first[7]
