"""Which of the dialects gives what was received, and which comes nearest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.auditing.outcomes import Classes, Mask, is_nan
from bitquant.auditing.report import Nearest
from bitquant.convert import encode
from bitquant.dialects import dialect, dialects
from bitquant.dialects.row import RULES, options
from bitquant.formats import format
from bitquant.permitted import nan_rules

__all__ = ["Named", "nearest_of", "rows"]


class Named(NamedTuple):
    """A dialect with one choice of the rules that it leaves open, and on which inputs the candidate differs from it."""

    name: str
    rules: Mapping[str, str]
    wrong: Mask


def rows(classes: Classes, received: Array) -> Iterator[Named]:
    """Every dialect that has this conversion, under every choice that it leaves, held against the codes received."""
    codes, source, target = classes.codes, classes.source, classes.target
    nan = is_nan(received, target)
    for row in dialects():
        conversion = row.conversion(source.name, target.name)
        if conversion is None:
            yield from _through(row.name, classes, received)
            continue
        open_rules = [rule for rule in RULES if rule != "tininess" and options(getattr(conversion, rule))]
        choices = [options(getattr(conversion, rule)) for rule in open_rules]
        for chosen in product(*choices):
            rules = dict(zip(open_rules, chosen, strict=True))
            if rules.get("rounding") == "stochastic" or "raise" in chosen:
                continue
            free = () if "nan" in rules else _free(classes)
            given: Any = {**rules, **({"nan": free[0]} if free else {})}
            expected = np.asarray(encode(codes, target, source, dialect=row.name, **given))
            wrong = expected != received
            if not conversion.nan_codes:
                wrong &= ~(nan & is_nan(expected, target))
            if free:
                wrong &= ~classes.nan
            picked = [f"{rule}={rules[rule]}" for rule in open_rules if len(options(getattr(conversion, rule))) > 1]
            yield Named(f"{row.name} ({', '.join(picked)})" if picked else row.name, rules, wrong)


def _free(classes: Classes) -> tuple[str, ...]:
    """A rule for NaN where the dialect has none, so that nothing is refused; what it gives is not compared."""
    return () if classes.target.has_nan else (nan_rules(classes.target)[-1],)


def _through(name: str, classes: Classes, received: Array) -> Iterator[Named]:
    """A conversion that a dialect makes in two steps, where both are its own."""
    source, target = classes.source, classes.target
    gap = dialect(name).gap(source.name, target.name)
    if gap is None or not gap.through:
        return
    middle = format(gap.through)
    row = dialect(name)
    steps = row.conversion(source.name, middle.name), row.conversion(middle.name, target.name)
    if None in steps or (not target.has_nan and steps[1] is not None and not options(steps[1].nan)):
        return
    first = np.asarray(encode(classes.codes, middle, source, dialect=name))
    expected = np.asarray(encode(first, target, middle, dialect=name))
    wrong = expected != received
    if not all(step is not None and step.nan_codes for step in steps):
        wrong &= ~(is_nan(expected, target) & is_nan(received, target))
    yield Named(f"{name} (through {middle.name})", {}, wrong)


def nearest_of(found: list[Named], classes: Classes, rule: Mapping[str, tuple[str, ...]]) -> Nearest | None:
    """The dialect with the fewest mismatches, and the axes in which it differs: those of the inputs that do."""
    if not found:
        return None
    best = min(found, key=lambda named: int(np.count_nonzero(named.wrong)))
    wrong = best.wrong
    special = classes.nan | classes.infinite
    here: dict[str, NDArray[np.bool_]] = {
        "nan": classes.nan,
        "infinity": classes.infinite,
        "subnormals": classes.small & ~special,
        "zero": classes.zero,
    }
    axes: dict[str, tuple[str, tuple[str, ...]]] = {}
    for axis, where in here.items():
        if np.any(wrong & where) and axis in rule:
            axes[axis] = (_said(best.rules, axis), rule[axis])
    if np.any(wrong & ~(special | classes.small)):
        for axis in ("way", "rounding", "overflow"):
            said = _said(best.rules, axis)
            if axis in rule and rule[axis] != (said,):
                axes[axis] = (said, rule[axis])
    return Nearest(best.name, int(np.count_nonzero(wrong)), axes)


def _said(rules: Mapping[str, Any], axis: str) -> str:
    """What a dialect says about an axis."""
    if axis == "infinity":
        return str(rules.get("overflow", "ieee"))
    return str(rules.get(axis, {"way": "direct", "zero": "sign kept"}.get(axis, "nothing")))
