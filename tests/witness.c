/* The hardware witness: conversions done by instructions of the CPU, for tests alone.

   Design
   A. Every conversion has one signature, `uint32_t f(in, out, n, mxcsr)`. It runs under the given MXCSR, restores the
      caller's, and returns the state left behind, whose low bits are the exceptions raised on the way.
   B. Arrays hold codes; no alignment is asked. The last partial block goes through a padded copy: padding is +0, which
      converts exactly and so raises nothing.
   C. A loop is a function of its own that cannot be inlined, because a compiler takes a conversion for a pure
      function and may carry it across a change of MXCSR. Nothing else keeps the two in order.
   D. Nothing here is called before `witness_absent` has said that the CPU has the instruction.

   Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1 chapter 10.2.3 (MXCSR), volume 2
   (instructions), as cited below. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#define APART __attribute__((noinline))
#else
#define APART __attribute__((noipa)) /* noinline, and no conclusions drawn from the inside either */
#endif
#define TARGET(isa) __attribute__((target(isa)))
#define INLINE static inline __attribute__((always_inline))

/* MXCSR: | FZ 15 | RC 14:13 | exception masks 12:7 | DAZ 6 | exceptions raised 5:0 |
   RC counts as the immediate of VCVTPS2PH does: 0 nearest even, 1 down, 2 up, 3 toward zero. */
#define ROUNDING_OF(mxcsr) (((mxcsr) >> 13) & 3u)

/* Whether a list of names, each in spaces, has one. */
static int lists(const char *names, const char *name)
{
    char spaced[64] = " ";
    if (strlen(name) > sizeof spaced - 3)
        return 0;
    strcat(strcat(spaced, name), " ");
    return strstr(names, spaced) != NULL;
}

/* NULL when the CPU has what a function needs, else what it lacks. */
const char *witness_absent(const char *function)
{
    __builtin_cpu_init();
    if (lists(" float32_to_float16 float16_to_float32 ", function))
        return __builtin_cpu_supports("f16c") ? NULL : "this CPU has no F16C";
    if (lists(" float32_to_bfloat16 ", function))
        return __builtin_cpu_supports("avx512bf16") ? NULL : "this CPU has no AVX512-BF16";
    if (lists(" float32_to_int8 ", function))
        return __builtin_cpu_supports("avx2") ? NULL : "this CPU has no AVX2";
    if (lists(" float64_to_float32 float32_to_float64 float32_to_int32 float64_to_int32 int32_to_float32 "
              "int32_to_float64 float32_to_int64 float64_to_int64 int64_to_float32 int64_to_float64 ", function))
        return __builtin_cpu_supports("avx") ? NULL : "this CPU has no AVX";
    if (lists(" float32_to_uint32 float64_to_uint32 uint32_to_float32 uint32_to_float64 "
              "float32_to_uint64 float64_to_uint64 uint64_to_float32 uint64_to_float64 ", function))
        return __builtin_cpu_supports("avx512dq") ? NULL : "this CPU has no AVX512-DQ";
    if (lists(" mxcsr ", function))
        return NULL;
    return "witness.c has no such function";
}

uint32_t witness_get_mxcsr(void) { return _mm_getcsr(); }

/* The one function that leaves MXCSR changed, in the calling thread. */
void witness_set_mxcsr(uint32_t mxcsr) { _mm_setcsr(mxcsr); }

/* A loop named `loop` over blocks of `width` elements, and the public function `name` around it (A, B, C). */
#define LOOP(isa, loop, block, in_t, out_t, width)                                                                     \
    TARGET(isa) APART static void loop(const in_t *in, out_t *out, size_t n)                                           \
    {                                                                                                                  \
        size_t i = 0;                                                                                                  \
        for (; i + (width) <= n; i += (width))                                                                         \
            block(in + i, out + i);                                                                                    \
        if (i < n) {                                                                                                   \
            in_t padded[width] = {0};                                                                                  \
            out_t result[width];                                                                                       \
            memcpy(padded, in + i, (n - i) * sizeof(in_t));                                                            \
            block(padded, result);                                                                                     \
            memcpy(out + i, result, (n - i) * sizeof(out_t));                                                          \
        }                                                                                                              \
    }

#define UNDER_MXCSR(mxcsr, statement)                                                                                  \
    const uint32_t callers = _mm_getcsr();                                                                             \
    _mm_setcsr(mxcsr);                                                                                                 \
    statement;                                                                                                         \
    const uint32_t left_behind = _mm_getcsr();                                                                         \
    _mm_setcsr(callers);                                                                                               \
    return left_behind

/* --- float32 to float16: VCVTPS2PH (F16C), rounding in its immediate. Ignores FZ, obeys DAZ. ------------------------- */

#define NARROW_HALF(direction)                                                                                         \
    TARGET("avx,f16c") INLINE void half_block_##direction(const uint32_t *in, uint16_t *out)                           \
    {                                                                                                                  \
        const __m256 x = _mm256_loadu_ps((const float *)in);                                                           \
        _mm_storeu_si128((__m128i *)out, _mm256_cvtps_ph(x, direction));                                               \
    }                                                                                                                  \
    LOOP("avx,f16c", half_loop_##direction, half_block_##direction, uint32_t, uint16_t, 8)

NARROW_HALF(0)
NARROW_HALF(1)
NARROW_HALF(2)
NARROW_HALF(3)

APART static void half_loop(const uint32_t *in, uint16_t *out, size_t n, uint32_t direction)
{
    switch (direction) {
    case 0: half_loop_0(in, out, n); break;
    case 1: half_loop_1(in, out, n); break;
    case 2: half_loop_2(in, out, n); break;
    default: half_loop_3(in, out, n);
    }
}

uint32_t float32_to_float16(const uint32_t *in, uint16_t *out, size_t n, uint32_t mxcsr)
{
    UNDER_MXCSR(mxcsr, half_loop(in, out, n, ROUNDING_OF(mxcsr)));
}

/* --- float16 to float32: VCVTPH2PS (F16C). Ignores DAZ. -------------------------------------------------------------- */

TARGET("avx,f16c") INLINE void widen_block(const uint16_t *in, uint32_t *out)
{
    _mm256_storeu_ps((float *)out, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)in)));
}
LOOP("avx,f16c", widen_loop, widen_block, uint16_t, uint32_t, 8)

uint32_t float16_to_float32(const uint16_t *in, uint32_t *out, size_t n, uint32_t mxcsr)
{
    UNDER_MXCSR(mxcsr, widen_loop(in, out, n));
}

/* --- float32 to bfloat16: VCVTNEPS2BF16 (AVX512-BF16). ----------------------------------------------------------------
   Nearest-even with FZ and DAZ on, whatever MXCSR says; raises nothing. */

TARGET("avx512f,avx512bf16") INLINE void brain_block(const uint32_t *in, uint16_t *out)
{
    const __m256bh y = _mm512_cvtneps_pbh(_mm512_loadu_ps(in));
    memcpy(out, &y, sizeof y);
}
LOOP("avx512f,avx512bf16", brain_loop, brain_block, uint32_t, uint16_t, 16)

uint32_t float32_to_bfloat16(const uint32_t *in, uint16_t *out, size_t n, uint32_t mxcsr)
{
    UNDER_MXCSR(mxcsr, brain_loop(in, out, n));
}

/* --- float32 to int8, saturating: CVTPS2DQ, rounding from MXCSR. -------------------------------------------------------
   Out of the range of int32 CVTPS2DQ gives 0x80000000, so the float is clamped first. That does not change a result:
   rounding is monotone and the ends are integers. MAXPS gives its second operand for a NaN, which makes it -128: not
   the hardware's answer, and to be left out by the caller. What is clamped raises no exception. */

TARGET("avx2") INLINE __m256i clamped_integers(const uint32_t *in)
{
    const __m256 x = _mm256_loadu_ps((const float *)in);
    const __m256 low = _mm256_set1_ps(-128.0f), high = _mm256_set1_ps(127.0f);
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(x, low), high));
}

TARGET("avx2") INLINE void int8_block(const uint32_t *in, uint8_t *out)
{
    /* Each pack works in the two 128-bit halves apart, which leaves 4-byte groups in the order 0 2 4 6 1 3 5 7. */
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i first = _mm256_packs_epi32(clamped_integers(in), clamped_integers(in + 8));
    const __m256i second = _mm256_packs_epi32(clamped_integers(in + 16), clamped_integers(in + 24));
    const __m256i bytes = _mm256_packs_epi16(first, second);
    _mm256_storeu_si256((__m256i *)out, _mm256_permutevar8x32_epi32(bytes, order));
}
LOOP("avx2", int8_loop, int8_block, uint32_t, uint8_t, 32)

uint32_t float32_to_int8(const uint32_t *in, uint8_t *out, size_t n, uint32_t mxcsr)
{
    UNDER_MXCSR(mxcsr, int8_loop(in, out, n));
}

/* --- float64 to float32: CVTPD2PS, rounding, FZ and DAZ from MXCSR. --------------------------------------------------- */

TARGET("avx") INLINE void single_block(const uint64_t *in, uint32_t *out)
{
    _mm_storeu_ps((float *)out, _mm256_cvtpd_ps(_mm256_loadu_pd((const double *)in)));
}
LOOP("avx", single_loop, single_block, uint64_t, uint32_t, 4)

uint32_t float64_to_float32(const uint64_t *in, uint32_t *out, size_t n, uint32_t mxcsr)
{
    UNDER_MXCSR(mxcsr, single_loop(in, out, n));
}

/* --- float32 to float64, floats and 32-bit or 64-bit integers: one instruction each, rounding and DAZ from MXCSR. -------
   Out of range: the integer indefinite, the most negative integer, or the largest unsigned one. */

#define PACKED(isa, name, in_t, out_t, width, block_body)                                                              \
    TARGET(isa) INLINE void name##_block(const in_t *in, out_t *out) { block_body; }                                   \
    LOOP(isa, name##_loop, name##_block, in_t, out_t, width)                                                           \
    uint32_t name(const in_t *in, out_t *out, size_t n, uint32_t mxcsr)                                                \
    {                                                                                                                  \
        UNDER_MXCSR(mxcsr, name##_loop(in, out, n));                                                                   \
    }

#define PS128 _mm_loadu_ps((const float *)in)
#define PS256 _mm256_loadu_ps((const float *)in)
#define PD256 _mm256_loadu_pd((const double *)in)
#define PS512 _mm512_loadu_ps(in)
#define PD512 _mm512_loadu_pd(in)
#define SI128 _mm_loadu_si128((const __m128i *)in)
#define SI256 _mm256_loadu_si256((const __m256i *)in)
#define SI512 _mm512_loadu_si512(in)
#define DQ "avx512f,avx512dq"

PACKED("avx", float32_to_float64, uint32_t, uint64_t, 4, _mm256_storeu_pd((double *)out, _mm256_cvtps_pd(PS128)))
PACKED("avx", float32_to_int32, uint32_t, uint32_t, 8, _mm256_storeu_si256((__m256i *)out, _mm256_cvtps_epi32(PS256)))
PACKED("avx", float64_to_int32, uint64_t, uint32_t, 4, _mm_storeu_si128((__m128i *)out, _mm256_cvtpd_epi32(PD256)))
PACKED("avx", int32_to_float32, uint32_t, uint32_t, 8, _mm256_storeu_ps((float *)out, _mm256_cvtepi32_ps(SI256)))
PACKED("avx", int32_to_float64, uint32_t, uint64_t, 4, _mm256_storeu_pd((double *)out, _mm256_cvtepi32_pd(SI128)))
PACKED("avx", float32_to_int64, uint32_t, uint64_t, 1, *out = (uint64_t)_mm_cvtss_si64(_mm_load_ss((const float *)in)))
PACKED("avx", float64_to_int64, uint64_t, uint64_t, 1, *out = (uint64_t)_mm_cvtsd_si64(_mm_load_sd((const double *)in)))
PACKED("avx", int64_to_float32, uint64_t, uint32_t, 1,
       _mm_store_ss((float *)out, _mm_cvtsi64_ss(_mm_setzero_ps(), (long long)*in)))
PACKED("avx", int64_to_float64, uint64_t, uint64_t, 1,
       _mm_store_sd((double *)out, _mm_cvtsi64_sd(_mm_setzero_pd(), (long long)*in)))
PACKED(DQ, float32_to_uint32, uint32_t, uint32_t, 16, _mm512_storeu_si512(out, _mm512_cvtps_epu32(PS512)))
PACKED(DQ, float64_to_uint32, uint64_t, uint32_t, 8, _mm256_storeu_si256((__m256i *)out, _mm512_cvtpd_epu32(PD512)))
PACKED(DQ, uint32_to_float32, uint32_t, uint32_t, 16, _mm512_storeu_ps(out, _mm512_cvtepu32_ps(SI512)))
PACKED(DQ, uint32_to_float64, uint32_t, uint64_t, 8, _mm512_storeu_pd(out, _mm512_cvtepu32_pd(SI256)))
PACKED(DQ, float32_to_uint64, uint32_t, uint64_t, 8, _mm512_storeu_si512(out, _mm512_cvtps_epu64(PS256)))
PACKED(DQ, float64_to_uint64, uint64_t, uint64_t, 8, _mm512_storeu_si512(out, _mm512_cvtpd_epu64(PD512)))
PACKED(DQ, uint64_to_float32, uint64_t, uint32_t, 8, _mm256_storeu_ps((float *)out, _mm512_cvtepu64_ps(SI512)))
PACKED(DQ, uint64_to_float64, uint64_t, uint64_t, 8, _mm512_storeu_pd(out, _mm512_cvtepu64_pd(SI512)))

#else

const char *witness_absent(const char *function)
{
    (void)function;
    return "the witness speaks x86-64 only";
}

#endif
