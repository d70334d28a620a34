"""Laws that every conversion keeps, whatever the numbers: drawn by hypothesis, the same on every run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bitquant as bq
import reference
from judging import NAMES

FLOATS = [fmt.name for fmt in bq.formats() if not fmt.is_integer]
SYMMETRIC = ["nearest_even", "nearest_away", "toward_zero", "to_odd"]
PAIRS = list(itertools.product(FLOATS, NAMES))
few = settings(max_examples=20)  # for each pair of formats


def codes_of(name, kinds=("finite", "infinity")):
    """Draw codes of a format, oftener near the places where something happens."""
    fmt, judge = bq.format(name), reference.FORMATS[name]
    anywhere = st.integers(0, 2**fmt.bits - 1)
    if fmt.is_integer:
        return anywhere
    signs = st.sampled_from([0, judge.sign_bit])
    near = st.builds(
        lambda place, step, sign: sign | min(max(place + step, 0), judge.infinity),
        st.sampled_from(sorted(reference.edge_places(judge))),
        st.integers(-3, 3),
        signs,
    )
    # Few digits set: ties of every narrower format.
    ties = st.builds(
        lambda field, digits, sign: sign | field << judge.significand_bits | sum({1 << digit for digit in digits}),
        st.integers(0, (1 << judge.exponent_bits) - 2),
        st.lists(st.integers(0, judge.significand_bits - 1), max_size=3),
        signs,
    )
    return st.one_of(anywhere, near, ties).filter(lambda code: reference.decode(code, judge).kind in kinds)


def encode(codes, source, target, **rules):
    """Convert codes to codes; NaN cannot occur."""
    fmt = bq.format(source)
    return bq.encode(np.array(codes, fmt.code_dtype), target, source, **rules).tolist()


def place(code, name):
    """Return the place of a code in the ordered list of its format."""
    return reference.ordered(code, reference.FORMATS[name])


def value(code, name):
    """Return the exact value of a code, with plus and minus infinity beyond everything."""
    number = reference.decode(code, reference.FORMATS[name])
    if number.kind == "infinity":
        return reference.Fraction((-1) ** number.sign * 2**5000)
    return number.fraction


@pytest.mark.parametrize(("source", "target"), PAIRS)
@few
@given(data=st.data(), rounding=st.sampled_from(reference.ROUNDINGS))
def test_conversion_is_monotone(source, target, data, rounding):
    codes = data.draw(st.lists(codes_of(source), min_size=2, max_size=30))
    codes.sort(key=lambda code: value(code, source))
    for rules in ({}, {"overflow": "saturate"}):
        places = [place(code, target) for code in encode(codes, source, target, rounding=rounding, **rules)]
        assert places == sorted(places)


@pytest.mark.parametrize("source", [name for name in NAMES if name != "tfloat32"])
@few
@given(data=st.data(), rounding=st.sampled_from(reference.ROUNDINGS), again=st.sampled_from(reference.ROUNDINGS))
def test_rounding_a_second_time_changes_nothing(source, data, rounding, again):
    target = data.draw(
        st.sampled_from([name for name in NAMES if bq.format(name).precision <= bq.format(source).precision])
    )
    fmt = bq.format(source)
    codes = data.draw(st.lists(codes_of(source), min_size=1, max_size=10))
    x = np.array(codes, fmt.code_dtype).view(fmt.dtype)
    try:
        once = bq.round_to(x, target, rounding=rounding)
    except bq.BitquantError:  # a rounded number that the source's format lacks
        return
    flags = bq.Flags()
    twice = bq.round_to(once, target, rounding=again, flags=flags)
    assert twice.tobytes() == once.tobytes()
    saturated = bq.format(target).is_integer
    assert saturated or flags.inexact == flags.overflow == flags.underflow == 0


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[1] != "uint8"])
@few
@given(data=st.data(), rounding=st.sampled_from(SYMMETRIC))
def test_symmetric_modes_treat_both_signs_alike(source, target, data, rounding):
    codes = data.draw(st.lists(codes_of(source), min_size=1, max_size=20))
    sign = reference.FORMATS[source].sign_bit
    ours = [place(code, target) for code in encode(codes, source, target, rounding=rounding)]
    negated = [
        place(code, target) for code in encode([code ^ sign for code in codes], source, target, rounding=rounding)
    ]
    if bq.format(target).is_integer:  # which has one number more below zero than above
        ours, negated = ([min(max(p, -127), 127) for p in places] for places in (ours, negated))
    assert negated == [-p for p in ours]


@pytest.mark.parametrize(("source", "target"), list(itertools.product(FLOATS, FLOATS)))
@few
@given(data=st.data())
def test_directed_modes_mirror_each_other(source, target, data):
    codes = data.draw(st.lists(codes_of(source), min_size=1, max_size=20))
    mirrored = [code ^ reference.FORMATS[source].sign_bit for code in codes]
    sign = reference.FORMATS[target].sign_bit
    up = encode(codes, source, target, rounding="toward_positive")
    down = encode(mirrored, source, target, rounding="toward_negative")
    assert up == [code ^ sign for code in down]


@pytest.mark.parametrize(("source", "target"), PAIRS)
@few
@given(data=st.data())
def test_every_mode_gives_one_of_the_two_neighbours_or_the_number_itself(source, target, data):
    codes = data.draw(st.lists(codes_of(source, ("finite",)), min_size=1, max_size=10))
    judge = reference.FORMATS[target]
    below = encode(codes, source, target, rounding="toward_negative")
    above = encode(codes, source, target, rounding="toward_positive")
    results = [encode(codes, source, target, rounding=rounding) for rounding in reference.ROUNDINGS]
    for k, code in enumerate(codes):
        exact = value(code, source)
        low, high = value(below[k], target), value(above[k], target)
        if judge.kind == "integer" and not judge.low <= exact <= judge.high:
            assert low == high == (judge.low if exact < judge.low else judge.high)
        else:
            assert low <= exact <= high
        assert place(above[k], target) - place(below[k], target) == (low != high)
        assert {result[k] for result in results} <= {below[k], above[k]}


@pytest.mark.parametrize(("source", "target"), PAIRS)
@few
@given(data=st.data())
def test_nearest_modes_give_the_nearer_neighbour(source, target, data):
    code = data.draw(codes_of(source, ("finite",)))
    exact = value(code, source)
    judge = reference.FORMATS[target]
    ends = (judge.low, judge.high) if judge.kind == "integer" else (-bq.format(target).max, bq.format(target).max)
    if not ends[0] <= exact <= ends[1]:
        return
    gaps = {}
    for rounding in reference.ROUNDINGS:
        (result,) = encode([code], source, target, rounding=rounding)
        gaps[rounding] = abs(value(result, target) - exact)
    assert gaps["nearest_even"] == gaps["nearest_away"] == min(gaps.values())


def holds(inner, outer):
    """Tell whether every value of a format is one of another: precision, largest and smallest number."""
    inner, outer = bq.format(inner), bq.format(outer)
    smallest = inner.smallest_subnormal >= outer.smallest_subnormal
    return inner.precision <= outer.precision and inner.max <= outer.max and smallest


@pytest.mark.parametrize(("inner", "outer"), [pair for pair in itertools.product(NAMES, FLOATS) if holds(*pair)])
@few
@given(data=st.data(), rounding=st.sampled_from(reference.ROUNDINGS))
def test_a_number_that_the_target_holds_is_exact(inner, outer, data, rounding):
    codes = data.draw(st.lists(codes_of(inner), min_size=1, max_size=20))
    flags = bq.Flags()
    there = encode(codes, inner, outer, rounding=rounding, flags=flags)
    assert [value(code, outer) for code in there] == [value(code, inner) for code in codes]
    assert encode(there, outer, inner, rounding=rounding, flags=flags) == codes
    assert flags == bq.Flags()


@pytest.mark.parametrize("target", ["float16", "bfloat16", "tfloat32"])
@few
@given(data=st.data(), rounding=st.sampled_from(reference.ROUNDINGS))
def test_rounding_to_odd_in_between_is_harmless(target, data, rounding):
    """With two digits more than the target: Boldo and Melquiond, IEEE Trans. Computers 57(4), 2008."""
    codes = data.draw(st.lists(codes_of("float64"), min_size=1, max_size=20))
    between = encode(codes, "float64", "float32", rounding="to_odd")
    assert encode(between, "float32", target, rounding=rounding) == encode(codes, "float64", target, rounding=rounding)


# float64 just above or below a tie of the target, by less than float32 can tell.
@pytest.mark.parametrize(
    ("target", "tie", "up"),
    [("bfloat16", 1 + 2.0**-8, 0x3F81), ("float16", 1 + 2.0**-11, 0x3C01), ("float16", 65520.0, 0x7C00),
     ("float16", 2.0**-25, 0x0001), ("tfloat32", 1 + 2.0**-11, 0x1FC01), ("bfloat16", 2.0**-134, 0x0001)],
)  # fmt: skip
def test_float64_rounds_once(target, tie, up):
    """The value above the tie goes up; by way of float32 it would be a tie, which some of these lose."""
    above, below = np.nextafter(tie, np.inf), np.nextafter(tie, 0.0)
    assert np.float32(above) == np.float32(below) == tie
    assert [int(bq.encode(x, target)) for x in (above, below)] == [up, up - 1]
    twice = [int(bq.encode(np.float32(x), target)) for x in (above, below)]
    assert twice != [up, up - 1]


@example(x=1 + 2**-8 + 2**-40)
@given(x=st.floats(allow_nan=False, allow_infinity=False))
def test_float64_to_bfloat16_is_the_nearest_number_and_not_the_nearest_of_the_nearest(x):
    code = int(bq.encode(x, "bfloat16"))
    (judged, _) = reference.convert(int(np.float64(x).view(np.uint64)), reference.FLOAT64, reference.BFLOAT16)
    assert code == judged


@given(
    codes=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40),
    rounding=st.sampled_from(reference.ROUNDINGS),
)
def test_a_number_is_converted_alike_alone_and_in_company(codes, rounding):
    together = encode(codes, "float32", "float16", rounding=rounding)
    alone = [encode([code], "float32", "float16", rounding=rounding)[0] for code in codes]
    assert together == alone
