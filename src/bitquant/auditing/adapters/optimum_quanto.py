"""optimum-quanto: qint8 activations with a step given, and qint8 weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Case
from bitquant.auditing.adapters.tensors import script_tensor, tensor
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


def _activation_script(source: str) -> dict[str, str]:
    setup = "import torch\nfrom optimum.quanto import qint8\nfrom optimum.quanto.tensor import quantize_activation"
    given = f"{script_tensor(format(source))}, qint8, torch.tensor(step, dtype=torch.{source})"
    return {"setup": setup, "call": f"quantize_activation({given})._data.numpy()"}


_WEIGHT_SCRIPT = "\n".join(
    (
        "import torch",
        "from optimum.quanto import AbsmaxOptimizer, qint8",
        "from optimum.quanto.tensor.weights import quantize_weight",
        "",
        "def quantize(x):",
        "    row = torch.from_numpy(x[None])",
        "    found = quantize_weight(row, qint8, 0, AbsmaxOptimizer()(row, qint8, 0))",
        "    return found._data.numpy()[0], found._scale.item(), 0",
    )
)


def _cases() -> tuple[Case, ...]:
    given = [
        Case(
            f"quantize_activation {source}",
            _activation,
            "",
            True,
            {"source": source, "step_format": source, "zero_points": (0,), **_activation_script(source)},
        )
        for source in ("float32", "bfloat16")
    ]
    return (*given, Case("quantize_weight", _weight, "", True, {"setup": _WEIGHT_SCRIPT, "call": "quantize(x)"}))


ADAPTER = Adapter("optimum_quanto", "optimum-quanto's qint8", ("optimum-quanto", "torch"), _cases)
