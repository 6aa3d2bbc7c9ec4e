"""project: sketches of a batch of gradients."""

import pytest
import torch

from fimo_fast import reference
from fimo_fast.ops import project
from fimo_fast.sketch import SJLT, SRHT, Rademacher
from fimo_fast.testing import count_kernel_calls, sum_tolerance

SKETCHES = {
    "srht": lambda: SRHT(2**20, 4096),
    "srht-sampled": lambda: SRHT(2**20, 3000),
    "sjlt": lambda: SJLT(2**20, 4096),
    "rademacher": lambda: Rademacher(2**14, 1024),
}


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("name", SKETCHES)
@pytest.mark.parametrize("what", ["kernel", "kernel-bf16", "reference", "torch", "copy"])
def bench_project(benchmark, timed, name, batch, what):
    sketch = SKETCHES[name]()
    benchmark.group = f"{name} [{batch}, {sketch.input_dim}] to {sketch.sketch_dim}"
    grads = torch.randn(batch, sketch.input_dim)
    if what.endswith("bf16"):
        grads = grads.bfloat16()
    bytes_read = grads.numel() * grads.element_size()
    if what == "reference":
        if name != "rademacher":
            pytest.skip("the reference materialises a matrix of gigabytes")
        timed(lambda: reference.project(grads, sketch), bytes_read, "GB/s", rounds=1)
        return
    if what == "torch":
        # The best that torch itself offers: a product with a matrix that is already there.
        if name != "rademacher":
            pytest.skip("the dense matrix has gigabytes")
        matrix = reference.sketch_matrix(sketch, 0, sketch.input_dim, torch.float32).T.contiguous()
        timed(lambda: grads @ matrix, bytes_read, "GB/s")
        return
    if what == "copy":
        target = torch.empty_like(grads)
        timed(lambda: target.copy_(grads), bytes_read, "GB/s")
        return
    slice_ = grads[:1, :8192]
    expected = reference.project(slice_.double(), sketch, 0)
    error = (project(slice_, sketch, 0) - expected).norm() / slice_.double().norm()
    assert error < sum_tolerance(torch.float32, 8192)
    with count_kernel_calls() as calls:
        timed(lambda: project(grads, sketch), bytes_read, "GB/s")
    assert calls["project"] > 0
