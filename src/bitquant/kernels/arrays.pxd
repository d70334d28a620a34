"""NumPy arrays as plain memory, checked. (A typed memoryview does the same, for 150 KB of machine code a module.)"""

cimport numpy as cnp

from bitquant.kernels.machine cimport uint64_t


cdef inline const void *entries(cnp.ndarray array, int dtype, Py_ssize_t count) except NULL:
    """The memory of a contiguous array that must have this dtype and so many entries."""
    if (
        array is None or cnp.PyArray_TYPE(array) != dtype or cnp.PyArray_SIZE(array) != count
        or not cnp.PyArray_IS_C_CONTIGUOUS(array) or cnp.PyArray_ISBYTESWAPPED(array)
    ):
        raise ValueError(f"a contiguous array of {count} entries is needed")
    return cnp.PyArray_DATA(array)


cdef inline void *written(cnp.ndarray array, int dtype, Py_ssize_t count) except NULL:
    """The same, to be written to."""
    entries(array, dtype, count)
    if not cnp.PyArray_ISWRITEABLE(array):
        raise ValueError("a writable array is needed")
    return cnp.PyArray_DATA(array)


cdef inline const uint64_t *terms(cnp.ndarray array, Py_ssize_t count) except NULL:
    """The numerators or denominators of scales, each of which must lie between 0 and 2^63."""
    cdef const uint64_t *found = <const uint64_t *> entries(array, cnp.NPY_UINT64, count)
    cdef Py_ssize_t k
    for k in range(count):
        if found[k] == 0 or found[k] >> 63:
            raise ValueError("numerators and denominators must lie between 0 and 2^63")
    return found
