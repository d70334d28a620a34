"""The hardware witness against the reference on edges, to be trusted where the reference is too slow."""

from __future__ import annotations

import math

import numpy as np
import pytest

import witness as hardware
from reference import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, INT8, boundaries, convert, decode

ROUNDINGS = list(hardware.ROUNDING_CONTROL)
DTYPES = {64: np.uint64, 32: np.uint32, 16: np.uint16, 8: np.uint8}


@pytest.fixture(scope="module")
def witness(tmp_path_factory):
    """Compile the witness once."""
    return hardware.load(tmp_path_factory.mktemp("witness"))


def present(witness, function):
    """Skip, by name and reason, what this machine does not have."""
    if reason := witness.absent(function):
        pytest.skip(f"{function}: {reason}")


def edges(source, target, samples=300):
    """Edge codes of a pair as Python integers and as an array."""
    codes = list(boundaries(source, target, samples=samples, whole=1 << 8))
    return codes, np.array(codes, dtype=DTYPES[source.bits])


def assert_agrees(codes, theirs, source, target, **rules):
    """Hold the witness's codes against the reference's."""
    for code, their in zip(codes, theirs.tolist(), strict=True):
        ours, _ = convert(code, source, target, **rules)
        assert ours == their, f"{code:#x}: reference {ours:#x}, hardware {their:#x}, {rules}"


@pytest.mark.parametrize("subnormals", ["gradual", "flush_input"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_float32_to_float16_agrees(witness, rounding, subnormals):
    present(witness, "float32_to_float16")
    codes, x = edges(FLOAT32, FLOAT16)
    theirs = witness.float32_to_float16(x, rounding, subnormals)
    assert_agrees(codes, theirs, FLOAT32, FLOAT16, rounding=rounding, subnormals=subnormals)


def test_float32_to_float16_ignores_flush_output(witness):
    """Intel SDM, VCVTPS2PH: MXCSR.FTZ is ignored."""
    present(witness, "float32_to_float16")
    _, x = edges(FLOAT32, FLOAT16)
    assert np.array_equal(witness.float32_to_float16(x, flush="flush_output"), witness.float32_to_float16(x))


def test_float16_to_float32_agrees_on_every_code(witness):
    present(witness, "float16_to_float32")
    codes = range(1 << 16)
    theirs = witness.float16_to_float32(np.arange(1 << 16, dtype=np.uint16))
    assert_agrees(codes, theirs, FLOAT16, FLOAT32)


def test_float32_to_bfloat16_agrees(witness):
    present(witness, "float32_to_bfloat16")
    codes, x = edges(FLOAT32, BFLOAT16)
    assert_agrees(codes, witness.float32_to_bfloat16(x), FLOAT32, BFLOAT16, subnormals="flush")


@pytest.mark.parametrize("subnormals", ["gradual", "flush_input"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_float32_to_int8_agrees(witness, rounding, subnormals):
    present(witness, "float32_to_int8")
    codes, x = edges(FLOAT32, INT8)
    real = [code for code in codes if decode(code, FLOAT32).kind != "nan"]
    theirs = witness.float32_to_int8(x[~np.isnan(x.view(np.float32))], rounding, subnormals)
    assert_agrees(real, theirs, FLOAT32, INT8, rounding=rounding, subnormals=subnormals)


@pytest.mark.parametrize("subnormals", ["gradual", "flush_input"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_float64_to_float32_agrees(witness, rounding, subnormals):
    present(witness, "float64_to_float32")
    codes, x = edges(FLOAT64, FLOAT32)
    theirs = witness.float64_to_float32(x, rounding, subnormals)
    assert_agrees(codes, theirs, FLOAT64, FLOAT32, rounding=rounding, subnormals=subnormals)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_hardware_flushes_what_is_tiny_after_rounding(witness, rounding):
    """FZ looks at tininess, `flush_output` at the delivered number.

    They part within a step below the smallest normal number, where a result rounds up to it while 24 digits
    with unbounded exponent stay below: the hardware flushes it, docs/semantics.md delivers it.
    """
    present(witness, "float64_to_float32")
    codes, x = edges(FLOAT64, FLOAT32)
    theirs = witness.float64_to_float32(x, rounding, "flush_output").tolist()
    smallest_normal = 1 << FLOAT32.significand_bits
    parted = 0
    for code, their in zip(codes, theirs, strict=True):
        ours, flags = convert(code, FLOAT64, FLOAT32, rounding, subnormals="flush_output")
        if ours & 0x7FFFFFFF == smallest_normal and "underflow" in flags:
            assert their == ours & 0x80000000
            parted += 1
        else:
            assert their == ours, hex(code)
    assert (parted > 0) == (rounding != "toward_zero")


@pytest.mark.parametrize(
    ("function", "source", "target"),
    [
        ("float32_to_float16", FLOAT32, FLOAT16),
        ("float16_to_float32", FLOAT16, FLOAT32),
        ("float64_to_float32", FLOAT64, FLOAT32),
    ],
)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_exceptions_are_the_reference_flags(witness, function, source, target, rounding):
    """One element at a time: x86 detects tininess after rounding (Intel SDM volume 1, 4.9.1.5)."""
    present(witness, function)
    codes, x = edges(source, target, samples=100)
    keep = slice(None, None, max(1, len(codes) // 2000))
    for code, element in zip(codes[keep], x[keep], strict=True):
        _, flags = convert(code, source, target, rounding)
        assert witness.flags(function, element, rounding) == flags, hex(code)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("code", [0x387FFFFF, 0x387FF001, 0x387FF000, 0x387FEFFF, 0x387FE001, 0x387FE000])
def test_tiny_edges_raise_underflow_as_the_reference_says(witness, code, rounding):
    """The float32 values just below 2^-14, code 0x38800000, where tininess after rounding ends."""
    present(witness, "float32_to_float16")
    _, flags = convert(code, FLOAT32, FLOAT16, rounding)
    assert witness.flags("float32_to_float16", np.array([code], np.uint32), rounding) == flags


@pytest.mark.parametrize("function", list(hardware.CONVERSIONS))
def test_lengths_around_a_block(witness, function):
    """A partial block gives what a whole one gives, and nothing is written beyond the end."""
    present(witness, function)
    draw = np.random.default_rng(0)
    source, target = hardware.CONVERSIONS[function]
    x = draw.integers(0, np.iinfo(source).max, 100, dtype=source, endpoint=True)
    convert_array = getattr(witness, function)
    whole = convert_array(x[:96])
    for n in range(97):
        room = np.full(n + 8, 0xA5, dtype=target)
        convert_array(x[:n], out=room[:n])
        assert np.array_equal(room[:n], whole[:n])
        assert np.all(room[n:] == 0xA5)


@pytest.mark.parametrize("function", list(hardware.CONVERSIONS))
def test_conversions_neither_read_nor_change_the_callers_state(witness, function):
    present(witness, function)
    source, _ = hardware.CONVERSIONS[function]
    x = np.random.default_rng(1).integers(0, np.iinfo(source).max, 999, dtype=source, endpoint=True)
    expected = getattr(witness, function)(x)
    for rounding in ROUNDINGS:
        with witness.fpu_state(rounding, "flush"):
            before = witness.get_mxcsr()
            theirs = getattr(witness, function)(x)
            after = witness.get_mxcsr()
        assert np.array_equal(theirs, expected)
        assert before == after == hardware.mxcsr_word(rounding, "flush")


def test_fpu_state_reaches_python_and_is_restored(witness):
    present(witness, "mxcsr")
    one, three, smallest = (float(text) for text in ("1", "3", "5e-324"))  # no constants, which would fold
    third = one / three
    before = witness.get_mxcsr()
    with witness.fpu_state("toward_positive", "flush"):
        upward, flushed = one / three, smallest * one
    assert (upward, flushed) == (math.nextafter(third, 1), 0.0)
    assert witness.get_mxcsr() == before
    assert one / three == third


def test_fpu_state_is_restored_after_an_error(witness):
    present(witness, "mxcsr")
    before = witness.get_mxcsr()
    with pytest.raises(KeyError), witness.fpu_state("toward_zero"):
        raise KeyError
    assert witness.get_mxcsr() == before


def test_absence_has_a_reason(witness):
    assert witness.absent("float32_to_float6") is not None
    nowhere = hardware.Witness(None, "no C compiler")
    assert nowhere.absent("float32_to_float16") == "no C compiler"
    with pytest.raises(hardware.WitnessAbsent, match="no C compiler"):
        nowhere.float32_to_float16(np.zeros(1, np.uint32))


def test_other_codes_are_refused(witness):
    present(witness, "float32_to_float16")
    with pytest.raises(TypeError):
        witness.float32_to_float16(np.zeros(1, np.float64))
    with pytest.raises(TypeError):
        witness.float32_to_float16(np.zeros(4, np.uint32), out=np.zeros(8, np.uint16)[::2])


def test_names_are_those_of_the_formats():
    for function in hardware.CONVERSIONS:
        assert set(function.split("_to_")) <= set(FORMATS)
