"""The rules that chips, libraries and standards follow when they convert numbers, as named rows.

``convert(x, "bfloat16", dialect="x86_avx512bf16")`` converts as VCVTNEPS2BF16 does. A row gives the rules, says where
they are laid down, what they were checked against, and where the real thing differs from any rules.
"""

from bitquant.dialects.lookup import dialect, dialects, rules_of
from bitquant.dialects.row import RULES, Conversion, Dialect, Gap

__all__ = ["RULES", "Conversion", "Dialect", "Gap", "dialect", "dialects", "rules_of"]
