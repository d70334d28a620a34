"""torchao: `quantize_affine` and `choose_qparams_affine`."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Case
from bitquant.auditing.adapters.tensors import array, script_tensor, tensor
from bitquant.convert import convert
from bitquant.formats import Format, format

_RANGE = {True: (-128, 127), False: (0, 255)}


def _primitives() -> Any:
    import torchao.quantization.quant_primitives as primitives

    return primitives


def _code(signed: bool) -> Any:
    import torch

    return torch.int8 if signed else torch.uint8


def _one(number: float, fmt: Format) -> Any:
    """One number as a tensor of the numbers' own type."""
    return tensor(np.atleast_1d(convert(np.float64(number), fmt)), fmt)


def _given(source: str, signed: bool) -> tuple[Any, Any]:
    fmt = format(source)

    def quantize(x: Any, step: float, zero_point: int) -> Any:
        import torch

        given = _one(step, fmt), torch.tensor([zero_point], dtype=torch.int32)
        return _primitives().quantize_affine(tensor(x, fmt), (x.size,), *given, _code(signed), *_RANGE[signed]).numpy()

    def dequantize(codes: Any, step: float, zero_point: int) -> Any:
        import torch

        given, own = (_one(step, fmt), torch.tensor([zero_point], dtype=torch.int32)), getattr(torch, source)
        whole, ends = torch.from_numpy(np.array(codes)), _RANGE[signed]
        found = _primitives().dequantize_affine(whole, (codes.size,), *given, _code(signed), *ends, output_dtype=own)
        return array(found, fmt)

    return quantize, dequantize


def _chosen(mapping: str, signed: bool) -> Any:
    def quantize(x: Any) -> Any:
        kind, numbers, ends = _primitives().MappingType[mapping], tensor(x, format(x.dtype)), _RANGE[signed]
        given = _primitives().choose_qparams_affine(numbers, kind, (x.size,), _code(signed), *ends)
        codes = _primitives().quantize_affine(numbers, (x.size,), *given, _code(signed), *ends).numpy()
        return codes, given[0].item(), int(given[1].item())

    return quantize


def _given_script(source: str, signed: bool) -> dict[str, str]:
    code, ends = "int8" if signed else "uint8", "{}, {}".format(*_RANGE[signed])
    given = f"torch.tensor([step], dtype=torch.{source}), torch.tensor([zero_point], dtype=torch.int32)"
    rest = f"{given}, torch.{code}, {ends}"
    setup = "import torch\nfrom torchao.quantization.quant_primitives import dequantize_affine, quantize_affine"
    back = f"dequantize_affine(torch.from_numpy(codes), (codes.size,), {rest}, output_dtype=torch.{source})"
    call = f"quantize_affine({script_tensor(format(source))}, (x.size,), {rest}).numpy()"
    return {"setup": setup, "call": call, "back": back}


def _chosen_script(source: str, mapping: str, signed: bool) -> dict[str, str]:
    code, ends = "int8" if signed else "uint8", "{}, {}".format(*_RANGE[signed])
    lines = (
        "import torch",
        "from torchao.quantization.quant_primitives import MappingType, choose_qparams_affine, quantize_affine",
        "",
        "def quantize(x):",
        f"    numbers, given = {script_tensor(format(source))}, (torch.{code}, {ends})",
        f"    step, zero_point = choose_qparams_affine(numbers, MappingType.{mapping}, (x.size,), *given)",
        "    codes = quantize_affine(numbers, (x.size,), step, zero_point, *given)",
        "    return codes.numpy(), step.item(), zero_point.item()",
    )
    return {"setup": "\n".join(lines), "call": "quantize(x)"}


def _cases() -> tuple[Case, ...]:
    cases = [
        Case(
            f"quantize_affine {source} to {code}",
            _given(source, signed),
            "",
            True,
            {"source": source, "signed": signed, "step_format": source, **_given_script(source, signed)},
        )
        for source in ("float32", "bfloat16", "float16")
        for signed, code in ((True, "int8"), (False, "uint8"))
    ]
    cases += [
        Case(
            f"choose_qparams_affine {mapping.lower()} {source}",
            _chosen(mapping, True),
            "",
            True,
            {"source": source, "step_format": source, **_chosen_script(source, mapping, True)},
        )
        for source in ("float32", "bfloat16")
        for mapping in ("SYMMETRIC", "ASYMMETRIC")
    ]
    return tuple(cases)


ADAPTER = Adapter("torchao", "torchao's quantize_affine", ("torchao", "torch"), _cases)
