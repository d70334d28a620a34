"""Integers of 64 bits: to FP64, which does not hold them all, to any floating format, and to other integers.

# Design:
# (A) The magnitude is moved up until its leading one is the top bit, in six steps of a halving search; then one place
#     rounds it to 53 bits, as everywhere. With `to_odd` that is a step before another rounding: 53 bits, the last one
#     sticky, then round once more to at most 51 as the integer itself would (Boldo and Melquiond, 2008).
# (B) A format of more digits, and stochastic rounding, which looks at all bits, round the integer itself: one loop that
#     takes the mode as it comes, for it is seldom used.
# (C) From integer to integer the low bits are all there is to do; a comparison tells what is out of range.
"""

from bitquant.kernels.flags cimport flags_of
from bitquant.kernels.machine cimport int64_t, loop, select, uint8_t, uint32_t, uint64_t
from bitquant.kernels.narrow cimport Narrow, Target, cut_of, round_pack
from bitquant.kernels.philox cimport COUNTERS, words_of
from bitquant.kernels.rounding cimport (
    NEAREST_AWAY, NEAREST_EVEN, STOCHASTIC, TO_ODD, TOWARD_NEGATIVE, TOWARD_POSITIVE, TOWARD_ZERO, Chance, Mode,
    round_by_chance, round_off,
)
from bitquant.kernels.stage cimport INEXACT, INVALID, OVERFLOW, RUN, UNDERFLOW, Block, Stage, Tally

cdef struct Whole:
    int mode
    uint64_t one                # 1 (rounding.pxd, Design C)
    Chance chance               # of mode STOCHASTIC
    bint signed
    uint64_t refuse_inexact     # 1 where an integer that FP64 does not hold is refused

# A floating target for integers themselves: a row of narrow.pxd for 64-bit lanes of FP64's exponents.
cdef struct Codes:
    Target target
    bint signed

# The range of an integer target; 64-bit words are compared as signed where the source is.
cdef struct Ends:
    bint signed
    uint64_t low
    uint64_t high
    bint wrap                   # out of range: the low bits instead of ...
    uint64_t beyond[2]          # ... the code given above and below the range
    uint64_t code_mask
    uint64_t refuse_range       # 1 where a number out of range is refused


cdef inline uint64_t raised(uint64_t magnitude, uint64_t *exponent) noexcept nogil:
    """Design A: moved up; the exponent field of FP64 goes down with it. Zero stays zero."""
    magnitude = raised_by(magnitude, 32, exponent)
    magnitude = raised_by(magnitude, 16, exponent)
    magnitude = raised_by(magnitude, 8, exponent)
    magnitude = raised_by(magnitude, 4, exponent)
    magnitude = raised_by(magnitude, 2, exponent)
    return raised_by(magnitude, 1, exponent)


cdef inline uint64_t raised_by(uint64_t magnitude, const uint64_t step, uint64_t *exponent) noexcept nogil:
    """Moved up by a step, if the top `step` bits are free."""
    cdef uint64_t up = step & (0 - <uint64_t> ((magnitude >> (64 - step)) == 0))
    exponent[0] -= up
    return magnitude << up


cdef inline void to_double(
    const Mode mode, const uint64_t *source, uint64_t *target, uint8_t *mask, const Whole *w, const uint32_t *words,
    Tally *tally, size_t n
) noexcept nogil:
    cdef Whole row = w[0]
    cdef uint64_t negative, magnitude, kept, inexact, all_inexact = 0, is_signed = row.signed, random = 0, exponent
    cdef size_t i
    for i in range(n):
        negative = (source[i] >> 63) & is_signed
        exponent = 1023 + 63
        magnitude = raised((source[i] ^ (0 - negative)) + negative, &exponent)
        inexact = (magnitude & 0x7FF) != 0
        if mode == STOCHASTIC:
            random = words[i]
            kept = round_by_chance(magnitude, <int64_t> 11, random, &row.chance, row.one)
        else:  # which needs room above: two bits fall off at the bottom and stay as a sticky one
            magnitude = (magnitude >> 2) | <uint64_t> ((magnitude & 3) != 0)
            kept = round_off(mode, magnitude, <uint64_t> 9, negative, <uint64_t> 0, <uint64_t> 1)
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


cdef void to_codes(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    """Design B."""
    cdef const Codes *codes = <const Codes *> row
    cdef const Target *t = &codes.target
    cdef Mode mode = <Mode> t.mode
    cdef uint32_t made[4 * COUNTERS]
    cdef const uint32_t *words = NULL
    cdef const uint64_t *integers = <const uint64_t *> source
    cdef uint64_t negative, full, field, significand, magnitude, given, flags, random = 0
    cdef int64_t exponent, cut
    cdef size_t i
    for i in range(n):
        if mode == STOCHASTIC:
            if i % RUN == 0:
                words = words_of(tally, made, i, n - i if n - i < RUN else RUN, &t.chance)
            random = words[i % RUN]
        negative = (integers[i] >> 63) & codes.signed
        field = 1023 + 63
        full = raised((integers[i] ^ (0 - negative)) + negative, &field)
        significand = (full >> 2) | <uint64_t> ((full & 3) != 0)
        exponent = <int64_t> field
        exponent = exponent if exponent < t.rebias + t.exponent_end else t.rebias + t.exponent_end
        exponent = exponent if exponent > t.lowest else t.lowest
        cut = cut_of(exponent, t)
        if mode == STOCHASTIC and cut < 34:  # the two lowest bits count
            magnitude = round_by_chance(full, cut + 2, random, &t.chance, t.one)
            magnitude += (<uint64_t> (exponent - t.rebias - 1 if exponent > t.rebias + 1 else 0)) << t.stored
        else:
            magnitude = round_pack(mode, negative, significand, exponent, random, t)
        flags = flags_of(mode, negative, significand, exponent, <uint64_t> (magnitude > t.largest), random, t)
        magnitude = magnitude if magnitude < t.ceiling[negative] else t.ceiling[negative]
        given = magnitude | (t.sign_bit & (0 - negative))
        if negative & t.unsigned and (magnitude != 0 or t.below_always):
            given, flags = t.below, OVERFLOW | INEXACT
        elif magnitude < t.flush_output and magnitude != 0:
            given, flags = t.zero[negative], UNDERFLOW | INEXACT
        elif integers[i] == 0:
            given, flags = t.zero[0], t.zero_flags
        elif magnitude == 0:
            given = t.zero[negative]
        (<uint64_t *> target)[i] = given
        mask[i] = <uint8_t> flags
        tally.overflow += (flags >> 1) & 1
        tally.underflow += (flags >> 2) & 1
        tally.inexact += (flags >> 3) & 1
        tally.ranges += (((flags >> 1) & t.refuse_overflow) | ((flags >> 3) & t.refuse_inexact)) & 1


cdef loop resize(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    """Design C."""
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


cdef class WholeToCodes(Stage):
    """Integers of 8 bytes to the codes that a Narrow stage in 64-bit lanes is for, in words of 8 bytes."""

    cdef Codes codes

    def __init__(self, Narrow narrow not None, bint signed):
        if (narrow.source_size, narrow.target_size) != (8, 8):
            raise ValueError("the narrowing stage must have 64-bit lanes and read FP64")
        self.codes.target, self.codes.signed = narrow.target, signed
        self.row = &self.codes
        self.source_size = self.target_size = 8
        self.block = <Block> to_codes


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
