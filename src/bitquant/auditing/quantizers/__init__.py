"""Audits of quantizers: which rule another one follows, by elimination over rows of formulas."""

from bitquant.auditing.quantizers.auditing import audit_quantizer

__all__ = ["audit_quantizer"]
