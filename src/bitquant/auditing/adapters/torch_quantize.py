"""PyTorch's quantizers on the CPU: eager mode, fake quantization, the operators of its export flow, observers."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Case
from bitquant.auditing.adapters.tensors import array, tensor
from bitquant.formats import FP32, format

_NAMED = "torch.quantize_per_tensor: names a scale and a zero point of a quantization formula, and not the formula."
# What ONNX's QuantizeLinear computes as well.
_FORMULA = "torch.fake_quantize_per_tensor_affine: std::nearby_int(input / scale) + zero_point, clamped."
# Steps for which the number of a code tells the code.
_TELLING = (2.0**-100, 2.0**100)
_WIDE, _SHORT = ", dtype=torch.float64", ", dtype=torch.int32"
_RANGE = {True: (-128, 127), False: (0, 255)}


def _whole(signed: bool) -> Any:
    import torch

    return torch.int8 if signed else torch.uint8


def _kind(signed: bool) -> Any:
    import torch

    return torch.qint8 if signed else torch.quint8


def _twice(x: Any) -> Any:
    """The same numbers as two channels."""
    return tensor(np.stack([x, x]), format(x.dtype))


def _pair(step: Any, zero_point: Any, kind: str = "float64") -> Any:
    import torch

    return torch.tensor([step, step], dtype=getattr(torch, kind)), torch.tensor([zero_point, zero_point])


def _per_tensor(signed: bool) -> tuple[Any, Any]:
    def quantize(x: Any, step: float, zero_point: int) -> Any:
        import torch

        return torch.quantize_per_tensor(tensor(x, FP32), step, zero_point, _kind(signed)).int_repr().numpy()

    def dequantize(codes: Any, step: float, zero_point: int) -> Any:
        import torch

        found = torch._make_per_tensor_quantized_tensor(torch.from_numpy(np.array(codes)), step, zero_point)
        return found.dequantize().numpy()

    return quantize, dequantize


def _per_channel(signed: bool) -> tuple[Any, Any]:
    def quantize(x: Any, step: float, zero_point: int) -> Any:
        import torch

        found = torch.quantize_per_channel(_twice(x), *_pair(step, zero_point), 0, _kind(signed))
        return found.int_repr().numpy()[1]

    def dequantize(codes: Any, step: float, zero_point: int) -> Any:
        import torch

        both = torch.from_numpy(np.stack([codes, codes]))
        found = torch._make_per_channel_quantized_tensor(both, *_pair(step, zero_point), 0)
        return found.dequantize().numpy()[1]

    return quantize, dequantize


def _decomposed() -> Any:
    import torch
    import torch.ao.quantization.fx._decomposed

    return torch.ops.quantized_decomposed


def _exported(signed: bool) -> tuple[Any, Any]:
    ends = _RANGE[signed]

    def quantize(x: Any, step: float, zero_point: int) -> Any:
        numbers = tensor(x, format(x.dtype))
        return _decomposed().quantize_per_tensor(numbers, step, zero_point, *ends, _whole(signed)).numpy()

    def dequantize(codes: Any, step: float, zero_point: int) -> Any:
        import torch

        whole = torch.from_numpy(np.array(codes))
        return _decomposed().dequantize_per_tensor(whole, step, zero_point, *ends, _whole(signed)).numpy()

    return quantize, dequantize


def _exported_per_channel(signed: bool) -> tuple[Any, Any]:
    ends = _RANGE[signed]

    def quantize(x: Any, step: float, zero_point: int) -> Any:
        given = _pair(step, zero_point, "float32")
        return _decomposed().quantize_per_channel(_twice(x), *given, 0, *ends, _whole(signed)).numpy()[1]

    def dequantize(codes: Any, step: float, zero_point: int) -> Any:
        import torch

        both, given = torch.from_numpy(np.stack([codes, codes])), _pair(step, zero_point, "float32")
        return _decomposed().dequantize_per_channel(both, *given, 0, *ends, _whole(signed)).numpy()[1]

    return quantize, dequantize


def _fake(signed: bool, channels: bool) -> Any:
    """Fake quantization gives the numbers of its codes, in the type of its input."""

    def quantize(x: Any, step: float, zero_point: int) -> Any:
        import torch

        if channels:
            given = torch.tensor([step, step]), torch.tensor([zero_point, zero_point], dtype=torch.int32)
            found = torch.fake_quantize_per_channel_affine(_twice(x), *given, 0, *_RANGE[signed])[1]
        else:
            numbers = tensor(x, format(x.dtype))
            found = torch.fake_quantize_per_tensor_affine(numbers, step, zero_point, *_RANGE[signed])
        return array(found, format(x.dtype))

    return quantize


def _observed(observer: str, scheme: str, signed: bool) -> Any:
    def quantize(x: Any) -> Any:
        import torch
        from torch.ao.quantization import observer as observers

        observe = getattr(observers, observer)(dtype=_kind(signed), qscheme=getattr(torch, scheme))
        channels = "Channel" in observer
        numbers = _twice(x) if channels else tensor(x, FP32)
        observe(numbers)
        step, zero_point = observe.calculate_qparams()
        if channels:
            found = torch.quantize_per_channel(numbers, step, zero_point, 0, _kind(signed)).int_repr().numpy()[0]
        else:
            found = torch.quantize_per_tensor(numbers, float(step), int(zero_point), _kind(signed)).int_repr().numpy()
        return found, float(step[0]), int(zero_point[0])

    return quantize


def _scripts(signed: bool) -> dict[str, dict[str, str]]:
    """How a user calls the operators that take a step and a zero point, and the way back."""
    kind, code = ("qint8", "int8") if signed else ("quint8", "uint8")
    ends = "{}, {}".format(*_RANGE[signed])
    channel = "torch.tensor([step]{}), torch.tensor([zero_point]{}), 0"
    wide, plain, short = (channel.format(*kinds) for kinds in ((_WIDE, ""), ("", ""), ("", _SHORT)))
    own, rest = "torch.ops.quantized_decomposed", f"{ends}, torch.{code}).numpy()"
    given = {
        "quantize_per_tensor": (
            f"torch.quantize_per_tensor(torch.from_numpy(x), step, zero_point, torch.{kind}).int_repr().numpy()",
            "torch._make_per_tensor_quantized_tensor(torch.from_numpy(codes), step, zero_point).dequantize().numpy()",
        ),
        "quantize_per_channel": (
            f"torch.quantize_per_channel(torch.from_numpy(x[None]), {wide}, torch.{kind}).int_repr().numpy()[0]",
            f"torch._make_per_channel_quantized_tensor(torch.from_numpy(codes[None]), {wide}).dequantize().numpy()[0]",
        ),
        "quantized_decomposed.quantize_per_tensor": (
            f"{own}.quantize_per_tensor(torch.from_numpy(x), step, zero_point, {rest}",
            f"{own}.dequantize_per_tensor(torch.from_numpy(codes), step, zero_point, {rest}",
        ),
        "quantized_decomposed.quantize_per_channel": (
            f"{own}.quantize_per_channel(torch.from_numpy(x[None]), {plain}, {rest}[0]",
            f"{own}.dequantize_per_channel(torch.from_numpy(codes[None]), {plain}, {rest}[0]",
        ),
        "fake_quantize_per_tensor_affine": (
            f"torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), step, zero_point, {ends}).numpy()",
        ),
        "fake_quantize_per_channel_affine": (
            f"torch.fake_quantize_per_channel_affine(torch.from_numpy(x[None]), {short}, {ends}).numpy()[0]",
        ),
    }
    setup = "import torch"
    decomposed = f"{setup}\nimport torch.ao.quantization.fx._decomposed"
    return {
        name: {
            "setup": decomposed if "decomposed" in name else setup,
            **dict(zip(("call", "back"), calls, strict=False)),
        }
        for name, calls in given.items()
    }


def _observer_script(observer: str, scheme: str, signed: bool) -> dict[str, str]:
    kind = "qint8" if signed else "quint8"
    channels = "Channel" in observer
    given = "step, zero_point, 0" if channels else "float(step), int(zero_point)"
    lines = (
        "import torch",
        f"from torch.ao.quantization import {observer}",
        "",
        "def quantize(x):",
        f"    numbers, observer = torch.from_numpy(x[None]), {observer}(dtype=torch.{kind}, qscheme=torch.{scheme})",
        "    observer(numbers)",
        "    step, zero_point = observer.calculate_qparams()",
        f"    codes = torch.quantize_per_{'channel' if channels else 'tensor'}(numbers, {given}, torch.{kind})",
        "    return codes.int_repr().numpy()[0], step.item(), zero_point.item()",
    )
    return {"setup": "\n".join(lines), "call": "quantize(x)"}


def _cases() -> tuple[Case, ...]:
    given = (
        ("quantize_per_tensor", _per_tensor, "float64"),
        ("quantize_per_channel", _per_channel, "float64"),
        ("quantized_decomposed.quantize_per_tensor", _exported, "float64"),
        ("quantized_decomposed.quantize_per_channel", _exported_per_channel, "float32"),
    )
    fakes = (("fake_quantize_per_tensor_affine", False), ("fake_quantize_per_channel_affine", True))
    observers = (
        ("MinMaxObserver", "per_tensor_affine"),
        ("MinMaxObserver", "per_tensor_symmetric"),
        ("PerChannelMinMaxObserver", "per_channel_affine"),
        ("PerChannelMinMaxObserver", "per_channel_symmetric"),
    )
    cases = []
    for signed, code in ((True, "int8"), (False, "uint8")):
        shared: dict[str, Any] = {"signed": signed}
        told = {**shared, "form": "numbers", "against": "onnx", "steps": _TELLING}
        cases += [
            Case(
                f"{name} {code}", make(signed), _NAMED, True, {**shared, "step_format": step, **_scripts(signed)[name]}
            )
            for name, make, step in given
        ]
        cases += [
            Case(f"{name} {code}", _fake(signed, channels), _FORMULA, True, {**told, **_scripts(signed)[name]})
            for name, channels in fakes
        ]
        cases += [
            Case(
                f"{name} {scheme} {code}",
                _observed(name, scheme, signed),
                "",
                True,
                {**shared, **_observer_script(name, scheme, signed)},
            )
            for name, scheme in observers
        ]
    return tuple(cases)


ADAPTER = Adapter("torch_quantize", "PyTorch's quantizers on the CPU", ("torch",), _cases)
