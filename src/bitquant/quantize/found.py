"""The parameters, the codes and the numbers that another system gives, bit for bit, from the row of its dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant import plans
from bitquant.convert import convert
from bitquant.dialects.quantizers import Quantizer
from bitquant.errors import BitquantError
from bitquant.formats import FP32, FP64, Format, format
from bitquant.kernels import stats
from bitquant.kernels.blocking import Blocks
from bitquant.kernels.formula import DefaultEnvironment, Formula
from bitquant.layouts import in_parts
from bitquant.quantize.formulas import Chain, Evaluator, Value, uses
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.parameters import Grid
from bitquant.quantize.rationals import exact_numbers

_UP_TO_A_BYTE = 8


def code_dtype(bits: int, signed: bool) -> np.dtype[Any]:
    """The dtype that holds codes: a byte, or two where they have more than 8 bits."""
    return np.dtype(f"{'i' if signed else 'u'}{1 if bits <= _UP_TO_A_BYTE else 2}")


def grid_of(row: Quantizer, scheme: str, bits: Any, signed: bool | None, narrow: bool | None) -> tuple[Grid, int]:
    """The codes of a row, and their bits: its own where the caller does not say."""
    bits = row.bits[0] if bits is None else bits
    signed = row.signed[0] if signed is None else bool(signed)
    if bits not in row.bits or signed not in row.signed:
        codes = " or ".join("int" if each else "uint" for each in row.signed)
        raise BitquantError(
            f"the dialect {row.name} has no codes of {'int' if signed else 'uint'}{bits}: choose {codes} of "
            f"{', '.join(map(str, row.bits))} bits"
        )
    low = -(2 ** (bits - 1)) if signed else 0
    if narrow is None:
        narrow = signed and scheme in row.narrow
    return Grid(low + bool(narrow), low + 2**bits - 1, signed), int(bits)


@dataclass(frozen=True, eq=False)
class Found:
    """The parameters by which a row quantizes, one of each per channel; in place of exact `Parameters`.

    Attributes
    ----------
    row : Quantizer
    grid : Grid
    dtype : dtype
        Of the codes.
    source : Format
        Of the numbers.
    granularity : Granularity
    evaluator : Evaluator
        All names that the row's formulas have set.
    """

    row: Quantizer
    grid: Grid
    dtype: np.dtype[Any]
    source: Format
    granularity: Granularity
    evaluator: Evaluator

    @property
    def zero_points(self) -> NDArray[Any]:
        """The codes of zero: int32, or FP64 where the row does not round them."""
        return self._numbers("zero_point")

    def float_steps(self) -> NDArray[Any]:
        """Units per code, as the row stores them, in FP64."""
        return self._numbers("step")

    def float_scales(self) -> NDArray[np.float64]:
        """Codes per unit: the FP64 nearest to 1/step."""
        with DefaultEnvironment(), np.errstate(all="ignore"):
            scales: NDArray[np.float64] = 1 / self.float_steps()
        return scales

    @property
    def scales(self) -> tuple[Fraction, ...]:
        """The inverses of the steps, exact."""
        steps = self.float_steps()
        for step in steps[~(np.isfinite(steps) & (steps != 0))][:1]:
            raise BitquantError(f"the step that {self.row.name} gives is {step}, which has no exact inverse")
        return tuple(1 / step for step in exact_numbers(steps))

    @property
    def step_format(self) -> Format:
        """The format in which steps are stored."""
        return format(self.evaluator.names["step"].type)

    @property
    def value_format(self) -> Format:
        """The format of the numbers that codes stand for."""
        return format(self._chain_of_values.type)

    def float_ranges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the smallest and the largest code stand for."""
        channels = self.granularity.channels
        blocks = Blocks((channels,), (1,))
        ends = (np.full(channels, end, self.dtype) for end in (self.grid.low, self.grid.high))
        low, high = (convert(self._values(end, 0, blocks), FP64) for end in ends)
        return low, high

    inside = float_ranges

    def way_back(self, target: Format) -> Callable[[NDArray[Any], NDArray[Any], int], None]:
        """What turns codes, the first of them number `start` of the array, into codes of the target format."""
        chain = self._chain_of_values
        direct = target.name == chain.type and target in (FP32, FP64)

        def back(codes: NDArray[Any], values: NDArray[Any], start: int) -> None:
            if direct:
                self._way_back(self.granularity.blocks, codes).run(codes, values, start)
            else:
                found = self._values(codes, start, self.granularity.blocks)
                values[...] = convert(found, target).view(target.code_dtype)

        return back

    def _numbers(self, name: str) -> NDArray[Any]:
        value = self.evaluator.names[name]
        numbers = value.numbers if value.type == "int32" else convert(value.numbers, FP64)
        return np.ascontiguousarray(np.broadcast_to(numbers, self.granularity.channels))

    @cached_property
    def _chain_of_values(self) -> Chain:
        with DefaultEnvironment(), np.errstate(all="ignore"):
            chain = Chain(self.row.values, "code", "int32", self.evaluator, self.granularity.channels)
            if chain.type == "int32":
                chain.to(self.evaluator.precision)
        return chain

    def _way_back(self, blocks: Blocks, codes: NDArray[Any]) -> Formula:
        chain = self._chain_of_values
        to = "float" if chain.type == "float64" else "float32"
        return Formula(chain.word, chain.links, chain.operands, codes.dtype.name, to, blocks)

    def _values(self, codes: NDArray[Any], start: int, blocks: Blocks) -> NDArray[Any]:
        """What codes stand for, as floats that hold it."""
        values = np.empty(codes.shape, np.float64 if self._chain_of_values.type == "float64" else np.float32)
        self._way_back(blocks, codes).run(codes, values, start)
        return values


def precision_of(row: Quantizer, source: Format) -> str:
    """The type in which a row computes with numbers of a format."""
    return source.name if row.precision == "input" else row.precision


def _start(
    row: Quantizer, grid: Grid, bits: int, source: Format, granularity: Granularity
) -> tuple[Found, dict[str, str]]:
    """Parameters that know the codes' range alone, and the types that names have."""
    if source.name not in row.inputs:
        raise BitquantError(
            f"the dialect {row.name} does not take {source.name}: convert to {' or '.join(row.inputs)} first"
        )
    names = {
        "qmin": grid.low,
        "qmax": grid.high,
        "bits": bits,
        "tiny": source.smallest_normal,
        "epsilon": source.epsilon,
    }
    evaluator = Evaluator(
        {name: Value(number, "number") for name, number in names.items()}, precision_of(row, source), source.name
    )
    step = source.name if row.step_format == "input" else row.step_format
    found = Found(row, grid, code_dtype(bits, grid.signed), source, granularity, evaluator)
    return found, {"step": step, "zero_point": step if row.zero_point == "real" else "int32"}


def find(
    row: Quantizer,
    scheme: str,
    grid: Grid,
    bits: int,
    source: Format,
    granularity: Granularity,
    extremes: dict[str, NDArray[Any]],
) -> Found:
    """The parameters that a row finds from the `low` and `high` of each channel, and the `peak` where it uses that."""
    found, casts = _start(row, grid, bits, source, granularity)
    names = found.evaluator.names
    with DefaultEnvironment(), np.errstate(all="ignore"):
        _set_extremes(found, extremes)
        names["zero_point"] = Value(0, "number").to(casts["zero_point"])
        found.evaluator.assign(row.parameters(scheme), casts)
        if row.zero_point == "code":
            # It is stored as a code: the low byte, or bytes, of what was found.
            stored = names["zero_point"].numbers.astype(found.dtype).astype(np.int32)
            names["zero_point"] = Value(stored, "int32")
    return found


def take_given(
    row: Quantizer,
    grid: Grid,
    bits: int,
    source: Format,
    granularity: Granularity,
    step: NDArray[np.float64],
    zero_point: NDArray[np.float64],
    extremes: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> Found:
    """The parameters that a caller gives, as a row stores them, and the extremes where there are any."""
    found, casts = _start(row, grid, bits, source, granularity)
    whole = (zero_point == np.rint(zero_point)).all()
    most = np.iinfo(found.dtype if row.zero_point == "code" else np.int32)
    if row.zero_point != "real" and not (whole and (zero_point >= most.min).all() and (zero_point <= most.max).all()):
        raise BitquantError(
            f"zero_point is {' '.join(f'{each:g}' for each in zero_point[:3])}: that of the dialect {row.name} is an "
            f"integer from {most.min} to {most.max}"
        )
    names = found.evaluator.names
    with DefaultEnvironment(), np.errstate(all="ignore"):
        _set_extremes(found, extremes)
        names["step"] = Value(step, "float64").to(casts["step"])
        names["zero_point"] = Value(zero_point, "float64").to(casts["zero_point"])
        found.evaluator.assign(row.given, casts)
    return found


def _set_extremes(found: Found, extremes: Mapping[str, NDArray[Any]]) -> None:
    for name, numbers in extremes.items():
        number = Value(numbers, "float64").to(found.source.name)
        found.evaluator.names[name] = number.to(found.evaluator.precision)


def needs_peak(row: Quantizer, scheme: str) -> bool:
    """Whether a row finds its parameters from the first number of largest magnitude."""
    return any(uses(text.partition("=")[2].strip(), "peak") for text in row.parameters(scheme))


def peaks(
    array: NDArray[Any],
    source: Format,
    granularity: Granularity,
    lows: NDArray[np.float64],
    highs: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The first number of largest magnitude in each channel, given its extremes; what is not finite counts as zero."""
    below, above = (np.abs(ends).view(np.int64) for ends in (lows, highs))
    found = np.where(above > below, highs, lows)
    tied = (above == below) & ((lows.view(np.int64) != highs.view(np.int64)) | (above == 0))
    if tied.any():
        carrier, widen = plans.to_carrier(source)
        word = carrier.code_dtype.itemsize
        magnitudes = convert(np.abs(highs), carrier).view(f"i{word}")
        sought = np.where(tied, magnitudes, magnitudes.dtype.type(-1))
        firsts = np.zeros_like(sought)
        stats.firsts(array, widen, word, granularity.blocks, sought, firsts)
        found[tied] = convert(firsts.view(carrier.array_dtype), FP64)[tied]
    return found


def fill(found: Found, array: NDArray[Any], codes: NDArray[Any], threads: int | None) -> None:
    """Fill the codes of a contiguous array that is not empty."""
    with DefaultEnvironment(), np.errstate(all="ignore"):
        chain = Chain(
            found.row.codes,
            "x",
            precision_of(found.row, found.source),
            found.evaluator,
            found.granularity.channels,
        )
        chain.to("int32")
    carrier, widen = plans.to_carrier(found.source)
    if carrier is FP64 and chain.word == 4:
        raise BitquantError(f"the dialect {found.row.name} does not take {found.source.name}: convert to float32 first")
    source = "float" if chain.word == carrier.code_dtype.itemsize else "float32"
    kernel = Formula(chain.word, chain.links, chain.operands, source, codes.dtype.name, found.granularity.blocks, widen)
    flat, bytes_ = array.reshape(-1), codes.reshape(-1)
    in_parts(lambda start, stop: kernel.run(flat[start:stop], bytes_[start:stop], start), array.size, threads)


__all__ = ["Found", "fill", "find", "grid_of", "needs_peak", "peaks", "take_given"]
