"""FP32 or FP64 to the codes of a codebook: any sorted list of values.

# Design:
# (A) Rounding to a sorted list is a staircase under every rounding mode. Where it goes from code k to k + 1 is worked out
#     beforehand, exactly, and written down as the smallest carrier number that gets k + 1. So the loop knows no mode:
#     the code is the number of thresholds that are not above the input.
# (B) The bits of a carrier, with a negative number's magnitude inverted, are integers in the order of the numbers.
#     −0 is one less than +0; a threshold at zero takes both.
# (C) Up to 31 thresholds are compared one after the other, each with a whole run; more are searched by halves, all
#     numbers of a run in step. The list is filled up to 2^depth − 1 with the largest integer.
"""

cimport numpy as cnp

from bitquant.kernels.machine cimport (
    carrier, int32_t, int64_t, loop, select, uint8_t, uint32_t, uint64_t,
)
from bitquant.kernels.stage cimport INEXACT, INVALID, OVERFLOW, RUN, Block, Stage, Tally

cnp.import_array()

cdef enum:
    FEW = 31

ctypedef fused key:
    int32_t
    int64_t

# A codebook together with the rules, as plain numbers.
cdef struct Book:
    const void *thresholds      # 2^depth − 1 keys, ascending
    const void *levels          # carrier bits of the values, one for each code
    uint32_t depth
    uint32_t few                # how many thresholds there are, where they are few; else 0
    uint32_t last               # largest code
    uint32_t nan                # code given for NaN
    uint64_t refuse_nan         # 1 where NaN is refused
    uint64_t refuse_overflow    # 1 where a number beyond the ends is refused
    uint64_t flush_input        # source magnitudes below this one become zero


cdef inline void count_thresholds(
    const key *keys, uint32_t *target, const key *thresholds, uint32_t few, uint32_t depth, uint32_t last, size_t n
) noexcept nogil:
    """Design C."""
    cdef key codes[RUN]
    cdef key step, threshold
    cdef uint32_t k
    cdef size_t i
    for i in range(n):
        codes[i] = 0
    if few:
        for k in range(few):
            threshold = thresholds[k]
            for i in range(n):
                codes[i] += <key> (keys[i] >= threshold)
    else:
        for k in range(depth):
            step = (<key> 1) << (depth - 1 - k)
            for i in range(n):
                codes[i] += step & (0 - <key> (keys[i] >= thresholds[codes[i] + step - 1]))
    for i in range(n):  # a NaN may count what fills the list up, too
        target[i] = <uint32_t> (codes[i] if codes[i] < <key> last else <key> last)


cdef inline void to_codebook(
    const bint counted, const carrier *source, uint32_t *target, uint8_t *mask, const Book *b, Tally *tally, size_t n,
    key zero
) noexcept nogil:
    cdef Book book = b[0]
    cdef key keys[RUN]
    cdef const carrier *levels = <const carrier *> book.levels
    cdef carrier infinity, bits, magnitude, level, is_nan, beyond, inexact, flags, nans = 0, top = 8 * sizeof(carrier) - 1
    cdef carrier magnitudes = ((<carrier> 1) << top) - 1, ranges = 0, most = 0
    cdef key first, last
    cdef size_t at = 0, length, i
    infinity = 0x7F800000 if carrier is uint32_t else <carrier> 0x7FF0000000000000ULL
    first, last = key_of(levels[0], zero), key_of(levels[book.last], zero)
    while at < n:
        length = n - at if n - at < RUN else RUN
        for i in range(length):
            bits = source[at + i]
            magnitude = bits & magnitudes
            most = most if most > magnitude else magnitude
            keys[i] = key_of(select[carrier](magnitude < <carrier> book.flush_input, 0, bits), zero)
        count_thresholds(keys, target + at, <const key *> book.thresholds, book.few, book.depth, book.last, length)
        if counted:
            for i in range(length):
                bits = source[at + i]
                bits = select[carrier]((bits & magnitudes) < <carrier> book.flush_input, 0, bits)
                level = levels[target[at + i]]
                is_nan = (bits & magnitudes) > infinity
                inexact = <carrier> (bits != level) & <carrier> (((bits | level) & magnitudes) != 0)
                beyond = (<carrier> (keys[i] < first) | <carrier> (keys[i] > last)) & inexact & (is_nan ^ 1)
                flags = (beyond * OVERFLOW) | (inexact * INEXACT)
                mask[at + i] = <uint8_t> select[carrier](is_nan, INVALID, flags)
                tally.invalid += is_nan
                tally.overflow += beyond
                tally.inexact += inexact & (is_nan ^ 1)
                ranges += beyond
        at += length
    if most > infinity:
        for i in range(n):
            is_nan = (source[i] & magnitudes) > infinity
            nans += is_nan
            target[i] = select[uint32_t](<uint32_t> is_nan, book.nan, target[i])
    tally.nans += nans * book.refuse_nan
    tally.ranges += ranges * book.refuse_overflow


cdef inline key key_of(carrier bits, key zero) noexcept nogil:
    """Design B."""
    cdef int top = 8 * sizeof(carrier) - 1
    return <key> (bits ^ ((0 - (bits >> top)) >> 1))


cdef loop plain_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    to_codebook(False, <const uint32_t *> source, <uint32_t *> target, mask, <const Book *> row, tally, n, <int32_t> 0)


cdef loop plain_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    to_codebook(False, <const uint64_t *> source, <uint32_t *> target, mask, <const Book *> row, tally, n, <int64_t> 0)


cdef loop counted_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    to_codebook(True, <const uint32_t *> source, <uint32_t *> target, mask, <const Book *> row, tally, n, <int32_t> 0)


cdef loop counted_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    to_codebook(True, <const uint64_t *> source, <uint32_t *> target, mask, <const Book *> row, tally, n, <int64_t> 0)


cdef class ToCodebook(Stage):
    """FP32 or FP64 bits to codes in words of 4 bytes.

    `thresholds` are int32 or int64 keys (Design B), 2^depth − 1 of them; `levels` the values' bits as uint32 or uint64.
    """

    cdef Book book
    cdef cnp.ndarray thresholds
    cdef cnp.ndarray levels

    def __init__(self, cnp.ndarray thresholds not None, cnp.ndarray levels not None, bint counted, **numbers):
        cdef dict row
        cdef Py_ssize_t count = cnp.PyArray_SIZE(thresholds), last = cnp.PyArray_SIZE(levels) - 1
        cdef int size = <int> cnp.PyArray_ITEMSIZE(levels)
        if (
            size not in (4, 8) or cnp.PyArray_ITEMSIZE(thresholds) != size or count & (count + 1) or not count >= last >= 1
            or not (cnp.PyArray_IS_C_CONTIGUOUS(thresholds) and cnp.PyArray_IS_C_CONTIGUOUS(levels))
        ):
            raise ValueError("2^depth − 1 thresholds, of the same 4 or 8 bytes as the levels")
        self.thresholds, self.levels = thresholds, levels
        self.book.thresholds, self.book.levels = cnp.PyArray_DATA(thresholds), cnp.PyArray_DATA(levels)
        self.book.depth = count.bit_length()
        self.book.few = last if last <= FEW else 0
        self.book.last = last
        self.book.nan = numbers["nan"]
        self.book.refuse_nan, self.book.refuse_overflow = numbers["refuse_nan"], numbers["refuse_overflow"]
        self.book.flush_input = numbers["flush_input"]
        self.row = &self.book
        self.source_size, self.target_size = size, 4
        if counted:
            self.block = <Block> counted_32 if size == 4 else <Block> counted_64
        else:
            self.block = <Block> plain_32 if size == 4 else <Block> plain_64
