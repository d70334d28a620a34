"""Several files at once, with an index or without: each as if alone, in their places together, and nothing lost."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import bitquant as bq
from bitquant.files import (
    Options,
    convert_file,
    load_quantized,
    model,
    open_tensors,
    output,
    quantize_file,
    quantizing,
    read_tensors,
    write_tensors,
)
from test_streaming import everything, same, sharded

RNG = np.random.default_rng(5)


def loose(folder, names=("a.safetensors", "b.npz", "c.safetensors"), rows=8):
    """Files of a weight of their own, a bias and integers; each file has its own numbers."""
    folder.mkdir(exist_ok=True)
    for name in names:
        stem = name.partition(".")[0]
        w = RNG.standard_normal((rows, 16)).astype(np.float32)
        x = {f"{stem}.weight": w, f"{stem}.bias": w[0], f"{stem}.ids": np.arange(3)}
        write_tensors(folder / name, x, {"of": stem})
    return [folder / name for name in names]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_after(monkeypatch, files):
    """Have the run stop, as by Ctrl-C, when so many files are written; gives the names of those that were."""
    done, write = [], quantizing._Quantization.write

    def stopping(self, place, *rest):
        if len(done) == files:
            raise KeyboardInterrupt
        write(self, place, *rest)
        done.append(place.name)

    monkeypatch.setattr(quantizing._Quantization, "write", stopping)
    return done


def stopped(monkeypatch, files, *arguments, **options):
    with monkeypatch.context() as patch:
        done = stop_after(patch, files)
        with pytest.raises(KeyboardInterrupt):
            quantize_file(*arguments, **options)
    return done


# --- Each as if alone ---------------------------------------------------------------------------------------


def test_several_files_have_the_bytes_that_each_has_alone(tmp_path):
    paths = loose(tmp_path / "in")
    alone = tmp_path / "alone"
    alone.mkdir()
    rows = []
    for path in paths:
        one = quantize_file(path, alone / path.name, everything(Options(axis=0)))
        rows += [{"file": path.name, **row} for row in one.rows]
    result = quantize_file([str(path) for path in paths], tmp_path / "out", everything(Options(axis=0)), verify=True)
    assert contents(tmp_path / "out") == contents(alone)
    assert result.rows == rows
    assert result.kept == {"a.ids": "int64", "b.ids": "int64", "c.ids": "int64"}
    converted = convert_file(paths, tmp_path / "half", "bfloat16")
    for path in paths:
        convert_file(path, alone / path.name, "bfloat16", overwrite=True)
    assert contents(tmp_path / "half") == contents(alone)
    assert [row["file"] for row in converted.rows] == [path.name for path in paths for _ in range(2)]
    quantize_file(paths[:1], tmp_path / "out", everything(Options(bits=4)), overwrite=True)
    assert load_quantized(tmp_path / "out" / "a.safetensors")[0]["a.weight"].bits == 4
    assert load_quantized(tmp_path / "out" / "c.safetensors")[0]["c.weight"].bits == 8


def test_a_file_that_has_nothing_to_quantize_is_copied_with_the_others(tmp_path):
    paths = loose(tmp_path / "in", ("a.npz", "b.npz"))
    result = quantize_file(paths, tmp_path / "out", lambda name: Options() if name == "a.weight" else "no")
    assert [row["name"] for row in result.rows] == ["a.weight"]
    found, metadata = read_tensors(tmp_path / "out" / "b.npz")
    assert all(same(found[name], x) for name, x in read_tensors(paths[1])[0].items())
    assert metadata["of"] == "b"


def test_a_name_that_is_in_two_files_is_told_with_its_file(tmp_path, capsys):
    pytest.importorskip("typer")
    from test_cli import bitquant

    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / f"{name}.npz" for name in "ab"]
    for k, path in enumerate(paths):
        write_tensors(path, {"w": np.float32([1, 127 * (k + 1), 3.3]), "ids": np.arange(3), f"own{k}": np.float32([1])})
    result = quantize_file(paths, tmp_path / "out", everything(Options()))
    names = [("a.npz", "w"), ("a.npz", "own0"), ("b.npz", "w"), ("b.npz", "own1")]
    assert sorted((row["file"], row["name"]) for row in result.rows) == sorted(names)
    assert result.kept == {"a.npz: ids": "int64", "b.npz: ids": "int64"}
    for command in (["quantize"], ["convert", "--to", "bfloat16"]):
        status, out, _ = bitquant(command[0], *paths, "-o", tmp_path / command[0], *command[1:])
        assert status == 0
        lines = [line.split("  ")[0] for line in out.splitlines()]
        assert {"a.npz: w", "b.npz: w", "own0", "own1"} <= set(lines)
        assert "kept as they are: a.npz: ids (int64), b.npz: ids (int64)" in out
        status, out, _ = bitquant(command[0], *paths, "-o", tmp_path / command[0], *command[1:], "--json", "--force")
        told = json.loads(out)
        assert told["input"] == [str(path) for path in paths]
        assert told["output"] == str(tmp_path / command[0])
        assert sorted((row["file"], row["name"]) for row in told["tensors"]) == sorted(names)
        assert told["left"] == {}
    told = json.loads(bitquant("quantize", *paths, "-o", tmp_path / "quantize", "--json", "--force")[1])
    assert told["totals"]["tensors"] == 4
    assert told["totals"]["numbers"] == 8
    assert told["totals"]["max_abs_tensor"] == "b.npz: w"


def test_the_command_line_takes_patterns_that_match_one_file(tmp_path):
    pytest.importorskip("typer")
    from test_cli import bitquant

    paths = loose(tmp_path / "in", ("a.npz", "b.npz"))
    (tmp_path / "out").mkdir()
    status, out, _ = bitquant("quantize", paths[0], "-o", tmp_path / "out", "--only", "*.weight", "--worst", "1")
    assert status == 0
    assert "a.weight" in out
    assert os.listdir(tmp_path / "out") == ["a.npz"]
    status, _, error = bitquant("quantize", paths[1], "-o", tmp_path / "new")
    assert status == 2
    assert "known kind" in error


# --- What is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "into", "words"),
    [
        ([], "out", "no file is given"),
        (["in/a.safetensors", "other/a.safetensors"], "out", "would both be"),
        (["in/a.safetensors", "in/a.safetensors"], "out", "would both be"),
        (["in/a.safetensors", "in/b.npz"], "in", "is the input itself"),
        (["in/b.npz", "other/x.npz"], "other", "is the input itself"),
        (["in/a.safetensors", "in/b.npz"], "in/c.safetensors", "is a file, or called like one"),
        (["in/a.safetensors", "in/b.npz"], "new.safetensors", "is a file, or called like one"),
        (["in/a.safetensors", "in/b.npz"], "new.index.json", "is a file, or called like one"),
        (["in/a.safetensors", "in/b.npz"], "new.onnx", "is a file, or called like one"),
        (["in/a.safetensors", "in/m.safetensors.index.json"], "out", r"index\.json goes into no folder with others"),
        (["in/m.safetensors.index.json"], "out", r"index\.json goes into no folder with others"),
        (["in/a.safetensors", "in/m.gguf"], "out", r"m\.gguf goes into no folder with others"),
        (["in/a.safetensors", "in/m.onnx"], "out", r"m\.onnx goes into no folder with others"),
        (["in/a.safetensors", "in/x.npy"], "out", r"x\.npy goes into no folder with others"),
        (["in/a.safetensors", "in/none.npz"], "out", "there is no file"),
        (["in/a.safetensors", "in/b.npz"], "missing/out", "there is no folder"),
        (["in/a.safetensors", "in/b.npz"], "full", r"b\.npz exists.*--force"),
        (["in/ints.npz", "in/ints2.npz"], "out", r"no float tensor in .*ints\.npz and 1 more"),
        (["in/a.safetensors", "in/codes.npz"], "out", r"codes\.npz holds codes"),
    ],
)  # fmt: skip
def test_what_cannot_go_into_a_folder_is_refused_before_anything_is_written(tmp_path, files, into, words):
    loose(tmp_path / "in")
    loose(tmp_path / "other", ("a.safetensors", "x.npz"))
    loose(tmp_path / "full", ("b.npz",))
    write_tensors(tmp_path / "in" / "ints.npz", {"x": np.arange(3)})
    write_tensors(tmp_path / "in" / "ints2.npz", {"x": np.arange(3)})
    np.save(tmp_path / "in" / "x.npy", np.float32([1]))
    quantize_file(tmp_path / "in" / "b.npz", tmp_path / "in" / "codes.npz", everything(Options()))
    before = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    folders = {path for path in tmp_path.rglob("*") if path.is_dir()}
    with pytest.raises(bq.BitquantError, match=words):
        quantize_file([tmp_path / name for name in files], tmp_path / into, everything(Options()))
    assert {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert {path for path in tmp_path.rglob("*") if path.is_dir()} == folders


def test_convert_refuses_blocks_and_dtypes_that_a_file_has_no_name_for(tmp_path):
    paths = loose(tmp_path / "in", ("a.npz", "b.safetensors"))
    for to, words in (("int4", r"b\.safetensors has no name for int4"), ("q8_0", "one .gguf file"), ("float33", "33")):
        with pytest.raises(bq.BitquantError, match=words):
            convert_file(paths, tmp_path / "out", to)
    assert os.listdir(tmp_path) == ["in"]


def test_a_folder_that_was_made_for_nothing_goes_again_and_one_that_was_there_stays(tmp_path):
    paths = loose(tmp_path / "in", ("a.npz", "b.npz"))
    write_tensors(paths[0], {"w": np.float32([1, np.nan])}, overwrite=True)
    for made in (False, True):
        if made:
            (tmp_path / "out").mkdir()
        with pytest.raises(bq.BitquantError, match=r"a\.npz: 'w'.*NaN at index 1"):
            quantize_file(paths, tmp_path / "out", everything(Options()))
        assert (tmp_path / "out").is_dir() == made
    assert os.listdir(tmp_path / "out") == []
    with pytest.raises(bq.BitquantError, match="1 files are whole, and the same command goes on after them"):
        quantize_file(paths[::-1], tmp_path / "out", everything(Options()))
    (part,) = os.listdir(tmp_path / "out")
    assert part.endswith(".part")


# --- Stopped ------------------------------------------------------------------------------------------------


def test_a_run_of_loose_files_that_was_stopped_goes_on_after_the_last_whole_file(tmp_path, monkeypatch):
    paths, out, how = loose(tmp_path / "in"), tmp_path / "out", everything(Options())
    assert stopped(monkeypatch, 2, paths, out, how) == ["a.safetensors", "b.npz"]
    assert [name for name in os.listdir(out) if not name.startswith(".")] == []
    with monkeypatch.context() as patch:
        done = stop_after(patch, 3)
        result = quantize_file(paths, out, how)
    assert done == ["c.safetensors"]
    assert result.resumed == 2
    quantize_file(paths, tmp_path / "again", how)
    assert contents(out) == contents(tmp_path / "again")
    assert [row["file"] for row in result.rows] == [path.name for path in paths for _ in range(2)]


def test_files_that_were_not_verified_are_not_taken_up_by_a_run_that_verifies(tmp_path, monkeypatch):
    paths, out, how = loose(tmp_path / "in"), tmp_path / "out", everything(Options())
    stopped(monkeypatch, 2, paths, out, how)
    assert quantize_file(paths, out, how, verify=True).resumed == 0


@pytest.mark.parametrize("command", [["quantize", "--axis", "0"], ["convert", "--to", "float16"]])
def test_a_process_that_is_killed_between_files_is_taken_up_by_the_same_command(tmp_path, command):
    pytest.importorskip("typer")
    paths = loose(tmp_path / "in", [f"{k}.safetensors" for k in range(6)], rows=1 << 16)
    words = [sys.executable, "-m", "bitquant", command[0], *paths, *command[1:], "--json", "-o"]
    alone = subprocess.run([*words, tmp_path / "alone"], capture_output=True, text=True, check=True)
    out = tmp_path / "out"
    running = subprocess.Popen([*words, out], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while running.poll() is None and not list(out.glob(".*.part/*.json")):
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    whole = len(list(out.glob(".*.part/*.json")))
    assert 0 < whole < 6
    assert list(out.glob("*.safetensors")) == []
    again = subprocess.run(
        [arg for arg in words if arg != "--json"] + [out], capture_output=True, text=True, check=True
    )
    assert f"{whole} files were whole from an earlier run that was stopped" in again.stdout
    assert contents(out) == contents(tmp_path / "alone")
    told = json.loads(alone.stdout)
    assert told["totals"]["tensors"] == len(told["tensors"]) == 12


def test_two_runs_of_one_command_do_not_write_into_one_folder(tmp_path, monkeypatch):
    paths, out, how = loose(tmp_path / "in"), tmp_path / "out", everything(Options())
    write, refused = quantizing._Quantization.write, []

    def also(self, *rest):
        if not refused:
            refused.append(True)
            with pytest.raises(bq.BitquantError, match="is being written by another run of this command"):
                quantize_file(paths, out, how)
            # Another command at the same place is another matter; what is being written is no left-over.
            assert quantize_file(paths, out, everything(Options(bits=3))).left == {}
        write(self, *rest)

    monkeypatch.setattr(quantizing._Quantization, "write", also)
    quantize_file(paths, out, how, overwrite=True)
    assert load_quantized(out / "c.safetensors")[0]["c.weight"].bits == 8
    assert [name for name in os.listdir(out) if name.startswith(".")] == []


def test_a_lock_that_was_removed_is_no_lock(tmp_path, monkeypatch):
    folder, waits = tmp_path / ".bitquant-0.part", []
    flock = output.fcntl.flock

    def removed_first(file, how):
        if not waits:
            waits.append(True)
            (folder / "lock").unlink()
            folder.rmdir()
        return flock(file, how)

    monkeypatch.setattr(output.fcntl, "flock", removed_first)
    with output.held(folder):
        assert os.listdir(folder) == ["lock"]


def test_what_other_runs_have_left_is_told_and_not_removed(tmp_path, monkeypatch):
    pytest.importorskip("typer")
    from test_cli import bitquant

    paths, out = loose(tmp_path / "in"), tmp_path / "out"
    stopped(monkeypatch, 2, paths, out, everything(Options(bits=4)))
    (left,) = out.iterdir()
    size = sum(path.stat().st_size for path in left.iterdir())
    assert size > 0
    result = quantize_file(paths, out, everything(Options()))
    assert result.left == {str(left): size}
    status, text, _ = bitquant("quantize", *paths, "-o", out, "--bits", "7", "--force")
    assert status == 0
    assert f"{left} is left of another run that was stopped, {size:,} bytes: start that run again, or remove it" in text
    status, text, _ = bitquant("convert", *paths, "-o", out, "--to", "float16", "--force", "--json")
    assert json.loads(text)["left"] == {str(left): size}
    (left / "lock").unlink()  # as versions before locks have left it
    assert convert_file(paths, out, "float16", overwrite=True).left == {str(left): size}
    with output.held(left):
        assert convert_file(paths, out, "float16", overwrite=True).left == {}
    resumed = quantize_file(paths, out, everything(Options(bits=4)), overwrite=True)
    assert (resumed.resumed, resumed.left) == (2, {})
    assert sorted(os.listdir(out)) == [path.name for path in paths]


# --- In their places together -------------------------------------------------------------------------------


def renames(monkeypatch, folder, fail=None):
    """The names that take their places in a folder, in order; the one called `fail` cannot."""
    done, real = [], os.replace

    def replace(source, target):
        if os.path.dirname(target) == str(folder):
            if os.path.basename(target) == fail:
                raise OSError(28, "No space left on device")
            done.append(os.path.basename(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    return done


def test_what_describes_a_file_is_there_before_it(tmp_path, monkeypatch):
    (path,), out = loose(tmp_path / "in", ("a.safetensors",)), tmp_path / "out"
    out.mkdir()
    made, how = out / "model.safetensors", everything(Options())
    with monkeypatch.context() as patch:
        order = renames(patch, out)
        quantize_file(path, made, how, "compressed-tensors")
    assert order == ["config.json", "model.safetensors"]
    old = contents(out)
    four = everything(Options(bits=4))
    with monkeypatch.context() as patch:
        renames(patch, out, "config.json")
        with pytest.raises(bq.BitquantError, match=r"config\.json was not written .* nothing was changed"):
            quantize_file(path, made, four, "compressed-tensors", overwrite=True)
    assert contents(out) == old
    with monkeypatch.context() as patch:
        renames(patch, out, "model.safetensors")
        with pytest.raises(
            bq.BitquantError, match=r"model\.safetensors was not written .*but .*config\.json, which belongs to it, was"
        ):
            quantize_file(path, made, four, "compressed-tensors", overwrite=True)
    found = contents(out)
    assert found.keys() == old.keys()
    assert found["model.safetensors"] == old["model.safetensors"]
    assert bits_in(out / "config.json") == 4


def bits_in(config):
    (group,) = json.loads(config.read_text())["quantization_config"]["config_groups"].values()
    return group["weights"]["num_bits"]


def test_a_model_that_cannot_be_written_leaves_the_old_configuration(tmp_path, monkeypatch):
    (path,) = loose(tmp_path / "in", ("a.safetensors",))
    write_tensors(path, {"a.weight": np.float32([[1, 2], [np.nan, 3]])}, overwrite=True)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(bq.BitquantError, match="NaN"):
        quantize_file(path, tmp_path / "q.npz", everything(Options()), "compressed-tensors", overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "in"]
    assert (tmp_path / "config.json").read_text() == "{}"


@pytest.mark.parametrize("kind", ["index", "loose"])
def test_files_take_their_places_after_what_describes_them_and_the_index_last(tmp_path, monkeypatch, kind):
    (tmp_path / "in").mkdir()
    index = sharded(tmp_path / "in")
    (tmp_path / "in" / "config.json").write_text('{"model_type": "llama"}')
    names = sorted(path.name for path in (tmp_path / "in").glob("*.safetensors"))
    out = tmp_path / "out"
    out.mkdir()
    given, made = (index, out / index.name) if kind == "index" else ([tmp_path / "in" / name for name in names], out)
    files = ["config.json", *names, *([index.name] if kind == "index" else [])]
    how = everything(Options(bits=4))
    with monkeypatch.context() as patch:
        renames(patch, out, names[1])
        with pytest.raises(bq.BitquantError, match=r"2 of \d files are in their places: run it again with .*--force"):
            quantize_file(given, made, how, "compressed-tensors")
    assert sorted(name for name in os.listdir(out) if not name.startswith(".")) == sorted(files[:2])
    with monkeypatch.context() as patch:
        order = renames(patch, out)
        result = quantize_file(given, made, how, "compressed-tensors", overwrite=True)
    assert order == files
    assert result.resumed == 2
    assert sorted(os.listdir(out)) == sorted(files)
    assert bits_in(out / "config.json") == 4
    config = json.loads((out / "config.json").read_text())
    assert config["model_type"] == "llama"
    (group,) = config["quantization_config"]["config_groups"].values()
    assert group["targets"] == ["layer0", "layer1", "layer2"]
    with pytest.raises(bq.BitquantError, match="exists"):
        quantize_file(given, made, how, "compressed-tensors")


def test_one_configuration_describes_the_files_of_one_model(tmp_path):
    here, there = loose(tmp_path / "in"), loose(tmp_path / "other", ("x.npz", "y.npz"))
    how = everything(Options())
    with pytest.raises(bq.BitquantError, match=r"config\.json describes the files of one folder"):
        quantize_file([here[0], there[0]], tmp_path / "out", how, "compressed-tensors")
    write_tensors(there[1], read_tensors(there[0])[0], overwrite=True)
    with pytest.raises(bq.BitquantError, match=r"'x\.weight' is in .*x\.npz and in .*y\.npz, and one config\.json"):
        quantize_file(there, tmp_path / "out", how, "compressed-tensors")
    assert sorted(os.listdir(tmp_path)) == ["in", "other"]
    through = tmp_path / "in" / ".." / "in" / "b.npz"  # the same folder, by another name
    quantize_file([here[0], through], tmp_path / "out", how, "compressed-tensors")
    assert sorted(os.listdir(tmp_path / "out")) == ["a.safetensors", "b.npz", "config.json"]


# --- Elsewhere ----------------------------------------------------------------------------------------------


def by_pickle(one, pairs):
    """Do as another process does: what is called travels, and the last file is done first."""
    one = pickle.loads(pickle.dumps(one))
    for path, place in reversed(pairs):
        assert path.is_absolute()
        assert place.is_absolute()
        one(path, place)
        yield path


def by_name(name):
    return Options(bits=5)


def test_files_that_are_links_are_shared_out_under_the_names_that_say_what_they_are(tmp_path, monkeypatch):
    """As the caches of model hubs have them: the file that a link leads to is named after its checksum."""
    paths = loose(tmp_path / "in", ("a.safetensors", "b.safetensors"))
    (tmp_path / "links").mkdir()
    for path in paths:
        path.rename(path.with_suffix(""))
        (tmp_path / "links" / path.name).symlink_to(path.with_suffix(""))
    monkeypatch.chdir(tmp_path)
    links = [model.Path("links") / path.name for path in paths]
    steps = []
    result = quantize_file(
        links,
        "out",
        by_name,
        run=by_pickle,
        start=lambda total: (steps.append(total), lambda name, n: steps.append(-n))[1],
    )
    assert sum(steps) == 0
    assert [row["file"] for row in result.rows] == [path.name for path in paths for _ in range(2)]
    quantize_file(links, "here", by_name)
    convert_file(links, "half", "float16", run=by_pickle)
    convert_file(links, "half_here", "float16")
    assert contents(tmp_path / "out") == contents(tmp_path / "here")
    assert contents(tmp_path / "half") == contents(tmp_path / "half_here")
    assert open_tensors(tmp_path / "half" / "a.safetensors").tensors["a.weight"].dtype == np.float16
    with pytest.raises(bq.BitquantError, match="file by file: give several files and a folder"):
        quantize_file(links[0], "one.npz", by_name, run=by_pickle)
    with pytest.raises(bq.BitquantError, match="written by one process"):
        convert_file(links[0], "one.gguf", "q8_0", run=by_pickle)
