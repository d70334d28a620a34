"""Narrowing: FP32 or FP64 to a floating format, with one rounding."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

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
    uint64_t infinity           # magnitude given for an infinity
    uint64_t beyond[2]          # magnitude given on overflow, for + and −
    uint64_t nan                # magnitude given for NaN ...
    uint64_t payload            # ... and which bits of it come from the source
    uint64_t nan_sign           # 1 where NaN keeps its sign
    bint nan_invalid            # a quiet NaN raises invalid too: the target gets a number for it
    bint infinity_overflows     # an infinity raises overflow: the target gets a number for it
    uint64_t refuse_nan         # 1 where NaN is refused
    uint64_t refuse_overflow    # 1 where overflow is refused
    uint64_t flush_input        # source magnitudes below this one become zero
    uint64_t flush_output       # target magnitudes below this one become zero
    uint64_t ordinary_first     # source magnitudes from here ...
    uint64_t ordinary_end       # ... to before here are ordinary; 0 where none are


cdef class Narrow(Stage):
    cdef Target target
