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
=================  ==========================  =================================================

A tensor that was not quantized is stored as it was. The metadata have the key "bitquant", a JSON text:

=================  ===============================================================================
key                value
=================  ===============================================================================
version            1: this layout
tensors            an object, NAME to the following
.scheme            "symmetric", "asymmetric" ...
.bits .signed      of the codes; .qmin and .qmax are the ends that the codes are clamped to
.axis              the axis that has one step per index, or null
.block_shape       the shape of the blocks that share a step, or null; with both null there is one step
.rounding          the rounding of the codes
.range             [low, high]: numbers, or lists of numbers in the shape of NAME.step
.scale             1/step, exact: a text such as "127/3", or a list of texts in C order
.source            the format of the tensor before
.step_format       null, or the format that the step was first rounded to, and for which the codes are
                   exact; NAME.step is of its dtype where NumPy or ml_dtypes has one
=================  ===============================================================================

A number is `(code − zero_point) · step`. Where `step_format` is null, NAME.step is the float64 nearest to the
step, which is a rational number: `scale` has it exactly, so that what is read dequantizes to the same bits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.files.tensors import read_tensors, write_tensors
from bitquant.formats import Format, format
from bitquant.quantize.granularity import Granularity

__all__ = ["Stored", "entries", "load_quantized", "save_quantized"]

_KEY = "bitquant"
_VERSION = 1
_PARTS = ("step", "zero_point")
_WORDS = ("scheme", "bits", "signed", "rounding", "qmin", "qmax")


class QuantizedLike(Protocol):
    """What a quantized tensor has to tell in order to be stored: `bitquant.Quantized` does."""

    @property
    def codes(self) -> Any: ...
    @property
    def step(self) -> Any: ...
    @property
    def zero_point(self) -> Any: ...
    @property
    def scheme(self) -> str: ...
    @property
    def bits(self) -> int: ...
    @property
    def signed(self) -> bool: ...
    @property
    def axis(self) -> int | None: ...
    @property
    def block_shape(self) -> tuple[int, ...] | None: ...
    @property
    def rounding(self) -> str: ...
    @property
    def range(self) -> Any: ...
    @property
    def qmin(self) -> int: ...
    @property
    def qmax(self) -> int: ...
    @property
    def exact_scale(self) -> Fraction | tuple[Fraction, ...]: ...
    @property
    def source(self) -> Format: ...
    @property
    def step_format(self) -> Format | None: ...


@dataclass(frozen=True, eq=False)
class Stored:
    """A quantized tensor as it lies in a file; the module's table says what each field means.

    Attributes
    ----------
    codes : ndarray of int8 or uint8
    step : ndarray of float64 or of step_format's dtype
        Units per code, one number or one per channel or block: what ONNX and PyTorch call "scale".
    zero_point : ndarray of int32
    scale : Fraction, or tuple of Fraction
        Codes per unit, exact: what `dequantize` wants for the same bits as before.
    scheme, rounding : str
    bits, qmin, qmax : int
    signed : bool
    axis : int or None
    block_shape : tuple of int or None
    range : tuple of ndarray of float64
        Low and high, each of the shape of `step`.
    source : Format
        The format of the tensor before.
    step_format : Format or None
    """

    codes: NDArray[Any]
    step: NDArray[Any]
    zero_point: NDArray[np.int32]
    scale: Fraction | tuple[Fraction, ...]
    scheme: str
    bits: int
    signed: bool
    axis: int | None
    block_shape: tuple[int, ...] | None
    rounding: str
    qmin: int
    qmax: int
    range: tuple[NDArray[np.float64], NDArray[np.float64]]
    source: Format
    step_format: Format | None


def save_quantized(
    path: str | os.PathLike[str],
    items: Mapping[str, QuantizedLike | NDArray[Any]],
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
    notes = dict(metadata or {})
    if _KEY in notes:
        raise BitquantError(f"metadata[{_KEY!r}] is where the quantization is described: use another key")
    tensors: dict[str, NDArray[Any]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, item in items.items():
        if isinstance(item, np.ndarray):
            tensors[name] = item
            continue
        if getattr(item, "dialect", None) is not None:
            raise BitquantError(
                f"{name!r} was quantized by a dialect, whose numbers this layout cannot give back: write its codes, "
                "step and zero_point as tensors of their own"
            )
        taken = next((f"{name}.{part}" for part in _PARTS if f"{name}.{part}" in items), None)
        if taken is not None:
            raise BitquantError(f"{taken!r} is a tensor, and where a part of quantized {name!r} goes: rename it")
        tensors.update(entries(name, item))
        rows[name] = _row(item)
    notes[_KEY] = json.dumps({"version": _VERSION, "tensors": rows})
    write_tensors(path, tensors, notes, overwrite)


def entries(name: str, item: QuantizedLike) -> dict[str, NDArray[Any]]:
    """Return what a quantized tensor puts into a file, by name.

    Parameters
    ----------
    name : str
    item : Quantized

    Returns
    -------
    dict of str to ndarray
        NAME, NAME.step and NAME.zero_point, as in the module's table.

    Examples
    --------
    >>> import bitquant as bq
    >>> from bitquant.files import entries
    >>> entries("w", bq.symmetric([1.0, -0.5, 127.0]))["w.step"]
    array(1.)
    """
    return {
        name: np.asarray(item.codes),
        f"{name}.step": np.asarray(item.step).astype(_step_dtype(item.step_format)),
        f"{name}.zero_point": np.asarray(item.zero_point, np.int32),
    }


def load_quantized(path: str | os.PathLike[str]) -> tuple[dict[str, Stored | NDArray[Any]], dict[str, str]]:
    """Read a file that `save_quantized` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    items : dict of str to Stored or ndarray
        A `Stored` for what was quantized; `dequantize(codes, scale=scale, zero_point=zero_point, axis=axis,
        block_shape=block_shape)` gives its numbers.
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
    >>> bq.dequantize(w.codes, scale=w.scale, zero_point=w.zero_point, axis=w.axis)
    array([  1.,   0., 127.], dtype=float32)
    """
    tensors, metadata = read_tensors(path)
    try:
        notes = json.loads(metadata.pop(_KEY))
        version, rows = notes["version"], dict(notes["tensors"])
    except (KeyError, ValueError, TypeError, RecursionError):
        raise BitquantError(f"{path} was not written by save_quantized: read it with read_tensors") from None
    if version != _VERSION:
        raise BitquantError(f"{path} has layout version {version!r}, not {_VERSION}: update bitquant")
    parts = {f"{name}.{part}" for name in rows for part in _PARTS}
    items: dict[str, Stored | NDArray[Any]] = {}
    for name, tensor in tensors.items():
        if name not in parts:
            items[name] = _stored(path, name, tensors, rows.pop(name)) if name in rows else tensor
    if rows:
        raise BitquantError(f"{path} describes {next(iter(rows))!r} and does not have it: write it again")
    return items, metadata


def _row(item: QuantizedLike) -> dict[str, Any]:
    scale = item.exact_scale
    return {
        "scheme": item.scheme,
        "bits": item.bits,
        "signed": item.signed,
        "axis": item.axis,
        "block_shape": None if item.block_shape is None else list(item.block_shape),
        "rounding": item.rounding,
        "qmin": item.qmin,
        "qmax": item.qmax,
        "range": [np.asarray(end, np.float64).tolist() for end in item.range],
        "scale": [str(part) for part in scale] if isinstance(scale, tuple) else str(scale),
        "source": item.source.name,
        "step_format": None if item.step_format is None else item.step_format.name,
    }


def _stored(path: str | os.PathLike[str], name: str, tensors: Mapping[str, NDArray[Any]], row: Any) -> Stored:
    """Put one quantized tensor together again, every part compared with the others."""
    damage = f"{path}: {name!r} is damaged, its parts do not fit together: write it again"
    try:
        codes, step, zero_point = (tensors[key] for key in (name, f"{name}.step", f"{name}.zero_point"))
        low, high = (np.asarray(end, np.float64) for end in row["range"])
        scales, axis, block = row["scale"], row["axis"], row.get("block_shape")
        scale = tuple(map(Fraction, scales)) if isinstance(scales, list) else Fraction(scales)
        step_format = None if row["step_format"] is None else format(row["step_format"])
        stored = Stored(
            codes,
            step,
            zero_point,
            scale,
            axis=axis,
            block_shape=None if block is None else tuple(block),
            range=(low, high),
            source=format(row["source"]),
            step_format=step_format,
            **{word: row[word] for word in _WORDS},
        )
        shape = Granularity.of(codes.shape, axis, None, stored.block_shape).parameter_shape
        steps = [float(1 / part) for part in np.asarray(scale, object).reshape(-1)]
        fits = (
            codes.dtype == (np.int8 if stored.signed else np.uint8)
            and step.dtype == _step_dtype(step_format)
            and zero_point.dtype == np.int32
            and all(part.shape == shape for part in (step, zero_point, low, high))
            and isinstance(scales, list) == bool(shape)
            and step.astype(np.float64).reshape(-1).tolist() == steps
            and min(steps, default=1.0) >= 0
            and (codes.size == 0 or stored.qmin <= codes.min() <= codes.max() <= stored.qmax)
        )
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise BitquantError(damage) from error
    if not fits:
        raise BitquantError(damage)
    return stored


def _step_dtype(step_format: Format | None) -> np.dtype[Any]:
    return (None if step_format is None else step_format.dtype) or np.dtype(np.float64)
