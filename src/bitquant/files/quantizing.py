"""A file quantized into another, tensor by tensor and piece by piece, and what that cost.

# Design:
# A. Pieces are quantized by a few threads, and written in order by the one that asked for them: the bytes of a file
#    depend on its input alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.layouts import LAYOUTS, Layout
from bitquant.files.loose import given, named, opened
from bitquant.files.model import Plan, Result, Run, check_floats, check_target, share_out, write_all, write_one
from bitquant.files.output import check_place
from bitquant.files.recipe import Options
from bitquant.files.sink import Sink
from bitquant.files.slabs import Slab
from bitquant.files.source import Source
from bitquant.files.tensors import open_tensors
from bitquant.files.work import Advance, Work, in_order
from bitquant.layouts import check_threads
from bitquant.quantize.quantized import Quantized
from bitquant.quantize.report import Error, Tally, figures, tally
from bitquant.rules import choose

__all__ = ["quantize_file"]


def quantize_file(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    chosen: Callable[[str], Options | str],
    layout: str = "bitquant",
    *,
    overwrite: bool = False,
    verify: bool = False,
    threads: int | None = None,
    start: Callable[[int], Advance] = lambda steps: lambda name, done: None,
    run: Run | None = None,
) -> Result:
    """Quantize the float tensors of a file, of all files of an index, or of a list, in bounded memory.

    Parameters
    ----------
    source, output : path
        Files of tensors; or two that end in `.index.json`; or two that end in `.onnx`, of which the second has the
        codes of the first one's initialisers, and nodes that dequantize them (its large initialisers are in a file
        beside it where it would be longer than 2 GB); or a list of `.safetensors` and `.npz` files, and a folder, made
        if it is missing, into which each is written under its own name.
    chosen : callable
        Name to `Options`, or to a text that says why the tensor is kept as it is.
    layout : {"bitquant", "compressed-tensors"}
    overwrite : bool
        Replace what is there.
    verify : bool
        Read back what was written and compare its numbers, bit for bit, before it takes its place.
    threads : int or None
        None for one on each processor. The result is the same.
    start : callable
        Is given the bytes that there are to deal with, and gives what is called with a name and bytes at each step.
    run : callable, optional
        For several files: is given a function and a list of (file, place), calls it with each pair, here or on
        another machine that has the same files, and yields the files as they are done: `bitquant.dask.on_workers`
        makes one.

    Returns
    -------
    Result
        A row for each tensor that was quantized, and why the others were kept.

    Raises
    ------
    BitquantError
        As for `quantize`, `open_tensors` and `create_tensors`, with the file, the tensor and the byte. What was there
        before is untouched.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from bitquant.files import Options, load_quantized, quantize_file, write_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     x, q = os.path.join(folder, "x.npz"), os.path.join(folder, "q.npz")
    ...     write_tensors(x, {"w": np.float32([[1, -0.5], [30, 127]])})
    ...     result = quantize_file(x, q, lambda name: Options(axis=0), verify=True)
    ...     load_quantized(q)[0]["w"].codes
    array([[127, -64],
           [ 30, 127]], dtype=int8)
    >>> result.rows[0]["steps"], result.rows[0]["bits"]
    (2, 8)

    Several files go into a folder. A name that is in two of them is that of two tensors:

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = [os.path.join(folder, name) for name in ("a.npz", "b.npz")]
    ...     for k, path in enumerate(files, 1):
    ...         write_tensors(path, {"w": np.float32([k, 127 * k])})
    ...     result = quantize_file(files, os.path.join(folder, "int8"), lambda name: Options())
    ...     load_quantized(os.path.join(folder, "int8", "b.npz"))[0]["w"].codes
    array([  1, 127], dtype=int8)
    >>> [(row["file"], row["name"], row["step"]) for row in result.rows]
    [('a.npz', 'w', 1.0), ('b.npz', 'w', 2.0)]
    """
    choose("layout", layout, dict.fromkeys(LAYOUTS, ""))
    check_threads(threads)
    source, output = given(source), Path(output)
    if isinstance(source, Path) and _is_model(output):
        check_place(output, overwrite, source)
        if not _is_model(source):
            raise BitquantError(f"{output} is made from a model: give an .onnx file instead of {source}")
    else:
        check_target(source, output, overwrite, several=True)
    with opened(source) as parts:
        check_floats(source, parts)
        plans = [_Quantization.of(part, chosen, _layout(layout, part, output), verify, threads) for part in parts]
        if not any(plan.works for plan in plans):
            raise BitquantError(
                f"no tensor of {named(source)} is left to quantize: give other --only and --skip patterns"
            )
        texts = _texts(plans, output if isinstance(source, list) else output.parent, overwrite)
        one = partial(quantize_part, chosen, layout, verify, threads)
        elsewhere = None if run is None else partial(share_out, run, one)
        return write_all(source, output, plans, overwrite, start, texts, elsewhere)


def _is_model(path: Path) -> bool:
    return path.name.lower().endswith(".onnx")


def _layout(name: str, part: Source, output: Path) -> Layout:
    """The layout of this name; what goes into a model has one of its own."""
    if _is_model(output):
        from bitquant.files.qdq import QDQ  # opened for models alone

        if name != "bitquant":
            raise BitquantError(f"an .onnx model has a layout of its own: leave out layout={name!r} (--layout)")
        return QDQ(part)
    return LAYOUTS[name]()


def quantize_part(
    chosen: Callable[[str], Options | str], layout: str, verify: bool, threads: int | None, source: Path, place: Path
) -> None:
    """Quantize one of several files to its place in the folder where they are put together."""
    with open_tensors(source) as one:
        write_one(_Quantization.of(one, chosen, LAYOUTS[layout](), verify, threads), place, lambda name, done: None)


def _texts(plans: list[_Quantization], folder: Path, overwrite: bool) -> dict[str, str]:
    """Files of text that the layout wants beside the output; they are not replaced unless that is allowed.

    They describe all files together, which therefore have to be parts of one model.
    """
    works = {name: work for plan in plans for name, work in plan.works.items()}
    origin, *others = {plan.source.path.parent.resolve(): plan.source.path.parent for plan in plans}.values()
    texts = plans[0].layout.beside(works, [name for plan in plans for name in plan.kept], origin)
    for name in texts:
        if others:
            raise BitquantError(
                f"one {name} describes the files of one folder, and these lie in {origin} and in {others[0]}: quantize "
                "them one after the other, into folders of their own"
            )
        where: dict[str, Path] = {}
        for plan in plans:
            for tensor in plan.source.tensors:
                if tensor in where:
                    raise BitquantError(
                        f"{tensor!r} is in {where[tensor]} and in {plan.source.path}, and one {name} describes both "
                        "files: quantize them one after the other, into folders of their own"
                    )
                where[tensor] = plan.source.path
        if folder.is_dir():
            check_place(folder / name, overwrite, origin / name)
    return texts


@dataclass(eq=False)
class _Quantization(Plan):
    """One file, and what becomes of each of its tensors."""

    source: Source
    layout: Layout
    works: dict[str, Work]
    kept: dict[str, str]
    verify: bool
    threads: int | None

    @classmethod
    def of(
        cls, source: Source, chosen: Callable[[str], Options | str], layout: Layout, verify: bool, threads: int | None
    ) -> _Quantization:
        """Choose for each tensor."""
        works: dict[str, Work] = {}
        kept: dict[str, str] = {}
        for name, entry in source.tensors.items():
            options = chosen(name)
            why = entry.dtype.name if not entry.is_float else "" if entry.count else "empty"
            if not why and isinstance(options, str):
                why = options
            if not why and not isinstance(options, str):
                options = layout.options(entry, options)
                why = layout.why_not(entry, options)
                if not why:
                    works[name] = Work(source, entry, options, layout.unit(entry))
            if why:
                kept[name] = why
        layout.check(works, source.tensors)
        return cls(source, layout, works, kept, verify, threads)

    @property
    def steps(self) -> int:
        """Bytes that are to be dealt with, each as often as it is read."""
        works = sum(work.entry.nbytes * (work.passes + self.verify) for work in self.works.values())
        return works + sum(self.source.tensors[name].nbytes for name in self.kept)

    @property
    def told(self) -> list[Any]:
        """What makes two runs the same run."""
        chosen = [(name, repr(asdict(work.options))) for name, work in self.works.items()]
        return [type(self.layout).__name__, chosen, sorted(self.kept.items()), self.verify]

    def write(
        self,
        output: Path,
        overwrite: bool,
        advance: Advance,
        result: Result,
        beside: Mapping[Path, str] | None = None,
    ) -> None:
        """Quantize, write, and read back if that is asked for."""
        workers = self.threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
        with (
            ThreadPoolExecutor(workers) as pool,
            self.layout.created(self.source, self.works, output, overwrite, beside) as sink,
        ):
            for name, entry in self.source.tensors.items():
                if name in self.works:
                    result.rows.append(self._quantize(self.works[name], sink, pool, advance))
                else:
                    self.layout.keep(self.source, entry, sink, advance)
            self.layout.describe(self.works, sink)
            sink.finish()
            if self.verify:
                with self.layout.back(sink) as back:
                    for work in self.works.values():
                        self._compare(work, back, pool, advance)
        result.kept |= self.kept

    def _quantize(self, work: Work, sink: Sink, pool: ThreadPoolExecutor, advance: Advance) -> dict[str, Any]:
        """Write one tensor, and tell what it cost."""
        work.survey(pool, advance)

        def one(slab: Slab) -> tuple[Slab, Quantized, Tally]:
            item, comparison = work.compared(slab, work.load(slab))
            return slab, item, tally(comparison)

        spread, tallies = _Spread(), []
        late: list[tuple[str, NDArray[Any]]] = []
        own = self.layout.planned(work)[0].name
        for slab, item, found in in_order(pool, one, work.slabs):
            tallies.append(found)
            if not work.slabs.spanning or not slab.start:
                spread.take(item)
            for name, piece in self.layout.pieces(work, slab, item):
                if name == own or sink.interleaved:
                    sink.write(name, piece)
                else:
                    late.append((name, piece))
            advance(work.entry.name, work.share(slab))
        for name, piece in sorted((*late, *self.layout.tail(work)), key=lambda part: part[0]):
            sink.write(name, piece)
        after = sum(part.count * part.dtype.itemsize for part in self.layout.planned(work))
        return _row(work, spread, figures(tallies), after)

    def _compare(self, work: Work, back: Source, pool: ThreadPoolExecutor, advance: Advance) -> None:
        """Decode what was written and compare it with what was meant, bit for bit."""

        def one(slab: Slab) -> tuple[Slab, bool]:
            meant = np.asarray(work.quantized(slab, work.load(slab)).dequantize(work.target))
            found = self.layout.values(work, slab, back)
            same = meant.dtype == found.dtype and np.array_equal(
                meant.reshape(-1).view(np.uint8), np.ascontiguousarray(found).reshape(-1).view(np.uint8)
            )
            return slab, same

        for slab, same in in_order(pool, one, work.slabs):
            if not same:
                raise BitquantError(
                    f"{back.path}: {work.entry.name!r} does not read back as it was written, from number {slab.start} "
                    "on: nothing was changed; check the disk and the memory, and write it again"
                )
            advance(work.entry.name, work.share(slab))


def _row(work: Work, spread: _Spread, error: Error, after: int) -> dict[str, Any]:
    """What a tensor became, and what it cost."""
    whole = work.granularity.axis is not None or not work.granularity.parameter_shape
    return {
        "name": work.entry.name,
        "shape": list(work.entry.shape),
        "from": work.entry.dtype.name,
        "dtype": np.asarray(work.empty.codes).dtype.name,
        "scheme": work.empty.scheme,
        "bits": work.options.bits,
        "axis": work.granularity.axis,
        "block_shape": None if whole else work.granularity.block,
        "note": work.note,
        **spread.facts(),
        "numbers": work.entry.count,
        "mse": error.mse,
        "max_abs": error.max_abs,
        "sqnr_db": error.sqnr_db,
        "clipped": error.clipped,
        "cosine": error.cosine,
        "bytes_before": work.entry.nbytes,
        "bytes_after": after,
    }


class _Spread:
    """From where to where the parameters of a tensor reach."""

    def __init__(self) -> None:
        self.count = 0
        self.found: dict[str, tuple[Any, Any]] = {}

    def take(self, item: Quantized) -> None:
        """Take in the parameters of a piece."""
        low, high = item.parameters.float_ranges()
        arrays = {
            "step": item.parameters.float_steps(),
            "scale": item.parameters.float_scales(),
            "zero_point": item.parameters.zero_points,
            "range": np.concatenate([low, high]),
        }
        self.count += arrays["step"].size
        for name, array in arrays.items():
            ends = array.min().item(), array.max().item()
            old = self.found.get(name, ends)
            self.found[name] = min(old[0], ends[0]), max(old[1], ends[1])

    def facts(self) -> dict[str, Any]:
        """One value where there is one, else [smallest, largest]; the range always as [low, high]."""
        ends = {name: list(pair) for name, pair in self.found.items()}
        single = {name: pair[0] for name, pair in ends.items() if self.count == 1 and name != "range"}
        return {"steps": self.count, **ends, **single}
