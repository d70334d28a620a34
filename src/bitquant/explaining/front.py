"""`explain`: what is asked, checked, and handed to where it is worked out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bitquant.dialects import rules_of
from bitquant.errors import BitquantError
from bitquant.explaining.exact import Places, decoded
from bitquant.explaining.explanation import Explanation, explained
from bitquant.explaining.projecting import projection
from bitquant.explaining.reading import Given, read
from bitquant.explaining.rounded import random_of
from bitquant.formats import FP64, Format, format
from bitquant.permitted import Rules
from bitquant.rules import NaNRule, Overflow, Rounding, Stochastic, Subnormals, Tininess

if TYPE_CHECKING:
    from bitquant.blocks import BlockFormat

_SCHEME = (
    "scheme", "amax", "low", "high", "scale", "step", "zero_point", "narrow", "include_zero", "step_format",
    "nonfinite",
)  # fmt: skip


def explain(
    value: Any,
    fmt: Any,
    *,
    source: Any = None,
    rounding: Rounding | Stochastic | None = None,
    overflow: Overflow | None = None,
    nan: NaNRule | None = None,
    subnormals: Subnormals | None = None,
    tininess: Tininess | None = None,
    dialect: str | None = None,
    index: int = 0,
    via: Any = (),
    scheme: str | None = None,
    amax: Any = None,
    low: Any = None,
    high: Any = None,
    scale: Any = None,
    step: Any = None,
    zero_point: int | None = None,
    narrow: bool | None = None,
    include_zero: bool = False,
    step_format: Any = None,
    nonfinite: str | None = None,
    element: int | None = None,
    scale_rule: str | None = None,
    tensor_scale: Any = None,
) -> Explanation:
    """Explain how one number becomes one of a format: what is cut off, which way it is rounded and why.

    Parameters
    ----------
    value : number, NumPy or ml_dtypes scalar, Fraction, Decimal or str
        A text is taken exactly: "0.1", "1/3", "1e-45", "0x1.8p-3", "nan", "-0". Bits are a code: "0x2E66" of `source`,
        or else of `fmt`; "16'h2E66" of a format with so many bits (float16, float32, float64 where nothing else says).
        With a block format, a row of numbers.
    fmt : Format, BlockFormat, str or dtype
        The target.
    source : Format, str or dtype, optional
        The format that the number comes in; integers are its codes.
    rounding, overflow, nan, subnormals, tininess, dialect
        As for `convert`.
    index : int
        Where the number stands in its array, for the random bits of `Stochastic`. Default: 0.
    via : Format, str, dtype or a sequence of them, optional
        Round to these first, one after the other, by the same rounding.
    scheme : {"symmetric", "asymmetric"}, optional
        Map to the integers of `fmt` as `quantize` does.
    amax : number or str, optional
        The largest magnitude of the range: from −amax to amax.
    low, high : number or str, optional
        The range.
    scale, step : number or str, optional
        Codes per unit, or units per code (what ONNX, PyTorch and TFLite call "scale"), in place of a range.
    zero_point, narrow, include_zero, step_format, nonfinite
        As for `quantize`.
    element : int, optional
        Of a block format: which number of the row. Default: 0.
    scale_rule, tensor_scale
        As for `quantize_blocks`; the exact rules only.

    Returns
    -------
    Explanation
        All steps as data. Printed it is text, in a notebook HTML.

    Raises
    ------
    BitquantError
        For what cannot be read, and for a number that a rule refuses.

    Examples
    --------
    >>> import bitquant as bq
    >>> e = bq.explain("0.1", "float16")
    >>> hex(e.code), e.result.value, e.flags
    ('0x2e66', Fraction(819, 8192), ('inexact',))
    >>> e.rounding.kept, e.rounding.dropped, (e.rounding.guard, e.rounding.round, e.rounding.sticky)
    (1638, Fraction(2, 5), (0, 1, 1))
    >>> e.rounding.up, e.rounding.tie_distance
    (False, Fraction(-1, 10))
    >>> bq.explain("16'h3555", "bfloat16", source="float16").result.value
    Fraction(171, 512)
    >>> bq.explain("1.00390625000001", "bfloat16", via="float32").rounded_twice
    True
    >>> q = bq.explain(0.3, "int8", amax=1)
    >>> q.mapping.position, q.code
    (Fraction(686348583211263565, 18014398509481984), 38)
    """
    row = block_format_of(fmt)
    if row is not None:
        from bitquant.explaining.blocks import explain_element

        return explain_element(value, row, element or 0, rounding, index, scale_rule, tensor_scale)
    if element is not None or scale_rule is not None or tensor_scale is not None:
        raise BitquantError("element, scale_rule and tensor_scale are for a block format, such as mxfp4")
    target = format(fmt)
    given = read(value, None if source is None else format(source), target)
    named = (scheme, amax, low, high, scale, step, zero_point, narrow, include_zero or None, step_format, nonfinite)
    if any(one is not None for one in named):
        from bitquant.explaining.mapping import explain_mapped

        if via:
            raise BitquantError("a scheme rounds once: leave via out")
        options = dict(zip(_SCHEME, named, strict=True))
        options["include_zero"] = include_zero
        return explain_mapped(given, target, rounding, index, options)
    rules: dict[str, Any] = {"overflow": overflow, "nan": nan, "subnormals": subnormals, "tininess": tininess}
    if dialect is not None:
        settled = rules_of(dialect, given.source or FP64, target, {"rounding": rounding, **rules})
        rounding = settled.pop("rounding", None)
        rules = {**rules, **settled}
    direct = _explain(given, target, Rules.of(target, rounding, **rules), index)
    path = _formats(via)
    if not path:
        return direct
    between = []
    at = given
    for fmt_between in path:
        kept = subnormals if fmt_between.is_float else None
        found = _explain(at, fmt_between, Rules.of(fmt_between, rounding, subnormals=kept), index)
        between.append(found)
        at = Given.of_code(found.code, fmt_between)
    last = _explain(at, target, Rules.of(target, rounding, **rules), index)
    error = last.error
    if given.real.kind == "finite" and last.result.kind == "finite" and direct.error is not None:
        absolute = last.result.value - given.real.value
        relative = absolute / given.real.value if given.real.value else None
        unit = direct.rounding.unit if direct.rounding is not None else None
        error = replace(direct.error, absolute=absolute, relative=relative, ulps=absolute / unit if unit else None)
    return replace(last, given=given, error=error, path=(*between, last), direct=direct)


def block_format_of(fmt: Any) -> BlockFormat | None:
    """The block format that is meant, if one is; their room is opened for a name that is no plain format's."""
    if isinstance(fmt, str):
        try:
            format(fmt)
        except BitquantError:
            from bitquant.blocks import block_formats

            return next((row for row in block_formats() if fmt.lower() in (row.name, *row.aliases)), None)
        return None
    blocks = sys.modules.get("bitquant.blocks")
    return fmt if blocks is not None and isinstance(fmt, blocks.BlockFormat) else None


def _formats(via: Any) -> list[Format]:
    if isinstance(via, str):
        via = [name for name in via.split(",") if name.strip()]
    elif not isinstance(via, Sequence):
        via = [via]
    return [format(one.strip() if isinstance(one, str) else one) for one in via]


def _explain(given: Given, target: Format, rules: Rules, index: int) -> Explanation:
    random = random_of(rules.rounding, index)
    projected = projection(target, rules, given.source, random)
    return explained(given, projected, Places(target), lambda code: decoded(code, target))
