/* The conversion functions of NVIDIA's headers as they run on the host, for tests alone: one loop each, named
   source_to_target_rounding. SATURATE chooses __NV_SATFINITE or __NV_NOSAT. Source: CUDA Math API. */

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp4.h>
#include <cuda_fp6.h>
#include <cuda_fp8.h>

static const __nv_saturation_t SAT = SATURATE ? __NV_SATFINITE : __NV_NOSAT;

template <typename T, typename Code> static T read(const Code *in)
{
    static_assert(sizeof(T) == sizeof(Code), "a code has its number's width");
    T x;
    memcpy(&x, in, sizeof x);
    return x;
}

template <typename Code, typename T> static Code bits(T x)
{
    static_assert(sizeof(T) == sizeof(Code), "a code has its number's width");
    Code code;
    memcpy(&code, &x, sizeof code);
    return code;
}

#define LOOP(name, in_code, in_type, out_code, expression)                                                             \
    extern "C" void name(const in_code *in, out_code *out, size_t n)                                                   \
    {                                                                                                                  \
        for (size_t i = 0; i < n; i++) {                                                                               \
            const in_type x = read<in_type>(in + i);                                                                   \
            out[i] = bits<out_code>(expression);                                                                       \
        }                                                                                                              \
    }

#define FLOAT8(source, code, type, function, kind, target)                                                             \
    LOOP(source##_to_##target##_rn, code, type, uint8_t, function(x, SAT, kind))
#define FLOAT8S(source, code, type, function)                                                                          \
    FLOAT8(source, code, type, function, __NV_E5M2, float8_e5m2)                                                       \
    FLOAT8(source, code, type, function, __NV_E4M3, float8_e4m3fn)
FLOAT8S(float64, uint64_t, double, __nv_cvt_double_to_fp8)
FLOAT8S(float32, uint32_t, float, __nv_cvt_float_to_fp8)
FLOAT8S(float16, uint16_t, __half_raw, __nv_cvt_halfraw_to_fp8)
FLOAT8S(bfloat16, uint16_t, __nv_bfloat16_raw, __nv_cvt_bfloat16raw_to_fp8)

#define SCALE(source, code, type, function)                                                                            \
    LOOP(source##_to_float8_e8m0fnu_rn, code, type, uint8_t, function(x, SAT, cudaRoundNearest))                       \
    LOOP(source##_to_float8_e8m0fnu_rz, code, type, uint8_t, function(x, SAT, cudaRoundZero))                          \
    LOOP(source##_to_float8_e8m0fnu_ru, code, type, uint8_t, function(x, SAT, cudaRoundPosInf))
SCALE(float64, uint64_t, double, __nv_cvt_double_to_e8m0)
SCALE(float32, uint32_t, float, __nv_cvt_float_to_e8m0)
SCALE(bfloat16, uint16_t, __nv_bfloat16_raw, __nv_cvt_bfloat16raw_to_e8m0)

#if SATURATE

#define SMALL(source, code, type, six, four)                                                                           \
    LOOP(source##_to_float6_e2m3fn_rn, code, type, uint8_t, six(x, __NV_E2M3, cudaRoundNearest))                       \
    LOOP(source##_to_float6_e3m2fn_rn, code, type, uint8_t, six(x, __NV_E3M2, cudaRoundNearest))                       \
    LOOP(source##_to_float4_e2m1fn_rn, code, type, uint8_t, four(x, __NV_E2M1, cudaRoundNearest))
SMALL(float64, uint64_t, double, __nv_cvt_double_to_fp6, __nv_cvt_double_to_fp4)
SMALL(float32, uint32_t, float, __nv_cvt_float_to_fp6, __nv_cvt_float_to_fp4)
SMALL(float16, uint16_t, __half_raw, __nv_cvt_halfraw_to_fp6, __nv_cvt_halfraw_to_fp4)
SMALL(bfloat16, uint16_t, __nv_bfloat16_raw, __nv_cvt_bfloat16raw_to_fp6, __nv_cvt_bfloat16raw_to_fp4)

#else

#define HALF(direction)                                                                                                \
    LOOP(float32_to_float16_##direction, uint32_t, float, uint16_t, __float2half_##direction(x))                       \
    LOOP(float32_to_bfloat16_##direction, uint32_t, float, uint16_t, __float2bfloat16_##direction(x))
HALF(rn)
HALF(rz)
HALF(ru)
HALF(rd)
LOOP(float64_to_float16_rn, uint64_t, double, uint16_t, __double2half(x))
LOOP(float64_to_bfloat16_rn, uint64_t, double, uint16_t, __double2bfloat16(x))

#endif
