"""x86: conversion instructions, each group with the control bits that it obeys.

Source of all: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2 (the instructions) and volume 1,
chapters 4.8.4 (rounding), 4.9.1.5 (tininess after rounding) and 10.2.3 (MXCSR).
"""

from bitquant.dialects.names import BF16, C_FIRST, F16, F32, F64, FOUR, I32, I64, U32, U64
from bitquant.dialects.row import Conversion, Dialect

_MANUAL = "Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2"
_CPU = "an AMD EPYC processor with AVX-512 (Zen 4)"
_DAZ = ("gradual", "flush_input")  # MXCSR.DAZ

X86 = (
    Dialect(
        name="x86_f16c",
        title="VCVTPS2PH and VCVTPH2PS of x86 processors with F16C",
        source=f"{_MANUAL}, VCVTPS2PH, VCVTPH2PS",
        witness=_CPU,
        conversions=(
            Conversion((F32,), (F16,), rounding=FOUR, subnormals=_DAZ, tininess="after"),
            Conversion((F16,), (F32,), rounding=None, tininess="after"),
        ),
        notes=("Rounding comes from the immediate or from MXCSR.RC; flush_input is MXCSR.DAZ. MXCSR.FTZ is ignored.",),
    ),
    Dialect(
        name="x86_avx512bf16",
        title="VCVTNEPS2BF16 of x86 processors with AVX512-BF16",
        source=f"{_MANUAL}, VCVTNEPS2BF16",
        witness=_CPU,
        conversions=(Conversion((F32,), (BF16,), subnormals="flush"),),
        notes=("Ignores MXCSR: always nearest-even, subnormals always flushed on both sides; raises no flag.",),
    ),
    Dialect(
        name="x86_sse2",
        title="CVTPS2DQ, CVTPD2PS and their kin of every x86-64 processor",
        source=f"{_MANUAL}, CVTPS2DQ, CVTTPS2DQ, CVTPD2DQ, CVTSS2SI, CVTSD2SI, CVTPD2PS, CVTPS2PD, CVTDQ2PS, CVTDQ2PD",
        witness=_CPU,
        conversions=(
            Conversion(
                (F32, F64),
                (I32, I64),
                rounding=FOUR,
                overflow="indefinite",
                nan="indefinite",
                subnormals=_DAZ,
            ),
            Conversion((F64,), (F32,), rounding=FOUR, subnormals=_DAZ, tininess="after"),
            Conversion((F32,), (F64,), rounding=None, subnormals=_DAZ, tininess="after"),
            Conversion((I32, I64), (F32, F64), rounding=FOUR, nan=None),
        ),
        notes=(
            "Rounding comes from MXCSR.RC; the forms with a second T (CVTTPS2DQ), which C's casts compile to, are "
            "toward_zero.",
            "NaN and every number out of range give the integer indefinite, the most negative integer.",
            "MXCSR.FTZ flushes what is tiny before it is delivered, so it is not flush_output, which keeps a number "
            "that rounds up to the smallest normal one; the row leaves it off.",
        ),
    ),
    Dialect(
        name="x86_avx512",
        title="VCVTPS2UDQ, VCVTPS2UQQ and their kin, the unsigned conversions of x86 processors with AVX-512",
        source=f"{_MANUAL}, VCVTPS2UDQ, VCVTPD2UDQ, VCVTPS2UQQ, VCVTPD2UQQ, VCVTUDQ2PS, VCVTUQQ2PS",
        witness=_CPU,
        conversions=(
            Conversion(
                (F32, F64),
                (U32, U64),
                rounding=C_FIRST,
                overflow="indefinite",
                nan="indefinite",
                subnormals=_DAZ,
            ),
            Conversion((U32, U64), (F32, F64), rounding=FOUR, nan=None),
        ),
        notes=(
            "The unsigned integer indefinite is the largest integer, all ones: for NaN, negative numbers that do not "
            "round to zero, and numbers beyond it.",
            "Rounding comes from MXCSR.RC or the instruction; the default here is the truncating form, "
            "which C's casts compile to.",
        ),
    ),
)
