"""How an array is cut into blocks along an axis, and walked in slabs of whole blocks that stay in the cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.errors import BitquantError
from bitquant.layouts import in_parts

_SLAB = 1 << 19  # numbers that are read twice in a row: FP32 fills half of a 2 MiB second-level cache


@dataclass(frozen=True)
class Cut:
    """An array in C order as (outer, length, inner), blocks along `length`; the last of a row may be shorter.

    Work is dealt out in units: the blocks side by side at one place along the axis, `inner` of them.
    """

    outer: int
    length: int
    inner: int
    block: int

    @classmethod
    def of(cls, shape: tuple[int, ...], axis: Any, block: int) -> Cut:
        """The cut of a shape along an axis."""
        at = axis_of(axis, len(shape))
        return cls(math.prod(shape[:at]), shape[at], math.prod(shape[at + 1 :]), block)

    @property
    def blocks(self) -> int:
        """Blocks along the axis."""
        return -(-self.length // self.block)

    @property
    def units(self) -> int:
        """Units in the array; none where it is empty."""
        return self.outer * self.blocks if self.inner else 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """What the kernels take (kernels/scaled.pyx)."""
        return self.length, self.inner, self.block, self.blocks

    def start(self, unit: int) -> int:
        """The index of a unit's first number."""
        row, place = divmod(unit, self.blocks)
        return (row * self.length + min(place * self.block, self.length)) * self.inner

    def block_of(self, index: NDArray[np.intp]) -> NDArray[np.intp]:
        """The blocks that numbers belong to, in the order of the scales."""
        place, column = np.divmod(index, self.inner)
        row, along = np.divmod(place, self.length)
        block: NDArray[np.intp] = (row * self.blocks + along // self.block) * self.inner + column
        return block

    def in_slabs(self, work: Callable[[int, int], Any], threads: int | None) -> list[Any]:
        """Call work(first, last) for runs of units that cover the array; threads may share them."""
        width = self.block * self.inner
        many = max(_SLAB // width, 1) if width else 1

        def part(start: int, stop: int) -> list[Any]:
            first, last = -(-start // width), -(-stop // width)
            return [work(unit, min(unit + many, last)) for unit in range(first, last, many)]

        parts = in_parts(part, self.units * width, threads) if self.units else []
        return [result for found in parts for result in found]


def axis_of(axis: Any, ndim: int) -> int:
    """An axis counted from the front."""
    if ndim == 0:
        raise BitquantError("x is a single number: blocks are cut along an axis, pass an array")
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or not -ndim <= axis < ndim:
        raise BitquantError(f"axis={axis!r} does not exist: x has {ndim} dimensions")
    return int(axis) % ndim


def slab_of(array: Array, start: int, stop: int) -> Array:
    """The numbers start to stop of an array in C order, contiguous and native; shared where they can be."""
    if array.flags.c_contiguous and array.dtype.isnative:
        return array.reshape(-1)[start:stop]
    piece = array.flat[start:stop]
    return piece if piece.dtype.isnative else piece.astype(piece.dtype.newbyteorder("="))
