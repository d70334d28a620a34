"""A pipeline: what others may cimport (through `cimport bitquant`), and the kernels' one loop over memory."""

from libc.stdint cimport uint8_t, uint64_t

from bitquant.kernels.stage cimport Block

cdef enum:
    MOST_STEPS = 6


cdef struct Step:
    Block block
    const void *row
    size_t source_size
    size_t target_size
    bint reports                # its flags are the conversion's flags


cdef class Pipeline:
    cdef Step steps[MOST_STEPS]
    cdef int count
    cdef readonly tuple stages
    cdef readonly bint counted
    cdef uint64_t convert(self, const void *source, void *target, size_t n, uint8_t *mask) noexcept nogil
    cdef uint64_t convert_one(self, uint64_t code) noexcept nogil
