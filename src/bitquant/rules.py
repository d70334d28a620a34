"""Rounding, overflow, NaN, subnormal and flag rules: the names and what they mean.

Rules are arguments; there is no mode to set. docs/semantics.md says what each does to a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError

__all__ = ["NAN", "OVERFLOW", "ROUNDINGS", "SUBNORMALS", "TININESS", "Flags", "choose"]

Rounding: TypeAlias = Literal[
    "nearest_even", "nearest_away", "toward_zero", "toward_positive", "toward_negative", "to_odd",
    "RNE", "RNA", "RTZ", "RTP", "RTN", "RTO",
]  # fmt: skip
Overflow: TypeAlias = Literal["ieee", "saturate", "saturate_finite", "wrap", "raise"]
NaNRule: TypeAlias = Literal["preserve", "canonical", "raise", "zero", "max"]
Subnormals: TypeAlias = Literal["gradual", "flush_input", "flush_output", "flush"]
Tininess: TypeAlias = Literal["after", "before"]

# In the order of kernels/rounding.pxd's Mode. Meanings: IEEE 754-2019 clause 4.3; to_odd: Boldo and
# Melquiond, "Emulation of FMA and correctly rounded sums", 2008.
ROUNDINGS: Mapping[str, str] = {
    "nearest_even": "to the nearest number; a tie goes to the one with an even code",
    "nearest_away": "to the nearest number; a tie goes to the one of larger magnitude",
    "toward_zero": "to the nearest number of no larger magnitude",
    "toward_positive": "to the nearest number that is no less",
    "toward_negative": "to the nearest number that is no greater",
    "to_odd": "exact, or the neighbour with an odd code",
}
ROUNDING_ALIASES: Mapping[str, str] = dict(
    zip(("RNE", "RNA", "RTZ", "RTP", "RTN", "RTO"), ROUNDINGS, strict=True),
)
OVERFLOW: Mapping[str, str] = {
    "ieee": "infinity or the largest finite number, by rounding direction (floating targets)",
    "saturate": "the largest finite number, for infinities too",
    "saturate_finite": "the largest finite number; infinity stays (floating targets)",
    "wrap": "the low bits of the rounded integer (integer targets)",
    "raise": "an error with the count and the first index",
}
NAN: Mapping[str, str] = {
    "preserve": "sign kept, top of the payload kept as far as it fits, quieted (floating targets)",
    "canonical": "the positive quiet NaN without payload (floating targets)",
    "raise": "an error with the count and the first index",
    "zero": "zero",
    "max": "the largest number",
}
SUBNORMALS: Mapping[str, str] = {
    "gradual": "gradual underflow",
    "flush_input": "an input that is subnormal in its own format becomes zero",
    "flush_output": "a result that is subnormal becomes zero",
    "flush": "both",
}
TININESS: Mapping[str, str] = {
    "after": "tiny is judged after rounding with an unbounded exponent (x86, RISC-V)",
    "before": "tiny is judged before rounding (Arm)",
}


def choose(what: str, given: Any, allowed: Mapping[str, str], where: str = "") -> str:
    """Return `given` when `allowed` has it, else raise an error that lists what there is."""
    if isinstance(given, str) and given in allowed:
        return given
    raise BitquantError(f"{what}={given!r} is not possible{where}: choose {_listed(allowed)}")


def _listed(names: Mapping[str, str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def rounding_index(rounding: str) -> int:
    """The kernels' number of a rounding mode, by name or alias."""
    name = ROUNDING_ALIASES.get(rounding, rounding) if isinstance(rounding, str) else rounding
    return list(ROUNDINGS).index(choose("rounding", name, ROUNDINGS))


@dataclass
class Flags:
    """IEEE 754 exception flags, counted: give one to a conversion and read it afterwards.

    Counts add up over the calls that the object is given to, as flags in a processor stay raised until lowered.

    Parameters
    ----------
    record : bool
        Also keep the flags of every element, as `mask`.

    Attributes
    ----------
    invalid, overflow, underflow, inexact : int
        Number of elements that raised the flag (clause 7 of IEEE 754-2019).
    mask : ndarray of uint8, or None
        With ``record=True``, the flags of each element of the last call, in its shape: the sum of 1 (invalid), 2
        (overflow), 4 (underflow) and 8 (inexact).

    Examples
    --------
    >>> import bitquant as bq
    >>> flags = bq.Flags(record=True)
    >>> bq.convert([0.5, 0.1, 1e6, 1e-9], "float16", flags=flags)
    array([0.5, 0.1, inf, 0. ], dtype=float16)
    >>> flags.inexact, flags.overflow, flags.underflow, flags.invalid
    (3, 1, 1, 0)
    >>> flags.mask
    array([ 0,  8, 10, 12], dtype=uint8)
    """

    INVALID = 1
    OVERFLOW = 2
    UNDERFLOW = 4
    INEXACT = 8

    record: bool = False
    invalid: int = 0
    overflow: int = 0
    underflow: int = 0
    inexact: int = 0
    mask: NDArray[np.uint8] | None = field(default=None, repr=False)
