"""compressed-tensors: its `quantize` with parameters given, and with those of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Case
from bitquant.auditing.adapters.tensors import array, script_tensor, tensor
from bitquant.convert import convert
from bitquant.formats import Format, format


def _given(source: str) -> Any:
    fmt: Format = format(source)

    def arguments(step: float, zero_point: int) -> tuple[Any, Any, Any]:
        import torch
        from compressed_tensors.quantization import QuantizationArgs

        one = tensor(np.atleast_1d(convert(np.float64(step), fmt)), fmt)
        return one, torch.tensor([zero_point], dtype=torch.int8), QuantizationArgs(num_bits=8, strategy="tensor")

    def quantize(x: Any, step: float, zero_point: int) -> Any:
        import torch
        from compressed_tensors.quantization.lifecycle import forward

        return forward.quantize(tensor(x, fmt), *arguments(step, zero_point), dtype=torch.int8).numpy()

    def dequantize(codes: Any, step: float, zero_point: int) -> Any:
        import torch
        from compressed_tensors.quantization.lifecycle import forward

        whole = torch.from_numpy(np.array(codes))
        return array(forward.dequantize(whole, *arguments(step, zero_point)), fmt)

    return quantize, dequantize


def _found(symmetric: bool) -> Any:
    def quantize(x: Any) -> Any:
        import torch
        from compressed_tensors.quantization import QuantizationArgs
        from compressed_tensors.quantization.lifecycle import forward
        from compressed_tensors.quantization.utils import calculate_qparams

        args, numbers = QuantizationArgs(num_bits=8, symmetric=symmetric), tensor(x, format(x.dtype))
        step, zero = calculate_qparams(numbers.amin().reshape(1), numbers.amax().reshape(1), args)
        codes = forward.quantize(numbers, step, zero, args, dtype=torch.int8).numpy()
        return codes, float(step[0]), int(zero[0])

    return quantize


def _given_script(source: str) -> dict[str, str]:
    setup = (
        "import torch",
        "from compressed_tensors.quantization import QuantizationArgs",
        "from compressed_tensors.quantization.lifecycle import forward",
        "",
        "args = QuantizationArgs(num_bits=8, strategy='tensor')",
    )
    given = f"torch.tensor([step], dtype=torch.{source}), torch.tensor([zero_point], dtype=torch.int8), args"
    call = f"forward.quantize({script_tensor(format(source))}, {given}, dtype=torch.int8).numpy()"
    return {"setup": "\n".join(setup), "call": call, "back": f"forward.dequantize(torch.from_numpy(codes), {given})"}


def _found_script(symmetric: bool) -> dict[str, str]:
    lines = (
        "import torch",
        "from compressed_tensors.quantization import QuantizationArgs",
        "from compressed_tensors.quantization.lifecycle import forward",
        "from compressed_tensors.quantization.utils import calculate_qparams",
        "",
        "def quantize(x):",
        f"    args, numbers = QuantizationArgs(num_bits=8, symmetric={symmetric}), torch.from_numpy(x)",
        "    step, zero_point = calculate_qparams(numbers.amin().reshape(1), numbers.amax().reshape(1), args)",
        "    codes = forward.quantize(numbers, step, zero_point, args, dtype=torch.int8)",
        "    return codes.numpy(), step.item(), zero_point.item()",
    )
    return {"setup": "\n".join(lines), "call": "quantize(x)"}


def _cases() -> tuple[Case, ...]:
    cases = [
        Case(
            f"quantize {source}",
            _given(source),
            "",
            True,
            {"source": source, "step_format": source, **_given_script(source)},
        )
        for source in ("float32", "bfloat16")
    ]
    cases += [
        Case(
            f"calculate_qparams {scheme}", _found(scheme == "symmetric"), "", True, _found_script(scheme == "symmetric")
        )
        for scheme in ("symmetric", "asymmetric")
    ]
    return tuple(cases)


ADAPTER = Adapter("compressed_tensors", "compressed-tensors", ("compressed-tensors", "torch"), _cases)
