"""The ops on torch tensors by compiled kernels: allocate, call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .dtypes import accumulator
from .native import _C
from .sketch_args import sketch_dim

__all__ = ["CPU", "OPS", "Kernels", "kernels"]

OPS = ("project", "outer_project", "rows_project", "outer_dot", "outer_norm2", "scores", "topk")
_ACCUMULATOR = {
    dtype: accumulator(dtype) for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8)
}
_UNSIGNED = 2**64 - 1


class Kernels:
    """The compiled functions for one kind of device.

    A method whose name ends in ``_into`` adds into ``out``; the others return new tensors. Arguments are those of the
    schemas in `torch_library`.

    Args:
        module: has a function ``prefix + op`` for every op.
        prefix: of the functions' names.
        where: the last arguments of each of them, for an input tensor: how or where to run.
    """

    def __init__(self, module: Any, prefix: str, where: Callable[[Tensor], tuple[Any, ...]]):
        self._where = where
        names = [prefix + op for op in OPS]
        (
            self._project,
            self._outer_project,
            self._rows_project,
            self._outer_dot,
            self._outer_norm2,
            self._scores,
            self._topk,
        ) = (getattr(module, name) for name in names)

    def project_into(self, grads: Tensor, out: Tensor, kind: str, *numbers: int) -> None:
        """``project_``: see the schema."""
        self._project(_unit_stride(grads), kind, *_unsigned(*numbers), out, *self._where(grads))
        _written(out)

    def project(
        self, grads: Tensor, kind: str, input_dim: int, sketch_dim: int, seed: int, nonzeros: int, offset: int
    ) -> Tensor:
        """``project``: see the schema."""
        out = grads.new_zeros(grads.shape[0], sketch_dim, dtype=_ACCUMULATOR[grads.dtype])
        where = self._where(grads)
        self._project(_unit_stride(grads), kind, input_dim, sketch_dim, seed & _UNSIGNED, nonzeros, offset, out, *where)
        return out

    def outer_project_into(
        self, a: Tensor, delta: Tensor, out: Tensor, kinds: str, numbers: list[int], offset: int | None = None
    ) -> None:
        """``outer_project_``: see the schema."""
        self._outer_project(_unit_stride(a), _unit_stride(delta), kinds, numbers, offset, out, *self._where(a))
        _written(out)

    def outer_project(
        self, a: Tensor, delta: Tensor, kinds: str, numbers: list[int], offset: int | None = None
    ) -> Tensor:
        """``outer_project``: see the schema."""
        out = a.new_zeros(a.shape[0], sketch_dim(kinds, numbers), dtype=_ACCUMULATOR[a.dtype])
        self._outer_project(_unit_stride(a), _unit_stride(delta), kinds, numbers, offset, out, *self._where(a))
        return out

    def rows_project_into(self, index: Tensor, delta: Tensor, out: Tensor, kind: str, *numbers: int) -> None:
        """``rows_project_``: see the schema."""
        where = self._where(delta)
        self._rows_project(_int64(index), _unit_stride(delta), kind, *_unsigned(*numbers), out, *where)
        _written(out)

    def rows_project(self, index: Tensor, delta: Tensor, kind: str, *numbers: int) -> Tensor:
        """``rows_project``: see the schema."""
        out = delta.new_zeros(delta.shape[0], numbers[1], dtype=_ACCUMULATOR[delta.dtype])
        where = self._where(delta)
        self._rows_project(_int64(index), _unit_stride(delta), kind, *_unsigned(*numbers), out, *where)
        return out

    def outer_dot(self, a: Tensor, delta: Tensor, a2: Tensor, delta2: Tensor) -> Tensor:
        """``outer_dot``: see the schema."""
        out = a.new_empty(a.shape[0], a2.shape[0], dtype=_ACCUMULATOR[a.dtype])
        self._outer_dot(
            _unit_stride(a), _unit_stride(delta), _unit_stride(a2), _unit_stride(delta2), out, *self._where(a)
        )
        return out

    def outer_norm2(self, a: Tensor, delta: Tensor) -> Tensor:
        """``outer_norm2``: see the schema."""
        out = a.new_empty(a.shape[0], dtype=_ACCUMULATOR[a.dtype])
        self._outer_norm2(_unit_stride(a), _unit_stride(delta), out, *self._where(a))
        return out

    def scores(
        self,
        queries: Tensor,
        features: Tensor,
        query_scales: Tensor | None = None,
        feature_scales: Tensor | None = None,
    ) -> Tensor:
        """``scores``: see the schema."""
        out = queries.new_empty(queries.shape[0], features.shape[0], dtype=_ACCUMULATOR[queries.dtype])
        self._scores(
            _unit_stride(queries),
            _unit_stride(features),
            _contiguous(query_scales),
            _contiguous(feature_scales),
            out,
            *self._where(queries),
        )
        return out

    def topk(
        self,
        queries: Tensor,
        features: Tensor,
        k: int,
        query_scales: Tensor | None = None,
        feature_scales: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``topk``: see the schema."""
        values = queries.new_empty(queries.shape[0], k, dtype=_ACCUMULATOR[queries.dtype])
        indices = queries.new_empty(queries.shape[0], k, dtype=torch.int64)
        self._topk(
            _unit_stride(queries),
            _unit_stride(features),
            k,
            _contiguous(query_scales),
            _contiguous(feature_scales),
            values,
            indices,
            *self._where(queries),
        )
        return values, indices


def _unit_stride(x: Tensor) -> Tensor:
    """``x``, copied if its last dimension is strided."""
    return x if x.is_contiguous() or x.stride(-1) == 1 or x.shape[-1] <= 1 else x.contiguous()


def _written(out: Tensor) -> None:
    """Tells autograd that ``out`` has changed, in case somebody's backward saved it."""
    if not out.is_inference():
        torch.autograd.graph.increment_version(out)


def _unsigned(input_dim: int, sketch_dim: int, seed: int, nonzeros: int, offset: int) -> tuple[int, int, int, int, int]:
    """What the compiled module takes: the schemas' integers are signed."""
    return input_dim, sketch_dim, seed & _UNSIGNED, nonzeros, offset


def _int64(index: Tensor) -> Tensor:
    """``index`` with unit stride, converted from int32 only: the compiled module refuses other types."""
    return _unit_stride(index.to(torch.int64) if index.dtype == torch.int32 else index)


def _contiguous(scales: Tensor | None) -> Tensor | None:
    return None if scales is None else scales.contiguous()


kernels = Kernels(_C, "", lambda x: (torch.get_num_threads(),))
CPU: dict[str, Callable[..., Any]] = {op: getattr(kernels, op) for op in OPS}
"""What runs ``torch.ops.fimo_fast.*`` on the CPU."""
