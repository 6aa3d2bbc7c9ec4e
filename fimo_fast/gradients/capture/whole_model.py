"""Per-example gradients by differentiation of the whole model, formed in full: through torch.func, or one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor
from torch.func import grad, vmap

from ...problem import Examples, Problem
from ...problem.functional_call import untransformable
from ...problem.trees import Tree, alone
from ...utils.memory import rows_within
from .model_state import as_captured


def vectorised(problem: Problem, examples: Examples, of: str = "loss") -> dict[str, Tensor]:
    """Gradients {parameter name: [batch, *shape]} of all examples at once, through torch.func.

    Args:
        problem: Model, loss and parameters.
        examples: The batch.
        of: ``"loss"`` for ``loss_fn``, ``"output"`` for ``output_fn``.

    Raises:
        ValueError: ``of`` is neither, or the loss is not one number an example.
        RuntimeError: torch.func cannot transform the model (its own message follows).
    """
    read = problem.quantity(of)
    parameters = problem.parameters()

    def one(values: dict[str, Tensor], x: Tree, y: Tree) -> Tensor:
        return read(problem.forward(values, alone(x)), alone(y))[0]

    size = problem.numel * problem.dtype.itemsize
    # So many that vector units are full, so few that their gradients do not take the machine.
    chunk = max(1, min(len(examples), rows_within(size, 1 / 2)))
    try:
        gradients = vmap(grad(one), in_dims=(None, 0, 0), chunk_size=chunk)(
            parameters, examples.inputs, examples.targets
        )
    except RuntimeError as error:
        raise untransformable(problem.model, "per-example gradients", error) from error
    return cast(dict[str, Tensor], gradients)


def each_alone(problem: Problem, examples: Examples, of: str = "loss") -> Iterator[dict[str, Tensor]]:
    """Gradients {parameter name: [*shape]} of one example after the other, by plain differentiation of the model.

    The definition that everything else is compared with, and the last path that is tried.
    """
    named = dict(problem.model.named_parameters())
    selected = {name: named[name] for name in problem.shapes}
    for i in range(len(examples)):
        one = examples[slice(i, i + 1)]
        with as_captured(problem, selected.keys()), torch.enable_grad():
            value = problem.quantity(of)(problem.call(one.inputs), one.targets).sum()
            grads = (
                torch.autograd.grad(value, list(selected.values()), allow_unused=True)
                if value.requires_grad
                else [None] * len(selected)
            )
        yield {
            name: torch.zeros_like(p) if grad is None else dense(grad)
            for (name, p), grad in zip(selected.items(), grads, strict=True)
        }


def dense(gradient: Tensor) -> Tensor:
    """A gradient with all its entries, also where an embedding gives only the rows it used."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def one_by_one(problem: Problem, examples: Examples, of: str = "loss") -> dict[str, Tensor]:
    """Gradients {parameter name: [batch, *shape]} by plain differentiation, one example after the other."""
    result = {name: p.new_empty(len(examples), *p.shape) for name, p in problem.parameters().items()}
    for i, gradients in enumerate(each_alone(problem, examples, of)):
        for name, gradient in gradients.items():
            result[name][i] = gradient
    return result
