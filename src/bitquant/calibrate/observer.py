"""Static calibration: an observer sees the batches of a run, and says at the end what range they have."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bitquant.calibrate import mse
from bitquant.calibrate.calibration import Calibration, of_ranges, of_steps
from bitquant.calibrate.channels import Channels, Pair, Target
from bitquant.calibrate.front import check_options, target_of
from bitquant.calibrate.histogram import Histogram
from bitquant.calibrate.seen import OVER_HISTOGRAMS, RANGES, Seen
from bitquant.errors import BitquantError
from bitquant.formats import format
from bitquant.quantize.rationals import nearest_float, number_at, places, rationals
from bitquant.rules import choose

KINDS = {
    "minmax": "the extremes of all numbers",
    "moving_average": "averages of the batches' extremes, the last ones counting most",
    "histogram": "counts in bins, from which any range is found at the end",
}
_MOST_BITS = 20


class Observer:
    """Sees batches of activations, and says what range they are best quantized with.

    Parameters
    ----------
    method : {"minmax", "moving_average", "histogram"}
        What is kept of the batches. ``"minmax"`` and ``"histogram"`` keep the same in whatever order and grouping the
        batches come; ``"moving_average"`` depends on the order, as PyTorch's does.
    scheme, bits, signed, narrow, include_zero, step_format, nonfinite
        As for `calibrate`; the scheme is "asymmetric" unless said otherwise.
    axis : int, optional
        One range for each index along this axis, whose length all batches share.
    averaging_constant : float
        Of ``"moving_average"``: low ← low + constant · (low of the batch − low), exact and rounded once to FP64 for
        each batch; the first batch is taken as it is. Default 0.01, as in PyTorch, which calculates in FP32.
    significand_bits : int
        Of ``"histogram"``: bins are as wide as 2^-significand_bits of the power of two at or below them. Default 7: the
        numbers that share a bin are those that bfloat16 truncates to the same.

    Raises
    ------
    BitquantError
        For options that cannot be.

    Examples
    --------
    >>> import bitquant as bq
    >>> observer = bq.Observer("minmax")
    >>> observer.observe([0.0, 1.0, 2.0]).observe([-2.0, 0.5])
    <Observer minmax of 2 batches>
    >>> observer.range()
    Calibration(method='minmax', scheme='asymmetric', low=-2.0, high=2.0, step=0.01568627450980392, zero_point=0)
    >>> bq.quantize([0.5], "asymmetric", range=observer.range()).codes
    array([32], dtype=int8)
    """

    def __init__(
        self,
        method: Literal["minmax", "moving_average", "histogram"] = "minmax",
        scheme: Literal["symmetric", "asymmetric"] = "asymmetric",
        bits: int = 8,
        *,
        axis: int | None = None,
        signed: bool = True,
        narrow: bool | None = None,
        include_zero: bool = False,
        step_format: Any = None,
        nonfinite: Literal["raise", "saturate"] = "raise",
        averaging_constant: Any = 0.01,
        significand_bits: int = 7,
    ) -> None:
        choose("method", method, KINDS)
        choose("nonfinite", nonfinite, {"raise": "", "saturate": ""})
        (self._constant,) = rationals(averaging_constant, 1, "averaging_constant")
        if not 0 < self._constant <= 1:
            raise BitquantError(f"averaging_constant={averaging_constant!r} is not possible: give one above 0 up to 1")
        if not isinstance(significand_bits, (int, np.integer)) or not 0 <= significand_bits <= _MOST_BITS:
            raise BitquantError(f"significand_bits={significand_bits!r} is not possible: choose from 0 to {_MOST_BITS}")
        self.method = method
        self.axis = axis
        self.nonfinite = nonfinite
        self.target: Target = target_of(scheme, bits, signed, narrow, None, include_zero, step_format)
        self.batches = 0
        self._significand_bits = int(significand_bits)
        self._shape: tuple[int, ...] = ()
        self._low: NDArray[np.int64] | None = None  # as places in the order of FP64 numbers, which integers compare
        self._high: NDArray[np.int64] | None = None
        self._histogram: Histogram | None = None

    def __repr__(self) -> str:
        return f"<Observer {self.method} of {self.batches} batch{'es' * (self.batches != 1)}>"

    def observe(self, batch: Any) -> Observer:
        """See a batch.

        Parameters
        ----------
        batch : array_like
            Numbers of any floating format (or integers), any shape; an empty one changes nothing.

        Returns
        -------
        Observer
            Itself, so that calls can be chained.

        Raises
        ------
        BitquantError
            For NaN or infinity (unless ``nonfinite="saturate"`` leaves them out), with count and first index; for
            another number of channels than before. Nothing has been changed then.
        """
        if not np.size(batch):
            return self
        channels = Channels.of(batch, self.axis, None, None, None, self.nonfinite)
        shape = channels.granularity.parameter_shape
        if self.batches and shape != self._shape:
            raise BitquantError(f"the batch has {shape} channels, those before had {self._shape}: give as many")
        low, high = places(channels.low), places(channels.high)
        if self.method == "histogram":
            seen = Histogram.of(channels.array, channels.source, channels.granularity, self._significand_bits)
            self._histogram = seen if self._histogram is None else self._histogram.plus(seen)
        self._take(low, high, self.method == "moving_average")
        self._shape, self.batches = shape, self.batches + 1
        return self

    def merge(self, other: Observer) -> Observer:
        """Take in what another observer has seen, as if this one had.

        Associative, and independent of order, for ``"minmax"`` and ``"histogram"``.

        Parameters
        ----------
        other : Observer
            Of the same method and options, such as one that ran in another process.

        Returns
        -------
        Observer
            Itself.

        Raises
        ------
        BitquantError
            For ``"moving_average"``, whose result depends on the order of batches; for observers of different options.
        """
        if self.method == "moving_average":
            raise BitquantError("moving averages depend on the order of batches and cannot be merged: use 'histogram'")
        mine, theirs = (observer._options() | {"significand_bits": 0} for observer in (self, other))
        for name, value in mine.items():
            if theirs[name] != value:
                raise BitquantError(f"observers of different {name} cannot be merged: {value!r} and {theirs[name]!r}")
        if not other.batches:
            return self
        if self.batches and self._shape != other._shape:
            raise BitquantError(f"observers of {self._shape} and {other._shape} channels cannot be merged")
        assert other._low is not None
        assert other._high is not None
        self._significand_bits = min(self._significand_bits, other._significand_bits)
        if other._histogram is not None:
            both = other._histogram if self._histogram is None else self._histogram.plus(other._histogram)
            self._histogram = both.coarser(self._significand_bits)
        self._take(other._low, other._high, False)
        self._shape, self.batches = other._shape, self.batches + other.batches
        return self

    def range(self, method: str | None = None, **options: Any) -> Calibration:
        """The range of everything seen.

        Parameters
        ----------
        method : {"mse", "percentile", "entropy", "std", "minmax"}, optional
            Of a ``"histogram"``: how the range is found, with the options of `calibrate`; default "mse".
            ``"percentile"`` gives the outer ends of the bins in which the order statistics lie. The others take every
            number to lie in the middle of its bin; `blur` says how much that can matter.

        Returns
        -------
        Calibration

        Raises
        ------
        BitquantError
            When nothing has been seen; for a method that needs a histogram.
        """
        if self._low is None or self._high is None:
            raise BitquantError("nothing has been observed yet: call observe(batch) first")
        if self._histogram is None:
            if method is not None or options:
                raise BitquantError(f"an observer of {self.method!r} has one range: use Observer('histogram')")
            return of_ranges(self.method, self.target, self._shape, self._extremes())
        name = choose("method", "mse" if method is None else method, OVER_HISTOGRAMS)
        check_options(name, options)
        seen = [Seen(self._histogram, channel, *ends) for channel, ends in enumerate(self._extremes())]
        if name == "mse":
            certificates = mse.calibrated(seen, self.target, **options)
            steps, points = [found.step for found in certificates], [found.zero_point for found in certificates]
            return of_steps(name, self.target, self._shape, steps, points, certificates)
        return of_ranges(name, self.target, self._shape, RANGES[name](seen, self.target, **options))

    @property
    def blur(self) -> Any:
        """Σ h², h being half of the width of a number's bin; a tuple with one entry per channel where there are such.

        An error Σ(x − dequantized)² differs from that of the bins' middles by at most this much: the square roots of
        the two errors differ by at most the square root of `blur`. So a certificate of ``range("mse")`` with error E
        means that no range has an error below (√E − √blur)², and that this one's is at most (√E + √blur)².
        """
        if self._histogram is None:
            raise BitquantError("only an observer of 'histogram' that has seen something has bins")
        found = self._histogram.blur()
        return tuple(found) if self._shape else found[0]

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays of plain types, for `from_state`, `numpy.savez` or another process.

        Examples
        --------
        >>> import bitquant as bq, io, numpy as np
        >>> observer = bq.Observer("histogram").observe([0.1, 0.2, -0.3])
        >>> file = io.BytesIO()
        >>> np.savez(file, **observer.state())
        >>> bq.Observer.from_state(np.load(io.BytesIO(file.getvalue())))
        <Observer histogram of 1 batch>
        """
        found = {name: np.array("" if value is None else value) for name, value in self._options().items()}
        found["batches"], found["shape"] = np.array(self.batches), np.array(self._shape, np.int64)
        if self._low is not None and self._high is not None:
            found["low"], found["high"] = self._low, self._high
        if self._histogram is not None:
            found["keys"], found["counts"] = self._histogram.keys, self._histogram.counts
        return found

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Observer:
        """An observer that has seen what `state` tells.

        Parameters
        ----------
        state : mapping of str to ndarray
            What `state` gave; also as `numpy.load` gives it.

        Returns
        -------
        Observer
        """
        names = (
            "method", "scheme", "bits", "axis", "signed", "narrow", "include_zero", "step_format", "nonfinite",
            "significand_bits",
        )  # fmt: skip
        missing = [name for name in (*names, "averaging_constant", "batches", "shape") if name not in state]
        if missing:
            raise BitquantError(f"this is no state of an observer: it lacks {', '.join(missing)}")
        given = {name: np.asarray(state[name]).item() for name in names}
        for name in ("axis", "narrow", "step_format"):
            given[name] = None if given[name] == "" else given[name]
        found = cls(**given, averaging_constant=Fraction(str(state["averaging_constant"])))
        found.batches = int(state["batches"])
        found._shape = tuple(np.asarray(state["shape"]).tolist())
        if "low" in state:
            found._low, found._high = np.asarray(state["low"], np.int64), np.asarray(state["high"], np.int64)
        if "keys" in state:
            channels = found._shape[0] if found._shape else 1
            keys, counts = np.asarray(state["keys"], np.int64), np.asarray(state["counts"], np.int64)
            found._histogram = Histogram(channels, found._significand_bits, keys, counts)
        return found

    def _options(self) -> dict[str, Any]:
        target = self.target
        return {
            "method": self.method,
            "scheme": target.scheme,
            "bits": target.bits,
            "axis": self.axis,
            "signed": target.signed,
            "narrow": target.narrow,
            "include_zero": target.include_zero,
            "step_format": None if target.step_format is None else format(target.step_format).name,
            "nonfinite": self.nonfinite,
            "averaging_constant": str(self._constant),
            "significand_bits": self._significand_bits,
        }

    def _extremes(self) -> list[Pair]:
        assert self._low is not None
        assert self._high is not None
        pairs = zip(self._low.tolist(), self._high.tolist(), strict=True)
        return [(number_at(low), number_at(high)) for low, high in pairs]

    def _take(self, low: NDArray[np.int64], high: NDArray[np.int64], average: bool) -> None:
        if self._low is None or self._high is None:
            self._low, self._high = low, high
        elif average:
            self._low, self._high = self._averaged(self._low, low), self._averaged(self._high, high)
        else:
            self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)

    def _averaged(self, old: NDArray[np.int64], new: NDArray[np.int64]) -> NDArray[np.int64]:
        """The moving average, exact and rounded once to FP64."""
        pairs = [(number_at(one), number_at(two)) for one, two in zip(old.tolist(), new.tolist(), strict=True)]
        return places(np.array([nearest_float(one + self._constant * (two - one)) for one, two in pairs]))


__all__ = ["KINDS", "Observer"]
