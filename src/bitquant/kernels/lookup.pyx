"""Codes of one or two bytes to the bits of FP32 or FP64, by a table of all of them.

# Design:
# A table of 256 carriers lies in the first-level cache, so that one load is all the work; and it does not care what the
# codes mean: the few formats without zero or with one NaN in place of −0, small integers and codebooks need no loop of
# their own.
"""

cimport numpy as cnp

from bitquant.kernels.machine cimport carrier, uint8_t, uint16_t, uint32_t, uint64_t
from bitquant.kernels.stage cimport Block, Stage, Tally

cnp.import_array()

ctypedef fused index:
    uint8_t
    uint16_t


cdef inline void look_up(const index *source, carrier *target, const carrier *table, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        target[i] = table[source[i]]


cdef void look_up_8_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    look_up(<const uint8_t *> source, <uint32_t *> target, <const uint32_t *> row, n)


cdef void look_up_8_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    look_up(<const uint8_t *> source, <uint64_t *> target, <const uint64_t *> row, n)


cdef void look_up_16_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    look_up(<const uint16_t *> source, <uint32_t *> target, <const uint32_t *> row, n)


cdef void look_up_16_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    look_up(<const uint16_t *> source, <uint64_t *> target, <const uint64_t *> row, n)


cdef class Lookup(Stage):
    """Codes of 1 or 2 bytes to what a table of 256 or 65536 words of 4 or 8 bytes holds for them."""

    cdef cnp.ndarray table

    def __init__(self, int source_size, cnp.ndarray table not None):
        if (
            source_size not in (1, 2) or cnp.PyArray_SIZE(table) != 1 << (8 * source_size)
            or cnp.PyArray_ITEMSIZE(table) not in (4, 8) or not cnp.PyArray_IS_C_CONTIGUOUS(table)
        ):
            raise ValueError("a table has an entry of 4 or 8 bytes for each code of 1 or 2 bytes")
        self.table = table
        self.row = cnp.PyArray_DATA(table)
        self.source_size, self.target_size = source_size, <int> cnp.PyArray_ITEMSIZE(table)
        if source_size == 1:
            self.block = <Block> look_up_8_to_32 if self.target_size == 4 else <Block> look_up_8_to_64
        else:
            self.block = <Block> look_up_16_to_32 if self.target_size == 4 else <Block> look_up_16_to_64
