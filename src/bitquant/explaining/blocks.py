"""An element of a block: the scale that the block shares, and the element rounded for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from bitquant.arrays import plain, take, with_held_format
from bitquant.blocks import quantize_blocks
from bitquant.blocks.table import SCALE_RULES, BlockFormat
from bitquant.blocks.variants import VARIANTS
from bitquant.errors import BitquantError
from bitquant.explaining.exact import Places, Real, decoded, power
from bitquant.explaining.explanation import Error, Explanation, Interval, Neighbour, explained
from bitquant.explaining.projecting import projection
from bitquant.explaining.reading import Given
from bitquant.explaining.rounded import random_of
from bitquant.formats import Format
from bitquant.permitted import Rules
from bitquant.rules import Stochastic


@dataclass(frozen=True)
class Block:
    """The block that an element is in.

    Attributes
    ----------
    format : BlockFormat
    count : int
        Numbers in the block; the last one along an axis may be shorter.
    element : int
        Which of them is explained.
    amax : Fraction
        The largest magnitude, and ...
    amax_element : int
        ... whose it is.
    scale_rule : str
    scale_code : int
        The code of the block's scale, in `format.scale`.
    tensor_scale : Fraction or None
        NVFP4's second scale.
    step : Fraction
        What an element's unit is worth: scale (· tensor scale) · 2^unit.
    quotient : Explanation
        Of number / step, rounded to the element's format.
    """

    format: BlockFormat
    count: int
    element: int
    amax: Fraction
    amax_element: int
    scale_rule: str
    scale_code: int
    tensor_scale: Fraction | None
    step: Fraction
    quotient: Explanation

    @property
    def rule(self) -> str:
        """What the rule of the scale is."""
        return SCALE_RULES[self.scale_rule]


def explain_element(
    x: Any, row: BlockFormat, element: int, rounding: Any, index: int, scale_rule: str | None, tensor_scale: Any
) -> Explanation:
    """The explanation of one number of a block."""
    array, source, values = _numbers(x)
    if not -len(values) <= element < len(values):
        raise BitquantError(f"element={element}: the block has {len(values)} numbers")
    element %= len(values)
    rule = scale_rule
    if rule is None:
        rule = next(name for name in row.scale_rules if (row.name, name) not in VARIANTS)
    if (row.name, rule) in VARIANTS:
        exact = [name for name in row.scale_rules if (row.name, name) not in VARIANTS]
        raise BitquantError(
            f"scale_rule={rule!r} is a library's own arithmetic, which has other steps: choose {', '.join(exact)}"
        )
    if isinstance(rounding, Stochastic) and rounding.random is not None:
        words = np.zeros(len(values), np.uint32)
        words[element] = random_of(rounding, index)
        given = replace(rounding, random=words)
    else:
        given, index = rounding, element
    found = quantize_blocks(array, row, scale_rule=rule, rounding=given, tensor_scale=tensor_scale)
    start = element // row.block * row.block
    block = values[start : start + row.block]
    scale_code = int(np.asarray(take(found.scales)[0]).view(row.scale.code_dtype)[element // row.block])
    second = None if found.tensor_scale is None else Fraction(float(found.tensor_scale))
    step = decoded(scale_code, row.scale).value * power(row.unit) * (1 if second is None else second)
    amax = max(abs(value.value) for value in block)
    first = next(k for k, value in enumerate(block) if abs(value.value) == amax)
    number = block[element - start]
    inner, zeroed = _quotient(number, step, row, rounding, index)
    result = _scaled(inner.result, step)
    given_number = Given(str(array[element]), number, source, int(array.view(source.code_dtype)[element]))
    outer = Block(row, len(block), element - start, amax, first, rule, scale_code, second, step, inner)
    return _outer(given_number, row.element, inner, result, outer, zeroed)


def _numbers(x: Any) -> tuple[Any, Format, list[Real]]:
    """A row of numbers, its format and what they are exactly."""
    array, _ = take(x)
    if array.ndim != 1 or not array.size:
        raise BitquantError(f"x has shape {array.shape}: of a block format give a row of numbers, and element=")
    array, source = with_held_format(array)
    array = plain(array)
    codes = array.view(source.code_dtype).tolist()
    return array, source, [decoded(code, source) for code in codes]


def _quotient(number: Real, step: Fraction, row: BlockFormat, rounding: Any, index: int) -> tuple[Explanation, bool]:
    """The element: number / step, rounded; a step of zero makes it zero."""
    nan = "zero" if row.element.has_nan or row.element.is_integer else None
    rules = Rules.of(row.element, rounding, "saturate", nan)
    projected = projection(row.element, rules, None, random_of(rules.rounding, index), row.narrow)
    exact = (
        Real("finite", False)
        if step == 0
        else Real("finite", number.negative != (step < 0), abs(number.magnitude / step))
    )
    text = "number / step"
    places = Places(row.element)
    return explained(Given(text, exact), projected, places, lambda code: decoded(code, row.element)), step == 0


def _outer(given: Given, target: Format, inner: Explanation, result: Real, block: Block, zeroed: bool) -> Explanation:
    step = block.step
    x = given.real
    absolute = result.value - x.value
    unit = inner.rounding.unit * abs(step) if inner.rounding is not None and step else None
    error = Error(absolute, absolute / x.value if x.value else None, absolute / unit if unit else None)

    def pair(both: tuple[Neighbour, Neighbour] | None) -> tuple[Neighbour, Neighbour] | None:
        if both is None or zeroed:
            return None
        one, other = (Neighbour(k.code, _scaled(k.real, step)) for k in both)
        return (other, one) if step < 0 else (one, other)

    interval = None
    if inner.interval is not None and not zeroed:
        low, high = _scaled(inner.interval.low, step), _scaled(inner.interval.high, step)
        interval = Interval(low, high, inner.interval.low_closed, inner.interval.high_closed)
        if step < 0:
            interval = Interval(high, low, interval.high_closed, interval.low_closed)
    return Explanation(
        given,
        target,
        inner.rules,
        inner.code,
        result,
        inner.flags,
        inner.rounding,
        inner.events,
        error,
        pair(inner.neighbours),
        pair(inner.around),
        interval,
        block=block,
    )


def _scaled(x: Real, step: Fraction) -> Real:
    """A number times a step."""
    return Real(x.kind, x.negative != (step < 0), x.magnitude * abs(step))
