"""THE TABLE: one frozen row per format. Everything else about a format is derived from its row.

A new format is one row here; the conversions, the tests, the command line and the documentation follow from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import ml_dtypes
import numpy as np

from bitquant.errors import BitquantError

__all__ = ["BF16", "FP16", "FP32", "FP64", "INT8", "TF32", "UINT8", "Format", "format", "formats"]


@dataclass(frozen=True, eq=False)
class Format:
    """A finite set of values and their codes.

    A floating format packs sign, biased exponent and stored significand from the top bit down and keeps the largest
    exponent field for infinity and NaN (IEEE 754-2019 clause 3.4). An integer format's code is its two's complement.

    Attributes
    ----------
    name : str
        Canonical name: the dtype name of NumPy, ml_dtypes or PyTorch where there is one.
    kind : {"float", "integer"}
    exponent_bits, significand_bits : int
        Widths of the stored fields. An integer has no exponent bits.
    bias : int
        The exponent field of 1.0. Zero for integers.
    signed : bool
        Whether there is a sign bit.
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
    kind: Literal["float", "integer"]
    exponent_bits: int
    significand_bits: int
    bias: int
    signed: bool = True
    aliases: tuple[str, ...] = ()
    dtype: np.dtype[Any] | None = None
    source: str = field(default="", repr=False)

    def __repr__(self) -> str:
        return f"<Format {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return format, (self.name,)

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers in two's complement."""
        return self.kind == "integer"

    @property
    def bits(self) -> int:
        """Bits in a code."""
        return int(self.signed) + self.exponent_bits + self.significand_bits

    @property
    def precision(self) -> int:
        """Significand bits including the hidden one; for an integer, the bits of its largest magnitude."""
        return self.significand_bits + (not self.is_integer)

    @cached_property
    def code_dtype(self) -> np.dtype[Any]:
        """The unsigned dtype that codes are held in: uint8, uint16, uint32 or uint64."""
        return np.dtype(f"u{next(size for size in (1, 2, 4, 8) if 8 * size >= self.bits)}")

    @property
    def array_dtype(self) -> np.dtype[Any]:
        """The dtype of arrays of this format: its own, or that of its codes where it has none."""
        return self.code_dtype if self.dtype is None else self.dtype

    @property
    def min_exponent(self) -> int:
        """The exponent e of the smallest normal number 2^e."""
        return 0 if self.is_integer else 1 - self.bias

    @property
    def max_exponent(self) -> int:
        """The exponent of the largest finite number: it lies in [2^e, 2^(e+1))."""
        return self.significand_bits - 1 if self.is_integer else (1 << self.exponent_bits) - 2 - self.bias

    @property
    def magnitude_bits(self) -> int:
        """Bits of a code below its sign bit."""
        return self.exponent_bits + self.significand_bits

    @property
    def largest_code(self) -> int:
        """The code of `max`."""
        if self.is_integer:
            return (1 << self.significand_bits) - 1
        return self.infinity_code - 1

    @property
    def infinity_code(self) -> int:
        """The code of +infinity (floating formats)."""
        return ((1 << self.exponent_bits) - 1) << self.significand_bits

    @property
    def nan_code(self) -> int:
        """The code of the canonical quiet NaN: sign 0, quiet bit set, payload 0 (floating formats)."""
        return self.infinity_code | (1 << (self.significand_bits - 1))

    @cached_property
    def max(self) -> float:
        """The largest finite number."""
        if self.is_integer:
            return float(2**self.significand_bits - 1)
        return math.ldexp(2 ** (self.significand_bits + 1) - 1, self.max_exponent - self.significand_bits)

    @property
    def min(self) -> float:
        """The smallest (most negative) finite number."""
        if self.is_integer:
            return -float(2**self.significand_bits) if self.signed else 0.0
        return -self.max

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number with a full significand; 1 for an integer."""
        return math.ldexp(1.0, self.min_exponent)

    @property
    def smallest_subnormal(self) -> float:
        """The smallest positive number; 1 for an integer."""
        return 1.0 if self.is_integer else math.ldexp(1.0, self.min_exponent - self.significand_bits)

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next larger number."""
        return 1.0 if self.is_integer else math.ldexp(1.0, -self.significand_bits)

    @cached_property
    def decades(self) -> float:
        """Dynamic range: log10(max / smallest positive number)."""
        ratio = Fraction(self.max) / Fraction(self.smallest_subnormal)
        return math.log10(ratio.numerator) - math.log10(ratio.denominator)

    @property
    def decibels(self) -> float:
        """Dynamic range in dB: 20 · log10(max / smallest positive number)."""
        return 20 * self.decades

    @property
    def finite_count(self) -> int:
        """How many different finite values the format has (+0 and −0 are one value)."""
        if self.is_integer:
            return 1 << self.bits
        return 2 * self.infinity_code - 1

    def spacing(self, x: float) -> float:
        """The distance between neighbouring numbers at x, in the units of x: one ulp.

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
        exponent = math.frexp(x)[1] - 1 if x else self.min_exponent
        return math.ldexp(1.0, max(exponent, self.min_exponent) - self.significand_bits)

    def check_code(self, code: int) -> None:
        """Raise BitquantError unless the format has this code."""
        if not 0 <= code < 2**self.bits:
            raise BitquantError(f"{code:#x} is no code of {self.name}, which has {self.bits} bits")


def _float(name: str, exponent_bits: int, significand_bits: int, *aliases: str, dtype: Any, source: str) -> Format:
    bias = 2 ** (exponent_bits - 1) - 1
    numpy_dtype = None if dtype is None else np.dtype(dtype)
    return Format(name, "float", exponent_bits, significand_bits, bias, True, aliases, numpy_dtype, source)


def _integer(name: str, bits: int, signed: bool, *aliases: str) -> Format:
    return Format(name, "integer", 0, bits - signed, 0, signed, aliases, np.dtype(name), "two's complement")


_IEEE = "IEEE 754-2019, table 3.5"

FP64 = _float("float64", 11, 52, "fp64", "f64", "double", "binary64", dtype=np.float64, source=_IEEE)
FP32 = _float("float32", 8, 23, "fp32", "f32", "single", "float", "binary32", dtype=np.float32, source=_IEEE)
TF32 = _float("tfloat32", 8, 10, "tf32", "tensorfloat32", dtype=None, source="NVIDIA A100 architecture, 19 bits")
FP16 = _float("float16", 5, 10, "fp16", "f16", "half", "binary16", dtype=np.float16, source=_IEEE)
BF16 = _float(
    "bfloat16", 8, 7, "bf16", "brain", dtype=ml_dtypes.bfloat16, source="Intel BFLOAT16 hardware numerics definition"
)
INT8 = _integer("int8", 8, True, "i8", "s8")
UINT8 = _integer("uint8", 8, False, "u8")

_ROWS = (FP64, FP32, TF32, FP16, BF16, INT8, UINT8)
_BY_NAME = {name: row for row in _ROWS for name in (row.name, *row.aliases)}
_BY_DTYPE = {row.dtype: row for row in _ROWS if row.dtype is not None}


def formats() -> tuple[Format, ...]:
    """All formats, in the order of the table.

    Examples
    --------
    >>> import bitquant as bq
    >>> [fmt.name for fmt in bq.formats()]
    ['float64', 'float32', 'tfloat32', 'float16', 'bfloat16', 'int8', 'uint8']
    """
    return _ROWS


def format(x: Any) -> Format:
    """Find a format by name, alias or dtype.

    Parameters
    ----------
    x : Format, str, numpy.dtype, NumPy or ml_dtypes scalar type, or torch.dtype
        ``"float16"``, ``"half"``, ``"torch.float16"``, ``numpy.float16`` and ``torch.float16`` are the same format.
        Names are case-insensitive.

    Returns
    -------
    Format

    Raises
    ------
    BitquantError
        When no format goes by that name; the message lists those that there are.

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> bq.format("BF16"), bq.format(np.float32)
    (<Format bfloat16>, <Format float32>)
    """
    if isinstance(x, Format):
        return x
    if isinstance(x, str):
        found = _BY_NAME.get(x) or _BY_NAME.get(x.lower().removeprefix("torch.").replace("-", "").replace("_", ""))
    else:
        found = (_BY_DTYPE.get(x) if isinstance(x, np.dtype) else None) or _of_type(x)
    if found is None:
        known = ", ".join(row.name for row in _ROWS)
        raise BitquantError(
            f"no format is called {str(x)!r}; there are {known}, and their aliases such as fp16 and bf16"
        )
    return found


def _of_type(x: Any) -> Format | None:
    """The format of a scalar type, of a dtype of another byte order, or of another library's dtype object."""
    if type(x).__module__ == "torch":
        return _BY_NAME.get(str(x).removeprefix("torch."))
    if x is None:  # which NumPy reads as float64
        return None
    try:
        return _BY_DTYPE.get(np.dtype(x).newbyteorder("="))
    except TypeError:
        return None
