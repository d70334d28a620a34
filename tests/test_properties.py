"""Laws that every conversion keeps, whatever the numbers: drawn by hypothesis, the same on every run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bitquant as bq
import reference
from judging import judge_of, ours_of

# Of every kind: with and without infinity, NaN, sign, zero and subnormals; integers; a codebook.
FLOATS = [
    *("float64", "float32", "bfloat16", "float8_e4m3", "float8_e4m3fn", "float8_e5m2fnuz", "float4_e2m1fn"),
    *("float8_e8m0fnu", "binary8p3se", "binary6p1uf", "binary8p4ue", "exmy(3, 0, nan=None)"),
]
OTHERS = ["int8", "uint4", "int64", "nf4"]
PAIRS = [("float64", target) for target in FLOATS + OTHERS]
PAIRS += [("float32", target) for target in ("float64", "bfloat16", "float8_e5m2fnuz", "binary6p1uf", "int8", "nf4")]
PAIRS += [("bfloat16", "float8_e8m0fnu"), ("float8_e8m0fnu", "bfloat16"), ("binary8p3se", "float8_e4m3fn")]
PAIRS += [("int64", "float32"), ("int16", "nf4"), ("uint64", "int8"), ("uneven", "float8_e5m2fnuz"), ("nf4", "uneven")]
SYMMETRIC = ["nearest_even", "nearest_away", "toward_zero", "to_odd"]
SIGNED_PAIRS = [
    (source, target)
    for source, target in PAIRS
    if judge_of(source).kind == "float" and judge_of(source).signed and judge_of(target).signed
    if judge_of(target).kind != "codebook"
]
few = settings(max_examples=7)  # for each pair of formats


def codes_of(name, kinds=("finite", "infinity")):
    """Draw codes of a format, oftener near the places where something happens."""
    judge = judge_of(name)
    draws = [st.integers(0, judge.code_count - 1)]
    if judge.kind != "codebook":
        signs, edges = st.sampled_from([1, -1]), st.sampled_from(sorted(reference.edge_places(judge)))
        near = st.builds(lambda place, step, sign: sign * (place + step), edges, st.integers(-3, 3), signs)
        draws.append(near.map(lambda place: reference.code_at(place, judge)))
    if judge.significand_bits:  # few digits set: ties of every narrower format
        ties = st.builds(
            lambda field, digits, sign: (
                sign * (field << judge.significand_bits | sum({1 << digit for digit in digits}))
            ),
            st.integers(0, (1 << judge.exponent_bits) - 1),
            st.lists(st.integers(0, judge.significand_bits - 1), max_size=3),
            signs,
        )
        draws.append(ties.map(lambda place: reference.code_at(place, judge)))
    return st.one_of(draws).filter(lambda code: reference.decode(code, judge).kind in kinds)


def encode(codes, source, target, **rules):
    """Convert codes to codes; NaN cannot occur."""
    fmt = ours_of(source)
    return bq.encode(np.array(codes, fmt.code_dtype), ours_of(target), fmt, **rules).tolist()


def place(code, name):
    """Return the place of a code in the ordered list of its format."""
    return reference.ordered(code, judge_of(name))


def value(code, name):
    """Return the exact value of a code, with plus and minus infinity beyond everything."""
    number = reference.decode(code, judge_of(name))
    if number.kind == "infinity":
        return reference.Fraction((-1) ** number.sign * 2**5000)
    return number.fraction


def negated(code, name):
    """Return the code of the number, or of the NaN, of the other sign."""
    judge = judge_of(name)
    if code in (0, judge.sign_bit) and judge.nan == "negative_zero":
        return code
    return code ^ judge.sign_bit


def overflows(name):
    """Return the overflow rules that give a number for every number."""
    judge = judge_of(name)
    return ["saturate", None] if judge.kind != "float" or (judge.has_infinity and judge.signed) else ["saturate"]


@pytest.mark.parametrize(("source", "target"), PAIRS)
@few
@given(data=st.data(), rounding=st.sampled_from(reference.ROUNDINGS))
def test_conversion_is_monotone(source, target, data, rounding):
    codes = data.draw(st.lists(codes_of(source), min_size=2, max_size=30))
    codes.sort(key=lambda code: value(code, source))
    for overflow in overflows(target):
        places = [place(code, target) for code in encode(codes, source, target, rounding=rounding, overflow=overflow)]
        assert places == sorted(places)


@pytest.mark.parametrize(
    "source", ["float64", "float32", "float16", "float8_e4m3fn", "float4_e2m1fn", "int16", "uint64"]
)
@few
@given(data=st.data(), rounding=st.sampled_from(reference.ROUNDINGS), again=st.sampled_from(reference.ROUNDINGS))
def test_rounding_a_second_time_changes_nothing(source, data, rounding, again):
    target = data.draw(st.sampled_from([*FLOATS, *OTHERS, "int4"]))
    fmt = ours_of(source)
    codes = data.draw(st.lists(codes_of(source), min_size=1, max_size=10))
    x = np.array(codes, fmt.code_dtype).view(fmt.dtype)
    try:
        once = bq.round_to(x, ours_of(target), rounding=rounding)
    except bq.BitquantError:  # a rounded number that the source's format lacks
        return
    flags = bq.Flags()
    twice = bq.round_to(once, ours_of(target), rounding=again, flags=flags)
    assert twice.tobytes() == once.tobytes()
    assert flags == bq.Flags()


@pytest.mark.parametrize(("source", "target"), SIGNED_PAIRS)
@few
@given(data=st.data(), rounding=st.sampled_from(SYMMETRIC))
def test_symmetric_modes_treat_both_signs_alike_where_there_are_two(source, target, data, rounding):
    codes = data.draw(st.lists(codes_of(source), min_size=1, max_size=20))
    judge = judge_of(target)
    for overflow in overflows(target):
        rules = {"rounding": rounding, "overflow": overflow}
        ours = [place(code, target) for code in encode(codes, source, target, **rules)]
        others = [negated(code, source) for code in codes]
        mirrored = [place(code, target) for code in encode(others, source, target, **rules)]
        if judge.kind == "integer":  # which has one number more below zero than above
            ours, mirrored = ([max(p, -judge.high) for p in places] for places in (ours, mirrored))
        assert mirrored == [-p for p in ours]


@pytest.mark.parametrize(
    ("source", "target"),
    [pair for pair in SIGNED_PAIRS if judge_of(pair[0]).signed_zero and judge_of(pair[1]).kind == "float"],
)
@few
@given(data=st.data())
def test_directed_modes_to_a_signed_float_mirror_each_other(source, target, data):
    codes = data.draw(st.lists(codes_of(source), min_size=1, max_size=20))
    mirrored = [negated(code, source) for code in codes]
    for overflow in ("ieee", "saturate"):
        up = encode(codes, source, target, rounding="toward_positive", overflow=overflow)
        down = encode(mirrored, source, target, rounding="toward_negative", overflow=overflow)
        assert up == [negated(code, target) for code in down]


def ends(name):
    """Return the lowest and the highest finite value."""
    judge = judge_of(name)
    if judge.kind == "integer":
        return reference.Fraction(judge.low), reference.Fraction(judge.high)
    if judge.kind == "codebook":
        return judge.values[0], judge.values[-1]
    high = reference.value_at(judge.largest, judge)
    return (-high if judge.signed else reference.value_at(0, judge)), high


@pytest.mark.parametrize(("source", "target"), PAIRS)
@few
@given(data=st.data())
def test_every_mode_gives_one_of_the_two_neighbours_or_the_number_itself(source, target, data):
    codes = data.draw(st.lists(codes_of(source, ("finite",)), min_size=1, max_size=10))
    least, most = ends(target)
    below, above, *results = (
        encode(codes, source, target, rounding=rounding, overflow="saturate")
        for rounding in ("toward_negative", "toward_positive", *reference.ROUNDINGS)
    )
    for k, code in enumerate(codes):
        exact = value(code, source)
        low, high = value(below[k], target), value(above[k], target)
        if least <= exact <= most:
            assert low <= exact <= high
        else:
            assert low == high == (least if exact < least else most)
        assert place(above[k], target) - place(below[k], target) == (low != high)
        assert {result[k] for result in results} <= {below[k], above[k]}


@pytest.mark.parametrize(("source", "target"), PAIRS)
@few
@given(data=st.data())
def test_nearest_modes_give_the_nearer_neighbour(source, target, data):
    codes = data.draw(st.lists(codes_of(source, ("finite",)), min_size=1, max_size=10))
    results = [
        encode(codes, source, target, rounding=rounding, overflow="saturate") for rounding in reference.ROUNDINGS
    ]
    for k, code in enumerate(codes):
        gaps = [abs(value(result[k], target) - value(code, source)) for result in results]
        assert gaps[0] == gaps[1] == min(gaps)


HOLDING = ["float64", "float32", "float16", "float8_e4m3fn", "float8_e5m2fnuz", "int32", "uint64", "binary12p1se"]
HELD = [*FLOATS, *OTHERS, "float6_e2m3fn", "int2", "uint8", "uneven", "exmy(2, 3, infinity=True, nan=None)"]


def exactly(inner, outer):
    """Tell whether a format has every number of another, −0 too."""
    inner, outer = ours_of(inner), ours_of(outer)
    return outer.contains(inner) and outer.signed_zero >= inner.signed_zero


@pytest.mark.parametrize(("inner", "outer"), [pair for pair in itertools.product(HELD, HOLDING) if exactly(*pair)])
@few
@given(data=st.data(), rounding=st.sampled_from(reference.ROUNDINGS))
def test_a_number_that_the_target_holds_is_exact(inner, outer, data, rounding):
    codes = data.draw(st.lists(codes_of(inner), min_size=1, max_size=20))
    flags = bq.Flags()
    there = encode(codes, inner, outer, rounding=rounding, flags=flags)
    assert [value(code, outer) for code in there] == [value(code, inner) for code in codes]
    assert encode(there, outer, inner, rounding=rounding, flags=flags) == codes
    assert flags == bq.Flags()


@pytest.mark.parametrize(
    "target", ["float16", "bfloat16", "tfloat32", "float8_e4m3fn", "float8_e8m0fnu", "binary8p1se"]
)
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
