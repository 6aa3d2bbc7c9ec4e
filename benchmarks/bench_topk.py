"""topk: the best training examples of each query among stored features."""

import pytest
import torch

from fimo_fast import reference
from fimo_fast.ops import topk

# queries, features, dim
SIZES = {"one": (1, 50_000, 512), "some": (32, 20_000, 512), "many": (256, 4096, 1024)}
K = 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("what", ["kernel", "reference", "torch", "copy"])
def bench_topk(benchmark, timed, name, dtype, what):
    m, n, d = SIZES[name]
    benchmark.group = f"topk {name} [{m}, {d}] x [{n}, {d}], {str(dtype).removeprefix('torch.')}"
    queries, features = torch.randn(m, d).to(dtype), torch.randn(n, d).to(dtype)
    if what == "copy":
        target = torch.empty_like(features)
        timed(lambda: target.copy_(features), features.numel() * features.element_size(), "GB/s")
        return
    functions = {
        "kernel": topk,
        "reference": reference.topk,
        # All scores at once; for bfloat16 in bfloat16, which rounds the scores to 8 bits.
        "torch": lambda q, f, k: (q @ f.T).topk(k),
    }
    function = functions[what]
    if what == "kernel":
        values, indices = topk(queries, features, K)
        scores = (queries.double() @ features.double().T).gather(1, indices)
        torch.testing.assert_close(values.double(), scores, rtol=1e-4, atol=1e-3)
        best = reference.topk(queries.double(), features.double(), K)[0]
        torch.testing.assert_close(values.double(), best, rtol=1e-4, atol=1e-3)
    timed(lambda: function(queries, features, K), 2 * m * n * d, "GFLOP/s", rounds=3)
