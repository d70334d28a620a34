"""The commands and their options. Each hands over to the module of its name, imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bitquant._version import __version__
from bitquant.calibrate import METHODS
from bitquant.cli.lists import MINUS, Lists
from bitquant.errors import BitquantError
from bitquant.rules import NAN, OVERFLOW, ROUNDINGS, SUBNORMALS, TININESS


class _Group(TyperGroup):
    """Commands whose errors are one line, and whose status then is 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BitquantError as error:
            sentence = " ".join(str(error).split())
            typer.echo(f"bitquant: {sentence}", err=True)
            raise typer.Exit(2) from None


# Plain help: no boxes, 80 columns, the same in a pipe.
app = typer.Typer(
    cls=_Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="The exact reference for low-precision numbers: every conversion correct to the last bit. "
    "New here? Start with: bitquant tour",
)

Inputs = Annotated[
    list[Path],
    typer.Argument(metavar="IN...", help="A .safetensors, .npz or .npy file, or an .index.json; or several files."),
]
Output = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="The file to write, of those kinds too. Of several IN the folder, made if it is missing, into which each "
        "is written under its own name.",
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Share several files out among the workers of a dask cluster."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Threads = Annotated[
    int | None,
    typer.Option(metavar="N", help="Threads; default: one for each processor. The result is the same."),
]
RoundingRule = Annotated[
    str | None, typer.Option(metavar="RULE", help=f"{', '.join(ROUNDINGS)}. Default: nearest_even.")
]
OverflowRule = Annotated[
    str | None,
    typer.Option(metavar="RULE", help=f"{', '.join(OVERFLOW)}. Default: ieee; saturate for integers, codebooks."),
]
NanRule = Annotated[
    str | None, typer.Option(metavar="RULE", help=f"{', '.join(NAN)}. Default: preserve; raise without NaN.")
]
SubnormalsRule = Annotated[str | None, typer.Option(metavar="RULE", help=f"{', '.join(SUBNORMALS)}. Default: gradual.")]
TininessRule = Annotated[
    str | None, typer.Option(metavar="RULE", help=f"{' or '.join(TININESS)} rounding. Default: after.")
]
DialectRule = Annotated[
    str | None,
    typer.Option(
        "--dialect", metavar="NAME", help="Follow the rules of a chip, a library or a standard: x86_f16c, onnx ..."
    ),
]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"bitquant {__version__}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("tour", short_help="See a small real model in fewer bits: start here.")
def _tour(
    plain: Annotated[bool, typer.Option("--plain", help="No colour, ASCII only.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the tour's model to a file to try things on, and stop."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """See what low-precision numbers do to a small real model: start here."""
    from bitquant.cli import tour

    if save is not None:
        tour.save(save, force)
    else:
        tour.run(plain)


@app.command("formats", short_help="List the formats, their range and precision.")
def _formats(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="fp16, e4m3fn, nf4, binary8p3se, e5m3 ...")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the formats: their fields, their range and their precision. With NAMEs, all there is to say of each."""
    from bitquant.cli import table

    table.run(names or [], as_json)


@app.command("dialects", short_help="List whose rules conversions and quantizations can follow.")
def _dialects(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Only these, with all there is to say of each.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the dialects of chips, libraries and standards: whose they are, and what they were checked against."""
    from bitquant.cli import dialects

    dialects.run(names or [], as_json)


@app.command("convert", short_help="Convert the tensors of a file to another format.")
def _convert(
    sources: Inputs,
    output: Output,
    to: Annotated[
        str,
        typer.Option(
            metavar="FORMAT", help="The format to convert to: see bitquant formats; q8_0, q4_0, mxfp4 for GGUF."
        ),
    ],
    rounding: RoundingRule = None,
    overflow: OverflowRule = None,
    nan: NanRule = None,
    subnormals: SubnormalsRule = None,
    dialect: DialectRule = None,
    dask: Dask = None,
    force: Force = False,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Convert every float tensor of files to another format, each number rounded once; others are kept."""
    from bitquant.cli import convert

    rules: dict[str, Any] = {"rounding": rounding, "overflow": overflow, "nan": nan, "subnormals": subnormals}
    rules["dialect"] = dialect
    convert.run(sources, output, to, force, as_json, dask, threads=threads, **rules)


@app.command("quantize", short_help="Quantize the tensors of a file to integers.")
def _quantize(
    sources: Inputs,
    output: Output,
    scheme: Annotated[
        str | None,
        typer.Option(metavar="SCHEME", help="symmetric (default), asymmetric, or clipped, which needs --range."),
    ] = None,
    limits: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", metavar="LOW HIGH", help="Clip to this range, instead of each tensor's own."),
    ] = None,
    axis: Annotated[
        int | None,
        typer.Option(metavar="N", help="One step for each index of axis N; tensors without it, and vectors, get one."),
    ] = None,
    group: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="One step for each N successive numbers along --axis (default: the last); vectors get one.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--calibrate", metavar="METHOD", help=f"Find the range by {', '.join(METHODS)}. Default: minmax."),
    ] = None,
    bits: Annotated[
        int | None, typer.Option(metavar="2..8", help="Bits of a code; each is stored in a byte. Default: 8.")
    ] = None,
    unsigned: Annotated[bool | None, typer.Option("--unsigned/--signed", help="Codes from 0 up (uint8).")] = None,
    narrow: Annotated[
        bool | None,
        typer.Option("--narrow/--full", help="Leave the lowest code out, or not. Default: narrow if signed symmetric."),
    ] = None,
    rounding: RoundingRule = None,
    step_format: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="Round the step to this format first; codes are exact for it."),
    ] = None,
    include_zero: Annotated[
        bool | None,
        typer.Option(
            "--include-zero/--own-range", help="Widen an asymmetric range to zero, as ONNX and PyTorch do, or not."
        ),
    ] = None,
    nonfinite: Annotated[
        str | None, typer.Option(metavar="RULE", help="NaN and infinity: raise (an error; default) or saturate.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only tensors whose name matches. Repeatable.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Not those whose name matches. Repeatable.")
    ] = None,
    rules: Annotated[
        list[str] | None,
        typer.Option(
            "--rule",
            metavar="'GLOB: WORDS'",
            help="Other options where a name matches: '*.mlp.*: bits=4 group=128'. Repeatable; the last wins.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file with options and rules: see docs/files.md.")
    ] = None,
    layout: Annotated[
        str, typer.Option(metavar="LAYOUT", help="bitquant, or compressed-tensors, with its config.json.")
    ] = "bitquant",
    verify: Annotated[
        bool, typer.Option("--verify", help="Read back what was written and compare its numbers bit for bit.")
    ] = False,
    worst: Annotated[
        int | None, typer.Option(metavar="N", help="Show only the N tensors of lowest SQNR, the worst first.")
    ] = None,
    dask: Dask = None,
    force: Force = False,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Quantize every float tensor of files to integer codes, and print what it cost.

    IN may be of any size: it is read piece by piece. IN and OUT may be indices (model.safetensors.index.json) of
    several files, or several IN go into a folder; a run that was stopped then goes on after the last whole file when it
    is started again. With --dask tcp://HOST:PORT each file is quantized by a worker, which has to see the same folders;
    what is written is the same.
    """
    from bitquant.cli import quantize

    words: dict[str, Any] = {
        "scheme": scheme,
        "range": limits,
        "axis": axis,
        "group": group,
        "calibrate": method,
        "bits": bits,
        "unsigned": unsigned,
        "narrow": narrow,
        "rounding": rounding,
        "step_format": step_format,
        "include_zero": include_zero,
        "nonfinite": nonfinite,
    }
    words = {word: value for word, value in words.items() if value is not None}
    chosen = (recipe, rules or [], only or [], skip or [])
    quantize.run(sources, output, words, *chosen, layout, worst, force, verify, as_json, threads, dask)


@app.command("explain", cls=Lists, short_help="Show one number's rounding step by step: bits, neighbours, error.")
def _explain(
    numbers: Annotated[
        list[str],
        typer.Argument(
            metavar="NUMBER...", help="Taken exactly: 0.1, 1/3, 1e-45, 0x1.8p-3, nan, -0; or bits: 0x2E66, 16'h2E66."
        ),
    ],
    to: Annotated[
        list[str] | None, typer.Option("--to", metavar="FORMAT...", help="One format or several: fp16 bf16 int8.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="The format that bits, or the number, are of.")
    ] = None,
    rounding: Annotated[
        str | None,
        typer.Option(metavar="RULE", help=f"{', '.join(ROUNDINGS)}, stochastic. Default: nearest_even."),
    ] = None,
    overflow: OverflowRule = None,
    nan: NanRule = None,
    subnormals: SubnormalsRule = None,
    tininess: TininessRule = None,
    dialect: DialectRule = None,
    bits: Annotated[int, typer.Option(metavar="1..32", help="Random bits of stochastic rounding.")] = 32,
    seed: Annotated[int, typer.Option(metavar="S", help="Of stochastic rounding.")] = 0,
    random: Annotated[
        int | None, typer.Option(metavar="R", help="The random integer itself, instead of the seed's.")
    ] = None,
    path: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Round to these formats one after the other (and to --to).")
    ] = None,
    scheme: Annotated[
        str | None, typer.Option(metavar="SCHEME", help="Map to the integers among --to: symmetric or asymmetric.")
    ] = None,
    amax: Annotated[str | None, typer.Option(metavar="X", help="... with the range from -X to X.")] = None,
    low: Annotated[str | None, typer.Option(metavar="X", help="... or from --low ...")] = None,
    high: Annotated[str | None, typer.Option(metavar="X", help="... to --high.")] = None,
    step: Annotated[str | None, typer.Option(metavar="X", help="... or with this step, units per code.")] = None,
    zero_point: Annotated[int | None, typer.Option(metavar="N", help="The code of 0, with --step.")] = None,
    element: Annotated[
        int | None, typer.Option(metavar="N", help="Of a block format: which of the NUMBERs. Default: each.")
    ] = None,
    scale_rule: Annotated[str | None, typer.Option(metavar="RULE", help="Of a block format's scale.")] = None,
    compare: Annotated[
        list[str] | None, typer.Option(metavar="LIBRARY...", help="What these make of it: numpy ml_dtypes torch.")
    ] = None,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one HTML page instead of printing.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """Show how a number becomes one of a format.

    Its fields, the bits kept and cut off, guard, round and sticky, tie or not, error, neighbours, and the interval of
    all numbers that become the same.
    """
    from bitquant.cli import explain

    explain.run(
        [number.replace(MINUS, "-") for number in numbers],
        to or [],
        {
            "source": source,
            "rounding": explain.rounding(rounding, bits, seed, random),
            "overflow": overflow,
            "nan": nan,
            "subnormals": subnormals,
            "tininess": tininess,
            "dialect": dialect,
            "via": path,
        },
        {"scheme": scheme, "amax": amax, "low": low, "high": high, "step": step, "zero_point": zero_point},
        {"element": element, "scale_rule": scale_rule},
        compare or [],
        as_json,
        html,
        force,
    )


@app.command("inspect", short_help="See what low precision would do to the tensors of files.")
def _inspect(
    sources: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of tensors.")],
    only: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only tensors whose name matches. Repeatable.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Not those whose name matches. Repeatable.")
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=0, help="Rows of the table; 0 for all.")] = 20,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with all there is to tell, and histograms.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the page if it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """See what low precision would do to the float tensors of files: range, outliers, what formats lose, INT8's noise.

    Tensors that it would hurt most come first: those with NaN or infinities, then those with numbers that FP16
    overflows, then those with the lowest signal-to-noise ratio under INT8 with one step.
    """
    from bitquant.cli import inspect

    inspect.run(sources, only or [], skip or [], top, html, force, as_json)


@app.command("vectors", short_help="Write golden vectors of a conversion, or check results against them.")
def _vectors(
    source: Annotated[str, typer.Option("--from", metavar="FORMAT", help="The format of the inputs.")],
    target: Annotated[str, typer.Option("--to", metavar="FORMAT", help="The format of the results.")],
    rounding: RoundingRule = None,
    overflow: OverflowRule = None,
    nan: Annotated[
        str | None,
        typer.Option(
            metavar="RULE", help=f"{', '.join(NAN)}. Default: preserve; NaN is left out where the target has none."
        ),
    ] = None,
    subnormals: SubnormalsRule = None,
    tininess: TininessRule = None,
    dialect: DialectRule = None,
    check: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Check the results in FILE (- for standard input) and write nothing."),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="LAYOUT",
            help="testfloat, readmemh, csv or npz. Default: what the file's name says, else testfloat.",
        ),
    ] = None,
    flags: Annotated[bool, typer.Option("--flags/--no-flags", help="With the flags, or without.")] = True,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write; default: standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    random: Annotated[
        int, typer.Option(metavar="N", help="Inputs drawn at random, where not all codes are taken.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(metavar="S", help="Of what is drawn.")] = 0,
    count: Annotated[int | None, typer.Option(metavar="N", help="No more vectors than this, drawn.")] = None,
    any_nan: Annotated[bool, typer.Option("--any-nan", help="Take any quiet NaN for the one expected.")] = False,
    show: Annotated[int, typer.Option(metavar="N", help="Differences to show.")] = 10,
) -> None:
    """Write golden vectors of a conversion: inputs, results and IEEE 754 flags. Or check somebody's results.

    Inputs are all codes of a format of at most 16 bits; else its edges, the numbers of the target, the midpoints
    between them and their neighbours, and some drawn at random. With --check the exit status is 1 if a result differs.
    """
    from bitquant.cli import vectors

    rules: dict[str, Any] = {
        "rounding": rounding,
        "overflow": overflow,
        "nan": nan,
        "subnormals": subnormals,
        "tininess": tininess,
        "dialect": dialect,
    }
    if check is not None:
        if output is not None:
            raise BitquantError("--check writes nothing: leave out -o")
        same = vectors.check(check, source, target, layout, flags, any_nan, show, **rules)
        raise typer.Exit(0 if same else 1)
    vectors.write(
        source, target, layout, flags, output, force, {"random": random, "seed": seed, "count": count}, **rules
    )


@app.command("lab", short_help="Open a page to click bits, type numbers and drag a clipping range.")
def _lab(
    port: Annotated[int, typer.Option(metavar="N", help="The port; default: any that is free.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address, and open no browser.")] = False,
) -> None:
    """Serve an interactive page to this machine alone, and open it in a browser. Ctrl-C ends it."""
    from bitquant.cli import lab

    lab.run(port, not no_open)


@app.command("plot", short_help="Draw a picture of formats, a quantizer or a tensor.")
def _plot(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PICTURE",
            help="number_line, density, range_and_precision, bit_fields, staircase, sawtooth, histogram or "
            "calibration_errors.",
        ),
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WHAT]...",
            help="Formats; of bit_fields a number first; of histogram and calibration_errors a file, else the tour's "
            "model.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="The file to write: .png, .svg or .pdf.")
    ] = ...,  # type: ignore[assignment]  # typer's mark of an option that must be given
    limits: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", metavar="LOW HIGH", help="What part to draw; the range of a quantizer."),
    ] = None,
    bits: Annotated[int | None, typer.Option(metavar="2..8", help="Of a quantizer's codes.")] = None,
    scheme: Annotated[str | None, typer.Option(metavar="SCHEME", help="symmetric or asymmetric.")] = None,
    tensor: Annotated[str | None, typer.Option(metavar="NAME", help="The tensor of the file, or of the model.")] = None,
    force: Force = False,
) -> None:
    """Draw a picture and write it to a file. It needs matplotlib: pip install 'bitquant[plot]'."""
    from bitquant.cli import plot

    plot.run(name, plot.Asked(words or [], limits, bits, scheme, tensor), output, force)


@app.command("audit", short_help="Name the rule that a library or your own function follows, and where it differs.")
def _audit(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WHAT]...", help="Libraries, all, or my_module:my_function. --list lists libraries."),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the libraries that can be audited, and stop.")] = False,
    source: Annotated[
        str, typer.Option("--from", metavar="FORMAT", help="What your function takes: an array of this format.")
    ] = "float32",
    target: Annotated[
        str | None, typer.Option("--to", metavar="FORMAT", help="What it gives: numbers or codes of this format.")
    ] = None,
    quantizer: Annotated[
        bool,
        typer.Option(
            "--quantizer", help="It quantizes: f(x, step, zero_point) gives codes, or f(x) codes, step and zero point."
        ),
    ] = False,
    bits: Annotated[int, typer.Option(metavar="2..8", help="Of a quantizer's codes.")] = 8,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="A quantizer's codes are from 0 up.")] = False,
    dialect: Annotated[
        str | None, typer.Option("--dialect", metavar="NAME", help="Hold it against this dialect's rules.")
    ] = None,
    inputs: Annotated[
        str, typer.Option(metavar="WHICH", help="boundaries, or exhaustive: every code of the source format.")
    ] = "boundaries",
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .npy file: tell how often these numbers differ.")
    ] = None,
    only: Annotated[str, typer.Option(metavar="GLOB", help="Only cases whose name matches.")] = "*",
    limit: Annotated[float, typer.Option(metavar="S", help="Seconds that a case may take.")] = 60.0,
    total: Annotated[float, typer.Option(metavar="S", help="Seconds that a library may take.")] = 600.0,
    full: Annotated[bool, typer.Option("--full", help="The whole report of each case.")] = False,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write JSON; - prints it.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML; - prints it.")] = None,
    force: Force = False,
) -> None:
    """Audit the conversions and quantizers of libraries, or a function of your own.

    Each library is asked in a process of its own: one that crashes or hangs does not stop the others. The exit status
    is 0 if everything is identical to the rule that it is held against, and 1 if something differs.
    """
    from bitquant.cli import audit

    if listed:
        audit.list_all()
        return
    own = any(":" in name for name in names or [])
    if own and target is None and not quantizer:
        raise BitquantError("say what your function gives: --to FORMAT; or --quantizer")
    conversion = {"source": source, "target": target, **({"dialect": dialect} if dialect else {})}
    codes: dict[str, Any] = {"source": source, "bits": bits, "signed": not unsigned}
    codes |= {"against": dialect} if dialect else {}
    asked = audit.works(names or [], conversion, codes, inputs, data, quantizer, only)
    same = audit.audit(asked, limit, total, json, junit, force, full)
    raise typer.Exit(0 if same else 1)
