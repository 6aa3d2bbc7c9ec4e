"""torch.optim's update rules as differentiable functions of flat vectors, for many replicas at once.

A rule is elementwise. So the parameters are one vector [..., parameters] with any leading axes (replicas, tangents),
and so is each part of the state. The results equal those of torch.optim; the tests check that step by step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

State = tuple[Tensor, ...]
StepNumber = int | Tensor  # counted from 1; [replicas, 1] where replicas have taken different numbers of steps
OptimizerChoice = (
    type[torch.optim.Optimizer] | tuple[type[torch.optim.Optimizer], Mapping[str, Any]] | Callable[..., Any]
)


class UpdateRule(Protocol):
    """One optimizer with its settings."""

    @property
    def learning_rate(self) -> float:
        """Step size η."""
        ...

    @property
    def state_size(self) -> int:
        """How many vectors of the parameters' size the state holds."""
        ...

    def __call__(self, theta: Tensor, state: State, gradient: Tensor, step: StepNumber) -> tuple[Tensor, State]:
        """Parameters and state after this step, each of the shape of ``theta``."""
        ...


@dataclass(frozen=True)
class SGD:
    """torch.optim.SGD: momentum, dampening, Nesterov, weight decay, maximize."""

    learning_rate: float
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = False

    @property
    def state_size(self) -> int:  # noqa: D102
        return 1 if self.momentum else 0

    def __call__(self, theta: Tensor, state: State, gradient: Tensor, step: StepNumber) -> tuple[Tensor, State]:  # noqa: D102
        if self.maximize:
            gradient = -gradient
        if self.weight_decay:
            gradient = gradient + self.weight_decay * theta
        if not self.momentum:
            return theta - self.learning_rate * gradient, ()
        # torch starts the buffer at the first gradient, undampened.
        first = step == 1
        if first is True:
            buffer = gradient
        else:
            buffer = self.momentum * state[0] + (1 - self.dampening) * gradient
            if isinstance(first, Tensor):
                buffer = torch.where(first, gradient, buffer)
        direction = gradient + self.momentum * buffer if self.nesterov else buffer
        return theta - self.learning_rate * direction, (buffer,)


@dataclass(frozen=True)
class Adam:
    """torch.optim.Adam (weight decay added to the gradient) and AdamW (``decoupled``: parameters shrunk)."""

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    maximize: bool = False
    state_size: int = 2

    def __call__(self, theta: Tensor, state: State, gradient: Tensor, step: StepNumber) -> tuple[Tensor, State]:  # noqa: D102
        if self.maximize:
            gradient = -gradient
        if self.weight_decay and self.decoupled:
            theta = theta * (1 - self.learning_rate * self.weight_decay)
        elif self.weight_decay:
            gradient = gradient + self.weight_decay * theta
        mean = self.beta1 * state[0] + (1 - self.beta1) * gradient
        square = self.beta2 * state[1] + (1 - self.beta2) * gradient * gradient
        denominator = _sqrt(square) / (1 - self.beta2**step) ** 0.5 + self.eps
        step_size = self.learning_rate / (1 - self.beta1**step)
        return theta - step_size * mean / denominator, (mean, square)


def _sqrt(square: Tensor) -> Tensor:
    """√x with derivative 0 at 0: a parameter that never saw a gradient has x = 0, where 1/(2√x) · 0 would be NaN."""
    zero = square == 0
    return torch.where(zero, torch.zeros_like(square), torch.where(zero, torch.ones_like(square), square).sqrt())


# Arguments that do not change the result.
_IRRELEVANT = {"foreach", "fused", "capturable", "differentiable"}


def update_rule(optimizer: OptimizerChoice) -> UpdateRule:
    """The update rule of a torch.optim optimizer.

    Args:
        optimizer: ``torch.optim.SGD``, ``Adam`` or ``AdamW``: the class with its arguments as
            ``(torch.optim.SGD, {"lr": 0.03})`` or as ``functools.partial(torch.optim.SGD, lr=0.03)``; the class alone
            takes torch's defaults.

    Raises:
        TypeError: Not a torch.optim class with arguments.
        ValueError: A class or an argument that is not supported, or that torch.optim itself refuses.
    """
    kind, arguments = _class_and_arguments(optimizer)
    if kind not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        raise ValueError(f"optimizer: expected torch.optim.SGD, Adam or AdamW, got {kind.__name__}")
    # torch checks the arguments and fills in its defaults.
    found = {k: v for k, v in kind([torch.zeros(1)], **arguments).defaults.items() if k not in _IRRELEVANT}
    learning_rate, decay = float(found.pop("lr")), float(found.pop("weight_decay"))
    maximize = bool(found.pop("maximize", False))
    if kind is torch.optim.SGD:
        return SGD(learning_rate, weight_decay=decay, maximize=maximize, **found)
    if found.pop("amsgrad"):
        raise ValueError(f"optimizer: {kind.__name__} with amsgrad=True is not supported")
    decoupled = bool(found.pop("decoupled_weight_decay", kind is torch.optim.AdamW))
    beta1, beta2 = (float(beta) for beta in found.pop("betas"))
    return Adam(learning_rate, beta1, beta2, float(found.pop("eps")), decay, decoupled, maximize)


def _class_and_arguments(optimizer: Any) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    arguments: Mapping[str, Any] = {}
    if isinstance(optimizer, tuple) and len(optimizer) == 2 and isinstance(optimizer[1], Mapping):
        optimizer, arguments = optimizer
    elif isinstance(optimizer, functools.partial):
        if optimizer.args:
            raise TypeError(f"optimizer: expected a partial with keyword arguments only, got {optimizer.args}")
        optimizer, arguments = optimizer.func, optimizer.keywords
    if not (isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer)):
        raise TypeError(
            "optimizer: expected a torch.optim class with its arguments, as (torch.optim.SGD, {'lr': 0.03}) or "
            f"functools.partial(torch.optim.SGD, lr=0.03), got {optimizer!r}"
        )
    return optimizer, dict(arguments)
