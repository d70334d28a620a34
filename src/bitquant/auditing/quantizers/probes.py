"""Steps, zero points and numbers on which quantizers differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.auditing.quantizers.predict import Table
from bitquant.convert import convert, round_to
from bitquant.formats import Format, format
from bitquant.grid import neighbours

__all__ = ["extreme_steps", "held", "numbers_of", "ordinary_steps", "table_of", "zero_points"]

# Steps whose multiples are exact in few bits, so that exact ties exist, and ordinary ones.
_EXACT = (1.0, 0.75, 0.0078125, 0.6875, 5.0, 49.0, 0.0478515625)
_ORDINARY = (0.1, 1 / 3, 0.0078431375, 0.00214854861, 3.0e-5, 0.0123, 17.3, 1.2345e-7, 4321.5, 0.9, 0.0567, 2.2e-9)
_MOST = 256  # boundaries tried of one step, where codes have more than 8 bits
_APART = (
    *(2.0, 7.3, 60.0, 1000.0, 2.0**15 + 0.5, 2.0**20, 2.0**24, 2.0**27),
    *(2.0**33, 2.0**40, 2.0**50, 2.0**61, 2.0**65, 2.0**90, 1.7e9),
)


def ordinary_steps(source: Format, step_format: str, seed: int) -> list[float]:
    """Steps whose inverse and whose codes' numbers are normal numbers of `source`."""
    rng = np.random.default_rng(seed)
    many = 10 if source.precision > 11 else 30  # where numbers are short, few of one step are next to a boundary
    drawn = (1 + rng.random(many)) * 2.0 ** rng.integers(-12, 4, many)
    steps = [*_EXACT, *_ORDINARY, *drawn]
    inside = [step for step in steps if source.smallest_normal <= step <= float(source.max) / 2**9]
    held_ = [float(step) for step in round_to(np.array(inside), step_format)]
    if step_format == "float64":
        held_ += [float(step) for step in round_to(np.array(inside), "float32")]
        # Steps of which a number that exists is a tie but for the last bit of float64, where two roundings differ.
        numbers = round_to(np.array(drawn), source).astype(np.float64)
        halves = rng.integers(2, 100, many) + 0.5
        held_ += [float(np.nextafter(step, side)) for step in numbers / halves for side in (0, np.inf)]
    return list(dict.fromkeys(held_))


def extreme_steps(source: Format, step_format: str) -> list[float]:
    """Steps that are subnormal, whose inverse overflows, or whose codes' numbers do."""
    least, most = format(step_format).smallest_subnormal, float(format(step_format).max)
    if step_format == "float64":
        least, most = 2.0**-149, float(format("float32").max)
    steps = [least, least * 5, float(source.smallest_subnormal) * 7, float(source.smallest_normal)]
    steps += [float(source.smallest_normal) / 8, float(source.max) / 4, float(source.max) / 100]
    steps = [step for step in steps if least <= step <= most]
    return list(dict.fromkeys(float(step) for step in round_to(np.array(steps), step_format)))


def zero_points(qmin: int, qmax: int) -> list[int]:
    """Zero points at both ends of the codes' range, odd and even ones between."""
    return list(dict.fromkeys([0 if qmin < 0 else qmax // 2 + 1, qmin + 3, qmax, 1, qmin, qmax - 4, qmin + 1, 2]))


def held(numbers: NDArray[np.float64], source: Format) -> Array:
    """Numbers in a format of floats; what is too large becomes its largest number."""
    most = float(source.max)
    found: Array = convert(np.clip(numbers, -most, most), source)
    return found


def numbers_of(step: float, zero_point: float, ends: tuple[int, int], source: Format, rng: Any) -> Array:
    """Numbers that try one step and zero point: both sides of every boundary, far ones, and those that are special."""
    qmin, qmax = ends
    codes = np.arange(qmin - 2, qmax + 3)
    if codes.size > _MOST + 8:
        codes = np.sort(np.concatenate([codes[:4], codes[-4:], rng.choice(codes[4:-4], _MOST, replace=False)]))
    places = codes - zero_point
    boundaries = held(np.asarray((places + 0.5) * step, np.float64), source)
    near = [boundaries]
    below, above = neighbours(boundaries, source)
    near += [below, above, neighbours(below, source)[0], neighbours(above, source)[1]]
    apart = np.array([*_APART, *(_APART[k] + 300.5 for k in range(4))]) * step
    inside = np.concatenate([places[::5] * step, (places[::7] + rng.random(places[::7].size)) * step])
    edges = [0.0, float(source.smallest_subnormal), float(source.smallest_normal), float(source.max)]
    numbers = np.concatenate([apart, -apart, inside, edges, np.negative(edges)])
    specials = np.array([np.inf, -np.inf, np.nan, -np.nan])
    near += [held(numbers, source), convert(specials, source)]
    found: Array = np.concatenate([np.asarray(part).astype(source.dtype) for part in near])
    return found


def table_of(
    steps: Sequence[float],
    zeros: Sequence[float],
    source: Format,
    bits: int,
    signed: bool,
    seed: int,
) -> Table:
    """One channel for each step with one of the zero points in turn; the numbers that try it, in random order.

    Steps that have exact ties come with two zero points, of which the first is that of an even code.
    """
    rng = np.random.default_rng(seed)
    low = -(2 ** (bits - 1)) if signed else 0
    pairs = [(step, float(zeros[k % len(zeros)])) for k, step in enumerate(steps)]
    pairs += [(step, float(zeros[k])) for step in steps if step in _EXACT for k in (0, 1) if k < len(zeros)]
    pairs = list(dict.fromkeys(pairs))
    ends = (low, low + 2**bits - 1)
    rows = [rng.permutation(numbers_of(step, zero, ends, source, rng)) for step, zero in pairs]
    taken, chosen = np.array(pairs, np.float64).T
    return Table(np.stack(rows), taken.copy(), chosen.copy(), source.name, bits, signed)
