"""How to ask other libraries for their conversions and quantizers; one small file for each."""

from __future__ import annotations

import importlib
from typing import Any

from bitquant.auditing.adapters import (
    apytypes,
    bitsandbytes,
    bitstring,
    brevitas,
    compressed_tensors,
    cpu,
    gfloat,
    gguf,
    jax,
    litert,
    ml_dtypes,
    numcodecs,
    numpy,
    onnx,
    onnxruntime,
    optimum_quanto,
    pychop,
    torch,
    torch_quantize,
    torchao,
)
from bitquant.auditing.adapters.row import Adapter, Candidate, Case
from bitquant.errors import BitquantError

__all__ = ["Adapter", "Candidate", "Case", "adapter", "adapters", "imported"]

_MODULES: tuple[Any, ...] = (
    *(numpy, ml_dtypes, torch, torch_quantize, torchao, jax, onnx, onnxruntime, litert, gguf, compressed_tensors),
    *(optimum_quanto, bitsandbytes, brevitas, gfloat, apytypes, pychop, bitstring, numcodecs, cpu),
)
_ADAPTERS: tuple[Adapter, ...] = tuple(module.ADAPTER for module in _MODULES)
_BY_NAME = {row.name: row for row in _ADAPTERS}


def adapters() -> tuple[Adapter, ...]:
    """All adapters, whether or not their libraries are installed.

    Examples
    --------
    >>> from bitquant.auditing.adapters import adapters
    >>> [row.name for row in adapters()][:3]
    ['numpy', 'ml_dtypes', 'torch']
    """
    return _ADAPTERS


def adapter(name: str) -> Adapter:
    """Find an adapter by name, or import one of somebody else's: ``module:attribute``.

    Raises
    ------
    BitquantError
        When there is none; the message lists those that there are.

    Examples
    --------
    >>> from bitquant.auditing.adapters import adapter
    >>> adapter("numpy").title
    "NumPy's astype"
    """
    if ":" in name:
        found = imported(name)
        if not isinstance(found, Adapter):
            raise BitquantError(f"{name} is a {type(found).__name__}: an Adapter is asked for")
        return found
    if name not in _BY_NAME:
        raise BitquantError(f"no adapter is called {name!r}; there are {', '.join(_BY_NAME)}, or give module:attribute")
    return _BY_NAME[name]


def imported(name: str) -> Any:
    """Import ``module:attribute``, where the attribute may be a path with dots.

    Raises
    ------
    BitquantError
        When the module cannot be imported, or has no such attribute.

    Examples
    --------
    >>> from bitquant.auditing.adapters import imported
    >>> imported("math:sqrt")(4)
    2.0
    """
    module, _, path = name.partition(":")
    if not module or not path:
        raise BitquantError(f"{name!r}: give module:attribute, as in my_module:my_function")
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise BitquantError(f"{module} cannot be imported ({type(error).__name__}: {error})") from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise BitquantError(f"{module} has no {path}: give one of its functions after the colon")
        found = getattr(found, part)
    return found
