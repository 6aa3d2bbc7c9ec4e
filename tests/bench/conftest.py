"""Fixtures of the tests of the benchmark."""

import pretend_cuda
import pytest

from fimo_fast import build_info
from fimo_fast.bench import clock, command, peak
from fimo_fast.bench.operations import outer, outer_project, project, rows_project, scores


@pytest.fixture
def tiny(monkeypatch):
    """Cases and peak rates of milliseconds."""
    monkeypatch.setattr(project, "DEFAULT", [(2, 3000, 64)])
    monkeypatch.setattr(project, "LARGE", [])
    monkeypatch.setattr(outer_project, "TOKENS", [(4, 3, 12, 10, 16)])
    monkeypatch.setattr(outer_project, "SINGLE", [(4, 1, 12, 10, 16)])
    monkeypatch.setattr(rows_project, "DEFAULT", [(4, 3, 20, 12, 16)])
    monkeypatch.setattr(outer, "DOT", {"short": (4, 3, 5, 6)})
    monkeypatch.setattr(outer, "NORM", {"short": (4, 3, 5, 6)})
    monkeypatch.setattr(scores, "SCORES", [(2, 60, 8)])
    monkeypatch.setattr(scores, "TOPK", [(2, 60, 8)])
    monkeypatch.setattr(command, "peak_rates", lambda *_: {"read": 1e9, "SGEMM": 1e6})
    measured = command.measure

    def measure(*args, **options):
        return measured(*args, **options, seconds=1e-9)

    monkeypatch.setattr(command, "measure", measure)


@pytest.fixture
def pretended(monkeypatch):
    """A CUDA device, and fimo_fast built for it, whatever this build has."""
    info = {**build_info(), "cuda": True}
    monkeypatch.setattr(command, "build_info", lambda: info)
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
