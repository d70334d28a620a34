"""One projection: rounding and what follows, as a function of a real number.

Whatever rounds here is a kernel's own function (kernels/steps.pyx), which takes a significand whose last bit is sticky:
so a rational is rounded once, and as a conversion would.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

from bitquant import thresholds
from bitquant.explaining.exact import Places, Real, exponent_of, power
from bitquant.explaining.rounded import (
    FRACTION,
    Rounding,
    chance_breaks,
    jammed,
    round_rational,
    rounding_of,
    scaled_chance,
)
from bitquant.formats import FP64, Format
from bitquant.kernels import steps
from bitquant.permitted import Rules
from bitquant.rules import Flags, Stochastic
from bitquant.stages import integer_beyond, integer_nan, narrow

_POINT = 61  # significand bits of the kernels' 64-bit lanes
_FAR = 1 << 40  # an exponent beyond all
FLAGS = {"invalid": Flags.INVALID, "overflow": Flags.OVERFLOW, "underflow": Flags.UNDERFLOW, "inexact": Flags.INEXACT}


@dataclass(frozen=True)
class Outcome:
    """What a projection gives: a code, the sum of its flags, and whether a rule refuses the number."""

    code: int
    flags: int
    refused: bool = False


class Projection(Protocol):
    """A target with its rules."""

    target: Format
    rules: Rules

    def run(self, x: Real, word: int = 0) -> Outcome:
        """Project a number; `word` is a NaN's FP64 bits."""

    def rounding(self, x: Real) -> Rounding | None:
        """The rounding of a finite number that is not zero; None where there is none."""

    def breaks(self, place: int, x: Real) -> list[Fraction]:
        """Where, around x and the number at a place that it became, the result may change."""


def projection(
    target: Format, rules: Rules, source: Format | None, random: int, narrow_range: bool = False
) -> Projection:
    """The projection onto a format. `random` is the random integer of stochastic rounding.

    With `narrow_range` a signed integer's lowest code is left out.
    """
    if target.is_integer:
        return IntegerProjection(target, rules, source, random, narrow_range)
    if target.kind == "codebook":
        return CodebookProjection(target, rules, source)
    return FloatProjection(target, rules, source, random)


def _flushes(x: Real, rules: Rules, source: Format | None) -> bool:
    """Whether a finite number is taken for zero."""
    flushing = source is not None and source.is_float and source.zero and rules.subnormals in ("flush_input", "flush")
    return flushing and source is not None and x.magnitude < power(source.min_exponent)


class FloatProjection:
    """Onto a floating format, by the steps of kernels/narrow.pyx."""

    def __init__(self, target: Format, rules: Rules, source: Format | None, random: int) -> None:
        self.target, self.rules, self.source, self.random = target, rules, source, random
        self.row = _row(target, rules, source)
        self.higher = int(not target.zero)

    def run(self, x: Real, word: int = 0) -> Outcome:
        """Steps 1 to 5 of narrow.pyx, and what needs no rounding."""
        significand, exponent, magnitude, random = 0, -1074, 0, self.random
        if x.kind == "finite":
            flushed = _flushes(x, self.rules, self.source)
            word = x.negative << 63 | (0 if x.magnitude == 0 else 1 if flushed else 0x7FEFFFFFFFFFFFFF)
            if x.magnitude:
                significand, exponent, random = self._unpacked(x, 0)
            magnitude = steps.packed(self.row, x.negative, significand, exponent, random)
            if x.magnitude:
                significand, exponent, random = self._unpacked(x, 1)
        elif x.kind == "infinity":
            word = x.negative << 63 | 0x7FF << 52
        given, flags, nan = steps.delivered(self.row, word, magnitude, significand, exponent, random)
        refused = (nan and self.rules.nan == "raise") or (
            self.rules.overflow == "raise" and bool(flags & Flags.OVERFLOW)
        )
        return Outcome(max(given - self.higher, 0), flags, refused)

    def _unpacked(self, x: Real, more: int) -> tuple[int, int, int]:
        """The significand 1.61, the last bit sticky, FP64's exponent field, and the random integer.

        Stochastic rounding looks at more digits of a long fraction than the lane holds. Then it is decided by the
        fraction alone, and what is handed on, half of the last place and a random integer at an end of its range,
        leaves no choice. `more` digits are kept than the target has, for the flags.
        """
        exponent = exponent_of(x.magnitude)
        significand = jammed(x.magnitude, _POINT - exponent)
        field = min(max(exponent + FP64.bias, -_FAR), _FAR)
        rounding = self.rules.rounding
        if not isinstance(rounding, Stochastic):
            return significand, field, 0
        cut, flip = steps.cut(self.row, field)
        cut -= more
        if cut - 2 >= rounding.bits or (x.magnitude * power(_POINT - exponent)).denominator == 1:
            return significand, field, self.random
        kept = significand >> cut
        fraction = x.magnitude * power(_POINT - exponent - cut) - kept
        low = (kept & 1) << FRACTION | jammed(fraction, FRACTION)
        up = steps.rounded(self.row, x.negative, low, FRACTION, flip, self.random) != kept & 1
        return kept << cut | 1 << (cut - 1), field, (1 << rounding.bits) - 1 if up else 0

    def rounding(self, x: Real) -> Rounding | None:
        """What the significand loses."""
        if x.kind != "finite" or x.magnitude == 0 or _flushes(x, self.rules, self.source):
            return None
        target, stored = self.target, self.target.significand_bits
        place = max(exponent_of(x.magnitude), target.min_exponent) - stored
        unit = power(place)
        units = x.magnitude / unit
        kept, dropped = units.numerator // units.denominator, units - units.numerator // units.denominator
        significand, field, random = self._unpacked(x, 0)
        cut, flip = steps.cut(self.row, field)
        if cut <= _POINT:
            rounded = steps.rounded(self.row, x.negative, significand, cut, flip, random)
        else:  # less than a quarter of the last place
            rounded = steps.packed(self.row, x.negative, significand, field, random)
        return rounding_of(
            unit,
            place,
            kept,
            dropped,
            bool((kept ^ flip) & 1),
            rounded != kept,
            rounded >> target.precision != 0,
            scaled_chance(self.rules.rounding, dropped, self.random),
        )

    def breaks(self, place: int, x: Real) -> list[Fraction]:
        """The neighbours, the middles between them, and where overflow, underflow and flushing begin."""
        places, target = Places(self.target), self.target
        normal, top = 1 << target.significand_bits, target.largest_code
        at = abs(place)
        # Each with the next: around the result, and at the ends of zero, of the subnormals and of all.
        sizes = [(places.value(k), places.value(k + 1)) for k in {max(at - 1, 0), at, 0, normal - 1, top}]
        if not target.zero:
            sizes.append((Fraction(0), places.value(0)))
        found = [Fraction(0)]
        for low, high in sizes:
            found += [low, high, (low + high) / 2, *chance_breaks(self.rules.rounding, low, high, self.random)]
        found += _source_edge(self.source)
        return found + [-one for one in found]


def _source_edge(source: Format | None) -> list[Fraction]:
    """Where a source's subnormal numbers end, which may be flushed."""
    if source is None or not source.is_float:
        return []
    edge = power(source.min_exponent)
    return [edge, -edge]


@lru_cache(maxsize=256)
def _row(target: Format, rules: Rules, source: Format | None) -> Any:
    """The kernels' numbers of a target, for 64-bit lanes and with flags."""
    rules = rules._replace(counted=True)
    if source is None or not source.is_float:
        kept = {"flush": "flush_output", "flush_input": "gradual"}
        rules = rules._replace(subnormals=kept.get(rules.subnormals, rules.subnormals))
    return narrow(source or FP64, target, FP64, rules, 8)


class IntegerProjection:
    """Onto an integer format (kernels/integer.pyx)."""

    def __init__(self, target: Format, rules: Rules, source: Format | None, random: int, narrow_range: bool) -> None:
        self.target, self.rules, self.source, self.random = target, rules, source, random
        self.low, self.high = int(target.min) + narrow_range, int(target.max)
        self.narrow_range = narrow_range

    def rounding(self, x: Real) -> Rounding | None:
        """What lies behind the binary point."""
        if x.kind != "finite" or _flushes(x, self.rules, self.source):
            return None
        return round_rational(x.magnitude, x.negative, self.rules.rounding, self.random)

    def run(self, x: Real, word: int = 0) -> Outcome:
        """Round, then the rule for what is out of range."""
        target, rules = self.target, self.rules
        if x.kind == "nan":
            return Outcome(integer_nan(target, rules), Flags.INVALID, rules.nan == "raise")
        integer, inexact = 0, False
        if x.kind == "finite":
            found = self.rounding(x)
            if found is not None:
                integer = -found.rounded if x.negative else found.rounded
                inexact = found.inexact
        if x.kind == "infinity" or not self.low <= integer <= self.high:
            code = integer if rules.overflow == "wrap" else integer_beyond(target, rules, self.narrow_range)[x.negative]
            return Outcome(code % (1 << target.bits), Flags.INVALID, rules.overflow == "raise")
        return Outcome(integer % (1 << target.bits), Flags.INEXACT if inexact else 0)

    def breaks(self, place: int, x: Real) -> list[Fraction]:
        """The integers around, and half way between them."""
        found = []
        here = x.value.numerator // x.value.denominator  # of a number that wraps, elsewhere than its result
        for integer in {place, self.low, self.high, 0, here, here + 1}:
            found += [Fraction(2 * integer + k, 2) for k in (-2, -1, 0, 1, 2)]
            for a, b in ((integer - 1, integer), (integer, integer + 1)):
                near, far = (a, b) if abs(a) <= abs(b) else (b, a)
                found += chance_breaks(self.rules.rounding, Fraction(near), Fraction(far), self.random)
        found += _source_edge(self.source)
        return found


class CodebookProjection:
    """Onto a codebook, by the thresholds of its staircase (kernels/codebook.pyx)."""

    def __init__(self, target: Format, rules: Rules, source: Format | None) -> None:
        self.target, self.rules, self.source = target, rules, source

    def run(self, x: Real, word: int = 0) -> Outcome:
        """Count the thresholds that are not above."""
        target, rules, values = self.target, self.rules, self.target.values
        if x.kind == "nan":
            code = target.largest_code if rules.nan == "max" else values.index(0.0) if rules.nan == "zero" else 0
            return Outcome(code, Flags.INVALID, rules.nan == "raise")
        value = Fraction(0)
        if x.kind == "finite" and not _flushes(x, rules, self.source):
            value = x.value
        beyond = x.kind == "infinity" or not Fraction(values[0]) <= value <= Fraction(values[-1])
        if beyond:
            negative = x.negative if x.kind == "infinity" else value < Fraction(values[0])
            code = 0 if negative else target.largest_code
            return Outcome(code, Flags.OVERFLOW | Flags.INEXACT, rules.overflow == "raise")
        below = max(Places(target).floor(Real("finite", value < 0, abs(value)))[0] - 1, 0) & ~1
        code = below
        near = values[below : below + 5]
        for threshold in _thresholds(near, rules.rounding):
            code += value > threshold.place or (threshold.included and value == threshold.place)
        return Outcome(code, 0 if Fraction(values[code]) == value else Flags.INEXACT)

    def rounding(self, x: Real) -> Rounding | None:
        """Where the number lies between two values."""
        values = self.target.values
        if x.kind != "finite" or _flushes(x, self.rules, self.source):
            return None
        if not Fraction(values[0]) <= x.value <= Fraction(values[-1]):
            return None
        below = min(Places(self.target).floor(x)[0], self.target.largest_code - 1)
        low, high = Fraction(values[below]), Fraction(values[below + 1])
        dropped = (x.value - low) / (high - low)
        if dropped == 1:
            below, dropped = below + 1, Fraction(0)
        up = self.run(x).code != below
        return Rounding(high - low, None, below, dropped, None, None, None, bool(below & 1), up)

    def breaks(self, place: int, x: Real) -> list[Fraction]:
        """The values around, and half way between them."""
        last = self.target.largest_code
        found = [Fraction(self.target.values[k]) for k in range(max(place - 1, 0), min(place + 1, last) + 1)]
        found += [(a + b) / 2 for a, b in pairwise(found)]
        found += _source_edge(self.source)
        return [*found, Fraction(self.target.values[0]), Fraction(self.target.values[-1])]


class _Threshold(NamedTuple):
    """Where a codebook's next code begins, and whether at the place itself."""

    place: Fraction
    included: bool


def _thresholds(values: tuple[float, ...], rounding: Any) -> list[_Threshold]:
    """The thresholds of a few values, the first of which has an even code, as the conversion finds them."""
    found: list[_Threshold] = []

    def least(integer: int, unit: int, included: bool) -> int:
        found.append(_Threshold(integer * power(unit), included))
        return 0

    thresholds.codebook_keys(values, rounding, least)
    return found
