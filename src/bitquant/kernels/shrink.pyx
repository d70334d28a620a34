"""Codes from the words that a loop writes to the words that store them."""

from bitquant.kernels.machine cimport code, loop, uint8_t, uint16_t, uint32_t, uint64_t
from bitquant.kernels.stage cimport Block, Stage, Tally

ctypedef fused lane_word:
    uint16_t
    uint32_t
    uint64_t


cdef inline void shrink(const lane_word *source, code *target, const uint64_t *offset, size_t n) noexcept nogil:
    """source − offset, and 0 for what lies below."""
    cdef lane_word least = <lane_word> offset[0]
    cdef size_t i
    for i in range(n):
        target[i] = <code> ((source[i] if source[i] > least else least) - least)


cdef loop shrink_16_to_8(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    shrink(<const uint16_t *> source, <uint8_t *> target, <const uint64_t *> row, n)


cdef loop shrink_32_to_8(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    shrink(<const uint32_t *> source, <uint8_t *> target, <const uint64_t *> row, n)


cdef loop shrink_32_to_16(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    shrink(<const uint32_t *> source, <uint16_t *> target, <const uint64_t *> row, n)


cdef loop shrink_64_to_8(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    shrink(<const uint64_t *> source, <uint8_t *> target, <const uint64_t *> row, n)


cdef loop shrink_64_to_16(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    shrink(<const uint64_t *> source, <uint16_t *> target, <const uint64_t *> row, n)


cdef loop shrink_64_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    shrink(<const uint64_t *> source, <uint32_t *> target, <const uint64_t *> row, n)


cdef class Shrink(Stage):
    """Codes in words of 2, 4 or 8 bytes to smaller words.

    `offset` is subtracted from each: a format without zero is rounded to as if it had one, which then becomes its
    smallest number.
    """

    cdef uint64_t offset

    def __init__(self, int source_size, int target_size, uint64_t offset=0):
        cdef Block block
        if (source_size, target_size) == (2, 1):
            block = <Block> shrink_16_to_8
        elif (source_size, target_size) == (4, 1):
            block = <Block> shrink_32_to_8
        elif (source_size, target_size) == (4, 2):
            block = <Block> shrink_32_to_16
        elif (source_size, target_size) == (8, 1):
            block = <Block> shrink_64_to_8
        elif (source_size, target_size) == (8, 2):
            block = <Block> shrink_64_to_16
        elif (source_size, target_size) == (8, 4):
            block = <Block> shrink_64_to_32
        else:
            raise ValueError("words of 2, 4 or 8 bytes, to smaller ones")
        self.offset = offset
        self.row = &self.offset
        self.source_size, self.target_size = source_size, target_size
        self.block = block
