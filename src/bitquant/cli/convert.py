"""`bitquant convert`: every float tensor of a file in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitquant.cli.show import Screen, print_json, size
from bitquant.cli.tensors import kept_line, progress
from bitquant.files import FLAGS, convert_file
from bitquant.formats import FP32, format


def run(source: Path, output: Path, to: str, force: bool, as_json: bool, **rules: Any) -> None:
    """Convert, write, and say what happened."""
    target = format(to)
    with progress("converting") as start:
        result = convert_file(source, output, target, overwrite=force, start=start, **rules)
    rows = result.rows
    totals = {key: sum(row[key] for row in rows) for key in ("numbers", "bytes_before", "bytes_after", *FLAGS)}
    if as_json:
        print_json(
            {
                "input": str(source),
                "output": str(output),
                "to": target.name,
                "tensors": rows,
                "kept": [{"name": name, "dtype": dtype} for name, dtype in result.kept.items()],
                "totals": {"tensors": len(rows), **totals},
            }
        )
        return
    screen = Screen()
    screen.table(
        ("tensor", "shape", "from", *FLAGS),
        [[(r["name"], "cyan"), size(r["shape"]), r["from"], *(_count(r[flag]) for flag in FLAGS)] for r in rows],
        lead=3,
    )
    kept_line(screen, list(result.kept.items()))
    values = "float32" if FP32.contains(target) else "float64"
    dtype = "" if target.dtype is not None else f" (as {values}, which holds each of its numbers)"
    screen.line(
        f"{len(rows)} tensors to {target.name}{dtype}, {totals['numbers']:,} numbers, each rounded once: "
        f"{totals['bytes_before']:,} → {totals['bytes_after']:,} bytes"
    )
    screen.line("written: ", (str(output), "green"))


def _count(n: int) -> Any:
    return f"{n:,}" if n else (f"{n}", "dim")
