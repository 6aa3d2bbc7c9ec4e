"""A ready problem: final model, data, further training, and what to say about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..oracle import FurtherTraining
from ..problem import Problem
from ..problem.losses import PerExample


@dataclass(frozen=True)
class Task:
    """What an experiment needs.

    Attributes:
        name: Short, for files.
        title: For people.
        problem: The final model and its loss.
        train: (inputs [n, ...], targets [n, ...]).
        queries: Likewise.
        training: The oracle with its own seeds.
        unrolled: The same further training with other seeds, which the unrolled methods differentiate.
        left_out: Training indices that the oracle leaves out.
        setup: {heading: sentence}, what was done, in words.
        images: Training and query images, [n, H, W], where the data are images.
        labels: Text for a target, where the targets are classes.
    """

    name: str
    title: str
    problem: Problem
    train: tuple[Tensor, Tensor]
    queries: tuple[Tensor, Tensor]
    training: FurtherTraining
    unrolled: FurtherTraining
    left_out: list[int]
    setup: dict[str, str] = field(default_factory=dict)
    images: tuple[Tensor, Tensor] | None = None
    labels: Callable[[int], str] = str


def other_seeds(training: FurtherTraining, count: int) -> range:
    """As many seeds that the training does not use."""
    first = max(training.seed_values) + 1
    return range(first, first + count)


def fit(
    model: nn.Module,
    loss_fn: PerExample,
    train: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    epochs: int,
    batch_size: int,
    seed: int = 0,
) -> nn.Module:
    """Plain initial training, in place; returns the model in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = train
    model.train()
    for _ in range(epochs):
        for index in torch.randperm(len(inputs), generator=generator).split(batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss_fn(model(inputs[index]), targets[index]).mean().backward()
            optimizer.step()
    return model.eval()
