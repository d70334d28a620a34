"""ONNX's operators as the specification has them, and ONNX Runtime's."""

from bitquant.dialects.quantizers.row import Quantizer

_SPECIFICATION = "ONNX operator specification"
_DYNAMIC_ZERO = "zero_point = round_even(fmax(fmin(qmin - low / step, qmax), qmin))"

ONNX = (
    Quantizer(
        name="onnx",
        title="ONNX QuantizeLinear and DequantizeLinear",
        source=f"{_SPECIFICATION}, QuantizeLinear-25 and DequantizeLinear-25; onnx/reference/ops",
        witness="",
        codes="clamp(float32(round_even(x / step)) + zero_point, qmin, qmax)",
        values="own((code - zero_point) * float32(step))",
        precision="input",
        step_format="input",
        inputs=("float32", "float16", "bfloat16"),
        bits=(8, 4, 2, 16),
    ),
    Quantizer(
        name="onnx_dynamic",
        title="ONNX DynamicQuantizeLinear",
        source=f"{_SPECIFICATION}, DynamicQuantizeLinear-11; onnx/reference/ops/op_dynamic_quantize_linear.py",
        witness="",
        asymmetric=(
            "low = min(low, 0)",
            "high = max(high, 0)",
            "step = (1 if high == low else high - low) / (qmax - qmin)",
            _DYNAMIC_ZERO,
        ),
        codes="clamp(round_even(x / step) + zero_point, qmin, qmax)",
        values="(code - zero_point) * step",
        signed=(False,),
    ),
    Quantizer(
        name="onnxruntime",
        title="ONNX Runtime's QuantizeLinear and DequantizeLinear on the CPU",
        source="onnxruntime/core/mlas/lib/quantize.cpp, MlasQuantizeLinearVector",
        witness="",
        codes="round_even(fclamp(x / step, qmin - zero_point, qmax - zero_point)) + zero_point",
        values="own((code - zero_point) * float32(step))",
        step_format="input",
        inputs=("float32", "float16"),
        bits=(8, 4, 16),
    ),
    Quantizer(
        name="onnxruntime_dynamic",
        title="ONNX Runtime's DynamicQuantizeLinear on the CPU",
        source="onnxruntime/core/util/qmath.h, GetQuantizationParameter; onnxruntime/core/mlas/lib/quantize.cpp",
        witness="",
        asymmetric=(
            "low = min(low, 0)",
            "high = max(high, 0)",
            "step = 1 if high == low else (high - low) / (qmax - qmin)",
            _DYNAMIC_ZERO,
        ),
        codes="round_even(fclamp(x / step, qmin - zero_point, qmax - zero_point)) + zero_point",
        values="(code - zero_point) * step",
        signed=(False,),
    ),
    Quantizer(
        name="onnxruntime_tool",
        title="ONNX Runtime's quantization tool: weights and calibrated activations",
        source="onnxruntime/quantization/quant_utils.py, compute_scale_zp and quantize_nparray",
        witness="",
        symmetric=(
            "high = max(abs(min(low, 0)), abs(max(high, 0)))",
            "s = (float64(high) - float64(-high)) / (qmax - qmin - ((1 if bits > 4 else 0) if qmin < 0 else 0))",
            "small = own(s) == 0 if epsilon > 2**-20 else s < tiny",
            "zero_point = 0 if small else round_even((qmin + qmax) / 2)",
            "step = 1 if small else s",
        ),
        asymmetric=(
            "low = min(low, 0)",
            "s = (float64(max(high, 0)) - float64(low)) / (qmax - qmin)",
            "small = own(s) == 0 if epsilon > 2**-20 else s < tiny",
            "zero_point = 0 if small else round_even(qmin - low / s)",
            "step = 1 if small else s",
        ),
        codes="clamp(round_even(x / step) + zero_point, qmin, qmax)",
        values="own((code - zero_point) * float32(step))",
        step_format="input",
        inputs=("float32", "float16"),
        bits=(8, 4, 16),
    ),
)
