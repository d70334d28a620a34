"""ONNX models with our weights: ONNX Runtime computes with exactly our numbers, from exactly our codes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
from bitquant.errors import BitquantError
from bitquant.files import Options, open_tensors, qdq, quantize_file, slabs
from test_cli import fails, works
from test_streaming import run_until_killed

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(23)
W = (RNG.standard_normal((64, 24)) * np.exp(RNG.standard_normal((64, 1)))).astype(np.float32)
B = RNG.standard_normal(24).astype(np.float32)
X = RNG.standard_normal((5, 64)).astype(np.float32)


def model(path, opset=21, dtype=np.float32, external=False, extra=()):
    """X·W + B, with the weights as outputs too, so that a runtime can be asked for them."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["x", "w"], ["product"]),
            onnx.helper.make_node("Add", ["product", "b"], ["y"]),
            onnx.helper.make_node("Identity", ["w"], ["w_seen"]),
        ],
        "g",
        [value("x", kind, [None, 64])],
        [value("y", kind, [None, 24]), value("w_seen", kind, [64, 24])],
        [onnx.numpy_helper.from_array(x, name) for name, x in (("w", W.astype(dtype)), ("b", B.astype(dtype)), *extra)],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(made, path, save_as_external_data=external, location="weights", size_threshold=0)
    return path


SHIFTED = W + np.float32(100)  # a range without zero, whose own zero point would be no code


def run(path, dtype=np.float32):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X.astype(dtype)})


HOW = [
    {},
    {"axis": 0},
    {"axis": 1},
    {"axis": -1, "scheme": "asymmetric"},
    {"axis": 1, "scheme": "asymmetric", "unsigned": True},
    {"group": 16, "axis": 0},
    {"group": 8, "axis": 1, "scheme": "asymmetric"},
    {"calibrate": "mse", "axis": 1},
    {"range": (-1.0, 2.0)},
    {"bits": 4, "axis": 0},
]


@pytest.fixture
def apart(monkeypatch):
    """Messages end much earlier, so that small models have a second file."""
    monkeypatch.setattr(qdq, "LARGEST", 1800)
    monkeypatch.setattr(qdq, "_PAGE", 64)


@pytest.fixture
def pieces(monkeypatch):
    """Pieces of a few numbers, so that small tensors have many."""
    monkeypatch.setattr(slabs, "_NUMBERS", 50)
    monkeypatch.setattr(qdq, "_COPIED", 100)


def seconds(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".data"))


@pytest.mark.parametrize("fixtures", [(), ("pieces",), ("pieces", "apart")], ids=str)
@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("how", HOW, ids=str)
def test_onnx_runtime_computes_with_our_numbers(tmp_path, how, external, fixtures, request):
    for name in fixtures:
        request.getfixturevalue(name)
    path, out = model(tmp_path / "m.onnx", external=external), tmp_path / "out" / "q.onnx"
    out.parent.mkdir()
    result = quantize_file(path, out, lambda name: Options(**how) if name == "w" else "kept", verify=True)
    assert result.kept == {"b": "kept"}
    assert len(seconds(out.parent)) == ("apart" in fixtures)
    onnx.checker.check_model(out, full_check=True)
    words = {"step_format": "float32", "include_zero": True, "signed": not how.get("unsigned", False)}
    words |= {name: how[name] for name in ("axis", "bits") if name in how}
    words |= {"group_size": how["group"]} if "group" in how else {}
    words |= {"scheme": how.get("scheme", "asymmetric" if "range" in how else "symmetric")}
    words |= {"range": how["range"]} if "range" in how else {}
    if "calibrate" in how:
        words["range"] = bq.calibrate(W, "mse", axis=1, step_format="float32", include_zero=True)
    expected = bq.quantize(W, **words)
    with open_tensors(out) as source:
        assert np.array_equal(source.array("w_quantized"), expected.codes)
        assert np.array_equal(source.array("w_scale"), np.asarray(expected.step))
        assert np.array_equal(source.array("w_zero_point"), np.asarray(expected.zero_point))
        assert np.array_equal(source.array("b"), B)
        assert "w" not in source.tensors
    back = expected.dequantize()
    error = expected.error(W)
    (row,) = result.rows
    assert row["name"] == "w"
    assert row["bytes_before"] == W.nbytes
    assert [row[word] for word in ("mse", "max_abs", "clipped")] == pytest.approx(
        [error.mse, error.max_abs, error.clipped], 1e-12
    )
    y, seen = run(out)
    assert seen.tobytes() == back.tobytes()
    assert np.allclose(y, X @ back + B, rtol=1e-4, atol=1e-4)


def test_half_precision_weights_come_back_in_half_precision(tmp_path):
    path, out = model(tmp_path / "m.onnx", dtype=np.float16), tmp_path / "q.onnx"
    quantize_file(path, out, lambda name: Options(axis=1), verify=True)
    expected = bq.quantize(W.astype(np.float16), axis=1, step_format="float16")
    _, seen = run(out, np.float16)
    assert seen.tobytes() == expected.dequantize().tobytes()


def test_a_range_without_zero_is_widened_to_it(tmp_path):
    path, out = model(tmp_path / "m.onnx", extra=[("far", SHIFTED)]), tmp_path / "q.onnx"
    how = Options(axis=1, scheme="asymmetric")
    quantize_file(path, out, lambda name: how if name == "far" else "kept", verify=True)
    expected = bq.quantize(SHIFTED, "asymmetric", axis=1, include_zero=True, step_format="float32")
    with open_tensors(out) as source:
        assert np.array_equal(source.array("far_zero_point"), expected.zero_point)
        assert np.array_equal(source.array("far_quantized"), expected.codes)


def test_the_command_line_quantizes_models(tmp_path):
    path, out = model(tmp_path / "m.onnx"), tmp_path / "q.onnx"
    printed = works("quantize", path, "-o", out, "--axis", "1", "--only", "w", "--verify")
    assert "verified" in printed
    assert run(out)[1].tobytes() == bq.quantize(W, axis=1, step_format="float32").dequantize().tobytes()


def test_what_onnx_cannot_hold_is_refused_and_nothing_is_written(tmp_path):
    old = model(tmp_path / "old.onnx", opset=17)
    out = tmp_path / "q.onnx"
    assert "needs opset 21 and the model has 17" in fails("quantize", old, "-o", out, "--group", "8")
    half = model(tmp_path / "half.onnx", opset=17, dtype=np.float16)
    assert "needs opset 19" in fails("quantize", half, "-o", out)
    older = model(tmp_path / "older.onnx", opset=11)
    assert "needs opset 13" in fails("quantize", older, "-o", out, "--axis", "0")
    clash = model(tmp_path / "clash.onnx", extra=[("w_scale", np.ones(2, np.float32))])
    assert "'w_scale' is a name of its own" in fails("quantize", clash, "-o", out)
    assert "instead of" in fails("quantize", tmp_path / "x.npz", "-o", out)
    assert "left to quantize" in fails("quantize", old, "-o", out, "--skip", "*")
    assert "has a layout of its own" in fails("quantize", old, "-o", out, "--layout", "compressed-tensors")
    assert not out.exists()
    works("quantize", old, "-o", out)
    assert "--force" in fails("quantize", old, "-o", out)


def test_scalars_inputs_and_other_types_are_kept(tmp_path):
    extra = [("s", np.array(2.0, np.float32)), ("d", np.ones(3)), ("i", np.arange(3))]
    path, out = model(tmp_path / "m.onnx", extra=extra), tmp_path / "q.onnx"
    result = quantize_file(path, out, lambda name: Options())
    assert result.kept == {"s": "scalar", "d": "float64", "i": "int64"}
    with pytest.raises(BitquantError, match="left to quantize"):
        quantize_file(out, tmp_path / "r.onnx", lambda name: "no")


def rich(path):
    """Tensors of nodes and of graphs in nodes; in the file, and some in another; of many kinds."""
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    inner = helper.make_graph([], "inner", [], [], initializer=[array(W + 1, "deep")])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=array(2 * W, "value")),
        helper.make_node("Constant", [], ["d"], value=array(3 * W, "apart")),
        helper.make_node("If", ["truth"], ["z"], then_branch=inner, else_branch=inner),
    ]
    tensors = {
        "w": W, "kept": -W, "far": W + 2, "quarter": np.arange(-8, 8).repeat(300).astype(ml_dtypes.int4),
        "ids": np.arange(400), "shape": np.int64([1, 2]), "v": np.tile(W, (3, 1)),
        "texts": np.array([f"text {k}" for k in range(300)], object), "none": np.zeros((0, 3), np.float32),
        "truth": np.array(True),
    }  # fmt: skip
    tensors = [array(x, name) for name, x in tensors.items()]
    tensors.append(helper.make_tensor("listed", onnx.TensorProto.FLOAT, W.shape, W.reshape(-1)))
    graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("z", 1, [1])], initializer=tensors)
    for name, count in (("thin", 200), ("thick", 400)):  # less and more than is left in the file
        places = array(np.arange(count), f"{name} places")
        sparse = helper.make_sparse_tensor(array(W.reshape(-1)[:count], name), places, [1000])
        graph.sparse_initializer.append(sparse)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    data = b"before"
    for proto in (made.graph.initializer[2], made.graph.node[1].attribute[0].t):
        onnx.external_data_helper.set_external_data(proto, "weights", len(data), len(proto.raw_data))
        data += proto.raw_data
        proto.ClearField("raw_data")
    (path.parent / "weights").write_bytes(data)
    path.write_bytes(made.SerializeToString())
    return path


def loaded(path):
    """A model with all its numbers, wherever they came from."""
    found = onnx.load(path)
    for proto in onnx.external_data_helper._get_all_tensors(found):
        proto.ClearField("data_location")
    return found


@pytest.mark.parametrize("fixtures", [(), ("pieces", "apart")], ids=str)
@pytest.mark.parametrize("names", [{"w"}, {"w", "far", "v", "listed"}], ids=len)
def test_all_else_in_a_model_stays_as_it_is(tmp_path, names, fixtures, request, monkeypatch):
    for name in fixtures:
        request.getfixturevalue(name)
    monkeypatch.setattr(qdq, "LARGEST", 46_000) if fixtures else None
    path, out = rich(tmp_path / "m.onnx"), tmp_path / "out" / "q.onnx"
    out.parent.mkdir()
    done = []
    total = []

    def start(steps):
        total.append(steps)
        return lambda name, count: done.append(count)

    how = Options(axis=0, scheme="asymmetric")
    result = quantize_file(path, out, lambda name: how if name in names else "no", verify=True, start=start)
    assert total[0] - 100 < sum(done) <= total[0]
    assert sorted([*result.kept, *(row["name"] for row in result.rows)]) == sorted(open_tensors(path).tensors)
    assert len(seconds(out.parent)) == bool(fixtures)
    before, after = loaded(path), loaded(out)
    kept = [proto for proto in before.graph.initializer if proto.name not in names]
    assert list(after.graph.initializer)[: len(kept)] == kept
    assert [node.output[0] for node in after.graph.node[: len(names)]] == [
        proto.name for proto in before.graph.initializer if proto.name in names
    ]
    assert list(after.graph.node)[len(names) :] == list(before.graph.node)
    for one in (before, after):
        del one.graph.initializer[:]
        del one.graph.node[:]
    assert before == after
    again = tmp_path / "again"
    again.mkdir()
    quantize_file(path, again / "q.onnx", lambda name: how if name in names else "no", threads=1)
    if not fixtures:
        assert (again / "q.onnx").read_bytes() == out.read_bytes()
    else:
        protos = onnx.load(out, load_external_data=False).graph.initializer
        said = [{item.key: item.value for item in proto.external_data} for proto in protos if proto.external_data]
        assert len(said) > 4
        assert all(int(one["offset"]) % 64 == 0 and int(one["length"]) >= 64 for one in said)
        assert (again / seconds(again)[0]).read_bytes() == (out.parent / seconds(out.parent)[0]).read_bytes()


def test_what_still_is_too_long_for_a_message_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(qdq, "LARGEST", 500)
    with pytest.raises(BitquantError, match="more than 2 GB"):
        quantize_file(model(tmp_path / "m.onnx"), tmp_path / "q.onnx", lambda name: Options())
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_the_second_file_of_a_replaced_model_goes_with_it(tmp_path, apart, monkeypatch):
    path, out = model(tmp_path / "m.onnx"), tmp_path / "q.onnx"
    quantize_file(path, out, lambda name: Options())
    (first,) = seconds(tmp_path)
    strangers = ["q.onnx.0123abcd.data", "other.data"]
    for name in strangers:
        (tmp_path / name).write_bytes(b"not ours")
    quantize_file(path, out, lambda name: Options(bits=4), overwrite=True)
    assert first not in seconds(tmp_path)
    (second,) = set(seconds(tmp_path)) - set(strangers)
    run(out)
    # It may be what is read: then it stays.
    moved = tmp_path / "moved.onnx"
    moved.write_bytes(out.read_bytes())
    changed = onnx.load(moved, load_external_data=False)
    changed.graph.initializer.append(onnx.numpy_helper.from_array(W, "more"))
    changed.graph.node.append(onnx.helper.make_node("Identity", ["more"], ["out"]))
    moved.write_bytes(changed.SerializeToString())
    quantize_file(moved, out, lambda name: Options(), overwrite=True)
    assert second in seconds(tmp_path)
    run(moved)
    # One message is enough: there is no second file any more.
    (third,) = set(seconds(tmp_path)) - {*strangers, second}
    monkeypatch.undo()
    quantize_file(path, out, lambda name: Options(), overwrite=True)
    assert seconds(tmp_path) == sorted([*strangers, second])
    assert third not in seconds(tmp_path)


def test_an_error_leaves_the_old_pair_as_it_was(tmp_path, apart, monkeypatch):
    path, out = model(tmp_path / "m.onnx"), tmp_path / "q.onnx"
    quantize_file(path, out, lambda name: Options())
    old = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fails_with(words):
        with pytest.raises(BitquantError, match=words):
            quantize_file(path, out, lambda name: Options(bits=4), overwrite=True, verify=True)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == old

    replace, write = os.replace, qdq._ModelSink._write

    def full(source, target):
        if Path(target) == out:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        fails_with("No space left")

    def damaged(sink, tensor, start, piece):
        write(sink, tensor, start, piece ^ piece.dtype.type(1) if piece.dtype == np.int8 else piece)

    with monkeypatch.context() as patch:
        patch.setattr(qdq._ModelSink, "_write", damaged)
        fails_with("does not read back")


def test_an_interruption_after_the_model_is_in_its_place_leaves_the_new_pair(tmp_path, apart, monkeypatch):
    path, out = model(tmp_path / "m.onnx"), tmp_path / "q.onnx"
    quantize_file(path, out, lambda name: Options())
    replace = os.replace

    def interrupted(source, target):
        replace(source, target)
        if Path(target) == out:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quantize_file(path, out, lambda name: Options(bits=4), overwrite=True)
    with open_tensors(out) as source:
        assert np.array_equal(source.array("w_quantized"), bq.quantize(W, bits=4, step_format="float32").codes)


CHILD = """
import sys
from bitquant.files import Options, qdq, quantize_file
qdq.LARGEST = 30_000
print("begun", flush=True)
while True:
    for bits in range(2, 9):
        quantize_file(sys.argv[1], sys.argv[2], lambda name: Options(bits=bits), overwrite=True)
"""


def killed(tmp_path, times):
    """Kill a process that writes a pair over and over; the pair is one of the seven it may be, whole."""
    path, out = tmp_path / "m.onnx", tmp_path / "q.onnx"
    x = RNG.standard_normal(1 << 18).astype(np.float32)
    model(path, extra=[("large", x)])
    allowed = [bq.quantize(x, bits=bits, step_format="float32").codes.tobytes() for bits in range(2, 9)]
    quantize_file(path, out, lambda name: Options())
    left = 0
    for number in range(times):
        run_until_killed(CHILD, path, out, after=random.Random(number).uniform(0, 0.3))
        found = {proto.name: proto for proto in onnx.load(out).graph.initializer}
        assert onnx.numpy_helper.to_array(found["large_quantized"]).tobytes() in allowed
        with open_tensors(out) as source:
            assert source.array("large_quantized").tobytes() in allowed
        left += len(os.listdir(tmp_path)) - 3
        quantize_file(path, out, lambda name: Options(), overwrite=True)
        assert not list(tmp_path.glob(".*"))
    return left


def test_a_process_that_is_killed_leaves_a_whole_pair(tmp_path):
    killed(tmp_path, 3)


@pytest.mark.exhaustive
def test_fifty_processes_that_are_killed_leave_whole_pairs(tmp_path):
    assert killed(tmp_path, 50) > 0  # some were in the middle of writing


def sparse(path, sizes, external):
    """A model of zeros, which take no room on the disk; the tensors are fields of the message or of a second file."""
    model(path)
    field, end = onnx.TensorProto.FLOAT, 0

    def varint(number):
        groups = range(0, max(number.bit_length(), 1), 7)
        return bytes(((number >> k) & 127) | (128 if k != groups[-1] else 0) for k in groups)

    with path.open("r+b") as file, (path.parent / "zeros").open("wb") as zeros:
        file.seek(0, os.SEEK_END)
        for number, size in enumerate(sizes):
            proto = onnx.TensorProto(name=f"t{number}", data_type=field, dims=[1024, size // 4096])
            if external:
                proto.data_location = onnx.TensorProto.EXTERNAL
                for key, value in (("location", "zeros"), ("offset", end), ("length", size)):
                    proto.external_data.add(key=key, value=str(value))
                end += size
            inner = proto.SerializeToString() + (b"" if external else b"\x4a" + varint(size))
            rest = 0 if external else size
            graph = b"\x2a" + varint(len(inner) + rest) + inner  # GraphProto.initializer; graphs are put together
            file.write(b"\x3a" + varint(len(graph) + rest) + graph)
            file.seek(rest, os.SEEK_CUR)
        file.truncate()
        zeros.truncate(end)
    return path


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("sizes", "external", "largest", "threads"),
    [
        ([1 << 28] * 4, False, (1 << 31) - 1, 2),
        ([1 << 20] * 1000, False, (1 << 31) - 1, 2),
        ([3 << 30], True, (1 << 31) - 1, 2),
        ([1 << 28] * 12, True, 1 << 20, 8),
    ],
    ids=["1 GB", "1 GB of small ones", "3 GB beside it", "3 GB beside it and a result in two files"],
)
def test_memory_does_not_grow_with_the_model(tmp_path, sizes, external, largest, threads):
    path = sparse(tmp_path / "m.onnx", sizes, external)
    program = (
        f"qdq.LARGEST = {largest}; "
        "keep = lambda name: Options(axis=0) if name != 't0' or sys.argv[3] == '1' else 'kept'; "
        f"quantize_file(sys.argv[1], sys.argv[2], keep, verify=True, threads={threads})"
    )
    assert peak(program, path, tmp_path / "q.onnx", str(len(sizes))) < 300_000
    assert len(seconds(tmp_path)) == (largest < 1 << 30)


def peak(program, *words):
    """The memory that a process had at most, in kB."""
    program = (
        "import re, sys; from bitquant.files import Options, convert_file, qdq, quantize_file; "
        f"{program}; "
        # Not getrusage, whose peak begins with that of the process that started this one.
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.exhaustive
@pytest.mark.parametrize("external", [False, True])
def test_memory_does_not_grow_with_a_model_that_is_converted(tmp_path, external):
    path = sparse(tmp_path / "m.onnx", [1 << 28] * 4, external)
    assert peak("convert_file(sys.argv[1], sys.argv[2], 'float16')", path, tmp_path / "h.safetensors") < 300_000
