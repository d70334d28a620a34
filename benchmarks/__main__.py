"""Measure bitquant beside its peers: ``python -m benchmarks [--only TEXT] [--rounds N] [--quick]``.

All competitors of a case take turns in one process on one thread (the two-thread cases aside); the best of all rounds
counts, as G elements/s. The table is printed and saved as benchmarks/results.json and docs/benchmarks.md.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
import timeit
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import bitquant as bq
from benchmarks.cases import CASES, GOALS, Runs, all_pairs, installed
from benchmarks.files import whole_files

WHOLE = (
    "Whole commands on two processors, from a warm cache to a disk: per tensor and per channel INT8, with the table of "
    "errors. `cp` leaves its copy in the cache and bitquant writes through to the disk, as `cp, synced` does."
)
SIZES = {"16 K": 1 << 14, "1 M": 1 << 20, "16 M": 1 << 24}
HERE = Path(__file__).parent


def best_times(runs: Runs, size: int, rounds: int) -> dict[str, float]:
    """The best time of each competitor, in seconds, taken in turns."""
    repeats = max(1, (1 << 20) // size)
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            best[name] = min(best[name], (time.perf_counter() - start) / repeats)
    return best


def measure(only: str, rounds: int, sizes: dict[str, int]) -> list[dict[str, Any]]:
    """All cases at all sizes."""
    rows = []
    for label, size in sizes.items():
        for name, case in CASES.items():
            if only not in name or (size < 1 << 20 and "threads" in name):
                continue
            times = best_times(case(size), size, rounds)
            rows.append({"case": name, "size": label, "speeds": {who: size / t / 1e9 for who, t in times.items()}})
            print(line_of(rows[-1]), flush=True)
    return rows


def line_of(row: dict[str, Any]) -> str:
    """One row of the table as text."""
    ours, *peers = row["speeds"].items()
    beside = "; ".join(f"{who} {speed:.2f} ({ours[1] / speed:.2f} ×)" for who, speed in peers)
    return f"{row['size']:>5} {row['case']:38} {ours[1]:6.2f} G/s   {beside}"


def small_things() -> dict[str, float]:
    """Latency, import time and memory."""
    one = np.ones(1, np.float32)
    call = min(timeit.repeat(lambda: bq.convert(one, "float16"), number=20_000, repeat=7)) / 20_000
    program = "import time, numpy; t = time.perf_counter(); import bitquant; print(time.perf_counter() - t)"
    imports = [float(subprocess.check_output([sys.executable, "-c", program])) for _ in range(7)]
    x, y = np.ones(1 << 24, np.float32), np.empty(1 << 24, np.float16)
    strided = np.ones(1 << 25, np.float32)[::2]
    peaks = []
    for source in (x, strided):
        tracemalloc.start()
        bq.convert(source, "float16", out=y)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    z, codes = np.random.default_rng(0).standard_normal(1 << 24).astype(np.float32), np.empty(1 << 24, np.int8)
    tracemalloc.start()
    bq.quantize(z, out=codes)
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    start = time.perf_counter()
    bq.calibrate(z[: 1 << 20], "mse")
    squares = time.perf_counter() - start
    start = time.perf_counter()
    bq.calibrate(z[:10_000_000], "mse")
    return {
        "exact least squared error for INT8, 1 M numbers, s (at most 2)": squares,
        "the same, 10 M numbers, s (at most 10)": time.perf_counter() - start,
        "one-element convert, µs (at most 5)": call * 1e6,
        "import beyond NumPy, ms (at most 60)": min(imports) * 1e3,
        "peak extra memory with out=, KB (at most 1000)": peaks[0] / 1e3,
        "the same from a strided array, KB": peaks[1] / 1e3,
        "peak extra memory of quantizing 16 M numbers with out=, KB": peaks[2] / 1e3,
    }


def goals_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What must be reached at 16 M elements, and what was."""
    found = []
    for row in rows:
        if row["size"] != "16 M":
            continue
        for peer, goal in GOALS.get(row["case"], {}).items():
            if peer in row["speeds"]:
                ratio = row["speeds"]["bitquant"] / row["speeds"][peer]
                found.append({"case": row["case"], "peer": peer, "goal": goal, "ratio": ratio})
    return found


def machine() -> dict[str, str]:
    """What was measured on."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    peers = ["numpy", "ml_dtypes", "torch", "onnxruntime"]
    versions = {name: importlib.metadata.version(name) for name in peers if installed(name)}
    return {"cpu": cpu, "python": platform.python_version(), "bitquant": bq.__version__, **versions}


def markdown(result: dict[str, Any]) -> str:
    """The table as a page."""
    about = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    text = [
        "# Benchmarks",
        "",
        "<!-- Written by `python -m benchmarks`; do not edit. -->",
        "",
        f"Measured on {about}. All competitors of a row take turns in one process, on one thread; the best of "
        f"{result['rounds']} rounds counts. Speeds in G elements/s; in brackets, how many times as fast bitquant is.",
        "",
        "## Goals at 16 M elements",
        "",
        "| case | beside | needed | reached | |",
        "|---|---|---|---|---|",
    ]
    for goal in result["goals"]:
        verdict = "yes" if goal["ratio"] >= goal["goal"] else "no"
        text.append(f"| {goal['case']} | {goal['peer']} | {goal['goal']:.2f} × | {goal['ratio']:.2f} × | {verdict} |")
    text += ["", "## Calls", "", "| what | measured |", "|---|---|"]
    text += [f"| {name} | {value:.2f} |" for name, value in result["small"].items()]
    text += ["", "## The ten slowest of all pairs of formats", "", "At 16 M elements; at least 0.3 G/s is needed.", ""]
    text += ["| pair | G elements/s |", "|---|---|"]
    text += [f"| {pair['pair']} | {pair['speed']:.2f} |" for pair in result["slowest pairs"]]
    text += ["", "## Files", "", f"{WHOLE} Speeds in GB/s of the input; in brackets, against `cp`.", ""]
    commands = list(result["files"][0]["seconds"])
    text += [f"| file | {' | '.join(commands)} |", "|---" * (len(commands) + 1) + "|"]
    for row in result["files"]:
        speeds = [f"{row['bytes'] / s / 1e9:.2f} ({row['seconds']['cp'] / s:.2f} ×)" for s in row["seconds"].values()]
        text.append(f"| {row['file']} | {' | '.join(speeds)} |")
    for size in SIZES:
        rows = [row for row in result["rows"] if row["size"] == size]
        if rows:
            text += ["", f"## {size} elements", "", "| case | bitquant | beside |", "|---|---|---|"]
        for row in rows:
            ours, *peers = row["speeds"].items()
            beside = ", ".join(f"{who} {speed:.2f} ({ours[1] / speed:.2f} ×)" for who, speed in peers)
            text.append(f"| {row['case']} | {ours[1]:.2f} | {beside} |")
    return "\n".join(text) + "\n"


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only cases whose name contains this; nothing is saved")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of which the best counts")
    parser.add_argument("--quick", action="store_true", help="3 rounds; nothing is saved")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if installed("torch"):
        import torch

        torch.set_num_threads(1)
    rounds = 3 if options.quick else options.rounds
    rows = measure(options.only, rounds, SIZES)
    small = small_things()
    for name, value in small.items():
        print(f"{name:64} {value:8.2f}")
    pairs = [] if options.only else all_pairs(1 << 20 if options.quick else 1 << 24)
    for speed, name in pairs[:10]:
        print(f"{name:50} {speed:8.2f} G/s (at least 0.3)")
    files = [] if options.only else list(whole_files(1 if options.quick else 3))
    for row in files:
        told = ", ".join(f"{name} {row['bytes'] / s / 1e9:.2f} GB/s" for name, s in row["seconds"].items())
        print(f"{row['file']}: {told}")
    goals = goals_of(rows)
    for goal in goals:
        verdict = "reached" if goal["ratio"] >= goal["goal"] else "MISSED"
        print(f"{verdict:8} {goal['case']:38} {goal['ratio']:.2f} × {goal['peer']} (needed {goal['goal']:.2f})")
    if not options.only and not options.quick:
        result = {"machine": machine(), "rounds": rounds, "small": small, "goals": goals, "rows": rows}
        result["files"] = files
        result["slowest pairs"] = [{"pair": name, "speed": speed} for speed, name in pairs[:10]]
        (HERE / "results.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        (HERE.parent / "docs" / "benchmarks.md").write_text(markdown(result))
        print("saved benchmarks/results.json and docs/benchmarks.md")


if __name__ == "__main__":
    main()
