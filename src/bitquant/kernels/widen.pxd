"""Widening: the codes of a format to the bits of FP32 or FP64 that hold every value of it."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from bitquant.kernels.stage cimport Stage

# A source format as plain numbers; shifts and biases are relative to the carrier.
cdef struct Source:
    uint32_t sign_shift
    uint32_t largest            # magnitude of the largest finite number
    uint32_t subnormal          # magnitudes below this one are subnormal here and normal in the carrier
    uint32_t shift              # carrier's stored bits − stored bits
    uint64_t rebias             # (carrier's bias − bias), in the carrier's exponent field
    int32_t unit                # exponent of the smallest subnormal number: its value is 2^unit
    bint quiet                  # NaN is quieted: this stage is the conversion itself, not a step before it


cdef class Widen(Stage):
    cdef Source numbers


cdef class FromInteger(Stage):
    pass
