"""Reports for other programs: JSON, and the XML that JUnit's readers take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitquant.auditing.report import AuditReport

_SHOWN = 100  # mismatches that JSON lists; the counts are of all
# XML 1.0, clause 2.2: no control characters but tab, line feed and carriage return.
_NOT_IN_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32)), "�")


def data_of(report: AuditReport) -> dict[str, Any]:
    """The report as plain numbers, text, lists and dictionaries."""
    nearest = report.nearest
    return {
        "title": report.title,
        "verdict": report.verdict,
        "identical": report.identical,
        "reference": report.reference,
        "count": report.count,
        "wrong": report.wrong,
        "causes": dict(report.causes),
        "rule": {axis: list(values) for axis, values in report.rule.items()},
        "dialects": list(report.dialects),
        "nearest": nearest
        and {
            "name": nearest.name,
            "wrong": nearest.wrong,
            "axes": {axis: {"there": value, "here": list(values)} for axis, (value, values) in nearest.axes.items()},
        },
        "proved": list(report.proved),
        "faults": list(report.faults),
        "examples": [{"label": example.label, **example.facts} for example in report.examples],
        "mismatches": [
            {name: _plain(one[name]) for name in report.mismatches.dtype.names or ()}
            for one in report.mismatches[:_SHOWN]
        ],
        "reproducer": report.reproducer,
        "versions": dict(report.versions),
    }


def _plain(value: Any) -> Any:
    """Codes in hexadecimal, which no reader of JSON rounds."""
    item = value.item() if hasattr(value, "item") else value
    return hex(item) if isinstance(item, int) and item >= 0 else item if isinstance(item, (int, str)) else str(item)


def json_of(report: AuditReport, indent: int | None) -> str:
    return json.dumps(data_of(report), indent=indent, ensure_ascii=False)


def junit_of(reports: Sequence[AuditReport], name: str = "bitquant audit") -> str:
    """Reports as the test cases of one suite."""
    from xml.etree import ElementTree  # which takes longer to load than all the rest of the audit

    failures = sum(not report.identical for report in reports)
    suite = ElementTree.Element("testsuite", name=name, tests=str(len(reports)), failures=str(failures), errors="0")
    for report in reports:
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=_text(report.title))
        if not report.identical:
            failure = ElementTree.SubElement(case, "failure", type="mismatch", message=_text(report.verdict))
            failure.text = _text(str(report))
    return ElementTree.tostring(suite, encoding="unicode")


def _text(text: str) -> str:
    return text.translate(_NOT_IN_XML)


def written(text: str, path: str | Path | None) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
