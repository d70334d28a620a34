"""Arm A64: FCVT, BFCVT, the conversions to integers, and the 8-bit formats of Armv9.5."""

from bitquant.dialects.names import BF16, E4M3FN, E5M2, F16, F32, F64, FOUR, I32, I64, U32, U64
from bitquant.dialects.row import Conversion, Dialect

_MANUAL = "Arm Architecture Reference Manual for A-profile, DDI 0487"
_NAN = ("preserve", "canonical")  # FPCR.DN
_FZ = ("gradual", "flush_input")  # FPCR.FZ, where nothing but the input can be subnormal

ARM = (
    Dialect(
        name="arm",
        title="FCVT, BFCVT, FCVTZS, SCVTF and their kin of 64-bit Arm processors",
        source=f"{_MANUAL}, shared pseudocode FPConvert, FPConvertBF, FPToFixed, FixedToFP",
        witness="emulators: Unicorn 2.1.4; for BFCVT QEMU 7.2",
        conversions=(
            Conversion((F32,), (F16, BF16), rounding=FOUR, nan=_NAN, subnormals=_FZ, tininess="before"),
            Conversion((F64,), (F16,), rounding=FOUR, nan=_NAN, subnormals=_FZ, tininess="before"),
            Conversion(
                (F64,), (F32,), rounding=(*FOUR, "to_odd"), nan=_NAN, tininess="before", note="FCVTXN is to_odd."
            ),
            Conversion((F16,), (F32, F64), rounding=None, nan=_NAN, tininess="before"),
            Conversion((F32,), (F64,), rounding=None, nan=_NAN, subnormals=_FZ, tininess="before"),
            Conversion(
                (F16, F32, F64),
                (I32, U32, I64, U64),
                rounding=("toward_zero", "nearest_even", "nearest_away", "toward_positive", "toward_negative"),
                overflow="saturate",
                nan="zero",
                note="The direction is part of the instruction: FCVTZS, FCVTNS, FCVTAS, FCVTPS, FCVTMS.",
            ),
            Conversion((I32, U32, I64, U64), (F16, F32, F64), rounding=FOUR, nan=None, tininess="before"),
        ),
        notes=(
            "FPCR.RMode gives the rounding, FPCR.DN nan='canonical', FPCR.FZ subnormals='flush_input'.",
            "Where a float32 result can be subnormal FPCR.FZ also flushes outputs, and judges them before rounding; "
            "the row has FZ only where that cannot happen.",
            "FPCR.AHP, the alternative half precision without infinity and NaN, is left out: NaN becomes a zero of its "
            "sign there, and infinity and overflow the largest number, 131008.",
        ),
    ),
    Dialect(
        name="arm_fp8",
        title="FCVTN to the 8-bit formats of Arm processors with FEAT_FP8",
        source=f"{_MANUAL}, shared pseudocode FPConvertFP8",
        witness="",
        conversions=(Conversion((F32, F16), (E5M2, E4M3FN), overflow=("ieee", "saturate"), nan="canonical"),),
        notes=(
            "FPMR.OSC=1 is overflow='saturate'; FPMR.NSCALE, by which the instruction can also scale, counts as 0.",
        ),
    ),
)
