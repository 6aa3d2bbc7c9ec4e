"""Cases of `topk`: the best stored features of a few, or of many, queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..ops import topk
from . import peers
from .case import Bound, Call, Case, Inputs, Rival, size_in_words

K = 20

# queries, features, dim
DEFAULT = [(1, 100_000, 512), (8, 100_000, 512), (1024, 20_000, 512)]
FULL = [(1, 1_000_000, 512), (8, 1_000_000, 512), (1024, 100_000, 2048)]

_CHECKED = 64  # queries, spread over all

# With so few queries the products fit into the time of reading the features.
_FEW = 8

_FAISS = {
    torch.float32: "IndexFlatIP",
    torch.float16: "QT_fp16",
    torch.bfloat16: "QT_bf16",
}


def cases(dtypes: tuple[torch.dtype, ...], full: bool = False) -> Iterator[Case]:
    """One, a few and many queries, each with all dtypes."""
    for queries, features, dim in [*DEFAULT, *(FULL if full else [])]:
        for dtype in dtypes:
            yield case(queries, features, dim, dtype)


def case(queries: int, features: int, dim: int, dtype: torch.dtype) -> Case:
    """The K best of ``features`` for each of ``queries``, vectors of length ``dim``."""
    read = (queries + features) * dim * dtype.itemsize
    result = queries * K * (reference.accumulator(dtype).itemsize + 8)
    bound: Bound = "read" if queries <= _FEW else "sgemm"
    # The check has all scores in float64, with their order, for at most 64 queries.
    checking = min(queries, _CHECKED) * features * 3 * 8 + features * dim * 8
    return Case(
        operation="topk",
        name=f"{queries} of {size_in_words(features)} x {dim}",
        dtype=dtype,
        sizes={"queries": queries, "features": features, "dim": dim, "k": K},
        moved=read + result,
        operations=2 * queries * features * dim,
        bound=bound,
        memory=read + result + checking,
        inputs=lambda device: tuple(torch.randn(rows, dim, dtype=dtype, device=device) for rows in (queries, features)),
        kernel=_topk,
        check=_check,
        rivals=_rivals(dtype, features * dim),
    )


def _topk(queries: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    return topk(queries, features, K)


def _check(inputs: Inputs, result: tuple[Tensor, Tensor]) -> None:
    """Values are the scores at their indices, and no better ones exist; equal scores may come in either order."""
    queries, features = inputs
    rows = torch.linspace(0, len(queries) - 1, min(len(queries), _CHECKED)).round().long()
    values, indices = (x[rows] for x in result)
    scores = queries[rows].double() @ features.double().T
    torch.testing.assert_close(values.double(), scores.gather(1, indices), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(values.double(), scores.topk(K).values, rtol=1e-4, atol=1e-3)


def _rivals(dtype: torch.dtype, numbers: int) -> Mapping[str, Rival]:
    found: dict[str, Rival] = {
        "torch matmul, topk": Rival("torch", partial(_torch, wide=False)),
        "products alone": Rival("gemm", _products),
    }
    if reference.accumulator(dtype) != dtype:
        # In its own type torch rounds the scores to 8 or 11 bits; this one is as precise as the kernel.
        found["torch matmul in float32, topk"] = Rival("torch", partial(_torch, wide=True))
    if dtype in _FAISS:
        found[f"FAISS {_FAISS[dtype]}"] = peers.faiss_index(_FAISS[dtype], K, numbers)
    return found


def _torch(inputs: Inputs, wide: bool) -> Call:
    queries, features = inputs
    dtype = reference.accumulator(queries.dtype) if wide else queries.dtype

    def call() -> Any:
        return (queries.to(dtype) @ features.to(dtype).T).topk(K)

    return call


def _products(inputs: Inputs) -> Call:
    queries, features = (x.to(reference.accumulator(x.dtype)) for x in inputs)
    return lambda: queries @ features.T
