"""A range that leaves the rarest numbers out: exact order statistics.

The bits of a number, with the magnitude of a negative one turned over, are an integer in the numbers' own order
(kernels/stats.pyx, Design A). Where a rank lies is found as by a radix sort from the top: a walk through the numbers
counts the leading digit of those integers, the next one the second digit of those that share the leading one of the
rank. When few are left they are gathered and one of them is selected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant import plans
from bitquant.arrays import Array
from bitquant.calibrate.channels import DIGIT, Channel, Pair, Target, Weights
from bitquant.calibrate.numbers import words_of
from bitquant.errors import BitquantError
from bitquant.formats import FP32, FP64, Format
from bitquant.quantize.rationals import exact_numbers
from bitquant.rules import choose

_FEW = 1 << 20  # so many numbers are rather gathered than counted

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
    channels: Iterable[Channel],
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
    for channel in channels:
        if target.symmetric:
            (high,) = quantiles(channel, True, [share], interpolation)
            found.append((-high, high))
        else:
            out = (1 - share) / 2 if tails == "both" else 1 - share
            ends = [Fraction(0) if tails == "upper" else out, Fraction(1) if tails == "lower" else 1 - out]
            low, high = quantiles(channel, False, ends, interpolation)
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


def quantiles(channel: Channel, folded: bool, shares: list[Fraction], interpolation: str) -> list[Fraction]:
    """Quantiles of the finite numbers; `folded` leaves the signs out."""
    places: list[tuple[int, int, Fraction]] = []

    def ranks_of(n: int) -> set[int]:
        places.extend(ranks(share, n, interpolation) for share in shares)
        return {place for low, high, _ in places for place in (low, high)}

    carrier, _ = plans.to_carrier(channel.source)
    keys = _selected(channel, 8 * carrier.code_dtype.itemsize, folded, ranks_of)
    bits = np.array(list(keys.values()), carrier.code_dtype)
    if not folded:
        sign = _sign(bits)
        bits = np.where(bits & sign, bits ^ sign, ~bits)
    values = dict(zip(keys, exact_numbers(bits.view(f"f{bits.dtype.itemsize}")), strict=True))
    return [values[low] + (values[high] - values[low]) * part for low, high, part in places]


def _selected(channel: Channel, width: int, folded: bool, ranks_of: Callable[[int], set[int]]) -> dict[int, int]:
    """The integers, of `width` bits, of some ranks from 0, which are chosen when it is known how many are finite."""
    source, shift = channel.source, width
    # For each rank the leading bits of its integer, and the rank among those that have these bits.
    at: dict[int, tuple[int, int]] = {}
    begun, most = [0], channel.size
    while shift and most > _FEW:
        shift -= DIGIT
        counts = channel.total(partial(_digits, source, folded, begun, shift))
        at = at or {rank: (0, rank) for rank in ranks_of(int(counts.sum()))}
        ends, most = np.cumsum(counts, axis=1), 0
        for rank, (leading, place) in at.items():
            row = begun.index(leading)
            digit = int(np.searchsorted(ends[row], place, side="right"))
            count = int(counts[row, digit])
            at[rank] = leading << DIGIT | digit, place - int(ends[row, digit]) + count
            most = max(most, count)
        begun = sorted({leading for leading, _ in at.values()})
    if not shift:
        return {rank: key for rank, (key, _) in at.items()}
    left = np.concatenate(channel.total(partial(_left, source, folded, begun, shift)))
    at = at or {rank: (0, rank) for rank in ranks_of(left.size)}
    found: dict[int, int] = {}
    for leading in begun:
        own = {rank: place for rank, (bits, place) in at.items() if bits == leading}
        keys = left if shift == width else left[left >> shift == leading]
        found |= zip(own, np.partition(keys, list(own.values()))[list(own.values())].tolist(), strict=True)
    return found


def _digits(
    source: Format, folded: bool, begun: list[int], shift: int, piece: Array, weights: Weights
) -> NDArray[np.int64]:
    """How often each digit comes next in the integers that begin so; the digit ends above the last `shift` bits."""
    keys = _keys(piece, source, folded)
    found = []
    for leading in begun:
        own = keys if shift + DIGIT == 8 * keys.dtype.itemsize else keys[keys >> (shift + DIGIT) == leading]
        found.append(np.bincount((own >> shift).astype(f"u{DIGIT // 8}"), minlength=1 << DIGIT))
    return np.stack(found)


def _left(
    source: Format, folded: bool, begun: list[int], shift: int, piece: Array, weights: Weights
) -> list[NDArray[Any]]:
    """The integers that begin so above the last `shift` bits."""
    keys = _keys(piece, source, folded)
    return [keys if shift == 8 * keys.dtype.itemsize else keys[np.isin(keys >> shift, np.array(begun, keys.dtype))]]


def _keys(piece: Array, source: Format, folded: bool) -> NDArray[Any]:
    """The finite numbers of a piece as unsigned integers in the numbers' own order; `folded` leaves the signs out."""
    bits = words_of(piece, source)
    sign = _sign(bits)
    magnitudes = bits & ~sign
    finite = magnitudes <= (FP32 if bits.dtype.itemsize == 4 else FP64).largest_code
    keys: NDArray[Any] = magnitudes
    if not folded:
        negative = bits.view(f"i{bits.dtype.itemsize}") >> (8 * bits.dtype.itemsize - 1)  # all ones, or none
        keys = bits ^ (negative.view(bits.dtype) | sign)
    return keys if finite.all() else keys[finite]


def _sign(bits: NDArray[Any]) -> Any:
    return bits.dtype.type(1 << (8 * bits.dtype.itemsize - 1))


__all__ = ["INTERPOLATIONS", "TAILS", "fraction_of", "quantiles", "ranges", "ranks"]
