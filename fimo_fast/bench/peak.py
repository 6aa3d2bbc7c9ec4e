"""The machine's peak rates: reading and copying memory, and matrix products, measured with torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..ops.dtypes import accumulator
from .case import Call, Inputs, Unavailable, dtype_name

# A product of square matrices of this size: large enough for the full rate, small enough for every round.
_SIDE = 1024
_SIDE_CUDA = 4096
_SIDE_TENSOR_CORES = 8192  # 16 bits and int8 on CUDA

_COPIED = 2**30  # bytes at most; of more, a part is copied and the time scaled
_READ = {"cpu": 2**26, "cuda": 2**28}  # float32 numbers, far more than any cache holds
_TENSOR_CORES = (torch.bfloat16, torch.float16, torch.int8)
_CALLS = 15


def tensors(inputs: Inputs) -> list[Tensor]:
    """The inputs as flat torch tensors that share their memory."""
    return [torch.as_tensor(x).reshape(-1) for x in inputs]


def size_bytes(inputs: Inputs) -> int:
    """Bytes of all inputs."""
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


def product_type(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The type of the products that inputs of ``dtype`` are compared with: that of the sums, or their own on CUDA.

    On CUDA, tensor cores multiply 16 bits and int8 directly; most CPUs do not.
    """
    return dtype if device.type == "cuda" and dtype in _TENSOR_CORES else accumulator(dtype)


def product_name(dtype: torch.dtype, device: torch.device) -> str:
    """Name of that product: ``SGEMM``, ``DGEMM``, or ``bfloat16 GEMM``."""
    kind = product_type(dtype, device)
    return {torch.float32: "SGEMM", torch.float64: "DGEMM"}.get(kind) or f"{dtype_name(kind)} GEMM"


def gemm_side(dtype: torch.dtype, device: torch.device) -> int:
    """Rows and columns of the matrices of `gemm`."""
    if device.type == "cpu":
        return _SIDE
    return _SIDE_TENSOR_CORES if product_type(dtype, device) in _TENSOR_CORES else _SIDE_CUDA


def gemm_operations(dtype: torch.dtype, device: torch.device) -> int:
    """Operations of one call of `gemm`."""
    return 2 * gemm_side(dtype, device) ** 3


def gemm(dtype: torch.dtype, device: torch.device) -> Call:
    """A square product in `product_type`, float32 without TF32.

    Raises:
        Unavailable: torch has no product of this type on the device; its integer product is private.
    """
    side, kind = gemm_side(dtype, device), product_type(dtype, device)
    if kind == torch.int8:
        # Column-major, as tensor cores take the second factor.
        a, b = (torch.randint(-127, 128, (side, side), dtype=kind, device=device) for _ in range(2))
        return integer_product(a, b.T)
    a, b = (torch.randn(side, side, dtype=kind, device=device) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def integer_product(a: Tensor, b: Tensor) -> Call:
    """``a @ b`` of int8, exact in int32, by the only function that torch has for it.

    Raises:
        Unavailable: not on this device, or not for these sizes.
    """
    try:
        torch._int_mm(a, b)
    except (AttributeError, RuntimeError) as error:
        raise Unavailable(f"torch._int_mm: {str(error).splitlines()[0]}") from error
    return lambda: torch._int_mm(a, b)


def peak_rates(
    device: torch.device, threads: int, time_call: Callable[[Call, torch.device, int], float]
) -> dict[str, float]:
    """The best of 15 interleaved calls of each: ``read`` in bytes a second, and products in operations a second.

    Products by name: SGEMM; on CUDA also those of 16 bits and int8, where torch has them, and ``TF32 GEMM``, of float32
    with 11 bits of each factor. Reading on CUDA is the faster of reading and copying, which moves each byte twice.

    Args:
        device: where.
        threads: torch's, for the CPU.
        time_call: (call, device, threads) to seconds.
    """
    data = (torch.ones(_READ[device.type], device=device),)
    calls = {"read": (read(data), size_bytes(data))}
    calls["SGEMM"] = gemm(torch.float32, device), gemm_operations(torch.float32, device)
    if device.type == "cuda":
        copying, share = copy(data)
        calls["copy"] = copying, int(2 * share * size_bytes(data))
        calls["TF32 GEMM"] = _in_tf32(gemm(torch.float32, device)), gemm_operations(torch.float32, device)
        for dtype in _TENSOR_CORES:
            try:
                calls[product_name(dtype, device)] = gemm(dtype, device), gemm_operations(dtype, device)
            except Unavailable:
                continue  # named beside the cases of this type
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(_CALLS):
        for name, (call, _work) in calls.items():
            best[name] = min(best[name], time_call(call, device, threads))
    rates = {name: work / best[name] for name, (_, work) in calls.items()}
    rates["read"] = max(rates["read"], rates.pop("copy", 0.0))
    return rates


def _in_tf32(call: Call) -> Call:
    def run() -> None:
        with matmul_precision("high"):
            call()

    return run


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """A block in which torch's float32 products use all bits (``highest``) or TF32 (``high``) on CUDA."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
