"""The compiled classes' own guards: no misuse reads or writes out of bounds, divides by zero, or goes unnoticed.

A guard that is missing may end the process, so the cases run in one of their own, which tells how each went.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bitquant as bq
from bitquant import plans
from bitquant.kernels import levels as level_kernel
from bitquant.kernels import scaled, scales, stats
from bitquant.kernels.affine import Affine
from bitquant.kernels.blocking import Blocks
from bitquant.kernels.codebook import ToCodebook
from bitquant.kernels.formula import Formula
from bitquant.kernels.integer import ToInteger
from bitquant.kernels.lookup import Lookup
from bitquant.kernels.narrow import Narrow
from bitquant.kernels.pipeline import Pipeline
from bitquant.kernels.shrink import Shrink
from bitquant.kernels.stage import Stage
from bitquant.kernels.trim import Trim
from bitquant.kernels.whole import FromWhole, Resize
from bitquant.kernels.widen import FromInteger, Widen

# --- What is right, for each case to spoil in one place -----------------------------------------------------


def F32(*shape):  # noqa: N802 (the format's name)
    """Zeros of float32."""
    return np.zeros(shape, np.float32)


def F64(*shape):  # noqa: N802
    """Zeros of float64."""
    return np.zeros(shape)


def I8(*shape):  # noqa: N802
    """Bytes."""
    return np.zeros(shape, np.int8)


def shared(length=8, inner=1, block=4, blocks=2):
    """Eight numbers in two blocks."""
    return length, inner, block, blocks


def maxima(source=None, widen=None, most=None, shape=None, **more):
    """Largest magnitudes of two blocks."""
    source, most = F32(8) if source is None else source, np.zeros(2, np.uint32) if most is None else most
    scaled.maxima(source, widen, most, shape or shared(), **more)


def stages():
    """The stages of a conversion: float16 to float32 bits, and those to bfloat16 codes."""
    widen = plans.to_carrier(bq.FP16)[1]
    narrow = plans.conversion(bq.FP32, bq.BF16, rounding="toward_zero", counted=True).stages[-1]
    return widen, narrow


def pipeline():
    """A conversion of 4 bytes to 2."""
    return plans.conversion(bq.FP32, bq.FP16, counted=True)


def numbers(channels=3, **other):
    """The parameters of a quantizer: step 1."""
    return {
        "numerator": np.ones(channels, np.uint64),
        "denominator": np.ones(channels, np.uint64),
        "exponent": np.zeros(channels, np.int32),
        "zero_point": np.zeros(channels, np.int32),
    } | other


def blocks(size=8, width=3):
    """Blocks of a flat array."""
    return Blocks((size,), (width,))


def kernel(word=4, widen=None, size=8, width=3, **other):
    """An Affine of the channels of a flat array, by default three."""
    return Affine(word, widen, 0, -127, 127, numbers(-(-size // width), **other), blocks(size, width))


def read_only(array):
    """The array, not to be written."""
    array.flags.writeable = False
    return array


def products(source=None, target=None, steps=None, zero_points=None, width=4, place=0, table=None):
    """Call `Products` with what is right but for the given."""
    source = I8(12) if source is None else source
    target = F32(12) if target is None else target
    table = np.zeros((3, 256), np.uint32) if table is None else table
    steps, zero_points = (
        F64(3) if steps is None else steps,
        np.zeros(3, np.int32) if zero_points is None else zero_points,
    )
    return level_kernel.Products(table, blocks(12, width), steps, zero_points, True)(source, target, place)


def are_products(table=None, steps=None, zero_points=None):
    """Call `are_products` with what is right but for the given."""
    table = np.zeros((3, 256), np.uint32) if table is None else table
    steps, zero_points = (
        F64(3) if steps is None else steps,
        np.zeros(3, np.int32) if zero_points is None else zero_points,
    )
    return level_kernel.are_products(table, steps, zero_points, True)


def values(source=None, target=None, parameters=None, width=4, row=None, place=0, word=4):
    """Call `EachValue` with what is right but for the given."""
    source = I8(12) if source is None else source
    target = np.empty(12, np.uint32) if target is None else target
    row = plans.rounding_row(bq.FP32) if row is None else row
    return level_kernel.EachValue(parameters or numbers(), True, blocks(12, width), row, word)(source, target, place)


def compared(x=None, y=None, low=None, high=None, place=0, way_back=None):
    """Call `compared` with what is right but for the given."""
    x, y = F32(12) if x is None else x, F32(12) + 2 if y is None else y
    low, high = F32(3) if low is None else low, F32(3) if high is None else high
    return stats.compared(x, None, y, way_back, None, blocks(12, 4), low, high, place)


def twos(width=4, size=12):
    """A table that turns every byte into 2, as FP32."""
    table = np.full((-(-size // width), 256), 2, np.float32)
    return level_kernel.Table(table.view(np.uint32), blocks(size, width))


def scale_ranges(low=None, high=None, parameters=None, wide=None):
    """Call `of_ranges` with what is right but for the given."""
    low, high = F64(3) if low is None else low, F64(3) + 1 if high is None else high
    wide = np.empty(3, np.uint8) if wide is None else wide
    return scales.of_ranges(low, high, False, -128, 127, False, parameters or numbers(), wide)


def formula(
    word=4, links=(("multiply", 0, -1), ("to_int32", -1, -1)), operands=None, source="float", target="int8", **other
):
    """Make a Formula of the channels of a flat array, by default three."""
    operands = [np.ones(3, f"f{word}")] if operands is None else operands
    return Formula(word, list(links), operands, source, target, other.get("blocks", blocks()), other.get("widen"))


def extremes(source=None, widen=None, word=4, width=4, low=None, high=None):
    """Call `extremes` with what is right but for the given."""
    source = F32(12) if source is None else source
    low = np.zeros(3, f"i{word}") if low is None else low
    high = np.zeros(3, f"i{word}") if high is None else high
    return stats.extremes(source, widen, word, blocks(12, width), low, high, False)


def codebook(thresholds=3, levels=4, word=4, whole=False, counted=False, **other):
    """Make a ToCodebook of four values, or of so many keys and levels."""
    keys = np.zeros(thresholds, f"i{word}") if isinstance(thresholds, int) else thresholds
    values = np.zeros(levels, f"u{word}") if isinstance(levels, int) else levels
    zeros = dict.fromkeys(
        ("nan", "refuse_nan", "refuse_overflow", "flush_input", "first", "last", "outside", "flip"), 0
    )
    return ToCodebook(keys, values, whole, counted, **(zeros | other))


def random_run(random):
    """Round eight numbers with given random integers."""
    return plans.conversion(bq.FP32, bq.FP16, bq.Stochastic(8)).run(F32(8), np.zeros(8, np.uint16), None, 0, 8, random)


def back(source=None, target=None, table=None, width=4, place=0):
    """Call `Table` with what is right but for the given."""
    source = I8(12) if source is None else source
    target = np.empty(12, np.uint32) if target is None else target
    table = np.zeros((3, 256), np.uint32) if table is None else table
    return level_kernel.Table(table, blocks(12, width))(source, target, place)


# --- The cases ----------------------------------------------------------------------------------------------

MISUSES = {
    # A pipeline is made of stages that fit each other ...
    "no stages": lambda: Pipeline(()),
    "seven stages": lambda: Pipeline(stages()[1:] * 7),
    "stages that do not fit": lambda: Pipeline((stages()[1], stages()[1])),
    "no stage": lambda: Pipeline((None,)),
    "no second stage": lambda: Pipeline((stages()[0], None)),
    "something else than a stage": lambda: Pipeline(("widen",)),
    "a list of stages": lambda: Pipeline([stages()[0]]),
    # ... and runs over arrays that fit it.
    "source of another word": lambda: pipeline().run(F64(8), np.zeros(8, np.uint16)),
    "target of another word": lambda: pipeline().run(F32(8), np.zeros(8, np.uint32)),
    "target too short": lambda: pipeline().run(F32(8), np.zeros(7, np.uint16)),
    "target too long": lambda: pipeline().run(F32(8), np.zeros(9, np.uint16)),
    "source strided": lambda: pipeline().run(F32(16)[::2], np.zeros(8, np.uint16)),
    "source in Fortran's order": lambda: pipeline().run(F32(4, 2).T, np.zeros(8, np.uint16)),
    "target strided": lambda: pipeline().run(F32(8), np.zeros(16, np.uint16)[::2]),
    "target read-only": lambda: pipeline().run(F32(8), read_only(np.zeros(8, np.uint16))),
    "no source": lambda: pipeline().run(None, np.zeros(8, np.uint16)),
    "no target": lambda: pipeline().run(F32(8), None),
    "a list as source": lambda: pipeline().run([0.0] * 8, np.zeros(8, np.uint16)),
    "start below zero": lambda: pipeline().run(F32(8), np.zeros(8, np.uint16), None, -1, 8),
    "start beyond stop": lambda: pipeline().run(F32(8), np.zeros(8, np.uint16), None, 5, 4),
    "stop beyond the end": lambda: pipeline().run(F32(8), np.zeros(8, np.uint16), None, 0, 9),
    "mask too short": lambda: pipeline().run(F32(8), np.zeros(8, np.uint16), np.zeros(7, np.uint8)),
    "mask of words": lambda: pipeline().run(F32(8), np.zeros(8, np.uint16), np.zeros(8, np.uint16)),
    "mask strided": lambda: pipeline().run(F32(8), np.zeros(8, np.uint16), np.zeros(16, np.uint8)[::2]),
    "mask read-only": lambda: pipeline().run(F32(8), np.zeros(8, np.uint16), read_only(np.zeros(8, np.uint8))),
    # Stages of words that no loop is for.
    **{
        f"widen from {source} to {target} bytes": lambda sizes=(source, target): Widen(*sizes, rebias=0, unit=0)
        for source, target in ((1, 2), (1, 8), (2, 2), (8, 4), (3, 4), (4, 16), (0, 0), (-2, 4))
    },
    "widen what float32 does not hold": lambda: Widen(2, 4, rebias=1, unit=-1100),
    "widen by nothing": lambda: Widen(2, 4),
    "widen by words": lambda: Widen(2, 4, rebias=0, unit=0, shift="13"),
    **{
        f"narrow from {source} to {target} bytes": lambda sizes=(source, target): Narrow(*sizes)
        for source, target in ((2, 2), (1, 1), (4, 8), (8, 1), (8, 2), (4, 3), (4, 0), (16, 8))
    },
    "narrow by words": lambda: Narrow(4, 2, stored="10"),
    **{
        f"from integers of {source} to {target} bytes": lambda sizes=(source, target): FromInteger(*sizes, True)
        for source, target in ((4, 4), (8, 8), (1, 2), (2, 2), (3, 4), (0, 8))
    },
    **{
        f"to integers of {target} from {source} bytes": lambda sizes=(source, target): ToInteger(*sizes)
        for source, target in ((4, 2), (2, 1), (8, 4), (4, 8), (1, 1))
    },
    **{
        f"shrink {source} to {target} bytes": lambda sizes=(source, target): Shrink(*sizes)
        for source, target in ((4, 4), (8, 8), (2, 2), (4, 8), (1, 1), (4, 3), (4, 0))
    },
    **{
        f"trim {bits} bits of {size} bytes": lambda size=size, bits=bits: Trim(size, bits, False)
        for size, bits in ((2, 5), (1, 1), (16, 1), (4, 0), (4, 24), (4, -1), (8, 0), (8, 53), (8, 64))
    },
    "whole numbers by words": lambda: FromWhole(mode="nearest"),
    "resize by words": lambda: Resize(low="0"),
    "a stage of its own": lambda: Pipeline((Stage(),)).run(F32(8), F32(8)),
    # Tables ...
    "look up codes of four bytes": lambda: Lookup(4, np.zeros(256, np.uint32)),
    "look up no bytes": lambda: Lookup(0, np.zeros(1, np.uint32)),
    "look up in too few": lambda: Lookup(1, np.zeros(255, np.uint32)),
    "look up in too many": lambda: Lookup(1, np.zeros(65536, np.uint32)),
    "look two bytes up in 256": lambda: Lookup(2, np.zeros(256, np.uint32)),
    "look up half words": lambda: Lookup(1, np.zeros(256, np.uint16)),
    "look up complex words": lambda: Lookup(1, np.zeros(256, "c16")),
    "look up in strides": lambda: Lookup(1, np.zeros(512, np.uint32)[::2]),
    "look up in a transposed table": lambda: Lookup(1, np.zeros((16, 16), np.uint32).T),
    "look up in nothing": lambda: Lookup(1, None),
    "look up in a list": lambda: Lookup(1, [0] * 256),
    # ... and codebooks.
    "a codebook of one value": lambda: codebook(1, 1),
    "a codebook of no value": lambda: codebook(1, 0),
    "a codebook without thresholds": lambda: codebook(0, 2),
    "a codebook of too few thresholds": lambda: codebook(3, 5),
    "a codebook of too many thresholds": lambda: codebook(4, 4),
    "a codebook of another word": lambda: codebook(levels=np.zeros(4, np.uint64)),
    "a codebook of half words": lambda: codebook(word=2),
    "a codebook of complex words": lambda: codebook(np.zeros(3, "c16"), np.zeros(4, "c16")),
    "a codebook of unsigned thresholds": lambda: codebook(np.zeros(3, np.uint32)),
    "a codebook of swapped thresholds": lambda: codebook(np.zeros(3, ">i4")),
    "a codebook of signed levels": lambda: codebook(levels=np.zeros(4, np.int32)),
    "a codebook of float levels": lambda: codebook(levels=np.zeros(4, np.float32)),
    "a codebook of too many values": lambda: codebook((1 << 16), (1 << 16) + 1),
    "a codebook of strided levels": lambda: codebook(levels=np.zeros(8, np.uint32)[::2]),
    "a codebook of nothing": lambda: ToCodebook(None, np.zeros(4, np.uint32), False, False),
    "a codebook of short integers": lambda: codebook(levels=8, whole=True),
    "a codebook of integers without a mark for each": lambda: codebook(levels=4, word=8, whole=True),
    "a codebook without levels": lambda: ToCodebook(np.zeros(3, np.int32), None, False),
    "a codebook of lists": lambda: ToCodebook([0] * 3, [0] * 4, False),
    "a codebook without rules": lambda: ToCodebook(np.zeros(3, np.int32), np.zeros(4, np.uint32), False),
    # Random integers.
    "random too short": lambda: random_run(np.zeros(7, np.uint32)),
    "random too long": lambda: random_run(np.zeros(9, np.uint32)),
    "random of bytes": lambda: random_run(np.zeros(8, np.uint8)),
    "random of long words": lambda: random_run(np.zeros(8, np.uint64)),
    "random with signs": lambda: random_run(np.zeros(8, np.int32)),
    "random strided": lambda: random_run(np.zeros(16, np.uint32)[::2]),
    "random in a list": lambda: random_run([0] * 8),
    # A quantizer's parameters ...
    "halves as words": lambda: kernel(word=2),
    "a stage of another word": lambda: kernel(word=8, widen=stages()[0]),
    "no channels": lambda: Affine(4, None, 0, -127, 127, numbers(0), blocks(0)),
    "a parameter is missing": lambda: Affine(4, None, 0, -127, 127, {"numerator": np.ones(3, np.uint64)}, blocks()),
    "no parameters": lambda: Affine(4, None, 0, -127, 127, None, blocks()),
    "no blocks": lambda: Affine(4, None, 0, -127, 127, numbers(), None),
    "more channels than parameters": lambda: Affine(4, None, 0, -127, 127, numbers(), blocks(8, 2)),
    "blocks of two dimensions for one": lambda: Blocks((8,), (2, 2)),
    "blocks of nothing": lambda: Blocks((8,), (0,)),
    "blocks of negative arrays": lambda: Blocks((-8,), (2,)),
    "blocks in too many dimensions": lambda: Blocks((2, 3) * 70, (1, 3) + (2, 2) * 69),
    "blocks of no tuples": lambda: Blocks(8, 2),
    **{
        f"{name} {why}": lambda name=name, change=change: kernel(**{name: change(numbers()[name])})
        for name in numbers()
        if name != "numerator"
        for why, change in {
            "too short": lambda array: array[:2],
            "too long": lambda array: np.append(array, array[:1]),
            "of another dtype": lambda array: array.astype("c8"),
            "strided": lambda array: np.repeat(array, 2)[::2],
        }.items()
    },
    "numerator of another dtype": lambda: kernel(numerator=np.ones(3, np.int64)),
    "numerator strided": lambda: kernel(numerator=np.ones(6, np.uint64)[::2]),
    "numerator too large": lambda: kernel(numerator=np.full(3, 2**63, np.uint64)),
    "denominator too large": lambda: kernel(denominator=np.full(3, 2**63, np.uint64)),
    "denominator zero": lambda: kernel(denominator=np.zeros(3, np.uint64)),
    "numerator zero": lambda: kernel(numerator=np.zeros(3, np.uint64)),
    # ... and arrays.
    "quantize another word": lambda: kernel().run(F64(8), I8(8)),
    "quantize what is to be widened": lambda: kernel(widen=stages()[0]).run(F32(8), I8(8)),
    "quantize into words": lambda: kernel().run(F32(8), np.zeros(8, np.int16)),
    "quantize another size": lambda: kernel().run(F32(9), I8(9)),
    "quantize into less": lambda: kernel().run(F32(8), I8(7)),
    "quantize into more": lambda: kernel().run(F32(8), I8(9)),
    "quantize strided": lambda: kernel().run(F32(16)[::2], I8(8)),
    "quantize into strides": lambda: kernel().run(F32(8), I8(16)[::2]),
    "quantize into read-only": lambda: kernel().run(F32(8), read_only(I8(8))),
    "quantize nothing": lambda: kernel().run(None, I8(8)),
    "quantize into nothing": lambda: kernel().run(F32(8), None),
    "quantize from below": lambda: kernel().run(F32(8), I8(8), -1, 8),
    "quantize from beyond": lambda: kernel().run(F32(8), I8(8), 6, 5),
    "quantize to beyond": lambda: kernel().run(F32(8), I8(8), 0, 9),
    # Formulas.
    "a formula of halves": lambda: formula(word=2),
    "a formula of words": lambda: formula(source="int32"),
    "a formula into words": lambda: formula(target="int32"),
    "a formula without blocks": lambda: formula(blocks=None),
    "a formula of an unknown operation": lambda: formula(links=[("power", 0, -1)]),
    "a formula of many links": lambda: formula(links=[("add", 0, -1)] * 49),
    "a formula of many operands": lambda: formula(operands=[F32(3)] * 7),
    "a formula of an operand that is none": lambda: formula(links=[("add", 1, -1)]),
    "a formula of a second operand that is none": lambda: formula(links=[("fma", 0, 1)]),
    "a formula of an operand before the first": lambda: formula(links=[("add", -2, -1)]),
    "a formula of operands too short": lambda: formula(operands=[F32(2)]),
    "a formula of operands of another dtype": lambda: formula(operands=[F64(3)]),
    "a formula of operands in strides": lambda: formula(operands=[F32(6)[::2]]),
    "a formula of operands that are none": lambda: formula(operands=[None]),
    "a formula of another stage": lambda: formula(word=8, widen=stages()[0]),
    "codes of a formula from words": lambda: formula().run(F64(8), I8(8)),
    "codes of a formula into words": lambda: formula().run(F32(8), np.zeros(8, np.int16)),
    "codes of a formula into less": lambda: formula().run(F32(8), I8(7)),
    "codes of a formula from strides": lambda: formula().run(F32(16)[::2], I8(8)),
    "codes of a formula into strides": lambda: formula().run(F32(8), I8(16)[::2]),
    "codes of a formula into read-only": lambda: formula().run(F32(8), read_only(I8(8))),
    "codes of a formula from below": lambda: formula().run(F32(8), I8(8), -1),
    "codes of a formula beyond": lambda: formula().run(F32(8), I8(8), 1),
    # Values one by one.
    "values of words": lambda: values(source=np.zeros(12, np.int16)),
    "values into less": lambda: values(target=np.empty(11, np.uint32)),
    "values into read-only": lambda: values(target=read_only(np.empty(12, np.uint32))),
    "values into strides": lambda: values(target=np.empty(24, np.uint32)[::2]),
    "values of too few channels": lambda: values(width=3),
    "values without a parameter": lambda: values(parameters={"numerator": np.ones(3, np.uint64)}),
    **{
        f"values with {name} {why}": lambda name=name, change=change: values(parameters=numbers(**{name: change}))
        for name, why, change in (
            ("denominator", "too short", np.ones(2, np.uint64)),
            ("denominator", "of another dtype", np.ones(3, np.uint32)),
            ("denominator", "too large", np.full(3, 2**63, np.uint64)),
            ("exponent", "too short", np.zeros(2, np.int32)),
            ("exponent", "of another dtype", np.zeros(3, np.int16)),
            ("zero_point", "too short", np.zeros(2, np.int32)),
            ("zero_point", "strided", np.zeros(6, np.int32)[::2]),
            ("numerator", "zero", np.zeros(3, np.uint64)),
            ("numerator", "too large", np.full(3, 2**63, np.uint64)),
            ("numerator", "missing", None),
        )
    },
    "values by another stage": lambda: values(row=stages()[0]),
    "values by no stage": lambda: level_kernel.EachValue(numbers(), True, blocks(12, 4), None, 4),
    "values of three bytes": lambda: values(word=3),
    "values of another word": lambda: values(word=2),
    "values by nothing": lambda: level_kernel.WayBack()(I8(12), I8(12)),
    "values in 32-bit lanes": lambda: values(row=stages()[1]),
    "values from below": lambda: values(place=-1),
    "values beyond": lambda: values(place=1),
    # Values as products.
    "products of words": lambda: products(source=np.zeros(12, np.int16)),
    "products into less": lambda: products(target=F32(11)),
    "products into halves": lambda: products(target=np.empty(12, np.uint16)),
    "products beside a table of floats": lambda: products(table=np.zeros((3, 256), np.float32)),
    "products beside a smaller table": lambda: products(table=np.zeros((2, 256), np.uint32)),
    "products into read-only": lambda: products(target=read_only(F32(12))),
    "products by too few steps": lambda: products(steps=F64(2)),
    "products by float32": lambda: products(steps=F32(3)),
    "products from too few zero points": lambda: products(zero_points=np.zeros(2, np.int32)),
    "products from long zero points": lambda: products(zero_points=np.zeros(3, np.int64)),
    "products beyond": lambda: products(place=1),
    "products of a smaller table": lambda: are_products(table=np.zeros((2, 256), np.uint32)),
    "products of a table of floats": lambda: are_products(table=np.zeros((3, 256), np.float32)),
    "products of a strided table": lambda: are_products(table=np.zeros((3, 512), np.uint32)[:, ::2]),
    "products of no table": lambda: level_kernel.are_products(None, F64(3), np.zeros(3, np.int32), True),
    "products of more zero points": lambda: are_products(zero_points=np.zeros(4, np.int32)),
    # Comparisons.
    "compare two lengths": lambda: compared(y=F32(11)),
    "compare words": lambda: compared(x=F64(12)),
    "compare strides": lambda: compared(x=F32(24)[::2]),
    "compare with FP64 bounds": lambda: compared(low=F64(3)),
    "compare with too few bounds": lambda: compared(high=F32(2)),
    "compare beyond": lambda: compared(place=1),
    "compare words by a way back": lambda: compared(way_back=twos()),
    "compare by nothing": lambda: compared(y=I8(12), way_back=level_kernel.WayBack()),
    "compare by a way back of less": lambda: compared(y=I8(12), way_back=twos(size=8)),
    "compare by a way back to halves": lambda: compared(
        y=I8(12), way_back=level_kernel.Table(np.zeros((3, 256), np.uint16), blocks(12, 4))
    ),
    "compare by a way back to FP64": lambda: compared(
        y=I8(12), way_back=level_kernel.Table(np.zeros((3, 256), np.uint64), blocks(12, 4))
    ),
    "compare from below": lambda: compared(place=-1),
    # Scales.
    "scales of two lengths": lambda: scale_ranges(high=F64(2)),
    "scales of float32": lambda: scale_ranges(low=F32(3)),
    "scales of strides": lambda: scale_ranges(low=F64(6)[::2]),
    "scales into read-only": lambda: scale_ranges(high=read_only(F64(3))),
    "scales into too few": lambda: scale_ranges(parameters=numbers(2)),
    "scales into signed": lambda: scale_ranges(parameters=numbers(numerator=np.ones(3, np.int64))),
    "scales without flags": lambda: scale_ranges(wide=np.empty(2, np.uint8)),
    "scales of numbers into too few": lambda: scales.of_numbers(F64(3) + 1, False, numbers(2)),
    "zero points into too few": lambda: scales.zero_points(F64(3), F64(3), 0, numbers(), np.empty(2, np.int64)),
    "zero points into words": lambda: scales.zero_points(F64(3), F64(3), 0, numbers(), np.empty(3, np.int32)),
    "multiples of words": lambda: level_kernel.multiples(
        numbers(), np.ones(3, np.int32), plans.rounding_row(bq.FP32), np.empty(3, np.uint64)
    ),
    "multiples into less": lambda: level_kernel.multiples(
        numbers(), np.ones(3, np.int64), plans.rounding_row(bq.FP32), np.empty(2, np.uint64)
    ),
    # The way back.
    "look words up": lambda: back(source=np.zeros(12, np.int16)),
    "look up into less": lambda: back(target=np.empty(11, np.uint32)),
    "look up into another word": lambda: back(target=np.empty(12, np.uint16)),
    "look up into read-only": lambda: back(target=read_only(np.empty(12, np.uint32))),
    "look up in 255": lambda: back(table=np.zeros((3, 255), np.uint32)),
    "look up in a flat table": lambda: back(table=np.zeros(768, np.uint32)),
    "look up in three dimensions": lambda: back(table=np.zeros((3, 256, 2), np.uint32)),
    "look up in an empty table": lambda: back(table=np.zeros((0, 256), np.uint32)),
    "look up in a strided table": lambda: back(table=np.zeros((3, 512), np.uint32)[:, ::2]),
    "look up in no table": lambda: level_kernel.Table(None, blocks(12, 4)),
    "look up bytes in words": lambda: back(target=I8(12)),
    "look up words in bytes": lambda: back(table=np.zeros((3, 256), np.int8)),
    "look up sixteen bytes": lambda: back(target=np.empty(12, "c16"), table=np.zeros((3, 256), "c16")),
    "look up for more channels": lambda: back(width=3),
    "look up beyond": lambda: back(place=1),
    "look up from below": lambda: back(place=-1),
    "look strided bytes up": lambda: back(source=I8(24)[::2]),
    "look up into strides": lambda: back(target=np.empty(24, np.uint32)[::2]),
    "look nothing up": lambda: level_kernel.Table(np.zeros((3, 256), np.uint32), blocks(12, 4))(
        None, np.empty(12, np.uint32)
    ),
    # Extremes.
    "extremes of another word": lambda: extremes(source=F64(12)),
    "extremes of halves": lambda: extremes(source=np.zeros(12, np.float16), word=2),
    "extremes of what is to be widened": lambda: extremes(widen=stages()[0]),
    "extremes of a stage of another word": lambda: extremes(source=np.zeros(12, np.float16), widen=stages()[0], word=8),
    "extremes of strides": lambda: extremes(source=F32(24)[::2]),
    "extremes of nothing": lambda: stats.extremes(
        None, None, 4, blocks(12, 4), np.zeros(3, np.int32), np.zeros(3, np.int32)
    ),
    "extremes of more channels": lambda: extremes(width=3),
    "extremes of another size": lambda: extremes(source=F32(11)),
    "extremes into another word": lambda: extremes(low=np.zeros(3, np.int64)),
    "extremes into two lengths": lambda: extremes(high=np.zeros(2, np.int32)),
    "extremes into strides": lambda: extremes(low=np.zeros(6, np.int32)[::2]),
    "extremes into strides above": lambda: extremes(high=np.zeros(6, np.int32)[::2]),
    "extremes into read-only": lambda: extremes(low=read_only(np.zeros(3, np.int32))),
    "extremes of no channels": lambda: extremes(low=np.zeros(0, np.int32), high=np.zeros(0, np.int32)),
    "extremes into nothing": lambda: stats.extremes(F32(12), None, 4, blocks(12, 4), None, np.zeros(3, np.int32)),
    # Blocks.
    "blocks of no length": lambda: maxima(shape=shared(length=0)),
    "blocks of no inner": lambda: maxima(shape=shared(inner=0)),
    "blocks of no numbers": lambda: maxima(shape=shared(block=0)),
    "blocks miscounted": lambda: maxima(shape=shared(blocks=3)),
    "shape too short": lambda: maxima(shape=(8, 1, 4)),
    "maxima of another word": lambda: maxima(F64(8)),
    "maxima of what is to be widened": lambda: maxima(widen=stages()[0]),
    "maxima of halves": lambda: maxima(np.zeros(8, np.float16), most=np.zeros(2, np.uint16)),
    "maxima of strides": lambda: maxima(F32(16)[::2]),
    "maxima into strides": lambda: maxima(most=np.zeros(4, np.uint32)[::2]),
    "maxima into read-only": lambda: maxima(most=read_only(np.zeros(2, np.uint32))),
    "maxima of too few blocks": lambda: maxima(most=np.zeros(1, np.uint32)),
    "maxima before the first": lambda: maxima(first=1),
    "maxima beyond the last": lambda: maxima(index=8),
    "maxima of columns beyond the last": lambda: maxima(F32(6), most=np.zeros(4, np.uint32), shape=(2, 3, 1, 2)),
    "maxima of columns before the first": lambda: maxima(
        F32(5), most=np.zeros(5, np.uint32), shape=(2, 3, 1, 2), first=1, index=1
    ),
    "maxima from below": lambda: maxima(start=-1),
    "maxima to beyond": lambda: maxima(stop=9),
    "maxima at a negative index": lambda: maxima(index=-1),
    "maxima of nothing": lambda: scaled.maxima(None, None, np.zeros(2, np.uint32), shared()),
    "powers of halves": lambda: scaled.power_scales(np.zeros(2, np.uint16), I8(2), 0, 0),
    "powers into words": lambda: scaled.power_scales(np.zeros(2, np.uint32), np.zeros(2, np.uint16), 0, 0),
    "powers into less": lambda: scaled.power_scales(np.zeros(2, np.uint32), I8(1), 0, 0),
    "powers into strides": lambda: scaled.power_scales(np.zeros(2, np.uint32), I8(4)[::2], 0, 0),
    "powers into read-only": lambda: scaled.power_scales(np.zeros(2, np.uint32), read_only(I8(2)), 0, 0),
    "powers raised by a binade": lambda: scaled.power_scales(np.zeros(2, np.uint32), I8(2), 1 << 23, 0),
    "powers lowered": lambda: scaled.power_scales(np.zeros(2, np.uint32), I8(2), -1, 0),
    "moves by words": lambda: scaled.Move(4, np.zeros(2, np.uint16), shared(), 0, 0),
    "moves of two bytes": lambda: scaled.Move(2, np.zeros(2, np.uint8), shared(), 0, 0),
    "moves by strides": lambda: scaled.Move(4, np.zeros(4, np.uint8)[::2], shared(), 0, 0),
    "moves by nothing": lambda: scaled.Move(4, None, shared(), 0, 0),
    "moves of blocks miscounted": lambda: scaled.Move(4, np.zeros(2, np.uint8), shared(blocks=1), 0, 0),
    "scales of blocks in float32": lambda: scaled.Scale(F32(2), shared(), 0, True),
    "steps of float64": lambda: scaled.Float32(F64(2), shared(), 0, True),
    # Sums.
    "sums of two lengths": lambda: stats.error_sums(F64(3), F64(2)),
    "sums of float32": lambda: stats.error_sums(F32(3), F32(3)),
    "sums of strides": lambda: stats.error_sums(F64(6)[::2], F64(3)),
    "sums of nothing": lambda: stats.error_sums(None, F64(3)),
}  # fmt: skip


def tell(names):
    """Try the cases by name, and say for each what came of it, at once."""
    for name in names:
        try:
            MISUSES[name]()
            outcome = "nothing was raised"
        except (ValueError, TypeError, KeyError):
            outcome = "refused"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        print(name, outcome, sep="\t", flush=True)


@pytest.fixture(scope="module")
def outcomes():
    """What came of each case; a process that dies is followed by another for the cases that are left."""
    found = {}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(bq.__file__).parents[1]), *sys.path])}
    while left := [name for name in MISUSES if name not in found]:
        done = subprocess.run(
            [sys.executable, "-c", f"import test_kernels; test_kernels.tell({left!r})"],
            cwd=Path(__file__).parent,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        told = dict(line.split("\t") for line in done.stdout.splitlines())
        assert told or done.returncode < 0, done.stderr
        found |= told
        if len(told) < len(left):
            found[left[len(told)]] = f"the process died of signal {-done.returncode}"
    return found


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_is_refused(outcomes, name):
    assert outcomes[name] == "refused"


# --- The same calls, right ----------------------------------------------------------------------------------


def test_steps_that_a_stage_lacks_are_zeros():
    for stage, dtype in (
        (scaled.Move(4, np.full(1, 127, np.uint8), shared(), 1, 0), np.float32),
        (scaled.Scale(np.ones(1), shared(), 1, True), np.float64),
        (scaled.Float32(F32(1) + 1, shared(), 1, False), np.float32),
    ):
        source, target = np.arange(1, 17, dtype=dtype), np.empty(16, dtype)
        Pipeline((stage,)).run(source, target)
        assert target.tolist() == [0] * 4 + [5, 6, 7, 8] + [0] * 8


def test_what_the_cases_spoil_is_right():
    maxima()
    maxima(F32(5), most=np.zeros(6, np.uint32), shape=(2, 3, 1, 2), index=1)
    Pipeline((codebook(), Shrink(4, 1)))
    codebook(32, 33, word=8, counted=True)
    codebook((1 << 16) - 1, 1 << 16)
    random_run(np.zeros(8, np.uint32))
    Lookup(2, np.zeros(65536, np.uint64))
    Trim(4, 23, True)
    Trim(8, 52, False)
    Widen(2, 4, rebias=0, unit=0, shift=13)
    Widen(2, 8, rebias=2**64 - 1, unit=-1100)
    FromInteger(4, 8, True)
    FromWhole(mode=0)
    Resize(low=0)
    assert pipeline().run(F32(8), np.zeros(8, np.uint16), np.zeros(8, np.uint8)) is not None
    Pipeline(stages())
    codes = I8(8)
    assert kernel().run(F32(8) + 3, codes) == (0, -1)
    assert codes.tolist() == [3] * 8
    assert kernel(word=8, width=1).run(F64(8), I8(8)) == (0, -1)
    assert kernel(widen=stages()[0]).run(np.zeros(8, np.float16), I8(8)) == (0, -1)
    values()
    products()
    assert not are_products()  # 0 is not −1 · 0
    assert compared() == (48, 0, 48, 0, 2, 0)
    assert compared(y=I8(12), way_back=twos()) == (48, 0, 48, 0, 2, 0)
    assert compared(y=I8(12), way_back=twos(width=12)) == (48, 0, 48, 0, 2, 0)
    assert scale_ranges() == -1
    scales.of_numbers(F64(3) + 1, False, numbers())
    scales.zero_points(F64(3), F64(3) + 1, 0, numbers(), np.empty(3, np.int64))
    level_kernel.multiples(numbers(), np.ones(3, np.int64), plans.rounding_row(bq.FP32), np.empty(3, np.uint64))
    back()
    back(target=I8(12), table=np.zeros((3, 256), np.int8))
    codes = np.full(10, 99, np.int8)
    formula().run(F32(5) + 3, codes[1:6], 2)
    assert codes.tolist() == [99, 3, 3, 3, 3, 3, 99, 99, 99, 99]
    formula(widen=stages()[0]).run(np.zeros(8, np.float16), I8(8))
    formula(links=[("fma", 0, 0), ("to_int32", -1, -1)])
    formula(word=8, links=[("fma", 0, 0)], source="float32")
    formula(word=8, source="float32", links=[]).run(F32(8), I8(8))
    assert formula(links=[], operands=[], source="int8", target="float").run(I8(8), F32(8)) is None
    extremes()
    extremes(source=F64(12), word=8)
    extremes(source=np.zeros(12, np.float16), widen=stages()[0])
    assert stats.error_sums(np.ones(11), np.zeros(11)) == (11, 11, 0, 0, 1)


def test_a_part_of_an_array_is_all_that_is_written():
    target = np.full(3000, 99, np.int8)
    assert kernel(size=3000, width=7).run(np.ones(3000, np.float32), target, 1001, 2050) == (0, -1)
    assert np.flatnonzero(target != 99).tolist() == list(range(1001, 2050))
    codes = np.full(3000, 0xFFFF, np.uint16)
    pipeline().run(np.ones(3000, np.float32), codes, None, 7, 2993)
    assert np.flatnonzero(codes != 0xFFFF).tolist() == list(range(7, 2993))


def test_empty_parts_are_nothing():
    assert kernel().run(F32(8), I8(8), 5, 5) == (0, -1)
    pipeline().run(F32(8), np.zeros(8, np.uint16), None, 8, 8)
    assert stats.error_sums(F64(0), F64(0)) == (0, 0, 0, 0, 0)


def test_the_first_that_is_not_finite_is_told_by_its_place_in_the_whole():
    x = np.zeros(5000, np.float32)
    x[[1030, 4000]] = np.nan, np.inf
    whole = kernel(size=5000, width=5000)
    assert whole.run(x, I8(5000)) == (2, 1030)
    assert whole.run(x, I8(5000), 1031, 5000) == (1, 4000)
    assert kernel(size=5000, width=1).run(x, I8(5000), 1000, 1031) == (1, 1030)


def test_the_kernel_keeps_its_parameters_alive():
    given = numbers()
    quantizer = Affine(4, None, 0, -127, 127, given, blocks(6, 2))
    given.clear()
    other = [np.full(3, 77, np.uint64) for _ in range(100)]  # takes the memory that has become free
    codes = I8(6)
    quantizer.run(F32(6) + 2, codes)
    assert codes.tolist() == [2] * 6
    del other
