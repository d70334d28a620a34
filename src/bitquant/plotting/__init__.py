"""Pictures of formats, quantizers and errors, drawn with matplotlib (the extra `plot`).

Every function draws into the matplotlib Axes that it is given, or into a figure of its own, and returns the Axes. What
is drawn is what the library computes: no picture has a rule of its own. Colours are Okabe and Ito's, which colour-blind
readers can tell apart, and nothing is told by colour alone.
"""

from bitquant.plotting.fields import bit_fields
from bitquant.plotting.numbers import density, number_line, range_and_precision
from bitquant.plotting.quantizers import sawtooth, staircase
from bitquant.plotting.tensors import calibration_errors, histogram

__all__ = [
    "bit_fields",
    "calibration_errors",
    "density",
    "histogram",
    "number_line",
    "range_and_precision",
    "sawtooth",
    "staircase",
]
