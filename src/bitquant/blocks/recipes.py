"""From the largest magnitude of each block to its scale, and to the stages that make its elements.

A recipe is what a scale rule of a format comes to for one source format: the carrier its numbers travel in, a function
from maxima to scales, and the stages of the pipeline. Exact ones are here, libraries' own arithmetic in variants.py.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.blocks.table import BlockFormat
from bitquant.convert import convert
from bitquant.formats import FP32, FP64, Format
from bitquant.kernels.pipeline import Pipeline
from bitquant.kernels.scaled import Move, Scale, power_scales
from bitquant.kernels.stage import Stage
from bitquant.permitted import Rules
from bitquant.rules import Stochastic
from bitquant.stages import carrier_of, from_carrier
from bitquant.stages import to_carrier as stage_to

Shape = tuple[int, int, int, int]
SHORT = 32  # significand bits of a source for which FP64's quotient is enough (kernels/scaled.pyx, Design B)


class Scales(NamedTuple):
    """The scales of some blocks."""

    codes: Array  # of the scale format
    steps: Array  # what the stage takes: E8M0 codes, or numbers
    dead: NDArray[np.bool_] | None  # blocks whose scale became zero or NaN, though their numbers are not all zero


class Recipe(Protocol):
    """How a format's scales and elements come about, for one source format and rule."""

    carrier: Format
    widen: Stage | None
    signs: bool  # maxima come with their signs

    def scales(self, most: Array) -> Scales:
        """The scales of blocks with these maxima, carrier bits of finite numbers."""

    def stages(self, steps: Array, shape: Shape, first: int) -> tuple[Stage, ...]:
        """The stages from the source's codes to element codes; `first` is the block that steps[0] belongs to."""


class Power:
    """Scales that are powers of two (OCP MX): the exponent of the largest magnitude, from its bits."""

    signs = False

    def __init__(self, row: BlockFormat, rule: str, source: Format, rounding: str | Stochastic) -> None:
        self.row = row
        self.carrier = carrier_of(source)
        self.widen = None if source is self.carrier else stage_to(source, self.carrier, quiet=False)
        self.offset = -row.emax
        self.raised = _raised(row.element, rule, self.carrier)
        self.last = element_stages(row, self.carrier, rounding)

    def scales(self, most: Array) -> Scales:
        codes = np.empty(most.shape, np.uint8)
        power_scales(most, codes, self.raised, self.offset)
        return Scales(codes, codes, None)

    def stages(self, steps: Array, shape: Shape, first: int) -> tuple[Stage, ...]:
        move = Move(self.carrier.code_dtype.itemsize, steps, shape, first, self.row.unit)
        return (*([self.widen] if self.widen else []), move, *self.last)


def _raised(element: Format, rule: str, carrier: Format) -> int:
    """What is added to the bits of amax: it carries into the exponent where the rule rounds the power of two up."""
    stored = carrier.significand_bits
    if rule == "floor":
        return 0
    if rule == "ceil":  # above 1.0
        return (1 << stored) - 1
    digits = element.precision - 1  # of the largest element, behind the point
    if rule == "even":  # from a half of the last digit below 2: a tie goes up, to an even significand
        return 1 << (stored - digits - 1)
    point = element.largest_code & ((1 << digits) - 1)  # rceil: above the largest element's significand
    return (1 << stored) - 1 - (point << (stored - digits))


class Divided:
    """Scales that are amax / reach (/ tensor scale), rounded once; elements exact for the step that is stored."""

    def __init__(
        self, row: BlockFormat, source: Format, rounding: str | Stochastic, tensor_scale: np.float32 | None
    ) -> None:
        self.row, self.source = row, source
        self.carrier = carrier_of(source)
        self.widen = None if source is self.carrier else stage_to(source, self.carrier, quiet=False)
        self.signs = row.reach < 0
        self.tensor_step = 1.0 if tensor_scale is None else float(convert(tensor_scale, FP64))
        self.exact = source.precision > SHORT or isinstance(rounding, Stochastic)
        self.last = element_stages(row, FP64, rounding)

    def scales(self, most: Array) -> Scales:
        short = self.source.precision <= SHORT
        codes = quotient(most, self.carrier, self.row.reach * self.tensor_step, self.row.scale, not short)
        steps = convert(codes, FP64, self.row.scale) * self.tensor_step
        zero = steps == 0
        dead = zero & (most != 0)
        steps[zero] = 1.0
        return Scales(codes, steps, dead if dead.any() else None)

    def stages(self, steps: Array, shape: Shape, first: int) -> tuple[Stage, ...]:
        widen = () if self.source is FP64 else (stage_to(self.source, FP64, quiet=False),)
        return (*widen, Scale(steps, shape, first, True, self.exact), *self.last)


def element_stages(row: BlockFormat, carrier: Format, rounding: str | Stochastic) -> tuple[Stage, ...]:
    """From a carrier to element codes: rounded once, brought into range, NaN to zero."""
    rules = Rules.of(row.element, rounding, overflow="saturate", nan="zero")
    return from_carrier(carrier, row.element, carrier, rules, row.narrow)


def quotient(bits: Array, carrier: Format, divisor: float, target: Format, exact: bool = True) -> Array:
    """Numbers given as carrier bits, divided by one number and rounded once; FP32 overflows, other formats saturate."""
    if not bits.size:
        return np.empty(bits.shape, target.code_dtype)
    widen = () if carrier is FP64 else (stage_to(carrier, FP64, quiet=False),)
    rules = Rules.of(target, overflow="ieee" if target is FP32 else "saturate")
    whole = (bits.size, 1, bits.size, 1)
    stages = (*widen, Scale(np.array([divisor]), whole, 0, True, exact), *from_carrier(FP64, target, FP64, rules))
    codes = np.empty(bits.shape, target.code_dtype)
    Pipeline(stages).run(bits, codes)
    return codes


def tensor_scale_of(largest: int, carrier: Format, row: BlockFormat) -> np.float32:
    """The tensor scale that maps the largest magnitude (carrier bits) to largest element times largest scale."""
    if not largest:
        return np.float32(1)
    codes = quotient(np.array([largest], carrier.code_dtype), carrier, row.reach * row.scale.max, FP32)
    scale: np.float32 = codes.view(np.float32)[0]
    return scale


__all__ = ["Divided", "Power", "Recipe", "Scales", "element_stages", "quotient", "tensor_scale_of"]
