"""An identity in the model that hands gradients over in the backward pass, as a hook on several tensors would."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Tap(torch.autograd.Function):
    """The identity; its backward pass hands the gradients over."""

    @staticmethod
    def forward(
        ctx: Any, receive: Any, expand: Any, in_place: Any, batch: int, anchor: Tensor, *outputs: Tensor
    ) -> Any:
        """``outputs``, one for each example where ``expand`` says so; where ``in_place``, without a copy."""
        ctx.receive = receive
        ctx.expand = expand
        ctx.set_materialize_grads(False)
        tapped, dirty = [], []
        for output, broadcast, changed in zip(outputs, expand, in_place, strict=True):
            if broadcast:
                output = output.expand(batch, *output.shape[1:]).clone()
            elif changed:
                dirty.append(output)
            else:
                output = output.clone()
            tapped.append(output)
        ctx.mark_dirty(*dirty)
        return tuple(tapped)

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor | None) -> Any:
        """Hands ``deltas`` over until ``receive`` says that it has made use of them."""
        if ctx.receive(deltas):
            ctx.receive = None  # what it holds is freed with it
        back = [
            delta.sum(0, keepdim=True) if delta is not None and broadcast else delta
            for delta, broadcast in zip(deltas, ctx.expand, strict=True)
        ]
        return (None, None, None, None, None, *back)
