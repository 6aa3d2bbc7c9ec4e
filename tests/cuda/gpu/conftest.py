"""Fixtures of the tests that need a GPU."""

import pytest

from fimo_fast.ops import torch_cuda


@pytest.fixture
def kernels_are_built():
    """On a device nothing but the kernels is tested."""
    assert torch_cuda.kernels is not None, "fimo_fast was built without CUDA: see CONTRIBUTING.md"


@pytest.fixture
def calls():
    """A function that says how often the kernels of each op were called since the test began."""
    before = torch_cuda._C.cuda_calls()
    return lambda: {op: n - before[op] for op, n in torch_cuda._C.cuda_calls().items() if n > before[op]}
