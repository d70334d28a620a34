"""Pictures of the numbers of formats: where they lie, how many there are in each binade, and what bits buy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from bitquant.errors import BitquantError
from bitquant.formats import Format
from bitquant.formats import formats as all_formats
from bitquant.plotting.canvas import BLUE, COLOURS, GREY, LINES, PURPLE, VERMILLION, axes, bare, chosen, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEW = ("float4_e2m1fn", "float6_e2m3fn", "float8_e5m2", "float8_e4m3fn", "int4")
_FINEST = 350  # more numbers than this across the picture are a solid band
_KINDS = {
    "float": ("o", BLUE, "floating"),
    "integer": ("s", VERMILLION, "integer"),
    "codebook": ("^", PURPLE, "codebook"),
}


# Where a name may stand beside its point, in points; the nearest first.
_PLACES = [
    (side * 7, far * up, "left" if side > 0 else "right")
    for far in (0, 12, 22, 33, 44, 55, 66, 77, 88)
    for side in (1, -1)
    for up in (1, -1)
]


class Binade(NamedTuple):
    """The numbers of a format in [low, high): how many, and their codes, which follow each other."""

    low: float
    high: float
    first: int
    size: int
    subnormal: bool


def binades(fmt: Format) -> Iterator[Binade]:
    """The positive numbers of a floating or integer format by powers of two, the smallest first."""
    exponent = math.frexp(fmt.smallest_subnormal)[1] - 1
    t, fields = fmt.significand_bits, fmt.is_float
    code = 1 if fmt.zero else 0
    while code <= fmt.largest_code:
        subnormal = fields and fmt.zero and code >> t == 0
        # A subnormal, or an integer, has as many bits as its code; a normal number has them all.
        count = min(code if subnormal or not fields else 1 << t, fmt.largest_code + 1 - code)
        yield Binade(math.ldexp(1, exponent), math.ldexp(1, min(exponent + 1, 1023)), code, count, subnormal)
        code, exponent = code + count, exponent + 1


def number_line(*formats: Any, low: float = 0.0, high: float = 8.0, ax: Axes | None = None) -> Axes:
    """Draw the numbers of some formats on lines: a tick for each number, and above each binade how many it has.

    Parameters
    ----------
    *formats : Format, str or dtype
        Default: five small ones.
    low, high : float
        What part of the line to draw. Where numbers lie too close to be told apart, they are a solid band.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default: a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    BitquantError
        Without matplotlib; unless low < high, both finite.

    Examples
    --------
    >>> import bitquant.plotting
    >>> ax = bitquant.plotting.number_line("float4_e2m1fn")
    >>> ax.collections[0].get_segments()[3][0].tolist()  # the fourth number, 1.5, from the line up
    [1.5, 0.0]
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise BitquantError(f"a line from {low} to {high} cannot be drawn: low has to lie below high, both finite")
    rows = chosen(formats, _FEW)
    ax = axes(ax, 8.5, 0.9 + 0.8 * len(rows))
    finest = (high - low) / _FINEST
    for place, fmt in enumerate(rows):
        y, colour = -place, COLOURS[place % len(COLOURS)]
        found = _Line(fmt, low, high, finest)
        ax.plot([low, high], [y, y], color=GREY, linewidth=0.8)
        ax.vlines(found.numbers, y, y + 0.34, color=colour, linewidth=1.1)
        ax.vlines(found.powers, y - 0.14, y + 0.34, color=colour, linewidth=1.6)
        for start, stop in found.bands:
            ax.fill_between([start, stop], y, y + 0.34, color=colour, linewidth=0)
        for start, stop, count in found.labels:
            text = f"{count:,}" if count < 10_000 else f"$2^{{{count.bit_length() - 1}}}$"
            if stop - start > finest * (3 + 3 * min(len(text), 5)):
                ax.text((start + stop) / 2, y + 0.37, text, ha="center", va="bottom", fontsize=8)
        for end, word in ((fmt.min, "least"), (fmt.max, "largest")):
            if low < end < high and end:
                ax.text(end, y - 0.16, f"{word} {written(end)}", va="top", ha="center", fontsize=8)
    ax.set_yticks([-place for place in range(len(rows))], [fmt.name for fmt in rows])
    ax.set_ylim(-len(rows) + 0.5, 0.75)
    ax.set_xlim(low - (high - low) / 100, high + (high - low) / 100)
    ax.tick_params(axis="y", length=0)
    bare(ax, "left", "right", "top")
    ax.set_xlabel("value (a longer tick is a power of two)")
    ax.set_title(f"The numbers from {written(low)} to {written(high)}; above each binade, how many it has")
    return ax


class _Line:
    """What is to be drawn of one format between two ends."""

    def __init__(self, fmt: Format, low: float, high: float, finest: float) -> None:
        self.numbers: list[float] = []
        self.powers: list[float] = []
        self.bands: list[tuple[float, float]] = []
        self.labels: list[tuple[float, float, int]] = []
        self._low, self._high, self._finest = low, high, finest
        if fmt.kind == "codebook":
            self.numbers = [value for value in fmt.values if low <= value <= high]
            return
        if fmt.zero and low <= 0 <= high:
            self.numbers.append(0.0)
        for binade in binades(fmt):
            self._draw(fmt, binade, 1)
            if fmt.signed:
                self._draw(fmt, binade, -1)
        if fmt.is_integer and fmt.signed and low <= fmt.min <= high:
            self.numbers.append(float(fmt.min))  # whose magnitude no positive number has
        self.bands = _joined(self.bands)

    def _draw(self, fmt: Format, binade: Binade, sign: int) -> None:
        """Add what is to be seen of a binade on one side of zero."""
        end = fmt.value_of(min(binade.first + binade.size, fmt.largest_code))
        start, stop = sorted((sign * binade.low, sign * end))
        start, stop = max(self._low, start), min(self._high, stop)
        if start > stop:
            return
        if end - binade.low < self._finest * binade.size:
            self.bands.append((start, stop))
        else:
            values = [sign * fmt.value_of(binade.first + k) for k in range(binade.size)]
            self.numbers += [value for value in values if self._low <= value <= self._high]
        if self._low <= sign * binade.low <= self._high and binade.low > self._finest and not binade.subnormal:
            self.powers.append(sign * binade.low)
        self.labels.append((start, stop, binade.size))


def _joined(bands: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Bands that touch, as one."""
    found: list[tuple[float, float]] = []
    for start, stop in sorted(bands):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((start, stop))
    return found


def density(*formats: Any, ax: Axes | None = None) -> Axes:
    """Draw how many numbers formats have in each binade, from 2^e up to below 2^(e+1).

    Parameters
    ----------
    *formats : Format, str or dtype
        Floating and integer formats. Default: float16, bfloat16, the two OCP FP8 formats and int8.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default: a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    BitquantError
        Without matplotlib; for a codebook, whose values follow no powers of two.

    Examples
    --------
    >>> import bitquant.plotting
    >>> ax = bitquant.plotting.density("float4_e2m1fn")
    >>> ax.lines[0].get_xdata().tolist(), ax.lines[0].get_ydata().tolist()
    ([-1, 0, 1, 2, 3], [1, 2, 2, 2, 2])
    """
    rows = chosen(formats, ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8"))
    ax = axes(ax, 8.5, 4.2)
    for place, fmt in enumerate(rows):
        if fmt.kind == "codebook":
            raise BitquantError(f"{fmt.name} is a codebook and has no binades: draw it with number_line")
        found = list(binades(fmt))
        exponents = [math.frexp(binade.low)[1] - 1 for binade in found]
        exponents.append(exponents[-1] + 1)
        counts = [binade.size for binade in found]
        ax.plot(
            exponents,
            [*counts, counts[-1]],
            drawstyle="steps-post",
            color=COLOURS[place % len(COLOURS)],
            linestyle=LINES[place % len(LINES)],
            linewidth=2,
            label=f"{fmt.name} ({fmt.decades:.1f} decades, {fmt.precision} bits of precision)",
        )
    ax.set_yscale("log", base=2)
    ax.set_xlabel("binade: exponent $e$ of the numbers from $2^e$ up to $2^{e+1}$")
    ax.set_ylabel("positive numbers in the binade")
    ax.set_title("How many numbers there are: range is width, precision is height")
    ax.grid(visible=True, alpha=0.3)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False, fontsize=9)
    bare(ax, "right", "top")
    return ax


def range_and_precision(*formats: Any, ax: Axes | None = None) -> Axes:
    """Draw the dynamic range of formats against their precision.

    Parameters
    ----------
    *formats : Format, str or dtype
        Default: all that the table of formats has.
    ax : matplotlib.axes.Axes, optional
        Where to draw; default: a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    BitquantError
        Without matplotlib.

    Notes
    -----
    Dynamic range is log10 of the largest magnitude over the smallest positive number. Precision is the bits of the
    significand with the hidden one; an integer's are those of its largest magnitude, a codebook's those of its code.

    Examples
    --------
    >>> import bitquant.plotting
    >>> ax = bitquant.plotting.range_and_precision("float16", "bfloat16")
    >>> [[round(float(place), 1) for place in point] for point in ax.collections[0].get_offsets()]
    [[12.0, 11.0], [78.6, 8.0]]
    """
    rows = chosen(formats, tuple(fmt.name for fmt in all_formats()))
    ax = axes(ax, 10, 6.5)
    for kind, (marker, colour, label) in _KINDS.items():
        mine = [fmt for fmt in rows if fmt.kind == kind]
        if mine:
            places = [fmt.decades for fmt in mine], [fmt.precision for fmt in mine]
            ax.scatter(*places, s=42, marker=marker, color=colour, label=label, zorder=3)
    ax.set_xscale("symlog", linthresh=1, linscale=0.7)  # from 0: the numbers of int2 have one magnitude
    ax.set_yscale("log", base=2)
    ax.margins(0.12, 0.1)
    _ticks(ax.xaxis, [0, 0.5, *(k * 10**e for e in range(4) for k in (1, 2, 5))])
    precisions: list[float] = sorted({fmt.precision for fmt in rows})
    _ticks(ax.yaxis, precisions if len(precisions) <= 6 else [2**k for k in range(8)])
    ax.set_xlabel("dynamic range (decades, from the smallest positive number to the largest)")
    ax.set_ylabel("precision (bits)")
    ax.set_title("What bits buy: range to the right, precision upwards")
    ax.grid(visible=True, alpha=0.25)
    bare(ax, "right", "top")
    _label(ax, rows, ax.legend(loc="upper left", frameon=False))
    return ax


def _ticks(axis: Any, places: list[float]) -> None:
    """Put labelled ticks at those of the places that are in view, and no others."""
    low, high = axis.get_view_interval()
    kept = [place for place in places if low <= place <= high]
    axis.set_ticks(kept, [f"{place:g}" for place in kept])
    axis.set_ticks([], minor=True)


def _label(ax: Axes, rows: list[Format], legend: Any) -> None:
    """Write each format's name where it covers no point and no other name, as near to its point as there is room."""
    figure: Any = ax.get_figure(root=True)
    figure.draw_without_rendering()
    scale = figure.dpi / 72  # from points to pixels
    centres = [ax.transData.transform((fmt.decades, fmt.precision)) for fmt in rows]
    names: list[Any] = [legend.get_window_extent().extents]
    for mine, (fmt, (x, y)) in enumerate(zip(rows, centres, strict=True)):
        for dx, dy, align in _PLACES:
            width, height = 5.2 * scale * len(fmt.name), 10 * scale
            left = x + dx * scale - {"left": 0.0, "right": width, "center": width / 2}[align]
            box = (left, y + dy * scale - height / 2, left + width, y + dy * scale + height / 2)
            # So far from other points that nobody takes the name for theirs.
            wide = (box[0] - 9 * scale, box[1] - 2 * scale, box[2] + 9 * scale, box[3] + 2 * scale)
            others = (centre for k, centre in enumerate(centres) if k != mine)
            if not any(_overlap(box, other) for other in names) and not any(_inside(wide, point) for point in others):
                break
        names.append(box)
        ax.annotate(
            fmt.name,
            (fmt.decades, fmt.precision),
            xytext=(dx, dy),
            textcoords="offset points",
            ha=align,
            va="center",
            fontsize=8.5,
            arrowprops=_leader(align, dy) if abs(dy) > 12 else None,
        )


def _leader(align: str, dy: float) -> dict[str, Any]:
    """A line from the nearest corner of a name to its point."""
    corner = (float(align == "right"), float(dy < 0))
    return {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "relpos": corner, "shrinkA": 1, "shrinkB": 3}


def _inside(box: Any, point: Any) -> bool:
    return bool(box[0] < point[0] < box[2] and box[1] < point[1] < box[3])


def _overlap(a: Any, b: Any) -> bool:
    return bool(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


__all__ = ["Binade", "binades", "density", "number_line", "range_and_precision"]
