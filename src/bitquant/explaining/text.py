"""An explanation as lines of text: labels, fields and marks for a terminal of any width."""

from __future__ import annotations

from collections.abc import Iterator

from bitquant.explaining.content import sections, title
from bitquant.explaining.explanation import Explanation
from bitquant.explaining.wording import Part, Row

_LABEL = 12  # columns of the labels
_SHORT = 8  # letters of a long word for which a line is not filled up
_LEAST = 40  # the narrowest that is set


def lines(e: Explanation, width: int = 80) -> Iterator[list[Part]]:
    """The lines, each a list of texts with their roles."""
    width = max(width, _LEAST)
    yield from _pieces([Part(title(e), "title")], width)
    for section in sections(e):
        yield []
        yield [Part(section.title, "heading")]
        for row in section.rows:
            for line in _row(row, width):
                yield [*line[:-1], Part(line[-1].text.rstrip(), line[-1].role)]


def text(e: Explanation, width: int = 80) -> str:
    """The whole as text without colour."""
    return "\n".join("".join(part.text for part in line).rstrip() for line in lines(e, width))


def _row(row: Row, width: int) -> Iterator[list[Part]]:
    room = width - _LABEL - 2
    label = [Part(f"  {row.label}".ljust(_LABEL + 2), "label")]
    if len(row.label) >= _LABEL:  # on a line of its own
        yield label
        label = [Part(" " * (_LABEL + 2))]
    empty = [Part(" " * (_LABEL + 2))]
    upper = list(_pieces(row.parts, room))
    under = list(_pieces(row.under, room)) if row.under else []
    if under:  # what belongs together is cut at the same place
        upper, under = list(_chopped(row.parts, room)), list(_chopped(row.under, room))
    for k, piece in enumerate(upper):
        yield (label if k == 0 else empty) + piece
        if k < len(under):
            yield empty + under[k]


def _pieces(parts: tuple[Part, ...] | list[Part], room: int) -> Iterator[list[Part]]:
    """Lines of words; a word that is too long is cut."""
    line: list[Part] = []
    used = 0
    for part in parts:
        for word in _words(part.text):
            while used + len(word.rstrip()) > room:
                if used and (len(word.rstrip()) <= room or room - used < _SHORT):
                    yield line
                    line, used, word = [], 0, word.lstrip()
                    continue
                head = room - used
                yield [*line, Part(word[:head], part.role)]
                line, used, word = [], 0, word[head:]
            if word:
                line.append(Part(word, part.role))
                used += len(word)
    if line:
        yield line


def _words(text: str) -> Iterator[str]:
    """Words, each with the spaces after it."""
    start = 0
    for k in range(1, len(text) + 1):
        if k == len(text) or (text[k - 1] == " " and text[k] != " "):
            yield text[start:k]
            start = k


def _chopped(parts: tuple[Part, ...], room: int) -> Iterator[list[Part]]:
    """Lines of so many letters, wherever that falls."""
    line: list[Part] = []
    used = 0
    for part in parts:
        rest = part.text
        while rest:
            head, rest = rest[: room - used], rest[room - used :]
            line.append(Part(head, part.role))
            used += len(head)
            if used == room:
                yield line
                line, used = [], 0
    if line:
        yield line
