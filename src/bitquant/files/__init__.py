"""Tensor files in and out: checked, read piece by piece, and written whole or not at all.

`open_tensors` and `create_tensors` carry tensors of any size, a piece at a time; `read_tensors` and `write_tensors`
those that fit in memory; `save_quantized` and `load_quantized` codes with all that is needed to turn them back into
numbers. Nothing here pickles, and nothing here rounds.
"""

from bitquant.files.converting import FLAGS, convert_file
from bitquant.files.layouts import LAYOUTS
from bitquant.files.model import Result, Run
from bitquant.files.output import check_place, replaced
from bitquant.files.quantized import Stored, load_quantized, save_quantized
from bitquant.files.quantizing import quantize_file
from bitquant.files.recipe import Options, Recipe, Rule, read_recipe, rule
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
    "FLAGS",
    "KINDS",
    "LAYOUTS",
    "Entry",
    "Options",
    "Planned",
    "Recipe",
    "Result",
    "Rule",
    "Run",
    "Sink",
    "Source",
    "Stored",
    "check_dtype",
    "check_output",
    "check_place",
    "convert_file",
    "create_tensors",
    "load_quantized",
    "open_tensors",
    "quantize_file",
    "read_recipe",
    "read_tensors",
    "replaced",
    "rule",
    "save_quantized",
    "write_tensors",
]
