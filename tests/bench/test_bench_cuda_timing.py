"""Floors and clocks of ``fimo-fast bench`` on a pretended CUDA device."""

import dataclasses
from types import SimpleNamespace

import pretend_cuda
import pytest
import torch
from bench_helpers import KNOWN, make, result_on_cuda

from fimo_fast import bench
from fimo_fast.bench import clock, peak
from fimo_fast.bench.operations import scores
from fimo_fast.bench.timing import measure

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
F32, F64, BF16, F16, INT8 = torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8

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


def test_the_floor_is_the_longer_of_reading_and_products():
    operations = peak.gemm_operations(F32, CUDA)
    # 3e9 bytes at 3e12 a second: 1 ms. The product of as many operations took 2 ms. The CPU's floor does not matter.
    case = make("read", moved=3 * 10**9, operations=operations)
    result = result_on_cuda(case, {"kernel": 4e-3, "sgemm": 2e-3})
    assert (result.bound, result.floor) == ("sgemm", 2e-3) and result.of_floor == pytest.approx(0.5)
    result = result_on_cuda(case, {"kernel": 4e-3, "sgemm": 0.5e-3})
    assert result.bound == "read" and result.of_floor == pytest.approx(0.25)
    assert result_on_cuda(case, {"kernel": 4e-3, "sgemm": 2e-3, "gemm": 1.5e-3}).floor == 1.5e-3
    assert result_on_cuda(make("call"), {"kernel": 4e-3}).floor is None
    half = result_on_cuda(case, {"kernel": 4e-3, "sgemm": 2 * operations / KNOWN["SGEMM"]})
    assert half.disturbed and not result_on_cuda(case, {"kernel": 4e-3, "sgemm": 1e-6}).disturbed


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
