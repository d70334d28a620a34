"""`bitquant formats`: the table, from the rows; and single formats with all there is to say of them."""

from __future__ import annotations

import math
from typing import Any

from bitquant.cli.show import Screen, number, print_json
from bitquant.formats import Format, format, formats
from bitquant.permitted import nan_rules, overflow_rules

_HEADS = ("format", "bits", "e/m/bias", "max", "smallest", "epsilon", "decades")  # with the rows' widths 80 columns


def run(names: list[str], as_json: bool) -> None:
    """Print the table, or the formats of those names in detail."""
    rows = [format(name) for name in names] or list(formats())
    if as_json:
        print_json([_facts(row) for row in rows])
        return
    screen = Screen()
    if names:
        for k, row in enumerate(rows):
            if k:
                screen.line("")
            _describe(screen, row)
        return
    screen.table(_HEADS, [_cells(row) for row in rows], repeat=True)
    screen.note(
        "All of one: bitquant formats NAME. NAME may also be one of P3109's (binary8p3se), or custom: e5m3 with 5 "
        'exponent and 3 significand bits, e5m3b12 with bias 12, "exmy(5, 3, nan=None)" with more to choose.'
    )


def _facts(row: Format) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "bits": row.bits,
        "signed": row.signed,
        "exponent_bits": row.exponent_bits,
        "significand_bits": row.significand_bits,
        "bias": row.bias,
        "infinity": row.infinity,
        "nan": row.nan,
        "zero": row.zero,
        "signed_zero": row.signed_zero,
        "ties": row.ties,
        "max": row.max,
        "min": row.min,
        "smallest_normal": row.smallest_normal,
        "smallest_subnormal": row.smallest_subnormal,
        "epsilon": row.epsilon,
        "decades": row.decades,
        "decibels": row.decibels,
        "finite_count": row.finite_count,
        "largest_code": row.largest_code,
        "infinity_code": row.infinity_code,
        "nan_code": row.nan_code,
        "values": list(row.values),
        "dtype": None if row.dtype is None else row.dtype.name,
        "code_dtype": row.code_dtype.name,
        "overflow": list(overflow_rules(row)),
        "nan_rules": list(nan_rules(row)),
        "aliases": list(row.aliases),
        "source": row.source,
    }


def _cells(row: Format) -> list[Any]:
    return [
        (row.name, "cyan"),
        str(row.bits),
        f"{row.exponent_bits}/{row.significand_bits}/{row.bias}" if row.is_float else "–",
        number(row.max, 4),
        _known(row.smallest_subnormal),
        _known(row.epsilon),
        "–" if math.isnan(row.decades) else f"{row.decades:.1f}",
    ]


def _describe(screen: Screen, row: Format) -> None:
    """Print one format."""
    screen.line((row.name, "bold cyan"), f"  also {', '.join(row.aliases)}" if row.aliases else "")
    for what, text in _lines(row):
        screen.entry(what, text)


def _lines(row: Format) -> list[tuple[str, str]]:
    lines = [
        ("bits", _layout(row)),
        ("values", f"{row.finite_count:,}, from {number(row.min, 9)} to {number(row.max, 9)}"),
    ]
    if row.kind == "codebook":
        lines.append(("", " ".join(f"{value:.7g}" for value in row.values[:64]) + " …" * (len(row.values) > 64)))
    if row.is_float:
        lines += [
            ("smallest normal", _power(row.smallest_normal)),
            ("smallest positive", _power(row.smallest_subnormal)),
            ("epsilon", _power(row.epsilon)),
        ]
    if not math.isnan(row.decades):
        lines.append(("range", f"{row.decades:.1f} decades, {row.decibels:.0f} dB"))
    if row.is_float:
        lines += [
            ("zero", ("+0 and −0" if row.signed_zero else "one") if row.zero else "none"),
            ("infinity", _infinity(row)),
            ("NaN", _nan(row)),
        ]
    return [
        *lines,
        ("arrays", f"of {row.dtype}" if row.dtype is not None else f"of {row.code_dtype}, as codes"),
        ("overflow rules", ", ".join(overflow_rules(row))),
        ("NaN rules", ", ".join(nan_rules(row))),
        ("source", row.source),
    ]


def _layout(row: Format) -> str:
    if row.kind == "codebook":
        return f"{row.bits}, the place of a value among {len(row.values)}"
    if row.is_integer:
        return f"{row.bits}, {row.source.partition(',')[0]}"
    sign = "sign, " if row.signed else "no sign, "
    return f"{row.bits}: {sign}{row.exponent_bits} exponent (bias {row.bias}), {row.significand_bits} significand"


def _infinity(row: Format) -> str:
    if row.infinity_code is None:
        return "none"
    codes = [row.infinity_code] + [row.infinity_code | 1 << row.magnitude_bits] * row.signed
    return " and ".join(_hexadecimal(code, row) for code in codes)


def _nan(row: Format) -> str:
    if row.nan_code is None:
        return "none"
    if row.nan == "ieee":
        return f"exponent all ones, significand not 0; without payload {_hexadecimal(row.nan_code, row)}"
    if row.nan == "negative_zero":
        return f"{_hexadecimal(row.nan_code, row)}, which would be −0"
    codes = [row.nan_code] + [row.nan_code | 1 << row.magnitude_bits] * row.signed
    return " and ".join(_hexadecimal(code, row) for code in codes)


def _hexadecimal(code: int, row: Format) -> str:
    return f"{code:0{-(-row.bits // 4)}X}"


def _power(x: float) -> str:
    """A power of two, both ways."""
    return f"{number(x, 6)} = 2^{math.frexp(x)[1] - 1}"


def _known(x: float) -> str:
    return "–" if math.isnan(x) else number(x, 4)
