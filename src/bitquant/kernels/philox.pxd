"""Random bits that are a function of seed and place: Philox4x32-10.

# Design:
# (A) Counter-based (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the block of
#     four words for number i is made from the counter i / 4 and the seed alone. So the same number gets the same bits
#     whatever the threads, the blocks and the order of the work.
# (B) A run makes its counters side by side: every step below is one operation on a vector of them.
"""

from bitquant.kernels.machine cimport uint32_t, uint64_t
from bitquant.kernels.rounding cimport Chance
from bitquant.kernels.stage cimport BLOCK, Tally

cdef enum:
    ROUNDS = 10
    COUNTERS = BLOCK // 4 + 1   # for a block that begins anywhere


cdef inline void one_round(
    uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d, uint32_t key0, uint32_t key1
) noexcept nogil:
    cdef uint64_t ab = <uint64_t> a[0] * <uint32_t> 0xD2511F53U, cd = <uint64_t> c[0] * <uint32_t> 0xCD9E8D57U
    a[0] = <uint32_t> (cd >> 32) ^ b[0] ^ key0
    c[0] = <uint32_t> (ab >> 32) ^ d[0] ^ key1
    b[0] = <uint32_t> cd
    d[0] = <uint32_t> ab


cdef inline void random_words(uint32_t *words, uint64_t index, size_t n, const uint32_t *key) noexcept nogil:
    """The words of the numbers index to index + n; `words` has room for 4 · COUNTERS, and n is at most BLOCK.

    They begin at words[index mod 4].
    """
    cdef uint32_t k0[ROUNDS]
    cdef uint32_t k1[ROUNDS]
    cdef uint32_t first_words[COUNTERS]
    cdef uint32_t second_words[COUNTERS]
    cdef uint32_t third_words[COUNTERS]
    cdef uint32_t fourth_words[COUNTERS]
    cdef uint64_t first = index >> 2
    cdef uint32_t low = <uint32_t> first, high = <uint32_t> (first >> 32), a, b, c, d
    cdef size_t count = ((index & 3) + n + 3) >> 2, i
    for i in range(<size_t> ROUNDS):
        k0[i] = key[0] + <uint32_t> i * <uint32_t> 0x9E3779B9U
        k1[i] = key[1] + <uint32_t> i * <uint32_t> 0xBB67AE85U
    for i in range(count):
        a = low + <uint32_t> i
        b = high + <uint32_t> (a < low)
        c = 0
        d = 0
        one_round(&a, &b, &c, &d, k0[0], k1[0])  # written out, so that all of them stay in registers
        one_round(&a, &b, &c, &d, k0[1], k1[1])
        one_round(&a, &b, &c, &d, k0[2], k1[2])
        one_round(&a, &b, &c, &d, k0[3], k1[3])
        one_round(&a, &b, &c, &d, k0[4], k1[4])
        one_round(&a, &b, &c, &d, k0[5], k1[5])
        one_round(&a, &b, &c, &d, k0[6], k1[6])
        one_round(&a, &b, &c, &d, k0[7], k1[7])
        one_round(&a, &b, &c, &d, k0[8], k1[8])
        one_round(&a, &b, &c, &d, k0[9], k1[9])
        first_words[i] = a
        second_words[i] = b
        third_words[i] = c
        fourth_words[i] = d
    for i in range(count):
        words[4 * i] = first_words[i]
        words[4 * i + 1] = second_words[i]
        words[4 * i + 2] = third_words[i]
        words[4 * i + 3] = fourth_words[i]


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
