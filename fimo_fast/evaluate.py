"""Agreement of scores with further training: cosine, rank correlation, intervals, and the ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import rankdata
from torch import Tensor

from .oracle import FurtherTrainingResult
from .utils.integers import integer

_RESAMPLES = 200
_SIDES = 1.96  # normal 95% interval


@dataclass(frozen=True)
class Agreement:
    """Agreement of scores with the oracle, by epoch of further training.

    Attributes:
        cosine: Over the left-out examples, mean over the queries, [epochs].
        cosine_interval: 95% interval, [epochs, 2].
        spearman: Rank correlation, likewise, [epochs].
        spearman_interval: 95% interval, [epochs, 2].
        ceiling: The oracle's reliability, [epochs]: the cosine that a repetition of it on as many other seeds would
            reach.
        ceiling_interval: 95% interval over the queries alone, [epochs, 2].
    """

    cosine: Tensor
    cosine_interval: Tensor
    spearman: Tensor
    spearman_interval: Tensor
    ceiling: Tensor
    ceiling_interval: Tensor


def agreement(
    scores: Tensor, result: FurtherTrainingResult, examples: Sequence[int] | None = None, seed: int = 0
) -> Agreement:
    """Compares scores with the effects that further training showed (arXiv 2412.03906, sec. 5).

    The intervals are normal, with the spread of 200 bootstrap samples of the oracle's seeds and of the queries.
    Percentiles would be too low, since a resampled oracle has fewer distinct seeds and is noisier.

    Args:
        scores: [rows, n_queries] for all epochs, or [epochs, rows, n_queries]: a method's, with the queries in the
            oracle's order.
        result: What ``FurtherTraining.run`` returned.
        examples: The training index of each row; all training examples in order, unless given.
        seed: Of the bootstrap.

    Raises:
        ValueError: Shapes that do not fit the result, left-out examples without a row, scores that are not finite.
    """
    estimates = _aligned(scores, result, examples)  # [epochs, queries, left_out]
    gold = result.per_seed
    generator = torch.Generator().manual_seed(seed)
    count, queries = gold.shape[0], gold.shape[2]
    cosines, spearmans, ceilings = [], [], []
    ranked = _ranks(estimates)
    per_query_ceiling = result.reliability_by_query
    for _ in range(_RESAMPLES):
        draws = torch.randint(count, (count,), generator=generator)
        which = torch.randint(queries, (queries,), generator=generator)
        mean = gold[draws].mean(0)
        cosines.append(_cosine(estimates, mean)[:, which].mean(1))
        spearmans.append(_cosine(ranked, _ranks(mean))[:, which].mean(1))
        ceilings.append(per_query_ceiling[:, which].mean(1))
    cosine = _cosine(estimates, result.effects).mean(1)
    spearman = _cosine(ranked, _ranks(result.effects)).mean(1)
    ceiling = result.reliability
    return Agreement(
        cosine,
        _interval(cosine, cosines),
        spearman,
        _interval(spearman, spearmans),
        ceiling,
        _interval(ceiling, ceilings),
    )


def _aligned(scores: Tensor, result: FurtherTrainingResult, examples: Sequence[int] | None) -> Tensor:
    _, epochs, queries, _ = result.per_seed.shape
    rows = list(range(result.n_train)) if examples is None else [integer("examples", i, 0) for i in examples]
    expected = (len(rows), queries)
    if tuple(scores.shape[-2:]) != expected or scores.dim() not in (2, 3):
        raise ValueError(
            f"scores: expected [{len(rows)}, {queries}] or [{epochs}, {len(rows)}, {queries}] (a row for each training "
            f"example, unless examples says which), got {list(scores.shape)}"
        )
    if scores.dim() == 3 and len(scores) != epochs:
        raise ValueError(f"scores: expected {epochs} epochs, got {len(scores)}")
    if not torch.isfinite(scores).all():
        raise ValueError("scores: expected finite numbers, got NaN or infinity")
    if len(set(rows)) < len(rows):
        raise ValueError("examples: expected each training example once, got some repeated")
    position = {example: row for row, example in enumerate(rows)}
    if missing := [i for i in result.left_out if i not in position]:
        raise ValueError(f"examples: expected a row for every left-out example, got none for {missing[:5]}")
    chosen = scores.double().cpu()[..., [position[i] for i in result.left_out], :].transpose(-1, -2)
    return chosen.expand(epochs, -1, -1)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Over the last axis; 0 where a vector vanishes."""
    norms = a.norm(dim=-1) * b.norm(dim=-1)
    return torch.where(norms > 0, (a * b).sum(-1) / norms.clamp_min(torch.finfo(torch.float64).tiny), 0.0)


def _ranks(values: Tensor) -> Tensor:
    """Centred ranks over the last axis, ties averaged: their cosine is Spearman's correlation."""
    ranks = torch.from_numpy(rankdata(values.numpy(), axis=-1))
    return ranks - ranks.mean(-1, keepdim=True)


def _interval(point: Tensor, samples: list[Tensor]) -> Tensor:
    spread = _SIDES * torch.stack(samples).std(0)
    spread = torch.where(spread > 0, spread, torch.nan)  # one seed and one query: nothing was resampled
    return torch.stack([point - spread, point + spread], dim=-1).clamp(-1, 1)
