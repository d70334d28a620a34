"""Random bits that are a function of seed and place: Philox4x32-10.

# Design:
# (A) Counter-based (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the block of
#     four words for number i is made from the counter i / 4 and the seed alone. So the same number gets the same bits
#     whatever the threads, the blocks and the order of the work.
# (B) A run makes its counters side by side: every step below is one operation on a vector of counters.
"""

from bitquant.kernels.machine cimport uint32_t, uint64_t
from bitquant.kernels.rounding cimport Chance
from bitquant.kernels.stage cimport Tally

cdef enum:
    ROUNDS = 10
    COUNTERS = 72               # for a run of 256 numbers that begins anywhere: 65, and room


cdef inline void random_words(uint32_t *words, uint64_t index, size_t n, const uint32_t *key) noexcept nogil:
    """The words of the numbers index to index + n; `words` has room for 4 · COUNTERS, and n is at most 4 · 64.

    They begin at words[index mod 4].
    """
    cdef uint32_t a[COUNTERS]
    cdef uint32_t b[COUNTERS]
    cdef uint32_t c[COUNTERS]
    cdef uint32_t d[COUNTERS]
    cdef uint64_t first = index >> 2, ab, cd
    cdef uint32_t low = <uint32_t> first, high = <uint32_t> (first >> 32), key0 = key[0], key1 = key[1]
    cdef size_t count = ((index & 3) + n + 3) >> 2, i
    cdef int r
    for i in range(count):
        a[i] = low + <uint32_t> i
        b[i] = high + <uint32_t> (a[i] < low)
        c[i] = 0
        d[i] = 0
    for r in range(ROUNDS):
        for i in range(count):
            ab = <uint64_t> a[i] * <uint32_t> 0xD2511F53U
            cd = <uint64_t> c[i] * <uint32_t> 0xCD9E8D57U
            a[i] = <uint32_t> (cd >> 32) ^ b[i] ^ key0
            c[i] = <uint32_t> (ab >> 32) ^ d[i] ^ key1
            b[i] = <uint32_t> cd
            d[i] = <uint32_t> ab
        key0 += <uint32_t> 0x9E3779B9U
        key1 += <uint32_t> 0xBB67AE85U
    for i in range(count):
        words[4 * i] = a[i]
        words[4 * i + 1] = b[i]
        words[4 * i + 2] = c[i]
        words[4 * i + 3] = d[i]


cdef inline const uint32_t *words_of(
    const Tally *tally, uint32_t *made, size_t at, size_t n, const Chance *chance
) noexcept nogil:
    """The random integers of n numbers from the block's number `at` on: the caller's, or made here."""
    cdef uint64_t index = tally.index + at
    cdef uint32_t down = 32 - chance.bits
    cdef size_t i
    if tally.random != NULL:
        return tally.random + at
    random_words(made, index, n, chance.key)
    for i in range((index & 3) + n):
        made[i] >>= down
    return made + (index & 3)
