"""The real quantizers: how to ask each library what a row of the dialects says it gives.

A peer takes NumPy arrays (bfloat16 by ml_dtypes) and returns such. Libraries are imported when asked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

import bitquant as bq


@dataclass(frozen=True)
class Peer:
    """How to ask one library; None for what it has not.

    codes(x, step, zero_point, bits, signed) and values(codes, step, zero_point, bits, signed, dtype) take one
    parameter for all; parameters(x, scheme, bits, signed) gives step and zero point of one tensor; known(x, step) tells
    for which numbers the comparison holds, where the library differs from its specification beyond.
    """

    modules: tuple[str, ...]
    codes: Callable[..., Any]
    values: Callable[..., Any] | None = None
    parameters: Callable[..., Any] | None = None
    known: Callable[..., Any] | None = None
    signed_zero: bool = True


def tensor(x):
    """A tensor of torch over the same memory."""
    import torch

    x = np.ascontiguousarray(x)
    return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16) if x.dtype == bq.BF16.dtype else torch.from_numpy(x)


def array(x):
    """A tensor's numbers as an array."""
    import torch

    x = x.contiguous()
    return x.view(torch.int16).numpy().view(bq.BF16.dtype) if x.dtype == torch.bfloat16 else x.numpy()


def both(x):
    """Twice the same, as two channels."""
    return tensor(np.stack([x, x]))


def codes_range(bits, signed):
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


# PyTorch.


def qtype(signed):
    import torch

    return torch.qint8 if signed else torch.quint8


def itype(signed):
    import torch

    return torch.int8 if signed else torch.uint8


def observed(kind, schemes):
    """What an observer finds in one tensor, or in the first of two channels."""

    def find(x, scheme, bits, signed):
        import torch
        from torch.ao.quantization import observer

        observe = getattr(observer, kind)(dtype=qtype(signed), qscheme=getattr(torch, schemes[scheme]))
        observe(both(x) if "Channel" in kind else tensor(x))
        step, zero_point = observe.calculate_qparams()
        return float(step[0]), zero_point[0].item()

    return find


PER_TENSOR = {"symmetric": "per_tensor_symmetric", "asymmetric": "per_tensor_affine"}
PER_CHANNEL = {"symmetric": "per_channel_symmetric", "asymmetric": "per_channel_affine"}


def torch_codes(x, step, zero_point, bits, signed):
    import torch

    return torch.quantize_per_tensor(tensor(x), step, zero_point, qtype(signed)).int_repr().numpy()


def torch_values(codes, step, zero_point, bits, signed, dtype):
    import torch

    return torch._make_per_tensor_quantized_tensor(tensor(codes), step, zero_point).dequantize().numpy()


def per_channel(step, zero_point, kind):
    import torch

    return torch.tensor([step, step], dtype=kind), torch.tensor([zero_point, zero_point])


def torch_channel_codes(x, step, zero_point, bits, signed):
    import torch

    found = torch.quantize_per_channel(both(x), *per_channel(step, zero_point, torch.float64), 0, qtype(signed))
    return found.int_repr().numpy()[1]


def torch_channel_values(codes, step, zero_point, bits, signed, dtype):
    import torch

    parameters = per_channel(step, zero_point, torch.float64)
    return torch._make_per_channel_quantized_tensor(both(codes), *parameters, 0).dequantize().numpy()[1]


def float_codes(x, step, zero_point, bits, signed):
    import torch

    found = torch.quantize_per_channel(both(x), *per_channel(step, float(zero_point), torch.float32), 0, torch.quint8)
    return found.int_repr().numpy()[1]


def float_values(codes, step, zero_point, bits, signed, dtype):
    import torch

    parameters = per_channel(step, float(zero_point), torch.float32)
    return torch._make_per_channel_quantized_tensor(both(codes), *parameters, 0).dequantize().numpy()[1]


def fake(channel):
    """Fake quantization gives numbers only: the row's numbers of its codes are compared."""

    def numbers(x, step, zero_point, bits, signed):
        import torch

        ends = codes_range(bits, signed)
        if channel:
            parameters = torch.tensor([step, step]), torch.tensor([zero_point, zero_point], dtype=torch.int32)
            return array(torch.fake_quantize_per_channel_affine(both(x), *parameters, 0, *ends)[1])
        return array(torch.fake_quantize_per_tensor_affine(tensor(x), step, zero_point, *ends))

    return numbers


def decomposed():
    import torch
    import torch.ao.quantization.fx._decomposed

    return torch.ops.quantized_decomposed


def decomposed_codes(x, step, zero_point, bits, signed):
    ends = codes_range(bits, signed)
    return decomposed().quantize_per_tensor(tensor(x), step, zero_point, *ends, itype(signed)).numpy()


def decomposed_values(codes, step, zero_point, bits, signed, dtype):
    ends = codes_range(bits, signed)
    return decomposed().dequantize_per_tensor(tensor(codes), step, zero_point, *ends, itype(signed)).numpy()


def decomposed_parameters(x, scheme, bits, signed):
    choose = decomposed().choose_qparams_symmetric if scheme == "symmetric" else decomposed().choose_qparams
    step, zero_point = choose.tensor(tensor(x), *codes_range(bits, signed), 2.0**-23, itype(signed))
    return step.item(), zero_point.item()


def decomposed_channel_codes(x, step, zero_point, bits, signed):
    import torch

    parameters = *per_channel(step, zero_point, torch.float32), 0, *codes_range(bits, signed), itype(signed)
    return decomposed().quantize_per_channel(both(x), *parameters).numpy()[1]


def decomposed_channel_values(codes, step, zero_point, bits, signed, dtype):
    import torch

    parameters = *per_channel(step, zero_point, torch.float32), 0, *codes_range(bits, signed), itype(signed)
    return decomposed().dequantize_per_channel(both(codes), *parameters).numpy()[1]


# torchao.


def primitives():
    import torchao.quantization.quant_primitives as primitives

    return primitives


def own_tensor(number, x_or_dtype):
    """One number as a tensor of the numbers' own type."""
    dtype = getattr(x_or_dtype, "dtype", x_or_dtype)
    return tensor(np.atleast_1d(bq.convert(np.float64(number), bq.format(dtype))))


def torchao_codes(x, step, zero_point, bits, signed):
    import torch

    parameters = own_tensor(step, x), torch.tensor([zero_point], dtype=torch.int32)
    ends = codes_range(bits, signed)
    return primitives().quantize_affine(tensor(x), (x.size,), *parameters, itype(signed), *ends).numpy()


def torchao_values(codes, step, zero_point, bits, signed, dtype):
    import torch

    step = own_tensor(step, np.dtype(dtype))
    zero_point = torch.tensor([zero_point], dtype=torch.int32)
    found = primitives().dequantize_affine(
        tensor(codes),
        (codes.size,),
        step,
        zero_point,
        itype(signed),
        *codes_range(bits, signed),
        output_dtype=step.dtype,
    )
    return array(found)


def torchao_parameters(x, scheme, bits, signed):
    kind = primitives().MappingType[scheme.upper()]
    step, zero_point = primitives().choose_qparams_affine(
        tensor(x), kind, (x.size,), itype(signed), *codes_range(bits, signed)
    )
    return step.item(), int(zero_point.item())


def tinygemm_codes(x, step, zero_point, bits, signed):
    parameters = own_tensor(step, x), own_tensor(zero_point, x)
    ends = codes_range(bits, signed)
    return primitives()._quantize_affine_tinygemm(tensor(x), (x.size,), *parameters, itype(signed), *ends).numpy()


def tinygemm_values(codes, step, zero_point, bits, signed, dtype):
    parameters = own_tensor(step, np.dtype(dtype)), own_tensor(zero_point, np.dtype(dtype))
    found = primitives()._dequantize_affine_tinygemm(
        tensor(codes), (codes.size,), *parameters, itype(signed), *codes_range(bits, signed),
        output_dtype=parameters[0].dtype,
    )  # fmt: skip
    return array(found)


def tinygemm_parameters(x, scheme, bits, signed):
    step, zero_point = primitives()._choose_qparams_affine_tinygemm(
        tensor(x), primitives().MappingType.ASYMMETRIC, (x.size,), itype(signed), *codes_range(bits, signed)
    )
    return step.item(), zero_point.item()


# ONNX and ONNX Runtime.


@lru_cache(maxsize=64)
def session(operator, reference, dtype, code):
    """A model of one operator: run by ONNX's reference or by ONNX Runtime."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    number = getattr(TensorProto, dtype.upper().replace("FLOAT32", "FLOAT"))
    # Codes of 4 bits go in and out as bytes, which NumPy has.
    byte = getattr(TensorProto, code.replace("INT4", "INT8"))
    code = getattr(TensorProto, code)
    inputs, outputs = {
        "QuantizeLinear": ({"x": number, "s": number, "z": byte}, {"y": byte}),
        "DequantizeLinear": ({"x": byte, "s": number, "z": byte}, {"y": number}),
        "DynamicQuantizeLinear": ({"x": number}, {"y": code, "s": number, "z": code}),
    }[operator]
    infos = [
        [helper.make_tensor_value_info(name, kind, None) for name, kind in ends.items()] for ends in (inputs, outputs)
    ]
    if byte == code:
        nodes = [helper.make_node(operator, list(inputs), list(outputs))]
    else:
        names = [f"{name}4" if inputs[name] == byte else name for name in inputs]
        result = "y4" if outputs["y"] == byte else "y"
        nodes = [helper.make_node("Cast", [name[0]], [name], to=code) for name in names if name.endswith("4")]
        nodes.append(helper.make_node(operator, names, [result]))
        nodes += [helper.make_node("Cast", [result], ["y"], to=byte)] if result != "y" else []
    graph = helper.make_graph(nodes, "one", *infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    if reference:
        return ReferenceEvaluator(model)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def onnx_names(bits, signed):
    return f"{'' if signed else 'U'}INT{bits}", np.dtype(f"{'i' if signed else 'u'}{max(bits // 8, 1)}")


def onnx_codes(reference):
    def ask(x, step, zero_point, bits, signed):
        code, dtype = onnx_names(bits, signed)
        feeds = {"x": x, "s": np.asarray(step).astype(x.dtype), "z": np.asarray(zero_point, dtype)}
        with np.errstate(all="ignore"):
            return session("QuantizeLinear", reference, x.dtype.name, code).run(None, feeds)[0]

    return ask


def onnx_values(reference):
    def ask(codes, step, zero_point, bits, signed, dtype):
        code, kind = onnx_names(bits, signed)
        feeds = {"x": codes, "s": np.asarray(step).astype(dtype), "z": np.asarray(zero_point, kind)}
        with np.errstate(all="ignore"):
            return session("DequantizeLinear", reference, np.dtype(dtype).name, code).run(None, feeds)[0]

    return ask


def onnx_parameters(reference):
    def ask(x, scheme, bits, signed):
        with np.errstate(all="ignore"):
            _, step, zero_point = session("DynamicQuantizeLinear", reference, "float32", "UINT8").run(None, {"x": x})
        return float(step), int(zero_point)

    return ask


def saturating(x, step):
    """ONNX's reference converts to int32 before it saturates: NaN and what is beyond wraps."""
    with np.errstate(all="ignore"):
        return np.abs(x / np.asarray(step).astype(x.dtype)).astype(np.float64) < 2**31 - 2**17


def tool_parameters(x, scheme, bits, signed):
    from onnx import TensorProto
    from onnxruntime.quantization.quant_utils import compute_data_quant_params

    kind = getattr(TensorProto, onnx_names(bits, signed)[0])
    zero_point, step = compute_data_quant_params(x, kind, scheme == "symmetric")
    return float(step), int(zero_point)


def tool_codes(x, step, zero_point, bits, signed):
    from onnx import TensorProto
    from onnxruntime.quantization.quant_utils import quantize_nparray

    code, dtype = onnx_names(bits, signed)
    with np.errstate(all="ignore"):
        found = quantize_nparray(
            getattr(TensorProto, code), x, np.asarray(step).astype(x.dtype), np.asarray(zero_point, dtype)
        )
    return np.asarray(found).astype(dtype)


TORCH, TORCHAO, ONNX, RUNTIME = ("torch",), ("torch", "torchao"), ("onnx",), ("onnx", "onnxruntime")
FLOAT_QPARAMS = {"asymmetric": "per_channel_affine_float_qparams"}
PEERS = {
    "torch": Peer(TORCH, torch_codes, torch_values, observed("MinMaxObserver", PER_TENSOR)),
    "torch_per_channel": Peer(
        TORCH, torch_channel_codes, torch_channel_values, observed("PerChannelMinMaxObserver", PER_CHANNEL)
    ),
    "torch_float_qparams": Peer(TORCH, float_codes, float_values, observed("PerChannelMinMaxObserver", FLOAT_QPARAMS)),
    "torch_fake_quantize": Peer(TORCH, fake(False), None, observed("MinMaxObserver", PER_TENSOR)),
    "torch_fake_quantize_per_channel": Peer(TORCH, fake(True), None, observed("PerChannelMinMaxObserver", PER_CHANNEL)),
    "torch_decomposed": Peer(TORCH, decomposed_codes, decomposed_values, decomposed_parameters),
    "torch_decomposed_per_channel": Peer(
        TORCH, decomposed_channel_codes, decomposed_channel_values, observed("PerChannelMinMaxObserver", PER_CHANNEL)
    ),
    "torchao": Peer(TORCHAO, torchao_codes, torchao_values, torchao_parameters),
    "torchao_tinygemm": Peer(TORCHAO, tinygemm_codes, tinygemm_values, tinygemm_parameters),
    "onnx": Peer(ONNX, onnx_codes(True), onnx_values(True), known=saturating),
    "onnx_dynamic": Peer(ONNX, onnx_codes(True), onnx_values(True), onnx_parameters(True), known=saturating),
    "onnxruntime": Peer(RUNTIME, onnx_codes(False), onnx_values(False)),
    "onnxruntime_dynamic": Peer(RUNTIME, onnx_codes(False), onnx_values(False), onnx_parameters(False)),
    "onnxruntime_tool": Peer(RUNTIME, tool_codes, onnx_values(True), tool_parameters),
}
