"""ml_dtypes: `astype` from and to the dtypes that it adds to NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Candidate, Case, casts
from bitquant.formats import Format


def _cast(source: Format, target: Format) -> Candidate:
    def astype(x: Any) -> Any:
        with np.errstate(all="ignore"):
            return x.astype(target.dtype)

    return astype


def _promise(source: Format, target: Format) -> str:
    return ""


def _script(source: Format, target: Format) -> tuple[str, str]:
    name = f"{'np' if hasattr(np, target.name) else 'ml_dtypes'}.{target.name}"
    return "import ml_dtypes", f"x.astype({name})"


def _cases() -> tuple[Case, ...]:
    return casts("ml_dtypes", _cast, _promise, _script)


ADAPTER = Adapter("ml_dtypes", "ml_dtypes' astype", ("ml_dtypes",), _cases)
