"""bitstring: arrays of its small floating-point types, filled with Python floats."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Candidate, Case
from bitquant.formats import Format, format

# Our names, the names of its types, and what these do beyond the largest number.
_TYPES = (
    ("float16", "float16", "ieee"),
    ("bfloat16", "bfloat16", "ieee"),
    ("float32", "float32", "ieee"),
    ("float8_e4m3fn", "e4m3mxfp_saturate", "saturate"),
    ("float8_e4m3fn", "e4m3mxfp_overflow", "ieee"),
    ("float8_e5m2", "e5m2mxfp_saturate", "saturate"),
    ("float8_e5m2", "e5m2mxfp_overflow", "ieee"),
    ("float6_e3m2fn", "e3m2mxfp", "saturate"),
    ("float6_e2m3fn", "e2m3mxfp", "saturate"),
    ("float4_e2m1fn", "e2m1mxfp", "saturate"),
)
_PROMISE = "bitstring, Exotic Floating Point Formats: rounded to nearest, ties to even; {} is named in the type."


def _cast(target: Format, name: str) -> Candidate:
    def pack(x: Any) -> Any:
        from bitstring import Array

        numbers = x if target.bits >= 8 else np.where(np.isnan(x), 0, x)  # it refuses NaN where the type has none
        raw = np.frombuffer(Array(name, numbers.tolist()).tobytes(), np.uint8)
        bits = np.unpackbits(raw)[: x.size * target.bits].reshape(-1, target.bits)
        weights = 1 << np.arange(target.bits, dtype=np.uint64)[::-1]
        return (bits * weights).sum(1, dtype=np.uint64).astype(target.code_dtype)

    return pack


def _script(target: Format, name: str) -> dict[str, str]:
    """One number; bitstring puts the first bit first, and fills up the last byte."""
    size = target.bits // 8
    dtype = f"'>u{size}'" if size > 1 else "np.uint8"
    call = f"np.frombuffer(Array('{name}', x.tolist()).tobytes(), {dtype})"
    call += f".astype(np.uint{target.bits})" if size > 1 else "" if size else f" >> {8 - target.bits}"
    return {"setup": "from bitstring import Array", "call": call}


def _cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{source} to {target} ({name})",
            _cast(format(target), name),
            _PROMISE.format("overflow") if target.startswith("float8") else "",
            options={"source": source, "target": target, "overflow": overflow, **_script(format(target), name)},
        )
        for target, name, overflow in _TYPES
        for source in ("float64", "float32")
        if source != target
    )


ADAPTER = Adapter("bitstring", "bitstring's small floats", ("bitstring",), _cases)
