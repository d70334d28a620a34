"""FP32 or FP64 to an integer, with one rounding.

# Design:
# (A) value = significand · 2^(exponent − bias − stored). While that power is negative the significand is rounded at the
#     binary point; once it is not, the number is an integer already and only moves left. All of it happens in a lane
#     as wide as the source, so wrapping keeps the true low bits of any number.
# (B) The significand is doubled first, so that at least one bit is always cut: no shift by zero or less, no special
#     case.
# (C) Where nothing is counted and everything saturates, a number proposes its integer first (propose.pxd), FP32 one
#     of up to 16 bits, FP64 one of up to 32; a run of 256 with a number on a boundary, or with NaN, goes to the
#     integers.
# (D) Bytes are written at once; other words are as wide as the lane, and shrink.pyx follows.
"""

from bitquant.kernels.machine cimport (
    carrier, code, int32_t, int64_t, loop, place, select, uint8_t, uint32_t, uint64_t,
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
    const Mode mode, const bint counted, const carrier *source, code *target, uint8_t *mask, const Range *r,
    const uint32_t *words, Tally *tally, size_t n, place zero
) noexcept nogil:
    """The type of `zero` is that of exponents: as wide as the carrier, or GCC 12 does not vectorise."""
    cdef Range row = r[0]
    cdef carrier negative, magnitude, significand, rounded, integer, most, over, nan, inexact, flags, infinity, whole
    cdef carrier hidden, fits, wrap = row.wrap, all_invalid = 0, all_inexact = 0, nans = 0, ranges = 0, random = 0
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
        cut = cut if cut < top else top
        if mode != STOCHASTIC:
            rounded = round_off(mode, significand << 1, <carrier> cut, negative, <carrier> 0, <carrier> row.one)
        left = left if left > 0 else 0
        fits = left <= top
        left = left if left < top else top
        integer = select[carrier](whole, (significand << <carrier> left) & (0 - fits), rounded)
        most = select[carrier](negative, <carrier> row.most[1], <carrier> row.most[0])
        nan = magnitude > infinity
        over = <carrier> (integer > most) | <carrier> (exponent > bias + top)
        inexact = (whole ^ 1) & <carrier> (((significand << 1) & ((<carrier> row.one << <carrier> cut) - 1)) != 0)
        integer = select[carrier](wrap & <carrier> (magnitude == infinity), 0, integer)
        integer = (integer ^ (0 - negative)) + negative
        integer = select[carrier](
            over & (wrap ^ 1), select[carrier](negative, <carrier> row.beyond[1], <carrier> row.beyond[0]), integer
        )
        target[i] = <code> select[carrier](nan, <carrier> row.nan, integer & <carrier> row.code_mask)
        nans += nan
        if counted:
            over = over | nan
            flags = select[carrier](over, INVALID, inexact * INEXACT)
            mask[i] = <uint8_t> flags
            all_invalid += over
            all_inexact += inexact & ~over & 1
            ranges += over & ~nan & 1
    tally.nans += nans * row.refuse_nan
    if counted:
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


cdef inline void in_runs(
    const Mode mode, const bint counted, const carrier *source, code *target, uint8_t *mask, const Range *r,
    Tally *tally, size_t n
) noexcept nogil:
    cdef uint32_t made[4 * COUNTERS]
    cdef const uint32_t *words = NULL
    cdef bint sure, hopeful = r.saturates and not r.flush_input
    cdef bint nearest = mode == NEAREST_EVEN or mode == NEAREST_AWAY
    # A distance below one half decides. The modes that add or subtract a half are off by 2^-16 at most below 512,
    # and by 2^-8 below 2^17; FP64 by less than 2^-18 below 2^33.
    cdef uint32_t certain = 0x3EFFFFFF if nearest else 0x3EFFF000 if r.most[0] < 500 else 0x3EFC0000
    if carrier is uint32_t:
        hopeful = hopeful and r.most[0] < 1 << 16
    else:
        hopeful = hopeful and r.most[0] < 1ULL << 33
    cdef size_t at = 0, length
    while at < n:
        length = n - at if n - at < RUN else RUN
        sure = False
        if mode == STOCHASTIC:
            words = words_of(tally, made, at, length, &r.chance)
        elif not counted and carrier is uint32_t:
            if hopeful:
                sure = proposed(
                    mode, <const float *> source + at, target + at, r, length, <uint32_t> certain, <int32_t> 0
                )
        elif not counted:
            if hopeful:
                sure = proposed(
                    mode, <const double *> source + at, target + at, r, length, <uint64_t> 0x3FDFFE0000000000ULL,
                    <int64_t> 0,
                )
        if not sure:
            if carrier is uint32_t:
                to_integer(mode, counted, source + at, target + at, mask + at, r, words, tally, length, <int32_t> 0)
            else:
                to_integer(mode, counted, source + at, target + at, mask + at, r, words, tally, length, <int64_t> 0)
        at += length


cdef inline void in_mode(
    const bint counted, const carrier *source, code *target, uint8_t *mask, const Range *r, Tally *tally, size_t n
) noexcept nogil:
    """Picks the loop of the row's rounding mode."""
    if r.mode == NEAREST_EVEN:
        in_runs(NEAREST_EVEN, counted, source, target, mask, r, tally, n)
    elif r.mode == NEAREST_AWAY:
        in_runs(NEAREST_AWAY, counted, source, target, mask, r, tally, n)
    elif r.mode == TOWARD_ZERO:
        in_runs(TOWARD_ZERO, counted, source, target, mask, r, tally, n)
    elif r.mode == TOWARD_POSITIVE:
        in_runs(TOWARD_POSITIVE, counted, source, target, mask, r, tally, n)
    elif r.mode == TOWARD_NEGATIVE:
        in_runs(TOWARD_NEGATIVE, counted, source, target, mask, r, tally, n)
    elif r.mode == TO_ODD:
        in_runs(TO_ODD, counted, source, target, mask, r, tally, n)
    else:
        in_runs(STOCHASTIC, counted, source, target, mask, r, tally, n)


# The loops that exist.

cdef loop plain_32_to_8(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    in_mode(False, <const uint32_t *> source, <uint8_t *> target, mask, <const Range *> row, tally, n)


cdef loop plain_64_to_8(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    in_mode(False, <const uint64_t *> source, <uint8_t *> target, mask, <const Range *> row, tally, n)


cdef loop plain_32_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    in_mode(False, <const uint32_t *> source, <uint32_t *> target, mask, <const Range *> row, tally, n)


cdef loop plain_64_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    in_mode(False, <const uint64_t *> source, <uint64_t *> target, mask, <const Range *> row, tally, n)


cdef loop counted_32_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    in_mode(True, <const uint32_t *> source, <uint32_t *> target, mask, <const Range *> row, tally, n)


cdef loop counted_64_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    in_mode(True, <const uint64_t *> source, <uint64_t *> target, mask, <const Range *> row, tally, n)


cdef class ToInteger(Stage):
    """FP32 or FP64 bits (source_size 4 or 8) to integer codes, by the numbers of a Range row."""

    cdef Range numbers

    def __init__(self, int source_size, int target_size, bint counted, **numbers):
        cdef dict row = self.numbers
        if source_size not in (4, 8) or not (target_size == source_size or (target_size == 1 and not counted)):
            raise ValueError("integers as wide as the carrier; or of one byte, where nothing is counted")
        row.update(numbers)
        self.numbers = row
        self.row = &self.numbers
        self.source_size, self.target_size = source_size, target_size
        if counted:
            self.block = <Block> counted_32_to_32 if source_size == 4 else <Block> counted_64_to_64
        elif target_size == 1:
            self.block = <Block> plain_32_to_8 if source_size == 4 else <Block> plain_64_to_8
        else:
            self.block = <Block> plain_32_to_32 if source_size == 4 else <Block> plain_64_to_64
