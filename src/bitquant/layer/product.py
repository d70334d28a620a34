"""The matrix product of codes: integers, exact, with the zero points taken off."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitquant.arrays import Array, take
from bitquant.errors import BitquantError
from bitquant.kernels import matmul
from bitquant.layouts import in_parts
from bitquant.rules import choose

Accumulator: TypeAlias = Literal["int32", "int64"]
Overflow: TypeAlias = Literal["raise", "wrap", "saturate"]
_ACCUMULATORS = {"int32": "what hardware and ONNX have", "int64": "no sum overflows"}
_OVERFLOWS = {
    "raise": "an error that names the first sum",
    "wrap": "the low 32 bits, as ONNX Runtime and PyTorch do",
    "saturate": "the nearest end of int32, once the whole sum is known",
}
_LINE = 64  # numbers by which the kernel's vectors are filled
_SHARE = 64  # products that take a thread about as long as one number of a conversion
_INT32 = 2**31


def integer_matmul(
    a: Any,
    b: Any,
    *,
    a_zero_point: Any = 0,
    b_zero_point: Any = 0,
    accumulator: Accumulator = "int32",
    overflow: Overflow = "raise",
    out: Array | None = None,
    threads: int | None = 1,
) -> Any:
    """Multiply matrices of codes: Σ (a − a_zero_point) · (b − b_zero_point), as ONNX MatMulInteger.

    Parameters
    ----------
    a : array_like of int8 or uint8, shape (..., M, K)
    b : array_like of int8 or uint8, shape (..., K, N)
        The two types need not agree. Dimensions before the last two broadcast, and vectors are taken as in
        `numpy.matmul`.
    a_zero_point : int or array_like of int
        One, or one for each row of `a`: of shape (M,) or (..., M, 1).
    b_zero_point : int or array_like of int
        One, or one for each column of `b`: of shape (N,) or (..., 1, N).
    accumulator : {"int32", "int64"}
    overflow : {"raise", "wrap", "saturate"}
        What happens to a sum that the accumulator does not hold. Sums on the way do not count, so that the result does
        not depend on the order of summation.
    out : ndarray, optional
        Where the sums go: contiguous, of the accumulator's type, in the shape of the result.
    threads : int or None
        As for `convert`.

    Returns
    -------
    ndarray of int32 or int64, or tensor where `a` was one

    Raises
    ------
    BitquantError
        Other types than int8 and uint8, shapes that do not fit, a zero point that is no int32, a sum that overflows.

    Notes
    -----
    int32 holds every sum of K ≤ 33 025 products whose zero points are codes. ONNX, operator MatMulInteger, does not say
    what becomes of larger ones; ONNX Runtime wraps.

    Examples
    --------
    >>> import bitquant as bq, numpy as np
    >>> a, b = np.array([[1, 2], [3, 255]], np.uint8), np.array([[1, -1], [0, 5]], np.int8)
    >>> bq.integer_matmul(a, b, a_zero_point=128)
    array([[-127, -503],
           [-125,  760]], dtype=int32)
    """
    choose("accumulator", accumulator, _ACCUMULATORS)
    choose("overflow", overflow, _OVERFLOWS)
    (left, give_back), (right, _) = take(a), take(b)
    for name, array in (("a", left), ("b", right)):
        if array.dtype not in (np.int8, np.uint8):
            raise BitquantError(f"{name} has dtype {array.dtype}: the product takes codes of int8 or uint8")
        if array.ndim == 0:
            raise BitquantError(f"{name} is a single number: the product takes matrices")
    if left.shape[-1] != right.shape[-2 if right.ndim > 1 else 0]:
        raise BitquantError(f"shapes {left.shape} and {right.shape} do not fit: a needs as many columns as b has rows")
    rows, columns = left.reshape(1, -1) if left.ndim == 1 else left, right.reshape(-1, 1) if right.ndim == 1 else right
    points = (
        _zero_points(a_zero_point, rows.shape[:-1], -1, "a_zero_point", "row of a"),
        _zero_points(b_zero_point, (*columns.shape[:-2], columns.shape[-1]), -2, "b_zero_point", "column of b"),
    )
    _check_reach(rows, columns, points)
    try:
        batch = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
    except ValueError:
        raise BitquantError(
            f"shapes {left.shape} and {right.shape} do not fit: what stands before the matrices does not broadcast"
        ) from None
    whole = (*batch, rows.shape[-2], columns.shape[-1])
    shape = (*batch, *whole[-2:][: left.ndim > 1], *whole[-1:][: right.ndim > 1])
    sums = checked_out(out, shape, np.dtype(accumulator), (left, right)).reshape(whole)
    _multiply_all(rows, columns, points, sums, overflow, shape, threads)
    return give_back(sums.reshape(shape) if out is None else out)


def checked_out(out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: tuple[Array, ...]) -> Array:
    """The array that a result goes into: the caller's, or a new one."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise BitquantError(f"out must be a contiguous array of {dtype} and shape {shape}")
    if not out.flags.writeable:
        raise BitquantError("out is read-only: pass a writable array")
    if any(np.may_share_memory(out, array) and np.shares_memory(out, array) for array in inputs):
        raise BitquantError("out overlaps an input: pass another array")
    return out


def _zero_points(given: Any, shape: tuple[int, ...], unit: int, name: str, what: str) -> NDArray[np.int64]:
    """A zero point for each row or column; `unit` is the axis of length one that a matrix of them has."""
    points = np.asarray(take(given)[0])
    if points.dtype.kind not in "iu":
        raise BitquantError(f"{name} has dtype {points.dtype}: zero points are integers")
    if points.size and not -_INT32 <= int(points.min()) <= int(points.max()) < _INT32:
        raise BitquantError(f"{name} holds {_farthest(points)}, which int32 does not hold")
    if points.ndim > 1:
        points = np.squeeze(points, unit) if points.shape[unit] == 1 else np.empty((0, 0))
    try:
        return np.broadcast_to(points, shape).astype(np.int64)
    except ValueError:
        raise BitquantError(
            f"{name} has shape {np.shape(given)}: give one, or one for each {what}, of which there are {shape[-1]}"
        ) from None


def _farthest(points: Array) -> int:
    return max(int(points.min()), int(points.max()), key=abs)


def _check_reach(rows: Array, columns: Array, points: tuple[Array, Array]) -> None:
    """Refuse zero points so far out that a sum might not fit 64 bits."""
    reach = rows.shape[-1]
    for codes, own in zip((rows, columns), points, strict=True):
        limits = np.iinfo(codes.dtype)
        reach *= max((max(abs(limits.min - p), abs(limits.max - p)) for p in _ends(own)), default=0)
    if reach >= 2**63:
        raise BitquantError(
            f"zero points {_farthest(points[0])} and {_farthest(points[1])} lie too far from the codes: "
            f"a sum of {rows.shape[-1]} products may not fit int64"
        )


def _ends(points: Array) -> tuple[int, ...]:
    return (int(points.min()), int(points.max())) if points.size else ()


class _Operand(NamedTuple):
    """One matrix as the kernel takes it: the summed axis last, filled up with zeros."""

    codes: Array
    points: NDArray[np.int64]

    @classmethod
    def of(cls, codes: Array, points: NDArray[np.int64], kind: str) -> _Operand:
        """`kind` is "uint8" or "int8", where the kernel multiplies bytes, or "int16". What fits is not copied."""
        flip = kind != "int16" and codes.dtype != kind
        width = -(-codes.shape[1] // _LINE) * _LINE
        if flip or not codes.flags.c_contiguous or codes.shape[1] != width:
            packed = np.empty((codes.shape[0], width), codes.dtype)
            matmul.pack(codes, packed, flip)
            codes = packed.view(kind) if flip else packed
        if flip:
            points = points + (128 if kind == "uint8" else -128)
        return cls(codes.astype(np.int16) if kind == "int16" else codes, points)


def _multiply_all(
    rows: Array,
    columns: Array,
    points: tuple[Array, Array],
    sums: Array,
    overflow: str,
    shape: tuple[int, ...],
    threads: int | None,
) -> None:
    """One product for each matrix of the batch; the matrices that meet one and the same b are one."""
    a_points, b_points = points
    if columns.ndim == 2:
        count = a_points.size
        rows, sums = rows.reshape(count, rows.shape[-1]), sums.reshape(count, sums.shape[-1])
        a_points = a_points.reshape(count)
    batch = sums.shape[:-2]
    rows, columns = (np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (rows, columns))
    a_points, b_points = (np.broadcast_to(x, (*batch, x.shape[-1])) for x in (a_points, b_points))
    kinds = ("uint8", "int8") if matmul.has_byte_products() else ("int16", "int16")
    for number, place in enumerate(np.ndindex(batch)):
        a = _Operand.of(rows[place], a_points[place], kinds[0])
        b = _Operand.of(columns[place].T, b_points[place], kinds[1])
        row = _multiply(a, b, rows.shape[-1], sums[place], overflow == "saturate", threads)
        if row is not None and overflow == "raise":
            exact = np.empty((1, sums.shape[-1]), np.int64)
            _multiply(_Operand(a.codes[row : row + 1], a.points[row : row + 1]), b, rows.shape[-1], exact, False, 1)
            column = int(np.flatnonzero((exact[0] < -_INT32) | (exact[0] >= _INT32))[0])
            at = (number * sums.shape[-2] + row) * sums.shape[-1] + column
            index = ", ".join(str(int(k)) for k in np.unravel_index(at, shape))
            raise BitquantError(
                f"the sum at ({index}) is {exact[0, column]}, which int32 does not hold: pass overflow='wrap' or "
                "'saturate', or accumulator='int64'"
            )


def _multiply(a: _Operand, b: _Operand, k: int, sums: Array, saturate: bool, threads: int | None) -> int | None:
    """Fill the product of two matrices; the first row with a sum that int32 does not hold, if there is one."""
    m, n = sums.shape
    none_a, none_b = np.zeros(m, np.int64), np.zeros(n, np.int64)
    a_rest, b_sum = none_a, none_b
    if b.points.any():
        a_rest = _sums(a.codes, b.codes.dtype, False) - k * a.points
    if a.points.any():
        b_sum = _sums(b.codes, a.codes.dtype, True)

    def work(start: int, stop: int) -> tuple[int, int]:
        # The longer side is shared among threads, in proportion.
        low, high = (end * max(m, n) // size for end in (start, stop))
        ends = (low, high, 0, n) if m >= n else (0, m, low, high)
        return matmul.product(a.codes, b.codes, sums, a.points, a_rest, b.points, b_sum, saturate, *ends)

    size = max(m * n * k // _SHARE, m, n)
    found = in_parts(work, size, threads)
    return min((row for overflows, row in found if overflows), default=None)


def _sums(codes: Array, other: np.dtype[Any], turned: bool) -> NDArray[np.int64]:
    """The sum of each row: its product with a row of ones."""
    ones, count = np.ones((1, codes.shape[1]), other), codes.shape[0]
    sums = np.empty((1, count) if turned else (count, 1), np.int64)
    first, second = (ones, codes) if turned else (codes, ones)
    nought = np.zeros(count, np.int64), np.zeros(1, np.int64)
    rows, columns = nought[::-1] if turned else nought
    matmul.product(first, second, sums, rows, rows, columns, columns, False, 0, len(rows), 0, len(columns))
    return sums.reshape(-1)


__all__ = ["checked_out", "integer_matmul"]
