"""Audits of whole libraries: each in a process of its own, where it may crash or hang without stopping the others.

# Design:
#
# A. A process for each library, not for each case: importing one may take seconds. The process is told which case comes
#    first, and sends what became of each as it goes.
# B. A process that ends, or that is silent for longer than a case may take, is what became of the case that it was at.
#    The next process goes on after that case.
# C. Processes are spawned, not forked: a forked child has the locks of its parent's threads, and none of the threads.
# D. What crosses the border are strings. A report holds a candidate, and a candidate need not be picklable.
# E. Whatever a library prints goes to a file of its own, of which the end is told when the process dies.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from multiprocessing.connection import Connection
from typing import Any

from bitquant.auditing.adapters import Adapter, Case, adapter, imported
from bitquant.errors import BitquantError

__all__ = ["STATUSES", "Outcome", "Work", "run"]

# What may become of a case.
STATUSES: dict[str, str] = {
    "identical": "every input tried gives what the rule that it is held against gives",
    "differs": "some input gives something else",
    "failed": "it was not audited: an exception outside of the candidate",
    "crashed": "its process ended",
    "hung": "its process was silent for longer than a case may take",
    "unasked": "not asked: something is missing here, or the library's time was up",
}
_SCRIPT = ("setup", "call", "back", "numbers")  # options that are no rules
_WORDS = 2000  # characters of a dead process's output that are told


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes
    ----------
    adapter, case : str
        Which library and which of its cases; the case is empty where the library could not be asked at all.
    status : str
        One of `STATUSES`.
    why : str
        Where there is no report: what happened.
    versions : dict of str to str
        Of the library's packages.
    promise : str
        What the library's documentation says.
    asked : dict of str to str
        The formats and rules that the case was asked with.
    report : dict
        `AuditReport.to_json`, parsed; empty where there is none.
    text, junit : str
        The report as text, and as JUnit XML.
    seconds : float
        How long it took.
    """

    adapter: str
    case: str
    status: str
    why: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    promise: str = ""
    asked: dict[str, str] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    junit: str = ""
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """All but the texts that are made of the rest: what goes into a file."""
        return {name: value for name, value in asdict(self).items() if name not in ("text", "junit")}


@dataclass(frozen=True)
class Work:
    """What a process is asked: which library, or which function, and how its cases are audited.

    Attributes
    ----------
    name : str
        An adapter's name, or ``module:attribute``: an `Adapter`, a function, or a pair of quantize and dequantize.
    conversions, quantizers : dict
        Keyword arguments of `audit` for each conversion, and of `audit_quantizer` for each quantizer. A case's own
        options go before them.
    quantizer : bool
        Whether a function, which does not say so itself, is a quantizer.
    only : str
        A pattern, as file names have them, of the cases that are asked.
    """

    name: str
    conversions: dict[str, Any] = field(default_factory=dict)
    quantizers: dict[str, Any] = field(default_factory=dict)
    quantizer: bool = False
    only: str = "*"

    def adapter(self) -> Adapter:
        """The library; a function is one with one case."""
        if ":" not in self.name:
            return adapter(self.name)
        found = imported(self.name)
        if isinstance(found, Adapter):
            return found
        pair = isinstance(found, tuple) and len(found) == 2 and all(map(callable, found))
        if not (callable(found) or pair):
            raise BitquantError(
                f"{self.name} is a {type(found).__name__}: name a function, a pair of functions, or an Adapter"
            )
        case = Case(self.name.partition(":")[2], found, quantizer=self.quantizer or pair)
        return Adapter(self.name, self.name, (), lambda: (case,))

    def cases(self) -> tuple[Case, ...]:
        """The cases that are asked, in the adapter's order."""
        return tuple(case for case in self.adapter().cases() if fnmatchcase(case.name, self.only))


def run(
    works: Iterable[Work],
    limit: float = 60.0,
    total: float = 300.0,
    progress: Callable[[str, str, int, int], None] | None = None,
) -> Iterator[Outcome]:
    """Audit libraries, one after the other, each in a process of its own.

    Parameters
    ----------
    works : iterable of Work
    limit : float
        Seconds that one case may take.
    total : float
        Seconds that one library may take; what is left of its cases then is not asked.
    progress : callable, optional
        ``progress(adapter, case, done, of)`` before each case.

    Yields
    ------
    Outcome
        Of each case, in order.
    """
    for name, seconds in (("limit", limit), ("total", total)):
        if not seconds > 0:
            raise BitquantError(f"{name}={seconds!r}: give a number of seconds above 0")
    for work in works:
        yield from _library(work, limit, total, progress or (lambda *_: None))


def _library(
    work: Work, limit: float, total: float, progress: Callable[[str, str, int, int], None]
) -> Iterator[Outcome]:
    asked, cases = work.adapter(), work.cases()
    versions, reason = asked.versions(), asked.missing()
    if reason is not None:
        yield Outcome(asked.name, "", "unasked", reason, versions)
        return
    end, done = time.monotonic() + total, 0
    while done < len(cases):
        process = _Process(work, done)
        try:
            while done < len(cases):
                case, start = cases[done], time.monotonic()
                if start >= end:
                    for left in cases[done:]:
                        why = f"the {total:g} s of {asked.name} were up"
                        yield Outcome(asked.name, left.name, "unasked", why, versions, left.promise)
                    return
                progress(asked.name, case.name, done, len(cases))
                found = process.next(min(limit, end - start))
                found.setdefault("seconds", time.monotonic() - start)
                given = {name: str(value) for name, value in case.options.items() if name not in _SCRIPT}
                yield Outcome(asked.name, case.name, versions=versions, promise=case.promise, asked=given, **found)
                done += 1
                if found["status"] in ("crashed", "hung"):
                    break
        finally:
            process.end()


class _Process:
    """A process that audits the cases of one adapter, from one of them on."""

    def __init__(self, work: Work, first: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe(duplex=False)
        with tempfile.NamedTemporaryFile(prefix="bitquant-", suffix=".out", delete=False) as out:
            self._out = out.name
        self._process = context.Process(target=_serve, args=(theirs, work, first, self._out), daemon=True)
        self._process.start()
        theirs.close()

    def next(self, seconds: float) -> dict[str, Any]:
        """What became of the next case: the fields of an Outcome."""
        try:
            if self._ours.poll(seconds):
                return dict(self._ours.recv())
        except EOFError:
            self._process.join(1)
            code = self._process.exitcode
            if code is not None and code < 0:
                how = f"its process was ended by {signal.Signals(-code).name}"
            else:
                how = f"its process ended with status {code}"
            said = self._said()
            return {"status": "crashed", "why": f"{how}: {said}" if said else how}
        return {"status": "hung", "why": f"no answer within {seconds:.0f} s"}

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._ours.close()
        with contextlib.suppress(OSError):
            os.unlink(self._out)

    def _said(self) -> str:
        with open(self._out, "rb") as file:
            return file.read()[-_WORDS:].decode(errors="replace").strip()


def _serve(connection: Connection, work: Work, first: int, out: str) -> None:
    """In the other process: audit cases and send what became of each."""
    with open(out, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    asked = work.adapter()
    for case in work.cases()[first:]:
        start = time.monotonic()
        try:
            found = _audited(case, work, asked)
        except Exception as error:
            print(traceback.format_exc(), file=sys.stderr)
            found = {"status": "failed", "why": f"{type(error).__name__}: {error}"}
        connection.send({**found, "seconds": time.monotonic() - start})


def _audited(case: Case, work: Work, asked: Adapter) -> dict[str, Any]:
    from bitquant.auditing.conversion import audit
    from bitquant.auditing.quantizers import audit_quantizer

    ask: Any = audit_quantizer if case.quantizer else audit
    options = work.quantizers if case.quantizer else work.conversions
    title = f"{asked.name}: {case.name}"
    report = ask(case.candidate, name=title, versions=asked.versions(), **{**options, **case.options})
    return {
        "status": "identical" if report.identical else "differs",
        "report": json.loads(report.to_json()),
        "text": str(report),
        "junit": report.to_junit(),
    }
