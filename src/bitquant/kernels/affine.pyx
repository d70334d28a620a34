"""The linear mapping of quantization: code = round(x · scale + zero_point), exact.

# Design:
# (A) scale is an exact rational, numerator / denominator · 2^exponent, and the sum is rounded once. What decides is a
#     128-bit integer division (rational.pxd).
# (B) A product in the precision of the numbers proposes the code (propose.pxd). Its error is known; where the product
#     lies farther than that from every boundary between two codes, the proposal is right. A run of 256 numbers says by
#     one comparison of its worst distance whether it holds a number in doubt. About one run of FP32 numbers in fifty
#     does: FP64 products then propose again for the whole run, and what is still in doubt goes to the integers.
# (C) The product uses the floating point unit, but the result never depends on its state: the error bound covers
#     every rounding mode and flush-to-zero (scales for which it does not get the bound 0, which every distance
#     reaches), and a distance is compared as an integer, so NaN counts as far.
# (D) Parameters are arrays with an entry per channel; blocking.pxd says which numbers are whose. What a channel's
#     proposals need follows from them by a few operations, done once for a piece of memory that has one channel. Where
#     each number of a piece has its own (`columns`), they are tables, made beforehand.
# (E) What a mode shifts before and corrects after is data. There are loops for the modes that correct nothing (the
#     nearest ones, which differ only in ties, which are always in doubt, and those that round up or down), and for the
#     two that do.
# (F) The most frequent case, FP32 numbers of one channel whose mode corrects nothing, is proposed in fixed point
#     (propose.pxd, Design D): one addition takes in zero point and shift, and what is left for a number is an integer
#     clamp, a shift and the two comparisons that find doubt. With eight bits of code the fraction has fifteen, so the
#     sum is off by 2^-15 at most, and where it is not finite it says so itself. About one run in sixty has a number in
#     doubt; such numbers are marked, and FP64 products propose again for those alone.
"""

cimport numpy as cnp

from bitquant.kernels.arrays cimport entries, terms
from bitquant.kernels.blocking cimport Blocking, Blocks, Walk, piece, walk_from, walk_on
from bitquant.kernels.fields cimport significand32, significand64
from bitquant.kernels.machine cimport (
    bits_of_double, bits_of_float, carrier, double_of_bits, float_of_bits, int32_t, int64_t, loop, rounds_to_nearest,
    stream_block, stream_end, uint8_t, uint32_t, uint64_t,
)
from bitquant.kernels.propose cimport FIXED, FIXED_ONE, fixed, larger, nearly_scale, propose, real, smaller
from bitquant.kernels.rational cimport rounded_sum
from bitquant.kernels.rounding cimport (
    NEAREST_AWAY, NEAREST_EVEN, TO_ODD, TOWARD_POSITIVE, TOWARD_ZERO, Mode,
)
from bitquant.kernels.stage cimport BLOCK, RUN, STREAMING, Stage, Tally

import numpy as np

cnp.import_array()

cdef enum:
    MARKS = RUN // 8        # words for a byte per number of a run

ctypedef fused origin:
    float
    double

# The parameters of all channels.
cdef struct Line:
    int mode
    int32_t low, high               # the codes' range
    const uint64_t *numerator
    const uint64_t *denominator
    const int32_t *exponent
    const int32_t *zero_point
    # Design E: added before a proposal; and all ones where it is corrected so afterwards.
    double shift
    int32_t to_zero, to_odd
    # Design D, for columns only: four tables each.
    const float *narrow
    const double *wide
    Py_ssize_t channels


# What a proposal needs. `least` and `most` clamp it; a distance of `certain` or more leaves it in doubt.
cdef struct Near:
    double scale, least, most, certain


# What a proposal in fixed point needs, and for which channel; a fraction below `doubtful` leaves it in doubt. The base
# is the sum's, or NaN where there is no scale. `nearest` says how the FPU rounds, `covers` whether `off` and `doubtful`
# hold for all zero points among the codes.
cdef struct Fixed:
    bint nearest, covers
    double off
    Py_ssize_t channel
    float scale, base, sum_base
    int32_t least, most
    uint32_t doubtful


cdef inline double scale_of(const Line *line, Py_ssize_t channel) noexcept nogil:
    return nearly_scale(line.numerator[channel], line.denominator[channel], line.exponent[channel])


cdef inline void prepare(const Line *line, Py_ssize_t channel, bint narrow, Near *near) noexcept nogil:
    """Designs B and C: the scale in FP64, and how far from a boundary it decides; `narrow` for FP32 products.

    How far off a product is: the scale by a unit in the last place, the product by another, and by a third where a
    half is added; in the FPU's nearest mode by half of that. A quarter more covers what FP64 adds to it here. Subnormal
    numbers that the FPU takes for zero are off by less than 2^-126 times the largest scale.
    """
    cdef double zero_point = line.zero_point[channel], scale = scale_of(line, channel)
    cdef double below = zero_point - line.low, above = line.high - zero_point
    cdef double units = 2.25 if line.shift == 0 else 3.25, beyond = 1.25 if line.to_zero | line.to_odd else 0.25
    cdef double error = (larger(larger(below, -below), larger(above, -above)) + 2.0) * units
    error = error * (2.0 ** -23 if narrow else 2.0 ** -52) + (0.0 if narrow else 2.0 ** -25)
    near.least, near.most = -below - beyond, above + beyond
    near.certain = 0.5 - error
    near.scale = scale
    if scale == 0 or error > 0.125:
        near.scale = near.certain = 0.0


cdef inline void prepare_fixed(const Line *line, Py_ssize_t channel, Fixed *point) noexcept nogil:
    """Design F, for codes of up to 8 bits: the scale in FP32, and what is added for the lowest code to be FIXED.

    Most channels share their zero point with the one before, and then all but the scale.
    """
    cdef double scale = scale_of(line, channel)
    if point.channel < 0 or line.zero_point[channel] != line.zero_point[point.channel]:
        prepare_sum(line, line.zero_point[channel], point)
    point.channel = channel
    point.scale = <float> scale
    point.base = point.sum_base if scale != 0 else float_of_bits(0x7FC00000)


cdef inline void prepare_sum(const Line *line, double zero_point, Fixed *point) noexcept nogil:
    """Design F: what is added to a product. Where zero points differ, one bound is found for all among the codes."""
    cdef double below = zero_point - line.low, above = line.high - zero_point, span = below + above
    cdef bint inside = (below >= 0) & (above >= 0)
    if not (inside and point.covers):
        point.covers = inside and point.channel >= 0
        bound_sum(line, span if point.covers else below, span if point.covers else above, point)
    point.sum_base = <float> (FIXED + 0.5 + line.shift + below + point.off)
    point.least = <int32_t> bits_of_float(<float> (FIXED + 0.5))
    point.most = point.least + (line.high - line.low) * <int32_t> FIXED_ONE


cdef inline void bound_sum(const Line *line, double below, double above, Fixed *point) noexcept nogil:
    """Design F: what a sum may be off, for a zero point so far from the ends, and the fractions that leave it in doubt.

    Every step of a proposal is monotonic, so only the boundaries between two codes matter. How far off the sum is
    there: scale and product by two units in the last place of the product, and the sum by one of the fraction, whatever
    the FPU's rounding mode; by half of that where it rounds to nearest, which leaves half as many numbers in doubt.
    2^-25 covers what FP64 adds to it here and subnormal numbers that the FPU takes for zero. So much, rounded up to
    what the base can hold, is added too: a sum that exceeds an integer by less than twice that may belong on its other
    side. Where that is all of the fraction, every number is in doubt.
    """
    cdef double shift = line.shift, base = FIXED + 0.5 + shift + below, unit
    cdef double farthest = larger(larger(below, -below), larger(above, -above)) - 0.5 + larger(shift, -shift)
    cdef double error = (farthest * 2.0 ** -22 + 1.0 / FIXED_ONE) * (0.5 if point.nearest else 1.0)
    unit = double_of_bits(((bits_of_double(larger(base, -base) + 1.0) >> 52) - 23) << 52)
    unit = larger(unit, 1.0 / FIXED_ONE)
    point.off = (<double> <int64_t> ((error + 2.0 ** -25) / unit) + 1.0) * unit
    point.doubtful = <uint32_t> smaller(2.0 * point.off * FIXED_ONE, FIXED_ONE)


cdef inline int32_t exact(carrier bits, const Line *line, Py_ssize_t channel) noexcept nogil:
    """Design A: the code of one finite number."""
    cdef int64_t result
    cdef carrier magnitude
    if carrier is uint32_t:
        magnitude = bits & 0x7FFFFFFF
        result = rounded_sum(
            <Mode> line.mode, bits >> 31, significand32(magnitude),
            <int32_t> ((magnitude if magnitude > 0x800000 else 0x800000) >> 23) - 150 + line.exponent[channel],
            line.numerator[channel], line.denominator[channel], line.zero_point[channel],
        )
    else:
        magnitude = bits & 0x7FFFFFFFFFFFFFFFULL
        result = rounded_sum(
            <Mode> line.mode, bits >> 63, significand64(magnitude),
            <int32_t> ((magnitude if magnitude > 0x10000000000000ULL else 0x10000000000000ULL) >> 52) - 1075
            + line.exponent[channel],
            line.numerator[channel], line.denominator[channel], line.zero_point[channel],
        )
    return clamped(result, line)


cdef inline int32_t clamped(int64_t q, const Line *line) noexcept nogil:
    return line.low if q < line.low else line.high if q > line.high else <int32_t> q


cdef inline int32_t corrected(int32_t q, int32_t to_zero, int32_t to_odd, int32_t low, int32_t high) noexcept nogil:
    """Design E: from the integer below to the one that the mode wants."""
    q = q + (<int32_t> (q < 0) & to_zero) + (~q & 1 & to_odd)
    q = low if low > q else q
    return high if high < q else q


cdef inline bint estimate_fixed(
    const float *source, uint8_t *target, const Line *line, size_t n, const Fixed *point
) noexcept nogil:
    """Design F: proposals for a run. Returns whether any of them may be in doubt, or not finite.

    An exponent of all ones shows in the bits of all sums together. Those of finite ones can make it up, but seldom do:
    most lie within the codes and share one exponent.
    """
    cdef float scale = point.scale, base = point.base
    cdef int32_t least = point.least, most = point.most, low = line.low, q
    cdef uint32_t fraction, smallest = 0xFFFFFFFF, total, together = 0
    cdef size_t i
    for i in range(n):
        q = fixed(source[i] * scale, base, least, most, &fraction, &total)
        target[i] = <uint8_t> (q + low)
        smallest = smallest if smallest < fraction else fraction
        together = together | total
    return (smallest < point.doubtful) | (together & 0x7F800000 == 0x7F800000)


cdef inline bint estimate(
    const bint corrects, const bint columns, const origin *source, uint8_t *target, const Line *line,
    Py_ssize_t channel, size_t n, const Near *near, const real *table, carrier infinity
) noexcept nogil:
    """Design B: proposals for a run. Returns whether any of them is in doubt, or not finite.

    `table` has scale, least, most and certain, one row each, where there are columns; its type is the precision.
    """
    cdef const real *scales = table + channel
    cdef const real *leasts = scales + line.channels
    cdef const real *mosts = leasts + line.channels
    cdef const real *certains = mosts + line.channels
    cdef const int32_t *offsets = line.zero_point + channel
    cdef real scale = <real> near.scale, least = <real> near.least, most = <real> near.most
    cdef real certain = <real> near.certain, u, shift = <real> line.shift
    cdef int32_t q, offset = 0, low = line.low, high = line.high, to_zero = line.to_zero, to_odd = line.to_odd
    cdef carrier magnitude, magnitudes = ~(<carrier> 0) >> 1, largest = 0
    cdef uint32_t away32, bound32 = bits_of_float(<float> certain), doubt32 = 0
    cdef uint64_t away64, bound64 = bits_of_double(certain), doubt64 = 0
    cdef size_t i
    if not columns:
        offset = offsets[0]
    for i in range(n):
        if columns:
            scale, least, most, certain, offset = scales[i], leasts[i], mosts[i], certains[i], offsets[i]
        u = <real> source[i] * scale + shift
        if real is float:
            q = propose(NEAREST_EVEN, u, least, most, offset, &away32)
            if columns:
                doubt32 = doubt32 | <uint32_t> (away32 >= bits_of_float(certain))
            else:
                doubt32 = doubt32 if doubt32 > away32 else away32
        else:
            q = propose(NEAREST_EVEN, u, least, most, offset, &away64)
            if columns:
                doubt64 = doubt64 | <uint64_t> (<int64_t> away64 >= <int64_t> bits_of_double(certain))
            else:
                doubt64 = doubt64 | <uint64_t> (<int64_t> away64 >= <int64_t> bound64)
        target[i] = <uint8_t> (corrected(q, to_zero, to_odd, low, high) if corrects else q)
        if origin is float:
            magnitude = bits_of_float(source[i]) & magnitudes
        else:
            magnitude = bits_of_double(source[i]) & magnitudes
        largest = largest if largest > magnitude else magnitude
    if real is float and not columns:
        doubt32 = doubt32 >= bound32
    return (doubt32 != 0) | (doubt64 != 0) | (largest >= infinity)


cdef inline uint8_t settled(origin number, const Line *line, Py_ssize_t channel, const Near *near) noexcept nogil:
    """The code of one number, which may be in doubt even for FP64, or not finite."""
    cdef uint64_t away
    cdef int32_t q
    if origin is float:
        if bits_of_float(number) & 0x7FFFFFFF > 0x7F800000:
            return <uint8_t> clamped(line.zero_point[channel], line)
        if bits_of_float(number) & 0x7FFFFFFF == 0x7F800000:
            return <uint8_t> (line.low if bits_of_float(number) >> 31 else line.high)
    else:
        if bits_of_double(number) & 0x7FFFFFFFFFFFFFFFULL > 0x7FF0000000000000ULL:
            return <uint8_t> clamped(line.zero_point[channel], line)
        if bits_of_double(number) & 0x7FFFFFFFFFFFFFFFULL == 0x7FF0000000000000ULL:
            return <uint8_t> (line.low if bits_of_double(number) >> 63 else line.high)
    q = propose(
        NEAREST_EVEN, <double> number * near.scale + line.shift, near.least, near.most, line.zero_point[channel], &away
    )
    if away < bits_of_double(near.certain):
        return <uint8_t> corrected(q, line.to_zero, line.to_odd, line.low, line.high)
    if origin is float:
        return <uint8_t> exact(bits_of_float(number), line, channel)
    else:
        return <uint8_t> exact(bits_of_double(number), line, channel)


cdef inline void count(origin number, int64_t at, Found *found) noexcept nogil:
    """Counts a number that is not finite."""
    cdef bint finite
    if origin is float:
        finite = bits_of_float(number) & 0x7FFFFFFF < 0x7F800000
    else:
        finite = bits_of_double(number) & 0x7FFFFFFFFFFFFFFFULL < 0x7FF0000000000000ULL
    if not finite:
        found.first = at if found.first < 0 else found.first
        found.count += 1


cdef inline void settle(
    const bint columns, const origin *source, uint8_t *target, const Line *line, Py_ssize_t channel, size_t n,
    int64_t at, Found *found
) noexcept nogil:
    """A run that holds a number in doubt even for FP64, or one that is not finite."""
    cdef Near near
    cdef Py_ssize_t c = channel
    cdef size_t i
    prepare(line, channel, False, &near)
    for i in range(n):
        if columns:
            c = channel + <Py_ssize_t> i
            prepare(line, c, False, &near)
        target[i] = settled(source[i], line, c, &near)
        count(source[i], at + <int64_t> i, found)


cdef inline void mark(const float *source, uint8_t *marks, size_t n, const Fixed *point) noexcept nogil:
    """Design F: which numbers of a run are in doubt, or not finite."""
    cdef float scale = point.scale, base = point.base
    cdef int32_t least = point.least, most = point.most
    cdef uint32_t fraction, total, doubtful = point.doubtful
    cdef size_t i
    for i in range(n):
        fixed(source[i] * scale, base, least, most, &fraction, &total)
        marks[i] = (fraction < doubtful) | (total & 0x7FFFFFFF >= 0x7F800000)


cdef inline void settle_marked(
    const float *source, uint8_t *target, const Line *line, size_t n, const Fixed *point, int64_t at, Found *found
) noexcept nogil:
    """Design F: the numbers of a run that its proposals in fixed point leave in doubt, or that are not finite."""
    cdef uint64_t words[MARKS]
    cdef uint8_t *marks = <uint8_t *> words
    cdef Near near
    cdef size_t i, k
    words[(n - 1) // 8] = 0
    mark(source, marks, n, point)
    prepare(line, point.channel, False, &near)
    for k in range((n + 7) // 8):
        if words[k]:
            for i in range(8 * k, 8 * k + 8):
                if marks[i]:
                    target[i] = settled(source[i], line, point.channel, &near)
                    count(source[i], at + <int64_t> i, found)


cdef inline void quantize_piece(
    const bint corrects, const bint columns, const origin *source, uint8_t *target, const Line *line,
    Py_ssize_t channel, size_t n, size_t room, carrier infinity, int64_t at, Fixed *point, Found *found
) noexcept nogil:
    """Numbers of one channel, or with columns of successive ones, run by run.

    A vector loop has 64 codes at a time. A run that ends in between goes on into what follows, where there is room,
    and what follows is then done again.
    """
    cdef size_t start = 0, length, whole
    cdef Near near, fine
    cdef Py_ssize_t c = channel
    cdef bint doubt
    if origin is float and not columns and not corrects:
        if point.channel != channel:
            prepare_fixed(line, channel, point)
    else:
        prepare(line, channel, origin is float, &near)
    while start < n:
        length = n - start if n - start < RUN else RUN
        whole = (length + 63) & ~(<size_t> 63)
        whole = whole if not columns and start + whole <= room else length
        if columns:
            c = channel + <Py_ssize_t> start
        if origin is float and not columns and not corrects:
            doubt = estimate_fixed(source + start, target + start, line, whole, point)
            if doubt:
                settle_marked(source + start, target + start, line, length, point, at + <int64_t> start, found)
        else:
            if origin is float:
                doubt = estimate(
                    corrects, columns, source + start, target + start, line, c, whole, &near, line.narrow, infinity
                )
                if doubt:
                    prepare(line, channel, False, &fine)
                    doubt = estimate(
                        corrects, columns, source + start, target + start, line, c, length, &fine, line.wide, infinity
                    )
            else:
                doubt = estimate(
                    corrects, columns, source + start, target + start, line, c, whole, &near, line.wide, infinity
                )
            if doubt:
                settle(columns, source + start, target + start, line, c, length, at + <int64_t> start, found)
        start += length


cdef inline void quantize_block(
    const bint columns, const origin *source, uint8_t *target, const Line *line, const Blocking *blocking, Walk *walk,
    size_t n, carrier infinity, Fixed *point, Found *found
) noexcept nogil:
    """A block of memory, piece by piece (Design D), by the loops of the mode (Design E)."""
    cdef size_t done = 0
    cdef Py_ssize_t length
    while done < n:
        length = piece(blocking, walk, n - done)
        if line.to_zero | line.to_odd:
            quantize_piece(
                True, columns, source + done, target + done, line, walk.channel, length, n - done, infinity, walk.at,
                point, found,
            )
        else:
            quantize_piece(
                False, columns, source + done, target + done, line, walk.channel, length, n - done, infinity, walk.at,
                point, found,
            )
        walk_on(blocking, walk, length)
        done += length


# The loops that exist.

cdef struct Found:
    uint64_t count          # numbers that are not finite
    int64_t first           # index of the first, or −1


ctypedef void (*Quantizer)(
    const void *source, uint8_t *target, const Line *line, const Blocking *blocking, Walk *walk, size_t n, Fixed *point,
    Found *found
) noexcept nogil


cdef loop rows_32(
    const void *source, uint8_t *target, const Line *line, const Blocking *blocking, Walk *walk, size_t n, Fixed *point,
    Found *found
) noexcept nogil:
    quantize_block(False, <const float *> source, target, line, blocking, walk, n, <uint32_t> 0x7F800000, point, found)


cdef loop rows_64(
    const void *source, uint8_t *target, const Line *line, const Blocking *blocking, Walk *walk, size_t n, Fixed *point,
    Found *found
) noexcept nogil:
    quantize_block(
        False, <const double *> source, target, line, blocking, walk, n, <uint64_t> 0x7FF0000000000000ULL, point, found
    )


cdef loop columns_32(
    const void *source, uint8_t *target, const Line *line, const Blocking *blocking, Walk *walk, size_t n, Fixed *point,
    Found *found
) noexcept nogil:
    quantize_block(True, <const float *> source, target, line, blocking, walk, n, <uint32_t> 0x7F800000, point, found)


cdef loop columns_64(
    const void *source, uint8_t *target, const Line *line, const Blocking *blocking, Walk *walk, size_t n, Fixed *point,
    Found *found
) noexcept nogil:
    quantize_block(
        True, <const double *> source, target, line, blocking, walk, n, <uint64_t> 0x7FF0000000000000ULL, point, found
    )


cdef class Affine:
    """Quantizes arrays of FP32 or FP64 numbers, or of codes that `widen` turns into those.

    `numbers` are one-dimensional arrays with an entry per channel: numerator, denominator (uint64, from 1 to below
    2^63), exponent, zero_point (int32).
    """

    cdef Line line
    cdef Blocks blocks
    cdef Stage widen
    cdef Quantizer quantizer
    cdef int word
    cdef readonly dict numbers
    cdef object tables

    def __init__(
        self, int word, Stage widen, int mode, int low, int high, dict numbers not None, Blocks blocks not None
    ):
        cdef Py_ssize_t c, channels = blocks.channels
        cdef Near near
        cdef float *narrow
        cdef double *wide
        if word not in (4, 8) or (widen is not None and widen.target_size != word):
            raise ValueError("numbers are words of 4 or 8 bytes, and the stage gives such")
        numbers = dict(numbers)  # keeps the arrays alive, whatever becomes of the caller's
        self.word, self.widen, self.numbers, self.blocks = word, widen, numbers, blocks
        if not channels:
            raise ValueError("there must be at least one channel")
        self.line.mode, self.line.low, self.line.high = mode, low, high
        self.line.shift = 0.0 if mode in (NEAREST_EVEN, NEAREST_AWAY) else 0.5 if mode == TOWARD_POSITIVE else -0.5
        self.line.to_zero, self.line.to_odd = -(mode == TOWARD_ZERO), -(mode == TO_ODD)
        self.line.numerator = terms(numbers["numerator"], channels)
        self.line.denominator = terms(numbers["denominator"], channels)
        self.line.exponent = <const int32_t *> entries(numbers["exponent"], cnp.NPY_INT32, channels)
        self.line.zero_point = <const int32_t *> entries(numbers["zero_point"], cnp.NPY_INT32, channels)
        self.line.channels = channels
        if blocks.blocking.columns:
            self.tables = np.empty((4, channels), np.float32), np.empty((4, channels))
            narrow = <float *> cnp.PyArray_DATA(self.tables[0])
            wide = <double *> cnp.PyArray_DATA(self.tables[1])
            for c in range(channels):
                prepare(&self.line, c, True, &near)
                narrow[c], narrow[c + channels] = <float> near.scale, <float> near.least
                narrow[c + 2 * channels], narrow[c + 3 * channels] = <float> near.most, <float> near.certain
                prepare(&self.line, c, False, &near)
                wide[c], wide[c + channels] = near.scale, near.least
                wide[c + 2 * channels], wide[c + 3 * channels] = near.most, near.certain
            self.line.wide, self.line.narrow = wide, narrow
            self.quantizer = <Quantizer> columns_32 if word == 4 else <Quantizer> columns_64
        else:
            self.quantizer = <Quantizer> rows_32 if word == 4 else <Quantizer> rows_64

    def run(
        self, cnp.ndarray source not None, cnp.ndarray target not None, Py_ssize_t start=0, Py_ssize_t stop=-1
    ):
        """Quantize the numbers start to stop of a contiguous array into bytes.

        Returns how many are not finite, and the index of the first or −1; infinities have got the end codes and NaN
        the code nearest the zero point.
        """
        cdef Py_ssize_t size = cnp.PyArray_SIZE(source), item = cnp.PyArray_ITEMSIZE(source)
        cdef int expected = self.word if self.widen is None else self.widen.source_size
        cdef Found found
        if stop < 0:
            stop = size
        if (
            item != expected or cnp.PyArray_ITEMSIZE(target) != 1 or cnp.PyArray_SIZE(target) != size
            or not 0 <= start <= stop <= size
            or not (cnp.PyArray_IS_C_CONTIGUOUS(source) and cnp.PyArray_IS_C_CONTIGUOUS(target))
            or not cnp.PyArray_ISWRITEABLE(target)
        ):
            raise ValueError("source and target must be contiguous and of one size, the target of bytes")
        if size != self.blocks.size:
            raise ValueError(f"the array has {size} numbers, its blocks {self.blocks.size}")
        found.count, found.first = 0, -1
        if start < stop:
            with nogil:
                self.quantize(
                    cnp.PyArray_BYTES(source), item, <uint8_t *> cnp.PyArray_DATA(target), start, stop,
                    size >= STREAMING, &found,
                )
        return found.count, found.first

    cdef void quantize(
        self, const char *source, Py_ssize_t item, uint8_t *target, Py_ssize_t start, Py_ssize_t stop,
        bint streaming, Found *found
    ) noexcept nogil:
        cdef char memory[9 * BLOCK + 64]
        cdef char *scratch = <char *> ((<size_t> memory + 63) & ~(<size_t> 63))
        cdef uint8_t *written
        cdef const char *read
        cdef Tally silent
        cdef Walk walk
        cdef Fixed point
        cdef Py_ssize_t at = start, n
        point.nearest, point.covers, point.channel = rounds_to_nearest(), False, -1
        walk_from(&self.blocks.blocking, start, &walk)
        while at < stop:
            n = stop - at if stop - at < BLOCK else BLOCK
            read = source + at * item
            if self.widen is not None:
                self.widen.block(read, scratch, NULL, self.widen.row, &silent, n)
                read = scratch
            written = <uint8_t *> scratch + 8 * BLOCK if streaming else target + at
            self.quantizer(read, written, &self.line, &self.blocks.blocking, &walk, n, &point, found)
            if streaming:
                stream_block(<char *> target + at, <const char *> written, n)
            at += n
        if streaming:
            stream_end()
