"""The adapters: what is installed answers in the shape and dtype that audits want, and known differences are found."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import bitquant as bq
from bitquant.auditing import audit
from bitquant.auditing.adapters import adapter, adapters
from bitquant.auditing.adapters.pychop import on_grid

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


def test_the_script_of_a_difference_runs_with_the_library_alone():
    case = asked("ml_dtypes")["float64 to bfloat16"]
    script = audit(case.candidate, **case.options).reproducer
    assert "bitquant" not in script
    assert "x.astype(ml_dtypes.bfloat16)" in script
    told = []
    exec(script, {"print": told.append})
    assert told == ["4.591774807899562e-41 gave 0x0; exact is 0x1"]


def test_numbers_off_the_grid_are_no_codes():
    numbers = np.array([1.5, -0.0, np.inf, np.nan])
    assert on_grid(numbers, bq.FP16, numbers).tolist() == [0x3E00, 0x8000, 0x7C00, 0x7E00]
    with pytest.raises(ValueError, match=r"7.*became .*1\.0001.*, which is no float16"):
        on_grid(np.array([1.5, 1.0001]), bq.FP16, np.array([6.0, 7.0]))
