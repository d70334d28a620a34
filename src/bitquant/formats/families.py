"""Formats made from a rule: IEEE P3109's, custom ones, and codebooks."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable
from functools import cache
from typing import Any, NoReturn

import numpy as np

from bitquant.errors import BitquantError
from bitquant.formats.row import Format, NaNCodes
from bitquant.formats.table import ROWS

_SMALLEST, _LARGEST = -1074, 1023  # exponents of the smallest positive number of FP64, and of its largest
_P3109 = re.compile(r"binary(\d+)p(\d+)(s|u)(e|f)")
_CALL = re.compile(r"exmy\((\d{1,4}), *(\d{1,4})((?:, *\w{1,20}=(?:-?\d{1,9}|True|False|None|'\w{1,20}'))*)\)")
_OPTION = re.compile(r"(\w+)=")
_SHORT = re.compile(r"e(\d+)m(\d+)(?:b(-?\d+))?")


def _shape(fmt: Format) -> tuple[Any, ...]:
    """What makes two floating formats the same."""
    ties = fmt.ties if fmt.significand_bits == 0 else None
    return (fmt.exponent_bits, fmt.significand_bits, fmt.bias, fmt.signed, fmt.infinity, fmt.nan, fmt.zero, ties)


_BY_SHAPE = {_shape(row): row for row in ROWS if row.is_float}


def exmy(
    e: int,
    m: int,
    *,
    bias: int | None = None,
    infinity: bool | None = None,
    nan: NaNCodes = "ieee",
    signed_zero: bool | None = None,
    signed: bool = True,
) -> Format:
    """Make a custom floating format of e exponent bits and m stored significand bits.

    Parameters
    ----------
    e : int
        1 to 11.
    m : int
        0 to 52.
    bias : int, optional
        The exponent field of 1.0. Default: 2^(e−1) − 1.
    infinity : bool, optional
        Whether there are infinities. Default: with ``nan="ieee"``, which needs them.
    nan : {"ieee", "all_ones", "negative_zero", None}
        Which codes are NaN: the largest exponent field but for infinity; the code of all ones; the code of −0; none.
    signed_zero : bool, optional
        Whether −0 is a number. Default: unless its code is NaN, or there is no sign.
    signed : bool
        Whether there is a sign bit.

    Returns
    -------
    Format
        The row of the table where that is the same format.

    Raises
    ------
    BitquantError
        For a format that cannot be, or with values that FP64 does not hold; the message says what would be allowed.

    Examples
    --------
    >>> import bitquant as bq
    >>> small = bq.exmy(3, 4, nan=None)
    >>> small, small.bits, small.max
    (<Format exmy(3, 4, nan=None)>, 8, 31.0)
    >>> bq.exmy(5, 10)
    <Format float16>
    >>> [hex(code) for code in bq.encode([0.1, -3.0], bq.exmy(6, 9))]
    ['0x3733', '0xc100']
    """
    infinity = nan == "ieee" if infinity is None else infinity
    bias = (1 << (e - 1)) - 1 if bias is None and isinstance(e, int) and 1 <= e <= 11 else bias
    _check_shape(e, m, bias, infinity, nan, signed_zero, signed)
    e, m, bias, infinity, signed = int(e), int(m), int(bias or 0), bool(infinity), bool(signed)  # of NumPy's, too
    plain = Format("", "float", e, m, bias, signed=signed, infinity=infinity, nan=nan)
    known = _BY_SHAPE.get(_shape(plain))
    if known is not None:
        return known
    given: list[str] = [str(e), str(m)]
    given += [f"bias={bias}"] if bias != (1 << (e - 1)) - 1 else []
    given += [f"infinity={infinity}"] if infinity != (nan == "ieee") else []
    given += [f"nan={nan!r}"] if nan != "ieee" else []
    given += ["signed=False"] if not signed else []
    return _held(_made(f"exmy({', '.join(given)})", e, m, bias, signed, infinity, nan, "magnitude", "custom"))


@cache
def _made(
    name: str, e: int, m: int, bias: int, signed: bool, infinity: bool, nan: NaNCodes, ties: Any, source: str
) -> Format:
    """The one Format object of a name."""
    return Format(name, "float", e, m, bias, signed=signed, infinity=infinity, nan=nan, ties=ties, source=source)


def _check_shape(e: Any, m: Any, bias: Any, infinity: Any, nan: Any, signed_zero: bool | None, signed: bool) -> None:
    """Raise BitquantError for what no format can be."""
    for value, name, low, high in ((e, "exponent bits", 1, 11), (m, "significand bits", 0, 52)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not low <= value <= high:
            raise BitquantError(f"exmy({e}, {m}): a format has {low} to {high} {name}, not {value}")
    if not isinstance(bias, (int, np.integer)):
        raise BitquantError(f"exmy({e}, {m}): bias={bias!r} is no integer")
    if nan not in ("ieee", "all_ones", "negative_zero", None):
        raise BitquantError(
            f"exmy({e}, {m}): nan={nan!r} is not possible: choose 'ieee', 'all_ones', 'negative_zero' or None"
        )
    if nan == "ieee" and not infinity:
        raise BitquantError(
            f"exmy({e}, {m}): nan='ieee' needs infinity; without it choose nan='all_ones', 'negative_zero' or None"
        )
    if nan == "ieee" and (m == 0 or e == 1):
        raise BitquantError(
            f"exmy({e}, {m}): nan='ieee' takes the largest of the exponent fields and tells NaN from infinity by the "
            "significand, which needs e ≥ 2 and m ≥ 1; choose nan='all_ones', 'negative_zero' or None"
        )
    if nan == "negative_zero" and not signed:
        raise BitquantError(f"exmy({e}, {m}): without a sign there is no −0: choose nan='all_ones' or None")
    has_negative_zero = signed and nan != "negative_zero"
    if signed_zero is not None and bool(signed_zero) != has_negative_zero:
        way = (
            "give its code to NaN with nan='negative_zero'" if not signed_zero else "its code is NaN or does not exist"
        )
        raise BitquantError(f"exmy({e}, {m}): signed_zero={signed_zero} is not possible here: {way}")
    if (1 << (e + m)) - 1 - infinity - (nan == "all_ones") < 1 << m:
        raise BitquantError(f"exmy({e}, {m}): infinity and NaN leave no normal number: give it another bit")


def _held(fmt: Format) -> Format:
    """The format, if FP64 holds all of its values."""
    e, m, bias = fmt.exponent_bits, fmt.significand_bits, fmt.bias
    field = fmt.largest_code >> m
    lowest, highest = field - _LARGEST, 1 - m - _SMALLEST
    if not lowest <= bias <= highest:
        reach = f"2^{1 - bias - m} to less than 2^{field - bias + 1}"
        allowed = f"with {e} exponent and {m} significand bits the bias is {lowest} to {highest}"
        if lowest > highest:
            allowed = "take fewer exponent bits"
        raise BitquantError(f"{fmt.name} reaches from {reach}, beyond float64: {allowed}")
    return fmt


def p3109(name: str) -> Format | None:
    """The format Binary{K}p{P}{s|u}{e|f} of IEEE P3109, or None where the name is none."""
    match = _P3109.fullmatch(name)
    if match is None:
        return None
    bits, precision = int(match[1]), int(match[2])
    signed, extended = match[3] == "s", match[4] == "e"
    most = bits - signed
    if not 3 <= bits <= 16 or not 1 <= precision <= most:
        allowed = f"P from 1 to {most}" if 3 <= bits <= 16 else "K from 3 to 16"
        raise BitquantError(f"{name} is no format of P3109 here: Binary{{K}}p{{P}}{{s|u}}{{e|f}} has {allowed}")
    exponent_bits = bits - precision + (not signed)
    nan: NaNCodes = "negative_zero" if signed else "all_ones"
    row = _made(
        name, exponent_bits, precision - 1, 1 << (exponent_bits - 1), signed, extended, nan, "code",
        "IEEE P3109 interim report 4.0",
    )  # fmt: skip
    return _held(row)


@cache
def all_of_p3109() -> tuple[Format, ...]:
    """Every format of P3109 with K from 3 to 16 that FP64 holds."""
    found = []
    for bits in range(3, 17):
        for signed in "su":
            for precision in range(1, bits + (signed == "u")):
                for domain in "ef":
                    try:
                        found.append(p3109(f"binary{bits}p{precision}{signed}{domain}"))
                    except BitquantError:
                        continue
    return tuple(fmt for fmt in found if fmt is not None)


def custom(name: str) -> Format | None:
    """The format of a name like "e5m3", "e5m3b12" or "exmy(5, 3, nan=None)", or None where it is none."""
    match = _SHORT.fullmatch(name.lower())
    if match is not None:
        return exmy(int(match[1]), int(match[2]), bias=None if match[3] is None else int(match[3]))
    if not name.startswith("exmy("):
        return None
    match = _CALL.fullmatch(name)
    try:
        if match is None:
            return _unreadable(name, "not numbers and names")
        options = ast.literal_eval("{" + _OPTION.sub(r"'\1': ", match[3]).lstrip(", ") + "}")
        return exmy(int(match[1]), int(match[2]), **options)
    except (SyntaxError, TypeError) as error:
        return _unreadable(name, str(error))


def _unreadable(name: str, why: str) -> NoReturn:
    raise BitquantError(f"{name[:80]!r} cannot be read as exmy(e, m, bias=, infinity=, nan=, signed=): {why}") from None


def codebook(values: Iterable[float], name: str | None = None) -> Format:
    """Make a format of any sorted list of values; the code of a value is its place in the list.

    Parameters
    ----------
    values : iterable of float
        2 to 65,536 finite numbers, ascending, all different.
    name : str, optional
        How messages call it.

    Returns
    -------
    Format

    Raises
    ------
    BitquantError
        For values that are not ascending, not finite, too few or too many.

    Examples
    --------
    >>> import bitquant as bq
    >>> ternary = bq.codebook([-1.0, 0.0, 1.0], "ternary")
    >>> bq.encode([-0.6, 0.4, 0.51, 9.0], ternary)
    array([0, 1, 2, 2], dtype=uint8)
    >>> bq.decode([0, 2], ternary)
    array([-1.,  1.], dtype=float32)
    """
    try:
        found = tuple(float(value) + 0.0 for value in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise BitquantError(f"a codebook is made of numbers: {error}") from error
    if not 2 <= len(found) <= 1 << 16:
        raise BitquantError(f"a codebook has 2 to 65536 values, not {len(found)}")
    for place, value in enumerate(found):
        if not math.isfinite(value):
            raise BitquantError(f"a codebook's values are finite, and value {place} is {value}")
        if place and value <= found[place - 1]:
            raise BitquantError(
                f"a codebook's values ascend, and value {place} ({value:g}) is not above {found[place - 1]:g}: sort"
                " them"
            )
    name = f"codebook({len(found)} values)" if name is None else str(name)
    return _codebook(found, name)


@cache
def _codebook(values: tuple[float, ...], name: str) -> Format:
    bits = (len(values) - 1).bit_length()
    return Format(name, "codebook", 0, bits, signed=False, values=values, source="custom")
