"""C types and machine words: the one home of both."""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "clones.h" nogil:
    ctypedef void loop "BITQUANT_LOOP"
    uint32_t bits_of_float(float x) noexcept
    float float_of_bits(uint32_t bits) noexcept
    uint64_t bits_of_double(double x) noexcept
    double double_of_bits(uint64_t bits) noexcept
    int bit_length64(uint64_t x) noexcept
    bint rounds_to_nearest() noexcept
    void stream_block(char *to, const char *source, size_t count) noexcept
    void stream_end() noexcept

# A carrier is the word a value travels in between two stages: the bits of a FP32 or a FP64 number.
ctypedef fused carrier:
    uint32_t
    uint64_t

# The word a code is stored in.
ctypedef fused code:
    uint8_t
    uint16_t
    uint32_t
    uint64_t

# The word in which a significand is rounded.
ctypedef fused lane:
    uint32_t
    uint64_t

# A signed number as wide as a lane: exponents, and by how much to shift.
ctypedef fused place:
    int32_t
    int64_t


cdef inline lane select(lane condition, lane yes, lane no) noexcept nogil:
    """`yes if condition else no` for a condition of 0 or 1, without a branch, which would keep GCC from vectorising."""
    return no ^ ((yes ^ no) & (0 - condition))
