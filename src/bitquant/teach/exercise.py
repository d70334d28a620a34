"""What an exercise is: a row with its statement, its inputs, the right answers and the words for a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Case", "Columns", "Exercise", "Rows", "close", "same", "same_number", "written"]

Array = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """One input, what belongs there and what came instead."""

    arguments: tuple[Any, ...]
    expected: Any
    received: Any


@dataclass(frozen=True, eq=False)
class Columns:
    """Inputs of a function of numbers, which may be asked for an array of them at once.

    Attributes
    ----------
    varying : tuple of ndarray, each of shape (N,)
        The leading arguments.
    fixed : tuple
        The other arguments, the same for all N.
    expected : tuple of ndarray, each of shape (N,)
        One array for each result.
    """

    varying: tuple[Array, ...]
    fixed: tuple[Any, ...]
    expected: tuple[Array, ...]

    def __len__(self) -> int:
        return len(self.varying[0])

    def case(self, place: int, received: Sequence[Any]) -> Case:
        """One of the inputs; `received` holds an array for each result."""
        arguments = *(column[place].item() for column in self.varying), *self.fixed
        pairs = [[array[place].item() for array in arrays] for arrays in (self.expected, received)]
        expected, got = (tuple(pair) if len(pair) > 1 else pair[0] for pair in pairs)
        return Case(arguments, expected, got)


@dataclass(frozen=True, eq=False)
class Rows:
    """Inputs of a function of lists or matrices, which is asked for one after the other."""

    arguments: Sequence[tuple[Any, ...]]
    expected: Sequence[Any]  # arrays, or whatever the exercise's `right` compares with them

    def __len__(self) -> int:
        return len(self.arguments)


def same(received: Array, expected: Array) -> Mask:
    """Whole numbers: equal or not."""
    return np.asarray(received == expected)


def same_number(received: Array, expected: Array) -> Mask:
    """Floats to the bit, as float64; any NaN is as good as another."""
    one, other = received.astype(np.float64), expected.astype(np.float64)
    return np.asarray(((one == other) & (np.signbit(one) == np.signbit(other))) | (np.isnan(one) & np.isnan(other)))


def close(received: Array, expected: Array) -> Mask:
    """Floats to nine digits: where a formula may be evaluated in several orders."""
    one, other = received.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray((one == other) | (np.abs(one - other) <= 1e-9 * np.abs(other)))


_MOST = 12  # numbers of an array that is written out


def written(value: Any) -> str:
    """An argument or a result as text: small arrays as lists, large ones by their shape."""
    if not isinstance(value, np.ndarray):
        return str(value)
    return str(value.tolist()) if value.size <= _MOST else f"<{value.dtype} of shape {value.shape}>"


@dataclass(frozen=True)
class Exercise:
    """A function to write, and how it is judged.

    Attributes
    ----------
    name : str
    lesson : int
        Of the course in docs/learn, from 1 to 6.
    signature : str
        As a student writes it.
    statement : str
        What the function must give.
    over : str
        The inputs it is checked on.
    """

    name: str
    lesson: int
    signature: str
    statement: str
    over: str
    cases: Callable[[], Iterator[Columns | Rows]] = field(repr=False)
    why: Callable[[Case], Sequence[str]] = field(repr=False)
    right: Callable[[Array, Array], Mask] = field(default=same, repr=False)
    whole: bool = field(default=True, repr=False)  # the results are whole numbers: codes, fields, counts
    few: Callable[[], Iterator[Columns]] | None = field(default=None, repr=False)
    few_are: str = field(default="", repr=False)
    total: int = field(default=0, repr=False)  # how many inputs there are, where there is a `few`
    exhaustive: bool = field(default=True, repr=False)  # `over` is every input that the statement allows
    shown: Callable[[Any], str] = field(default=written, repr=False)  # a result as text
    taken: Callable[[Any], str] = field(default=written, repr=False)  # the first argument as text

    def __str__(self) -> str:
        return f"lesson {self.lesson}  {self.signature}\n    {self.statement}"
