"""`bitquant explain`: one number and its way into formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bitquant.cli.show import Screen, print_json
from bitquant.errors import BitquantError
from bitquant.explaining import Explanation
from bitquant.explaining import explain as explain_one
from bitquant.explaining.exact import text_of
from bitquant.explaining.explanation import hexadecimal
from bitquant.explaining.front import block_format_of
from bitquant.explaining.reading import exact_number
from bitquant.explaining.text import lines
from bitquant.formats import format
from bitquant.rules import Stochastic

_STYLES = {
    "title": "bold",
    "heading": "bold underline",
    "label": "dim",
    "sign": "red",
    "exponent": "blue",
    "significand": "green",
    "kept": "green",
    "guard": "bold red",
    "round": "bold blue",
    "sticky": "magenta",
    "strong": "bold",
    "good": "green",
    "warn": "bold red",
}


def rounding(name: str | None, bits: int, seed: int, random: int | None) -> str | Stochastic | None:
    """A rounding by its name; stochastic with its bits and seed, or its random integer."""
    return Stochastic(bits, seed, random=random) if name == "stochastic" else name


def run(
    numbers: list[str],
    to: list[str],
    rules: dict[str, Any],
    scheme: dict[str, Any],
    block: dict[str, Any],
    compare: list[str],
    as_json: bool,
    html: Path | None,
    force: bool,
) -> None:
    """Explain every number in every format, and print it, or write it."""
    if not to and rules["via"] is None:
        raise BitquantError("say what the number becomes: --to fp16, or --path fp64,fp32,bf16")
    to = to or [rules["via"].split(",")[-1]]
    found = [one.compare(*compare) for name in to for one in _explain(numbers, name, rules, scheme, block)]
    if any(value is not None for value in scheme.values()) and not any(one.mapping for one in found):
        raise BitquantError("a scheme maps to integers: name one of 2 to 8 bits with --to, such as int8")
    if html is not None:
        from bitquant.explaining.html import page, save

        save(html, page(found), force)
        return
    if as_json:
        data = [one.to_dict() for one in found]
        print_json(data[0] if len(data) == 1 else data)
        return
    screen = Screen()
    if len(found) > 1:
        _summary(screen, found)
    for k, one in enumerate(found):
        if k or len(found) > 1:
            screen.line("")
            screen.line(("─" * min(screen.width or 80, 80), "dim"))
        for line in lines(one, screen.width or 80):
            screen.line(*((part.text, _STYLES.get(part.role, "")) for part in line))


def _explain(
    numbers: list[str], name: str, rules: dict[str, Any], scheme: dict[str, Any], block: dict[str, Any]
) -> list[Explanation]:
    """The explanations of the numbers in one format."""
    if block_format_of(name) is not None:
        values = np.array([_double(number) for number in numbers])
        element = block["element"]
        wanted = range(len(numbers)) if element is None else [element]
        options = {"rounding": rules["rounding"], "scale_rule": block["scale_rule"]}
        return [explain_one(values, name, element=one, **options) for one in wanted]
    target = format(name)
    given = {key: value for key, value in rules.items() if value is not None}
    mapped = target.is_integer and target.bits <= 8 and any(value is not None for value in scheme.values())
    if mapped:
        given = {key: value for key, value in given.items() if key in ("source", "rounding")} | scheme
    elif "via" in given:
        steps = [step.strip() for step in given["via"].split(",")]
        last = format(steps[-1]) is target  # the path may name the target, too
        given["via"] = steps[: len(steps) - last]
    return [explain_one(number, target, **given) for number in numbers]


def _double(number: str) -> float:
    """A number of a block: these come as float64."""
    exact = exact_number(number, "a block's number")
    double = explain_one(exact, "float64").result
    if double.kind != "finite":
        raise BitquantError(f"{number} is beyond float64, in which the numbers of a block are given")
    return float(double.value)


def _summary(screen: Screen, found: list[Explanation]) -> None:
    """All results in a table."""
    rows = []
    for one in found:
        ulps = "" if one.error is None or one.error.ulps is None else f"{float(one.error.ulps):.3g}"
        name = one.target.name if one.block is None else one.block.format.name
        rows.append([one.given.text, name, hexadecimal(one), text_of(one.result), ulps, " ".join(one.flags)])
    screen.table(("number", "format", "code", "value", "error/ulp", "flags"), rows)
