"""Codes of a few bits in a stream: against a string of bits, against other libraries, there and back."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitquant as bq
from bitquant.kernels import packing as kernel

WIDTHS = range(1, 9)
ORDERS = ("little", "big")
SMALL = ("int2", "uint2", "int4", "uint4", "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "float8_e4m3fn")


def bits_of(dtype):
    """Bits of a number of one of the small dtypes, by its name."""
    return int("".join(c for c in str(dtype).split("_")[0] if c.isdigit()))


def stream_of(row, width, order):
    """The bytes of a row, from a text of zeros and ones."""
    if order == "big":
        text = "".join(f"{code:0{width}b}" for code in row)
        text += "0" * (-len(text) % 8)
        return [int(text[k : k + 8], 2) for k in range(0, len(text), 8)]
    text = "".join(f"{code:0{width}b}" for code in reversed(row))  # read from the right
    text = "0" * (-len(text) % 8) + text
    return [int(text[k : k + 8], 2) for k in range(0, len(text), 8)][::-1]


def draw(width, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 2**width, shape).astype(np.uint8)


# --- Where each bit goes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "width", "order", "packed"),
    [
        ([0x1, 0x2], 4, "little", [0x21]),  # the first code in the low nibble
        ([0x1, 0x2], 4, "big", [0x12]),
        ([0x1, 0x2, 0x3], 4, "little", [0x21, 0x03]),  # half a byte of padding
        ([0x1, 0x2, 0x3], 4, "big", [0x12, 0x30]),
        ([3, 2, 1, 0], 2, "little", [0b00_01_10_11]),
        ([3, 2, 1, 0], 2, "big", [0b11_10_01_00]),
        ([0b100001, 0b010010, 0b001100, 0b111111], 6, "little", [0b10_100001, 0b1100_0100, 0b111111_00]),
        ([0b100001, 0b010010, 0b001100, 0b111111], 6, "big", [0b100001_01, 0b0010_0011, 0b00_111111]),
        ([0b101], 3, "little", [0b00000_101]),
        ([0b101], 3, "big", [0b101_00000]),
        ([1, 0, 1], 1, "little", [0b101]),
        ([1, 0, 1], 1, "big", [0b1010_0000]),
        ([0xAB, 0xCD], 8, "big", [0xAB, 0xCD]),
        ([], 5, "little", []),
    ],
)
def test_each_bit_has_its_place(codes, width, order, packed):
    result = bq.pack_bits(codes, width, order=order)
    assert result.dtype == np.uint8
    assert result.tolist() == packed
    assert bq.unpack_bits(packed, width, len(codes), order=order).tolist() == codes


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("width", WIDTHS)
def test_rows_of_every_length_are_the_text_of_their_bits(width, order):
    for length in (*range(35), 64, 127, 1000):
        codes = draw(width, (3, length), length)
        packed = bq.pack_bits(codes, width, order=order)
        assert packed.tolist() == [stream_of(row, width, order) for row in codes.tolist()]
        np.testing.assert_array_equal(bq.unpack_bits(packed, width, length, order=order), codes)


@given(st.data())
def test_what_is_packed_comes_back(data):
    width, order = data.draw(st.sampled_from(WIDTHS)), data.draw(st.sampled_from(ORDERS))
    shape = [*data.draw(st.lists(st.integers(0, 5), max_size=2)), data.draw(st.integers(0, 40))]
    codes = draw(width, shape, data.draw(st.integers(0, 2**32 - 1)))
    packed = bq.pack_bits(codes, width, order=order)
    assert packed.shape == (*shape[:-1], -(-shape[-1] * width // 8))
    assert packed.reshape(-1).tolist() == [
        byte for row in codes.reshape(-1, shape[-1] or 1).tolist() for byte in stream_of(row, width, order)
    ]
    np.testing.assert_array_equal(bq.unpack_bits(packed, width, shape[-1], order=order), codes)


@given(st.binary(max_size=40), st.sampled_from(WIDTHS), st.sampled_from(ORDERS))
def test_any_bytes_hold_as_many_codes_as_fit(stream, width, order):
    codes = bq.unpack_bits(np.frombuffer(stream, np.uint8), width, order=order)
    assert codes.size == len(stream) * 8 // width
    used = -(-codes.size * width // 8)
    again = bq.pack_bits(codes, width, order=order)
    left = used * 8 - codes.size * width  # bits of the last byte that are no code's
    mask = 0xFF >> left if order == "little" else 0xFF << left & 0xFF
    expected = bytearray(stream[:used])
    if expected:
        expected[-1] &= mask
    assert again.tobytes() == bytes(expected)


def test_two_orders_are_the_same_stream_with_the_bits_of_codes_and_bytes_reversed():
    def mirrored(x, width):
        return sum((x >> k & 1) << (width - 1 - k) for k in range(width))

    for width in WIDTHS:
        codes = draw(width, 40)
        little = bq.pack_bits(codes, width)
        big = bq.pack_bits(mirrored(codes.astype(int), width), width, order="big")
        np.testing.assert_array_equal(mirrored(little.astype(int), 8), big)


# --- Other libraries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_one_bit_is_packbits_of_numpy(order):
    bits = draw(1, (4, 21)).astype(bool)
    packed = np.packbits(bits, axis=-1, bitorder=order)
    np.testing.assert_array_equal(bq.pack_bits(bits, 1, order=order), packed)
    np.testing.assert_array_equal(bq.unpack_bits(packed, 1, 21, order=order), bits)


@pytest.mark.parametrize("name", ["int4", "uint4", "float4_e2m1fn"])
@pytest.mark.parametrize("count", [8, 9])
def test_the_little_order_is_onnx_s(name, count):
    onnx = pytest.importorskip("onnx")
    codes = draw(4, count)
    tensor = onnx.numpy_helper.from_array(codes.view(getattr(ml_dtypes, name)))
    assert bq.pack_bits(codes, 4).tobytes() == tensor.raw_data


def test_two_bits_in_the_little_order_are_onnx_s():
    onnx = pytest.importorskip("onnx", minversion="1.20")
    codes = draw(2, 11)
    tensor = onnx.numpy_helper.from_array(codes.view(ml_dtypes.uint2))
    assert bq.pack_bits(codes, 2).tobytes() == tensor.raw_data


def test_tensors_of_torch_come_back_as_such():
    torch = pytest.importorskip("torch")
    codes = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.uint8)
    packed = bq.pack_bits(codes, 4)
    assert isinstance(packed, torch.Tensor)
    assert packed.tolist() == [[0x21, 0x03], [0x54, 0x06]]
    assert torch.equal(bq.unpack_bits(packed, 4, 3), codes)


# --- What codes may be --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_arrays_of_small_dtypes_are_their_codes(name):
    dtype, width = np.dtype(getattr(ml_dtypes, name)), bits_of(name)
    codes = np.arange(2**width, dtype=np.uint8)
    np.testing.assert_array_equal(bq.pack_bits(codes.view(dtype), width), bq.pack_bits(codes, width))
    strided = codes.view(dtype)[::3]
    np.testing.assert_array_equal(bq.pack_bits(strided, width), bq.pack_bits(codes[::3], width))


def test_the_bits_above_a_small_dtype_s_code_are_not_looked_at():
    extended = np.array([0xFF, 0xF8, 0x07], np.uint8).view(ml_dtypes.int4)  # -1, -8, 7 with their signs extended
    assert bq.pack_bits(extended, 4).tolist() == [0x8F, 0x07]


@pytest.mark.parametrize("fmt", [fmt for fmt in bq.formats() if fmt.bits <= 8], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("order", ORDERS)
def test_a_format_says_the_width_and_gives_its_dtype(fmt, order):
    codes = np.arange(2**fmt.bits, dtype=np.uint8)
    packed = bq.pack_bits(codes.view(fmt.array_dtype), fmt, order=order)
    assert packed.size == 2**fmt.bits * fmt.bits // 8
    back = bq.unpack_bits(packed, fmt.name, order=order)
    assert back.dtype == fmt.array_dtype
    np.testing.assert_array_equal(back.view(np.uint8), codes)


@pytest.mark.parametrize("fmt", [fmt for fmt in bq.formats() if fmt.is_integer and fmt.bits <= 8], ids=str)
def test_an_integer_format_takes_its_values(fmt):
    values = np.arange(int(fmt.min), int(fmt.max) + 1)
    packed = bq.pack_bits(values, fmt)
    assert packed.tolist() == bq.pack_bits(values & (2**fmt.bits - 1), fmt.bits).tolist()
    assert bq.unpack_bits(packed, fmt).astype(int).tolist() == values.tolist()


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, ">u4", np.int64, object])
def test_other_integers_are_taken_by_value(dtype):
    if dtype is object:
        with pytest.raises(bq.BitquantError, match="codes has dtype object: pass integers"):
            bq.pack_bits(np.array([1, 2], object), 4)
    else:
        assert bq.pack_bits(np.array([1, 15], dtype), 4).tolist() == [0xF1]


def test_any_layout_gives_the_same():
    codes = draw(4, (6, 10, 7))
    for array in (codes[::2], codes[:, ::-1], codes.transpose(2, 0, 1), codes[..., 1:], np.asfortranarray(codes)):
        np.testing.assert_array_equal(bq.pack_bits(array, 4), bq.pack_bits(array.copy(order="C"), 4))
        packed = bq.pack_bits(array, 4)
        np.testing.assert_array_equal(bq.unpack_bits(packed[..., ::-1], 4), bq.unpack_bits(packed[..., ::-1].copy(), 4))


@pytest.mark.parametrize("shape", [(300_001,), (1001, 203), (70, 4096)])
@pytest.mark.parametrize("width", [3, 4])
def test_threads_give_the_same(shape, width):
    codes = draw(width, shape)
    packed = bq.pack_bits(codes, width)
    np.testing.assert_array_equal(bq.pack_bits(codes, width, threads=3), packed)
    np.testing.assert_array_equal(bq.unpack_bits(packed, width, shape[-1], threads=3), codes)
    np.testing.assert_array_equal(bq.unpack_bits(packed, width, shape[-1]), codes)


def test_out_is_written_and_nothing_beside_it():
    for width in WIDTHS:
        for order in ORDERS:
            for length in range(30):
                codes = draw(width, length, length)
                packed = bq.pack_bits(codes, width, order=order)
                room = np.full(packed.size + 16, 0xEE, np.uint8)
                out = room[8:-8]
                assert bq.pack_bits(codes, width, order=order, out=out) is out
                np.testing.assert_array_equal(out, packed)
                assert (room[:8] == 0xEE).all()
                assert (room[-8:] == 0xEE).all()
                room = np.full(length + 16, 0xEE, np.uint8)
                out = room[8 : 8 + length]
                assert bq.unpack_bits(packed, width, length, order=order, out=out) is out
                np.testing.assert_array_equal(out, codes)
                assert (room[:8] == 0xEE).all()
                assert (room[8 + length :] == 0xEE).all()


# --- Refusals -----------------------------------------------------------------------------------------------

BYTES = np.zeros(4, np.uint8)
REFUSALS = {
    "a code too wide": (lambda: bq.pack_bits([1, 16, 3, 99], 4), r"codes has 16 at index 1 \(the first of 2\): codes "
                        r"of 4 bits reach from 0 to 15; mask them to keep their low bits: codes & 0xf"),
    "a byte too wide": (lambda: bq.pack_bits(np.uint8([[1, 2], [3, 64]]), 6), r"codes has 64 at index \(1, 1\): codes"),
    "a negative code": (lambda: bq.pack_bits(np.int8([1, -1]), 4), r"codes has -1 at index 1: .* codes & 0xf"),
    "floats": (lambda: bq.pack_bits([1.0], 4), "codes has dtype float64: pass integers, or a dtype of 4 bits"),
    "a dtype of other bits": (lambda: bq.pack_bits(np.zeros(2, ml_dtypes.int4), 2), "int4: pass integers, or a dtype"),
    "a dtype of another format": (lambda: bq.pack_bits(np.zeros(2, ml_dtypes.float8_e5m2), "int8"), "or int8$"),
    "no row": (lambda: bq.pack_bits(3, 4), "codes is a single number"),
    "no row of bytes": (lambda: bq.unpack_bits(3, 4), "packed is a single number"),
    "no bits": (lambda: bq.pack_bits([0], 0), "bits=0: codes of 1 to 8 bits can be packed"),
    "nine bits": (lambda: bq.unpack_bits([0], 9), "bits=9: codes of 1 to 8"),
    "True bits": (lambda: bq.unpack_bits([0], True), "bits=True: codes of 1 to 8"),
    "a wide format": (lambda: bq.pack_bits([0], "float16"), "float16 has 16 bits: codes of 1 to 8 bits"),
    "no format": (lambda: bq.pack_bits([0], "float3"), "no format is called 'float3'"),
    "no order": (lambda: bq.pack_bits([0], 4, order="middle"), "order='middle' is not possible: choose little or big"),
    "too many codes": (lambda: bq.unpack_bits([1, 2], 6, 3), "count=3: 2 bytes hold 0 to 2 codes of 6 bits"),
    "minus one code": (lambda: bq.unpack_bits([1, 2], 6, -1), "count=-1: 2 bytes hold"),
    "half a code": (lambda: bq.unpack_bits([1, 2], 6, 1.5), "count=1.5: 2 bytes hold"),
    "no bytes": (lambda: bq.unpack_bits([1, 256], 4), "packed has 256 at index 1: codes of 8 bits reach"),
    "no threads": (lambda: bq.pack_bits([1], 4, threads=0), "threads=0: give a number"),
    "out of another shape": (lambda: bq.pack_bits([1], 4, out=BYTES), r"out has shape \(4,\) .* needed: \(1,\) "),
    "out of another dtype": (lambda: bq.pack_bits([1], 4, out=np.zeros(1)), "dtype float64; needed"),
    "out that is no array": (lambda: bq.unpack_bits([1], 4, out=[0, 0]), "out must be a NumPy array, not list"),
    "a strided out": (lambda: bq.unpack_bits([1], 4, out=BYTES[::2]), "out is read-only or not contiguous"),
    "out over the input": (lambda: bq.unpack_bits(BYTES[:2], 4, out=BYTES), "out overlaps the input"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_packed_is_refused_by_name(case):
    call, words = REFUSALS[case]
    with pytest.raises(bq.BitquantError, match=words):
        call()


@pytest.mark.parametrize(
    ("codes", "stream", "bits", "rows"),
    [
        (8, 4, 4, -1), (8, 4, 0, 1), (8, 4, 9, 1), (8, 5, 4, 1), (8, 3, 4, 1), (9, 5, 4, 2), (3, 0, 4, 0), (0, 1, 4, 0),
    ],
)  # fmt: skip
def test_the_kernel_refuses_arrays_that_do_not_fit(codes, stream, bits, rows):
    codes, stream = np.zeros(codes, np.uint8), np.zeros(stream, np.uint8)
    with pytest.raises(ValueError, match="codes"):
        kernel.pack(codes, stream, bits, rows, False)
    with pytest.raises(ValueError, match="codes"):
        kernel.unpack(stream, codes, bits, rows, True)


def test_the_kernel_refuses_other_memory():
    codes, stream, fixed = np.zeros(8, np.uint8), np.zeros(4, np.uint8), np.zeros(4, np.uint8)
    fixed.flags.writeable = False
    for work, arrays in (
        (kernel.pack, (codes.astype("u2"), stream)),
        (kernel.pack, (codes, np.zeros(8, np.uint8)[::2])),
        (kernel.pack, (codes, fixed)),
        (kernel.unpack, (stream, np.zeros(16, np.uint8)[::2])),
    ):
        with pytest.raises(ValueError, match=r"bytes|read-only"):
            work(*arrays, 4, 1, False)
    with pytest.raises(TypeError):
        kernel.pack(None, stream, 4, 1, False)
