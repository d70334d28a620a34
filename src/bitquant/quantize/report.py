"""How far off a quantization is: figures, tables, histograms, the worst numbers; as data, which print as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.quantize import printing
from bitquant.quantize.comparison import (
    Comparison,
    Piece,
    Sums,
    Tally,
    decibels,
    largest_of,
    mean_of,
    sums_of,
    tally,
    total_of,
)
from bitquant.quantize.granularity import Granularity
from bitquant.rules import choose

Unit: TypeAlias = Literal["step", "number"]
_UNITS = {"step": "errors in steps of their own scale", "number": "errors in the units of the numbers"}


@dataclass(frozen=True)
class WorstError:
    """One number and what became of it. error = dequantized − value; `steps` is the error in steps of its scale."""

    index: tuple[int, ...]
    value: float
    code: int
    dequantized: float
    error: float
    steps: float
    clipped: bool


@dataclass(frozen=True)
class ErrorPart:
    """The errors of some of the numbers: how many, their part of the mean squared error, the largest magnitude."""

    count: int
    mse: float
    max_abs: float


@dataclass(frozen=True, eq=False)
class ErrorTable:
    """Figures for each channel: arrays in the shape of the scales, or with an entry per index of an axis.

    Attributes
    ----------
    axis : int or None
        The axis whose indices these are, where it is one.
    count : ndarray of int64
        How many numbers.
    mse, max_abs, sqnr_db, clipped : ndarray of float64
        As for `Error`. NaN where there are no numbers.
    """

    axis: int | None
    count: NDArray[np.int64]
    mse: NDArray[np.float64]
    max_abs: NDArray[np.float64]
    sqnr_db: NDArray[np.float64]
    clipped: NDArray[np.float64]

    def worst_first(self) -> list[tuple[int, ...]]:
        """The channels' indices, the largest mean squared error first; those without numbers are left out."""
        flat = self.mse.reshape(-1)
        order = np.argsort(-np.where(np.isnan(flat), -1, flat), kind="stable")
        kept = order[~np.isnan(flat[order])]
        return [tuple(int(k) for k in np.unravel_index(place, self.mse.shape)) for place in kept.tolist()]

    def __str__(self) -> str:
        """The worst channels, in columns."""
        return printing.text_of_table(self, 20)

    def _repr_html_(self) -> str:
        return printing.html_of_table(self, 20)


@dataclass(frozen=True, eq=False)
class ErrorHistogram:
    """How errors are spread.

    Attributes
    ----------
    unit : str
        "step": errors are counted in steps of their own scale; "number": in the units of the numbers.
    edges : ndarray of float64, shape (n + 1,)
        Ends of the bins, evenly spaced about zero, up to the largest error of a number that is not clipped; in steps
        to half a step at least.
    counts : ndarray of int64, shape (n,)
        Errors from one edge to below the next; at the last edge, also there.
    below, above : int
        Errors beyond the edges: of clipped numbers.
    """

    unit: str
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    below: int
    above: int

    def __str__(self) -> str:
        """Bins as bars."""
        return printing.text_of_histogram(self)

    def _repr_html_(self) -> str:
        return printing.html_of_histogram(self)


@dataclass(frozen=True)
class Error:
    """How far dequantized numbers lie from the originals. error = dequantized − original.

    Printed, or at the end of a notebook's cell, it shows the figures, how errors are spread, and where they are worst.

    Attributes
    ----------
    mse : float
        Mean squared error, in squared units of the numbers.
    max_abs : float
        The largest absolute error, in units of the numbers.
    sqnr_db : float
        Signal-to-quantization-noise ratio, 10·log10(Σx² / Σerror²), in dB; infinite without error.
    clipped : float
        Share of the numbers that lie outside the range, 0 to 1.
    cosine : float
        Cosine between originals and dequantized numbers; 1 where both are all zero.

    Notes
    -----
    What is below is computed when it is asked for, from the arrays that were compared; change these in between, and it
    tells of the changed ones.
    """

    mse: float
    max_abs: float
    sqnr_db: float
    clipped: float
    cosine: float
    comparison: Comparison | None = field(default=None, repr=False, compare=False)

    @property
    def compared(self) -> Comparison:
        """The numbers and codes that the figures are of; what was pickled, or made by hand, has them no more."""
        if self.comparison is None:
            raise BitquantError("these are figures without their numbers: call error(x) for what lies behind them")
        return self.comparison

    def __getstate__(self) -> dict[str, Any]:
        """The figures alone."""
        return {name: getattr(self, name) for name in ("mse", "max_abs", "sqnr_db", "clipped", "cosine")} | {
            "comparison": None
        }

    @cached_property
    def clipping(self) -> ErrorPart:
        """The errors of the numbers outside the range. Its `mse` and that of `rounding` add up to that of all."""
        return self._parts[0]

    @cached_property
    def rounding(self) -> ErrorPart:
        """The errors of the numbers inside the range, its ends included."""
        return self._parts[1]

    @cached_property
    def _parts(self) -> tuple[ErrorPart, ErrorPart]:
        sums: tuple[list[Sums], list[Sums]] = [], []
        counts = [0, 0]
        for piece in self.compared.pieces():
            for k, mine in enumerate((piece.clipped, ~piece.clipped)):
                if mine.any():
                    counts[k] += int(np.count_nonzero(mine))
                    sums[k].append(sums_of(piece.number[mine], piece.value[mine]))
        total = sum(counts)
        clipping, rounding = (
            ErrorPart(count, mean_of([one.noise for one in found], total), largest_of(found))
            for count, found in zip(counts, sums, strict=True)
        )
        return clipping, rounding

    def channels(self, axis: int | None = None) -> ErrorTable:
        """Return the figures channel by channel.

        Parameters
        ----------
        axis : int, optional
            One entry for each index along it. Default: one for each scale.

        Returns
        -------
        ErrorTable

        Raises
        ------
        BitquantError
            For an axis that does not exist.

        Examples
        --------
        >>> import bitquant as bq
        >>> x = [[0.1, 0.2, 0.4], [10.0, 20.0, 55.0]]
        >>> table = bq.symmetric(x).error(x).channels(axis=0)
        >>> table.sqnr_db.round(1)
        array([ 6.1, 56.6])
        """
        compared = self.compared
        granularity = compared.granularity
        if axis is not None:
            granularity = Granularity.of(granularity.shape, axis, None, None)
        key = granularity.channels_of if granularity.channels > 1 else None
        return _table(compared, key, granularity)

    def histogram(self, bins: int = 20, unit: Unit = "step") -> ErrorHistogram:
        """Count errors by size.

        Parameters
        ----------
        bins : int
            From 1 up.
        unit : {"step", "number"}
            Errors in steps of their own scale, or in the units of the numbers.

        Returns
        -------
        ErrorHistogram
            Its bins reach as far as the errors of numbers inside the range; larger ones are counted beside them.

        Raises
        ------
        BitquantError
            For a number of bins below 1.

        Examples
        --------
        >>> import bitquant as bq
        >>> x = [0.0, 0.3, 1.2, 1.5, 9.0]
        >>> found = bq.quantize(x, scale=1, bits=3).error(x).histogram(4)
        >>> found.edges, found.counts, found.below
        (array([-0.5 , -0.25,  0.  ,  0.25,  0.5 ]), array([1, 1, 1, 1]), 1)
        """
        choose("unit", unit, _UNITS)
        if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)) or bins < 1:
            raise BitquantError(f"bins={bins!r}: give a number from 1 up")
        steps = self.compared.steps() if unit == "step" else np.ones(self.compared.inside[0].size)
        reach = 0.0
        for piece, sizes in self._sized(steps):
            reach = max(reach, float(np.abs(sizes[~piece.clipped]).max(initial=0)))
        if unit == "step":
            reach = max(reach, 0.5)
        reach = reach if 0 < reach < math.inf else 0.5
        edges = np.linspace(-reach, reach, int(bins) + 1)
        counts, below, above = np.zeros(int(bins), np.int64), 0, 0
        for _, sizes in self._sized(steps):
            counts += np.histogram(sizes[np.isfinite(sizes)], edges)[0]
            below, above = below + int(np.sum(sizes < -reach)), above + int(np.sum(sizes > reach))
        return ErrorHistogram(unit, edges, counts, below, above)

    def _sized(self, steps: NDArray[np.float64]) -> Iterator[tuple[Piece, NDArray[np.float64]]]:
        """Each piece with its errors in steps."""
        for piece in self.compared.pieces():
            with np.errstate(over="ignore"):
                yield piece, piece.error / steps[piece.channel]

    def worst(self, count: int = 10) -> list[WorstError]:
        """Return the numbers with the largest errors, the largest first; among equals the first in C order.

        Parameters
        ----------
        count : int
            How many at most.

        Returns
        -------
        list of WorstError

        Examples
        --------
        >>> import bitquant as bq
        >>> x = [0.5, 0.25, 9.0]
        >>> bq.clipped(x, -1, 1).error(x).worst(1)[0]
        WorstError(index=(2,), value=9.0, code=127, dequantized=1.0, error=-8.0, steps=-1016.0, clipped=True)
        """
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 0:
            raise BitquantError(f"count={count!r}: give a number from 0 up")
        steps, shape = self.compared.steps(), self.compared.granularity.shape
        found: list[tuple[float, int, WorstError]] = []
        for piece in self.compared.pieces():
            error = piece.error
            size = np.abs(error)
            if len(found) == count and (not count or size.max() <= found[-1][0]):
                continue
            last = found[-1][0] if len(found) == count else -1.0
            mine = np.flatnonzero(size > last)
            mine = mine[np.argsort(-size[mine], kind="stable")][:count]
            for k in mine.tolist():
                place = int(piece.place[k])
                step = float(steps[piece.channel if isinstance(piece.channel, int) else piece.channel[k]])
                worst = WorstError(
                    tuple(int(i) for i in np.unravel_index(place, shape)),
                    float(piece.number[k]),
                    int(self.compared.codes[place]),
                    float(piece.value[k]),
                    float(error[k]),
                    float(error[k] / np.float64(step)),
                    bool(piece.clipped[k]),
                )
                found.append((float(size[k]), place, worst))
            found = sorted(found, key=lambda one: (-one[0], one[1]))[:count]
        return [worst for _, _, worst in found]

    def __str__(self) -> str:
        """Figures, histogram, worst numbers and worst channels."""
        return repr(self) if self.comparison is None else printing.text_of_error(self)

    def _repr_html_(self) -> str | None:
        return None if self.comparison is None else printing.html_of_error(self)


def compare(compared: Comparison) -> Error:
    """The figures of all numbers together."""
    return figures([tally(compared)], compared)


def figures(tallies: Iterable[Tally], compared: Comparison | None = None) -> Error:
    """The figures of numbers that were tallied piece by piece, in the order of the pieces."""
    parts: list[Sums] = []
    clipped = count = 0
    for one in tallies:
        parts += one.parts
        clipped, count = clipped + one.clipped, count + one.count
    if not count:
        raise BitquantError("the error of no numbers is not defined: nothing in x is finite")
    (noise, n), (signal, s), (power, p), (product, m) = (total_of([part[k] for part in parts]) for k in range(4))
    if signal and power:
        # s + p - 2m is even: sums of a·2 and b·2 and 2·(a + b).
        cosine = math.ldexp(product / math.sqrt(signal) / math.sqrt(power), m - (s + p) // 2)
    else:
        cosine = float(signal == power)
    return Error(
        mse=mean_of([part.noise for part in parts], count),
        max_abs=largest_of(parts),
        sqnr_db=float(decibels(*(np.array(value) for value in (signal, s, noise, n)))),
        clipped=clipped / count,
        cosine=cosine,
        comparison=compared,
    )


def _table(
    compared: Comparison, key: Callable[[int, int], NDArray[np.int64]] | None, granularity: Granularity
) -> ErrorTable:
    """The figures of each channel: two walks, the first of which finds by what powers of two to scale."""
    size = granularity.channels
    shape = granularity.parameter_shape or (1,)

    def keyed() -> Iterator[tuple[Piece, NDArray[np.int64], NDArray[np.float64]]]:
        for piece in compared.pieces():
            first, last = int(piece.place[0]), int(piece.place[-1]) + 1
            keys = np.zeros(last - first, np.int64) if key is None else key(first, last)
            yield piece, keys[piece.place - first], piece.error

    count, clipped = np.zeros(size, np.int64), np.zeros(size, np.int64)
    most, largest = np.zeros(size), np.zeros(size)
    for piece, keys, error in keyed():
        count += np.bincount(keys, minlength=size)
        clipped += np.bincount(keys[piece.clipped], minlength=size)
        np.maximum.at(most, keys, np.abs(piece.number))
        np.maximum.at(largest, keys, np.abs(error))
    s, n = np.frexp(most)[1], np.frexp(largest)[1]
    signal, noise = np.zeros(size), np.zeros(size)
    for piece, keys, error in keyed():
        signal += np.bincount(keys, np.ldexp(piece.number, -s[keys]) ** 2, size)
        noise += np.bincount(keys, np.ldexp(error, -n[keys]) ** 2, size)
    none = count == 0
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        columns = (
            np.ldexp(noise / count, 2 * n),
            largest,
            decibels(signal, 2 * s, noise, 2 * n),
            clipped / count,
        )
    figures = (np.where(none, math.nan, column).reshape(shape) for column in columns)
    return ErrorTable(granularity.axis, count.reshape(shape), *figures)


__all__ = [
    "Comparison",
    "Error",
    "ErrorHistogram",
    "ErrorPart",
    "ErrorTable",
    "Tally",
    "WorstError",
    "compare",
    "figures",
    "tally",
]
