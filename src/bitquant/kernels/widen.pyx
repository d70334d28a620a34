"""Widening: the codes of a format to the bits of FP32 or FP64 that hold every value of it. Exact.

# Design:
# (A) A normal number moves: shift the code into place, add the difference of the biases to the exponent field.
#
#         float16              s eeeee ffffffffff
#         float32              s eeeeeeee ffffffffff0000000000000      e + 112
#
# (B) A number that is subnormal here and normal in the carrier needs its leading one found. The conversion of a small
#     integer to floating point does exactly that, in one instruction, exact whatever the rounding mode and the
#     flush-to-zero bits say; then 2^unit is added to its exponent field.
# (C) A run of 256 numbers that are zero, or normal here, is only moved. The loop does that to every run and keeps
#     the extreme magnitudes; where they say otherwise the general loop writes the run again. (As in narrow.pyx.)
# (D) A NaN keeps its payload aligned at the top, and its quiet bit; so a later stage still knows that it was
#     signalling.
"""

from libc.stdint cimport int8_t

from bitquant.kernels.machine cimport (
    bits_of_double, bits_of_float, carrier, code, int32_t, loop, select, uint8_t, uint16_t, uint32_t, uint64_t,
)
from bitquant.kernels.stage cimport RUN, Block, Stage, Tally

cdef inline carrier integer_bits(int32_t n, carrier zero) noexcept nogil:
    """The bits of an integer as a floating point number. Exact: below 2^24 for FP32."""
    if carrier is uint32_t:
        return bits_of_float(<float> n)
    else:
        return bits_of_double(<double> n)


cdef inline bint ordinary(const code *source, carrier *target, const Source *s, size_t n) noexcept nogil:
    """Design C. Returns whether the run was ordinary; if not, the target is to be written again."""
    cdef Source row = s[0]
    cdef uint32_t bits, magnitude, magnitudes = (<uint32_t> 1 << row.sign_shift) - 1, largest = 0, smallest = 0xFFFFFFFF
    cdef carrier sign_bit = (<carrier> 1) << (8 * sizeof(carrier) - 1), value
    cdef uint32_t sign_up = 8 * sizeof(carrier) - 1 - row.sign_shift
    cdef size_t i
    for i in range(n):
        bits = source[i]
        magnitude = bits & magnitudes
        largest = largest if largest > magnitude else magnitude
        smallest = smallest if smallest < magnitude - 1 else magnitude - 1
        value = ((<carrier> magnitude) << row.shift) + <carrier> row.rebias
        value = select[carrier](magnitude != 0, value, 0)
        target[i] = value | (((<carrier> bits) << sign_up) & sign_bit)
    return largest <= row.largest and smallest + 1 >= row.subnormal


cdef inline void general(const code *source, carrier *target, const Source *s, size_t n) noexcept nogil:
    """Designs A, B and D, for any code."""
    cdef Source row = s[0]
    cdef uint32_t bits, magnitude, magnitudes = (<uint32_t> 1 << row.sign_shift) - 1
    cdef carrier negative, value, small, special, infinity, fraction, quiet
    cdef int stored, sign
    cdef size_t i
    if carrier is uint32_t:
        stored, sign, infinity = 23, 31, 0x7F800000
    else:
        stored, sign, infinity = 52, 63, 0x7FF0000000000000ULL
    fraction = ((<carrier> 1) << stored) - 1
    quiet = ((<carrier> 1) << (stored - 1)) if row.quiet else 0
    for i in range(n):
        bits = source[i]
        magnitude = bits & magnitudes
        negative = (bits >> row.sign_shift) & 1
        value = ((<carrier> magnitude) << row.shift) + <carrier> row.rebias
        small = integer_bits(<int32_t> magnitude, <carrier> 0) + ((<carrier> row.unit) << stored)
        small = select[carrier](magnitude != 0, small, 0)
        value = select[carrier](magnitude < row.subnormal, small, value)
        special = infinity | (((<carrier> magnitude) << row.shift) & fraction)
        special = special | select[carrier](special > infinity, quiet, 0)
        value = select[carrier](magnitude > row.largest, special, value)
        target[i] = value | (negative << sign)


cdef inline void widen(const code *source, carrier *target, const Source *row, size_t n) noexcept nogil:
    cdef size_t at = 0, length
    while at < n:
        length = n - at if n - at < RUN else RUN
        if not ordinary(source + at, target + at, row, length):
            general(source + at, target + at, row, length)
        at += length


cdef inline void from_integer(
    const int8_t *signed_source, const uint8_t *source, carrier *target, size_t n
) noexcept nogil:
    cdef size_t i
    if signed_source != NULL:
        for i in range(n):
            target[i] = integer_bits(<int32_t> signed_source[i], <carrier> 0)
    else:
        for i in range(n):
            target[i] = integer_bits(<int32_t> source[i], <carrier> 0)


# The loops that exist: one for each width of code and carrier.

cdef loop widen_16_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    widen(<const uint16_t *> source, <uint32_t *> target, <const Source *> row, n)


cdef loop widen_16_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    widen(<const uint16_t *> source, <uint64_t *> target, <const Source *> row, n)


cdef loop widen_32_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    widen(<const uint32_t *> source, <uint32_t *> target, <const Source *> row, n)


cdef loop widen_32_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    widen(<const uint32_t *> source, <uint64_t *> target, <const Source *> row, n)


cdef loop int8_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const int8_t *> source, NULL, <uint32_t *> target, n)


cdef loop int8_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const int8_t *> source, NULL, <uint64_t *> target, n)


cdef loop uint8_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(NULL, <const uint8_t *> source, <uint32_t *> target, n)


cdef loop uint8_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(NULL, <const uint8_t *> source, <uint64_t *> target, n)


cdef class Widen(Stage):
    """Codes of 2 or 4 bytes to FP32 or FP64 bits (target_size 4 or 8), by the numbers of a Source row."""

    def __init__(self, int source_size, int target_size, **numbers):
        cdef dict row = self.numbers
        if source_size not in (2, 4) or target_size not in (4, 8):
            raise ValueError("codes of 2 or 4 bytes, carriers of 4 or 8")
        row.update(numbers)
        self.numbers = row
        self.row = &self.numbers
        self.source_size, self.target_size = source_size, target_size
        if target_size == 4:
            self.block = (
                <Block> widen_16_to_32 if source_size == 2 else <Block> widen_32_to_32
            )
        else:
            self.block = (
                <Block> widen_16_to_64 if source_size == 2 else <Block> widen_32_to_64
            )


cdef class FromInteger(Stage):
    """Bytes, signed or not, to FP32 or FP64 bits."""

    def __init__(self, int source_size, int target_size, bint signed):
        if source_size != 1 or target_size not in (4, 8):
            raise ValueError("integers of one byte")
        self.source_size, self.target_size = source_size, target_size
        if target_size == 4:
            self.block = <Block> int8_to_32 if signed else <Block> uint8_to_32
        else:
            self.block = <Block> int8_to_64 if signed else <Block> uint8_to_64
