"""`bitquant quantize`: every float tensor of a file as codes, and what it cost."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.calibrate import calibrate
from bitquant.cli.show import Part, Screen, number, print_json, progress, size
from bitquant.cli.tensors import Tensors, float_format, kept_line, named, open_floats
from bitquant.errors import BitquantError
from bitquant.files import check_output, entries, save_quantized
from bitquant.quantize import Quantized, quantize

_HEADS = ("tensor", "shape", "bytes", "step", "zero", "mse", "max error", "SQNR dB", "clipped", "cosine")
_LEAD = 3  # the columns that say what the tensor is; the others are figures


def run(
    source: Path,
    output: Path,
    scheme: str | None,
    limits: tuple[float, float] | None,
    axis: int | None,
    group: int | None,
    method: str | None,
    only: list[str],
    skip: list[str],
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Quantize, write, and say what happened."""
    options = {**options, **_mapping(scheme, limits, axis, group)}
    if method is not None and limits is not None:
        raise BitquantError("--calibrate finds a range, and --range gives one: choose")
    check_output(output, force, source, several=True)
    tensors, metadata, _ = open_floats(source)
    kept = {name: why for name in tensors if (why := _why_not(name, tensors[name], only, skip))}
    if len(kept) == len(tensors):
        raise BitquantError(f"no tensor of {source} is left to quantize: give other --only and --skip patterns")
    items: dict[str, Quantized | NDArray[Any]] = dict(tensors)
    rows = []
    with progress([name for name in tensors if name not in kept], "quantizing") as names:
        for name in names:
            with named(name):
                # A vector has one number per channel: a step for each would take more room than it does.
                fine = axis is not None or group is not None
                apart = fine and _has_channels(tensors[name], -1 if axis is None else axis)
                where: dict[str, Any] = {"axis": axis, "group_size": group} if apart else {}
                if method is not None:
                    where["range"] = _calibrated(tensors[name], method, where, options)
                found = quantize(tensors[name], **where, **options)
                note = f"{tensors[name].ndim}-D: one step for all" if fine and not apart else ""
                items[name] = found
                rows.append(_facts(name, tensors[name], found, note))
    save_quantized(output, items, metadata, overwrite=force)
    totals = _totals(rows)
    if as_json:
        left = [{"name": name, "dtype": tensors[name].dtype.name, "reason": why} for name, why in kept.items()]
        print_json({"input": str(source), "output": str(output), "tensors": rows, "kept": left, "totals": totals})
        return
    _show(rows, kept, totals, output)


def _mapping(
    scheme: str | None, limits: tuple[float, float] | None, axis: int | None, group: int | None
) -> dict[str, Any]:
    """Find scheme and range for `quantize`: clipping is one of its two schemes with a chosen range."""
    if limits is None:
        if scheme == "clipped":
            raise BitquantError("--scheme clipped needs the range to clip to: add --range LOW HIGH")
        return {"scheme": scheme or "symmetric"}
    if axis is not None or group is not None:
        name = "--axis finds one per channel" if group is None else "--group finds one per group"
        raise BitquantError(f"--range is one range for all and {name}: give one of the two")
    if scheme in (None, "clipped"):
        scheme = "symmetric" if limits[0] == -limits[1] else "asymmetric"
    return {"scheme": scheme, "range": limits}


def _calibrated(tensor: NDArray[Any], method: str, where: dict[str, Any], options: dict[str, Any]) -> Any:
    """Find the range of a tensor by a method of calibration."""
    words = ("scheme", "bits", "signed", "narrow", "include_zero", "step_format", "nonfinite")
    return calibrate(tensor, method, **where, **{word: options[word] for word in words})  # type: ignore[arg-type]


def _why_not(name: str, tensor: NDArray[Any], only: list[str], skip: list[str]) -> str:
    """Say why a tensor is left as it is; an empty text where it is not."""
    if float_format(tensor) is None:
        return tensor.dtype.name
    if not tensor.size:
        return "empty"
    if only and not any(fnmatchcase(name, pattern) for pattern in only):
        return "not in --only"
    return "--skip" if any(fnmatchcase(name, pattern) for pattern in skip) else ""


def _has_channels(tensor: NDArray[Any], axis: int) -> bool:
    return tensor.ndim > 1 and -tensor.ndim <= axis < tensor.ndim


def _facts(name: str, tensor: NDArray[Any], found: Quantized, note: str) -> dict[str, Any]:
    error = found.error(tensor)
    return {
        "name": name,
        "shape": list(tensor.shape),
        "from": float_format(tensor),
        "dtype": np.asarray(found.codes).dtype.name,
        "scheme": found.scheme,
        "bits": found.bits,
        "axis": found.axis,
        "block_shape": found.block_shape,
        "note": note,
        "step": found.step,
        "scale": found.scale,
        "zero_point": found.zero_point,
        "range": list(found.range),
        "numbers": tensor.size,
        "mse": error.mse,
        "max_abs": error.max_abs,
        "sqnr_db": error.sqnr_db,
        "clipped": error.clipped,
        "cosine": error.cosine,
        "bytes_before": tensor.nbytes,
        "bytes_after": sum(part.nbytes for part in entries(name, found).values()),
    }


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


def _show(rows: list[dict[str, Any]], kept: dict[str, str], totals: dict[str, Any], output: Path) -> None:
    screen = Screen()
    notes = any(row["note"] for row in rows)
    heads = (*_HEADS[:_LEAD], *([""] if notes else []), *_HEADS[_LEAD:])
    screen.table(heads, [_cells(row, notes) for row in rows], lead=_LEAD + notes)
    kept_line(screen, list(kept.items()))
    before, after = totals["bytes_before"], totals["bytes_after"]
    screen.line(
        f"{totals['tensors']} tensors, {totals['numbers']:,} numbers: {before:,} → {after:,} bytes, ",
        (f"{before / after:.2f} times smaller" if after < before else f"{after / before:.2f} times larger", "bold"),
    )
    screen.line(
        f"lowest SQNR {totals['lowest_sqnr_db']:.1f} dB in {totals['lowest_sqnr_tensor']}, "
        f"largest error {number(totals['max_abs'])} in {totals['max_abs_tensor']}"
    )
    screen.line("written: ", (str(output), "green"))


def _cells(row: dict[str, Any], notes: bool) -> list[Part]:
    steps, zeros = np.asarray(row["step"]), np.asarray(row["zero_point"])
    per_axis = steps.ndim > 0
    zero = str(zeros.min()) if zeros.min() == zeros.max() else f"{zeros.min()}…{zeros.max()}"
    return [
        (row["name"], "cyan"),
        size(row["shape"]),
        f"{row['bytes_before']:,} → {row['bytes_after']:,}",
        *([(row["note"], "dim")] if notes else []),
        f"{steps.size} steps" if per_axis else number(float(steps)),
        zero,
        number(row["mse"]),
        number(row["max_abs"]),
        f"{row['sqnr_db']:.1f}",
        f"{row['clipped']:.2%}" if row["clipped"] else "0",
        f"{row['cosine']:.6f}",
    ]


__all__ = ["Tensors", "run"]
