"""What a dialect is: the rules that one chip, library or standard follows, as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["RULES", "Choice", "Conversion", "Dialect", "Gap", "options"]

RULES = ("rounding", "overflow", "nan", "subnormals", "tininess")

# A rule of a conversion: fixed (one name); open, with the default first (several names); or None where the rule never
# comes up, so that whatever the caller says changes nothing.
Choice: TypeAlias = str | tuple[str, ...] | None


def options(choice: Choice) -> tuple[str, ...]:
    """Every name that a rule may have, the default first; none where the rule never comes up."""
    return () if choice is None else (choice,) if isinstance(choice, str) else choice


@dataclass(frozen=True)
class Conversion:
    """From any of some formats to any of others, under one set of rules.

    Attributes
    ----------
    sources, targets : tuple of str
        Canonical names of formats.
    rounding, overflow, nan, subnormals, tininess : str, tuple of str, or None
        The arguments of `bitquant.convert`. A name is fixed; of several the caller may choose, and the first is the
        default; None where the rule never comes up.
    nan_codes : bool
        Whether the codes of NaNs are the real thing's, too. If not, only that NaN gives NaN.
    note : str
        What the rules do not say.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    rounding: Choice = "nearest_even"
    overflow: Choice = "ieee"
    nan: Choice = "preserve"
    subnormals: Choice = "gradual"
    tininess: Choice = None
    nan_codes: bool = True
    note: str = ""


@dataclass(frozen=True)
class Gap:
    """A conversion that the real thing has and this table has not, because no one set of rules describes it.

    Attributes
    ----------
    sources, targets : tuple of str
        Canonical names of formats.
    why : str
        What the real thing does.
    through : str
        The format that it passes through, where two conversions in a row give what it gives; else empty.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    why: str
    through: str = ""


@dataclass(frozen=True)
class Dialect:
    """The conversions of one chip, library or standard.

    Attributes
    ----------
    name : str
        What `bitquant.convert` takes as `dialect`.
    title : str
        Whose conversions these are.
    source : str
        Where they are laid down.
    witness : str
        What they were checked against, with its version; empty where there was nothing to ask.
    conversions : tuple of Conversion
        What it converts; where two rows have a pair of formats, the first counts.
    gaps : tuple of Gap
        What the real thing converts in a way that no rules describe.
    notes : tuple of str
        Where the real thing leaves things undefined, or differs.
    """

    name: str
    title: str
    source: str
    witness: str
    conversions: tuple[Conversion, ...]
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()

    def conversion(self, source: str, target: str) -> Conversion | None:
        """Find the row for a pair of formats; None where the dialect has none."""
        fitting = (row for row in self.conversions if source in row.sources and target in row.targets)
        return next(fitting, None)

    def gap(self, source: str, target: str) -> Gap | None:
        """Find the reason why a pair of formats is left out; None where there is none."""
        return next((row for row in self.gaps if source in row.sources and target in row.targets), None)

    def pairs(self) -> Iterator[tuple[str, str, Conversion]]:
        """Every pair of formats that the dialect converts, with its row."""
        for row in self.conversions:
            for source in row.sources:
                for target in row.targets:
                    if self.conversion(source, target) is row:
                        yield source, target, row
