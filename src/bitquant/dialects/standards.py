"""OCP: the conversions that the 8-bit floating point and microscaling specifications lay down."""

from bitquant.dialects.names import BF16, E2M1FN, E2M3FN, E3M2FN, E4M3FN, E5M2, F16, F32, F64
from bitquant.dialects.row import Conversion, Dialect

_SOURCE = (
    "OCP 8-bit floating point specification 1.0, table of conversions to the formats; "
    "OCP microscaling formats specification 1.0, clauses 5.3.2 to 5.3.4"
)
_WIDE = (F64, F32, F16, BF16)
_SMALL = (
    "The microscaling specification requires nearest-even and saturation for the formats of 6 and 4 bits, and leaves "
    "NaN, which they do not have, to the implementation."
)

STANDARDS = (
    Dialect(
        name="ocp_sat",
        title="OCP 8-bit floats, saturating mode (SAT), and the microscaling elements",
        source=_SOURCE,
        witness="gfloat 0.5.2",
        conversions=(
            Conversion(_WIDE, (E5M2, E4M3FN), overflow="saturate", nan_codes=False),
            Conversion(
                _WIDE, (E3M2FN, E2M3FN, E2M1FN), overflow="saturate", nan=("raise", "zero", "negated_zero", "max")
            ),
        ),
        notes=("Infinity saturates, too. Which code NaN gets is left open.", _SMALL),
    ),
    Dialect(
        name="ocp_ovf",
        title="OCP 8-bit floats, non-saturating mode (OVF)",
        source=_SOURCE,
        witness="gfloat 0.5.2",
        conversions=(Conversion(_WIDE, (E5M2, E4M3FN), nan_codes=False),),
        notes=("Overflow and infinity give infinity in E5M2 and NaN in E4M3.", "Which code NaN gets is left open."),
    ),
)
