"""`bitquant formats`: the table, from the rows."""

from __future__ import annotations

from typing import Any

from bitquant.cli.show import Screen, number, print_json
from bitquant.formats import Format, format, formats

_HEADS = (
    "format",
    "bits",
    "e/m/bias",
    "max",
    "smallest normal",
    "smallest subnormal",
    "epsilon",
    "decades",
    "dB",
    "finite values",
)


def run(names: list[str], as_json: bool) -> None:
    """Print the formats of those names, or all."""
    rows = [format(name) for name in names] or list(formats())
    if as_json:
        print_json([_facts(row) for row in rows])
        return
    Screen().table(_HEADS, [_cells(row) for row in rows], repeat=True)


def _facts(row: Format) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "bits": row.bits,
        "signed": row.signed,
        "exponent_bits": row.exponent_bits,
        "significand_bits": row.significand_bits,
        "bias": row.bias,
        "max": row.max,
        "min": row.min,
        "smallest_normal": row.smallest_normal,
        "smallest_subnormal": row.smallest_subnormal,
        "epsilon": row.epsilon,
        "decades": row.decades,
        "decibels": row.decibels,
        "finite_count": row.finite_count,
        "aliases": list(row.aliases),
        "source": row.source,
    }


def _cells(row: Format) -> list[Any]:
    bias = "–" if row.is_integer else row.bias
    return [
        (row.name, "cyan"),
        str(row.bits),
        f"{row.exponent_bits}/{row.significand_bits}/{bias}",
        number(row.max, 4),
        number(row.smallest_normal, 4),
        number(row.smallest_subnormal, 4),
        number(row.epsilon, 4),
        f"{row.decades:.1f}",
        f"{row.decibels:.0f}",
        f"{row.finite_count:,}" if row.finite_count < 10**10 else number(row.finite_count, 4),
    ]
