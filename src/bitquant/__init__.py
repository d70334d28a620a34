"""bitquant: the exact reference for low-precision numbers.

Every conversion correct to the last bit, at memory speed, and explained. Formats are constants (`FP32`, `BF16` ...),
conversions are `encode`, `decode`, `convert` and `round_to`, quantization is `symmetric`, `asymmetric`, `clipped` and
`quantize`. What the numbers mean is written in docs/semantics.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bitquant._version import __version__
from bitquant.calibrate import Calibration, calibrate
from bitquant.convert import convert, converter, decode, encode, round_bits, round_to
from bitquant.dialects import dialects
from bitquant.errors import BitquantError
from bitquant.formats import (
    BF16,
    E2M1FN,
    E2M3FN,
    E3M2FN,
    E3M4,
    E4M3,
    E4M3B11FNUZ,
    E4M3FN,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    E8M0,
    FP16,
    FP32,
    FP64,
    INT2,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    IQ4_NL,
    NF4,
    TF32,
    UINT2,
    UINT4,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    Format,
    codebook,
    exmy,
    format,
    formats,
)
from bitquant.grid import fields, from_fields, neighbours, spacing, ulp_distance
from bitquant.packing import pack_bits, unpack_bits
from bitquant.quantize import Quantized, Range, asymmetric, clipped, dequantize, quantize, symmetric
from bitquant.rules import Flags, Stochastic

if TYPE_CHECKING:
    from bitquant.auditing import AuditReport, audit, audit_quantizer
    from bitquant.auditing.staircase import Staircase, staircase
    from bitquant.blocks import BlockFormat, Blocks, block_formats, quantize_blocks, unpack_blocks
    from bitquant.calibrate.certificate import Certificate
    from bitquant.calibrate.observer import Observer
    from bitquant.explaining import Explanation, explain
    from bitquant.layer import FixedMultiplier, integer_matmul, quantize_bias, quantize_multiplier
    from bitquant.layer.linear import linear
    from bitquant.layer.requantize import requantize
    from bitquant.quantize.report import Error

# Rooms that few programs enter, opened when one of their names is asked for: `import bitquant` stays quick.
_LATER = {
    "auditing": ("AuditReport", "Staircase", "audit", "audit_quantizer", "staircase"),
    "blocks": ("BlockFormat", "Blocks", "block_formats", "quantize_blocks", "unpack_blocks"),
    "calibrate.certificate": ("Certificate",),
    "calibrate.observer": ("Observer",),
    "explaining": ("Explanation", "explain"),
    "layer": (
        "FixedMultiplier", "integer_matmul", "linear", "quantize_bias", "quantize_multiplier", "requantize",
    ),
    "quantize.report": ("Error",),
}  # fmt: skip
_ROOMS = ("plotting", "teach")  # with functions of their own, called as bitquant.plotting.number_line


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"bitquant.{name}")
    for room, names in _LATER.items():
        if name in names:
            return getattr(import_module(f"bitquant.{room}"), name)
    raise AttributeError(f"module 'bitquant' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_ROOMS]


__all__ = [
    "BF16",
    "E2M1FN",
    "E2M3FN",
    "E3M2FN",
    "E3M4",
    "E4M3",
    "E4M3B11FNUZ",
    "E4M3FN",
    "E4M3FNUZ",
    "E5M2",
    "E5M2FNUZ",
    "E8M0",
    "FP16",
    "FP32",
    "FP64",
    "INT2",
    "INT4",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "IQ4_NL",
    "NF4",
    "TF32",
    "UINT2",
    "UINT4",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "AuditReport",
    "BitquantError",
    "BlockFormat",
    "Blocks",
    "Calibration",
    "Certificate",
    "Error",
    "Explanation",
    "FixedMultiplier",
    "Flags",
    "Format",
    "Observer",
    "Quantized",
    "Range",
    "Staircase",
    "Stochastic",
    "__version__",
    "asymmetric",
    "audit",
    "audit_quantizer",
    "block_formats",
    "calibrate",
    "clipped",
    "codebook",
    "convert",
    "converter",
    "decode",
    "dequantize",
    "dialects",
    "encode",
    "exmy",
    "explain",
    "fields",
    "format",
    "formats",
    "from_fields",
    "integer_matmul",
    "linear",
    "neighbours",
    "pack_bits",
    "quantize",
    "quantize_bias",
    "quantize_blocks",
    "quantize_multiplier",
    "requantize",
    "round_bits",
    "round_to",
    "spacing",
    "staircase",
    "symmetric",
    "ulp_distance",
    "unpack_bits",
    "unpack_blocks",
]
