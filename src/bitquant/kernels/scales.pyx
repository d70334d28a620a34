"""From ranges to scales: exact rationals for every channel.

# Design:
# (A) The ends of a range are FP64 numbers. A number is an odd integer times a power of two, so a difference of two is
#     one again; as long as it fits 63 bits the scale is numerator / denominator · 2^exponent with both in 63 bits.
#     Where it does not (1 and 2^-60 in one range), `wide` is set and the caller takes Python's integers.
# (B) The zero point is a rounded sum like any code (rational.pxd). A FP64 product proposes it, off by four units in its
#     last place at most, whatever the FPU's mode; where that leaves a doubt, or it is large, integers decide.
"""

cimport numpy as cnp

from bitquant.kernels.arrays cimport entries, written
from bitquant.kernels.fields cimport significand64
from bitquant.kernels.machine cimport bit_length64, double_of_bits, int32_t, int64_t, uint8_t, uint64_t
from bitquant.kernels.propose cimport nearly_scale, propose
from bitquant.kernels.rational cimport rounded_sum
from bitquant.kernels.rounding cimport NEAREST_EVEN

cnp.import_array()

cdef enum:
    SMALLEST = -1074                # the exponent of the smallest subnormal number
    LARGE = 1 << 20                 # a zero point that is not proposed

cdef uint64_t SURE = 0x3FDFFFF000000000ULL  # the bits of 0.5 − 2^-18: a proposal so far from its number is in no doubt


# ± significand · 2^exponent; the significand is odd, or 0 with the exponent 0.
cdef struct Number:
    bint negative
    uint64_t significand
    int32_t exponent


cdef inline Number number(int64_t bits) noexcept nogil:
    cdef Number n
    cdef uint64_t magnitude = <uint64_t> bits & 0x7FFFFFFFFFFFFFFFULL
    cdef int32_t field = <int32_t> (magnitude >> 52), low
    n.negative = bits < 0
    n.significand = significand64(magnitude)
    n.exponent = 0
    if n.significand:
        low = bit_length64(n.significand & (0 - n.significand)) - 1
        n.significand >>= low
        n.exponent = (field if field else 1) - 1 + SMALLEST + low
    return n


cdef inline uint64_t distance(const Number *low, const Number *high, int32_t *exponent) noexcept nogil:
    """high − low as an integer times 2^exponent; 0 where that does not fit 63 bits. Requires low < high."""
    cdef int32_t lower = low.exponent if low.significand else high.exponent
    cdef int32_t upper = high.exponent if high.significand else low.exponent
    cdef int32_t least = lower if lower < upper else upper
    cdef int64_t a, b
    if (
        bit_length64(low.significand) + lower - least > 61 or bit_length64(high.significand) + upper - least > 61
    ):
        return 0
    a = <int64_t> (low.significand << (lower - least))
    b = <int64_t> (high.significand << (upper - least))
    exponent[0] = least
    return <uint64_t> ((-b if high.negative else b) - (-a if low.negative else a))


cdef struct Line:
    uint64_t *numerator
    uint64_t *denominator
    int32_t *exponent


cdef int line_of(dict numbers, Py_ssize_t channels, Line *line) except -1:
    line.numerator = <uint64_t *> written(numbers["numerator"], cnp.NPY_UINT64, channels)
    line.denominator = <uint64_t *> written(numbers["denominator"], cnp.NPY_UINT64, channels)
    line.exponent = <int32_t *> written(numbers["exponent"], cnp.NPY_INT32, channels)
    return 0


cdef inline int64_t place(int64_t bits) noexcept nogil:
    """Numbers in their order; −0 and +0 share one place. Its own inverse, but for −0."""
    return <int64_t> (0x8000000000000000ULL - <uint64_t> bits) if bits < 0 else bits


def of_ranges(
    cnp.ndarray low not None, cnp.ndarray high not None, bint symmetric, int least, int most, bint include_zero,
    dict numbers not None, cnp.ndarray wide not None
):
    """Fill the scales of ranges of finite FP64 numbers, and widen the ranges in place to what is mapped.

    (most − least) / (high − low), or most / max(|low|, |high|) where symmetric; 1 for a range of zeros. `wide` (uint8)
    is set where Design A wants it. Returns the first channel whose range is empty, low > high, or −1.
    """
    cdef Py_ssize_t c, channels = cnp.PyArray_SIZE(low), empty = -1
    cdef int64_t *lows = <int64_t *> written(low, cnp.NPY_FLOAT64, channels)
    cdef int64_t *highs = <int64_t *> written(high, cnp.NPY_FLOAT64, channels)
    cdef uint8_t *flags = <uint8_t *> written(wide, cnp.NPY_UINT8, channels)
    cdef int64_t lower, upper
    cdef Line line
    cdef Number below, above
    cdef uint64_t span
    cdef int32_t unit
    line_of(numbers, channels, &line)
    with nogil:
        for c in range(channels):
            lower, upper = place(lows[c]), place(highs[c])
            if lower > upper and empty < 0:
                empty = c
            if symmetric:
                upper = -lower if -lower > upper else upper
                lower = -upper
            elif include_zero or lower == upper:
                lower, upper = lower if lower < 0 else 0, upper if upper > 0 else 0
            lows[c], highs[c] = place(lower), place(upper)
            flags[c] = 0
            if lower >= upper:
                line.numerator[c], line.denominator[c], line.exponent[c] = 1, 1, 0
            elif symmetric:
                above = number(upper)
                line.numerator[c], line.denominator[c], line.exponent[c] = most, above.significand, -above.exponent
            else:
                below, above, unit = number(place(lower)), number(place(upper)), 0
                span = distance(&below, &above, &unit)
                flags[c] = span == 0
                line.numerator[c], line.denominator[c], line.exponent[c] = most - least, span if span else 1, -unit
    return empty


cdef inline int64_t zero_point(int64_t low, const Line *line, Py_ssize_t c) noexcept nogil:
    """Design B: round(−low · scale)."""
    cdef double scale = nearly_scale(line.numerator[c], line.denominator[c], line.exponent[c])
    cdef uint64_t away
    cdef double steps = -double_of_bits(<uint64_t> low) * scale
    cdef int64_t found = propose(NEAREST_EVEN, steps, -LARGE, LARGE, <int64_t> 0, &away)
    cdef Number below
    if away < SURE and scale != 0 and -LARGE < found and found < LARGE:
        return found
    below = number(low)
    return rounded_sum(
        NEAREST_EVEN, not below.negative, below.significand, below.exponent + line.exponent[c], line.numerator[c],
        line.denominator[c], 0,
    )


def zero_points(
    cnp.ndarray low not None, cnp.ndarray high not None, int least, dict numbers not None, cnp.ndarray found not None
):
    """Fill round(−low · scale) + least (int64), beyond ±2^40 with any number of that sign; 0 for a range of zeros."""
    cdef Py_ssize_t c, channels = cnp.PyArray_SIZE(low)
    cdef const int64_t *lows = <const int64_t *> entries(low, cnp.NPY_FLOAT64, channels)
    cdef const int64_t *highs = <const int64_t *> entries(high, cnp.NPY_FLOAT64, channels)
    cdef int64_t *out = <int64_t *> written(found, cnp.NPY_INT64, channels)
    cdef Line line
    line_of(numbers, channels, &line)
    with nogil:
        for c in range(channels):
            out[c] = 0 if place(lows[c]) == place(highs[c]) else least + zero_point(lows[c], &line, c)


def of_numbers(cnp.ndarray given not None, bint inverse, dict numbers not None):
    """Fill scales with positive FP64 numbers, or with their inverses. Returns the first that is not positive, or −1."""
    cdef Py_ssize_t c, channels = cnp.PyArray_SIZE(given), wrong = -1
    cdef const int64_t *bits = <const int64_t *> entries(given, cnp.NPY_FLOAT64, channels)
    cdef Line line
    cdef Number amount
    line_of(numbers, channels, &line)
    with nogil:
        for c in range(channels):
            if bits[c] <= 0 and wrong < 0:
                wrong = c
            amount = number(bits[c])
            line.numerator[c] = 1 if inverse else amount.significand
            line.denominator[c] = amount.significand if inverse else 1
            line.exponent[c] = -amount.exponent if inverse else amount.exponent
    return wrong
