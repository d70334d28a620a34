"""An explanation as HTML: a fragment that takes the colours of its page, and a whole page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from bitquant.errors import BitquantError
from bitquant.explaining.content import sections, title
from bitquant.explaining.explanation import Explanation
from bitquant.explaining.numberline import number_line
from bitquant.explaining.wording import Part, Row

# Colours of middle lightness, legible on a light ground and on a dark one; what each marks is also said in words.
_STYLE = """
.bqx{color:inherit;font:14px/1.5 system-ui,sans-serif;max-width:56em;
--bqx-sign:#cc4a12;--bqx-exponent:#2878c8;--bqx-significand:#2a8a50;--bqx-rest:#a855c8}
.bqx h3{font-size:1.15em;margin:.4em 0}
.bqx h4{font-size:1em;margin:1em 0 .2em;border-bottom:1px solid currentColor;opacity:.85}
.bqx dl{display:grid;grid-template-columns:7.5em minmax(0,1fr);gap:.1em .8em;margin:0}
.bqx dt{opacity:.75;margin:0}
.bqx dd{margin:0;overflow-wrap:anywhere}
.bqx .bits{font-family:ui-monospace,monospace;white-space:pre-wrap}
.bqx .sign,.bqx .guard{color:var(--bqx-sign)}
.bqx .exponent,.bqx .round{color:var(--bqx-exponent)}
.bqx .significand,.bqx .kept,.bqx .good{color:var(--bqx-significand)}
.bqx .sticky{color:var(--bqx-rest)}
.bqx .strong,.bqx .warn{font-weight:700}
.bqx .warn{color:var(--bqx-sign)}
.bqx-line{max-width:100%;height:auto;color:inherit;font:12px system-ui,sans-serif;overflow:visible}
.bqx-line text{fill:currentColor;text-anchor:middle}
.bqx-line text.small{font-size:11px;opacity:.75}
.bqx-line text.result,.bqx-line text.number{font-weight:700}
.bqx-line .axis,.bqx-line .tick{stroke:currentColor;stroke-width:1.5}
.bqx-line text.tick{stroke:none}
.bqx-line text.result{stroke:none}
.bqx-line line.result{stroke:currentColor;stroke-width:3}
.bqx-line .middle{stroke:currentColor;stroke-width:1;stroke-dasharray:2 2}
.bqx-line .band{stroke:#2878c8;stroke-width:8;stroke-opacity:.55}
.bqx-line .closed{fill:#2878c8;stroke:#2878c8;stroke-width:2}
.bqx-line .open{fill:none;stroke:#2878c8;stroke-width:2}
.bqx-line path.number{fill:var(--bqx-sign)}
"""
# A whole page knows its ground, where a fragment does not.
_DARK = """
@media (prefers-color-scheme:dark){.bqx{--bqx-sign:#ff9a62;--bqx-exponent:#6db3ff;--bqx-significand:#5fd38a;
--bqx-rest:#d9a2ff}}
"""
_PAGE = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    "<title>{title}</title>\n<style>\n:root{{color-scheme:light dark}}\n"
    "body{{margin:1.5em;background:Canvas;color:CanvasText}}\n{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
)


def fragment(e: Explanation, style: bool = True) -> str:
    """The explanation for a page that has other things on it."""
    parts = [f"<h3>{escape(title(e))}</h3>"]
    for section in sections(e):
        parts.append(f"<h4>{escape(section.title)}</h4>")
        if section.line:
            parts.append(number_line(e))
        parts.append(f"<dl>{''.join(_row(row) for row in section.rows)}</dl>")
    styled = f"<style>{_STYLE}</style>" if style else ""
    return f'<div class="bqx">{styled}{"".join(parts)}</div>'


def page(explanations: Sequence[Explanation]) -> str:
    """A whole page."""
    body = "\n<hr>\n".join(fragment(e, style=False) for e in explanations)
    heading = "; ".join(title(e) for e in explanations)
    return _PAGE.format(title=escape(heading), style=_STYLE + _DARK, body=body)


def save(path: Any, content: str, overwrite: bool) -> None:
    """Write a page to a file, which must not be there yet unless it may be overwritten."""
    target = Path(path)
    try:
        with target.open("w" if overwrite else "x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        raise BitquantError(f"{target} is there already: allow overwriting it, or choose another name") from None
    except OSError as error:
        raise BitquantError(f"cannot write {target}: {error.strerror or error}") from error


def _row(row: Row) -> str:
    label = f"<dt>{escape(row.label)}</dt>"
    if not row.under:
        return f"{label}<dd>{_parts(row.parts)}</dd>"
    # Letters below digits say by position what colours say as well.
    return f'{label}<dd class="bits">{_parts(row.parts)}<br>{_parts(row.under)}</dd>'


def _parts(parts: Sequence[Part]) -> str:
    return "".join(
        f'<span class="{part.role}">{escape(part.text)}</span>' if part.role else escape(part.text) for part in parts
    )
