"""PyTorch on the CPU: `Tensor.to` between its dtypes."""

from __future__ import annotations

from typing import Any

from bitquant.audit.adapters.row import Adapter, Candidate, Case, casts
from bitquant.audit.adapters.tensors import array, tensor
from bitquant.formats import Format


def _cast(source: Format, target: Format) -> Candidate:
    def to(x: Any) -> Any:
        import torch

        return array(tensor(x, source).to(getattr(torch, target.name)), target)

    return to


def _promise(source: Format, target: Format) -> str:
    return ""


def _cases() -> tuple[Case, ...]:
    return casts("torch", _cast, _promise)


ADAPTER = Adapter("torch", "PyTorch's Tensor.to on the CPU", ("torch",), _cases)
