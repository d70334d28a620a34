"""The interactive page that `bitquant lab` serves: bits to click, values to type, a clipping range to drag.

`server.py` answers this machine alone, `api.py` gives the figures, `page/` shows them and computes nothing.
"""

from bitquant.lab.server import Lab

__all__ = ["Lab"]
