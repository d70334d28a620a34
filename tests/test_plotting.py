"""Pictures: what is drawn is what there is, named and labelled, and no text covers another."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from itertools import combinations

import ml_dtypes
import numpy as np
import pytest
from typer.testing import CliRunner

matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'bitquant[plot]'")
matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402  (after the choice of a backend without a window)
from matplotlib.text import Text  # noqa: E402

import bitquant as bq  # noqa: E402
from bitquant import plotting  # noqa: E402
from bitquant.cli.app import app  # noqa: E402
from bitquant.data import load_digits_model  # noqa: E402
from bitquant.files import write_tensors  # noqa: E402

SMALL = ("float8_e4m3fn", "float8_e5m2", "float8_e3m4", "float8_e4m3fnuz", "float6_e2m3fn", "float4_e2m1fn")
WEIGHTS = load_digits_model().tensors["layer1.weight"]
DRAWN = {
    "number_line": plotting.number_line,
    "number_line, of either sign": lambda **to: plotting.number_line(
        "fp16", "bf16", "int8", "nf4", "fp64", low=-3, high=3, **to
    ),
    "density": plotting.density,
    "range_and_precision": plotting.range_and_precision,
    "range_and_precision of four": lambda **to: plotting.range_and_precision("fp32", "fp16", "bf16", "int8", **to),
    "bit_fields": lambda **to: plotting.bit_fields(0.1, **to),
    "bit_fields of wide and narrow": lambda **to: plotting.bit_fields(
        -3.5, "fp64", "e5m2", "e2m1fn", "nf4", "int4", **to
    ),
    "staircase": lambda **to: plotting.staircase(bq.clipped([0.5], -1, 1, bits=3), **to),
    "staircase of a format": lambda **to: plotting.staircase("float4_e2m1fn", **to),
    "sawtooth": lambda **to: plotting.sawtooth(bq.clipped([0.5], -1, 1, bits=3), **to),
    "histogram": lambda **to: plotting.histogram(WEIGHTS, name="layer1.weight", **to),
    "calibration_errors": lambda **to: plotting.calibration_errors(WEIGHTS, bits=4, name="layer1.weight", **to),
}


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def numbers_of(name):
    """All finite numbers of a small format, by ml_dtypes."""
    dtype = np.dtype(getattr(ml_dtypes, name))
    codes = np.arange(2 ** bq.format(name).bits, dtype=np.uint8)
    values = codes.view(dtype).astype(np.float64)
    return values[np.isfinite(values)]


def ticks(collection):
    return [segment[0][0] for segment in collection.get_segments()]


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_has_a_title_and_labels_and_no_text_covers_another(name):
    ax = DRAWN[name]()
    assert ax.get_title()
    if ax.axison:
        assert ax.get_xlabel()
    figure = ax.get_figure(root=True)
    figure.canvas.draw()
    boxes = {text: Text.get_window_extent(text) for text in seen(ax)}  # of an annotation, without its line
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(across, up) <= 1, (one.get_text(), other.get_text())  # pixels
    for text, box in boxes.items():
        assert min(box.x0, box.y0) >= -1, text.get_text()
        assert box.x1 <= figure.bbox.x1 + 1, text.get_text()
        assert box.y1 <= figure.bbox.y1 + 1, text.get_text()


def seen(ax):
    """The texts of a picture, without the labels of ticks out of view."""
    found = [*ax.texts, ax.title]
    if ax.axison:
        found += [ax.xaxis.label, ax.yaxis.label]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_text()]


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_drawn_into_the_axes_that_are_given(name):
    ax = plt.subplots(figsize=(10, 7))[1]
    assert DRAWN[name](ax=ax) is ax
    assert len(plt.get_fignums()) == 1
    assert ax.get_title()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("low", "high"), [(0.0, 8.0), (-3.0, 3.0), (0.0, 0.01), (5.0, 300.0)])
def test_a_number_line_has_a_tick_for_each_number_or_a_band_that_holds_it(name, low, high):
    ax = plotting.number_line(name, low=low, high=high)
    numbers = {value for value in numbers_of(name).tolist() if low <= value <= high}
    drawn = ticks(ax.collections[0])
    assert set(drawn) <= numbers
    bands = [path.vertices[:, 0] for band in ax.collections[2:] for path in band.get_paths()]
    for value in numbers - set(drawn):
        assert any(band.min() <= value <= band.max() for band in bands), value
    for value in ticks(ax.collections[1]):
        assert math.frexp(value)[0] in (0.5, -0.5)


def test_few_numbers_are_all_ticks_without_bands():
    ax = plotting.number_line("float4_e2m1fn", low=-6, high=6)
    assert sorted(ticks(ax.collections[0])) == sorted({0.0, *numbers_of("float4_e2m1fn").tolist()})
    assert len(ax.collections) == 2
    ax = plotting.number_line("nf4", "int4", low=-8, high=7)
    assert ticks(ax.collections[0]) == list(bq.NF4.values)
    assert sorted(ticks(ax.collections[2])) == list(range(-8, 8))


def test_binades_are_labelled_with_how_many_numbers_they_have():
    assert texts(plotting.number_line("float6_e2m3fn", low=1, high=7.9)) == ["8", "8", "8", "largest 7.5"]
    assert "1,024" in texts(plotting.number_line("float16"))


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, math.inf), (math.nan, 1)])
def test_a_line_that_cannot_be_drawn_is_refused(low, high):
    with pytest.raises(bq.BitquantError, match="low has to lie below high"):
        plotting.number_line("int8", low=low, high=high)


@pytest.mark.parametrize("name", [*SMALL, "float16", "int8", "uint4", "float8_e8m0fnu", "binary8p3se"])
def test_density_counts_the_numbers_of_each_binade(name):
    fmt = bq.format(name)
    codes = np.arange(2**fmt.bits, dtype=fmt.code_dtype)
    values = np.asarray(bq.decode(codes, fmt, "float64"))
    found = np.floor(np.log2(values[np.isfinite(values) & (values > 0)])).astype(int)
    exponents, counts = np.unique(found, return_counts=True)
    line = plotting.density(name).lines[0]
    assert line.get_xdata().tolist() == [*exponents, exponents[-1] + 1]
    assert line.get_ydata().tolist() == [*counts, counts[-1]]


def test_densities_differ_by_more_than_colour():
    styles = [(line.get_linestyle(), line._unscaled_dash_pattern) for line in plotting.density().lines]
    assert len(set(map(str, styles))) == len(styles) == 5


def test_a_codebook_has_no_density():
    with pytest.raises(bq.BitquantError, match="nf4 is a codebook"):
        plotting.density("nf4")


def test_no_name_lies_on_or_beside_the_point_of_another_format():
    ax = plotting.range_and_precision()
    ax.get_figure(root=True).canvas.draw()
    centres = {fmt.name: ax.transData.transform((fmt.decades, fmt.precision)) for fmt in bq.formats()}
    for text in ax.texts:
        box = Text.get_window_extent(text)
        for name, (x, y) in centres.items():
            beside = box.x0 - 5 < x < box.x1 + 5 and box.y0 < y < box.y1  # pixels
            assert name == text.get_text() or not beside, (name, text.get_text())


def test_every_format_is_a_point_of_range_and_precision_with_its_name():
    ax = plotting.range_and_precision()
    rows = bq.formats()
    points = [tuple(point) for cloud in ax.collections for point in np.asarray(cloud.get_offsets()).tolist()]
    assert sorted(points) == sorted((fmt.decades, fmt.precision) for fmt in rows)
    assert sorted(texts(ax)) == sorted(fmt.name for fmt in rows)
    low, high = ax.get_xlim()
    assert all(low < x < high for x, _ in points)
    markers = [cloud.get_paths()[0].vertices.shape for cloud in ax.collections]
    assert len(set(markers)) == 3  # a circle, a square, a triangle


@pytest.mark.parametrize(
    ("value", "name", "dtype"),
    [(0.1, "float16", np.float16), (-3.25, "bfloat16", ml_dtypes.bfloat16), (-7.0, "int8", np.int8),
     (0.1, "float32", np.float32), (448.0, "float8_e4m3fn", ml_dtypes.float8_e4m3fn), (9.0, "int4", ml_dtypes.int4)],
)  # fmt: skip
def test_bit_fields_show_the_bits_of_the_code(value, name, dtype):
    ax = plotting.bit_fields(value, name)
    bits = bq.format(name).bits
    clamped = min(value, 7) if name == "int4" else value
    code = np.array(clamped).astype(dtype).view(f"u{np.dtype(dtype).itemsize}")
    written = "".join(text for text in texts(ax) if text in ("0", "1"))
    assert written == f"{int(code) & (2**bits - 1):0{bits}b}"
    assert len(ax.patches) == bits
    assert f"{bits} bits, code 0x{int(written, 2):0{-(-bits // 4)}X}" in texts(ax)


def test_fields_are_named_and_apart():
    ax = plotting.bit_fields(1, "float16", "nf4", "uint4")
    names = [text for text in texts(ax) if text in ("sign", "exponent", "significand", "index", "integer")]
    assert names == ["sign", "exponent", "significand", "index", "integer"]
    lefts = [box.get_x() for box in ax.patches[:16]]
    gaps = [k for k in range(15) if lefts[k + 1] - lefts[k] > 1.1]
    assert gaps == [0, 5]  # after the sign, after the exponent


@pytest.mark.parametrize("rounding", ["nearest_even", "toward_zero"])
@pytest.mark.parametrize(("low", "high", "bits", "unsigned"), [(-1, 1, 3, False), (-1, 3, 4, False), (0, 1, 2, True)])
def test_a_staircase_gives_what_the_quantizer_gives(low, high, bits, unsigned, rounding):
    found = bq.clipped([0.5], low, high, bits=bits, signed=not unsigned, rounding=rounding)
    ax = plotting.staircase(found)
    x, y = ax.lines[0].get_data()
    step, zero = 1 / found.exact_scale, found.zero_point
    expected = []
    for value in x.tolist():
        place = Fraction(value) / step + zero
        code = round(place) if rounding == "nearest_even" else math.trunc(place)
        expected.append(float((min(max(code, found.qmin), found.qmax) - zero) * step))
    assert y.tolist() == expected
    assert (x[0], x[-1]) == (low - (high - low) / 4, high + (high - low) / 4)
    codes = ax.child_axes[0]
    assert codes.get_ylabel() == "code"
    assert codes.get_yticks().tolist() == list(range(found.qmin, found.qmax + 1))


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_a_staircase_has_the_codes_of_a_narrow_range_or_of_the_full_one(narrow, signed):
    found = bq.clipped([0.5], -1, 1, bits=3, narrow=narrow, signed=signed)
    lowest = -4 + narrow if signed else int(narrow)
    assert plotting.staircase(found, -5, 5).lines[0].get_ydata().min() == pytest.approx(lowest * found.step)


def test_a_staircase_of_a_format_gives_its_numbers():
    x, y = plotting.staircase("float4_e2m1fn", -9, 9).lines[0].get_data()
    assert set(np.abs(y).tolist()) == {0, 0.5, 1, 1.5, 2, 3, 4, 6}
    assert y[x >= 5.01].min() == 6


def test_the_saw_tooth_stays_within_half_a_step_inside_the_range():
    found = bq.clipped([0.5], -1, 1, bits=3)
    ax = plotting.sawtooth(found)
    x, error = ax.lines[0].get_data()
    inside = abs(x) <= 1
    assert abs(error[inside]).max() <= found.step / 2 * (1 + 1e-12)
    assert abs(error[inside]).max() > found.step / 2 * 0.98
    assert error[0] == pytest.approx(0.5)
    assert error[-1] == pytest.approx(-0.5)
    assert [line.get_ydata()[0] for line in ax.lines[2:4]] == pytest.approx([found.step / 2, -found.step / 2])


def test_what_is_clipped_is_hatched():
    ax = plotting.staircase(bq.clipped([0.5], -1, 1, bits=3), -1.5, 4)
    spans = [(span.get_x(), span.get_x() + span.get_width()) for span in ax.patches if span.get_hatch()]
    assert [sorted(span) for span in spans] == [[-1.5, -1], [1, 4]]
    assert not plotting.staircase(bq.clipped([0.5], -1, 1, bits=3), -0.5, 0.5).patches


def test_a_curve_is_of_one_scale():
    with pytest.raises(bq.BitquantError, match="one channel"):
        plotting.staircase(bq.symmetric(WEIGHTS, axis=0))
    with pytest.raises(bq.BitquantError, match="without dialect"):
        plotting.sawtooth(bq.quantize(WEIGHTS, dialect="torch"))


def test_a_histogram_counts_every_number_and_shows_the_range():
    found = bq.clipped(WEIGHTS, -0.4, 0.3, bits=4)
    ax = plotting.histogram(WEIGHTS, found, bins=50, name="w")
    counts, edges = np.histogram(WEIGHTS.astype(np.float64), 50)
    bars = ax.patches[:50]
    assert [bar.get_height() for bar in bars] == counts.tolist()
    assert [bar.get_x() for bar in bars] == pytest.approx(edges[:-1])
    lines = [line.get_xdata()[0] for line in ax.lines]
    assert lines == list(map(float, found.range))
    low, high = (Fraction(end) for end in ax.get_xlim())
    assert low < WEIGHTS.min() < WEIGHTS.max() < high
    outside = np.mean((found.range.low > WEIGHTS) | (found.range.high < WEIGHTS))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert f"{outside * 100:.2f} % clipped" in labels
    assert "8,192 numbers" in labels
    spans = [sorted((span.get_x(), span.get_x() + span.get_width())) for span in ax.patches if span.get_hatch()]
    assert spans == [pytest.approx([ax.get_xlim()[0], -0.4]), pytest.approx([0.3, ax.get_xlim()[1]])]
    levels = next(item for item in ax.collections if item.get_label() == "codes")
    assert ticks(levels) == pytest.approx([(q - found.zero_point) * found.step for q in range(-8, 8)])
    assert ax.get_title() == f"w: 4 bits, asymmetric; SQNR {found.error(WEIGHTS).sqnr_db:.1f} dB"


def test_a_histogram_takes_every_format_of_numbers():
    for dtype in (np.float16, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        ax = plotting.histogram(WEIGHTS[:4].astype(dtype), bins=7)
        assert sum(bar.get_height() for bar in ax.patches[:7]) == 256


def test_a_histogram_is_of_one_range():
    with pytest.raises(bq.BitquantError, match="one range"):
        plotting.histogram(WEIGHTS, bq.symmetric(WEIGHTS, axis=0))


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
def test_bars_of_calibration_are_the_errors_of_rounding_and_of_clipping(scheme):
    ax = plotting.calibration_errors(WEIGHTS, "minmax", "percentile", scheme=scheme, bits=4)
    for place, method in enumerate(("minmax", "percentile")):
        found = bq.calibrate(WEIGHTS, method, scheme=scheme, bits=4)
        low, high = found.range
        zero = found.zero_point
        qmin, qmax = (-7, 7) if scheme == "symmetric" else (-8, 7)
        x = WEIGHTS.astype(np.float64).reshape(-1)
        step = float(found.step)
        error = (np.clip(np.rint(x / step + zero), qmin, qmax) - zero) * step - x
        inside = (x >= low) & (x <= high)
        rounding, clipping = (np.sum(np.where(part, error, 0) ** 2) / x.size for part in (inside, ~inside))
        bars = [bar for bar in ax.patches if bar.get_y() < place < bar.get_y() + bar.get_height()]
        assert [bar.get_width() for bar in bars] == pytest.approx([rounding, clipping], rel=1e-5, abs=1e-12)
        assert bars[1].get_x() == pytest.approx(rounding, rel=1e-5)
        assert [bar.get_hatch() for bar in bars] == [None, "///"]


def test_calibrations_that_were_made_are_drawn_as_they_are():
    found = bq.calibrate(WEIGHTS, "percentile", percentile=99)
    ax = plotting.calibration_errors(WEIGHTS, found, "minmax")
    assert [text.get_text().split("\n")[0] for text in ax.get_yticklabels()] == ["percentile", "minmax"]
    with pytest.raises(bq.BitquantError, match="method='best'"):
        plotting.calibration_errors(WEIGHTS, "best")


def test_without_matplotlib_an_error_says_what_to_install(monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(bq.BitquantError, match=r"pip install 'bitquant\[plot\]'"):
        plotting.number_line()


def command(*words):
    done = CliRunner().invoke(app, ["plot", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("name", plotting.__all__)
def test_the_command_draws_every_picture(name, tmp_path):
    out = tmp_path / "picture.png"
    status, told, err = command(name, "--out", out)
    assert (status, err) == (0, "")
    assert "written: " in told
    assert out.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_command_passes_its_words_on(tmp_path):
    out = tmp_path / "picture.svg"
    file = tmp_path / "w.npz"
    write_tensors(file, {"a": np.float32([1, 2, 3]), "b": np.float32([-5, 5])})
    assert "The numbers from −2 to 2" in command("number_line", "int4", "--range", -2, 2, "--out", out)[1]
    assert b"<svg" in out.read_bytes()
    for words, title in [
        (["histogram", file, "--tensor", "b", "--bits", 4], "b: 4 bits, symmetric"),
        (["histogram", file, "--range", 0, 3], "a: 8 bits, asymmetric"),
        (["staircase", "e5m2", "--range", 0, 1], "Staircase: rounding to float8_e5m2"),
        (["sawtooth", "--bits", 2, "--scheme", "asymmetric"], "Error: 2 bits, asymmetric"),
        (["bit_fields", "--out", out, "--force", "--", "-2.5", "fp16"], "−2.5 in 1 format,"),
        (["calibration_errors", file, "--bits", 2, "--scheme", "asymmetric"], "a: error by calibration method, 2 bits"),
    ]:
        options = [] if "--out" in words else ["--out", out, "--force"]
        status, told, err = command(*words, *options) if options else command(*words)
        assert (status, err) == (0, "")
        assert told.startswith(title), told


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["portrait"], "the picture='portrait' is not possible: choose number_line"),
        (["density", "--bits", 3], "density does not know --bits: it knows no options"),
        (["number_line", "--tensor", "w"], "number_line draws no tensor"),
        (["histogram", "--tensor", "w"], "there is no tensor 'w'"),
        (["staircase", "e5m2", "e4m3"], "one quantizer is drawn at a time"),
        (["staircase", "e5m2", "--bits", 3], "a format says how it rounds: leave out --bits and --scheme"),
        (["bit_fields", "x"], "'x' is no number"),
        (["histogram", "a.npz", "b.npz"], "one file is drawn at a time"),
    ],
)
def test_the_command_refuses_in_one_line(words, sentence, tmp_path):
    out = tmp_path / "picture.png"
    status, told, err = command(*words, "--out", out)
    assert (status, told) == (2, "")
    assert err.startswith(f"bitquant: {sentence}")
    assert err.count("\n") == 1
    assert not out.exists()


def test_a_picture_goes_to_a_known_kind_of_file_and_replaces_none_unasked(tmp_path):
    assert "has to end in .png, .svg or .pdf" in command("density", "--out", tmp_path / "picture.doc")[2]
    (tmp_path / "picture.png").write_bytes(b"mine")
    assert "exists" in command("density", "--out", tmp_path / "picture.png")[2]
    assert (tmp_path / "picture.png").read_bytes() == b"mine"
