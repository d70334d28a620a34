"""NumPy arrays as plain memory, checked. (A typed memoryview does the same, for 150 KB of machine code a module.)"""

cimport numpy as cnp


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
