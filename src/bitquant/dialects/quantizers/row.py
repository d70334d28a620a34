"""What a quantizer's dialect is: the formulas by which one system quantizes, operation by operation, as plain data.

A formula is written as in the system's own source, and every operation in it is rounded by itself, in the order in
which it stands. It may use

- numbers: ``127``, ``0.5``, ``2**-23``, which take the type of what they meet;
- names: ``x`` (a number to be quantized), ``low`` and ``high`` (the extremes of the numbers of one channel),
  ``peak`` (the first of the numbers of largest magnitude), ``qmin``, ``qmax`` and ``bits`` (of the codes), ``tiny`` and
  ``epsilon`` (the smallest normal number of the input's type, and its distance from 1 to the next), ``step``,
  ``zero_point``, ``code``, and whatever an earlier formula has set;
- ``+ - * /``, comparisons, and ``a if condition else b``;
- the functions of `FUNCTIONS`.

Types are float64, float32, bfloat16, float16 and int32. An operation on two of them is done in the wider one (bfloat16
with float16 in float32), an integer with a float in the float's, integers wrap as int32 does and their quotient is of
the row's `precision`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FUNCTIONS", "Quantizer"]

# Every function of a formula and what it gives.
FUNCTIONS: dict[str, str] = {
    "abs": "the magnitude",
    "min": "the smaller of two; NaN where either is (std::min's and torch.minimum's NaN, NumPy's clip)",
    "max": "the larger of two; NaN where either is",
    "clamp": "clamp(u, a, b) = min(max(u, a), b)",
    "fmin": "the smaller of two; the other one where one is NaN (C's fmin, x86's MINPS with the limit second)",
    "fmax": "the larger of two; the other one where one is NaN",
    "fclamp": "fclamp(u, a, b) = fmin(fmax(u, a), b)",
    "fma": "fma(u, a, b) = u * a + b, rounded once; of x or code, in float32 or where all is float64",
    "round_even": "the nearest integer as a float, ties to even (rint, nearbyint, torch.round, numpy.round)",
    "round_away": "the nearest integer as a float, ties away from zero (C's round)",
    "floor": "the next integer below, as a float",
    "trunc": "the next integer towards zero, as a float",
    "int32": "the integer, towards zero; NaN and what int32 does not hold give −2^31 (x86's CVTTPS2DQ)",
    "held64": "the number, or −2^63 where it is NaN or int64 does not hold it (x86's conversions to int64)",
    "low32": "the low 32 bits of the int64 that a whole number is, as an int32; 0 where int64 does not hold it",
    "float64": "the number in float64",
    "float32": "the number in float32, rounded to nearest even",
    "float16": "the number in float16, rounded to nearest even",
    "bfloat16": "the number in bfloat16, rounded to nearest even",
    "own": "the number in the input's own type",
}


@dataclass(frozen=True)
class Quantizer:
    """The formulas of one quantizer.

    Attributes
    ----------
    name : str
        What `bitquant.quantize` takes as `dialect`.
    title : str
        Whose quantizer this is.
    source : str
        Where the rule is laid down.
    witness : str
        What it was checked against, with its version; empty where there was nothing to ask.
    codes : str
        The code of `x`: a chain of operations on `x` whose other operands do not contain it. What is not an integer at
        the end is converted as by ``int32``; the low bits of the integer are the code.
    values : str
        The number that `code` stands for: likewise a chain on `code`, an int32.
    symmetric, asymmetric : tuple of str
        How the parameters follow from the extremes: assignments ``name = formula``, in order, of which one sets `step`
        and one may set `zero_point` (else it is 0). Empty: the system does not find parameters of this scheme.
    given : tuple of str
        Assignments that are made instead where step and zero point are given.
    precision : str
        The type of `x`, `low`, `high` and `peak`: "float32", "float64", or "input" for the input's own.
    step_format : str
        The format in which the step is stored, which a given step is first rounded to: "float64", "float32",
        "float16", "bfloat16" or "input".
    zero_point : {"code", "int32", "real"}
        What a zero point may be: one of the code's type, any int32, or a number that is not rounded (of `step_format`).
    inputs : tuple of str
        The formats of the numbers that the system takes.
    bits : tuple of int
        The widths of its codes, the default first.
    signed : tuple of bool
        Whether its codes are signed, the default first.
    narrow : tuple of str
        The schemes in which the lowest code is left out unless the caller says otherwise.
    notes : tuple of str
        Where the system differs from its documentation, from itself, or from others.
    """

    name: str
    title: str
    source: str
    witness: str
    codes: str
    values: str
    symmetric: tuple[str, ...] = ()
    asymmetric: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    precision: str = "float32"
    step_format: str = "float32"
    zero_point: str = "code"
    inputs: tuple[str, ...] = ("float32",)
    bits: tuple[int, ...] = (8,)
    signed: tuple[bool, ...] = (True, False)
    narrow: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def parameters(self, scheme: str) -> tuple[str, ...]:
        """The assignments of a scheme; none where the system does not have it."""
        return self.symmetric if scheme == "symmetric" else self.asymmetric
