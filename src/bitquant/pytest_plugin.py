"""A pytest plugin: the fixture `bitquant_audit`, for tests of somebody's conversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def bitquant_audit(record_property: Callable[[str, object], None]) -> Callable[..., Any]:
    """Audit a conversion in a test: fails with the report where it differs, and records the verdict in JUnit's file.

    Takes the arguments of `bitquant.auditing.audit` and returns its report::

        def test_my_cast(bitquant_audit):
            bitquant_audit(my_cast, "float32", "bfloat16", rounding="nearest_even")
    """
    from bitquant.auditing import audit  # loaded when a test asks for it, not when pytest starts

    def check(candidate: Callable[[Any], Any], *arguments: Any, **options: Any) -> Any:
        report = audit(candidate, *arguments, **options)
        record_property("bitquant_verdict", f"{report.title}: {report.verdict}")
        if not report.identical:
            pytest.fail(str(report), pytrace=False)
        return report

    return check
