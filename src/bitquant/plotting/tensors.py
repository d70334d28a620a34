"""Pictures of real tensors: their histogram with codes and range, and what each method of calibration costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bitquant.arrays import take, with_held_format
from bitquant.calibrate import METHODS, Calibration, calibrate
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.plotting.canvas import BLUE, GREY, ORANGE, VERMILLION, axes, bare, to_codes, written
from bitquant.quantize import Quantized, quantize, symmetric

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def histogram(
    x: Any, quantized: Quantized | None = None, *, bins: int = 80, name: str = "", ax: Axes | None = None
) -> Axes:
    """Draw how the numbers of a tensor are spread, the range that codes cover, and the codes.

    Parameters
    ----------
    x : array_like
        Finite numbers of any format, any shape.
    quantized : Quantized, optional
        How they were quantized, with one scale. Default: `symmetric` of them, 8 bits.
    bins : int
        Of equal width, from the least number to the greatest.
    name : str
        Of the tensor, for the title.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default: a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    BitquantError
        Without matplotlib; without numbers, for NaN or infinity; for several scales.

    Examples
    --------
    >>> import bitquant as bq, bitquant.plotting
    >>> x = [0.1, -0.3, 0.45, 0.5, -0.55, 4.0]
    >>> ax = bitquant.plotting.histogram(x, bq.clipped(x, -1, 1), bins=10)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['range −1 … 1', '16.67 % clipped', '6 numbers']
    """
    found = symmetric(x) if quantized is None else quantized
    if found.granularity.parameter_shape:
        raise BitquantError("a histogram shows one range: pass one channel and its own quantization")
    error = found.error(x)
    numbers = np.asarray(convert(with_held_format(take(x)[0])[0], "float64")).reshape(-1)
    ax = axes(ax, 8, 4.2)
    low, high = map(float, found.range)
    counts, edges = np.histogram(numbers, bins)
    ax.bar(edges[:-1], counts, np.diff(edges), align="edge", color=BLUE, linewidth=0, label=f"{numbers.size:,} numbers")
    ax.set_yscale("log")
    ax.set_ylim(0.7, max(10.0, 1.6 * float(counts.max())))
    margin = 0.04 * (max(high, edges[-1]) - min(low, edges[0]))
    ends = min(low, edges[0]) - margin, max(high, edges[-1]) + margin
    ax.axvline(low, color="black", linewidth=1.5, linestyle="--", label=f"range {written(low)} … {written(high)}")
    ax.axvline(high, color="black", linewidth=1.5, linestyle="--")
    label = f"{error.clipped * 100:.2f} % clipped"
    ax.axvspan(ends[0], low, facecolor="none", edgecolor=VERMILLION, alpha=0.4, hatch="///", lw=0, label=label)
    ax.axvspan(high, ends[1], facecolor="none", edgecolor=VERMILLION, alpha=0.4, hatch="///", lw=0)
    step, zero_point = found.step, found.zero_point
    if found.qmax - found.qmin < 64:
        levels = (np.arange(found.qmin, found.qmax + 1) - zero_point) * step
        ax.vlines(levels, 0, 0.03, color=ORANGE, linewidth=1.5, transform=ax.get_xaxis_transform(), label="codes")
    codes = ax.secondary_xaxis("top", functions=to_codes(step, zero_point))
    codes.set_xlabel(f"code ({found.qmin} to {found.qmax}; one code is {written(step)} units)".replace("-", "−"))
    ax.set_xlim(*ends)
    ax.set_xlabel("number (units of the tensor)")
    ax.set_ylabel("count (logarithmic)")
    what = f"{name}: " if name else ""
    ax.set_title(f"{what}{found.bits} bits, {found.scheme}; SQNR {error.sqnr_db:.1f} dB")
    ax.legend(loc="upper right", fontsize=9, framealpha=1)
    bare(ax, "right")
    return ax


def calibration_errors(
    x: Any, *methods: Any, scheme: Any = "symmetric", bits: int = 8, name: str = "", ax: Axes | None = None
) -> Axes:
    r"""Draw the mean squared error that each method of calibration leaves: what rounding costs, and what clipping.

    Parameters
    ----------
    x : array_like
        Finite numbers of any format, any shape.
    *methods : str or Calibration
        Names as for `calibrate`, or ranges that it gave. Default: all methods, with their own defaults.
    scheme, bits
        As for `quantize`.
    name : str
        Of the tensor, for the title.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default: a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    BitquantError
        Without matplotlib; as for `calibrate`.

    Examples
    --------
    >>> import bitquant.plotting
    >>> x = [0.1, -0.3, 0.45, 0.5, -0.55, 1.0]
    >>> ax = bitquant.plotting.calibration_errors(x, "minmax", "mse", bits=3)
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['minmax\n± 1', 'mse\n± 1.425']
    """
    found = [
        method if isinstance(method, Calibration) else calibrate(x, method, scheme=scheme, bits=bits)
        for method in methods or tuple(METHODS)
    ]
    errors = [quantize(x, scheme, bits=bits, range=ends).error(x) for ends in found]
    ax = axes(ax, 8, 1.3 + 0.55 * len(found))
    places = np.arange(len(found))
    rounding = np.array([error.rounding.mse for error in errors])
    clipping = np.array([error.clipping.mse for error in errors])
    ax.barh(places, rounding, color=BLUE, label="rounding", edgecolor="white")
    ax.barh(
        places, clipping, left=rounding, color=ORANGE, hatch="///", edgecolor="black", label="clipping", linewidth=0.5
    )
    for place, error in enumerate(errors):
        text = f" {error.sqnr_db:.2f} dB, {error.clipped * 100:.2f} % clipped"
        ax.text(error.mse, place, text, va="center", fontsize=9)
    ax.set_yticks(places, [f"{ends.method}\n{_range(ends)}" for ends in found])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.45 * max(float((rounding + clipping).max()), np.finfo(np.float64).tiny))
    ax.set_xlabel("mean squared error (squared units of the tensor)")
    what = f"{name}: " if name else ""
    ax.set_title(f"{what}error by calibration method, {bits} bits, {scheme}")
    ax.legend(loc="lower right", frameon=False)
    ax.grid(visible=True, axis="x", color=GREY, alpha=0.25)
    ax.set_axisbelow(True)
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
    bare(ax, "top", "right")
    return ax


def _range(found: Any) -> str:
    low, high = found.range
    return f"± {written(high)}" if low == -high else f"{written(low)} … {written(high)}"


__all__ = ["calibration_errors", "histogram"]
