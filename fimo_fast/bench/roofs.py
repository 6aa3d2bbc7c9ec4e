"""What the machine can do at most: reading and copying memory, and a matrix product, as torch does them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..reference import accumulator
from .case import Call, Inputs

# A product of square matrices of this size: large enough for the full rate, small enough for every round.
GEMM_SIDE = 1024
GEMM_OPERATIONS = 2 * GEMM_SIDE**3

_COPIED = 2**30  # bytes at most; of more, a part is copied and the time scaled


def tensors(inputs: Inputs) -> list[Tensor]:
    """The inputs as flat torch tensors that share their memory."""
    return [torch.as_tensor(x).reshape(-1) for x in inputs]


def size_bytes(inputs: Inputs) -> int:
    """What one read of all inputs moves."""
    return sum(x.numel() * x.element_size() for x in tensors(inputs))


def read(inputs: Inputs) -> Call:
    """The maximum of all numbers: of torch's reductions the fastest, one pass on all threads."""
    # Narrow types as float32: it is their bytes that are read, and torch has no fast loop for them.
    words = [x.view(torch.float32) if x.numel() * x.element_size() % 4 == 0 else x for x in tensors(inputs)]
    return lambda: [x.max() for x in words]


def copy(inputs: Inputs) -> tuple[Call, float]:
    """The call, and the share of the inputs that it copies."""
    share = min(1.0, _COPIED / size_bytes(inputs))
    sources = [x[: max(1, int(share * len(x)))] for x in tensors(inputs)]
    targets = [torch.empty_like(x) for x in sources]
    return (lambda: [t.copy_(s) for t, s in zip(targets, sources, strict=True)]), share


def gemm(dtype: torch.dtype, device: torch.device) -> Call:
    """GEMM_OPERATIONS in the type of the sums: SGEMM, or DGEMM for float64."""
    a, b = (torch.randn(GEMM_SIDE, GEMM_SIDE, dtype=accumulator(dtype), device=device) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def machine_roofs(
    device: torch.device, threads: int, time_call: Callable[[Call, torch.device, int], float]
) -> dict[str, float]:
    """Read speed (bytes a second, from memory) and SGEMM rate (operations a second): the best of 15 interleaved calls.

    Args:
        device: where.
        threads: torch's, for the CPU.
        time_call: (call, device, threads) to seconds.
    """
    data = (torch.ones(2**26, device=device),)
    reading, product = read(data), gemm(torch.float32, device)
    reads, products = [], []
    for _ in range(15):
        reads.append(time_call(reading, device, threads))
        products.append(time_call(product, device, threads))
    return {"read": size_bytes(data) / min(reads), "sgemm": GEMM_OPERATIONS / min(products)}
