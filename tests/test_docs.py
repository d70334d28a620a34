"""What the documents say is so: their examples run, their generated pages are current."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/semantics.md",
        "docs/vectors.md",
        "docs/lab.md",
        "docs/layer.md",
        "docs/calibration.md",
        "docs/explain.md",
        "docs/audit.md",
        "docs/audit_quantizers.md",
    ],
)
def test_the_examples_run(page):
    failures, tried = doctest.testfile(str(ROOT / page), module_relative=False)
    assert failures == 0
    assert tried or page != "README.md"


def test_the_generated_page_of_formats_is_current():
    done = subprocess.run(
        [sys.executable, ROOT / "tools/make_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_first_two_shell_blocks_of_the_readme_are_one_line_each():
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    assert all(block.count("\n") == 1 for block in blocks[:2])
    assert "bitquant tour" in blocks[0]
    assert "pytest" in blocks[1]


@pytest.mark.parametrize(
    "page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/index.md", "docs/vectors.md"]
)
def test_links_between_the_documents_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert "://" in target or (ROOT / page).parent.joinpath(target).exists(), target
