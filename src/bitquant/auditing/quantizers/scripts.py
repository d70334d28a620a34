"""Scripts that show where a quantizer differs, by the quantizer alone: what it gave, and what is right.

# Design:
#
# A. A script shows the difference that the report tells first. What it says of the quantizer it computes when it runs;
#    what is right it states, because nobody but this library computes that.
# B. A difference among many numbers may hang on where a number stands. The candidate is asked again with fewer, and the
#    script has as few as still show the difference.
# C. How the quantizer is called is an expression, given by whoever knows the library. A function that can be imported
#    is imported; of any other the script says in a comment what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.auditing.quantizers.asking import Refusal
from bitquant.auditing.quantizers.judging import Audit, Comparison, same_numbers
from bitquant.auditing.quantizers.predict import Table
from bitquant.auditing.telling import array_of, importing, imports, right_of
from bitquant.convert import convert
from bitquant.formats import FP64, Format

__all__ = ["Calls", "script"]

_TRIED = 8  # differences for which a number by itself is tried
_ASKED = 200  # how often a quantizer is asked for a shorter tensor
_LISTED = 8  # codes that are printed all; of more, the first that differs


@dataclass(frozen=True)
class Calls:
    """How a script asks the quantizer: the lines before, and the expressions of either way."""

    setup: str
    quantize: str
    dequantize: str

    @classmethod
    def of(cls, audit: Audit, setup: str | None, call: str | None, back: str | None) -> Calls:
        """Fill in what is not given: functions that can be imported, or a comment."""
        lines = (setup or "").splitlines()
        given = "x" if audit.candidate.form == "whole" else "x, step, zero_point"
        if call is None:
            line, name = importing(audit.candidate.quantize, "quantize")
            lines, call = [*lines, line], f"{name}({given})"
        if back is None and audit.candidate.dequantize is not None:
            line, name = importing(audit.candidate.dequantize, "dequantize")
            lines, back = [*lines, line], f"{name}(codes, step, zero_point)"
        return cls("\n".join(lines), call, back or "")


def script(audit: Audit, calls: Calls) -> str:
    """A script for the difference that the report tells first; empty where there is none."""
    for each, table in audit.judgement.comparisons:
        if not each.inputs.size:
            continue
        if each.part == "values":
            return _way_back(audit, calls, each, table)
        if audit.candidate.form == "whole":
            return _whole(audit, calls, each, table)
        return _given(audit, calls, each, table)
    return ""


def _text(calls: Calls, source: Format, *lines: str) -> str:
    return "\n".join([*imports(source), *calls.setup.splitlines(), "", *lines])


def _right(audit: Audit) -> str:
    return right_of(None if audit.against is None else audit.against.name)


def _parameters(step: float, zero: float) -> str:
    number = repr(step) if np.isfinite(step) else f'float("{step}")'
    return f"step, zero_point = {number}, {zero:g}"


def _given(audit: Audit, calls: Calls, each: Comparison, table: Table) -> str:
    """A number by itself if it still differs there; else 64 of it, or else the whole channel."""
    k, x = _alone(audit, each, table)
    step, zero = float(table.step[each.channel[k]]), float(table.zero_point[each.channel[k]])
    words = x.view(audit.source.code_dtype)
    place = int(np.flatnonzero(words == each.inputs[k])[0])
    lines = [f"x = {_numbers(words, audit.source)}", _parameters(step, zero), f"y = {calls.quantize}"]
    gave = f"{{y[{place}]}}"
    if audit.candidate.form == "numbers":
        gave += f", the code {{float(y[{place}]) / step + zero_point:g}}"
    lines.append(f'print(f"{{x[{place}]}} gave {gave}; {_right(audit)} {each.expected[k]}")')
    return _text(calls, audit.source, *lines)


def _numbers(words: NDArray[Any], source: Format) -> str:
    if words.size > 1 and (words == words[0]).all():
        return f"np.repeat({array_of(words[:1], source)}, {words.size})"
    return array_of(words, source)


def _alone(audit: Audit, each: Comparison, table: Table) -> tuple[int, Array]:
    for length in (1, 64):
        for k in range(min(_TRIED, each.inputs.size)):
            channel = int(each.channel[k])
            words = np.full(length, each.inputs[k], audit.source.code_dtype)
            x = words.view(audit.source.array_dtype)
            try:
                codes = audit.candidate.codes(x, float(table.step[channel]), float(table.zero_point[channel]))
            except Refusal:
                continue
            if codes[0] == each.received[k]:
                return k, x
    return 0, table.x[each.channel[0]]


def _way_back(audit: Audit, calls: Calls, each: Comparison, table: Table) -> str:
    step, zero = float(table.step[each.channel[0]]), float(table.zero_point[each.channel[0]])
    expected = float(each.expected[:1].view(np.float64)[0])
    return _text(
        calls,
        FP64,
        f"codes = np.array([{each.inputs[0]}], np.{audit.candidate.dtype})",
        _parameters(step, zero),
        f"y = {calls.dequantize}",
        f'print(f"the code {{codes[0]}} gave {{float(y[0])!r}}; {_right(audit)} {expected!r}")',
    )


@dataclass(frozen=True)
class _Answers:
    """What a tensor gave, and what is right for it: codes, step, zero point."""

    x: Array
    received: tuple[NDArray[np.int64], float, float]
    expected: tuple[NDArray[np.int64], float, float]

    def differs(self, part: str) -> bool:
        if part == "codes":
            return bool((self.received[0] != self.expected[0]).any())
        k = 1 if part == "step" else 2
        one, other = (np.array([answer[k]]).view(np.int64) for answer in (self.received, self.expected))
        return not same_numbers(one, other)[0]


def _asked(audit: Audit, x: Array) -> _Answers | None:
    """Ask about a tensor, and the reference as well; None where either gives nothing, or nothing is right."""
    assert audit.expected_of is not None
    try:
        codes, step, zero = audit.candidate.whole(x)
    except Refusal:
        return None
    numbers = np.asarray(convert(x, FP64, audit.source), np.float64)
    extremes = {"low": numbers.min(keepdims=True), "high": numbers.max(keepdims=True)}
    parameters = np.array([step]), np.array([zero])
    table = Table(x[None], *parameters, audit.source.name, audit.bits, audit.signed, extremes)
    answer = audit.expected_of(table, codes[None])
    if answer is None:
        return None
    right = (answer[2][0], *(float(each.reshape(-1)[:1].view(np.float64)[0]) for each in answer[:2]))
    return _Answers(x, (codes, step, zero), right)


def _whole(audit: Audit, calls: Calls, each: Comparison, table: Table) -> str:
    channel = int(each.channel[0])
    x = table.x[channel]
    number = np.array([each.inputs[0]], audit.source.code_dtype).view(x.dtype) if each.part == "codes" else x[:0]
    found = _shortest(audit, x, number, each.part)
    if found is None:
        return ""
    (codes, _, _), (right, step, zero) = found.received, found.expected
    lines = [f"x = {_numbers(found.x.view(audit.source.code_dtype), audit.source)}"]
    lines.append(f"codes, step, zero_point = {calls.quantize}")
    says = _right(audit)
    gave = "step {float(np.ravel(step)[0])!r}, zero point {float(np.ravel(zero_point)[0]):g}"
    lines.append(f'print(f"gave {gave}; {says} step {step!r}, zero point {zero:g}")')
    if found.differs("codes") and codes.size <= _LISTED:
        lines.append(f'print(f"gave codes {{np.asarray(codes).tolist()}}; {says} {right.tolist()}")')
    elif found.differs("codes"):
        k = int(np.flatnonzero(codes != right)[0])
        lines.append(f'print(f"{{x[{k}]}} at place {k} gave {{codes[{k}]}}; {says} {right[k]}")')
    if audit.against is None:
        lines.insert(1, f"# Held against {audit.reference}.")
    return _text(calls, audit.source, *lines)


def _shortest(audit: Audit, x: Array, number: Array, part: str) -> _Answers | None:
    """The extremes alone, with the number, or what is left when all that can be left out is."""
    numbers = np.asarray(convert(x, FP64, audit.source), np.float64)
    ends = x[[int(np.argmin(numbers)), int(np.argmax(numbers))]]
    for few in (ends[:1], ends[1:], ends, np.concatenate([ends, number])):
        found = _asked(audit, few)
        if found is not None and found.differs(part):
            return found
    best, rest = _asked(audit, x), x
    if best is None or not best.differs(part):
        return best
    length, asked = x.size // 2, 0
    while length and asked < _ASKED:
        start = 0
        while start < rest.size and asked < _ASKED:
            fewer = np.concatenate([rest[:start], rest[start + length :]])
            found = _asked(audit, fewer) if fewer.size else None
            asked += 1
            if found is not None and found.differs(part):
                best, rest = found, fewer
            else:
                start += length
        length //= 2
    return best
