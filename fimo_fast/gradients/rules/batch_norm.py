"""y = x̂ · w + b with x̂ normalised by constants: BatchNorm in evaluation mode."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from . import Call, Terms, rule
from ._channels import channel_affine


# By the statistics of the batch, an example would have no loss of its own.
@rule(
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    when=lambda module: not module.training and module.running_mean is not None and module.running_var is not None,
)
def batch_norm(call: Call) -> Terms:
    """∇w = Σ_p δ_p · x̂_p, ∇b = Σ_p δ_p."""
    x, delta = call.as_seen()
    norm = call.module
    unit = F.batch_norm(x, norm.running_mean.to(x.dtype), norm.running_var.to(x.dtype), eps=norm.eps)
    yield from channel_affine(call, unit, delta)
