"""Functions of curvature: small frozen values f that know for which eigenvalues they hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..utils.integers import integer

Filter = Callable[[Tensor], Tensor]
"""f: eigenvalues [rank] → values [rank]; may raise a ValueError for eigenvalues for which it means nothing."""


@dataclass(frozen=True)
class DampedInverse:
    """f(h) = 1 / (h + λ), of the influence function.

    Attributes:
        damping: λ ≥ 0, in the units of the curvature.

    Raises:
        ValueError: λ is negative or not finite.
    """

    damping: float

    def __post_init__(self) -> None:
        """Checks the value."""
        if not (math.isfinite(self.damping) and self.damping >= 0):
            raise ValueError(f"damping: expected a finite number ≥ 0, got {self.damping}")

    @classmethod
    def for_horizon(cls, learning_rate: float, steps: int) -> DampedInverse:
        """λ = 1/(ηT): T steps of size η leave directions of less curvature as good as flat."""
        horizon = Horizon(learning_rate, steps)
        return cls(1 / (horizon.learning_rate * horizon.steps))

    def __call__(self, h: Tensor) -> Tensor:
        """The value at each eigenvalue."""
        return 1 / (h + self.damping)


@dataclass(frozen=True)
class Horizon:
    """φ_T(h) = (1 − (1 − ηh)^T) / h, of T gradient steps of size η on a quadratic (the Landweber filter).

    Attributes:
        learning_rate: η.
        steps: T.

    Raises:
        ValueError: A value out of range; from a call, η ≥ 2/h_max, where gradient descent on the quadratic diverges.
    """

    learning_rate: float
    steps: int

    def __post_init__(self) -> None:
        """Checks the values."""
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate: expected a positive number, got {self.learning_rate}")
        integer("steps", self.steps, 1)

    def __call__(self, h: Tensor) -> Tensor:
        """φ_T of eigenvalues."""
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


def evaluate_on_spectrum(f: Filter, eigenvalues: Tensor, singular: bool) -> tuple[Tensor, Tensor]:
    """The function at the eigenvalues [rank], and at 0 for what lies outside their eigenvectors.

    Args:
        f: The function.
        eigenvalues: [rank].
        singular: Whether anything lies outside.

    Raises:
        ValueError: f is not finite there (an influence function without damping on a singular matrix).
    """
    values, at_zero = f(eigenvalues), f(eigenvalues.new_zeros(()))
    if not torch.isfinite(values).all() or (singular and not torch.isfinite(at_zero)):
        smallest = 0.0 if singular else eigenvalues.min().item()
        raise ValueError(
            f"damping: the Gauss-Newton matrix is singular, smallest eigenvalue {smallest:.3g}; expected a positive "
            "damping"
        )
    return values, at_zero
