"""numcodecs: bit rounding makes the low significand bits zero; what is left are the codes of a shorter format."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Candidate, Case
from bitquant.formats import Format, format

# Pairs of formats with the same exponent field.
_PAIRS = (("float32", "bfloat16"), ("float32", "tfloat32"), ("float16", "float8_e5m2"))


def _cast(source: Format, target: Format) -> Candidate:
    def encode(x: Any) -> Any:
        from numcodecs.bitround import BitRound

        with np.errstate(all="ignore"):
            whole = np.asarray(BitRound(keepbits=target.significand_bits).encode(x)).view(source.code_dtype)
        return (whole >> (source.bits - target.bits)).astype(target.code_dtype)

    return encode


def _script(source: Format, target: Format) -> dict[str, str]:
    whole = f"np.asarray(BitRound({target.significand_bits}).encode(x)).view(np.{source.code_dtype})"
    call = f"({whole} >> {source.bits - target.bits}).astype(np.{target.code_dtype})"
    return {"setup": "from numcodecs.bitround import BitRound", "call": call}


def _cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{source} keeping {format(target).significand_bits} bits",
            _cast(format(source), format(target)),
            options={"source": source, "target": target, **_script(format(source), format(target))},
        )
        for source, target in _PAIRS
    )


ADAPTER = Adapter("numcodecs", "numcodecs' BitRound", ("numcodecs",), _cases)
