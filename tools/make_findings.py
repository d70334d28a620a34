"""Writes docs/findings.md from what ``bitquant audit all --json`` wrote: ``python tools/make_findings.py JSON...``.

Several files are put together: not every library can be installed beside every other.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from bitquant.auditing.adapters import adapters
from bitquant.auditing.runner import STATUSES, Outcome
from bitquant.auditing.suites import read

PAGE = Path(__file__).parent.parent / "docs" / "findings.md"
NOTICE = "<!-- Written by tools/make_findings.py from the results of bitquant audit all; do not edit. -->"
NAMED = 3  # rules that a table names, of those that are all one here
# The conversions that the matrix shows, by sources and targets.
SOURCES = ("float64", "float32", "float16", "bfloat16")
TARGETS = (
    *("float32", "float16", "bfloat16", "float8_e5m2", "float8_e4m3", "float8_e4m3fn", "float8_e5m2fnuz"),
    *("float8_e4m3fnuz", "float8_e8m0fnu", "float6_e3m2fn", "float6_e2m3fn", "float4_e2m1fn", "int8", "uint8"),
)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table."""
    head = list(head)
    return [
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in (head, ["---"] * len(head), *rows)
    ]


def merged(paths: Iterable[str]) -> dict[str, list[Outcome]]:
    """Outcomes by adapter, in the order of the adapters; of a library in several files the first that was asked."""
    found: dict[str, list[Outcome]] = {}
    for path in paths:
        groups = defaultdict(list)
        for outcome in read(Path(path).read_text()):
            groups[outcome.adapter].append(outcome)
        for name, group in groups.items():
            if group[0].case:
                found.setdefault(name, group)
    return {row.name: found[row.name] for row in adapters() if row.name in found}


def why(outcome: Outcome) -> str:
    """What became of a case, in a few words."""
    if outcome.status == "identical":
        return "identical"
    if not outcome.report:
        return outcome.status
    return ", ".join(outcome.report["causes"]) or fault(outcome.report["faults"][0])


def fault(text: str) -> str:
    """What goes wrong, without the numbers that it goes wrong with."""
    return text.removeprefix("it ").partition(": ")[0]


def few(names: Iterable[str]) -> str:
    """The first names of a list, and how many more there are."""
    names = list(names)
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def summary(found: dict[str, list[Outcome]]) -> list[str]:
    """How many cases of each library ended how."""
    titles = {row.name: row.title for row in adapters()}
    rows = []
    for name, group in found.items():
        counts = [sum(outcome.status == status for outcome in group) for status in STATUSES]
        named = sum(outcome.status == "differs" and bool(outcome.report["dialects"]) for outcome in group)
        versions = ", ".join(f"{package} {version}" for package, version in group[0].versions.items())
        rows.append((f"[{titles[name]}](#{name})", versions or "–", *map(str, counts), str(named)))
    return table(("library", "versions", *STATUSES, "by a known rule"), rows)


def matrix(found: dict[str, list[Outcome]]) -> list[str]:
    """Library by conversion: the plain casts from floats, nearest even."""
    cells: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name, group in found.items():
        for outcome in group:
            pair = outcome.asked.get("source", ""), outcome.asked.get("target", "")
            if outcome.asked.get("rounding", "nearest_even") in ("nearest_even", "toward_zero"):
                cells[pair].setdefault(name, why(outcome))
    pairs = [(source, target) for source in SOURCES for target in TARGETS if len(cells[source, target]) > 1]
    used = [name for name in found if any(name in cells[pair] for pair in pairs)]
    rows = (
        (f"{source} to {target}", *(cells[source, target].get(name, "") for name in used)) for source, target in pairs
    )
    return table(("conversion", *used), rows)


def grouped(group: list[Outcome]) -> dict[tuple[str, str, tuple[str, ...]], list[Outcome]]:
    """Cases that ended alike: by what they were held against, why they differ, and whose rule it is."""
    found = defaultdict(list)
    for outcome in group:
        report = outcome.report
        found[report.get("reference", ""), why(outcome), tuple(report.get("dialects", ()))].append(outcome)
    return found


def library(name: str, group: list[Outcome]) -> list[str]:
    """One library: verdicts with the cases that they are of, then a reproducer of each kind of difference."""
    verdicts = grouped(group)
    rows = (
        (words, reference or "–", few(dialects) or "–", "; ".join(outcome.case for outcome in alike))
        for (reference, words, dialects), alike in verdicts.items()
    )
    lines = ["", f"## {name}", "", *table(("verdict", "held against", "is the rule of", "cases"), rows)]
    shown = set()
    for (_, words, _), alike in verdicts.items():
        if words == "identical" or words in shown:
            continue
        shown.add(words)
        lines += difference(min(alike, key=lambda outcome: len(outcome.report.get("reproducer", ""))))
    return lines


def difference(outcome: Outcome) -> list[str]:
    """One difference: what was seen, the first input with its numbers, the promise, a script."""
    report = outcome.report
    verdict = report.get("verdict", f"{outcome.status}, {outcome.why}").removeprefix("at fault: ").rstrip(".")
    lines = ["", f"**{outcome.case}**: {verdict}.", ""]
    lines += [f"Documented: {outcome.promise or 'no rule that is known here.'}", ""]
    lines += [f"- {fault}" for fault in report.get("faults", ())[:2] if fault not in verdict]
    for example in report.get("examples", ())[:1]:
        lines += [f"- {what}: {text}" for what, text in example.items() if what != "label"]
    if report.get("reproducer"):
        lines += ["", "```python", *report["reproducer"].splitlines(), "```"]
    return lines


def page(found: dict[str, list[Outcome]]) -> str:
    """The page."""
    of = sum(map(len, found.values()))
    text = [
        "# Findings",
        "",
        NOTICE,
        "",
        f"What `bitquant audit all` found in {of:,} conversions and quantizers of {len(found)} libraries, each held",
        "against the exact conversion, or against the standard or the rules that it is documented to follow. A",
        "difference is no fault by itself: many libraries document another rule, or none. `bitquant audit NAME --full`",
        "prints the whole report of each case.",
        "",
        *summary(found),
        "",
        *(f"- *{status}*: {meaning}." for status, meaning in STATUSES.items()),
        "- *by a known rule*: of those that differ, how many agree in everything with a row of [dialects](dialects.md)",
        "  or of [quantizers](quantizers.md).",
        "",
        "## Conversions",
        "",
        "What differs, by cause, or what goes wrong where nothing could be compared; empty where the library has no",
        "such conversion, or was not asked.",
        "",
        *matrix(found),
        *(line for name, group in found.items() for line in library(name, group)),
    ]
    return "\n".join(text) + "\n"


def main() -> None:
    """Write the page."""
    if len(sys.argv) < 2:
        sys.exit("name the files that bitquant audit all --json FILE wrote")
    PAGE.write_text(page(merged(sys.argv[1:])))


if __name__ == "__main__":
    main()
