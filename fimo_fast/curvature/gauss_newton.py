"""The exact Gauss-Newton matrix of the mean training loss and its spectrum.

H = (1/n) Σ_i J_iᵀ A_i J_i with J_i the Jacobian of example i's model output [outputs, parameters] and A_i the Hessian
of its loss by that output. With B the stacked rows √A_i J_i, H = BᵀB/n, so its spectrum comes from whichever of
BᵀB [parameters, parameters] and BBᵀ [n·outputs, n·outputs] is smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import hessian, vmap

from ..gradients import GradientSet, GradientStream
from ..problem import Examples, Problem
from ..problem.trees import Tree, alone, check_finite, index
from ..utils.memory import rows_within
from .base import Curvature
from .filters import Filter, evaluate_on_spectrum

_LARGEST = 16384  # eigendecomposition of this size: 2 GiB and about a quarter of an hour on two cores
_MEMORY = 8 * 2**30


@dataclass(frozen=True)
class SpectralScores:
    """Gradients in the eigenbasis of H: all that f(H) needs, for any f.

    Attributes:
        eigenvalues: [rank], in increasing order.
        train: Coordinates of ∇ℓ_i, [n_train, rank].
        queries: Coordinates of ∇g, [n_queries, rank].
        rest: Inner products of what lies outside the basis, where H is 0, [n_train, n_queries]; None if nothing does.
    """

    eigenvalues: Tensor
    train: Tensor
    queries: Tensor
    rest: Tensor | None

    def score(self, f: Filter) -> Tensor:
        """∇gᵀ f(H) ∇ℓ_i / n, [n_train, n_queries].

        Raises:
            ValueError: f is not finite on the spectrum (an influence function without damping on a singular H).
        """
        values, at_zero = evaluate_on_spectrum(f, self.eigenvalues, self.rest is not None)
        scores = (self.train * values) @ self.queries.T
        if self.rest is not None:
            scores = scores + at_zero * self.rest
        return scores / len(self.train)


class GaussNewton(Curvature[GradientSet]):
    """Spectrum of the Gauss-Newton matrix of a problem's mean training loss, in float64.

    Args:
        problem: Its loss must be convex in the model's output (squared error, cross-entropy, ...).
        train: The training examples.

    Raises:
        ValueError: The matrix is too large to decompose, or the loss is not convex in the output.
    """

    def __init__(self, problem: Problem, train: Examples) -> None:
        # Small eigenvalues are differences: float64 throughout, whatever the model's own type.
        self.problem = problem = problem.to(torch.float64)
        self.train = train = train.to(torch.float64)
        with torch.no_grad():
            outputs = problem.forward(problem.parameters(), train[slice(0, 1)].inputs)[0].numel()
        rows = len(train) * outputs
        self._batch = rows_within(8 * outputs * max(outputs, problem.numel), 1 / 2)  # of Jacobians
        self.dual = rows < problem.numel
        size = min(rows, problem.numel)
        # Dual: the rows, their copy when joined, the basis. Primal: the matrix, its eigenvectors, LAPACK's copy. The
        # same of an example's Hessian by its outputs.
        memory = 8 * 3 * max((rows if self.dual else problem.numel) * problem.numel, outputs * outputs)
        if size > _LARGEST or memory > _MEMORY:
            raise ValueError(
                f"problem: the exact Gauss-Newton matrix needs an eigendecomposition of size {size:,} and "
                f"{memory / 2**30:.1f} GiB ({len(train):,} examples, {outputs} outputs, {problem.numel:,} parameters), "
                f"at most {_LARGEST:,} and {_MEMORY / 2**30:.0f} GiB are supported; select fewer parameters or use "
                "TRAK, which sketches"
            )
        self.eigenvalues, self._basis = self._dual_spectrum() if self.dual else self._primal_spectrum()

    def apply(self, f: Filter, vectors: GradientSet) -> GradientSet:
        """f(H) of each gradient, formed, in float64."""
        values, at_zero = evaluate_on_spectrum(f, self.eigenvalues, self.dual)
        rows = vectors.vectors().double()
        coordinates = rows @ self._basis
        if self.dual:  # outside the basis H is 0
            return GradientSet.from_vectors(
                self.problem, torch.addmm(at_zero * rows, coordinates * (values - at_zero), self._basis.T)
            )
        return GradientSet.from_vectors(self.problem, (coordinates * values) @ self._basis.T)

    def pair(self, queries: Examples) -> SpectralScores:
        """The training set's loss gradients and the queries' output gradients in the eigenbasis."""
        query_gradients = self._gradients(queries.to(torch.float64), "output")
        query_coordinates = query_gradients @ self._basis
        train_coordinates, dots = [], []
        for batch in self.train.batches(self._batch):
            gradients = self._gradients(batch, "loss")
            train_coordinates.append(gradients @ self._basis)
            dots.append(gradients @ query_gradients.T)
        train = torch.cat(train_coordinates)
        rest = torch.cat(dots) - train @ query_coordinates.T if self.dual else None
        return SpectralScores(self.eigenvalues, train, query_coordinates, rest)

    def _gradients(self, examples: Examples, of: str) -> Tensor:
        return _vectors(GradientStream(self.problem, examples, of), examples)

    def _primal_spectrum(self) -> tuple[Tensor, Tensor]:
        matrix = torch.zeros(self.problem.numel, self.problem.numel, dtype=torch.float64, device=self.problem.device)
        for batch in self.train.batches(self._batch):
            rows = self._rows(batch)
            matrix.addmm_(rows.T, rows)
        eigenvalues, basis = torch.linalg.eigh(matrix / len(self.train))
        # What rounding leaves of zero eigenvalues is zero, or an undamped inverse would be made of it.
        floor = eigenvalues.max() * len(eigenvalues) * torch.finfo(torch.float64).eps
        return torch.where(eigenvalues > floor, eigenvalues, 0.0), basis

    def _dual_spectrum(self) -> tuple[Tensor, Tensor]:
        rows = torch.cat([self._rows(batch) for batch in self.train.batches(self._batch)])
        eigenvalues, vectors = torch.linalg.eigh(rows @ rows.T / len(self.train))
        # Directions below rounding have no reliable eigenvector in parameter space; there H counts as 0.
        kept = eigenvalues > eigenvalues.max() * len(rows) * torch.finfo(torch.float64).eps
        eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
        return eigenvalues, rows.T @ vectors / (len(self.train) * eigenvalues).sqrt()

    def _rows(self, batch: Examples) -> Tensor:
        """√A_i J_i of these examples, [batch · outputs, parameters]."""
        problem = self.problem
        with torch.no_grad():
            outputs = problem.forward(problem.parameters(), batch.inputs)

        def loss(out: Tensor, y: Tree) -> Tensor:
            return problem.loss(out[None], alone(y))[0]

        inner = vmap(hessian(loss))(outputs, batch.targets)
        count = outputs[0].numel()
        values, vectors = torch.linalg.eigh(inner.reshape(len(batch), count, count))
        # Confident predictions leave only rounding.
        rounding = 1e-6 * values.abs().amax(1) + 100 * torch.finfo(values.dtype).eps
        if (values.amin(1) < -rounding).any():
            raise ValueError(
                f"loss_fn: expected a loss that is convex in the model's output, got a Hessian with eigenvalue "
                f"{values.min().item():.3g}; its Gauss-Newton matrix is not positive semidefinite"
            )
        root = values.clamp_min(0).sqrt()[:, :, None] * vectors.mT
        # A row is the gradient of the output along a row of √A_i, so each example comes once for each of these.
        which = torch.arange(len(batch), device=root.device).repeat_interleave(count)
        directions = Examples(index(batch.inputs, which), root.flatten(0, 1))
        along = problem.with_output_fn(_along)
        return _vectors(GradientStream(along, Examples(batch.inputs, root[:, 0]), "output"), directions)


def _along(output: Tensor, direction: Tensor) -> Tensor:
    """The output's component along a direction [batch, outputs], [batch]."""
    return (output.reshape(direction.shape) * direction).sum(1)


def _vectors(gradients: GradientStream, examples: Examples) -> Tensor:
    """Gradients [examples, parameters]."""
    batches = examples.batches(gradients.batch_size)
    vectors = [gradients.problem.ravel(gradients.formed(batch)) for batch in batches]
    return check_finite(torch.cat(vectors), "gradients")
