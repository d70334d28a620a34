"""Rows of an explanation, and the words for what stands in them: numbers, bits and fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from bitquant.explaining.exact import Real, decimal, hex_float, rational, scientific, sign_and_fields
from bitquant.formats import Format

__all__ = ["Part", "Row", "bit_rows", "briefly", "equals", "exactly", "row"]

_DECIMALS = 60  # digits of a decimal expansion that are written; data has all


@dataclass(frozen=True)
class Part:
    """A piece of text with its role: what it is, from which a face takes its colour."""

    text: str
    role: str = ""


@dataclass(frozen=True)
class Row:
    """A labelled line; `under` stands below it, letter by letter."""

    label: str
    parts: tuple[Part, ...]
    under: tuple[Part, ...] = ()


def row(label: str, *parts: Part | str, under: tuple[Part, ...] = ()) -> Row:
    """A line of parts; a plain text is one without a role."""
    return Row(label, tuple(Part(part) if isinstance(part, str) else part for part in parts), under)


def exactly(x: Real) -> Iterator[Row]:
    """A number exactly, in the ways that it can be written."""
    if x.kind != "finite":
        yield row("value", _words(x))
        return
    yield row("exact", ("-0" if x.negative and not x.magnitude else rational(x.value)))
    written = decimal(x.value)
    if written != rational(x.value):
        yield row("decimal", _short(written, x.value))
    hexadecimal_float = hex_float(x)
    if hexadecimal_float is not None and x.magnitude:
        yield row("hex", hexadecimal_float)


def _words(x: Real) -> str:
    return "NaN" if x.kind == "nan" else "−infinity" if x.negative else "infinity"


def _short(written: str, value: Fraction) -> str:
    """A decimal expansion, cut where it is long."""
    digits = len(written.replace(".", "").lstrip("-"))
    if digits <= _DECIMALS:
        return written
    whole = len(written.partition(".")[0].lstrip("-"))
    if whole > _DECIMALS or (abs(value) < Fraction(1, 10**12)):
        return f"{scientific(value, 17)} ({digits} digits in all)"
    return f"{written[:_DECIMALS]}… ({digits} digits in all)"


def bit_rows(code: int, fmt: Format) -> Iterator[Row]:
    """A code in its fields, each with its name."""
    if not fmt.is_float:
        name = (
            "two's complement" if fmt.is_integer and fmt.signed else "binary" if fmt.is_integer else "place in the list"
        )
        yield row("bits", Part(f"{code:0{fmt.bits}b}", "significand"), f" ({name})")
        return
    sign, exponent, stored = sign_and_fields(code, fmt)
    parts: list[Part] = []
    under: list[Part] = []
    for name, letter, value, width in (
        ("sign", "s", sign, 1),
        ("exponent", "e", exponent, fmt.exponent_bits),
        ("significand", "m", stored, fmt.significand_bits),
    ):
        if value is None or not width:
            continue
        parts += [Part(" ")] if parts else []
        under += [Part(" ")] if under else []
        parts.append(Part(f"{value:0{width}b}", name))
        under.append(Part(letter * width, name))
    yield row("bits", *parts, under=tuple(under))
    yield row("fields", *_fields(sign, exponent, stored, fmt))


def _fields(sign: int | None, exponent: int | None, stored: int, fmt: Format) -> list[Part]:
    """The fields in words."""
    magnitude = ((exponent or 0) << fmt.significand_bits) | stored
    parts = [] if sign is None else [Part(f"sign {'−' if sign else '+'}", "sign"), Part(", ")]
    if magnitude > fmt.largest_code:
        what = "infinity" if magnitude == fmt.infinity_code else "NaN"
        return [*parts, Part(what)]
    field = exponent or 0
    if field or not fmt.zero:
        parts += [Part(f"exponent {field} − {fmt.bias} = {field - fmt.bias}", "exponent"), Part(", ")]
        parts.append(
            Part(
                f"significand 1.{stored:0{fmt.significand_bits}b}" if fmt.significand_bits else "significand 1",
                "significand",
            )
        )
        return parts
    parts += [Part(f"exponent field 0: 2^{fmt.min_exponent}", "exponent"), Part(", ")]
    parts.append(Part(f"significand 0.{stored:0{fmt.significand_bits}b}" if stored else "zero", "significand"))
    return parts


def briefly(value: Fraction) -> str:
    """A rational in short, with its decimal where that ends soon."""
    written, exact = decimal(value), rational(value)
    if value.denominator == 1:
        return exact
    if len(written) <= 14 and "…" not in written:
        return written
    if len(exact) <= 14:
        return f"{exact} ≈ {scientific(value, 6)}"
    return f"≈ {scientific(value, 9)}"


def equals(value: Fraction) -> str:
    """The same after the sign that says whether it is exact."""
    written = briefly(value)
    return written if written.startswith("≈") else f"= {written}"
