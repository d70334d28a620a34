"""ggml's blocks (llama.cpp, whisper.cpp): 32 numbers share a step in float16."""

from bitquant.dialects.quantizers.row import Quantizer

_WITNESS = "ggml 0.13.1 as built into pywhispercpp 1.5.1, and gguf 0.19.0"
_STORED = "The codes come from the step in float32, the numbers from the step as stored in float16; use group_size=32."
_NAN = "ggml ignores NaN in the search for the largest magnitude unless it comes last."

GGML = (
    Quantizer(
        name="ggml_q8_0",
        title="ggml's Q8_0, reference",
        source="ggml/src/ggml-quants.c, quantize_row_q8_0_ref and dequantize_row_q8_0",
        witness=_WITNESS,
        symmetric=(
            "exact_step = max(abs(low), abs(high)) / 127",
            "inverse = 0 if exact_step == 0 else 1 / exact_step",
            "step = exact_step",
        ),
        given=("inverse = 0 if step == 0 else 1 / float32(step)",),
        codes="round_away(x * inverse)",
        values="code * float32(step)",
        step_format="float16",
        signed=(True,),
        notes=(
            _STORED,
            "llama.cpp writes model files by this rule, and quantizes activations on x86-64 by ggml_q8_0_avx.",
            _NAN,
        ),
    ),
    Quantizer(
        name="ggml_q8_0_avx",
        title="ggml's Q8_0 on x86-64 with AVX",
        source="ggml/src/ggml-cpu/arch/x86/quants.c, quantize_row_q8_0",
        witness="ggml 0.13.1 as built into pywhispercpp 1.5.1",
        symmetric=(
            "amax = max(abs(low), abs(high))",
            "inverse = 0 if amax == 0 else 127 / amax",
            "step = amax / 127",
        ),
        given=("inverse = 0 if step == 0 else 1 / float32(step)",),
        codes="clamp(int32(round_even(x * inverse)), qmin, qmax)",
        values="code * float32(step)",
        step_format="float16",
        signed=(True,),
        notes=(_STORED, "What is no int32 becomes −128 here, and 0 in the reference.", _NAN),
    ),
    Quantizer(
        name="ggml_q4_0",
        title="ggml's Q4_0, reference",
        source="ggml/src/ggml-quants.c, quantize_row_q4_0_ref and dequantize_row_q4_0",
        witness=_WITNESS,
        symmetric=(
            "exact_step = peak / -8",
            "inverse = 0 if exact_step == 0 else 1 / exact_step",
            "step = exact_step",
            "zero_point = 8",
        ),
        given=("inverse = 0 if step == 0 else 1 / float32(step)",),
        codes="min(int32(x * inverse + 8.5), 15)",
        values="(code - zero_point) * float32(step)",
        step_format="float16",
        bits=(4,),
        signed=(False,),
        notes=(
            _STORED,
            "The step has the sign that gives the number of largest magnitude (the first of several) the code 0.",
            "The sum of 8.5 is rounded before it is cut off. A compiler that contracts the product and the sum, as GCC "
            "does where the baseline has FMA (Arm), rounds once and gives other codes near boundaries.",
        ),
    ),
)
