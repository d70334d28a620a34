"""gguf: Q8_0 and Q4_0, blocks of 32 numbers with one step, by the package's own code."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Case

_BLOCK, _STEP = 32, 2  # numbers of a block, bytes of its step


def _block(kind: str) -> Any:
    """What one block gives; numbers that are missing are zeros, numbers beyond the first 32 are other blocks."""

    def quantize(x: Any) -> Any:
        from gguf import GGMLQuantizationType, quants

        padded = np.zeros((1, _BLOCK), np.float32)
        padded[0, : x.size] = x[:_BLOCK]
        with np.errstate(all="ignore"):
            (packed,) = quants.quantize(padded, GGMLQuantizationType[kind])
        step, rest = float(packed[:_STEP].copy().view(np.float16)[0]), packed[_STEP:]
        if kind == "Q8_0":
            return rest.view(np.int8)[: x.size], step, 0
        return np.concatenate([rest & 15, rest >> 4]).astype(np.int8)[: x.size], step, 8

    return quantize


def _cases() -> tuple[Case, ...]:
    return (
        Case("Q8_0", _block("Q8_0"), "gguf-py: bit-exact with ggml's reference code", True, {"step_format": "float16"}),
        Case(
            "Q4_0",
            _block("Q4_0"),
            "gguf-py: bit-exact with ggml's reference code",
            True,
            {"step_format": "float16", "bits": 4, "signed": False},
        ),
    )


ADAPTER = Adapter("gguf", "gguf's Q8_0 and Q4_0", ("gguf",), _cases)
