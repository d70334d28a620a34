"""Back from codes: what turns bytes into codes of a format, a block at a time (levels.pyx)."""

from libc.stdint cimport uint8_t

from bitquant.kernels.blocking cimport Blocks, Walk


cdef class WayBack:
    """Turns bytes into codes of a format, by parameters of its own for each block of an array.

    It may be called with bytes, where the values go, in words of its size, and the place of the first byte in the
    array; or by kernels block by block, which `walk` through the array.
    """

    cdef readonly Blocks blocks
    cdef readonly int word          # bytes of a value
    cdef void block(self, const uint8_t *codes, void *target, Walk *walk, Py_ssize_t n) noexcept nogil
