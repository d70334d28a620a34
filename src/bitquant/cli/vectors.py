"""`bitquant vectors`: golden vectors to a file or a pipe, and the judging of results in one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bitquant import vectors as golden
from bitquant.cli.show import Part, Screen
from bitquant.errors import BitquantError
from bitquant.files import check_place, replaced
from bitquant.formats import Format, format
from bitquant.rules import choose
from bitquant.vectors import Report, Vectors

_STANDARD = "-"


def write(
    source: str,
    target: str,
    layout: str | None,
    flags: bool,
    output: Path | None,
    force: bool,
    choice: dict[str, Any],
    **rules: Any,
) -> None:
    """Make vectors and write them."""
    chosen = _layout(layout, output or "")
    if output is None and chosen == "npz":
        raise BitquantError("a .npz file is no text: name the file with -o FILE")
    if output is not None:
        check_place(output, force)
    made = golden.make(source, target, **choice, **rules)
    _tell_left_out(made, "left out")
    if output is None:
        try:
            golden.write(made, sys.stdout.buffer, chosen, flags)
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # who reads has enough
            raise
        except OSError as error:
            raise BitquantError(f"standard output was not written ({error.strerror}): name a file with -o") from error
        return
    with replaced(output, force) as file:
        golden.write(made, file, chosen, flags)
    Screen().line(f"{len(made):,} vectors, {_pair(made)}, written: ", (str(output), "green"))


def check(
    name: str, source: str, target: str, layout: str | None, flags: bool, any_nan: bool, show: int, **rules: Any
) -> bool:
    """Judge the results in a file and print what differs; return whether nothing does."""
    chosen = _layout(layout, name)
    with _opened(name) as stream:
        try:
            received = golden.read(stream, format(source), format(target), chosen, flags)
        except BitquantError as error:
            raise BitquantError(f"{name}: {error}") from error
    report = golden.check(received, any_nan=any_nan, **rules)
    _tell_left_out(report.expected, "not judged")
    screen, wrong, judged = Screen(), len(report.wrong), len(report.received)
    for k in report.wrong[: max(show, 0)]:
        _show(screen, report, int(k))
    told = "" if report.received.known else ", without flags"
    if not wrong:
        screen.line(f"{judged:,} results of {_pair(received)}{told}: ", ("all as expected", "green"))
        return True
    more = f" ({show} shown)" if wrong > show else ""
    screen.line(
        f"{judged:,} results of {_pair(received)}{told}: ",
        (f"{wrong:,} differ{'s' if wrong == 1 else ''}", "bold red"),
        f"{more}, {report.outputs:,} in the output, {wrong - report.outputs:,} in flags alone",
    )
    return False


def _layout(given: str | None, name: str | Path) -> str:
    return choose("--format", golden.layout_of(name) if given is None else given, golden.LAYOUTS)


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == _STANDARD:
        yield sys.stdin.buffer
        return
    try:
        with open(name, "rb") as file:
            yield file
    except OSError as error:
        raise BitquantError(f"{name} cannot be read ({error.strerror}): give another file") from error


def _tell_left_out(made: Vectors, how: str) -> None:
    if made.nans:
        reason = "nan='raise'" if made.rules.get("nan") else f"{made.target.name} has no NaN"
        print(f"bitquant: {made.nans:,} NaN inputs are {how}, {reason}: name a rule with --nan", file=sys.stderr)
    if made.ranges:
        print(
            f"bitquant: {made.ranges:,} inputs beyond {made.target.name} are {how}, overflow='raise'", file=sys.stderr
        )


def _pair(made: Vectors) -> str:
    return f"{made.source.name} to {made.target.name}"


def _show(screen: Screen, report: Report, k: int) -> None:
    """Print one vector that differs: its input, what came and what should have come."""
    received, expected = report.received, report.expected
    rows = [
        ("input", int(received.inputs[k]), received.source, ""),
        ("received", int(received.outputs[k]), received.target, _flags(int(received.flags[k]), received.known)),
        ("expected", int(expected.outputs[k]), expected.target, _flags(int(expected.flags[k]), received.known)),
    ]
    digits = max(-(-fmt.bits // 4) for _, _, fmt, _ in rows)
    widths = [max(len(text) for text in column) for column in zip(*(_texts(*row[1:3]) for row in rows), strict=True)]
    screen.line((f"vector {int(report.places[k]) + 1}", "bold"))
    for name, code, fmt, flags in rows:
        bits, value = (text.ljust(width) for text, width in zip(_texts(code, fmt), widths, strict=True))
        parts: list[Part] = [f"  {name:8}  ", f"{code:0{-(-fmt.bits // 4)}X}".ljust(digits), "  ", bits, "  "]
        style = "red" if name == "received" else ""
        screen.line(*parts, (f"{value}  {flags}".rstrip(), style))


def _texts(code: int, fmt: Format) -> tuple[str, str]:
    """The fields of a code, and the value."""
    value = golden.values(np.array([code], fmt.code_dtype), fmt)[0]
    bits = f"{code:0{fmt.bits}b}"
    if fmt.kind != "float":
        return bits, str(value)
    cuts = [0, int(fmt.signed), fmt.bits - fmt.significand_bits, fmt.bits]
    return " ".join(bits[a:b] for a, b in pairwise(cuts) if b > a), str(value)


def _flags(raised: int, known: int) -> str:
    """The flags that are told, by name."""
    if not known:
        return ""
    names = [name for name, bit in golden.FLAGS.items() if raised & known & bit]
    return " ".join(reversed(names)) or "no flags"
