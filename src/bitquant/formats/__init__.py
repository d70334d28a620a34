"""Formats: what they are (row.py), THE TABLE of the named ones (table.py), those made from a rule (families.py)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from bitquant.errors import BitquantError
from bitquant.formats import families
from bitquant.formats.families import codebook, exmy
from bitquant.formats.row import Format
from bitquant.formats.table import (
    BF16,
    E2M1FN,
    E2M3FN,
    E3M2FN,
    E3M4,
    E4M3,
    E4M3B11FNUZ,
    E4M3FN,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    E8M0,
    FP16,
    FP32,
    FP64,
    INT2,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    IQ4_NL,
    NF4,
    ROWS,
    TF32,
    UINT2,
    UINT4,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
)

__all__ = [
    "BF16",
    "E2M1FN",
    "E2M3FN",
    "E3M2FN",
    "E3M4",
    "E4M3",
    "E4M3B11FNUZ",
    "E4M3FN",
    "E4M3FNUZ",
    "E5M2",
    "E5M2FNUZ",
    "E8M0",
    "FP16",
    "FP32",
    "FP64",
    "INT2",
    "INT4",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "IQ4_NL",
    "NF4",
    "TF32",
    "UINT2",
    "UINT4",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "Format",
    "codebook",
    "exmy",
    "format",
    "formats",
]

FORMATS = {row.name: row for row in ROWS}
_BY_NAME = {name: row for row in ROWS for name in (row.name, row.name.replace("_", ""), *row.aliases)}
_BY_DTYPE = {row.dtype: row for row in ROWS if row.dtype is not None}


def formats(family: Literal["table", "p3109"] = "table") -> tuple[Format, ...]:
    """List formats.

    Parameters
    ----------
    family : {"table", "p3109"}
        The named formats, in the order of the table; or every Binary{K}p{P}{s|u}{e|f} of IEEE P3109 with K from 3 to 16
        whose values float64 holds.

    Examples
    --------
    >>> import bitquant as bq
    >>> [fmt.name for fmt in bq.formats()][:5]
    ['float64', 'float32', 'tfloat32', 'float16', 'bfloat16']
    >>> len(bq.formats("p3109"))
    454
    """
    if family == "p3109":
        return families.all_of_p3109()
    if family != "table":
        raise BitquantError(f"family={family!r} is not possible: choose table or p3109")
    return ROWS


def format(x: Any) -> Format:
    """Find a format by name, alias or dtype.

    Parameters
    ----------
    x : Format, str, numpy.dtype, NumPy or ml_dtypes scalar type, or torch.dtype
        ``"float16"``, ``"half"``, ``"torch.float16"``, ``numpy.float16`` and ``torch.float16`` are the same format.
        ``"binary8p3se"`` and the like are P3109's; ``"e5m3"``, ``"e5m3b12"`` and ``"exmy(5, 3, nan=None)"`` are made by
        `exmy`. Names are case-insensitive.

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
    >>> bq.format("BF16"), bq.format(np.float32), bq.format("Binary8p3se")
    (<Format bfloat16>, <Format float32>, <Format binary8p3se>)
    """
    if isinstance(x, Format):
        return x
    found = _of_name(x) if isinstance(x, str) else _of_type(x)
    if found is None:
        known = ", ".join(row.name for row in ROWS)
        raise BitquantError(
            f"no format is called {str(x)!r}; there are {known}, their aliases such as fp16 and bf16, binary8p3se and "
            "the like of P3109, and custom ones such as e5m3 (exmy)"
        )
    return found


def _of_name(name: str) -> Format | None:
    found = _BY_NAME.get(name)
    if found is None:
        lower = name.strip().lower().removeprefix("torch.")
        plain = lower.replace("-", "").replace("_", "")
        found = _BY_NAME.get(lower) or _BY_NAME.get(plain) or families.p3109(plain) or families.custom(name.strip())
    return found


def _of_type(x: Any) -> Format | None:
    """The format of a scalar type, of a dtype of another byte order, or of another library's dtype object."""
    found = _BY_DTYPE.get(x) if isinstance(x, np.dtype) else None
    if found is not None:
        return found
    if type(x).__module__ == "torch":
        return _BY_NAME.get(str(x).removeprefix("torch."))
    if x is None:  # which NumPy reads as float64
        return None
    try:
        return _BY_DTYPE.get(np.dtype(x).newbyteorder("="))
    except TypeError:
        return None
