"""The step of each sum of a product: that of its row times that of its column."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.errors import BitquantError
from bitquant.formats import Format
from bitquant.kernels import scales as scale_kernel
from bitquant.quantize.parameters import Grid, Parameters, multiples
from bitquant.quantize.quantized import level
from bitquant.quantize.rationals import given_numbers, nearest_float

__all__ = ["Steps"]

_CHUNK = 1 << 15
_INT32 = 2**31


def _bounded(value: Fraction) -> int:
    """To the nearest integer, ties to even; of what is far beyond int32 only the sign is kept."""
    return max(min(round(value), 2**40), -(2**40))


class Steps:
    """The steps of sums in rows and columns, given the scales of both: one for all, or one for each."""

    def __init__(self, rows: Sequence[Fraction], columns: Sequence[Fraction], shape: tuple[int, ...]) -> None:
        self._scales = tuple(rows), tuple(columns)
        self._width = shape[-1]
        self._ends = [Parameters.of_scales(scales, None, Grid(-1, 1, True)) for scales in self._scales]

    @property
    def columns(self) -> list[Fraction]:
        """The step of each column, where all rows have one."""
        (row,), columns = self._scales
        return [1 / (row * column) for column in columns]

    def numbers(self, sums: Array, target: Format) -> Array:
        """Sums times their steps, rounded once."""
        if not target.is_float or not target.signed:
            raise BitquantError(f"sums in units are real numbers: {target.name} is no floating format with a sign")
        numbers = np.empty(sums.size, target.array_dtype)
        flat = sums.reshape(-1).astype(np.int64)
        for start, stop, parameters in self._parts(sums.size):
            numbers[start:stop] = multiples(parameters.numbers, flat[start:stop], target)
            for place, scale in parameters.wide.items():
                code = level(int(flat[start + place]) / scale, target)
                numbers[start + place] = np.array(code, target.code_dtype).view(target.array_dtype)
        return numbers.reshape(sums.shape)

    def bias(self, values: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """A number for each column as codes in steps of the sums, rounded once, ties to even; for sums of a shape."""
        given = given_numbers(values, self._width, "bias")
        codes = np.empty(math.prod(shape), np.int64)
        for start, stop, parameters in self._parts(codes.size):
            columns = np.arange(start, stop) % self._width
            if isinstance(given, list):
                scales = zip(columns.tolist(), parameters.scales, strict=True)
                codes[start:stop] = [_bounded(given[column] * scale) for column, scale in scales]
                continue
            own = given[columns]
            scale_kernel.zero_points(-own, np.full(own.size, np.inf), 0, parameters.numbers, codes[start:stop])
            for place, scale in parameters.wide.items():
                codes[start + place] = _bounded(Fraction(own[place]) * scale)
        for place in np.flatnonzero((codes < -_INT32) | (codes >= _INT32))[:1].tolist():
            row, column = divmod(place, self._width)
            raise BitquantError(
                f"the bias of column {column} is {float(given[column]):g}, which int32 does not hold in the steps of "
                f"row {row}, {nearest_float(self._step(row, column)):g}: choose larger steps"
            )
        return codes.reshape(shape)

    def _step(self, row: int, column: int) -> Fraction:
        rows, columns = self._scales
        return 1 / (rows[row if len(rows) > 1 else 0] * columns[column if len(columns) > 1 else 0])

    @cached_property
    def _fits(self) -> bool:
        """Whether all products of two scales have terms that a kernel takes."""
        return not any(end.wide for end in self._ends) and all(
            sum(int(end.numbers[term].max()).bit_length() for end in self._ends) < 64
            for term in ("numerator", "denominator")
        )

    def _parts(self, size: int) -> Iterator[tuple[int, int, Parameters]]:
        """The scales of the sums in C order, some at a time."""
        for start in range(0, size, _CHUNK):
            stop = min(start + _CHUNK, size)
            place = np.arange(start, stop)
            places = [
                at if len(scales) > 1 else np.zeros_like(at)
                for at, scales in zip((place // self._width, place % self._width), self._scales, strict=True)
            ]
            if self._fits:
                row, column = (
                    {name: values[at] for name, values in end.numbers.items()}
                    for end, at in zip(self._ends, places, strict=True)
                )
                numbers = {term: row[term] * column[term] for term in ("numerator", "denominator")}
                numbers |= {term: row[term] + column[term] for term in ("exponent", "zero_point")}
                yield start, stop, Parameters(numbers, {}, None, (-1, 1))
            else:
                pairs = zip(*(at.tolist() for at in places), strict=True)
                rows, columns = self._scales
                scales = [rows[row] * columns[column] for row, column in pairs]
                yield start, stop, Parameters.of_scales(scales, None, Grid(-1, 1, True))
