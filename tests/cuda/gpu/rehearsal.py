"""A pytest plugin that runs the tests of a GPU on the CPU.

``PYTHONPATH=tests:tests/cuda pytest -p gpu.rehearsal tests/cuda/gpu``

There is no GPU where this project is made, so a mistake in such a test would show when somebody has one and no time.
Here ``torch.cuda`` is pretended (tests/pretend_cuda.py), tensors are the CPU's, the CPU's kernels stand in for those of
CUDA and take a workspace, and a graph runs the ops it has seen again. What is tested is the tests.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pretend_cuda
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fimo_fast.ops import torch_cuda, torch_kernels
from fimo_fast.ops.torch_kernels import OPS

_C = torch_cuda._C
# What the CPU's tensors and kernels do otherwise: they have one device, float64, and raise for a bad index.
CANNOT = (
    "test_float64_runs_the_reference_with_one_warning",
    "test_rows_out_of_range_are_nan",
    "test_devices_are_not_mixed",
    "test_tensors_on_the_cpu_are_not_moved_unasked",
    "test_sixteen_bits[float16]",
)
_patch = pytest.MonkeyPatch()
_stack = contextlib.ExitStack()
_module = pretend_cuda.Module()


def _stand_in(op: str) -> Any:
    """The stand-in of a kernel; for float64, in which tests compute what they expect, the CPU's kernel."""

    def run(*args: Any) -> None:
        wide = any(isinstance(x, torch.Tensor) and x.dtype == torch.float64 for x in args[:2])
        getattr(_C, op)(*args[:-2], 1) if wide else getattr(_module, f"cuda_{op}")(*args)

    return run


class Stream:
    cuda_stream = 0

    def wait_stream(self, other: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass


class Recorder(TorchDispatchMode):
    """Keeps the ops of a block with their tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = op(*args, **(kwargs or {}))
        self.calls.append((op, args, kwargs or {}, result))
        return result


class Graph:
    """Runs what its capture has seen again, into the same results."""

    def __init__(self) -> None:
        self.recorder = Recorder()

    def replay(self) -> None:
        for op, args, kwargs, results in self.recorder.calls:
            again = op(*args, **kwargs)
            for result, value in zip(_listed(results), _listed(again), strict=True):
                result.copy_(value)


def _listed(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


def pytest_configure(config: Any) -> None:
    _stack.enter_context(pretend_cuda.cuda(_patch))
    for op in OPS:
        _patch.setitem(torch_kernels.kernels.compiled, op, _stand_in(op))
    _patch.setattr(torch_kernels.kernels, "_where", lambda x: torch_cuda.kernels._where(x))
    # raising=False: fimo_fast may have been built without CUDA, and then has none of these.
    _patch.setattr(_C, "cuda_calls", lambda: {op: _module.counts[op] for op in OPS}, raising=False)
    for name in ("cuda_max_topk", *(f"cuda_{op}" for op in OPS)):
        _patch.setattr(_C, name, getattr(_module, name), raising=False)
    for name, value in {
        "Stream": Stream,
        "current_stream": lambda device=None: Stream(),
        "stream": lambda stream: contextlib.nullcontext(),
        "CUDAGraph": Graph,
        "graph": lambda graph: graph.recorder,
        "_sleep": lambda cycles: None,
        "set_sync_debug_mode": lambda mode: None,
        "is_bf16_supported": lambda *_: True,
        "mem_get_info": lambda device=None: (2**30, 2**30),  # so that tests of huge tensors are skipped
        # What torch.compile wants to restore.
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: None,
    }.items():
        _patch.setattr(torch.cuda, name, value)
    _patch.setattr(torch_cuda, "_where", lambda x: (lambda size: torch.empty(size, dtype=torch.uint8), 0))
    _patch.setattr(torch_cuda, "kernels", torch_cuda.CudaKernels(_C, torch_cuda._where))


def pytest_collection_modifyitems(items: list[Any]) -> None:
    for item in items:
        if item.name.startswith(CANNOT):
            item.add_marker(pytest.mark.skip(reason="the CPU differs from a GPU here"))


def pytest_unconfigure(config: Any) -> None:
    _stack.close()
    _patch.undo()
