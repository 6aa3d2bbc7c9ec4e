"""Modules without a rule: torch.func for their own parameters, from the inputs and output gradients of their own calls.

Only the module is run again, not the model. Where torch.func does not know one of its operations, examples go through
plain differentiation one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.utils._pytree import tree_flatten, tree_unflatten

from ...problem.functional_call import functional_call, transformable
from ...utils.memory import rows_within
from ..batch_axis import BatchAxis, CallAxes
from ..rules import Call, Terms
from ..terms import Dense
from .whole_model import dense


def together(call: Call) -> Terms:
    """All examples at once, by ``torch.func.vmap``."""
    return _give(call, _together)


def one_by_one(call: Call) -> Terms:
    """Each example alone, by plain differentiation."""
    return _give(call, _one_by_one)


def _give(call: Call, differentiate: Any) -> Terms:
    device, dtype, enabled = call.autocast
    with torch.autocast(device, dtype, enabled), transformable():
        gradients = differentiate(_Replay(call))
    for leaf, gradient in gradients.items():
        yield leaf, Dense.of(gradient)


class _Replay:
    """A call as a function of parameters and of one example's part of its tensors."""

    def __init__(self, call: Call) -> None:
        axes = call.axes
        own = dict(call.module.named_parameters(remove_duplicate=False))
        self.call = call
        self.values: dict[str, Tensor] = {name: own[name].detach() for name in sorted(call.wanted)}
        leaves, self._spec = tree_flatten((call.args, dict(sorted(call.kwargs.items()))))
        self._leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._inputs = {
            i: at
            for i, at in enumerate(axes.inputs)
            if at is not None and at.axis is not None and isinstance(leaves[i], Tensor)
        }
        self._used = [i for i, delta in enumerate(call.deltas) if delta is not None]
        batch = call.batch
        self.inputs = [at.apart(self._leaves[i], batch) for i, at in self._inputs.items()]
        self.input_axes = [at.axis or 0 for at in self._inputs.values()]
        outputs = [(delta, _place(axes, i)) for i, delta in enumerate(call.deltas) if delta is not None]
        self.deltas = [d.unsqueeze(1) if at.broadcast else at.apart(d, batch) for d, at in outputs]
        self.delta_axes = [at.axis or 0 for _, at in outputs]

    def __call__(self, values: Mapping[str, Tensor], inputs: list[Tensor]) -> list[Tensor]:
        """The used outputs of one example."""
        leaves = list(self._leaves)
        for i, tensor in zip(self._inputs, inputs, strict=True):
            leaves[i] = tensor
        args, kwargs = tree_unflatten(leaves, self._spec)
        outputs, _ = tree_flatten(functional_call(self.call.module, values, args, kwargs))
        return [outputs[i] for i in self._used]


def _place(axes: CallAxes, i: int) -> BatchAxis:
    place = axes.outputs[i]
    if place is None or (place.axis is None and not place.broadcast):
        raise RuntimeError("gradients: an output that is the same for all examples has a gradient")
    return place


def _together(replay: _Replay) -> dict[str, Tensor]:
    def gradient(inputs: list[Tensor], deltas: list[Tensor]) -> dict[str, Tensor]:
        _, pull, *_ = vjp(lambda values: replay(values, inputs), replay.values)
        found: dict[str, Tensor] = pull(deltas)[0]
        return found

    size = sum(value.numel() * value.element_size() for value in replay.values.values())
    chunk = rows_within(size, 1 / 2)
    result: dict[str, Tensor] = vmap(gradient, in_dims=(replay.input_axes, replay.delta_axes), chunk_size=chunk)(
        replay.inputs, replay.deltas
    )
    return result


def _one_by_one(replay: _Replay) -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {name: [] for name in replay.values}
    for inputs, deltas in _each(replay):
        values = {name: value.clone().requires_grad_() for name, value in replay.values.items()}
        with torch.enable_grad():
            outputs = replay(values, inputs)
            used = [(output, delta) for output, delta in zip(outputs, deltas, strict=True) if output.requires_grad]
            grads = torch.autograd.grad(
                [output for output, _ in used], list(values.values()), [delta for _, delta in used], allow_unused=True
            )
        for (name, value), grad in zip(values.items(), grads, strict=True):
            found[name].append(torch.zeros_like(value) if grad is None else dense(grad))
    return {name: torch.stack(each) for name, each in found.items()}


def _each(replay: _Replay) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    for b in range(replay.call.batch):
        inputs = [x.select(axis, b) for x, axis in zip(replay.inputs, replay.input_axes, strict=True)]
        deltas = [d.select(axis, b) for d, axis in zip(replay.deltas, replay.delta_axes, strict=True)]
        yield inputs, deltas
