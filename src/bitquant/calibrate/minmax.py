"""The range from the least to the greatest number."""

from __future__ import annotations

from bitquant.calibrate.channels import Numbered, Pair, Target


def ranges(channels: Numbered, target: Target) -> list[Pair]:
    """The range of each channel; the symmetric scheme makes it symmetric afterwards."""
    return channels.ranges()


__all__ = ["ranges"]
