"""What is known of the least squared error, so that anyone can check it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from bitquant.calibrate.exact import Minimum


@dataclass(frozen=True)
class Certificate:
    """What is known of the optimum, so that anyone can check it.

    Attributes
    ----------
    sse : Fraction
        The least sum of squared errors that any step (and zero point, of those allowed) gives, exactly; weighted where
        there are weights. Dequantized numbers are exact here: they are not rounded to a floating format.
    step : Fraction
        The step that gives it, in units of the numbers per code.
    zero_point : int
        The code of zero that goes with it.
    runner_up_sse, runner_up_step, runner_up_zero_point : Fraction, Fraction and int, or None
        The next best local minimum: another step (or zero point) no better than which lies near it; None where there is
        none. Of equally good ones the optimum is the one of the smallest step, then of the zero point nearest 0.
    power : Fraction
        The sum of the squared numbers, Σ w·x²: the error of giving zero for everything.
    intervals : int
        How many intervals between neighbouring breakpoints were looked at one by one.
    breakpoints : int
        How many breakpoints there are; the intervals that were not looked at have been proven worse.
    """

    sse: Fraction
    step: Fraction
    zero_point: int
    runner_up_sse: Fraction | None
    runner_up_step: Fraction | None
    runner_up_zero_point: int | None
    power: Fraction
    intervals: int
    breakpoints: int


def certified(minima: Sequence[Minimum], total: Fraction, intervals: int, breakpoints: int) -> Certificate:
    """The certificate of the best of some minima, all those that may be best or second best."""
    ranked = sorted(minima, key=_rank)
    best, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    return Certificate(
        best.error,
        best.step,
        best.levels.zero_point,
        second.error if second else None,
        second.step if second else None,
        second.levels.zero_point if second else None,
        total,
        intervals,
        breakpoints,
    )


def _rank(minimum: Minimum) -> tuple[Fraction, Fraction, int, bool]:
    zero_point = minimum.levels.zero_point
    return minimum.error, minimum.step, abs(zero_point), zero_point < 0


__all__ = ["Certificate", "certified"]
