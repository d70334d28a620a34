"""Calibration: ranges, and with them scales and zero points, from numbers; one file per method."""

from bitquant.calibrate.calibration import Calibration
from bitquant.calibrate.front import METHODS, calibrate

__all__ = ["METHODS", "Calibration", "calibrate"]
