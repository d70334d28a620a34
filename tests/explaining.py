"""An explanation against the Fraction reference: every figure, worked out a second time."""

from __future__ import annotations

from fractions import Fraction

import bitquant as bq
import reference as ref

FLAGS = {"invalid", "overflow", "underflow", "inexact"}
TINY = Fraction(1, 2**3000)


def stochastic(rounding, random):
    return ref.Stochastic(rounding.bits, random, rounding.variant)


def projected(number, target, rounding, overflow=None, subnormals="gradual", tininess="after", smallest=None):
    """The code and flags of any real number; None where it is refused. `smallest`: below it inputs are flushed."""
    overflow = overflow or target.overflow_rules[0]
    if smallest is not None and number.kind == "finite" and abs(number.fraction) < smallest:
        number = ref.Number("finite", number.sign)
    try:
        if target.kind == "integer":
            return ref.convert_to_integer(number, target, rounding, overflow)
        if target.kind == "codebook":
            return ref.convert_to_codebook(number, target, rounding, overflow)
        return ref.convert_to_float(number, target, rounding, overflow, subnormals, tininess)
    except ref.Refused:
        return None, frozenset()


def number_of(real):
    """A Real of an explanation as the reference's Number."""
    return ref.Number(real.kind, int(real.negative), *real.magnitude.as_integer_ratio())


def same(real, number):
    """Whether an explained number is the reference's, the sign of a zero included."""
    if real.kind != number.kind or (real.negative, real.kind) != (bool(number.sign), number.kind):
        return False
    return real.kind != "finite" or real.value == number.fraction


def check(explanation, number, target, rounding="nearest_even", nan=None, smallest=None, **rules):
    """Hold every figure of an explanation of a number against the reference."""
    e = explanation
    if number.kind == "nan":
        code, flags = ref.convert_nan(number, target, nan or target.nan_rules[0])
        assert (e.code, set(e.flags)) == (code, flags)
        assert (e.rounding, e.interval, e.neighbours, e.error) == (None,) * 4
        return
    code, flags = projected(number, target, rounding, smallest=smallest, **rules)
    assert (e.code, set(e.flags)) == (code, set(flags)), e
    assert same(e.given.real, number)
    result = ref.decode(code, target)
    assert same(e.result, result)
    flushed = smallest is not None and number.kind == "finite" and abs(number.fraction) < smallest
    check_rounding(e, number, target, rounding, flushed)
    if number.kind == result.kind == "finite":
        assert e.error.absolute == result.fraction - number.fraction
        assert e.error.relative == (e.error.absolute / number.fraction if number.fraction else None)
        if e.rounding is not None:
            unit = ref.spacing(number.fraction, target) if target.kind == "float" else e.rounding.unit
            assert e.error.ulps == e.error.absolute / unit
    else:
        assert e.error is None
    assert tuple(n.code for n in e.neighbours) == ref.neighbours_of(number, target)
    for one in e.neighbours:
        assert same(one.real, ref.decode(one.code, target))
    if result.kind != "nan":
        assert tuple(n.code for n in e.around) == ref.neighbours(code, target, target)
    check_interval(e, number, code, target, rounding, smallest, rules)


def check_rounding(e, number, target, rounding, flushed):
    r = e.rounding
    if number.kind != "finite" or flushed or (target.kind == "float" and number.numerator == 0):
        assert r is None
        return
    if target.kind == "codebook":
        if target.values[0] <= number.fraction <= target.values[-1]:
            low = target.values[r.kept]
            assert low + r.dropped * r.unit == number.fraction
            assert r.dropped == 0 or r.unit == target.values[r.kept + 1] - low
            assert r.kept + r.up == e.code
        else:
            assert r is None
        return
    magnitude = abs(number.fraction)
    unit, parity = Fraction(1), 0
    if target.kind == "float":
        exponent = max(ref.floor_log2(number.numerator, number.denominator), target.emin)
        unit = Fraction(2) ** (exponent - target.significand_bits)
        if target.significand_bits == 0 and target.ties == "code":
            parity = exponent + target.bias - 1
    assert r.unit == unit == Fraction(2) ** r.exponent
    assert (r.kept + r.dropped) * unit == magnitude
    assert 0 <= r.dropped < 1
    digits = [int(r.dropped * 2), int(r.dropped * 4 % 2), int(r.dropped * 4 % 1 != 0)]
    assert [r.guard, r.round, r.sticky] == digits
    assert (r.tie, r.inexact) == (digits == [1, 0, 0], digits != [0, 0, 0])
    assert r.tie_distance == r.dropped - Fraction(1, 2)
    assert r.odd == bool((r.kept + parity) % 2)
    signed = -magnitude if number.sign else magnitude
    up = abs(ref.round_quotient(*(signed / unit).as_integer_ratio(), rounding, parity))
    assert r.rounded == up
    if target.kind == "float":
        assert r.carry == (up == 2 << target.significand_bits)
        assert ("carry" in e.events) == r.carry
        hidden = 1 << target.significand_bits
        assert ("subnormal" in e.events) == (target.has_zero and r.kept < hidden)
        assert ("becomes normal" in e.events) == (target.has_zero and r.kept < hidden == up)
    if isinstance(rounding, ref.Stochastic):
        ups = r.chance.probability * 2**rounding.bits
        assert r.chance.scaled == ups
        first = 2**rounding.bits - int(ups)  # the smallest R that goes up
        for random in (first, first - 1):
            if not 0 <= random < 2**rounding.bits:
                continue
            assert ref.goes_up(r.dropped, rounding._replace(random=random)) == (random >= first)


def check_interval(e, number, code, target, rounding, smallest, rules):
    """The ends and what lies just outside, inside and at them."""

    def gets(number):
        return projected(number, target, rounding, smallest=smallest, **rules)[0] == code

    i = e.interval
    for end, closed, outward in ((i.low, i.low_closed, -1), (i.high, i.high_closed, 1)):
        if end.kind == "infinity":
            assert gets(number_of(end)) == closed
            if end.negative != (outward < 0):  # an infinity all by itself
                assert i.low == i.high == end
                # Odd: where an infinity becomes 0, as numbers wrap, 2^3000 would too.
                assert not gets(ref.as_number(-outward * (Fraction(2) ** 3000 + 1)))
            continue
        assert gets(number_of(end)) == closed, (e, i)
        if end.magnitude == 0:
            zeros = [gets(ref.Number("finite", sign)) for sign in (0, 1)]
            one = projected(ref.Number("finite", 0), target, rounding, **rules)[0]
            if one == projected(ref.Number("finite", 1), target, rounding, **rules)[0]:
                assert not end.negative
            elif closed:
                assert zeros == [not end.negative, end.negative]
            else:
                assert end.negative == (outward > 0)
        scale = abs(end.value) or Fraction(1)
        assert not gets(ref.as_number(end.value + outward * TINY * scale)), (e, i)
        if i.high.kind != "finite" or i.low.kind != "finite" or i.low.value < i.high.value:
            assert gets(ref.as_number(end.value - outward * TINY * scale)), (e, i)
    if number.kind == "finite":
        assert number.fraction in i


def explained(code, source, target, rounding="nearest_even", random=None, **rules):
    """Explain a code of one of bitquant's formats, and hold it against the reference and `convert`."""
    own_source, own_target = ref_format(source), ref_format(target)
    judged = rounding
    if isinstance(rounding, bq.Stochastic):
        judged = stochastic(rounding, random)
        rounding = bq.Stochastic(rounding.bits, variant=rounding.variant, random=random)
    e = bq.explain(f"0x{code:X}", target, source=source, rounding=rounding, **rules)
    smallest = None
    if rules.get("subnormals") in ("flush", "flush_input") and source.is_float:
        smallest = Fraction(2) ** own_source.emin if own_source.has_zero else 0
    check(e, ref.decode(code, own_source), own_target, judged, smallest=smallest, **rules)
    return e


_MADE = {}


def ref_format(fmt):
    """The reference's format of a Format."""
    if fmt.name not in _MADE:
        _MADE[fmt.name] = ref.FORMATS.get(fmt.name) or ref.exmy(
            fmt.exponent_bits,
            fmt.significand_bits,
            fmt.bias,
            fmt.signed,
            fmt.infinity,
            fmt.nan,
            ties=fmt.ties,
            name=fmt.name,
        )
    return _MADE[fmt.name]
