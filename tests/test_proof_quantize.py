"""Quantization's proposals in fixed point: an SMT solver proves that what is beyond doubt is the exact code.

The claim is about a product u, any FP32 number, and the exact position t that it stands for, x · scale. Between them
lie a scale and a product that were rounded to FP32: 2^-22 of u, half of that where the FPU rounds to nearest, and 2^-26
for what FP64 adds and for subnormal numbers taken for zero. That t is a FP64 number restricts nothing: codes change at
half-integers, which FP64 holds, and between two of them any t can be moved to a FP64 number next to it.
"""

from __future__ import annotations

import numpy as np
import pytest

import bitquant as bq
from steps import FP32, FP64, FixedPoint, Int, bits_of

SHIFTS = {"nearest_even": 0, "nearest_away": 0, "toward_positive": 0.5, "toward_negative": -0.5}
GRIDS = [  # low, high, zero point
    (-127, 127, 0),
    (-128, 127, -128),
    (-128, 127, 127),
    (0, 255, 3),
    (-8, 7, 5),
    (-2, 1, 0),
    (-128, 127, 1000),  # beyond the codes
    (-128, 127, -(2**20)),
]


def question(proof, mode, low, high, zero_point, nearest, covers, model=FixedPoint):
    """What a product proposes beyond doubt is the exact position, rounded, moved by the zero point and clamped."""
    ask, steps = proof.Question(), model(low, high, zero_point, SHIFTS[mode], nearest, covers)
    kind, rounded, single, double = proof.Kind, ask.mode, proof.SORTS[FP32], proof.SORTS[FP64]
    product, exact = ask.any("product", 32), ask.any("exact", 64)
    sure, code = steps.proposed(product)
    if nearest:
        ask.assume(ask.term(kind.EQUAL, ask.state["mode"], rounded("nearest_even")))
    u, t = ask.to_fp("nearest_even", ask.number(product, single), double), ask.number(exact, double)
    off = ask.term(kind.FP_MUL, rounded("toward_positive"), ask.term(kind.FP_ABS, u), ask.power(-22 - nearest, double))
    off = ask.term(kind.FP_ADD, rounded("toward_positive"), off, ask.power(-26, double))
    lowest = ask.term(kind.FP_SUB, rounded("toward_negative"), u, off)
    highest = ask.term(kind.FP_ADD, rounded("toward_positive"), u, off)
    ask.assume(ask.term(kind.FP_LEQ, lowest, t))
    ask.assume(ask.term(kind.FP_LEQ, t, highest))
    most = ask.power(21, double)
    least = ask.term(kind.FP_NEG, most)
    near = ask.term(kind.ITE, ask.term(kind.FP_LT, t, least), least, t)
    near = ask.term(kind.ITE, ask.term(kind.FP_LT, most, near), most, near)
    whole = ask.word(kind.FP_TO_SBV, rounded(mode), near, indices=[32]) + zero_point
    whole = whole.less(low).select(whole.constant(low, 32), whole)
    whole = (whole.constant(high, 32)).less(whole).select(whole.constant(high, 32), whole)
    return ask, ~sure | code.equals(whole.to(8)), steps


CASES = [
    (mode, *grid, nearest, covers)
    for mode in SHIFTS
    for grid in GRIDS
    for nearest in (True, False)
    for covers in ((False, True) if grid[0] <= grid[2] <= grid[1] else (False,))
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(map(str, case)))
def test_what_is_beyond_doubt_is_the_exact_code(proof, case):
    ask, claim, _ = question(proof, *case)
    found = ask.refute(claim)
    assert found is None, {name: hex(value) for name, value in found.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(map(str, case)))
def test_something_is_beyond_doubt(case):
    """Half of all fractions at least, unless the zero point lies so far away that nothing is."""
    _, *grid, nearest, covers = case
    doubtful = FixedPoint(*grid, SHIFTS[case[0]], nearest, covers).doubtful
    assert doubtful <= (1 << 14 if abs(grid[2]) < 1 << 12 else 1 << 15)
    assert nearest is False or abs(grid[2]) > 255 or doubtful <= 8


class TooSure(FixedPoint):
    def error(self, farthest, nearest):
        return super().error(farthest, nearest) / 4


class Lower(FixedPoint):
    """The sum is not raised by what it may be off."""

    def __init__(self, *given):
        super().__init__(*given)
        self.base = bits_of(np.uint32(self.base).view(np.float32) - np.float32(2.0**-13), 32)


@pytest.mark.parametrize("model", [TooSure, Lower])
@pytest.mark.parametrize("mode", list(SHIFTS))
def test_one_that_is_too_sure_is_refuted(proof, mode, model):
    for nearest in (True, False):
        ask, claim, steps = question(proof, mode, -128, 127, -128, nearest, False, model)
        found = ask.refute(claim)
        assert found is not None
        if nearest:  # Python's own FPU
            assert steps.proposed(Int(found["product"], 32))[0].value


@pytest.mark.parametrize("mode", list(SHIFTS))
def test_the_steps_are_the_kernels(mode):
    """Where the steps are sure, the kernel gives their code; steps of 1 make the product the number itself."""
    random = np.random.default_rng(5)
    near = (random.integers(-300, 300, 400) / 2 + random.integers(-9, 10, 400) * 2.0**-16).astype(np.float32)
    for low, high, zero_point in GRIDS[:6]:
        steps = FixedPoint(low, high, zero_point, SHIFTS[mode], True, False)
        options = {"bits": (high - low + 1).bit_length() - 1 if high - low != 254 else 8, "signed": low < 0}
        scheme = "symmetric" if high - low == 254 else "asymmetric"
        codes = bq.quantize(near, scheme, step=1, zero_point=zero_point, rounding=mode, **options).codes
        proposed = [steps.proposed(Int(bits, 32)) for bits in near.view(np.uint32).tolist()]
        pairs = [
            (code.value, int(given) & 255) for (sure, code), given in zip(proposed, codes, strict=True) if sure.value
        ]
        assert len(pairs) > 100
        assert all(one == other for one, other in pairs)
