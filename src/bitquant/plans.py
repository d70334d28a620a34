"""From two formats to a pipeline: the list of stages that converts one into another under given rules.

A plan is made once for each combination and kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from bitquant.formats import FP32, FP64, Format
from bitquant.kernels.narrow import Narrow
from bitquant.kernels.pipeline import Pipeline
from bitquant.kernels.stage import Stage
from bitquant.kernels.trim import Trim
from bitquant.permitted import Rules
from bitquant.rules import Stochastic
from bitquant.stages import (
    carrier_of,
    carries,
    compares_integers,
    from_carrier,
    from_whole,
    leads_to,
    narrow,
    resize,
    whole_to_codebook,
    whole_to_codes,
)
from bitquant.stages import to_carrier as _to_carrier


@lru_cache(maxsize=4096)
def conversion(
    source: Format,
    target: Format,
    rounding: Any = None,
    overflow: str | None = None,
    nan: str | None = None,
    subnormals: str | None = None,
    tininess: str | None = None,
    counted: bool = False,
) -> Pipeline:
    """The pipeline from codes of `source` to codes of `target`. `counted` asks for flags."""
    rules = Rules.of(target, rounding, overflow, nan, subnormals, tininess, counted)
    first, rest = _stages(source, target, rules)
    return Pipeline((*first, *rest), len(first), rules.counted or rules.refuses)


@lru_cache(maxsize=4096)
def round_trip(
    source: Format,
    target: Format,
    rounding: Any = None,
    overflow: str | None = None,
    nan: str | None = None,
    subnormals: str | None = None,
    tininess: str | None = None,
    counted: bool = False,
) -> Pipeline:
    """The pipeline from codes of `source` to `target` and back, where only the way there may round."""
    rules = Rules.of(target, rounding, overflow, nan, subnormals, tininess, counted)
    fits = source.contains(target)
    back = Rules.of(source, overflow="raise" if source.is_integer and not fits else None, exact=not fits)
    first, rest = _stages(source, target, rules)
    again = _stages(target, source, back)
    return Pipeline((*first, *rest, *again[0], *again[1]), len(first), rules.counted or rules.refuses or back.refuses)


@lru_cache(maxsize=256)
def rounding_row(target: Format, rounding: Any = None) -> Narrow:
    """The row of a format for significands in 64-bit lanes, with IEEE 754 overflow."""
    return narrow(FP64, target, FP64, Rules.of(target, rounding), 8)


@lru_cache(maxsize=256)
def trimming(fmt: Format, bits: int, away: bool) -> Pipeline:
    """The pipeline that rounds the low bits of FP32 or FP64 codes to zero."""
    return Pipeline((Trim(fmt.code_dtype.itemsize, bits, away),))


def to_carrier(source: Format) -> tuple[Format, Stage | None]:
    """The carrier of a format's values, and the stage that brings them there where they are not in it already."""
    if source in (FP32, FP64):
        return source, None
    carrier = carrier_of(source)
    return carrier, _to_carrier(source, carrier, quiet=False)


def _stages(source: Format, target: Format, rules: Rules) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    """The stages from codes of one format to codes of another: exact ones, and from the one on that may round."""
    if rules.moves_only and target in (FP32, FP64) and source is not target and leads_to(target, source):
        return (), (_to_carrier(source, target, quiet=True),)
    if source.is_integer and source.bits == 64:
        if target.is_integer:
            return (), resize(target, rules, source)
        if target is FP64:
            return (), (from_whole(source, rules.rounding, rules.exact),)
        # Two roundings are as one where the first is to odd and has two digits more; no other may be one of two.
        if target.is_float and (target.precision > FP64.precision - 2 or isinstance(rules.rounding, Stochastic)):
            return (), whole_to_codes(source, target, rules)
        if target.kind == "codebook" and compares_integers(target):
            return (), whole_to_codebook(source, target, rules)
    carrier = FP32 if carries(FP32, source, target) else FP64
    first = () if source is carrier else (_to_carrier(source, carrier, quiet=False),)
    return first, from_carrier(source, target, carrier, rules)
