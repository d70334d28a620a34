"""Which combinations of rules agree with all codes that a quantizer gave: by elimination, over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.auditing.quantizers.axes import (
    ARITHMETIC,
    BEFORE,
    BEYOND,
    DIVISION,
    ELEMENT,
    FUSED,
    SCALING,
    TIES,
    ZERO,
    Element,
    elements,
)
from bitquant.auditing.quantizers.predict import REGIONS, Table

__all__ = ["CodesRule", "causes", "differences", "identify", "predicted"]

# Parts of a table on which combinations are tried, one after the other: channels, and numbers of each.
_STAGES = ((2, 150), (6, 500), (1 << 20, 1 << 20))
WRAPS = "the low bits of the integer"


@dataclass(frozen=True)
class CodesRule:
    """What survives of the rule by which numbers become codes.

    Attributes
    ----------
    sides : tuple of two tuples of Element
        The combinations that agree with every positive number (and zero), and with every negative one.
    range : tuple of str
    beyond : dict of str to tuple of str
        For each region outside the range of the codes, what its codes may be.
    """

    sides: tuple[tuple[Element, ...], tuple[Element, ...]]
    range: tuple[str, ...]
    beyond: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def pairs(self) -> list[tuple[Element, Element]]:
        """Combinations for positive and negative numbers that differ in the ties at most; one and the same if any."""
        positive, negative = self.sides
        both = set(negative)
        same = [(element, element) for element in positive if element in both]
        if same:
            return same
        by_rest: dict[tuple[Any, ...], list[Element]] = {}
        for element in negative:
            by_rest.setdefault(_rest(element), []).append(element)
        return [(one, other) for one in positive for other in by_rest.get(_rest(one), [])]

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Axis → the values that survive; none where no combination does."""
        pairs = self.pairs
        found: dict[str, tuple[str, ...]] = {}
        for axis in ARITHMETIC[:-1]:
            found[axis] = _unique(one.axes[axis] for one, _ in pairs)
        if all(one is other for one, other in pairs):
            found[TIES] = _unique(one.axes[TIES] for one, _ in pairs)
        else:
            found["ties of positive numbers"] = _unique(one.axes[TIES] for one, _ in pairs)
            found["ties of negative numbers"] = _unique(other.axes[TIES] for _, other in pairs)
        return {**found, "range": self.range, **self.beyond}


def _rest(element: Element) -> tuple[Any, ...]:
    return tuple(value for axis, value in element.values if axis != TIES)


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def differences(
    mine: Mapping[str, tuple[str, ...]], theirs: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The axes on which nothing survives for both of two rules: the other one's value, and the values of the first."""
    mine, theirs = _spread(mine), _spread(theirs)
    return {
        axis: (" or ".join(theirs[axis]), values)
        for axis, values in mine.items()
        if theirs.get(axis) and values and not set(values) & set(theirs[axis])
    }


def _spread(axes: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Axes in which the two signs have ties of their own."""
    found = dict(axes)
    if TIES in found:
        found["ties of positive numbers"] = found["ties of negative numbers"] = found.pop(TIES)
    return found


def identify(table: Table, codes: NDArray[np.int64], scaled: tuple[tuple[str, str], ...] = ()) -> CodesRule:
    """Eliminate whatever contradicts a code.

    Parameters
    ----------
    table : Table
        Of steps, and of numbers, that keep away from the ends of their formats.
    codes : ndarray of int64, shape (channels, n)
    scaled : tuple of (str, str)
        See `elements`.
    """
    qmin, _ = table.ends
    regions = table.regions
    below = codes[regions == REGIONS.index("below the codes")]
    saturates = bool(below.size) and bool((below == below[0]).all()) and below[0] in (qmin, qmin + 1)
    if saturates:
        range_: tuple[str, ...] = ("narrow" if below[0] == qmin + 1 else "full",)
    else:
        range_ = ("full",) if (codes == qmin).any() else ("full", "narrow")
    narrow = range_ == ("narrow",)
    pool = elements(table.source, table.real, table.wide, scaled)
    inside = regions == REGIONS.index("inside")
    positive = table.numbers >= 0
    sides = tuple(survivors(table, codes, inside & side, pool, narrow) for side in (positive, ~positive))
    rule = CodesRule((sides[0], sides[1]), range_)
    for number, region in enumerate(REGIONS[1:-1], 1):
        mask = regions == number
        if mask.any():
            rule.beyond[region] = _beyond(table, codes, mask, region, rule, narrow)
    return rule


def survivors(
    table: Table, codes: NDArray[np.int64], mask: NDArray[np.bool_], pool: Sequence[Element], narrow: bool
) -> tuple[Element, ...]:
    """The combinations that give the codes at all places of a mask."""
    for channels, columns in _STAGES:
        channels, columns = min(channels, len(codes)), min(columns, codes.shape[1])
        chosen = np.linspace(0, len(codes) - 1, channels).astype(int)
        whole = channels == len(codes) and columns == codes.shape[1]
        part = table if whole else table.kept_part(chosen, columns)
        seen, where = codes[chosen, :columns], mask[chosen, :columns]
        pool = [each for each in pool if (part.by_element(each, narrow)[where] == seen[where]).all()]
    return tuple(pool)


def _beyond(
    table: Table, codes: NDArray[np.int64], mask: NDArray[np.bool_], region: str, rule: CodesRule, narrow: bool
) -> tuple[str, ...]:
    """What the codes of one region may be."""
    found = []
    near = region in ("above the codes", "below the codes")
    for value in list(BEYOND)[: 2 if near else None]:
        expected = np.broadcast_to(table.beyond(value, narrow)[:, None], codes.shape)
        if (expected[mask] == codes[mask]).all():
            found.append(value)
    if near:
        sign = int(region.startswith("below"))
        wrapped = [table.by_element(side, narrow, clamp=False) for side in rule.sides[sign][:1]]
        found += [WRAPS for each in wrapped if (each[mask] == codes[mask]).all()]
    return tuple(found)


def predicted(table: Table, rule: CodesRule) -> NDArray[np.int64] | None:
    """The codes by one of the combinations that survive; None where none does."""
    if not rule.pairs:
        return None
    narrow = rule.range == ("narrow",)
    one, other = rule.pairs[0]
    positive = table.numbers >= 0
    codes = np.where(positive, table.by_element(one, narrow), table.by_element(other, narrow))
    for number, region in enumerate(REGIONS[1:-1], 1):
        values = rule.beyond.get(region, ())
        if not values:
            continue
        mask = table.regions == number
        if values[0] == WRAPS:
            wrapped = np.where(
                positive, table.by_element(one, narrow, clamp=False), table.by_element(other, narrow, clamp=False)
            )
            codes = np.where(mask, wrapped, codes)
        else:
            codes = np.where(mask, table.beyond(values[0], narrow)[:, None], codes)
    return codes


def causes(
    table: Table,
    expected: NDArray[np.int64],
    received: NDArray[np.int64],
    reference: CodesRule,
    found: CodesRule,
    scaled: tuple[tuple[str, str], ...] = (),
) -> NDArray[Any]:
    """Say of each code that is not the expected one which axis makes it differ; "" where it is the expected one.

    From the reference's combination to the one found the axes are changed one after the other: ties, zero point,
    precision, scaling. The cause is the change after which the code is the one received.
    """
    cause = np.full(received.shape, "", "U48")
    open_ = expected != received
    for number, region in enumerate(REGIONS[1:], 1):
        cause[open_ & (table.regions == number)] = region if region != "apart" else "near 2^31 or 2^63 steps"
    open_ &= table.regions == 0
    by_values = {element.values: element for element in elements(table.source, table.real, table.wide, scaled)}
    narrow = found.range == ("narrow",)
    if reference.pairs and found.pairs:
        for side, mask in ((0, table.numbers >= 0), (1, table.numbers < 0)):
            start, end = reference.pairs[0][side], found.pairs[0][side]
            for text, element in _changes(start, end, by_values.get):
                explained = open_ & mask & (table.by_element(element, narrow) == received)
                cause[explained] = text
                open_ &= ~explained
    cause[open_] = "unexplained"
    return cause


def _changes(
    start: Element, end: Element, find: Callable[[tuple[tuple[str, str], ...]], Element | None]
) -> Iterable[tuple[str, Element]]:
    """The combinations on the way from one to another, and what was changed last."""
    values = dict(start.values)
    zero = BEFORE if end.axes[ZERO] == FUSED and values[SCALING] == DIVISION else end.axes[ZERO]
    steps = [
        (f"ties: {end.axes[TIES]}", {TIES: end.axes[TIES]}),
        (f"zero point {zero}", {ZERO: zero}),
        (f"arithmetic in {end.axes[ELEMENT]}", {ELEMENT: end.axes[ELEMENT], "step precision": end.axes[ELEMENT]}),
        (end.axes[SCALING], dict(end.values)),
    ]
    for text, change in steps:
        if any(values[axis] != value for axis, value in change.items()):
            values.update(change)
            element = find(tuple(values.items()))
            if element is not None:
                yield text[:48], element
