"""What an audit found: verdict, surviving rules, mismatches, and what was proved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.auditing import exchange, printing

__all__ = ["KEEP", "AuditReport", "Example", "Nearest", "mismatches_of"]

KEEP = 1 << 16  # mismatches that a report holds; all are counted


@dataclass(frozen=True)
class Example:
    """One input on which the candidate differs, told in full.

    Attributes
    ----------
    label : str
        Why it is shown: "first", "worst" ...
    facts : dict of str to str
        What there is to say about it, in order: name and text.
    """

    label: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Nearest:
    """The rule with a name that comes nearest to what was seen.

    Attributes
    ----------
    name : str
    wrong : int
        Inputs on which the candidate differs from it.
    axes : dict of str to (str, tuple of str)
        The axes in which the two differ: the rule's value, and the values that survive for the candidate.
    """

    name: str
    wrong: int
    axes: Mapping[str, tuple[str, tuple[str, ...]]]


@dataclass(frozen=True, eq=False)
class AuditReport:
    """The verdict on somebody's conversion or quantizer.

    Attributes
    ----------
    title : str
        What was audited: "float32 → float16".
    reference : str
        What it was held against, in words.
    count, wrong : int
        Inputs tried; those of them on which the candidate differs from the reference.
    mismatches : structured ndarray
        The fields input, expected and received are codes, cause is text. The first 65536 in the order of the inputs.
    causes : dict of str to int
        How many mismatches have which cause.
    rule : dict of str to tuple of str
        For each axis the values that agree with every observation: one is a finding, several are ambiguous, and none
        says that no rule known here describes the candidate.
    dialects : tuple of str
        The named rows with which the candidate agrees in everything.
    nearest : Nearest or None
        Where there is no such row, the nearest.
    proved : tuple of str
        What was proved, and what only sampled, in sentences.
    faults : tuple of str
        What no comparison of codes shows: it raised, gave another shape or dtype, was not deterministic ...
    examples : tuple of Example
        Mismatches told in full, the first and the worst among them.
    reproducer : str
        A script that shows a mismatch without bitquant; empty where there is none.
    versions : dict of str to str
        The libraries that took part.

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> from bitquant.auditing import audit
    >>> def truncate(x):
    ...     return (x.view(np.uint32) >> 16).astype(np.uint16)
    >>> report = audit(truncate, "float32", "bfloat16")
    >>> report.identical, report.rule["rounding"]
    (False, ('toward_zero',))
    """

    title: str
    reference: str
    count: int
    wrong: int
    mismatches: NDArray[Any]
    causes: Mapping[str, int]
    rule: Mapping[str, tuple[str, ...]]
    dialects: tuple[str, ...]
    nearest: Nearest | None
    proved: tuple[str, ...]
    faults: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    reproducer: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def identical(self) -> bool:
        """Whether nothing differs from the reference, and nothing else is at fault."""
        return self.wrong == 0 and not self.faults

    @property
    def exit_code(self) -> int:
        """What a command ends with: 0 identical, 1 differs."""
        return 0 if self.identical else 1

    @property
    def ambiguous(self) -> dict[str, tuple[str, ...]]:
        """The axes on which several values survive."""
        return {axis: values for axis, values in self.rule.items() if len(values) > 1}

    @property
    def verdict(self) -> str:
        """The answer in one line."""
        if self.identical:
            return f"identical to {self.reference} on {self.count:,} inputs"
        if self.faults and not self.wrong:
            return f"at fault: {self.faults[0]}"
        most = max(self.causes, key=lambda cause: self.causes[cause]) if self.causes else ""
        because = f", most of all for {most}" if len(self.causes) > 1 else f", for {most}" if most else ""
        named = f"; identical to {self.dialects[0]}" if self.dialects else ""
        return f"differs from {self.reference} on {self.wrong:,} of {self.count:,} inputs{because}{named}"

    def to_json(self, path: str | Path | None = None, *, indent: int | None = 2) -> str:
        """The report as JSON; written to a file too where a path is given."""
        return exchange.written(exchange.json_of(self, indent), path)

    def to_junit(self, path: str | Path | None = None) -> str:
        """The report as JUnit XML: one test case, which passes where the candidate is identical."""
        return exchange.written(exchange.junit_of([self]), path)

    def __str__(self) -> str:
        """Verdict, rule, causes, examples, what was proved."""
        return printing.text_of(self)

    def _repr_html_(self) -> str:
        return printing.html_of(self)


def mismatches_of(inputs: Any, expected: Any, received: Any, causes: Any) -> NDArray[Any]:
    """Put codes and causes together in the array that a report holds."""
    parts = [np.asarray(part).reshape(-1)[:KEEP] for part in (inputs, expected, received)]
    names = ("input", "expected", "received")
    dtype = [*((name, part.dtype) for name, part in zip(names, parts, strict=True)), ("cause", "U48")]
    found = np.empty(parts[0].size, dtype)
    for name, part in zip(names, parts, strict=True):
        found[name] = part
    found["cause"] = np.asarray(causes).reshape(-1)[:KEEP]
    return found
