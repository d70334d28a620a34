"""The integer matrix product: Python's integers, ONNX Runtime, every way through the kernel, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bitquant as bq
import layers
from bitquant.kernels import matmul
from bitquant.layer import product as room

TYPES = [np.dtype(np.int8), np.dtype(np.uint8)]
PAIRS = list(itertools.product(TYPES, TYPES))
RNG = np.random.default_rng(31)


def codes(dtype, shape, draw=RNG):
    limits = np.iinfo(dtype)
    return draw.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.fixture(params=["bytes", "halves"])
def width(request, monkeypatch):
    """Both loops of the kernel: the one for CPUs that multiply bytes, where this is one, and the other."""
    if request.param == "bytes" and not matmul.has_byte_products():
        pytest.skip("this CPU does not multiply bytes")
    monkeypatch.setattr(room.matmul, "has_byte_products", lambda: request.param == "bytes")
    return request.param


# M, K, N: around tiles of 6 x 4, lines of 64, strips of 256 columns, runs of 32768 products
SIZES = [
    (1, 1, 1), (2, 3, 4), (6, 64, 4), (7, 65, 5), (5, 63, 3), (12, 128, 8), (13, 130, 259), (3, 1, 600), (1, 200, 9),
    (9, 200, 1), (2, 32768, 2), (1, 32769, 1), (2, 33000, 5),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), PAIRS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_sum_is_that_of_integers(left, right, size, width):
    m, k, n = size
    a, b = codes(left, (m, k)), codes(right, (k, n))
    rows, columns = codes(left, m), codes(right, n)
    one, other = int(rows[0]), int(columns[0])
    for p, q in ((0, 0), (one, 0), (0, other), (one, other), (rows, columns), (rows, 0), (0, columns)):
        expected = layers.product(a, b, p, q)
        found = bq.integer_matmul(a, b, a_zero_point=p, b_zero_point=q, accumulator="int64")
        assert found.dtype == np.int64
        assert found.tolist() == expected
        if k < 33000:
            found = bq.integer_matmul(a, b, a_zero_point=p, b_zero_point=q)
            assert found.dtype == np.int32
            assert found.tolist() == expected


@pytest.mark.parametrize(("left", "right"), PAIRS, ids=str)
@pytest.mark.parametrize("k", [1, 64, 65536, 100_001])
def test_the_largest_products_of_all(left, right, k, width):
    """All codes at one end: −128 · −128 · K, 255 · 255 · K, and what lies between, with zero points at the other."""
    for x, y in itertools.product(*((np.iinfo(t).min, np.iinfo(t).max) for t in (left, right))):
        for p, q in itertools.product(*((0, np.iinfo(t).min, np.iinfo(t).max) for t in (left, right))):
            a, b = np.full((2, k), x, left), np.full((k, 3), y, right)
            expected = (x - p) * (y - q) * k
            options = {"a_zero_point": p, "b_zero_point": q}
            assert (bq.integer_matmul(a, b, accumulator="int64", **options) == expected).all()
            assert (bq.integer_matmul(a, b, overflow="wrap", **options) == layers.wrapped(expected)).all()
            ends = layers.clamped(expected, -(2**31), 2**31 - 1)
            assert (bq.integer_matmul(a, b, overflow="saturate", **options) == ends).all()


def test_zero_points_far_from_every_code(width):
    a, b = codes(np.int8, (5, 70)), codes(np.uint8, (70, 6))
    p, q = [-(2**31), 2**31 - 1, 1000, -1000, 0], [5000, -70000, 0, 1, 2**20, -(2**20)]
    found = bq.integer_matmul(a, b, a_zero_point=p, b_zero_point=q, accumulator="int64")
    assert found.tolist() == layers.product(a, b, p, q)
    with pytest.raises(
        bq.BitquantError, match=r"zero points -2147483648 and 2147483647 lie too far from the codes: .* 70 "
    ):
        bq.integer_matmul(a, b, a_zero_point=-(2**31), b_zero_point=2**31 - 1, accumulator="int64")


SHAPES = [
    ((5,), (5,)), ((5,), (5, 3)), ((4, 5), (5,)), ((2, 3, 4, 5), (5, 6)), ((2, 3, 4, 5), (3, 5, 6)),
    ((4, 5), (2, 5, 6)), ((1, 4, 5), (3, 5, 6)), ((2, 1, 4, 5), (1, 3, 5, 6)), ((2, 3, 5), (5,)), ((5,), (2, 5, 3)),
    ((0, 3), (3, 4)), ((2, 3), (3, 0)), ((3, 0), (0, 4)), ((0,), (0,)), ((2, 0, 3), (3, 4)), ((0, 2, 3), (0, 3, 4)),
    ((2, 0, 3), (2, 3, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SHAPES, ids=str)
def test_shapes_are_those_of_numpy(one, other):
    a, b = codes(np.int8, one), codes(np.uint8, other)
    expected = np.matmul(a.astype(np.int64) - 3, b.astype(np.int64) - 200)
    found = bq.integer_matmul(a, b, a_zero_point=3, b_zero_point=200)
    assert found.shape == expected.shape
    assert found.dtype == np.int32
    assert np.array_equal(found, expected)


def test_zero_points_of_each_matrix_of_a_batch():
    a, b = codes(np.int8, (2, 3, 4, 5)), codes(np.uint8, (3, 5, 6))
    p, q = codes(np.int8, (2, 3, 4, 1)), codes(np.uint8, (3, 1, 6))
    expected = (a.astype(np.int64) - p) @ (b.astype(np.int64) - q)
    assert np.array_equal(bq.integer_matmul(a, b, a_zero_point=p, b_zero_point=q), expected)
    rows = codes(np.int8, 4)
    expected = (a.astype(np.int64) - rows[:, None]) @ (b.astype(np.int64) - q)
    assert np.array_equal(bq.integer_matmul(a, b, a_zero_point=rows, b_zero_point=q), expected)


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_neither_memory_layout_nor_threads_matter(threads, width):
    a, b = codes(np.int8, (90, 128)), codes(np.uint8, (128, 700))
    expected = bq.integer_matmul(a, b, a_zero_point=7, b_zero_point=99)
    assert expected.tolist() == layers.product(a, b, 7, 99)
    wide_a, wide_b = np.zeros((180, 256), np.int8), np.zeros((256, 1400), np.uint8)
    wide_a[::2, ::-2], wide_b[::-2, ::2] = a, b
    for x, y in itertools.product((a, a.T.copy().T, wide_a[::2, ::-2]), (b, b.T.copy().T, wide_b[::-2, ::2])):
        found = bq.integer_matmul(x, y, a_zero_point=7, b_zero_point=99, threads=threads)
        assert np.array_equal(found, expected)
        turned = bq.integer_matmul(y.T, x.T, a_zero_point=99, b_zero_point=7, threads=threads)
        assert np.array_equal(turned, expected.T)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_overflow_names_the_first_sum(threads, width):
    k = 40_000
    a, b = np.ones((40, k), np.uint8), np.ones((k, 30), np.uint8)
    a[17], a[30] = 255, 255
    b[:, 11:20] = 255
    match = (
        r"the sum at \(17, 11\) is 2601000000, which int32 does not hold: pass overflow='wrap' or 'saturate', or acc"
    )
    with pytest.raises(bq.BitquantError, match=match):
        bq.integer_matmul(a, b, threads=threads)
    with pytest.raises(bq.BitquantError, match=r"the sum at \(3, 1, 11\) is"):
        bq.integer_matmul(np.stack([a[:2], a[:2], a[:2], a[16:18]]), b, threads=threads)
    with pytest.raises(bq.BitquantError, match=r"the sum at \(1, 17, 11\) is"):
        bq.integer_matmul(a, np.stack([np.ones_like(b), b]), threads=threads)
    with pytest.raises(bq.BitquantError, match=r"the sum at \(11\) is"):
        bq.integer_matmul(a[17], b, threads=threads)
    with pytest.raises(bq.BitquantError, match=r"the sum at \(\) is -2147500032"):
        bq.integer_matmul(np.full(2**17 + 1, -128, np.int8), np.full(2**17 + 1, 127, np.int8), b_zero_point=-1)


# code, zero point, whether int32 holds code − zero point
ENDS = [(0, -(2**31 - 1), True), (1, -(2**31 - 1), False), (-1, 2**31 - 1, True), (-2, 2**31 - 1, False)]


@pytest.mark.parametrize(("code", "point", "fits"), ENDS)
def test_the_ends_of_int32_are_no_overflow(code, point, fits, width):
    a, b = np.int8([[1]]), np.int8([[code]])
    if fits:
        assert bq.integer_matmul(a, b, b_zero_point=point).tolist() == [[code - point]]
    else:
        with pytest.raises(bq.BitquantError, match=rf"the sum at \(0, 0\) is {code - point}, "):
            bq.integer_matmul(a, b, b_zero_point=point)


def test_the_result_goes_where_it_is_wanted():
    a, b = codes(np.int8, (4, 5)), codes(np.int8, (5, 6))
    out = np.empty((4, 6), np.int32)
    assert bq.integer_matmul(a, b, out=out) is out
    assert out.tolist() == layers.product(a, b)
    for wrong in (np.empty((4, 6), np.int64), np.empty((6, 4), np.int32), np.empty((6, 4), np.int32).T, [0]):
        with pytest.raises(bq.BitquantError, match=r"out must be a contiguous array of int32 and shape \(4, 6\)"):
            bq.integer_matmul(a, b, out=wrong)
    out.flags.writeable = False
    with pytest.raises(bq.BitquantError, match="out is read-only"):
        bq.integer_matmul(a, b, out=out)
    memory = np.zeros(96, np.int8)
    with pytest.raises(bq.BitquantError, match="out overlaps an input"):
        bq.integer_matmul(memory[:20].reshape(4, 5), b, out=memory.view(np.int32).reshape(4, 6))


def test_tensors_come_back_as_tensors():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    a, b = codes(np.int8, (4, 5)), codes(np.int8, (5, 6))
    found = bq.integer_matmul(torch.from_numpy(a), torch.from_numpy(b))
    assert found.dtype == torch.int32
    assert found.tolist() == layers.product(a, b)


REFUSED = [
    (([[1.0]], [[1]]), {}, "a has dtype float64: the product takes codes of int8 or uint8"),
    ((np.int8([[1]]), np.int16([[1]])), {}, "b has dtype int16: the product takes codes of int8 or uint8"),
    ((np.int8(1), np.int8([[1]])), {}, "a is a single number: the product takes matrices"),
    ((np.int8([[1, 2]]), np.int8([[1]])), {}, r"shapes \(1, 2\) and \(1, 1\) do not fit: a needs as many columns"),
    (
        (np.zeros((2, 3, 4), np.int8), np.zeros((5, 4, 3), np.int8)),
        {},
        "do not fit: what stands before the matrices does not broadcast",
    ),
    (
        (np.int8([[1]]), np.int8([[1]])),
        {"a_zero_point": 0.5},
        "a_zero_point has dtype float64: zero points are integers",
    ),
    (
        (np.int8([[1]]), np.int8([[1]])),
        {"b_zero_point": 2**31},
        "b_zero_point holds 2147483648, which int32 does not hold",
    ),
    (
        (np.zeros((2, 3), np.int8), np.zeros((3, 4), np.int8)),
        {"a_zero_point": [1, 2, 3]},
        r"a_zero_point has shape \(3,\): give one, or one for each row of a, of which there are 2",
    ),
    (
        (np.zeros((2, 3), np.int8), np.zeros((3, 4), np.int8)),
        {"b_zero_point": np.zeros((4, 1), np.int8)},
        r"b_zero_point has shape \(4, 1\): give one, or one for each column of b, of which there are 4",
    ),
    ((np.int8([[1]]), np.int8([[1]])), {"overflow": "ignore"}, "overflow='ignore'"),
    ((np.int8([[1]]), np.int8([[1]])), {"accumulator": "int16"}, "accumulator='int16'"),
    ((np.int8([[1]]), np.int8([[1]])), {"threads": 0}, "threads=0"),
]


@pytest.mark.parametrize(("operands", "options", "message"), REFUSED, ids=[case[2][:50] for case in REFUSED])
def test_what_is_no_product_of_codes_is_refused(operands, options, message):
    with pytest.raises(bq.BitquantError, match=message):
        bq.integer_matmul(*operands, **options)


@pytest.mark.parametrize(("left", "right"), PAIRS, ids=str)
def test_onnx_runtime_gives_the_same_sums(left, right, width):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    for m, k, n in SIZES:
        a, b = codes(left, (m, k)), codes(right, (k, n))
        p, q = codes(left, ()), codes(right, ())
        for point in (q, codes(right, n)):
            theirs = layers.onnx_runtime("MatMulInteger", a, b, p, point)
            ours = bq.integer_matmul(a, b, a_zero_point=p, b_zero_point=point, overflow="wrap")
            assert np.array_equal(ours, theirs), (m, k, n)


def test_onnx_runtime_wraps_where_an_error_is_the_default():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    a, b = np.full((1, 40_000), 255, np.uint8), np.full((40_000, 1), 255, np.uint8)
    theirs = layers.onnx_runtime("MatMulInteger", a, b, np.uint8(0), np.uint8(0))
    assert theirs.tolist() == [[2_601_000_000 - 2**32]]
    assert bq.integer_matmul(a, b, overflow="wrap").tolist() == theirs.tolist()


def kernel_arguments(**changed):
    """Arguments of the kernel's product that fit each other, but for some."""
    given = {
        "a": np.zeros((3, 64), np.int16),
        "b": np.zeros((2, 64), np.int16),
        "out": np.zeros((3, 2), np.int32),
        "a_point": np.zeros(3, np.int64),
        "a_rest": np.zeros(3, np.int64),
        "b_point": np.zeros(2, np.int64),
        "b_sum": np.zeros(2, np.int64),
        "saturate": False,
        "row": 0,
        "stop": 3,
        "first": 0,
        "last": 2,
    }
    return {**given, **changed}


READ_ONLY = np.zeros((3, 2), np.int32)
READ_ONLY.flags.writeable = False
MISUSES = [
    {"a": np.zeros((3, 64), np.int8)},
    {"a": np.zeros((3, 63), np.int16)},
    {"a": np.zeros((3, 128), np.int16)[:, ::2]},
    {"a": np.zeros((3, 64), np.uint16)},
    {"a": np.zeros((3, 64), np.uint8)},
    {"b": np.zeros((2, 64), np.int8)},
    {"b": np.zeros((3, 64), np.int16)},
    {"b": np.zeros(128, np.int16)},
    {"out": np.zeros((3, 2), np.int16)},
    {"out": np.zeros((2, 3), np.int32)},
    {"out": READ_ONLY},
    {"a_point": np.zeros(2, np.int64)},
    {"a_rest": np.zeros(3, np.int32)},
    {"b_point": np.zeros(4, np.int64)[::2]},
    {"b_sum": np.zeros(3, np.int64)},
    {"stop": 4},
    {"row": 3, "stop": 2},
    {"last": 3},
    {"first": 2, "last": 1},
]


@pytest.mark.parametrize("changed", MISUSES, ids=lambda changed: " ".join(changed))
def test_the_kernel_refuses_what_does_not_fit(changed):
    assert matmul.product(**kernel_arguments()) == (0, 3)
    with pytest.raises(ValueError):
        matmul.product(**kernel_arguments(**changed))


def test_the_kernel_multiplies_bytes_only_where_the_cpu_does():
    given = kernel_arguments(a=np.ones((3, 64), np.uint8), b=np.ones((2, 64), np.int8))
    if matmul.has_byte_products():
        matmul.product(**given)
        assert (given["out"] == 64).all()
    else:
        with pytest.raises(ValueError, match="if this CPU multiplies those"):
            matmul.product(**given)


def test_packing_refuses_what_does_not_fit():
    source, target = np.zeros((3, 5), np.int8), np.zeros((3, 64), np.int8)
    matmul.pack(source, target)
    for one, other in (
        (source.astype(np.int16), target),
        (source[0], target),
        (source, target[:2]),
        (source, np.zeros((3, 4), np.int8)),
        (source, target[:, ::2]),
        (source, target.astype(np.int16)),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            matmul.pack(one, other)


def test_rescaling_refuses_what_does_not_fit():
    sums, codes, table = np.zeros(6, np.int32), np.zeros(6, np.int8), np.zeros((7, 3), np.int64)
    assert matmul.rescale(sums, codes, table, 2, -128, 127, 0, 6) == -1
    for wrong in (
        (sums.astype(np.int64), codes, table, 2, -128, 127, 0, 6),
        (sums, codes[:5], table, 2, -128, 127, 0, 6),
        (sums, np.zeros(6, np.int16), table, 2, -128, 127, 0, 6),
        (sums, codes, table.astype(np.int32), 2, -128, 127, 0, 6),
        (sums, codes, table[:6], 2, -128, 127, 0, 6),
        (sums, codes, table[:, :0], 2, -128, 127, 0, 6),
        (sums, codes, table, 0, -128, 127, 0, 6),
        (sums, codes, table, 2, -128, 127, 4, 3),
        (sums, codes, table, 2, -128, 127, 0, 7),
    ):
        with pytest.raises(ValueError):
            matmul.rescale(*wrong)
