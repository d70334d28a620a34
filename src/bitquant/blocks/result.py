"""The result: codes and the scales their blocks share, the way back, the error, and the bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array, take, with_held_format
from bitquant.blocks.cut import Cut, axis_of
from bitquant.blocks.storage import layout_of, packed, unpacked
from bitquant.blocks.table import BlockFormat, block_format
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP32, FP64, Format, format
from bitquant.kernels.pipeline import Pipeline
from bitquant.kernels.scaled import Scale
from bitquant.permitted import Rules
from bitquant.quantize.comparison import Comparison
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.report import Error, compare
from bitquant.stages import from_carrier
from bitquant.stages import to_carrier as stage_to


@dataclass(frozen=True, eq=False, repr=False)
class Blocks:
    """Element codes with the scales that their blocks share.

    A number is element · scale (· tensor scale), the product exact; MXINT8's elements are worth 2^-6 each.

    Attributes
    ----------
    codes : ndarray in the shape of the numbers
        Of the element format's dtype (``ml_dtypes.float4_e2m1fn``, ``int8`` ...): view them as uint8 for the codes'
        bits.
    scales : ndarray, the numbers' shape with one entry for each block along `axis`
        Of the scale format's dtype (``float8_e8m0fnu``, ``float8_e4m3fn``, ``float16``).
    tensor_scale : numpy.float32 or None
        NVFP4's second scale.
    format : BlockFormat
    axis : int
        The axis that is cut into blocks; the last block along it may be shorter.
    scale_rule, rounding : str or None
        How they were made; None where that is not known.
    source : Format
        The format of the original numbers.
    """

    codes: Any
    scales: Any
    tensor_scale: np.float32 | None
    format: BlockFormat
    axis: int
    scale_rule: str | None
    rounding: Any
    source: Format
    give_back: Callable[[Array], Any]

    def dequantize(self, dtype: Any = None, *, threads: int | None = 1) -> Any:
        """Return element · scale (· tensor scale), rounded once.

        Parameters
        ----------
        dtype : dtype or Format, optional
            A floating format with sign and NaN; default: float32.
        threads : int or None
            As for `convert`.

        Returns
        -------
        ndarray, or tensor where a tensor was quantized
            In the shape of the codes. NaN (the canonical one) throughout a block whose scale is NaN.

        Raises
        ------
        BitquantError
            For a format without sign or NaN.

        Examples
        --------
        >>> import bitquant as bq
        >>> bq.quantize_blocks([1.0, -2.5, 0.3], "mxfp4").dequantize()
        array([ 1.  , -2.  ,  0.25], dtype=float32)
        """
        target = FP32 if dtype is None else format(dtype)
        if not (target.is_float and target.signed and target.has_nan):
            raise BitquantError(f"dequantizing to {target.name} is not possible: choose a float with sign and NaN")
        codes = self._codes()
        result = np.empty(codes.shape, target.code_dtype)
        cut = Cut.of(codes.shape, self.axis, self.format.block)
        flat, values = codes.reshape(-1), result.reshape(-1)

        def work(first: int, last: int) -> None:
            start, stop = cut.start(first), cut.start(last)
            values[start:stop] = self._values(flat[start:stop], cut, first, last, target)

        cut.in_slabs(work, threads)
        return self.give_back(result.view(target.array_dtype))

    def error(self, x: Any) -> Error:
        """Compare the dequantized numbers, in the format of the originals, with the originals.

        Parameters
        ----------
        x : array_like
            The numbers that were quantized. Those that are not finite are left out.

        Returns
        -------
        Error
            `clipped` is the share of numbers whose magnitude exceeds that of the largest element times their step.

        Raises
        ------
        BitquantError
            When the shapes differ, or nothing in `x` is finite.

        Examples
        --------
        >>> import bitquant as bq
        >>> x = [1.0, -2.5, 0.3]
        >>> error = bq.quantize_blocks(x, "mxfp8").error(x)
        >>> f"{error.sqnr_db:.1f} dB, at most {error.max_abs:.4f} off"
        '46.7 dB, at most 0.0125 off'
        """
        original, source = with_held_format(take(x)[0])
        codes = self._codes()
        if original.shape != codes.shape:
            raise BitquantError(f"x has shape {original.shape}, the codes {codes.shape}: pass what was quantized")
        target = source if source.is_float and source.signed and source.has_nan else FP32
        steps = self._steps()
        element = self.format.element
        low = int(element.min) + self.format.narrow if element.is_integer else -float(element.max)
        ends = low * steps, float(element.max) * steps
        values = np.ascontiguousarray(take(self.dequantize(target))[0]).view(target.code_dtype).reshape(-1)

        def way_back(source: Array, back: Array, start: int) -> None:
            back[:] = values[start : start + source.size]

        return compare(
            Comparison(
                np.ascontiguousarray(original).reshape(-1),
                codes.reshape(-1),
                way_back,
                target,
                (np.minimum(*ends), np.maximum(*ends)),
                lambda: np.abs(steps),
                Granularity.of(codes.shape, self.axis, self.format.block, None),
                skip_nonfinite=True,
                title=self._title(),
            )
        )

    def __repr__(self) -> str:
        return f"<Blocks {self._title()}>"

    def _title(self) -> str:
        """What was quantized and how, in a line."""
        shape = " × ".join(str(length) for length in self.codes.shape)
        rule = f", {self.scale_rule}" if self.scale_rule else ""
        return f"{shape} numbers of {self.source.name}: {self.format.name} along axis {self.axis}{rule}"

    def pack(self, layout: str | None = None) -> Any:
        """Return the bytes in which codes and scales are stored.

        Parameters
        ----------
        layout : {"separate", "cublas", "gguf"}, optional
            docs/blocks.md says what each is, and which a format has. Default: the format's first.

        Returns
        -------
        ndarray of uint8 ("gguf"), or a pair (elements, scales)
            With the blocks' axis last. Scales are codes, as unsigned integers of their width.

        Raises
        ------
        BitquantError
            For a layout that the format lacks, or a row that is no whole number of GGUF's records.

        Examples
        --------
        >>> import bitquant as bq
        >>> elements, scales = bq.quantize_blocks([1.0, -2.5, 0.3], "mxfp4").pack()
        >>> elements, scales
        (array([228,   1], dtype=uint8), array([126], dtype=uint8))
        """
        name = layout_of(self.format, layout)
        scales = take(self.scales)[0]
        return packed(self._codes(), scales.view(self.format.scale.code_dtype), self.format, self.axis, name)

    def _codes(self) -> Array:
        """The codes as contiguous bytes."""
        return np.ascontiguousarray(take(self.codes)[0]).view(np.uint8)

    def _steps(self, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
        """What an element's 1 is worth in the blocks start to stop, in C order; exact."""
        row = self.format
        stored = take(self.scales)[0].view(row.scale.code_dtype).reshape(-1)[start:stop]
        steps: NDArray[np.float64] = convert(stored, FP64, row.scale) * math.ldexp(1.0, row.unit)  # no FPU mode counts
        return steps if self.tensor_scale is None else steps * float(convert(self.tensor_scale, FP64))

    def _values(self, codes: Array, cut: Cut, first: int, last: int, target: Format) -> Array:
        """The numbers of whole units, as codes of the target."""
        row = self.format
        steps = self._steps(first * cut.inner, last * cut.inner)
        rules = Rules.of(target, nan="canonical")
        stages = (
            stage_to(row.element, FP64, quiet=False),
            Scale(steps, cut.shape, first * cut.inner, False),
            *from_carrier(FP64, target, FP64, rules),
        )
        values = np.empty(codes.shape, target.code_dtype)
        Pipeline(stages).run(codes, values, index=cut.start(first))
        return values


def unpack_blocks(
    data: Any,
    fmt: Any,
    shape: Any,
    *,
    axis: int = -1,
    layout: str | None = None,
    tensor_scale: Any = None,
) -> Blocks:
    r"""Take codes and scales out of the bytes they are stored in.

    Parameters
    ----------
    data : array_like of uint8, or a pair (elements, scales)
        As `Blocks.pack` gives it.
    fmt : BlockFormat or str
    shape : tuple of int
        Of the numbers.
    axis : int
        The axis that is cut into blocks, in `shape`. Default: the last.
    layout : str, optional
        Default: the format's first.
    tensor_scale : float, optional
        NVFP4's second scale, a number of float32. Default: 1.

    Returns
    -------
    Blocks

    Raises
    ------
    BitquantError
        When the number of bytes does not fit the shape.

    Examples
    --------
    >>> import bitquant as bq
    >>> bq.unpack_blocks((b"\xe4\x01", b"\x7e"), "mxfp4", (3,)).dequantize()
    array([ 1.  , -2.  ,  0.25], dtype=float32)
    """
    row = block_format(fmt)
    whole = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
    at = axis_of(axis, len(whole))
    codes, scales = unpacked(data, whole, row, at, layout_of(row, layout))
    return Blocks(
        codes.view(row.element.array_dtype),
        scales.view(row.scale.array_dtype),
        given_tensor_scale(tensor_scale, row) if row.tensor_scale else None,
        row,
        at,
        None,
        None,
        FP32,
        lambda array: array,
    )


def given_tensor_scale(given: Any, row: BlockFormat) -> np.float32:
    """A tensor scale from a caller: positive, finite, a number of float32; 1 for None."""
    if row.tensor_scale is None:
        raise BitquantError(f"{row.name} has no tensor scale: leave tensor_scale out")
    scale = np.asarray(1.0 if given is None else given)
    if scale.size != 1 or scale.dtype.kind not in "fiu":
        raise BitquantError(f"tensor_scale={given!r}: give one number")
    number: np.float32 = convert(scale.reshape(-1), FP32)[0]
    exact = convert(number, FP64) == convert(scale.reshape(-1), FP64)[0]
    if not (exact and 0 < float(convert(number, FP64)) < np.inf):
        raise BitquantError(f"tensor_scale={given!r}: give a positive number of float32, which is what is stored")
    return number
