"""ONNX: the reference implementation that comes with the standard."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from bitquant.auditing.adapters import models
from bitquant.auditing.adapters.row import Adapter, Candidate, Case, casts
from bitquant.formats import Format

Script: TypeAlias = Callable[[int, Format, Format], tuple[str, str]]
QuantizeScript: TypeAlias = Callable[[str, str], dict[str, str]]

_SETUP = "import onnx\nfrom onnx.reference import ReferenceEvaluator"
_ROUNDING = "Casts to 8-bit floats round to nearest, ties to even; saturate decides what is beyond the largest."


def run(model: bytes, feeds: dict[str, Any]) -> Any:
    """What the reference implementation makes of a model."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        return ReferenceEvaluator(onnx.load_from_string(model)).run(None, feeds)


def _cast(saturate: int, source: Format, target: Format) -> Candidate:
    def cast(x: Any) -> Any:
        return run(models.cast(source.name, target.name, saturate), {"x": x})[0]

    return cast


def promise(source: Format, target: Format) -> str:
    """What the standard says of a Cast."""
    if target.is_integer:
        return "Cast, version 25: float to integer truncates; out of range is undefined."
    return f"Cast, version 25: {_ROUNDING}" if target.bits == 8 else ""


def _script(saturate: int, source: Format, target: Format) -> tuple[str, str]:
    return f"{_SETUP}\n\n{models.script(source, target, saturate)}", "ReferenceEvaluator(model).run(None, {'x': x})[0]"


def cast_cases(cast: Any, name: str, script: Script) -> tuple[Case, ...]:
    """The cases of Cast: every pair with saturate 1, and those to 8-bit floats with saturate 0."""
    one, zero = partial(script, 1), partial(script, 0)
    plain = casts(name, partial(cast, 1), promise, one, "onnx")
    other = casts(f"{name}_nosaturate", partial(cast, 0), promise, zero, "onnx_nosaturate", " saturate=0")
    return (*plain, *(case for case in other if case.options["target"].startswith("float8")))


def _quantize(code: str) -> Candidate:
    def quantize(x: Any, step: float, zero_point: int) -> Any:
        feeds = {"x": x, "s": np.asarray(step, x.dtype), "z": np.asarray(zero_point, code)}
        return run(models.quantize(x.dtype.name, code), feeds)[0]

    return quantize


def _dynamic(x: Any) -> Any:
    codes, step, zero_point = run(models.dynamic(), {"x": x})
    return codes, float(step), int(zero_point)


def quantize_scripts(setup: str, run: str) -> tuple[QuantizeScript, dict[str, str]]:
    """Scripts of QuantizeLinear and DynamicQuantizeLinear, of the lines and the expression that run a model."""

    def given(source: str, code: str) -> dict[str, str]:
        feeds = f"{{'x': x, 's': np.array(step, np.{source}), 'z': np.array(zero_point, np.{code})}}"
        return {"setup": f"{setup}\n\n{models.quantize_script(source, code)}", "call": f"{run.format(feeds)}[0]"}

    return given, {"setup": f"{setup}\n\n{models.dynamic_script()}", "call": run.format("{'x': x}")}


def quantize_cases(
    quantize: Callable[[str], Candidate], dynamic: Candidate, given: QuantizeScript, found_script: dict[str, str]
) -> tuple[Case, ...]:
    """The cases of QuantizeLinear and DynamicQuantizeLinear, held against the standard's formulas."""
    formula = "QuantizeLinear, version 25: y = saturate((x / y_scale) + y_zero_point), ties to even."
    cases = [
        Case(
            f"QuantizeLinear {source} to {code}",
            quantize(code),
            formula,
            True,
            {
                "source": source,
                "signed": code == "int8",
                "step_format": source,
                "against": "onnx",
                **given(source, code),
            },
        )
        for source in ("float32", "float16")
        for code in ("int8", "uint8")
    ]
    found = "DynamicQuantizeLinear, version 11: y_scale = (max(x) - min(x)) / 255, the range widened to zero."
    options = {"signed": False, "against": "onnx_dynamic", **found_script}
    cases.append(Case("DynamicQuantizeLinear", dynamic, found, True, options))
    return tuple(cases)


def _cases() -> tuple[Case, ...]:
    scripts = quantize_scripts(_SETUP, "ReferenceEvaluator(model).run(None, {})")
    return (*cast_cases(_cast, "onnx", _script), *quantize_cases(_quantize, _dynamic, *scripts))


ADAPTER = Adapter("onnx", "ONNX's reference implementation", ("onnx",), _cases)
