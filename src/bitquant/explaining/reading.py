"""What is to be explained: a number as it was given, exactly, and the format it came in, if it came in one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from bitquant.arrays import take, with_format
from bitquant.errors import BitquantError
from bitquant.explaining.exact import Real, decoded, finite
from bitquant.formats import FP16, FP32, FP64, Format
from bitquant.kernels.pipeline import Pipeline
from bitquant.stages import to_carrier

# Digits, and the largest exponent, of a text; bits of a numerator or denominator. What has more could not be written
# out: Python refuses to make decimals of more than 4,300 digits.
_MOST = 4_000
_DECIMAL = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:e([+-]?\d{1,9}))?")
_RATIO = re.compile(r"([+-]?)(\d+)/(\d+)")
_HEX_FLOAT = re.compile(r"([+-]?)0x([0-9a-f]*)(?:\.([0-9a-f]*))?p([+-]?\d{1,9})")
_CODE = re.compile(r"0x([0-9a-f]+)|0b([01]+)")
_SIZED = re.compile(r"(\d{1,3})'(?:h([0-9a-f]+)|b([01]+)|o([0-7]+)|d(\d+))")
_NAMES = {"nan": ("nan", False), "inf": ("infinity", False), "infinity": ("infinity", False)}
_WIDTHS = {16: FP16, 32: FP32, 64: FP64}


@dataclass(frozen=True)
class Given:
    """A number that is to be explained.

    Attributes
    ----------
    text : str
        As it was given.
    real : Real
        The exact number.
    source : Format or None
        The format that it came in; None for an exact decimal, ratio or integer.
    code : int or None
        Its code there.
    word : int
        FP64 bits, of a NaN with its payload; of other numbers only the class counts.
    """

    text: str
    real: Real
    source: Format | None = None
    code: int | None = None
    word: int = 0

    @classmethod
    def of_code(cls, code: int, fmt: Format, text: str | None = None) -> Given:
        """A code of a format."""
        fmt.check_code(code)
        given = f"0x{code:0{-(-fmt.bits // 4)}X}" if text is None else text
        real = decoded(code, fmt)
        word = _word(code, fmt) if real.kind == "nan" else 0
        return cls(given, real, fmt, code, word)

    @classmethod
    def exactly(cls, value: Fraction, text: str, negative_zero: bool = False) -> Given:
        """A rational, which has no format."""
        if any(part.bit_length() > _MOST for part in value.as_integer_ratio()):
            raise _too_far(text)
        return cls(text, Real("finite", True) if negative_zero else finite(value))


def _word(code: int, fmt: Format) -> int:
    """A code's FP64 bits, a signalling NaN still signalling."""
    if fmt is FP64:
        return code
    words = np.empty(1, np.uint64)
    Pipeline((to_carrier(fmt, FP64, quiet=False),)).run(np.array([code], fmt.code_dtype), words)
    return int(words[0])


def read(value: Any, source: Format | None, target: Format) -> Given:
    """Take a number as it is; `source` says what its bits, or an integer, are a code of."""
    if isinstance(value, Given):
        return value
    if isinstance(value, str):
        given = _of_text(value, source, target)
    elif isinstance(value, bool):
        raise BitquantError(f"{value} is no number: pass 1 or 0")
    elif isinstance(value, (Fraction, Decimal)):
        given = _of_rational(value)
    elif isinstance(value, int):
        given = _of_code_or_integer(value, source)
    else:
        given = _of_array(value, source)
    if source is not None and given.source is not source:
        return _as_number_of(given, source)
    return given


def _of_rational(value: Fraction | Decimal) -> Given:
    if isinstance(value, Fraction) or value.is_finite():
        zero = isinstance(value, Decimal) and value.is_zero() and value.is_signed()
        if isinstance(value, Decimal) and abs(value.adjusted()) > _MOST:
            raise _too_far(str(value))
        fraction = Fraction(value)
        wide = any(part.bit_length() > _MOST for part in fraction.as_integer_ratio())
        return Given.exactly(fraction, "a rational" if wide else str(value), zero)
    return _special("infinity" if value.is_infinite() else "nan", value.is_signed(), str(value))


def _of_code_or_integer(value: int, source: Format | None) -> Given:
    if source is not None and not source.is_integer:
        return Given.of_code(value, source)
    return Given.exactly(Fraction(value), str(value) if value.bit_length() <= _MOST else "an integer")


def _of_array(value: Any, source: Format | None) -> Given:
    array, _ = take(value)
    if array.size != 1:
        raise BitquantError(
            f"x has {array.size} numbers: explain takes one; of a block, say the block format and element="
        )
    number = array.reshape(1)
    if source is not None and number.dtype.kind == "u" and number.dtype != source.dtype:
        return Given.of_code(int(number[0]), source)
    number, fmt = with_format(number)
    code = int(np.asarray(number.astype(number.dtype.newbyteorder("="))).view(fmt.code_dtype)[0])
    if fmt.is_integer:
        code %= 1 << fmt.bits
    return Given.of_code(code, fmt, str(value if np.ndim(value) == 0 else number[0]))


def _as_number_of(given: Given, source: Format) -> Given:
    """The same number as one of a format, which must have it."""
    from bitquant.explaining.exact import Places

    places = Places(source)
    real = given.real
    if real.kind == "nan" and source.has_nan:
        return Given(given.text, real, source, source.nan_code, given.word)
    place, exact = places.floor(real) if real.kind != "nan" else (0, False)
    if not exact:
        raise BitquantError(
            f"{given.text} is no number of {source.name}: pass via={source.name!r} to round it there first, or leave "
            "source out"
        )
    code = places.code(place, real.negative)
    return Given(given.text, decoded(code, source), source, code)


def _special(kind: str, negative: bool, text: str) -> Given:
    word = (0xFFF if negative else 0x7FF) << 52 | (1 << 51 if kind == "nan" else 0)
    return Given(text, Real(kind, negative), None, None, word)


def _of_text(text: str, source: Format | None, target: Format) -> Given:
    words = text.strip().lower().replace("_", "").replace("−", "-").replace("∞", "inf")
    unsigned = words.lstrip("+-")
    if len(words) > _MOST:
        raise _too_far(text)
    if unsigned in _NAMES and len(words) - len(unsigned) <= 1:
        kind, _ = _NAMES[unsigned]
        return _special(kind, words.startswith("-"), text.strip())
    match = _SIZED.fullmatch(words)
    if match is not None:
        return _of_bits(match, source, target, text.strip())
    match = _CODE.fullmatch(words)
    if match is not None:
        code = int(match[1], 16) if match[1] else int(match[2], 2)
        return Given.of_code(code, source or target, text.strip())
    value = _exact(words)
    if value is None:
        raise BitquantError(
            f"{text!r} is no number: write 0.1, 1/3, 1e-45, 0x1.8p-3, nan or inf, or bits as 0x2E66 or 16'h2E66"
        )
    return Given.exactly(value, text.strip(), value == 0 and words.startswith("-"))


def _of_bits(match: re.Match[str], source: Format | None, target: Format, text: str) -> Given:
    """Verilog's sized literal: the width says which format, where nothing else does."""
    width = int(match[1])
    code = next(int(digits, base) for digits, base in zip(match.groups()[1:], (16, 2, 8, 10), strict=True) if digits)
    fmt = source or (target if target.bits == width else _WIDTHS.get(width))
    if fmt is None or fmt.bits != width:
        which = f"{fmt.name} has {fmt.bits}" if fmt is not None else f"{target.name} has {target.bits}"
        raise BitquantError(f"{text} has {width} bits and {which}: say which format they are of with source=")
    return Given.of_code(code, fmt, text)


def exact_number(value: Any, name: str) -> Fraction:
    """A finite number that is a parameter: a text as `explain` reads it, or any real number."""
    if isinstance(value, str):
        found = _exact(value.strip().lower().replace("−", "-"))
        if found is None:
            raise BitquantError(f"{name}={value!r} is no finite number: write 0.1, 1/3 or 0x1.8p-3")
        return Given.exactly(found, value).real.value
    real = read(value, None, FP64).real
    if real.kind != "finite":
        raise BitquantError(f"{name}={value!r}: give a finite number")
    return real.value


def _exact(words: str) -> Fraction | None:
    """A decimal, a ratio or a hexadecimal float, exactly; None for what is none of them."""
    match = _RATIO.fullmatch(words)
    if match is not None:
        if int(match[3]) == 0:
            raise BitquantError(f"{words} divides by zero: write inf or nan")
        return Fraction(int(match[1] + match[2]), int(match[3]))
    for pattern, base, unit in ((_DECIMAL, 10, 10), (_HEX_FLOAT, 16, 2)):
        match = pattern.fullmatch(words)
        if match is None or not (match[2] or match[3]):
            continue
        whole, rest, exponent = match[2] or "0", match[3] or "", int(match[4] or 0)
        if abs(exponent) > _MOST:
            raise _too_far(words)
        magnitude = Fraction(int(whole + rest, base), base ** len(rest)) * Fraction(unit) ** exponent
        return -magnitude if match[1] == "-" else magnitude
    return None


def _too_far(text: str) -> BitquantError:
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    return BitquantError(f"{shown} is too long or too far from 1: give a number between about 1e-1000 and 1e1000")
