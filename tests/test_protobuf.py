"""Payloads of a message are found without loading them; what is damaged is an error, or is read as onnx reads it."""

from __future__ import annotations

import random
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitquant.errors import BitquantError
from bitquant.files import onnx as reader
from bitquant.files import open_tensors, protobuf

onnx = pytest.importorskip("onnx")

RNG = np.random.default_rng(31)
W = RNG.standard_normal((40, 12)).astype(np.float32)
TENSORS = {
    "w": W,
    "half": W.astype(np.float16),
    "brain": W.astype(ml_dtypes.bfloat16),
    "quarter": RNG.integers(-8, 8, 4001).astype(ml_dtypes.int4),
    "sixth": RNG.standard_normal(3001).astype(ml_dtypes.float6_e2m3fn),
    "fourth": RNG.standard_normal(4001).astype(ml_dtypes.float4_e2m1fn),
    "shape": np.int64([1, 2]),
    "scalar": np.array(2.5, np.float32),
    "truth": RNG.integers(0, 2, 3000).astype(bool),
    "complex": (W + 1j).astype(np.complex64),
}


def model(extra=()):
    """Tensors of the graph, of a node, and of a graph in a node."""
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    inner = helper.make_graph([], "inner", [], [], initializer=[array(W, "deep")])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=array(2 * W, "value")),
        helper.make_node("If", ["yes"], ["z"], then_branch=inner, else_branch=inner),
    ]
    tensors = [array(x, name) for name, x in TENSORS.items()]
    tensors.append(helper.make_tensor("listed", onnx.TensorProto.FLOAT, W.shape, -W.reshape(-1)))
    graph = helper.make_graph(nodes, "g", [], [], initializer=[*tensors, *extra])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(made, {"by": "me"})
    return made


MODEL = model()
WHOLE = MODEL.SerializeToString()


def theirs(path):
    """What onnx reads: the bytes of each tensor, or None where it has none."""
    found = {}
    for proto in onnx.load(path).graph.initializer:
        try:
            found[proto.name] = np.asarray(onnx.numpy_helper.to_array(proto))
        except Exception:
            found[proto.name] = None
    return found


def ours(path):
    """What we read, in two pieces, or None for tensors that are refused; and what is said of what is refused."""
    found, told = {}, []
    try:
        with open_tensors(path) as source:
            for name, entry in source.tensors.items():
                found[name] = None
                try:
                    pieces = [source.read(name, 0, entry.count // 3), source.read(name, entry.count // 3)]
                    found[name] = np.concatenate(pieces).reshape(entry.shape)
                except BitquantError as error:
                    told.append(str(error))
    except BitquantError as error:
        return None, [str(error)]
    return found, told


def check(path, data):
    """We read what onnx reads, or say in one sentence which file is damaged."""
    path.write_bytes(data)
    found, told = ours(path)
    assert all(str(path) in one and "\n" not in one for one in told)
    if found is None:
        return False
    expected = theirs(path)
    assert list(found) == list(expected)
    for name, x in expected.items():
        assert (found[name] is None) == (x is None)
        if x is not None:
            assert (found[name].dtype, found[name].shape) == (x.dtype, x.shape)
            assert found[name].tobytes() == x.tobytes()
    return True


def field(number, body):
    return protobuf._varint(number << 3 | 2) + protobuf._varint(len(body)) + body


def test_large_payloads_are_left_in_the_file(tmp_path):
    path = tmp_path / "m.onnx"
    assert check(path, WHOLE)
    with open_tensors(path) as source:
        assert len(source.model.SerializeToString()) < len(WHOLE) - 6 * W.nbytes
        assert len(list(reader.tensors_of(source.model))) == len(TENSORS) + 4
        for name, x in TENSORS.items():
            entry = source.tensors[name]
            if x.nbytes >= 3000 // 2:
                assert path.read_bytes()[entry.offset :][: entry.nbytes] == onnx.numpy_helper.from_array(x).raw_data
            else:
                assert entry.offset is None


def test_what_is_exchanged_and_exchanged_back_is_the_same_message(tmp_path, monkeypatch):
    """Lengths of one, two and three bytes; a payload at the end, in the middle, and none at all."""
    for small in (0, 1, 100, 1 << 20):
        places, found = protobuf.Places(), []
        wire = protobuf.Wire(len(WHOLE), lambda at, count: WHOLE[at : at + count], "x")
        monkeypatch.setattr(protobuf, "_WINDOW", 7)
        out = protobuf.exchanged(
            wire,
            onnx.ModelProto.DESCRIPTOR,
            reader.RAW,
            lambda field, start, stop, small=small: stop - start >= small,
            lambda start, stop, found=found, places=places: (
                found.append(WHOLE[start:stop]) or places.text(WHOLE[start:stop])
            ),
        )
        short = b"".join(WHOLE[part.start : part.stop] if isinstance(part, range) else part for part in out)
        assert bool(found) == (small < 1 << 20)
        assert not any(part in short for part in found if len(part) > 100)
        assert onnx.load_from_string(short).graph.node == MODEL.graph.node or found
        back = protobuf.exchanged(
            protobuf.Wire(len(short), lambda at, count, short=short: short[at : at + count], "x"),
            onnx.ModelProto.DESCRIPTOR,
            reader.RAW,
            lambda field, start, stop, short=short, places=places: places.among(short, start, stop),
            lambda start, stop, short=short, places=places: places.item(short[start:stop]),
        )
        assert b"".join(short[part.start : part.stop] if isinstance(part, range) else part for part in back) == WHOLE


def test_fields_that_come_twice_are_read_as_onnx_reads_them(tmp_path):
    """Of bytes the last counts, messages are put together."""
    path = tmp_path / "m.onnx"
    proto = onnx.numpy_helper.from_array(W, "twice")
    name, raw = proto.SerializeToString(), (np.ones_like(W)).tobytes()
    small = field(9, b"1234")
    for one in (
        name + field(9, raw),
        field(9, raw) + name,
        field(9, raw) + small + name,
        name + small,  # too short for its shape
        field(9, b"x" * 5000) + name,
        name + field(14, b""),  # of another kind than the field has
        name + field(3, b""),  # a segment of something larger, which onnx does not read
    ):
        assert check(path, WHOLE + field(7, field(5, one)))
        with open_tensors(path) as source:
            assert list(source.tensors)[-1] == "twice"
    attribute = onnx.helper.make_attribute("value", proto).SerializeToString()
    again = field(1, field(5, attribute + field(5, field(9, raw))) + field(2, b"k") + field(4, b"Constant"))
    assert check(path, WHOLE + field(7, again))
    with open_tensors(path) as source:
        node = source.model.graph.node[-1]
        found = source.payload(node.attribute[0].t)
        assert found.file.bytes(found.offset, found.size, "") == raw


def test_what_cannot_be_is_refused_with_the_file_and_the_byte(tmp_path):
    path = tmp_path / "m.onnx"
    begin = len(WHOLE)
    for more, words in (
        (b"\x00", "there is no field 0 of kind 0"),
        (b"\x0b\x0c", "no field 1 of kind 3"),
        (b"\x3a\x03\x2a\x04\x4a", "no readable"),  # onnx says it: nothing so small is entered
        (b"\x3a\x7f", f"a field is to end at byte {begin + 129}, and its message ends at byte {begin + 2}"),
        (b"\x3a" + b"\xff" * 9 + b"\x01", "a field is to end at byte"),
        (b"\x3a" + b"\xff" * 11, "a number there has more than 10 bytes"),
        (b"\x08\xff", f"its message ends at byte {begin + 2}"),
        (b"\x3a", f"its message ends at byte {begin + 1}"),
        (b"\x09\x01", "a field is to end at byte"),
        (field(7, field(5, b"\x4a\x88\x10" + b"x" * 1500)), "a field is to end at byte"),
        (field(7, field(5, field(8, b"\xff"))), "which is no text"),
        (field(7, field(5, b"\x10\x4d" + field(8, b"t"))), "unknown type 77"),
        (field(7, field(5, field(8, b"t") + b"\x08" + b"\xff" * 9 + b"\x01\x10\x01")), "impossible shape"),
        (field(7, field(5, field(8, b"t") + b"\x08\x05\x10\x01" + field(9, bytes(3000)))), r"\(from byte \d+\).* 20 b"),
        (field(7, field(5, onnx.numpy_helper.from_array(W, "w").SerializeToString())), "two initialisers"),
    ):
        path.write_bytes(WHOLE + more)
        with pytest.raises(BitquantError, match=words) as error:
            open_tensors(path)
        assert str(path) in str(error.value)


def test_a_large_file_of_zeros_is_refused_at_once(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(1 << 33)
    with pytest.raises(BitquantError, match="byte 0: there is no field 0"):
        open_tensors(path)


def test_what_no_memory_holds_is_refused_at_once(tmp_path):
    """A name of a hundred gigabytes, in a file that takes no room."""
    path, size = tmp_path / "m.onnx", 100 << 30
    path.write_bytes(b"\x12" + protobuf._varint(size))
    with path.open("r+b") as file:
        file.truncate(len(path.read_bytes()) + size)
    with pytest.raises(BitquantError, match=r"m\.onnx is no readable \.onnx file \(it is of more than 2 GB"):
        open_tensors(path)


def test_every_truncated_model_is_refused_or_read_as_onnx_reads_it(tmp_path):
    sizes = {*range(0, len(WHOLE), 997), *range(60), *range(len(WHOLE) - 60, len(WHOLE))}
    read = [size for size in sorted(sizes) if check(tmp_path / "m.onnx", WHOLE[:size])]
    assert len(read) < 5


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_model_is_refused_or_read_as_onnx_reads_it(tmp_path_factory, data):
    draw = random.Random(data.draw(st.integers(0, 1 << 40)))
    whole = bytearray(WHOLE)
    heads = [m for m in range(len(whole)) if whole[m] in (0x2A, 0x3A, 0x4A)]  # perhaps the keys of what counts
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = max(0, draw.choice([draw.randrange(len(whole)), draw.choice(heads) + draw.randint(-2, 4)]))
        junk = draw.choice(
            [b"\xff" * 8, b"\x00", draw.randbytes(1), draw.randbytes(3), struct.pack("<I", 1 << 30), b""]
        )
        whole[at : at + draw.choice([len(junk), 0, 1])] = junk
    check(tmp_path_factory.mktemp("damaged") / "m.onnx", bytes(whole))


def test_no_text_of_a_file_can_pass_for_one_of_ours(tmp_path):
    """The texts are random; those of one reader mean nothing to another."""
    path = tmp_path / "m.onnx"
    path.write_bytes(WHOLE)
    with open_tensors(path) as source:
        text = source.model.graph.initializer[0].raw_data
        assert source.places.item(text).offset == source.tensors["w"].offset
    forged = model([onnx.helper.make_tensor("forged", onnx.TensorProto.UINT8, [len(text)], text, raw=True)])
    assert check(path, forged.SerializeToString())
    with open_tensors(path) as source:
        assert source.array("forged").tobytes() == text
