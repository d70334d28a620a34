"""`bitquant audit`: exit status, what is printed, what is written; of planted functions, in processes of their own."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from bitquant.auditing.adapters import adapters
from test_cli import bitquant, fails, process, works

E5M2 = ("--from", "float16", "--to", "float8_e5m2")


def test_list_names_every_library_and_says_what_is_missing():
    lines = works("audit", "--list").splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [row.name for row in adapters()]
    for row, line in zip(adapters(), lines, strict=False):
        assert (row.missing() or f"{len(row.cases())} cases") in line


def test_a_function_that_is_exact_is_identical_and_the_status_is_0():
    told = works("audit", "audit_planted:exact", *E5M2)
    assert "identical to the exact conversion" in told
    assert "rounding" in told
    assert "nearest_even" in told


def test_a_function_that_truncates_is_named_and_the_status_is_1():
    status, told, err = bitquant("audit", "audit_planted:truncated", *E5M2)
    assert (status, err) == (1, "")
    assert "toward_zero" in told
    assert "the first mismatch" in told


@pytest.mark.parametrize(("dialect", "cause"), [("x86_avx512bf16", "subnormal"), ("riscv", "NaN")])
def test_a_function_is_held_against_a_dialect(dialect, cause):
    status, told, _ = bitquant("audit", "audit_planted:to_bfloat16", "--to", "bfloat16", "--dialect", dialect)
    assert status == 1
    assert f"differs from the dialect {dialect}" in told
    assert cause in told


def test_a_crash_is_told_and_the_status_is_1():
    status, told, _ = bitquant("audit", "audit_planted:crashing", *E5M2)
    assert status == 1
    assert "crashed" in told
    assert "SIGSEGV" in told


def test_a_quantizer_is_audited_by_its_codes():
    assert "identical to exact quantization" in works("audit", "audit_planted:quantize", "--quantizer")


def test_an_adapter_of_ones_own_is_audited_case_by_case(tmp_path):
    out, xml = tmp_path / "out.json", tmp_path / "out.xml"
    status, told, err = bitquant(
        "audit", "audit_planted:ADAPTER", "--to", "float8_e5m2", "--only", "[et]*", "--json", out, "--junit", xml
    )
    assert (status, err) == (1, "")
    assert "2 cases: 1 identical, 1 differs" in told
    cases = json.loads(out.read_text())["cases"]
    assert [(case["case"], case["status"]) for case in cases] == [("exact", "identical"), ("truncated", "differs")]
    assert ElementTree.parse(xml).getroot()[0].get("failures") == "1"


def test_json_on_standard_output_is_json_and_nothing_else():
    done = process("audit", "audit_planted:noisy", *E5M2, "--json", "-", env={"PYTHONPATH": _path()})
    assert json.loads(done.stdout)["cases"][0]["report"]["identical"] is True


def _path():
    import os
    import sys

    return os.pathsep.join(sys.path)


def test_the_rate_on_ones_own_numbers_is_told(tmp_path):
    np.save(tmp_path / "x.npy", np.linspace(0, 1, 1000, dtype=np.float16))
    told = bitquant("audit", "audit_planted:truncated", *E5M2, "--data", tmp_path / "x.npy")[1]
    assert "1,000" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name what to audit"),
        (("nobody",), "no adapter is called 'nobody'"),
        (("audit_planted:exact",), "say what your function gives: --to FORMAT"),
        (("audit_planted:nothing", "--to", "int8"), "audit_planted has no nothing"),
        (("audit_planted:exact", "--to", "bfloat17"), "no format is called 'bfloat17'"),
        (("audit_planted:exact", "--to", "int8", "--from", "f"), "no format is called 'f'"),
        (("audit_planted:exact", "--to", "int8", "--dialect", "mine"), "'mine'"),
        (("audit_planted:exact", "--quantizer", "--dialect", "mine"), "'mine'"),
        (("no_such_module:f", "--to", "int8"), "no_such_module cannot be imported"),
        (("audit_planted:ABSENT", "--to", "int8"), "nothing can be audited: no-such-package-as-this is not installed"),
        (("numpy", "--only", "nothing"), "numpy has no case that is called nothing"),
        (("numpy", "--inputs", "some"), "choose boundaries or exhaustive"),
        (("numpy", "--data", "no.npy"), "no.npy cannot be read"),
        (("numpy", "--limit", "0"), "limit=0"),
    ],
)
def test_errors_of_usage_are_one_line_and_status_2(arguments, words):
    assert words in fails("audit", *arguments)
