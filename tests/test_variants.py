"""The same bits from every CPU variant of the kernels: each is built alone, and all give one digest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bitquant as bq

pytestmark = pytest.mark.exhaustive  # compiles

ROOT = Path(__file__).parents[1]
PACKAGE = Path(bq.__file__).parent

# What a level adds to the one before (x86-64 psABI, table 3.1), as /proc/cpuinfo calls it.
LEVELS = {
    "x86-64-v2": "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3",
    "x86-64-v3": "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
}

# Runs in a process of its own: prints where it found bitquant, and a digest of all results and masks.
SCRIPT = """
import hashlib, itertools
import numpy as np
import bitquant as bq
from bitquant.dialects.quantizers import quantizers
from bitquant.quantize.parameters import SCHEMES
from bitquant.rules import ROUNDINGS, SUBNORMALS, TININESS
from bitquant.permitted import nan_rules, overflow_rules

digest = hashlib.sha256()
draw = np.random.default_rng(754)

def inputs(fmt):
    word = fmt.code_dtype
    if fmt.bits <= 16:
        return np.arange(fmt.largest_code + 1 if fmt.kind == "codebook" else 2**fmt.bits, dtype=np.uint64).astype(word)
    anywhere = draw.integers(0, 2**fmt.bits - 1, 6000, np.uint64, endpoint=True)
    if fmt.is_integer:
        small = draw.integers(-40000, 40000, 6000) >> draw.integers(0, 16, 6000)
        anywhere >>= draw.integers(0, fmt.bits, 6000, np.uint64)
        return np.concatenate([small.astype(np.uint64), anywhere]).astype(word)
    t = fmt.significand_bits
    fields = np.arange(2**fmt.exponent_bits, dtype=np.uint64) << np.uint64(t)
    some = [fields, fields + np.uint64(1), fields - np.uint64(1)]
    some += [fields + np.uint64(1 << k) for k in range(t)]
    some += [fields + np.uint64((1 << k) + 1) for k in range(1, t)]
    ends = np.concatenate(some) & np.uint64(2**fmt.magnitude_bits - 1)
    # A long run within the range of every format takes the short path of the kernels.
    one = max(fmt.bias, 1) << t
    ordinary = np.uint64(one) + draw.integers(0, 1 << (t + 2), 6000, np.uint64)
    numbers = np.concatenate([ordinary, draw.permutation(ends)[:20000], anywhere, ordinary])
    numbers[::3] ^= np.uint64(1 << fmt.magnitude_bits)
    return (numbers & np.uint64(2**fmt.bits - 1)).astype(word)

# Each loop of each kernel has one of these, as source or target.
NAMES = (
    "float64 float32 tfloat32 float16 bfloat16 float8_e4m3fn float8_e4m3fnuz float4_e2m1fn float8_e8m0fnu binary6p1uf "
    "binary16p5se int4 int8 uint8 int16 uint32 int64 uint64 nf4"
).split()
FORMATS = [bq.format(name) for name in NAMES]
FORMATS += [bq.exmy(8, 31), bq.exmy(8, 15), bq.exmy(2, 2, bias=1060, nan="negative_zero"), bq.exmy(4, 2, signed=False)]
FORMATS += [bq.codebook(np.arange(-60, 41) ** 3 / 7, "cubes"), bq.codebook([-2.5, 0, 0.3], "three")]

for place, (source, target) in enumerate(itertools.product(FORMATS, FORMATS)):
    codes = inputs(source)
    overflows = [rule for rule in overflow_rules(target) if rule != "raise"]
    nans = [rule for rule in nan_rules(target) if rule != "raise"]
    chances = [] if target.kind == "codebook" else [bq.Stochastic(8, variant="A"), bq.Stochastic(32, seed=7)]
    for k, (rounding, overflow) in enumerate(itertools.product([*ROUNDINGS, *chances], overflows)):
        rules = dict(rounding=rounding, overflow=overflow, subnormals=list(SUBNORMALS)[(place + k) % 4],
                     nan=nans[k % len(nans)], tininess=list(TININESS)[k % 2])
        flags = bq.Flags(record=True)
        try:
            plain = bq.encode(codes, target, source, **rules)
        except bq.BitquantError as error:  # int64 to what only float64 is wide enough for
            digest.update(str(error).encode())
            break
        counted = bq.encode(codes, target, source, flags=flags, **rules)
        assert counted.tobytes() == plain.tobytes(), (source, target, rules)
        digest.update(plain.tobytes())
        digest.update(flags.mask.tobytes())
        digest.update(repr((flags.invalid, flags.overflow, flags.underflow, flags.inexact)).encode())
        for cut in (1, 31):  # another start in the vector
            digest.update(bq.encode(codes[cut:][:999], target, source, **rules).tobytes())

for fmt in (bq.FP32, bq.FP64):
    for keep, ties in itertools.product(range(fmt.significand_bits + 1), ("even", "away")):
        digest.update(bq.round_bits(inputs(fmt).view(fmt.dtype), keep, ties).tobytes())

for bits, order in itertools.product(range(1, 9), ("little", "big")):
    for length in (1, 7, 64, 999, 6000):
        codes = draw.integers(0, 2**bits, (3, length)).astype(np.uint8)
        packed = bq.pack_bits(codes, bits, order=order)
        digest.update(packed.tobytes())
        digest.update(bq.unpack_bits(packed, bits, order=order).tobytes())

x = draw.standard_normal((37, 129)).astype(np.float32)
x[:, ::7] = np.round(x[:, ::7] * 4) / 4
for source, scheme, rounding in itertools.product(("float32", "float64", "bfloat16"), SCHEMES, ROUNDINGS):
    for where in (dict(), dict(axis=0), dict(axis=1), dict(group_size=32), dict(group_size=5, axis=0)):
        for how in (dict(), dict(step=0.25)):
            q = bq.quantize(bq.convert(x, source), scheme, rounding=rounding, **how, **where)
            digest.update(q.codes.tobytes())
            digest.update(q.dequantize("bfloat16").tobytes() + q.dequantize("float32").tobytes())
            digest.update(repr(q.range).encode())

wide = np.concatenate([inputs(bq.FP32).view(np.float32), np.float32([np.nan, np.inf, -np.inf])])
for row in quantizers():
    for source in row.inputs:
        numbers = bq.convert(wide, source)
        q = bq.quantize(numbers, dialect=row.name, step=0.3, zero_point=3)
        digest.update(q.codes.tobytes() + q.dequantize().tobytes())
        for scheme in [scheme for scheme in SCHEMES if row.parameters(scheme)]:
            for where in (dict(axis=0), dict(axis=1), dict(group_size=32)):
                q = bq.quantize(bq.convert(x, source), scheme, dialect=row.name, **where)
                digest.update(q.codes.tobytes() + q.dequantize().tobytes() + repr(q.range).encode())
for row in bq.block_formats():
    for rule, axis in itertools.product(row.scale_rules, (0, 1)):
        for dtype in (np.float32, np.float64) if rule in ("floor", "exact") else (np.float32,):
            numbers = draw.standard_normal((70, 99)) * 2.0 ** draw.integers(-40, 10, (70, 1))
            q = bq.quantize_blocks(numbers.astype(dtype), row, axis=axis, scale_rule=rule)
            for part in (q.codes, q.scales, q.dequantize("float16"), q.dequantize()):
                digest.update(part.tobytes())
for types in itertools.product((np.int8, np.uint8), repeat=2):
    for m, k, n in ((1, 1, 1), (13, 130, 259), (7, 33000, 5)):
        a, b = (draw.integers(0, 256, size, np.uint8).view(t) for size, t in zip(((m, k), (k, n)), types))
        sums = bq.integer_matmul(a, b, a_zero_point=3, b_zero_point=-7, overflow="saturate")
        digest.update(sums.tobytes())
        for rule in ("tflite", "tflite_single", "float32"):
            for multiplier, axis in ((2e-5, None), (draw.uniform(1e-6, 1e-3, n), 1), (draw.uniform(1e-6, 1e-3, m), 0)):
                digest.update(bq.requantize(sums, multiplier, axis=axis, rule=rule).tobytes())

print(bq.__file__)
print(digest.hexdigest())
"""


def digest(folder):
    """Run the script with the package in a folder; return the digest."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, value = done.stdout.split()
    assert Path(found).is_relative_to(folder), "another bitquant was imported"
    return value


@pytest.fixture(scope="module")
def installed():
    """Return the digest of the build under test, which picks a variant for this CPU."""
    return digest(PACKAGE.parent)


@pytest.mark.parametrize("level", LEVELS)
def test_every_cpu_variant_gives_the_same_bits(level, installed, tmp_path):
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("no C compiler: looked for cc, gcc and clang")
    if not (ROOT / "setup.py").exists():
        pytest.skip("no source tree beside the tests")
    cpuinfo = Path("/proc/cpuinfo")
    present = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    needed = " ".join(list(LEVELS.values())[: list(LEVELS).index(level) + 1]).split()
    if missing := [flag for flag in needed if flag not in present]:
        pytest.skip(f"this CPU lacks {' '.join(missing)}, or is no x86-64 under Linux")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tmp_path)
    ignored = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    built = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        env={**os.environ, "BITQUANT_ARCH": level, "PYTHONPATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    assert f"-march={level}" in built.stdout + built.stderr
    assert digest(tmp_path / "src") == installed
