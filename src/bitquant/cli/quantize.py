"""`bitquant quantize`: every float tensor of a file as codes, and what it cost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bitquant.cli.show import Part, Screen, number, print_json, size
from bitquant.cli.tensors import kept_line, progress
from bitquant.files import Options, Recipe, Result, Run, quantize_file, read_recipe, rule

_HEADS = ("tensor", "shape", "bytes", "step", "zero", "mse", "max error", "SQNR dB", "clipped", "cosine")
_LEAD = 3  # the columns that say what the tensor is; the others are figures


def run(
    source: Path,
    output: Path,
    words: dict[str, Any],
    recipe: Path | None,
    rules: list[str],
    only: list[str],
    skip: list[str],
    layout: str,
    worst: int | None,
    force: bool,
    verify: bool,
    as_json: bool,
    threads: int | None,
    dask: str | None = None,
) -> None:
    """Quantize, write, and say what happened."""
    chosen = _chosen(words, recipe, rules, only, skip)
    options: dict[str, Any] = {"overwrite": force, "verify": verify, "threads": threads}
    with progress("quantizing") as start, _workers(dask) as run:
        result = quantize_file(source, output, chosen, layout, **options, start=start, run=run)
    totals = _totals(result.rows)
    if as_json:
        left = [{"name": name, "reason": why} for name, why in result.kept.items()]
        print_json(
            {
                "input": str(source),
                "output": str(output),
                "layout": layout,
                "verified": verify,
                "tensors": result.rows,
                "kept": left,
                "totals": totals,
            }
        )
        return
    _show(result, totals, output, worst, verify)


def _workers(address: str | None) -> AbstractContextManager[Run | None]:
    """What shares the files of an index out among the workers of a dask cluster, if there is one."""
    if address is None:
        return nullcontext()
    from bitquant.dask import on_workers

    return on_workers(address)


def _chosen(
    words: dict[str, Any], path: Path | None, rules: list[str], only: list[str], skip: list[str]
) -> Callable[[str], Options | str]:
    """Which tensor is quantized how: the recipe's words, then those of the command line; and the rules of both."""
    found = Recipe() if path is None else read_recipe(path)
    recipe = Recipe({**found.words, **words}, [*found.rules, *map(rule, rules)])

    def chosen(name: str) -> Options | str:
        if only and not any(fnmatchcase(name, pattern) for pattern in only):
            return "not in --only"
        if any(fnmatchcase(name, pattern) for pattern in skip):
            return "--skip"
        options = recipe.options(name)
        return "skipped by a rule" if options.skip else options

    chosen("")  # what is wrong with the options for all is said before a file is opened
    return chosen


def _totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    worst = min(rows, key=lambda row: float(row["sqnr_db"]))
    largest = max(rows, key=lambda row: float(row["max_abs"]))
    return {
        "tensors": len(rows),
        **{key: sum(row[key] for row in rows) for key in ("numbers", "bytes_before", "bytes_after")},
        "lowest_sqnr_db": worst["sqnr_db"],
        "lowest_sqnr_tensor": worst["name"],
        "max_abs": largest["max_abs"],
        "max_abs_tensor": largest["name"],
    }


def _show(result: Result, totals: dict[str, Any], output: Path, worst: int | None, verified: bool) -> None:
    screen = Screen()
    rows = result.rows if worst is None else sorted(result.rows, key=lambda row: float(row["sqnr_db"]))[:worst]
    notes = any(row["note"] for row in rows)
    heads = (*_HEADS[:_LEAD], *([""] if notes else []), *_HEADS[_LEAD:])
    screen.table(heads, [_cells(row, notes) for row in rows], lead=_LEAD + notes)
    if len(rows) < len(result.rows):
        screen.note(f"the {len(rows)} of lowest SQNR, of {len(result.rows)}")
    kept_line(screen, list(result.kept.items()))
    before, after = totals["bytes_before"], totals["bytes_after"]
    screen.line(
        f"{totals['tensors']} tensors, {totals['numbers']:,} numbers: {before:,} → {after:,} bytes, ",
        (f"{before / after:.2f} times smaller" if after < before else f"{after / before:.2f} times larger", "bold"),
    )
    screen.line(
        f"lowest SQNR {totals['lowest_sqnr_db']:.1f} dB in {totals['lowest_sqnr_tensor']}, "
        f"largest error {number(totals['max_abs'])} in {totals['max_abs_tensor']}"
    )
    if result.resumed:
        screen.line(f"{result.resumed} files were whole from an earlier run that was stopped")
    if verified:
        screen.line("verified: what was written gives the same numbers, bit for bit")
    screen.line("written: ", (str(output), "green"))


def _cells(row: dict[str, Any], notes: bool) -> list[Part]:
    step, zero = row["step"], row["zero_point"]
    if isinstance(zero, list):
        zero = str(zero[0]) if zero[0] == zero[1] else f"{zero[0]}…{zero[1]}"
    return [
        (row["name"], "cyan"),
        size(row["shape"]),
        f"{row['bytes_before']:,} → {row['bytes_after']:,}",
        *([(row["note"], "dim")] if notes else []),
        number(step) if not isinstance(step, list) else f"{row['steps']} steps",
        str(zero),
        number(row["mse"]),
        number(row["max_abs"]),
        f"{row['sqnr_db']:.1f}",
        f"{row['clipped']:.2%}" if row["clipped"] else "0",
        f"{row['cosine']:.6f}",
    ]
