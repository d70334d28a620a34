"""Arrays in and out: NumPy, anything that NumPy can read, and CPU tensors of other libraries.

What came as a torch or JAX array goes back as one. Nothing is copied where the memory can be shared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitquant.errors import BitquantError
from bitquant.formats import BF16, Format, format

Array: TypeAlias = NDArray[Any]
GiveBack: TypeAlias = Callable[[Array], Any]

_EXACT_IN_FP64 = 2**53


def take(x: Any) -> tuple[Array, GiveBack]:
    """Return `x` as a NumPy array, and the function that turns a result into the library `x` came from."""
    kind = type(x)
    if kind is np.ndarray:
        return x, _scalar_or_array
    library = kind.__module__.partition(".")[0]
    if library == "torch":
        return _from_torch(x), _to_torch
    if not isinstance(x, (np.ndarray, np.generic)) and hasattr(x, "__array_namespace__"):
        return _read(x), x.__array_namespace__().asarray
    return _read(x), _scalar_or_array


def with_format(array: Array, name: str = "x") -> tuple[Array, Format]:
    """The array and its format; integers of other widths are lifted to FP64 where that is exact."""
    dtype = array.dtype
    if dtype.kind in "iu" and dtype.itemsize > 1:
        if (
            dtype.itemsize == 8
            and array.size
            and (int(array.max()) > _EXACT_IN_FP64 or int(array.min()) < -_EXACT_IN_FP64)
        ):
            raise BitquantError(
                f"{name} holds integers beyond 2^53, which no format here holds exactly: round them first"
            )
        return array.astype(np.float64), format("float64")
    try:
        return array, format(dtype)
    except BitquantError:
        raise BitquantError(
            f"{name} has dtype {dtype}, which holds no numbers of a known format: use float64, float32, float16, "
            "ml_dtypes.bfloat16 or an integer dtype"
        ) from None


def _scalar_or_array(result: Array) -> Any:
    return result if result.ndim else result[()]


def _read(x: Any) -> Array:
    try:
        if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            return np.from_dlpack(x)
        return np.asarray(x)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise BitquantError(f"cannot read {type(x).__name__} as an array of numbers: {error}") from error


def _from_torch(x: Any) -> Array:
    torch = sys.modules["torch"]
    if not isinstance(x, torch.Tensor):
        raise BitquantError(f"{x!r} is a {type(x).__name__}, not a tensor")
    if x.device.type != "cpu":
        raise BitquantError(f"the tensor is on {x.device}: bitquant computes on the CPU, pass x.cpu()")
    x = x.detach()
    if x.dtype == torch.bfloat16:
        bits: Array = x.view(torch.int16).numpy()
        return bits.view(BF16.array_dtype)
    try:
        array: Array = x.numpy()
    except TypeError as error:
        raise BitquantError(f"a tensor of {x.dtype} has no format here: {error}") from error
    return array


def _to_torch(result: Array) -> Any:
    torch = sys.modules["torch"]
    if not result.dtype.isnative:
        result = result.astype(result.dtype.newbyteorder("="))
    if result.dtype == BF16.array_dtype:
        return torch.from_numpy(result.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(result)
