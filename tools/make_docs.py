"""Writes docs/formats.md and docs/dialects.md from the rows: ``python tools/make_docs.py [--check]``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import bitquant as bq
from bitquant import rules
from bitquant.dialects import Conversion, Dialect, dialects
from bitquant.dialects.row import RULES, options

DOCS = Path(__file__).parent.parent / "docs"
NOTICE = "<!-- Written by tools/make_docs.py; do not edit. -->"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table."""
    head = list(head)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def names(title: str, meanings: Mapping[str, str]) -> list[str]:
    """A section that lists the names of one rule."""
    return [
        "",
        f"## {title}",
        "",
        *table(("name", "meaning"), ((f"`{name}`", text) for name, text in meanings.items())),
    ]


def formats_page() -> str:
    """The page of formats and rules."""
    rows = [
        (
            f"`{fmt.name}`",
            ", ".join(f"`{alias}`" for alias in fmt.aliases),
            str(fmt.bits),
            "–" if fmt.is_integer else f"{fmt.exponent_bits}/{fmt.significand_bits}/{fmt.bias}",
            f"{fmt.max:.6g}",
            f"{fmt.smallest_normal:.4g}",
            f"{fmt.smallest_subnormal:.4g}",
            f"{fmt.epsilon:.4g}",
            f"{fmt.decades:.1f}",
            f"{fmt.decibels:.0f}",
            f"{fmt.finite_count:,}",
            fmt.source,
        )
        for fmt in bq.formats()
    ]
    head = ("format", "aliases", "bits", "e/m/bias", "max", "smallest normal", "smallest positive", "epsilon")
    head += ("range, decades", "range, dB", "finite values", "source")
    text = [
        "# Formats and rules",
        "",
        NOTICE,
        "",
        *table(head, rows),
        *names("Rounding", rules.ROUNDINGS),
        "",
        "Aliases: " + ", ".join(f"`{alias}` {name}" for alias, name in rules.ROUNDING_ALIASES.items()) + ".",
        *names("Overflow", rules.OVERFLOW),
        *names("NaN", rules.NAN),
        *names("Subnormals", rules.SUBNORMALS),
        *names("Tininess", rules.TININESS),
    ]
    return "\n".join(text) + "\n"


def ticked(items: Iterable[str]) -> str:
    """Names as code, in a row."""
    return ", ".join(f"`{item}`" for item in items)


def converted(part: Conversion) -> tuple[str, ...]:
    """One row of a dialect's table; of several rules the first is the default."""
    choices = (options(getattr(part, rule)) for rule in RULES)
    cells = [ticked(names) or "–" for names in choices]
    cells[2] += "" if part.nan_codes else " *any NaN*"
    return (ticked(part.sources), ticked(part.targets), *cells, part.note)


def section(row: Dialect) -> list[str]:
    """A dialect: its conversions, what it leaves out, where it differs."""
    head = ["from", "to", *RULES, "note"]
    gaps = [
        f"- Left out: {ticked(gap.sources)} to {ticked(gap.targets)}: {gap.why}"
        + (f"; in two steps, through `{gap.through}`, it is as here." if gap.through else ".")
        for gap in row.gaps
    ]
    return [
        "",
        f"## {row.name}",
        "",
        f"{row.title}. Source: {row.source}. Checked against: {row.witness or 'nothing yet'}.",
        "",
        *table(head, (converted(part) for part in row.conversions)),
        "",
        *(f"- {note}" for note in row.notes),
        *gaps,
    ]


def dialects_page() -> str:
    """The page of dialects."""
    rows = ((f"[`{row.name}`](#{row.name})", row.title, row.witness or "–") for row in dialects())
    text = [
        "# Dialects",
        "",
        NOTICE,
        "",
        "The rules that chips, libraries and standards follow, by name: `convert(x, to, dialect=...)`. Where a row has",
        "several names for a rule the caller may choose, and the first is the default; `–`: the rule never comes up;",
        "*any NaN*: the real thing gives NaN for NaN, but not always with the code that is given here.",
        "",
        *table(("name", "whose conversions", "checked against"), rows),
        *(line for row in dialects() for line in section(row)),
    ]
    return "\n".join(text) + "\n"


PAGES = {"formats.md": formats_page, "dialects.md": dialects_page}


def main() -> None:
    """Write the pages, or with --check exit with 1 where one is out of date."""
    for name, page in PAGES.items():
        path = DOCS / name
        if "--check" not in sys.argv[1:]:
            path.write_text(page())
        elif not path.exists() or path.read_text() != page():
            sys.exit(f"docs/{name} is out of date: run python tools/make_docs.py")


if __name__ == "__main__":
    main()
