"""The independent judge: docs/semantics.md a second time, in Python integers and `fractions.Fraction`.

Nothing here is shared with bitquant, and nothing here is clever. A number is a sign and a ratio of two
integers, never a float. One function rounds (`round_quotient`), and what is delivered has passed it once.
Sources: docs/semantics.md, whose words and order this file follows, and IEEE 754-2019, cited by clause.

The chapters: formats · decode and encode · random numbers · rounding · convert · order, distance, neighbours ·
boundaries · bits · quantize.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import inf, isfinite, isnan
from typing import Literal, NamedTuple

Kind = Literal["float", "integer", "codebook"]
Overflow = Literal["ieee", "saturate", "saturate_finite", "nan", "wrap", "indefinite", "raise"]
Nan = Literal[
    "preserve", "canonical", "signed", "all_ones", "positive_all_ones", "raise", "zero", "negated_zero", "max",
    "indefinite",
]  # fmt: skip
Subnormals = Literal["gradual", "flush_input", "flush_output", "flush"]
Tininess = Literal["after", "before"]
Variant = Literal["A", "B", "C"]
Scheme = Literal["symmetric", "asymmetric"]
Flags = frozenset[str]


class Stochastic(NamedTuple):
    """Stochastic rounding of one number: with `random`, an integer of so many bits, by a variant of P3109."""

    bits: int
    random: int
    variant: Variant = "C"


Mode = Literal["nearest_even", "nearest_away", "toward_zero", "toward_positive", "toward_negative", "to_odd"]
Rounding = Mode | Stochastic

ROUNDINGS: tuple[Mode, ...] = (
    "nearest_even",
    "nearest_away",
    "toward_zero",
    "toward_positive",
    "toward_negative",
    "to_odd",
)
VARIANTS: tuple[Variant, ...] = ("A", "B", "C")
# The rules that there are for a kind of target, the default first; see `Format.nan_rules`.
OVERFLOWS: dict[Kind, tuple[Overflow, ...]] = {
    "float": ("ieee", "saturate", "saturate_finite", "raise"),
    "integer": ("saturate", "wrap", "indefinite", "raise"),
    "codebook": ("saturate", "raise"),
}
NANS: dict[Kind, tuple[Nan, ...]] = {
    "float": (
        "preserve",
        "canonical",
        "signed",
        "all_ones",
        "positive_all_ones",
        "raise",
        "zero",
        "negated_zero",
        "max",
    ),
    "integer": ("raise", "zero", "max", "indefinite"),
    "codebook": ("raise", "zero", "max"),
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
        "float", "integer" (two's complement when signed), or "codebook" (a code is an index into `values`).
    bits
        Width of a code.
    exponent_bits, significand_bits, bias
        *w*, *t* (stored) and *b* of a floating format.
    signed
        Whether there are negative numbers; a signed floating format has a sign bit.
    has_infinity
        Whether there is one, of each sign that there is.
    nan
        Where the NaNs are: "ieee", in the top exponent field, with infinity; "all_ones", exponent and
        significand; "negative_zero", the code that would be -0; None, nowhere.
    has_zero
        Without it the exponent field 0 is that of one more power of two (E8M0).
    ties
        What `nearest_even` and `to_odd` look at when t = 0: "magnitude", the digit of the significand (IEEE
        754), or "code", the last digit of the code (P3109).
    values
        Of a codebook, ascending.
    """

    name: str
    kind: Kind
    bits: int
    exponent_bits: int = 0
    significand_bits: int = 0
    bias: int = 0
    signed: bool = True
    has_infinity: bool = True
    nan: Literal["ieee", "all_ones", "negative_zero"] | None = "ieee"
    has_zero: bool = True
    ties: Literal["magnitude", "code"] = "magnitude"
    values: tuple[Fraction, ...] = ()

    @cached_property
    def code_count(self) -> int:
        """How many codes there are."""
        return len(self.values) or 1 << self.bits

    @cached_property
    def precision(self) -> int:
        """*p*: digits of a normal number, the hidden one included."""
        return self.significand_bits + 1

    @cached_property
    def emin(self) -> int:
        """Exponent of the smallest normal number, 2^emin."""
        return 1 - self.bias if self.has_zero else -self.bias

    @cached_property
    def sign_bit(self) -> int:
        """Code of the sign alone, 0 where there is none."""
        return 1 << (self.bits - 1) if self.signed else 0

    @cached_property
    def ones(self) -> int:
        """Code whose exponent and significand are all ones."""
        return (1 << (self.exponent_bits + self.significand_bits)) - 1

    @cached_property
    def signed_zero(self) -> bool:
        """Whether the format has -0."""
        return self.kind == "float" and self.signed and self.nan != "negative_zero"

    @cached_property
    def infinity(self) -> int | None:
        """Code of +infinity, where there is one."""
        if not self.has_infinity:
            return None
        if self.nan == "ieee":
            return self.ones >> self.significand_bits << self.significand_bits  # the top exponent field
        return self.ones - (self.nan == "all_ones")

    @cached_property
    def largest(self) -> int:
        """Code of the largest finite number: the one before infinity, or before the NaN, or the last."""
        if self.kind == "integer":
            return self.high
        if self.kind == "codebook":
            return len(self.values) - 1
        if self.infinity is not None:
            return self.infinity - 1
        return self.ones - (self.nan == "all_ones")

    @cached_property
    def quiet_bit(self) -> int:
        """Top bit of the significand field (clause 6.2.1)."""
        return 1 << (self.significand_bits - 1) if self.significand_bits else 0

    @cached_property
    def low(self) -> int:
        """Smallest integer of an integer format."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @cached_property
    def high(self) -> int:
        """Largest integer of an integer format."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @cached_property
    def first_place(self) -> int:
        """Lowest place of the ordered list; that of -infinity where there is one."""
        if self.kind == "integer":
            return self.low
        return -self.last_place if self.kind == "float" and self.signed else 0

    @cached_property
    def last_place(self) -> int:
        """Highest place of the ordered list; that of infinity where there is one."""
        return self.largest + (self.kind == "float" and self.has_infinity)

    @cached_property
    def overflow_rules(self) -> tuple[Overflow, ...]:
        """The rules for overflow that the format allows, the default first."""
        puts_nan = self.nan is not None and not self.has_infinity
        return (*OVERFLOWS[self.kind], "nan") if puts_nan else OVERFLOWS[self.kind]

    @cached_property
    def nan_rules(self) -> tuple[Nan, ...]:
        """The rules for a NaN that the format allows, the default first."""
        absent = {"negated_zero"} if self.nan else {"preserve", "canonical", "signed", "all_ones", "positive_all_ones"}
        if not self.has_zero or (self.kind == "codebook" and 0 not in self.values):
            absent |= {"zero", "negated_zero"}
        return tuple(rule for rule in NANS[self.kind] if rule not in absent)


def exmy(
    exponent_bits: int,
    significand_bits: int,
    bias: int | None = None,
    signed: bool = True,
    has_infinity: bool = True,
    nan: Literal["ieee", "all_ones", "negative_zero"] | None = "ieee",
    **more: object,
) -> Format:
    """Make a floating format; the bias is 2^(w-1) - 1 unless given."""
    bits = signed + exponent_bits + significand_bits
    bias = (1 << exponent_bits >> 1) - 1 if bias is None else bias
    more.setdefault("name", f"e{exponent_bits}m{significand_bits} {bias} {signed} {has_infinity} {nan}")
    row = {"kind": "float", "bits": bits, "bias": bias, "signed": signed, "has_infinity": has_infinity, "nan": nan}
    return Format(exponent_bits=exponent_bits, significand_bits=significand_bits, **row, **more)


def p3109(width: int, precision: int, signed: bool, extended: bool) -> Format:
    """Make a format of IEEE P3109 (interim report 4.0): binary{K}p{P}, signed or not, extended or finite."""
    return exmy(
        width - precision if signed else width - precision + 1,
        precision - 1,
        1 << (width - precision - 1 if signed else width - precision),
        signed,
        extended,
        "negative_zero" if signed else "all_ones",
        ties="code",
        name=f"binary{width}p{precision}{'s' if signed else 'u'}{'e' if extended else 'f'}",
    )


def integer(bits: int, signed: bool) -> Format:
    """Make an integer format."""
    return Format(f"{'' if signed else 'u'}int{bits}", "integer", bits, signed=signed, has_infinity=False, nan=None)


def codebook(name: str, values: Iterable[Fraction | int]) -> Format:
    """Make the format whose codes are the indices of ascending values."""
    exact = tuple(Fraction(value) for value in values)
    if list(exact) != sorted(set(exact)):
        raise ValueError("a codebook ascends")
    bits = max(1, (len(exact) - 1).bit_length())
    return Format(name, "codebook", bits, has_infinity=False, nan=None, values=exact)


FLOAT64 = exmy(11, 52, name="float64")  # IEEE 754-2019 table 3.5, as float32 and float16
FLOAT32 = exmy(8, 23, name="float32")
TFLOAT32 = exmy(8, 10, name="tfloat32")  # NVIDIA A100 whitepaper
FLOAT16 = exmy(5, 10, name="float16")
BFLOAT16 = exmy(8, 7, name="bfloat16")  # the upper half of a float32
FLOAT8 = (
    exmy(5, 2, name="float8_e5m2"),  # OCP OFP8 1.0, as float8_e4m3fn
    exmy(4, 3, name="float8_e4m3"),
    exmy(3, 4, name="float8_e3m4"),
    exmy(4, 3, has_infinity=False, nan="all_ones", name="float8_e4m3fn"),
    exmy(4, 3, 8, has_infinity=False, nan="negative_zero", name="float8_e4m3fnuz"),  # arXiv 2206.02915
    exmy(5, 2, 16, has_infinity=False, nan="negative_zero", name="float8_e5m2fnuz"),
    exmy(4, 3, 11, has_infinity=False, nan="negative_zero", name="float8_e4m3b11fnuz"),
)
MX = (  # OCP MX 1.0
    exmy(3, 2, has_infinity=False, nan=None, name="float6_e3m2fn"),
    exmy(2, 3, has_infinity=False, nan=None, name="float6_e2m3fn"),
    exmy(2, 1, has_infinity=False, nan=None, name="float4_e2m1fn"),
    exmy(8, 0, signed=False, has_infinity=False, nan="all_ones", has_zero=False, name="float8_e8m0fnu"),
)
INTEGERS = tuple(integer(bits, signed) for bits in (2, 4, 8, 16, 32, 64) for signed in (True, False))
INT8, UINT8 = INTEGERS[4:6]

# --- Decode and encode --------------------------------------------------------------------------------------


class Number(NamedTuple):
    """What a code stands for.

    kind
        "finite": (-1)^sign · numerator / denominator, the ratio of two integers, not in lowest terms.
        "infinity": (-1)^sign · infinity.
        "nan": numerator / denominator is the significand field read as a binary fraction m / 2^t, so that its
        first digit is the quiet bit and the digits after it are the payload, aligned at the top as one format
        passes it on to another. The NaN of a format that has but one is quiet, with payload 0.
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


def as_number(value: Real) -> Number:
    """Take a real number, an infinity or a NaN as a Number; a float is the exact number that it stores."""
    if isinstance(value, Number):
        return value
    if isinstance(value, float) and not isfinite(value):
        return Number("nan", 0, 1, 2) if isnan(value) else Number("infinity", int(value == -inf))
    value = Fraction(value)
    return Number("finite", int(value < 0), abs(value.numerator), value.denominator)


def decode(code: int, fmt: Format) -> Number:
    """Return the exact value of a code, by the table in docs/semantics.md."""
    if not 0 <= code < fmt.code_count:
        raise ValueError(f"{code:#x} is no code of {fmt.name}")
    if fmt.kind == "codebook":
        return as_number(fmt.values[code])
    if fmt.kind == "integer":
        value = code - (1 << fmt.bits) if code > fmt.high else code
        return Number("finite", int(value < 0), abs(value))
    sign = int(code & fmt.sign_bit != 0)
    magnitude = code & fmt.ones
    if magnitude == fmt.infinity:
        return Number("infinity", sign)
    if magnitude > fmt.largest:
        m = magnitude & ((1 << fmt.significand_bits) - 1)
        return Number("nan", sign, m, 1 << fmt.significand_bits) if fmt.nan == "ieee" else Number("nan", sign, 1, 2)
    if sign and magnitude == 0 and fmt.nan == "negative_zero":
        return Number("nan", 0, 1, 2)
    return Number("finite", sign, *magnitude_of(magnitude, fmt))


def magnitude_of(code: int, fmt: Format) -> tuple[int, int]:
    """Return the ratio that a code without a sign stands for, as if exponents went on for ever above."""
    t = fmt.significand_bits
    field, m = code >> t, code & ((1 << t) - 1)
    if field == 0 and fmt.has_zero:
        significand, exponent = m, fmt.emin - t
    else:
        significand, exponent = (1 << t) + m, field - fmt.bias - t
    return (significand << exponent, 1) if exponent >= 0 else (significand, 1 << -exponent)


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
    return fmt.has_zero and 0 < code & fmt.ones < 1 << fmt.significand_bits


# --- Random numbers -----------------------------------------------------------------------------------------


def philox(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Return the four words of Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers", 2011)."""
    mask = (1 << 32) - 1
    (a, b, c, d), (k, j) = counter, key
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = right >> 32 ^ b ^ k, right & mask, left >> 32 ^ d ^ j, left & mask
        k, j = (k + 0x9E3779B9) & mask, (j + 0xBB67AE85) & mask
    return a, b, c, d


def random_integer(index: int, seed: int, bits: int) -> int:
    """Return the random integer of an element: the top bits of word index % 4 of block index // 4."""
    mask = (1 << 32) - 1
    block = index // 4
    return philox((block & mask, block >> 32, 0, 0), (seed & mask, seed >> 32))[index % 4] >> (32 - bits)


# --- Rounding -----------------------------------------------------------------------------------------------


def round_quotient(numerator: int, denominator: int, rounding: Rounding, parity: int = 0) -> int:
    """Round numerator / denominator, the latter positive, to an integer: the one place that rounds.

    Clause 4.3; `to_odd` is the rounding of Boldo and Melquiond (IEEE Trans. Computers 57(4), 2008). An integer
    is even here when its sum with `parity` is.
    """
    below, rest = divmod(numerator, denominator)  # below <= quotient < below + 1
    if rest == 0:
        return below
    above = below + 1
    even, odd = (above, below) if (below + parity) % 2 else (below, above)
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
        case Stochastic():
            part = rest if numerator > 0 else denominator - rest  # of the magnitude, above its lower neighbour
            return away if goes_up(Fraction(part, denominator), rounding) else toward_zero
    raise ValueError(f"unknown rounding {rounding!r}")


def goes_up(fraction: Fraction, rounding: Stochastic) -> bool:
    """Tell whether a random integer R < 2^N carries: F + R >= 2^N (P3109 4.0, StochasticA, B and C)."""
    scaled = fraction * (1 << rounding.bits)
    match rounding.variant:
        case "A":
            digits = scaled.numerator // scaled.denominator
        case "B":
            digits = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
        case "C":
            digits = round_quotient(scaled.numerator, scaled.denominator, "nearest_even")
    return digits + rounding.random >= 1 << rounding.bits


def floor_log2(numerator: int, denominator: int) -> int:
    """Find the exponent e with 2^e <= numerator / denominator < 2^(e+1); both positive."""
    e = numerator.bit_length() - denominator.bit_length()  # the quotient lies between 2^(e-1) and 2^(e+1)
    reached = numerator >= denominator << e if e >= 0 else numerator << -e >= denominator
    return e if reached else e - 1


def round_to_quantum(number: Number, quantum: int, rounding: Rounding, parity: int = 0) -> tuple[int, bool]:
    """Round a finite number to a count of 2^quantum: the count without its sign, and whether inexact."""
    numerator = -number.numerator if number.sign else number.numerator
    denominator = number.denominator
    if quantum >= 0:
        denominator <<= quantum
    else:
        numerator <<= -quantum
    count = round_quotient(numerator, denominator, rounding, parity)
    return abs(count), count * denominator != numerator


def round_to_digits(number: Number, exponent: int, fmt: Format, rounding: Rounding) -> tuple[int, int, bool]:
    """Round to the p digits from 2^exponent down: the count, whether inexact, and its quantum.

    An integer of one digit is 0, 1 or 2: 2^quantum has the exponent field quantum + bias for its code, so that
    the codes of a P3109 format are as even as the counts, or just not.
    """
    quantum = exponent - fmt.significand_bits
    parity = quantum + fmt.bias - 1 if fmt.ties == "code" and fmt.significand_bits == 0 else 0
    return *round_to_quantum(number, quantum, rounding, parity), quantum


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
        Formats.
    rounding, overflow, nan, subnormals, tininess
        Rules, as docs/semantics.md names them. None is the default of the target, the first that it has.

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
    overflow = overflow or target.overflow_rules[0]
    nan = nan or target.nan_rules[0]
    rounds = rounding in ROUNDINGS or (isinstance(rounding, Stochastic) and target.kind != "codebook")
    if not rounds or overflow not in target.overflow_rules or nan not in target.nan_rules:
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
    if target.kind == "codebook":
        return convert_to_codebook(number, target, rounding, overflow)
    return convert_to_float(number, target, rounding, overflow, subnormals, tininess)


def convert_nan(number: Number, target: Format, nan: Nan) -> tuple[int, Flags]:
    """Take step 1, the rule for a NaN. Clauses 6.2 (quiet, payload), 5.8 and 7.2 (invalid)."""
    match nan:
        case "raise":
            raise Refused(f"NaN into {target.name}")
        case "zero":
            return target.values.index(Fraction(0)) if target.kind == "codebook" else 0, INVALID
        case "negated_zero":
            return 0 if number.sign else target.sign_bit, INVALID
        case "max":
            return target.largest, INVALID
        case "indefinite":
            return indefinite(target), INVALID
    code = nan_code(target, 0 if nan in ("canonical", "positive_all_ones") else number.sign)
    if target.nan == "ieee":
        if nan == "preserve":
            code |= (number.numerator << target.significand_bits) // number.denominator
        if nan in ("all_ones", "positive_all_ones"):
            code |= target.ones
    return code, NO_FLAGS if number.quiet else INVALID


def nan_code(fmt: Format, sign: int) -> int:
    """Return the quiet NaN without payload, with a sign where the format has one for it."""
    match fmt.nan:
        case "ieee":
            code = fmt.ones >> (fmt.significand_bits - 1) << (fmt.significand_bits - 1)
        case "all_ones":
            code = fmt.ones
        case "negative_zero":
            return fmt.sign_bit
        case None:
            raise ValueError(f"{fmt.name} has no NaN")
    return code | (fmt.sign_bit if sign else 0)


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
    below_all = bool(number.sign) and not target.signed

    # 2. Infinity.
    if number.kind == "infinity":
        if target.infinity is None or below_all:
            return beyond(number.sign, target, rounding, "ieee" if overflow == "saturate_finite" else overflow)
        if overflow == "saturate":
            return sign | target.largest, OVERFLOWED
        return sign | target.infinity, NO_FLAGS

    if overflow == "nan" and not target.has_zero and (number.numerator == 0 or number.sign):
        return beyond(1, target, rounding, overflow)

    # 4. Rounding, exponent unbounded above, gradual underflow below.
    if number.numerator == 0:
        return zero(number.sign, target, NO_FLAGS)
    exponent = floor_log2(number.numerator, number.denominator)
    count, inexact, quantum = round_to_digits(number, max(exponent, target.emin), target, rounding)
    if count == 0:
        return zero(number.sign, target, UNDERFLOWED)
    code = magnitude_code(count, quantum, target)

    # 5. Overflow. Codes of one sign are ordered as their values are, so the code tells.
    if code > target.largest or below_all:
        return beyond(number.sign, target, rounding, overflow)

    # 6. flush_output.
    if subnormals in ("flush_output", "flush") and is_subnormal(code, target):
        return zero(number.sign, target, UNDERFLOWED)

    # Flags.
    if not inexact:
        return sign | code, NO_FLAGS
    tiny = exponent < target.emin
    if tiny and tininess == "after":
        count, _, quantum = round_to_digits(number, exponent, target, rounding)
        tiny = floor_log2(count, 1) + quantum < target.emin
    return sign | code, UNDERFLOWED if tiny else INEXACT


def zero(sign: int, target: Format, flags: Flags) -> tuple[int, Flags]:
    """Take step 7: zero with its sign where the target has -0; without zero, the smallest number."""
    if not target.has_zero:
        return 0, UNDERFLOWED
    return target.sign_bit if sign and target.signed_zero else 0, flags


def beyond(sign: int, target: Format, rounding: Rounding, overflow: Overflow) -> tuple[int, Flags]:
    """Take step 5 for a number beyond the largest, or below the range of an unsigned format."""
    if overflow == "raise":
        raise Refused(f"overflow of {target.name}")
    if overflow == "nan":
        return nan_code(target, sign), OVERFLOWED
    if sign and not target.signed:
        if overflow == "ieee" and target.nan:
            return nan_code(target, 0), OVERFLOWED
        return 0, OVERFLOWED  # the smallest number, which is 0 or E8M0's 2^-127
    signed = target.sign_bit if sign else 0
    if overflow == "ieee" and overflows_to_infinity(sign, rounding):
        if target.infinity is not None:
            return signed | target.infinity, OVERFLOWED
        if target.nan:
            return nan_code(target, sign), OVERFLOWED
    return signed | target.largest, OVERFLOWED


def overflows_to_infinity(sign: int, rounding: Rounding) -> bool:
    """Tell whether overflow delivers an infinity, not the largest finite number (clause 7.4)."""
    match rounding:
        case "nearest_even" | "nearest_away" | Stochastic():
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
        case "indefinite":
            return indefinite(target), INVALID
    raise Refused(f"out of the range of {target.name}")


def indefinite(target: Format) -> int:
    """Return the code of x86's "integer indefinite": the lowest signed integer, the largest unsigned one."""
    return target.sign_bit if target.signed else target.high


def convert_to_codebook(number: Number, target: Format, rounding: Rounding, overflow: Overflow) -> tuple[int, Flags]:
    """Round a finite number or an infinity to one of the two values around it."""
    values, last = target.values, target.largest
    x = number.fraction if number.kind == "finite" else values[0] - 1 if number.sign else values[last] + 1
    if not values[0] <= x <= values[last]:
        if overflow == "raise":
            raise Refused(f"out of the range of {target.name}")
        return 0 if x < values[0] else last, OVERFLOWED
    below = bisect_right(values, x) - 1
    if values[below] == x:
        return below, NO_FLAGS
    above = below + 1
    even, odd = (above, below) if below % 2 else (below, above)
    smaller = below if abs(values[below]) < abs(values[above]) else above  # of equal ones, the greater value
    larger = below if abs(values[below]) > abs(values[above]) else above
    middle = (values[below] + values[above]) / 2
    match rounding:
        case "toward_negative":
            code = below
        case "toward_positive":
            code = above
        case "toward_zero":
            code = smaller
        case "to_odd":
            code = odd
        case _ if x != middle:
            code = below if x < middle else above
        case "nearest_even":
            code = even
        case _:
            code = larger
    return code, INEXACT


# --- The table ----------------------------------------------------------------------------------------------


def float32(decimal: str) -> Fraction:
    """Return the float32 nearest to a decimal number."""
    return decode(convert_to_float(as_number(Fraction(decimal)), FLOAT32)[0], FLOAT32).fraction


NF4_VALUES = """
-1 -.6961928009986877 -.5250730514526367 -.39491748809814453 -.28444138169288635 -.18477343022823334
-.09105003625154495 0 .07958029955625534 .16093020141124725 .24611230194568634 .33791524171829224
.44070982933044434 .5626170039176941 .7229568362236023 1
"""  # QLoRA, arXiv 2305.14314; the table of bitsandbytes
NF4 = codebook("nf4", map(float32, NF4_VALUES.split()))
IQ4_NL = codebook("iq4_nl", (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113))  # llama.cpp

FORMATS: dict[str, Format] = {
    row.name: row for row in (FLOAT64, FLOAT32, TFLOAT32, FLOAT16, BFLOAT16, *FLOAT8, *MX, *INTEGERS, NF4, IQ4_NL)
}


# --- Order, distance, neighbours ----------------------------------------------------------------------------


def ordered(code: int, fmt: Format) -> int:
    """Return the place of a number in the ordered list of a format.

    Both zeros have place 0, and the infinities stand one beyond the largest finite numbers. The places of a
    codebook are its codes, as are those of E8M0.
    """
    number = decode(code, fmt)
    if number.kind == "nan":
        raise ValueError("a NaN has no place in the order")
    if fmt.kind == "integer":
        return int(number.fraction)
    if fmt.kind == "codebook":
        return code
    magnitude = code & fmt.ones
    return -magnitude if number.sign else magnitude


def ulp_distance(a: int, b: int, fmt: Format) -> int:
    """Count the steps of the ordered list between two codes; never negative."""
    return abs(ordered(a, fmt) - ordered(b, fmt))


def spacing(value: Fraction | int, fmt: Format) -> Fraction:
    """Return the ulp of a value, 2^(max(floor(log2 |x|), emin) - p + 1).

    Zero has that of the subnormals; among integers it is 1; in a codebook it is the step up from the greatest
    value not above x, from the last one the step down.
    """
    if fmt.kind == "integer":
        return Fraction(1)
    if fmt.kind == "codebook":
        below = min(max(bisect_right(fmt.values, value) - 1, 0), fmt.largest - 1)
        return fmt.values[below + 1] - fmt.values[below]
    value = abs(Fraction(value))
    exponent = floor_log2(value.numerator, value.denominator) if value else fmt.emin
    return Fraction(2) ** (max(exponent, fmt.emin) - fmt.precision + 1)


def code_at(place: int, fmt: Format, zero_sign: int = 0) -> int:
    """Return the code at a place of the ordered list, or at the end of the list for a place beyond it."""
    place = min(max(place, fmt.first_place), fmt.last_place)
    if fmt.kind == "integer":
        return place & ((1 << fmt.bits) - 1)
    negative = place < 0 or (place == 0 and zero_sign == 1 and fmt.signed_zero)
    return (fmt.sign_bit if negative else 0) | abs(place)


def neighbours(code: int, source: Format, fmt: Format) -> tuple[int, int]:
    """Return the largest number of `fmt` below and the smallest above a number of `source`, strictly.

    nextDown and nextUp (clause 5.3.1): a zero has the sign of the side it is seen from, the neighbour beyond
    an infinity is itself, and a NaN is its own neighbour, quiet. Where a format ends without infinity, the end
    stands in for the neighbour that is missing; a format without NaN refuses a NaN.
    """
    number = decode(code, source)
    if number.kind == "nan":
        code, _ = convert_nan(number, fmt, fmt.nan_rules[0])
        return code, code
    return neighbours_of(number, fmt)


def neighbours_of(number: Number, fmt: Format) -> tuple[int, int]:
    """Return the `neighbours` of a finite number or an infinity."""
    floor, inexact = floor_place(number, fmt)
    below = floor if inexact else floor - 1
    return code_at(below, fmt, number.sign), code_at(floor + 1, fmt, number.sign)


def floor_place(number: Number, fmt: Format) -> tuple[int, bool]:
    """Find the place of the largest number of a format not above a number, and whether they differ.

    Below the lowest number it is the place before that one.
    """
    if number.kind == "infinity":
        if fmt.kind == "float" and fmt.has_infinity and not (number.sign and not fmt.signed):
            return (fmt.first_place if number.sign else fmt.last_place), False
        return (fmt.first_place - 1 if number.sign else fmt.last_place), True
    if fmt.kind == "codebook":
        place = bisect_right(fmt.values, number.fraction) - 1
        return place, place < 0 or fmt.values[place] != number.fraction
    if fmt.kind == "integer":
        count, inexact = round_to_quantum(number, 0, "toward_negative")
        lowest, largest = fmt.low, fmt.high
    elif number.numerator == 0:
        return (0, False) if fmt.has_zero else (-1, True)
    elif number.sign and not fmt.signed:
        return -1, True
    else:
        exponent = max(floor_log2(number.numerator, number.denominator), fmt.emin)
        count, inexact, quantum = round_to_digits(number, exponent, fmt, "toward_negative")
        if count == 0 and not fmt.has_zero:
            return -1, True
        count = magnitude_code(count, quantum, fmt)
        lowest, largest = -fmt.largest if fmt.signed else 0, fmt.largest
    place = -count if number.sign else count
    if place > largest:
        return largest, True
    return (place, inexact) if place >= lowest else (lowest - 1, True)


# --- Boundaries: where an error would show ------------------------------------------------------------------


def boundaries(
    source: Format, target: Format, samples: int = 2000, seed: int = 0, whole: int = 1 << 16
) -> Iterator[int]:
    """Yield the source codes at which a conversion to `target` can change its mind, once each, ascending.

    For every critical value, the source code that stores it, if there is one, and the source numbers next to
    it on both sides. Critical are the numbers of the target, the midpoints between consecutive ones (the
    overflow threshold is one of them, with the number that would follow the largest), and the point next to
    the smallest normal number where tininess after rounding ends. Besides them the zeros, infinities, NaNs,
    binade edges and subnormal edges of the source itself.

    Parameters
    ----------
    source, target
        Formats.
    samples
        Places of the target, and codes of the source, that are drawn where not all are taken.
    seed
        Of that draw.
    whole
        A target of at most so many codes is taken whole; of a larger one, all binade edges, the subnormal
        edges and the sample. A source of 16 bits or fewer is yielded whole.
    """
    if source.bits <= 16:
        yield from range(source.code_count)
        return
    draw = random.Random(f"{source.name} {target.name} {seed}")
    codes = {draw.randrange(1 << source.bits) for _ in range(samples)} | nan_codes(source)
    for place in edge_places(source):
        codes |= {code_at(place, source), code_at(-place, source, zero_sign=1)}
    for value in critical_values(target, draw, samples, whole):
        floor, _ = floor_place(as_number(value), source)
        codes.update(code_at(floor + step, source, int(value < 0)) for step in (-1, 0, 1))
    yield from sorted(codes)


def critical_values(target: Format, draw: random.Random, samples: int, whole: int) -> Iterator[Fraction]:
    """Yield the numbers of a format, or a sample, the midpoints above them, and where tininess ends."""
    last = target.largest + (target.kind == "integer")  # the lowest integer is as far from 0 as that
    if 1 << target.bits <= whole:
        places: Iterable[int] = range(last + 1)
    else:
        places = edge_places(target) - {last + 1} | {draw.randrange(last + 1) for _ in range(samples)}
    if target.kind == "float":
        smallest = value_at(0 if not target.has_zero else 1, target)
        unit = Fraction(2) ** target.emin
        for critical in (unit - unit / 2**target.precision / 2, smallest / 2):
            yield from (critical, -critical)
    for place in places:
        value, above = value_at(place, target), value_at(place + 1, target)
        for critical in (value, (value + above) / 2, above):
            yield from (critical, -critical)


def value_at(place: int, fmt: Format) -> Fraction:
    """Return the number at a place >= 0; the places of a float and of an integer go on without end here."""
    if fmt.kind == "integer":
        return Fraction(place)
    if fmt.kind == "codebook":
        return fmt.values[min(place, fmt.largest)]
    return Fraction(*magnitude_of(place, fmt))


def edge_places(fmt: Format) -> set[int]:
    """Collect the places >= 0 at and next to zero, the end and each power of two."""
    if fmt.kind == "codebook":
        return set(range(fmt.last_place + 1))
    powers = [0, fmt.last_place, *(1 << digit for digit in range(fmt.significand_bits))]
    if fmt.kind == "float":
        powers += [field << fmt.significand_bits for field in range(1, 1 << fmt.exponent_bits)]
    else:
        powers += [1 << digit for digit in range(fmt.bits)]
    edges = {place + step for place in powers for step in (-1, 0, 1)}
    return {place for place in edges if 0 <= place <= fmt.last_place}


def nan_codes(fmt: Format) -> set[int]:
    """Collect NaNs of both signs, quiet and signalling: payloads empty, full, one digit at an end."""
    if fmt.nan != "ieee":
        return {nan_code(fmt, sign) for sign in (0, 1)} if fmt.nan else set()
    top, ones = fmt.quiet_bit >> 1, fmt.quiet_bit - 1
    fields = {1, top, ones, fmt.quiet_bit, fmt.quiet_bit | 1, fmt.quiet_bit | top, fmt.quiet_bit | ones} - {0}
    return {sign | fmt.infinity | field for sign in (0, fmt.sign_bit) for field in fields}


# --- Bits ---------------------------------------------------------------------------------------------------


def round_bits(code: int, fmt: Format, keep: int, ties: Literal["even", "away"]) -> int:
    """Round the significand field of a floating code to its first `keep` bits and leave the others 0.

    Every number of one sign is its magnitude code, so this rounds that to a multiple of 2^(t - keep), whether
    it is normal or not; a carry goes into the exponent. A tie goes to the multiple whose last bit kept is 0, which
    for `keep` = 0 is the last of the exponent field. NaNs and infinities stay, and no number becomes one.
    """
    if decode(code, fmt).kind != "finite":
        return code
    unit = 1 << (fmt.significand_bits - keep)
    count = round_quotient(code & fmt.ones, unit, "nearest_even" if ties == "even" else "nearest_away")
    return code & fmt.sign_bit | min(count, fmt.largest // unit) * unit


def pack_bits(codes: Iterable[int], bits: int, order: Literal["little", "big"] = "little") -> bytes:
    """Write codes of so many bits one after the other; bits that are left over in the last byte are 0.

    "little": code k is bits [k · b, (k + 1) · b) of the whole read as one little-endian integer. "big": the
    digits of all codes written down from the first to the last, eight to a byte.
    """
    codes = list(codes)
    size = (len(codes) * bits + 7) // 8
    if order == "little":
        return sum(code << (k * bits) for k, code in enumerate(codes)).to_bytes(size, "little")
    digits = "".join(f"{code:0{bits}b}" for code in codes).ljust(8 * size, "0")
    return bytes(int(digits[at : at + 8], 2) for at in range(0, 8 * size, 8))


def unpack_bits(data: bytes, bits: int, count: int, order: Literal["little", "big"] = "little") -> list[int]:
    """Read back what `pack_bits` wrote."""
    if order == "little":
        whole = int.from_bytes(data, "little")
        return [whole >> (k * bits) & ((1 << bits) - 1) for k in range(count)]
    digits = "".join(f"{byte:08b}" for byte in data)
    return [int(digits[k * bits : (k + 1) * bits], 2) for k in range(count)]


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
