"""Audits of quantizers that find their own parameters, and of the way back."""

import numpy as np
import pytest

import bitquant as bq
from bitquant.auditing.quantizers import audit_quantizer
from bitquant.dialects.quantizers import quantizers

ROWS = {row.name: row for row in quantizers()}
F32 = np.float32


def schemes():
    for row in quantizers():
        for scheme in ("symmetric", "asymmetric"):
            if row.parameters(scheme):
                yield row.name, scheme


def whole(name, scheme, bits, signed):
    def candidate(x):
        found = bq.quantize(x, scheme, dialect=name, bits=bits, signed=signed, nonfinite="saturate")
        return found.codes, found.step, found.zero_point

    return candidate


@pytest.mark.parametrize(("name", "scheme"), list(schemes()))
def test_a_named_row_that_finds_its_parameters_is_found_as_itself(name, scheme):
    row = ROWS[name]
    bits, signed = row.bits[0], row.signed[0]
    candidate = whole(name, scheme, bits, signed)
    report = audit_quantizer(candidate, source=row.inputs[0], bits=bits, signed=signed, against=name)
    assert report.identical, str(report)
    assert name in report.dialects
    assert report.rule["scheme"] == (scheme,) or name in ("nncf_sym", "ggml_q4_0"), report.rule
    x = np.random.default_rng(7).standard_normal((50, 64)).astype(F32) * 3
    for other in report.dialects:
        theirs = [
            whole(other, each, bits, signed) for each in ("symmetric", "asymmetric") if ROWS[other].parameters(each)
        ]
        assert any(all(alike(candidate(each), their(each)) for each in x) for their in theirs), other


@pytest.mark.parametrize("name", ["ggml_q8_0", "ggml_q8_0_avx", "ggml_q4_0"])
def test_blocks_of_32_are_asked_as_such(name):
    row = ROWS[name]

    def candidate(x):
        assert x.size == 32
        return whole(name, "symmetric", row.bits[0], row.signed[0])(x)

    report = audit_quantizer(candidate, bits=row.bits[0], signed=row.signed[0], against=name, longest=32)
    assert report.identical, str(report)
    assert report.dialects == (name,)


def alike(one, other):
    return (one[0] == other[0]).all() and one[1:] == other[1:]


def parameters(step, zero=None, symmetric=True, codes=np.rint):
    """A quantizer in plain NumPy from rules for step and zero point."""

    def candidate(x):
        low, high = x.min(), x.max()
        with np.errstate(all="ignore"):
            s = step(low, high)
            z = 0 if zero is None else zero(low, high, s)
            return np.nan_to_num(np.clip(codes(x / F32(s)) + z, -128, 127)).astype(np.int8), s, z

    return candidate


def amax(low, high):
    return max(abs(low), abs(high))


STEPS = {
    ("amax / qmax", "float32", "none"): lambda low, high: amax(low, high) / F32(127),
    ("amax / (qmax − qmin) / 2", "float32", "none"): lambda low, high: amax(low, high) / F32(127.5),
    ("amax / (qmax − qmin + 1) / 2", "float32", "none"): lambda low, high: amax(low, high) / F32(128),
    ("amax * (1 / qmax)", "float32", "none"): lambda low, high: amax(low, high) * (F32(1) / F32(127)),
    ("1 / (qmax / amax)", "float32", "none"): lambda low, high: F32(1) / (F32(127) / amax(low, high)),
    ("amax / qmax", "float32", "2^-23"): lambda low, high: max(amax(low, high) / F32(127), F32(2**-23)),
    ("amax / qmax", "float32", "epsilon in place of 0"): lambda low, high: (
        amax(low, high) / F32(127) or np.finfo(F32).eps
    ),
    ("amax / qmax", "float32", "the smallest normal number"): lambda low, high: max(
        amax(low, high) / F32(127), np.finfo(F32).tiny
    ),
}


@pytest.mark.parametrize("rule", STEPS)
def test_the_rule_of_a_symmetric_step_is_found(rule):
    report = audit_quantizer(parameters(STEPS[rule]))
    found = report.rule
    assert found["scheme"] == ("symmetric",)
    assert rule[0] in found["step"]
    assert rule[1] in found["step computed in"]
    assert found["step stored in"] == ("float32",)
    assert rule[2] in found["least step"]
    assert {"none", "2^-23", "the smallest normal number"} & set(found["least step"]) <= {rule[2]}
    # Divisors are told apart; forms of one divisor where float32 tells them apart.
    divisors = {value.replace("amax", "").replace("1 /", "").strip(" ()*/") for value in found["step"]}
    assert divisors <= {rule[0].replace("amax", "").replace("1 /", "").strip(" ()*/"), "1 * qmax", "qmax"}


def half_away(u):
    return np.copysign(np.floor(np.abs(u) + 0.5), u)


def span(low, high):
    return (max(high, F32(0)) - min(low, F32(0))) / F32(255)


ZEROS = {
    ("round(qmin − low / step)", "to even", "clamped"): lambda low, high, s: int(
        np.clip(np.rint(F32(-128) - min(low, F32(0)) / s), -128, 127)
    ),
    ("qmin − round(low / step)", "to even", "clamped"): lambda low, high, s: int(
        np.clip(-128 - np.rint(min(low, F32(0)) / s), -128, 127)
    ),
    ("qmin − round(low / step)", "away from zero", "clamped"): lambda low, high, s: int(
        np.clip(-128 - half_away(min(low, F32(0)) / s), -128, 127)
    ),
    ("qmax − round(high / step)", "to even", "clamped"): lambda low, high, s: int(
        np.clip(127 - np.rint(max(high, F32(0)) / s), -128, 127)
    ),
}


@pytest.mark.parametrize("rule", ZEROS)
def test_the_rule_of_a_zero_point_is_found(rule):
    def guarded(low, high, s):
        return ZEROS[rule](low, high, s) if s > 0 else 0

    found = audit_quantizer(parameters(span, guarded)).rule
    assert found["scheme"] == ("asymmetric",)
    assert found["range widened"] == ("zero is included",)
    assert found["zero point found as"] == (rule[0],)
    assert rule[1] in found["zero point rounded"]
    assert "to even" not in set(found["zero point rounded"]) - {rule[1]}
    assert "float32" in found["zero point computed in"]


def test_a_range_that_is_not_widened_is_told_from_one_that_is():
    def narrow(low, high):
        return (high - low) / F32(255)

    def zero(low, high, s):
        return int(np.rint(F32(-128) - low / s)) if s > 0 and high > low else 0

    def candidate(x):
        _, s, z = parameters(narrow, lambda *each: 0)(x)
        z = zero(x.min(), x.max(), s)
        with np.errstate(all="ignore"):
            return np.nan_to_num(np.clip(np.rint(x / s) + z, -128, 127)).astype(np.int8), s, z

    found = audit_quantizer(candidate).rule
    assert found["range widened"] == ("not widened",)
    assert "not clamped" in found["zero point clamped"]


def test_codes_from_the_largest_magnitude_and_not_from_the_step_are_told():
    def candidate(x):
        most = np.abs(x).max()
        with np.errstate(all="ignore"):
            codes = np.nan_to_num(np.clip(np.rint(x * (F32(127) / most)), -127, 127)).astype(np.int8)
        return codes, most / F32(127), 0

    report = audit_quantizer(candidate)
    assert report.rule["scaling"] == ("x * (qmax / amax)",)
    told = printed(report.reproducer, candidate)
    assert told[0] == "gave step {0!r}, zero point 0; exact is step {0!r}, zero point 0".format(
        float(report.mismatches["step"][0])
    )
    received, expected = (part.partition("[")[2].rstrip("]").split(", ") for part in told[1].split(";"))
    assert len(received) == len(expected) == 3  # the ends of the tensor, and a number
    assert received != expected


def printed(script, quantize):
    """What a script prints of a quantizer that it cannot import."""
    told = []
    assert "# quantize is the function that was audited" in script
    exec(script, {"quantize": quantize, "print": told.append})
    return told


def test_the_script_tells_parameters_that_differ():
    def candidate(x):
        step = float(np.abs(x).max()) / 127.5
        codes = np.clip(np.rint(x.astype(np.float64) / step), -128, 127).astype(np.int8) if step else x.astype(np.int8)
        return codes, step, 0

    report = audit_quantizer(candidate)
    told = printed(report.reproducer, candidate)
    amax = max(abs(float(number)) for number in _numbers(report.reproducer))
    assert told[0] == f"gave step {amax / 127.5!r}, zero point 0; exact is step {amax / 127!r}, zero point 0"
    assert f"# Held against {report.reference}." in report.reproducer


def _numbers(script):
    names = {"quantize": lambda x: (x.astype(np.int8), 1.0, 0), "print": str}
    exec(script, names)
    return names["x"]


def test_the_script_has_the_fewest_numbers_that_still_differ():
    def candidate(x):
        step = float(np.abs(x).max()) / 127
        codes = np.clip(np.rint(x.astype(np.float64) / step) if step else x, -127, 127).astype(np.int8)
        return (np.where(codes > 2, codes - 1, codes) if x.size > 300 else codes), step, 0

    report = audit_quantizer(candidate)
    assert report.wrong
    assert 300 < _numbers(report.reproducer).size < 320
    (_, line) = printed(report.reproducer, candidate)
    assert " at place " in line
    received, expected = line.partition(" gave ")[2].split("; exact is ")
    assert int(received) == int(expected) - 1


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("step_format", [None, "float32"])
def test_exact_quantizers_are_identical(scheme, step_format):
    def candidate(x):
        if np.ptp(x.astype(float)) <= 2.0**-130:
            return np.zeros(x.size, np.int8), 1.0, 0  # nothing is judged there
        found = bq.quantize(x, scheme, step_format=step_format)
        return found.codes, found.step, found.zero_point

    report = audit_quantizer(candidate)
    assert report.identical, str(report)


def test_what_returns_no_parameters_is_at_fault():
    report = audit_quantizer(lambda x: np.zeros(x.size, np.int8))
    assert "not codes, step and zero_point" in report.faults[0]
    assert not report.identical


# The way back.


def quantize_even(x, step, zero_point):
    return np.nan_to_num(np.clip(np.rint(x / F32(step)) + zero_point, -128, 127)).astype(np.int8)


BACK = {
    ("(code − zero_point) * step", "float32"): lambda c, s, z: (c.astype(int) - z).astype(F32) * F32(s),
    ("code * step − zero_point * step", "float32"): lambda c, s, z: c.astype(F32) * F32(s) - F32(z) * F32(s),
    ("(code − zero_point) / (1 / step)", "float32"): lambda c, s, z: (
        (c.astype(int) - z).astype(F32) / (F32(1) / F32(s))
    ),
}


@pytest.mark.parametrize("rule", BACK)
def test_the_rule_of_the_way_back_is_found(rule):
    report = audit_quantizer((quantize_even, BACK[rule]))
    assert rule[0] in report.rule["dequantization"]
    assert rule[1] in report.rule["dequantization precision"]
    assert report.rule["dequantized to"] == ("float32",)
    others = {form for form, _ in BACK} - {rule[0]}
    assert not others & set(report.rule["dequantization"]) or rule[0] != "code * step − zero_point * step"


@pytest.mark.parametrize("name", ["torch_decomposed_per_channel", "onnxruntime", "tflite", "xnnpack", "nncf_asym"])
def test_a_pair_by_a_named_row_is_found_as_itself(name):
    row = ROWS[name]
    signed = row.signed[0]

    def there(x, step, zero_point):
        return bq.quantize(x, dialect=name, signed=signed, step=step, zero_point=zero_point).codes

    def back(codes, step, zero_point):
        return bq.dequantize(codes, dialect=name, step=step, zero_point=zero_point)

    report = audit_quantizer((there, back), signed=signed, against=name)
    assert report.identical, str(report)
    assert name in report.dialects


def test_a_way_back_that_is_wrong_by_one_bit_is_a_mismatch_of_values():
    def back(codes, step, zero_point):
        return np.nextafter((codes.astype(int) - zero_point).astype(F32) * F32(step), F32(np.inf))

    report = audit_quantizer((quantize_even, back))
    assert report.rule["dequantization"] == ()
    assert (report.mismatches["part"] == "values").any()


@pytest.mark.parametrize("back", [lambda c, s, z: c, lambda c, s, z: c[:3].astype(F32), lambda c, s, z: 1 / 0])
def test_a_way_back_without_numbers_is_at_fault(back):
    assert "dequantize" in audit_quantizer((quantize_even, back)).faults[0]
