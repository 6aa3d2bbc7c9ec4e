"""Per-example gradients: captured factors of Linear layers, torch.func for everything else."""

from .batch import BatchGradients, GradientStream
from .capture import Factors
from .functional import per_example_gradients

__all__ = ["BatchGradients", "Factors", "GradientStream", "per_example_gradients"]
