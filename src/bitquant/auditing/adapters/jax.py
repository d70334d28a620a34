"""JAX on the CPU: `astype` of arrays, compiled by XLA."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitquant.auditing.adapters.row import Adapter, Candidate, Case, conversions
from bitquant.formats import Format

_WHOLE = "jax.Array.astype: the details of float-to-int casts are left to the implementation."


def _cast(source: Format, target: Format) -> Candidate:
    def astype(x: Any) -> Any:
        import jax

        with jax.enable_x64(True):
            cpu = jax.devices("cpu")[0]
            return np.asarray(jax.device_put(x, cpu).astype(target.dtype))

    return astype


def _cases() -> tuple[Case, ...]:
    """From 16 bits up the pairs of NumPy and ml_dtypes, whose dtypes are JAX's; but XLA has no 6-bit floats."""
    pairs = [pair for name in ("numpy", "ml_dtypes") for pair in conversions(name) if pair[0].bits >= 16]
    whole = {"rounding": "toward_zero", "overflow": "saturate", "nan": "zero"}
    return tuple(
        Case(
            f"{source.name} to {target.name}",
            _cast(source, target),
            _WHOLE if target.is_integer else "",
            options={
                "source": source.name,
                "target": target.name,
                "setup": "import jax\nimport jax.numpy as jnp\n\njax.config.update('jax_enable_x64', True)",
                "call": f"jnp.asarray(x).astype(jnp.{target.name})",
                **(whole if target.is_integer else {}),
            },
        )
        for source, target in dict.fromkeys(pairs)
        if 6 not in (source.bits, target.bits)
    )


ADAPTER = Adapter("jax", "JAX's astype on the CPU", ("jax", "jaxlib"), _cases)
