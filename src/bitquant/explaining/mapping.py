"""A number under a scheme: scale, zero point, position, rounding, clipping (docs/semantics.md, Quantize)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from bitquant.errors import BitquantError
from bitquant.explaining.exact import Real, finite
from bitquant.explaining.explanation import Explanation, explained
from bitquant.explaining.projecting import Outcome
from bitquant.explaining.reading import Given, exact_number
from bitquant.explaining.rounded import Rounding, chance_breaks, random_of, round_rational
from bitquant.formats import Format
from bitquant.formats import format as format_of
from bitquant.permitted import Rules
from bitquant.quantize.parameters import SCHEMES, Grid, Parameters
from bitquant.rules import ROUNDINGS, Stochastic, choose


@dataclass(frozen=True)
class Mapping:
    """A linear mapping to integers, and where the number fell.

    Attributes
    ----------
    scheme : str
    scale : Fraction
        Codes per unit: what the number is multiplied by.
    step : Fraction
        Units per code, 1 / scale: what ONNX, PyTorch and TFLite call "scale".
    zero_point : int
    qmin, qmax : int
        The codes in use.
    low, high : Fraction
        The range that is mapped without clipping.
    found_from : str
        Where scale and zero point come from.
    position : Fraction or None
        number · scale + zero point, before rounding; None for infinity and NaN.
    integer : int or None
        The position rounded, before clipping.
    clipped : bool
        Whether the integer lies outside the codes.
    """

    scheme: str
    scale: Fraction
    zero_point: int
    qmin: int
    qmax: int
    low: Fraction
    high: Fraction
    found_from: str
    position: Fraction | None = None
    integer: int | None = None
    clipped: bool = False

    @property
    def step(self) -> Fraction:
        """Units per code."""
        return 1 / self.scale


class _Line:
    """The codes of a mapping as numbers."""

    def __init__(self, mapping: Mapping, target: Format) -> None:
        self.mapping, self.target = mapping, target
        self.first, self.last = mapping.qmin, mapping.qmax

    def real(self, place: int) -> Real:
        return finite((place - self.mapping.zero_point) / self.mapping.scale)

    def code(self, place: int, negative_zero: bool = False) -> int:
        return place % (1 << self.target.bits)

    def of_code(self, code: int) -> int:
        return code - (1 << self.target.bits) if code > self.target.largest_code else code

    def neighbours(self, x: Real) -> tuple[int, int]:
        if x.kind == "infinity":
            return (self.first, self.first) if x.negative else (self.last, self.last)
        position = x.value * self.mapping.scale + self.mapping.zero_point
        floor = position.numerator // position.denominator
        below, above = floor - (position.denominator == 1), floor + 1
        return min(max(below, self.first), self.last), min(max(above, self.first), self.last)


class _Mapped:
    """The projection of a mapping."""

    def __init__(self, mapping: Mapping, target: Format, rules: Rules, random: int, saturates: bool) -> None:
        self.mapping, self.target, self.rules = mapping, target, rules
        self.random, self.saturates = random, saturates

    def position(self, x: Real) -> Fraction:
        return x.value * self.mapping.scale + self.mapping.zero_point

    def rounding(self, x: Real) -> Rounding | None:
        """Of the position."""
        if x.kind != "finite":
            return None
        position = self.position(x)
        return round_rational(abs(position), position < 0, self.rules.rounding, self.random)

    def integer(self, x: Real) -> int:
        """The position rounded."""
        found = self.rounding(x)
        assert found is not None
        return -found.rounded if self.position(x) < 0 else found.rounded

    def run(self, x: Real, word: int = 0) -> Outcome:
        mapping = self.mapping
        if x.kind == "finite":
            integer = self.integer(x)
        elif not self.saturates:
            return Outcome(0, 0, True)
        elif x.kind == "infinity":
            integer = mapping.qmin if x.negative else mapping.qmax
        else:
            integer = mapping.zero_point
        return Outcome(min(max(integer, mapping.qmin), mapping.qmax) % (1 << self.target.bits), 0)

    def breaks(self, place: int, x: Real) -> list[Fraction]:
        mapping, found = self.mapping, []
        for code in {place, mapping.qmin, mapping.qmax, 0}:
            found += [Fraction(2 * code + k, 2) for k in (-2, -1, 0, 1, 2)]
            for a, b in ((code - 1, code), (code, code + 1)):
                near, far = (a, b) if abs(a) <= abs(b) else (b, a)
                found += chance_breaks(self.rules.rounding, Fraction(near), Fraction(far), self.random)
        return [(position - mapping.zero_point) / mapping.scale for position in found]


def explain_mapped(given: Given, target: Format, rounding: Any, index: int, options: dict[str, Any]) -> Explanation:
    """The explanation of a number under a scheme."""
    if not target.is_integer or target.bits > 8:
        raise BitquantError(f"a scheme maps to integers of 2 to 8 bits, not to {target.name}: choose int8 or uint8")
    saturates = options.pop("nonfinite", None) or "raise"
    choose("nonfinite", saturates, {"raise": "", "saturate": ""})
    mapping = _mapping(target, **options)
    rules = Rules.of(target, rounding, "saturate")
    if isinstance(rules.rounding, Stochastic):
        raise BitquantError(f"quantization rounds by {', '.join(ROUNDINGS)}: choose one of them")
    projected = _Mapped(mapping, target, rules, random_of(rules.rounding, index), saturates == "saturate")
    if given.real.kind != "finite" and saturates == "raise":
        raise BitquantError(f"{given.text} is not finite: quantization refuses it; pass nonfinite='saturate'")
    line = _Line(mapping, target)
    found = explained(given, projected, line, lambda code: line.real(line.of_code(code)))
    if given.real.kind == "finite":
        position = projected.position(given.real)
        integer = projected.integer(given.real)
        clipped = not mapping.qmin <= integer <= mapping.qmax
        mapping = replace(mapping, position=position, integer=integer, clipped=clipped)
        error = found.error
        assert error is not None
        error = replace(error, ulps=error.absolute * mapping.scale)
        events = ("clipped",) if clipped else ()
        return replace(found, mapping=mapping, error=error, events=events)
    return replace(found, mapping=mapping)


def _mapping(
    target: Format,
    scheme: str | None = None,
    amax: Any = None,
    low: Any = None,
    high: Any = None,
    scale: Any = None,
    step: Any = None,
    zero_point: int | None = None,
    narrow: bool | None = None,
    include_zero: bool = False,
    step_format: Any = None,
) -> Mapping:
    """Scale and zero point, from a range or as given."""
    if scheme is None:
        scheme = "symmetric" if low is None and high is None and not zero_point else "asymmetric"
    choose("scheme", scheme, SCHEMES)
    if sum(given is not None for given in (amax, low if low is not None else high, scale, step)) != 1:
        raise BitquantError("a scheme needs one of: amax, low and high, scale, step")
    grid = Grid.of(scheme, target.bits, target.signed, narrow)
    if scale is not None or step is not None:
        if include_zero or step_format is not None:
            raise BitquantError("scale or step say everything: give no step_format or include_zero with them")
        return _given_mapping(grid, scheme, scale, step, 0 if zero_point is None else zero_point)
    if zero_point is not None:
        raise BitquantError("a zero_point needs the scale or step that it belongs to")
    if amax is not None:
        most = exact_number(amax, "amax")
        if most < 0:
            raise BitquantError(f"amax={amax}: a largest magnitude is not negative")
        ends, found_from = (-most, most), "amax"
    elif low is None or high is None:
        raise BitquantError("a range has two ends: give low and high")
    else:
        ends, found_from = (exact_number(low, "low"), exact_number(high, "high")), "range"
    stored = None if step_format is None else format_of(step_format)
    found = Parameters.of_rational_ranges([ends], scheme, grid, include_zero, stored)
    reach = found.exact_ranges[0]
    how = found_from if stored is None else f"{found_from}, step rounded to {stored.name}"
    return Mapping(scheme, found.scales[0], int(found.zero_points[0]), grid.low, grid.high, *reach, how)


def _given_mapping(grid: Grid, scheme: str, scale: Any, step: Any, zero_point: Any) -> Mapping:
    name = "scale" if step is None else "step"
    value = exact_number(scale if step is None else step, name)
    if value <= 0:
        raise BitquantError(f"{name}={value}: give a positive number")
    exact = value if step is None else 1 / value
    if scheme == "symmetric" and zero_point:
        raise BitquantError("the symmetric scheme has zero point 0: choose scheme='asymmetric'")
    if not isinstance(zero_point, (int, np.integer)) or isinstance(zero_point, bool):
        raise BitquantError(f"zero_point={zero_point!r}: give an integer")
    found = Parameters.of_scales([exact], np.array([int(zero_point)], object), grid)
    return Mapping(scheme, exact, int(zero_point), grid.low, grid.high, *found.exact_ranges[0], f"{name} as given")
