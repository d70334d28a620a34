"""From a format to the carrier in which its numbers travel between stages: exact, but for integers of 64 bits."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.formats import FP32, FP64, Format
from bitquant.kernels.lookup import Lookup
from bitquant.kernels.stage import Stage
from bitquant.kernels.whole import FromWhole
from bitquant.kernels.widen import FromInteger, Widen
from bitquant.rules import Stochastic, rounding_index

__all__ = ["bits_of", "carrier_of", "chance_of", "from_whole", "leads_to", "to_carrier"]


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
        mode=rounding_index(rounding), one=1, chance=chance_of(rounding), signed=source.signed, refuse_inexact=exact
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


def chance_of(rounding: str | Stochastic) -> dict[str, Any]:
    """The random bits of a rounding, as kernels take them."""
    if not isinstance(rounding, Stochastic):
        return {"bits": 1, "nearest": 0, "even": 0, "key": (0, 0)}
    seed = int(rounding.seed)
    return {
        "bits": rounding.bits,
        "nearest": rounding.variant != "A",
        "even": rounding.variant == "C",
        "key": (seed & 0xFFFFFFFF, seed >> 32),
    }
