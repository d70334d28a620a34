"""What a calibration is given: an array, taken apart into channels, and what will be made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array, take, with_held_format
from bitquant.calibrate.levels import Levels, of_codebook
from bitquant.calibrate.numbers import Numbers, numbers_of, whole_weights
from bitquant.errors import BitquantError
from bitquant.formats import Format
from bitquant.quantize.extremes import extremes
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.parameters import Grid, exact_numbers

Pair: TypeAlias = tuple[Fraction, Fraction]


class Numbered(Protocol):
    """What methods find ranges of: channels of numbers, or of what an observer kept of them."""

    def numbers(self, folded: bool) -> Iterator[Numbers]:
        """Each channel's sorted numbers; `folded` leaves the signs out."""

    def ranges(self) -> list[Pair]:
        """The least and the greatest finite number of each channel."""


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
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
        whole, unit = (None, 0) if weights is None else whole_weights(weights, array.shape)
        low, high = extremes(array, source, granularity, nonfinite == "raise")
        return cls(array, source, granularity, whole, unit, low, high)

    def ranges(self) -> list[Pair]:
        """The least and the greatest finite number of each channel."""
        return list(zip(exact_numbers(self.low), exact_numbers(self.high), strict=True))

    def rows(self) -> Iterator[tuple[Array, NDArray[np.uint64] | None]]:
        """Each channel's numbers, contiguous and in one dimension, and their weights."""
        numbers = self._in_rows(self.array)
        return zip(numbers, repeat(None) if self.weights is None else self._in_rows(self.weights), strict=False)

    def numbers(self, folded: bool) -> Iterator[Numbers]:
        """Each channel's sorted numbers; `folded` leaves the signs out."""
        for row, weights in self.rows():
            yield numbers_of(row, self.source, folded, weights, self.unit)

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


__all__ = ["Channels", "Numbered", "Pair", "Target"]
