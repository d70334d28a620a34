"""A quantized layer, exactly: the integer product, its rescaling, and both as a linear layer."""

from bitquant.layer.linear import linear
from bitquant.layer.product import integer_matmul
from bitquant.layer.requantize import FixedMultiplier, quantize_bias, quantize_multiplier, requantize

__all__ = ["FixedMultiplier", "integer_matmul", "linear", "quantize_bias", "quantize_multiplier", "requantize"]
