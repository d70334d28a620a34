"""What a calibration gives: a range, the parameters that belong to it, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from bitquant.calibrate.certificate import Certificate
from bitquant.calibrate.channels import Pair, Target
from bitquant.errors import BitquantError
from bitquant.formats import Format
from bitquant.quantize.parameters import Parameters, Range
from bitquant.quantize.rationals import nearest, nearest_float


class Calibration(tuple[Any, Any]):
    """A range that was found, as a pair (low, high) that `quantize` takes, with the parameters that belong to it.

    Everything is exact: a `fractions.Fraction`, or where there are channels, groups or blocks a tuple of them, one for
    each in C order. `range` and `repr` show the nearest floats.

    Attributes
    ----------
    method : str
    scheme : str
        "symmetric", "asymmetric" or "codebook".
    low, high : Fraction or tuple of Fraction
        The range, in units of the numbers.
    scale, step : Fraction or tuple of Fraction
        Codes per unit, and its inverse, units per code (what ONNX, PyTorch and TFLite call "scale").
    zero_point : int or tuple of int
        The code of zero (0 for a codebook, whose values are what they are).
    certificate : Certificate, tuple of Certificate, or None
        Of ``method="mse"``.

    Examples
    --------
    >>> import bitquant as bq
    >>> x = [0.5, -1.0, 0.25, 80.0]
    >>> found = bq.calibrate(x, "percentile", percentile=75)
    >>> found
    Calibration(method='percentile', scheme='symmetric', low=-1.0, high=1.0, step=0.007874015748031496, zero_point=0)
    >>> bq.quantize(x, range=found).codes
    array([  64, -127,   32,  127], dtype=int8)
    """

    method: str
    scheme: str
    scale: Any
    _shape: tuple[int, ...]
    step: Any
    zero_point: Any
    certificate: Certificate | tuple[Certificate, ...] | None

    def __new__(
        cls,
        method: str,
        scheme: str,
        shape: tuple[int, ...],
        ranges: Sequence[Pair],
        steps: Sequence[Fraction],
        zero_points: Sequence[int],
        certificates: Sequence[Certificate] | None = None,
    ) -> Calibration:
        """Of one entry per channel each; `shape` is that of the channels, () for one range."""

        def shown(values: Sequence[Any]) -> Any:
            return tuple(values) if shape else values[0]

        self = super().__new__(cls, (shown([low for low, _ in ranges]), shown([high for _, high in ranges])))
        self.method, self.scheme, self._shape = method, scheme, shape
        self.step, self.scale = shown(steps), shown([1 / step for step in steps])
        self.zero_point = shown(zero_points)
        self.certificate = None if certificates is None else shown(certificates)
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:  # what copy and pickle make it of again
        def listed(value: Any) -> Any:
            return list(value) if self._shape else [value]

        ranges = list(zip(listed(self.low), listed(self.high), strict=True))
        certificates = None if self.certificate is None else listed(self.certificate)
        return (self.method, self.scheme, self._shape, ranges, listed(self.step), listed(self.zero_point), certificates)

    @property
    def low(self) -> Any:
        """The low end."""
        return self[0]

    @property
    def high(self) -> Any:
        """The high end."""
        return self[1]

    @property
    def range(self) -> Range:
        """The range in floats, the nearest FP64: for printing, and for systems that know no rationals."""
        if not self._shape:
            return Range(nearest_float(self.low), nearest_float(self.high))
        return Range(*(np.array([nearest_float(value) for value in end]).reshape(self._shape) for end in self))

    def __repr__(self) -> str:
        def shown(value: Any) -> str:
            return repr(nearest_float(value)) if isinstance(value, Fraction) else f"<{len(value)} channels>"

        point = self.zero_point if isinstance(self.zero_point, int) else f"<{len(self.zero_point)} channels>"
        return (
            f"Calibration(method={self.method!r}, scheme={self.scheme!r}, low={shown(self.low)}, "
            f"high={shown(self.high)}, step={shown(self.step)}, zero_point={point})"
        )


def of_ranges(method: str, target: Target, shape: tuple[int, ...], pairs: Sequence[Pair]) -> Calibration:
    """The calibration of ranges that were found, as `quantize` would take them."""
    if target.grid is None:
        levels = target.codebook_levels
        steps = [_stored(_covering(low, high, levels.low, levels.high), target.step_format) for low, high in pairs]
        return of_steps(method, target, shape, steps, [0] * len(steps))
    parameters = Parameters.of_rational_ranges(
        pairs, target.scheme, target.grid, target.include_zero, target.step_format
    )
    steps = [1 / scale for scale in parameters.scales]
    return Calibration(method, target.scheme, shape, parameters.exact_ranges, steps, parameters.zero_points.tolist())


def of_steps(
    method: str,
    target: Target,
    shape: tuple[int, ...],
    steps: Sequence[Fraction],
    zero_points: Sequence[int],
    certificates: Sequence[Certificate] | None = None,
) -> Calibration:
    """The calibration of steps that were found, with the range that leads `quantize` to them."""
    ranges = []
    for step, zero_point in zip(steps, zero_points, strict=True):
        if target.grid is None:
            levels = target.codebook_levels
            ranges.append((levels.low * step, levels.high * step))
        elif target.symmetric:
            ranges.append((-target.grid.high * step, target.grid.high * step))
        else:
            ranges.append(((target.grid.low - zero_point) * step, (target.grid.high - zero_point) * step))
    return Calibration(method, target.scheme, shape, ranges, steps, zero_points, certificates)


def _covering(low: Fraction, high: Fraction, first: Fraction, last: Fraction) -> Fraction:
    """The least step at which levels from first to last reach from low to high, as far as their signs allow."""
    steps = [end / level for end, level in ((low, first), (high, last)) if end * level > 0]
    return max(steps, default=Fraction(1))


def _stored(step: Fraction, step_format: Format | None) -> Fraction:
    """The step as a format holds it."""
    if step_format is None:
        return step
    held = nearest(step, step_format)
    if not held:
        raise BitquantError(
            f"the step {nearest_float(step):g} is beyond {step_format.name}: choose a step_format of wider range"
        )
    return held


__all__ = ["Calibration", "of_ranges", "of_steps"]
