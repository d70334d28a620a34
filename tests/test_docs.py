"""What the documents say is so: their examples run, their generated pages are current."""

import ast
import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bitquant import teach

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?:---\n.*?^---\n)?(.*?)^```", re.MULTILINE | re.DOTALL)
LESSONS = sorted((DOCS / "learn").glob("[0-9]*.md"))


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
        "docs/start.md",
        "docs/learn/index.md",
        *sorted(
            f"docs/{page.relative_to(DOCS)}" for room in ("how-to", "explanation") for page in DOCS.glob(f"{room}/*.md")
        ),
        "docs/files.md",
        "docs/inspect.md",
        "docs/model_files.md",
    ],
)
def test_the_examples_run(page, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    failures, tried = doctest.testfile(str(ROOT / page), module_relative=False)
    assert failures == 0
    assert tried or page != "README.md"


@pytest.mark.parametrize("page", LESSONS, ids=lambda page: page.stem)
def test_a_lesson_runs_and_its_answers_pass(page, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot", reason="the lessons draw: pip install 'bitquant[plot]'")
    plt.switch_backend("Agg")
    grades = {}
    check = teach.check

    def remembered(name, function):
        grades[name] = check(name, function, patience=0)  # the part of 2^32 inputs that is sure to be asked
        return grades[name]

    monkeypatch.setattr(teach, "check", remembered)
    namespace = {}
    for cell in CELL.findall(page.read_text()):
        exec(compile(cell, page.name, "exec"), namespace)
        plt.close("all")
    failed = [str(grade) for grade in grades.values() if not grade]
    assert not failed  # the last function of each exercise is the answer
    assert set(grades) == {exercise.name for exercise in teach.exercises(int(page.name[0]))}


def test_every_cell_of_a_lesson_is_found_and_is_python():
    for page in LESSONS:
        cells = CELL.findall(page.read_text())
        assert len(cells) == page.read_text().count("```{code-cell}") > 5
        for cell in cells:
            ast.parse(cell)


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
    "page",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        *sorted(f"docs/{page.relative_to(DOCS)}" for page in DOCS.rglob("*.md")),
    ],
)
def test_links_between_the_documents_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        assert "://" in target or (ROOT / page).parent.joinpath(target).exists(), target
