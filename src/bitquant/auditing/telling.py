"""One mismatch told in full: bits, exact value, neighbours, errors, and a script that shows it without bitquant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from bitquant.auditing.report import Example
from bitquant.convert import encode
from bitquant.formats import Format
from bitquant.permitted import nan_rules

__all__ = ["array_of", "exact", "example_of", "importing", "imports", "right_of", "script_of"]

_PRINTED = {"−0": "-0.0", "NaN": "nan", "infinity": "inf", "−infinity": "-inf"}  # as Python prints them
_LONG = 40  # characters of a rational, beyond which it is written with a power of two


def exact(code: int, fmt: Format) -> Fraction | str:
    """The number that a code stands for, as a rational; what is none, by its name."""
    if fmt.is_integer:
        return Fraction(code - (1 << fmt.bits) if fmt.signed and code >> (fmt.bits - 1) else code)
    if fmt.kind == "codebook":
        return Fraction(fmt.values[code])
    magnitude, minus = code & ((1 << fmt.magnitude_bits) - 1), bool(fmt.signed and code >> fmt.magnitude_bits)
    if fmt.nan == "negative_zero" and code == fmt.nan_code:
        return "NaN"
    if magnitude == fmt.infinity_code:
        return "−infinity" if minus else "infinity"
    if magnitude > fmt.largest_code:
        return "NaN"
    if magnitude == 0 and minus:
        return "−0"
    stored, field = magnitude & ((1 << fmt.significand_bits) - 1), magnitude >> fmt.significand_bits
    if field or not fmt.zero:
        stored |= 1 << fmt.significand_bits
    value = Fraction(stored) * Fraction(2) ** (max(field, int(fmt.zero)) - fmt.bias - fmt.significand_bits)
    return -value if minus else value


def said(value: Fraction | str) -> str:
    """An exact number as text: a rational, or an integer times a power of two if that is shorter; and in decimals."""
    if isinstance(value, str):
        return value
    text = str(value)
    long = len(text) > _LONG
    if long:
        odd, power = abs(value.numerator), 1 - value.denominator.bit_length()
        if value.denominator == 1:
            power = (odd & -odd).bit_length() - 1
            odd >>= power
        text = f"{'-' if value < 0 else ''}{odd} · 2^{power}"
    return f"{text} ≈ {_float(value):.9g}" if long or value.denominator != 1 else text


def _float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def bits(code: int, fmt: Format) -> str:
    """A code in hexadecimal, with the fields of a float in binary."""
    text = f"0x{code:0{-(-fmt.bits // 4)}x}"
    if not fmt.is_float:
        return text
    widths = ((fmt.magnitude_bits, int(fmt.signed)), (fmt.significand_bits, fmt.exponent_bits))
    parts = [f"{code >> place & ((1 << width) - 1):0{width}b}" for place, width in widths if width]
    if fmt.significand_bits:
        parts.append(f"{code & ((1 << fmt.significand_bits) - 1):0{fmt.significand_bits}b}")
    return f"{text} ({'|'.join(parts)})"


def example_of(label: str, mismatch: Any, source: Format, target: Format, rounding: str = "nearest_even") -> Example:
    """Tell one row of a report's mismatches; `rounding` is by what the exact conversion rounds."""
    code, expected, received = (int(mismatch[name]) for name in ("input", "expected", "received"))
    value = exact(code, source)
    facts = {"input": f"{bits(code, source)} in {source.name}", "value": said(value)}
    low, high = (_directed(code, source, target, rounding) for rounding in ("toward_negative", "toward_positive"))
    below, above = exact(low, target), exact(high, target)
    ulp = None
    if isinstance(value, Fraction):
        least, most = (Fraction(0) if end == "−0" else end for end in (below, above))
        if isinstance(least, Fraction) and isinstance(most, Fraction) and least != most:
            ulp = most - least
            off = (value - (least + most) / 2) / ulp
            facts["lies between"] = f"{said(below)}, {bits(low, target)}, and {said(above)}, {bits(high, target)}"
            place = "above" if off > 0 else "below"
            facts["to the middle"] = f"{said(abs(off))} ulp {place} it" if off else "a tie: it is the middle"
    facts["expected"] = f"{bits(expected, target)} = {said(exact(expected, target))}"
    facts["received"] = f"{bits(received, target)} = {said(exact(received, target))}"
    if isinstance(value, Fraction) and ulp:
        errors = [_error(value, one, target, ulp) for one in (expected, received)]
        if None not in errors:
            one, other = (said(error or Fraction(0)) for error in errors)
            facts["errors"] = f"expected {one} ulp, received {other} ulp"
    if isinstance(value, Fraction):
        right = _directed(code, source, target, rounding, "ieee" if target.is_float else "saturate")
        sides = [name for name, one in (("expected", expected), ("received", received)) if one == right]
        facts["correctly rounded"] = f"{sides[0] if sides else 'neither'}, by {rounding}"
    facts["cause"] = str(mismatch["cause"])
    return Example(label, facts)


def _error(value: Fraction, code: int, target: Format, ulp: Fraction) -> Fraction | None:
    number = exact(code, target)
    number = Fraction(0) if number == "−0" else number
    return abs(number - value) / ulp if isinstance(number, Fraction) else None


def _directed(code: int, source: Format, target: Format, rounding: str, overflow: str = "saturate") -> int:
    given: Any = {"rounding": rounding, "overflow": overflow}
    given["nan"] = "canonical" if target.has_nan else nan_rules(target)[-1]
    return int(np.asarray(encode(np.array([code], source.code_dtype), target, source, **given))[0])


def importing(function: Any, unknown: str) -> tuple[str, str]:
    """The line of a script that imports a function, and its name; a comment and `unknown` where nothing imports it."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if module not in (None, "__main__", "builtins") and name is not None and name.isidentifier():
        return f"from {module} import {name}", name
    return f"# {unknown} is the function that was audited", unknown


def imports(fmt: Format) -> list[str]:
    """The lines of a script that come before an array of a format."""
    extra = fmt.array_dtype != fmt.code_dtype and fmt.array_dtype.isbuiltin != 1
    return ["import numpy as np", *(["import ml_dtypes"] if extra else [])]


def array_of(codes: Iterable[int], fmt: Format) -> str:
    """The expression that makes an array of a format's own dtype, of its codes."""
    words, dtype = fmt.code_dtype, fmt.array_dtype
    home = "np" if dtype.isbuiltin == 1 else "ml_dtypes"
    view = "" if dtype == words else f".view({home}.{dtype})"
    return f"np.array([{', '.join(f'{int(code):#x}' for code in codes)}], np.{words}){view}"


def script_of(
    mismatch: Any,
    source: Format,
    target: Format,
    candidate: Callable[[Any], Any],
    setup: str | None,
    call: str | None,
    *,
    numbers: bool = False,
    dialect: str | None = None,
) -> str:
    """A script of a few lines that shows a mismatch with NumPy and the candidate alone.

    With `numbers` the call gives numbers in place of codes; `dialect` names the reference where it is one.
    """
    if call is None:
        setup, name = importing(candidate, "candidate")
        call = f"{name}(x)"
    code = int(mismatch["expected"])
    expected = _plain(code, target) if numbers else f"{code:#x}"
    lines = [*imports(source), *(setup or "").splitlines(), "", f"x = {array_of([mismatch['input']], source)}"]
    lines.append(f"y = np.asarray({call})" + ("" if numbers else f".view(np.{target.code_dtype})"))
    gave = "float(y[0])" if numbers else "int(y[0]):#x"
    lines.append(f'print(f"{{x[0]}} gave {{{gave}}}; {right_of(dialect)} {expected}")')
    return "\n".join(lines)


def right_of(dialect: str | None) -> str:
    """What a script says before the answer that was expected."""
    return "exact is" if dialect is None else f"the dialect {dialect} gives"


def _plain(code: int, fmt: Format) -> str:
    """The number of a code, as Python prints a float."""
    value = exact(code, fmt)
    return repr(_float(value)) if isinstance(value, Fraction) else _PRINTED[value]
