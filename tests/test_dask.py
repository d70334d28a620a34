"""dask arrays: what is computed in chunks, on several processes, one of them killed, is what one machine gives."""

from __future__ import annotations

import doctest
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq

pytest.importorskip("dask.array")
pytest.importorskip("distributed")

import dask
import dask.array as da
import distributed

import bitquant.dask
from bitquant.calibrate import channels, percentile
from bitquant.files import write_tensors

RNG = np.random.default_rng(17)
X = (RNG.standard_normal((12, 40)) * np.exp(RNG.standard_normal((12, 1)))).astype(np.float32)
CUBE = RNG.standard_normal((4, 6, 10))
CUTS = [(12, 40), (5, 7), (1, 40), ((3, 0, 9), (1, 39)), (12, 1)]
HOW = [
    {},
    {"axis": 0},
    {"axis": 1},
    {"axis": -1, "scheme": "asymmetric", "include_zero": True},
    {"group_size": 8},
    {"group_size": 16, "axis": 0, "scheme": "asymmetric"},
    {"group_size": 7, "step_format": "float16"},
    {"block_shape": (5, -1)},
    {"block_shape": (3, 9), "bits": 4, "rounding": "toward_zero"},
    {"scheme": "asymmetric", "signed": False},
]


@pytest.fixture(autouse=True)
def _scheduler():
    with dask.config.set(scheduler="threads"):
        yield


def same(found, expected):
    """Everything of two quantizations is the same, to the bit."""
    assert found.codes.dtype == expected.codes.dtype
    assert np.array_equal(found.codes, expected.codes)
    assert found.exact_scale == expected.exact_scale
    assert np.array_equal(found.zero_point, expected.zero_point)
    assert np.array_equal(found.range, expected.range)
    for name in ("scheme", "bits", "axis", "block_shape", "rounding", "step_format", "source", "qmin", "qmax"):
        assert getattr(found, name) == getattr(expected, name), name
    assert found.dequantize().tobytes() == expected.dequantize().tobytes()


@pytest.mark.parametrize("chunks", CUTS)
@pytest.mark.parametrize("how", HOW, ids=str)
def test_codes_and_parameters_are_those_of_one_machine(chunks, how):
    expected = bq.quantize(X, **how)
    found = bitquant.dask.quantize(da.from_array(X, chunks=chunks), **how)
    assert isinstance(found.codes, da.Array)
    same(found.compute(), expected)
    assert found.dequantize().compute().tobytes() == expected.dequantize().tobytes()


@pytest.mark.parametrize("how", [{}, {"axis": 1}, {"block_shape": (2, 5, 3)}, {"group_size": 4, "axis": 0}], ids=str)
def test_any_number_of_dimensions_and_any_format(how):
    for cube in (CUBE, CUBE.astype(ml_dtypes.bfloat16), CUBE.astype(np.float16)):
        same(bitquant.dask.quantize(da.from_array(cube, chunks=(3, 4, 4)), **how).compute(), bq.quantize(cube, **how))
    same(bitquant.dask.quantize(da.from_array(CUBE[0, 0], chunks=3)).compute(), bq.quantize(CUBE[0, 0]))
    lone = bitquant.dask.quantize(da.from_array(np.float32(2.5))).compute()
    assert lone.codes == 127


@pytest.mark.parametrize("chunks", CUTS)
def test_what_is_not_finite_is_refused_with_the_same_sentence_or_left_out(chunks):
    x = X.copy()
    x[7, 3], x[8, 30], x[11, 39] = np.inf, np.nan, -np.inf
    array = da.from_array(x, chunks=chunks)
    with pytest.raises(bq.BitquantError) as expected:
        bq.quantize(x)
    with pytest.raises(bq.BitquantError) as found:
        bitquant.dask.quantize(array)
    assert str(found.value) == str(expected.value)
    for how in ({}, {"axis": 0}, {"group_size": 8, "scheme": "asymmetric"}):
        same(
            bitquant.dask.quantize(array, nonfinite="saturate", **how).compute(),
            bq.quantize(x, nonfinite="saturate", **how),
        )
    x[3] = np.nan
    with pytest.raises(bq.BitquantError, match="nothing in block"):
        bitquant.dask.quantize(da.from_array(x, chunks=chunks), nonfinite="saturate", axis=0)


@pytest.mark.parametrize("chunks", CUTS)
@pytest.mark.parametrize(
    ("method", "axis"), [("mse", None), *((name, 1) for name in ("minmax", "mse", "percentile", "entropy", "std"))]
)
def test_calibration_is_that_of_one_observer(chunks, method, axis):
    found = bitquant.dask.calibrate(da.from_array(X, chunks=chunks), method, axis=axis)
    observer = bq.Observer("minmax" if method == "minmax" else "histogram", "symmetric", axis=axis).observe(X)
    expected = observer.range() if method == "minmax" else observer.range(method)
    assert repr(found) == repr(expected)
    assert found.scale == expected.scale
    q = bitquant.dask.quantize(da.from_array(X, chunks=chunks), axis=axis, range=found).compute()
    same(q, bq.quantize(X, axis=axis, range=expected))


@pytest.mark.parametrize("chunks", CUTS)
@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
@pytest.mark.parametrize(
    ("method", "dtype", "options"),
    [
        ("minmax", "float32", {}),
        ("percentile", "float64", {"percentile": 97, "interpolation": "linear"}),
        ("percentile", "bfloat16", {"percentile": 90}),
        ("std", "float32", {"deviations": 2}),
        ("entropy", "float32", {"bins": 64, "levels": 8}),
        ("mse", "float16", {}),
    ],
)
def test_one_range_for_all_is_that_of_the_array_itself(monkeypatch, chunks, scheme, method, dtype, options):
    monkeypatch.setattr(channels, "PIECE", 9)
    monkeypatch.setattr(percentile, "_FEW", 3)
    x = np.asarray(bq.convert(X, dtype))
    x[7, 3] = np.nan
    words = {"scheme": scheme, "bits": 4, "nonfinite": "saturate", **options}
    found = bitquant.dask.calibrate(da.from_array(x, chunks=chunks), method, **words)
    expected = bq.calibrate(x, method, **words)
    assert (found, found.scale, found.zero_point) == (expected, expected.scale, expected.zero_point)
    assert found.certificate == expected.certificate
    with pytest.raises(bq.BitquantError, match=r"x has NaN at index \(7, 3\)"):
        bitquant.dask.calibrate(da.from_array(x, chunks=chunks), method, **words | {"nonfinite": "raise"})


def test_the_examples_of_the_page_run():
    page = Path(__file__).parent.parent / "docs/dask.md"
    failures, tried = doctest.testfile(str(page), module_relative=False)
    assert tried
    assert failures == 0


def test_options_of_a_method_are_handed_on():
    array = da.from_array(X, chunks=(5, 7))
    found = bitquant.dask.calibrate(array, "percentile", "asymmetric", axis=0, percentile=90, significand_bits=3)
    observer = bq.Observer("histogram", "asymmetric", axis=0, significand_bits=3).observe(X)
    assert repr(found) == repr(observer.range("percentile", percentile=90))


def test_what_is_no_dask_array_of_floats_is_refused():
    for x, words in (
        (X, "not a dask array"),
        (da.from_array(np.arange(3)), "not a floating one"),
        (da.from_array(X, chunks=4)[da.from_array(X, chunks=4) > 0], "compute_chunk_sizes"),
        (da.from_array(np.zeros((0, 3), np.float32)), "is empty"),
    ):
        with pytest.raises(bq.BitquantError, match=words):
            bitquant.dask.quantize(x)
    with pytest.raises(bq.BitquantError, match="not rounded at random"):
        bitquant.dask.quantize(da.from_array(X), rounding=bq.Stochastic(8))
    with pytest.raises(bq.BitquantError, match="method"):
        bitquant.dask.calibrate(da.from_array(X), "lp")
    with pytest.raises(bq.BitquantError, match="axis=5"):
        bitquant.dask.calibrate(da.from_array(X), axis=5)


@contextmanager
def two_workers():
    quiet = {"distributed.nanny": "critical", "distributed.worker": "critical", "distributed.scheduler": "critical"}
    with (
        dask.config.set({"logging": quiet, "distributed.scheduler.allowed-failures": 10}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=60
        ) as cluster,
    ):
        yield cluster


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_lost_with_a_worker_that_is_killed_in_the_middle():
    def slowly(chunk):
        """A chunk that takes its time, so that there is a middle of the run; in here, so that it travels by value."""
        time.sleep(0.05)
        return chunk

    x = RNG.standard_normal((64, 500)).astype(np.float32)
    expected = bq.quantize(x, axis=0)
    with two_workers() as cluster, distributed.Client(cluster) as client:
        pids = client.run(os.getpid)
        assert len(set(pids.values())) == 2
        slow = da.from_array(x, chunks=(4, 250)).map_blocks(slowly, dtype=x.dtype)
        with dask.config.set(scheduler="distributed"):
            found = bitquant.dask.quantize(slow, axis=0)
            running = client.compute(found.codes)
            while not any(client.processing().values()):
                time.sleep(0.01)
            time.sleep(0.3)
            assert not running.done()
            os.kill(next(iter(pids.values())), signal.SIGKILL)
            codes = running.result(timeout=60)
            assert np.array_equal(codes, expected.codes)
            assert found.compute().exact_scale == expected.exact_scale
            calibrating = bitquant.dask.calibrate(slow, "mse")
            quick = da.from_array(x, chunks=(32, 250))
            walked = {method: bitquant.dask.calibrate(quick, method) for method in ("percentile", "std", "entropy")}
        survivors = set(client.run(os.getpid).values())
        assert next(iter(pids.values())) not in survivors
    assert repr(calibrating) == repr(bq.Observer("histogram", "symmetric").observe(x).range())
    assert walked == {method: bq.calibrate(x, method) for method in walked}


def sharded_model(folder, shards, numbers):
    """A model of several files and its index."""
    where = {}
    for k in range(shards):
        name = f"model-{k}.safetensors"
        w = RNG.standard_normal((numbers // 256, 256)).astype(np.float32)
        write_tensors(folder / name, {f"layer.{k}.w": w, f"layer.{k}.b": w[0].astype(np.float16)})
        where |= {f"layer.{k}.w": name, f"layer.{k}.b": name}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("given", ["index", "loose", "loose, converted"])
def test_files_are_written_by_workers_one_of_which_is_killed(tmp_path, given):
    pytest.importorskip("safetensors")
    pytest.importorskip("typer")
    for name in ("in", "one", "many"):
        (tmp_path / name).mkdir()
    index = sharded_model(tmp_path / "in", 12, 1 << 21)
    how = ["--to", "bfloat16"] if "converted" in given else ["--axis", "0", "--rule", "*.b: bits=4"]
    inputs, made = ([index], index.name) if given == "index" else (sorted(index.parent.glob("*.safetensors")), "")
    command = [sys.executable, "-m", "bitquant", "convert" if "converted" in given else "quantize", *inputs, *how]
    command += ["--json", "-o"]
    alone = subprocess.run([*command, tmp_path / "one" / made], capture_output=True, text=True, check=True)
    with two_workers() as cluster, distributed.Client(cluster) as client:
        pids = list(client.run(os.getpid).values())
        shared = [*command, tmp_path / "many" / made, "--dask", cluster.scheduler_address]
        running = subprocess.Popen(shared, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while running.poll() is None and not list((tmp_path / "many").glob(".*.part/*.safetensors.json")):
            time.sleep(0.002)
        os.kill(pids[0], signal.SIGKILL)
        assert len(list((tmp_path / "many").glob(".*.part/*.safetensors.json"))) < 12
        out, error = running.communicate(timeout=100)
        assert running.returncode == 0, error
        assert pids[0] not in client.run(os.getpid).values()
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == files
    assert len(files) == 12 + (given == "index")
    for name in files:
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    one, many = json.loads(alone.stdout), json.loads(out)
    assert one["tensors"] == many["tensors"]
    assert one["totals"] == many["totals"]


@pytest.mark.filterwarnings("ignore")
def test_what_dask_cannot_do_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    pytest.importorskip("typer")
    from test_cli import bitquant as command

    monkeypatch.setattr(bitquant.dask, "_PATIENCE", 0.5)
    index = sharded_model(tmp_path, 2, 512)
    output = tmp_path / "out.safetensors.index.json"
    (tmp_path / "out").mkdir()
    status, _, error = command("quantize", index, "-o", output, "--dask", "tcp://127.0.0.1:9")
    assert status == 2
    assert "no dask scheduler answers at tcp://127.0.0.1:9" in error
    broken = tmp_path / "model-1.safetensors"
    write_tensors(broken, {"layer.1.w": np.float32([[1, np.nan]]), "layer.1.b": np.float16([1])}, overwrite=True)
    with two_workers() as cluster:
        address = cluster.scheduler_address
        single = ("quantize", broken, "-o", tmp_path / "out.npz", "--dask", address)
        assert "file by file" in command(*single)[2]
        status, _, error = command("quantize", index, "-o", tmp_path / "out" / index.name, "--dask", address)
    assert status == 2
    assert "'layer.1.w'" in error
    assert "NaN" in error
    assert list((tmp_path / "out").glob("*.safetensors")) == []
