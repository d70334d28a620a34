"""An explanation as a dictionary that JSON holds: rationals are texts, so that nothing is rounded."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from bitquant.explaining.exact import Real, decimal, hex_float, sign_and_fields, text_of
from bitquant.explaining.explanation import Explanation, Interval, Neighbour, hexadecimal, rounding_name
from bitquant.explaining.rounded import Rounding
from bitquant.formats import Format


def as_dict(e: Explanation) -> dict[str, Any]:
    """Everything: numbers as exact texts, in several ways of writing."""
    given = e.given
    found: dict[str, Any] = {
        "given": given.text,
        "number": _real(given.real),
        "source": None if given.source is None else _code(given.code or 0, given.source),
        "target": e.target.name,
        "rules": {**e.rules._asdict(), "rounding": rounding_name(e.rules.rounding)},
        "code": e.code,
        "hex": hexadecimal(e),
        "fields": _code(e.code, e.target)["fields"],
        "result": _real(e.result),
        "flags": list(e.flags),
        "events": list(e.events),
        "rounding": None if e.rounding is None else _rounding(e.rounding),
        "error": None,
        "neighbours": _pair(e.neighbours),
        "around": _pair(e.around),
        "interval": None if e.interval is None else _interval(e.interval),
    }
    del found["rules"]["counted"], found["rules"]["exact"]
    if e.error is not None:
        found["error"] = {
            "absolute": str(e.error.absolute),
            "relative": _text(e.error.relative),
            "ulps": _text(e.error.ulps),
        }
    if e.direct is not None:
        found["path"] = [as_dict(step) for step in e.path]
        found["direct"] = as_dict(e.direct)
        found["rounded_twice"] = e.rounded_twice
    if e.mapping is not None:
        m = e.mapping
        found["mapping"] = {
            "scheme": m.scheme,
            "scale": str(m.scale),
            "step": str(m.step),
            "zero_point": m.zero_point,
            "qmin": m.qmin,
            "qmax": m.qmax,
            "low": str(m.low),
            "high": str(m.high),
            "found_from": m.found_from,
            "position": _text(m.position),
            "integer": m.integer,
            "clipped": m.clipped,
        }
    if e.answers:
        found["answers"] = [
            {"library": one.library, "code": one.code, "same": one.same, "note": one.note} for one in e.answers
        ]
    if e.block is not None:
        b = e.block
        found["block"] = {
            "format": b.format.name,
            "count": b.count,
            "element": b.element,
            "amax": str(b.amax),
            "amax_element": b.amax_element,
            "scale_rule": b.scale_rule,
            "scale": _code(b.scale_code, b.format.scale),
            "tensor_scale": _text(b.tensor_scale),
            "step": str(b.step),
            "quotient": as_dict(b.quotient),
        }
    return found


def _text(value: Fraction | None) -> str | None:
    return None if value is None else str(value)


def _real(x: Real) -> dict[str, Any]:
    if x.kind != "finite":
        return {"kind": x.kind, "text": text_of(x)}
    return {
        "kind": x.kind,
        "text": text_of(x, 17),
        "rational": "-0" if x.negative and not x.magnitude else str(x.value),
        "decimal": decimal(x.value),
        "hex_float": hex_float(x),
    }


def _code(code: int, fmt: Format) -> dict[str, Any]:
    sign, exponent, significand = sign_and_fields(code, fmt)
    return {
        "format": fmt.name,
        "code": code,
        "bits": f"{code:0{fmt.bits}b}",
        "fields": {"sign": sign, "exponent": exponent, "significand": significand},
    }


def _pair(pair: tuple[Neighbour, Neighbour] | None) -> list[dict[str, Any]] | None:
    return None if pair is None else [{"code": one.code, **_real(one.real)} for one in pair]


def _interval(interval: Interval) -> dict[str, Any]:
    return {
        "low": _real(interval.low),
        "high": _real(interval.high),
        "low_closed": interval.low_closed,
        "high_closed": interval.high_closed,
    }


def _rounding(r: Rounding) -> dict[str, Any]:
    chance = r.chance
    return {
        "ulp": str(r.unit),
        "ulp_exponent": r.exponent,
        "kept": r.kept,
        "dropped": str(r.dropped),
        "guard": r.guard,
        "round": r.round,
        "sticky": r.sticky,
        "odd": r.odd,
        "inexact": r.inexact,
        "tie": r.tie,
        "tie_distance": str(r.tie_distance),
        "up": r.up,
        "rounded": r.rounded,
        "carry": r.carry,
        "chance": None
        if chance is None
        else {
            "bits": chance.bits,
            "variant": chance.variant,
            "random": chance.random,
            "scaled": chance.scaled,
            "probability": str(chance.probability),
        },
    }
