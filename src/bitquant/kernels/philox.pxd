"""Random bits that are a function of seed and place: Philox4x32-10.

# Design:
# (A) Counter-based (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the
#     block of four words for number i is made from the counter i / 4 and the seed alone. So the same number gets the
#     same bits whatever the threads, the blocks and the order of the work.
# (B) A vector of counters goes through the rounds side by side (philox.h), by the widest instructions that there are.
"""

from bitquant.kernels.machine cimport uint32_t, uint64_t
from bitquant.kernels.rounding cimport Chance
from bitquant.kernels.stage cimport BLOCK, Tally

cdef extern from "philox.h" nogil:
    # The words of `count` counters, shifted down; room for seven more counters is needed. Two keys for each round.
    void philox(uint32_t *words, uint64_t first, size_t count, const uint64_t *keys, int down) noexcept

cdef enum:
    ROUNDS = 10
    COUNTERS = BLOCK // 4 + 8   # for a block that begins anywhere, in whole vectors


cdef inline void random_words(uint32_t *words, uint64_t index, size_t n, const Chance *chance) noexcept nogil:
    """The random integers of the numbers index to index + n; `words` has room for 4 · COUNTERS, and n is at most BLOCK.

    They begin at words[index mod 4].
    """
    cdef uint64_t keys[2 * ROUNDS]
    cdef uint32_t i
    for i in range(ROUNDS):
        keys[2 * i] = <uint32_t> (chance.key[0] + i * <uint32_t> 0x9E3779B9U)
        keys[2 * i + 1] = <uint32_t> (chance.key[1] + i * <uint32_t> 0xBB67AE85U)
    philox(words, index >> 2, ((index & 3) + n + 3) >> 2, keys, <int> (32 - chance.bits))


cdef inline const uint32_t *words_of(
    const Tally *tally, uint32_t *made, size_t at, size_t n, const Chance *chance
) noexcept nogil:
    """The random integers of n numbers from the block's number `at` on: the caller's, or made here."""
    if tally.random != NULL:
        return tally.random + at
    random_words(made, tally.index + at, n, chance)
    return made + ((tally.index + at) & 3)
