"""From the name of a quantizer's dialect to its row."""

from __future__ import annotations

from typing import Any

from bitquant.dialects.quantizers.ggml import GGML
from bitquant.dialects.quantizers.onnx import ONNX
from bitquant.dialects.quantizers.pytorch import TORCH
from bitquant.dialects.quantizers.row import Quantizer
from bitquant.dialects.quantizers.tensorflow import TENSORFLOW
from bitquant.dialects.quantizers.training import TRAINING
from bitquant.dialects.quantizers.weights import WEIGHTS
from bitquant.dialects.quantizers.xnnpack import XNNPACK
from bitquant.errors import BitquantError

_ROWS: tuple[Quantizer, ...] = (*TORCH, *ONNX, *TENSORFLOW, *XNNPACK, *GGML, *WEIGHTS, *TRAINING)
_BY_NAME = {row.name: row for row in _ROWS}


def quantizers() -> tuple[Quantizer, ...]:
    """All dialects of quantizers, in the order of the table.

    Examples
    --------
    >>> from bitquant.dialects.quantizers import quantizers
    >>> [row.name for row in quantizers() if row.name.startswith("onnxruntime")]
    ['onnxruntime', 'onnxruntime_dynamic', 'onnxruntime_tool']
    """
    return _ROWS


def quantizer(name: Any) -> Quantizer:
    """Find a dialect by name, in any case; a row is taken as it is.

    Raises
    ------
    BitquantError
        When there is none; the message lists those that there are.

    Examples
    --------
    >>> from bitquant.dialects.quantizers import quantizer
    >>> quantizer("onnx").codes
    'clamp(float32(round_even(x / step)) + zero_point, qmin, qmax)'
    """
    if isinstance(name, Quantizer):
        return name
    found = _BY_NAME.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise BitquantError(f"no quantizer is called {name!r}; there are {', '.join(_BY_NAME)}")
    return found
