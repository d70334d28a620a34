"""Quantization to block formats: a pass over each slab for the scales, a second, out of the cache, for the elements."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from bitquant.arrays import Array, take, with_held_format
from bitquant.blocks.cut import Cut, axis_of, slab_of
from bitquant.blocks.recipes import Divided, Power, Recipe, tensor_scale_of
from bitquant.blocks.result import Blocks, given_tensor_scale
from bitquant.blocks.table import BlockFormat, block_format, scale_rule_of
from bitquant.blocks.variants import VARIANTS, Library
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import E8M0, FP64, Format
from bitquant.kernels.pipeline import Pipeline
from bitquant.kernels.scaled import maxima
from bitquant.layouts import check_threads
from bitquant.quantize.extremes import nonfinite_error
from bitquant.rules import Rounding, Stochastic, choose, rounding_rule

Nonfinite: TypeAlias = Literal["raise", "saturate", "propagate"]
_NONFINITE = {
    "raise": "an error with the count and the first index",
    "saturate": "infinities to the largest elements, NaN to zero, both left out of the scale",
    "propagate": "the scale of such a block is NaN, its elements zero",
}


def quantize_blocks(
    x: Any,
    fmt: Any,
    *,
    axis: int = -1,
    scale_rule: str | None = None,
    rounding: Rounding | Stochastic | None = None,
    nonfinite: Nonfinite = "raise",
    tensor_scale: Any = None,
    out: Array | None = None,
    threads: int | None = 1,
) -> Blocks:
    """Quantize to a format in which the numbers of a block share a scale.

    Parameters
    ----------
    x : array_like of at least one dimension
        Numbers of any floating format (or integers), any shape.
    fmt : BlockFormat or str
        "mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4", "mxint8", "nvfp4", "q8_0" or "q4_0".
    axis : int
        The axis that is cut into blocks. Default: the last. The last block along it may be shorter.
    scale_rule : str, optional
        How a scale follows from a block's numbers. OCP MX: "floor" (default), "ceil", "even", "rceil"; NVFP4: "exact",
        "torchao", "modelopt"; GGUF: "ggml", "exact". docs/blocks.md says what they are.
    rounding : str or Stochastic, optional
        Of the elements, as for `convert`. Default: "nearest_even"; the rules of libraries have their own.
    nonfinite : {"raise", "saturate", "propagate"}
        NaN and infinity: an error; infinities to the largest elements and NaN to zero; or the block's scale is NaN.
    tensor_scale : float, optional
        NVFP4's second scale, where it is known: a number of float32. Default: amax / (6 · 448), rounded to float32; 1
        for a tensor of zeros.
    out : ndarray, optional
        Where the codes go: contiguous, in the shape of `x`, of the element's dtype or uint8.
    threads : int or None
        As for `convert`.

    Returns
    -------
    Blocks

    Raises
    ------
    BitquantError
        NaN or infinity, with count and first index; a rule or rounding that the format lacks; a tensor scale that
        float32 does not hold; what a library's rule does not define.

    Notes
    -----
    Elements are rounded once from the exact quotient of number and stored step, and lowered to the largest magnitude
    that the element format has (MXINT8 and Q8_0: 127, so that the range is symmetric). A block of zeros has the
    smallest scale of its format (OCP MX), or zero. Where a scale rounds to zero all elements of its block are zero.

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> q = bq.quantize_blocks(np.float32([0.1, -1.0, 7.0]), "mxfp4")
    >>> q.codes.astype(float), q.scales.astype(float)
    (array([ 0., -1.,  6.]), array([1.]))
    >>> bq.quantize_blocks(np.float32([0.1, -1.0, 7.0]), "mxfp4", scale_rule="rceil").scales.astype(float)
    array([2.])
    """
    row = block_format(fmt)
    rule = scale_rule_of(row, scale_rule)
    choose("nonfinite", nonfinite, _NONFINITE)
    check_threads(threads)
    array, give_back = take(x)
    array, source = with_held_format(array)
    at = axis_of(axis, array.ndim)
    cut = Cut.of(array.shape, at, row.block)
    element_rounding = _rounding(row, rule, rounding)
    codes = _codes_out(out, array, row.element)
    scales = np.empty((*array.shape[:at], cut.blocks, *array.shape[at + 1 :]), row.scale.code_dtype)
    second: np.float32 | None = None
    if row.tensor_scale is not None:
        second = _tensor_scale(tensor_scale, array, source, cut, row, nonfinite, threads)
    elif tensor_scale is not None:
        given_tensor_scale(tensor_scale, row)
    recipe = _recipe(row, rule, source, element_rounding, second)
    random = element_rounding.words(array.shape) if isinstance(element_rounding, Stochastic) else None
    _fill(
        array,
        source,
        codes.view(np.uint8).reshape(-1),
        scales.reshape(-1),
        cut,
        row,
        recipe,
        random,
        nonfinite,
        threads,
    )
    return Blocks(
        out if out is not None else give_back(codes.view(row.element.array_dtype)),
        give_back(scales.view(row.scale.array_dtype)),
        second,
        row,
        at,
        rule,
        VARIANTS[row.name, rule].rounding if element_rounding is None else element_rounding,
        source,
        give_back,
    )


def _rounding(row: BlockFormat, rule: str, rounding: Any) -> str | Stochastic | None:
    """The rounding of elements; None where a library's rule has its own."""
    if (row.name, rule) not in VARIANTS:
        return rounding_rule("nearest_even" if rounding is None else rounding)
    if rounding is not None:
        raise BitquantError(f"scale_rule={rule!r} has its own rounding: leave rounding out, or pass scale_rule='exact'")
    return None


def _recipe(
    row: BlockFormat, rule: str, source: Format, rounding: str | Stochastic | None, tensor_scale: np.float32 | None
) -> Recipe:
    if rounding is None:
        return Library(row, rule, source, tensor_scale)
    if row.scale is E8M0:
        return Power(row, rule, source, rounding)
    return Divided(row, source, rounding, tensor_scale)


def _fill(
    array: Array,
    source: Format,
    codes: Array,
    scales: Array,
    cut: Cut,
    row: BlockFormat,
    recipe: Recipe,
    random: Array | None,
    nonfinite: str,
    threads: int | None,
) -> None:
    """Fill codes and scales, a slab of whole blocks at a time."""
    flat_random = None if random is None else random.reshape(-1)
    offset = np.uint8(8) if isinstance(recipe, Library) and recipe.offset_codes else None

    def work(first: int, last: int) -> None:
        start, stop = cut.start(first), cut.start(last)
        at, end = first * cut.inner, last * cut.inner
        piece = slab_of(array, start, stop)
        most, spoilt = _maxima(piece, array, source, recipe, cut, first, last, nonfinite)
        found = recipe.scales(most)
        scales[at:end] = found.codes
        target = codes[start:stop]
        words = None if flat_random is None else flat_random[start:stop]
        Pipeline(recipe.stages(found.steps, cut.shape, at)).run(piece, target, random=words, index=start)
        zeroed = found.dead
        if offset is not None:
            target ^= offset
            if spoilt is not None:  # NaN, and infinity times nothing, became a 0 before that
                target[np.isnan(convert(piece, FP64, source))] = 0
                zeroed = found.steps == 0
        if spoilt is not None and nonfinite == "propagate":
            scales[at:end][spoilt] = row.scale.nan_code
            zeroed = spoilt if zeroed is None else zeroed | spoilt
        if zeroed is not None:
            target[zeroed[cut.block_of(np.arange(start, stop)) - at]] = 0

    cut.in_slabs(work, threads)


def _maxima(
    piece: Array, array: Array, source: Format, recipe: Recipe, cut: Cut, first: int, last: int, nonfinite: str
) -> tuple[Array, Any]:
    """The largest finite magnitudes of a slab's blocks, and which blocks hold something that is not finite."""
    carrier, at = recipe.carrier, first * cut.inner
    infinity = np.uint64(carrier.largest_code + 1)
    magnitudes = carrier.code_dtype.type((1 << carrier.magnitude_bits) - 1)
    most = np.zeros((last - first) * cut.inner, carrier.code_dtype)
    start = cut.start(first)
    maxima(piece, recipe.widen, most, cut.shape, start, first=at, signs=recipe.signs)
    spoilt = (most & magnitudes) >= infinity
    if not spoilt.any():
        return most, None
    if nonfinite == "raise":
        raise not_finite(array, source)
    most[...] = 0
    maxima(piece, recipe.widen, most, cut.shape, start, first=at, finite=True, signs=recipe.signs)
    return most, spoilt


def _tensor_scale(
    given: Any, array: Array, source: Format, cut: Cut, row: BlockFormat, nonfinite: str, threads: int | None
) -> np.float32:
    """The tensor scale: given, or from the largest magnitude of all."""
    if given is not None:
        return given_tensor_scale(given, row)
    probe = Power(row, "floor", source, "nearest_even")  # for its carrier; the tensor's maximum needs no rule

    def work(first: int, last: int) -> int:
        piece = slab_of(array, cut.start(first), cut.start(last))
        return int(_maxima(piece, array, source, probe, cut, first, last, nonfinite)[0].max())

    largest = max(cut.in_slabs(work, threads), default=0)
    scale = tensor_scale_of(largest, probe.carrier, row)
    if not 0 < float(convert(scale, FP64)) < np.inf:
        raise BitquantError(
            f"the tensor scale of {row.name} comes to {float(scale):g} in float32: scale x into its range first"
        )
    return scale


def not_finite(array: Array, source: Format) -> BitquantError:
    """The error for NaN and infinity: how many, and where the first is."""
    count, first = 0, -1
    for start in range(0, array.size, 1 << 16):
        piece = slab_of(array, start, min(start + (1 << 16), array.size))
        bad = np.flatnonzero(~np.isfinite(convert(piece, FP64, source)))
        if bad.size and first < 0:
            first = start + int(bad[0])
        count += bad.size
    return nonfinite_error(array.shape, float(array.reshape(-1)[first]), count, first)


def _codes_out(out: Array | None, array: Array, element: Format) -> Array:
    """Where the codes go."""
    if out is None:
        return np.empty(array.shape, element.array_dtype)
    if (
        not isinstance(out, np.ndarray)
        or out.shape != array.shape
        or out.dtype not in (element.array_dtype, np.dtype(np.uint8))
        or not out.flags.c_contiguous
    ):
        raise BitquantError(f"out must be a contiguous array of {element.array_dtype} or uint8 and shape {array.shape}")
    if not out.flags.writeable:
        raise BitquantError("out is read-only: pass a writable array")
    if np.may_share_memory(out, array) and np.shares_memory(out, array):
        raise BitquantError("out overlaps x: pass another array")
    return out
