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

from .native import _C
from .registry import OPS, Op
from .torch_kernels import Function, Kernels

_SCORES_AT_ONCE = 2**28  # numbers of float32: 1 GiB


def _where(x: Tensor) -> tuple[Any, ...]:
    """How the workspace is allocated, and the stream: torch's own, so that calls fit into CUDA graphs."""
    allocate = partial(torch.empty, dtype=torch.uint8, device=x.device)
    return allocate, torch.cuda.current_stream(x.device).cuda_stream


class CudaKernels(Kernels):
    """The ops by the compiled functions for CUDA memory."""

    def __init__(self, module: Any = _C, where: Callable[[Tensor], tuple[Any, ...]] = _where):
        super().__init__(module, "cuda_", where)
        self.max_topk: int = module.cuda_max_topk
        self._lists = self.functions["topk"]
        self.functions["topk"] = self._topk

    def _topk(self, queries: Tensor, features: Tensor, k: int, *scales: Tensor | None) -> tuple[Tensor, Tensor]:
        """``topk``; where lists fit no multiprocessor, torch sorts the scores of some queries at a time."""
        if k <= self.max_topk:
            result: tuple[Tensor, Tensor] = self._lists(queries, features, k, *scales)
            return result
        query_scales, feature_scales = scales or (None, None)
        step = max(1, _SCORES_AT_ONCE // features.shape[0])
        values, indices = [], []
        for first in range(0, max(1, queries.shape[0]), step):
            some = None if query_scales is None else query_scales[first : first + step]
            scored = self.functions["scores"](queries[first : first + step], features, some, feature_scales)
            order = scored.sort(dim=1, descending=True, stable=True)  # NaN first; equal values keep their order
            values.append(order.values[:, :k])
            indices.append(order.indices[:, :k])
        return torch.cat(values), torch.cat(indices)


kernels = CudaKernels() if _C.build_info()["cuda"] else None


# --- The choice between kernels and the reference -------------------------------------------------

_warned: set[tuple[str, str]] = set()


def _warn_once(op: str, reason: str) -> None:
    if (op, reason) not in _warned:
        _warned.add((op, reason))
        warnings.warn(
            f"fimo_fast.{op}: {reason}, running the plain torch reference (slower, and with more memory)", stacklevel=4
        )


def _choosing(op: Op, name: str, reference: Function) -> Function:
    def run(*args: Any) -> Any:
        if kernels is not None and args[op.like].dtype != torch.float64:
            return kernels.functions[name](*args)
        _warn_once(op.name, "no CUDA kernel for float64" if kernels is not None else "built without CUDA")
        return reference(*args)

    return run


def _adding(op: Op) -> Function:
    """The reference with ``out`` behind the other tensors."""

    def run(*args: Any) -> None:
        op.reference(*args[: op.tensors], *args[op.tensors + 1 :], out=args[op.tensors])

    return run


CUDA: dict[str, Function] = {op.name: _choosing(op, op.name, op.reference) for op in OPS.values()}
CUDA |= {f"{op.name}_into": _choosing(op, f"{op.name}_into", _adding(op)) for op in OPS.values() if op.adds}
"""What runs ``torch.ops.fimo_fast.*`` on CUDA."""
