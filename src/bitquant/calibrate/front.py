"""The one public function: a method, what to map to, and the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from bitquant.calibrate.calibration import Calibration, of_ranges, of_steps
from bitquant.calibrate.channels import DIGIT, Channel, Channels, Target
from bitquant.errors import BitquantError
from bitquant.formats import Format, format
from bitquant.quantize.parameters import SCHEMES, Grid
from bitquant.rules import choose

Method = Literal["minmax", "percentile", "entropy", "std", "mse", "lp"]
Nonfinite = Literal["raise", "saturate"]


@dataclass(frozen=True)
class Row:
    """A method: what it does, the file that does it, which options it takes, and whether it knows weights.

    `walks` says how often at most it goes through numbers whose extremes are known and that take so many bits.
    """

    what: str
    file: str
    options: tuple[str, ...] = ()
    weighted: bool = False
    walks: Callable[[int], int] = lambda bits: 1


METHODS: dict[str, Row] = {
    "minmax": Row("the extremes of the numbers", "minmax", walks=lambda bits: 0),
    "percentile": Row(
        "an order statistic of |x|, or of both tails",
        "percentile",
        ("percentile", "tails", "interpolation"),
        walks=lambda bits: bits // DIGIT,
    ),
    "entropy": Row("least Kullback-Leibler divergence of a histogram", "entropy", ("bins", "levels", "zeros")),
    "std": Row("so many standard deviations", "deviation", ("deviations", "centre"), True),
    "mse": Row("least squared error, the global optimum", "mse", ("zero_points",), True),
    "lp": Row("least error in another norm, among shrunken ranges", "lp", ("p", "candidates"), True),
}
_NONFINITE = {"raise": "an error with the count and the first index", "saturate": "left out"}


def calibrate(
    x: Any,
    method: Method = "mse",
    *,
    scheme: Literal["symmetric", "asymmetric"] = "symmetric",
    bits: int = 8,
    signed: bool = True,
    narrow: bool | None = None,
    axis: int | None = None,
    group_size: int | None = None,
    block_shape: tuple[int, ...] | None = None,
    codebook: Any = None,
    include_zero: bool = False,
    step_format: Any = None,
    weights: Any = None,
    nonfinite: Nonfinite = "raise",
    **options: Any,
) -> Calibration:
    """Find the range, and with it scale and zero point, that numbers are best quantized with.

    Parameters
    ----------
    x : array_like
        Numbers of any floating format (or integers), any shape.
    method : {"minmax", "percentile", "entropy", "std", "mse", "lp"}
        docs/calibration.md says what each does, and how exactly.
    scheme, bits, signed, narrow, include_zero, nonfinite
        As for `quantize`. What is not finite is left out under ``nonfinite="saturate"``.
    axis, group_size, block_shape
        As for `quantize`: which numbers share a range. Default: all.
    codebook : Format or str, optional
        Instead of a scheme: a format of up to 8 bits whose values, times the step, are what numbers are mapped to, such
        as `NF4` or "float4_e2m1fn".
    step_format : Format, str or dtype, optional
        The step shall be a number of this format: the best of those that are (``"mse"``), or the nearest to the one
        found (all others).
    weights : array_like, optional
        How much each number counts, in the shape of `x` (``"mse"``, ``"std"`` and ``"lp"``); ``"mse"`` minimizes
        Σ w·error², with the weights as the rationals they are.
    percentile : float, int, str or Fraction
        Of ``"percentile"``, 0 to 100, default 99.9: how many of the numbers lie inside; of `|x|` in the symmetric
        scheme. A float is taken as the decimal it is written as.
    tails : {"both", "upper", "lower"}
        Of ``"percentile"`` in the asymmetric scheme: which end leaves numbers out; default "both", half of them each.
    interpolation : {"inverted_cdf", "lower", "higher", "nearest", "midpoint", "linear"}
        Of ``"percentile"``, as numpy.quantile names them; the default is one of the numbers.
    bins, levels : int
        Of ``"entropy"``: bins of the histogram (2048), and what they are merged into (128).
    zeros : {"as_neighbours", "counted"}
        Of ``"entropy"``: whether the first bin, with the zeros, is given the count of the second, as NVIDIA's tools do
        it (the default), or counts as it is.
    deviations : float
        Of ``"std"``: how many (3).
    centre : {"zero", "mean"}
        Of ``"std"``: what they are counted from; default: zero in the symmetric scheme, else the mean.
    zero_points : int or (int, int)
        Of ``"mse"`` in the asymmetric scheme: the zero point, or the first and the last to look at. Default: all codes.
    p : float
        Of ``"lp"``: the norm's exponent (2.4).
    candidates : int
        Of ``"lp"``: into how many parts the range is divided (100).

    Returns
    -------
    Calibration
        A pair (low, high) for ``quantize(range=)``, with scale, step and zero point; of ``"mse"`` with a certificate.

    Raises
    ------
    BitquantError
        For NaN or infinity, with count and first index; an empty `x`; an option that the method does not have.

    Notes
    -----
    The optimum of ``"mse"`` is the least error over all positive real steps (and over all zero points that are codes),
    found by sorting: O(n log n), and a few bytes of memory for each number; of formats of up to 16 bits the different
    numbers alone are sorted. The other methods take memory for a million numbers, however many there are.

    Examples
    --------
    >>> import bitquant as bq
    >>> x = [0.1, -0.3, 0.45, 0.5, -0.55, 1.0]
    >>> best = bq.calibrate(x, bits=3)
    >>> best
    Calibration(method='mse', scheme='symmetric', low=-1.425, high=1.425, step=0.475, zero_point=0)
    >>> q = bq.quantize(x, bits=3, range=best)
    >>> q.codes, q.exact_scale == best.scale
    (array([ 0, -1,  1,  1, -1,  2], dtype=int8), True)
    >>> f"{float(best.certificate.sse):.4f}, and {float(best.certificate.runner_up_sse):.4f} at the next best step"
    '0.0500, and 0.0509 at the next best step'
    >>> bq.calibrate(x, "percentile", percentile=80).range
    Range(low=-0.55, high=0.55)
    """
    row = row_of(method, options)
    choose("nonfinite", nonfinite, _NONFINITE)
    if weights is not None and not row.weighted:
        raise BitquantError(f"method={method!r} knows no weights: 'mse', 'std' and 'lp' do")
    target = target_of(scheme, bits, signed, narrow, codebook, include_zero, step_format)
    channels = Channels.of(x, axis, group_size, block_shape, weights, nonfinite)
    return calibrated(channels, channels.granularity.parameter_shape, method, target, options)


def calibrated(
    channels: Iterable[Channel], shape: tuple[int, ...], method: str, target: Target, options: Mapping[str, Any]
) -> Calibration:
    """Find the range of each of some channels, of which there are so many along each dimension."""
    # A method's own room is opened when it is asked for.
    work = import_module(f"bitquant.calibrate.{METHODS[method].file}")
    if method != "mse":
        return of_ranges(method, target, shape, work.ranges(channels, target, **options))
    certificates = work.calibrated(channels, target, **options)
    steps, zero_points = [found.step for found in certificates], [found.zero_point for found in certificates]
    return of_steps(method, target, shape, steps, zero_points, certificates)


def row_of(method: str, options: Mapping[str, Any]) -> Row:
    """The row of a method, which has these options."""
    choose("method", method, {name: row.what for name, row in METHODS.items()})
    check_options(method, options)
    return METHODS[method]


def check_options(method: str, options: Mapping[str, Any]) -> None:
    """Raise BitquantError for an option that a method does not have."""
    for name in options:
        if name not in METHODS[method].options:
            allowed = ", ".join(METHODS[method].options) or "none"
            raise BitquantError(f"method={method!r} has no option {name}: its options are {allowed}")


def target_of(
    scheme: Any, bits: Any, signed: Any, narrow: Any, codebook: Any, include_zero: bool, step_format: Any
) -> Target:
    """What the numbers are to be mapped to, checked."""
    choose("scheme", scheme, SCHEMES)
    stored = None if step_format is None else format(step_format)
    if stored is not None and not stored.is_float:
        raise BitquantError(f"step_format={stored.name}: a step is stored in a floating format")
    values: Format | None = None if codebook is None else format(codebook)
    target = Target("codebook" if values else scheme, bits, signed, narrow, values, include_zero, stored)
    if values is None:
        Grid.of(scheme, bits, signed, narrow)
        return target
    if scheme != "symmetric" or include_zero:
        raise BitquantError("a codebook has neither scheme nor zero point: give codebook alone")
    return target


__all__ = ["METHODS", "calibrate", "calibrated", "check_options", "row_of", "target_of"]
