"""The cases of `fimo_fast.bench` for pytest-benchmark, its options, and the record of the machine."""

import functools

import pytest
import torch

from fimo_fast import bench, build_info
from fimo_fast.bench.results import available_memory, machine
from fimo_fast.testing import force_isa

CPU = torch.device("cpu")


def pytest_addoption(parser):
    parser.addoption("--threads", type=int, default=1, help="torch threads")
    parser.addoption("--isa", default=None, help="instruction set to force")
    parser.addoption("--all-sizes", action="store_true", help="those of fimo-fast bench --full")
    parser.addoption("--peers", action="store_true", help="other libraries, too, where they are installed")
    parser.addoption("--dtype", action="append", default=[], help="only this type; repeatable")


def pytest_generate_tests(metafunc):
    """``bench_<operation>`` is called with each entry of each case of the operation."""
    option = metafunc.config.getoption
    dtypes = tuple(getattr(torch, name) for name in option("--dtype"))
    cases = bench.cases(metafunc.function.__name__.removeprefix("bench_"), dtypes, option("--all-sizes"))
    pairs = [(case, name) for case in cases for name in bench.names(case, option("--peers"))]
    metafunc.parametrize("case, name", pairs, ids=[f"{case}-{name}" for case, name in pairs])


@pytest.fixture(autouse=True)
def _machine(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.config.getoption("--threads"))
    torch.manual_seed(0)
    with force_isa(request.config.getoption("--isa") or build_info()["isa"]):
        yield
    torch.set_num_threads(before)


def pytest_benchmark_update_machine_info(config, machine_info):
    threads = config.getoption("--threads")
    machine_info["fimo_fast"] = machine(CPU, threads, " ".join(config.invocation_params.args))
    machine_info["fimo_fast"]["isa"] = config.getoption("--isa") or build_info()["isa"]


@functools.lru_cache(maxsize=1)
def inputs_of(case):
    """Made and checked once for all entries of a case, which follow each other."""
    inputs = case.inputs(CPU)
    case.checked(inputs)
    return inputs


@pytest.fixture
def timed(benchmark):
    """Checks a case, then times one of its entries and notes its rate at the minimum time."""

    def run(case, name):
        if case.memory > available_memory(CPU):
            pytest.skip(f"needs {case.memory / 2**30:.1f} GiB")
        benchmark.group = str(case)
        try:
            entry = bench.prepare(case, inputs_of(case), name, CPU, torch.get_num_threads())
        except bench.Unavailable as error:
            pytest.skip(str(error))
        short = case.bound == "call"
        benchmark.pedantic(entry.call, rounds=5, iterations=200 if short else 1, warmup_rounds=1)
        if name != "sgemm":
            seconds = benchmark.stats.stats.min / entry.share
            # Where the entry does a part of the case, the columns show the part and these are for the whole.
            benchmark.extra_info["share"] = entry.share
            benchmark.extra_info["seconds"] = seconds
            if case.bound == "read":
                benchmark.extra_info["GB/s"] = round(case.moved / seconds / 1e9, 2)
            if case.bound == "sgemm":
                benchmark.extra_info["GFLOP/s"] = round(case.operations / seconds / 1e9, 2)

    return run
