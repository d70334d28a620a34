"""A stage: what is done to one block of numbers while it lies in the first-level cache."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    BLOCK = 1024            # numbers in a block: two scratch blocks of eight-byte words fit a 32 KiB cache
    RUN = 256               # numbers that take a short path together, or do not
    STREAMING = 1 << 23     # bytes written from which streaming past the caches pays
    DOUBT = 31              # blocks without a short path after some that did not take it, at most

cdef enum Flag:
    INVALID = 1
    OVERFLOW = 2
    UNDERFLOW = 4
    INEXACT = 8

# What a stage counts, and where it is. `nans` and `ranges` count what a rule refuses; the pipeline then finds the
# first.
cdef struct Tally:
    uint64_t invalid
    uint64_t overflow
    uint64_t underflow
    uint64_t inexact
    uint64_t nans
    uint64_t ranges
    uint64_t index              # place of the block's first number in the array
    const uint32_t *random      # the block's random integers where the caller brings them, else NULL
    bint masked                 # the mask is asked for; where it is not, a stage may leave it as it is
    int doubt                   # blocks for which no short path is tried any more, after one that did not take it ...
    int patience                # ... and how many it was the last time, 0 after one that did

# Reads n ≤ BLOCK numbers from source, writes n to target (which never overlap) and one byte of flags each to mask,
# which has room for them in any case. Adds to the tally, never resets it.
ctypedef void (*Block)(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil


cdef class Stage:
    cdef Block block
    cdef const void *row
    cdef readonly int source_size
    cdef readonly int target_size
