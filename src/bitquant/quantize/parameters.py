"""Scale and zero point, exact: from a range of numbers, from a scale, or from a step.

Everything here is rational arithmetic on Python integers. What a kernel gets is derived from it at the end.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitquant import plans
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP64, Format
from bitquant.kernels import levels, scales
from bitquant.quantize.rationals import at_least, exact_numbers, nearest, nearest_float
from bitquant.rules import Rounding

__all__ = ["SCHEMES", "Grid", "Parameters", "Range", "Scheme", "multiples"]

Scheme: TypeAlias = Literal["symmetric", "asymmetric"]
SCHEMES: dict[Scheme, str] = {
    "symmetric": "scale = qmax / max|x|, zero point 0",
    "asymmetric": "scale = (qmax - qmin) / (max - min), zero_point = round(-min * scale) + qmin",
}
_INT32 = 2**31


class Range(NamedTuple):
    """The numbers that a quantizer maps without clipping: floats, or arrays with one entry per channel."""

    low: Any
    high: Any


@dataclass(frozen=True)
class Grid:
    """The codes of a scheme: integers from low to high."""

    low: int
    high: int
    signed: bool

    @classmethod
    def of(cls, scheme: str, bits: Any, signed: bool, narrow: bool | None) -> Grid:
        """The codes of `bits` bits; `narrow` leaves the lowest one out, so that the range is symmetric."""
        if not isinstance(bits, (int, np.integer)) or not 2 <= bits <= 8:
            raise BitquantError(f"bits={bits!r} is not possible: choose from 2 to 8")
        if narrow is None:
            narrow = signed and scheme == "symmetric"
        low = -(2 ** (int(bits) - 1)) if signed else 0
        return cls(low + bool(narrow), low + 2 ** int(bits) - 1, bool(signed))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that holds the codes."""
        return np.dtype(np.int8 if self.signed else np.uint8)


@dataclass(frozen=True, eq=False)
class Parameters:
    """Exact scales and zero points, one of each per channel.

    Attributes
    ----------
    numbers : dict of str to ndarray
        What kernels take: numerator, denominator (uint64), exponent and zero_point (int32), with
        scale = numerator / denominator · 2^exponent.
    wide : dict of int to Fraction
        The scales of the channels whose numerator or denominator exceeds 63 bits; their `numbers` are 1.
    ranges : pair of ndarray of float64, list of pairs of Fraction, or None
        The ranges that the scales were made from; None where the scales were given.
    ends : pair of int
        The smallest and largest code.
    """

    numbers: dict[str, NDArray[Any]]
    wide: dict[int, Fraction]
    ranges: tuple[NDArray[np.float64], NDArray[np.float64]] | list[tuple[Fraction, Fraction]] | None
    ends: tuple[int, int]

    @classmethod
    def of_ranges(
        cls,
        lows: NDArray[np.float64],
        highs: NDArray[np.float64],
        scheme: str,
        grid: Grid,
        include_zero: bool,
        step_format: Format | None,
    ) -> Parameters:
        """The parameters that map each range of FP64 numbers onto the grid (docs/semantics.md, Quantize).

        The arrays become the parameters' own, and are changed to what the scheme makes of the ranges.
        """
        numbers, wide = _one_each(lows.size), np.empty(lows.size, np.uint8)
        empty = scales.of_ranges(lows, highs, scheme == "symmetric", grid.low, grid.high, include_zero, numbers, wide)
        if empty >= 0:
            raise _empty(exact_numbers(lows[[empty]])[0], exact_numbers(highs[[empty]])[0])
        found = cls(numbers, {}, (lows, highs), (grid.low, grid.high))
        for channel in np.flatnonzero(wide).tolist():
            low, high = exact_numbers(lows[[channel]])[0], exact_numbers(highs[[channel]])[0]
            found._set(channel, (grid.high - grid.low) / (high - low))
        if step_format is not None:
            found._round_steps(lows, highs, step_format)
        if scheme == "asymmetric":
            found._find_zero_points(lows, highs)
        return found

    @classmethod
    def of_rational_ranges(
        cls,
        ranges: Sequence[tuple[Fraction, Fraction]],
        scheme: str,
        grid: Grid,
        include_zero: bool,
        step_format: Format | None,
    ) -> Parameters:
        """The same for ranges that FP64 does not hold, one by one."""
        found = [_of_range(low, high, scheme, grid, include_zero, step_format) for low, high in ranges]
        points = np.array([point for _, point, _ in found], object)
        parameters = cls.of_scales([scale for scale, _, _ in found], points, grid)
        return replace(parameters, ranges=[ends for _, _, ends in found])

    @classmethod
    def of_scales(cls, given: Sequence[Fraction], zero_points: NDArray[Any] | None, grid: Grid) -> Parameters:
        """The parameters given as they are, as rationals; no zero points are zeros."""
        found = cls(_one_each(len(given)), {}, None, (grid.low, grid.high))
        for channel, scale in enumerate(given):
            found._set(channel, scale)
        found._set_zero_points(zero_points)
        return found

    @classmethod
    def of_numbers(
        cls, given: NDArray[np.float64], inverse: bool, zero_points: NDArray[Any] | None, grid: Grid
    ) -> Parameters:
        """The parameters given as finite FP64 numbers: scales, or with `inverse` steps; no zero points are zeros."""
        found = cls(_one_each(given.size), {}, None, (grid.low, grid.high))
        wrong = scales.of_numbers(given, inverse, found.numbers)
        if wrong >= 0:
            raise BitquantError(f"{'step' if inverse else 'scale'} is {given[wrong]:g}: it must be positive")
        found._set_zero_points(zero_points)
        return found

    @property
    def zero_points(self) -> NDArray[np.int32]:
        """The codes of zero."""
        return self.numbers["zero_point"]

    def scale(self, channel: int) -> Fraction:
        """The scale of a channel."""
        if channel in self.wide:
            return self.wide[channel]
        numerator, denominator, exponent = (
            int(self.numbers[name][channel]) for name in ("numerator", "denominator", "exponent")
        )
        return Fraction(numerator << max(exponent, 0), denominator << max(-exponent, 0))

    @cached_property
    def scales(self) -> tuple[Fraction, ...]:
        """All scales as the rationals they are."""
        return tuple(self.scale(channel) for channel in builtins.range(self.zero_points.size))

    @cached_property
    def exact_ranges(self) -> list[tuple[Fraction, Fraction]]:
        """The range of each channel: those the scales were made from, or what the ends of the codes stand for."""
        if isinstance(self.ranges, list):
            return self.ranges
        if self.ranges is not None:
            return list(zip(*(exact_numbers(end) for end in self.ranges), strict=True))
        points = self.zero_points.tolist()
        return [
            ((self.ends[0] - point) / scale, (self.ends[1] - point) / scale)
            for scale, point in zip(self.scales, points, strict=True)
        ]

    def float_scales(self) -> NDArray[np.float64]:
        """The FP64 numbers nearest to the scales."""
        swapped = dict(self.numbers, numerator=self.numbers["denominator"], denominator=self.numbers["numerator"])
        swapped["exponent"] = -swapped["exponent"]
        found = multiples(swapped, np.ones(self.zero_points.size, np.int64), FP64)
        for channel, scale in self.wide.items():
            found[channel] = nearest_float(scale)
        return found

    def float_steps(self) -> NDArray[np.float64]:
        """The FP64 numbers nearest to the steps."""
        found = multiples(self.numbers, np.ones(self.zero_points.size, np.int64), FP64)
        for channel, scale in self.wide.items():
            found[channel] = nearest_float(1 / scale)
        return found

    def float_ranges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The FP64 numbers nearest to the ends of the ranges."""
        if isinstance(self.ranges, tuple):
            return self.ranges
        return self._ends(nearest_float, nearest_float, "nearest_even", "nearest_even")

    def inside(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The smallest and the largest FP64 number of each range."""
        if isinstance(self.ranges, tuple):
            return self.ranges
        return self._ends(at_least, lambda value: -at_least(-value), "toward_positive", "toward_negative")

    def _ends(
        self,
        low: Callable[[Fraction], float],
        high: Callable[[Fraction], float],
        down: Rounding,
        up: Rounding,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both ends as FP64 numbers, rounded as said."""
        if isinstance(self.ranges, list):
            return np.array([low(one) for one, _ in self.ranges]), np.array([high(other) for _, other in self.ranges])
        points = self.zero_points.astype(np.int64)
        lows, highs = (
            multiples(self.numbers, end - points, FP64, rounding)
            for end, rounding in zip(self.ends, (down, up), strict=True)
        )
        for channel, scale in self.wide.items():
            lows[channel] = low((self.ends[0] - int(points[channel])) / scale)
            highs[channel] = high((self.ends[1] - int(points[channel])) / scale)
        return lows, highs

    def _set(self, channel: int, scale: Fraction) -> None:
        """Set the scale of one channel."""
        split = _split(scale)
        if split is None:
            self.wide[channel] = scale
            split = 1, 1, 0
        for name, part in zip(("numerator", "denominator", "exponent"), split, strict=True):
            self.numbers[name][channel] = part

    def _round_steps(self, lows: NDArray[np.float64], highs: NDArray[np.float64], step_format: Format) -> None:
        """Round the steps to a format; the scales become the inverses of what is stored. A range of zeros keeps 1."""
        steps = convert(
            multiples(self.numbers, np.ones(self.zero_points.size, np.int64), step_format), FP64, step_format
        )
        for channel, scale in self.wide.items():
            step = nearest(1 / scale, step_format)
            steps[channel] = math.inf if step is None else nearest_float(step)
        steps[lows.view(np.int64) == highs.view(np.int64)] = 1
        bits = steps.view(np.int64)
        for channel in np.flatnonzero((bits == 0) | (bits > FP64.largest_code))[:1]:
            raise _no_step(1 / self.scale(int(channel)), step_format, overflows=bool(bits[channel]))
        self.wide.clear()
        scales.of_numbers(steps, True, self.numbers)

    def _find_zero_points(self, lows: NDArray[np.float64], highs: NDArray[np.float64]) -> None:
        points = np.empty(lows.size, np.int64)
        scales.zero_points(lows, highs, self.ends[0], self.numbers, points)
        for channel, scale in self.wide.items():
            points[channel] = (
                max(min(round(-exact_numbers(lows[[channel]])[0] * scale), 2**40), -(2**40)) + self.ends[0]
            )
        self._set_zero_points(points)

    def _set_zero_points(self, points: NDArray[Any] | None) -> None:
        if points is None:
            return
        for zero_point in points[(points < -_INT32) | (points >= _INT32)][:1]:
            about = f"{zero_point}" if abs(zero_point) < 2**40 - _INT32 else "beyond 2^39"
            raise BitquantError(
                f"the zero point {about} does not fit an int32: the range lies too far from zero; "
                "pass include_zero=True, or a range that contains zero"
            )
        self.numbers["zero_point"][:] = points


def _one_each(channels: int) -> dict[str, NDArray[Any]]:
    """The numbers of scales 1 and zero points 0."""
    terms, integers = np.empty((2, channels), np.uint64), np.zeros((2, channels), np.int32)
    terms.fill(1)
    return {"numerator": terms[0], "denominator": terms[1], "exponent": integers[0], "zero_point": integers[1]}


def multiples(
    numbers: dict[str, NDArray[Any]], steps: NDArray[np.int64], fmt: Format, rounding: Rounding = "nearest_even"
) -> NDArray[Any]:
    """The numbers steps / scale, rounded once to a format, in its own dtype (or as codes)."""
    codes = np.empty(steps.size, np.uint64)
    levels.multiples(numbers, steps, plans.rounding_row(fmt, rounding), codes)
    return codes.astype(fmt.code_dtype).view(fmt.array_dtype)


def _of_range(
    low: Fraction, high: Fraction, scheme: str, grid: Grid, include_zero: bool, step_format: Format | None
) -> tuple[Fraction, int, tuple[Fraction, Fraction]]:
    """Scale, zero point and range of one channel (docs/semantics.md, Quantize)."""
    if low > high:
        raise _empty(low, high)
    if low == high == 0:
        return Fraction(1), 0, (low, high)
    if scheme == "symmetric":
        high = max(-low, high)
        low = -high
        scale = grid.high / high
    else:
        if include_zero or low == high:
            low, high = min(low, Fraction(0)), max(high, Fraction(0))
        scale = (grid.high - grid.low) / (high - low)
    if step_format is not None:
        step = nearest(1 / scale, step_format)
        if step is None or step == 0:
            raise _no_step(1 / scale, step_format, overflows=step is None)
        scale = 1 / step
    zero_point = 0 if scheme == "symmetric" else round(-low * scale) + grid.low
    return scale, zero_point, (low, high)


def _empty(low: Fraction, high: Fraction) -> BitquantError:
    return BitquantError(
        f"the range from {nearest_float(low):g} to {nearest_float(high):g} is empty: low must not exceed high"
    )


def _no_step(step: Fraction, step_format: Format, overflows: bool) -> BitquantError:
    return BitquantError(
        f"the step {nearest_float(step):g} {'overflows' if overflows else 'rounds to zero'} in {step_format.name}: "
        "choose a step_format of wider range"
    )


def _split(scale: Fraction) -> tuple[int, int, int] | None:
    """A rational as numerator / denominator · 2^exponent with both below 2^63, or None."""
    up = (scale.numerator & -scale.numerator).bit_length() - 1
    down = (scale.denominator & -scale.denominator).bit_length() - 1
    numerator, denominator = scale.numerator >> up, scale.denominator >> down
    if numerator >= 1 << 63 or denominator >= 1 << 63:
        return None
    return numerator, denominator, up - down
