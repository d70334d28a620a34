"""The one exception of bitquant. Its sentence names the value, the format and the way out."""


class BitquantError(ValueError):
    """Something that cannot be held, found or done; nothing was silently changed instead."""
