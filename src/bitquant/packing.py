"""Codes of 1 to 8 bits, packed into bytes without gaps, and taken out again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array, GiveBack, take
from bitquant.errors import BitquantError
from bitquant.formats import Format, format
from bitquant.kernels import packing as kernel
from bitquant.layouts import check_threads, in_parts
from bitquant.rules import choose

__all__ = ["ORDERS", "pack_bits", "unpack_bits"]

Order: TypeAlias = Literal["little", "big"]

ORDERS: Mapping[str, str] = {
    "little": "the first code in the lowest bits of the first byte",
    "big": "the first code in the highest bits of the first byte",
}
_WIDEST = 8
_BYTE = np.dtype(np.uint8)


def pack_bits(
    codes: Any, bits: Any, *, order: Order = "little", out: Array | None = None, threads: int | None = 1
) -> Any:
    """Pack codes of a few bits into bytes, without gaps.

    Parameters
    ----------
    codes : array_like of integers, shape (..., n)
        Codes from 0 up; or an array of a dtype of that many bits (``ml_dtypes.float4_e2m1fn``, ``int4`` ...). With a
        signed integer format as `bits` also its values, which become their two's complement.
    bits : int or Format, str or dtype
        Bits of a code, 1 to 8, or the format whose codes they are.
    order : {"little", "big"}
        "little": code k takes bits k·b to k·b + b − 1 of the row, counted from the lowest bit of its first byte: of two
        4-bit codes the first is in the low nibble. "big": the same counted from the highest bit of the first byte.
    out : ndarray of uint8, optional
        Where to write: contiguous, of the result's shape. Its content is unspecified after an error.
    threads : int or None
        How many threads may share the work; None for one on each processor. The result is the same.

    Returns
    -------
    ndarray of uint8, shape (..., ceil(n · bits / 8))
        Each row along the last axis begins in a byte of its own; the bits after its last code are zero.

    Raises
    ------
    BitquantError
        For a code that does not fit, with value and index; a dtype of another number of bits; an `out` that does not
        fit.

    Notes
    -----
    PyTorch's ``float4_e2m1fn_x2`` and ONNX's 2- and 4-bit tensors have the little order (ONNX packs the flattened
    tensor: pass ``codes.reshape(-1)``); ``numpy.packbits`` is ``bits=1`` with the big order as its default.

    Examples
    --------
    >>> import bitquant as bq
    >>> [hex(byte) for byte in bq.pack_bits([0x1, 0x2, 0x3], 4)]
    ['0x21', '0x3']
    >>> [hex(byte) for byte in bq.pack_bits([0x1, 0x2, 0x3], 4, order="big")]
    ['0x12', '0x30']
    """
    width, fmt = _width_of(bits)
    choose("order", order, ORDERS)
    check_threads(threads)
    array, give_back = _rows(codes, "codes")
    coded = np.ascontiguousarray(_as_bytes(array, width, fmt, "codes"))
    packed = _target(out, (*coded.shape[:-1], _bytes_of(coded.shape[-1], width)), _BYTE, coded)
    big = order == "big"
    together = _in_runs(lambda c, s, rows: kernel.pack(c, s, width, rows, big), coded, packed, width, threads)
    if array.dtype == _BYTE and any(seen >> width for seen in together):
        raise _misfit(array, array >> width != 0, 0, 2**width - 1, width, fmt, "codes")
    return packed if out is not None else give_back(packed)


def unpack_bits(
    packed: Any,
    bits: Any,
    count: int | None = None,
    *,
    order: Order = "little",
    out: Array | None = None,
    threads: int | None = 1,
) -> Any:
    """Take codes of a few bits out of the bytes they are packed in.

    Parameters
    ----------
    packed : array_like of uint8, shape (..., m)
        As `pack_bits` makes them.
    bits : int or Format, str or dtype
        Bits of a code, 1 to 8, or the format whose codes they are.
    count : int, optional
        Codes in a row. Default: as many as its bytes hold, the padding that makes up whole codes included.
    order, threads
        As for `pack_bits`.
    out : ndarray, optional
        Where to write: contiguous, of the result's shape and dtype (or uint8).

    Returns
    -------
    ndarray, shape (..., count)
        Of uint8, a code each; with a format as `bits`, of that format's dtype where it has one.

    Raises
    ------
    BitquantError
        When there are fewer than `count` codes; for an array of anything but bytes; an `out` that does not fit.

    Examples
    --------
    >>> import bitquant as bq
    >>> bq.unpack_bits([0x21, 0x03], 4)
    array([1, 2, 3, 0], dtype=uint8)
    >>> bq.unpack_bits([0x21, 0x03], 4, 3)
    array([1, 2, 3], dtype=uint8)
    """
    width, fmt = _width_of(bits)
    choose("order", order, ORDERS)
    check_threads(threads)
    array, give_back = _rows(packed, "packed")
    stream = _as_bytes(array, _WIDEST, None, "packed")
    most = stream.shape[-1] * 8 // width
    if count is None:
        count = most
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 0 <= count <= most:
        raise BitquantError(f"count={count!r}: {stream.shape[-1]} bytes hold 0 to {most} codes of {width} bits")
    stream = np.ascontiguousarray(stream[..., : _bytes_of(int(count), width)])
    codes = _target(out, (*stream.shape[:-1], int(count)), _BYTE if fmt is None else fmt.array_dtype, stream)
    big = order == "big"
    _in_runs(lambda c, s, rows: kernel.unpack(s, c, width, rows, big), codes.view(np.uint8), stream, width, threads)
    return codes if out is not None else give_back(codes)


def _width_of(bits: Any) -> tuple[int, Format | None]:
    """The bits of a code, and the format where one is given."""
    fmt = None if isinstance(bits, (int, np.integer)) else format(bits)
    width = int(bits) if fmt is None else fmt.bits
    if isinstance(bits, bool) or not 1 <= width <= _WIDEST:
        what = f"bits={bits!r}" if fmt is None else f"{fmt.name} has {width} bits"
        raise BitquantError(f"{what}: codes of 1 to {_WIDEST} bits can be packed")
    return width, fmt


def _bytes_of(count: int, width: int) -> int:
    return -(-count * width // 8)


def _rows(x: Any, name: str) -> tuple[Array, GiveBack]:
    array, give_back = take(x)
    if array.ndim == 0:
        raise BitquantError(f"{name} is a single number: pass a row of them, an array of one dimension or more")
    return array, give_back


def _as_bytes(array: Array, width: int, fmt: Format | None, name: str) -> Array:
    """The same codes in bytes. Those of a dtype that holds wider ones are checked here, but for uint8's own."""
    dtype = array.dtype
    if dtype.kind == "b" or dtype == _BYTE:
        return array.view(np.uint8)
    if dtype.kind not in "iu" and array.size:
        if _bits_of(dtype) != width or (fmt is not None and dtype != fmt.array_dtype):
            wanted = f"a dtype of {width} bits" if fmt is None else str(fmt.array_dtype)
            raise BitquantError(f"{name} has dtype {dtype}: pass integers, or {wanted}")
        return array.view(np.uint8)
    signed = fmt is not None and fmt.is_integer and fmt.signed and dtype.kind == "i"
    low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        raise _misfit(array, (array < low) | (array > high), low, high, width, fmt, name)
    return array.astype(np.uint8)


def _bits_of(dtype: np.dtype[Any]) -> int | None:
    """Bits of a number of a dtype that keeps each in a byte, as ml_dtypes' do."""
    if dtype.itemsize != 1:
        return None
    for info in (ml_dtypes.finfo, ml_dtypes.iinfo):
        try:
            return int(info(dtype).bits)
        except (TypeError, ValueError):
            continue
    return None


def _misfit(
    array: Array, wrong: NDArray[np.bool_], low: int, high: int, width: int, fmt: Format | None, name: str
) -> BitquantError:
    """The error for codes that do not fit: value, index, count, and the way out."""
    place = tuple(int(k) for k in np.argwhere(wrong)[0])
    count = int(np.count_nonzero(wrong))
    more = f" (the first of {count})" if count > 1 else ""
    return BitquantError(
        f"{name} has {int(array[place])} at index {place[0] if len(place) == 1 else place}{more}: "
        f"{f'codes of {width} bits' if fmt is None else fmt.name} reach from {low} to {high}; "
        f"mask them to keep their low bits: {name} & {(1 << width) - 1:#x}"
    )


def _target(out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any], source: Array) -> Array:
    """A new array, or `out` where it fits."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray):
        raise BitquantError(f"out must be a NumPy array, not {type(out).__name__}")
    if out.shape != shape or out.dtype not in (dtype, _BYTE):
        raise BitquantError(f"out has shape {out.shape} and dtype {out.dtype}; needed: {shape} and {dtype}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise BitquantError("out is read-only or not contiguous: pass another array")
    if np.may_share_memory(out, source):
        raise BitquantError("out overlaps the input: pass another array")
    return out


def _in_runs(
    work: Callable[[Array, Array, int], Any], codes: Array, stream: Array, width: int, threads: int | None
) -> list[Any]:
    """Call work(codes, stream, rows) for runs of whole rows that threads may share, and return what it returned."""
    length, size = codes.shape[-1], codes.size
    if not size:
        return []
    if length * width % 8 == 0:  # no row is padded: one row, cut where a code and a byte begin together
        length = size
    step, several = _bytes_of(length, width), size > length
    flat_codes, flat_stream = codes.reshape(-1), stream.reshape(-1)

    def run(start: int, stop: int) -> Any:
        if not several:
            return work(flat_codes[start:stop], flat_stream[start * width // 8 : _bytes_of(stop, width)], 1)
        first, end = -(-start // length), -(-stop // length)  # the rows that begin in this run
        return work(flat_codes[first * length : end * length], flat_stream[first * step : end * step], end - first)

    return in_parts(run, size, threads)
