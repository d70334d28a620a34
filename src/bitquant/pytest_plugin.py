"""A pytest plugin: the fixtures `bitquant_audit` and `bitquant_audit_quantizer`, for tests of somebody's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Record = Callable[[str, object], None]


@pytest.fixture
def bitquant_audit(record_property: Record) -> Callable[..., Any]:
    """Audit a conversion in a test: fails with the report where it differs, and records the verdict in JUnit's file.

    Takes the arguments of `bitquant.auditing.audit` and returns its report::

        def test_my_cast(bitquant_audit):
            bitquant_audit(my_cast, "float32", "bfloat16", rounding="nearest_even")
    """
    from bitquant.auditing import audit  # loaded when a test asks for it, not when pytest starts

    return _checked(audit, record_property)


@pytest.fixture
def bitquant_audit_quantizer(record_property: Record) -> Callable[..., Any]:
    """Audit a quantizer in a test, as `bitquant_audit` does a conversion.

    Takes the arguments of `bitquant.auditing.audit_quantizer` and returns its report::

        def test_my_quantizer(bitquant_audit_quantizer):
            bitquant_audit_quantizer(my_quantizer, against="onnxruntime")
    """
    from bitquant.auditing import audit_quantizer

    return _checked(audit_quantizer, record_property)


def _checked(audit: Callable[..., Any], record: Record) -> Callable[..., Any]:
    def check(candidate: Any, *arguments: Any, **options: Any) -> Any:
        report = audit(candidate, *arguments, **options)
        record("bitquant_verdict", f"{report.title}: {report.verdict}")
        if not report.identical:
            pytest.fail(str(report), pytrace=False)
        return report

    return check
