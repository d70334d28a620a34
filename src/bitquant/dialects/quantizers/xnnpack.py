"""XNNPACK, the library behind LiteRT's default on CPUs and behind ExecuTorch."""

from bitquant.dialects.quantizers.row import Quantizer

XNNPACK = (
    Quantizer(
        name="xnnpack",
        title="XNNPACK's conversions from float32 and back, on x86-64",
        source="XNNPACK, src/f32-qs8-vcvt, src/f32-qu8-vcvt, src/qs8-f32-vcvt and src/microparams-init.c",
        witness="ai-edge-litert 2.3.0 with its default delegate, on x86-64 with AVX-512",
        codes="clamp(round_even(fmin(x * (1 / step), qmax - zero_point)) + zero_point, qmin, qmax)",
        values="(code - zero_point) * step",
        notes=(
            "NaN gives qmax: the minimum with the upper limit comes first, and x86's MINPS takes the limit.",
            "It counts subnormal numbers as zero: steps below 2^-126 are refused, or crash LiteRT, and above 2^126 the "
            "step's inverse is zero. Here they are numbers like others.",
        ),
    ),
)
