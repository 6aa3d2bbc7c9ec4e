"""What a sketch loses and what it costs: error of inner products, recall of the best examples, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from quality_problems import Gradients
from torch import Tensor

from fimo_fast import ops, sketch

TOP, WITHIN = 10, 50
BATCH = 128  # gradients of one timed call


@dataclass(frozen=True)
class Kind:
    """One sort of sketch.

    Attributes:
        name: for people.
        make: (input_dim, sketch_dim, seed) → the sketch.
        nested: the sketch for a smaller sketch_dim is the first rows of a larger one's, but for the scale
            (docs/numerics.md: an entry depends on its row, its column and the seed only).
    """

    name: str
    make: Callable[[int, int, int], sketch.Sketch]
    nested: bool = False


def _mask_sjlt(dim: int, k: int, seed: int) -> sketch.Sketch:
    first = sketch.Mask(dim, min(8 * k, dim), seed)
    return sketch.Composition(first, sketch.SJLT(first.sketch_dim, k, seed, nonzeros=1))


def _sjlt_srht(dim: int, k: int, seed: int) -> sketch.Sketch:
    first = sketch.SJLT(dim, 4 * k, seed, nonzeros=1)
    return sketch.Composition(first, sketch.SRHT(4 * k, k, seed))


KINDS = (
    Kind("SRHT", sketch.SRHT),
    Kind("SJLT, 1 nonzero", lambda dim, k, seed: sketch.SJLT(dim, k, seed, nonzeros=1)),
    Kind("SJLT, 4 nonzeros", lambda dim, k, seed: sketch.SJLT(dim, k, seed, nonzeros=4)),
    Kind("SJLT to 4k, SRHT", _sjlt_srht),
    Kind("Rademacher", sketch.Rademacher, nested=True),
    Kind("Gaussian", sketch.Gaussian, nested=True),
    Kind("Mask of 8k, SJLT", _mask_sjlt),
    Kind("Mask", sketch.Mask),
)


@dataclass
class Measurement:
    """One kind and size on one problem.

    Attributes:
        kind, sketch_dim: what.
        error: root mean square of (<Sx, Sy> - <x, y>) / (|x| |y|) over all pairs and seeds.
        error_of_spread: root mean square of <Sx, Sy> - <x, y> for a query, over the standard deviation of its true
            scores; median over the queries.
        recall: share of a query's 10 best training examples among the 10 best by sketches, mean over queries and seeds.
        recall_within: among the 50 best by sketches.
        recall_by_seed: ``recall`` for each seed.
        seconds: for 1000 gradients.
    """

    kind: str
    sketch_dim: int
    error: float
    error_of_spread: float
    recall: float
    recall_within: float
    recall_by_seed: list[float]
    seconds: float = field(default=float("nan"))


class Truth:
    """Inner products of all queries and training examples in float64, [n_queries, n_train]."""

    def __init__(self, gradients: Gradients) -> None:
        parts = zip(gradients.queries.split(4096, dim=1), gradients.train.split(4096, dim=1), strict=True)
        self.scores = sum(queries.double() @ train.double().T for queries, train in parts)
        norms = [part.double().norm(dim=1) for part in (gradients.queries, gradients.train)]
        self.norms = norms[0][:, None] * norms[1]
        self.best = self.scores.topk(TOP, dim=1).indices

    def compare(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean squared error and error of the spread, squared, [n_queries] each; recall and recall within more."""
        errors = scores - self.scores
        relative = (errors / self.norms.clamp_min(1e-300)).square().mean(1)
        of_spread = errors.square().mean(1) / self.scores.var(1, unbiased=False)
        found = scores.topk(WITHIN, dim=1).indices
        hits = (self.best[:, :, None] == found[:, None, :]).double()
        return relative, of_spread, hits[:, :, :TOP].sum((1, 2)).mean() / TOP, hits.sum((1, 2)).mean() / TOP


def quality(
    gradients: Gradients,
    kinds: Sequence[Kind],
    sketch_dims: Sequence[int],
    seeds: Sequence[int],
    advance: Callable[[float], None],
) -> list[Measurement]:
    """Errors and recall of each kind and size; `advance` is told the share that is done."""
    truth = Truth(gradients)
    # Shares of the time, roughly: dense sketches cost their size, others the input.
    shares = {kind.name: max(sketch_dims) if kind.nested else 50 * len(sketch_dims) for kind in kinds}
    results = []
    for kind in kinds:
        found: dict[int, list] = {k: [] for k in sketch_dims}
        for seed in seeds:
            for k, scores in _scores(gradients, kind, sketch_dims, seed):
                found[k].append(truth.compare(scores))
            advance(shares[kind.name] / sum(shares.values()) / len(seeds))
        for k, seen in found.items():
            relative, of_spread, recall, within = (torch.stack(values) for values in zip(*seen, strict=True))
            results.append(
                Measurement(
                    kind.name,
                    k,
                    relative.mean().sqrt().item(),
                    of_spread.mean(0).sqrt().median().item(),
                    recall.mean().item(),
                    within.mean().item(),
                    recall.tolist(),
                )
            )
    return results


def _scores(gradients: Gradients, kind: Kind, sketch_dims: Sequence[int], seed: int):
    """(sketch_dim, inner products of sketches [n_queries, n_train]) for each size."""
    dim = gradients.train.shape[1]
    if not kind.nested:
        for k in sketch_dims:
            made = kind.make(dim, k, seed)
            yield k, _inner(ops.project(gradients.queries, made), ops.project(gradients.train, made))
        return
    largest = max(sketch_dims)
    made = kind.make(dim, largest, seed)
    queries, train = ops.project(gradients.queries, made), ops.project(gradients.train, made)
    smallest = ops.project(gradients.queries[:1], kind.make(dim, min(sketch_dims), seed))
    scale = (largest / min(sketch_dims)) ** 0.5
    torch.testing.assert_close(queries[:1, : min(sketch_dims)] * scale, smallest, rtol=1e-3, atol=1e-4)
    for k in sketch_dims:
        yield k, _inner(queries[:, :k], train[:, :k]) * (largest / k)


def _inner(queries: Tensor, train: Tensor) -> Tensor:
    return queries.double() @ train.double().T


def time_all(
    gradients: Gradients,
    kinds: Sequence[Kind],
    results: Sequence[Measurement],
    rounds: int,
    advance: Callable[[float], None],
) -> float:
    """Adds seconds for 1000 gradients to the results; returns those of reading the numbers once (their sum in torch).

    Kinds take turns, so that all see the same machine; the minimum counts. What takes long gets three turns.
    """
    batch = gradients.train[:BATCH].contiguous()
    made = {kind.name: kind.make for kind in kinds}
    calls: list[Callable[[], object]] = [batch.sum]
    for result in results:
        one = made[result.kind](batch.shape[1], result.sketch_dim, 0)
        calls.append(lambda one=one: ops.project(batch, one))
    best = [float("inf")] * len(calls)
    for turn in range(rounds):
        for i, call in enumerate(calls):
            if turn < 3 or best[i] < 0.1:
                start = time.perf_counter()
                call()
                best[i] = min(best[i], time.perf_counter() - start)
        advance(1 / rounds)
    seconds = [1000 / len(batch) * value for value in best]
    for result, value in zip(results, seconds[1:], strict=True):
        result.seconds = value
    return seconds[0]
