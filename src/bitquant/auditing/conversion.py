"""The audit of a conversion: ask, identify, compare, explain."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant._version import __version__
from bitquant.arrays import Array
from bitquant.auditing import exhaustive
from bitquant.auditing.candidate import Candidate, CandidateError, Steadiness, refused, steadiness
from bitquant.auditing.causes import causes_of, places_of
from bitquant.auditing.identify import Identified, identify
from bitquant.auditing.named import nearest_of, rows
from bitquant.auditing.outcomes import PAIRS, Classes, is_nan, rounded
from bitquant.auditing.probes import probes
from bitquant.auditing.report import AuditReport, Example, mismatches_of
from bitquant.auditing.telling import example_of, script_of
from bitquant.convert import encode, source_of
from bitquant.dialects import RULES, dialect, rules_of
from bitquant.errors import BitquantError
from bitquant.formats import Format, format
from bitquant.permitted import Rules, nan_rules
from bitquant.rules import Stochastic, rounding_rule

__all__ = ["Reference", "audit"]

RANDOM = 10_000
_WHOLE, _WALKED = 16, 32  # bits of a source whose every code is a probe; and can be walked


def audit(
    candidate: Callable[[Any], Any],
    source: Any = "float32",
    target: Any = "float16",
    inputs: Any = "boundaries",
    *,
    data: Any = None,
    random: int = RANDOM,
    seed: int = 0,
    threads: int | None = 1,
    any_nan: bool | None = None,
    progress: exhaustive.Progress = None,
    name: str | None = None,
    setup: str | None = None,
    call: str | None = None,
    numbers: bool = False,
    versions: Mapping[str, str] | None = None,
    **rules: Any,
) -> AuditReport:
    """Find out which rule somebody's conversion follows, and where it differs from the exact one.

    Parameters
    ----------
    candidate : callable
        Takes a one-dimensional array of `source`'s dtype, or of its codes where it has none, and returns one of the
        same length: of `target`'s dtype, or of its codes; a NumPy array or a tensor.
    source, target : Format, str or dtype
    inputs : {"boundaries", "exhaustive"} or array_like
        What is tried: every place where the answer of some rule changes (all codes of a source of up to 16 bits); all
        codes of a source of up to 32 bits; or these numbers alone.
    data : array_like, optional
        Your own numbers, on which the rate of mismatches is told beside.
    random, seed : int
        How many random inputs are among the boundaries.
    threads : int or None
        How many threads walk all codes, and call the candidate at the same time; None for one on each processor.
    any_nan : bool, optional
        Whether every NaN is as good as the expected one. Default: unless `nan` or a dialect that tells them is given.
        Where the target has no NaN and no rule is given, what NaN gives is named but not judged.
    progress : callable or bool, optional
        Called with how many inputs of how many are done while all codes are walked; True draws a bar on standard error.
    name, setup, call : str, optional
        For the report: what is audited; and for its script the lines before, and the expression that converts ``x``.
    numbers : bool
        Whether `call` gives numbers, in any float dtype, in place of `target`'s dtype or codes.
    versions : mapping of str to str, optional
        Versions to report beside those of Python, NumPy and bitquant.
    **rules
        The reference: arguments of `convert` (rounding, overflow, nan, subnormals, dialect). Default: those of
        `convert`.

    Returns
    -------
    AuditReport

    Raises
    ------
    BitquantError
        For rules that refuse numbers or are random, inputs that are none, and formats that cannot be walked. What the
        candidate raises is in the report.

    Notes
    -----
    The candidate is called several times: for all inputs at once, again in the same order and in another, and for short
    arrays, because a vectorised loop and its tail are two pieces of code.

    Examples
    --------
    >>> import numpy as np
    >>> from bitquant.auditing import audit
    >>> report = audit(lambda x: x.astype(np.float32).astype(np.float16), "float64", "float16")
    >>> report.rule["way"], report.rule["rounding"]
    (('float32',), ('nearest_even',))
    >>> audit(lambda x: x.astype(np.float16), "float64", "float16").identical
    True
    """
    reference = Reference.of(format(source), format(target), rules, any_nan)
    origin, aim = reference.source, reference.target
    codes, everything = _inputs(inputs, origin, aim, random, seed)
    title = name or f"{origin.name} → {aim.name}"
    known = {**_versions(), **(versions or {})}
    asked = Candidate(candidate, origin, aim)
    try:
        found = _Findings.of(asked, reference, codes, everything)
        walked = None
        if isinstance(inputs, str) and inputs == "exhaustive" and not everything:
            walked = exhaustive.walk(asked, reference.expected, found.differing, found.explained, threads, progress)
        rate = _rate(asked, reference, data)
    except CandidateError as error:
        first = refused(asked, codes) if numbers else codes[:0]
        right = reference.expected(first)
        shown = mismatches_of(first, right, right, np.full(first.size, "refused"))
        script = _script(shown, reference, candidate, setup, call, numbers)
        return AuditReport(
            title, reference.name, 0, 0, shown[:0], {}, {}, (), None, (), (str(error),), (), script, known
        )
    mismatches, causes, count = found.mismatches, found.causes, codes.size
    if walked is not None:
        found = found.with_those(walked.mismatches)
        mismatches, causes, count = walked.mismatches, walked.causes, walked.tried
    first = mismatches[:1]
    return AuditReport(
        title,
        reference.name,
        count,
        sum(causes.values()),
        mismatches,
        causes,
        found.identified.rule,
        found.dialects,
        None if found.dialects else nearest_of(found.named, found.steady_classes, found.identified.rule),
        (*_proved(origin, everything or walked is not None, count, found), *rate),
        found.steadiness.faults,
        _examples(mismatches, reference),
        _script(first, reference, candidate, setup, call, numbers),
        known,
    )


@dataclass(frozen=True, eq=False)
class Reference:
    """The rules that a candidate is held against."""

    source: Format
    target: Format
    rules: Mapping[str, Any]
    name: str
    any_nan: bool
    judges_nan: bool
    dialect: str | None

    @classmethod
    def of(cls, source: Format, target: Format, given: Mapping[str, Any], any_nan: bool | None) -> Reference:
        """Check the rules, and fill in a dialect's."""
        known = {"dialect", *(rule for rule in RULES if rule != "tininess")}
        for rule in given:
            if rule not in known:
                raise BitquantError(f"{rule}={given[rule]!r}: audit takes {', '.join(sorted(known))} as rules")
        rules = {rule: value for rule, value in given.items() if value is not None}
        named = rules.pop("dialect", None)
        asked = dict(rules)
        if named is not None:
            rules = rules_of(named, source, target, {rule: rules.get(rule) for rule in RULES})
            rules = {rule: value for rule, value in rules.items() if rule != "tininess"}
            conversion = dialect(named).conversion(source.name, target.name)
            any_nan = (conversion is not None and not conversion.nan_codes) if any_nan is None else any_nan
        elif "rounding" in rules and not isinstance(rules["rounding"], Stochastic):
            rules["rounding"] = rounding_rule(rules["rounding"])
        settled = Rules.of(
            target, rules.get("rounding"), rules.get("overflow"), rules.get("nan"), rules.get("subnormals")
        )
        if isinstance(settled.rounding, Stochastic) or settled.overflow == "raise":
            raise BitquantError(
                "an audit needs a reference that answers every number: no Stochastic, no overflow='raise'"
            )
        judges = settled.nan != "raise"
        if not judges:
            rules["nan"] = "canonical" if target.has_nan else nan_rules(target)[-1]
        words = [settled.rounding, f"overflow {settled.overflow}"]
        words += [f"nan {settled.nan}"] if judges and ("nan" in asked or any_nan is False) else []
        words += [settled.subnormals] if settled.subnormals != "gradual" else []
        exact = f"the exact conversion ({', '.join(words)})"
        name = exact if named is None else f"the dialect {dialect(named).name}{_picked(asked)}"
        any_nan = "nan" not in asked if any_nan is None else any_nan
        return cls(source, target, rules, name, any_nan, judges, None if named is None else dialect(named).name)

    def expected(self, codes: Array) -> Array:
        """What each input must give."""
        return np.asarray(encode(codes, self.target, self.source, **self.rules))

    def differing(self, codes: Array, expected: Array, received: Array) -> NDArray[np.intp]:
        """Where what was received is wrong."""
        wrong = np.flatnonzero(expected != received)
        if wrong.size and self.any_nan and self.target.has_nan:
            both = is_nan(expected[wrong], self.target) & is_nan(received[wrong], self.target)
            wrong = wrong[~both]
        if wrong.size and not self.judges_nan:
            wrong = wrong[~is_nan(codes[wrong], self.source)]
        return wrong

    @cached_property
    def rounding(self) -> tuple[str, str]:
        """The modes of magnitudes above and below zero."""
        name = self.rules.get("rounding", "nearest_even")
        return next(pair for pair, known in PAIRS.items() if known == name)


def _picked(rules: Mapping[str, Any]) -> str:
    """The rules that were chosen among those that a dialect leaves open."""
    return f" ({', '.join(f'{rule}={value}' for rule, value in rules.items())})" if rules else ""


@dataclass(frozen=True, eq=False)
class _Findings:
    """What the inputs show."""

    reference: Reference
    codes: Array
    received: Array
    steadiness: Steadiness
    identified: Identified
    steady_classes: Classes
    steady_received: Array
    mismatches: NDArray[Any]
    causes: Mapping[str, int]

    @classmethod
    def of(cls, candidate: Candidate, reference: Reference, codes: Array, everything: bool) -> _Findings:
        """Ask for all inputs, again, and elsewhere; identify on those with one answer, and compare all."""
        received = candidate(codes)
        source, target = reference.source, reference.target
        steady = steadiness(candidate, codes, received, _telling(codes, source, target), reference.any_nan)
        lost = steady.unsteady | steady.by_place
        kept = ~lost if lost.any() else slice(None)
        classes = Classes(codes[kept], source, target)
        identified = identify(classes, received[kept], everything)
        expected = reference.expected(codes)
        wrong = reference.differing(codes, expected, received)
        causes = _causes(identified, reference, codes[wrong], expected[wrong], received[wrong])
        causes[steady.by_place[wrong]] = "place in the array"
        causes[steady.unsteady[wrong]] = "not deterministic"
        mismatches = mismatches_of(codes[wrong], expected[wrong], received[wrong], causes)
        counted = Counter(causes.tolist())
        return cls(reference, codes, received, steady, identified, classes, received[kept], mismatches, dict(counted))

    def with_those(self, mismatches: NDArray[Any]) -> _Findings:
        """The same with mismatches that were found elsewhere: they may contradict the rule."""
        new = mismatches[~np.isin(mismatches["input"], self.codes)]
        if not new.size:
            return self
        codes = np.concatenate([self.steady_classes.codes, new["input"]])
        received = np.concatenate([self.steady_received, new["received"]])
        classes = Classes(codes, self.reference.source, self.reference.target)
        identified = identify(classes, received, False)
        return replace(self, identified=identified, steady_classes=classes, steady_received=received)

    def differing(self, codes: Array, expected: Array, received: Array) -> NDArray[np.intp]:
        """Where what was received is wrong."""
        return self.reference.differing(codes, expected, received)

    def explained(self, codes: Array, expected: Array, received: Array) -> NDArray[Any]:
        """The causes of mismatches."""
        return _causes(self.identified, self.reference, codes, expected, received)

    @cached_property
    def named(self) -> list[Any]:
        """Every dialect that has this conversion, with where the candidate differs."""
        return list(rows(self.steady_classes, self.steady_received))

    @cached_property
    def dialects(self) -> tuple[str, ...]:
        """The dialects with which the candidate agrees in everything."""
        if self.steadiness.faults:
            return ()
        return tuple(named.name for named in self.named if not named.wrong.any())


def _causes(
    identified: Identified, reference: Reference, codes: Array, expected: Array, received: Array
) -> NDArray[Any]:
    classes = Classes(codes, reference.source, reference.target)
    return causes_of(classes, identified, reference.rounding, expected, received)


def _telling(codes: Array, source: Format, target: Format) -> NDArray[np.intp]:
    """Inputs on which most rules differ: ties, and numbers that round one way or the other, of each kind some."""
    modes = rounded(codes, source, target)
    even, away, down = (modes[name].codes for name in ("nearest_even", "nearest_away", "down"))
    kinds = [even != away, even != down, modes["up"].codes != even, is_nan(codes, source), modes["up"].beyond]
    found = [np.flatnonzero(kind) for kind in kinds]
    return np.concatenate([kind[:: max(1, kind.size // 512)] for kind in found]) if found else np.empty(0, np.intp)


def _inputs(inputs: Any, source: Format, target: Format, random: int, seed: int) -> tuple[Array, bool]:
    """The codes to be tried, and whether they are all there are."""
    if isinstance(inputs, str):
        if inputs not in ("boundaries", "exhaustive"):
            raise BitquantError(f"inputs={inputs!r}: choose boundaries or exhaustive, or pass an array")
        if inputs == "exhaustive" and source.bits > _WALKED:
            raise BitquantError(
                f"{source.name} has 2^{source.bits} codes, too many to walk: pass inputs='boundaries' or an array"
            )
        return probes(source, target, random, seed), source.bits <= _WHOLE
    return _as_codes(inputs, source, "inputs"), False


def _as_codes(numbers: Any, source: Format, what: str) -> Array:
    array = np.asarray(numbers)
    if array.dtype == np.float64 and source.dtype is not None and source.is_float and array.dtype != source.dtype:
        raise BitquantError(f"{what} has dtype float64: pass an array of {source.name}, or its codes")
    array = source_of(array.reshape(-1), source)[0]
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)).view(source.code_dtype)


def _rate(candidate: Candidate, reference: Reference, data: Any) -> tuple[str, ...]:
    """The sentence about the user's own numbers."""
    if data is None:
        return ()
    codes = _as_codes(data, reference.source, "data")
    wrong = reference.differing(codes, reference.expected(codes), candidate(codes)).size
    return (f"on your own data {wrong:,} of {codes.size:,} numbers differ",)


def _proved(source: Format, all_tried: bool, count: int, found: _Findings) -> tuple[str, ...]:
    """What is proved and what only sampled."""
    if found.steadiness.faults:
        return ("nothing is proved of a function whose answer is not the same everywhere",)
    if all_tried:
        rule = "" if found.codes.size == count else f"; the rule is from {found.codes.size:,} of them"
        return (f"proved: all {count:,} codes of {source.name} were tried{rule}",)
    return (f"sampled: {count:,} of the 2^{source.bits} codes of {source.name} were tried; the others may differ",)


def _examples(mismatches: NDArray[Any], reference: Reference) -> tuple[Example, ...]:
    """The first mismatch and the one with the greatest distance."""
    if not mismatches.size:
        return ()
    target = reference.target
    finite = ~(is_nan(mismatches["expected"], target) | is_nan(mismatches["received"], target))
    places = [places_of(np.ascontiguousarray(mismatches[name]), target) for name in ("expected", "received")]
    apart = np.where(finite, np.abs(places[0].astype(np.float64) - places[1]), -1)
    worst = int(np.argmax(apart))
    shown = {"first": 0, "worst": worst} if worst else {"first": 0}
    rounding = reference.rules.get("rounding", "nearest_even")
    return tuple(
        example_of(label, mismatches[place], reference.source, target, rounding) for label, place in shown.items()
    )


def _script(
    first: NDArray[Any],
    reference: Reference,
    candidate: Callable[[Any], Any],
    setup: str | None,
    call: str | None,
    numbers: bool,
) -> str:
    """A script of the first mismatch, if there is one."""
    if not first.size:
        return ""
    source, target = reference.source, reference.target
    return script_of(first[0], source, target, candidate, setup, call, numbers=numbers, dialect=reference.dialect)


def _versions() -> dict[str, str]:
    return {
        "bitquant": __version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "machine": platform.machine(),
    }
