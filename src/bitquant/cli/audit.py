"""`bitquant audit`: libraries, or a function of somebody's own, audited case by case, and what was found."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bitquant.auditing.adapters import adapters
from bitquant.auditing.runner import STATUSES, Outcome, Work, run
from bitquant.auditing.suites import to_json, to_junit
from bitquant.cli.show import Screen
from bitquant.dialects import dialect
from bitquant.dialects.quantizers import quantizer
from bitquant.errors import BitquantError
from bitquant.files import check_place, replaced
from bitquant.formats import format

INPUTS = ("boundaries", "exhaustive")
_STYLES = {"identical": "green", "differs": "yellow", "unasked": "dim"}


def list_all() -> None:
    """Print the libraries that can be audited, whether they are here, and how much there is to ask."""
    screen = Screen()
    width = max(len(row.name) for row in adapters())
    for row in adapters():
        missing = row.missing()
        known = ", ".join(f"{name} {version}" for name, version in row.versions().items())
        state = (missing, "dim") if missing else (f"{len(row.cases())} cases; {known}".rstrip("; "), "")
        screen.line((row.name.ljust(width), "dim" if missing else "cyan"), f"  {row.title}: ", state)
    screen.note("Audit one: bitquant audit NAME; all: bitquant audit all; your own: bitquant audit my_module:function")


def works(
    names: list[str],
    conversion: dict[str, Any],
    codes: dict[str, Any],
    inputs: str,
    data: Path | None,
    is_quantizer: bool,
    only: str,
) -> list[Work]:
    """What the runner is asked: every library that is named, or all, or a function by ``module:attribute``."""
    if inputs not in INPUTS:
        raise BitquantError(f"--inputs {inputs}: choose {' or '.join(INPUTS)}")
    if not names:
        raise BitquantError("name what to audit: a library, all, or my_module:my_function; --list lists the libraries")
    if any(":" in name for name in names):
        _known(conversion, codes, is_quantizer)
    sys.path.insert(0, os.getcwd())  # where the caller's own modules are
    shared = {} if data is None else {"data": _numbers(data)}
    every = [row.name for row in adapters()]
    asked = dict.fromkeys(name for given in names for name in (every if given == "all" else [given]))
    found = []
    for name in asked:
        own = ":" in name
        given = {**(conversion if own else {}), **shared, "inputs": inputs}
        work = Work(name, given, {**(codes if own else {}), **shared}, is_quantizer, only)
        if work.adapter().missing() is None and not work.cases() and len(asked) == 1:
            raise BitquantError(f"{name} has no case that is called {only}")
        found.append(work)
    missing = [work.adapter().missing() for work in found]
    if all(missing):
        raise BitquantError(f"nothing can be audited: {missing[0]}")
    return found


def audit(
    asked: list[Work], limit: float, total: float, json: Path | None, junit: Path | None, force: bool, full: bool
) -> bool:
    """Run the audits and print what was found; return whether all that was asked is identical."""
    for path in (json, junit):
        if path is not None and str(path) != "-":
            check_place(path, force)
    quiet = "-" in (str(json), str(junit))
    screen = Screen()
    found = []
    with _progress() as told:
        for outcome in run(asked, limit, total, told):
            found.append(outcome)
            if not quiet:
                _show(screen, outcome, full or (len(asked) == 1 and ":" in asked[0].name))
    for path, write in ((json, to_json), (junit, to_junit)):
        if path is not None:
            _write(path, write(found), force)
    if not quiet:
        _totals(screen, found)
    # A library that is not here is no difference; a case for which there was no time may be one.
    return all(outcome.status == "identical" or not outcome.case for outcome in found)


def _known(conversion: dict[str, Any], codes: dict[str, Any], is_quantizer: bool) -> None:
    """Refuse unknown names here: in the process of an audit they would be what became of the case."""
    format(conversion["source"])
    if is_quantizer:
        if "against" in codes:
            quantizer(codes["against"])
        return
    format(conversion["target"])
    if "dialect" in conversion:
        dialect(conversion["dialect"])


def _numbers(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BitquantError(f"{path} cannot be read as a .npy file ({error}): give one array of numbers") from error


def _show(screen: Screen, outcome: Outcome, full: bool) -> None:
    if full and outcome.text:
        screen.line((f"{outcome.adapter}: {outcome.case}" if ":" not in outcome.adapter else outcome.case, "bold"))
        for line in outcome.text.splitlines():
            screen.line(line)
        screen.line("")
        return
    words = outcome.report.get("verdict", outcome.why)
    if outcome.status == "differs" and outcome.report["dialects"]:
        words += f"; it is the rule of {', '.join(outcome.report['dialects'])}"
    name = f"{outcome.adapter}: {outcome.case}" if outcome.case else outcome.adapter
    screen.line((outcome.status.ljust(9), _STYLES.get(outcome.status, "bold red")), f"  {name}: {words}")


def _totals(screen: Screen, found: list[Outcome]) -> None:
    if len(found) < 2:
        return
    counts = Counter(outcome.status for outcome in found)
    parts = [f"{counts[status]:,} {status}" for status in STATUSES if counts[status]]
    seconds = sum(outcome.seconds for outcome in found)
    screen.line((f"{len(found):,} cases", "bold"), f": {', '.join(parts)}; {seconds:.0f} s")


def _write(path: Path, text: str, force: bool) -> None:
    if str(path) == "-":
        print(text)
        return
    with replaced(path, force) as file:
        file.write(text.encode())


@contextmanager
def _progress() -> Iterator[Any]:
    """What is being audited, in one line on standard error while that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    console = Console(stderr=True)
    with console.status("") as status:
        yield lambda name, case, done, of: status.update(f"auditing {name} {done + 1}/{of} {case}".replace("[", "\\["))
