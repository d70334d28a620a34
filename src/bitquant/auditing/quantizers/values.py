"""The way back: by which rule codes become numbers again."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.auditing.quantizers.asking import Refusal
from bitquant.auditing.quantizers.judging import Audit, same_numbers
from bitquant.auditing.quantizers.predict import Table
from bitquant.convert import convert
from bitquant.dialects.quantizers import Quantizer
from bitquant.errors import BitquantError
from bitquant.formats import FP64, format
from bitquant.kernels.formula import DefaultEnvironment
from bitquant.quantize import dequantize
from bitquant.quantize.formulas import Evaluator, Value, parse

__all__ = ["by_codes"]

AXES = ("dequantization", "dequantization precision", "dequantization step")
_FORMS = {
    "(code − zero_point) * step": "{p}(code - zero_point) * {s}",
    "code * step − zero_point * step": "{p}(code) * {s} - {p}(zero_point) * {s}",
    "(code − zero_point) / (1 / step)": "{p}(code - zero_point) / (1 / {s})",
}
_MOST = 512  # codes of one channel, where there are more


def by_codes(audit: Audit, table: Table) -> None:
    """Ask what all codes stand for, with the steps and zero points of a table; identify and judge it."""
    low, high = table.ends
    codes = np.arange(low, high + 1) if high - low < _MOST else np.linspace(low, high, _MOST).astype(np.int64)
    answers, channels, types = [], [], set()
    for channel in range(len(table.step)):
        try:
            answer = audit.candidate.values(codes, float(table.step[channel]), float(table.zero_point[channel]))
        except Refusal as refusal:
            audit.faults.append(f"its dequantize {refusal} (step {float(table.step[channel])!r})")
            return
        types.add(format(answer.dtype).name)
        answers.append(np.asarray(convert(answer, FP64), np.float64))
        channels.append(channel)
    if len(types) > 1:
        audit.faults.append(f"dequantize returns {' and '.join(sorted(types))} by turns")
        return
    to = types.pop()
    received, part = np.stack(answers), table.part(channels)
    audit.rule["dequantized to"] = (to,)
    audit.rule.update(_survivors(part, codes, received, to))
    stored = np.broadcast_to(codes.astype(audit.candidate.dtype), received.shape).copy()
    if audit.against is None:
        expected = _numbers(
            dequantize(stored, step=part.step, zero_point=_zeros(part), axis=0, dtype=to, bits=audit.bits)
        )
    else:
        by_row = _by_row(part, stored, audit.against, audit.source.name)
        if by_row is None:
            raise BitquantError(f"the dialect {audit.against.name} has no way back from these codes: choose another")
        expected = by_row
    rows = {row.name: _words(_by_row(part, stored, row, audit.source.name)) for row in audit.rows}
    everywhere = np.ones(received.shape, bool)
    inputs = np.broadcast_to(codes, received.shape)
    surviving = [" or ".join(audit.rule[axis]) for axis in AXES[:2]]
    cause = f"{surviving[0]} in {surviving[1]}" if all(surviving) else "unexplained"
    audit.judgement.judge(
        "values",
        part,
        inputs,
        received.view(np.int64),
        expected.view(np.int64),
        everywhere,
        lambda wrong: np.full(wrong.shape, f"the way back: {cause}"[:48], "U48"),
        rows,
        same_numbers,
    )


def _zeros(table: Table) -> NDArray[Any]:
    return table.zero_point if table.real else table.zero_point.astype(np.int64)


def _numbers(values: Any) -> NDArray[np.float64]:
    return np.ascontiguousarray(convert(np.asarray(values), FP64), np.float64)


def _words(numbers: NDArray[np.float64] | None) -> NDArray[np.int64] | None:
    return None if numbers is None else numbers.view(np.int64)


def _by_row(table: Table, codes: NDArray[Any], row: Quantizer, source: str) -> NDArray[np.float64] | None:
    try:
        found = dequantize(
            codes, step=table.step, zero_point=_zeros(table), axis=0, dtype=source, bits=table.bits, dialect=row
        )
    except BitquantError:
        return None
    return _numbers(found)


def _survivors(
    table: Table, codes: NDArray[np.int64], received: NDArray[np.float64], to: str
) -> dict[str, tuple[str, ...]]:
    """The combinations of form and precisions that give all numbers."""
    precisions = ["float64", "float32", *([table.source] if table.source in ("float16", "bfloat16") else [])]
    names = {
        "code": Value(codes[None, :].astype(np.int32), "int32"),
        "step": Value(table.step[:, None], "float64"),
        "zero_point": Value(table.zero_point[:, None], "float64").to("float64" if table.real else "int32"),
    }
    evaluator = Evaluator(names, "float64", table.source)
    found = []
    for (form, formula), precision, step in product(_FORMS.items(), precisions, precisions):
        if precisions.index(step) < precisions.index(precision):
            continue  # it is rounded to the precision anyway
        if step == "float64" and not table.wide and precision == "float64":
            continue  # the same numbers as from float32
        text = formula.format(p=precision, s=f"{precision}({step}(step))")
        with DefaultEnvironment(), np.errstate(all="ignore"):
            numbers = evaluator.evaluate(parse(text)).to(to).numbers
        if same_numbers(_numbers(numbers).view(np.int64), received.view(np.int64)).all():
            found.append((form, precision, step))
    return {axis: tuple(dict.fromkeys(each[k] for each in found)) for k, axis in enumerate(AXES)}
