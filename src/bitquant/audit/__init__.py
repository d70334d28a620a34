"""Audits: which rule somebody else's conversion follows, and where it differs."""

from bitquant.audit.report import AuditReport, Example, Nearest

__all__ = ["AuditReport", "Example", "Nearest"]
