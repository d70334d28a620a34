"""Calling a student's function: as it wants to be called, and out of the way when it fails or never returns."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.teach.exercise import Columns, Exercise, written

__all__ = ["Pupil", "UnjudgedError", "watched"]

_PROBE = 5  # inputs of the call that finds out whether a function takes arrays


class UnjudgedError(Exception):
    """Why a function could not be judged, as a sentence."""


class _Left(BaseException):
    """Raised inside a function that does not return, to end it."""


class Pupil:
    """A student's function, with the time at which it was called last."""

    def __init__(self, exercise: Exercise, function: Callable[..., Any]) -> None:
        self.exercise = exercise
        self.function = function
        self.called: float | None = None  # when, while a call is under way
        self.arguments: tuple[Any, ...] = ()

    def ask(self, arguments: tuple[Any, ...]) -> Any:
        """Call the function, or say what it raised."""
        self.arguments, self.called = arguments, time.monotonic()
        try:
            return self.function(*arguments)
        except _Left:
            raise
        except BaseException as error:  # whatever a function may raise, an exit too, is an answer to tell of
            words = " ".join(str(error).split())
            what = f"{type(error).__name__}{f': {words}' if words else ''}"
            raise UnjudgedError(f"It raised {what}, at {self.call()}.") from None
        finally:
            self.called = None

    def call(self) -> str:
        """The last call, as text."""
        return f"{self.exercise.name}({', '.join(written(argument) for argument in self.arguments)})"

    def results(self, answer: Any, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[Any]]:
        """The answer as an array for each result, or a sentence about what is wrong with it."""
        count = len(shapes)
        if count > 1 and (not isinstance(answer, tuple | list | np.ndarray) or len(answer) != count):
            raise UnjudgedError(f"It returned {_kind(answer)} where {count} results belong, at {self.call()}.")
        arrays = []
        for part, shape in zip(answer if count > 1 else (answer,), shapes, strict=True):
            try:
                array = np.asarray(part)
            except (ValueError, TypeError):
                raise UnjudgedError(f"It returned {_kind(part)}, which is not numbers, at {self.call()}.") from None
            wanted = "whole numbers" if self.exercise.whole else "numbers"
            if array.dtype.kind not in "iu" and (self.exercise.whole or "float" not in array.dtype.name):
                raise UnjudgedError(f"It returned {_kind(part)} where {wanted} belong, at {self.call()}.")
            if array.shape != shape:
                raise UnjudgedError(f"It returned shape {array.shape} where {shape} belongs, at {self.call()}.")
            arrays.append(array)
        return arrays

    def takes_arrays(self, cases: Columns) -> bool:
        """Whether the function answers for an array of inputs, or else for one; a sentence where for neither."""
        few = tuple(column[:_PROBE].copy() for column in cases.varying)
        shape = few[0].shape
        try:
            self.results(self.ask((*few, *cases.fixed)), [shape] * len(cases.expected))
        except UnjudgedError:
            first = (*(column[0].item() for column in cases.varying), *cases.fixed)
            self.results(self.ask(first), [()] * len(cases.expected))
            return False
        return True

    def answers(self, cases: Columns, at_once: bool) -> list[NDArray[Any]]:
        """What the function gives for all the inputs."""
        if at_once:
            arrays = tuple(column.copy() for column in cases.varying)
            return self.results(self.ask((*arrays, *cases.fixed)), [arrays[0].shape] * len(cases.expected))
        single = [()] * len(cases.expected)
        found = [
            self.results(self.ask((*values, *cases.fixed)), single)
            for values in zip(*(column.tolist() for column in cases.varying), strict=True)
        ]
        return [np.array([one[place][()] for one in found]) for place in range(len(single))]


def watched(pupil: Pupil, work: Callable[[], Any], limit: float) -> Any:
    """Run `work` in a thread, and leave it where one call of the function takes longer than `limit` seconds."""
    outcome: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            with np.errstate(all="ignore"):  # the answer is judged, not how it came about
                outcome.append((True, work()))
        except Exception as error:
            outcome.append((False, error))
        except _Left:
            pass

    thread = threading.Thread(target=run, daemon=True, name=f"bitquant.teach {pupil.exercise.name}")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(min(0.2, limit / 4))
            called = pupil.called
            if called is not None and time.monotonic() - called > limit:
                raise UnjudgedError(f"It had not returned after {limit:g} seconds, at {pupil.call()}.")
    finally:
        if thread.is_alive():  # a loop in Python ends here; one in compiled code goes on until it returns
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Left))
    done, value = outcome[0]
    if not done:
        raise value
    return value


def _kind(answer: Any) -> str:
    if isinstance(answer, np.ndarray) and answer.ndim:
        return f"an array of {answer.dtype}"
    if isinstance(answer, tuple):
        return f"a tuple of {len(answer)}"
    if answer is None:
        return "None (is there a return?)"
    if isinstance(answer, np.generic | np.ndarray):
        return f"a {answer.dtype}"
    if isinstance(answer, int) and not isinstance(answer, bool):
        return f"the number {answer:#x}, which no integer type holds,"
    return f"{'an' if type(answer).__name__[0] in 'aeiou' else 'a'} {type(answer).__name__}"
