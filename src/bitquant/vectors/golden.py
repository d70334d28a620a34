"""Inputs with what a conversion must deliver and raise for them, and the judging of what somebody's delivered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.convert import convert, encode, source_of
from bitquant.dialects import dialect, rules_of
from bitquant.errors import BitquantError
from bitquant.formats import FP64, Format, format
from bitquant.rules import Flags
from bitquant.vectors.cases import RANDOM, inputs

__all__ = ["ALL_FLAGS", "DIVIDE_BY_ZERO", "Report", "Vectors", "check", "make"]

DIVIDE_BY_ZERO = 16  # a flag that no conversion raises, but that a file may have
ALL_FLAGS = Flags.INVALID | Flags.OVERFLOW | Flags.UNDERFLOW | Flags.INEXACT | DIVIDE_BY_ZERO


@dataclass(frozen=True, eq=False)
class Vectors:
    """Inputs and results of a conversion, and its flags.

    Attributes
    ----------
    source, target : Format
    inputs, outputs : ndarray of unsigned integers
        Codes of `source` and `target`, one of each for a vector.
    flags : ndarray of uint8
        As `Flags.mask` has them: the sum of 1 (invalid), 2 (overflow), 4 (underflow) and 8 (inexact).
    known : int
        The flags that are told, as such a sum: a file may have been written without.
    rules : dict
        The rules that were given for the conversion, and those of the dialect.
    nans, ranges : int
        How many inputs were left out because the rules refuse them: NaNs, and numbers beyond the range.
    """

    source: Format
    target: Format
    inputs: Array
    outputs: Array
    flags: NDArray[np.uint8]
    known: int = ALL_FLAGS
    rules: dict[str, Any] = field(default_factory=dict)
    nans: int = 0
    ranges: int = 0

    def __len__(self) -> int:
        return int(self.inputs.size)


@dataclass(frozen=True, eq=False)
class Report:
    """What was received beside what was expected.

    Attributes
    ----------
    received, expected : Vectors
        The same inputs in the same order: those that the rules do not refuse.
    places : ndarray of int
        Where each of them stood among the vectors that were given.
    wrong : ndarray of int
        Indices of those that differ, in an output or in a flag that `received` knows.
    """

    received: Vectors
    expected: Vectors
    places: NDArray[np.intp]
    wrong: NDArray[np.intp]

    @property
    def outputs(self) -> int:
        """How many outputs differ."""
        return int(np.count_nonzero(self.received.outputs[self.wrong] != self.expected.outputs[self.wrong]))


def make(
    source: Any,
    target: Any,
    codes: Any = None,
    *,
    random: int = RANDOM,
    seed: int = 0,
    count: int | None = None,
    **rules: Any,
) -> Vectors:
    """Make golden vectors: inputs, and what a conversion under the given rules delivers and raises for each.

    Parameters
    ----------
    source, target : Format, str or dtype
    codes : array_like of codes of `source`, optional
        The inputs. Default: those that `inputs` chooses by `random`, `seed` and `count`.
    **rules
        As for `convert`. An input that they refuse is left out: under overflow="raise" and nan="raise", and NaN where
        the target has none and no rule for it is given.

    Returns
    -------
    Vectors

    Examples
    --------
    >>> from bitquant import vectors
    >>> made = vectors.make("float16", "int8", rounding="toward_zero")
    >>> len(made), made.nans
    (63490, 2046)
    >>> at = list(made.inputs).index(0x5BFF)                    # 255.875
    >>> made.outputs[at], made.flags[at]                        # saturates; invalid
    (np.uint8(127), np.uint8(1))
    """
    origin, aim = format(source), format(target)
    chosen = inputs(origin, aim, random=random, seed=seed, count=count) if codes is None else _codes(codes, origin)
    return _made(origin, aim, chosen, rules)[0]


def check(received: Vectors, *, any_nan: bool = False, **rules: Any) -> Report:
    """Judge results that somebody's conversion delivered.

    Parameters
    ----------
    received : Vectors
        As `read` returns them.
    any_nan : bool
        Whether every quiet NaN is as good as the expected one. Under a dialect that does not tell NaN codes any is.
    **rules
        As for `convert`: the rules, or the dialect, that the conversion is said to follow.

    Returns
    -------
    Report
    """
    expected, places = _made(received.source, received.target, received.inputs, rules)
    outputs, flags = received.outputs[places], received.flags[places]
    differs = outputs != expected.outputs
    whatever = _any_nan(received, rules)
    if (any_nan or whatever) and received.target.is_float:
        nan, quiet = _nan(outputs, received.target)
        differs &= ~(_nan(expected.outputs, received.target)[0] & (nan if whatever else quiet))
    differs |= (flags ^ expected.flags) & received.known != 0
    judged = Vectors(received.source, received.target, expected.inputs, outputs, flags, received.known, expected.rules)
    return Report(judged, expected, places, np.flatnonzero(differs))


def _codes(codes: Any, origin: Format) -> Array:
    array = np.asarray(codes)
    array = array.astype(np.uint64) if array.dtype.kind == "i" and (not array.size or array.min() >= 0) else array
    array = source_of(array.reshape(-1), origin)[0]
    return np.asarray(array.astype(array.dtype.newbyteorder("="), copy=False)).view(origin.code_dtype)


def _any_nan(received: Vectors, rules: dict[str, Any]) -> bool:
    """Whether the dialect says no more than that NaN gives NaN."""
    if rules.get("dialect") is None:
        return False
    conversion = dialect(rules["dialect"]).conversion(received.source.name, received.target.name)
    return conversion is not None and not conversion.nan_codes


def _made(origin: Format, aim: Format, codes: Array, given: dict[str, Any]) -> tuple[Vectors, NDArray[np.intp]]:
    """The vectors of those inputs that are not refused, and where they stand among all."""
    rules = {name: rule for name, rule in given.items() if rule is not None}
    told = dict(rules)
    if "dialect" in rules:
        rules |= rules_of(rules.pop("dialect"), origin, aim, rules)
        told |= rules
    nan = _nan(codes, origin)[0]
    refused = nan if nan.any() and _refuses(codes[nan][:1], origin, aim, rules) else np.zeros(codes.shape, np.bool_)
    nans = int(np.count_nonzero(refused))
    if rules.get("overflow") == "raise":
        milder = rules | {"overflow": "saturate_finite" if aim.kind == "float" else "saturate"}
        flags = Flags(record=True)
        encode(codes[~refused], aim, origin, flags=flags, **milder)
        beyond = np.asarray(flags.mask) & (Flags.OVERFLOW | Flags.INVALID) != 0
        refused[~refused] |= beyond & ~nan[~refused]
    kept = codes[~refused]
    flags = Flags(record=True)
    outputs = np.asarray(encode(kept, aim, origin, flags=flags, **rules))
    ranges = int(np.count_nonzero(refused)) - nans
    made = Vectors(origin, aim, kept, outputs, np.asarray(flags.mask), ALL_FLAGS, told, nans, ranges)
    return made, np.flatnonzero(~refused)


def _refuses(codes: Array, origin: Format, aim: Format, rules: dict[str, Any]) -> bool:
    try:
        encode(codes, aim, origin, **rules)
    except BitquantError:
        return True
    return False


def _nan(codes: Array, fmt: Format) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which codes are NaN, and which are quiet NaN: those whose conversion does not raise invalid."""
    flags = Flags(record=True)
    nan = np.isnan(np.asarray(convert(codes, FP64, fmt, flags=flags), np.float64))
    return nan, nan & (np.asarray(flags.mask) & Flags.INVALID == 0)
