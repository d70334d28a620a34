"""The linear mappings of quantization: symmetric, asymmetric, clipped."""

from __future__ import annotations

import builtins
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitquant import plans
from bitquant.arrays import Array, plain, take, with_held_format
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP64, Format, format
from bitquant.kernels.affine import Affine
from bitquant.layouts import in_parts
from bitquant.quantize.arguments import codes_out, float_format, given_parameters, opposite, parameters_for
from bitquant.quantize.extremes import nonfinite_error
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.parameters import SCHEMES, Grid, Parameters, Scheme
from bitquant.quantize.quantized import Quantized, dequantized
from bitquant.quantize.staircase import quantize_wide
from bitquant.rules import Rounding, choose, fixed_rounding, rounding_index

_CHUNK = 1 << 16
if TYPE_CHECKING:
    from bitquant.dialects.quantizers import Quantizer

Nonfinite: TypeAlias = Literal["raise", "saturate"]
_NONFINITE = {
    "raise": "an error with the count and the first index",
    "saturate": "infinities to the end codes, NaN to the zero point, both left out of the range",
}


def symmetric(x: Any, **options: Any) -> Quantized:
    """Map numbers symmetrically: ``scale = qmax / max|x|``, ``q = round(x · scale)``, zero point 0.

    Parameters
    ----------
    x : array_like
        Numbers of any floating format (or integers), any shape.
    **options
        As for `quantize`.

    Returns
    -------
    Quantized

    Examples
    --------
    >>> import bitquant as bq
    >>> q = bq.symmetric([0.5, -1.0, 0.25, 0.1])
    >>> q.codes, q.scale, q.zero_point
    (array([  64, -127,   32,   13], dtype=int8), 127.0, 0)
    """
    return quantize(x, "symmetric", **options)


def asymmetric(x: Any, **options: Any) -> Quantized:
    """Map numbers with a zero point: ``scale = 255 / (max − min)``, ``zero_point = round(−min · scale) − 128``.

    ``q = round(x · scale + zero_point)``, the sum inside the one rounding.

    Parameters
    ----------
    x : array_like
        Numbers of any floating format (or integers), any shape.
    **options
        As for `quantize`.

    Returns
    -------
    Quantized

    Examples
    --------
    >>> import bitquant as bq
    >>> q = bq.asymmetric([0.0, 1.0, 2.0, 4.0])
    >>> q.codes, q.scale, q.zero_point
    (array([-128,  -64,    0,  127], dtype=int8), 63.75, -128)
    """
    return quantize(x, "asymmetric", **options)


def clipped(x: Any, low: Any, high: Any, *, scheme: Scheme | None = None, **options: Any) -> Quantized:
    """Map numbers by a chosen range; what lies outside gets the end codes.

    Parameters
    ----------
    x : array_like
        Numbers of any floating format (or integers), any shape.
    low, high : float, Fraction or array_like
        The range, in the units of the numbers; one for each channel, or one for all.
    scheme : {"symmetric", "asymmetric"}, optional
        Default: "symmetric" where low = −high, else "asymmetric".
    **options
        As for `quantize`.

    Returns
    -------
    Quantized

    Examples
    --------
    >>> import bitquant as bq
    >>> bq.clipped([0.5, -1.0, 0.25, 80.0], -1, 1).codes
    array([  64, -127,   32,  127], dtype=int8)
    """
    if scheme is None:
        scheme = "symmetric" if opposite(low, high) else "asymmetric"
    return quantize(x, scheme, range=(low, high), **options)


def quantize(
    x: Any,
    scheme: Scheme | None = None,
    *,
    bits: int | None = None,
    signed: bool | None = None,
    narrow: bool | None = None,
    axis: int | None = None,
    group_size: int | None = None,
    block_shape: tuple[int, ...] | None = None,
    range: tuple[Any, Any] | None = None,
    scale: Any = None,
    step: Any = None,
    zero_point: Any = None,
    include_zero: bool = False,
    step_format: Any = None,
    rounding: Rounding = "nearest_even",
    nonfinite: Nonfinite = "raise",
    dialect: str | Quantizer | None = None,
    out: Array | None = None,
    threads: int | None = 1,
) -> Quantized:
    """Map numbers linearly to integer codes: with exact rational arithmetic and one rounding, or by a dialect.

    Parameters
    ----------
    x : array_like
        Numbers of any floating format (or integers), any shape.
    scheme : {"symmetric", "asymmetric"}, optional
        Default: symmetric, or the dialect's own.
    bits : int, optional
        2 to 8. Default: 8, or the dialect's own.
    signed : bool, optional
        int8 codes, or uint8. Default: int8, or the dialect's own.
    narrow : bool, optional
        Whether the lowest code is left out: [-127, 127]. Default: in the signed symmetric scheme.
    axis : int, optional
        One scale and zero point for each index along this axis (per channel; per token where rows are tokens).
        Default: one for the tensor.
    group_size : int, optional
        One scale and zero point for so many successive numbers along `axis` (default: the last), for each index of
        the other dimensions; the last group may be smaller.
    block_shape : tuple of int, optional
        One scale and zero point for each block of this shape, an entry for each dimension, −1 for all of it; blocks
        at the edges may be smaller.
    range : (low, high), optional
        What to map, in the units of the numbers; one for all or one for each scale. Default: the extremes of the
        numbers.
    scale, step : float, Fraction or array_like, optional
        Given instead of a range: codes per unit, or its inverse, units per code (what ONNX, PyTorch and TFLite call
        "scale").
    zero_point : int or array_like of int, optional
        With `scale` or `step`: the code of zero. Default 0.
    include_zero : bool
        Widen the range to include zero first (asymmetric), as ONNX and PyTorch do.
    step_format : Format, str or dtype, optional
        Round the step to this format first; scale, zero point and codes are then exact for the step that is stored.
    rounding : str
        As for `convert`; of the codes.
    nonfinite : {"raise", "saturate"}
        NaN and infinity: an error, or infinities to the end codes and NaN to the code nearest the zero point. A dialect
        has codes of its own for them; what is said here goes for the search of a range.
    dialect : str or Quantizer, optional
        Quantize as the named system does, bit for bit, by the order and precision of its own operations: parameters,
        codes, and numbers when dequantized (docs/quantizers.md). It says how to round, and whether zero is included.
    out : ndarray of int8 or uint8, optional
        Where the codes go: contiguous, in the shape of `x`.
    threads : int or None
        As for `convert`.

    Returns
    -------
    Quantized

    Raises
    ------
    BitquantError
        NaN or infinity, with count and first index; an empty `x` where a range is needed; parameters that contradict
        each other or do not fit the axis; a zero point beyond int32; a step that `step_format` cannot hold.

    Notes
    -----
    docs/semantics.md, "Quantize". A scale is a rational made from the numbers and never first rounded to a float.

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> bq.quantize([[1.0, 2.0], [10.0, 40.0]], axis=0).codes
    array([[ 64, 127],
           [ 32, 127]], dtype=int8)
    >>> bq.quantize([0.5, 2.5, -300], step=1).codes
    array([   0,    2, -127], dtype=int8)
    >>> q = bq.quantize(np.float32([0.5, -1.0, 0.25]), dialect="torch")
    >>> q.codes, q.step
    (array([  64, -127,   32], dtype=int8), 0.007843137718737125)
    """
    choose("nonfinite", nonfinite, _NONFINITE)
    if dialect is not None:
        if scale is not None or step_format is not None or include_zero or rounding != "nearest_even":
            raise BitquantError(
                "a dialect says how it rounds: give no scale (but step), step_format, include_zero or rounding"
            )
        # Opened when a dialect is asked for: most programs never do, and pay for it at every start.
        from bitquant.quantize.by_dialect import quantize_by

        shares = axis, group_size, block_shape
        return quantize_by(
            dialect,
            x,
            scheme,
            bits,
            signed,
            narrow,
            shares,
            range,
            step,
            zero_point,
            nonfinite,
            out,
            threads,
        )
    scheme, bits, signed = scheme or "symmetric", 8 if bits is None else bits, signed is None or signed
    choose("scheme", scheme, SCHEMES)
    rounding_name = fixed_rounding(rounding)
    grid = Grid.of(scheme, bits, signed, narrow)
    stored = None if step_format is None else float_format(step_format)
    array, give_back = take(x)
    array, source = with_held_format(array)
    granularity = Granularity.of(array.shape, axis, group_size, block_shape)
    array = plain(array)
    parameters = parameters_for(
        array, source, scheme, grid, granularity, range, scale, step, zero_point, include_zero, stored, nonfinite
    )
    codes = codes_out(out, array, grid.dtype)
    if array.size:
        _fill(array, source, codes, parameters, grid, granularity, rounding_name, nonfinite, threads)
    return Quantized(
        codes=give_back(codes),
        scheme=scheme,
        bits=int(bits),
        granularity=granularity,
        rounding=rounding_name,
        step_format=stored,
        source=source,
        nonfinite=nonfinite,
        grid=grid,
        parameters=parameters,
        give_back=give_back,
    )


def again(item: Quantized, array: Array) -> Quantized:
    """Quantize other numbers by the parameters of what was quantized; of its shape and dtype, and contiguous."""
    assert isinstance(item.parameters, Parameters)
    codes = np.empty(array.shape, item.grid.dtype)
    _fill(array, item.source, codes, item.parameters, item.grid, item.granularity, item.rounding, item.nonfinite, 1)
    return replace(item, codes=codes)


def dequantize(
    codes: Any,
    *,
    scale: Any = None,
    step: Any = None,
    zero_point: Any = 0,
    axis: int | None = None,
    group_size: int | None = None,
    block_shape: tuple[int, ...] | None = None,
    dtype: Any = "float32",
    dialect: str | Quantizer | None = None,
    bits: int | None = None,
    threads: int | None = 1,
) -> Any:
    """Return (codes − zero_point) / scale, exact and rounded once; or what another system makes of the codes.

    Parameters
    ----------
    codes : array_like of int8 or uint8; of int16 or uint16 where the dialect has such
    scale, step : float, Fraction or array_like
        One of the two: codes per unit, or units per code (what ONNX, PyTorch and TFLite call "scale"); one for each
        channel, or one for all.
    zero_point : int or array_like of int
    axis, group_size, block_shape : optional
        Which numbers share a scale, as for `quantize`.
    dtype : dtype or Format
        A floating format; with a dialect, that of the numbers that were quantized.
    dialect : str or Quantizer, optional
        Dequantize as the named system does, bit for bit (docs/quantizers.md); it wants the step.
    bits : int, optional
        Of the codes, for a dialect; default: its own.
    threads : int or None
        As for `convert`.

    Returns
    -------
    ndarray, or tensor where the codes were one

    Raises
    ------
    BitquantError
        As for `quantize`.

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> bq.dequantize(np.array([-128, 0, 127], np.int8), step=0.1, zero_point=-128)
    array([ 0. , 12.8, 25.5], dtype=float32)
    """
    array, give_back = take(codes)
    if dialect is not None:
        from bitquant.quantize.by_dialect import dequantize_by

        shares = axis, group_size, block_shape
        return give_back(dequantize_by(dialect, array, scale, step, zero_point, shares, dtype, bits, threads))
    if array.dtype not in (np.int8, np.uint8):
        raise BitquantError(f"codes are int8 or uint8, not {array.dtype}")
    granularity = Granularity.of(array.shape, axis, group_size, block_shape)
    grid = Grid.of("asymmetric", 8, array.dtype == np.int8, False)
    parameters = given_parameters(scale, step, zero_point, granularity.channels, grid)
    if parameters is None:
        raise BitquantError("give the scale or the step that the codes were made with")
    return give_back(dequantized(array, parameters, grid, granularity, format(dtype), threads))


def _fill(
    array: Array,
    source: Format,
    codes: NDArray[Any],
    parameters: Parameters,
    grid: Grid,
    granularity: Granularity,
    rounding: str,
    nonfinite: str,
    threads: int | None,
) -> None:
    """Fill the codes of an array that is not empty."""
    carrier, widen = plans.to_carrier(source)
    word = carrier.code_dtype.itemsize
    mode = rounding_index(rounding)
    kernel = Affine(word, widen, mode, grid.low, grid.high, parameters.numbers, granularity.blocks)
    found = in_parts(lambda start, stop: kernel.run(array, codes, start, stop), array.size, threads)
    count = sum(part[0] for part in found)
    if count and nonfinite == "raise":
        first = next(part[1] for part in found if part[1] >= 0)
        raise nonfinite_error(array.shape, float(array.reshape(-1)[first]), count, first)
    if parameters.wide:
        _fill_wide(array.reshape(-1), source, codes.reshape(-1), parameters, grid, granularity, rounding)


def _fill_wide(
    array: Array,
    source: Format,
    codes: NDArray[Any],
    parameters: Parameters,
    grid: Grid,
    granularity: Granularity,
    rounding: str,
) -> None:
    """Fill the codes of the channels whose scales are too wide for the kernel, which has settled what is not finite."""
    wide = np.array(list(parameters.wide))
    for start in builtins.range(0, array.size, _CHUNK):
        part = slice(start, min(start + _CHUNK, array.size))
        channel_of = granularity.channels_of(part.start, part.stop)
        numbers = convert(array[part], FP64, source)
        for channel in np.intersect1d(channel_of, wide).tolist():
            mine = np.flatnonzero((channel_of == channel) & np.isfinite(numbers))
            found = np.empty(mine.size, grid.dtype)
            point = int(parameters.zero_points[channel])
            quantize_wide(numbers[mine], found, parameters.wide[channel], point, grid, rounding)
            codes[part][mine] = found


__all__ = ["again", "asymmetric", "clipped", "dequantize", "quantize", "symmetric"]
