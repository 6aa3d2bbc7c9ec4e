"""Options and the record of the machine, shared by all benchmarks."""

import pytest
import torch

from fimo_fast import build_info
from fimo_fast.testing import force_isa


def pytest_addoption(parser):
    parser.addoption("--threads", type=int, default=1, help="torch threads")
    parser.addoption("--isa", default=None, help="instruction set to force")


@pytest.fixture(autouse=True)
def _machine(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.config.getoption("--threads"))
    torch.manual_seed(0)
    with force_isa(request.config.getoption("--isa") or build_info()["isa"]):
        yield
    torch.set_num_threads(before)


def pytest_benchmark_update_machine_info(config, machine_info):
    info = build_info()
    machine_info["fimo_fast"] = {
        "version": info["version"],
        "compiler": info["compiler"],
        "isa": config.getoption("--isa") or info["isa"],
        "torch": torch.__version__,
        "threads": config.getoption("--threads"),
    }


@pytest.fixture
def timed(benchmark):
    """Times a call and notes a rate: ``amount`` in units of 1e9 a second, at the minimum time."""

    def run(function, amount, unit, rounds=5):
        benchmark.pedantic(function, rounds=rounds, warmup_rounds=1)
        benchmark.extra_info[unit] = round(amount / benchmark.stats.stats.min / 1e9, 2)

    return run
