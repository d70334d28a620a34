/* The one macro for CPU variants, and the few machine words Cython cannot say.
 *
 * BITQUANT_LOOP goes where a loop's return type stands. The compiler then builds the loop once per CPU level
 * and glibc picks the best at load time. `flatten` inlines everything the loop calls; without it nothing
 * vectorises. Levels are named by architecture level: names such as skylake-avx512 do not match AMD parts.
 */
#ifndef BITQUANT_CLONES_H
#define BITQUANT_CLONES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(BITQUANT_ONE_VARIANT)
#define BITQUANT_LOOP __attribute__((flatten)) void
#elif defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define BITQUANT_LOOP \
    __attribute__((flatten, target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"))) void
#elif defined(__GNUC__)
#define BITQUANT_LOOP __attribute__((flatten)) void
#else
#define BITQUANT_LOOP void
#endif

/* One more variant, for the loop that multiplies bytes: the levels end before the instruction that it wants. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 \
    && !defined(BITQUANT_ONE_VARIANT)
#define BITQUANT_BYTE_PRODUCT_LOOP __attribute__((flatten, target("arch=x86-64-v4,avx512vnni"))) void
#define BITQUANT_HAS_BYTE_PRODUCTS() (__builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512vnni"))
#else
#define BITQUANT_BYTE_PRODUCT_LOOP void
#define BITQUANT_HAS_BYTE_PRODUCTS() 0
#endif

/* Bits and floats share a word; a small memcpy is a register move. */
static inline uint32_t bits_of_float(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }
static inline float float_of_bits(uint32_t u) { float x; memcpy(&x, &u, 4); return x; }
static inline uint64_t bits_of_double(double x) { uint64_t u; memcpy(&u, &x, 8); return u; }
static inline double double_of_bits(uint64_t u) { double x; memcpy(&x, &u, 8); return x; }

/* Whether the FPU rounds to nearest, as it does unless somebody set it otherwise. Volatile: asked each time. */
static inline int rounds_to_nearest(void) {
    volatile float tiny = 0x1p-26f;
    return (1.0f + tiny == 1.0f) & (1.0f - tiny == 1.0f);
}

/* The number of bits of x; 0 for 0. */
static inline int bit_length64(uint64_t x) {
#if defined(__GNUC__)
    return x ? 64 - __builtin_clzll(x) : 0;
#else
    int n = 0;
    for (; x; x >>= 1) n++;
    return n;
#endif
}

/* The bytes of a word turned over. */
static inline uint64_t turned_over(uint64_t x) {
    x = (x & 0x00FF00FF00FF00FFu) << 8 | (x >> 8 & 0x00FF00FF00FF00FFu);
    x = (x & 0x0000FFFF0000FFFFu) << 16 | (x >> 16 & 0x0000FFFF0000FFFFu);
    return x << 32 | x >> 32;
}

/* n bytes at any address, 1 to 8 of them, as a number and back; the first is the lowest. With n a constant a
 * power of two, this is one move. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define BITQUANT_FROM_MEMORY(x, n) turned_over((uint64_t)(x) << (64 - 8 * (n)))
#define BITQUANT_TO_MEMORY(x, n) (turned_over(x) >> (64 - 8 * (n)))
#else
#define BITQUANT_FROM_MEMORY(x, n) ((uint64_t)(x))
#define BITQUANT_TO_MEMORY(x, n) (x)
#endif
static inline uint64_t load_bytes(const uint8_t *p, int n) {
    uint64_t x = 0;
    if (n == 8) { memcpy(&x, p, 8); return BITQUANT_FROM_MEMORY(x, 8); }
    if (n == 4) { uint32_t y; memcpy(&y, p, 4); return BITQUANT_FROM_MEMORY(y, 4); }
    if (n == 2) { uint16_t y; memcpy(&y, p, 2); return BITQUANT_FROM_MEMORY(y, 2); }
    for (int k = 0; k < n; k++) x |= (uint64_t)p[k] << 8 * k;
    return x;
}
static inline void store_bytes(uint8_t *p, uint64_t x, int n) {
    if (n == 8) { x = BITQUANT_TO_MEMORY(x, 8); memcpy(p, &x, 8); return; }
    if (n == 4) { uint32_t y = (uint32_t)BITQUANT_TO_MEMORY(x, 4); memcpy(p, &y, 4); return; }
    if (n == 2) { uint16_t y = (uint16_t)BITQUANT_TO_MEMORY(x, 2); memcpy(p, &y, 2); return; }
    for (int k = 0; k < n; k++) p[k] = (uint8_t)(x >> 8 * k);
}

/* Copies a finished block past the caches. A plain store first reads the line it is about to overwrite; for
 * an array larger than the cache that costs a third of the memory traffic. SSE2 is in every x86-64; whole lines
 * go by AVX where there is one: half as many stores make a short loop a tenth faster. */
#if defined(__x86_64__)
#include <immintrin.h>
static inline size_t stream_by_16(char *to, const char *from, size_t bytes) {
    size_t i = 0;
    for (; i + 16 <= bytes; i += 16)
        _mm_stream_si128((__m128i *)(to + i), _mm_load_si128((const __m128i *)(from + i)));
    return i;
}
__attribute__((target("avx"))) static inline size_t stream_by_32(char *to, const char *from, size_t bytes) {
    size_t i = 0;
    for (; i + 64 <= bytes; i += 64) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(from + i));
        __m256i b = _mm256_loadu_si256((const __m256i *)(from + i + 32));
        _mm256_stream_si256((__m256i *)(to + i), a);
        _mm256_stream_si256((__m256i *)(to + i + 32), b);
    }
    return i;
}
static inline void stream_block(char *to, const char *from, size_t bytes) {
    size_t i = 0, line = -(uintptr_t)to & 63;
    if ((uintptr_t)to % 16 == 0) {
        if (line <= bytes && __builtin_cpu_supports("avx")) {
            i = stream_by_16(to, from, line);
            i += stream_by_32(to + i, from + i, bytes - i);
        }
        i += stream_by_16(to + i, from + i, bytes - i);
    }
    memcpy(to + i, from + i, bytes - i);
}
static inline void stream_end(void) { _mm_sfence(); }
#else
static inline void stream_block(char *to, const char *from, size_t bytes) { memcpy(to, from, bytes); }
static inline void stream_end(void) {}
#endif

#endif
