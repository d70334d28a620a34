"""Lessons 3 to 5: the symmetric and the asymmetric mapping, outliers and clipping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from bitquant.auditing.telling import said
from bitquant.convert import decode
from bitquant.formats import E2M1FN, FP16
from bitquant.quantize import quantize
from bitquant.teach.exercise import Array, Case, Columns, Exercise, Rows, close, written

__all__ = ["EXERCISES", "FOURS", "rounded_to"]

FOURS = (
    np.unique(np.asarray(decode(np.arange(16, dtype=np.uint8), E2M1FN, dtype="float64"))) + 0.0
)  # the 15 numbers of FP4
_HALVES = "all 63,488 finite numbers of FP16"
_CANDIDATES = np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
_PERCENTS = (50, 75, 90, 100)
_SCALES = (127.0, 64.0, 1000.0, 0.5)  # few bits, so that FP64 holds every product exactly


def lists(longest: int, shortest: int = 1) -> list[Array]:
    """All lists of FP4 numbers up to a length: few enough to go through them all."""
    return [np.array(row) for count in range(shortest, longest + 1) for row in product(FOURS.tolist(), repeat=count)]


def _halves() -> Array:
    codes = np.roll(np.arange(1 << 16, dtype=np.uint16), -0x3800)  # 0.5 comes first
    values = np.asarray(decode(codes, FP16, dtype="float64"))
    return np.asarray(values[np.isfinite(values)])


def _scales() -> Iterator[Rows]:
    x = lists(3)
    largest = [np.abs(row).max() for row in x]
    yield Rows([(row,) for row in x], [np.array(127 / amax if amax else 1.0) for amax in largest])


def _why_scale(case: Case) -> list[str]:
    largest = np.abs(case.arguments[0]).max()
    if not largest:
        return ["All numbers are zero: there is no range to map, and any scale keeps them. By convention it is 1."]
    return [f"The largest magnitude is {largest:g}, and it has to become 127: 127 / {largest:g}."]


def _symmetric() -> Iterator[Columns]:
    x = _halves()
    for scale in _SCALES:
        yield Columns((x,), (scale,), (np.asarray(quantize(x, scale=scale).codes),))


def _why_symmetric(case: Case) -> list[str]:
    x, scale = case.arguments
    return rounded_to(Fraction(x) * Fraction(scale), "x · scale", -127)


def rounded_to(exact: Fraction, name: str, lowest: int) -> list[str]:
    """How an exact number becomes a code from `lowest` to 127."""
    nearest = round(exact)
    lines = [f"{name} = {said(exact)} exactly"]
    if abs(exact - exact.__floor__()) == Fraction(1, 2):
        lines[0] += f", a tie, which goes to the even whole number, {nearest}."
    else:
        lines[0] += f", and the nearest whole number is {nearest}." if exact != nearest else ", a whole number."
    if not lowest <= nearest <= 127:
        lines.append(f"Codes end at {lowest} and 127: what lies beyond gets the end.")
    return lines


def _numbers_of_codes() -> Iterator[Columns]:
    codes = np.arange(-128, 128, dtype=np.int8)
    for scale in _SCALES:
        yield Columns((codes,), (scale,), (codes / scale,))


def _why_number(case: Case) -> list[str]:
    code, scale = case.arguments
    return [f"The scale multiplied on the way in, so it divides on the way out: {code} / {scale:g}."]


def _zero_points() -> Iterator[Columns]:
    pairs = np.array([(low, high) for low in range(-16, 17) for high in range(low + 1, 17)], np.float64)
    exact = [round(_place_of_zero(low, high)) - 128 for low, high in pairs.tolist()]
    yield Columns((pairs[:, 0].copy(), pairs[:, 1].copy()), (), (np.array(exact),))


def _place_of_zero(low: float, high: float) -> Fraction:
    return -Fraction(low) * 255 / (Fraction(high) - Fraction(low))


def _why_zero_point(case: Case) -> list[str]:
    low, high = case.arguments
    place = _place_of_zero(low, high)
    return [
        f"The scale is 255 / ({high:g} − {low:g}), and −low · scale = {said(place)}: so many steps lie",
        f"between low and zero. Rounded, {round(place)}; low has code −128, so 128 less.",
    ]


def _asymmetric() -> Iterator[Columns]:
    x = _halves()
    for scale, zero_point in ((63.75, 5), (127.5, -128), (1.0, 0), (0.5, -43)):
        codes = quantize(x, "asymmetric", scale=scale, zero_point=zero_point).codes
        yield Columns((x,), (scale, zero_point), (np.asarray(codes),))


def _why_asymmetric(case: Case) -> list[str]:
    x, scale, zero_point = case.arguments
    place = Fraction(x) * Fraction(scale)
    lines = rounded_to(place + zero_point, "x · scale + zero_point", -128)
    if round(place) + zero_point != round(place + zero_point):
        lines.append("The sum is what is rounded: rounding first and adding then sends the tie to another side.")
    return lines


def _percentiles() -> Iterator[Rows]:
    pairs = [(row, percent) for row in lists(3) for percent in _PERCENTS]
    expected = [np.sort(np.abs(row))[-(-percent * len(row) // 100) - 1] for row, percent in pairs]
    yield Rows(pairs, [np.asarray(value) for value in expected])


def _why_percentile(case: Case) -> list[str]:
    x, percent = case.arguments
    rank = -(-percent * len(x) // 100)
    ordered = written(np.sort(np.abs(x)))
    return [
        f"In order the magnitudes are {ordered}. {percent} % of {len(x)} are {percent * len(x) / 100:g},",
        f"so at least {rank} of them must not exceed the answer: it is number {rank} in that order.",
    ]


def _ratios() -> Iterator[Rows]:
    pairs = list(product(lists(2, 2), repeat=2))
    pairs = [(x, y) for x, y in pairs if x.any()]
    signal, noise = (np.array(sums) for sums in zip(*((x @ x, (x - y) @ (x - y)) for x, y in pairs), strict=True))
    with np.errstate(divide="ignore"):
        expected = list(10 * np.log10(signal / noise))
    yield Rows(pairs, expected)


def _why_ratio(case: Case) -> list[str]:
    x, y = case.arguments
    signal, noise = x @ x, (x - y) @ (x - y)
    if not noise:
        return ["There is no error at all: the ratio is infinite."]
    return [f"Σx² = {signal:g}, the signal; Σ(x − y)² = {noise:g}, the noise; 10 · log10({signal:g} / {noise:g})."]


def _least_errors() -> Iterator[Rows]:
    x = np.array([row for row in lists(3, 3) if row.any()])
    errors = np.array([_error(x, limit) for limit in _CANDIDATES.tolist()]).T
    # The error of the best range, and that of every range: whoever names one is judged by its error.
    yield Rows([(row, _CANDIDATES) for row in x], [_Best(table.min(), table) for table in errors])


class _Best:
    """Which of the candidate ranges are best; shaped like the number that is expected."""

    shape = ()

    def __init__(self, least: float, errors: Array) -> None:
        self.least, self.errors = least, errors


def _error(x: Array, limit: float) -> Array:
    """Sums of squared errors of rows in 3-bit symmetric codes of −3 to 3 over ±limit."""
    codes = np.asarray(quantize(x, bits=3, range=(-limit, limit)).codes, dtype=np.float64)
    return np.asarray(((x - codes * limit / 3) ** 2).sum(axis=-1))


def _best(received: Array, expected: Any) -> Any:
    places = np.flatnonzero(received == _CANDIDATES)
    return np.asarray(places.size == 1 and expected.errors[places[0]] <= expected.least * (1 + 1e-9) + 1e-12)


def _shown_best(value: Any) -> str:
    if not isinstance(value, _Best):
        return str(value)
    return " or ".join(f"{one:g}" for one in _CANDIDATES[value.errors <= value.least * (1 + 1e-9) + 1e-12])


def _why_best(case: Case) -> Sequence[str]:
    pairs = zip(_CANDIDATES.tolist(), case.expected.errors.tolist(), strict=True)
    return ["Σ(x − back)² by range: " + ", ".join(f"±{limit:g}: {error:.4g}" for limit, error in pairs)]


EXERCISES = (
    Exercise(
        "scale_of", 3, "scale_of(x)",
        "The scale 127 / max|x| of a list of numbers; 1 where all are zero.",
        "all lists of one to three FP4 numbers",
        _scales, _why_scale, right=close, whole=False, exhaustive=False,
    ),
    Exercise(
        "int8_symmetric", 3, "int8_symmetric(x, scale)",
        "The code round(x · scale), a tie to the even one, kept within −127 and 127.",
        f"{_HALVES} with four scales",
        _symmetric, _why_symmetric, exhaustive=False,
    ),
    Exercise(
        "dequantize_int8", 3, "dequantize_int8(code, scale)",
        "The number that a symmetric code (int8) with this scale stands for.",
        "all 256 codes with four scales",
        _numbers_of_codes, _why_number, right=close, whole=False, exhaustive=False,
    ),
    Exercise(
        "zero_point_of", 4, "zero_point_of(low, high)",
        "The zero point round(−low · 255 / (high − low)) − 128, a tie to the even whole number before 128 goes off.",
        "all ranges between two whole numbers from −16 to 16",
        _zero_points, _why_zero_point, exhaustive=False,
    ),
    Exercise(
        "asymmetric_quantize", 4, "asymmetric_quantize(x, scale, zero_point)",
        "The code round(x · scale + zero_point), a tie to the even one, kept within −128 and 127.",
        f"{_HALVES} with four pairs of scale and zero point",
        _asymmetric, _why_asymmetric, exhaustive=False,
    ),
    Exercise(
        "clip_range", 5, "clip_range(x, percent)",
        "The least magnitude in x that at least so many percent of the magnitudes do not exceed.",
        "all lists of one to three FP4 numbers with 50, 75, 90 and 100 percent",
        _percentiles, _why_percentile, right=close, whole=False, exhaustive=False,
    ),
    Exercise(
        "sqnr", 5, "sqnr(x, y)",
        "The signal to quantization noise ratio 10 · log10(Σx² / Σ(x − y)²) in dB; infinity where y is x.",
        "all pairs of lists of two FP4 numbers",
        _ratios, _why_ratio, right=close, whole=False, exhaustive=False,
    ),
    Exercise(
        "mse_range", 5, "mse_range(x, candidates)",
        "The candidate c whose 3-bit codes round(x · 3/c), kept within −3 and 3, have the least Σ(x − code · c/3)².",
        "all lists of three FP4 numbers, with the magnitudes of FP4 as candidates",
        _least_errors, _why_best, right=_best, whole=False, exhaustive=False, shown=_shown_best,
    ),
)  # fmt: skip
