"""Unpacking: the significand of a FP32 or FP64 number, ready to be rounded.

A significand comes with one bit left of the point, the hidden bit, which a subnormal lacks, and with at least two
free bits above that for carries.

    FP32    s eeeeeeee fffffffffffffffffffffff
    1.23      0000000 1 fffffffffffffffffffffff      in a 32-bit lane

    FP64    s eeeeeeeeeee ffffffffffffffffffffffffffffffffffffffffffffffffffff
    1.29    00 1 fffffffffffffffffffffffffffff       in a 32-bit lane: the 23 bits that do not fit are folded into
                                                     a sticky last bit (Hauser's jam)
    1.61    00 1 ffff ... ffff 000000000             in a 64-bit lane; a subnormal is normalised here

`min` puts the hidden bit where it belongs: setting it makes a subnormal's pattern larger and a normal number's smaller.
"""

from bitquant.kernels.machine cimport bits_of_double, double_of_bits, int64_t, select, uint32_t, uint64_t


cdef inline uint32_t significand32(uint32_t magnitude) noexcept nogil:
    """FP32 to 1.23."""
    cdef uint32_t normal = (magnitude & 0x7FFFFF) | 0x800000
    return magnitude if magnitude < normal else normal


cdef inline uint64_t significand64(uint64_t magnitude) noexcept nogil:
    """FP64 to 1.52."""
    cdef uint64_t normal = (magnitude & 0xFFFFFFFFFFFFFULL) | 0x10000000000000ULL
    return magnitude if magnitude < normal else normal


cdef inline uint32_t significand64_jammed(uint64_t magnitude) noexcept nogil:
    """FP64 to 1.29."""
    cdef uint32_t sticky = (magnitude & 0x7FFFFF) != 0
    return <uint32_t> (significand64(magnitude) >> 23) | sticky


cdef inline uint64_t significand64_wide(uint64_t magnitude, int64_t *exponent) noexcept nogil:
    """FP64 to 1.61, with a hidden bit for all but zero; the exponent field goes on below 1 for subnormals.

    A subnormal's significand is the integer below the exponent 2^52 of a number whose difference to 2^52 is exact,
    and normalised: no rounding mode and no flush-to-zero touches it.
    """
    cdef uint64_t subnormal = magnitude < 0x10000000000000ULL, raised
    raised = bits_of_double(
        double_of_bits((magnitude & 0xFFFFFFFFFFFFFULL) | 0x4330000000000000ULL) - 4503599627370496.0
    ) & 0x7FFFFFFFFFFFFFFFULL
    raised = select[uint64_t](subnormal, raised, magnitude)
    exponent[0] = <int64_t> (raised >> 52) - (<int64_t> subnormal) * 1074
    return ((raised & 0xFFFFFFFFFFFFFULL) | ((<uint64_t> (magnitude != 0)) << 52)) << 9
