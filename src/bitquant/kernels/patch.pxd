"""What a narrowing gives without rounding: infinity, NaN, what is flushed, what an unsigned format makes of negatives.

It knows no rounding mode (narrow.pyx, Design E).
"""

from bitquant.kernels.flags cimport unusual
from bitquant.kernels.machine cimport carrier, code, int32_t, select, uint32_t
from bitquant.kernels.narrow cimport Target
from bitquant.kernels.stage cimport Tally


cdef inline void patch(const carrier *source, code *target, const Target *t, Tally *tally, size_t n) noexcept nogil:
    """Design E: over what the finite path wrote."""
    cdef Target row = t[0]
    cdef carrier negative, given, nothing, flushed, below, infinite, nan, nans = 0
    cdef int32_t stored = 23 if carrier is uint32_t else 52, top = 8 * sizeof(carrier) - 1
    cdef size_t i
    for i in range(n):
        negative = source[i] >> top
        given = target[i]
        nothing = unusual[carrier](source[i], given, &row, &flushed, &below, &infinite, &nan)
        given = select[carrier](
            flushed | nothing, select[carrier](negative, <carrier> row.zero[1], <carrier> row.zero[0]), given
        )
        given = select[carrier](below, <carrier> row.below, given)
        given = select[carrier](
            infinite, select[carrier](negative, <carrier> row.infinity[1], <carrier> row.infinity[0]), given
        )
        given = select[carrier](
            nan,
            select[carrier](negative, <carrier> row.nan[1], <carrier> row.nan[0])
            | ((source[i] >> (stored - row.stored)) & <carrier> row.payload),
            given,
        )
        target[i] = <code> given
        nans += nan
    tally.nans += nans * row.refuse_nan
