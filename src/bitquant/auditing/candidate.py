"""Asking a candidate: arrays in, codes out, and whether the answer hangs on anything but the number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array, take
from bitquant.auditing.outcomes import is_nan
from bitquant.errors import BitquantError
from bitquant.formats import Format

__all__ = ["Candidate", "CandidateError", "Steadiness", "refused", "steadiness"]

_LENGTHS = (*range(1, 36), 47, 48, 49, 63, 64, 65, 66, 67, 95, 96, 97, 127, 128, 129, 255, 257, 1023, 1025)
_VECTORS = (2, 4, 8, 16, 32, 64, 128)


class CandidateError(Exception):
    """A candidate did something else than to return codes; the text says what.

    An adapter raises it itself where its library answers with what is no code.
    """


@dataclass(frozen=True, eq=False)
class Candidate:
    """Somebody's conversion as a function from codes to codes."""

    call: Callable[[Any], Any]
    source: Format
    target: Format

    def __call__(self, codes: Array) -> Array:
        """Hand over an array of the source's dtype of its own, and return codes; raise CandidateError for all else."""
        given = np.array(codes, self.source.code_dtype)
        try:
            with np.errstate(all="ignore"):  # inputs are there that overflow and that are NaN
                result = self.call(given.view(self.source.array_dtype))
        except CandidateError:
            raise
        except Exception as error:
            raise CandidateError(f"it raised {type(error).__name__}: {str(error) or 'no message'}") from error
        try:
            array = take(result)[0]
        except BitquantError as error:
            raise CandidateError(f"it returned {type(result).__name__}, which is no array: {error}") from error
        if array.shape != codes.shape:
            raise CandidateError(f"it returned shape {array.shape} for an input of shape {codes.shape}")
        native = array.dtype.newbyteorder("=")
        if native not in (self.target.array_dtype, self.target.code_dtype):
            wanted = {str(self.target.array_dtype): None, str(self.target.code_dtype): None}
            raise CandidateError(f"it returned dtype {array.dtype} where {' or '.join(wanted)} is {self.target.name}")
        if not np.array_equal(given, codes):
            raise CandidateError("it changed its input")
        found = np.ascontiguousarray(array.astype(native, copy=False)).view(self.target.code_dtype)
        beyond = (len(self.target.values) or 2**self.target.bits) <= int(found.max(initial=0))
        if beyond and native != self.target.code_dtype:  # ml_dtypes keeps short integers in a byte with their sign
            return np.asarray(found & self.target.code_dtype.type(2**self.target.bits - 1))
        if beyond:
            raise CandidateError(f"it returned {int(found.max()):#x}, which is no code of {self.target.name}")
        return found


def refused(candidate: Candidate, codes: Array) -> Array:
    """One of the inputs for which by itself a candidate raises or returns no codes; none if it takes each."""
    while codes.size:
        half = codes[: codes.size // 2 or 1]
        try:
            candidate(half)
        except CandidateError:
            if codes.size == 1:
                break
            codes = half
        else:
            codes = codes[half.size :]
    return codes


@dataclass(frozen=True, eq=False)
class Steadiness:
    """Where the answer for a number was not always the same.

    Attributes
    ----------
    unsteady : ndarray of bool
        The inputs that got several answers, other than by the place where they stood.
    by_place : ndarray of bool
        Those whose answer hung on their place in the array, or on its length.
    faults : tuple of str
    """

    unsteady: NDArray[np.bool_]
    by_place: NDArray[np.bool_]
    faults: tuple[str, ...] = field(default=())


def steadiness(
    candidate: Candidate, codes: Array, received: Array, telling: NDArray[np.intp], any_nan: bool
) -> Steadiness:
    """Ask again: the same array, the same numbers at other places, and short arrays of the numbers at `telling`."""

    def differs(one: Array, other: Array) -> NDArray[np.bool_]:
        unlike = one != other
        if any_nan and unlike.any():
            unlike &= ~(is_nan(one, candidate.target) & is_nan(other, candidate.target))
        return np.asarray(unlike)

    by_place = np.zeros(codes.shape, np.bool_)
    unsteady = differs(candidate(codes), received)
    if unsteady.any():
        return Steadiness(unsteady, by_place, (_unsteady(unsteady),))
    if codes.size > 1:
        turned = np.roll(np.arange(codes.size), codes.size // 2 | 1)
        by_place[turned] |= differs(candidate(codes[turned]), received[turned])
    places = telling[:: max(1, telling.size // 4096)] if telling.size else np.arange(min(codes.size, 64))
    seen: list[tuple[int, int]] = []
    for length in _LENGTHS:
        chosen = np.resize(np.roll(places, -31 * length), length)
        wrong = differs(candidate(codes[chosen]), received[chosen])
        by_place[chosen[wrong]] = True
        seen += [(length, int(place)) for place in np.flatnonzero(wrong)]
    if not by_place.any():
        return Steadiness(unsteady, by_place)
    again = [differs(candidate(codes[by_place]), candidate(codes[by_place])) for _ in range(2)]
    if any(part.any() for part in again):
        return Steadiness(by_place, np.zeros_like(by_place), (_unsteady(by_place),))
    return Steadiness(unsteady, by_place, (_placed(seen, int(np.count_nonzero(by_place))),))


def _unsteady(wrong: NDArray[np.bool_]) -> str:
    return f"it is not deterministic: the same array gave other codes for {int(np.count_nonzero(wrong)):,} inputs"


def _placed(seen: Iterable[tuple[int, int]], count: int) -> str:
    """Say on which places the answer hangs: on those after the last full vector, where that explains all."""
    seen = list(seen)
    text = f"its answer depends on the place in the array, or on its length, for {count:,} inputs"
    for vector in _VECTORS:
        if seen and all(place >= length // vector * vector for length, place in seen):
            return f"{text}: in the tail after the last full vector of {vector}"
    if seen:
        length, place = seen[0]
        text += f": at place {place} of {length}, for one"
    return text
