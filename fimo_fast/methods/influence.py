"""Influence functions and the finite horizon: functions of the curvature between two gradients."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..curvature import Curvature, DampedInverse, Filter, GaussNewton, Horizon, SpectralScores
from ..gradients import GradientSet, dots
from ..gradients.gradient_set import check_set
from ..problem import Data, Examples, Problem, load
from .base import Method, register

Fit = Callable[[Problem, Examples], Curvature[GradientSet]]
"""How a curvature is fitted to the training examples: its class, where that takes no more."""


class CurvatureMethod(Method):
    """∇g(z)ᵀ f(H) ∇ℓ_i / n, in the units of the loss.

    Args:
        f: The function of the curvature.
        curvature: How H is fitted.

    Raises:
        TypeError: ``curvature`` cannot be called.

    Attributes:
        filter: f.
    """

    def __init__(self, f: Filter, curvature: Fit) -> None:
        if not callable(curvature):
            raise TypeError(f"curvature: expected a class or function (problem, train) -> Curvature, got {curvature!r}")
        self.filter = f
        self.curvature = curvature

    def attribute(self, problem: Problem, train: Data, queries: Data) -> Tensor:
        """Scores [n_train, n_queries]."""
        train_examples, query_examples = _loaded(problem, train, queries)
        curvature = self.curvature(problem, train_examples)
        if not isinstance(curvature, Curvature) or not isinstance(getattr(curvature, "problem", None), Problem):
            raise TypeError(f"curvature: expected a Curvature with its problem, got {type(curvature).__name__}")
        own = curvature.problem
        gradients = GradientSet.collect(own, query_examples.to(own.dtype), "output", name="queries")
        applied = curvature.apply(self.filter, gradients)
        check_set(applied, own, "curvature")
        if len(applied) != len(gradients):
            raise ValueError(f"curvature: expected apply to return {len(gradients)} gradients, got {len(applied)}")
        products = dots(own, train_examples.to(own.dtype), applied)
        return (products / len(train_examples)).to(problem.dtype)


@register
class InfluenceFunction(CurvatureMethod):
    """∇g(z)ᵀ (H + λI)⁻¹ ∇ℓ_i / n (arXiv 2412.03906, Prop. 1, without its 2nd term).

    Give the damping λ, or the further training whose horizon it should match: T steps of size η leave directions of
    curvature below 1/(ηT) as good as flat, so λ = 1/(ηT).

    Args:
        damping: λ ≥ 0, in the units of H.
        learning_rate: η of the horizon.
        steps: T of the horizon.
        curvature: How H is fitted; the exact Gauss-Newton matrix, unless given.

    Raises:
        ValueError: Neither or both given, or a value out of range.
    """

    knows_horizon = True

    def __init__(
        self,
        damping: float | None = None,
        learning_rate: float | None = None,
        steps: int | None = None,
        curvature: Fit = GaussNewton,
    ) -> None:
        matched = learning_rate is not None and steps is not None
        if (damping is None) != matched or (learning_rate is None) != (steps is None):
            raise ValueError(
                "damping: expected either damping, or learning_rate and steps to match it to, got "
                f"damping={damping}, learning_rate={learning_rate}, steps={steps}"
            )
        if learning_rate is not None and steps is not None:
            f = DampedInverse.for_horizon(learning_rate, steps)
            self._settings = f"damping 1/(ηT), η = {learning_rate:g}"
        else:
            assert damping is not None
            f = DampedInverse(damping)
            self._settings = f"damping {damping:g}"
        self.damping = f.damping
        super().__init__(f, curvature)

    @classmethod
    def for_horizon(cls, learning_rate: float, steps: int) -> InfluenceFunction:
        """With the damping that matches it."""
        return cls(learning_rate=learning_rate, steps=steps)

    @property
    def settings(self) -> str:
        """The damping and where it comes from."""
        return self._settings


@register
class FiniteHorizon(CurvatureMethod):
    """∇g(z)ᵀ φ_T(H) ∇ℓ_i / n with φ_T(h) = (1 − (1 − ηh)^T) / h.

    The response of T gradient steps of size η on a quadratic to giving example i weight 0: Grad-Dot when ηhT ≪ 1, the
    influence function when ηhT ≫ 1 (near to SOURCE, Bae et al. 2024, arXiv 2405.12186).

    Args:
        learning_rate: η; with momentum m the effective one, η/(1 − m).
        steps: T.
        curvature: How H is fitted; the exact Gauss-Newton matrix, unless given.

    Raises:
        ValueError: A value out of range; from ``attribute``, η ≥ 2/h_max, where gradient descent on the quadratic
            diverges and the formula with it.
    """

    knows_horizon = True

    def __init__(self, learning_rate: float, steps: int, curvature: Fit = GaussNewton) -> None:
        super().__init__(Horizon(learning_rate, steps), curvature)
        self.learning_rate = learning_rate
        self.steps = steps

    @classmethod
    def for_horizon(cls, learning_rate: float, steps: int) -> FiniteHorizon:
        """Itself."""
        return cls(learning_rate, steps)

    @property
    def settings(self) -> str:
        """η."""
        return f"η = {self.learning_rate:g}"


def spectral_scores(problem: Problem, train: Data, queries: Data) -> SpectralScores:
    """For several functions of one exact Gauss-Newton matrix: its decomposition, and the gradients in its eigenbasis.

    ``spectral_scores(problem, train, queries).score(FiniteHorizon(0.03, 80).filter)`` is what the method gives.
    """
    train_examples, query_examples = _loaded(problem, train, queries)
    return GaussNewton(problem, train_examples).pair(query_examples)


def _loaded(problem: Problem, train: Data, queries: Data) -> tuple[Examples, Examples]:
    return load(problem, train, "train"), load(problem, queries, "queries", "output")
