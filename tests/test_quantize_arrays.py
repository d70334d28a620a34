"""What goes into a quantizer and what comes out: any layout, dtype and library, empty arrays, out=."""

from __future__ import annotations

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
import reference
from quantizing import assert_same, codes_of, judge, numbers_of


def test_empty_input_gives_empty_codes_where_the_parameters_are_given():
    for options in ({"step": 1}, {"scale": 2.0}, {"range": (0, 1)}, {"range": (-1, 1), "axis": 1}):
        q = bq.quantize(np.zeros((0, 3)), **options)
        assert (q.codes.shape, q.codes.dtype) == ((0, 3), np.int8)
        assert q.dequantize().shape == (0, 3)
    q = bq.quantize(np.zeros((0, 3)), step=1, axis=0)
    assert (q.exact_scale, q.zero_point.tolist(), q.scale.tolist()) == ((), [], [])


def test_out_gets_the_codes():
    x = np.float32([[1, 2], [3, -4]])
    out = np.empty((2, 2), np.int8)
    q = bq.symmetric(x, out=out)
    assert q.codes is out
    assert np.array_equal(out, bq.symmetric(x).codes)
    out = np.empty((), np.uint8)
    assert bq.quantize(3.0, step=1, signed=False, out=out).codes == out == 3


def test_an_out_that_does_not_fit_is_refused():
    x = np.ones(4, np.float32)
    read_only = np.empty(4, np.int8)
    read_only.flags.writeable = False
    for out in (
        np.empty(3, np.int8),
        np.empty((4, 1), np.int8),
        np.empty(4, np.uint8),
        np.empty(8, np.int8)[::2],
        [0] * 4,
    ):
        with pytest.raises(bq.BitquantError, match=r"out must be a contiguous array of int8 and shape \(4,\)"):
            bq.quantize(x, step=1, out=out)
    with pytest.raises(bq.BitquantError, match="out is read-only: pass a writable array"):
        bq.quantize(x, step=1, out=read_only)
    same = np.zeros(4, np.int8)
    for numbers, out in ((x, x.view(np.int8)[2:6]), (same, same)):
        with pytest.raises(bq.BitquantError, match="out overlaps x: pass another array"):
            bq.quantize(numbers, step=1, out=out)


BASE = np.arange(-60, 60, dtype=np.float32).reshape(2, 5, 12) / 7
LAYOUTS = {
    "strided": lambda x: np.repeat(x, 3, 2)[..., ::3],
    "reversed": lambda x: x[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "Fortran": np.asfortranarray,
    "transposed": lambda x: x.transpose(2, 0, 1).copy().transpose(1, 2, 0),
    "big-endian": lambda x: x.astype(">f4"),
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    "float64": lambda x: x.astype(np.float64),
    "list": lambda x: x.tolist(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_codes_do_not_depend_on_the_layout(layout, axis):
    theirs, ours = (bq.asymmetric(x, axis=axis) for x in (BASE, LAYOUTS[layout](BASE)))
    assert ours.exact_scale == theirs.exact_scale
    assert_same(ours.codes, theirs.codes, BASE, layout)
    assert ours.error(LAYOUTS[layout](BASE)).mse == pytest.approx(theirs.error(BASE).mse, rel=1e-5)


@pytest.mark.parametrize(
    ("x", "code"),
    [(1.5, 2), (np.float16(-1.5), -2), (3, 3), (np.uint16(7), 7), (np.array(2.5), 2), (np.array(2.5, ">f4"), 2),
     (ml_dtypes.bfloat16(0.5), 0), (-200, -127), (np.int64(2**53), 127)],
)  # fmt: skip
def test_one_number_gives_one_code(x, code):
    q = bq.quantize(x, step=1)
    assert (q.codes, q.codes.shape) == (code, ())
    assert q.dequantize() == code
    assert q.error(x).max_abs == abs(float(x) - code)


def test_integers_are_numbers():
    x = np.array([[-1000, 0], [500, 70_000]], np.int32)
    linear = reference.parameters(x.reshape(-1).tolist(), "asymmetric")
    q = bq.asymmetric(x)
    assert_same(q.codes, judge(x.astype(float), linear), x, "")
    assert q.source is bq.INT32
    assert bq.asymmetric(x.astype(np.int64)).source is bq.FP64  # which holds them, or refuses
    with pytest.raises(bq.BitquantError, match=r"x holds integers beyond 2\^53"):
        bq.symmetric([0, 2**53 + 1])
    assert bq.quantize(np.int8([3, -4])).dequantize().dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8"])
def test_tensors_come_back_as_tensors(dtype):
    torch = pytest.importorskip("torch")
    x = (torch.arange(-12, 12).reshape(2, 12) * 5 / (1 if dtype == "int8" else 7)).to(getattr(torch, dtype))
    same = numbers_of(x.double().numpy().reshape(-1).tolist(), dtype).reshape(2, 12)
    for axis in (None, 0, 1):
        q, theirs = bq.asymmetric(x, axis=axis), bq.asymmetric(same, axis=axis)
        assert isinstance(q.codes, torch.Tensor)
        assert q.codes.dtype == torch.int8
        assert q.exact_scale == theirs.exact_scale
        assert np.array_equal(q.codes.numpy(), theirs.codes)
        assert q.error(x) == theirs.error(same)
        for name in ("float32", "float16", "bfloat16", "float64"):
            back = q.dequantize(name)
            assert (back.dtype, back.shape) == (getattr(torch, name), x.shape)
            again = bq.dequantize(q.codes, scale=[q.exact_scale] if axis is None else list(q.exact_scale),
                                  zero_point=q.zero_point, axis=axis, dtype=name)  # fmt: skip
            assert torch.equal(back, again)
            word = torch.int16 if back.element_size() == 2 else torch.int32 if back.element_size() == 4 else torch.int64
            assert codes_of(back.view(word).numpy()) == codes_of(theirs.dequantize(name))
    assert isinstance(bq.quantize(torch.tensor(1.5), step=1).codes, torch.Tensor)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda q: pickle.loads(pickle.dumps(q))], ids=["copy", "pickle"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"axis": 0},
        {"group_size": 2},
        {"range": (-(2.0**60), 2.0**-40), "scheme": "asymmetric"},
        {"dialect": "torch"},
    ],
    ids=str,
)
def test_a_quantized_can_be_copied_and_sent(copied, options):
    x = np.float32([[0.5, -1.25, 0.1], [3.0, 0.0, -7.5]])
    q = bq.quantize(x, **options)
    error = q.error(x)
    other = copied(q)
    assert np.array_equal(other.codes, q.codes)
    assert np.array_equal(other.dequantize(), q.dequantize())
    assert (repr(other), other.error(x), other.scheme) == (repr(q), error, q.scheme)
    assert np.array_equal(other.step, q.step)
