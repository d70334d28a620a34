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
from bitquant.formats import FORMATS, FP64, Format, format

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
    """The array and its format."""
    try:
        return array, format(array.dtype)
    except BitquantError:
        raise BitquantError(
            f"{name} has dtype {array.dtype}, which holds no numbers of a known format: use float64, float32, float16, "
            "ml_dtypes.bfloat16 or an integer dtype"
        ) from None


def with_held_format(array: Array, name: str = "x") -> tuple[Array, Format]:
    """The array and its format, one that FP64 holds: integers of 64 bits are lifted to it where that is exact."""
    array, fmt = with_format(array, name)
    if fmt.is_integer and fmt.bits == 64:
        if array.size and (int(array.max()) > _EXACT_IN_FP64 or int(array.min()) < -_EXACT_IN_FP64):
            raise BitquantError(
                f"{name} holds integers beyond 2^53, which float64 does not hold exactly: round them first"
            )
        return array.astype(np.float64), FP64
    return array, fmt


def plain(array: Array) -> Array:
    """The array as the kernels walk it: contiguous and in the machine's byte order; itself where it is."""
    if array.flags.c_contiguous and array.dtype.isnative:
        return array
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


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
    name = str(x.dtype).removeprefix("torch.")
    fmt = FORMATS.get(name)
    if fmt is not None and fmt.array_dtype.isbuiltin != 1:  # a dtype of ml_dtypes, which torch does not give
        bits: Array = x.view(_torch_words(torch, fmt)).numpy()
        return bits.view(fmt.array_dtype)
    try:
        array: Array = x.numpy()
    except TypeError as error:
        raise BitquantError(f"a tensor of {x.dtype} has no format here: {error}") from error
    return array


def _to_torch(result: Array) -> Any:
    torch = sys.modules["torch"]
    if not result.dtype.isnative:
        result = result.astype(result.dtype.newbyteorder("="))
    if result.dtype.isbuiltin != 1:
        fmt = format(result.dtype)
        words = _torch_words(torch, fmt)
        tensor = torch.from_numpy(result.view(fmt.code_dtype)).view(words)
        # torch has no dtype for some formats of ml_dtypes: their codes stay uint8.
        return tensor.view(getattr(torch, fmt.name)) if hasattr(torch, fmt.name) and fmt.bits >= 8 else tensor
    return torch.from_numpy(result)


def _torch_words(torch: Any, fmt: Format) -> Any:
    """The integer dtype of torch that is as wide as a format's codes."""
    return torch.uint8 if fmt.code_dtype.itemsize == 1 else torch.int16
