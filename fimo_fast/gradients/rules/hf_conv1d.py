"""y = x W + b over the last axis: the Linear layer of GPT-2 (transformers' ``Conv1D``), whose weight is [in, out]."""

from __future__ import annotations

from ..terms import Dense, Outer
from . import Call, Terms, rule


@rule("Conv1D")
def hf_conv1d(call: Call) -> Terms:
    """∇W = Σ_t x_t δ_tᵀ, ∇b = Σ_t δ_t."""
    x, delta = (t.reshape(len(t), -1, t.shape[-1]) for t in (call.inputs, call.delta))
    if "weight" in call.wanted:
        yield "weight", Outer(delta, x.to(delta.dtype))
    if "bias" in call.wanted:
        yield "bias", Dense(delta.sum(1))
