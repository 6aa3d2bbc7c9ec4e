"""How long a call takes, on the CPU and on CUDA.

On CUDA a call is timed by events on the stream, not by the host, and each call of a turn on its own. Before it, a
buffer larger than the level-2 cache is written, so that the call reads its inputs from memory. While the device writes
it, the host runs the call's Python. The host's time is another case (``overhead``), timed by `host_time`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .case import Call

_LEAST_FLUSHED = 2**28  # bytes: writing them takes longer than the Python of a call
_CACHES = 4  # written at least, in sizes of the level-2 cache


def time_call(call: Call, device: torch.device, threads: int, repeats: int = 1) -> float:
    """Seconds of one of ``repeats`` calls, on ``threads`` threads that are awake; on CUDA from a cold cache."""
    with awake_threads(threads):
        if device.type == "cuda":
            return _by_events(call, device, repeats)
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats


def host_time(call: Call, device: torch.device, threads: int, repeats: int = 1) -> float:
    """Seconds of one of ``repeats`` calls by the host's clock, until the device has finished the last one."""
    with awake_threads(threads):
        _wait(device)
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        _wait(device)
        return (time.perf_counter() - start) / repeats


def _by_events(call: Call, device: torch.device, repeats: int) -> float:
    flushed = _flushed(device)
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    _wait(device)
    for began, ended in pairs:
        flushed.zero_()
        began.record()
        call()
        ended.record()
    _wait(device)
    return sum(began.elapsed_time(ended) for began, ended in pairs) / 1e3 / repeats


@functools.lru_cache(maxsize=1)
def _flushed(device: torch.device) -> Tensor:
    """The buffer that is written before each call, to empty the cache."""
    return torch.empty(flushed_bytes(device), dtype=torch.uint8, device=device)


def flushed_bytes(device: torch.device) -> int:
    """Size of the buffer that empties the level-2 cache of a CUDA device."""
    cache = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)  # torch 2.4 does not tell
    return max(_LEAST_FLUSHED, _CACHES * cache)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def awake_threads(number: int) -> Iterator[None]:
    """Sets torch's number of threads and starts them, so that no timing includes the start."""
    before = torch.get_num_threads()
    if before != number:
        torch.set_num_threads(number)
    torch.zeros(2**17).add_(1)
    try:
        yield
    finally:
        if before != number:
            torch.set_num_threads(before)
