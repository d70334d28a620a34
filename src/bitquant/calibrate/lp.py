"""A range of least error in another norm: Σ w·|x − dequantized|^p over a grid of shrunken ranges.

For p = 2 there is the global optimum (mse.py). For other norms there is none here: the candidates are the numbers'
own range times k / candidates, the codes of each are exact, and the norms are sums in FP64, in a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.calibrate.calibration import of_ranges
from bitquant.calibrate.channels import Channel, Pair, Target, Weights
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP64, Format
from bitquant.quantize.rationals import nearest_float, rationals
from bitquant.quantize.schemes import quantize

_CHUNK = 1 << 14


def ranges(
    channels: Iterable[Channel], target: Target, *, p: Any = Fraction("2.4"), candidates: Any = 100
) -> list[Pair]:
    """The range of each channel; of equally good ones the largest."""
    if target.grid is None:
        raise BitquantError("method='lp' knows no codebook: choose method='mse'")
    (power,) = rationals(p, 1, "p")
    if power <= 0:
        raise BitquantError(f"p={p!r} is not possible: give a positive number")
    if isinstance(candidates, bool) or not isinstance(candidates, (int, np.integer)) or candidates < 1:
        raise BitquantError(f"candidates={candidates!r} is not possible: give a positive integer")
    found = []
    for channel in channels:
        shares = [Fraction(k, int(candidates)) for k in range(candidates, 0, -1)]
        pairs = [(channel.low * part, channel.high * part) for part in shares]
        parameters = [(one.step, one.zero_point) for one in (of_ranges("lp", target, (), [pair]) for pair in pairs)]
        norms = channel.total(partial(_norms, channel.source, target, parameters, float(power)))
        found.append(pairs[int(np.argmin(norms))])
    return found


def _norms(
    source: Format,
    target: Target,
    parameters: Sequence[tuple[Fraction, int]],
    power: float,
    piece: Array,
    weights: Weights,
) -> NDArray[np.float64]:
    """Σ w·|x − dequantized|^p of a piece, for each candidate's step and zero point."""
    totals = np.zeros(len(parameters))
    for start in range(0, piece.size, _CHUNK):
        x = convert(piece[start : start + _CHUNK], FP64, source)
        finite = np.isfinite(x)
        x = x[finite]
        counts = 1.0 if weights is None else weights[start : start + _CHUNK][finite].astype(np.float64)
        for k, (step, zero_point) in enumerate(parameters):
            codes = quantize(
                x,
                target.scheme,
                bits=target.bits,
                signed=target.signed,
                narrow=target.narrow,
                step=step,
                zero_point=zero_point,
            ).codes
            error = np.abs(x - (codes.astype(np.float64) - zero_point) * nearest_float(step)) ** power
            totals[k] += np.sum(error * counts)
    return totals


__all__ = ["ranges"]
