"""Tensor files: bit for bit there and back, nothing half written, and every lying file refused in one sentence."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import struct
import subprocess
import sys
import threading
import zipfile
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import bitquant as bq
from bitquant.files import (
    check_dtype,
    check_output,
    load_quantized,
    output,
    read_tensors,
    save_quantized,
    write_tensors,
)
from bitquant.files.safetensors import DTYPES

NAMED = (".safetensors", ".npz")
PACKED = ("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn")
RNG = np.random.default_rng(20)


def bits_of(array):
    return array.dtype.str, array.dtype.name, array.shape, np.asarray(array, order="C").tobytes()


def random_bits(dtype, shape):
    """Any bits at all: NaN payloads, infinities and subnormals among them."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return RNG.integers(0, 2, shape).astype(bool)
    count = int(np.prod(shape, dtype=int)) * dtype.itemsize
    codes = np.frombuffer(RNG.bytes(count), np.uint8)
    bits = bq.format(dtype).bits if dtype.name.startswith("float") else 8
    return (codes & (255 >> max(8 - bits, 0))).view(dtype).reshape(shape)


# --- Round trips --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", NAMED)
@pytest.mark.parametrize("dtype", list(DTYPES.values()), ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (7,), (3, 5), (2, 3, 4)], ids=str)
def test_every_dtype_and_shape_comes_back_bit_for_bit(tmp_path, suffix, dtype, shape):
    if suffix == ".safetensors" and dtype.name in PACKED:
        shape = (*shape, 8)  # whole bytes
    tensor = random_bits(dtype, shape)
    write_tensors(tmp_path / f"x{suffix}", {"x": tensor, "other": np.int8([1])}, {"é": "ü\n"})
    tensors, metadata = read_tensors(tmp_path / f"x{suffix}")
    assert bits_of(tensors["x"]) == bits_of(tensor)
    assert set(tensors) == {"x", "other"}
    assert metadata == {"é": "ü\n"}
    assert tensors["x"].flags.writeable


ML_DTYPES = [fmt.dtype for fmt in bq.formats() if fmt.dtype is not None and fmt.dtype.type.__module__ != "numpy"]


@pytest.mark.parametrize("dtype", ML_DTYPES, ids=lambda dtype: dtype.name)
def test_an_npz_holds_every_dtype_of_every_format(tmp_path, dtype):
    codes = np.arange(2 ** bq.format(dtype).bits, dtype=np.uint64).astype(f"u{dtype.itemsize}")
    tensors = {"x": codes.view(dtype), "strided": codes.view(dtype)[::-3], "empty": np.zeros((0, 3), dtype)}
    write_tensors(tmp_path / "x.npz", tensors)
    read, _ = read_tensors(tmp_path / "x.npz")
    assert {name: bits_of(tensor) for name, tensor in read.items()} == {
        name: bits_of(tensor) for name, tensor in tensors.items()
    }


@pytest.mark.parametrize("dtype", [fmt.dtype for fmt in bq.formats() if fmt.dtype is not None], ids=lambda d: d.name)
@pytest.mark.parametrize("suffix", [*NAMED, ".npy"])
def test_a_dtype_is_refused_beforehand_where_it_cannot_be_written_and_there_alone(tmp_path, suffix, dtype):
    path = tmp_path / f"x{suffix}"
    try:
        check_dtype(path, dtype)
    except bq.BitquantError as error:
        assert re.search(rf"has no name for {dtype.name}: write \.npz$", str(error))  # noqa: PT017
        with pytest.raises(bq.BitquantError, match=r"write \.npz"):
            write_tensors(path, {"x": np.zeros(4, dtype)})
        assert not path.exists()
    else:
        write_tensors(path, {"x": np.zeros(4, dtype)})
        assert bits_of(read_tensors(path)[0]["x"]) == bits_of(np.zeros(4, dtype))


@pytest.mark.parametrize("suffix", [*NAMED, ".npy"])
@pytest.mark.parametrize(
    "layout",
    [np.transpose, np.asfortranarray, lambda x: x[::2, ::-1], lambda x: x.astype(">f4"), np.ravel],
    ids=["transposed", "fortran", "strided", "big-endian", "raveled"],
)
def test_layout_does_not_change_the_numbers(tmp_path, suffix, layout):
    tensor = layout(np.arange(24, dtype=np.float32).reshape(4, 6))
    write_tensors(tmp_path / f"x{suffix}", {"x": tensor})
    np.testing.assert_array_equal(read_tensors(tmp_path / f"x{suffix}")[0]["x"], tensor)


def test_big_endian_bfloat16_keeps_its_numbers(tmp_path):
    tensor = np.array([1.0, 3.14, -0.0], np.float32).astype(ml_dtypes.bfloat16)
    for suffix in NAMED:
        write_tensors(
            tmp_path / f"x{suffix}", {"x": tensor.newbyteorder() if hasattr(tensor, "newbyteorder") else tensor}
        )
        assert bits_of(read_tensors(tmp_path / f"x{suffix}")[0]["x"]) == bits_of(tensor)


def test_an_npz_is_read_by_numpy_alone(tmp_path):
    """In a process without ml_dtypes: bfloat16 as its codes, the metadata as text."""
    brain = np.array([1.0, -2.0], np.float32).astype(ml_dtypes.bfloat16)
    write_tensors(tmp_path / "x.npz", {"w": brain, "file": np.float32([0.5])}, {"by": "me"})
    program = (
        "import sys, json, numpy as np; f = np.load(sys.argv[1], allow_pickle=False); "
        "assert 'ml_dtypes' not in sys.modules; notes = json.loads(str(f['__metadata__'])); "
        "print(f['w'].dtype, [hex(code) for code in f['w']], f['file'].tolist(), notes['by'], "
        "json.loads(notes['bitquant.dtypes']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x.npz")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "uint16 ['0x3f80', '0xc000'] [0.5] me {'w': 'bfloat16'}"


def test_a_safetensors_file_is_what_the_library_writes_and_reads(tmp_path):
    tensors = {"a": np.float32([[1, 2], [3, 4]]), "b": np.int64([-1])}
    write_tensors(tmp_path / "ours.safetensors", tensors)
    read = safetensors.numpy.load_file(tmp_path / "ours.safetensors")
    assert {name: bits_of(tensor) for name, tensor in read.items()} == {
        name: bits_of(tensor) for name, tensor in tensors.items()
    }
    safetensors.numpy.save_file(tensors, tmp_path / "theirs.safetensors", metadata={"by": "them"})
    read, metadata = read_tensors(tmp_path / "theirs.safetensors")
    assert bits_of(read["a"]) == bits_of(tensors["a"])
    assert metadata == {"by": "them"}


def test_npz_of_numpy_is_read_compressed_or_not(tmp_path):
    tensors = {"a/b": np.arange(100000, dtype=np.float32), "zeros": np.zeros(1 << 20, np.uint8), "s": np.array("text")}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **tensors)
        read, metadata = read_tensors(tmp_path / "x.npz")
        assert list(read) == list(tensors)
        assert all(bits_of(read[name]) == bits_of(tensors[name]) for name in tensors)
        assert metadata == {}


@pytest.mark.parametrize("suffix", NAMED)
def test_equal_tensors_make_equal_files(tmp_path, suffix):
    for name in ("a", "b"):
        write_tensors(tmp_path / f"{name}{suffix}", {"x": np.float32([1]), "y": np.int8([2])}, {"k": "v"})
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_an_npy_tensor_is_named_as_its_file(tmp_path):
    write_tensors(tmp_path / "weights.npy", {"anything": np.float16([1])})
    assert list(read_tensors(tmp_path / "weights.npy")[0]) == ["weights"]


# --- Hostile files ------------------------------------------------------------------------------------------


def safetensors_file(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def row(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def npy_file(header, data=b"", magic=b"\x93NUMPY\x01\x00"):
    text = header if isinstance(header, bytes) else repr(header).encode()
    text += b" " * (63 - (len(magic) + 2 + len(text)) % 64) + b"\n"
    return magic + struct.pack("<H", len(text)) + text + data


def npy_header(descr="<f4", shape=(1,), fortran=False):
    return {"descr": descr, "fortran_order": fortran, "shape": shape}


def npz_file(entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


def saved(tensor):
    file = io.BytesIO()
    np.save(file, tensor)
    return file.getvalue()


TWICE = json.dumps({"x": row(), "y": row(offsets=(4, 8))}).replace('"y"', '"x"')
TWICE = safetensors_file(TWICE.encode(), b"\0" * 8)
GOOD_NPY = npy_file(npy_header(), b"\0\0\0\0")
GOOD_NPZ = npz_file([("x.npy", GOOD_NPY)])


def flipped(data, place):
    """The bytes with one bit turned over."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def metadata_npz(text):
    return npz_file([("x.npy", GOOD_NPY), ("__metadata__.npy", saved(np.array(text)))])


def pickled():
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
    return file.getvalue()


HOSTILE = [
    # suffix, bytes, what the sentence says, why it is hostile
    (".safetensors", b"", "bytes 0 to 8, and the file has 0", "empty"),
    (".safetensors", b"\x93NUMPY\x01\x00abc", "byte 0 gives the header", "another format"),
    (".safetensors", b"\x08\0\0\0\0\0\0\0{", "8 bytes, and the file has 9", "header cut off"),
    (".safetensors", safetensors_file({}, length=2**63), "at most 100000000 are read", "header length a lie"),
    (".safetensors", safetensors_file(b"{nonsense}"), "header", "header no JSON"),
    (
        ".safetensors",
        safetensors_file({"x": row()}, b"\0\0"),
        "'x' is to lie from byte 69 to byte 73, and the file has 71",
        "data cut off",
    ),
    (
        ".safetensors",
        safetensors_file({"x": row()}, b"\0" * 9),
        "'x' ends at byte 73, and the file has 78",
        "bytes left over",
    ),
    (
        ".safetensors",
        safetensors_file({"x": row(offsets=(96, 100))}, b"\0" * 4),
        "'x' is to lie",
        "offsets beyond the file",
    ),
    (".safetensors", safetensors_file({"x": row(offsets=(4, 0))}, b"\0" * 4), "'x' is to lie", "offsets the wrong way"),
    (
        ".safetensors",
        safetensors_file({"x": row(shape=(2,))}, b"\0" * 4),
        "F32 is 8 bytes.*gives? it 4",
        "shape needs more",
    ),
    (
        ".safetensors",
        safetensors_file({"x": row(shape=(2**62, 8))}, b"\0" * 4),
        "bytes, and its offsets",
        "shape overflows",
    ),
    (".safetensors", safetensors_file({"x": row(shape=(-1,))}, b"\0" * 4), "impossible shape", "negative length"),
    (
        ".safetensors",
        safetensors_file({"x": row(), "y": row()}, b"\0" * 4),
        "'y' begins at byte .* overlaps 'x'",
        "tensors overlap",
    ),
    (".safetensors", safetensors_file({"x": row(), "y": row(offsets=(8, 12))}, b"\0" * 12), "leaves 4 bytes", "a hole"),
    (".safetensors", TWICE, "'x' is there twice", "a name twice"),
    (".safetensors", safetensors_file({"x": row(offsets=(0, 4, 8))}, b"\0" * 4), "impossible offsets", "three offsets"),
    (".safetensors", safetensors_file({"x": row(shape=(True,))}, b"\0" * 4), "impossible shape", "a truth as a length"),
    (".safetensors", safetensors_file({"x": [1]}, b"\0" * 4), "no dtype, shape and", "a row that is none"),
    (".safetensors", safetensors_file({"x": row(), "__metadata__": {"a": 1}}, b"\0" * 4), "texts", "metadata no texts"),
    (".safetensors", safetensors_file([1]), "no JSON object", "a header that is no object"),
    (".safetensors", safetensors_file(b"[" * 5000), "no JSON", "deep nesting"),
    (".safetensors", safetensors_file({"x": row(dtype="F4", shape=(7,))}, b"\0" * 4), "3.5 bytes", "half a byte"),
    (".safetensors", safetensors_file({"x": row(dtype="F33")}, b"\0" * 4), "F33", "unknown dtype"),
    (".npy", b"", "header", "empty"),
    (".npy", b"PK\x03\x04 not an npy", "header", "another format"),
    (".npy", GOOD_NPY[:20], "header", "header cut off"),
    (".npy", GOOD_NPY[:-1], "4 bytes and from byte 128 on there are 3", "data cut off"),
    (".npy", GOOD_NPY + b"\0", "4 bytes and from byte 128 on there are 5", "bytes left over"),
    (".npy", npy_file(npy_header(shape=(10**15,)), b"\0" * 4), "damaged", "shape asks for petabytes"),
    (".npy", npy_file(npy_header(shape=(2**62, 2**62)), b"\0" * 4), "damaged", "shape overflows"),
    (".npy", npy_file(npy_header(shape=(-1,)), b"\0" * 4), "impossible|header", "negative length"),
    (".npy", npy_file(npy_header(shape=(True,)), b"\0" * 4), "impossible|header", "a shape that is no number"),
    (".npy", npy_file(npy_header(descr="<f3")), "header", "unknown dtype"),
    (".npy", npy_file(b"__import__('os').abort()"), "header", "code in the header"),
    (".npy", npy_file(b"{" * 5000), "header", "deep nesting"),
    (".npy", npy_file(npy_header(), b"\0" * 4, b"\x93NUMPY\x09\x00"), "header", "unknown version"),
    (".npy", pickled(), "never read", "a pickle"),
    (".npy", saved(np.zeros(2, [("a", "f4")])), "not numbers", "a structure"),
    (".npy", saved(np.zeros(2, ml_dtypes.bfloat16)), "bfloat16", "bfloat16 without a name"),
    (".npz", b"", "no readable .npz", "empty"),
    (".npz", GOOD_NPY, "no readable .npz", "another format"),
    (".npz", GOOD_NPZ[:-30], "no readable .npz", "directory cut off"),
    (".npz", flipped(GOOD_NPZ, GOOD_NPZ.index(b"\0\0\0\0", 150)), "CRC|header|damaged", "a bit turned over"),
    (".npz", npz_file([("x.npy", b"not an npy")]), "header", "an entry that is no array"),
    (".npz", npz_file([("x.txt", b"hello")]), "no .npy entry", "another kind of zip"),
    (".npz", npz_file([("x.npy", pickled())]), "never read", "a pickle inside"),
    (".npz", npz_file([("x.npy", npy_file(npy_header(shape=(10**15,)), b"\0" * 4))]), "damaged", "a bomb"),
    (".npz", metadata_npz("{nonsense"), "JSON", "metadata no JSON"),
    (".npz", metadata_npz("[1]"), "JSON object", "metadata no object"),
    (".npz", metadata_npz('{"a": 1}'), "texts", "metadata no texts"),
    (".npz", npz_file([("__metadata__.npy", GOOD_NPY)]), "no text", "metadata an array"),
    (".npz", metadata_npz('{"bitquant.dtypes": "{\\"x\\": \\"bfloat16\\"}"}'), "codes of bfloat16", "wrong width"),
    (".npz", metadata_npz('{"bitquant.dtypes": "{\\"y\\": \\"bfloat16\\"}"}'), "codes of bfloat16", "no such tensor"),
    (".npz", metadata_npz('{"bitquant.dtypes": "{\\"x\\": \\"finfo\\"}"}'), "ml_dtypes", "a dtype that is none"),
    (".npz", metadata_npz('{"bitquant.dtypes": "{\\"x\\": 3}"}'), "ml_dtypes", "a dtype that is a number"),
]


@pytest.mark.parametrize(("suffix", "data", "words", "why"), HOSTILE, ids=[f"{r[0]}-{r[3]}" for r in HOSTILE])
def test_a_lying_file_is_refused_in_one_sentence_that_names_it(tmp_path, suffix, data, words, why):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    with pytest.raises(bq.BitquantError, match=words) as caught:
        read_tensors(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert ": " in sentence  # the remedy follows


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_changed_number_in_an_npz_is_noticed(tmp_path, save):
    save(tmp_path / "x.npz", w=np.arange(64, dtype=np.float32))
    data = (tmp_path / "x.npz").read_bytes()
    end = data.index(b"PK\x01\x02")
    for place in (end - 9, end - 30, end - 60):
        (tmp_path / "x.npz").write_bytes(flipped(data, place))
        with pytest.raises(bq.BitquantError, match=r"no readable \.npz"):
            read_tensors(tmp_path / "x.npz")


def test_a_zip_that_claims_gigabytes_is_refused_before_they_are_asked_for(tmp_path):
    claim = 3 << 30
    header = npy_file(npy_header("|u1", (claim,)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header)
    data = bytearray(file.getvalue())
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", claim + len(header))  # the size when inflated
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(bq.BitquantError, match="claims more bytes"):
        read_tensors(tmp_path / "x.npz")


def test_an_npz_with_a_name_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        (tmp_path / "x.npz").write_bytes(npz_file([("x.npy", GOOD_NPY), ("x.npy", GOOD_NPY)]))
    with pytest.raises(bq.BitquantError, match=r"'x' \(from byte \d+\) is there twice"):
        read_tensors(tmp_path / "x.npz")


@pytest.mark.parametrize("suffix", [*NAMED, ".npy"])
def test_no_truncation_of_a_file_is_read_or_leaks_another_error(tmp_path, suffix):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    write_tensors(whole, {"w": np.arange(12, dtype=np.float32)})
    data = whole.read_bytes()
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        with pytest.raises(bq.BitquantError, match=re.escape(str(cut))):
            read_tensors(cut)


@pytest.mark.parametrize("suffix", [*NAMED, ".npy"])
def test_no_change_of_one_byte_leaks_another_error(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    write_tensors(
        path, {"w": np.arange(3, dtype=np.float32), "v": np.int8([1])} if suffix != ".npy" else {"w": np.float32([1])}
    )
    data = path.read_bytes()
    for place in range(len(data)):
        for change in (0x01, 0x80, 0xFF):
            path.write_bytes(data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])
            try:
                read_tensors(path)
            except bq.BitquantError as error:
                assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "missing.npz", "no file"),
        (lambda folder: folder, "is a folder"),
        (lambda folder: folder / "x.dat", "known kind.*safetensors, .npz, .npy.* or .zarr.zip"),
        (lambda folder: folder / "folder.npz", "is a folder"),
        (lambda folder: folder / "missing" / "x.npy", "no file"),
        (lambda folder: folder / "x.npz" / "y.npz", "cannot be read|no file"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path, make, words):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "x.npz").write_bytes(GOOD_NPZ)
    with pytest.raises(bq.BitquantError, match=words):
        read_tensors(make(tmp_path))


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    """As root every file can be read, so the refusal of the system is played."""

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x.npz").write_bytes(GOOD_NPZ)
    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(bq.BitquantError, match=r"x\.npz cannot be read \(Permission denied\)"):
        read_tensors(tmp_path / "x.npz")


# --- Writing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tensors", "metadata", "words"),
    [
        ("x.dat", {"x": np.ones(1)}, {}, "known kind"),
        ("folder.npz", {"x": np.ones(1)}, {}, "is a folder"),
        ("missing/x.npz", {"x": np.ones(1)}, {}, "no folder"),
        ("there.npz/x.npz", {"x": np.ones(1)}, {}, "no folder"),
        ("there.npz", {"x": np.ones(1)}, {}, "exists.*--force"),
        ("a\0b.npz", {"x": np.ones(1)}, {}, "no file name"),
        ("n" * 300 + ".npz", {"x": np.ones(1)}, {}, "not written"),
        ("x.npy", {"x": np.ones(1), "y": np.ones(1)}, {}, "one tensor"),
        ("x.npy", {}, {}, "one tensor"),
        ("x.npy", {"x": np.ones(1)}, {"a": "b"}, "one tensor"),
        ("x.npy", {"x": np.ones(1, ml_dtypes.bfloat16)}, {}, "no name for bfloat16"),
        ("x.npz", {"": np.ones(1)}, {}, "called ''"),
        ("x.npz", {"a\0b": np.ones(1)}, {}, "called 'a"),
        ("x.npz", {"\ud800": np.ones(1)}, {}, "called"),
        ("x.npz", {float("nan"): np.ones(1)}, {}, "called nan"),
        ("x.npz", {"__metadata__": np.ones(1)}, {}, "called '__metadata__'"),
        ("x.safetensors", {"__metadata__": np.ones(1)}, {}, "called '__metadata__'"),
        ("x.safetensors", {"x": np.ones(1, np.complex128)}, {}, "complex128.*npz"),
        ("x.safetensors", {"x": np.array(["text"])}, {}, "no name for"),
        ("x.npz", {"x": np.array([{}], object)}, {}, "pickled"),
        ("x.npz", {"x": np.zeros(1, [("a", "f4")])}, {}, "pickled"),
        ("x.npz", {"x": [1.0]}, {}, "not a NumPy array"),
        ("x.npz", {"x": np.ones(1)}, {"a": 1}, "metadata 'a'"),
        ("x.safetensors", {"x": np.ones(1)}, {1: "a"}, "metadata 1"),
        ("x.safetensors", {"x": np.ones(1)}, {"a": "\ud800"}, "metadata 'a'"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_changes(tmp_path, name, tensors, metadata, words):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "there.npz").write_bytes(b"mine")
    with pytest.raises(bq.BitquantError, match=words):
        write_tensors(f"{tmp_path}/{name}", tensors, metadata)
    assert sorted(os.listdir(tmp_path)) == ["folder.npz", "there.npz"]
    assert (tmp_path / "there.npz").read_bytes() == b"mine"


def test_overwrite_replaces_a_file_and_keeps_its_permissions(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_tensors(path, {"x": np.ones(1)}, overwrite=True)
    assert read_tensors(path)[0]["x"].tolist() == [1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("suffix", [*NAMED, ".npy"])
def test_a_new_file_has_the_permissions_that_the_umask_gives(tmp_path, suffix):
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / f"x{suffix}", {"x": np.ones(1)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / f"x{suffix}").stat().st_mode) == 0o640


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path):
    (tmp_path / "real.npz").write_bytes(b"old")
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    write_tensors(tmp_path / "link.npz", {"x": np.ones(1)}, overwrite=True)
    assert (tmp_path / "link.npz").is_symlink()
    assert read_tensors(tmp_path / "real.npz")[0]["x"].tolist() == [1]


@pytest.mark.parametrize("suffix", [*NAMED, ".npy"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), MemoryError()])
@pytest.mark.parametrize("when", ["writing", "fsync", "replace"])
@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch, suffix, error, when, there):
    path = tmp_path / f"x{suffix}"
    if there:
        path.write_bytes(b"old")

    def interrupt(*args, **_):
        raise error

    writer = "os.pwrite" if suffix == ".safetensors" else "bitquant.files.npz._write_numbers"
    place = {"writing": writer, "fsync": "os.fsync", "replace": "os.replace"}[when]
    monkeypatch.setattr(place, interrupt)
    expected = bq.BitquantError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write_tensors(path, {"x": np.ones(9)}, overwrite=True)
    assert os.listdir(tmp_path) == ([path.name] if there else [])
    assert not there or path.read_bytes() == b"old"


def test_the_file_is_synced_before_it_is_put_in_place(tmp_path, monkeypatch):
    done = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(os.fstat(fd).st_ino), real_sync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), real_replace(a, b))[1])
    for suffix in [*NAMED, ".npy"]:
        done.clear()
        write_tensors(tmp_path / f"x{suffix}", {"x": np.ones(1)})
        assert done == [(tmp_path / f"x{suffix}").stat().st_ino, "replace", tmp_path.stat().st_ino]


def test_an_error_of_the_disk_that_was_told_meanwhile_is_not_forgotten(tmp_path, monkeypatch):
    """The system tells it once; the last sync succeeds."""
    path, told, real_sync = tmp_path / "x", threading.Event(), os.fsync

    def sync(descriptor):
        if not told.is_set():
            told.set()
            raise OSError(5, "Input/output error")
        real_sync(descriptor)

    def write():
        with output.replaced(path, overwrite=True) as file:
            file.write(b"new")
            assert told.wait(10)

    path.write_bytes(b"old")
    monkeypatch.setattr(output, "_PAUSE", 0.001)
    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(bq.BitquantError, match="Input/output error"):
        write()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_file_that_takes_its_time_is_synced_while_it_is_written(tmp_path, monkeypatch):
    synced, real_sync = threading.Semaphore(0), os.fsync
    monkeypatch.setattr(output, "_PAUSE", 0.001)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (real_sync(descriptor), synced.release()))
    with output.replaced(tmp_path / "x", overwrite=False) as file:
        for _ in range(3):
            file.write(b"some")
            assert synced.acquire(timeout=10)
    assert (tmp_path / "x").read_bytes() == b"some" * 3


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(bq.BitquantError, match="exists"), output.replaced(path, overwrite=False):
        path.write_bytes(b"someone else's")
    assert path.read_bytes() == b"someone else's"
    assert os.listdir(tmp_path) == ["x.npz"]


@pytest.mark.parametrize("alias", ["same", "link", "hard link", "relative"])
def test_the_input_is_not_an_output_even_with_force(tmp_path, monkeypatch, alias):
    path, other = tmp_path / "x.npz", tmp_path / "y.npz"
    path.write_bytes(GOOD_NPZ)
    monkeypatch.chdir(tmp_path)
    {"link": other.symlink_to, "hard link": other.hardlink_to}.get(alias, lambda _: None)(path)
    name = {"same": path, "relative": "./x.npz"}.get(alias, other)
    with pytest.raises(bq.BitquantError, match="is the input itself"):
        check_output(name, overwrite=True, source=path)


def test_a_folder_that_is_read_only_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(bq.BitquantError, match="read-only"):
        check_output(tmp_path / "x.npz")


def test_without_safetensors_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "x.safetensors").write_bytes(b"")
    for call in (
        lambda: read_tensors(tmp_path / "x.safetensors"),
        lambda: write_tensors(tmp_path / "y.safetensors", {"x": np.ones(1)}),
    ):
        with pytest.raises(bq.BitquantError, match=re.escape("pip install 'bitquant[cli]'")):
            call()
    assert os.listdir(tmp_path) == ["x.safetensors"]


# --- Quantized ----------------------------------------------------------------------------------------------

X = RNG.standard_normal((5, 7)).astype(np.float32)

QUANTIZED = {
    "symmetric": lambda x: bq.symmetric(x),
    "asymmetric": lambda x: bq.asymmetric(x),
    "unsigned": lambda x: bq.asymmetric(x, signed=False),
    "4 bits": lambda x: bq.symmetric(x, bits=4),
    "2 bits, full": lambda x: bq.symmetric(x, bits=2, narrow=False),
    "per axis 0": lambda x: bq.symmetric(x, axis=0),
    "per axis 1": lambda x: bq.asymmetric(x, axis=1),
    "clipped": lambda x: bq.clipped(x, -0.5, 1),
    "far from zero": lambda x: bq.asymmetric(x + np.float32(1000)),
    "step in float32": lambda x: bq.symmetric(x, step_format="float32"),
    "groups": lambda x: bq.asymmetric(x, group_size=2),
    "tiles": lambda x: bq.symmetric(x, block_shape=(2, 2)),
    "step in bfloat16": lambda x: bq.asymmetric(x, axis=0, step_format="bfloat16"),
    "step in float16": lambda x: bq.symmetric(x, step_format="float16"),
    "step in tfloat32": lambda x: bq.symmetric(x, step_format="tfloat32"),
    "step given": lambda x: bq.quantize(x, step=0.1),
    "steps given": lambda x: bq.quantize(x, step=[0.1, 0.2, 0.3, 0.4, 0.5], axis=0),
    "range with zero": lambda x: bq.asymmetric(np.abs(x) + 1, include_zero=True),
    "one number": lambda x: bq.asymmetric(np.full_like(x, 3)),
    "calibrated": lambda x: bq.quantize(x, range=bq.calibrate(x, axis=0), axis=0),
    "ends far apart": lambda x: bq.asymmetric(x * np.float64([1, 1e30, 1, 1e-30, 1])[:, None]),
    "from bfloat16": lambda x: bq.symmetric(bq.convert(x, "bfloat16")),
    "from float64": lambda x: bq.symmetric(x.astype(np.float64)),
    "zeros": lambda x: bq.symmetric(np.zeros_like(x)),
    "scalar": lambda x: bq.symmetric(x[0, 0]),
    "rounded toward zero": lambda x: bq.symmetric(x, rounding="toward_zero"),
}


@pytest.mark.parametrize("suffix", NAMED)
@pytest.mark.parametrize("case", QUANTIZED)
def test_a_quantized_tensor_dequantizes_to_the_same_bits_from_a_file(tmp_path, suffix, case):
    made = QUANTIZED[case](X)
    path = tmp_path / f"q{suffix}"
    save_quantized(path, {"w": made, "ids": np.int64([1, 2])}, {"by": "me"})
    items, metadata = load_quantized(path)
    assert list(items) == ["w", "ids"] if suffix == ".npz" else set(items) == {"w", "ids"}
    assert metadata == {"by": "me"}
    assert items["ids"].tolist() == [1, 2]
    w = items["w"]
    assert bits_of(w.codes) == bits_of(np.asarray(made.codes))
    words = ("scheme", "bits", "signed", "axis", "block_shape", "rounding", "qmin", "qmax", "source", "step_format")
    assert all(getattr(w, word) == getattr(made, word) for word in words)
    assert w.scale == made.exact_scale
    np.testing.assert_array_equal(w.step.astype(np.float64), made.step)
    np.testing.assert_array_equal(w.zero_point, made.zero_point)
    np.testing.assert_array_equal(w.range, made.range)
    for dtype in ("float64", "float32", "bfloat16"):
        back = bq.dequantize(
            w.codes, scale=w.scale, zero_point=w.zero_point, axis=w.axis, block_shape=w.block_shape, dtype=dtype
        )
        assert bits_of(np.asarray(back)) == bits_of(np.asarray(made.dequantize(dtype)))


@pytest.mark.parametrize("suffix", NAMED)
def test_the_layout_is_the_documented_one(tmp_path, suffix):
    save_quantized(
        tmp_path / f"q{suffix}", {"w": bq.asymmetric(X, axis=0, step_format="bfloat16"), "v": bq.symmetric(X)}
    )
    tensors, metadata = read_tensors(tmp_path / f"q{suffix}")
    assert {name: (tensor.dtype.name, tensor.shape) for name, tensor in tensors.items()} == {
        "w": ("int8", (5, 7)),
        "w.step": ("bfloat16", (5,)),
        "w.zero_point": ("int32", (5,)),
        "w.range": ("float64", (5, 2)),
        "v": ("int8", (5, 7)),
        "v.step": ("float64", ()),
        "v.zero_point": ("int32", ()),
        "v.range": ("float64", (2,)),
    }
    amax = float(np.abs(X).max())
    assert tensors["v.range"].tolist() == [-amax, amax]
    notes = json.loads(metadata["bitquant"])
    assert notes["version"] == 2
    assert notes["tensors"]["v"] == {
        "scheme": "symmetric", "bits": 8, "signed": True, "axis": None, "block_shape": None,
        "rounding": "nearest_even", "qmin": -127, "qmax": 127, "scale": None, "source": "float32",
        "step_format": None,
    }  # fmt: skip
    save_quantized(tmp_path / f"g{suffix}", {"v": bq.quantize([1.0, 2.0], scale=Fraction(127, 3))})
    assert json.loads(read_tensors(tmp_path / f"g{suffix}")[1]["bitquant"])["tensors"]["v"]["scale"] == "127/3"


@pytest.mark.parametrize("part", ["w.step", "w.zero_point"])
def test_a_name_that_is_taken_is_refused_by_name(tmp_path, part):
    for other in (np.ones(1), bq.symmetric([1.0])):
        with pytest.raises(bq.BitquantError, match=re.escape(repr(part))):
            save_quantized(tmp_path / "q.npz", {part: other, "w": bq.symmetric(X)})
    assert os.listdir(tmp_path) == []


def test_bitquants_own_metadata_key_is_not_overwritten(tmp_path):
    with pytest.raises(bq.BitquantError, match="'bitquant'"):
        save_quantized(tmp_path / "q.npz", {"w": bq.symmetric(X)}, {"bitquant": "x"})


def changed(key, value):
    def change(tensors, notes):
        notes["tensors"]["w"][key] = value

    return change


def tensor(name, value):
    def change(tensors, notes):
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    return change


DAMAGED = {
    "no such tensor": (lambda tensors, notes: notes["tensors"].update(v={}), "does not have it"),
    "codes gone": (tensor("w", None), "does not have it"),
    "step gone": (tensor("w.step", None), "do not fit"),
    "zero point gone": (tensor("w.zero_point", None), "do not fit"),
    "codes of another dtype": (tensor("w", np.uint8([1, 2])), "do not fit"),
    "codes beyond the bits": (tensor("w", np.int8([1, -128])), "do not fit"),
    "step of another value": (tensor("w.step", np.array(2.0)), "do not fit"),
    "step of another dtype": (tensor("w.step", np.array(1, np.float32)), "do not fit"),
    "step of another shape": (tensor("w.step", np.float64([1, 1])), "do not fit"),
    "zero point of another dtype": (tensor("w.zero_point", np.array(0, np.int64)), "do not fit"),
    "axis that is none": (changed("axis", 3), "do not fit"),
    "axis with one step": (changed("axis", 0), "do not fit"),
    "blocks with one step": (changed("block_shape", [1, 1]), "do not fit"),
    "blocks of nothing": (changed("block_shape", [0]), "do not fit"),
    "scale zero": (changed("scale", "0"), "do not fit"),
    "scale negative": (changed("scale", "-1"), "do not fit"),
    "scale no number": (changed("scale", "many"), "do not fit"),
    "scale divided by zero": (changed("scale", "1/0"), "do not fit"),
    "range of three": (tensor("w.range", np.float64([1, 2, 3])), "do not fit"),
    "range gone": (tensor("w.range", None), "do not fit"),
    "format unknown": (changed("source", "float33"), "do not fit"),
    "a key gone": (lambda tensors, notes: notes["tensors"]["w"].pop("bits"), "do not fit"),
    "another version": (lambda tensors, notes: notes.update(version=3), "layout version 3.*update"),
    "an earlier version": (lambda tensors, notes: notes.update(version=1), "layout version 1.*quantize the original"),
    "no version": (lambda tensors, notes: notes.pop("version"), "not written by save_quantized"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_parts_that_do_not_fit_together_are_refused(tmp_path, case):
    change, words = DAMAGED[case]
    save_quantized(tmp_path / "q.npz", {"w": bq.quantize([1.0, 2.0], step=1)})
    tensors, metadata = read_tensors(tmp_path / "q.npz")
    notes = json.loads(metadata["bitquant"])
    change(tensors, notes)
    write_tensors(tmp_path / "bad.npz", tensors, {"bitquant": json.dumps(notes)})
    with pytest.raises(bq.BitquantError, match=words):
        load_quantized(tmp_path / "bad.npz")


@pytest.mark.parametrize("notes", ["{", "[]", "3", '{"version": 1}', '{"version": 1, "tensors": 3}'])
def test_a_file_of_another_origin_is_refused(tmp_path, notes):
    write_tensors(tmp_path / "x.npz", {"w": np.ones(1)}, {"bitquant": notes})
    with pytest.raises(bq.BitquantError, match="not written by save_quantized"):
        load_quantized(tmp_path / "x.npz")
