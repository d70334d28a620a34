"""Instructions of this processor: VCVTPS2PH and VCVTPH2PS (F16C), VCVTNEPS2BF16 (AVX512-BF16).

No package gives them bare, so a few lines of C are compiled by the compiler that is found.
"""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Candidate, Case
from bitquant.formats import Format, format

_COMPILERS = ("cc", "gcc", "clang")
# Each function converts n numbers, the last few through a copy padded with zeros.
_SOURCE = """
#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#define LOOP(name, isa, from, to, lanes, step)                                                \\
    __attribute__((target(isa))) void name(const from *in, to *out, size_t n)                 \\
    {                                                                                         \\
        from last[lanes] = {0};                                                               \\
        to end[lanes];                                                                        \\
        for (; n >= lanes; n -= lanes, in += lanes, out += lanes)                             \\
            step(in, out);                                                                    \\
        if (n) {                                                                              \\
            memcpy(last, in, n * sizeof(from));                                               \\
            step(last, end);                                                                  \\
            memcpy(out, end, n * sizeof(to));                                                 \\
        }                                                                                     \\
    }
#define HALF(in, out) \\
    _mm_storeu_si128((__m128i *)(out), _mm256_cvtps_ph(_mm256_loadu_ps(in), _MM_FROUND_TO_NEAREST_INT))
#define FLOAT(in, out) _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(in))))
#define BRAIN(in, out) _mm256_storeu_si256((__m256i *)(out), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(in)))

LOOP(float32_to_float16, "avx,f16c", float, unsigned short, 8, HALF)
LOOP(float16_to_float32, "avx,f16c", unsigned short, float, 8, FLOAT)
LOOP(float32_to_bfloat16, "avx512f,avx512bf16", float, unsigned short, 16, BRAIN)
"""
# Conversion, instruction set as Linux names it, dialect with the manual's rules.
_INSTRUCTIONS = (
    ("float32", "float16", "VCVTPS2PH", "f16c", "x86_f16c"),
    ("float16", "float32", "VCVTPH2PS", "f16c", "x86_f16c"),
    ("float32", "bfloat16", "VCVTNEPS2BF16", "avx512_bf16", "x86_avx512bf16"),
)
_MANUAL = "Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, {}"


@cache
def _flags() -> frozenset[str]:
    """What Linux says that this processor has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(found.partition(":")[2].split())


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, _COMPILERS)), None)


def _absent() -> str | None:
    if platform.machine() != "x86_64" or not _flags():
        return "this is no x86-64 processor under Linux"
    return None if _compiler() else f"no C compiler: looked for {', '.join(_COMPILERS)}"


@cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(prefix="bitquant-") as folder:
        source, library = Path(folder) / "cpu.c", Path(folder) / "cpu.so"
        source.write_text(_SOURCE)
        command = [_compiler() or "cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        return ctypes.CDLL(str(library))


def _cast(source: Format, target: Format) -> Candidate:
    def convert(x: Any) -> Any:
        numbers, out = np.ascontiguousarray(x), np.empty(x.shape, target.code_dtype)
        function = getattr(_library(), f"{source.name}_to_{target.name}")
        function(ctypes.c_void_p(numbers.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_size_t(x.size))
        return out

    return convert


def _cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{source} to {target} ({name})",
            _cast(format(source), format(target)),
            _MANUAL.format(name),
            options={"source": source, "target": target, "dialect": dialect},
        )
        for source, target, name, flag, dialect in _INSTRUCTIONS
        if flag in _flags() or not _flags()
    )


ADAPTER = Adapter("cpu", "F16C and AVX512-BF16 of this processor", (), _cases, _absent)
