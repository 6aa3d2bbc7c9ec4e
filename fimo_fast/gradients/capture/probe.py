"""What a trial differentiates, on which examples, and when two gradients are equal."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor

from ...problem import Examples
from ...problem.trees import named_leaves
from ..batch_axis import SIZES
from ..terms import Term


def combination(output: Tensor, _: object) -> Tensor:
    """One number an example that depends on each of its outputs, [batch].

    Its gradients differ from example to example, also those of a bias in the last layer: else it would not show that
    they are taken for another's.
    """
    flat = output.reshape(len(output), -1)
    # Not random numbers, which vmap would refuse; no two alike, none 0.
    weights = torch.arange(1, flat.shape[1] + 1, device=flat.device, dtype=flat.dtype).cos()
    return flat @ weights + flat.sin() @ weights.flip(0)


def distinct(few: Examples) -> bool:
    """Whether there are as many examples as are tried, no two alike: else it would not show if they changed places."""
    pairs = itertools.combinations(range(len(few)), 2)
    leaves = [leaf for _, leaf in named_leaves(few.inputs, "")]
    return len(few) == SIZES[-1] and not any(all(torch.equal(leaf[i], leaf[j]) for leaf in leaves) for i, j in pairs)


def equal(exact: Tensor, terms: Iterable[Term], scale: float) -> bool:
    """Whether the terms of one example add up to its gradient, up to rounding.

    Models round in float32 inside, also in float64; a gradient that is zero but for rounding is compared with the
    largest one of the model.
    """
    error = -exact.flatten()[None]
    for term in terms:
        error[:, term.start : term.start + term.width] += term.formed()
    eps = torch.finfo(exact.dtype).eps
    relative, floor = min(max(1e4 * eps, 1e-6), 0.1), min(max(100 * eps, 1e-8), 0.02)
    return not error.numel() or bool((error.abs().max() <= relative * exact.abs().max() + floor * scale).item())
