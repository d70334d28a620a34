"""What a calibration is given: channels of numbers, and what will be made of them.

# Design:
# A. A method is given the numbers of a channel some at a time, as often as it wants, and keeps of them what adds up:
#    counts, exact sums. So the same routine serves an array, a tensor of a file that is larger than memory, and the
#    chunks of a cluster, and its result cannot depend on which it was.
# B. Numbers are cut into pieces at fixed places (`cut`), so that sums in floating point are the same everywhere too.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial, reduce
from itertools import repeat
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array, plain, take, with_held_format
from bitquant.calibrate.levels import Levels, of_codebook
from bitquant.calibrate.numbers import Numbers, counts_of, numbers_of, of_counts, of_words, whole_weights, words_of
from bitquant.errors import BitquantError
from bitquant.formats import Format
from bitquant.quantize.extremes import extremes
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.parameters import Grid
from bitquant.quantize.rationals import exact_numbers

Pair: TypeAlias = tuple[Fraction, Fraction]
Weights: TypeAlias = NDArray[np.uint64] | None
T = TypeVar("T")

PIECE = 1 << 20  # numbers
DIGIT = 16  # bits of a number's place in the order that one walk counts by


def cut(size: int) -> Iterator[tuple[int, int]]:
    """Where pieces begin and end."""
    return ((start, min(start + PIECE, size)) for start in range(0, size, PIECE))


class Numbered(Protocol):
    """What most methods find a range of: the numbers of a channel, or what an observer kept of them."""

    @property
    def low(self) -> Fraction:
        """The least finite number."""

    @property
    def high(self) -> Fraction:
        """The greatest."""

    @property
    def largest(self) -> Fraction:
        """The largest magnitude."""

    def numbers(self, folded: bool) -> Numbers:
        """All numbers, sorted; `folded` leaves the signs out."""

    def added(self, folded: bool, see: Callable[[Numbers], T]) -> T:
        """The sum of what a function makes of the numbers, given to it all at once or some at a time."""


class Total(Protocol):
    """The sum, in the order of the pieces, of what a function makes of each: a contiguous array and its weights."""

    def __call__(self, see: Callable[[Array, Weights], T], /) -> T: ...


@dataclass(frozen=True, eq=False)
class Channel:
    """Numbers that share a range.

    Attributes
    ----------
    source : Format
        Of the numbers. What is not finite counts as absent.
    size : int
        How many there are, finite or not.
    ends : callable
        Gives the least and the greatest finite number.
    total : callable
        Walks through the numbers (Design A).
    unit : int or None
        How much each number counts is an integer times 2^unit; None where there are no weights.
    """

    source: Format
    size: int
    ends: Callable[[], Pair]
    total: Total
    unit: int | None = None

    @property
    def low(self) -> Fraction:
        """The least finite number."""
        return self.ends()[0]

    @property
    def high(self) -> Fraction:
        """The greatest."""
        return self.ends()[1]

    @property
    def largest(self) -> Fraction:
        """The largest magnitude."""
        return max(-self.low, self.high)

    @property
    def counted(self) -> bool:
        """Whether the different numbers are so few that counting each of them is knowing them all."""
        return self.source.array_dtype.itemsize <= 2 and self.unit is None

    def numbers(self, folded: bool) -> Numbers:
        """All numbers, sorted: where they are not counted, a few bytes of memory for each."""
        if self.counted:
            return of_counts(self.total(_counts), self.source, folded)
        parts = self.total(partial(_words, self.source))
        words = np.concatenate([part for part, _ in parts])
        weights = None if self.unit is None else np.concatenate([part for _, part in parts])
        del parts
        return of_words(words, folded, weights, self.unit or 0)

    def added(self, folded: bool, see: Callable[[Numbers], T]) -> T:
        """The sum of what a function makes of the numbers of each piece; of all, where they are counted."""
        if self.counted:
            return see(self.numbers(folded))
        return self.total(partial(_sorted, see, self.source, folded, self.unit or 0))


# What is done with a piece holds nothing of where it comes from, so that it can travel to another machine.


def _counts(piece: Array, weights: Weights) -> NDArray[np.int64]:
    return counts_of(piece)


def _words(source: Format, piece: Array, weights: Weights) -> list[tuple[NDArray[Any], Any]]:
    return [(words_of(piece, source), weights)]


def _sorted(see: Callable[[Numbers], T], source: Format, folded: bool, unit: int, piece: Array, weights: Weights) -> T:
    return see(numbers_of(piece, source, folded, weights, unit))


def total_of(array: Array, weights: Weights = None) -> Total:
    """The walk through a contiguous array of one dimension."""

    def total(see: Callable[[Array, Weights], T]) -> T:
        if array.size <= PIECE:
            return see(array, weights)
        ends = cut(array.size)
        return reduce(operator.add, (see(array[a:b], None if weights is None else weights[a:b]) for a, b in ends))

    return total


@dataclass(frozen=True, eq=False)
class Channels:
    """An array of numbers, and which of them share a range.

    Attributes
    ----------
    array : ndarray
        Contiguous and in native byte order. What is not finite counts as absent.
    source : Format
        The format of the numbers.
    granularity : Granularity
        Which numbers share a range: a channel.
    weights : ndarray of uint64, in the shape of the array, or None
        How much each number counts, times 2^-unit.
    low, high : ndarray of float64
        The least and the greatest finite number of each channel.
    """

    array: Array
    source: Format
    granularity: Granularity
    weights: NDArray[np.uint64] | None
    unit: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, x: Any, axis: Any, group_size: Any, block_shape: Any, weights: Any, nonfinite: str) -> Channels:
        """The channels of an array-like."""
        array, source = with_held_format(take(x)[0])
        granularity = Granularity.of(array.shape, axis, group_size, block_shape)
        if not array.size:
            raise BitquantError("x is empty and has no range to find: give numbers")
        array = plain(array)
        whole, unit = (None, 0) if weights is None else whole_weights(weights, array.shape)
        low, high = extremes(array, source, granularity, nonfinite == "raise")
        return cls(array, source, granularity, None if whole is None else whole.reshape(array.shape), unit, low, high)

    def __iter__(self) -> Iterator[Channel]:
        rows = self._in_rows(self.array)
        weights: Any = repeat(None) if self.weights is None else self._in_rows(self.weights)
        unit = None if self.weights is None else self.unit
        for k, (row, own) in enumerate(zip(rows, weights, strict=False)):
            yield Channel(self.source, row.size, partial(self._ends, k), total_of(row, own), unit)

    def _ends(self, channel: int) -> Pair:
        return self._ranges[channel]

    @cached_property
    def _ranges(self) -> list[Pair]:
        """The least and the greatest number of each channel: rationals are made of them when a method asks."""
        return list(zip(exact_numbers(self.low), exact_numbers(self.high), strict=True))

    def _in_rows(self, array: Array) -> Sequence[Array]:
        axis, count = self.granularity.axis, self.granularity.channels
        if axis is not None or count == 1:
            moved = array if axis is None else np.moveaxis(array, axis, 0)
            return list(np.ascontiguousarray(moved.reshape(count, -1)))
        channel = self.granularity.channels_of(0, array.size)
        order = np.argsort(channel, kind="stable")
        ends = np.cumsum(np.bincount(channel, minlength=count))[:-1]
        return np.split(array.reshape(-1)[order], ends)


@dataclass(frozen=True)
class Target:
    """What the numbers are to be mapped to."""

    scheme: Any
    bits: int
    signed: bool
    narrow: bool | None
    codebook: Format | None
    include_zero: bool
    step_format: Format | None

    @property
    def grid(self) -> Grid | None:
        """The codes; None where a codebook is given."""
        return None if self.codebook else Grid.of(self.scheme, self.bits, self.signed, self.narrow)

    @property
    def symmetric(self) -> bool:
        """Whether a range is the same on both sides of zero."""
        return bool(self.scheme == "symmetric")

    @property
    def codebook_levels(self) -> Levels:
        """The levels of the codebook."""
        assert self.codebook is not None
        return of_codebook(self.codebook)


__all__ = ["DIGIT", "Channel", "Channels", "Numbered", "Pair", "Target", "Total", "Weights", "cut", "total_of"]
