"""One tensor's summary, and the order in which summaries are told: what would hurt most comes first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import take
from bitquant.errors import BitquantError
from bitquant.formats import format
from bitquant.inspecting.survey import SIGMAS, Loss, Scrutiny, Survey, root
from bitquant.quantize.rationals import nearest_float

__all__ = ["TensorSummary", "inspect_stream", "inspect_tensor", "parts", "worst_first"]

_PART = 1 << 20  # numbers that are looked at together


# Numbers `start` to `stop` of a tensor, counted in C order: what a file gives without being read whole.
Read: TypeAlias = Callable[[int, int], NDArray[Any]]


@dataclass(frozen=True)
class TensorSummary:
    """What low precision would do to a tensor. Shares are of the finite numbers, 0 to 1.

    Attributes
    ----------
    name : str
    shape : tuple of int
    format : str
        The format that the tensor is stored in.
    count, nan, infinite, zeros : int
    low, high : float
        Extremes of the finite numbers; NaN where there are none, as for the figures below.
    mean, std : float
        Exact, rounded once (the standard deviation to within an ulp).
    largest_sigma : float
        The largest distance from the mean, in standard deviations.
    beyond : dict of int to float
        The share of numbers farther from the mean than 3 and than 6 standard deviations.
    losses : dict of str to Loss
        For each format (float16, bfloat16, float8_e4m3fn, float8_e5m2): how many numbers overflow, become zero, change.
    int8_db, int8_rows_db : float
        Signal-to-quantization-noise ratio in dB of symmetric INT8 with one step for the tensor, and with one for each
        index of the first dimension (NaN for tensors of fewer than two); dequantized to the tensor's own format.
    worst_row, worst_row_db : int or None, float
        The row that one step for the tensor serves worst, and its own ratio.
    edges : tuple of float
        The first and last edge of the bins.
    bins : tuple of int
        Counts in bins of equal width.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    count: int
    nan: int
    infinite: int
    zeros: int
    low: float
    high: float
    mean: float
    std: float
    largest_sigma: float
    beyond: dict[int, float]
    losses: dict[str, Loss]
    int8_db: float
    int8_rows_db: float
    worst_row: int | None
    worst_row_db: float
    edges: tuple[float, float]
    bins: tuple[int, ...]

    @classmethod
    def of(cls, name: str, shape: tuple[int, ...], stored: str, survey: Survey, scrutiny: Scrutiny) -> TensorSummary:
        """Put together what both passes found."""
        n, sums = survey.finite, survey.sums
        mean, std = sums.mean, root(sums.variance)
        farthest = max(Fraction(survey.high) - mean, mean - Fraction(survey.low)) if n else Fraction(0)
        ratios = [_decibels(s, e) for s, e in zip(scrutiny.signal, scrutiny.noise, strict=True)]
        worst = min(range(len(ratios)), key=ratios.__getitem__) if n and len(shape) > 1 else None
        signal = sum(scrutiny.signal, Fraction(0))
        low, high = (math.ldexp(end, scrutiny.exponent) for end in scrutiny.ends) if n else (0.0, 0.0)
        return cls(
            name=name,
            shape=shape,
            format=stored,
            count=survey.count,
            nan=survey.nan,
            infinite=survey.infinite,
            zeros=survey.zeros,
            low=survey.low if n else math.nan,
            high=survey.high if n else math.nan,
            mean=nearest_float(mean) if n else math.nan,
            std=std if n else math.nan,
            largest_sigma=nearest_float(farthest / Fraction(std)) if n and std else 0.0 if n else math.nan,
            beyond={k: found / n if n else math.nan for k, found in zip(SIGMAS, scrutiny.beyond, strict=True)},
            losses=survey.losses,
            int8_db=_decibels(signal, sum(scrutiny.noise, Fraction(0))) if n else math.nan,
            int8_rows_db=_decibels(signal, sum(scrutiny.row_noise, Fraction(0))) if n and len(shape) > 1 else math.nan,
            worst_row=worst,
            worst_row_db=math.nan if worst is None else ratios[worst],
            edges=(low, high),
            bins=tuple(scrutiny.bins.tolist()),
        )

    @property
    def finite(self) -> int:
        """How many numbers are finite."""
        return self.count - self.nan - self.infinite

    def share(self, name: str, what: str) -> float:
        """The share of numbers that a format's "overflow", "flushed" or "inexact" counts."""
        return float(getattr(self.losses[name], what)) / self.finite if self.finite else math.nan

    @property
    def harm(self) -> tuple[float, ...]:
        """What the order goes by: NaN and infinities, then what FP16 overflows, then the least INT8 ratio."""
        none = not self.finite
        return (-(self.nan + self.infinite), 0 if none else -self.share("float16", "overflow"), none, self.int8_db)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        found = asdict(self)
        found["beyond"] = {f"{k}_sigma": share for k, share in self.beyond.items()}
        for name, loss in found["losses"].items():
            found["losses"][name] = {what: {"count": k, "share": self.share(name, what)} for what, k in loss.items()}
        return found


def inspect_tensor(tensor: Any, name: str = "tensor") -> TensorSummary:
    """Look at a tensor of floating point numbers twice, a piece at a time.

    Parameters
    ----------
    tensor : array_like
        Of a floating format; a NumPy array that is mapped to a file is never read whole.
    name : str

    Returns
    -------
    TensorSummary

    Raises
    ------
    BitquantError
        For a dtype of no floating format.

    Examples
    --------
    >>> import numpy as np
    >>> from bitquant.inspecting import inspect_tensor
    >>> found = inspect_tensor(np.float32([[1, -2, 3, 70000], [1e-9, 0, 0.5, 1]]))
    >>> found.losses["float16"]
    Loss(overflow=1, flushed=1, inexact=2)
    >>> print(f"{found.int8_db:.1f} dB, largest {found.largest_sigma:.2f} σ")
    85.1 dB, largest 2.65 σ
    """
    array, _ = take(tensor)
    flat = array.reshape(-1)
    return inspect_stream(name, array.shape, array.dtype, lambda start, stop: flat[start:stop])


def inspect_stream(name: str, shape: tuple[int, ...], dtype: Any, read: Read) -> TensorSummary:
    """Do what `inspect_tensor` does, with numbers that are fetched a piece at a time."""
    try:
        stored = format(dtype)
    except BitquantError:
        stored = None
    if stored is None or not stored.is_float:
        raise BitquantError(f"{name!r} holds {dtype}, not floating point numbers: there is nothing to lose")
    survey = Survey(shape[0] if len(shape) > 1 else 1)
    for row, part in parts(shape, read):
        survey.see(part, row)
    scrutiny = Scrutiny(survey)
    for row, part in parts(shape, read):
        scrutiny.see(part, row)
    return TensorSummary.of(name, tuple(shape), stored.name, survey, scrutiny)


def parts(shape: tuple[int, ...], read: Read) -> Iterator[tuple[int, NDArray[Any]]]:
    """A tensor as pieces of two dimensions, each with the index of its first row: whole rows, or a piece of one."""
    rows = shape[0] if len(shape) > 1 else 1
    length = math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)
    if not length:
        return
    together = max(1, _PART // length)
    for row in range(0, rows, together):
        last = min(row + together, rows)
        if length <= _PART:
            yield row, _flat(read(row * length, last * length)).reshape(last - row, length)
            continue
        for start in range(row * length, last * length, _PART):
            yield row, _flat(read(start, min(start + _PART, last * length))).reshape(1, -1)


def worst_first(found: Sequence[TensorSummary]) -> list[TensorSummary]:
    """Summaries in the order of their `harm`."""
    return sorted(found, key=lambda one: one.harm)


def _flat(numbers: NDArray[Any]) -> NDArray[Any]:
    """Contiguous, in the machine's byte order, a plain array."""
    return np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("="))


def _decibels(signal: Fraction, noise: Fraction) -> float:
    """10 · log10(signal / noise): infinite without noise."""
    if not noise:
        return math.inf
    return 10 * (_log10(signal) - _log10(noise)) if signal else -math.inf


def _log10(value: Fraction) -> float:
    """log10 of a positive rational of any size."""
    return math.log10(value.numerator) - math.log10(value.denominator)
