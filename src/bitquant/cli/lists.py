"""A command whose options take several values, as in `--to fp16 bf16`, and whose numbers may be negative."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

MINUS = "−"  # stands for the sign of a negative number, which would be read as an option
_NEGATIVE = re.compile(r"^-(?=\.?\d|inf|nan)", re.IGNORECASE)


class Lists(TyperCommand):
    """A command in which every option that may be repeated takes all the values that follow it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its values."""
        several = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        found: list[str] = []
        option = None
        for arg in args:
            arg = _NEGATIVE.sub(MINUS, arg, count=1)
            if arg.startswith("-") and arg != "-":
                option = arg if arg in several else None
                found += [] if option else [arg]
            else:
                found += [option, arg] if option else [arg]
        return super().parse_args(ctx, found)
