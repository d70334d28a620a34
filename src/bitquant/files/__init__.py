"""Tensor files in and out: `.safetensors`, `.npz` and `.npy`, checked, and written whole or not at all.

`read_tensors` and `write_tensors` carry plain tensors; `save_quantized` and `load_quantized` carry codes with
all that is needed to turn them back into numbers. Nothing here pickles, and nothing here rounds.
"""

from bitquant.files.output import SUFFIXES, check_output, check_place, replaced
from bitquant.files.quantized import Stored, entries, load_quantized, save_quantized
from bitquant.files.tensors import check_dtype, read_tensors, write_tensors

__all__ = [
    "SUFFIXES",
    "Stored",
    "check_dtype",
    "check_output",
    "check_place",
    "entries",
    "load_quantized",
    "read_tensors",
    "replaced",
    "save_quantized",
    "write_tensors",
]
