"""Every op in plain torch, from its definition: the specification.

Tests compare the kernels with these functions, and tensors on devices without a kernel are computed
by them. They favour being obviously right over memory and speed: sketches become dense matrices (a
slice of columns at a time, from `sketch_matrices`), gradients are formed, all scores are kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..sketch import Sketch
from .dtypes import accumulator
from .sketch_matrices import sketch_matrix

__all__ = ["outer_dot", "outer_norm2", "outer_project", "project", "rows_project", "scores", "topk"]

_MATRIX_ENTRIES = 2**22  # of a sketch at a time, in `project`


def project(grads: Tensor, sketch: Sketch, offset: int = 0, out: Tensor | None = None) -> Tensor:
    """``out + grads @ S[:, offset : offset + dim].T``, see `fimo_fast.ops.project`."""
    dtype = accumulator(grads.dtype)
    if out is None:
        out = grads.new_zeros(len(grads), sketch.sketch_dim, dtype=dtype)
    step = max(1, _MATRIX_ENTRIES // sketch.sketch_dim)
    for begin in range(0, grads.shape[1], step):
        part = grads[:, begin : begin + step].to(dtype)
        matrix = sketch_matrix(sketch, offset + begin, offset + begin + part.shape[1], dtype, grads.device)
        out += part @ matrix.T
    return out


def _gradients(a: Tensor, delta: Tensor) -> Tensor:
    """[B, T, n], [B, T, m] (or without T) to sum_t delta_t a_t^T, flattened to [B, m * n]."""
    dtype = accumulator(a.dtype)
    if a.ndim == 2:
        a, delta = a[:, None], delta[:, None]
    return torch.einsum("btm,btn->bmn", delta.to(dtype), a.to(dtype)).flatten(1)


def outer_project(a: Tensor, delta: Tensor, sketch: Sketch, offset: int = 0) -> Tensor:
    """Sketches of the formed gradients, see `fimo_fast.ops.outer_project`."""
    return project(_gradients(a, delta), sketch, offset)


def rows_project(index: Tensor, delta: Tensor, sketch: Sketch, offset: int = 0, out: Tensor | None = None) -> Tensor:
    """Sketches of the formed gradients, a row of all of them at a time, see `fimo_fast.ops.rows_project`."""
    dim = delta.shape[2]
    rows = (sketch.input_dim - offset) // dim if dim else 2**63 - 1
    for b, t in ((index < 0) | (index >= rows)).nonzero()[:1].tolist():
        raise ValueError(
            f"index: expected 0 or more, and less than {rows} (rows of {dim} numbers from offset {offset} on within "
            f"input_dim = {sketch.input_dim}), got {index[b, t]} at example {b}, token {t}"
        )
    dtype = accumulator(delta.dtype)
    if out is None:
        out = delta.new_zeros(len(delta), sketch.sketch_dim, dtype=dtype)
    for row in index.unique().tolist():
        looked_up = torch.where((index == row)[..., None], delta.to(dtype), 0).sum(1)
        project(looked_up, sketch, offset + row * dim, out)
    return out


def outer_dot(a: Tensor, delta: Tensor, a2: Tensor, delta2: Tensor) -> Tensor:
    """Inner products of the formed gradients, see `fimo_fast.ops.outer_dot`."""
    return _gradients(a, delta) @ _gradients(a2, delta2).T


def outer_norm2(a: Tensor, delta: Tensor) -> Tensor:
    """Squared norms of the formed gradients, see `fimo_fast.ops.outer_norm2`."""
    return _gradients(a, delta).square().sum(1)


def scores(
    queries: Tensor, features: Tensor, query_scales: Tensor | None = None, feature_scales: Tensor | None = None
) -> Tensor:
    """All inner products, see `fimo_fast.ops.scores`."""
    dtype = accumulator(queries.dtype)
    if query_scales is None or feature_scales is None:
        return queries.to(dtype) @ features.to(dtype).T
    exact = queries.double() @ features.double().T + 0.0  # integers below 2^53: zero has no sign
    return (exact * (query_scales.double()[:, None] * feature_scales.double())).to(dtype)


def topk(
    queries: Tensor,
    features: Tensor,
    k: int,
    query_scales: Tensor | None = None,
    feature_scales: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Stable sort of all scores, see `fimo_fast.ops.topk`."""
    every = scores(queries, features, query_scales, feature_scales)
    values, indices = every.sort(dim=1, descending=True, stable=True)  # NaN first; equal values keep their order
    return values[:, :k].contiguous(), indices[:, :k].contiguous()
