"""Sketches, norms and inner products of per-example gradients, streaming: memory does not grow with the examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..ops.dtypes import accumulator
from ..problem import Data, Examples, Problem, Stream
from ..problem.trees import Tree, check_finite
from ..sketch import Composition, VectorSketch
from ..utils.progress import Plan, track
from .gradient_set import GradientSet, Products
from .inner_products import norm2 as norm2_of
from .layer_sketch import LayerSketch
from .sketching import Sketches
from .stream import prepare, zeros
from .terms import Term


def sketch(
    problem: Problem,
    data: Data,
    sketch: VectorSketch | Composition | LayerSketch,
    of: str = "loss",
    batch_size: int | None = None,
    progress: bool | Plan = False,
    name: str = "data",
    out: Tensor | None = None,
) -> Tensor:
    """Sketches S∇ of the examples' gradients, which are never formed as a whole.

    Args:
        problem: Model, loss and parameters.
        data: Examples in any form that `fimo_fast.data.stream` takes.
        sketch: Of the whole gradient in the order of ``problem.ravel``, with input_dim ``problem.numel``: the result
            equals ``ops.project(problem.ravel(gradients), sketch)``. Or a `LayerSketch`.
        of: ``"loss"`` for ``loss_fn``, ``"output"`` for ``output_fn``.
        batch_size: Examples of a forward and backward pass; by their size in memory (at most 1,024), unless given. A
            DataLoader has its own.
        progress: True shows a bar; or a ``Plan`` it is part of.
        name: What errors call the data.
        out: Where to write them, [examples, sketch_dim] of the result's type; memory of a file, say.

    Returns:
        [examples, sketch_dim], float64 for float64 models, else float32; ``out`` if it was given.

    Raises:
        TypeError: No such data or sketch.
        ValueError: Data or sketch do not fit the problem.
        FloatingPointError: A gradient is not finite.
    """
    sketches = Sketches(problem, sketch)
    gradients, batches = prepare(problem, data, name, of, batch_size)
    count = batches.source.count
    if out is not None:
        _check_out(out, count, sketches)
    elif count is not None:
        out = sketches.empty(count)
    rows: list[Tensor] = []
    for start, batch in _shown(batches, "sketches", progress):
        part = sketches.empty(len(batch)) if out is None else out[start : start + len(batch)].zero_()
        gradients(batch, lambda name, term, part=part: sketches.add(name, term, part))  # type: ignore[misc]
        rows.append(check_finite(part, f"{name} gradients", start))
    return torch.cat(rows) if out is None else out


def norm2(
    problem: Problem, data: Data, of: str = "loss", batch_size: int | None = None, progress: bool | Plan = False
) -> Tensor:
    """Squared norms of the examples' gradients, [examples]; arguments as in `sketch`."""
    gradients, batches = prepare(problem, data, "data", of, batch_size)
    rows = []
    for start, batch in _shown(batches, "norms", progress):
        norms = Norms(gradients.repeated)
        gradients(batch, norms.add)
        rows.append(check_finite(norms.total(zeros(problem, len(batch))), "data gradients", start))
    return torch.cat(rows)


def dots(
    problem: Problem,
    train: Data,
    queries: Data | GradientSet,
    batch_size: int | None = None,
    tokens: bool = False,
    progress: bool | Plan = False,
) -> Tensor:
    """Inner products ∇ℓ_i · ∇g_z of training examples' loss gradients and queries' output gradients, exactly.

    The factors of the queries' gradients stay in memory; training examples are streamed past them, each layer
    multiplied and freed as the backward pass reaches it.

    Args:
        problem: Model, loss, output and parameters.
        train: Training examples.
        queries: Queries, whose output gradients are taken; or a `GradientSet` that is at hand, of the same parameters.
        batch_size: As in `sketch`.
        tokens: For training sequences [batch, tokens, ...]: the part of each position. A layer's gradient is a sum over
            positions, and so is each inner product.
        progress: As in `sketch`.

    Returns:
        [n_train, n_queries]; with ``tokens`` [n_train, tokens, n_queries].

    Raises:
        ValueError: As in `sketch`; with ``tokens``, a parameter whose gradient is not known as a sum over positions, or
            sequences of several lengths.
    """
    return dots_and_norms(problem, train, queries, batch_size, tokens=tokens, progress=progress)[0]


def dots_and_norms(
    problem: Problem,
    train: Data,
    queries: Data | GradientSet,
    batch_size: int | None = None,
    norms: bool = False,
    tokens: bool = False,
    progress: bool | Plan = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """`dots`, and squared norms [n_train] and [n_queries] from the same passes, empty unless asked for."""
    held = queries
    if not isinstance(held, GradientSet):
        held = GradientSet.collect(problem, held, "output", batch_size, "queries")
    elif held.problem.shapes != problem.shapes:
        raise ValueError(f"queries: expected gradients of {problem!r}, got those of {held.problem!r}")
    gradients, batches = prepare(problem, train, "train", "loss", batch_size)
    rows: list[Tensor] = []
    train_norms = [zeros(problem, 0)]
    for start, batch in _shown(batches, "inner products", progress):
        length = _length(batch, rows) if tokens else None
        products = Products(held, len(batch), length)
        own = Norms(gradients.repeated) if norms else None

        def receive(name: str, term: Term, products: Products = products, own: Norms | None = own) -> None:
            products.add(name, term)
            if own:
                own.add(name, term)

        gradients(batch, receive, length)
        rows.append(check_finite(products.total, "train gradients", start))
        if own:
            train_norms.append(own.total(zeros(problem, len(batch))))
    return _joined(rows), torch.cat(train_norms), held.norm2() if norms else zeros(problem, 0)


def formed(problem: Problem, data: Data, of: str = "loss", batch_size: int | None = None) -> dict[str, Tensor]:
    """The gradients themselves, {parameter: [examples, *shape]}, put together from the layers' terms.

    Arguments, errors and types as in `sketch`.
    """
    gradients, batches = prepare(problem, data, "data", of, batch_size)
    parts = []
    for start, batch in _shown(batches, "gradients", False):
        formed = gradients.formed(batch)
        for name, values in formed.items():
            check_finite(values, f"data gradients of {name}", start)
        parts.append(formed)
    return {name: torch.cat([part[name] for part in parts]) for name in problem.shapes}


def per_example_gradients(problem: Problem, inputs: Tree, targets: Tree, of: str = "loss") -> dict[str, Tensor]:
    """`formed` of one batch of tensors, which may be empty.

    Args:
        problem: Model, loss and parameters.
        inputs: [batch, ...], or a nested tuple or dict of such tensors.
        targets: Likewise.
        of: ``"loss"`` for ``loss_fn``, ``"output"`` for ``output_fn``.

    Returns:
        {parameter: [batch, *shape]}, float64 for float64 models, else float32.

    Raises:
        ValueError, FloatingPointError: As in `sketch`.
    """
    examples = Examples(inputs, targets)
    if len(examples) == 0:
        dtype = accumulator(problem.dtype)
        return {name: p.new_zeros(p.shape, dtype=dtype)[None][:0] for name, p in problem.parameters().items()}
    return formed(problem, examples, of)


def paths(problem: Problem, data: Data, of: str = "loss") -> dict[str, str]:
    """How each parameter's gradient is computed, {parameter: path}; see `GradientStream`."""
    return prepare(problem, data, "data", of, None)[0].paths


class Norms:
    """Squared norms of a batch's gradients, term by term; what has several terms is held until all are there."""

    def __init__(self, repeated: frozenset[str]) -> None:
        self._repeated = repeated
        self._sums: dict[str, Tensor] = {}
        self._held: dict[str, list[Term]] = {}

    def add(self, name: str, term: Term) -> None:
        """Takes one term."""
        if name in self._repeated:
            self._held.setdefault(name, []).append(term)
        elif name in self._sums:
            raise RuntimeError(f"gradients: {name} was used more often than on the first examples")
        else:
            self._sums[name] = norm2_of([term])

    def total(self, start: Tensor) -> Tensor:
        """Their sum, added to start [batch]."""
        return sum([*self._sums.values(), *(norm2_of(terms) for terms in self._held.values())], start=start)


def _length(batch: Examples, before: Sequence[Tensor]) -> int:
    """How many tokens the sequences have."""
    targets = batch.targets
    if not isinstance(targets, Tensor) or targets.dim() < 2:
        raise ValueError("tokens: expected sequences with a target for each position, [batch, tokens]")
    if before and before[0].shape[1] != targets.shape[1]:
        raise ValueError(
            f"tokens: expected sequences of one length, got {before[0].shape[1]} and {targets.shape[1]} tokens; pad "
            "all batches to one length"
        )
    return targets.shape[1]


def _check_out(out: Tensor, count: int | None, sketches: Sketches) -> None:
    like = sketches.empty(0)
    expected = ["number of examples" if count is None else count, like.shape[1]]
    if not isinstance(out, Tensor) or out.dtype != like.dtype or out.device != like.device:
        got = f"{out.dtype} on {out.device}" if isinstance(out, Tensor) else type(out).__name__
        raise TypeError(f"out: expected a tensor of {like.dtype} on {like.device}, got {got}")
    if list(out.shape) != expected:
        raise ValueError(f"out: expected shape {expected}, got {list(out.shape)}")


def _joined(rows: list[Tensor]) -> Tensor:
    return rows[0] if len(rows) == 1 else torch.cat(rows)  # which would copy


def _shown(batches: Stream, what: str, progress: bool | Plan) -> Iterator[tuple[int, Examples]]:
    """Batches with the number of the examples before them, under a bar."""
    start = 0
    with track(progress, what, batches.source.count) as advance:
        for batch in batches:
            yield start, batch
            start += len(batch)
            advance(len(batch))
