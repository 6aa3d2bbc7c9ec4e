"""Sketches of per-example gradients of a whole model, piece by piece, the gradient never put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import ops
from ..problem import Problem
from ..sketch import SJLT, SRHT, Composition, Factored, Sketch, TensorSketch, VectorSketch
from .pieces import Outer, Piece, Rows


@dataclass(frozen=True)
class LayerSketch:
    """A sketch of a model's gradient that sketches each parameter by itself and adds the results.

    As the parameters' sketches are independent, E⟨Sx, Sy⟩ = ⟨x, y⟩ holds for their sum, as for one sketch of the whole
    vector. What it is for: sketches of matrices by their factors, which cost less than forming the gradient of a layer
    wherever a layer sees few tokens. Build one with `for_problem`.

    Attributes:
        sketches: {parameter: its sketch}, all with the same sketch_dim.
    """

    sketches: Mapping[str, Sketch]

    def __post_init__(self) -> None:
        """Checks that the results can be added."""
        dims = {sketch.sketch_dim for sketch in self.sketches.values()}
        if len(dims) != 1:
            raise ValueError(f"sketches: expected one sketch_dim for all parameters, got {sorted(dims)}")

    @classmethod
    def for_problem(cls, problem: Problem, sketch_dim: int, seed: int = 0, matrices: str = "tensor") -> LayerSketch:
        """A sketch for each parameter: by factors for weights of linear and convolution layers, an SJLT for all others.

        Args:
            problem: The model and its parameters of interest.
            sketch_dim: Length of the sketches; a power of two, a square one for ``"factored"``.
            seed: 0 to 2^32 − 1; parameter number p uses seeds of its own.
            matrices: ``"tensor"`` for a `TensorSketch`, as accurate as a sketch of the formed gradient; ``"factored"`` for
                a `Factored` one (LoGra), faster for long sequences and much less accurate.

        Raises:
            ValueError: ``matrices`` is neither, or sketch_dim does not allow it.
        """
        if matrices not in ("tensor", "factored"):
            raise ValueError(f'matrices: expected "tensor" or "factored", got {matrices!r}')
        side = 1 << (sketch_dim.bit_length() - 1) // 2
        if matrices == "factored" and side * side != sketch_dim:
            raise ValueError(f"sketch_dim: expected a power of four for factored sketches, got {sketch_dim}")
        shapes = _matrices(problem)
        sketches: dict[str, Sketch] = {}
        for number, (name, shape) in enumerate(problem.shapes.items()):
            first = (seed << 32) + 4 * number
            if name not in shapes:
                sketches[name] = SJLT(shape.numel(), sketch_dim, first, nonzeros=1)
            elif matrices == "tensor":
                sketches[name] = TensorSketch(shapes[name][1], shapes[name][0], sketch_dim, first)
            else:
                m, n = shapes[name]
                sketches[name] = Factored(SRHT(n, side, first), SRHT(m, side, first + 1))
        return cls(sketches)

    @property
    def sketch_dim(self) -> int:
        """Length of the sketches."""
        return next(iter(self.sketches.values())).sketch_dim

    @property
    def spec(self) -> dict[str, Any]:
        """A JSON-able description."""
        return {"kind": "layers", "sketches": {name: sketch.spec for name, sketch in self.sketches.items()}}


class Sketches:
    """Adds sketches of pieces up, for one batch after another.

    Args:
        problem: Whose parameters.
        sketch: Of the whole gradient, in the order of ``problem.ravel`` (a sketch of vectors or a `Composition` of such,
            input_dim ``problem.numel``); or a `LayerSketch`.

    Raises:
        TypeError: No such sketch.
        ValueError: It is of another number of parameters.
    """

    def __init__(self, problem: Problem, sketch: VectorSketch | Composition | LayerSketch) -> None:
        if isinstance(sketch, LayerSketch):
            if set(sketch.sketches) != set(problem.shapes):
                raise ValueError("sketch: expected a LayerSketch of the problem's parameters, got one of others")
            sizes = {name: one.input_dim for name, one in sketch.sketches.items()}
            wrong = [name for name, shape in problem.shapes.items() if sizes[name] != shape.numel()]
            if wrong:
                raise ValueError(f"sketch: expected sketches of the parameters' sizes, got others for {wrong[:8]}")
        elif isinstance(sketch, (VectorSketch, Composition)):
            if sketch.input_dim != problem.numel:
                raise ValueError(
                    f"sketch: expected input_dim {problem.numel} like the problem's parameters, got {sketch.input_dim}"
                )
        else:
            raise TypeError(f"sketch: expected a sketch of vectors or a LayerSketch, got {type(sketch).__name__}")
        self.sketch = sketch
        self._offsets: dict[str, int] = {}
        at = 0
        for name, shape in problem.shapes.items():
            self._offsets[name] = at
            at += shape.numel()
        self._dtype = torch.promote_types(problem.dtype, torch.float32)
        self._device = problem.device

    def empty(self, batch: int) -> Tensor:
        """Zeros [batch, sketch_dim] to add to."""
        return torch.zeros(batch, self.sketch.sketch_dim, dtype=self._dtype, device=self._device)

    def add(self, name: str, piece: Piece, out: Tensor) -> None:
        """Adds the sketch of a piece of a parameter's gradient to out [batch, sketch_dim]."""
        if isinstance(self.sketch, LayerSketch):
            of_parameter = self.sketch.sketches[name]
            if isinstance(of_parameter, VectorSketch):
                _add_vector(piece, of_parameter, piece.start, out)
            else:
                _add_matrix(piece, of_parameter, out)
        else:
            _add_vector(piece, self.sketch, self._offsets[name] + piece.start, out)


def _add_vector(piece: Piece, sketch: VectorSketch | Composition, offset: int, out: Tensor) -> None:
    if isinstance(piece, Outer):
        _accumulate(ops.outer_project, (piece.a, piece.delta), sketch, offset, out)
    elif isinstance(piece, Rows):
        _accumulate(ops.rows_project, (piece.index, piece.delta), sketch, offset, out)
    else:
        _accumulate(ops.project, (piece.value,), sketch, offset, out)


def _accumulate(op: Any, arguments: tuple[Tensor, ...], sketch: Any, offset: int, out: Tensor) -> None:
    if out.dtype == torch.promote_types(arguments[-1].dtype, torch.float32):
        op(*arguments, sketch, offset=offset, out=out)
    else:  # a module that computes in another type than the model's
        wide = tuple(t.to(out.dtype) if t.is_floating_point() else t for t in arguments)
        op(*wide, sketch, offset=offset, out=out)


def _add_matrix(piece: Piece, sketch: Factored | TensorSketch | Composition, out: Tensor) -> None:
    """A sketch of a matrix by its factors; what has none is written as Σ_j (column j) e_jᵀ."""
    n, m = (
        (sketch.a.input_dim, sketch.delta.input_dim)
        if isinstance(sketch, Factored)
        else (sketch.a_dim, sketch.delta_dim)
    )  # type: ignore[union-attr]
    if isinstance(piece, Outer) and (piece.a.shape[-1], piece.delta.shape[-1]) == (n, m):
        a, delta = piece.a, piece.delta
    else:
        value = piece.formed()
        whole = value.new_zeros(len(value), m * n)
        whole[:, piece.start : piece.start + piece.width] = value
        a = torch.eye(n, dtype=value.dtype, device=value.device).expand(len(value), n, n)
        delta = whole.unflatten(1, (m, n)).mT.contiguous()
    if out.dtype != torch.promote_types(a.dtype, torch.float32):
        a, delta = a.to(out.dtype), delta.to(out.dtype)
    ops.outer_project(a, delta, sketch, out=out)


def _matrices(problem: Problem) -> dict[str, tuple[int, int]]:
    """(rows m, columns n) of the weights whose gradients are outer products at all layers that use them."""
    linear = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    owners: dict[str, list[nn.Module]] = {}
    names = {id(p): name for name, p in problem.model.named_parameters()}
    for module in problem.model.modules():
        for p in module.parameters(recurse=False):
            owners.setdefault(names[id(p)], []).append(module)
    found = {}
    for name, shape in problem.shapes.items():
        alike = all(_is_matrix(module, linear) for module in owners[name])
        if alike and len(shape) >= 2:
            found[name] = (shape[0], shape[1:].numel())
    return found


def _is_matrix(module: nn.Module, linear: tuple[type[nn.Module], ...]) -> bool:
    if type(module).__name__ == "Conv1D":  # transformers'
        return True
    return isinstance(module, linear) and getattr(module, "groups", 1) == 1
