"""What runs ``torch.ops.fimo_fast.*`` on the CPU: allocate, call the compiled kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._native import _C
from ._sketch_args import sketch_dim
from .reference import accumulator

_ACCUMULATOR = {
    dtype: accumulator(dtype) for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8)
}
_UNSIGNED = 2**64 - 1


def _unit_stride(x: Tensor) -> Tensor:
    """``x``, copied if its last dimension is strided."""
    return x if x.is_contiguous() or x.stride(-1) == 1 or x.shape[-1] <= 1 else x.contiguous()


def _written(out: Tensor) -> None:
    """Tells autograd that ``out`` has changed, in case somebody's backward saved it."""
    if not out.is_inference():
        torch.autograd.graph.increment_version(out)


def project_into(grads: Tensor, out: Tensor, kind: str, *numbers: int) -> None:
    """Adds into ``out``."""
    _C.project(_unit_stride(grads), kind, *_unsigned(*numbers), out, torch.get_num_threads())
    _written(out)


def project(grads: Tensor, kind: str, input_dim: int, sketch_dim: int, seed: int, nonzeros: int, offset: int) -> Tensor:
    """A new tensor [batch, sketch_dim]."""
    out = grads.new_zeros(grads.shape[0], sketch_dim, dtype=_ACCUMULATOR[grads.dtype])
    threads = torch.get_num_threads()
    _C.project(_unit_stride(grads), kind, input_dim, sketch_dim, seed & _UNSIGNED, nonzeros, offset, out, threads)
    return out


def outer_project_into(
    a: Tensor, delta: Tensor, out: Tensor, kinds: str, numbers: list[int], offset: int | None = None
) -> None:
    """Adds into ``out``."""
    threads = torch.get_num_threads()
    _C.outer_project(_unit_stride(a), _unit_stride(delta), kinds, numbers, offset, out, threads)
    _written(out)


def outer_project(a: Tensor, delta: Tensor, kinds: str, numbers: list[int], offset: int | None = None) -> Tensor:
    """A new tensor [batch, sketch_dim]."""
    out = a.new_zeros(a.shape[0], sketch_dim(kinds, numbers), dtype=_ACCUMULATOR[a.dtype])
    threads = torch.get_num_threads()
    _C.outer_project(_unit_stride(a), _unit_stride(delta), kinds, numbers, offset, out, threads)
    return out


def rows_project_into(index: Tensor, delta: Tensor, out: Tensor, kind: str, *numbers: int) -> None:
    """Adds into ``out``."""
    _C.rows_project(_int64(index), _unit_stride(delta), kind, *_unsigned(*numbers), out, torch.get_num_threads())
    _written(out)


def rows_project(index: Tensor, delta: Tensor, kind: str, *numbers: int) -> Tensor:
    """A new tensor [batch, sketch_dim]."""
    _, sketch_dim, *_ = numbers
    out = delta.new_zeros(delta.shape[0], sketch_dim, dtype=_ACCUMULATOR[delta.dtype])
    _C.rows_project(_int64(index), _unit_stride(delta), kind, *_unsigned(*numbers), out, torch.get_num_threads())
    return out


def _unsigned(input_dim: int, sketch_dim: int, seed: int, nonzeros: int, offset: int) -> tuple[int, int, int, int, int]:
    """What the compiled module takes: the schemas' integers are signed."""
    return input_dim, sketch_dim, seed & _UNSIGNED, nonzeros, offset


def _int64(index: Tensor) -> Tensor:
    """``index`` with unit stride, converted from int32 only: the compiled module refuses other types."""
    return _unit_stride(index.to(torch.int64) if index.dtype == torch.int32 else index)


def outer_dot(a: Tensor, delta: Tensor, a2: Tensor, delta2: Tensor) -> Tensor:
    """A new tensor [B, B2]."""
    out = a.new_empty(a.shape[0], a2.shape[0], dtype=_ACCUMULATOR[a.dtype])
    _C.outer_dot(
        _unit_stride(a),
        _unit_stride(delta),
        _unit_stride(a2),
        _unit_stride(delta2),
        out,
        torch.get_num_threads(),
    )
    return out


def outer_norm2(a: Tensor, delta: Tensor) -> Tensor:
    """A new tensor [B]."""
    out = a.new_empty(a.shape[0], dtype=_ACCUMULATOR[a.dtype])
    _C.outer_norm2(_unit_stride(a), _unit_stride(delta), out, torch.get_num_threads())
    return out


def scores(
    queries: Tensor, features: Tensor, query_scales: Tensor | None = None, feature_scales: Tensor | None = None
) -> Tensor:
    """A new tensor [M, N]."""
    out = queries.new_empty(queries.shape[0], features.shape[0], dtype=_ACCUMULATOR[queries.dtype])
    _C.scores(
        _unit_stride(queries),
        _unit_stride(features),
        _contiguous(query_scales),
        _contiguous(feature_scales),
        out,
        torch.get_num_threads(),
    )
    return out


def topk(
    queries: Tensor,
    features: Tensor,
    k: int,
    query_scales: Tensor | None = None,
    feature_scales: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """New tensors [M, k]."""
    values = queries.new_empty(queries.shape[0], k, dtype=_ACCUMULATOR[queries.dtype])
    indices = queries.new_empty(queries.shape[0], k, dtype=torch.int64)
    _C.topk(
        _unit_stride(queries),
        _unit_stride(features),
        k,
        _contiguous(query_scales),
        _contiguous(feature_scales),
        values,
        indices,
        torch.get_num_threads(),
    )
    return values, indices


def _contiguous(scales: Tensor | None) -> Tensor | None:
    return None if scales is None else scales.contiguous()


CPU: dict[str, Callable[..., Any]] = {
    "project": project,
    "outer_project": outer_project,
    "rows_project": rows_project,
    "outer_dot": outer_dot,
    "outer_norm2": outer_norm2,
    "scores": scores,
    "topk": topk,
}
