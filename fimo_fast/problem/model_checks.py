"""Modules that are refused: those that mix the examples of a batch, are random, or change themselves."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd

_EVAL = "call model.eval() first"


def unsuited(module: nn.Module) -> str | None:
    """Why a module is refused; None if it is not."""
    if isinstance(module, _NormBase):
        batch_norm = isinstance(module, _BatchNorm)
        if batch_norm and module.running_mean is None:
            return "without running statistics, so an example's loss depends on its batch even after model.eval()"
        if module.training and (batch_norm or module.running_mean is not None):
            return (
                f"in training mode, so an example's loss depends on its batch and on no example alone; {_EVAL}: "
                "running statistics are then used and stay as they are, also in further training"
            )
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.max_norm is not None:
        return "with max_norm, which changes its weights while it is read"
    if module.training and (dropout := _dropout_probability(module)) > 0:
        return (
            f"with dropout {dropout:g} in training mode, which makes losses random; {_EVAL}: dropout is then off, also "
            "in further training"
        )
    return None


def _dropout_probability(module: nn.Module) -> float:
    if isinstance(module, _DropoutNd):
        return module.p
    # Attention, recurrent layers and dropped paths hold a probability and call the function. Children are checked on
    # their own.
    found = (value for name, value in vars(module).items() if "drop" in name and isinstance(value, float))
    return max(found, default=0.0)
