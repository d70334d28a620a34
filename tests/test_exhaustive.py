"""Every input there is: all 2^32 numbers of float32, all codes of 16 bits, all boundaries of float64.

A conversion of 2^32 numbers is too many for the reference. But rounding is monotone, so it is proved with few:
(1) over the inputs of one sign in ascending order the output never goes back; (2) on both sides of every
place where the output changes, it is the reference's. Between two such places the reference, being monotone
as well, cannot differ. Every input is visited for (1), and NaNs are held against the rule by themselves.
"""

from __future__ import annotations

from functools import cache

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
import reference
import witness as hardware
from judging import FLAG_BITS, NAMES, TABLE, judge_of, mask_of, ours_of

pytestmark = pytest.mark.exhaustive

CHUNK = 1 << 24
WINDOW = 1 << 20  # compared at a time: stays in the cache
INFINITY = 0x7F80_0000
SIGN = 0x8000_0000


def chunks():
    """All 2^32 codes of float32, in order."""
    for start in range(0, 1 << 32, CHUNK):
        yield start, np.arange(start, start + CHUNK, dtype=np.uint32)


def expected_of_nans(codes, target):
    """Take step 1 of docs/semantics.md under `preserve` for float32 NaNs, in array arithmetic."""
    t = target.significand_bits
    kept = (codes & 0x007F_FFFF) >> (23 - t)
    sign = (codes >> 31) << (target.bits - 1)
    return (sign | target.infinity_code | 1 << (t - 1) | kept).astype(target.code_dtype)


@cache
def places_of(judge, negative):
    """List where every code stands in the order of its format; NaN stands for what is beyond the end walked to."""
    beyond = judge.first_place - 1 if negative else judge.last_place + 1
    numbers = [reference.decode(code, judge).kind != "nan" for code in range(judge.code_count)]
    return np.array([reference.ordered(code, judge) if number else beyond for code, number in enumerate(numbers)])


class Staircase:
    """Walks inputs away from zero; notes where the output changes, and that it never goes back."""

    def __init__(self, judge, negative):
        self.places, self.negative = places_of(judge, negative), negative
        self.points = []
        self.last = None

    def feed(self, start, outputs):
        """Take the outputs of the inputs start, start + 1, ..."""
        if self.last is not None:
            self._look(start - 1, np.array([self.last, outputs[0]]))
        for at in range(0, outputs.size, WINDOW):
            self._look(start + at, outputs[at : at + WINDOW + 1])
        self.last = outputs[-1]

    def _look(self, start, outputs):
        before, after = outputs[:-1], outputs[1:]
        changed = np.flatnonzero(before != after)
        if not changed.size:
            return
        steps = self.places[after[changed]] - self.places[before[changed]]
        wrong = steps > 0 if self.negative else steps < 0
        assert not wrong.any(), f"goes back at {start + int(changed[wrong][0]):#x}"
        self.points.extend((changed + start).tolist())


@pytest.mark.parametrize("at", [1, 5, WINDOW - 1, WINDOW, WINDOW + 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_the_staircase_notices_every_step_and_any_step_back(at):
    outputs = np.zeros(2 * CHUNK, np.uint16)
    outputs[at:] = 1
    for negative in (False, True):
        signed = outputs | np.uint16(negative << 15)
        stairs = Staircase(reference.FLOAT16, negative)
        stairs.feed(0, signed[:CHUNK])
        stairs.feed(CHUNK, signed[CHUNK:])
        assert stairs.points == [at - 1]
        stairs = Staircase(reference.FLOAT16, negative)
        if at >= CHUNK:
            stairs.feed(0, signed[:CHUNK] ^ 1)
        start = CHUNK if at >= CHUNK else 0
        with pytest.raises(AssertionError, match=f"goes back at {at - 1:#x}"):
            stairs.feed(start, signed[start:] ^ 1)
    for judge in (reference.UINT8, judge_of("nf4")):  # whose codes go down where the inputs do
        stairs = Staircase(judge, negative=True)
        with pytest.raises(AssertionError, match="goes back"):
            stairs.feed(0, outputs.astype(np.uint8))


@pytest.mark.parametrize("rounding", reference.ROUNDINGS)
@pytest.mark.parametrize("name", ["float16", "bfloat16", "int8", "tfloat32", "uint8"])
def test_all_of_float32_is_proved_against_the_reference(name, rounding, witness):
    target, judge = bq.format(name), reference.FORMATS[name]
    rules = {"rounding": rounding, "nan": "zero" if target.is_integer else "preserve"}
    hardware_name = f"float32_to_{name}"
    compare = (
        hardware_name in hardware.CONVERSIONS
        and name != "bfloat16"  # the instruction flushes; compared under that rule in a test of its own
        and rounding in hardware.ROUNDING_CONTROL
        and witness.absent(hardware_name) is None
    )
    stairs = [Staircase(judge, False), Staircase(judge, True)]
    result = np.empty(CHUNK, target.code_dtype)
    witnessed = np.empty(CHUNK, target.code_dtype)
    for start, codes in chunks():
        bq.encode(codes, target, "float32", out=result, threads=2, **rules)
        first = INFINITY + 1 - (start & ~SIGN)  # where the NaNs begin in this chunk
        numbers = min(max(first, 0), CHUNK)
        if numbers:
            stairs[start >= SIGN].feed(start, result[:numbers])
        if numbers < CHUNK:
            nans = codes[numbers:]
            theirs = np.zeros(nans.size, np.uint8) if target.is_integer else expected_of_nans(nans, target)
            assert np.array_equal(result[numbers:], theirs)
        if compare:
            getattr(witness, hardware_name)(codes, rounding, out=witnessed)
            known = numbers if target.is_integer else CHUNK
            assert np.array_equal(result[:known], witnessed[:known]), f"hardware differs in the chunk from {start:#x}"

    ends = [0, INFINITY, SIGN, SIGN | INFINITY]
    checked = sorted({*ends, *(point + step for stair in stairs for point in stair.points for step in (0, 1))})
    ours = bq.encode(np.array(checked, np.uint32), target, "float32", **rules).tolist()
    for code, our in zip(checked, ours, strict=True):
        their, _ = reference.convert(code, reference.FLOAT32, judge, **rules)
        assert our == their, f"{code:#x} gives {our:#x}, the reference {their:#x}"
    steps = sum(len(stair.points) for stair in stairs)
    most = 2 * judge.infinity if judge.kind == "float" else 255
    assert steps >= most // 2 - 2  # all codes are reached: nothing has been skipped


SMALL = [name for name in TABLE if judge_of(name).bits <= 8 and name not in NAMES]
SMALL += ["binary8p1se", "binary8p3sf", "binary8p4ue"]


@pytest.mark.parametrize("name", SMALL)
def test_all_of_float32_to_a_small_format_is_proved_against_the_reference(name):
    """Nearest-even; with ml_dtypes as a second witness for every 257th number, where it has the format."""
    target, judge = ours_of(name), judge_of(name)
    rules = {"nan": next(rule for rule in judge.nan_rules if rule != "raise")}
    dtype = getattr(ml_dtypes, name, None) if judge.kind == "float" and judge.has_zero else None
    stairs = [Staircase(judge, False), Staircase(judge, True)]
    result = np.empty(CHUNK, np.uint8)
    for start, codes in chunks():
        bq.encode(codes, target, "float32", out=result, threads=2, **rules)
        numbers = min(max(INFINITY + 1 - (start & ~SIGN), 0), CHUNK)  # the NaNs begin there in this chunk
        if numbers:
            stairs[start >= SIGN].feed(start, result[:numbers])
        if numbers < CHUNK:
            expected, _ = reference.convert(0x7FC00000 | start & SIGN, reference.FLOAT32, judge, **rules)
            if judge.nan == "ieee":
                assert np.array_equal(result[numbers:], expected_of_nans(codes[numbers:], target))
            else:
                assert (result[numbers:] == expected).all()
        if dtype is not None and numbers:
            with np.errstate(all="ignore"):
                theirs = codes[:numbers:257].view(np.float32).astype(dtype)
            places = stairs[start >= SIGN].places
            theirs = places[theirs.view(np.uint8) & (judge.code_count - 1)]
            assert np.array_equal(places[result[:numbers:257]], theirs), hex(start)

    ends = [0, INFINITY, SIGN, SIGN | INFINITY]
    checked = sorted({*ends, *(point + step for stair in stairs for point in stair.points for step in (0, 1))})
    ours = bq.encode(np.array(checked, np.uint32), target, "float32", **rules).tolist()
    for code, our in zip(checked, ours, strict=True):
        their, _ = reference.convert(code, reference.FLOAT32, judge, **rules)
        assert our == their, f"{code:#x} gives {our:#x}, the reference {their:#x}"
    reached = {code for code in ours if reference.decode(code, judge).kind == "finite"}
    finite = [code for code in range(judge.code_count) if reference.decode(code, judge).kind == "finite"]
    assert reached == set(finite)  # nothing has been skipped


def test_all_of_float32_to_bfloat16_agrees_with_torch():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs = torch.empty(CHUNK, dtype=torch.bfloat16)
    result = np.empty(CHUNK, np.uint16)
    for start, codes in chunks():
        bq.encode(codes, "bfloat16", "float32", out=result, threads=2)
        theirs.copy_(torch.from_numpy(codes.view(np.float32)))
        other = theirs.view(torch.int16).numpy().view(np.uint16)
        nan = codes & 0x7FFF_FFFF > INFINITY
        if not nan.any():
            assert np.array_equal(result, other), hex(start)
            continue
        assert np.array_equal(result[~nan], other[~nan]), hex(start)
        assert np.array_equal(result[nan], expected_of_nans(codes[nan], bq.BF16))  # torch keeps no payload
        assert ((other[nan] & 0x7FFF) > 0x7F80).all()


def test_all_of_float32_to_bfloat16_with_flushing_agrees_with_the_hardware(witness):
    if reason := witness.absent("float32_to_bfloat16"):
        pytest.skip(reason)
    result, theirs = np.empty(CHUNK, np.uint16), np.empty(CHUNK, np.uint16)
    for start, codes in chunks():
        bq.encode(codes, "bfloat16", "float32", subnormals="flush", out=result, threads=2)
        witness.float32_to_bfloat16(codes, out=theirs)
        assert np.array_equal(result, theirs), hex(start)


@pytest.mark.parametrize(("name", "threshold", "tiny_end"), [
    ("float16", 0x477F_F000, 0x387F_F000),  # 65520; 2^-14 - 2^-26
    ("bfloat16", 0x7F7F_8000, 0x007F_C000),  # 2^128 - 2^119; 2^-126 - 2^-135
])  # fmt: skip
def test_the_flags_of_all_of_float32_are_those_of_the_definition(name, threshold, tiny_end):
    """Clause 7, in array arithmetic: inexact by widening the result, the others by their thresholds."""
    target = bq.format(name)
    back = np.empty(CHUNK, np.uint32)
    total = bq.Flags()
    counted = dict.fromkeys(FLAG_BITS, 0)
    for start, codes in chunks():
        flags = bq.Flags(record=True)
        result = bq.encode(codes, target, "float32", flags=flags, threads=2)
        bq.encode(result, "float32", target, out=back, threads=2)
        magnitude = codes & 0x7FFF_FFFF
        nan = magnitude > INFINITY
        inexact = (back != codes) & ~nan
        expected = inexact * np.uint8(8)
        expected |= ((magnitude >= threshold) & (magnitude < INFINITY)) * np.uint8(2)
        expected |= (inexact & (magnitude < tiny_end)) * np.uint8(4)
        expected |= (nan & (codes & 0x0040_0000 == 0)) * np.uint8(1)
        assert np.array_equal(flags.mask, expected), hex(start)
        for flag, bit in FLAG_BITS.items():
            counted[flag] += int(np.count_nonzero(expected & bit))
            setattr(total, flag, getattr(total, flag) + getattr(flags, flag))
    assert {flag: getattr(total, flag) for flag in FLAG_BITS} == counted


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", ["float16", "bfloat16"])
def test_all_codes_of_sixteen_bits_give_the_codes_and_flags_of_the_reference(source, target):
    judge, aim = reference.FORMATS[source], reference.FORMATS[target]
    codes = np.arange(1 << 16, dtype=np.uint16)
    for rounding in reference.ROUNDINGS:
        rules = {"rounding": rounding, "nan": "max" if aim.kind == "integer" else "preserve"}
        flags = bq.Flags(record=True)
        ours = bq.encode(codes, target, source, flags=flags, **rules)
        assert np.array_equal(ours, bq.encode(codes, target, source, threads=2, **rules))
        for code, our, mask in zip(range(1 << 16), ours.tolist(), flags.mask.tolist(), strict=True):
            their, raised = reference.convert(code, judge, aim, **rules)
            assert (our, mask) == (their, mask_of(raised)), f"{rounding} {code:#x}: {our:#x}, the reference {their:#x}"


@pytest.mark.parametrize("rounding", reference.ROUNDINGS)
@pytest.mark.parametrize("target", ["float32", "tfloat32", "float16", "bfloat16", "int8", "uint8"])
def test_float64_gives_the_codes_and_flags_of_the_reference_at_every_boundary(target, rounding):
    """All numbers and midpoints of the 8 and 16 bit targets with their neighbours; a sample of the others."""
    aim = reference.FORMATS[target]
    codes = list(reference.boundaries(reference.FLOAT64, aim, samples=5000))
    rules = {
        "rounding": rounding,
        "nan": "max" if aim.kind == "integer" else "preserve",
        "tininess": reference.TININESSES[reference.ROUNDINGS.index(rounding) % 2],
    }
    flags = bq.Flags(record=True)
    ours = bq.encode(np.array(codes, np.uint64), target, "float64", flags=flags, **rules)
    assert np.array_equal(ours, bq.encode(np.array(codes, np.uint64), target, "float64", **rules))
    for code, our, mask in zip(codes, ours.tolist(), flags.mask.tolist(), strict=True):
        their, raised = reference.convert(code, reference.FLOAT64, aim, **rules)
        assert (our, mask) == (their, mask_of(raised)), (
            f"{code:#x} gives {our:#x} {mask}, the reference {their:#x} {raised}"
        )
