"""y = x̂ · w + b with x̂ normalised over the last axes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from ..terms import Dense
from . import Call, Terms, rule


@rule(nn.LayerNorm)
def layer_norm(call: Call) -> Terms:
    """∇w = Σ_t δ_t · x̂_t, ∇b = Σ_t δ_t."""
    norm, batch, delta = call.module, len(call.inputs), call.delta
    width = norm.weight.numel()
    if "weight" in call.wanted:
        unit = F.layer_norm(call.inputs.to(delta.dtype), norm.normalized_shape, eps=norm.eps)
        yield "weight", Dense((delta * unit).reshape(batch, -1, width).sum(1))
    if "bias" in call.wanted:
        yield "bias", Dense(delta.reshape(batch, -1, width).sum(1))
