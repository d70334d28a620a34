"""Libraries with planted defects: what ``bitquant audit`` can be pointed at."""

import os
import signal
import time

import numpy as np

import bitquant as bq
from bitquant.auditing.adapters import Adapter, Case

PAIR = {"source": "float16", "target": "float8_e5m2"}


def exact(x):
    return bq.convert(x, "float8_e5m2")


def truncated(x):
    """What C programmers write first; NaN stays NaN."""
    codes = x.view(np.uint16)
    return np.where(np.isnan(x), 0x7E, codes >> 8).astype(np.uint8)


def crashing(x):
    print("about to crash", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def leaving(x):
    os._exit(7)


def hanging(x):
    time.sleep(600)


def raising(x):
    raise RuntimeError("not today")


def noisy(x):
    print("a library that talks " * 10_000)
    return exact(x)


CASES = (exact, crashing, truncated, hanging, raising, leaving, noisy)
ADAPTER = Adapter(
    "planted", "planted defects", ("numpy",), lambda: tuple(Case(f.__name__, f, "", options=PAIR) for f in CASES)
)
ABSENT = Adapter("absent", "what nobody has", ("no-such-package-as-this",), lambda: (Case("never", exact),))
SLOW = Adapter(
    "slow", "all hang", ("numpy",), lambda: tuple(Case(f"hanging {k}", hanging, options=PAIR) for k in range(3))
)
NOT_AN_ADAPTER = 3


def to_bfloat16(x):
    return bq.convert(x, "bfloat16")


def quantize(x, step, zero_point):
    """Exactly, by rational arithmetic."""
    return bq.quantize(x, "asymmetric", step=step, zero_point=zero_point, nonfinite="saturate").codes
