"""Lessons 1 and 2: memory, range and precision; the bits of a number, and rounding."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.auditing.telling import bits, exact, said
from bitquant.convert import decode, encode
from bitquant.formats import BF16, FP16, FP32, Format, exmy
from bitquant.grid import fields
from bitquant.teach.exercise import Array, Case, Columns, Exercise, Mask, same_number

__all__ = ["EXERCISES"]

_CHUNK = 1 << 18  # inputs of one call: enough to hide the call, few enough to stay in the cache
_EVERY_CODE = "all 65,536 codes"


def _bytes_of_models() -> Iterator[Columns]:
    for width in range(1, 65):
        counts = np.concatenate([np.arange(4096), np.array([7, 13, 70, 405]) * 10**9])
        yield Columns((counts,), (width,), ((counts * width + 7) // 8,))


def _why_bytes(case: Case) -> list[str]:
    count, width = case.arguments
    return [f"{count:,} · {width} bits are {count * width:,} bits; a byte holds 8, and a byte begun is a whole one."]


def _splits() -> tuple[Array, Array]:
    """Every pair of field widths: 2 to 8 exponent bits, 1 to 23 significand bits."""
    exponent, significand = np.meshgrid(np.arange(2, 9), np.arange(1, 24), indexing="ij")
    return exponent.ravel(), significand.ravel()


def _extremes(smallest: bool) -> Iterator[Columns]:
    exponent, significand = _splits()
    rows = [exmy(e, m) for e, m in zip(exponent.tolist(), significand.tolist(), strict=True)]
    numbers = np.array([row.smallest_subnormal if smallest else row.max for row in rows])
    yield Columns((exponent, significand), (), (numbers,))


def _why_largest(case: Case) -> list[str]:
    e, m = case.arguments
    bias = 2 ** (e - 1) - 1
    return [
        f"The exponent field of all ones is for infinity and NaN, so the largest is {2**e - 2}; the bias is {bias}.",
        f"The significand is 1.{'1' * min(m, 8)}{'…' if m > 8 else ''}, 2 − 2^−{m}: (2 − 2^−{m}) · 2^{bias}.",
    ]


def _why_smallest(case: Case) -> list[str]:
    e, m = case.arguments
    least = 2 - 2 ** (e - 1)
    return [
        f"The exponent field 0 stands for 2^{least}, as 1 does, but without the leading 1: a subnormal number.",
        f"Its last significand bit alone is worth 2^−{m} of that: 2^{least - m}.",
    ]


def _from_one(one: int) -> NDArray[np.uint16]:
    """All codes of 16 bits, from that of 1 on: the first wrong answer is then mostly an ordinary number."""
    return np.roll(np.arange(1 << 16, dtype=np.uint16), -one)


def _half_fields() -> Iterator[Columns]:
    codes = _from_one(0x3C00)
    yield Columns((codes,), (), tuple(part.astype(np.int64) for part in fields(codes, FP16)))


def _why_fields(case: Case) -> list[str]:
    code = case.arguments[0]
    return [f"{bits(code, FP16)}: 1 bit of sign, 5 of exponent, 10 of significand, from the top down."]


def _halves() -> Iterator[Columns]:
    codes = _from_one(0x3C00)
    yield Columns((codes,), (), (np.asarray(decode(codes, FP16, dtype="float64")),))


def _why_half(case: Case) -> list[str]:
    code = case.arguments[0]
    sign, exponent, significand = (int(part) for part in fields(np.uint16(code), FP16))
    head = f"{bits(code, FP16)}: "
    if exponent == 31:
        meaning = f"NaN, since the significand is {significand}" if significand else "infinity"
        return [f"{head}the exponent field is all ones: {meaning}."]
    if exponent == 0 and significand == 0:
        return [f"{head}zero, and the sign bit is kept: {'−' if sign else '+'}0."]
    if exponent == 0:
        return [f"{head}the exponent field is 0: a subnormal number, {significand} · 2^−24, without a leading 1."]
    return [f"{head}(1 + {significand}/1024) · 2^({exponent} − 15){', negative' if sign else ''}."]


def _wholes() -> Iterator[Columns]:
    numbers = np.arange(4096)
    for dropped in range(13):
        rounded = [round(Fraction(n, 2**dropped)) for n in range(4096)]
        yield Columns((numbers,), (dropped,), (np.array(rounded),))


def _why_whole(case: Case) -> list[str]:
    n, dropped = case.arguments
    kept, rest, half = n >> dropped, n & ((1 << dropped) - 1), (1 << dropped) >> 1
    if rest == half and dropped:
        rest_is = f"exactly one half: a tie. Of {kept} and {kept + 1} the even one wins"
    elif rest:
        rest_is = "more than one half: up" if rest > half else "less than one half: down"
    else:
        rest_is = "0: nothing to do"
    return [f"{n} is {n:b} in bits. What is kept is {kept}; what is cut off is {rest} of {1 << dropped}, {rest_is}."]


def _brains() -> Iterator[Columns]:
    codes = _from_one(0x3F80)
    yield Columns((codes,), (), (codes.astype(np.uint32) << np.uint32(16),))


def _why_brain(case: Case) -> list[str]:
    lines = ["BF16 is the upper half of FP32: the code moves up by 16 places, and the lower half is zeros."]
    if case.received == (case.arguments[0] << 16) & 0xFFFF:
        lines.append("A code of 16 bits has no room for that: the type of the array must be wider first.")
    return lines


def _to_brain(codes: NDArray[np.uint32]) -> Columns:
    return Columns((codes,), (), (np.asarray(encode(codes.view(np.float32), BF16)),))


def _every_single() -> Iterator[Columns]:
    for start in range(0, 1 << 32, _CHUNK):
        yield _to_brain(np.arange(start, start + _CHUNK, dtype=np.uint64).astype(np.uint32))


def _boundaries() -> Iterator[Columns]:
    """All numbers of BF16 and all middles, each with the codes beside it; those from 1 to 2 come first."""
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    for codes in (np.arange(0x3F80, 0x4000), np.arange(1 << 16)):
        yield _to_brain(((codes.astype(np.uint32) << np.uint32(16))[:, None] | lower).ravel())


def _same_brain(received: Array, expected: Array) -> Mask:
    """BF16 codes: equal, or both of them a NaN."""
    # A code wider than 16 bits is no NaN, whatever its low bits are.
    nans = [((array & 0x7FFF) > 0x7F80) & (array >= 0) & (array <= 0xFFFF) for array in (received, expected)]
    return np.asarray((received == expected) | (nans[0] & nans[1]))


def _why_single(case: Case) -> list[str]:
    code = case.arguments[0]
    value = exact(code, FP32)
    if not isinstance(value, Fraction):
        if value == "NaN":
            return ["The input is NaN. Its upper half alone may be an infinity, and rounding up may make it a zero."]
        return [f"The input is {value}, and so is its upper half."]
    kept, rest = code >> 16, code & 0xFFFF
    half = "exactly" if rest == 0x8000 else "more than" if rest > 0x8000 else "less than"
    place = f"{half} half of 0x10000." if rest else "it is 0, the number is exact."
    lines = [f"{bits(code, FP32)} = {said(value)}"]
    lines.append(f"The upper half is {kept:#06x}; the lower half, {rest:#06x}, is cut off: {place}")
    if rest == 0x8000:
        lines.append(
            f"A tie goes to the even code: {kept:#06x} is {'odd, so up' if kept & 1 else 'even, so it stays'}."
        )
    elif rest:
        lines.append("So up: the code plus 1, a carry going into the exponent." if rest > 0x8000 else "So it stays.")
    return lines


def _code(fmt: Format) -> Any:
    def shown(code: Any) -> str:
        code = int(code)
        if not 0 <= code < 1 << fmt.bits:
            return f"{code}, which is no code of {fmt.bits} bits"
        return f"{bits(code, fmt)} = {said(exact(code, fmt))}"

    return shown


EXERCISES = (
    Exercise(
        "memory_bytes", 1, "memory_bytes(parameters, bits)",
        "How many bytes so many numbers of so many bits take, packed without gaps.",
        "counts to 4,095 and those of four language models, in 1 to 64 bits",
        _bytes_of_models, _why_bytes, exhaustive=False,
    ),
    Exercise(
        "largest_finite", 1, "largest_finite(exponent_bits, significand_bits)",
        "The largest finite number of an IEEE 754 format with these field widths, as a float.",
        "all formats of 2 to 8 exponent and 1 to 23 significand bits",
        lambda: _extremes(False), _why_largest, right=same_number, whole=False, exhaustive=False,
    ),
    Exercise(
        "smallest_positive", 1, "smallest_positive(exponent_bits, significand_bits)",
        "The smallest positive (subnormal) number of an IEEE 754 format with these field widths, as a float.",
        "all formats of 2 to 8 exponent and 1 to 23 significand bits",
        lambda: _extremes(True), _why_smallest, right=same_number, whole=False, exhaustive=False,
    ),
    Exercise(
        "fp16_fields", 2, "fp16_fields(code)",
        "The sign, exponent and significand fields of an FP16 code, as three whole numbers.",
        _EVERY_CODE, _half_fields, _why_fields, taken=lambda code: f"{code:#06x}",
    ),
    Exercise(
        "decode_fp16", 2, "decode_fp16(code)",
        "The number that an FP16 code stands for, as a float: −0.0, infinities and NaN too.",
        _EVERY_CODE, _halves, _why_half, right=same_number, whole=False, taken=lambda code: f"{code:#06x}",
    ),
    Exercise(
        "round_to_nearest_even", 2, "round_to_nearest_even(n, dropped)",
        "A whole number n ≥ 0 divided by 2^dropped and rounded to the nearest whole number, a tie to the even one.",
        "all n to 4,095 with 0 to 12 bits dropped",
        _wholes, _why_whole, exhaustive=False,
    ),
    Exercise(
        "bf16_to_fp32", 2, "bf16_to_fp32(code)",
        "The FP32 code (32 bits) of the number that a BF16 code (uint16) stands for.",
        _EVERY_CODE, _brains, _why_brain, taken=lambda code: f"{code:#06x}", shown=_code(FP32),
    ),
    Exercise(
        "fp32_to_bf16", 2, "fp32_to_bf16(code)",
        "The BF16 code (16 bits) nearest to an FP32 code (uint32), a tie to the even code; NaN to any NaN.",
        "all 4,294,967,296 codes",
        _every_single, _why_single, right=_same_brain, taken=lambda code: f"{code:#010x}", shown=_code(BF16),
        few=_boundaries, few_are="every number of BF16, every middle of two, and the codes beside them", total=1 << 32,
    ),
)  # fmt: skip
