"""The compressed-tensors layout: codes in 32-bit words, and the configuration that tells of them.

Sources: compressed_tensors/compressors/pack_quantized (words, and which entries there are) and
compressed_tensors/quantization/quant_config.py, quant_args.py (the configuration), version 0.20.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.files.work import Work
from bitquant.packing import pack_bits

__all__ = ["bits_in_words", "config_of", "words_of"]


def bits_in_words(count: int, bits: int) -> int:
    """How many 32-bit words codes of so many bits take."""
    return -(-count * bits // 32)


def words_of(codes: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """Signed codes, row by row, from the lowest bit of 32-bit words up; the smallest code is 0 there."""
    unsigned = (codes.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
    packed = pack_bits(np.ascontiguousarray(unsigned), bits)
    words = np.zeros((codes.shape[0], 4 * bits_in_words(codes.shape[1], bits)), np.uint8)
    words[:, : packed.shape[1]] = packed
    return words.view("<i4")


def config_of(works: Iterable[Work], kept: Iterable[str]) -> dict[str, Any]:
    """The `quantization_config` of a model: a group for each way in which weights were quantized."""
    groups: dict[str, list[str]] = {}
    for work in works:
        args = {
            "num_bits": work.options.bits,
            "type": "int",
            "symmetric": work.empty.scheme == "symmetric",
            "strategy": "tensor",
            "dynamic": False,
        }
        if work.options.group is not None:
            args |= {"strategy": "group", "group_size": work.options.group}
        elif work.options.axis is not None:
            args["strategy"] = "channel"
        module = work.entry.name.removesuffix(".weight")
        groups.setdefault(json.dumps(args), []).append(module)
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {
            f"group_{number}": {"targets": targets, "weights": json.loads(args), "format": "pack-quantized"}
            for number, (args, targets) in enumerate(groups.items())
        },
        "ignore": sorted(name.removesuffix(".weight") for name in kept if name.endswith(".weight")),
    }
