"""Fixtures of the tests that need a GPU."""

import pytest

from fimo_fast import _torch_cuda


@pytest.fixture
def kernels_are_built():
    """On a device nothing but the kernels is tested."""
    assert _torch_cuda.kernels is not None, "fimo_fast was built without CUDA: see CONTRIBUTING.md"


@pytest.fixture
def calls():
    """A function that says how often the kernels of each op were called since the test began."""
    before = _torch_cuda._C.cuda_calls()
    return lambda: {op: n - before[op] for op, n in _torch_cuda._C.cuda_calls().items() if n > before[op]}
