"""Builds the kernels; everything else about the project stands in pyproject.toml.

BITQUANT_ARCH=x86-64-v3 (or any ``-march`` value) builds for that one CPU level instead of the run-time
selected variants: for packagers, and for the tests that compare the variants with each other.
"""

import os
import sys
import sysconfig
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = Path("src/bitquant/kernels")


def compile_arguments() -> list[str]:
    """Flags for the kernels: vectorise, keep integers and floats exactly as written, no debug information."""
    if sys.platform == "win32":
        return ["/O2", "/fp:strict"]
    flags = ["-O3", "-g0", "-ffp-contract=off", "-fno-strict-aliasing", "-fno-math-errno", "-fno-trapping-math"]
    if "clang" not in (sysconfig.get_config_var("CC") or "") + os.environ.get("CC", ""):
        # No second, narrower vector loop for what a run of 256 leaves over: a third of the code, never used.
        flags.append("--param=vect-epilogues-nomask=0")
    if sys.platform == "linux":
        flags.append("-fno-asynchronous-unwind-tables")  # nothing unwinds through the kernels: a fiftieth of the wheel
    arch = os.environ.get("BITQUANT_ARCH")
    return [*flags, f"-march={arch}", "-DBITQUANT_ONE_VARIANT"] if arch else flags


def extension(source: Path) -> Extension:
    """One compiled module for each kernel file."""
    return Extension(
        f"bitquant.kernels.{source.stem}",
        [source.as_posix()],
        include_dirs=[numpy.get_include(), KERNELS.as_posix()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")],
        extra_compile_args=compile_arguments(),
        extra_link_args=["-s"] if sys.platform == "linux" else [],
    )


setup(
    ext_modules=cythonize(
        [extension(source) for source in sorted(KERNELS.glob("*.pyx"))],
        language_level=3,
        nthreads=os.cpu_count() or 1,
        compiler_directives={
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "freethreading_compatible": True,
            "embedsignature": True,
            "auto_pickle": False,  # what holds pointers cannot be pickled, and says so without help
            "binding": False,  # plain built-in functions: Cython's own kind takes a tenth of each module
        },
        annotate=bool(os.environ.get("BITQUANT_ANNOTATE")),
    ),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
