"""Arrays of every kind go in and come out; layout, threads, library and FPU state change no bit."""

from __future__ import annotations

import itertools
import math

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
import witness as hardware
from bitquant import plans
from judging import (
    FLAG_BITS,
    NAMES,
    TABLE,
    all_codes,
    code_array,
    edges,
    judge_of,
    judged,
)

MORE_THAN_ONE_THREAD = (1 << 20) + 4099  # numbers: enough for several threads, and no whole number of blocks


# --- Arrays of every layout ---------------------------------------------------------------------------------

VALUES = np.array([0.1, -2.5, 1e6, -1e-9, 0.0, -0.0, 65504.0, 1.0 / 3, 123.456, -7.0, 2.0**-24, 1e-5], np.float32)
CUBE = np.resize(VALUES, 4 * 6 * 5).reshape(4, 6, 5) * np.float32(1.25)

LAYOUTS = {
    "contiguous": CUBE,
    "strided": np.repeat(CUBE, 3, axis=2)[:, :, ::3],
    "last axis reversed": CUBE[:, :, ::-1],
    "every axis reversed": CUBE[::-1, ::-1, ::-1],
    "Fortran order": np.asfortranarray(CUBE),
    "transposed": CUBE.transpose(2, 0, 1),
    "broadcast": np.broadcast_to(CUBE[:1], (7, 6, 5)),
    "broadcast last": np.broadcast_to(CUBE[:, :, :1], (4, 6, 9)),
    "one number broadcast": np.broadcast_to(np.float32(0.1), (3, 4)),
    "big-endian": CUBE.astype(">f4"),
    "big-endian strided": np.repeat(CUBE, 2, axis=1).astype(">f4")[:, ::-2],
    "unaligned": np.frombuffer(b"\0" + CUBE.tobytes(), np.uint8)[1:].view(np.float32).reshape(CUBE.shape),
    "field of a record": np.rec.fromarrays([np.arange(120, dtype=np.int8), CUBE.ravel()], names="a,b")["b"],
    "read-only": np.frombuffer(CUBE.tobytes(), np.float32),
    "long and strided": np.resize(VALUES, 100_001)[::3],
    "long and big-endian": np.resize(VALUES, 50_001).astype(">f4"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("target", [*NAMES, "float8_e4m3fn", "float4_e2m1fn", "float8_e8m0fnu", "int4", "int64", "nf4"])
def test_results_flags_and_masks_do_not_depend_on_the_layout(target, layout):
    x = LAYOUTS[layout]
    plain = np.ascontiguousarray(x).astype(np.float32)
    before = x.copy()
    want, got = bq.Flags(record=True), bq.Flags(record=True)
    expected = bq.convert(plain, target, flags=want)
    result = bq.convert(x, target, flags=got)
    assert result.shape == x.shape
    assert result.dtype == expected.dtype
    assert result.tobytes() == expected.tobytes()
    assert got.mask.tobytes() == want.mask.tobytes()
    assert got.mask.shape == x.shape
    assert (got.invalid, got.overflow, got.underflow, got.inexact) == (
        want.invalid,
        want.overflow,
        want.underflow,
        want.inexact,
    )
    assert bq.convert(x, target).tobytes() == expected.tobytes()
    assert np.array_equal(x, before)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_round_to_does_not_depend_on_the_layout(layout):
    x = LAYOUTS[layout]
    expected = bq.round_to(np.ascontiguousarray(x).astype(np.float32), "bfloat16")
    result = bq.round_to(x, "bfloat16")
    assert result.dtype.newbyteorder("=") == np.float32
    assert np.array_equal(result.astype(np.float32), expected)


@pytest.mark.parametrize("layout", ["contiguous", "last axis reversed", "Fortran order", "big-endian", "transposed"])
def test_the_refused_index_is_that_of_the_array_as_it_is_seen(layout):
    x = np.array(LAYOUTS[layout], copy=True, order="K")
    x = np.abs(x[::-1]) % 100  # a further negative stride, and nothing out of range
    x[2, 3, 1] = math.nan
    x[3, 0, 0] = math.nan
    with pytest.raises(bq.BitquantError, match=r"x has NaN at index \(2, 3, 1\) \(the first of 2\)"):
        bq.convert(x, "int8")


def test_the_refused_index_in_a_long_strided_array():
    x = np.zeros(200_000, np.float32)[::2]
    x[77_777] = math.nan
    x[88_888] = math.nan
    with pytest.raises(bq.BitquantError, match=r"at index 77777 \(the first of 2\)"):
        bq.convert(x, "int8")


def test_transposed_codes_of_one_byte_and_of_eight():
    codes = np.arange(240, dtype=np.uint8).reshape(12, 20)
    assert np.array_equal(bq.convert(codes.T, "float64"), np.arange(240.0).reshape(12, 20).T)
    x = np.linspace(-9, 9, 240).reshape(12, 20)
    assert np.array_equal(bq.convert(x.T, "float64"), x.T)


# --- Python numbers, lists, scalars, other dtypes ----------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "kind"),
    [(0.1, np.float16), (np.float32(0.1), np.float16), (ml_dtypes.bfloat16(0.1), np.float16),
     (np.float64(0.1), np.float16),
     (np.array(0.1), np.float16), (3, np.float16), (np.int8(3), np.float16), (True + 1, np.float16)],
)  # fmt: skip
def test_a_scalar_gives_a_scalar(x, kind):
    result = bq.convert(x, "float16")
    assert type(result) is kind
    assert result == np.float16(x)


def test_a_python_float_is_a_float64():
    assert bq.encode(1 + 2**-8 + 2**-40, "bfloat16") == 0x3F81
    assert type(bq.round_to(0.1, "float16")) is np.float64
    assert bq.round_to(0.1, "float16") == float(np.float16(0.1))


def test_nested_lists_are_arrays():
    result = bq.convert([[0.5, 1.5], [2.5, -3.5]], "int8")
    assert result.tolist() == [[0, 2], [2, -4]]
    assert result.dtype == np.int8
    assert bq.convert((1.0, 2.0), "bfloat16").dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("empty", [[], np.zeros((0, 3), np.float32), np.zeros((2, 0), ">f8")[:, ::-1]])
def test_an_empty_array_gives_an_empty_array(empty):
    flags = bq.Flags(record=True)
    result = bq.convert(empty, "int8", flags=flags)
    assert result.shape == np.shape(empty) == flags.mask.shape
    assert result.dtype == np.int8
    assert flags.invalid == flags.inexact == 0
    assert bq.encode(empty, "bfloat16", threads=2).shape == np.shape(empty)
    assert bq.round_to(empty, "float16").shape == np.shape(empty)
    assert bq.decode(np.zeros((0, 3), np.uint16), "float16").shape == (0, 3)
    assert bq.decode([], "float16").shape == (0,)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, ">i4"])
def test_integers_of_any_width_are_the_numbers_they_are(dtype):
    x = np.array([0, 1, 255, 2049, 2051, 30000], dtype)
    assert bq.convert(x, "float16").tolist() == [0, 1, 255, 2048, 2052, 30000]
    assert bq.convert(x, "uint8").tolist() == [0, 1, 255, 255, 255, 255]


def test_python_integers_are_exact_up_to_sixty_four_bits():
    """They are int64 (above its end uint64, as in NumPy) and round once: 2^53 + 2^29 + 1 is above a tie of float32."""
    assert bq.convert([2**53, -(2**53), 2**53 - 1], "float64").tolist() == [2**53, -(2**53), 2**53 - 1]
    assert bq.convert([2**63 - 1, -(2**63)], "int64").tolist() == [2**63 - 1, -(2**63)]
    assert bq.convert([2**63 - 1, -(2**63)], "uint64").tolist() == [2**63 - 1, 0]
    assert bq.convert(2**64 - 1, "uint64") == 2**64 - 1
    assert bq.convert(2**53 + 2**29 + 1, "float32") == np.float32(2**53 + 2**30)
    assert np.float32(float(2**53 + 2**29 + 1)) == np.float32(2**53)
    with pytest.raises(bq.BitquantError, match="x has dtype object"):
        bq.convert(2**64, "float32")


@pytest.mark.parametrize(
    "source", [np.float64, np.float32, np.float16, ml_dtypes.float8_e4m3fn, np.int64, ml_dtypes.int4]
)
@pytest.mark.parametrize("target", TABLE)
def test_the_result_has_the_dtype_of_the_target(source, target):
    fmt = bq.format(target)
    for to in (fmt, fmt.name, *([] if fmt.dtype is None else [fmt.dtype, fmt.dtype.type])):
        assert bq.convert(np.array([1, 1], source), to).dtype == (fmt.code_dtype if fmt.dtype is None else fmt.dtype)
    assert bq.encode(np.array([1, 1], source), target).dtype == fmt.code_dtype
    codes = np.empty(2, fmt.code_dtype)
    assert bq.convert(np.array([1, 1], source), target, out=codes) is codes


def test_subclasses_come_back_as_plain_arrays():
    x = np.ma.array([1.0, 2.0], mask=[0, 1])
    assert type(bq.convert(x, "float16")) is np.ndarray


@pytest.mark.parametrize("x", [["a"], [1 + 2j], np.array(["2020"], "M8[s]"), [None], [object()], np.array([True])])
def test_what_is_not_a_number_is_refused_by_its_dtype(x):
    with pytest.raises(
        bq.BitquantError, match=r"x has dtype .*, which holds no numbers of a known format: use float64"
    ):
        bq.convert(x, "float16")


def test_a_ragged_list_is_refused():
    with pytest.raises(bq.BitquantError, match="cannot read list as an array of numbers"):
        bq.convert([[1.0], [1.0, 2.0]], "float16")


@pytest.mark.parametrize(
    "name", [name for name in TABLE if judge_of(name).bits < 8 and bq.format(name).dtype is not None]
)
def test_arrays_of_less_than_a_byte_per_number_go_in_and_out(name):
    """int2 to FP6: a byte for each number, whose high bits the dtype does not use."""
    fmt, judge = bq.format(name), judge_of(name)
    codes = np.array(all_codes(judge), np.uint8)
    x = codes.view(fmt.dtype)
    wide = bq.convert(x, "float32")
    assert np.array_equal(wide, x.astype(np.float32))
    assert np.array_equal(wide.view(np.uint32), judged(codes.tolist(), name, "float32")[0])
    back = bq.convert(wide, fmt.dtype)
    assert back.dtype == fmt.dtype
    assert np.array_equal(back.view(np.uint8), codes)
    assert np.array_equal(bq.convert(x.reshape(2, -1).T, name).view(np.uint8), codes.reshape(2, -1).T)
    assert bq.convert(x, name).dtype == bq.round_to(x, "float16").dtype == fmt.dtype
    assert type(bq.convert(x[0], name)) is fmt.dtype.type
    out = np.empty_like(x)
    assert bq.convert(wide, name, out=out) is out
    assert np.array_equal(bq.encode(out, name), codes)
    other = bq.convert(x, "int4", overflow="saturate")
    assert other.astype(int).tolist() == np.clip(np.rint(wide), -8, 7).astype(int).tolist()


# --- out= ---------------------------------------------------------------------------------------------------

OUTS = {
    "contiguous": lambda: np.full((4, 6, 5), 9, np.float16),
    "big-endian": lambda: np.full((4, 6, 5), 9, ">f2"),
    "strided": lambda: np.full((4, 6, 15), 9, np.float16)[:, :, ::3],
    "reversed": lambda: np.full((4, 6, 5), 9, np.float16)[::-1, :, ::-1],
    "Fortran order": lambda: np.full((4, 6, 5), 9, np.float16, order="F"),
    "big-endian strided": lambda: np.full((8, 6, 5), 9, ">f2")[::2],
}


@pytest.mark.parametrize("out", OUTS)
@pytest.mark.parametrize("layout", ["contiguous", "every axis reversed", "big-endian"])
def test_out_of_any_layout_is_written_and_returned(layout, out):
    x, out = LAYOUTS[layout], OUTS[out]()
    flags = bq.Flags(record=True)
    assert bq.convert(x, "float16", out=out, flags=flags) is out
    assert np.array_equal(out, bq.convert(np.ascontiguousarray(x).astype(np.float32), "float16"))
    assert flags.mask.flags.c_contiguous
    assert flags.inexact == np.count_nonzero(flags.mask & 8)


def test_out_writes_nothing_between_the_strides():
    base = np.full((4, 20), 9, np.float16)
    bq.convert(np.ones((4, 5), np.float32), "float16", out=base[:, ::4])
    assert np.count_nonzero(base == 1) == 20
    assert np.count_nonzero(base == 9) == 60


def test_out_of_encode_decode_and_round_to():
    x = np.array([0.1, -2.0], np.float32)
    codes = np.zeros(2, np.uint16)
    assert bq.encode(x, "bfloat16", out=codes) is codes
    assert codes.tolist() == [0x3DCD, 0xC000]
    words = np.zeros(2, np.uint32)
    assert bq.encode(x, "tfloat32", out=words) is words
    assert words.tolist() == bq.convert(x, "tfloat32").tolist()
    values = np.zeros(2, np.float32)
    assert bq.decode(codes, "bfloat16", out=values) is values
    assert values.tolist() == [0.10009765625, -2.0]
    assert bq.round_to(x, "bfloat16", out=values) is values
    assert values.tolist() == [0.10009765625, -2.0]


def test_round_to_in_place():
    x = np.resize(VALUES, 5000)
    expected = bq.round_to(x, "float16")
    assert bq.round_to(x, "float16", out=x) is x
    assert np.array_equal(x, expected)


def test_convert_in_place_between_formats_of_one_width():
    x = np.resize(VALUES, 5000)
    expected = bq.convert(x, "tfloat32")
    words = np.empty(5000, np.uint32)
    bq.convert(x, "tfloat32", out=words)
    assert np.array_equal(words, expected)


def overlapping():
    """Return an array, and one of float16 that begins in the middle of it."""
    base = np.ones(64, np.float16)
    return base[:32], base[16:48]


WRONG_OUTS = [
    (np.zeros(3, np.float16), r"out has shape \(3,\) and dtype float16; needed: \(4,\) and float16"),
    (np.zeros((4, 1), np.float16), r"out has shape \(4, 1\)"),
    (np.zeros(4, np.float32), r"dtype float32; needed: \(4,\) and float16"),
    ([0, 0, 0, 0], "out must be a NumPy array, not list"),
    (np.frombuffer(bytes(8), np.float16), "out is read-only: pass a writable array"),
]


@pytest.mark.parametrize(("out", "message"), WRONG_OUTS)
def test_an_out_that_does_not_fit_is_refused(out, message):
    with pytest.raises(bq.BitquantError, match=message):
        bq.convert(np.ones(4, np.float32), "float16", out=out)


def test_an_out_that_overlaps_is_refused():
    x, out = overlapping()
    with pytest.raises(bq.BitquantError, match="out overlaps x: pass another array"):
        bq.convert(x, "float16", out=out)
    words = np.ones(64, np.float32)
    with pytest.raises(bq.BitquantError, match="out overlaps x: pass another array"):
        bq.convert(words[:32], "float16", out=words.view(np.float16)[:32])
    x = np.ones(64, np.float32)
    with pytest.raises(bq.BitquantError, match="out overlaps x: pass another array"):
        bq.round_to(x, "float16", out=x[::-1])


def test_an_out_that_repeats_its_own_memory_is_refused():
    with pytest.raises(bq.BitquantError, match="out"):
        bq.convert(np.ones((3, 4), np.float32), "float16",
                   out=np.lib.stride_tricks.as_strided(np.zeros(4, np.float16), (3, 4), (0, 2)))  # fmt: skip


def test_an_encode_out_of_another_word_is_refused():
    with pytest.raises(bq.BitquantError, match="out must be an array of uint16, the codes of float16"):
        bq.encode([1.0], "float16", out=np.zeros(1, np.float16))


def test_out_may_be_the_codes_of_the_target():
    """Convert's docstring: of the result's dtype, or of its codes'."""
    codes = np.zeros(2, np.uint16)
    assert bq.convert([1.0, -2.0], "float16", out=codes) is codes
    assert codes.tolist() == [0x3C00, 0xC000]


# --- Threads ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many():
    """Return float32 numbers of every kind, enough for several threads, without NaN."""
    draw = np.random.default_rng(0)
    codes = draw.integers(0, 1 << 32, MORE_THAN_ONE_THREAD, np.uint32)
    codes[: 1 << 19] = (codes[: 1 << 19] & 0x0FFFFFFF) | 0x38000000  # long runs of ordinary blocks
    codes[(codes & 0x7FFFFFFF) > 0x7F800000] = 0x40490FDB
    return codes.view(np.float32)


@pytest.mark.parametrize("threads", [1, 2, 3, 7, None])
@pytest.mark.parametrize("target", ["float16", "bfloat16", "float64", "int8"])
def test_the_number_of_threads_changes_nothing(many, target, threads):
    want, got = bq.Flags(record=True), bq.Flags(record=True)
    halves = [bq.encode(part, target, flags=want) for part in np.array_split(many, 9)]
    result = bq.encode(many, target, flags=got, threads=threads)
    assert np.array_equal(result, np.concatenate(halves))
    assert (got.invalid, got.overflow, got.underflow, got.inexact) == (
        want.invalid,
        want.overflow,
        want.underflow,
        want.inexact,
    )
    sums = [int(np.count_nonzero(got.mask & bit)) for bit in FLAG_BITS.values()]
    assert sums == [got.invalid, got.overflow, got.underflow, got.inexact]


@pytest.mark.parametrize("target", ["float16", "float8_e5m2"])
@pytest.mark.parametrize("start", [0, 1, 3, 16, 32, 48])
def test_what_streams_past_the_caches_is_the_same(many, target, start):
    """From 8 MB on, and in any alignment."""
    dtype = bq.format(target).code_dtype
    size = (1 << 23) // dtype.itemsize + 77
    out = np.zeros(size + 56, dtype)
    bq.encode(np.resize(many, size), target, out=out[start : start + size])
    assert np.array_equal(out[start : start + size], np.resize(bq.encode(many, target), size))
    assert not out[:start].any()
    assert not out[start + size :].any()


@pytest.mark.parametrize("threads", [1, 2, 3, None])
@pytest.mark.parametrize(
    "places", [(0, 1), (600_000, 1_000_000, MORE_THAN_ONE_THREAD - 1), (MORE_THAN_ONE_THREAD - 1,)]
)
def test_the_first_refused_index_does_not_depend_on_threads(many, places, threads):
    x = many.copy()
    x[list(places)] = math.nan
    more = rf" \(the first of {len(places)}\)" if len(places) > 1 else ""
    with pytest.raises(bq.BitquantError, match=rf"^x has NaN at index {places[0]}{more}: "):
        bq.convert(x, "float16", nan="raise", threads=threads)
    x = np.ones(MORE_THAN_ONE_THREAD, np.float32)
    x[list(places)] = 1e6
    with pytest.raises(bq.BitquantError, match=rf"^x has 1e\+06 at index {places[0]}{more}: "):
        bq.convert(x, "float16", overflow="raise", threads=threads)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
@pytest.mark.parametrize("x", [np.zeros(3), np.zeros((4, 4)).T, np.zeros(MORE_THAN_ONE_THREAD, np.float32), 1.0])
def test_a_number_of_threads_that_makes_no_sense_is_refused(threads, x):
    with pytest.raises(bq.BitquantError, match=f"threads={threads!r}: give a number from 1 up, or None"):
        bq.convert(x, "float16", threads=threads)


# --- The FPU's own modes -----------------------------------------------------------------------------------


# Every kind of kernel: both carriers, every lane, tables, whole numbers, codebooks.
FPU_SOME = [*NAMES, "float8_e4m3fn", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn", "int4", "int64", "nf4"]
FPU_PAIRS = list(itertools.product(FPU_SOME, FPU_SOME))


@pytest.mark.parametrize("flush", list(hardware.FLUSHES))
@pytest.mark.parametrize("rounding", list(hardware.ROUNDING_CONTROL))
def test_no_rounding_mode_or_flush_bit_of_the_fpu_changes_a_result(witness, rounding, flush):
    if reason := witness.absent("mxcsr"):
        pytest.skip(reason)
    inputs = {pair: code_array(edges(*pair), bq.format(pair[0])) for pair in FPU_PAIRS}

    def results():
        plans.conversion.cache_clear()
        plans.round_trip.cache_clear()
        found = []
        for (source, target), codes in inputs.items():
            flags = bq.Flags(record=True)
            found.append(bq.encode(codes, target, source, nan="max", flags=flags).tobytes())
            found.append(flags.mask.tobytes())
            found.append(bq.encode(codes[::2], target, source, nan="max", subnormals="flush").tobytes())
        tiny = np.array([5e-324, 1e-310, -(2.0**-1022), 1e-40])
        found.append(bq.round_to(tiny, "float32").tobytes())
        found.append(bq.round_to(tiny, "float64").tobytes())
        found.append(bq.decode(np.arange(2048, dtype=np.uint16), "bfloat16").tobytes())
        return found

    expected = results()
    with witness.fpu_state(rounding, flush):
        got = results()
        after = witness.get_mxcsr()
    assert after & 0xE040 == hardware.mxcsr_word(rounding, flush) & 0xE040  # the kernels leave it as it was
    assert got == expected


# --- Arrays of other libraries -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    """Import torch, or skip."""
    return pytest.importorskip("torch", reason="torch is not installed")


TORCH = [
    *("float64", "float32", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64", "float8_e4m3fn"),
    *("float8_e5m2",),
]


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("target", TORCH)
def test_a_tensor_gives_a_tensor(torch, dtype, target):
    x = torch.tensor([0, 1, 2, 3, 96, 7]).to(getattr(torch, dtype))
    result = bq.convert(x, target)
    assert isinstance(result, torch.Tensor)
    assert result.dtype == getattr(torch, target)
    assert result.to(torch.float64).tolist() == [0, 1, 2, 3, 96, 7]


def test_a_bfloat16_tensor_is_read_by_its_bits(torch):
    codes = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    x = codes.view(torch.bfloat16)
    result = bq.convert(x, "float32")
    expected = np.arange(2**16, dtype=np.uint16)
    theirs, _, _ = judged(codes.numpy().view(np.uint16).tolist(), "bfloat16", "float32")
    assert np.array_equal(result.numpy().view(np.uint32), theirs)
    assert sorted(bq.encode(x, "bfloat16", nan="preserve").numpy().tolist())[0] == expected[0]


@pytest.mark.parametrize(
    "name",
    [
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
        "uint16",
        "uint32",
        "uint64",
    ],
)
def test_tensors_of_small_floats_and_whole_numbers_go_in_and_out_by_their_bits(torch, name):
    if not hasattr(torch, name):
        pytest.skip(f"torch {torch.__version__} has no {name}")
    fmt = bq.format(name)
    codes = np.arange(256).astype(fmt.code_dtype)
    x = torch.from_numpy(codes).view(getattr(torch, name))
    wide = bq.convert(x, "float32")
    assert wide.dtype == torch.float32
    assert np.array_equal(wide.numpy().view(np.uint32), judged(codes.tolist(), name, "float32")[0])
    back = bq.convert(wide, name)
    assert back.dtype == x.dtype
    assert back.view(getattr(torch, fmt.code_dtype.name)).numpy().tolist() == judged(
        wide.numpy().view(np.uint32).tolist(), "float32", name)[0].tolist()  # fmt: skip
    assert bq.convert(x[::3], "float64").tolist()[:3] == bq.convert(x, "float64").tolist()[:9:3]
    rounded = bq.round_to(x[1:100], "float32")
    assert rounded.dtype == x.dtype


@pytest.mark.parametrize("name", ["float4_e2m1fn", "float6_e2m3fn", "float8_e3m4", "int4", "int2", "nf4", "tfloat32"])
def test_a_tensor_of_a_format_that_torch_lacks_holds_codes(torch, name):
    fmt = bq.format(name)
    result = bq.convert(torch.tensor([[1.0, -1.0]]), name)
    assert isinstance(result, torch.Tensor)
    assert result.numpy().astype(np.uint64).tolist() == bq.encode([[1.0, -1.0]], fmt).tolist()
    assert bq.decode(bq.encode(torch.tensor([1.0]), name), name).tolist() == [1.0]


def test_a_tensor_that_requires_grad_is_read_detached(torch):
    x = torch.tensor([[0.1, 2.5]], requires_grad=True)
    result = bq.round_to(x, "bfloat16")
    assert result.dtype == torch.float32
    assert result.shape == (1, 2)
    assert not result.requires_grad
    assert result.tolist() == [[0.10009765625, 2.5]]
    assert x.requires_grad


def test_a_strided_tensor_and_a_scalar_tensor(torch):
    x = torch.arange(12.0).reshape(3, 4)
    assert bq.convert(x.T, "int8").tolist() == x.T.tolist()
    assert bq.convert(x[:, ::2], "bfloat16").tolist() == x[:, ::2].tolist()
    scalar = bq.convert(torch.tensor(2.5), "int8")
    assert isinstance(scalar, torch.Tensor)
    assert (scalar.shape, scalar.item()) == ((), 2)
    assert bq.encode(torch.tensor([1.0]), "float16").tolist() == [0x3C00]
    assert bq.decode(bq.encode(torch.tensor([1.5, -2.0]), "float16"), "float16").tolist() == [1.5, -2.0]
    assert bq.convert(torch.tensor([1.0]), "tfloat32").tolist() == [0x1FC00]


def test_tensors_without_a_format_or_a_cpu_are_refused(torch):
    with pytest.raises(bq.BitquantError, match=r"the tensor is on meta: bitquant computes on the CPU, pass x\.cpu\(\)"):
        bq.convert(torch.zeros(2, device="meta"), "float16")
    with pytest.raises(bq.BitquantError, match="complex64"):
        bq.convert(torch.zeros(2, dtype=torch.complex64), "float16")
    if hasattr(torch, "float4_e2m1fn_x2"):  # two codes in a byte: bits are to be unpacked first
        with pytest.raises(bq.BitquantError, match="float4_e2m1fn_x2"):
            bq.convert(torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), "float16")
    with pytest.raises(bq.BitquantError, match="is a dtype, not a tensor"):
        bq.convert(torch.float16, "float16")


class FakeNamespace:
    """The array library that a `FakeArray` belongs to."""

    @staticmethod
    def asarray(x):
        """Make a fake of a NumPy array."""
        return FakeArray(x)


class FakeArray:
    """An array of another library, as JAX has them: neither an ndarray nor a tensor."""

    def __init__(self, x):
        self.x = np.asarray(x)

    def __array_namespace__(self, api_version=None):
        """Return the library (array API standard)."""
        return FakeNamespace

    def __array__(self, dtype=None, copy=None):
        """Return the numbers."""
        return self.x if dtype is None else self.x.astype(dtype)


class FakeDLPack:
    """An array that has DLPack and nothing else."""

    def __init__(self, x):
        self.x = x

    def __dlpack__(self, **options):
        """Hand over the memory."""
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self):
        """Return CPU."""
        return self.x.__dlpack_device__()


def test_an_array_of_another_library_comes_back_as_one():
    x = FakeArray(np.array([0.1, 2.5], np.float32))
    for result, expected in (
        (bq.convert(x, "bfloat16"), [0.10009765625, 2.5]),
        (bq.round_to(x, "bfloat16"), [0.10009765625, 2.5]),
        (bq.encode(x, "bfloat16"), [0x3DCD, 0x4020]),
        (bq.decode(FakeArray(np.array([0x3C00, 0x4000], np.uint16)), "float16"), [1.0, 2.0]),
    ):
        assert type(result) is FakeArray
        assert result.x.tolist() == expected


def test_an_array_with_dlpack_alone_is_read():
    assert bq.convert(FakeDLPack(np.array([1.5, 2.5], np.float32)), "int8").tolist() == [2, 2]
