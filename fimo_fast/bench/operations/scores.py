"""Cases of `scores` and `topk`: inner products of a few, or of many, queries with stored features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...ops import quantize, reference, scores, topk
from ..baselines import peers
from ..case import Baseline, Bound, Call, Case, Inputs, size_in_words
from ..peak import integer_product, product_type

K = 20

# queries, features, dim. All scores of many queries are the largest result; it stays below what the allocator keeps
# (32 MiB in glibc), as page faults of new memory in every call are not what is measured.
SCORES = [(1, 100_000, 512), (8, 100_000, 512), (1024, 5000, 2048)]
SCORES_FULL = [(1, 1_000_000, 512), (8, 1_000_000, 512), (1024, 8000, 4096)]
TOPK = [(1, 100_000, 512), (8, 100_000, 512), (1024, 20_000, 512)]
TOPK_FULL = [(1, 1_000_000, 512), (8, 1_000_000, 512), (1024, 100_000, 2048)]

_CHECKED = 64  # queries, spread over all
_ROWS = 8192  # made at a time where they are quantized

# With so few queries the products fit into the time of reading the features.
_FEW = 8

_FAISS = {
    torch.float32: ("IndexFlatIP",),
    torch.float16: ("QT_fp16",),
    torch.bfloat16: ("QT_bf16",),
    # With trained bounds for each dimension; and as the numbers are, without the scales of rows.
    torch.int8: ("QT_8bit", "QT_8bit_direct_signed"),
}


def scores_cases(dtypes: tuple[torch.dtype, ...], full: bool = False) -> Iterator[Case]:
    """One, a few and many queries, each with all dtypes."""
    for size in [*SCORES, *(SCORES_FULL if full else [])]:
        for dtype in dtypes:
            yield scores_case(*size, dtype)


def topk_cases(dtypes: tuple[torch.dtype, ...], full: bool = False) -> Iterator[Case]:
    """One, a few and many queries, each with all dtypes."""
    for size in [*TOPK, *(TOPK_FULL if full else [])]:
        for dtype in dtypes:
            yield topk_case(*size, dtype)


def scores_case(queries: int, features: int, dim: int, dtype: torch.dtype) -> Case:
    """All products of ``queries`` with ``features``, vectors of length ``dim``."""
    return Case(
        operation="scores",
        sizes={"queries": queries, "features": features, "dim": dim},
        kernel=scores,
        check=_check_scores,
        baselines=_baselines(dtype, ""),
        **_common(queries, features, dim, dtype, features * reference.accumulator(dtype).itemsize),
    )


def topk_case(queries: int, features: int, dim: int, dtype: torch.dtype) -> Case:
    """The K best of ``features`` for each of ``queries``, vectors of length ``dim``."""
    faiss = {f"FAISS {index}": peers.faiss_index(index, K, features * dim) for index in _FAISS.get(dtype, ())}
    return Case(
        operation="topk",
        sizes={"queries": queries, "features": features, "dim": dim, "k": K},
        kernel=_topk,
        check=_check_topk,
        baselines={**_baselines(dtype, ", topk"), **faiss},
        **_common(queries, features, dim, dtype, K * (reference.accumulator(dtype).itemsize + 8)),
    )


def _common(queries: int, features: int, dim: int, dtype: torch.dtype, result: int) -> Mapping[str, Any]:
    """What both operations share; ``result`` is in bytes for a query."""
    read = (queries + features) * (dim * dtype.itemsize + (4 if dtype == torch.int8 else 0))
    bound: Bound = "read" if queries <= _FEW else "sgemm"
    # The check has all scores in float64, with their order, for at most 64 queries.
    checking = min(queries, _CHECKED) * features * 3 * 8 + features * dim * 8
    return {
        "name": f"{queries} of {size_in_words(features)} x {dim}",
        "dtype": dtype,
        "moved": read + queries * result,
        "operations": 2 * queries * features * dim,
        "bound": bound,
        "memory": read + 2 * queries * result + checking,
        "inputs": lambda device: _inputs(queries, features, dim, dtype, device),
    }


def _inputs(queries: int, features: int, dim: int, dtype: torch.dtype, device: torch.device) -> Inputs:
    """Queries and features; for int8 also the scales of both."""
    if dtype != torch.int8:
        return tuple(torch.randn(rows, dim, dtype=dtype, device=device) for rows in (queries, features))
    made = [_quantized(rows, dim, device) for rows in (queries, features)]
    return (*(codes for codes, _ in made), *(scales for _, scales in made))


def _quantized(rows: int, dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """int8 [rows, dim] and scales [rows], a part at a time: float32 rows take four times the memory."""
    codes = torch.empty(rows, dim, dtype=torch.int8, device=device)
    scales = torch.empty(rows, device=device)
    for part, scale in zip(codes.split(_ROWS), scales.split(_ROWS), strict=True):
        made = quantize(torch.randn(part.shape, device=device))
        part.copy_(made[0])
        scale.copy_(made[1])
    return codes, scales


def _topk(queries: Tensor, features: Tensor, *scales: Tensor) -> tuple[Tensor, Tensor]:
    return topk(queries, features, K, *scales)


def _some(inputs: Inputs, result: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of some queries, and their scores in float64."""
    queries, features, *scales = inputs
    rows = torch.linspace(0, len(result) - 1, min(len(result), _CHECKED)).round().long().to(result.device)
    every = queries[rows].double() @ features.double().T
    if scales:
        every *= scales[0][rows].double()[:, None] * scales[1].double()
    return rows, every


def _check_scores(inputs: Inputs, result: Tensor) -> None:
    rows, expected = _some(inputs, result)
    torch.testing.assert_close(result[rows].double(), expected, rtol=1e-4, atol=1e-3)


def _check_topk(inputs: Inputs, result: tuple[Tensor, Tensor]) -> None:
    """Values are the scores at their indices, and no better ones exist; equal scores may come in either order."""
    rows, expected = _some(inputs, result[0])
    values, indices = (x[rows] for x in result)
    torch.testing.assert_close(values.double(), expected.gather(1, indices), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(values.double(), expected.topk(K).values, rtol=1e-4, atol=1e-3)


def _baselines(dtype: torch.dtype, then: str) -> dict[str, Baseline]:
    """Of torch; their names end in ``then``, which is ``, topk`` where the best are taken."""

    def whole(products: Callable[[Inputs], Callable[[], Tensor]]) -> Baseline:
        return Baseline("torch", partial(_best, products=products) if then else products)

    wide = reference.accumulator(dtype)
    found = {"products alone": Baseline("gemm", _products)}
    if dtype != torch.int8:
        found[f"torch matmul{then}"] = whole(partial(_matmul, dtype=dtype))
    if dtype != wide:
        # In its own type torch rounds the scores to 8 or 11 bits; this one is as precise as the kernel.
        found[f"torch matmul in {str(wide).removeprefix('torch.')}{then}"] = whole(partial(_matmul, dtype=wide))
    if dtype == torch.int8:
        found[f"torch _int_mm{then}"] = whole(_integer_products)
    return found


def _best(inputs: Inputs, products: Callable[[Inputs], Callable[[], Tensor]]) -> Call:
    call = products(inputs)
    return lambda: call().topk(K)


def _matmul(inputs: Inputs, dtype: torch.dtype) -> Callable[[], Tensor]:
    queries, features, *scales = inputs

    def call() -> Tensor:
        found = queries.to(dtype) @ features.to(dtype).T
        return _scaled(found, scales)

    return call


def _integer_products(inputs: Inputs) -> Callable[[], Tensor]:
    """int8 products, exact in int32; the only ones that torch has, behind an underscore."""
    queries, features, *scales = inputs
    products = integer_product(queries, features.T)
    return lambda: _scaled(products().float(), scales)


def _scaled(found: Tensor, scales: list[Tensor]) -> Tensor:
    return found.mul_(scales[0][:, None]).mul_(scales[1]) if scales else found


def _products(inputs: Inputs) -> Call:
    queries, features = (x.to(product_type(x.dtype, x.device)) for x in inputs[:2])
    if queries.dtype == torch.int8:
        return integer_product(queries, features.T)
    return lambda: queries @ features.T
