"""benchmarks/quality/ on tiny made-up data: it runs from one command, and its numbers are those of the sketches."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from loading import load_from_root

from fimo_fast.ops import sketch_matrices

ROOT = Path(__file__).resolve().parents[2]


def module(name):
    """A module of benchmarks/quality/."""
    return load_from_root(f"benchmarks.quality.{name}")


def write_data(folder):
    """Pictures of 8 x 8 pixels in sorted classes, and sentences of five words."""
    numbers = np.random.default_rng(0)
    arrays = {}
    for part, size in (("train", 120), ("test", 40)):
        labels = np.sort(numbers.integers(10, size=size))
        pixels = numbers.integers(128, size=(size, 8, 8, 3)) + 12 * labels[:, None, None, None]
        arrays |= {f"x_{part}": pixels.astype(np.uint8), f"y_{part}": labels}
    np.savez(folder / "images.npz", **arrays)
    words = np.array(["good", "bad", "film", "the", "a", "not"])
    for part, size, header in (("train", 120, "sentence\tlabel\n"), ("validation", 40, "")):
        lines = [" ".join(numbers.choice(words, 5)) for _ in range(size)]
        text = "".join(f"{line}\t{int('good' in line)}\n" for line in lines)
        (folder / f"{part}.tsv").write_text(header + text + "\t1\n")  # an empty sentence, to be passed over


@pytest.mark.slow
def test_the_whole_script(tmp_path):
    write_data(tmp_path)
    options = {
        "--cifar": tmp_path / "images.npz",
        "--sst2-train": tmp_path / "train.tsv",
        "--sst2-validation": tmp_path / "validation.tsv",
        "--out": tmp_path / "out",
        "--train": 60,
        "--queries": 5,
    }
    command = [
        sys.executable,
        "-m",
        "benchmarks.quality.run",
        "--quick",
        *(part for pair in options.items() for part in pair),
    ]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True, capture_output=True, timeout=300)
    found = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert found["machine"]["threads"] == 2 and found["machine"]["train"] == 60
    assert list(found["problems"]) == ["CIFAR-10", "SST-2", "layers", "noise"]
    for problem in found["problems"].values():
        signed = [r for r in problem["results"] if not ("Mask" in r["kind"] or "factors" in r["kind"])]
        assert len(signed) >= 6
        for r in problem["results"]:
            assert 0 <= r["recall"] <= r["recall_within"] <= 1 and r["seconds"] > 0
        for r in signed:
            # The error of an unbiased sketch with signs, up to how few pairs there are.
            assert 0.3 < r["error"] * r["sketch_dim"] ** 0.5 < 2.5, r
    table = (tmp_path / "out" / "quality.md").read_text()
    assert "120 examples" in table and "| SRHT | 256 |" in table
    for name in ("quality", "quality-layers"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / "out" / f"{name}.svg").read_text()


def test_measures_against_a_hand_made_case():
    """Scores that are wrong for one example of 60, and scores that are all too large: error, spread, recall by hand."""
    measure, gradients = module("measure"), module("gradients")
    rows = torch.eye(60) * torch.arange(60.0)[:, None]
    truth = measure.Truth(gradients.Gradients("", "", gradients.Rows(rows), gradients.Rows(torch.ones(1, 60))))
    scores = torch.arange(60.0, dtype=torch.float64)[None]
    torch.testing.assert_close(truth.scores, scores)
    wrong = scores.clone()
    wrong[0, 0] = 1000.0  # takes the place of example 50 among the ten best
    _, of_spread, recall, within = truth.compare(wrong)
    assert recall == 0.9 and within == 1
    assert of_spread.item() == pytest.approx(1000**2 / 60 / scores.var(unbiased=False).item())
    relative, _, recall, _ = truth.compare(scores * 1.1)
    assert recall == 1
    # |x| = i, |y| = sqrt(60): an error of i / 10 is 0.1 / sqrt(60), except for the example that is zero.
    assert relative.item() == pytest.approx(0.01 / 60 * 59 / 60)


def test_kinds_called_nested_are():
    """What saves a projection for each size: smaller sketches are the first rows of the largest."""
    nested = [kind for kind in module("kinds").VECTOR if kind.nested]
    assert {kind.name for kind in nested} == {"Rademacher", "Gaussian"}
    for kind in nested:
        large, small = (sketch_matrices.sketch_matrix(kind.make(50, k, 3), 0, 50) * k**0.5 for k in (400, 130))
        torch.testing.assert_close(large[:130], small)


def test_layers_have_the_inner_products_of_their_rows(tmp_path):
    """The same gradients by factors and by torch.func, restricted to the linear layers."""
    problems, gradients = module("problems"), module("gradients")
    write_data(tmp_path)
    trained = problems.sst2(tmp_path / "train.tsv", tmp_path / "validation.tsv", 7, 3, 1, lambda share: None)
    factors = gradients.layers(trained, "layers.")
    names = [name for name in trained.problem.shapes if name.startswith("layers.") and "norms" not in name]
    trained = dataclasses.replace(trained, problem=trained.problem.with_parameters(names))
    rows = gradients.rows(trained, lambda share: None)
    torch.testing.assert_close(
        factors.queries.inner(factors.train), rows.queries.inner(rows.train), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(factors.train.norms(), rows.train.norms(), rtol=1e-4, atol=1e-6)


def test_data_that_is_too_small_is_refused(tmp_path):
    write_data(tmp_path)
    with pytest.raises(ValueError, match="CIFAR-10, CNN: expected at least 100 queries, got 40"):
        module("problems").cifar(tmp_path / "images.npz", 50, 100, 1, lambda share: None)
