"""What the page may ask, and who answers: a table of addresses, and the checking of what is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bitquant.errors import BitquantError
from bitquant.lab import layer, numbers

_LONGEST = 1000  # letters of a text
_MOST = 16  # texts in a list
_KINDS = {str: "a text", int: "an integer", list: "a list of texts"}


def _answer(
    answer: Callable[..., dict[str, Any]], needed: Mapping[str, type], optional: Mapping[str, type] | None = None
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function of a JSON object that has these fields and no others."""
    kinds = {**needed, **(optional or {})}

    def checked(given: dict[str, Any]) -> dict[str, Any]:
        for name in given:
            if name not in kinds:
                raise BitquantError(f"there is no field {name[:40]!r} here: there are {', '.join(kinds) or 'none'}")
        for name in needed:
            if name not in given:
                raise BitquantError(f"the field {name!r} is missing: there have to be {', '.join(needed)}")
        for name, value in given.items():
            if type(value) is not kinds[name]:  # a bool is no integer here
                raise BitquantError(f"the field {name!r} has to be {_KINDS[kinds[name]]}")
            texts = value if isinstance(value, list) else [value] if isinstance(value, str) else []
            if len(texts) > _MOST:
                raise BitquantError(f"the field {name!r} has {len(texts)} entries: ask for {_MOST} at most")
            for text in texts:
                if not isinstance(text, str):
                    raise BitquantError(f"the field {name!r} has to be {_KINDS[list]}")
                if len(text) > _LONGEST:
                    raise BitquantError(f"the field {name!r} has a text of {len(text)} letters: {_LONGEST} at most")
        return answer(**given)

    return checked


ANSWERS: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "/api/start": _answer(lambda: {**numbers.start(), **layer.start()}, {}),
    "/api/code": _answer(numbers.code, {"format": str, "bits": str}),
    "/api/find": _answer(numbers.find, {"format": str, "text": str}),
    "/api/round": _answer(numbers.rounded, {"text": str, "formats": list, "source": str}),
    "/api/tensor": _answer(layer.tensor, {"layer": str}),
    "/api/quantize": _answer(
        layer.quantized,
        {"layer": str, "scheme": str, "bits": int},
        {"method": str, "low": str, "high": str, "moved": str},
    ),
}

__all__ = ["ANSWERS"]
