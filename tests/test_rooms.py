"""The room law: a room calls only rooms below it, and the kernels know nothing of ours."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KERNELS = sorted((ROOT / "src" / "bitquant" / "kernels").glob("*.p*x*"))


@pytest.mark.parametrize("source", KERNELS, ids=lambda path: path.name)
def test_a_kernel_imports_only_kernels(source):
    for imported in re.findall(r"^\s*(?:from|c?import)\s+([\w.]+)", source.read_text(), flags=re.MULTILINE):
        assert not imported.startswith("bitquant") or imported.startswith("bitquant.kernels."), imported


def test_there_are_kernels_to_look_at():
    assert {"narrow.pyx", "rounding.pxd", "affine.pyx"} <= {path.name for path in KERNELS}


def test_rooms_call_only_rooms_below_them():
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("import-linter is not installed: pip install 'bitquant[lint]'")
    done = subprocess.run([command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_bitquant_loads_no_extra():
    program = "import sys, bitquant; print([m for m in ('typer', 'rich', 'safetensors', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
