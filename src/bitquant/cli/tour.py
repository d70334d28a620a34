"""`bitquant tour`: what low-precision numbers do to a small real model, every figure computed on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.calibrate import calibrate
from bitquant.cli.show import Part, Screen, number
from bitquant.convert import convert, encode
from bitquant.data import DigitsModel, load_digits_model
from bitquant.files import check_output, write_tensors
from bitquant.formats import BF16, FP16, FP32, INT8, Format
from bitquant.quantize import Quantized, asymmetric, clipped, quantize, symmetric

Tensors = Mapping[str, NDArray[Any]]

MODEL_FILE = "digits.npz"
COMMANDS = (
    (f"bitquant tour --save {MODEL_FILE}", "the model"),
    (f"bitquant quantize {MODEL_FILE} -o int8.npz --skip '*.bias'", "INT8"),
    (f"bitquant quantize {MODEL_FILE} -o int4.npz --bits 4 --axis 0", "INT4 per row"),
    (f"bitquant quantize {MODEL_FILE} -o clip.npz --range -0.7 0.7", "clipped"),
    (f"bitquant convert {MODEL_FILE} -o bf16.safetensors --to bfloat16", "BF16"),
    ("bitquant formats float16 bfloat16", "two rows"),
)

_PERCENTILE = 99.9
_OUTLIER = ("layer1.weight", (0, 32), 100)  # where it is planted, and how many times max|w| it is
_SPECIMEN = ("layer1.weight", (3, 20))  # the number that is shown bit by bit
_SHORT = {FP32: "FP32", FP16: "FP16", BF16: "BF16", INT8: "INT8"}


def save(path: Path, force: bool) -> None:
    """Write the tour's model to a file."""
    check_output(path, force, several=True)
    tensors = load_digits_model().tensors
    write_tensors(path, tensors, overwrite=force)
    count = sum(tensor.size for tensor in tensors.values())
    Screen().line(f"{len(tensors)} float32 tensors, {count:,} numbers, written: ", (str(path), "green"))


def run(plain: bool = False) -> None:
    """Print the tour."""
    screen, model = Screen(plain), load_digits_model()
    screen.line(("bitquant tour: a real model in fewer bits", "bold"), ", every figure computed just now")
    _the_model(screen, model)
    _range_and_precision(screen)
    _fewer_bits(screen, model)
    _the_outlier(screen, model)
    _one_number(screen, model)
    _next(screen)


def _the_model(screen: Screen, model: DigitsModel) -> None:
    weights = sum(tensor.size for tensor in _weights(model.tensors).values())
    count = sum(tensor.size for tensor in model.tensors.values())
    layers = [tensor.shape for tensor in _weights(model.tensors).values()]
    widths = " → ".join(map(str, (layers[0][1], *(shape[0] for shape in layers))))
    sizes = ", ".join(f"{_SHORT[fmt]} {count * fmt.bits // 8:,}" for fmt in _SHORT)
    _title(screen, 1, "The model")
    screen.prose(
        f"A network that reads handwritten digits of 8×8 pixels, {widths}. {weights:,} of its {count:,} "
        "parameters are weights, the rest biases: a language model is the same, millions of times larger. "
        f"It reads {model.accuracy():.1%} of {len(model.labels)} images it has never seen. "
        f"Its bytes: {sizes}."
    )


def _range_and_precision(screen: Screen) -> None:
    _title(screen, 2, "Bits buy range and precision")
    rows: list[list[Part]] = [
        [
            (_SHORT[fmt], "cyan"),
            str(fmt.bits),
            str(fmt.exponent_bits),
            str(fmt.significand_bits),
            number(fmt.max),
            number(fmt.smallest_subnormal),
            number(fmt.epsilon, 2),
            f"{fmt.decades:.1f}",
        ]
        for fmt in _SHORT
    ]
    heads = ("format", "bits", "exponent", "significand", "largest", "smallest", "epsilon", "decades")
    screen.table(heads, rows, indent="  ")
    screen.prose(
        "Exponent bits buy range: decades from smallest to largest. Significand bits buy precision: epsilon, the "
        "gap between 1 and the next number."
    )


@dataclass(frozen=True)
class _Variant:
    """The weights in one kind of low precision: the model that comes of it, and its size."""

    name: str
    tensors: Tensors
    size: int


def _fewer_bits(screen: Screen, model: DigitsModel) -> None:
    _title(screen, 3, "The same weights in fewer bits")
    weights = _weights(model.tensors)
    variants = [_Variant("FP32", weights, _bytes(weights))]
    for fmt in (FP16, BF16):
        converted = {name: np.asarray(convert(tensor, fmt)) for name, tensor in weights.items()}
        variants.append(_Variant(_SHORT[fmt], converted, _bytes(converted)))
    variants += [
        _quantized("INT8 symmetric", weights, symmetric),
        _quantized("INT8 asymmetric", weights, asymmetric),
        _quantized(f"INT8 clipped at {_PERCENTILE}%", weights, _clipped_at_percentile),
        _quantized("INT8, least squared error", weights, _least_squared_error),
        _quantized("INT8, a step per row", weights, lambda w: symmetric(w, axis=0)),
        _quantized("INT4 symmetric", weights, lambda w: symmetric(w, bits=4)),
        _quantized("INT4, least squared error", weights, lambda w: _least_squared_error(w, 4)),
        _quantized("INT4, a step per row", weights, lambda w: symmetric(w, bits=4, axis=0)),
        _quantized("INT4, a step per 16 weights", weights, lambda w: symmetric(w, bits=4, group_size=16)),
        _quantized("INT3 symmetric", weights, lambda w: symmetric(w, bits=3)),
        _quantized("INT2 symmetric", weights, lambda w: symmetric(w, bits=2)),
    ]
    rows: list[list[Part]] = []
    for variant in variants:
        sqnr, largest = _errors(weights, variant.tensors)
        exact = variant is variants[0]
        rows.append(
            [
                (variant.name, "cyan"),
                f"{variant.size:,}",
                "exact" if exact else f"{sqnr:.1f}",
                "0" if exact else number(largest),
                _share(model.accuracy(variant.tensors)),
            ]
        )
    screen.table(("weights as", "bytes", "SQNR dB", "max error", "accuracy"), rows, indent="  ")
    screen.prose(
        "SQNR: the power of the weights over that of the error; one bit is about 6 dB. Bytes: packed codes, "
        "FP32 steps, INT32 zero points; biases stay FP32. Clipped: the range ends at the "
        f"{_PERCENTILE}th percentile of |w|, which costs error here, where no weight sticks out; section 4 "
        "shows where it pays. Least squared error: the best of all ranges, found exactly; the fewer the bits, the "
        "more it clips."
    )


def _the_outlier(screen: Screen, model: DigitsModel) -> None:
    name, place, factor = _OUTLIER
    clean = model.tensors[name]
    largest = float(np.abs(clean).max())
    planted = clean.copy()
    planted[place] = np.float32(factor * largest)
    tensors = {**_weights(model.tensors), name: planted}
    same = bool(np.array_equal(model.logits(tensors={name: planted}), model.logits()))
    others = np.delete(planted.reshape(-1), np.ravel_multi_index(place, planted.shape))

    _title(screen, 4, "One outlier")
    where = f"{name}[{place[0]}, {place[1]}]"
    answer = "not one bit of an answer changes" if same else "the answers change"
    screen.prose(
        f"Planted for this tour: {where} = {factor} × max|w| = {planted[place]:.2f}. It weighs a pixel that no image "
        f"has ink in, so in FP32 {answer}."
    )
    cases: list[tuple[str, Tensors, Callable[[NDArray[Any]], Quantized]]] = [
        ("INT8, before", _weights(model.tensors), symmetric),
        ("INT8, with the outlier", tensors, symmetric),
        (
            "INT8, clipped without it",
            tensors,
            lambda w: _clipped_to(w, largest) if w is planted else symmetric(w),
        ),
        ("INT8, least squared error", tensors, _least_squared_error),
        ("INT8, a step per row", tensors, lambda w: symmetric(w, axis=0)),
    ]
    floats = "FP32, with the outlier"
    rows: list[list[Part]] = [[(floats, "cyan"), "–", "–", _share(model.accuracy(tensors))]]
    for label, weights, how in cases:
        found = how(weights[name])
        scales = np.unique(found.scale)
        scale = f"{scales[0]:.2f}" if scales.size == 1 else f"{scales[0]:.2f}…{scales[-1]:.0f}"
        kept = np.delete(np.asarray(found.codes).reshape(-1), np.ravel_multi_index(place, planted.shape))
        accuracy = model.accuracy(_quantized(label, weights, how).tensors)
        used = f"{np.unique(kept).size} of {found.qmax - found.qmin + 1}"
        rows.append([(label, "cyan"), scale, used, _share(accuracy)])
    screen.table(("weights as", "scale", "codes in use", "accuracy"), rows, indent="  ")
    screen.prose(
        f"Codes in use: by the other {others.size:,} weights of the layer, for which that one weight sets the "
        "scale. Least squared error keeps it: clipped, it would cost more than all others together. Two ways out: "
        "clip to a chosen range, or take a step per row. Finding the range is calibration: "
        "weights are known before the model runs, activations are not, and are measured on sample inputs "
        "(static calibration) or as they come (dynamic)."
    )


def _one_number(screen: Screen, model: DigitsModel) -> None:
    name, place = _SPECIMEN
    tensor = model.tensors[name]
    x = tensor[place]
    _title(screen, 5, "One number through the bits")
    screen.line(f"  x = {name}[{place[0]}, {place[1]}]")
    screen.line((f"       {'s exponent significand':36}{'value':14}error", "bold"))
    for fmt in (FP32, FP16, BF16):
        code = int(np.asarray(encode(x, fmt)))
        back = float(np.asarray(convert(x, fmt)).astype(np.float64))
        screen.line(
            f"  {_SHORT[fmt]:5}",
            *_bit_fields(code, fmt),
            f"{back:<14.9g}",
            number(back - float(x)),
        )
    for formulas in (_symmetric_formulas, _asymmetric_formulas):
        screen.line("")
        for line in formulas(tensor, place):
            screen.line(f"  {line}")


def _symmetric_formulas(tensor: NDArray[Any], place: tuple[int, int]) -> list[str]:
    x, found = float(tensor[place]), symmetric(tensor)
    q, back = _code_and_back(found, place)
    return [
        f"INT8 symmetric   scale = 127 / max|x| = 127 / {np.abs(tensor).max():.6f} = {found.scale:.4f}",
        f"  q = round(x·scale) = round({x * found.scale:.4f}) = {q}, bits {_byte(q)}",
        f"  back: q / scale = {back:.9g}, error {number(back - x)}",
    ]


def _asymmetric_formulas(tensor: NDArray[Any], place: tuple[int, int]) -> list[str]:
    x, found = float(tensor[place]), asymmetric(tensor)
    q, back = _code_and_back(found, place)
    low, high, zero = float(tensor.min()), float(tensor.max()), found.zero_point
    return [
        f"INT8 asymmetric  scale = 255 / (max − min) = 255 / {high - low:.6f} = {found.scale:.4f}",
        f"  zero_point = round(−min·scale) − 128 = round({-low * found.scale:.4f}) − 128 = {zero}",
        f"  q = round(x·scale + zero_point) = round({x * found.scale + zero:.4f}) = {q}, bits {_byte(q)}",
        f"  back: (q − zero_point) / scale = {back:.9g}, error {number(back - x)}",
    ]


def _next(screen: Screen) -> None:
    _title(screen, 6, "Try it")
    longest = max(len(command) for command, _ in COMMANDS)
    for command, what in COMMANDS:
        screen.line("  ", (command, "green"), " " * (longest - len(command) + 2), (f"# {what}", "dim"))


def _title(screen: Screen, place: int, words: str) -> None:
    screen.line("")
    screen.line((f"{place}  {words}", "bold"))


def _weights(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name.endswith(".weight")}


def _bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _quantized(name: str, weights: Tensors, how: Callable[[NDArray[Any]], Quantized]) -> _Variant:
    """Quantize weights; the size is that of codes packed to their bits, FP32 steps and INT32 zero points."""
    found = {key: how(tensor) for key, tensor in weights.items()}
    size = sum(-(-item.codes.size * item.bits // 8) + _parameter_bytes(item) for item in found.values())
    return _Variant(name, {key: np.asarray(item.dequantize("float32")) for key, item in found.items()}, size)


def _parameter_bytes(item: Quantized) -> int:
    return (4 if item.scheme == "symmetric" else 8) * int(np.size(item.step))


def _clipped_at_percentile(weights: NDArray[Any]) -> Quantized:
    return _clipped_to(weights, float(np.percentile(np.abs(weights), _PERCENTILE)))


def _least_squared_error(weights: NDArray[Any], bits: int = 8) -> Quantized:
    return quantize(weights, bits=bits, range=calibrate(weights, bits=bits))


def _clipped_to(weights: NDArray[Any], limit: float) -> Quantized:
    return clipped(weights, -limit, limit)


def _errors(weights: Tensors, found: Tensors) -> tuple[float, float]:
    """SQNR in dB and largest error over all tensors, in FP64."""
    exact = np.concatenate([weights[name].reshape(-1) for name in found]).astype(np.float64)
    off = np.concatenate([found[name].reshape(-1) for name in found]).astype(np.float64) - exact
    noise = float(off @ off)
    return (10 * float(np.log10(float(exact @ exact) / noise)) if noise else np.inf), float(np.abs(off).max())


def _bit_fields(code: int, fmt: Format) -> list[Part]:
    bits = f"{code:0{fmt.bits}b}"
    end = 1 + fmt.exponent_bits
    gap = " " * (FP32.bits - fmt.bits + 2)
    return [(bits[0], "red"), " ", (bits[1:end], "green"), " ", (bits[end:], "blue"), gap]


def _code_and_back(found: Quantized, place: tuple[int, int]) -> tuple[int, float]:
    return int(np.asarray(found.codes)[place]), float(np.asarray(found.dequantize("float64"))[place])


def _byte(code: int) -> str:
    return f"{code & 0xFF:08b}"


def _share(accuracy: float) -> Part:
    return (f"{accuracy:.1%}", "green" if accuracy > 0.98 else "yellow" if accuracy > 0.9 else "bold red")
