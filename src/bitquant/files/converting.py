"""A file converted into another, tensor by tensor and piece by piece: each number rounded once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bitquant.convert import convert, decode
from bitquant.errors import BitquantError
from bitquant.files.gguf import BLOCKS, GGUFSink
from bitquant.files.loose import given, opened
from bitquant.files.model import Plan, Result, Run, check_floats, check_target, copy, share_out, write_all, write_one
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
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    to: Any,
    *,
    overwrite: bool = False,
    start: Callable[[int], Advance] = lambda steps: lambda name, done: None,
    run: Run | None = None,
    **rules: Any,
) -> Result:
    """Convert the float tensors of a file, of all files of an index, or of a list, in bounded memory.

    Parameters
    ----------
    source, output : path
        Files of tensors; or two that end in `.index.json`; or a list of `.safetensors`, `.npz` and `.npy` files, and a
        folder, made if it is missing, into which each is written under its own name.
    to : Format, str or dtype
        A format without a dtype goes into the file as numbers, each one of its values. Into a `.gguf` file also "q8_0",
        "q4_0" or "mxfp4": tensors of two dimensions or more whose rows are whole blocks of 32 are stored so, by
        `quantize_blocks`; the others are kept.
    overwrite, start, run
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

    Several files go into a folder:

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = [os.path.join(folder, name) for name in ("a.npz", "b.npz")]
    ...     for path in files:
    ...         write_tensors(path, {"w": np.float32([1, 0.1])})
    ...     result = convert_file(files, os.path.join(folder, "half"), "float16")
    ...     sorted(os.listdir(os.path.join(folder, "half"))), [(row["file"], row["inexact"]) for row in result.rows]
    (['a.npz', 'b.npz'], [('a.npz', 1), ('b.npz', 1)])
    """
    source, output = given(source), Path(output)
    if to in BLOCKS:
        if isinstance(source, list) or run is not None:
            raise BitquantError(f"{to} goes into one .gguf file, written by one process: give one file, or an index")
        return _to_blocks(source, output, to, overwrite, start, rules)
    check_target(source, output, overwrite)
    with opened(source) as parts:
        plans = [_Conversion.of(part, to, rules) for part in parts]
        for plan in plans:
            alone = len(plans) == 1 and isinstance(source, Path)
            check_dtype(output if alone else plan.source.path, plan.dtype)
        check_floats(source, parts)
        elsewhere = None if run is None else partial(share_out, run, partial(convert_part, to, rules))
        return write_all(source, output, plans, overwrite, start, elsewhere=elsewhere)


def convert_part(to: Any, rules: Mapping[str, Any], source: Path, place: Path) -> None:
    """Convert one of several files to its place in the folder where they are put together."""
    with open_tensors(source) as one:
        write_one(_Conversion.of(one, to, rules), place, lambda name, done: None)


@dataclass(eq=False)
class _Conversion(Plan):
    source: Source
    target: Format
    values: Format | None
    rules: Mapping[str, Any]

    @classmethod
    def of(cls, source: Source, to: Any, rules: Mapping[str, Any]) -> _Conversion:
        """Where the format has no dtype, numbers are stored: float32 where that holds each of its values."""
        target = format(to)
        values = None if target.dtype is not None else FP32 if FP32.contains(target) else FP64
        return cls(source, target, values, rules)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what is written."""
        return (self.values or self.target).array_dtype

    @property
    def told(self) -> list[Any]:
        return [self.target.name, sorted((name, repr(rule)) for name, rule in self.rules.items() if name != "threads")]

    def write(
        self,
        output: Path,
        overwrite: bool,
        advance: Advance,
        result: Result,
        beside: Mapping[Path, str] | None = None,
    ) -> None:
        dtype, entries = self.dtype, self.source.tensors
        planned = [Planned(name, one.shape, dtype if one.is_float else one.dtype) for name, one in entries.items()]
        with create_tensors(output, planned, self.source.metadata, overwrite, beside=beside) as sink:
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
    with open_tensors(source) as whole:
        check_floats(source, whole.parts)
        return write_all(source, output, [_Blocking(whole, to)], overwrite, start)


@dataclass(eq=False)
class _Blocking(Plan):
    source: Source
    to: str

    @property
    def told(self) -> list[Any]:
        return [self.to]

    def write(
        self,
        output: Path,
        overwrite: bool,
        advance: Advance,
        result: Result,
        beside: Mapping[Path, str] | None = None,
    ) -> None:
        entries = self.source.tensors
        planned = [Planned(name, one.shape, one.dtype) for name, one in entries.items()]
        with create_tensors(output, planned, self.source.metadata, overwrite, beside=beside) as sink:
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
