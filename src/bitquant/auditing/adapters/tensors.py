"""Between NumPy's arrays and PyTorch's tensors, by their bits: PyTorch has dtypes that NumPy has not."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.formats import Format

_SAME_WIDTH = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}  # what both have


def same_width(fmt: Format) -> str:
    """The integer type, known to both, that has as many bits as a format."""
    return _SAME_WIDTH[fmt.code_dtype.itemsize]


def script_tensor(fmt: Format) -> str:
    """The expression that makes a tensor of an array `x`, in a script of somebody who has PyTorch alone."""
    if fmt.array_dtype.isbuiltin == 1:
        return "torch.from_numpy(x)"
    return f"torch.from_numpy(x.view(np.{same_width(fmt)})).view(torch.{fmt.name})"


def tensor(x: Any, fmt: Format) -> Any:
    """The numbers of an array in a format that PyTorch has, as a tensor."""
    import torch

    whole = np.ascontiguousarray(x).view(_SAME_WIDTH[x.dtype.itemsize])
    return torch.from_numpy(whole).view(getattr(torch, fmt.name))


def array(x: Any, fmt: Format) -> Any:
    """The numbers of a tensor in a format, as an array of the format's dtype."""
    import torch

    whole = x.detach().contiguous().view(getattr(torch, _SAME_WIDTH[x.element_size()]))
    return whole.numpy().view(fmt.dtype)
