"""Golden vectors: the inputs that matter are there, results and flags are the reference's, files say what was made."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import bitquant as bq
import reference
from bitquant import vectors
from bitquant.cli.app import app
from bitquant.dialects import dialects
from bitquant.vectors.cases import inputs

ROOT = Path(__file__).parent.parent
NAMES = [fmt.name for fmt in bq.formats()]
WIDE = [fmt.name for fmt in bq.formats() if fmt.bits > 16]
FLAG_BITS = {"invalid": 1, "overflow": 2, "underflow": 4, "inexact": 8}
PAIRS = [
    ("float32", "float16"),
    ("float64", "float8_e4m3fn"),
    ("float16", "float8_e5m2fnuz"),
    ("float32", "float8_e8m0fnu"),
    ("bfloat16", "float4_e2m1fn"),
    ("tfloat32", "int8"),
    ("float64", "uint64"),
    ("int64", "float32"),
    ("uint32", "int16"),
    ("float6_e3m2fn", "float64"),
    ("float16", "nf4"),
    ("iq4_nl", "bfloat16"),
]


SOME = {pair: inputs(*pair, count=400) for pair in PAIRS}


def judged(made, **rules):
    """The reference's results for the inputs of vectors, and the flags."""
    source, target = reference.FORMATS[made.source.name], reference.FORMATS[made.target.name]
    found = [reference.convert(code, source, target, **rules) for code in made.inputs.tolist()]
    return [code for code, _ in found], [sum(FLAG_BITS[flag] for flag in flags) for _, flags in found]


def written(made, layout, flags=True):
    stream = io.BytesIO()
    vectors.write(made, stream, layout, flags)
    return stream.getvalue()


def read(data, source, target, layout="testfloat", flags=True):
    data = data if isinstance(data, bytes) else data.encode()
    return vectors.read(io.BytesIO(data), source, target, layout, flags)


def command(*arguments, given=None, env=None):
    """Run `bitquant vectors` in this process: exit status, standard output, standard error."""
    environment = {"COLUMNS": None, "FORCE_COLOR": None, "NO_COLOR": None, **(env or {})}
    done = CliRunner().invoke(app, ["vectors", *map(str, arguments)], input=given, env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


# --- Inputs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WIDE])
def test_of_a_small_source_every_code_is_an_input(name):
    fmt = bq.format(name)
    found = inputs(name, "float32")
    assert found.dtype == fmt.code_dtype
    assert found.tolist() == list(range(len(fmt.values) or 2**fmt.bits))


def deterministic(source, target):
    """What the reference names as places where a conversion can change its mind."""
    return set(reference.boundaries(reference.FORMATS[source], reference.FORMATS[target], samples=0))


@pytest.mark.parametrize("target", [name for name in NAMES if bq.format(name).bits <= 8])
@pytest.mark.parametrize("source", WIDE)
def test_wherever_the_answer_changes_there_is_an_input(source, target):
    found = inputs(source, target, random=0).tolist()
    assert found == sorted(set(found))
    missing = deterministic(source, target) - set(found)
    assert not missing, [hex(code) for code in sorted(missing)[:5]]


@pytest.mark.exhaustive
@pytest.mark.parametrize("target", [name for name in NAMES if bq.format(name).bits >= 16])
@pytest.mark.parametrize("source", WIDE)
def test_wherever_the_answer_of_a_wide_target_changes_there_is_an_input(source, target):
    assert not deterministic(source, target) - set(inputs(source, target, random=0).tolist())


@cache
def float32_to_float16():
    """Every input of the pair, drawn ones aside."""
    return frozenset(inputs("float32", "float16", random=0).tolist())


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (0x00000000, "+0"), (0x80000000, "−0"), (0x00000001, "the smallest subnormal"),
        (0x007FFFFF, "the largest subnormal"), (0x80800000, "the smallest normal"), (0x7F7FFFFF, "the largest"),
        (0x7F800000, "∞"), (0xFF800000, "−∞"), (0x7FC00000, "a quiet NaN"), (0x7F800001, "a signalling NaN"),
        (0xFFBFFFFF, "a signalling NaN with a full payload"), (0x7FFFFFFF, "a quiet one"), (0x3F7FFFFF, "below 1"),
        (0x477FE000, "65504, float16's largest"), (0x477FEFFF, "below the overflow threshold"), (0x477FF000, "it"),
        (0x33000000, "half of float16's smallest"), (0x33000001, "above it"), (0x387FDFFF, "below the end of tiny"),
        (0x387FF000, "the end of what is tiny after rounding"), (0x38800000, "float16's smallest normal"),
        (0x3F801000, "a midpoint"), (0x3F800FFF, "below it"), (0x3F801001, "above it"),
    ],
)  # fmt: skip
def test_the_inputs_of_float32_to_float16_hold(code, why):
    assert code in float32_to_float16(), why


@pytest.mark.parametrize("middle", [2**64 - 1024, 2**63 - 512, 2**62 + 512, 2**53 + 1, 2**54 - 1])
def test_integers_around_a_midpoint_that_float64_has_not_are_inputs(middle):
    around = {middle - 1, middle, middle + 1}
    assert around <= set(inputs("uint64", "float64", random=0).tolist())
    if middle < 2**63:
        found = set(inputs("int64", "float64", random=0).tolist())
        assert around | {2**64 - integer for integer in around} <= found


def test_what_is_drawn_follows_from_the_seed_alone():
    pair = ("float32", "float8_e4m3")
    base, found = inputs(*pair, random=0), inputs(*pair, random=1000)
    np.testing.assert_array_equal(inputs(*pair, random=1000), found)
    assert set(base.tolist()) < set(found.tolist())
    assert 900 < len(found) - len(base) <= 1000
    assert set(inputs(*pair, random=1000, seed=1).tolist()) != set(found.tolist())
    # The same on every machine and in every release: words of Philox, not of a distribution.
    assert [hex(code) for code in inputs("float64", "int8", random=4, seed=5, count=4)] == RECORDED


RECORDED = ["0x196ffffffffffffe", "0x4080000000000001", "0xa100000000000002", "0xa2f0000000000001"]


@pytest.mark.parametrize(("source", "target"), PAIRS[2:])
def test_a_count_draws_from_the_inputs(source, target):
    every = inputs(source, target)
    for count in (1, 10**9):
        some = inputs(source, target, count=count)
        assert len(some) == min(count, len(every))
        assert set(some.tolist()) <= set(every.tolist())
        assert some.tolist() == sorted(some.tolist())


def test_half_of_what_is_drawn_lies_where_the_targets_numbers_are():
    drawn = set(inputs("float64", "float8_e4m3fn").tolist()) - set(
        inputs("float64", "float8_e4m3fn", random=0).tolist()
    )
    values = np.abs(np.array(sorted(drawn), np.uint64).view(np.float64))
    near = (values >= 2.0**-11) & (values <= 896)
    assert 4500 < np.count_nonzero(near) < 5500


# --- Results ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_results_and_flags_are_the_reference_s(source, target):
    chosen = SOME[source, target]
    for rounding in reference.ROUNDINGS:
        for tininess in ("after", "before"):
            rules = {"rounding": rounding, "tininess": tininess}
            made = vectors.make(source, target, chosen, **rules)
            outputs, flags = judged(made, **rules)
            assert made.outputs.tolist() == outputs
            assert made.flags.tolist() == flags
            assert made.rules == rules


@pytest.mark.parametrize(
    ("source", "target", "rules"),
    [
        ("float16", "int8", {}),  # no rule for NaN
        ("float16", "int8", {"nan": "raise", "overflow": "raise"}),
        ("float32", "float16", {"overflow": "raise"}),
        ("float32", "float8_e4m3fn", {"overflow": "raise", "nan": "raise"}),
        ("float32", "float4_e2m1fn", {"overflow": "raise"}),
        ("bfloat16", "nf4", {"overflow": "raise"}),
        ("float16", "float8_e8m0fnu", {"overflow": "raise"}),
        ("int16", "uint8", {"overflow": "raise"}),
        ("float64", "float32", {"overflow": "raise"}),
        ("bfloat16", "float32", {"nan": "raise"}),
    ],
)
def test_what_the_rules_refuse_is_left_out_and_counted(source, target, rules):
    chosen = inputs(source, target, count=2000)
    made = vectors.make(source, target, chosen, **rules)
    nans, ranges, kept = 0, 0, []
    judge = reference.FORMATS[source]
    for code in chosen.tolist():
        try:
            reference.convert(code, judge, reference.FORMATS[target], **rules)
        except reference.Refused:
            nan = reference.decode(code, judge).kind == "nan"
            nans, ranges = nans + nan, ranges + (not nan)
        else:
            kept.append(code)
    assert (made.nans, made.ranges) == (nans, ranges)
    assert made.inputs.tolist() == kept
    assert nans + ranges > 0


def test_with_a_rule_for_nan_nothing_is_left_out():
    made = vectors.make("float16", "int8", nan="max")
    assert (len(made), made.nans, made.ranges) == (65536, 0, 0)


def test_a_rule_that_there_is_not_is_an_error():
    for rules in ({"nan": "preserve"}, {"overflow": "ieee"}, {"rounding": "up"}, {"tininess": "never"}):
        with pytest.raises(bq.BitquantError, match=next(iter(rules))):
            vectors.make("float16", "int8", **rules)


@pytest.mark.parametrize("number", [-1, 1.5, True])
def test_numbers_of_inputs_are_checked(number):
    for name in ("random", "seed", "count"):
        with pytest.raises(bq.BitquantError, match=f"{name}={number}: give a number from 0 up"):
            vectors.make("float32", "int8", **{name: number})


def test_a_dialect_gives_its_rules_and_leaves_some_open():
    chosen = SOME["float32", "float16"]
    made = vectors.make("float32", "float16", chosen, dialect="x86_f16c", rounding="toward_zero")
    rules = {"rounding": "toward_zero", "overflow": "ieee", "nan": "preserve", "subnormals": "gradual"}
    assert {name: made.rules[name] for name in rules} == rules
    assert made.rules["dialect"] == "x86_f16c"
    assert made.outputs.tolist() == judged(made, **rules)[0]
    assert len(vectors.check(made, **made.rules).wrong) == 0
    with pytest.raises(bq.BitquantError, match=r"overflow='saturate' contradicts the dialect x86_f16c"):
        vectors.make("float32", "float16", chosen, dialect="x86_f16c", overflow="saturate")
    with pytest.raises(bq.BitquantError, match="no dialect is called 'x87'"):
        vectors.make("float32", "float16", chosen, dialect="x87")


def test_a_dialect_that_does_not_tell_nan_codes_takes_any():
    row, source, target = next(
        (row.name, source, target)
        for row in dialects()
        for source, target, conversion in row.pairs()
        if not conversion.nan_codes and target == "float16" and source == "float32"
    )
    for code in (0x7E00, 0xFE01, 0x7C01):
        received = read(f"7FC00000 {code:X}\n", source, target)
        assert len(vectors.check(received, dialect=row).wrong) == 0
        assert len(vectors.check(received, nan="canonical").wrong) == (code != 0x7E00)


def test_given_inputs_are_taken_as_they_come():
    made = vectors.make("float32", "int8", [0x42000000, 0x3F800000, 0x42000000])
    assert made.outputs.tolist() == [32, 1, 32]
    with pytest.raises(bq.BitquantError, match="no code of float16"):
        vectors.make("float16", "int8", [0x10000])


# --- Files --------------------------------------------------------------------------------------------------

# What testfloat_gen of Berkeley TestFloat 3e wrote, by its function and options (built on SoftFloat's 8086-SSE).
TESTFLOAT = [
    ("float32", "float16", {}, """
        8683F7FF 8000 03
        C07F3FFF C3FA 01
        00000000 0000 00
        DF7EFFFF FC00 05
        4F951295 7C00 05
        7FFF0007 7FF8 00
        FF97847C FEBC 10
        7F800001 7E00 10
        387FFFFF 0400 01"""),
    ("float32", "float16", {"tininess": "before"}, "387FFFFF 0400 03"),
    ("float64", "float32", {"rounding": "RTO"}, """
        B68FFFF8000000FF 80000001 03
        3F9080000007FFFF 3C840001 01
        41E00003FFFBFFFF 4F00001F 01
        47FFFFFFFFF9FFFE 7F7FFFFF 05
        37E0000000000000 00100000 00"""),
    ("float32", "int32", {"rounding": "RTZ", "overflow": "indefinite", "nan": "indefinite"}, """
        8683F7FF 00000000 01
        C07F3FFF FFFFFFFD 01
        DF7EFFFF 80000000 10
        4F951295 80000000 10
        CE7C0007 C0FFFE40 00"""),
    ("int64", "float32", {"rounding": "RTP"}, """
        07FFFDFFFFFFFF7F 5CFFFFC0 01
        0000000032CC8B7A 4E4B322E 01
        0000000000000001 3F800000 00"""),
    ("float16", "float64", {}, """
        87FF BF1FFC0000000000 00
        7C1B 7FF86C0000000000 10
        7D03 7FFC0C0000000000 10"""),
    ("float64", "uint64", {"rounding": "RTN", "overflow": "indefinite", "nan": "indefinite"}, """
        B68FFFF8000000FF FFFFFFFFFFFFFFFF 10
        3F9080000007FFFF 0000000000000000 01
        41E00003FFFBFFFF 0000000080001FFF 01
        43D36FA3CAD3F59E 4DBE8F2B4FD67800 00"""),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "rules", "lines"), TESTFLOAT)
def test_lines_of_testfloat_are_read_and_written_to_the_letter(source, target, rules, lines):
    text = "".join(f"{line.strip()}\n" for line in lines.strip().splitlines())
    received = read(text, source, target)
    assert len(vectors.check(received, **rules).wrong) == 0
    made = vectors.make(source, target, received.inputs, **rules)
    assert written(made, "testfloat").decode() == text
    assert written(made, "testfloat", flags=False).decode() == re.sub(r" ..$", "", text, flags=re.MULTILINE)


def test_codes_have_as_many_digits_as_they_need():
    made = vectors.make("tfloat32", "float6_e2m3fn", [0x1FC00])
    assert written(made, "testfloat") == b"1FC00 08 00\n"
    made = vectors.make("uint2", "float4_e2m1fn", [3])
    assert written(made, "testfloat") == b"3 5 00\n"


def test_a_word_for_readmemh_is_the_concatenation_that_its_header_says():
    made = vectors.make("float16", "int8", [0x3E00, 0x5C00, 0x8000], rounding="RTZ")  # 1.5, 256, −0
    lines = written(made, "readmemh").decode().splitlines()
    assert lines[:4] == [
        "// float16 to int8; rounding RTZ",
        "// a word: {input_code, output_code, flags}, 29 bits in 8 digits, zeros above; flags, highest first: "
        "invalid, infinite, overflow, underflow, inexact",
        '//   reg [28:0] vectors [0:2];  initial $readmemh("FILE", vectors);',
        "//   reg [15:0] input_code; reg [7:0] output_code; reg [4:0] flags;  "
        "always @* {input_code, output_code, flags} = vectors[index];",
    ]
    assert [int(line, 16) for line in lines[4:]] == [
        0x3E00 << 13 | 1 << 5 | 0b00001,
        0x5C00 << 13 | 127 << 5 | 0b10000,
        0x8000 << 13,
    ]
    bare = written(made, "readmemh", flags=False).decode().splitlines()
    assert bare[1] == "// a word: {input_code, output_code}, 24 bits in 6 digits, zeros above"
    assert bare[-3:] == ["3E0001", "5C007F", "800000"]


def test_columns_have_codes_values_and_flags_by_name():
    made = vectors.make("float16", "int4", [0x3E00, 0xC800, 0xFC00], rounding="RTZ")
    assert written(made, "csv").decode().splitlines() == [
        "input,input_value,output,output_value,invalid,overflow,underflow,inexact",
        "0x3E00,1.5,0x1,1,0,0,0,1",
        "0xC800,-8.0,0x8,-8,0,0,0,0",
        "0xFC00,-inf,0x8,-8,1,0,0,0",
    ]
    assert written(made, "csv", flags=False).decode().splitlines()[1] == "0x3E00,1.5,0x1,1"
    big = vectors.make("uint64", "int64", np.array([2**64 - 1], np.uint64))
    assert "0xFFFFFFFFFFFFFFFF,18446744073709551615,0x7FFFFFFFFFFFFFFF,9223372036854775807,1,0,0,0" in (
        written(big, "csv").decode()
    )


def test_arrays_are_plain_numpy_s():
    made = vectors.make("float16", "bfloat16", rounding="RTZ")
    with np.load(io.BytesIO(written(made, "npz"))) as file:
        assert set(file.files) == {"input", "output", "invalid", "overflow", "underflow", "inexact", "about"}
        np.testing.assert_array_equal(file["input"], made.inputs)
        np.testing.assert_array_equal(file["inexact"], made.flags & 8 != 0)
        assert str(file["about"]) == '{"source": "float16", "target": "bfloat16", "rounding": "RTZ"}'


@pytest.mark.parametrize("flags", [True, False])
@pytest.mark.parametrize("layout", vectors.LAYOUTS)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_is_written_is_read(source, target, layout, flags):
    made = vectors.make(source, target, SOME[source, target])
    back = read(written(made, layout, flags), source, target, layout, flags)
    np.testing.assert_array_equal(back.inputs, made.inputs)
    np.testing.assert_array_equal(back.outputs, made.outputs)
    assert (back.inputs.dtype, back.outputs.dtype) == (made.inputs.dtype, made.outputs.dtype)
    if flags:
        np.testing.assert_array_equal(back.flags, made.flags)
    assert bool(back.known) == flags
    assert len(vectors.check(back).wrong) == 0


@pytest.mark.parametrize("layout", vectors.LAYOUTS)
def test_flags_that_are_not_wanted_are_not_looked_at(layout):
    made = vectors.make("float32", "float16", SOME["float32", "float16"][:50])
    made.flags[:] ^= 8
    with_flags = read(written(made, layout), "float32", "float16", layout)
    assert len(vectors.check(with_flags).wrong) == 50
    if layout != "readmemh":  # whose words say only with `flags` that they end in them
        without = read(written(made, layout), "float32", "float16", layout, flags=False)
        assert len(vectors.check(without).wrong) == 0


READABLE = {
    "small letters, blank lines and remarks": ("testfloat", "# remark\n\n3c00  3f80 00\r\n// another\n0000 0000 00"),
    "0x": ("testfloat", "0x3C00 0x3F80\n0X0000 0x0000\n"),
    "zeros in front": ("testfloat", "00003C00 000003F80 0\n0 0 0\n"),
    "an address, remarks, underscores": (
        "readmemh", "/* two\nlines */ @0 0_0780_07F000 // 1\n@1\n 000000000 // 0"),
    "several words on a line": ("readmemh", "0078007F000 0"),
    "columns in another order": ("csv", "inexact,output,note,input\n0,0x3F80,one,3C00\n0,0,zero,0x0000\n\n"),
    "spaces and capitals": ("csv", " Input , OUTPUT\n 3C00, 3F80\n0,0\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", READABLE)
def test_what_others_write_is_read(case):
    layout, text = READABLE[case]
    received = read(text, "float16", "bfloat16", layout)
    assert received.inputs.tolist() == [0x3C00, 0]
    assert received.outputs.tolist() == [0x3F80, 0]
    assert len(vectors.check(received).wrong) == 0


UNREADABLE = {
    "no hexadecimal": ("testfloat", "3C00 3F80 00\n3C00 3G80 00", r"line 2 is '3C00 3G80 00': it needs numbers"),
    "an unknown digit": ("readmemh", "0000xx00000", "line 1 is '0000xx00000': it needs numbers in hexadecimal"),
    "a word alone": ("testfloat", "\n3C00\n", "line 2 is '3C00': it needs INPUT OUTPUT or INPUT OUTPUT FLAGS"),
    "flags on some lines": ("testfloat", "3C00 3F80 00\n0 0", "line 2 is '0 0': .* on all lines the same"),
    "too wide an input": ("testfloat", "0 0 0\n\n13C00 3F80 00", "line 3: 0x13c00 is no code of float16, which"),
    "too wide an output": ("csv", "input,output\n0,10000", "line 2: 0x10000 is no code of bfloat16, which has 16 bits"),
    "six flags": ("testfloat", "0 0 20", "line 1: 0x20 are no flags: they are 5 bits, invalid, infinite, overflow"),
    "too wide a word": ("readmemh", "// x\n2000000000", "line 2: 2000000000 has more than 37 bits .16 bits of float16"),
    "no header": ("csv", "3C00,3F80\n", "line 1: the header of the columns has to name input and output"),
    "columns missing": ("csv", "input,output\n1\n", "line 2 is '1': it needs 2 columns as in the header"),
    "a flag of two": ("csv", "input,output,inexact\n0,0,2\n", "line 2 is '0,0,2': it needs 0 or 1 under inexact"),
    "nothing": ("testfloat", "// nothing\n", "there are no vectors in it"),
    "no columns": ("csv", "", "line 1: the header"),
    "no text": ("testfloat", b"\xff\xfe\x00", "this is no text: testfloat is"),
    "no arrays": ("npz", "3C00 3F80\n", "this is no .npz file of vectors"),
    "a number without end": ("testfloat", "0" * 65 + " 0", "it needs numbers in hexadecimal"),
    "a layout that there is not": ("vcd", "", "layout='vcd' is not possible: choose testfloat, readmemh, csv or npz"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_refused_with_the_line(case):
    layout, data, words = UNREADABLE[case]
    with pytest.raises(bq.BitquantError, match=words):
        read(data, "float16", "bfloat16", layout)


def test_arrays_that_are_no_vectors_are_refused():
    for arrays, words in (
        ({"input": np.zeros(3, "u2")}, "has arrays input and output"),
        ({"input": np.zeros(3, "u2"), "output": np.zeros(2, "u2")}, "all of one length"),
        ({"input": np.zeros(3), "output": np.zeros(3, "u2")}, "are integers: view floats as their codes"),
        ({"input": np.int64([-1]), "output": np.zeros(1, "u2")}, "vector 1: -0x1 is no code of float16"),
    ):
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        with pytest.raises(bq.BitquantError, match=words):
            read(stream.getvalue(), "float16", "bfloat16", "npz")


def test_a_file_s_name_says_its_layout():
    found = [vectors.layout_of(name) for name in ("a.csv", "b.NPZ", "c.mem", "d.hex", "e.txt", "-", "")]
    assert found == ["csv", "npz", "readmemh", "readmemh", "testfloat", "testfloat", "testfloat"]


# --- Judging ------------------------------------------------------------------------------------------------


def test_every_change_of_a_result_or_a_flag_is_found():
    made = vectors.make("float16", "float8_e4m3fn", count=300)
    for k in range(0, 300, 29):
        for bit in range(8):
            received = read(written(made, "testfloat"), "float16", "float8_e4m3fn")
            received.outputs[k] ^= 1 << bit
            report = vectors.check(received)
            assert (report.wrong.tolist(), report.outputs) == ([k], 1)
        for bit in (1, 2, 4, 8, 16):
            received = read(written(made, "testfloat"), "float16", "float8_e4m3fn")
            received.flags[k] ^= bit
            report = vectors.check(received)
            assert (report.wrong.tolist(), report.outputs) == ([k], 0)


def test_only_flags_that_a_file_tells_are_judged():
    text = "input,output,overflow\n0x3C01,0x38,{}\n"
    for overflow, wrong in (("0", []), ("1", [0])):
        assert vectors.check(read(text.format(overflow), "float16", "float8_e4m3fn", "csv")).wrong.tolist() == wrong


def test_any_quiet_nan_passes_where_that_is_asked_for():
    text = "7E01 7FC0 00\n7C01 FFFF 10\n7E00 7F81 00\n3C00 7FC0 00\n"  # another payload, sign, signalling, no NaN
    received = read(text, "float16", "bfloat16")
    assert vectors.check(received).wrong.tolist() == [1, 2, 3]
    assert vectors.check(received, any_nan=True).wrong.tolist() == [2, 3]
    assert vectors.check(read("7E00 7F 00\n0 7F 00", "float16", "int8"), any_nan=True, nan="zero").wrong.size == 2


def test_what_the_rules_refuse_is_not_judged_and_places_stay():
    received = read("7E00 00\n3C00 01\n7C01 05\n4000 03\n", "float16", "int8")
    report = vectors.check(received)
    assert report.expected.nans == 2
    assert report.places[report.wrong].tolist() == [3]


# --- The command --------------------------------------------------------------------------------------------


def test_the_command_writes_what_the_library_makes(tmp_path):
    pair = ("--from", "float32", "--to", "float8_e5m2")
    rules = {"rounding": "RTO", "overflow": "saturate", "nan": "canonical", "subnormals": "flush", "tininess": "before"}
    options = [word for name, rule in rules.items() for word in (f"--{name}", rule)]
    made = vectors.make("float32", "float8_e5m2", random=20, seed=3, count=900, **rules)
    for layout in vectors.LAYOUTS:
        path = tmp_path / f"vectors-{layout}"
        status, out, err = command(
            *pair, *options, "--random", 20, "--seed", 3, "--count", 900, "--format", layout, "-o", path
        )
        assert (status, err) == (0, "")
        assert out == f"900 vectors, float32 to float8_e5m2, written: {path}\n"
        if layout == "npz":
            np.testing.assert_array_equal(read(path.read_bytes(), *pair[1::2], "npz").outputs, made.outputs)
        else:
            assert path.read_bytes() == written(made, layout)
            assert command(*pair, *options, "--random", 20, "--seed", 3, "--count", 900, "--format", layout) == (
                0, path.read_text(), "",
            )  # fmt: skip
        status, out, err = command(*pair, *options, "--check", path, "--format", layout)
        assert (status, out, err) == (0, "900 results of float32 to float8_e5m2: all as expected\n", "")


def test_the_first_difference_is_shown_with_bits_values_and_flags():
    lines = written(vectors.make("float32", "float16", [0x3F801000, 0x3F801001, 0x7F800000]), "testfloat").decode()
    assert lines == "3F801000 3C00 01\n3F801001 3C01 01\n7F800000 7C00 00\n"
    pair = ("--from", "float32", "--to", "float16", "--check", "-")
    status, out, err = command(*pair, given=lines.replace("1001 3C01 01", "1001 3C00 03").replace("7C00 00", "7C00 04"))
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        "vector 2",
        "  input     3F801001  0 01111111 00000000001000000000001  1.0004884004592896",
        "  received  3C00      0 01111 0000000000                  1.0                 underflow inexact",
        "  expected  3C01      0 01111 0000000001                  1.0009765625        inexact",
        "vector 3",
        "  input     7F800000  0 11111111 00000000000000000000000  inf",
        "  received  7C00      0 11111 0000000000                  inf  overflow",
        "  expected  7C00      0 11111 0000000000                  inf  no flags",
        "3 results of float32 to float16: 2 differ, 1 in the output, 1 in flags alone",
    ]
    assert command(*pair, "--show", 0, given=lines.replace("3C01", "3C00"))[:2] == (
        1, "3 results of float32 to float16: 1 differs (0 shown), 1 in the output, 0 in flags alone\n",
    )  # fmt: skip
    assert command(*pair, "--no-flags", given=lines.replace(" 01", " 00"))[:2] == (
        0, "3 results of float32 to float16, without flags: all as expected\n",
    )  # fmt: skip


@pytest.mark.parametrize("layout", vectors.LAYOUTS)
def test_a_changed_result_is_found_in_every_layout(tmp_path, layout):
    made = vectors.make("bfloat16", "int8", nan="zero", count=100)
    made.outputs[42] ^= 1
    path = tmp_path / "changed"
    path.write_bytes(written(made, layout))
    status, out, _ = command("--from", "bf16", "--to", "int8", "--nan", "zero", "--check", path, "--format", layout)
    assert status == 1
    assert out.startswith(f"vector 43\n  input     {made.inputs[42]:04X}  ")
    assert out.endswith("1 differs, 1 in the output, 0 in flags alone\n")


def test_integers_and_codebooks_are_shown_as_bits_without_fields():
    _, out, _ = command("--from", "uint8", "--to", "int8", "--check", "-", given="FF FF 00\n")
    assert "  received  FF  11111111  -1   no flags\n  expected  7F  01111111  127  invalid\n" in out
    _, out, _ = command("--from", "float16", "--to", "nf4", "--check", "-", given="3C00 E\n")
    assert "  received  E     1110                0.7229568362236023\n  expected  F " in out


def test_inputs_left_out_are_told_on_standard_error():
    status, out, err = command("--from", "float16", "--to", "int8", "--count", 65536)
    assert (status, out.count("\n")) == (0, 63490)
    assert err == "bitquant: 2,046 NaN inputs are left out, int8 has no NaN: name a rule with --nan\n"
    _, _, err = command("--from", "float16", "--to", "float8_e5m2", "--nan", "raise", "--overflow", "raise")
    assert "2,046 NaN inputs are left out, nan='raise': name a rule" in err
    assert re.search(r"bitquant: [\d,]+ inputs beyond float8_e5m2 are left out, overflow='raise'\n", err)
    _, out, err = command("--from", "float16", "--to", "int8", "--check", "-", given="7E00 00\n3C00 01\n")
    assert err == "bitquant: 1 NaN inputs are not judged, int8 has no NaN: name a rule with --nan\n"
    assert out == "1 results of float16 to int8, without flags: all as expected\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "float3", "--to", "int8"], "no format is called 'float3'"),
        (["--from", "float16", "--to", "int8", "--rounding", "up"], "rounding='up' is not possible"),
        (["--from", "float16", "--to", "int8", "--format", "vcd"], "--format='vcd' is not possible"),
        (
            ["--from", "float16", "--to", "int8", "--format", "npz"],
            "a .npz file is no text: name the file with -o FILE",
        ),
        (["--from", "float16", "--to", "int8", "--seed", "-1"], "seed=-1: give a number from 0 up"),
        (["--from", "float16", "--to", "int8", "--check", "none.txt"], "none.txt cannot be read (No such file"),
        (["--from", "float16", "--to", "int8", "--check", "-", "-o", "x"], "--check writes nothing: leave out -o"),
        (["--from", "float16", "--to", "int8", "--check", "-"], "-: there are no vectors in it"),
        (["--from", "float16", "--to", "int8", "-o", "no/folder/x"], "there is no folder"),
    ],
)
def test_errors_are_one_line_and_status_2(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, out, err = command(*arguments, given="")
    assert (status, out) == (2, "")
    assert err.startswith("bitquant: ")
    assert words in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_with_force(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("mine")
    pair = ("--from", "float4_e2m1fn", "--to", "int4", "-o", path)
    assert "exists" in command(*pair)[2]
    assert path.read_text() == "mine"
    assert command(*pair, "--force")[0] == 0
    assert path.read_text().startswith("input,input_value,")


def test_a_usage_error_has_status_2():
    assert command("--from", "float16")[0] == 2


def test_the_command_pipes_into_itself_and_into_nothing():
    tool = f"{sys.executable} -m bitquant vectors --from float32 --to float8_e5m2"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        f"{tool} --random 5 --count 3000 | {tool} --check -; {tool} | head -1", shell=True, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "3,000 results of float32 to float8_e5m2: all as expected\n00000000 00 00\n"
    assert done.stderr == ""
    if Path("/dev/full").exists():
        done = subprocess.run(f"{tool} > /dev/full", shell=True, env=environment, capture_output=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(b"bitquant: standard output was not written")


# --- The page -----------------------------------------------------------------------------------------------


def examples():
    """The console blocks of the page: commands and what they print."""
    page = (ROOT / "docs" / "vectors.md").read_text()
    blocks = re.findall(r"^```console\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return [re.split(r"\n", part, maxsplit=1) for block in blocks for part in re.split(r"^\$ ", block, flags=re.M)[1:]]


def test_the_examples_of_the_page_print_what_it_says(tmp_path):
    tool = tmp_path / "bin" / "bitquant"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bitquant "$@"\n')
    tool.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    environment |= {"PATH": f"{tool.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    assert len(examples()) >= 6
    for line, expected in examples():
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.stderr + done.stdout == expected, line
