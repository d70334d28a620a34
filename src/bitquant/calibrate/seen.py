"""Ranges of what an observer has seen: the methods of calibration over a histogram."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

from bitquant.calibrate import deviation, entropy, minmax
from bitquant.calibrate.channels import Pair, Target
from bitquant.calibrate.histogram import Histogram
from bitquant.calibrate.numbers import Numbers
from bitquant.calibrate.percentile import INTERPOLATIONS, TAILS, fraction_of, ranks
from bitquant.errors import BitquantError
from bitquant.rules import choose

T = TypeVar("T")

OVER_HISTOGRAMS = {
    "mse": "least squared error of the bins' middles",
    "percentile": "the bins in which order statistics lie",
    "entropy": "least Kullback-Leibler divergence",
    "std": "standard deviations of the bins' middles",
    "minmax": "the extremes, exactly",
}


@dataclass(frozen=True, eq=False)
class Seen:
    """One channel of a histogram and its exact extremes, as the methods of calibration want numbers."""

    histogram: Histogram
    channel: int
    low: Fraction
    high: Fraction

    @property
    def largest(self) -> Fraction:
        """The largest of the bins' middles, in magnitude."""
        return self.numbers(True).largest(0)

    def numbers(self, folded: bool) -> Numbers:
        """The bins, as numbers in their middles."""
        return self.histogram.numbers(self.channel, folded)

    def added(self, folded: bool, see: Callable[[Numbers], T]) -> T:
        """What a function makes of them."""
        return see(self.numbers(folded))


def percentiles(
    channels: Sequence[Seen],
    target: Target,
    *,
    percentile: Any = "99.9",
    tails: Any = "both",
    interpolation: Any = "inverted_cdf",
) -> list[Pair]:
    """The outer ends of the bins in which order statistics lie, cut to the exact extremes."""
    choose("tails", tails, TAILS)
    if choose("interpolation", interpolation, INTERPOLATIONS) != "inverted_cdf":
        raise BitquantError("between bins there is nothing to interpolate: leave interpolation out")
    share = fraction_of(percentile)
    histogram = channels[0].histogram.folded() if target.symmetric else channels[0].histogram
    found = []
    for channel, seen in enumerate(channels):
        n = histogram.size(channel)
        if target.symmetric:
            ((_, high),) = histogram.order_statistics(channel, [ranks(share, n, "inverted_cdf")[0]])
            high = min(high, max(-seen.low, seen.high))
            found.append((-high, high))
            continue
        out = (1 - share) / 2 if tails == "both" else 1 - share
        first = 0 if tails == "upper" else ranks(out, n, "inverted_cdf")[0]
        last = n - 1 if tails == "lower" else ranks(1 - out, n, "inverted_cdf")[0]
        (low, _), (_, high) = histogram.order_statistics(channel, [first, last])
        found.append((max(low, seen.low), min(high, seen.high)))
    return found


RANGES: dict[str, Callable[..., list[Pair]]] = {
    "percentile": percentiles,
    "entropy": entropy.ranges,
    "std": deviation.ranges,
    "minmax": minmax.ranges,
}

__all__ = ["OVER_HISTOGRAMS", "RANGES", "Seen"]
