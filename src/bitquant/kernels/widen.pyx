"""Widening: the codes of a format to the bits of FP32 or FP64 that hold every value of it. Exact.

# Design:
# (A) A normal number moves: shift the code into place, add the difference of the biases to the exponent field.
#
#         float16              s eeeee ffffffffff
#         float32              s eeeeeeee ffffffffff0000000000000      e + 112
#
# (B) A number that is subnormal here and normal in the carrier needs its leading one found, which the FPU does when it
#     subtracts. Two patterns are made of each shifted magnitude m, and the smaller is right; `least` is the pattern of
#     the smallest normal number:
#
#         v = m + rebias                         right for a normal number
#         f = (m + least) − least                as numbers: right for a subnormal one
#
#     A subnormal number is t · least with t below 1, which f is; and v is (1 + t) / 2 · least, which is not less. For a
#     normal number m + least is the pattern of 2v, so that f is 2v − least, rounded, which is not less than v. The
#     difference that counts is exact whatever the rounding mode, and a normal number or zero, so that no
#     flush-to-zero touches it; of a zero that comes out as −0 the sign is dropped.
# (C) That loop keeps the largest magnitude of a run of 256. Where that is beyond the largest number, or a code is a NaN
#     that looks like −0 (a loop of its own looks for it), a patch loop writes infinity and NaN over what is there. (As
#     in narrow.pyx.)
# (D) A NaN with a payload keeps it aligned at the top, and its quiet bit; so a later stage still knows that it was
#     signalling. A format's only NaN becomes the quiet one without payload.
# (E) A number that is subnormal in FP64, but has not the same bits there, moves to where 2^-1074 is one.
# The few formats of one byte for which all that is not so are looked up instead (lookup.pyx).
"""

from libc.stdint cimport int8_t, int16_t

from bitquant.kernels.machine cimport (
    bits_of_double, bits_of_float, carrier, code, double_of_bits, float_of_bits, int32_t, int64_t, loop, select,
    uint8_t, uint16_t, uint32_t, uint64_t,
)
from bitquant.kernels.stage cimport RUN, Block, Stage, Tally

ctypedef fused integer:
    int8_t
    uint8_t
    int16_t
    uint16_t
    int32_t
    uint32_t


cdef inline carrier moved(carrier shifted, const Source *s) noexcept nogil:
    """Design B; the sign bit may be set."""
    if carrier is uint32_t:
        return <uint32_t> smaller32(
            <int32_t> bits_of_float(float_of_bits(shifted + <uint32_t> s.raised) - float_of_bits(<uint32_t> s.least)),
            <int32_t> (shifted + <uint32_t> s.rebias),
        )
    else:
        return <uint64_t> smaller64(
            <int64_t> bits_of_double(double_of_bits(shifted + s.raised) - double_of_bits(s.least)),
            <int64_t> (shifted + s.rebias),
        )


cdef inline int32_t smaller32(int32_t a, int32_t b) noexcept nogil:
    return a if a < b else b


cdef inline int64_t smaller64(int64_t a, int64_t b) noexcept nogil:
    return a if a < b else b


cdef inline bint finite(
    const bint nan_like_zero, const code *source, carrier *target, const Source *s, size_t n
) noexcept nogil:
    """Designs A to C. Returns whether the run was finite; if not, there is something to patch."""
    cdef Source row = s[0]
    cdef carrier one = 1, bits, magnitude, largest = 0, magnitudes = (one << row.sign_shift) - 1
    cdef carrier unlike, nan = <carrier> row.nan, no_nan = ~(<carrier> 0)
    cdef carrier sign_bit = one << (8 * sizeof(carrier) - 1)
    cdef uint32_t sign_up = 8 * sizeof(carrier) - 1 - row.sign_shift
    cdef size_t i
    for i in range(n):
        bits = source[i]
        magnitude = bits & magnitudes
        largest = largest if largest > magnitude else magnitude
        if nan_like_zero:
            unlike = bits ^ nan
            no_nan = no_nan if no_nan < unlike else unlike
        target[i] = (moved[carrier](magnitude << row.shift, &row) & ~sign_bit) | ((bits << sign_up) & sign_bit)
    return largest <= <carrier> row.largest and no_nan != 0


cdef inline carrier special(carrier bits, carrier magnitude, const Source *row) noexcept nogil:
    """Infinity or NaN, without a sign: what a magnitude beyond the largest, or the one NaN, stands for."""
    cdef carrier infinity, quiet, nan
    infinity = 0x7F800000 if carrier is uint32_t else <carrier> 0x7FF0000000000000ULL
    quiet = 0x400000 if carrier is uint32_t else <carrier> 0x8000000000000ULL
    nan = infinity | select[carrier](
        <carrier> row.payload,
        ((magnitude << row.shift) & ((quiet << 1) - 1)) | (quiet & (0 - <carrier> row.quiet)), quiet,
    )
    return select[carrier](
        <carrier> (magnitude == <carrier> row.infinity) & <carrier> (bits != <carrier> row.nan), infinity, nan
    )


cdef inline void patch(const code *source, carrier *target, const Source *s, size_t n) noexcept nogil:
    """Design D: over what is not finite."""
    cdef Source row = s[0]
    cdef carrier one = 1, bits, magnitude, magnitudes = (one << row.sign_shift) - 1, is_nan, sign
    cdef size_t i
    for i in range(n):
        bits = source[i]
        magnitude = bits & magnitudes
        is_nan = bits == <carrier> row.nan
        sign = target[i] & (one << (8 * sizeof(carrier) - 1)) & (is_nan - 1)
        target[i] = select[carrier](
            <carrier> (magnitude > <carrier> row.largest) | is_nan, special[carrier](bits, magnitude, &row) | sign,
            target[i],
        )


cdef inline uint64_t small_bits(uint64_t n) noexcept nogil:
    """The bits of an integer below 2^52 as a FP64 number. Exact; 0 may be −0."""
    return bits_of_double(double_of_bits(n | 0x4330000000000000ULL) - 4503599627370496.0)


cdef inline void deep(const code *source, uint64_t *target, const Source *s, size_t n) noexcept nogil:
    """Designs D and E: any code of a format with numbers that are subnormal in FP64."""
    cdef Source row = s[0]
    cdef uint64_t one = 1, bits, magnitude, magnitudes = (one << row.sign_shift) - 1, negative, value, field, m, is_nan
    cdef uint64_t up, exponent, hidden = one << row.stored
    cdef size_t i
    for i in range(n):
        bits = source[i]
        magnitude = bits & magnitudes
        is_nan = bits == row.nan
        negative = (bits >> row.sign_shift) & 1 & ~is_nan
        field = magnitude >> row.stored
        m = magnitude & (hidden - 1)
        up = <uint64_t> (<int64_t> (field if field > 1 else 1) - 1 + row.unit + 1074)
        # A subnormal number here may be a normal one there, and the other way round.
        value = select[uint64_t](
            <uint64_t> (field != 0), (field << 52) + (m << row.shift) + row.rebias,
            small_bits(m) + ((<uint64_t> row.unit) << 52),
        )
        exponent = select[uint64_t](
            <uint64_t> (field != 0), field + (row.rebias >> 52), ((small_bits(m) >> 52) & 0x7FF) + <uint64_t> row.unit
        )
        value = select[uint64_t](
            <uint64_t> (<int64_t> (exponent << 52) > 0), value,
            (m | (hidden & (0 - <uint64_t> (field != 0)))) << (up if up < 63 else 63),
        )
        value = select[uint64_t](
            <uint64_t> (magnitude > row.largest) | is_nan, special[uint64_t](bits, magnitude, &row), value
        )
        target[i] = value | (negative << 63)


cdef inline void widen(const code *source, carrier *target, const Source *row, size_t n) noexcept nogil:
    cdef size_t at = 0, length
    cdef bint all_finite
    while at < n:
        length = n - at if n - at < RUN else RUN
        if row.nan_like_zero:
            all_finite = finite(True, source + at, target + at, row, length)
        else:
            all_finite = finite(False, source + at, target + at, row, length)
        if not all_finite:
            patch(source + at, target + at, row, length)
        at += length


cdef inline void from_integer(const integer *source, carrier *target, size_t n) noexcept nogil:
    """Exact: FP32 takes integers of up to 16 bits, FP64 of up to 32."""
    cdef size_t i
    for i in range(n):
        if carrier is uint32_t:
            target[i] = bits_of_float(<float> <int32_t> source[i])
        else:
            target[i] = bits_of_double(<double> source[i])


# The loops that exist.

cdef loop widen_8_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    widen(<const uint8_t *> source, <uint32_t *> target, <const Source *> row, n)


cdef loop widen_16_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    widen(<const uint16_t *> source, <uint32_t *> target, <const Source *> row, n)


cdef loop widen_16_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    widen(<const uint16_t *> source, <uint64_t *> target, <const Source *> row, n)


cdef loop widen_32_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    widen(<const uint32_t *> source, <uint32_t *> target, <const Source *> row, n)


cdef loop widen_32_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    widen(<const uint32_t *> source, <uint64_t *> target, <const Source *> row, n)


cdef loop widen_64_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    widen(<const uint64_t *> source, <uint64_t *> target, <const Source *> row, n)


cdef loop deep_16(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    deep(<const uint16_t *> source, <uint64_t *> target, <const Source *> row, n)


cdef loop deep_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    deep(<const uint32_t *> source, <uint64_t *> target, <const Source *> row, n)


cdef loop deep_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    deep(<const uint64_t *> source, <uint64_t *> target, <const Source *> row, n)


cdef loop int8_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const int8_t *> source, <uint32_t *> target, n)


cdef loop uint8_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const uint8_t *> source, <uint32_t *> target, n)


cdef loop int16_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const int16_t *> source, <uint32_t *> target, n)


cdef loop uint16_to_32(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const uint16_t *> source, <uint32_t *> target, n)


cdef loop int8_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const int8_t *> source, <uint64_t *> target, n)


cdef loop uint8_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const uint8_t *> source, <uint64_t *> target, n)


cdef loop int16_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const int16_t *> source, <uint64_t *> target, n)


cdef loop uint16_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const uint16_t *> source, <uint64_t *> target, n)


cdef loop int32_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const int32_t *> source, <uint64_t *> target, n)


cdef loop uint32_to_64(
    const void *source, void *target, uint8_t *mask, const void *row, Tally *tally, size_t n
) noexcept nogil:
    from_integer(<const uint32_t *> source, <uint64_t *> target, n)


cdef class Widen(Stage):
    """Codes of 1 to 8 bytes to FP32 or FP64 bits (target_size 4 or 8), by the numbers of a Source row."""

    def __init__(self, int source_size, int target_size, **numbers):
        cdef dict row = self.numbers
        cdef bint beyond = numbers["rebias"] != 0 and numbers["unit"] < -1022
        cdef list sizes = [(1, 4), (2, 4), (2, 8), (4, 4), (4, 8), (8, 8)]
        if (source_size, target_size) not in sizes or (beyond and target_size == 4):
            raise ValueError("codes of 1 to 8 bytes, to a carrier that holds their values")
        row.update(numbers)
        self.numbers = row
        self.row = &self.numbers
        self.source_size, self.target_size = source_size, target_size
        if beyond and source_size == 8:
            self.block = <Block> deep_64
        elif beyond:
            self.block = <Block> deep_16 if source_size == 2 else <Block> deep_32
        elif source_size == 8:
            self.block = <Block> widen_64_to_64
        elif target_size == 8:
            self.block = <Block> widen_16_to_64 if source_size == 2 else <Block> widen_32_to_64
        elif source_size == 1:
            self.block = <Block> widen_8_to_32
        else:
            self.block = <Block> widen_16_to_32 if source_size == 2 else <Block> widen_32_to_32


cdef class FromInteger(Stage):
    """Integers of 1, 2 or 4 bytes, signed or not, to FP32 (up to 2 bytes) or FP64 bits."""

    def __init__(self, int source_size, int target_size, bint signed):
        if (source_size, target_size) not in ((1, 4), (2, 4), (1, 8), (2, 8), (4, 8)):
            raise ValueError("integers of 1 or 2 bytes to FP32, of 1, 2 or 4 bytes to FP64")
        self.source_size, self.target_size = source_size, target_size
        if target_size == 4:
            if source_size == 1:
                self.block = <Block> int8_to_32 if signed else <Block> uint8_to_32
            else:
                self.block = <Block> int16_to_32 if signed else <Block> uint16_to_32
        elif source_size == 1:
            self.block = <Block> int8_to_64 if signed else <Block> uint8_to_64
        elif source_size == 2:
            self.block = <Block> int16_to_64 if signed else <Block> uint16_to_64
        else:
            self.block = <Block> int32_to_64 if signed else <Block> uint32_to_64
