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
# (B) `mode` is a literal wherever these are called, so the chain below folds to one expression and the loop
#     vectorises. A mode held in a variable inside the loop costs a factor of ten.
# (C) Integers only. Source of the rules: IEEE 754-2019, clause 4.3; to_odd: Boldo and Melquiond, 2008.
"""

from bitquant.kernels.machine cimport lane

cdef enum Mode:
    NEAREST_EVEN
    NEAREST_AWAY
    TOWARD_ZERO
    TOWARD_POSITIVE
    TOWARD_NEGATIVE
    TO_ODD


cdef inline lane nearest_even(lane odd, lane half) noexcept nogil:
    return half - 1 + odd


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


cdef inline lane round_off(const Mode mode, lane significand, lane cut, lane negative) noexcept nogil:
    """significand / 2^cut, rounded. Requires 1 ≤ cut < width of the lane, significand < 2^(width − 2)."""
    return (significand + increment(mode, (significand >> cut) & 1, negative, (<lane> 1) << (cut - 1))) >> cut
