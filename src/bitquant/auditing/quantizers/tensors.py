"""Quantizers that find their own step and zero point: tensors to try them on, and what their parameters say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.auditing.quantizers import elimination, parameters, probes, values
from bitquant.auditing.quantizers.asking import LENGTHS, Asked, Refusal, inconsistencies
from bitquant.auditing.quantizers.judging import Audit, same_numbers
from bitquant.auditing.quantizers.predict import Table, found_by_row
from bitquant.convert import convert
from bitquant.dialects.quantizers import Quantizer
from bitquant.errors import BitquantError
from bitquant.formats import FP64, Format
from bitquant.quantize import quantize
from bitquant.quantize.parameters import Scheme

__all__ = ["by_found_parameters"]

# Inverses that are made from the extremes and not from the step that is stored.
SCALED = {
    "symmetric": (
        ("qmax / amax", "(qmax / max(abs(low), abs(high)))"),
        ("1 / amax * qmax", "(1 / max(abs(low), abs(high)) * qmax)"),
        ("1 / the step before it is stored", "(1 / (max(abs(low), abs(high)) / qmax))"),
    ),
    "asymmetric": (
        ("(qmax − qmin) / (high − low)", "((qmax - qmin) / (max(high, 0) - min(low, 0)))"),
        ("1 / (high − low) * (qmax − qmin), not widened", "(1 / (high - low) * (qmax - qmin))"),
    ),
}
_LENGTH = 900
_MANY = 50_000  # ranges looked at, for those on which rules differ
_ANY = ("", "exact quantization")  # before it is known which kind of exact quantization is nearest
_SMALL = (2.0**-149, 7e-45, 1e-40, 1.3e-38, 1e-30, 3.1e-14, 4.2e-11, 5e-10, 1.1e-8, 3e-7, 2.9e-5)


@dataclass
class Found:
    """What a candidate gave for tensors: one channel of the table each."""

    table: Table
    codes: NDArray[np.int64]


def extremes(source: Format, ends: tuple[int, int], seed: int) -> NDArray[np.float64]:
    """Pairs of lowest and largest numbers: with exact ties of the zero point, next to ties, on one side of zero."""
    rng = np.random.default_rng(seed)
    codes = ends[1] - ends[0]
    size = np.exp2(rng.uniform(-7, 4, 30))
    mixed = np.stack([-rng.random(30) * size, rng.random(30) * size], 1)
    one_sided = np.array([[0.25, 3.7], [0.11, 0.9], [-5.1, -0.3], [-0.77, -0.0625], [0.0, 1.7], [-2.3, 0.0]])
    ties = np.array([[-(k + 0.5) / 64, (codes - (k + 0.5)) / 64] for k in (2, 3, 30, 101) if k < codes])
    mirrored = np.array([[-1.7, 1.7], [-1.0, 1.0], [-3.3, 1.0], [-1.0, 3.3], [-127.0, 100.0], [-50.0, 63.5]])
    pairs = np.concatenate([mixed, one_sided, ties, mirrored, _near_ties(source, ends, rng)])
    return _in(source, pairs)


def _in(source: Format, numbers: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(convert(probes.held(np.asarray(numbers, np.float64), source), FP64), np.float64)


def _near_ties(source: Format, ends: tuple[int, int], rng: Any) -> NDArray[np.float64]:
    """Ranges for which formulas of the zero point that are the same in real numbers give different integers."""
    qmin, qmax = ends
    span = np.exp2(rng.uniform(-6, 3, _MANY))
    place = rng.integers(1, qmax - qmin, _MANY) + 0.5
    low = -place * span / (qmax - qmin) * (1 + rng.integers(-4, 5, _MANY) * 2.0**-24)
    pairs = _in(source, np.stack([low, span + low], 1))
    answers = []
    for dtype in (np.float32, np.float64):
        low, high = pairs.T.astype(dtype)
        step = (high - low) / dtype(qmax - qmin)
        with np.errstate(all="ignore"):
            below, above = (low / step, low * (1 / step)), high / step
        for quotient in below:
            answers += [np.rint(qmin - quotient), qmin - np.rint(quotient)]
        answers += [np.rint(qmax - above), qmax - np.rint(above)]
    chosen = {int(k) for one, other in combinations(answers, 2) for k in np.flatnonzero(one != other)[:2]}
    return pairs[sorted(chosen)]


def small_extremes(source: Format) -> NDArray[np.float64]:
    """Ranges whose step may meet a floor; the last one holds zeros alone."""
    least = float(source.smallest_subnormal)
    pairs = [[-size / 3, size] for size in _SMALL if size >= least] + [[-size, size / 2] for size in _SMALL[4:]]
    pairs += [[0.0, 0.0]]
    return _in(source, np.array(pairs))


def by_found_parameters(audit: Audit) -> None:
    """The rule of the parameters and of the codes of a quantizer that finds its parameters."""
    pairs = extremes(audit.source, _ends(audit), audit.seed)
    # Where tensors are short, more of them make up for it.
    ordinary = _asked(audit, np.repeat(pairs, max(1, min(8, _LENGTH // audit.longest)), 0), faults=True)
    if ordinary is None:
        return
    answers = Asked(ordinary.table, ordinary.codes)
    short = audit.longest < _LENGTH
    audit.faults += inconsistencies(answers, _again(audit, answers), () if short else LENGTHS)
    scheme, rule = parameters.identify(ordinary.table)
    audit.rule.update(rule)
    scaled = SCALED[scheme]
    found = elimination.identify(ordinary.table, ordinary.codes, scaled)
    audit.rule.update(found.axes)
    audit.proved.append(
        f"Sampled: {len(ordinary.codes)} tensors of {audit.longest} numbers, whose ranges hold zero, touch it or do "
        "not, whose zero points lie next to ties, and which hold numbers on both sides of boundaries between codes. "
        "NaN and infinity were not tried."
    )
    small = _asked(audit, small_extremes(audit.source), faults=False)
    _judge(audit, ordinary, scheme, found, scaled, "")
    if small is not None:
        audit.rule.update(parameters.least_step(small.table, rule, scheme))
        _judge(audit, small, scheme, found, scaled, "a small range")

    def rule_of(row: Quantizer) -> dict[str, tuple[str, ...]]:
        theirs: dict[str, tuple[str, ...]] = {}
        answer = _best(ordinary.table, ordinary, row)
        if answer is not None:
            table = _with_parameters(ordinary.table, answer)
            kind, theirs = parameters.identify(table)
            theirs.update(elimination.identify(table, answer[2], SCALED[kind]).axes)
            least = None if small is None else _best(small.table, small, row)
            if small is not None and least is not None and kind == scheme:
                theirs.update(parameters.least_step(_with_parameters(small.table, least), theirs, kind))
        return theirs

    def expected_of(table: Table, codes: NDArray[np.int64]) -> Answer | None:
        asked = Found(table, codes)
        if audit.against is not None:
            return _best(table, asked, audit.against)
        judged = _judged(table)
        return _exact(audit, asked, judged, scheme, found.range == ("narrow",))[1] if judged.all() else None

    audit.rule_of, audit.expected_of = rule_of, expected_of
    if audit.candidate.dequantize is not None:
        finite = np.flatnonzero(np.isfinite(ordinary.table.step) & (ordinary.table.step > 0))
        values.by_codes(audit, ordinary.table.part(finite))


def _again(audit: Audit, answers: Asked) -> Callable[[int, Array], NDArray[np.int64]]:
    """The codes of numbers of a channel, with its extremes, so that the parameters stay the same."""

    def again(channel: int, x: Array) -> NDArray[np.int64]:
        numbers = answers.table.x[channel]
        if x.size < numbers.size:
            x = np.concatenate([x, numbers[[int(np.argmin(numbers)), int(np.argmax(numbers))]]])
            return audit.candidate.whole(x)[0][:-2]
        return audit.candidate.whole(x)[0]

    return again


def _ends(audit: Audit) -> tuple[int, int]:
    low = -(2 ** (audit.bits - 1)) if audit.signed else 0
    return low, low + 2**audit.bits - 1


def _asked(audit: Audit, pairs: NDArray[np.float64], faults: bool) -> Found | None:
    """Ask about a tensor of each range: once for its step, then with numbers that try that step."""
    rng = np.random.default_rng(audit.seed)
    kept, refusals, moved = [], [], 0
    ends = _ends(audit)
    for low, high in pairs:
        plain = probes.held(
            np.concatenate([[low, high], rng.uniform(low, high, min(30, audit.longest - 2))]), audit.source
        )
        try:
            _, step, zero = audit.candidate.whole(plain)
            x = _tensor(low, high, step, zero, ends, audit.source, audit.longest, rng)
            codes, again, zero_again = audit.candidate.whole(x)
        except Refusal as refusal:
            refusals.append(f"{refusal} (numbers from {low!r} to {high!r})")
            continue
        moved += (again, zero_again) != (step, zero) and not (np.isnan(step) and np.isnan(again))
        kept.append((x, codes, again, zero_again, low, high))
    if refusals and faults:
        audit.faults.append(f"it {refusals[0]}")
    elif refusals:
        audit.proved.append(f"Of {len(pairs)} small ranges it {refusals[0]}")
    if moved and faults:
        audit.proved.append(f"Its parameters depend on more than the extremes: so in {moved} of {len(pairs)} tensors.")
    if not kept:
        return None
    xs, all_codes, steps, zeros, lows, highs = (list(each) for each in zip(*kept, strict=True))
    table = Table(
        np.stack(xs),
        np.array(steps, np.float64),
        np.array(zeros, np.float64),
        audit.source.name,
        audit.bits,
        audit.signed,
        {"low": np.array(lows), "high": np.array(highs)},
    )
    return Found(table, np.stack(all_codes))


def _tensor(
    low: float, high: float, step: float, zero: float, ends: tuple[int, int], source: Format, longest: int, rng: Any
) -> Array:
    """Numbers from `low` to `high`, both among them, most of them next to boundaries of a step and zero point."""
    pool = probes.held(rng.uniform(low, high, longest), source)
    if 0 < step < np.inf and np.isfinite(zero):
        numbers = probes.numbers_of(step, zero, ends, source, rng)
        exact = np.asarray(convert(numbers, FP64), np.float64)
        inside = numbers[(exact >= low) & (exact <= high)]
        pool = np.concatenate([rng.permutation(inside)[: longest - longest // 16], pool])
    x = np.concatenate([probes.held(np.array([low, high]), source), pool[: longest - 2]])
    found: Array = rng.permutation(x)
    return found


def _judge(
    audit: Audit,
    found: Found,
    scheme: Scheme,
    rule: elimination.CodesRule,
    scaled: tuple[tuple[str, str], ...],
    cause: str,
) -> None:
    """Hold steps, zero points and codes against the reference and against all rows."""
    table, narrow = found.table, rule.range == ("narrow",)
    judged = np.ones(len(table.step), bool)
    if audit.against is None:
        judged = _judged(table)
        audit.reference, expected = _exact(audit, found, judged, scheme, narrow)
    else:
        of_row = _best(table, found, audit.against)
        if of_row is None:
            raise BitquantError(f"the dialect {audit.against.name} does not find parameters: give a form with steps")
        expected = of_row
    rows = {row.name: _best(table, found, row) for row in audit.rows}
    each = judged[:, None]
    number = np.arange(len(table.step))[:, None]

    def of(k: int) -> dict[str, NDArray[Any] | None]:
        return {name: None if answer is None else answer[k] for name, answer in rows.items()}

    steps = table.step[:, None].view(np.int64)
    zeros = table.zero_point[:, None].view(np.int64)
    for k, (part, numbers) in enumerate((("step", steps), ("zero point", zeros))):
        audit.judgement.judge(
            part,
            table,
            number,
            numbers,
            expected[k],
            each,
            partial(_labelled, cause or f"the {part}"),
            of(k),
            same_numbers,
        )

    def why(wrong: NDArray[Any]) -> NDArray[Any]:
        if cause:
            return np.full(wrong.shape, cause, "U48")
        reference = elimination.identify(table, wrong, scaled)
        causes = elimination.causes(table, wrong, found.codes, reference, rule, scaled)
        others = ~(same_numbers(steps, expected[0]) & same_numbers(zeros, expected[1])) & (causes != "")
        return np.where(others, "codes of another step or zero point", causes)

    everywhere = np.broadcast_to(each, found.codes.shape)
    bits = table.x.view(audit.source.code_dtype)
    audit.judgement.judge("codes", table, bits, found.codes, expected[2], everywhere, why, of(2))


def _judged(table: Table) -> NDArray[np.bool_]:
    """A range of zeros has no step of its own, and one so small none that float32 holds: nothing is right there."""
    return np.asarray(table.extremes["high"] - table.extremes["low"] > 2.0**-130)


def _labelled(cause: str, wrong: NDArray[Any]) -> NDArray[Any]:
    return np.full(wrong.shape, cause, "U48")


Answer = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def _best(table: Table, found: Found, row: Quantizer) -> Answer | None:
    """What a row finds, by the scheme in which it is nearest; None where it finds no parameters."""
    answers = []
    for scheme in ("symmetric", "asymmetric"):
        if row.parameters(scheme):
            step, zero, codes = found_by_row(row, scheme, table)
            answers.append((step[:, None].view(np.int64), zero[:, None].view(np.int64), codes))
    return min(answers, key=lambda answer: _wrong(answer, found)) if answers else None


def _with_parameters(table: Table, answer: Answer) -> Table:
    """The same tensors with the parameters that a row finds."""
    step, zero = (each[:, 0].copy().view(np.float64) for each in answer[:2])
    return Table(table.x, step, zero, table.source, table.bits, table.signed, table.extremes)


def _wrong(answer: Answer, found: Found) -> int:
    step, zero, codes = answer
    return int(
        (~same_numbers(step, found.table.step[:, None].view(np.int64))).sum()
        + (~same_numbers(zero, found.table.zero_point[:, None].view(np.int64))).sum()
        + (codes != found.codes).sum()
    )


def _exact(audit: Audit, found: Found, judged: NDArray[np.bool_], scheme: Scheme, narrow: bool) -> tuple[str, Answer]:
    """What exact quantization gives: with the step as it is, or stored; the range with zero, or as it is."""
    if audit.bits > 8:
        raise BitquantError("codes of more than 8 bits have no exact parameters here: name a dialect with against=")
    received = (found.table.step[:, None].view(np.int64), found.table.zero_point[:, None].view(np.int64), found.codes)
    answers = {}
    for include_zero in (False, True) if scheme == "asymmetric" else (False,):
        for stored in (None, "float32"):
            exact = quantize(
                found.table.x[judged],
                scheme,
                axis=0,
                bits=audit.bits,
                signed=audit.signed,
                narrow=narrow,
                include_zero=include_zero,
                step_format=stored,
            )
            for to in ("float64", "float32") if stored is None else ("float32",):
                text = f"exact {scheme} quantization, step {'stored' if stored else 'rounded'} in {to}"
                text += ", range widened to zero" if include_zero else ""
                if audit.reference in _ANY or audit.reference == text:
                    steps = convert(convert(np.asarray(exact.step, np.float64), to), FP64)
                    zeros = np.broadcast_to(np.asarray(exact.zero_point, np.float64), steps.shape)
                    given = (steps[:, None].view(np.int64), zeros[:, None].copy().view(np.int64), exact.codes)
                    answer = tuple(each.copy() for each in received)
                    for each, numbers in zip(answer, given, strict=True):
                        each[judged] = numbers
                    answers[text] = (answer[0], answer[1], answer[2])
    best = min(answers, key=lambda text: _wrong(answers[text], found))
    return best, answers[best]
