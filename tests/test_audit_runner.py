"""The runner of audits: a case that crashes, hangs or raises is told by name, and the others are audited."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from bitquant.auditing.adapters import Adapter, adapter, adapters, imported
from bitquant.auditing.runner import Outcome, Work, run
from bitquant.auditing.suites import read, to_json, to_junit
from bitquant.errors import BitquantError

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def outcomes():
    """What becomes of each planted case."""
    seen = []
    work = Work("audit_planted:ADAPTER")
    found = list(run([work], limit=25, progress=lambda *told: seen.append(told)))
    return {outcome.case: outcome for outcome in found}, seen


@pytest.mark.parametrize(
    ("case", "status", "words"),
    [
        ("exact", "identical", ""),
        ("crashing", "crashed", "SIGSEGV: about to crash"),
        ("truncated", "differs", ""),
        ("hanging", "hung", "no answer within 25 s"),
        ("raising", "differs", ""),
        ("leaving", "crashed", "status 7"),
        ("noisy", "identical", ""),
    ],
)
def test_a_defect_ends_its_own_case_alone(outcomes, case, status, words):
    found = outcomes[0][case]
    assert (found.status, found.adapter) == (status, "planted")
    assert words in found.why
    assert bool(found.report) == (status in ("identical", "differs"))


def test_a_report_crosses_the_border_whole(outcomes):
    found = outcomes[0]["truncated"]
    assert found.report["rule"]["rounding"] == ["toward_zero"]
    assert found.report["identical"] is False
    assert found.text.startswith("planted: truncated") or "truncated" in found.text
    assert "not today" in json.dumps(outcomes[0]["raising"].report["faults"])
    assert found.versions == {"numpy": np.__version__}


def test_progress_names_every_case_before_it_is_asked(outcomes):
    found, seen = outcomes
    assert [(name, case) for name, case, _, _ in seen] == [("planted", case) for case in found]
    assert [done for _, _, done, _ in seen] == list(range(len(found)))


def test_a_library_that_is_not_installed_is_told_and_nothing_is_run():
    (found,) = run([Work("audit_planted:ABSENT")])
    assert (found.status, found.case) == ("unasked", "")
    assert found.why == "no-such-package-as-this is not installed"


def test_the_time_of_a_library_ends_and_what_is_left_is_told():
    first, *rest = run([Work("audit_planted:SLOW")], limit=60, total=6)
    assert first.status == "hung"
    assert [outcome.status for outcome in rest] == ["unasked", "unasked"]
    assert "6 s of slow were up" in rest[-1].why


def test_only_the_cases_of_a_pattern_are_asked():
    assert [case.name for case in Work("audit_planted:ADAPTER", only="ex*").cases()] == ["exact"]


def test_outcomes_are_read_back_from_json(outcomes):
    found = list(outcomes[0].values())
    back = read(to_json(found))
    assert [(one.case, one.status, one.report) for one in back] == [(one.case, one.status, one.report) for one in found]


def test_junit_counts_failures_errors_and_what_was_not_asked(outcomes):
    found = [*outcomes[0].values(), Outcome("absent", "", "unasked", "it is not installed")]
    suites = {suite.get("name"): suite for suite in ElementTree.fromstring(to_junit(found))}
    planted = suites["planted"]
    assert [planted.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["7", "2", "3", "0"]
    assert suites["absent"].get("skipped") == "1"
    assert {case.get("name") for case in planted} == set(outcomes[0])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody", "no adapter is called 'nobody'; there are numpy"),
        ("audit_planted:nothing", "audit_planted has no nothing"),
        ("no_such_module:f", "no_such_module cannot be imported"),
        (":f", "give module:attribute"),
        ("audit_planted:NOT_AN_ADAPTER", "is a int"),
    ],
)
def test_what_cannot_be_audited_is_refused_by_name(name, words):
    with pytest.raises(BitquantError, match=words):
        Work(name).cases()


def test_limits_are_positive():
    with pytest.raises(BitquantError, match="limit=0"):
        next(run([], limit=0))


def test_every_adapter_lists_its_cases_without_its_library():
    blocked = "import sys\nfor name in ('torch', 'onnx', 'onnxruntime', 'gfloat', 'jax'): sys.modules[name] = None\n"
    asked = "from bitquant.auditing.adapters import adapters\nprint(sum(len(row.cases()) for row in adapters()))"
    done = subprocess.run([sys.executable, "-c", blocked + asked], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 300


@pytest.mark.parametrize("row", adapters(), ids=lambda row: row.name)
def test_the_cases_of_an_adapter_have_names_of_their_own(row):
    names = [case.name for case in row.cases()]
    assert len(set(names)) == len(names)
    assert all(isinstance(case.promise, str) for case in row.cases())
    assert isinstance(row, Adapter)
    assert adapter(row.name) is row


def test_a_path_with_dots_is_imported():
    assert imported("os:path.join") is os.path.join
