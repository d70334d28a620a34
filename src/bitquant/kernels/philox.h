/* Philox4x32-10 for a run of counters; see philox.pxd.
 *
 * A word stands in the low half of 64 bits. Its product with a constant of 32 bits is one instruction (PMULUDQ), which
 * does not look at the upper halves: they may hold anything, so the low word of a product is the product itself. GCC 12
 * multiplies 64 by 64 bits instead, in three times as many steps, whatever the source says; hence the intrinsics. The
 * exclusive or of three words is one instruction of AVX-512, where GCC 12 makes two. Of the steps there is one text for
 * all widths.
 */
#ifndef BITQUANT_PHILOX_H
#define BITQUANT_PHILOX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* One of ten rounds: the products of two words with constants, whose high words are mixed with the others and keys. */
#define BITQUANT_PHILOX_ROUND(MULTIPLY, MIX, r) do { \
    ab = MULTIPLY(a, first_factor); \
    cd = MULTIPLY(c, second_factor); \
    a = MIX(cd >> 32, b, keys[2 * (r)]); \
    c = MIX(ab >> 32, d, keys[2 * (r) + 1]); \
    b = cd; \
    d = ab; \
} while (0)

#define BITQUANT_PHILOX_ROUNDS(MULTIPLY, MIX) do { \
    BITQUANT_PHILOX_ROUND(MULTIPLY, MIX, 0); BITQUANT_PHILOX_ROUND(MULTIPLY, MIX, 1); \
    BITQUANT_PHILOX_ROUND(MULTIPLY, MIX, 2); BITQUANT_PHILOX_ROUND(MULTIPLY, MIX, 3); \
    BITQUANT_PHILOX_ROUND(MULTIPLY, MIX, 4); BITQUANT_PHILOX_ROUND(MULTIPLY, MIX, 5); \
    BITQUANT_PHILOX_ROUND(MULTIPLY, MIX, 6); BITQUANT_PHILOX_ROUND(MULTIPLY, MIX, 7); \
    BITQUANT_PHILOX_ROUND(MULTIPLY, MIX, 8); BITQUANT_PHILOX_ROUND(MULTIPLY, MIX, 9); \
} while (0)

#define BITQUANT_MIX(x, y, z) ((x) ^ (y) ^ (z))
#define BITQUANT_PHILOX_FIRST 0xD2511F53u
#define BITQUANT_PHILOX_SECOND 0xCD9E8D57u

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#include <immintrin.h>

/* A vector has `size` bytes and as many counters as 64-bit lanes; the last arguments say which is in which lane. The
 * first half of them is in the even lanes, and their words are what the unpacking of the low halves puts together.
 * Counters beyond `count` are made, too, up to a whole vector. */
#define BITQUANT_PHILOX(NAME, TARGET, size, M, MULTIPLY, MIX, EVEN, ODD, ...) \
    TARGET __attribute__((noinline)) static void NAME( \
        uint32_t *words, uint64_t first, size_t count, const uint64_t *keys, int down \
    ) { \
        typedef uint64_t wide __attribute__((vector_size(size))); \
        typedef uint32_t narrow __attribute__((vector_size(size))); \
        const wide order = {__VA_ARGS__}, zero = {0}, low = zero + 0xFFFFFFFFu; \
        const wide first_factor = zero + BITQUANT_PHILOX_FIRST, second_factor = zero + BITQUANT_PHILOX_SECOND; \
        for (size_t i = 0; i < count; i += size / 8) { \
            wide a = order + (first + i), b = a >> 32, c = zero, d = zero, ab, cd; \
            narrow even, odd; \
            BITQUANT_PHILOX_ROUNDS(MULTIPLY, MIX); \
            ab = (a & low) | (b << 32); \
            cd = (c & low) | (d << 32); \
            even = (narrow)EVEN((M)ab, (M)cd) >> down; \
            odd = (narrow)ODD((M)ab, (M)cd) >> down; \
            memcpy(words + 4 * i, &even, size); \
            memcpy(words + 4 * i + size / 4, &odd, size); \
        } \
    }

#define BITQUANT_MULTIPLY_512(x, y) ((wide)_mm512_mul_epu32((__m512i)(x), (__m512i)(y)))
#define BITQUANT_MULTIPLY_256(x, y) ((wide)_mm256_mul_epu32((__m256i)(x), (__m256i)(y)))
#define BITQUANT_MULTIPLY_128(x, y) ((wide)_mm_mul_epu32((__m128i)(x), (__m128i)(y)))
#define BITQUANT_MIX_512(x, y, z) \
    ((wide)_mm512_ternarylogic_epi64((__m512i)(x), (__m512i)(y), _mm512_set1_epi64((long long)(z)), 0x96))
#define BITQUANT_PHILOX_512(NAME, TARGET) BITQUANT_PHILOX( \
    NAME, TARGET, 64, __m512i, BITQUANT_MULTIPLY_512, BITQUANT_MIX_512, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64, \
    0, 4, 1, 5, 2, 6, 3, 7)
#define BITQUANT_PHILOX_256(NAME, TARGET) BITQUANT_PHILOX( \
    NAME, TARGET, 32, __m256i, BITQUANT_MULTIPLY_256, BITQUANT_MIX, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64, \
    0, 2, 1, 3)
#define BITQUANT_PHILOX_128(NAME, TARGET) BITQUANT_PHILOX( \
    NAME, TARGET, 16, __m128i, BITQUANT_MULTIPLY_128, BITQUANT_MIX, _mm_unpacklo_epi64, _mm_unpackhi_epi64, 0, 1)

#if !defined(BITQUANT_ONE_VARIANT)
BITQUANT_PHILOX_512(philox_of_512_bits, __attribute__((target("arch=x86-64-v4"))))
BITQUANT_PHILOX_256(philox_of_256_bits, __attribute__((target("arch=x86-64-v3"))))
BITQUANT_PHILOX_128(philox_of_128_bits, )
static inline void philox(uint32_t *words, uint64_t first, size_t count, const uint64_t *keys, int down) {
    if (__builtin_cpu_supports("x86-64-v4"))
        philox_of_512_bits(words, first, count, keys, down);
    else if (__builtin_cpu_supports("x86-64-v3"))
        philox_of_256_bits(words, first, count, keys, down);
    else
        philox_of_128_bits(words, first, count, keys, down);
}
#elif defined(__AVX512F__)
BITQUANT_PHILOX_512(philox, )
#elif defined(__AVX2__)
BITQUANT_PHILOX_256(philox, )
#else
BITQUANT_PHILOX_128(philox, )
#endif

#else

#define BITQUANT_MULTIPLY_64(x, y) (((x) & 0xFFFFFFFFu) * (y))
static void philox(uint32_t *words, uint64_t first, size_t count, const uint64_t *keys, int down) {
    const uint64_t first_factor = BITQUANT_PHILOX_FIRST, second_factor = BITQUANT_PHILOX_SECOND;
    for (size_t i = 0; i < count; i++) {
        uint64_t a = first + i, b = a >> 32, c = 0, d = 0, ab, cd;
        BITQUANT_PHILOX_ROUNDS(BITQUANT_MULTIPLY_64, BITQUANT_MIX);
        words[4 * i] = (uint32_t)a >> down;
        words[4 * i + 1] = (uint32_t)b >> down;
        words[4 * i + 2] = (uint32_t)c >> down;
        words[4 * i + 3] = (uint32_t)d >> down;
    }
}

#endif

#endif
