"""Back from codes: value = (code − zero_point) / scale, exact and rounded once.

# Design:
# (A) A channel has at most 256 values. They are divided out once, by 128-bit integers, and looked up after that.
# (B) The quotient keeps 62 bits, the last one sticky, and goes through narrow.pxd's round_pack: one rounding, to any
#     format.
"""

cimport numpy as cnp

from bitquant.kernels.machine cimport code, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from bitquant.kernels.narrow cimport Narrow, Target, round_pack
from bitquant.kernels.rational cimport bit_length, wide
from bitquant.kernels.rounding cimport Mode

cnp.import_array()


cdef inline uint64_t value_of(
    int64_t steps, uint64_t numerator, uint64_t denominator, int32_t exponent, const Target *t
) noexcept nogil:
    """The code of steps · denominator / numerator / 2^exponent, rounded once, in the target format."""
    cdef bint negative = steps < 0
    cdef wide product = <wide> (-steps if negative else steps) * denominator
    cdef wide quotient
    cdef int32_t up, length, field
    cdef uint64_t magnitude
    if product == 0:
        return 0
    # 1  A quotient of at least 62 bits: the dividend gets all of the room.
    up = 127 - bit_length(product)
    product <<= up
    quotient = product // numerator
    # 2  To 62 bits, the last one sticky: the notation 1.61 that round_pack takes. Its exponent field has FP64's bias.
    length = bit_length(quotient)
    magnitude = <uint64_t> (quotient >> (length - 62)) | (
        product % numerator != 0 or quotient & (((<wide> 1) << (length - 62)) - 1) != 0
    )
    field = length - 1 - up - exponent + 1023
    field = field if field < t.rebias + t.exponent_end else t.rebias + t.exponent_end
    field = field if field > t.lowest else t.lowest
    magnitude = round_pack(<Mode> t.mode, <uint64_t> negative, magnitude, <int64_t> field, 0, t)
    if magnitude > t.ceiling[negative]:
        magnitude = t.ceiling[negative]
    if magnitude == 0 and t.zero_drops_sign:
        return 0
    return magnitude | (<uint64_t> negative << t.sign_shift)


def fill(
    cnp.ndarray numerator not None, cnp.ndarray denominator not None, cnp.ndarray exponent not None,
    cnp.ndarray zero_point not None, bint signed, Narrow target not None, cnp.ndarray table not None
):
    """Fill table[channel, byte] with the values of all 256 bytes taken as codes, themselves codes of the target format.

    The target must be a Narrow stage in 64-bit lanes; the table an array of uint64, numerators below 2^63.
    """
    cdef Py_ssize_t channels = cnp.PyArray_SIZE(numerator), c
    cdef const uint64_t *n = <const uint64_t *> cnp.PyArray_DATA(numerator)
    cdef const uint64_t *d = <const uint64_t *> cnp.PyArray_DATA(denominator)
    cdef const int32_t *e = <const int32_t *> cnp.PyArray_DATA(exponent)
    cdef const int32_t *z = <const int32_t *> cnp.PyArray_DATA(zero_point)
    cdef uint64_t *out = <uint64_t *> cnp.PyArray_DATA(table)
    cdef int64_t byte, q
    cdef object array
    if (
        cnp.PyArray_SIZE(table) != channels * 256 or cnp.PyArray_ITEMSIZE(table) != 8
        or not cnp.PyArray_IS_C_CONTIGUOUS(table) or not cnp.PyArray_ISWRITEABLE(table)
    ):
        raise ValueError("the table must hold 256 numbers of eight bytes for each channel")
    for array, dtype in ((numerator, "u8"), (denominator, "u8"), (exponent, "i4"), (zero_point, "i4")):
        if array.dtype != dtype or array.shape != (channels,) or not array.flags.c_contiguous:
            raise ValueError("the parameters must be contiguous arrays of u8, u8, i4 and i4, one entry per channel")
    if target.target_size != 8 or (
        channels and (not numerator.all() or numerator.max() >> 63 or denominator.max() >> 63)
    ):
        raise ValueError("the target must have 64-bit lanes, the numerators lie between 0 and 2^63")
    with nogil:
        for c in range(channels):
            for byte in range(256):
                q = byte - 256 if signed and byte > 127 else byte
                out[c * 256 + byte] = value_of(q - z[c], n[c], d[c], e[c], &target.target)


cdef inline void copy_values(
    const uint8_t *source, code *target, const code *table, Py_ssize_t inner, Py_ssize_t channels, Py_ssize_t place,
    Py_ssize_t size
) noexcept nogil:
    cdef Py_ssize_t at = 0, n, i
    cdef const code *row
    while at < size:
        row = table + ((at + place) // inner) % channels * 256
        n = inner - (at + place) % inner
        n = n if n < size - at else size - at
        for i in range(at, at + n):
            target[i] = row[source[i]]
        at += n


def look_up(
    cnp.ndarray source not None, cnp.ndarray target not None, cnp.ndarray table not None, Py_ssize_t inner,
    Py_ssize_t place=0,
):
    """Look the bytes of a contiguous array up in table[channel, byte].

    Byte i belongs to channel ((i + place) // inner) % channels.
    """
    cdef Py_ssize_t size = cnp.PyArray_SIZE(source), channels = cnp.PyArray_SIZE(table) // 256
    cdef int word = cnp.PyArray_ITEMSIZE(target)
    if (
        cnp.PyArray_NDIM(table) != 2 or not cnp.PyArray_IS_C_CONTIGUOUS(table) or not cnp.PyArray_ISWRITEABLE(target)
        or (size and not channels) or word not in (1, 2, 4, 8) or cnp.PyArray_ITEMSIZE(source) != 1
        or cnp.PyArray_SIZE(target) != size or table.shape[1] != 256
        or cnp.PyArray_ITEMSIZE(table) != word or inner < 1 or place < 0
        or not (cnp.PyArray_IS_C_CONTIGUOUS(source) and cnp.PyArray_IS_C_CONTIGUOUS(target))
    ):
        raise ValueError("source, target and table do not fit each other")
    cdef const uint8_t *codes = <const uint8_t *> cnp.PyArray_DATA(source)
    cdef void *out = cnp.PyArray_DATA(target)
    cdef const void *values = cnp.PyArray_DATA(table)
    with nogil:
        if word == 1:
            copy_values(codes, <uint8_t *> out, <const uint8_t *> values, inner, channels, place, size)
        elif word == 2:
            copy_values(codes, <uint16_t *> out, <const uint16_t *> values, inner, channels, place, size)
        elif word == 4:
            copy_values(codes, <uint32_t *> out, <const uint32_t *> values, inner, channels, place, size)
        else:
            copy_values(codes, <uint64_t *> out, <const uint64_t *> values, inner, channels, place, size)
