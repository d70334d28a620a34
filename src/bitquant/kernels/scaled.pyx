"""Blocks that share a scale: their largest magnitudes, and numbers divided (or codes multiplied) by a block's step.

What a stage here leaves is rounded by the stages for every format (narrow.pyx, integer.pyx), so a block format needs no
loop of its own. Which block a number belongs to: cut.pxd.

# Design:
# (A) A step that is a power of two moves the exponent field, nothing else. A number that falls below 2^-63 becomes
#     2^-63 with its sign: no element format has a boundary that low, nor one of stochastic rounding's 32 bits below its
#     smallest number, so it rounds as the number would.
# (B) Any other step of at most 28 significant bits (an E4M3 scale times a FP32 scale; a FP16 scale) divides in FP64.
#     Let x have at most 32 significant bits, and b, a number of the format that is rounded to or a midpoint of two, at
#     most 12. x and b·step are then integers below 2^40, each in units of its own last place, and where they are not
#     equal they differ by at least the smaller unit: by more than 2^-41 of either. FP64's quotient is off by less than
#     2^-52 of itself, in any rounding mode, so it lies on the same side of b, and never on it; where x/step is b, the
#     quotient is. One rounding of it is then one rounding of x/step, directed modes included. All numbers are normal
#     in FP64: no flush mode touches them.
# (C) A FP64 source has more bits, and stochastic rounding looks at more: `divide_exactly` takes 128-bit integers to
#     a quotient of 53 bits whose last bit is sticky, which is round to odd with more than two bits to spare.
# (D) An element times a step has at most 36 bits: the FP64 product is exact.
# (E) Where a library's own arithmetic is wanted, `Float32` does one FP32 multiplication or division, and an addition,
#     in the FPU's default state, which it puts back.
"""

cimport numpy as cnp

from bitquant.kernels.cut cimport Shape, Walk, run_of, walk_from, walk_on
from bitquant.kernels.machine cimport (
    bits_of_double, bits_of_float, carrier, double_of_bits, int32_t, int64_t, loop, place, select, uint8_t, uint32_t,
    uint64_t,
)
from bitquant.kernels.quotient cimport divide_exactly
from bitquant.kernels.stage cimport BLOCK, Block, Stage, Tally

cnp.import_array()

cdef extern from "<fenv.h>" nogil:
    ctypedef struct fenv_t:
        pass
    const fenv_t *FE_DFL_ENV
    int fegetenv(fenv_t *environment)
    int fesetenv(const fenv_t *environment)


# --- The largest magnitude of each block --------------------------------------------------------------------

cdef inline carrier magnitude_of(carrier bits, carrier least) noexcept nogil:
    """The magnitude's bits; 0 for one of `least` or more."""
    cdef carrier magnitude = bits & (~(<carrier> 0) >> 1)
    return magnitude & (0 - <carrier> (magnitude < least))


cdef inline void largest_of_run(const carrier *source, carrier *most, carrier end, bint signs, size_t n) noexcept nogil:
    """most[0] becomes the largest magnitude below `end`, of a run and itself; with `signs` the first such number."""
    cdef carrier found = 0, magnitude
    cdef size_t i
    for i in range(n):
        magnitude = magnitude_of(source[i], end)
        found = found if found > magnitude else magnitude
    if found <= magnitude_of(most[0], end):
        return
    most[0] = found
    if signs:
        for i in range(n):
            if magnitude_of(source[i], end) == found:
                most[0] = source[i]
                return


cdef inline void largest_of_columns(
    const carrier *source, carrier *most, carrier end, bint signs, size_t n
) noexcept nogil:
    """The same for one number of each of n blocks."""
    cdef carrier magnitude, given, looked_at = ~(<carrier> 0) >> (not signs)
    cdef size_t i
    for i in range(n):
        magnitude = magnitude_of(source[i], end)
        given = source[i] & looked_at
        most[i] = select[carrier](<carrier> (magnitude > magnitude_of(most[i], end)), given, most[i])


cdef inline void largest(
    const carrier *source, carrier *most, const Shape *shape, Walk *place_of, Py_ssize_t first, carrier end, bint signs,
    size_t n
) noexcept nogil:
    cdef Shape s = shape[0]  # copies, which no store can be thought to change
    cdef Walk walk = place_of[0]
    cdef size_t at = 0, run
    while at < n:
        run = run_of(&s, &walk, n - at)
        if s.inner > 1:
            largest_of_columns(source + at, most + (walk.block - first), end, signs, run)
        elif run == 32:  # a literal length, for most blocks there are: the loop is unrolled
            largest_of_run(source + at, most + (walk.block - first), end, signs, 32)
        else:
            largest_of_run(source + at, most + (walk.block - first), end, signs, run)
        walk_on(&s, &walk, run)
        at += run
    place_of[0] = walk


cdef loop largest_32(
    const void *source, void *most, const Shape *s, Walk *walk, Py_ssize_t first, bint finite, bint signs, size_t n
) noexcept nogil:
    cdef uint32_t infinity = 0x7F800000, end = infinity if finite else ~(<uint32_t> 0)
    largest(<const uint32_t *> source, <uint32_t *> most, s, walk, first, end, signs, n)


cdef loop largest_64(
    const void *source, void *most, const Shape *s, Walk *walk, Py_ssize_t first, bint finite, bint signs, size_t n
) noexcept nogil:
    cdef uint64_t infinity = 0x7FF0000000000000ULL, end = infinity if finite else ~(<uint64_t> 0)
    largest(<const uint64_t *> source, <uint64_t *> most, s, walk, first, end, signs, n)


cdef Shape shape_of(tuple numbers):
    cdef Shape s
    s.length, s.inner, s.block, s.blocks = numbers
    if s.length < 1 or s.inner < 1 or s.block < 1 or s.blocks != (s.length + s.block - 1) // s.block:
        raise ValueError("a shape is (length, inner, block, blocks), all positive, blocks = ceil(length / block)")
    return s


def maxima(
    cnp.ndarray source not None, Stage widen, cnp.ndarray most not None, tuple shape, Py_ssize_t index=0,
    Py_ssize_t start=0, Py_ssize_t stop=-1, Py_ssize_t first=0, bint finite=False, bint signs=False,
):
    """Raise most[block − first] to the largest magnitude of each block, as carrier bits.

    Takes the numbers start to stop of a contiguous array whose number i is `index + i` of the whole. With `finite`,
    infinities and NaN are left out; with `signs`, the first number of that magnitude is given, its sign bit too. Begin
    with zeros.
    """
    cdef Shape s = shape_of(shape)
    cdef Py_ssize_t word = cnp.PyArray_ITEMSIZE(most), item = cnp.PyArray_ITEMSIZE(source), at, n
    cdef Py_ssize_t size = cnp.PyArray_SIZE(source)
    cdef char memory[8 * BLOCK + 64]
    cdef char *scratch = <char *> ((<size_t> memory + 63) & ~(<size_t> 63))
    cdef const char *numbers = cnp.PyArray_BYTES(source)
    cdef void *found = cnp.PyArray_DATA(most)
    cdef const char *read
    cdef Walk walk, end
    cdef Tally silent
    stop = size if stop < 0 else stop
    if (
        word not in (4, 8) or item != (word if widen is None else widen.source_size) or not 0 <= start <= stop <= size
        or index < 0 or (widen is not None and widen.target_size != word) or not cnp.PyArray_ISWRITEABLE(most)
        or not (cnp.PyArray_IS_C_CONTIGUOUS(source) and cnp.PyArray_IS_C_CONTIGUOUS(most))
    ):
        raise ValueError("source and maxima do not fit each other")
    if start == stop:
        return
    walk, end = walk_from(&s, index + start), walk_from(&s, index + stop - 1)
    n = max(walk.block, end.block)
    if s.inner > 1:  # of the rows in between any column
        n = max(n, (end.block // s.inner + 1) * s.inner - 1 if end.block // s.inner > walk.block // s.inner else n)
    if (walk.block if s.inner == 1 else walk.block // s.inner * s.inner) < first or n - first >= cnp.PyArray_SIZE(most):
        raise ValueError("there is no maximum for some of the blocks")
    at = start
    with nogil:
        while at < stop:
            n = stop - at if stop - at < BLOCK else BLOCK
            read = numbers + at * item
            if widen is not None:
                widen.block(read, scratch, NULL, widen.row, &silent, n)
                read = scratch
            if word == 4:
                largest_32(read, found, &s, &walk, first, finite, signs, n)
            else:
                largest_64(read, found, &s, &walk, first, finite, signs, n)
            at += n


# --- Scales that are powers of two --------------------------------------------------------------------------


cdef inline int32_t whole_exponent(uint32_t magnitude) noexcept nogil:
    """FP32's magnitude with an exponent field that goes on below 1, so that a subnormal has its leading one too.

    The conversion of a small integer is exact, and no flush mode touches it.
    """
    cdef int32_t normalised = <int32_t> bits_of_float(<float> <int32_t> magnitude) - (149 << 23)
    return <int32_t> magnitude if magnitude >= 0x800000 else normalised


cdef inline void exponents(
    const carrier *most, uint8_t *codes, int64_t raised, int32_t offset, size_t n, place zero
) noexcept nogil:
    """The E8M0 code ⌊log2(amax)⌋ + offset + 127, one more where the significand and `raised` carry; 0 for zero."""
    cdef place extended, code, up = <place> raised
    cdef int32_t stored = 23 if carrier is uint32_t else 52, bias = 127 - (127 if carrier is uint32_t else 1023)
    cdef size_t i
    for i in range(n):
        if carrier is uint32_t:
            extended = whole_exponent(most[i])
        else:
            extended = <place> most[i]
        code = ((extended + up) >> stored) + bias + offset
        code = code if code > 0 else 0
        code = code if code < 254 else 254
        codes[i] = <uint8_t> (code & (0 - <place> (most[i] != 0)))


cdef loop exponents_32(const void *most, uint8_t *codes, int64_t raised, int32_t offset, size_t n) noexcept nogil:
    exponents(<const uint32_t *> most, codes, raised, offset, n, <int32_t> 0)


cdef loop exponents_64(const void *most, uint8_t *codes, int64_t raised, int32_t offset, size_t n) noexcept nogil:
    exponents(<const uint64_t *> most, codes, raised, offset, n, <int64_t> 0)


def power_scales(cnp.ndarray most not None, cnp.ndarray codes not None, int64_t raised, int32_t offset):
    """E8M0 codes of the steps 2^(⌊log2(amax)⌋ + offset), from the bits of finite FP32 or FP64 magnitudes.

    `raised` is added to the bits first: it carries into the exponent where a rule rounds up.
    """
    cdef Py_ssize_t word = cnp.PyArray_ITEMSIZE(most), n = cnp.PyArray_SIZE(most)
    cdef const void *read = cnp.PyArray_DATA(most)
    cdef uint8_t *write = <uint8_t *> cnp.PyArray_DATA(codes)
    if (
        word not in (4, 8) or cnp.PyArray_ITEMSIZE(codes) != 1 or cnp.PyArray_SIZE(codes) != n
        or not cnp.PyArray_ISWRITEABLE(codes) or not 0 <= raised < (<int64_t> 1) << (23 if word == 4 else 52)
        or not (cnp.PyArray_IS_C_CONTIGUOUS(most) and cnp.PyArray_IS_C_CONTIGUOUS(codes))
    ):
        raise ValueError("maxima and codes do not fit each other")
    with nogil:
        if word == 4:
            exponents_32(read, write, raised, offset, n)
        else:
            exponents_64(read, write, raised, offset, n)


cdef inline carrier moved(carrier bits, place shift) noexcept nogil:
    """Design A: the number divided by 2^(shift >> stored bits)."""
    cdef place extended, tiny
    cdef carrier sign = (<carrier> 1) << (8 * sizeof(carrier) - 1), magnitude = bits & ~sign, infinity, result
    if carrier is uint32_t:
        infinity, tiny = 0x7F800000, 64 << 23
        extended = whole_exponent(magnitude) - shift
    else:
        infinity, tiny = <carrier> 0x7FF0000000000000ULL, <place> (<int64_t> 960 << 52)
        extended = <place> magnitude - shift
    extended = extended if extended > tiny else tiny
    result = select[carrier](<carrier> (magnitude >= infinity), magnitude, <carrier> extended)
    return (result & (0 - <carrier> (magnitude != 0))) | (bits & sign)


# What the stages of this file know.
cdef struct Steps:
    Shape shape
    const void *steps           # of each block: E8M0 codes, or FP64 or FP32 numbers
    Py_ssize_t first            # the block that steps[0] belongs to ...
    Py_ssize_t count            # ... and how many there are
    int32_t offset              # the step is 2^offset times that (E8M0 only)
    bint divides                # by the step, or multiplies
    bint exact                  # Design C
    bint adds                   # `addend` is added then
    float addend


cdef inline bint has_steps(const Steps *row, const Walk *walk, size_t run) noexcept nogil:
    """Whether there are steps for a run; a caller's mistake gives zeros, not what lies beside the steps."""
    cdef Py_ssize_t last = walk.block + (<Py_ssize_t> run - 1 if row.shape.inner > 1 else 0)
    return walk.block >= row.first and last - row.first < row.count


cdef inline void move(
    const carrier *source, carrier *target, const Steps *row, const Tally *tally, size_t n, place zero
) noexcept nogil:
    cdef Shape s = row.shape  # a copy, which no store can be thought to change
    cdef const uint8_t *codes = <const uint8_t *> row.steps - row.first
    cdef Walk walk = walk_from(&s, tally.index)
    cdef place shift, offset = <place> row.offset - 127
    cdef int32_t stored = 23 if carrier is uint32_t else 52
    cdef size_t at = 0, run, i
    while at < n:
        run = run_of(&s, &walk, n - at)
        if not has_steps(row, &walk, run):
            for i in range(run):
                target[at + i] = 0
        elif s.inner > 1:
            for i in range(run):
                shift = (<place> codes[walk.block + <Py_ssize_t> i] + offset) << stored
                target[at + i] = moved(source[at + i], shift)
        else:
            shift = (<place> codes[walk.block] + offset) << stored
            if run == 32:  # a literal length, for most blocks there are: the loop is unrolled
                for i in range(<size_t> 32):
                    target[at + i] = moved(source[at + i], shift)
            else:
                for i in range(run):
                    target[at + i] = moved(source[at + i], shift)
        walk_on(&s, &walk, run)
        at += run


cdef loop move_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    move(<const uint32_t *> source, <uint32_t *> target, <const Steps *> row, tally, n, <int32_t> 0)


cdef loop move_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    move(<const uint64_t *> source, <uint64_t *> target, <const Steps *> row, tally, n, <int64_t> 0)


# --- Any other step -----------------------------------------------------------------------------------------


cdef inline uint64_t scaled(uint64_t bits, double step, const bint divides, const bint exact) noexcept nogil:
    """Designs B, C and D."""
    if exact:
        return divide_exactly(bits, bits_of_double(step))
    if divides:
        return bits_of_double(double_of_bits(bits) / step)
    return bits_of_double(double_of_bits(bits) * step)


cdef inline void scale_block(
    const uint64_t *source, uint64_t *target, const Steps *row, const Tally *tally, size_t n, const bint divides,
    const bint exact
) noexcept nogil:
    cdef Shape s = row.shape
    cdef const double *steps = <const double *> row.steps - row.first
    cdef Walk walk = walk_from(&s, tally.index)
    cdef double step
    cdef size_t at = 0, run, i
    while at < n:
        run = run_of(&s, &walk, n - at)
        if not has_steps(row, &walk, run):
            for i in range(run):
                target[at + i] = 0
        elif s.inner > 1:
            for i in range(run):
                target[at + i] = scaled(source[at + i], steps[walk.block + <Py_ssize_t> i], divides, exact)
        else:
            step = steps[walk.block]
            for i in range(run):
                target[at + i] = scaled(source[at + i], step, divides, exact)
        walk_on(&s, &walk, run)
        at += run


cdef loop scale(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    if (<const Steps *> row).divides:
        scale_block(<const uint64_t *> source, <uint64_t *> target, <const Steps *> row, tally, n, True, False)
    else:
        scale_block(<const uint64_t *> source, <uint64_t *> target, <const Steps *> row, tally, n, False, False)


cdef void scale_exactly(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    scale_block(<const uint64_t *> source, <uint64_t *> target, <const Steps *> row, tally, n, True, True)


# --- A library's own FP32 arithmetic ------------------------------------------------------------------------


cdef inline float computed(float x, float step, const bint divides, const bint adds, float addend) noexcept nogil:
    cdef float y = x / step if divides else x * step
    return y + addend if adds else y


cdef inline void compute(
    const float *source, float *target, const Steps *row, Py_ssize_t index, size_t n, const bint divides,
    const bint adds
) noexcept nogil:
    cdef Shape s = row.shape
    cdef const float *steps = <const float *> row.steps - row.first
    cdef Walk walk = walk_from(&s, index)
    cdef float step, addend = row.addend
    cdef size_t at = 0, run, i
    while at < n:
        run = run_of(&s, &walk, n - at)
        if not has_steps(row, &walk, run):
            for i in range(run):
                target[at + i] = 0
        elif s.inner > 1:
            for i in range(run):
                target[at + i] = computed(source[at + i], steps[walk.block + <Py_ssize_t> i], divides, adds, addend)
        else:
            step = steps[walk.block]
            for i in range(run):
                target[at + i] = computed(source[at + i], step, divides, adds, addend)
        walk_on(&s, &walk, run)
        at += run


cdef loop compute_loops(
    const float *source, float *target, const Steps *row, Py_ssize_t index, size_t n
) noexcept nogil:
    if row.divides and row.adds:
        compute(source, target, row, index, n, True, True)
    elif row.divides:
        compute(source, target, row, index, n, True, False)
    elif row.adds:
        compute(source, target, row, index, n, False, True)
    else:
        compute(source, target, row, index, n, False, False)


cdef void compute_protected(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    """Design E. The calls of <fenv.h> are opaque to the compiler: no load or store moves across them."""
    cdef fenv_t environment
    fegetenv(&environment)
    fesetenv(FE_DFL_ENV)
    compute_loops(<const float *> source, <float *> target, <const Steps *> row, tally.index, n)
    fesetenv(&environment)


cdef class DefaultFPU:
    """Inside a ``with``, this thread's FPU rounds to nearest and flushes nothing; afterwards it is as it was."""

    cdef fenv_t environment

    def __enter__(self):
        fegetenv(&self.environment)
        fesetenv(FE_DFL_ENV)

    def __exit__(self, *error):
        fesetenv(&self.environment)


# --- The stages ---------------------------------------------------------------------------------------------


cdef class ByBlock(Stage):
    """Numbers by the step of their block. Subclasses say how; `steps` holds one per block, from block `first` on."""

    cdef Steps numbers
    cdef cnp.ndarray steps

    def __init__(self, cnp.ndarray steps not None, tuple shape, Py_ssize_t first, str dtype):
        if steps.dtype != dtype or not cnp.PyArray_IS_C_CONTIGUOUS(steps):
            raise ValueError(f"steps are a contiguous array of {dtype}")
        self.steps = steps
        self.numbers.shape = shape_of(shape)
        self.numbers.steps = cnp.PyArray_DATA(steps)
        self.numbers.first, self.numbers.count = first, cnp.PyArray_SIZE(steps)
        self.row = &self.numbers


cdef class Move(ByBlock):
    """FP32 or FP64 bits divided by 2^(code − 127 + offset): E8M0 codes."""

    def __init__(self, int word, cnp.ndarray steps not None, tuple shape, Py_ssize_t first, int32_t offset):
        ByBlock.__init__(self, steps, shape, first, "u1")
        if word not in (4, 8):
            raise ValueError("words of 4 or 8 bytes")
        self.numbers.offset = offset
        self.source_size = self.target_size = word
        self.block = <Block> move_32 if word == 4 else <Block> move_64


cdef class Scale(ByBlock):
    """FP64 bits times a FP64 step, or divided by it; `exact` where x or the rounding after it needs it (Design C)."""

    def __init__(self, cnp.ndarray steps not None, tuple shape, Py_ssize_t first, bint divides, bint exact=False):
        ByBlock.__init__(self, steps, shape, first, "f8")
        self.numbers.divides, self.numbers.exact = divides, exact
        self.source_size = self.target_size = 8
        self.block = <Block> scale_exactly if divides and exact else <Block> scale


cdef class Float32(ByBlock):
    """FP32 numbers times a FP32 step, or divided by it, and then `addend` added where given: Design E."""

    def __init__(self, cnp.ndarray steps not None, tuple shape, Py_ssize_t first, bint divides, addend=None):
        ByBlock.__init__(self, steps, shape, first, "f4")
        self.numbers.divides, self.numbers.adds = divides, addend is not None
        self.numbers.addend = addend or 0.0
        self.source_size = self.target_size = 4
        self.block = compute_protected
