"""What a sketch loses and what it costs: error of inner products, recall of the best examples, time."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .gradients import Gradients
from .kinds import Kind

TOP, WITHIN = 10, 50
BATCH = 128  # gradients of one timed call


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
        self.scores = gradients.queries.inner(gradients.train)
        self.norms = gradients.queries.norms()[:, None] * gradients.train.norms()
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
    """Errors and recall of each kind and size; `advance` is told the share that is done.

    Dense sketches take two seeds at most: they cost most and vary least.
    """
    truth = Truth(gradients)
    # Shares of the time, roughly: dense sketches cost their size, others the input.
    shares = {kind.name: max(sketch_dims) if kind.nested else 50 * len(sketch_dims) for kind in kinds}
    results = []
    for kind in kinds:
        found: dict[int, list[tuple[Tensor, ...]]] = {k: [] for k in sketch_dims}
        taken = seeds[:2] if kind.nested else seeds
        for seed in taken:
            for k, scores in _scores(gradients, kind, sketch_dims, seed):
                found[k].append(truth.compare(scores))
            advance(shares[kind.name] / sum(shares.values()) / len(taken))
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


def _scores(gradients: Gradients, kind: Kind, sketch_dims: Sequence[int], seed: int) -> Iterator[tuple[int, Tensor]]:
    """(sketch_dim, inner products of sketches [n_queries, n_train]) for each size."""
    if not kind.nested:
        for k in sketch_dims:
            yield k, _inner(*(part.sketch(kind, k, seed) for part in (gradients.queries, gradients.train)))
        return
    largest, least = max(sketch_dims), min(sketch_dims)
    queries, train = (part.sketch(kind, largest, seed) for part in (gradients.queries, gradients.train))
    check = gradients.queries.sketch(kind, least, seed)
    torch.testing.assert_close(queries[:, :least] * (largest / least) ** 0.5, check, rtol=1e-3, atol=1e-4)
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

    Kinds take turns, so that all see the same machine; the minimum counts. What takes long gets two turns.
    """
    batch = gradients.train.first(BATCH)
    made = {kind.name: kind for kind in kinds}
    calls: list[Callable[[], object]] = [batch.read]
    for result in results:
        calls.append(functools.partial(batch.sketch, made[result.kind], result.sketch_dim, 0))
    best = [float("inf")] * len(calls)
    for turn in range(rounds):
        for i, call in enumerate(calls):
            if turn < 2 or best[i] < 0.1:
                start = time.perf_counter()
                call()
                best[i] = min(best[i], time.perf_counter() - start)
        advance(1 / rounds)
    seconds = [1000 / len(batch) * value for value in best]
    for result, value in zip(results, seconds[1:], strict=True):
        result.seconds = value
    return seconds[0]
