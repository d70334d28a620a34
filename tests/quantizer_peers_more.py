"""How to ask TensorFlow's family, ggml, and the libraries that compress PyTorch weights how they quantize.

Most of these find their parameters from the numbers, and some tell neither parameters nor codes. So a peer takes
numbers, a channel in each row, and gives codes, steps, zero points and numbers; None for what a library does not tell.
"""

import ctypes
import importlib
import logging
import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from quantizer_peers import array, tensor

os.environ.setdefault("NNCF_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@dataclass(frozen=True)
class Whole:
    """A library that can be asked for the whole of a quantization.

    Attributes
    ----------
    row : str
        The name of the row that it is asked about.
    module : str
        What has to be installed.
    ask : callable
        ``ask(x, **options)`` gives codes, step, zero point and numbers.
    scheme, bits, narrow
        How `bitquant.quantize` is asked for the same.
    options : dict
        What `ask` is told besides.
    block : int
        How many numbers share a step; 0 for all of a row.
    parts : int
        How many steps make the largest magnitude, where the step that makes the codes is not the one that is stored.
    least : dict of str to float
        By format, the least extent, from zero or from the smallest number to the largest, for which it can be asked.
    slow : bool
        Whether it compiles something first.
    """

    row: str
    module: str
    ask: Callable[..., tuple[Any, Any, Any, Any]]
    scheme: str = "symmetric"
    bits: int = 8
    narrow: bool | None = None
    options: dict[str, Any] = field(default_factory=dict)
    block: int = 0
    parts: int = 0
    least: dict[str, float] = field(default_factory=dict)
    slow: bool = False

    def __str__(self) -> str:
        return f"{self.row}-{self.scheme}-{self.bits}" + "".join(f"-{value}" for value in self.options.values())


def arrays(*tensors):
    """NumPy or ml_dtypes arrays of PyTorch tensors, of those that there are."""
    return tuple(None if one is None else array(one.detach()) for one in tensors)


def compressed_tensors(x, symmetric, bits):
    """Ask QuantizationArgs with one set of parameters per channel."""
    import torch
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    args, numbers = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy="channel"), tensor(x)
    step, zero = calculate_qparams(numbers.amin(1, keepdim=True), numbers.amax(1, keepdim=True), args)
    codes = quantize(numbers, step, zero, args, dtype=torch.int8)
    return arrays(codes, step, zero, dequantize(codes, step, zero, args))


def quanto(x):
    """Ask for qint8 weights."""
    from optimum.quanto import AbsmaxOptimizer, qint8
    from optimum.quanto.tensor.weights import quantize_weight

    numbers = tensor(x)
    found = quantize_weight(numbers, qint8, 0, AbsmaxOptimizer()(numbers, qint8, 0))
    return arrays(found._data, found._scale, None, found.dequantize())


def quanto_affine(x, bits, zeropoint):
    """Ask for qint4 or qint2 weights."""
    from optimum.quanto import MaxOptimizer, qint2, qint4
    from optimum.quanto.tensor.weights import WeightQBitsTensor

    numbers, qtype = tensor(x), {2: qint2, 4: qint4}[bits]
    step, shift = MaxOptimizer()(numbers, qtype, 0, None, zeropoint)
    found = WeightQBitsTensor.quantize(numbers, qtype, 0, None, step, shift)
    return arrays(found._data.unpack(), found._scale, found._shift if zeropoint else None, found.dequantize())


def bitsandbytes(x):
    """Ask for the int8 codes of each row; its parameter is amax."""
    import torch
    from bitsandbytes.functional import int8_vectorwise_dequant

    codes, amax, _ = torch.ops.bitsandbytes.int8_vectorwise_quant.default(tensor(x), 0.0)
    return arrays(codes, None, None, int8_vectorwise_dequant(codes, amax))


def modelopt(x, bits, narrow):
    """Ask the fake quantizer, which gives numbers alone."""
    from modelopt.torch.quantization.tensor_quant import fake_tensor_quant

    numbers = tensor(x)
    amax = numbers.abs().amax(1, keepdim=True)
    return arrays(None, None, None, fake_tensor_quant(numbers, amax, None, bits, False, narrow))


def modelopt_int8(x):
    """Ask the quantized tensor."""
    from modelopt.torch.quantization.qtensor.int8_tensor import INT8QTensor

    found, step = INT8QTensor.quantize(tensor(x), axis=0)
    return arrays(found._quantized_data, step, None, found.dequantize(scale=step))


def hqq(x, bits):
    """Ask without the optimizer."""
    import torch
    from hqq.core.quantize import Quantizer

    options = {"group_size": None, "optimize": False, "axis": 1, "bitpack": False, "device": "cpu"}
    codes, meta = Quantizer.quantize(tensor(x), nbits=bits, **options)
    values = Quantizer.dequantize(codes, {**meta, "compute_dtype": torch.float32})
    return arrays(codes, meta["scale"], meta["zero"], values)


def brevitas(x, kind, narrow=True):
    """Ask a linear layer for its quantized weights."""
    import brevitas.nn
    import brevitas.quant
    import torch

    numbers, chosen = tensor(x), getattr(brevitas.quant, kind)
    chosen = chosen if narrow else chosen.let(narrow_range=False)
    layer = brevitas.nn.QuantLinear(*reversed(x.shape), bias=False, weight_quant=chosen, dtype=numbers.dtype)
    with torch.no_grad():
        layer.weight.copy_(numbers)
        quantizer = layer.weight_quant.tensor_quant
        values, step, zero, bits = quantizer(layer.weight)
        codes = quantizer.int_quant.to_int(step, zero, bits, layer.weight)
    return arrays(codes, step, zero if kind.startswith("Shifted") else None, values)


def nncf(x, mode):
    """Ask the compression of weights."""
    from nncf import CompressWeightsMode
    from nncf.quantization.algorithms.weight_compression import weight_lowering
    from nncf.quantization.algorithms.weight_compression.config import WeightCompressionConfig
    from nncf.tensor import Tensor

    logging.getLogger("nncf").setLevel(logging.ERROR)
    config = WeightCompressionConfig(mode=CompressWeightsMode[mode])
    found = weight_lowering.do_integer_quantization(Tensor(tensor(x)), config, reduction_axes=(1,))
    zero = None if found.zero_point is None else found.zero_point.data
    return arrays(found.tensor.data, found.scale.data, zero, weight_lowering.do_integer_dequantization(found).data)


def nncf_fake(x, symmetric):
    """Ask the fake quantization, which gives numbers alone; its extension is compiled at the first call."""
    from nncf.common.quantization.structs import QuantizationScheme, QuantizerConfig
    from nncf.quantization.fake_quantize import asymmetric_range
    from nncf.tensor import Tensor
    from nncf.torch.extensions import ExtensionLoaderTimeoutException
    from nncf.torch.quantization import quantize_functions

    numbers = tensor(x)
    ends = numbers.amin(1, keepdim=True), numbers.amax(1, keepdim=True)
    try:
        if symmetric:
            amax = numbers.abs().amax(1, keepdim=True).clamp(min=8e-5)
            return arrays(None, None, None, quantize_functions.QuantizeSymmetric.apply(numbers, amax, -128, 127, 256))
        config = QuantizerConfig(8, QuantizationScheme.ASYMMETRIC)
        low, high = (end.data for end in asymmetric_range(*map(Tensor, ends), config))
        values = quantize_functions.QuantizeAsymmetric.apply(numbers, low, high - low, 0, 255, 256)
        return arrays(None, None, None, values)
    except ExtensionLoaderTimeoutException:
        pytest.skip("NNCF's extension was not compiled within a minute")


def _blocks(packed, step_bytes, four):
    """Codes and steps of ggml's blocks: a step in float16, then 32 codes."""
    step, codes = packed[:, :step_bytes].copy().view(np.float16), packed[:, step_bytes:].copy()
    return (np.concatenate([codes & 15, codes >> 4], 1) if four else codes.view(np.int8)), step


def gguf(x, kind):
    """Ask the gguf package."""
    from gguf import GGMLQuantizationType, quants

    packed = quants.quantize(x, GGMLQuantizationType[kind])
    values = quants.dequantize(packed, GGMLQuantizationType[kind])
    return *_blocks(packed, 2, kind == "Q4_0"), None, values


def ggml(x, kind, path="ref"):
    """Ask ggml's own routines, in the libraries that come with pywhispercpp."""
    folder = pathlib.Path(importlib.import_module("pywhispercpp").__file__).parent.parent
    for bundled in sorted((folder / "pywhispercpp.libs").glob("libgomp*")):
        ctypes.CDLL(str(bundled), mode=ctypes.RTLD_GLOBAL)
    base = ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
    cpu = ctypes.CDLL(str(folder / "libggml-cpu.so"))
    cpu.ggml_cpu_init()
    four = kind == "q4_0"
    packed, values = np.zeros((x.shape[0], 18 if four else 34), np.uint8), np.zeros(x.shape, np.float32)
    ask = getattr(base, f"quantize_row_{kind}_ref") if path == "ref" else getattr(cpu, f"quantize_row_{kind}")
    there = [ctypes.c_void_p(array.ctypes.data) for array in (np.ascontiguousarray(x), packed, values)]
    ask(there[0], there[1], ctypes.c_int64(x.size))
    getattr(base, f"dequantize_row_{kind}")(there[1], there[2], ctypes.c_int64(x.size))
    return *_blocks(packed, 2, four), None, values


def ai_edge_quantizer(x, bits, symmetric):
    """Ask LiteRT's converter in Python."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as uniform

    per_channel = qtyping.QuantGranularity.CHANNELWISE
    ends = [reduce(x, 1, keepdims=True) for reduce in (np.min, np.max)]
    zero, step = uniform.tensor_zp_scale_from_min_max(*ends, bits, symmetric, per_channel)
    found = qtyping.UniformQuantParams(
        num_bits=bits, quantized_dimension=0, scale=step, zero_point=zero, symmetric=symmetric
    )
    codes = uniform.uniform_quantize(x, found)
    wide = qtyping.UniformQuantParams(  # its own subtraction of int8 zero points wraps
        num_bits=bits, quantized_dimension=0, scale=step, zero_point=zero.astype(np.int16), symmetric=symmetric
    )
    return codes, step, zero, uniform.uniform_dequantize(codes, wide)


def fake_quant(x, bits, operator):
    """Ask TensorFlow's operators, which give numbers alone."""
    import tensorflow as tf

    low, high = x.min(1), x.max(1)
    if operator == "PerChannel":
        values = tf.quantization.fake_quant_with_min_max_vars_per_channel(x.T, low, high, bits).numpy().T
        return None, None, None, np.ascontiguousarray(values)
    ask = getattr(tf.quantization, f"fake_quant_with_min_max_{operator}")
    rows = [ask(row, float(a), float(b), bits).numpy() for row, a, b in zip(x, low, high, strict=True)]
    return None, None, None, np.array(rows)


def compressed_tensors_by(x, step, zero_point, bits):
    """Ask with parameters given, one for all."""
    import torch
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize

    args, zero = QuantizationArgs(num_bits=bits, strategy="tensor"), torch.tensor([zero_point], dtype=torch.int8)
    codes = quantize(tensor(x), tensor(step), zero, args, dtype=torch.int8)
    return arrays(codes, dequantize(codes, tensor(step), zero, args))


def quanto_by(x, step, zero_point, bits):
    """Ask for activations, which have one step for all."""
    from optimum.quanto import qint8
    from optimum.quanto.tensor import quantize_activation

    found = quantize_activation(tensor(x), qint8, tensor(step)[0])
    return arrays(found._data, found.dequantize())


def quanto_zeropoint_by(x, step, zero_point, bits):
    """Ask the operator."""
    import torch

    zero = torch.tensor(zero_point, dtype=torch.uint8)
    return arrays(torch.ops.quanto.quantize_affine(tensor(x), bits, 0, None, tensor(step), zero), None)


def modelopt_int8_by(x, step, zero_point, bits):
    """Ask the quantized tensor."""
    from modelopt.torch.quantization.qtensor.int8_tensor import INT8QTensor

    found, _ = INT8QTensor.quantize(tensor(x), scales=tensor(step))
    return arrays(found._quantized_data, found.dequantize(scale=tensor(step)))


def brevitas_by(x, step, zero_point, bits, signed):
    """Ask the core of its quantizers."""
    import torch
    from brevitas.core.function_wrapper import Identity
    from brevitas.core.quant import IntQuant

    numbers = tensor(x)
    ask = IntQuant(narrow_range=signed, signed=signed, input_view_impl=Identity())
    given = tensor(step), torch.tensor(float(zero_point), dtype=numbers.dtype), torch.tensor(float(bits))
    return arrays(ask.to_int(*given, numbers), ask(*given, numbers))


def nncf_by(x, step, zero_point, bits, mode):
    """Ask with precomputed parameters."""
    import torch
    from nncf import CompressWeightsMode
    from nncf.quantization.algorithms.weight_compression import weight_lowering
    from nncf.quantization.algorithms.weight_compression.config import WeightCompressionConfig
    from nncf.tensor import Tensor

    config = WeightCompressionConfig(mode=CompressWeightsMode[f"INT{bits}_{mode}"])
    zero = Tensor(torch.tensor([zero_point], dtype=torch.int32)) if mode == "ASYM" else None
    given = Tensor(tensor(step.astype(np.float32))), zero
    found = weight_lowering.do_integer_quantization(Tensor(tensor(x)), config, None, *given)
    return arrays(found.tensor.data, weight_lowering.do_integer_dequantization(found).data)


def ai_edge_quantizer_by(x, step, zero_point, bits):
    """Ask with parameters given; of its numbers, see above."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as uniform

    zero = np.array([zero_point], np.int8)
    found = qtyping.UniformQuantParams(
        num_bits=bits, quantized_dimension=None, scale=step, zero_point=zero, symmetric=False
    )
    return uniform.uniform_quantize(x, found), None


# What takes parameters: row, module, how to ask, bits, and what is asked besides.
GIVEN = (
    ("compressed_tensors", "compressed_tensors", compressed_tensors_by, 8, {}),
    ("compressed_tensors", "compressed_tensors", compressed_tensors_by, 4, {}),
    ("optimum_quanto", "optimum.quanto", quanto_by, 8, {}),
    ("optimum_quanto_zeropoint", "optimum.quanto", quanto_zeropoint_by, 4, {}),
    ("modelopt_int8", "modelopt", modelopt_int8_by, 8, {}),
    ("brevitas", "brevitas", brevitas_by, 8, {"signed": True}),
    ("brevitas_shifted", "brevitas", brevitas_by, 8, {"signed": False}),
    ("nncf_sym", "nncf", nncf_by, 8, {"mode": "SYM"}),
    ("nncf_asym", "nncf", nncf_by, 8, {"mode": "ASYM"}),
    ("nncf_asym", "nncf", nncf_by, 4, {"mode": "ASYM"}),
    ("ai_edge_quantizer", "ai_edge_quantizer", ai_edge_quantizer_by, 8, {}),
)

WHOLES = (
    *(
        Whole("compressed_tensors", "compressed_tensors", compressed_tensors, scheme, bits, None, options)
        for bits in (8, 4)
        for scheme, options in (
            ("symmetric", {"symmetric": True, "bits": bits}),
            ("asymmetric", {"symmetric": False, "bits": bits}),
        )
    ),
    Whole("optimum_quanto", "optimum.quanto", quanto),
    *(
        Whole(row, "optimum.quanto", quanto_affine, "asymmetric", bits, None, {"bits": bits, "zeropoint": zeropoint})
        for row, zeropoint in (("optimum_quanto_affine", False), ("optimum_quanto_zeropoint", True))
        for bits in (4, 2)
    ),
    Whole("bitsandbytes_int8", "bitsandbytes", bitsandbytes),
    Whole("modelopt", "modelopt", modelopt, options={"bits": 8, "narrow": True}),
    Whole("modelopt", "modelopt", modelopt, bits=4, narrow=False, options={"bits": 4, "narrow": False}),
    Whole("modelopt_int8", "modelopt", modelopt_int8),
    *(Whole("hqq", "hqq", hqq, "asymmetric", bits, None, {"bits": bits}) for bits in (4, 8, 2, 3)),
    Whole("brevitas", "brevitas", brevitas, options={"kind": "Int8WeightPerChannelFloat"}, least={"float16": 4e-6}),
    Whole(
        "brevitas", "brevitas", brevitas, narrow=False,
        options={"kind": "Int8WeightPerChannelFloat", "narrow": False}, least={"float16": 4e-6},
    ),
    Whole(
        "brevitas_shifted", "brevitas", brevitas, "asymmetric",
        options={"kind": "ShiftedUint8WeightPerChannelFloat"}, least={"float16": 8e-6},
    ),
    *(
        Whole(row, "nncf", nncf, scheme, bits, None, {"mode": f"INT{bits}_{row[5:].upper()}"})
        for row, scheme in (("nncf_sym", "symmetric"), ("nncf_asym", "asymmetric"))
        for bits in (8, 4)
    ),
    Whole("nncf_fake_quantize_sym", "nncf", nncf_fake, options={"symmetric": True}, slow=True),
    Whole("nncf_fake_quantize_asym", "nncf", nncf_fake, "asymmetric", options={"symmetric": False}, slow=True),
    Whole("ggml_q8_0", "pywhispercpp", ggml, options={"kind": "q8_0"}, block=32, parts=127),
    Whole("ggml_q8_0", "gguf", gguf, options={"kind": "Q8_0"}, block=32, parts=127, least={"float32": 1e-35}),
    Whole("ggml_q8_0_avx", "pywhispercpp", ggml, options={"kind": "q8_0", "path": "avx"}, block=32, parts=127),
    Whole("ggml_q4_0", "pywhispercpp", ggml, bits=4, options={"kind": "q4_0"}, block=32, parts=8),
    Whole("ggml_q4_0", "gguf", gguf, bits=4, options={"kind": "Q4_0"}, block=32, parts=8, least={"float32": 1e-35}),
    *(
        Whole("ai_edge_quantizer", "ai_edge_quantizer", ai_edge_quantizer, scheme, bits, narrow, options)
        for bits, narrow in ((8, None), (4, False))
        for scheme, options in (
            ("symmetric", {"bits": bits, "symmetric": True}),
            ("asymmetric", {"bits": bits, "symmetric": False}),
        )
    ),
    *(
        Whole(
            row, "tensorflow", fake_quant, "asymmetric", bits,
            options={"bits": bits, "operator": operator}, least={"float32": 1e-34},
        )
        for row, operator in (
            ("tensorflow_fake_quant", "PerChannel"),
            ("tensorflow_fake_quant", "args"),
            ("tensorflow_fake_quant_vars", "vars"),
        )
        for bits in (8, 4)
    ),
)  # fmt: skip

# Rows with tests of their own; and gemmlowp, whose documented code was compiled and asked once, by hand.
ELSEWHERE = {"tflite", "tflite_optimized", "tflite_weights", "xnnpack", "gemmlowp"}
