"""gfloat: numbers rounded by `round_ndarray`, then encoded by `encode_ndarray`."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Candidate, Case

# Our names, and the names of gfloat's rows.
_FORMATS = {
    "float16": "format_info_binary16",
    "bfloat16": "format_info_bfloat16",
    "float8_e5m2": "format_info_ocp_e5m2",
    "float8_e4m3fn": "format_info_ocp_e4m3",
    "float6_e3m2fn": "format_info_ocp_e3m2",
    "float6_e2m3fn": "format_info_ocp_e2m3",
    "float4_e2m1fn": "format_info_ocp_e2m1",
}
_MODES = {
    "nearest_even": "TiesToEven",
    "nearest_away": "TiesToAway",
    "toward_zero": "TowardZero",
    "toward_positive": "TowardPositive",
    "toward_negative": "TowardNegative",
}
# It refuses NaN for these, and asks for sat=True: zeros are given in the place of NaN, which an audit does not judge.
_WITHOUT_NAN = ("float6_e3m2fn", "float6_e2m3fn", "float4_e2m1fn")
_PROMISE = (
    "gfloat.round_ndarray: rounds by the mode; with sat, what is beyond and infinity become the largest number, "
    "without it infinity becomes infinity, or NaN where the format has none."
)


def _cast(target: str, rounding: str, saturate: bool) -> Candidate:
    def cast(x: Any) -> Any:
        import gfloat
        from gfloat import formats

        info = getattr(formats, _FORMATS[target])
        with np.errstate(all="ignore"):
            values = x.astype(np.float64)
            if target in _WITHOUT_NAN:
                values[np.isnan(values)] = 0
            rounded = gfloat.round_ndarray(info, values, gfloat.RoundMode[_MODES[rounding]], saturate)
            return gfloat.encode_ndarray(info, rounded).astype("uint16" if info.k > 8 else "uint8")

    return cast


def _script(target: str, rounding: str, saturate: bool) -> dict[str, str]:
    given = f"formats.{_FORMATS[target]}", f"gfloat.RoundMode.{_MODES[rounding]}"
    code = "uint16" if target in ("float16", "bfloat16") else "uint8"
    call = f"gfloat.round_ndarray({given[0]}, x.astype(np.float64), {given[1]}, {saturate})"
    setup = "import gfloat\nfrom gfloat import formats"
    return {"setup": setup, "call": f"gfloat.encode_ndarray({given[0]}, {call}).astype(np.{code})"}


def _cases() -> tuple[Case, ...]:
    return tuple(
        Case(
            f"float32 to {target} {rounding}{' sat' if saturate else ''}",
            _cast(target, rounding, saturate),
            _PROMISE,
            options={
                "source": "float32",
                "target": target,
                "rounding": rounding,
                "overflow": "saturate" if saturate else "ieee",
                **_script(target, rounding, saturate),
            },
        )
        for target in _FORMATS
        for rounding in _MODES
        for saturate in ((True,) if target in _WITHOUT_NAN else (False, True))
    )


ADAPTER = Adapter("gfloat", "gfloat", ("gfloat",), _cases)
