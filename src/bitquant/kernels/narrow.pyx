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
#         5  lowered to `ceiling`, the magnitude after the largest finite one, which marks an overflow (and is
#         infinity);
#                                                or to the largest itself where every overflow gives that
#
# (C) The ordinary path: where values are zero, or normal in the target and not beyond its largest number, step 4 is
#     the source's own bit pattern, rebiased and rounded at a constant place. The loop writes that for every run of
#     256 and keeps the extreme magnitudes; where they are not ordinary the finite path writes the run again. Zero
#     costs two operations: it is raised to the rebias, so that it rounds to code 0, and lowered by one for the
#     minimum, so that it wraps around and counts as large.
#     The rest of a block with one such run takes the finite path at once.
# (D) Infinity, NaN, the flush rules and overflows that do not give `ceiling` need no rounding mode. One patch loop
#     writes them over what the finite path left there, in the runs that need it.
# (E) FP64 to a target of at most 27 significand bits folds the significand to 30 bits with a sticky last bit and
#     stays in 32-bit lanes; wider targets use 64-bit lanes.
# (F) Flags are a literal as well: the loops without them do not know of them. The mask of a run is written first and
#     counted last, so the patch loop can correct it.
"""

from bitquant.kernels.fields cimport significand32, significand64_jammed, significand64_wide
from bitquant.kernels.machine cimport (
    carrier, code, int32_t, lane, loop, select, uint8_t, uint16_t, uint32_t, uint64_t,
)
from bitquant.kernels.rounding cimport (
    NEAREST_AWAY, NEAREST_EVEN, TO_ODD, TOWARD_NEGATIVE, TOWARD_POSITIVE, TOWARD_ZERO, Mode, increment, round_off,
)
from bitquant.kernels.stage cimport INEXACT, INVALID, OVERFLOW, RUN, UNDERFLOW, Block, Stage, Tally

cdef inline lane flags_of(
    const Mode mode, lane negative, lane significand, int32_t exponent, lane over, const Target *t
) noexcept nogil:
    """The flags of one finite number (IEEE 754-2019 clause 7), as bits of stage.Flag."""
    cdef lane one = 1, cut = cut_of(exponent, t, significand)
    cdef lane kept = round_off(mode, significand, cut, negative)
    # Below the smallest normal number: it loses more bits than a normal one, or lacks the hidden bit already.
    cdef lane below = <lane> (significand != 0) & (
        <lane> (cut > t.cut) | <lane> (significand < (one << (t.stored + t.cut)))
    )
    # After rounding, with the exponent unbounded: one more bit is kept than gradual underflow keeps.
    cdef lane reaches = <lane> (round_off(mode, significand, cut - 1, negative) >= (one << (t.stored + 1)))
    cdef lane tiny = below & (<lane> t.tiny_before | (reaches ^ 1))
    cdef lane inexact = <lane> ((kept << cut) != significand) | over
    return (over * OVERFLOW) | ((tiny & inexact) * UNDERFLOW) | (inexact * INEXACT)


cdef inline carrier finite(
    const Mode mode, const bint counted, const carrier *source, code *target, uint8_t *mask, const Target *t, size_t n,
    lane zero
) noexcept nogil:
    """Design B. The type of `zero` says in which lanes. Returns the largest magnitude of the run."""
    cdef Target row = t[0]
    cdef lane ceiling = <lane> row.ceiling
    cdef lane negative, significand, magnitude
    cdef carrier hidden, bits, most = 0, sign_bit
    cdef int32_t exponent, stored = 23 if carrier is uint32_t else 52, top = 8 * sizeof(carrier) - 1
    cdef int32_t sign_from = top - row.sign_shift, last = row.rebias + row.exponent_end
    cdef size_t i
    hidden = (<carrier> 1) << stored
    sign_bit = (<carrier> 1) << row.sign_shift
    for i in range(n):
        negative = <lane> (source[i] >> top)
        bits = source[i] & (((<carrier> 1) << top) - 1)
        most = most if most > bits else bits
        if carrier is uint32_t:
            significand = significand32(bits)
        elif lane is uint32_t:
            significand = significand64_jammed(bits)
        else:
            significand = significand64_wide(bits)
        exponent = <int32_t> ((bits if bits > hidden else hidden) >> stored)
        if carrier is uint64_t:
            exponent = exponent if exponent < last else last
        magnitude = round_pack(mode, negative, significand, exponent, &row)
        if counted:
            mask[i] = <uint8_t> flags_of(
                mode, negative, significand, exponent, <lane> (magnitude > <lane> row.largest), &row
            )
        magnitude = magnitude if magnitude < ceiling else ceiling
        target[i] = <code> (magnitude | <lane> ((source[i] >> sign_from) & sign_bit))
    return most


cdef inline void patch(
    const bint counted, const carrier *source, code *target, uint8_t *mask, const Target *t, Tally *tally, size_t n
) noexcept nogil:
    """Design D: infinity, NaN, split overflows and flushed numbers, over what the finite path wrote for them."""
    cdef Target row = t[0]
    cdef carrier infinity, bits, negative, magnitude, sign, is_infinity, is_nan, quiet, flags, flushed, dropped
    cdef carrier nans = 0
    cdef int32_t stored, top
    cdef size_t i
    if carrier is uint32_t:
        stored, top, infinity = 23, 31, 0x7F800000
    else:
        stored, top, infinity = 52, 63, 0x7FF0000000000000ULL
    for i in range(n):
        negative = source[i] >> top
        bits = source[i] & ((<carrier> 1 << top) - 1)
        sign = negative << row.sign_shift
        magnitude = <carrier> target[i] ^ sign
        is_infinity = bits == infinity
        is_nan = bits > infinity
        magnitude = select[carrier](
            magnitude > <carrier> row.largest,
            select[carrier](negative, <carrier> row.beyond[1], <carrier> row.beyond[0]), magnitude,
        )
        flushed = <carrier> (magnitude < <carrier> row.flush_output) & <carrier> (magnitude != 0)
        dropped = bits < <carrier> row.flush_input
        magnitude = select[carrier](flushed | dropped, 0, magnitude)
        magnitude = select[carrier](is_infinity, <carrier> row.infinity, magnitude)
        magnitude = select[carrier](
            is_nan, <carrier> row.nan | ((bits >> (stored - row.stored)) & <carrier> row.payload), magnitude
        )
        sign = select[carrier](is_nan, sign & (0 - <carrier> row.nan_sign), sign)
        target[i] = <code> (magnitude | sign)
        if counted:
            quiet = (bits >> (stored - 1)) & 1
            flags = mask[i]
            flags = select[carrier](flushed, UNDERFLOW | INEXACT, flags)
            flags = select[carrier](dropped, 0, flags)
            flags = select[carrier](is_infinity, <carrier> row.infinity_overflows * (OVERFLOW | INEXACT), flags)
            flags = select[carrier](is_nan, ((quiet ^ 1) | <carrier> row.nan_invalid) * INVALID, flags)
            mask[i] = <uint8_t> flags
            nans += is_nan
    if counted:
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
    cdef carrier one = 1, sign_bit = one << t.sign_shift, sign_from = top - t.sign_shift
    cdef carrier cut = stored - t.stored, half = one << (cut - 1), dropped = (half << 1) - 1
    cdef carrier rebias = (<carrier> t.rebias) << stored, largest = 0, smallest = 0 - one, negative, bits
    cdef uint32_t inexact = 0, lost
    cdef size_t i
    for i in range(n):
        negative = source[i] >> top
        bits = source[i] & ((one << top) - 1)
        largest = largest if largest > bits else bits
        smallest = smallest if smallest < bits - 1 else bits - 1
        bits = bits if bits > rebias else rebias
        target[i] = <code> (
            ((bits - rebias + increment(mode, (bits >> cut) & 1, negative, half)) >> cut)
            | ((source[i] >> sign_from) & sign_bit)
        )
        if counted:
            lost = (bits & dropped) != 0
            mask[i] = <uint8_t> (lost * INEXACT)
            inexact += lost
    if smallest < <carrier> t.ordinary_first - 1 or largest >= <carrier> t.ordinary_end:
        return False
    if counted:
        tally.inexact += inexact
        tally.ranges += inexact * t.refuse_inexact
    return True


cdef inline void in_mode(
    const Mode mode, const bint counted, const carrier *source, code *target, uint8_t *mask, const Target *t,
    Tally *tally, size_t n, lane zero
) noexcept nogil:
    cdef bint hopeful = t.ordinary_end != 0, flushing = t.flush_input or t.flush_output
    cdef carrier special, most
    cdef size_t at = 0, length
    special = 0x7F800000 if carrier is uint32_t else <carrier> 0x7FF0000000000000ULL
    if t.split:
        special = <carrier> t.ordinary_end
    while at < n:
        length = n - at if n - at < RUN else RUN
        if code is not uint64_t:
            if hopeful and ordinary(mode, counted, source + at, target + at, mask + at, t, tally, length):
                at += length
                continue
        hopeful = False
        most = finite(mode, counted, source + at, target + at, mask + at, t, length, zero)
        if most >= special or flushing:
            patch(counted, source + at, target + at, mask + at, t, tally, length)
        if counted:
            count(mask + at, t, tally, length)
        at += length


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
    else:
        in_mode(TO_ODD, counted, source, target, mask, t, tally, n, zero)


# The loops that exist: one for each width of source and target, with and without flags.

cdef loop plain_32_to_16(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(False, <const uint32_t *> source, <uint16_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop plain_32_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(False, <const uint32_t *> source, <uint32_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop plain_64_to_16(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(False, <const uint64_t *> source, <uint16_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop plain_64_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(False, <const uint64_t *> source, <uint32_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop plain_64_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(False, <const uint64_t *> source, <uint64_t *> target, mask, <const Target *> row, tally, n, <uint64_t> 0)


cdef loop counted_32_to_16(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(True, <const uint32_t *> source, <uint16_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop counted_32_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(True, <const uint32_t *> source, <uint32_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop counted_64_to_16(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(True, <const uint64_t *> source, <uint16_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop counted_64_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(True, <const uint64_t *> source, <uint32_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0)


cdef loop counted_64_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(True, <const uint64_t *> source, <uint64_t *> target, mask, <const Target *> row, tally, n, <uint64_t> 0)


cdef Block pick(bint counted, int source_size, int target_size):
    if counted:
        if source_size == 4:
            return <Block> counted_32_to_16 if target_size == 2 else <Block> counted_32_to_32
        if target_size == 8:
            return <Block> counted_64_to_64
        return <Block> counted_64_to_16 if target_size == 2 else <Block> counted_64_to_32
    if source_size == 4:
        return <Block> plain_32_to_16 if target_size == 2 else <Block> plain_32_to_32
    if target_size == 8:
        return <Block> plain_64_to_64
    return <Block> plain_64_to_16 if target_size == 2 else <Block> plain_64_to_32


cdef class Narrow(Stage):
    """FP32 or FP64 bits (source_size 4 or 8) to the codes of a format, by the numbers of a Target row."""

    def __init__(self, int source_size, int target_size, bint counted, **numbers):
        cdef dict row = self.target
        if (source_size, target_size) not in ((4, 2), (4, 4), (8, 2), (8, 4), (8, 8)):
            raise ValueError("carriers of 4 or 8 bytes, to codes of 2 bytes up to as many")
        row.update(numbers)
        self.target = row
        self.row = &self.target
        self.source_size, self.target_size = source_size, target_size
        self.block = pick(counted, source_size, target_size)
