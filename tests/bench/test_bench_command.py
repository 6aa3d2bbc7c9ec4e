"""``fimo-fast bench`` on tiny sizes: files, options, errors. No time is looked at."""

import json

import pytest
import torch
from bench_helpers import run

from fimo_fast import build_info, ops
from fimo_fast.bench import OPERATIONS
from fimo_fast.bench.operations import project
from fimo_fast.sketch import SRHT
from fimo_fast.testing import available_isas


def test_all_operations(tiny, tmp_path):
    files = [tmp_path / "new" / name for name in ("run.json", "roof.png", "table.md")]
    done, output = run("--threads", 2, "--json", files[0], "--figure", files[1], "--markdown", files[2])
    assert done.exit_code == 0, done.output
    results = json.loads(files[0].read_text())
    assert list(dict.fromkeys(case["operation"] for case in results["cases"])) == list(OPERATIONS)
    assert results["machine"]["threads"] == 2 and not results["skipped"]
    assert all(
        len(timing["rounds"]) in (3, 6, 9) or timing["role"] in ("read", "sgemm")
        for c in results["cases"]
        for timing in c["timings"]
    )
    assert not [r for c in results["cases"] for r in c["baselines"] if r["kind"] == "peer"]
    # The given peak rates are beaten by what the cases saw; reads of a few bytes say nothing about memory.
    assert results["peaks"]["SGEMM"] > 1e6 and results["peaks"]["read"] == 1e9
    assert files[1].read_bytes().startswith(b"\x89PNG")
    for case in results["cases"]:
        assert case["name"] in output and case["name"] in files[2].read_text()
    assert "1 → 2 threads" in output and "100%" in output


def test_chosen_operation_type_and_instruction_set(tiny, tmp_path):
    options = ("--op", "topk", "--op", "outer_norm2", "--dtype", "float64", "--dtype", "bfloat16")
    done, _ = run(*options, "--isa", "scalar", "--threads", 1, "--json", tmp_path / "run.json")
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "run.json").read_text())
    assert {(c["operation"], c["dtype"]) for c in results["cases"]} == {
        (op, dtype) for op in ("topk", "outer_norm2") for dtype in ("float64", "bfloat16")
    }
    assert results["machine"]["isa"] == "scalar"
    assert build_info()["isa"] == available_isas()[-1]


def test_peers_are_run_or_named_as_missing(tiny, tmp_path):
    done, _ = run("--op", "topk", "--dtype", "float32", "--peers", "--threads", 1, "--json", tmp_path / "run.json")
    assert done.exit_code == 0, done.output
    for case in json.loads((tmp_path / "run.json").read_text())["cases"]:
        ran = {r["name"] for r in case["baselines"] if r["kind"] == "peer"}
        assert len(ran | case["missing"].keys()) == 1


def test_what_does_not_fit_is_skipped_in_words(tiny, tmp_path):
    done, output = run("--op", "project", "--threads", 1, "--memory", 1e-6, "--json", tmp_path / "run.json")
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "run.json").read_text())
    assert results["cases"] == [] and len(results["skipped"]) == len(project.KINDS)
    assert "Skipped: project SRHT 2 x 3000 to 64, float32: needs" in output


def test_a_wrong_kernel_is_named_and_not_timed(tiny, tmp_path, monkeypatch):
    def wrong(grads, sketch):
        return ops.project(grads, sketch) * (1.1 if isinstance(sketch, SRHT) else 1)

    monkeypatch.setattr(project, "project", wrong)
    options = ("--json", tmp_path / "run.json", "--markdown", tmp_path / "table.md")
    done, output = run("--op", "project", "--threads", 1, *options)
    assert done.exit_code == 1 and "the kernel differs from the reference" in output
    results = json.loads((tmp_path / "run.json").read_text())
    assert list(results["wrong"]) == ["project SRHT 2 x 3000 to 64, float32"]
    assert len(results["cases"]) == len(project.KINDS) - 1
    assert "WRONG: project SRHT" in (tmp_path / "table.md").read_text()


def test_where_all_are_wrong_there_is_no_figure(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(project, "project", lambda grads, sketch: 1.1 * ops.project(grads, sketch))
    done, _ = run("--op", "project", "--threads", 1, "--figure", tmp_path / "roof.png")
    assert done.exit_code == 1 and not (tmp_path / "roof.png").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--op", "sum"), "--op: expected one of project, outer_project"),
        (("--dtype", "int7"), "--dtype: expected one of float32"),
        (("--device", "tpu"), "--device: expected cpu or cuda, got 'tpu'"),
        (("--isa", "mmx"), "--isa: expected one of scalar"),
        (("--threads", "0"), "--threads"),
        (("--memory", "0"), "--memory: expected more than 0 GiB, got 0"),
        (("--op", "overhead", "--figure", "roof.png"), "--figure: expected an operation with a floor"),
    ],
)
def test_errors_name_option_expected_and_got(options, words):
    done, output = run(*options)
    assert done.exit_code == 2 and words in output


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_is_refused_where_there_is_none():
    done, output = run("--device", "cuda")
    assert done.exit_code == 2 and "--device: expected a CUDA device that torch can use, got none" in output


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:.*CUDA")
def test_cuda(tiny, tmp_path):
    done, _ = run("--device", "cuda", "--op", "project", "--json", tmp_path / "run.json")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run.json").read_text())["machine"]["device"] == torch.cuda.get_device_name()
