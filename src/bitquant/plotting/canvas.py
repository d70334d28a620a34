"""What all pictures share: matplotlib itself, imported when something is drawn, colours, numbers as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitquant.errors import BitquantError
from bitquant.formats import Format, format

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# M. Okabe and K. Ito, "Color Universal Design", 2008. In the order in which lines and bars take them; yellow is left
# out, too light for a line on white paper.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
GREY = "#767676"  # 4.5:1 on white: legible as text
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))


def pyplot() -> Any:
    """The module that makes figures, or an error that says what to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise BitquantError("pictures need matplotlib: pip install 'bitquant[plot]'") from None
    return plt


def axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The caller's Axes, or the only one of a new figure of so many inches."""
    if ax is not None:
        return ax
    _, new = pyplot().subplots(figsize=(width, height), layout="constrained")
    drawn: Axes = new
    return drawn


def bare(ax: Axes, *sides: str) -> None:
    """Take the frame off at these sides."""
    for side in sides:
        ax.spines[side].set_visible(False)


def chosen(formats: tuple[Any, ...], default: tuple[str, ...]) -> list[Format]:
    """The formats that were asked for by any name, or those shown by default."""
    return [format(name) for name in formats or default]


def written(x: float) -> str:
    """Write a number in at most four digits, with a true minus sign."""
    return f"{x:.4g}".replace("-", "−")


def to_codes(step: float, zero_point: int) -> Any:
    """The two functions of a second axis in codes: from numbers, and back."""
    return lambda x: x / step + zero_point, lambda code: (code - zero_point) * step


__all__ = ["BLUE", "COLOURS", "GREEN", "GREY", "LINES", "ORANGE", "PURPLE", "SKY", "VERMILLION"]
__all__ += ["axes", "bare", "chosen", "pyplot", "to_codes", "written"]
