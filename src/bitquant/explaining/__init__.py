"""Explanations: one number's way into a format, every step as data, as text, as HTML.

`front.py` reads what is asked; `reading.py` the number; `projecting.py` rounds it with the kernels' own functions
(kernels/steps.pyx), and `rounded.py` says what was cut off; `mapping.py` and `blocks.py` are the schemes;
`explanation.py` is the result; `content.py` what there is to say of it, once, in the words of `wording.py`, for
`text.py` and `html.py`.
"""

from bitquant.explaining.explanation import Error, Explanation, Interval, Neighbour
from bitquant.explaining.front import explain

__all__ = ["Error", "Explanation", "Interval", "Neighbour", "explain"]
