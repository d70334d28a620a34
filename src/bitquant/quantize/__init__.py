"""Quantization: the linear mappings between numbers and integer codes, exact."""

from bitquant.quantize.parameters import Range
from bitquant.quantize.quantized import Quantized
from bitquant.quantize.schemes import asymmetric, clipped, dequantize, quantize, symmetric

__all__ = ["Quantized", "Range", "asymmetric", "clipped", "dequantize", "quantize", "symmetric"]
