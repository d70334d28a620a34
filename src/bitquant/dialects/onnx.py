"""ONNX: the Cast operator as the standard's tables and test cases have it, and as ONNX Runtime computes it."""

from bitquant.dialects.names import (
    BF16,
    BYTES,
    E2M1FN,
    E4M3FN,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    E8M0,
    F16,
    F32,
    F64,
    I32,
    I64,
    INTEGERS,
    LONGS,
    SHORTS,
    TINY_INTEGERS,
    U32,
    U64,
    WORDS,
)
from bitquant.dialects.row import Conversion, Dialect, Gap

_FP8 = (E4M3FN, E4M3FNUZ, E5M2, E5M2FNUZ)
_WHOLE = (*BYTES, *SHORTS, *WORDS, *LONGS)
_HALVES = (F16, BF16)
_UP = ("toward_positive", "toward_zero", "nearest_even")  # round_mode "up", "down", "nearest"

_CAST = "ONNX operator Cast, version 25"
_CASES = "onnx 1.23.2 (the operator's test cases, and its reference implementation)"
_RUNTIME = "ONNX Runtime 1.32.0, CPU"

# What saturate does not touch.
_STANDARD = (
    Conversion((F64, F32), (F16,), nan_codes=False),
    Conversion((F64,), (F32,), nan_codes=False),
    Conversion((F32, F16), (BF16,), nan="signed", nan_codes=False),
    Conversion((F32, F16, BF16), (F64,), rounding=None, nan_codes=False),
    Conversion((F16, BF16), (F32,), rounding=None, nan_codes=False),
    Conversion((BF16,), (F16,), nan_codes=False),
    Conversion((*_FP8, E2M1FN, E8M0), (F32, F16), nan_codes=False),
    Conversion((F32, F16), (E2M1FN,), nan="negated_zero"),
    Conversion((E2M1FN,), (*BYTES, *TINY_INTEGERS), rounding="toward_zero", overflow="wrap", nan=None),
    Conversion(
        (F32, F16, BF16),
        TINY_INTEGERS,
        rounding="toward_zero",
        overflow="wrap",
        nan="zero",
        note="Out of range is undefined; the test cases keep the low bits.",
    ),
    Conversion(
        (F64, F32, F16, BF16),
        _WHOLE,
        rounding="toward_zero",
        overflow=("raise", "wrap", "saturate", "indefinite"),
        nan=("raise", "zero", "max", "indefinite"),
        note="Out of range is undefined, so it is refused.",
    ),
    Conversion(INTEGERS, INTEGERS, rounding=None, overflow="wrap", nan=None),
    Conversion(INTEGERS, (F64, F32, F16), nan=None),
)
_STANDARD_GAP = (
    Gap((F64,), _FP8, "the reference implementation rounds to float32 on the way", F32),
    Gap((F64,), (BF16,), "the reference implementation rounds to float32 on the way", F32),
)
_STANDARD_NOTES = (
    "The standard asks for NaN without saying which; the codes here are those of the test cases.",
    "float8_e8m0fnu: round_mode up is toward_positive, down toward_zero. Negative numbers are undefined. The reference "
    "implementation takes magnitudes, gives NaN for infinity where the operator's table has the largest number, and "
    "rounds the subnormals of float32 one step too high.",
)

# ONNX Runtime, apart from the 8-bit formats.
_RUNTIME_BASE = (
    Conversion((F32,), (F16,), nan_codes=False),
    Conversion((F32, F16), (BF16,), nan="signed"),
    Conversion((F64,), (F32,)),
    Conversion((F32, F16), (F64,), rounding=None),
    Conversion((F16,), (F32,), rounding=None),
    Conversion((BF16,), (F32, F64), rounding=None, nan_codes=False),
    Conversion((BF16,), (F16,), nan_codes=False),
    Conversion(
        (F32,),
        TINY_INTEGERS,
        rounding="nearest_away",
        overflow="wrap",
        nan="zero",
        note="Not as the test cases, which have whole numbers only.",
    ),
    Conversion((F32, F16), BYTES, rounding="toward_zero", overflow="wrap", nan="zero"),
    Conversion((F16,), SHORTS, rounding="toward_zero", overflow="wrap", nan="zero"),
    Conversion((F32,), (I32, I64), rounding="toward_zero", overflow="indefinite", nan="indefinite"),
    Conversion(_WHOLE, _WHOLE, rounding=None, overflow="wrap", nan=None),
    Conversion(_WHOLE, (F32, F64), nan=None),
)
_RUNTIME_TWICE = "ONNX Runtime rounds to float32 on the way"
_RUNTIME_GAPS = (
    Gap((F64,), (F16, BF16, E4M3FNUZ, E5M2FNUZ), _RUNTIME_TWICE, F32),
    Gap((F32,), SHORTS, "what is beyond int32 gives 0, and the low bits of the integer else", I32),
    Gap((F32,), (U32, U64), "out of range is undefined in C, and differs from place to place in an array"),
)
_RUNTIME_NOTES = (
    "To float16, NaN loses its payload or keeps it by its place in the array.",
    "Out of range to an integer is undefined in C; what is here was found on x86-64.",
)

ONNX = (
    Dialect(
        name="onnx",
        title="ONNX Cast with saturate=1, the default",
        source=_CAST,
        witness=_CASES,
        conversions=(
            Conversion((F32, *_HALVES), _FP8, overflow="saturate", nan="signed"),
            Conversion((F32, *_HALVES), (E8M0,), rounding=_UP, overflow="saturate"),
            *_STANDARD,
        ),
        gaps=_STANDARD_GAP,
        notes=_STANDARD_NOTES,
    ),
    Dialect(
        name="onnx_nosaturate",
        title="ONNX Cast with saturate=0",
        source=_CAST,
        witness=_CASES,
        conversions=(Conversion((F32, *_HALVES), _FP8, nan="signed"), *_STANDARD),
        gaps=(
            *_STANDARD_GAP,
            Gap(
                (F32, *_HALVES),
                (E8M0,),
                "the operator's table gives NaN for zero and for all that is below 2^-127 or above 2^127, and the "
                "reference implementation does not",
            ),
        ),
        notes=_STANDARD_NOTES,
    ),
    Dialect(
        name="onnxruntime",
        title="ONNX Runtime's Cast on the CPU with saturate=1, the default",
        source="ONNX Runtime, core/providers/cpu/tensor/cast_op.cc",
        witness=_RUNTIME,
        conversions=(
            Conversion((F32, F16), (E5M2,), overflow="saturate", nan="all_ones"),
            Conversion((F32, F16), (E4M3FN, E4M3FNUZ, E5M2FNUZ), overflow="saturate"),
            Conversion((F32,), (E8M0,), rounding=_UP, overflow="saturate"),
            *_RUNTIME_BASE,
        ),
        gaps=(*_RUNTIME_GAPS, Gap((F64,), (E4M3FN, E5M2), _RUNTIME_TWICE, F32)),
        notes=_RUNTIME_NOTES,
    ),
    Dialect(
        name="onnxruntime_nosaturate",
        title="ONNX Runtime's Cast on the CPU with saturate=0",
        source="ONNX Runtime, core/providers/cpu/tensor/cast_op.cc",
        witness=_RUNTIME,
        conversions=(Conversion((F32, F16), (E4M3FNUZ, E5M2FNUZ)), *_RUNTIME_BASE),
        gaps=(
            *_RUNTIME_GAPS,
            Gap((F64,), (E4M3FN, E5M2), f"{_RUNTIME_TWICE}, and misses overflow as from there"),
            Gap(
                (F32, F16),
                (E4M3FN,),
                "from 480 up to 496 ONNX Runtime gives 448 where rounding gives 480 and so NaN; everywhere else it "
                "does as onnx_nosaturate",
            ),
            Gap(
                (F32, F16),
                (E5M2,),
                "from 61440 up to 65536 ONNX Runtime gives NaN where infinity is due; everywhere else it does as "
                "onnx_nosaturate",
            ),
            Gap(
                (F32,),
                (E8M0,),
                "ONNX Runtime gives NaN for zero and for all that is below 2^-127 or above 2^127 before rounding",
            ),
        ),
        notes=_RUNTIME_NOTES,
    ),
)
