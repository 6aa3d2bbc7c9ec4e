"""The run on all examples, step by step, forwards and backwards (with checkpointing)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .optimizers import State
from .replicas import Replicas
from .sampling import Batch, matched, steps_per_epoch


@dataclass(frozen=True)
class Step:
    """One step of the run.

    Attributes:
        number: From 1.
        theta: Parameters before it, [1, parameters].
        state: Optimizer state before it.
        batch: Its examples.
        gradient: Of the batch's loss at ``theta``, [1, parameters].
    """

    number: int
    theta: Tensor
    state: State
    batch: Batch
    gradient: Tensor


class Trajectory:
    """Steps of one seed's run on all examples.

    Backwards keeps the state before every √T-th step and recomputes the steps between. That takes memory for 2√T states
    and the time of one more run.

    Args:
        replicas: Problem, training data and optimizer.
        batch_size: Examples a step.
        seed: Of the batches.
        epochs: How far to go.
    """

    def __init__(self, replicas: Replicas, batch_size: int, seed: int, epochs: int) -> None:
        self._replicas = replicas
        self._batch_size = batch_size
        self._seed = seed
        self._epochs = epochs
        self._per_epoch = steps_per_epoch(len(replicas.train), batch_size)
        self._kept: dict[int, tuple[Tensor, State]] = {}

    def forwards(self) -> Iterator[Step]:
        """All steps, first to last."""
        theta, state = self._replicas.start(1)
        yield from self._from(0, theta, state, self._epochs * self._per_epoch)

    def backwards(self, epochs: int) -> Iterator[Step]:
        """The steps of the first ``epochs`` epochs, last to first."""
        if not self._kept:
            self._keep()
        last = epochs * self._per_epoch
        for done in sorted((done for done in self._kept if done < last), reverse=True):
            yield from reversed(list(self._from(done, *self._kept[done], last)))
            last = done

    def _keep(self) -> None:
        spacing = math.isqrt(self._epochs * self._per_epoch - 1) + 1
        for step in self.forwards():
            if (step.number - 1) % spacing == 0:
                self._kept[step.number - 1] = (step.theta, step.state)

    def _from(self, done: int, theta: Tensor, state: State, last: int) -> Iterator[Step]:
        """Steps ``done + 1`` to ``last``, from the state before them."""
        for number, batch in self._batches(done):
            gradient = self._replicas.gradient(theta, batch)
            yield Step(number, theta, state, batch, gradient)
            if number == last:
                return
            theta, state = self._replicas.rule(theta, state, gradient, number)

    def _batches(self, done: int) -> Iterator[tuple[int, Batch]]:
        everyone = torch.tensor([-1], device=self._replicas.problem.device)
        n, like = len(self._replicas.train), self._replicas.problem.vector()
        for epoch in range(done // self._per_epoch, self._epochs):
            batches = matched(n, self._batch_size, self._seed, epoch, everyone, like)
            for number, batch in enumerate(batches, epoch * self._per_epoch + 1):
                if number > done:
                    yield number, batch
