"""Audits: which rule somebody else's conversion follows, and where it differs.

`audit` is for conversions; `AuditReport` is what it found.
"""

from bitquant.audit.conversion import audit
from bitquant.audit.report import AuditReport, Example, Nearest
from bitquant.audit.staircase import Staircase, staircase

__all__ = ["AuditReport", "Example", "Nearest", "Staircase", "audit", "staircase"]
