"""What there is to say of an explanation, once: sections of labelled rows, which text and HTML only set."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from bitquant.explaining.exact import Real, scientific, text_of
from bitquant.explaining.explanation import Explanation, Interval, Neighbour, hexadecimal, rounding_name
from bitquant.explaining.rounded import Rounding
from bitquant.explaining.wording import Part, Row, bit_rows, briefly, equals, exactly, row
from bitquant.rules import ROUNDINGS, Stochastic

_SHOWN = 16  # dropped bits that are written


@dataclass(frozen=True)
class Section:
    """Rows under a title; `line` asks for the number line, where a face has one."""

    title: str
    rows: tuple[Row, ...]
    line: bool = field(default=False)


def sections(e: Explanation) -> list[Section]:
    """All there is to say."""
    found = [_number(e)]
    if e.mapping is not None:
        found.append(_mapping(e))
    if e.block is not None:
        found.append(_block(e))
    if e.path:
        found += [_path(e)]
    elif e.rounding is not None and e.rounding.inexact:
        found.append(_rounding(e, e.rounding))
    found.append(_result(e))
    if e.answers:
        found.append(_answers(e))
    return found


def title(e: Explanation) -> str:
    """What is explained, in a line."""
    through = "".join(f" → {step.target.name}" for step in e.path[:-1])
    target = e.target.name if e.block is None else f"{e.block.format.name} (elements of {e.target.name})"
    return f"{e.given.text}{through} → {target}, {rounding_name(e.rules.rounding)}"


# --- The number -----------------------------------------------------------------------------------------------


def _number(e: Explanation) -> Section:
    given, rows = e.given, []
    if given.source is not None and given.code is not None:
        rows.append(row("from", f"{given.source.name} 0x{given.code:0{-(-given.source.bits // 4)}X}"))
        rows += bit_rows(given.code, given.source)
    rows += exactly(given.real)
    return Section("the number", tuple(rows))


# --- Rounding -------------------------------------------------------------------------------------------------


def _rounding(e: Explanation, r: Rounding, heading: str | None = None) -> Section:
    if r.exponent is None:
        return _between(e, r)
    rows = [_picture(e, r)]
    unit = "1" if r.unit == 1 else f"2^{r.exponent}"
    what = "position" if e.mapping is not None else "quotient" if e.block is not None else "number"
    rows.append(row("last place", f"1 ulp = {unit}" + ("" if r.unit == 1 else f" = {scientific(r.unit)}")))
    rows.append(
        row(
            "cut off",
            f"{briefly(r.dropped)} ulp = guard ",
            Part(str(r.guard), "guard"),
            ", round ",
            Part(str(r.round), "round"),
            ", sticky ",
            Part(str(r.sticky), "sticky"),
        )
    )
    rows.append(row("tie", _tie(r)))
    if r.chance is not None:
        c = r.chance
        rows.append(
            row(
                "chance",
                f"F = {c.scaled} of 2^{c.bits}, so up with probability {briefly(c.probability)}; R = {c.random}",
            )
        )
    rows.append(row("rule", _why(e, r)))
    rows += [row("note", note) for note in _notes(e, r)]
    return Section(heading or f"rounding the {what}", tuple(rows))


def _picture(e: Explanation, r: Rounding) -> Row:
    """The significand with what is cut off, and what the bits are called."""
    stored = e.target.significand_bits if e.target.is_float else None
    if stored is None:
        kept, scale = f"{r.kept:b}", ""
    else:
        digits = f"{r.kept:0{stored + 1}b}"
        kept = digits[:-stored] + "." + digits[-stored:] if stored else digits
        assert r.exponent is not None
        scale = f" · 2^{r.exponent + stored}"
    sign = "−" if _negative(e) else ""
    rest = r.dropped * 4 % 1
    bits = ""
    for _ in range(_SHOWN):
        if not rest:
            break
        rest *= 2
        bits += str(int(rest >= 1))
        rest %= 1
    bits += "…" if rest else ""
    top = [Part(sign + kept, "kept"), Part(" "), Part(str(r.guard), "guard"), Part(" "), Part(str(r.round), "round")]
    under = [
        Part("kept".ljust(len(sign + kept))[: len(sign + kept)], "kept"),
        Part(" "),
        Part("G", "guard"),
        Part(" "),
        Part("R", "round"),
    ]
    if bits:
        top += [Part(" "), Part(bits, "sticky")]
        under += [Part(" "), Part("S" * len(bits.rstrip("…")), "sticky")]
    return Row("binary", (*top, Part(scale)), tuple(under))


def _negative(e: Explanation) -> bool:
    if e.mapping is not None and e.mapping.position is not None:
        return e.mapping.position < 0
    if e.block is not None:
        return e.block.quotient.given.real.negative
    return e.given.real.negative


def _tie(r: Rounding) -> str:
    if r.tie:
        return "yes: exactly half way"
    where = "above" if r.tie_distance > 0 else "below"
    return f"no: {briefly(abs(r.tie_distance))} ulp {where} half way"


def _why(e: Explanation, r: Rounding) -> str:
    """Why up or down."""
    name, negative = e.rules.rounding, _negative(e)
    way, parity = "up" if r.up else "down", "odd" if r.odd else "even"
    if r.chance is not None:
        sign = "≥" if r.up else "<"
        total = r.chance.scaled + r.chance.random
        return f"{rounding_name(name)}: F + R = {total} {sign} 2^{r.chance.bits}, so {way} in magnitude"
    if name in ("nearest_even", "nearest_away"):
        if not r.tie:
            return f"{name}: {'more' if r.up else 'less'} than half is cut off, so {way} in magnitude"
        if name == "nearest_away":
            return f"{name}: a tie goes to the larger magnitude"
        return f"{name}: a tie goes to the even neighbour; the last kept bit counts as {parity}, so {way}"
    if name == "to_odd":
        return f"{name}: inexact, and the last kept bit counts as {parity}, so {'up' if r.up else 'it stays'}"
    signed = "negative" if negative else "positive"
    meaning = "cut off" if name == "toward_zero" else f"the number is {signed}"
    return f"{name}: {meaning}, so {way} in magnitude"


_EVENTS = {
    "subnormal": "below the smallest normal number: fewer bits are kept",
    "carry": "the carry runs through all bits: the exponent grows by one",
    "becomes normal": "rounds up to the smallest normal number",
    "flushed output": "the result is subnormal and is flushed to zero",
    "flushed input": "the number is subnormal in its own format and is taken for zero",
    "signalling NaN quieted": "a signalling NaN becomes quiet",
    "infinity replaced": "the target has no such infinity, or the rule takes another number for it",
    "nan replaced": "the target gets a number for NaN",
}


def _notes(e: Explanation, r: Rounding | None) -> list[str]:
    notes = [_EVENTS[event] for event in e.events if event in _EVENTS]
    if "overflow" in e.events:
        low, high = (scientific(Fraction(end), 9) for end in (e.target.min, e.target.max))
        notes.append(f"overflow: {e.target.name} reaches from {low} to {high}; rule {e.rules.overflow}")
    return notes


def _between(e: Explanation, r: Rounding) -> Section:
    """A codebook: between two values."""
    values = e.target.values
    low, high = values[r.kept], values[min(r.kept + 1, len(values) - 1)]
    rounding = e.rules.rounding
    meaning = "" if isinstance(rounding, Stochastic) else ROUNDINGS[rounding]
    rows = [
        row(
            "between",
            f"code {r.kept} = {scientific(Fraction(low), 9)} and code {r.kept + 1} = {scientific(Fraction(high), 9)}",
        ),
        row("place", f"{briefly(r.dropped)} of the way up"),
        row("tie", _tie(r).replace("ulp", "of a step")),
        row("rule", f"{rounding}: {meaning}, so {'up' if r.up else 'down'}"),
    ]
    return Section("rounding in the codebook", tuple(rows))


# --- Scheme, block, path --------------------------------------------------------------------------------------


def _mapping(e: Explanation) -> Section:
    m = e.mapping
    assert m is not None
    span = f"{m.qmax}" if m.scheme == "symmetric" else f"({m.qmax} − {m.qmin})".replace("− -", "+ ")
    over = "max|x|" if m.scheme == "symmetric" else "(high − low)"
    rows = [
        row("codes", f"{m.qmin} to {m.qmax}"),
        row("range", f"{briefly(m.low)} to {briefly(m.high)} ({m.found_from})"),
        row("scale", f"{span} / {over} {equals(m.scale)} codes per unit"),
        row("step", f"1 / scale {equals(m.step)} units per code (what ONNX and PyTorch call scale)"),
    ]
    if m.scheme == "asymmetric":
        rows.append(row("zero point", f"{m.zero_point}: the code of 0"))
    if m.position is not None:
        point = f" {'−' if m.zero_point < 0 else '+'} {abs(m.zero_point)}" if m.zero_point else ""
        rows.append(row("position", f"x · scale{point} {equals(m.position)}"))
        rows.append(row("rounded", f"{m.integer}"))
        clip = (
            f"outside {m.qmin} to {m.qmax}: the end code {min(max(m.integer or 0, m.qmin), m.qmax)}"
            if m.clipped
            else "no"
        )
        rows.append(row("clipped", Part(clip, "warn" if m.clipped else "")))
    return Section(f"{m.scheme} mapping", tuple(rows))


def _block(e: Explanation) -> Section:
    b = e.block
    assert b is not None
    rows = [
        row("block", f"number {b.element} of {b.count}"),
        row("amax", f"{briefly(b.amax)}, of number {b.amax_element}"),
        row("scale rule", f"{b.scale_rule}: {b.rule}"),
        row("scale", f"{b.format.scale.name} 0x{b.scale_code:0{-(-b.format.scale.bits // 4)}X}"),
    ]
    if b.tensor_scale is not None:
        rows.append(row("tensor scale", briefly(b.tensor_scale)))
    rows.append(row("step", f"{briefly(b.step)} for an element of 1"))
    x = b.quotient.given.real
    rows.append(row("quotient", f"number / step {equals(x.value)}"))
    rows.append(row("element", f"{hexadecimal(b.quotient)} = {text_of(b.quotient.result)}"))
    return Section(f"the block of {b.format.name}", tuple(rows))


def _path(e: Explanation) -> Section:
    rows = []
    for k, step in enumerate(e.path):
        label = f"{k + 1} {step.target.name}"
        rows.append(row(label, f"{hexadecimal(step)} = {text_of(step.result)}"))
        r = step.rounding
        if r is None or not r.inexact:
            rows.append(row("", "exact: nothing is cut off"))
        else:
            tie = ", a tie" if r.tie else ""
            rows.append(row("", f"{briefly(r.dropped)} ulp cut off{tie}: {'up' if r.up else 'down'}"))
    direct = e.direct
    assert direct is not None
    rows.append(row("directly", f"{hexadecimal(direct)} = {text_of(direct.result)}"))
    verdict = "rounding twice gives another number" if e.rounded_twice else "the same: no harm done here"
    rows.append(row("verdict", Part(verdict, "warn" if e.rounded_twice else "good")))
    return Section(f"{len(e.path)} roundings, one after the other", tuple(rows))


# --- The result -----------------------------------------------------------------------------------------------


def _result(e: Explanation) -> Section:
    rows = [
        row(
            "code",
            Part(hexadecimal(e), "strong"),
            f" of {e.target.name}" + (f" = {_signed(e)}" if e.target.is_integer else ""),
        )
    ]
    rows += bit_rows(e.code, e.target)
    rows += exactly(e.result)
    if e.rounding is None or not e.rounding.inexact:
        rows += [row("note", note) for note in _notes(e, e.rounding)]
        if e.error is not None and not e.error.absolute:
            rows.append(row("rounding", "none: the number is exact"))
    if e.error is not None and e.error.absolute:
        unit = "steps" if e.mapping is not None or e.target.kind == "codebook" else "ulp"
        ulps = f" {equals(e.error.ulps)} {unit}" if e.error.ulps is not None else ""
        rows.append(row("error", f"{briefly(e.error.absolute)}{ulps}"))
        if e.error.relative is not None:
            rows.append(row("relative", f"{briefly(e.error.relative)}"))
    if e.mapping is None:
        rows.append(row("flags", ", ".join(e.flags) or "none"))
    if e.neighbours is not None:
        rows.append(row("below", _neighbour(e, e.neighbours[0])))
        rows.append(row("above", _neighbour(e, e.neighbours[1])))
    if e.interval is not None:
        rows.append(row("interval", interval_text(e.interval)))
    return Section("the result", tuple(rows), line=True)


def _signed(e: Explanation) -> str:
    code = e.code
    return str(code - (1 << e.target.bits) if code > e.target.largest_code else code)


def _neighbour(e: Explanation, n: Neighbour) -> str:
    here = " (the result)" if n.code == e.code else ""
    return f"0x{n.code:0{-(-e.target.bits // 4)}X} = {text_of(n.real, 12)}{here}"


def _end(x: Real) -> str:
    return text_of(x) if x.kind != "finite" or not x.magnitude else briefly(x.value)


def interval_text(interval: Interval) -> str:
    """The interval in brackets: square ones where an end belongs to it."""
    low, high, low_closed, high_closed = interval
    ends = f"{'[' if low_closed else '('}{_end(low)}, {_end(high)}{']' if high_closed else ')'}"
    return f"{ends} all become this"


def _answers(e: Explanation) -> Section:
    rows = []
    for answer in e.answers:
        if answer.code is None or answer.real is None:
            rows.append(row(answer.library, answer.note))
            continue
        verdict = Part("the same" if answer.same else "differs", "good" if answer.same else "warn")
        code = f"0x{answer.code:0{-(-e.target.bits // 4)}X} = {text_of(answer.real)}: "
        rows.append(row(answer.library, code, verdict, f" ({answer.note})" if answer.note else ""))
    return Section("other libraries", tuple(rows))
