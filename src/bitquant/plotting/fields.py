"""Bit-field diagrams: a number's code in some formats, box by box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bitquant.convert import decode, encode
from bitquant.formats import Format
from bitquant.plotting.canvas import GREEN, SKY, VERMILLION, axes, chosen, written
from bitquant.rules import Rounding

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DEFAULT = ("float32", "float16", "bfloat16", "int8")
_GAP = 0.35  # between two fields, in boxes
_COLOUR = {"sign": VERMILLION, "exponent": SKY, "significand": GREEN}
_SHORT = {"sign": "s", "exponent": "e", "significand": "m"}  # where the field is too narrow for its name
_ROW = 2.6  # from one format to the next, in boxes


def bit_fields(value: Any, *formats: Any, rounding: Rounding = "nearest_even", ax: Axes | None = None) -> Axes:
    """Draw the bits of a number in some formats: sign, exponent and significand as boxes, to the same scale.

    Parameters
    ----------
    value : float
        Rounded once to each format; beyond a format's range it saturates.
    *formats : Format, str or dtype
        Default: float32, float16, bfloat16 and int8.
    rounding : str
        As for `convert`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default: a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    BitquantError
        Without matplotlib; for a number that a format cannot take, such as NaN where it has none.

    Examples
    --------
    >>> import bitquant.plotting
    >>> ax = bitquant.plotting.bit_fields(0.1, "float16", "int8")
    >>> [text.get_text() for text in ax.texts if text.get_text().startswith("float16")]
    ['float16 = 0.09998']
    """
    from matplotlib.patches import Rectangle

    rows = chosen(formats, _DEFAULT)
    widest = max(fmt.bits + _GAP * (len(_parts(fmt)) - 1) for fmt in rows)
    box_inches, size = (0.27, 9) if widest < 40 else (0.2, 7)
    ax = axes(ax, max(4.5, box_inches * widest + 0.3), 0.5 + _ROW * box_inches * len(rows))
    for place, fmt in enumerate(rows):
        y = -_ROW * place
        code = int(encode(value, fmt, rounding=rounding, overflow="saturate"))
        ax.text(0, y + 1.25, f"{fmt.name} = {_exact(code, fmt)}", fontsize=size + 1, va="bottom", weight="bold")
        digits = f"0x{code:0{(fmt.bits + 3) // 4}X}"
        ax.text(widest, y + 1.25, f"{fmt.bits} bits, code {digits}", fontsize=size, va="bottom", ha="right")
        x, bit = 0.0, fmt.bits
        for name, width in _parts(fmt):
            for k in range(width):
                bit -= 1
                box = Rectangle(
                    (x + k, y), 1, 1, facecolor=_COLOUR.get(name, SKY), alpha=0.45, edgecolor="black", linewidth=0.8
                )
                ax.add_patch(box)
                ax.text(x + k + 0.5, y + 0.47, str(code >> bit & 1), ha="center", va="center", fontsize=size)
            fits = width * box_inches * 72 > len(name) * (size - 1) * 0.55  # points; a letter is about 0.55 em wide
            label = name if fits else _SHORT.get(name, name)
            ax.text(x + width / 2, y - 0.12, label, ha="center", va="top", fontsize=size - 1)
            x += width + _GAP
    ax.set_xlim(-0.2, widest + 0.2)
    ax.set_ylim(-_ROW * (len(rows) - 1) - 0.9, 2.1)
    ax.set_aspect("equal")
    ax.axis("off")
    ax.set_title(f"{_shown(value)} in {len(rows)} format{'s' if len(rows) > 1 else ''}, rounded by {rounding}")
    return ax


def _parts(fmt: Format) -> list[tuple[str, int]]:
    """The fields of a code from the top bit down: name and width."""
    if fmt.kind == "codebook":
        return [("index", fmt.bits)]
    if fmt.is_integer:
        return [("sign", 1), ("integer", fmt.bits - 1)] if fmt.signed else [("integer", fmt.bits)]
    parts = [("sign", int(fmt.signed)), ("exponent", fmt.exponent_bits), ("significand", fmt.significand_bits)]
    return [(name, width) for name, width in parts if width]


def _exact(code: int, fmt: Format) -> str:
    """The value of a code, in few digits."""
    value = decode(np.array(code, fmt.code_dtype), fmt)
    return written(float(value)) if not fmt.is_integer else str(int(value)).replace("-", "−")


def _shown(value: Any) -> str:
    return str(value).replace("-", "−")


__all__ = ["bit_fields"]
