"""One tensor of a file, quantized piece by piece: exactly as `quantize` does it with the whole tensor at hand."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bitquant import plans
from bitquant.arrays import with_held_format
from bitquant.calibrate import calibrate
from bitquant.calibrate.channels import Channel, Weights, cut
from bitquant.calibrate.front import calibrated, row_of, target_of
from bitquant.errors import BitquantError
from bitquant.files.recipe import Options
from bitquant.files.slabs import Slab, Slabs
from bitquant.files.source import Entry, Source
from bitquant.formats import Format, format
from bitquant.quantize.comparison import Comparison
from bitquant.quantize.extremes import Reach, check_found, nonfinite_error
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.quantized import Quantized
from bitquant.quantize.rationals import exact_numbers
from bitquant.quantize.schemes import again, quantize

__all__ = ["Advance", "Work", "in_order"]

Advance = Callable[[str, int], None]  # the name of a tensor, and bytes of it that have been dealt with
A = TypeVar("A")
B = TypeVar("B")
_AHEAD = 3  # pieces that are begun before the first is fetched
_NONE: NDArray[Any] = np.empty(0)


def in_order(pool: Executor, work: Callable[[A], B], pieces: Iterable[A]) -> Iterator[B]:
    """The results of pieces in their order, with only a few of them in memory at a time."""
    begun: deque[Future[B]] = deque()
    try:
        for piece in pieces:
            begun.append(pool.submit(work, piece))
            if len(begun) > _AHEAD:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


@dataclass(eq=False)
class Work:
    """A tensor, and how it is to be quantized.

    Attributes
    ----------
    source : Source
    entry : Entry
    options : Options
    unit : int
        Pieces are cut at multiples of so many numbers.
    granularity : Granularity
        Of the tensor.
    note : str
        What is worth saying of it in a table.
    """

    source: Source
    entry: Entry
    options: Options
    unit: int = 1
    granularity: Granularity = field(init=False)
    slabs: Slabs = field(init=False)
    note: str = field(init=False, default="")
    _limits: Any = field(init=False, default=None)
    _known: dict[tuple[int, ...], tuple[Quantized, Comparison]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        options, shape = self.options, self.entry.shape
        axis = options.axis if options.group is None or options.axis is not None else -1
        # A vector has one number per channel: a step for each would take more room than it does.
        fine = axis is not None
        apart = axis is not None and len(shape) > 1 and -len(shape) <= axis < len(shape)
        if fine and not apart:
            self.note = f"{len(shape)}-D: one step for all"
        with self._named():
            self.granularity = Granularity.of(shape, axis if apart else None, options.group if apart else None, None)
        self.slabs = Slabs.of(self.granularity, self.unit)

    @cached_property
    def empty(self) -> Quantized:
        """What the tensor is quantized to, but for its numbers: codes of none, by parameters of its own kind."""
        with self._named():
            return quantize(np.empty(0, self.entry.dtype.newbyteorder("=")), range=(-1, 1), **self.options.mapping)

    @property
    def target(self) -> Format:
        """The format of its numbers, when they come back."""
        return format("float32" if not self.empty.source.signed else self.empty.source)

    @property
    def passes(self) -> int:
        """How often the numbers are read, at most: once more where their extremes are needed, and for a calibration."""
        options = self.options
        if not self.slabs.spanning or options.range is not None:
            return 1
        if options.calibrate is None or self.slabs.block is not None:
            return 2
        width = 8 * plans.to_carrier(format(self.entry.dtype))[0].code_dtype.itemsize
        return 2 + row_of(options.calibrate, options.calibration).walks(width)

    def survey(self, pool: Executor, advance: Advance) -> None:
        """Find the range, where one is needed before the first number can be quantized."""
        left = (self.passes - 1) * self.entry.nbytes
        if not left:
            return

        def dealt_with(count: int) -> None:
            nonlocal left
            left -= count
            advance(self.entry.name, count)

        with self._named():
            if self.options.calibrate is None:
                self._limits = self._extremes(pool, dealt_with)
            elif self.slabs.block is None:
                target = target_of(codebook=None, **self._words)
                channels = self._channels(pool, dealt_with)
                self._limits = calibrated(channels, (), self.options.calibrate, target, self.options.calibration)
            else:
                # The numbers that share a scale lie apart, and there are many scales.
                whole = self._numbers(self.source.array(self.entry.name))
                self._limits = self._calibrated(whole, self.granularity.block)
        dealt_with(left)

    def _extremes(self, pool: Executor, dealt_with: Callable[[int], None]) -> tuple[NDArray[np.float64], ...]:
        """The least and the greatest number that share each scale, found in a walk."""
        found: list[Reach] = []
        for slab, part in zip(
            self.slabs, in_order(pool, lambda slab: self._reach(slab, self.load(slab)), self.slabs), strict=True
        ):
            if not part.finite:
                self._refuse_nonfinite()
            found = [part.joined(other) for other in found] or [part]
            dealt_with(self.share(slab))
        low, high = found[0].numbers()
        check_found(low, high, self.granularity)
        return low, high

    def _channels(self, pool: Executor, dealt_with: Callable[[int], None]) -> Iterator[Channel]:
        """All numbers as the one channel that they are; its extremes are found when it is asked for."""
        low, high = (exact_numbers(end)[0] for end in self._extremes(pool, dealt_with))
        entry = self.entry

        def total(see: Callable[[NDArray[Any], Weights], A]) -> A:
            def seen(ends: tuple[int, int]) -> tuple[int, A]:
                return ends[1] - ends[0], see(self._numbers(self.source.read(entry.name, *ends)), None)

            def parts() -> Iterator[A]:
                for count, part in in_order(pool, seen, cut(entry.count)):
                    dealt_with(entry.nbytes * count // entry.count)
                    yield part

            return reduce(operator.add, parts())

        yield Channel(format(entry.dtype), entry.count, lambda: (low, high), total)

    def load(self, slab: Slab) -> NDArray[Any]:
        """The numbers of a slab."""
        return self._numbers(self.source.read(self.entry.name, slab.start, slab.stop)).reshape(slab.shape)

    def quantized(self, slab: Slab, numbers: NDArray[Any]) -> Quantized:
        """Quantize the numbers of a slab."""
        options, limits = self.options, self._limits
        if not self.slabs.spanning or options.range is not None:
            reach = self._reach(slab, numbers)
            if not reach.finite:
                self._refuse_nonfinite()
            with self._named():
                if options.range is not None:
                    limits = options.range
                elif options.calibrate is not None:
                    limits = self._calibrated(numbers, slab.block)
                else:
                    limits = reach.numbers()
                    check_found(*limits, Granularity.of(slab.shape, None, None, slab.block))
        with self._named():
            return quantize(numbers, block_shape=slab.block, range=limits, **options.mapping)

    def compared(self, slab: Slab, numbers: NDArray[Any]) -> tuple[Quantized, Comparison]:
        """Quantize the numbers of a slab, and set them beside their codes.

        Slabs of one shape that have the same scales share what follows from these.
        """
        known = self._known.get(slab.shape)
        if known is not None:
            item = again(known[0], numbers)
            return item, replace(known[1], original=numbers.reshape(-1), codes=item.codes.reshape(-1))
        item = self.quantized(slab, numbers)
        comparison = item.comparison(numbers)
        if self._limits is not None:  # without the numbers, which would stay in memory
            self._known[slab.shape] = replace(item, codes=None), replace(comparison, original=_NONE, codes=_NONE)
        return item, comparison

    def share(self, slab: Slab) -> int:
        """The bytes of a slab in the file."""
        return self.entry.nbytes * (slab.stop - slab.start) // max(self.entry.count, 1)

    def _numbers(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def _calibrated(self, numbers: NDArray[Any], block: tuple[int, ...] | None) -> Any:
        options: dict[str, Any] = {**self._words, **self.options.calibration, "nonfinite": self.options.nonfinite}
        options["method"] = self.options.calibrate
        return calibrate(numbers, block_shape=block, **options)

    @property
    def _words(self) -> dict[str, Any]:
        """What the numbers are mapped to, in the words of `calibrate`."""
        return {word: value for word, value in self.options.mapping.items() if word not in ("rounding", "nonfinite")}

    def _reach(self, slab: Slab, numbers: NDArray[Any]) -> Reach:
        array, source = with_held_format(numbers)
        return Reach.of(array, source, Granularity.of(slab.shape, None, None, slab.block))

    def _refuse_nonfinite(self) -> None:
        """Raise the error that counts what is not finite, unless that is allowed."""
        if self.options.nonfinite != "raise":
            return
        count, first, value = 0, -1, 0.0
        for slab in self.slabs:
            numbers = self.load(slab).reshape(-1).astype(np.float64)
            bad = np.flatnonzero(~np.isfinite(numbers))
            if bad.size and first < 0:
                first, value = slab.start + int(bad[0]), float(numbers[bad[0]])
            count += bad.size
        with self._named():
            raise nonfinite_error(self.entry.shape, value, count, first)

    def _named(self) -> Any:
        return _Named(self.entry.place)


class _Named:
    """Says in which file and tensor an error arose."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, BitquantError) and not str(error).startswith(self.place):
            raise BitquantError(f"{self.place}: {error}") from error
