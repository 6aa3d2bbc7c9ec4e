"""Predicted times beside measured ones: the file, the columns of the table, and the option."""

import json

import pytest
import torch
from bench_helpers import CUDA, KNOWN, PREDICTION, result_on_cuda, run, write_predictions

from fimo_fast.bench import predictions, table
from fimo_fast.bench.operations import outer
from fimo_fast.bench.results import document

F32, BF16 = torch.float32, torch.bfloat16


def test_predictions_are_read(tmp_path):
    found = predictions.read(write_predictions(tmp_path / "one.json", {"a": PREDICTION}))
    assert found.device == "H100 SXM" and found.cases["a"] == predictions.Prediction(1e-3, 8e-4, "memory")
    with pytest.raises(FileNotFoundError):
        predictions.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    "content",
    [
        "",
        [],
        {"cases": {}},
        {"device": "H100", "cases": {"a": {}}},
        {"device": "H100", "cases": {"a": {**PREDICTION, "seconds": 0}}},
    ],
)
def test_predictions_of_another_form_are_refused(content, tmp_path):
    (tmp_path / "one.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=r"one\.json: .*expected"):
        predictions.read(tmp_path / "one.json")


def measured_and_predicted(cases, predicted):
    results = [result_on_cuda(case, {"kernel": 2e-3, "sgemm": 1e-3, "read": 1e-3}) for case in cases]
    return document(results, {}, KNOWN, CUDA, 1, "fimo-fast bench", {"topk x": "differs\nby 3"}, predicted)


def test_predictions_stand_beside_what_was_measured(pretended):
    cases = [outer.dot_case("MLP", 512, 1, 512, 256, BF16), outer.dot_case("short", 64, 8, 768, 768, BF16)]
    found = predictions.Predictions("H100 SXM", {str(cases[0]): predictions.Prediction(1e-3, 8e-4, "tensor cores")})
    results = measured_and_predicted(cases, found)
    assert json.loads(json.dumps(results, allow_nan=False))["cases"][0]["predicted"]["bound"] == "tensor cores"
    headings = table.headings(results)
    assert headings[-2:] == ["predicted for H100 SXM", "of floor, predicted"]
    first, second = (table.row(case, results) for case in results["cases"])
    assert first[-2:] == ["1.00 ms", "0.80 tensor cores"] and second[-2:] == ["", ""]
    notes = "\n".join(table.notes(results))
    for words in (
        "Pretended H100, compute capability 9.0", "SGEMM 50.0 TFLOP/s", "bfloat16 GEMM 800 TFLOP/s", "without TF32",
        "for an H100 SXM, which need not be this device; no measurement", "WRONG: topk x: differs by 3",
    ):  # fmt: skip
        assert words in notes
    markdown = table.markdown(results)
    assert "| 1.00 ms | 0.80 tensor cores |" in markdown and "predicted for H100 SXM" in markdown


def test_without_predictions_there_is_no_column_and_a_note(pretended):
    results = measured_and_predicted([outer.dot_case("MLP", 512, 1, 512, 256, F32)], predictions.Predictions())
    assert table.headings(results)[-1] == "peers" and len(table.row(results["cases"][0], results)) == 7
    assert "Without predicted times: --predictions names a file of them" in "\n".join(table.notes(results))


def test_the_option_names_its_file(tiny, pretended, tmp_path):
    for path, words in ((tmp_path / "none.json", "No such file or directory"), (tmp_path, "Is a directory")):
        done, output = run("--device", "cuda", "--op", "topk", "--predictions", path)
        assert done.exit_code == 2 and "--predictions: expected a file, got" in output and words in output
    (tmp_path / "one.json").write_text("no JSON")
    done, output = run("--device", "cuda", "--op", "topk", "--predictions", tmp_path / "one.json")
    assert done.exit_code == 2 and "--predictions:" in output and "one.json: expected JSON" in output
    done, output = run("--op", "topk", "--predictions", tmp_path / "one.json")
    assert done.exit_code == 2 and "--predictions: expected nothing without --device cuda, got" in output
