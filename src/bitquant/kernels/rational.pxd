"""Exact quotients: 128-bit integers for the numbers on which a floating point estimate cannot decide."""

from bitquant.kernels.machine cimport bit_length64, int32_t, int64_t, uint64_t
from bitquant.kernels.rounding cimport NEAREST_AWAY, NEAREST_EVEN, TO_ODD, TOWARD_POSITIVE, TOWARD_ZERO, Mode

cdef extern from *:
    ctypedef unsigned long long wide "unsigned __int128"


cdef inline int32_t bit_length(wide n) noexcept nogil:
    cdef uint64_t high = <uint64_t> (n >> 64)
    return 64 + bit_length64(high) if high else bit_length64(<uint64_t> n)


cdef inline bint goes_up(const Mode mode, int64_t floor, wide remainder, wide divisor) noexcept nogil:
    """Whether floor + remainder/divisor rounds to floor + 1. Requires 0 ≤ remainder < divisor < 2^127."""
    cdef bint tie = remainder + remainder == divisor, above = remainder + remainder > divisor
    if mode == NEAREST_EVEN:
        return above or (tie and floor & 1)
    if mode == NEAREST_AWAY:
        return above or (tie and floor >= 0)
    if remainder == 0:
        return False
    if mode == TOWARD_ZERO:
        return floor < 0
    if mode == TO_ODD:
        return not floor & 1
    return mode == TOWARD_POSITIVE


cdef inline int64_t rounded_sum(
    const Mode mode, bint negative, uint64_t significand, int32_t exponent, uint64_t numerator, uint64_t denominator,
    int64_t offset
) noexcept nogil:
    """± significand · 2^exponent · numerator / denominator + offset, rounded once.

    Requires numerator, denominator < 2^63, significand < 2^53. A result beyond ±2^40 is given as ±2^40 or so.
    """
    cdef wide product = <wide> significand * numerator, divisor = denominator, quotient, remainder
    cdef int64_t floor
    if product == 0:
        return offset
    # 1  Both sides to one power of two. What does not fit 127 bits is far out, or closer to zero than any tie.
    if exponent >= 0:
        if bit_length(product) + exponent > 126:
            return offset - ((<int64_t> 1) << 40) if negative else offset + ((<int64_t> 1) << 40)
        product <<= exponent
    elif bit_length(divisor) - exponent > 126:
        divisor = (<wide> 1) << 126
        product = 1
    else:
        divisor <<= -exponent
    # 2  Divide.
    quotient = product // divisor
    remainder = product % divisor
    if quotient >> 40:
        return offset - ((<int64_t> 1) << 40) if negative else offset + ((<int64_t> 1) << 40)
    # 3  As a floor and a remainder, so that the sum's own parity and sign decide.
    if negative:
        floor = offset - <int64_t> quotient - (1 if remainder else 0)
        remainder = divisor - remainder if remainder else 0
    else:
        floor = offset + <int64_t> quotient
    return floor + goes_up(mode, floor, remainder, divisor)
