"""Golden vectors: inputs that try a conversion, what it must deliver and raise, and the judging of others' results.

`inputs` chooses the inputs, `make` adds results and flags, `write` and `read` are the files, `check` judges.
"""

from bitquant.vectors.cases import inputs
from bitquant.vectors.golden import Report, Vectors, check, make
from bitquant.vectors.layouts import FLAGS, LAYOUTS, layout_of, read, values, write

__all__ = [
    "FLAGS",
    "LAYOUTS",
    "Report",
    "Vectors",
    "check",
    "inputs",
    "layout_of",
    "make",
    "read",
    "values",
    "write",
]
