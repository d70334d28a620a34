"""Which tensor is quantized how: options for all, and rules for those whose name matches a pattern.

The words are those of the command line, in a recipe file as well. The last rule that matches a name wins over the
others, word by word; what no rule says, the options for all say.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bitquant.errors import BitquantError

__all__ = ["CALIBRATION_WORDS", "Options", "Recipe", "Rule", "read_recipe", "rule"]

CALIBRATION_WORDS = (
    "percentile", "tails", "interpolation", "bins", "levels", "zeros", "deviations", "centre", "p", "candidates",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How a tensor is quantized.

    Attributes
    ----------
    scheme : str or None
        "symmetric" (default), "asymmetric", or "clipped", which needs `range`.
    bits, unsigned, narrow, rounding, step_format, include_zero, nonfinite
        As for `quantize`.
    axis : int or None
        One step for each index of this axis.
    group : int or None
        One step for so many successive numbers along `axis` (default: the last).
    range : (low, high) or None
        Clip to this range.
    calibrate : str or None
        Find the range by this method of `calibrate`.
    calibration : mapping
        The method's own options.
    skip : bool
        Leave the tensor as it is.
    """

    scheme: str | None = None
    bits: int = 8
    unsigned: bool = False
    narrow: bool | None = None
    axis: int | None = None
    group: int | None = None
    range: tuple[float, float] | None = None
    calibrate: str | None = None
    rounding: str = "nearest_even"
    step_format: str | None = None
    include_zero: bool = False
    nonfinite: str = "raise"
    skip: bool = False
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scheme == "clipped" and self.range is None:
            raise BitquantError("--scheme clipped needs the range to clip to: add --range LOW HIGH")
        if self.range is not None and self.calibrate is not None:
            raise BitquantError("--calibrate finds a range, and --range gives one: choose")
        if self.range is not None and (self.axis is not None or self.group is not None):
            name = "--axis finds one per channel" if self.group is None else "--group finds one per group"
            raise BitquantError(f"--range is one range for all and {name}: give one of the two")
        if self.calibration and self.calibrate is None:
            raise BitquantError(f"{next(iter(self.calibration))!r} is an option of --calibrate: give its METHOD too")

    @property
    def mapping(self) -> dict[str, Any]:
        """The arguments of `quantize`, but for granularity and range."""
        scheme = self.scheme
        if scheme in (None, "clipped"):
            scheme = "symmetric" if self.range is None or self.range[0] == -self.range[1] else "asymmetric"
        return {
            "scheme": scheme,
            "signed": not self.unsigned,
            **{
                word: getattr(self, word)
                for word in ("bits", "narrow", "rounding", "step_format", "include_zero", "nonfinite")
            },
        }


_WORDS = [word.name for word in fields(Options) if word.name != "calibration"]


@dataclass(frozen=True)
class Rule:
    """What is said of tensors whose name matches one of the patterns."""

    patterns: tuple[str, ...]
    words: Mapping[str, Any]

    def matches(self, name: str) -> bool:
        """Whether it speaks of this tensor."""
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)


@dataclass(frozen=True)
class Recipe:
    """Options for all tensors, and rules for some, of which the later win."""

    words: Mapping[str, Any] = field(default_factory=dict)
    rules: Sequence[Rule] = ()

    def options(self, name: str) -> Options:
        """How the tensor of this name is quantized."""
        words = dict(self.words)
        for one in self.rules:
            if one.matches(name):
                words |= one.words
        calibration = {word: words.pop(word) for word in CALIBRATION_WORDS if word in words}
        return Options(**words, calibration=calibration)


def rule(text: str) -> Rule:
    """Read a rule of the command line: "PATTERN: word=value word=value ...".

    Examples
    --------
    >>> from bitquant.files.recipe import rule
    >>> rule("*.mlp.*: bits=4 group=128")
    Rule(patterns=('*.mlp.*',), words={'bits': 4, 'group': 128})
    """
    pattern, colon, rest = text.rpartition(":")
    words: dict[str, Any] = {}
    for part in rest.replace(",", " ").split():
        word, equals, value = part.partition("=")
        words[word] = _value(value) if equals else True
    if not colon or not pattern.strip() or not words:
        raise BitquantError(f"the rule {text!r} is not of the form 'PATTERN: word=value ...': write it so")
    return Rule((pattern.strip(),), _checked(words, f"the rule {text!r}"))


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    r"""Read a recipe file: TOML with words for all, and a table [[rule]] for each rule, whose `match` has patterns.

    Parameters
    ----------
    path : path

    Returns
    -------
    Recipe

    Raises
    ------
    BitquantError
        For a file that cannot be read, or a word that there is not.

    Examples
    --------
    >>> import os, tempfile
    >>> from bitquant.files.recipe import read_recipe
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "recipe.toml")
    ...     with open(path, "w") as file:
    ...         _ = file.write('bits = 8\n[[rule]]\nmatch = "*.mlp.*"\nbits = 4\ngroup = 128\n')
    ...     read_recipe(path).options("layers.0.mlp.weight").group
    128
    """
    try:
        found = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise BitquantError(f"{path} is no readable recipe ({reason}): it has to be a TOML file") from error
    tables = found.pop("rule", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise BitquantError(f"{path}: a rule is a table of its own: write [[rule]]")
    rules = []
    for number, table in enumerate(tables, 1):
        patterns = table.pop("match", None)
        patterns = [patterns] if isinstance(patterns, str) else patterns
        if not isinstance(patterns, list) or not patterns or not all(isinstance(one, str) for one in patterns):
            raise BitquantError(f'{path}: rule {number} names no tensors: add match = "PATTERN"')
        rules.append(Rule(tuple(patterns), _checked(table, f"{path}: rule {number}")))
    return Recipe(_checked(found, str(path)), rules)


def _checked(words: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The words, if there are such; hyphens may stand for underscores, as on the command line."""
    found = {word.replace("-", "_"): value for word, value in words.items()}
    known = (*_WORDS, *CALIBRATION_WORDS)
    for word in found:
        if word not in known:
            raise BitquantError(f"{where} has the word {word!r}: choose from {', '.join(known)}")
    for word in ("bits", "axis", "group"):
        if word in found and (isinstance(found[word], bool) or not isinstance(found[word], int)):
            raise BitquantError(f"{where}: {word} is {found[word]!r}: give a whole number")
    for word in ("unsigned", "include_zero", "skip"):
        if not isinstance(found.get(word, True), bool):
            raise BitquantError(f"{where}: {word} is {found[word]!r}: give true or false")
    ends = found.get("range")
    if ends is not None:
        if (
            not isinstance(ends, (list, tuple))
            or len(ends) != 2
            or not all(isinstance(end, (int, float)) for end in ends)
        ):
            raise BitquantError(f"{where}: range is {ends!r}: give two numbers, [LOW, HIGH]")
        found["range"] = float(ends[0]), float(ends[1])
    return found


def _value(text: str) -> Any:
    """A value of the command line: a number, a truth, a pair of numbers "LOW..HIGH", or a word."""
    low, dots, high = text.partition("..")
    if dots:
        return [_value(low), _value(high)]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)
