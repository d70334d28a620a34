"""`bitquant dialects`: whose rules there are, from the rows; and single ones with all there is to say of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bitquant.cli.show import Screen, print_json
from bitquant.dialects import Conversion, Dialect, dialects
from bitquant.dialects.quantizers import Quantizer, quantizers
from bitquant.dialects.row import options
from bitquant.errors import BitquantError


def run(names: list[str], as_json: bool) -> None:
    """Print the table, or the dialects of those names in detail."""
    rows: list[Dialect | Quantizer] = [*quantizers(), *dialects()]
    if names:
        asked = [name.lower() for name in names]
        known = {row.name for row in rows}
        for name in asked:
            if name not in known:
                raise BitquantError(f"no dialect is called {name!r}: bitquant dialects lists them")
        rows = [row for name in asked for row in rows if row.name == name]
    if as_json:
        print_json([{"of": _kind(row), **asdict(row)} for row in rows])
        return
    screen = Screen()
    if not names:
        width = max(len(row.name) for row in rows)
        for row in rows:
            screen.line((row.name.ljust(width), "cyan"), f"  {_kind(row)}  {row.title}")
        screen.note(
            "All of one: bitquant dialects NAME. Used by quantize(x, dialect=NAME) and convert(x, to, dialect=NAME)."
        )
        return
    for k, row in enumerate(rows):
        if k:
            screen.line("")
        screen.line((row.name, "bold cyan"), f"  {_kind(row)}: {row.title}")
        for what, text in [*_facts(row), ("source", row.source), ("checked against", row.witness or "–")]:
            screen.entry(what, text)
        for note in row.notes:
            screen.entry("note", note)


def _kind(row: Dialect | Quantizer) -> str:
    return "quantize" if isinstance(row, Quantizer) else "convert"


def _facts(row: Dialect | Quantizer) -> list[tuple[str, Any]]:
    """What a row says, by its own words."""
    if isinstance(row, Dialect):
        return [("to", f"{', '.join(part.targets)} {_way(part)}") for part in row.conversions]
    return [
        *[(scheme, text) for scheme in ("symmetric", "asymmetric") for text in row.parameters(scheme)],
        *[("given", text) for text in row.given],
        ("code", row.codes),
        ("value", row.values),
        ("numbers", f"{', '.join(row.inputs)}; precision {row.precision}, step {row.step_format}"),
        ("codes", f"{', '.join(map(str, row.bits))} bits, {' or '.join(_signs(row))}; zero point {row.zero_point}"),
    ]


def _way(part: Conversion) -> str:
    """From what, and how rounded, numbers come to the formats that are named beside it."""
    return f"from {', '.join(part.sources)}: {' or '.join(options(part.rounding)) or 'exact'}"


def _signs(row: Quantizer) -> list[str]:
    return ["signed" if each else "unsigned" for each in row.signed]
