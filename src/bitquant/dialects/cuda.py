"""NVIDIA: PTX cvt and the conversion functions of the CUDA headers, without and with .satfinite."""

from bitquant.dialects.names import (
    BF16,
    BYTES,
    E2M1FN,
    E2M3FN,
    E3M2FN,
    E4M3FN,
    E5M2,
    E8M0,
    F16,
    F32,
    F64,
    FOUR,
    I32,
    I64,
    SHORTS,
    TF32,
    U32,
    WORDS,
)
from bitquant.dialects.row import Conversion, Dialect

_HEADERS = "the cuda_fp16, cuda_bf16, cuda_fp8, cuda_fp6 and cuda_fp4 headers of CUDA 13.5, compiled for the host"
_SOURCE = "PTX ISA, cvt; CUDA Math API, cuda_fp8.h, cuda_fp6.h, cuda_fp4.h"
_NAN = "positive_all_ones"
_TF32 = ("nearest_away", "nearest_even", "toward_zero")
_E8M0 = ("toward_positive", "toward_zero", "nearest_even")
_TO_INTEGER = ("toward_zero", "nearest_even", "toward_positive", "toward_negative")

_SHARED_NOTES = (
    "NaN is delivered as one positive code with every bit set, 7F, 7FFF or 7FFFFFFF, whatever its sign and payload; in "
    "a format without NaN as the largest number.",
    "To float8_e8m0fnu the sign is discarded first: a negative number is converted as its magnitude. The row holds for "
    "numbers that are not negative.",
    "The headers convert float64 to the 8-bit floats in a routine of its own that keeps the sign of a NaN, and some of "
    "its payload.",
)
_UNSEEN = "Not witnessed: tfloat32, and integers; nor the chips, whose instructions the headers use on the device."

CUDA = (
    Dialect(
        name="cuda_satfinite",
        title="NVIDIA cvt with .satfinite, and __NV_SATFINITE",
        source=_SOURCE,
        witness=_HEADERS,
        conversions=(
            Conversion((F32, F16, BF16), (E5M2, E4M3FN), overflow="saturate", nan=_NAN),
            Conversion((F64,), (E5M2, E4M3FN), overflow="saturate", nan=_NAN, nan_codes=False),
            Conversion((F64, F32, F16, BF16), (E3M2FN, E2M3FN, E2M1FN), overflow="saturate", nan="max"),
            Conversion((F64, F32, BF16), (E8M0,), rounding=_E8M0, overflow="saturate"),
            Conversion((F32,), (F16, BF16), rounding=("nearest_even", "toward_zero"), overflow="saturate", nan=_NAN),
            Conversion((F32,), (TF32,), rounding=_TF32, overflow="saturate", nan=_NAN),
        ),
        notes=(
            *_SHARED_NOTES,
            "In PTX .satfinite is mandatory for the formats of 8 bits and less. Infinity saturates, too.",
            f"{_UNSEEN} Nor .satfinite to float16 and bfloat16.",
        ),
    ),
    Dialect(
        name="cuda",
        title="NVIDIA cvt without .satfinite, and __NV_NOSAT",
        source=_SOURCE,
        witness=_HEADERS,
        conversions=(
            Conversion((F32,), (F16, BF16), rounding=FOUR, nan=_NAN),
            Conversion((F64,), (F16, BF16), nan=_NAN),
            Conversion((F32,), (TF32,), rounding=_TF32, nan=_NAN),
            Conversion((F32, F16, BF16), (E5M2, E4M3FN), nan=_NAN),
            Conversion((F64,), (E5M2, E4M3FN), nan=_NAN, nan_codes=False),
            Conversion((F64, F32, BF16), (E8M0,), rounding=("toward_positive", "nearest_even")),
            Conversion((F32, F16), (*BYTES, *SHORTS, *WORDS), rounding=_TO_INTEGER, overflow="saturate", nan="zero"),
            Conversion((F64, F32, F16), (I64,), rounding=_TO_INTEGER, overflow="saturate", nan="indefinite"),
            Conversion((F64,), (I32,), rounding=_TO_INTEGER, overflow="saturate", nan="indefinite"),
            Conversion((I32, U32, I64), (F32, F64), rounding=FOUR, nan=None),
        ),
        notes=(
            *_SHARED_NOTES,
            "PTX has no 8-bit conversion without .satfinite; __NV_NOSAT is the headers' own. To float8_e8m0fnu with "
            "cudaRoundZero it gives NaN for infinity and the largest number for what is above it; no rule here does.",
            _UNSEEN,
        ),
    ),
)
