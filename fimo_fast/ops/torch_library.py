"""The torch ops ``torch.ops.fimo_fast.*``: schemas, and what runs for each device and for fake tensors.

Registered with ``Library.define`` and ``impl``, which cost a call 2 us; ``torch.library.custom_op``
costs 14. Arguments are checked by `fimo_fast.ops`, memory by the compiled module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import torch_cuda, torch_kernels
from .dtypes import accumulator
from .sketch_args import sketch_dim

_library = torch.library.Library("fimo_fast", "DEF")
_SKETCH_ARGS = "str kind, int input_dim, int sketch_dim, int seed, int nonzeros, int offset"
_library.define(f"project(Tensor grads, {_SKETCH_ARGS}) -> Tensor")
_library.define(f"project_(Tensor grads, Tensor(a!) out, {_SKETCH_ARGS}) -> ()")
_OUTER_SKETCH_ARGS = "str kinds, int[] numbers, int? offset=None"
_library.define(f"outer_project(Tensor a, Tensor delta, {_OUTER_SKETCH_ARGS}) -> Tensor")
_library.define(f"outer_project_(Tensor a, Tensor delta, Tensor(a!) out, {_OUTER_SKETCH_ARGS}) -> ()")
_library.define(f"rows_project(Tensor index, Tensor delta, {_SKETCH_ARGS}) -> Tensor")
_library.define(f"rows_project_(Tensor index, Tensor delta, Tensor(a!) out, {_SKETCH_ARGS}) -> ()")
_library.define("outer_dot(Tensor a, Tensor delta, Tensor a2, Tensor delta2) -> Tensor")
_library.define("outer_norm2(Tensor a, Tensor delta) -> Tensor")
_SCALES = "Tensor? query_scales=None, Tensor? feature_scales=None"
_library.define(f"scores(Tensor queries, Tensor features, {_SCALES}) -> Tensor")
_library.define(f"topk(Tensor queries, Tensor features, int k, {_SCALES}) -> (Tensor, Tensor)")


# --- Whether the dispatcher is needed -----------------------------------------------------------------


# --- Autograd: none, and no silence about it ------------------------------------------------------


def _refuse_tangents(name: str) -> Callable[..., Any]:
    """What runs ``name`` first: it refuses tangents of forward-mode derivatives, which would be dropped.

    Here and not in `fimo_fast.ops`, because only the dispatcher opens the wrappers of torch.func one by one. (Gradients
    of reverse mode are refused there, by ``requires_grad``.)
    """
    op = getattr(torch.ops.fimo_fast, name)
    argument_names = [argument.name for argument in op.default._schema.arguments]

    def run(*args: Any) -> Any:
        if forward_ad._current_level >= 0:
            for argument, x in zip(argument_names, args, strict=False):
                if isinstance(x, Tensor) and forward_ad.unpack_dual(x).tangent is not None:
                    raise RuntimeError(
                        f"{argument}: has a forward-mode tangent, but fimo_fast.{name} has no derivative; "
                        f"pass {argument}.detach()"
                    )
        with torch._C._AutoDispatchBelowAutograd():
            return op(*args)

    return run


# --- Fake tensors: shapes and types ---------------------------------------------------------------


def _project_fake(grads: Tensor, kind: str, input_dim: int, sketch_dim: int, *rest: int) -> Tensor:
    return grads.new_empty((grads.shape[0], sketch_dim), dtype=accumulator(grads.dtype))


def _project_into_fake(grads: Tensor, out: Tensor, *rest: Any) -> None:
    return None


def _outer_project_fake(a: Tensor, delta: Tensor, kinds: str, numbers: list[int], offset: int | None = None) -> Tensor:
    return a.new_empty((a.shape[0], sketch_dim(kinds, numbers)), dtype=accumulator(a.dtype))


def _outer_project_into_fake(a: Tensor, delta: Tensor, out: Tensor, *rest: Any) -> None:
    return None


def _rows_project_fake(index: Tensor, delta: Tensor, kind: str, input_dim: int, sketch_dim: int, *rest: int) -> Tensor:
    return delta.new_empty((delta.shape[0], sketch_dim), dtype=accumulator(delta.dtype))


def _rows_project_into_fake(index: Tensor, delta: Tensor, out: Tensor, *rest: Any) -> None:
    return None


def _outer_dot_fake(a: Tensor, delta: Tensor, a2: Tensor, delta2: Tensor) -> Tensor:
    return a.new_empty((a.shape[0], a2.shape[0]), dtype=accumulator(a.dtype))


def _outer_norm2_fake(a: Tensor, delta: Tensor) -> Tensor:
    return a.new_empty((a.shape[0],), dtype=accumulator(a.dtype))


def _scores_fake(queries: Tensor, features: Tensor, *scales: Tensor | None) -> Tensor:
    return queries.new_empty((queries.shape[0], features.shape[0]), dtype=accumulator(queries.dtype))


def _topk_fake(queries: Tensor, features: Tensor, k: int, *scales: Tensor | None) -> tuple[Tensor, Tensor]:
    shape = (queries.shape[0], k)
    return queries.new_empty(shape, dtype=accumulator(queries.dtype)), queries.new_empty(shape, dtype=torch.int64)


for _name, _fake in (
    ("project", _project_fake),
    ("project_into", _project_into_fake),
    ("outer_project", _outer_project_fake),
    ("outer_project_into", _outer_project_into_fake),
    ("rows_project", _rows_project_fake),
    ("rows_project_into", _rows_project_into_fake),
    ("outer_dot", _outer_dot_fake),
    ("outer_norm2", _outer_norm2_fake),
    ("scores", _scores_fake),
    ("topk", _topk_fake),
):
    _schema = _name.replace("_into", "_")
    _library.impl(_schema, getattr(torch_kernels.kernels, _name), "CPU")
    _library.impl(_schema, torch_cuda.CUDA[_name], "CUDA")
    _library.impl(_schema, _refuse_tangents(_schema), "Autograd")
    torch.library.register_fake(f"fimo_fast::{_schema}", _fake, lib=_library)
