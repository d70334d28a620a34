"""FP32 or FP64 to an integer, with one rounding.

# Design:
# (A) value = significand · 2^(exponent − bias − stored). While that power is negative the significand is rounded at the
#     binary point; once it is not, the number is an integer already and only moves left. All of it happens in a lane
#     as wide as the source, so wrapping keeps the true low bits of any number.
# (B) The significand is doubled first, so that at least one bit is always cut: no shift by zero or less, no special
#     case.
# (C) Where everything saturates, a number proposes its integer first (propose.pxd), FP32 one of up to 16 bits, FP64
#     one of up to 32; a run of 256 with a number on a boundary, or with NaN, goes to the integers. Where an integer of
#     64 bits saturates, magnitudes below 2^61 need none of the special cases: such a number's significand moves to
#     just above them, so that its binary point lies inside the lane, and at least one bit is cut. A run with another
#     number is written again.
# (D) Flags are a second loop over the same run, as in narrow.pyx: a threshold tells what is out of range, the bits
#     behind the point what is inexact. Only under stochastic rounding the first loop tells.
# (E) Bytes are written at once; other words are as wide as the lane, and shrink.pyx follows. The integers that decide
#     are words as wide as the lane in any case: a loop of its own, so that it exists once.
"""

from bitquant.kernels.fields cimport significand64
from bitquant.kernels.machine cimport (
    bits_of_float, carrier, code, float_of_bits, int32_t, int64_t, loop, place, select, uint8_t, uint32_t, uint64_t,
)
from bitquant.kernels.philox cimport COUNTERS, words_of
from bitquant.kernels.propose cimport propose, real
from bitquant.kernels.rounding cimport (
    NEAREST_AWAY, NEAREST_EVEN, STOCHASTIC, TO_ODD, TOWARD_NEGATIVE, TOWARD_POSITIVE, TOWARD_ZERO, Chance, Mode,
    round_by_chance, round_off,
)
from bitquant.kernels.stage cimport INEXACT, INVALID, RUN, Block, Stage, Tally

# An integer target together with the rules, as plain numbers.
cdef struct Range:
    int mode
    uint64_t one                # 1 (rounding.pxd, Design C)
    Chance chance               # of mode STOCHASTIC
    bint counted                # flags are asked for
    uint64_t over_first[2]      # the smallest source magnitudes that are out of range
    uint64_t most[2]            # largest magnitude of a positive and of a negative number
    uint64_t beyond[2]          # code given for a number out of range ...
    bint wrap                   # ... unless its low bits are
    bint saturates              # whether `beyond` is the nearest end
    uint64_t code_mask          # the bits of a code
    uint64_t nan                # code given for NaN
    uint64_t refuse_nan         # 1 where NaN is refused
    uint64_t refuse_range       # 1 where a number out of range is refused
    uint64_t refuse_inexact     # 1 where a number that is no integer is refused
    uint64_t flush_input        # source magnitudes below this one become zero


cdef inline void to_integer(
    const Mode mode, const carrier *source, carrier *target, uint8_t *overs, const Range *r, const uint32_t *words,
    Tally *tally, size_t n, place zero
) noexcept nogil:
    """The type of `zero` is that of exponents: as wide as the carrier, or GCC 12 does not vectorise.

    Under stochastic rounding `overs` is written: whether a number is out of range.
    """
    cdef Range row = r[0]
    cdef carrier negative, magnitude, significand, rounded, integer, most, over, nan, infinity, whole
    cdef carrier hidden, fits, wrap = row.wrap, nans = 0, random
    cdef place exponent, cut, left, stored, bias, top
    cdef size_t i
    if carrier is uint32_t:
        stored, bias, top, infinity = 23, 127, 31, 0x7F800000
    else:
        stored, bias, top, infinity = 52, 1023, 63, 0x7FF0000000000000ULL
    hidden = (<carrier> 1) << stored
    for i in range(n):
        negative = source[i] >> top
        magnitude = source[i] & (infinity | (hidden - 1))
        magnitude = select[carrier](magnitude >= <carrier> row.flush_input, magnitude, 0)
        significand = (magnitude & (hidden - 1)) | select[carrier](magnitude >= hidden, hidden, 0)
        exponent = <place> ((magnitude if magnitude >= hidden else hidden) >> stored)
        whole = exponent > stored + bias
        cut = stored + bias + 1 - exponent                  # of the doubled significand
        left = exponent - stored - bias
        cut = cut if cut > 1 else 1
        if mode == STOCHASTIC:
            random = words[i]
            rounded = round_by_chance(significand << 1, cut, random, &row.chance, <carrier> row.one)
        else:
            cut = cut if cut < top else top
            rounded = round_off(mode, significand << 1, <carrier> cut, negative, <carrier> 0, <carrier> row.one)
        left = left if left > 0 else 0
        fits = left <= top
        left = left if left < top else top
        integer = select[carrier](whole, (significand << <carrier> left) & (0 - fits), rounded)
        most = select[carrier](negative, <carrier> row.most[1], <carrier> row.most[0])
        nan = magnitude > infinity
        over = <carrier> (integer > most) | <carrier> (exponent > bias + top)
        integer = select[carrier](wrap & <carrier> (magnitude == infinity), 0, integer)
        integer = (integer ^ (0 - negative)) + negative
        integer = select[carrier](
            over & (wrap ^ 1), select[carrier](negative, <carrier> row.beyond[1], <carrier> row.beyond[0]), integer
        )
        target[i] = select[carrier](nan, <carrier> row.nan, integer & <carrier> row.code_mask)
        nans += nan
        if mode == STOCHASTIC:
            overs[i] = <uint8_t> over
    tally.nans += nans * row.refuse_nan


cdef inline void flag(
    const carrier *source, uint8_t *mask, const Range *r, Tally *tally, size_t n, place zero
) noexcept nogil:
    """Design D, for at most RUN numbers."""
    cdef Range row = r[0]
    cdef carrier flags[RUN]
    cdef carrier negative, magnitude, significand, over, inexact, nan, infinity, hidden, one = <carrier> row.one
    cdef carrier all_invalid = 0, all_inexact = 0, ranges = 0
    cdef place cut, stored, bias, top
    cdef carrier by_chance = row.mode == STOCHASTIC
    cdef size_t i
    if carrier is uint32_t:
        stored, bias, top, infinity = 23, 127, 31, 0x7F800000
    else:
        stored, bias, top, infinity = 52, 1023, 63, 0x7FF0000000000000ULL
    hidden = (<carrier> 1) << stored
    for i in range(n):
        flags[i] = 0
    if by_chance:
        for i in range(n):
            flags[i] = mask[i]
    for i in range(n):
        negative = source[i] >> top
        magnitude = source[i] & (infinity | (hidden - 1))
        magnitude = select[carrier](magnitude >= <carrier> row.flush_input, magnitude, 0)
        if carrier is uint32_t:  # an integer is itself when it is cut off to one, and so is 2^24
            significand = magnitude if magnitude < 0x4B800000 else 0x4B800000
            inexact = bits_of_float(<float> <int32_t> float_of_bits(significand)) != significand
        else:
            significand = (magnitude & (hidden - 1)) | hidden
            significand = magnitude if magnitude < significand else significand
            cut = stored + bias - <place> ((magnitude if magnitude >= hidden else hidden) >> stored)
            cut = cut if cut > 0 else 0
            cut = cut if cut < top else top
            inexact = (significand & ((one << <carrier> cut) - 1)) != 0
        over = magnitude >= select[carrier](negative, <carrier> row.over_first[1], <carrier> row.over_first[0])
        over = select[carrier](by_chance, flags[i], over)
        nan = magnitude > infinity
        inexact = inexact & ((over | nan) ^ 1)
        flags[i] = (over | nan) * INVALID | inexact * INEXACT
        all_invalid += over | nan
        all_inexact += inexact
        ranges += over & (nan ^ 1)
    if tally.masked:
        for i in range(n):
            mask[i] = <uint8_t> flags[i]
    tally.invalid += all_invalid
    tally.inexact += all_inexact
    tally.ranges += ranges * row.refuse_range + all_inexact * row.refuse_inexact


cdef inline bint proposed(
    const Mode mode, const real *source, code *target, const Range *r, size_t n, carrier certain, place zero
) noexcept nogil:
    """Design C. Returns whether the run was beyond doubt; if not, the target is to be written again."""
    cdef place high = <place> r.most[0], low = -<place> r.most[1], q
    cdef real least = <real> low - <real> 1.25, most = <real> high + <real> 1.25
    cdef place code_mask = <place> r.code_mask
    cdef carrier away, farthest = 0
    cdef size_t i
    for i in range(n):
        q = propose(mode, source[i], least, most, zero, &away)
        q = low if low > q else q
        q = high if high < q else q
        target[i] = <code> (q & code_mask)
        farthest = farthest if farthest > away else away
    return farthest <= certain


cdef inline bint inside(
    const Mode mode, const uint64_t *source, uint64_t *target, const Range *r, size_t n
) noexcept nogil:
    """Design C. Returns whether all magnitudes of the run are below 2^61; if not, the target is to be written again."""
    cdef uint64_t negative, magnitude, integer, most = 0, one = r.one, end = 0x43C0000000000000ULL
    cdef int64_t cut, low = <int64_t> (0 - r.most[1])
    cdef size_t i
    for i in range(n):
        negative = source[i] >> 63
        magnitude = source[i] & 0x7FFFFFFFFFFFFFFFULL
        most = most if most > magnitude else magnitude
        magnitude = magnitude if magnitude < end - 1 else end - 1
        cut = 1084 - <int64_t> (magnitude >> 52)
        cut = cut if cut < 63 else 63
        integer = round_off(mode, significand64(magnitude) << 9, <uint64_t> cut, negative, <uint64_t> 0, one)
        integer = (integer ^ (0 - negative)) + negative
        target[i] = <uint64_t> (<int64_t> integer if <int64_t> integer > low else low)
    return most < end


cdef loop inside_by_mode(
    const uint64_t *source, uint64_t *target, const Range *r, size_t n, bint *sure
) noexcept nogil:
    if r.mode == NEAREST_EVEN:
        sure[0] = inside(NEAREST_EVEN, source, target, r, n)
    elif r.mode == NEAREST_AWAY:
        sure[0] = inside(NEAREST_AWAY, source, target, r, n)
    elif r.mode == TOWARD_ZERO:
        sure[0] = inside(TOWARD_ZERO, source, target, r, n)
    elif r.mode == TOWARD_POSITIVE:
        sure[0] = inside(TOWARD_POSITIVE, source, target, r, n)
    elif r.mode == TOWARD_NEGATIVE:
        sure[0] = inside(TOWARD_NEGATIVE, source, target, r, n)
    else:
        sure[0] = inside(TO_ODD, source, target, r, n)


cdef inline void to_integer_by_mode(
    const carrier *source, carrier *target, uint8_t *overs, const Range *r, Tally *tally, size_t at, size_t n,
    place zero
) noexcept nogil:
    cdef uint32_t made[4 * COUNTERS]
    cdef const uint32_t *words
    if r.mode == NEAREST_EVEN:
        to_integer(NEAREST_EVEN, source, target, overs, r, NULL, tally, n, zero)
    elif r.mode == NEAREST_AWAY:
        to_integer(NEAREST_AWAY, source, target, overs, r, NULL, tally, n, zero)
    elif r.mode == TOWARD_ZERO:
        to_integer(TOWARD_ZERO, source, target, overs, r, NULL, tally, n, zero)
    elif r.mode == TOWARD_POSITIVE:
        to_integer(TOWARD_POSITIVE, source, target, overs, r, NULL, tally, n, zero)
    elif r.mode == TOWARD_NEGATIVE:
        to_integer(TOWARD_NEGATIVE, source, target, overs, r, NULL, tally, n, zero)
    elif r.mode == TO_ODD:
        to_integer(TO_ODD, source, target, overs, r, NULL, tally, n, zero)
    else:
        words = words_of(tally, made, at, n, &r.chance)
        to_integer(STOCHASTIC, source, target, overs, r, words, tally, n, zero)


cdef loop decide_32(
    const uint32_t *source, uint32_t *target, uint8_t *mask, const Range *r, Tally *tally, size_t at, size_t n
) noexcept nogil:
    """At most RUN numbers, the first of which is the block's number `at`."""
    to_integer_by_mode(source, target, mask, r, tally, at, n, <int32_t> 0)


cdef loop decide_64(
    const uint64_t *source, uint64_t *target, uint8_t *mask, const Range *r, Tally *tally, size_t at, size_t n
) noexcept nogil:
    to_integer_by_mode(source, target, mask, r, tally, at, n, <int64_t> 0)


cdef loop flag_32(const uint32_t *source, uint8_t *mask, const Range *r, Tally *tally, size_t n) noexcept nogil:
    flag(source, mask, r, tally, n, <int32_t> 0)


cdef loop flag_64(const uint64_t *source, uint8_t *mask, const Range *r, Tally *tally, size_t n) noexcept nogil:
    flag(source, mask, r, tally, n, <int64_t> 0)


cdef inline bint proposed_by_mode(
    const real *source, code *target, const Range *r, size_t n, carrier certain, place zero
) noexcept nogil:
    if r.mode == NEAREST_EVEN:
        return proposed(NEAREST_EVEN, source, target, r, n, certain, zero)
    if r.mode == NEAREST_AWAY:
        return proposed(NEAREST_AWAY, source, target, r, n, certain, zero)
    if r.mode == TOWARD_ZERO:
        return proposed(TOWARD_ZERO, source, target, r, n, certain, zero)
    if r.mode == TOWARD_POSITIVE:
        return proposed(TOWARD_POSITIVE, source, target, r, n, certain, zero)
    if r.mode == TOWARD_NEGATIVE:
        return proposed(TOWARD_NEGATIVE, source, target, r, n, certain, zero)
    return proposed(TO_ODD, source, target, r, n, certain, zero)


cdef inline void in_runs(
    const carrier *source, code *target, uint8_t *mask, const Range *r, Tally *tally, size_t n
) noexcept nogil:
    cdef carrier integers[RUN]
    cdef bint sure, hopeful = r.saturates and not r.flush_input and r.mode != STOCHASTIC, wide = False
    cdef bint nearest = r.mode == NEAREST_EVEN or r.mode == NEAREST_AWAY
    # A distance below one half decides. The modes that add or subtract a half are off by 2^-16 at most below 512,
    # and by 2^-8 below 2^17; FP64 by less than 2^-18 below 2^33.
    cdef uint32_t certain = 0x3EFFFFFF if nearest else 0x3EFFF000 if r.most[0] < 500 else 0x3EFC0000
    cdef size_t at = 0, length, i
    if carrier is uint64_t and code is uint64_t:
        wide = hopeful and r.most[0] > <uint64_t> 1 << 61
    hopeful = hopeful and r.most[0] < (<uint64_t> 1 << (16 if sizeof(carrier) == 4 else 33))
    while at < n:
        length = n - at if n - at < RUN else RUN
        sure = False
        if hopeful:
            if carrier is uint32_t:
                sure = proposed_by_mode(<const float *> source + at, target + at, r, length, certain, <int32_t> 0)
            else:
                sure = proposed_by_mode(
                    <const double *> source + at, target + at, r, length, <uint64_t> 0x3FDFFE0000000000ULL, <int64_t> 0
                )
        if carrier is uint64_t and code is uint64_t:
            if wide:
                inside_by_mode(source + at, target + at, r, length, &sure)
        if not sure:
            if carrier is uint32_t:
                decide_32(source + at, integers, mask + at, r, tally, at, length)
            else:
                decide_64(source + at, integers, mask + at, r, tally, at, length)
            for i in range(length):
                target[at + i] = <code> integers[i]
        if r.counted:
            if carrier is uint32_t:
                flag_32(source + at, mask + at, r, tally, length)
            else:
                flag_64(source + at, mask + at, r, tally, length)
        at += length


# The loops that exist.

cdef loop integer_32_to_8(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    in_runs(<const uint32_t *> source, <uint8_t *> target, mask, <const Range *> row, tally, n)


cdef loop integer_32_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    in_runs(<const uint32_t *> source, <uint32_t *> target, mask, <const Range *> row, tally, n)


cdef loop integer_64_to_8(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    in_runs(<const uint64_t *> source, <uint8_t *> target, mask, <const Range *> row, tally, n)


cdef loop integer_64_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    in_runs(<const uint64_t *> source, <uint64_t *> target, mask, <const Range *> row, tally, n)


cdef class ToInteger(Stage):
    """FP32 or FP64 bits (source_size 4 or 8) to integer codes, by the numbers of a Range row."""

    cdef Range numbers

    def __init__(self, int source_size, int target_size, **numbers):
        cdef dict row = self.numbers
        if source_size not in (4, 8) or target_size not in (1, source_size):
            raise ValueError("integers of one byte, or as wide as the carrier, of 4 or 8 bytes")
        row.update(numbers)
        self.numbers = row
        self.row = &self.numbers
        self.source_size, self.target_size = source_size, target_size
        if target_size == 1:
            self.block = <Block> integer_32_to_8 if source_size == 4 else <Block> integer_64_to_8
        else:
            self.block = <Block> integer_32_to_32 if source_size == 4 else <Block> integer_64_to_64
