"""A chain of operations on numbers, each rounded by itself: the element rule of another quantizer.

# Design:
# (A) A rule is a list of links: an operation, and the slot of its other operand. A block of numbers stays in the
#     first-level cache while one link after the other is applied to all of it, so that a new rule is a new list and no
#     new loop, and costs little more than a loop of its own would.
# (B) An operand is a number per channel (blocking.pxd). It is spread over the block before the chain starts, so that
#     the links know nothing of layout; a block in the same channel as the one before it finds its operands in place.
# (C) Links always do a whole block, whatever is in its end: no loop has a remainder. Registers and operands are fields
#     of one struct, so that the compiler knows them apart.
# (D) Here floats do decide: their rounding is what the rule is about. The loops run in the default floating point
#     environment (nearest even, nothing flushed), whatever the caller's is, and what a compiler may not change without
#     `-ffast-math` gives the same bits on every CPU. float16 and bfloat16 are numbers of the FP32 register whose bits
#     are rounded after each operation. That is one rounding: the sum, product and quotient of two numbers of p digits
#     may first be rounded to 2p + 2 digits or more (Figueroa 1995); so is FP32 in the FP64 register.
# (E) An integer is rounded to by adding and subtracting 2^23 (2^52), which all CPUs do, in vectors.
"""

from libc.math cimport fma, fmaf
from libc.string cimport memcpy, memset

cimport numpy as cnp

from bitquant.kernels.arrays cimport entries
from bitquant.kernels.blocking cimport Blocking, Blocks, Walk, piece, walk_from, walk_on
from bitquant.kernels.machine cimport (
    bits_of_float, float_of_bits, int8_t, int16_t, int32_t, loop, select, stream_block,
    stream_end, uint8_t, uint16_t, uint32_t, uint64_t,
)
from bitquant.kernels.propose cimport larger, real, smaller
from bitquant.kernels.stage cimport STREAMING, Stage, Tally

cnp.import_array()

cdef extern from "<fenv.h>" nogil:
    ctypedef struct fenv_t:
        pass
    const fenv_t *FE_DFL_ENV
    int fegetenv(fenv_t *environment)
    int fesetenv(const fenv_t *environment)

cdef enum:
    SIZE = 512              # numbers in a block: register and operands fit the first-level cache
    SLOTS = 6
    MOST_LINKS = 48
    PAGE = 4096

cdef enum Operation:
    ADD, SUBTRACT, SUBTRACT_FROM, MULTIPLY, DIVIDE, LARGER, SMALLER, LARGER_OR_LIMIT, SMALLER_OR_LIMIT
    MAGNITUDE, NEGATE, ROUND_EVEN, ROUND_AWAY, FLOOR, TRUNCATE, TO_FLOAT32, TO_FLOAT16, TO_BFLOAT16, TO_INTEGER
    FROM_INTEGER, INTEGER_ADD, INTEGER_SUBTRACT, INTEGER_SUBTRACT_FROM, INTEGER_MULTIPLY, INTEGER_LARGER
    INTEGER_SMALLER, MULTIPLY_ADD, HELD_64, LOW_32, CLAMP, CLAMP_OR_LIMIT

OPERATIONS = {
    "add": ADD, "subtract": SUBTRACT, "subtract_from": SUBTRACT_FROM, "multiply": MULTIPLY, "divide": DIVIDE,
    "max": LARGER, "min": SMALLER, "fmax": LARGER_OR_LIMIT, "fmin": SMALLER_OR_LIMIT, "abs": MAGNITUDE,
    "negate": NEGATE, "round_even": ROUND_EVEN, "round_away": ROUND_AWAY, "floor": FLOOR, "trunc": TRUNCATE,
    "to_float32": TO_FLOAT32, "to_float16": TO_FLOAT16, "to_bfloat16": TO_BFLOAT16, "to_int32": TO_INTEGER,
    "from_int32": FROM_INTEGER, "int_add": INTEGER_ADD, "int_subtract": INTEGER_SUBTRACT,
    "int_subtract_from": INTEGER_SUBTRACT_FROM, "int_multiply": INTEGER_MULTIPLY, "int_max": INTEGER_LARGER,
    "int_min": INTEGER_SMALLER, "fma": MULTIPLY_ADD, "held64": HELD_64, "low32": LOW_32, "clamp": CLAMP,
    "fclamp": CLAMP_OR_LIMIT,
}
MOST = MOST_LINKS, SLOTS


cdef struct Link:
    int operation
    int slot
    int second              # of an operation with three operands

# Design C: one block of numbers, as floats and as integers, and its operands, which are either.
cdef struct Single:
    float u[SIZE]
    int32_t q[SIZE]
    float p[SLOTS][SIZE]
    int32_t k[SLOTS][SIZE]

cdef struct Double:
    double u[SIZE]
    int32_t q[SIZE]
    double p[SLOTS][SIZE]
    int32_t k[SLOTS][SIZE]

# All that a run needs, and room to begin where it is best: one cache line before the source's, in its page. A load is
# held up by an earlier store whose address has the same low twelve bits. The first link loads a little ahead of what it
# stores; from there no load meets a store. Wherever the stack happened to be, one run in four took half as long again.
cdef struct Memory:
    Double registers
    char written[8 * SIZE]
    char widened[8 * SIZE]
    char room[PAGE]

ctypedef fused registers:
    Single
    Double


# One number.

cdef inline real magnitude(real u) noexcept nogil:
    return u if u > -u else -u


cdef inline real signed_as(real u, real sign) noexcept nogil:
    """A magnitude with the sign of a number; whose zero, or NaN, leaves it as it is."""
    return -u if sign < 0 else u


cdef inline real nearest(real u) noexcept nogil:
    """Design E: a magnitude to the nearest integer, ties to even; NaN and what has no fraction stay."""
    cdef real magic = 8388608.0 if real is float else 4503599627370496.0
    return (u + magic) - magic if u < magic else u


cdef inline real below(real u) noexcept nogil:
    """The integer not above a magnitude."""
    cdef real rounded = nearest(u)
    return rounded - <real> (rounded > u)


cdef inline real away(real u) noexcept nogil:
    """A magnitude to the nearest integer, a tie up: only one that went down is left with a half, exactly."""
    cdef real rounded = nearest(u)
    return rounded + <real> (u - rounded >= <real> 0.5)


cdef inline real floored(real u) noexcept nogil:
    cdef real rounded = signed_as(nearest(magnitude(u)), u)
    return rounded - <real> (rounded > u)


cdef inline uint32_t fits(real u) noexcept nogil:
    """Whether an int32 that is not the lowest holds a number, cut towards zero."""
    return (u > <real> -2147483648.0) & (u < <real> 2147483648.0)


cdef inline int32_t integer_of(real u) noexcept nogil:
    """Towards zero; NaN and what int32 does not hold give −2^31, as x86's CVTTPS2DQ does."""
    cdef uint32_t held = fits(u)
    cdef real kept = u if u > <real> -2147483648.0 else <real> 0.0
    kept = kept if u < <real> 2147483648.0 else <real> 0.0
    return <int32_t> select[uint32_t](held, <uint32_t> <int32_t> kept, (<uint32_t> 1) << 31)


cdef inline real held(real u) noexcept nogil:
    """The number, or −2^63 for NaN and what int64 does not hold."""
    cdef real least = -9223372036854775808.0, kept = u if u > least else least
    return kept if kept < -least else least


cdef inline int32_t low_word(real u) noexcept nogil:
    """The low 32 bits of the int64 that a whole number is; those of −2^63 where int64 does not hold it."""
    cdef real word = 4294967296.0, whole = held(u)
    whole = whole - floored(whole / word) * word
    return <int32_t> (whole - word if whole >= word / 2 else whole)


cdef inline float half(float u) noexcept nogil:
    """To float16. Below 2^-14 its spacing is that of FP32 numbers in [½, 1)."""
    cdef uint32_t bits = bits_of_float(u), plain = bits & 0x7FFFFFFF, rounded, small
    rounded = (plain + 0xFFF + (plain >> 13 & 1)) >> 13 << 13
    rounded = select[uint32_t](rounded > 0x477FE000, 0x7F800000, rounded)
    small = bits_of_float((float_of_bits(plain) + <float> 0.5) - <float> 0.5)
    rounded = select[uint32_t](plain < 0x38800000, small, rounded)
    rounded = select[uint32_t](plain > 0x7F800000, plain, rounded)
    return float_of_bits(rounded | (bits ^ plain))


cdef inline float brain(float u) noexcept nogil:
    """To bfloat16."""
    cdef uint32_t bits = bits_of_float(u), plain = bits & 0x7FFFFFFF, rounded
    rounded = (plain + 0x7FFF + (plain >> 16 & 1)) >> 16 << 16
    rounded = select[uint32_t](plain > 0x7F800000, plain, rounded)
    return float_of_bits(rounded | (bits ^ plain))


cdef inline real multiply_add(real u, real a, real b) noexcept nogil:
    """u · a + b, rounded once: an instruction where the CPU has it, else the C library's."""
    if real is float:
        return fmaf(u, a, b)
    else:
        return fma(u, a, b)


# A block.

cdef inline bint all_fit(const registers *r) noexcept nogil:
    """Whether an int32 holds each number, as it nearly always does."""
    cdef uint32_t fit = 1
    cdef int i
    for i in range(<int> SIZE):
        fit &= fits(r.u[i])
    return fit


cdef inline void link(registers *r, int operation, int s, int t) noexcept nogil:
    """Apply one link to the block. Integers wrap."""
    cdef int i
    if operation == ADD:
        for i in range(<int> SIZE):
            r.u[i] = r.u[i] + r.p[s][i]
    elif operation == SUBTRACT:
        for i in range(<int> SIZE):
            r.u[i] = r.u[i] - r.p[s][i]
    elif operation == SUBTRACT_FROM:
        for i in range(<int> SIZE):
            r.u[i] = r.p[s][i] - r.u[i]
    elif operation == MULTIPLY:
        for i in range(<int> SIZE):
            r.u[i] = r.u[i] * r.p[s][i]
    elif operation == DIVIDE:
        for i in range(<int> SIZE):
            r.u[i] = r.u[i] / r.p[s][i]
    elif operation == LARGER:
        for i in range(<int> SIZE):
            r.u[i] = larger(r.p[s][i], r.u[i])
    elif operation == SMALLER:
        for i in range(<int> SIZE):
            r.u[i] = smaller(r.p[s][i], r.u[i])
    elif operation == LARGER_OR_LIMIT:
        for i in range(<int> SIZE):
            r.u[i] = larger(r.u[i], r.p[s][i])
    elif operation == SMALLER_OR_LIMIT:
        for i in range(<int> SIZE):
            r.u[i] = smaller(r.u[i], r.p[s][i])
    elif operation == CLAMP:
        for i in range(<int> SIZE):
            r.u[i] = smaller(r.p[t][i], larger(r.p[s][i], r.u[i]))
    elif operation == CLAMP_OR_LIMIT:
        for i in range(<int> SIZE):
            r.u[i] = smaller(larger(r.u[i], r.p[s][i]), r.p[t][i])
    elif operation == MAGNITUDE:
        for i in range(<int> SIZE):
            r.u[i] = magnitude(r.u[i])
    elif operation == NEGATE:
        for i in range(<int> SIZE):
            r.u[i] = -r.u[i]
    elif operation == ROUND_EVEN:
        for i in range(<int> SIZE):
            r.u[i] = signed_as(nearest(magnitude(r.u[i])), r.u[i])
    elif operation == ROUND_AWAY:
        for i in range(<int> SIZE):
            r.u[i] = signed_as(away(magnitude(r.u[i])), r.u[i])
    elif operation == FLOOR:
        for i in range(<int> SIZE):
            r.u[i] = floored(r.u[i])
    elif operation == TRUNCATE:
        for i in range(<int> SIZE):
            r.u[i] = signed_as(below(magnitude(r.u[i])), r.u[i])
    elif operation == TO_FLOAT32:
        for i in range(<int> SIZE):
            r.u[i] = <float> r.u[i]
    elif operation == TO_FLOAT16:
        for i in range(<int> SIZE):
            r.u[i] = half(<float> r.u[i])
    elif operation == TO_BFLOAT16:
        for i in range(<int> SIZE):
            r.u[i] = brain(<float> r.u[i])
    elif operation == TO_INTEGER:
        for i in range(<int> SIZE):
            r.q[i] = integer_of(r.u[i])
    elif operation == FROM_INTEGER:
        for i in range(<int> SIZE):
            if registers is Single:
                r.u[i] = <float> r.q[i]
            else:
                r.u[i] = <double> r.q[i]
    elif operation == INTEGER_ADD:
        for i in range(<int> SIZE):
            r.q[i] = <int32_t> (<uint32_t> r.q[i] + <uint32_t> r.k[s][i])
    elif operation == INTEGER_SUBTRACT:
        for i in range(<int> SIZE):
            r.q[i] = <int32_t> (<uint32_t> r.q[i] - <uint32_t> r.k[s][i])
    elif operation == INTEGER_SUBTRACT_FROM:
        for i in range(<int> SIZE):
            r.q[i] = <int32_t> (<uint32_t> r.k[s][i] - <uint32_t> r.q[i])
    elif operation == INTEGER_MULTIPLY:
        for i in range(<int> SIZE):
            r.q[i] = <int32_t> (<uint32_t> r.q[i] * <uint32_t> r.k[s][i])
    elif operation == INTEGER_LARGER:
        for i in range(<int> SIZE):
            r.q[i] = r.q[i] if r.q[i] > r.k[s][i] else r.k[s][i]
    elif operation == INTEGER_SMALLER:
        for i in range(<int> SIZE):
            r.q[i] = r.q[i] if r.q[i] < r.k[s][i] else r.k[s][i]
    elif operation == HELD_64:
        for i in range(<int> SIZE):
            r.u[i] = held(r.u[i])
    elif operation == LOW_32:
        if all_fit(r):
            for i in range(<int> SIZE):
                r.q[i] = integer_of(r.u[i])
        else:
            for i in range(<int> SIZE):
                r.q[i] = low_word(r.u[i])
    elif operation == MULTIPLY_ADD:
        for i in range(<int> SIZE):
            r.u[i] = multiply_add(r.u[i], r.p[s][i], r.p[t][i])


# What a block is read as and written as.
cdef enum Word:
    FLOAT, WIDER, BYTE, SIGNED_BYTE, SHORT, SIGNED_SHORT


cdef inline void read(registers *r, int word, const void *source, size_t n) noexcept nogil:
    """The numbers of a block; the codes as integers."""
    cdef size_t i
    if word == WIDER:
        for i in range(n):
            r.u[i] = (<const float *> source)[i]
    elif word == FLOAT:
        memcpy(r.u, source, n * sizeof(r.u[0]))
    elif word == BYTE:
        for i in range(n):
            r.q[i] = (<const uint8_t *> source)[i]
    elif word == SIGNED_BYTE:
        for i in range(n):
            r.q[i] = (<const int8_t *> source)[i]
    elif word == SHORT:
        for i in range(n):
            r.q[i] = (<const uint16_t *> source)[i]
    else:
        for i in range(n):
            r.q[i] = (<const int16_t *> source)[i]


cdef inline void write(registers *r, int word, void *target) noexcept nogil:
    """The low bits of the integers, or the floats; a whole block."""
    cdef int i
    if word == FLOAT:
        memcpy(target, r.u, sizeof(r.u))
    elif word == WIDER:
        for i in range(<int> SIZE):
            (<float *> target)[i] = <float> r.u[i]
    elif word == BYTE or word == SIGNED_BYTE:
        for i in range(<int> SIZE):
            (<uint8_t *> target)[i] = <uint8_t> r.q[i]
    else:
        for i in range(<int> SIZE):
            (<uint16_t *> target)[i] = <uint16_t> r.q[i]


cdef struct Rule:
    Link links[MOST_LINKS]
    int count
    int from_word, to_word


ctypedef void (*Apply)(void *registers, const Rule *rule, const void *source, void *target, size_t n) noexcept nogil


cdef loop apply_single(void *registers, const Rule *rule, const void *source, void *target, size_t n) noexcept nogil:
    cdef Single *r = <Single *> registers
    cdef int k
    read(r, rule.from_word, source, n)
    for k in range(rule.count):
        link(r, rule.links[k].operation, rule.links[k].slot, rule.links[k].second)
    write(r, rule.to_word, target)


cdef loop apply_double(void *registers, const Rule *rule, const void *source, void *target, size_t n) noexcept nogil:
    cdef Double *r = <Double *> registers
    cdef int k
    read(r, rule.from_word, source, n)
    for k in range(rule.count):
        link(r, rule.links[k].operation, rule.links[k].slot, rule.links[k].second)
    write(r, rule.to_word, target)


# Design B: operands of 4 or 8 bytes, one per channel, and where they go.
cdef struct Operand:
    const char *values
    int word
    size_t place                # of its block among the registers


cdef inline void fill(char *block, const char *value, int word, Py_ssize_t n) noexcept nogil:
    cdef uint32_t four
    cdef uint64_t eight
    cdef Py_ssize_t i
    if word == 4:
        memcpy(&four, value, 4)
        for i in range(n):
            (<uint32_t *> block)[i] = four
    else:
        memcpy(&eight, value, 8)
        for i in range(n):
            (<uint64_t *> block)[i] = eight


cdef Py_ssize_t spread(
    char *registers, const Operand *operands, int count, const Blocking *blocking, Walk *walk, Py_ssize_t n,
    Py_ssize_t held
) noexcept nogil:
    """Put the operands of the next n numbers in place, and move the walk on.

    Returns the one channel whose operands then fill the whole block, or −1; `held` is what the last call returned.
    """
    cdef Py_ssize_t done = 0, length, room, channel = -1
    cdef const char *values
    cdef char *block
    cdef int k, word
    while done < n:
        length = piece(blocking, walk, n - done)
        room = length
        if length == n and not blocking.columns:
            channel, room = walk.channel, SIZE
        if channel < 0 or channel != held:
            for k in range(count):
                word = operands[k].word
                values, block = operands[k].values + walk.channel * word, registers + operands[k].place + done * word
                if blocking.columns:
                    memcpy(block, values, length * word)
                else:
                    fill(block, values, word, room)
        walk_on(blocking, walk, length)
        done += length
    return channel


cdef class Formula:
    """A chain of operations, with operands per channel.

    `links` are an operation's name and the indices of its other operands, or −1; `operands` contiguous arrays
    with an entry per channel, of float32 or float64 (as `word` is 4 or 8) or, for integer operations, of int32. From
    `source` to `target`: "float" stands for the register's own words, "float32" for FP32,
    "uint8", "int8", "uint16", "int16" for codes. Words of the source come out of the stage `widen`, where one is given.
    """

    cdef Rule rule
    cdef Operand operands[SLOTS]
    cdef int count, word, to_size
    cdef Stage widen
    cdef Blocks blocks
    cdef Apply apply
    cdef readonly list values

    def __init__(
        self, int word, list links not None, list operands not None, str source, str target, Blocks blocks not None,
        Stage widen=None,
    ):
        cdef int k, real_type
        words = {
            "float": FLOAT, "float32": WIDER, "uint8": BYTE, "int8": SIGNED_BYTE, "uint16": SHORT,
            "int16": SIGNED_SHORT,
        }
        sizes = {"float": word, "float32": 4, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2}
        if word not in (4, 8) or source not in words or target not in words:
            raise ValueError("the register has words of 4 or 8 bytes; source and target are named as above")
        if len(links) > MOST_LINKS or len(operands) > SLOTS:
            raise ValueError(f"a formula has at most {MOST_LINKS} links and {SLOTS} operands")
        if widen is not None and widen.target_size != sizes[source]:
            raise ValueError("the stage does not give what the source is")
        for k, array in enumerate(operands):
            kind = isinstance(array, cnp.ndarray) and array.dtype == "i4"
            real_type = cnp.NPY_FLOAT32 if word == 4 else cnp.NPY_FLOAT64
            self.operands[k].values = <const char *> entries(
                array, cnp.NPY_INT32 if kind else real_type, blocks.channels
            )
            self.operands[k].word = 4 if kind else word
            if word == 4:
                self.operands[k].place = (
                    <size_t> &(<Single *> NULL).k[k][0] if kind else <size_t> &(<Single *> NULL).p[k][0]
                )
            else:
                self.operands[k].place = (
                    <size_t> &(<Double *> NULL).k[k][0] if kind else <size_t> &(<Double *> NULL).p[k][0]
                )
        for k, (name, slot, second) in enumerate(links):
            if not -1 <= slot < len(operands) or not -1 <= second < len(operands):
                raise ValueError(f"{name} has no operands {slot} and {second}")
            self.rule.links[k].operation = OPERATIONS[name]
            self.rule.links[k].slot, self.rule.links[k].second = max(slot, 0), max(second, 0)
        self.rule.count, self.count = len(links), len(operands)
        self.rule.from_word, self.rule.to_word = words[source], words[target]
        self.word, self.widen, self.values, self.to_size = word, widen, list(operands), sizes[target]
        self.blocks = blocks
        self.apply = <Apply> apply_single if word == 4 else <Apply> apply_double

    def run(self, cnp.ndarray source not None, cnp.ndarray target not None, Py_ssize_t place=0):
        """Apply the chain to contiguous numbers, the first of which is number `place` of the array of the blocks."""
        cdef Py_ssize_t size = cnp.PyArray_SIZE(source), item = cnp.PyArray_ITEMSIZE(source)
        cdef int expected
        cdef fenv_t caller
        if self.widen is not None:
            expected = self.widen.source_size
        else:
            expected = [self.word, 4, 1, 1, 2, 2][self.rule.from_word]
        if (
            item != expected or cnp.PyArray_ITEMSIZE(target) != self.to_size or cnp.PyArray_SIZE(target) != size
            or place < 0 or place + size > self.blocks.size
            or not (cnp.PyArray_IS_C_CONTIGUOUS(source) and cnp.PyArray_IS_C_CONTIGUOUS(target))
            or not cnp.PyArray_ISWRITEABLE(target)
        ):
            raise ValueError("source and target must be contiguous, of one size, and of the formula's words")
        if size == 0:
            return
        with nogil:
            fegetenv(&caller)
            fesetenv(FE_DFL_ENV)
            self.go_through(
                cnp.PyArray_BYTES(source), item, cnp.PyArray_BYTES(target), place, size,
                size * self.to_size >= STREAMING,
            )
            fesetenv(&caller)

    cdef void go_through(
        self, const char *source, Py_ssize_t item, char *target, Py_ssize_t place, Py_ssize_t size, bint streaming
    ) noexcept nogil:
        cdef Memory memory
        cdef size_t line = (<size_t> source & ~<size_t> 63) - 64
        cdef char *registers = <char *> &memory + ((line - <size_t> &memory) & (PAGE - 1))
        cdef char *written = registers + sizeof(Double)
        cdef char *widened = written + 8 * SIZE
        cdef const char *numbers
        cdef const Blocking *blocking = &self.blocks.blocking
        cdef Py_ssize_t at = 0, n, held = -1
        cdef Tally silent
        cdef Walk walk
        memset(&memory, 0, sizeof(memory))
        walk_from(blocking, place, &walk)
        while at < size:
            n = size - at if size - at < SIZE else SIZE
            held = spread(registers, self.operands, self.count, blocking, &walk, n, held)
            numbers = source + at * item
            if self.widen is not None:
                self.widen.block(numbers, widened, NULL, self.widen.row, &silent, n)
                numbers = widened
            self.apply(registers, &self.rule, numbers, written, n)
            if streaming:
                stream_block(target + at * self.to_size, written, n * self.to_size)
            else:
                memcpy(target + at * self.to_size, written, n * self.to_size)
            at += n
        if streaming:
            stream_end()


cdef class DefaultEnvironment:
    """A context in which this thread rounds to nearest even and flushes nothing to zero."""

    cdef fenv_t caller

    def __enter__(self):
        fegetenv(&self.caller)
        fesetenv(FE_DFL_ENV)

    def __exit__(self, *error):
        fesetenv(&self.caller)
