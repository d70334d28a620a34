"""The lab: its figures are the library's, it serves this machine alone, and refuses what is not asked properly."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from fractions import Fraction
from importlib.resources import files

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
from bitquant.data import load_digits_model
from bitquant.lab import Lab
from bitquant.lab.api import ANSWERS
from bitquant.lab.server import MOST
from bitquant.rules import ROUNDINGS

MODEL = load_digits_model()
PAGE = files("bitquant.lab") / "page"


def asked(address, **question):
    return ANSWERS[f"/api/{address}"](question)


# --- One number ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [fmt.name for fmt in bq.formats()])
def test_a_code_is_told_with_its_bits_fields_and_neighbours(name):
    fmt = bq.format(name)
    last = len(fmt.values) - 1 if fmt.kind == "codebook" else 2**fmt.bits - 1
    for code in {0, 1, last // 3, last // 2, last - 1, last}:
        told = asked("code", format=name, bits=f"{code:0{fmt.bits}b}")
        assert int(told["code"], 16) == int(told["bits"], 2) == code
        assert "".join(f"{int(part['value']):0{part['bits']}b}" for part in told["fields"]) == told["bits"]
        number = np.array(code, fmt.code_dtype).view(fmt.array_dtype) if fmt.dtype is not None else None
        if fmt.is_integer:
            assert int(told["exact"]) == (code - 2**fmt.bits if fmt.signed and code >> (fmt.bits - 1) else code)
            continue
        value = bq.decode(np.array(code, fmt.code_dtype), fmt)
        if told["class"] in ("infinity", "quiet NaN", "signalling NaN"):
            assert not np.isfinite(float(value))
            assert told["exact"] is None
            continue
        assert Fraction(told["exact"]) == Fraction(float(value))
        if number is not None and fmt.is_float:
            assert float(number) == float(value)
            below, above = bq.neighbours(number)
            for side, near in (("below", below), ("above", above)):
                if told[side] is not None:
                    bits = int(np.asarray(near).view(fmt.code_dtype))
                    assert int(told[side]["bits"], 2) == int(told[side]["code"], 16) == bits


@pytest.mark.parametrize("name", [fmt.name for fmt in bq.formats()])
def test_the_text_of_a_number_leads_back_to_it(name):
    fmt = bq.format(name)
    last = len(fmt.values) - 1 if fmt.kind == "codebook" else 2**fmt.bits - 1
    for code in {k * last // 97 for k in range(98)}:
        told = asked("code", format=name, bits=f"{code:0{fmt.bits}b}")
        if told["exact"] is None:
            continue
        for near in (told, told["below"], told["above"]):
            if near is not None and near["value"] not in ("inf", "-inf"):
                assert asked("find", format=name, text=near["value"])["bits"] == near["bits"]


@pytest.mark.parametrize(
    ("name", "bits", "expected"),
    [
        ("float16", "0011110000000000", {"value": "1", "class": "normal", "spacing": "0.0009765625",
         "hex": "0x1p+0", "interval": "[0.999755859375, 1.00048828125]"}),
        ("float16", "0000000000000001", {"value": "5.96046e-08", "class": "subnormal", "rational": "1/2^24"}),
        ("float16", "1000000000000000", {"value": "-0", "class": "zero", "exact": "-0"}),
        ("float16", "0111110000000000", {"value": "inf", "class": "infinity", "spacing": None, "above": None}),
        ("float16", "0111111000000000", {"value": "nan", "class": "quiet NaN", "interval": None, "below": None}),
        ("float16", "0111110000000001", {"value": "nan", "class": "signalling NaN"}),
        ("float8_e4m3fn", "01111111", {"value": "nan", "class": "quiet NaN"}),
        ("float4_e2m1fn", "0111", {"value": "6", "above": None, "interval": "(5, inf]"}),
        ("int8", "10000000", {"value": "-128", "class": "integer", "below": None, "spacing": "1"}),
        ("nf4", "1111", {"value": "1", "class": "codebook", "above": None}),
    ],
)  # fmt: skip
def test_codes_of_every_kind(name, bits, expected):
    told = asked("code", format=name, bits=bits)
    told["interval"] = told["interval"] and told["interval"]["text"]
    assert {key: told[key] for key in expected} == expected


def test_ends_whose_digits_are_cut_are_marked():
    ends = asked("code", format="float32", bits=f"{0x3DCCCCCD:032b}")["interval"]["text"]
    assert ends == "(≈ 0.0999999977648, ≈ 0.100000005215)"


def test_the_words_of_an_interval_say_what_its_brackets_say():
    told = asked("code", format="float16", bits="0011110000000001")["interval"]
    assert told["text"] == "(1.00048828125, 1.00146484375)"
    assert told["words"] == "from 1.00048828125, not included, to 1.00146484375, not included"


def test_the_line_has_the_number_between_its_neighbours_and_the_interval_around_it():
    line = asked("code", format="float16", bits="0100000000000000")["line"]  # 2, where the spacing doubles
    places = {mark["name"]: mark["at"] for mark in line["marks"]}
    assert places == {"this": pytest.approx(1 / 3), "below": 0.0, "above": 1.0}
    assert line["interval"] == pytest.approx([1 / 6, 2 / 3])


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [("float16", "0.1", 0x2E66), ("bfloat16", "1/3", 0x3EAB), ("float16", "0x1.8p-3", 0x3200),
     ("float16", "0x3C01", 0x3C01),
     ("float16", "-0", 0x8000), ("float32", "nan", 0x7FC00000), ("int8", "-3.5", 0xFC), ("float16", "1e9", 0x7C00)],
)  # fmt: skip
def test_a_typed_number_is_found(name, text, code):
    assert int(asked("find", format=name, text=text)["code"], 16) == code


@pytest.mark.parametrize("text", ["0.1", "-2.5", "1e-6", "65520", "3.0517578125e-05", "127.5"])
def test_a_number_is_rounded_as_convert_rounds_it(text):
    names = ["float32", "float16", "bfloat16", "float8_e4m3fn", "float4_e2m1fn", "int8", "uint8", "nf4"]
    told = asked("round", text=text, formats=names, source="float16")
    assert Fraction(told["exact"]) == Fraction(text)
    assert Fraction(told["rational"].replace("2^15", str(2**15))) == Fraction(text)
    for row, name in zip(told["rows"], names, strict=True):
        assert row["format"] == name
        assert [cell["rounding"] for cell in row["cells"]] == list(ROUNDINGS)
        if Fraction(float(text)) != Fraction(text):  # convert would take the nearest FP64
            continue
        for cell in row["cells"]:
            flags = bq.Flags()
            code = bq.encode(float(text), name, rounding=cell["rounding"], flags=flags)
            assert int(cell["code"], 16) == int(cell["bits"], 2) == int(code)
            assert cell["flags"] == [f for f in ("invalid", "overflow", "underflow", "inexact") if getattr(flags, f)]
            value = bq.decode(np.asarray(code), name)
            if np.isfinite(float(value)):
                order = (float(value) > float(text)) - (float(value) < float(text))
                assert cell["way"] == ("exact", "up", "down")[order]


def test_a_decimal_is_taken_exactly_and_not_as_its_nearest_float():
    just_above = "1.00048828125000000000000000000001"  # a tie of float16 but for its last digit
    cells = asked("round", text=just_above, formats=["float16"], source="float16")["rows"][0]["cells"]
    assert cells[0]["code"] == "0x3C01"


@pytest.mark.parametrize("text", ["1e1000", "1e-1000", "1" * 1000, "0x1p-1074", f"1/{'3' * 998}"])
def test_what_is_far_from_1_is_rounded_too(text):
    row = asked("round", text=text, formats=["float64"], source="float64")["rows"][0]
    assert row["cells"][0]["value"] in ("inf", "0", "4.9406564584124654e-324")


def test_bits_are_a_code_of_the_format_that_is_named():
    told = asked("round", text="0x3E00", formats=["bfloat16"], source="float16")
    assert (told["source"], told["value"]) == ("float16", "1.5")
    assert asked("round", text="0x3E00", formats=["bfloat16"], source="bfloat16")["value"] == "0.125"


def test_what_a_format_refuses_is_said_in_its_cells():
    row = asked("round", text="nan", formats=["int8", "float16"], source="float16")["rows"]
    assert all("int8 has no NaN" in cell["refused"] for cell in row[0]["cells"])
    assert row[1]["cells"][0]["value"] == "nan"


# --- A layer ------------------------------------------------------------------------------------------------------


def test_the_page_starts_with_what_there_is():
    start = asked("start")
    assert [row["name"] for row in start["formats"]] == [fmt.name for fmt in bq.formats()]
    assert all(sum(part["bits"] for part in row["fields"]) == row["bits"] for row in start["formats"])
    assert [row["name"] for row in start["roundings"]] == list(ROUNDINGS)
    assert start["accuracy"] == f"{MODEL.accuracy() * 100:.1f} %"
    assert set(start["layers"]) == {name for name in MODEL.tensors if name.endswith("weight")}


@pytest.mark.parametrize("layer", ["layer1.weight", "layer2.weight", "layer3.weight"])
def test_a_histogram_holds_every_number_and_the_slider_reaches_all(layer):
    told = asked("tensor", layer=layer)
    x = MODEL.tensors[layer]
    assert sum(bar["count"] for bar in told["bars"]) == told["numbers"] == x.size
    low, high, step = (Fraction(told["slider"][key]) for key in ("min", "max", "step"))
    assert low == -high == -500 * step
    assert abs(x).max() <= high <= 2.2 * abs(x).max()
    assert max(bar["height"] for bar in told["bars"]) == 1
    assert all((bar["count"] > 0) == (bar["height"] > 0) for bar in told["bars"])


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_the_figures_of_a_range_are_those_of_the_codes(scheme, bits):
    x = MODEL.tensors["layer1.weight"].astype(np.float64)
    told = asked("quantize", layer="layer1.weight", scheme=scheme, bits=bits, low="-0.5", high="0.25", moved="low")
    low, high = (-0.5, 0.5) if scheme == "symmetric" else (-0.5, 0.25)
    qmin, qmax = (
        (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)
        if scheme == "symmetric"
        else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
    scale = (qmax if scheme == "symmetric" else qmax - qmin) / (high if scheme == "symmetric" else high - low)
    zero = 0 if scheme == "symmetric" else round(-low * scale) + qmin
    codes = np.clip(np.rint(x * scale + zero), qmin, qmax)
    back = ((codes - zero) / scale).astype(np.float32)
    error = back.astype(np.float64) - x
    assert (float(told["low"]), float(told["high"])) == (low, high)
    assert (told["qmin"], told["qmax"], told["zero_point"]) == (qmin, qmax, zero)
    assert float(told["scale"]) == pytest.approx(scale, rel=1e-5)
    assert float(told["step"]) == pytest.approx(1 / scale, rel=1e-5)
    assert [bar["count"] for bar in told["codes"]] == [int((codes == q).sum()) for q in range(qmin, qmax + 1)]
    assert told["codes_used"] == len(np.unique(codes))
    assert float(told["mse"]) == pytest.approx(np.mean(error**2), rel=6e-3)
    assert float(told["max_abs"]) == pytest.approx(abs(error).max(), rel=6e-3)
    assert told["sqnr"] == f"{10 * np.log10((x**2).sum() / (error**2).sum()):.2f} dB"
    assert told["wrong"] == int((MODEL.logits(tensors={"layer1.weight": back}).argmax(axis=1) != MODEL.labels).sum())
    assert told["accuracy"] == f"{(500 - told['wrong']) / 5:.1f} %"
    numbers = [float(row["number"]) for row in told["samples"]]
    assert numbers == sorted(numbers)
    assert numbers[0] == pytest.approx(x.min(), rel=1e-5)
    for row in told["samples"]:
        value = (row["code"] - zero) / scale
        assert row["code"] == min(max(round(float(row["number"]) * scale + zero), qmin), qmax)
        assert float(row["value"]) == pytest.approx(value, rel=1e-5, abs=1e-12)
        assert float(row["error"]) == pytest.approx(value - float(row["number"]), rel=1e-2, abs=2e-6)


def test_in_the_symmetric_scheme_both_ends_follow_the_one_that_moved():
    question = {"layer": "layer1.weight", "scheme": "symmetric", "bits": 4, "low": "-0.3", "high": "0.7"}
    for moved, reach in (("low", "0.3"), ("high", "0.7"), ("both", "0.7")):
        told = asked("quantize", **question, moved=moved)
        assert (told["low"], told["high"]) == (f"-{reach}", reach)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy", "std", "mse", "lp"])
def test_a_range_is_found_by_every_method(method):
    told = asked("quantize", layer="layer2.weight", scheme="asymmetric", bits=4, method=method)
    found = bq.calibrate(MODEL.tensors["layer2.weight"], method, scheme="asymmetric", bits=4)
    assert (float(told["low"]), float(told["high"])) == pytest.approx(tuple(map(float, found)), abs=1e-11)


# --- Questions that are not put properly --------------------------------------------------------------------------

Q = {"layer": "layer1.weight", "scheme": "symmetric", "bits": 4, "low": "-1", "high": "1"}


@pytest.mark.parametrize(
    ("address", "question", "sentence"),
    [
        ("start", {"x": 1}, "no field 'x' here: there are none"),
        ("code", {"format": "float16"}, "'bits' is missing"),
        ("code", {"format": "float16", "bits": "0", "more": 1}, "no field 'more'"),
        ("code", {"format": "float16", "bits": 0}, "'bits' has to be a text"),
        ("code", {"format": "float16", "bits": "01"}, "a code of float16 is 16 binary digits"),
        ("code", {"format": "float16", "bits": "２" * 16}, "binary digits"),
        ("code", {"format": "float17", "bits": "0"}, "float17"),
        ("code", {"format": "iq4_nl", "bits": "01111"}, "4 binary digits"),
        ("code", {"format": "float16", "bits": "0" * 1001}, "1000 at most"),
        ("find", {"format": "float16", "text": "one"}, "'one' is no number"),
        ("find", {"format": "float16", "text": ""}, "is no number"),
        ("find", {"format": "float16", "text": "1e999999999"}, "too far from 1"),
        ("find", {"format": "float16", "text": "1e5000"}, "1e5000 is too long or too far from 1"),
        ("round", {"text": "1e-19999", "formats": ["float16"], "source": "float16"}, "too far from 1"),
        ("find", {"format": "int8", "text": "nan"}, "int8 has no NaN"),
        ("round", {"text": "1/0", "formats": [], "source": "float16"}, "divides by zero"),
        ("round", {"text": "1", "formats": ["float16"] * 17, "source": "float16"}, "16 at most"),
        ("round", {"text": "1", "formats": [1], "source": "float16"}, "has to be a list of texts"),
        ("round", {"text": "1", "formats": "float16", "source": "float16"}, "has to be a list of texts"),
        ("round", {"text": "0x10000", "formats": [], "source": "float16"}, "no code of float16"),
        ("tensor", {"layer": "layer9.weight"}, "layer='layer9.weight' is not possible"),
        ("quantize", Q | {"bits": True}, "'bits' has to be an integer"),
        ("quantize", Q | {"bits": 4.0}, "'bits' has to be an integer"),
        ("quantize", Q | {"bits": 9}, "bits"),
        ("quantize", Q | {"scheme": "square"}, "scheme='square'"),
        ("quantize", Q | {"moved": "left"}, "moved='left'"),
        ("quantize", Q | {"method": "mse"}, "give the two ends"),
        ("quantize", {k: Q[k] for k in ("layer", "scheme", "bits")}, "give the two ends"),
        ("quantize", {k: Q[k] for k in ("layer", "scheme", "bits", "low")}, "give the two ends"),
        ("quantize", {k: Q[k] for k in ("layer", "scheme", "bits")} | {"method": "luck"}, "method='luck'"),
        ("quantize", Q | {"low": "nan"}, "low='nan' is no finite number"),
        ("quantize", Q | {"low": "0", "high": "0"}, "has to lie below"),
        ("quantize", Q | {"scheme": "asymmetric", "low": "0.5", "high": "0.2"},
         "low end 0.5 has to lie below the high end 0.2"),
    ],
)  # fmt: skip
def test_a_question_is_refused_with_a_sentence(address, question, sentence):
    with pytest.raises(bq.BitquantError, match=re.escape(sentence)):
        asked(address, **question)


# --- The server ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab():
    with Lab() as lab:
        yield lab


def address_of(lab):
    return "127.0.0.1", int(lab.url.rsplit(":", 1)[1].strip("/"))


def sent(lab, method, path, body=None, **headers):
    """Status, headers and body of the answer to a request; None as a header leaves it out."""
    host, port = address_of(lab)
    given = {"Host": f"{host}:{port}", "Content-Type": "application/json", "Connection": "close"}
    if body is not None:
        given["Content-Length"] = str(len(body))
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(host, port, timeout=20)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in given.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, reply.headers, content


def refused(lab, *request, **headers):
    """The status and the sentence of a refusal."""
    status, found, content = sent(lab, *request, **headers)
    assert found["Content-Type"] == "application/json"
    assert found["Connection"] == "close"
    return status, json.loads(content)["error"]


CODE = json.dumps({"format": "float16", "bits": "0" * 16}).encode()


def test_the_page_and_its_files_are_served(lab):
    for path, kind, start in [
        ("/", "text/html", b"<!doctype html>"),
        ("/lab.css", "text/css", b"/*"),
        ("/lab.js", "text/javascript", b"//"),
        ("/icon.svg", "image/svg+xml", b"<svg"),
    ]:
        status, headers, body = sent(lab, "GET", path)
        assert (status, headers.get_content_type()) == (200, kind)
        assert body.startswith(start)
        status, headers, nothing = sent(lab, "HEAD", path)
        assert (status, int(headers["Content-Length"]), nothing) == (200, len(body), b"")


def test_a_question_is_answered(lab):
    status, headers, body = sent(lab, "POST", "/api/code", CODE)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == asked("code", format="float16", bits="0" * 16)


def test_every_answer_forbids_what_comes_from_elsewhere(lab):
    for request in [("GET", "/"), ("POST", "/api/code", CODE), ("GET", "/none"), ("POST", "/api/code", b"x")]:
        headers = sent(lab, *request)[1]
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert set(policy.values()) == {"'none'", "'self'"}
        assert {"base-uri", "form-action", "frame-ancestors"} <= set(policy)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Python" not in headers["Server"]


def test_the_page_refers_to_nothing_elsewhere():
    for entry in PAGE.iterdir():
        text = entry.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]|@import|<script>| on[a-z]+=|style=", text), entry.name


def test_only_its_own_host_is_answered(lab):
    port = address_of(lab)[1]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert sent(lab, "GET", "/", Host=host)[0] == 200
    others = ["example.org", f"example.org:{port}", "127.0.0.1", "localhost", f"127.0.0.1:{port + 1}", "", None]
    for host in (*others, f"127.0.0.1.example.org:{port}"):
        assert refused(lab, "GET", "/", Host=host)[0] == 421
        assert refused(lab, "POST", "/api/code", CODE, Host=host)[0] == 421


def test_only_its_own_page_may_ask(lab):
    port = address_of(lab)[1]
    assert (
        sent(lab, "POST", "/api/code", CODE, Origin=f"http://127.0.0.1:{port}", Sec_Fetch_Site="same-origin")[0] == 200
    )
    for origin in ("https://example.org", "null", f"http://localhost:{port}", f"https://127.0.0.1:{port}"):
        assert refused(lab, "POST", "/api/code", CODE, Origin=origin)[0] == 403
    for site in ("cross-site", "same-site"):
        assert refused(lab, "POST", "/api/code", CODE, Sec_Fetch_Site=site)[0] == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_a_body_is_declared_as_json(lab, kind):
    assert refused(lab, "POST", "/api/code", CODE, Content_Type=kind)[0] == 415


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Length": None}, 411),
        ({"Content_Length": None, "Transfer_Encoding": "chunked"}, 411),
        ({"Content_Length": "-1"}, 400),
        ({"Content_Length": "ten"}, 400),
        ({"Content_Length": "٣"}, 400),
        ({"Content_Length": str(MOST + 1)}, 413),
        ({"Content_Length": "9" * 5000}, 413),
    ],
)
def test_a_body_says_how_long_it_is_and_is_not_long(lab, headers, status):
    headers = {name: value and value.encode().decode("latin-1") for name, value in headers.items()}
    assert refused(lab, "POST", "/api/code", None, **headers)[0] == status


def test_a_body_of_the_largest_length_is_read(lab):
    body = CODE + b" " * (MOST - len(CODE))
    assert sent(lab, "POST", "/api/code", body)[0] == 200
    assert refused(lab, "POST", "/api/code", body + b" ")[0] == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"1", b'"x"', b"null", b"\xff", b"[" * 9000, b'{"a":' * 2000, b'{"format": 1, "bits": "0"}',
     b"{} {}", b'{"format": "\\ud800", "bits": "0"}', b'{"format": NaN, "bits": "0"}'],
)  # fmt: skip
def test_what_is_malformed_is_refused_with_a_sentence(lab, body):
    status, sentence = refused(lab, "POST", "/api/code", body)
    assert status == 400
    assert sentence


@pytest.mark.parametrize(
    "path",
    ["/none", "/..", "/../api.py", "/%2e%2e/api.py", "/lab.css/../../server.py", "//etc/passwd", "/page/lab.js",
     "/lab.css?x", "/lab.css%00"],
)  # fmt: skip
def test_there_is_nothing_but_the_page(lab, path):
    assert refused(lab, "GET", path)[0] == 404
    assert refused(lab, "POST", path, CODE)[0] == 404


def test_methods_that_do_not_fit_are_refused(lab):
    status, headers, _ = sent(lab, "GET", "/api/code")
    assert (status, headers["Allow"]) == (405, "POST")
    assert refused(lab, "POST", "/", CODE)[0] == 405
    assert refused(lab, "DELETE", "/")[0] == 501
    assert refused(lab, "OPTIONS", "/api/code")[0] == 501


def test_a_body_that_does_not_come_is_not_waited_for(lab, monkeypatch):
    monkeypatch.setattr(lab._server.RequestHandlerClass, "timeout", 0.3)
    host, port = address_of(lab)
    head = f"POST /api/code HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, port), timeout=20) as connection:
        connection.sendall(head.encode() + b"Content-Length: 9\r\n\r\n{")
        assert connection.recv(65536) == b""  # hung up, without an answer


def test_what_is_no_request_is_answered_and_the_server_lives_on(lab):
    for text in (
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b"\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ):
        with socket.create_connection(address_of(lab), timeout=20) as connection:
            connection.sendall(text)
            while connection.recv(65536):
                pass
    assert sent(lab, "GET", "/")[0] == 200


def test_a_failure_is_told_without_its_details(lab, monkeypatch, capfd):
    monkeypatch.setitem(ANSWERS, "/api/code", lambda question: 1 // 0)
    status, sentence = refused(lab, "POST", "/api/code", CODE)
    assert (status, sentence) == (500, "the lab failed: its terminal says how")
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_other_machines_cannot_reach_it(lab):
    listening = lab._server.socket.getsockname()
    assert listening[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_an_error(lab):
    with pytest.raises(bq.BitquantError, match=r"port \d+ cannot be had"):
        Lab(address_of(lab)[1])
    with pytest.raises(bq.BitquantError, match="70000 is no port"):
        Lab(70000)


def test_the_command_serves_until_interrupted():
    # As in a terminal: what runs in the background of a shell inherits that it ignores interrupts.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from bitquant.cli import main; sys.argv = ['bitquant', 'lab', '--no-open']; main()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as running:
        try:
            line = running.stdout.readline()
            port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            connection.close()
            running.send_signal(signal.SIGINT)
            told, _ = running.communicate(timeout=20)
        finally:
            running.kill()
        assert (running.returncode, told) == (0, "ended\n")


def test_the_page_is_a_document_with_landmarks_and_names():
    html = (PAGE / "index.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for reference in re.findall(r'(?:aria-labelledby|aria-describedby|for)="([^"]+)"', html):
        assert reference in ids
    for element in ("<header>", "<main ", "<nav aria-label", "<footer>", '<html lang="en">', "<title>"):
        assert element in html
    assert [int(level) for level in re.findall(r"<h(\d)", html)] == [1, 2, 2, 2]
    script = (PAGE / "lab.js").read_text()
    ids += re.findall(r'\bid: "([^"]+)"', script)  # made by the script
    for name in re.findall(r'(?:byId|show)\("([\w-]+)"', script):
        assert name in ids, name
    assert "innerHTML" not in script


def test_ml_dtypes_agrees_on_what_a_code_is():
    for code in range(256):
        told = asked("code", format="float8_e4m3fn", bits=f"{code:08b}")
        value = float(np.uint8(code).view(ml_dtypes.float8_e4m3fn))
        assert (told["exact"] is None) == np.isnan(value)
        if told["exact"] is not None:
            assert float(told["exact"]) == value
