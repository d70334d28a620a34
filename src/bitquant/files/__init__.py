"""Tensor files in and out: checked, read piece by piece, and written whole or not at all.

`open_tensors` and `create_tensors` carry tensors of any size, a piece at a time; `read_tensors` and `write_tensors`
those that fit in memory; `save_quantized` and `load_quantized` codes with all that is needed to turn them back into
numbers. Nothing here pickles, and nothing here rounds.
"""

from bitquant.files.output import check_place, replaced
from bitquant.files.quantized import Stored, entries, load_quantized, save_quantized
from bitquant.files.sink import Planned, Sink
from bitquant.files.source import Entry, Source
from bitquant.files.tensors import (
    KINDS,
    check_dtype,
    check_output,
    create_tensors,
    open_tensors,
    read_tensors,
    write_tensors,
)

__all__ = [
    "KINDS",
    "Entry",
    "Planned",
    "Sink",
    "Source",
    "Stored",
    "check_dtype",
    "check_output",
    "check_place",
    "create_tensors",
    "entries",
    "load_quantized",
    "open_tensors",
    "read_tensors",
    "replaced",
    "save_quantized",
    "write_tensors",
]
