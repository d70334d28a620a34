"""A range that leaves the rarest numbers out: exact order statistics, found by selection."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant import plans
from bitquant.arrays import Array
from bitquant.calibrate.channels import Channels, Pair, Target
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import Format
from bitquant.quantize.parameters import exact_numbers
from bitquant.rules import choose

TAILS = {
    "both": "what is left out is shared by both ends",
    "upper": "the high end alone; the low end is the least number",
    "lower": "the low end alone; the high end is the greatest number",
}
INTERPOLATIONS = {
    "inverted_cdf": "the least number that at least this share of the numbers does not exceed",
    "lower": "of the two numbers around the place percent · (n − 1), the lower",
    "higher": "the higher",
    "nearest": "the nearer, at a tie the one with an even place",
    "midpoint": "their mean",
    "linear": "the point between them",
}


def ranges(
    channels: Channels,
    target: Target,
    *,
    percentile: Any = Fraction("99.9"),
    tails: Any = "both",
    interpolation: Any = "inverted_cdf",
) -> list[Pair]:
    """The range of each channel that a percentage of its numbers lies in."""
    choose("tails", tails, TAILS)
    choose("interpolation", interpolation, INTERPOLATIONS)
    share = fraction_of(percentile)
    found = []
    for row, _ in channels.rows():
        keys = _finite_keys(row, channels.source)
        if target.symmetric:
            keys = np.where(keys < 0, ~keys, keys)  # a negative number's magnitude is turned over
            (high,) = quantiles(keys, [share], interpolation)
            found.append((-high, high))
        else:
            out = (1 - share) / 2 if tails == "both" else 1 - share
            ends = [Fraction(0) if tails == "upper" else out, Fraction(1) if tails == "lower" else 1 - out]
            low, high = quantiles(keys, ends, interpolation)
            found.append((low, high))
    return found


def fraction_of(percentile: Any) -> Fraction:
    """A percentage as a share of one; a float is the decimal it is written as."""
    try:
        share = Fraction(str(percentile)) / 100
    except (ValueError, ZeroDivisionError):
        raise BitquantError(f"percentile={percentile!r} is no number: give one from 0 to 100") from None
    if not 0 <= share <= 1:
        raise BitquantError(f"percentile={percentile!r} is not possible: give a number from 0 to 100")
    return share


def ranks(share: Fraction, n: int, interpolation: str) -> tuple[int, int, Fraction]:
    """The places, from 0, of the two numbers that a quantile lies between, and how far it lies from the first."""
    if interpolation == "inverted_cdf":
        rank = max(math.ceil(share * n) - 1, 0)
        return rank, rank, Fraction(0)
    place = share * (n - 1)
    low, high = math.floor(place), math.ceil(place)
    match interpolation:
        case "lower":
            return low, low, Fraction(0)
        case "higher":
            return high, high, Fraction(0)
        case "nearest":
            return round(place), round(place), Fraction(0)
        case "midpoint":
            return low, high, Fraction(high - low, 2)
    return low, high, place - low


def quantiles(keys: NDArray[Any], shares: list[Fraction], interpolation: str) -> list[Fraction]:
    """Quantiles of numbers that are given as integers in their own order."""
    places = [ranks(share, keys.size, interpolation) for share in shares]
    wanted = sorted({place for low, high, _ in places for place in (low, high)})
    chosen = np.partition(keys, wanted)[wanted]
    bits = np.where(chosen < 0, chosen ^ np.iinfo(chosen.dtype).max, chosen)
    values = dict(zip(wanted, exact_numbers(bits.view(f"f{bits.dtype.itemsize}")), strict=True))
    return [values[low] + (values[high] - values[low]) * part for low, high, part in places]


def _finite_keys(row: Array, source: Format) -> NDArray[Any]:
    """The bits of the finite numbers as integers in the numbers' own order."""
    carrier, widen = plans.to_carrier(source)
    word = np.dtype(f"i{carrier.code_dtype.itemsize}")
    bits = (row if widen is None else convert(row, carrier, source)).view(word)
    keys: NDArray[Any] = bits ^ ((bits >> (8 * word.itemsize - 1)) & np.iinfo(word).max)
    infinity = carrier.largest_code + 1
    finite = (keys < infinity) & (keys > ~infinity)
    return keys if finite.all() else keys[finite]


__all__ = ["INTERPOLATIONS", "TAILS", "fraction_of", "quantiles", "ranges", "ranks"]
