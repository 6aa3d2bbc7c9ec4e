"""What runs ``torch.ops.fimo_fast.*`` on CUDA: the reference in plain torch, until kernels exist."""

from __future__ import annotations

import warnings

from torch import Tensor

from . import reference
from ._sketch_args import from_args

_warned: set[str] = set()


def _warn_reference(op: str) -> None:
    if op not in _warned:
        _warned.add(op)
        warnings.warn(
            f"fimo_fast.{op}: no CUDA kernel in this version, running the plain torch reference "
            "(slower, and with more memory)",
            stacklevel=3,
        )


def project(grads: Tensor, kind: str, *numbers: int) -> Tensor:
    _warn_reference("project")
    *sketch, offset = numbers
    return reference.project(grads, from_args(kind, sketch), offset)


def project_into(grads: Tensor, out: Tensor, kind: str, *numbers: int) -> None:
    _warn_reference("project")
    *sketch, offset = numbers
    reference.project(grads, from_args(kind, sketch), offset, out)


def outer_project(a: Tensor, delta: Tensor, kinds: str, numbers: list[int], offset: int | None = None) -> Tensor:
    _warn_reference("outer_project")
    return reference.outer_project(a, delta, from_args(kinds, numbers), offset or 0)


def outer_project_into(
    a: Tensor, delta: Tensor, out: Tensor, kinds: str, numbers: list[int], offset: int | None = None
) -> None:
    _warn_reference("outer_project")
    out += reference.outer_project(a, delta, from_args(kinds, numbers), offset or 0)


def rows_project(index: Tensor, delta: Tensor, kind: str, *numbers: int) -> Tensor:
    _warn_reference("rows_project")
    *sketch, offset = numbers
    return reference.rows_project(index, delta, from_args(kind, sketch), offset)


def rows_project_into(index: Tensor, delta: Tensor, out: Tensor, kind: str, *numbers: int) -> None:
    _warn_reference("rows_project")
    *sketch, offset = numbers
    reference.rows_project(index, delta, from_args(kind, sketch), offset, out)


def outer_dot(a: Tensor, delta: Tensor, a2: Tensor, delta2: Tensor) -> Tensor:
    _warn_reference("outer_dot")
    return reference.outer_dot(a, delta, a2, delta2)


def outer_norm2(a: Tensor, delta: Tensor) -> Tensor:
    _warn_reference("outer_norm2")
    return reference.outer_norm2(a, delta)


def scores(queries: Tensor, features: Tensor, *scales: Tensor | None) -> Tensor:
    _warn_reference("scores")
    return reference.scores(queries, features, *scales)


def topk(queries: Tensor, features: Tensor, k: int, *scales: Tensor | None) -> tuple[Tensor, Tensor]:
    _warn_reference("topk")
    return reference.topk(queries, features, k, *scales)
