"""Block formats: numbers of a few bits that share a scale (OCP MX, NVFP4, GGUF)."""

from bitquant.blocks.quantizing import quantize_blocks
from bitquant.blocks.result import Blocks, unpack_blocks
from bitquant.blocks.table import BlockFormat, block_formats

__all__ = ["BlockFormat", "Blocks", "block_formats", "quantize_blocks", "unpack_blocks"]
