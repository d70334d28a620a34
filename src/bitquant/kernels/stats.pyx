"""Extremes and sums: what a range and an error are made of.

# Design:
# (A) The bits of a floating point number, with the magnitude of a negative one turned over, are an integer in the
#     numbers' own order. Minimum and maximum are taken of those integers: exact, indifferent to the FPU's state, and
#     a NaN ends up beyond the infinities, so the extremes also tell whether everything was finite.
# (B) Where the extremes of a channel are as far from zero, which of the two comes first is found by a search that ends
#     with it. That is rare, or the search short, and so it takes number by number.
# (C) Sums are kept in 32 lanes in a fixed order, so that every CPU variant adds the same numbers in the same order. The
#     lanes stay in memory and take four rows of numbers at a time: GCC vectorises this, and does not vectorise eight
#     lanes in registers, which run at a third of the speed.
# (D) FP32 numbers, 0 or 2^-149 to 2^128 in magnitude, and their differences have squares from 2^-298 to 2^258: FP64
#     holds them without scaling. So what FP32 holds is compared in one pass (`compared`), and Σx² and Σy² are finite
#     where all numbers are; FP64 numbers are scaled first, by who calls `error_sums`.
"""

cimport numpy as cnp

from libc.math cimport fabs

from bitquant.kernels.arrays cimport entries, written
from bitquant.kernels.blocking cimport Blocking, Blocks, Walk, piece, walk_from, walk_on
from bitquant.kernels.levels cimport WayBack
from bitquant.kernels.machine cimport int32_t, int64_t, loop, uint8_t
from bitquant.kernels.stage cimport BLOCK, Stage, Tally

cnp.import_array()

cdef enum:
    LANES = 32
    ROWS = 4

ctypedef fused key:
    int32_t
    int64_t


cdef inline key turned(key bits) noexcept nogil:
    """Design A; its own inverse."""
    cdef key most = 0x7FFFFFFF if key is int32_t else <key> 0x7FFFFFFFFFFFFFFFLL
    return bits ^ ((bits >> (8 * sizeof(key) - 1)) & most)


cdef inline void extend(
    const key *source, key *low, key *high, const bint columns, const bint finite, size_t n, key infinity
) noexcept nogil:
    """Extends low and high (one pair, or with `columns` one per number); with `finite`, by finite numbers only."""
    cdef key below, above, least = low[0], most = high[0]
    cdef key last = 0x7FFFFFFF if key is int32_t else <key> 0x7FFFFFFFFFFFFFFFLL
    cdef bint inside
    cdef size_t i
    for i in range(n):
        below = above = turned(source[i])
        if finite:
            inside = (below < infinity) & (below > ~infinity)
            below, above = below if inside else last, above if inside else ~last
        if columns:
            low[i] = low[i] if low[i] < below else below
            high[i] = high[i] if high[i] > above else above
        else:
            least = least if least < below else below
            most = most if most > above else above
    if not columns:
        low[0], high[0] = least, most


cdef inline void extend_block(
    const key *source, key *low, key *high, const bint columns, const bint finite, const Blocking *blocking, Walk *walk,
    Py_ssize_t n, key infinity
) noexcept nogil:
    """A block of memory, piece by piece."""
    cdef Py_ssize_t done = 0, length
    while done < n:
        length = piece(blocking, walk, n - done)
        extend(source + done, low + walk.channel, high + walk.channel, columns, finite, length, infinity)
        walk_on(blocking, walk, length)
        done += length


cdef loop rows_32(
    const void *source, void *low, void *high, bint finite, const Blocking *blocking, Walk *walk, Py_ssize_t n
) noexcept nogil:
    if finite:
        extend_block(
            <const int32_t *> source, <int32_t *> low, <int32_t *> high, False, True, blocking, walk, n, 0x7F800000
        )
    else:
        extend_block(
            <const int32_t *> source, <int32_t *> low, <int32_t *> high, False, False, blocking, walk, n, 0x7F800000
        )


cdef loop rows_64(
    const void *source, void *low, void *high, bint finite, const Blocking *blocking, Walk *walk, Py_ssize_t n
) noexcept nogil:
    if finite:
        extend_block(
            <const int64_t *> source, <int64_t *> low, <int64_t *> high, False, True, blocking, walk, n,
            0x7FF0000000000000LL,
        )
    else:
        extend_block(
            <const int64_t *> source, <int64_t *> low, <int64_t *> high, False, False, blocking, walk, n,
            0x7FF0000000000000LL,
        )


cdef loop columns_32(
    const void *source, void *low, void *high, bint finite, const Blocking *blocking, Walk *walk, Py_ssize_t n
) noexcept nogil:
    if finite:
        extend_block(
            <const int32_t *> source, <int32_t *> low, <int32_t *> high, True, True, blocking, walk, n, 0x7F800000
        )
    else:
        extend_block(
            <const int32_t *> source, <int32_t *> low, <int32_t *> high, True, False, blocking, walk, n, 0x7F800000
        )


cdef loop columns_64(
    const void *source, void *low, void *high, bint finite, const Blocking *blocking, Walk *walk, Py_ssize_t n
) noexcept nogil:
    if finite:
        extend_block(
            <const int64_t *> source, <int64_t *> low, <int64_t *> high, True, True, blocking, walk, n,
            0x7FF0000000000000LL,
        )
    else:
        extend_block(
            <const int64_t *> source, <int64_t *> low, <int64_t *> high, True, False, blocking, walk, n,
            0x7FF0000000000000LL,
        )


ctypedef void (*Extender)(
    const void *source, void *low, void *high, bint finite, const Blocking *blocking, Walk *walk, Py_ssize_t n
) noexcept nogil


def extremes(
    cnp.ndarray source not None, Stage widen, int word, Blocks blocks not None, cnp.ndarray low not None,
    cnp.ndarray high not None, bint finite=False,
):
    """Extend low[channel] and high[channel] by the numbers of a contiguous array.

    low and high are int32 (word 4) or int64 (word 8) and hold numbers in the order of Design A:
    `bits ^ (bits >> top & most)`. With `finite`, infinities and NaN are left out.
    """
    cdef Py_ssize_t size = cnp.PyArray_SIZE(source), item = cnp.PyArray_ITEMSIZE(source), at = 0, n
    cdef Py_ssize_t channels = blocks.channels
    cdef const char *start = cnp.PyArray_BYTES(source)
    cdef char *lows = cnp.PyArray_BYTES(low)
    cdef char *highs = cnp.PyArray_BYTES(high)
    cdef char memory[8 * BLOCK + 64]
    cdef char *scratch = <char *> ((<size_t> memory + 63) & ~(<size_t> 63))
    cdef const char *read
    cdef Tally silent
    cdef Walk walk
    cdef Extender extender
    if (
        item != (word if widen is None else widen.source_size) or size != blocks.size
        or cnp.PyArray_ITEMSIZE(low) != word or cnp.PyArray_ITEMSIZE(high) != word
        or cnp.PyArray_SIZE(low) != channels or cnp.PyArray_SIZE(high) != channels
        or word not in (4, 8) or (widen is not None and widen.target_size != word)
        or not (
            cnp.PyArray_IS_C_CONTIGUOUS(source) and cnp.PyArray_IS_C_CONTIGUOUS(low)
            and cnp.PyArray_IS_C_CONTIGUOUS(high)
        )
        or not (cnp.PyArray_ISWRITEABLE(low) and cnp.PyArray_ISWRITEABLE(high))
    ):
        raise ValueError("source, low and high do not fit each other")
    if size == 0:
        return
    if blocks.blocking.columns:
        extender = <Extender> columns_32 if word == 4 else <Extender> columns_64
    else:
        extender = <Extender> rows_32 if word == 4 else <Extender> rows_64
    with nogil:
        walk_from(&blocks.blocking, 0, &walk)
        while at < size:
            n = size - at if widen is None or size - at < BLOCK else BLOCK
            read = start + at * item
            if widen is not None:
                widen.block(read, scratch, NULL, widen.row, &silent, n)
                read = scratch
            extender(read, lows, highs, finite, &blocks.blocking, &walk, n)
            at += n


cdef inline Py_ssize_t find_first(
    const key *source, key *sought, key *found, const Blocking *blocking, Walk *walk, Py_ssize_t n, key infinity
) noexcept nogil:
    """Design B, for a block of memory; returns for how many channels it has found what they seek."""
    cdef key magnitude, most = 0x7FFFFFFF if key is int32_t else <key> 0x7FFFFFFFFFFFFFFFLL
    cdef Py_ssize_t done = 0, length, i, c, count = 0
    while done < n:
        length = piece(blocking, walk, n - done)
        for i in range(length):
            c = walk.channel + i if blocking.columns else walk.channel
            magnitude = source[done + i] & most
            if sought[c] == (magnitude if magnitude < infinity else 0):
                found[c] = source[done + i] if magnitude < infinity else 0
                sought[c] = -1
                count += 1
            if sought[c] < 0 and not blocking.columns:
                break
        walk_on(blocking, walk, length)
        done += length
    return count


def firsts(
    cnp.ndarray source not None, Stage widen, int word, Blocks blocks not None, cnp.ndarray sought not None,
    cnp.ndarray found not None,
):
    """Fill found[channel] with the bits of the first number whose magnitude has the bits sought[channel].

    Both are int32 (word 4) or int64 (word 8). A negative number there seeks nothing; what has been found becomes −1.
    Numbers that are not finite count as 0.
    """
    cdef Py_ssize_t size = cnp.PyArray_SIZE(source), item = cnp.PyArray_ITEMSIZE(source), at = 0, n, left
    cdef const char *start = <const char *> entries(source, cnp.PyArray_TYPE(source), blocks.size)
    cdef int dtype = cnp.NPY_INT32 if word == 4 else cnp.NPY_INT64
    cdef void *wanted = written(sought, dtype, blocks.channels)
    cdef void *given = written(found, dtype, blocks.channels)
    cdef char memory[8 * BLOCK + 64]
    cdef char *scratch = <char *> ((<size_t> memory + 63) & ~(<size_t> 63))
    cdef const char *read
    cdef Tally silent
    cdef Walk walk
    if item != (word if widen is None else widen.source_size) or (widen is not None and widen.target_size != word):
        raise ValueError("numbers are words of 4 or 8 bytes, or the stage gives such")
    if size == 0:
        return
    left = (sought >= 0).sum()
    with nogil:
        walk_from(&blocks.blocking, 0, &walk)
        while at < size and left:
            n = size - at if size - at < BLOCK else BLOCK
            read = start + at * item
            if widen is not None:
                widen.block(read, scratch, NULL, widen.row, &silent, n)
                read = scratch
            if word == 4:
                left -= find_first(
                    <const int32_t *> read, <int32_t *> wanted, <int32_t *> given, &blocks.blocking, &walk, n,
                    0x7F800000,
                )
            else:
                left -= find_first(
                    <const int64_t *> read, <int64_t *> wanted, <int64_t *> given, &blocks.blocking, &walk, n,
                    0x7FF0000000000000LL,
                )
            at += n


ctypedef fused real:
    float
    double


cdef struct Sums:
    double error[LANES]         # Σ (y − x)²
    double x[LANES]             # Σ x²
    double y[LANES]             # Σ y²
    double product[LANES]       # Σ x·y
    double largest[LANES]       # max |y − x|


cdef inline double larger(double a, double b) noexcept nogil:
    return a if a > b else b


cdef inline void add_rows(const real *x, const real *y, Sums *sums, size_t k, const size_t rows) noexcept nogil:
    """Add to lane k one number of each row; x and y are the lane's numbers in the first of them."""
    cdef double error = sums.error[k], squares = sums.x[k], others = sums.y[k], product = sums.product[k]
    cdef double largest = sums.largest[k], one, other, difference
    cdef size_t r
    for r in range(rows):
        one, other = x[r * LANES], y[r * LANES]
        difference = other - one
        error += difference * difference
        squares += one * one
        others += other * other
        product += one * other
        largest = larger(largest, fabs(difference))
    sums.error[k], sums.x[k], sums.y[k], sums.product[k], sums.largest[k] = error, squares, others, product, largest


cdef inline void add_run(const real *x, const real *y, Sums *sums, size_t n) noexcept nogil:
    cdef size_t i = 0, k
    while i + ROWS * LANES <= n:
        for k in range(<size_t> LANES):
            add_rows(x + i + k, y + i + k, sums, k, ROWS)
        i += ROWS * LANES
    for k in range(n - i):
        add_rows(x + i + k, y + i + k, sums, k % LANES, 1)


cdef loop add_errors(const double *x, const double *y, Sums *sums, size_t n) noexcept nogil:
    add_run(x, y, sums, n)


cdef loop add_errors_32(const float *x, const float *y, Sums *sums, size_t n) noexcept nogil:
    add_run(x, y, sums, n)


cdef inline Py_ssize_t outside(
    const float *x, const float *low, const float *high, const bint columns, size_t n
) noexcept nogil:
    """How many numbers lie outside of low to high (one pair, or with `columns` one per number)."""
    cdef int32_t found = 0
    cdef float least = low[0], most = high[0]
    cdef size_t i
    for i in range(n):
        if columns:
            least, most = low[i], high[i]
        found += (x[i] < least) | (x[i] > most)
    return found


cdef loop count_outside(
    const float *x, const float *low, const float *high, const Blocking *blocking, Walk *walk, Py_ssize_t n,
    Py_ssize_t *count
) noexcept nogil:
    cdef Py_ssize_t done = 0, length
    while done < n:
        length = piece(blocking, walk, n - done)
        if blocking.columns:
            count[0] += outside(x + done, low + walk.channel, high + walk.channel, True, length)
        else:
            count[0] += outside(x + done, low + walk.channel, high + walk.channel, False, length)
        walk_on(blocking, walk, length)
        done += length


def error_sums(cnp.ndarray x not None, cnp.ndarray y not None):
    """Sums over two arrays of one length: Σ(y−x)², Σx², Σy², Σx·y and max|y−x|."""
    cdef Sums sums
    cdef double found[5]
    cdef Py_ssize_t size = cnp.PyArray_SIZE(x)
    cdef const double *one = <const double *> entries(x, cnp.NPY_FLOAT64, size)
    cdef const double *other = <const double *> entries(y, cnp.NPY_FLOAT64, size)
    clear(&sums)
    with nogil:
        add_errors(one, other, &sums, size)
    total(&sums, found)
    return found[0], found[1], found[2], found[3], found[4]


def compared(
    cnp.ndarray x not None, Stage widen_x, cnp.ndarray y not None, WayBack back, Stage widen_y, Blocks blocks not None,
    cnp.ndarray low not None, cnp.ndarray high not None, Py_ssize_t place,
):
    """The sums of `error_sums`, and how many of x lie outside low[channel] to high[channel].

    x and y are the codes of numbers, the first of them number `place` of the array that has the blocks, and are
    widened by their stages to FP32 (Design D); `back` makes those of y from bytes. Σx² or Σy² is not finite where not
    all numbers are, and nothing else means anything then.
    """
    cdef Py_ssize_t size = cnp.PyArray_SIZE(x), item = cnp.PyArray_ITEMSIZE(y), at = 0, n, clipped = 0
    cdef int word = <int> item if back is None else back.word
    cdef double found[5]
    cdef const float *lows = <const float *> entries(low, cnp.NPY_FLOAT32, blocks.channels)
    cdef const float *highs = <const float *> entries(high, cnp.NPY_FLOAT32, blocks.channels)
    cdef char memory[12 * BLOCK + 64]
    cdef char *scratch = <char *> ((<size_t> memory + 63) & ~(<size_t> 63))
    cdef const char *one
    cdef const char *other
    cdef Tally silent
    cdef Walk walk, walk_back
    cdef Sums sums
    if (
        cnp.PyArray_SIZE(y) != size or place < 0 or place + size > blocks.size
        or cnp.PyArray_ITEMSIZE(x) != (4 if widen_x is None else widen_x.source_size)
        or word != (4 if widen_y is None else widen_y.source_size)
        or (back is not None and (item != 1 or word > 4 or back.blocks is None or back.blocks.size != blocks.size))
        or (widen_x is not None and widen_x.target_size != 4) or (widen_y is not None and widen_y.target_size != 4)
        or not (cnp.PyArray_IS_C_CONTIGUOUS(x) and cnp.PyArray_IS_C_CONTIGUOUS(y))
    ):
        raise ValueError("x, y and blocks do not fit each other")
    clear(&sums)
    with nogil:
        if size:
            walk_from(&blocks.blocking, place, &walk)
            if back is not None:
                walk_from(&back.blocks.blocking, place, &walk_back)
        while at < size:
            n = size - at if size - at < BLOCK else BLOCK
            one = cnp.PyArray_BYTES(x) + at * cnp.PyArray_ITEMSIZE(x)
            other = cnp.PyArray_BYTES(y) + at * item
            if widen_x is not None:
                widen_x.block(one, scratch, NULL, widen_x.row, &silent, n)
                one = scratch
            if back is not None:
                back.block(<const uint8_t *> other, scratch + 4 * BLOCK, &walk_back, n)
                other = scratch + 4 * BLOCK
            if widen_y is not None:
                widen_y.block(other, scratch + 8 * BLOCK, NULL, widen_y.row, &silent, n)
                other = scratch + 8 * BLOCK
            add_errors_32(<const float *> one, <const float *> other, &sums, n)
            count_outside(<const float *> one, lows, highs, &blocks.blocking, &walk, n, &clipped)
            at += n
    total(&sums, found)
    return found[0], found[1], found[2], found[3], found[4], clipped


cdef void clear(Sums *sums) noexcept nogil:
    cdef int k
    for k in range(LANES):
        sums.error[k] = sums.x[k] = sums.y[k] = sums.product[k] = sums.largest[k] = 0


cdef void total(const Sums *sums, double *found) noexcept nogil:
    """The lanes together, in their order."""
    cdef int k
    for k in range(5):
        found[k] = 0
    for k in range(LANES):
        found[0] += sums.error[k]
        found[1] += sums.x[k]
        found[2] += sums.y[k]
        found[3] += sums.product[k]
        found[4] = larger(sums.largest[k], found[4])
