"""FP32, FP64 or integers of 64 bits to the codes of a codebook: any sorted list of values.

# Design:
# (A) Rounding to a sorted list is a staircase under every rounding mode. Where it goes from code k to k + 1 is
#     worked out beforehand, exactly, and written down as the smallest carrier number that gets k + 1. So the loop
#     knows no mode: the code is the number of thresholds that are not above the input.
# (B) The bits of a carrier, with a negative number's magnitude inverted, are integers in the order of the numbers.
#     −0 is one less than +0; a threshold at zero takes both. Integers are keys themselves, those without a sign with
#     the top bit flipped, and thresholds are integers then.
# (C) Up to 31 thresholds are compared with a whole run, four at a time. Of more, the first 16 bits of an input's key
#     choose where to begin in the list, and the few thresholds that share them are searched by halves; all numbers
#     of a run in step. The list is filled up with the largest integer; the largest code there is puts right whatever
#     counts that too.
"""

cimport numpy as cnp
import numpy as np

from bitquant.kernels.machine cimport (
    carrier, int32_t, int64_t, loop, select, uint8_t, uint16_t, uint32_t, uint64_t,
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
    const void *thresholds      # keys, ascending
    const uint16_t *begin       # for the first 16 bits of a key, how many thresholds are below all such keys
    const void *levels          # the values' bits, one for each code; integers: and then 1 for each that is none
    bint counted                # flags are asked for
    int64_t first               # keys of the inputs at the ends, those beyond which overflow
    int64_t last_key
    uint64_t outside            # 1 where all inputs lie beyond the ends
    uint64_t flip               # makes a key of an integer
    uint32_t depth              # steps of the search among thresholds with the same 16 bits
    uint32_t few                # a multiple of 4 that takes in all thresholds, where they are few; else 0
    uint32_t last               # largest code
    uint32_t nan                # code given for NaN
    uint64_t refuse_nan         # 1 where NaN is refused
    uint64_t refuse_overflow    # 1 where a number beyond the ends is refused
    uint64_t flush_input        # source magnitudes below this one become zero


cdef inline void count_thresholds(const key *keys, uint32_t *target, const Book *book, size_t n) noexcept nogil:
    """Design C."""
    cdef key codes[RUN]
    cdef const key *thresholds = <const key *> book.thresholds
    cdef key step, a, b, c, d, last = book.last
    cdef int down = 8 * sizeof(key) - 16
    cdef uint32_t k
    cdef size_t i
    if book.few:
        for i in range(n):
            codes[i] = 0
        for k in range(0, book.few, 4):
            a, b, c, d = thresholds[k], thresholds[k + 1], thresholds[k + 2], thresholds[k + 3]
            for i in range(n):
                codes[i] += (
                    <key> (keys[i] >= a) + <key> (keys[i] >= b) + <key> (keys[i] >= c) + <key> (keys[i] >= d)
                )
    else:
        for i in range(n):
            codes[i] = book.begin[(keys[i] >> down) + 32768]
        for k in range(book.depth):
            step = (<key> 1) << (book.depth - 1 - k)
            for i in range(n):
                codes[i] += step & (0 - <key> (keys[i] >= thresholds[codes[i] + step - 1]))
    for i in range(n):  # a NaN may count what fills the list up, too
        target[i] = <uint32_t> (codes[i] if codes[i] < last else last)


cdef inline void to_codebook(
    const bint whole, const carrier *source, uint32_t *target, uint8_t *mask, const Book *b, Tally *tally, size_t n,
    key zero
) noexcept nogil:
    """`whole` is a literal: the source is integers."""
    cdef Book book = b[0]
    cdef key keys[RUN]
    cdef const carrier *levels = <const carrier *> book.levels
    cdef carrier infinity, bits, magnitude, level, is_nan, beyond, inexact, flags, nans = 0
    cdef carrier top = 8 * sizeof(carrier) - 1
    cdef carrier magnitudes = ((<carrier> 1) << top) - 1, ranges = 0, most = 0
    cdef key first = <key> book.first, last = <key> book.last_key
    cdef size_t at = 0, length, i
    infinity = 0x7F800000 if carrier is uint32_t else <carrier> 0x7FF0000000000000ULL
    while at < n:
        length = n - at if n - at < RUN else RUN
        for i in range(length):
            bits = source[at + i]
            if whole:
                keys[i] = <key> (bits ^ <carrier> book.flip)
            else:
                magnitude = bits & magnitudes
                most = most if most > magnitude else magnitude
                keys[i] = key_of(select[carrier](magnitude < <carrier> book.flush_input, 0, bits), zero)
        count_thresholds(keys, target + at, &book, length)
        if book.counted:
            for i in range(length):
                bits = source[at + i]
                level = levels[target[at + i]]
                if whole:
                    is_nan = 0
                    inexact = <carrier> (bits != level) | levels[<size_t> book.last + 1 + target[at + i]]
                else:
                    bits = select[carrier]((bits & magnitudes) < <carrier> book.flush_input, 0, bits)
                    is_nan = (bits & magnitudes) > infinity
                    inexact = <carrier> (bits != level) & <carrier> (((bits | level) & magnitudes) != 0)
                beyond = <carrier> (keys[i] < first) | <carrier> (keys[i] > last) | <carrier> book.outside
                beyond = beyond & inexact & (is_nan ^ 1)
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


cdef loop codebook_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    to_codebook(False, <const uint32_t *> source, <uint32_t *> target, mask, <const Book *> row, tally, n, <int32_t> 0)


cdef loop codebook_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    to_codebook(False, <const uint64_t *> source, <uint32_t *> target, mask, <const Book *> row, tally, n, <int64_t> 0)


cdef loop codebook_of_integers(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    to_codebook(True, <const uint64_t *> source, <uint32_t *> target, mask, <const Book *> row, tally, n, <int64_t> 0)


cdef class ToCodebook(Stage):
    """FP32 or FP64 bits, or integers of 8 bytes, to codes in words of 4 bytes.

    `thresholds` are int32 or int64 keys (Design B), one for each code but the first; `levels` are the values' bits as
    uint32 or uint64. Among integers, `levels` are the values as such, and after all of them 1 for each that is none.
    """

    cdef Book book
    cdef cnp.ndarray thresholds
    cdef cnp.ndarray levels
    cdef cnp.ndarray begin

    def __init__(
        self, cnp.ndarray thresholds not None, cnp.ndarray levels not None, bint whole, bint counted, **numbers
    ):
        cdef Py_ssize_t last = cnp.PyArray_SIZE(levels) // (2 if whole else 1) - 1
        cdef int size = <int> cnp.PyArray_ITEMSIZE(levels)
        if (
            size not in (4, 8) or (whole and size == 4) or thresholds.dtype != f"i{size}" or levels.dtype != f"u{size}"
            or not 0 <= last == cnp.PyArray_SIZE(thresholds) < 1 << 16 or not cnp.PyArray_IS_C_CONTIGUOUS(levels)
        ):
            raise ValueError("a threshold for each level but the first, of the same 4 or 8 bytes")
        # The keys that begin with the same 16 bits lie from one of these edges to before the next.
        edges = np.arange(-32768, 32768, dtype=np.int64) << (8 * size - 16)
        begin = np.searchsorted(thresholds, edges)
        shared = int(np.diff(begin, append=last).max())
        self.begin = begin.astype(np.uint16)
        self.book.depth = shared.bit_length()
        most = np.iinfo(thresholds.dtype).max
        self.thresholds = np.append(thresholds, np.full((1 << shared.bit_length()) + 3, most, thresholds.dtype))
        self.levels = levels
        self.book.begin = <const uint16_t *> cnp.PyArray_DATA(self.begin)
        self.book.thresholds, self.book.levels = cnp.PyArray_DATA(self.thresholds), cnp.PyArray_DATA(levels)
        self.book.few = (last + 3) & ~3 if last <= FEW else 0
        self.book.last = last
        self.book.counted = counted
        self.book.nan, self.book.flush_input = numbers["nan"], numbers["flush_input"]
        self.book.refuse_nan, self.book.refuse_overflow = numbers["refuse_nan"], numbers["refuse_overflow"]
        self.book.first, self.book.last_key = numbers["first"], numbers["last"]
        self.book.outside, self.book.flip = numbers["outside"], numbers["flip"]
        self.row = &self.book
        self.source_size, self.target_size = size, 4
        self.block = (
            <Block> codebook_32 if size == 4 else <Block> codebook_of_integers if whole else <Block> codebook_64
        )
