"""AMD: the 8-bit formats of CDNA 3 with one zero and one NaN."""

from bitquant.dialects.names import E4M3FNUZ, E5M2FNUZ, F32
from bitquant.dialects.row import Conversion, Dialect

AMD = (
    Dialect(
        name="amd_fnuz",
        title="V_CVT_PK_FP8_F32 and V_CVT_PK_BF8_F32 of AMD CDNA 3 (MI300), and __HIP_SATFINITE",
        source="AMD Instinct MI300 instruction set architecture; HIP, amd_hip_fp8.h",
        witness="",
        conversions=(
            Conversion(
                (F32,),
                (E5M2FNUZ, E4M3FNUZ),
                rounding=("nearest_even", "stochastic"),
                overflow=("saturate_finite", "ieee"),
            ),
        ),
        notes=(
            "HIP clips finite numbers before the instruction (saturate_finite, __HIP_SATFINITE) or leaves overflow to "
            "it (ieee, __HIP_NOSAT); infinity gives the one NaN, 80, either way.",
            "HIP's routine for the host judges overflow before rounding: without saturation a number above the largest "
            "gives 80 even if it would round to the largest.",
            "V_CVT_SR_FP8_F32 rounds stochastically with bits from a register, of which no rule here says which.",
        ),
    ),
)
