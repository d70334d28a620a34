"""What a conversion gives under each value of each axis, input by input.

# Design:
# A. A rounding is told apart for either sign by what it does to magnitudes: six modes, of which "down" and "up" are the
#    directed ones and "ties_down" is the one that no standard names. Pairs of them have the names in `PAIRS`.
# B. Every input belongs to one class: NaN, infinite, beyond the range, small (subnormal on either side, or zero), or
#    ordinary. What it gives depends on the axes of its class alone, beside the way and the rounding; so elimination
#    over all combinations of rules is a sum over classes, not a walk through their product.
# C. A way is direct or through another format, in which the number is rounded first. Floating formats are reached by
#    nearest-even; a wider integer by the rounding in question, with the integer indefinite for what it cannot hold:
#    that is how C's casts to short integers are compiled on x86.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.convert import encode
from bitquant.formats import BF16, FP16, FP32, FP64, INT32, INT64, Format
from bitquant.permitted import nan_rules
from bitquant.rules import Flags, Rounding
from bitquant.stages import bits_of

__all__ = ["DIRECT", "MODES", "PAIRS", "Classes", "Mode", "Outcomes", "Way", "is_nan", "rounded", "ways"]

Mask = NDArray[np.bool_]

DIRECT = "direct"
MODES = ("nearest_even", "nearest_away", "ties_down", "down", "up", "to_odd")
# The names of what is done above and below zero.
PAIRS: Mapping[tuple[str, str], str] = {
    ("nearest_even", "nearest_even"): "nearest_even",
    ("nearest_away", "nearest_away"): "nearest_away",
    ("down", "down"): "toward_zero",
    ("up", "down"): "toward_positive",
    ("down", "up"): "toward_negative",
    ("to_odd", "to_odd"): "to_odd",
    ("ties_down", "ties_down"): "nearest, ties toward zero",
    ("nearest_away", "ties_down"): "nearest, ties toward positive",
    ("ties_down", "nearest_away"): "nearest, ties toward negative",
    ("up", "up"): "away from zero",
}
_BOTH: Mapping[str, tuple[Rounding, Rounding]] = {  # a mode of magnitudes, above and below zero
    "nearest_even": ("nearest_even", "nearest_even"),
    "nearest_away": ("nearest_away", "nearest_away"),
    "down": ("toward_zero", "toward_zero"),
    "up": ("toward_positive", "toward_negative"),
    "to_odd": ("to_odd", "to_odd"),
}
_BEYOND = Flags.OVERFLOW | Flags.INVALID


class Way(NamedTuple):
    """How a number gets to the target: directly, or through another format."""

    name: str
    middle: Format | None = None


class Mode(NamedTuple):
    """What one rounding of magnitudes gives: codes with saturation, and which inputs lie beyond the range."""

    codes: Array
    beyond: Mask


def ways(source: Format, target: Format) -> tuple[Way, ...]:
    """The direct way, and those through every format in which a library may hold a number on the way."""
    found = [Way(DIRECT)]
    middles = [
        middle
        for middle in (FP64, FP32, FP16, BF16)
        if middle not in (source, target) and not (middle.contains(source) or _reaches(middle, source, target))
    ]
    if source.is_float and target.is_integer:
        middles += [whole for whole in (INT32, INT64) if whole.bits > target.bits]
    return (*found, *(Way(middle.name, middle) for middle in middles))


def _reaches(middle: Format, source: Format, target: Format) -> bool:
    """Whether a float holds every integer of the source up to where all overflow, so that its rounding never shows."""
    whole = source.is_integer and not target.is_integer and 2 * target.max <= middle.max
    return bool(whole and 2**middle.precision >= 2 * target.max)


def is_nan(codes: Array, fmt: Format) -> Mask:
    """Which codes are NaN."""
    if not fmt.has_nan:
        return np.zeros(codes.shape, np.bool_)
    if fmt.nan == "negative_zero":
        return np.asarray(codes == fmt.nan_code)
    return np.asarray((codes & (2**fmt.magnitude_bits - 1)) > fmt.largest_code + fmt.infinity)


def negative(codes: Array, fmt: Format) -> Mask:
    """Which codes have a sign; of a codebook, which numbers are below zero."""
    if fmt.kind == "codebook":
        return np.asarray(np.array(fmt.values)[np.minimum(codes, fmt.largest_code)] < 0)
    return np.asarray((codes >> fmt.magnitude_bits & fmt.signed) == 1)


def _lenient(target: Format) -> dict[str, Any]:
    """Rules under which nothing is refused, and numbers beyond the range give the last one."""
    return {"overflow": "saturate", "nan": nan_rules(target)[-1] if not target.has_nan else "canonical"}


def rounded(codes: Array, source: Format, target: Format) -> dict[str, Mode]:
    """Round by every mode of magnitudes that there is for these formats."""
    below = negative(codes, source)
    rules = _lenient(target)
    plain: dict[str, Mode] = {}
    for rounding in ("nearest_even", "nearest_away", "toward_zero", "toward_positive", "toward_negative", "to_odd"):
        flags = Flags(record=True)
        result = encode(codes, target, source, rounding=rounding, flags=flags, **rules)
        plain[rounding] = Mode(np.asarray(result), np.asarray(flags.mask) & _BEYOND != 0)
    found = {}
    for mode, (above, under) in _BOTH.items():
        one, other = plain[above], plain[under]
        same = above == under
        found[mode] = one if same else Mode(*(np.where(below, b, a) for a, b in zip(one, other, strict=True)))
    ties_down = _ties_down(codes, source, target, found)
    return found if ties_down is None else {**found, "ties_down": ties_down}


def tells_ties(target: Format) -> bool:
    """Whether ties to even and away differ: where the significand has one bit alone, every tie goes up."""
    return target.significand_bits > 0 or target.ties == "code"


def _ties_down(codes: Array, source: Format, target: Format, found: Mapping[str, Mode]) -> Mode | None:
    """To nearest with ties toward zero: nearest-away of the source's next smaller magnitude, unless exact.

    A tie is the smallest magnitude that nearest-away takes up, so the one before it goes down, and every other number
    goes where the one before it goes. None where the source has too few numbers for that.
    """
    if source.kind == "codebook":
        return None
    if source.is_integer:
        step = np.where(negative(codes, source), -1, 1).astype(np.int64).view(np.uint64)
        before = (codes.astype(np.uint64) - step & np.uint64(2**source.bits - 1)).astype(codes.dtype)
        before = np.where(codes == 0, codes, before)
    else:
        magnitude = codes & codes.dtype.type(2**source.magnitude_bits - 1)
        before = codes - (magnitude != 0).astype(codes.dtype)
    flags = Flags(record=True)
    nearest = np.asarray(encode(before, target, source, rounding="nearest_away", flags=flags, **_lenient(target)))
    low, high = found["down"].codes, found["up"].codes
    beyond = np.asarray(flags.mask) & _BEYOND != 0
    inexact = (low != high) | found["nearest_away"].beyond
    inside = ~(is_nan(codes, source) | beyond)
    if np.any(inside & inexact & (nearest != low) & (nearest != high)):
        return None
    return Mode(np.where(inexact, nearest, low), beyond & inexact)


@dataclass(frozen=True, eq=False)
class Classes:
    """Inputs of one source, and to which class each belongs."""

    codes: Array
    source: Format
    target: Format

    @cached_property
    def negative(self) -> Mask:
        """Whether the input has a sign."""
        return negative(self.codes, self.source)

    @cached_property
    def nan(self) -> Mask:
        """NaN."""
        return is_nan(self.codes, self.source)

    @cached_property
    def infinite(self) -> Mask:
        """An infinity."""
        if not self.source.infinity:
            return np.zeros(self.codes.shape, np.bool_)
        return np.asarray((self.codes & (2**self.source.magnitude_bits - 1)) == self.source.infinity_code)

    @cached_property
    def _magnitude(self) -> NDArray[np.uint64]:
        """The magnitude as bits of FP64, whose order is that of the numbers; integers that it cannot hold, cut off."""
        held = np.asarray(encode(self.codes, FP64, self.source, rounding="toward_zero"))
        return held & np.uint64(2**63 - 1)

    @cached_property
    def zero(self) -> Mask:
        """Zero, of either sign."""
        return np.asarray(self._magnitude == 0)

    @cached_property
    def subnormal(self) -> Mask:
        """Subnormal in the source."""
        if not self.source.is_float:
            return np.zeros(self.codes.shape, np.bool_)
        return ~self.zero & (self._magnitude < np.uint64(bits_of(self.source.smallest_normal, FP64)))

    @cached_property
    def tiny(self) -> Mask:
        """Not zero, and below the smallest normal number of a floating target."""
        if not self.target.is_float:
            return np.zeros(self.codes.shape, np.bool_)
        return ~self.zero & (self._magnitude < np.uint64(bits_of(self.target.smallest_normal, FP64)))

    @cached_property
    def small(self) -> Mask:
        """Where a rule about subnormal numbers or zero may come up."""
        found = self.zero | self.subnormal
        if self.target.is_float:
            found |= self._magnitude <= np.uint64(bits_of(self.target.smallest_normal, FP64))
        return np.asarray(found)

    @cached_property
    def number(self) -> Mask:
        """Finite."""
        return ~(self.nan | self.infinite)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What one way gives for inputs: codes for each mode, and for each rule about overflow and small numbers."""

    way: Way
    classes: Classes

    @cached_property
    def modes(self) -> dict[str, Mode]:
        """For each mode the codes, and which inputs lie beyond the range."""
        codes, source, target = self.classes.codes, self.classes.source, self.classes.target
        middle = self.way.middle
        if middle is None:
            return rounded(codes, source, target)
        if middle.is_integer:
            return {mode: self._cut(found, "saturate") for mode, found in self._middle_modes.items()}
        return rounded(np.asarray(encode(codes, middle, source)), middle, target)

    @cached_property
    def _middle_modes(self) -> dict[str, Mode]:
        assert self.way.middle is not None
        return rounded(self.classes.codes, self.classes.source, self.way.middle)

    def _cut(self, found: Mode, overflow: str) -> Mode:
        """From a wider integer, with the integer indefinite for what it does not hold, to the target."""
        middle, target = self.way.middle, self.classes.target
        assert middle is not None
        held = np.where(found.beyond, middle.code_dtype.type(1 << (middle.bits - 1)), found.codes)
        flags = Flags(record=True)
        result = np.asarray(encode(held, target, middle, overflow=overflow, flags=flags))
        return Mode(result, found.beyond | (np.asarray(flags.mask) & _BEYOND != 0))

    # --- Beyond the range -----------------------------------------------------------------------------------

    def overflow(self, mode: str) -> dict[str, Array]:
        """For each overflow rule the codes under one mode, of use where a number lies beyond the range."""
        target = self.classes.target
        saturated = self.modes[mode].codes
        if target.kind == "codebook":
            return {"saturate": saturated}
        zero = np.full(saturated.shape, _zero(target), target.code_dtype)
        if target.is_integer:
            lowest = target.code_dtype.type(1 << (target.bits - 1) if target.signed else target.largest_code)
            indefinite = np.full(saturated.shape, lowest)
            if self.way.middle is not None and self.way.middle.is_integer:
                return {"saturate": saturated, **({} if self._wraps_alike else {"wrap": self._wrapped(mode)})}
            return {"saturate": saturated, "wrap": self._wrapped(mode), "indefinite": indefinite, "zero": zero}
        return self._float_overflow(mode, saturated, zero)

    @property
    def _wraps_alike(self) -> bool:
        """Whether what a wider integer cannot hold has no low bits, so that wrapping it there changes nothing."""
        middle, source = self.way.middle, self.classes.source
        return middle is not None and middle.bits - source.precision >= self.classes.target.bits

    def _wrapped(self, mode: str) -> Array:
        classes, middle = self.classes, self.way.middle
        if middle is not None and middle.is_integer:
            return self._cut(self._middle_modes[mode], "wrap").codes
        codes, source = classes.codes, classes.source
        if middle is not None:
            codes, source = np.asarray(encode(codes, middle, source)), middle
        rules: dict[str, Any] = {"overflow": "wrap", "nan": "zero"}
        if mode == "ties_down":  # beyond the range every tie is judged as nearest-even judges it
            return np.asarray(encode(codes, classes.target, source, rounding="nearest_even", **rules))
        above, under = (
            np.asarray(encode(codes, classes.target, source, rounding=rounding, **rules)) for rounding in _BOTH[mode]
        )
        return np.where(classes.negative, under, above)

    def _float_overflow(self, mode: str, saturated: Array, zero: Array) -> dict[str, Array]:
        target, below = self.classes.target, self.classes.negative
        dtype = target.code_dtype.type
        sign = np.where(below & target.signed, dtype(1 << target.magnitude_bits if target.signed else 0), dtype(0))
        nan = dtype(target.nan_code or 0) | (sign if target.nan in ("ieee", "all_ones") else dtype(0))
        lost = below & (not target.signed)  # a negative number where there is no sign
        found = {"saturate": saturated, "zero": zero | sign if target.signed_zero else zero}
        if target.signed_zero and below.any():
            found["positive zero"] = zero
        if target.infinity:
            beyond = np.where(lost, nan, dtype(target.infinity_code or 0) | sign)
            found["infinity"] = beyond
        elif target.has_nan:
            beyond = np.broadcast_to(nan, saturated.shape)
        else:
            beyond = saturated
        if target.has_nan:
            found["nan"] = np.broadcast_to(nan, saturated.shape)
        if target.has_nan or target.infinity:
            # IEEE 754-2019 clause 7.4: toward zero, a number too large is the largest finite one.
            found["ieee"] = np.where(lost, nan, saturated) if mode in ("down", "to_odd") else beyond
        return found

    # --- Small numbers --------------------------------------------------------------------------------------

    def small(self, mode: str, minus: bool) -> dict[tuple[str, str], Array]:
        """For each rule about subnormal numbers and each about the sign of zero, the codes under one mode.

        `minus` says on which side of zero they are of use.
        """
        classes, target = self.classes, self.classes.target
        base = self.modes[mode].codes
        if target.kind == "codebook" and 0.0 not in target.values:
            return {("gradual", "sign kept"): base}
        if not target.zero:
            found = {("gradual", "smallest number"): base}
            if target.has_nan:
                found["gradual", "NaN"] = np.where(classes.zero, target.code_dtype.type(target.nan_code or 0), base)
            return found
        sign = classes.negative.astype(target.code_dtype) << target.code_dtype.type(target.magnitude_bits)
        zero = np.asarray(_zero(target) | sign if target.signed_zero else np.full(base.shape, _zero(target)))
        zero = zero.astype(target.code_dtype)
        magnitude = base & target.code_dtype.type(2**target.magnitude_bits - 1)
        least = 1 << target.significand_bits
        subnormal = (magnitude < least) & target.is_float
        # The smallest number that is rounded to the target.
        finest = max(fmt.smallest_subnormal for fmt in (classes.source, self.way.middle or classes.source))
        lost: dict[str, Mask | bool] = {"gradual": False}
        if classes.subnormal.any() and not self._vanish(mode):
            lost["flush_input"] = classes.subnormal
        if target.is_float and target.significand_bits and finest < target.smallest_normal:
            lost["flush_output"] = subnormal
            inputs_are_these = "flush_input" in lost and target.smallest_normal <= classes.source.smallest_normal
            if not (inputs_are_these or mode in ("down", "to_odd")):  # by which nothing tiny becomes normal
                lost["flush_tiny"] = classes.tiny
            if "flush_input" in lost and not inputs_are_these:
                lost["flush"] = subnormal | classes.subnormal
        falls = finest < target.smallest_subnormal and mode not in ("up", "to_odd")
        found = {}
        for rule, gone in lost.items():
            result = np.where(gone, zero, base)
            found[rule, "sign kept"] = result
            if target.signed_zero and classes.source.is_float and minus:
                none = (result & target.code_dtype.type(2**target.magnitude_bits - 1)) == 0
                if classes.source.signed_zero:
                    found[rule, "sign dropped"] = np.where(none, target.code_dtype.type(0), result)
                if falls or rule != "gradual":
                    off = none & ~classes.zero
                    found[rule, "sign dropped where rounded"] = np.where(off, target.code_dtype.type(0), result)
        return found

    def _vanish(self, mode: str) -> bool:
        """Whether every subnormal number of the source becomes zero by rounding anyway."""
        least = max(fmt.smallest_subnormal for fmt in (self.classes.target, self.way.middle or self.classes.target))
        return mode not in ("up", "to_odd") and self.classes.source.smallest_normal <= least / 2


def _zero(target: Format) -> Any:
    """The code of zero, or of the smallest number of a format that has none."""
    return target.code_dtype.type(target.values.index(0.0) if target.kind == "codebook" and 0.0 in target.values else 0)
