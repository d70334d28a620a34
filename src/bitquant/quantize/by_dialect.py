"""Quantization by another system's rule: the two public functions where they are given a dialect."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array, plain, take, with_held_format
from bitquant.dialects.quantizers import Quantizer, quantizer
from bitquant.errors import BitquantError
from bitquant.formats import format
from bitquant.quantize.arguments import codes_out, floats, pair
from bitquant.quantize.extremes import extremes
from bitquant.quantize.found import fill, find, grid_of, needs_peak, peaks, take_given
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.parameters import SCHEMES, Scheme
from bitquant.quantize.quantized import Quantized, dequantized
from bitquant.rules import choose


def quantize_by(
    dialect: str | Quantizer,
    x: Any,
    scheme: Scheme | None,
    bits: int | None,
    signed: bool | None,
    narrow: bool | None,
    shares: tuple[Any, Any, Any],
    given_range: tuple[Any, Any] | None,
    step: Any,
    zero_point: Any,
    nonfinite: str,
    out: Array | None,
    threads: int | None,
) -> Quantized:
    """Quantize as a row of the dialects does."""
    row = quantizer(dialect)
    if scheme is None:
        scheme = "asymmetric" if zero_point is not None or not row.symmetric else "symmetric"
    choose("scheme", scheme, SCHEMES)
    grid, bits = grid_of(row, scheme, bits, signed, narrow)
    array, give_back = take(x)
    array, source = with_held_format(array)
    granularity = Granularity.of(array.shape, *shares)
    array = plain(array)
    channels = granularity.channels
    if step is not None:
        if given_range is not None:
            raise BitquantError("a step says everything: give no range with it")
        steps, zero_points = _steps_and_zeros(step, zero_point, channels)
        found = take_given(row, grid, bits, source, granularity, steps, zero_points)
    else:
        if zero_point is not None:
            raise BitquantError("a zero_point needs the step that it belongs to")
        if not row.parameters(scheme):
            other = "choose the other scheme" if row.symmetric or row.asymmetric else "give step= and zero_point="
            raise BitquantError(f"the dialect {row.name} finds no {scheme} parameters: {other}")
        if needs_peak(row, scheme) and given_range is not None:
            raise BitquantError(f"the dialect {row.name} looks at all numbers: give no range")
        if given_range is not None:
            low, high = pair(given_range)
            lows, highs = floats(low, channels, "low"), floats(high, channels, "high")
        elif array.size:
            lows, highs = extremes(array, source, granularity, nonfinite == "raise")
        else:
            raise BitquantError("x is empty and has no range: give range= or step=")
        ends = {"low": lows, "high": highs}
        if needs_peak(row, scheme):
            ends["peak"] = peaks(array, source, granularity, lows, highs)
        found = find(row, scheme, grid, bits, source, granularity, ends)
    codes = codes_out(out, array, found.dtype)
    if array.size:
        fill(found, array, codes, threads)
    return Quantized(
        codes=give_back(codes),
        scheme=scheme,
        bits=bits,
        granularity=granularity,
        rounding=row.codes,
        step_format=found.step_format,
        source=source,
        nonfinite=nonfinite,
        grid=grid,
        parameters=found,
        give_back=give_back,
    )


def dequantize_by(
    dialect: str | Quantizer,
    codes: Array,
    scale: Any,
    step: Any,
    zero_point: Any,
    shares: tuple[Any, Any, Any],
    dtype: Any,
    bits: int | None,
    threads: int | None,
) -> NDArray[Any]:
    """Dequantize as a row of the dialects does."""
    row = quantizer(dialect)
    if scale is not None or step is None:
        raise BitquantError("a dialect has steps: give step, and no scale")
    if codes.dtype not in (np.int8, np.uint8, np.int16, np.uint16):
        raise BitquantError(f"codes are int8, uint8, int16 or uint16, not {codes.dtype}")
    if bits is None:
        bits = row.bits[0] if codes.dtype.itemsize == 1 else 16
    grid, bits = grid_of(row, "asymmetric", bits, codes.dtype.kind == "i", None)
    granularity = Granularity.of(codes.shape, *shares)
    steps, zero_points = _steps_and_zeros(step, zero_point, granularity.channels)
    found = take_given(row, grid, bits, format(dtype), granularity, steps, zero_points)
    if codes.dtype != found.dtype:
        raise BitquantError(f"codes of {bits} bits are {found.dtype} here, not {codes.dtype}")
    return dequantized(codes, found, grid, granularity, found.value_format, threads)


def _steps_and_zeros(step: Any, zero_point: Any, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and zero points that a caller gave for a dialect."""
    steps = floats(step, channels, "step")
    for number in steps[steps.view(np.int64) <= 0][:1]:
        raise BitquantError(f"step is {number:g}: it must be positive")
    return steps, floats(0 if zero_point is None else zero_point, channels, "zero_point")


__all__ = ["dequantize_by", "quantize_by"]
