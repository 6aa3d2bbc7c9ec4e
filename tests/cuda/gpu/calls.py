"""Every op of `fimo_fast.ops` as a function of tensors, with inputs of moderate size and how far off it may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from fimo_fast import ops
from fimo_fast.sketch import SJLT, SRHT, Composition, Factored, Gaussian, Mask, Rademacher, TensorSketch
from fimo_fast.testing import assert_same_bits

DIM = 70_001
RELATIVE = 4e-6  # of the product of norms: what docs/numerics.md promises of CUDA
A, DELTA, VOCABULARY, WIDTH = 300, 200, 900, 64


@dataclass(frozen=True)
class Call:
    """An op with everything but its tensors.

    Attributes:
        op: name in `fimo_fast.ops`, and of the counter of its kernels.
        run: of the tensors; with ``out`` where the op adds into one.
        tensors: (dtype, seed) to the inputs, on the CPU.
        scale: of the inputs in float64, to what errors are relative to.
        launches: calls of compiled kernels.
    """

    op: str
    run: Callable[..., Any]
    tensors: Callable[[torch.dtype, int], tuple[Tensor, ...]]
    scale: Callable[..., Tensor]
    launches: int = 1


def _normal(*shapes: tuple[int, ...]) -> Callable[[torch.dtype, int], tuple[Tensor, ...]]:
    def make(dtype: torch.dtype, seed: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(*shape, generator=generator).to(dtype) for shape in shapes)

    return make


def _looked_up(dtype: torch.dtype, seed: int) -> tuple[Tensor, ...]:
    index = torch.randint(0, VOCABULARY, (9, 33), generator=torch.Generator().manual_seed(seed))
    return index, *_normal((9, 33, WIDTH))(dtype, seed)


def _rows(x: Tensor) -> Tensor:
    return x.norm(dim=-1).max()


def _factors(a: Tensor, delta: Tensor) -> Tensor:
    return (a.norm(dim=2) * delta.norm(dim=2)).sum(1).max()


def _sketch_name(sketch: Any) -> str:
    return f"{type(sketch).__name__}{sketch.sketch_dim}"


def _project(sketch: Any) -> Call:
    return Call(
        "project", lambda grads, out=None: ops.project(grads, sketch, out=out), _normal((37, sketch.input_dim)), _rows
    )


def _outer_project(sketch: Any, offset: int | None = None) -> Call:
    return Call(
        "outer_project",
        lambda a, delta, out=None: ops.outer_project(a, delta, sketch, offset, out),
        _normal((9, 33, A), (9, 33, DELTA)),
        _factors,
    )


def _rows_project(sketch: Any) -> Call:
    return Call(
        "rows_project",
        lambda index, delta, out=None: ops.rows_project(index, delta, sketch, out=out),
        _looked_up,
        lambda index, delta: delta.norm(dim=2).sum(1).max(),
    )


_LAYER, _TABLE = A * DELTA, VOCABULARY * WIDTH
_MASKS = Factored(Mask(A, 40, 1), Mask(DELTA, 30, 2))
_PROJECT = (
    Rademacher(DIM, 300, 1),
    Gaussian(DIM, 300, 2),
    SJLT(DIM, 1000, 3),
    SJLT(DIM, 3000, 3, nonzeros=4),
    SRHT(DIM, 1000, 4),
    SRHT(DIM, 8192, 4),
    Mask(DIM, 300, 5),
)
_OUTER = (
    SRHT(_LAYER, 512, 1),
    Mask(_LAYER, 64, 2),
    SJLT(_LAYER, 512, 3),
    TensorSketch(A, DELTA, 512, 3),
    TensorSketch(A, DELTA, 8192, 3),
    Factored(SRHT(A, 32, 1), Rademacher(DELTA, 16, 2)),
    Composition(_MASKS, SJLT(1200, 100, 3)),
)
_ROWS = (SRHT(_TABLE, 512, 1), SJLT(_TABLE, 512, 1), Mask(_TABLE, 64, 1), Rademacher(_TABLE, 100, 1))
_MANY, _FEW = _normal((140, 500), (3000, 500)), _normal((3, 500), (3000, 500))


def _inner(queries: Tensor, features: Tensor) -> Tensor:
    return _rows(queries) * _rows(features)


CALLS: dict[str, Call] = {
    **{f"project {_sketch_name(s)}": _project(s) for s in _PROJECT},
    **{f"outer_project {_sketch_name(s)}": _outer_project(s) for s in _OUTER},
    "outer_project slice": _outer_project(SRHT(10 * _LAYER, 512, 1), 12_345),
    **{f"rows_project {_sketch_name(s)}": _rows_project(s) for s in _ROWS},
    "outer_dot": Call(
        "outer_dot",
        ops.outer_dot,
        _normal((40, 3, A), (40, 3, DELTA), (7, 50, A), (7, 50, DELTA)),
        lambda a, delta, a2, delta2: _factors(a, delta) * _factors(a2, delta2),
    ),
    "outer_norm2": Call(
        "outer_norm2", ops.outer_norm2, _normal((40, 33, A), (40, 33, DELTA)), lambda a, d: _factors(a, d).square()
    ),
    "outer_norm2 long": Call(
        "outer_norm2", ops.outer_norm2, _normal((3, 900, 40), (3, 900, 30)), lambda a, d: _factors(a, d).square()
    ),
    "scores": Call("scores", ops.scores, _MANY, _inner),
    "scores few": Call("scores", ops.scores, _FEW, _inner),
    "topk": Call("topk", lambda q, f: ops.topk(q, f, 50), _MANY, _inner),
    "topk few": Call("topk", lambda q, f: ops.topk(q, f, 7), _FEW, _inner),
}
# One of each op whose reference forms a small matrix.
SMALL = ["outer_dot", "outer_norm2", "scores few", "topk few", "outer_project TensorSketch512", "rows_project Mask64"]
ADDS = [name for name, call in CALLS.items() if call.op.endswith("project")]


def results(found: Any) -> tuple[Tensor, ...]:
    """One or several results as a tuple."""
    return found if isinstance(found, tuple) else (found,)


def expected(call: Call, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The same in float64 on the CPU, whose kernels other tests hold against the reference."""
    return results(call.run(*(wide(x) for x in tensors)))


def wide(x: Tensor) -> Tensor:
    """In float64, where it is no index; on the CPU."""
    return x.cpu().double() if x.is_floating_point() else x.cpu()


def assert_right(name: str, found: Any, tensors: tuple[Tensor, ...]) -> None:
    """Fails unless the result is the exact one up to `RELATIVE`; indices of equal scores may change places."""
    call = CALLS[name]
    tolerance = RELATIVE * float(call.scale(*(wide(x) for x in tensors)))
    values, *indices = (x.cpu() for x in results(found))
    exact, *_ = expected(call, tensors)
    error = (values.double() - exact).abs().max()
    assert error <= tolerance, f"{name}: error {error:.3g}, tolerance {tolerance:.3g}"
    if indices:
        every = wide(tensors[0]) @ wide(tensors[1]).T
        assert (every.gather(1, indices[0]) - values.double()).abs().max() <= tolerance, f"{name}: wrong indices"
        assert all(len(row.unique()) == row.numel() for row in indices[0]), f"{name}: an index comes twice"


# --- For tests that need a device -----------------------------------------------------------------

ON_A_GPU = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.usefixtures("kernels_are_built"),
]
every_call = pytest.mark.parametrize("name", CALLS)


def on_gpu(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The same on the current device."""
    return tuple(x.cuda() for x in tensors)


def inputs(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, ...]:
    """Those of a call, on the current device."""
    return on_gpu(CALLS[name].tensors(dtype, seed))


def same_bits(found: Any, expected: Any) -> None:
    """Fails unless all results are the same to the bit."""
    for ours, theirs in zip(results(found), results(expected), strict=True):
        assert_same_bits(ours, theirs)
