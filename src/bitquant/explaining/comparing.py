"""What other libraries make of the number: each imported when it is asked."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.explaining.exact import Real, decoded
from bitquant.explaining.explanation import Explanation
from bitquant.formats import FP32, FP64, Format
from bitquant.kernels.pipeline import Pipeline
from bitquant.quantize.rationals import nearest_float
from bitquant.stages import to_carrier


@dataclass(frozen=True)
class Answer:
    """One library's answer.

    Attributes
    ----------
    library : str
        With its version.
    code : int or None
        None where it has no such conversion.
    real : Real or None
        What the code stands for.
    same : bool or None
        Whether it is the code explained.
    note : str
        What it was asked, where that is not the number itself.
    """

    library: str
    code: int | None = None
    real: Real | None = None
    same: bool | None = None
    note: str = ""


def with_answers(e: Explanation, libraries: Sequence[str]) -> Explanation:
    """The explanation with the answers of libraries."""
    unknown = [name for name in libraries if name not in _LIBRARIES]
    if unknown:
        raise BitquantError(f"{unknown[0]!r} cannot be asked: choose {', '.join(_LIBRARIES)}")
    return replace(e, answers=(*e.answers, *(_ask(e, name) for name in libraries)))


def _ask(e: Explanation, name: str) -> Answer:
    try:
        module = importlib.import_module(name)
    except ImportError:
        raise BitquantError(f"{name} is not installed: pip install {name}") from None
    library = f"{name} {module.__version__}"
    number, fmt, note = _number(e)
    if e.block is not None:
        return Answer(library, note="has no such block format here")
    ask = _quantizers.get(name) if e.mapping is not None else _LIBRARIES[name]
    code = None if ask is None else ask(module, number, fmt, e)
    if code is None:
        return Answer(library, note=f"has no way from {fmt.name} to {e.target.name}")
    real = decoded(code, e.target)
    if e.mapping is not None:
        signed = code - (1 << e.target.bits) if code > e.target.largest_code else code
        value = (signed - e.mapping.zero_point) / e.mapping.scale
        real = Real("finite", value < 0, abs(value))
    return Answer(library, code, real, code == e.code, note)


def _number(e: Explanation) -> tuple[np.ndarray[Any, Any], Format, str]:
    """The number as an array of one, its format, and what is to be said where it had to be rounded first."""
    given = e.given
    fmt = given.source
    if fmt is not None and given.code is not None:
        codes = np.array([given.code], fmt.code_dtype)
        if fmt.dtype is not None:
            return codes.view(fmt.dtype), fmt, ""
        doubles = np.empty(1, np.uint64)
        Pipeline((to_carrier(fmt, FP64, quiet=False),)).run(codes, doubles)
        return doubles.view(np.float64), FP64, "given as float64"
    if given.real.kind != "finite":
        return np.array([given.word], np.uint64).view(np.float64), FP64, "given as float64"
    number = nearest_float(given.real.value)
    held = np.isfinite(number) and given.real.value == number
    number = -0.0 if given.real.negative and not given.real.magnitude else number
    return np.array([number]), FP64, "given as float64" + ("" if held else ", which rounds it first")


def _cast(array: np.ndarray[Any, Any], target: Format) -> int | None:
    if target.dtype is None:
        return None
    with np.errstate(all="ignore"):
        return int(array.astype(target.dtype).view(target.code_dtype)[0]) & ((1 << target.bits) - 1)


def _numpy(module: Any, array: np.ndarray[Any, Any], fmt: Format, e: Explanation) -> int | None:
    own = all(one.dtype is not None and one.dtype.isbuiltin == 1 for one in (fmt, e.target))
    return _cast(array, e.target) if own else None


def _ml_dtypes(module: Any, array: np.ndarray[Any, Any], fmt: Format, e: Explanation) -> int | None:
    return _cast(array, e.target)


def _torch(module: Any, array: np.ndarray[Any, Any], fmt: Format, e: Explanation) -> int | None:
    source, target = (getattr(module, one.name, None) for one in (fmt, e.target))
    if source is None or target is None:
        return None
    words = {1: module.uint8, 2: module.int16, 4: module.int32, 8: module.int64}
    bits = array.view(f"i{fmt.code_dtype.itemsize}" if fmt.code_dtype.itemsize > 1 else "u1")
    try:
        result = module.from_numpy(bits).view(source).to(target).view(words[e.target.code_dtype.itemsize])
    except (RuntimeError, NotImplementedError):
        return None
    return int(result[0]) % (1 << e.target.bits)


def _torch_quantize(module: Any, array: np.ndarray[Any, Any], fmt: Format, e: Explanation) -> int | None:
    kind = {"int8": module.qint8, "uint8": module.quint8}.get(e.target.name)
    if kind is None or e.mapping is None:
        return None
    number = module.from_numpy(np.asarray(convert(array, FP32)))
    step = nearest_float(e.mapping.step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it may be gone some day
        codes = module.quantize_per_tensor(number, step, e.mapping.zero_point, kind).int_repr()
    return int(codes[0]) % 256


_LIBRARIES: dict[str, Callable[..., int | None]] = {"numpy": _numpy, "ml_dtypes": _ml_dtypes, "torch": _torch}
_quantizers: dict[str, Callable[..., int | None]] = {"torch": _torch_quantize}
