"""Cases of `outer_dot` and `outer_norm2`: inner products of per-example gradients of a linear layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ...ops import outer_dot, outer_norm2, reference
from ..case import BALANCE, Baseline, Bound, Call, Case, Inputs
from ..peak import product_type

# batch, tokens, n, m. `outer_dot` takes two such batches; norms are cheap, so their batches are as large as memory is.
DOT = {"MLP": (512, 1, 512, 256), "short": (64, 8, 768, 768), "long": (16, 256, 256, 256)}
DOT_FULL = {"wide MLP": (1024, 1, 1024, 1024), "longer": (8, 512, 768, 768)}
NORM = {"MLP": (32_768, 1, 512, 256), "short": (2048, 8, 768, 768), "long": (128, 256, 256, 256)}
NORM_FULL = {"wide MLP": (32_768, 1, 1024, 1024), "longer": (64, 512, 768, 768)}

_CHECKED = 32  # examples, spread over the batch
_FORMED_BYTES = 2**28  # of all gradients together: beyond, torch is not asked to form them


def dot_cases(dtypes: tuple[torch.dtype, ...], full: bool = False) -> Iterator[Case]:
    """Inner products of two batches of one shape."""
    for name, size in {**DOT, **(DOT_FULL if full else {})}.items():
        for dtype in dtypes:
            yield dot_case(name, *size, dtype)


def norm_cases(dtypes: tuple[torch.dtype, ...], full: bool = False) -> Iterator[Case]:
    """Squared norms."""
    for name, size in {**NORM, **(NORM_FULL if full else {})}.items():
        for dtype in dtypes:
            yield norm_case(name, *size, dtype)


def dot_case(name: str, batch: int, tokens: int, n: int, m: int, dtype: torch.dtype) -> Case:
    """[batch, batch] inner products of examples of ``tokens`` tokens through a layer of [m, n]."""
    factored = batch * batch * tokens * tokens * (n + m)
    formed = (2 * batch * tokens + batch * batch) * n * m
    read = 2 * batch * tokens * (n + m) * dtype.itemsize
    result = batch * batch * reference.accumulator(dtype).itemsize
    return Case(
        operation="outer_dot",
        name=f"{name} {batch} x {tokens} x ({n}, {m})",
        dtype=dtype,
        sizes={"batch": batch, "tokens": tokens, "n": n, "m": m},
        moved=read + result,
        operations=2 * min(factored, formed),
        bound="sgemm",
        memory=2 * read + result + 2 * (_formed_bytes(batch, n, m, dtype) + _check_bytes(batch, n, m)),
        inputs=lambda device: (
            *_factors(batch, tokens, n, m, dtype, device),
            *_factors(batch, tokens, n, m, dtype, device),
        ),
        kernel=outer_dot,
        check=_check_dot,
        baselines={
            "torch Gram products": Baseline("torch", _by_gram_products),
            **_formed_baseline(_by_gradients, batch, n, m, dtype),
            "products alone": Baseline("gemm", _gram_products if factored <= formed else _gradient_products),
        },
    )


def norm_case(name: str, batch: int, tokens: int, n: int, m: int, dtype: torch.dtype) -> Case:
    """[batch] squared norms. A Gram matrix is symmetric, so half of its entries are the fewest operations."""
    factored = batch * tokens * (tokens + 1) // 2 * (n + m)
    formed = batch * (tokens + 1) * n * m
    operations = 2 * min(factored, formed)
    read = batch * tokens * (n + m) * dtype.itemsize
    bound: Bound = "sgemm" if operations > BALANCE * read else "read"
    return Case(
        operation="outer_norm2",
        name=f"{name} {batch} x {tokens} x ({n}, {m})",
        dtype=dtype,
        sizes={"batch": batch, "tokens": tokens, "n": n, "m": m},
        moved=read + batch * reference.accumulator(dtype).itemsize,
        operations=operations,
        bound=bound,
        memory=2 * read + _formed_bytes(batch, n, m, dtype) + 2 * _check_bytes(batch, n, m),
        inputs=lambda device: _factors(batch, tokens, n, m, dtype, device),
        kernel=outer_norm2,
        check=_check_norm,
        baselines={
            "torch Gram products": Baseline("torch", _norms_by_gram_products),
            **_formed_baseline(_norms_by_gradients, batch, n, m, dtype),
        },
    )


def _factors(
    batch: int, tokens: int, n: int, m: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    a = torch.randn(batch, tokens, n, dtype=dtype, device=device)
    return a, torch.randn(batch, tokens, m, dtype=dtype, device=device)


def _formed_bytes(batch: int, n: int, m: int, dtype: torch.dtype) -> int:
    """Of a batch of gradients; 0 if they are too many to be formed."""
    size = batch * n * m * reference.accumulator(dtype).itemsize
    return size if size <= _FORMED_BYTES else 0


def _formed_baseline(
    prepare: Callable[[Inputs], Call], batch: int, n: int, m: int, dtype: torch.dtype
) -> dict[str, Baseline]:
    """The baseline that forms the gradients, unless they are too many."""
    return {"torch formed gradients": Baseline("torch", prepare)} if _formed_bytes(batch, n, m, dtype) else {}


def _check_bytes(batch: int, n: int, m: int) -> int:
    """Of the gradients that the check forms in float64."""
    return min(batch, _CHECKED) * n * m * 8


def _some(batch: int) -> Tensor:
    return torch.linspace(0, batch - 1, min(batch, _CHECKED)).round().long()


def _check_dot(inputs: Inputs, result: Tensor) -> None:
    a, delta, a2, delta2 = inputs
    rows, columns = _some(len(a)), _some(len(a2))
    expected = reference.outer_dot(
        a[rows].double(), delta[rows].double(), a2[columns].double(), delta2[columns].double()
    )
    scale = expected.abs().max().item()
    torch.testing.assert_close(result[rows][:, columns].double(), expected, rtol=0, atol=1e-5 * scale)


def _check_norm(inputs: Inputs, result: Tensor) -> None:
    rows = _some(len(result))
    expected = reference.outer_norm2(*(x[rows].double() for x in inputs))
    torch.testing.assert_close(result[rows].double(), expected, rtol=1e-4, atol=0)


def _wide(inputs: Inputs) -> list[Tensor]:
    """In the type of the sums, where torch's products are at least as precise as the kernel's."""
    return [x.to(reference.accumulator(x.dtype)) for x in inputs]


def _multiplied(inputs: Inputs) -> list[Tensor]:
    """In the type of the products that are the floor."""
    return [x.to(product_type(x.dtype, x.device)) for x in inputs]


def _by_gram_products(inputs: Inputs) -> Call:
    a, delta, a2, delta2 = inputs
    shape = (a.shape[0], a.shape[1], a2.shape[0], a2.shape[1])

    def call() -> Tensor:
        x, d, x2, d2 = (f.flatten(0, 1) for f in _wide((a, delta, a2, delta2)))
        return ((x @ x2.T) * (d @ d2.T)).view(shape).sum((1, 3))

    return call


def _gram_products(inputs: Inputs) -> Call:
    x, d, x2, d2 = (f.flatten(0, 1) for f in _multiplied(inputs))
    return lambda: (x @ x2.T, d @ d2.T)


def _by_gradients(inputs: Inputs) -> Call:
    def call() -> Tensor:
        a, delta, a2, delta2 = _wide(inputs)
        return (delta.mT @ a).flatten(1) @ (delta2.mT @ a2).flatten(1).T

    return call


def _gradient_products(inputs: Inputs) -> Call:
    a, delta, a2, delta2 = _multiplied(inputs)
    return lambda: (delta.mT @ a).flatten(1) @ (delta2.mT @ a2).flatten(1).T


def _norms_by_gram_products(inputs: Inputs) -> Call:
    def call() -> Tensor:
        a, delta = _wide(inputs)
        return ((a @ a.mT) * (delta @ delta.mT)).sum((1, 2))

    return call


def _norms_by_gradients(inputs: Inputs) -> Call:
    def call() -> Tensor:
        a, delta = _wide(inputs)
        return (delta.mT @ a).flatten(1).square().sum(1)

    return call
