"""Lesson 6: calibration of activations, and a layer that runs on codes."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import numpy as np

from bitquant.layer import integer_matmul
from bitquant.layer.requantize import requantize
from bitquant.teach.exercise import Array, Case, Columns, Exercise, Rows
from bitquant.teach.mappings import FOURS, rounded_to

__all__ = ["EXERCISES"]

_SEED = 6
_MULTIPLIERS = (1 / 256, 3 / 1024, 1 / 2, 77 / 65536)  # few bits, so that FP64 holds every product exactly


def _batches() -> Iterator[Rows]:
    tables = [np.array(row).reshape(2, 2) for row in product(FOURS.tolist(), repeat=4)]
    yield Rows([(table,) for table in tables], [np.array([table.min(), table.max()]) for table in tables])


def _why_range(case: Case) -> list[str]:
    low, high = case.expected.tolist()
    return [f"Over all batches together the smallest number is {low:g} and the largest {high:g}."]


def _products() -> Iterator[Rows]:
    """Every product of two codes; the extremes of longer sums; and sums drawn at random."""
    every = np.arange(-128, 128, dtype=np.int8)[:, None]
    draw = np.random.default_rng(_SEED)
    ends = np.full((1, 300), -128, np.int8), np.full((2, 300), 127, np.int8)
    rows = [(every, every, zero_point) for zero_point in (0, -128, -43, 127)]
    rows += [(x, w, zero_point) for x in ends for w in ends for zero_point in (0, 127, -128)]
    for _ in range(500):
        n, m, k = draw.integers(1, 9, 3).tolist()
        x, w = (draw.integers(-128, 128, (size, k), np.int8) for size in (n, m))
        rows.append((x, w, int(draw.integers(-128, 128))))
    yield Rows(rows, [np.asarray(integer_matmul(x, w.T, a_zero_point=zero)) for x, w, zero in rows])


def _why_sum(case: Case) -> list[str]:
    x, w, zero_point = case.arguments
    got: Array = np.asarray(case.received)
    i, j = (int(place) for place in np.argwhere(got != case.expected)[0])
    terms = [f"({a} − {zero_point}) · {b}" for a, b in zip(x[i, :3].tolist(), w[j, :3].tolist(), strict=True)]
    more = " + …" if x.shape[1] > 3 else ""
    text = f"Row {i} of x with row {j} of w: {' + '.join(terms)}{more} = {case.expected[i, j]}, and {got[i, j]} came."
    lines = [text]
    if (int(got[i, j]) - int(case.expected[i, j])) % 256 == 0:
        lines.append("The difference is a multiple of 256: the sum was made in 8 bits, and wrapped around.")
    return lines


def _sums() -> Iterator[Columns]:
    sums = np.roll(np.arange(-33_000, 33_001, dtype=np.int32), -33_000)
    for multiplier in _MULTIPLIERS:
        yield Columns((sums,), (multiplier,), (np.asarray(requantize(sums, multiplier)),))


def _why_code(case: Case) -> list[str]:
    total, multiplier = case.arguments
    return rounded_to(total * Fraction(multiplier), "sum · multiplier", -128)


EXERCISES = (
    Exercise(
        "static_range", 6, "static_range(batches)",
        "The pair (low, high) of the smallest and largest number seen in a list of batches.",
        "all pairs of batches of two FP4 numbers",
        _batches, _why_range, whole=False, exhaustive=False,
    ),
    Exercise(
        "integer_layer", 6, "integer_layer(x, w, x_zero_point)",
        "The INT32 sums Σ (x − x_zero_point) · w of codes x (n, k) with weights w (m, k), both int8: shape (n, m).",
        "all products of two codes with four zero points, the extremes of 300 terms, and 500 layers drawn at random",
        _products, _why_sum, exhaustive=False,
    ),
    Exercise(
        "requantize", 6, "requantize(sums, multiplier)",
        "The code round(sum · multiplier), a tie to the even one, kept within −128 and 127.",
        "all sums from −33,000 to 33,000 with four multipliers",
        _sums, _why_code, exhaustive=False,
    ),
)  # fmt: skip
