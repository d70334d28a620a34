"""From a dialect's name and a pair of formats to the rules of the conversion."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from bitquant.dialects.row import RULES, Dialect, options
from bitquant.errors import BitquantError
from bitquant.formats import Format
from bitquant.rules import ROUNDING_ALIASES


@cache
def dialects() -> tuple[Dialect, ...]:
    """All dialects, in the order of the table.

    Examples
    --------
    >>> from bitquant.dialects import dialects
    >>> [row.name for row in dialects() if row.name.startswith("x86")]
    ['x86_f16c', 'x86_avx512bf16', 'x86_sse2', 'x86_avx512']
    """
    # Read when first asked for, as most programs do not.
    from bitquant.dialects.amd import AMD
    from bitquant.dialects.arm import ARM
    from bitquant.dialects.cuda import CUDA
    from bitquant.dialects.libraries import LIBRARIES
    from bitquant.dialects.onnx import ONNX
    from bitquant.dialects.riscv import RISCV
    from bitquant.dialects.standards import STANDARDS
    from bitquant.dialects.x86 import X86

    return (*X86, *ARM, *RISCV, *CUDA, *AMD, *STANDARDS, *ONNX, *LIBRARIES)


def dialect(name: Any) -> Dialect:
    """Find a dialect by name, in any case.

    Raises
    ------
    BitquantError
        When there is none; the message lists those that there are.

    Examples
    --------
    >>> from bitquant.dialects import dialect
    >>> dialect("x86_avx512bf16").title
    'VCVTNEPS2BF16 of x86 processors with AVX512-BF16'
    """
    rows = {row.name: row for row in dialects()}
    found = rows.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise BitquantError(f"no dialect is called {name!r}; there are {', '.join(rows)}")
    return found


def rules_of(name: Any, source: Format, target: Format, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rules under which a dialect converts one format to another.

    Parameters
    ----------
    name : str
        The dialect.
    source, target : Format
    given : mapping of str to rule
        The rules that the caller names. They must be among those that the dialect leaves open; None counts as not
        named.

    Returns
    -------
    dict
        Keyword arguments of `bitquant.convert`. A rule that never comes up, and that the caller does not name, is not
        among them.

    Raises
    ------
    BitquantError
        No such dialect, no such conversion in it, or a rule that contradicts it.

    Examples
    --------
    >>> import bitquant as bq
    >>> from bitquant.dialects import rules_of
    >>> rules_of("x86_avx512bf16", bq.FP32, bq.BF16, {})
    {'rounding': 'nearest_even', 'overflow': 'ieee', 'nan': 'preserve', 'subnormals': 'flush'}
    >>> rules_of("x86_f16c", bq.FP32, bq.FP16, {"rounding": "toward_zero"})["rounding"]
    'toward_zero'
    """
    row = dialect(name)
    conversion = row.conversion(source.name, target.name)
    if conversion is None:
        raise BitquantError(_no_conversion(row, source.name, target.name))
    rules: dict[str, Any] = {}
    for rule in RULES:
        names, asked = options(getattr(conversion, rule)), given.get(rule)
        if asked is None:
            if names:
                rules[rule] = names[0]
        elif not names or _name_of(asked) in names:
            rules[rule] = asked
        else:
            only = names[0] if len(names) == 1 else f"one of {', '.join(names)}"
            raise BitquantError(
                f"{rule}={asked!r} contradicts the dialect {row.name}, which converts {source.name} to {target.name} "
                f"with {rule} {only}: leave it out, or the dialect"
            )
    return rules


def _name_of(rule: Any) -> str:
    """The name of a rule: aliases resolved; an object, such as Stochastic, goes by the name of its type."""
    return ROUNDING_ALIASES.get(rule, rule) if isinstance(rule, str) else type(rule).__name__.lower()


def _no_conversion(row: Dialect, source: str, target: str) -> str:
    """Say that a dialect does not convert a pair of formats, why if that is known, and what it does convert."""
    gap = row.gap(source, target)
    if gap is not None:
        way = f"; convert to {gap.through} first, then to {target}" if gap.through else ""
        return f"the dialect {row.name} leaves out {source} to {target}: {gap.why}{way}"
    targets = _unique(to for start, to, _ in row.pairs() if start == source)
    sources = _unique(start for start, to, _ in row.pairs() if to == target)
    if targets or sources:
        has = [f"{source} to {_listed(targets)}"] if targets else []
        has += [f"{_listed(sources)} to {target}"] if sources else []
    else:
        has = [f"{_listed(part.sources)} to {_listed(part.targets)}" for part in row.conversions]
    return f"the dialect {row.name} does not convert {source} to {target}; it converts {', and '.join(has)}"


def _unique(names: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _listed(names: tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
