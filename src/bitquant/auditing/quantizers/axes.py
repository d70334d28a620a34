"""The axes on which quantizers differ when they turn a number into a code, as formulas of the dialects' language.

A combination of values, one of each axis, is a row like those of `bitquant.dialects.quantizers`, so that the engine
that quantizes by named rows also says what a combination gives. What a combination does where a number lies inside the
range of the codes is told here; what happens beyond is told apart from it, by `BEYOND`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from bitquant.dialects.quantizers import Quantizer, quantizer

__all__ = ["ARITHMETIC", "BEYOND", "Element", "elements", "ties_of"]

# The names of the axes, in the order in which a report lists them.
SCALING, STEP, INVERSE, ELEMENT, ZERO, TIES = ARITHMETIC = (
    "scaling",
    "step precision",
    "inverse precision",
    "element precision",
    "zero point",
    "ties",
)

DIVISION, MULTIPLICATION = "x / step", "x * (1 / step)"
AFTER, BEFORE, FUSED = "added after rounding", "added before rounding", "added before rounding, by FMA"

# How a number between two integers is rounded. `{v}` is the number, of type float32 or float64.
_TIES = {
    "to even": "round_even({v})",
    "away from zero": "round_away({v})",
    "up": "floor((floor({v} * 2) + 1) / 2)",
    "up, by adding 0.5": "floor({v} + 0.5)",
    "down": "-floor((floor(-{v} * 2) + 1) / 2)",
    "down, by subtracting 0.5": "-floor(-{v} + 0.5)",
    "none: the floor is taken": "floor({v})",
    "none: the ceiling is taken": "-floor(-{v})",
    "none: the fraction is cut off": "trunc({v})",
}

# What a code may be where a number lies outside the range of int32, is infinite or is no number.
BEYOND = {
    "the largest code": "qmax",
    "the lowest code": "qmin",
    "the zero point": "zero_point",
    "zero": "clamp(0, qmin, qmax)",
    "−2^31 plus the zero point, wrapped and clamped": "qmin if zero_point >= 0 else qmax",
    "2^31 − 1 plus the zero point, wrapped and clamped": "qmin if zero_point > 0 else qmax",
    "the low bits of −1": "-1",
    "the low bits of the zero point less 1": "zero_point - 1",
}


@dataclass(frozen=True)
class Element:
    """One combination of values: how a number inside the range of the codes becomes a code.

    Attributes
    ----------
    values : tuple of (str, str)
        Axis and value, for each axis of `ARITHMETIC`.
    rounded : str
        The code before it is clamped; empty where the quotient is exact and no formula gives it.
    given : tuple of str
        Assignments that come before.
    clamped : bool
        Whether the formula clamps by itself.
    float32 : bool
        Whether it is a named row's, which stores its step and computes in float32.
    """

    values: tuple[tuple[str, str], ...]
    rounded: str = ""
    given: tuple[str, ...] = ()
    clamped: bool = False
    float32: bool = False
    axes: dict[str, str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", dict(self.values))

    def row(self, source: str, bits: int, signed: bool, real: bool, clamp: bool = True) -> Quantizer:
        """The row of a dialect that quantizes by this combination, saturating unless told otherwise."""
        codes = f"clamp({self.rounded}, qmin, qmax)" if clamp and not self.clamped else self.rounded
        return Quantizer(
            name="identified",
            title="Identified by an audit",
            source="bitquant.audit_quantizer",
            witness="",
            codes=codes,
            values="(code - zero_point) * step",
            given=self.given,
            precision="float32" if self.float32 else "input",
            step_format="float32" if self.float32 else "float64",
            zero_point="real" if real else "int32",
            inputs=(source,),
            bits=(bits,),
            signed=(signed,),
        )


def ties_of(values: set[str]) -> set[str]:
    """Ties that are the same but for what adding 0.5 does."""
    return {value.partition(",")[0] for value in values}


@lru_cache(maxsize=32)
def elements(source: str, real: bool, wide: bool, scaled: tuple[tuple[str, str], ...] = ()) -> tuple[Element, ...]:
    """All combinations for numbers of a format.

    Parameters
    ----------
    source : str
        The format of the numbers: "float64", "float32", "float16" or "bfloat16".
    real : bool
        Whether zero points have fractions; then they are always added before rounding.
    wide : bool
        Whether steps may be other than float32 numbers; else nothing tells float64 steps from float32 ones.
    scaled : tuple of (str, str)
        Further inverses of the step, made from the extremes of a tensor: what it is called, and its formula.
    """
    found: dict[tuple[str, tuple[str, ...]], Element] = {}
    for element in (*_exact(real), *_ordinary(source, real, scaled), *_special(source, real)):
        if wide or element.axes[STEP] != "float64":
            found.setdefault((element.rounded or repr(element.values), element.given), element)
    return tuple(found.values())


def _values(*values: str) -> tuple[tuple[str, str], ...]:
    return tuple(zip(ARITHMETIC, values, strict=True))


def _exact(real: bool) -> Iterator[Element]:
    if not real:
        for step in ("float64", "float32"):
            for zero in (AFTER, BEFORE):
                for ties in _TIES:
                    if "0.5" not in ties:
                        yield Element(_values(DIVISION, step, "none", "exact", zero, ties))


def _ordinary(source: str, real: bool, scaled: tuple[tuple[str, str], ...]) -> Iterator[Element]:
    precisions = ["float64", "float32", *([source] if source in ("float16", "bfloat16") else [])]
    zeros = (BEFORE, FUSED) if real else (AFTER, BEFORE, FUSED)
    # What a number is multiplied by: the names of its precisions, and its formula.
    inverses = [
        (MULTIPLICATION, step, inverse, f"(1 / {_cast(inverse, _cast(step, 'step'))})")
        for i, inverse in enumerate(precisions)
        for step in precisions[i:]
    ]
    inverses += [(f"x * ({name})", "the step is not used", "as found", formula) for name, formula in scaled]
    for element in precisions:
        narrow = precisions.index(element)
        for step in precisions[narrow:]:
            u = f"{element}(x) / {_cast(element, _cast(step, 'step'))}"
            for zero in zeros:
                if zero != FUSED:
                    yield from _rounded((DIVISION, step, "none", element, zero), u, element, real)
        for scaling, step, inverse, formula in inverses:
            if inverse == "float64" and step != "float64" and element == "float32":
                continue  # the quotient of two float32 numbers, rounded to float64 and then to float32, is rounded once
            factor = _cast(element, formula)
            for zero in zeros:
                u = f"{element}(x) * {factor}"
                if zero == FUSED:
                    if element in ("float16", "bfloat16") or (element == "float32" and source == "float64"):
                        continue  # nobody multiplies and adds at once there
                    u = f"fma({element}(x), {factor}, {element}(zero_point))"
                yield from _rounded((scaling, step, inverse, element, zero), u, element, real)


def _rounded(names: tuple[str, ...], u: str, element: str, real: bool) -> Iterator[Element]:
    """The combinations of a scaled number with every rule of rounding."""
    wide = "float32" if element in ("float16", "bfloat16") else element
    zero = names[-1]
    v = f"({u} + {_cast(element, 'zero_point')})" if zero == BEFORE else f"({u})"
    for ties, formula in _TIES.items():
        whole = formula.format(v=f"{wide}({v})" if wide != element else v)
        rounded = f"int32({whole}) + zero_point" if zero == AFTER else whole
        yield Element(_values(*names, ties), rounded)


def _special(source: str, real: bool) -> Iterator[Element]:
    """What named rows compute in ways of their own, with every rule of rounding where they have one."""
    if real or source == "float64":
        return
    row = quantizer("bitsandbytes_int8")
    for ties, formula in _TIES.items():
        names = ("x * (1 / (127 * step) * 127)", "float32", "float32", "float32", AFTER, ties)
        rounded = f"int32({formula.format(v='(x * inverse)')}) + zero_point"
        yield Element(_values(*names), rounded, row.given, float32=True)
    for name, scaling in (
        ("tensorflow_fake_quant", "(x − bottom) * (1 / step)"),
        ("tensorflow_fake_quant_vars", "(x − bottom) / step"),
        ("nncf_fake_quantize_sym", "(x − bottom) * (1 / step), zero rounded to even"),
    ):
        row = quantizer(name)
        ties = "up, by adding 0.5" if "0.5" in row.codes else "to even"
        names = (scaling, "float32", "float32", "float32", AFTER, ties)
        yield Element(_values(*names), row.codes, row.given, clamped=True, float32=True)


def _cast(type: str, formula: str) -> str:
    """A formula in a type, which it may already have."""
    return formula if formula.startswith(f"{type}(") else f"{type}({formula})"
