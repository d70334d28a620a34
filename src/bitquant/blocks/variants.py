"""Scales and elements as libraries compute them: FP32 operations in their own order, each rounded to nearest even.

NumPy's FP32 arithmetic on the maxima and one FP32 operation for each number (kernels/scaled.pyx, Design E), with the
FPU in its default state. The library is the reference: no operation here may be changed for a better one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.blocks.recipes import Scales, Shape, element_stages
from bitquant.blocks.table import BlockFormat
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP32, UINT4, Format
from bitquant.kernels.scaled import DefaultFPU, Float32
from bitquant.kernels.stage import Stage
from bitquant.permitted import Rules
from bitquant.stages import carrier_of, from_carrier
from bitquant.stages import to_carrier as stage_to

Floats = NDArray[np.float32]
F = np.float32


class Computed(NamedTuple):
    """What a library makes of maxima: the scales it stores, and what each number is multiplied or divided by."""

    stored: Floats
    factor: Floats


class Variant(NamedTuple):
    """One library's arithmetic."""

    scales: Callable[[Floats, np.float32], Computed]  # from the maxima and the tensor scale
    divides: bool  # numbers by the factor, or multiplies
    addend: float | None  # added to that
    rounding: str  # then rounded to the element format


def _ggml(divisor: float) -> Callable[[Floats, np.float32], Computed]:
    """quantize_row_q8_0_ref and quantize_row_q4_0_ref of ggml-quants.c."""

    def scales(most: Floats, tensor_scale: np.float32) -> Computed:
        step = most / F(divisor)
        return Computed(step, np.where(step != 0, F(1) / step, F(0)))

    return scales


def _torchao(most: Floats, tensor_scale: np.float32) -> Computed:
    """nvfp4_quantize of torchao/prototype/mx_formats/nvfp4_tensor.py, with a per-tensor scale."""
    stored = _as_e4m3(np.maximum(most / F(6) / tensor_scale, F(2.0**-6)))
    return Computed(stored, F(1) / tensor_scale / stored)


def _modelopt(most: Floats, tensor_scale: np.float32) -> Computed:
    """NVFP4QTensor of modelopt/torch/quantization/qtensor/nvfp4_tensor.py, without a quantizer."""
    step = most / (F(6) * tensor_scale)
    stored = _as_e4m3(np.maximum(np.where(step == 0, F(1), step), F(2.0**-9)))
    return Computed(stored, stored * tensor_scale)


def _as_e4m3(scales: Floats) -> Floats:
    codes = convert(scales, "float8_e4m3fn", overflow="saturate")
    numbers: Floats = convert(codes, FP32)
    return numbers


VARIANTS = {
    ("q8_0", "ggml"): Variant(_ggml(127), False, None, "nearest_away"),
    ("q4_0", "ggml"): Variant(_ggml(-8), False, 8.5, "toward_zero"),
    ("nvfp4", "torchao"): Variant(_torchao, False, None, "nearest_even"),
    # The addition makes −0 a +0, as a sign taken from x < 0 does.
    ("nvfp4", "modelopt"): Variant(_modelopt, True, 0.0, "nearest_even"),
}


class Library:
    """A recipe from a variant."""

    carrier = FP32

    def __init__(self, row: BlockFormat, rule: str, source: Format, tensor_scale: np.float32 | None) -> None:
        if carrier_of(source) is not FP32:
            raise BitquantError(
                f"scale_rule={rule!r} computes in float32, which does not hold {source.name}: convert x first, or pass "
                "scale_rule='exact'"
            )
        self.row, self.rule = row, rule
        self.variant = VARIANTS[row.name, rule]
        self.widen = None if source is FP32 else stage_to(source, FP32, quiet=False)
        self.signs = row.reach < 0
        self.tensor_scale = F(1) if tensor_scale is None else tensor_scale
        if self.offset_codes:  # trunc(y) is a code of 0 to 15, eight above the element's
            rules = Rules.of(UINT4, self.variant.rounding, overflow="saturate", nan="zero")
            self.last = from_carrier(FP32, UINT4, FP32, rules)
        else:
            self.last = element_stages(row, FP32, self.variant.rounding)

    @property
    def offset_codes(self) -> bool:
        """Whether the stages give codes that are eight too high."""
        return self.row.name == "q4_0"

    def scales(self, most: Array) -> Scales:
        with DefaultFPU(), np.errstate(all="ignore"):
            stored, factor = self.variant.scales(most.view(np.float32), self.tensor_scale)
        if not np.isfinite(factor).all():
            worst = most.view(np.float32)[~np.isfinite(factor)][0]
            raise BitquantError(
                f"a block whose largest magnitude is {abs(float(worst)):.3g} has a step without a finite reciprocal in "
                f"float32, and {self.rule} is not defined there: pass scale_rule='exact'"
            )
        codes = convert(stored, self.row.scale).view(self.row.scale.code_dtype)
        return Scales(codes, np.ascontiguousarray(factor, np.float32), None)

    def stages(self, steps: Array, shape: Shape, first: int) -> tuple[Stage, ...]:
        compute = Float32(steps, shape, first, self.variant.divides, self.variant.addend)
        return (*([self.widen] if self.widen else []), compute, *self.last)
