"""RMS norms, torch's and those of language models: affine in their weight, whatever else they do."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from ..terms import Dense
from . import Call, Terms, rule


def _is_plain(module: nn.Module) -> bool:
    """Whether there is a weight and nothing else, and one input (a gate would be another)."""
    names = {name for name, _ in module.named_parameters()}
    return names == {"weight"} and len(inspect.signature(module.forward).parameters) == 1


@rule(nn.RMSNorm, "*RMSNorm", "*T5LayerNorm", when=_is_plain)
def rms_norm(call: Call) -> Terms:
    """∇w = Σ_t δ_t · u_t with u = y(w = 1) - y(w = 0).

    u comes from the module itself because many of these compute in float32 whatever their type, and some (Gemma's)
    multiply by 1 + w. All are affine in w.
    """
    weight = call.module.weight.detach()
    unit = _output(call, torch.ones_like(weight)) - _output(call, torch.zeros_like(weight))
    dtype = call.delta.dtype
    if dtype == torch.float64 and _rounds(_output(call, torch.full_like(weight, 1 / 3))):
        dtype = torch.float32  # in which its gradients are then added up, too
    value = (call.delta.to(dtype) * unit.to(dtype)).reshape(len(unit), -1, weight.numel())
    yield "weight", Dense(value.sum(1).to(call.delta.dtype))


def _rounds(value: Tensor) -> bool:
    """Whether float64 numbers were computed in float32."""
    return torch.equal(value, value.float().double())


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
