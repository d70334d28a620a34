"""TensorFlow, TensorFlow Lite (LiteRT) and gemmlowp."""

from bitquant.dialects.quantizers.row import Quantizer

_LITERT = "ai-edge-litert 2.3.0 on x86-64"
_TENSORFLOW = "TensorFlow 2.21.0 on x86-64"
_ACTIVATIONS = (
    "low = min(low, 0)",
    "high = max(high, tiny)",
    "step = (high - low) / (qmax - qmin)",
    "zero_point = round_away(clamp(qmin - low / step, qmin, qmax))",
)
_LEAST_HIGH = (
    "The calibrator looks for the largest number from 2^-126 upwards (calibration_logger.h takes FLT_MIN for the least "
    "float), so an activation that is always zero gets a step of 4.6e-41."
)
_THREE_KERNELS = (
    "One model with one QUANTIZE operator gives different codes by how it is run: tflite (reference resolver), "
    "tflite_optimized (built-in kernels), or XNNPACK's rule (the delegate, which is the default)."
)
_WRAPS = (
    "What is beyond int32 after the division, infinities and NaN are −2^31 before the zero point is added, and the "
    "sum wraps: +infinity gives qmin, or qmax where the zero point is negative."
)
_NUDGED = (
    "bottom = (qmin - zero_point) * step",
    "top = (qmax - zero_point) * step",
    "zero = floor(-bottom * inverse + 0.5)",
)
_FOUND_AND_NUDGED = (
    "step = (high - low) / (qmax - qmin)",
    "inverse = (qmax - qmin) / (high - low)",
    "zero_point = round_away(clamp(qmin - low / step, qmin, qmax))",
    *_NUDGED,
)
_FAKE = (
    "The operators give numbers, not codes. NaN stays NaN there; a code cannot be NaN and is 0 here.",
    "The range is not widened to hold zero; the documentation asks for low <= 0 <= high and the kernels do not check.",
    "Args and Vars multiply and divide: some exact ties come out differently for the same numbers and range.",
    "TensorFlow's threads flush subnormal numbers to zero, so a step below 2^-126 is 0 there.",
)

TENSORFLOW = (
    Quantizer(
        name="tflite_weights",
        title="TensorFlow Lite's converter, weights",
        source="tensorflow/lite/tools/optimize/quantization_utils.cc, SymmetricPerChannelQuantization",
        witness=_LITERT,
        symmetric=(
            "amax = max(abs(low), abs(high))",
            "step = amax / 127",
            "inverse = 0 if amax == 0 else 127 / amax",
        ),
        given=("inverse = 0 if step == 0 else 1 / step",),
        codes="clamp(int32(round_away(x * inverse)) * 2**24 / 2**24, qmin, qmax)",
        values="step * code",
        signed=(True,),
        narrow=("symmetric",),
        notes=(
            "A channel of zeros has step 0; where the whole tensor has one step and is zero, the converter's is 1.",
            "The integer is cut to its low byte before it is clamped: with a range narrower than the numbers, 300 "
            "gives 44, not 127. 2^24 does that here: an int32 product with it keeps the low byte.",
            "Codes come from 127 / amax and numbers from amax / 127, so the codes are not those of the stored step.",
        ),
    ),
    Quantizer(
        name="tflite",
        title="TensorFlow Lite's QUANTIZE, reference kernel, and the converter's activations",
        source=(
            "tensorflow/lite/kernels/internal/reference/quantize.h, AffineQuantize; "
            "tensorflow/lite/tools/optimize/quantization_utils.cc, GetAsymmetricQuantizationParams, and "
            "calibration/calibration_logger.h"
        ),
        witness=_LITERT,
        asymmetric=_ACTIVATIONS,
        codes="clamp(int32(round_away(x / step)) + zero_point, qmin, qmax)",
        values="step * (code - zero_point)",
        notes=(_THREE_KERNELS, _WRAPS, _LEAST_HIGH),
    ),
    Quantizer(
        name="tflite_optimized",
        title="TensorFlow Lite's QUANTIZE and DEQUANTIZE, optimized kernels",
        source="tensorflow/lite/kernels/internal/optimized/optimized_ops.h, AffineQuantize and Dequantize",
        witness=_LITERT,
        asymmetric=_ACTIVATIONS,
        codes="clamp(int32(round_even(x * (1 / step))) + zero_point, qmin, qmax)",
        values="step * code - step * zero_point",
        notes=(
            _THREE_KERNELS,
            _WRAPS,
            "DEQUANTIZE subtracts products: the code one above the zero point does not give the step itself.",
            "The last numbers of a tensor, n mod 8, are computed as by tflite, and so are the last int8 codes: "
            "the same number gives one code here and another there.",
            _LEAST_HIGH,
        ),
    ),
    Quantizer(
        name="ai_edge_quantizer",
        title="AI Edge Quantizer, LiteRT's converter in Python",
        source="ai_edge_quantizer/algorithms/uniform_quantize/uniform_quantize_tensor.py",
        witness="ai-edge-quantizer 0.10.0",
        symmetric=("step = max(max(abs(low), abs(high)), 1e-09) / qmax",),
        asymmetric=(
            "low = min(low, 0)",
            "high = max(high, 0)",
            "step = max(high - low, 1e-09) / (qmax - qmin)",
            "zero_point = round_even(qmin - low / step)",
        ),
        codes="clamp(round_even(x / step + zero_point), qmin, qmax)",
        values="(code - zero_point) * step",
        bits=(8, 4, 2),
        signed=(True,),
        narrow=("symmetric",),
        notes=(
            "Symmetric codes leave out the lowest one from 8 bits up; with fewer bits use narrow=False.",
            "It divides and rounds ties to even where the converter that it follows multiplies and rounds them away.",
            "Its own uniform_dequantize subtracts zero points as int8, which wraps; here nothing wraps.",
        ),
    ),
    Quantizer(
        name="tensorflow_fake_quant",
        title="TensorFlow's FakeQuantWithMinMaxArgs and FakeQuantWithMinMaxVarsPerChannel",
        source="tensorflow/core/kernels/fake_quant_ops_functor.h",
        witness=_TENSORFLOW,
        asymmetric=_FOUND_AND_NUDGED,
        given=("inverse = 1 / step", *_NUDGED),
        codes="floor((clamp(x, bottom, top) - bottom) * inverse - zero + 0.5) + zero_point",
        values="(code - zero_point) * step",
        bits=(8, 2, 3, 4, 5, 6, 7),
        signed=(False,),
        notes=_FAKE,
    ),
    Quantizer(
        name="tensorflow_fake_quant_vars",
        title="TensorFlow's FakeQuantWithMinMaxVars",
        source="tensorflow/core/kernels/fake_quant_ops_functor.h, FakeQuantWithMinMaxVarsFunctor",
        witness=_TENSORFLOW,
        asymmetric=_FOUND_AND_NUDGED,
        given=("inverse = 1 / step", *_NUDGED),
        codes="floor((clamp(x, bottom, top) - bottom) / step - zero + 0.5) + zero_point",
        values="(code - zero_point) * step",
        bits=(8, 2, 3, 4, 5, 6, 7),
        signed=(False,),
        notes=_FAKE,
    ),
    Quantizer(
        name="gemmlowp",
        title="gemmlowp's documented quantization",
        source="gemmlowp, doc/quantization_example.cc, ChooseQuantizationParams, Quantize and Dequantize",
        witness="gemmlowp at 16e8662, compiled by GCC 12 on x86-64",
        asymmetric=(
            "low = min(low, 0)",
            "high = max(high, 0)",
            "double_step = float64((high - low) / 255)",
            "zero_point = round_away(clamp(0 - low / double_step, 0, 255))",
            "step = double_step",
        ),
        codes="round_away(fmax(fmin(zero_point + x / step, 255), 0))",
        values="step * (code - zero_point)",
        signed=(False,),
        notes=(
            "The zero point is added before rounding, so what is near a tie rounds with its size, not with x's.",
            "NaN gives 255.",
        ),
    ),
)
