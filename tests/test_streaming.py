"""Files quantized and converted piece by piece: the same bits as with the whole tensor at hand, and nothing lost."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitquant as bq
from bitquant.files import (
    Options,
    Planned,
    Recipe,
    Rule,
    convert_file,
    converting,
    create_tensors,
    layouts,
    load_quantized,
    model,
    open_tensors,
    output,
    quantize_file,
    quantizing,
    read_recipe,
    read_tensors,
    rule,
    slabs,
    write_tensors,
)

RNG = np.random.default_rng(77)


def everything(options):
    return lambda name: options


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.fixture
def small(monkeypatch):
    """Pieces of a few numbers, so that small tensors have many."""
    monkeypatch.setattr(slabs, "_NUMBERS", 50)
    monkeypatch.setattr(converting, "_NUMBERS", 50)
    monkeypatch.setattr(model, "_COPIED", 50)


def tensors(dtype):
    shapes = {"w": (37, 12), "cube": (3, 7, 10), "flat": (1, 400), "long": (333,), "conv": (6, 2, 5, 5), "one": ()}
    numbers = {name: RNG.standard_normal(shape) * 3 + 0.5 for name, shape in shapes.items()}
    return {name: np.asarray(bq.convert(x, dtype)) for name, x in numbers.items()} | {"ids": np.arange(200)}


# --- The same bits ------------------------------------------------------------------------------------------

HOW = [
    (Options(), {}),
    (Options(scheme="asymmetric"), {"scheme": "asymmetric"}),
    (Options(axis=0), {"axis": 0}),
    (
        Options(axis=1, scheme="asymmetric", include_zero=True),
        {"axis": 1, "scheme": "asymmetric", "include_zero": True},
    ),
    (Options(axis=-1, bits=4), {"axis": -1, "bits": 4}),
    (Options(group=5, bits=3, step_format="float16"), {"group_size": 5, "bits": 3, "step_format": "float16"}),
    (Options(group=4, axis=0, unsigned=True), {"group_size": 4, "axis": 0, "signed": False}),
    (Options(range=(-1, 2)), {"range": (-1.0, 2.0), "scheme": "asymmetric"}),
    (Options(calibrate="mse", bits=4), {"bits": 4, "calibrate": "mse"}),
    (Options(calibrate="mse", bits=4, axis=0), {"bits": 4, "axis": 0, "calibrate": "mse"}),
    (Options(calibrate="percentile", calibration={"percentile": 90}, axis=1), {"axis": 1, "calibrate": "percentile"}),
]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64", "float8_e4m3fn"])
@pytest.mark.parametrize(("options", "words"), HOW, ids=[str(k) for k in range(len(HOW))])
def test_a_file_quantized_in_pieces_has_the_bits_of_whole_tensors(tmp_path, small, suffix, dtype, options, words):
    x = tensors(dtype)
    write_tensors(tmp_path / f"x{suffix}", x, {"by": "me"})
    result = quantize_file(
        tmp_path / f"x{suffix}", tmp_path / f"q{suffix}", everything(options), verify=True, threads=2
    )
    items, metadata = load_quantized(tmp_path / f"q{suffix}")
    assert metadata == {"by": "me"}
    assert same(items.pop("ids"), x.pop("ids"))
    for row in result.rows:
        name = row["name"]
        keywords, shares = dict(words), ("axis", "group_size")
        if x[name].ndim < 2:
            keywords = {word: value for word, value in keywords.items() if word not in shares}
        if keywords.pop("calibrate", None):
            keywords["range"] = bq.calibrate(x[name], options.calibrate, **keywords, **options.calibration)
        whole = bq.quantize(x[name], **keywords)
        item = items[name]
        assert same(item.codes, whole.codes)
        assert item.scale == whole.exact_scale
        assert (item.axis, item.block_shape) == (whole.axis, whole.block_shape)
        assert same(item.zero_point, np.asarray(whole.zero_point, np.int32))
        assert np.array_equal(np.stack(item.range).astype(float), np.stack(whole.range))
        for target in (None, "float64"):
            assert same(item.dequantize(target), whole.dequantize(target))
        error = whole.error(x[name])
        figures = [row[word] for word in ("mse", "max_abs", "sqnr_db", "clipped", "cosine")]
        assert figures == pytest.approx([error.mse, error.max_abs, error.sqnr_db, error.clipped, error.cosine], 1e-12)
    assert [row["name"] for row in result.rows] == [
        name for name in open_tensors(tmp_path / f"x{suffix}").tensors if name != "ids"
    ]


def test_the_bytes_of_a_file_depend_on_its_input_alone(tmp_path, small, monkeypatch):
    write_tensors(tmp_path / "x.safetensors", tensors("float32"))
    found = set()
    for threads, size in ((1, 50), (3, 50), (2, 7), (1, 1 << 20)):
        monkeypatch.setattr(slabs, "_NUMBERS", size)
        quantize_file(
            tmp_path / "x.safetensors",
            tmp_path / "q.safetensors",
            everything(Options(axis=0)),
            overwrite=True,
            threads=threads,
        )
        found.add((tmp_path / "q.safetensors").read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize("to", ["float16", "float8_e5m2", "nf4", "int8"])
def test_a_file_converted_in_pieces_has_the_bits_and_flags_of_whole_tensors(tmp_path, small, to):
    x = tensors("float32")
    write_tensors(tmp_path / "x.npz", x)
    result = convert_file(tmp_path / "x.npz", tmp_path / "h.npz", to)
    found = read_tensors(tmp_path / "h.npz")[0]
    for row in result.rows:
        flags = bq.Flags()
        whole = bq.convert(x[row["name"]], to, flags=flags)
        whole = whole if bq.format(to).dtype else bq.decode(whole, to)
        assert same(found[row["name"]], whole)
        assert row["inexact"] == flags.inexact
    assert same(found["ids"], x["ids"])


# --- The layout of compressed-tensors -----------------------------------------------------------------------


def unpacked(words, bits, count):
    """Codes from 32-bit words, by Python's integers: the first in the lowest bits, the smallest stored as 0."""
    rows = []
    for row in words.astype(np.uint32):
        number = sum(int(word) << 32 * k for k, word in enumerate(row))
        rows.append([(number >> bits * k & (1 << bits) - 1) - (1 << bits - 1) for k in range(count)])
    return np.array(rows)


@pytest.mark.parametrize("bits", [2, 4, 5, 8])
@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shares", [{}, {"axis": 0}, {"group": 8}], ids=["tensor", "channel", "group"])
def test_compressed_tensors_hold_codes_steps_and_points_as_that_library_reads_them(
    tmp_path, small, bits, scheme, dtype, shares
):
    x = {"a.weight": RNG.standard_normal((13, 40)) + 0.3, "norm.weight": np.ones(4), "a.bias": np.ones(13)}
    x = {name: np.asarray(bq.convert(one, dtype)) for name, one in x.items()}
    write_tensors(tmp_path / "x.safetensors", x)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "out").mkdir()
    made = tmp_path / "out" / "model.safetensors"
    options = Options(bits=bits, scheme=scheme, **shares)
    result = quantize_file(tmp_path / "x.safetensors", made, everything(options), "compressed-tensors", verify=True)
    assert result.kept == {"norm.weight": "no weight of a module", "a.bias": "no weight of a module"}
    words = {"scheme": scheme, "bits": bits, "step_format": dtype, "include_zero": True}
    words |= {"axis": 0} if "axis" in shares else {"group_size": 8} if "group" in shares else {}
    whole = bq.quantize(x["a.weight"], **words)
    found = read_tensors(made)[0]
    columns = {"tensor": 1, "channel": 1, "group": 5}[
        ("group" if "group" in shares else "channel" if shares else "tensor")
    ]
    codes = unpacked(found["a.weight_packed"], bits, 40)
    assert np.array_equal(codes, np.asarray(whole.codes))
    assert found["a.weight_scale"].shape == ((13, columns) if shares else (1,))
    assert np.array_equal(found["a.weight_scale"].astype(float).reshape(-1), np.reshape(whole.step, -1))
    assert found["a.weight_shape"].tolist() == [13, 40]
    points = np.zeros((1, 1), int)
    if scheme == "asymmetric":
        points = found["a.weight_zero_point"]
        points = unpacked(points.T, bits, 13).T if shares else points.astype(int).reshape(1, 1)
    assert np.array_equal(points.reshape(-1), np.reshape(whole.zero_point, -1)) or scheme == "symmetric"
    step = found["a.weight_scale"].astype(np.float32).reshape(-1, columns)
    values = (codes - np.repeat(points, 40 // points.shape[1], axis=1)).astype(np.float32)
    values = values * np.repeat(step, 40 // columns, axis=1)  # exact in float32 for bfloat16, rounded once for float32
    assert same(values.astype(x["a.weight"].dtype), whole.dequantize(dtype))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    (group,) = config["quantization_config"]["config_groups"].values()
    assert group["targets"] == ["a"]
    assert group["weights"]["num_bits"] == bits
    assert group["weights"]["symmetric"] == (scheme == "symmetric")
    assert group["weights"]["strategy"] == ("group" if "group" in shares else "channel" if shares else "tensor")
    assert config["quantization_config"]["ignore"] == ["norm"]


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("shares", [{}, {"axis": 0}, {"group": 8}], ids=["tensor", "channel", "group"])
def test_the_compressed_tensors_package_decompresses_to_our_numbers(tmp_path, bits, scheme, shares):
    base = pytest.importorskip("compressed_tensors.compressors.base")
    from compressed_tensors.quantization import QuantizationConfig
    from safetensors.torch import load_file

    x = {"a.weight": RNG.standard_normal((33, 40)).astype(np.float32)}
    write_tensors(tmp_path / "x.safetensors", x)
    options = Options(bits=bits, scheme=scheme, **shares)
    quantize_file(tmp_path / "x.safetensors", tmp_path / "q.safetensors", everything(options), "compressed-tensors")
    config = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    (group,) = QuantizationConfig.model_validate(config).config_groups.values()
    state = {name.removeprefix("a."): tensor for name, tensor in load_file(tmp_path / "q.safetensors").items()}
    theirs = base.BaseCompressor.get_value_from_registry("pack-quantized").decompress(state, group)["weight"]
    words = {"scheme": scheme, "bits": bits, "step_format": "float32", "include_zero": True}
    words |= {"axis": 0} if "axis" in shares else {"group_size": 8} if "group" in shares else {}
    assert same(theirs.numpy(), bq.quantize(x["a.weight"], **words).dequantize())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(group=7), "all of one size"),
        (Options(axis=1), "steps for each row"),
        (Options(unsigned=True), "signed codes"),
        (Options(step_format="float8_e4m3fn"), "signed codes"),
    ],
)
def test_what_compressed_tensors_cannot_hold_is_refused_before_anything_is_written(tmp_path, options, words):
    write_tensors(tmp_path / "x.safetensors", {"a.weight": np.ones((4, 8), np.float32)})
    with pytest.raises(bq.BitquantError, match=words):
        quantize_file(tmp_path / "x.safetensors", tmp_path / "q.safetensors", everything(options), "compressed-tensors")
    assert os.listdir(tmp_path) == ["x.safetensors"]


# --- Recipes ------------------------------------------------------------------------------------------------


def test_the_last_rule_that_matches_wins_word_by_word():
    recipe = Recipe({"bits": 8, "axis": 0}, [rule("*.mlp.*: bits=4 group=128"), Rule(("*.down*",), {"group": 64})])
    assert recipe.options("x.attn.weight") == Options(axis=0)
    assert recipe.options("x.mlp.up") == Options(axis=0, bits=4, group=128)
    assert recipe.options("x.mlp.down") == Options(axis=0, bits=4, group=64)
    assert rule("a:b: range=-1..0.5").words == {"range": (-1.0, 0.5)}


def test_a_recipe_file_is_toml(tmp_path):
    (tmp_path / "r.toml").write_text(
        'bits = 8\nscheme = "asymmetric"\n[[rule]]\nmatch = ["*norm*", "lm_head*"]\nskip = true\n'
        '[[rule]]\nmatch = "*.mlp.*"\ncalibrate = "percentile"\npercentile = 99.5\nstep-format = "float16"\n'
    )
    recipe = read_recipe(tmp_path / "r.toml")
    assert recipe.options("a.norm.weight").skip
    assert recipe.options("a.mlp.up") == Options(
        scheme="asymmetric", calibrate="percentile", step_format="float16", calibration={"percentile": 99.5}
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bits = ", "no readable recipe"),
        ("bit = 8", "'bit': choose from"),
        ("bits = true", "whole number"),
        ("skip = 3", "true or false"),
        ("range = [1]", "two numbers"),
        ("rule = 3", "table of its own"),
        ("[[rule]]\nbits = 4", "names no tensors"),
        ("[[rule]]\nmatch = 'x'\nwhat = 4", "rule 1 has the word 'what'"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path, text, words):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(bq.BitquantError, match=words):
        read_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize("text", ["", "bits=4", ": bits=4", "*: ", "*: bots=4"])
def test_a_rule_that_makes_no_sense_is_refused(text):
    with pytest.raises(bq.BitquantError, match=r"rule|word"):
        rule(text)


# --- What goes wrong ----------------------------------------------------------------------------------------


def test_nan_is_found_wherever_it_is_and_the_old_output_stays(tmp_path, small):
    x = np.arange(400, dtype=np.float32).reshape(40, 10)
    x[33, 7] = np.nan
    x[39, 9] = np.inf
    write_tensors(tmp_path / "x.safetensors", {"w": x})
    (tmp_path / "q.safetensors").write_bytes(b"old")
    for options in (Options(), Options(axis=0), Options(range=(-1, 1)), Options(calibrate="mse")):
        with pytest.raises(bq.BitquantError, match=r"'w' \(from byte \d+\): x has NaN at index \(33, 7\)"):
            quantize_file(tmp_path / "x.safetensors", tmp_path / "q.safetensors", everything(options), overwrite=True)
    assert (tmp_path / "q.safetensors").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["q.safetensors", "x.safetensors"]
    quantize_file(
        tmp_path / "x.safetensors",
        tmp_path / "q.safetensors",
        everything(Options(nonfinite="saturate")),
        overwrite=True,
    )
    whole = bq.symmetric(x, nonfinite="saturate")
    assert same(load_quantized(tmp_path / "q.safetensors")[0]["w"].codes, whole.codes)


@pytest.mark.parametrize("layout", list(layouts.LAYOUTS))
@pytest.mark.parametrize("spoiled_write", [0, 1, 4], ids=["codes", "steps", "later"])
def test_verify_finds_a_bit_that_was_written_wrong_and_the_old_output_stays(
    tmp_path, small, monkeypatch, layout, spoiled_write
):
    write_tensors(tmp_path / "x.safetensors", {"a.weight": RNG.standard_normal((40, 16)).astype(np.float32)})
    (tmp_path / "q.safetensors").write_bytes(b"old")
    real = os.pwrite
    spoiled = []

    def pwrite(descriptor, data, offset):
        data = bytearray(data)
        if len(spoiled) == spoiled_write:
            data[0] ^= 1
        spoiled.append(offset)
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(bq.BitquantError, match=r"'a\.weight' (does not read back as it was written|is damaged)"):
        quantize_file(
            tmp_path / "x.safetensors",
            tmp_path / "q.safetensors",
            everything(Options(axis=0)),
            layout,
            overwrite=True,
            verify=True,
        )
    assert (tmp_path / "q.safetensors").read_bytes() == b"old"


def test_a_file_that_is_cut_while_it_is_read_is_an_error_with_the_byte(tmp_path):
    write_tensors(tmp_path / "x.safetensors", {"w": np.ones(1000, np.float32)})
    with open_tensors(tmp_path / "x.safetensors") as source:
        offset = source.tensors["w"].offset
        os.truncate(tmp_path / "x.safetensors", offset + 40)
        with pytest.raises(
            bq.BitquantError, match=rf"'w' \(from byte {offset}\) ends at byte {offset + 40}, 3960 bytes early"
        ):
            source.read("w")


def test_what_was_announced_is_what_comes(tmp_path):
    plan = [Planned("w", (4,), np.dtype(np.int8))]
    for piece, words in (
        (np.int8([1, 2]), "of the 4 numbers of 'w' 2 were written"),
        (np.int8([1, 2, 3, 4, 5]), "announced with 4 numbers and gets 5"),
        (np.float32([1]), "announced as int8 and is float32"),
    ):
        for suffix in (".npz", ".npy", ".safetensors"):
            with pytest.raises(bq.BitquantError, match=words), create_tensors(tmp_path / f"x{suffix}", plan) as sink:
                sink.write("w", piece)
    assert os.listdir(tmp_path) == []


def test_metadata_that_outgrow_their_room_move_the_tensors(tmp_path, monkeypatch):
    monkeypatch.setattr("bitquant.files.safetensors._MOVED", 64)
    x = {"w": RNG.standard_normal(1000), "v": np.arange(7, dtype=np.int8)}
    plan = [Planned(name, one.shape, one.dtype) for name, one in x.items()]
    with create_tensors(tmp_path / "x.safetensors", plan, room=10) as sink:
        for name, one in x.items():
            sink.write(name, one)
        sink.metadata["note"] = "long " * 100
    found, metadata = read_tensors(tmp_path / "x.safetensors")
    assert metadata == {"note": "long " * 100}
    assert all(same(found[name], one) for name, one in x.items())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_pieces_of_an_npz_may_be_read_in_any_order(tmp_path, save):
    x = RNG.standard_normal((30, 40))
    save(tmp_path / "x.npz", x=x, f=np.asfortranarray(x))
    np.save(tmp_path / "f.npy", np.asfortranarray(x))
    with open_tensors(tmp_path / "x.npz") as source, open_tensors(tmp_path / "f.npy") as fortran:
        for start, stop in ((0, 10), (10, 700), (20, 30), (1190, 1200), (0, 1200), (5, 5)):
            assert same(source.read("x", start, stop), x.reshape(-1)[start:stop])
            assert same(source.read("f", start, stop), x.reshape(-1)[start:stop])
            assert same(fortran.read("f", start, stop), x.reshape(-1)[start:stop])
        with pytest.raises(bq.BitquantError, match="1200 numbers"):
            source.read("x", 0, 1201)


# --- Models of several files --------------------------------------------------------------------------------


def sharded(folder, shards=3):
    where = {}
    for k in range(shards):
        name = f"model-{k + 1:05}-of-{shards:05}.safetensors"
        x = {f"layer{k}.weight": RNG.standard_normal((8, 8)).astype(np.float32), f"layer{k}.ids": np.arange(3)}
        write_tensors(folder / name, x, {"format": "pt"})
        where |= dict.fromkeys(x, name)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1, "a": "b"}, "weight_map": where}))
    return path


def test_a_model_of_several_files_is_quantized_file_by_file(tmp_path):
    index = sharded(tmp_path)
    (tmp_path / "out").mkdir()
    made = tmp_path / "out" / "q.safetensors.index.json"
    result = quantize_file(index, made, everything(Options(axis=0)), verify=True)
    assert [row["name"] for row in result.rows] == ["layer0.weight", "layer1.weight", "layer2.weight"]
    names = [f"model-0000{k}-of-00003.safetensors" for k in (1, 2, 3)]
    assert sorted(os.listdir(tmp_path / "out")) == [*names, "q.safetensors.index.json"]
    items, _ = load_quantized(made)
    x, _ = read_tensors(index)
    for name, one in x.items():
        assert (
            same(items[name].dequantize(), bq.symmetric(one, axis=0).dequantize())
            if "weight" in name
            else same(items[name], one)
        )
    told = json.loads(made.read_text())
    assert told["metadata"]["a"] == "b"
    assert told["metadata"]["total_size"] == sum(e.nbytes for e in open_tensors(made).tensors.values())
    converted = tmp_path / "out" / "other"
    converted.mkdir()
    convert_file(index, converted / index.name, "bfloat16")
    assert same(read_tensors(converted / index.name)[0]["layer2.weight"], bq.convert(x["layer2.weight"], "bfloat16"))


def test_a_run_that_was_stopped_goes_on_after_the_last_whole_file(tmp_path, monkeypatch):
    index = sharded(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "q.safetensors.index.json").write_text("old")
    done = []

    write = quantizing._Quantization.write

    def stopped(self, output, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(output.name)
        write(self, output, *rest)

    monkeypatch.setattr(quantizing._Quantization, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        quantize_file(index, out / "q.safetensors.index.json", everything(Options()), overwrite=True)
    assert (out / "q.safetensors.index.json").read_text() == "old"
    assert [name for name in os.listdir(out) if not name.startswith(".")] == ["q.safetensors.index.json"]
    done.clear()
    monkeypatch.setattr(
        quantizing._Quantization,
        "write",
        lambda self, output, *rest: (done.append(output.name), write(self, output, *rest))[1],
    )
    result = quantize_file(index, out / "q.safetensors.index.json", everything(Options()), overwrite=True)
    assert done == ["model-00003-of-00003.safetensors"]
    assert result.resumed == 2
    assert len(result.rows) == 3
    assert not [name for name in os.listdir(out) if name.startswith(".")]
    assert same(
        load_quantized(out / "q.safetensors.index.json")[0]["layer0.weight"].codes,
        bq.symmetric(read_tensors(index)[0]["layer0.weight"]).codes,
    )
    done.clear()
    quantize_file(index, out / "q.safetensors.index.json", everything(Options(bits=4)), overwrite=True)
    assert len(done) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no index"),
        ("[]", "no weight_map"),
        ('{"weight_map": {}}', "names no tensors"),
        ('{"weight_map": {"w": "../../etc/passwd.safetensors"}}', "no file beside it"),
        ('{"weight_map": {"w": "missing.safetensors"}}', "no file"),
        ('{"weight_map": {"other": "x.safetensors"}}', "promises 'other'|does not say"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path, text, words):
    write_tensors(tmp_path / "x.safetensors", {"w": np.ones(3)})
    (tmp_path / "m.index.json").write_text(text)
    with pytest.raises(bq.BitquantError, match=words):
        open_tensors(tmp_path / "m.index.json")


# --- Damaged files ------------------------------------------------------------------------------------------

words_of_headers = st.one_of(
    st.integers(-(2**70), 2**70), st.text(max_size=5), st.floats(), st.none(), st.booleans(),
    st.lists(st.integers(-3, 300), max_size=4), st.sampled_from(["F32", "F4", "BF16", "I64", "F6_E2M3"]),
)  # fmt: skip
rows_of_headers = st.fixed_dictionaries(
    {},
    optional={
        "dtype": words_of_headers,
        "shape": words_of_headers,
        "data_offsets": words_of_headers,
        "x": words_of_headers,
    },
)


@settings(max_examples=150, deadline=None)
@given(
    header=st.dictionaries(
        st.sampled_from(["a", "b", "__metadata__", ""]), rows_of_headers | words_of_headers, max_size=3
    ),
    data=st.binary(max_size=64),
    length=st.one_of(st.none(), st.integers(0, 2**64 - 1)),
)
def test_no_header_of_any_kind_leaks_another_error(tmp_path_factory, header, data, length):
    path = tmp_path_factory.mktemp("fuzz") / "x.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    read_or_refused(path)


def read_or_refused(path):
    try:
        with open_tensors(path) as source:
            for name in source.tensors:
                source.read(name)
    except bq.BitquantError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017


@pytest.fixture(scope="module")
def real_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    x = {
        "w": np.arange(24, dtype=np.float32).reshape(4, 6),
        "b": np.ones(8, ml_dtypes.float4_e2m1fn),
        "i": np.int64([1]),
    }
    write_tensors(folder / "x.safetensors", x, {"a": "b"})
    write_tensors(folder / "x.npz", x, {"a": "b"})
    write_tensors(folder / "x.npy", {"w": x["w"]})
    np.savez_compressed(folder / "z.npz", **{name: one for name, one in x.items() if name != "b"})
    return {name: (folder / name).read_bytes() for name in ("x.safetensors", "x.npz", "x.npy", "z.npz")}


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(["x.safetensors", "x.npz", "x.npy", "z.npz"]),
    damage=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 1 << 20),
)
def test_no_damage_of_a_real_file_leaks_another_error(tmp_path_factory, real_files, name, damage, cut):
    data = bytearray(real_files[name])
    for place, byte in damage:
        data[place % len(data)] = byte
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(data[: cut % len(data) + 1] if cut % 3 == 0 else data)
    read_or_refused(path)


# --- Killed -------------------------------------------------------------------------------------------------

CHILD = """
import sys
import numpy as np
from bitquant.files import Options, quantize_file, slabs
slabs._NUMBERS = 1 << 12
print("ready", flush=True)
k = 0
while True:
    quantize_file(sys.argv[1], sys.argv[2], lambda name: Options(bits=2 + k % 7), overwrite=True)
    k += 1
"""


def run_until_killed(program, *arguments, after):
    """Run a program, and kill it so many seconds after its first line."""
    child = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE)
    child.stdout.readline()
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


def killed(tmp_path, times):
    """Kill a process that writes a file over and over; the file is one of the seven it may be, whole."""
    source, made = tmp_path / "x.safetensors", tmp_path / "q.safetensors"
    write_tensors(source, {"w": RNG.standard_normal(1 << 18).astype(np.float32)})
    allowed = set()
    for bits in range(2, 9):
        quantize_file(source, made, everything(Options(bits=bits)), overwrite=True)
        allowed.add(made.read_bytes())
    left = 0
    for number in range(times):
        run_until_killed(CHILD, source, made, after=random.Random(number).uniform(0, 0.15))
        assert made.read_bytes() in allowed
        left += len(os.listdir(tmp_path)) - 2
        quantize_file(source, made, everything(Options()), overwrite=True)
        assert sorted(os.listdir(tmp_path)) == ["q.safetensors", "x.safetensors"]
    return left


def test_a_process_that_is_killed_leaves_a_whole_file_and_the_next_one_tidies_up(tmp_path):
    killed(tmp_path, 3)


@pytest.mark.exhaustive
def test_fifty_processes_that_are_killed_leave_whole_files(tmp_path):
    assert killed(tmp_path, 50) > 0  # some were in the middle of writing


def test_a_temporary_file_that_is_being_written_is_left_alone(tmp_path):
    orphan = tmp_path / ".bitquant-0123.tmp"
    orphan.write_bytes(b"left by a process that was killed")
    with output.replaced(tmp_path / "a", overwrite=False) as one:
        assert not orphan.exists()
        with output.replaced(tmp_path / "b", overwrite=False) as other:
            assert one.name != other.name
            assert os.path.exists(one.name)
            other.write(b"b")
        one.write(b"a")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("tensors", [1, 256])
def test_memory_does_not_grow_with_the_file(tmp_path, tensors):
    """A file of 2 GB without blocks on the disk: its numbers are zeros."""
    path, size = tmp_path / "x.safetensors", (1 << 31) // tensors
    rows = {
        f"w{k}": {"dtype": "F32", "shape": [size // 4], "data_offsets": [k * size, (k + 1) * size]}
        for k in range(tensors)
    }
    text = json.dumps(rows).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + (1 << 31))
    program = (
        "import re, sys; from bitquant.files import Options, quantize_file; "
        "quantize_file(sys.argv[1], sys.argv[2], lambda name: Options(), verify=True); "
        # Not getrusage, whose peak begins with that of the process that started this one.
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path, tmp_path / "q.safetensors"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 300_000
