"""What a quantizer answered, held against a reference and against every named row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.auditing.quantizers import elimination
from bitquant.auditing.quantizers.asking import Asked, Quantizing
from bitquant.auditing.quantizers.axes import BEFORE
from bitquant.auditing.quantizers.predict import REGIONS, Table
from bitquant.dialects.quantizers import Quantizer, quantizers
from bitquant.errors import BitquantError
from bitquant.formats import Format

__all__ = [
    "EXACT",
    "Audit",
    "Comparison",
    "Judgement",
    "applicable",
    "exact_codes",
    "judge_codes",
    "row_codes",
    "same_numbers",
]

EXACT = "exact"
_NAN = REGIONS.index("NaN")


def applicable(source: str, bits: int, signed: bool) -> tuple[Quantizer, ...]:
    """The named rows that have such numbers and such codes."""
    return tuple(row for row in quantizers() if source in row.inputs and bits in row.bits and signed in row.signed)


def exact_codes(table: Table, narrow: bool) -> NDArray[np.int64]:
    """The codes of one rounding of x / step + zero_point, infinities at the ends; of NaN the zero point."""
    qmin, qmax = table.ends
    return np.clip(table.exact("float64", BEFORE, "to even"), qmin + narrow, qmax)


def row_codes(table: Table, row: Quantizer, narrow: bool) -> NDArray[np.int64] | None:
    """The codes of a row; None where it does not take such zero points."""
    try:
        return table.by_row(row, narrow and bool(row.narrow))
    except BitquantError:
        return None


@dataclass(frozen=True)
class Comparison:
    """One kind of answer, held against the reference.

    Attributes
    ----------
    part : {"codes", "step", "zero point", "values"}
    inputs : ndarray of integers
        The numbers' bits, or the codes.
    channel : ndarray of int64
        The channel of each.
    expected, received : ndarray of integers
        Codes, or the bits of numbers.
    causes : ndarray of str
    tried : int
    """

    part: str
    inputs: NDArray[Any]
    channel: NDArray[np.int64]
    expected: NDArray[Any]
    received: NDArray[Any]
    causes: NDArray[Any]
    tried: int


@dataclass
class Judgement:
    """Everything that was compared so far.

    Attributes
    ----------
    comparisons : list of Comparison
    wrong_by_row : Counter
        For each named row that answers everything, on how many inputs the candidate differs.
    silent : set of str
        Rows that have no answer to something.
    tried : int
    """

    comparisons: list[tuple[Comparison, Table]] = field(default_factory=list)
    wrong_by_row: Counter[str] = field(default_factory=Counter)
    silent: set[str] = field(default_factory=set)
    tried: int = 0

    def judge(
        self,
        part: str,
        table: Table,
        inputs: NDArray[Any],
        received: NDArray[Any],
        expected: NDArray[Any],
        judged: NDArray[np.bool_],
        why: Callable[[NDArray[Any]], NDArray[Any]],
        rows: Mapping[str, NDArray[Any] | None],
        same: Callable[[NDArray[Any], NDArray[Any]], NDArray[np.bool_]] = np.equal,
    ) -> None:
        """Compare arrays of shape (channels, n); `why(expected)` gives the cause of each difference."""
        differs = ~same(expected, received) & judged
        channel, _ = np.nonzero(differs)
        wrong = np.asarray(why(expected))[differs] if differs.any() else np.empty(0, "U48")
        comparison = Comparison(
            part, inputs[differs], channel, expected[differs], received[differs], wrong, int(judged.size)
        )
        self.comparisons.append((comparison, table))
        self.tried += int(judged.size)
        for name, answer in rows.items():
            if answer is None:
                self.silent.add(name)
            else:
                self.wrong_by_row[name] += int((~same(answer, received)).sum())

    @property
    def identical_rows(self) -> tuple[str, ...]:
        """The rows that agree in everything."""
        return tuple(name for name, wrong in self.wrong_by_row.items() if not wrong and name not in self.silent)

    @property
    def nearest_row(self) -> tuple[str, int] | None:
        """The row that differs least, and on how many inputs."""
        known = {name: wrong for name, wrong in self.wrong_by_row.items() if name not in self.silent}
        return min(known.items(), key=lambda each: each[1]) if known else None


def same_numbers(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Equal numbers, given by the bits of float64; the two zeros are, and all NaN."""
    a, b = one.view(np.float64), other.view(np.float64)
    equal: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return equal


def judged_by_exact(table: Table) -> NDArray[np.bool_]:
    """Where the exact rule says what a code is: everywhere but at NaN."""
    known: NDArray[np.bool_] = table.regions != _NAN
    return known


@dataclass
class Audit:
    """One audit on its way: what is asked, and what was found.

    `rule_of` says by which values a row goes; `expected_of` what the reference finds for tensors with their codes: the
    bits of steps and zero points, and codes.
    """

    candidate: Quantizing
    source: Format
    bits: int
    signed: bool
    step_format: str
    against: Quantizer | None
    seed: int
    rows: tuple[Quantizer, ...]
    longest: int
    judgement: Judgement = field(default_factory=Judgement)
    reference: str = ""
    rule: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rule_of: Callable[[Quantizer], dict[str, tuple[str, ...]]] | None = None
    expected_of: Callable[[Table, NDArray[np.int64]], tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None] | None = (
        None
    )
    faults: list[str] = field(default_factory=list)
    proved: list[str] = field(default_factory=list)


def judge_codes(
    audit: Audit,
    answers: Asked,
    found: elimination.CodesRule,
    cause: str = "",
    scaled: tuple[tuple[str, str], ...] = (),
) -> None:
    """Hold codes against the reference and all rows."""
    table, codes = answers.table, answers.codes
    narrow = found.range == ("narrow",)
    everywhere = np.ones(codes.shape, bool)
    if audit.against is None:
        if table.real:
            raise BitquantError("zero points with fractions have no exact rule here: name a dialect with against=")
        expected, judged = exact_codes(table, narrow), judged_by_exact(table)
    else:
        by_row = row_codes(table, audit.against, narrow)
        if by_row is None:
            raise BitquantError(f"the dialect {audit.against.name} does not take these zero points: choose others")
        expected, judged = by_row, everywhere

    def why(expected: NDArray[Any]) -> NDArray[Any]:
        if cause:
            return np.full(expected.shape, cause, "U48")
        reference = elimination.identify(table, expected, scaled)
        return elimination.causes(table, expected, codes, reference, found, scaled)

    rows = {row.name: row_codes(table, row, narrow) for row in audit.rows}
    bits = table.x.view(audit.source.code_dtype)
    audit.judgement.judge("codes", table, bits, codes, expected, judged, why, rows)
