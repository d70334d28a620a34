"""Writes docs/formats.md from the table and the rules: ``python tools/make_docs.py [--check]``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import bitquant as bq
from bitquant import rules

PAGE = Path(__file__).parent.parent / "docs" / "formats.md"


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


def page() -> str:
    """The whole page."""
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
        "<!-- Written by tools/make_docs.py; do not edit. -->",
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


def main() -> None:
    """Write the page, or with --check exit with 1 where it is out of date."""
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != page():
            sys.exit("docs/formats.md is out of date: run python tools/make_docs.py")
        return
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
