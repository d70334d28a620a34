"""Quantization and calibration of dask arrays: on the threads, processes or machines that dask has been given.

The results are those of one machine, bit for bit: ranges are exact and are merged in any order, codes are computed
chunk by chunk from the ranges of all. A chunk whose worker is lost is computed again by another, by dask itself.

# Design:
# A. Ranges come first, and are computed when `quantize` is called: each chunk gives the extremes of every scale of
#    which it has numbers. Minima and maxima are associative, commutative and idempotent: neither the order nor a
#    repetition can be told.
# B. Codes come later, when dask is asked for them. A scale whose block is cut in two by the edges of chunks would be
#    awkward there, so that chunks are first made to end where blocks do.
# C. A method of calibration keeps of the numbers what adds up (calibrate/channels.py, Design A): each of its walks is
#    one sum over all chunks. Observers of "minmax" and "histogram" merge exactly, whatever the order. A tree of sums or
#    merges keeps what travels small.
"""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bitquant.calibrate.calibration import Calibration
from bitquant.calibrate.channels import Channel, Weights, total_of
from bitquant.calibrate.front import calibrated, row_of, target_of
from bitquant.calibrate.observer import Observer
from bitquant.calibrate.seen import OVER_HISTOGRAMS
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP64, format
from bitquant.quantize import Quantized
from bitquant.quantize import quantize as quantize_array
from bitquant.quantize.arguments import pair
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.parameters import Grid, Parameters
from bitquant.quantize.rationals import exact_numbers, given_numbers
from bitquant.rules import choose, fixed_rounding

__all__ = ["DaskQuantized", "calibrate", "on_workers", "quantize"]

_MERGED = 8  # observers that are merged by one task
_PATIENCE = 10  # seconds until a scheduler answers
Place = tuple[slice, ...]
T = TypeVar("T")


def _library() -> Any:
    try:
        import dask
        import dask.array
    except ImportError:
        raise BitquantError("dask arrays need dask: pip install 'bitquant[dask]'") from None
    return dask


@dataclass(frozen=True, eq=False)
class DaskQuantized:
    """Codes that dask will compute, with the parameters that make them.

    Attributes
    ----------
    codes : dask.array.Array of int8 or uint8
        In the shape of the numbers.
    low, high : ndarray
        The range of each scale, in the units of the numbers: float64, or Fractions where such were given.
    granularity : Granularity
        Which numbers share a scale.
    """

    codes: Any
    low: NDArray[Any]
    high: NDArray[Any]
    granularity: Granularity
    options: dict[str, Any]
    numbers: Any

    def compute(self, **how: Any) -> Quantized:
        """Compute the codes, and give what `bitquant.quantize` gives of the whole array; `how` is dask's own."""
        options, grid = self.options, self._grid()
        scheme, rounding, include_zero = (options[name] for name in ("scheme", "rounding", "include_zero"))
        stored = None if options["step_format"] is None else format(options["step_format"])
        lows, highs = self.low.flatten(), self.high.flatten()
        if lows.dtype == object:
            pairs = list(zip(lows.tolist(), highs.tolist(), strict=True))
            parameters = Parameters.of_rational_ranges(pairs, scheme, grid, include_zero, stored)
        else:
            parameters = Parameters.of_ranges(lows, highs, scheme, grid, include_zero, stored)
        return Quantized(
            codes=np.asarray(self.codes.compute(**how)),
            scheme=scheme,
            bits=options["bits"],
            granularity=self.granularity,
            rounding=rounding,
            step_format=stored,
            source=format(self.numbers.dtype),
            nonfinite=options["nonfinite"],
            grid=grid,
            parameters=parameters,
            give_back=lambda array: array if array.ndim else array[()],
        )

    def dequantize(self, dtype: Any = None) -> Any:
        """The numbers that the codes stand for, as an array that dask will compute.

        Parameters
        ----------
        dtype : dtype, optional
            Of NumPy's or ml_dtypes' floats. Default: that of the numbers that were quantized.

        Returns
        -------
        dask.array.Array
        """
        target = np.dtype(self.numbers.dtype if dtype is None else dtype)
        return self._mapped(lambda one: one.dequantize(target), target)

    def _grid(self) -> Grid:
        return Grid.of(*(self.options[name] for name in ("scheme", "bits", "signed", "narrow")))

    def _mapped(self, finish: Any, dtype: np.dtype[Any]) -> Any:
        """Each chunk quantized with the ranges of its scales, and what `finish` makes of it."""
        low, high, granularity, options = self.low, self.high, self.granularity, self.options

        def of_chunk(numbers: NDArray[Any], block_info: Any = None) -> Any:
            # Dask tries the function on nothing, to see what it gives.
            place = tuple(slice(*ends) for ends in block_info[0]["array-location"]) if block_info else ()
            if not numbers.size or len(place) != numbers.ndim:
                return np.empty(numbers.shape, dtype)
            scales, block = _scales_of(granularity, place)
            ranges = tuple(np.ravel(end[scales]) for end in (low, high))
            return finish(quantize_array(numbers, block_shape=block, range=_plain(ranges), **options))

        return self.numbers.map_blocks(of_chunk, dtype=dtype, meta=np.empty((0,) * self.numbers.ndim, dtype))


def quantize(
    x: Any,
    scheme: Literal["symmetric", "asymmetric"] = "symmetric",
    *,
    bits: int = 8,
    signed: bool = True,
    narrow: bool | None = None,
    axis: int | None = None,
    group_size: int | None = None,
    block_shape: tuple[int, ...] | None = None,
    range: tuple[Any, Any] | None = None,
    include_zero: bool = False,
    step_format: Any = None,
    rounding: Any = "nearest_even",
    nonfinite: Literal["raise", "saturate"] = "raise",
) -> DaskQuantized:
    """Quantize a dask array as `bitquant.quantize` does a NumPy array: the same parameters, the same codes.

    Parameters
    ----------
    x : dask.array.Array
        Numbers of any floating format, of known shape.
    range : (low, high), optional
        One for all or one for each scale, such as what `calibrate` gives. Default: the extremes of the numbers, which
        are computed by this call, with the scheduler that dask uses.
    scheme, bits, signed, narrow, axis, group_size, block_shape, include_zero, step_format, rounding, nonfinite
        As for `bitquant.quantize`.

    Returns
    -------
    DaskQuantized
        Its codes are computed when dask is asked for them.

    Raises
    ------
    BitquantError
        As for `bitquant.quantize`.

    Examples
    --------
    >>> import numpy as np, dask.array as da, bitquant.dask
    >>> x = da.from_array(np.float32([[1, 2], [10, 40]]), chunks=(1, 1))
    >>> q = bitquant.dask.quantize(x, axis=0)
    >>> q.codes.compute()
    array([[ 64, 127],
           [ 32, 127]], dtype=int8)
    >>> q.compute().exact_scale
    (Fraction(127, 2), Fraction(127, 40))
    """
    dask = _library()
    _check(x, dask)
    granularity = Granularity.of(x.shape, axis, group_size, block_shape)
    given: dict[str, Any] = {"scheme": scheme, "bits": bits, "signed": signed, "narrow": narrow}
    given |= {"include_zero": include_zero, "step_format": step_format, "nonfinite": nonfinite}
    given["rounding"] = fixed_rounding(rounding)
    x = x.rechunk(_aligned(x.chunks, granularity))
    low, high = _extremes(dask, x, granularity, nonfinite == "raise") if range is None else _given(range, granularity)
    found = DaskQuantized(None, low, high, granularity, given, x)
    dtype = found._grid().dtype
    codes = found._mapped(lambda one: one.codes, dtype)
    return DaskQuantized(codes, low, high, granularity, given, x)


def calibrate(
    x: Any,
    method: Literal["minmax", "mse", "percentile", "entropy", "std"] = "mse",
    scheme: Literal["symmetric", "asymmetric"] = "symmetric",
    bits: int = 8,
    *,
    axis: int | None = None,
    signed: bool = True,
    narrow: bool | None = None,
    include_zero: bool = False,
    step_format: Any = None,
    nonfinite: Literal["raise", "saturate"] = "raise",
    significand_bits: int = 7,
    **options: Any,
) -> Calibration:
    """Find the range of a dask array from what adds up over its chunks.

    Parameters
    ----------
    x : dask.array.Array
    method : {"minmax", "mse", "percentile", "entropy", "std"}
        One range for the whole array is what `bitquant.calibrate` gives, bit for bit; but for ``"mse"`` of numbers of
        more than 16 bits. That, and all ranges along an axis but those of ``"minmax"``, are what one `Observer` of
        "histogram" gives that sees all of the array: it knows each number by the bin it lies in.
    scheme, bits, axis, signed, narrow, include_zero, step_format, nonfinite, significand_bits
        As for `Observer`.
    **options
        Of the method.

    Returns
    -------
    Calibration
        A range for `quantize`.

    Raises
    ------
    BitquantError
        As for `Observer`.

    Examples
    --------
    >>> import numpy as np, dask.array as da, bitquant.dask
    >>> x = da.from_array(np.float32([0.1, -0.3, 0.45, 0.5, -0.55, 1.0]), chunks=2)
    >>> bitquant.dask.calibrate(x, "minmax").range
    Range(low=-1.0, high=1.0)
    """
    dask = _library()
    _check(x, dask)
    choose("method", method, OVER_HISTOGRAMS)
    choose("nonfinite", nonfinite, {"raise": "", "saturate": ""})
    if axis is None and (method != "mse" or format(x.dtype).bits <= 16):
        row_of(method, options)
        target = target_of(scheme, bits, signed, narrow, None, include_zero, step_format)
        return calibrated(_channels(dask, x, nonfinite == "raise"), (), method, target, options)
    kind: Any = "minmax" if method == "minmax" else "histogram"
    words: dict[str, Any] = {"axis": axis, "signed": signed, "narrow": narrow, "include_zero": include_zero}
    words |= {"step_format": step_format, "nonfinite": nonfinite, "significand_bits": significand_bits}
    if axis is not None:
        Granularity.of(x.shape, axis, None, None)
        x = x.rechunk({axis: -1})  # all channels in each chunk, which observers want

    def seen(numbers: NDArray[Any]) -> Observer:
        return Observer(kind, scheme, bits, **words).observe(numbers)

    def merged(observers: list[Observer]) -> Observer:
        whole = observers[0]
        for other in observers[1:]:
            whole.merge(Observer.from_state(other.state()))
        return whole

    parts = [dask.delayed(seen, pure=True)(chunk) for chunk in x.to_delayed().reshape(-1)]
    observer: Observer = _joined(dask, parts, merged) if parts else Observer(kind, scheme, bits, **words)
    return observer.range() if kind == "minmax" else observer.range(method, **options)


def _joined(dask: Any, parts: list[Any], join: Callable[[list[Any]], Any]) -> Any:
    """What becomes of the results of tasks that are joined in their order, some at a time."""
    while len(parts) > 1:
        parts = [dask.delayed(join)(parts[k : k + _MERGED]) for k in builtins.range(0, len(parts), _MERGED)]
    return parts[0].compute()


def _channels(dask: Any, x: Any, refuse: bool) -> Iterator[Channel]:
    """The array as the one channel that it is; its extremes are computed when a method asks for it."""
    found = _extremes(dask, x, Granularity.of(x.shape, None, None, None), refuse)
    low, high = (exact_numbers(end)[0] for end in found)

    def total(see: Callable[[NDArray[Any], Weights], T]) -> T:
        parts = [dask.delayed(_total)(see, chunk) for chunk in x.to_delayed().reshape(-1)]
        summed: T = _joined(dask, parts, _sum)
        return summed

    yield Channel(format(x.dtype), x.size, lambda: (low, high), total)


def _total(see: Callable[[NDArray[Any], Weights], T], numbers: NDArray[Any]) -> T:
    numbers = np.asarray(numbers)
    return total_of(np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("=")).reshape(-1))(see)


def _sum(parts: list[Any]) -> Any:
    return reduce(operator.add, parts)


@contextmanager
def on_workers(address: str) -> Iterator[Callable[[Callable[[Path, Path], None], list[tuple[Path, Path]]], Any]]:
    """Connect to a dask cluster, for `quantize_file` and `convert_file` of `bitquant.files`: each file is a task.

    Parameters
    ----------
    address : str
        Of the scheduler, such as "tcp://10.0.0.1:8786".

    Yields
    ------
    callable
        The argument `run` of those. A file is written whole or not at all, so that the task of a worker that
        is lost is begun again by another one.

    Raises
    ------
    BitquantError
        When nobody answers there.
    """
    _library()
    try:
        import distributed
    except ImportError:
        raise BitquantError("a dask cluster needs dask.distributed: pip install 'bitquant[dask]'") from None
    try:
        client = distributed.Client(address, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        raise BitquantError(f"no dask scheduler answers at {address}: start one with 'dask scheduler'") from error
    with client:

        def run(one: Callable[[Path, Path], None], pairs: list[tuple[Path, Path]]) -> Iterator[Path]:
            futures = {client.submit(one, *pair, pure=False): pair[0] for pair in pairs}
            for future in distributed.as_completed(list(futures)):
                try:
                    future.result()
                except distributed.KilledWorker as error:
                    raise BitquantError(
                        f"{futures[future]} was not written, every worker that tried was lost: see their logs, and "
                        "run it again, which goes on after the last whole file"
                    ) from error
                yield futures[future]

        yield run


def _check(x: Any, dask: Any) -> None:
    """Refuse what is no dask array of floats of a known shape."""
    if not isinstance(x, dask.array.Array):
        raise BitquantError(f"x is a {type(x).__name__}, not a dask array: use bitquant.quantize, bitquant.calibrate")
    if any(math.isnan(length) for length in x.shape):
        raise BitquantError("x has chunks of unknown size: call x.compute_chunk_sizes() first")
    if not format(x.dtype).is_float:
        raise BitquantError(f"x has dtype {x.dtype}, not a floating one: convert it first")


def _aligned(chunks: tuple[tuple[int, ...], ...], granularity: Granularity) -> tuple[tuple[int, ...], ...]:
    """Chunks that end where blocks do, in the dimensions that are cut into blocks."""
    found = []
    for sizes, block, length in zip(chunks, granularity.block, granularity.shape, strict=True):
        if 1 < block < length:
            ends = {min(-(-int(end) // block) * block, length) for end in np.cumsum(sizes)}
            sizes = tuple(np.diff([0, *sorted(ends - {0})]).tolist())
        found.append(sizes)
    return tuple(found)


def _scales_of(granularity: Granularity, place: Place) -> tuple[Place, tuple[int, ...]]:
    """Where the scales of a chunk lie among all blocks, dimension by dimension, and the blocks' shape in the chunk."""
    scales = tuple(
        slice(at.start // block, -(-at.stop // block)) for at, block in zip(place, granularity.block, strict=True)
    )
    return scales, tuple(min(block, at.stop - at.start) for at, block in zip(place, granularity.block, strict=True))


def _blocks(granularity: Granularity) -> tuple[int, ...]:
    """How many blocks there are along each dimension."""
    return tuple(-(-length // block) for length, block in zip(granularity.shape, granularity.block, strict=True))


@dataclass(frozen=True)
class _Seen:
    """What a chunk knows: the extremes of its scales, how many numbers are not finite, the first and its value."""

    scales: Place
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    count: int
    first: tuple[int, ...]
    value: float


def _seen(numbers: NDArray[Any], granularity: Granularity, place: Place) -> _Seen:
    """The extremes of a chunk's finite numbers, scale by scale: infinite, the wrong way round, where there are none."""
    scales, blocks = _scales_of(granularity, place)
    x = convert(np.asarray(numbers), FP64)
    bad = ~np.isfinite(x)
    low, high = np.where(bad, math.inf, x), np.where(bad, -math.inf, x)
    for axis, block in enumerate(blocks):
        cuts = np.arange(0, x.shape[axis], block)
        low, high = np.minimum.reduceat(low, cuts, axis), np.maximum.reduceat(high, cuts, axis)
    count = int(np.count_nonzero(bad))
    at = np.unravel_index(int(bad.argmax()), x.shape) if count else ()
    first = tuple(int(k) + part.start for k, part in zip(at, place, strict=False))
    return _Seen(scales, low, high, count, first, float(x[at]) if count else 0.0)


def _extremes(dask: Any, x: Any, granularity: Granularity, refuse: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """The range of each scale, as an array with an entry for each block along each dimension."""
    if not x.size:
        raise BitquantError("x is empty and has no range: give range=")
    chunks = x.to_delayed()
    ends = [np.cumsum([0, *sizes]).tolist() for sizes in x.chunks]
    parts = []
    for index in np.ndindex(chunks.shape):
        place = tuple(slice(at[k], at[k + 1]) for at, k in zip(ends, index, strict=True))
        if all(at.stop > at.start for at in place):
            parts.append(dask.delayed(_seen, pure=True)(chunks[index], granularity, place))
    low, high = np.full(_blocks(granularity), math.inf), np.full(_blocks(granularity), -math.inf)
    found: tuple[_Seen, ...] = dask.compute(*parts)
    for part in found:
        low[part.scales] = np.minimum(low[part.scales], part.low)
        high[part.scales] = np.maximum(high[part.scales], part.high)
    spoilt = [part for part in found if part.count]
    if spoilt and refuse:
        first, count = min(spoilt, key=lambda part: part.first), sum(part.count for part in spoilt)
        what = "NaN" if math.isnan(first.value) else str(first.value)
        where: Any = first.first[0] if len(first.first) == 1 else first.first
        more = f" (the first of {count} that are not finite)" if count > 1 else ""
        raise BitquantError(f"x has {what} at index {where}{more}: remove it, or pass nonfinite='saturate'")
    if (low > high).any():
        at = tuple(int(k) for k in np.argwhere(low > high)[0])
        raise BitquantError(f"nothing in block {at} of x is finite, so it has no range: give range=")
    return low, high


def _given(given: Any, granularity: Granularity) -> tuple[NDArray[Any], NDArray[Any]]:
    """A range that the caller gave, in the same form; Fractions where FP64 does not hold both ends."""
    ends = [
        given_numbers(end, granularity.channels, name)
        for end, name in zip(pair(tuple(given)), ("low", "high"), strict=True)
    ]
    if any(isinstance(end, list) for end in ends):
        ends = [np.array(end if isinstance(end, list) else exact_numbers(end), object) for end in ends]
    low, high = (np.asarray(end).reshape(_blocks(granularity)) for end in ends)
    return low, high


def _plain(ends: tuple[NDArray[Any], ...]) -> Any:
    """A range as `bitquant.quantize` takes it."""
    return tuple(end.tolist() if end.dtype == object else end for end in ends)
