"""The linear mapping of quantization: code = round(x · scale + zero_point), exact.

# Design:
# (A) scale is an exact rational, numerator / denominator · 2^exponent, and the sum is rounded once. What decides is a
#     128-bit integer division (rational.pxd).
# (B) A FP32 (or FP64) product proposes the code (propose.pxd). Its error is known; where the product lies farther than
#     that from every boundary between two codes, the proposal is right. The others, about one in ten thousand, go to
#     the integers: a run of 256 numbers says by one comparison of its worst distance whether it holds such a number.
# (C) The product uses the floating point unit, but the result never depends on its state: the error bound covers
#     every rounding mode, flush-to-zero changes a product by less than the bound (scales for which it does not are
#     `slow`), and a distance is compared as an integer, so NaN counts as far.
# (D) Parameters are arrays with one entry per channel. `columns` is a literal: either one channel serves a whole run,
#     or the numbers of a run are those of successive channels.
"""

cimport numpy as cnp

from bitquant.kernels.fields cimport significand32, significand64
from bitquant.kernels.machine cimport (
    bits_of_double, bits_of_float, carrier, int32_t, int64_t, loop, stream_block, stream_end, uint8_t, uint32_t,
    uint64_t,
)
from bitquant.kernels.propose cimport propose, real
from bitquant.kernels.rational cimport rounded_sum
from bitquant.kernels.rounding cimport (
    NEAREST_AWAY, NEAREST_EVEN, TO_ODD, TOWARD_NEGATIVE, TOWARD_POSITIVE, TOWARD_ZERO, Mode,
)
from bitquant.kernels.stage cimport BLOCK, RUN, STREAMING, Stage, Tally

cnp.import_array()

cdef enum:
    FEW = 64


# The parameters of all channels.
cdef struct Line:
    int mode
    int32_t low, high               # the codes' range
    const uint64_t *numerator
    const uint64_t *denominator
    const int32_t *exponent
    const int32_t *zero_point
    const uint8_t *slow             # 1 where no estimate is to be trusted
    bint any_slow
    # The estimate, in the precision of the source.
    const void *scale
    const void *least               # u is clamped to [least, most] before it is rounded
    const void *most
    const void *certain             # distances from the nearest integer up to this one decide


cdef inline int32_t exact(const Mode mode, carrier bits, const Line *line, Py_ssize_t channel) noexcept nogil:
    """Design A: the code of one finite number."""
    cdef int64_t result
    cdef carrier magnitude
    if carrier is uint32_t:
        magnitude = bits & 0x7FFFFFFF
        result = rounded_sum(
            mode, bits >> 31, significand32(magnitude),
            <int32_t> ((magnitude if magnitude > 0x800000 else 0x800000) >> 23) - 150 + line.exponent[channel],
            line.numerator[channel], line.denominator[channel], line.zero_point[channel],
        )
    else:
        magnitude = bits & 0x7FFFFFFFFFFFFFFFULL
        result = rounded_sum(
            mode, bits >> 63, significand64(magnitude),
            <int32_t> ((magnitude if magnitude > 0x10000000000000ULL else 0x10000000000000ULL) >> 52) - 1075
            + line.exponent[channel],
            line.numerator[channel], line.denominator[channel], line.zero_point[channel],
        )
    return clamped(result, line)


cdef inline int32_t clamped(int64_t q, const Line *line) noexcept nogil:
    return line.low if q < line.low else line.high if q > line.high else <int32_t> q


cdef inline bint estimate(
    const Mode mode, const bint columns, const real *source, uint8_t *target, const Line *line, Py_ssize_t channel,
    size_t n, carrier infinity
) noexcept nogil:
    """Design B: proposals for a run. Returns whether any of them is in doubt, or not finite."""
    cdef const real *scale = <const real *> line.scale + channel
    cdef const real *least = <const real *> line.least + channel
    cdef const real *most = <const real *> line.most + channel
    cdef const real *certain = <const real *> line.certain + channel
    cdef const int32_t *offset = line.zero_point + channel
    cdef carrier away, bound = 0, magnitude, magnitudes = ~(<carrier> 0) >> 1, doubt = 0, largest = 0
    cdef int32_t q, low = line.low, high = line.high
    cdef size_t i, c
    for i in range(n):
        c = i if columns else 0
        q = propose(mode, source[i] * scale[c], least[c], most[c], offset[c], &away)
        if mode == TOWARD_ZERO or mode == TO_ODD:
            q = low if low > q else q
            q = high if high < q else q
        target[i] = <uint8_t> q
        if carrier is uint32_t:
            magnitude = bits_of_float(source[i]) & magnitudes
            bound = bits_of_float(certain[c])
        else:
            magnitude = bits_of_double(source[i]) & magnitudes
            bound = bits_of_double(certain[c])
        largest = largest if largest > magnitude else magnitude
        if columns:
            doubt = doubt | <carrier> (away > bound)
        else:
            doubt = doubt if doubt > away else away
    if not columns:
        doubt = doubt > bound
    return (doubt != 0) | (largest >= infinity)


cdef inline void settle(
    const Mode mode, const bint columns, const carrier *source, uint8_t *target, const Line *line, Py_ssize_t channel,
    size_t n, bint slow, const real *zero, carrier infinity
) noexcept nogil:
    """A run that holds a number in doubt, or one that is not finite: first by few, then those few by integers."""
    cdef size_t start = 0, length
    cdef Py_ssize_t c
    while start < n:
        length = n - start if n - start < FEW else FEW
        c = channel + <Py_ssize_t> start if columns else channel
        if slow or estimate(mode, columns, <const real *> source + start, target + start, line, c, length, infinity):
            settle_each(mode, columns, source + start, target + start, line, c, length, zero, infinity)
        start += length


cdef inline void settle_each(
    const Mode mode, const bint columns, const carrier *source, uint8_t *target, const Line *line, Py_ssize_t channel,
    size_t n, const real *zero, carrier infinity
) noexcept nogil:
    cdef carrier magnitude, magnitudes = ~(<carrier> 0) >> 1
    cdef Py_ssize_t c
    cdef size_t i
    for i in range(n):
        c = channel + <Py_ssize_t> i if columns else channel
        magnitude = source[i] & magnitudes
        if magnitude >= infinity:
            if magnitude > infinity:
                target[i] = <uint8_t> clamped(line.zero_point[c], line)
            else:
                target[i] = <uint8_t> (line.low if source[i] > infinity else line.high)
        elif line.slow[c] or estimate(mode, False, <const real *> source + i, target + i, line, c, 1, infinity):
            target[i] = <uint8_t> exact(mode, source[i], line, c)


cdef inline uint64_t not_finite(
    const carrier *source, size_t n, carrier infinity, int64_t at, int64_t *first
) noexcept nogil:
    cdef carrier magnitudes = ~(<carrier> 0) >> 1
    cdef uint64_t count = 0
    cdef size_t i
    for i in range(n):
        if source[i] & magnitudes >= infinity:
            if first[0] < 0:
                first[0] = at + <int64_t> i
            count += 1
    return count


cdef inline uint64_t quantize_mode(
    const Mode mode, const bint columns, const carrier *source, uint8_t *target, const Line *line, Py_ssize_t channel,
    size_t n, const real *zero, carrier infinity, int64_t at, int64_t *first
) noexcept nogil:
    """A block, run by run. Returns how many of its numbers are not finite."""
    cdef size_t start = 0, length
    cdef Py_ssize_t c
    cdef bint slow
    cdef uint64_t count = 0
    while start < n:
        length = n - start if n - start < RUN else RUN
        c = channel + <Py_ssize_t> start if columns else channel
        slow = line.any_slow if columns else line.slow[c]
        if slow or estimate(mode, columns, <const real *> source + start, target + start, line, c, length, infinity):
            settle(mode, columns, source + start, target + start, line, c, length, slow, zero, infinity)
            count += not_finite(source + start, length, infinity, at + <int64_t> start, first)
        start += length
    return count


cdef inline uint64_t quantize_block(
    const bint columns, const carrier *source, uint8_t *target, const Line *line, Py_ssize_t channel, size_t n,
    const real *zero, carrier infinity, int64_t at, int64_t *first
) noexcept nogil:
    """Picks the loops of the rounding mode."""
    if line.mode == NEAREST_EVEN:
        return quantize_mode(NEAREST_EVEN, columns, source, target, line, channel, n, zero, infinity, at, first)
    if line.mode == NEAREST_AWAY:
        return quantize_mode(NEAREST_AWAY, columns, source, target, line, channel, n, zero, infinity, at, first)
    if line.mode == TOWARD_ZERO:
        return quantize_mode(TOWARD_ZERO, columns, source, target, line, channel, n, zero, infinity, at, first)
    if line.mode == TOWARD_POSITIVE:
        return quantize_mode(TOWARD_POSITIVE, columns, source, target, line, channel, n, zero, infinity, at, first)
    if line.mode == TOWARD_NEGATIVE:
        return quantize_mode(TOWARD_NEGATIVE, columns, source, target, line, channel, n, zero, infinity, at, first)
    return quantize_mode(TO_ODD, columns, source, target, line, channel, n, zero, infinity, at, first)


# The loops that exist.

cdef struct Found:
    uint64_t count          # numbers that are not finite
    int64_t first           # index of the first, or −1


ctypedef void (*Quantizer)(
    const void *source, uint8_t *target, const Line *line, Py_ssize_t channel, size_t n, int64_t at, Found *found
) noexcept nogil


cdef loop rows_32(
    const void *source, uint8_t *target, const Line *line, Py_ssize_t channel, size_t n, int64_t at, Found *found
) noexcept nogil:
    found.count += quantize_block(
        False, <const uint32_t *> source, target, line, channel, n, <const float *> NULL, 0x7F800000, at, &found.first
    )


cdef loop rows_64(
    const void *source, uint8_t *target, const Line *line, Py_ssize_t channel, size_t n, int64_t at, Found *found
) noexcept nogil:
    found.count += quantize_block(
        False, <const uint64_t *> source, target, line, channel, n, <const double *> NULL, 0x7FF0000000000000ULL, at,
        &found.first,
    )


cdef loop columns_32(
    const void *source, uint8_t *target, const Line *line, Py_ssize_t channel, size_t n, int64_t at, Found *found
) noexcept nogil:
    found.count += quantize_block(
        True, <const uint32_t *> source, target, line, channel, n, <const float *> NULL, 0x7F800000, at, &found.first
    )


cdef loop columns_64(
    const void *source, uint8_t *target, const Line *line, Py_ssize_t channel, size_t n, int64_t at, Found *found
) noexcept nogil:
    found.count += quantize_block(
        True, <const uint64_t *> source, target, line, channel, n, <const double *> NULL, 0x7FF0000000000000ULL, at,
        &found.first,
    )


cdef class Affine:
    """Quantizes arrays of FP32 or FP64 numbers, or of codes that `widen` turns into those.

    `numbers` are one-dimensional arrays with an entry per channel: numerator, denominator (uint64, below 2^63),
    exponent, zero_point (int32), slow (uint8), and scale, least, most, certain in the carrier's precision.
    """

    cdef Line line
    cdef Stage widen
    cdef int word
    cdef readonly dict numbers
    cdef readonly Py_ssize_t channels

    def __init__(self, int word, Stage widen, int mode, int low, int high, dict numbers not None):
        if word not in (4, 8) or (widen is not None and widen.target_size != word):
            raise ValueError("numbers are words of 4 or 8 bytes, and the stage gives such")
        numbers = dict(numbers)  # keeps the arrays alive, whatever becomes of the caller's
        self.word, self.widen, self.numbers = word, widen, numbers
        self.channels = len(numbers["numerator"])
        if not self.channels:
            raise ValueError("there must be at least one channel")
        for name, dtype in (
            ("numerator", "u8"), ("denominator", "u8"), ("exponent", "i4"), ("zero_point", "i4"), ("slow", "u1"),
            ("scale", f"f{word}"), ("least", f"f{word}"), ("most", f"f{word}"), ("certain", f"f{word}"),
        ):
            array = numbers[name]
            if array.dtype != dtype or array.shape != (self.channels,) or not array.flags.c_contiguous:
                raise ValueError(f"{name} must be a contiguous array of {dtype}, one entry per channel")
        if not numbers["denominator"].all() or (numbers["numerator"] | numbers["denominator"]).max() >> 63:
            raise ValueError("numerator and denominator must lie below 2^63, the denominator not zero")
        self.line.mode, self.line.low, self.line.high = mode, low, high
        self.line.numerator = <const uint64_t *> cnp.PyArray_DATA(numbers["numerator"])
        self.line.denominator = <const uint64_t *> cnp.PyArray_DATA(numbers["denominator"])
        self.line.exponent = <const int32_t *> cnp.PyArray_DATA(numbers["exponent"])
        self.line.zero_point = <const int32_t *> cnp.PyArray_DATA(numbers["zero_point"])
        self.line.slow = <const uint8_t *> cnp.PyArray_DATA(numbers["slow"])
        self.line.scale = cnp.PyArray_DATA(numbers["scale"])
        self.line.least = cnp.PyArray_DATA(numbers["least"])
        self.line.most = cnp.PyArray_DATA(numbers["most"])
        self.line.certain = cnp.PyArray_DATA(numbers["certain"])
        self.line.any_slow = bool(numbers["slow"].any())

    def run(
        self, cnp.ndarray source not None, cnp.ndarray target not None, Py_ssize_t inner, Py_ssize_t start=0,
        Py_ssize_t stop=-1,
    ):
        """Quantize the numbers start to stop of a contiguous array into bytes.

        Number i belongs to channel (i // inner) % channels. Returns how many are not finite, and the index of the first
        or −1; infinities have got the end codes and NaN the code nearest the zero point.
        """
        cdef Py_ssize_t size = cnp.PyArray_SIZE(source), item = cnp.PyArray_ITEMSIZE(source)
        cdef int expected = self.word if self.widen is None else self.widen.source_size
        cdef Found found
        if stop < 0:
            stop = size
        if (
            item != expected or cnp.PyArray_ITEMSIZE(target) != 1 or cnp.PyArray_SIZE(target) != size or inner < 1
            or not 0 <= start <= stop <= size
            or not (cnp.PyArray_IS_C_CONTIGUOUS(source) and cnp.PyArray_IS_C_CONTIGUOUS(target))
            or not cnp.PyArray_ISWRITEABLE(target)
        ):
            raise ValueError("source and target must be contiguous and of one size, the target of bytes")
        found.count, found.first = 0, -1
        with nogil:
            self.quantize(
                cnp.PyArray_BYTES(source), item, <uint8_t *> cnp.PyArray_DATA(target), inner, start, stop,
                size >= STREAMING, &found,
            )
        return found.count, found.first

    cdef void quantize(
        self, const char *source, Py_ssize_t item, uint8_t *target, Py_ssize_t inner, Py_ssize_t start, Py_ssize_t stop,
        bint streaming, Found *found
    ) noexcept nogil:
        cdef char memory[9 * BLOCK + 64]
        cdef char *scratch = <char *> ((<size_t> memory + 63) & ~(<size_t> 63))
        cdef uint8_t *written
        cdef const char *read
        cdef Tally silent
        cdef bint columns = inner == 1 and self.channels > 1
        cdef Py_ssize_t at = start, channel, n
        cdef Quantizer loop_of
        if columns:
            loop_of = <Quantizer> columns_32 if self.word == 4 else <Quantizer> columns_64
        else:
            loop_of = <Quantizer> rows_32 if self.word == 4 else <Quantizer> rows_64
        while at < stop:
            channel = (at // inner) % self.channels
            n = self.channels - channel if columns else inner - at % inner
            n = n if n < BLOCK else BLOCK
            n = n if n < stop - at else stop - at
            read = source + at * item
            if self.widen is not None:
                self.widen.block(read, scratch, NULL, self.widen.row, &silent, n)
                read = scratch
            written = <uint8_t *> scratch + 8 * BLOCK if streaming else target + at
            loop_of(read, written, &self.line, channel, n, at, found)
            if streaming:
                stream_block(<char *> target + at, <const char *> written, n)
            at += n
        if streaming:
            stream_end()
