"""The README's example runs as written, and says what it prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs_as_written():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) == 12
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cosine, ceiling = (float(x) for x in re.findall(r"cosine (\S+), ceiling (\S+);", done.stdout)[0])
    assert cosine > 0.9 and ceiling > 0.9  # what the README promises of it


@pytest.mark.packages
def test_the_examples_of_gradients_run_as_written():
    pytest.importorskip("transformers")
    found = re.findall(r"```python\n(.*?)```", (README.parent / "docs/gradients.md").read_text(), re.DOTALL)
    assert len(found) == 3
    for code in found:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "check" not in code or re.search("^ok: largest error at", done.stdout, re.MULTILINE)


def test_relative_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README.read_text())
    assert links
    missing = [link for link in links if not (README.parent / link).exists()]
    assert not missing


ROOT = README.parent
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*/*/README.md"))]


def exists(name):
    """Whether a path is one of the project's, from its root or, for short, from any folder; ``<op>`` is any name."""
    pattern = re.sub(r"<\w+>", "*", name)
    return any(ROOT.glob(pattern)) or any(path for folder in FOLDERS for path in (ROOT / folder).rglob(pattern))


FOLDERS = ("fimo_fast", "csrc", "tests", "benchmarks", "tools", "cmake")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_that_is_named_exists(document):
    names = set(re.findall(r"`([\w<>*./-]+\.(?:py|cpp|cuh?|h|md|toml|txt|sh|cmake))`", document.read_text()))
    made = {"run.json", "roofline.png", "table.md", "memory.md", "gradients.md", "FOLDER/report.md"}
    assert not sorted(name for name in names - made if not exists(name))
