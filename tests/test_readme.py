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
    assert len(found) == 2
    for code in found:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "check" not in code or re.search("^ok: largest error at", done.stdout, re.MULTILINE)


def test_relative_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README.read_text())
    assert links
    missing = [link for link in links if not (README.parent / link).exists()]
    assert not missing
