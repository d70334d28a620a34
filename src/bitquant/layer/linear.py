"""A linear layer on codes: product, bias, rescaling, with every number exact until the one rounding."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from bitquant.arrays import Array, take
from bitquant.errors import BitquantError
from bitquant.formats import FP32, format
from bitquant.layer.product import integer_matmul
from bitquant.layer.requantize import RULES, Rule, quantize_bias, requantize
from bitquant.layer.steps import Steps
from bitquant.quantize import Quantized, quantize
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.rationals import nearest, nearest_float
from bitquant.rules import choose

_OUT = (
    "scheme", "bits", "signed", "narrow", "range", "scale", "step", "zero_point", "include_zero", "step_format",
)  # fmt: skip


def linear(
    x: Quantized,
    weight: Quantized,
    bias: Any = None,
    *,
    relu: bool = False,
    rule: Rule = "exact",
    dtype: Any = None,
    threads: int | None = 1,
    **out: Any,
) -> Any:
    """Run a linear layer, ``x @ weight.T + bias``, on codes: INT32 sums, then codes again.

    Parameters
    ----------
    x : Quantized, shape (..., K)
        With one scale for the tensor; or, where the result is real numbers, one for each row, as activations have that
        are quantized per token: ``axis=0``, or a `block_shape` of ones and −1.
    weight : Quantized, shape (N, K)
        As PyTorch stores it. With one scale, or one for each output: ``axis=0``.
    bias : array_like, shape (N,), optional
        Numbers, which are rounded to INT32 in steps of the sums (`quantize_bias`); or int32 codes, which are taken as
        they are where all rows have one step.
    relu : bool
        Replace negative results by zero.
    rule : {"exact", "tflite", "tflite_single", "float32"}
        How sums become codes; as for `requantize`.
    dtype : dtype or Format, optional
        With no parameters of a result: the floating format of the numbers that are returned; default float32.
    threads : int or None
        As for `convert`.
    **out
        The parameters of the result, as for `quantize`: `range`, `scale` or `step`, with `scheme`, `bits`, `signed`,
        `narrow`, `zero_point`, `include_zero` and `step_format`. With none of the first three it is real numbers.

    Returns
    -------
    Quantized, shape (..., N)
        With its own `error` against the numbers of a float layer; or, without parameters of a result, an ndarray or
        tensor: the sums in units, rounded once.

    Raises
    ------
    BitquantError
        A scale per column of `x`, or per input of `weight`; shapes that do not fit; a sum, or a bias, that int32 does
        not hold.

    Notes
    -----
    A step of the sums is the step of `x` times that of `weight`. Rule "float32" takes the steps in FP32 and multiplies
    and divides in it, as ONNX Runtime does; the rules of TFLite make the multiplier of a FP64 quotient.

    Examples
    --------
    >>> import bitquant as bq
    >>> x, weight = bq.asymmetric([[0.0, 1.0, 3.0]]), bq.symmetric([[1.0, -1.0, 0.5], [0.1, 0.2, 0.3]], axis=0)
    >>> bq.linear(x, weight, [0.5, 0.0])
    array([[1.0118574, 1.1007874]], dtype=float32)
    >>> y = bq.linear(x, weight, [0.5, 0.0], range=(0, 2), scheme="asymmetric")
    >>> y.codes, y.dequantize()
    (array([[ 1, 12]], dtype=int8), array([[1.01176471, 1.09803922]]))
    """
    choose("rule", rule, RULES)
    rows, columns, give_back = _checked(x, weight)
    template = _template(x, out, rule, dtype)
    points = x.parameters.zero_points
    sums = integer_matmul(
        rows,
        columns.T,
        a_zero_point=points.reshape((*rows.shape[:-1], 1) if points.size > 1 else ()),
        b_zero_point=np.asarray(weight.zero_point),
        threads=threads,
    )
    steps = Steps(_scales(x), _scales(weight), sums.shape)
    if bias is not None:
        _add_bias(sums, bias, steps, points.size > 1)
    if template is None:
        if relu:
            np.maximum(sums, 0, out=sums)
        return give_back(steps.numbers(sums, FP32 if dtype is None else format(dtype)))
    if points.size > 1:
        raise BitquantError("x has a scale for each row, and codes of the result one for all: take it as real numbers")
    multipliers = [_multiplier(1 / _scales(x)[0], scale, template, rule) for scale in _scales(weight)]
    point = int(template.zero_point)
    codes = requantize(
        sums,
        multipliers[0] if weight.axis is None else np.array([*multipliers, None], object)[:-1],
        zero_point=point,
        axis=None if weight.axis is None else -1,
        rule=rule,
        bits=template.bits,
        signed=template.signed,
        clamp=(min(max(point, template.qmin), template.qmax) if relu else template.qmin, template.qmax),
        threads=threads,
    )
    return replace(
        template,
        codes=give_back(codes),
        granularity=Granularity.of(codes.shape, None, None, None),
        give_back=give_back,
    )


def _checked(x: Quantized, weight: Quantized) -> tuple[Array, Array, Any]:
    for name, given in (("x", x), ("weight", weight)):
        if not isinstance(given, Quantized):
            raise BitquantError(f"{name} is a {type(given).__name__}: quantize it first")
    rows, give_back = take(x.codes)
    columns, _ = take(weight.codes)
    if x.granularity.parameter_shape and x.granularity.block != (*(1 for _ in rows.shape[1:]), rows.shape[-1]):
        raise BitquantError("x has scales over which a sum has none: quantize it per tensor, or with one for each row")
    if weight.granularity.parameter_shape and weight.axis != 0:
        raise BitquantError("weight has scales over which a sum has none: quantize it per tensor, or with axis=0")
    if columns.ndim != 2 or rows.ndim < 1 or rows.shape[-1] != columns.shape[1]:
        raise BitquantError(
            f"shapes {rows.shape} and {columns.shape} do not fit: x ends in K numbers, weight is (N, K)"
        )
    return rows, columns, give_back


def _scales(found: Quantized) -> tuple[Fraction, ...]:
    return found.exact_scale if isinstance(found.exact_scale, tuple) else (found.exact_scale,)


def _template(x: Quantized, out: dict[str, Any], rule: str, dtype: Any) -> Quantized | None:
    """The result without its codes; None where it is to be real numbers."""
    if all(out.get(name) is None for name in ("range", "scale", "step")):
        if out or rule != "exact":
            raise BitquantError("codes need parameters: give range, scale or step")
        return None
    if dtype is not None:
        raise BitquantError("dtype is for a result of real numbers: leave it out where the result is codes")
    for name in out:
        if name not in _OUT:
            raise BitquantError(f"{name} is no parameter of a layer's result: choose from {', '.join(_OUT)}")
    kind = x.source if x.source.is_float else FP32
    return quantize(np.empty(0, kind.array_dtype), **out)


def _add_bias(sums: Array, bias: Any, steps: Steps, per_row: bool) -> None:
    given, _ = take(bias)
    if given.shape != sums.shape[-1:]:
        raise BitquantError(f"bias has shape {given.shape}: give one number for each of {sums.shape[-1]} outputs")
    codes: Array = given
    if per_row:
        if given.dtype == np.int32:
            raise BitquantError("codes of a bias have one step for all rows, and x has several: give it as numbers")
        codes = steps.bias(given, sums.shape).astype(np.int32)
    elif given.dtype != np.int32:
        codes = quantize_bias(given, 1, np.array([*steps.columns, None], object)[:-1])
    total = sums + codes
    # Two's complement overflows where the total has another sign than both terms.
    over = np.flatnonzero(((sums ^ total) & (codes ^ total)) < 0)
    if over.size:
        index = ", ".join(str(int(k)) for k in np.unravel_index(over[0], sums.shape))
        raise BitquantError(f"the sum at ({index}) overflows int32 with its bias: choose larger steps")
    sums[...] = total


def _multiplier(step: Fraction, weight: Fraction, result: Quantized, rule: str) -> Any:
    """The step of the sums in steps of the result, in the precision of the rule."""
    scale = _scales(result)[0]
    if rule == "exact":
        return step / weight * scale
    if rule != "float32":
        return nearest_float(step / weight * scale)
    return _single(_single(_single(step) * _single(1 / weight)) / _single(1 / scale))


def _single(value: Fraction) -> Fraction:
    rounded = nearest(value, FP32)
    if not rounded:
        raise BitquantError(f"a step of {nearest_float(value):g} is out of the range of float32: pass rule='exact'")
    return rounded


__all__ = ["linear"]
