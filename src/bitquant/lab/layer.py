"""The page's figures for a real layer: its histogram, and what a clipping range makes of it and of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from bitquant.calibrate import METHODS, calibrate
from bitquant.data import DigitsModel, load_digits_model
from bitquant.errors import BitquantError
from bitquant.explaining.exact import scientific
from bitquant.explaining.reading import exact_number
from bitquant.quantize import Quantized, quantize
from bitquant.quantize.parameters import SCHEMES
from bitquant.rules import choose

if TYPE_CHECKING:
    from bitquant.calibrate.front import Method

_BINS = 120
_STEPS = 500  # of a slider, from zero to its end
_SAMPLES = (0.0, 0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999, 1.0)  # which of the sorted numbers are shown
_MOVED = {"low": "", "high": "", "both": ""}


@lru_cache(maxsize=1)
def _model() -> DigitsModel:
    return load_digits_model()


def _wrong(tensors: Mapping[str, NDArray[Any]]) -> int:
    """How many images the model reads wrongly with these tensors in place of its own."""
    return int(np.count_nonzero(_model().logits(tensors=tensors).argmax(axis=1) != _model().labels))


def _accuracy(wrong: int) -> str:
    return f"{(1 - wrong / len(_model().labels)) * 100:.1f} %"


def start() -> dict[str, Any]:
    """The layers there are, the schemes and the methods of calibration."""
    model = _model()
    return {
        "layers": [name for name in model.tensors if name.endswith("weight")],
        "schemes": list(SCHEMES),
        "methods": [{"name": name, "what": row.what} for name, row in METHODS.items()],
        "images": len(model.labels),
        "accuracy": _accuracy(_wrong({})),
    }


def _numbers(layer: str) -> NDArray[np.float32]:
    choose("layer", layer, dict.fromkeys(_model().tensors, ""))
    return _model().tensors[layer]


def tensor(layer: str) -> dict[str, Any]:
    """How the numbers of a layer are spread, and how far a slider goes."""
    x = _numbers(layer)
    step = _slider_step(x)
    end = step * _STEPS
    counts, edges = np.histogram(x.astype(np.float64), _BINS, (-float(end), float(end)))
    return {
        "layer": layer,
        "shape": " × ".join(map(str, x.shape)),
        "numbers": x.size,
        "min": _short(Fraction(float(x.min()))),
        "max": _short(Fraction(float(x.max()))),
        "slider": {"min": _decimal(-end), "max": _decimal(end), "step": _decimal(step)},
        "bars": _bars(counts),
        "ticks": _ticks(end),
        "bin": _short(Fraction(float(edges[1] - edges[0])), 3),
    }


def _slider_step(x: NDArray[np.float32]) -> Fraction:
    """A step of a slider that reaches a little beyond the largest magnitude: 1, 2, or 5 times a power of ten."""
    largest = Fraction(float(np.abs(x).max())) * Fraction(21, 20) / _STEPS
    decade = Fraction(10) ** math.floor(math.log10(largest))
    return next(k * decade for k in (1, 2, 3, 4, 5, 6, 8, 10) if k * decade >= largest)


def _bars(counts: NDArray[Any]) -> list[dict[str, Any]]:
    """Counts, with the height of a bar from 0 to 1, logarithmic: what is rare is seen too."""
    top = math.log1p(int(counts.max()))
    return [{"count": int(count), "height": round(math.log1p(int(count)) / top, 4)} for count in counts]


def _ticks(end: Fraction) -> list[dict[str, Any]]:
    """Five places of the axis and their numbers."""
    return [{"at": k / 4, "text": _short(end * (k - 2) / 2, 3)} for k in range(5)]


def quantized(
    layer: str,
    scheme: str,
    bits: int,
    method: str | None = None,
    low: str | None = None,
    high: str | None = None,
    moved: str = "both",
) -> dict[str, Any]:
    """What a range makes of a layer; the range is given, or found by a method of calibration.

    In the symmetric scheme both ends follow the one that was moved.
    """
    x = _numbers(layer)
    chosen = choose("scheme", scheme, SCHEMES)
    choose("moved", moved, _MOVED)
    if (method is None) == (low is None) or (low is None) != (high is None):
        raise BitquantError("give the two ends low and high, or the method that finds them")
    if low is None or high is None:
        known = choose("method", method, {name: row.what for name, row in METHODS.items()})
        found = calibrate(x, cast("Method", known), scheme=chosen, bits=bits)  # METHODS has no others
        ends = found.low, found.high
    else:
        ends = _ends(exact_number(low, "low"), exact_number(high, "high"), scheme, moved)
    return _told(layer, x, quantize(x, chosen, bits=bits, range=ends), ends)


def _ends(low: Fraction, high: Fraction, scheme: str, moved: str) -> tuple[Fraction, Fraction]:
    if scheme == "symmetric":
        reach = abs(low) if moved == "low" else abs(high) if moved == "high" else max(abs(low), abs(high))
        low, high = -reach, reach
    if low >= high:
        raise BitquantError(f"the low end {_short(low)} has to lie below the high end {_short(high)}")
    return low, high


def _told(layer: str, x: NDArray[np.float32], found: Quantized, ends: tuple[Fraction, Fraction]) -> dict[str, Any]:
    error = found.error(x)
    scale = found.exact_scale
    assert isinstance(scale, Fraction)  # one for the layer
    back = found.dequantize()
    codes = np.asarray(found.codes).astype(np.int64)
    counts = np.bincount(codes.reshape(-1) - found.qmin, minlength=found.qmax - found.qmin + 1)
    wrong = _wrong({layer: back})
    return {
        "low": _decimal(ends[0]),
        "high": _decimal(ends[1]),
        "low_text": _short(ends[0]),
        "high_text": _short(ends[1]),
        "range": f"{_short(ends[0])} … {_short(ends[1])}",
        "bits": found.bits,
        "scheme": found.scheme,
        "scale": _short(scale),
        "step": _short(1 / scale),
        "zero_point": found.zero_point,
        "qmin": found.qmin,
        "qmax": found.qmax,
        "clipped": error.clipping.count,
        "clipped_percent": f"{error.clipped * 100:.2f} %",
        "sqnr": f"{error.sqnr_db:.2f} dB",
        "mse": f"{error.mse:.3g}",
        "mse_rounding": f"{error.rounding.mse:.3g}",
        "mse_clipping": f"{error.clipping.mse:.3g}",
        "max_abs": f"{error.max_abs:.3g}",
        "codes_used": int(np.count_nonzero(counts)),
        "codes": _bars(counts),
        "code_ticks": [{"at": at, "text": str(value)} for at, value in _code_ticks(found)],
        "accuracy": _accuracy(wrong),
        "wrong": wrong,
        "samples": _samples(x, codes, np.asarray(back)),
    }


def _code_ticks(found: Quantized) -> list[tuple[float, int]]:
    """Where the lowest code, that of zero and the highest stand among the bars, from 0 to 1."""
    count = found.qmax - found.qmin + 1
    codes = sorted({found.qmin, min(max(found.zero_point, found.qmin), found.qmax), found.qmax})
    return [((code - found.qmin + 0.5) / count, code) for code in codes]


def _samples(x: NDArray[np.float32], codes: NDArray[np.int64], back: NDArray[Any]) -> list[dict[str, Any]]:
    """Some of the numbers in order, what became of them, and how far off that is."""
    order = np.argsort(x, axis=None, kind="stable")
    rows = []
    for share in _SAMPLES:
        place = order[round(share * (x.size - 1))]
        number, value = (Fraction(float(array.reshape(-1)[place])) for array in (x, back))
        rows.append({"number": _short(number), "code": int(codes.reshape(-1)[place]), "value": _short(value),
                     "error": _short(value - number, 3)})  # fmt: skip
    return rows


def _short(value: Fraction, digits: int = 6) -> str:
    return scientific(value, digits)


def _decimal(value: Fraction) -> str:
    """A number as an HTML slider takes it: a decimal without exponent, exact where it is short."""
    return f"{float(value):.12f}".rstrip("0").rstrip(".")


__all__ = ["quantized", "start", "tensor"]
