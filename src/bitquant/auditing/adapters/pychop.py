"""Pychop: `Chop`, which rounds numbers to a format and leaves them in their dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Candidate, Case
from bitquant.auditing.candidate import CandidateError
from bitquant.convert import decode, encode
from bitquant.formats import Format, format

_TARGETS = ("bfloat16", "float16", "tfloat32", "float8_e5m2", "float8_e4m3")
_MODES = {"nearest_even": 1, "toward_positive": 2, "toward_negative": 3, "toward_zero": 4, "nearest_away": 8}


def on_grid(values: Any, fmt: Format, given: Any) -> Any:
    """The codes of numbers, made of those that were given, that have to be numbers of a format.

    Raises
    ------
    CandidateError
        For one that is not, with what was given.
    """
    codes = np.asarray(encode(values, fmt))
    back = np.asarray(decode(codes, fmt, np.float64))
    wrong = np.flatnonzero(~((back == values) | (np.isnan(back) & np.isnan(values))))
    if wrong.size:
        before, after = float(given[wrong[0]]), float(values[wrong[0]])
        raise CandidateError(f"it gives numbers that the format does not have: {before!r} became {after!r}")
    return codes


def _chop(target: Format, rounding: str) -> Candidate:
    def chop(x: Any) -> Any:
        import pychop

        pychop.backend("numpy")
        with np.errstate(all="ignore"):
            found = pychop.Chop(target.exponent_bits, target.significand_bits, rmode=_MODES[rounding])(x)
        return on_grid(np.asarray(found), target, x)

    return chop


def _script(target: Format, rounding: str) -> dict[str, Any]:
    """What Chop gives are numbers, and stay so: some are none of the format's."""
    fields = f"{target.exponent_bits}, {target.significand_bits}, rmode={_MODES[rounding]}"
    setup = "import pychop\n\npychop.backend('numpy')"
    return {"setup": setup, "call": f"pychop.Chop({fields})(x)", "numbers": True}


def _cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{source} to {target} {rounding}",
            _chop(format(target), rounding),
            f"pychop.Chop: rmode={_MODES[rounding]} is {rounding}",
            options={
                "source": source,
                "target": target,
                "rounding": rounding,
                **_script(format(target), rounding),
            },
        )
        for target in _TARGETS
        for source in ("float64", "float32")
        for rounding in (_MODES if source == "float32" else ("nearest_even",))
    )


ADAPTER = Adapter("pychop", "Pychop's Chop", ("pychop",), _cases)
