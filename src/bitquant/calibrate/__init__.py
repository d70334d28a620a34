"""Calibration: ranges, and with them scales and zero points, from numbers; one file per method."""

from bitquant.calibrate.calibration import Calibration
from bitquant.calibrate.certificate import Certificate
from bitquant.calibrate.front import METHODS, calibrate
from bitquant.calibrate.observer import Observer

__all__ = ["METHODS", "Calibration", "Certificate", "Observer", "calibrate"]
