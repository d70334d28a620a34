"""A range of least error in another norm: Σ w·|x − dequantized|^p over a grid of shrunken ranges.

For p = 2 there is the global optimum (mse.py). For other norms there is none here: the candidates are the numbers'
own range times k / candidates, the codes of each are exact, and the norms are sums in FP64.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.calibrate.calibration import of_ranges
from bitquant.calibrate.channels import Channels, Pair, Target
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP64
from bitquant.quantize.parameters import nearest_float, rationals
from bitquant.quantize.schemes import quantize

_CHUNK = 1 << 14


def ranges(channels: Channels, target: Target, *, p: Any = Fraction("2.4"), candidates: Any = 100) -> list[Pair]:
    """The range of each channel; of equally good ones the largest."""
    if target.grid is None:
        raise BitquantError("method='lp' knows no codebook: choose method='mse'")
    (power,) = rationals(p, 1, "p")
    if power <= 0:
        raise BitquantError(f"p={p!r} is not possible: give a positive number")
    if isinstance(candidates, bool) or not isinstance(candidates, (int, np.integer)) or candidates < 1:
        raise BitquantError(f"candidates={candidates!r} is not possible: give a positive integer")
    found = []
    for (row, whole), (low, high) in zip(channels.rows(), channels.ranges(), strict=True):
        x = convert(row, FP64, channels.source)
        weights = None if whole is None else whole.astype(np.float64)
        finite = np.isfinite(x)
        if not finite.all():
            x, weights = x[finite], None if weights is None else weights[finite]
        pairs = [(low * part, high * part) for part in (Fraction(k, int(candidates)) for k in range(candidates, 0, -1))]
        found.append(min(pairs, key=lambda pair: _norm(x, weights, pair, target, float(power))))
    return found


def _norm(
    x: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    pair: Pair,
    target: Target,
    power: float,
) -> float:
    """Σ w·|x − dequantized|^p, chunk by chunk."""
    found = of_ranges("lp", target, (), [pair])
    step, zero_point = nearest_float(found.step), found.zero_point
    total = 0.0
    for start in range(0, x.size, _CHUNK):
        chunk = x[start : start + _CHUNK]
        codes = quantize(
            chunk,
            target.scheme,
            bits=target.bits,
            signed=target.signed,
            narrow=target.narrow,
            step=found.step,
            zero_point=zero_point,
        ).codes
        error = np.abs(chunk - (codes.astype(np.float64) - zero_point) * step) ** power
        total += float(np.sum(error if weights is None else error * weights[start : start + _CHUNK]))
    return total


__all__ = ["ranges"]
