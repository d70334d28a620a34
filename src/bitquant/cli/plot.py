"""`bitquant plot`: a picture from the words of a command, written to a file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant import plotting
from bitquant.cli.show import Screen
from bitquant.data import load_digits_model
from bitquant.errors import BitquantError
from bitquant.files import check_place, open_tensors, replaced
from bitquant.plotting.canvas import pyplot
from bitquant.quantize import Quantized, quantize
from bitquant.rules import choose

_KINDS = (".png", ".svg", ".pdf")
_TENSOR = "layer1.weight"  # of the tour's model: what is drawn of a tensor where no file is given


@dataclass(frozen=True)
class Asked:
    """The words and options of a command; an option that was not given is None."""

    words: list[str]
    limits: tuple[float, float] | None
    bits: int | None
    scheme: str | None
    tensor: str | None


@dataclass(frozen=True)
class _Picture:
    """What a picture is, how it is drawn, and the options that it knows."""

    what: str
    draw: Callable[[Asked], Any]
    options: tuple[str, ...] = ()


def run(name: str, asked: Asked, output: Path, force: bool) -> None:
    """Draw a picture and write it."""
    choose("the picture", name, {known: row.what for known, row in PICTURES.items()})
    row = PICTURES[name]
    for option, given in (("range", asked.limits), ("bits", asked.bits), ("scheme", asked.scheme)):
        if given is not None and option not in row.options:
            known = ", ".join(f"--{allowed}" for allowed in row.options) or "no options"
            raise BitquantError(f"{name} does not know --{option}: it knows {known}")
    if asked.tensor is not None and "tensor" not in row.options:
        raise BitquantError(f"{name} draws no tensor: leave out --tensor")
    if output.suffix.lower() not in _KINDS:
        raise BitquantError(f"{output} is of no known kind: the name has to end in .png, .svg or .pdf")
    check_place(output, force)
    plt = pyplot()
    plt.switch_backend("agg")  # no window, whatever screen there is
    ax = row.draw(asked)
    with replaced(output, force) as file:
        ax.get_figure(root=True).savefig(file, format=output.suffix.lower()[1:], dpi=150, bbox_inches="tight")
    plt.close(ax.get_figure(root=True))
    Screen().line(f"{ax.get_title()}, written: ", (str(output), "green"))


def _number_line(asked: Asked) -> Any:
    low, high = asked.limits or (0.0, 8.0)
    return plotting.number_line(*asked.words, low=low, high=high)


def _bit_fields(asked: Asked) -> Any:
    value, *formats = asked.words or ["0.1"]
    try:
        number = float(value)
    except ValueError:
        raise BitquantError(f"{value!r} is no number: give one, and then the formats") from None
    return plotting.bit_fields(number, *formats)


def _curve(draw: Callable[..., Any]) -> Callable[[Asked], Any]:
    def drawn(asked: Asked) -> Any:
        if len(asked.words) > 1:
            raise BitquantError("one quantizer is drawn at a time: give one format, or --bits, --scheme and --range")
        if asked.words:
            if asked.bits or asked.scheme:
                raise BitquantError("a format says how it rounds: leave out --bits and --scheme")
            return draw(asked.words[0], *(asked.limits or ()))
        return draw(_quantized(np.zeros(1), asked, asked.limits or (-1.0, 1.0), 3))

    return drawn


def _histogram(asked: Asked) -> Any:
    name, tensor = _tensor(asked)
    return plotting.histogram(tensor, _quantized(tensor, asked, asked.limits, 8), name=name)


def _calibration_errors(asked: Asked) -> Any:
    name, tensor = _tensor(asked)
    return plotting.calibration_errors(tensor, bits=asked.bits or 8, scheme=asked.scheme or "symmetric", name=name)


def _quantized(x: NDArray[Any], asked: Asked, limits: tuple[float, float] | None, bits: int) -> Quantized:
    scheme: Any = asked.scheme or ("asymmetric" if limits and limits[0] != -limits[1] else "symmetric")
    return quantize(x, scheme, bits=asked.bits or bits, range=limits)


def _tensor(asked: Asked) -> tuple[str, NDArray[Any]]:
    """The tensor of a file that was asked for, the first float in it, or one of the tour's model."""
    if len(asked.words) > 1:
        raise BitquantError("one file is drawn at a time: choose its tensor with --tensor")
    if not asked.words:
        model = load_digits_model().tensors
        name = asked.tensor or _TENSOR
        _known(name, model)
        return name, model[name]
    with open_tensors(Path(asked.words[0])) as source:
        floats = [name for name, entry in source.tensors.items() if entry.is_float]
        if not (asked.tensor or floats):
            raise BitquantError(f"{asked.words[0]} has no float tensor: give another file")
        name = asked.tensor or floats[0]
        _known(name, source.tensors)
        return name, source.array(name)


def _known(name: str, tensors: Collection[str]) -> None:
    if name not in tensors:
        raise BitquantError(f"there is no tensor {name!r}: there are {', '.join(tensors)}")


_QUANTIZER = ("range", "bits", "scheme")
PICTURES: dict[str, _Picture] = {
    "number_line": _Picture("the numbers of formats", _number_line, ("range",)),
    "density": _Picture("how many numbers formats have in each binade", lambda a: plotting.density(*a.words)),
    "range_and_precision": _Picture(
        "what bits buy: all formats, or those named", lambda a: plotting.range_and_precision(*a.words)
    ),
    "bit_fields": _Picture("the bits of a number in formats", _bit_fields),
    "staircase": _Picture("what a format or a quantizer gives for each number", _curve(plotting.staircase), _QUANTIZER),
    "sawtooth": _Picture("its error", _curve(plotting.sawtooth), _QUANTIZER),
    "histogram": _Picture("a tensor of a file, its range and codes", _histogram, (*_QUANTIZER, "tensor")),
    "calibration_errors": _Picture(
        "what each method of calibration costs", _calibration_errors, ("bits", "scheme", "tensor")
    ),
}

__all__ = ["PICTURES", "Asked", "run"]
