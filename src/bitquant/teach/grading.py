"""Going through the inputs of an exercise, up to the first wrong answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from bitquant.errors import BitquantError
from bitquant.teach import bits, layers, mappings
from bitquant.teach.asking import Pupil, UnjudgedError, watched
from bitquant.teach.exercise import Case, Columns, Exercise, Rows, written
from bitquant.teach.grade import Exercises, Grade, Wrong

__all__ = ["check", "exercises"]

_TIMED = 8  # parts of the inputs by whose time that of all is judged

_ALL = Exercises((*bits.EXERCISES, *mappings.EXERCISES, *layers.EXERCISES))


def exercises(lesson: int | None = None) -> Exercises:
    """List the exercises of the course, or those of one lesson.

    Parameters
    ----------
    lesson : int, optional
        From 1 to 6.

    Returns
    -------
    tuple of Exercise
        With `name`, `lesson`, `signature`, `statement` and `over`; it prints as a list.

    Examples
    --------
    >>> from bitquant import teach
    >>> [exercise.name for exercise in teach.exercises(1)]
    ['memory_bytes', 'largest_finite', 'smallest_positive']
    """
    return Exercises(each for each in _ALL if lesson in (None, each.lesson))


def check(name: str, function: Callable[..., Any], *, patience: float = 60.0, limit: float = 10.0) -> Grade:
    """Grade a function: every input of the exercise, and the first wrong answer explained.

    A function of numbers is asked for arrays of inputs where it takes arrays, else for one number after the other.
    Where that would take longer than `patience`, it is asked for a part of the inputs that holds every kind of them,
    and the grade says so.

    Parameters
    ----------
    name : str
        Of an exercise; `exercises()` lists them.
    function : callable
        With the signature of the exercise.
    patience : float
        Seconds of computing that all inputs may take together.
    limit : float
        Seconds after which a call counts as one that does not return.

    Returns
    -------
    Grade
        True where the function passed. It prints as text and in a notebook.

    Raises
    ------
    BitquantError
        For a name that no exercise has, and for what cannot be called.

    Examples
    --------
    >>> from bitquant import teach
    >>> teach.check("bf16_to_fp32", lambda code: code << 16)
    bf16_to_fp32: not yet. Wrong answers: 65,535 of the first 65,536.
      first     bf16_to_fp32(0x3f80)
      expected  0x3f800000 (0|01111111|00000000000000000000000) = 1
      received  0x00000000 (0|00000000|00000000000000000000000) = 0
      why       BF16 is the upper half of FP32: the code moves up by 16 places, and the lower half is zeros.
                A code of 16 bits has no room for that: the type of the array must be wider first.
    """
    known = {exercise.name: exercise for exercise in _ALL}
    if name not in known:
        raise BitquantError(f"there is no exercise {name!r}; the course has {', '.join(known)}")
    if not callable(function):
        raise BitquantError(f"{name} is checked by calling it, and {type(function).__name__} cannot be called: pass it")
    exercise = known[name]
    pupil = Pupil(exercise, function)
    try:
        grade: Grade = watched(pupil, lambda: _graded(pupil, patience), limit)
    except UnjudgedError as trouble:
        return Grade(exercise, False, 0, exercise.over, trouble=str(trouble))
    return grade


def _graded(pupil: Pupil, patience: float) -> Grade:
    exercise = pupil.exercise
    if exercise.few is None:
        return _walked(pupil, exercise.cases(), exercise.over, exercise.exhaustive)
    few = _walked(pupil, exercise.few(), exercise.few_are, False)
    if not few.passed or not pupil.takes_arrays(next(exercise.few())):
        return few
    if exercise.total * _seconds_for_one(pupil) > patience:
        return few
    return _walked(pupil, exercise.cases(), exercise.over, exercise.exhaustive)


def _seconds_for_one(pupil: Pupil) -> float:
    """Of computing, in the quickest of the first parts: neither a busy machine nor a cold start changes it."""
    times = []
    for cases in islice(pupil.exercise.cases(), _TIMED):
        start = time.thread_time()
        _walked(pupil, iter([cases]), "", False)
        times.append((time.thread_time() - start) / len(cases))
    return min(times)


def _walked(pupil: Pupil, chunks: Iterator[Columns | Rows], over: str, proved: bool) -> Grade:
    """Ask for one part of the inputs after the other; the first part with a wrong answer ends it."""
    checked, at_once = 0, None
    for cases in chunks:
        if isinstance(cases, Rows):
            wrong, first = _rows(pupil, cases)
        else:
            if at_once is None:
                at_once = pupil.takes_arrays(cases)
            wrong, first = _columns(pupil, cases, at_once)
        checked += len(cases)
        if first is not None:
            return Grade(pupil.exercise, False, checked, over, wrong=wrong, first=_told(pupil.exercise, first))
    return Grade(pupil.exercise, True, checked, over, proved)


def _columns(pupil: Pupil, cases: Columns, at_once: bool) -> tuple[int, Case | None]:
    received = pupil.answers(cases, at_once)
    right = pupil.exercise.right
    masks = [right(one, other) for one, other in zip(received, cases.expected, strict=True)]
    wrong = ~np.logical_and.reduce(masks)
    count = int(np.count_nonzero(wrong))
    return count, cases.case(int(wrong.argmax()), received) if count else None


def _rows(pupil: Pupil, cases: Rows) -> tuple[int, Case | None]:
    count, first = 0, None
    for arguments, expected in zip(cases.arguments, cases.expected, strict=True):
        copies = tuple(each.copy() if isinstance(each, np.ndarray) else each for each in arguments)
        (received,) = pupil.results(pupil.ask(copies), [expected.shape])
        if not pupil.exercise.right(received, expected).all():
            count += 1
            first = first or Case(arguments, expected, received)
    return count, first


def _told(exercise: Exercise, case: Case) -> Wrong:
    taken = ", ".join([exercise.taken(case.arguments[0]), *map(written, case.arguments[1:])])
    expected, received = exercise.shown(case.expected), exercise.shown(case.received)
    return Wrong(f"{exercise.name}({taken})", expected, received, tuple(exercise.why(case)))
