"""Codes of 1 to 8 bits, a byte each, packed into a stream of bits and taken out again.

# Design:
# (A) Eight codes of b bits fill b bytes exactly, so a group of eight is one 64-bit word on either side, and three folds
#     bring its bytes together: neighbours to pairs, pairs to fours, fours to the eight. The same for every b.
# (B) In the stream's big order the first code stands at the top. A word whose bytes are turned over goes through the
#     same folds, and the result is turned over again.
# (C) For 1, 2 and 4 bits the b bytes are a machine word, and the loop over groups vectorises. For the others eight
#     bytes are stored (or loaded) and the next group begins after b of them: not at the end of a row, whose last groups
#     go one by one.
# (D) The codes are joined by OR on the way: who called looks once whether any had a bit too many.
"""

cimport numpy as cnp

from bitquant.kernels.machine cimport loop, uint8_t, uint64_t

cnp.import_array()

cdef extern from "clones.h" nogil:
    uint64_t turned_over(uint64_t x) noexcept
    uint64_t load_bytes(const uint8_t *p, int n) noexcept
    void store_bytes(uint8_t *p, uint64_t x, int n) noexcept

cdef enum:
    GROUP = 8  # codes


cdef inline uint64_t in_each(uint64_t pattern, int width) noexcept nogil:
    """The pattern, repeated every 8, 16 or 32 bits."""
    pattern |= pattern << 32
    pattern |= pattern << 16 if width <= 16 else 0
    return pattern | (pattern << 8 if width <= 8 else 0)


cdef inline uint64_t ones(int n) noexcept nogil:
    """n ones, of at most 32."""
    return (<uint64_t> 1 << n) - 1


cdef inline uint64_t folded(uint64_t x, int b) noexcept nogil:
    """Eight bytes to eight codes: 8·b bits at the bottom.

      ...··DDD··CCC··BBB··AAA      b = 3, the lower half
      ...     DDDCCC    BBBAAA     pairs
      ...           DDDCCCBBBAAA   fours
    """
    x &= in_each(ones(b), 8)
    x = (x & in_each(ones(8), 16)) | ((x & in_each(ones(8) << 8, 16)) >> (8 - b))
    x = (x & in_each(ones(16), 32)) | ((x & in_each(ones(16) << 16, 32)) >> (16 - 2 * b))
    return (x & ones(32)) | ((x >> 32) << (4 * b))


cdef inline uint64_t unfolded(uint64_t x, int b) noexcept nogil:
    """And back: 8·b bits at the bottom to eight bytes. What stands above them is lost."""
    x = (x & ones(4 * b)) | (((x >> (4 * b)) & ones(4 * b)) << 32)
    x = (x & in_each(ones(2 * b), 32)) | ((x << (16 - 2 * b)) & in_each(ones(2 * b) << 16, 32))
    return (x & in_each(ones(b), 16)) | ((x << (8 - b)) & in_each(ones(b) << 8, 16))


cdef inline uint64_t packed(uint64_t x, int b, bint big) noexcept nogil:
    """A group of codes, first byte lowest, to its b bytes of the stream, first byte lowest."""
    return turned_over(folded(turned_over(x), b) << (64 - 8 * b)) if big else folded(x, b)


cdef inline uint64_t unpacked(uint64_t x, int b, bint big) noexcept nogil:
    """And back."""
    return turned_over(unfolded(turned_over(x) >> (64 - 8 * b), b)) if big else unfolded(x, b)


# --- A row: whole groups, and what is left ------------------------------------------------------------------


cdef inline uint64_t pack_row(
    const uint8_t *source, uint8_t *target, size_t length, const int b, const bint big
) noexcept nogil:
    """Pack a row of codes into its bytes, and return the codes joined by OR."""
    # Design C: what is stored for a group, and how many groups can be stored so.
    cdef int stored = b if b == 1 or b == 2 or b == 4 else 8
    cdef size_t size = (length * b + 7) >> 3, groups = length // GROUP, k
    cdef uint64_t x, seen = 0
    cdef int n
    if stored != b:
        groups = min(groups, (size - 8) // b + 1 if size >= 8 else 0)
    for k in range(groups):
        x = load_bytes(source + GROUP * k, GROUP)
        seen |= x
        store_bytes(target + b * k, packed(x, b, big), stored)
    while groups * GROUP < length:
        n = <int> min(<size_t> GROUP, length - groups * GROUP)
        x = load_bytes(source + GROUP * groups, n)
        seen |= x
        store_bytes(target + b * groups, packed(x, b, big), (n * b + 7) >> 3)
        groups += 1
    return seen


cdef inline void unpack_row(
    const uint8_t *source, uint8_t *target, size_t length, const int b, const bint big
) noexcept nogil:
    """Take the codes of a row out of its bytes."""
    cdef int loaded = b if b == 1 or b == 2 or b == 4 else 8
    cdef size_t size = (length * b + 7) >> 3, groups = length // GROUP, k
    cdef int n
    if loaded != b:
        groups = min(groups, (size - 8) // b + 1 if size >= 8 else 0)
    for k in range(groups):
        store_bytes(target + GROUP * k, unpacked(load_bytes(source + b * k, loaded), b, big), GROUP)
    while groups * GROUP < length:
        n = <int> min(<size_t> GROUP, length - groups * GROUP)
        store_bytes(
            target + GROUP * groups, unpacked(load_bytes(source + b * groups, (n * b + 7) >> 3), b, big), n
        )
        groups += 1


# --- The loops: rows, with the width a literal where that makes it a word (Design C) -------------------------


cdef inline uint64_t pack_rows(
    const uint8_t *source, uint8_t *target, size_t rows, size_t length, const int b, const bint big
) noexcept nogil:
    cdef size_t size = (length * b + 7) >> 3, row
    cdef uint64_t seen = 0
    for row in range(rows):
        seen |= pack_row(source + row * length, target + row * size, length, b, big)
    return seen


cdef inline uint64_t pack_width(
    const uint8_t *source, uint8_t *target, size_t rows, size_t length, int b, const bint big
) noexcept nogil:
    if b == 4:
        return pack_rows(source, target, rows, length, 4, big)
    elif b == 2:
        return pack_rows(source, target, rows, length, 2, big)
    elif b == 1:
        return pack_rows(source, target, rows, length, 1, big)
    else:
        return pack_rows(source, target, rows, length, b, big)


cdef loop pack_all(
    const uint8_t *source, uint8_t *target, size_t rows, size_t length, int b, bint big, uint64_t *seen
) noexcept nogil:
    if big:
        seen[0] = pack_width(source, target, rows, length, b, True)
    else:
        seen[0] = pack_width(source, target, rows, length, b, False)


cdef inline void unpack_rows(
    const uint8_t *source, uint8_t *target, size_t rows, size_t length, const int b, const bint big
) noexcept nogil:
    cdef size_t size = (length * b + 7) >> 3, row
    for row in range(rows):
        unpack_row(source + row * size, target + row * length, length, b, big)


cdef inline void unpack_width(
    const uint8_t *source, uint8_t *target, size_t rows, size_t length, int b, const bint big
) noexcept nogil:
    if b == 4:
        unpack_rows(source, target, rows, length, 4, big)
    elif b == 2:
        unpack_rows(source, target, rows, length, 2, big)
    elif b == 1:
        unpack_rows(source, target, rows, length, 1, big)
    else:
        unpack_rows(source, target, rows, length, b, big)


cdef loop unpack_all(
    const uint8_t *source, uint8_t *target, size_t rows, size_t length, int b, bint big
) noexcept nogil:
    if big:
        unpack_width(source, target, rows, length, b, True)
    else:
        unpack_width(source, target, rows, length, b, False)


# --- The Python boundary ------------------------------------------------------------------------------------


cdef object check(cnp.ndarray codes, cnp.ndarray stream, int bits, Py_ssize_t rows):
    """Refuse arrays that do not fit each other: rows of codes, a byte each, and the same rows as bits."""
    cdef Py_ssize_t size = cnp.PyArray_SIZE(codes)
    if not 1 <= bits <= 8 or rows < 0 or (size % rows if rows else size):
        raise ValueError("the codes have 1 to 8 bits and lie in rows of one length")
    if cnp.PyArray_SIZE(stream) != (rows * ((size // rows * bits + 7) >> 3) if rows else 0):
        raise ValueError("the codes and the stream differ in length")
    if (
        cnp.PyArray_ITEMSIZE(codes) != 1 or cnp.PyArray_ITEMSIZE(stream) != 1
        or not (cnp.PyArray_IS_C_CONTIGUOUS(codes) and cnp.PyArray_IS_C_CONTIGUOUS(stream))
    ):
        raise ValueError("the codes and the stream are contiguous arrays of bytes")


def pack(cnp.ndarray source not None, cnp.ndarray target not None, int bits, Py_ssize_t rows, bint big):
    """Pack the low bits of bytes, row by row, each row padded with zeros to whole bytes.

    Returns the bytes joined by OR: 2^bits or more where one of them had a bit too many.
    """
    cdef const uint8_t *read = <const uint8_t *> cnp.PyArray_DATA(source)
    cdef uint8_t *write = <uint8_t *> cnp.PyArray_DATA(target)
    cdef size_t length
    cdef uint64_t seen = 0
    check(source, target, bits, rows)
    if not cnp.PyArray_ISWRITEABLE(target):
        raise ValueError("the target is read-only")
    length = cnp.PyArray_SIZE(source) // rows if rows else 0
    with nogil:
        pack_all(read, write, rows, length, bits, big, &seen)
    seen |= seen >> 32
    seen |= seen >> 16
    return (seen | seen >> 8) & 0xFF


def unpack(cnp.ndarray source not None, cnp.ndarray target not None, int bits, Py_ssize_t rows, bint big):
    """Take codes out of rows of bits, into a byte each. What stands after the last code of a row is not looked at."""
    cdef const uint8_t *read = <const uint8_t *> cnp.PyArray_DATA(source)
    cdef uint8_t *write = <uint8_t *> cnp.PyArray_DATA(target)
    cdef size_t length
    check(target, source, bits, rows)
    if not cnp.PyArray_ISWRITEABLE(target):
        raise ValueError("the target is read-only")
    length = cnp.PyArray_SIZE(target) // rows if rows else 0
    with nogil:
        unpack_all(read, write, rows, length, bits, big)
