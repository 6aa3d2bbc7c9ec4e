"""What norms with a weight for each channel share: y = x̂ · w + b, x̂ [batch · c, channels, ...]."""

from __future__ import annotations

from torch import Tensor

from ..terms import Dense
from . import Call, Terms


def channel_affine(call: Call, unit: Tensor, delta: Tensor) -> Terms:
    """∇w = Σ_p δ_p · x̂_p, ∇b = Σ_p δ_p over the positions p of all axes after the channels.

    Args:
        call: The call.
        unit: x̂, [batch · c, channels, ...].
        delta: As ``unit``.
    """
    for name, factor in (("weight", delta * unit if "weight" in call.wanted else delta), ("bias", delta)):
        if name in call.wanted:
            yield name, Dense(call.summed(factor.reshape(*factor.shape[:2], -1).sum(2)))
