"""outer_dot and outer_norm2: inner products of per-example gradients of a linear layer."""

import pytest
import torch

from fimo_fast import reference
from fimo_fast._native import _C
from fimo_fast.ops import outer_dot, outer_norm2

# batch, tokens, batch2, tokens2, n, m
SIZES = {
    "mlp": (512, 1, 512, 1, 512, 256),
    "short": (64, 8, 64, 8, 768, 768),
    "long": (16, 256, 16, 256, 256, 256),
}


def factors(batch, tokens, batch2, tokens2, n, m):
    shapes = [(batch, tokens, n), (batch, tokens, m), (batch2, tokens2, n), (batch2, tokens2, m)]
    return [torch.randn(shape) for shape in shapes]


def by_gram_matrices(a, delta, a2, delta2):
    """Torch's best without forming gradients: two products and a reduction."""
    shape = (a.shape[0], a.shape[1], a2.shape[0], a2.shape[1])
    products = (a.flatten(0, 1) @ a2.flatten(0, 1).T) * (delta.flatten(0, 1) @ delta2.flatten(0, 1).T)
    return products.reshape(shape).sum((1, 3))


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("what", ["kernel", "reference", "torch", "copy"])
def bench_outer_dot(benchmark, timed, name, what):
    size = SIZES[name]
    batch, tokens, batch2, tokens2, n, m = size
    formed = _C.outer_dot_materialises(*size)
    benchmark.group = f"outer_dot {name} {size}, {'materialised' if formed else 'factored'}"
    inputs = factors(*size)
    factored = batch * batch2 * tokens * tokens2 * (n + m)
    forming = (batch * tokens + batch2 * tokens2 + batch * batch2) * n * m
    flops = 2 * min(factored, forming)
    if what == "copy":
        targets = [torch.empty_like(x) for x in inputs]
        size_bytes = sum(x.numel() * 4 for x in inputs)
        timed(lambda: [t.copy_(x) for t, x in zip(targets, inputs, strict=True)], size_bytes, "GB/s")
        return
    function = {"kernel": outer_dot, "reference": reference.outer_dot, "torch": by_gram_matrices}[what]
    expected = reference.outer_dot(*(x.double() for x in inputs))
    torch.testing.assert_close(function(*inputs).double(), expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    timed(lambda: function(*inputs), flops, "GFLOP/s", rounds=3)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("what", ["kernel", "reference", "copy"])
def bench_outer_norm2(benchmark, timed, name, what):
    size = SIZES[name]
    benchmark.group = f"outer_norm2 {name} {size[:2] + size[4:]}"
    a, delta, *_ = factors(*size)
    size_bytes = (a.numel() + delta.numel()) * 4
    if what == "copy":
        targets = torch.empty_like(a), torch.empty_like(delta)
        timed(lambda: (targets[0].copy_(a), targets[1].copy_(delta)), size_bytes, "GB/s")
        return
    function = {"kernel": outer_norm2, "reference": reference.outer_norm2}[what]
    expected = reference.outer_norm2(a.double(), delta.double())
    torch.testing.assert_close(function(a, delta).double(), expected, rtol=1e-4, atol=0)
    timed(lambda: function(a, delta), size_bytes, "GB/s", rounds=3)
