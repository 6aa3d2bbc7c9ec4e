"""Every op with arguments, by name: for tests of what holds for all ops. A new op is a row here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from op_sketches import OUTER, ROWS, SLICED, outer_sketches, vector_sketches
from torch import Tensor

from fimo_fast import ops
from fimo_fast.ops.registry import OPS
from fimo_fast.ops.sketch_args import to_args


@dataclass(frozen=True)
class Example:
    """An op with arguments.

    Attributes:
        op: name in the registry.
        run: the public function of the tensors; with ``out`` where the op adds into one.
        tensors: all of them, in the order of the schema.
        options: its other arguments, which stand behind the tensors that must be given.
    """

    op: str
    run: Callable[..., Any]
    tensors: tuple[Tensor, ...]
    options: tuple[Any, ...] = ()

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments of the schema."""
        given = OPS[self.op].tensors
        return (*self.tensors[:given], *self.options, *self.tensors[given:])

    def adding(self, out: Tensor) -> tuple[Any, ...]:
        """The arguments of the op that adds into ``out``."""
        return (*self.tensors, out, *self.options)

    def cast(self, dtype: torch.dtype) -> list[Tensor]:
        """The tensors in another floating-point type; int8 and its scales stay."""
        int8 = any(x.dtype == torch.int8 for x in self.tensors)
        return [x.to(dtype) if x.is_floating_point() and not int8 else x for x in self.tensors]


def as_tuple(found: Any) -> tuple[Tensor, ...]:
    """One or several results."""
    return found if isinstance(found, tuple) else (found,)


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def _project(sketch: Any) -> Example:
    kind, numbers = to_args(sketch)
    run = lambda grads, out=None: ops.project(grads, sketch, out=out)  # noqa: E731
    return Example("project", run, (_normal(3, 50),), (kind, *numbers, 0))


A, DELTA = _normal(2, 3, 6), _normal(2, 3, 7)


def _outer_project(sketch: Any, offset: int | None = None) -> Example:
    run = lambda a, delta, out=None: ops.outer_project(a, delta, sketch, offset, out)  # noqa: E731
    return Example("outer_project", run, (A, DELTA), (*to_args(sketch), offset))


INDEX = torch.tensor([[0, 3, 3], [9, 0, 1]])


def _rows_project(sketch: Any, index: Tensor) -> Example:
    kind, numbers = to_args(sketch)
    run = lambda index, delta, out=None: ops.rows_project(index, delta, sketch, 10, out)  # noqa: E731
    return Example("rows_project", run, (index, DELTA), (kind, *numbers, 10))


_FACTORS = (A, DELTA, _normal(4, 5, 6), _normal(4, 5, 7))
_FEATURES = (_normal(2, 8), _normal(50, 8))
_CODES = tuple(x.mul(40).round().clamp(-127, 127).to(torch.int8) for x in _FEATURES)
_SCALES = (_normal(2).abs(), _normal(50).abs())


def _topk(queries: Tensor, features: Tensor, *scales: Tensor) -> Any:
    return ops.topk(queries, features, 4, *scales)


EXAMPLES: dict[str, Example] = {
    **{f"project {sketch.kind}": _project(sketch) for sketch in vector_sketches(50, 8, seed=2**63 + 1)},
    **{f"outer_project {name}": _outer_project(outer_sketches(6, 7)[name]) for name in OUTER},
    **{f"outer_project {name}, slice": _outer_project(outer_sketches(100, 1)[name], 37) for name in SLICED},
    **{f"rows_project {name}": _rows_project(ROWS[name](80), INDEX) for name in ROWS},
    **{f"rows_project {name}, int32": _rows_project(ROWS[name](80), INDEX.int()) for name in ROWS},
    "outer_dot": Example("outer_dot", ops.outer_dot, _FACTORS),
    "outer_norm2": Example("outer_norm2", ops.outer_norm2, (A, DELTA)),
    "scores": Example("scores", ops.scores, _FEATURES),
    "scores int8": Example("scores", ops.scores, (*_CODES, *_SCALES)),
    "topk": Example("topk", _topk, _FEATURES, (4,)),
    "topk int8": Example("topk", _topk, (*_CODES, *_SCALES), (4,)),
}
ADDS = [name for name, example in EXAMPLES.items() if OPS[example.op].adds]
