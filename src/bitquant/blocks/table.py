"""THE TABLE of block formats: one row each, and the rules by which a block gets its scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bitquant.errors import BitquantError
from bitquant.formats import E2M1FN, E2M3FN, E3M2FN, E4M3FN, E5M2, E8M0, FP16, FP32, INT4, INT8, Format
from bitquant.rules import choose

_MX = "OCP microscaling formats specification 1.0"
_GGML = "ggml, ggml-quants.c and ggml-common.h"

SCALE_RULES: Mapping[str, str] = {
    "floor": "2^(⌊log2 amax⌋ − emax): OCP MX 1.0, clause 6.3",
    "ceil": "2^(⌈log2 amax⌉ − emax): no number is clipped",
    "even": "floor, of an amax that is first rounded to the elements' precision",
    "rceil": "the smallest power of two that is at least amax / largest element: no number is clipped",
    "exact": "amax / largest element (and / tensor scale), rounded once to the scale's format, to nearest even; "
    "elements are exact for the step that is stored",
    "ggml": "ggml's reference code: step and reciprocal in FP32, products in FP32, the step then stored as FP16",
    "torchao": "FP32: amax/6, / tensor scale, at least 2^-6, to E4M3; x · ((1 / tensor scale) / scale)",
    "modelopt": "FP32: amax / (6 · tensor scale), 1 for 0, at least 2^-9, to E4M3; x / (scale · tensor scale)",
}

# What each rule was held against, in tests/test_blocks.py or tests/test_blocks_peers.py.
_EXACT = "exact arithmetic"
WITNESSES: Mapping[str, str] = {
    "floor": f"{_EXACT}; torchao 0.18.0, microxcaling (main) and ml_dtypes 0.6.0, but for the findings below",
    "ceil": f"{_EXACT}; torchao 0.18.0",
    "even": f"{_EXACT}; torchao 0.18.0",
    "rceil": f"{_EXACT}; torchao 0.18.0, but for a finding below",
    "exact": _EXACT,
    "ggml": "gguf 0.19.0, all bytes",
    "torchao": "torchao 0.18.0, all bytes",
    "modelopt": "ModelOpt 0.47.0, all bytes",
}

LAYOUTS: Mapping[str, str] = {
    "separate": "two arrays. Elements: rows along the blocks' axis, codes without gaps, the first in the lowest bits. "
    "Scales: a code for each block",
    "cublas": "as separate, the scales in tiles of 128 rows by 4 blocks: cuBLAS, block scaling factors layout",
    "gguf": "one array of records, scale before elements. Of 4-bit elements, the first half of a block is in the low "
    "nibbles, the second in the high ones",
}


@dataclass(frozen=True, eq=False)
class BlockFormat:
    """A format in which the numbers of a block share a scale.

    A number is element · 2^unit · scale (· tensor scale).

    Attributes
    ----------
    name : str
    element : Format
        Of the elements.
    block : int
        Numbers in a block.
    scale : Format
        Of a block's scale, which multiplies elements: a step, in the words of `quantize`.
    unit : int
        The exponent of what an element's unit is worth.
    reach : float
        The element that a block's largest magnitude is mapped to; negative where the step takes the sign of the number
        with that magnitude, negated.
    narrow : bool
        Whether the most negative code of an integer element is left out.
    tensor_scale : Format or None
        The format of a second scale, one for the whole tensor.
    scale_rules : tuple of str
        The rules that `quantize_blocks` takes, the default first.
    layouts : tuple of str
        The storage layouts that `Blocks.pack` knows, the default first.
    aliases : tuple of str
    source : str
        Where the format is defined.

    Examples
    --------
    >>> import bitquant as bq
    >>> row = bq.block_formats()[0]
    >>> row.name, row.element, row.block, row.scale, row.bits
    ('mxfp8_e4m3', <Format float8_e4m3fn>, 32, <Format float8_e8m0fnu>, 8.25)
    """

    name: str
    element: Format
    block: int
    scale: Format
    unit: int = 0
    reach: float = math.nan
    narrow: bool = False
    tensor_scale: Format | None = None
    scale_rules: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ("separate", "cublas")
    aliases: tuple[str, ...] = ()
    source: str = field(default="", repr=False)

    def __repr__(self) -> str:
        return f"<BlockFormat {self.name}>"

    @property
    def bits(self) -> float:
        """Bits for each number, its share of the block's scale included."""
        return self.element.bits + self.scale.bits / self.block

    @property
    def emax(self) -> int:
        """The exponent of the largest element."""
        return self.element.max_exponent + self.unit


def _mx(name: str, element: Format, *aliases: str, unit: int = 0, layouts: tuple[str, ...] = ()) -> BlockFormat:
    return BlockFormat(
        name,
        element,
        32,
        E8M0,
        unit,
        element.max,
        narrow=element.is_integer,
        scale_rules=("floor", "ceil", "even", "rceil"),
        layouts=("separate", "cublas", *layouts),
        aliases=aliases,
        source=_MX,
    )


ROWS = (
    _mx("mxfp8_e4m3", E4M3FN, "mxfp8"),
    _mx("mxfp8_e5m2", E5M2),
    _mx("mxfp6_e3m2", E3M2FN),
    _mx("mxfp6_e2m3", E2M3FN, "mxfp6"),
    _mx("mxfp4", E2M1FN, "mxfp4_e2m1", layouts=("gguf",)),
    _mx("mxint8", INT8, unit=-6),
    BlockFormat(
        "nvfp4",
        E2M1FN,
        16,
        E4M3FN,
        reach=6.0,
        tensor_scale=FP32,
        scale_rules=("exact", "torchao", "modelopt"),
        layouts=("separate", "cublas", "gguf"),
        source="NVIDIA, NVFP4: cuDNN and cuBLAS documentation, block scaling",
    ),
    BlockFormat(
        "q8_0",
        INT8,
        32,
        FP16,
        reach=127.0,
        narrow=True,
        scale_rules=("ggml", "exact"),
        layouts=("gguf", "separate"),
        source=_GGML,
    ),
    BlockFormat(
        "q4_0",
        INT4,
        32,
        FP16,
        reach=-8.0,
        scale_rules=("ggml", "exact"),
        layouts=("gguf", "separate"),
        source=_GGML,
    ),
)

_BY_NAME = {name: row for row in ROWS for name in (row.name, *row.aliases)}


def block_formats() -> tuple[BlockFormat, ...]:
    """List the block formats.

    Examples
    --------
    >>> import bitquant as bq
    >>> [row.name for row in bq.block_formats()]
    ['mxfp8_e4m3', 'mxfp8_e5m2', 'mxfp6_e3m2', 'mxfp6_e2m3', 'mxfp4', 'mxint8', 'nvfp4', 'q8_0', 'q4_0']
    """
    return ROWS


def block_format(given: Any) -> BlockFormat:
    """Find a block format by name or alias."""
    if isinstance(given, BlockFormat):
        return given
    name = given.lower() if isinstance(given, str) else given
    if not isinstance(name, str) or name not in _BY_NAME:
        raise BitquantError(f"{given!r} is no block format: choose {', '.join(row.name for row in ROWS)}")
    return _BY_NAME[name]


def scale_rule_of(row: BlockFormat, given: str | None) -> str:
    """The name of a rule that a format takes; its default for None."""
    names = row.scale_rules
    return choose(
        "scale_rule", names[0] if given is None else given, {n: SCALE_RULES[n] for n in names}, f" for {row.name}"
    )
