"""Writes the pages of docs/ that list rows (PAGES below): ``python tools/make_docs.py [--check]``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import bitquant as bq
from bitquant import rules
from bitquant.blocks.table import LAYOUTS, SCALE_RULES, WITNESSES
from bitquant.dialects import Conversion, Dialect, dialects
from bitquant.dialects.quantizers import FUNCTIONS, Quantizer, quantizers
from bitquant.dialects.row import RULES, options

DOCS = Path(__file__).parent.parent / "docs"
NOTICE = "<!-- Written by tools/make_docs.py; do not edit. -->"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table."""
    head = list(head)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def names(title: str, meanings: Mapping[str, str]) -> list[str]:
    """A section that lists the names of one rule."""
    return [
        "",
        f"## {title}",
        "",
        *table(("name", "meaning"), ((f"`{name}`", text) for name, text in meanings.items())),
    ]


def floats() -> list[str]:
    """The table of floating formats."""
    head = ["format", "aliases", "bits", "e/m/bias", "max", "smallest normal", "smallest positive", "epsilon"]
    head += ["infinity", "NaN", "zero", "decades", "dB", "finite values", "source"]
    return table(
        head,
        (
            (
                f"`{fmt.name}`",
                ticked(fmt.aliases),
                str(fmt.bits),
                f"{fmt.exponent_bits}/{fmt.significand_bits}/{fmt.bias}",
                f"{fmt.max:.6g}",
                f"2^{fmt.min_exponent}",
                f"2^{fmt.min_exponent - fmt.significand_bits}",
                f"2^{-fmt.significand_bits}",
                coded(fmt, fmt.infinity_code),
                "all others" if fmt.nan == "ieee" else coded(fmt, fmt.nan_code),
                ("±0" if fmt.signed_zero else "+0") if fmt.zero else "–",
                f"{fmt.decades:.1f}",
                f"{fmt.decibels:.0f}",
                f"{fmt.finite_count:,}",
                fmt.source,
            )
            for fmt in bq.formats()
            if fmt.is_float
        ),
    )


def coded(fmt: bq.Format, code: int | None) -> str:
    """A special code, and the one with the other sign where there is one."""
    if code is None:
        return "–"
    both = fmt.signed and code >> fmt.magnitude_bits == 0
    codes = [code, code | 1 << fmt.magnitude_bits] if both else [code]
    return " ".join(f"{each:0{-(-fmt.bits // 4)}X}" for each in codes)


def integers() -> list[str]:
    """The table of integer formats."""
    rows = [fmt for fmt in bq.formats() if fmt.is_integer]
    head = ("format", "aliases", "bits", "min", "max", "decades", "dB", "source")
    return table(
        head,
        (
            (
                f"`{fmt.name}`",
                ticked(fmt.aliases),
                str(fmt.bits),
                f"{fmt.min:,}",
                f"{fmt.max:,}",
                f"{fmt.decades:.1f}",
                f"{fmt.decibels:.0f}",
                fmt.source,
            )
            for fmt in rows
        ),
    )


def codebooks() -> list[str]:
    """The table of codebooks."""
    return table(
        ("format", "aliases", "bits", "values, by code", "source"),
        (
            (
                f"`{fmt.name}`",
                ticked(fmt.aliases),
                str(fmt.bits),
                ", ".join(f"{value:.9g}" for value in fmt.values),
                fmt.source,
            )
            for fmt in bq.formats()
            if fmt.kind == "codebook"
        ),
    )


def formats_page() -> str:
    """The page of formats and rules."""
    text = [
        "# Formats and rules",
        "",
        NOTICE,
        "",
        "What a format is and what its codes stand for: [semantics](semantics.md). All of one format:",
        "`bitquant formats NAME`.",
        "",
        "## Floating formats",
        "",
        "e/m/bias: exponent bits, stored significand bits, the exponent field of 1. epsilon: from 1 to the next",
        "number. Infinity and NaN: their codes, hexadecimal; *all others* of the largest exponent field.",
        "",
        *floats(),
        "",
        "## Integers",
        "",
        *integers(),
        "",
        "## Codebooks",
        "",
        *codebooks(),
        "",
        "## Families",
        "",
        *table(
            ("made by", "names", "which"),
            (
                (
                    "`format(name)`",
                    "`binary8p3se`, in general `binary{K}p{P}{s\\|u}{e\\|f}`",
                    "IEEE P3109: K bits from 3 to 16, precision P, signed or unsigned, extended by infinity or finite; "
                    f'the {len(bq.formats("p3109"))} whose values float64 holds: `formats("p3109")`',
                ),
                (
                    "`exmy(e, m, bias=, infinity=, nan=, signed=)`",
                    "`e5m3`, `e5m3b12`, `exmy(5, 3, nan=None)`",
                    "any floating format of 1 to 11 exponent and 0 to 52 significand bits whose values float64 holds",
                ),
                ("`codebook(values, name)`", "–", "any 2 to 65,536 ascending numbers"),
            ),
        ),
        *names("Rounding", rules.ROUNDINGS),
        "",
        "Aliases: " + ", ".join(f"`{alias}` {name}" for alias, name in rules.ROUNDING_ALIASES.items()) + ".",
        "`Stochastic(bits, seed, variant)` rounds by chance (not to a codebook).",
        *names("Overflow", rules.OVERFLOW),
        *names("NaN", rules.NAN),
        *names("Subnormals", rules.SUBNORMALS),
        *names("Tininess", rules.TININESS),
    ]
    return "\n".join(text) + "\n"


def ticked(items: Iterable[str]) -> str:
    """Names as code, in a row."""
    return ", ".join(f"`{item}`" for item in items)


def converted(part: Conversion) -> tuple[str, ...]:
    """One row of a dialect's table; of several rules the first is the default."""
    choices = (options(getattr(part, rule)) for rule in RULES)
    cells = [ticked(names) or "–" for names in choices]
    cells[2] += "" if part.nan_codes else " *any NaN*"
    return (ticked(part.sources), ticked(part.targets), *cells, part.note)


def section(row: Dialect) -> list[str]:
    """A dialect: its conversions, what it leaves out, where it differs."""
    head = ["from", "to", *RULES, "note"]
    gaps = [
        f"- Left out: {ticked(gap.sources)} to {ticked(gap.targets)}: {gap.why}"
        + (f"; in two steps, through `{gap.through}`, it is as here." if gap.through else ".")
        for gap in row.gaps
    ]
    return [
        "",
        f"## {row.name}",
        "",
        f"{row.title}. Source: {row.source}. Checked against: {row.witness or 'nothing yet'}.",
        "",
        *table(head, (converted(part) for part in row.conversions)),
        "",
        *(f"- {note}" for note in row.notes),
        *gaps,
    ]


def dialects_page() -> str:
    """The page of dialects."""
    rows = ((f"[`{row.name}`](#{row.name})", row.title, row.witness or "–") for row in dialects())
    text = [
        "# Dialects",
        "",
        NOTICE,
        "",
        "The rules that chips, libraries and standards follow, by name: `convert(x, to, dialect=...)`. Where a row has",
        "several names for a rule the caller may choose, and the first is the default; `–`: the rule never comes up;",
        "*any NaN*: the real thing gives NaN for NaN, but not always with the code that is given here.",
        "",
        *table(("name", "whose conversions", "checked against"), rows),
        *(line for row in dialects() for line in section(row)),
    ]
    return "\n".join(text) + "\n"


def block_rows() -> list[str]:
    """The table of block formats."""
    head = ["format", "aliases", "elements", "block", "scale", "bits per number", "largest element", "tensor scale"]
    return table(
        [*head, "scale rules", "layouts", "source"],
        (
            (
                f"`{row.name}`",
                ticked(row.aliases) or "–",
                f"`{row.element.name}`" + (f" · 2^{row.unit}" if row.unit else ""),
                str(row.block),
                f"`{row.scale.name}`",
                f"{row.bits:g}",
                f"{(row.element.max * 2.0**row.unit):g}",
                "–" if row.tensor_scale is None else f"`{row.tensor_scale.name}`",
                ticked(row.scale_rules),
                ticked(row.layouts),
                row.source,
            )
            for row in bq.block_formats()
        ),
    )


BLOCKS_TEXT = """
Numbers of a few bits whose blocks share a scale: `quantize_blocks(x, format)` gives a `Blocks` with `codes`, `scales`
and `tensor_scale`; `dequantize`, `error` and `pack` belong to it, and `unpack_blocks` reads what `pack` wrote.

A number is element · scale (· tensor scale), where "scale" is the specifications' word for what multiplies an
element: a *step* in the words of `quantize`. The product is exact, and rounded once to the asked format. Blocks lie
along `axis`, by default the last; the last block along it may be shorter, and is then scaled by the numbers it has.
""".strip().splitlines()

ELEMENTS_TEXT = """
With an exact rule an element is the exact quotient of number and *stored* step, rounded once by any rounding mode or
`Stochastic`, and brought to the largest magnitude where it lies beyond (of an integer ±127, so that the range is
symmetric: −128 is read, never written; Q4_0 uses all of −8 to 7). −0 keeps its sign where the elements have one.
Q4_0's step has the sign of the number of largest magnitude, the first one, negated. E8M0 scales are clamped to 2^−127
to 2^127, others to their format's largest. A block of zeros has the E8M0 scale 2^−127, and else the scale 0. Where a
scale rounds to 0 although its block has other numbers, all elements are 0.

NaN and infinity are an error with count and first index. `nonfinite="saturate"` sends infinities to the largest
elements and NaN to zero and leaves both out of the scale; `"propagate"` makes the block's scale NaN and its elements
zero, so that the whole block dequantizes to NaN (OCP MX leaves this to the implementation).

Exponents of OCP MX scales come from the bits of the largest magnitude: one addition carries into the exponent field
where a rule rounds up, and no logarithm is taken. NVFP4's tensor scale is amax / (6 · 448), rounded once to FP32, or
given; the block scale is rounded from amax / (6 · that tensor scale). The rules of libraries differ from `exact` by
the order of their FP32 operations, and by what is the least scale.
""".strip().splitlines()

FINDINGS = """
- microxcaling takes floor(log2(amax)) in FP32: one too large where amax is just below a power of two. It rounds by
  floor(x + 0.5), whose sum itself rounds up: a number just below half of the smallest element becomes that element.
- gguf's MXFP4 takes the same logarithm. It searches for the nearest value from zero up, so that ties go to the
  smaller magnitude and −0 becomes +0. Its Q4_0 takes the sign of a first −0 in a block of zeros, ggml's C code does
  not.
- torchao's `RCEIL` takes ceil(log2(amax / largest element)) in FP32 outside of a GPU, and misses the next power of
  two just above one.
- torchao's NVFP4 has no block scale below 2^−6, ModelOpt's none below 2^−9 and 1 for a block of zeros; the format
  itself allows all of E4M3 from 0.
- ggml's step of a block whose largest magnitude exceeds 127 · 65504 (Q8_0) or 8 · 65504 (Q4_0) is an infinite FP16;
  the rule gives it as it is. Where the step has no finite reciprocal in FP32 the C code is undefined, and the rule
  refuses.
""".strip().splitlines()


def blocks_page() -> str:
    """The page of block formats."""
    scale_rules = ((f"`{name}`", text, WITNESSES[name]) for name, text in SCALE_RULES.items())
    text = [
        "# Block formats",
        "",
        NOTICE,
        "",
        *BLOCKS_TEXT,
        "",
        *block_rows(),
        "",
        "## Scale rules",
        "",
        "amax: the largest magnitude of a block; emax: the exponent of the largest element.",
        "",
        *table(("name", "the scale of a block", "checked against"), scale_rules),
        "",
        "## Elements",
        "",
        *ELEMENTS_TEXT,
        *names("Layouts", LAYOUTS),
        "",
        "OCP MX defines no layout. The order of `separate` is that of PyTorch's `float4_e2m1fn_x2`, torchao and",
        "ModelOpt: of two 4-bit codes the first is in the low nibble. `gguf` is ggml's; its NVFP4 record holds four",
        "scales, and no tensor scale.",
        "",
        "## Findings",
        "",
        *FINDINGS,
    ]
    return "\n".join(text) + "\n"


def formulas(row: Quantizer) -> list[str]:
    """A quantizer: its formulas, what it takes, where it differs."""
    assignments = [
        (name, text)
        for name in ("symmetric", "asymmetric", "given")
        for text in (row.given if name == "given" else row.parameters(name))
    ]
    signs = " or ".join("signed" if each else "unsigned" for each in row.signed)
    narrow = f"; the lowest code is left out in the {' and '.join(row.narrow)} scheme" if row.narrow else ""
    return [
        "",
        f"## {row.name}",
        "",
        f"{row.title}. Source: {row.source}. Checked against: {row.witness or 'nothing yet'}.",
        "",
        *table(
            ("what", "formula"),
            ((name, f"`{text}`") for name, text in (*assignments, ("code", row.codes), ("value", row.values))),
        ),
        "",
        f"Numbers: {ticked(row.inputs)}, computed with in `{row.precision}`; step stored in `{row.step_format}`; "
        f"codes of {', '.join(map(str, row.bits))} bits, {signs}{narrow}; zero point: {row.zero_point}.",
        "",
        *(f"- {note}" for note in row.notes),
    ]


def quantizers_page() -> str:
    """The page of quantizers."""
    rows = ((f"[`{row.name}`](#{row.name})", row.title, row.witness or "–") for row in quantizers())
    text = [
        "# Quantizers",
        "",
        NOTICE,
        "",
        "The quantizers that people run, by name: `quantize(x, dialect=...)` gives their parameters, codes and",
        "numbers, bit for bit. A row is the system's own formulas. Every operation in them is rounded by itself, to",
        "the type of its wider operand; `x` is a number in the precision that the row names, `low` and `high` are the",
        "extremes of the numbers that share a step, `step` is what the systems call scale. `code` is kept in its low",
        "bits.",
        "",
        *table(("function", "what it gives"), ((f"`{name}`", what) for name, what in FUNCTIONS.items())),
        "",
        *table(("name", "whose quantizer", "checked against"), rows),
        *(line for row in quantizers() for line in formulas(row)),
    ]
    return "\n".join(text) + "\n"


PAGES = {
    "formats.md": formats_page,
    "dialects.md": dialects_page,
    "blocks.md": blocks_page,
    "quantizers.md": quantizers_page,
}


def main() -> None:
    """Write the pages, or with --check exit with 1 where one is out of date."""
    for name, page in PAGES.items():
        path = DOCS / name
        if "--check" not in sys.argv[1:]:
            path.write_text(page())
        elif not path.exists() or path.read_text() != page():
            sys.exit(f"docs/{name} is out of date: run python tools/make_docs.py")


if __name__ == "__main__":
    main()
