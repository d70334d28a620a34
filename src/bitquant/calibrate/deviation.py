"""A range of so many standard deviations, around zero or around the mean."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.calibrate.channels import Numbered, Pair, Target
from bitquant.calibrate.exact import Sums
from bitquant.calibrate.numbers import Numbers
from bitquant.errors import BitquantError
from bitquant.quantize.rationals import nearest_float, rationals
from bitquant.rules import choose

CENTRES = {"zero": "the root of the mean square", "mean": "the standard deviation, with n in the denominator"}
_DIGITS = 128


def ranges(channels: Iterable[Numbered], target: Target, *, deviations: Any = 3, centre: Any = None) -> list[Pair]:
    """The range of each channel: mean and variance are exact, and the root is rounded once, to FP64."""
    centre = ("zero" if target.symmetric else "mean") if centre is None else centre
    choose("centre", centre, CENTRES)
    (reach,) = rationals(deviations, 1, "deviations")
    if reach <= 0:
        raise BitquantError(f"deviations={deviations!r} is not possible: give a positive number")
    found = []
    for channel in channels:
        mass, first, second = channel.added(False, moments)
        if not mass:
            raise BitquantError("all weights of a channel are zero, so it has no range: at least one number must count")
        mean = first / mass if centre == "mean" else Fraction(0)
        width = root((second / mass - mean * mean) * reach * reach)
        # In the symmetric scheme the range has to be symmetric, also around a mean.
        largest = max(width - mean, mean + width)
        found.append((-largest, largest) if target.symmetric else (mean - width, mean + width))
    return found


def moments(numbers: Numbers) -> NDArray[Any]:
    """Σ w, Σ w·x and Σ w·x², in units of the weights, exactly: an integer and two Fractions, which add up."""
    mass, first, second = numbers.zeros, Fraction(0), Fraction(0)
    for sign, magnitudes in zip((1, -1), numbers.sides, strict=True):
        sums = Sums(magnitudes, (), True)
        mass += sums.mass[0]
        first += sign * sums.moment[0] * Fraction(2) ** sums.unit
        second += sums.square * Fraction(2) ** (2 * sums.unit)
    return np.array([mass, first, second], object)


def root(value: Fraction) -> Fraction:
    """The FP64 number nearest to a square root."""
    if not value:
        return value
    size = value.numerator.bit_length() - value.denominator.bit_length()
    shift = 2 * (_DIGITS - size // 2)
    whole = value * Fraction(2) ** shift
    floor = math.isqrt(whole.numerator // whole.denominator)
    # One more digit, odd where something was cut off, so that rounding again is as rounding once.
    digits = 2 * floor + (floor * floor != whole)
    return Fraction(nearest_float(digits * Fraction(2) ** (-shift // 2 - 1)))


__all__ = ["CENTRES", "moments", "ranges", "root"]
