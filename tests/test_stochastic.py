"""Stochastic rounding against the reference: every random integer, thresholds of 32 bits, and the generator."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
import reference
from judging import EVERY, assert_same_codes, code_array, edges, judge_of, mask_of, ours_of

TARGETS = [name for name in EVERY if judge_of(name).kind != "codebook"]
SEEDS = [0, 1, 12345, 2**32, 2**64 - 1]


def judged(codes, integers, source, target, bits, variant, **rules):
    """Return the reference's codes and mask."""
    judge, aim = judge_of(source), judge_of(target)
    results = [
        reference.convert(code, judge, aim, reference.Stochastic(bits, integer, variant), **rules)
        for code, integer in zip(codes, integers, strict=True)
    ]
    masks = np.array([mask_of(flags) for _, flags in results], np.uint8)
    return code_array([code for code, _ in results], ours_of(target)), masks


def assert_rounds_as_judged(codes, integers, source, target, bits, variant, **rules):
    """Hold codes and mask against the reference's for given random integers; the codes again without flags."""
    theirs, masks = judged(codes, integers, source, target, bits, variant, **rules)
    inputs, random = code_array(codes, ours_of(source)), np.array(integers, np.uint32)
    rounding = bq.Stochastic(bits, variant=variant, random=random)
    flags = bq.Flags(record=True)
    ours, context = ours_of(target), f"{source} to {target}, {variant} of {bits} bits, {rules}"
    result = bq.encode(inputs, ours, ours_of(source), rounding=rounding, flags=flags, **rules)
    assert_same_codes(result, theirs, inputs, context)
    assert np.array_equal(flags.mask, masks), context
    assert_same_codes(bq.encode(inputs, ours, ours_of(source), rounding=rounding, **rules), theirs, inputs, context)


def rules_for(target, draw):
    """Draw rules under which nothing is refused."""
    judge = judge_of(target)
    return {
        "overflow": draw.choice([rule for rule in judge.overflow_rules if rule != "raise"]),
        "nan": draw.choice([rule for rule in judge.nan_rules if rule != "raise"]),
        "subnormals": draw.choice(reference.SUBNORMALS),
        "tininess": draw.choice(reference.TININESSES),
    }


# --- Given random integers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", reference.VARIANTS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_random_integer_gives_what_the_reference_gives(target, variant):
    draw = random.Random(f"{target} {variant}")
    for bits in (1, 2, 3, 5):
        source = draw.choice(["float64", "float32", "float16", "bfloat16", "tfloat32", "float8_e4m3fn", "int32"])
        codes = edges(source, target)
        codes = draw.sample(codes, min(len(codes), 24))
        pairs = [(code, integer) for code in codes for integer in range(1 << bits)]
        rules = rules_for(target, draw)
        assert_rounds_as_judged(*zip(*pairs, strict=True), source, target, bits, variant, **rules)


def between(judge, aim, draw, count):
    """Draw numbers of a format that lie anywhere between two numbers of another."""
    codes = []
    while len(codes) < count:
        place = draw.randrange(aim.largest) if aim.kind == "float" else draw.randrange(min(aim.high, 1 << 40))
        low, high = (reference.value_at(at, aim) for at in (place, place + 1))
        fraction = Fraction(draw.getrandbits(40), 1 << 40) if draw.random() < 0.8 else Fraction(draw.randrange(1, 4), 4)
        x = (low + (high - low) * fraction) * (draw.choice((1, -1)) if aim.signed else 1)
        floor, _ = reference.floor_place(reference.as_number(x), judge)
        code = reference.code_at(floor, judge)
        if judge.first_place < floor < judge.last_place:
            codes.append(code)
        elif draw.random() < 0.01:
            break
    return codes


def thresholds(code, judge, aim, bits, variant):
    """Find the random integer from which on a number is rounded up, by bisection, and those around it."""
    number = reference.decode(code, judge)

    def delivers(integer):
        rounding = reference.Stochastic(bits, integer, variant)
        if aim.kind == "integer":
            return reference.convert_to_integer(number, aim, rounding, "saturate")
        return reference.convert_to_float(number, aim, rounding)

    low, high = 0, (1 << bits) - 1
    first = delivers(low)[0]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if delivers(middle)[0] == first else (low, middle)
    return {0, low, high, (1 << bits) - 1}


@pytest.mark.parametrize("bits", [1, 7, 8, 16, 23, 24, 29, 31, 32])
@pytest.mark.parametrize(
    ("source", "target"),
    [("float64", "float32"), ("float64", "float16"), ("float64", "float8_e4m3fn"), ("float64", "tfloat32"),
     ("float64", "float64"), ("float64", "int8"), ("float64", "int64"), ("float64", "uint32"),
     ("float64", "exmy(10, 52, infinity=True, nan='negative_zero')"), ("float64", "exmy(8, 31)"),
     ("float32", "bfloat16"), ("float32", "float16"), ("float32", "float8_e5m2"), ("float32", "float4_e2m1fn"),
     ("float32", "int8"), ("float32", "int16"), ("float32", "float8_e8m0fnu"), ("float32", "binary8p1se"),
     ("float32", "binary8p4ue"), ("float16", "float8_e4m3fnuz"), ("bfloat16", "float6_e3m2fn"), ("int32", "float16"),
     ("int32", "bfloat16"), ("int64", "float32"), ("int64", "float64"), ("uint64", "bfloat16"),
     ("int64", "float8_e4m3"), ("uint64", "float16"), ("int64", "exmy(8, 31)"), ("uint64", "exmy(8, 15)"),
     ("exmy(8, 31)", "float32"),
     ("exmy(2, 2, bias=1060, infinity=True, nan='negative_zero')", "exmy(3, 2, bias=200)"),
     ("tfloat32", "float4_e2m1fn"), ("nf4", "float4_e2m1fn"), ("cubes", "float16")],
)  # fmt: skip
def test_the_threshold_is_exact_to_the_last_random_bit(source, target, bits):
    judge, aim = judge_of(source), judge_of(target)
    draw = random.Random(f"{source} {target} {bits}")
    codes = (
        between(judge, aim, draw, 20 if "int64" in source else 10)
        if judge.kind != "codebook"
        else list(range(judge.code_count))[::-7][:10]
    )
    for variant in reference.VARIANTS:
        pairs = [(code, integer) for code in codes for integer in sorted(thresholds(code, judge, aim, bits, variant))]
        if pairs:
            nan = next(rule for rule in aim.nan_rules if rule != "raise")
            assert_rounds_as_judged(*zip(*pairs, strict=True), source, target, bits, variant, nan=nan)


@pytest.mark.parametrize("variant", reference.VARIANTS)
@pytest.mark.parametrize("bits", [1, 4, 8, 10])
def test_the_mean_over_all_random_integers_is_the_number_where_the_bits_suffice(variant, bits):
    """Of 1 + k/2^N: exactly as many of 2^N go up as the fraction says, by every variant."""
    count = 1 << bits
    for k in {0, 1, count // 2, count // 3, count - 1}:
        for sign in (1.0, -1.0):
            x = np.full(count, sign * (1 + k / count))
            up = bq.convert(x, "int8", rounding=bq.Stochastic(bits, variant=variant, random=np.arange(count)))
            assert np.count_nonzero(up == sign * 2) == k
            assert up.sum(dtype=np.int64) == sign * (count + k)
            x = np.full(count, sign * (1 + k / count) * 2.0**-4, np.float32)
            up = bq.convert(x, "float4_e2m1fn", rounding=bq.Stochastic(bits, variant=variant, random=np.arange(count)))
            ups = reference.round_quotient(count + k, 8, "toward_zero") if variant == "A" else None
            assert ups is None or np.count_nonzero(up.astype(np.float64)) == ups


@pytest.mark.parametrize("variant", reference.VARIANTS)
def test_the_variants_count_what_p3109_counts(variant):
    """ν = 5/32 with three bits: A ⌊1.25⌋ = 1, B ⌊1.75⌋ = 1, C 1; ν = 3/16: A 1, B 2, C 2; ν = 5/16: A 2, B 3, C 2."""
    expected = {"A": (1, 1, 2), "B": (1, 2, 3), "C": (1, 2, 2)}[variant]
    for fraction, ups in zip((5 / 32, 3 / 16, 5 / 16), expected, strict=True):
        rounding = bq.Stochastic(3, variant=variant, random=np.arange(8))
        assert np.count_nonzero(bq.convert(np.full(8, 1 + fraction), "int8", rounding=rounding) == 2) == ups


def test_a_number_that_the_target_holds_stays():
    rounding = bq.Stochastic(4, random=np.full(7, 15))
    flags = bq.Flags()
    x = np.array([0.0, -0.0, 1.0, -1.5, 448.0, 2.0**-9, math.inf])
    assert bq.encode(x, "float8_e4m3fn", rounding=rounding, overflow="saturate", flags=flags).tolist() == [
        0, 0x80, 0x38, 0xBC, 0x7E, 1, 0x7E,
    ]  # fmt: skip
    assert (flags.inexact, flags.overflow, flags.underflow) == (1, 1, 0)


# --- The generator ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("source", "target", "bits", "variant"),
    [("float64", "int8", 32, "C"), ("float32", "bfloat16", 16, "A"), ("float32", "float8_e5m2", 8, "B"),
     ("float64", "float16", 1, "C"), ("float16", "float4_e2m1fn", 10, "A"), ("int64", "float16", 24, "C"),
     ("bfloat16", "uint4", 7, "B"), ("float64", "exmy(8, 31)", 32, "A")],
)  # fmt: skip
def test_each_element_takes_its_random_integer_of_philox(seed, source, target, bits, variant):
    judge, aim, draw = judge_of(source), judge_of(target), random.Random(f"{source} {seed}")
    codes = between(judge, aim, draw, 700)
    integers = [reference.random_integer(index, seed, bits) for index in range(len(codes))]
    theirs, masks = judged(codes, integers, source, target, bits, variant)
    inputs, flags = code_array(codes, ours_of(source)), bq.Flags(record=True)
    rounding = bq.Stochastic(bits, seed, variant)
    ours = bq.encode(inputs, ours_of(target), ours_of(source), rounding=rounding, flags=flags)
    assert_same_codes(ours, theirs, inputs, f"{source} to {target}")
    assert np.array_equal(flags.mask, masks)


def test_elements_far_on_take_their_words_too():
    """Beyond blocks, shares of threads and 2^20; ν = 1/2, so that the result is the top bit of the word."""
    x = np.full((1 << 21) + 5, 0.5, np.float32)
    for threads in (1, 2, 3):
        result = bq.convert(x, "int8", rounding=bq.Stochastic(seed=99), threads=threads)
        for index in (0, 1, 255, 256, 1023, 1024, 65535, 65536, (1 << 20) - 1, 1 << 20, (1 << 20) + 7, x.size - 1):
            assert result[index] == reference.random_integer(index, 99, 1), (threads, index)
        assert abs(int(result.sum()) - x.size // 2) < 4000  # 5.5 standard deviations


def test_the_defaults_are_32_bits_of_seed_0_by_variant_c():
    x = np.random.default_rng(1).normal(size=1000)
    expected = bq.encode(x, "bfloat16", rounding=bq.Stochastic(32, 0, "C"))
    assert np.array_equal(bq.encode(x, "bfloat16", rounding=bq.Stochastic()), expected)
    assert not np.array_equal(bq.encode(x, "bfloat16", rounding=bq.Stochastic(seed=1)), expected)


LAYOUTS = {
    "Fortran": lambda x: np.asfortranarray(x),
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "reversed inside": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "strided outside": lambda x: np.repeat(x, 3, axis=0)[::3],
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "axes swapped": lambda x: np.ascontiguousarray(np.swapaxes(x, 0, 2)).swapaxes(0, 2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("target", ["int8", "float8_e4m3fn", "bfloat16"])
def test_the_layout_of_an_array_does_not_matter(layout, dtype, target):
    x = (np.random.default_rng(5).normal(size=(37, 11, 53)) * 20).astype(dtype)
    integers = np.random.default_rng(6).integers(0, 1 << 9, x.shape)
    for rounding in (bq.Stochastic(seed=3), bq.Stochastic(9, random=integers)):
        expected = bq.encode(x, target, rounding=rounding)
        other = LAYOUTS[layout](x)
        assert np.array_equal(other, x)
        for threads in (1, 2):
            assert np.array_equal(bq.encode(other, target, rounding=rounding, threads=threads), expected)
        out = np.empty(x.shape[::-1], expected.dtype).T
        bq.encode(other, target, rounding=rounding, out=out)
        assert np.array_equal(out, expected)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 63, 255, 257, 1023, 1025, 4097, 65537, 300_001])
def test_the_number_of_threads_and_of_elements_does_not_matter(size):
    x = np.random.default_rng(7).normal(size=300_001).astype(np.float32)
    rounding = bq.Stochastic(12, 8, "A")
    expected = bq.encode(x, "float16", rounding=rounding)[:size]
    for threads in (1, 2, 3, 5, None):
        flags = bq.Flags(record=True)
        assert np.array_equal(bq.encode(x[:size], "float16", rounding=rounding, threads=threads), expected)
        ours = bq.encode(x[:size], "float16", rounding=rounding, threads=threads, flags=flags)
        assert np.array_equal(ours, expected)


def test_the_same_numbers_in_float32_and_float64_round_alike():
    x = np.random.default_rng(9).normal(size=5000).astype(np.float32) * 10
    for target, variant in itertools.product(("int8", "float16", "float8_e5m2", "binary8p3se"), reference.VARIANTS):
        rounding = bq.Stochastic(20, 77, variant)
        assert np.array_equal(
            bq.encode(x, target, rounding=rounding), bq.encode(x.astype(float), target, rounding=rounding)
        )


def test_scalars_and_in_place_results():
    word = reference.random_integer(0, 4, 1)
    assert bq.convert(2.5, "int8", rounding=bq.Stochastic(seed=4)) == 2 + word
    x = np.random.default_rng(2).normal(size=999).astype(np.float32)
    expected = bq.round_to(x, "bfloat16", rounding=bq.Stochastic(seed=4))
    bq.round_to(x, "bfloat16", rounding=bq.Stochastic(seed=4), out=x)
    assert np.array_equal(x, expected)


@pytest.mark.parametrize("target", ["bfloat16", "float8_e4m3fn", "float4_e2m1fn", "int8", "binary8p1se"])
def test_round_to_rounds_like_convert(target):
    x = np.random.default_rng(11).normal(size=3000).astype(np.float32)
    rounding = bq.Stochastic(16, 5, "B")
    flags = bq.Flags(record=True), bq.Flags(record=True)
    there = bq.encode(x, target, rounding=rounding, flags=flags[0])
    assert np.array_equal(
        bq.round_to(x, target, rounding=rounding, flags=flags[1]), bq.decode(there, target, "float32")
    )
    assert np.array_equal(flags[0].mask, flags[1].mask)


# --- Refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bits": 0}, "bits=0"),
        ({"bits": 33}, "bits=33"),
        ({"bits": 2.0}, "bits=2.0"),
        ({"bits": True}, "bits=True"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**64}, "seed=18446744073709551616"),
        ({"variant": "D"}, "variant='D' is not possible"),
        ({"variant": "c"}, "variant='c' is not possible"),
    ],
)
def test_what_stochastic_rounding_cannot_be_is_refused(given, message):
    with pytest.raises(bq.BitquantError) as caught:
        bq.Stochastic(**given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "integers", [np.arange(3), np.zeros((2, 2), int), np.full(4, 8), np.full(4, -1), np.zeros(4), 0, np.full(4, 2**40)]
)
def test_random_integers_that_do_not_fit_are_refused(integers):
    with pytest.raises(bq.BitquantError, match="random"):
        bq.convert(np.ones(4), "int8", rounding=bq.Stochastic(3, random=integers))


def test_codebooks_refuse_stochastic_rounding():
    with pytest.raises(bq.BitquantError, match="codebook"):
        bq.convert([0.3], "nf4", rounding=bq.Stochastic())
