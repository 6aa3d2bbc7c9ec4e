"""Per-example gradients: captured factors of Linear layers, torch.func for everything else."""

from .batch import BatchGradients, GradientStream
from .capture import Factors
from .functional import check_finite, per_example_gradients, untransformable

__all__ = ["BatchGradients", "Factors", "GradientStream", "check_finite", "per_example_gradients", "untransformable"]
