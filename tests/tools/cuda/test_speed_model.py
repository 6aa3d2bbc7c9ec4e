"""The speed model: its predictions are of cases, and its functions of kernels, that exist."""

import re

from fimo_fast import bench
from fimo_fast.bench import predictions
from tools.cuda.speed_model.predict import JSON
from tools.cuda.speed_model.works import WORKS

from runners import ROOT  # isort: skip  (of tests/cuda, which tools.cuda makes importable)


def test_predictions_are_of_cases_that_exist():
    known = {str(c) for name, op in bench.OPERATIONS.items() for c in bench.cases(name, op.supported, full=True)}
    known |= {str(c) for name, op in bench.OPERATIONS.items() for c in bench.cases(name, op.supported)}
    found = predictions.read(JSON)
    assert found.device == "H100 SXM" and found.cases and found.cases.keys() <= known


def test_kernels_of_the_model_exist():
    sources = [file.read_text() for file in (ROOT / "csrc" / "cuda").rglob("*.cuh")]
    names = set(re.findall(r"\b\w+_kernel\b", "\n".join(sources)))
    assert len(WORKS) > 30 and not (gone := WORKS.keys() - names), gone
