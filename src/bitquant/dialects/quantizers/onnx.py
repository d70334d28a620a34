"""ONNX's operators as the specification has them, and ONNX Runtime's."""

from bitquant.dialects.quantizers.row import Quantizer

ONNX = (
    Quantizer(
        name="onnx",
        title="ONNX QuantizeLinear and DequantizeLinear",
        source="ONNX operator specification, QuantizeLinear-25 and DequantizeLinear-25; onnx/reference/ops",
        witness="",
        codes="clamp(round_even(x / step) + zero_point, qmin, qmax)",
        values="(code - zero_point) * step",
        precision="input",
        step_format="input",
        inputs=("float32", "float16", "bfloat16"),
        bits=(8, 4, 2, 16),
    ),
    Quantizer(
        name="onnx_dynamic",
        title="ONNX DynamicQuantizeLinear",
        source="ONNX operator specification, DynamicQuantizeLinear-11; onnx/reference/ops/op_dynamic_quantize_linear.py",
        witness="",
        asymmetric=(
            "low = min(low, 0)",
            "high = max(high, 0)",
            "step = (1 if high == low else high - low) / 255",
            "zero_point = round_even(clamp(qmin - low / step, qmin, qmax))",
        ),
        codes="clamp(round_even(x / step) + zero_point, qmin, qmax)",
        values="(code - zero_point) * step",
        signed=(False,),
    ),
)
