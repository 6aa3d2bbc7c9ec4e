"""y = x̂ · w + b with x̂ normalised over groups of channels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from . import Call, Terms, rule
from ._channels import channel_affine


@rule(nn.GroupNorm)
def group_norm(call: Call) -> Terms:
    """∇w = Σ_p δ_p · x̂_p, ∇b = Σ_p δ_p."""
    x, delta = call.as_seen()
    yield from channel_affine(call, F.group_norm(x, call.module.num_groups, eps=call.module.eps), delta)
