"""`bitquant convert`: every float tensor of a file in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.cli.show import Screen, print_json, progress, size
from bitquant.cli.tensors import float_format, kept_line, named, open_floats
from bitquant.convert import convert, decode
from bitquant.files import check_dtype, check_output, write_tensors
from bitquant.formats import FP32, FP64, format
from bitquant.rules import Flags

_FLAGS = ("inexact", "overflow", "underflow", "invalid")


def run(source: Path, output: Path, to: str, force: bool, as_json: bool, **rules: Any) -> None:
    """Convert, write, and say what happened."""
    target = format(to)
    # A format without a dtype goes into the file as numbers, each one of its values.
    values = None if target.dtype is not None else FP32 if FP32.contains(target) else FP64
    check_output(output, force, source)
    check_dtype(output, (values or target).array_dtype)
    tensors, metadata, floats = open_floats(source)
    results: dict[str, NDArray[Any]] = {}
    rows = []
    with progress(list(tensors), "converting") as names:
        for name in names:
            tensor = tensors[name]
            if name not in floats:
                results[name] = tensor
                continue
            flags = Flags()
            with named(name):
                result = np.asarray(convert(tensor, target, flags=flags, **rules))
                results[name] = result if values is None else np.asarray(decode(result, target, values))
            rows.append(
                {
                    "name": name,
                    "shape": list(tensor.shape),
                    "from": float_format(tensor),
                    "dtype": results[name].dtype.name,
                    "numbers": tensor.size,
                    "bytes_before": tensor.nbytes,
                    "bytes_after": results[name].nbytes,
                    **{flag: getattr(flags, flag) for flag in _FLAGS},
                }
            )
    write_tensors(output, results, metadata, overwrite=force)
    kept = [{"name": name, "dtype": tensors[name].dtype.name} for name in tensors if name not in floats]
    columns = ("numbers", "bytes_before", "bytes_after", *_FLAGS)
    totals = {key: sum(row[key] for row in rows) for key in columns}
    if as_json:
        print_json(
            {
                "input": str(source),
                "output": str(output),
                "to": target.name,
                "tensors": rows,
                "kept": kept,
                "totals": {"tensors": len(rows), **totals},
            }
        )
        return
    screen = Screen()
    screen.table(
        ("tensor", "shape", "from", *_FLAGS),
        [[(r["name"], "cyan"), size(r["shape"]), r["from"], *(_count(r[flag]) for flag in _FLAGS)] for r in rows],
        lead=3,
    )
    kept_line(screen, [(row["name"], row["dtype"]) for row in kept])
    dtype = "" if values is None else f" (as {values.name}, which holds each of its numbers)"
    screen.line(
        f"{len(rows)} tensors to {target.name}{dtype}, {totals['numbers']:,} numbers, each rounded once: "
        f"{totals['bytes_before']:,} → {totals['bytes_after']:,} bytes"
    )
    screen.line("written: ", (str(output), "green"))


def _count(n: int) -> Any:
    return f"{n:,}" if n else (f"{n}", "dim")
