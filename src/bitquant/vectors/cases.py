"""Which inputs try a conversion: all codes where they are few, else all that stand where an answer changes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.convert import convert, encode
from bitquant.errors import BitquantError
from bitquant.formats import FP64, Format, format
from bitquant.rules import Rounding

__all__ = ["RANDOM", "distinct", "inputs"]

RANDOM = 10_000  # inputs drawn at random, unless another number is asked for
_WHOLE = 16  # bits up to which every code of a format is taken
_SAMPLE = 4_096  # codes drawn, twice, from a target that is too large to be taken whole
_AROUND: tuple[Rounding, ...] = ("toward_negative", "toward_positive")


def inputs(source: Any, target: Any, *, random: int = RANDOM, seed: int = 0, count: int | None = None) -> Array:
    """Choose inputs that try the conversion from one format to another.

    Of a source of at most 16 bits, every code. Of a larger one: the codes at and next to

    - its own edges: zeros, every power of two, the ends of the subnormal and of the finite numbers, the infinities,
      and NaNs, quiet and signalling, with payloads empty, full and of one bit;
    - every number of the target and every midpoint of two neighbours, the end of what is tiny, and up to two steps
      beyond the largest number. Of a target of more than 16 bits, its edges stand for all its numbers, with 4096
      codes drawn at random from all and 4096 from those in the range of the source;

    and `random` codes drawn at random: half of them from all, half from those in the range of the target. All this with
    both signs, whatever signs the target has.

    Parameters
    ----------
    source, target : Format, str or dtype
    random : int
        How many codes are drawn. The same code may be drawn twice, and may be an edge; it comes once.
    seed : int
        Of the drawing.
    count : int, optional
        Keep no more than this many, drawn with the same seed.

    Returns
    -------
    ndarray of uint8, uint16, uint32 or uint64
        Codes of `source` in ascending order, each once.

    Examples
    --------
    >>> from bitquant import vectors
    >>> len(vectors.inputs("bfloat16", "int8")), len(vectors.inputs("float32", "int8", random=0))
    (65536, 4310)
    """
    origin, aim = format(source), format(target)
    for name, number in (("random", random), ("seed", seed), ("count", count)):
        if isinstance(number, bool) or not (number is None or (isinstance(number, (int, np.integer)) and number >= 0)):
            raise BitquantError(f"{name}={number!r}: give a number from 0 up")
    if origin.bits <= _WHOLE:
        codes = _every_code(origin)
    else:
        numbers = _numbers(aim, origin, seed)
        values = distinct(_exactly(numbers, aim) + 0.0)  # with one zero
        points = _points(values, aim)
        near = np.concatenate([_near_numbers(numbers, aim, origin), _near_points(points, origin)])
        if origin.signed:
            near = np.concatenate([near, _negated(near, origin)])
        codes = distinct(np.concatenate([_edges(origin), near, _drawn(origin, values, random, seed)]))
    if count is not None and count < codes.size:
        codes = np.sort(codes[np.argsort(_raw(codes.size, seed, 4), kind="stable")[:count]])
    return codes.astype(origin.code_dtype)


def distinct(numbers: Any) -> Array:
    """Each number once, in ascending order: sorted, which is many times faster than the table of np.unique."""
    found = np.sort(np.asarray(numbers), axis=None)
    first = np.ones(found.size, np.bool_)
    np.not_equal(found[1:], found[:-1], out=first[1:])
    return np.asarray(found[first])


def _every_code(fmt: Format) -> NDArray[np.uint64]:
    return np.arange(len(fmt.values) or 2**fmt.bits, dtype=np.uint64)


def _edges(fmt: Format) -> NDArray[np.uint64]:
    """Codes of a format at and next to its powers of two, its ends and its NaNs; for integers, of both signs."""
    whole, t = 2**fmt.bits - 1, fmt.significand_bits
    powers = [1 << k for k in range(t + 1)]
    if fmt.is_integer:
        places = [0, *powers, *(-power for power in powers)]
    else:
        top, quiet = 2**fmt.exponent_bits - 1 << t, 1 << t >> 1
        fields = {1, quiet >> 1, quiet - 1, quiet, quiet | 1, quiet | quiet >> 1, 2 * quiet - 1}
        places = [0, *powers, *(field << t for field in range(1, 2**fmt.exponent_bits + 1)), *(top | f for f in fields)]
        if fmt.signed:
            places += [1 << fmt.magnitude_bits | place for place in places]
    return np.array(sorted({place + step & whole for place, step in product(places, (-2, -1, 0, 1, 2))}), np.uint64)


def _numbers(aim: Format, origin: Format, seed: int) -> NDArray[np.uint64]:
    """The codes of all finite numbers of the target, or of those that stand for them."""
    if aim.bits <= _WHOLE:
        codes = _every_code(aim)
    else:
        drawn = _among(aim, [origin.smallest_subnormal, float(origin.max)], _raw(_SAMPLE, seed, 1))
        codes = distinct(_with_next(np.concatenate([_edges(aim), _raw(_SAMPLE, seed, 2), drawn]), aim))
    return np.asarray(codes[np.isfinite(_exactly(codes, aim))])


def _exactly(codes: NDArray[np.uint64], fmt: Format) -> NDArray[np.float64]:
    """Codes as FP64 numbers: exact but for integers of 64 bits."""
    held = codes.astype(fmt.code_dtype)
    return np.asarray(convert(held, FP64, fmt, rounding="toward_zero"), np.float64)


def _points(values: NDArray[np.float64], aim: Format) -> NDArray[np.float64]:
    """Where the answer of a conversion to the target changes, as real numbers."""
    with np.errstate(over="ignore"):
        parts = [values, values[:-1] / 2 + values[1:] / 2]
        if values.size > 1:
            for end, step in ((values[-1], values[-1] - values[-2]), (values[0], values[0] - values[1])):
                parts.append(end + step * np.array([0.5, 1.0, 1.5, 2.0]))
        if aim.kind == "float":
            tiny = aim.smallest_normal - aim.smallest_subnormal / 4  # rounds to the smallest normal number at p digits
            parts.append(np.array([tiny]))
    points = np.concatenate(parts)
    points = np.concatenate([points, -points])
    return np.asarray(points[np.isfinite(points)])


def _near_points(points: NDArray[np.float64], origin: Format) -> NDArray[np.uint64]:
    """The codes of the source at or on either side of real numbers, and one further."""
    codes = [encode(points, origin, FP64, rounding=rounding, overflow="saturate") for rounding in _AROUND]
    return _with_next(distinct(np.concatenate(codes)).astype(np.uint64), origin)


def _near_numbers(numbers: NDArray[np.uint64], aim: Format, origin: Format) -> NDArray[np.uint64]:
    """Those near the numbers of the target; of integers, which may have more bits than FP64, near the midpoints too."""
    held = numbers.astype(aim.code_dtype)
    codes = distinct([encode(held, origin, aim, rounding=rounding, overflow="saturate") for rounding in _AROUND])
    codes = codes.astype(np.uint64)
    if origin.is_integer:
        turn = np.uint64(2 ** (origin.bits - 1) if origin.signed else 0)  # two's complement in the numbers' order
        places = np.sort(codes ^ turn)
        middles = places[:-1] + (places[1:] - places[:-1]) // np.uint64(2)
        codes = np.concatenate([codes, middles ^ turn])
    return _with_next(codes, origin)


def _with_next(codes: NDArray[np.uint64], fmt: Format) -> NDArray[np.uint64]:
    """The codes and those before and after them, the last code being followed by the first."""
    whole = np.uint64(2**fmt.bits - 1)
    one = np.uint64(1)
    return np.asarray(np.concatenate([codes & whole, codes + one & whole, codes - one & whole]))


def _drawn(origin: Format, values: NDArray[np.float64], random: int, seed: int) -> NDArray[np.uint64]:
    """Codes drawn at random: half from all, half from where the target's numbers are."""
    raw = _raw(random, seed, 3)
    sizes = np.abs(values[values != 0])
    ends = [sizes.min() / 4, min(sizes.max(), FP64.max / 2) * 2] if sizes.size else [0.0, 0.0]
    return np.concatenate([raw[::2] & np.uint64(2**origin.bits - 1), _among(origin, ends, raw[1::2])])


def _among(fmt: Format, ends: list[float], raw: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Random words as codes of numbers whose magnitude lies between two."""
    codes = np.asarray(encode(np.array(ends), fmt, FP64, rounding="toward_zero", overflow="saturate"))
    low, high = sorted(codes.tolist())
    words = raw >> np.uint64(1) if fmt.signed else raw
    found = np.uint64(low) + words % np.uint64(min(high - low + 1, 2**64 - 1))
    if fmt.signed:
        found = np.where(raw & np.uint64(1) == 1, _negated(found, fmt), found)
    return np.asarray(found)


def _negated(codes: NDArray[np.uint64], fmt: Format) -> NDArray[np.uint64]:
    """The codes of the negatives; of the lowest integer, itself."""
    if fmt.is_integer:
        return np.asarray(np.uint64(0) - codes & np.uint64(2**fmt.bits - 1))
    return codes ^ np.uint64(1 << fmt.magnitude_bits)


def _raw(size: int, seed: int, stream: int) -> NDArray[np.uint64]:
    """64-bit words that are the same in every release of NumPy: a bit generator's own, not a distribution's."""
    return np.random.Philox(np.random.SeedSequence([seed, stream])).random_raw(size)
