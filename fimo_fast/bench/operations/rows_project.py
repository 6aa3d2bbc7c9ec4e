"""Cases of `rows_project`: sketches of per-example gradients of an embedding, from the rows that were looked up."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from ... import ops
from ...ops import reference
from ...sketch import VectorSketch
from ...testing import sum_tolerance
from ..case import Baseline, Call, Case, Inputs, size_in_words
from . import project

KINDS = ("SRHT", "SJLT-1")

# batch, tokens, rows of the vocabulary, dim, sketch_dim: a small GPT-2.
DEFAULT = [(8, 128, 50257, 256, 4096)]
FULL = [(8, 1024, 50257, 768, 4096)]

_CHECKED_TOKENS = 8  # of two examples against the reference, which makes a dense matrix for each


def cases(dtypes: tuple[torch.dtype, ...], full: bool = False) -> Iterator[Case]:
    """The cases, in the order of the table."""
    for size in DEFAULT + FULL * full:
        for kind in KINDS:
            for dtype in dtypes:
                yield case(kind, *size, dtype)


def case(kind: str, batch: int, tokens: int, vocabulary: int, dim: int, sketch_dim: int, dtype: torch.dtype) -> Case:
    """Sketches [batch, sketch_dim] of the gradients [vocabulary, dim] of ``batch`` examples of ``tokens`` tokens."""
    sketch = project.KINDS[kind].make(vocabulary * dim, sketch_dim)
    assert isinstance(sketch, VectorSketch)
    accumulator = reference.accumulator(dtype)
    read = batch * tokens * (8 + dim * dtype.itemsize)
    results = batch * sketch_dim * accumulator.itemsize
    return Case(
        operation="rows_project",
        name=f"{kind} {batch} x {tokens} of {size_in_words(vocabulary)} x {dim} to {sketch_dim}",
        dtype=dtype,
        sizes={"batch": batch, "tokens": tokens, "vocabulary": vocabulary, "dim": dim, "sketch_dim": sketch_dim},
        moved=read + results,
        # Transforms and additions of the numbers of delta, as if they filled their blocks.
        operations=batch * project.KINDS[kind].count(tokens * dim, sketch_dim),
        bound="read",
        memory=2 * read + 3 * results + vocabulary * dim * (accumulator.itemsize + 8),
        inputs=lambda device: (
            torch.randint(vocabulary, (batch, tokens), device=device),
            torch.randn(batch, tokens, dim, dtype=dtype, device=device),
        ),
        kernel=partial(_rows_project, sketch=sketch),
        check=partial(_check, sketch=sketch),
        baselines={"project of the formed gradient": Baseline("torch", partial(_formed, sketch=sketch))},
    )


def _rows_project(index: Tensor, delta: Tensor, sketch: VectorSketch) -> Tensor:
    return ops.rows_project(index, delta, sketch)


def _formed(inputs: Inputs, sketch: VectorSketch) -> Call:
    """`project` of gradients formed one after the other, in memory of one: what there was before this op."""
    index, delta = inputs
    dtype, dim = reference.accumulator(delta.dtype), delta.shape[2]
    gradient = torch.empty(sketch.input_dim // dim, dim, dtype=dtype, device=delta.device)

    def call() -> Tensor:
        out = torch.zeros(len(delta), sketch.sketch_dim, dtype=dtype, device=delta.device)
        for rows, numbers, target in zip(index, delta, out.split(1), strict=True):
            ops.project(gradient.zero_().index_add_(0, rows, numbers.to(dtype)).view(1, -1), sketch, out=target)
        return out

    return call


def _check(inputs: Inputs, result: Tensor, sketch: VectorSketch) -> None:
    """Some tokens of two examples against the reference; the timed result of these against the formed gradient."""
    ends = torch.tensor([0, len(result) - 1])
    index, delta = (x[ends] for x in inputs)
    some = torch.zeros_like(delta)
    kept = slice(None, None, -(-delta.shape[1] // _CHECKED_TOKENS))
    some[:, kept] = delta[:, kept]
    actual = _rows_project(index, some, sketch).cpu()
    # On the CPU, where float64 has a kernel: the dense matrix of a vocabulary is too much for the definition.
    index, delta, some = index.cpu(), delta.cpu(), some.cpu()
    expected = reference.rows_project(index[:, kept], delta[:, kept].double(), sketch)
    _close(actual, expected, some)
    _close(result[ends].cpu(), _formed((index, delta.double()), sketch)(), delta)


def _close(actual: Tensor, expected: Tensor, delta: Tensor) -> None:
    tolerance = sum_tolerance(actual.dtype, delta[0].numel()) * delta.double().flatten(1).norm(dim=1)
    error = (actual.double() - expected).norm(dim=1)
    assert (error < tolerance).all(), f"error {error.max():.2g}, tolerance {tolerance.max():.2g}"
