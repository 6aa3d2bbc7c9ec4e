"""The ops, one entry each: what they take, the shape of what they return, and their definition in plain torch.

All that runs an op is made from its entry: the torch op with its schema and its fake implementation
(`torch_library`), the calls of compiled functions for CPU tensors, CUDA tensors and NumPy arrays (`torch_kernels`,
`torch_cuda`, `numpy_kernels`), and the fast and the slow path of a call (`fast_path`, `slow_path`).

The compiled module has the functions ``name`` and ``cuda_name``. They take the arguments of the schema, then the
results, already allocated, then the number of threads (CUDA: how to allocate a workspace, and the stream).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from . import reference
from .sketch_args import from_args, sketch_dim

__all__ = ["OPS", "Op"]


@dataclass(frozen=True)
class Op:
    """One op.

    Attributes:
        name: of ``torch.ops.fimo_fast.<name>``.
        schema: its arguments as torch writes them. All tensors that must be given come first. Defaults are None.
        shape: of the arguments to the shape of the result.
        reference: of the arguments to the result, in plain torch. Runs on CUDA where there is no kernel.
        adds: whether the result is a sum, so that there is also ``<name>_``, which adds it to a tensor ``out``: an
            argument of the torch op behind the other tensors, and a keyword of ``reference``.
        indices: whether a second result of the same shape has indices, int64.
        like: the position of the argument whose type decides that of the result.
    """

    name: str
    schema: str
    shape: Callable[..., tuple[int, ...]]
    reference: Callable[..., Any]
    adds: bool = False
    indices: bool = False
    like: int = 0

    @cached_property
    def arguments(self) -> list[tuple[str, str]]:
        """The type and the name of each argument."""
        pairs = (argument.split("=")[0].split() for argument in self.schema.split(", "))
        return [(kind, name) for kind, name in pairs]

    @cached_property
    def tensors(self) -> int:
        """How many tensors must be given; they come first."""
        return sum(kind == "Tensor" for kind, _ in self.arguments)

    def position(self, name: str) -> int | None:
        """That of the argument of this name, if the op has it."""
        return next((i for i, (_, argument) in enumerate(self.arguments) if argument == name), None)


# --- The definitions, from flat arguments -----------------------------------------------------------------------------


def _project(grads: Tensor, kind: str, *numbers: int, out: Tensor | None = None) -> Tensor:
    *sketch, offset = numbers
    return reference.project(grads, from_args(kind, sketch), offset, out)


def _outer_project(
    a: Tensor, delta: Tensor, kinds: str, numbers: list[int], offset: int | None = None, out: Tensor | None = None
) -> Tensor:
    result = reference.outer_project(a, delta, from_args(kinds, numbers), offset or 0)
    return result if out is None else out.add_(result)


def _rows_project(index: Tensor, delta: Tensor, kind: str, *numbers: int, out: Tensor | None = None) -> Tensor:
    *sketch, offset = numbers
    return reference.rows_project(index, delta, from_args(kind, sketch), offset, out)


# --- The table --------------------------------------------------------------------------------------------------------

_SKETCH = "str kind, int input_dim, int sketch_dim, int seed, int nonzeros, int offset"
_SCALES = "Tensor? query_scales=None, Tensor? feature_scales=None"

OPS: dict[str, Op] = {
    op.name: op
    for op in (
        Op(
            "project",
            f"Tensor grads, {_SKETCH}",
            lambda grads, kind, input_dim, sketch_dim, *_: (grads.shape[0], sketch_dim),
            _project,
            adds=True,
        ),
        Op(
            "outer_project",
            "Tensor a, Tensor delta, str kinds, int[] numbers, int? offset=None",
            lambda a, delta, kinds, numbers, *_: (a.shape[0], sketch_dim(kinds, numbers)),
            _outer_project,
            adds=True,
        ),
        Op(
            "rows_project",
            f"Tensor index, Tensor delta, {_SKETCH}",
            lambda index, delta, kind, input_dim, sketch_dim, *_: (delta.shape[0], sketch_dim),
            _rows_project,
            adds=True,
            like=1,
        ),
        Op(
            "outer_dot",
            "Tensor a, Tensor delta, Tensor a2, Tensor delta2",
            lambda a, delta, a2, delta2: (a.shape[0], a2.shape[0]),
            reference.outer_dot,
        ),
        Op("outer_norm2", "Tensor a, Tensor delta", lambda a, delta: (a.shape[0],), reference.outer_norm2),
        Op(
            "scores",
            f"Tensor queries, Tensor features, {_SCALES}",
            lambda queries, features, *_: (queries.shape[0], features.shape[0]),
            reference.scores,
        ),
        Op(
            "topk",
            f"Tensor queries, Tensor features, int k, {_SCALES}",
            lambda queries, features, k, *_: (queries.shape[0], k),
            reference.topk,
            indices=True,
        ),
    )
}
