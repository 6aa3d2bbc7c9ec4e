"""The torch ops ``torch.ops.fimo_fast.*``: schemas and what runs for each device.

Registered with ``Library.define`` and ``impl``, which cost a call 2 us; ``torch.library.custom_op``
costs 14. Arguments are checked by `fimo_fast.ops`, memory by the compiled module.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.jit import is_tracing

from . import reference
from ._native import _C
from ._sketch_args import from_args, sketch_dim
from .reference import accumulator

_ACCUMULATOR = {
    dtype: accumulator(dtype) for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8)
}
_UNSIGNED = 2**64 - 1

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


# --- CPU: allocate, call the kernel ---------------------------------------------------------------

# How many modes stand between a call and its kernel (fake tensors, tracing, profilers of operators); private to torch,
# so every call goes through the dispatcher where it is missing.
_active_modes: Callable[[], int] = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 1)


def direct(*tensors: Any) -> bool:
    """Whether the ``_cpu`` functions may be called without torch's dispatcher, which costs a call 3 us.

    They may for plain CPU tensors while nothing compiles, traces or records gradients, in either mode. The dispatcher
    also computes what a lazy negation stands for, whose memory has the other sign. What else hides in a plain tensor (a
    transform of torch.func) has no memory to show and makes the compiled module raise.
    """
    if is_compiling() or is_tracing() or forward_ad._current_level >= 0:
        return False
    for x in tensors:
        if type(x) is not Tensor or not x.is_cpu or x.requires_grad or x.is_neg():
            return False
    return not _active_modes()


def _unit_stride(x: Tensor) -> Tensor:
    """``x``, copied if its last dimension is strided."""
    return x if x.is_contiguous() or x.stride(-1) == 1 or x.shape[-1] <= 1 else x.contiguous()


def _written(out: Tensor) -> None:
    """Tells autograd that ``out`` has changed, in case somebody's backward saved it."""
    if not out.is_inference():
        torch.autograd.graph.increment_version(out)


def project_into_cpu(
    grads: Tensor,
    out: Tensor,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
) -> None:
    """Adds into ``out``."""
    seed &= _UNSIGNED  # the schema's integers are signed
    threads = torch.get_num_threads()
    _C.project(_unit_stride(grads), kind, input_dim, sketch_dim, seed, nonzeros, offset, out, threads)
    _written(out)


def project_cpu(
    grads: Tensor, kind: str, input_dim: int, sketch_dim: int, seed: int, nonzeros: int, offset: int
) -> Tensor:
    """A new tensor [batch, sketch_dim]."""
    out = grads.new_zeros(grads.shape[0], sketch_dim, dtype=_ACCUMULATOR[grads.dtype])
    threads = torch.get_num_threads()
    _C.project(_unit_stride(grads), kind, input_dim, sketch_dim, seed & _UNSIGNED, nonzeros, offset, out, threads)
    return out


def outer_project_into_cpu(
    a: Tensor, delta: Tensor, out: Tensor, kinds: str, numbers: list[int], offset: int | None = None
) -> None:
    """Adds into ``out``."""
    threads = torch.get_num_threads()
    _C.outer_project(_unit_stride(a), _unit_stride(delta), kinds, numbers, offset, out, threads)
    _written(out)


def outer_project_cpu(a: Tensor, delta: Tensor, kinds: str, numbers: list[int], offset: int | None = None) -> Tensor:
    """A new tensor [batch, sketch_dim]."""
    out = a.new_zeros(a.shape[0], sketch_dim(kinds, numbers), dtype=_ACCUMULATOR[a.dtype])
    threads = torch.get_num_threads()
    _C.outer_project(_unit_stride(a), _unit_stride(delta), kinds, numbers, offset, out, threads)
    return out


def rows_project_into_cpu(
    index: Tensor,
    delta: Tensor,
    out: Tensor,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
) -> None:
    """Adds into ``out``."""
    sketch = (kind, input_dim, sketch_dim, seed & _UNSIGNED, nonzeros)
    _C.rows_project(_int64(index), _unit_stride(delta), *sketch, offset, out, torch.get_num_threads())
    _written(out)


def rows_project_cpu(
    index: Tensor,
    delta: Tensor,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
) -> Tensor:
    """A new tensor [batch, sketch_dim]."""
    out = delta.new_zeros(delta.shape[0], sketch_dim, dtype=_ACCUMULATOR[delta.dtype])
    sketch = (kind, input_dim, sketch_dim, seed & _UNSIGNED, nonzeros)
    _C.rows_project(_int64(index), _unit_stride(delta), *sketch, offset, out, torch.get_num_threads())
    return out


def _int64(index: Tensor) -> Tensor:
    """``index`` with unit stride, converted from int32 only: the compiled module refuses other types."""
    return _unit_stride(index.to(torch.int64) if index.dtype == torch.int32 else index)


def outer_dot_cpu(a: Tensor, delta: Tensor, a2: Tensor, delta2: Tensor) -> Tensor:
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


def outer_norm2_cpu(a: Tensor, delta: Tensor) -> Tensor:
    """A new tensor [B]."""
    out = a.new_empty(a.shape[0], dtype=_ACCUMULATOR[a.dtype])
    _C.outer_norm2(_unit_stride(a), _unit_stride(delta), out, torch.get_num_threads())
    return out


def scores_cpu(
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


def topk_cpu(
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
    "project": project_cpu,
    "outer_project": outer_project_cpu,
    "rows_project": rows_project_cpu,
    "outer_dot": outer_dot_cpu,
    "outer_norm2": outer_norm2_cpu,
    "scores": scores_cpu,
    "topk": topk_cpu,
}


# --- CUDA: the reference, until kernels exist -----------------------------------------------------

_warned: set[str] = set()


def _warn_reference(op: str) -> None:
    if op not in _warned:
        _warned.add(op)
        warnings.warn(
            f"fimo_fast.{op}: no CUDA kernel in this version, running the plain torch reference "
            "(slower, and with more memory)",
            stacklevel=3,
        )


def _project_cuda(
    grads: Tensor, kind: str, input_dim: int, sketch_dim: int, seed: int, nonzeros: int, offset: int
) -> Tensor:
    _warn_reference("project")
    return reference.project(grads, from_args(kind, [input_dim, sketch_dim, seed, nonzeros]), offset)


def _project_into_cuda(
    grads: Tensor,
    out: Tensor,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
) -> None:
    _warn_reference("project")
    reference.project(grads, from_args(kind, [input_dim, sketch_dim, seed, nonzeros]), offset, out)


def _outer_project_cuda(a: Tensor, delta: Tensor, kinds: str, numbers: list[int], offset: int | None = None) -> Tensor:
    _warn_reference("outer_project")
    return reference.outer_project(a, delta, from_args(kinds, numbers), offset or 0)


def _outer_project_into_cuda(
    a: Tensor, delta: Tensor, out: Tensor, kinds: str, numbers: list[int], offset: int | None = None
) -> None:
    _warn_reference("outer_project")
    out += reference.outer_project(a, delta, from_args(kinds, numbers), offset or 0)


def _rows_project_cuda(
    index: Tensor,
    delta: Tensor,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
) -> Tensor:
    _warn_reference("rows_project")
    return reference.rows_project(index, delta, from_args(kind, [input_dim, sketch_dim, seed, nonzeros]), offset)


def _rows_project_into_cuda(
    index: Tensor,
    delta: Tensor,
    out: Tensor,
    kind: str,
    input_dim: int,
    sketch_dim: int,
    seed: int,
    nonzeros: int,
    offset: int,
) -> None:
    _warn_reference("rows_project")
    reference.rows_project(index, delta, from_args(kind, [input_dim, sketch_dim, seed, nonzeros]), offset, out)


def _outer_dot_cuda(a: Tensor, delta: Tensor, a2: Tensor, delta2: Tensor) -> Tensor:
    _warn_reference("outer_dot")
    return reference.outer_dot(a, delta, a2, delta2)


def _outer_norm2_cuda(a: Tensor, delta: Tensor) -> Tensor:
    _warn_reference("outer_norm2")
    return reference.outer_norm2(a, delta)


def _scores_cuda(queries: Tensor, features: Tensor, *scales: Tensor | None) -> Tensor:
    _warn_reference("scores")
    return reference.scores(queries, features, *scales)


def _topk_cuda(queries: Tensor, features: Tensor, k: int, *scales: Tensor | None) -> tuple[Tensor, Tensor]:
    _warn_reference("topk")
    return reference.topk(queries, features, k, *scales)


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


for _name, _cpu, _cuda, _fake in (
    ("project", project_cpu, _project_cuda, _project_fake),
    ("project_", project_into_cpu, _project_into_cuda, _project_into_fake),
    ("outer_project", outer_project_cpu, _outer_project_cuda, _outer_project_fake),
    ("outer_project_", outer_project_into_cpu, _outer_project_into_cuda, _outer_project_into_fake),
    ("rows_project", rows_project_cpu, _rows_project_cuda, _rows_project_fake),
    ("rows_project_", rows_project_into_cpu, _rows_project_into_cuda, _rows_project_into_fake),
    ("outer_dot", outer_dot_cpu, _outer_dot_cuda, _outer_dot_fake),
    ("outer_norm2", outer_norm2_cpu, _outer_norm2_cuda, _outer_norm2_fake),
    ("scores", scores_cpu, _scores_cuda, _scores_fake),
    ("topk", topk_cpu, _topk_cuda, _topk_fake),
):
    _library.impl(_name, _cpu, "CPU")
    _library.impl(_name, _cuda, "CUDA")
    _library.impl(_name, _refuse_tangents(_name), "Autograd")
    torch.library.register_fake(f"fimo_fast::{_name}", _fake, lib=_library)
