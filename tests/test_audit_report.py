"""The report of an audit: exact numbers, what it shows as text, HTML, JSON and JUnit XML, and a script that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from xml.etree import ElementTree

import numpy as np
import pytest

import bitquant as bq
import reference
from bitquant.auditing import audit
from bitquant.auditing.candidate import CandidateError
from bitquant.auditing.telling import bits, exact, said

TIE = 0x3F801000  # 1 + 2^-11: between 1 and 1 + 2^-10 of float16


def tie_up(x):
    """To nearest, but every tie goes up."""
    return bq.encode(x, "float16", rounding="nearest_away")


@pytest.fixture(scope="module")
def report():
    inputs = np.array([TIE, 0x3F803000, 0x3F800000], np.uint32).view(np.float32)
    return audit(tie_up, "float32", "float16", inputs, name="tie_up", versions={"mine": "1.2"})


def test_a_mismatch_is_told_exactly(report):
    (first,) = report.examples
    assert first.label == "first"
    assert first.facts["input"] == "0x3f801000 (0|01111111|00000000001000000000000) in float32"
    assert first.facts["value"] == "2049/2048 ≈ 1.00048828"
    assert first.facts["lies between"].startswith("1, 0x3c00 (0|01111|0000000000), and 1025/1024")
    assert first.facts["to the middle"] == "a tie: it is the middle"
    assert first.facts["expected"] == "0x3c00 (0|01111|0000000000) = 1"
    assert first.facts["received"] == "0x3c01 (0|01111|0000000001) = 1025/1024 ≈ 1.00097656"
    assert first.facts["errors"] == "expected 1/2 ≈ 0.5 ulp, received 1/2 ≈ 0.5 ulp"
    assert first.facts["correctly rounded"] == "expected, by nearest_even"
    assert first.facts["cause"] == "tie"


def test_the_mismatches_are_an_array(report):
    assert report.mismatches.dtype.names == ("input", "expected", "received", "cause")
    assert report.mismatches.tolist() == [(TIE, 0x3C00, 0x3C01, "tie")]
    assert (report.count, report.wrong, report.causes) == (3, 1, {"tie": 1})
    assert report.exit_code == 1


def test_the_worst_is_shown_beside_the_first():
    def candidate(x):
        code = tie_up(x).copy()
        code[x == 2] = 0x7000
        return code

    report = audit(candidate, "float32", "float16", np.array([1 + 2.0**-11, 2], np.float32))
    assert [example.label for example in report.examples] == ["first", "worst"]
    assert report.examples[1].facts["received"].startswith("0x7000")


def test_a_reference_that_flushes_is_not_called_right():
    flushing = {"dialect": "x86_avx512bf16"}
    report = audit(lambda x: bq.encode(x, "bfloat16"), "float32", "bfloat16", **flushing)
    assert report.examples[0].facts["correctly rounded"] == "received, by nearest_even"
    assert report.verdict.startswith("differs from the dialect x86_avx512bf16 on")


def test_the_verdict_names_a_dialect_that_matches():
    report = audit(lambda x: bq.encode(x, "float8_e4m3fn", dialect="torch"), "float16", "float8_e4m3fn")
    assert report.verdict.endswith("for overflow; identical to ocp_sat")


def test_text_has_verdict_rule_causes_and_versions(report):
    text = str(report)
    assert text.splitlines()[0].startswith(
        "tie_up: differs from the exact conversion (nearest_even, overflow ieee) on 1 of 3"
    )
    for part in ("rounding", "mismatches by cause", "the first mismatch", "sampled", "mine 1.2", "to reproduce"):
        assert part in text


def test_html_holds_the_same_and_escapes(report):
    html = report._repr_html_()
    assert "tie: it is the middle" in html
    named = audit(tie_up, "float32", "float16", np.float32([1]), name="<b>")
    assert "&lt;b&gt;" in named._repr_html_()


def test_json_can_be_read_back(report, tmp_path):
    path = tmp_path / "report.json"
    data = json.loads(report.to_json(path))
    assert json.loads(path.read_text(encoding="utf-8")) == data
    assert data["identical"] is False
    assert data["mismatches"] == [{"input": hex(TIE), "expected": "0x3c00", "received": "0x3c01", "cause": "tie"}]
    assert set(data["rule"]) == set(report.rule)
    assert data["versions"]["mine"] == "1.2"


def test_junit_has_a_failure_or_none(report, tmp_path):
    suite = ElementTree.fromstring(report.to_junit(tmp_path / "report.xml"))
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    assert "tie: it is the middle" in (suite.find("testcase/failure").text or "")
    right = audit(lambda x: bq.encode(x, "float16"), "bfloat16", "float16")
    suite = ElementTree.fromstring(right.to_junit())
    assert suite.get("failures") == "0"
    assert suite.find("testcase/failure") is None


def test_junit_survives_control_characters():
    def candidate(x):
        raise ValueError("\x00\x1b")

    report = audit(candidate, "float32", "float16")
    ElementTree.fromstring(report.to_junit())


def test_the_script_runs_without_bitquant(tmp_path):
    call = {"setup": "import ml_dtypes", "call": "x.astype(np.float16)"}
    report = audit(
        lambda x: x.astype(np.float16), "float32", "float16", np.uint32([TIE]), rounding="nearest_away", **call
    )
    assert "bitquant" not in report.reproducer
    found = subprocess.run([sys.executable, "-c", report.reproducer], capture_output=True, text=True, check=True)
    assert found.stdout == "1.00048828125 gave 0x3c00; exact is 0x3c01\n"


def test_the_script_names_a_function_that_can_be_imported():
    report = audit(tie_up, "float32", "float16", np.uint32([TIE]))
    assert f"from {tie_up.__module__} import tie_up" in report.reproducer
    assert "y = np.asarray(tie_up(x)).view(np.uint16)" in report.reproducer


@pytest.mark.parametrize(
    "name", ["float16", "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e8m0fnu", "int8", "nf4"]
)
def test_values_are_exact(name):
    fmt, other = bq.format(name), reference.FORMATS[name]
    for code in range(0, len(fmt.values) or 2**fmt.bits, 7 if fmt.bits > 8 else 1):
        found, right = exact(code, fmt), reference.decode(code, other)
        if isinstance(found, Fraction):
            size = Fraction(right.numerator, right.denominator)
            assert (right.kind, found) == ("finite", -size if right.sign else size)
        else:
            names = {"nan": "NaN", "infinity": "−" * right.sign + "infinity", "finite": "−0"}
            assert found == names[right.kind]


def test_long_rationals_are_written_with_a_power_of_two():
    assert said(Fraction(3, 2**200)) == "3 · 2^-200 ≈ 1.86690458e-60"
    assert said(Fraction(-3) * 2**200) == "-3 · 2^200 ≈ -4.82081413e+60"
    assert said(Fraction(1, 3 * 1)) == "1/3 ≈ 0.333333333"
    assert said("NaN") == "NaN"
    assert bits(0xBC00, bq.FP16) == "0xbc00 (1|01111|0000000000)"
    assert bits(0x81, bq.INT8) == "0x81"


def chopped(x):
    """Simulated rounding to E5M2, of which an adapter would take the codes."""
    if np.any(x == 61440):
        raise CandidateError("it gives numbers that the format does not have")
    return bq.encode(x, "float8_e5m2")


def test_the_script_of_simulated_rounding_tells_numbers():
    call = {"call": "x.astype(np.float16)", "numbers": True}
    report = audit(lambda x: bq.encode(x, "float8_e5m2", rounding="toward_zero"), "float32", "float8_e5m2", **call)
    input_, expected, received = (int(report.mismatches[0][name]) for name in ("input", "expected", "received"))
    value = np.uint32(input_).view(np.float32)
    right, given = bq.decode(np.uint8([expected, received]), "float8_e5m2", np.float64)
    assert printed(report.reproducer.replace("x.astype(np.float16)", repr([float(given)]))) == [
        f"{value} gave {float(given)!r}; exact is {float(right)!r}"
    ]


def test_the_script_of_a_refusal_has_the_number_that_is_refused():
    call = {"call": "x * np.float32(65536 / 61440)", "numbers": True}
    report = audit(chopped, "float32", "float8_e5m2", **call)
    assert report.faults == ("it gives numbers that the format does not have",)
    assert printed(report.reproducer) == ["61440.0 gave 65536.0; exact is inf"]


def test_the_script_names_the_dialect_that_decides():
    report = audit(tie_up, "float32", "float16", np.uint32([TIE]), dialect="numpy")
    assert printed(report.reproducer) == ["1.00048828125 gave 0x3c01; the dialect numpy gives 0x3c00"]


def printed(script):
    told = []
    exec(script, {"print": told.append})
    return told
