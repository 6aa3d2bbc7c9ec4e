"""Training many parameter vectors at once by vmap: shared by the oracle and its derivative."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import vmap

from ..problem import Examples, Problem
from ..problem.functional_call import untransformable
from ..problem.trees import Tree
from .optimizers import State, StepNumber, UpdateRule
from .sampling import Batch


class Replicas:
    """Further training of stacked parameter vectors [replicas, parameters], all in one pass.

    Args:
        problem: In the floating-point type of the training.
        train: In the same type.
        rule: The optimizer's update.
    """

    def __init__(self, problem: Problem, train: Examples, rule: UpdateRule) -> None:
        self.problem = problem
        self.train = train
        self.rule = rule

    def start(self, count: int) -> tuple[Tensor, State]:
        """``count`` copies of the final parameters and fresh optimizer state, each [count, parameters]."""
        theta = self.problem.vector().expand(count, -1)
        return theta, tuple(torch.zeros_like(theta) for _ in range(self.rule.state_size))

    def gradient(self, theta: Tensor, batch: Batch) -> Tensor:
        """Gradient of each replica's weighted batch loss, [replicas, parameters]."""
        leaf = theta.detach().requires_grad_()
        chosen = self.train[batch.index]

        def loss(vector: Tensor, x: Tree, y: Tree, weight: Tensor) -> Tensor:
            return (weight * self.problem.losses(self.problem.unravel(vector), x, y)).sum()

        shared = None if batch.index.dim() == 1 else 0
        try:
            with torch.enable_grad():
                losses = vmap(loss, in_dims=(0, shared, shared, 0))(leaf, chosen.inputs, chosen.targets, batch.weight)
                (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        except RuntimeError as error:
            raise untransformable(self.problem.model, "further training", error) from error
        return gradient

    def step(self, theta: Tensor, state: State, batch: Batch, step: StepNumber) -> tuple[Tensor, State]:
        """Parameters and state after this step; replicas that are not active stay as they are."""
        after = self.rule(theta, state, self.gradient(theta, batch), step)
        if batch.active is None:
            return after
        active = batch.active[:, None]
        return torch.where(active, after[0], theta), tuple(
            torch.where(active, new, old) for new, old in zip(after[1], state, strict=True)
        )

    @torch.no_grad()
    def outputs(self, theta: Tensor, queries: Examples) -> Tensor:
        """The attributed quantity of every query at every replica, [replicas, queries]."""

        def read(vector: Tensor, x: Tree, y: Tree) -> Tensor:
            return self.problem.outputs(self.problem.unravel(vector), x, y)

        # As many at once as in a training step, or more for few replicas.
        pieces = queries.batches(max(64, 4096 // len(theta)))
        return torch.cat([vmap(read, in_dims=(0, None, None))(theta, p.inputs, p.targets) for p in pieces], dim=1)

    def bytes_per_replica(self, examples: Examples) -> int:
        """Memory of one more replica in a training step on a batch of these: parameters, state, saved activations."""
        saved = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal saved
            saved += tensor.numel() * tensor.element_size()
            return tensor

        leaves = {name: v.detach().requires_grad_() for name, v in self.problem.parameters().items()}
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            self.problem.losses(leaves, examples.inputs, examples.targets)
        vectors = (3 + self.rule.state_size) * self.problem.numel * self.problem.dtype.itemsize
        return vectors + 2 * saved
