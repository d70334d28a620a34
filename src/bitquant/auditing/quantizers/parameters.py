"""The axes on which quantizers differ when they find a step and a zero point, and what survives of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bitquant.auditing.quantizers.predict import Table
from bitquant.convert import convert
from bitquant.formats import FP64, format
from bitquant.kernels.formula import DefaultEnvironment
from bitquant.quantize.formulas import Evaluator, Value
from bitquant.quantize.parameters import Scheme

__all__ = ["identify", "least_step"]

STORED = ("float64", "float32", "float16", "bfloat16")
_WIDENED = {
    "zero is included": ("low = min(low, 0)", "high = max(high, 0)"),
    "the low end alone": ("low = min(low, 0)",),
    "not widened": (),
}
# The span of the numbers, in codes: names of the span and of the number of codes, and their formulas.
_HALF = {"(qmax − qmin) / 2": "(qmax - qmin) / 2", "(qmax − qmin + 1) / 2": "(qmax - qmin + 1) / 2"}
_SIGNED = ("span = high if abs(high) > abs(low) else low", "span = -span")
_SPANS: dict[str, tuple[tuple[str, tuple[str, ...], dict[str, str]], ...]] = {
    "symmetric": (
        ("amax", ("span = max(abs(low), abs(high))",), {"qmax": "qmax", **_HALF}),
        ("the number of largest magnitude, negated,", _SIGNED, {"qmax": "qmax", **_HALF}),
    ),
    "asymmetric": (("(high − low)", ("span = high - low",), {"(qmax − qmin)": "(qmax - qmin)"}),),
}
_STEPS = {
    "{s} / {d}": "s = span / count",
    "{s} * (1 / {d})": "s = span * (1 / count)",
    "1 / ({d} / {s})": "s = 1 / (count / span)",
    "1 / (1 / {s} * {d})": "s = 1 / (1 / span * count)",
}
_ZEROS = {
    "round(qmin − low / step)": "z = {r}(qmin - low / s)",
    "qmin − round(low / step)": "z = qmin - {r}(low / s)",
    "qmin + round(−low * (1 / step))": "z = qmin + {r}(-low * (1 / s))",
    "round(qmin − low * (1 / step))": "z = {r}(qmin - low * (1 / s))",
    "qmin + round(−low * ((qmax − qmin) / (high − low)))": "z = qmin + {r}(-low * (count / span))",
    "qmin + round(−low * (1 / (high − low) * (qmax − qmin)))": "z = qmin + {r}(-low * (1 / span * count))",
    "round(qmax − high / step)": "z = {r}(qmax - high / s)",
    "qmax − round(high / step)": "z = qmax - {r}(high / s)",
}
_ROUNDED = {"to even": "round_even", "away from zero": "round_away", "up, by adding 0.5": "", "cut off": "trunc"}
_LEAST = {
    "none": "step = s",
    "1 in place of 0": "step = 1 if s == 0 else s",
    "epsilon in place of 0": "step = epsilon if s == 0 else s",
    "2^-23": "step = max(s, 2**-23)",
    "the smallest normal number": "step = max(s, tiny)",
    "epsilon": "step = max(s, epsilon)",
    "1 below 2^-23": "step = s if s > 2**-23 else 1",
    "1 below the smallest normal number": "step = 1 if s < tiny else s",
    "that of a span of 1e-10": "step = max(span, 1e-10) / count",
    "that of a span of 1e-9": "step = max(span, 1e-09) / count",
    "that of a span of 8e-5": "step = max(span, 8e-05) / count",
    "that of scale 1, for spans to 2^-24": "step = 1 if span <= 2**-24 else s",
    "that of scale 1, for spans to 1e-4": "step = 1 if span <= 0.0001 else s",
}


def _names(table: Table, precision: str) -> Evaluator:
    """An evaluator that knows the extremes of tensors in a precision, and the codes."""
    source = format(table.source)
    qmin, qmax = table.ends
    numbers = {"qmin": qmin, "qmax": qmax, "tiny": source.smallest_normal, "epsilon": source.epsilon}
    names = {name: Value(number, "number") for name, number in numbers.items()}
    for name in ("low", "high"):
        names[name] = Value(table.extremes[name], "float64").to(precision)
    return Evaluator(names, precision, table.source)


def _rules(table: Table, scheme: str) -> Iterator[tuple[dict[str, str], Evaluator]]:
    """Every rule of the step, with an evaluator that has computed `s`, the step before it is stored."""
    own = [table.source] if table.source in ("float16", "bfloat16") else []
    widened = _WIDENED if scheme == "asymmetric" else {"": ()}
    for precision, (wide, before) in product(("float64", "float32", *own), widened.items()):
        for name, span, counts in _SPANS[scheme]:
            for (divisor, count), (step, formula) in product(counts.items(), _STEPS.items()):
                evaluator = _names(table, precision)
                with DefaultEnvironment(), np.errstate(all="ignore"):
                    evaluator.assign((*before, *span, f"count = {count}", formula), {})
                axes = {
                    "scheme": scheme,
                    "step": step.format(s=name, d=divisor),
                    "step computed in": precision,
                    "range widened": wide,
                }
                yield {axis: value for axis, value in axes.items() if value}, evaluator


def _same(found: Value, numbers: NDArray[np.float64], type: str) -> bool:
    exact = convert(np.broadcast_to(found.to(type).numbers, numbers.shape), FP64)
    return bool(((exact == numbers) | (np.isnan(exact) & np.isnan(numbers))).all())


def identify(table: Table) -> tuple[Scheme, dict[str, tuple[str, ...]]]:
    """The scheme, and the values of each axis that agree with all steps and zero points.

    Parameters
    ----------
    table : Table
        Of tensors, with their extremes and what a quantizer found for them.

    Returns
    -------
    scheme : {"symmetric", "asymmetric"}
    rule : dict of str to tuple of str
    """
    constant = bool((table.zero_point == table.zero_point[0]).all())
    scheme: Scheme = "symmetric" if constant else "asymmetric"
    survivors = []
    for axes, evaluator in _rules(table, scheme):
        for stored in _stores(table):
            with np.errstate(all="ignore"):
                if _same(evaluator.names["s"], table.step, stored):
                    survivors.append(({**axes, "step stored in": stored}, evaluator))
    rule = _sets([axes for axes, _ in survivors], ("step", "step computed in", "step stored in", "range widened"))
    rule = {"scheme": (scheme,), **rule}
    if scheme == "symmetric":
        del rule["range widened"]
        rule["zero point found as"] = (f"{table.zero_point[0]:g}",)
    else:
        rule.update(_zero_points(table, survivors))
    return scheme, rule


def _stores(table: Table) -> Iterator[str]:
    """The formats that hold all steps, the narrowest alone: a wider one holds them too, and says nothing."""
    for narrow in reversed(STORED):
        held = convert(convert(table.step, narrow), FP64)
        if ((held == table.step) | np.isnan(table.step)).all():
            yield narrow
            if narrow != "bfloat16":  # float16 and bfloat16 hold each other's numbers at times
                return


def _sets(rules: list[dict[str, str]], axes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {axis: tuple(dict.fromkeys(rule[axis] for rule in rules if axis in rule)) for axis in axes}


def _zero_points(table: Table, survivors: list[tuple[dict[str, str], Evaluator]]) -> dict[str, tuple[str, ...]]:
    """The values of the zero point's axes that agree with all zero points."""
    found = []
    real = table.real
    own = [table.source] if table.source in ("float16", "bfloat16") else []
    for _, evaluator in survivors:
        steps = {"before it is stored": evaluator.names["s"], "as it is stored": Value(table.step, "float64")}
        for (by, step), precision in product(steps.items(), ("float64", "float32", *own)):
            qmin, qmax = table.ends
            names = {"qmin": Value(qmin, "number"), "qmax": Value(qmax, "number"), "s": step.to(precision)}
            names["count"] = Value(qmax - qmin, "number")
            names |= {name: evaluator.names[name].to(precision) for name in ("low", "high", "span")}
            working = Evaluator(names, precision, table.source)
            for (name, formula), (ties, rounding) in product(_ZEROS.items(), _ROUNDED.items()):
                text = (
                    formula.format(r=rounding) if rounding else formula.format(r="_up").replace("_up(", "floor(0.5 + ")
                )
                if real:
                    text = formula.format(r="")
                with DefaultEnvironment(), np.errstate(all="ignore"):
                    working.assign((text, "clamped = clamp(z, qmin, qmax)"), {})
                for clamped, result in (("not clamped", "z"), ("clamped", "clamped")):
                    if _same(working.names[result], table.zero_point, "float64"):
                        found.append({
                            "zero point found as": name.replace("round", "") if real else name,
                            "zero point rounded": "not rounded" if real else ties,
                            "zero point from the step": by,
                            "zero point computed in": precision,
                            "zero point clamped": clamped,
                        })  # fmt: skip
    axes = ("found as", "rounded", "from the step", "computed in", "clamped")
    return _sets(found, tuple(f"zero point {axis}" for axis in axes))


def least_step(table: Table, rule: dict[str, tuple[str, ...]], scheme: str) -> dict[str, tuple[str, ...]]:
    """What survives of the rule for small spans, by the rules of the step that survived, and the step of zeros."""
    zeros = (table.extremes["low"] == 0) & (table.extremes["high"] == 0)
    found: dict[str, tuple[str, ...]] = {}
    if zeros.any():
        found["step of zeros"] = (f"{table.step[zeros][0]:g}",)
    part = table.part(np.flatnonzero(~zeros))
    if len(part.step):
        values = []
        for axes, evaluator in _rules(part, scheme):
            if all(value in rule[axis] for axis, value in axes.items()):
                values += [
                    name
                    for name, formula in _LEAST.items()
                    for stored in rule["step stored in"]
                    if name not in values and _reaches(part, evaluator, formula, stored)
                ]
        found["least step"] = tuple(values)
    return found


def _reaches(table: Table, evaluator: Evaluator, formula: str, stored: str) -> bool:
    with DefaultEnvironment(), np.errstate(all="ignore"):
        evaluator.assign((formula,), {})
        return _same(evaluator.names["step"], table.step, stored)
