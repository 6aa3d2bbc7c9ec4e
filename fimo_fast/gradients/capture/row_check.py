"""Whether each row that a layer sees is of the example whose place it has, found out by weights.

Going back from Σ_i w_i ℓ_i multiplies what comes from example i by w_i. So two backward passes, with and without the
weights, show of each row which example it is of.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...ops.dtypes import accumulator
from ..batch_axis import BatchAxis

_TOLERANCE = 1 / 8  # of a step between weights
_EXPONENTS = 16


class RowCheck:
    """Compares the gradients at each call of each layer in a weighted pass with those of the plain pass after it.

    Args:
        batch: How many examples.
        like: A number of the losses' type and device.

    Attributes:
        weights: Of the examples, [batch]: no two alike, neighbours far apart, few digits.
        weighing: Whether the weighted pass is on.
    """

    def __init__(self, batch: int, like: Tensor) -> None:
        self.batch = batch
        self._steps = -(-batch // _EXPONENTS)
        number = torch.arange(batch, device=like.device, dtype=accumulator(like.dtype))
        self.weights = (number * 7 % _EXPONENTS - _EXPONENTS // 2).exp2() * (1 + (number // _EXPONENTS) / self._steps)
        self.weighing = True
        self._weighed: dict[tuple[str, int], list[Tensor | None]] = {}

    def weighed(
        self, call: tuple[str, int], places: Sequence[BatchAxis | None], deltas: Sequence[Tensor | None]
    ) -> None:
        """Keeps a number for each row of the gradients by a call's outputs in the weighted pass."""
        self._weighed[call] = [_by_row(*pair, self.batch) for pair in zip(places, deltas, strict=True)]

    def holds(self, call: tuple[str, int], places: Sequence[BatchAxis | None], deltas: Sequence[Tensor | None]) -> bool:
        """Whether the gradients by a call's outputs, in the plain pass, lie where the weights say."""
        for place, delta, weighed in zip(places, deltas, self._weighed.pop(call), strict=True):
            plain = _by_row(place, delta, self.batch)
            if plain is None or weighed is None:
                continue
            error = (weighed / self.weights.to(plain.dtype)[:, None] - plain).abs()
            noise = 100 * torch.finfo(plain.dtype).eps * plain.abs().max()
            if bool((error > _TOLERANCE / self._steps * plain.abs() + noise).any()):
                return False
        return True


def _by_row(place: BatchAxis | None, delta: Tensor | None, batch: int) -> Tensor | None:
    """One number for each row of a gradient, [batch, rows]; None for what has no rows of examples."""
    if place is None or delta is None or not delta.numel() or (place.axis is None and not place.broadcast):
        return None
    delta = place.batch_first(delta, batch)
    delta = delta.to(accumulator(delta.dtype))
    if delta.dim() < 3:
        return delta.reshape(batch, -1)
    mixture = torch.arange(1, delta.shape[-1] + 1, device=delta.device, dtype=delta.dtype).cos()
    return (delta @ mixture).reshape(batch, -1)
