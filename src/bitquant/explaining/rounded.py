"""One rounding as data: what is cut off, which way it goes, and the random integer that a stochastic one throws."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from bitquant import plans
from bitquant.explaining.exact import power
from bitquant.formats import FP64
from bitquant.kernels import steps
from bitquant.rules import Stochastic

__all__ = [
    "FRACTION",
    "Chance",
    "Rounding",
    "chance_breaks",
    "jammed",
    "random_of",
    "round_rational",
    "rounding_of",
    "scaled_chance",
]

FRACTION = 40  # bits behind the binary point that an integer's rounding looks at, the last one sticky


@dataclass(frozen=True)
class Chance:
    """A stochastic rounding: up where F + R ≥ 2^bits.

    Attributes
    ----------
    bits : int
        Of the random integer.
    variant : str
    random : int
        R, the random integer.
    scaled : int
        F, the dropped fraction times 2^bits, made an integer as the variant says.
    probability : Fraction
        Of rounding up, over all R.
    """

    bits: int
    variant: str
    random: int
    scaled: int
    probability: Fraction


@dataclass(frozen=True)
class Rounding:
    """What was cut off, and which way it went. Magnitudes throughout; in a codebook, codes.

    Attributes
    ----------
    unit : Fraction
        What the last kept place is worth: one ulp. In a codebook, the step between the two values.
    exponent : int or None
        The exponent of `unit`, a power of two; None in a codebook.
    kept : int
        Whole units below: the significand cut off. In a codebook, the code below.
    dropped : Fraction
        The rest in units, from 0 to before 1.
    guard, round, sticky : int or None
        The first dropped bit, the second, and whether any other is set. None in a codebook.
    odd : bool
        Whether `kept` counts as odd.
    up : bool
        Whether the result is `kept` + 1.
    carry : bool
        Whether that took one digit more than the significand has.
    chance : Chance or None
        Of stochastic rounding.
    """

    unit: Fraction
    exponent: int | None
    kept: int
    dropped: Fraction
    guard: int | None
    round: int | None
    sticky: int | None
    odd: bool
    up: bool
    carry: bool = False
    chance: Chance | None = None

    @property
    def inexact(self) -> bool:
        """Whether anything was cut off."""
        return self.dropped != 0

    @property
    def tie(self) -> bool:
        """Whether the number lies half way between two neighbours."""
        return 2 * self.dropped == 1

    @property
    def tie_distance(self) -> Fraction:
        """How far from half way the number lies, in ulps: negative below."""
        return self.dropped - Fraction(1, 2)

    @property
    def rounded(self) -> int:
        """Whole units after rounding."""
        return self.kept + self.up


def rounding_of(
    unit: Fraction,
    exponent: int | None,
    kept: int,
    dropped: Fraction,
    odd: bool,
    up: bool,
    carry: bool,
    chance: Chance | None,
) -> Rounding:
    """A rounding with the first of the dropped bits told apart."""
    quarters = 4 * dropped
    top = quarters.numerator // quarters.denominator
    return Rounding(unit, exponent, kept, dropped, top >> 1, top & 1, int(quarters != top), odd, up, carry, chance)


def round_rational(magnitude: Fraction, negative: bool, rounding: Any, random: int) -> Rounding:
    """Round a magnitude to an integer, as every kernel rounds."""
    kept = magnitude.numerator // magnitude.denominator
    dropped = magnitude - kept
    low = kept & 0xFF  # what a rounding looks at; the rest is set aside, so that the lane holds it
    significand = (low << FRACTION) | jammed(dropped, FRACTION)
    row = plans.rounding_row(FP64, rounding)
    rounded = steps.rounded(row, negative, significand, FRACTION, 0, random)
    chance = scaled_chance(rounding, dropped, random)
    return rounding_of(Fraction(1), 0, kept, dropped, bool(kept & 1), rounded != low, False, chance)


def random_of(rounding: Any, index: int) -> int:
    """The random integer of the number at an index: the caller's, or the generator's."""
    if not isinstance(rounding, Stochastic):
        return 0
    words = rounding.words(())
    return steps.random_word(plans.rounding_row(FP64, rounding), index) if words is None else int(words.reshape(-1)[0])


def jammed(units: Fraction, bits: int) -> int:
    """A rational times 2^bits as an integer whose last bit is sticky."""
    scaled = units * power(bits)
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    return whole | (rest != 0)


def scaled_chance(rounding: Any, dropped: Fraction, random: int) -> Chance | None:
    """The chance of a stochastic rounding (IEEE P3109, StochasticA, B and C)."""
    if not isinstance(rounding, Stochastic):
        return None
    scaled = dropped * (1 << rounding.bits)
    if rounding.variant == "A":
        whole = scaled.numerator // scaled.denominator
    elif rounding.variant == "B":
        whole = (scaled + Fraction(1, 2)).__floor__()
    else:
        whole = round(scaled)
    return Chance(rounding.bits, rounding.variant, random, whole, Fraction(whole, 1 << rounding.bits))


def chance_breaks(rounding: Any, low: Fraction, high: Fraction, random: int) -> list[Fraction]:
    """Where a stochastic rounding with this random integer changes between two magnitudes."""
    if not isinstance(rounding, Stochastic):
        return []
    needed = (1 << rounding.bits) - random
    return [low + (high - low) * (needed - less) / (1 << rounding.bits) for less in (Fraction(0), Fraction(1, 2))]
