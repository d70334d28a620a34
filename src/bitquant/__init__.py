"""bitquant: the exact reference for low-precision numbers.

Every conversion correct to the last bit, at memory speed, and explained. Formats are constants (`FP32`, `BF16` ...),
conversions are `encode`, `decode`, `convert` and `round_to`, quantization is `symmetric`, `asymmetric`, `clipped` and
`quantize`. What the numbers mean is written in docs/semantics.md.
"""

from bitquant._version import __version__
from bitquant.convert import convert, decode, encode, round_to
from bitquant.errors import BitquantError
from bitquant.formats import BF16, FP16, FP32, FP64, INT8, TF32, UINT8, Format, format, formats
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
    "Flags",
    "Format",
    "__version__",
    "convert",
    "decode",
    "encode",
    "format",
    "formats",
    "round_to",
]
