"""ONNX's operators as the specification has them, and ONNX Runtime's."""

from bitquant.dialects.quantizers.row import Quantizer

_REFERENCE = "onnx 1.23.2, its reference evaluator and test cases"
_RUNTIME = "ONNX Runtime 1.32.0 on x86-64 with AVX-512"
_SPECIFICATION = "ONNX operator specification"
_DYNAMIC_ZERO = "zero_point = round_even(fmax(fmin(qmin - low / step, qmax), qmin))"

ONNX = (
    Quantizer(
        name="onnx",
        title="ONNX QuantizeLinear and DequantizeLinear",
        source=f"{_SPECIFICATION}, QuantizeLinear-25 and DequantizeLinear-25; onnx/reference/ops",
        witness=_REFERENCE,
        codes="clamp(float32(round_even(x / step)) + zero_point, qmin, qmax)",
        values="own((code - zero_point) * float32(step))",
        precision="input",
        step_format="input",
        inputs=("float32", "float16", "bfloat16"),
        bits=(8, 4, 2, 16),
        notes=(
            "The reference evaluator converts to int32 before it saturates, against the specification: what lies "
            "beyond 2^31 steps, infinities and NaN give −2^31 plus the zero point, which wraps. Here they "
            "saturate, and NaN gives 0.",
            "In float16 the division overflows beyond 65504 steps. Codes that are floats (float8, float4): "
            "divide, and convert by the conversion dialect onnx.",
        ),
    ),
    Quantizer(
        name="onnx_dynamic",
        title="ONNX DynamicQuantizeLinear",
        source=f"{_SPECIFICATION}, DynamicQuantizeLinear-11; onnx/reference/ops/op_dynamic_quantize_linear.py",
        witness=_REFERENCE,
        asymmetric=(
            "low = min(low, 0)",
            "high = max(high, 0)",
            "step = (1 if high == low else high - low) / (qmax - qmin)",
            _DYNAMIC_ZERO,
        ),
        codes="clamp(round_even(x / step) + zero_point, qmin, qmax)",
        values="(code - zero_point) * step",
        signed=(False,),
        notes=(
            "All zeros: the reference has step 1/255, ONNX Runtime 1; the specification divides by zero. A range "
            "so small that the step underflows to 0 has zero point 255.",
        ),
    ),
    Quantizer(
        name="onnxruntime",
        title="ONNX Runtime's QuantizeLinear and DequantizeLinear on the CPU",
        source="onnxruntime/core/mlas/lib/quantize.cpp, MlasQuantizeLinearVector",
        witness=_RUNTIME,
        codes="round_even(fclamp(x / step, qmin - zero_point, qmax - zero_point)) + zero_point",
        values="own((code - zero_point) * float32(step))",
        step_format="input",
        inputs=("float32", "float16"),
        bits=(8, 4, 16),
        notes=("NaN gives the lowest code. float16 numbers are divided in float32.",),
    ),
    Quantizer(
        name="onnxruntime_dynamic",
        title="ONNX Runtime's DynamicQuantizeLinear on the CPU",
        source="onnxruntime/core/util/qmath.h, GetQuantizationParameter; onnxruntime/core/mlas/lib/quantize.cpp",
        witness=_RUNTIME,
        asymmetric=(
            "low = min(low, 0)",
            "high = max(high, 0)",
            "step = 1 if high == low else (high - low) / (qmax - qmin)",
            _DYNAMIC_ZERO,
        ),
        codes="round_even(fclamp(x / step, qmin - zero_point, qmax - zero_point)) + zero_point",
        values="(code - zero_point) * step",
        signed=(False,),
        notes=("All zeros: step 1, where ONNX's reference has 1/255.",),
    ),
    Quantizer(
        name="onnxruntime_tool",
        title="ONNX Runtime's quantization tool: weights and calibrated activations",
        source="onnxruntime/quantization/quant_utils.py, compute_scale_zp and quantize_nparray",
        witness=_RUNTIME,
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
        notes=(
            "Symmetric codes of 8 and 16 bits: the step is for a range without the lowest code, to which numbers "
            "may yet be rounded and clamped; those of 4 bits use the whole range, so that the step is the range "
            "over 15.",
            "A step below the smallest normal number (float16: one that rounds to zero) becomes 1, with zero "
            "point 0. The zero point is by the step before it was rounded to float32.",
            "NaN gives 0.",
        ),
    ),
)
