"""PyTorch on the CPU: `Tensor.to` between its dtypes."""

from __future__ import annotations

from typing import Any

from bitquant.auditing.adapters.row import Adapter, Candidate, Case, casts
from bitquant.auditing.adapters.tensors import array, same_width, tensor
from bitquant.formats import Format


def _cast(source: Format, target: Format) -> Candidate:
    def to(x: Any) -> Any:
        import torch

        return array(tensor(x, source).to(getattr(torch, target.name)), target)

    return to


def _promise(source: Format, target: Format) -> str:
    return ""


def _script(source: Format, target: Format) -> tuple[str, str]:
    given = f"torch.from_numpy(x.view(np.{same_width(source)})).view(torch.{source.name})"
    return "import torch", f"{given}.to(torch.{target.name}).view(torch.{same_width(target)}).numpy()"


def _cases() -> tuple[Case, ...]:
    return casts("torch", _cast, _promise, _script)


ADAPTER = Adapter("torch", "PyTorch's Tensor.to on the CPU", ("torch",), _cases)
