"""The quantizers that people run, as rows of formulas.

``quantize(x, dialect="onnxruntime", step=0.1)`` quantizes as ONNX Runtime does, bit for bit. A row gives the formulas,
says where they are laid down and what they were checked against.
"""

from bitquant.dialects.quantizers.lookup import quantizer, quantizers
from bitquant.dialects.quantizers.row import FUNCTIONS, Quantizer

__all__ = ["FUNCTIONS", "Quantizer", "quantizer", "quantizers"]
