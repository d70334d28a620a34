"""The proof: the kernels' algorithm does what SMT-LIB says a conversion is, for every input at once.

A solver is asked for an input of FP32 or FP64 for which the steps of steps.py, run on the numbers that a plan hands to
its kernel, give another code or other flags than the definition of proof.py. It finds none. Three things keep that from
being empty: steps.py gives what the compiled kernels give, at boundary codes; a mutant of each step is refuted; and the
input that refutes it is judged by the reference.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from functools import cache
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

import bitquant as bq
import reference
from bitquant import plans, stages
from steps import (
    FP32,
    FP64,
    MODES,
    FromWhole,
    Inside,
    Int,
    Narrowing,
    Proposal,
    ToInteger,
    Unbound,
    WholeToCodes,
    at_least,
    at_most,
    bits_of,
    smaller,
)

P3109 = [  # K, P, signed, extended
    (3, 1, True, True), (6, 1, False, False), (8, 1, True, True), (8, 3, True, False), (8, 4, False, True),
    (8, 7, True, True), (12, 1, True, True), (15, 15, False, True), (16, 11, True, False),
]  # fmt: skip
CUSTOM = [  # e, m, bias, signed, infinity, nan
    (6, 9, 31, True, True, "ieee"),
    (5, 14, 15, True, True, "ieee"),  # words of 32 bits from float32
    (5, 6, -103, True, True, "ieee"),  # as far up as fixed point lifts
    (4, 10, 102, True, True, "ieee"),  # and as far down
    (3, 4, 99, True, True, "ieee"),  # the same in bytes
    (3, 4, 127, True, True, "ieee"),  # with the bias of float32
    (3, 0, 3, True, False, None),  # one digit, ties as IEEE 754 has them
    (3, 0, 3, False, True, None),
    (4, 0, 7, True, True, "negative_zero"),
    (4, 2, 7, False, True, "ieee"),  # unsigned
    (1, 4, 0, False, False, None),
    (2, 3, 1, True, True, None),  # infinity and no NaN
    (5, 10, 15, True, True, "all_ones"),
    (3, 2, 200, True, True, "ieee"),  # below float32
    (2, 4, 1024, True, False, "all_ones"),
    (2, 2, 1060, True, True, "negative_zero"),  # the subnormals of float64
    (3, 3, -1000, True, False, "negative_zero"),  # far above it
    (4, 27, 1022, True, True, "ieee"),  # the most digits in a 32-bit lane
    (4, 26, 1023, True, True, "ieee"),  # and the lowest bias
    (5, 30, -10, True, True, "ieee"),  # integers are subnormal
    (8, 31, 127, True, True, "ieee"),  # 40 bits
    (10, 52, 511, True, True, "negative_zero"),  # 63 bits, as many digits as float64
]


def formats():
    """Every floating format of the table, of P3109 and custom ones: the format, and the reference's."""
    pairs = [(bq.format(name), judge) for name, judge in reference.FORMATS.items() if judge.kind == "float"]
    for width, precision, signed, extended in P3109:
        judge = reference.p3109(width, precision, signed, extended)
        pairs.append((bq.format(judge.name), judge))
    for e, m, bias, signed, infinity, nan in CUSTOM:
        judge = reference.exmy(e, m, bias, signed, infinity, nan)
        pairs.append((bq.exmy(e, m, bias=bias, signed=signed, infinity=infinity, nan=nan), judge))
    return {ours.name: (ours, judge) for ours, judge in pairs}


FLOATS = formats()
SHORT = [
    name for name, (fmt, _) in FLOATS.items() if fmt.bits <= 16 and stages.carries(bq.FP32, bq.FP32, fmt) and fmt.zero
]
INTEGERS = {name: (bq.format(name), judge) for name, judge in reference.FORMATS.items() if judge.kind == "integer"}
BOTH = FLOATS | INTEGERS
WORDS = "exmy(5, 14)"  # the finite path from float32; float16 and narrower formats have the other one
DEEP = "exmy(2, 2, bias=1060, infinity=True, nan='negative_zero')"
LONG = ["float64", "exmy(8, 31)", "exmy(10, 52, infinity=True, nan='negative_zero')", "exmy(5, 30, bias=-10)"]
FLAG_BITS = {"invalid": 1, "overflow": 2, "underflow": 4, "inexact": 8}
IEEE_MODES = MODES[:-1]
NAMED = ["float16", "bfloat16", "float8_e5m2", "float8_e4m3", "tfloat32", "exmy(6, 9)", "float32"]  # SMT-LIB has these


@cache
def row_of(source, target, rounding="nearest_even", overflow=None, tininess="after", counted=False, wide=False):
    """The numbers that a plan hands to the kernel that rounds; `wide` asks for 64-bit lanes."""
    seen = {}

    def recording(made):
        def make(*sizes, **numbers):
            seen[made] = sizes[:2], numbers
            return made(*sizes, **numbers)

        return make

    kernels = {made.__name__: recording(made) for made in (stages.Narrow, stages.ToInteger, stages.FromWhole)}
    source, fmt = bq.format(source), BOTH[target][0]
    with mock.patch.multiple(stages, **kernels):
        if wide:
            stages.narrow(bq.FP64, fmt, bq.FP64, stages.Rules.of(fmt, rounding, overflow, None, "gradual", tininess), 8)
        else:
            plans.conversion.__wrapped__(source, fmt, rounding, overflow, None, "gradual", tininess, counted)
    rows = {}
    for made, (sizes, numbers) in seen.items():
        numbers = {name: as_c(value) for name, value in numbers.items()}
        numbers["mode"] = (*MODES, "stochastic")[numbers["mode"]]
        numbers["offset"] = int(not fmt.zero)
        numbers["source_size"], numbers["target_size"] = sizes or (8, 8)
        rows[made] = SimpleNamespace(**numbers)
    return rows


def narrow_row(*arguments, **rules):
    """The numbers of the narrowing kernel."""
    return row_of(*arguments, **rules)[stages.Narrow]


def as_c(value):
    """A bool as the number that C makes of it, in pairs too."""
    if isinstance(value, tuple):
        return tuple(map(as_c, value))
    return int(value) if isinstance(value, bool) else value


def rounding_of(mode):
    """The mode's name, and what both sides need where it is a stochastic one, (bits, variant)."""
    if isinstance(mode, str):
        return mode, mode, None
    bits, variant = mode
    return bq.Stochastic(bits, variant=variant), "stochastic", {"bits": bits, "variant": variant}


# --- The claims -----------------------------------------------------------------------------------------------


def narrowing(
    proof, source, target, mode, overflow="ieee", tininess="after", counted=True, wide=False, model=Narrowing, **changes
):
    """Code and flags are those of docs/semantics.md."""
    rounding, name, chance = rounding_of(mode)
    row = narrow_row(source, target, rounding, overflow, tininess, counted, wide)
    row = SimpleNamespace(**vars(row) | changes)
    ask, judge = proof.Question(), FLOATS[target][1]
    bits, number, sort = ask.any_number(FP32 if row.source_size == 4 else FP64)
    meant = proof.ToFormat(ask, number, sort, judge, name, overflow, tininess, chance)
    steps = model(row)
    code, flags = steps.run(bits, meant.random and meant.random.to(steps.lane))
    claim = code.to(proof.WIDE).equals(meant.code) & (flags.equals(meant.flags) | (not counted))
    return ask, claim, steps


def fp_to_fp(proof, source, target, mode, wide=False, model=Narrowing, **changes):
    """The code is that of SMT-LIB's own conversion."""
    row = SimpleNamespace(**vars(narrow_row(source, target, mode, counted=True, wide=wide)) | changes)
    ask, steps = proof.Question(), model(row)
    bits, number, _ = ask.any_number(FP32 if row.source_size == 4 else FP64)
    code, _ = steps.run(bits)
    return ask, proof.is_fp_to_fp(ask, code, number, FLOATS[target][1], mode), steps


def to_integer(proof, source, target, mode, overflow="saturate", model=ToInteger, **changes):
    """Code and flags are those of docs/semantics.md."""
    rounding, name, chance = rounding_of(mode)
    row = SimpleNamespace(**vars(row_of(source, target, rounding, overflow, counted=True)[stages.ToInteger]) | changes)
    ask = proof.Question()
    bits, number, sort = ask.any_number(FP32 if row.source_size == 4 else FP64)
    meant = proof.ToRange(ask, number, sort, INTEGERS[target][1], name, overflow, chance)
    steps = model(row)
    code, flags = steps.run(bits, meant.random and meant.random.to(bits.width))
    return ask, code.to(meant.code.width).equals(meant.code) & flags.equals(meant.flags), steps


def steps_from_integer(rows, signed, model=None):
    """The steps from an integer of 64 bits: to a format at once, or first to FP64, and then maybe on."""
    if stages.FromWhole not in rows:
        return (model or WholeToCodes)(rows[stages.Narrow], int(signed)), None
    second = Narrowing(rows[stages.Narrow]) if stages.Narrow in rows else None
    return (model or FromWhole)(rows[stages.FromWhole]), second


def from_integer(proof, source, target, mode, model=None):
    """Code and flags are those of docs/semantics.md."""
    rounding, name, chance = rounding_of(mode)
    rows, judge = row_of(source, target, rounding, counted=True), FLOATS[target][1]
    ask, signed = proof.Question(), source == "int64"
    integer = ask.any("source", 64)
    meant = proof.ToFormat(ask, *proof.real_of(ask, integer, signed), judge, name, chance=chance)
    random = meant.random and meant.random.to(64)
    steps, second = steps_from_integer(rows, signed, model)
    code, flags = steps.run(integer, random)
    if second:
        code, flags = second.run(code)
    return ask, code.to(proof.WIDE).equals(meant.code) & flags.equals(meant.flags), steps


def proposal(proof, source, target, mode, model=Proposal):
    """What a number proposes beyond doubt is what the integers decide, whatever state the FPU is in."""
    row = row_of(source, target, mode)[stages.ToInteger]
    ask, steps = proof.Question(), model(row)
    bits = ask.any("source", steps.carrier.width)  # NaN, too: it is never beyond doubt
    sure, code = steps.proposed(bits)
    decided, _ = steps.run(bits)
    return ask, ~sure | code.equals(decided), steps


def inside(proof, target, mode, model=Inside):
    """What a FP64 number below 2^61 becomes is what the special cases make of it."""
    ask, steps = proof.Question(), model(row_of("float64", target, mode)[stages.ToInteger])
    bits = ask.any("source", 64)  # NaN, too: it is not inside
    is_inside, code = steps.inside(bits)
    decided, _ = steps.run(bits)
    return ask, ~is_inside | code.equals(decided), steps


def ordinary(proof, source, target, mode, counted, model=Narrowing, **changes):
    """Where a number is ordinary, the short path writes what the finite path writes."""
    row = SimpleNamespace(**vars(narrow_row(source, target, mode, counted=counted)) | changes)
    ask, steps = proof.Question(), model(row)
    bits = ask.any("source", steps.carrier.width)  # NaN, too: it is not ordinary
    is_ordinary, code, flags = steps.ordinary(bits)
    whole, whole_flags = steps.run(bits)
    same = steps.shrunk(code.to(steps.lane)).equals(whole) & (flags.equals(whole_flags) | (not counted))
    return ask, ~is_ordinary | same, steps


def assert_proved(question):
    """Fail with the input for which the claim does not hold."""
    ask, claim, _ = question
    found = ask.refute(claim)
    if found is not None:
        pytest.fail(f"refuted by {', '.join(f'{name} {value:#x}' for name, value in found.items())}")


# --- The steps are the kernels' -------------------------------------------------------------------------------


def edges(source, aim):
    """Codes of FP32 or FP64 next to which a conversion to a format changes its mind, zeros and infinities."""
    half = Fraction(1, 2)
    if aim.kind == "integer":
        values = [half, 1 + half, 2 + half, 3, aim.high - half, aim.high + half, half - aim.low, 3 << aim.bits, 1 << 70]
    else:
        least, normal = reference.value_at(int(aim.has_zero), aim), Fraction(2) ** aim.emin
        middle, largest = (reference.value_at(place, aim) for place in (aim.largest // 2, aim.largest))
        ulp, last = reference.spacing(middle, aim), reference.spacing(largest, aim)
        values = [least * half, least, least * 3 / 2, normal - least * half, normal - least / 4, normal]
        values += [middle + ulp * half, middle + ulp * 3 / 2, largest, largest + last * half, largest + last]
    codes = {0, 1, source.infinity}
    for value in values:
        code, _ = reference.convert_to_float(reference.as_number(value), source, "toward_zero")
        codes |= {max(code - 1, 0), code, code + 1}
    codes = {code for code in codes if code <= source.infinity}
    return sorted(codes | {code | source.sign_bit for code in codes})


def kernel(codes, source, target, **rules):
    """What the compiled kernels give: codes, and flags as a mask."""
    flags = bq.Flags(record=True)
    x = np.array(codes, f"u{bq.format(source).bits // 8}").view(source)
    return bq.encode(x, BOTH[target][0], flags=flags, **rules).tolist(), flags.mask.tolist()


def run(steps, code, random=None, word=Int):
    """What the steps give for one input, as ints; the carrier is at least as wide as the source."""
    width = steps.carrier.width if hasattr(steps, "carrier") else 64
    lane = getattr(steps, "lane", width)
    given, flags = steps.run(word(code, width), None if random is None else word(random, lane))
    return given.value, flags.value


def carried(codes, source, carrier):
    """FP32 codes in the carrier that a plan takes for them, which holds every number of theirs."""
    if source == "float64" or carrier is FP32:
        return codes
    return np.array(codes, np.uint32).view(np.float32).astype(np.float64).view(np.uint64).tolist()


@pytest.mark.parametrize("target", BOTH)
def test_steps_are_those_of_the_kernels(target):
    fmt, aim = BOTH[target]
    both = itertools.product(("float32", "float64"), (*MODES, (3, "B"), (32, "C")))
    for place, (source, mode) in enumerate(both):
        rounding, name, chance = rounding_of(mode)
        codes = edges(reference.FORMATS[source], aim)
        randoms = [None] * len(codes)
        if chance:
            draw = np.random.default_rng(place)
            drawn = draw.integers(0, 1 << chance["bits"], len(codes), np.uint32, endpoint=False)
            rounding, randoms = bq.Stochastic(chance["bits"], variant=chance["variant"], random=drawn), drawn.tolist()
        plain = chance and bq.Stochastic(chance["bits"], variant=chance["variant"])
        (row,) = row_of(source, target, plain or rounding, counted=True).values()
        steps = (Narrowing if fmt.is_float else ToInteger)(row)
        words = carried(codes, source, steps.carrier)
        mine = [run(steps, code, random) for code, random in zip(words, randoms, strict=True)]
        assert list(zip(*kernel(codes, source, target, rounding=rounding), strict=True)) == mine, (source, name)


@pytest.mark.parametrize("target", SHORT)
@pytest.mark.parametrize("mode", [(3, "B"), (24, "A"), (32, "C")], ids=str)
def test_stochastic_steps_that_count_nothing_are_those_of_the_kernels(target, mode):
    """At random integers, too, with which everything below the last kept bit is ones, or just not."""
    rounding, _, chance = rounding_of(mode)
    steps = Narrowing(row_of("float32", target, rounding)[stages.Narrow])
    judge = FLOATS[target][1]
    pairs = []
    for code in edges(reference.FLOAT32, judge):
        bits, cut = chance["bits"], steps.gradual_cut()
        fixed = steps.fixed(smaller(Int(code & 0x7FFFFFFF, 32), Int(steps.row.limit, 32))).value
        ones = (~fixed & ((1 << cut) - 1)) << max(bits - cut, 0) >> max(cut - bits, 0)
        below = (1 << max(bits - cut, 0)) - 1
        pairs += [(code, random) for random in (0, ones, ones | below, max(ones - 1, 0), (1 << bits) - 1)]
    rounding = bq.Stochastic(chance["bits"], variant=chance["variant"], random=[random for _, random in pairs])
    x = np.array([code for code, _ in pairs], np.uint32).view(np.float32)
    given = bq.encode(x, FLOATS[target][0], rounding=rounding).tolist()
    assert given == [run(steps, *pair)[0] for pair in pairs]
    right = [reference.Stochastic(chance["bits"], random, chance["variant"]) for _, random in pairs]
    codes = [code for code, _ in pairs]
    judged = (reference.convert(c, reference.FLOAT32, judge, rounding=r)[0] for c, r in zip(codes, right, strict=True))
    assert given == list(judged)


@pytest.mark.parametrize("target", FLOATS)
def test_ordinary_steps_are_those_of_the_kernels(target):
    fmt, aim = FLOATS[target]
    for source, mode in itertools.product(("float32", "float64"), MODES):
        row = row_of(source, target, mode).get(stages.Narrow)
        if row is None or not row.ordinary_end:
            continue
        steps = Narrowing(row)
        codes = edges(reference.FORMATS[source], aim)
        words = [Int(code, steps.carrier.width) for code in carried(codes, source, steps.carrier)]
        given = {code: steps.ordinary(word) for code, word in zip(codes, words, strict=True)}
        mine = {code: result.value for code, (is_ordinary, result, _) in given.items() if is_ordinary.value}
        assert mine or source == "float32"  # which may have no number of the format's range
        x = np.array(list(mine), f"u{bq.format(source).bits // 8}").view(source)  # one run, all of it ordinary
        assert bq.encode(x, fmt, rounding=mode).tolist() == list(mine.values()), (source, mode)


@pytest.mark.parametrize("target", ["int2", "int8", "uint16", "int32"])
@pytest.mark.parametrize("mode", MODES)
def test_proposals_are_those_of_the_kernels(target, mode):
    for source in carried_by(target):
        steps = Proposal(row_of(source, target, mode)[stages.ToInteger])
        given = {}
        for code in edges(reference.FORMATS[source], BOTH[target][1]) if steps.hopeful() else ():
            sure, proposed = steps.proposed(Int(code, steps.carrier.width))
            if sure.value:
                given[code] = proposed.value
        assert given or not steps.hopeful()
        x = np.array(list(given), f"u{bq.format(source).bits // 8}").view(source)  # one run, all of it beyond doubt
        assert bq.encode(x, target, rounding=mode).tolist() == list(given.values())


@pytest.mark.parametrize("target", ["int64", "uint64"])
@pytest.mark.parametrize("mode", MODES)
def test_steps_inside_64_bits_are_those_of_the_kernels(target, mode):
    steps = Inside(row_of("float64", target, mode)[stages.ToInteger])
    assert steps.hopeful()
    places = [bits_of(2.0**k + part, 64) for k in range(63) for part in (0, 0.5, 1.5)]
    places = {(place + step) | sign for place in places for step in (-1, 0, 1) for sign in (0, 1 << 63)}
    places |= set(edges(reference.FORMATS["float64"], BOTH[target][1]))
    given = {code: steps.inside(Int(code, 64)) for code in sorted(places)}
    mine = {code: result.value for code, (is_inside, result) in given.items() if is_inside.value}
    assert len(mine) < len(given)
    x = np.array(list(mine), np.uint64).view(np.float64)  # runs, all of them inside
    assert bq.encode(x, target, rounding=mode).tolist() == list(mine.values())


@pytest.mark.parametrize("source", ["int64", "uint64"])
@pytest.mark.parametrize("target", ["float64", "float16", "exmy(8, 31)", "exmy(5, 30, bias=-10)", "float8_e8m0fnu"])
def test_steps_from_integers_are_those_of_the_kernels(source, target):
    places = {1 << 63} | {(1 << k) + (1 << k >> digits) for k in range(0, 64, 3) for digits in (11, 32, 53, 64)}
    codes = sorted({(place + step) % (1 << 64) for place in places for step in (-1, 0, 1)})
    x = np.array(codes, np.uint64).view(source)
    for mode in (*MODES, (9, "C"), (32, "A")):
        rounding, _, chance = rounding_of(mode)
        first, second = steps_from_integer(row_of(source, target, rounding, counted=True), source == "int64")
        randoms = [None] * len(codes)
        if chance:
            randoms = [code * 0x9E3779B97F4A7C15 % (1 << 64) >> (64 - chance["bits"]) for code in codes]
            rounding = bq.Stochastic(chance["bits"], variant=chance["variant"], random=randoms)
        mine = [run(first, code, random) for code, random in zip(codes, randoms, strict=True)]
        mine = [run(second, bits) for bits, _ in mine] if second else mine
        flags = bq.Flags(record=True)
        given = bq.encode(x, BOTH[target][0], rounding=rounding, flags=flags)
        assert list(zip(given.tolist(), flags.mask.tolist(), strict=True)) == mine, mode


# --- Proved ---------------------------------------------------------------------------------------------------


def cases(ordinary, everything):
    """The ordinary suite's cases; and of all others about sixty, evenly chosen, marked exhaustive."""
    chosen = set(ordinary)
    others = [pytest.param(*case, marks=pytest.mark.exhaustive) for case in everything if case not in chosen]
    return [*chosen_in_order(ordinary), *others[:: max(1, len(others) // 60)]]


def chosen_in_order(ordinary):
    """Each case once."""
    return list(dict.fromkeys(ordinary))


def carried_by(name):
    """The sources to ask about; float32 is left out where float64 carries it, which makes that the same question."""
    fmt, _ = BOTH[name]
    return ["float32", "float64"] if stages.carries(bq.FP32, bq.FP32, fmt) else ["float64"]


def each(names, modes):
    """Every source, name and mode."""
    return [(source, name, mode) for name in names for source in carried_by(name) for mode in modes]


def in_turn(names):
    """Every source and name with one mode, the modes in turn."""
    pairs = [(source, name) for name in names for source in carried_by(name)]
    return [(*pair, mode) for pair, mode in zip(pairs, itertools.cycle(MODES), strict=False)]


ALL_NARROW = each(FLOATS, MODES)
FIRST_NARROW = [
    *itertools.product(["float32"], ["float16"], MODES),
    *itertools.product(["float64"], ["float32"], MODES),
    *in_turn(FLOATS),
]
TYPICAL = ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e8m0fnu", "float4_e2m1fn", "binary8p1se", DEEP]
ALL_STOCHASTIC = each(TYPICAL, list(itertools.product((1, 8, 23, 32), "ABC")))
FIRST_STOCHASTIC = [
    *itertools.product(["float32"], ["float16"], [(32, "A"), (8, "B"), (32, "C")]),
    ("float32", "binary8p1se", (1, "C")),
    ("float64", "bfloat16", (8, "B")),
]
FIRST_UNCOUNTED = [
    ("float32", "float16", (32, "C")),
    ("float32", "bfloat16", (8, "B")),
    ("float32", "float8_e4m3fn", (32, "C")),
    ("float32", "float8_e4m3fn", (8, "A")),
]
ALL_INTEGERS = each(INTEGERS, [*MODES, (8, "A"), (32, "B"), (32, "C")])
FIRST_INTEGERS = [
    *itertools.product(["float32"], ["int8"], [*MODES, (32, "C")]),
    *itertools.product(["float64"], ["uint32"], MODES),
    *in_turn(INTEGERS),
]
ALL_PROPOSED = [
    (source, target, mode)
    for source, target, mode in each(INTEGERS, MODES)
    if Proposal(row_of(source, target, mode)[stages.ToInteger]).hopeful()
]
FIRST_PROPOSED = [case for case in in_turn(["int2", "int8", "uint16", "int32"]) if case in ALL_PROPOSED]
ALL_WHOLE = list(itertools.product(["int64", "uint64"], [*TYPICAL, *LONG], [*MODES, (8, "C"), (32, "A"), (32, "B")]))
FIRST_WHOLE = [
    *itertools.product(["int64"], ["float64"], ["nearest_even", "toward_negative", "to_odd"]),
    ("uint64", "float32", "nearest_even"),
    ("int64", "bfloat16", "nearest_away"),
    ("uint64", "float8_e8m0fnu", "to_odd"),
    ("int64", "exmy(8, 31)", "toward_positive"),
    ("int64", "float16", (8, "C")),
]


@pytest.mark.parametrize(("source", "target", "mode"), each(NAMED, IEEE_MODES), ids=str)
def test_narrowing_is_fp_to_fp(proof, source, target, mode):
    """In the lanes that the plan takes, and from FP64 in 64-bit lanes as well, where the quantizers round."""
    assert proof.has_sort(FLOATS[target][1])
    assert_proved(fp_to_fp(proof, source, target, mode))
    if source == "float64":
        assert_proved(fp_to_fp(proof, source, target, mode, wide=True))


@pytest.mark.parametrize(("source", "target", "mode"), cases(FIRST_NARROW, ALL_NARROW), ids=str)
def test_code_and_flags_are_as_defined(proof, source, target, mode):
    assert_proved(narrowing(proof, source, target, mode))


@pytest.mark.parametrize(("source", "target", "mode"), in_turn(FLOATS)[::2], ids=str)
def test_narrowing_under_other_overflow_rules(proof, source, target, mode):
    overflow = ("saturate", "saturate_finite")[len(target) % 2]
    assert_proved(narrowing(proof, source, target, mode, overflow, tininess="before"))


@pytest.mark.parametrize(
    ("source", "target", "mode"),
    [case for case in in_turn(FLOATS) if not FLOATS[case[1]][1].signed or case[1] == "float16"],
    ids=str,
)
def test_narrowing_where_nothing_is_counted(proof, source, target, mode):
    """Numbers below the range of an unsigned format are written at once then."""
    assert_proved(narrowing(proof, source, target, mode, counted=False))


@pytest.mark.parametrize(("source", "target", "mode"), cases(FIRST_UNCOUNTED, ALL_STOCHASTIC), ids=str)
def test_stochastic_narrowing_where_nothing_is_counted(proof, source, target, mode):
    assert_proved(narrowing(proof, source, target, mode, counted=False))


@pytest.mark.parametrize(("source", "target", "mode"), cases(FIRST_STOCHASTIC, ALL_STOCHASTIC), ids=str)
def test_stochastic_narrowing_is_what_its_definition_says(proof, source, target, mode):
    assert_proved(narrowing(proof, source, target, mode))


@pytest.mark.parametrize("target", FLOATS)
def test_the_ordinary_path_is_the_finite_path_where_numbers_are_ordinary(proof, target):
    for source, _, mode in each([target], MODES):
        counted = source == "float64"
        row = row_of(source, target, mode, counted=counted).get(stages.Narrow)
        if row is not None and row.ordinary_end:
            assert_proved(ordinary(proof, source, target, mode, counted))


@pytest.mark.parametrize(("source", "target", "mode"), cases(FIRST_INTEGERS, ALL_INTEGERS), ids=str)
def test_to_an_integer_is_what_smt_lib_defines(proof, source, target, mode):
    assert_proved(to_integer(proof, source, target, mode))


@pytest.mark.parametrize(
    ("source", "target", "overflow"),
    [("float32", "int8", "wrap"), ("float32", "uint32", "wrap"), ("float32", "int16", "indefinite")],
)
def test_to_an_integer_under_other_overflow_rules(proof, source, target, overflow):
    assert_proved(to_integer(proof, source, target, "nearest_even", overflow))


@pytest.mark.parametrize(("source", "target", "mode"), cases(FIRST_PROPOSED, ALL_PROPOSED), ids=str)
def test_what_a_number_proposes_beyond_doubt_is_what_the_integers_decide(proof, source, target, mode):
    assert_proved(proposal(proof, source, target, mode))


@pytest.mark.parametrize("target", ["int64", "uint64"])
@pytest.mark.parametrize("mode", MODES)
def test_what_a_number_inside_64_bits_becomes_is_what_the_special_cases_give(proof, target, mode):
    assert_proved(inside(proof, target, mode))


@pytest.mark.parametrize(("source", "target", "mode"), cases(FIRST_WHOLE, ALL_WHOLE), ids=str)
def test_from_an_integer_of_64_bits_is_what_smt_lib_defines(proof, source, target, mode):
    """Where the way leads through FP64, rounded to odd, the second rounding is as one."""
    assert_proved(from_integer(proof, source, target, mode))


# --- Refuted --------------------------------------------------------------------------------------------------


class TiesAway(Narrowing):
    def nearest_even(self, odd, half):
        return half


class TiesTowardZero(Narrowing):
    def nearest_away(self, half):
        return half - 1


class AwayFromZero(Narrowing):
    def toward_positive(self, negative, half):
        return half + half - 1


class WrongSign(Narrowing):
    def toward_negative(self, negative, half):
        return self.toward_positive(negative, half)


class OddGoesUpToo(Narrowing):
    def to_odd(self, odd, half):
        return half + half - 1


class NoFlip(Narrowing):
    def flip_of(self, exponent):
        return super().flip_of(exponent) & 0


class RebiasOff(Narrowing):
    def lost(self, exponent):
        return super().lost(exponent) + 1


class SubnormalsLoseOneLess(Narrowing):
    def cut_of(self, exponent):
        return at_least(super().cut_of(exponent) - 1, self.row.cut)


class NoCarryIntoTheExponent(Narrowing):
    def joined(self, exponent, kept):
        hidden = smaller(kept >> self.row.stored, kept.constant(1, self.lane)) << self.row.stored
        return super().joined(exponent, hidden | (kept & ((1 << self.row.stored) - 1)))


class NoCeiling(Narrowing):
    def lowered(self, magnitude, negative):
        return magnitude


class OneCeiling(Narrowing):
    def lowered(self, magnitude, negative):
        return super().lowered(magnitude, negative & 0)


class NotSticky(Narrowing):
    def sticky(self, magnitude):
        return super().sticky(magnitude) & 0


class OneBitNotSticky(Narrowing):
    def sticky(self, magnitude):
        return (magnitude & 0x3FFFFF).differs(0)


class ExponentNotLowered(Narrowing):
    def clipped(self, exponent):
        return exponent


class NotNormalised(Narrowing):
    def normalised(self, magnitude):
        return self.significand64(magnitude), at_least(magnitude >> 52, 1)


class NoHiddenBit(Narrowing):
    def significand32(self, magnitude):
        return magnitude & 0x7FFFFF


class NoStickyBit(Narrowing):
    def lost_behind(self, whole, scaled):
        return whole & 0


class ZeroIsNotZero(Narrowing):
    def lowered_zero(self, fixed, bits):
        return fixed


class TinyIsNothing(Narrowing):
    def raised(self, fixed, least):
        return fixed


class NotPatched(Narrowing):
    def patched(self, source, given, flags):
        return given, flags


class ReachesTooFar(Narrowing):
    def carries(self, scaled, random):
        return super().carries(scaled, random) | scaled.equals(0 - random + ((1 << self.chance["bits"]) - 1))


class CarriesAtMost(Narrowing):
    def round_by_chance(self, significand, cut, random):
        return super().round_by_chance(significand, at_most(cut, self.lane - 1), random)


class CutOneTooFew(ToInteger):
    def cut_of(self, exponent):
        return at_least(super().cut_of(exponent) - 1, 1)


class LaneIsNoLimit(ToInteger):
    def beyond(self, integer, most, exponent):
        return integer > most


class LeavesSomething(ToInteger):
    def moved(self, significand, exponent):
        return significand << at_most(at_least(exponent - self.point, 0), self.carrier.top)


class WholeTooSoon(ToInteger):
    def lost(self, magnitude):
        return super().lost(smaller(magnitude, magnitude.constant(0x4A800000, 32)))


class LosesTwoBits(FromWhole):
    def low_bits(self, full):
        return super().low_bits(full) & 0


class StickyBitCounts(WholeToCodes):
    def all_bits_count(self, cut):
        return super().all_bits_count(cut) & 0


FLAGS_ONLY = {"tiny_end", "over_first"}
CHANCE = {"bits": 8, "nearest": 1, "even": 1}
MUTANTS = [  # a step, or one of its numbers, changed; where; how
    (TiesAway, "float32", "float16", "nearest_even", {}),
    (TiesAway, "float64", "float16", "nearest_even", {}),
    (TiesTowardZero, "float32", "bfloat16", "nearest_away", {}),
    (AwayFromZero, "float32", "float8_e5m2", "toward_positive", {}),
    (WrongSign, "float64", "float8_e4m3", "toward_negative", {}),
    (OddGoesUpToo, "float32", "tfloat32", "to_odd", {}),
    (NoFlip, "float64", "binary8p1se", "nearest_even", {}),
    (RebiasOff, "float32", WORDS, "toward_zero", {}),
    (Narrowing, "float64", "float16", "toward_zero", {"knee": 1029}),
    (SubnormalsLoseOneLess, "float32", WORDS, "nearest_even", {}),
    (SubnormalsLoseOneLess, "float64", "float32", "toward_zero", {}),
    (NoCarryIntoTheExponent, "float32", WORDS, "nearest_even", {}),
    (NoCeiling, "float32", WORDS, "nearest_even", {}),
    (OneCeiling, "float32", WORDS, "toward_positive", {}),
    (NotSticky, "float64", "float32", "nearest_even", {}),
    (OneBitNotSticky, "float64", "float32", "toward_positive", {}),
    (ExponentNotLowered, "float64", "float32", "nearest_even", {}),
    (NotNormalised, "float64", DEEP, "nearest_even", {}),
    (NoHiddenBit, "float32", WORDS, "toward_zero", {}),
    (NotPatched, "float32", "float16", "toward_zero", {}),
    (NoStickyBit, "float32", "float16", "nearest_even", {}),
    (ZeroIsNotZero, "float32", "float16", "toward_positive", {}),
    (TinyIsNothing, "float32", "float8_e4m3fn", "toward_negative", {}),
    (Narrowing, "float32", "float8_e5m2", "nearest_even", {"lift": 39 << 23}),
    (Narrowing, "float32", "float8_e5m2", "nearest_away", {"up": 2}),
    (Narrowing, "float32", "float16", "to_odd", {"first": 0x38000000}),
    (Narrowing, "float32", "float16", "nearest_even", {"tiny_end": (0x38800000, 0x387FF000)}),
    (Narrowing, "float64", "float16", "toward_zero", {"over_first": (0x40F0000000000000, 0x40EFFFFFFFFFFFFF)}),
    (Narrowing, "float32", "float8_e4m3fnuz", "nearest_even", {"zero_drops_sign": 0}),
    (Narrowing, "float32", "float8_e4m3fn", "nearest_even", {"limit": 0x43E00000}),
    (Narrowing, "float32", "binary8p4ue", "nearest_even", {"always_patch": 0}),
    (Narrowing, "float64", "float8_e8m0fnu", "nearest_even", {"offset": 0}),
    (ReachesTooFar, "float32", "float16", (8, "C"), {}),
    (CarriesAtMost, "float32", "float16", (32, "A"), {}),
    (Narrowing, "float32", "float16", (8, "C"), {"chance": CHANCE | {"nearest": 0}}),
    (Narrowing, "float32", "float16", (8, "C"), {"chance": CHANCE | {"even": 0}}),
    (CutOneTooFew, "float32", "int8", "nearest_even", {}),
    (LaneIsNoLimit, "float64", "uint64", "nearest_even", {}),
    (LeavesSomething, "float32", "int32", "wrap", {}),
    (ToInteger, "float64", "int8", "toward_zero", {"most": (128, 128)}),
    (ToInteger, "float64", "int8", "toward_zero", {"over_first": (0x4060000000000000,) * 2}),
    (WholeTooSoon, "float32", "int32", "nearest_even", {}),
    (LosesTwoBits, "int64", "float64", "toward_positive", {}),
    (StickyBitCounts, "uint64", "exmy(8, 31)", (32, "A"), {}),
]


def mutated(proof, model, source, target, mode, changes):
    """The question about a mutant, and the rules under which it works."""
    rounding = "nearest_even" if mode == "wrap" else mode
    if issubclass(model, (FromWhole, WholeToCodes)):
        return from_integer(proof, source, target, mode, model), {"rounding": rounding}
    if issubclass(model, ToInteger):
        overflow = "wrap" if mode == "wrap" else "saturate"
        question = to_integer(proof, source, target, rounding, overflow, model, **changes)
        return question, {"rounding": rounding, "overflow": overflow}
    return narrowing(proof, source, target, mode, model=model, **changes), {"rounding": rounding}


@pytest.mark.parametrize(("model", "source", "target", "mode", "changes"), MUTANTS, ids=lambda value: str(value)[:40])
def test_a_mutant_is_refuted_by_an_input_that_the_reference_confirms(proof, model, source, target, mode, changes):
    (ask, claim, steps), rules = mutated(proof, model, source, target, mode, changes)
    found = ask.refute(claim, promises=False)
    assert found is not None
    code, random = found["source"], found.get("random")
    if random is not None:
        rules["rounding"] = reference.Stochastic(mode[0], random, mode[1])
    judge = reference.FORMATS[source]
    right, flags = reference.convert(code, judge, BOTH[target][1], **rules)
    right = right, sum(FLAG_BITS[flag] for flag in flags)
    assert run(steps, code, random, Unbound) != right
    if issubclass(model, Narrowing) and target in NAMED and mode in proof.SMT_MODES and not FLAGS_ONLY & set(changes):
        ask, claim, _ = fp_to_fp(proof, source, target, mode, model=model, **changes)
        assert ask.refute(claim, promises=False) is not None
    if random is not None:
        rules["rounding"] = bq.Stochastic(mode[0], variant=mode[1], random=[random])
    given, mask = kernel([code], source, target, **rules)
    assert (given[0], mask[0]) == right


@pytest.mark.parametrize("changes", [{"ordinary_first": 0x38000000}, {"ordinary_end": 0x47800000}], ids=str)
def test_a_wrong_range_of_ordinary_numbers_is_refuted(proof, changes):
    ask, claim, steps = ordinary(proof, "float32", "float16", "nearest_even", True, **changes)
    code = ask.refute(claim)["source"]
    _, given, mask = steps.ordinary(Unbound(code, 32))
    right, flags = reference.convert(code, reference.FLOAT32, reference.FLOAT16)
    assert (given.value, mask.value) != (right, sum(FLAG_BITS[flag] for flag in flags))


class NeverUnsure(Narrowing):
    def unsure(self, fixed):
        return fixed.differs(fixed)


class MovedTooFar(Narrowing):
    def moved(self, random):
        return super().moved(random) << 1


@pytest.mark.parametrize("target", ["float16", "float8_e4m3fn"])
@pytest.mark.parametrize("model", [NeverUnsure, MovedTooFar])
def test_a_mutant_that_counts_nothing_is_refuted(proof, model, target):
    mode = 32, "C"
    ask, claim, steps = narrowing(proof, "float32", target, mode, counted=False, model=model)
    found = ask.refute(claim, promises=False)
    code, random = found["source"], found["random"]
    rounding = reference.Stochastic(32, random, "C")
    right, _ = reference.convert(code, reference.FLOAT32, FLOATS[target][1], rounding=rounding)
    assert run(steps, code, random, Unbound)[0] != right
    x = np.array([code], np.uint32).view(np.float32)
    assert bq.encode(x, FLOATS[target][0], rounding=bq.Stochastic(32, random=[random])).tolist() == [right]


class TooCertain(Proposal):
    def certain(self):
        return 0x3F000000


def test_a_number_that_doubts_too_little_is_refuted(proof):
    ask, claim, steps = proposal(proof, "float32", "int8", "nearest_away", TooCertain)
    ask.assume(ask.term(proof.Kind.EQUAL, ask.state["mode"], ask.mode("nearest_even")))  # the state of Python's FPU
    code = ask.refute(claim)["source"]
    sure, given = steps.proposed(Int(code, 32))
    assert sure.value
    assert given.value != reference.convert(code, reference.FLOAT32, BOTH["int8"][1], "nearest_away")[0]


class OneBitHigher(Inside):
    UP = 10


class NearerTheEnd(Inside):
    def end(self):
        return super().end() + (1 << 52)


def test_a_number_that_leaves_its_lane_inside_is_refuted(proof):
    ask, claim, steps = inside(proof, "int64", "nearest_even", OneBitHigher)
    code = ask.refute(claim, promises=False)["source"]
    is_inside, given = steps.inside(Unbound(code, 64))
    assert is_inside.value
    right, _ = reference.convert(code, reference.FLOAT64, BOTH["int64"][1])
    assert given.value != right
    assert bq.encode(np.array([code], np.uint64).view(np.float64), "int64").tolist() == [right]
    ask, claim, _ = inside(proof, "int64", "nearest_even", NearerTheEnd)
    assert ask.refute(claim)["source"] & ((1 << 63) - 1) >= Inside.end(steps)


def test_a_shift_that_c_leaves_open_is_refuted(proof):
    """Under SMT-LIB such a shift gives zero, so that only the promise tells."""
    ask, claim, steps = narrowing(proof, "float32", WORDS, "toward_zero", lowest=1)
    found = ask.refute(claim)
    assert found is not None
    assert ask.refute(claim, promises=False) is None
    with pytest.raises(AssertionError, match="promise"):
        run(steps, found["source"])


def test_a_claim_that_never_holds_is_refuted(proof):
    """No assumption excludes every input, which would prove anything."""
    ask, claim, _ = narrowing(proof, "float64", DEEP, "nearest_even")
    assert ask.refute(claim & 0, promises=False) is not None


# --- A fault that the solver found ----------------------------------------------------------------------------


def test_tininess_of_28_digits_at_the_bias_of_float64(proof):
    judge = reference.exmy(4, 27, 1023)
    fmt = bq.exmy(4, 27, bias=1023)
    with mock.patch.dict(FLOATS, {fmt.name: (fmt, judge)}), mock.patch.dict(BOTH, {fmt.name: (fmt, judge)}):
        assert_proved(narrowing(proof, "float64", fmt.name, "nearest_even"))


# --- A second solver ------------------------------------------------------------------------------------------


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", [*MODES, (8, "C")], ids=str)
@pytest.mark.parametrize("target", NAMED)
@pytest.mark.parametrize("source", ["float32", "float64"])
def test_another_solver_agrees(proof, source, target, mode):
    z3 = pytest.importorskip("z3", reason="z3, the second solver, comes with the extra `peers`")
    for model, expected in ((Narrowing, z3.unsat), (NotPatched, z3.sat)):
        ask, claim, _ = narrowing(proof, source, target, mode, model=model)
        solver = z3.Solver()
        solver.from_string(ask.smtlib(claim))
        assert solver.check() == expected
