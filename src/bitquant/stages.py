"""From a carrier to codes: one stage from a format and rules.

Here, and in `carriers.py`, formats and rules become the plain numbers that the kernels work with; nowhere else.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from bitquant.carriers import bits_of, chance_of, leads_to
from bitquant.formats import FP32, FP64, Format
from bitquant.kernels.codebook import ToCodebook
from bitquant.kernels.integer import ToInteger
from bitquant.kernels.narrow import Narrow
from bitquant.kernels.shrink import Shrink
from bitquant.kernels.stage import Stage
from bitquant.kernels.whole import Resize, WholeToCodes
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
        chance=chance_of(rules.rounding),
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


def _to_integer(source: Format, target: Format, carrier: Format, rules: Rules, narrow_range: bool) -> Stage:
    size, word = target.code_dtype.itemsize, carrier.code_dtype.itemsize
    most, least = target.largest_code, -int(target.min) - narrow_range
    return ToInteger(
        word,
        size if size == 1 else word,
        mode=rounding_index(rules.rounding),
        one=1,
        chance=chance_of(rules.rounding),
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
