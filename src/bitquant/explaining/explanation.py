"""An explanation: every step of one number's way into a format, as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bitquant.errors import BitquantError
from bitquant.explaining.exact import Real, decimal, finite, hex_float, sign_and_fields, text_of
from bitquant.explaining.projecting import FLAGS, Outcome, Projection
from bitquant.explaining.reading import Given
from bitquant.explaining.rounded import Rounding
from bitquant.formats import Format
from bitquant.permitted import Rules, nan_rules, overflow_rules
from bitquant.rules import Stochastic

if TYPE_CHECKING:
    from bitquant.explaining.blocks import Block
    from bitquant.explaining.comparing import Answer
    from bitquant.explaining.mapping import Mapping


class Interval(NamedTuple):
    """The real numbers that become one code: its ends, and whether they belong to it."""

    low: Real
    high: Real
    low_closed: bool
    high_closed: bool

    def __contains__(self, x: object) -> bool:
        """Whether a rational lies in the interval."""
        if not isinstance(x, (int, Fraction)):
            return False
        low = self.low.kind == "infinity" or self.low.value < x or (self.low_closed and self.low.value == x)
        return low and (
            self.high.kind == "infinity" or x < self.high.value or (self.high_closed and self.high.value == x)
        )


class Neighbour(NamedTuple):
    """A number of the format and its code."""

    code: int
    real: Real


@dataclass(frozen=True)
class Error:
    """Result − number, exactly.

    Attributes
    ----------
    absolute : Fraction
        With its sign.
    relative : Fraction or None
        Divided by the number; None where that is zero.
    ulps : Fraction or None
        In units of the last place at the number; in steps, where a scheme maps to integers. None beyond the largest
        number.
    """

    absolute: Fraction
    relative: Fraction | None
    ulps: Fraction | None


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """One number's way into a format: every step as data, and as text, HTML and JSON.

    Attributes
    ----------
    given : Given
        The number: `.text` as it was given, `.real` exactly, `.source` and `.code` where it came in a format.
    target : Format
    rules : Rules
        Rounding, overflow, NaN and subnormal rule, tininess.
    code : int
        Of the result.
    result : Real
        What the code stands for: `.kind`, `.negative`, `.value` (a Fraction).
    flags : tuple of str
        Which of "invalid", "overflow", "underflow", "inexact" were raised.
    rounding : Rounding or None
        What was cut off and which way it went; None for zero, infinity and NaN.
    events : tuple of str
        What happened besides: "carry", "subnormal", "becomes normal", "overflow", "flushed input", "flushed output" ...
    error : Error or None
        None where number or result is not finite.
    neighbours : pair of Neighbour, or None
        The largest number of the format below the exact number, and the smallest above it. None for NaN.
    around : pair of Neighbour, or None
        The same of the result.
    interval : Interval or None
        The real numbers that get this code under the same rules. None for NaN.
    path : tuple of Explanation
        With ``via=``: the roundings one after the other, the last of them into `target`.
    direct : Explanation or None
        With ``via=``: the one rounding.
    mapping : Mapping or None
        With ``scheme=``: scale, zero point, position and clipping.
    block : Block or None
        Of a block format: the block's scale, and the explanation of the element.
    answers : tuple of Answer
        What other libraries make of the number, see `compare`.
    """

    given: Given
    target: Format
    rules: Rules
    code: int
    result: Real
    flags: tuple[str, ...]
    rounding: Rounding | None
    events: tuple[str, ...]
    error: Error | None
    neighbours: tuple[Neighbour, Neighbour] | None
    around: tuple[Neighbour, Neighbour] | None
    interval: Interval | None
    path: tuple[Explanation, ...] = ()
    direct: Explanation | None = None
    mapping: Mapping | None = None
    block: Block | None = None
    answers: tuple[Answer, ...] = ()

    @property
    def value(self) -> Fraction | None:
        """The exact number that was given; None for infinity and NaN."""
        return self.given.real.value if self.given.real.kind == "finite" else None

    @property
    def decimal(self) -> str | None:
        """The exact decimal expansion of the number that was given."""
        return None if self.value is None else decimal(self.value)

    @property
    def hex(self) -> str | None:
        """The number that was given in hexadecimal, as C writes it; None where it does not end."""
        return hex_float(self.given.real)

    @property
    def fields(self) -> tuple[int | None, int | None, int]:
        """Sign, biased exponent and stored significand of the result."""
        return sign_and_fields(self.code, self.target)

    @property
    def source_fields(self) -> tuple[int | None, int | None, int] | None:
        """The same of the number that was given, where it came in a format."""
        if self.given.source is None or self.given.code is None:
            return None
        return sign_and_fields(self.given.code, self.given.source)

    @property
    def rounded_twice(self) -> bool:
        """Whether the roundings of `path` end elsewhere than the direct one."""
        return self.direct is not None and self.direct.code != self.code

    def __repr__(self) -> str:
        return f"<Explanation {self.given.text} → {self.target.name} {text_of(self.result)} = {hexadecimal(self)}>"

    def __str__(self) -> str:
        from bitquant.explaining.text import text

        return text(self)

    def text(self, width: int = 80) -> str:
        """Return the explanation as text of so many columns, without colour."""
        from bitquant.explaining.text import text

        return text(self, width)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a dictionary that JSON holds; rationals are texts such as "1/3"."""
        from bitquant.explaining.exchange import as_dict

        return as_dict(self)

    def to_html(self, path: Any = None, *, overwrite: bool = False) -> str:
        """Return a whole HTML page that needs nothing else; with `path`, write it there too."""
        from bitquant.explaining.html import page, save

        found = page([self])
        if path is not None:
            save(path, found, overwrite)
        return found

    def compare(self, *libraries: str) -> Explanation:
        """Return the same explanation with what other libraries make of the number.

        Parameters
        ----------
        *libraries : str
            "numpy", "ml_dtypes", "torch": imported when asked. Under a scheme, torch's quantize_per_tensor.

        Raises
        ------
        BitquantError
            For a library that is not known, or not installed.
        """
        from bitquant.explaining.comparing import with_answers

        return with_answers(self, libraries)

    def _repr_html_(self) -> str:
        from bitquant.explaining.html import fragment

        return fragment(self)


def hexadecimal(explanation: Explanation) -> str:
    """The code of the result."""
    return f"0x{explanation.code:0{-(-explanation.target.bits // 4)}X}"


class Line(Protocol):
    """The numbers of a target in their order, as `Places`."""

    first: int
    last: int

    def real(self, place: int) -> Real:
        """The number at a place."""

    def code(self, place: int, negative_zero: bool = False) -> int:
        """Its code."""

    def of_code(self, code: int) -> int:
        """The place of a code."""

    def neighbours(self, x: Real) -> tuple[int, int]:
        """The places below and above a number."""


def explained(given: Given, projection: Projection, line: Line, decode: Callable[[int], Real]) -> Explanation:
    """The explanation of one projection."""
    x, target, rules = given.real, projection.target, projection.rules
    outcome = projection.run(x, given.word)
    if outcome.refused:
        raise refusal(given, target)
    result = decode(outcome.code)
    rounding = projection.rounding(x)
    place = None if result.kind == "nan" else line.of_code(outcome.code)
    error = None
    if x.kind == result.kind == "finite":
        absolute = result.value - x.value
        unit = rounding.unit if rounding is not None else None
        error = Error(absolute, absolute / x.value if x.value else None, absolute / unit if unit else None)
    interval = None
    if x.kind == "infinity" and rules.overflow == "wrap":
        interval = Interval(x, x, True, True)
    elif x.kind != "nan":
        breaks = projection.breaks(line.last if place is None else place, x)
        interval = preimage(projection.run, breaks, x, outcome.code)
    flags = tuple(name for name, bit in FLAGS.items() if outcome.flags & bit)
    return Explanation(
        given,
        target,
        rules,
        outcome.code,
        result,
        flags,
        rounding,
        _events(x, result, rounding, flags, target, given.source, rules),
        error,
        None if x.kind == "nan" else _pair(line, line.neighbours(x)),
        None if place is None else _pair(line, line.neighbours(line.real(place))),
        interval,
    )


def _pair(line: Line, places: tuple[int, int]) -> tuple[Neighbour, Neighbour]:
    """Two places as codes and numbers: a zero has the sign of the side it is seen from."""
    below, above = places
    code, real = line.code(above, True), line.real(above)
    if above == 0 and code != line.code(above):
        real = Real("finite", True)
    return Neighbour(line.code(below), line.real(below)), Neighbour(code, real)


def _events(
    x: Real,
    result: Real,
    rounding: Rounding | None,
    flags: tuple[str, ...],
    target: Format,
    source: Format | None,
    rules: Rules,
) -> tuple[str, ...]:
    """What happened besides rounding."""
    if x.kind != "finite":
        changed = x.kind != result.kind
        return (f"{x.kind} replaced",) if changed else ("signalling NaN quieted",) if "invalid" in flags else ()
    found = []
    if rounding is None:
        if x.magnitude:
            found.append("flushed input")
        return tuple(found)
    if target.is_float:
        hidden = 1 << target.significand_bits
        below = "underflow" in flags or rounding.kept < hidden
        if rounding.kept < hidden and target.zero:
            found.append("subnormal")
        if rounding.carry:
            found.append("carry")
        if rounding.kept < hidden <= rounding.rounded and target.zero:
            found.append("becomes normal")
        if "overflow" in flags:
            found.append("overflow")
        elif rounding.rounded and result.kind == "finite" and result.magnitude == 0 and below:
            found.append("flushed output")
    elif target.is_integer:
        if "invalid" in flags:
            found.append("overflow")
    elif "overflow" in flags:
        found.append("overflow")
    return tuple(found)


def refusal(given: Given, target: Format) -> BitquantError:
    """The error for a number that a rule refuses."""
    if given.real.kind == "nan":
        ways: list[str] = [rule for rule in ("preserve", "canonical", "zero", "max") if rule in nan_rules(target)]
        reason = "NaN is refused by nan='raise'" if target.has_nan else f"{target.name} has no NaN"
        return BitquantError(f"{given.text} is NaN: {reason}; pass nan={_or(ways)}")
    ways = [rule for rule in overflow_rules(target) if rule != "raise"]
    reach = f"{target.name} reaches from {target.min:g} to {target.max:g}"
    return BitquantError(f"{given.text} is out of range: {reach}; pass overflow={_or(ways)}")


def _or(ways: Sequence[str]) -> str:
    """The end of a sentence that says what may be passed."""
    *most, last = (repr(way) for way in ways)
    return f"{', '.join(most)} or {last}" if most else last


def preimage(run: Callable[[Real], Outcome], breaks: Sequence[Fraction], x: Real, code: int) -> Interval:
    """The interval around x of the numbers that get its code.

    Between two of the places where a result may change, and at each of them, one number tells for all.
    """
    values = {*breaks, *([x.value] if x.kind == "finite" else [])}
    points: list[Real] = []
    for value in sorted(values):
        points += [Real("finite", True), Real("finite", False)] if value == 0 else [finite(value)]
    ends = Real("infinity", True), Real("infinity", False)

    def between(k: int) -> Real | None:
        """A number between points k − 1 and k; None between the zeros."""
        if k == 0:
            return finite(points[0].value - 1 - points[0].magnitude)
        if k == len(points):
            return finite(points[-1].value + 1 + points[-1].magnitude)
        middle = (points[k - 1].value + points[k].value) / 2
        return None if middle == points[k].value else finite(middle)

    def gets(number: Real | None) -> bool:
        if number is None:
            return True
        found = run(number)
        return found.code == code and not found.refused

    # Places: infinity, a gap, a point, a gap, a point ... infinity.
    def number(at: int) -> Real | None:
        if at in (0, 2 * len(points) + 2):
            return ends[at > 0]
        return points[at // 2 - 1] if at % 2 == 0 else between(at // 2)

    start = (points.index(x) + 1) * 2 if x.kind == "finite" else 2 * len(points) + 2 if not x.negative else 0
    low = high = start
    while low > 0 and gets(number(low - 1)):
        low -= 1
    while high < 2 * len(points) + 2 and gets(number(high + 1)):
        high += 1
    low += number(low) is None  # between the zeros is nothing
    high -= number(high) is None

    def end(at: int, step: int) -> tuple[Real, bool]:
        if at % 2 == 0:
            found = number(at)
            assert found is not None
            return found, True
        found = number(at + step)
        assert found is not None
        return found, False

    (lowest, low_closed), (highest, high_closed) = end(low, -1), end(high, 1)
    if run(Real("finite", True)) == run(Real("finite", False)):  # the sign of a zero says nothing then
        lowest, highest = (
            Real("finite", False) if one.kind == "finite" and not one.magnitude else one for one in (lowest, highest)
        )
    return Interval(lowest, highest, low_closed, high_closed)


def rounding_name(rounding: Any) -> str:
    """A rounding rule by its name."""
    if isinstance(rounding, Stochastic):
        return f"stochastic, {rounding.bits} bits, variant {rounding.variant}"
    return str(rounding)
