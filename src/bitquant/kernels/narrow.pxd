"""Narrowing: FP32 or FP64 to a floating format, with one rounding."""

from bitquant.kernels.machine cimport int32_t, lane, uint32_t, uint64_t
from bitquant.kernels.rounding cimport Mode, round_off
from bitquant.kernels.stage cimport Stage

# A target format together with the rules, as plain numbers. "magnitude" is a code without its sign bit.
cdef struct Target:
    int mode                    # rounding.Mode
    bint tiny_before            # tininess: before rounding, or after
    int32_t rebias              # bias of the source minus bias of the target
    int32_t exponent_end        # 2^(exponent bits): one beyond the largest exponent field
    uint32_t stored             # stored significand bits
    uint32_t cut                # bits of the lane's significand below the target's last bit; at least 2
    uint32_t sign_shift
    uint64_t largest            # magnitude of the largest finite number
    uint64_t ceiling            # rounded magnitudes are lowered to this one: `largest`, or the one after it
    uint64_t beyond[2]          # magnitude given on overflow, for + and −
    bint split                  # whether one of them is not `ceiling`
    uint64_t infinity           # magnitude given for an infinity
    uint64_t nan                # magnitude given for NaN ...
    uint64_t payload            # ... and which bits of it come from the source
    uint64_t nan_sign           # 1 where NaN keeps its sign
    bint nan_invalid            # a quiet NaN raises invalid too: the target gets a number for it
    bint infinity_overflows     # an infinity raises overflow: the target gets a number for it
    uint64_t refuse_nan         # 1 where NaN is refused
    uint64_t refuse_overflow    # 1 where overflow is refused
    uint64_t refuse_inexact     # 1 where a number that is not the target's is refused, overflow too
    uint64_t flush_input        # source magnitudes below this one become zero
    uint64_t flush_output       # target magnitudes below this one become zero
    uint64_t ordinary_first     # zero, and source magnitudes from here, at least 1, ...
    uint64_t ordinary_end       # ... to before here are ordinary; 0 where none are


cdef class Narrow(Stage):
    cdef Target target


cdef inline lane cut_of(int32_t exponent, const Target *t, lane zero) noexcept nogil:
    """Step 2: how many bits of the significand a number with this exponent field loses."""
    cdef int32_t most = 8 * sizeof(lane) - 1, normal = t.cut
    cdef int32_t cut = normal + t.rebias + 1 - exponent
    cut = cut if cut > normal else normal
    return <lane> (cut if cut < most else most)


cdef inline lane round_pack(
    const Mode mode, lane negative, lane significand, int32_t exponent, const Target *t
) noexcept nogil:
    """Steps 1 to 4: the magnitude of the rounded number, before the overflow rule. The one place that rounds.

    Requires exponent ≤ rebias + exponent_end, so that the magnitude fits the lane.
    """
    cdef int32_t first = t.rebias + 1
    cdef lane kept = round_off(mode, significand, cut_of(exponent, t, significand), negative)
    exponent = exponent if exponent > first else first
    return ((<lane> (exponent - first)) << t.stored) + kept
