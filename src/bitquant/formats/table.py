"""THE TABLE: one row for each named format.

A new format is one row here; the conversions, the tests, the command line and the documentation follow from it.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from bitquant.formats.row import Format, NaNCodes

_IEEE = "IEEE 754-2019, table 3.5"
_OCP8 = "OCP 8-bit floating point specification 1.0"
_MX = "OCP microscaling formats specification 1.0"
_LLVM = "LLVM APFloat"
_FNUZ = "Noune et al., 8-bit numerical formats for deep neural networks, 2022 (Graphcore, AMD)"


def _float(
    name: str,
    exponent_bits: int,
    significand_bits: int,
    *aliases: str,
    source: str,
    dtype: Any = None,
    bias: int | None = None,
    infinity: bool = False,
    nan: NaNCodes = None,
    **more: Any,
) -> Format:
    bias = (1 << (exponent_bits - 1)) - 1 if bias is None else bias
    dtype = getattr(ml_dtypes, name, None) if dtype is None else dtype
    return Format(
        name,
        "float",
        exponent_bits,
        significand_bits,
        bias,
        infinity=infinity or nan == "ieee",
        nan=nan,
        aliases=aliases,
        dtype=None if dtype is None else np.dtype(dtype),
        source=source,
        **more,
    )


def _integer(name: str, bits: int, signed: bool, *aliases: str) -> Format:
    dtype = np.dtype(getattr(ml_dtypes, name) if bits < 8 else name)
    source = "two's complement" if signed else "binary"
    return Format(
        name, "integer", 0, bits - signed, signed=signed, aliases=aliases, dtype=dtype, source=f"{source}, {bits} bits"
    )


def _codebook(name: str, values: tuple[float, ...], *aliases: str, source: str) -> Format:
    bits = max(1, (len(values) - 1).bit_length())
    return Format(name, "codebook", 0, bits, signed=False, values=values, aliases=aliases, source=source)


FP64 = _float("float64", 11, 52, "fp64", "f64", "double", "binary64", nan="ieee", dtype=np.float64, source=_IEEE)
FP32 = _float(
    "float32", 8, 23, "fp32", "f32", "single", "float", "binary32", nan="ieee", dtype=np.float32, source=_IEEE
)
TF32 = _float("tfloat32", 8, 10, "tf32", "tensorfloat32", nan="ieee", source="NVIDIA A100 architecture, 19 bits")
FP16 = _float("float16", 5, 10, "fp16", "f16", "half", "binary16", nan="ieee", dtype=np.float16, source=_IEEE)
BF16 = _float("bfloat16", 8, 7, "bf16", "brain", nan="ieee", source="Intel BFLOAT16 hardware numerics definition")
E5M2 = _float("float8_e5m2", 5, 2, "e5m2", nan="ieee", source=_OCP8)
E4M3 = _float("float8_e4m3", 4, 3, "e4m3", nan="ieee", source=_LLVM)
E3M4 = _float("float8_e3m4", 3, 4, "e3m4", nan="ieee", source=_LLVM)
E4M3FN = _float("float8_e4m3fn", 4, 3, "e4m3fn", nan="all_ones", source=_OCP8)
E4M3FNUZ = _float("float8_e4m3fnuz", 4, 3, "e4m3fnuz", bias=8, nan="negative_zero", source=_FNUZ)
E5M2FNUZ = _float("float8_e5m2fnuz", 5, 2, "e5m2fnuz", bias=16, nan="negative_zero", source=_FNUZ)
E4M3B11FNUZ = _float("float8_e4m3b11fnuz", 4, 3, "e4m3b11fnuz", bias=11, nan="negative_zero", source=_LLVM)
E3M2FN = _float("float6_e3m2fn", 3, 2, "e3m2fn", "fp6e3m2", source=_MX)
E2M3FN = _float("float6_e2m3fn", 2, 3, "e2m3fn", "fp6e2m3", source=_MX)
E2M1FN = _float("float4_e2m1fn", 2, 1, "e2m1fn", "fp4", "fp4e2m1", source=_MX)
E8M0 = _float("float8_e8m0fnu", 8, 0, "e8m0fnu", "e8m0", nan="all_ones", signed=False, zero=False, source=_MX)

INT2 = _integer("int2", 2, True, "i2", "s2")
UINT2 = _integer("uint2", 2, False, "u2")
INT4 = _integer("int4", 4, True, "i4", "s4")
UINT4 = _integer("uint4", 4, False, "u4")
INT8 = _integer("int8", 8, True, "i8", "s8")
UINT8 = _integer("uint8", 8, False, "u8")
INT16 = _integer("int16", 16, True, "i16", "s16")
UINT16 = _integer("uint16", 16, False, "u16")
INT32 = _integer("int32", 32, True, "i32", "s32")
UINT32 = _integer("uint32", 32, False, "u32")
INT64 = _integer("int64", 64, True, "i64", "s64")
UINT64 = _integer("uint64", 64, False, "u64")

NF4 = _codebook(
    "nf4",
    tuple(
        float(np.float32(value))
        for value in (
            -1.0,
            -0.6961928009986877,
            -0.5250730514526367,
            -0.39491748809814453,
            -0.28444138169288635,
            -0.18477343022823334,
            -0.09105003625154495,
            0.0,
            0.07958029955625534,
            0.16093020141124725,
            0.24611230194568634,
            0.33791524171829224,
            0.44070982933044434,
            0.5626170039176941,
            0.7229568362236023,
            1.0,
        )
    ),
    "normalfloat4",
    source="Dettmers et al., QLoRA, 2023",
)
IQ4_NL = _codebook(
    "iq4_nl",
    tuple(map(float, (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113))),
    "iq4nl",
    source="ggml, IQ4_NL",
)

ROWS = (
    *(FP64, FP32, TF32, FP16, BF16),
    *(E5M2, E4M3, E3M4, E4M3FN, E4M3FNUZ, E5M2FNUZ, E4M3B11FNUZ, E3M2FN, E2M3FN, E2M1FN, E8M0),
    *(INT2, UINT2, INT4, UINT4, INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64),
    *(NF4, IQ4_NL),
)
