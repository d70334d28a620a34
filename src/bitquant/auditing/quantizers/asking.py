"""Asking a quantizer: in each of its forms, with everything that it may answer checked before it is compared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array, take, with_format
from bitquant.auditing.quantizers.predict import Table
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP64

__all__ = ["FORMS", "Asked", "Quantizing", "Refusal", "ask", "inconsistencies", "quantizing"]

FORMS = {
    "codes": "candidate(x, step, zero_point) -> codes",
    "numbers": "candidate(x, step, zero_point) -> the numbers of the codes",
    "whole": "candidate(x) -> (codes, step, zero_point)",
}
NO_CODE = 1 << 40  # received where fake quantization gives NaN or an infinity
LENGTHS = (1, 3, 7, 9, 15, 17, 31, 33, 63, 65)


class Refusal(Exception):  # noqa: N818 - it is an answer, not an error of this library
    """A candidate raised, or its answer holds no codes; the text says which."""


@dataclass
class Quantizing:
    """Somebody's quantizer.

    Attributes
    ----------
    quantize : callable
        As `form` says.
    form : {"codes", "numbers", "whole"}
    dequantize : callable, optional
        dequantize(codes, step, zero_point) -> numbers.
    dtype : dtype
        Of the codes that `dequantize` is given.
    """

    quantize: Callable[..., Any]
    form: str
    dequantize: Callable[..., Any] | None
    dtype: np.dtype[Any]

    def codes(self, x: Array, step: float, zero_point: float) -> NDArray[np.int64]:
        """The codes of an array by a step and a zero point that are given."""
        zero = int(zero_point) if zero_point == int(zero_point) else zero_point
        answer = _called(self.quantize, x.copy(), step, zero)
        return _integers(answer, x.shape) if self.form == "codes" else _codes_of(answer, x.shape, step, zero)

    def whole(self, x: Array) -> tuple[NDArray[np.int64], float, float]:
        """The codes, step and zero point of an array by parameters that the candidate finds."""
        answer = _called(self.quantize, x.copy())
        if not isinstance(answer, (tuple, list)) or len(answer) != 3:
            raise Refusal(f"returns {type(answer).__name__}, not codes, step and zero_point")
        codes, *parameters = answer
        step, zero_point = (_number(each) for each in parameters)
        return _integers(codes, x.shape), step, zero_point

    def values(self, codes: NDArray[np.int64], step: float, zero_point: float) -> Array:
        """The numbers that codes stand for, in the candidate's own dtype."""
        assert self.dequantize is not None
        zero = int(zero_point) if zero_point == int(zero_point) else zero_point
        answer, _ = take(_called(self.dequantize, codes.astype(self.dtype), step, zero))
        if answer.shape != codes.shape:
            raise Refusal(f"dequantize returns the shape {answer.shape} for {codes.shape}")
        answer, fmt = with_format(answer, "what dequantize returns")
        if not fmt.is_float:
            raise Refusal(f"dequantize returns {answer.dtype}, not floats")
        return answer


def quantizing(candidate: Any, form: str | None, bits: int, signed: bool) -> Quantizing:
    """Read what was given as a candidate.

    Raises
    ------
    BitquantError
        When it cannot be called, or does not show its form.
    """
    quantize, dequantize = candidate if isinstance(candidate, tuple) and len(candidate) == 2 else (candidate, None)
    for function in (quantize, *([dequantize] if dequantize is not None else [])):
        if not callable(function):
            raise BitquantError(f"{function!r} is no function: give a quantizer, or a pair (quantize, dequantize)")
    if form is None:
        form = {1: "whole", 3: "codes"}.get(_required(quantize), "")
    if form not in FORMS:
        raise BitquantError(f"form={form!r}: give " + " or ".join(f"{name!r} ({what})" for name, what in FORMS.items()))
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    return Quantizing(quantize, form, dequantize, dtype)


def _required(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is inspect.Parameter.empty for each in parameters)


def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        with np.errstate(all="ignore"):
            return function(*arguments)
    except Exception as error:
        text = " ".join(str(error).split())
        raise Refusal(f"raises {type(error).__name__}: {text[:200]}") from error


def _integers(answer: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
    try:
        array, fmt = with_format(take(answer)[0])
    except BitquantError as error:
        raise Refusal(f"returns no codes: {error}") from error
    if array.shape != shape:
        raise Refusal(f"returns the shape {array.shape} for {shape}")
    if not fmt.is_integer:
        raise Refusal(f"returns {array.dtype}, not integers")
    return array.astype(np.int64)


def _codes_of(answer: Any, shape: tuple[int, ...], step: float, zero_point: float) -> NDArray[np.int64]:
    """The codes whose numbers an answer holds; `NO_CODE` for NaN and infinity."""
    try:
        array, fmt = with_format(take(answer)[0])
    except BitquantError as error:
        raise Refusal(f"returns no numbers: {error}") from error
    if array.shape != shape:
        raise Refusal(f"returns the shape {array.shape} for {shape}")
    if not fmt.is_float:
        raise Refusal(f"returns {array.dtype}, not floats")
    with np.errstate(all="ignore"):
        places = np.asarray(convert(array, FP64), np.float64) / step + zero_point
    finite = np.isfinite(places)
    whole = np.rint(np.clip(np.where(finite, places, 0), -NO_CODE, NO_CODE))
    apart = np.flatnonzero(finite & (np.abs(places) < NO_CODE) & (np.abs(places - whole) > 2.0**-6))
    if apart.size:
        raise Refusal(f"returns {array[apart[0]]}, which is the number of no code")
    return np.where(finite, whole, NO_CODE).astype(np.int64)


def _number(answer: Any) -> float:
    try:
        array = take(answer)[0].reshape(-1)
        if array.size == 1:
            return float(convert(array, FP64)[0])
    except BitquantError as error:
        raise Refusal(f"returns a step or zero point that is no number: {error}") from error
    raise Refusal(f"returns {array.size} numbers where one step or zero point belongs")


@dataclass
class Asked:
    """What a candidate answered to a table.

    Attributes
    ----------
    table : Table
        The channels that it answered.
    codes : ndarray of int64
    refusals : list of str
        What it said to the others.
    faults : list of str
        Where it did not answer the same question in the same way.
    """

    table: Table
    codes: NDArray[np.int64]
    refusals: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def ask(candidate: Quantizing, table: Table) -> Asked:
    """Ask about each channel of a table, and about the first of them again and in pieces."""
    answers, refusals = {}, []
    for channel in range(len(table.x)):
        try:
            answers[channel] = _channel(candidate, table, channel)
        except Refusal as refusal:
            refusals.append(
                f"{refusal} (step {float(table.step[channel])!r}, zero point {table.zero_point[channel]:g})"
            )
    part = table.part(list(answers))
    codes = np.stack(list(answers.values())) if answers else np.empty((0, table.x.shape[1]), np.int64)
    return Asked(part, codes, refusals)


def _channel(candidate: Quantizing, table: Table, channel: int) -> NDArray[np.int64]:
    return candidate.codes(table.x[channel], float(table.step[channel]), float(table.zero_point[channel]))


def inconsistencies(
    asked: Asked, again: Callable[[int, Array], NDArray[np.int64]], lengths: Sequence[int] = LENGTHS
) -> list[str]:
    """Where the same number gets another code: asked again, elsewhere in an array, or in an array of another length.

    Parameters
    ----------
    asked : Asked
    again : callable
        again(channel, x) -> codes, by the parameters of the channel.
    lengths : sequence of int
        Of the shorter arrays that are tried.
    """
    found: list[str] = []
    for channel in range(min(2, len(asked.codes))):
        x, codes = asked.table.x[channel], asked.codes[channel]
        try:
            second = again(channel, x)
            differs = np.flatnonzero(second != codes)
            if differs.size:
                k = int(differs[0])
                found.append(f"asked twice, it gives {codes[k]} and then {second[k]} for one number: not deterministic")
                return found
            for shift in (1, 5, 37):
                moved = again(channel, np.roll(x, shift))
                differs = np.flatnonzero(moved != np.roll(codes, shift))
                found += _elsewhere(differs, x.size, moved, np.roll(codes, shift))
            for length in lengths:
                for start in (0, 100, 211):
                    piece = again(channel, x[start : start + length])
                    differs = np.flatnonzero(piece != codes[start : start + length])
                    found += _elsewhere(differs, length, piece, codes[start : start + length])
        except Refusal as refusal:
            found.append(f"in a shorter array it {refusal}")
        if found:
            return found[:3]
    return found


def _elsewhere(differs: NDArray[Any], length: int, codes: NDArray[Any], other: NDArray[Any]) -> list[str]:
    if not differs.size:
        return []
    k = int(differs[0])
    where = f"at place {k} of {length} (places {k} to {int(differs[-1])})"
    return [f"the code of a number depends on its place in the array: {codes[k]} {where}, {other[k]} elsewhere"]
