"""Back from codes: value = (code − zero_point) / scale, exact and rounded once.

# Design:
# (A) The quotient keeps 62 bits, the last one sticky, and goes through narrow.pxd's round_pack: one rounding, to any
#     format.
# (B) A channel has at most 256 values. Where it has many numbers, its values are computed once, as those of an array
#     of all codes, and looked up after that.
# (C) Where channels are small, its step is divided out once, to 63 bits, and each number multiplies it. What was cut
#     off the step is less than one in its last place, so the product lies between two integers; where they agree in
#     their first 55 bits, these and a sticky bit decide, and where they do not, the number is divided out by itself.
# (D) For words of two and four bytes a FP64 product proposes the value. It is off by two units in its last place at
#     most, whatever the FPU's mode; where what is cut off it lies farther than that from a half, and the value is a
#     normal number or zero, it is right. A run of 64 numbers says whether it holds another; Design C then does the run.
# (E) Where all looked-up FP32 values are FP64 products of a step, rounded to FP32, that can be seen code by code, and
#     then the products themselves are taken: twice the speed. None may be subnormal and the FPU must round to nearest,
#     so that its state does not matter.
"""

cimport numpy as cnp

from bitquant.kernels.arrays cimport entries, terms, written
from bitquant.kernels.blocking cimport Blocking, Blocks, Walk, piece, walk_from, walk_on
from bitquant.kernels.machine cimport (
    bits_of_double, bits_of_float, code, double_of_bits, int32_t, int64_t, loop, rounds_to_nearest, uint8_t, uint16_t,
    uint32_t, uint64_t,
)
from bitquant.kernels.narrow cimport Narrow, Target, round_pack
from bitquant.kernels.rational cimport bit_length, wide
from bitquant.kernels.rounding cimport Mode

cnp.import_array()

cdef enum:
    LARGE = 1 << 30                 # a zero point below which no number of steps leaves an int32

cdef struct Line:
    const uint64_t *numerator
    const uint64_t *denominator
    const int32_t *exponent
    const int32_t *zero_point
    bint signed


cdef inline uint64_t packed(bint negative, uint64_t magnitude, int32_t exponent, const Target *t) noexcept nogil:
    """The code of ± magnitude · 2^(exponent − 61), rounded once; magnitude has 62 bits, the last one sticky."""
    cdef int32_t field = exponent + 1023        # round_pack's notation is 1.61, its exponent field has FP64's bias
    field = field if field < t.rebias + t.exponent_end else t.rebias + t.exponent_end
    field = field if field > t.lowest else t.lowest
    magnitude = round_pack(<Mode> t.mode, <uint64_t> negative, magnitude, <int64_t> field, 0, t)
    if magnitude > t.ceiling[negative]:
        magnitude = t.ceiling[negative]
    if magnitude == 0 and t.zero_drops_sign:
        return 0
    return magnitude | (<uint64_t> negative << t.sign_shift)


cdef inline uint64_t value_of(
    int64_t steps, uint64_t numerator, uint64_t denominator, int32_t exponent, const Target *t
) noexcept nogil:
    """Design A: the code of steps · denominator / numerator / 2^exponent, rounded once, in the target format."""
    cdef bint negative = steps < 0
    cdef wide product = <wide> (-steps if negative else steps) * denominator
    cdef wide quotient
    cdef int32_t up, length
    cdef uint64_t magnitude
    if product == 0:
        return 0
    # 1  A quotient of at least 62 bits: the dividend gets all of the room.
    up = 127 - bit_length(product)
    product <<= up
    quotient = product // numerator
    # 2  To 62 bits, the last one sticky.
    length = bit_length(quotient)
    magnitude = <uint64_t> (quotient >> (length - 62)) | (
        product % numerator != 0 or quotient & (((<wide> 1) << (length - 62)) - 1) != 0
    )
    return packed(negative, magnitude, length - 1 - up - exponent, t)


# Design C: a step to 63 bits, significand · 2^exponent and less than one in the last place more.
cdef struct Step:
    uint64_t significand
    int32_t exponent
    bint inexact


cdef inline void divide_out(const Line *line, Py_ssize_t channel, Step *step) noexcept nogil:
    cdef wide quotient, dividend = line.denominator[channel]
    cdef int32_t up = 127 - bit_length(dividend), length
    dividend <<= up
    quotient = dividend // line.numerator[channel]
    length = bit_length(quotient)
    step.significand = <uint64_t> (quotient >> (length - 63))
    step.exponent = length - 63 - up - line.exponent[channel]
    step.inexact = (
        dividend % line.numerator[channel] != 0 or quotient & (((<wide> 1) << (length - 63)) - 1) != 0
    )


cdef inline uint64_t multiple(
    int64_t steps, const Step *step, const Line *line, Py_ssize_t channel, const Target *t
) noexcept nogil:
    """Design C: the code of steps · step."""
    cdef bint negative = steps < 0
    cdef uint64_t count = <uint64_t> (-steps if negative else steps)
    cdef wide product = <wide> count * step.significand, low
    cdef int32_t length = bit_length(product)
    if count == 0:
        return 0
    low = product & (((<wide> 1) << (length - 55)) - 1)
    if step.inexact and (low + count) >> (length - 55):
        return value_of(
            steps, line.numerator[channel], line.denominator[channel], line.exponent[channel], t
        )
    return packed(
        negative, <uint64_t> (product >> (length - 55)) << 7 | (step.inexact or low != 0), length - 1 + step.exponent, t
    )


cdef inline int64_t steps_of(uint8_t byte, bint signed, int64_t zero_point) noexcept nogil:
    return (<int64_t> byte ^ 128) - 128 - zero_point if signed else <int64_t> byte - zero_point


cdef inline double nearly(const Step *step) noexcept nogil:
    """The first 53 bits of a step; 0 where products with it might leave FP64's normal numbers."""
    cdef int32_t exponent = step.exponent + 10
    if exponent < -900 or exponent > 900:
        return 0.0
    return <double> <int64_t> (step.significand >> 10) * double_of_bits(<uint64_t> (exponent + 1023) << 52)


cdef inline bint propose_values(
    const uint8_t *source, code *target, double step, bint signed, int32_t zero_point, size_t n, const Target *t
) noexcept nogil:
    """Design D. Returns whether any of the values is in doubt."""
    cdef uint64_t shift = 52 - t.stored, half = t.one << (shift - 1), below = (half << 1) - 1
    cdef int64_t rebias = <int64_t> t.rebias << t.stored, first = <int64_t> t.one << t.stored
    cdef int64_t last = <int64_t> t.largest, value, rest
    cdef uint64_t bits, magnitude, doubt = 0, sign_shift = t.sign_shift, outside, some
    cdef int32_t steps, turn = 128 if signed else 0
    cdef size_t i
    for i in range(n):
        steps = (<int32_t> source[i] ^ turn) - turn - zero_point
        bits = bits_of_double(<double> steps * step)
        magnitude = bits & 0x7FFFFFFFFFFFFFFFULL
        rest = <int64_t> (magnitude & below) - <int64_t> half
        value = <int64_t> ((magnitude + half) >> shift) - rebias
        outside = <uint64_t> (value < first) | <uint64_t> (value > last) | (
            <uint64_t> (rest > -5) & <uint64_t> (rest < 5)
        )
        some = 0 - <uint64_t> (steps != 0)
        doubt |= outside & some
        target[i] = <code> ((<uint64_t> value | ((bits >> 63) << sign_shift)) & some)
    return doubt != 0


cdef inline void each_value(
    const uint8_t *source, code *target, const Line *line, const Blocking *blocking, Walk *walk, Py_ssize_t size,
    const Target *t
) noexcept nogil:
    """Designs C and D, for numbers whose channels change often."""
    cdef Py_ssize_t at = 0, n, i, channel, start, length
    cdef bint proposing = not blocking.columns and not t.code_parity and sizeof(code) in (2, 4)
    cdef int32_t point
    cdef Step step
    cdef double near
    while at < size:
        n = piece(blocking, walk, size - at)
        channel = walk.channel
        divide_out(line, channel, &step)
        point = line.zero_point[channel]
        near = nearly(&step) if proposing and -LARGE < point and point < LARGE else 0.0
        for start in range(at, at + n, 64):
            length = at + n - start if at + n - start < 64 else 64
            # The vector loop has 64 at a time; what it does beyond the piece is done again.
            if near and not propose_values(
                source + start, target + start, near, line.signed, point, 64 if start + 64 <= size else length, t
            ):
                continue
            for i in range(start, start + length):
                if blocking.columns and i > at:
                    channel += 1
                    divide_out(line, channel, &step)
                target[i] = <code> multiple(
                    steps_of(source[i], line.signed, line.zero_point[channel]), &step, line, channel, t
                )
        walk_on(blocking, walk, n)
        at += n


cdef inline void copy_values(
    const uint8_t *source, code *target, const code *table, const Blocking *blocking, Walk *walk, Py_ssize_t size
) noexcept nogil:
    """Design B, from a table with 256 values for each channel."""
    cdef Py_ssize_t at = 0, n, i
    cdef const code *row
    while at < size:
        row = table + walk.channel * 256
        n = piece(blocking, walk, size - at)
        for i in range(at, at + n):
            target[i] = row[source[i]]
            if blocking.columns:
                row += 256
        walk_on(blocking, walk, n)
        at += n


cdef inline float product(uint8_t byte, int32_t turn, int32_t zero_point, double step) noexcept nogil:
    """Design E; `turn` is 128 for signed codes, else 0."""
    return <float> (<double> ((<int32_t> byte ^ turn) - turn - zero_point) * step)


# The loops that exist in CPU variants.

ctypedef void (*Valuer)(
    const uint8_t *source, void *target, const Line *line, const Blocking *blocking, Walk *walk, Py_ssize_t size,
    const Target *t
) noexcept nogil


cdef loop values_16(
    const uint8_t *source, void *target, const Line *line, const Blocking *blocking, Walk *walk, Py_ssize_t size,
    const Target *t
) noexcept nogil:
    each_value(source, <uint16_t *> target, line, blocking, walk, size, t)


cdef loop values_32(
    const uint8_t *source, void *target, const Line *line, const Blocking *blocking, Walk *walk, Py_ssize_t size,
    const Target *t
) noexcept nogil:
    each_value(source, <uint32_t *> target, line, blocking, walk, size, t)


cdef loop multiply(
    const uint8_t *source, float *target, const double *steps, const int32_t *zero_points, bint signed,
    const Blocking *blocking, Walk *walk, Py_ssize_t size
) noexcept nogil:
    """Design E."""
    cdef Py_ssize_t at = 0, n, i
    cdef int32_t point, turn = 128 if signed else 0
    cdef const double *step
    cdef const int32_t *points
    cdef double one
    while at < size:
        n = piece(blocking, walk, size - at)
        step, points = steps + walk.channel, zero_points + walk.channel
        one, point = step[0], points[0]
        if blocking.columns:
            for i in range(n):
                target[at + i] = product(source[at + i], turn, points[i], step[i])
        else:
            for i in range(n):
                target[at + i] = product(source[at + i], turn, point, one)
        walk_on(blocking, walk, n)
        at += n


cdef int line_of(dict numbers, Line *line) except -1:
    """The parameters of all channels: numerator, denominator (uint64, below 2^63), exponent, zero_point (int32)."""
    cdef Py_ssize_t channels = len(numbers["numerator"])
    line.numerator = terms(numbers["numerator"], channels)
    line.denominator = terms(numbers["denominator"], channels)
    line.exponent = <const int32_t *> entries(numbers["exponent"], cnp.NPY_INT32, channels)
    line.zero_point = <const int32_t *> entries(numbers["zero_point"], cnp.NPY_INT32, channels)
    return 0


cdef int check_target(Narrow target) except -1:
    if target.target_size != 8:
        raise ValueError("the target must be a Narrow stage of 64-bit lanes")
    return 0


def multiples(
    dict numbers not None, cnp.ndarray steps not None, Narrow target not None, cnp.ndarray codes not None
):
    """Fill codes[channel] (uint64) with steps[channel] (int64) / scale, as codes of the target format."""
    cdef Py_ssize_t c, channels = len(numbers["numerator"])
    cdef Line line
    line_of(numbers, &line)
    check_target(target)
    cdef const int64_t *counts = <const int64_t *> entries(steps, cnp.NPY_INT64, channels)
    cdef uint64_t *out = <uint64_t *> written(codes, cnp.NPY_UINT64, channels)
    with nogil:
        for c in range(channels):
            out[c] = value_of(counts[c], line.numerator[c], line.denominator[c], line.exponent[c], &target.target)


cdef class WayBack:

    def __call__(self, cnp.ndarray source not None, cnp.ndarray target not None, Py_ssize_t place=0):
        """Turn bytes, the first of them number `place` of the array that has the blocks, into values."""
        cdef Py_ssize_t size = cnp.PyArray_SIZE(source)
        cdef Walk walk
        if (
            self.blocks is None or cnp.PyArray_ITEMSIZE(source) != 1 or cnp.PyArray_SIZE(target) != size
            or cnp.PyArray_ITEMSIZE(target) != self.word or not cnp.PyArray_ISWRITEABLE(target)
            or place < 0 or place + size > self.blocks.size
            or not (cnp.PyArray_IS_C_CONTIGUOUS(source) and cnp.PyArray_IS_C_CONTIGUOUS(target))
        ):
            raise ValueError("source, target and blocks do not fit each other")
        if size:
            with nogil:
                walk_from(&self.blocks.blocking, place, &walk)
                self.block(<const uint8_t *> cnp.PyArray_DATA(source), cnp.PyArray_DATA(target), &walk, size)

    cdef void block(self, const uint8_t *codes, void *target, Walk *walk, Py_ssize_t n) noexcept nogil:
        pass


cdef class EachValue(WayBack):
    """Number by number (Designs A, C, D). `row` is that of the values' format, `word` the bytes of its codes."""

    cdef Line line
    cdef Narrow row
    cdef dict numbers

    def __init__(self, dict numbers not None, bint signed, Blocks blocks not None, Narrow row not None, int word):
        line_of(numbers, &self.line)
        check_target(row)
        if len(numbers["numerator"]) != blocks.channels or word not in (1, 2, 4, 8):
            raise ValueError("numbers must have one entry per channel, and values 1, 2, 4 or 8 bytes")
        self.line.signed = signed
        self.numbers = dict(numbers)  # keeps the arrays alive
        self.row, self.blocks, self.word = row, blocks, word

    cdef void block(self, const uint8_t *codes, void *target, Walk *walk, Py_ssize_t n) noexcept nogil:
        cdef const Blocking *b = &self.blocks.blocking
        if self.word == 1:
            each_value(codes, <uint8_t *> target, &self.line, b, walk, n, &self.row.target)
        elif self.word == 2:
            (<Valuer> values_16)(codes, target, &self.line, b, walk, n, &self.row.target)
        elif self.word == 4:
            (<Valuer> values_32)(codes, target, &self.line, b, walk, n, &self.row.target)
        else:
            each_value(codes, <uint64_t *> target, &self.line, b, walk, n, &self.row.target)


cdef class Table(WayBack):
    """Looked up in table[channel, byte] (Design B)."""

    cdef cnp.ndarray table
    cdef const void *values

    def __init__(self, cnp.ndarray table not None, Blocks blocks not None):
        self.table, self.blocks, self.word = table, blocks, cnp.PyArray_ITEMSIZE(table)
        self.values = cnp.PyArray_DATA(table)
        if (
            cnp.PyArray_NDIM(table) != 2 or not cnp.PyArray_IS_C_CONTIGUOUS(table) or self.word not in (1, 2, 4, 8)
            or table.shape[0] != blocks.channels or table.shape[1] != 256
        ):
            raise ValueError("the table must hold 256 values for each channel")

    cdef void block(self, const uint8_t *codes, void *target, Walk *walk, Py_ssize_t n) noexcept nogil:
        cdef const Blocking *b = &self.blocks.blocking
        if self.word == 1:
            copy_values(codes, <uint8_t *> target, <const uint8_t *> self.values, b, walk, n)
        elif self.word == 2:
            copy_values(codes, <uint16_t *> target, <const uint16_t *> self.values, b, walk, n)
        elif self.word == 4:
            copy_values(codes, <uint32_t *> target, <const uint32_t *> self.values, b, walk, n)
        else:
            copy_values(codes, <uint64_t *> target, <const uint64_t *> self.values, b, walk, n)


cdef class Products(Table):
    """(code − zero_point) · step, where `are_products` says so; looked up while the FPU rounds otherwise (Design E)."""

    cdef cnp.ndarray steps, zero_points
    cdef const double *step
    cdef const int32_t *point
    cdef bint signed

    def __init__(
        self, cnp.ndarray table not None, Blocks blocks not None, cnp.ndarray steps not None,
        cnp.ndarray zero_points not None, bint signed
    ):
        Table.__init__(self, table, blocks)
        entries(table, cnp.NPY_UINT32, 256 * blocks.channels)
        self.step = <const double *> entries(steps, cnp.NPY_FLOAT64, blocks.channels)
        self.point = <const int32_t *> entries(zero_points, cnp.NPY_INT32, blocks.channels)
        self.steps, self.zero_points, self.signed = steps, zero_points, signed

    cdef void block(self, const uint8_t *codes, void *target, Walk *walk, Py_ssize_t n) noexcept nogil:
        if rounds_to_nearest():
            multiply(codes, <float *> target, self.step, self.point, self.signed, &self.blocks.blocking, walk, n)
        else:
            copy_values(
                codes, <uint32_t *> target, <const uint32_t *> self.values, &self.blocks.blocking, walk, n
            )


def are_products(
    cnp.ndarray table not None, cnp.ndarray steps not None, cnp.ndarray zero_points not None, bint signed
):
    """Whether table[channel, byte], FP32 values as uint32, may be had by `multiply` (Design E)."""
    cdef Py_ssize_t c, channels = cnp.PyArray_SIZE(steps)
    cdef const uint32_t *values = <const uint32_t *> entries(table, cnp.NPY_UINT32, 256 * channels)
    cdef const double *step = <const double *> entries(steps, cnp.NPY_FLOAT64, channels)
    cdef const int32_t *point = <const int32_t *> entries(zero_points, cnp.NPY_INT32, channels)
    cdef uint32_t value, magnitude
    cdef int byte
    cdef bint same = rounds_to_nearest()
    with nogil:
        for c in range(channels):
            same &= -LARGE < point[c] < LARGE
            for byte in range(256 if same else 0):
                value = values[256 * c + byte]
                magnitude = value & 0x7FFFFFFF
                same &= (
                    (magnitude == 0) | (magnitude >= 0x00800000)
                ) & (bits_of_float(product(byte, 128 if signed else 0, point[c], step[c])) == value)
    return bool(same)
