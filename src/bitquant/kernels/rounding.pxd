"""Rounding: one inline function for each mode, and the one place that rounds.

# Design:
# (A) A mode is the number that is added below the last kept bit before the rest is cut off. `half` is the weight of
#     the first bit cut off, 2·half − 1 is therefore all ones below the last kept bit:
#
#         significand   1 x x x x x x o | h s s s s s        o: `odd`, the last kept bit
#         nearest_even                  | 0 1 1 1 1 1 + o    a tie carries only into an odd number
#         nearest_away                  | 1 0 0 0 0 0        a tie always carries
#         toward_zero                   | 0 0 0 0 0 0        nothing ever carries
#         upward                        | 1 1 1 1 1 1        anything but zero carries (one sign only)
#         to_odd                        | 1 1 1 1 1 1        the same, into an even number alone
#
# (B) Stochastic rounding compares: ν, the fraction cut off, is scaled to `bits` bits (F) and carries where F + R
#     reaches 2^bits, R a random integer below that. How ν·2^bits becomes an integer is the variant's rule: A cuts, B
#     takes the nearest with ties up (P3109 writes that as a comparison with one bit more), C the nearest with ties
#     to even. F + R may need a bit more than the lane has, so the loop asks for F > 2^bits − 1 − R.
# (C) `mode` is a literal wherever these are called, so the chain below folds to one expression and the loop
#     vectorises. A mode held in a variable inside the loop costs a factor of ten. `one` is 1 and comes from memory:
#     GCC 12 does not vectorise a constant shifted by a 64-bit lane.
# (D) Integers only. Source of the rules: IEEE 754-2019, clause 4.3; to_odd: Boldo and Melquiond, 2008; stochastic:
#     IEEE P3109, interim report 4.0.
"""

from bitquant.kernels.machine cimport lane, place, uint32_t

cdef enum Mode:
    NEAREST_EVEN
    NEAREST_AWAY
    TOWARD_ZERO
    TOWARD_POSITIVE
    TOWARD_NEGATIVE
    TO_ODD
    STOCHASTIC

# A stochastic rounding as plain numbers.
cdef struct Chance:
    uint32_t bits               # of a random integer: 1 to 32
    uint32_t nearest            # F is the nearest integer to ν·2^bits, not the one below it (B, C) ...
    uint32_t even               # ... with ties to even (C)
    uint32_t key[2]             # of the generator (philox.pxd): the seed


cdef inline lane nearest_even(lane odd, lane half) noexcept nogil:
    return half - (odd ^ 1)


cdef inline lane nearest_away(lane half) noexcept nogil:
    return half


cdef inline lane toward_positive(lane negative, lane half) noexcept nogil:
    return (half + half - 1) & (negative - 1)


cdef inline lane toward_negative(lane negative, lane half) noexcept nogil:
    return (half + half - 1) & (0 - negative)


cdef inline lane to_odd(lane odd, lane half) noexcept nogil:
    return (half + half - 1) & (odd - 1)


cdef inline lane increment(const Mode mode, lane odd, lane negative, lane half) noexcept nogil:
    """What to add below the last kept bit. `odd` and `negative` are 0 or 1."""
    if mode == NEAREST_EVEN:
        return nearest_even(odd, half)
    if mode == NEAREST_AWAY:
        return nearest_away(half)
    if mode == TOWARD_POSITIVE:
        return toward_positive(negative, half)
    if mode == TOWARD_NEGATIVE:
        return toward_negative(negative, half)
    if mode == TO_ODD:
        return to_odd(odd, half)
    return 0


cdef inline lane round_off(
    const Mode mode, lane significand, lane cut, lane negative, lane flip, lane one
) noexcept nogil:
    """significand / 2^cut, rounded. Requires 1 ≤ cut < width of the lane, significand < 2^(width − 2).

    `flip` is 1 where a result is even whose last kept bit is not (P3109's formats of one digit), else 0.
    """
    return (
        significand + increment(mode, ((significand >> cut) & 1) ^ flip, negative, one << (cut - 1))
    ) >> cut


cdef inline lane round_by_chance(
    lane significand, place cut, lane random, const Chance *c, lane one
) noexcept nogil:
    """significand / 2^cut, rounded stochastically (Design B).

    Requires cut ≥ 1 and random < 2^bits; significand < 2^(width − 2) where cut reaches the width: a shift by more is
    then as good as one by the width, for nothing is left of it.
    """
    cdef place most = 8 * sizeof(lane) - 1, kept_cut = cut if cut < most else most, down = cut - <place> c.bits
    cdef place up = -down if down < 0 else 0
    cdef lane kept = significand >> <lane> kept_cut, fraction = significand - (kept << <lane> kept_cut)
    cdef lane half, odd, scaled
    down = down if down > 0 else 0
    down = down if down < most else most
    half = (one << <lane> down) >> 1
    odd = (fraction >> <lane> down) & 1
    half = (half - (<lane> c.even & (odd ^ 1) & <lane> (half != 0))) & (0 - <lane> c.nearest)
    scaled = ((fraction + half) >> <lane> down) << <lane> up
    return kept + <lane> (scaled > (~(<lane> 0) >> (8 * sizeof(lane) - c.bits)) - random)
