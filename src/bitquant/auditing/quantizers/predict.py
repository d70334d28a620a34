"""What rows and combinations of rules give for a table of numbers, one channel for each step and zero point."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.auditing.quantizers.axes import AFTER, BEYOND, Element
from bitquant.convert import convert
from bitquant.dialects.quantizers import Quantizer
from bitquant.formats import FP64, format
from bitquant.kernels.formula import DefaultEnvironment
from bitquant.quantize.formulas import Evaluator, Value, parse
from bitquant.quantize.found import code_dtype, fill, find, grid_of, needs_peak, peaks, take_given
from bitquant.quantize.granularity import Granularity

__all__ = ["REGIONS", "Table", "found_by_row"]

# Where a number lies, by its place u = x / step and by u plus the zero point; what lies between two regions is "apart".
REGIONS = (
    "inside",
    "above the codes",
    "below the codes",
    "above 2^31 steps",
    "below −2^31 steps",
    "above 2^63 steps",
    "below −2^63 steps",
    "+infinity",
    "−infinity",
    "NaN",
    "apart",
)
_APART = len(REGIONS) - 1


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers with the steps and zero points that they are quantized with.

    Attributes
    ----------
    x : ndarray, shape (channels, n)
        Numbers of `source`.
    step, zero_point : ndarray of float64, shape (channels,)
    source : str
        Their format.
    bits : int
    signed : bool
        Of the codes.
    extremes : dict
        `low`, `high` and `peak` of the tensors that the channels belong to, where a quantizer found its parameters.
    """

    x: NDArray[Any]
    step: NDArray[np.float64]
    zero_point: NDArray[np.float64]
    source: str
    bits: int
    signed: bool
    extremes: dict[str, NDArray[Any]] = field(default_factory=dict)
    _kept: dict[Any, NDArray[np.int64]] = field(default_factory=dict, repr=False)
    _parts_kept: dict[Any, Table] = field(default_factory=dict, repr=False)

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the largest code."""
        low = -(2 ** (self.bits - 1)) if self.signed else 0
        return low, low + 2**self.bits - 1

    @property
    def real(self) -> bool:
        """Whether a zero point has a fraction."""
        return bool((self.zero_point != np.rint(self.zero_point)).any())

    @cached_property
    def wide(self) -> bool:
        """Whether a step is no float32 number, so that it matters in which precision it is used."""
        return bool((self.step.astype(np.float32) != self.step).any())

    def part(self, channels: Any, columns: Any = slice(None)) -> Table:
        """Some of the channels, and of the numbers of each."""
        extremes = {name: numbers[channels] for name, numbers in self.extremes.items()}
        x = np.ascontiguousarray(self.x[channels][:, columns])
        return Table(x, self.step[channels], self.zero_point[channels], self.source, self.bits, self.signed, extremes)

    def kept_part(self, channels: NDArray[np.int64], columns: int) -> Table:
        """The same part again, with what was computed for it."""
        key = (tuple(channels), columns)
        if key not in self._parts_kept:
            self._parts_kept[key] = self.part(channels, slice(columns))
        return self._parts_kept[key]

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """The numbers in float64, exact."""
        return np.asarray(convert(self.x, FP64, format(self.source)), np.float64)

    @cached_property
    def places(self) -> NDArray[np.float64]:
        """The float64 nearest to x / step."""
        with np.errstate(all="ignore"):
            found: NDArray[np.float64] = self.numbers / self.step[:, None]
        return found

    @cached_property
    def regions(self) -> NDArray[np.uint8]:
        """For each number the index in `REGIONS` of where it lies."""
        u, x = self.places, self.numbers
        qmin, qmax = self.ends
        with np.errstate(invalid="ignore"):
            code = u + self.zero_point[:, None]
            conditions = [
                np.isnan(x),
                np.isinf(x),
                (code >= qmin) & (code <= qmax),
                (code > qmax) & (code < 2.0**30),
                (code < qmin) & (code > -(2.0**30)),
                (u > 2.0**32) & (u < 2.0**62),
                (u < -(2.0**32)) & (u > -(2.0**62)),
                (u > 2.0**64) & (u < np.inf),
                (u < -(2.0**64)) & (u > -np.inf),
            ]
        infinite = np.where(x > 0, np.uint8(7), np.uint8(8))
        index: list[Any] = [np.uint8(9), infinite, *(np.uint8(k) for k in range(7))]
        found: NDArray[np.uint8] = np.select(conditions, index, np.uint8(_APART))
        return found

    def by_row(self, row: Quantizer, narrow: bool = False) -> NDArray[np.int64]:
        """The codes that a row gives with these steps and zero points."""
        key = (row.codes, row.given, row.precision, row.step_format, row.zero_point, narrow)
        if key not in self._kept:
            grid, bits = grid_of(row, "asymmetric", self.bits, self.signed, narrow)
            shares = Granularity.of(self.x.shape, 0, None, None)
            found = take_given(row, grid, bits, format(self.source), shares, self.step, self.zero_point, self.extremes)
            codes = np.empty(self.x.shape, found.dtype)
            fill(found, self.x, codes, 1)
            self._kept[key] = codes.astype(np.int64)
        return self._kept[key]

    def by_element(self, element: Element, narrow: bool = False, clamp: bool = True) -> NDArray[np.int64]:
        """The codes that a combination gives; what overflows an int32 is not told here."""
        if element.rounded:
            row = element.row(self.source, self.bits, self.signed, self.real, clamp)
            return self.by_row(row, narrow)
        codes = self.exact(element.axes["step precision"], element.axes["zero point"], element.axes["ties"])
        qmin, qmax = self.ends
        return np.clip(codes, qmin + narrow, qmax) if clamp else self._wrapped(codes)

    def exact(self, step: str, zero: str, ties: str) -> NDArray[np.int64]:
        """Round the exact quotients; NaN gives the zero point, and what is beyond 2^40 is cut to it."""
        floor, rest = self._parts(step)
        zero_point = self.zero_point[:, None].astype(np.int64)
        moved = floor if zero == AFTER else floor + zero_point
        tie = {
            "to even": (moved & 1) == 1,
            "away from zero": moved >= 0,
            "up": True,
            "down": False,
        }
        if ties in tie:
            up = (rest > 2) | ((rest == 2) & tie[ties])
        elif "fraction" in ties:
            up = (moved < 0) & (rest > 0)
        else:
            up = (rest > 0) & ("ceiling" in ties)
        codes: NDArray[np.int64] = floor + up + zero_point
        return codes

    def _parts(self, step: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Floor and rest of the exact quotients; the rest is 0, or 1 below a half, 2 for a half, 3 above it."""
        key = ("parts", step)
        if key not in self._kept:
            steps = self.step if step == "float64" else self.step.astype(np.float32).astype(np.float64)
            with DefaultEnvironment(), np.errstate(all="ignore"):
                u = np.nan_to_num(self.numbers / steps[:, None], nan=0.0, posinf=2.0**40, neginf=-(2.0**40))
            u = np.clip(u, -(2.0**40), 2.0**40)
            known = np.isfinite(self.numbers) & np.isfinite(steps)[:, None] & (np.abs(u) < 2.0**40)
            # The float64 quotient lies on the side of every half integer on which the exact one lies, or on it.
            for c, k in np.argwhere((u * 2 == np.rint(u * 2)) & known):
                gap = Fraction(self.numbers[c, k]) - Fraction(u[c, k]) * Fraction(steps[c])
                if gap:
                    u[c, k] = np.nextafter(u[c, k], np.inf if gap > 0 else -np.inf)
            floor = np.floor(u)
            self._kept[key] = floor.astype(np.int64)
            self._kept[key, "rest"] = np.where(u == floor, 0, 2 + np.sign(u - (floor + 0.5))).astype(np.int64)
        return self._kept[key], self._kept[key, "rest"]

    def beyond(self, value: str, narrow: bool = False) -> NDArray[np.int64]:
        """The code of each channel that a value of `BEYOND` stands for."""
        qmin, qmax = self.ends
        names = {"qmin": Value(qmin + narrow, "number"), "qmax": Value(qmax, "number")}
        names["zero_point"] = Value(self.zero_point, "float64")
        evaluator = Evaluator(names, "float64", "float64")
        numbers = np.broadcast_to(evaluator.evaluate(parse(BEYOND[value])).numbers, self.zero_point.shape)
        return self._wrapped(np.floor(numbers).astype(np.int64))

    def _wrapped(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        return codes.astype(code_dtype(self.bits, self.signed)).astype(np.int64)


def found_by_row(
    row: Quantizer, scheme: str, tensors: Table, narrow: bool | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """The steps, zero points and codes that a row finds for tensors, each of which is a channel of a table."""
    grid, bits = grid_of(row, scheme, tensors.bits, tensors.signed, narrow)
    shares, source = Granularity.of(tensors.x.shape, 0, None, None), format(tensors.source)
    extremes = {name: tensors.extremes[name] for name in ("low", "high")}
    if needs_peak(row, scheme):
        extremes["peak"] = peaks(tensors.x, source, shares, extremes["low"], extremes["high"])
    found = find(row, scheme, grid, bits, source, shares, extremes)
    codes = np.empty(tensors.x.shape, found.dtype)
    fill(found, tensors.x, codes, 1)
    return found.float_steps(), found.zero_points.astype(np.float64), codes.astype(np.int64)
