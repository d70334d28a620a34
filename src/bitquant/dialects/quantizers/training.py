"""Brevitas and NNCF: the quantizers of weights that training and export share."""

from bitquant.dialects.quantizers.row import Quantizer

_HALVES = ("float32", "float16", "bfloat16")
_NNCF = "nncf/quantization/algorithms/weight_compression/weight_lowering.py"
_FLOOR = "A step below 2^-23 becomes 2^-23, however small the numbers are: a tensor of such numbers has all codes 0."
_FLOAT_CODES = "Inside the library codes are floats, so a negative number that rounds to zero stays −0; here it is 0."
_FAKE = (
    "nncf/torch/extensions/src/quantization/cpu/functions_cpu.cpp, q_cpu_forward; nncf/quantization/fake_quantize.py"
)
_FAKE_CODES = "round_even((clamp(x, bottom, bottom + span) - bottom) * scale - zero) + zero_point"
_FAKE_GIVEN = (
    "scale = 1 / step",
    "bottom = (qmin - zero_point) * step",
    "span = (qmax - qmin) * step",
    "zero = round_even(-bottom * scale)",
)
_TWICE = (
    "The library's reference in Python (torch/quantization/reference.py) is another rule: it multiplies with PyTorch's "
    "reciprocal where the extension in C++, which is here, divides, so that numbers differ in the last bit."
)

TRAINING = (
    Quantizer(
        name="brevitas",
        title="Brevitas, Int8WeightPerTensorFloat and Int8WeightPerChannelFloat",
        source="brevitas/core/quant/int_base.py, core/scaling/runtime.py and core/scaling/int_scaling.py",
        witness="brevitas 0.13.4 with PyTorch 2.13.0",
        symmetric=("step = max(max(abs(low), abs(high)), 1e-10) / -qmin",),
        codes="clamp(round_even(x / step + zero_point), qmin, qmax)",
        values="(code - zero_point) * step",
        precision="input",
        step_format="input",
        inputs=_HALVES,
        bits=(8, 2, 3, 4, 5, 6, 7),
        signed=(True,),
        narrow=("symmetric",),
        notes=(
            "With the full range (narrow=False, as for its activations) the divisor is 128, not 127.",
            "The floor on amax, 1e-10, is 0 in float16, where a channel of zeros makes the library refuse.",
            _FLOAT_CODES,
        ),
    ),
    Quantizer(
        name="brevitas_shifted",
        title="Brevitas, ShiftedUint8WeightPerTensorFloat and ShiftedUint8WeightPerChannelFloat",
        source="brevitas/core/zero_point.py, core/stats/stats_op.py (AbsMinMax, NegativeMinOrZero)",
        witness="brevitas 0.13.4 with PyTorch 2.13.0",
        asymmetric=(
            "low = min(low, 0)",
            "step = max(abs(high - low), 1e-10) / qmax",
            "zero_point = clamp(round_even(abs(low) / step + qmin), qmin, qmax)",
        ),
        codes="clamp(round_even(x / step + zero_point), qmin, qmax)",
        values="(code - zero_point) * step",
        precision="input",
        step_format="input",
        inputs=_HALVES,
        bits=(8, 2, 3, 4, 5, 6, 7),
        signed=(False,),
        notes=(
            "Only the lower end is widened to zero: of numbers that are all negative the range ends at the largest, "
            "the zero point is clamped to 255, and zero and the small numbers are lost.",
            _FLOAT_CODES,
        ),
    ),
    Quantizer(
        name="nncf_sym",
        title="NNCF weight compression, INT8_SYM and INT4_SYM",
        source=f"{_NNCF}, _calculate_signed_scale and _calculate_integer_quantized_weight",
        witness="nncf 3.4.0 with PyTorch 2.13.0",
        symmetric=(
            "found = (abs(low) if abs(low) >= high else -high) / -qmin",
            "step = 2**-23 if abs(found) < 2**-23 else found",
        ),
        codes="clamp(round_even(x / step), qmin, qmax)",
        values="code * step",
        inputs=_HALVES,
        bits=(8, 4),
        signed=(True,),
        notes=(
            "The step is negative where the largest magnitude is positive, so that it always gets the code −128.",
            _FLOOR,
        ),
    ),
    Quantizer(
        name="nncf_asym",
        title="NNCF weight compression, INT8_ASYM and INT4_ASYM",
        source=f"{_NNCF}, calculate_integer_quantization_params; nncf/quantization/fake_quantize.py",
        witness="nncf 3.4.0 with PyTorch 2.13.0",
        asymmetric=(
            "low = min(low, 0)",
            "high = max(high, 0)",
            "found = (high - low) / (qmax - qmin)",
            "step = 2**-23 if abs(found) < 2**-23 else found",
            "zero_point = clamp(int32(qmin - round_even(low / step)), qmin, qmax)",
        ),
        codes="clamp(round_even(x / step + zero_point), qmin, qmax)",
        values="(code - zero_point) * step",
        inputs=_HALVES,
        bits=(8, 4),
        signed=(False,),
        notes=(_FLOOR,),
    ),
    Quantizer(
        name="nncf_fake_quantize_sym",
        title="NNCF's fake quantization, symmetric and signed, in PyTorch on the CPU",
        source=f"{_FAKE}, symmetric_range; nncf/torch/quantization/quantize_functions.py, QuantizeSymmetric",
        witness="nncf 3.4.0 with PyTorch 2.13.0, its extension compiled by GCC 12",
        symmetric=(
            "amax = max(max(abs(low), abs(high)), 8e-05)",
            "bottom = amax * (qmin / qmax)",
            "span = amax - bottom",
            "scale = (qmax - qmin) / span",
            "zero = round_even(-bottom * scale)",
            "step = 1 / scale",
        ),
        given=_FAKE_GIVEN,
        codes=_FAKE_CODES,
        values="(code - zero_point) / scale",
        signed=(True,),
        notes=(
            "amax is at least 8e-5 and, which is not here, a hundredth of the largest of all channels.",
            _TWICE,
            _FLOAT_CODES,
        ),
    ),
    Quantizer(
        name="nncf_fake_quantize_asym",
        title="NNCF's fake quantization, asymmetric, in PyTorch on the CPU",
        source=f"{_FAKE}, asymmetric_range and tune_range; nncf/torch/quantization/quantize_functions.py",
        witness="nncf 3.4.0 with PyTorch 2.13.0, its extension compiled by GCC 12",
        asymmetric=(
            "spare = 0 if high - low > 0.0008 else 0.0008",
            "left = min(low - spare, 0)",
            "right = max(high + spare, 0)",
            "tuned = round_even(-left * (1 / (right - left) * qmax))",
            "a = tuned / (tuned - qmax) * right if tuned < qmax else left",
            "b = (tuned - qmax) / tuned * left if tuned > 0 else right",
            "bottom = a if right - a > b - left else left",
            "top = right if right - a > b - left else b",
            "span = top - bottom",
            "scale = qmax / span",
            "zero = round_even(-bottom * scale)",
            "zero_point = zero",
            "step = 1 / scale",
        ),
        given=_FAKE_GIVEN,
        codes=_FAKE_CODES,
        values="(code - zero_point) / scale",
        signed=(False,),
        notes=(
            "The range is widened on one side until zero lies on a code, and by 0.0008 on both where it is narrower.",
            _TWICE,
            _FLOAT_CODES,
        ),
    ),
)
