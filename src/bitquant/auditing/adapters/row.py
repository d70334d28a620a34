"""What an adapter is: how to ask one library for its conversions and quantizers, as `audit` asks candidates."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bitquant.dialects import dialect
from bitquant.dialects.row import options
from bitquant.formats import Format, format

__all__ = ["Adapter", "Candidate", "Case", "casts", "conversions"]

Candidate: TypeAlias = Callable[..., Any] | tuple[Callable[..., Any], Callable[..., Any]]


@dataclass(frozen=True)
class Case:
    """One conversion or one quantizer of a library.

    Attributes
    ----------
    name : str
        Which: unique within its adapter.
    candidate : callable, or pair of callables
        What `bitquant.audit` or `bitquant.audit_quantizer` takes. It imports its library when it is called.
    promise : str
        What the library's documentation says of it, and where; empty where it says nothing.
    quantizer : bool
        Whether it goes to `audit_quantizer`.
    options : mapping
        The keyword arguments that it goes there with: `source` and `target` for a conversion.
    """

    name: str
    candidate: Candidate
    promise: str = ""
    quantizer: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Adapter:
    """One library.

    Attributes
    ----------
    name : str
        What ``bitquant audit`` takes.
    title : str
        Whose conversions these are.
    packages : tuple of str
        The distributions that have to be installed, by the names that package indexes know them under.
    cases : callable
        Gives the cases. It imports nothing but what is always installed, so that they can be listed.
    absent : callable
        Says what else is missing on this machine; None where all is there.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    cases: Callable[[], tuple[Case, ...]]
    absent: Callable[[], str | None] = lambda: None

    def versions(self) -> dict[str, str]:
        """The versions of what is installed of its packages."""
        found = {}
        for name in self.packages:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return found

    def missing(self) -> str | None:
        """Say why the library cannot be asked here; None when it can."""
        found = self.versions()
        absent = [name for name in self.packages if name not in found]
        if absent:
            return f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed"
        return self.absent()


def conversions(name: str) -> Iterator[tuple[Format, Format]]:
    """The pairs of formats that a dialect knows of, whether or not rules describe them: from floats alone.

    Of the integers, those of up to 8 bits and int32 stand for all.

    Examples
    --------
    >>> from bitquant.auditing.adapters.row import conversions
    >>> [target.name for source, target in conversions("numpy") if source.name == "float64"]
    ['float16', 'float32', 'int32', 'int8', 'uint8']
    """
    row = dialect(name)
    pairs = [(source, target) for source, target, _ in row.pairs()]
    pairs += [(source, target) for gap in row.gaps for source in gap.sources for target in gap.targets]
    for source, target in dict.fromkeys(pairs):
        start, end = format(source), format(target)
        if start.kind == "float" and (not end.is_integer or end.bits <= 8 or target == "int32"):
            yield start, end


def casts(
    name: str,
    cast: Callable[[Format, Format], Candidate],
    promise: Callable[[Format, Format], str],
    script: Callable[[Format, Format], tuple[str, str]],
    standard: str = "",
    suffix: str = "",
) -> tuple[Case, ...]:
    """A case for each pair of formats that a dialect knows of.

    A cast to a float is held against the exact conversion, or the standard's. One to an integer truncates as C does,
    and out of range C promises nothing: it is held against the dialect itself, or against a truncation that wraps.

    Parameters
    ----------
    name : str
        The dialect.
    cast : callable
        ``cast(source, target)`` gives the candidate.
    promise : callable
        ``promise(source, target)`` gives what is documented.
    script : callable
        ``script(source, target)`` gives the lines that come before, and the expression that converts an array `x`,
        in a script of somebody who has the library alone.
    standard : str
        The dialect of a standard that the library follows; empty for none.
    suffix : str
        What is put after the names of the cases.
    """
    cases = []
    for source, target in conversions(name):
        rules: dict[str, Any] = {}
        if target.is_integer:
            row = dialect(name).conversion(source.name, target.name)
            if row is not None and "raise" not in options(row.overflow):
                rules = {"dialect": name}
            else:
                rules = {"rounding": "toward_zero", "overflow": "wrap", "nan": "zero"}
        elif standard and dialect(standard).conversion(source.name, target.name):
            rules = {"dialect": standard}
        elif standard:  # where the standard's own implementation rounds twice, its rule is that for float32
            row = dialect(standard).conversion("float32", target.name)
            rules = {"overflow": options(row.overflow)[0]} if row and options(row.overflow) else {}
        setup, call = script(source, target)
        given = {"source": source.name, "target": target.name, "setup": setup, "call": call, **rules}
        title = f"{source.name} to {target.name}{suffix}"
        cases.append(Case(title, cast(source, target), promise(source, target), options=given))
    return tuple(cases)
