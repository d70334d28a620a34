"""Fewer significand bits in place: FP32 or FP64 bits whose low bits are rounded to zero.

# Design:
# A significand of fewer bits is a shorter pattern, and so is the exponent above it: rounding the magnitude as one
# integer carries into the exponent by itself. What would carry into infinity stays the largest number of so many
# bits; infinity and NaN stay as they are. With no bit left the last one is the exponent's, and a tie goes to an even
# exponent field.
"""

from bitquant.kernels.machine cimport carrier, loop, select, uint8_t, uint32_t, uint64_t
from bitquant.kernels.rounding cimport NEAREST_AWAY, NEAREST_EVEN, Mode, round_off
from bitquant.kernels.stage cimport Block, Stage, Tally

cdef struct Cut:
    bint away                   # ties go away from zero, not to even
    uint64_t bits               # how many low bits are rounded to zero, at least 1


cdef inline void trim(
    const Mode mode, const carrier *source, carrier *target, carrier cut, carrier infinity, size_t n
) noexcept nogil:
    cdef carrier magnitude, rounded, sign_bit = (<carrier> 1) << (8 * sizeof(carrier) - 1)
    cdef carrier largest = ((infinity >> cut) - 1) << cut
    cdef size_t i
    for i in range(n):
        magnitude = source[i] & ~sign_bit
        rounded = round_off(mode, magnitude, cut, <carrier> 0, <carrier> 0, <carrier> 1) << cut
        rounded = rounded if rounded < largest else largest
        target[i] = select[carrier](magnitude >= infinity, magnitude, rounded) | (source[i] & sign_bit)


cdef loop trim_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    cdef const Cut *cut = <const Cut *> row
    cdef uint32_t infinity = 0x7F800000, bits = <uint32_t> cut.bits
    if cut.away:
        trim(NEAREST_AWAY, <const uint32_t *> source, <uint32_t *> target, bits, infinity, n)
    else:
        trim(NEAREST_EVEN, <const uint32_t *> source, <uint32_t *> target, bits, infinity, n)


cdef loop trim_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    cdef const Cut *cut = <const Cut *> row
    cdef uint64_t infinity = 0x7FF0000000000000ULL
    if cut.away:
        trim(NEAREST_AWAY, <const uint64_t *> source, <uint64_t *> target, cut.bits, infinity, n)
    else:
        trim(NEAREST_EVEN, <const uint64_t *> source, <uint64_t *> target, cut.bits, infinity, n)


cdef class Trim(Stage):
    """FP32 or FP64 bits (size 4 or 8) to the same with `bits` low bits rounded to zero; ties to even, or away from
    zero."""

    cdef Cut cut

    def __init__(self, int size, int bits, bint away):
        if size not in (4, 8) or not 1 <= bits <= (23 if size == 4 else 52):
            raise ValueError("1 to 23 bits of FP32, 1 to 52 of FP64")
        self.cut.bits, self.cut.away = bits, away
        self.row = &self.cut
        self.source_size = self.target_size = size
        self.block = <Block> trim_32 if size == 4 else <Block> trim_64
