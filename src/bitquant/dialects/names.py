"""The names of formats and of groups of rules that several rows share."""

F64, F32, F16, BF16, TF32 = "float64", "float32", "float16", "bfloat16", "tfloat32"
E5M2, E4M3, E3M4, E4M3FN = "float8_e5m2", "float8_e4m3", "float8_e3m4", "float8_e4m3fn"
E5M2FNUZ, E4M3FNUZ, E4M3B11FNUZ = "float8_e5m2fnuz", "float8_e4m3fnuz", "float8_e4m3b11fnuz"
E3M2FN, E2M3FN, E2M1FN, E8M0 = "float6_e3m2fn", "float6_e2m3fn", "float4_e2m1fn", "float8_e8m0fnu"
FNUZ = (E5M2FNUZ, E4M3FNUZ, E4M3B11FNUZ)
FP6, FP4 = (E3M2FN, E2M3FN), (E2M1FN,)

I2, U2, I4, U4, I8, U8 = "int2", "uint2", "int4", "uint4", "int8", "uint8"
I16, U16, I32, U32, I64, U64 = "int16", "uint16", "int32", "uint32", "int64", "uint64"
TINY_INTEGERS, BYTES, SHORTS = (I2, U2, I4, U4), (I8, U8), (I16, U16)
WORDS, LONGS = (I32, U32), (I64, U64)
INTEGERS = (*TINY_INTEGERS, *BYTES, *SHORTS, *WORDS, *LONGS)

# The four directions of x86 and Arm control registers, and RISC-V's five; the first is the default.
FOUR = ("nearest_even", "toward_zero", "toward_positive", "toward_negative")
FIVE = (*FOUR, "nearest_away")
# Truncation first, as C's casts do.
C_FIRST = ("toward_zero", "nearest_even", "toward_positive", "toward_negative")
