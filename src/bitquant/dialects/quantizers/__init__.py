"""The quantizers that people run, as rows of formulas."""

from bitquant.dialects.quantizers.onnx import ONNX
from bitquant.dialects.quantizers.pytorch import TORCH
from bitquant.dialects.quantizers.row import FUNCTIONS, Quantizer

QUANTIZERS: tuple[Quantizer, ...] = (*TORCH, *ONNX)

__all__ = ["FUNCTIONS", "QUANTIZERS", "Quantizer"]
