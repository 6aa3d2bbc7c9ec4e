"""Which tests run, and fixtures shared by all of them."""

import os

# Set before torch loads OpenMP: on shared machines spinning threads slow each other down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # one process for each core already
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# For ccache, where it is installed: the same sources in another folder are the same sources.
os.environ.setdefault("CCACHE_BASEDIR", "/")

import pytest
import torch

from fimo_fast.testing import available_isas, force_isa

# What `pytest` alone leaves out; pyproject.toml says what the markers mean.
LEFT_OUT = "slow or native or packages"
DEFAULT = f"not ({LEFT_OUT})"


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help=f"run all tests, also those marked {LEFT_OUT}")
    parser.addoption("--rest", action="store_true", help="run only what is left out without --full")
    parser.addoption(
        "--fail-skipped", action="store_true", help="a test that is skipped fails, unless it needs a CUDA device"
    )
    parser.addoption(
        "--device",
        choices=["cpu", "cuda"],
        default="cpu",
        help="where tests/cuda runs the CUDA kernels: emulated, or a GPU (all tests, as with --full)",
    )


def pytest_configure(config):
    if config.getoption("device") == "cuda" and not torch.cuda.is_available() and not config.option.collectonly:
        raise pytest.UsageError(
            f"--device cuda: expected a CUDA device that torch can use, got none (torch {torch.__version__})"
        )
    if config.option.rest:
        config.option.markexpr = LEFT_OUT
    elif not (config.option.full or config.option.markexpr or config.option.device == "cuda"):
        config.option.markexpr = DEFAULT


def pytest_report_header(config):
    if config.option.markexpr == DEFAULT:
        return f"left out: tests marked {LEFT_OUT} (--full runs all)"
    return None


def pytest_collection_modifyitems(config, items):
    """What compiles shares its builds, and uses all cores: one process of pytest-xdist with `--dist loadgroup`."""
    for item in items:
        if item.get_closest_marker("native") and config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group("native"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and not item.get_closest_marker("cuda"):
        fail_skipped(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if report.skipped:
        # A module without its packages. The default run may skip it, since the rest runs all of it.
        left_out = "\npytestmark = pytest.mark.packages\n" in collector.path.read_text()
        if collector.config.option.markexpr != DEFAULT or not left_out:
            fail_skipped(report, collector.config)
    return report


def fail_skipped(report, config):
    if config.option.fail_skipped:
        report.outcome = "failed"
        report.longrepr = f"--fail-skipped: {report.longrepr[-1]}"


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
