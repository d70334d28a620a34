"""What callers say of a quantization, checked: which range or scale, where the codes go."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.errors import BitquantError
from bitquant.formats import Format, format
from bitquant.quantize.extremes import extremes
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.parameters import Grid, Parameters, Scheme
from bitquant.quantize.rationals import exact_numbers, given_numbers, nearest_float, rationals


def codes_out(out: Array | None, array: Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Where the codes go: an array of the caller's, or a new one."""
    shape = array.shape
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise BitquantError(f"out must be a contiguous array of {dtype} and shape {shape}")
    if not out.flags.writeable:
        raise BitquantError("out is read-only: pass a writable array")
    if np.may_share_memory(out, array) and np.shares_memory(out, array):
        raise BitquantError("out overlaps x: pass another array")
    return out


def floats(values: Any, channels: int, name: str) -> NDArray[np.float64]:
    """Numbers given by a caller, one for each channel, as the nearest FP64."""
    if np.ndim(values) == 0 or np.size(values) == 1:
        return np.full(channels, _nearest(rationals(values, 1, name)))
    numbers = given_numbers(values, channels, name)
    return _nearest(numbers) if isinstance(numbers, list) else numbers


def _nearest(numbers: list[Fraction]) -> NDArray[np.float64]:
    return np.array([nearest_float(number) for number in numbers])


def pair(given_range: Any) -> tuple[Any, Any]:
    """Both ends of a range."""
    if not isinstance(given_range, (tuple, list)) or len(given_range) != 2:
        raise BitquantError(f"range={given_range!r}: give a pair, the low end and the high end")
    return given_range[0], given_range[1]


def parameters_for(
    array: Array,
    source: Format,
    scheme: Scheme,
    grid: Grid,
    granularity: Granularity,
    given_range: tuple[Any, Any] | None,
    scale: Any,
    step: Any,
    zero_point: Any,
    include_zero: bool,
    step_format: Format | None,
    nonfinite: str,
) -> Parameters:
    """The parameters that the caller gave, or those of the given range, or those of the numbers' own range."""
    channels = granularity.channels
    parameters = given_parameters(scale, step, 0 if zero_point is None else zero_point, channels, grid)
    if parameters is not None:
        if given_range is not None or step_format is not None or include_zero:
            raise BitquantError("scale or step say everything: give no range, step_format or include_zero with them")
        if scheme == "symmetric" and zero_point is not None and parameters.zero_points.any():
            raise BitquantError("the symmetric scheme has zero point 0: choose scheme='asymmetric'")
        return parameters
    if zero_point is not None:
        raise BitquantError("a zero_point needs the scale or step that it belongs to")
    if given_range is not None:
        ends = [
            given_numbers(end, channels, name) for end, name in zip(pair(given_range), ("low", "high"), strict=True)
        ]
        if any(isinstance(end, list) for end in ends):
            low, high = (end if isinstance(end, list) else exact_numbers(end) for end in ends)
            pairs = list(zip(low, high, strict=True))
            return Parameters.of_rational_ranges(pairs, scheme, grid, include_zero, step_format)
        lows, highs = (np.array(end) for end in ends)
    else:
        if not array.size:
            raise BitquantError("x is empty and has no range: give range=, scale= or step=")
        lows, highs = extremes(array, source, granularity, nonfinite == "raise")
    return Parameters.of_ranges(lows, highs, scheme, grid, include_zero, step_format)


def given_parameters(scale: Any, step: Any, zero_point: Any, channels: int, grid: Grid) -> Parameters | None:
    """The parameters that a caller gave as scale or step; None without either."""
    if scale is not None and step is not None:
        raise BitquantError("scale and step are inverses of each other: give one of them")
    name, given = ("scale", scale) if step is None else ("step", step)
    if given is None:
        return None
    values = given_numbers(given, channels, name)
    points = _zero_points(zero_point, channels)
    if isinstance(values, list):
        for value in values:
            if value <= 0:
                raise BitquantError(f"{name} is {nearest_float(value):g}: it must be positive")
        return Parameters.of_scales(values if name == "scale" else [1 / value for value in values], points, grid)
    return Parameters.of_numbers(values, name == "step", points, grid)


def opposite(low: Any, high: Any) -> bool:
    """Whether low = −high, for each channel."""
    size = max(np.size(low), np.size(high))
    lows, highs = rationals(low, size, "low"), rationals(high, size, "high")
    return all(one == -other for one, other in zip(lows, highs, strict=True))


def float_format(step_format: Any) -> Format:
    """The format in which steps are stored."""
    fmt = format(step_format)
    if not fmt.is_float:
        raise BitquantError(f"step_format={fmt.name}: a step is stored in a floating format")
    return fmt


def _zero_points(zero_point: Any, channels: int) -> NDArray[Any] | None:
    """Zero points given by a caller, one for each channel: int64 where that holds them, else Python's integers.

    None where they all are 0, as most are.
    """
    if type(zero_point) is int and -(2**63) <= zero_point < 2**63:
        return np.array([zero_point]).repeat(channels) if zero_point else None
    given = np.asarray(zero_point)
    if given.dtype.kind in "iu" and given.dtype != np.uint64 and given.size in (1, channels):
        return np.broadcast_to(given.reshape(-1).astype(np.int64), channels)
    values = rationals(zero_point, channels, "zero_point")
    for value in values:
        if value.denominator != 1:
            raise BitquantError(f"zero_point is {nearest_float(value):g}: it must be an integer")
    return np.array([int(value) for value in values], object)


__all__ = ["codes_out", "float_format", "floats", "given_parameters", "opposite", "pair", "parameters_for"]
