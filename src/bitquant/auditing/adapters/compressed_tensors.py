"""compressed-tensors: its `quantize` with parameters given, and with those of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Case
from bitquant.auditing.adapters.tensors import array, tensor
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


def _cases() -> tuple[Case, ...]:
    cases = [
        Case(f"quantize {source}", _given(source), "", True, {"source": source, "step_format": source})
        for source in ("float32", "bfloat16")
    ]
    cases += [
        Case(f"calculate_qparams {scheme}", _found(scheme == "symmetric"), "", True)
        for scheme in ("symmetric", "asymmetric")
    ]
    return tuple(cases)


ADAPTER = Adapter("compressed_tensors", "compressed-tensors", ("compressed-tensors", "torch"), _cases)
