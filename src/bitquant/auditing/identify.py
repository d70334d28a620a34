"""Which rules agree with everything that was observed: elimination over all their combinations.

# Design:
# A. A combination is a way, a rounding above zero and one below, and a value on each axis of the classes of inputs. The
#    mismatches of a combination are the sum of those of its parts (outcomes.py, Design B), so all combinations are
#    judged by judging the parts; none is left out and none is sampled.
# B. What survives is what some combination without a mismatch has. Where there is no such combination, the axes whose
#    class of inputs has an explanation keep it, and the others keep nothing.
# C. Two different roundings above and below zero that have no common name are named only where no named pair survives:
#    on inputs that never round every pair would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from bitquant.arrays import Array
from bitquant.auditing.outcomes import MODES, PAIRS, Classes, Mask, Outcomes, is_nan, tells_ties, ways
from bitquant.convert import encode
from bitquant.formats import Format
from bitquant.permitted import nan_rules
from bitquant.rules import Flags

__all__ = ["Identified", "identify"]

SOME_NAN = "some NaN"


@dataclass(frozen=True, eq=False)
class Identified:
    """The rules that survive.

    Attributes
    ----------
    rule : dict of str to tuple of str
    outcomes : dict of str to Outcomes
        What was compared with, for each way by name.
    combinations : tuple of (way, mode above zero, mode below zero)
        Those that survive, or come nearest where none does.
    """

    rule: Mapping[str, tuple[str, ...]]
    outcomes: Mapping[str, Outcomes]
    combinations: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class _Part:
    """A way and a mode on the inputs of one sign: mismatches of ordinary numbers, and for each value of the axes."""

    ordinary: int
    overflow: Mapping[str, int]
    small: Mapping[tuple[str, str], int]


Combination: TypeAlias = tuple[str, str, str]
Parts: TypeAlias = Mapping[tuple[str, str, bool], _Part]


def identify(classes: Classes, received: Array, everything: bool) -> Identified:
    """Find the rules under which every input gives the code that was received.

    `everything` says that the inputs are all there are: rules that give the same are then one, and called by the first.
    """
    found = {way.name: Outcomes(way, classes) for way in ways(classes.source, classes.target)}
    parts = {
        (name, mode, sign): _part(outcomes, mode, received, sign)
        for name, outcomes in found.items()
        for mode in MODES
        if mode in outcomes.modes
        for sign in (False, True)
    }
    kept, fits = _combinations(parts)
    rule: dict[str, tuple[str, ...]] = {"way": (), "rounding": ()}
    if fits:
        rule["way"] = _unique(way for way, _, _ in kept)
        rule["rounding"] = _names(kept, classes.source, classes.target)
    rule |= _axes(parts, kept, classes.source, classes.target)
    rule |= _specials(classes, received)
    if classes.target.contains(classes.source) and fits:
        del rule["rounding"]  # which never comes up
    if everything:
        rule = {axis: values[:1] for axis, values in rule.items()}
    return Identified(rule, found, tuple(kept))


def _part(outcomes: Outcomes, mode: str, received: Array, sign: bool) -> _Part:
    classes = outcomes.classes
    here = classes.number & (classes.negative == sign)
    base, beyond = outcomes.modes[mode]
    over, small = here & beyond, here & ~beyond & classes.small

    def wrong(codes: Array, where: Mask) -> int:
        return int(np.count_nonzero((codes != received) & where))

    return _Part(
        wrong(base, here & ~(beyond | classes.small)),
        {rule: wrong(codes, over) for rule, codes in outcomes.overflow(mode).items()} if over.any() else {},
        {rules: wrong(codes, small) for rules, codes in outcomes.small(mode, sign).items()} if small.any() else {},
    )


def _combinations(parts: Parts) -> tuple[list[Combination], bool]:
    """The combinations of way and roundings that come nearest, and whether no ordinary number speaks against them."""
    every = [
        (way, above, below)
        for (way, above, sign), below in product(parts, MODES)
        if not sign and (way, below, True) in parts
    ]
    judged: dict[Combination, tuple[int, int]] = {}
    for way, above, below in every:
        one, other = parts[way, above, False], parts[way, below, True]
        lost = (not _alive(one.overflow, other.overflow)) + (not _alive(one.small, other.small))
        judged[way, above, below] = (one.ordinary + other.ordinary, lost)
    least = min(judged.values())
    return [combination for combination in every if judged[combination] == least], least[0] == 0


def _alive(one: Mapping[Any, int], other: Mapping[Any, int]) -> list[Any]:
    """The values of an axis without a mismatch on either side; where it never comes up None, which stands for any."""
    if not (one or other):
        return [None]
    return [value for value in {**one, **other} if not (_count(one, value) or _count(other, value))]


# Which rule a rule is where it is not offered: there what sets it apart never happens.
_ELSE: Mapping[str, str] = {"flush": "flush_output", "flush_output": "gradual", "flush_tiny": "flush_output"}


def _count(side: Mapping[Any, int], value: Any) -> int:
    """The mismatches of a value on one side of zero."""
    if value in side or not side:
        return side.get(value, 0)
    if not isinstance(value, tuple):
        return 1
    rule, zero = value
    rules = {known for known, _ in side}
    while rule not in rules:
        rule = _ELSE.get(rule, "gradual")
    return side.get((rule, zero), side.get((rule, "sign kept"), 0))


def _names(kept: Iterable[Combination], source: Format, target: Format) -> tuple[str, ...]:
    """Roundings by their names; those without one only where no other is left.

    Of an unsigned source only what is done above zero counts, and where no tie goes by evenness only one name of two.
    """
    pairs = list(dict.fromkeys((above, below) for _, above, below in kept))
    if not source.signed:
        pairs = [(above, above) for above, _ in pairs]
    names = _unique(PAIRS[pair] for pair in pairs if pair in PAIRS)
    if "nearest_even" in names and not tells_ties(target):
        names = tuple(name for name in names if name == "nearest_even" or not name.startswith("nearest"))
    return names or _unique(f"{_alone(above)} above zero, {_alone(below)} below" for above, below in pairs)


def _alone(mode: str) -> str:
    """The name of a mode of magnitudes where it has no partner."""
    return {"down": "toward_zero", "up": "away from zero", "ties_down": "nearest, ties toward zero"}.get(mode, mode)


def _axes(parts: Parts, kept: list[Combination], source: Format, target: Format) -> dict[str, tuple[str, ...]]:
    """What survives of overflow, of small numbers and of zero's sign, over the combinations that are left."""
    overflow: dict[str, None] = {}
    small: dict[tuple[str, str], None] = {}
    asked: tuple[set[Any], set[Any]] = (set(), set())
    for way, above, below in kept:
        one, other = parts[way, above, False], parts[way, below, True]
        asked[0].update(one.overflow, other.overflow)
        asked[1].update(one.small, other.small)
        overflow |= dict.fromkeys(value for value in _alive(one.overflow, other.overflow) if value)
        small |= dict.fromkeys(value for value in _alive(one.small, other.small) if value)
    rule = {}
    if asked[0]:
        shown = slice(1, 3) if target.signed else slice(1, 2)
        modes = {mode for one in kept for mode in one[shown]}
        rule["overflow"] = _once(tuple(overflow), modes if _falls_beyond(source, target) else modes - _INWARD, target)
    for place, axis in enumerate(("subnormals", "zero")):
        if len({value[place] for value in asked[1]}) > 1:
            rule[axis] = _unique(value[place] for value in small)
    return rule


_INWARD = {"down", "to_odd"}


def _falls_beyond(source: Format, target: Format) -> bool:
    """Whether a number of the source is too large for the target even when it is rounded toward zero."""
    flags = Flags()
    ends = np.array([source.largest_code, 1 << source.magnitude_bits if source.is_integer else 0], source.code_dtype)
    rules: Any = {"rounding": "toward_zero", "overflow": "saturate"}
    encode(ends[: 1 + source.signed], target, source, flags=flags, **rules)
    return bool(flags.overflow or flags.invalid)


def _once(names: tuple[str, ...], modes: set[str], target: Format) -> tuple[str, ...]:
    """Overflow rules without those that are `ieee` under another name, given how numbers are rounded."""
    if "ieee" not in names:
        return names
    inward = modes <= _INWARD
    outward = not modes & _INWARD
    same = {"saturate"} if inward and target.signed else set()
    if outward:
        same = {"infinity"} if target.infinity else {"nan"}
    return tuple(name for name in names if name not in same)


def _specials(classes: Classes, received: Array) -> dict[str, tuple[str, ...]]:
    """What NaN and infinities give."""
    rule = {}
    if classes.infinite.any():
        rule["infinity"] = _infinity(classes, received)
    if classes.nan.any():
        rule["nan"] = _nan(classes, received)
    return rule


def _infinity(classes: Classes, received: Array) -> tuple[str, ...]:
    where = classes.infinite
    codes, got, target = classes.codes[where], received[where], classes.target
    ieee = {True: "infinity", False: "nan"}[target.infinity] if target.has_nan or target.infinity else "saturate"
    names = {"ieee": ieee, "saturate": "saturate", "nan": "nan", "indefinite": "indefinite"}
    found = {}
    nan = {"nan": "canonical"} if target.has_nan else {"nan": nan_rules(target)[-1]}
    for rule, name in names.items():
        if rule in _rules_for(target):
            given: Any = {"overflow": rule, **nan}
            found[name] = np.asarray(encode(codes, target, classes.source, **given))
    if target.is_integer or (target.is_float and target.zero):
        nothing = got & got.dtype.type(2**target.magnitude_bits - 1 if target.signed_zero else 2**target.bits - 1)
        found["zero"] = got if not nothing.any() else np.ones_like(got)
    if target.has_nan and is_nan(got, target).all():
        found["nan"] = got
    return _unique(name for name, expected in found.items() if np.array_equal(expected, got)) or _constant(
        got, classes.negative[where]
    )


def _rules_for(target: Format) -> tuple[str, ...]:
    """The overflow rules that say what becomes of infinities."""
    if target.kind == "codebook":
        return ("saturate",)
    if target.is_integer:
        return ("saturate", "indefinite")
    return ("ieee", "saturate", "nan") if target.has_nan and not target.infinity else ("ieee", "saturate")


def _nan(classes: Classes, received: Array) -> tuple[str, ...]:
    """The rules for NaN that give these codes; of those that are one for these formats, the first."""
    where = classes.nan
    codes, got, source, target = classes.codes[where], received[where], classes.source, classes.target
    found: dict[str, Array] = {}
    for rule in nan_rules(target):
        if rule != "raise":
            given: Any = {"nan": rule}
            found[rule] = np.asarray(encode(codes, target, source, **given))
    if target.nan == "ieee" and source.nan == "ieee":
        found |= _unquieted(codes, source, target)
    fitting = [name for name, expected in found.items() if np.array_equal(expected, got)]
    first = [name for k, name in enumerate(fitting) if not any(_equal(found, name, past) for past in fitting[:k])]
    if first:
        return tuple(first)
    constant = _constant(got, classes.negative[where])
    return constant or ((SOME_NAN,) if is_nan(got, target).all() else ())


def _equal(found: Mapping[str, Array], one: str, other: str) -> bool:
    return np.array_equal(found[one], found[other])


def _unquieted(codes: Array, source: Format, target: Format) -> dict[str, Array]:
    """Payloads cut off or stretched without the quiet bit; cut to nothing, one leaves infinity or gets a one."""
    wide = np.uint64
    payload = (codes & codes.dtype.type(2**source.significand_bits - 1)).astype(wide)
    shift = source.significand_bits - target.significand_bits
    payload = payload >> np.uint64(shift) if shift >= 0 else payload << np.uint64(-shift)
    sign = (codes >> source.magnitude_bits & 1).astype(wide) << np.uint64(target.magnitude_bits)
    top = np.uint64(target.infinity_code or 0)
    return {
        "truncated": (sign | top | payload).astype(target.code_dtype),
        "signalling kept": (sign | top | np.maximum(payload, 1)).astype(target.code_dtype),
    }


def _constant(got: Array, below: Mask) -> tuple[str, ...]:
    """One code for all, or one for each sign, where that is so."""
    if not got.size:
        return ()
    if (got == got[0]).all():
        return (f"always {int(got[0]):#x}",)
    above, under = got[~below], got[below]
    if above.size and under.size and (above == above[0]).all() and (under == under[0]).all():
        return (f"{int(above[0]):#x}, negative ones {int(under[0]):#x}",)
    return ()


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
