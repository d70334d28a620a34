"""The bitquant command: what it writes is what the library gives, what it prints is true, errors are one line."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from typer.testing import CliRunner

import bitquant as bq
from bitquant.calibrate import calibrate
from bitquant.cli import show, tour
from bitquant.cli import tensors as tensors_of_cli
from bitquant.cli.app import app
from bitquant.data import DigitsModel, load_digits_model
from bitquant.files import load_quantized, read_tensors, write_tensors

RNG = np.random.default_rng(7)
W = RNG.standard_normal((4, 6)).astype(np.float32)
TENSORS = {
    "w": W,
    "b": RNG.standard_normal(6).astype(np.float32) * np.float32(1e-39),
    "half": np.float16([1.5, -2.0]),
    "brain": np.array([1.0, -3.0], np.float32).astype(ml_dtypes.bfloat16),
    "double": np.float64([0.1, 1e30]),
    "scalar": np.array(3.7, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "ids": np.int64([1, 2**60]),
    "mask": np.array([True, False]),
    "tokens": np.uint8([7, 255]),
    "eighth": np.array([0.5, -448.0, 2.0**-9], np.float32).astype(ml_dtypes.float8_e4m3fn),
}
FLOATS = ("w", "b", "half", "brain", "double", "scalar", "empty", "eighth")
KEPT = ("ids", "mask", "tokens")
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def bitquant(*arguments, env=None):
    """Run a command in this process: exit status, standard output, standard error."""
    environment = {"COLUMNS": None, "FORCE_COLOR": None, "NO_COLOR": None, **(env or {})}
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def works(*arguments, env=None):
    status, out, err = bitquant(*arguments, env=env)
    assert (status, err) == (0, "")
    return out


def fails(*arguments):
    """The one line of an error."""
    status, out, err = bitquant(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("bitquant: ")
    assert err.count("\n") == 1
    return err


def process(*arguments, **options):
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR", "NO_COLOR")}
    environment |= options.pop("env", {})
    return subprocess.run(
        [sys.executable, "-m", "bitquant", *map(str, arguments)],
        capture_output=True, text=True, env=environment, check=False, **options,
    )  # fmt: skip


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.npz"
    write_tensors(path, TENSORS, {"made by": "a test"})
    return path


# --- The process --------------------------------------------------------------------------------------------


def test_python_m_bitquant_runs():
    done = process("formats", "fp16")
    assert (done.returncode, done.stderr) == (0, "")
    assert "65504" in done.stdout


def test_an_error_is_one_line_on_standard_error_and_status_2(tmp_path):
    done = process("convert", tmp_path / "missing.npz", "-o", tmp_path / "out.npz", "--to", "bf16")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"bitquant: there is no file {tmp_path}/missing.npz: check the name\n"


def test_an_error_of_usage_has_no_traceback():
    done = process("convert", "a.npz")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "--output" in done.stderr or "-o" in done.stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_cli_extra_one_line_says_what_to_install(missing):
    program = f"import sys; sys.modules[{missing!r}] = None; import bitquant.cli; bitquant.cli.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bitquant: the command line needs typer and rich: pip install 'bitquant[cli]'\n"


def test_starting_imports_no_tensor_library():
    program = (
        "import sys; sys.argv = ['bitquant', 'formats']\n"
        "try:\n    from bitquant.cli import main; main()\n"
        "finally:\n    print(sorted({'torch', 'safetensors', 'jax', 'rich.progress'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_and_every_command_has_help():
    assert works("--version") == f"bitquant {bq.__version__}\n"
    for command in ("tour", "formats", "convert", "quantize", "vectors"):
        assert command in works("--help")
        assert "--help" in works(command, "--help")


def test_a_reader_who_leaves_early_gets_no_traceback():
    done = subprocess.run(
        f"{sys.executable} -m bitquant tour | head -1", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("bitquant tour")
    assert "Traceback" not in done.stderr


# --- dialects -----------------------------------------------------------------------------------------------


def test_dialects_lists_every_row_and_tells_all_of_one():
    from bitquant.dialects import dialects
    from bitquant.dialects.quantizers import quantizers

    *lines, note = works("dialects").splitlines()
    assert note.startswith("All of one: bitquant dialects NAME.")
    every = [row.name for row in (*quantizers(), *dialects())]
    assert [line.split()[0] for line in lines] == every
    told = works("dialects", "ONNXRuntime", "x86_f16c")
    for part in ("round_even(fclamp(x / step, qmin - zero_point, qmax - zero_point)) + zero_point", "VCVTPS2PH"):
        assert part in told
    rows = json.loads(works("dialects", "torch", "--json"))
    assert [(row["of"], row["name"]) for row in rows] == [("quantize", "torch"), ("convert", "torch")]
    assert "no dialect is called 'nobody'" in fails("dialects", "nobody")


# --- formats ------------------------------------------------------------------------------------------------


def test_formats_lists_every_row_of_the_table_in_its_order_and_says_how_to_see_more():
    head, *lines = works("formats").splitlines()
    rows, note = lines[:-1], lines[-1]
    assert head.split() == ["format", "bits", "e/m/bias", "max", "smallest", "epsilon", "decades"]
    assert [line.split()[0] for line in rows] == [fmt.name for fmt in bq.formats()]
    cells = {line.split()[0]: line.split()[1:] for line in rows}
    assert cells["float16"] == ["16", "5/10/15", "65504", "5.96e-08", "0.0009766", "12.0"]
    assert cells["float8_e4m3fn"] == ["8", "4/3/7", "448", "0.001953", "0.125", "5.4"]
    assert cells["uint64"] == ["64", "–", "1.845e+19", "1", "1", "19.3"]
    assert cells["nf4"] == ["4", "–", "1", "0.07958", "–", "1.1"]
    assert note.startswith("All of one: bitquant formats NAME.")
    for name in re.findall(r"\b(binary8p3se|e5m3b12|e5m3)\b", note):
        works("formats", name)


def test_formats_with_names_tells_all_of_each():
    first, second = works("formats", "e4m3fn", "nf4").split("\n\n")
    assert first.splitlines()[0] == "float8_e4m3fn  also e4m3fn"
    told = {line[:20].strip(): line[20:] for line in first.splitlines()[1:]}
    assert told["bits"] == "8: sign, 4 exponent (bias 7), 3 significand"
    assert told["values"] == "253, from -448 to 448"
    assert told["smallest normal"] == "0.015625 = 2^-6"
    assert told["smallest positive"] == "0.00195312 = 2^-9"
    assert (told["zero"], told["infinity"], told["NaN"]) == ("+0 and −0", "none", "7F and FF")
    assert told["overflow rules"] == "ieee, saturate, saturate_finite, nan, raise"
    assert told["arrays"] == "of float8_e4m3fn"
    assert second.startswith("nf4  also normalfloat4\n")
    assert "-1 -0.6961928 -0.5250731" in second
    assert "of uint8, as codes" in second


# name, what its description has
DESCRIBED = [
    ("half", ["float16", "65504", "2^-14", "2^-24", "7C00 and FC00", "without payload 7E00", "IEEE 754-2019"]),
    ("e4m3fnuz", ["80, which would be −0", "zero              one", "255, from -240 to 240"]),
    ("e8m0", ["no sign, 8 exponent (bias 127), 0 significand", "zero              none", "2^-127", "FF"]),
    ("int4", ["4, two's complement", "16, from -8 to 7", "saturate, wrap, indefinite, raise"]),
    ("uint64", ["from 0 to 1.84467441e+19"]),
    ("Binary8p3SE", ["binary8p3se", "bias 16", "7F and FF", "80, which would be −0", "253, from -49152 to 49152"]),
    ("binary8p3ue", ["no sign, 6 exponent (bias 32)", "infinity          FE", "NaN               FF"]),
    ("e5m3", ["exmy(5, 3)", "9: sign, 5 exponent (bias 15), 3 significand", "0F8 and 1F8", "of uint16, as codes"]),
    ("e5m3b12", ["exmy(5, 3, bias=12)", "bias 12"]),
    ("exmy(2, 1, nan=None)", ["float4_e2m1fn", "15, from -6 to 6"]),
    ("exmy(3, 4, nan='all_ones', signed=False)", ["7: no sign", "NaN               7F"]),
    ("tf32", ["tfloat32", "19: sign, 8 exponent", "of uint32, as codes"]),
]


@pytest.mark.parametrize(("name", "parts"), DESCRIBED)
def test_formats_describes_any_format_by_name(name, parts):
    told = works("formats", name)
    assert [part for part in parts if part not in told] == []
    assert max(map(len, works("formats", name, env={"COLUMNS": "80"}).splitlines())) <= 80


def test_formats_as_json_has_the_exact_values_of_the_rows():
    rows = json.loads(works("formats", "--json"))
    facts = (
        "name bits exponent_bits significand_bits bias max min epsilon decades smallest_normal finite_count nan zero "
    )
    facts += "infinity nan_code infinity_code largest_code signed signed_zero ties"
    for row, fmt in zip(rows, bq.formats(), strict=True):
        for fact in facts.split():
            value = getattr(fmt, fact)
            assert row[fact] == ("nan" if value != value else value), fact
        assert row["dtype"] == (None if fmt.dtype is None else fmt.dtype.name)
        assert (row["values"], row["aliases"]) == (list(fmt.values), list(fmt.aliases))
    assert rows[-3]["max"] == 2**64 - 1


def test_formats_takes_names_and_aliases_and_refuses_others():
    names = ["bf16", "half", "binary8p3se", "e5m3", "exmy(5, 3, nan=None)"]
    assert [row["name"] for row in json.loads(works("formats", *names, "--json"))] == [
        "bfloat16", "float16", "binary8p3se", "exmy(5, 3)", "exmy(5, 3, nan=None)",
    ]  # fmt: skip
    assert "'float33'" in fails("formats", "float33")
    assert "P from 1 to 7" in fails("formats", "binary8p9se")
    assert "1 to 11 exponent bits" in fails("formats", "e12m3")


def test_tables_keep_to_80_columns_where_the_width_is_known():
    for arguments in (["formats"], ["formats", *(fmt.name for fmt in bq.formats())]):
        assert max(map(len, works(*arguments, env={"COLUMNS": "80"}).splitlines())) <= 80


# --- convert ------------------------------------------------------------------------------------------------


IN_SAFETENSORS = {"float64", "float32", "float16", "bfloat16", "int8", "uint8", "int16", "uint16", "int32", "uint32"}
IN_SAFETENSORS |= {"int64", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"}
IN_SAFETENSORS |= {"float8_e8m0fnu"}


@pytest.mark.parametrize(
    ("to", "suffix"),
    [
        *(
            (name, ".npz")
            for name in ("float64", "float32", "float16", "float8_e4m3", "float4_e2m1fn", "int2", "uint64")
        ),
        *((name, ".safetensors") for name in ("float16", "bfloat16", "float8_e4m3fn", "float8_e8m0fnu", "int8")),
    ],
)
def test_convert_gives_every_float_tensor_the_bits_of_the_library(tmp_path, source, suffix, to):
    out = tmp_path / f"out{suffix}"
    report = json.loads(works("convert", source, "-o", out, "--to", to, "--json"))
    tensors, metadata = read_tensors(out)
    assert set(tensors) == set(TENSORS)
    assert metadata == {"made by": "a test"}
    for name in FLOATS:
        flags = bq.Flags()
        assert same_bits(tensors[name], np.asarray(bq.convert(TENSORS[name], to, flags=flags)))
        row = next(row for row in report["tensors"] if row["name"] == name)
        counted = {flag: getattr(flags, flag) for flag in ("inexact", "overflow", "underflow", "invalid")}
        assert {flag: row[flag] for flag in counted} == counted
    for name in KEPT:
        assert same_bits(tensors[name], TENSORS[name])
    assert [row["name"] for row in report["kept"]] == list(KEPT)
    assert report["totals"]["numbers"] == sum(TENSORS[name].size for name in FLOATS)
    assert report["totals"]["inexact"] == sum(row["inexact"] for row in report["tensors"])


@pytest.mark.parametrize("to", ["float8_e4m3", "float6_e2m3fn", "float4_e2m1fn", "int4", "float8_e5m2", "int8", "nf4"])
def test_a_file_that_has_no_name_for_a_format_says_so_before_any_work_is_done(tmp_path, source, to):
    fmt = bq.format(to)
    out = tmp_path / "out.safetensors"
    if to in IN_SAFETENSORS or fmt.dtype is None:
        works("convert", source, "-o", out, "--to", to)
        return
    why = (
        f"numbers of {fmt.bits} bits, which do not fill whole bytes" if fmt.is_float and fmt.bits < 8 else "has no name"
    )
    assert re.search(rf"out.safetensors.* {why}.*: write .npz", fails("convert", source, "-o", out, "--to", to))
    assert not out.exists()
    np.save(tmp_path / "w.npy", W)
    message = fails("convert", tmp_path / "w.npy", "-o", tmp_path / "h.npy", "--to", to)
    assert f".npy has no name for {to}: write .npz" in message


@pytest.mark.parametrize(
    "rules",
    [
        {"rounding": "toward_zero"},
        {"rounding": "RTP", "overflow": "saturate"},
        {"subnormals": "flush"},
        {"overflow": "saturate_finite", "nan": "zero"},
        {"threads": 2},
    ],
)
def test_convert_passes_its_rules_on(tmp_path, source, rules):
    options = [word for key, value in rules.items() for word in (f"--{key}", value)]
    works("convert", source, "-o", tmp_path / "out.npz", "--to", "fp16", *options)
    tensors, _ = read_tensors(tmp_path / "out.npz")
    for name in FLOATS:
        assert same_bits(tensors[name], np.asarray(bq.convert(TENSORS[name], "fp16", **rules)))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("to", "values"),
    [("tf32", "float32"), ("nf4", "float32"), ("e5m3", "float32"), ("binary8p3se", "float32"),
     ("binary8p3ue", "float32"), ("exmy(11, 20, nan='ieee')", "float64")],
)  # fmt: skip
def test_convert_to_a_format_without_a_dtype_writes_its_values(tmp_path, source, suffix, to, values):
    path = tmp_path / f"out{suffix}"
    out = works("convert", source, "-o", path, "--to", to)
    assert f"tensors to {bq.format(to).name} (as {values}, which holds each of its numbers)" in out
    tensors, _ = read_tensors(path)
    for name in FLOATS:
        assert same_bits(tensors[name], np.asarray(bq.decode(bq.encode(TENSORS[name], to), to, values)))
        assert np.array_equal(bq.convert(bq.encode(tensors[name], to), values, to), tensors[name], equal_nan=True)


def test_convert_shows_the_flags_of_each_tensor(tmp_path, source):
    lines = works("convert", source, "-o", tmp_path / "out.npz", "--to", "fp16").splitlines()
    assert lines[0].split() == ["tensor", "shape", "from", "inexact", "overflow", "underflow", "invalid"]
    assert next(line for line in lines if line.startswith("b ")).split() == ["b", "6", "float32", "6", "0", "6", "0"]
    assert next(line for line in lines if line.startswith("double")).split() == [
        "double",
        "2",
        "float64",
        "2",
        "1",
        "0",
        "0",
    ]
    assert "kept as they are: ids (int64), mask (bool), tokens (uint8)" in lines


def test_convert_of_one_npy_writes_one_npy(tmp_path):
    np.save(tmp_path / "w.npy", W)
    works("convert", tmp_path / "w.npy", "-o", tmp_path / "h.npy", "--to", "fp16")
    assert same_bits(np.load(tmp_path / "h.npy"), W.astype(np.float16))


# --- quantize -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {}),
        (["--scheme", "asymmetric"], {"scheme": "asymmetric"}),
        (["--scheme", "asymmetric", "--include-zero"], {"scheme": "asymmetric", "include_zero": True}),
        (["--bits", "4"], {"bits": 4}),
        (["--bits", "3", "--unsigned"], {"bits": 3, "signed": False}),
        (["--full"], {"narrow": False}),
        (["--scheme", "asymmetric", "--narrow"], {"scheme": "asymmetric", "narrow": True}),
        (["--rounding", "toward_zero"], {"rounding": "toward_zero"}),
        (["--step-format", "fp32"], {"step_format": "fp32"}),
        (["--range", "-0.5", "0.5"], {"range": (-0.5, 0.5)}),
        (["--range", "-0.5", "1"], {"range": (-0.5, 1), "scheme": "asymmetric"}),
        (["--scheme", "clipped", "--range", "-0.5", "1"], {"range": (-0.5, 1), "scheme": "asymmetric"}),
        (["--scheme", "symmetric", "--range", "-0.5", "1"], {"range": (-0.5, 1)}),
        (["--threads", "2"], {}),
        (["--axis", "0"], {"axis": 0}),
        (["--axis", "-1"], {"axis": -1}),
        (["--group", "8"], {"group_size": 8}),
        (["--group", "3", "--axis", "0"], {"group_size": 3, "axis": 0}),
        (["--calibrate", "mse", "--bits", "4"], {"method": "mse", "bits": 4}),
        (["--calibrate", "percentile", "--axis", "0"], {"method": "percentile", "axis": 0}),
        (["--calibrate", "std", "--scheme", "asymmetric"], {"method": "std", "scheme": "asymmetric"}),
    ],
)
def test_quantize_writes_the_codes_of_the_library(tmp_path, source, options, expected):
    out = tmp_path / "q.safetensors"
    report = json.loads(works("quantize", source, "-o", out, *options, "--json"))
    items, metadata = load_quantized(out)
    assert metadata == {"made by": "a test"}
    assert [row["name"] for row in report["tensors"]] == [name for name in FLOATS if name != "empty"]
    for row in report["tensors"]:
        x, keywords = TENSORS[row["name"]], dict(expected)
        if x.ndim < 2:
            keywords.pop("axis", None)
            keywords.pop("group_size", None)
        if "method" in keywords:
            keywords["range"] = calibrate(x, keywords.pop("method"), **keywords)
        made = bq.quantize(x, **keywords)
        item = items[row["name"]]
        assert same_bits(item.codes, np.asarray(made.codes))
        assert item.scale == made.exact_scale
        error = made.error(x)
        assert (row["mse"], row["max_abs"], row["clipped"]) == (error.mse, error.max_abs, error.clipped)
        assert float(row["sqnr_db"]) == error.sqnr_db
        assert row["bytes_before"] == x.nbytes
        stored, _ = read_tensors(out)
        parts = (stored[f"{row['name']}{part}"] for part in ("", ".step", ".zero_point", ".range"))
        assert row["bytes_after"] == sum(part.nbytes for part in parts)
    assert report["totals"]["bytes_after"] == sum(row["bytes_after"] for row in report["tensors"])
    assert {row["name"]: row["reason"] for row in report["kept"]} == {
        "empty": "empty", "ids": "int64", "mask": "bool", "tokens": "uint8",
    }  # fmt: skip
    assert same_bits(items["ids"], TENSORS["ids"])


def test_quantize_says_in_the_row_which_tensor_got_one_step_for_all(tmp_path, source):
    lines = works("quantize", source, "-o", tmp_path / "q.npz", "--axis", "0").splitlines()
    assert "4 steps" in next(line for line in lines if line.startswith("w "))
    assert "1-D: one step for all" in next(line for line in lines if line.startswith("b "))
    assert "0-D: one step for all" in next(line for line in lines if line.startswith("scalar "))


def test_quantize_chooses_tensors_by_pattern(tmp_path, source):
    def chosen(*options):
        report = works("quantize", source, "-o", tmp_path / "q.npz", "--force", "--json", *options)
        return [row["name"] for row in json.loads(report)["tensors"]]

    assert chosen("--only", "w") == ["w"]
    assert chosen("--only", "b*") == ["b", "brain"]
    assert chosen("--only", "b*", "--only", "w", "--skip", "brain") == ["w", "b"]
    assert "B" not in chosen("--skip", "[!w]*")


def test_quantize_prints_a_row_for_each_tensor_and_the_totals(tmp_path):
    write_tensors(tmp_path / "in.npz", {"w": np.float32([1, -0.5, 127]), "v": np.float32([0.1, 1])})
    out = works("quantize", tmp_path / "in.npz", "-o", tmp_path / "q.npz")
    head, *rows, totals, worst, written = out.splitlines()
    assert head.split() == [
        "tensor",
        "shape",
        "bytes",
        "step",
        "zero",
        "mse",
        "max",
        "error",
        "SQNR",
        "dB",
        "clipped",
        "cosine",
    ]
    assert rows[0].split() == ["w", "3", "12", "→", "23", "1", "0", "0.0833", "0.5", "48.1", "0", "0.999992"]
    assert totals == "2 tensors, 5 numbers: 20 → 45 bytes, 2.25 times larger"
    assert worst.startswith("lowest SQNR")
    assert written == f"written: {tmp_path}/q.npz"


def test_an_exact_result_has_infinite_sqnr_in_valid_json(tmp_path):
    write_tensors(tmp_path / "in.npz", {"w": np.float32([127, -127])})
    out = works("quantize", tmp_path / "in.npz", "-o", tmp_path / "q.npz", "--json")
    report = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert report["tensors"][0]["sqnr_db"] == "inf"
    assert "inf" in works("quantize", tmp_path / "in.npz", "-o", tmp_path / "q.npz", "--force")


def test_rows_are_cut_in_two_where_they_do_not_fit(tmp_path, source):
    for options in ([], ["--axis", "0"], ["--scheme", "asymmetric"]):
        arguments = ["quantize", source, "-o", tmp_path / "q.npz", "--force", "--only", "[wb]", *options]
        out = works(*arguments, env={"COLUMNS": "80"})
        assert max(len(line) for line in out.splitlines() if not line.startswith("written")) <= 80
        assert out.count("SQNR dB") == 1


@pytest.mark.parametrize("command", ["quantize", "convert"])
def test_names_are_cut_where_a_row_in_two_does_not_fit(tmp_path, command):
    names = [f"model.layers.{k}.{'x' * 60}.weight" for k in (1, 22)]
    np.savez(tmp_path / "in.npz", b=W, **dict.fromkeys(names, W))
    to = ["--to", "bfloat16"] if command == "convert" else []
    arguments = [command, tmp_path / "in.npz", "-o", tmp_path / "q.npz", "--force", *to]
    lines = [line for line in works(*arguments, env={"COLUMNS": "60"}).splitlines() if "…" in line]
    assert [len(line) <= 60 and "xxx.weight" in line for line in lines] == [True, True]
    assert all(name in works(*arguments) for name in names)


def test_quantize_follows_rules_and_recipes_and_the_command_line_wins(tmp_path, source):
    (tmp_path / "r.toml").write_text('bits = 4\nscheme = "asymmetric"\n[[rule]]\nmatch = "b*"\nskip = true\n')
    arguments = ["-o", tmp_path / "q.npz", "--recipe", tmp_path / "r.toml", "--bits", "6", "--rule", "h*: bits=3"]
    report = json.loads(works("quantize", source, *arguments, "--json"))
    assert {row["name"]: (row["bits"], row["scheme"]) for row in report["tensors"]} == {
        name: (3 if name == "half" else 6, "asymmetric") for name in ("w", "half", "double", "scalar", "eighth")
    }
    kept = {row["name"]: row["reason"] for row in report["kept"]}
    assert (kept["b"], kept["brain"]) == ("skipped by a rule", "skipped by a rule")


def test_quantize_verifies_and_shows_the_worst(tmp_path, source):
    lines = works("quantize", source, "-o", tmp_path / "q.npz", "--verify", "--worst", "2").splitlines()
    assert "the 2 of lowest SQNR, of 7" in lines
    assert "verified: what was written gives the same numbers, bit for bit" in lines
    shown = [float(line.split()[-3]) for line in lines[1:3]]
    assert shown == sorted(shown)


def test_quantize_writes_the_layout_of_compressed_tensors(tmp_path):
    write_tensors(tmp_path / "in.safetensors", {"up.weight": W, "up.bias": W[0]})
    (tmp_path / "o").mkdir()
    arguments = ["-o", tmp_path / "o" / "model.safetensors", "--layout", "compressed-tensors", "--bits", "4"]
    out = works("quantize", tmp_path / "in.safetensors", *arguments)
    assert "kept as they are: up.bias (no weight of a module)" in out
    assert set(read_tensors(tmp_path / "o" / "model.safetensors")[0]) == {
        "up.weight_packed", "up.weight_scale", "up.weight_shape", "up.bias",
    }  # fmt: skip
    assert "exists" in fails("quantize", tmp_path / "in.safetensors", *arguments)


def test_a_long_run_writes_lines_in_a_log(tmp_path, source, monkeypatch, capsys):
    log = tensors_of_cli._Log("quantizing", 400)
    clock = iter([5.0, 11.0, 21.0])
    monkeypatch.setattr(tensors_of_cli.time, "monotonic", lambda: next(clock))
    log.began = log.told = 0.0
    for name in ("a", "b\n", "c"):
        log.advance(name, 10**8)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("quantizing: 200 of 0 MB, 18 MB/s")
    assert lines[0].endswith(r"at b\n")


# --- Errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("convert {in} -o {out} --to float33", "no format is called 'float33'"),
        ("convert {in} -o {out} --to fp16 --rounding up", "rounding='up'"),
        ("convert {in} -o {out} --to fp16 --overflow wrap", "'w'.*overflow='wrap'"),
        ("convert {in} -o {out} --to fp16 --threads 0", "threads=0"),
        ("convert {in} -o {in} --to fp16", "is the input itself"),
        ("convert {in} -o {in} --to fp16 --force", "is the input itself"),
        ("convert {in} -o {there} --to fp16", "exists.*--force"),
        ("convert {in} -o {out}.bin --to fp16", "known kind"),
        ("convert {in} -o {out}.npy --to fp16", "one tensor"),
        ("convert {in} -o {dir}/missing/out.npz --to fp16", "no folder"),
        ("convert {dir} -o {out} --to fp16", "is a folder"),
        ("convert {text} -o {out} --to fp16", "no readable .npz"),
        ("convert {ints} -o {out} --to fp16", "no float tensor"),
        ("convert {nan} -o {out} --to int8", r"nan.npz: 'bad' \(from byte \d+\): x has NaN at index 1"),
        ("convert {codes} -o {out} --to fp16", "has been quantized"),
        ("quantize {codes} -o {out}", "has been quantized"),
        ("quantize {nan} -o {out}", r"nan.npz: 'bad' \(from byte \d+\): x has NaN at index 1.*saturate"),
        ("quantize {in} -o {out} --bits 9", "bits=9"),
        ("quantize {in} -o {out} --bits 1", "bits=1"),
        ("quantize {in} -o {out} --scheme upside", "scheme='upside'"),
        ("quantize {in} -o {out} --scheme clipped", "add --range LOW HIGH"),
        ("quantize {in} -o {out} --range 1 -1", "low must not exceed high"),
        ("quantize {in} -o {out} --range nan 1", "finite"),
        ("quantize {in} -o {out} --range -1 1 --axis 0", "one of the two"),
        ("quantize {in} -o {out} --range -1 1 --group 8", "--group finds one per group: give one of the two"),
        ("quantize {in} -o {out} --group 0", "group_size=0"),
        ("quantize {in} -o {out} --calibrate mse --range -1 1", "--calibrate finds a range, and --range gives one"),
        ("quantize {in} -o {out} --calibrate best", "choose minmax, percentile, entropy, std, mse or lp"),
        ("quantize {in} -o {out} --threads 0", "threads=0"),
        ("quantize {in} -o {out} --rule nothing", "not of the form"),
        ("quantize {in} -o {out} --rule '*: bots=4'", "has the word 'bots'"),
        ("quantize {in} -o {out} --recipe {dir}/none.toml", "no readable recipe"),
        ("quantize {in} -o {out} --layout upside", "layout='upside'"),
        ("quantize {in} -o {dir}/q.index.json", "is an index of several files"),
        ("quantize {in} -o {out} --only nothing", "no tensor .* is left"),
        ("quantize {in} -o {out} --step-format int8", "step_format=int8"),
        ("quantize {in} -o {out} --nonfinite maybe", "nonfinite='maybe'"),
        ("quantize {taken} -o {out}", "'w.step'"),
        ("quantize {in} -o {dir}/q.npy", "one tensor"),
        ("tour --save {there}", "exists"),
        ("tour --save {dir}/digits.npy", "one tensor"),
    ],
)  # fmt: skip
def test_errors_are_one_line_and_leave_nothing_behind(tmp_path, source, arguments, words):
    places = {"in": source, "out": tmp_path / "out.npz", "dir": tmp_path}
    places |= {name: tmp_path / f"{name}.npz" for name in ("there", "text", "ints", "nan", "codes", "taken")}
    write_tensors(places["there"], {"x": W})
    places["text"].write_text("not a zip")
    write_tensors(places["ints"], {"x": np.int32([1])})
    write_tensors(places["nan"], {"good": W, "bad": np.float32([0, np.nan])})
    write_tensors(places["taken"], {"w": W, "w.step": W})
    works("quantize", source, "-o", places["codes"])
    before = sorted(os.listdir(tmp_path))
    assert re.search(words, fails(*shlex.split(arguments.format(**places))))
    assert sorted(os.listdir(tmp_path)) == before
    assert same_bits(read_tensors(places["there"])[0]["x"], W)


@pytest.mark.parametrize("command", [["convert", "--to", "fp16"], ["quantize"]])
def test_an_interrupted_command_leaves_nothing_behind(tmp_path, source, monkeypatch, command):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    status, _, err = bitquant(command[0], source, "-o", tmp_path / "out.npz", *command[1:])
    assert status != 0
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["in.npz"]


# --- The screen ---------------------------------------------------------------------------------------------


def test_names_from_a_file_move_no_cursor(tmp_path):
    evil = "\x1b[2Jw\r\n[red]x[/red]"
    write_tensors(tmp_path / "in.npz", {evil: W})
    for arguments in (["convert", "--to", "fp16"], ["quantize"]):
        out = works(arguments[0], tmp_path / "in.npz", "-o", tmp_path / "o.npz", "--force", *arguments[1:])
        assert "\x1b" not in out
        assert r"\x1b[2Jw\r\n[red]x[/red]" in out
    write_tensors(tmp_path / "bad.npz", {evil: np.float32([np.nan])})
    assert "\x1b" not in fails("quantize", tmp_path / "bad.npz", "-o", tmp_path / "o2.npz")


def test_colour_is_for_terminals_and_no_color_is_respected():
    assert not ANSI.search(process("formats").stdout)
    assert ANSI.search(process("formats", env={"FORCE_COLOR": "1"}).stdout)
    coloured = ANSI.findall(process("formats", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout)
    assert all(re.fullmatch(r"\x1b\[[0-9]m", code) for code in coloured)  # bold at most, no colour


def test_the_progress_bar_is_on_a_terminals_standard_error_and_json_stays_clean(tmp_path, source):
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "bitquant", "quantize", source, "-o", tmp_path / "q.npz", "--json"],
        stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}, check=True,
    )  # fmt: skip
    os.close(theirs)
    bar = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "quantizing" in bar
    assert json.loads(done.stdout)["totals"]["tensors"] == 7


@pytest.mark.parametrize(
    ("x", "text"), [(0, "0"), (-0.0, "0"), (65504.0, "65504"), (1e6, "1e+06"), (0.00123456, "0.00123")]
)
def test_numbers_are_short(x, text):
    assert show.number(x) == text


# --- tour ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def story():
    done = process("tour", env={"COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def line_of(story, start):
    return next(line for line in story.splitlines() if line.strip().startswith(start))


def test_the_tour_fits_80_columns_and_two_screens(story):
    assert max(map(len, story.splitlines())) <= 80
    assert len(story.splitlines()) <= 80
    assert not ANSI.search(story)


def test_the_tour_tells_its_story_in_order(story):
    titles = re.findall(r"^(\d)  (.*)$", story, re.MULTILINE)
    assert [int(number) for number, _ in titles] == [1, 2, 3, 4, 5, 6]


def test_the_tour_shows_what_the_library_and_the_model_say(story):
    model = load_digits_model()
    weights = {name: x for name, x in model.tensors.items() if name.endswith("weight")}
    count = sum(x.size for x in model.tensors.values())
    assert f"{count:,}" in story
    for fmt, name in ((bq.FP32, "FP32"), (bq.FP16, "FP16"), (bq.BF16, "BF16"), (bq.INT8, "INT8")):
        row = line_of(story, f"{name}  ").split()
        assert row[1:4] == [str(fmt.bits), str(fmt.exponent_bits), str(fmt.significand_bits)]
        assert row[-1] == f"{fmt.decades:.1f}"
    for label, how in (
        ("INT8 symmetric", bq.symmetric),
        ("INT8 asymmetric", bq.asymmetric),
        ("INT4 symmetric", lambda x: bq.symmetric(x, bits=4)),
    ):
        made = {name: how(x) for name, x in weights.items()}
        share = model.accuracy({name: np.asarray(q.dequantize()) for name, q in made.items()})
        largest = max(q.error(weights[name]).max_abs for name, q in made.items())
        row = line_of(story, f"{label}  ").split()
        assert row[-1] == f"{share:.1%}"
        assert row[-2] == f"{largest:.3g}"


def test_the_planted_outlier_is_said_to_be_planted_and_does_what_is_said(story):
    model = load_digits_model()
    w = model.tensors["layer1.weight"].copy()
    w[0, 32] = 100 * np.abs(w).max()
    assert np.array_equal(model.logits(tensors={"layer1.weight": w}), model.logits())
    told = " ".join(story.split())
    assert "Planted for this tour: layer1.weight[0, 32] = 100 × max|w|" in told
    assert "not one bit of an answer changes" in told
    broken = {name: x for name, x in model.tensors.items() if name.endswith("weight")} | {"layer1.weight": w}
    share = model.accuracy({name: np.asarray(bq.symmetric(x).dequantize()) for name, x in broken.items()})
    assert line_of(story, "INT8, with the outlier").split()[-1] == f"{share:.1%}"
    assert share < 0.2


def test_the_tours_number_goes_through_the_bits_as_the_library_sends_it(story):
    w = load_digits_model().tensors["layer1.weight"]
    x, q = w[3, 20], bq.symmetric(w)
    for fmt, name in ((bq.FP32, "FP32"), (bq.FP16, "FP16"), (bq.BF16, "BF16")):
        row = line_of(story, f"{name} 0 ").split()
        assert int("".join(row[1:4]), 2) == int(bq.encode(x, fmt))
    assert f"= {int(q.codes[3, 20])}, bits {int(q.codes[3, 20]) & 255:08b}" in story


def test_every_figure_of_the_tour_is_computed(monkeypatch):
    """With another model, everything that depends on the model changes; nothing is typed in."""
    model = load_digits_model()
    wrong = DigitsModel({n: -x for n, x in model.tensors.items()}, model.images[:200], model.labels[:200])
    before = works("tour")
    monkeypatch.setattr(tour, "load_digits_model", lambda: wrong)
    after = works("tour")
    assert "99.6%" in before
    assert "99.6%" not in after
    assert "200 images" in " ".join(after.split())


def test_a_plain_tour_is_ascii_and_tells_the_same(story):
    plain = works("tour", "--plain", env={"FORCE_COLOR": "1"})
    assert plain.isascii()
    assert not ANSI.search(plain)
    assert re.findall(r"\d\d\.\d%", plain) == re.findall(r"\d\d\.\d%", story)


def test_a_stream_that_is_ascii_gets_ascii(tmp_path):
    done = process("tour", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


def test_the_commands_that_the_tour_prints_work_as_printed(story, tmp_path):
    commands = re.findall(r"^  (bitquant .*?)(?:  # .*)?$", story, re.MULTILINE)
    assert len(commands) == len(tour.COMMANDS) >= 5
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "bitquant"
        done = process(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), command
    made = {arguments[arguments.index("-o") + 1] for arguments in map(shlex.split, commands) if "-o" in arguments}
    assert set(os.listdir(tmp_path)) == made | {tour.MODEL_FILE}
    model = load_digits_model()
    saved, _ = read_tensors(tmp_path / tour.MODEL_FILE)
    assert all(same_bits(saved[name], tensor) for name, tensor in model.tensors.items())
    items, _ = load_quantized(tmp_path / "int8.npz")
    assert same_bits(items["layer1.weight"].codes, bq.symmetric(model.tensors["layer1.weight"]).codes)


def test_convert_follows_a_dialect(tmp_path):
    x = np.float32([1.0, 1e9, np.inf])
    np.savez(tmp_path / "x.npz", x=x)
    works("convert", tmp_path / "x.npz", "-o", tmp_path / "y.npz", "--to", "float8_e4m3fn", "--dialect", "torch")
    with np.load(tmp_path / "y.npz", allow_pickle=False) as found:
        codes = found["x"].view(np.uint8)
    assert codes.tolist() == bq.encode(x, "float8_e4m3fn", dialect="torch").tolist() == [0x38, 0x7E, 0x7E]
