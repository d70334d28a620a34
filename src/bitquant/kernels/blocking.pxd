"""Which numbers of an array share a scale: blocks of any shape, as a walk over flat memory.

# Design:
# (A) An array is cut into blocks along each dimension; the last block of a dimension may be smaller. Blocks, here
#     called channels, are counted in C order. One scale for all is one block as large as the array; one per index of
#     an axis is a block of length 1 there and full elsewhere; groups and two-dimensional tiles are the rest.
# (B) Dimensions that lie in memory as one are joined first, so that nearly every case has one or two: a row is a run
#     of the last of them. A walk knows how many of the next numbers share a channel, and divides only where a row
#     begins.
# (C) Blocks of length 1 in the last dimension are `columns`: the numbers of a row are those of successive channels.
"""

cdef enum:
    DIMENSIONS = 64

cdef struct Blocking:
    int outer                           # dimensions before the last
    bint columns                        # Design C
    Py_ssize_t length                   # of a row
    Py_ssize_t width                    # of a block in a row
    Py_ssize_t channels                 # blocks of the whole array
    Py_ssize_t shape[DIMENSIONS]        # of the outer dimensions:
    Py_ssize_t block[DIMENSIONS]        # ... the length of a block,
    Py_ssize_t stride[DIMENSIONS]       # ... and channels from one block to the next

cdef struct Walk:
    Py_ssize_t at                       # place of the next number
    Py_ssize_t channel                  # its channel
    Py_ssize_t run                      # numbers from it on that share its channel
    Py_ssize_t row                      # numbers from it to the end of the row


cdef inline void walk_from(const Blocking *b, Py_ssize_t at, Walk *w) noexcept nogil:
    """Places a walk at a number of an array that is not empty; behind its last number, nowhere in particular."""
    cdef Py_ssize_t row = at // b.length, place = at % b.length
    cdef int k
    w.at = at
    w.channel = place // b.width
    w.run = b.width - place % b.width
    w.row = b.length - place
    w.run = w.run if w.run < w.row else w.row
    for k in range(b.outer - 1, -1, -1):
        w.channel += row % b.shape[k] // b.block[k] * b.stride[k]
        row //= b.shape[k]


cdef inline Py_ssize_t piece(const Blocking *b, const Walk *w, Py_ssize_t most) noexcept nogil:
    """How many of the next numbers, at most so many, share a channel, or with columns lie in one row."""
    cdef Py_ssize_t n = w.row if b.columns else w.run
    return n if n < most else most


cdef inline void walk_on(const Blocking *b, Walk *w, Py_ssize_t n) noexcept nogil:
    """Moves a walk on by a piece."""
    if n == w.row:
        walk_from(b, w.at + n, w)
        return
    w.at += n
    w.row -= n
    if b.columns:
        w.channel += n
        return
    w.run -= n
    if w.run == 0:
        w.channel += 1
        w.run = b.width if b.width < w.row else w.row


cdef class Blocks:
    cdef Blocking blocking
    cdef readonly Py_ssize_t size           # numbers of the array
