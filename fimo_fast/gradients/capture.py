"""Factors of Linear layers: one forward and one backward pass give a and δ with ∇W_i = Σ_t δ_it a_itᵀ.

The gradient of an example by a Linear weight is a sum of outer products of the layer's inputs a and the gradients δ
by its outputs. Inner products of gradients need only these factors, so they are never formed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..problem import Problem
from .functional import reader


@dataclass(frozen=True)
class Factors:
    """Factors of one Linear layer for a batch.

    Attributes:
        a: [batch, T, in_features (+1 with a bias: a last column of ones)].
        delta: [batch, T, out_features].
        bias: Whether the last column of ``a`` stands for the bias.
    """

    a: Tensor
    delta: Tensor
    bias: bool

    def materialise(self) -> tuple[Tensor, Tensor | None]:
        """The gradients themselves: weight [batch, out, in] and bias [batch, out] (None without one)."""
        gradient = self.delta.mT @ self.a
        return (gradient[..., :-1], gradient[..., -1]) if self.bias else (gradient, None)


def factored_layers(problem: Problem) -> dict[str, nn.Linear]:
    """Linear layers whose parameters are all selected and used by no other module: {module name: module}."""
    uses = Counter(id(p) for m in problem.model.modules() for p in m.parameters(recurse=False))
    layers = {}
    for name, module in problem.model.named_modules():
        if type(module) is not nn.Linear:  # a subclass may compute something else
            continue
        own = list(module.named_parameters(recurse=False))
        if (
            "weight" in dict(own)
            and {leaf for leaf, _ in own} <= {"weight", "bias"}
            and all(_join(name, leaf) in problem.shapes and uses[id(p)] == 1 for leaf, p in own)
        ):
            layers[name] = module
    return layers


def capture(
    problem: Problem, layers: dict[str, nn.Linear], inputs: Tensor, targets: Tensor, of: str = "loss"
) -> dict[str, Factors]:
    """Factors of these layers from one forward and one backward pass of the summed loss.

    A layer that is never called or whose first axis is not the batch is missing from the result; a layer called
    several times has the calls side by side along T.
    The hooks are removed also when the model raises.

    Args:
        problem: Model, loss and parameters.
        layers: From ``factored_layers``.
        inputs: [batch, ...].
        targets: [batch, ...].
        of: ``"loss"`` or ``"output"``.

    Returns:
        {module name: Factors}.
    """
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor], Tensor], Tensor]:
        def record(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> Tensor:
            # A zero added to the output: its gradient is δ whatever later happens in place to the sum.
            probe = torch.zeros_like(output, requires_grad=True)
            calls[name].append(((args[0] if args else kwargs["input"]).detach(), probe))
            return output + probe

        return record

    handles = [module.register_forward_hook(hook(name), with_kwargs=True) for name, module in layers.items()]
    try:
        with torch.enable_grad():
            total = reader(problem, of)(problem.parameters(), inputs, targets).sum()
            probes = [probe for recorded in calls.values() for _, probe in recorded]
            grads = iter(torch.autograd.grad(total, probes, allow_unused=True) if probes else ())
    finally:
        for handle in handles:
            handle.remove()

    factors = {}
    for name, recorded in calls.items():
        pairs = [(a, next(grads)) for a, _ in recorded]
        if pairs and all(delta is not None and a.dim() >= 2 and len(a) == len(inputs) for a, delta in pairs):
            factors[name] = _join_calls(pairs, bias=layers[name].bias is not None)
    return factors


def _join_calls(pairs: list[tuple[Tensor, Tensor]], bias: bool) -> Factors:
    batch = len(pairs[0][0])
    a = torch.cat([a.reshape(batch, -1, a.shape[-1]) for a, _ in pairs], dim=1)
    delta = torch.cat([d.reshape(batch, -1, d.shape[-1]) for _, d in pairs], dim=1)
    if bias:
        a = torch.cat([a, a.new_ones(*a.shape[:-1], 1)], dim=-1)
    return Factors(a, delta, bias)


def _join(module: str, leaf: str) -> str:
    return f"{module}.{leaf}" if module else leaf
