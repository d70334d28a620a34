"""Narrowing: FP32 or FP64 to a floating format, with one rounding.

# Design:
# (A) One routine for every target. The format and the rules are a struct of numbers (`Target`), the rounding mode is a
#     literal, so there is one loop for each mode and none for a format.
# (B) The finite path takes sign, exponent and significand apart and is exact for every finite number:
#
#         1  field = e − rebias                  the exponent field in the target, if it has that exponent
#         2  cut = cut + max(0, 1 − field)       gradual underflow: a subnormal loses more bits
#         3  kept = significand / 2^cut          rounded once (rounding.pxd)
#         4  (field − 1) · 2^stored + kept       the hidden bit of `kept` adds the missing 1 to the exponent field, and
#                                                so does a carry out of the significand: no special case
#         5  lowered to `ceiling`, which is the largest finite magnitude or the one after it: there every format has its
#            infinity or its NaN, or, with neither, the former stands. (Where NaN has the code of −0, the magnitude
#            after the largest is that code, with either sign.)
#
# (C) The ordinary path: where values are zero, or normal in the target and not beyond its largest number, step 4 is
#     the source's own bit pattern, rebiased and rounded at a constant place. The loop writes that for every run of
#     256 and keeps the extreme magnitudes; where they are not ordinary the finite path writes the run again. Zero
#     costs two operations: it is raised to the rebias, so that it rounds to code 0, and lowered by one for the
#     minimum, so that it wraps around and counts as large.
#     The rest of a block with one such run takes the finite path at once, and so do the next blocks,
#     twice as many each time it happens again.
# (D) Infinity, NaN, the flush rules and what an unsigned format makes of negative numbers need no rounding mode. One
#     patch loop writes them over what the finite path left there, in the runs that need it.
# (E) FP64 to a target of at most 26 stored bits folds the significand to 30 bits with a sticky last bit and
#     stays in 32-bit lanes; wider targets, those that reach below FP64's normal numbers, and stochastic rounding, which
#     needs all bits, use 64-bit lanes.
# (F) Flags are a literal as well: the loops without them do not know of them. The mask of a run is written first and
#     counted last, so the patch loop can correct it.
# (G) A loop writes words as wide as its lanes, and the most frequent plain ones bytes or half words at once; for all
#     others shrink.pyx follows.
"""

from bitquant.kernels.fields cimport significand32, significand64_jammed, significand64_wide
from bitquant.kernels.machine cimport (
    carrier, code, int32_t, int64_t, lane, loop, place, select, uint8_t, uint16_t, uint32_t, uint64_t,
)
from bitquant.kernels.narrow cimport flags_of, round_pack
from bitquant.kernels.philox cimport COUNTERS, words_of
from bitquant.kernels.rounding cimport (
    NEAREST_AWAY, NEAREST_EVEN, STOCHASTIC, TO_ODD, TOWARD_NEGATIVE, TOWARD_POSITIVE, TOWARD_ZERO, Mode, increment,
)
from bitquant.kernels.stage cimport DOUBT, INEXACT, INVALID, OVERFLOW, RUN, UNDERFLOW, Block, Stage, Tally

cdef inline carrier finite(
    const Mode mode, const bint counted, const carrier *source, code *target, uint8_t *mask, const Target *t,
    const uint32_t *words, size_t n, lane zero, place field
) noexcept nogil:
    """Design B. The types of `zero` and `field` say in which lanes. Returns the largest magnitude of the run."""
    cdef Target row = t[0]
    cdef lane above = <lane> row.ceiling[0], beneath = <lane> row.ceiling[1], drops = <lane> row.zero_drops_sign
    cdef lane everything = <lane> row.everything
    cdef lane negative, significand, magnitude, ceiling, random = 0
    cdef carrier lowest, bits, most = 0, negative_bits = <carrier> row.negative_bits, sign
    cdef place exponent, stored = 23 if carrier is uint32_t else 52, top = 8 * sizeof(carrier) - 1
    cdef place last = row.rebias + row.exponent_end
    cdef size_t i
    lowest = (<carrier> row.lowest) << stored
    for i in range(n):
        negative = <lane> (source[i] >> top)
        bits = source[i] & (((<carrier> 1) << top) - 1)
        most = most if most > bits else bits
        if lane is uint32_t:
            exponent = <place> ((bits if bits > lowest else lowest) >> stored)
            if carrier is uint32_t:
                significand = significand32(bits)
            else:
                significand = significand64_jammed(bits)
        else:
            significand = significand64_wide(bits, <int64_t *> &exponent)
            exponent = exponent if exponent > row.lowest else row.lowest
        if carrier is uint64_t:
            exponent = exponent if exponent < last else last
        if mode == STOCHASTIC:
            random = words[i]
        magnitude = round_pack(mode, negative, significand, exponent, random, &row)
        if counted:
            mask[i] = <uint8_t> flags_of(
                mode, negative, significand, exponent, <lane> (magnitude > <lane> row.largest), random, &row
            )
        ceiling = above
        if mode == TOWARD_POSITIVE or mode == TOWARD_NEGATIVE:
            ceiling = select[lane](negative, beneath, above)
        magnitude = magnitude if magnitude < ceiling else ceiling
        sign = (0 - (source[i] >> top)) & negative_bits
        magnitude = magnitude | <lane> (sign & ((<carrier> (magnitude == 0) & <carrier> drops) - 1))
        # All of them are below that; it keeps GCC from packing sign and magnitude into bytes each by itself.
        target[i] = <code> (magnitude if magnitude < everything else everything)
    return most


cdef inline void patch(
    const bint counted, const carrier *source, code *target, uint8_t *mask, const Target *t, Tally *tally, size_t n
) noexcept nogil:
    """Design D: over what the finite path wrote."""
    cdef Target row = t[0]
    cdef carrier infinity, bits, negative, given, magnitude, is_infinity, is_nan, is_below, quiet, flags, flushed
    cdef carrier dropped, nothing, magnitudes, nans = 0
    cdef int32_t stored, top
    cdef size_t i
    if carrier is uint32_t:
        stored, top, infinity = 23, 31, 0x7F800000
    else:
        stored, top, infinity = 52, 63, 0x7FF0000000000000ULL
    magnitudes = ~<carrier> row.sign_bit
    for i in range(n):
        negative = source[i] >> top
        bits = source[i] & ((<carrier> 1 << top) - 1)
        is_infinity = bits == infinity
        is_nan = bits > infinity
        given = target[i]
        magnitude = given & magnitudes
        flushed = <carrier> (magnitude < <carrier> row.flush_output) & <carrier> (magnitude != 0)
        dropped = bits < <carrier> row.flush_input
        nothing = dropped | <carrier> (bits == 0)
        is_below = negative & <carrier> row.unsigned & (<carrier> (given != 0) | <carrier> row.below_always) & ~nothing
        flushed = flushed & ~is_below
        given = select[carrier](
            flushed | nothing, select[carrier](negative, <carrier> row.zero[1], <carrier> row.zero[0]), given
        )
        given = select[carrier](is_below, <carrier> row.below, given)
        given = select[carrier](
            is_infinity, select[carrier](negative, <carrier> row.infinity[1], <carrier> row.infinity[0]), given
        )
        given = select[carrier](
            is_nan,
            select[carrier](negative, <carrier> row.nan[1], <carrier> row.nan[0])
            | ((bits >> (stored - row.stored)) & <carrier> row.payload),
            given,
        )
        target[i] = <code> given
        if counted:
            quiet = (bits >> (stored - 1)) & 1
            flags = mask[i]
            flags = select[carrier](flushed, UNDERFLOW | INEXACT, flags)
            flags = select[carrier](nothing, <carrier> row.zero_flags, flags)
            flags = select[carrier](is_below, OVERFLOW | INEXACT, flags)
            flags = select[carrier](
                is_infinity,
                select[carrier](
                    negative, <carrier> row.infinity_overflows[1], <carrier> row.infinity_overflows[0]
                ) * (OVERFLOW | INEXACT),
                flags,
            )
            flags = select[carrier](is_nan, ((quiet ^ 1) | <carrier> row.nan_invalid) * INVALID, flags)
            mask[i] = <uint8_t> flags
        nans += is_nan
    tally.nans += nans * row.refuse_nan


cdef inline void count(const uint8_t *mask, const Target *t, Tally *tally, size_t n) noexcept nogil:
    """Adds up the flags of a block."""
    cdef uint32_t invalid = 0, overflow = 0, underflow = 0, inexact = 0
    cdef size_t i
    for i in range(n):
        invalid += mask[i] & 1
        overflow += (mask[i] >> 1) & 1
        underflow += (mask[i] >> 2) & 1
        inexact += (mask[i] >> 3) & 1
    tally.invalid += invalid
    tally.overflow += overflow
    tally.underflow += underflow
    tally.inexact += inexact
    tally.ranges += (overflow & (0 - t.refuse_overflow)) | (inexact & (0 - t.refuse_inexact))


cdef inline bint ordinary(
    const Mode mode, const bint counted, const carrier *source, code *target, uint8_t *mask, const Target *t,
    Tally *tally, size_t n
) noexcept nogil:
    """Design C. Returns whether the run was ordinary; if not, the target is to be written again."""
    cdef int32_t stored = 23 if carrier is uint32_t else 52, top = 8 * sizeof(carrier) - 1
    cdef carrier one = 1, sign_bit = <carrier> t.sign_bit, sign_from = top - t.sign_shift
    cdef carrier cut = stored - t.stored, half = one << (cut - 1), dropped = (half << 1) - 1
    cdef carrier rebias = (<carrier> t.rebias) << stored, largest = 0, smallest = 0 - one, negative, bits
    # A negative number is beyond the largest one of an unsigned format: its sign bit counts.
    cdef carrier looked_at = (one << top) - 1 + (((<carrier> t.unsigned)) << top), zero = <carrier> t.ordinary_zero
    cdef uint32_t inexact = 0, lost
    cdef size_t i
    for i in range(n):
        negative = source[i] >> top
        bits = source[i] & looked_at
        largest = largest if largest > bits else bits
        smallest = smallest if smallest < bits - zero else bits - zero
        bits = bits if bits > rebias else rebias
        target[i] = <code> (
            ((bits - rebias + increment(mode, (bits >> cut) & 1, negative, half)) >> cut)
            | ((source[i] >> sign_from) & sign_bit)
        )
        if counted:
            lost = (bits & dropped) != 0
            mask[i] = <uint8_t> (lost * INEXACT)
            inexact += lost
    if smallest < <carrier> t.ordinary_first - zero or largest >= <carrier> t.ordinary_end:
        return False
    if counted:
        tally.inexact += inexact
        tally.ranges += inexact * t.refuse_inexact
    return True


cdef inline void in_mode(
    const Mode mode, const bint counted, const carrier *source, code *target, uint8_t *mask, const Target *t,
    Tally *tally, size_t n, lane zero
) noexcept nogil:
    cdef uint32_t made[4 * COUNTERS]
    cdef const uint32_t *words = NULL
    cdef bint hopeful = t.ordinary_end != 0 and tally.doubt == 0
    cdef carrier special, most
    cdef size_t at = 0, length
    special = 0x7F800000 if carrier is uint32_t else <carrier> 0x7FF0000000000000ULL
    tally.doubt -= tally.doubt > 0
    while at < n:
        length = n - at if n - at < RUN else RUN
        if mode != STOCHASTIC and code is not uint64_t:
            if hopeful and ordinary(mode, counted, source + at, target + at, mask + at, t, tally, length):
                at += length
                continue
            if hopeful:
                tally.patience = 2 * tally.patience + 1 if tally.patience < DOUBT else DOUBT
                tally.doubt = tally.patience
        hopeful = False
        length = n - at
        if mode == STOCHASTIC:
            words = words_of(tally, made, at, length, &t.chance)
        if lane is uint32_t:
            most = finite(mode, counted, source + at, target + at, mask + at, t, words, length, zero, <int32_t> 0)
        else:
            most = finite(mode, counted, source + at, target + at, mask + at, t, words, length, zero, <int64_t> 0)
        if most >= special or t.always_patch:
            patch(counted, source + at, target + at, mask + at, t, tally, length)
        if counted:
            count(mask + at, t, tally, length)
        at += length
    if hopeful:
        tally.patience = 0


cdef inline void narrow(
    const bint counted, const carrier *source, code *target, uint8_t *mask, const Target *t, Tally *tally, size_t n,
    lane zero
) noexcept nogil:
    """Picks the loop of the row's rounding mode."""
    if t.mode == NEAREST_EVEN:
        in_mode(NEAREST_EVEN, counted, source, target, mask, t, tally, n, zero)
    elif t.mode == NEAREST_AWAY:
        in_mode(NEAREST_AWAY, counted, source, target, mask, t, tally, n, zero)
    elif t.mode == TOWARD_ZERO:
        in_mode(TOWARD_ZERO, counted, source, target, mask, t, tally, n, zero)
    elif t.mode == TOWARD_POSITIVE:
        in_mode(TOWARD_POSITIVE, counted, source, target, mask, t, tally, n, zero)
    elif t.mode == TOWARD_NEGATIVE:
        in_mode(TOWARD_NEGATIVE, counted, source, target, mask, t, tally, n, zero)
    elif t.mode == TO_ODD:
        in_mode(TO_ODD, counted, source, target, mask, t, tally, n, zero)
    else:
        in_mode(STOCHASTIC, counted, source, target, mask, t, tally, n, zero)


# The loops that exist.

cdef loop plain_32_to_8(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(False, <const uint32_t *> source, <uint8_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop plain_32_to_16(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(False, <const uint32_t *> source, <uint16_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop plain_32_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(False, <const uint32_t *> source, <uint32_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop plain_64_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(False, <const uint64_t *> source, <uint32_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop plain_64_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(False, <const uint64_t *> source, <uint64_t *> target, mask, <const Target *> row, tally, n, <uint64_t> 0)


cdef loop counted_32_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(True, <const uint32_t *> source, <uint32_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop counted_64_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(True, <const uint64_t *> source, <uint32_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop counted_64_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(True, <const uint64_t *> source, <uint64_t *> target, mask, <const Target *> row, tally, n, <uint64_t> 0)


cdef Block pick(bint counted, int source_size, int target_size):
    if source_size == 8:
        if target_size == 8:
            return <Block> counted_64_to_64 if counted else <Block> plain_64_to_64
        return <Block> counted_64_to_32 if counted else <Block> plain_64_to_32
    if counted:
        return <Block> counted_32_to_32
    if target_size == 4:
        return <Block> plain_32_to_32
    return <Block> plain_32_to_16 if target_size == 2 else <Block> plain_32_to_8


cdef class Narrow(Stage):
    """FP32 or FP64 bits (source_size 4 or 8) to the codes of a format, by the numbers of a Target row."""

    def __init__(self, int source_size, int target_size, bint counted, **numbers):
        cdef dict row = self.target
        cdef list sizes = [(4, 4), (8, 4), (8, 8)] + ([] if counted else [(4, 1), (4, 2)])
        if (source_size, target_size) not in sizes:
            raise ValueError(f"sizes of source and target: one of {sizes}")
        row.update(numbers)
        self.target = row
        self.row = &self.target
        self.source_size, self.target_size = source_size, target_size
        self.block = pick(counted, source_size, target_size)
