"""Which implementation runs for CUDA tensors, without a GPU: kernels, or the reference with one warning."""

import subprocess
import sys
import warnings
from pathlib import Path

import pretend
import pytest
import torch
from gpu.calls import ADDS, CALLS, RELATIVE, SMALL, results, wide
from torch._subclasses.fake_tensor import FakeTensorMode

from fimo_fast.ops import fast_path, torch_cuda
from fimo_fast.testing import assert_same_bits

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
every_call = pytest.mark.parametrize("name", CALLS)


@pytest.fixture
def fresh_warnings(monkeypatch):
    monkeypatch.setattr(torch_cuda, "_warned", set())


def inner(found):
    return [x.inner for x in results(found)]


@every_call
@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
def test_kernels_run_with_one_call(name, dtype, monkeypatch):
    tensors = CALLS[name].tensors(dtype, 0)
    expected = results(CALLS[name].run(*tensors))
    with pretend.device(monkeypatch) as module, warnings.catch_warnings():
        warnings.simplefilter("error")
        found = CALLS[name].run(*pretend.moved(tensors))
    assert module.counts == {CALLS[name].op: 1}
    for ours, theirs in zip(inner(found), expected, strict=True):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize("name", ADDS)
def test_kernels_add_into_out(name, monkeypatch):
    tensors = CALLS[name].tensors(torch.float32, 0)
    alone = CALLS[name].run(*tensors)
    expected = CALLS[name].run(*tensors, out=torch.ones_like(alone))
    out = torch.ones_like(alone)
    with pretend.device(monkeypatch) as module:
        there = pretend.moved(out)
        assert CALLS[name].run(*pretend.moved(tensors), out=there) is there
    assert module.counts == {CALLS[name].op: 1}
    assert_same_bits(out, expected)


@every_call
def test_fake_tensors_stay_on_cuda(name):
    """What torch.compile sees of a call."""
    tensors = CALLS[name].tensors(torch.bfloat16, 0)
    expected = results(CALLS[name].run(*tensors))
    with FakeTensorMode():
        there = [torch.empty(x.shape, dtype=x.dtype, device="cuda") for x in tensors]
        assert not fast_path.direct(*there)
        found = results(CALLS[name].run(*there))
    assert [(x.shape, x.dtype) for x in found] == [(x.shape, x.dtype) for x in expected]
    assert all(x.device == torch.device("cuda", 0) for x in found)


@pytest.mark.parametrize("name", SMALL)
def test_float64_runs_the_reference(name, monkeypatch, fresh_warnings):
    tensors = [wide(x) for x in CALLS[name].tensors(torch.float32, 0)]
    expected = results(CALLS[name].run(*tensors))
    message = f"^fimo_fast.{CALLS[name].op}: no CUDA kernel for float64, running the plain torch reference"
    with pretend.device(monkeypatch) as module, pytest.warns(UserWarning, match=message) as said:
        found = CALLS[name].run(*pretend.moved(tensors))
        CALLS[name].run(*pretend.moved(tensors))
    assert len(said) == 1 and not module.counts
    for ours, theirs in zip(inner(found), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_without_kernels_the_reference_runs_with_one_warning_for_each_op(monkeypatch, fresh_warnings):
    monkeypatch.setattr(pretend.torch_cuda, "CudaKernels", lambda *_: None)  # as in a build without CUDA
    given = {name: CALLS[name].tensors(torch.float32, 0) for name in SMALL}
    expected = {name: results(CALLS[name].run(*tensors)) for name, tensors in given.items()}
    with pretend.device(monkeypatch), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert torch_cuda.kernels is None
        for _ in range(2):
            found = {name: CALLS[name].run(*pretend.moved(tensors)) for name, tensors in given.items()}
    ours = [str(one.message) for one in said if str(one.message).startswith("fimo_fast.")]
    reason = "built without CUDA, running the plain torch reference (slower, and with more memory)"
    assert sorted(ours) == sorted(f"fimo_fast.{CALLS[name].op}: {reason}" for name in SMALL)
    for name, tensors in given.items():
        tolerance = RELATIVE * float(CALLS[name].scale(*map(wide, tensors)))
        for mine, theirs in zip(inner(found[name]), expected[name], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance)


@pytest.mark.slow
def test_a_module_without_cuda_is_imported():
    # tests/test_packaging.py runs the program on a real one.
    here = Path(__file__).parent
    command = [sys.executable, here.parent / "pretend_without_cuda.py", here / "without_cuda.py"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.stdout == "ok\n", done.stderr
