"""Counts of numbers in bins that never have to be cut.

A bin holds the numbers that share sign, exponent and the first few significand bits of their FP64 form: its key is
the top of their bits. Taking one more bit off the keys merges bins in pairs, so that histograms of different fineness
add up exactly, whatever range their numbers come from, and in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.calibrate.numbers import Numbers, numbers_of
from bitquant.convert import convert
from bitquant.formats import FP64, Format
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.rationals import exact_numbers

_CHUNK = 1 << 18
_DENSE = 1 << 22  # so many counters are held for a moment
_SIGN_AND_EXPONENT = 12


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often numbers of each bin were seen.

    Attributes
    ----------
    channels : int
    significand_bits : int
        Bits of the significand that tell bins apart, without the hidden one: a bin's width is 2^-significand_bits of
        the power of two at or below it.
    keys : ndarray of int64
        Ascending: channel, sign, exponent and significand bits of the bins that hold something.
    counts : ndarray of int64
    """

    channels: int
    significand_bits: int
    keys: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, array: Array, source: Format, granularity: Granularity, significand_bits: int) -> Histogram:
        """Count the finite numbers of a contiguous array."""
        empty = np.array([], np.int64)
        found = cls(granularity.channels, significand_bits, empty, empty)
        flat = array.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            numbers = convert(flat[start : start + _CHUNK], FP64, source)
            keys = (numbers.view(np.uint64) >> np.uint64(52 - significand_bits)).astype(np.int64)
            if granularity.channels > 1:
                keys += granularity.channels_of(start, start + numbers.size) << (_SIGN_AND_EXPONENT + significand_bits)
            finite = np.isfinite(numbers)
            found = found.plus(cls(found.channels, significand_bits, *_counted(keys if finite.all() else keys[finite])))
        return found

    def plus(self, other: Histogram) -> Histogram:
        """Both together, as fine as the coarser one."""
        bits = min(self.significand_bits, other.significand_bits)
        one, two = self.coarser(bits), other.coarser(bits)
        return Histogram(
            self.channels,
            bits,
            *_added(np.concatenate([one.keys, two.keys]), np.concatenate([one.counts, two.counts])),
        )

    def coarser(self, significand_bits: int) -> Histogram:
        """The same with fewer bits to tell bins apart: pairs of bins, fours and so on become one."""
        dropped = self.significand_bits - significand_bits
        if not dropped:
            return self
        return Histogram(self.channels, significand_bits, *_added(self.keys >> dropped, self.counts))

    def bins(self, channel: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Ends of a channel's bins, the one nearer to zero first, and their counts; by sign and then by magnitude."""
        size = _SIGN_AND_EXPONENT + self.significand_bits
        start, stop = np.searchsorted(self.keys, [channel << size, (channel + 1) << size])
        bits = (self.keys[start:stop] - (channel << size)).astype(np.uint64) << np.uint64(52 - self.significand_bits)
        beyond = bits + (np.uint64(1) << np.uint64(52 - self.significand_bits))
        return bits.view(np.float64), beyond.view(np.float64), self.counts[start:stop]

    def middles(self, channel: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The middle of each of a channel's bins, an FP64 number, and its count; zero stands for the bin around it."""
        inner, _, counts = self.bins(channel)
        bits = inner.view(np.uint64)
        half = np.uint64(1) << np.uint64(51 - self.significand_bits)
        return np.where(bits << np.uint64(1) == 0, bits, bits + half).view(np.float64), counts

    def numbers(self, channel: int, folded: bool) -> Numbers:
        """A channel's bins, as numbers in their middles with a weight each."""
        middles, counts = self.middles(channel)
        return numbers_of(middles, FP64, folded, counts.astype(np.uint64), 0)

    def blur(self) -> list[Fraction]:
        """For each channel Σ (half of the width of a number's bin)²: how far the middles may lie from the numbers."""
        found = []
        for channel in range(self.channels):
            inner, beyond, counts = self.bins(channel)
            middles = exact_numbers(self.middles(channel)[0])
            reach = [
                max(abs(middle - one), abs(middle - two))
                for middle, one, two in zip(middles, exact_numbers(inner), _ends(beyond), strict=True)
            ]
            found.append(sum((n * r * r for n, r in zip(counts.tolist(), reach, strict=True)), Fraction(0)))
        return found

    def order_statistics(self, channel: int, ranks: list[int]) -> list[tuple[Fraction, Fraction]]:
        """For each rank, from 0, the bin that holds the number of this rank: its low and high end."""
        inner, beyond, counts = self.bins(channel)
        negative = inner.view(np.int64) < 0
        pairs = list(zip(exact_numbers(inner), _ends(beyond), counts.tolist(), negative.tolist(), strict=True))
        ordered = [(two, one, n) for one, two, n, below in reversed(pairs) if below]
        ordered += [(one, two, n) for one, two, n, below in pairs if not below]
        places = np.cumsum([n for _, _, n in ordered])
        at = np.searchsorted(places, ranks, side="right").tolist()
        return [(ordered[k][0], ordered[k][1]) for k in at]

    def folded(self) -> Histogram:
        """The histogram of magnitudes."""
        sign = 1 << (_SIGN_AND_EXPONENT - 1 + self.significand_bits)
        return Histogram(self.channels, self.significand_bits, *_added(self.keys & ~sign, self.counts))

    def size(self, channel: int) -> int:
        """How many numbers were counted."""
        return int(self.bins(channel)[2].sum())


def _ends(beyond: NDArray[np.float64]) -> list[Fraction]:
    """Outer ends of bins; beyond the largest number the next power of two."""
    infinite = np.isinf(beyond)
    largest = np.copysign(np.finfo(np.float64).max, beyond)
    found = exact_numbers(np.where(infinite, largest, beyond))
    return [
        value if not at else Fraction(2) ** 1024 * (1 if value > 0 else -1)
        for value, at in zip(found, infinite.tolist(), strict=True)
    ]


def _counted(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different keys, ascending, and how often each occurs."""
    if not keys.size:
        return keys, keys
    low = int(keys.min())
    if int(keys.max()) - low < _DENSE:
        counts = np.bincount(keys - low)
        present = np.flatnonzero(counts)
        return present + low, counts[present]
    different, counts = np.unique(keys, return_counts=True)
    return different, counts.astype(np.int64)


def _added(keys: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different keys, ascending, and the sums of their counts."""
    if not keys.size:
        return keys, counts
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    firsts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[firsts], np.add.reduceat(counts, firsts)


__all__ = ["Histogram"]
