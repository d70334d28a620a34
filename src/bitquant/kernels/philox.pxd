"""Random bits that are a function of seed and place: Philox4x32-10.

# Design:
# (A) Counter-based (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the
#     block of four words for number i is made from the counter i / 4 and the seed alone. So the same number gets the
#     same bits whatever the threads, the blocks and the order of the work.
# (B) A block makes its counters side by side: every step below is one operation on a vector of them.
"""

from bitquant.kernels.machine cimport uint32_t, uint64_t
from bitquant.kernels.rounding cimport Chance
from bitquant.kernels.stage cimport BLOCK, Tally

cdef enum:
    ROUNDS = 10
    COUNTERS = BLOCK // 4 + 1   # for a block that begins anywhere


cdef inline void one_round(uint64_t *a, uint64_t *b, uint64_t *c, uint64_t *d, const uint64_t *keys) noexcept nogil:
    """Four words, each in 64 bits of its own."""
    cdef uint64_t low = 0xFFFFFFFF, ab = a[0] * <uint64_t> 0xD2511F53, cd = c[0] * <uint64_t> 0xCD9E8D57
    a[0] = (cd >> 32) ^ b[0] ^ keys[0]
    c[0] = (ab >> 32) ^ d[0] ^ keys[1]
    b[0] = cd & low
    d[0] = ab & low


cdef inline void random_words(uint32_t *words, uint64_t index, size_t n, const Chance *chance) noexcept nogil:
    """The random integers of the numbers index to index + n; `words` has room for 4 · COUNTERS, and n is at most BLOCK.

    They begin at words[index mod 4].
    """
    cdef uint64_t keys[2 * ROUNDS]
    cdef uint32_t first_words[COUNTERS]
    cdef uint32_t second_words[COUNTERS]
    cdef uint32_t third_words[COUNTERS]
    cdef uint32_t fourth_words[COUNTERS]
    cdef uint64_t low = 0xFFFFFFFF, a, b, c, d, down = 32 - chance.bits
    cdef size_t first = index >> 2, count = ((index & 3) + n + 3) >> 2, i
    for i in range(<size_t> ROUNDS):
        keys[2 * i] = chance.key[0] + <uint32_t> i * <uint32_t> 0x9E3779B9U
        keys[2 * i + 1] = chance.key[1] + <uint32_t> i * <uint32_t> 0xBB67AE85U
    for i in range(count):
        a = (first + i) & low
        b = (first + i) >> 32
        c = 0
        d = 0
        one_round(&a, &b, &c, &d, keys)  # written out, so that all four stay in registers
        one_round(&a, &b, &c, &d, keys + 2)
        one_round(&a, &b, &c, &d, keys + 4)
        one_round(&a, &b, &c, &d, keys + 6)
        one_round(&a, &b, &c, &d, keys + 8)
        one_round(&a, &b, &c, &d, keys + 10)
        one_round(&a, &b, &c, &d, keys + 12)
        one_round(&a, &b, &c, &d, keys + 14)
        one_round(&a, &b, &c, &d, keys + 16)
        one_round(&a, &b, &c, &d, keys + 18)
        first_words[i] = <uint32_t> (a >> down)
        second_words[i] = <uint32_t> (b >> down)
        third_words[i] = <uint32_t> (c >> down)
        fourth_words[i] = <uint32_t> (d >> down)
    for i in range(count):
        words[4 * i] = first_words[i]
        words[4 * i + 1] = second_words[i]
        words[4 * i + 2] = third_words[i]
        words[4 * i + 3] = fourth_words[i]


cdef inline const uint32_t *words_of(
    const Tally *tally, uint32_t *made, size_t at, size_t n, const Chance *chance
) noexcept nogil:
    """The random integers of n numbers from the block's number `at` on: the caller's, or made here."""
    if tally.random != NULL:
        return tally.random + at
    random_words(made, tally.index + at, n, chance)
    return made + ((tally.index + at) & 3)
