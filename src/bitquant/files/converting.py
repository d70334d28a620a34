"""A file converted into another, tensor by tensor and piece by piece: each number rounded once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitquant.convert import convert, decode
from bitquant.errors import BitquantError
from bitquant.files.gguf import BLOCKS, GGUFSink
from bitquant.files.model import Plan, Result, check_target, copy, floats_of, write_all
from bitquant.files.sink import Planned
from bitquant.files.source import Entry, Source
from bitquant.files.tensors import check_dtype, create_tensors, open_tensors
from bitquant.files.work import Advance
from bitquant.formats import FP32, FP64, Format, format
from bitquant.rules import Flags

__all__ = ["FLAGS", "convert_file"]

FLAGS = ("inexact", "overflow", "underflow", "invalid")
_NUMBERS = 1 << 21  # at a time


def convert_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    to: Any,
    *,
    overwrite: bool = False,
    start: Callable[[int], Advance] = lambda steps: lambda name, done: None,
    **rules: Any,
) -> Result:
    """Convert the float tensors of a file, or of all files of an index, into another, in bounded memory.

    Parameters
    ----------
    source, output : path
        Files of tensors; or two that end in `.index.json`.
    to : Format, str or dtype
        A format without a dtype goes into the file as numbers, each one of its values. Into a `.gguf` file also "q8_0",
        "q4_0" or "mxfp4": tensors of two dimensions or more whose rows are whole blocks of 32 are stored so, by
        `quantize_blocks`; the others are kept.
    overwrite, start
        As for `quantize_file`.
    **rules
        As for `convert`, and `threads`.

    Returns
    -------
    Result
        A row for each float tensor with its counted flags; the others were kept.

    Raises
    ------
    BitquantError
        As for `convert`, `open_tensors` and `create_tensors`, with the file, the tensor and the byte.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from bitquant.files import convert_file, read_tensors, write_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     x, h = os.path.join(folder, "x.npz"), os.path.join(folder, "h.npz")
    ...     write_tensors(x, {"w": np.float32([1, 0.1])})
    ...     result = convert_file(x, h, "float16")
    ...     read_tensors(h)[0]["w"], result.rows[0]["inexact"]
    (array([1. , 0.1], dtype=float16), 1)
    """
    if to in BLOCKS:
        return _to_blocks(Path(source), Path(output), to, overwrite, start, rules)
    target = format(to)
    values = None if target.dtype is not None else FP32 if FP32.contains(target) else FP64
    source, output = Path(source), Path(output)
    check_target(source, output, overwrite)
    with open_tensors(source) as opened:
        plans = [_Conversion(part, target, values, rules) for part in opened.parts]
        check_dtype(plans[0].source.path if len(plans) > 1 else output, (values or target).array_dtype)
        floats_of(opened)
        return write_all(source, output, plans, overwrite, start)


@dataclass(eq=False)
class _Conversion(Plan):
    source: Source
    target: Format
    values: Format | None
    rules: Mapping[str, Any]

    @property
    def steps(self) -> int:
        return sum(entry.nbytes for entry in self.source.tensors.values())

    @property
    def told(self) -> list[Any]:
        return [self.target.name, sorted((name, repr(rule)) for name, rule in self.rules.items() if name != "threads")]

    def write(self, output: Path, overwrite: bool, advance: Advance, result: Result) -> None:
        dtype = (self.values or self.target).array_dtype
        entries = self.source.tensors
        planned = [Planned(name, one.shape, dtype if one.is_float else one.dtype) for name, one in entries.items()]
        with create_tensors(output, planned, self.source.metadata, overwrite) as sink:
            for name, entry in entries.items():
                if not entry.is_float:
                    copy(self.source, entry, sink, advance)
                    result.kept[name] = entry.dtype.name
                    continue
                flags = Flags()
                for start in range(0, max(entry.count, 1), _NUMBERS):
                    stop = min(start + _NUMBERS, entry.count)
                    sink.write(name, self._converted(entry, start, stop, flags))
                    advance(name, entry.nbytes * (stop - start) // max(entry.count, 1))
                result.rows.append(
                    {
                        "name": name,
                        "shape": list(entry.shape),
                        "from": entry.dtype.name,
                        "dtype": dtype.name,
                        "numbers": entry.count,
                        "bytes_before": entry.nbytes,
                        "bytes_after": entry.count * dtype.itemsize,
                        **{flag: getattr(flags, flag) for flag in FLAGS},
                    }
                )

    def _converted(self, entry: Entry, start: int, stop: int, flags: Flags) -> Any:
        piece = self.source.read(entry.name, start, stop)
        whole = stop - start == entry.count  # errors then have the tensor's own indices
        try:
            found = convert(piece.reshape(entry.shape) if whole else piece, self.target, flags=flags, **self.rules)
            return np.asarray(found if self.values is None else decode(found, self.target, self.values))
        except BitquantError as error:
            where = "" if whole else f", counted from number {start} on"
            raise BitquantError(f"{entry.place}{where}: {error}") from error


def _to_blocks(
    source: Path,
    output: Path,
    to: str,
    overwrite: bool,
    start: Callable[[int], Advance],
    rules: Mapping[str, Any],
) -> Result:
    """A `.gguf` file whose matrices are stored in blocks."""
    given = [name for name, rule in rules.items() if rule is not None and name != "threads"]
    if given:
        raise BitquantError(f"{to} has a rule of its own: leave out {', '.join(given)}")
    if not output.name.lower().endswith(".gguf"):
        raise BitquantError(f"{output} has no blocks of {to}: write a .gguf file")
    check_target(source, output, overwrite)
    with open_tensors(source) as opened:
        floats_of(opened)
        return write_all(source, output, [_Blocking(opened, to)], overwrite, start)


@dataclass(eq=False)
class _Blocking(Plan):
    source: Source
    to: str

    @property
    def steps(self) -> int:
        return sum(entry.nbytes for entry in self.source.tensors.values())

    @property
    def told(self) -> list[Any]:
        return [self.to]

    def write(self, output: Path, overwrite: bool, advance: Advance, result: Result) -> None:
        entries = self.source.tensors
        planned = [Planned(name, one.shape, one.dtype) for name, one in entries.items()]
        with create_tensors(output, planned, self.source.metadata, overwrite) as sink:
            assert isinstance(sink, GGUFSink)
            for name, entry in entries.items():
                why = _why_not_blocks(entry)
                if why:
                    result.kept[name] = why
                    continue
                sink.store(name, self.to)
                result.rows.append(
                    {
                        "name": name,
                        "shape": list(entry.shape),
                        "from": entry.dtype.name,
                        "dtype": self.to,
                        "numbers": entry.count,
                        "bytes_before": entry.nbytes,
                        "bytes_after": sink.stored_bytes(name),
                    }
                )
            if not result.rows:
                raise BitquantError(f"{self.source.path} has no matrix whose rows are whole blocks: give another file")
            for entry in entries.values():
                copy(self.source, entry, sink, advance)


def _why_not_blocks(entry: Entry) -> str:
    if not entry.is_float:
        return entry.dtype.name
    if not entry.count or len(entry.shape) < 2:
        return f"{len(entry.shape)}-D" if entry.count else "empty"
    return f"rows of {entry.shape[-1]}" if entry.shape[-1] % 32 else ""
