"""Why an output is not the expected one: the mark that each kind of mistake leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.auditing.identify import Identified
from bitquant.auditing.outcomes import DIRECT, Classes, Mask, Outcomes, is_nan
from bitquant.formats import Format

__all__ = ["causes_of", "places_of"]

OTHER = "other"


def places_of(codes: Array, fmt: Format) -> NDArray[np.int64]:
    """The place of each code in the order of the numbers, −0 before +0; NaN counts as beyond infinity."""
    if fmt.is_integer:
        unused = np.uint64(64 - fmt.bits)
        wide = codes.astype(np.uint64)
        placed = (wide << unused).view(np.int64) >> np.int64(unused) if fmt.signed else wide.view(np.int64)
        return np.asarray(placed)
    magnitude = (codes & codes.dtype.type(2**fmt.magnitude_bits - 1)).astype(np.int64)
    if not fmt.signed or fmt.kind == "codebook":
        return np.asarray(magnitude)
    minus = codes >> codes.dtype.type(fmt.magnitude_bits) & 1 == 1
    return np.asarray(np.where(minus, -1 - magnitude, magnitude))


@dataclass(frozen=True, eq=False)
class _Marks:
    """Mismatches and what the reference and the other ways say about them."""

    classes: Classes
    outcomes: Mapping[str, Outcomes]
    rounding: tuple[str, str]
    expected: Array
    received: Array
    suspects: tuple[str, ...]
    nearest: bool

    def under(self, outcomes: Outcomes) -> tuple[Array, Mask]:
        """What the reference's rounding gives on a way, and what it finds beyond the range."""
        above, below = (outcomes.modes[mode] for mode in self.rounding)
        minus = self.classes.negative
        return np.where(minus, below.codes, above.codes), np.where(minus, below.beyond, above.beyond)

    def each(self) -> Iterator[tuple[str, Mask]]:
        """Causes with the mismatches that bear their mark; of several marks the first counts."""
        classes, target = self.classes, self.classes.target
        nan, was_nan = is_nan(self.received, target), is_nan(self.expected, target)
        direct = self.outcomes[DIRECT]
        _, beyond = self.under(direct)
        zero, was_zero = _zero(self.received, target), _zero(self.expected, target)
        yield "NaN code", classes.nan & nan & was_nan
        yield "NaN becomes a number", classes.nan
        yield "infinity", classes.infinite
        yield "overflow", beyond
        yield "sign of zero", zero & was_zero
        modes = direct.modes
        flushed = zero & ~_zero(modes["down"].codes, target)  # it is no rounding that makes it zero
        yield "subnormal input flushed", flushed & classes.subnormal
        yield "subnormal result flushed", flushed & classes.small
        for name in self.suspects:
            codes, over = self.under(self.outcomes[name])
            yield f"rounded twice, through {name}", (codes == self.received) | over
        yield "number becomes NaN", nan & ~was_nan
        if target.infinity:
            top = target.code_dtype.type(2**target.magnitude_bits - 1)
            yield "number becomes infinite", (self.received & top) == target.infinity_code
        yield "sign", self.received == _negated(self.expected, target)
        one = np.abs(places_of(self.received, target) - places_of(self.expected, target)) == 1
        if self.nearest and "ties_down" in modes:
            tie = modes["ties_down"].codes != modes["nearest_away"].codes
            yield "tie", one & tie
        exact = modes["down"].codes == modes["up"].codes
        yield "exact number changed", one & exact
        yield "rounding", one
        if target.is_float and target.significand_bits:
            apart = np.abs(places_of(self.received, target) - places_of(self.expected, target))
            yield "exponent off by one", apart == 1 << target.significand_bits
        yield OTHER, np.ones(self.received.shape, np.bool_)


def causes_of(
    classes: Classes,
    identified: Identified,
    rounding: tuple[str, str],
    expected: Array,
    received: Array,
) -> NDArray[Any]:
    """The cause of each mismatch, as text; all arrays hold mismatches alone.

    A second rounding is a cause only where the candidate as a whole comes nearest to a way through another format, and
    a tie only where it may round to nearest otherwise: a truncation has the marks of both now and then.
    """
    names = dict.fromkeys(name for name, _, _ in identified.combinations)
    suspects = () if DIRECT in names else tuple(names)
    ways = {name: Outcomes(identified.outcomes[name].way, classes) for name in (DIRECT, *suspects)}
    nearest = {"nearest_even", "nearest_away", "ties_down"}
    rounds = any(nearest.issuperset(pair) for _, *pair in identified.combinations)
    marks = _Marks(classes, ways, rounding, expected, received, suspects, rounds)
    found = np.full(received.shape, "", "U48")
    for cause, here in marks.each():
        found[(found == "") & here] = cause
    return found


def _negated(codes: Array, fmt: Format) -> Array:
    if fmt.is_integer:
        return np.asarray(codes.dtype.type(0) - codes & codes.dtype.type(2**fmt.bits - 1))
    return np.asarray(codes ^ codes.dtype.type(1 << fmt.magnitude_bits if fmt.signed and fmt.is_float else 0))


def _zero(codes: Array, fmt: Format) -> Mask:
    if fmt.kind == "codebook" or not fmt.zero:
        return np.zeros(codes.shape, np.bool_)
    if fmt.nan == "negative_zero" or fmt.is_integer:
        return np.asarray(codes == 0)
    return np.asarray((codes & codes.dtype.type(2**fmt.magnitude_bits - 1)) == 0)
