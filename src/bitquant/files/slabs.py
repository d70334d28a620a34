"""How a tensor is cut into pieces that are quantized one at a time.

# Design:
# A. A slab is a run of whole rows, so that its numbers lie side by side in the file. Where the blocks that share a
#    scale end between rows, a slab ends there too, and is quantized by itself: codes and scales are those of the whole
#    tensor. Where a block spans all rows (one scale for the tensor, or one for each column), the range is found
#    in a first walk over all slabs, and the codes in a second.
# B. With one scale for the whole tensor its shape does not matter, and it is cut anywhere.
# C. The cut depends on the shape alone, never on threads or memory, so that figures that are sums are the same
#    everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bitquant.quantize.granularity import Granularity

__all__ = ["Slab", "Slabs"]

_NUMBERS = 1 << 20  # of a slab, where rows are no longer than that


@dataclass(frozen=True)
class Slab:
    """Numbers `start` to `stop` of a tensor, as an array of a shape, and which scales are theirs.

    Attributes
    ----------
    block : tuple of int or None
        `block_shape` of the array; None where all its numbers share one scale.
    first, last : int
        The scales, numbered in C order, from `first` to before `last`.
    """

    start: int
    stop: int
    shape: tuple[int, ...]
    block: tuple[int, ...] | None
    first: int
    last: int


@dataclass(frozen=True)
class Slabs:
    """A tensor cut into slabs.

    Attributes
    ----------
    spanning : bool
        Whether all slabs have the same scales, whose range has to be found first.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...] | None
    rows: int
    spanning: bool

    @classmethod
    def of(cls, granularity: Granularity, unit: int = 1) -> Slabs:
        """Cut an array of this granularity; with one scale for all, at multiples of `unit` numbers."""
        if granularity.channels <= 1:
            count = math.prod(granularity.shape)
            return cls((count,), None, max(_NUMBERS // unit, 1) * unit, True)
        shape, block = granularity.shape, granularity.block
        while shape[0] == 1:  # some dimension is longer, as there are several scales
            shape, block = shape[1:], block[1:]
        row = math.prod(shape[1:])
        spanning = block[0] >= shape[0]
        unit = 1 if spanning else block[0]
        return cls(shape, block, max(_NUMBERS // (row * unit), 1) * unit, spanning)

    def __iter__(self) -> Iterator[Slab]:
        row = math.prod(self.shape[1:])
        beside = (
            1
            if self.block is None
            else math.prod(-(-length // size) for length, size in zip(self.shape[1:], self.block[1:], strict=True))
        )
        for top in range(0, self.shape[0], self.rows):
            bottom = min(top + self.rows, self.shape[0])
            if self.block is None:
                first, last = 0, 1
            elif self.spanning:
                first, last = 0, beside
            else:
                first, last = top // self.block[0] * beside, -(-bottom // self.block[0]) * beside
            yield Slab(top * row, bottom * row, (bottom - top, *self.shape[1:]), self.block, first, last)
