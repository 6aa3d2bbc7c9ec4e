"""y = x̂ · w + b with each channel of an example normalised by itself, or by constants."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from . import Call, Terms, rule
from ._channels import channel_affine


@rule(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
def instance_norm(call: Call) -> Terms:
    """∇w = Σ_p δ_p · x̂_p, ∇b = Σ_p δ_p."""
    x, delta = call.as_seen()
    norm = call.module
    if norm.training or norm.running_mean is None:  # no running statistics given, so that none are updated
        unit = F.instance_norm(x, eps=norm.eps)
    else:
        mean, var = norm.running_mean.to(x.dtype), norm.running_var.to(x.dtype)
        unit = F.instance_norm(x, mean, var, use_input_stats=False, eps=norm.eps)
    yield from channel_affine(call, unit, delta)
