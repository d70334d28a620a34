"""Widening: the codes of a format to the bits of FP32 or FP64 that hold every value of it."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from bitquant.kernels.stage cimport Stage

# A source format as plain numbers; shifts and biases are relative to the carrier. "magnitude" is a code without sign.
cdef struct Source:
    uint32_t sign_shift         # where the sign bit is; as many as the code's bits where there is none
    uint32_t stored             # stored significand bits
    uint64_t largest            # magnitude of the largest finite number; beyond are infinity and NaN
    uint64_t infinity           # magnitude of infinity; 0 where there is none
    uint64_t nan                # the one code that is NaN and no magnitude beyond `largest`; 0 where there is none
    bint nan_like_zero          # that code is the one of −0
    bint payload                # NaN has payloads
    uint32_t shift              # carrier's stored bits − stored bits
    uint64_t rebias             # (carrier's bias − bias), in the carrier's exponent field
    uint64_t raised             # `least` of Design B, which is added ...
    uint64_t least              # ... and subtracted again, 0 where exponents are the carrier's own
    int32_t unit                # exponent of the smallest subnormal number: its value is 2^unit (Design E)
    bint quiet                  # NaN is quieted: this stage is the conversion itself, not a step before it


cdef class Widen(Stage):
    cdef Source numbers


cdef class FromInteger(Stage):
    pass
