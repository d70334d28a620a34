"""Numbers beside the codes that they became: walked in pieces, and summed up without overflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitquant import plans
from bitquant.arrays import with_format
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP32, Format
from bitquant.kernels import levels, stats
from bitquant.quantize.granularity import Granularity

_CHUNK = 1 << 15  # numbers that are compared as FP64 at a time
_RUN = 1 << 19  # numbers that are compared as FP32 at a time


class Piece(NamedTuple):
    """Some of the numbers that were quantized, and what became of them; all in FP64, and finite."""

    place: NDArray[np.int64]
    number: NDArray[np.float64]
    value: NDArray[np.float64]
    channel: Any  # an array, or 0 where there is one channel
    clipped: NDArray[np.bool_]

    @property
    def error(self) -> NDArray[np.float64]:
        """Value − number; infinite where FP64 does not hold it."""
        with np.errstate(over="ignore"):
            return self.value - self.number


@dataclass(frozen=True, eq=False)
class Comparison:
    """Numbers beside their codes: what figures are computed from, a piece of the arrays at a time."""

    original: NDArray[Any]
    codes: NDArray[Any]
    way_back: Callable[[NDArray[Any], NDArray[Any], int], None]
    target: Format
    inside: tuple[NDArray[np.float64], NDArray[np.float64]]
    steps: Callable[[], NDArray[np.float64]]
    granularity: Granularity
    skip_nonfinite: bool
    title: str

    def pieces(self) -> Iterator[Piece]:
        """Walk the arrays in C order."""
        for start in range(0, self.original.size, _CHUNK):
            piece = self._piece(start)
            if piece.number.size:
                yield piece

    def sums(self) -> Iterator[tuple[Sums, int, int]]:
        """The sums over each piece, how many of its numbers are clipped, and how many there are."""
        source = with_format(self.original)[1]
        (carrier, widen), (carrier_back, widen_back) = plans.to_carrier(source), plans.to_carrier(self.target)
        narrow = carrier.code_dtype.itemsize == carrier_back.code_dtype.itemsize == FP32.code_dtype.itemsize
        size, blocks = self.original.size, self.granularity.blocks
        back = self.way_back if isinstance(self.way_back, levels.WayBack) else None
        if narrow:  # a FP32 number is below a bound if it is below the first FP32 number that is not
            low: NDArray[np.float32] = convert(self.inside[0], FP32, rounding="toward_positive")
            high: NDArray[np.float32] = convert(self.inside[1], FP32, rounding="toward_negative")
            room = np.empty(0 if back else min(size, _RUN), self.target.code_dtype)
        for place in range(0, size, _RUN):
            number, codes = self.original[place : place + _RUN], self.codes[place : place + _RUN]
            if narrow:
                if back is None:
                    values = room[: number.size]
                    self.way_back(codes, values, place)
                    codes = values
                *sums, clipped = stats.compared(number, widen, codes, back, widen_back, blocks, low, high, place)
                if math.isfinite(sums[1]) and math.isfinite(sums[2]):
                    yield Sums(*((one, 0) for one in sums)), clipped, number.size
                    continue
            for start in range(place, min(place + _RUN, size), _CHUNK):
                piece = self._piece(start)
                if piece.number.size:
                    yield sums_of(piece.number, piece.value), int(np.count_nonzero(piece.clipped)), piece.number.size

    def _piece(self, start: int) -> Piece:
        """The numbers from number `start` on; those that are not finite are refused, or left out."""
        lows, highs = self.inside
        stop = min(start + _CHUNK, self.original.size)
        number = convert(self.original[start:stop], "float64")
        back = np.empty(stop - start, self.target.code_dtype)
        self.way_back(self.codes[start:stop], back, start)
        value = convert(back, "float64", self.target)
        place = np.arange(start, stop)
        channel: Any = self.granularity.channels_of(start, stop) if lows.size > 1 else 0
        finite = np.isfinite(number)
        if not finite.all():
            if not self.skip_nonfinite:
                raise BitquantError("x holds NaN or infinity: pass the finite numbers that were quantized")
            place, number, value = place[finite], number[finite], value[finite]
            channel = channel[finite] if lows.size > 1 else 0
        return Piece(place, number, value, channel, (number < lows[channel]) | (number > highs[channel]))


class Sums(NamedTuple):
    """Σ(y−x)², Σx², Σy², Σx·y and max|y−x|, each times a power of two: (number, exponent)."""

    noise: tuple[float, int]
    signal: tuple[float, int]
    power: tuple[float, int]
    product: tuple[float, int]
    largest: tuple[float, int]


@dataclass(frozen=True)
class Tally:
    """Sums over some of the numbers, from which the figures of all are made."""

    parts: tuple[Sums, ...]
    clipped: int
    count: int


def tally(compared: Comparison) -> Tally:
    """The sums over all numbers of a comparison, a part for each piece."""
    parts, clipped, count = [], 0, 0
    for sums, outside, numbers in compared.sums():
        parts.append(sums)
        clipped, count = clipped + outside, count + numbers
    return Tally(tuple(parts), clipped, count)


def sums_of(x: NDArray[np.float64], y: NDArray[np.float64]) -> Sums:
    """The sums over one piece. Scaling by powers of two is exact and keeps squares of any FP64 number in range."""
    with np.errstate(over="ignore"):
        difference = y - x
    (x, a), (y, b), (difference, c) = (_scaled(numbers) for numbers in (x, y, difference))
    _, signal, power, product, _ = stats.error_sums(x, y)
    noise, _, _, _, largest = stats.error_sums(np.zeros_like(difference), difference)
    return Sums((noise, 2 * c), (signal, 2 * a), (power, 2 * b), (product, a + b), (largest, c))


def _scaled(numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """The numbers divided by the power of two that makes the largest less than one, and its exponent."""
    exponent = int(np.frexp(np.abs(numbers).max())[1])
    return np.ldexp(numbers, -exponent), exponent


def total_of(sums: list[tuple[float, int]]) -> tuple[float, int]:
    """Numbers times powers of two, added up."""
    exponent = max((exponent for number, exponent in sums if number), default=0)
    return math.fsum(math.ldexp(number, max(own - exponent, -2100)) for number, own in sums if number), exponent


def mean_of(noises: list[tuple[float, int]], count: int) -> float:
    """The sum of such numbers, divided by a count."""
    noise, exponent = total_of(noises)
    return _times_power_of_two(noise / count, exponent)


def largest_of(parts: list[Sums]) -> float:
    """The largest magnitude of an error."""
    return max((_times_power_of_two(*part.largest) for part in parts), default=0.0)


def _times_power_of_two(number: float, exponent: int) -> float:
    try:
        return math.ldexp(number, exponent)
    except OverflowError:
        return math.inf


def decibels(signal: Any, s: Any, noise: Any, n: Any) -> NDArray[np.float64]:
    """10·log10 of (signal · 2^s) / (noise · 2^n): infinite without noise, −infinite without signal."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = 10 * (np.log10(signal / noise) + (s - n) * math.log10(2))
    return np.where(noise == 0, math.inf, np.where((signal == 0) | (noise == math.inf), -math.inf, found))


__all__ = ["Comparison", "Piece", "Sums", "Tally", "decibels", "largest_of", "mean_of", "sums_of", "tally", "total_of"]
