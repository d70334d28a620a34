"""Files of other systems: what is read is what their own libraries read, what is written they read as ours."""

from __future__ import annotations

import random
import struct

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
from bitquant.errors import BitquantError
from bitquant.files import Planned, convert_file, create_tensors, open_tensors, write_tensors

RNG = np.random.default_rng(11)
W = (RNG.standard_normal((60, 96)) * np.exp(RNG.standard_normal((60, 96)))).astype(np.float32)
BLOCKS = ("q8_0", "q4_0", "mxfp4")


def same(one, two):
    return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()


def check_every_cut(source, name, expected):
    """Any piece of a tensor is that piece of the whole."""
    entry, flat = source.tensors[name], np.ascontiguousarray(expected).reshape(-1)
    assert entry.shape == expected.shape
    assert same(source.array(name), np.asarray(expected, order="C"))
    cuts = {0, 1, flat.size // 3, flat.size // 2 + 1, max(flat.size - 1, 0), flat.size}
    for start in cuts:
        for stop in cuts:
            if 0 <= start <= stop <= flat.size:
                piece = source.read(name, start, stop)
                assert same(piece, flat[start:stop])
                assert piece.flags.writeable


@pytest.fixture
def gguf():
    return pytest.importorskip("gguf")


@pytest.fixture
def gguf_file(gguf, tmp_path):
    """A file that the gguf package wrote and quantized by itself."""
    path = tmp_path / "theirs.gguf"
    writer = gguf.GGUFWriter(path, "test")
    writer.add_string("general.name", "ü")
    writer.add_array("tokens", ["a", "b"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_tensor("f32", W)
    writer.add_tensor("f16", W.astype(np.float16))
    writer.add_tensor("ids", np.int32([1, -2, 3]))
    for name in ("BF16", "Q8_0", "Q4_0", "MXFP4", "Q4_1"):
        kind = gguf.GGMLQuantizationType[name]
        writer.add_tensor(name, gguf.quants.quantize(W, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_gguf_files_of_the_gguf_package_are_read_as_it_reads_them(gguf, gguf_file):
    with open_tensors(gguf_file) as source:
        assert source.metadata["general.name"] == "ü"
        check_every_cut(source, "f32", W)
        check_every_cut(source, "f16", W.astype(np.float16))
        check_every_cut(source, "ids", np.int32([1, -2, 3]))
        check_every_cut(source, "BF16", W.astype(ml_dtypes.bfloat16))
        for name in ("Q8_0", "Q4_0", "MXFP4"):
            tensor = next(found for found in gguf.GGUFReader(gguf_file).tensors if found.name == name)
            theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            assert np.array_equal(source.array(name), theirs)
            check_every_cut(source, name, source.array(name))
        assert not source.tensors["Q4_1"].is_float
        with pytest.raises(BitquantError, match=r"'Q4_1' .*from byte \d+.* of type Q4_1, which is not read"):
            source.read("Q4_1")


@pytest.mark.parametrize("pieces", [1, 32, 50, 1000])
def test_the_gguf_package_reads_what_is_written(gguf, tmp_path, pieces):
    path = tmp_path / "ours.gguf"
    plain = {"f32": W, "f16": W.astype(np.float16), "bf16": W.astype(ml_dtypes.bfloat16), "f64": W.astype(float)}
    plain |= {"i8": np.int8([[1, -2]]), "cube": W.reshape(2, 30, 96)}
    plan = [Planned(name, x.shape, x.dtype) for name, x in plain.items()]
    plan += [Planned(name, W.shape, W.dtype) for name in BLOCKS]
    with create_tensors(path, plan, {"general.architecture": "llama", "note": "x"}) as sink:
        for name in BLOCKS:
            sink.store(name, name)
        for name, x in reversed([*plain.items(), *((name, W) for name in BLOCKS)]):
            for start in range(0, x.size, pieces):
                sink.write(name, x.reshape(-1)[start : start + pieces])
    reader = gguf.GGUFReader(path)
    assert reader.fields["general.architecture"].contents() == "llama"
    assert reader.fields["note"].contents() == "x"
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert list(found) == [tensor.name for tensor in plan]
    for name, x in plain.items():
        data = found[name].data
        theirs = data if name not in ("bf16",) else gguf.quants.dequantize(data, found[name].tensor_type)
        assert np.array_equal(theirs, np.asarray(x, theirs.dtype))
    for name in BLOCKS:
        theirs = gguf.quants.dequantize(found[name].data, found[name].tensor_type)
        ours = bq.quantize_blocks(W, name).dequantize("float32")
        assert np.array_equal(theirs, ours)
        if name != "mxfp4":
            assert np.array_equal(found[name].data, gguf.quants.quantize(W, found[name].tensor_type))
    with open_tensors(path) as source:
        for name in BLOCKS:
            assert same(source.array(name), bq.quantize_blocks(W, name).dequantize("float32"))


@pytest.mark.parametrize("to", ["float16", "bfloat16", *BLOCKS])
def test_a_model_is_converted_to_gguf(gguf, tmp_path, to):
    path, out = tmp_path / "x.npz", tmp_path / "y.gguf"
    tensors = {"w": W, "double": W.astype(float) / 3, "odd": W[:, :33], "vector": W[0], "ids": np.arange(3)}
    write_tensors(path, tensors)
    result = convert_file(path, out, to)
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(out).tensors}
    assert [row["name"] for row in result.rows] == (["w", "double"] if to in BLOCKS else list(tensors)[:4])
    for row in result.rows:
        data, kind = found[row["name"]].data, found[row["name"]].tensor_type
        theirs = data if to == "float16" else gguf.quants.dequantize(data, kind)
        x = tensors[row["name"]]
        rule = {"scale_rule": "exact"} if x.dtype == float and to != "mxfp4" else {}
        ours = bq.quantize_blocks(x, to, **rule).dequantize("float32") if to in BLOCKS else bq.convert(x, to)
        assert np.array_equal(theirs, ours.astype(theirs.dtype))
        assert row["bytes_after"] == data.nbytes
    for name, why in result.kept.items():
        assert why in ("rows of 33", "1-D", "int64")
        assert np.array_equal(found[name].data, tensors[name])
    with pytest.raises(BitquantError, match=r"rule of its own|exists"):
        convert_file(path, out, to, rounding="to_odd")
    if to in BLOCKS:
        with pytest.raises(BitquantError, match=r"write a \.gguf file"):
            convert_file(path, tmp_path / "z.npz", to)
        write_tensors(path, {"vector": W[0]}, overwrite=True)
        with pytest.raises(BitquantError, match="no matrix"):
            convert_file(path, tmp_path / "z.gguf", to)
        assert not (tmp_path / "z.gguf").exists()


def test_the_numbers_tell_ggmls_rule_from_the_exact_one():
    assert not np.array_equal(
        bq.quantize_blocks(W, "q8_0").codes, bq.quantize_blocks(W, "q8_0", scale_rule="exact").codes
    )


def test_what_gguf_cannot_hold_is_refused(gguf, tmp_path):
    path = tmp_path / "x.gguf"
    for planned, words in (
        (Planned("w" * 64, (3,), W.dtype), "63 bytes"),
        (Planned("w", (1,) * 5, W.dtype), "4 dimensions"),
        (Planned("w", (3,), np.dtype(np.uint8)), "no name for uint8"),
    ):
        with pytest.raises(BitquantError, match=words), create_tensors(path, [planned]):
            pass
        assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(BitquantError, match="no multiple of the q8_0 block"),
        create_tensors(path, [Planned("w", (32, 33), W.dtype)]) as sink,
    ):
        sink.store("w", "q8_0")

    def too_late():
        with create_tensors(path, [Planned("w", (32,), W.dtype)]) as sink:
            sink.write("w", W[0, :5])
            sink.store("w", "q8_0")

    with pytest.raises(BitquantError, match="before any number"):
        too_late()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_gguf_file_is_an_error_of_one_sentence(gguf, gguf_file):
    whole = gguf_file.read_bytes()
    draw = random.Random(5)
    begin = min(entry.offset for entry in open_tensors(gguf_file).tensors.values())
    damaged = [whole[:size] for size in (0, 3, 4, 20, 24, 100, begin, len(whole) // 2, len(whole) - 40)]
    for _ in range(150):
        at = draw.randrange(begin)
        junk = draw.choice([b"\xff" * 8, b"\x00" * 8, draw.randbytes(4), struct.pack("<Q", 1 << 40)])
        damaged.append(whole[:at] + junk + whole[at + len(junk) :])

    def what_is_wrong(size):
        try:
            with open_tensors(gguf_file) as source:
                for name, entry in source.tensors.items():
                    assert entry.offset + entry.nbytes <= size
                    if entry.is_float:
                        source.read(name)
        except BitquantError as error:
            return str(error)
        return None

    wrong = 0
    for data in damaged:
        gguf_file.write_bytes(data)
        told = what_is_wrong(len(data))
        assert told is None or (str(gguf_file) in told and "\n" not in told)
        wrong += told is not None
    assert wrong > 50


def test_a_lying_length_or_offset_in_a_gguf_file_is_found_at_once(gguf, gguf_file):
    whole = gguf_file.read_bytes()
    at = whole.index(b"numbers") + len(b"numbers") + 4 + 4  # after the types of the value and of its items
    assert struct.unpack_from("<Q", whole, at) == (3,)
    gguf_file.write_bytes(whole[:at] + struct.pack("<Q", 1 << 50) + whole[at + 8 :])
    with pytest.raises(BitquantError, match="no readable"):
        open_tensors(gguf_file)
    at = whole.index(b"f16") + 3 + 4 + 2 * 8 + 4
    assert struct.unpack_from("<Q", whole, at) == (W.nbytes,)
    gguf_file.write_bytes(whole[:at] + struct.pack("<Q", W.nbytes - 32) + whole[at + 8 :])
    with pytest.raises(BitquantError, match=r"'f16' .*from byte \d+.* overlaps 'f32'"):
        open_tensors(gguf_file)
    gguf_file.write_bytes(whole[:at] + struct.pack("<Q", 1 << 40) + whole[at + 8 :])
    with pytest.raises(BitquantError, match=r"no readable|is to end"):
        open_tensors(gguf_file)


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx")


ONNX_TENSORS = {
    "w": W,
    "half": W.astype(np.float16),
    "brain": W.astype(ml_dtypes.bfloat16),
    "eighth": W.astype(ml_dtypes.float8_e4m3fn),
    "quarter": np.array([[1, -2, 3], [4, -5, 6]]).astype(ml_dtypes.int4),
    "ids": np.int64([1, 2]),
    "scalar": np.array(2.5, np.float32),
    "none": np.zeros((0, 3), np.float32),
}


def onnx_model(onnx):
    tensors = [onnx.numpy_helper.from_array(x, name) for name, x in ONNX_TENSORS.items()]
    graph = onnx.helper.make_graph([], "g", [], [], initializer=tensors)
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {"by": "me"})
    return model


@pytest.mark.parametrize("external", [False, True])
def test_initialisers_are_read_from_the_model_or_beside_it(onnx, tmp_path, external):
    path = tmp_path / "model.onnx"
    onnx.save(onnx_model(onnx), path, save_as_external_data=external, location="model.data", size_threshold=0)
    with open_tensors(path) as source:
        assert source.metadata == {"by": "me"}
        assert list(source.tensors) == list(ONNX_TENSORS)
        assert {entry.file.name for entry in source.tensors.values()} == {"model.data" if external else "model.onnx"}
        for name, x in ONNX_TENSORS.items():
            check_every_cut(source, name, x)


def test_external_data_outside_of_the_folder_or_of_the_file_is_refused(onnx, tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / "model.onnx"
    for key, value, words in (
        ("location", "../secret", "outside of the model's folder"),
        ("location", "/etc/passwd", "outside of the model's folder"),
        ("location", "missing", "there is no file"),
        ("offset", "10000000", "the file has"),
        ("offset", "x", "no readable offset"),
        ("length", "3", "the model says 3"),
    ):
        onnx.save(onnx_model(onnx), path, save_as_external_data=True, location="model.data", size_threshold=0)
        model = onnx.load(path, load_external_data=False)
        for item in model.graph.initializer[0].external_data:
            if item.key == key:
                item.value = value
        onnx.save(model, path)
        with pytest.raises(BitquantError, match=words):
            open_tensors(path)
        (folder / "model.data").unlink()


def test_what_is_no_model_is_refused(onnx, tmp_path):
    path = tmp_path / "model.onnx"
    for data in (b"", b"\x00" * 40, b"hello", RNG.bytes(300)):
        path.write_bytes(data)
        with pytest.raises(BitquantError, match=r"no readable \.onnx file"):
            open_tensors(path)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_state_dicts_are_read_as_torch_reads_them(torch, tmp_path):
    path = tmp_path / "model.pt"
    w = torch.from_numpy(W)
    state = {
        "w": w, "transposed": w.t(), "half": w.half(), "brain": w.bfloat16(), "eighth": w.to(torch.float8_e4m3fn),
        "part": w[1:3, 2:9], "ids": torch.arange(5), "scalar": torch.tensor(2.5), "sparse": w.to_sparse(),
    }  # fmt: skip
    torch.save({"state_dict": state, "epoch": 3, "name": "x", "list": [1]}, path)
    with open_tensors(path) as source:
        assert source.metadata == {"epoch": "3", "name": "x"}
        assert list(source.tensors) == [f"state_dict.{name}" for name in state]
        for name, tensor in state.items():
            if name != "sparse":
                expected = bq.arrays.take(tensor.contiguous())[0]
                check_every_cut(source, f"state_dict.{name}", expected)
        with pytest.raises(BitquantError, match=r"'state_dict.sparse' is a tensor of float32, sparse_coo"):
            source.read("state_dict.sparse")


def test_no_code_of_a_state_dict_runs(torch, tmp_path):
    path, proof = tmp_path / "model.pt", tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(proof), "w"))

    torch.save({"w": Evil()}, path)
    with pytest.raises(BitquantError, match="cannot be loaded with weights_only"):
        open_tensors(path)
    assert not proof.exists()
    torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    with open_tensors(path) as source:
        assert source.read("w").tolist() == [1, 1, 1]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BitquantError, match="cannot be loaded"):
        open_tensors(path)


@pytest.fixture
def zarr():
    return pytest.importorskip("zarr")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_zarr_arrays_are_read_as_zarr_reads_them(zarr, tmp_path, version, packed):
    path = tmp_path / ("model.zarr.zip" if packed else "model.zarr")
    cube = RNG.standard_normal((3, 5, 7)).astype(np.float32)
    store = zarr.storage.ZipStore(path, mode="w") if packed else path
    group = zarr.create_group(store, zarr_format=version, attributes={"by": "me"})
    group.create_array("w", data=W, chunks=(4, 10))
    group.create_group("layer").create_array("cube", data=cube, chunks=(2, 2, 3))
    group.create_array("half", data=W.astype(np.float16), chunks=(1, 96))
    group.create_array("scalar", data=np.array(2.5))
    group.create_array("none", data=np.zeros((0, 3)))
    if packed:
        store.close()
    with open_tensors(path) as source:
        assert source.metadata == {"by": "me"}
        assert list(source.tensors) == ["half", "none", "scalar", "w", "layer/cube"]
        check_every_cut(source, "w", W)
        check_every_cut(source, "layer/cube", cube)
        check_every_cut(source, "half", W.astype(np.float16))
        check_every_cut(source, "scalar", np.array(2.5))
        check_every_cut(source, "none", np.zeros((0, 3)))


def test_one_zarr_array_is_a_tensor_and_damage_is_an_error(zarr, tmp_path):
    path = tmp_path / "w.zarr"
    zarr.save_array(path, W)
    with open_tensors(path) as source:
        check_every_cut(source, "w", W)
        chunk = max((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
        chunk.write_bytes(chunk.read_bytes()[:50])
        with pytest.raises(BitquantError, match="'w' is damaged"):
            source.read("w")
    (path / "zarr.json").write_text("{")
    with pytest.raises(BitquantError, match="no readable zarr store"):
        open_tensors(path)
    with pytest.raises(BitquantError, match="there is no file"):
        open_tensors(tmp_path / "missing.zarr")


@pytest.mark.parametrize(
    ("name", "library"), [("x.gguf", "gguf"), ("x.onnx", "onnx"), ("x.pt", "torch"), ("x.zarr", "zarr")]
)
def test_a_missing_library_is_named(name, library, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BitquantError, match="pip install"):
        open_tensors(tmp_path / name)
