"""The hardware witness: conversions done by the CPU's own instructions, for tests alone.

`witness.c` is compiled on demand with the C compiler that is found, and loaded through ctypes. Nothing is
assumed: `Witness.absent` says why a function cannot be called (no compiler, another architecture, a CPU
without the instruction), so that a test can skip by that name.

    witness = load(tmp_path)
    if reason := witness.absent("float32_to_float16"):
        pytest.skip(reason)
    witness.float32_to_float16(codes, rounding="toward_zero")
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# MXCSR, Intel SDM volume 1, 10.2.3. Its rounding control counts as the immediate of VCVTPS2PH does.
DEFAULT_MXCSR = 0x1F80  # every exception masked, none raised, nearest even, nothing flushed
DENORMALS_ARE_ZERO = 1 << 6
FLUSH_TO_ZERO = 1 << 15
ROUNDING_CONTROL = {"nearest_even": 0, "toward_negative": 1, "toward_positive": 2, "toward_zero": 3}
FLUSHES = {
    "gradual": 0,
    "flush_input": DENORMALS_ARE_ZERO,
    "flush_output": FLUSH_TO_ZERO,
    "flush": DENORMALS_ARE_ZERO | FLUSH_TO_ZERO,
}
# Bit 1, a denormal operand, is x86's own; bit 2 is division by zero.
EXCEPTIONS = {0: "invalid", 3: "overflow", 4: "underflow", 5: "inexact"}

CONVERSIONS: dict[str, tuple[type[np.generic], type[np.generic]]] = {
    "float32_to_float16": (np.uint32, np.uint16),
    "float16_to_float32": (np.uint16, np.uint32),
    "float32_to_bfloat16": (np.uint32, np.uint16),
    "float32_to_int8": (np.uint32, np.uint8),
    "float64_to_float32": (np.uint64, np.uint32),
    "float32_to_float64": (np.uint32, np.uint64),
}
# Floats and integers of one instruction each, called through `Witness.convert`.
INTEGER_CONVERSIONS: dict[str, tuple[type[np.generic], type[np.generic]]] = {
    name: (np.dtype(f"u{int(source) // 8}").type, np.dtype(f"u{int(target) // 8}").type)
    for real in ("32", "64")
    for kind in ("int", "uint")
    for whole in ("32", "64")
    for name, source, target in (
        (f"float{real}_to_{kind}{whole}", real, whole),
        (f"{kind}{whole}_to_float{real}", whole, real),
    )
}


class WitnessAbsent(RuntimeError):  # noqa: N818 (an absence, not an error)
    """A function of the witness was called that this machine does not have."""


def mxcsr_word(rounding: str = "nearest_even", flush: str = "gradual") -> int:
    """Compose the MXCSR for a rounding and a rule for subnormals, exceptions masked and cleared."""
    return DEFAULT_MXCSR | ROUNDING_CONTROL[rounding] << 13 | FLUSHES[flush]


def load(folder: Path | str) -> Witness:
    """Compile `witness.c` into a folder and load it.

    Parameters
    ----------
    folder
        Where the library goes: a temporary folder.

    Returns
    -------
    Witness
        Always; where there is no compiler, or it fails, every function of it is absent for that reason.
    """
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return Witness(None, "no C compiler: looked for cc, gcc and clang")
    library = Path(folder) / "witness.so"
    source = Path(__file__).with_name("witness.c")
    command = [compiler, "-O2", "-shared", "-fPIC", "-ffp-contract=off", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return Witness(None, f"{compiler} does not compile witness.c: {done.stderr.strip()}")
    return Witness(ctypes.CDLL(str(library)), None)


class Witness:
    """The CPU's conversions of arrays of codes, under an MXCSR of their own.

    Each takes codes as unsigned integers (or floats of the same width, which are viewed so) of any shape, and
    returns codes of that shape. The caller's rounding mode and flush settings neither matter nor change.
    `rounding` is one of the four of x86, the keys of `ROUNDING_CONTROL`; `flush` one of the keys of
    `FLUSHES`, where the instruction obeys it. `out`, a contiguous array, is written in place of a new one.

    Parameters
    ----------
    library
        The compiled `witness.c`, or None.
    reason
        Why there is no library.
    """

    def __init__(self, library: ctypes.CDLL | None, reason: str | None) -> None:
        self._library = library
        self._reason = reason
        if library is None:
            return
        library.witness_absent.argtypes = [ctypes.c_char_p]
        library.witness_absent.restype = ctypes.c_char_p
        if self.absent("mxcsr"):
            return
        library.witness_get_mxcsr.restype = ctypes.c_uint32
        library.witness_set_mxcsr.argtypes = [ctypes.c_uint32]
        library.witness_set_mxcsr.restype = None
        for name in (*CONVERSIONS, *INTEGER_CONVERSIONS):
            function = getattr(library, name)
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32]
            function.restype = ctypes.c_uint32

    def absent(self, function: str) -> str | None:
        """Say why a function ("float32_to_float16", ..., or "mxcsr") cannot be called; None when it can."""
        if self._library is None:
            return self._reason
        reason: bytes | None = self._library.witness_absent(function.encode())
        return None if reason is None else reason.decode()

    def float32_to_float16(
        self, x: Array, rounding: str = "nearest_even", flush: str = "gradual", out: Array | None = None
    ) -> Array:
        """Convert by VCVTPS2PH (F16C). Obeys flush_input, ignores flush_output."""
        return self._convert("float32_to_float16", x, rounding, flush, out)[0]

    def float16_to_float32(self, x: Array, out: Array | None = None) -> Array:
        """Convert by VCVTPH2PS (F16C), exact."""
        return self._convert("float16_to_float32", x, "nearest_even", "gradual", out)[0]

    def float32_to_bfloat16(self, x: Array, out: Array | None = None) -> Array:
        """Convert by VCVTNEPS2BF16 (AVX512-BF16): always nearest even and flush."""
        return self._convert("float32_to_bfloat16", x, "nearest_even", "flush", out)[0]

    def float32_to_int8(
        self, x: Array, rounding: str = "nearest_even", flush: str = "gradual", out: Array | None = None
    ) -> Array:
        """Convert by clamping to [-128, 127] and CVTPS2DQ (AVX2). No witness for NaN, which it makes -128."""
        return self._convert("float32_to_int8", x, rounding, flush, out)[0]

    def float64_to_float32(
        self, x: Array, rounding: str = "nearest_even", flush: str = "gradual", out: Array | None = None
    ) -> Array:
        """Convert by CVTPD2PS (AVX). Its flush_output flushes what is tiny after rounding, exact or not."""
        return self._convert("float64_to_float32", x, rounding, flush, out)[0]

    def float32_to_float64(self, x: Array, flush: str = "gradual", out: Array | None = None) -> Array:
        """Convert by CVTPS2PD (AVX), exact but for DAZ."""
        return self._convert("float32_to_float64", x, "nearest_even", flush, out)[0]

    def convert(self, function: str, x: Array, rounding: str = "nearest_even", flush: str = "gradual") -> Array:
        """Call any conversion by its name; those with integers have no method of their own."""
        return self._convert(function, x, rounding, flush, None)[0]

    def flags(self, function: str, x: Array, rounding: str = "nearest_even", flush: str = "gradual") -> frozenset[str]:
        """Name the exceptions that a conversion of x raises, all elements together.

        Tininess is detected after rounding. Not meaningful for "float32_to_int8", which clamps, and
        "float32_to_bfloat16", which raises none.
        """
        raised = self._convert(function, x, rounding, flush, None)[1]
        return frozenset(name for bit, name in EXCEPTIONS.items() if raised >> bit & 1)

    def get_mxcsr(self) -> int:
        """Read the MXCSR of this thread."""
        return int(self._present("mxcsr").witness_get_mxcsr())

    def set_mxcsr(self, mxcsr: int) -> None:
        """Set the MXCSR of this thread, and leave it so."""
        self._present("mxcsr").witness_set_mxcsr(mxcsr)

    @contextmanager
    def fpu_state(self, rounding: str = "nearest_even", flush: str = "gradual") -> Iterator[None]:
        """Run a block of Python in this thread under a rounding mode and flush setting, then restore.

        Python's and NumPy's own floating-point arithmetic is disturbed inside, which is the purpose: integer
        kernels must not notice. Threads that exist already keep their own state; one started inside inherits.
        """
        before = self.get_mxcsr()
        self.set_mxcsr(mxcsr_word(rounding, flush))
        try:
            yield
        finally:
            self.set_mxcsr(before)

    def _present(self, function: str) -> ctypes.CDLL:
        """Return the library, or refuse when it lacks the function."""
        if (reason := self.absent(function)) is not None or self._library is None:
            raise WitnessAbsent(f"{function}: {reason}")
        return self._library

    def _convert(self, name: str, x: Array, rounding: str, flush: str, out: Array | None) -> tuple[Array, int]:
        """Call a conversion; return the codes and the MXCSR it left behind."""
        library = self._present(name)
        kinds = CONVERSIONS[name] if name in CONVERSIONS else INTEGER_CONVERSIONS[name]
        source, target = (np.dtype(kind) for kind in kinds)
        if x.dtype.itemsize != source.itemsize or not x.dtype.isnative:
            raise TypeError(f"{name} takes native {source} codes, not {x.dtype}")
        x = np.asarray(x, order="C")
        if out is None:
            out = np.empty(x.shape, target)
        elif out.dtype != target or out.shape != x.shape or not out.flags.c_contiguous:
            raise TypeError(f"out must be a contiguous {target} array of shape {x.shape}")
        mxcsr = mxcsr_word(rounding, flush)
        return out, int(getattr(library, name)(x.ctypes.data, out.ctypes.data, x.size, mxcsr))
