"""NumPy, ml_dtypes and PyTorch: `astype` and `to` on the CPU."""

from bitquant.dialects.names import (
    BF16,
    BYTES,
    E3M4,
    E4M3,
    E4M3FN,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    E8M0,
    F16,
    F32,
    F64,
    FNUZ,
    FP4,
    FP6,
    I8,
    I32,
    I64,
    LONGS,
    SHORTS,
    TINY_INTEGERS,
    U32,
    U64,
    WORDS,
)
from bitquant.dialects.row import Conversion, Dialect, Gap

_TWICE = "rounds to float32 on the way"
_WIDE_INTEGERS = (*BYTES, *SHORTS, *WORDS, *LONGS)
_NARROW_INTEGERS = (*BYTES, *SHORTS)
_ON_X86 = (
    "Out of range to an integer is undefined in C; what is here was found on x86-64, where NaN, infinities and numbers "
    "beyond int32 or int64 give the integer indefinite, of which the shorter integers keep the low bits."
)
_LOST = Gap((F32,), SHORTS, "what is beyond int32 gives 0, and the low bits of the integer else", I32)
_LOST_BYTES = Gap(
    (F64,), _NARROW_INTEGERS, "what is beyond int32 gives 0, and the low bits of the integer else", "int32"
)
_UNDEFINED = Gap(
    (F64, F32, F16, BF16),
    (U32, U64),
    "out of range is undefined in C, and differs from place to place in an array",
)


def _to_integers(*halves: str) -> tuple[Conversion, ...]:
    """Floats to integers by C's casts on x86-64."""
    cut = "toward_zero"
    return (
        Conversion((F32, *halves), BYTES, rounding=cut, overflow="wrap", nan="zero"),
        Conversion(halves, SHORTS, rounding=cut, overflow="wrap", nan="zero"),
        Conversion((F64, F32, *halves), (I32, I64), rounding=cut, overflow="indefinite", nan="indefinite"),
        Conversion(_WIDE_INTEGERS, _WIDE_INTEGERS, rounding=None, overflow="wrap", nan=None),
        Conversion(_WIDE_INTEGERS, (F32, F64), nan=None),
    )


_ML_SIGNED = (E5M2, E4M3, E3M4, E4M3FN)  # formats whose NaN has a sign
_ML_SOURCES = (F32, F16, BF16, *_ML_SIGNED)

LIBRARIES = (
    Dialect(
        name="numpy",
        title="NumPy's astype",
        source="NumPy, core/src/common/half.hpp and core/src/multiarray/lowlevel_strided_loops.c.src",
        witness="NumPy 2.4.6 on x86-64",
        conversions=(
            Conversion((F64, F32), (F16,), nan_codes=False),
            Conversion((F64,), (F32,)),
            Conversion((F32,), (F64,), rounding=None),
            Conversion((F16,), (F32, F64), rounding=None, nan_codes=False),
            Conversion(_WIDE_INTEGERS, (F16,), nan=None),
            *_to_integers(F16),
        ),
        gaps=(_LOST, _LOST_BYTES, _UNDEFINED),
        notes=(
            "From and to float16 a signalling NaN stays signalling; every other NaN is as here.",
            _ON_X86,
        ),
    ),
    Dialect(
        name="ml_dtypes",
        title="ml_dtypes' astype",
        source="ml_dtypes, include/float8.h, mxfloat.h and intn.h; Eigen, BFloat16.h",
        witness="ml_dtypes 0.6.0",
        conversions=(
            Conversion((F32, F16, *_ML_SIGNED), (BF16,), nan="signed"),
            *(
                Conversion(tuple(name for name in _ML_SOURCES if name != own), (own,), nan="signed")
                for own in _ML_SIGNED
            ),
            Conversion(_ML_SOURCES, FNUZ),
            Conversion(_ML_SOURCES, (*FP6, *FP4), nan="negated_zero"),
            Conversion((F32, F16, BF16), (E8M0,), overflow="nan"),
            Conversion((BF16,), (F32, F64), rounding=None, nan_codes=False),
            Conversion((*_ML_SIGNED, *FP6, *FP4, E8M0), (F32, F64), rounding=None, nan="signed"),
            Conversion((BF16, *_ML_SIGNED, *FP6, *FP4, E8M0), (F16,), nan="signed"),
            Conversion((*FP6, *FP4, E8M0), (BF16,), nan="signed"),
            Conversion(FNUZ, (F64, F32, F16, BF16), nan="signed", nan_codes=False),
            Conversion((F32, F16, BF16), TINY_INTEGERS, rounding="toward_zero", overflow="wrap", nan="zero"),
            Conversion(TINY_INTEGERS, (F32, F64), rounding=None, nan=None),
            Conversion(_NARROW_INTEGERS, (BF16, *_ML_SIGNED, *FNUZ, *FP6, *FP4), nan=None),
        ),
        gaps=(
            Gap((F64,), (BF16, *_ML_SIGNED, *FNUZ, *FP6, *FP4, E8M0), f"ml_dtypes {_TWICE}", F32),
            Gap((*WORDS, *LONGS), (BF16,), f"ml_dtypes {_TWICE}", F32),
        ),
        notes=(
            "The one NaN of the FNUZ formats is negative when they are the source; here it is positive.",
            "bfloat16 to float32 keeps a signalling NaN signalling.",
            "float8_e8m0fnu: zero and every negative number give NaN. float32 subnormals above 2^-127 and below "
            "1.5 · 2^-127 give 2^-126, one step too high; the row has 2^-127.",
        ),
    ),
    Dialect(
        name="torch",
        title="PyTorch's Tensor.to on the CPU",
        source="PyTorch, c10/util/Half.h, BFloat16.h, Float8_*.h and ATen/cpu/vec",
        witness="PyTorch 2.13.0 on x86-64 with AVX-512",
        conversions=(
            Conversion((F32, BF16, E5M2), (F16,)),
            Conversion((F32, F16, E5M2), (BF16,), nan="canonical", nan_codes=False),
            Conversion((F32, F16, BF16), (E5M2,), nan="all_ones"),
            Conversion((F32, F16, BF16, E5M2), (E4M3FN,), overflow="saturate"),
            Conversion((F32, F16, BF16, E5M2, E4M3FN), (E5M2FNUZ, E4M3FNUZ)),
            Conversion((F32, F16, BF16), (E8M0,)),
            Conversion((F64,), (F32,)),
            Conversion((F32,), (F64,), rounding=None),
            Conversion((F16, BF16), (F32, F64), rounding=None, nan_codes=False),
            Conversion((E5M2,), (F32, F64), rounding=None),
            Conversion((E4M3FN,), (E5M2,), nan="all_ones"),
            Conversion((E4M3FN, E5M2FNUZ, E4M3FNUZ, E8M0), (F64, F32, F16, BF16), nan_codes=False),
            Conversion((*BYTES, *SHORTS), (F16, BF16, E5M2, E5M2FNUZ, E4M3FNUZ), nan=None),
            Conversion((*BYTES, *SHORTS), (E4M3FN,), overflow="saturate", nan=None),
            *_to_integers(F16, BF16),
        ),
        gaps=(
            Gap((F64,), (F16, BF16, E5M2, E4M3FN, E5M2FNUZ, E4M3FNUZ, E8M0), f"PyTorch {_TWICE}", F32),
            Gap((*WORDS, *LONGS), (BF16,), f"PyTorch {_TWICE}", F32),
            _LOST,
            Gap((F64,), (I8, *SHORTS), _LOST_BYTES.why, I32),
            _UNDEFINED,
        ),
        notes=(
            "To bfloat16 NaN is 7FC0, or FFFF where the vectorised routine runs: the same number may give either by "
            "its place in the tensor, its length and strides. From float16 to float32, a NaN alone gives 7FFFFFFF.",
            "The NaN of float8_e4m3fn has a payload when it is the source, and those of the FNUZ formats and "
            "float8_e8m0fnu are signalling.",
            "float8_e8m0fnu: the sign is dropped, so the row holds for numbers that are not negative; float32 "
            "subnormals above 2^-127 and below 1.5 · 2^-127 give 2^-126, one step too high; the row has 2^-127.",
            _ON_X86,
        ),
    ),
)
