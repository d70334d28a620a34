"""A report as text and as HTML that takes the colours of its page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from bitquant.auditing.report import AuditReport

Row: TypeAlias = tuple[str, str]
Section: TypeAlias = tuple[str, list[Row]]

_LEFT = "text-align:left;vertical-align:top"
_LISTED = 6  # dialects named in a line, before the rest are counted


def _listed(values: tuple[str, ...]) -> str:
    more = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return ", ".join(values[:_LISTED]) + more


def survivors(values: tuple[str, ...]) -> str:
    """The values of an axis that survive, and what their number means."""
    if not values:
        return "none of the rules known here"
    if len(values) == 1:
        return values[0]
    return f"{' or '.join(values)} (the inputs do not tell them apart)"


def sections(report: AuditReport) -> list[Section]:
    """A report as titles with rows of name and text."""
    found: list[Section] = []
    if report.faults:
        found.append(("faults", [("", fault) for fault in report.faults]))
    if report.rule:
        found.append(("rule", [(axis, survivors(values)) for axis, values in report.rule.items()]))
    named = [("identical to", _listed(report.dialects))] if report.dialects else []
    if report.nearest is not None:
        named.append(("nearest", f"{report.nearest.name}, which differs on {report.nearest.wrong:,} inputs"))
        named += [
            (f"  {axis}", f"{value} there, here {survivors(values)}")
            for axis, (value, values) in report.nearest.axes.items()
        ]
    if named:
        found.append(("dialects", named))
    if report.causes:
        ordered = sorted(report.causes.items(), key=lambda item: -item[1])
        found.append(("mismatches by cause", [(cause, f"{count:,}") for cause, count in ordered]))
    found += [(f"the {example.label} mismatch", list(example.facts.items())) for example in report.examples]
    found.append(("how sure", [("", sentence) for sentence in report.proved]))
    if report.versions:
        found.append(("versions", [("", ", ".join(f"{name} {text}" for name, text in report.versions.items()))]))
    return found


def text_of(report: AuditReport) -> str:
    """The report in lines."""
    lines = [f"{report.title}: {report.verdict}"]
    for title, rows in sections(report):
        width = max((len(name) for name, _ in rows), default=0)
        lines += ["", title, *(f"  {name.ljust(width)}{'  ' * bool(width)}{text}" for name, text in rows)]
    if report.reproducer:
        lines += ["", "to reproduce", *(f"  {line}".rstrip() for line in report.reproducer.splitlines())]
    return "\n".join(lines)


def html_of(report: AuditReport) -> str:
    """The report as a fragment of HTML."""
    parts = [f"<p><b>{escape(report.title)}</b>: {escape(report.verdict)}</p>"]
    for title, rows in sections(report):
        cells = "".join(
            f"<tr><th scope='row' style='{_LEFT};font-weight:normal'>{escape(name)}</th>"
            f"<td style='{_LEFT}'>{escape(text)}</td></tr>"
            for name, text in rows
        )
        caption = f"<caption style='{_LEFT};font-weight:bold;padding-top:1em'>{escape(title)}</caption>"
        parts.append(f"<table>{caption}{cells}</table>")
    if report.reproducer:
        parts.append(f"<details><summary>to reproduce</summary><pre>{escape(report.reproducer)}</pre></details>")
    return f"<div>{''.join(parts)}</div>"
