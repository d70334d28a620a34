"""What a format is: one frozen row, and everything else about the format derived from it."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np

from bitquant.errors import BitquantError

NaNCodes = Literal["ieee", "all_ones", "negative_zero"] | None


@dataclass(frozen=True, eq=False)
class Format:
    """A finite set of values and their codes.

    A floating format packs sign, biased exponent and stored significand from the top bit down. An integer format's code
    is its two's complement, a codebook's the place of a value in a sorted list.

    Attributes
    ----------
    name : str
        Canonical name: the dtype name of NumPy, ml_dtypes or PyTorch where there is one.
    kind : {"float", "integer", "codebook"}
    exponent_bits, significand_bits : int
        Widths of the stored fields. Only a floating format has exponent bits.
    bias : int
        The exponent field of 1.0 (floating formats).
    signed : bool
        Whether there is a sign bit. (A codebook has none, whatever its values.)
    infinity : bool
        Whether there are infinities.
    nan : {"ieee", "all_ones", "negative_zero", None}
        Where NaN is: in the largest exponent field, beside infinity (IEEE 754-2019 clause 3.4); at the code whose
        exponent and significand are all ones; at the code of −0, which the format then lacks; nowhere.
    zero : bool
        Whether the format has a zero. Without, exponent field 0 is a normal number.
    ties : {"magnitude", "code"}
        For formats without a stored significand bit: whether ``nearest_even`` takes the larger of two numbers in a tie,
        as IEEE 754 has it (clause 4.3.1), or the one with an even code, as P3109 has it.
    values : tuple of float
        A codebook's values, ascending.
    aliases : tuple of str
        Other names that `format` accepts, in lower case.
    dtype : numpy.dtype or None
        The NumPy or ml_dtypes dtype whose bits are this format's codes; None where neither library has one.
    source : str
        Where the format is defined.

    Examples
    --------
    >>> import bitquant as bq
    >>> bq.FP16.max, bq.FP16.smallest_subnormal, bq.FP16.epsilon
    (65504.0, 5.960464477539063e-08, 0.0009765625)
    >>> bq.format("half") is bq.FP16
    True
    """

    name: str
    kind: Literal["float", "integer", "codebook"]
    exponent_bits: int
    significand_bits: int
    bias: int = 0
    signed: bool = True
    infinity: bool = False
    nan: NaNCodes = None
    zero: bool = True
    ties: Literal["magnitude", "code"] = "magnitude"
    values: tuple[float, ...] = field(default=(), repr=False)
    aliases: tuple[str, ...] = ()
    dtype: np.dtype[Any] | None = None
    source: str = field(default="", repr=False)

    def __repr__(self) -> str:
        return f"<Format {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from bitquant.formats import FORMATS, codebook, format

        if self.kind == "codebook" and self is not FORMATS.get(self.name):
            return codebook, (self.values, self.name)
        return format, (self.name,)

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers in two's complement."""
        return self.kind == "integer"

    @property
    def is_float(self) -> bool:
        """Whether codes are made of sign, exponent and significand."""
        return self.kind == "float"

    @property
    def bits(self) -> int:
        """Bits in a code."""
        return int(self.signed) + self.exponent_bits + self.significand_bits

    @property
    def precision(self) -> int:
        """Significand bits including the hidden one; for an integer, the bits of its largest magnitude."""
        return self.significand_bits + self.is_float

    @cached_property
    def code_dtype(self) -> np.dtype[Any]:
        """The unsigned dtype that codes are held in: uint8, uint16, uint32 or uint64."""
        return np.dtype(f"u{next(size for size in (1, 2, 4, 8) if 8 * size >= self.bits)}")

    @property
    def array_dtype(self) -> np.dtype[Any]:
        """The dtype of arrays of this format: its own, or that of its codes where it has none."""
        return self.code_dtype if self.dtype is None else self.dtype

    @property
    def has_nan(self) -> bool:
        """Whether a code is NaN."""
        return self.nan is not None

    @property
    def signed_zero(self) -> bool:
        """Whether there are two zeros, +0 and −0."""
        return self.is_float and self.signed and self.nan != "negative_zero"

    @property
    def min_exponent(self) -> int:
        """The exponent e of the smallest normal number 2^e."""
        return int(self.zero) - self.bias if self.is_float else 0

    @property
    def max_exponent(self) -> int:
        """The exponent of the largest finite number: it lies in [2^e, 2^(e+1))."""
        return math.frexp(self.max)[1] - 1 if not self.is_integer else self.significand_bits - 1

    @property
    def magnitude_bits(self) -> int:
        """Bits of a code below its sign bit."""
        return self.exponent_bits + self.significand_bits

    @property
    def largest_code(self) -> int:
        """The code of `max`."""
        if self.kind == "codebook":
            return len(self.values) - 1
        if self.nan == "ieee":
            return self._top_field - 1
        return (1 << self.magnitude_bits) - 1 - (self.nan == "all_ones") - self.infinity

    @property
    def _top_field(self) -> int:
        return ((1 << self.exponent_bits) - 1) << self.significand_bits

    @property
    def infinity_code(self) -> int | None:
        """The code of +infinity; None where there is none."""
        return self.largest_code + 1 if self.infinity else None

    @property
    def nan_code(self) -> int | None:
        """The code of the canonical NaN: positive, quiet, payload 0, where the format leaves a choice."""
        if self.nan == "ieee":
            return self._top_field | (1 << (self.significand_bits - 1))
        if self.nan == "all_ones":
            return (1 << self.magnitude_bits) - 1
        return 1 << self.magnitude_bits if self.nan == "negative_zero" else None

    @property
    def max(self) -> float:
        """The largest finite number; an int for an integer format."""
        return self.value_of(self.largest_code)

    @property
    def min(self) -> float:
        """The smallest (most negative) finite number; an int for an integer format."""
        if self.kind == "codebook" or not self.signed:
            return self.value_of(0)
        return -(1 << self.significand_bits) if self.is_integer else -self.max

    def value_of(self, magnitude: int) -> float:
        """The finite number with this code, whose sign bit is 0."""
        if self.kind == "codebook":
            return self.values[magnitude]
        if self.is_integer:
            return magnitude
        exponent, stored = magnitude >> self.significand_bits, magnitude & ((1 << self.significand_bits) - 1)
        if exponent or not self.zero:
            stored |= 1 << self.significand_bits
        exponent = max(exponent, int(self.zero))
        return math.ldexp(stored, exponent - self.bias - self.significand_bits)

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number with a full significand; 1 for an integer."""
        return self.smallest_subnormal if self.kind == "codebook" else math.ldexp(1.0, self.min_exponent)

    @property
    def smallest_subnormal(self) -> float:
        """The smallest positive number; 1 for an integer."""
        if self.kind == "codebook":
            return min((value for value in self.values if value > 0), default=math.nan)
        return 1.0 if self.is_integer else math.ldexp(1.0, self.min_exponent - self.significand_bits)

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next larger number; NaN for a codebook."""
        if self.kind == "codebook":
            return math.nan
        return 1.0 if self.is_integer else math.ldexp(1.0, -self.significand_bits)

    @cached_property
    def decades(self) -> float:
        """Dynamic range: log10(largest magnitude / smallest positive number)."""
        smallest = self.smallest_subnormal
        if math.isnan(smallest):
            return math.nan
        ratio = max(Fraction(self.max), -Fraction(self.min)) if self.kind == "codebook" else Fraction(self.max)
        ratio /= Fraction(smallest)
        return math.log10(ratio.numerator) - math.log10(ratio.denominator)

    @property
    def decibels(self) -> float:
        """Dynamic range in dB: 20 · log10(largest magnitude / smallest positive number)."""
        return 20 * self.decades

    @property
    def finite_count(self) -> int:
        """How many different finite values the format has (+0 and −0 are one value)."""
        if self.is_integer:
            return 1 << self.bits
        return 2 * self.largest_code + 1 if self.signed else self.largest_code + 1

    def spacing(self, x: float) -> float:
        """The distance between neighbouring numbers at x, in the units of x: one ulp.

        In a codebook, the length of the interval between two values in which x lies.

        Examples
        --------
        >>> import bitquant as bq
        >>> bq.FP16.spacing(1.0), bq.FP16.spacing(4096.0), bq.BF16.spacing(4096.0)
        (0.0009765625, 4.0, 32.0)
        """
        if not self.min <= x <= self.max:  # NaN too
            return math.nan
        if self.is_integer:
            return 1.0
        if self.kind == "codebook":
            above = min(bisect.bisect_right(self.values, x), self.largest_code)
            return self.values[above] - self.values[above - 1]
        exponent = math.frexp(x)[1] - 1 if x else self.min_exponent
        return math.ldexp(1.0, max(exponent, self.min_exponent) - self.significand_bits)

    def contains(self, inner: Format) -> bool:
        """Whether every value of another format is one of this, infinities and NaN too (NaN payloads and −0 aside).

        Examples
        --------
        >>> import bitquant as bq
        >>> bq.FP32.contains(bq.BF16), bq.FP16.contains(bq.BF16)
        (True, False)
        """
        if self is inner:
            return True
        if (inner.infinity and not self.infinity) or (inner.has_nan and not self.has_nan):
            return False
        if inner.kind == "codebook":
            return all(self._has(value) for value in inner.values)
        if self.kind == "codebook":
            return inner.bits <= 16 and all(value in self.values for value in _values(inner))
        if self.is_integer:
            whole = inner.is_integer or inner.smallest_subnormal >= 1
            return whole and self.min <= inner.min and inner.max <= self.max
        return (
            self.precision >= inner.precision
            and self.max >= max(inner.max, -inner.min)
            and self.smallest_subnormal <= inner.smallest_subnormal
            and (self.signed or inner.min >= 0)
            and (self.zero or not inner.zero)
        )

    def _has(self, value: float) -> bool:
        """Whether a finite number is one of the format's."""
        if not self.min <= value <= self.max:
            return False
        if self.kind == "codebook":
            return value in self.values
        if value == 0:
            return self.zero
        quantum = 1 if self.is_integer else Fraction(self.spacing(value))
        return (Fraction(value) / quantum).denominator == 1

    def check_code(self, code: int) -> None:
        """Raise BitquantError unless the format has this code."""
        if not 0 <= code < 2**self.bits:
            raise BitquantError(f"{code:#x} is no code of {self.name}, which has {self.bits} bits")
        if self.kind == "codebook" and code >= len(self.values):
            raise BitquantError(f"{code:#x} is no code of {self.name}, which has {len(self.values)} values")


def _values(fmt: Format) -> list[float]:
    """All finite values of a small format that is no codebook."""
    found = [fmt.value_of(code) for code in range(fmt.largest_code + 1)]
    if fmt.signed:
        found += [-1 - value if fmt.is_integer else -value for value in found]
    return found
