"""TRAK, which sketches first."""

from __future__ import annotations

from torch import Tensor

from ..curvature import DampedInverse, SketchedGaussNewton
from ..gradients import sketch
from ..problem import Data, Problem
from ..problem.losses import PerExample, trak_output
from ..sketch import Rademacher
from ..utils.integers import integer
from .base import Method, register


@register
class TRAK(Method):
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
        self.sketch_dim = integer("sketch_dim", sketch_dim, 1)
        self.damping = None if damping is None else DampedInverse(damping).damping
        self.seed = seed
        self.model_output = model_output

    @property
    def settings(self) -> str:
        """The size of the sketch."""
        return f"{self.sketch_dim} dimensions, one model"

    def attribute(self, problem: Problem, train: Data, queries: Data) -> Tensor:
        """Scores [n_train, n_queries]."""
        signs = Rademacher(problem.numel, self.sketch_dim, self.seed)
        of_output = problem.with_output_fn(self.model_output or trak_output(problem.loss_fn))
        curvature = SketchedGaussNewton(of_output, sketch(of_output, train, signs, "output", name="train"))
        damping = 0.01 * curvature.mean_eigenvalue if self.damping is None else self.damping
        solved = curvature.apply(DampedInverse(damping), sketch(problem, queries, signs, "output", name="queries"))
        scores = sketch(problem, train, signs).double() @ solved.T / curvature.count
        return scores.to(problem.dtype)
