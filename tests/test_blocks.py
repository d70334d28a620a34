"""Block formats against exact arithmetic: scales, elements, the way back; any shape, axis, threads and FPU state."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
import block_reference as judge
import reference
import witness as hardware
from bitquant.blocks import cut
from quantizing import array_of, codes_of, exact, near

NAMES = [row.name for row in bq.block_formats()]
EXACT = [
    (row.name, rule)
    for row in bq.block_formats()
    for rule in row.scale_rules
    if rule in ("floor", "ceil", "even", "rceil", "exact")
]
ALL = [(row.name, rule) for row in bq.block_formats() for rule in row.scale_rules]
SOURCES = ("float32", "float64", "float16", "bfloat16")
EXPONENTS = {"float32": (-149, 127), "float64": (-1074, 1023), "float16": (-24, 15), "bfloat16": (-133, 127)}


def row_of(name):
    """The row of a format."""
    return next(row for row in bq.block_formats() if row.name == name)


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch):
    """Let arrays of any size that a test can afford be cut into slabs."""
    monkeypatch.setattr(cut, "_SLAB", 1 << 10)


def element_points(name):
    """The elements' magnitudes and the midpoints between them, in units of a step."""
    row = judge.ROWS[name]
    fmt = reference.FORMATS[row.element]
    if fmt.kind == "integer":
        return [Fraction(k, 2) * row.worth for k in range(2 * fmt.high + 3)]
    values = [reference.decode(code, fmt).fraction for code in range(fmt.largest + 1)]
    return sorted({*values, *((a + b) / 2 for a, b in itertools.pairwise(values))})


def largest_of(name, source, draw):
    """A number that may be the largest magnitude of a block: at the edges of the scale rules, in every binade."""
    least, most = EXPONENTS[source]
    name_of_max = judge.LARGEST.get(name, (Fraction(6), 0))[0]
    significands = [
        Fraction(1),
        name_of_max / judge.power(reference.floor_log2(*name_of_max.as_integer_ratio())),
        2 - judge.power(-draw.randrange(2, 9)),
        1 + Fraction(draw.random()),
    ]
    exponents = [
        least + draw.randrange(30),
        most - draw.randrange(4),
        draw.randrange(-20, 12),
        draw.randrange(max(least, -160), min(most, 160) + 1),
    ]
    significand, exponent = draw.choice(significands), draw.choice(exponents)
    limit = reference.decode(reference.FORMATS[source].largest, reference.FORMATS[source]).fraction
    value = min(significand * judge.power(min(max(exponent, least), most)), limit)
    return draw.choice(sorted(near(value, source, 1)))


def block_of(name, rule, source, draw, points, tensor_scale=Fraction(1)):
    """The codes of a block: a largest magnitude, and numbers at and next to the places where an element changes."""
    fmt = reference.FORMATS[source]
    top = largest_of(name, source, draw)
    amax = abs(reference.decode(top, fmt).fraction)
    _, step = judge.scale_of(name, [amax], rule, tensor_scale)
    codes = [top ^ draw.randrange(2) << (fmt.bits - 1)]
    while len(codes) < judge.ROWS[name].block:
        place = draw.choice(points) * abs(step)
        if draw.random() < 0.1 or place > amax:
            codes.append(draw.choice([0, 1, 2, 3, fmt.sign_bit, top, draw.randrange(top + 1)]))
        else:
            codes.append(draw.choice(sorted(near(place, source, 1))))
        if abs(reference.decode(codes[-1], fmt).fraction) > amax:
            codes[-1] = top
        codes[-1] ^= draw.randrange(2) << (fmt.bits - 1)
    draw.shuffle(codes)
    return codes


def sample(name, rule, source, count, tensor_scale=Fraction(1)):
    """Rows of one block each, as an array of the source's dtype."""
    draw = random.Random(f"{name} {rule} {source}")
    points = element_points(name)
    blocks = [block_of(name, rule, source, draw, points, tensor_scale) for _ in range(count)]
    blocks[0] = [0] * len(blocks[0])
    blocks[1] = [draw.choice([0, reference.FORMATS[source].sign_bit]) for _ in blocks[1]]
    return array_of(itertools.chain(*blocks), source).reshape(count, -1)


def assert_agrees(q, x, rule, rounding, tensor_scale=Fraction(1)):
    """Hold each block (a row of x) against the reference's."""
    name = q.format.name
    scales, codes = np.asarray(q.scales).reshape(-1), np.asarray(q.codes).view(np.uint8)
    for at, (row, scale) in enumerate(zip(x, codes_of(scales), strict=True)):
        modes = rounding if isinstance(rounding, str) else rounding[at]
        expected_scale, expected = judge.quantize(name, exact(row), rule, modes, tensor_scale)
        assert scale == expected_scale, f"{name} {rule}: block {at}, {row!r}"
        got = codes[at].tolist()
        if got != expected:
            k = next(k for k in range(len(got)) if got[k] != expected[k])
            pytest.fail(
                f"{name} {rule} {rounding}: block {at}, scale {scale:#x}, number {k}, {row[k]!r}, gives {got[k]:#x}, "
                f"the reference {expected[k]:#x}"
            )


# --- Exact rules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("name", "rule"), EXACT)
def test_scales_and_elements_are_those_of_exact_arithmetic(name, rule, source):
    scale = Fraction(1, 1000) if name == "nvfp4" else Fraction(1)
    scale = Fraction(float(np.float32(scale)))
    x = sample(name, rule, source, 28, scale)
    options = {"tensor_scale": float(scale)} if name == "nvfp4" else {}
    for rounding in reference.ROUNDINGS if rule in ("floor", "exact") else ("nearest_even",):
        q = bq.quantize_blocks(x, name, scale_rule=rule, rounding=rounding, **options)
        assert_agrees(q, x, rule, rounding, scale)
        assert (q.scale_rule, q.rounding, q.axis, q.format.name) == (rule, rounding, 1, name)


@pytest.mark.parametrize("source", SOURCES)
def test_the_tensor_scale_is_rounded_once_and_the_block_scales_follow_it(source):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x = (rng.standard_normal((6, 16)) * 2.0 ** rng.integers(-9, 9, (6, 1))).astype(bq.format(source).dtype)
        values = [number.fraction for number in exact(x)]
        scale = judge.tensor_scale_of(values)
        q = bq.quantize_blocks(x, "nvfp4")
        assert q.tensor_scale.dtype == np.float32
        assert Fraction(float(q.tensor_scale)) == scale
        assert_agrees(q, x, "exact", "nearest_even", scale)


@pytest.mark.parametrize("variant", reference.VARIANTS)
@pytest.mark.parametrize("name", ["mxfp8_e5m2", "mxint8", "nvfp4", "q8_0", "q4_0"])
def test_stochastic_rounding_sees_all_bits_of_the_exact_quotient(name, variant):
    rule = "exact" if "exact" in row_of(name).scale_rules else "floor"
    for source, bits in (("float32", 32), ("float64", 32), ("bfloat16", 3)):
        x = sample(name, rule, source, 30)
        draw = random.Random(f"{name} {source}")
        edges = [0, 1, (1 << bits) - 1, (1 << bits) - 2, 1 << (bits - 1)]
        words = np.array([draw.choice([*edges, draw.randrange(1 << bits)]) for _ in range(x.size)], np.uint32)
        chance = bq.Stochastic(bits, variant=variant, random=words.reshape(x.shape))
        options = {"tensor_scale": 1.0} if name == "nvfp4" else {}
        q = bq.quantize_blocks(x, name, scale_rule=rule, rounding=chance, **options)
        modes = [[reference.Stochastic(bits, int(word), variant) for word in row] for row in words.reshape(x.shape)]
        assert_agrees(q, x, rule, modes)


def test_stochastic_rounding_sees_what_is_left_of_a_division_of_53_bits():
    """Quotients above a tie of the random bits by less than 2^-54: the remainder alone tells."""
    draw = random.Random(1)
    second = Fraction(float(np.float32(1 / 3)))
    step = second * 448
    found = []
    while len(found) < 30:
        half = 2 * draw.randrange(1 << 31)  # even: the tie goes down
        tie = 2 + Fraction(2 * half + 1, 1 << 33)
        x = Fraction(float(tie * step))
        above = x / step / tie - 1
        if 0 < above < Fraction(1, 1 << 55):
            found.append((float(x), (1 << 32) - 1 - half))
    for (number, word), sign in itertools.product(found, (1, -1)):
        x = np.array([float(6 * step), sign * number])
        chance = bq.Stochastic(random=np.array([0, word], np.uint32))
        q = bq.quantize_blocks(x, "nvfp4", tensor_scale=float(second), rounding=chance)
        assert np.abs(q.codes.astype(float)).tolist() == [6, 3]


def test_the_generators_random_bits_follow_a_numbers_index_alone():
    x = np.random.default_rng(0).standard_normal((40, 96)).astype(np.float32)
    chance = bq.Stochastic(seed=5)
    q = bq.quantize_blocks(x, "mxfp4", rounding=chance)
    words = [reference.random_integer(index, 5, 32) for index in range(x.size)]
    given = bq.Stochastic(random=np.array(words, np.uint32).reshape(x.shape))
    assert np.array_equal(codes_of(q.codes), codes_of(bq.quantize_blocks(x, "mxfp4", rounding=given).codes))
    assert np.array_equal(codes_of(q.codes), codes_of(bq.quantize_blocks(x, "mxfp4", rounding=chance, threads=3).codes))


MX_EDGES = [  # (format, rule, amax, exponent of the scale, why)
    ("mxfp4", "floor", 2.0**10, 8, "a power of two"),
    ("mxfp4", "floor", float(np.nextafter(np.float32(2**10), np.float32(0))), 7, "just below one"),
    ("mxfp4", "ceil", 2.0**10, 8, "a power of two is its own ceiling"),
    ("mxfp4", "ceil", float(np.nextafter(np.float32(2**10), np.float32(2**11))), 9, "just above one"),
    ("mxfp4", "even", 1.75 * 2**10, 9, "1.75 is a tie between 1.5 and 2, which is even"),
    ("mxfp4", "even", float(np.nextafter(np.float32(1792), np.float32(0))), 8, "just below that tie"),
    ("mxfp4", "rceil", 6.0 * 2**10, 10, "the largest element itself"),
    ("mxfp4", "rceil", float(np.nextafter(np.float32(6144), np.float32(1e9))), 11, "just above it"),
    ("mxfp8_e4m3", "rceil", 448.0, 0, "the largest element, not the last code: 480 is NaN"),
    ("mxint8", "rceil", 127 / 64, 0, "the largest element"),
    ("mxint8", "floor", 2.0**-149, -127, "a subnormal number: clamped"),
    ("mxint8", "ceil", float(np.float32(1.5 * 2.0**-127)), -126, "a subnormal number that a rule rounds up"),
    ("mxfp4", "floor", float(np.finfo(np.float32).max), 125, "the largest number"),
    ("mxfp4", "floor", 0.0, -127, "nothing but zeros"),
]


@pytest.mark.parametrize(("name", "rule", "amax", "exponent", "why"), MX_EDGES)
def test_mx_scale_exponents_at_their_edges(name, rule, amax, exponent, why):
    x = np.float32([0, -amax, 0])
    assert codes_of(bq.quantize_blocks(x, name, scale_rule=rule).scales) == [exponent + 127], why
    assert codes_of(bq.quantize_blocks(x.astype(np.float64), name, scale_rule=rule).scales) == [exponent + 127], why


def test_scales_beyond_e8m0s_range_are_its_ends_and_elements_saturate():
    q = bq.quantize_blocks(np.array([1e300, -1e300, 1e-300]), "mxfp8_e4m3")
    assert codes_of(q.scales) == [254]
    assert codes_of(q.codes) == [0x7E, 0xFE, 0]
    q = bq.quantize_blocks(np.array([1e-300, -1e-300, 0]), "mxfp8_e4m3", rounding="toward_negative")
    assert codes_of(q.scales) == [0]
    assert codes_of(q.codes) == [0, 0x81, 0]


def test_integer_elements_are_symmetric():
    x = np.float32([2, -2 + 2**-20, -1.999])  # 127.99 of the smaller step
    assert codes_of(bq.quantize_blocks(x[1:], "mxint8").codes) == [129, 129]
    assert codes_of(bq.quantize_blocks(-x[1:], "mxint8").codes) == [127, 127]


def test_a_scale_that_rounds_to_zero_makes_all_its_elements_zero():
    x = np.float32([[1e-12, -1e-13] * 8, [1, 2] * 8])
    for rounding in reference.ROUNDINGS:
        q = bq.quantize_blocks(x, "nvfp4", rounding=rounding)
        assert codes_of(q.scales)[0] == 0
        assert codes_of(q.codes)[:16] == [0] * 16
    q = bq.quantize_blocks(x, "q8_0", scale_rule="exact", rounding="toward_positive")
    assert codes_of(q.codes[0]) == [0] * 16


# --- Shapes, threads, arrays --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rule"), ALL)
def test_any_axis_and_a_last_block_that_is_shorter(name, rule):
    rng = np.random.default_rng(3)
    block = row_of(name).block
    options = {"scale_rule": rule} | ({"tensor_scale": float(np.float32(0.001))} if name == "nvfp4" else {})
    for shape in (
        (3 * block + 5,),
        (block,),
        (1,),
        (5, block - 1),
        (2 * block + 3, 7),
        (3, block + 2, 5),
        (2, 1, 3, 40),
    ):
        x = (rng.standard_normal(shape) * 4).astype(np.float32)
        for axis in range(-x.ndim, x.ndim):
            q = bq.quantize_blocks(x, name, axis=axis, **options)
            at = axis % x.ndim
            assert q.axis == at
            assert q.codes.shape == shape
            assert q.scales.shape == (*shape[:at], -(-shape[at] // block), *shape[at + 1 :])
            rows = np.moveaxis(x, at, -1)
            codes, scales = np.moveaxis(q.codes, at, -1), np.moveaxis(q.scales, at, -1)
            for index in np.ndindex(rows.shape[:-1]):
                for k in range(scales.shape[-1]):
                    cells = slice(k * block, (k + 1) * block)
                    alone = bq.quantize_blocks(rows[index][cells], name, **options)
                    assert codes_of(alone.codes) == codes_of(codes[index][cells])
                    assert codes_of(alone.scales) == codes_of(scales[index][k])


@pytest.mark.parametrize(("name", "rule"), ALL)
def test_threads_strides_byte_order_and_out_change_nothing(name, rule):
    x = np.random.default_rng(1).standard_normal((300, 420)).astype(np.float32)
    for axis in (0, 1):
        expected = bq.quantize_blocks(x, name, axis=axis, scale_rule=rule)
        wide = np.zeros((600, 840), np.float32)
        wide[::2, ::2] = x
        out = np.empty(x.shape, np.uint8)
        found = [
            bq.quantize_blocks(x, name, axis=axis, scale_rule=rule, threads=3),
            bq.quantize_blocks(x, name, axis=axis, scale_rule=rule, threads=None),
            bq.quantize_blocks(wide[::2, ::2], name, axis=axis, scale_rule=rule),
            bq.quantize_blocks(np.asfortranarray(x), name, axis=axis, scale_rule=rule),
            bq.quantize_blocks(x.astype(">f4"), name, axis=axis, scale_rule=rule),
            bq.quantize_blocks(x, name, axis=axis, scale_rule=rule, out=out),
        ]
        assert found[-1].codes is out
        for q in found:
            assert q.tensor_scale == expected.tensor_scale
            assert np.array_equal(q.codes.view(np.uint8), expected.codes.view(np.uint8))
            assert q.scales.tobytes() == expected.scales.tobytes()
        assert np.array_equal(expected.dequantize(threads=3), expected.dequantize())


def test_sources_that_hold_the_same_numbers_give_the_same_blocks():
    x = np.random.default_rng(2).integers(-100, 100, (4, 64))
    for name, rule in EXACT:
        expected = bq.quantize_blocks(x.astype(np.float64), name, scale_rule=rule)
        for dtype in ("int8", "int16", "int32", "int64", "float16", "float32"):
            q = bq.quantize_blocks(x.astype(dtype), name, scale_rule=rule)
            assert np.array_equal(q.codes.view(np.uint8), expected.codes.view(np.uint8)), (name, dtype)
            assert q.scales.tobytes() == expected.scales.tobytes()
        assert np.array_equal(bq.quantize_blocks(x.tolist(), name, scale_rule=rule).codes, expected.codes)


def test_empty_arrays_have_no_blocks():
    for name in NAMES:
        q = bq.quantize_blocks(np.empty((3, 0), np.float32), name)
        assert (q.codes.shape, q.scales.shape, q.dequantize().shape) == ((3, 0), (3, 0), (3, 0))
        q = bq.quantize_blocks(np.empty((0, 40), np.float32), name)
        assert (q.codes.shape, q.scales.shape) == ((0, 40), (0, -(-40 // row_of(name).block)))


def close_to_ties():
    """Rows of FP32 numbers for which one unit in the last place, of a step or of a quotient, gives another code."""
    rows = []
    for k in range(300):
        reach = (127, 8, 6, 2688)[k % 4]
        tie = np.float32(2049 + 2 * k) / np.float32(2048)  # of FP16's step, when it is that times the reach
        amax = np.nextafter(np.float32(reach) * tie, np.float32(2 * reach if k % 8 < 4 else 0))
        halves = np.arange(1, 32) * 8.0 + k % 8
        rows.append(
            [amax, *(halves * 0.5 * (float(amax) / reach))]
            if reach == 127
            else [-amax, *(np.resize([0.25, 0.75, 1.25, 1.5, 1.75, 2.5, 3.5, 5], 31) * (float(amax) / reach))]
        )
    return np.array(rows, np.float32)


@pytest.mark.parametrize("flush", list(hardware.FLUSHES))
@pytest.mark.parametrize("rounding", list(hardware.ROUNDING_CONTROL))
def test_no_state_of_the_fpu_changes_a_block(witness, rounding, flush):
    if reason := witness.absent("mxcsr"):
        pytest.skip(reason)
    rng = np.random.default_rng(4)
    plain = (rng.standard_normal((8, 64)) * 2.0 ** rng.integers(-8, 8, (8, 1))).astype(np.float32)
    tiny = np.concatenate([plain * np.float32(2.0**-126), plain * np.float32(2.0**-140)])
    inputs = {}
    close = close_to_ties()
    for name, rule in ALL:
        inputs[name, rule] = [plain, plain.astype(np.float64)] if rule in judge_rules(name) else [plain]
        if row_of(name).tensor_scale is None and rule != "ggml":
            inputs[name, rule] += [tiny, tiny.astype(np.float64)]

        inputs[name, rule].append(close)

    def results():
        found = []
        for name, rule in ALL:
            for x in inputs[name, rule]:
                q = bq.quantize_blocks(x, name, scale_rule=rule)
                found += [q.codes.tobytes(), q.scales.tobytes(), q.dequantize("float16").tobytes()]
                found += [q.dequantize("float32").tobytes(), q.dequantize("float64").tobytes()]
                found.append(None if q.tensor_scale is None else q.tensor_scale.tobytes())
        return found

    expected = results()
    with witness.fpu_state(rounding, flush):
        got = results()
        after = witness.get_mxcsr()
    assert after & 0xE040 == hardware.mxcsr_word(rounding, flush) & 0xE040
    assert got == expected


def judge_rules(name):
    """The rules of a format that are exact."""
    return [rule for other, rule in EXACT if other == name]


def test_tensors_come_back_as_tensors():
    torch = pytest.importorskip("torch")
    x = torch.linspace(-3, 3, 70).reshape(2, 35)
    q = bq.quantize_blocks(x, "mxfp8_e4m3")
    assert q.codes.dtype == torch.float8_e4m3fn
    assert q.scales.dtype == torch.float8_e8m0fnu
    assert isinstance(q.dequantize(), torch.Tensor)
    assert q.error(x) == bq.quantize_blocks(x.numpy(), "mxfp8_e4m3").error(x.numpy())
    assert q.pack()[0].dtype == np.uint8


# --- NaN and infinity ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rule", "source"),
    [
        (*case, source)
        for case in ALL
        for source in ("float32", "float16", "float64")
        if source != "float64" or case in EXACT
    ],
)
def test_what_is_not_finite_is_refused_saturated_or_spoils_its_block(name, rule, source):
    x = np.random.default_rng(5).standard_normal((4, 96)).astype(source)
    x[0, 40], x[2, 3], x[2, 70] = np.inf, np.nan, -np.inf
    with pytest.raises(bq.BitquantError, match=r"inf at index \(0, 40\) \(the first of 3 that are not finite\)"):
        bq.quantize_blocks(x, name, scale_rule=rule)
    finite = np.isfinite(x)
    clean = bq.quantize_blocks(np.where(finite, x, 0), name, scale_rule=rule)
    q = bq.quantize_blocks(x, name, scale_rule=rule, nonfinite="saturate")
    assert q.scales.tobytes() == clean.scales.tobytes()
    assert np.array_equal(q.codes.view(np.uint8)[finite], clean.codes.view(np.uint8)[finite])
    back = q.dequantize()
    assert back[2, 3] == 0
    block = row_of(name).block
    ends = [(0, 40), (2, 70)]
    for i, j in ends:
        start = j // block * block
        assert np.sign(back[i, j]) == np.sign(x[i, j])
        if name != "q4_0":
            assert abs(back[i, j]) == abs(back[i, start : start + block]).max()
    q = bq.quantize_blocks(x, name, scale_rule=rule, nonfinite="propagate")
    back = q.dequantize()
    for k in range(96 // block):
        cells = slice(k * block, (k + 1) * block)
        spoilt = ~finite[:, cells].all(axis=1)
        assert np.isnan(back[spoilt, cells]).all()
        assert np.isfinite(back[~spoilt, cells]).all()
        assert not q.codes.view(np.uint8)[spoilt, cells].any()
    assert np.array_equal(np.isnan(q.scales.astype(np.float32)).sum(), 3)


# --- The way back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_element_times_every_scale_dequantizes_exactly(name):
    row, rows = row_of(name), judge.ROWS[name]
    element, scale = reference.FORMATS[rows.element], reference.FORMATS[rows.scale]
    if element.kind == "float":
        codes = [code for code in range(1 << element.bits) if reference.decode(code, element).kind == "finite"]
    else:
        codes = list(range(1 << element.bits))
    draw = random.Random(name)
    scales = [code for code in range(1 << scale.bits) if reference.decode(code, scale).kind == "finite"]
    scales = [*scales[:4], *scales[-4:], *draw.sample(scales, 72)]
    picked = [[draw.choice(codes) for _ in range(row.block)] for _ in scales]
    stored = np.array(scales, row.scale.code_dtype)
    elements = bq.pack_bits(np.array(picked, np.uint8), row.element.bits)
    second = Fraction(float(np.float32(0.3))) if row.tensor_scale else Fraction(1)
    options = {"tensor_scale": float(second)} if row.tensor_scale else {}
    q = bq.unpack_blocks((elements, stored), name, (len(scales), row.block), layout="separate", **options)
    for dtype in ("float64", "float32", "bfloat16", "float16"):
        fmt = reference.FORMATS[dtype]
        back = codes_of(q.dequantize(dtype))
        expected = []
        for code, elements in zip(scales, picked, strict=True):
            for each in elements:
                value, sign = judge.decoded(name, code, each, second)
                number = reference.as_number(value)._replace(sign=sign if value == 0 else int(value < 0))
                expected.append(reference.convert_to_float(number, fmt, "nearest_even", "ieee", "gradual", "after")[0])
        assert back == expected, dtype


def test_nan_scales_and_nan_elements_dequantize_to_the_canonical_nan():
    q = bq.unpack_blocks((np.uint8([0x7F, 0xFF, 0x38, 0x00]), np.uint8([127])), "mxfp8_e4m3", (4,))
    assert codes_of(q.dequantize()) == [0x7FC00000, 0x7FC00000, 0x3F800000, 0]
    q = bq.unpack_blocks((np.uint8([0x80, 0x38]), np.uint8([255])), "mxfp8_e4m3", (2,))
    assert codes_of(q.dequantize("float16")) == [0x7E00, 0x7E00]
    assert codes_of(q.dequantize("float64")) == [0x7FF8000000000000] * 2


def test_the_error_is_that_of_the_dequantized_numbers():
    x = np.random.default_rng(6).standard_normal((30, 100)).astype(np.float32)
    for name in NAMES:
        q = bq.quantize_blocks(x, name)
        back = q.dequantize().astype(np.float64)
        error = q.error(x)
        assert error.mse == pytest.approx(((back - x) ** 2).mean(), rel=1e-12)
        assert error.max_abs == np.abs(back - x).max()
        assert 0 <= error.clipped < 0.1
    clipped = bq.quantize_blocks(np.float32([7, 1, 0.5]), "mxfp4")
    assert clipped.error(np.float32([7, 1, 0.5])).clipped == pytest.approx(1 / 3)
    assert bq.quantize_blocks(np.float32([7, 1, 0.5]), "mxfp4", scale_rule="rceil").error([7, 1, 0.5]).clipped == 0


# --- Bytes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", bq.block_formats(), ids=NAMES)
def test_packing_and_unpacking_give_the_same_blocks(row):
    rng = np.random.default_rng(7)
    for layout, shape, axis in itertools.product(row.layouts, [(4, 128), (2, 3, 64), (128, 64), (130, 192)], (-1, 0)):
        if layout == "gguf" and shape[axis] % 64:
            continue
        x = rng.standard_normal(shape).astype(np.float32)
        q = bq.quantize_blocks(x, row.name, axis=axis)
        data = q.pack(layout)
        back = bq.unpack_blocks(data, row, shape, axis=axis, layout=layout, tensor_scale=q.tensor_scale)
        assert np.array_equal(back.codes.view(np.uint8), q.codes.view(np.uint8))
        assert back.scales.tobytes() == q.scales.tobytes()
        assert back.codes.dtype == q.codes.dtype
        assert np.array_equal(back.dequantize(), q.dequantize(), equal_nan=True)
        whole = data.nbytes if layout == "gguf" else data[0].nbytes + data[1].nbytes
        if layout != "cublas" and shape[axis] % row.block == 0:
            assert whole * 8 == row.bits * x.size


def test_rows_that_are_no_whole_number_of_blocks_are_packed_apart():
    x = np.linspace(-1, 1, 3 * 45, dtype=np.float32).reshape(3, 45)
    for name in NAMES:
        q = bq.quantize_blocks(x, name)
        elements, scales = q.pack("separate")
        assert elements.shape == (3, -(-45 * row_of(name).element.bits // 8))
        assert scales.shape == (3, -(-45 // row_of(name).block))
        back = bq.unpack_blocks((elements, scales), name, x.shape, layout="separate", tensor_scale=q.tensor_scale)
        assert np.array_equal(back.dequantize(), q.dequantize())


def test_the_layouts_bytes():
    x = np.zeros((1, 64), np.float32)
    x[0, :4], x[0, 16], x[0, 32] = [1, 2, 3, -4], 6, 12
    q = bq.quantize_blocks(x, "mxfp4")
    elements, scales = q.pack()
    assert elements[0, :2].tolist() == [0x42, 0xE5]  # 1 is code 2, 2 is 4, 3 is 5, −4 is 6 with the sign
    assert scales.tolist() == [[127, 128]]
    record = q.pack("gguf").reshape(2, 17)
    assert record[0, :5].tolist() == [127, 0x72, 0x04, 0x05, 0x0E]  # element 16 beside element 0
    assert record[1, :2].tolist() == [128, 0x07]
    tiles = bq.quantize_blocks(np.repeat(np.float32([[4], [8]]), 64, axis=1), "mxfp4").pack("cublas")[1]
    assert tiles.size == 512
    assert tiles[[0, 1, 16, 17]].tolist() == [127, 127, 128, 128]
    assert tiles[[2, 18, 4]].tolist() == [0, 0, 0]
    q = bq.quantize_blocks(np.float32([-8.0, 7, 1] + 29 * [0]), "q4_0")
    assert q.pack()[:6].tolist() == [0x00, 0x3C, 0x80, 0x8F, 0x89, 0x88]  # step 1.0 as FP16; −8 is 0, 0 is 8


# --- Refusals -----------------------------------------------------------------------------------------------

X = np.ones((2, 32), np.float32)
REFUSED = [
    (lambda: bq.quantize_blocks(X, "mxfp5"), "'mxfp5' is no block format: choose mxfp8_e4m3, "),
    (lambda: bq.quantize_blocks(X, 3), "3 is no block format"),
    (lambda: bq.quantize_blocks(X, "mxfp4", axis=2), "axis=2 does not exist: x has 2 dimensions"),
    (lambda: bq.quantize_blocks(np.float32(1), "mxfp4"), "x is a single number: blocks are cut along an axis"),
    (lambda: bq.quantize_blocks(X, "mxfp4", scale_rule="exact"), "scale_rule='exact' is not possible for mxfp4: "),
    (lambda: bq.quantize_blocks(X, "q8_0", scale_rule="floor"), "scale_rule='floor' is not possible for q8_0: "),
    (lambda: bq.quantize_blocks(X, "mxfp4", rounding="up"), "rounding='up' is not possible"),
    (lambda: bq.quantize_blocks(X, "q8_0", rounding="RNE"), "scale_rule='ggml' has its own rounding"),
    (lambda: bq.quantize_blocks(X, "mxfp4", nonfinite="zero"), "nonfinite='zero' is not possible"),
    (lambda: bq.quantize_blocks(X, "mxfp4", tensor_scale=1.0), "mxfp4 has no tensor scale"),
    (lambda: bq.quantize_blocks(X, "nvfp4", tensor_scale=0.1), "tensor_scale=0.1: give a positive number of float32"),
    (lambda: bq.quantize_blocks(X, "nvfp4", tensor_scale=-1.0), "tensor_scale=-1.0: give a positive number"),
    (lambda: bq.quantize_blocks(X, "nvfp4", tensor_scale=float("inf")), "give a positive number of float32"),
    (lambda: bq.quantize_blocks(X, "nvfp4", tensor_scale=[1.0, 2.0]), "give one number"),
    (lambda: bq.quantize_blocks(X.astype(np.float64), "q8_0"), "computes in float32, which does not hold float64"),
    (lambda: bq.quantize_blocks(X * np.float32(1e-42), "q8_0"), "without a finite reciprocal in float32"),
    (lambda: bq.quantize_blocks(X * np.float32(1e-45), "nvfp4"), "the tensor scale of nvfp4 comes to 0 in float32"),
    (lambda: bq.quantize_blocks(X.astype(np.float64) * 1e300, "nvfp4"), "the tensor scale of nvfp4 comes to inf"),
    (lambda: bq.quantize_blocks(X, "mxfp4", threads=0), "threads=0"),
    (lambda: bq.quantize_blocks(X, "mxfp4", out=np.empty((2, 31), np.uint8)), "out must be a contiguous array of"),
    (lambda: bq.quantize_blocks(X, "mxfp4", out=np.broadcast_to(np.uint8(0), (2, 32))), "out must be a contiguous"),
    (lambda: bq.quantize_blocks(X, "mxfp4").dequantize("int8"), "dequantizing to int8 is not possible"),
    (lambda: bq.quantize_blocks(X, "mxfp4").dequantize("float4_e2m1fn"), "dequantizing to float4_e2m1fn is not"),
    (lambda: bq.quantize_blocks(X, "mxfp4").error(X[:1]), r"x has shape \(1, 32\), the codes \(2, 32\)"),
    (lambda: bq.quantize_blocks(X, "mxfp8").pack("gguf"), "layout='gguf' is not possible for mxfp8_e4m3"),
    (lambda: bq.quantize_blocks(X[:, :31], "q8_0").pack(), "a row of 31 numbers is no whole number of q8_0's records"),
    (lambda: bq.quantize_blocks(X, "nvfp4").pack("gguf"), "a row of 32 numbers is no whole number of nvfp4's records"),
    (lambda: bq.unpack_blocks(b"123", "mxfp4", (4,)), "data in the separate layout is a pair"),
    (lambda: bq.unpack_blocks((b"123", b"1"), "mxfp4", (4,)), "the elements hold 3 codes or bytes: shape needs 2"),
    (lambda: bq.unpack_blocks((b"12", b"12"), "mxfp4", (4,)), "the scales hold 2 codes or bytes: shape needs 1"),
    (lambda: bq.unpack_blocks(b"12", "q8_0", (32,)), "the records hold 2 codes or bytes: shape needs 34"),
    (lambda: bq.unpack_blocks((X, b"1"), "mxfp4", (4,)), "the elements have dtype float32: pass bytes"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_cannot_be_done_is_refused_by_name(call, message):
    with pytest.raises(bq.BitquantError, match=message):
        call()


def test_an_out_that_is_read_only_or_overlaps_is_refused():
    out = np.empty(X.shape, np.uint8)
    out.flags.writeable = False
    with pytest.raises(bq.BitquantError, match="out is read-only"):
        bq.quantize_blocks(X, "mxfp4", out=out)
    x = np.ones(64, np.int8)
    with pytest.raises(bq.BitquantError, match="out overlaps x"):
        bq.quantize_blocks(x, "mxint8", out=x)


# --- Rows ---------------------------------------------------------------------------------------------------


def test_the_table_is_the_references():
    assert list(judge.ROWS) == NAMES
    for row in bq.block_formats():
        other = judge.ROWS[row.name]
        assert (row.element.name, row.block, row.scale.name) == (other.element, other.block, other.scale)
        assert Fraction(2) ** row.unit == other.worth
        if row.name in judge.LARGEST:
            assert (Fraction(row.element.max) * other.worth, row.emax) == judge.LARGEST[row.name]
    assert [row.bits for row in bq.block_formats()] == [8.25, 8.25, 6.25, 6.25, 4.25, 8.25, 4.5, 8.5, 4.5]
    assert bq.quantize_blocks(X, "MXFP8").format is bq.block_formats()[0]
    assert repr(bq.block_formats()[4]) == "<BlockFormat mxfp4>"
