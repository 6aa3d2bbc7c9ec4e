"""RMS norms, torch's and those of language models: affine in their weight, whatever else they do."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from ..pieces import Dense
from . import Call, Pieces, rule


def _is_plain(module: nn.Module) -> bool:
    """Whether there is a weight and nothing else, and one input (a gate would be another)."""
    names = {name for name, _ in module.named_parameters()}
    return names == {"weight"} and len(inspect.signature(module.forward).parameters) == 1


@rule(nn.RMSNorm, "*RMSNorm", "*T5LayerNorm", when=_is_plain)
def rms_norm(call: Call) -> Pieces:
    """∇w = Σ_t δ_t · u_t with u = y(w = 1) - y(w = 0).

    u comes from the module itself because many of these compute in float32 whatever their type, and some (Gemma's)
    multiply by 1 + w. All are affine in w.
    """
    weight = call.module.weight.detach()
    unit = _output(call, torch.ones_like(weight)) - _output(call, torch.zeros_like(weight))
    value = call.delta * unit.to(call.delta.dtype)
    yield "weight", Dense(value.reshape(len(value), -1, weight.numel()).sum(1))


def _output(call: Call, weight: Tensor) -> Tensor:
    """Of the module with another weight, without its hooks."""
    parameters = call.module._parameters
    own = parameters["weight"]
    parameters["weight"] = weight  # type: ignore[assignment]
    try:
        with torch.no_grad():
            return call.module.forward(call.inputs)
    finally:
        parameters["weight"] = own
