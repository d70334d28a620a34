"""APyTypes: `APyFloatArray.cast` between formats of the IEEE 754 kind."""

from __future__ import annotations

from typing import Any

from bitquant.auditing.adapters.row import Adapter, Candidate, Case
from bitquant.formats import Format, format

_SOURCES = ("float64", "float32")
_TARGETS = ("float32", "tfloat32", "bfloat16", "float16", "float8_e5m2", "float8_e4m3", "float8_e3m4")
_MODES = {
    "nearest_even": "TIES_EVEN",
    "nearest_away": "TIES_AWAY",
    "toward_zero": "TO_ZERO",
    "toward_positive": "TO_POS",
    "toward_negative": "TO_NEG",
}


def _cast(source: Format, target: Format, rounding: str) -> Candidate:
    def cast(x: Any) -> Any:
        from apytypes import APyFloatArray, QuantizationMode

        numbers = APyFloatArray.from_bits(x.view(source.code_dtype), source.exponent_bits, source.significand_bits)
        fields = target.exponent_bits, target.significand_bits, target.bias
        found = numbers.cast(*fields, getattr(QuantizationMode, _MODES[rounding]))
        return found.to_bits(numpy=True).astype(target.code_dtype)

    return cast


def _script(source: Format, target: Format, rounding: str) -> dict[str, str]:
    bits = f"APyFloatArray.from_bits(x.view(np.{source.code_dtype}), {source.exponent_bits}, {source.significand_bits})"
    fields = f"{target.exponent_bits}, {target.significand_bits}, {target.bias}"
    call = f"{bits}.cast({fields}, QuantizationMode.{_MODES[rounding]}).to_bits(numpy=True)"
    setup = "from apytypes import APyFloatArray, QuantizationMode"
    return {"setup": setup, "call": f"{call}.astype(np.{target.code_dtype})"}


def _cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{source} to {target} {rounding}",
            _cast(format(source), format(target), rounding),
            f"APyTypes, QuantizationMode.{_MODES[rounding]}",
            options={
                "source": source,
                "target": target,
                "rounding": rounding,
                **_script(format(source), format(target), rounding),
            },
        )
        for source in _SOURCES
        for target in _TARGETS
        for rounding in _MODES
        if source != target and (rounding == "nearest_even" or source == "float32")
    )


ADAPTER = Adapter("apytypes", "APyTypes' floating-point cast", ("apytypes",), _cases)
