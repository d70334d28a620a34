"""Audits of quantizers: every named row and every value of every axis is found as what it is, and as nothing else."""

import warnings
from itertools import product

import ml_dtypes
import numpy as np
import pytest

import bitquant as bq
from bitquant.auditing.quantizers import audit_quantizer
from bitquant.auditing.quantizers.axes import ARITHMETIC, elements
from bitquant.dialects.quantizers import quantizer, quantizers
from quantizer_inputs import adversarial

ROWS = {row.name: row for row in quantizers()}
F32, F64 = np.float32, np.float64
HALF = F32(0.5)


def ends_of(bits, signed):
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def by_row(name, bits, signed, **more):
    def candidate(x, step, zero_point):
        return bq.quantize(x, dialect=name, bits=bits, signed=signed, step=step, zero_point=zero_point, **more).codes

    return candidate


def alike(one, other, source, bits, signed, step_format):
    """Whether two rows give the same codes to what other tests find hardest, for steps inside their formats."""
    qmin, qmax = ends_of(bits, signed)
    for step in (0.1, 1 / 3, 0.75, 49.0, 0.00214854861):
        step = float(bq.convert(np.array([step]), step_format)[0])
        for zero_point in (0, 3, qmax):
            x = adversarial(step, zero_point, qmin, qmax, source)
            if (
                by_row(one, bits, signed)(x, step, zero_point) != by_row(other, bits, signed)(x, step, zero_point)
            ).any():
                return False
    return True


@pytest.mark.parametrize("name", ROWS)
def test_a_named_row_is_found_as_itself_and_what_else_is_found_gives_the_same_codes(name):
    row = ROWS[name]
    source, bits, signed = row.inputs[0], row.bits[0], row.signed[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = audit_quantizer(by_row(name, bits, signed), source=source, bits=bits, signed=signed, against=name)
    assert report.identical, str(report)
    assert name in report.dialects
    assert not report.faults
    for other in report.dialects:
        assert alike(name, other, source, bits, signed, "float32"), other


@pytest.mark.parametrize("name", [name for name in ROWS if {"bfloat16", "float16"} & set(ROWS[name].inputs)])
def test_a_row_is_found_in_short_formats(name):
    row = ROWS[name]
    for source in set(row.inputs) & {"bfloat16", "float16"}:
        bits, signed = row.bits[0], row.signed[0]
        report = audit_quantizer(by_row(name, bits, signed), source=source, bits=bits, signed=signed, against=name)
        assert report.identical, str(report)
        assert name in report.dialects


# A rule in plain NumPy for each value of each axis. None of them uses anything of the library.
SCALED = {
    ("x / step", "none", "float32"): lambda x, s: x / F32(s),
    ("x / step", "none", "float64"): lambda x, s: F64(x) / F64(s),
    ("x * (1 / step)", "float32", "float32"): lambda x, s: x * (F32(1) / F32(s)),
    ("x * (1 / step)", "float32", "float64"): lambda x, s: F64(x) * F64(F32(1) / F32(s)),
    ("x * (1 / step)", "float64", "float64"): lambda x, s: F64(x) * (1 / F64(s)),
}
PLACED = {
    "added after rounding": lambda u, z, ties: ties(u) + z,
    "added before rounding": lambda u, z, ties: ties(u + u.dtype.type(z)),
}


def half_up(u):
    floor = np.floor(u)
    return floor + (u - floor >= 0.5)


def half_away(u):
    return np.copysign(half_up(np.abs(u)), u)


ROUNDED = {
    "to even": np.rint,
    "away from zero": half_away,
    "up": half_up,
    "up, by adding 0.5": lambda u: np.floor(u + u.dtype.type(0.5)),
    "down": lambda u: -half_up(-u),
    "down, by subtracting 0.5": lambda u: np.ceil(u - u.dtype.type(0.5)),
    "none: the floor is taken": np.floor,
    "none: the ceiling is taken": np.ceil,
    "none: the fraction is cut off": np.trunc,
}


def in_numpy(scaling, zero, ties, low=-128, high=127, after=None):
    def candidate(x, step, zero_point):
        q = PLACED[zero](SCALED[scaling](x, step), zero_point, ROUNDED[ties])
        return np.nan_to_num(np.clip(q, low, high), nan=0.0).astype(np.int8)

    return candidate


@pytest.mark.parametrize(
    ("scaling", "zero", "ties"),
    [each for each in product(SCALED, PLACED, ROUNDED) if each[0][2] == "float32" or each[2] in ("to even", "down")],
)
def test_every_combination_survives_and_whatever_else_survives_is_the_same_rule(scaling, zero, ties):
    candidate = in_numpy(scaling, zero, ties)
    report = audit_quantizer(candidate)
    truth = dict(zip(ARITHMETIC, (scaling[0], "float32", *scaling[1:], zero, ties), strict=True))
    for axis, value in truth.items():
        assert value in report.rule[axis], (axis, report.rule)
    assert report.rule["range"] == ("full",)
    assert report.rule["NaN"] == ("zero",)
    assert report.rule["+infinity"] == ("the largest code",)
    if truth["element precision"] == "float32":
        # Whatever is rounded to float32 is told apart in every axis.
        assert all(len(report.rule[axis]) == 1 for axis in ARITHMETIC), report.rule
        return
    # With float64 some combinations are one rule; their difference is that of what comes after rounding, at most.
    assert report.rule["step precision"] == ("float32",)
    if zero == "added after rounding" and "none" not in ties:
        assert {value.partition(",")[0] for value in report.rule["ties"]} == {ties.partition(",")[0]}


@pytest.mark.parametrize("low", [-128, -127])
def test_the_range_is_found(low):
    report = audit_quantizer(in_numpy(("x / step", "none", "float32"), "added after rounding", "to even", low=low))
    assert report.rule["range"] == ("full" if low == -128 else "narrow",)


def test_steps_in_float64_show_in_which_precision_they_are_used():
    def doubles(x, step, zero_point):
        return np.clip(np.rint(np.nan_to_num(x) / step) + zero_point, -128, 127).astype(np.int8)

    def inverse(x, step, zero_point):
        return np.clip(np.rint(np.nan_to_num(x) * F32(1 / step)) + zero_point, -128, 127).astype(np.int8)

    def wide(x, step, zero_point):
        return doubles(x.astype(F64), step, zero_point)

    found = {each: audit_quantizer(each, step_format="float64").rule for each in (doubles, inverse, wide)}
    assert found[doubles]["step precision"] == ("float32",)
    assert found[inverse]["inverse precision"] == ("float64",)
    assert found[inverse]["element precision"] == ("float32",)
    assert found[wide]["step precision"] == ("float64",)
    assert found[wide]["element precision"] == ("float64",)


def test_exact_quantizers_are_identical_to_the_exact_rule():
    for bits, signed in ((8, True), (8, False), (4, True), (2, False)):
        for step_format in ("float32", "float64"):

            def exact(x, step, zero_point, bits=bits, signed=signed):
                found = bq.quantize(
                    x, "asymmetric", bits=bits, signed=signed, step=step, zero_point=zero_point, nonfinite="saturate"
                )
                return found.codes

            report = audit_quantizer(exact, form="codes", bits=bits, signed=signed, step_format=step_format)
            assert report.identical, str(report)
            assert "exact" in report.rule["element precision"]


def test_sixteen_bits_and_float64_are_told_from_what_is_exact():
    def candidate(x, step, zero_point):
        return np.clip(np.rint(np.nan_to_num(x / step)) + zero_point, -32768, 32767).astype(np.int16)

    rule = audit_quantizer(candidate, source="float64", bits=16, step_format="float64").rule
    assert rule["element precision"] == ("float64",)
    assert rule["zero point"] == ("added after rounding",)


@pytest.mark.parametrize("source", ["float64", "bfloat16", "float16"])
def test_exact_quantizers_of_other_formats_are_identical(source):
    def exact(x, step, zero_point):
        return bq.quantize(x, "asymmetric", step=step, zero_point=zero_point, nonfinite="saturate").codes

    report = audit_quantizer(exact, source=source, step_format="float64")
    assert report.identical, str(report)


# Defects.
REFERENCE = in_numpy(("x / step", "none", "float32"), "added after rounding", "to even")


def test_a_wrong_tie_rule_for_negative_numbers_alone_is_named():
    away = in_numpy(("x / step", "none", "float32"), "added after rounding", "away from zero")

    def candidate(x, step, zero_point):
        return np.where(x < 0, away(x, step, zero_point), REFERENCE(x, step, zero_point))

    report = audit_quantizer(candidate, against="torchao")
    assert report.rule["ties of positive numbers"] == ("to even",)
    assert report.rule["ties of negative numbers"] == ("away from zero", "down")  # which is the same for them
    assert report.rule["scaling"] == ("x / step",)
    assert not report.dialects


@pytest.mark.parametrize("lanes", [8, 16, 32])
def test_what_is_wrong_behind_the_last_whole_vector_is_a_fault(lanes):
    def candidate(x, step, zero_point):
        codes = REFERENCE(x, step, zero_point)
        tail = x.size - x.size % lanes
        codes[tail:] = in_numpy(("x / step", "none", "float32"), "added after rounding", "up")(
            x[tail:], step, zero_point
        )
        return codes

    report = audit_quantizer(candidate)
    assert any("place" in fault for fault in report.faults)
    assert not report.identical
    assert not report.dialects


def test_what_is_random_is_not_deterministic():
    rng = np.random.default_rng(0)

    def candidate(x, step, zero_point):
        return np.clip(np.floor(np.nan_to_num(x / F32(step)) + rng.random(x.size)) + zero_point, -128, 127).astype(int)

    report = audit_quantizer(candidate)
    assert "not deterministic" in report.faults[0]
    assert report.rule["ties"] == ()


@pytest.mark.parametrize(
    ("candidate", "text"),
    [
        (lambda x, step, zero_point: 1 / 0, "raises ZeroDivisionError"),
        (lambda x, step, zero_point: np.zeros(3, np.int8), "returns the shape"),
        (lambda x, step, zero_point: x, "not integers"),
        (lambda x, step, zero_point: None, "returns"),
    ],
)
def test_what_gives_no_codes_is_at_fault(candidate, text):
    report = audit_quantizer(candidate)
    assert text in report.faults[0]
    assert not report.identical
    assert not report.dialects


def test_codes_that_wrap_and_nan_that_gives_any_code_are_named():
    def candidate(x, step, zero_point):
        places = np.rint(x / F32(step))
        held = np.abs(places) < 2**31
        whole = np.where(held, np.nan_to_num(np.where(held, places, 0)), -(2.0**31)).astype(np.int64) + zero_point
        return whole.astype(np.int8)

    rule = audit_quantizer(candidate).rule
    assert rule["above the codes"] == ("the low bits of the integer",)
    assert rule["below the codes"] == ("the low bits of the integer",)
    assert rule["NaN"] == ("the zero point",)  # −2^31 has no low bits
    assert rule["scaling"] == ("x / step",)


def test_the_report_tells_causes_and_the_exact_place():
    report = audit_quantizer(in_numpy(("x * (1 / step)", "float32", "float32"), "added after rounding", "to even"))
    assert report.count > 40_000
    assert report.wrong == sum(report.causes.values()) == len(report.mismatches)
    assert set(report.causes) <= {
        "zero point added after rounding",
        "arithmetic in float32",
        "x * (1 / step)",
        "a step near the ends of its format",
    }
    first = report.mismatches[0]
    x = np.array([first["input"]], np.uint32).view(F32)
    exact = bq.quantize(x, "asymmetric", step=first["step"], zero_point=int(first["zero_point"])).codes[0]
    assert exact == first["expected"] != first["received"]
    assert "exact place" in report.examples[0].facts


def halves_up(x, step, zero_point):
    """A quantizer that a script can import."""
    with np.errstate(all="ignore"):
        places = np.floor(x.astype(np.float64) / step + 0.5) + zero_point
    return np.clip(np.nan_to_num(places), -128, 127).astype(np.int8)


def off_by_one(codes, step, zero_point):
    return ((codes.astype(np.float64) - zero_point + 1) * step).astype(np.float32)


def printed(script, **names):
    """What a script prints; its imports of this library or of this file are left out."""
    told = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(script, {**names, "print": told.append})
    return told


def test_the_script_calls_the_quantizer_and_says_what_is_right():
    report = audit_quantizer(halves_up)
    assert "bitquant" not in report.reproducer
    assert f"from {halves_up.__module__} import halves_up" in report.reproducer
    first = report.mismatches[0]
    x = np.array([first["input"]], np.uint32).view(F32)
    assert printed(report.reproducer) == [f"{x[0]} gave {first['received']}; exact is {first['expected']}"]


def test_the_script_takes_the_expression_that_is_given():
    def mine(x, step, zero_point):
        return halves_up(x, step, zero_point)

    within = {"against": "onnx", "steps": (2.0**-9, 2.0)}
    given = audit_quantizer(mine, **within, setup="import math", call="other(x, step, zero_point)")
    unknown = audit_quantizer(mine, **within)
    assert given.reproducer.splitlines()[:2] == ["import numpy as np", "import math"]
    assert "# quantize is the function that was audited" in unknown.reproducer
    first = given.mismatches[0]
    end = f" gave {first['received']}; the dialect onnx gives {first['expected']}"
    for script, name in ((given.reproducer, "other"), (unknown.reproducer, "quantize")):
        (line,) = printed(script, **{name: mine})
        assert line.endswith(end)


def test_the_script_of_fake_quantization_tells_number_and_code():
    def numbers(x, step, zero_point):
        return ((halves_up(x, step, zero_point).astype(np.float64) - zero_point) * step).astype(np.float32)

    report = audit_quantizer(numbers, form="numbers", steps=(2.0**-100, 2.0**100))
    first = report.mismatches[0]
    (line,) = printed(report.reproducer, quantize=numbers)
    assert line.endswith(f", the code {first['received']}; exact is {first['expected']}")


def test_the_script_shows_the_way_back_where_that_differs():
    def exactly(x, step, zero_point):
        return bq.quantize(x, "asymmetric", step=step, zero_point=zero_point, nonfinite="saturate").codes

    report = audit_quantizer((exactly, off_by_one), steps=(2.0**-9, 2.0))
    first = report.mismatches[0]
    assert first["part"] == "values"
    received, expected = (float(np.int64(first[name]).view(np.float64)) for name in ("received", "expected"))
    code = np.uint64(first["input"]).astype(np.int64)
    assert printed(report.reproducer) == [f"the code {code} gave {received!r}; exact is {expected!r}"]


def test_the_script_repeats_a_number_whose_code_hangs_on_its_place():
    def vectorized(x, step, zero_point):
        codes = np.clip(np.rint(x.astype(np.float64) / step) + zero_point, -128, 127)
        whole = x.size // 16 * 16
        codes[:whole] = halves_up(x[:whole], step, zero_point)
        return np.nan_to_num(codes).astype(np.int8)

    report = audit_quantizer(vectorized, zero_points=(0,))
    assert any("place in the array" in fault for fault in report.faults)
    assert ", 64)" in report.reproducer
    first = report.mismatches[0]
    (line,) = printed(report.reproducer, quantize=vectorized)
    assert " gave " in line
    assert not line.endswith(f"gave {first['expected']}; exact is {first['expected']}")


def test_the_axis_in_which_the_nearest_row_differs_is_named():
    candidate = in_numpy(("x / step", "none", "float32"), "added after rounding", "up")
    report = audit_quantizer(candidate, steps=(2.0**-60, 2.0**60))
    assert not report.dialects
    assert report.nearest is not None
    assert any(axis.startswith("ties") for axis in report.nearest.axes)


def test_the_pool_of_combinations_holds_no_rule_twice():
    for source in ("float32", "bfloat16", "float16", "float64"):
        pool = elements(source, False, True)
        rows = [element.row(source, 8, True, False).codes for element in pool if element.rounded]
        assert len({element.values for element in pool}) == len(pool)
        assert len(set(rows)) == len(rows)


def test_data_of_the_users_own_is_counted():
    data = np.random.default_rng(0).standard_normal(10_000).astype(F32)
    report = audit_quantizer(REFERENCE, data=data)
    assert any(sentence.startswith("On the data given") for sentence in report.proved)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"bits": 1}, "bits"),
        ({"bits": 17}, "bits"),
        ({"source": "int8"}, "source"),
        ({"step_format": "int8"}, "step_format"),
        ({"against": "nobody"}, "no quantizer is called"),
        ({"against": "ggml_q4_0"}, "has no int8 codes"),
        ({"form": "pair"}, "form"),
        ({"longest": 3}, "longest"),
        ({"steps": (1e30, 2e30)}, "steps"),
        ({"zero_points": (0.5,)}, "zero points with fractions"),
    ],
)
def test_what_cannot_be_audited_is_refused(arguments, text):
    with pytest.raises(bq.BitquantError, match=text):
        audit_quantizer(REFERENCE, **arguments)


def test_what_is_no_function_is_refused():
    with pytest.raises(bq.BitquantError, match="is no function"):
        audit_quantizer(3)
    with pytest.raises(bq.BitquantError, match="form"):
        audit_quantizer(lambda x, step: x)


def test_bfloat16_arrives_as_bfloat16():
    seen = set()

    def candidate(x, step, zero_point):
        seen.add(x.dtype)
        return REFERENCE(x.astype(F32), step, zero_point)

    audit_quantizer(candidate, source="bfloat16")
    assert seen == {np.dtype(ml_dtypes.bfloat16)}


@pytest.mark.parametrize("name", ["torch_fake_quantize", "torch_fake_quantize_per_channel"])
def test_fake_quantization_is_audited_by_its_numbers(name):
    def candidate(x, step, zero_point):
        return bq.quantize(x, dialect=name, step=step, zero_point=zero_point).dequantize()

    report = audit_quantizer(candidate, "numbers", against=name, steps=(2.0**-60, 2.0**60))
    assert report.identical, str(report)
    assert name in report.dialects
    for wrong, text in ((lambda *x: x[0] * 0 + F32(0.3), "the number of no code"), (REFERENCE, "not floats")):
        assert text in audit_quantizer(wrong, "numbers").faults[0]


def test_real_zero_points_are_added_before_rounding():
    report = audit_quantizer(
        by_row("hqq", 8, False), signed=False, zero_points=(3.25, -7.5, 100.125, 0.0), against=quantizer("hqq")
    )
    assert report.identical, str(report)
    assert report.rule["zero point"] == ("added before rounding",)
