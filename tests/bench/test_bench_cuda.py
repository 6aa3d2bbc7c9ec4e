"""``fimo-fast bench --device cuda`` on a pretended device: what runs there, and the whole command."""

import json
import sys
from types import SimpleNamespace

import pretend
import pretend_cuda
import pytest
import torch
from bench_helpers import PREDICTION, SMALL, run, write_predictions

from fimo_fast import bench, ops
from fimo_fast.bench import command, peak
from fimo_fast.bench.baselines import peers, torch_sketches
from fimo_fast.bench.case import Unavailable
from fimo_fast.bench.operations import overhead, project, scores
from fimo_fast.bench.results import available_memory, reason_to_skip
from fimo_fast.bench.timing import names

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
F32 = torch.float32

# --- What runs ------------------------------------------------------------------------------------


def test_baselines_run_on_their_device_only():
    case = project.case("Rademacher", 2, 3000, 512, F32)
    on_cpu, on_cuda = (set(names(case, True, device)) for device in (CPU, CUDA))
    assert on_cuda - on_cpu == {"TRAK CudaProjector", "dattri CudaProjector"} and on_cpu < on_cuda
    assert "dattri CudaProjector" in names(project.case("SJLT-1", 2, 3000, 512, F32), True, CUDA)
    assert "dattri CudaProjector" not in names(project.case("SJLT-4", 2, 3000, 512, F32), True, CUDA)
    assert "FAISS IndexFlatIP" not in names(scores.topk_case(3, 50, 7, F32), True, CUDA)
    # dattri stores the matrix.
    assert case.needed(True, "cuda") - case.needed(True, "cpu") == 3000 * 512 * 4
    numpy = overhead.case("project", "NumPy", F32)
    assert reason_to_skip(numpy, False, 2**40, 1e9, 1.0, "cuda") == "runs on cpu only"
    assert reason_to_skip(numpy, False, 2**40, 1e9, 1.0) is None


@pytest.mark.parametrize("library", ["trak", "dattri"])
def test_cuda_projectors_of_other_libraries(library, monkeypatch):
    made = {}

    class CudaProjector:
        def __init__(self, **given):
            made.update(given)

        def project(self, grads, model_id):
            return grads @ torch.ones(made[dim], made["proj_dim"])

    dim, module = ("grad_dim", "trak.projectors") if library == "trak" else ("feature_dim", "dattri.func.projection")
    stand_in = SimpleNamespace(CudaProjector=CudaProjector, ProjectionType=lambda kind: f"type {kind}")
    for name in (module, "fast_jl", "sjlt"):
        for part in (name.split(".")[0], name):
            monkeypatch.setitem(sys.modules, part, stand_in)
    make_baseline = peers.trak_cuda_projector if library == "trak" else peers.dattri_cuda_projector
    kind = "normal" if library == "trak" else "sjlt"
    baseline = make_baseline(project.SRHT(30, 16), kind)
    assert baseline.prepare((torch.ones(2, 30),))().shape == (2, 16)
    assert made.pop("device") == CPU
    assert made == {dim: 30, "proj_dim": 16, "seed": 0, "proj_type": f"type {kind}", "max_batch_size": 32}
    monkeypatch.setitem(sys.modules, "fast_jl" if library == "trak" else "sjlt", None)
    with pytest.raises(Unavailable, match="is not installed"):
        baseline.prepare((torch.ones(2, 30),))


def test_memory_is_that_of_the_device(pretended):
    assert available_memory(CUDA) == pretend_cuda.MEMORY // 2 - 2**28


@pytest.mark.parametrize("case", [c for c in SMALL if c.only is None], ids=str)
def test_cases_and_baselines_stay_on_the_device(case, monkeypatch):
    """On tensors that say they are elsewhere: no input, check or expression of torch mixes devices."""
    inputs = case.inputs(CPU)
    with pretend.device(monkeypatch):
        there = pretend.moved(inputs)
        case.checked(there)
        for name, baseline in case.baselines.items():
            if baseline.kind != "peer" and "_int_mm" not in name:
                baseline.prepare(there)()


def test_rows_of_the_hadamard_baseline_go_together_on_cuda(monkeypatch):
    assert torch_sketches._rows_at_once(CPU, 3008) == 1
    assert torch_sketches._rows_at_once(CUDA, 2**26) == 4 and torch_sketches._rows_at_once(CUDA, 2**30) == 1
    grads, sketch, results = torch.randn(5, 3000), project.SRHT(3000, 64), []
    for rows in (1, 2, 5):
        monkeypatch.setattr(torch_sketches, "_rows_at_once", lambda device, numbers, rows=rows: rows)
        torch.manual_seed(1)
        results.append(torch_sketches.srht((grads,), sketch)())
    for together in results[1:]:
        torch.testing.assert_close(together, results[0])


# --- The command ----------------------------------------------------------------------------------


def test_the_whole_command(tiny, pretended, small_buffers, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "peak_rates", peak.peak_rates)
    case = next(iter(bench.cases("outer_dot")))
    predicted = write_predictions(tmp_path / "one.json", {str(case): PREDICTION})
    files = [tmp_path / name for name in ("run.json", "roof.png", "table.md")]
    options = ("--json", files[0], "--figure", files[1], "--markdown", files[2])
    done, output = run("--device", "cuda", "--predictions", predicted, *options)
    assert done.exit_code == 0, done.output
    results = json.loads(files[0].read_text())
    assert list(dict.fromkeys(case["operation"] for case in results["cases"])) == list(bench.OPERATIONS)
    assert results["machine"]["device"] == pretend_cuda.NAME and results["machine"]["cuda"]["capability"] == "9.0"
    assert results["wrong"] == {} and results["predicted_for"] == "H100 SXM"
    assert set(results["skipped"].values()) == {"runs on cpu only"}
    assert [c["name"] for c in results["cases"] if c["predicted"]] == [case.name]
    assert {t["threads"] for c in results["cases"] for t in c["timings"]} == {1}
    # Each type of a case is held against its own product.
    assert {c["product"] for c in results["cases"] if c["operation"] == "topk"} == {
        "SGEMM", "bfloat16 GEMM", "int8 GEMM"
    }  # fmt: skip
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert "predicted for H100 SXM" in files[2].read_text() and "1.00 ms" in output


def test_float32_products_are_without_tf32_during_the_run(tiny, pretended, small_buffers, monkeypatch):
    seen = set()
    measured = command.measure

    def measure(*args, **options):
        seen.add(torch.get_float32_matmul_precision())
        return measured(*args, **options)

    monkeypatch.setattr(command, "measure", measure)
    with peak.matmul_precision("high"):
        done, _ = run("--device", "cuda", "--op", "outer_norm2")
        assert torch.get_float32_matmul_precision() == "high"
    assert done.exit_code == 0 and seen == {"highest"}


def test_a_build_without_cuda_is_refused(tiny, pretended, monkeypatch):
    monkeypatch.setattr(command, "build_info", lambda: {"cuda": False})
    done, output = run("--device", "cuda")
    assert done.exit_code == 2 and "--device: expected fimo_fast built with CUDA, got a build without" in output


def test_an_error_of_the_device_in_one_case_leaves_the_others(tiny, pretended, small_buffers, tmp_path, monkeypatch):
    def fails(grads, sketch):
        if isinstance(sketch, project.SRHT):
            raise RuntimeError("kernel launch: cudaErrorInvalidValue")
        return ops.project(grads, sketch)

    monkeypatch.setattr(project, "project", fails)
    done, _ = run("--device", "cuda", "--op", "project", "--json", tmp_path / "run.json")
    results = json.loads((tmp_path / "run.json").read_text())
    assert done.exit_code == 1 and list(results["wrong"].values()) == ["kernel launch: cudaErrorInvalidValue"]
    assert len(results["cases"]) == len(project.KINDS) - 1
