"""The paper's gradient-based methods and ours: choices of a sketch and of a function of the curvature.

Each has ``attribute(problem, train, queries)`` → scores [n_train, n_queries] that approximate the oracle's effects:
what giving training example i weight 0 adds to the query's loss (or output_fn). Positive: removing the example raises
it. GradDot and GradCos keep that sign but not the scale, TRAK keeps it up to the curvature of the loss in the output.

May import: curvature, gradients, problem, sketch, utils.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..curvature import GaussNewton, SpectralScores
from ..gradients import dots, dots_and_norms, sketch
from ..problem import Data, Problem, load
from ..problem.losses import PerExample, trak_output
from ..sketch import Rademacher
from ..utils.integers import integer


class GradDot:
    """∇g(z)·∇ℓ_i (TracIn at the final model; arXiv 2412.03906, sec. 4): f(H) = 1, unscaled.

    No gradient is formed where a layer has factors, and training examples are streamed (`gradients.dots`). Exact up to
    the factor η·T/n for so few steps of training that curvature does not matter.
    """

    def attribute(self, problem: Problem, train: Data, queries: Data) -> Tensor:
        """Scores [n_train, n_queries]."""
        return dots(problem, train, queries)


class GradCos:
    """The cosine of ∇g(z) and ∇ℓ_i (arXiv 2412.03906, sec. 4); 0 where a gradient vanishes."""

    def attribute(self, problem: Problem, train: Data, queries: Data) -> Tensor:
        """Scores [n_train, n_queries], in [−1, 1]."""
        products, train_norm2, query_norm2 = dots_and_norms(problem, train, queries, norms=True)
        norms = train_norm2.sqrt()[:, None] * query_norm2.sqrt()
        return torch.where(norms == 0, 0.0, products / norms)


class InfluenceFunction:
    """∇g(z)ᵀ (H + λI)⁻¹ ∇ℓ_i / n, H the exact Gauss-Newton matrix (arXiv 2412.03906, Prop. 1, without its 2nd term).

    Give the damping λ, or the further training whose horizon it should match: T steps of size η leave directions of
    curvature below 1/(ηT) as good as flat, so λ = 1/(ηT).

    Args:
        damping: λ ≥ 0, in the units of H.
        learning_rate: η of the horizon.
        steps: T of the horizon.

    Raises:
        ValueError: Neither or both given, or a value out of range.
    """

    def __init__(
        self, damping: float | None = None, learning_rate: float | None = None, steps: int | None = None
    ) -> None:
        matched = learning_rate is not None and steps is not None
        if (damping is None) != matched or (learning_rate is None) != (steps is None):
            raise ValueError(
                "damping: expected either damping, or learning_rate and steps to match it to, got "
                f"damping={damping}, learning_rate={learning_rate}, steps={steps}"
            )
        if learning_rate is not None and steps is not None:
            _check_horizon(learning_rate, steps)
            damping = 1 / (learning_rate * steps)
        if damping is None or not (math.isfinite(damping) and damping >= 0):
            raise ValueError(f"damping: expected a finite number ≥ 0, got {damping}")
        self.damping = damping

    def filter(self, h: Tensor) -> Tensor:
        """f(h) = 1 / (h + λ)."""
        return 1 / (h + self.damping)

    def attribute(self, problem: Problem, train: Data, queries: Data) -> Tensor:
        """Scores [n_train, n_queries]."""
        return spectral_scores(problem, train, queries).score(self.filter).to(problem.dtype)


class FiniteHorizon:
    """∇g(z)ᵀ φ_T(H) ∇ℓ_i / n with φ_T(h) = (1 − (1 − ηh)^T) / h, H the exact Gauss-Newton matrix.

    The response of T gradient steps of size η on a quadratic to giving example i weight 0: Grad-Dot when ηhT ≪ 1, the
    influence function when ηhT ≫ 1 (near to SOURCE, Bae et al. 2024, arXiv 2405.12186).

    Args:
        learning_rate: η; with momentum m the effective one, η/(1 − m).
        steps: T.

    Raises:
        ValueError: A value out of range; from ``attribute``, η ≥ 2/h_max, where gradient descent on the quadratic
            diverges and the formula with it.
    """

    def __init__(self, learning_rate: float, steps: int) -> None:
        _check_horizon(learning_rate, steps)
        self.learning_rate = learning_rate
        self.steps = steps

    def filter(self, h: Tensor) -> Tensor:
        """φ_T(h)."""
        eta, steps = self.learning_rate, self.steps
        if h.numel() and eta * h.max() >= 2:
            raise ValueError(
                f"learning_rate: expected less than 2 / h_max = {2 / h.max().item():.3g} for the largest eigenvalue "
                f"h_max = {h.max().item():.3g} of the Gauss-Newton matrix, got {eta:g}: gradient descent diverges there"
            )
        x = eta * h
        # 1 − (1 − x)^T without cancellation for small x; beyond 1/2 the power is computed as it stands.
        small = -torch.expm1(steps * torch.log1p(-x.clamp_max(0.5)))
        rise = torch.where(x < 0.5, small, 1 - (1 - x) ** steps)
        return torch.where(x > 0, eta * rise / torch.where(x > 0, x, 1), torch.full_like(x, eta * steps))

    def attribute(self, problem: Problem, train: Data, queries: Data) -> Tensor:
        """Scores [n_train, n_queries]."""
        return spectral_scores(problem, train, queries).score(self.filter).to(problem.dtype)


class TRAK:
    """TRAK of one model (Park et al. 2023, arXiv 2303.14186): a sketched Gauss-Newton matrix of the model output f.

    Scores are (S∇g)ᵀ (ΦᵀΦ/n + λI)⁻¹ S∇ℓ_i / n with Φ the sketched gradients S∇f_i [n, k]: TRAK's formula, with the
    query's loss in place of its f, so that the sign is the oracle's. TRAK leaves out the curvature of the loss in f, so
    the scale is off by it (by 2 for a squared error).

    Args:
        sketch_dim: k, below the number of training examples unless damped.
        damping: λ; 1% of the mean eigenvalue of ΦᵀΦ/n, unless given.
        seed: Of the Rademacher sketch.
        model_output: f(output, target) → [batch], or ``"margin"`` or ``"logit"``. The margin (log-odds of the target)
            for classes and tokens, the output itself for one real output, unless given.

    Raises:
        ValueError: A value out of range, a singular ΦᵀΦ, or an output that needs an explicit ``model_output``.
    """

    def __init__(
        self,
        sketch_dim: int = 512,
        damping: float | None = None,
        seed: int = 0,
        model_output: PerExample | str | None = None,
    ) -> None:
        integer("sketch_dim", sketch_dim, 1)
        if damping is not None and not (math.isfinite(damping) and damping >= 0):
            raise ValueError(f"damping: expected a finite number ≥ 0, got {damping}")
        self.sketch_dim = sketch_dim
        self.damping = damping
        self.seed = seed
        self.model_output = model_output

    def attribute(self, problem: Problem, train: Data, queries: Data) -> Tensor:
        """Scores [n_train, n_queries]."""
        signs = Rademacher(problem.numel, self.sketch_dim, self.seed)
        of_output = problem.with_output_fn(self.model_output or trak_output(problem.loss_fn))

        features = sketch(of_output, train, signs, "output", name="train").double()
        count = len(features)
        matrix = features.T @ features / count
        damping = 0.01 * matrix.diagonal().mean().item() if self.damping is None else self.damping
        matrix.diagonal().add_(damping)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if failed:
            raise ValueError(
                f"damping: ΦᵀΦ of {count} examples in {self.sketch_dim} dimensions is singular with "
                f"damping {damping:g}; expected more damping or a smaller sketch_dim"
            )
        solved = torch.cholesky_solve(sketch(problem, queries, signs, "output", name="queries").double().T, factor)
        scores = sketch(problem, train, signs).double() @ solved / count
        return scores.to(problem.dtype)


def spectral_scores(problem: Problem, train: Data, queries: Data) -> SpectralScores:
    """What InfluenceFunction and FiniteHorizon share: score several of them with one decomposition.

    ``spectral_scores(problem, train, queries).score(FiniteHorizon(0.03, 80).filter)``.
    """
    train_examples = load(problem, train, "train")
    query_examples = load(problem, queries, "queries", "output")
    return GaussNewton(problem, train_examples).pair(query_examples)


def _check_horizon(learning_rate: float, steps: int) -> None:
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate: expected a positive number, got {learning_rate}")
    integer("steps", steps, 1)
