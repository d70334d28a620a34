"""The one loop over memory: takes an array block by block through a list of stages.

# Design:
# (A) A conversion is a list of stages (widen, narrow, to integer ...). Each works on a block that lies in the
#     first-level cache, so a conversion with two stages costs one pass over memory, and N sources and M targets need
#     N + M loops. At most one stage rounds; the others are exact.
# (B) The last stage writes into the target, or, for an array larger than the caches, into a scratch block that is then
#     streamed past them.
# (C) A refusal (NaN, overflow) is only counted in the loops. The first one is found by taking the block that first
#     counted it once more, number by number.
# (D) Kernels never allocate; scratch lives on the stack, so any thread may run any part of any array.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

cimport numpy as cnp

from bitquant.kernels.machine cimport stream_block, stream_end
from bitquant.kernels.stage cimport BLOCK, STREAMING, Stage, Tally

cnp.import_array()

cdef struct Refusal:
    int64_t first               # index of the first refused number, or −1
    bint is_nan


cdef inline void run_block(
    const Step *steps, int count, const char *source, char *target, uint8_t *mask, char *scratch, Tally *tally,
    size_t n
) noexcept nogil:
    """One block through all steps, back and forth between two scratch blocks."""
    cdef Tally silent
    cdef char *written
    cdef int k
    for k in range(count):
        written = target if k == count - 1 else scratch + (k & 1) * 8 * BLOCK
        if steps[k].reports:
            steps[k].block(source, written, mask, steps[k].row, tally, n)
        else:
            memset(&silent, 0, sizeof(silent))
            silent.index, silent.random = tally.index, tally.random
            steps[k].block(source, written, <uint8_t *> scratch + 24 * BLOCK, steps[k].row, &silent, n)
            tally.nans += silent.nans
            tally.ranges += silent.ranges
        source = written


cdef void find_refusal(
    const Step *steps, int count, const char *source, char *scratch, const Tally *block, size_t n, Refusal *refusal
) noexcept nogil:
    """Design C: the first number of a block that a rule refuses."""
    cdef Tally one
    cdef size_t i
    for i in range(n):
        memset(&one, 0, sizeof(one))
        one.index = block.index + i
        if block.random != NULL:
            one.random = block.random + i
        run_block(
            steps, count, source + i * steps[0].source_size, scratch + 16 * BLOCK, <uint8_t *> scratch + 25 * BLOCK,
            scratch, &one, 1,
        )
        if one.nans | one.ranges:
            refusal.first = <int64_t> i
            refusal.is_nan = one.nans != 0
            return


cdef void run_all(
    const Step *steps, int count, const char *source, char *target, uint8_t *mask, size_t start, size_t stop,
    uint64_t index, const uint32_t *random, bint streaming, Tally *tally, Refusal *refusal
) noexcept nogil:
    cdef char memory[26 * BLOCK + 64]
    cdef char *scratch = <char *> ((<size_t> memory + 63) & ~(<size_t> 63))
    cdef size_t from_size = steps[0].source_size, to_size = steps[count - 1].target_size, at = start, n
    cdef char *block
    refusal.first = -1
    tally.masked = mask != NULL
    while at < stop:
        n = stop - at if stop - at < BLOCK else BLOCK
        tally.index = index + at
        if random != NULL:
            tally.random = random + at
        block = scratch + 16 * BLOCK if streaming else target + at * to_size
        run_block(
            steps, count, source + at * from_size, block,
            mask + at if mask != NULL else <uint8_t *> scratch + 25 * BLOCK, scratch, tally, n,
        )
        if streaming:
            stream_block(target + at * to_size, block, n * to_size)
        if refusal.first < 0 and (tally.nans | tally.ranges):
            find_refusal(steps, count, source + at * from_size, scratch, tally, n, refusal)
            refusal.first += at
        at += n
    if streaming:
        stream_end()


cdef class Pipeline:
    """Stages in order. `reporting` is the index of the stage whose flags count, or −1."""

    def __init__(self, tuple stages, int reporting=-1, bint counted=False):
        cdef Stage stage
        cdef int k
        if not 1 <= len(stages) <= MOST_STEPS:
            raise ValueError(f"a pipeline has 1 to {MOST_STEPS} stages, not {len(stages)}")
        for k in range(len(stages)):
            stage = stages[k]
            if stage is None:
                raise TypeError(f"stage {k} is None")
            if k and stage.source_size != (<Stage> stages[k - 1]).target_size:
                raise ValueError(f"stage {k} reads another word than stage {k - 1} writes")
            self.steps[k].block = stage.block
            self.steps[k].row = stage.row
            self.steps[k].source_size = stage.source_size
            self.steps[k].target_size = stage.target_size
            self.steps[k].reports = k == reporting
        self.stages = stages
        self.count = <int> len(stages)
        self.counted = counted

    cdef uint64_t convert(self, const void *source, void *target, size_t n, uint8_t *mask) noexcept nogil:
        """Convert n codes; `mask` takes the flags of each where it is not NULL. Returns how many were refused.

        Source and target hold codes in words of the formats' sizes and do not overlap. Any thread may call this at any
        time, with the GIL or without.
        """
        cdef Tally tally
        cdef Refusal refusal
        memset(&tally, 0, sizeof(tally))
        run_all(
            self.steps, self.count, <const char *> source, <char *> target, mask, 0, n, 0, NULL, False, &tally, &refusal
        )
        return tally.nans + tally.ranges

    cdef uint64_t convert_one(self, uint64_t code) noexcept nogil:
        """Convert one code; 0 where it is refused."""
        cdef uint64_t result = 0
        cdef uint8_t flags
        # The words are the low bytes of the integers, as they are on little-endian machines.
        if self.convert(&code, &result, 1, &flags):
            return 0
        return result

    def run(
        self, cnp.ndarray source not None, cnp.ndarray target not None, cnp.ndarray mask=None,
        Py_ssize_t start=0, Py_ssize_t stop=-1, cnp.ndarray random=None, uint64_t index=0,
    ):
        """Convert the numbers start to stop of one contiguous array into another.

        `random` are the random integers of stochastic rounding (uint32), where the caller brings them; else they
        follow from the place of a number in the array plus `index`.

        Returns None from a pipeline that counts nothing, else (invalid, overflow, underflow, inexact, NaN refused,
        range refused, index of the first refused or −1, whether that one is NaN).
        """
        cdef Py_ssize_t size = cnp.PyArray_SIZE(source)
        cdef Step *last = &self.steps[self.count - 1]
        cdef Tally tally
        cdef Refusal refusal
        cdef bint streaming
        cdef const char *read = cnp.PyArray_BYTES(source)
        cdef char *write = cnp.PyArray_BYTES(target)
        cdef uint8_t *flags = NULL
        cdef const uint32_t *words = NULL
        if stop < 0:
            stop = size
        if (
            <size_t> cnp.PyArray_ITEMSIZE(source) != self.steps[0].source_size
            or <size_t> cnp.PyArray_ITEMSIZE(target) != last.target_size
            or cnp.PyArray_SIZE(target) != size or not 0 <= start <= stop <= size or not cnp.PyArray_ISWRITEABLE(target)
            or not (cnp.PyArray_IS_C_CONTIGUOUS(source) and cnp.PyArray_IS_C_CONTIGUOUS(target))
        ):
            raise ValueError("source and target must be contiguous, of one size, and of the pipeline's word sizes")
        if mask is not None:
            if (
                cnp.PyArray_SIZE(mask) != size or cnp.PyArray_ITEMSIZE(mask) != 1
                or not cnp.PyArray_IS_C_CONTIGUOUS(mask) or not cnp.PyArray_ISWRITEABLE(mask)
            ):
                raise ValueError("the mask must be a contiguous array of bytes, as long as the source")
            flags = <uint8_t *> cnp.PyArray_DATA(mask)
        if random is not None:
            if (
                cnp.PyArray_SIZE(random) != size or cnp.PyArray_TYPE(random) != cnp.NPY_UINT32
                or not cnp.PyArray_IS_C_CONTIGUOUS(random)
            ):
                raise ValueError("random must be a contiguous array of uint32, as long as the source")
            words = <const uint32_t *> cnp.PyArray_DATA(random)
        memset(&tally, 0, sizeof(tally))
        # In place it is a must: a stage may read its source again after it has written.
        streaming = size * last.target_size >= STREAMING or read == write
        if stop - start <= BLOCK:
            run_all(
                self.steps, self.count, read, write, flags, start, stop, index, words, streaming, &tally, &refusal
            )
        else:
            with nogil:
                run_all(
                    self.steps, self.count, read, write, flags, start, stop, index, words, streaming, &tally, &refusal
                )
        if not self.counted:
            return None
        return (
            tally.invalid, tally.overflow, tally.underflow, tally.inexact, tally.nans, tally.ranges,
            refusal.first, refusal.is_nan,
        )
