"""RISC-V: the F, D, Zfh, Zfbfmin and V conversions, and the 8-bit formats of Zvfofp8min."""

from bitquant.dialects.names import BF16, E4M3FN, E5M2, F16, F32, F64, FIVE, I32, I64, U32, U64
from bitquant.dialects.row import Conversion, Dialect

_MANUAL = "The RISC-V Instruction Set Manual, volume I"

RISCV = (
    Dialect(
        name="riscv",
        title="FCVT of RISC-V processors",
        source=f"{_MANUAL}: F, D, Zfh and Zfbfmin extensions",
        witness="emulators: Unicorn 2.1.4; for float16 QEMU 7.2",
        conversions=(
            Conversion((F32,), (F16, BF16), rounding=FIVE, nan="canonical", tininess="after"),
            Conversion((F64,), (F16,), rounding=FIVE, nan="canonical", tininess="after"),
            Conversion(
                (F64,),
                (F32,),
                rounding=(*FIVE, "to_odd"),
                nan="canonical",
                tininess="after",
                note="VFNCVT.ROD.F.F.W is to_odd.",
            ),
            Conversion((F16, BF16), (F32,), rounding=None, nan="canonical", tininess="after"),
            Conversion((F16, F32), (F64,), rounding=None, nan="canonical", tininess="after"),
            Conversion(
                (F16, F32, F64),
                (I32, U32, I64, U64),
                rounding=FIVE,
                overflow="saturate",
                nan="max",
                note="The direction is part of the instruction or in frm; C's casts compile to rtz, toward_zero.",
            ),
            Conversion((I32, U32, I64, U64), (F16, F32, F64), rounding=FIVE, nan=None, tininess="after"),
        ),
        notes=(
            "Not witnessed: the conversions of Zfbfmin, which has bfloat16 from and to float32 only, and to_odd.",
            "Every NaN delivered is the canonical one; to integers NaN counts as beyond the largest.",
        ),
    ),
    Dialect(
        name="riscv_fp8",
        title="VFNCVT to the 8-bit formats of RISC-V processors with Zvfofp8min",
        source="RISC-V Zvfofp8min 0.2.1, and its implementation in QEMU by SiFive (2026)",
        witness="",
        conversions=(
            Conversion((F32, BF16), (E5M2,), overflow=("ieee", "saturate"), nan="positive_all_ones", tininess="after"),
            Conversion((F32, BF16), (E4M3FN,), overflow=("ieee", "saturate"), nan="canonical", tininess="after"),
        ),
        notes=(
            "VFNCVT.SAT is overflow='saturate'. The canonical NaN of both formats is 7F.",
            "Other directions than nearest-even, which frm can ask for, are left out: what they make of overflow could "
            "not be asked.",
        ),
    ),
)
