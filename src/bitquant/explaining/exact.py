"""Exact numbers: what a code stands for, the ordered numbers of a format, and how a rational is written down.

Integers and rationals alone, so that no state of the FPU reaches an explanation.
"""

from __future__ import annotations

import bisect
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from bitquant.formats import Format

_PERIOD = 24  # digits of a repeating decimal that are looked for
_DIGITS = 24  # significant digits of a decimal that does not end


class Real(NamedTuple):
    """An extended real number: zero has a sign, and so has a NaN."""

    kind: str  # "finite", "infinity" or "nan"
    negative: bool
    magnitude: Fraction = Fraction(0)

    @property
    def value(self) -> Fraction:
        """The number, where it is finite."""
        return -self.magnitude if self.negative else self.magnitude


def finite(value: Fraction) -> Real:
    """A rational as a Real; zero is positive."""
    return Real("finite", value < 0, abs(value))


def power(exponent: int) -> Fraction:
    """2^exponent."""
    return Fraction(1 << max(exponent, 0), 1 << max(-exponent, 0))


def exponent_of(magnitude: Fraction) -> int:
    """The exponent e with 2^e ≤ magnitude < 2^(e+1)."""
    numerator, denominator = magnitude.as_integer_ratio()
    e = numerator.bit_length() - denominator.bit_length()
    return e if numerator << max(-e, 0) >= denominator << max(e, 0) else e - 1


def decoded(code: int, fmt: Format) -> Real:
    """What a code stands for."""
    if fmt.is_integer:
        return finite(Fraction(code - (1 << fmt.bits) if code > fmt.largest_code else code))
    if fmt.kind == "codebook":
        return finite(Fraction(fmt.values[code]))
    magnitude = code & ((1 << fmt.magnitude_bits) - 1)
    negative = bool(code >> fmt.magnitude_bits)
    if fmt.nan == "negative_zero" and code == fmt.nan_code:
        return Real("nan", False)
    if magnitude == fmt.infinity_code:
        return Real("infinity", negative)
    if magnitude > fmt.largest_code:
        return Real("nan", negative)
    return Real("finite", negative, size_of(magnitude, fmt))


def size_of(place: int, fmt: Format) -> Fraction:
    """The number at a place of a floating format, as if exponents went on without end above."""
    field, stored = divmod(place, 1 << fmt.significand_bits)
    if field or not fmt.zero:
        stored += 1 << fmt.significand_bits
    return stored * power(max(field, int(fmt.zero)) - fmt.bias - fmt.significand_bits)


def sign_and_fields(code: int, fmt: Format) -> tuple[int | None, int | None, int]:
    """Sign, biased exponent and stored significand; None for a field that the format lacks."""
    sign = code >> fmt.magnitude_bits & 1 if fmt.signed else None
    exponent = code >> fmt.significand_bits & ((1 << fmt.exponent_bits) - 1) if fmt.exponent_bits else None
    return sign, exponent, code & ((1 << fmt.significand_bits) - 1)


class Places:
    """The numbers of a format in their order: −0 and +0 share a place, infinities stand at the ends."""

    def __init__(self, fmt: Format) -> None:
        self.fmt = fmt
        if fmt.is_integer:
            self.first, self.last = int(fmt.min), int(fmt.max)
        else:
            self.last = fmt.largest_code + (fmt.infinity if fmt.is_float else 0)
            self.first = -self.last if fmt.is_float and fmt.signed else 0

    def value(self, place: int) -> Fraction:
        """The number at a place; beyond the largest of a float, the one that would be there."""
        if self.fmt.is_integer:
            return Fraction(place)
        if self.fmt.kind == "codebook":
            return Fraction(self.fmt.values[place])
        size = size_of(abs(place), self.fmt)
        return -size if place < 0 else size

    def real(self, place: int) -> Real:
        """The number at a place, which may be an infinity."""
        if self.fmt.is_float and abs(place) == self.fmt.infinity_code:
            return Real("infinity", place < 0)
        return finite(self.value(place))

    def code(self, place: int, negative_zero: bool = False) -> int:
        """The code of the number at a place."""
        if self.fmt.is_integer:
            return place % (1 << self.fmt.bits)
        sign = place < 0 or (place == 0 and negative_zero and self.fmt.signed_zero)
        return abs(place) | sign << self.fmt.magnitude_bits

    def of_code(self, code: int) -> int:
        """The place of a code that is no NaN."""
        if self.fmt.is_integer:
            return int(decoded(code, self.fmt).value)
        if self.fmt.kind == "codebook" or not self.fmt.signed:
            return code
        magnitude = code & ((1 << self.fmt.magnitude_bits) - 1)
        return -magnitude if code != magnitude else magnitude

    def floor(self, x: Real) -> tuple[int, bool]:
        """The last place whose number is not above x, and whether it is x; `first` − 1 where there is none."""
        fmt = self.fmt
        if x.kind == "infinity":
            held = fmt.is_float and fmt.infinity and (fmt.signed or not x.negative)
            return (self.first - (not held), held) if x.negative else (self.last, held)
        value = x.value
        if fmt.is_integer:
            place = value.numerator // value.denominator
            exact = value.denominator == 1
        elif fmt.kind == "codebook":
            place = bisect.bisect_right(fmt.values, value) - 1
            exact = place >= 0 and fmt.values[place] == value
        else:
            place, exact = self._float_floor(x)
        if place < self.first:
            return self.first - 1, False
        top = fmt.largest_code if fmt.is_float else self.last
        return (top, False) if place > top else (place, exact)

    def _float_floor(self, x: Real) -> tuple[int, bool]:
        fmt = self.fmt
        if x.magnitude == 0:
            return (0, True) if fmt.zero else (-1, False)
        if x.negative and not fmt.signed:
            return -1, False
        exponent = max(exponent_of(x.magnitude), fmt.min_exponent)
        ulps = x.magnitude / power(exponent - fmt.significand_bits)
        count = ulps.numerator // ulps.denominator
        exact = ulps.denominator == 1
        field = exponent - fmt.min_exponent + (1 if fmt.zero else 0)
        place = count if count < 1 << fmt.significand_bits else count + ((field - 1) << fmt.significand_bits)
        if not fmt.zero and count < 1 << fmt.significand_bits:
            return -1, False
        if not x.negative:
            return place, exact
        if place > fmt.largest_code:
            return (self.first if fmt.infinity else self.first - 1), False
        return (-place, True) if exact else (-place - 1, False)

    def neighbours(self, x: Real) -> tuple[int, int]:
        """The places of the largest number below x and of the smallest above it; an end stands for what is missing."""
        floor, exact = self.floor(x)
        below, above = floor - exact, floor + 1
        return min(max(below, self.first), self.last), min(max(above, self.first), self.last)


# --- Written down ---------------------------------------------------------------------------------------------


def is_dyadic(value: Fraction) -> bool:
    """Whether a number has finitely many binary digits."""
    return value.denominator & (value.denominator - 1) == 0


@lru_cache(maxsize=256)
def decimal(value: Fraction) -> str:
    """The exact decimal expansion: all digits where it ends, the period in brackets where that is short, else "…"."""
    sign, (whole, rest) = "-" * (value < 0), divmod(abs(value.numerator), value.denominator)
    denominator = value.denominator
    twos = (denominator & -denominator).bit_length() - 1
    fives, other = 0, denominator >> twos
    while other % 5 == 0:
        other //= 5
        fives += 1
    lead = max(twos, fives)
    if other == 1:
        digits = str(rest * 10**lead // denominator).rjust(lead, "0") if lead else ""
        return f"{sign}{whole}" + (f".{digits}" if digits else "")
    period = next((n for n in range(1, _PERIOD + 1) if pow(10, n, other) == 1), None)
    if period is None:
        zeros = 0
        if whole == 0:
            zeros = max(int((denominator // rest).bit_length() * 0.30103) - 1, 0)
        digits = str(rest * 10 ** (zeros + _DIGITS) // denominator).rjust(zeros + _DIGITS, "0")
        return f"{sign}{whole}.{digits}…"
    digits = str(rest * 10 ** (lead + period) // denominator).rjust(lead + period, "0")
    return f"{sign}{whole}.{digits[:lead]}({digits[lead:]})"


def hex_float(x: Real) -> str | None:
    """A finite number with finitely many binary digits as C writes it, "0x1.8p-3"; None for another."""
    if x.kind != "finite" or not is_dyadic(x.magnitude):
        return None
    sign = "-" * x.negative
    if x.magnitude == 0:
        return f"{sign}0x0p+0"
    exponent = exponent_of(x.magnitude)
    rest = x.magnitude / power(exponent) - 1
    nibbles = -(-(rest.denominator.bit_length() - 1) // 4)
    digits = f"{rest.numerator * (1 << 4 * nibbles) // rest.denominator:0{nibbles}x}" if nibbles else ""
    return f"{sign}0x1{'.' if digits else ''}{digits}p{exponent:+d}"


def rational(value: Fraction) -> str:
    """A rational as "a/b", or "a", or with a power of two where that is shorter: "a/2^k"."""
    numerator, denominator = value.as_integer_ratio()
    if denominator == 1:
        return _integer(numerator)
    if is_dyadic(value) and denominator > 4096:
        return f"{_integer(numerator)}/2^{denominator.bit_length() - 1}"
    return f"{numerator}/{denominator}"


def _integer(n: int) -> str:
    odd, twos = n, 0
    if abs(n) >= 1 << 53 and n & 0xFFFF == 0:
        twos = (n & -n).bit_length() - 1
        odd = n >> twos
    if not twos:
        return str(n)
    return f"{odd}*2^{twos}" if abs(odd) > 1 else f"{'-' * (odd < 0)}2^{twos}"


def scientific(value: Fraction, digits: int = 6) -> str:
    """A rational in so many significant digits, cut by integer arithmetic and rounded to nearest, ties to even."""
    if value == 0:
        return "0"
    sign, magnitude = "-" * (value < 0), abs(value)
    exponent = _decade(magnitude)
    scaled = round(magnitude / Fraction(10) ** (exponent - digits + 1))
    if scaled == 10**digits:
        scaled, exponent = scaled // 10, exponent + 1
    text = str(scaled)
    if -5 <= exponent < 16 and exponent + 1 <= max(digits, 1):
        if exponent >= 0:
            whole, rest = text[: exponent + 1], text[exponent + 1 :].rstrip("0")
            return f"{sign}{whole}" + (f".{rest}" if rest else "")
        return f"{sign}0.{'0' * (-exponent - 1)}{text.rstrip('0')}"
    rest = text[1:].rstrip("0")
    return f"{sign}{text[0]}" + (f".{rest}" if rest else "") + f"e{exponent:+03d}"


def _decade(magnitude: Fraction) -> int:
    """The exponent e with 10^e ≤ magnitude < 10^(e+1)."""
    numerator, denominator = magnitude.as_integer_ratio()
    e = (numerator.bit_length() - denominator.bit_length()) * 30103 // 100000
    while Fraction(10) ** e > magnitude:
        e -= 1
    while Fraction(10) ** (e + 1) <= magnitude:
        e += 1
    return e


def text_of(x: Real, digits: int = 9) -> str:
    """A number in short."""
    if x.kind == "nan":
        return "-nan" if x.negative else "nan"
    if x.kind == "infinity":
        return "-inf" if x.negative else "inf"
    return "-0" if x.negative and x.magnitude == 0 else scientific(x.value, digits)
