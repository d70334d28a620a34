"""A floating point number proposes an integer, and tells how far it is from having to choose another.

# Design:
# (A) Adding 1.5 · 2^23 to a FP32 number below 2^22 (or 1.5 · 2^52 to a FP64 number) leaves the nearest integer in the
#     low bits of the sum; subtracting it again and comparing gives the distance, exactly.
# (B) Where that distance stays below one half by more than the error of the number, no boundary between two integers
#     lies near, and the proposal is right, whatever the FPU's rounding mode did to the sum: a mode that picks another
#     neighbour makes the distance exceed one half. What is left is for integers to decide.
# (C) Boundaries lie at half-integers for the nearest modes. The other modes round down (or up), which is to the
#     nearest of the number less (plus) one half; `toward_zero` and `to_odd` round down and then correct by sign and
#     parity.
# (D) Where the integers are no more than 256, fixed point is shorter: added to a number u, a FP32 `base` between whose
#     integral part and 256 the smallest of them lies gives a sum whose low fifteen bits are a fraction, and whose next
#     eight the integer below. A base that is too high by as much as the sum may be off makes every doubtful fraction a
#     small one. Bits of positive FP32 numbers are ordered as their values and those of negative ones lie below, so the
#     sum is clamped as an integer.
"""

from bitquant.kernels.machine cimport (
    bits_of_double, bits_of_float, carrier, double_of_bits, int32_t, int64_t, place, uint32_t, uint64_t,
)
from bitquant.kernels.rounding cimport (
    NEAREST_AWAY, NEAREST_EVEN, TO_ODD, TOWARD_NEGATIVE, TOWARD_POSITIVE, TOWARD_ZERO, Mode,
)

# Design D: what the smallest integer is in the sum, the bits of a fraction, and one.
cdef enum:
    FIXED = 256
    FIXED_BITS = 15
    FIXED_ONE = 1 << FIXED_BITS

ctypedef fused real:
    float
    double


cdef inline real smaller(real a, real b) noexcept nogil:
    """The smaller of two; NaN where b is NaN."""
    return a if a < b else b


cdef inline real larger(real a, real b) noexcept nogil:
    """The larger of two; NaN where b is NaN."""
    return a if a > b else b


cdef inline double nearly_scale(uint64_t numerator, uint64_t denominator, int32_t exponent) noexcept nogil:
    """numerator / denominator · 2^exponent, to within a unit in the last place; 0 outside of 2^±99.

    With such a scale no product of normal numbers that matters leaves the normal range of FP32.
    """
    cdef double scale = <double> numerator / <double> denominator
    cdef uint64_t range_of = 0
    if exponent > -400 and exponent < 400:
        scale = scale * double_of_bits(<uint64_t> (exponent + 1023) << 52)
        range_of = bits_of_double(scale) >> 52
    return scale if range_of >= 1023 - 99 and range_of <= 1023 + 99 else 0.0


cdef inline place propose(
    const Mode mode, real u, real least, real most, place offset, carrier *distance
) noexcept nogil:
    """The integer that u rounds to, plus offset; and the bits of its distance from u (less or plus a half, Design C).

    u is clamped to [least, most] first, which must lie within ±2^20 (FP64: what an int32 holds; with an offset of 64
    bits ±2^50). Only the low byte counts where a later step clamps nothing: `toward_zero` and `to_odd` may end one
    beyond.
    """
    cdef carrier magnitudes = ~(<carrier> 0) >> 1
    cdef real magic, shifted
    cdef place q
    magic = 12582912.0 if real is float else 6755399441055744.0
    if mode == TOWARD_POSITIVE:
        u = u + <real> 0.5
    elif mode != NEAREST_EVEN and mode != NEAREST_AWAY:
        u = u - <real> 0.5
    u = larger(least, smaller(most, u))
    shifted = u + magic
    if real is float:
        q = <place> <int32_t> bits_of_float(shifted) + (offset - 0x4B400000)
        distance[0] = bits_of_float(u - (shifted - magic)) & magnitudes
    else:
        if place is int32_t:
            q = <int32_t> bits_of_double(shifted) + offset
        else:
            q = <int64_t> bits_of_double(shifted) - 0x4338000000000000LL + offset
        distance[0] = <carrier> bits_of_double(u - (shifted - magic)) & magnitudes
    if mode == TOWARD_ZERO:
        q = q + <place> (q < 0)
    if mode == TO_ODD:
        q = q + (~q & 1)
    return q


cdef inline int32_t fixed(
    float u, float base, int32_t least, int32_t most, uint32_t *fraction, uint32_t *total
) noexcept nogil:
    """Design D: an integer whose low byte counts the integers from the smallest to the one below u + base.

    `least` and `most` are the bits of two sums with fractions that are in no doubt, in the smallest and the largest of
    the integers; `total` is the sum's before it is clamped, whose exponent is all ones where u is not finite.
    """
    cdef int32_t clamped
    total[0] = bits_of_float(u + base)
    clamped = <int32_t> total[0]
    clamped = clamped if clamped > least else least
    clamped = clamped if clamped < most else most
    fraction[0] = <uint32_t> clamped & (FIXED_ONE - 1)
    return <int32_t> (<uint32_t> clamped >> FIXED_BITS)
