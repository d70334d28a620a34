"""`cimport bitquant`: a real extension, compiled against the package and run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import bitquant as bq

pytest.importorskip("Cython", reason="Cython is not installed")

EXTENSION = """
# cython: language_level=3
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cimport bitquant
import bitquant as bq

cdef bitquant.Pipeline to_bfloat16 = bq.converter("float32", "bfloat16")
cdef bitquant.Pipeline to_e4m3 = bq.converter("float32", "float8_e4m3fn", rounding="toward_zero", flags=True)
cdef bitquant.Pipeline to_int8 = bq.converter("float32", "int8")


def array(const uint32_t[::1] source, uint16_t[::1] target):
    cdef uint64_t refused
    with nogil:
        refused = to_bfloat16.convert(&source[0], &target[0], source.shape[0], NULL)
    return refused


def with_flags(const uint32_t[::1] source, uint8_t[::1] target, uint8_t[::1] mask):
    with nogil:
        to_e4m3.convert(&source[0], &target[0], source.shape[0], &mask[0])


def one(uint32_t code):
    cdef uint64_t result
    with nogil:
        result = to_bfloat16.convert_one(code)
    return result


def refused(const uint32_t[::1] source, uint8_t[::1] target):
    cdef uint64_t count
    with nogil:
        count = to_int8.convert(&source[0], &target[0], source.shape[0], NULL)
    return count
"""
SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup

setup(ext_modules=cythonize([Extension("user", ["user.pyx"])]))
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """The compiled extension."""
    place = tmp_path_factory.mktemp("cimport")
    (place / "user.pyx").write_text(textwrap.dedent(EXTENSION))
    (place / "setup.py").write_text(SETUP)
    built = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    spec = importlib.util.spec_from_file_location("user", next(place.glob("user.*.so")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_array_is_converted_without_the_gil(user):
    x = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    target = np.empty(x.size, np.uint16)
    assert user.array(x.view(np.uint32), target) == 0
    assert np.array_equal(target, bq.encode(x, "bfloat16"))


def test_one_code_is_converted(user):
    assert user.one(0x3DCCCCCD) == 0x3DCD
    assert user.one(0xFF800000) == 0xFF80


def test_flags_come_with_the_codes(user):
    x = np.float32([1.0, 1.1, 1e9, 1e-9])
    target, mask, flags = np.empty(4, np.uint8), np.empty(4, np.uint8), bq.Flags(record=True)
    user.with_flags(x.view(np.uint32), target, mask)
    assert np.array_equal(target, bq.encode(x, "float8_e4m3fn", rounding="toward_zero", flags=flags))
    assert np.array_equal(mask, flags.mask)


def test_refusals_are_counted(user):
    x = np.float32([1.0, np.nan, 3.0, np.nan])
    assert user.refused(x.view(np.uint32), np.empty(4, np.uint8)) == 2
