"""What low precision would do to a tensor, before anything is converted.

`inspect_tensor` looks at an array twice; `Survey` and `Scrutiny` are its two passes, which can be taken over parts of a
tensor and merged. `html_of` makes a page of many tensors.
"""

from bitquant.inspecting.html import html_of
from bitquant.inspecting.summary import TensorSummary, inspect_stream, inspect_tensor, parts, worst_first
from bitquant.inspecting.survey import TARGETS, Loss, Scrutiny, Survey

__all__ = [
    "TARGETS",
    "Loss",
    "Scrutiny",
    "Survey",
    "TensorSummary",
    "html_of",
    "inspect_stream",
    "inspect_tensor",
    "parts",
    "worst_first",
]
