"""NumPy: `astype` between its own dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Candidate, Case, casts
from bitquant.formats import Format

_INTEGERS = "Out of range is undefined behaviour of C (ndarray.astype, Notes)."


def _cast(source: Format, target: Format) -> Candidate:
    def astype(x: Any) -> Any:
        with np.errstate(all="ignore"):
            return x.astype(target.dtype)

    return astype


def _promise(source: Format, target: Format) -> str:
    return _INTEGERS if target.is_integer else ""


def _script(source: Format, target: Format) -> tuple[str, str]:
    return "", f"x.astype(np.{target.name})"


def _cases() -> tuple[Case, ...]:
    return casts("numpy", _cast, _promise, _script)


ADAPTER = Adapter("numpy", "NumPy's astype", ("numpy",), _cases)
