"""Outcomes of many audits for other programs: one JSON document, one JUnit document."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from typing import Any
from xml.etree import ElementTree

from bitquant._version import __version__
from bitquant.auditing.runner import Outcome

__all__ = ["read", "to_json", "to_junit"]


def to_json(outcomes: Iterable[Outcome]) -> str:
    """All that is known of each case, as JSON."""
    document = {"bitquant": __version__, "cases": [outcome.facts() for outcome in outcomes]}
    return json.dumps(document, indent=1, ensure_ascii=False)


def read(text: str) -> list[Outcome]:
    """Outcomes from what `to_json` wrote.

    Examples
    --------
    >>> from bitquant.auditing.runner import Outcome
    >>> from bitquant.auditing.suites import read, to_json
    >>> outcome = Outcome("numpy", "float32 to float16", "hung", "no answer within 60 s")
    >>> read(to_json([outcome])) == [outcome]
    True
    """
    return [Outcome(**case) for case in json.loads(text)["cases"]]


def to_junit(outcomes: Iterable[Outcome]) -> str:
    """A suite for each library: what differs has failed, what crashed or hung is an error, what was not asked skipped.

    Examples
    --------
    >>> from bitquant.auditing.runner import Outcome
    >>> from bitquant.auditing.suites import to_junit
    >>> "<error" in to_junit([Outcome("numpy", "float32 to float16", "hung", "no answer within 60 s")])
    True
    """
    root = ElementTree.Element("testsuites")
    for name, group in groupby(outcomes, key=lambda outcome: outcome.adapter):
        suite = ElementTree.SubElement(root, "testsuite", name=name)
        counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
        for outcome in group:
            case = _case(outcome)
            suite.append(case)
            counts["tests"] += 1
            for what, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
                counts[what] += case.find(tag) is not None
        for what, count in counts.items():
            suite.set(what, str(count))
    return ElementTree.tostring(root, encoding="unicode")


def _case(outcome: Outcome) -> Any:
    case = None
    if outcome.junit:
        found = ElementTree.fromstring(outcome.junit)  # of our own making
        case = found if found.tag == "testcase" else found.find(".//testcase")
    if case is None:
        case = ElementTree.Element("testcase")
        if outcome.status == "unasked":
            ElementTree.SubElement(case, "skipped", message=outcome.why)
        else:
            ElementTree.SubElement(case, "error", type=outcome.status, message=outcome.why)
    case.set("classname", outcome.adapter)
    case.set("name", outcome.case or outcome.adapter)
    case.set("time", f"{outcome.seconds:.3f}")
    return case
