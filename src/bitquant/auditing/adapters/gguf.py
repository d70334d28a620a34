"""gguf: Q8_0 and Q4_0, blocks of 32 numbers with one step, by the package's own code."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Candidate, Case

_STEP, _OTHERS = 2, 31  # bytes of a block's step; numbers of a block besides the one that makes the step
_PROMISE = "gguf, quants.py: a comment says that Q8_0 has the bits of ggml's C code."


def _blocks(kind: str) -> Candidate:
    """Many numbers with one step: each block begins with the first number of largest magnitude, which makes it."""

    def quantize(x: Any) -> Any:
        from gguf import GGMLQuantizationType, quants

        count = -(-x.size // _OTHERS)
        padded = np.zeros(count * _OTHERS, np.float32)
        padded[: x.size] = x
        first = np.full((count, 1), x[np.argmax(np.abs(x))], np.float32)
        blocks = np.concatenate([first, padded.reshape(count, _OTHERS)], 1)
        with np.errstate(all="ignore"):
            packed = quants.quantize(blocks, GGMLQuantizationType[kind])
        step, rest = float(packed[0, :_STEP].copy().view(np.float16)[0]), packed[:, _STEP:].copy()
        if kind == "Q8_0":
            return rest.view(np.int8)[:, 1:].reshape(-1)[: x.size], step, 0
        codes = np.concatenate([rest & 15, rest >> 4], 1)
        return codes[:, 1:].reshape(-1)[: x.size], step, 8

    return quantize


def _script(kind: str) -> dict[str, str]:
    """At most one block, filled up with zeros."""
    codes = (
        "packed[2:].view(np.int8)[:x.size]"
        if kind == "Q8_0"
        else "np.concatenate([packed[2:] & 15, packed[2:] >> 4])[:x.size]"
    )
    lines = (
        "from gguf import GGMLQuantizationType, quants",
        "",
        "def quantize(x):",
        "    block = np.zeros(32, np.float32)",
        "    block[:x.size] = x",
        f"    packed = quants.quantize(block, GGMLQuantizationType.{kind})",
        f"    return {codes}, float(packed[:2].view(np.float16)[0]), {0 if kind == 'Q8_0' else 8}",
    )
    return {"setup": "\n".join(lines), "call": "quantize(x)"}


def _cases() -> tuple[Case, ...]:
    return (
        Case(
            "Q8_0",
            _blocks("Q8_0"),
            _PROMISE,
            True,
            {"step_format": "float16", "against": "ggml_q8_0", **_script("Q8_0")},
        ),
        Case(
            "Q4_0",
            _blocks("Q4_0"),
            "",
            True,
            {"step_format": "float16", "bits": 4, "signed": False, "against": "ggml_q4_0", **_script("Q4_0")},
        ),
    )


ADAPTER = Adapter("gguf", "gguf's Q8_0 and Q4_0", ("gguf",), _cases)
