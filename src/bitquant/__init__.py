"""bitquant: the exact reference for low-precision numbers.

Every conversion correct to the last bit, at memory speed, and explained. Formats are constants (`FP32`, `BF16` ...),
conversions are `encode`, `decode`, `convert` and `round_to`, quantization is `symmetric`, `asymmetric`, `clipped` and
`quantize`. What the numbers mean is written in docs/semantics.md.
"""

from bitquant._version import __version__
from bitquant.convert import convert, decode, encode, round_to
from bitquant.errors import BitquantError
from bitquant.formats import BF16, FP16, FP32, FP64, INT8, TF32, UINT8, Format, format, formats
from bitquant.grid import fields, from_fields, neighbours, spacing, ulp_distance
from bitquant.packing import pack_bits, unpack_bits
from bitquant.quantize import Error, Quantized, Range, asymmetric, clipped, dequantize, quantize, symmetric
from bitquant.rules import Flags

__all__ = [
    "BF16",
    "FP16",
    "FP32",
    "FP64",
    "INT8",
    "TF32",
    "UINT8",
    "BitquantError",
    "Error",
    "Flags",
    "Format",
    "Quantized",
    "Range",
    "__version__",
    "asymmetric",
    "clipped",
    "convert",
    "decode",
    "dequantize",
    "encode",
    "fields",
    "format",
    "formats",
    "from_fields",
    "neighbours",
    "pack_bits",
    "quantize",
    "round_to",
    "spacing",
    "symmetric",
    "ulp_distance",
    "unpack_bits",
]
