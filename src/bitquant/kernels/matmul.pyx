"""Sums of products of bytes: the matrix product of codes.

# Design:
# (A) Both operands lie with the axis that is summed innermost. An element of the product is then a plain loop of
#     `sum += a[k] * b[k]`, which GCC knows as the instructions that CPUs have for it, at any width: no intrinsics.
# (B) Unsigned times signed bytes, where the CPU has one instruction for four of those (AVX512-VNNI): 130 to 170 G
#     products/s on a Zen 4. Elsewhere both are 16 bits wide, for pmaddwd: 60 to 75, where bytes that are widened inside
#     the loop give 24, and the same sums in FP32 through a BLAS 49.
# (C) A tile of ROWS by COLUMNS sums is kept in registers, so that a number that is loaded is used as often.
# (D) A run of RUN products of two bytes of any sign stays below 2^31, 32768 · 255 · 255 = 2 130 739 200, so that 32-bit
#     sums are exact whatever their order. Runs are added in 64 bits.
# (E) Σ (a − p)(b − q) = Σab − p·Σb − q·(Σa − K·p), computed modulo 2^64. The caller sees to it that the sum itself lies
#     within 64 bits; then it is exact.
# (F) The two fixed-point rescalings of TFLite are one: x·2^left times a multiplier, half up by a shift, half away from
#     zero by another. gemmlowp's rounds by 31 bits and then by the rest; the one with a single rounding has no second.
"""

cimport numpy as cnp

from libc.string cimport memcpy

from bitquant.kernels.arrays cimport entries, written
from bitquant.kernels.machine cimport int8_t, int16_t, int32_t, int64_t, loop, select, uint8_t, uint64_t

cnp.import_array()

cdef extern from "clones.h" nogil:
    ctypedef void byte_loop "BITQUANT_BYTE_PRODUCT_LOOP"
    bint byte_products "BITQUANT_HAS_BYTE_PRODUCTS"() noexcept

cdef enum:
    ROWS = 6
    COLUMNS = 4
    RUN = 32768
    SQUARE = 64                 # bytes each way that are turned over at a time
    PITCH = 72                  # from row to row of these, so that a column is not in one set of the cache
    STRIP = 256                 # columns at most whose sums wait for their zero points,
    NEAR = 1 << 18              # and bytes of b at most that stay in the second-level cache while all of a passes by

ctypedef fused left:
    uint8_t
    int16_t

ctypedef fused right:
    int8_t
    int16_t

# What a loop fills: sums less their zero points, for rows [row, stop) and columns [first, last).
cdef struct Product:
    const void *a               # (rows, k)
    const void *b               # (columns, k)
    int32_t *narrow             # (rows, columns): the sum's low 32 bits, or
    int64_t *wide               # the sum
    const int64_t *a_point      # p for each row
    const int64_t *a_rest       # Σa − K·p for each row
    const int64_t *b_point      # q for each column
    const int64_t *b_sum        # Σb for each column
    size_t k, columns
    size_t row, stop, first, last
    bint saturate               # else wrap
    size_t overflows            # how many sums do not fit 32 bits
    size_t row_of_first         # where the first of these is, if there is one


cdef inline size_t smaller(size_t x, size_t y) noexcept nogil:
    return x if x < y else y


cdef inline void add_products(
    const left *a, const right *b, size_t k, size_t rows, size_t columns, size_t n, bint more, int64_t *sums
) noexcept nogil:
    """ROWS × COLUMNS sums of n products, or `more` for each; what lies beyond `rows` and `columns` repeats the last."""
    cdef const left *x[ROWS]
    cdef const right *y[COLUMNS]
    cdef int32_t s[ROWS][COLUMNS]
    cdef size_t i, r, c
    for r in range(<size_t> ROWS):
        x[r] = a + smaller(r, rows - 1) * k
    for c in range(<size_t> COLUMNS):
        y[c] = b + smaller(c, columns - 1) * k
    for r in range(<size_t> ROWS):
        for c in range(<size_t> COLUMNS):
            s[r][c] = 0
    for i in range(n):
        for r in range(<size_t> ROWS):
            for c in range(<size_t> COLUMNS):
                s[r][c] += <int32_t> x[r][i] * <int32_t> y[c][i]
    for r in range(<size_t> ROWS):
        for c in range(<size_t> COLUMNS):
            sums[r * STRIP + c] = (sums[r * STRIP + c] if more else 0) + s[r][c]


cdef inline void finish(Product *p, size_t row, size_t column, size_t n, int64_t *sums) noexcept nogil:
    """Stores n elements of a row: Design E, then the overflow rule."""
    cdef uint64_t point = <uint64_t> p.a_point[row], rest = <uint64_t> p.a_rest[row]
    cdef const int64_t *b_point = p.b_point + column
    cdef const int64_t *b_sum = p.b_sum + column
    cdef int32_t *low = p.narrow + row * p.columns + column
    cdef int64_t total
    cdef uint64_t over, overflows = 0
    cdef size_t i
    for i in range(n):
        total = <int64_t> (<uint64_t> sums[i] - point * <uint64_t> b_sum[i] - rest * <uint64_t> b_point[i])
        overflows += <int32_t> total != total
        sums[i] = total
    if p.wide != NULL:
        memcpy(p.wide + row * p.columns + column, sums, n * sizeof(int64_t))
        return
    for i in range(n):
        over = p.saturate & (<int32_t> sums[i] != sums[i])
        low[i] = <int32_t> select(over, 0x7FFFFFFF + (<uint64_t> sums[i] >> 63), <uint64_t> sums[i])
    if overflows:
        p.overflows += overflows
        p.row_of_first = smaller(p.row_of_first, row)


cdef inline void multiply(const left *a, const right *b, Product *p) noexcept nogil:
    cdef int64_t sums[ROWS * STRIP]
    cdef size_t strip = NEAR // (sizeof(right) * (p.k + 1)) // COLUMNS * COLUMNS
    cdef size_t column = p.first, row, start, c, r, rows, columns
    strip = smaller(strip if strip else COLUMNS, STRIP)
    while column < p.last:
        columns = smaller(p.last - column, strip)
        row = p.row
        while row < p.stop:
            rows = smaller(p.stop - row, ROWS)
            c = 0
            while c < columns:
                start = 0
                while start < p.k or start == 0:
                    add_products(
                        a + row * p.k + start, b + (column + c) * p.k + start, p.k, rows, columns - c,
                        smaller(p.k - start, RUN), start != 0, sums + c
                    )
                    start += RUN
                c += COLUMNS
            for r in range(rows):
                finish(p, row + r, column, columns, sums + r * STRIP)
            row += ROWS
        column += columns


cdef byte_loop multiply_bytes(Product *p) noexcept nogil:
    multiply(<const uint8_t *> p.a, <const int8_t *> p.b, p)


cdef loop multiply_halves(Product *p) noexcept nogil:
    multiply(<const int16_t *> p.a, <const int16_t *> p.b, p)


cdef void turn(
    const uint8_t *source, Py_ssize_t across, Py_ssize_t along, uint8_t *target, size_t width, size_t rows, size_t k,
    uint8_t flip
) noexcept nogil:
    """Rows of k bytes, `along` apart, as rows of `width` bytes next to each other, zeros at the end.

    A square at a time is gathered the way it lies in memory and turned over in the nearest cache.
    """
    cdef uint8_t square[SQUARE * PITCH]
    cdef bint turned = along != 1
    cdef Py_ssize_t outer = along if turned else across, inner = across if turned else along
    cdef const uint8_t *corner
    cdef size_t row = 0, start, r, i, high, wide, down, along_row
    while row < rows:
        high = smaller(rows - row, SQUARE)
        start = 0
        while start < width:
            wide = smaller(k - start if k > start else 0, SQUARE)
            corner = source + <Py_ssize_t> row * across + <Py_ssize_t> start * along
            for i in range(wide if turned else high):
                for r in range(high if turned else wide):
                    square[i * PITCH + r] = corner[<Py_ssize_t> i * outer + <Py_ssize_t> r * inner] ^ flip
            down, along_row = 1 if turned else PITCH, PITCH if turned else 1
            for r in range(high):
                for i in range(smaller(width - start, SQUARE)):
                    target[(row + r) * width + start + i] = square[r * down + i * along_row] if i < wide else 0
            start += SQUARE
        row += high


def pack(cnp.ndarray source not None, cnp.ndarray target not None, bint flip=False):
    """Copy the rows of a matrix of bytes, of any strides, into those of a contiguous one.

    Rows of the target may be longer; zeros follow. `flip` turns the top bit over: from signed to unsigned numbers that
    are 128 higher, or back.
    """
    if (
        cnp.PyArray_NDIM(source) != 2 or cnp.PyArray_ITEMSIZE(source) != 1 or not matrix(target, 1)
        or not cnp.PyArray_ISWRITEABLE(target) or cnp.PyArray_DIM(target, 0) != cnp.PyArray_DIM(source, 0)
        or cnp.PyArray_DIM(target, 1) < cnp.PyArray_DIM(source, 1)
    ):
        raise ValueError("source and target do not fit each other")
    turn(
        <const uint8_t *> cnp.PyArray_DATA(source), cnp.PyArray_STRIDE(source, 0), cnp.PyArray_STRIDE(source, 1),
        <uint8_t *> cnp.PyArray_DATA(target), cnp.PyArray_DIM(target, 1), cnp.PyArray_DIM(source, 0),
        cnp.PyArray_DIM(source, 1), 0x80 if flip else 0,
    )


cdef bint matrix(cnp.ndarray x, int word) noexcept:
    return cnp.PyArray_NDIM(x) == 2 and cnp.PyArray_ITEMSIZE(x) == word and cnp.PyArray_IS_C_CONTIGUOUS(x)


def has_byte_products():
    """Whether this CPU multiplies bytes at once (Design B)."""
    return byte_products()


def product(
    cnp.ndarray a not None, cnp.ndarray b not None, cnp.ndarray out not None, cnp.ndarray a_point not None,
    cnp.ndarray a_rest not None, cnp.ndarray b_point not None, cnp.ndarray b_sum not None,
    bint saturate, size_t row, size_t stop, size_t first, size_t last,
):
    """Fill rows [row, stop) and columns [first, last) of out = a · bᵀ − a_point·b_sum − a_rest·b_point.

    a and b, both contiguous with the summed axis last, are uint8 and int8, where `has_byte_products`, or both int16,
    and then hold no more than 8 bits. out is int64, or int32, which takes the low bits or saturates. Returns how many
    sums int32 does not hold, and the row of the first of these.
    """
    cdef Product p
    cdef bint bytes_ = cnp.PyArray_TYPE(a) == cnp.NPY_UINT8
    cdef int word = 1 if bytes_ else 2, out_word = cnp.PyArray_ITEMSIZE(out)
    cdef size_t rows, columns
    if not (matrix(a, word) and matrix(b, word) and matrix(out, out_word) and cnp.PyArray_ISWRITEABLE(out)):
        raise ValueError("a, b and out must be contiguous matrices")
    if not (
        cnp.PyArray_TYPE(b) == (cnp.NPY_INT8 if bytes_ else cnp.NPY_INT16)
        and (byte_products() if bytes_ else cnp.PyArray_TYPE(a) == cnp.NPY_INT16) and (out_word == 4 or out_word == 8)
    ):
        raise ValueError("a and b must be uint8 and int8, if this CPU multiplies those, or int16; out int32 or int64")
    rows, columns = cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(b, 0)
    p.k, p.columns = cnp.PyArray_DIM(a, 1), columns
    if not (
        <size_t> cnp.PyArray_DIM(b, 1) == p.k and <size_t> cnp.PyArray_DIM(out, 0) == rows
        and <size_t> cnp.PyArray_DIM(out, 1) == columns and row <= stop <= rows and first <= last <= columns
    ):
        raise ValueError("a, b, out, rows and columns do not fit each other")
    p.a, p.b = cnp.PyArray_DATA(a), cnp.PyArray_DATA(b)
    p.wide = <int64_t *> cnp.PyArray_DATA(out) if out_word == 8 else NULL
    p.narrow = <int32_t *> cnp.PyArray_DATA(out)
    p.a_point = <const int64_t *> entries(a_point, cnp.NPY_INT64, rows)
    p.a_rest = <const int64_t *> entries(a_rest, cnp.NPY_INT64, rows)
    p.b_point = <const int64_t *> entries(b_point, cnp.NPY_INT64, columns)
    p.b_sum = <const int64_t *> entries(b_sum, cnp.NPY_INT64, columns)
    p.row, p.stop, p.first, p.last = row, stop, first, last
    p.saturate, p.overflows, p.row_of_first = saturate, 0, stop
    with nogil:
        if bytes_:
            multiply_bytes(&p)
        else:
            multiply_halves(&p)
    return p.overflows, p.row_of_first


# How numbers are rescaled (Design F): rows of a table with a column for each channel.
cdef enum Step:
    LEFT                        # the shift up before the product
    MULTIPLIER
    HALF                        # what is added to the product, before its shift
    RIGHT
    AWAY                        # what is added to the second rounding, before its shift, less 1 where it is negative
    FAR
    ZERO_POINT
    STEPS


cdef inline uint64_t rescaled(
    int64_t x, const int64_t *f, Py_ssize_t channels, int64_t low, int64_t high, uint8_t *code
) noexcept nogil:
    """Stores the code of a sum; 1 where a number on the way does not fit 32 bits."""
    cdef int64_t up = x << f[LEFT * channels]
    cdef int64_t doubled = <int64_t> <int32_t> up * f[MULTIPLIER * channels] + f[HALF * channels]
    cdef int64_t product = doubled >> f[RIGHT * channels]
    cdef int64_t away = f[AWAY * channels]
    cdef int64_t result = (product + away - ((product < 0) & (away > 0))) >> f[FAR * channels]
    cdef int64_t total = result + f[ZERO_POINT * channels]
    total = total if total > low else low
    code[0] = <uint8_t> (total if total < high else high)
    return (<int32_t> up != up) | (<int32_t> result != result)


cdef loop rescale_run(
    const int32_t *source, uint8_t *target, const int64_t *table, Py_ssize_t channels, bint columns, int64_t low,
    int64_t high, size_t n, uint64_t *overflows
) noexcept nogil:
    cdef size_t i
    cdef uint64_t found = 0
    if columns:
        for i in range(n):
            found += rescaled(source[i], table + i, channels, low, high, target + i)
    else:
        for i in range(n):
            found += rescaled(source[i], table, channels, low, high, target + i)
    overflows[0] = found


def rescale(
    cnp.ndarray source not None, cnp.ndarray target not None, cnp.ndarray table not None, Py_ssize_t inner, int low,
    int high, Py_ssize_t start, Py_ssize_t stop,
):
    """Fill bytes [start, stop) of a contiguous array with rescaled int32 numbers, clamped to [low, high].

    Number i belongs to channel (i // inner) % channels; table is int64, (STEPS, channels). Returns the first place
    where a number did not fit 32 bits on the way, or -1.
    """
    cdef Py_ssize_t channels = cnp.PyArray_SIZE(table) // STEPS, at = start, n, channel, first = -1
    cdef Py_ssize_t size = cnp.PyArray_SIZE(source)
    cdef const int32_t *numbers = <const int32_t *> entries(source, cnp.NPY_INT32, size)
    cdef uint8_t *codes = <uint8_t *> written(target, cnp.PyArray_TYPE(target), size)
    cdef const int64_t *steps = <const int64_t *> entries(table, cnp.NPY_INT64, channels * STEPS)
    cdef uint64_t overflows = 0
    if cnp.PyArray_ITEMSIZE(target) != 1 or channels < 1 or inner < 1 or not 0 <= start <= stop <= size:
        raise ValueError("target must hold bytes, table a column for each channel")
    with nogil:
        while at < stop:
            channel = (at // inner) % channels
            n = channels - channel if inner == 1 else inner - at % inner
            n = n if n < stop - at else stop - at
            rescale_run(numbers + at, codes + at, steps + channel, channels, inner == 1, low, high, n, &overflows)
            if overflows and first < 0:
                first = at
                while not rescaled(numbers[first], steps + channel, channels, low, high, codes + first):
                    first += 1
                    channel += inner == 1
            at += n
    return first
