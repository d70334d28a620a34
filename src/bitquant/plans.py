"""From rows to kernels: the list of stages that converts one format into another under given rules.

Here, and only here, formats and rules become the plain numbers that the kernels work with. A plan is made once for each
combination and kept.
"""

from __future__ import annotations

import struct
from functools import lru_cache

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
    stages = _stages(source, target, rounding, overflow, nan, subnormals, tininess, counted)
    return Pipeline(stages, len(stages) - 1, counted or _refuses(target, overflow, nan))


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
    there = _stages(source, target, rounding, overflow, nan, subnormals, tininess, counted)
    fits = target.max <= source.max and target.min >= source.min
    back = _stages(target, source, "nearest_even", None if fits else "raise", None, "gradual", "after", False)
    return Pipeline((*there, *back), len(there) - 1, counted or not fits or _refuses(target, overflow, nan))


@lru_cache(maxsize=256)
def rounding_row(target: Format) -> Narrow:
    """The row of a format for significands in 64-bit lanes: nearest-even, IEEE 754 overflow."""
    return _narrow(FP64, target, FP64, "nearest_even", 0, "ieee", "preserve", "gradual", "after", False, 0, wide=True)


def to_carrier(source: Format) -> tuple[Format, Stage | None]:
    """The carrier of a format's values, and the stage that brings them there where they are not in it already."""
    carrier = FP64 if source is FP64 else FP32
    return carrier, None if source is carrier else _to_carrier(source, carrier, quiet=False)


def _refuses(target: Format, overflow: str | None, nan: str | None) -> bool:
    return overflow == "raise" or nan == "raise" or (nan is None and target.is_integer)


def _stages(
    source: Format,
    target: Format,
    rounding: str,
    overflow: str | None,
    nan: str | None,
    subnormals: str,
    tininess: str,
    counted: bool,
) -> tuple[Stage, ...]:
    mode = rounding_index(rounding)
    where = f" for {target.name}"
    if target.is_integer:
        overflow = choose("overflow", "saturate" if overflow is None else overflow, _INTEGER_OVERFLOW, where)
        nan = choose("nan", "raise" if nan is None else nan, _INTEGER_NAN, where)
    else:
        overflow = choose("overflow", "ieee" if overflow is None else overflow, _FLOAT_OVERFLOW, where)
        nan = choose("nan", "preserve" if nan is None else nan, NAN, where)
    choose("subnormals", subnormals, SUBNORMALS)
    choose("tininess", tininess, TININESS)
    size = target.code_dtype.itemsize
    # FP32 carries every other format here, and cuts at least two bits off its own significand for a target.
    carrier = FP64 if source is FP64 or target.significand_bits > FP32.significand_bits - 2 else FP32
    # A carrier that is the target itself needs no second stage, where no rule asks anything of the numbers.
    plain = not counted and nan == "preserve" and subnormals == "gradual" and overflow != "saturate"
    if plain and target in (FP32, FP64) and source is not FP64 and source is not target:
        return (_to_carrier(source, target, quiet=True),)
    first = () if source is carrier else (_to_carrier(source, carrier, quiet=False),)
    word = carrier.code_dtype.itemsize
    flush = _bits(source.smallest_normal, carrier) if subnormals in ("flush_input", "flush") else 0
    if target.is_integer:
        most = (target.largest_code, 2**target.significand_bits if target.signed else 0)
        last: Stage = ToInteger(
            word,
            size,
            counted or overflow == "raise",
            mode=mode,
            most=most,
            wrap=overflow == "wrap",
            nan=target.largest_code if nan == "max" else 0,
            refuse_nan=nan == "raise",
            refuse_range=overflow == "raise",
            flush_input=flush if not source.is_integer else 0,
        )
    else:
        last = _narrow(
            source, target, carrier, ROUNDINGS_BY_INDEX[mode], mode, overflow, nan, subnormals, tininess, counted, flush
        )
    return (*first, last)


ROUNDINGS_BY_INDEX = tuple(ROUNDINGS)


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


def _narrow(
    source: Format,
    target: Format,
    carrier: Format,
    rounding: str,
    mode: int,
    overflow: str,
    nan: str,
    subnormals: str,
    tininess: str,
    counted: bool,
    flush_input: int,
    wide: bool = False,
) -> Narrow:
    size = 8 if wide else target.code_dtype.itemsize
    point = 23 if carrier is FP32 else 61 if size == 8 else 29  # significand bits of the kernel's lane
    flush_output = 1 << target.significand_bits if subnormals in ("flush_output", "flush") else 0
    counted = counted or nan == "raise" or overflow == "raise"
    # Design C of narrow.pyx: which magnitudes of the carrier are ordinary. With the same bias subnormals are, too,
    # as long as nobody asks for their flags.
    same = target.bias == carrier.bias and not (counted or flush_input or flush_output)
    first = 1 if same else max(_bits(target.smallest_normal, carrier), flush_input)
    beyond = _beyond(target, rounding, overflow)
    ceiling = target.largest_code if set(beyond) == {target.largest_code} else target.largest_code + 1
    return Narrow(
        carrier.code_dtype.itemsize,
        size,
        counted,
        mode=mode,
        tiny_before=tininess == "before",
        rebias=carrier.bias - target.bias,
        exponent_end=2**target.exponent_bits,
        stored=target.significand_bits,
        cut=point - target.significand_bits,
        sign_shift=target.magnitude_bits,
        largest=target.largest_code,
        infinity=target.largest_code if overflow == "saturate" else target.infinity_code,
        ceiling=ceiling,
        beyond=beyond,
        split=beyond != (ceiling, ceiling),
        nan={"zero": 0, "max": target.largest_code}.get(nan, target.nan_code),
        payload=(1 << (target.significand_bits - 1)) - 1 if nan in ("preserve", "raise") else 0,
        nan_sign=nan in ("preserve", "raise"),
        nan_invalid=nan in ("zero", "max"),
        infinity_overflows=overflow == "saturate",
        refuse_nan=nan == "raise",
        refuse_overflow=overflow == "raise",
        flush_input=flush_input if not source.is_integer else 0,
        flush_output=flush_output,
        ordinary_first=first,
        ordinary_end=_bits(target.max, carrier) + 1 if size < 8 else 0,
    )


def _beyond(target: Format, rounding: str, overflow: str) -> tuple[int, int]:
    """The magnitudes given for a positive and a negative overflow (IEEE 754-2019 clause 7.4)."""
    if overflow not in ("ieee", "raise"):
        return target.largest_code, target.largest_code
    infinite_above = rounding in ("nearest_even", "nearest_away", "toward_positive")
    infinite_below = rounding in ("nearest_even", "nearest_away", "toward_negative")
    return (
        target.infinity_code if infinite_above else target.largest_code,
        target.infinity_code if infinite_below else target.largest_code,
    )
