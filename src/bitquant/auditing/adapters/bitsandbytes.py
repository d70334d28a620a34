"""bitsandbytes: int8 codes of each row, by its largest magnitude."""

from __future__ import annotations

from typing import Any

from bitquant.auditing.adapters.row import Adapter, Case
from bitquant.auditing.adapters.tensors import tensor
from bitquant.formats import format


def _row(x: Any) -> Any:
    """It stores the largest magnitude; the step is that, divided by 127 in the same type."""
    import bitsandbytes  # noqa: F401  (it registers its operators)
    import torch

    numbers = tensor(x.reshape(1, -1), format(x.dtype))
    codes, largest, _ = torch.ops.bitsandbytes.int8_vectorwise_quant.default(numbers, 0.0)
    return codes.numpy()[0], float(largest[0] / 127), 0


_SCRIPT = "\n".join(
    (
        "import bitsandbytes",
        "import torch",
        "",
        "def quantize(x):",
        "    row = torch.from_numpy(x[None])",
        "    codes, largest, _ = torch.ops.bitsandbytes.int8_vectorwise_quant.default(row, 0.0)",
        "    return codes.numpy()[0], (largest / 127).item(), 0",
    )
)


def _cases() -> tuple[Case, ...]:
    return (Case("int8_vectorwise_quant", _row, "", True, {"setup": _SCRIPT, "call": "quantize(x)"}),)


ADAPTER = Adapter("bitsandbytes", "bitsandbytes' int8", ("bitsandbytes", "torch"), _cases)
