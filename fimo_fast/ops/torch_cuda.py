"""What runs ``torch.ops.fimo_fast.*`` on CUDA: kernels, or the reference in plain torch where there are none.

There are none for float64, and none at all where the module was built without CUDA; both are said once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import reference
from .native import _C
from .sketch_args import from_args
from .torch_kernels import Kernels

_SCORES_AT_ONCE = 2**28  # numbers of float32: 1 GiB


def _where(x: Tensor) -> tuple[Any, ...]:
    """How the workspace is allocated, and the stream: torch's own, so that calls fit into CUDA graphs."""
    allocate = partial(torch.empty, dtype=torch.uint8, device=x.device)
    return allocate, torch.cuda.current_stream(x.device).cuda_stream


class CudaKernels(Kernels):
    """The kernels for CUDA memory."""

    def __init__(self, module: Any = _C, where: Callable[[Tensor], tuple[Any, ...]] = _where):
        super().__init__(module, "cuda_", where)
        self.max_topk: int = module.cuda_max_topk

    def topk(self, queries: Tensor, features: Tensor, k: int, *scales: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `Kernels.topk`; where lists fit no multiprocessor, torch sorts the scores of some queries at a time."""
        if k <= self.max_topk:
            return super().topk(queries, features, k, *scales)
        query_scales, feature_scales = scales or (None, None)
        step = max(1, _SCORES_AT_ONCE // features.shape[0])
        values, indices = [], []
        for first in range(0, max(1, queries.shape[0]), step):
            some = None if query_scales is None else query_scales[first : first + step]
            scored = self.scores(queries[first : first + step], features, some, feature_scales)
            order = scored.sort(dim=1, descending=True, stable=True)  # NaN first; equal values keep their order
            values.append(order.values[:, :k])
            indices.append(order.indices[:, :k])
        return torch.cat(values), torch.cat(indices)


kernels = CudaKernels() if _C.build_info()["cuda"] else None


# --- The reference ------------------------------------------------------------------------------------


def _project(grads: Tensor, kind: str, *numbers: int, out: Tensor | None = None) -> Tensor:
    *sketch, offset = numbers
    return reference.project(grads, from_args(kind, sketch), offset, out)


def _project_into(grads: Tensor, out: Tensor, kind: str, *numbers: int) -> None:
    _project(grads, kind, *numbers, out=out)


def _outer_project(a: Tensor, delta: Tensor, kinds: str, numbers: list[int], offset: int | None = None) -> Tensor:
    return reference.outer_project(a, delta, from_args(kinds, numbers), offset or 0)


def _outer_project_into(a: Tensor, delta: Tensor, out: Tensor, *sketch: Any) -> None:
    out += _outer_project(a, delta, *sketch)


def _rows_project(index: Tensor, delta: Tensor, kind: str, *numbers: int, out: Tensor | None = None) -> Tensor:
    *sketch, offset = numbers
    return reference.rows_project(index, delta, from_args(kind, sketch), offset, out)


def _rows_project_into(index: Tensor, delta: Tensor, out: Tensor, kind: str, *numbers: int) -> None:
    _rows_project(index, delta, kind, *numbers, out=out)


_REFERENCE: dict[str, Callable[..., Any]] = {
    "project": _project,
    "project_into": _project_into,
    "outer_project": _outer_project,
    "outer_project_into": _outer_project_into,
    "rows_project": _rows_project,
    "rows_project_into": _rows_project_into,
    "outer_dot": reference.outer_dot,
    "outer_norm2": reference.outer_norm2,
    "scores": reference.scores,
    "topk": reference.topk,
}

# --- The choice ---------------------------------------------------------------------------------------

_warned: set[tuple[str, str]] = set()


def _warn_once(op: str, reason: str) -> None:
    if (op, reason) not in _warned:
        _warned.add((op, reason))
        warnings.warn(
            f"fimo_fast.{op}: {reason}, running the plain torch reference (slower, and with more memory)", stacklevel=4
        )


def _implementation(name: str) -> Callable[..., Any]:
    op = name.removesuffix("_into")

    def run(*args: Any) -> Any:
        dtype = args[1 if op == "rows_project" else 0].dtype
        if kernels is not None and dtype != torch.float64:
            return getattr(kernels, name)(*args)
        _warn_once(op, "no CUDA kernel for float64" if kernels is not None else "built without CUDA")
        return _REFERENCE[name](*args)

    return run


CUDA = {name: _implementation(name) for name in _REFERENCE}
