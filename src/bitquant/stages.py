"""From rows to kernels: one stage from a format and rules.

Here, and only here, formats and rules become the plain numbers that the kernels work with.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.formats import FP32, FP64, Format
from bitquant.kernels.codebook import ToCodebook
from bitquant.kernels.integer import ToInteger
from bitquant.kernels.lookup import Lookup
from bitquant.kernels.narrow import Narrow
from bitquant.kernels.shrink import Shrink
from bitquant.kernels.stage import Stage
from bitquant.kernels.whole import FromWhole, Resize, WholeToCodes
from bitquant.kernels.widen import FromInteger, Widen
from bitquant.permitted import Rules
from bitquant.rules import Stochastic, rounding_index
from bitquant.thresholds import (
    codebook_keys,
    first_up,
    key_of,
    least_integer,
    least_key,
    limit,
    over_first,
    tiny_end,
)

# --- To a carrier -------------------------------------------------------------------------------------------


def carrier_of(source: Format) -> Format:
    """FP32 where a stage goes there from a format, else FP64."""
    return FP32 if leads_to(FP32, source) else FP64


def leads_to(carrier: Format, source: Format) -> bool:
    """Whether `to_carrier` has a stage from a format to a carrier: it holds all values, in FP32 as normal numbers."""
    looked_up = source.bits <= 8 or not source.is_float
    return carrier.contains(source) and (looked_up or _moves(source, carrier) or carrier is FP64)


def _moves(source: Format, carrier: Format) -> bool:
    """Whether the bits of a float are moved to a carrier's, its subnormal numbers becoming normal ones."""
    return source.bias == carrier.bias or source.smallest_subnormal >= carrier.smallest_normal


def to_carrier(source: Format, carrier: Format, quiet: bool) -> Stage:
    """From codes of a format to carrier bits, exact; `quiet` for a conversion that ends there."""
    size, word = source.code_dtype.itemsize, carrier.code_dtype.itemsize
    if source.is_integer and source.bits in (8, 16, 32):
        return FromInteger(size, word, source.signed)
    if source.is_integer and source.bits == 64:
        return from_whole(source, "to_odd")
    in_bytes = source.is_float and source.zero and carrier is FP32 and _moves(source, carrier)
    if source.kind == "codebook" or (source.bits <= 8 and not in_bytes):
        return Lookup(size, _table(source, carrier, quiet))
    rebias, like_zero = carrier.bias - source.bias, source.nan == "negative_zero"
    raised = ((rebias + 1) << carrier.significand_bits) % 2**64
    return Widen(
        size,
        word,
        sign_shift=source.magnitude_bits,
        stored=source.significand_bits,
        largest=source.largest_code,
        infinity=source.infinity_code or 0,
        nan=source.nan_code if like_zero else 2**64 - 1,
        nan_like_zero=like_zero,
        payload=source.nan == "ieee",
        shift=carrier.significand_bits - source.significand_bits,
        rebias=(rebias << carrier.significand_bits) % 2**64,
        raised=raised,
        least=raised if rebias else 0,
        unit=source.min_exponent - source.significand_bits,
        quiet=quiet,
    )


def from_whole(source: Format, rounding: str | Stochastic, exact: bool = False) -> Stage:
    """From integers of 64 bits to FP64, rounded."""
    return FromWhole(
        mode=rounding_index(rounding), one=1, chance=_chance(rounding), signed=source.signed, refuse_inexact=exact
    )


@lru_cache(maxsize=256)
def _table(source: Format, carrier: Format, quiet: bool) -> NDArray[Any]:
    """The carrier bits of every code; codes beyond the format's own repeat them, or are the last one's."""
    codes = range(1 << (8 * source.code_dtype.itemsize))
    mask = (1 << source.bits) - 1
    return np.array([_carrier_bits(code & mask, source, carrier, quiet) for code in codes], carrier.code_dtype)


def _carrier_bits(code: int, source: Format, carrier: Format, quiet: bool) -> int:
    """The carrier bits of one code of a format of at most 16 bits."""
    if source.kind == "codebook":
        return bits_of(source.values[min(code, source.largest_code)], carrier)
    if source.is_integer:
        return bits_of(code - (1 << source.bits) if code > source.largest_code else code, carrier)
    magnitude = code & ((1 << source.magnitude_bits) - 1)
    sign = (code >> source.magnitude_bits) << carrier.magnitude_bits
    infinity, quiet_nan = carrier.infinity_code or 0, carrier.nan_code or 0
    if source.nan == "negative_zero" and code == source.nan_code:
        return quiet_nan
    if magnitude <= source.largest_code:
        return sign | bits_of(source.value_of(magnitude), carrier)
    if magnitude == source.infinity_code:
        return sign | infinity
    if source.nan != "ieee":
        return sign | quiet_nan
    payload = (magnitude << (carrier.significand_bits - source.significand_bits)) & ~infinity
    return sign | infinity | payload | (quiet_nan if quiet else 0)


def bits_of(value: float, carrier: Format) -> int:
    """The bits of a number of the carrier."""
    wide = carrier is FP64
    code: int = struct.unpack("<Q" if wide else "<I", struct.pack("<d" if wide else "<f", value))[0]
    return code


# --- From a carrier -----------------------------------------------------------------------------------------


def from_carrier(
    source: Format, target: Format, carrier: Format, rules: Rules, narrow_range: bool = False
) -> tuple[Stage, ...]:
    """The stage that rounds to the target's codes, and where its words are wider than they are, the one that ends it.

    `source` is what the carrier's numbers came from. With `narrow_range` a signed integer's lowest code is left out.
    """
    if target.is_integer:
        return _shrunk(_to_integer(source, target, carrier, rules, narrow_range), target)
    if target.kind == "codebook":
        return _shrunk(_to_codebook(source, target, carrier, rules), target)
    return _shrunk(narrow(source, target, carrier, rules, _word(target, carrier, rules)), target)


def whole_to_codes(source: Format, target: Format, rules: Rules) -> tuple[Stage, ...]:
    """From integers of 64 bits to codes of a floating format, rounded once."""
    return _shrunk(WholeToCodes(narrow(source, target, FP64, rules, 8), source.signed), target)


def resize(target: Format, rules: Rules, source: Format) -> tuple[Stage, ...]:
    """From integers of 64 bits to codes of an integer format."""
    low, high = max(target.min, source.min), min(target.max, source.max)
    above, below = integer_beyond(target, rules)
    return _shrunk(
        Resize(
            signed=source.signed,
            low=int(low) % 2**64,
            high=int(high),
            wrap=rules.overflow == "wrap",
            beyond=(above, below),
            code_mask=(1 << target.bits) - 1,
            refuse_range=rules.overflow == "raise",
        ),
        target,
    )


def _shrunk(stage: Stage, target: Format) -> tuple[Stage, ...]:
    size = target.code_dtype.itemsize
    return (stage,) if stage.target_size == size else (stage, Shrink(stage.target_size, size, not target.zero))


def _word(target: Format, carrier: Format, rules: Rules) -> int:
    """The size of the words that the narrowing stage writes."""
    if carrier is FP32:
        return 4 if _gradual(target, rules) is None or target.bits > 16 else 1 if _in_byte(target) else 2
    jammed = target.significand_bits <= 26 and target.magnitude_bits <= 31 and target.bias <= FP64.bias
    return 4 if jammed and not isinstance(rules.rounding, Stochastic) else 8


def _gradual(target: Format, rules: Rules) -> tuple[int, int, int] | None:
    """The numbers `first`, `lift` and `up` for Design D of narrow.pyx; None where a target or a rule does not allow it.

    A code has to be odd where its significand is, and a subnormal FP32 number has to come out below 1. Of stochastic
    rounding, neither flags nor ties of the random integer are told there.
    """
    stored, chance = target.significand_bits, rules.rounding
    odd_as_code = stored > 0 or target.ties == "code"
    if not (target.zero and odd_as_code):
        return None
    if isinstance(chance, Stochastic):
        cut = FP32.significand_bits + (1 if _in_byte(target) else -stored)
        if rules.counts or (chance.variant == "C" and chance.bits < cut):
            return None
    up = stored + 1 if _in_byte(target) else 0
    if target.bias == FP32.bias:
        return 0, 0, up
    lift = FP32.significand_bits + up - target.min_exponent
    if not 0 < lift < FP32.bias:
        return None
    return (target.min_exponent + FP32.bias) << FP32.significand_bits, lift << FP32.significand_bits, up


def _in_byte(target: Format) -> bool:
    """Whether narrow.pyx writes the codes as bytes: they need a bit more to be rounded in."""
    return target.magnitude_bits <= 7


def carries(carrier: Format, source: Format, target: Format) -> bool:
    """Whether a carrier holds the source and is wide enough to round to the target from."""
    if carrier is FP64:
        return True
    if not leads_to(FP32, source):
        return False
    if target.is_integer:
        return target.bits <= 32
    if target.kind == "codebook":
        return FP32.contains(target)
    return (
        target.significand_bits <= FP32.significand_bits - 2
        and target.magnitude_bits <= 31
        and target.bias + (not target.zero) <= FP32.bias
        and target.max <= FP32.max
    )


def narrow(source: Format, target: Format, carrier: Format, rules: Rules, size: int) -> Narrow:
    """The stage that rounds to a floating format; `size` is that of the words it writes, 8 for 64-bit lanes.

    A format without zero is rounded to as if its codes were one higher and 0 were zero.
    """
    point = 23 if carrier is FP32 else 61 if size == 8 else 29  # significand bits of the kernel's lane
    higher = int(not target.zero)
    bias, largest, stored = target.bias + higher, target.largest_code + higher, target.significand_bits
    sign = 1 << target.magnitude_bits if target.signed else 0
    flush_input = _flush_input(source, carrier, rules)
    flush_output = 1 << stored if rules.subnormals in ("flush_output", "flush") else 0
    # Design C of narrow.pyx: which magnitudes of the carrier are ordinary. With the same bias subnormals are, too,
    # as long as nobody asks for their flags.
    same = bias == carrier.bias and not (rules.counts or flush_input or flush_output)
    ordinary = stored > 0 and size < 8 and target.max <= carrier.max and not isinstance(rules.rounding, Stochastic)
    # The code given for NaN where a rule puts NaN for a number; the largest number where the format has none.
    undefined = (target.nan_code or 0) + higher if target.has_nan else 0
    beyond = largest + _overflows(target, rules, False), largest + _overflows(target, rules, True)
    stays = rules._replace(overflow="ieee") if rules.overflow == "saturate_finite" else rules
    infinity = largest + _overflows(target, stays, False), largest + _overflows(target, stays, True)
    if target.infinity and rules.overflow != "saturate":
        infinity = (largest + 1, largest + 1)
    below = undefined if rules.overflow in ("ieee", "nan", "raise") else 0
    no_zero = higher and rules.overflow == "nan"
    # A NaN beyond all numbers is what all ones are lowered to.
    plain_below = below == undefined > largest and not (no_zero or rules.counts)
    lost = 0 if rules.overflow == "saturate" else undefined  # for −infinity
    keeps_payload = target.nan == "ieee" and rules.nan in ("preserve", "raise")
    first, lift, up = (_gradual(target, rules) if carrier is FP32 else None) or (0, 0, 0)
    return Narrow(
        carrier.code_dtype.itemsize,
        size,
        mode=rounding_index(rules.rounding),
        one=1,
        chance=_chance(rules.rounding),
        counted=rules.counts,
        tiny_before=rules.tininess == "before",
        over_first=over_first(target, higher, carrier, rules.rounding),
        tiny_end=tiny_end(target, higher, carrier, rules.rounding, rules.tininess),
        rebias=carrier.bias - bias,
        exponent_end=2**target.exponent_bits + higher,
        lowest=_lowest(carrier.bias - bias, point - stored, size, rules),
        stored=stored,
        cut=point - stored,
        knee=carrier.bias - bias + 1 + point - stored,
        limit=limit(target, beyond) if carrier is FP32 else 0,
        first=first,
        lift=lift,
        up=up,
        code_parity=stored == 0 and target.ties == "code",
        sign_shift=target.magnitude_bits if target.signed else 0,
        sign_bit=sign,
        negative_bits=sign if target.signed else 2**64 - 1 if plain_below else 0,
        zero_drops_sign=not target.signed_zero,
        everything=below if plain_below and not target.signed else 2**64 - 1,
        largest=largest,
        ceiling=beyond,
        always_patch=bool(flush_input or flush_output or not (target.signed or plain_below)),
        infinity=(infinity[0], infinity[1] | sign if target.signed else lost),
        infinity_overflows=(
            not target.infinity or rules.overflow == "saturate",
            not (target.infinity and target.signed) or rules.overflow == "saturate",
        ),
        unsigned=not target.signed,
        below_always=no_zero,
        below=below,
        zero=(undefined,) * 2 if no_zero else (0, sign if target.signed_zero else 0),
        zero_flags=(_OVERFLOW if no_zero else _UNDERFLOW) | _INEXACT if higher else 0,
        nan=_nan_codes(target, rules, higher),
        payload=(1 << (stored - 1)) - 1 if keeps_payload else 0,
        nan_invalid=rules.nan in ("zero", "negated_zero", "max"),
        refuse_nan=rules.nan == "raise",
        refuse_overflow=rules.overflow == "raise",
        refuse_inexact=rules.exact,
        flush_input=flush_input,
        flush_output=flush_output,
        ordinary_zero=target.signed_zero or not target.signed,
        ordinary_first=1 if same else max(bits_of(target.smallest_normal, carrier), flush_input) if ordinary else 0,
        ordinary_end=bits_of(target.max, carrier) + 1 if ordinary else 0,
    )


_OVERFLOW, _UNDERFLOW, _INEXACT = 2, 4, 8


def _lowest(rebias: int, cut: int, size: int, rules: Rules) -> int:
    """The source exponent that loses as many bits as a lane has; stochastic rounding looks at all of them."""
    first = rebias + 1
    if isinstance(rules.rounding, Stochastic):
        return 1 if size < 8 else -1200
    return max(1 if size < 8 else -1200, first + cut - (63 if size == 8 else 31))


def _overflows(target: Format, rules: Rules, negative: bool) -> bool:
    """Whether a number beyond the largest gives what comes after it, infinity or NaN (IEEE 754-2019 clause 7.4)."""
    if not (target.infinity or target.has_nan) or rules.overflow in ("saturate", "saturate_finite"):
        return False
    nearest = rules.rounding in ("nearest_even", "nearest_away") or isinstance(rules.rounding, Stochastic)
    away = "toward_negative" if negative else "toward_positive"
    return rules.overflow == "nan" or nearest or rules.rounding == away


def _nan_codes(target: Format, rules: Rules, higher: int) -> tuple[int, int]:
    """The codes given for a positive and a negative NaN."""
    sign = 1 << target.magnitude_bits if target.signed else 0
    if rules.nan in ("zero", "max", "negated_zero") or not target.has_nan:
        code = target.largest_code + higher if rules.nan == "max" else 0
        return (sign, 0) if rules.nan == "negated_zero" else (code, code)
    code = (target.nan_code or 0) + higher
    if target.nan == "ieee" and rules.nan in ("all_ones", "positive_all_ones"):
        code = (1 << target.magnitude_bits) - 1
    keeps_sign = target.nan != "negative_zero" and rules.nan not in ("canonical", "positive_all_ones")
    return (code, code | sign if keeps_sign else code)


def _chance(rounding: str | Stochastic) -> dict[str, Any]:
    if not isinstance(rounding, Stochastic):
        return {"bits": 1, "nearest": 0, "even": 0, "key": (0, 0)}
    seed = int(rounding.seed)
    return {
        "bits": rounding.bits,
        "nearest": rounding.variant != "A",
        "even": rounding.variant == "C",
        "key": (seed & 0xFFFFFFFF, seed >> 32),
    }


def _to_integer(source: Format, target: Format, carrier: Format, rules: Rules, narrow_range: bool) -> Stage:
    size, word = target.code_dtype.itemsize, carrier.code_dtype.itemsize
    most, least = target.largest_code, -int(target.min) - narrow_range
    return ToInteger(
        word,
        size if size == 1 else word,
        mode=rounding_index(rules.rounding),
        one=1,
        chance=_chance(rules.rounding),
        counted=rules.counts,
        over_first=(
            first_up(2 * most, 2 * most + 2, -1, bool(most & 1), carrier, rules.rounding)[0],
            first_up(2 * least, 2 * least + 2, -1, bool(least & 1), carrier, rules.rounding)[1],
        ),
        most=(most, least),
        beyond=integer_beyond(target, rules, narrow_range),
        wrap=rules.overflow == "wrap",
        saturates=rules.overflow == "saturate",
        code_mask=(1 << target.bits) - 1,
        nan=integer_nan(target, rules),
        refuse_nan=rules.nan == "raise",
        refuse_range=rules.overflow == "raise",
        refuse_inexact=rules.exact,
        flush_input=_flush_input(source, carrier, rules),
    )


def integer_beyond(target: Format, rules: Rules, narrow_range: bool = False) -> tuple[int, int]:
    """The codes given for numbers above and below an integer's range."""
    if rules.overflow == "indefinite":
        return (_indefinite(target),) * 2
    return target.largest_code, (int(target.min) + narrow_range) % 2**target.bits


def integer_nan(target: Format, rules: Rules) -> int:
    """The code given for NaN."""
    return {"max": target.largest_code, "indefinite": _indefinite(target)}.get(rules.nan, 0)


def _indefinite(target: Format) -> int:
    return 1 << (target.bits - 1) if target.signed else target.largest_code


def _flush_input(source: Format, carrier: Format, rules: Rules) -> int:
    """The carrier's bits of the smallest number that is not flushed, or 0."""
    flushes = rules.subnormals in ("flush_input", "flush") and source.is_float
    return bits_of(source.smallest_normal, carrier) if flushes else 0


# --- Codebooks ----------------------------------------------------------------------------------------------


def _to_codebook(source: Format, target: Format, carrier: Format, rules: Rules) -> Stage:
    keys = codebook_keys(target.values, rules.rounding, partial(least_key, carrier))
    levels = [bits_of(value, carrier) for value in target.values]
    return ToCodebook(
        np.array(keys, f"i{carrier.code_dtype.itemsize}"),
        np.array(levels, carrier.code_dtype),
        False,
        rules.counts,
        nan=target.largest_code if rules.nan == "max" else target.values.index(0.0) if rules.nan == "zero" else 0,
        refuse_nan=rules.nan == "raise",
        refuse_overflow=rules.overflow == "raise",
        flush_input=_flush_input(source, carrier, rules),
        first=key_of(levels[0], carrier),
        last=key_of(levels[-1], carrier),
        outside=0,
        flip=0,
    )


def compares_integers(target: Format) -> bool:
    """Whether integers of 64 bits go to a codebook as such: where FP64 does not tell them apart, or where it is faster.

    The first bits of an integer are a poor index of where to search in a long list.
    """
    return len(target.values) <= 32 or max(map(abs, target.values)) >= 2**53


def whole_to_codebook(source: Format, target: Format, rules: Rules) -> tuple[Stage, ...]:
    """From integers of 64 bits to codes of a codebook, compared as integers."""
    low, high = int(source.min), int(source.max)
    keys = codebook_keys(target.values, rules.rounding, least_integer)
    keys = [max(key, low) for key in keys if key <= high]
    # The values as integers, and which of them are none.
    values = target.values[: len(keys) + 1]
    absent = [not (value.is_integer() and low <= value <= high) for value in values]
    levels = [0 if none else int(value) % 2**64 for value, none in zip(values, absent, strict=True)]
    first, last = math.ceil(target.values[0]), math.floor(target.values[-1])
    flip = 0 if source.signed else 1 << 63
    stage = ToCodebook(
        np.array([key - flip for key in keys], np.int64),
        np.array([*levels, *absent], np.uint64),
        True,
        rules.counts,
        nan=0,
        refuse_nan=False,
        refuse_overflow=rules.overflow == "raise",
        flush_input=0,
        first=min(max(first, low), high) - flip,
        last=min(max(last, low), high) - flip,
        outside=first > high or last < low,
        flip=flip,
    )
    return _shrunk(stage, target)
