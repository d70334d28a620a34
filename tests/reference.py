"""The independent judge: docs/semantics.md a second time, in Python integers and `fractions.Fraction`.

Nothing here is shared with bitquant, and nothing here is clever. A number is a sign and a ratio of two
integers, never a float. One function rounds (`round_quotient`), and what is delivered has passed it once.
Sources: docs/semantics.md, whose words and order this file follows, and IEEE 754-2019, cited by clause.

The chapters: formats · decode and encode · rounding · convert · order, distance, neighbours · boundaries ·
quantize.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import inf, isfinite, isnan
from typing import Literal, NamedTuple

Rounding = Literal["nearest_even", "nearest_away", "toward_zero", "toward_positive", "toward_negative", "to_odd"]
Overflow = Literal["ieee", "saturate", "saturate_finite", "wrap", "raise"]
Nan = Literal["preserve", "canonical", "raise", "zero", "max"]
Subnormals = Literal["gradual", "flush_input", "flush_output", "flush"]
Tininess = Literal["after", "before"]
Scheme = Literal["symmetric", "asymmetric"]
Flags = frozenset[str]

ROUNDINGS: tuple[Rounding, ...] = (
    "nearest_even",
    "nearest_away",
    "toward_zero",
    "toward_positive",
    "toward_negative",
    "to_odd",
)
OVERFLOWS: dict[str, tuple[Overflow, ...]] = {
    "float": ("ieee", "saturate", "saturate_finite", "raise"),
    "integer": ("saturate", "wrap", "raise"),
}
NANS: dict[str, tuple[Nan, ...]] = {
    "float": ("preserve", "canonical", "raise", "zero", "max"),
    "integer": ("raise", "zero", "max"),
}
SUBNORMALS: tuple[Subnormals, ...] = ("gradual", "flush_input", "flush_output", "flush")
TININESSES: tuple[Tininess, ...] = ("after", "before")

NO_FLAGS: Flags = frozenset()
INVALID: Flags = frozenset({"invalid"})
INEXACT: Flags = frozenset({"inexact"})
OVERFLOWED: Flags = frozenset({"overflow", "inexact"})
UNDERFLOWED: Flags = frozenset({"underflow", "inexact"})


class Refused(ArithmeticError):  # noqa: N818 (a refusal is what the rules name it)
    """A rule says `raise`, or no number that may be delivered exists."""


# --- Formats ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """One row of the table: a finite set of values and their codes.

    Parameters
    ----------
    name
        The dtype name.
    kind
        "float", or "integer" (two's complement when signed).
    bits
        Width of a code.
    exponent_bits, significand_bits, bias
        *w*, *t* (stored) and *b* of a floating format, with t >= 1.
    signed
        Whether there are negative numbers; a floating format has a sign bit always, so far.
    """

    name: str
    kind: Literal["float", "integer"]
    bits: int
    exponent_bits: int = 0
    significand_bits: int = 0
    bias: int = 0
    signed: bool = True

    @cached_property
    def precision(self) -> int:
        """*p*: digits of a normal number, the hidden one included."""
        return self.significand_bits + 1

    @cached_property
    def emin(self) -> int:
        """Exponent of the smallest normal number, 2^emin."""
        return 1 - self.bias

    @cached_property
    def sign_bit(self) -> int:
        """Code of the sign alone, -0 in a floating format."""
        return 1 << (self.bits - 1)

    @cached_property
    def infinity(self) -> int:
        """Code of +infinity: exponent field all ones, significand zero."""
        return ((1 << self.exponent_bits) - 1) << self.significand_bits

    @cached_property
    def largest(self) -> int:
        """Code of the largest finite number: the one before infinity, or the largest integer."""
        if self.kind == "float":
            return self.infinity - 1
        return self.high

    @cached_property
    def quiet_bit(self) -> int:
        """Top bit of the significand field (clause 6.2.1)."""
        return 1 << (self.significand_bits - 1)

    @cached_property
    def low(self) -> int:
        """Smallest integer of an integer format."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @cached_property
    def high(self) -> int:
        """Largest integer of an integer format."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        #      name        kind       bits   w   t  bias
        Format("float64", "float", 64, 11, 52, 1023),  # IEEE 754-2019 table 3.5, as float32 and float16
        Format("float32", "float", 32, 8, 23, 127),
        Format("tfloat32", "float", 19, 8, 10, 127),  # NVIDIA A100 whitepaper
        Format("float16", "float", 16, 5, 10, 15),
        Format("bfloat16", "float", 16, 8, 7, 127),  # the upper half of a float32
        Format("int8", "integer", 8),
        Format("uint8", "integer", 8, signed=False),
    )
}
FLOAT64, FLOAT32, TFLOAT32, FLOAT16, BFLOAT16, INT8, UINT8 = FORMATS.values()


# --- Decode and encode --------------------------------------------------------------------------------------


class Number(NamedTuple):
    """What a code stands for.

    kind
        "finite": (-1)^sign · numerator / denominator, the ratio of two integers, not in lowest terms.
        "infinity": (-1)^sign · infinity.
        "nan": numerator / denominator is the significand field read as a binary fraction m / 2^t, so that its
        first digit is the quiet bit and the digits after it are the payload, aligned at the top as one format
        passes it on to another.
    sign
        0 or 1; a zero and a NaN have one too.
    """

    kind: Literal["finite", "infinity", "nan"]
    sign: int
    numerator: int = 0
    denominator: int = 1

    @property
    def fraction(self) -> Fraction:
        """The exact value; a ValueError when it is not finite."""
        if self.kind != "finite":
            raise ValueError(f"{self.kind} has no value")
        return Fraction(-self.numerator if self.sign else self.numerator, self.denominator)

    @property
    def quiet(self) -> bool:
        """Whether a NaN is quiet: the first digit of the significand field is set."""
        return self.kind == "nan" and 2 * self.numerator >= self.denominator

    @property
    def payload(self) -> int:
        """The significand field of a NaN below its quiet bit."""
        return self.numerator % (self.denominator // 2)


Real = int | float | Fraction | Number
"""What a quantizer may be given; a float is the exact number it stores."""


def decode(code: int, fmt: Format) -> Number:
    """Return the exact value of a code, by the table in docs/semantics.md."""
    if not 0 <= code < 1 << fmt.bits:
        raise ValueError(f"{code:#x} is no code of {fmt.name}")
    if fmt.kind == "integer":
        value = code - (1 << fmt.bits) if code > fmt.high else code
        return Number("finite", int(value < 0), abs(value))
    t = fmt.significand_bits
    sign = code >> (fmt.bits - 1)
    field = (code >> t) & ((1 << fmt.exponent_bits) - 1)
    m = code & ((1 << t) - 1)
    if field == (1 << fmt.exponent_bits) - 1:
        return Number("nan", sign, m, 1 << t) if m else Number("infinity", sign)
    if field == 0:
        significand, exponent = m, fmt.emin - t
    else:
        significand, exponent = (1 << t) + m, field - fmt.bias - t
    if exponent >= 0:
        return Number("finite", sign, significand << exponent)
    return Number("finite", sign, significand, 1 << -exponent)


def magnitude_code(significand: int, quantum: int, fmt: Format) -> int:
    """Return the code of significand · 2^quantum, without a sign, as if exponents went on for ever above.

    The significand has at most p digits, or is 2^p, which one rounding up can make of p ones.
    """
    t = fmt.significand_bits
    if significand == 2 << t:
        significand, quantum = 1 << t, quantum + 1
    if significand < 1 << t:  # zero or subnormal, whose quantum is the smallest there is
        assert quantum == fmt.emin - t
        return significand
    return ((quantum + t + fmt.bias) << t) + significand - (1 << t)


def is_subnormal(code: int, fmt: Format) -> bool:
    """Tell whether a code of a floating format is a nonzero number below the smallest normal one."""
    return 0 < code & (fmt.sign_bit - 1) < 1 << fmt.significand_bits


# --- Rounding -----------------------------------------------------------------------------------------------


def round_quotient(numerator: int, denominator: int, rounding: Rounding) -> int:
    """Round numerator / denominator, the latter positive, to an integer: the one place that rounds.

    Clause 4.3; `to_odd` is the rounding of Boldo and Melquiond (IEEE Trans. Computers 57(4), 2008).
    """
    below, rest = divmod(numerator, denominator)  # below <= quotient < below + 1
    if rest == 0:
        return below
    above = below + 1
    even, odd = (above, below) if below % 2 else (below, above)
    toward_zero, away = (below, above) if numerator > 0 else (above, below)
    match rounding:
        case "toward_negative":
            return below
        case "toward_positive":
            return above
        case "toward_zero":
            return toward_zero
        case "to_odd":
            return odd
        case "nearest_even" | "nearest_away":
            if 2 * rest != denominator:
                return below if 2 * rest < denominator else above
            return even if rounding == "nearest_even" else away
    raise ValueError(f"unknown rounding {rounding!r}")


def floor_log2(numerator: int, denominator: int) -> int:
    """Find the exponent e with 2^e <= numerator / denominator < 2^(e+1); both positive."""
    e = numerator.bit_length() - denominator.bit_length()  # the quotient lies between 2^(e-1) and 2^(e+1)
    reached = numerator >= denominator << e if e >= 0 else numerator << -e >= denominator
    return e if reached else e - 1


def round_to_quantum(number: Number, quantum: int, rounding: Rounding) -> tuple[int, bool]:
    """Round a finite number to a count of 2^quantum: the count without its sign, and whether inexact."""
    numerator = -number.numerator if number.sign else number.numerator
    denominator = number.denominator
    if quantum >= 0:
        denominator <<= quantum
    else:
        numerator <<= -quantum
    count = round_quotient(numerator, denominator, rounding)
    return abs(count), count * denominator != numerator


# --- Convert ------------------------------------------------------------------------------------------------


def convert(
    code: int,
    source: Format,
    target: Format,
    rounding: Rounding = "nearest_even",
    overflow: Overflow | None = None,
    nan: Nan | None = None,
    subnormals: Subnormals = "gradual",
    tininess: Tininess = "after",
) -> tuple[int, Flags]:
    """Convert one code of `source` to `target`, and tell the flags that this raises.

    Parameters
    ----------
    code
        Code in `source`.
    source, target
        Rows of `FORMATS`.
    rounding, overflow, nan, subnormals, tininess
        Rules, as docs/semantics.md names them. None is the default of the target: "ieee" and "preserve" for a
        floating format, "saturate" and "raise" for an integer format.

    Returns
    -------
    code : int
        Code in `target`.
    flags : frozenset of str
        Of "invalid", "overflow", "underflow", "inexact" (clause 7).

    Raises
    ------
    Refused
        Where a rule is "raise" and the case arises.
    ValueError
        For a rule that is unknown, or that the target does not have.
    """
    overflow = overflow or OVERFLOWS[target.kind][0]
    nan = nan or NANS[target.kind][0]
    if rounding not in ROUNDINGS or overflow not in OVERFLOWS[target.kind] or nan not in NANS[target.kind]:
        raise ValueError(f"{target.name} has no rules {rounding!r}, {overflow!r}, {nan!r}")
    if subnormals not in SUBNORMALS or tininess not in TININESSES:
        raise ValueError(f"unknown rules {subnormals!r}, {tininess!r}")

    number = decode(code, source)
    if number.kind == "nan":
        return convert_nan(number, target, nan)
    if source.kind == "float" and subnormals in ("flush_input", "flush") and is_subnormal(code, source):
        number = Number("finite", number.sign)
    if target.kind == "integer":
        return convert_to_integer(number, target, rounding, overflow)
    return convert_to_float(number, target, rounding, overflow, subnormals, tininess)


def convert_nan(number: Number, target: Format, nan: Nan) -> tuple[int, Flags]:
    """Take step 1, the rule for a NaN. Clauses 6.2 (quiet, payload), 5.8 and 7.2 (invalid)."""
    match nan:
        case "raise":
            raise Refused(f"NaN into {target.name}")
        case "zero":
            return 0, INVALID
        case "max":
            return target.largest, INVALID
    code = target.infinity | target.quiet_bit
    if nan == "preserve":
        code |= (number.numerator << target.significand_bits) // number.denominator
        code |= target.sign_bit if number.sign else 0
    return code, NO_FLAGS if number.quiet else INVALID


def convert_to_float(
    number: Number,
    target: Format,
    rounding: Rounding = "nearest_even",
    overflow: Overflow = "ieee",
    subnormals: Subnormals = "gradual",
    tininess: Tininess = "after",
) -> tuple[int, Flags]:
    """Take steps 2 and 4 to 7, for a finite number or an infinity: the code, and the flags."""
    sign = target.sign_bit if number.sign else 0

    # 2. Infinity.
    if number.kind == "infinity":
        if overflow == "saturate":
            return sign | target.largest, OVERFLOWED
        return sign | target.infinity, NO_FLAGS
    if number.numerator == 0:
        return sign, NO_FLAGS

    # 4. Rounding, exponent unbounded above, gradual underflow below.
    exponent = floor_log2(number.numerator, number.denominator)
    quantum = max(exponent, target.emin) - target.significand_bits
    count, inexact = round_to_quantum(number, quantum, rounding)
    code = magnitude_code(count, quantum, target)

    # 5. Overflow. Codes of one sign are ordered as their values are, so the code tells.
    if code > target.largest:
        if overflow == "raise":
            raise Refused(f"overflow of {target.name}")
        if overflow == "ieee" and overflows_to_infinity(number.sign, rounding):
            return sign | target.infinity, OVERFLOWED
        return sign | target.largest, OVERFLOWED

    # 6. flush_output.
    if subnormals in ("flush_output", "flush") and is_subnormal(code, target):
        return sign, UNDERFLOWED

    # 7. Zero keeps the sign of the input. Flags.
    if not inexact:
        return sign | code, NO_FLAGS
    tiny = exponent < target.emin
    if tiny and tininess == "after":
        unbounded = exponent - target.significand_bits
        count, _ = round_to_quantum(number, unbounded, rounding)
        tiny = count < 1 << (target.emin - unbounded)
    return sign | code, UNDERFLOWED if tiny else INEXACT


def overflows_to_infinity(sign: int, rounding: Rounding) -> bool:
    """Tell whether overflow delivers an infinity, not the largest finite number (clause 7.4)."""
    match rounding:
        case "nearest_even" | "nearest_away":
            return True
        case "toward_positive":
            return sign == 0
        case "toward_negative":
            return sign == 1
    return False  # toward_zero and to_odd


def convert_to_integer(number: Number, target: Format, rounding: Rounding, overflow: Overflow) -> tuple[int, Flags]:
    """Round a finite number or an infinity to a code of an integer format (clause 5.8, "Exact")."""
    mask = (1 << target.bits) - 1
    if number.kind == "finite":
        count, inexact = round_to_quantum(number, 0, rounding)
        integer = -count if number.sign else count
        if target.low <= integer <= target.high:
            return integer & mask, INEXACT if inexact else NO_FLAGS
    else:
        integer = 0  # what `wrap` makes of an infinity
    match overflow:
        case "saturate":
            return (target.low if number.sign else target.high) & mask, INVALID
        case "wrap":
            return integer & mask, INVALID
    raise Refused(f"out of the range of {target.name}")


# --- Order, distance, neighbours ----------------------------------------------------------------------------


def ordered(code: int, fmt: Format) -> int:
    """Return the place of a number in the ordered list of a format.

    Both zeros have place 0, and the infinities stand one beyond the largest finite numbers.
    """
    number = decode(code, fmt)
    if number.kind == "nan":
        raise ValueError("a NaN has no place in the order")
    if fmt.kind == "integer":
        return -number.numerator if number.sign else number.numerator
    magnitude = code & (fmt.sign_bit - 1)
    return -magnitude if number.sign else magnitude


def ulp_distance(a: int, b: int, fmt: Format) -> int:
    """Count the steps of the ordered list between two codes; never negative."""
    return abs(ordered(a, fmt) - ordered(b, fmt))


def spacing(value: Fraction | int, fmt: Format) -> Fraction:
    """Return the ulp of a value, 2^(max(floor(log2 |x|), emin) - p + 1).

    Zero has that of the subnormals; among integers it is 1.
    """
    if fmt.kind == "integer":
        return Fraction(1)
    value = abs(Fraction(value))
    exponent = floor_log2(value.numerator, value.denominator) if value else fmt.emin
    return Fraction(2) ** (max(exponent, fmt.emin) - fmt.precision + 1)


def code_at(place: int, fmt: Format, zero_sign: int = 0) -> int:
    """Return the code at a place of the ordered list, or at the end of the list for a place beyond it."""
    if fmt.kind == "integer":
        return min(max(place, fmt.low), fmt.high) & ((1 << fmt.bits) - 1)
    negative = place < 0 or (place == 0 and zero_sign == 1)
    return (fmt.sign_bit if negative else 0) | min(abs(place), fmt.infinity)


def neighbours(code: int, source: Format, fmt: Format) -> tuple[int, int]:
    """Return the largest number of `fmt` below and the smallest above a number of `source`, strictly.

    nextDown and nextUp (clause 5.3.1): a zero has the sign of the side it is seen from, the neighbour beyond
    an infinity is itself, and a NaN is its own neighbour, quiet. An integer format ends without infinities:
    there the end of the range stands in for the neighbour that is missing, and a NaN is refused.
    """
    number = decode(code, source)
    if number.kind == "nan":
        code, _ = convert_nan(number, fmt, NANS[fmt.kind][0])
        return code, code
    return neighbours_of(number, fmt)


def neighbours_of(number: Number, fmt: Format) -> tuple[int, int]:
    """Return the `neighbours` of a finite number or an infinity."""
    floor, inexact = floor_place(number, fmt)
    below = floor if inexact else floor - 1
    return code_at(below, fmt, number.sign), code_at(floor + 1, fmt, number.sign)


def floor_place(number: Number, fmt: Format) -> tuple[int, bool]:
    """Find the place of the largest number of a format not above a number, and whether they differ.

    The places of an integer format go on beyond its ends here.
    """
    if fmt.kind == "float":
        code, flags = convert_to_float(number, fmt, "toward_negative")
        return ordered(code, fmt), "inexact" in flags
    if number.kind == "infinity":
        return (fmt.low - 1 if number.sign else fmt.high + 1), True
    count, inexact = round_to_quantum(number, 0, "toward_negative")
    return (-count if number.sign else count), inexact


# --- Boundaries: where an error would show ------------------------------------------------------------------


def boundaries(
    source: Format, target: Format, samples: int = 2000, seed: int = 0, whole: int = 1 << 16
) -> Iterator[int]:
    """Yield the source codes at which a conversion to `target` can change its mind, once each, ascending.

    For every critical value, the source code that stores it, if there is one, and the source numbers next to
    it on both sides. Critical are the numbers of the target, the midpoints between consecutive ones (the
    overflow threshold is one of them, infinity standing for the power of two it replaces), and the point next
    to the smallest normal number where tininess after rounding ends. Besides them the zeros, infinities,
    NaNs, binade edges and subnormal edges of the source itself.

    Parameters
    ----------
    source, target
        Rows of `FORMATS`.
    samples
        Places of the target, and codes of the source, that are drawn where not all are taken.
    seed
        Of that draw.
    whole
        A target of at most so many codes is taken whole; of a larger one, all binade edges, the subnormal
        edges and the sample. A source of 16 bits or fewer is yielded whole.
    """
    if source.bits <= 16:
        yield from range(1 << source.bits)
        return
    draw = random.Random(f"{source.name} {target.name} {seed}")
    codes = {sign | place for place in edge_places(source) for sign in (0, source.sign_bit)}
    codes.update(draw.randrange(1 << source.bits) for _ in range(samples))
    codes.update(nan_codes(source))
    for value in critical_values(target, draw, samples, whole):
        number = Number("finite", int(value < 0), abs(value.numerator), value.denominator)
        codes.update(neighbours_of(number, source))
        codes.add(convert_to_float(number, source, "toward_zero")[0])
    yield from sorted(codes)


def critical_values(target: Format, draw: random.Random, samples: int, whole: int) -> Iterator[Fraction]:
    """Yield the numbers of a format, or a sample, the midpoints above them, and where tininess ends."""
    if target.kind == "integer":
        for place in range(target.low - 1, target.high + 2):
            yield from (Fraction(place), Fraction(2 * place + 1, 2))
        return
    if 1 << target.bits <= whole:
        places: Iterable[int] = range(target.infinity)
    else:
        places = edge_places(target) | {draw.randrange(target.infinity) for _ in range(samples)}
    tiny_end = Fraction(2) ** target.emin - Fraction(2) ** (target.emin - target.precision - 1)
    yield from (tiny_end, -tiny_end)
    for place in places:
        value, above = value_at(place, target), value_at(min(place + 1, target.infinity), target)
        for critical in (value, (value + above) / 2, above):
            yield from (critical, -critical)


def value_at(place: int, fmt: Format) -> Fraction:
    """Return the number at a place >= 0 of a floating format, 2^(emax + 1) where infinity stands."""
    number = decode(place, fmt)
    return Fraction(2) ** (fmt.bias + 1) if number.kind == "infinity" else number.fraction


def edge_places(fmt: Format) -> set[int]:
    """Collect the places at and next to zero, infinity and each power of two of a floating format."""
    t = fmt.significand_bits
    powers = [1 << digit for digit in range(t)] + [field << t for field in range(1, 1 << fmt.exponent_bits)]
    edges = {place + step for place in powers for step in (-1, 0, 1)}
    return {place for place in edges if place <= fmt.infinity}


def nan_codes(fmt: Format) -> set[int]:
    """Collect NaNs of both signs, quiet and signalling: payloads empty, full, one digit at an end."""
    top, ones = fmt.quiet_bit >> 1, fmt.quiet_bit - 1
    fields = {1, top, ones, fmt.quiet_bit, fmt.quiet_bit | 1, fmt.quiet_bit | top, fmt.quiet_bit | ones}
    return {sign | fmt.infinity | field for sign in (0, fmt.sign_bit) for field in fields}


# --- Quantize -----------------------------------------------------------------------------------------------


class Linear(NamedTuple):
    """A linear mapping: round(value · scale + zero_point), clamped to [qmin, qmax]; scale: codes per unit."""

    scale: Fraction
    zero_point: int
    qmin: int
    qmax: int

    def quantize(self, value: Real, rounding: Rounding = "nearest_even", nonfinite: str = "raise") -> int:
        """Call `quantize` with these parameters."""
        return quantize(value, *self, rounding=rounding, nonfinite=nonfinite)

    def dequantize(self, code: int, fmt: Format, rounding: Rounding = "nearest_even") -> int:
        """Call `dequantize` with these parameters."""
        return dequantize(code, self.scale, self.zero_point, fmt, rounding)


def as_number(value: Real) -> Number:
    """Take a real number, an infinity or a NaN as a Number; a float is the exact number that it stores."""
    if isinstance(value, Number):
        return value
    if isinstance(value, float) and not isfinite(value):
        return Number("nan", 0, 1, 2) if isnan(value) else Number("infinity", int(value == -inf))
    value = Fraction(value)
    return Number("finite", int(value < 0), abs(value.numerator), value.denominator)


def code_range(scheme: Scheme, bits: int = 8, signed: bool = True, narrow: bool | None = None) -> tuple[int, int]:
    """Return (qmin, qmax). Narrow leaves out the lowest code; None is narrow for signed symmetric alone."""
    if narrow is None:
        narrow = signed and scheme == "symmetric"
    qmin, qmax = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    qmin += narrow
    if qmin >= qmax or (scheme == "symmetric" and qmax == 0):
        raise ValueError(f"{bits} bits leave no codes to scale to")
    return qmin, qmax


def parameters(
    values: Iterable[Real],
    scheme: Scheme,
    bits: int = 8,
    signed: bool = True,
    narrow: bool | None = None,
    low: Real | None = None,
    high: Real | None = None,
    include_zero: bool = False,
    step_format: Format | None = None,
    nonfinite: Literal["raise", "saturate"] = "raise",
) -> Linear:
    """Find the linear mapping that a scheme makes of data, or of a chosen range.

    Parameters
    ----------
    values
        The data. Not looked at where the range is given.
    scheme
        "symmetric" or "asymmetric".
    bits, signed, narrow
        See `code_range`.
    low, high
        A chosen range in place of the data's own (clipping): both or neither.
    include_zero
        Widen the range to include zero first.
    step_format
        Floating format to which the step, 1 / scale, is rounded to nearest even before it is used.
    nonfinite
        "raise", or "saturate" to leave NaN and infinities out of the range.

    Raises
    ------
    Refused
        For data without a range (none, or not finite), a step that `step_format` cannot hold, a zero point
        beyond int32.
    ValueError
        For a range or a bit width that makes no sense.
    """
    qmin, qmax = code_range(scheme, bits, signed, narrow)
    if (low is None) != (high is None):
        raise ValueError("a range has two ends")
    if low is not None and high is not None:
        least, most = as_number(low).fraction, as_number(high).fraction
        if least > most:
            raise ValueError("the range is upside down")
    else:
        least, most = data_range(values, nonfinite)

    if include_zero or (scheme == "asymmetric" and least == most):
        least, most = min(least, Fraction(0)), max(most, Fraction(0))
    if least == most == 0:
        return Linear(Fraction(1), 0, qmin, qmax)

    symmetric = scheme == "symmetric"
    scale = qmax / max(abs(least), abs(most)) if symmetric else (qmax - qmin) / (most - least)
    if step_format is not None:
        scale = 1 / stored_step(1 / scale, step_format)
    if symmetric:
        return Linear(scale, 0, qmin, qmax)
    offset = -least * scale
    zero_point = round_quotient(offset.numerator, offset.denominator, "nearest_even") + qmin
    if not -(1 << 31) <= zero_point < 1 << 31:
        raise Refused(f"the zero point {zero_point} is no int32")
    return Linear(scale, zero_point, qmin, qmax)


def data_range(values: Iterable[Real], nonfinite: str) -> tuple[Fraction, Fraction]:
    """Return the least and the greatest finite value."""
    numbers = [as_number(value) for value in values]
    finite = [number.fraction for number in numbers if number.kind == "finite"]
    if len(finite) < len(numbers) and nonfinite == "raise":
        raise Refused("NaN or infinity in the data")
    if not finite:
        raise Refused("no finite value to make a range of")
    return min(finite), max(finite)


def stored_step(step: Fraction, fmt: Format) -> Fraction:
    """Return a step as a floating format holds it, rounded to nearest even."""
    stored = decode(convert_to_float(as_number(step), fmt)[0], fmt)
    if stored.kind != "finite" or stored.numerator == 0:
        raise Refused(f"{fmt.name} cannot hold the step {step}")
    return stored.fraction


def quantize(
    value: Real,
    scale: Fraction,
    zero_point: int,
    qmin: int,
    qmax: int,
    rounding: Rounding = "nearest_even",
    nonfinite: str = "raise",
) -> int:
    """Round value · scale + zero_point once to an integer code, clamped to [qmin, qmax]."""
    number = as_number(value)
    if number.kind == "finite":
        position = number.fraction * scale + zero_point
        code = round_quotient(position.numerator, position.denominator, rounding)
    elif nonfinite == "raise":
        raise Refused(f"{number.kind} has no code")
    elif number.kind == "infinity":
        code = qmin if number.sign else qmax
    else:
        code = zero_point
    return min(max(code, qmin), qmax)


def dequantize(code: int, scale: Fraction, zero_point: int, fmt: Format, rounding: Rounding = "nearest_even") -> int:
    """Round (code - zero_point) / scale once to a code of the floating format `fmt`; zero is +0."""
    return convert_to_float(as_number((code - zero_point) / scale), fmt, rounding)[0]
