"""An array cut into blocks along an axis: which block a number belongs to, and the walk from block to block.

The array is (outer, length, inner) in C order, `length` along the axis; the last block of a row may be shorter. Blocks
are numbered in the order (outer, block, inner). The walk divides where it begins, not at every block.
"""

from libc.stdint cimport uint64_t

cdef struct Shape:
    Py_ssize_t length           # numbers along the axis
    Py_ssize_t inner            # numbers of one place along the axis
    Py_ssize_t block            # numbers in a whole block
    Py_ssize_t blocks           # along the axis


cdef struct Walk:
    Py_ssize_t block            # of the next number
    Py_ssize_t along            # its place along the axis, ...
    Py_ssize_t within           # ... in its block ...
    Py_ssize_t column           # ... and among those of one place along the axis


cdef inline Walk walk_from(const Shape *s, uint64_t index) noexcept nogil:
    cdef Walk walk
    cdef Py_ssize_t place_along = <Py_ssize_t> (index // <uint64_t> s.inner), outer = place_along // s.length
    walk.column = <Py_ssize_t> (index % <uint64_t> s.inner)
    walk.along = place_along % s.length
    walk.within = walk.along % s.block
    walk.block = (outer * s.blocks + walk.along // s.block) * s.inner + walk.column
    return walk


cdef inline size_t run_of(const Shape *s, const Walk *walk, size_t most) noexcept nogil:
    """How many numbers from here share a block, or with inner > 1 have successive blocks."""
    cdef size_t n
    if s.inner > 1:
        n = <size_t> (s.inner - walk.column)
    else:
        n = <size_t> min(s.block - walk.within, s.length - walk.along)
    return n if n < most else most


cdef inline void walk_on(const Shape *s, Walk *walk, size_t n) noexcept nogil:
    """On by a run, or a part of one."""
    cdef Py_ssize_t steps = <Py_ssize_t> n
    if s.inner > 1:
        walk.block += steps
        walk.column += steps
        if walk.column < s.inner:
            return
        walk.column = 0
        walk.block -= s.inner
        steps = 1
    walk.along += steps
    walk.within += steps
    if walk.within == s.block or walk.along == s.length:
        walk.within = 0
        walk.block += s.inner
        if walk.along == s.length:
            walk.along = 0
