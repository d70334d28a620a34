"""Audits of conversions: each rule named as that rule and no other, each planted defect found, no exact one accused."""

from __future__ import annotations

import random

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
from auditing import Synthetic
from bitquant.auditing import audit, conversion, exhaustive
from bitquant.auditing.outcomes import PAIRS
from bitquant.errors import BitquantError

FORMATS = {name: bq.format(name) for name in ("float8_e5m2", "float8_e4m3", "bfloat16", "float16")}
DEFAULT = {
    "way": "direct",
    "rounding": "nearest_even",
    "overflow": "ieee",
    "infinity": "infinity",
    "nan": "canonical",
    "subnormals": "gradual",
    "zero": "sign kept",
}
AXES = {
    "rounding": list(PAIRS.values()),
    "overflow": ["ieee", "saturate", "nan", "zero"],
    "infinity": ["infinity", "saturate", "nan", "zero"],
    "nan": ["canonical", "signed", "all_ones", "positive_all_ones", "zero", "max"],
    "subnormals": ["gradual", "flush_output", "flush_tiny"],
    "zero": ["sign kept", "sign dropped", "sign dropped where rounded"],
}
# Here a number too large is the largest under two rules, and no tiny one becomes normal.
INWARD = {"toward_zero", "to_odd"}


def synthetic(target, rules):
    """The conversion with these rules, the rounding by its name."""
    above, below = next(pair for pair, name in PAIRS.items() if name == rules["rounding"])
    more = {axis: rules[axis] for axis in rules if axis not in ("rounding",)}
    return Synthetic(FORMATS[target], above, below, **more)


def assert_rule(report, rules):
    """Every axis that comes up has one value: the right one."""
    assert not report.faults
    for axis, value in rules.items():
        assert report.rule[axis] == (value,), (axis, report.rule, rules)


def single_changes():
    """The default with one axis changed, for every value of every axis."""
    return [{**DEFAULT, axis: value} for axis, values in AXES.items() for value in values if value != DEFAULT[axis]]


def named(rules):
    """The rule in which it is not the default."""
    return " ".join(f"{axis}={value}" for axis, value in rules.items() if value != DEFAULT[axis])


@pytest.mark.parametrize("rules", single_changes(), ids=named)
@pytest.mark.parametrize(("source", "target"), [("float16", "float8_e4m3"), ("float32", "float8_e5m2")])
def test_every_rule_is_named_as_that_rule_and_no_other(source, target, rules):
    report = audit(synthetic(target, rules), source, target)
    assert_rule(report, rules)


@pytest.mark.parametrize("seed", range(24))
def test_combinations_of_rules_are_named(seed):
    draw = random.Random(seed)
    rules = {"way": "direct", **{axis: draw.choice(values) for axis, values in AXES.items()}}
    if rules["rounding"] in INWARD and rules["overflow"] == "saturate":
        rules["overflow"] = "ieee"
    if rules["rounding"] in INWARD and rules["subnormals"] == "flush_tiny":
        rules["subnormals"] = "flush_output"
    never_falls = rules["rounding"] in ("to_odd", "toward_negative", "away from zero")
    if rules["zero"] == "sign dropped where rounded" and never_falls and rules["subnormals"] == "gradual":
        rules["zero"] = "sign kept"
    report = audit(synthetic("float8_e4m3", rules), "float16", "float8_e4m3")
    if rules["overflow"] == "zero" and rules["zero"] != "sign kept":
        rules["overflow"] = "positive zero"
    assert_rule(report, rules)


@pytest.mark.parametrize("above", ["nearest_even", "down", "to_odd"])
@pytest.mark.parametrize("below", ["nearest_away", "ties_down"])
def test_another_rounding_below_zero_is_named(above, below):
    report = audit(Synthetic(FORMATS["float8_e5m2"], above, below), "float32", "float8_e5m2")
    names = {"down": "toward_zero", "ties_down": "nearest, ties toward zero"}
    assert report.rule["rounding"] == (f"{names.get(above, above)} above zero, {names.get(below, below)} below",)
    assert not report.identical


def test_a_wrong_tie_rule_for_negatives_alone_has_ties_as_cause():
    report = audit(Synthetic(FORMATS["float8_e5m2"], below="nearest_away"), "float32", "float8_e5m2")
    assert set(report.causes) == {"tie"}
    assert all(report.mismatches["input"] >> 31 == 1)


@pytest.mark.parametrize(
    ("source", "middle", "target"),
    [
        ("float64", "float32", "float16"),
        ("float64", "float32", "bfloat16"),
        ("float64", "float16", "float8_e5m2"),
        ("float64", "bfloat16", "float8_e4m3"),
        ("float32", "float16", "float8_e4m3"),
        ("float32", "bfloat16", "float8_e5m2"),
        ("float32", "bfloat16", "float16"),
    ],
)
def test_double_rounding_is_named_with_the_format_between(source, middle, target):
    between, aim = bq.format(middle).dtype, FORMATS[target].dtype
    report = audit(lambda x: x.astype(between).astype(aim), source, target)
    assert report.rule["way"] == (middle,)
    assert report.rule["rounding"] == ("nearest_even",)
    assert f"rounded twice, through {middle}" in report.causes
    assert audit(lambda x: bq.convert(x, target), source, target).rule["way"] == ("direct",)


@pytest.mark.parametrize("middle", ["float32", "bfloat16"])
def test_formats_between_are_told_apart_without_luck(middle):
    between, aim = bq.format(middle).dtype, FORMATS["float8_e4m3"].dtype
    report = audit(lambda x: x.astype(between).astype(aim), "float64", "float8_e4m3", random=0)
    assert report.rule["way"] == (middle,)


def near_smallest_normal(x):
    """Gradual underflow, but the largest eighth of the subnormal results is flushed."""
    code = Synthetic(FORMATS["float16"])(x)
    magnitude = code & 0x7FFF
    return np.where((magnitude > 0x380) & (magnitude < 0x400), code & 0x8000, code).astype(np.uint16)


def test_a_flush_near_the_smallest_normal_alone_is_no_known_rule_and_its_cause_is_named():
    report = audit(near_smallest_normal, "float32", "float16")
    assert report.rule["subnormals"] == ()
    assert report.rule["rounding"] == ("nearest_even",)
    assert set(report.causes) == {"subnormal result flushed"}
    assert report.dialects == ()
    assert report.nearest is not None
    assert set(report.nearest.axes) == {"subnormals"}


def test_an_exponent_off_by_one_below_powers_of_two_is_named():
    def candidate(x):
        code = bq.encode(x, "float16", "float32")
        below = bq.encode(x, "float16", "float32", rounding="toward_zero", overflow="saturate")
        carried = (code & 0x3FF == 0) & (below & 0x3FF == 0x3FF)
        return np.where(carried & (code & 0x7FFF < 0x7C00), code - 0x400, code).astype(np.uint16)

    report = audit(candidate, "float32", "float16")
    assert set(report.causes) <= {"exponent off by one", "subnormal result flushed"}
    assert report.causes["exponent off by one"] > 10
    assert report.rule["rounding"] == ()


def test_saturation_of_finite_numbers_alone_and_nan_to_zero():
    report = audit(Synthetic(FORMATS["float16"], overflow="saturate", nan="zero"), "float32", "float16")
    assert (report.rule["overflow"], report.rule["infinity"]) == (("saturate",), ("infinity",))
    assert report.rule["nan"] == ("zero",)
    assert set(report.causes) == {"overflow", "NaN becomes a number"}


@pytest.mark.parametrize("vector", [8, 16, 32])
def test_a_wrong_tail_after_the_last_full_vector_is_found(vector):
    def candidate(x):
        code = bq.encode(x, "bfloat16", "float32").copy()
        tail = x.size // vector * vector
        code[tail:] = bq.encode(x[tail:], "bfloat16", "float32", rounding="nearest_away")
        return code

    report = audit(candidate, "float32", "bfloat16")
    assert not report.identical
    assert report.faults[0].endswith(f"in the tail after the last full vector of {vector}")
    assert report.rule["rounding"] == ("nearest_even",)
    assert report.dialects == ()


def test_a_random_candidate_is_not_deterministic():
    generator = np.random.default_rng(1)

    def candidate(x):
        code = bq.encode(x, "float16", "float32")
        return (code ^ (generator.random(x.size) < 0.01)).astype(np.uint16)

    report = audit(candidate, "float32", "float16")
    assert "not deterministic" in report.faults[0]
    assert not report.identical
    assert report.rule["rounding"] == ("nearest_even",) or report.rule["rounding"] == ()


@pytest.mark.parametrize(
    ("candidate", "text"),
    [
        (lambda x: 1 / 0, "it raised ZeroDivisionError"),
        (lambda x: x[:-1].astype(np.float16), "it returned shape"),
        (lambda x: x.astype(np.float16).reshape(1, -1), "it returned shape"),
        (lambda x: x, "it returned dtype float32 where float16 or uint16 is float16"),
        (lambda x: "codes", "it returned shape ()"),
        (lambda x: np.copyto(x, 0) or x.astype(np.float16), "it changed its input"),
    ],
)
def test_what_is_no_conversion_is_a_fault(candidate, text):
    report = audit(candidate, "float32", "float16")
    assert report.faults[0].startswith(text)
    assert not report.identical
    assert report.exit_code == 1
    assert report.count == 0


def test_a_code_that_the_format_does_not_have_is_a_fault():
    report = audit(lambda x: np.full(x.shape, 16, np.uint8), "float32", "float4_e2m1fn")
    assert report.faults == ("it returned 0x10, which is no code of float4_e2m1fn",)


@pytest.mark.parametrize("rounding", ["nearest_even", "nearest_away", "toward_zero", "toward_positive", "to_odd"])
@pytest.mark.parametrize("target", list(FORMATS))
def test_an_exact_candidate_is_identical_under_its_own_rules(target, rounding):
    above, below = next(pair for pair, name in PAIRS.items() if name == rounding)
    candidate = Synthetic(FORMATS[target], above, below)
    report = audit(candidate, "float32", target, rounding=rounding, nan="canonical")
    assert report.identical, report
    assert report.wrong == 0
    assert report.mismatches.size == 0
    assert report.exit_code == 0


@pytest.mark.parametrize("target", [fmt.name for fmt in bq.formats() if fmt.bits <= 32 and fmt.name != "float32"])
@pytest.mark.parametrize("source", ["float32", "float16", "int16"])
def test_no_exact_conversion_of_any_pair_is_accused(source, target):
    fmt = bq.format(target)
    nan = {} if fmt.has_nan else {"nan": "max"}
    report = audit(lambda x: bq.encode(x, target, source, **nan), source, target)
    assert report.identical, report
    assert "direct" in report.rule["way"]
    for axis, values in report.rule.items():
        assert values, (axis, report.rule)


def test_integers_through_a_wider_one_are_told_from_direct_ones():
    with np.errstate(invalid="ignore"):
        report = audit(lambda x: x.astype(np.int32).astype(np.int16), "float64", "int16", rounding="toward_zero")
    assert (report.rule["way"], report.rule["overflow"]) == (("int32",), ("wrap",))
    direct = audit(
        lambda x: bq.convert(x, "int16", rounding="toward_zero", overflow="wrap", nan="zero"), "float64", "int16"
    )
    assert direct.rule["way"] == ("direct",)
    assert direct.rule["rounding"] == ("toward_zero",)


def test_axes_that_never_come_up_are_left_out():
    assert set(audit(lambda x: bq.encode(x, "float16"), "int64", "float16").rule) == {"way", "rounding", "overflow"}
    through = audit(lambda x: bq.encode(bq.encode(x, "float32"), "bfloat16", "float32"), "int64", "bfloat16")
    assert through.rule == {"way": ("float32",), "rounding": ("nearest_even",)}
    exact = audit(lambda x: bq.encode(x, "float32"), "bfloat16", "float32")
    assert set(exact.rule) == {"way", "subnormals", "zero", "infinity", "nan"}


def test_dialects_that_match_are_named_and_others_are_not():
    report = audit(lambda x: x.astype(ml_dtypes.float8_e4m3fn), "float32", "float8_e4m3fn")
    assert "ml_dtypes" in report.dialects
    assert "torch" not in report.dialects
    assert report.nearest is None
    report = audit(
        lambda x: bq.encode(x, "float8_e4m3fn", dialect="torch"), "float32", "float8_e4m3fn", dialect="torch"
    )
    assert report.identical
    assert "torch" in report.dialects
    assert "ml_dtypes" not in report.dialects


def test_gaps_of_dialects_are_found_in_two_steps():
    report = audit(lambda x: x.astype(np.float32).astype(ml_dtypes.bfloat16), "float64", "bfloat16")
    assert any(name.startswith("torch (through float32)") for name in report.dialects)


def test_nan_codes_count_when_a_rule_is_given():
    def candidate(x):
        return bq.encode(x, "bfloat16", "float32", nan="canonical")

    assert audit(candidate, "float32", "bfloat16").identical
    strict = audit(candidate, "float32", "bfloat16", nan="preserve")
    assert set(strict.causes) == {"NaN code"}
    assert audit(candidate, "float32", "bfloat16", nan="preserve", any_nan=True).identical


def test_own_inputs_leave_ambiguous_what_they_do_not_tell_apart():
    inputs = np.array([1.0, 1.1, 3.0], np.float32)
    report = audit(lambda x: x.astype(np.float16), "float32", "float16", inputs)
    assert report.count == 3
    assert {"nearest_even", "nearest_away", "toward_zero"} & set(report.ambiguous["rounding"]) >= {
        "nearest_even",
        "nearest_away",
    }
    assert "infinity" not in report.rule
    assert "do not tell them apart" in str(report)


def test_the_rate_on_own_data_is_told():
    data = np.array([1.0, 1.0 + 2.0**-11, 2.0], np.float32)
    truncated = audit(lambda x: bq.encode(x, "float16", rounding="toward_positive"), "float32", "float16", data=data)
    assert "on your own data 1 of 3 numbers differ" in truncated.proved


def test_a_walk_of_all_codes_finds_what_no_boundary_shows(monkeypatch, capsys):
    monkeypatch.setattr(conversion, "_WHOLE", 8)
    monkeypatch.setattr(conversion, "probes", lambda *_: np.arange(0, 2**16, 8, dtype=np.uint16))
    monkeypatch.setattr(exhaustive, "_CHUNK", 1 << 12)

    def candidate(x):
        code = bq.encode(x, "float8_e5m2", "float16").copy()
        code[x.view(np.uint16) == 0x3C01] = 7
        return code

    seen = []
    for threads in (1, 2):
        report = audit(
            candidate, "float16", "float8_e5m2", "exhaustive", threads=threads, progress=lambda *done: seen.append(done)
        )
        assert (report.count, report.wrong, list(report.mismatches["input"])) == (2**16, 1, [0x3C01])
        assert report.causes == {"other": 1}
        assert report.rule["rounding"] == ()
        assert report.dialects == ()
        assert report.proved[0].startswith("proved: all 65,536 codes of float16 were tried")
    assert seen[-1] == (2**16, 2**16)
    audit(candidate, "float16", "float8_e5m2", "exhaustive", progress=True)
    assert "100%" in capsys.readouterr().err


def test_sources_of_16_bits_are_proved_and_longer_ones_sampled():
    assert audit(lambda x: bq.encode(x, "float8_e5m2"), "bfloat16", "float8_e5m2").proved[0].startswith("proved")
    assert audit(lambda x: bq.encode(x, "float8_e5m2"), "float32", "float8_e5m2").proved[0].startswith("sampled")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"inputs": "some"}, "choose boundaries or exhaustive"),
        ({"source": "float64", "inputs": "exhaustive"}, "too many to walk"),
        ({"overflow": "raise"}, "answers every number"),
        ({"rounding": bq.Stochastic()}, "answers every number"),
        ({"tininess": "after"}, "audit takes dialect, nan, overflow, rounding, subnormals"),
        ({"inputs": np.array([1.0])}, "pass an array of float32"),
    ],
)
def test_refusals_say_what_to_do(arguments, text):
    with pytest.raises(BitquantError, match=text):
        audit(lambda x: x.astype(np.float16), **{"source": "float32", "target": "float16", **arguments})


@pytest.mark.exhaustive
def test_a_walk_of_all_float32_codes():
    report = audit(lambda x: bq.encode(x, "float16"), "float32", "float16", "exhaustive", threads=None)
    assert report.identical
    assert report.count == 2**32
