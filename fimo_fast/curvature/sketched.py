"""The Gauss-Newton matrix of sketched gradients: curvature in as many dimensions as the sketch has."""

from __future__ import annotations

import torch
from torch import Tensor

from ..problem import Problem
from .base import Curvature
from .filters import DampedInverse, Filter


class SketchedGaussNewton(Curvature[Tensor]):
    """ΦᵀΦ/n with Φ the sketched gradients of the model's output, TRAK's matrix (arXiv 2303.14186, sec. 3).

    Args:
        problem: Whose output was differentiated.
        features: Φ, [n, sketch_dim], any floating-point type; computed with in float64.

    Raises:
        TypeError: No tensor.
        ValueError: Another shape, or no example.
    """

    def __init__(self, problem: Problem, features: Tensor) -> None:
        if not isinstance(features, Tensor):
            raise TypeError(f"features: expected a tensor [n, sketch_dim], got {type(features).__name__}")
        if features.dim() != 2 or len(features) == 0:
            raise ValueError(f"features: expected shape [n, sketch_dim] with n >= 1, got {list(features.shape)}")
        self.problem = problem
        self.count = len(features)
        features = features.double()
        self.matrix = features.T @ features / self.count

    @property
    def mean_eigenvalue(self) -> float:
        """The mean of its eigenvalues, a scale for dampings."""
        return self.matrix.diagonal().mean().item()

    def apply(self, f: Filter, vectors: Tensor) -> Tensor:
        """f(ΦᵀΦ/n) of each row of ``vectors`` [m, sketch_dim], in float64.

        Raises:
            TypeError: f is no `DampedInverse`, the only function that a Cholesky factor gives.
            ValueError: The matrix is singular without damping.
        """
        if not isinstance(f, DampedInverse):
            raise TypeError(f"f: expected a DampedInverse, got {f!r}")
        damped = self.matrix.clone()
        damped.diagonal().add_(f.damping)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if failed:
            raise ValueError(
                f"damping: ΦᵀΦ of {self.count} examples in {len(self.matrix)} dimensions is singular with damping "
                f"{f.damping:g}; expected more damping or a smaller sketch_dim"
            )
        return torch.cholesky_solve(vectors.double().T, factor).T
