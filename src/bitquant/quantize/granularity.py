"""Granularity: which numbers of an array share a scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.kernels.blocking import Blocks


@dataclass(frozen=True)
class Granularity:
    """Blocks that share a scale: an entry of `block` for each dimension, the last block of a dimension may be smaller.

    Attributes
    ----------
    shape : tuple of int
        Of the array.
    block : tuple of int
        Of a block, each at least 1.
    parameter_shape : tuple of int
        Of scales and zero points: () for one per tensor, (n,) for one per index of an axis, else blocks along each
        dimension.
    axis : int or None
        The axis, where scales go by its index.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]
    parameter_shape: tuple[int, ...]
    axis: int | None

    @classmethod
    def of(cls, shape: tuple[int, ...], axis: Any, group_size: Any, block_shape: Any) -> Granularity:
        """Read the arguments `axis`, `group_size` and `block_shape` of `quantize` for an array."""
        whole = tuple(max(length, 1) for length in shape)
        if block_shape is not None:
            if axis is not None or group_size is not None:
                raise BitquantError("block_shape says everything: give no axis or group_size with it")
            return cls._of_blocks(shape, block_shape)
        if group_size is not None:
            place = _axis(-1 if axis is None else axis, len(shape))
            size = whole[place] if _is_whole(group_size) else group_size
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
                raise BitquantError(f"group_size={group_size!r}: give a number of elements from 1 up, or −1 for all")
            block = tuple(min(int(size), length) if k == place else 1 for k, length in enumerate(whole))
            return cls(shape, block, _counts(shape, block), None)
        if axis is None:
            return cls(shape, whole, (), None)
        place = _axis(axis, len(shape))
        block = tuple(1 if k == place else length for k, length in enumerate(whole))
        return cls(shape, block, (shape[place],), place)

    @classmethod
    def _of_blocks(cls, shape: tuple[int, ...], block_shape: Any) -> Granularity:
        given = tuple(block_shape) if isinstance(block_shape, (tuple, list)) else (block_shape,)
        for size in given:
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or (size < 1 and size != -1):
                raise BitquantError(f"block_shape={block_shape!r}: give numbers from 1 up, or −1 for a whole dimension")
        if len(given) != len(shape):
            raise BitquantError(
                f"block_shape={block_shape!r} has {len(given)} entries for {len(shape)} dimensions: give one for each"
            )
        block = tuple(
            max(length, 1) if _is_whole(size) else min(int(size), max(length, 1))
            for size, length in zip(given, shape, strict=True)
        )
        return cls(shape, block, _counts(shape, block), None)

    @property
    def channels(self) -> int:
        """How many scales there are."""
        return math.prod(self.parameter_shape)

    @cached_property
    def blocks(self) -> Blocks:
        """The same for kernels; for arrays that are not empty."""
        return Blocks(self.shape, self.block)

    def __getstate__(self) -> dict[str, Any]:
        """What the blocks are made from: they are the memory of a kernel, and are made again."""
        return {name: value for name, value in self.__dict__.items() if name != "blocks"}

    def channels_of(self, start: int, stop: int) -> NDArray[np.int64]:
        """The channel of each of the numbers start to stop, in C order."""
        place = np.arange(start, stop)
        channel, stride = np.zeros_like(place), 1
        for length, size, count in zip(
            reversed(self.shape), reversed(self.block), reversed(_counts(self.shape, self.block)), strict=True
        ):
            if count > 1:
                channel += place % length // size * stride
            place //= length
            stride *= count
        return channel


def _counts(shape: tuple[int, ...], block: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks along each dimension; an empty dimension has none where it is cut, and one where it is not."""
    return tuple(-(-length // size) for length, size in zip(shape, block, strict=True))


def _is_whole(size: Any) -> bool:
    return isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size == -1


def _axis(axis: Any, ndim: int) -> int:
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or not -ndim <= axis < ndim:
        raise BitquantError(f"axis={axis!r} does not exist: x has {ndim} dimensions")
    return int(axis) % ndim


__all__ = ["Granularity"]
