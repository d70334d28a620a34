"""What a quantizer makes of every number: its staircase, and the saw-tooth of its error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bitquant.convert import round_to
from bitquant.errors import BitquantError
from bitquant.formats import format
from bitquant.plotting.canvas import BLUE, GREY, VERMILLION, axes, bare, to_codes, written
from bitquant.quantize import Quantized, quantize
from bitquant.quantize.parameters import SCHEMES
from bitquant.rules import choose, fixed_rounding

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 4097  # odd, so that the middle is one of them
_MARGIN = 0.25  # how far beyond the range is drawn, in lengths of the range


def staircase(quantizer: Any, low: float | None = None, high: float | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw what a quantizer gives for each number: its staircase.

    Parameters
    ----------
    quantizer : Quantized, Format, str or dtype
        What was quantized, with one scale: the parameters by which it was. Or a format, to which numbers are rounded,
        saturating.
    low, high : float, optional
        What part to draw. Default: the range and a quarter more on either side.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default: a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    BitquantError
        Without matplotlib; for several scales or a dialect.

    Examples
    --------
    >>> import bitquant as bq, bitquant.plotting
    >>> ax = bitquant.plotting.staircase(bq.clipped([0.5], -1, 1, bits=2))
    >>> sorted(set(ax.lines[0].get_ydata().tolist()))
    [-1.0, 0.0, 1.0]
    """
    curve = _Curve.of(quantizer, low, high)
    ax = axes(ax, 6.5, 4.6)
    ax.plot(curve.x, curve.y, color=BLUE, linewidth=2, label="dequantized")
    ax.plot(curve.x, curve.x, color=GREY, linewidth=1, linestyle="--", label="no error")
    curve.mark(ax)
    ax.set_xlabel("number (units of the input)")
    ax.set_ylabel("dequantized (same units)")
    ax.set_title(f"Staircase: {curve.title}")
    ax.legend(loc="upper left", framealpha=1)
    if curve.codes is not None:
        step, zero_point, lowest, highest = curve.codes
        second = ax.secondary_yaxis("right", functions=to_codes(step, zero_point))
        second.set_ylabel("code")
        if highest - lowest < 20:
            second.set_yticks(range(lowest, highest + 1))
    return ax


def sawtooth(quantizer: Any, low: float | None = None, high: float | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw a quantizer's error, dequantized − original, for each number: its saw-tooth.

    Parameters
    ----------
    quantizer, low, high, ax
        As for `staircase`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    BitquantError
        As for `staircase`.

    Examples
    --------
    >>> import bitquant as bq, bitquant.plotting
    >>> ax = bitquant.plotting.sawtooth(bq.clipped([0.5], -1, 1, bits=2), -1, 1)
    >>> float(abs(ax.lines[0].get_ydata()).max())
    0.5
    """
    curve = _Curve.of(quantizer, low, high)
    ax = axes(ax, 6.5, 3.5)
    ax.plot(curve.x, curve.y - curve.x, color=VERMILLION, linewidth=1.5, label="dequantized − original")
    ax.axhline(0, color=GREY, linewidth=0.8)
    if curve.codes is not None:
        half = curve.codes[0] / 2
        ax.axhline(half, color=GREY, linewidth=1, linestyle=":", label=f"± half a step, ± {written(half)}")
        ax.axhline(-half, color=GREY, linewidth=1, linestyle=":")
    curve.mark(ax)
    ax.set_xlabel("number (units of the input)")
    ax.set_ylabel("error (same units)")
    ax.set_title(f"Error: {curve.title}")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False)
    return ax


class _Curve:
    """A quantizer, asked for many numbers."""

    def __init__(
        self,
        ask: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        inside: tuple[float, float],
        window: tuple[float | None, float | None],
        title: str,
        codes: tuple[float, int, int, int] | None,
    ) -> None:
        margin = _MARGIN * (inside[1] - inside[0])
        low = inside[0] - margin if window[0] is None else window[0]
        high = inside[1] + margin if window[1] is None else window[1]
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise BitquantError(f"numbers from {low} to {high} cannot be drawn: low has to lie below high, both finite")
        self.x = np.linspace(low, high, _POINTS)
        self.y = ask(self.x)
        self.inside, self.title, self.codes = inside, title, codes

    @classmethod
    def of(cls, quantizer: Any, low: float | None, high: float | None) -> _Curve:
        """The curve of a format, or of what something was quantized with."""
        if isinstance(quantizer, Quantized):
            return cls(*_asked(quantizer, (low, high)))
        fmt = format(quantizer)
        return cls(
            lambda x: np.asarray(round_to(x, fmt, overflow="saturate")),
            (float(fmt.min), float(fmt.max)),
            (low, high),
            f"rounding to {fmt.name}",
            None,
        )

    def mark(self, ax: Axes) -> None:
        """Draw where the range ends, and hatch what is clipped."""
        ends = float(self.x[0]), float(self.x[-1])
        for outer, inner in zip(ends, self.inside, strict=True):
            if ends[0] < inner < ends[1]:
                ax.axvline(inner, color="black", linewidth=1)
                first = inner == self.inside[0] or not ends[0] < self.inside[0]
                label = "clipped" if first else None
                ax.axvspan(outer, inner, facecolor="none", edgecolor=GREY, alpha=0.35, hatch="///", lw=0, label=label)
        ax.set_xlim(*ends)
        bare(ax, "top")


def _asked(found: Quantized, window: tuple[float | None, float | None]) -> tuple[Any, ...]:
    """What a curve needs of a quantizer with one scale."""
    if found.granularity.parameter_shape or found.dialect is not None:
        raise BitquantError("a staircase is of one scale and of exact quantization: pass one channel, without dialect")
    narrow = found.qmin == (1 - 2 ** (found.bits - 1) if found.signed else 1)

    def ask(x: NDArray[np.float64]) -> NDArray[np.float64]:
        done = quantize(
            x,
            choose("scheme", found.scheme, SCHEMES),
            bits=found.bits,
            signed=found.signed,
            narrow=narrow,
            scale=found.exact_scale,
            zero_point=found.zero_point,
            rounding=fixed_rounding(found.rounding),
        )
        return np.asarray(done.dequantize("float64"))

    title = f"{found.bits} bits, {found.scheme}, step {written(found.step)} per code"
    codes = found.step, found.zero_point, found.qmin, found.qmax
    return ask, tuple(map(float, found.range)), window, title, codes


__all__ = ["sawtooth", "staircase"]
