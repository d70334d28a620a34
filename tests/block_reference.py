"""Block formats a second time, in `fractions.Fraction`: what a scale and an element are, from the definitions alone.

Nothing here is shared with bitquant. A block is a list of the reference's Numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import reference


class Row(NamedTuple):
    """One block format."""

    element: str
    block: int
    scale: str
    worth: Fraction = Fraction(1)  # of an element's unit
    reach: Fraction | None = None  # the element that the largest magnitude is mapped to; None for powers of two
    lowest: int | None = None  # of integer elements


ROWS = {
    "mxfp8_e4m3": Row("float8_e4m3fn", 32, "float8_e8m0fnu"),
    "mxfp8_e5m2": Row("float8_e5m2", 32, "float8_e8m0fnu"),
    "mxfp6_e3m2": Row("float6_e3m2fn", 32, "float8_e8m0fnu"),
    "mxfp6_e2m3": Row("float6_e2m3fn", 32, "float8_e8m0fnu"),
    "mxfp4": Row("float4_e2m1fn", 32, "float8_e8m0fnu"),
    "mxint8": Row("int8", 32, "float8_e8m0fnu", Fraction(1, 64), lowest=-127),
    "nvfp4": Row("float4_e2m1fn", 16, "float8_e4m3fn", reach=Fraction(6)),
    "q8_0": Row("int8", 32, "float16", reach=Fraction(127), lowest=-127),
    "q4_0": Row("int4", 32, "float16", reach=Fraction(-8), lowest=-8),
}
# Largest element and its exponent, from OCP microscaling formats 1.0, tables 1 to 5.
LARGEST = {
    "mxfp8_e4m3": (Fraction(448), 8),
    "mxfp8_e5m2": (Fraction(57344), 15),
    "mxfp6_e3m2": (Fraction(28), 4),
    "mxfp6_e2m3": (Fraction(15, 2), 2),
    "mxfp4": (Fraction(6), 2),
    "mxint8": (Fraction(127, 64), 0),
}
DIGITS = {"mxfp8_e4m3": 3, "mxfp8_e5m2": 2, "mxfp6_e3m2": 2, "mxfp6_e2m3": 3, "mxfp4": 1, "mxint8": 6}


def power(exponent: int) -> Fraction:
    """2^exponent."""
    return Fraction(2) ** exponent


def exponent_of(name: str, amax: Fraction, rule: str) -> int:
    """The exponent of an OCP MX scale."""
    if amax == 0:
        return -127
    largest, emax = LARGEST[name]
    floor = reference.floor_log2(amax.numerator, amax.denominator)
    match rule:
        case "floor":
            exponent = floor - emax
        case "ceil":
            exponent = floor - emax + (power(floor) < amax)
        case "even":
            quantum = power(floor - DIGITS[name])
            digits = amax / quantum
            rounded = reference.round_quotient(digits.numerator, digits.denominator, "nearest_even") * quantum
            exponent = reference.floor_log2(rounded.numerator, rounded.denominator) - emax
        case "rceil":
            exponent = floor - emax - 2
            while largest * power(exponent) < amax:
                exponent += 1
    return min(max(exponent, -127), 127)


def rounded(value: Fraction, fmt: reference.Format, rounding: reference.Rounding, sign: int = 0) -> int:
    """The code of an exact value, brought to the largest number where it lies beyond; `sign` is that of a zero."""
    number = reference.as_number(value)
    if value == 0:
        number = number._replace(sign=sign)
    return reference.convert_to_float(number, fmt, rounding, "saturate", "gradual", "after")[0]


def code_of(value: Fraction, row: Row, rounding: reference.Rounding, sign: int) -> int:
    """The element code of number / step."""
    value /= row.worth
    fmt = reference.FORMATS[row.element]
    if fmt.kind == "float":
        return rounded(value, fmt, rounding, sign)
    whole = reference.round_quotient(value.numerator, value.denominator, rounding)
    return min(max(whole, row.lowest), fmt.high) % (1 << fmt.bits)


def scale_of(
    name: str, values: Sequence[Fraction], rule: str, tensor_scale: Fraction = Fraction(1)
) -> tuple[int, Fraction]:
    """A block's scale: its code, and the step that numbers are divided by (the tensor scale in it)."""
    row = ROWS[name]
    amax = max((abs(value) for value in values), default=Fraction(0))
    if row.reach is None:
        exponent = exponent_of(name, amax, rule)
        return exponent + 127, power(exponent)
    first = next((value for value in values if abs(value) == amax), Fraction(0)) if row.reach < 0 else amax
    fmt = reference.FORMATS[row.scale]
    code = rounded(first / row.reach / tensor_scale, fmt, "nearest_even", sign=int(row.reach < 0))
    return code, reference.decode(code, fmt).fraction * tensor_scale


def tensor_scale_of(values: Sequence[Fraction]) -> Fraction:
    """NVFP4's tensor scale."""
    amax = max(abs(value) for value in values)
    if amax == 0:
        return Fraction(1)
    fmt = reference.FORMATS["float32"]
    return reference.decode(rounded(amax / (6 * 448), fmt, "nearest_even"), fmt).fraction


def quantize(
    name: str,
    numbers: Sequence[reference.Number],
    rule: str,
    rounding: reference.Rounding | Sequence[reference.Rounding],
    tensor_scale: Fraction = Fraction(1),
) -> tuple[int, list[int]]:
    """One block: the scale's code and the elements' codes."""
    row = ROWS[name]
    values = [number.fraction for number in numbers]
    scale, step = scale_of(name, values, rule, tensor_scale)
    if step == 0:  # zeros keep their sign, unless other numbers were lost
        fmt = reference.FORMATS[row.element]
        keeps = fmt.kind == "float" and not any(values)
        return scale, [number.sign << (fmt.bits - 1) if keeps else 0 for number in numbers]
    each = [rounding] * len(values) if isinstance(rounding, str | reference.Stochastic) else rounding
    return scale, [
        code_of(value / step, row, mode, number.sign) for value, number, mode in zip(values, numbers, each, strict=True)
    ]


def decoded(name: str, scale: int, code: int, tensor_scale: Fraction = Fraction(1)) -> tuple[Fraction, int]:
    """The value of an element, and the sign of its product."""
    row = ROWS[name]
    element = reference.decode(code, reference.FORMATS[row.element])
    step = reference.decode(scale, reference.FORMATS[row.scale])
    return element.fraction * row.worth * step.fraction * tensor_scale, element.sign ^ step.sign
