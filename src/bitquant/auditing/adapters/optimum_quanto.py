"""optimum-quanto: qint8 activations with a step given, and qint8 weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Case
from bitquant.auditing.adapters.tensors import tensor
from bitquant.convert import convert
from bitquant.formats import format


def _activation(x: Any, step: float, zero_point: int) -> Any:
    from optimum.quanto import qint8
    from optimum.quanto.tensor import quantize_activation

    fmt = format(x.dtype)
    one = tensor(np.atleast_1d(convert(np.float64(step), fmt)), fmt)[0]
    return quantize_activation(tensor(x, fmt), qint8, one)._data.numpy()


def _weight(x: Any) -> Any:
    from optimum.quanto import AbsmaxOptimizer, qint8
    from optimum.quanto.tensor.weights import quantize_weight

    numbers = tensor(x.reshape(1, -1), format(x.dtype))
    found = quantize_weight(numbers, qint8, 0, AbsmaxOptimizer()(numbers, qint8, 0))
    return found._data.numpy()[0], found._scale.flatten()[0].item(), 0


def _cases() -> tuple[Case, ...]:
    given = [
        Case(
            f"quantize_activation {source}",
            _activation,
            "",
            True,
            {"source": source, "step_format": source, "zero_points": (0,)},
        )
        for source in ("float32", "bfloat16")
    ]
    return (*given, Case("quantize_weight", _weight, "", True))


ADAPTER = Adapter("optimum_quanto", "optimum-quanto's qint8", ("optimum-quanto", "torch"), _cases)
