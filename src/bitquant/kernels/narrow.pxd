"""Narrowing: FP32 or FP64 to a floating format, with one rounding."""

from bitquant.kernels.fields cimport significand32, significand64_jammed, significand64_wide
from bitquant.kernels.machine cimport carrier, int32_t, int64_t, lane, place, uint32_t, uint64_t
from bitquant.kernels.rounding cimport STOCHASTIC, Chance, Mode, round_by_chance, round_off
from bitquant.kernels.stage cimport Stage

# A target format together with the rules, as plain numbers. "magnitude" is a code without its sign bit; a pair is for
# positive and negative numbers.
cdef struct Target:
    int mode                    # rounding.Mode
    uint64_t one                # 1 (rounding.pxd, Design C)
    Chance chance               # of mode STOCHASTIC
    bint counted                # flags are asked for
    bint tiny_before            # tininess: before rounding, or after
    uint64_t over_first[2]      # the smallest source magnitudes that overflow ...
    uint64_t tiny_end[2]        # ... and that are not tiny
    int32_t rebias              # bias of the source minus bias of the target
    int32_t exponent_end        # one beyond the largest exponent field
    int32_t lowest              # source exponents are raised to this one: all bits are lost there as well
    uint32_t stored             # stored significand bits
    uint32_t cut                # bits of the lane's significand below the target's last bit; at least 2
    int32_t knee                # cut + the source exponent of the smallest normal number
    uint32_t limit              # Design D of narrow.pyx: FP32's bits to which magnitudes are lowered, ...
    uint32_t first              # ... of the smallest normal number, 0 where it is FP32's own, ...
    uint32_t lift               # ... what is added to those below, ...
    uint32_t up                 # ... and by how much those beyond are moved up, for bytes
    uint32_t code_parity        # 1 where the parity of a code, not of its significand, makes it even
    uint32_t sign_shift
    uint64_t sign_bit           # 0 where the format has no sign
    uint64_t negative_bits      # set in a negative number's code: the sign bit; or, without a sign, all ones ...
    uint64_t zero_drops_sign    # 1 where zero has no sign
    uint64_t everything         # ... which are lowered to this one, NaN; else all ones
    uint64_t largest            # magnitude of the largest finite number
    uint64_t ceiling[2]         # rounded magnitudes are lowered to this one: `largest`, or the one after it
    bint always_patch           # numbers other than infinity and NaN need the patch loop
    uint64_t infinity[2]        # code given for an infinity
    uint64_t infinity_overflows[2]  # 1 where an infinity raises overflow: the target has none, or a rule saturates
    uint64_t unsigned           # 1 where a negative number that does not round to zero lies below the range, ...
    uint64_t below_always       # ... 1 where even that does, ...
    uint64_t below              # ... and the code given for it
    uint64_t zero[2]            # code given for a zero
    uint64_t zero_flags         # flags that a zero raises: the target has none
    uint64_t nan[2]             # code given for NaN ...
    uint64_t payload            # ... and which bits of it come from the source
    bint nan_invalid            # a quiet NaN raises invalid too: the target gets a number for it
    uint64_t refuse_nan         # 1 where NaN is refused
    uint64_t refuse_overflow    # 1 where overflow is refused
    uint64_t refuse_inexact     # 1 where a number that is not the target's is refused, overflow too
    uint64_t flush_input        # source magnitudes below this one become zero
    uint64_t flush_output       # target magnitudes below this one become zero
    uint64_t ordinary_zero      # 1 where a zero is ordinary
    uint64_t ordinary_first     # and so are source magnitudes from here, at least 1, ...
    uint64_t ordinary_end       # ... to before here; 0 where none are


cdef class Narrow(Stage):
    cdef Target target


cdef inline place cut_of(place exponent, const Target *t) noexcept nogil:
    """Step 2: how many bits of the significand a number with this exponent field loses, not less than `cut`."""
    cdef place normal = t.cut, lost = t.knee - exponent
    return lost if lost > normal else normal


cdef inline lane flip_of(place exponent, const Target *t, lane zero) noexcept nogil:
    """Whether the parity of a code differs from that of its significand: where it has no stored bit."""
    cdef place first = t.rebias + 1
    return <lane> ((exponent if exponent > first else first) - first) & t.code_parity


cdef inline lane round_by(
    const Mode mode, lane negative, lane significand, place cut, lane flip, lane random, const Target *t
) noexcept nogil:
    """Step 3: significand / 2^cut, rounded."""
    if mode == STOCHASTIC:
        return round_by_chance(significand, cut, random, &t.chance, <lane> t.one)
    return round_off(mode, significand, <lane> cut, negative, flip, <lane> t.one)


cdef inline lane round_pack(
    const Mode mode, lane negative, lane significand, place exponent, lane random, const Target *t
) noexcept nogil:
    """Steps 1 to 4: the magnitude of the rounded number, before the overflow rule. The one place that rounds.

    Requires exponent ≤ rebias + exponent_end, so that the magnitude fits the lane, and exponent ≥ t.lowest.
    """
    cdef place normal = t.cut, lost = t.knee - exponent, cut = lost if lost > normal else normal
    cdef lane kept = round_by(mode, negative, significand, cut, flip_of(exponent, t, significand), random, t)
    # Where `cut` is more than an exponent this large would lose, the exponent is that much beyond the smallest one.
    return ((<lane> (cut - lost)) << t.stored) + kept


cdef inline lane unpacked(carrier bits, const Target *t, place *exponent, lane zero) noexcept nogil:
    """The significand of a magnitude in its lane, and its exponent field, not below `lowest`."""
    cdef carrier lowest
    cdef lane significand
    if lane is uint32_t:
        lowest = (<carrier> t.lowest) << (23 if carrier is uint32_t else 52)
        exponent[0] = <place> ((bits if bits > lowest else lowest) >> (23 if carrier is uint32_t else 52))
        if carrier is uint32_t:
            significand = significand32(bits)
        else:
            significand = significand64_jammed(bits)
    else:
        significand = significand64_wide(bits, <int64_t *> exponent)
        exponent[0] = exponent[0] if exponent[0] > t.lowest else t.lowest
    return significand


cdef inline lane with_sign(lane magnitude, lane signed, const Target *t) noexcept nogil:
    """The magnitude with the sign that is the top bit of `signed`."""
    cdef lane sign = signed & ((0 - magnitude) | (<lane> t.zero_drops_sign - 1))
    magnitude = magnitude | ((0 - (sign >> (8 * sizeof(lane) - 1))) & <lane> t.negative_bits)
    # Where all numbers are below that, it still keeps GCC from packing sign and magnitude into bytes each by itself.
    return magnitude if magnitude < <lane> t.everything else <lane> t.everything
