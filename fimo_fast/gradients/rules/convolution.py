"""Convolutions: a Linear layer over the windows of its input."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..pieces import Dense, Outer, Piece
from . import Call, Pieces, rule


@rule(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def convolution(call: Call) -> Pieces:
    """∇W = Σ_p δ_p window_p(x)ᵀ over the positions p, for each group of channels; ∇b = Σ_p δ_p."""
    x, delta = call.as_seen()
    if "weight" in call.wanted:
        yield "weight", _weight(call, _padded(x, call.module), delta)
    if "bias" in call.wanted:
        yield "bias", Dense(call.summed(delta.flatten(2).sum(2)))


@rule(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def transposed_convolution(call: Call) -> Pieces:
    """∇W = Σ_p x_p window_p(δ)ᵀ over the positions p of the input, for each group of channels; ∇b = Σ_p δ_p."""
    x, delta = call.as_seen()
    if "weight" in call.wanted:
        yield "weight", _weight(call, _padded(delta, call.module), x)
    if "bias" in call.wanted:
        yield "bias", Dense(call.summed(delta.flatten(2).sum(2)))


def _weight(call: Call, x: Tensor, delta: Tensor) -> Piece:
    """Σ_p δ_p window_p(x)ᵀ.

    Args:
        call: Has the kernel's size, stride, dilation and groups.
        x: Padded, [batch · c, n', spatial...].
        delta: [batch · c, m', positions...].
    """
    layer, count = call.module, len(x)
    taps, positions, groups = math.prod(layer.kernel_size), math.prod(delta.shape[2:]), layer.groups
    n, m = x.shape[1] // groups * taps, delta.shape[1] // groups
    if groups == 1 and positions * (n + m) < n * m:
        a = _rows_of_windows(x, layer, delta.shape[2:])
        batch = len(call.inputs)
        return Outer(a.reshape(batch, -1, n), delta.flatten(2).mT.reshape(batch, -1, m))
    # The gradient takes less memory than its factors (or is as many matrices as groups): one batched product forms it.
    columns = _windows(x, layer, delta.shape[2:]).reshape(count, groups, n, positions)
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


def _rows_of_windows(x: Tensor, layer: Any, positions: torch.Size) -> Tensor:
    """[batch · c, positions..., channels · kernel].

    Written tap by tap: each is one copy along the channels, where copying the view of the windows has an innermost loop
    of one row of the kernel.
    """
    x = x.movedim(1, -1).contiguous()
    rows = x.new_empty(len(x), *positions, x.shape[-1], math.prod(layer.kernel_size))
    for number, tap in enumerate(itertools.product(*map(range, layer.kernel_size))):
        place = [slice(None)]
        for offset, dilation, stride, count in zip(tap, layer.dilation, layer.stride, positions, strict=True):
            first = offset * dilation
            place.append(slice(first, first + stride * (count - 1) + 1, stride))
        rows[..., number] = x[tuple(place)]
    return rows.flatten(-2)
