"""Convolutions: a Linear layer over the windows of its input."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..terms import Convolved, Dense, Term
from . import Call, Terms, rule


@rule(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def convolution(call: Call) -> Terms:
    """∇W = Σ_p δ_p window_p(x)ᵀ over the positions p, for each group of channels; ∇b = Σ_p δ_p."""
    x, delta = call.as_seen()
    if "weight" in call.wanted:
        yield "weight", _weight(call, x, delta)
    if "bias" in call.wanted:
        yield "bias", Dense(call.summed(delta.flatten(2).sum(2)))


@rule(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def transposed_convolution(call: Call) -> Terms:
    """∇W = Σ_p x_p window_p(δ)ᵀ over the positions p of the input, for each group of channels; ∇b = Σ_p δ_p."""
    x, delta = call.as_seen()
    if "weight" in call.wanted:
        yield "weight", _weight(call, delta, x)
    if "bias" in call.wanted:
        yield "bias", Dense(call.summed(delta.flatten(2).sum(2)))


def _weight(call: Call, x: Tensor, delta: Tensor) -> Term:
    """Σ_p δ_p window_p(x)ᵀ.

    Args:
        call: Has the kernel's size, stride, dilation and groups.
        x: [batch · c, n', spatial...], which the layer pads.
        delta: [batch · c, m', positions...].
    """
    layer, count = call.module, len(x)
    if layer.groups == 1:
        own = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        padding = layer.padding if own else (0,) * len(layer.kernel_size)
        x = x if own else _padded(x, layer)
        return Convolved(x, delta, len(call.inputs), layer.kernel_size, layer.stride, layer.dilation, padding)
    taps, positions, groups = math.prod(layer.kernel_size), math.prod(delta.shape[2:]), layer.groups
    n, m = x.shape[1] // groups * taps, delta.shape[1] // groups
    # As many small matrices as groups: one batched product forms them.
    columns = _windows(_padded(x, layer), layer, delta.shape[2:]).reshape(count, groups, n, positions)
    value = delta.reshape(count, groups, m, positions) @ columns.mT
    return Dense(call.summed(value.flatten(1)))


def _padded(x: Tensor, layer: Any) -> Tensor:
    """[batch · c, channels, spatial...], as the layer pads it."""
    around: list[int] = []
    for axis, (size, dilation) in enumerate(zip(layer.kernel_size, layer.dilation, strict=True)):
        if layer.padding == "same":
            total = dilation * (size - 1)
            sides = [total // 2, total - total // 2]
        else:
            sides = [0, 0] if layer.padding == "valid" else [layer.padding[axis]] * 2
        around = sides + around  # F.pad starts with the last axis
    if not any(around):
        return x
    return F.pad(x, around, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)


def _windows(x: Tensor, layer: Any, positions: torch.Size) -> Tensor:
    """A view of ``x``, [batch · c, channels, kernel..., positions...]."""
    steps = x.stride()[2:]
    taps = [step * dilation for step, dilation in zip(steps, layer.dilation, strict=True)]
    moves = [step * stride for step, stride in zip(steps, layer.stride, strict=True)]
    return x.as_strided((*x.shape[:2], *layer.kernel_size, *positions), (*x.stride()[:2], *taps, *moves))
