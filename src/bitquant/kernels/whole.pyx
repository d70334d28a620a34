"""Integers of 64 bits: to FP64, which does not hold them all, and to other integers.

# Design:
# (A) The magnitude is moved up until its leading one is the lane's second bit from the top, in six steps of a halving
#     search; then one place rounds it to 53 bits, as everywhere. With `to_odd` that is a step before another rounding:
#     53 bits, the last one sticky, then round once more to at most 51 as the integer itself would (Boldo and Melquiond,
#     2008).
# (B) From integer to integer the low bits are all there is to do; a comparison tells what is out of range.
"""

from bitquant.kernels.machine cimport int32_t, int64_t, loop, select, uint8_t, uint32_t, uint64_t
from bitquant.kernels.philox cimport COUNTERS, words_of
from bitquant.kernels.rounding cimport (
    NEAREST_AWAY, NEAREST_EVEN, STOCHASTIC, TO_ODD, TOWARD_NEGATIVE, TOWARD_POSITIVE, TOWARD_ZERO, Chance, Mode,
    round_by_chance, round_off,
)
from bitquant.kernels.stage cimport INEXACT, INVALID, RUN, Block, Stage, Tally

cdef struct Whole:
    int mode
    Chance chance               # of mode STOCHASTIC
    bint signed
    uint64_t refuse_inexact     # 1 where an integer that FP64 does not hold is refused

# The range of an integer target; 64-bit words are compared as signed where the source is.
cdef struct Ends:
    bint signed
    uint64_t low
    uint64_t high
    bint wrap                   # out of range: the low bits instead of ...
    uint64_t beyond[2]          # ... the code given above and below the range
    uint64_t code_mask
    uint64_t refuse_range       # 1 where a number out of range is refused


cdef inline void to_double(
    const Mode mode, const uint64_t *source, uint64_t *target, uint8_t *mask, const Whole *w, const uint32_t *words,
    Tally *tally, size_t n
) noexcept nogil:
    cdef Whole row = w[0]
    cdef uint64_t negative, magnitude, kept, inexact, all_inexact = 0, high, is_signed = row.signed, random = 0
    cdef uint64_t exponent, step
    cdef size_t i
    cdef int k
    for i in range(n):
        negative = (source[i] >> 63) & is_signed
        magnitude = (source[i] ^ (0 - negative)) + negative
        exponent = 1023 + 63
        for k in range(6):
            step = (<uint64_t> 32) >> k
            high = magnitude < ((<uint64_t> 1) << (64 - step))
            magnitude = magnitude << (step * high)
            exponent -= step * high
        inexact = (magnitude & 0x7FF) != 0
        if mode == STOCHASTIC:
            random = words[i]
            kept = round_by_chance(magnitude, 11, random, &row.chance)
        else:  # which needs room above: two bits fall off at the bottom and stay as a sticky one
            magnitude = (magnitude >> 2) | <uint64_t> ((magnitude & 3) != 0)
            kept = round_off(mode, magnitude, <uint64_t> 9, negative, <uint64_t> 0)
        kept = ((exponent - 1) << 52) + kept
        target[i] = select[uint64_t](source[i] != 0, kept | (negative << 63), 0)
        mask[i] = <uint8_t> (inexact * INEXACT)
        all_inexact += inexact
    tally.inexact += all_inexact
    tally.ranges += all_inexact * row.refuse_inexact


cdef inline void in_runs(
    const Mode mode, const uint64_t *source, uint64_t *target, uint8_t *mask, const Whole *row, Tally *tally, size_t n
) noexcept nogil:
    cdef uint32_t made[4 * COUNTERS]
    cdef const uint32_t *words = NULL
    cdef size_t at = 0, length
    while at < n:
        length = n - at if n - at < RUN else RUN
        if mode == STOCHASTIC:
            words = words_of(tally, made, at, length, &row.chance)
        to_double(mode, source + at, target + at, mask + at, row, words, tally, length)
        at += length


cdef loop from_whole(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    cdef const uint64_t *integers = <const uint64_t *> source
    cdef uint64_t *doubles = <uint64_t *> target
    cdef const Whole *w = <const Whole *> row
    if w.mode == NEAREST_EVEN:
        in_runs(NEAREST_EVEN, integers, doubles, mask, w, tally, n)
    elif w.mode == NEAREST_AWAY:
        in_runs(NEAREST_AWAY, integers, doubles, mask, w, tally, n)
    elif w.mode == TOWARD_ZERO:
        in_runs(TOWARD_ZERO, integers, doubles, mask, w, tally, n)
    elif w.mode == TOWARD_POSITIVE:
        in_runs(TOWARD_POSITIVE, integers, doubles, mask, w, tally, n)
    elif w.mode == TOWARD_NEGATIVE:
        in_runs(TOWARD_NEGATIVE, integers, doubles, mask, w, tally, n)
    elif w.mode == TO_ODD:
        in_runs(TO_ODD, integers, doubles, mask, w, tally, n)
    else:
        in_runs(STOCHASTIC, integers, doubles, mask, w, tally, n)


cdef loop resize(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    """Design B."""
    cdef Ends ends = (<const Ends *> row)[0]
    cdef const uint64_t *integers = <const uint64_t *> source
    cdef uint64_t *codes = <uint64_t *> target
    cdef uint64_t flip = (<uint64_t> ends.signed) << 63, low = ends.low ^ flip, high = ends.high ^ flip, place
    cdef uint64_t above, below, over, ranges = 0, wrap = ends.wrap
    cdef size_t i
    for i in range(n):
        place = integers[i] ^ flip
        above = place > high
        below = place < low
        over = above | below
        codes[i] = select[uint64_t](
            over & (wrap ^ 1), select[uint64_t](above, ends.beyond[0], ends.beyond[1]), integers[i] & ends.code_mask
        )
        mask[i] = <uint8_t> (over * INVALID)
        ranges += over
    tally.invalid += ranges
    tally.ranges += ranges * ends.refuse_range


cdef class FromWhole(Stage):
    """Integers of 8 bytes to FP64 bits, rounded by the numbers of a Whole row."""

    cdef Whole whole

    def __init__(self, **numbers):
        cdef dict row = self.whole
        row.update(numbers)
        self.whole = row
        self.row = &self.whole
        self.source_size = self.target_size = 8
        self.block = <Block> from_whole


cdef class Resize(Stage):
    """Integers of 8 bytes to integer codes in words of 8 bytes, by the numbers of an Ends row."""

    cdef Ends ends

    def __init__(self, **numbers):
        cdef dict row = self.ends
        row.update(numbers)
        self.ends = row
        self.row = &self.ends
        self.source_size = self.target_size = 8
        self.block = <Block> resize
