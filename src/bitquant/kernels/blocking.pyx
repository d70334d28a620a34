"""Blocks of any shape: what blocking.pxd declares, made from Python's tuples."""

import math


cdef class Blocks:
    """The blocks of an array: an entry of `block` for each entry of `shape`, from 1 up."""

    def __init__(self, tuple shape not None, tuple block not None):
        if len(shape) != len(block):
            raise ValueError("shape and block need one entry for each dimension")
        joined, last = [], (1, 1)
        for length, width in zip(shape, block):
            if length < 0 or width < 1:
                raise ValueError("a dimension has at least no number, a block at least one")
            above, wide = last
            width = min(width, max(length, 1))
            if width == length or above == 1:           # whole rows, or a dimension that says nothing
                last = above * length, wide * width
            elif wide == 1 and length % width == 0:     # successive blocks
                last = above * length, width
            else:
                joined.append(last)
                last = length, width
        if len(joined) > DIMENSIONS:
            raise ValueError(f"{len(joined)} dimensions are too many")
        self.size = math.prod(shape)
        self.blocking.outer = <int> len(joined)
        self.blocking.length, self.blocking.width = last
        self.blocking.columns = self.blocking.width == 1 and self.blocking.length > 1
        stride = (self.blocking.length + self.blocking.width - 1) // self.blocking.width
        for k in reversed(range(len(joined))):
            length, width = joined[k]
            self.blocking.shape[k], self.blocking.block[k], self.blocking.stride[k] = length, width, stride
            stride *= (length + width - 1) // width
        self.blocking.channels = stride

    @property
    def channels(self):
        """How many blocks there are."""
        return self.blocking.channels

    def channel_of(self, Py_ssize_t at):
        """The block that number `at` in C order belongs to."""
        cdef Walk walk
        walk_from(&self.blocking, at, &walk)
        return walk.channel
