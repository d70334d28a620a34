"""The result of a quantization, the way back, and how far off it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bitquant import plans
from bitquant.arrays import plain, take, with_held_format
from bitquant.errors import BitquantError
from bitquant.formats import FP32, Format, format
from bitquant.kernels import levels
from bitquant.layouts import in_parts
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.parameters import Grid, Parameters, Range
from bitquant.quantize.rationals import nearest_code

if TYPE_CHECKING:
    from bitquant.quantize.comparison import Comparison
    from bitquant.quantize.found import Found
    from bitquant.quantize.report import Error

_LARGE = 512  # numbers of a channel whose values are worth a table


@dataclass(frozen=True, eq=False, repr=False)
class Quantized:
    """Codes with the parameters that made them.

    Attributes
    ----------
    codes : ndarray of int8 or uint8 (or a tensor, where a tensor was quantized)
    scheme : str
        "symmetric" or "asymmetric".
    bits : int
    signed : bool
    qmin, qmax : int
        The codes' range.
    granularity : Granularity
        Which numbers share a scale: its `block` is the shape of a block of them.
    axis : int or None
        The axis, where there is one scale per index of an axis.
    block_shape : tuple of int or None
        The blocks that share a scale, where these are groups or tiles.
    dialect : str or None
        The dialect by which the numbers were quantized, and codes are dequantized.
    rounding : str
        Of the codes; where there is a dialect, its formula for them.
    step_format : Format or None
        The format the step was rounded to.
    source : Format
        The format of the original numbers.
    """

    codes: Any
    scheme: str
    bits: int
    granularity: Granularity
    rounding: str
    step_format: Format | None
    source: Format
    nonfinite: str
    grid: Grid
    parameters: Parameters | Found
    give_back: Callable[[NDArray[Any]], Any]

    @property
    def qmin(self) -> int:
        """The smallest code in use."""
        return self.grid.low

    @property
    def qmax(self) -> int:
        """The largest code in use."""
        return self.grid.high

    @property
    def signed(self) -> bool:
        """Whether codes are int8 (or uint8)."""
        return self.grid.signed

    @property
    def axis(self) -> int | None:
        """The axis that has a scale per index; None where scales do not go by an axis."""
        return self.granularity.axis

    @property
    def block_shape(self) -> tuple[int, ...] | None:
        """The shape of the blocks that share a scale; None for one scale per tensor or per index of an axis."""
        whole = self.granularity.axis is not None or not self.granularity.parameter_shape
        return None if whole else self.granularity.block

    @property
    def dialect(self) -> str | None:
        """The dialect by which the numbers were quantized; None for exact quantization."""
        return None if isinstance(self.parameters, Parameters) else self.parameters.row.name

    @property
    def exact_scale(self) -> Fraction | tuple[Fraction, ...]:
        """The scale as the rational it is; a tuple of them in C order where there are several."""
        return self.parameters.scales if self.granularity.parameter_shape else self.parameters.scales[0]

    @property
    def scale(self) -> Any:
        """Codes per unit: what a number is multiplied by. The FP64 nearest to `exact_scale`. The inverse of `step`."""
        return self._shaped(self.parameters.float_scales())

    @property
    def step(self) -> Any:
        """Units per code, 1/scale: what ONNX, PyTorch and TFLite call "scale". The FP64 nearest to it."""
        return self._shaped(self.parameters.float_steps())

    @property
    def zero_point(self) -> Any:
        """The code of zero: an int, or an int32 array with one per scale. Some dialects do not round it."""
        return self._shaped(self.parameters.zero_points)

    @property
    def range(self) -> Range:
        """The numbers that are mapped without clipping, in the units of the numbers; of a dialect, its end codes'."""
        low, high = self.parameters.float_ranges()
        return Range(self._shaped(low), self._shaped(high))

    def _shaped(self, parameters: NDArray[Any]) -> Any:
        """One number, or an array as the scales lie (n,) along an axis, or blocks along each dimension."""
        shape = self.granularity.parameter_shape
        return parameters.reshape(shape).copy() if shape else parameters[0].item()

    def dequantize(self, dtype: Any = None, *, threads: int | None = 1) -> Any:
        """Return (codes − zero_point) / scale, rounded once; with a dialect, what it gives.

        Parameters
        ----------
        dtype : dtype or Format, optional
            A floating format; default: that of the original numbers, float32 where those were integers; of a dialect,
            the one that it gives. Another one than that is rounded to from what it gives.
        threads : int or None
            As for `convert`.

        Returns
        -------
        ndarray, or tensor where a tensor was quantized
            In the shape of the codes.

        Examples
        --------
        >>> import bitquant as bq
        >>> bq.symmetric([1.0, -0.5, 0.1]).dequantize("float16")
        array([ 1.     , -0.504  ,  0.10236], dtype=float16)
        """
        if dtype is None:
            found = self.parameters
            dtype = _real(self.source) if isinstance(found, Parameters) else found.value_format
        codes, _ = take(self.codes)
        return self.give_back(dequantized(codes, self.parameters, self.grid, self.granularity, format(dtype), threads))

    def error(self, x: Any) -> Error:
        """Compare the dequantized numbers, in the format of the originals, with the originals.

        Parameters
        ----------
        x : array_like
            The numbers that were quantized. Where they were quantized with ``nonfinite="saturate"``, those that are
            not finite are left out.

        Returns
        -------
        Error

        Raises
        ------
        BitquantError
            When the shapes differ, when `x` is empty, or holds NaN or infinity.

        Examples
        --------
        >>> import bitquant as bq
        >>> x = [1.0, -0.5, 0.1]
        >>> error = bq.symmetric(x).error(x)
        >>> f"{error.sqnr_db:.1f} dB, at most {error.max_abs:.4f} off"
        '47.8 dB, at most 0.0039 off'
        """
        from bitquant.quantize.report import compare  # the room of reports is opened when one is asked for

        return compare(self.comparison(x))

    def comparison(self, x: Any) -> Comparison:
        """The numbers that were quantized beside their codes: what `error` is made from."""
        from bitquant.quantize.comparison import Comparison

        original, source = with_held_format(take(x)[0])
        codes, _ = take(self.codes)
        if original.shape != codes.shape:
            raise BitquantError(f"x has shape {original.shape}, the codes {codes.shape}: pass what was quantized")
        if not original.size:
            raise BitquantError("the error of no numbers is not defined: x is empty")
        target = _real(source)
        codes = np.ascontiguousarray(codes).reshape(-1)
        original = plain(original).reshape(-1)
        return Comparison(
            original,
            codes,
            _way_back(self.parameters, self.grid, self.granularity, target),
            target,
            # The first and last float of a range, whose ends may lie between two floats.
            self.parameters.inside(),
            self.parameters.float_steps,
            self.granularity,
            skip_nonfinite=self.nonfinite != "raise",
            title=self._title(),
        )

    def __repr__(self) -> str:
        return f"<Quantized {self._title()}>"

    def _title(self) -> str:
        """What was quantized and how, in a line."""
        shape = " × ".join(str(length) for length in self.granularity.shape) or "1"
        count = self.granularity.channels
        scales = "one scale"
        if self.axis is not None:
            scales = f"{count} scales along axis {self.axis}"
        elif self.block_shape is not None:
            scales = f"{count} scales of {' × '.join(str(length) for length in self.block_shape)}"
        how = (
            f"{self.scheme}, {self.bits} bits" if self.dialect is None else f"dialect {self.dialect}, {self.bits} bits"
        )
        return f"{shape} numbers of {self.source.name}: {how}, {scales}"


def _real(source: Format) -> Format:
    """The format that numbers of a source come back in: its own, where that is a floating one with sign and zero."""
    return source if source.is_float and source.signed else FP32


def dequantized(
    codes: NDArray[Any],
    parameters: Parameters | Found,
    grid: Grid,
    granularity: Granularity,
    target: Format,
    threads: int | None,
) -> NDArray[Any]:
    """Codes of any layout to numbers of a floating format."""
    if not target.is_float or not target.signed:
        raise BitquantError(f"dequantizing gives real numbers: {target.name} is no floating format with a sign")
    result = np.empty(codes.shape, target.code_dtype)
    codes = np.ascontiguousarray(codes)
    if codes.size:
        back_of = _way_back(parameters, grid, granularity, target)
        flat, values = codes.reshape(-1), result.reshape(-1)
        in_parts(lambda start, stop: back_of(flat[start:stop], values[start:stop], start), codes.size, threads)
    return result.view(target.array_dtype)


def _way_back(
    parameters: Parameters | Found, grid: Grid, granularity: Granularity, target: Format
) -> Callable[[NDArray[Any], NDArray[Any], int], None]:
    """What turns codes, the first of them number `start` of the array, into codes of the target format.

    By a table with the values of all bytes, or the products that are proved equal to it, where channels are large
    enough to pay for it; else number by number.
    """
    if not isinstance(parameters, Parameters):
        return parameters.way_back(target)
    numbers, blocks, row = parameters.numbers, granularity.blocks, plans.rounding_row(target)
    codes = np.arange(256, dtype=np.uint8).view(grid.dtype)
    wide = {
        channel: np.array(
            [level((code - int(parameters.zero_points[channel])) / scale, target) for code in codes.tolist()],
            target.code_dtype,
        )
        for channel, scale in parameters.wide.items()
    }
    channels, word = granularity.channels, target.code_dtype.itemsize
    if channels == 1 or _LARGE * channels <= blocks.size:
        table = np.empty((channels, 256), target.code_dtype)
        each = Granularity.of(table.shape, 0, None, None).blocks
        levels.EachValue(numbers, grid.signed, each, row, word)(np.tile(codes, channels), table.reshape(-1))
        for channel, row_of_codes in wide.items():
            table[channel] = row_of_codes
        if target is FP32:
            steps, points = parameters.float_steps(), parameters.zero_points
            if levels.are_products(table, steps, points, grid.signed):
                return levels.Products(table, blocks, steps, points, grid.signed)
        return levels.Table(table, blocks)
    each_value = levels.EachValue(numbers, grid.signed, blocks, row, word)
    if not wide:
        return each_value

    def patched(source: NDArray[Any], values: NDArray[Any], start: int) -> None:
        each_value(source, values, start)
        channel_of = granularity.channels_of(start, start + source.size)
        for channel in np.intersect1d(channel_of, list(wide)).tolist():
            mine = channel_of == channel
            values[mine] = wide[channel][source[mine].view(np.uint8)]

    return patched


def level(value: Fraction, target: Format) -> int:
    """The code of the number of a floating format nearest to a rational."""
    code = min(nearest_code(abs(value), target), target.largest_code + (target.infinity or target.has_nan))
    return code | (value < 0 and (code > 0 or target.signed_zero)) << target.magnitude_bits


__all__ = ["Quantized", "dequantized", "level"]
