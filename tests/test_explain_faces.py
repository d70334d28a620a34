"""The faces of an explanation: the command at several widths, HTML, JSON, other libraries; one content in all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fractions import Fraction
from html import escape
from pathlib import Path

import numpy as np
import pytest

import bitquant as bq
from bitquant.explaining.content import sections
from bitquant.explaining.html import page
from test_cli import bitquant, fails, works

KEPT = Path(__file__).parent / "explanations"
COMMAND = ("explain", "0.1", "-1/3", "--to", "fp16", "int8", "--low", "-0.3", "--high", "1")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
CASES = {
    "plain": ("0.1", "float16", {}),
    "tie": ("1.00048828125", "float16", {}),
    "subnormal": ("1e-7", "float16", {"rounding": "toward_positive"}),
    "carry": ("1.9999", "float16", {}),
    "overflow": ("1e6", "float16", {}),
    "infinity": ("-inf", "float8_e4m3fn", {}),
    "nan": ("32'h7F800001", "float16", {}),
    "zero": ("-0", "int8", {}),
    "codebook": ("0.3", "nf4", {}),
    "chance": ("0.3", "bfloat16", {"rounding": bq.Stochastic(8, seed=3)}),
    "symmetric": ("2", "int8", {"amax": 1}),
    "asymmetric": ("1/3", "uint8", {"low": -1, "high": "1.5"}),
    "block": ([1.0, -2.5, 0.3], "nvfp4", {"element": 1}),
    "path": ("1.00390625000001", "bfloat16", {"via": ["float64", "float32"]}),
}


@pytest.fixture(params=CASES)
def case(request):
    value, fmt, options = CASES[request.param]
    return bq.explain(value, fmt, **options)


@pytest.mark.parametrize("colour", [False, True], ids=["plain", "colour"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_command_prints_what_is_kept(width, colour):
    env = {"COLUMNS": str(width), "FORCE_COLOR": "1", "TERM": "xterm", "NO_COLOR": None if colour else "1"}
    printed = works(*COMMAND, env=env)
    kept = KEPT / f"{width}{'_colour' if colour else ''}.txt"
    assert printed == kept.read_text()
    lines = ANSI.sub("", printed).splitlines()
    assert max(map(len, lines)) <= width
    assert ("\x1b[3" in printed) == colour


def test_colour_is_never_all_that_tells():
    plain, colour = ((KEPT / name).read_text() for name in ("80.txt", "80_colour.txt"))
    assert ANSI.sub("", colour) == ANSI.sub("", plain)
    assert "s eeeee mmmmmmmmmm" in colour or "eeeee" in ANSI.sub("", colour)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_text_keeps_to_its_width_and_loses_nothing(case, width):
    text = case.text(width)
    assert max(map(len, text.splitlines())) <= width
    together = re.sub(r"\s", "", text)
    for section in sections(case):
        assert re.sub(r"\s", "", section.title) in together
        for row in section.rows:
            if not row.under:
                assert re.sub(r"\s", "", "".join(part.text for part in row.parts)) in together


def test_html_says_what_text_says(case):
    html = case._repr_html_()
    bare = re.sub(r"<style>.*?</style>|<[^>]+>", "", html, flags=re.DOTALL)
    for section in sections(case):
        for row in section.rows:
            assert escape("".join(part.text for part in row.parts)) in bare
    assert ("<svg" in html) == (case.result.kind == "finite")


def test_html_is_valid_and_fetches_nothing(case):
    html5lib = pytest.importorskip("html5lib")
    whole = page([case, case])
    html5lib.HTMLParser(strict=True).parse(whole)
    html5lib.HTMLParser(strict=True).parseFragment(case._repr_html_(), container="div")
    assert not re.search(r"https?://|src=|<script|@import|url\(", whole)


def test_what_is_given_is_escaped():
    e = bq.explain(" 1 ", "float16")
    assert "<" not in e.given.text
    html = page([e])
    assert "<title>1 → float16, nearest_even</title>" in html


def test_json_holds_every_figure(case):
    data = json.loads(json.dumps(case.to_dict(), allow_nan=False))
    assert data["code"] == case.code
    assert data["flags"] == list(case.flags)
    if case.rounding is not None:
        assert Fraction(data["rounding"]["dropped"]) == case.rounding.dropped
    if case.error is not None:
        assert Fraction(data["error"]["absolute"]) == case.error.absolute
    if case.value is not None:
        assert Fraction(data["number"]["rational"]) == case.value


def test_a_page_is_written_once(tmp_path):
    path = tmp_path / "page.html"
    e = bq.explain("0.1", "float16")
    path.write_text(e.to_html())
    assert path.read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(bq.BitquantError, match="is there already"):
        e.to_html(path)
    assert "overwriting" in fails("explain", "0.1", "--to", "fp16", "--html", path)
    works("explain", "0.2", "--to", "fp16", "bf16", "--html", path, "--force")
    assert path.read_text().count("<h3>") == 2


def test_the_command_and_the_library_say_the_same():
    data = json.loads(works("explain", "-0.1", "--to", "fp16", "--rounding", "toward_negative", "--json"))
    assert data == bq.explain("-0.1", "float16", rounding="toward_negative").to_dict()
    data = json.loads(works("explain", "1", "-2.5", "0.3", "--to", "mxfp4", "--element", "1", "--json"))
    assert data == bq.explain([1.0, -2.5, 0.3], "mxfp4", element=1).to_dict()
    data = json.loads(works("explain", "0.1", "--path", "fp64,fp32,bf16", "--json"))
    assert data == bq.explain("0.1", "bfloat16", via="fp64,fp32").to_dict()
    options = ("--rounding", "stochastic", "--bits", "4", "--random", "9")
    data = json.loads(works("explain", "0.1", "--to", "bf16", *options, "--json"))
    assert data == bq.explain("0.1", "bfloat16", rounding=bq.Stochastic(4, random=9)).to_dict()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("0.1",), "say what the number becomes"),
        (("0.1", "--to", "fp17"), "no format is called"),
        (("0.1", "--to", "fp16", "--amax", "1"), "name one of 2 to 8 bits"),
        (("0.1", "--to", "fp16", "--compare", "abacus"), "cannot be asked"),
        (("zero", "--to", "fp16"), "is no number"),
        (("nan", "--to", "int8"), "has no NaN"),
    ],
)
def test_errors_are_one_line(arguments, says):
    assert says in fails("explain", *arguments)


def test_help_lists_the_command():
    status, out, _ = bitquant("--help")
    assert status == 0
    assert "explain" in out


def test_other_libraries_are_asked():
    e = bq.explain(np.float32(0.1), "float16").compare("numpy", "ml_dtypes")
    assert [answer.same for answer in e.answers] == [True, True]
    assert "the same" in str(e)
    e = bq.explain("0.1", "float16", rounding="toward_positive").compare("numpy")
    assert (e.answers[0].code, e.answers[0].same) == (0x2E66, False)
    assert "differs" in str(e)
    assert e.compare("numpy").answers[0].note == "given as float64, which rounds it first"
    missing = bq.explain("0.1", "float8_e4m3fn").compare("numpy").answers[0]
    assert (missing.code, missing.note) == (None, "has no way from float64 to float8_e4m3fn")


def test_torch_is_asked():
    pytest.importorskip("torch")
    e = bq.explain(np.float32(1e6), "float8_e4m3fn").compare("torch", "ml_dtypes")
    assert [answer.code for answer in e.answers] == [0x7E, 0x7F]
    e = bq.explain(np.float32(0.3), "int8", amax=1).compare("torch")
    assert e.answers[0].same


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(bq.BitquantError, match="torch is not installed: pip install torch"):
        bq.explain("0.1", "float16").compare("torch")


def test_explaining_opens_no_other_library():
    program = (
        "import sys, bitquant; bitquant.explain('0.1', 'float16').text(); "
        "print([m for m in ('torch', 'typer', 'rich', 'bitquant.blocks') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
