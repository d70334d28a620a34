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
# (D) From FP32 to bytes and half words the finite path shifts by no variable: gradual underflow is fixed point.
#
#         |x| · 2^k                              an addition to the exponent field, of what is below the smallest normal
#                                                number, which becomes a power of two
#         cut off to an integer                  ... with a sticky last bit that says whether something was lost
#         + (|x| − smallest normal number)       of what is beyond it, in the source's own pattern
#         rounded at a constant place            the magnitude
#
#     Instead of the rounded magnitude, the source is lowered: to the number of the ceiling, or, where signs differ in
#     theirs, to just below the higher one.
#     What the FPU does here is exact: it cuts a number below 2^31 off to an integer, and makes one of an integer of 24
#     bits; no number on the way is subnormal. A subnormal input is not scaled but comes out below 1, which is as good;
#     zero does, too, which only the modes that look at signs or at the last bit can tell from zero.
#     For bytes there is room for all 24 bits of what does not round to zero, so that nothing sticky is needed: the last
#     bit of a code is bit 24 of the integer. For half words it is bit `cut`, as it is in the source.
#     Stochastic rounding adds the random integer, moved so that its top bit is the first one that is cut off: what
#     carries there is what reaches 2^bits (rounding.pxd, Design B). Random bits below the fixed point, and what was cut
#     off to get there, can add up to one more, which tells only where all bits are ones: such a run of 256 is rounded
#     again, from all bits. Nothing here counts flags.
# (E) Infinity, NaN, the flush rules and what an unsigned format makes of negative numbers need no rounding mode. One
#     patch loop (patch.pxd) writes them over what the finite path left there, in the runs that need it.
# (F) FP64 to a target of at most 26 stored bits folds the significand to 30 bits with a sticky last bit and
#     stays in 32-bit lanes; wider targets, those that reach below FP64's normal numbers, and stochastic rounding, which
#     needs all bits, use 64-bit lanes.
# (G) Flags are a second loop over the same run (flags.pxd). The mask of a run is written first and counted last, so
#     that it can be patched as well.
# (H) Modes are chosen for each run, so that all that follows the rounding exists once.
# (I) A loop writes words as wide as its lanes, or those of Design D; for all others shrink.pyx follows.
"""

from bitquant.kernels.flags cimport count, flag_by_chance, flag_in_runs, flag_inexact, patch_flags
from bitquant.kernels.machine cimport (
    bits_of_float, carrier, code, float_of_bits, int32_t, int64_t, lane, loop, place, select, uint8_t, uint16_t,
    uint32_t, uint64_t,
)
from bitquant.kernels.narrow cimport round_pack, unpacked, with_sign
from bitquant.kernels.patch cimport patch
from bitquant.kernels.philox cimport COUNTERS, words_of
from bitquant.kernels.rounding cimport (
    NEAREST_AWAY, NEAREST_EVEN, STOCHASTIC, TO_ODD, TOWARD_NEGATIVE, TOWARD_POSITIVE, TOWARD_ZERO, Mode, increment,
)
from bitquant.kernels.stage cimport DOUBT, RUN, Block, Stage, Tally

cdef enum:
    BYTE_CUT = 24               # Design D


cdef inline carrier finite(
    const Mode mode, const carrier *source, code *target, const Target *t, const uint32_t *words, size_t n, lane zero,
    place field
) noexcept nogil:
    """Design B. The types of `zero` and `field` say in which lanes. Returns the largest magnitude of the run."""
    cdef Target row = t[0]
    cdef lane above = <lane> row.ceiling[0], beneath = <lane> row.ceiling[1]
    cdef lane signed, negative, significand, magnitude, ceiling, random = 0
    cdef carrier bits, most = 0
    cdef place exponent, top = 8 * sizeof(carrier) - 1, last = row.rebias + row.exponent_end
    cdef size_t i
    for i in range(n):
        signed = <lane> (source[i] >> (8 * (sizeof(carrier) - sizeof(lane))))
        negative = signed >> (8 * sizeof(lane) - 1)
        bits = source[i] & (((<carrier> 1) << top) - 1)
        most = most if most > bits else bits
        significand = unpacked(bits, &row, &exponent, zero)
        if carrier is uint64_t:
            exponent = exponent if exponent < last else last
        if mode == STOCHASTIC:
            random = words[i]
        magnitude = round_pack(mode, negative, significand, exponent, random, &row)
        ceiling = above
        if mode == TOWARD_POSITIVE or mode == TOWARD_NEGATIVE:
            ceiling = select[lane](negative, beneath, above)
        target[i] = <code> with_sign(magnitude if magnitude < ceiling else ceiling, signed, &row)
    return most


cdef inline uint32_t gradual(
    const Mode mode, const uint32_t *source, code *target, const Target *t, const uint32_t *words, bint *sure, size_t n
) noexcept nogil:
    """Design D. Returns the largest magnitude of the run, and under stochastic rounding whether it is right."""
    cdef Target row = t[0]
    cdef uint32_t bits, scaled, fixed, most = 0, cut = BYTE_CUT if code is uint8_t else row.cut
    cdef uint32_t half = (<uint32_t> 1) << (cut - 1), first = row.first, lost = 2 * half - 1, missing, least = lost
    cdef uint32_t down = row.chance.bits - cut if row.chance.bits > cut else 0
    cdef uint32_t up = cut - row.chance.bits if cut > row.chance.bits else 0
    if mode == STOCHASTIC:
        half = (((<uint32_t> 1) << up) >> 1) & (0 - row.chance.nearest)
    cdef size_t i
    for i in range(n):
        bits = source[i] & 0x7FFFFFFF
        most = most if most > bits else bits
        bits = bits if bits < row.limit else row.limit
        scaled = (bits if bits < first else first) + row.lift
        fixed = <uint32_t> <int32_t> float_of_bits(scaled)
        if code is uint8_t:
            fixed += ((bits if bits > first else first) - first) << row.up
            if mode == TOWARD_POSITIVE or mode == TOWARD_NEGATIVE or mode == TO_ODD:
                bits = bits if bits < 1 else 1
                fixed = fixed if fixed > bits else bits
        else:
            if mode != STOCHASTIC:
                fixed = fixed | <uint32_t> (bits_of_float(<float> <int32_t> fixed) != scaled)
            fixed += (bits if bits > first else first) - first
            if mode == TOWARD_POSITIVE or mode == TOWARD_NEGATIVE or mode == TO_ODD:
                fixed = fixed & (0 - <uint32_t> (bits != 0))
        if mode == STOCHASTIC:
            fixed += ((words[i] >> down) << up) + half
            missing = ~fixed & lost
            least = least if least < missing else missing
        else:
            fixed += increment(mode, (fixed >> cut) & 1, source[i] >> 31, half)
        target[i] = <code> with_sign(fixed >> cut, source[i], &row)
    sure[0] = least != 0
    return most


cdef inline bint ordinary(
    const Mode mode, const carrier *source, code *target, const Target *t, size_t n
) noexcept nogil:
    """Design C. Returns whether the run was ordinary; if not, the target is to be written again."""
    cdef int32_t stored = 23 if carrier is uint32_t else 52, top = 8 * sizeof(carrier) - 1
    cdef carrier one = 1, sign_bit = <carrier> t.sign_bit, sign_from = top - t.sign_shift
    cdef carrier cut = stored - t.stored, half = one << (cut - 1)
    cdef carrier rebias = (<carrier> t.rebias) << stored, largest = 0, smallest = 0 - one, negative, bits
    # A negative number is beyond the largest one of an unsigned format: its sign bit counts.
    cdef carrier looked_at = (one << top) - 1 + (((<carrier> t.unsigned)) << top), zero = <carrier> t.ordinary_zero
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
    return smallest >= <carrier> t.ordinary_first - zero and largest < <carrier> t.ordinary_end


cdef inline bint ordinary_by_mode(const carrier *source, code *target, const Target *t, size_t n) noexcept nogil:
    if t.mode == NEAREST_EVEN:
        return ordinary(NEAREST_EVEN, source, target, t, n)
    if t.mode == NEAREST_AWAY:
        return ordinary(NEAREST_AWAY, source, target, t, n)
    if t.mode == TOWARD_ZERO:
        return ordinary(TOWARD_ZERO, source, target, t, n)
    if t.mode == TOWARD_POSITIVE:
        return ordinary(TOWARD_POSITIVE, source, target, t, n)
    if t.mode == TOWARD_NEGATIVE:
        return ordinary(TOWARD_NEGATIVE, source, target, t, n)
    return ordinary(TO_ODD, source, target, t, n)


cdef loop decide_by_chance(
    const uint32_t *source, uint32_t *target, const Target *t, const uint32_t *words, size_t n
) noexcept nogil:
    """Design D: a run again, from all bits."""
    finite(STOCHASTIC, source, target, t, words, n, <uint32_t> 0, <int32_t> 0)


cdef inline uint32_t gradual_by_chance(
    const uint32_t *source, code *target, const Target *t, const uint32_t *words, size_t n
) noexcept nogil:
    cdef uint32_t decided[RUN]
    cdef uint32_t most = 0, largest
    cdef size_t at = 0, length, i
    cdef bint sure
    while at < n:
        length = n - at if n - at < RUN else RUN
        largest = gradual(STOCHASTIC, source + at, target + at, t, words + at, &sure, length)
        most = most if most > largest else largest
        if not sure:
            decide_by_chance(source + at, decided, t, words + at, length)
            for i in range(length):
                target[at + i] = <code> decided[i]
        at += length
    return most


cdef inline uint32_t gradual_by_mode(
    const uint32_t *source, code *target, const Target *t, const uint32_t *words, size_t n
) noexcept nogil:
    cdef bint sure
    if t.mode == NEAREST_EVEN:
        return gradual(NEAREST_EVEN, source, target, t, NULL, &sure, n)
    if t.mode == NEAREST_AWAY:
        return gradual(NEAREST_AWAY, source, target, t, NULL, &sure, n)
    if t.mode == TOWARD_ZERO:
        return gradual(TOWARD_ZERO, source, target, t, NULL, &sure, n)
    if t.mode == TOWARD_POSITIVE:
        return gradual(TOWARD_POSITIVE, source, target, t, NULL, &sure, n)
    if t.mode == TOWARD_NEGATIVE:
        return gradual(TOWARD_NEGATIVE, source, target, t, NULL, &sure, n)
    if t.mode == STOCHASTIC:
        return gradual_by_chance(source, target, t, words, n)
    return gradual(TO_ODD, source, target, t, NULL, &sure, n)


cdef inline carrier finite_by_mode(
    const carrier *source, code *target, const Target *t, const uint32_t *words, size_t n, lane zero, place field
) noexcept nogil:
    if t.mode == NEAREST_EVEN:
        return finite(NEAREST_EVEN, source, target, t, words, n, zero, field)
    if t.mode == NEAREST_AWAY:
        return finite(NEAREST_AWAY, source, target, t, words, n, zero, field)
    if t.mode == TOWARD_ZERO:
        return finite(TOWARD_ZERO, source, target, t, words, n, zero, field)
    if t.mode == TOWARD_POSITIVE:
        return finite(TOWARD_POSITIVE, source, target, t, words, n, zero, field)
    if t.mode == TOWARD_NEGATIVE:
        return finite(TOWARD_NEGATIVE, source, target, t, words, n, zero, field)
    if t.mode == STOCHASTIC and (carrier is uint32_t or lane is uint64_t):
        return finite(STOCHASTIC, source, target, t, words, n, zero, field)
    return finite(TO_ODD, source, target, t, words, n, zero, field)


cdef inline void narrow(
    const carrier *source, code *target, uint8_t *mask, const Target *t, Tally *tally, size_t n, lane zero, place field
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
        if code is not uint64_t:
            if hopeful and ordinary_by_mode(source + at, target + at, t, length):
                if t.counted:
                    flag_inexact(source + at, mask + at, t, tally, length)
                at += length
                continue
            if hopeful:
                tally.patience = 2 * tally.patience + 1 if tally.patience < DOUBT else DOUBT
                tally.doubt = tally.patience
        hopeful = False
        length = n - at
        if code is uint8_t or code is uint16_t:
            if t.mode == STOCHASTIC:
                words = words_of(tally, made, at, length, &t.chance)
            most = gradual_by_mode(<const uint32_t *> source + at, target + at, t, words, length)
            if t.counted:
                flag_in_runs(source + at, mask + at, t, length, zero, field)
        else:
            if (carrier is uint32_t or lane is uint64_t) and t.mode == STOCHASTIC:
                words = words_of(tally, made, at, length, &t.chance)
                if t.counted:
                    flag_by_chance(source + at, mask + at, t, words, length, zero, field)
            elif t.counted:
                flag_in_runs(source + at, mask + at, t, length, zero, field)
            most = finite_by_mode(source + at, target + at, t, words, length, zero, field)
        if most >= special or t.always_patch:
            if t.counted:
                patch_flags(source + at, target + at, mask + at, t, length)
            patch(source + at, target + at, t, tally, length)
        if t.counted:
            count(mask + at, t, tally, length)
        at += length
    if hopeful:
        tally.patience = 0


# The loops that exist.

cdef loop narrow_32_to_8(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(
        <const uint32_t *> source, <uint8_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0, <int32_t> 0
    )


cdef loop narrow_32_to_16(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(
        <const uint32_t *> source, <uint16_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0, <int32_t> 0
    )


cdef loop narrow_32_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(
        <const uint32_t *> source, <uint32_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0, <int32_t> 0
    )


cdef loop narrow_64_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(
        <const uint64_t *> source, <uint32_t *> target, mask, <const Target *> row, tally, n, <uint32_t> 0, <int32_t> 0
    )


cdef loop narrow_64_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    narrow(
        <const uint64_t *> source, <uint64_t *> target, mask, <const Target *> row, tally, n, <uint64_t> 0, <int64_t> 0
    )


cdef class Narrow(Stage):
    """FP32 or FP64 bits (source_size 4 or 8) to the codes of a format, by the numbers of a Target row."""

    def __init__(self, int source_size, int target_size, **numbers):
        cdef dict row = self.target
        cdef dict loops = {(4, 1): 0, (4, 2): 1, (4, 4): 2, (8, 4): 3, (8, 8): 4}
        cdef Block[5] blocks = [
            <Block> narrow_32_to_8, <Block> narrow_32_to_16, <Block> narrow_32_to_32, <Block> narrow_64_to_32,
            <Block> narrow_64_to_64,
        ]
        if (source_size, target_size) not in loops:
            raise ValueError(f"sizes of source and target: one of {list(loops)}")
        row.update(numbers)
        self.target = row
        self.row = &self.target
        self.source_size, self.target_size = source_size, target_size
        self.block = blocks[<int> loops[source_size, target_size]]
