"""Curvature of the training loss as operators that functions can be applied to, one file an operator.

May import: gradients, problem, utils.
"""

from .base import Curvature
from .filters import DampedInverse, Filter, Horizon
from .gauss_newton import GaussNewton, SpectralScores
from .sketched import SketchedGaussNewton

__all__ = ["Curvature", "DampedInverse", "Filter", "GaussNewton", "Horizon", "SketchedGaussNewton", "SpectralScores"]
