"""Sketches of per-example gradients of a whole model, term by term, the gradient never put together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import ops
from ..ops.dtypes import accumulator
from ..problem import Problem
from ..sketch import Composition, VectorSketch
from .inner_products import chunks
from .layer_sketch import LayerSketch, MatrixSketch
from .terms import Convolved, Dense, Outer, Rows, Term


class Sketches:
    """Adds sketches of terms up, for one batch after another.

    Args:
        problem: Whose parameters.
        sketch: Of the whole gradient, in the order of ``problem.ravel``: a sketch of vectors or a `Composition` of
            such, with input_dim ``problem.numel``; or a `LayerSketch`.

    Raises:
        TypeError: No such sketch.
        ValueError: It is of other parameters.
    """

    def __init__(self, problem: Problem, sketch: VectorSketch | Composition | LayerSketch) -> None:
        if isinstance(sketch, LayerSketch):
            sketch.check(problem)
        elif not isinstance(sketch, (VectorSketch, Composition)):
            raise TypeError(f"sketch: expected a sketch of vectors or a LayerSketch, got {type(sketch).__name__}")
        elif isinstance(sketch, Composition) and not isinstance(_first_stage(sketch), VectorSketch):
            raise TypeError("sketch: expected a Composition of sketches of vectors, got one that starts with factors")
        elif sketch.input_dim != problem.numel:
            raise ValueError(
                f"sketch: expected input_dim {problem.numel} like the problem's parameters, got {sketch.input_dim}"
            )
        self.sketch = sketch
        biases = sketch.biases if isinstance(sketch, LayerSketch) else {}
        self._biases = {weight: bias for bias, weight in biases.items()}
        self._offsets: dict[str, int] = {}
        at = 0
        for name, shape in problem.shapes.items():
            self._offsets[name] = at
            at += shape.numel()
        self._dtype = accumulator(problem.dtype)
        self._device = problem.device

    def empty(self, batch: int) -> Tensor:
        """Zeros [batch, sketch_dim] to add to."""
        return torch.zeros(batch, self.sketch.sketch_dim, dtype=self._dtype, device=self._device)

    def add(self, name: str, term: Term, out: Tensor) -> None:
        """Adds the sketch of a term of a parameter's gradient to out [batch, sketch_dim]."""
        term = _in_type_of(out, term)
        if not isinstance(self.sketch, LayerSketch):
            return _add_vector(term, self.sketch, self._offsets[name] + term.start, out)
        if name in self.sketch.biases:
            return self._add_bias(self.sketch, name, term, out)
        own, out = self.sketch.sketches[name], out[:, self.sketch.part(name)]
        if isinstance(own, VectorSketch):
            return _add_vector(term, own, term.start, out)
        return _add_matrix(term, own, self._biases.get(name), out)

    def _add_bias(self, sketch: LayerSketch, name: str, term: Term, out: Tensor) -> None:
        """The last column of the weight with it, unless the weight's term had it already."""
        assert isinstance(term, Dense)
        if term.partner == sketch.biases[name]:
            return
        weight = sketch.biases[name]
        own, out = sketch.sketches[weight], out[:, sketch.part(weight)]
        assert isinstance(own, MatrixSketch)
        m, n = own.delta_dim, own.a_dim
        value = F.pad(term.value, (term.start, m - term.start - term.width))
        last = torch.zeros(n, dtype=value.dtype, device=value.device)
        last[-1] = 1
        ops.outer_project(last.expand(len(value), 1, n), value[:, None], own, out=out)


def _first_stage(sketch: Any) -> Any:
    """What a composition applies first."""
    return _first_stage(sketch.first) if isinstance(sketch, Composition) else sketch


def _add_vector(term: Term, sketch: Any, offset: int, out: Tensor) -> None:
    if isinstance(sketch, Composition):
        between = out.new_zeros(len(out), sketch.first.sketch_dim)
        _add_vector(term, sketch.first, offset, between)
        ops.project(between, sketch.second, out=out)
    elif isinstance(term, Outer):
        ops.outer_project(term.a, term.delta, sketch, offset=offset, out=out)
    elif isinstance(term, Rows):
        ops.rows_project(term.index, term.delta, sketch, offset=offset + term.start, out=out)
    elif isinstance(term, Convolved):
        for some in chunks(len(term), 16 * term.width):  # so few that they are still in the cache
            ops.project(term[some].formed(), sketch, offset=offset, out=out[some])
    else:
        ops.project(term.value, sketch, offset=offset, out=out)


def _add_matrix(term: Term, sketch: MatrixSketch, bias: str | None, out: Tensor) -> None:
    """A matrix by its factors; what is no such product is written as one, Σ_j (column j) e_jᵀ."""
    m, n = sketch.delta_dim, sketch.a_dim
    columns = n - (bias is not None)
    if isinstance(term, Outer) and term.a.shape[-1] == columns and term.delta.shape[-1] == m:
        a, delta = term.a, term.delta
    else:
        whole = F.pad(term.formed(), (term.start, m * columns - term.start - term.width))
        a = torch.eye(columns, dtype=whole.dtype, device=whole.device).expand(len(whole), columns, columns)
        delta = whole.unflatten(1, (m, columns)).mT.contiguous()
    if bias is not None:
        included = isinstance(term, Outer) and term.partner == bias
        a = F.pad(a, (0, 1), value=1.0 if included else 0.0)
    ops.outer_project(a, delta, sketch, out=out)


def _in_type_of(out: Tensor, term: Term) -> Term:
    """A term whose sketches are of out's type: modules may compute in another than the model's."""
    part = term.value if isinstance(term, Dense) else term.delta
    if accumulator(part.dtype) == out.dtype:
        return term
    if isinstance(term, Outer):
        return Outer(term.a.to(out.dtype), term.delta.to(out.dtype), term.start, term.partner)
    if isinstance(term, Rows):
        return Rows(term.index, term.delta.to(out.dtype), term.rows, term.start)
    if isinstance(term, Convolved):
        return replace(term, x=term.x.to(out.dtype), delta=term.delta.to(out.dtype))
    return Dense(term.value.to(out.dtype), term.start, term.partner)
