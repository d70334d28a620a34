"""Quantization by another system's rule: the parameters, the codes and the numbers that it gives, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant import plans
from bitquant.convert import convert
from bitquant.dialects.quantizers import Quantizer
from bitquant.errors import BitquantError
from bitquant.formats import FP32, FP64, Format, format
from bitquant.kernels import stats
from bitquant.kernels.formula import DefaultEnvironment, Formula
from bitquant.layouts import in_parts
from bitquant.quantize.formulas import DTYPES, Chain, Evaluator, Value
from bitquant.quantize.parameters import Grid

_HELD = {"float64": FP64, "float32": FP32, "bfloat16": FP32, "float16": FP32}


@dataclass(frozen=True, eq=False)
class Found:
    """The parameters by which a row quantizes, per channel.

    Attributes
    ----------
    step : ndarray
        In the row's step format; bfloat16 and float16 as float32.
    zero_point : ndarray
        int32, or floats where the row does not round it.
    evaluator : Evaluator
        All names that the row's formulas have set.
    """

    row: Quantizer
    grid: Grid
    source: Format
    evaluator: Evaluator
    channels: int

    @property
    def step(self) -> NDArray[Any]:
        """Units per code, per channel."""
        return self._numbers("step")

    @property
    def zero_point(self) -> NDArray[Any]:
        """The code of zero, per channel."""
        return self._numbers("zero_point")

    def _numbers(self, name: str) -> NDArray[Any]:
        return np.ascontiguousarray(np.broadcast_to(self.evaluator.names[name].numbers, self.channels))


def precision_of(row: Quantizer, source: Format) -> str:
    """The type in which a row computes with numbers of a format."""
    return source.name if row.precision == "input" else row.precision


def start(row: Quantizer, grid: Grid, bits: int, source: Format) -> tuple[Evaluator, dict[str, str]]:
    """An evaluator that knows the codes' range, and the types that names have."""
    if source.name not in row.inputs:
        raise BitquantError(
            f"the dialect {row.name} does not take {source.name}: convert to {' or '.join(row.inputs)} first"
        )
    names = {"qmin": grid.low, "qmax": grid.high, "bits": bits, "tiny": source.smallest_normal, "epsilon": source.epsilon}
    evaluator = Evaluator(
        {name: Value(number, "number") for name, number in names.items()}, precision_of(row, source), source.name
    )
    step = source.name if row.step_format == "input" else row.step_format
    return evaluator, {"step": step, "zero_point": step if row.zero_point == "real" else "int32"}


def find(
    row: Quantizer, scheme: str, grid: Grid, bits: int, source: Format, low: NDArray[Any], high: NDArray[Any],
    peak: NDArray[Any] | None,
) -> Found:  # fmt: skip
    """The parameters that a row finds from the extremes of each channel."""
    assignments = row.parameters(scheme)
    if not assignments:
        raise BitquantError(
            f"the dialect {row.name} finds no {scheme} parameters: "
            + ("give step= and zero_point=" if not row.symmetric + row.asymmetric else "choose the other scheme")
        )
    evaluator, casts = start(row, grid, bits, source)
    with DefaultEnvironment(), np.errstate(all="ignore"):
        for name, numbers in (("low", low), ("high", high), ("peak", peak)):
            if numbers is not None:
                evaluator.names[name] = Value(numbers, source.name).to(evaluator.precision)
        evaluator.names["zero_point"] = Value(0, "number").to(casts["zero_point"])
        evaluator.assign(assignments, casts)
        if row.zero_point == "code":
            evaluator.names["zero_point"] = _wrapped(evaluator.names["zero_point"], grid, bits)
    return Found(row, grid, source, evaluator, low.size)


def _wrapped(zero_point: Value, grid: Grid, bits: int) -> Value:
    """A zero point stored as a code: its low byte, or bytes."""
    dtype = np.dtype(f"{'i' if grid.signed else 'u'}{1 if bits <= 8 else 2}")
    return Value(zero_point.numbers.astype(dtype).astype(np.int32), "int32")


def take_given(
    row: Quantizer, grid: Grid, bits: int, source: Format, step: NDArray[Any], zero_point: NDArray[Any], channels: int
) -> Found:
    """The parameters that a caller gives, as a row stores them."""
    evaluator, casts = start(row, grid, bits, source)
    with DefaultEnvironment(), np.errstate(all="ignore"):
        evaluator.names["step"] = Value(step, "float64").to(casts["step"])
        type = "float64" if zero_point.dtype.kind == "f" else "int32"
        evaluator.names["zero_point"] = Value(zero_point.astype(DTYPES[type]), type).to(casts["zero_point"])
        evaluator.assign(row.given, casts)
    return Found(row, grid, source, evaluator, channels)


def codes_of(found: Found, array: NDArray[Any], codes: NDArray[Any], inner: int, threads: int | None) -> None:
    """Fill the codes of a contiguous array."""
    with DefaultEnvironment(), np.errstate(all="ignore"):
        chain = Chain(found.row.codes, "x", precision_of(found.row, found.source), found.evaluator, found.channels)
        chain.to("int32")
    carrier, widen = plans.to_carrier(found.source)
    if carrier is FP64 and chain.word == 4:
        raise BitquantError(f"the dialect {found.row.name} does not take {found.source.name}: convert to float32 first")
    source = "float" if chain.word == carrier.code_dtype.itemsize else "float32"
    kernel = Formula(chain.word, chain.links, chain.operands, source, codes.dtype.name, widen)
    in_parts(lambda start, stop: kernel.run(array, codes, inner, start, stop), array.size, threads)


def values_of(found: Found, codes: NDArray[Any], inner: int, threads: int | None) -> NDArray[Any]:
    """The numbers that contiguous codes stand for, in the type that the row gives."""
    with DefaultEnvironment(), np.errstate(all="ignore"):
        chain = Chain(found.row.values, "code", "int32", found.evaluator, found.channels)
        if chain.type == "int32":
            chain.to(found.evaluator.precision)
    values = np.empty(codes.shape, np.dtype(f"f{chain.word}"))
    kernel = Formula(chain.word, chain.links, chain.operands, codes.dtype.name, "float")
    in_parts(lambda start, stop: kernel.run(codes, values, inner, start, stop), codes.size, threads)
    return values if values.dtype == DTYPES[chain.type] and chain.type not in ("bfloat16", "float16") else convert(
        values, chain.type
    )  # fmt: skip
