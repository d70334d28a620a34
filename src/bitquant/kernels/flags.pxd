"""Which flags a narrowing raises (IEEE 754-2019 clause 7), as bits of stage.Flag.

# Design:
# (A) The loops of narrow.pyx do not know of flags; these here look at the source a second time. What overflows and
#     what is tiny depends on the rounding mode by a threshold alone: the smallest magnitude that does, or no longer
#     is. Whether a number is inexact depends on no mode. So no loop here exists once for each mode.
# (B) Only under stochastic rounding each number has thresholds of its own: it is rounded once more.
# (C) Where the mask itself is not asked for, an ordinary run is counted and nothing is written.
"""

from bitquant.kernels.machine cimport carrier, code, int32_t, lane, place, select, uint8_t, uint32_t, uint64_t
from bitquant.kernels.narrow cimport Target, cut_of, flip_of, round_by, round_pack, unpacked
from bitquant.kernels.rounding cimport STOCHASTIC, Mode
from bitquant.kernels.stage cimport INEXACT, INVALID, OVERFLOW, RUN, UNDERFLOW, Tally

cdef enum:
    BYTE_SUM = 192              # numbers whose flags are added up in bytes


cdef inline lane flags_of(
    const Mode mode, lane negative, lane significand, place exponent, lane over, lane random, const Target *t
) noexcept nogil:
    """The flags of one finite number, rounded in any mode."""
    cdef lane one = <lane> t.one, flip = flip_of(exponent, t, significand)
    cdef place cut = cut_of(exponent, t), most = 8 * sizeof(lane) - 1
    # Below the smallest normal number: it loses more bits than a normal one, or lacks the hidden bit already.
    cdef lane below = <lane> (significand != 0) & (
        <lane> (cut > <place> t.cut) | <lane> (significand < (one << (t.stored + t.cut)))
    )
    # After rounding, with the exponent unbounded: one more bit is kept than gradual underflow keeps.
    cdef lane wider = round_by(mode, negative, significand, cut - 1, flip ^ t.code_parity, random, t)
    cdef lane tiny = below & (<lane> t.tiny_before | <lane> (wider < (one << (t.stored + 1))))
    cdef lane inexact = <lane> ((significand & ((one << <lane> (cut if cut < most else most)) - 1)) != 0) | over
    return (over * OVERFLOW) | ((tiny & inexact) * UNDERFLOW) | (inexact * INEXACT)


cdef inline void flag(
    const carrier *source, uint8_t *mask, const Target *t, size_t n, lane zero, place field
) noexcept nogil:
    """Design A: the flags of at most RUN finite numbers. They become bytes in a second loop: eight vectors of 64-bit
    lanes at once do not fit the registers."""
    cdef Target row = t[0]
    cdef lane flags[RUN]
    cdef lane significand, over, tiny, inexact, one = <lane> row.one
    cdef carrier bits, negative
    cdef place exponent, cut, most = 8 * sizeof(lane) - 1, top = 8 * sizeof(carrier) - 1
    cdef size_t i
    for i in range(n):
        negative = source[i] >> top
        bits = source[i] & (((<carrier> 1) << top) - 1)
        over = <lane> (bits >= select[carrier](negative, <carrier> row.over_first[1], <carrier> row.over_first[0]))
        tiny = <lane> (bits < select[carrier](negative, <carrier> row.tiny_end[1], <carrier> row.tiny_end[0]))
        significand = unpacked(bits, &row, &exponent, zero)
        cut = cut_of(exponent, &row)
        inexact = <lane> ((significand & ((one << <lane> (cut if cut < most else most)) - 1)) != 0) | over
        flags[i] = over * OVERFLOW | (tiny & inexact) * UNDERFLOW | inexact * INEXACT
    for i in range(n):
        mask[i] = <uint8_t> flags[i]


cdef inline void flag_in_runs(
    const carrier *source, uint8_t *mask, const Target *t, size_t n, lane zero, place field
) noexcept nogil:
    cdef size_t at = 0, length
    while at < n:
        length = n - at if n - at < RUN else RUN
        flag(source + at, mask + at, t, length, zero, field)
        at += length


cdef inline void flag_by_chance(
    const carrier *source, uint8_t *mask, const Target *t, const uint32_t *words, size_t n, lane zero, place field
) noexcept nogil:
    """Design B."""
    cdef Target row = t[0]
    cdef lane significand, over
    cdef carrier bits
    cdef place exponent, top = 8 * sizeof(carrier) - 1, last = row.rebias + row.exponent_end
    cdef size_t i
    for i in range(n):
        bits = source[i] & (((<carrier> 1) << top) - 1)
        significand = unpacked(bits, &row, &exponent, zero)
        exponent = exponent if exponent < last else last
        over = round_pack(STOCHASTIC, <lane> 0, significand, exponent, <lane> words[i], &row) > <lane> row.largest
        mask[i] = <uint8_t> flags_of(STOCHASTIC, <lane> 0, significand, exponent, over, <lane> words[i], &row)


cdef inline void flag_inexact(
    const carrier *source, uint8_t *mask, const Target *t, Tally *tally, size_t n
) noexcept nogil:
    """The flags of an ordinary run: it has no others."""
    cdef carrier dropped = ((<carrier> t.one) << ((23 if carrier is uint32_t else 52) - t.stored)) - 1
    cdef carrier inexact = 0
    cdef size_t i
    for i in range(n):
        inexact += (source[i] & dropped) != 0
    if tally.masked:
        for i in range(n):
            mask[i] = <uint8_t> (<carrier> ((source[i] & dropped) != 0) * INEXACT)
    tally.inexact += inexact
    tally.ranges += inexact * t.refuse_inexact


cdef inline carrier unusual(
    carrier word, carrier given, const Target *t, carrier *flushed, carrier *below, carrier *infinite, carrier *nan
) noexcept nogil:
    """What there is to patch, each 0 or 1: whether the source is zero or taken for it, is returned."""
    cdef int32_t top = 8 * sizeof(carrier) - 1
    cdef carrier bits = word & ((<carrier> 1 << top) - 1), magnitude = given & ~<carrier> t.sign_bit, nothing, infinity
    infinity = 0x7F800000 if carrier is uint32_t else <carrier> 0x7FF0000000000000ULL
    infinite[0] = bits == infinity
    nan[0] = bits > infinity
    nothing = <carrier> (bits < <carrier> t.flush_input) | <carrier> (bits == 0)
    below[0] = (word >> top) & <carrier> t.unsigned & (<carrier> (given != 0) | <carrier> t.below_always) & ~nothing
    flushed[0] = <carrier> (magnitude < <carrier> t.flush_output) & <carrier> (magnitude != 0) & ~below[0]
    return nothing


cdef inline void patch_flags(
    const carrier *source, const code *target, uint8_t *mask, const Target *t, size_t n
) noexcept nogil:
    """The flags to what `patch` is going to write."""
    cdef Target row = t[0]
    cdef carrier negative, nothing, flushed, below, infinite, nan, flags
    cdef int32_t quiet = 22 if carrier is uint32_t else 51, top = 8 * sizeof(carrier) - 1
    cdef size_t i
    for i in range(n):
        negative = source[i] >> top
        nothing = unusual[carrier](source[i], <carrier> target[i], &row, &flushed, &below, &infinite, &nan)
        flags = select[carrier](flushed, UNDERFLOW | INEXACT, mask[i])
        flags = select[carrier](nothing, <carrier> row.zero_flags, flags)
        flags = select[carrier](below, OVERFLOW | INEXACT, flags)
        flags = select[carrier](
            infinite,
            select[carrier](
                negative, <carrier> row.infinity_overflows[1], <carrier> row.infinity_overflows[0]
            ) * (OVERFLOW | INEXACT),
            flags,
        )
        flags = select[carrier](nan, (((source[i] >> quiet) & 1 ^ 1) | <carrier> row.nan_invalid) * INVALID, flags)
        mask[i] = <uint8_t> flags


cdef inline void count(const uint8_t *mask, const Target *t, Tally *tally, size_t n) noexcept nogil:
    """Adds up the flags of a block, so many numbers at a time that bytes hold the sums."""
    cdef uint8_t invalid, overflow, underflow, inexact
    cdef uint64_t overflows = 0, inexacts = 0
    cdef size_t at = 0, i, end
    while at < n:
        end = n if n - at < BYTE_SUM else at + BYTE_SUM
        invalid = overflow = underflow = inexact = 0
        for i in range(at, end):
            invalid += mask[i] & 1
            overflow += (mask[i] >> 1) & 1
            underflow += (mask[i] >> 2) & 1
            inexact += (mask[i] >> 3) & 1
        tally.invalid += invalid
        tally.underflow += underflow
        overflows += overflow
        inexacts += inexact
        at = end
    tally.overflow += overflows
    tally.inexact += inexacts
    tally.ranges += (overflows & (0 - t.refuse_overflow)) | (inexacts & (0 - t.refuse_inexact))
