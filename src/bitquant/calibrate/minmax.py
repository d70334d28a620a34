"""The range from the least to the greatest number."""

from __future__ import annotations

from collections.abc import Iterable

from bitquant.calibrate.channels import Numbered, Pair, Target


def ranges(channels: Iterable[Numbered], target: Target) -> list[Pair]:
    """The range of each channel; the symmetric scheme makes it symmetric afterwards."""
    return [(channel.low, channel.high) for channel in channels]


__all__ = ["ranges"]
