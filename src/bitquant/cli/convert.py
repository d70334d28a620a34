"""`bitquant convert`: every float tensor of a file in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitquant.cli.show import Screen, print_json, size
from bitquant.cli.tensors import given, input_of, kept_line, labels, progress, runs_line, workers
from bitquant.files import FLAGS, convert_file
from bitquant.files.gguf import BLOCKS
from bitquant.formats import FP32, Format, format


def run(
    sources: list[Path], output: Path, to: str, force: bool, as_json: bool, dask: str | None = None, **rules: Any
) -> None:
    """Convert, write, and say what happened."""
    blocks = to in BLOCKS
    name = to if blocks else format(to).name
    with progress("converting") as start, workers(dask) as run:
        result = convert_file(given(sources, output), output, name, overwrite=force, start=start, run=run, **rules)
    rows, flags = result.rows, () if blocks else FLAGS
    totals = {key: sum(row[key] for row in rows) for key in ("numbers", "bytes_before", "bytes_after", *flags)}
    if as_json:
        print_json(
            {
                "input": input_of(sources),
                "output": str(output),
                "to": name,
                "tensors": rows,
                "kept": [{"name": name, "dtype": dtype} for name, dtype in result.kept.items()],
                "totals": {"tensors": len(rows), **totals},
                "left": result.left,
            }
        )
        return
    screen = Screen()
    screen.table(
        ("tensor", "shape", "from", *flags),
        [
            [(name, "cyan"), size(row["shape"]), row["from"], *(_count(row[flag]) for flag in flags)]
            for row, name in zip(rows, labels(rows), strict=True)
        ],
        lead=3,
    )
    kept_line(screen, list(result.kept.items()))
    runs_line(screen, result)
    dtype = "" if blocks else _held(format(name))
    screen.line(
        f"{len(rows)} tensors to {name}{dtype}, {totals['numbers']:,} numbers, each rounded once: "
        f"{totals['bytes_before']:,} → {totals['bytes_after']:,} bytes"
    )
    screen.line("written: ", (str(output), "green"))


def _held(target: Format) -> str:
    """In what a format goes into the file, where it has no dtype."""
    values = "float32" if FP32.contains(target) else "float64"
    return "" if target.dtype is not None else f" (as {values}, which holds each of its numbers)"


def _count(n: int) -> Any:
    return f"{n:,}" if n else (f"{n}", "dim")
