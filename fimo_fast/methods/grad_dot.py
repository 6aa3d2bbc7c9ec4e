"""Inner products of gradients, without curvature."""

from __future__ import annotations

import torch
from torch import Tensor

from ..gradients import dots, dots_and_norms
from ..problem import Data, Problem
from .base import Method, register


@register
class GradDot(Method):
    """∇g(z)·∇ℓ_i (TracIn at the final model; arXiv 2412.03906, sec. 4): f(H) = 1, unscaled.

    No gradient is formed where a layer has factors, and training examples are streamed (`gradients.dots`). Exact up to
    the factor η·T/n for so few steps of training that curvature does not matter.
    """

    def attribute(self, problem: Problem, train: Data, queries: Data) -> Tensor:
        """Scores [n_train, n_queries]."""
        return dots(problem, train, queries)


@register
class GradCos(Method):
    """The cosine of ∇g(z) and ∇ℓ_i (arXiv 2412.03906, sec. 4); 0 where a gradient vanishes."""

    def attribute(self, problem: Problem, train: Data, queries: Data) -> Tensor:
        """Scores [n_train, n_queries], in [−1, 1]."""
        products, train_norm2, query_norm2 = dots_and_norms(problem, train, queries, norms=True)
        norms = train_norm2.sqrt()[:, None] * query_norm2.sqrt()
        return torch.where(norms == 0, 0.0, products / norms)
