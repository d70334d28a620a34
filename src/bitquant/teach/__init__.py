"""The exercises of the course in docs/learn, and a teacher that goes through every input.

>>> from bitquant import teach
>>> bool(teach.check("bf16_to_fp32", lambda code: code.astype("uint32") << 16))
True
"""

from bitquant.teach.exercise import Exercise
from bitquant.teach.grade import Exercises, Grade, Wrong
from bitquant.teach.grading import check, exercises

__all__ = ["Exercise", "Exercises", "Grade", "Wrong", "check", "exercises"]
