"""Calibration held against rationals: every breakpoint tried, and errors added up number by number."""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction
from itertools import pairwise

import numpy as np

import bitquant as bq
from quantizing import exact


def values(x):
    """The exact values of an array's numbers."""
    return [Fraction(-n.numerator if n.sign else n.numerator, n.denominator) for n in exact(np.asarray(x))]


def grid(bits, signed=True, narrow=True, zero_point=0):
    """The levels of integer codes."""
    low = -(2 ** (bits - 1)) if signed else 0
    return [Fraction(code - zero_point) for code in range(low + narrow, low + 2**bits)]


def error(numbers, levels, step, weights=None):
    """The sum of squared errors when each number goes to the nearest multiple of the step by a level."""
    middles = [(a + b) / 2 for a, b in pairwise(levels)]
    total = Fraction(0)
    for x, w in zip(numbers, weights or [1] * len(numbers), strict=True):
        total += w * (x - step * levels[bisect_left(middles, x / step)]) ** 2
    return total


def local_minima(numbers, levels, weights=None):
    """Every local minimum of the error as a function of the step, as pairs (error, step): all breakpoints tried."""
    weights = weights or [1] * len(numbers)
    middles = [(a + b) / 2 for a, b in pairwise(levels)]
    counting = [x for x, w in zip(numbers, weights, strict=True) if x and w]
    breakpoints = sorted({x / m for x in counting for m in middles if x * m > 0})
    found = []
    for low, high in pairwise([Fraction(0), *breakpoints, None]):
        inside = low + 1 if high is None else (low + high) / 2
        a = b = Fraction(0)
        for x, w in zip(numbers, weights, strict=True):
            level = levels[bisect_left(middles, x / inside)]
            a, b = a + w * x * level, b + w * level * level
        if a > 0 and low <= a / b and (high is None or a / b <= high):
            found.append((sum(w * x * x for x, w in zip(numbers, weights, strict=True)) - a * a / b, a / b))
    return sorted(set(found))


def assert_certified(x, found, levels_of, weights=None, **quantizing):
    """Hold a certificate against the numbers: the error of the step is what it says, by our codes and by rationals."""
    numbers, certificate = values(x), found.certificate
    assert certificate.step == found.step
    assert certificate.zero_point == found.zero_point
    assert error(numbers, levels_of(found.zero_point), found.step, weights) == certificate.sse
    assert certificate.power == sum(w * n * n for n, w in zip(numbers, weights or [1] * len(numbers), strict=True))
    if certificate.runner_up_sse is not None:
        levels = levels_of(certificate.runner_up_zero_point)
        assert error(numbers, levels, certificate.runner_up_step, weights) == certificate.runner_up_sse
        assert certificate.runner_up_sse >= certificate.sse
    if quantizing:
        scheme = quantizing["scheme"]
        given = {} if scheme == "symmetric" else {"zero_point": found.zero_point}
        q = bq.quantize(x, step=found.step, **given, **quantizing)
        ours = [(code - found.zero_point) * found.step for code in np.asarray(q.codes).reshape(-1).tolist()]
        assert sum(w * (n - y) ** 2 for n, y, w in zip(numbers, ours, weights or [1] * len(ours), strict=True)) == (
            certificate.sse
        )
        by_range = bq.quantize(x, range=found, **quantizing)
        assert by_range.exact_scale == found.scale
        assert by_range.zero_point == found.zero_point
