"""Shared by all tests: the hardware witness, compiled once; the solver; and a hypothesis that draws alike each time."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

import witness as hardware
from bitquant import layouts

pytest.register_assert_rewrite("judging")

settings.register_profile("bitquant", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bitquant")


@pytest.fixture(scope="session")
def witness(tmp_path_factory):
    """Compile and load the CPU's own conversions."""
    return hardware.load(tmp_path_factory.mktemp("witness"))


@pytest.fixture(scope="session")
def proof():
    """The definitions, which need the solver."""
    pytest.importorskip("bitwuzla", reason="bitwuzla, the solver, has no wheel for every platform")
    import proof

    return proof


@pytest.fixture(autouse=True)
def small_shares(monkeypatch):
    """Let threads share arrays of any size that a test can afford."""
    monkeypatch.setattr(layouts, "_THREAD_SHARE", 1 << 16)
