"""Conversions with a rule of one's choice, in float64 arithmetic that is exact: candidates for audits.

Nothing is shared with bitquant but the figures of a format. A magnitude is divided by the ulp at its place, a power of
two, and rounded as an integer; both are exact in float64 for float32 and shorter sources and targets of few bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


def nearest_even(q):
    """To nearest, ties to even."""
    return np.rint(q)


def nearest_away(q):
    """To nearest, ties up; q has few bits, so that the sum is exact, or is an integer and more."""
    return np.where(q == np.floor(q), q, np.floor(q) + (q - np.floor(q) >= 0.5))


def ties_down(q):
    """To nearest, ties down."""
    return np.floor(q) + (q - np.floor(q) > 0.5)


def to_odd(q):
    """Exact, or the odd neighbour."""
    low = np.floor(q)
    return np.where((q != low) & (low % 2 == 0), low + 1, low)


MAGNITUDES = {
    "nearest_even": nearest_even,
    "nearest_away": nearest_away,
    "ties_down": ties_down,
    "down": np.floor,
    "up": np.ceil,
    "to_odd": to_odd,
}


@dataclass(frozen=True)
class Synthetic:
    """A conversion from float values to codes of a float format with sign, zero and IEEE 754's specials.

    `above` and `below` are what is done to magnitudes on either side of zero; the rest is as the audit names it.
    """

    target: object
    above: str = "nearest_even"
    below: str = "nearest_even"
    overflow: str = "ieee"
    infinity: str = "infinity"
    nan: str = "canonical"
    subnormals: str = "gradual"
    zero: str = "sign kept"
    way: str = "direct"

    def but(self, **changes):
        """The same with other rules."""
        return replace(self, **changes)

    def __call__(self, x):
        """Convert."""
        fmt = self.target
        smallest_in = float(np.finfo(x.dtype).tiny) if x.dtype.kind == "f" else 2.0**-126
        if self.way != "direct":
            import ml_dtypes

            x = x.astype(ml_dtypes.bfloat16 if self.way == "bfloat16" else self.way)
        value = x.astype(np.float64)
        minus = np.signbit(value)
        size = np.abs(value)
        nan, infinite = np.isnan(size), np.isinf(size)
        size = np.where(nan | infinite, 1.0, size)
        least = 2.0 ** (1 - fmt.bias)
        exponent = np.frexp(np.where(size == 0, least, size))[1] - 1
        exponent = np.maximum(exponent, 1 - fmt.bias)
        q = np.ldexp(size, fmt.significand_bits - exponent)
        whole = np.where(minus, MAGNITUDES[self.below](q), MAGNITUDES[self.above](q))
        code = (exponent - 1 + fmt.bias).astype(np.int64) * 2**fmt.significand_bits + whole.astype(np.int64)
        original = np.abs(value) if self.way == "direct" else size
        if self.subnormals in ("flush_input", "flush"):
            code = np.where(original < smallest_in, 0, code)
        if self.subnormals in ("flush_output", "flush"):
            code = np.where(code < 2**fmt.significand_bits, 0, code)
        if self.subnormals == "flush_tiny":
            code = np.where(original < least, 0, code)
        top = (2**fmt.exponent_bits - 1) << fmt.significand_bits  # infinity
        quiet = top | 1 << (fmt.significand_bits - 1)
        sign = minus.astype(np.int64) << (fmt.bits - 1)
        inward = np.where(minus, self.below in ("down", "to_odd"), self.above in ("down", "to_odd"))
        beyond = {"ieee": np.where(inward, top - 1, top), "saturate": top - 1, "infinity": top, "nan": quiet, "zero": 0}
        code = np.where(code >= top, beyond[self.overflow], code)
        if self.zero == "sign dropped":
            sign = np.where(code == 0, 0, sign)
        if self.zero == "sign dropped where rounded":
            sign = np.where((code == 0) & (size != 0), 0, sign)
        code = code | sign
        ends = {"infinity": top | sign, "saturate": top - 1 | sign, "nan": np.full_like(sign, quiet), "zero": 0 * sign}
        code = np.where(infinite, ends[self.infinity], code)
        ones = 2 ** (fmt.bits - 1) - 1
        nans = {"canonical": quiet, "signed": quiet | sign, "all_ones": ones | sign, "zero": 0, "max": top - 1}
        nans["positive_all_ones"] = ones
        return np.where(nan, nans[self.nan], code).astype(fmt.code_dtype)
