"""The command line, in small: files, their contents, and errors a person can act on."""

import dataclasses
import json
import re

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from fimo_fast import FurtherTrainingResult, experiments, methods
from fimo_fast.cli import app
from fimo_fast.evaluate import agreement

METHODS = {*methods.METHODS, "UnrolledDerivative", "UnrolledResponse"}


def shrink(task, left_out=6, queries=5):
    few = tuple(part[:queries] for part in task.queries)
    images = task.images and (task.images[0], task.images[1][:queries])
    return dataclasses.replace(task, queries=few, left_out=task.left_out[:left_out], images=images)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A demo of minutes made one of seconds: fewer queries and left-out examples, the rest as it is."""
    out = tmp_path_factory.mktemp("demo") / "new folder"
    originals = experiments.diabetes, experiments.digits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "diabetes", lambda epochs, seeds: shrink(originals[0](epochs=2, seeds=2)))
        patch.setattr(experiments, "digits", lambda epochs, seeds: shrink(originals[1](epochs=1, seeds=2)))
        done = CliRunner().invoke(app, ["demo", "--out", str(out), "--quick"])
    assert done.exit_code == 0, done.output
    return out, done.output


def test_files(demo):
    out, _ = demo
    assert {p.name for p in out.iterdir()} == {
        "report.html", "results.json", "agreement.png", "agreement_diabetes.png", "agreement_digits.png",
        "gallery_digits.png", "diabetes.oracle.safetensors", "diabetes.scores.safetensors",
        "digits.oracle.safetensors", "digits.scores.safetensors",
    }  # fmt: skip


def test_results_json(demo):
    results = json.loads((demo[0] / "results.json").read_text())
    assert [e["name"] for e in results["experiments"]] == ["diabetes", "digits"]
    for entry in results["experiments"]:
        epochs = len(entry["epochs"])
        assert (entry["n_queries"], entry["left_out"], entry["seeds"]) == (5, 6, 2)
        assert len(entry["reliability"]) == epochs
        assert entry["oracle"]["seconds"] > 0 and entry["oracle"]["run_epochs_per_second"] > 0
        assert set(entry["methods"]) == METHODS
        for method in entry["methods"].values():
            assert len(method["cosine"]) == len(method["spearman"]) == epochs and method["seconds"] > 0
            assert all(-1 <= value <= 1 for value in method["cosine"])


def test_numbers_follow_from_the_saved_effects_and_scores(demo):
    out, _ = demo
    (entry,) = [e for e in json.loads((out / "results.json").read_text())["experiments"] if e["name"] == "digits"]
    result = FurtherTrainingResult.load(out / "digits.oracle.safetensors")
    scores = load_file(out / "digits.scores.safetensors")
    found = agreement(scores["GradDot"], result)
    assert found.cosine.tolist() == pytest.approx(entry["methods"]["GradDot"]["cosine"], abs=1e-6)
    assert result.reliability.tolist() == pytest.approx(entry["reliability"])
    own = agreement(scores["UnrolledDerivative, own seeds"], result, result.left_out)
    assert own.cosine.tolist() == pytest.approx(entry["methods"]["UnrolledDerivative"]["own_seeds"]["cosine"], abs=1e-6)


def test_the_table_and_the_progress_are_shown(demo):
    _, output = demo
    assert "Unrolled derivative" in output and "Ceiling" in output and "report.html" in output
    assert re.search(r"100%.*left", output)


def test_the_report_needs_no_network(demo):
    page = (demo[0] / "report.html").read_text()
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?https?:", page)


def test_info_and_help():
    assert "isa" in CliRunner().invoke(app, ["info"]).output
    assert "reproduce" in CliRunner().invoke(app, ["--help"]).output


def test_errors_name_what_is_wrong(tmp_path):
    run = CliRunner().invoke
    missing = run(app, ["reproduce", "concrete", "--data", str(tmp_path / "no.csv"), "--out", str(tmp_path)])
    assert missing.exit_code == 2 and "does not exist" in re.sub(r"[\s│]+", " ", missing.output)
    (tmp_path / "bad.csv").write_text("1,2\n3,4\n")
    bad = run(app, ["reproduce", "concrete", "--data", str(tmp_path / "bad.csv"), "--out", str(tmp_path)])
    assert bad.exit_code == 2 and "expected 1030 rows" in re.sub(r"[\s│]+", " ", bad.output)
    assert run(app, ["reproduce", "fico", "--data", str(tmp_path / "bad.csv"), "--out", str(tmp_path)]).exit_code == 2
    assert not list(tmp_path.glob("*.json"))
