"""Vectors in files: TestFloat's lines, words for $readmemh, columns, arrays."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array
from bitquant.convert import convert
from bitquant.errors import BitquantError
from bitquant.formats import FP64, Format, format
from bitquant.rules import Flags, choose
from bitquant.vectors.golden import ALL_FLAGS, DIVIDE_BY_ZERO, Vectors

__all__ = ["FLAGS", "LAYOUTS", "layout_of", "read", "values", "write"]

LAYOUTS: Mapping[str, str] = {
    "testfloat": "the lines of Berkeley TestFloat: input, output and flags in hexadecimal",
    "readmemh": "one hexadecimal word for Verilog's $readmemh: {input, output, flags}",
    "csv": "columns with a header: codes in hexadecimal, values, a column for each flag",
    "npz": "NumPy arrays: input, output, and one for each flag",
}
_SUFFIXES = {".csv": "csv", ".npz": "npz", ".mem": "readmemh", ".hex": "readmemh", ".memh": "readmemh"}

# The flags of a file, from the lowest bit up: TestFloat's numbers for them (testfloat_gen.html, "Output Format").
FLAGS = {
    "inexact": Flags.INEXACT,
    "underflow": Flags.UNDERFLOW,
    "overflow": Flags.OVERFLOW,
    "infinite": DIVIDE_BY_ZERO,
    "invalid": Flags.INVALID,
}
_NAMED = tuple(name for name in reversed(FLAGS) if name != "infinite")  # those that a conversion can raise
_HEX = re.compile(r"[0-9A-Fa-f]+")
_MOST_DIGITS = 64  # of a number in a file


class _Rows(NamedTuple):
    """What a file says: numbers not yet checked, the line of each, and which flags they tell."""

    inputs: list[int]
    outputs: list[int]
    flags: list[int]
    lines: Sequence[int]
    known: int


def layout_of(path: str | Path) -> str:
    """Give the layout that the end of a file's name stands for: testfloat where it stands for no other."""
    return _SUFFIXES.get(Path(path).suffix.lower(), "testfloat")


def write(vectors: Vectors, stream: BinaryIO, layout: str = "testfloat", flags: bool = True) -> None:
    """Write vectors to a binary stream, with their flags or without."""
    layout = choose("layout", layout, LAYOUTS)
    if layout == "npz":
        _write_npz(vectors, stream, flags)
        return
    lines = {"testfloat": _testfloat, "readmemh": _readmemh, "csv": _csv}[layout](vectors, flags)
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == 1 << 14:
            stream.write("".join(chunk).encode())
            chunk.clear()
    stream.write("".join(chunk).encode())


def read(stream: BinaryIO, source: Any, target: Any, layout: str = "testfloat", flags: bool = True) -> Vectors:
    """Read vectors from a binary stream. Without `flags`, those that a file tells are not looked at.

    Parameters
    ----------
    stream : binary file
    source, target : Format, str or dtype
        What the codes in it are codes of.
    layout : {"testfloat", "readmemh", "csv", "npz"}
    flags : bool
        A word for $readmemh does not say whether it ends in flags: this does.

    Raises
    ------
    BitquantError
        For a line that is not of the layout, or a number that is no code of its format.
    """
    layout = choose("layout", layout, LAYOUTS)
    origin, aim = format(source), format(target)
    if layout == "npz":
        rows = _read_npz(stream)
    else:
        try:
            text = stream.read().decode()
        except UnicodeDecodeError:
            raise BitquantError(f"this is no text: {layout} is, name the layout it has") from None
        if layout == "readmemh":
            rows = _read_readmemh(text, origin, aim, flags)
        else:
            rows = {"testfloat": _read_testfloat, "csv": _read_csv}[layout](text)
    if not rows.inputs:
        raise BitquantError(f"there are no vectors in it: {layout} has {LAYOUTS[layout]}")
    return Vectors(
        origin,
        aim,
        _codes(rows.inputs, origin, rows.lines, layout),
        _codes(rows.outputs, aim, rows.lines, layout),
        _masks(rows.flags, rows.lines, layout),
        rows.known if flags else 0,
    )


# --- TestFloat ----------------------------------------------------------------------------------------------


def _testfloat(vectors: Vectors, flags: bool) -> Iterator[str]:
    # As testfloat_gen writes them and testfloat_ver reads them: as many capital digits as a code needs, no 0x.
    row = f"%0{_digits(vectors.source)}X %0{_digits(vectors.target)}X" + (" %02X\n" if flags else "\n")
    return (row % numbers for numbers in _columns(vectors, flags))


def _read_testfloat(text: str) -> _Rows:
    columns: list[list[int]] = [[], [], []]
    lines: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith(("//", "#")):
            continue
        if len(words) not in (2, 3) or (lines and (len(words) == 3) != bool(columns[2])):
            raise _bad(number, line, "INPUT OUTPUT or INPUT OUTPUT FLAGS, on all lines the same")
        for column, word in zip(columns, words, strict=False):
            column.append(_hex(word, number, line))
        lines.append(number)
    told = bool(columns[2])
    return _Rows(columns[0], columns[1], columns[2] if told else [0] * len(lines), lines, ALL_FLAGS if told else 0)


# --- $readmemh ----------------------------------------------------------------------------------------------


def _readmemh(vectors: Vectors, flags: bool) -> Iterator[str]:
    into, out = vectors.source.bits, vectors.target.bits
    width = into + out + (len(FLAGS) if flags else 0)
    digits = -(-width // 4)
    names = "input_code, output_code, flags" if flags else "input_code, output_code"
    declared = f"reg [{into - 1}:0] input_code; reg [{out - 1}:0] output_code;" + (" reg [4:0] flags;" if flags else "")
    yield f"// {_title(vectors)}\n"
    yield f"// a word: {{{names}}}, {width} bits in {digits} digits, zeros above"
    yield f"; flags, highest first: {', '.join(reversed(FLAGS))}\n" if flags else "\n"
    yield f'//   reg [{width - 1}:0] vectors [0:{len(vectors) - 1}];  initial $readmemh("FILE", vectors);\n'
    yield f"//   {declared}  always @* {{{names}}} = vectors[index];\n"
    word = f"%0{digits}X\n"
    if flags:
        yield from (word % (x << out + 5 | y << 5 | raised) for x, y, raised in _columns(vectors, True))
    else:
        yield from (word % (x << out | y) for x, y in _columns(vectors, False))


def _read_readmemh(text: str, origin: Format, aim: Format, flags: bool) -> _Rows:
    text = re.sub(r"//[^\n]*|/\*.*?\*/", lambda comment: " " + "\n" * comment[0].count("\n"), text, flags=re.DOTALL)
    tail = len(FLAGS) if flags else 0
    width = origin.bits + aim.bits + tail
    lines: list[int] = []
    rows = _Rows([], [], [], lines, ALL_FLAGS if flags else 0)
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.split():
            if word.startswith(
                "@"
            ):  # an address, as $writememh puts it: the order of the words is all that counts here
                continue
            value = _hex(word.replace("_", ""), number, line)
            if value >> width:
                parts = f"{origin.bits} bits of {origin.name}, {aim.bits} of {aim.name}" + (
                    ", 5 flags" if flags else ""
                )
                raise BitquantError(
                    f"line {number}: {word} has more than {width} bits ({parts}): give the formats it has"
                )
            rows.inputs.append(value >> aim.bits + tail)
            rows.outputs.append(value >> tail & 2**aim.bits - 1)
            rows.flags.append(value & 2**tail - 1)
            lines.append(number)
    return rows


# --- Columns ------------------------------------------------------------------------------------------------


def _csv(vectors: Vectors, flags: bool) -> Iterator[str]:
    yield ",".join(("input", "input_value", "output", "output_value", *(_NAMED if flags else ()))) + "\n"
    into, out = _digits(vectors.source), _digits(vectors.target)
    shown = values(vectors.inputs, vectors.source), values(vectors.outputs, vectors.target)
    bits = [list(FLAGS).index(name) for name in _NAMED]
    for (x, y, *raised), value, result in zip(_columns(vectors, flags), *shown, strict=True):
        told = "".join(f",{raised[0] >> bit & 1}" for bit in bits) if flags else ""
        yield f"0x{x:0{into}X},{value},0x{y:0{out}X},{result}{told}\n"


def _read_csv(text: str) -> _Rows:
    rows = csv.reader(io.StringIO(text))
    head = [name.strip().lower() for name in next(rows, [])]
    told = [name for name in FLAGS if name in head]
    if not {"input", "output"} <= set(head):
        raise BitquantError("line 1: the header of the columns has to name input and output, and may name flags")
    known = sum(FLAGS[name] for name in told)
    lines: list[int] = []
    result = _Rows([], [], [], lines, known)
    for row in rows:
        number, line = rows.line_num, ",".join(row)
        if not any(word.strip() for word in row):
            continue
        if len(row) != len(head):
            raise _bad(number, line, f"{len(head)} columns as in the header")
        cells = dict(zip(head, row, strict=True))
        result.inputs.append(_hex(cells["input"], number, line))
        result.outputs.append(_hex(cells["output"], number, line))
        raised = 0
        for name in told:
            if cells[name].strip() not in ("0", "1"):
                raise _bad(number, line, f"0 or 1 under {name}")
            raised |= (cells[name].strip() == "1") << list(FLAGS).index(name)
        result.flags.append(raised)
        lines.append(number)
    return result


# --- Arrays -------------------------------------------------------------------------------------------------


def _write_npz(vectors: Vectors, stream: BinaryIO, flags: bool) -> None:
    raised = {name: vectors.flags & FLAGS[name] != 0 for name in _NAMED} if flags else {}
    names = {"source": vectors.source.name, "target": vectors.target.name, **_words(vectors.rules)}
    np.savez_compressed(stream, input=vectors.inputs, output=vectors.outputs, about=json.dumps(names), **raised)


def _read_npz(stream: BinaryIO) -> _Rows:
    try:
        with np.load(io.BytesIO(stream.read()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("input", "output", *FLAGS) if name in file.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise BitquantError(f"this is no .npz file of vectors ({error}): name the layout it has") from error
    sizes = {array.size for array in arrays.values()}
    if not {"input", "output"} <= set(arrays) or len(sizes) != 1:
        raise BitquantError("a .npz file of vectors has arrays input and output, and may have flags, all of one length")
    if any(array.dtype.kind not in "uib" for array in arrays.values()):
        raise BitquantError("the arrays of a .npz file of vectors are integers: view floats as their codes")
    told = [name for name in FLAGS if name in arrays]
    raised = np.zeros(sizes.pop(), np.int64)
    for name in told:
        raised |= (arrays[name].reshape(-1) != 0).astype(np.int64) << list(FLAGS).index(name)
    inputs, outputs = (arrays[name].reshape(-1).tolist() for name in ("input", "output"))
    return _Rows(inputs, outputs, raised.tolist(), range(1, len(inputs) + 1), sum(FLAGS[name] for name in told))


# --- What they share ----------------------------------------------------------------------------------------


def _digits(fmt: Format) -> int:
    return -(-fmt.bits // 4)


def _columns(vectors: Vectors, flags: bool) -> Iterable[tuple[int, ...]]:
    """Codes and, in the bits that files have, flags."""
    columns = [vectors.inputs.tolist(), vectors.outputs.tolist()]
    if flags:
        columns.append(_turned(vectors.flags, list(FLAGS.values()), [1 << k for k in range(len(FLAGS))]).tolist())
    return zip(*columns, strict=True)


def _turned(masks: NDArray[Any], bits: Sequence[int], others: Sequence[int]) -> NDArray[np.uint8]:
    """Flags in other bits."""
    table = [sum(new for old, new in zip(bits, others, strict=True) if mask & old) for mask in range(ALL_FLAGS + 1)]
    return np.asarray(np.array(table, np.uint8)[masks])


def values(codes: Array, fmt: Format) -> list[Any]:
    """Codes as the numbers they stand for, in the shortest way to write them."""
    if fmt.is_integer:
        signed = codes.astype(np.int64) if fmt.bits < 64 else codes.view(f"{'i' if fmt.signed else 'u'}8")
        if fmt.signed and fmt.bits < 64:
            signed = signed - (signed >> fmt.bits - 1 << fmt.bits)
        integers: list[Any] = signed.tolist()
        return integers
    numbers: list[Any] = np.asarray(convert(codes, FP64, fmt), np.float64).tolist()
    return numbers


def _title(vectors: Vectors) -> str:
    words = ", ".join(f"{name} {value}" for name, value in _words(vectors.rules).items())
    return f"{vectors.source.name} to {vectors.target.name}" + (f"; {words}" if words else "")


def _words(rules: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in rules.items() if value is not None}


def _hex(word: str, number: int, line: str) -> int:
    word = word.strip()
    digits = word[2:] if word[:2] in ("0x", "0X") else word
    if not _HEX.fullmatch(digits) or len(digits) > _MOST_DIGITS:
        raise _bad(number, line, "numbers in hexadecimal")
    return int(digits, 16)


def _bad(number: int, line: str, wanted: str) -> BitquantError:
    return BitquantError(f"line {number} is {line[:60]!r}: it needs {wanted}")


def _codes(numbers: list[int], fmt: Format, lines: Sequence[int], layout: str) -> Array:
    most = 2**fmt.bits - 1
    for number, line in zip(numbers, lines, strict=True):
        if not 0 <= number <= most:
            where = "vector" if layout == "npz" else "line"
            raise BitquantError(f"{where} {line}: {number:#x} is no code of {fmt.name}, which has {fmt.bits} bits")
    return np.array(numbers, fmt.code_dtype)


def _masks(raised: list[int], lines: Sequence[int], layout: str) -> NDArray[np.uint8]:
    for flags, line in zip(raised, lines, strict=True):
        if flags >> len(FLAGS):
            raise BitquantError(f"line {line}: {flags:#x} are no flags: they are 5 bits, {', '.join(reversed(FLAGS))}")
    return _turned(np.array(raised, np.uint8), [1 << k for k in range(len(FLAGS))], list(FLAGS.values()))
