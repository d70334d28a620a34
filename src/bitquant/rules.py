"""Rounding, overflow, NaN, subnormal and flag rules: the names and what they mean.

Rules are arguments; there is no mode to set. docs/semantics.md says what each does to a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError

__all__ = ["NAN", "OVERFLOW", "ROUNDINGS", "SUBNORMALS", "TININESS", "Flags", "Stochastic", "choose"]

Rounding: TypeAlias = Literal[
    "nearest_even", "nearest_away", "toward_zero", "toward_positive", "toward_negative", "to_odd",
    "RNE", "RNA", "RTZ", "RTP", "RTN", "RTO",
]  # fmt: skip
Overflow: TypeAlias = Literal["ieee", "saturate", "saturate_finite", "nan", "wrap", "indefinite", "raise"]
NaNRule: TypeAlias = Literal[
    "preserve", "canonical", "signed", "all_ones", "positive_all_ones", "raise", "zero", "negated_zero", "max",
    "indefinite",
]  # fmt: skip
Subnormals: TypeAlias = Literal["gradual", "flush_input", "flush_output", "flush"]
Tininess: TypeAlias = Literal["after", "before"]
Name = TypeVar("Name", bound=str)

# In the order of kernels/rounding.pxd's Mode. Meanings: IEEE 754-2019 clause 4.3; to_odd: Boldo and
# Melquiond, "Emulation of FMA and correctly rounded sums", 2008.
ROUNDINGS: Mapping[Rounding, str] = {
    "nearest_even": "to the nearest number; a tie goes to the one with an even code",
    "nearest_away": "to the nearest number; a tie goes to the one of larger magnitude",
    "toward_zero": "to the nearest number of no larger magnitude",
    "toward_positive": "to the nearest number that is no less",
    "toward_negative": "to the nearest number that is no greater",
    "to_odd": "exact, or the neighbour with an odd code",
}
_INDICES = {name: index for index, name in enumerate(ROUNDINGS)}
ROUNDING_ALIASES: Mapping[str, Rounding] = dict(
    zip(("RNE", "RNA", "RTZ", "RTP", "RTN", "RTO"), ROUNDINGS, strict=True),
)
OVERFLOW: Mapping[str, str] = {
    "ieee": "infinity or the largest finite number, by rounding direction; NaN for infinity where there is none; the "
    "largest number where there is neither (floating targets)",
    "saturate": "the largest finite number, for infinities too",
    "saturate_finite": "the largest finite number; infinity stays, as under `ieee` (floating targets)",
    "nan": "NaN, for infinities too (floating targets with NaN and no infinity); without a zero, for zero as well",
    "wrap": "the low bits of the rounded integer (integer targets)",
    "indefinite": "x86's integer indefinite: the most negative integer, unsigned the largest (integer targets)",
    "raise": "an error with the count and the first index",
}
NAN: Mapping[str, str] = {
    "preserve": "sign kept, top of the payload kept as far as it fits, quieted (targets with NaN)",
    "canonical": "the positive quiet NaN without payload (targets with NaN)",
    "signed": "the quiet NaN without payload, sign kept (targets with NaN)",
    "all_ones": "exponent and significand all ones, sign kept (targets with NaN)",
    "positive_all_ones": "exponent and significand all ones, positive (targets with NaN)",
    "raise": "an error with the count and the first index",
    "zero": "zero",
    "negated_zero": "zero, with the sign that NaN had not (floating targets without NaN)",
    "max": "the largest number",
    "indefinite": "x86's integer indefinite: the most negative integer, unsigned the largest (integer targets)",
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


def choose(what: str, given: Any, allowed: Mapping[Name, str], where: str = "") -> Name:
    """Return `given` when `allowed` has it, else raise an error that lists what there is."""
    known = isinstance(given, str) and given in allowed
    if not known:
        raise BitquantError(f"{what}={given!r} is not possible{where}: choose {_listed(allowed)}")
    name: Name = given
    return name


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


@dataclass(frozen=True)
class Stochastic:
    """Stochastic rounding: away from zero with a probability that grows with the fraction cut off.

    With ν that fraction and R a random integer of so many bits, the magnitude is rounded up where F + R ≥ 2^bits. F is
    ν · 2^bits made an integer by the variant's rule.

    Parameters
    ----------
    bits : int
        Random bits for each number, 1 to 32.
    seed : int
        Of the generator, 0 to 2^64 − 1. The bits of a number follow from the seed and its index (in C order) alone:
        Philox4x32-10 with the seed as key and index // 4 as counter, word index % 4, its top bits. So the result does
        not depend on threads, chunks or the CPU.
    variant : {"A", "B", "C"}
        P3109's StochasticA (F cut off), StochasticB (F nearest, ties up), StochasticC (F nearest, ties to even).
    random : array_like of unsigned int, optional
        Your own random integers below 2^bits, one for each number, instead of the generator's.

    Examples
    --------
    >>> import bitquant as bq
    >>> x = [1.25] * 8
    >>> bq.convert(x, "int8", rounding=bq.Stochastic(bits=2, random=[0, 1, 2, 3, 0, 1, 2, 3]))
    array([1, 1, 1, 2, 1, 1, 1, 2], dtype=int8)
    >>> bq.convert(x, "int8", rounding=bq.Stochastic(seed=7))
    array([2, 2, 1, 1, 1, 2, 1, 2], dtype=int8)
    """

    bits: int = 32
    seed: int = 0
    variant: Literal["A", "B", "C"] = "C"
    _: KW_ONLY
    random: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, most in (("bits", 32), ("seed", 2**64 - 1)):
            value = getattr(self, name)
            if (
                not isinstance(value, (int, np.integer))
                or isinstance(value, bool)
                or not int(name == "bits") <= value <= most
            ):
                raise BitquantError(
                    f"Stochastic({name}={value!r}): give an integer from {int(name == 'bits')} to {most}"
                )
        choose("variant", self.variant, {"A": "", "B": "", "C": ""}, " for Stochastic")

    def words(self, shape: tuple[int, ...]) -> NDArray[np.uint32] | None:
        """The caller's random integers for numbers of this shape, or None."""
        if self.random is None:
            return None
        random = np.asarray(self.random)
        if random.shape != shape or random.dtype.kind not in "iu":
            raise BitquantError(
                f"random has shape {random.shape} and dtype {random.dtype}: one integer is needed for each number of "
                f"x, which has shape {shape}"
            )
        if random.size and (int(random.min()) < 0 or int(random.max()) >= 2**self.bits):
            worst = int(random.min()) if int(random.min()) < 0 else int(random.max())
            raise BitquantError(f"random has {worst}, which is no integer of {self.bits} bits")
        return np.ascontiguousarray(random, np.uint32)


def rounding_rule(rounding: Any) -> Rounding | Stochastic:
    """The canonical name of a rounding mode, given by name or alias; or the stochastic one."""
    if isinstance(rounding, Stochastic):
        return rounding
    name = ROUNDING_ALIASES.get(rounding, rounding) if isinstance(rounding, str) else rounding
    return choose("rounding", name, ROUNDINGS)


def rounding_index(rounding: str | Stochastic) -> int:
    """The kernels' number of a rounding mode."""
    rule = rounding_rule(rounding)
    return len(_INDICES) if isinstance(rule, Stochastic) else _INDICES[rule]


def fixed_rounding(rounding: Any) -> Rounding:
    """The canonical name of a rounding mode that is not stochastic."""
    rule = rounding_rule(rounding)
    if isinstance(rule, Stochastic):
        raise BitquantError(
            "a quantizer's codes are not rounded at random: choose one of the rounding modes, or round the numbers "
            "first with round_to"
        )
    return rule


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
