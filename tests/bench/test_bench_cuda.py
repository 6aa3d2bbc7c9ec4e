"""``fimo-fast bench --device cuda``: floors, clocks, predictions and the whole command, on a pretended device."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import pretend
import pretend_cuda
import pytest
import torch
from test_bench_cases import SMALL
from test_bench_command import run, tiny  # noqa: F401  (a fixture)
from test_bench_timing import make

from fimo_fast import bench, ops
from fimo_fast.bench import clock, command, peak, predictions, table
from fimo_fast.bench.baselines import peers, torch_sketches
from fimo_fast.bench.case import Unavailable
from fimo_fast.bench.measured import Entry, Result
from fimo_fast.bench.operations import outer, overhead, project, scores
from fimo_fast.bench.results import available_memory, document, reason_to_skip
from fimo_fast.bench.timing import measure, names

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
F32, F64, BF16, F16, INT8 = torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8
KNOWN = {"read": 3e12, "SGEMM": 50e12, "TF32 GEMM": 400e12, "bfloat16 GEMM": 800e12, "int8 GEMM": 1500e12}


@pytest.fixture
def pretended(monkeypatch):
    flushed = clock._flushed
    with pretend_cuda.cuda(monkeypatch):
        yield
    flushed.cache_clear()


@pytest.fixture
def small_buffers(monkeypatch):
    """Roofs and caches of a size that the CPU is done with in milliseconds."""
    monkeypatch.setattr(peak, "_SIDE_CUDA", 64)
    monkeypatch.setattr(peak, "_SIDE_TENSOR_CORES", 32)
    monkeypatch.setattr(peak, "_READ", {"cpu": 2**12, "cuda": 2**12})
    monkeypatch.setattr(clock, "flushed_bytes", lambda device: 4096)


# --- Floors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "on_cpu", "on_cuda", "side"),
    [
        (F32, "SGEMM", "SGEMM", 4096),
        (F64, "DGEMM", "DGEMM", 4096),
        (BF16, "SGEMM", "bfloat16 GEMM", 8192),
        (F16, "SGEMM", "float16 GEMM", 8192),
        (INT8, "SGEMM", "int8 GEMM", 8192),
    ],
)
def test_the_product_has_the_type_of_the_case(dtype, on_cpu, on_cuda, side):
    assert peak.product_name(dtype, CPU) == on_cpu and peak.product_name(dtype, CUDA) == on_cuda
    assert peak.gemm_operations(dtype, CUDA) == 2 * side**3
    assert peak.gemm_operations(dtype, CPU) == 2 * 1024**3


@pytest.mark.parametrize("dtype", [F32, F64, BF16, F16, INT8])
def test_products_are_made_in_that_type(dtype, pretended, small_buffers):
    result = peak.gemm(dtype, CUDA)()
    assert result.dtype == (torch.int32 if dtype == INT8 else dtype)
    assert result.shape == ((64, 64) if dtype in (F32, F64) else (32, 32))


def test_a_missing_integer_product_leaves_its_floor_out(pretended, small_buffers, monkeypatch):
    def refuse(*_):
        raise RuntimeError("self.size(0) needs to be greater than 16\nat here")

    monkeypatch.setattr(torch, "_int_mm", refuse)
    found = peak.peak_rates(CUDA, 1, lambda *_: 1e-3)
    assert "int8 GEMM" not in found and "bfloat16 GEMM" in found
    result = measure(scores.scores_case(3, 50, 8, INT8), CUDA, 1, known=found, seconds=1e-9)
    assert result.missing["sgemm"] == "torch._int_mm: self.size(0) needs to be greater than 16"
    assert result.bound == "read" and result.product_rate is None and not result.disturbed


def test_peak_rates_of_a_device(pretended, small_buffers):
    times = {"read": 4.0, "copy": 2.0}
    order = ["read", "SGEMM", "copy", "TF32 GEMM", "bfloat16 GEMM", "float16 GEMM", "int8 GEMM"]
    calls = []
    precisions = []

    def time_call(call, device, threads):
        call()
        precisions.append(torch.get_float32_matmul_precision())
        calls.append(call)
        return times.get(order[(len(calls) - 1) % len(order)], 1.0)

    found = peak.peak_rates(CUDA, 1, time_call)
    assert list(found) == [name for name in order if name != "copy"] and len(calls) == 15 * len(order)
    # A copy moves its bytes twice: 2 x 2^14 in 2 s against 2^14 in 4 s.
    assert found["read"] == 2**14
    assert found["SGEMM"] == found["TF32 GEMM"] == 2 * 64**3 and found["int8 GEMM"] == 2 * 32**3
    assert set(precisions) == {"highest"}  # TF32 only inside its own call


def result_of(case, times, known=KNOWN):
    entries = [Entry(role, role, lambda: None, 1, rounds=[t, 2 * t]) for role, t in times.items()]
    return Result(case, 1, 4000, entries, {}, known, CUDA)


def test_the_floor_is_the_longer_of_reading_and_products():
    operations = peak.gemm_operations(F32, CUDA)
    # 3e9 bytes at 3e12 a second: 1 ms. The product of as many operations took 2 ms. The CPU's floor does not matter.
    case = make("read", moved=3 * 10**9, operations=operations)
    result = result_of(case, {"kernel": 4e-3, "sgemm": 2e-3})
    assert (result.bound, result.floor) == ("sgemm", 2e-3) and result.of_floor == pytest.approx(0.5)
    result = result_of(case, {"kernel": 4e-3, "sgemm": 0.5e-3})
    assert result.bound == "read" and result.of_floor == pytest.approx(0.25)
    assert result_of(case, {"kernel": 4e-3, "sgemm": 2e-3, "gemm": 1.5e-3}).floor == 1.5e-3
    assert result_of(make("call"), {"kernel": 4e-3}).floor is None
    half = result_of(case, {"kernel": 4e-3, "sgemm": 2 * operations / KNOWN["SGEMM"]})
    assert half.disturbed and not result_of(case, {"kernel": 4e-3, "sgemm": 1e-6}).disturbed


# --- Clocks ---------------------------------------------------------------------------------------


def test_each_call_is_timed_for_itself_after_the_cache_was_flushed(pretended, monkeypatch):
    order = []

    class Recorded(pretend_cuda.Event):
        def record(self):
            order.append("event")
            super().record()

    monkeypatch.setattr(torch.cuda, "Event", Recorded)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: order.append("wait"))
    monkeypatch.setattr(clock, "_flushed", lambda device: SimpleNamespace(zero_=lambda: order.append("flush")))
    assert clock.time_call(lambda: order.append("call"), CUDA, 1, 2) > 0
    once = ["flush", "event", "call", "event"]
    assert order == ["wait", *once, *once, "wait"]


def test_more_than_the_cache_is_flushed(pretended, monkeypatch):
    assert clock.flushed_bytes(CUDA) == 2**28 > 2 * pretend_cuda.CACHE
    huge = SimpleNamespace(L2_cache_size=2**28)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: huge)
    assert clock.flushed_bytes(CUDA) == 2**30
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace())
    assert clock.flushed_bytes(CUDA) == 2**28


def test_the_cost_of_a_call_is_the_hosts(pretended, small_buffers, monkeypatch):
    def fail(*_):
        raise AssertionError("events time the device")

    monkeypatch.setattr(clock, "_by_events", fail)
    result = measure(dataclasses.replace(make("call"), baselines={}), CUDA, 1, known=KNOWN, seconds=1e-9)
    assert result.seconds > 0 and [e.name for e in result.entries] == ["kernel"]


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


def test_a_baseline_that_does_not_fit_is_named_and_the_kernel_must(pretended, small_buffers):
    def too_large(inputs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmore")

    def fails(inputs):
        return lambda: too_large(inputs)

    baselines = {"prepared": bench.case.Baseline("torch", too_large), "called": bench.case.Baseline("torch", fails)}
    result = measure(make(baselines=baselines), CUDA, 1, known=KNOWN, seconds=1e-9)
    words = "CUDA out of memory. Tried to allocate 9 GiB"
    assert result.missing == {"prepared": words, "called": words}
    with pytest.raises(RuntimeError, match="out of memory"):  # on a CPU it is a mistake of ours
        measure(make(baselines=baselines), CPU, 1, seconds=1e-9)
    with pytest.raises(RuntimeError, match="out of memory"):
        measure(make(kernel=too_large), CUDA, 1, known=KNOWN, seconds=1e-9)


def test_inputs_are_given_back(small_buffers):
    result = measure(make(), CPU, 1, seconds=1e-9)
    assert all(entry.call() is None for entry in result.entries)


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


# --- Predictions ----------------------------------------------------------------------------------


def write(path, cases, device="H100 SXM"):
    path.write_text(json.dumps({"device": device, "cases": cases}))
    return path


ONE = {"seconds": 1e-3, "floor_seconds": 8e-4, "bound": "memory"}


def test_predictions_are_read(tmp_path):
    found = predictions.read(write(tmp_path / "one.json", {"a": ONE}))
    assert found.device == "H100 SXM" and found.cases["a"] == predictions.Prediction(1e-3, 8e-4, "memory")
    assert predictions.read(tmp_path / "none.json") == predictions.Predictions()


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"cases": {}},
        {"device": "H100", "cases": {"a": {}}},
        {"device": "H100", "cases": {"a": {**ONE, "seconds": 0}}},
    ],
)
def test_predictions_of_another_form_are_refused(content, tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"one\.json: .*expected"):
        predictions.read(tmp_path / "one.json")


def test_predictions_are_of_cases_that_exist():
    known = {str(c) for name, op in bench.OPERATIONS.items() for c in bench.cases(name, op.supported, full=True)}
    known |= {str(c) for name, op in bench.OPERATIONS.items() for c in bench.cases(name, op.supported)}
    assert predictions.read().cases.keys() <= known


def measured_and_predicted(cases, predicted):
    results = [result_of(case, {"kernel": 2e-3, "sgemm": 1e-3, "read": 1e-3}) for case in cases]
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
    assert "Predicted times are missing" in "\n".join(table.notes(results))


# --- The command ----------------------------------------------------------------------------------


def test_the_whole_command(tiny, pretended, small_buffers, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(command, "peak_rates", peak.peak_rates)
    case = next(iter(bench.cases("outer_dot")))
    monkeypatch.setattr(
        command, "read_predictions", lambda: predictions.read(write(tmp_path / "one.json", {str(case): ONE}))
    )
    files = [tmp_path / name for name in ("run.json", "roof.png", "table.md")]
    options = ("--device", "cuda", "--json", files[0], "--figure", files[1], "--markdown", files[2])
    done, output = run(*options)
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


def test_float32_products_are_without_tf32_during_the_run(tiny, pretended, small_buffers, monkeypatch):  # noqa: F811
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


def test_a_build_without_cuda_is_refused(tiny, pretended, monkeypatch):  # noqa: F811
    monkeypatch.setattr(command, "build_info", lambda: {"cuda": False})
    done, output = run("--device", "cuda")
    assert done.exit_code == 2 and "--device: expected fimo_fast built with CUDA, got a build without" in output


def test_an_error_of_the_device_in_one_case_leaves_the_others(tiny, pretended, small_buffers, tmp_path, monkeypatch):  # noqa: F811
    def fails(grads, sketch):
        if isinstance(sketch, project.SRHT):
            raise RuntimeError("kernel launch: cudaErrorInvalidValue")
        return ops.project(grads, sketch)

    monkeypatch.setattr(project, "project", fails)
    done, _ = run("--device", "cuda", "--op", "project", "--json", tmp_path / "run.json")
    results = json.loads((tmp_path / "run.json").read_text())
    assert done.exit_code == 1 and list(results["wrong"].values()) == ["kernel launch: cudaErrorInvalidValue"]
    assert len(results["cases"]) == len(project.KINDS) - 1
