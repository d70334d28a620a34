"""Encode, decode, convert and round_to: every pair of formats under every rule, bit for bit."""

from __future__ import annotations

import itertools
import math
import random
import re
import struct

import numpy as np
import pytest

import bitquant as bq
import reference
from judging import (
    FLAG_BITS,
    NAMES,
    PAIRS,
    assert_agrees,
    assert_refused,
    assert_same_codes,
    code_array,
    critical,
    edges,
    is_ordinary,
    judged,
    rules_of,
)

# --- Every pair under every rule ----------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_rule_gives_the_codes_flags_and_refusals_of_the_reference(source, target):
    codes = edges(source, target)
    inputs = code_array(codes, bq.format(source))
    ordinary = np.array([is_ordinary(code, source, target) for code in codes])
    for rounding, overflow, nan, subnormals, tininess in rules_of(target):
        rules = {
            "rounding": rounding,
            "overflow": overflow,
            "nan": nan,
            "subnormals": subnormals,
            "tininess": tininess,
        }
        theirs, masks, refused = judged(codes, source, target, **rules)
        context = f"{source} to {target}, {' '.join(rules.values())}"
        kept = np.ones(len(codes), bool)
        if refused:
            assert_refused(inputs, refused, source, target, **rules)
            kept[refused] = False
        assert_agrees(inputs[kept], source, target, theirs[kept], masks[kept], context, **rules)
        if ordinary.any():
            assert_agrees(
                inputs[ordinary],
                source,
                target,
                theirs[ordinary],
                masks[ordinary],
                f"{context}, ordinary",
                **rules,
            )


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_rounding_agrees_at_the_boundaries_of_the_target(source, target):
    judge, aim = reference.FORMATS[source], reference.FORMATS[target]
    codes = list(reference.boundaries(judge, aim, samples=150, whole=1 << 8))
    codes = random.Random(f"{source} {target}").sample(codes, min(len(codes), 1800))
    inputs = code_array(codes, bq.format(source))
    for rounding in reference.ROUNDINGS:
        rules = {"rounding": rounding, "nan": "canonical" if aim.kind == "float" else "max"}
        theirs, masks, refused = judged(codes, source, target, **rules)
        assert not refused
        assert_agrees(inputs, source, target, theirs, masks, f"{source} to {target}, {rounding}", **rules)


@pytest.mark.parametrize(
    ("source", "target"),
    [(source, target) for source, target in PAIRS if reference.FORMATS[source].kind == "float"
     and bq.format(source).precision > bq.format(target).precision],
)  # fmt: skip
def test_one_digit_anywhere_below_a_number_or_a_tie_is_seen(source, target):
    """Sticky bits: each digit that is cut off counts, alone."""
    judge, aim = reference.FORMATS[source], reference.FORMATS[target]
    codes = set()
    for value in critical(aim):
        for sign, step in itertools.product((0, 1), (0, 1)):
            number = reference.Number("finite", sign, value.numerator, value.denominator)
            start = reference.convert_to_float(number, judge, "toward_zero")[0]
            start += step * (1 << judge.significand_bits - 3)
            codes.update(start + (1 << digit) for digit in range(judge.significand_bits))
            codes.update(start ^ 1 << digit for digit in range(judge.significand_bits))
            codes.update(start - 1 ^ 1 << digit for digit in range(judge.significand_bits))
    codes = [code for code in sorted(codes) if 0 <= code < 1 << judge.bits]
    inputs = code_array(codes, bq.format(source))
    for rounding in reference.ROUNDINGS:
        rules = {"rounding": rounding, "nan": "zero"}
        theirs, masks, _ = judged(codes, source, target, **rules)
        assert_agrees(inputs, source, target, theirs, masks, f"{source} to {target}, {rounding}", **rules)


@pytest.mark.parametrize("target", NAMES)
def test_named_defaults_are_the_defaults(target):
    integer = bq.format(target).is_integer
    named = {
        "rounding": "nearest_even",
        "overflow": "saturate" if integer else "ieee",
        "nan": "raise" if integer else "preserve",
        "subnormals": "gradual",
        "tininess": "after",
    }
    codes = [code for code in edges("float64", target) if not (integer and code & ~(1 << 63) > 0x7FF << 52)]
    inputs = code_array(codes, bq.FP64)
    assert_same_codes(
        bq.encode(inputs, target, "float64"), bq.encode(inputs, target, "float64", **named), inputs, target
    )


@pytest.mark.parametrize(
    ("alias", "rounding"),
    [("RNE", "nearest_even"), ("RNA", "nearest_away"), ("RTZ", "toward_zero"), ("RTP", "toward_positive"),
     ("RTN", "toward_negative"), ("RTO", "to_odd")],
)  # fmt: skip
def test_rounding_aliases_mean_what_ieee_754_calls_them(alias, rounding):
    x = np.array([0.1, -0.1, 1 + 2**-11, -1 - 2**-11, 1 + 3 * 2**-11, 1e9, -1e9])
    assert np.array_equal(bq.encode(x, "float16", rounding=alias), bq.encode(x, "float16", rounding=rounding))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 255, 256, 257, 1023, 1024, 1025, 2049, 5000])
@pytest.mark.parametrize(
    ("source", "target"),
    [("float32", "float16"), ("float64", "bfloat16"), ("float16", "int8"), ("float32", "tfloat32"),
     ("bfloat16", "float16")],
)  # fmt: skip
def test_the_result_of_a_number_does_not_depend_on_the_length_of_its_array(source, target, length):
    """Vector tails and blocks; the special numbers stand at a changing place."""
    codes = list(itertools.islice(itertools.cycle(edges(source, target)), length + 5))[5:]
    theirs, masks, _ = judged(codes, source, target, nan="zero")
    inputs = code_array(codes, bq.format(source))
    assert_agrees(inputs, source, target, theirs, masks, f"{length} numbers", nan="zero")


def test_one_special_number_in_an_ordinary_block_is_still_special():
    for at, code in itertools.product(
        (0, 1, 511, 1023, 1024, 1500, 2999), (0, 1, 1 << 31, 0x7F800001, 0xFF800000, 0x47800000)
    ):
        codes = [0x3F801000 + 7 * k for k in range(3000)]
        codes[at] = code
        theirs, masks, _ = judged(codes, "float32", "float16")
        assert_agrees(code_array(codes, bq.FP32), "float32", "float16", theirs, masks, f"{code:#x} at {at}")


# --- Named cases --------------------------------------------------------------------------------------------

# float64 value, target, code, flags, why
CASES = [
    (1 + 2**-8 + 2**-40, "bfloat16", 0x3F81, "inexact", "once: by way of float32 a tie, 0x3f80"),
    (65519.99999999999, "float16", 0x7BFF, "inexact", "just below the overflow threshold"),
    (65520.0, "float16", 0x7C00, "overflow inexact", "the threshold is a tie: infinity (clause 7.4)"),
    (2.0**-25, "float16", 0x0000, "underflow inexact", "half the smallest subnormal is a tie: to even"),
    (2.0**-25 * (1 + 2**-52), "float16", 0x0001, "underflow inexact", "and anything above it is not"),
    (2.0**-14 - 2.0**-25, "float16", 0x0400, "underflow inexact", "tiny after rounding to eleven digits"),
    (2.0**-14 - 2.0**-26, "float16", 0x0400, "inexact", "not tiny after rounding to eleven digits"),
    (2.0**-24, "float16", 0x0001, "", "an exact subnormal does not underflow (clause 7.5)"),
    (-0.0, "float16", 0x8000, "", "zero keeps its sign"),
    (-1e-30, "float16", 0x8000, "underflow inexact", "so does a number that rounds to zero"),
    (5e-324, "float32", 0x0000_0000, "underflow inexact", "smallest float64"),
    (math.inf, "bfloat16", 0x7F80, "", "infinity is exact"),
    (3.3961775292304957e38, "bfloat16", 0x7F80, "overflow inexact", "threshold of bfloat16"),
    (1 + 2**-11, "tfloat32", 0x1FC00, "inexact", "tie to even"),
    (1 + 3 * 2**-11, "tfloat32", 0x1FC02, "inexact", "tie to even, the other way"),
    (-128.5, "int8", 0x80, "inexact", "a tie to even, inside"),
    (-128.50000000000003, "int8", 0x80, "invalid", "out of range is invalid and nothing else (clause 5.8)"),
    (127.5, "int8", 0x7F, "invalid", "ties to 128"),
    (0.5, "int8", 0, "inexact", "ties to even"),
    (1.5, "int8", 2, "inexact", "ties to even"),
    (-0.5, "uint8", 0, "inexact", "rounds to zero, which is in range"),
    (-1.0, "uint8", 0, "invalid", "below the range"),
    (255.49999999999997, "uint8", 255, "inexact", "largest input that fits"),
    (math.inf, "uint8", 255, "invalid", "infinity has no integer"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "target", "code", "raised", "why"), CASES)
def test_named_cases(value, target, code, raised, why):
    flags = bq.Flags()
    assert int(bq.encode(value, target, flags=flags)) == code, why
    assert [name for name in FLAG_BITS if getattr(flags, name)] == sorted(raised.split(), key=list(FLAG_BITS).index), (
        why
    )


def test_tininess_changes_one_flag_and_no_code():
    x = 2.0**-14 - 2.0**-26
    after, before = bq.Flags(), bq.Flags()
    assert bq.encode(x, "float16", flags=after) == bq.encode(x, "float16", tininess="before", flags=before)
    assert (after.underflow, before.underflow) == (0, 1)


# value, int8, uint8
WRAPPED = [
    (128.0, -128, 128),
    (256.0, 0, 0),
    (257.0, 1, 1),
    (-129.0, 127, 127),
    (300.5, 44, 44),
    (2.0**40 + 3, 3, 3),
    (-(2.0**52) - 5, -5, 251),
    ((2.0**52 + 1) * 2**3, 8, 8),
    ((2.0**52 + 1) * 2**7, -128, 128),
    ((2.0**52 + 1) * 2**8, 0, 0),
    ((2.0**52 + 1) * 2**11, 0, 0),
    ((2.0**52 + 1) * 2**12, 0, 0),
    (1.7e308, 0, 0),
    (math.inf, 0, 0),
    (-math.inf, 0, 0),
]


def test_wrap_keeps_the_low_bits_of_any_number():
    x = np.array([row[0] for row in WRAPPED])
    assert bq.convert(x, "int8", overflow="wrap").tolist() == [row[1] for row in WRAPPED]
    assert bq.convert(x, "uint8", overflow="wrap").tolist() == [row[2] for row in WRAPPED]
    singles = np.array([(2.0**23 + 1) * 2.0**k for k in range(40)], np.float32)
    low = [((2**23 + 1) << k) & 0xFF for k in range(40)]
    assert bq.convert(singles, "uint8", overflow="wrap").tolist() == low


def test_signalling_nan_becomes_quiet_and_keeps_sign_and_payload():
    codes = np.array([0x7F801000 | 1, 0x7FA00000, 0xFFBFE000, 0x7FC00001], np.uint32)
    assert [hex(code) for code in bq.encode(codes, "float16", "float32")] == [
        "0x7e00",
        "0x7f00",
        "0xffff",
        "0x7e00",
    ]
    flags = bq.Flags(record=True)
    bq.encode(codes, "float16", "float32", flags=flags)
    assert flags.mask.tolist() == [1, 1, 1, 0]


# --- Flags --------------------------------------------------------------------------------------------------


def test_flags_add_up_over_calls_and_the_mask_is_that_of_the_last():
    flags = bq.Flags(record=True)
    bq.convert([0.1, 1e9], "float16", flags=flags)
    bq.convert([[0.1], [0.5], [1e-9]], "float16", flags=flags)
    assert (flags.inexact, flags.overflow, flags.underflow, flags.invalid) == (4, 1, 1, 0)
    assert flags.mask.tolist() == [[8], [0], [12]]


def test_flags_without_record_keep_no_mask():
    flags = bq.Flags()
    bq.convert([0.1], "float16", flags=flags)
    assert flags.inexact == 1
    assert flags.mask is None


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3, 4)])
def test_the_mask_has_the_shape_of_the_input(shape):
    flags = bq.Flags(record=True)
    bq.convert(np.full(shape, 0.1), "float16", flags=flags)
    assert flags.mask.shape == shape
    assert flags.mask.dtype == np.uint8
    assert flags.inexact == math.prod(shape) == np.count_nonzero(flags.mask == 8)


# --- Codes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if bq.format(name).bits <= 19])
def test_encoding_a_decoded_code_returns_it(name):
    fmt = bq.format(name)
    codes = np.arange(2**fmt.bits, dtype=fmt.code_dtype)
    expected = codes.copy()
    if not fmt.is_integer:
        nan = (codes & fmt.code_dtype.type(2**fmt.magnitude_bits - 1)) > fmt.infinity_code
        expected[nan] |= fmt.code_dtype.type(1 << (fmt.significand_bits - 1))  # quieted, all else kept
    for dtype in ("float32", "float64"):
        values = bq.decode(codes, fmt, dtype)
        assert values.dtype == np.dtype(dtype)
        for rounding in reference.ROUNDINGS:
            rules = {"nan": "preserve"} if not fmt.is_integer else {}
            assert_same_codes(bq.encode(values, fmt, rounding=rounding, **rules), expected, codes, f"{name} {rounding}")


@pytest.mark.parametrize("name", NAMES)
def test_decode_gives_the_values_of_the_reference(name):
    judge, fmt = reference.FORMATS[name], bq.format(name)
    codes = range(2**fmt.bits) if fmt.bits <= 16 else edges(name, name)
    values = bq.decode(code_array(codes, fmt), fmt, "float64")
    theirs, _, _ = judged(codes, name, "float64")
    assert_same_codes(values, theirs, list(codes), name)
    default = bq.decode(code_array(codes, fmt), fmt)
    assert default.dtype == (np.float64 if judge.bits == 64 else np.float32)


def test_decode_takes_values_of_the_dtype_and_lists_and_other_words():
    assert bq.decode(np.array([1.5], np.float16), "float16").tolist() == [1.5]
    assert bq.decode([0x3C00, 0xFC00], "float16").tolist() == [1.0, -math.inf]
    assert bq.decode(0x3F80, "bfloat16") == 1.0
    assert bq.decode(np.array([0x3C00], ">u2"), "float16").tolist() == [1.0]
    assert bq.decode(np.array([0x3C00], np.int64), "float16").tolist() == [1.0]
    assert bq.decode(np.array([0x80], np.uint8), "int8").tolist() == [-128.0]
    assert bq.decode(np.array([-128], np.int8), "int8").tolist() == [-128.0]


def test_decode_reaches_every_dtype_that_holds_the_format():
    codes = np.array([0x3F80, 0x0001], np.uint16)
    assert bq.decode(codes, "bfloat16", "bfloat16").tolist() == [1.0, 2.0**-133]
    assert bq.decode([1, 255], "uint8", "float16").tolist() == [1.0, 255.0]
    assert bq.decode([1, 255], "int8", "bfloat16").tolist() == [1.0, -1.0]
    with pytest.raises(
        bq.BitquantError, match="float16 does not hold every value of bfloat16: use convert, which rounds"
    ):
        bq.decode(codes, "bfloat16", "float16")
    for small, large in (("float32", "float64"), ("int8", "uint8"), ("uint8", "int8"), ("int8", "float16")):
        with pytest.raises(bq.BitquantError, match=f"{small} does not hold every value of {large}"):
            bq.decode(np.zeros(1, bq.format(large).code_dtype), large, small)


def test_tfloat32_codes_lie_in_the_low_bits_of_a_uint32():
    result = bq.convert([1.0, -2.0, math.inf], "tfloat32")
    assert result.dtype == np.uint32
    assert result.tolist() == [0x1FC00, 0x60000, 0x3FC00]
    assert bq.convert(result, "float32", "tfloat32").tolist() == [1.0, -2.0, math.inf]
    assert bq.convert(result, "float16", source="tf32").tolist() == [1.0, -2.0, math.inf]
    assert bq.decode(result, bq.TF32).tolist() == [1.0, -2.0, math.inf]


def test_source_reads_codes_and_numbers_alike():
    x = np.array([0.1, -3.0, 1e-7], np.float16)
    for given in (
        x,
        x.view(np.uint16),
        x.view(np.uint16).astype(np.uint64),
        x.astype(">f2"),
        x.view(np.uint16).astype(">u2"),
    ):
        assert bq.encode(given, "bfloat16", source="float16").tolist() == bq.encode(x, "bfloat16").tolist()


@pytest.mark.parametrize(
    ("codes", "fmt", "code", "bits"),
    [([0x80000], "tfloat32", "0x80000", 19), ([0, 0x10000], "float16", "0x10000", 16),
     ([256], "int8", "0x100", 8), ([3, -1], "bfloat16", "-0x1", 16),
     ([2**40], "float32", "0x10000000000", 32)],
)  # fmt: skip
def test_a_code_that_a_format_lacks_is_refused(codes, fmt, code, bits):
    with pytest.raises(bq.BitquantError, match=f"^{code} is no code of {fmt}, which has {bits} bits"):
        bq.decode(codes, fmt)
    if min(codes) >= 0:
        with pytest.raises(bq.BitquantError, match=f"^{code} is no code of {fmt}"):
            bq.convert(np.array(codes, np.uint64), "float32", source=fmt)


def test_codes_that_are_not_integers_are_refused():
    with pytest.raises(bq.BitquantError, match="codes of float16 are unsigned integers, not float64"):
        bq.decode([1.0], "float16")


def test_a_source_that_the_dtype_contradicts_is_refused():
    with pytest.raises(
        bq.BitquantError, match=r"x has dtype float32, which is neither float16 nor its codes \(uint16\)"
    ):
        bq.convert(np.zeros(3, np.float32), "int8", source="float16")


# --- Round to -----------------------------------------------------------------------------------------------

ROUND_SOURCES = ["float64", "float32", "float16", "bfloat16", "int8", "uint8"]


@pytest.mark.parametrize(("source", "target"), list(itertools.product(ROUND_SOURCES, NAMES)))
def test_round_to_is_decode_of_encode(source, target):
    """Where the rounded value is a number of the source's format; elsewhere it is refused."""
    judge, aim = reference.FORMATS[source], reference.FORMATS[target]
    codes = edges(source, target)
    overflows = reference.OVERFLOWS[aim.kind]
    for rounding, overflow, subnormals in itertools.product(reference.ROUNDINGS, overflows, ("gradual", "flush")):
        rules = {"rounding": rounding, "overflow": overflow, "subnormals": subnormals, "nan": "zero"}
        there, masks, refused = judged(codes, source, target, **rules)
        back = []
        for at, code in enumerate(there.tolist()):
            try:
                result, flags = reference.convert(code, aim, judge, overflow="raise", nan="raise")
            except reference.Refused:
                result, flags = 0, reference.INEXACT
            if flags:
                refused.append(at)
            back.append(result)
        kept = np.ones(len(codes), bool)
        kept[refused] = False
        inputs = code_array(codes, bq.format(source)).view(bq.format(source).dtype)
        for at in sorted(set(refused))[:3]:
            with pytest.raises(bq.BitquantError):
                bq.round_to(inputs[at : at + 1], target, **rules)
        flags = bq.Flags(record=True)
        result = bq.round_to(inputs[kept], target, flags=flags, **rules)
        assert result.dtype == inputs.dtype
        context = f"{source} on the grid of {target}, {rules}"
        assert_same_codes(
            result,
            code_array(back, bq.format(source))[kept],
            inputs.view(f"u{inputs.itemsize}")[kept],
            context,
        )
        assert np.array_equal(flags.mask, masks[kept]), context


def test_round_to_keeps_nan_and_infinity():
    x = np.array([math.nan, -math.inf, 1e9], np.float32)
    assert str(bq.round_to(x, "float16")) == "[ nan -inf  inf]"
    assert bq.round_to(x[1:], "float16", overflow="saturate").tolist() == [-65504.0, 65504.0]


def test_round_to_refuses_a_value_that_the_dtype_of_x_lacks():
    with pytest.raises(bq.BitquantError, match="65504 at index 1") as caught:
        bq.round_to(np.array([1.0, 65504.0], np.float16), "bfloat16")
    assert "65536" in str(caught.value) or "float16" in str(caught.value)
    assert "overflow='ieee'" not in str(caught.value)  # which would not help


# --- Errors: what, where, and the way out (DESIGN §2, law 6) ------------------------------------------------

FLOAT_NAN = "pass nan='preserve', 'canonical', 'zero' or 'max'"
INTEGER_NAN = "pass nan='zero' or 'max'"
REFUSALS = [
    ([1.0, math.nan], "int8", {}, f"x has NaN at index 1: int8 has no NaN; {INTEGER_NAN}"),
    ([math.nan] * 3, "uint8", {}, f"x has NaN at index 0 (the first of 3): uint8 has no NaN; {INTEGER_NAN}"),
    ([[1.0, 2.0], [math.nan, 3.0]], "float16", {"nan": "raise"},
     f"x has NaN at index (1, 0): NaN is refused by nan='raise'; {FLOAT_NAN}"),
    ([1.0, -70000.0, 1e9], "float16", {"overflow": "raise"},
     "x has -70000 at index 1 (the first of 2): float16 reaches from -65504 to 65504; "
     "pass overflow='ieee', 'saturate' or 'saturate_finite'"),
    ([127.4, 127.5], "int8", {"overflow": "raise"},
     "x has 127.5 at index 1: int8 reaches from -128 to 127; pass overflow='saturate' or 'wrap'"),
    ([-math.inf], "uint8", {"overflow": "raise"},
     "x has -inf at index 0: uint8 reaches from 0 to 255; pass overflow='saturate' or 'wrap'"),
    ([1e39, math.nan], "bfloat16", {"overflow": "raise", "nan": "raise"},
     "x has 1e+39 at index 0: bfloat16 reaches from -3.38953e+38 to 3.38953e+38; "
     "pass overflow='ieee', 'saturate' or 'saturate_finite'"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "target", "rules", "message"), REFUSALS)
def test_a_refusal_names_the_value_the_place_the_format_and_the_way_out(x, target, rules, message):
    with pytest.raises(bq.BitquantError) as caught:
        bq.convert(x, target, **rules)
    assert str(caught.value) == message


def test_a_refused_scalar_needs_no_index():
    with pytest.raises(bq.BitquantError, match="x has NaN") as caught:
        bq.convert(math.nan, "int8")
    assert "()" not in str(caught.value)


def test_infinity_is_no_overflow_where_the_target_has_it():
    assert bq.encode([math.inf, -math.inf], "float16", overflow="raise").tolist() == [0x7C00, 0xFC00]


WRONG_RULES = [
    ("float16", {"rounding": "up"}, "rounding='up' is not possible: choose nearest_even, nearest_away, "
     "toward_zero, toward_positive, toward_negative or to_odd"),
    ("float16", {"overflow": "wrap"},
     "overflow='wrap' is not possible for float16: choose ieee, saturate, saturate_finite or raise"),
    ("int8", {"overflow": "ieee"},
     "overflow='ieee' is not possible for int8: choose saturate, wrap, indefinite or raise"),
    ("int8", {"nan": "preserve"}, "nan='preserve' is not possible for int8: choose raise, zero, max or indefinite"),
    ("float16", {"nan": 0},
     "nan=0 is not possible for float16: choose preserve, canonical, signed, all_ones, positive_all_ones, raise, zero "
     "or max"),
    ("float16", {"subnormals": True},
     "subnormals=True is not possible: choose gradual, flush_input, flush_output or flush"),
    ("int8", {"tininess": "never"}, "tininess='never' is not possible: choose after or before"),
    ("float17", {}, "no format is called 'float17'; there are float64"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "rules", "message"), WRONG_RULES)
@pytest.mark.parametrize("call", [bq.convert, bq.encode, bq.round_to])
def test_a_wrong_rule_is_refused_with_those_there_are(call, target, rules, message):
    with pytest.raises(bq.BitquantError, match=re.escape(message)):
        call([1.0], target, **rules)
    with pytest.raises(bq.BitquantError, match=re.escape(message)):
        call([], target, **rules)


@pytest.mark.parametrize("rule", [["ieee"], {"ieee": 1}])
def test_a_rule_that_is_not_a_word_is_refused(rule):
    with pytest.raises(bq.BitquantError, match="overflow="):
        bq.convert([1.0], "float16", overflow=rule)


def test_float32_is_read_as_python_reads_it():
    """An end-to-end check that needs no judge of ours."""
    values = [0.1, 1 / 3, 1e-45, -2.5e10]
    expected = [struct.unpack("<I", struct.pack("<f", value))[0] for value in values]
    assert bq.encode(values, "float32").tolist() == expected
