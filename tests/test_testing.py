"""Assertions and the pytest fixture: what they let pass, and what they say of what they do not."""

from __future__ import annotations

import numpy as np
import pytest

import bitquant as bq
from bitquant.errors import BitquantError
from bitquant.testing import assert_codes_equal, assert_conversion, assert_matches_dialect, assert_quantizer

pytest_plugins = ["pytester"]


def test_equal_codes_pass_whatever_holds_them():
    values = np.array([[1.0, -2.0], [0.5, np.inf]], np.float16)
    assert_codes_equal(values, values.view(np.uint16), "float16")
    assert_codes_equal(values, values.view(np.uint16).astype(np.int64), "float16")
    assert_codes_equal(values.view(np.uint16).tolist(), values, "float16")
    assert_codes_equal(np.array([], np.float32), np.array([], np.uint32), "float32")


def test_differences_are_told_with_bits_values_and_distance():
    with pytest.raises(AssertionError) as error:
        assert_codes_equal(np.float16([[1, 2], [3, 4]]), np.float16([[1, 2], [3, 3.99]]), "float16")
    lines = str(error.value).splitlines()
    assert lines[0] == "1 of 4 codes of float16 differ"
    assert lines[1].startswith(
        "  at index (1, 1): 0x4400 (0|10001|0000000000) = 4, expected 0x43fb (0|10000|1111111011)"
    )
    assert lines[1].endswith(": 5 ulps")


def test_a_message_shows_the_input_and_where_it_lies():
    x = np.array([1 + 2.0**-11], np.float32)
    with pytest.raises(AssertionError, match="to the middle: a tie: it is the middle"):
        assert_codes_equal(np.uint16([0x3C01]), bq.encode(x, "float16"), "float16", inputs=x)


def test_nan_codes_differ_unless_any_will_do():
    one, other = np.uint16([0x7E00]), np.uint16([0x7E01])
    with pytest.raises(AssertionError, match="= NaN, expected"):
        assert_codes_equal(one, other, "float16")
    assert_codes_equal(one, other, "float16", any_nan=True)
    with pytest.raises(AssertionError):
        assert_codes_equal(one, np.uint16([0x7C00]), "float16", any_nan=True)


def test_zeros_of_either_sign_differ():
    with pytest.raises(AssertionError, match="= −0, expected 0x0000"):
        assert_codes_equal(np.float16([-0.0]), np.float16([0.0]), "float16")


def test_shapes_and_dtypes_are_checked():
    with pytest.raises(AssertionError, match="actual has shape"):
        assert_codes_equal(np.float16([1]), np.float16([1, 1]), "float16")
    with pytest.raises(BitquantError, match="actual: x has dtype float64"):
        assert_codes_equal(np.array([1.0]), np.float16([1]), "float16")


def test_integers_count_in_places():
    with pytest.raises(AssertionError, match=r"0x80 = -128, expected 0x7f = 127: 255 places"):
        assert_codes_equal(np.int8([-128]), np.int8([127]), "int8")


def test_a_conversion_that_differs_fails_with_its_report():
    with pytest.raises(AssertionError, match=r"rounding +toward_zero"):
        assert_conversion(lambda x: bq.encode(x, "bfloat16", rounding="toward_zero"), "float32", "bfloat16")
    assert assert_conversion(lambda x: bq.encode(x, "bfloat16"), "float32", "bfloat16").identical


def test_a_dialect_is_matched_or_not():
    saturating = {"overflow": "saturate"}
    cast = lambda x: bq.encode(x, "float8_e4m3fn", **saturating)  # noqa: E731
    assert assert_matches_dialect(cast, "torch", "float16", "float8_e4m3fn").identical
    with pytest.raises(AssertionError, match="differs from the dialect ml_dtypes"):
        assert_matches_dialect(cast, "ml_dtypes", "float16", "float8_e4m3fn")


def test_a_quantizer_matches_a_dialect_or_not():
    def quantizer(x, step, zero_point):
        return bq.quantize(x, dialect="xnnpack", step=step, zero_point=zero_point).codes

    assert assert_quantizer(quantizer, against="xnnpack").identical
    assert "xnnpack" in assert_matches_dialect(quantizer, "xnnpack").dialects
    with pytest.raises(AssertionError, match=r"(?s)differs from dialect tflite.*ties: to even"):
        assert_matches_dialect(quantizer, "tflite")


def test_the_fixture_passes_fails_and_records(pytester):
    pytester.makepyfile(
        """
        import bitquant as bq

        def test_right(bitquant_audit):
            assert bitquant_audit(lambda x: bq.encode(x, "float8_e5m2"), "float16", "float8_e5m2").identical

        def test_wrong(bitquant_audit):
            bitquant_audit(lambda x: bq.encode(x, "float8_e5m2", rounding="RTZ"), "float16", "float8_e5m2")

        def test_quantizer(bitquant_audit_quantizer):
            bitquant_audit_quantizer(lambda x, s, z: bq.quantize(x, dialect="onnx", step=s, zero_point=z).codes)
        """
    )
    result = pytester.runpytest_subprocess(
        "-p", "bitquant.pytest_plugin", "-p", "no:cacheprovider", "--junitxml=out.xml"
    )
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*differs from the exact conversion*", "*rounding*toward_zero*"])
    xml = (pytester.path / "out.xml").read_text()
    assert xml.count("bitquant_verdict") == 3
    assert "identical to the exact conversion" in xml
