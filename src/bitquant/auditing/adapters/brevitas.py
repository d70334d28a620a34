"""Brevitas: the core of its integer quantizers, with parameters given."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Case
from bitquant.auditing.adapters.tensors import array, script_tensor, tensor
from bitquant.convert import convert
from bitquant.formats import format


def _given(signed: bool) -> Any:
    def quantize(x: Any, step: float, zero_point: int) -> Any:
        import torch
        from brevitas.core.function_wrapper import Identity
        from brevitas.core.quant import IntQuant

        fmt = format(x.dtype)
        numbers, one = tensor(x, fmt), tensor(np.atleast_1d(convert(np.float64(step), fmt)), fmt)
        ask = IntQuant(narrow_range=False, signed=signed, input_view_impl=Identity())
        zero, bits = torch.tensor(float(zero_point), dtype=numbers.dtype), torch.tensor(8.0)
        found = array(ask.to_int(one, zero, bits, numbers).detach(), fmt)
        with np.errstate(all="ignore"):  # integers as floats; NaN among them becomes what C makes of it
            return found.astype(np.int32).astype(np.int8 if signed else np.uint8)

    return quantize


def _script(source: str, signed: bool) -> dict[str, str]:
    lines = (
        "import torch",
        "from brevitas.core.function_wrapper import Identity",
        "from brevitas.core.quant import IntQuant",
        "",
        f"quantizer = IntQuant(narrow_range=False, signed={signed}, input_view_impl=Identity())",
    )
    given = f"torch.tensor([step], dtype=torch.{source}), torch.tensor(zero_point, dtype=torch.{source})"
    call = f"quantizer.to_int({given}, torch.tensor(8.0), {script_tensor(format(source))}).detach().float().numpy()"
    return {"setup": "\n".join(lines), "call": call}


def _cases() -> tuple[Case, ...]:
    return tuple(
        Case(f"IntQuant {source} {code}", _given(code == "int8"), "", True,
             {"source": source, "signed": code == "int8", "step_format": source, **_script(source, code == "int8")})
        for source in ("float32", "bfloat16")
        for code in ("int8", "uint8")
    )  # fmt: skip


ADAPTER = Adapter("brevitas", "Brevitas' IntQuant", ("brevitas", "torch"), _cases)
