"""Inputs that tell rules apart: where the answer of a conversion changes, and how far from there another way rounds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.convert import encode
from bitquant.formats import FP64, Format
from bitquant.vectors.cases import distinct, inputs

__all__ = ["probes"]

_WHOLE = 16  # bits up to which every code of a source is taken
_PLACES = 128  # numbers of the target about which the ladders stand


@lru_cache(maxsize=32)
def probes(source: Format, target: Format, random: int, seed: int) -> Array:
    """Codes of the source in ascending order: all of up to 16 bits, else those at which rules differ.

    These are the boundaries, specials and random codes of `bitquant.vectors.inputs`, and ladders: the numbers at
    distances of 1, 2, 4, 8 ... places from numbers of the target and from the middles between them. Another way of
    getting to the target rounds them to the number or the middle itself, each way up to another distance.
    """
    near = inputs(source, target, random=random, seed=seed)
    if source.bits <= _WHOLE:
        codes = near
    else:
        codes = distinct(np.concatenate([near.astype(np.uint64), _ladders(source, target, seed)]))
        codes = codes.astype(source.code_dtype)
    codes.flags.writeable = False
    return codes


def _ladders(source: Format, target: Format, seed: int) -> NDArray[np.uint64]:
    """Codes at growing distances from some numbers and middles of the target, of both signs."""
    if target.bits <= _WHOLE:
        every = np.arange(len(target.values) or 2**target.bits, dtype=target.code_dtype)
    else:
        raw = np.random.Philox(np.random.SeedSequence([seed, 7])).random_raw(8 * _PLACES)
        every = (raw & np.uint64(2**target.bits - 1)).astype(target.code_dtype)
    values = distinct(np.asarray(encode(every, FP64, target, rounding="toward_zero")).view(np.float64) + 0.0)
    values = values[np.isfinite(values)]
    middles = values[:-1] / 2 + values[1:] / 2
    points = np.concatenate([_spread(values), _spread(middles)])
    nearby = encode(points, source, FP64, overflow="saturate", rounding="toward_zero")
    codes = distinct(np.asarray(nearby)).astype(np.uint64)
    steps = np.uint64(1) << np.arange(source.significand_bits, dtype=np.uint64)
    whole = np.uint64(2**source.bits - 1)
    return np.concatenate([(codes[:, None] + steps & whole).ravel(), (codes[:, None] - steps & whole).ravel()])


def _spread(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Some of the points, evenly chosen from all."""
    chosen = np.linspace(0, points.size - 1, min(points.size, _PLACES)).astype(np.intp)
    return points[chosen]
