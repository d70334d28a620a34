"""`bitquant quantize`: every float tensor of a file as codes, and what it cost."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bitquant.cli.show import Part, Screen, number, print_json, size
from bitquant.cli.tensors import given, input_of, kept_line, labels, progress, runs_line, workers
from bitquant.files import Options, Recipe, Result, quantize_file, read_recipe, rule

_HEADS = ("tensor", "shape", "bytes", "step", "zero", "mse", "max error", "SQNR dB", "clipped", "cosine")
_LEAD = 3  # the columns that say what the tensor is; the others are figures


def run(
    sources: list[Path],
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
    with progress("quantizing") as start, workers(dask) as run:
        result = quantize_file(given(sources, output), output, chosen, layout, **options, start=start, run=run)
    names = labels(result.rows)
    totals = _totals(result.rows, names)
    if as_json:
        left = [{"name": name, "reason": why} for name, why in result.kept.items()]
        print_json(
            {
                "input": input_of(sources),
                "output": str(output),
                "layout": layout,
                "verified": verify,
                "tensors": result.rows,
                "kept": left,
                "totals": totals,
                "left": result.left,
            }
        )
        return
    _show(result, names, totals, output, worst, verify)


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


def _totals(rows: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    worst, worst_name = min(zip(rows, names, strict=True), key=lambda pair: float(pair[0]["sqnr_db"]))
    largest, largest_name = max(zip(rows, names, strict=True), key=lambda pair: float(pair[0]["max_abs"]))
    return {
        "tensors": len(rows),
        **{key: sum(row[key] for row in rows) for key in ("numbers", "bytes_before", "bytes_after")},
        "lowest_sqnr_db": worst["sqnr_db"],
        "lowest_sqnr_tensor": worst_name,
        "max_abs": largest["max_abs"],
        "max_abs_tensor": largest_name,
    }


def _show(
    result: Result, names: list[str], totals: dict[str, Any], output: Path, worst: int | None, verified: bool
) -> None:
    screen = Screen()
    rows = list(zip(result.rows, names, strict=True))
    if worst is not None:
        rows = sorted(rows, key=lambda pair: float(pair[0]["sqnr_db"]))[:worst]
    notes = any(row["note"] for row, _ in rows)
    heads = (*_HEADS[:_LEAD], *([""] if notes else []), *_HEADS[_LEAD:])
    screen.table(heads, [_cells(row, name, notes) for row, name in rows], lead=_LEAD + notes)
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
    runs_line(screen, result)
    if verified:
        screen.line("verified: what was written gives the same numbers, bit for bit")
    screen.line("written: ", (str(output), "green"))


def _cells(row: dict[str, Any], name: str, notes: bool) -> list[Part]:
    step, zero = row["step"], row["zero_point"]
    if isinstance(zero, list):
        zero = str(zero[0]) if zero[0] == zero[1] else f"{zero[0]}…{zero[1]}"
    return [
        (name, "cyan"),
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
