"""Ranges of what an observer has seen: the methods of calibration over a histogram."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bitquant.calibrate import deviation, entropy, minmax
from bitquant.calibrate.channels import Pair, Target
from bitquant.calibrate.histogram import Histogram
from bitquant.calibrate.numbers import Numbers
from bitquant.calibrate.percentile import INTERPOLATIONS, TAILS, fraction_of, ranks
from bitquant.errors import BitquantError
from bitquant.rules import choose

OVER_HISTOGRAMS = {
    "mse": "least squared error of the bins' middles",
    "percentile": "the bins in which order statistics lie",
    "entropy": "least Kullback-Leibler divergence",
    "std": "standard deviations of the bins' middles",
    "minmax": "the extremes, exactly",
}


class Seen:
    """A histogram and exact extremes, as the methods of calibration want numbers."""

    def __init__(self, histogram: Histogram, pairs: list[Pair]) -> None:
        self.histogram, self._pairs = histogram, pairs

    def numbers(self, folded: bool) -> Iterator[Numbers]:
        """Each channel's bins, as numbers in their middles."""
        return self.histogram.numbers(folded)

    def ranges(self) -> list[Pair]:
        """The exact extremes of each channel."""
        return self._pairs


def percentiles(
    seen: Seen, target: Target, *, percentile: Any = "99.9", tails: Any = "both", interpolation: Any = "inverted_cdf"
) -> list[Pair]:
    """The outer ends of the bins in which order statistics lie, cut to the exact extremes."""
    choose("tails", tails, TAILS)
    if choose("interpolation", interpolation, INTERPOLATIONS) != "inverted_cdf":
        raise BitquantError("between bins there is nothing to interpolate: leave interpolation out")
    share = fraction_of(percentile)
    histogram = seen.histogram.folded() if target.symmetric else seen.histogram
    found = []
    for channel, (least, most) in enumerate(seen.ranges()):
        n = histogram.size(channel)
        if target.symmetric:
            ((_, high),) = histogram.order_statistics(channel, [ranks(share, n, "inverted_cdf")[0]])
            high = min(high, max(-least, most))
            found.append((-high, high))
            continue
        out = (1 - share) / 2 if tails == "both" else 1 - share
        first = 0 if tails == "upper" else ranks(out, n, "inverted_cdf")[0]
        last = n - 1 if tails == "lower" else ranks(1 - out, n, "inverted_cdf")[0]
        (low, _), (_, high) = histogram.order_statistics(channel, [first, last])
        found.append((max(low, least), min(high, most)))
    return found


RANGES: dict[str, Callable[..., list[Pair]]] = {
    "percentile": percentiles,
    "entropy": entropy.ranges,
    "std": deviation.ranges,
    "minmax": minmax.ranges,
}

__all__ = ["OVER_HISTOGRAMS", "RANGES", "Seen"]
