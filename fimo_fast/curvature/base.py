"""What every curvature operator can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from torch import Tensor

from ..gradients import GradientSet
from ..problem import Problem
from .filters import Filter

Vectors = TypeVar("Vectors", GradientSet, Tensor)
"""What an operator acts on: gradients of parameters, or their sketches [examples, sketch_dim]."""


class Curvature(ABC, Generic[Vectors]):
    """A positive semidefinite operator H, the curvature of the mean training loss, to which functions can be applied.

    Attributes:
        problem: Of which it is the curvature; its type is the one in which H was fitted, and may be wider than the
            model's.
    """

    problem: Problem

    @abstractmethod
    def apply(self, f: Filter, vectors: Vectors) -> Vectors:
        """f(H) of each vector.

        Args:
            f: A function of eigenvalues, such as `DampedInverse` or `Horizon`.
            vectors: Gradients of ``problem``, or what else the operator acts on.

        Returns:
            As many, of the same kind.

        Raises:
            ValueError: f does not hold for the eigenvalues of H.
        """
