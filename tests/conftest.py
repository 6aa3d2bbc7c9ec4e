"""Fixtures shared by all tests."""

import os

# Set before torch loads OpenMP: on shared machines spinning threads slow each other down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

from fimo_fast.testing import available_isas, force_isa


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
