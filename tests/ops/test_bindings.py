"""The border of the compiled module: what it takes, what it refuses, and that it lets other threads run."""

import ctypes
import json
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from fimo_fast import build_info
from fimo_fast.ops.native import _C
from fimo_fast.ops.registry import OPS
from fimo_fast.testing import available_isas, count_kernel_calls, force_isa


def project(grads, out=None, threads=1, dim=10):
    out = torch.zeros(2, 4) if out is None else out
    _C.project(grads, "rademacher", dim, 4, 0, 0, 0, out, threads)
    return out


GRADS = torch.randn(2, 10)
EXPECTED = project(GRADS)


class OnlyDlpack:
    """An array that offers ``__dlpack__`` and nothing else."""

    def __init__(self, array, versioned):
        self.array, self.versioned = array, versioned

    def __dlpack__(self, **kwargs):
        if not self.versioned and "max_version" in kwargs:
            raise TypeError("unexpected keyword argument 'max_version'")
        return self.array.__dlpack__(**kwargs)


def test_torch_tensors_use_the_exchange_api():
    # A capsule would call __dlpack__ of the (sub)class; the exchange table does not.
    if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
        pytest.skip("this torch has no DLPack exchange API")

    class NoDlpack(torch.Tensor):
        def __dlpack__(self, **kwargs):
            raise AssertionError("the slow path was taken")

    assert torch.equal(project(GRADS.as_subclass(NoDlpack)), EXPECTED)


@pytest.mark.parametrize("versioned", [True, False])
def test_other_arrays_use_capsules(versioned):
    for array in (GRADS, GRADS.numpy()):
        out = torch.zeros(2, 4)
        project(OnlyDlpack(array, versioned), OnlyDlpack(out, versioned))
        assert torch.equal(out, EXPECTED)


def test_capsules_are_released():
    array = GRADS.numpy().copy()
    before = sys.getrefcount(array)
    for _ in range(10):
        project(array)
        with pytest.raises(ValueError):
            project(array, torch.zeros(3, 4))
        with pytest.raises(ValueError):
            project(array.T)
    assert sys.getrefcount(array) == before


def test_fake_tensors_are_refused_not_read():
    with torch._subclasses.FakeTensorMode():
        fake = torch.empty(2, 10)
    with pytest.raises((TypeError, RuntimeError), match="grads: .*without|Fake|fake"):
        _C.project(fake, "rademacher", 10, 4, 0, 0, 0, torch.zeros(2, 4), 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(2, 10, device="meta"),
        lambda: torch.zeros(2, 10).to_sparse(),
        lambda: torch.zeros(2, 10).to_mkldnn(),
    ],
    ids=["meta", "sparse", "mkldnn"],
)
def test_tensors_without_plain_memory_are_refused(make):
    with pytest.raises((RuntimeError, TypeError, BufferError)):
        project(make())


def test_functorch_wrappers_are_refused():
    with pytest.raises((RuntimeError, TypeError, BufferError)):
        torch.func.vmap(lambda x: project(x[None].expand(2, 10)))(torch.zeros(3, 10))


@pytest.mark.parametrize(
    ("grads", "out", "error", "message"),
    [
        (GRADS.int(), None, TypeError, "grads: .*float32.*got int32"),
        (GRADS.to(torch.complex64), None, TypeError, "grads: .*got complex64"),
        (GRADS > 0, None, TypeError, "grads: .*got bool"),
        (GRADS.to(torch.float8_e4m3fn), None, TypeError, "grads: .*got DLPack type code"),
        (GRADS.double(), None, ValueError, "out: expected float64 for float64 grads, got float32"),
        (torch.randn(10, 2).T, None, ValueError, "grads: expected unit stride .*got 2"),
        (GRADS[0], None, ValueError, "grads: expected 2 dimensions, got 1"),
        (torch.randn(2, 11), None, ValueError, "grads: expected at most .*10 columns, got 11"),
        (GRADS, torch.zeros(4, 2).T, ValueError, "out: expected unit stride"),
        (GRADS, torch.zeros(4)[None].expand(2, 4), ValueError, "out: expected rows .*overlap"),
        (GRADS, torch.zeros(2, 5), ValueError, r"out: expected shape \[2, 4\], got \[2, 5\]"),
        (GRADS, GRADS[:, 2:6], ValueError, "out: .*shared with grads"),
        (None, None, TypeError, "grads: expected a torch tensor.*got NoneType"),
        ([[1.0]], None, TypeError, "grads: .*got list"),
    ],
)
def test_refusals(grads, out, error, message):
    with pytest.raises(error, match=message):
        project(grads, out)


def test_read_only_outputs_are_refused_and_read_only_inputs_read():
    array = GRADS.numpy().copy()
    array.flags.writeable = False
    assert torch.equal(project(array), EXPECTED)
    out = np.zeros((2, 4), np.float32)
    out.flags.writeable = False
    with pytest.raises((ValueError, BufferError), match="read-only|readonly"):
        project(GRADS, out)
    assert not out.any()


def test_wrong_numbers_are_refused():
    out = torch.zeros(2, 4)
    for args, message in [
        (("walsh", 10, 4, 0, 0, 0, out, 1), "kind: .*'walsh'"),
        (("mask", 10, 11, 0, 0, 0, torch.zeros(2, 11), 1), "sketch_dim: .*at most input_dim = 10 for a mask, got 11"),
        (("sjlt", 10, 4, 0, 0, 0, out, 1), "nonzeros: .*got 0"),
        (("srht", 10, 4, 0, 2, 0, out, 1), "nonzeros: .*got 2"),
        (("srht", 2**49, 4, 0, 0, 0, out, 1), "input_dim: "),
        (("srht", 10, 4, 0, 0, -1, out, 1), "offset: .*got -1"),
        (("srht", 10, 4, 0, 0, 0, out, 0), "num_threads: .*got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            _C.project(GRADS, *args)
    with pytest.raises(TypeError):
        _C.project(GRADS, "srht", 10, 4, -1, 0, 0, out, 1)


def test_topk_outputs_are_checked():
    queries, features = torch.zeros(2, 3), torch.zeros(5, 3)
    values, indices = torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.int64)
    for bad_values, bad_indices, error, message in [
        (values, indices.int(), TypeError, "indices: expected int64, got int32"),
        (values, indices[:1], ValueError, "indices: .*shape of values"),
        (values, torch.zeros(2, 4, dtype=torch.int64)[:, :2], ValueError, "indices: .*contiguous"),
        (values[:1], indices[:1], ValueError, "values: expected shape"),
        (values.double(), indices, ValueError, "values: expected float32"),
        (indices.view(torch.float32)[:, :2], indices, ValueError, "values: .*shared with indices"),
    ]:
        with pytest.raises(error, match=message):
            _C.topk(queries, features, 2, None, None, bad_values, bad_indices, 1)


def test_the_gil_is_released():
    # About a second of work; a thread that only counts must get on during it.
    grads, out = torch.randn(8, 60000), torch.zeros(8, 8000)
    finished, ticks = threading.Event(), 0

    def work():
        _C.project(grads, "rademacher", 60000, 8000, 0, 0, 0, out, 1)
        finished.set()

    worker = threading.Thread(target=work)
    started = time.perf_counter()
    worker.start()
    while not finished.is_set():
        time.sleep(0.001)
        ticks += 1
    worker.join()
    elapsed = time.perf_counter() - started
    assert elapsed > 0.02 and ticks > 10, (elapsed, ticks)


def test_threads_of_torch_are_left_alone():
    before = torch.get_num_threads()
    project(torch.randn(2, 10), threads=7)
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_one_openmp_runtime_in_the_process():
    code = (
        "import fimo_fast, sys\n"
        "maps = open('/proc/self/maps').read().split()\n"
        "found = {p for p in maps if 'libgomp' in p or 'libiomp' in p or 'libomp' in p}\n"
        "sys.exit(len(found) != 1 and repr(found))\n"
    )
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("needs /proc")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_calls_count_kernels():
    with count_kernel_calls() as calls:
        project(GRADS)
        project(GRADS)
        with pytest.raises(ValueError):
            project(GRADS[0])
    assert calls == dict.fromkeys(OPS, 0) | {"project": 2}
    _C.reset_calls()
    assert set(_C.calls().values()) == {0}


def test_build_info_describes_the_build():
    info = build_info()
    assert json.loads(json.dumps(info)) == info
    assert info["isa"] in info["isas"] and info["isas"][0] == "scalar"
    assert info["version"].count(".") == 2
    if not torch.cuda.is_available():
        assert info["cuda_devices"] == []


def test_force_isa_switches_and_restores():
    before = build_info()["isa"]
    for name in available_isas():
        with force_isa(name):
            assert build_info()["isa"] == name
    assert build_info()["isa"] == before
    with pytest.raises(ValueError, match="isa: expected one of .*scalar.*got 'mmx', which is unknown"):
        _C.set_isa("mmx")
    assert build_info()["isa"] == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scalar", "avx2", "avx512", "neon", "mmx"])
def test_environment_variable_forces_the_isa(name):
    run = subprocess.run(
        [sys.executable, "-c", "import fimo_fast; print(fimo_fast.build_info()['isa'])"],
        env={**os.environ, "FIMO_FAST_ISA": name},
        capture_output=True,
        text=True,
    )
    if name in available_isas():
        assert run.stdout.strip() == name, run.stderr
        return
    problem = "unknown" if name == "mmx" else "not available on this machine"
    message = f"FIMO_FAST_ISA: expected one of scalar.*got '{name}', which is {problem}"
    assert run.returncode != 0 and re.search(message, run.stderr), run.stderr


@pytest.mark.slow
def test_missing_extension_is_one_clear_error():
    code = "import sys; sys.modules['fimo_fast._C'] = None; import fimo_fast.ops"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode != 0
    assert last.startswith("ImportError: fimo_fast is installed without its compiled module"), last
    assert "pip install" in last


def test_denormals_of_the_process_are_untouched():
    assert (torch.tensor(1e-40) * 0.5).item() != 0.0
    assert ctypes.c_float(1e-40).value != 0.0
