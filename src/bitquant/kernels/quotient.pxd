"""The quotient of two FP64 numbers with 53 bits whose last one is sticky: 128-bit integers, round to odd.

Any rounding to 51 bits or fewer that follows is then one rounding of the exact quotient (Boldo and Melquiond, 2008).
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

from bitquant.kernels.fields cimport significand64
from bitquant.kernels.machine cimport bits_of_double

cdef extern from *:
    ctypedef unsigned long long wide "unsigned __int128"


cdef inline int32_t leading_zeros(uint64_t significand) noexcept nogil:
    """How far a significand of at most 53 bits, not zero, moves up to have them all."""
    return 1075 - <int32_t> (bits_of_double(<double> <int64_t> significand) >> 52)


cdef inline uint64_t divide_exactly(uint64_t bits, uint64_t step) noexcept nogil:
    """The bits of a FP64 number by those of a finite one; what lies far outside is brought to 2^±400."""
    cdef uint64_t minus = 0x8000000000000000ULL, sign = (bits ^ step) & minus, magnitude = bits & ~minus
    cdef uint64_t high, low, quotient
    cdef int32_t exponent, up
    cdef wide dividend
    if magnitude == 0 or magnitude >= 0x7FF0000000000000ULL:
        return sign | magnitude
    step &= ~minus
    high, low = significand64(magnitude), significand64(step)
    # 1  Both significands get 53 bits.
    up = leading_zeros(high)
    exponent = <int32_t> max(magnitude >> 52, <uint64_t> 1) - up
    high <<= up
    up = leading_zeros(low)
    exponent -= <int32_t> max(step >> 52, <uint64_t> 1) - up
    low <<= up
    # 2  A quotient of 54 or 55 bits, then of 53, the last one sticky.
    dividend = (<wide> high) << 54
    quotient = <uint64_t> (dividend // low)
    up = 2 if quotient >> 54 else 1
    quotient = (quotient >> up) | (quotient & ((<uint64_t> 1 << up) - 1) != 0) | (dividend % low != 0)
    exponent += up - 2
    if exponent > 400 or exponent < -400:
        return sign | (<uint64_t> (1423 if exponent > 0 else 623) << 52)
    return sign | ((quotient & 0xFFFFFFFFFFFFFULL) + (<uint64_t> (exponent + 1023) << 52))
