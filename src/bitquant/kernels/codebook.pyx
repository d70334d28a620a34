"""FP32, FP64 or integers of 64 bits to the codes of a codebook: any sorted list of values.

# Design:
# (A) Rounding to a sorted list is a staircase under every rounding mode. Where it goes from code k to k + 1 is
#     worked out beforehand, exactly, and written down as the smallest carrier number that gets k + 1. So the loop
#     knows no mode: the code is the number of thresholds that are not above the input.
# (B) The bits of a carrier, with a negative number's magnitude inverted, are integers in the order of the numbers.
#     −0 is one less than +0; a threshold at zero takes both. Integers are keys themselves, those without a sign with
#     the top bit flipped, and thresholds are integers then.
# (C) A few thresholds are compared with a whole run, four at a time: as many as take no longer than what follows. Of
#     more, a table says where in the list to begin, and the few thresholds that share an entry are searched by halves;
#     all numbers of a run in step. An entry is for keys that are alike but for their last bits: the magnitudes below
#     the largest threshold's, in steps of a power of two, down to one below which all share an entry. Which power
#     leaves the fewest thresholds in an entry depends on how they lie, and is found when the stage is made, and so is
#     how long the table has to be: a short one stays in the first-level cache. The list is filled up with the largest
#     integer; the largest code there is puts right whatever counts that too.
"""

cimport numpy as cnp
import numpy as np

from bitquant.kernels.machine cimport (
    carrier, int32_t, int64_t, loop, select, uint8_t, uint16_t, uint32_t, uint64_t,
)
from bitquant.kernels.stage cimport INEXACT, INVALID, OVERFLOW, RUN, Block, Stage, Tally

cnp.import_array()

cdef enum:
    FEW_32 = 31     # in lanes of 32 bits
    FEW_64 = 11

LENGTHS = 1 << 10, 1 << 12, 1 << 15     # of a table, for either sign

ctypedef fused key:
    int32_t
    int64_t

# A codebook together with the rules, as plain numbers.
cdef struct Book:
    const void *thresholds      # keys, ascending
    const uint16_t *begin       # for each entry, negative ones too, how many thresholds are below all its keys
    const void *levels          # the values' bits, one for each code; integers: and then 1 for each that is none
    bint counted                # flags are asked for
    int64_t first               # keys of the inputs at the ends, those beyond which overflow
    int64_t last_key
    uint64_t outside            # 1 where all inputs lie beyond the ends
    uint64_t flip               # makes a key of an integer
    int64_t least               # magnitudes of keys from which entries differ ...
    int64_t most                # ... and to which
    uint32_t down               # how many last bits of a key an entry leaves out
    uint32_t depth              # steps of the search among thresholds with the same entry
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
    cdef key begun, least = <key> book.least, most = <key> book.most, negative, place
    cdef int top = 8 * sizeof(key) - 1
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
            negative = keys[i] >> top
            place = keys[i] ^ negative
            place = place if place < most else most
            place = (place if place > least else least) - least
            codes[i] = (place >> <key> book.down) ^ negative
        if book.depth == 1:  # both in one loop
            for i in range(n):
                begun = book.begin[codes[i]]
                codes[i] = begun + <key> (keys[i] >= thresholds[begun])
        else:
            for i in range(n):
                codes[i] = book.begin[codes[i]]
        for k in range(book.depth if book.depth > 1 else 0):
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


def entries_of(keys, length, least, down):
    """Design C: the entry of each key, from −length to length − 1."""
    negative = keys >> 63
    return (np.clip(keys ^ negative, least, least + (length << down) - 1) - least >> down) ^ negative


def index_of(keys, bits):
    """Design C: the steps of the search, and of the table that leaves so few the length, `least` and `down`.

    `bits` are those of a magnitude. The shortest table is taken of those that leave the fewest steps; one shorter than
    the list is tried only where all are.
    """
    largest = int((keys ^ (keys >> 63)).max(initial=0))
    found = []
    for length in [length for length in LENGTHS if length >= len(keys)] or LENGTHS[-1:]:
        for down in range(bits + 1 - length.bit_length()):
            least = max((((largest >> down) + 1) << down) - (length << down), 0)
            first = np.flatnonzero(np.diff(entries_of(keys, length, least, down), prepend=-length - 1))
            shared = int(np.diff(first, append=len(keys)).max(initial=0))
            found.append((shared.bit_length(), length, least, down))
        if min(found)[0] <= 1:
            break
    return min(found)


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
        self.book.few = (last + 3) & ~3 if last <= (FEW_32 if size == 4 else FEW_64) else 0
        keys = thresholds.astype(np.int64)
        self.book.depth, length, least, down = (0, 0, 0, 0) if self.book.few else index_of(keys, 8 * size - 1)
        self.book.least, self.book.most, self.book.down = least, least + (length << down) - 1, down
        begin = np.searchsorted(entries_of(keys, length, least, down), np.arange(-length, length))
        self.begin = begin.astype(np.uint16)
        largest = np.iinfo(thresholds.dtype).max
        self.thresholds = np.append(thresholds, np.full((1 << self.book.depth) + 3, largest, thresholds.dtype))
        self.levels = levels
        self.book.begin = <const uint16_t *> cnp.PyArray_DATA(self.begin) + <Py_ssize_t> length
        self.book.thresholds, self.book.levels = cnp.PyArray_DATA(self.thresholds), cnp.PyArray_DATA(levels)
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
