"""A CUDA device that is not there: what asks for it gets tensors of the CPU, and a device with made-up properties.

For what surrounds the kernels: commands, timing, reports. (tests/pretend.py has tensors that say where they are.) And a
compiled module whose functions for CUDA memory work on the CPU's.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fimo_fast.ops.native import _C
from fimo_fast.ops.torch_kernels import OPS

NAME = "Pretended H100"
MEMORY = 80 * 2**30
CACHE = 50 * 2**20


class Module:
    """In the place of the compiled module: as strict about types, with a workspace, but by the CPU's kernels.

    Attributes:
        counts: {op: how often its kernel was called}.
    """

    cuda_max_topk = 1024
    workspace = 1000  # bytes of each call

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        for op in OPS:
            setattr(self, f"cuda_{op}", self._function(op))

    def _function(self, op: str) -> Any:
        def run(*args: Any) -> None:
            *given, allocate, _stream = args
            if any(isinstance(x, torch.Tensor) and x.dtype == torch.float64 for x in given):
                raise ValueError("expected float32, bfloat16 or float16 on CUDA, got float64")
            allocate(self.workspace).fill_(3)
            getattr(_C, op)(*given, 1)
            self.counts[op] += 1

        return run


class _OnCpu(TorchFunctionMode):
    """Makes tensors of the CPU where CUDA was asked for."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.cuda:
            return args[0]
        if function is torch.device:  # only a name
            return function(*args, **(kwargs or {}))
        return function(*map(_there, args), **{key: _there(x) for key, x in (kwargs or {}).items()})


def _there(x: Any) -> Any:
    if isinstance(x, str) and (x == "cuda" or x.startswith("cuda:")):
        return "cpu"
    return torch.device("cpu") if isinstance(x, torch.device) and x.type == "cuda" else x


class Event:
    """Times by the host's clock; the CPU waits for each call anyway."""

    def __init__(self, enable_timing: bool = False):
        assert enable_timing
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, end: Event) -> float:
        return max(1e-6, 1e3 * (end.at - self.at))


@contextlib.contextmanager
def cuda(monkeypatch: Any) -> Iterator[None]:
    """``torch.cuda`` of one device inside the block."""
    properties = SimpleNamespace(
        name=NAME, major=9, minor=0, multi_processor_count=132, total_memory=MEMORY, L2_cache_size=CACHE
    )
    replaced = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda device=None: NAME,
        "get_device_properties": lambda device=None: properties,
        "mem_get_info": lambda device=None: (MEMORY // 2, MEMORY),
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "Event": Event,
    }
    with monkeypatch.context() as patch, _OnCpu():
        for name, value in replaced.items():
            patch.setattr(torch.cuda, name, value)
        yield
