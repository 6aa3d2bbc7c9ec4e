"""Fixtures shared by all tests."""

import importlib
import os
import shutil

# Set before torch loads OpenMP: on shared machines spinning threads slow each other down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from cpp_build import ROOT, build, run

from fimo_fast.testing import available_isas, force_isa


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        choices=["cpu", "cuda"],
        default="cpu",
        help="where tests/cuda runs the CUDA kernels: emulated, or a GPU",
    )


def pytest_configure(config):
    if config.getoption("device") == "cuda" and not torch.cuda.is_available() and not config.option.collectonly:
        raise pytest.UsageError(
            f"--device cuda: expected a CUDA device that torch can use, got none (torch {torch.__version__})"
        )


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=available_isas())
def isa(request):
    """Runs the test once on every instruction set of this machine."""
    with force_isa(request.param):
        yield request.param


@pytest.fixture
def with_threads():
    """A function that calls another with a given number of torch threads."""
    before = torch.get_num_threads()

    def call(threads, function, *args, **kwargs):
        torch.set_num_threads(threads)
        return function(*args, **kwargs)

    yield call
    torch.set_num_threads(before)


@pytest.fixture
def benchmarks(monkeypatch):
    """A function that imports a module of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


SANITIZERS = "address,undefined,float-cast-overflow"


@pytest.fixture(scope="session")
def sanitized_programs(request, tmp_path_factory):
    """The folder of the C++ tests, built with sanitizers."""
    if shutil.which("cmake") is None or shutil.which("ninja") is None:
        pytest.skip("needs cmake and ninja")
    probe = tmp_path_factory.mktemp("probe") / "probe.cpp"
    probe.write_text("int main() {}")
    result = run(os.environ.get("CXX", "c++"), f"-fsanitize={SANITIZERS}", probe, "-o", probe.with_suffix(""))
    if result.returncode != 0:
        pytest.skip(f"the C++ compiler has no -fsanitize={SANITIZERS}: {result.stdout[-300:]}")
    return build(request.config.cache.mkdir("cpp-sanitized"), f"-DFIMO_SANITIZE={SANITIZERS}")


@pytest.fixture(scope="session")
def sanitized_run(sanitized_programs):
    """A finished run of all C++ tests with sanitizers."""
    options = {"UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1"}
    return run(sanitized_programs / "core_tests", env={**os.environ, **options})
