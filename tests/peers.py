"""Other libraries' conversions, one function each: codes of one format in, codes of another out.

A peer has `absent()`, the reason why it cannot be asked here, or None; `asks(source, target, rules)`, whether it has
that conversion under those rules; and `cast(source, target, codes, rules)`. Formats are bitquant's rows; codes are
arrays of their code dtype.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np

import bitquant as bq


def missing(module):
    """Say how to get a module that is not installed; None for one that is."""
    return None if importlib.util.find_spec(module) else f"{module} is not installed"


class Peer:
    """Another implementation; see the module's docstring."""

    module = "numpy"

    def absent(self):
        """Say why it cannot be asked; None when it can."""
        return missing(self.module)

    def asks(self, source, target, rules):
        """Tell whether it converts this pair under these rules."""
        return True


class NumPy(Peer):
    """`astype` of NumPy's own dtypes and of those that ml_dtypes adds."""

    def cast(self, source, target, codes, rules):
        """Convert by astype."""
        with np.errstate(all="ignore"):
            return codes.view(source.dtype).astype(target.dtype).view(target.code_dtype)


class Torch(Peer):
    """`Tensor.to` on the CPU, contiguous and so by the vectorised routines."""

    module = "torch"

    def cast(self, source, target, codes, rules):
        """Convert by Tensor.to."""
        import torch

        same_width = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}
        tensor = torch.from_numpy(codes.view(same_width[codes.itemsize])).view(getattr(torch, source.name))
        result = tensor.to(getattr(torch, target.name))
        back = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[result.element_size()]
        return result.view(back).numpy().view(target.code_dtype)


class GFloat(Peer):
    """`round_ndarray` and `encode_ndarray` of gfloat's OCP formats."""

    module = "gfloat"
    formats = {  # noqa: RUF012
        "float8_e5m2": "format_info_ocp_e5m2",
        "float8_e4m3fn": "format_info_ocp_e4m3",
        "float6_e3m2fn": "format_info_ocp_e3m2",
        "float6_e2m3fn": "format_info_ocp_e2m3",
        "float4_e2m1fn": "format_info_ocp_e2m1",
    }

    def asks(self, source, target, rules):
        """It has no rule for NaN where the format has none."""
        return rules["nan"] == "preserve"

    def cast(self, source, target, codes, rules):
        """Round the values, then encode them."""
        import gfloat
        import gfloat.formats

        info = getattr(gfloat.formats, self.formats[target.name])
        values = bq.decode(codes, source, np.float64)
        with np.errstate(over="ignore"):
            rounded = gfloat.round_ndarray(info, values, gfloat.RoundMode.TiesToEven, rules["overflow"] == "saturate")
        return gfloat.encode_ndarray(info, rounded).astype(target.code_dtype)


ONNX_NAMES = {
    "float64": "DOUBLE",
    "float32": "FLOAT",
    "float16": "FLOAT16",
    "bfloat16": "BFLOAT16",
    "float8_e5m2": "FLOAT8E5M2",
    "float8_e5m2fnuz": "FLOAT8E5M2FNUZ",
    "float8_e4m3fn": "FLOAT8E4M3FN",
    "float8_e4m3fnuz": "FLOAT8E4M3FNUZ",
    "float8_e8m0fnu": "FLOAT8E8M0",
    "float6_e3m2fn": "FLOAT6E3M2",
    "float6_e2m3fn": "FLOAT6E2M3",
    "float4_e2m1fn": "FLOAT4E2M1",
    **{fmt.name: fmt.name.upper() for fmt in bq.formats() if fmt.kind == "integer"},
}
ROUND_MODES = {"toward_positive": "up", "toward_zero": "down", "nearest_even": "nearest"}


@functools.cache
def cast_model(source, target, saturate, round_mode):
    """Make a model of one Cast, serialized."""
    from onnx import TensorProto, helper

    start, end = (getattr(TensorProto, ONNX_NAMES[name]) for name in (source, target))
    more = {"saturate": saturate, "round_mode": round_mode} if target == "float8_e8m0fnu" else {}
    if target.startswith("float8") and not more:
        more = {"saturate": saturate}
    node = helper.make_node("Cast", ["x"], ["y"], to=end, **more)
    values = (helper.make_tensor_value_info(name, kind, [None]) for name, kind in (("x", start), ("y", end)))
    graph = helper.make_graph([node], "cast", [next(values)], [next(values)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)])
    model.ir_version = 13
    return model.SerializeToString()


class ONNX(Peer):
    """The reference implementation in the onnx package."""

    module = "onnx"

    def __init__(self, saturate):
        self.saturate = saturate

    def asks(self, source, target, rules):
        """It cannot cast between integers of less than 8 bits."""
        return source.bits >= 8 or target.bits >= 8

    def cast(self, source, target, codes, rules):
        """Run a model of one Cast."""
        import onnx.reference

        mode = ROUND_MODES.get(rules.get("rounding"), "up")
        model = onnx.load_from_string(cast_model(source.name, target.name, self.saturate, mode))
        with np.errstate(all="ignore"):
            (result,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": codes.view(source.dtype)})
        return result.view(target.code_dtype)


class ONNXRuntime(Peer):
    """ONNX Runtime's CPU provider."""

    module = "onnxruntime"

    def __init__(self, saturate):
        self.saturate = saturate

    def absent(self):
        """Both packages are needed."""
        return missing("onnxruntime") or missing("onnx")

    def cast(self, source, target, codes, rules):
        """Run a model of one Cast, and read the result where it lies."""
        from onnx import TensorProto

        session = self.session(source.name, target.name, ROUND_MODES.get(rules.get("rounding"), "up"))
        kind = getattr(TensorProto, ONNX_NAMES[source.name])
        import onnxruntime

        codes = np.ascontiguousarray(codes if source.dtype.kind == "V" else codes.view(source.dtype))
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(codes, kind))
        binding.bind_output("y")
        session.run_with_iobinding(binding)
        value = binding.get_outputs()[0]
        per_byte = max(1, 8 // target.bits)
        size = -(-codes.size // per_byte) * target.code_dtype.itemsize
        result = np.frombuffer(ctypes.string_at(value.data_ptr(), size), target.code_dtype)
        if per_byte == 1:
            return result
        parts = [result >> (target.bits * place) & (2**target.bits - 1) for place in range(per_byte)]
        return np.stack(parts, axis=1).reshape(-1)[: codes.size]

    @functools.cache  # noqa: B019
    def session(self, source, target, mode):
        """Load a model of one Cast, one thread, nothing folded."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        model = cast_model(source, target, self.saturate, mode)
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class CPU(Peer):
    """The instructions of this processor, through witness.c."""

    def __init__(self, witness):
        self.witness = witness

    def asks(self, source, target, rules):
        """What the processor lacks is not asked."""
        return self.witness.absent(f"{source.name}_to_{target.name}") is None

    def cast(self, source, target, codes, rules):
        """Convert by one instruction; those that ignore MXCSR do so."""
        rounding = rules.get("rounding", "nearest_even")
        return self.witness.convert(f"{source.name}_to_{target.name}", codes, rounding, rules["subnormals"])


class CUDAHeaders(Peer):
    """The conversion functions of NVIDIA's headers, compiled for the host; cuda_witness.cpp."""

    packages = ("nvidia-cuda-runtime", "nvidia-cuda-crt", "nvidia-cuda-cccl")
    suffixes = {  # noqa: RUF012
        "nearest_even": "rn",
        "toward_zero": "rz",
        "toward_positive": "ru",
        "toward_negative": "rd",
    }

    def __init__(self, folder, saturate):
        self.folder, self.saturate = folder, saturate

    def absent(self):
        """Look for the headers and a compiler."""
        for package in self.packages:
            try:
                importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                return f"{package} is not installed"
        return None if shutil.which("g++") else "no C++ compiler: looked for g++"

    @functools.cached_property
    def library(self):
        """The compiled functions."""
        files = (file for name in self.packages for file in importlib.metadata.files(name) or ())
        places = {Path(file.locate()) for file in files if file.name in ("cuda_fp4.h", "host_defines.h", "target")}
        folders = {place.parent for place in places if place.name == "cuda_fp4.h"}
        folders |= {place.parent.parent for place in places if place.name == "target"}
        out = Path(self.folder) / f"cuda_witness_{self.saturate}.so"
        source = Path(__file__).with_name("cuda_witness.cpp")
        include = [f"-I{folder}" for folder in sorted(folders)]
        command = ["g++", "-O2", "-w", "-shared", "-fPIC", *include, f"-DSATURATE={self.saturate}", "-o", str(out)]
        subprocess.run([*command, str(source)], check=True)
        return ctypes.CDLL(str(out))

    def function(self, source, target, rules):
        """Find the function for a conversion; None where the headers have none for the host."""
        suffix = self.suffixes.get(rules["rounding"])
        return getattr(self.library, f"{source.name}_to_{target.name}_{suffix}", None)

    def asks(self, source, target, rules):
        """What cuda_witness.cpp has."""
        return self.function(source, target, rules) is not None

    def cast(self, source, target, codes, rules):
        """Convert one number at a time."""
        out = np.empty(codes.shape, target.code_dtype)
        codes = np.ascontiguousarray(codes)
        function = self.function(source, target, rules)
        function(ctypes.c_void_p(codes.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_size_t(codes.size))
        return out
