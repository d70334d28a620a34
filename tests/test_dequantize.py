"""Codes back to numbers, with one rounding: every byte, format and channel."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
import reference
from bitquant.kernels import levels
from bitquant.quantize.granularity import Granularity
from quantizing import BACK, codes_of


def next_to_a_tie(precision, sign):
    """A scale whose inverse lies 2^-(62 + precision) above (or below) the tie 1 + 2^-precision."""
    tie, unit = (1 << precision) + 1, 1 << precision
    numerator = (1 << 62) - (1 << 62) % unit + -sign * pow(tie, -1, unit) % unit - unit
    return Fraction(numerator, (tie * numerator + sign) // unit)


BACKS = [
    *((next_to_a_tie(precision, sign), 0) for precision in (53, 24, 11, 8) for sign in (1, -1)),
    (Fraction(1), 0),
    (Fraction(10), -128),
    (Fraction(1, 3), 127),
    (Fraction(255) / (1 + Fraction(1, 10**30)), 5),  # wide
    (Fraction(2**63 - 1, 2**63 - 25), 0),  # as wide as the kernel takes
    (Fraction(2**63 + 1, 3), 0),  # one bit wider
    (Fraction(7, 3), 2**31 - 1),
    (Fraction(7, 3), -(2**31)),
    (Fraction(1, 65504), 1),  # float16 overflows
    (Fraction(127, 65520), 0),  # ... at a tie
    (Fraction(2) ** 24, 0),  # subnormal in float16
    (Fraction(2) ** 25 * 3, 0),  # ties and nothing at all in float16
    (Fraction(2) ** 150, 0),
    (1 / Fraction(2) ** 122, 0),
    (Fraction(3) * Fraction(2) ** 1072, 0),
    (Fraction(10) ** 400, 3),
    (1 / Fraction(10) ** 306, 0),
    (1 / Fraction(10) ** 400, 3),
]


@pytest.mark.parametrize(("scale", "zero_point"), BACKS, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_every_byte_is_dequantized_with_one_rounding(dtype, scale, zero_point):
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    for name in BACK:
        fmt = reference.FORMATS[name]
        theirs = [reference.dequantize(code, scale, zero_point, fmt) for code in codes.tolist()]
        for options in ({"scale": scale}, {"step": 1 / scale}):
            ours = bq.dequantize(codes, zero_point=zero_point, dtype=name, **options)
            assert codes_of(ours) == theirs, name


def test_codes_beyond_the_range_of_the_grid_are_dequantized_all_the_same():
    q = bq.symmetric([1.0, -1.0], bits=3)
    theirs = [reference.dequantize(code, Fraction(3), 0, reference.FLOAT32) for code in (-128, 127)]
    assert codes_of(bq.dequantize(np.int8([-128, 127]), scale=q.exact_scale)) == theirs


@pytest.mark.parametrize(("shape", "axis"), [((3, 4), 0), ((3, 4), 1), ((2, 3, 5), -2), ((3,), 0), ((2, 0, 3), 2)])
def test_each_channel_is_dequantized_by_its_own_parameters(shape, axis):
    codes = np.random.default_rng(3).integers(-128, 128, shape).astype(np.int8)
    channels = shape[axis]
    scales = [Fraction(3, k + 1) for k in range(channels)]
    scales[-1] = Fraction(255) / (1 + Fraction(1, 10**30))
    points = list(range(channels))
    many = np.moveaxis(bq.dequantize(codes, scale=scales, zero_point=points, axis=axis), axis, 0)
    for k, row in enumerate(np.moveaxis(codes, axis, 0)):
        alone = bq.dequantize(row, scale=scales[k], zero_point=points[k])
        assert many[k].tobytes() == alone.tobytes()
    strided = np.asfortranarray(codes)
    again = bq.dequantize(strided, scale=scales, zero_point=points, axis=axis)
    assert np.array_equal(np.moveaxis(again, axis, 0), many)


def test_many_codes_are_dequantized_alike():
    codes = np.resize(np.arange(256, dtype=np.uint8), 2**21 + 77)
    for name in BACK:
        table = bq.dequantize(codes[:256], step=0.1, zero_point=3, dtype=name)
        for threads in (1, 3):
            many = bq.dequantize(codes, step=0.1, zero_point=3, dtype=name, threads=threads)
            assert np.array_equal(many, np.resize(table, codes.size)), name


@pytest.mark.parametrize("axis", [0, 1])
def test_large_channels_have_the_numbers_of_small_ones(axis):
    """Small channels are computed number by number, large ones by tables or products."""
    random = np.random.default_rng(8)
    codes = np.moveaxis(random.integers(0, 256, (len(BACKS), 700)).astype(np.uint8), 0, axis)
    scales, points = zip(*BACKS, strict=True)
    for name in BACK:
        for view in ("int8", "uint8"):
            small, large = (
                bq.dequantize(x.view(view), scale=scales, zero_point=points, axis=axis, dtype=name)
                for x in (np.ascontiguousarray(codes.take(range(300), 1 - axis)), codes)
            )
            assert np.array_equal(codes_of(small), codes_of(large.take(range(300), 1 - axis))), (name, view)


SIGNED = np.arange(256, dtype=np.uint8).view(np.int8).tolist()


def table_of(step, zero_point):
    """FP32 codes of the values of all 256 signed codes, by the reference."""
    values = [reference.dequantize(code, 1 / Fraction(step), zero_point, reference.FLOAT32) for code in SIGNED]
    return np.array([values], np.uint32)


def test_products_are_taken_where_each_of_them_is_the_value(witness):
    def told(table, step, zero_point=0):
        return levels.are_products(table, np.array([float(step)]), np.int32([zero_point]), True)

    for zero_point in (0, -128, 5):
        table = table_of(Fraction(1, 10), zero_point)
        assert told(table, 0.1, zero_point)
        for byte in (1, 200):
            wrong = table.copy()
            wrong[0, byte] ^= 1
            assert not told(wrong, 0.1, zero_point)
        assert not told(table, 0.1, zero_point + 1)
    for sign in (1, -1):  # rounded to FP64 first, it is a tie
        step = 1 / next_to_a_tie(24, sign)
        assert told(table_of(step, 0), step) == (sign < 0)
    assert told(table_of(2.0**-126, 0), 2.0**-126)
    assert not told(table_of(2.0**-127, 0), 2.0**-127)  # a subnormal number
    assert told(table_of(2.0**-900, 0), 2.0**-900)  # zeros
    assert not told(table_of(1.0, 2**30), 1.0, 2**30)  # the difference may leave an int32
    target, codes = np.zeros(256, np.float32), np.arange(256, dtype=np.uint8)
    marks, one = np.arange(256, dtype=np.uint32)[None], Granularity.of((256,), None, None, None).blocks
    back = levels.Products(marks, one, np.array([0.1]), np.int32([0]), True)
    for rounding in ("toward_positive", "toward_negative", "toward_zero"):
        with witness.fpu_state(rounding):
            taken = told(table_of(1.0, 0), 1.0)
            back(codes, target)
        assert not taken
        assert np.array_equal(target.view(np.uint32), marks[0])  # which are no products
    back(codes, target)
    assert np.array_equal(target, np.float32([code * 0.1 for code in SIGNED]))


BACK_REFUSED = [
    ([1, 2], {"step": 1}, "codes are int8 or uint8, not int64"),
    (np.int8([1]), {}, "give the scale or the step that the codes were made with"),
    (np.int8([1]), {"scale": 1, "step": 1}, "scale and step are inverses"),
    (np.int8([1]), {"scale": 0}, "scale is 0: it must be positive"),
    (np.int8([1]), {"scale": 1, "zero_point": 1.5}, "zero_point is 1.5: it must be an integer"),
    (np.int8([1]), {"scale": 1, "zero_point": 2**40}, "does not fit an int32"),
    (np.int8([1]), {"scale": 1, "axis": 1}, "axis=1 does not exist"),
    (np.int8([1]), {"scale": [1, 2]}, "scale has 2 entries for 1 channels"),
    (np.int8([1]), {"scale": 1, "dtype": "int8"}, "dequantizing gives real numbers: int8 is no floating format"),
    (np.int8([1]), {"scale": 1, "threads": -1}, "threads=-1"),
]


@pytest.mark.parametrize(("codes", "options", "message"), BACK_REFUSED, ids=str)
def test_what_cannot_be_dequantized_is_refused_by_name(codes, options, message):
    with pytest.raises(bq.BitquantError, match=re.escape(message)):
        bq.dequantize(codes, **options)


def test_one_number_comes_back_as_one_number():
    q = bq.quantize(2.25, step=1)
    for number in (q.dequantize(), bq.dequantize(q.codes, step=1), bq.dequantize(np.array(2, np.int8), step=1)):
        assert (np.shape(number), number) == ((), 2)
