"""Granularity: which numbers share a scale, and that each block is quantized as if it were alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitquant as bq
import reference
from bitquant.kernels.blocking import Blocks
from bitquant.quantize.granularity import Granularity
from quantizing import SCHEMES, array_of, assert_same, judge, positions, rounded


def channels_by_coordinates(shape, block):
    """The block of each element, counted in C order, from its coordinates alone."""
    counts = [-(-length // size) for length, size in zip(shape, block, strict=True)]
    found = []
    for place in itertools.product(*map(range, shape)):
        channel = 0
        for k, size, count in zip(place, block, counts, strict=True):
            channel = channel * count + k // size
        found.append(channel)
    return found


SHAPES = st.lists(st.integers(1, 7), min_size=0, max_size=5).map(tuple)


@given(SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), st.tuples(*(st.integers(1, n + 2) for n in shape)))))
def test_a_walk_finds_the_block_of_every_element(case):
    shape, block = case
    expected = channels_by_coordinates(shape, block)
    blocks = Blocks(shape, block)
    assert blocks.size == len(expected)
    assert blocks.channels == max(expected) + 1
    assert [blocks.channel_of(at) for at in range(blocks.size)] == expected
    granularity = Granularity.of(shape, None, None, block)
    assert granularity.channels_of(0, len(expected)).tolist() == expected
    assert granularity.channels_of(len(expected) // 3, len(expected)).tolist() == expected[len(expected) // 3 :]


X = np.random.default_rng(5).standard_normal((6, 70)).astype(np.float32)
WAYS = [
    ({}, (6, 70), ()),
    ({"axis": 0}, (1, 70), (6,)),
    ({"axis": 1}, (6, 1), (70,)),
    ({"group_size": 32}, (1, 32), (6, 3)),
    ({"group_size": 35}, (1, 35), (6, 2)),
    ({"group_size": 1000}, (1, 70), (6, 1)),
    ({"group_size": -1}, (1, 70), (6, 1)),
    ({"group_size": 4, "axis": 0}, (4, 1), (2, 70)),
    ({"group_size": 1, "axis": -2}, (1, 1), (6, 70)),
    ({"block_shape": (4, 32)}, (4, 32), (2, 3)),
    ({"block_shape": [-1, 7]}, (6, 7), (1, 10)),
    ({"block_shape": (2, -1)}, (2, 70), (3, 1)),
]


@pytest.mark.parametrize(("options", "block", "shape"), WAYS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("source", ["float32", "float64", "bfloat16"])
def test_each_block_is_quantized_as_if_it_were_alone(options, block, shape, scheme, source):
    x = bq.convert(X, source)
    q = bq.quantize(x, scheme, **options)
    assert (q.granularity.block, np.shape(q.scale), np.shape(q.zero_point)) == (block, shape, shape)
    scales = q.exact_scale if isinstance(q.exact_scale, tuple) else (q.exact_scale,)
    points, ends = np.reshape(q.zero_point, -1), [np.reshape(end, -1) for end in q.range]
    back = q.dequantize()
    starts = itertools.product(*(range(0, n, size) for n, size in zip(x.shape, block, strict=True)))
    for channel, (row, column) in enumerate(starts):
        tile = (slice(row, row + block[0]), slice(column, column + block[1]))
        linear = reference.parameters(np.asarray(x[tile], np.float64).reshape(-1).tolist(), scheme)
        assert (scales[channel], points[channel]) == linear[:2]
        assert_same(q.codes[tile], judge(x[tile], linear), x[tile], (options, channel))
        alone = bq.quantize(x[tile], scheme)
        assert (alone.range.low, alone.range.high) == (ends[0][channel], ends[1][channel])
        assert back[tile].tobytes() == alone.dequantize().tobytes()


@pytest.mark.parametrize("rounding", reference.ROUNDINGS)
@pytest.mark.parametrize("options", [{"group_size": 32}, {"group_size": 5}, {"axis": 1}, {"group_size": 3, "axis": 0}])
def test_boundaries_in_small_blocks_are_exact_under_every_rounding(rounding, options):
    """Steps for which many numbers lie on a boundary or next to one: the proposals of short runs must leave them."""
    linear = reference.Linear(reference.Fraction(2, 3), 0, -127, 127)
    codes = set()
    for twice in range(-260, 261):
        place, inexact = reference.floor_place(
            reference.as_number(reference.Fraction(twice, 2) / linear.scale), reference.FORMATS["float32"]
        )
        codes |= {reference.code_at(place + k, reference.FORMATS["float32"]) for k in range(-1, 2 + inexact)}
    x = np.resize(array_of(sorted(codes), "float32"), (40, 64))
    q = bq.quantize(
        x,
        step=[1.5] * Granularity.of(x.shape, options.get("axis"), options.get("group_size"), None).channels,
        rounding=rounding,
        **options,
    )
    assert_same(q.codes, rounded(positions(x, linear), linear, rounding).reshape(x.shape), x, options)


@pytest.mark.parametrize("options", [{"group_size": 32}, {"group_size": 5, "axis": 0}, {"block_shape": (3, 3)}])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_and_layouts_change_nothing(options, threads):
    x = np.random.default_rng(0).standard_normal((257, 301)).astype(np.float32)
    q = bq.quantize(x, "asymmetric", **options)
    for same in (np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2], x.astype(">f4")):
        other = bq.quantize(same, "asymmetric", threads=threads, **options)
        assert np.array_equal(q.codes, other.codes)
        assert other.dequantize(threads=threads).tobytes() == q.dequantize().tobytes()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_numbers_of_small_blocks_are_dequantized_with_one_rounding(dtype, scheme):
    """Small blocks come back number by number, large ones by a table: the same numbers."""
    x = (
        np.random.default_rng(1).standard_normal((8, 48)).astype(np.float32)
        * np.float32(2.0) ** np.arange(-4, 4)[:, None]
    )
    q = bq.quantize(x, scheme, group_size=16)
    fmt = reference.FORMATS[dtype]
    back = np.ascontiguousarray(q.dequantize(dtype)).view(f"u{fmt.bits // 8}").reshape(-1).tolist()
    for at, code in enumerate(q.codes.reshape(-1).tolist()):
        channel = int(q.granularity.channels_of(at, at + 1)[0])
        point = int(q.zero_point.reshape(-1)[channel])
        assert back[at] == reference.dequantize(code, q.exact_scale[channel], point, fmt)


# Steps whose multiples are ties of bfloat16 and float16, leave the normal numbers of float16, or overflow it.
@pytest.mark.parametrize("step", [257 / 256, 2049 / 2048, 1 + 2**-24, 2.0**-20, 3 * 2.0**-149, 1e4, 2.0**120, 5e-324])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "tfloat32"])
def test_every_code_of_small_blocks_comes_back_with_one_rounding(step, dtype):
    codes = np.resize(np.arange(-128, 128), (20, 256)).astype(np.int8)
    fmt = reference.FORMATS[dtype]
    points = np.resize([0, 3, -128, 127, 2**30, -(2**31)], 20 * 8)
    back = bq.dequantize(codes, step=np.full(20 * 8, step), zero_point=points, group_size=32, dtype=dtype)
    back = np.ascontiguousarray(back).view(bq.format(dtype).code_dtype).reshape(-1, 32)
    for group, point, found in zip(codes.reshape(-1, 32), points.tolist(), back, strict=True):
        scale = 1 / reference.Fraction(step)
        assert found.tolist() == [reference.dequantize(code, scale, point, fmt) for code in group.tolist()]


def test_scales_too_wide_for_the_kernels_are_as_exact_in_groups():
    x = np.array([[1e-300, 1.0, 3.0, -2e-200], [5.0, 6.0, 7.5, 8.25]])
    q = bq.quantize(x, "asymmetric", group_size=2)
    assert q.parameters.wide
    for k, tile in enumerate(x.reshape(4, 2)):
        linear = reference.parameters(tile.tolist(), "asymmetric")
        assert (q.exact_scale[k], q.zero_point.reshape(-1)[k]) == linear[:2]
        assert q.codes.reshape(4, 2)[k].tolist() == judge(tile, linear).tolist()
        assert q.dequantize().reshape(4, 2)[k].tobytes() == bq.quantize(tile, "asymmetric").dequantize().tobytes()
    assert q.error(x).mse >= 0


def test_a_step_format_is_that_of_every_group():
    x = np.random.default_rng(3).standard_normal((4, 64)).astype(np.float32)
    x[2, :32] = 0
    q = bq.quantize(x, group_size=32, step_format="float16")
    assert np.array_equal(q.step, q.step.astype(np.float16))
    assert q.step[2, 0] == 1
    for k, group in enumerate(x.reshape(8, 32)):
        alone = bq.quantize(group, step_format="float16")
        assert alone.step == q.step.reshape(-1)[k]
        assert np.array_equal(alone.codes, q.codes.reshape(8, 32)[k])


def test_per_token_is_per_row():
    """Dynamic quantization of activations: one scale for each row, found as it comes."""
    tokens = np.float32([[1, -2, 3], [10, 0, -40], [0.5, 0.25, 0.125]])
    q = bq.asymmetric(tokens, axis=0)
    for row, codes in zip(tokens, q.codes, strict=True):
        assert np.array_equal(bq.asymmetric(row).codes, codes)


def test_empty_dimensions():
    assert bq.quantize(np.zeros((0, 64), np.float32), step=np.ones((0, 2)), group_size=32).codes.shape == (0, 64)
    q = bq.quantize(np.zeros((0, 64), np.float32), step=1, block_shape=(-1, 32))
    assert q.dequantize().shape == (0, 64)


def test_what_does_not_describe_blocks_is_refused():
    for options, message in (
        ({"group_size": 0}, "group_size=0: give a number of elements from 1 up"),
        ({"group_size": 2.5}, "group_size=2.5"),
        ({"group_size": True}, "group_size=True"),
        ({"group_size": 4, "axis": 2}, "axis=2 does not exist: x has 2 dimensions"),
        ({"block_shape": (4,)}, "block_shape=.* has 1 entries for 2 dimensions: give one for each"),
        ({"block_shape": (4, 0)}, "give numbers from 1 up, or −1"),
        ({"block_shape": (4, "a")}, "give numbers from 1 up, or −1"),
        ({"block_shape": (4, 4), "axis": 0}, "block_shape says everything"),
        ({"block_shape": (4, 4), "group_size": 4}, "block_shape says everything"),
        ({"group_size": 32, "step": [1, 2]}, "step has 2 entries for 18 channels"),
    ):
        with pytest.raises(bq.BitquantError, match=message):
            bq.quantize(X, **options)
    with pytest.raises(bq.BitquantError, match="x has 0 dimensions"):
        bq.quantize(1.0, group_size=4)
    bad = X.copy()
    bad[3, 33:64] = np.nan
    bad[3, 32] = np.inf
    with pytest.raises(bq.BitquantError, match=r"nothing in block \(3, 1\) of x is finite"):
        bq.quantize(bad, group_size=32, nonfinite="saturate")
    with pytest.raises(bq.BitquantError, match=r"x has inf at index \(3, 32\) \(the first of 32"):
        bq.quantize(bad, group_size=32)
