"""What is measured: each case is ours and its peers doing the same work on the same numbers.

A case is a function of the size; it returns {name: callable}. The first name is ours. A peer that is not installed is
left out. `copy` moves as many bytes as the case reads and writes.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

import bitquant as bq
from bitquant.dialects.quantizers import quantizer, quantizers

Runs = dict[str, Callable[[], Any]]
ROUNDINGS = ("nearest_away", "toward_zero", "toward_positive", "toward_negative", "to_odd")


def installed(name: str) -> bool:
    """Whether a peer can be imported."""
    return importlib.util.find_spec(name) is not None


def numbers(size: int, dtype: Any = np.float32, spread: float = 1.0) -> np.ndarray:
    """Seeded normal numbers."""
    return (np.random.default_rng(0).standard_normal(size) * spread).astype(dtype)


def copying(read: np.ndarray, written: np.ndarray) -> Callable[[], Any]:
    """A plain copy that moves the same number of bytes."""
    half = (read.nbytes + written.nbytes) // 2
    source, target = np.ones(half, np.uint8), np.empty(half, np.uint8)
    return lambda: np.copyto(target, source)


def tensor(x: np.ndarray) -> Any:
    """A torch tensor on the same memory."""
    import torch

    if x.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def onnx_session(
    operator: str, inputs: dict[str, np.ndarray], output: np.ndarray, **attributes: Any
) -> Callable[[], Any]:
    """One ONNX Runtime operator, inputs and output bound once, one thread."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    kinds = {
        np.dtype(np.float32): TensorProto.FLOAT,
        np.dtype(np.float16): TensorProto.FLOAT16,
        np.dtype(ml_dtypes.bfloat16): TensorProto.BFLOAT16,
        np.dtype(np.int8): TensorProto.INT8,
    }
    described = [helper.make_tensor_value_info(name, kinds[x.dtype], list(x.shape)) for name, x in inputs.items()]
    result = helper.make_tensor_value_info("y", kinds[output.dtype], list(output.shape))
    if operator == "Cast":
        attributes["to"] = kinds[output.dtype]
    node = helper.make_node(operator, list(inputs), ["y"], **attributes)
    graph = helper.make_graph([node], "one", described, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, x in inputs.items():
        binding.bind_input(name, "cpu", 0, kinds[x.dtype], x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, kinds[output.dtype], output.shape, output.ctypes.data)
    held = (inputs, output)  # the binding has their addresses only

    def run() -> Any:
        session.run_with_iobinding(binding)
        return held

    return run


def conversion(source: Any, target: Any, spread: float = 1.0) -> Callable[[int], Runs]:
    """Source dtype to target dtype, nearest-even."""

    def case(size: int) -> Runs:
        x = numbers(size, source, spread)
        y, other = np.empty(size, target), np.empty(size, target)
        runs: Runs = {"bitquant": lambda: bq.convert(x, y.dtype, out=y)}
        if installed("torch"):
            a, b = tensor(x), tensor(np.empty(size, target))
            runs["torch"] = lambda: b.copy_(a)
        if installed("onnxruntime") and installed("onnx") and np.dtype(source) == np.float32:
            runs["onnxruntime"] = onnx_session("Cast", {"x": x}, np.empty(size, target))
        peer = "ml_dtypes" if ml_dtypes.bfloat16 in (source, target) else "numpy"
        runs[peer] = lambda: np.copyto(other, x, casting="unsafe")
        runs["copy"] = copying(x, y)
        return runs

    return case


def from_float64(target: Any) -> Callable[[int], Runs]:
    """FP64, one rounding; NumPy's FP64 to FP16 beside it."""

    def case(size: int) -> Runs:
        x = numbers(size, np.float64)
        y, half = np.empty(size, target), np.empty(size, np.float16)
        runs: Runs = {"bitquant": lambda: bq.convert(x, y.dtype, out=y)}
        runs["numpy to FP16"] = lambda: np.copyto(half, x, casting="unsafe")
        if installed("torch"):
            a, b = tensor(x), tensor(np.empty(size, target))
            runs["torch (rounds twice)"] = lambda: b.copy_(a)
        runs["copy"] = copying(x, y)
        return runs

    return case


def rounding(target: Any, mode: str) -> Callable[[int], Runs]:
    """One rounding mode beside our own nearest-even."""

    def case(size: int) -> Runs:
        x, y = numbers(size), np.empty(size, target)
        return {
            "bitquant": lambda: bq.convert(x, y.dtype, out=y, rounding=mode),
            "nearest_even": lambda: bq.convert(x, y.dtype, out=y),
        }

    return case


def flags(target: Any) -> Callable[[int], Runs]:
    """Counting flags beside not counting them."""

    def case(size: int) -> Runs:
        x, y, counted = numbers(size), np.empty(size, target), bq.Flags()
        return {
            "bitquant": lambda: bq.convert(x, y.dtype, out=y, flags=counted),
            "without flags": lambda: bq.convert(x, y.dtype, out=y),
        }

    return case


def to_int8(size: int) -> Runs:
    """FP32 to INT8, saturating."""
    x, y, scratch = numbers(size, spread=50.0), np.empty(size, np.int8), np.empty(size, np.float32)

    def numpy_way() -> None:
        np.clip(x, -128, 127, out=scratch)
        np.rint(scratch, out=scratch)
        np.copyto(y, scratch, casting="unsafe")

    return {
        "bitquant": lambda: bq.convert(x, "int8", out=y),
        "numpy clip, rint, astype": lambda: np.rint(np.clip(x, -128, 127)).astype(np.int8),
        "numpy with out=": numpy_way,
        "copy": copying(x, y),
    }


def quantization(scheme: str, zero_point: int) -> Callable[[int], Runs]:
    """Per tensor, parameters given."""

    def case(size: int) -> Runs:
        x, y = numbers(size), np.empty(size, np.int8)
        step = np.float32(np.abs(x).max() / 127)
        runs: Runs = {"bitquant": lambda: bq.quantize(x, scheme, step=step, zero_point=zero_point, out=y)}
        if installed("torch"):
            import torch

            a = tensor(x)
            runs["torch.quantize_per_tensor"] = lambda: torch.quantize_per_tensor(
                a, float(step), zero_point, torch.qint8
            )
        if installed("onnxruntime") and installed("onnx"):
            given = {"x": x, "s": np.array([step], np.float32).reshape(()), "z": np.array(zero_point, np.int8)}
            runs["onnxruntime QuantizeLinear"] = onnx_session("QuantizeLinear", given, np.empty(size, np.int8))
        runs["copy"] = copying(x, y)
        return runs

    return case


def per_channel(axis: int) -> Callable[[int], Runs]:
    """Per channel, steps given."""

    def case(size: int) -> Runs:
        x = numbers(size).reshape(-1, 1024)
        y = np.empty(x.shape, np.int8)
        step = (np.abs(x).max(1 - axis) / 127).astype(np.float32)
        runs: Runs = {"bitquant": lambda: bq.quantize(x, step=step, axis=axis, out=y)}
        if installed("onnxruntime") and installed("onnx"):
            given = {"x": x, "s": step, "z": np.zeros(step.size, np.int8)}
            runs["onnxruntime QuantizeLinear"] = onnx_session("QuantizeLinear", given, np.empty_like(y), axis=axis)
        runs["copy"] = copying(x, y)
        return runs

    return case


def found(scheme: str, **where: Any) -> Callable[[int], Runs]:
    """Parameters found from the numbers; groups beside torchao's."""

    def case(size: int) -> Runs:
        x = numbers(size).reshape(-1, 1024)
        y = np.empty(x.shape, np.int8)
        runs: Runs = {"bitquant": lambda: bq.quantize(x, scheme, out=y, **where)}
        if "group_size" in where:
            runs["0.5 G/s"] = fixed(0.5, size)
            if installed("torchao"):
                runs["torchao"] = torchao_groups(x, scheme, where["group_size"])
        runs["copy"] = copying(x, y)
        return runs

    return case


def torchao_groups(x: np.ndarray, scheme: str, group: int) -> Callable[[], Any]:
    """Groups along the last axis as torchao quantizes them."""
    import torch
    from torchao.quantization import quant_primitives as primitives

    given, kind = tensor(x), getattr(primitives.MappingType, scheme.upper())

    def run() -> Any:
        step, zero = primitives.choose_qparams_affine(given, kind, (1, group), torch.int8)
        return primitives.quantize_affine(given, (1, group), step, zero, torch.int8)

    return run


def blocks(name: str, goal: float | None = 0.5) -> Callable[[int], Runs]:
    """A block format, scales found, beside torchao's MX or the gguf package."""

    def case(size: int) -> Runs:
        x = numbers(size).reshape(-1, 1024)
        y = np.empty(x.shape, bq.quantize_blocks(x[:1], name).codes.dtype)
        runs: Runs = {"bitquant": lambda: bq.quantize_blocks(x, name, out=y)}
        if goal is not None:
            runs[f"{goal} G/s"] = fixed(goal, size)
        kinds = {"mxfp8_e4m3": "float8_e4m3fn", "mxfp8_e5m2": "float8_e5m2", "mxfp4": "float4_e2m1fn_x2"}
        if name in kinds and installed("torchao"):
            import torch
            from torchao.prototype.mx_formats.mx_tensor import to_mx

            a, kind = tensor(x), getattr(torch, kinds[name])
            runs["torchao"] = lambda: to_mx(a, kind, 32)
        if name in ("q8_0", "q4_0") and installed("gguf"):
            import gguf

            layout = getattr(gguf.GGMLQuantizationType, name.upper())
            runs["gguf"] = lambda: gguf.quants.quantize(x, layout)
        runs["copy"] = copying(x, y)
        return runs

    return case


def by_dialect(name: str) -> Callable[[int], Runs]:
    """Codes by another system's formulas, parameters given where it takes them."""

    def case(size: int) -> Runs:
        row = quantizer(name)
        source = row.inputs[0]
        x = np.asarray(bq.convert(numbers(size), source))
        kind = np.dtype(f"{'i' if row.signed[0] else 'u'}{(row.bits[0] + 7) // 8}")
        y = np.empty(size, kind)
        finds = row.symmetric or row.asymmetric
        scheme = "symmetric" if row.symmetric else "asymmetric"
        options: dict[str, Any] = {"scheme": scheme} if finds else {"step": 0.04}
        return {
            "bitquant": lambda: bq.quantize(x, dialect=name, out=y, **options),
            "1.0 G/s": fixed(1.0, size),
            "copy": copying(x, y),
        }

    return case


def minmax(size: int) -> Runs:
    """The range of an array, beside reading its bytes."""
    x = numbers(size)
    words = x.view(np.int32)
    return {"bitquant": lambda: bq.calibrate(x, "minmax"), "reading": words.max}


def dequantization(size: int) -> Runs:
    """INT8 codes back to FP32."""
    quantized = bq.symmetric(numbers(size))
    return {"bitquant": quantized.dequantize, "copy": copying(quantized.codes, np.empty(size, np.float32))}


def round_to(size: int) -> Runs:
    """FP32 onto the FP16 grid."""
    x, y = numbers(size), np.empty(size, np.float32)
    return {"bitquant": lambda: bq.round_to(x, "float16", out=y), "copy": copying(x, y)}


def to_float8(name: str) -> Callable[[int], Runs]:
    """FP32 to an eight-bit format, nearest-even."""

    def case(size: int) -> Runs:
        x = numbers(size)
        y, other = np.empty(size, name), np.empty(size, name)
        runs: Runs = {"bitquant": lambda: bq.convert(x, name, out=y), "ml_dtypes": lambda: np.copyto(other, x)}
        if installed("torch"):
            import torch

            a, b = tensor(x), torch.empty(size, dtype=getattr(torch, name))
            runs["torch"] = lambda: b.copy_(a)
        runs["copy"] = copying(x, y)
        return runs

    return case


def from_float8(name: str) -> Callable[[int], Runs]:
    """An eight-bit format to FP32."""

    def case(size: int) -> Runs:
        x, y = bq.convert(numbers(size), name), np.empty(size, np.float32)
        runs: Runs = {"bitquant": lambda: bq.convert(x, "float32", out=y)}
        if installed("torch"):
            import torch

            a = torch.from_numpy(x.view(np.uint8)).view(getattr(torch, name))
            b = torch.empty(size)
            runs["torch"] = lambda: b.copy_(a)
        runs["copy"] = copying(x, y)
        return runs

    return case


def fixed(speed: float, size: int) -> Callable[[], Any]:
    """A published speed, in G elements/s, as a wait."""
    return lambda: time.sleep(size / speed / 1e9)


def custom(fmt: bq.Format, way: str, mode: str) -> Callable[[int], Runs]:
    """FP32 to a custom format under any rounding, beside what CPFloat's authors publish for one thread (0.33)."""

    def case(size: int) -> Runs:
        x = numbers(size)
        y = np.empty(size, fmt.code_dtype if way == "encode" else np.float32)
        run = bq.convert if way == "encode" else bq.round_to
        return {
            "bitquant": lambda: run(x, fmt, rounding=mode, out=y),
            "CPFloat as published": fixed(0.33, size),
            "1.5 G/s": fixed(1.5, size),
            "copy": copying(x, y),
        }

    return case


def beside_speed(make: Callable[[int], tuple[Any, Any, dict[str, Any]]], speed: float) -> Callable[[int], Runs]:
    """A conversion beside a speed that it must reach."""

    def case(size: int) -> Runs:
        x, fmt, rules = make(size)
        y = np.empty(size, bq.format(fmt).code_dtype)
        return {
            "bitquant": lambda: bq.convert(x, fmt, out=y, **rules),
            f"{speed} G/s": fixed(speed, size),
            "copy": copying(x, y),
        }

    return case


def sorted_values(count: int) -> bq.Format:
    """A codebook of seeded normal numbers."""
    return bq.codebook(np.sort(np.random.default_rng(1).standard_normal(count).astype(np.float32)).tolist())


def all_pairs(size: int, rounds: int = 3) -> list[tuple[float, str]]:
    """The speed of every ordered pair of formats of the table, slowest first."""
    found = []
    for source in bq.formats():
        x = np.asarray(bq.convert(numbers(size), source, nan="max" if not source.has_nan else None))
        for target in bq.formats():
            y, best = np.empty(size, target.code_dtype), float("inf")
            nan = None if target.has_nan else "max"
            for _ in range(rounds):
                start = time.perf_counter()
                bq.convert(x, target, source, nan=nan, out=y)
                best = min(best, time.perf_counter() - start)
            found.append((size / best / 1e9, f"{source.name} → {target.name}"))
    return sorted(found)


def threads(target: Any) -> Callable[[int], Runs]:
    """Two threads beside one."""

    def case(size: int) -> Runs:
        x, y = numbers(size), np.empty(size, target)
        return {
            "bitquant": lambda: bq.convert(x, y.dtype, out=y, threads=2),
            "one thread": lambda: bq.convert(x, y.dtype, out=y),
            "copy": copying(x, y),
        }

    return case


CASES: dict[str, Callable[[int], Runs]] = {
    "FP32 → FP16": conversion(np.float32, np.float16),
    "FP32 → BF16": conversion(np.float32, ml_dtypes.bfloat16),
    "FP32 → FP16, weights of spread 0.02": conversion(np.float32, np.float16, 0.02),
    "FP16 → FP32": conversion(np.float16, np.float32),
    "BF16 → FP32": conversion(ml_dtypes.bfloat16, np.float32),
    **{f"FP32 → FP16, {mode}": rounding(np.float16, mode) for mode in ROUNDINGS},
    **{f"FP32 → BF16, {mode}": rounding(ml_dtypes.bfloat16, mode) for mode in ROUNDINGS},
    "FP64 → FP16": from_float64(np.float16),
    "FP64 → BF16": from_float64(ml_dtypes.bfloat16),
    "FP32 → INT8, saturating": to_int8,
    "symmetric, given": quantization("symmetric", 0),
    "asymmetric, given": quantization("asymmetric", -7),
    "symmetric per row, given": per_channel(0),
    "symmetric per column, given": per_channel(1),
    "symmetric, found": found("symmetric"),
    "asymmetric, found": found("asymmetric"),
    "symmetric, per row": found("symmetric", axis=0),
    "symmetric, per column": found("symmetric", axis=1),
    **{f"{scheme}, groups of 32": found(scheme, group_size=32) for scheme in ("symmetric", "asymmetric")},
    "symmetric, groups of 128": found("symmetric", group_size=128),
    **{name: blocks(name) for name in ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4", "mxint8")},
    **{name: blocks(name, None) for name in ("nvfp4", "q8_0", "q4_0")},
    "min-max": minmax,
    **{f"dialect {row.name}": by_dialect(row.name) for row in quantizers()},
    "dequantize to FP32": dequantization,
    "round_to FP16": round_to,
    **{f"FP32 → {name}": to_float8(f"float8_{name.lower()}") for name in ("E4M3FN", "E5M2")},
    "E4M3FN → FP32": from_float8("float8_e4m3fn"),
    **{
        f"{way} {fmt.name}, {mode}": custom(fmt, way, mode)
        for way in ("encode", "round_to")
        for fmt in (bq.exmy(5, 4), bq.exmy(6, 9), bq.exmy(4, 5, nan=None))
        for mode in ("nearest_even", *ROUNDINGS)
    },
    **{
        f"FP32 → {name}, stochastic": beside_speed(
            lambda size, name=name: (numbers(size), name, {"rounding": bq.Stochastic(seed=1)}), 1.0
        )
        for name in ("bfloat16", "float8_e4m3fn")
    },
    **{
        f"FP64 → {name}": beside_speed(lambda size, name=name: (numbers(size, np.float64), name, {}), 1.0)
        for name in ("float32", "float8_e4m3fn", "float8_e5m2", "int32")
    },
    "FP32 → NF4": beside_speed(lambda size: (numbers(size), "nf4", {}), 0.5),
    "FP32 → a codebook of 256 values": beside_speed(lambda size: (numbers(size), sorted_values(256), {}), 0.5),
    "FP32 → FP16, flags counted": flags(np.float16),
    "FP32 → BF16, flags counted": flags(ml_dtypes.bfloat16),
    "FP32 → FP16, two threads": threads(np.float16),
    "FP32 → BF16, two threads": threads(ml_dtypes.bfloat16),
}

# What must be reached at 16 M elements: case → {peer: at least this ratio of its speed}.
GOALS: dict[str, dict[str, float]] = {
    "FP32 → FP16": {"torch": 1.0, "numpy": 7.0},
    "FP32 → BF16": {"torch": 1.0, "ml_dtypes": 1.5},
    "FP16 → FP32": {"torch": 1.0, "numpy": 6.0},
    "BF16 → FP32": {"torch": 1.0},
    **{f"FP32 → {name}, {mode}": {"nearest_even": 0.7} for name in ("FP16", "BF16") for mode in ROUNDINGS},
    "FP64 → FP16": {"numpy to FP16": 4.0},
    "FP64 → BF16": {"numpy to FP16": 4.0},
    "FP32 → INT8, saturating": {"numpy clip, rint, astype": 10.0},
    "symmetric, given": {"torch.quantize_per_tensor": 1.0, "onnxruntime QuantizeLinear": 1.0},
    "asymmetric, given": {"torch.quantize_per_tensor": 1.0, "onnxruntime QuantizeLinear": 1.0},
    "symmetric per row, given": {"onnxruntime QuantizeLinear": 1.0},
    "symmetric per column, given": {"onnxruntime QuantizeLinear": 1.0},
    **{f"{scheme}, groups of 32": {"0.5 G/s": 1.0, "torchao": 10.0} for scheme in ("symmetric", "asymmetric")},
    **{
        name: {"0.5 G/s": 1.0, "torchao": 10.0}
        for name in ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4", "mxint8")
    },
    "min-max": {"reading": 0.9},
    **{f"dialect {row.name}": {"1.0 G/s": 1.0} for row in quantizers()},
    "FP32 → FP16, flags counted": {"without flags": 1 / 1.5},
    "FP32 → BF16, flags counted": {"without flags": 1 / 1.5},
    **{f"FP32 → {name}": {"torch": 1.5, "ml_dtypes": 25.0} for name in ("E4M3FN", "E5M2")},
    "E4M3FN → FP32": {"torch": 8.0},
    **{
        f"{way} {fmt.name}, {mode}": {"CPFloat as published": 4.0, "1.5 G/s": 1.0}
        for way in ("encode", "round_to")
        for fmt in (bq.exmy(5, 4), bq.exmy(6, 9), bq.exmy(4, 5, nan=None))
        for mode in ("nearest_even", *ROUNDINGS)
    },
    **{f"FP32 → {name}, stochastic": {"1.0 G/s": 1.0} for name in ("bfloat16", "float8_e4m3fn")},
    **{f"FP64 → {name}": {"1.0 G/s": 1.0} for name in ("float32", "float8_e4m3fn", "float8_e5m2", "int32")},
    "FP32 → NF4": {"0.5 G/s": 1.0},
    "FP32 → a codebook of 256 values": {"0.5 G/s": 1.0},
    "FP32 → FP16, two threads": {"one thread": 1.7},
    "FP32 → BF16, two threads": {"one thread": 1.7},
}
