"""A range of least Kullback-Leibler divergence between a histogram and its quantized form.

The heuristic of TensorRT (S. Migacz, "8-bit Inference with TensorRT", GTC 2017), in the form that NVIDIA's tools gave
it. The magnitudes are counted in bins of equal width. For each number of bins i from `levels` up, what lies beyond is
clipped into bin i − 1 (the reference P); the i bins are merged into `levels` groups, and the count of each group
spread evenly over its bins that are not empty (the candidate Q). The threshold is the upper edge of the i bins whose
P and Q diverge least; of equal ones the largest.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.calibrate.channels import Numbered, Pair, Target
from bitquant.calibrate.numbers import Numbers
from bitquant.errors import BitquantError
from bitquant.formats import FP32, FP64, Format
from bitquant.quantize.rationals import nearest_code, number_at
from bitquant.rules import choose

ZEROS = {
    "as_neighbours": "the first bin, with the zeros, is given the count of the second, as NVIDIA's tools do",
    "counted": "the first bin counts as it is",
}


def ranges(
    channels: Iterable[Numbered],
    target: Target,
    *,
    bins: Any = 2048,
    levels: Any = 128,
    zeros: Any = "as_neighbours",
) -> list[Pair]:
    """The symmetric range of each channel; in the asymmetric scheme cut to where numbers are."""
    bins, levels = _count("bins", bins), _count("levels", levels)
    choose("zeros", zeros, ZEROS)
    if levels > bins:
        raise BitquantError(f"levels={levels} is more than bins={bins}: give at least as many bins")
    found = []
    for channel in channels:
        largest = channel.largest
        counts = np.zeros(bins, np.int64)
        if largest:
            counts += channel.added(True, partial(histogram, largest=largest, bins=bins))
        if zeros == "as_neighbours":
            counts[:1] = counts[1:2].sum()
        high = largest * best_edge(counts, levels) / bins
        found.append((-high, high) if target.symmetric else (max(-high, channel.low), min(high, channel.high)))
    return found


def histogram(numbers: Numbers, largest: Fraction, bins: int) -> NDArray[np.int64]:
    """How many magnitudes lie in each of `bins` bins of equal width from 0 to `largest`, which is in the last one.

    A number on an edge belongs to the bin above it. Exact: edges are rationals.
    """
    magnitudes = numbers.sides[0]
    keys = magnitudes.keys
    first = _firsts(largest, bins, FP32 if keys.dtype.itemsize == 4 else FP64)
    cuts = np.concatenate([[0], np.searchsorted(keys, first), [keys.size]]).astype(np.int64)
    if magnitudes.weights is None:
        counts = np.diff(cuts)
    else:
        counts = np.array([total[0] for total in magnitudes.totals(cuts, False)], np.int64)
    counts[0] += numbers.zeros
    return counts


def best_edge(counts: NDArray[np.int64], levels: int) -> int:
    """How many bins to keep."""
    beyond = np.append(np.cumsum(counts[::-1])[::-1], 0)  # counts from each bin on
    filled = counts > 0
    best, least = counts.size, np.inf
    for kept in range(levels, counts.size + 1):
        divergence = _divergence(counts[:kept], filled[:kept], int(beyond[kept]), levels)
        if divergence <= least:
            best, least = kept, divergence
    return best


def _divergence(counts: NDArray[np.int64], filled: NDArray[np.bool_], clipped: int, levels: int) -> float:
    """Σ P·log(P/Q) of bins with clipped counts in the last one, and of what `levels` groups make of them."""
    inside = int(counts.sum())
    # Without counts inside there is no Q; and where P is not zero but Q is, the divergence is infinite.
    if not inside or (clipped and not filled[-1]):
        return np.inf
    group = np.arange(counts.size) * levels // counts.size
    merged = np.bincount(group, counts, levels) / np.maximum(np.bincount(group, filled, levels), 1)
    reference = counts.astype(np.float64)
    reference[-1] += clipped
    p, q = reference[filled] / (inside + clipped), merged[group][filled] / inside
    return float(np.sum(p * np.log(p / q)))


@lru_cache(maxsize=4)  # the same for all pieces of a channel
def _firsts(largest: Fraction, bins: int, fmt: Format) -> NDArray[Any]:
    """For each bin but the first, the code of the smallest number in it."""
    return np.array([_at_least(largest * k / bins, fmt) for k in range(1, bins)], fmt.code_dtype)


def _at_least(value: Fraction, fmt: Format) -> int:
    """The code of the smallest number of a format that is not below a positive value."""
    code = nearest_code(value, fmt)
    return code + (number_at(code, fmt) < value)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise BitquantError(f"{name}={value!r} is not possible: give a positive integer")
    return int(value)


__all__ = ["best_edge", "histogram", "ranges"]
