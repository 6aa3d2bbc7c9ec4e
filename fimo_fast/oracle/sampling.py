"""Mini-batches of further training, the same for the full and the left-out runs of a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One step's examples and their weights.

    Attributes:
        index: Training indices, [size], shared by all replicas; with shifted batches [replicas, size].
        weight: Weight of each example in the summed loss, [replicas, size]: 1 / batch size, 0 where left out.
        active: Replicas that take this step, [replicas] bool; None when all do.
    """

    index: Tensor
    weight: Tensor
    active: Tensor | None = None


def order(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits n examples, [n] int64.

    It sorts 64-bit Philox numbers with the seed as key and the epoch in the counter. NumPy promises that the streams of
    its bit generators stay the same between versions. It promises no such thing for ``permutation``, nor does torch for
    ``randperm``.
    """
    # The epoch is the highest word of the counter, so epochs of a seed never share numbers.
    bits = np.random.Philox(key=seed, counter=np.array([0, 0, 0, epoch], dtype=np.uint64)).random_raw(n)
    return np.argsort(bits, kind="stable")


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Batches of an epoch; the last one may be smaller."""
    return -(-n // batch_size)


def matched(n: int, batch_size: int, seed: int, epoch: int, leave_out: Tensor, like: Tensor) -> Iterator[Batch]:
    """Every replica sees the same batches; a left-out example keeps its place with weight 0, the divisor unchanged.

    Args:
        n: Training examples.
        batch_size: Examples a batch.
        seed: Of the replicas' randomness.
        epoch: From 0.
        leave_out: The example that each replica leaves out, [replicas]; -1 for the full run.
        like: A tensor of the weights' type and device.
    """
    visit = torch.from_numpy(order(n, seed, epoch)).to(like.device)
    for index in visit.split(batch_size):
        weight = torch.full((len(leave_out), len(index)), 1 / len(index), dtype=like.dtype, device=like.device)
        yield Batch(index, weight.masked_fill(leave_out[:, None] == index, 0))


def shifted(n: int, batch_size: int, seed: int, epoch: int, leave_out: Tensor, like: Tensor) -> Iterator[Batch]:
    """The left-out example is taken out of the order and all later ones move up, as in the paper's reference code.

    The divisor is the true size of the batch. If the removal empties the last batch, the replica skips that step.
    Arguments as for ``matched``.
    """
    visit = torch.from_numpy(order(n, seed, epoch)).to(like.device)
    rows = []
    for left in leave_out.tolist():
        row = visit[visit != left]
        rows.append(torch.cat([row, visit.new_full((n - len(row),), -1)]))
    for index in torch.stack(rows).split(batch_size, dim=1):
        present = index >= 0
        size = present.sum(1, keepdim=True)
        weight = present.to(like.dtype) / size.clamp_min(1)
        active = size[:, 0] > 0
        yield Batch(index.clamp_min(0), weight, None if bool(active.all()) else active)


SAMPLERS = {"matched": matched, "shifted": shifted}
