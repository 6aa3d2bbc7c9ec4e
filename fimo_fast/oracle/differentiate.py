"""Unrolled differentiation of further training by the weight of each example: forward and reverse mode, one seed.

One step is (θ, s) ← U(θ, s, g) with g = Σ_i w_i ∇ℓ_i(θ) over the batch and s the optimizer's state. Both modes need the
derivative of g along a direction u: the product of the batch's Hessian with u, and for reverse mode ∇ℓ_i·u of each
example. One forward-over-reverse pass gives both. All changes are for a weight that goes from 1 to 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor
from torch.func import grad, jacrev, jvp, vjp, vmap

from ..problem import Examples
from ..utils.memory import rows_within
from ..utils.progress import Advance
from .optimizers import State, UpdateRule
from .replicas import Replicas
from .sampling import Batch, steps_per_epoch
from .trajectory import Step, Trajectory

Update = Callable[..., tuple[Tensor, State]]  # (θ, *s, g) → (θ, s)


@dataclass(frozen=True)
class Change:
    """First-order change of the queries' values at the end of an epoch.

    Attributes:
        theta: Parameters of the run on all examples at that time, [parameters].
        values: Of the model outputs [examples, queries, *output], or of the attributed quantity [examples, queries].
    """

    theta: Tensor
    values: Tensor


class Differentiation:
    """Both modes over the trajectories of one problem.

    Args:
        replicas: Problem, training data and optimizer.
        queries: In the same floating-point type.
        batch_size: Examples a step.
        ends: Epochs (from 1, increasing) after which the changes are wanted.
    """

    def __init__(self, replicas: Replicas, queries: Examples, batch_size: int, ends: list[int]) -> None:
        self.replicas = replicas
        self.problem = replicas.problem
        self.queries = queries
        self.batch_size = batch_size
        self.ends = ends
        self._per_epoch = steps_per_epoch(len(replicas.train), batch_size)
        # A direction takes about three times the memory of a replica: tangents of activations, forward and backward.
        size = 3 * replicas.bytes_per_replica(replicas.train[slice(0, batch_size)])
        self._chunk = rows_within(size, share=1 / 2)

    def forward(self, seed: int, index: Tensor, advance: Advance) -> list[Change]:
        """Change of the model outputs at each end; carries a tangent of (θ, s) for each example of ``index``."""
        trajectory = Trajectory(self.replicas, self.batch_size, seed, self.ends[-1])
        groups = [self._forward(trajectory, group, advance) for group in index.split(self._chunk)]
        return [
            Change(parts[0].theta, torch.cat([part.values for part in parts])) for parts in zip(*groups, strict=True)
        ]

    def _forward(self, trajectory: Trajectory, index: Tensor, advance: Advance) -> list[Change]:
        like = self.problem.vector()
        tangent = like.new_zeros(len(index), len(like))
        state_tangent: State = tuple(torch.zeros_like(tangent) for _ in range(self.replicas.rule.state_size))
        changes = []
        for step in trajectory.forwards():
            # Removing an example takes its weight from 1/b to 0.
            weights = -step.batch.weight * (index[:, None] == step.batch.index)
            update, at = self._update(step)
            gradient_tangent = self._gradient_along(step, tangent, weights)
            tangent, state_tangent = _along(update, at, (tangent, *state_tangent, gradient_tangent))
            advance(len(index))
            if step.number % self._per_epoch == 0 and step.number // self._per_epoch in self.ends:
                theta = update(*at)[0]
                changes.append(Change(theta, self._outputs_along(theta, tangent)))
        return changes

    def reverse(self, seed: int, of_model: bool, advance: Advance) -> list[Change]:
        """Change for all training examples at each end; carries an adjoint of (θ, s) for each value of each query.

        Args:
            seed: Of the trajectory.
            of_model: Values are the model outputs; otherwise the attributed quantity, one a query.
            advance: Called with the directions of each step.
        """
        trajectory = Trajectory(self.replicas, self.batch_size, seed, self.ends[-1])
        groups = self.queries.batches(max(1, self._chunk // self.values_per_query(of_model)))
        changes = []
        for end in self.ends:
            parts = [self._reverse(trajectory, end, queries, of_model, advance) for queries in groups]
            changes.append(Change(parts[0].theta, torch.cat([part.values for part in parts], dim=1)))
        return changes

    def _reverse(self, trajectory: Trajectory, end: int, queries: Examples, of_model: bool, advance: Advance) -> Change:
        theta = adjoint = values = torch.empty(0)
        state_adjoint: State = ()
        shape: tuple[int, ...] = ()
        for step in trajectory.backwards(end):
            update, at = self._update(step)
            if step.number == end * self._per_epoch:
                theta = update(*at)[0]
                jacobian = self._value_gradients(theta, queries, of_model)
                shape, adjoint = tuple(jacobian.shape[:-1]), jacobian.flatten(0, -2)
                state_adjoint = tuple(torch.zeros_like(adjoint) for _ in step.state)
                values = adjoint.new_zeros(len(adjoint), len(self.replicas.train))
            adjoint, *back = _back(update, at, (adjoint, state_adjoint))
            state_adjoint, gradient_adjoint = tuple(back[:-1]), back[-1]
            hessian, losses = self._losses_along(step, gradient_adjoint)
            adjoint = adjoint + hessian
            values[:, step.batch.index] -= step.batch.weight * losses
            advance(len(adjoint))
        return Change(theta, values.T.reshape(-1, *shape))

    def values_per_query(self, of_model: bool) -> int:
        """Directions that reverse mode carries for a query."""
        return self.model_outputs(self.problem.vector())[0].numel() if of_model else 1

    def model_outputs(self, theta: Tensor) -> Tensor:
        """The model outputs for the queries, [queries, *output]."""
        return self.problem.forward(self.problem.unravel(theta), self.queries.inputs)

    def _update(self, step: Step) -> tuple[Update, tuple[Tensor, ...]]:
        """The step's update and the point (θ, *s, g) where it is differentiated, each [parameters]."""
        at = (step.theta[0], *(part[0] for part in step.state), step.gradient[0])
        return partial(_apply, self.replicas.rule, step.number), at

    def _gradient_along(self, step: Step, tangents: Tensor, weight_tangents: Tensor) -> Tensor:
        """Change of Σ_i w_i ∇ℓ_i(θ) along each (θ̇, ẇ), [directions, parameters]."""

        def along(tangent: Tensor, weight_tangent: Tensor) -> Tensor:
            gradient = grad(self._batch_loss(step.batch), has_aux=True)
            at = (step.theta[0], step.batch.weight[0])
            return cast(Tensor, jvp(gradient, at, (tangent, weight_tangent))[1][0])

        pieces = zip(tangents.split(self._chunk), weight_tangents.split(self._chunk), strict=True)
        return torch.cat([vmap(along)(*piece) for piece in pieces])

    def _losses_along(self, step: Step, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Batch Hessian times u [directions, parameters] and ∇ℓ_i·u [directions, batch]."""

        def along(u: Tensor) -> tuple[Tensor, Tensor]:
            gradient = grad(lambda theta: self._batch_loss(step.batch)(theta, step.batch.weight[0]), has_aux=True)
            return cast(tuple[Tensor, Tensor], jvp(gradient, (step.theta[0],), (u,))[1])

        hessians, losses = zip(*(vmap(along)(piece) for piece in directions.split(self._chunk)), strict=True)
        return torch.cat(hessians), torch.cat(losses)

    def _batch_loss(self, batch: Batch) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """(θ, w) → Σ_i w_i ℓ_i, and each ℓ_i."""
        chosen = self.replicas.train[batch.index]

        def loss(theta: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
            each = self.problem.losses(self.problem.unravel(theta), chosen.inputs, chosen.targets)
            return (weight * each).sum(), each

        return loss

    def _outputs_along(self, theta: Tensor, tangents: Tensor) -> Tensor:
        """Change of the model outputs along each tangent, [directions, queries, *output]."""

        def along(tangent: Tensor) -> Tensor:
            return cast(Tensor, jvp(self.model_outputs, (theta,), (tangent,))[1])

        return torch.cat([vmap(along)(piece) for piece in tangents.split(self._chunk)])

    def _value_gradients(self, theta: Tensor, queries: Examples, of_model: bool) -> Tensor:
        """Gradients of each query's values, [queries, *output, parameters] or [queries, parameters]."""

        def value(vector: Tensor, query: Examples) -> Tensor:
            output = self.problem.forward(self.problem.unravel(vector), query.inputs)
            return (output if of_model else self.problem.attributed(output, query.targets))[0]

        # One at a time, as vmap refuses models with branches on their inputs (an attention mask). The backward pass of
        # each query through all steps costs far more.
        each = [jacrev(value, chunk_size=self._chunk)(theta, query) for query in queries.batches(1)]
        return torch.stack(each)


def _apply(rule: UpdateRule, number: int, theta: Tensor, *state_and_gradient: Tensor) -> tuple[Tensor, State]:
    return rule(theta, state_and_gradient[:-1], state_and_gradient[-1], number)


def _along(update: Update, at: tuple[Tensor, ...], tangents: tuple[Tensor, ...]) -> tuple[Tensor, State]:
    """Tangents of (θ, s) after an update from those of (θ, *s, g) before it, each [directions, parameters]."""
    return cast(tuple[Tensor, State], vmap(lambda *tangent: jvp(update, at, tangent)[1])(*tangents))


def _back(update: Update, at: tuple[Tensor, ...], adjoints: tuple[Tensor, State]) -> tuple[Tensor, ...]:
    """Adjoints of (θ, *s, g) before an update from those of (θ, s) after it, each [directions, parameters]."""
    pull = vjp(update, *at)[1]
    return cast(tuple[Tensor, ...], vmap(pull)(adjoints))
