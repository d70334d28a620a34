"""The page's figures for single numbers: a code's value and neighbours, and one number under every rounding."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from bitquant.errors import BitquantError
from bitquant.explaining import Explanation, explain
from bitquant.explaining.exact import Real, decimal, finite, hex_float, rational, scientific, text_of
from bitquant.explaining.reading import Given, read
from bitquant.formats import Format, format, formats
from bitquant.rules import ROUNDINGS

_ROOM = 20  # letters of a number that is shown in full
_FIRST = ("float16", "0.1")  # what the page shows first
_SEVERAL = ("float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8")


def start() -> dict[str, Any]:
    """What the page is built from: formats with their fields, roundings, and what is shown first."""
    return {
        "formats": [
            {"name": row.name, "kind": row.kind, "bits": row.bits, "source": row.source, "fields": _fields(row)}
            for row in formats()
        ],
        "roundings": [{"name": name, "what": what} for name, what in ROUNDINGS.items()],
        "first": {"format": _FIRST[0], "text": _FIRST[1], "formats": list(_SEVERAL)},
    }


def _fields(fmt: Format) -> list[dict[str, Any]]:
    """The fields of a code from the top bit down."""
    parts = [("sign", int(fmt.signed)), ("exponent", fmt.exponent_bits), ("significand", fmt.significand_bits)]
    if not fmt.is_float:
        parts = [("sign", int(fmt.signed)), ("integer" if fmt.is_integer else "index", fmt.significand_bits)]
    return [{"name": name, "bits": width} for name, width in parts if width]


def code(format: str, bits: str) -> dict[str, Any]:
    """Everything about one code, given by its bits from the top down."""
    fmt = _format(format)
    if len(bits) != fmt.bits or set(bits) - {"0", "1"}:
        raise BitquantError(f"a code of {fmt.name} is {fmt.bits} binary digits, not {bits[:70]!r}")
    return _told(int(bits, 2), fmt)


def find(format: str, text: str) -> dict[str, Any]:
    """The code that a typed number is rounded to, to nearest even; bits are a code of the format itself."""
    fmt = _format(format)
    return _told(explain(read(text, None, fmt), fmt).code, fmt)


def _told(number: int, fmt: Format) -> dict[str, Any]:
    found = explain(f"0x{number:X}", fmt, source=fmt)
    real = found.given.real
    around = found.around if real.kind != "nan" else None
    bits = f"{number:0{fmt.bits}b}"
    unit = _spacing(found)
    answer = {
        "format": fmt.name,
        "bits": bits,
        "code": _hexadecimal(number, fmt),
        "fields": [{**part, "value": str(int(bits[start:stop], 2))} for part, start, stop in _cut(fmt)],
        "class": _class(number, real, fmt),
        "value": _short(real, fmt),
        "exact": None if real.kind != "finite" else "-0" if _negative_zero(real) else decimal(real.value),
        "rational": None if real.kind != "finite" else rational(real.value),
        "hex": hex_float(real),
        "spacing": None if unit is None else _short(finite(unit), fmt),
        "below": None,
        "above": None,
        "interval": _interval(found),
        "line": None if unit is None else _line(found, unit),
    }
    for name, place in (("below", 0), ("above", 1)):
        if around is not None and around[place].real != real:
            answer[name] = _code_and_value(around[place].code, around[place].real, fmt)
    return answer


def _cut(fmt: Format) -> list[tuple[dict[str, Any], int, int]]:
    """The fields, and where each starts and stops in the bits."""
    found, start = [], 0
    for part in _fields(fmt):
        found.append((part, start, start + part["bits"]))
        start += part["bits"]
    return found


def _class(number: int, real: Real, fmt: Format) -> str:
    """What kind of number a code stands for."""
    if real.kind == "nan":
        quiet = fmt.nan != "ieee" or number >> (fmt.significand_bits - 1) & 1
        return "quiet NaN" if quiet else "signalling NaN"
    if real.kind == "infinity":
        return "infinity"
    if real.magnitude == 0:
        return "zero"
    if fmt.is_float and real.magnitude < Fraction(fmt.smallest_normal):
        return "subnormal"
    return "normal" if fmt.is_float else fmt.kind


def _negative_zero(real: Real) -> bool:
    return real.negative and real.magnitude == 0


def _spacing(found: Explanation) -> Fraction | None:
    """The distance to the next number away from zero; at zero, to the smallest. None for infinity and NaN."""
    if found.given.real.kind != "finite":
        return None
    if found.rounding is not None and found.rounding.unit:
        return found.rounding.unit
    assert found.around is not None
    return max((near.real.value for near in found.around if near.real.kind == "finite"), default=None)


def _interval(found: Explanation) -> dict[str, Any] | None:
    """The real numbers that are rounded to a code, to nearest even."""
    ends = found.interval
    if ends is None:
        return None
    low, high = (_end(end, found.target) for end in (ends.low, ends.high))
    text = f"{'[' if ends.low_closed else '('}{low}, {high}{']' if ends.high_closed else ')'}"
    words = [f"{end}, {'included' if closed else 'not included'}" for end, closed in
             ((low, ends.low_closed), (high, ends.high_closed))]  # fmt: skip
    return {"text": text, "words": f"from {words[0]}, to {words[1]}"}


def _digits(fmt: Format) -> int:
    """How many decimal digits tell all numbers of a format apart (Matula 1968), and at least six."""
    return max(6, 2 + math.floor(fmt.precision * math.log10(2)))


def _short(real: Real, fmt: Format, more: int = 0) -> str:
    """A number exactly, where that is short; else in as many digits as tell the numbers of its format apart."""
    if real.kind == "finite" and not _negative_zero(real) and len(decimal(real.value)) <= _ROOM:
        return decimal(real.value)
    return text_of(real, _digits(fmt) + more)


def _end(end: Real, fmt: Format) -> str:
    """An end of an interval, which has one bit more than a number; marked where its digits are cut."""
    text = _short(end, fmt, 3)
    return text if end.kind == "infinity" or Fraction(text) == end.value else f"≈ {text}"


def _line(found: Explanation, unit: Fraction) -> dict[str, Any] | None:
    """Where a number, its neighbours and its interval lie on a line, from 0 to 1."""
    value = found.given.real.value
    assert found.around is not None
    ends = [near.real.value if near.real.kind == "finite" else value + side * unit
            for near, side in zip(found.around, (-1, 1), strict=True)]  # fmt: skip
    low, high = min(ends[0], value - unit / 4), max(ends[1], value + unit / 4)

    def place(real: Real) -> float:
        if real.kind == "infinity":
            return 0.0 if real.negative else 1.0
        return float(min(max((real.value - low) / (high - low), Fraction(0)), Fraction(1)))

    marks = [("this", found.given.real)]
    marks += [(name, near.real) for name, near in zip(("below", "above"), found.around, strict=True)
              if near.real.kind == "finite" and near.real.value != value]  # fmt: skip
    interval = None if found.interval is None else [place(found.interval.low), place(found.interval.high)]
    return {"marks": [{"name": name, "at": place(real)} for name, real in marks], "interval": interval}


def rounded(text: str, formats: list[str], source: str) -> dict[str, Any]:
    """One number, typed in any notation, in some formats under every rounding; bits are a code of `source`."""
    given = read(text, None, _format(source))
    real = given.real
    known = real.kind == "finite"
    rows = []
    for fmt in [_format(name) for name in formats]:
        cells = [_cell(given, fmt, rounding) for rounding in ROUNDINGS]
        rows.append({"format": fmt.name, "same": len({cell.get("code") for cell in cells}) == 1, "cells": cells})
    return {
        "text": given.text,
        "source": None if given.source is None else given.source.name,
        "value": text_of(real, _ROOM),
        "exact": None if not known else "-0" if _negative_zero(real) else decimal(real.value),
        "rational": rational(real.value) if known else None,
        "hex": hex_float(real),
        "rows": rows,
    }


def _cell(given: Given, fmt: Format, rounding: Any) -> dict[str, Any]:
    try:
        found = explain(given, fmt, rounding=rounding)
    except BitquantError as error:
        return {"rounding": rounding, "refused": str(error)}
    off = None if found.error is None else found.error.absolute
    ulps = None if found.error is None else found.error.ulps
    way = "" if off is None else "exact" if off == 0 else "up" if off > 0 else "down"
    return {
        "rounding": rounding,
        **_code_and_value(found.code, found.result, fmt),
        "way": way,
        "error": scientific(off, 3) if off else None,
        "ulps": scientific(ulps, 3) if ulps else None,
        "flags": list(found.flags),
    }


def _code_and_value(number: int, real: Real, fmt: Format) -> dict[str, Any]:
    return {"code": _hexadecimal(number, fmt), "bits": f"{number:0{fmt.bits}b}", "value": _short(real, fmt)}


def _hexadecimal(number: int, fmt: Format) -> str:
    return f"0x{number:0{-(-fmt.bits // 4)}X}"


def _format(name: str) -> Format:
    return format(name)


__all__ = ["code", "find", "rounded", "start"]
