"""The thresholds of a monotone map to few codes, by bisection on the ordered bits of its inputs.

# Design:
# A. The numbers of a format stand in a row, −infinity first, −0 before +0, infinity last; a map that keeps their order
#    is known wholly by the first number that gets each code. 32 halvings find each among 2^32.
# B. All thresholds are bisected at once: a call of the candidate for each halving, with a number for each code.
# C. Bisection trusts the order. Everything that was ever asked is checked for it, beside numbers asked for that alone,
#    and the walk of all codes, where it is asked for, proves it.
# D. A NaN that is given for a number too large stands beyond the last number, on the side of the input's sign.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.auditing.candidate import Candidate, CandidateError
from bitquant.auditing.causes import places_of
from bitquant.auditing.conversion import RANDOM, Reference
from bitquant.auditing.outcomes import is_nan
from bitquant.auditing.probes import probes
from bitquant.auditing.telling import bits, exact, said
from bitquant.errors import BitquantError
from bitquant.formats import Format, format
from bitquant.vectors.cases import distinct

__all__ = ["Staircase", "staircase"]

_CODES = 1 << 16  # codes of a target up to which thresholds are sought
_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class Staircase:
    """A monotone map as its thresholds, beside those of the exact conversion.

    Attributes
    ----------
    source, target : Format
    codes : ndarray of unsigned int
        The target's codes that occur, in the order of their numbers.
    thresholds : ndarray of unsigned int
        For each of them the code of the smallest number of the source that gets it.
    reference : str
    differing : tuple of (int, int or None, int or None)
        Codes whose threshold is not the reference's: the code, its threshold there, and here; None where it never
        occurs.
    monotone : bool
        Whether everything that was asked was in order.
    violation : tuple of (int, int) or None
        Two neighbouring codes of the source, among those asked, whose answers are not in order.
    asked : int
        How many inputs that were.
    proved : tuple of str
        What follows, and from what.

    Examples
    --------
    >>> import numpy as np
    >>> from bitquant.auditing import staircase
    >>> steps = staircase(lambda x: np.clip(np.rint(x), -128, 127).astype(np.int8), "float32", "int8")
    >>> steps.identical, steps.monotone, steps.codes.size
    (True, True, 256)
    >>> steps.values[128:132]                       # 0, 1, 2 and 3 begin here: 1.5 is a tie, and goes to 2
    array([-0.5       ,  0.50000006,  1.5       ,  2.5000002 ], dtype=float32)
    """

    source: Format
    target: Format
    codes: Array
    thresholds: Array
    reference: str
    differing: tuple[tuple[int, int | None, int | None], ...]
    monotone: bool
    violation: tuple[int, int] | None
    asked: int
    proved: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether it is in order and has the reference's thresholds."""
        return self.monotone and not self.differing

    @property
    def values(self) -> Array:
        """The thresholds as numbers of the source."""
        return self.thresholds.view(self.source.array_dtype)

    def __str__(self) -> str:
        """Verdict, the first thresholds that differ, what is proved."""
        head = f"{self.source.name} → {self.target.name}, {self.codes.size} codes: "
        head += "as" if self.identical else f"{len(self.differing)} thresholds differ from" if self.differing else "not"
        head += f" {self.reference}" if self.monotone or self.differing else " monotone"
        lines = [head]
        if self.violation is not None:
            lines.append(
                f"  not in order from {bits(self.violation[0], self.source)} to {bits(self.violation[1], self.source)}"
            )
        for code, there, here in self.differing[:5]:
            names = [
                "never" if place is None else f"from {said(exact(place, self.source))}, {bits(place, self.source)}"
                for place in (here, there)
            ]
            lines.append(f"  {bits(code, self.target)}: {names[0]}; the reference {names[1]}")
        return "\n".join([*lines, *(f"  {sentence}" for sentence in self.proved)])


def staircase(
    candidate: Callable[[Any], Any],
    source: Any = "float32",
    target: Any = "int8",
    *,
    exhaustive: bool = False,
    random: int = RANDOM,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **rules: Any,
) -> Staircase:
    """Find the thresholds of a monotone conversion, and compare them with the exact ones.

    Parameters
    ----------
    candidate, source, target, random, seed, progress, **rules
        As for `audit`. A target of at most 16 bits.
    exhaustive : bool
        Whether to walk all codes of the source, of up to 32 bits, which proves that the candidate is monotone.

    Returns
    -------
    Staircase

    Raises
    ------
    BitquantError
        For a target of more than 16 bits, rules whose result is not monotone (wrap), or a candidate that raises or does
        not return codes.
    """
    reference = Reference.of(format(source), format(target), rules, None)
    origin, aim = reference.source, reference.target
    if 2**aim.bits > _CODES:
        raise BitquantError(f"{aim.name} has 2^{aim.bits} codes: a staircase is for targets of up to 16 bits")
    asked = Candidate(candidate, origin, aim)
    line = _Line(origin, aim)
    near = probes(origin, aim, random, seed)
    try:
        mine = _Climb.of(asked, line, near)
        theirs = _Climb.of(reference.expected, line, near)
        violation = mine.violation
        walked = exhaustive and violation is None
        if walked:
            violation = _walk(asked, line, progress)
    except CandidateError as error:
        raise BitquantError(f"the candidate is no conversion to {aim.name}: {error}") from error
    if theirs.violation is not None:
        raise BitquantError("the reference is not monotone under these rules: wrap and the like have no staircase")
    places = sorted(set(mine.first) | set(theirs.first))
    codes_at = {**theirs.code, **mine.code}
    differing = tuple(
        (codes_at[place], line.known(theirs.first.get(place)), line.known(mine.first.get(place)))
        for place in places
        if theirs.first.get(place) != mine.first.get(place)
    )
    occurring = sorted(mine.first)
    return Staircase(
        origin,
        aim,
        np.array([mine.code[place] for place in occurring], aim.code_dtype),
        np.array([line.code(mine.first[place]) for place in occurring], origin.code_dtype),
        reference.name,
        differing,
        violation is None,
        None if violation is None else (line.code(violation[0]), line.code(violation[1])),
        mine.asked,
        _proved(origin, violation is None, walked, mine.asked, not differing),
    )


def _proved(source: Format, monotone: bool, walked: bool, asked: int, same: bool) -> tuple[str, ...]:
    what = "it is equal to the reference" if same else "it differs where the thresholds do, and nowhere else"
    if not monotone:
        return ("nothing is proved: the answers are not in order, so there is no staircase",)
    if walked:
        return (f"proved: all numbers of {source.name} were tried, and are in order; {what}",)
    return (
        f"proved if the candidate is monotone: {what}, for all numbers of {source.name} but NaN",
        f"sampled: it is in order on the {asked:,} inputs that were tried",
    )


@dataclass(frozen=True)
class _Line:
    """The numbers of the source in a row: places from `low` to `high`."""

    source: Format
    target: Format

    @property
    def ends(self) -> tuple[int, int]:
        """The first and the last place."""
        fmt = self.source
        if fmt.is_integer:
            return int(fmt.min), int(fmt.max)
        high = fmt.largest_code + fmt.infinity
        return (-1 - high if fmt.signed_zero else -high) if fmt.signed else 0, high

    def code(self, place: int) -> int:
        """The code of the number at a place."""
        return int(self.codes(np.array([place]))[0])

    def known(self, place: int | None) -> int | None:
        """The code of the number at a place, if there is a place."""
        return None if place is None else self.code(place)

    def codes(self, places: NDArray[np.int64]) -> Array:
        """The codes of the numbers at places."""
        fmt = self.source
        if fmt.is_integer or not fmt.signed or fmt.kind == "codebook":
            found = places.astype(np.int64).view(np.uint64) & np.uint64(2**fmt.bits - 1)
            return found.astype(fmt.code_dtype)
        magnitude = np.where(places < 0, -places - fmt.signed_zero, places).astype(np.uint64)
        sign = (places < 0).astype(np.uint64) << np.uint64(fmt.magnitude_bits)
        return np.asarray((magnitude | sign).astype(fmt.code_dtype))

    def places(self, codes: Array) -> NDArray[np.int64]:
        """The places of numbers, in the order of the line."""
        found = places_of(codes[~is_nan(codes, self.source)], self.source)
        if self.source.is_float and self.source.signed and not self.source.signed_zero:
            found = np.where(found < 0, found + 1, found)
        return np.sort(found)

    def answers(self, codes: Array, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in the row of the target's numbers the codes stand that were given for the numbers at places."""
        found = places_of(codes, self.target)
        beyond = 2 + self.target.largest_code
        return np.where(is_nan(codes, self.target), np.where(places < 0, -1 - beyond, beyond), found)


@dataclass(frozen=True, eq=False)
class _Climb:
    """What bisection finds: for each place of the target the first place of the source, its code, and what is wrong."""

    first: dict[int, int]
    code: dict[int, int]
    violation: tuple[int, int] | None
    asked: int

    @classmethod
    def of(cls, call: Callable[[Array], Array], line: _Line, near: Array) -> _Climb:
        """Ask at the ends and at numbers near the boundaries, then halve between each two that differ."""
        seen: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

        def ask(places: NDArray[np.int64]) -> NDArray[np.int64]:
            found = line.answers(call(line.codes(places)), places)
            seen.append((places, found))
            return found

        asked = distinct(np.concatenate([line.places(near), line.ends]))
        steps, below, above = _steps(asked, ask(asked))
        while (open_ := np.flatnonzero(above - below > 1)).size:
            middle = below[open_] + (above[open_] - below[open_]) // 2
            reached = ask(middle) >= steps[open_]
            above[open_] = np.where(reached, middle, above[open_])
            below[open_] = np.where(reached, below[open_], middle)
        places, answers = (np.concatenate(part) for part in zip(*seen, strict=True))
        places, order = np.unique(places, return_index=True)
        answers = answers[order]
        wrong = np.flatnonzero(np.diff(answers) < 0)
        violation = (int(places[wrong[0]]), int(places[wrong[0] + 1])) if wrong.size else None
        values, first = np.unique(answers, return_index=True)
        codes = call(line.codes(places[first]))
        return cls(
            dict(zip(values.tolist(), places[first].tolist(), strict=True)),
            dict(zip(values.tolist(), codes.tolist(), strict=True)),
            violation,
            places.size,
        )


def _steps(
    places: NDArray[np.int64], answers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Every answer to be bisected for, with the places between which it begins."""
    rises = np.flatnonzero(np.diff(answers) > 0)
    heights = answers[rises + 1] - answers[rises]
    which = np.repeat(rises, heights)
    rank = np.arange(which.size) - np.repeat(np.cumsum(heights) - heights, heights)
    return answers[which] + 1 + rank, places[which], places[which + 1]


def _walk(candidate: Candidate, line: _Line, progress: Callable[[int, int], None] | None) -> tuple[int, int] | None:
    """Ask for every number in order; two places that are not, or None."""
    low, high = line.ends
    if high - low >= 2**32 + 2:
        raise BitquantError(f"{line.source.name} has too many codes to walk: leave out exhaustive=True")
    last = None
    for start in range(low, high + 1, _CHUNK):
        places = np.arange(start, min(start + _CHUNK, high + 1), dtype=np.int64)
        answers = line.answers(candidate(line.codes(places)), places)
        joined = answers if last is None else np.concatenate([[last], answers])
        wrong = np.flatnonzero(np.diff(joined) < 0)
        if wrong.size:
            at = int(places[0]) + int(wrong[0]) - (last is not None)
            return at, at + 1
        last = answers[-1]
        if progress is not None:
            progress(int(places[-1]) - low + 1, high - low + 1)
    return None
