"""What is printed, and how: lines and tables for a terminal of any width, for a pipe, and as JSON."""

from __future__ import annotations

import json
import math
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from rich.console import Console
from rich.text import Text

_NAME = 20  # columns that a name has at least
Part: TypeAlias = str | tuple[str, str]  # a text, or a text and its style
_PLAIN = str.maketrans(
    {
        "×": "x",
        "→": "->",
        "·": "*",
        "−": "-",
        "–": "-",
        "≤": "<=",
        "≥": ">=",
        "≈": "~",
        "⌊": "floor(",
        "⌋": ")",
        "⌈": "ceil(",
        "⌉": ")",
        "…": "...",
        "±": "+/-",
        "√": "sqrt",
        "σ": "sigma",
        "²": "^2",
    }
)


class Screen:
    """Standard output: coloured on a terminal, plain elsewhere and where `plain` or NO_COLOR asks for it."""

    def __init__(self, plain: bool = False) -> None:
        self._console = Console(
            force_terminal=False if plain else None,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
        )
        encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
        self._ascii = plain or encoding != "utf8"

    @property
    def width(self) -> int | None:
        """Columns to keep to; None for a pipe, where a row is a line however long."""
        bounded = self._console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
        return self._console.width if bounded else None

    def line(self, *parts: Part) -> None:
        """Print one line made of texts, some of them styled."""
        text = Text()
        for part in parts:
            words, style = (part, "") if isinstance(part, str) else part
            text.append(self._printable(words), style)
        self._console.print(text, soft_wrap=True)

    def prose(self, words: str) -> None:
        """Print a paragraph, indented, in lines of at most 80 columns."""
        self._wrapped(words, min(self.width or 80, 80), "  ", "")

    def note(self, words: str) -> None:
        """Print a remark, in as many lines as the width asks for; one in a pipe."""
        self._wrapped(words, self.width or sys.maxsize, "", "dim")

    def entry(self, what: str, words: str) -> None:
        """Print what something is called and, beside it, what it is, in as many lines as the width asks for."""
        margin = 20
        room = max(self.width - margin, 20) if self.width else sys.maxsize
        for k, line in enumerate(textwrap.wrap(self._printable(words), room)):
            self.line((f"  {'' if k else what}".ljust(margin), "dim"), line)

    def _wrapped(self, words: str, width: int, indent: str, style: str) -> None:
        text = textwrap.fill(self._printable(words), width, initial_indent=indent, subsequent_indent=indent)
        self._console.print(Text(text, style), soft_wrap=True)

    def table(
        self,
        heads: Sequence[str],
        rows: Sequence[Sequence[Part]],
        *,
        lead: int = 1,
        indent: str = "",
        repeat: bool = False,
    ) -> None:
        """Print a table: the first column to the left, the others to the right.

        A row that is too long for the width becomes two: the `lead` columns, and under them the others. Where the
        former are too long by themselves, names in the first are cut. With `repeat` the table itself is cut instead,
        and each piece begins with the first column.
        """
        cells = [[(head, "bold") for head in heads], *([_styled(cell) for cell in row] for row in rows)]
        cells = [[(self._printable(words), style) for words, style in row] for row in cells]
        widths = [max(len(row[k][0]) for row in cells) for k in range(len(heads))]
        pieces: list[Sequence[int]] = [range(len(heads))]
        room = math.inf if self.width is None else self.width - len(indent)
        if _span(widths, pieces[0]) > room:
            if repeat:
                for k, columns in enumerate(_cut(widths, room)):
                    if k:
                        self.line("")
                    for row in cells:
                        self._row(row, widths, columns, indent)
                return
            pieces = [range(lead), range(lead, len(heads))]
            first = int(max(room - _span(widths, pieces[0]) + widths[0], _NAME))
            if first < widths[0]:
                cells = [[(self._short(row[0][0], first), row[0][1]), *row[1:]] for row in cells]
                widths[0] = first
        for row in cells:
            for k, piece in enumerate(pieces):
                self._row(row, widths, piece, indent if k == 0 else indent + "    ", k > 0)

    def _row(
        self,
        row: Sequence[tuple[str, str]],
        widths: Sequence[int],
        piece: Iterable[int],
        indent: str,
        right: bool = False,
    ) -> None:
        text = Text(indent)
        if not any(row[k][0] for k in piece):
            return
        for place, k in enumerate(piece):
            words, style = row[k]
            padding = " " * (widths[k] - len(words))
            text.append("  " if place else "")
            if k or right:
                text.append(padding)
            text.append(words, style)
            if not (k or right):
                text.append(padding)
        text.rstrip()
        self._console.print(text, soft_wrap=True)

    def _short(self, name: str, width: int) -> str:
        """A name in so many characters: its end, which tells more than its beginning."""
        mark = self._printable("…")
        return name if len(name) <= width else mark + name[len(mark) - width :]

    def _printable(self, words: str) -> str:
        """Text that moves no cursor and that the stream can encode: names come from files."""
        if self._ascii:
            words = words.translate(_PLAIN)
            words = words.encode("ascii", "backslashreplace").decode()
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


def number(x: float, digits: int = 3) -> str:
    """Write a number in a few significant digits; integers up to a million in full."""
    if math.isfinite(x) and x == int(x) and abs(x) < 1e6:
        return str(int(x))
    return f"{x:.{digits}g}"


def size(shape: Sequence[int]) -> str:
    """Write a shape; one number for a vector, "scalar" for none."""
    return "×".join(map(str, shape)) or "scalar"


def print_json(value: Any) -> None:
    """Print JSON that every parser reads: infinities and NaN as the texts "inf", "-inf" and "nan"."""
    print(json.dumps(_jsonable(value), indent=2, ensure_ascii=True, allow_nan=False))


def _styled(cell: Part) -> tuple[str, str]:
    return (cell, "") if isinstance(cell, str) else cell


def _span(widths: Sequence[int], piece: Iterable[int]) -> int:
    columns = [widths[k] for k in piece]
    return sum(columns) + 2 * (len(columns) - 1)


def _cut(widths: Sequence[int], room: float) -> list[list[int]]:
    """Columns in pieces that fit, each with the first column in front."""
    pieces = [[0]]
    for k in range(1, len(widths)):
        if len(pieces[-1]) > 1 and _span(widths, [*pieces[-1], k]) > room:
            pieces.append([0])
        pieces[-1].append(k)
    return pieces


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
