"""The steps of a rounding to a floating format, one at a time and for one number.

# Design:
# (A) What an explanation shows is what a conversion does: every function here calls those that the loops call, with
#     64-bit lanes and the numbers of a `Narrow` row. Nothing here rounds, packs or patches by itself.
# (B) The significand is given, 1.61 with a sticky last bit, and FP64's exponent field, which goes on at both ends. So
#     an exact rational, which no carrier holds, is rounded once like any other number.
# (C) What needs no significand (zero, infinity, NaN, flushing) is told from a word of FP64 bits.
"""

from bitquant.kernels.flags cimport flags_of, patch_flags
from bitquant.kernels.machine cimport int64_t, uint8_t, uint32_t, uint64_t
from bitquant.kernels.narrow cimport Narrow, Target, cut_of, flip_of, round_by, round_pack, with_sign
from bitquant.kernels.patch cimport patch
from bitquant.kernels.philox cimport COUNTERS, random_words
from bitquant.kernels.rounding cimport Mode
from bitquant.kernels.stage cimport Tally


cdef inline int64_t held(int64_t exponent, const Target *t) noexcept nogil:
    """An exponent within what `round_pack` takes: beyond it, all the same happens."""
    cdef int64_t last = t.rebias + t.exponent_end
    exponent = exponent if exponent < last else last
    return exponent if exponent > t.lowest else t.lowest


def cut(Narrow row not None, int64_t exponent):
    """How many bits of the significand are cut off, and whether an even result has an odd significand (0 or 1)."""
    return cut_of(exponent, &row.target), flip_of(exponent, &row.target, <uint64_t> 0)


def rounded(Narrow row not None, bint negative, uint64_t significand, int64_t cut, uint64_t flip, uint32_t random):
    """significand / 2^cut, rounded. Requires 1 ≤ cut < 62 and significand < 2^62."""
    return round_by(<Mode> row.target.mode, <uint64_t> negative, significand, cut, flip, <uint64_t> random, &row.target)


def packed(Narrow row not None, bint negative, uint64_t significand, int64_t exponent, uint32_t random):
    """The magnitude of the rounded number, before the overflow rule."""
    exponent = held(exponent, &row.target)
    return round_pack(
        <Mode> row.target.mode, <uint64_t> negative, significand, exponent, <uint64_t> random, &row.target
    )


def delivered(
    Narrow row not None, uint64_t word, uint64_t magnitude, uint64_t significand, int64_t exponent, uint32_t random
):
    """The code given for a rounded magnitude, or for a `word` that is not rounded, and its flags."""
    cdef const Target *t = &row.target
    cdef uint64_t negative = word >> 63, ceiling = t.ceiling[negative], over = magnitude > t.largest, given
    cdef uint8_t mask = <uint8_t> flags_of(
        <Mode> t.mode, negative, significand, held(exponent, t), over, <uint64_t> random, t
    )
    cdef Tally tally
    tally.nans = 0
    given = with_sign(magnitude if magnitude < ceiling else ceiling, word, t)
    patch_flags(&word, &given, &mask, t, 1)
    patch(&word, &given, t, &tally, 1)
    return given, mask, tally.nans != 0


def random_word(Narrow row not None, uint64_t index):
    """The random integer of the number at a place, by the generator's seed in the row."""
    cdef uint32_t words[4 * COUNTERS]
    random_words(words, index, 1, &row.target.chance)
    return words[index & 3]
