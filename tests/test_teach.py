"""The teacher: right solutions pass, plausible wrong ones fail where they are wrong, and nothing hangs."""

import itertools
import struct
from fractions import Fraction

import numpy as np
import pytest

import bitquant as bq
from bitquant import teach

# Right solutions, written with integers, struct and Fraction: they also judge the expected answers of the rows.


def memory_bytes(parameters, bits):
    return -(-parameters * bits // 8)


def largest_finite(exponent_bits, significand_bits):
    return float((2 - Fraction(1, 2**significand_bits)) * 2 ** (2 ** (exponent_bits - 1) - 1))


def smallest_positive(exponent_bits, significand_bits):
    return float(Fraction(2) ** (2 - 2 ** (exponent_bits - 1) - significand_bits))


def fp16_fields(code):
    text = f"{code:016b}"
    return int(text[0], 2), int(text[1:6], 2), int(text[6:], 2)


def decode_fp16(code):
    return struct.unpack("<e", struct.pack("<H", code))[0]


def round_to_nearest_even(n, dropped):
    return round(Fraction(n, 2**dropped))


def bf16_to_fp32(code):
    return int.from_bytes(b"\0\0" + code.to_bytes(2, "little"), "little")


def fp32_to_bf16(code):
    rest, kept = code & 0xFFFF, code >> 16
    if code & 0x7FFFFFFF > 0x7F800000:
        return 0xFFFF
    return kept + (rest > 0x8000 or (rest == 0x8000 and kept & 1 == 1))


def scale_of(x):
    largest = max(abs(Fraction(each)) for each in x.tolist())
    return float(127 / largest) if largest else 1.0


def int8_symmetric(x, scale):
    return max(-127, min(127, round(Fraction(x) * Fraction(scale))))


def dequantize_int8(code, scale):
    return float(code / Fraction(scale))


def zero_point_of(low, high):
    return round(-Fraction(low) * 255 / (Fraction(high) - Fraction(low))) - 128


def asymmetric_quantize(x, scale, zero_point):
    return max(-128, min(127, round(Fraction(x) * Fraction(scale) + zero_point)))


def clip_range(x, percent):
    magnitudes = sorted(abs(x).tolist())
    return next(each for each in magnitudes if sum(m <= each for m in magnitudes) * 100 >= percent * len(x))


def sqnr(x, y):
    pairs = list(zip(map(Fraction, x.tolist()), map(Fraction, y.tolist()), strict=True))
    noise = sum((a - b) ** 2 for a, b in pairs)
    return 10 * np.log10(float(sum(a * a for a, _ in pairs) / noise)) if noise else float("inf")


def mse_range(x, candidates):
    def error(limit):
        codes = [max(-3, min(3, round(Fraction(each) * 3 / Fraction(limit)))) for each in x.tolist()]
        return sum(
            (Fraction(each) - code * Fraction(limit) / 3) ** 2 for each, code in zip(x.tolist(), codes, strict=True)
        )

    return min(candidates.tolist(), key=error)


def static_range(batches):
    numbers = [number for batch in batches for number in batch]
    return min(numbers), max(numbers)


def integer_layer(x, w, x_zero_point):
    return (x.astype(np.int64) - x_zero_point) @ w.astype(np.int64).T


def requantize(sums, multiplier):
    return max(-128, min(127, round(sums * Fraction(multiplier))))


RIGHT = (
    memory_bytes, largest_finite, smallest_positive, fp16_fields, decode_fp16, round_to_nearest_even, bf16_to_fp32,
    fp32_to_bf16, scale_of, int8_symmetric, dequantize_int8, zero_point_of, asymmetric_quantize, clip_range, sqnr,
    mse_range, static_range, integer_layer, requantize,
)  # fmt: skip


def test_the_right_solutions_are_those_of_all_exercises():
    assert [each.__name__ for each in RIGHT] == [exercise.name for exercise in teach.exercises()]


@pytest.mark.parametrize("function", RIGHT, ids=lambda each: each.__name__)
def test_a_right_solution_passes(function):
    grade = teach.check(function.__name__, function)
    assert grade, str(grade)
    assert grade.wrong == 0
    assert grade.first is None
    assert "passed" in str(grade)
    assert grade._repr_html_().startswith("<div")


def codes(x, scale, low=-127):
    return np.rint(x * scale).clip(low, 127).astype(np.int8)


WRONG = [  # name, a plausible mistake, the first call that shows it, the first words of what is expected
    ("memory_bytes", lambda n, b: n * b // 8, "memory_bytes(1, 1)", "1"),
    ("memory_bytes", lambda n, b: n * b, "memory_bytes(2, 1)", "1"),
    ("largest_finite", lambda e, m: 2.0 ** (2 ** (e - 1)), "largest_finite(2, 1)", "3.0"),
    ("largest_finite", lambda e, m: (2 - 2.0**-m) * 2.0 ** (2 ** (e - 1)), "largest_finite(2, 1)", "3.0"),
    ("smallest_positive", lambda e, m: 2.0 ** (2 - 2 ** (e - 1)), "smallest_positive(2, 1)", "0.5"),
    ("smallest_positive", lambda e, m: 2.0 ** (1 - 2 ** (e - 1) - m), "smallest_positive(2, 1)", "0.5"),
    ("fp16_fields", lambda c: (c >> 15, c >> 10, c & 1023), "fp16_fields(0x8000)", "(1, 0, 0)"),
    ("fp16_fields", lambda c: (c >> 15, c >> 10 & 31, c & 511), "fp16_fields(0x3e00)", "(0, 15, 512)"),
    (
        "decode_fp16",  # infinity and NaN forgotten
        lambda c: (-1.0) ** (c >> 15) * (1024 * ((c >> 10 & 31) > 0) + (c & 1023)) * 2.0 ** (max(c >> 10 & 31, 1) - 25),
        "decode_fp16(0x7c00)",
        "inf",
    ),
    (
        "decode_fp16",  # subnormal numbers with a leading 1
        lambda c: (1 + (c & 1023) / 1024) * 2.0 ** ((c >> 10 & 31) - 15) if c < 0x7C00 else decode_fp16(c),
        "decode_fp16(0x0000)",
        "0.0",
    ),
    ("decode_fp16", lambda c: decode_fp16(c) + 0.0, "decode_fp16(0x8000)", "-0.0"),
    ("round_to_nearest_even", lambda n, d: n >> d, "round_to_nearest_even(3, 1)", "2"),
    ("round_to_nearest_even", lambda n, d: (n + (1 << d >> 1)) >> d, "round_to_nearest_even(1, 1)", "0"),
    ("bf16_to_fp32", lambda c: c << 16, "bf16_to_fp32(0x3f80)", "0x3f800000 "),
    ("bf16_to_fp32", lambda c: np.uint32(c), "bf16_to_fp32(0x3f80)", "0x3f800000 "),
    ("fp32_to_bf16", lambda c: c >> 16, "fp32_to_bf16(0x3f808001)", "0x3f81 "),
    ("fp32_to_bf16", lambda c: (c.astype(np.uint64) + 0x8000) >> 16, "fp32_to_bf16(0x3f808000)", "0x3f80 "),
    ("fp32_to_bf16", lambda c: (c + 0x7FFF + (c >> 16 & 1)) >> 16, "fp32_to_bf16(0x7f800001)", "0x7fc0 "),
    ("scale_of", lambda x: 127 / x.max() if x.any() else 1, "scale_of([-6.0])", "21.1666"),
    ("scale_of", lambda x: 127 / abs(x).max(), "scale_of([0.0])", "1.0"),
    ("int8_symmetric", lambda x, s: np.int8(np.trunc(x * s).clip(-127, 127)), "int8_symmetric(0.5, 127.0)", "64"),
    ("int8_symmetric", lambda x, s: codes(x, s, -128), "int8_symmetric(-1.0048828125, 127.0)", "-127"),
    ("int8_symmetric", lambda x, s: np.rint(x * s).astype(np.int64), "int8_symmetric(1.0048828125, 127.0)", "127"),
    ("dequantize_int8", lambda q, s: q * s, "dequantize_int8(-128, 127.0)", "-1.00787"),
    ("dequantize_int8", lambda q, s: q / s + 0.5 / s, "dequantize_int8(-128, 127.0)", "-1.00787"),
    ("zero_point_of", lambda a, b: int(-a * 255 / (b - a)) - 128, "zero_point_of(-16.0, -9.0)", "455"),
    ("zero_point_of", lambda a, b: round(-a * 255 / (b - a)), "zero_point_of(-16.0, -15.0)", "3952"),
    ("zero_point_of", lambda a, b: min(127, zero_point_of(a, b)), "zero_point_of(-16.0, -15.0)", "3952"),
    (
        "asymmetric_quantize",
        lambda x, s, z: (np.rint(x * s) + z).clip(-128, 127).astype(np.int8),
        "asymmetric_quantize(-2.0, 63.75, 5)",
        "-122",
    ),
    (
        "asymmetric_quantize",
        lambda x, s, z: codes(x * s + z, 1),
        "asymmetric_quantize(-2.080078125, 63.75, 5)",
        "-128",
    ),
    ("clip_range", lambda x, p: np.percentile(abs(x), p), "clip_range([-6.0, -4.0], 50)", "4.0"),
    ("clip_range", lambda x, p: np.sort(x)[-(-p * len(x) // 100) - 1], "clip_range([-6.0], 50)", "6.0"),
    ("sqnr", lambda x, y: 20 * np.log10((x @ x) / ((x - y) @ (x - y))), "sqnr([-6.0, -6.0], [-6.0, -4.0])", "12.55"),
    ("sqnr", lambda x, y: 10 * np.log10((y @ y) / ((x - y) @ (x - y))), "sqnr([-6.0, -6.0], [-6.0, -4.0])", "12.55"),
    ("mse_range", lambda x, c: abs(x).max(), "mse_range([-4.0, -4.0, -2.0], [0.5, 1.0", "6"),
    ("mse_range", lambda x, c: c[-2], "mse_range([-6.0, -6.0, -6.0], [0.5, 1.0", "6"),
    ("static_range", lambda b: (b[-1].min(), b[-1].max()), "static_range([[-6.0, -6.0], [-4.0, -4.0]])", "[-6.0,"),
    ("static_range", lambda b: (-abs(b).max(), abs(b).max()), "static_range([[-6.0, -6.0], [-6.0, -6.0]])", "[-6.0"),
    ("integer_layer", lambda x, w, z: x @ w.T, "integer_layer(<int8 of shape (256, 1)>", "<int32 of shape (256, 256)>"),
    ("integer_layer", lambda x, w, z: np.int32(x) @ np.int32(w.T), "integer_layer(<int8 of shape (256, 1)>", "<int32"),
    ("requantize", lambda s, m: np.int8(np.floor(s * m + 0.5).clip(-128, 127)), "requantize(128, 0.00390625)", "0"),
    ("requantize", lambda s, m: np.int64(np.rint(s * m)).astype(np.int8), "requantize(32640, 0.00390625)", "127"),
]


@pytest.mark.parametrize(("name", "function", "call", "expected"), WRONG)
def test_a_wrong_solution_fails_at_its_first_wrong_input(name, function, call, expected):
    grade = teach.check(name, function)
    assert not grade
    assert grade.first is not None, grade.trouble
    assert grade.first.call.startswith(call)
    assert grade.first.expected.startswith(expected)
    assert grade.wrong >= 1
    assert grade.first.why
    assert grade.first.call in str(grade)


def test_every_exercise_has_two_wrong_solutions_here():
    for exercise in teach.exercises():
        assert sum(row[0] == exercise.name for row in WRONG) >= 2, exercise.name


def test_a_function_of_arrays_is_asked_for_arrays_and_one_of_numbers_for_numbers():
    kinds = set()

    def one_by_one(code):
        kinds.add(type(code))
        return int(code) << 16  # refuses arrays

    assert teach.check("bf16_to_fp32", one_by_one)
    assert kinds == {np.ndarray, int}
    shapes = set()

    def at_once(code):
        shapes.add(np.shape(code))
        return np.asarray(code).astype(np.uint32) << 16

    assert teach.check("bf16_to_fp32", at_once)
    assert shapes == {(5,), (65536,)}


def test_what_was_not_asked_is_said():
    grade = teach.check("fp32_to_bf16", fp32_to_bf16)
    assert grade
    assert not grade.proved
    assert "not every input there is; all 4,294,967,296 codes would take too long" in str(grade)
    proved = teach.check("decode_fp16", decode_fp16)
    assert proved.proved
    assert "every input there is" in str(proved)
    assert "not every" not in str(proved)


def test_a_slow_function_of_arrays_gets_the_part_that_is_stated():
    grade = teach.check("fp32_to_bf16", lambda c: np.asarray(bq.encode(c.view(np.float32), "bfloat16")), patience=0)
    assert grade
    assert not grade.proved
    assert grade.checked == 128 * 6 + 65536 * 6


@pytest.mark.exhaustive
def test_all_inputs_of_fp32_to_bf16_are_walked():
    grade = teach.check("fp32_to_bf16", lambda c: np.asarray(bq.encode(c.view(np.float32), "bfloat16")), patience=1e9)
    assert grade.proved
    assert grade.checked == 2**32

    def wrong_at_one(code):
        right = np.asarray(bq.encode(code.view(np.float32), "bfloat16")).copy()
        right[code == 0x12345678] ^= 1
        return right

    grade = teach.check("fp32_to_bf16", wrong_at_one, patience=1e9)
    assert not grade
    assert grade.wrong == 1
    assert grade.first.call == "fp32_to_bf16(0x12345678)"


def raises(code):
    raise KeyError("significand")


def leaves(code):
    raise SystemExit


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (raises, r"It raised KeyError: 'significand', at fp16_fields\(15360\)\."),
        (leaves, r"It raised SystemExit, at fp16_fields\(15360\)\."),
        (lambda code: None, "It returned None .* where 3 results belong"),
        (lambda code: (0, 0), "It returned a tuple of 2 where 3 results belong"),
        (lambda code: (0, 0, None), r"It returned None \(is there a return\?\) where whole numbers belong"),
        (lambda code: (0, 0, 0.0), "It returned a float where whole numbers belong"),
        (lambda code: (0, 0, True), "It returned a bool where whole numbers belong"),
        (lambda code: (0, 0, "0"), "It returned a str where whole numbers belong"),
        (lambda code: (0, 0, 1 << 70), "which no integer type holds"),
        (lambda code: (0, 0, [1, [2]]), "It returned a list, which is not numbers"),
        (lambda code: (0, 0, [1, 2]), r"It returned shape \(2,\) where \(\) belongs"),
        (lambda: 0, "It raised TypeError"),
    ],
)
def test_what_is_no_answer_gets_a_sentence(function, sentence):
    grade = teach.check("fp16_fields", function)
    assert not grade
    assert grade.first is None
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(grade.trouble)
    assert grade.trouble in str(grade)


def test_a_function_that_does_not_return_is_left_and_ended():
    running = itertools.count()

    def endless(code):
        while True:
            next(running)

    grade = teach.check("decode_fp16", endless, limit=0.3)
    assert not grade
    assert "had not returned after 0.3 seconds" in grade.trouble


def test_a_function_that_changes_its_input_does_not_change_what_is_told():
    def greedy(code):
        code[...] = 0
        return code

    grade = teach.check("bf16_to_fp32", greedy)
    assert grade.first.call == "bf16_to_fp32(0x3f80)"


def test_what_is_misspelt_or_cannot_be_called_is_refused():
    with pytest.raises(bq.BitquantError, match="there is no exercise 'fp32_to_fp16'; the course has memory_bytes"):
        teach.check("fp32_to_fp16", abs)
    with pytest.raises(bq.BitquantError, match="int cannot be called"):
        teach.check("sqnr", 3)


def test_the_exercises_print_as_a_list():
    assert str(teach.exercises(2)).count("lesson 2") == len(teach.exercises(2)) == 5
    assert "fp32_to_bf16(code)" in teach.exercises()._repr_html_()
    assert {exercise.lesson for exercise in teach.exercises()} == {1, 2, 3, 4, 5, 6}
