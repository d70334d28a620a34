"""Quantized tensors in a file: codes, and all that is needed to turn them back into numbers exactly.

The layout, in `.safetensors` and `.npz` alike. For each quantized tensor NAME:

=================  ==========================  =================================================
entry              dtype                       what it is
=================  ==========================  =================================================
NAME               int8 or uint8               the codes, in the tensor's shape; one to a byte
                                               whatever the bits
NAME.step          float64, or step_format's   units per code, what ONNX and PyTorch call
                                               "scale"; shape () for a whole tensor, (C,) for one
                                               per index of `axis`, else blocks along each dimension
NAME.zero_point    int32                       the code of zero; of the shape of NAME.step
NAME.range         the source's, or float64    low and high, the numbers that are mapped without
                                               clipping: the shape of NAME.step, and 2
=================  ==========================  =================================================

A tensor that was not quantized is stored as it was. The metadata have the key "bitquant", a JSON text:

=================  ===============================================================================
key                value
=================  ===============================================================================
version            2: this layout
tensors            an object, NAME to the following
.scheme            "symmetric", "asymmetric" ...
.bits .signed      of the codes; .qmin and .qmax are the ends that the codes are clamped to
.axis              the axis that has one step per index, or null
.block_shape       the shape of the blocks that share a step, or null; with both null there is one step
.rounding          the rounding of the codes
.scale             null, or 1/step, exact: a text such as "127/3", or a list of texts in C order
.source            the format of the tensor before
.step_format       null, or the format that the step was first rounded to, and for which the codes are
                   exact; NAME.step is of its dtype where NumPy or ml_dtypes has one
=================  ===============================================================================

A number is `(code − zero_point) · step`. The step is a rational number, and NAME.step the float nearest to it. Where
`step_format` is not null the two are the same; else the exact step follows from NAME.range by the scheme, so that what
is read dequantizes to the same bits; or, where it does not follow from a range of floats, `scale` has it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.sink import Planned
from bitquant.files.source import Source
from bitquant.files.tensors import create_tensors, open_tensors
from bitquant.formats import FP64, Format, format
from bitquant.quantize.granularity import Granularity
from bitquant.quantize.parameters import Grid, Parameters
from bitquant.quantize.quantized import Quantized, dequantized

__all__ = ["KEY", "Description", "Stored", "load_quantized", "notes", "parameters_of", "save_quantized"]

KEY = "bitquant"  # of the metadata
_VERSION = 2
_PARTS = ("step", "zero_point", "range")


@dataclass(eq=False)
class Description:
    """What a file says of a quantized tensor besides its arrays: the module's table.

    The first of the pieces of a tensor that was quantized in pieces gives it; exact scales are added by each.
    """

    scheme: str
    bits: int
    signed: bool
    qmin: int
    qmax: int
    rounding: str
    axis: int | None
    block_shape: tuple[int, ...] | None
    source: Format
    step_format: Format | None
    from_data: bool
    scales: list[Fraction] = field(default_factory=list)

    @classmethod
    def of(cls, item: Quantized, granularity: Granularity, from_data: bool) -> Description:
        """Describe a quantized tensor, or a piece of one of that granularity.

        `from_data` says that the ends of its ranges are numbers of the tensor.
        """
        whole = granularity.axis is not None or not granularity.parameter_shape
        return cls(
            **{word: getattr(item, word) for word in ("scheme", "bits", "signed", "qmin", "qmax", "rounding")},
            axis=granularity.axis,
            block_shape=None if whole else granularity.block,
            source=item.source,
            step_format=item.step_format,
            from_data=from_data,
        )

    def take_scales(self, item: Quantized) -> None:
        """Keep the scales of a piece, where they do not follow from what the arrays hold."""
        assert isinstance(item.parameters, Parameters)
        if self.step_format is None and not isinstance(item.parameters.ranges, tuple):
            self.scales += item.parameters.scales

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """The dtypes of the arrays beside the codes."""
        held = self.from_data and self.source.dtype is not None and self.source.signed and self.source.zero
        return {
            "step": (None if self.step_format is None else self.step_format.dtype) or np.dtype(np.float64),
            "zero_point": np.dtype(np.int32),
            "range": self.source.dtype if held and self.source.dtype is not None else np.dtype(np.float64),
        }

    def planned(self, name: str, granularity: Granularity) -> list[Planned]:
        """The entries of a file for a tensor."""
        dtypes, shape = self.dtypes, granularity.parameter_shape
        codes = np.dtype(np.int8 if self.signed else np.uint8)
        return [
            Planned(name, granularity.shape, codes),
            Planned(f"{name}.step", shape, dtypes["step"]),
            Planned(f"{name}.zero_point", shape, dtypes["zero_point"]),
            Planned(f"{name}.range", (*shape, 2), dtypes["range"]),
        ]

    def pieces(self, name: str, item: Quantized) -> Iterator[tuple[str, NDArray[Any]]]:
        """What a quantized piece puts into the entries."""
        assert isinstance(item.parameters, Parameters)
        dtypes, found = self.dtypes, item.parameters
        yield name, np.asarray(item.codes)
        yield f"{name}.step", found.float_steps().astype(dtypes["step"])
        yield f"{name}.zero_point", found.zero_points
        yield f"{name}.range", np.stack(found.float_ranges(), axis=-1).astype(dtypes["range"])

    def row(self, several: bool) -> dict[str, Any]:
        """What goes into the metadata; `several` says that there are several scales."""
        scales = [str(scale) for scale in self.scales]
        return {
            **{word: getattr(self, word) for word in _WORDS},
            "axis": self.axis,
            "block_shape": None if self.block_shape is None else list(self.block_shape),
            "scale": (scales if several else scales[0]) if scales else None,
            "source": self.source.name,
            "step_format": None if self.step_format is None else self.step_format.name,
        }


_WORDS = ("scheme", "bits", "signed", "rounding", "qmin", "qmax")


def parameters_of(
    row: Mapping[str, Any], step: NDArray[Any], zero_point: NDArray[Any], ends: NDArray[Any]
) -> Parameters:
    """The exact parameters that a row of the metadata and the arrays (of one dimension, `ends` of two) tell."""
    grid = Grid(row["qmin"], row["qmax"], row["signed"])
    if not (np.isfinite(step.astype(np.float64)) & (step.astype(np.float64) >= 0)).all():
        raise BitquantError("a step is a positive number")
    points = zero_point.astype(np.int64)
    if row["step_format"] is not None:
        found = Parameters.of_numbers(step.astype(np.float64), True, points, grid)
    elif row["scale"] is not None:
        scales = row["scale"] if isinstance(row["scale"], list) else [row["scale"]]
        found = Parameters.of_scales([Fraction(scale) for scale in scales], points, grid)
    else:
        lows, highs = (np.ascontiguousarray(ends[:, k]).astype(np.float64) for k in (0, 1))
        found = Parameters.of_ranges(lows, highs, row["scheme"], grid, False, None)
        found.zero_points[:] = points
    return found


@dataclass(frozen=True, eq=False)
class Stored:
    """A quantized tensor as it lies in a file; the module's table says what each field means.

    Attributes
    ----------
    codes : ndarray of int8 or uint8
    step : ndarray of float64 or of step_format's dtype
        Units per code, one number or one per channel or block: what ONNX and PyTorch call "scale".
    zero_point : ndarray of int32
    scheme, rounding : str
    bits, qmin, qmax : int
    signed : bool
    axis : int or None
    block_shape : tuple of int or None
    range : tuple of ndarray
        Low and high, each of the shape of `step`.
    source : Format
        The format of the tensor before.
    step_format : Format or None
    """

    codes: NDArray[Any]
    step: NDArray[Any]
    zero_point: NDArray[np.int32]
    scheme: str
    bits: int
    signed: bool
    axis: int | None
    block_shape: tuple[int, ...] | None
    rounding: str
    qmin: int
    qmax: int
    range: tuple[NDArray[Any], NDArray[Any]]
    source: Format
    step_format: Format | None
    parameters: Parameters

    @property
    def scale(self) -> Fraction | tuple[Fraction, ...]:
        """Codes per unit, exact: one number, or a tuple of them in C order."""
        return self.parameters.scales if self.step.ndim else self.parameters.scales[0]

    def dequantize(self, dtype: Any = None, *, threads: int | None = 1) -> NDArray[Any]:
        """Return (codes − zero_point) / scale, rounded once, as `Quantized.dequantize` does.

        Parameters
        ----------
        dtype : dtype or Format, optional
            A floating format; default: that of the tensor before.
        threads : int or None

        Returns
        -------
        ndarray
        """
        target = format("float32" if not self.source.is_float or not self.source.signed else self.source)
        granularity = Granularity.of(self.codes.shape, self.axis, None, self.block_shape)
        grid = Grid(self.qmin, self.qmax, self.signed)
        wanted = target if dtype is None else format(dtype)
        return dequantized(self.codes, self.parameters, grid, granularity, wanted, threads)


def save_quantized(
    path: str | os.PathLike[str],
    items: Mapping[str, Quantized | NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write quantized tensors, and others as they are, to one file in the layout of the module's table.

    Parameters
    ----------
    path : path
        Ends in `.safetensors` or `.npz`.
    items : mapping of str to Quantized or ndarray
    metadata : mapping of str to str, optional
        More metadata to keep; "bitquant" is taken.
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    BitquantError
        Where a name is taken ("w.step" next to a quantized "w"), and as for `write_tensors`.

    Examples
    --------
    >>> import os, tempfile, numpy as np, bitquant as bq
    >>> from bitquant.files import load_quantized, save_quantized
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_quantized(os.path.join(folder, "w.npz"), {"w": bq.symmetric(np.float32([1, -0.5, 127]))})
    ...     items, _ = load_quantized(os.path.join(folder, "w.npz"))
    >>> items["w"].codes, float(items["w"].step), int(items["w"].zero_point)
    (array([  1,   0, 127], dtype=int8), 1.0, 0)
    """
    plan: list[Planned] = []
    rows: dict[str, dict[str, Any]] = {}
    described: dict[str, Description] = {}
    for name, item in items.items():
        if isinstance(item, np.ndarray):
            plan.append(Planned(name, item.shape, item.dtype))
            continue
        if item.dialect is not None:
            raise BitquantError(
                f"{name!r} was quantized by a dialect, whose numbers this layout cannot give back: write its codes, "
                "step and zero_point as tensors of their own"
            )
        described[name] = Description.of(item, item.granularity, from_data=False)
        described[name].take_scales(item)
        plan += described[name].planned(name, item.granularity)
        rows[name] = described[name].row(bool(item.granularity.parameter_shape))
    check_names(items, rows)
    with create_tensors(path, plan, notes(metadata or {}, rows), overwrite) as sink:
        for name, item in items.items():
            if isinstance(item, np.ndarray):
                sink.write(name, item)
            else:
                for entry, piece in described[name].pieces(name, item):
                    sink.write(entry, piece)


def check_names(names: Mapping[str, Any], quantized: Mapping[str, Any]) -> None:
    """Refuse a tensor whose name a part of a quantized one takes."""
    for name in quantized:
        for part in _PARTS:
            if f"{name}.{part}" in names:
                raise BitquantError(
                    f"'{name}.{part}' is a tensor, and where a part of quantized {name!r} goes: rename it"
                )


def notes(metadata: Mapping[str, str], rows: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a file with these rows."""
    if KEY in metadata:
        raise BitquantError(f"metadata[{KEY!r}] is where the quantization is described: use another key")
    return {**metadata, KEY: json.dumps({"version": _VERSION, "tensors": rows})}


def load_quantized(path: str | os.PathLike[str]) -> tuple[dict[str, Stored | NDArray[Any]], dict[str, str]]:
    """Read a file that `save_quantized` or `bitquant quantize` wrote; or several, by their index.

    Parameters
    ----------
    path : path

    Returns
    -------
    items : dict of str to Stored or ndarray
        A `Stored` for what was quantized; its `dequantize()` gives its numbers.
    metadata : dict of str to str
        Without bitquant's own entry.

    Raises
    ------
    BitquantError
        When the file is of another layout or version, or its parts do not fit together; and as for
        `read_tensors`.

    Examples
    --------
    >>> import os, tempfile, numpy as np, bitquant as bq
    >>> from bitquant.files import load_quantized, save_quantized
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_quantized(os.path.join(folder, "w.npz"), {"w": bq.symmetric(np.float32([1, -0.5, 127]))})
    ...     w = load_quantized(os.path.join(folder, "w.npz"))[0]["w"]
    >>> w.dequantize()
    array([  1.,   0., 127.], dtype=float32)
    """
    items: dict[str, Stored | NDArray[Any]] = {}
    metadata: dict[str, str] = {}
    with open_tensors(path) as source:
        for part in source.parts:
            metadata |= part.metadata
            items |= _items(part)
    metadata.pop(KEY, None)
    return items, metadata


def _items(source: Source) -> dict[str, Stored | NDArray[Any]]:
    """The tensors of one file, put together again."""
    rows = described_in(source)
    parts = {f"{name}.{part}" for name in rows for part in _PARTS}
    items: dict[str, Stored | NDArray[Any]] = {}
    for name in source.tensors:
        if name not in parts:
            items[name] = _stored(source, name, rows.pop(name)) if name in rows else source.array(name)
    if rows:
        raise BitquantError(f"{source.path} describes {next(iter(rows))!r} and does not have it: write it again")
    return items


def described_in(source: Source) -> dict[str, Any]:
    """The rows of a file's metadata."""
    try:
        found = json.loads(source.metadata[KEY])
        version, rows = found["version"], dict(found["tensors"])
    except (KeyError, ValueError, TypeError, RecursionError):
        raise BitquantError(f"{source.path} was not written by save_quantized: read it with read_tensors") from None
    if version != _VERSION:
        what = "update bitquant" if isinstance(version, int) and version > _VERSION else "quantize the original again"
        raise BitquantError(f"{source.path} has layout version {version!r}, not {_VERSION}: {what}")
    return rows


def _stored(source: Source, name: str, row: Any) -> Stored:
    """Put one quantized tensor together again, every part compared with the others."""
    damage = f"{source.path}: {name!r} is damaged, its parts do not fit together: write it again"
    try:
        codes, step, zero_point, ends = (source.array(key) for key in (name, *(f"{name}.{part}" for part in _PARTS)))
        found = parameters_of(row, step.reshape(-1), zero_point.reshape(-1), ends.reshape(-1, 2))
        axis, block = row["axis"], row["block_shape"]
        stored = Stored(
            codes,
            step,
            zero_point,
            axis=axis,
            block_shape=None if block is None else tuple(block),
            range=(ends[..., 0], ends[..., 1]),
            source=format(row["source"]),
            step_format=None if row["step_format"] is None else format(row["step_format"]),
            parameters=found,
            **{word: row[word] for word in _WORDS},
        )
        shape = Granularity.of(codes.shape, axis, None, stored.block_shape).parameter_shape
        dtype = (None if stored.step_format is None else stored.step_format.dtype) or FP64.dtype
        fits = (
            codes.dtype == (np.int8 if stored.signed else np.uint8)
            and step.dtype == dtype
            and zero_point.dtype == np.int32
            and step.shape == zero_point.shape == ends.shape[:-1] == shape
            and (row["scale"] is None or isinstance(row["scale"], list) == bool(shape))
            and np.array_equal(step.astype(np.float64).reshape(-1), found.float_steps())
            and (codes.size == 0 or stored.qmin <= codes.min() <= codes.max() <= stored.qmax)
        )
    except (LookupError, TypeError, ValueError, ArithmeticError, BitquantError) as error:
        raise BitquantError(damage) from error
    if not fits:
        raise BitquantError(damage)
    return stored
