"""Explanations: every figure is the Fraction reference's, the result is `convert`'s, and what is said is true."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitquant as bq
import reference as ref
from bitquant.rules import ROUNDINGS
from explaining import check, explained, ref_format

SMALL = [fmt for fmt in bq.formats() if fmt.bits <= 16]
P3109 = [bq.format(name) for name in ("binary8p3se", "binary8p1uf", "binary6p3uf", "binary4p1se", "binary8p4se")]
TARGETS = [*bq.formats(), *P3109, bq.exmy(3, 4, nan=None), bq.exmy(8, 0, nan="negative_zero")]


def rules_for(target, draw):
    """Rules of a target, drawn, none of which refuses."""
    own = ref_format(target)
    rules = {"nan": draw.choice([rule for rule in own.nan_rules if rule != "raise"])}
    if draw.random() < 0.6:
        rules["overflow"] = draw.choice([rule for rule in own.overflow_rules if rule != "raise"])
    if draw.random() < 0.5:
        rules["subnormals"] = draw.choice(ref.SUBNORMALS)
    if draw.random() < 0.5:
        rules["tininess"] = draw.choice(ref.TININESSES)
    return rules


def rounding_for(target, draw):
    """A rounding of a target, drawn, and the random integer where it is stochastic."""
    mode = draw.choice([*ROUNDINGS, "stochastic"])
    if mode != "stochastic" or target.kind == "codebook":
        return (mode if mode != "stochastic" else "nearest_even"), None
    bits = draw.choice([1, 3, 8, 32])
    random_integer = draw.choice([0, (1 << bits) - 1, draw.randrange(1 << bits)])
    return bq.Stochastic(bits, variant=draw.choice("ABC")), random_integer


def codes_of(fmt):
    return len(fmt.values) if fmt.kind == "codebook" else 1 << fmt.bits


def held(source, code, target, draw):
    rounding, integer = rounding_for(target, draw)
    rules = rules_for(target, draw)
    e = explained(code, source, target, rounding, integer, **rules)
    given_rounding = rounding
    if integer is not None:
        given_rounding = bq.Stochastic(rounding.bits, variant=rounding.variant, random=np.array([integer]))
    codes = np.array([code], source.code_dtype)
    assert bq.encode(codes, target, source, rounding=given_rounding, **rules)[0] == e.code


@pytest.mark.parametrize("source", bq.formats(), ids=str)
def test_explanations_are_the_references_and_results_are_converts(source):
    draw = random.Random(source.name)
    for _ in range(120):
        held(source, draw.randrange(codes_of(source)), draw.choice(TARGETS), draw)


@pytest.mark.exhaustive
@pytest.mark.parametrize("source", SMALL, ids=str)
def test_all_codes_of_small_formats(source):
    draw = random.Random(source.name)
    for code in range(codes_of(source)):
        for target in draw.sample(TARGETS, 1 if source.bits > 8 else 12):
            held(source, code, target, draw)


@settings(max_examples=300, deadline=None)
@given(st.fractions(), st.integers(-1100, 1100), st.sampled_from(TARGETS), st.randoms(use_true_random=False))
def test_exact_rationals_are_rounded_once(value, exponent, target, draw):
    value *= Fraction(2) ** exponent
    rounding, integer = rounding_for(target, draw)
    rules = {name: rule for name, rule in rules_for(target, draw).items() if name != "nan"}
    judged = rounding
    if integer is not None:
        judged = ref.Stochastic(rounding.bits, integer, rounding.variant)
        rounding = bq.Stochastic(rounding.bits, variant=rounding.variant, random=integer)
    e = bq.explain(value, target, rounding=rounding, **rules)
    check(e, ref.as_number(value), ref_format(target), judged, **rules)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", Fraction(1, 10)),
        ("1/3", Fraction(1, 3)),
        ("-7/4", Fraction(-7, 4)),
        ("1e-45", Fraction(1, 10**45)),
        ("0x1.8p-3", Fraction(3, 16)),
        ("-0x.8p1", Fraction(-1)),
        ("1_000", Fraction(1000)),
        (".5", Fraction(1, 2)),
        ("−2", Fraction(-2)),
        (Decimal("0.3"), Fraction(3, 10)),
        (Fraction(1, 7), Fraction(1, 7)),
        (2**70 + 1, Fraction(2**70 + 1)),
        (0.1, Fraction(0.1)),
        (np.float32(0.1), Fraction(float(np.float32(0.1)))),
        (ml_dtypes.bfloat16(0.1), Fraction(float(ml_dtypes.bfloat16(0.1)))),
        (np.int8(-5), Fraction(-5)),
    ],
)
def test_numbers_are_taken_exactly(text, value):
    e = bq.explain(text, "float32")
    assert e.value == value


@pytest.mark.parametrize(
    ("text", "target", "source", "name", "value"),
    [
        ("0x2E66", "float16", None, "float16", Fraction(819, 8192)),
        ("0x2E66", "bfloat16", "float16", "float16", Fraction(819, 8192)),
        ("16'h2E66", "float32", None, "float16", Fraction(819, 8192)),
        ("16'h3F80", "bfloat16", None, "bfloat16", Fraction(1)),
        ("32'h3f800000", "bfloat16", None, "float32", Fraction(1)),
        ("8'b00111000", "float8_e4m3fn", None, "float8_e4m3fn", Fraction(1)),
        ("0b111", "float32", "int4", "int4", Fraction(7)),
        (0x3C00, "float32", "float16", "float16", Fraction(1)),
    ],
)
def test_bits_are_codes(text, target, source, name, value):
    e = bq.explain(text, target, source=source)
    assert (e.given.source.name, e.value) == (name, value)


def test_special_numbers_have_signs():
    assert bq.explain("-0", "float16").code == 0x8000
    assert bq.explain("-inf", "float16").code == 0xFC00
    assert bq.explain("-nan", "float16").code == 0xFE00
    assert bq.explain("32'h7F800001", "float16").flags == ("invalid",)


@pytest.mark.parametrize(
    ("value", "options", "says"),
    [
        ("0.1x", {}, "is no number"),
        ("1/0", {}, "divides by zero"),
        ("1e99999999", {}, "too far from 1"),
        ("1e1300", {}, "1e1300 is too long or too far from 1"),
        ("9" * 5000, {}, "9… is too long"),
        (10**4000, {}, "an integer is too long or too far from 1"),
        (Fraction(1, 10**4000), {}, "a rational is too long or too far from 1"),
        ("12'h123", {}, "say which format"),
        ("0x12345", {}, "has 16 bits"),
        (True, {}, "is no number"),
        (0.1, {"source": "float16"}, "pass via='float16'"),
        ([1.0, 2.0], {}, "takes one"),
        ("1e9", {"overflow": "raise"}, "out of range"),
        ("nan", {"nan": "raise"}, "NaN is refused"),
        ("1", {"element": 1}, "for a block format"),
        ("1", {"amax": 1}, "integers of 2 to 8 bits"),
        ("1", {"rounding": "up"}, "choose"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(value, options, says):
    with pytest.raises(bq.BitquantError, match=says):
        bq.explain(value, "float16", **options)


def test_parameters_of_a_scheme_are_bounded_too():
    with pytest.raises(bq.BitquantError, match="too far from 1"):
        bq.explain(1, "int8", scheme="symmetric", amax="1e1300")


def test_a_path_shows_double_rounding():
    e = bq.explain("1.00390625000001", "bfloat16", via="float32")
    assert [step.target.name for step in e.path] == ["float32", "bfloat16"]
    assert (e.code, e.direct.code, e.rounded_twice) == (0x3F80, 0x3F81, True)
    assert e.error.ulps == (1 - Fraction("1.00390625000001")) * 128


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-300, 300, width=32),
    st.fractions(Fraction(1, 50), 200),
    st.fractions(-200, 200),
    st.sampled_from(["int8", "uint8", "int4", "uint4", "int2"]),
    st.sampled_from(list(ROUNDINGS)),
)
def test_a_mapping_is_quantize_and_its_figures_the_references(x, width, low, fmt, rounding):
    target = bq.format(fmt)
    options = {"bits": target.bits, "signed": target.signed}
    high = low + width
    for scheme in ("symmetric", "asymmetric"):
        e = bq.explain(x, fmt, rounding=rounding, scheme=scheme, low=low, high=high)
        q = bq.quantize([x], scheme, range=(low, high), rounding=rounding, **options)
        linear = ref.parameters([], scheme, low=low, high=high, **options)
        m = e.mapping
        assert (m.scale, m.zero_point, m.qmin, m.qmax) == linear
        code = linear.quantize(x, rounding)
        assert code == int(q.codes[0])
        assert e.code == code % (1 << target.bits)
        assert e.result.value == (code - m.zero_point) / m.scale
        assert m.position == Fraction(x) * m.scale + m.zero_point
        assert m.clipped == (ref.round_quotient(*m.position.as_integer_ratio(), rounding) != code)
        assert e.error.absolute == e.result.value - Fraction(x)
        assert Fraction(x) in e.interval
        for end, closed, outward in (
            (e.interval.low, e.interval.low_closed, -1),
            (e.interval.high, e.interval.high_closed, 1),
        ):
            if end.kind == "finite":
                tiny = outward * Fraction(1, 2**300)
                assert (linear.quantize(end.value, rounding) == code) == closed
                assert linear.quantize(end.value + tiny, rounding) != code
                assert linear.quantize(end.value - tiny, rounding) == code or e.interval.low == e.interval.high


@pytest.mark.parametrize("row", bq.block_formats(), ids=lambda row: row.name)
@pytest.mark.parametrize("rounding", ["nearest_even", "toward_zero", "to_odd"])
def test_an_element_of_a_block_is_quantize_blocks(row, rounding):
    draw = np.random.default_rng(3)
    for scale in (1.0, 1e-3, 3e4):
        x = np.float32(draw.standard_normal(row.block + 5) * scale)
        rule = "exact" if "exact" in row.scale_rules else row.scale_rules[0]
        q = bq.quantize_blocks(x, row, scale_rule=rule, rounding=rounding)
        codes, values = q.codes.view(np.uint8), q.dequantize("float64")
        for element in range(0, x.size, 3):
            e = bq.explain(x, row, element=element, rounding=rounding)
            assert e.code == int(codes[element]) % (1 << row.element.bits)
            assert Fraction(float(values[element])) == e.result.value
            assert e.block.scale_code == int(q.scales.view(row.scale.code_dtype)[element // row.block])
            assert e.block.quotient.value == Fraction(float(x[element])) / e.block.step
            assert Fraction(float(x[element])) in e.interval
            assert e.error.absolute == e.result.value - Fraction(float(x[element]))
            for pair in (e.neighbours, e.around):
                below, above = (one.real for one in pair)
                assert below.kind == "infinity" or below.value <= e.result.value
                assert above.kind == "infinity" or e.result.value <= above.value
            assert e.interval.low.kind == "infinity" or e.interval.low.value <= Fraction(float(x[element]))


def test_a_dialect_is_followed():
    e = bq.explain(np.float32(1e-39), "bfloat16", dialect="x86_avx512bf16")
    assert (e.code, e.events) == (0, ("flushed input",))
