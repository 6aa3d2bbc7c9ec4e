"""Curvature of the training loss as an operator that functions can be applied to.

May import: gradients, problem, utils.
"""

from .gauss_newton import Filter, GaussNewton, SpectralScores

__all__ = ["Filter", "GaussNewton", "SpectralScores"]
