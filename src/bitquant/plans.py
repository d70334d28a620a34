"""From rows to kernels: the list of stages that converts one format into another under given rules.

Here, and only here, formats and rules become the plain numbers that the kernels work with. A plan is made once for each
combination and kept.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from bitquant.formats import FP32, FP64, Format
from bitquant.kernels.integer import ToInteger
from bitquant.kernels.narrow import Narrow
from bitquant.kernels.pipeline import Pipeline
from bitquant.kernels.stage import Stage
from bitquant.kernels.widen import FromInteger, Widen
from bitquant.rules import NAN, OVERFLOW, ROUNDINGS, SUBNORMALS, TININESS, choose, rounding_index

_FLOAT_OVERFLOW = {rule: OVERFLOW[rule] for rule in ("ieee", "saturate", "saturate_finite", "raise")}
_INTEGER_OVERFLOW = {rule: OVERFLOW[rule] for rule in ("saturate", "wrap", "raise")}
_INTEGER_NAN = {rule: NAN[rule] for rule in ("raise", "zero", "max")}


class _Rules(NamedTuple):
    """The rules of one conversion, checked, with the defaults of the target filled in."""

    rounding: str
    overflow: str
    nan: str
    subnormals: str
    tininess: str
    counted: bool  # flags are asked for
    exact: bool  # a number that is not the target's is refused

    @classmethod
    def of(
        cls,
        target: Format,
        rounding: str,
        overflow: str | None,
        nan: str | None,
        subnormals: str,
        tininess: str,
        counted: bool,
        exact: bool = False,
    ) -> _Rules:
        where = f" for {target.name}"
        overflows = _INTEGER_OVERFLOW if target.is_integer else _FLOAT_OVERFLOW
        nans = _INTEGER_NAN if target.is_integer else NAN
        default_overflow, default_nan = ("saturate", "raise") if target.is_integer else ("ieee", "preserve")
        return cls(
            list(ROUNDINGS)[rounding_index(rounding)],
            choose("overflow", default_overflow if overflow is None else overflow, overflows, where),
            choose("nan", default_nan if nan is None else nan, nans, where),
            choose("subnormals", subnormals, SUBNORMALS),
            choose("tininess", tininess, TININESS),
            counted,
            exact,
        )

    @property
    def refuses(self) -> bool:
        return self.exact or "raise" in (self.overflow, self.nan)

    @property
    def moves_only(self) -> bool:
        """Whether a number that the target has comes out as it is, and nothing is counted."""
        return (
            not (self.counted or self.exact)
            and self.nan == "preserve"
            and self.subnormals == "gradual"
            and self.overflow != "saturate"
        )


@lru_cache(maxsize=4096)
def conversion(
    source: Format,
    target: Format,
    rounding: str = "nearest_even",
    overflow: str | None = None,
    nan: str | None = None,
    subnormals: str = "gradual",
    tininess: str = "after",
    counted: bool = False,
) -> Pipeline:
    """The pipeline from codes of `source` to codes of `target`. `counted` asks for flags."""
    rules = _Rules.of(target, rounding, overflow, nan, subnormals, tininess, counted)
    stages = _stages(source, target, rules)
    return Pipeline(stages, len(stages) - 1, counted or rules.refuses)


@lru_cache(maxsize=4096)
def round_trip(
    source: Format,
    target: Format,
    rounding: str = "nearest_even",
    overflow: str | None = None,
    nan: str | None = None,
    subnormals: str = "gradual",
    tininess: str = "after",
    counted: bool = False,
) -> Pipeline:
    """The pipeline from codes of `source` to `target` and back, where only the way there may round."""
    rules = _Rules.of(target, rounding, overflow, nan, subnormals, tininess, counted)
    fits = target.max <= source.max and target.min >= source.min and target.precision <= source.precision
    overflow_back = "raise" if source.is_integer and not fits else None
    back = _Rules.of(source, "nearest_even", overflow_back, None, "gradual", "after", False, exact=not fits)
    there = _stages(source, target, rules)
    stages = (*there, *_stages(target, source, back))
    return Pipeline(stages, len(there) - 1, counted or rules.refuses or back.refuses)


@lru_cache(maxsize=256)
def rounding_row(target: Format) -> Narrow:
    """The row of a format for significands in 64-bit lanes: nearest-even, IEEE 754 overflow."""
    rules = _Rules.of(target, "nearest_even", "ieee", "preserve", "gradual", "after", False)
    return _narrow(FP64, target, FP64, rules, 8)


def to_carrier(source: Format) -> tuple[Format, Stage | None]:
    """The carrier of a format's values, and the stage that brings them there where they are not in it already."""
    carrier = FP64 if source is FP64 else FP32
    return carrier, None if source is carrier else _to_carrier(source, carrier, quiet=False)


def _stages(source: Format, target: Format, rules: _Rules) -> tuple[Stage, ...]:
    """The stages from codes of one format to codes of another."""
    if rules.moves_only and target in (FP32, FP64) and source is not FP64 and source is not target:
        return (_to_carrier(source, target, quiet=True),)
    # FP32 carries every other format here, and cuts at least two bits off its own significand for a target.
    carrier = FP64 if source is FP64 or target.significand_bits > FP32.significand_bits - 2 else FP32
    first = () if source is carrier else (_to_carrier(source, carrier, quiet=False),)
    if target.is_integer:
        return (*first, _to_integer(source, target, carrier, rules))
    return (*first, _narrow(source, target, carrier, rules, target.code_dtype.itemsize))


def _bits(value: float, carrier: Format) -> int:
    """The bits of a positive number of the carrier."""
    code: int = struct.unpack("<Q" if carrier is FP64 else "<I", struct.pack("<d" if carrier is FP64 else "<f", value))[
        0
    ]
    return code


def _to_carrier(source: Format, carrier: Format, quiet: bool) -> Stage:
    word, size = carrier.code_dtype.itemsize, source.code_dtype.itemsize
    if source.is_integer:
        return FromInteger(size, word, source.signed)
    rebias = carrier.bias - source.bias
    return Widen(
        size,
        word,
        sign_shift=source.magnitude_bits,
        largest=source.largest_code,
        subnormal=1 << source.significand_bits if rebias else 0,
        shift=carrier.significand_bits - source.significand_bits,
        rebias=rebias << carrier.significand_bits,
        unit=source.min_exponent - source.significand_bits,
        quiet=quiet,
    )


def _to_integer(source: Format, target: Format, carrier: Format, rules: _Rules) -> Stage:
    return ToInteger(
        carrier.code_dtype.itemsize,
        target.code_dtype.itemsize,
        rules.counted or rules.overflow == "raise",
        mode=rounding_index(rules.rounding),
        most=(target.largest_code, 2**target.significand_bits if target.signed else 0),
        wrap=rules.overflow == "wrap",
        nan=target.largest_code if rules.nan == "max" else 0,
        refuse_nan=rules.nan == "raise",
        refuse_range=rules.overflow == "raise",
        flush_input=_flush_input(source, carrier, rules),
    )


def _narrow(source: Format, target: Format, carrier: Format, rules: _Rules, size: int) -> Narrow:
    """The stage that rounds to a floating format; `size` is that of the words it writes, 8 for 64-bit lanes."""
    point = 23 if carrier is FP32 else 61 if size == 8 else 29  # significand bits of the kernel's lane
    counted = rules.counted or rules.refuses
    flush_input = _flush_input(source, carrier, rules)
    flush_output = 1 << target.significand_bits if rules.subnormals in ("flush_output", "flush") else 0
    # Design C of narrow.pyx: which magnitudes of the carrier are ordinary. With the same bias subnormals are, too,
    # as long as nobody asks for their flags.
    same = target.bias == carrier.bias and not (counted or flush_input or flush_output)
    beyond = _beyond(target, rules)
    ceiling = target.largest_code if set(beyond) == {target.largest_code} else target.largest_code + 1
    keeps_nan = rules.nan in ("preserve", "raise")
    return Narrow(
        carrier.code_dtype.itemsize,
        size,
        counted,
        mode=rounding_index(rules.rounding),
        tiny_before=rules.tininess == "before",
        rebias=carrier.bias - target.bias,
        exponent_end=2**target.exponent_bits,
        stored=target.significand_bits,
        cut=point - target.significand_bits,
        sign_shift=target.magnitude_bits,
        largest=target.largest_code,
        ceiling=ceiling,
        beyond=beyond,
        split=beyond != (ceiling, ceiling),
        infinity=target.largest_code if rules.overflow == "saturate" else target.infinity_code,
        nan={"zero": 0, "max": target.largest_code}.get(rules.nan, target.nan_code),
        payload=(1 << (target.significand_bits - 1)) - 1 if keeps_nan else 0,
        nan_sign=keeps_nan,
        nan_invalid=rules.nan in ("zero", "max"),
        infinity_overflows=rules.overflow == "saturate",
        refuse_nan=rules.nan == "raise",
        refuse_overflow=rules.overflow == "raise",
        refuse_inexact=rules.exact,
        flush_input=flush_input,
        flush_output=flush_output,
        ordinary_first=1 if same else max(_bits(target.smallest_normal, carrier), flush_input),
        ordinary_end=_bits(target.max, carrier) + 1 if size < 8 else 0,
    )


def _flush_input(source: Format, carrier: Format, rules: _Rules) -> int:
    """The carrier's bits of the smallest number that is not flushed, or 0."""
    flushes = rules.subnormals in ("flush_input", "flush") and not source.is_integer
    return _bits(source.smallest_normal, carrier) if flushes else 0


def _beyond(target: Format, rules: _Rules) -> tuple[int, int]:
    """The magnitudes given for a positive and a negative overflow (IEEE 754-2019 clause 7.4)."""
    if rules.overflow in ("saturate", "saturate_finite"):
        return target.largest_code, target.largest_code
    nearest = rules.rounding in ("nearest_even", "nearest_away")
    above = target.infinity_code if nearest or rules.rounding == "toward_positive" else target.largest_code
    below = target.infinity_code if nearest or rules.rounding == "toward_negative" else target.largest_code
    return above, below
