"""`audit_quantizer`: somebody's quantizer asked, its rules identified, its answers judged."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant._version import __version__
from bitquant.arrays import take, with_held_format
from bitquant.auditing.quantizers import elimination, probes, scripts, telling, tensors, values
from bitquant.auditing.quantizers.asking import ask, inconsistencies, quantizing
from bitquant.auditing.quantizers.axes import ELEMENT
from bitquant.auditing.quantizers.judging import (
    EXACT,
    Audit,
    Judgement,
    applicable,
    exact_codes,
    judge_codes,
    row_codes,
)
from bitquant.auditing.quantizers.predict import REGIONS, Table
from bitquant.auditing.report import KEEP, AuditReport, Nearest
from bitquant.convert import convert
from bitquant.dialects.quantizers import Quantizer, quantizer
from bitquant.errors import BitquantError
from bitquant.formats import FP64, format

__all__ = ["audit_quantizer"]

_SOURCES = ("float64", "float32", "float16", "bfloat16")
_ROUNDS = 2  # further tables on which what survives may be told apart


def audit_quantizer(
    candidate: Any,
    form: str | None = None,
    *,
    against: str | Quantizer = EXACT,
    source: Any = "float32",
    bits: int = 8,
    signed: bool = True,
    step_format: str = "float32",
    steps: tuple[float, float] | None = None,
    zero_points: Sequence[float] | None = None,
    longest: int = 900,
    data: Any = None,
    seed: int = 0,
    name: str | None = None,
    setup: str | None = None,
    call: str | None = None,
    back: str | None = None,
    versions: dict[str, str] | None = None,
) -> AuditReport:
    """Find out by which rule somebody else quantizes, and where that differs from a reference.

    The rule is found by elimination: of all combinations of scaling, precision, place of the zero point, ties, range
    and codes of what has none, those stay that agree with every code that the candidate gave to numbers on both sides
    of every boundary. An axis on which several values stay is ambiguous; one on which none does is unknown.

    Parameters
    ----------
    candidate : callable or tuple of two callables
        A quantizer in one of two forms, ``candidate(x, step, zero_point) -> codes`` or
        ``candidate(x) -> (codes, step, zero_point)``; or a pair of such a quantizer and
        ``dequantize(codes, step, zero_point) -> numbers``. `x` is an array of one dimension, of the dtype of `source`;
        a step is a Python float, in units per code; a zero point is an int.
    form : {"codes", "numbers", "whole"}, optional
        Which of the two; "numbers" where the first one gives the numbers of the codes (fake quantization). Default: by
        the number of parameters that the quantizer requires.
    against : str or Quantizer
        What decides: "exact" (x / step + zero_point rounded once, ties to even, saturated; what NaN gives is not
        judged), or a dialect's name or row.
    source : Format, str or dtype
        float64, float32, float16 or bfloat16.
    bits : int
        2 to 16.
    signed : bool
    step_format : str
        The format of the steps that are tried, where they are given: with "float64", steps that are no float32 numbers
        show in which precision a step is used.
    steps : (float, float), optional
        The least and the greatest step to try.
    zero_points : sequence of numbers, optional
        Which ones to try. Default: eight of the codes. One with a fraction says that zero points are not rounded.
    longest : int
        How many numbers a tensor may have, for a quantizer of the form "whole": 32 for one of blocks of 32.
    data : array_like, optional
        Numbers of the user's own, on which the rate of differences is told as well.
    seed : int
        Of all that is drawn at random.
    name : str, optional
        Whose quantizer it is, for the title.
    setup, call, back : str, optional
        For the report's script: the lines before, and the expressions of what `candidate` computes. `call` is one of
        ``x``, ``step`` and ``zero_point``, or of ``x`` alone for codes, step and zero point; `back` is one of
        ``codes``, ``step`` and ``zero_point``. Default: functions that can be imported are.
    versions : dict, optional
        Libraries that take part, to be kept with the report.

    Returns
    -------
    AuditReport

    Raises
    ------
    BitquantError
        When an argument is none of these. What goes wrong in the candidate is in the report's `faults`.

    Examples
    --------
    >>> import numpy as np
    >>> from bitquant.auditing import audit_quantizer
    >>> def mine(x, step, zero_point):
    ...     return np.clip(np.rint(x * (np.float32(1) / np.float32(step))) + zero_point, -128, 127).astype(np.int8)
    >>> report = audit_quantizer(mine, against="onnx")
    >>> report.identical, report.rule["scaling"], report.rule["ties"]
    (False, ('x * (1 / step)',), ('to even',))
    """
    origin = format(source)
    if origin.name not in _SOURCES:
        raise BitquantError(f"source={source!r}: a quantizer takes {', '.join(_SOURCES)}")
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not 2 <= bits <= 16:
        raise BitquantError(f"bits={bits!r}: give 2 to 16")
    if step_format not in _SOURCES:
        raise BitquantError(f"step_format={step_format!r}: give one of {', '.join(_SOURCES)}")
    if isinstance(longest, bool) or not isinstance(longest, (int, np.integer)) or longest < 8:
        raise BitquantError(f"longest={longest!r}: give a number of numbers from 8 up")
    row = None if isinstance(against, str) and against == EXACT else quantizer(against)
    rows = applicable(origin.name, int(bits), bool(signed))
    if row is not None:
        if origin.name not in row.inputs or bits not in row.bits or signed not in row.signed:
            code = f"{'int' if signed else 'uint'}{bits}"
            raise BitquantError(f"the dialect {row.name} has no {code} codes of {origin.name}: choose others, or a row")
        rows = tuple(dict.fromkeys((*rows, row)))
    asked = quantizing(candidate, form, int(bits), bool(signed))
    audit = Audit(asked, origin, int(bits), bool(signed), step_format, row, seed, rows, int(longest))
    audit.reference = "exact quantization" if row is None else f"dialect {row.name}"
    if asked.form != "whole":
        _by_given_parameters(audit, steps, zero_points)
    else:
        tensors.by_found_parameters(audit)
    if data is not None:
        _own_data(audit, data)
    return _report(audit, name, scripts.Calls.of(audit, setup, call, back), versions)


def _by_given_parameters(audit: Audit, within: tuple[float, float] | None, zeros: Sequence[float] | None) -> None:
    """The rule of the codes, by steps and zero points that are chosen here."""
    low = -(2 ** (audit.bits - 1)) if audit.signed else 0
    zeros = probes.zero_points(low, low + 2**audit.bits - 1) if zeros is None else list(zeros)
    least, most = within or (0.0, np.inf)
    ordinary, extreme = (
        [step for step in steps if least <= step <= most]
        for steps in (
            probes.ordinary_steps(audit.source, audit.step_format, audit.seed),
            probes.extreme_steps(audit.source, audit.step_format),
        )
    )
    if not ordinary:
        raise BitquantError(f"steps={within}: no step that would be tried lies there, widen the range")
    answers = ask(audit.candidate, probes.table_of(ordinary, zeros, audit.source, audit.bits, audit.signed, audit.seed))
    audit.faults += [f"it {refusal}" for refusal in answers.refusals[:3]]
    if not len(answers.codes):
        return
    audit.faults += inconsistencies(
        answers,
        lambda channel, x: audit.candidate.codes(
            x, float(answers.table.step[channel]), float(answers.table.zero_point[channel])
        ),
    )
    found = elimination.identify(answers.table, answers.codes)
    found = _told_apart(audit, found, zeros)
    judge_codes(audit, answers, found)
    audit.rule.update(found.axes)

    def rule_of(row: Quantizer) -> dict[str, tuple[str, ...]]:
        theirs = row_codes(answers.table, row, found.range == ("narrow",))
        return {} if theirs is None else elimination.identify(answers.table, theirs).axes

    audit.rule_of = rule_of
    audit.proved.append(
        f"Sampled: {len(answers.codes)} pairs of step and zero point, with every boundary between two codes (256 of "
        "them where there are more) and two numbers on either side of it."
    )
    foretold = elimination.predicted(answers.table, found)
    if foretold is None:
        audit.proved.append("No combination of rules known here agrees with every code inside the range.")
    else:
        odd = int(((foretold != answers.codes) & (answers.table.regions < len(REGIONS) - 1)).sum())
        audit.proved.append(
            f"The rule gives {'every one' if not odd else f'all but {odd:,}'} of {foretold.size:,} codes received."
        )
    if extreme:
        ends = ask(audit.candidate, probes.table_of(extreme, zeros, audit.source, audit.bits, audit.signed, audit.seed))
        if ends.refusals:
            audit.proved.append(f"Of {len(extreme)} steps near the ends of their format it {ends.refusals[0]}")
        if len(ends.codes):
            judge_codes(audit, ends, found, "a step near the ends of its format")
    if audit.candidate.dequantize is not None:
        values.by_codes(audit, answers.table)


def _told_apart(audit: Audit, found: elimination.CodesRule, zeros: Sequence[float]) -> elimination.CodesRule:
    """Look for numbers on which combinations that agree so far differ, and ask about them."""
    sides, format_ = list(found.sides), (audit.source, audit.bits, audit.signed)
    tried = 0
    for round in range(1, _ROUNDS + 1):
        if max(map(len, sides)) < 2:
            break
        rng = np.random.default_rng((audit.seed, round))
        steps = np.exp2(rng.uniform(-9, 3, 24)) * (1 + rng.random(24))
        table = probes.table_of(
            [float(s) for s in convert(convert(steps, audit.step_format), FP64)], zeros, *format_, round
        )
        tried += table.x.size
        inside = table.regions == 0
        differ = np.zeros(len(table.x), bool)
        for side in sides:
            codes = [table.by_element(element) for element in side]
            for other in codes[1:]:
                differ |= ((other != codes[0]) & inside).any(1)
        if not differ.any():
            continue
        answers = ask(audit.candidate, table.part(np.flatnonzero(differ)))
        if not len(answers.codes):
            break
        more, narrow = answers.table, found.range == ("narrow",)
        mask, positive = more.regions == 0, more.numbers >= 0
        sides = [
            elimination.survivors(more, answers.codes, mask & sign, side, narrow)
            for sign, side in zip((positive, ~positive), sides, strict=True)
        ]
    found = elimination.CodesRule((sides[0], sides[1]), found.range, found.beyond)
    if len(found.pairs) > 1:
        audit.proved.append(
            f"Ambiguous values of the codes' rule agree on everything asked, and on {tried:,} further numbers next to "
            "boundaries."
        )
        if set(found.axes[ELEMENT]) == {"exact", "float64"} and audit.source.precision <= 24:
            audit.proved.append(
                "Proved: the float64 quotient of two float32 numbers lies on the same side of every boundary as the "
                "exact quotient, so that exact and float64 division are one rule here."
            )
    return found


def _own_data(audit: Audit, data: Any) -> None:
    """The rate of differences on numbers of the user's own."""
    array, fmt = with_held_format(take(data)[0])
    x = convert(array.reshape(-1), audit.source, fmt)
    if not x.size:
        return
    if audit.candidate.form == "whole":
        codes, step, zero = audit.candidate.whole(x)
    else:
        amax = float(np.abs(convert(x, FP64, audit.source)).max())
        zero = 0.0 if audit.signed else float(2 ** (audit.bits - 1))
        step = float(
            convert(convert(np.array([amax / (2 ** (audit.bits - 1) - 1) or 1.0]), audit.step_format), FP64)[0]
        )
        codes = audit.candidate.codes(x, step, zero)
    table = Table(x[None], np.array([step]), np.array([zero]), audit.source.name, audit.bits, audit.signed)
    narrow = audit.rule.get("range") == ("narrow",)
    expected = exact_codes(table, narrow) if audit.against is None else row_codes(table, audit.against, narrow)
    assert expected is not None
    wrong = int((expected[0] != codes).sum())
    audit.proved.append(
        f"On the data given, with step {step!r}: {wrong:,} of {x.size:,} codes differ from the reference."
    )


def _report(audit: Audit, name: str | None, calls: scripts.Calls, versions: dict[str, str] | None) -> AuditReport:
    judgement = audit.judgement
    comparisons = [each for each, _ in judgement.comparisons]
    counts = Counter(str(cause) for each in comparisons for cause in each.causes)
    dialects = judgement.identical_rows if not audit.faults else ()
    nearest = judgement.nearest_row
    code = f"{'int' if audit.signed else 'uint'}{audit.bits}"
    what = "x" if audit.candidate.form == "whole" else "x, step, zero_point"
    title = f"{name or 'quantizer'} ({what}) of {audit.source.name} → {code}"
    wrong = sum(counts.values())
    axes = {}
    if nearest is not None and not dialects and audit.rule_of is not None:
        axes = elimination.differences(audit.rule, audit.rule_of(quantizer(nearest[0])))
    return AuditReport(
        title=title,
        reference=audit.reference,
        count=judgement.tried,
        wrong=wrong,
        mismatches=_mismatches(judgement),
        causes=dict(counts.most_common()),
        rule=audit.rule,
        dialects=dialects,
        nearest=None if dialects or nearest is None else Nearest(*nearest, axes),
        proved=tuple(audit.proved),
        faults=tuple(audit.faults),
        examples=telling.examples(judgement, audit.source),
        reproducer=scripts.script(audit, calls),
        versions={
            "bitquant": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            **(versions or {}),
        },
    )


def _mismatches(judgement: Judgement) -> NDArray[Any]:
    """All differences as one structured array, of which KEEP are kept."""
    names = ["input", "expected", "received", "cause", "part", "step", "zero_point"]
    kinds = ["u8", "i8", "i8", "U48", "U10", "f8", "f8"]
    found = []
    for each, table in judgement.comparisons:
        rows = np.zeros(min(each.inputs.size, KEEP), list(zip(names, kinds, strict=True)))
        for field_, numbers in (("input", each.inputs), ("expected", each.expected), ("received", each.received)):
            rows[field_] = numbers[: rows.size]
        rows["cause"], rows["part"] = each.causes[: rows.size], each.part
        rows["step"] = table.step[each.channel[: rows.size]]
        rows["zero_point"] = table.zero_point[each.channel[: rows.size]]
        found.append(rows)
    empty = np.zeros(0, list(zip(names, kinds, strict=True)))
    return np.concatenate([empty, *found])[:KEEP]
