"""Numbers and parameters on which quantizers differ: ties, one ulp beside every boundary, and what overflows."""

from functools import lru_cache

import numpy as np

import bitquant as bq

STEPS = (0.1, 1 / 3, 0.25, 1.0, 0.00214854861, 3.0e-5, 6.1e-39, 2.0**-149, 1.5e30, 2.0**120)
ODD = np.array([0x3F7FFFFF, 0x3F000001, 0x3EFFFFFF, 0x00800000, 0x007FFFFF, 0x00000001, 0x4B000000, 0x4F000000], "u4")


def zero_points(qmin, qmax):
    """Zero points at both ends of the codes' range, and odd ones between."""
    return sorted({qmin, qmin + 1, 0, min(3, qmax), qmax - 2, qmax})


def around(numbers, dtype):
    """Numbers rounded to a dtype, with their neighbours on both sides."""
    fmt = bq.format(dtype)
    with np.errstate(all="ignore"):
        numbers = bq.convert(np.asarray(numbers, np.float64), fmt)
    finite = numbers[np.isfinite(numbers.astype(np.float64))]
    below, above = bq.neighbours(finite, fmt)
    return np.concatenate([numbers, below.astype(numbers.dtype), above.astype(numbers.dtype)])


@lru_cache(maxsize=512)
def adversarial(step, zero_point, qmin, qmax, dtype="float32", seed=0):
    """Every boundary between two codes, its neighbours, values of codes, and numbers that no quantizer expects."""
    rng = np.random.default_rng(seed)
    wide = range(qmin - 3, qmax + 4) if qmax - qmin < 1000 else sorted(rng.integers(qmin - 3, qmax + 4, 600).tolist())
    places = np.array(wide, np.float64) - zero_point
    numbers = [(places + 0.5) * step, places * step, (places + 0.25) * step, [0.0, -0.0]]
    largest = float(bq.format(dtype).max)
    ends = [largest, largest / 2, 2.0**31 * step, 2.0**24 * step, 2.0**23 * step, 2.0**63 * step, 1e6 * step]
    numbers += [ends, np.negative(ends), ODD.view(np.float32).astype(np.float64)]
    numbers += [rng.standard_normal(200) * step * (qmax - qmin) / 3]
    finite = around(np.concatenate([np.clip(part, -largest, largest) for part in numbers]), dtype)
    bits = rng.integers(0, 1 << 63, 300, np.uint64).view(f"u{finite.dtype.itemsize}")[:600].view(finite.dtype)
    special = np.array([np.inf, -np.inf, np.nan, -np.nan]).astype(finite.dtype)
    numbers = np.concatenate([finite, bits, special])
    words = np.unique(numbers.view(f"u{numbers.dtype.itemsize}"))
    return rng.permutation(words).view(numbers.dtype)


def near_ties(digits, rng):
    """Ranges whose low end lies so near half a step off an integer that float32 takes another than exact division."""
    low, high = -rng.random(1 << 20), rng.random(1 << 20)
    if digits > 24:
        return np.empty((0, 2))
    low, high = (bq.round_to(end.astype(np.float32), bq.exmy(8, digits - 1)) for end in (low, high))
    step = (high - low) / np.float32(255)
    exact = low.astype(np.float64) / step.astype(np.float64)
    differs = np.flatnonzero(np.rint(exact) != np.rint(low / step))[:20]
    return np.stack([low[differs], high[differs]], 1).astype(np.float64)


@lru_cache(maxsize=8)
def tensors(dtype="float32", seed=1):
    """Tensors from whose extremes parameters are found: ordinary, constant, all zero, tiny, huge, of one sign."""
    rng = np.random.default_rng(seed)
    largest = float(bq.format(dtype).max)
    smallest = float(bq.format(dtype).smallest_subnormal)
    tables = [rng.standard_normal(40) * scale for scale in (1, 0.01, 300.0, 1e-6)]
    tables += [np.abs(rng.standard_normal(9)), -np.abs(rng.standard_normal(9)), rng.random(7) + 5]
    tables += [[0.0], [0.0] * 5, [-0.0], [3.0], [-3.0], [2.5] * 4, [smallest], [-smallest, smallest * 3]]
    tables += [[largest, -largest], [largest], [largest / 2, 1], [2.0**-14, -(2.0**-13)], [1.0, -1.0], [-1.0, 1.0]]
    tables += [[0.0, 255 * 1.5 * 2.0**-24], [0.0, 255 * 2.0**-23], [-(2.0**-23) * 127.5]]
    normal = float(bq.format(dtype).smallest_normal)
    tables += [[0.0, 255 * normal], [0.0, 200 * normal], [0.0, 400 * normal], [-127 * normal, 1.5 * 127 * normal]]
    tables += near_ties(bq.format(dtype).precision, rng).tolist()
    tables += [[0.0, 127.5], [-128.0, 127.0], [0.0, 255.0], [-0.5, 254.5], [-1.5, 253.5], [1e-9, 2e-9], [-1e-39, 5e-39]]
    return [bq.convert(np.asarray(table, np.float64), bq.format(dtype)) for table in tables]
