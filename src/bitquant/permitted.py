"""Which rules a target permits, and those of one conversion, checked."""

from __future__ import annotations

from typing import Any, NamedTuple

from bitquant.errors import BitquantError
from bitquant.formats import Format
from bitquant.rules import NAN, OVERFLOW, SUBNORMALS, TININESS, Rounding, Stochastic, choose, rounding_rule

__all__ = ["Rules", "nan_rules", "overflow_rules"]

_WITH_NAN = ("preserve", "canonical", "signed", "all_ones", "positive_all_ones", "raise", "zero", "max")
_WITHOUT_NAN = ("raise", "zero", "negated_zero", "max")


class Rules(NamedTuple):
    """The rules of one conversion, checked, with the defaults of the target filled in."""

    rounding: Rounding | Stochastic
    overflow: str
    nan: str
    subnormals: str
    tininess: str
    counted: bool  # flags are asked for
    exact: bool  # a number that is not the target's is refused

    @classmethod
    def of(
        cls,
        target: Format,
        rounding: Any = None,
        overflow: str | None = None,
        nan: str | None = None,
        subnormals: str | None = None,
        tininess: str | None = None,
        counted: bool = False,
        exact: bool = False,
    ) -> Rules:
        """Check rules against what the target allows; None is the default."""
        where = f" for {target.name}"
        overflows, nans = overflow_rules(target), nan_rules(target)
        rounding = rounding_rule("nearest_even" if rounding is None else rounding)
        if isinstance(rounding, Stochastic) and target.kind == "codebook":
            raise BitquantError(
                f"rounding={rounding!r} is not possible{where}: a codebook takes the deterministic modes"
            )
        return cls(
            rounding,
            choose("overflow", overflows[0] if overflow is None else overflow, _meanings(OVERFLOW, overflows), where),
            choose("nan", nans[0] if nan is None else nan, _meanings(NAN, nans), where),
            choose("subnormals", "gradual" if subnormals is None else subnormals, SUBNORMALS),
            choose("tininess", "after" if tininess is None else tininess, TININESS),
            counted,
            exact,
        )

    @property
    def refuses(self) -> bool:
        """Whether some number may be refused."""
        return self.exact or "raise" in (self.overflow, self.nan)

    @property
    def counts(self) -> bool:
        """Whether the kernels must look at every number's flags; NaN is looked for in any case."""
        return self.counted or self.exact or self.overflow == "raise"

    @property
    def moves_only(self) -> bool:
        """Whether a number that the target has comes out as it is, and nothing is counted."""
        return (
            not (self.counted or self.exact)
            and self.nan == "preserve"
            and self.subnormals == "gradual"
            and self.overflow != "saturate"
        )


def _meanings(rules: Any, names: tuple[str, ...]) -> dict[str, str]:
    return {name: rules[name] for name in names}


def overflow_rules(target: Format) -> tuple[str, ...]:
    """The overflow rules that a target allows, its default first."""
    if target.kind == "codebook":
        return ("saturate", "raise")
    if target.is_integer:
        return ("saturate", "wrap", "indefinite", "raise")
    nan = ("nan",) if target.has_nan and not target.infinity else ()
    return ("ieee", "saturate", "saturate_finite", *nan, "raise")


def nan_rules(target: Format) -> tuple[str, ...]:
    """The NaN rules that a target allows, its default first."""
    if target.is_integer:
        return ("raise", "zero", "max", "indefinite")
    if target.kind == "codebook":
        return ("raise", "zero", "max") if 0.0 in target.values else ("raise", "max")
    rules = _WITH_NAN if target.has_nan else _WITHOUT_NAN
    return rules if target.zero else tuple(rule for rule in rules if rule not in ("zero", "negated_zero"))
