"""Audits: which rule somebody else's conversion or quantizer follows, and where it differs.

`audit` is for conversions, `audit_quantizer` for quantizers; `AuditReport` is what they found.
"""

from bitquant.auditing.conversion import audit
from bitquant.auditing.quantizers import audit_quantizer
from bitquant.auditing.report import AuditReport, Example, Nearest
from bitquant.auditing.staircase import Staircase, staircase

__all__ = ["AuditReport", "Example", "Nearest", "Staircase", "audit", "audit_quantizer", "staircase"]
