"""For Cython: `cimport bitquant`, then conversions of codes with the GIL released.

    cimport bitquant
    import bitquant as bq

    cdef bitquant.Pipeline to_bfloat16 = bq.converter("float32", "bfloat16")

    with nogil:
        to_bfloat16.convert(source, target, n, NULL)        # n codes: uint32_t to uint16_t
        code = to_bfloat16.convert_one(0x3DCCCCCD)          # one code
"""

from bitquant.kernels.pipeline cimport Pipeline
