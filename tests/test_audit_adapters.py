"""The adapters: what is installed answers in the shape and dtype that audits want, and known differences are found."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import bitquant as bq
from bitquant.auditing import audit, audit_quantizer
from bitquant.auditing.adapters import adapter, adapters
from bitquant.auditing.adapters.pychop import on_grid
from bitquant.auditing.candidate import CandidateError

SAMPLE = 5  # cases of each adapter that are asked


def asked(name):
    """The cases of a library that is here."""
    row = adapter(name)
    if reason := row.missing():
        pytest.skip(reason)
    return {case.name: case for case in row.cases()}


@pytest.mark.parametrize("name", [row.name for row in adapters()])
def test_candidates_answer_in_shape_and_kind(name):
    cases = list(asked(name).values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases[:: max(1, len(cases) // SAMPLE)]:
            source = bq.format(case.options.get("source", "float32"))
            x = bq.convert(np.linspace(-3, 3, 33), source)
            if not case.quantizer:
                target = bq.format(case.options["target"])
                assert_codes_or_numbers(case, x, target)
                continue
            quantize, *back = case.candidate if isinstance(case.candidate, tuple) else (case.candidate,)
            if len(inspect.signature(quantize).parameters) == 1:
                codes, step, zero_point = quantize(x[:32])
                assert (np.shape(codes), type(zero_point)) == ((32,), int)
                assert step > 0
                continue
            zero_point = int(case.options.get("zero_points", (3,))[0])
            found = np.asarray(quantize(x, 0.125, zero_point)).astype(np.float64)[[0, 16, 32]]
            if case.options.get("form") == "numbers":
                low = -3 if case.options["signed"] else -0.375
                assert np.array_equal(found, [low, 0, 3])
                continue
            low, high = (-128, 127) if case.options.get("signed", True) else (0, 255)
            assert np.array_equal(found, np.clip(np.array([-24, 0, 24]) + zero_point, low, high))
            for dequantize in back:
                assert np.asarray(dequantize(quantize(x, 0.125, zero_point), 0.125, zero_point))[16] == 0


def assert_codes_or_numbers(case, x, target):
    found = np.asarray(case.candidate(x))
    assert found.shape == x.shape
    assert found.dtype in (target.code_dtype, target.array_dtype)
    assert bq.decode(found.view(target.code_dtype)[16:17], target, np.float64) in (0.0, 2.0**-127), case.name


@pytest.mark.parametrize(
    ("library", "case", "axis", "value"),
    [
        ("numpy", "float64 to float16", "way", "direct"),
        ("ml_dtypes", "float64 to float8_e4m3fn", "way", "float32"),
        ("torch", "float64 to bfloat16", "way", "float32"),
        ("torch", "float32 to float8_e4m3fn", "overflow", "saturate"),
        ("cpu", "float32 to bfloat16 (VCVTNEPS2BF16)", "subnormals", "flush_input"),
        ("numcodecs", "float16 keeping 2 bits", "nan", None),
        ("apytypes", "float32 to float16 toward_zero", "rounding", "toward_zero"),
        ("gfloat", "float32 to float8_e5m2 nearest_away", "rounding", "nearest_away"),
        ("bitstring", "float32 to bfloat16 (bfloat16)", "rounding", None),
        ("jax", "float32 to float16", "rounding", "nearest_even"),
    ],
)
def test_an_audit_through_an_adapter_names_the_rule(library, case, axis, value):
    found = asked(library).get(case)
    if found is None:
        pytest.skip(f"{library} has no {case} on this machine")
    rule = audit(found.candidate, **found.options).rule[axis]
    assert (value in rule) if value else not rule


# Instructions are asked through a compiler, which no script of a few lines is; and one case ends the process.
UNTOLD = ("cpu", "XNNPACK")
GIVEN = ("source", "target", "setup", "call", "numbers")


def told(case):
    """A report with something to show: no library rounds to odd, and no quantizer is exact in everything."""
    options = {name: value for name, value in case.options.items() if name != "against"}
    if not case.quantizer:
        options = {name: value for name, value in options.items() if name in GIVEN} | {
            "rounding": "to_odd",
            "random": 100,
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (audit_quantizer if case.quantizer else audit)(case.candidate, **options)


@pytest.mark.parametrize("name", [row.name for row in adapters() if row.name not in UNTOLD])
def test_the_scripts_of_differences_run_with_the_library_alone(name):
    cases = [case for case in asked(name).values() if not case.name.endswith(UNTOLD)]
    reports = [told(case) for case in cases[:: -(-len(cases) // 2)]]
    reports = [report for report in reports if not report.identical]
    assert reports
    for report in reports:
        assert "bitquant" not in report.reproducer
        alone = {variable: value for variable, value in os.environ.items() if variable != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", report.reproducer],
            capture_output=True,
            text=True,
            env=alone,
            check=True,
        )
        lines = [line.split("; ") for line in done.stdout.splitlines() if " gave " in f" {line}"]
        assert lines, report.reproducer
        assert any(differing(*line) for line in lines), done.stdout


def differing(gave, right):
    """Whether what the script computed is not what it states as right."""
    given, stated = gave.partition("gave ")[2], right.partition("exact is ")[2] or right.partition(" gives ")[2]
    return stated and given.rpartition("the code ")[2] != stated


def test_numbers_off_the_grid_are_no_codes():
    numbers = np.array([1.5, -0.0, np.inf, np.nan])
    assert on_grid(numbers, bq.FP16, numbers).tolist() == [0x3E00, 0x8000, 0x7C00, 0x7E00]
    with pytest.raises(CandidateError, match=r"does not have: 7\.0 became 1\.0001$"):
        on_grid(np.array([1.5, 1.0001]), bq.FP16, np.array([6.0, 7.0]))
