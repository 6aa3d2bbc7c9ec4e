"""y = x Wᵀ + b over the last axis."""

from __future__ import annotations

from torch import nn

from ..terms import Dense, Outer
from . import Call, Terms, rule


@rule(nn.Linear)
def linear(call: Call) -> Terms:
    """∇W = Σ_t δ_t x_tᵀ, ∇b = Σ_t δ_t."""
    x, delta = (t.reshape(len(t), -1, t.shape[-1]) for t in (call.inputs, call.delta))
    both = call.wanted == {"weight", "bias"}
    if "weight" in call.wanted:
        yield (
            "weight",
            Outer(x.to(delta.dtype), delta, partner="bias" if both else None),
        )  # autocast computes in the type of δ
    if "bias" in call.wanted:
        yield "bias", Dense(delta[:, 0] if delta.shape[1] == 1 else delta.sum(1), partner="weight" if both else None)
