"""The base of all stages; each kernel file derives its own."""


cdef class Stage:
    """One step of a pipeline: a block function, its row, and the sizes in bytes of what it reads and writes."""
