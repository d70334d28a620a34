"""What `check` gives back: passed or not, on how many inputs, and the first wrong one explained."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

from bitquant.teach.exercise import Exercise

__all__ = ["Exercises", "Grade", "Wrong"]


@dataclass(frozen=True)
class Wrong:
    """The first input with a wrong answer.

    Attributes
    ----------
    call : str
        The call, with its arguments.
    expected, received : str
        The right answer and the one that came, with their bits where they are codes.
    why : tuple of str
        How the right answer comes about.
    """

    call: str
    expected: str
    received: str
    why: tuple[str, ...]


@dataclass(frozen=True)
class Grade:
    """How a function did at an exercise. True where it passed.

    Attributes
    ----------
    exercise : Exercise
    passed : bool
    checked : int
        On how many inputs the function was asked, up to the first part of them with a wrong answer.
    over : str
        What those inputs are.
    proved : bool
        Whether it passed on every input that the exercise allows.
    wrong : int
        How many of the checked answers are wrong.
    first : Wrong or None
        The first of them.
    trouble : str
        Why the function could not be judged: it raised, did not return, or returned something else than an answer.
    """

    exercise: Exercise
    passed: bool
    checked: int
    over: str
    proved: bool = False
    wrong: int = 0
    first: Wrong | None = None
    trouble: str = ""

    def __bool__(self) -> bool:
        return self.passed

    @property
    def verdict(self) -> str:
        """One sentence."""
        name = self.exercise.name
        if self.trouble:
            return f"{name}: not yet. {self.trouble}"
        if self.wrong:
            return f"{name}: not yet. Wrong answers: {self.wrong:,} of the first {self.checked:,}."
        end = "every input there is" if self.proved else "not every input there is"
        if self.over != self.exercise.over:
            end += f"; {self.exercise.over} would take too long this way"
        return f"{name}: passed. All {self.checked:,} answers are right, on {self.over}: {end}."

    def _facts(self) -> Iterator[tuple[str, str]]:
        if self.first is not None:
            yield "first", self.first.call
            yield "expected", self.first.expected
            yield "received", self.first.received
            yield from (("why" if not place else "", line) for place, line in enumerate(self.first.why))

    def __str__(self) -> str:
        return "\n".join([self.verdict, *(f"  {name:9} {text}" for name, text in self._facts())])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same for a notebook: the words say it, the colour of the edge repeats it."""
        edge = "#009e73" if self.passed else "#d55e00"
        rows = "".join(
            f'<tr><th style="text-align:left">{html.escape(name)}</th>'
            f'<td style="text-align:left">{_marked(name, text)}</td></tr>'
            for name, text in self._facts()
        )
        table = f'<table style="margin:0">{rows}</table>' if rows else ""
        return (
            f'<div style="border-left:0.3em solid {edge};padding-left:0.8em">'
            f"<p>{'✓' if self.passed else '✗'} {html.escape(self.verdict)}</p>"
            f"{table}</div>"
        )


def _marked(name: str, text: str) -> str:
    """A fact in HTML: calls and codes are code, reasons are prose."""
    safe = html.escape(text)
    return f"<code>{safe}</code>" if name in ("first", "expected", "received") else safe


class Exercises(tuple[Exercise, ...]):
    """The exercises of the course, which print as a list."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(str(exercise) for exercise in self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{one.lesson}</td><td><code>{html.escape(one.signature)}</code></td>"
            f'<td style="text-align:left">{html.escape(one.statement)}</td></tr>'
            for one in self
        )
        return f"<table><tr><th>lesson</th><th>function</th><th>what it gives</th></tr>{rows}</table>"
