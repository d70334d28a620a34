"""What a quantized tensor becomes in a file: bitquant's own layout, and that of compressed-tensors.

A layout announces the entries of a tensor before its first number is quantized, makes the pieces of them from each
slab, and reads them back as numbers, by the rules of the layout's own readers.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.compressed import bits_in_words, config_of, words_of
from bitquant.files.model import copy
from bitquant.files.quantized import Description, check_names, notes, parameters_of
from bitquant.files.recipe import Options
from bitquant.files.sink import Planned, Sink
from bitquant.files.slabs import Slab
from bitquant.files.source import Entry, Source
from bitquant.files.tensors import create_tensors, open_tensors
from bitquant.files.work import Advance, Work
from bitquant.formats import format
from bitquant.packing import unpack_bits
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.parameters import Grid
from bitquant.quantize.quantized import Quantized, dequantized
from bitquant.quantize.schemes import dequantize

__all__ = ["LAYOUTS", "CompressedTensors", "Layout", "Native"]


class Layout(ABC):
    """How quantized tensors lie in a file."""

    def options(self, entry: Entry, options: Options) -> Options:
        """The options by which a tensor is quantized for this layout."""
        return options

    def unit(self, entry: Entry) -> int:
        """At multiples of how many numbers a tensor may be cut."""
        return 1

    def why_not(self, entry: Entry, options: Options) -> str:
        """Why a tensor has no place in this layout and is kept as it is; an empty text where it has."""
        return ""

    @abstractmethod
    def planned(self, work: Work) -> list[Planned]:
        """The entries of a tensor."""

    @abstractmethod
    def pieces(self, work: Work, slab: Slab, item: Quantized) -> Iterator[tuple[str, NDArray[Any]]]:
        """What a slab puts into the entries; in the order of the slabs."""

    def tail(self, work: Work) -> Iterator[tuple[str, NDArray[Any]]]:
        """What is left for the entries when all slabs have been."""
        yield from ()

    @abstractmethod
    def values(self, work: Work, slab: Slab, source: Source) -> NDArray[Any]:
        """The numbers of a slab, from the entries of a file, by the layout's own rule."""

    def check(self, works: Mapping[str, Work], names: Mapping[str, Entry]) -> None:
        """Refuse what does not go into one file together."""
        return

    def created(
        self,
        source: Source,
        works: Mapping[str, Work],
        output: Path,
        overwrite: bool,
        beside: Mapping[Path, str] | None,
    ) -> AbstractContextManager[Sink]:
        """The file that is written, with all entries announced; as `create_tensors`."""
        planned: list[Planned] = []
        for name, entry in source.tensors.items():
            planned += self.planned(works[name]) if name in works else [Planned(name, entry.shape, entry.dtype)]
        return create_tensors(output, planned, source.metadata, overwrite, self.room(works), beside)

    def keep(self, source: Source, entry: Entry, sink: Sink, advance: Advance) -> None:
        """Take over a tensor as it is."""
        copy(source, entry, sink, advance)

    def back(self, sink: Sink) -> Source:
        """What was written, before it is in its place."""
        return open_tensors(sink.temporary, as_kind=sink.path)

    def describe(self, works: Mapping[str, Work], sink: Sink) -> None:
        """Complete the metadata, when all tensors have been written."""
        return

    def room(self, works: Mapping[str, Work]) -> int:
        """Bytes by which `describe` makes the metadata longer, about."""
        return 0

    def beside(self, works: Mapping[str, Work], kept: list[str], folder: Path) -> dict[str, str]:
        """Texts that belong beside the file, by name; `folder` is that of the input."""
        return {}


class Native(Layout):
    """The layout of files/quantized.py, which gives every bit back."""

    def __init__(self) -> None:
        self._described: dict[str, Description] = {}

    def planned(self, work: Work) -> list[Planned]:
        return self._description(work).planned(work.entry.name, work.granularity)

    def pieces(self, work: Work, slab: Slab, item: Quantized) -> Iterator[tuple[str, NDArray[Any]]]:
        if work.slabs.spanning and slab.start:  # the scales are those of the first
            yield work.entry.name, np.asarray(item.codes)
            return
        described = self._description(work)
        described.take_scales(item)
        yield from described.pieces(work.entry.name, item)

    def values(self, work: Work, slab: Slab, source: Source) -> NDArray[Any]:
        name, described = work.entry.name, self._description(work)
        first, last = slab.first, slab.last
        step, point = (source.read(f"{name}.{part}", first, last) for part in ("step", "zero_point"))
        ends = source.read(f"{name}.range", 2 * first, 2 * last).reshape(-1, 2)
        row = described.row(True)
        if row["scale"] is not None:
            row["scale"] = row["scale"][first:last]
        codes = source.read(name, slab.start, slab.stop).reshape(slab.shape)
        granularity = Granularity.of(slab.shape, None, None, slab.block)
        grid = Grid(described.qmin, described.qmax, described.signed)
        found = parameters_of(row, step, point, ends)
        if not np.array_equal(step.astype(np.float64), found.float_steps()):
            raise BitquantError(f"{source.path}: {name!r} is damaged, its parts do not fit together: write it again")
        return dequantized(codes, found, grid, granularity, work.target, 1)

    def check(self, works: Mapping[str, Work], names: Mapping[str, Entry]) -> None:
        check_names(names, works)

    def describe(self, works: Mapping[str, Work], sink: Sink) -> None:
        rows = {
            name: self._description(work).row(bool(work.granularity.parameter_shape)) for name, work in works.items()
        }
        sink.metadata = notes(sink.metadata, rows)

    def room(self, works: Mapping[str, Work]) -> int:
        return 100 + sum(400 + 2 * len(name.encode()) for name in works)

    def _description(self, work: Work) -> Description:
        """What is said of a tensor; known before its first number."""
        name = work.entry.name
        if name not in self._described:
            self._described[name] = Description.of(
                work.empty, work.granularity, from_data=work.options.range is None and work.options.calibrate is None
            )
        return self._described[name]


class CompressedTensors(Layout):
    """The layout of the compressed-tensors library, "pack-quantized".

    A module's NAME.weight becomes NAME.weight_packed, codes without gaps in 32-bit words; NAME.weight_scale, the steps;
    NAME.weight_shape; and, in the asymmetric scheme, NAME.weight_zero_point. A number is (code − zero point) · step in
    the step's format, which is that of the weights: one rounding, so that it is what we dequantize to.
    """

    def __init__(self) -> None:
        self._points: dict[str, list[NDArray[Any]]] = {}

    def options(self, entry: Entry, options: Options) -> Options:
        held = entry.dtype.name if entry.dtype.name in ("float32", "float16", "bfloat16") else "float32"
        return replace(options, step_format=options.step_format or held, include_zero=True)

    def unit(self, entry: Entry) -> int:
        return entry.shape[1]

    def why_not(self, entry: Entry, options: Options) -> str:
        if not entry.name.endswith(".weight") or len(entry.shape) != 2:
            return "no weight of a module"
        if options.axis not in (None, 0) and options.group is None:
            raise BitquantError(f"{entry.name!r}: compressed-tensors has steps for each row: give --axis 0")
        if options.group is not None and (options.axis not in (None, 1, -1) or entry.shape[1] % options.group):
            raise BitquantError(
                f"{entry.name!r}: compressed-tensors has groups along rows, here of {entry.shape[1]} numbers, all "
                f"of one size: give another --group than {options.group}"
            )
        if options.unsigned or format(options.step_format).name not in ("float32", "float16", "bfloat16"):
            raise BitquantError(
                "compressed-tensors has signed codes, and steps in float32, float16 or bfloat16: leave out --unsigned "
                "and other --step-format"
            )
        return ""

    def planned(self, work: Work) -> list[Planned]:
        base, (rows, columns) = work.entry.name.removesuffix(".weight"), work.entry.shape
        bits, steps, fmt = work.options.bits, _grid_of_steps(work), work.empty.step_format
        assert fmt is not None
        found = [
            Planned(f"{base}.weight_packed", (rows, bits_in_words(columns, bits)), np.dtype(np.int32)),
            Planned(f"{base}.weight_scale", steps, fmt.array_dtype),
            Planned(f"{base}.weight_shape", (2,), np.dtype(np.int64)),
        ]
        if work.empty.scheme == "asymmetric":
            shape = steps if steps == (1,) else (bits_in_words(rows, bits), steps[1])
            found.append(Planned(f"{base}.weight_zero_point", shape, np.dtype(np.int8 if steps == (1,) else np.int32)))
        return found

    def pieces(self, work: Work, slab: Slab, item: Quantized) -> Iterator[tuple[str, NDArray[Any]]]:
        base, columns = work.entry.name.removesuffix(".weight"), work.entry.shape[1]
        yield f"{base}.weight_packed", words_of(np.asarray(item.codes).reshape(-1, columns), work.options.bits)
        if work.slabs.spanning and slab.start:
            return
        fmt = item.step_format
        assert fmt is not None
        yield f"{base}.weight_scale", item.parameters.float_steps().astype(fmt.array_dtype)
        self._points.setdefault(work.entry.name, []).append(item.parameters.zero_points.astype(np.int8))

    def tail(self, work: Work) -> Iterator[tuple[str, NDArray[Any]]]:
        base = work.entry.name.removesuffix(".weight")
        yield f"{base}.weight_shape", np.array(work.entry.shape, np.int64)
        points = np.concatenate(self._points.pop(work.entry.name))
        if work.empty.scheme == "asymmetric":
            steps = _grid_of_steps(work)
            packed = points if steps == (1,) else words_of(points.reshape(steps).T, work.options.bits).T
            yield f"{base}.weight_zero_point", packed

    def values(self, work: Work, slab: Slab, source: Source) -> NDArray[Any]:
        base, columns, bits = work.entry.name.removesuffix(".weight"), work.entry.shape[1], work.options.bits
        words, count = bits_in_words(columns, bits), (slab.stop - slab.start) // columns
        top = slab.start // columns
        packed = source.read(f"{base}.weight_packed", top * words, (top + count) * words).reshape(count, words)
        half = 1 << (bits - 1)
        codes = (unpack_bits(packed.view(np.uint8), bits, columns).astype(np.int16) - half).astype(np.int8)
        step = source.read(f"{base}.weight_scale", slab.first, slab.last)
        point = np.zeros(1, np.int8)
        if f"{base}.weight_zero_point" in source.tensors:
            point = source.array(f"{base}.weight_zero_point")
            if point.ndim == 2:
                rows = work.entry.shape[0]
                point = unpack_bits(np.ascontiguousarray(point.T).view(np.uint8), bits, rows).astype(np.int16) - half
                point = np.ascontiguousarray(point.T).reshape(-1)[slab.first : slab.last].astype(np.int8)
        found: NDArray[Any] = dequantize(
            codes.reshape(slab.shape),
            step=step.astype(np.float64),
            zero_point=point,
            block_shape=slab.block,
            dtype=work.empty.step_format,
        )
        return found

    def beside(self, works: Mapping[str, Work], kept: list[str], folder: Path) -> dict[str, str]:
        config: dict[str, Any] = {}
        if (folder / "config.json").is_file():
            try:
                config = dict(json.loads((folder / "config.json").read_text("utf-8")))
            except (OSError, ValueError, TypeError) as error:
                raise BitquantError(
                    f"{folder / 'config.json'} is no readable JSON object: repair or remove it"
                ) from error
        return {"config.json": json.dumps(config | {"quantization_config": config_of(works.values(), kept)}, indent=2)}


def _grid_of_steps(work: Work) -> tuple[int, ...]:
    """The shape of the steps: one, one for each row, or groups in rows."""
    if work.granularity.channels == 1 and not work.options.group:
        return (1,) if work.options.axis is None else (1, 1)
    rows, columns = work.entry.shape
    return rows, columns // (work.options.group or columns)


LAYOUTS: dict[str, Callable[[], Layout]] = {"bitquant": Native, "compressed-tensors": CompressedTensors}
