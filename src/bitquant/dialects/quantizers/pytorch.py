"""PyTorch's quantizers: eager mode, fake quantization, the operators of its export flow, and torchao."""

from bitquant.dialects.quantizers.row import Quantizer

_SYMMETRIC = (
    "step = max(max(-min(low, 0), max(high, 0)) / ((qmax - qmin) / 2), 2**-23)",
    "zero_point = 0 if qmin < 0 else 128",
)
_ASYMMETRIC = (
    "low = min(low, 0)",
    "s = max((max(high, 0) - low) / (qmax - qmin), 2**-23)",
    "zero_point = clamp(qmin - int32(round_even(low / s)), qmin, qmax)",
    "step = s",
)
_OBSERVER = "torch/ao/quantization/observer.py, _calculate_qparams"
_AFFINE = "torchao/quantization/quant_primitives.py"
_WITNESS = "PyTorch 2.13.0 on x86-64 with AVX-512"
_AO = "torchao 0.18.0 with PyTorch 2.13.0"
_OWN = "Every operation is rounded to the type of the numbers: bfloat16 weights get bfloat16 steps and inverses."

TORCH = (
    Quantizer(
        name="torch",
        title="PyTorch's MinMaxObserver and quantize_per_tensor on x86 (FBGEMM)",
        source=f"{_OBSERVER}; FBGEMM, src/QuantUtilsAvx2.cc; aten/src/ATen/native/quantized/AffineQuantizerBase.cpp",
        witness=_WITNESS,
        symmetric=_SYMMETRIC,
        asymmetric=_ASYMMETRIC,
        codes="clamp(int32(round_even(fmin(fma(x, 1 / float32(step), zero_point), 2147483520))), qmin, qmax)",
        values="float32(step) * (code - zero_point)",
        step_format="float64",
        notes=(
            "The zero point is added before rounding, and in one operation with the product (FMA): ties go by the "
            "parity of the sum. quantize_per_channel rounds twice here, fake_quantize adds after rounding: the "
            "three differ for one step and zero point.",
            "The number is multiplied by the rounded inverse of the step; the documentation divides by the step.",
            "NaN gives the largest code. Sums above 2^31 are cut to 2147483520, those below −2^31 give the lowest "
            "code.",
            "Tensors of bfloat16 and float16 are not taken. A step below 2^-128 has an infinite inverse: 0 "
            "becomes NaN, and so the largest code.",
        ),
    ),
    Quantizer(
        name="torch_per_channel",
        title="PyTorch's PerChannelMinMaxObserver and quantize_per_channel on x86 (FBGEMM)",
        source=f"{_OBSERVER}; FBGEMM, include/fbgemm/QuantUtils.h",
        witness=_WITNESS,
        symmetric=_SYMMETRIC,
        asymmetric=_ASYMMETRIC,
        codes="clamp(round_even(x * (1 / float32(step)) + zero_point), qmin, qmax)",
        values="float32(step * (code - zero_point))",
        step_format="float64",
        notes=(
            "The zero point is added before rounding, by an operation of its own. NaN gives code 0.",
            "The step goes in as float64: codes are by its float32, numbers by the float64 itself.",
        ),
    ),
    Quantizer(
        name="torch_float_qparams",
        title="PyTorch's per_channel_affine_float_qparams (embeddings)",
        source=f"{_OBSERVER}; aten/src/ATen/native/quantized/AffineQuantizerBase.cpp, quantize_val_float_qparams",
        witness=_WITNESS,
        asymmetric=(
            "step = (high - low) / (qmax - qmin)",
            "step = step if step > 2**-23 else 1",
            "zero_point = -1 * low / step",
        ),
        codes="clamp(low32(round_even(x * (1 / step) + zero_point)), qmin, qmax)",
        values="(code - zero_point) * step",
        zero_point="real",
        signed=(False,),
        notes=(
            "lrintf gives 64 bits of which 32 are kept: numbers beyond 2^31 steps wrap around before they are clamped.",
            "The range is not widened to include zero; a step of 2^-23 or less becomes 1.",
        ),
    ),
    Quantizer(
        name="torch_fake_quantize",
        title="PyTorch's fake_quantize_per_tensor_affine",
        source=f"{_OBSERVER}; aten/src/ATen/native/quantized/cpu/kernels/QuantizedOpKernels.cpp",
        witness=_WITNESS,
        symmetric=_SYMMETRIC,
        asymmetric=_ASYMMETRIC,
        codes="fclamp(round_even(x * (1 / step)) + zero_point, qmin, qmax)",
        values="own((code - zero_point) * step)",
        precision="input",
        inputs=("float32", "float16", "bfloat16", "float64"),
        notes=(
            "Real fake quantization gives numbers alone; the codes here are those it passes through, and −0 is +0.",
            "NaN becomes what the lowest code stands for. The sign of zero apart, codes are those of rounding "
            "first and adding the zero point then.",
            "Parameters are observed on float32 tensors.",
        ),
    ),
    Quantizer(
        name="torch_fake_quantize_per_channel",
        title="PyTorch's fake_quantize_per_channel_affine",
        source=f"{_OBSERVER}; aten/src/ATen/native/quantized/cpu/kernels/QuantizedOpKernels.cpp",
        witness=_WITNESS,
        symmetric=_SYMMETRIC,
        asymmetric=_ASYMMETRIC,
        codes="clamp(held64(round_even(x * (1 / step)) + zero_point), qmin, qmax)",
        values="own(own(code - zero_point) * step)",
        precision="input",
        inputs=("float32", "float16", "bfloat16", "float64"),
        notes=(
            "The sum is converted to int64 before it is clamped: infinity, NaN and what lies beyond 2^63 steps "
            "become what the lowest code stands for, whatever the sign. fake_quantize_per_tensor_affine clamps "
            "first.",
            "In float64 the numbers are products in float64; per tensor they are products in float32.",
        ),
    ),
    Quantizer(
        name="torch_decomposed",
        title="PyTorch's quantized_decomposed.quantize_per_tensor (PT2E export)",
        source="torch/ao/quantization/fx/_decomposed.py; torch/ao/quantization/utils.py, determine_qparams",
        witness=_WITNESS,
        symmetric=(
            "step = max(max(-min(low, 0), max(high, 0)) / ((qmax - qmin) / 2), float32(2**-23))",
            "zero_point = 0 if qmin < 0 else 128",
        ),
        asymmetric=(
            "low = min(low, 0)",
            "s = max((max(high, 0) - low) / (qmax - qmin), float32(2**-23))",
            "zero_point = clamp(qmin - int32(round_even(low / s)), qmin, qmax)",
            "step = s",
        ),
        codes="clamp(round_even(float32(x) * float32(1 / step)) + zero_point, qmin, qmax)",
        values="(float32(code) - zero_point) * float32(step)",
        precision="input",
        step_format="float64",
        inputs=("float32", "float16", "bfloat16"),
        notes=(
            "The inverse of the step is computed in float64 and rounded to float32; per channel it is computed in "
            "float32. The codes of one step differ in places.",
            "For bfloat16 and float16 the parameters are computed in that type, and the codes in float32.",
        ),
    ),
    Quantizer(
        name="torch_decomposed_per_channel",
        title="PyTorch's quantized_decomposed.quantize_per_channel (PT2E export)",
        source="torch/ao/quantization/fx/_decomposed.py",
        witness=_WITNESS,
        symmetric=_SYMMETRIC,
        asymmetric=_ASYMMETRIC,
        codes="clamp(round_even(x * (1 / step)) + zero_point, qmin, qmax)",
        values="(code - zero_point) * step",
        inputs=("float32", "float16", "bfloat16"),
        notes=(
            "The steps are those of PerChannelMinMaxObserver, in float32; float64 steps would make every "
            "operation one of float64.",
        ),
    ),
    Quantizer(
        name="torchao",
        title="torchao's quantize_affine and choose_qparams_affine",
        source=_AFFINE,
        witness=_AO,
        symmetric=(
            "step = max(max(-min(low, 0), max(high, 0)) / ((qmax - qmin) / 2), tiny)",
            "zero_point = trunc((qmax + qmin + 1) / 2)",
        ),
        asymmetric=(
            "low = min(low, 0)",
            "step = max((max(high, 0) - low) / (qmax - qmin), tiny)",
            "zero_point = clamp(qmin - round_even(low / step), qmin, qmax)",
        ),
        codes="clamp(round_even(x * (1 / step)) + zero_point, qmin, qmax)",
        values="(own(code) - own(zero_point)) * step",
        precision="input",
        step_format="input",
        inputs=("float32", "float16", "bfloat16"),
        bits=(8, 7, 6, 5, 4, 3, 2),
        notes=(
            _OWN,
            "Symmetric: the largest magnitude over 127.5, so that it becomes 128 and is clamped, or −128.",
        ),
    ),
    Quantizer(
        name="torchao_tinygemm",
        title="torchao's tinygemm variant, whose zero point is a number",
        source=f"{_AFFINE}, _quantize_affine_tinygemm",
        witness=_AO,
        asymmetric=(
            "step = max((high - low) / (qmax - qmin), tiny)",
            "zero_point = low + step * ((qmax + qmin + 1) / 2)",
        ),
        codes="clamp(round_even((x - (zero_point - step * ((qmax + qmin + 1) / 2))) / step), qmin, qmax)",
        values="own(code - (qmax + qmin + 1) / 2) * step + zero_point",
        precision="input",
        step_format="input",
        zero_point="real",
        inputs=("float32", "float16", "bfloat16"),
        bits=(4, 8),
        signed=(False,),
        notes=(
            _OWN,
            "The zero point is the number that the middle of the codes stands for.",
        ),
    ),
)
